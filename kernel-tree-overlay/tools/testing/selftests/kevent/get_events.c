// SPDX-License-Identifier: GPL-2.0
/*
 * kevent_get_events(): how many it copies, how long it waits for them, and that
 * an event comes out once, whichever way it leaves.
 */
#include <poll.h>

#include "kevent_test.h"

#define ENTRIES	64

FIXTURE(get)
{
	struct queue q;
	struct __kernel_timespec ts;
	struct kevent_event ev[ENTRIES];
};

FIXTURE_VARIANT(get)
{
	unsigned int entries;
};

FIXTURE_VARIANT_ADD(get, ring)
{
	.entries = ENTRIES,
};

FIXTURE_VARIANT_ADD(get, no_ring)
{
	.entries = 0,
};

FIXTURE_SETUP(get)
{
	ASSERT_LE(0, queue_open(&self->q, variant->entries));
}

FIXTURE_TEARDOWN(get)
{
	queue_close(&self->q);
}

/* From @min to @max events, without sleeping. */
#define get_now(min, max) \
	kevent_get_events(self->q.fd, min, max, &self->ts, self->ev, 0)

/* self->ev must hold @nr events, intact, numbered from @first. */
#define EXPECT_SEQS(first, nr)						\
do {									\
	int __i;							\
									\
	for (__i = 0; __i < (nr); __i++) {				\
		EXPECT_EQ((first) + __i, self->ev[__i].user_data);	\
		EXPECT_TRUE(seq_intact(&self->ev[__i]));		\
	}								\
} while (0)

/*
 * Arguments.
 */
TEST_F(get, numbers)
{
	EXPECT_EQ(-EINVAL, get_now(0, 0));
	EXPECT_EQ(-EINVAL, get_now(1, 0));
	EXPECT_EQ(-EINVAL, get_now(2, 1));
	EXPECT_EQ(-EINVAL, get_now(0x80000000, 1));
	EXPECT_EQ(-EINVAL, get_now(0, INT_MAX / 32 + 1));
	EXPECT_EQ(-EINVAL, get_now(0, INT_MAX));
	EXPECT_EQ(-EINVAL, get_now(0, 0x80000000));
	EXPECT_EQ(-EINVAL, get_now(0, UINT_MAX));
	EXPECT_EQ(-EINVAL, get_now(UINT_MAX, UINT_MAX));
	EXPECT_EQ(0, get_now(1, 1));
}

TEST_F(get, huge_maximum)
{
	EXPECT_EQ(0, get_now(0, INT_MAX / 32));
	EXPECT_EQ(3, seq_post(self->q.fd, 0, 3, 0));
	EXPECT_EQ(3, get_now(1, INT_MAX / 32));
	EXPECT_SEQS(0, 3);
}

TEST_F(get, unknown_flags)
{
	int bit;

	for (bit = 0; bit < 32; bit++) {
		if (1U << bit == KEVENT_WAIT_ABSTIME)
			continue;
		EXPECT_EQ(-EINVAL, kevent_get_events(self->q.fd, 0, 1, NULL,
						     self->ev, 1U << bit)) {
			TH_LOG("flag bit %d", bit);
		}
	}
}

TEST_F(get, timespec_must_be_valid)
{
	static const struct __kernel_timespec bad[] = {
		{ .tv_sec = -1 },
		{ .tv_sec = INT64_MIN },
		{ .tv_nsec = -1 },
		{ .tv_nsec = 1000000000 },
		{ .tv_sec = 1, .tv_nsec = -1000000000 },
	};
	size_t i;

	for (i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		EXPECT_EQ(-EINVAL, kevent_get_events(self->q.fd, 1, 1, &bad[i],
						     self->ev, 0));
		EXPECT_EQ(-EINVAL, kevent_get_events(self->q.fd, 1, 1, &bad[i],
						     self->ev,
						     KEVENT_WAIT_ABSTIME));
	}
}

TEST_F(get, unreadable_timespec)
{
	struct __kernel_timespec *end = guard_page();
	int fd = self->q.fd;

	ASSERT_NE(NULL, end);
	EXPECT_EQ(-EFAULT, kevent_get_events(fd, 1, 1, end, self->ev, 0));
	EXPECT_EQ(-EFAULT, kevent_get_events(fd, 1, 1,
					     (void *)((char *)end - 8),
					     self->ev, 0));
	EXPECT_EQ(-EFAULT, kevent_get_events(fd, 1, 1, (void *)-1L, self->ev,
					     0));
	EXPECT_EQ(0, kevent_get_events(fd, 1, 1, end - 1, self->ev, 0));
}

/*
 * How many.
 */
TEST_F(get, at_most_the_maximum)
{
	EXPECT_EQ(5, seq_post(self->q.fd, 0, 5, 0));
	EXPECT_EQ(3, get_now(1, 3));
	EXPECT_SEQS(0, 3);
	EXPECT_EQ(2, get_now(1, 3));
	EXPECT_SEQS(3, 2);
	EXPECT_EQ(0, get_now(1, 3));
}

TEST_F(get, what_there_is_when_time_is_up)
{
	EXPECT_EQ(2, seq_post(self->q.fd, 0, 2, 0));
	EXPECT_EQ(2, get_now(3, 3));
	EXPECT_SEQS(0, 2);
	EXPECT_EQ(2, seq_post(self->q.fd, 2, 2, 0));
	self->ts.tv_nsec = 5 * MSEC;
	EXPECT_EQ(2, get_now(3, 8));
	EXPECT_SEQS(2, 2);
	EXPECT_EQ(0, get_now(3, 8));
}

TEST_F(get, minimum_zero_never_sleeps)
{
	EXPECT_EQ(0, kevent_get_events(self->q.fd, 0, 8, NULL, self->ev, 0));
	self->ts.tv_sec = 1000000;
	EXPECT_EQ(0, get_now(0, 8));
	EXPECT_EQ(2, seq_post(self->q.fd, 0, 2, 0));
	EXPECT_EQ(2, kevent_get_events(self->q.fd, 0, 8, NULL, self->ev, 0));
	EXPECT_SEQS(0, 2);
}

TEST_F(get, enough_there_never_sleeps)
{
	EXPECT_EQ(4, seq_post(self->q.fd, 0, 4, 0));
	EXPECT_EQ(3, kevent_get_events(self->q.fd, 3, 3, NULL, self->ev, 0));
	EXPECT_SEQS(0, 3);
	EXPECT_EQ(1, kevent_get_events(self->q.fd, 1, 3, NULL, self->ev, 0));
	EXPECT_SEQS(3, 1);
}

TEST_F(get, nothing_is_written_beyond_the_count)
{
	size_t i;

	memset(self->ev, 0xaa, sizeof(self->ev));
	EXPECT_EQ(2, seq_post(self->q.fd, 0, 2, 0));
	EXPECT_EQ(2, get_now(0, ENTRIES));
	for (i = 2 * sizeof(*self->ev); i < sizeof(self->ev); i++)
		EXPECT_EQ(0xaa, ((unsigned char *)self->ev)[i]);
}

/* Many laps, in portions that fit neither the ring nor each other. */
TEST_F(get, order_over_many_laps)
{
	unsigned int put = 0, got = 0;
	int i, ret, level = 0;

	for (i = 0; i < 500; i++) {
		int nr = 1 + i * 7 % 24;

		while (level + nr > ENTRIES) {
			ret = get_now(1, 1 + i * 5 % ENTRIES);
			ASSERT_LT(0, ret);
			EXPECT_SEQS(got, ret);
			got += ret;
			level -= ret;
		}
		ASSERT_EQ(nr, seq_post(self->q.fd, put, nr, 0));
		put += nr;
		level += nr;
	}
	while ((ret = get_now(0, 10)) > 0) {
		EXPECT_SEQS(got, ret);
		got += ret;
	}
	EXPECT_EQ(put, got);
}

TEST_F(get, order_with_deferred_posts)
{
	int ret, got = 0;

	EXPECT_EQ(ENTRIES, seq_post(self->q.fd, 0, ENTRIES, 0));
	EXPECT_EQ(300, seq_post(self->q.fd, ENTRIES, 300, KEVENT_POST_DEFER));
	while ((ret = get_now(1, 7)) > 0) {
		EXPECT_SEQS(got, ret);
		got += ret;
	}
	EXPECT_EQ(ENTRIES + 300, got);
}

/*
 * Faults.
 */
TEST_F(get, faulting_buffer_loses_nothing)
{
	struct kevent_event *end = guard_page();
	int fd = self->q.fd;

	ASSERT_NE(NULL, end);
	EXPECT_EQ(5, seq_post(fd, 0, 5, 0));
	EXPECT_EQ(-EFAULT, kevent_get_events(fd, 0, 5, NULL, NULL, 0));
	EXPECT_EQ(-EFAULT, kevent_get_events(fd, 1, 5, NULL, end, 0));
	EXPECT_EQ(-EFAULT, kevent_get_events(fd, 1, 5, NULL, (void *)-1L, 0));
	EXPECT_EQ(-EFAULT, kevent_get_events(fd, 1, 5, NULL,
					     (void *)((char *)end - 31), 0));
	EXPECT_EQ(5, get_now(1, 8));
	EXPECT_SEQS(0, 5);
	EXPECT_EQ(0, get_now(0, 8));
}

TEST_F(get, fault_in_the_middle_of_the_buffer)
{
	struct kevent_event *end = guard_page();
	int fd = self->q.fd, i, ret;

	ASSERT_NE(NULL, end);
	EXPECT_EQ(5, seq_post(fd, 0, 5, 0));
	EXPECT_EQ(2, kevent_get_events(fd, 1, 5, NULL, end - 2, 0));
	for (i = 0; i < 2; i++) {
		EXPECT_EQ(i, end[i - 2].user_data);
		EXPECT_TRUE(seq_intact(&end[i - 2]));
	}
	/* Half an event is none. */
	ret = kevent_get_events(fd, 1, 5, NULL, (void *)((char *)end - 48), 0);
	EXPECT_EQ(1, ret);
	EXPECT_EQ(2, get_now(1, 8));
	EXPECT_SEQS(3, 2);
	EXPECT_EQ(0, get_now(0, 8));
}

TEST_F(get, fault_with_a_backlog)
{
	struct kevent_event *end = guard_page();
	int fd = self->q.fd, got = 0, i, ret;

	ASSERT_NE(NULL, end);
	EXPECT_EQ(2 * ENTRIES, seq_post(fd, 0, 2 * ENTRIES,
					KEVENT_POST_DEFER));
	while (got < 2 * ENTRIES) {
		ASSERT_EQ(-EFAULT, kevent_get_events(fd, 1, 5, NULL, end, 0));
		ret = kevent_get_events(fd, 1, 5, NULL, end - 3, 0);
		ASSERT_LE(1, ret);
		ASSERT_GE(3, ret);
		for (i = 0; i < ret; i++, got++)
			ASSERT_EQ(got, end[i - 3].user_data);
	}
	EXPECT_EQ(0, get_now(0, 8));
}

/* How many there are for one who has taken all before. */
static int wait_now(struct queue *q)
{
	struct __kernel_timespec ts = {};
	struct kevent_wait args = {
		.clockid = CLOCK_MONOTONIC,
		.seen = q->ring ? ring_cursor(q) : 0,
		.min_nr = 1,
		.timeout = (unsigned long)&ts,
	};

	return kevent_wait(q->fd, &args, sizeof(args));
}

TEST_F(get, fault_leaves_the_queue_readable)
{
	struct pollfd pfd = { .fd = self->q.fd, .events = POLLIN };
	int fd = self->q.fd;

	EXPECT_EQ(3, seq_post(fd, 0, 3, 0));
	EXPECT_EQ(-EFAULT, kevent_get_events(fd, 1, 3, NULL, NULL, 0));
	EXPECT_EQ(1, poll(&pfd, 1, 0));
	EXPECT_EQ(POLLIN, pfd.revents);
	EXPECT_EQ(3, wait_now(&self->q));
	EXPECT_EQ(1, poll(&pfd, 1, 0));
	EXPECT_EQ(3, get_now(1, 8));
	EXPECT_SEQS(0, 3);
	EXPECT_EQ(0, poll(&pfd, 1, 0));
}

/* Whatever was posted since, and whichever way they leave then. */
TEST_F(get, fault_keeps_the_order)
{
	int fd = self->q.fd, i;

	EXPECT_EQ(3, seq_post(fd, 0, 3, 0));
	EXPECT_EQ(-EFAULT, kevent_get_events(fd, 1, 2, NULL, NULL, 0));
	EXPECT_EQ(2, seq_post(fd, 3, 2, 0));
	EXPECT_EQ(5, wait_now(&self->q));
	for (i = 0; i < 5; i++) {
		EXPECT_EQ(1, self->q.ring ? ring_take(&self->q, self->ev) :
					    get_now(1, 1));
		EXPECT_SEQS(i, 1);
	}
	EXPECT_EQ(0, get_now(0, 8));
}

TEST_F(get, read_only_buffer)
{
	long page = sysconf(_SC_PAGESIZE);
	void *buf = mmap(NULL, page, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS,
			 -1, 0);

	ASSERT_NE(MAP_FAILED, buf);
	EXPECT_EQ(1, seq_post(self->q.fd, 0, 1, 0));
	EXPECT_EQ(-EFAULT, kevent_get_events(self->q.fd, 1, 1, NULL, buf, 0));
	EXPECT_EQ(1, get_now(1, 1));
	EXPECT_SEQS(0, 1);
}

/* The queue's own mapping is memory like any other. */
TEST_F(get, into_its_own_mapping)
{
	struct kevent_event *last;

	if (!self->q.ring)
		SKIP(return, "there is no mapping");
	last = &self->q.slots[ENTRIES - 1];
	EXPECT_EQ(1, seq_post(self->q.fd, 7, 1, 0));
	EXPECT_EQ(1, kevent_get_events(self->q.fd, 1, 1, NULL, last, 0));
	EXPECT_EQ(7, last->user_data);
	EXPECT_TRUE(seq_intact(last));
}

TEST_F(get, out_of_its_own_mapping)
{
	if (!self->q.ring)
		SKIP(return, "there is no mapping");
	seq_fill(&self->q.slots[ENTRIES - 1], 7);
	EXPECT_EQ(1, kevent_post(self->q.fd, &self->q.slots[ENTRIES - 1],
				 sizeof(struct kevent_event), 1, 0));
	EXPECT_EQ(1, get_now(1, 1));
	EXPECT_SEQS(7, 1);
}

/*
 * Time. Being late is no failure, being early is.
 */
TEST_F(get, relative_timeout)
{
	__u64 start = now_ns(CLOCK_MONOTONIC);

	self->ts.tv_nsec = 20 * MSEC;
	EXPECT_EQ(0, get_now(1, 1));
	EXPECT_LE(start + 20 * MSEC, now_ns(CLOCK_MONOTONIC));
}

TEST_F(get, absolute_timeout)
{
	__u64 end = now_ns(CLOCK_MONOTONIC) + 20 * MSEC;

	self->ts = ns_to_ts(end);
	EXPECT_EQ(0, kevent_get_events(self->q.fd, 1, 1, &self->ts, self->ev,
				       KEVENT_WAIT_ABSTIME));
	EXPECT_LE(end, now_ns(CLOCK_MONOTONIC));
}

TEST_F(get, absolute_timeout_in_the_past)
{
	self->ts.tv_nsec = 1;
	EXPECT_EQ(0, kevent_get_events(self->q.fd, 1, 1, &self->ts, self->ev,
				       KEVENT_WAIT_ABSTIME));
	EXPECT_EQ(1, seq_post(self->q.fd, 0, 1, 0));
	EXPECT_EQ(1, kevent_get_events(self->q.fd, 1, 2, &self->ts, self->ev,
				       KEVENT_WAIT_ABSTIME));
	EXPECT_SEQS(0, 1);
}

/*
 * Sleep.
 */
struct getter {
	struct sleeper sleeper;
	int fd;
	unsigned int min, max;
	struct kevent_event ev[ENTRIES];
};

static int getter_call(void *arg)
{
	struct getter *g = arg;

	return kevent_get_events(g->fd, g->min, g->max, NULL, g->ev, 0);
}

static int getter_start(struct getter *g, int fd, unsigned int min,
			unsigned int max)
{
	memset(g, 0, sizeof(*g));
	g->fd = fd;
	g->min = min;
	g->max = max;
	return sleeper_start(&g->sleeper, getter_call, g);
}

TEST_F(get, event_wakes)
{
	struct getter g;
	int i;

	for (i = 0; i < 20; i++) {
		ASSERT_EQ(0, getter_start(&g, self->q.fd, 1, 8));
		ASSERT_TRUE(sleeper_asleep(&g.sleeper));
		ASSERT_EQ(1, seq_post(self->q.fd, i, 1, 0));
		ASSERT_EQ(1, sleeper_join(&g.sleeper));
		ASSERT_EQ(i, g.ev[0].user_data);
		ASSERT_TRUE(seq_intact(&g.ev[0]));
	}
}

TEST_F(get, sleeps_until_there_are_enough)
{
	struct getter g;
	int i;

	ASSERT_EQ(0, getter_start(&g, self->q.fd, 3, 8));
	for (i = 0; i < 3; i++) {
		EXPECT_TRUE(sleeper_asleep(&g.sleeper));
		EXPECT_EQ(1, seq_post(self->q.fd, i, 1, 0));
	}
	ASSERT_EQ(3, sleeper_join(&g.sleeper));
	for (i = 0; i < 3; i++)
		EXPECT_EQ(i, g.ev[i].user_data);
}

/* It makes room while it waits, so the ring may be smaller than that. */
TEST(minimum_above_the_size_of_the_ring)
{
	struct getter g;
	struct queue q;
	int i;

	ASSERT_LE(0, queue_open(&q, 2));
	ASSERT_EQ(0, getter_start(&g, q.fd, 10, 10));
	EXPECT_EQ(10, seq_post_all(q.fd, 0, 10));
	ASSERT_EQ(10, sleeper_join(&g.sleeper));
	for (i = 0; i < 10; i++) {
		EXPECT_EQ(i, g.ev[i].user_data);
		EXPECT_TRUE(seq_intact(&g.ev[i]));
	}
	queue_close(&q);
}

static void on_signal(int sig)
{
	(void)sig;
}

/* Levels hold again and again, so there is never nothing to copy. */
TEST(time_is_over_although_levels_hold)
{
	enum { MANY = 4096 };
	static struct kevent_event ev[MANY];
	struct __kernel_timespec ts = {};
	struct kevent_watch w;
	struct queue q;
	int fd[2], i;

	need_source(KEVENT_SOURCE_POLL, "files");
	ASSERT_EQ(0, pipe(fd));
	ASSERT_LE(0, queue_open(&q, 2));
	for (i = 0; i < 2; i++) {
		w = watch_poll(fd[1], KEVENT_POLL_OUT, 0, i);
		ASSERT_EQ(1, add_one(&q, &w));
	}
	EXPECT_GT(MANY, kevent_get_events(q.fd, MANY, MANY, &ts, ev, 0));
	queue_close(&q);
	close(fd[0]);
	close(fd[1]);
}

TEST_F(get, signal_with_nothing_copied)
{
	struct sigaction sa = {
		.sa_handler = on_signal,
		.sa_flags = SA_RESTART,
	};
	struct getter g;

	ASSERT_EQ(0, sigaction(SIGUSR1, &sa, NULL));
	ASSERT_EQ(0, getter_start(&g, self->q.fd, 1, 8));
	EXPECT_TRUE(sleeper_asleep(&g.sleeper));
	pthread_kill(g.sleeper.thread, SIGUSR1);
	EXPECT_EQ(-EINTR, sleeper_join(&g.sleeper));
}

/* Whether it had copied them or not: the events are there, once. */
TEST_F(get, signal_with_fewer_than_wanted)
{
	struct sigaction sa = { .sa_handler = on_signal };
	struct getter g;
	int ret, i;

	ASSERT_EQ(0, sigaction(SIGUSR1, &sa, NULL));
	EXPECT_EQ(2, seq_post(self->q.fd, 0, 2, 0));
	ASSERT_EQ(0, getter_start(&g, self->q.fd, 3, 8));
	EXPECT_TRUE(sleeper_asleep(&g.sleeper));
	pthread_kill(g.sleeper.thread, SIGUSR1);
	ret = sleeper_join(&g.sleeper);
	if (ret == -EINTR) {
		ret = get_now(0, 8);
		memcpy(g.ev, self->ev, sizeof(g.ev));
	}
	ASSERT_EQ(2, ret);
	for (i = 0; i < 2; i++)
		EXPECT_EQ(i, g.ev[i].user_data);
	EXPECT_EQ(0, get_now(0, 8));
}

TEST_F(get, close_while_asleep)
{
	int other = dup(self->q.fd);
	struct getter g;

	ASSERT_LE(0, other);
	ASSERT_EQ(0, getter_start(&g, self->q.fd, 1, 8));
	ASSERT_TRUE(sleeper_asleep(&g.sleeper));
	close(self->q.fd);
	self->q.fd = other;
	EXPECT_EQ(1, seq_post(other, 0, 1, 0));
	sleeper_join(&g.sleeper);
}

/* One event ends one call, of whichever kind. */
TEST_F(get, one_event_wakes_one_sleeper)
{
	struct getter g;
	struct waiter w;

	ASSERT_EQ(0, getter_start(&g, self->q.fd, 1, 1));
	ASSERT_TRUE(sleeper_asleep(&g.sleeper));
	ASSERT_EQ(0, waiter_start(&w, self->q.fd, 0, 1));
	ASSERT_TRUE(sleeper_asleep(&w.sleeper));
	EXPECT_EQ(1, seq_post(self->q.fd, 0, 1, 0));
	EXPECT_EQ(1, sleeper_join(&g.sleeper));
	EXPECT_TRUE(sleeper_asleep(&w.sleeper));
	EXPECT_EQ(1, seq_post(self->q.fd, 1, 1, 0));
	EXPECT_LE(1, sleeper_join(&w.sleeper));
}

/*
 * Exactly once.
 */
#define EVENTS	20000

struct share {
	struct queue *q;
	int way;
	unsigned int left;
	unsigned int wrong;
	unsigned char seen[EVENTS];
};

static void share_event(struct share *s, const struct kevent_event *ev)
{
	if (!seq_intact(ev) || ev->user_data >= EVENTS ||
	    __atomic_fetch_add(&s->seen[ev->user_data], 1, __ATOMIC_RELAXED))
		__atomic_add_fetch(&s->wrong, 1, __ATOMIC_RELAXED);
	else
		__atomic_sub_fetch(&s->left, 1, __ATOMIC_RELAXED);
}

/* Each thread takes another way: 0 ring, 1 without sleeping, 2 sleeping. */
static void *share_main(void *arg)
{
	struct __kernel_timespec ts = { .tv_nsec = 2 * MSEC };
	struct share *s = arg;
	struct kevent_event ev[8];
	int i, ret, way = __atomic_fetch_add(&s->way, 1, __ATOMIC_RELAXED);

	while (__atomic_load_n(&s->left, __ATOMIC_RELAXED) &&
	       !__atomic_load_n(&s->wrong, __ATOMIC_RELAXED)) {
		if (way == 0 && s->q->ring)
			ret = ring_take(s->q, ev);
		else
			ret = kevent_get_events(s->q->fd, way == 2, 8, &ts, ev,
						0);
		if (ret < 0)
			__atomic_add_fetch(&s->wrong, 1, __ATOMIC_RELAXED);
		if (ret == 0)
			sched_yield();
		for (i = 0; i < ret; i++)
			share_event(s, &ev[i]);
	}
	return NULL;
}

TEST_F(get, every_way_out_shares_exactly_once)
{
	struct share *share = calloc(1, sizeof(*share));
	pthread_t threads[3];
	int i;

	ASSERT_NE(NULL, share);
	share->q = &self->q;
	share->left = EVENTS;
	for (i = 0; i < 3; i++)
		ASSERT_EQ(0, pthread_create(&threads[i], NULL, share_main,
					    share));
	for (i = 0; i < EVENTS; i += 50) {
		int ret, done = 0;

		while (done < 50) {
			ASSERT_EQ(0, __atomic_load_n(&share->wrong,
						     __ATOMIC_RELAXED));
			ret = seq_post(self->q.fd, i + done, 50 - done,
				       i % 100 ? KEVENT_POST_DEFER : 0);
			if (ret == -EAGAIN) {
				/* What if all others look at the ring only? */
				sched_yield();
				continue;
			}
			ASSERT_LT(0, ret);
			done += ret;
		}
	}
	for (i = 0; i < 3; i++)
		pthread_join(threads[i], NULL);
	EXPECT_EQ(0, share->wrong);
	for (i = 0; i < EVENTS; i++)
		ASSERT_EQ(1, share->seen[i]);
	EXPECT_EQ(0, get_now(0, 8));
	free(share);
}

/* Taken from the ring in between: the next one follows, none comes twice. */
TEST_F(get, takes_turns_with_the_ring)
{
	int i, ways = 0;

	if (!self->q.ring)
		SKIP(return, "there is no ring");
	for (i = 0; i < 10 * ENTRIES; i++) {
		if (i % ENTRIES == 0) {
			ASSERT_EQ(ENTRIES, seq_post(self->q.fd, i, ENTRIES,
						    0));
			ways = ways * 5 + 1;
		}
		ASSERT_EQ(1, ways >> i % 16 & 1 ?
			     ring_take(&self->q, self->ev) : get_now(1, 1));
		EXPECT_SEQS(i, 1);
	}
}

/* An entry that another thread holds is not there, and not in the way. */
TEST_F(get, entry_that_another_one_reads)
{
	__u32 index;

	if (!self->q.ring)
		SKIP(return, "there is no ring");
	EXPECT_EQ(3, seq_post(self->q.fd, 0, 3, 0));
	ASSERT_TRUE(ring_claim(&self->q, &index));
	EXPECT_EQ(2, get_now(1, 8));
	EXPECT_SEQS(1, 2);
	ASSERT_TRUE(ring_read(&self->q, index, self->ev));
	EXPECT_SEQS(0, 1);
	ring_free(&self->q, index);
	EXPECT_EQ(0, get_now(1, 8));
}

TEST_F(get, moves_the_cursor_of_the_ring)
{
	if (!self->q.ring)
		SKIP(return, "there is no ring");
	EXPECT_EQ(3, seq_post(self->q.fd, 0, 3, 0));
	EXPECT_EQ(2, get_now(1, 2));
	EXPECT_EQ(2, ring_cursor(&self->q));
	EXPECT_EQ(KEVENT_WORD_FREE, *ring_word(&self->q, 0));
	EXPECT_EQ(KEVENT_WORD_FREE, *ring_word(&self->q, 1));
	EXPECT_TRUE(ring_ready(&self->q, 2));
}

/* Two threads that take turns: one lost wake-up and they sleep forever. */
struct player {
	int in, out;
	unsigned int rounds;
};

static int player_call(void *arg)
{
	struct player *p = arg;
	struct kevent_event ev;
	unsigned int i;
	int ret;

	for (i = 0; i < p->rounds; i++) {
		ret = kevent_get_events(p->in, 1, 1, NULL, &ev, 0);
		if (ret != 1 || ev.user_data != i)
			return ret < 0 ? ret : -EBADMSG;
		ret = seq_post(p->out, i, 1, 0);
		if (ret != 1)
			return ret;
	}
	return 0;
}

TEST_F(get, ping_pong_loses_no_wakeup)
{
	struct player p = { .in = self->q.fd, .rounds = 1000 };
	struct sleeper s;
	struct queue back;
	unsigned int i;

	ASSERT_LE(0, queue_open(&back, variant->entries));
	p.out = back.fd;
	ASSERT_EQ(0, sleeper_start(&s, player_call, &p));
	for (i = 0; i < p.rounds; i++) {
		ASSERT_EQ(1, seq_post(self->q.fd, i, 1, 0));
		ASSERT_EQ(1, kevent_get_events(back.fd, 1, 1, NULL, self->ev,
					       0));
		ASSERT_EQ(i, self->ev[0].user_data);
	}
	EXPECT_EQ(0, sleeper_join(&s));
	queue_close(&back);
}

TEST_HARNESS_MAIN
