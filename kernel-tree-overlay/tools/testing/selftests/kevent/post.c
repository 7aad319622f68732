// SPDX-License-Identifier: GPL-2.0
/*
 * kevent_post(): what it accepts, what comes out, and that a full queue says so
 * and loses nothing.
 */
#include "kevent_test.h"

/* The limit of what may wait in the backlog of one queue. */
#define MAX_DEFERRED	65536

FIXTURE(post)
{
	struct queue q;
};

FIXTURE_VARIANT(post)
{
	unsigned int entries;
	bool copy;	/* take events with kevent_get_events() */
};

FIXTURE_VARIANT_ADD(post, ring)
{
	.entries = 8,
};

FIXTURE_VARIANT_ADD(post, copied)
{
	.entries = 8,
	.copy = true,
};

FIXTURE_VARIANT_ADD(post, no_ring)
{
	.copy = true,
};

FIXTURE_SETUP(post)
{
	ASSERT_LE(0, queue_open(&self->q, variant->entries));
}

FIXTURE_TEARDOWN(post)
{
	queue_close(&self->q);
}

/* Takes one event in the way under test; 1 or 0. */
static int take(struct queue *q, bool copy, struct kevent_event *ev)
{
	if (copy)
		return kevent_get_events(q->fd, 0, 1, NULL, ev, 0);
	return ring_take(q, ev);
}

/* The next event must be this one, intact. */
#define EXPECT_SEQ(seq)							\
do {									\
	struct kevent_event __got = {};					\
									\
	EXPECT_EQ(1, take(&self->q, variant->copy, &__got));		\
	EXPECT_EQ((__u64)(seq), __got.user_data);			\
	EXPECT_TRUE(seq_intact(&__got));				\
} while (0)

#define EXPECT_EMPTY()							\
do {									\
	struct kevent_event __got = {};					\
									\
	EXPECT_EQ(0, take(&self->q, variant->copy, &__got));		\
} while (0)

TEST_F(post, number_of_events)
{
	struct kevent_event ev = {};
	int fd = self->q.fd;

	EXPECT_EQ(-EINVAL, kevent_post(fd, &ev, sizeof(ev), 0, 0));
	EXPECT_EQ(-EINVAL, kevent_post(fd, NULL, sizeof(ev), 0, 0));
	EXPECT_EQ(-EINVAL, kevent_post(fd, &ev, sizeof(ev), 0x80000000, 0));
	EXPECT_EQ(-EINVAL, kevent_post(fd, &ev, sizeof(ev), 0xffffffff, 0));
	EXPECT_EMPTY();
}

TEST_F(post, huge_number_of_events)
{
	struct kevent_event *ev = guard_page();

	ASSERT_NE(NULL, ev);
	ev -= 2;
	seq_fill(&ev[0], 1);
	seq_fill(&ev[1], 2);
	/* Here 32 * nr has no bit left within 32 bits. */
	EXPECT_EQ(2, kevent_post(self->q.fd, ev, sizeof(*ev), 0x40000000, 0));
	EXPECT_EQ(2, kevent_post(self->q.fd, ev, sizeof(*ev), INT_MAX, 0));
	EXPECT_SEQ(1);
	EXPECT_SEQ(2);
	EXPECT_SEQ(1);
	EXPECT_SEQ(2);
	EXPECT_EMPTY();
}

TEST_F(post, unknown_flags)
{
	struct kevent_event ev;
	int bit;

	seq_fill(&ev, 1);
	for (bit = 0; bit < 32; bit++) {
		if (1U << bit == KEVENT_POST_DEFER)
			continue;
		EXPECT_EQ(-EINVAL, kevent_post(self->q.fd, &ev, sizeof(ev), 1,
					       1U << bit)) {
			TH_LOG("flag bit %d", bit);
		}
	}
	EXPECT_EMPTY();
}

TEST_F(post, event_bits_outside_the_mask)
{
	struct kevent_event ev;
	int bit;

	for (bit = 0; bit < 32; bit++) {
		seq_fill(&ev, 1);
		ev.events = 1U << bit;
		if (ev.events & KEVENT_EVENTS_MASK)
			continue;
		EXPECT_EQ(-EINVAL, kevent_post(self->q.fd, &ev, sizeof(ev), 1,
					       0)) {
			TH_LOG("event bit %d", bit);
		}
	}
	EXPECT_EMPTY();
}

TEST_F(post, info_belongs_to_the_kernel)
{
	struct kevent_event ev;
	int bit;

	for (bit = 0; bit < 32; bit++) {
		seq_fill(&ev, 1);
		ev.info = 1U << bit;
		EXPECT_EQ(-EINVAL, kevent_post(self->q.fd, &ev, sizeof(ev), 1,
					       0)) {
			TH_LOG("info bit %d", bit);
		}
	}
	seq_fill(&ev, 1);
	ev.info = KEVENT_SOURCE_USER;
	EXPECT_EQ(-EINVAL, kevent_post(self->q.fd, &ev, sizeof(ev), 1, 0));
	EXPECT_EMPTY();
}

TEST_F(post, size_below_the_first_version)
{
	struct kevent_event ev;
	size_t size;

	seq_fill(&ev, 1);
	for (size = 0; size < KEVENT_EVENT_SIZE_VER0; size++)
		EXPECT_EQ(-EINVAL, kevent_post(self->q.fd, &ev, size, 1, 0));
	EXPECT_EMPTY();
}

TEST_F(post, size_above_a_page)
{
	long page = sysconf(_SC_PAGESIZE);
	struct kevent_event *ev = calloc(2, page);
	int fd = self->q.fd;

	ASSERT_NE(NULL, ev);
	EXPECT_EQ(-E2BIG, kevent_post(fd, ev, page + 1, 1, 0));
	EXPECT_EQ(-E2BIG, kevent_post(fd, ev, 2 * page, 1, 0));
	EXPECT_EQ(-E2BIG, kevent_post(fd, ev, INT_MAX, 1, 0));
	EXPECT_EQ(-E2BIG, kevent_post(fd, ev, SIZE_MAX, 1, 0));
	EXPECT_EMPTY();
	free(ev);
}

/* Some odd strides, so that most of the events are not aligned. */
TEST_F(post, larger_size_with_zero_tail)
{
	static const size_t sizes[] = { 33, 40, 47, 64, 100 };
	size_t i, j, size;
	char buf[4 * 100];

	for (i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
		size = sizes[i];
		memset(buf, 0, sizeof(buf));
		for (j = 0; j < 4; j++) {
			struct kevent_event ev;

			seq_fill(&ev, 10 * i + j);
			memcpy(buf + j * size, &ev, sizeof(ev));
		}
		EXPECT_EQ(4, kevent_post(self->q.fd, (void *)buf, size, 4, 0));
		for (j = 0; j < 4; j++)
			EXPECT_SEQ(10 * i + j);
	}
	EXPECT_EMPTY();
}

TEST_F(post, size_of_a_page)
{
	long page = sysconf(_SC_PAGESIZE);
	struct kevent_event *ev = calloc(2, page);

	ASSERT_NE(NULL, ev);
	seq_fill(ev, 1);
	seq_fill((void *)((char *)ev + page), 2);
	EXPECT_EQ(2, kevent_post(self->q.fd, ev, page, 2, 0));
	EXPECT_SEQ(1);
	EXPECT_SEQ(2);
	free(ev);
}

TEST_F(post, larger_size_with_nonzero_tail)
{
	struct {
		struct kevent_event ev;
		char tail[8];
	} ev[3] = {};
	int i;

	for (i = 0; i < 3; i++)
		seq_fill(&ev[i].ev, i);
	ev[0].tail[7] = 1;
	EXPECT_EQ(-E2BIG, kevent_post(self->q.fd, &ev[0].ev, sizeof(*ev), 3,
				      0));
	EXPECT_EMPTY();

	ev[0].tail[7] = 0;
	ev[2].tail[0] = 1;
	EXPECT_EQ(2, kevent_post(self->q.fd, &ev[0].ev, sizeof(*ev), 3, 0));
	EXPECT_SEQ(0);
	EXPECT_SEQ(1);
	EXPECT_EMPTY();
}

TEST_F(post, unreadable_events)
{
	struct kevent_event *end = guard_page();
	int fd = self->q.fd;

	ASSERT_NE(NULL, end);
	EXPECT_EQ(-EFAULT, kevent_post(fd, NULL, sizeof(*end), 1, 0));
	EXPECT_EQ(-EFAULT, kevent_post(fd, (void *)-1L, sizeof(*end), 1, 0));
	EXPECT_EQ(-EFAULT, kevent_post(fd, (void *)-64L, sizeof(*end), 1, 0));
	EXPECT_EQ(-EFAULT, kevent_post(fd, end, sizeof(*end), 1, 0));
	EXPECT_EQ(-EFAULT, kevent_post(fd, (void *)((char *)end - 31),
				       sizeof(*end), 1, 0));
	/* Here only the tail cannot be read. */
	EXPECT_EQ(-EFAULT, kevent_post(fd, end - 1, sizeof(*end) + 1, 1, 0));
	EXPECT_EMPTY();
}

TEST_F(post, guard_page_in_the_middle)
{
	struct kevent_event *ev = guard_page();
	int i;

	ASSERT_NE(NULL, ev);
	ev -= 3;
	for (i = 0; i < 3; i++)
		seq_fill(&ev[i], i);
	EXPECT_EQ(3, kevent_post(self->q.fd, ev, sizeof(*ev), 6, 0));
	for (i = 0; i < 3; i++)
		EXPECT_SEQ(i);
	EXPECT_EMPTY();

	/* An event with its last byte beyond. */
	ev = (void *)((char *)ev + 1);
	for (i = 0; i < 2; i++) {
		struct kevent_event aligned;

		seq_fill(&aligned, 10 + i);
		memcpy(&ev[i], &aligned, sizeof(aligned));
	}
	EXPECT_EQ(2, kevent_post(self->q.fd, ev, sizeof(*ev), 3, 0));
	EXPECT_SEQ(10);
	EXPECT_SEQ(11);
	EXPECT_EMPTY();
}

TEST_F(post, count_comes_before_an_error)
{
	struct kevent_event ev[5];
	int i;

	for (i = 0; i < 5; i++)
		seq_fill(&ev[i], i);
	ev[2].info = 1;
	EXPECT_EQ(2, kevent_post(self->q.fd, ev, sizeof(*ev), 5, 0));
	EXPECT_SEQ(0);
	EXPECT_SEQ(1);
	EXPECT_EMPTY();
	EXPECT_EQ(-EINVAL, kevent_post(self->q.fd, ev + 2, sizeof(*ev), 3, 0));
	EXPECT_EMPTY();

	ev[2].info = 0;
	ev[4].events = ~KEVENT_EVENTS_MASK;
	EXPECT_EQ(2, kevent_post(self->q.fd, ev + 2, sizeof(*ev), 3, 0));
	EXPECT_SEQ(2);
	EXPECT_SEQ(3);
	EXPECT_EMPTY();
}

TEST_F(post, payload_round_trip)
{
	static const struct kevent_event in[] = {
		{ },
		{ .events = 1 },
		{ .events = KEVENT_EVENTS_MASK },
		{ .user_data = ~0ULL, .data = -1, .extra = ~0ULL },
		{ .user_data = 1, .data = INT64_MIN, .extra = 1ULL << 63 },
		{ .user_data = 1ULL << 63, .data = INT64_MAX, .extra = 1 },
	};
	struct kevent_event out;
	size_t i;

	for (i = 0; i < sizeof(in) / sizeof(*in); i++) {
		EXPECT_EQ(1, kevent_post(self->q.fd, &in[i], sizeof(*in), 1,
					 0));
		memset(&out, 0x55, sizeof(out));
		EXPECT_EQ(1, take(&self->q, variant->copy, &out));
		EXPECT_EQ(in[i].user_data, out.user_data);
		EXPECT_EQ(in[i].events, out.events);
		EXPECT_EQ(INFO_POSTED, out.info);
		EXPECT_EQ(in[i].data, out.data);
		EXPECT_EQ(in[i].extra, out.extra);
	}
	EXPECT_EMPTY();
}

TEST_F(post, events_come_in_order)
{
	int i, j, seq = 0;

	for (i = 1; i <= 8; i++) {
		EXPECT_EQ(i, seq_post(self->q.fd, seq, i, 0));
		for (j = 0; j < i; j++)
			EXPECT_SEQ(seq++);
		EXPECT_EMPTY();
	}
}

TEST_F(post, equal_posts_never_merge)
{
	struct kevent_event ev[8];
	int i;

	for (i = 0; i < 8; i++)
		seq_fill(&ev[i], 7);
	EXPECT_EQ(8, kevent_post(self->q.fd, ev, sizeof(*ev), 8, 0));
	for (i = 0; i < 8; i++)
		EXPECT_SEQ(7);
	EXPECT_EMPTY();
}

TEST_F(post, from_a_child)
{
	int status, i;
	pid_t pid;

	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid)
		_exit(seq_post(self->q.fd, 0, 8, 0));
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	ASSERT_TRUE(WIFEXITED(status));
	EXPECT_EQ(8, WEXITSTATUS(status));
	for (i = 0; i < 8; i++)
		EXPECT_SEQ(i);
	EXPECT_EMPTY();
}

TEST_F(post, from_a_child_after_the_parent_closed)
{
	int go[2], status, i, fd;
	char byte = 0;
	pid_t pid;

	/* The child's descriptor is the last one, for a while. */
	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_STREAM, 0, go));
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		if (read(go[1], &byte, 1) != 1)
			_exit(99);
		if (seq_post(self->q.fd, 0, 4, 0) != 4)
			_exit(98);
		_exit(send_fd(go[1], self->q.fd));
	}
	close(self->q.fd);
	ASSERT_EQ(1, write(go[0], &byte, 1));
	fd = recv_fd(go[0]);
	ASSERT_LE(0, fd);
	self->q.fd = fd;
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
	for (i = 0; i < 4; i++)
		EXPECT_SEQ(i);
	EXPECT_EMPTY();
}

#define THREADS		4
#define PER_THREAD	1000

struct poster {
	pthread_t thread;
	int fd;
	__u64 first;
	int ret;
};

static void *poster_main(void *arg)
{
	struct poster *p = arg;

	p->ret = seq_post_all(p->fd, p->first, PER_THREAD);
	return NULL;
}

/* The number of a thread is in the upper half of user_data. */
TEST_F(post, from_many_threads)
{
	struct poster posters[THREADS];
	__u32 next[THREADS] = {};
	struct kevent_event ev;
	int i, got = 0, ret;

	for (i = 0; i < THREADS; i++) {
		posters[i].fd = self->q.fd;
		posters[i].first = (__u64)i << 32;
		ASSERT_EQ(0, pthread_create(&posters[i].thread, NULL,
					    poster_main, &posters[i]));
	}
	while (got < THREADS * PER_THREAD) {
		__u32 thread;

		ret = take(&self->q, variant->copy, &ev);
		ASSERT_LE(0, ret);
		if (!ret) {
			sched_yield();
			continue;
		}
		got++;
		thread = ev.user_data >> 32;
		ASSERT_TRUE(seq_intact(&ev));
		ASSERT_GT(THREADS, thread);
		ASSERT_EQ(next[thread], (__u32)ev.user_data);
		next[thread]++;
	}
	for (i = 0; i < THREADS; i++) {
		pthread_join(posters[i].thread, NULL);
		EXPECT_EQ(PER_THREAD, posters[i].ret);
		EXPECT_EQ(PER_THREAD, next[i]);
	}
	EXPECT_EMPTY();
}

/* All of the limit is there, and everything comes out of it again. */
TEST_F(post, backlog_has_a_limit)
{
	unsigned int all = variant->entries + MAX_DEFERRED, i;

	EXPECT_EQ(all, seq_post(self->q.fd, 0, all + 64, KEVENT_POST_DEFER));
	EXPECT_EQ(-EAGAIN, seq_post(self->q.fd, 0, 1, KEVENT_POST_DEFER));
	EXPECT_EQ(-EAGAIN, seq_post(self->q.fd, 0, 1, 0));

	for (i = 0; i < all; ) {
		struct kevent_event ev[64];
		int j, ret = kevent_get_events(self->q.fd, 0, 64, NULL, ev, 0);

		ASSERT_LT(0, ret);
		for (j = 0; j < ret; j++, i++) {
			ASSERT_EQ(i, ev[j].user_data);
			ASSERT_TRUE(seq_intact(&ev[j]));
		}
	}
	EXPECT_EMPTY();

	/* And then there is room again. */
	EXPECT_EQ(4, seq_post(self->q.fd, 0, 4, 0));
	for (i = 0; i < 4; i++)
		EXPECT_SEQ(i);
}

TEST_F(post, closed_with_events_inside)
{
	EXPECT_EQ(1000, seq_post(self->q.fd, 0, 1000, KEVENT_POST_DEFER));
	close(self->q.fd);
	EXPECT_LE(0, queue_open(&self->q, variant->entries));
	EXPECT_EMPTY();
}

/* Without a ring there is nothing but the backlog, so no flag is needed. */
TEST(no_ring_takes_many_without_defer)
{
	struct queue q;

	ASSERT_LE(0, queue_open(&q, 0));
	EXPECT_EQ(1000, seq_post(q.fd, 0, 1000, 0));
	EXPECT_EQ(1000, queue_drain(&q));
	queue_close(&q);
}

FIXTURE(full)
{
	struct queue q;
};

FIXTURE_SETUP(full)
{
	ASSERT_LE(0, queue_open(&self->q, 4));
	ASSERT_EQ(4, seq_post(self->q.fd, 0, 4, 0));
}

FIXTURE_TEARDOWN(full)
{
	queue_close(&self->q);
}

#define EXPECT_CONSUMED(seq)						\
do {									\
	struct kevent_event __got = {};					\
									\
	EXPECT_EQ(1, ring_take(&self->q, &__got));			\
	EXPECT_EQ((__u64)(seq), __got.user_data);			\
	EXPECT_TRUE(seq_intact(&__got));				\
} while (0)

#define EXPECT_BACKLOG(yes)						\
	EXPECT_EQ((yes) ? KEVENT_RING_BACKLOG : 0,			\
		  __atomic_load_n(&self->q.ring->flags,			\
				  __ATOMIC_ACQUIRE) & KEVENT_RING_BACKLOG)

/* Housekeeping only. */
static int wait_now(struct queue *q)
{
	struct kevent_wait args = {
		.clockid = CLOCK_MONOTONIC,
		.seen = ring_cursor(q),
	};

	return kevent_wait(q->fd, &args, sizeof(args));
}

TEST_F(full, says_so_and_loses_nothing)
{
	struct kevent_event ev;
	int i;

	EXPECT_EQ(-EAGAIN, seq_post(self->q.fd, 4, 1, 0));
	EXPECT_EQ(-EAGAIN, seq_post(self->q.fd, 4, 3, 0));
	EXPECT_BACKLOG(false);
	for (i = 0; i < 4; i++)
		EXPECT_CONSUMED(i);
	EXPECT_EQ(0, ring_take(&self->q, &ev));
}

TEST_F(full, one_slot_at_a_time)
{
	int i;

	for (i = 4; i < 100; i++) {
		EXPECT_EQ(-EAGAIN, seq_post(self->q.fd, i, 1, 0));
		EXPECT_CONSUMED(i - 4);
		EXPECT_EQ(1, seq_post(self->q.fd, i, 2, 0));
	}
}

TEST_F(full, counts_what_fits)
{
	int i;

	EXPECT_CONSUMED(0);
	EXPECT_CONSUMED(1);
	EXPECT_CONSUMED(2);
	EXPECT_EQ(3, seq_post(self->q.fd, 4, 10, 0));
	for (i = 3; i < 7; i++)
		EXPECT_CONSUMED(i);
}

TEST_F(full, deferred_posts_wait_in_the_backlog)
{
	struct kevent_event ev;
	int i;

	EXPECT_EQ(2, seq_post(self->q.fd, 4, 2, KEVENT_POST_DEFER));
	EXPECT_BACKLOG(true);
	EXPECT_EQ(2, self->q.ring->deferred);
	for (i = 0; i < 4; i++)
		EXPECT_CONSUMED(i);
	EXPECT_BACKLOG(true);
	EXPECT_EQ(0, ring_take(&self->q, &ev));
	EXPECT_EQ(2, wait_now(&self->q));
	EXPECT_BACKLOG(false);
	EXPECT_CONSUMED(4);
	EXPECT_CONSUMED(5);
	EXPECT_EQ(0, ring_take(&self->q, &ev));
}

TEST_F(full, defer_with_room_does_not_defer)
{
	EXPECT_CONSUMED(0);
	EXPECT_EQ(1, seq_post(self->q.fd, 4, 1, KEVENT_POST_DEFER));
	EXPECT_BACKLOG(false);
	EXPECT_EQ(0, self->q.ring->deferred);
}

TEST_F(full, defer_fills_the_ring_first)
{
	int i;

	EXPECT_CONSUMED(0);
	EXPECT_CONSUMED(1);
	EXPECT_EQ(5, seq_post(self->q.fd, 4, 5, KEVENT_POST_DEFER));
	EXPECT_BACKLOG(true);
	EXPECT_EQ(3, self->q.ring->deferred);
	for (i = 2; i < 6; i++)
		EXPECT_CONSUMED(i);
	EXPECT_EQ(3, wait_now(&self->q));
	for (i = 6; i < 9; i++)
		EXPECT_CONSUMED(i);
}

TEST_F(full, nothing_overtakes_the_backlog)
{
	struct kevent_event ev;
	int i;

	EXPECT_EQ(6, seq_post(self->q.fd, 4, 6, KEVENT_POST_DEFER));
	EXPECT_CONSUMED(0);
	EXPECT_CONSUMED(1);

	/* The backlog takes both slots, so this post finds none. */
	EXPECT_EQ(-EAGAIN, seq_post(self->q.fd, 10, 1, 0));
	EXPECT_BACKLOG(true);
	EXPECT_EQ(1, seq_post(self->q.fd, 10, 1, KEVENT_POST_DEFER));
	for (i = 2; i < 6; i++)
		EXPECT_CONSUMED(i);
	EXPECT_EQ(4, wait_now(&self->q));
	EXPECT_BACKLOG(true);
	for (i = 6; i < 10; i++)
		EXPECT_CONSUMED(i);
	EXPECT_EQ(1, wait_now(&self->q));
	EXPECT_BACKLOG(false);
	EXPECT_CONSUMED(10);
	EXPECT_EQ(0, ring_take(&self->q, &ev));
}

TEST_F(full, next_post_moves_the_backlog)
{
	int i;

	EXPECT_EQ(2, seq_post(self->q.fd, 4, 2, KEVENT_POST_DEFER));
	for (i = 0; i < 4; i++)
		EXPECT_CONSUMED(i);
	EXPECT_EQ(1, seq_post(self->q.fd, 6, 1, 0));
	EXPECT_BACKLOG(false);
	for (i = 4; i < 7; i++)
		EXPECT_CONSUMED(i);
}

TEST_F(full, get_events_reaches_into_the_backlog)
{
	struct kevent_event ev[16];
	int i, got = 0, ret;

	EXPECT_EQ(5, seq_post(self->q.fd, 4, 5, KEVENT_POST_DEFER));
	while ((ret = kevent_get_events(self->q.fd, 0, 16, NULL, ev, 0)) > 0) {
		for (i = 0; i < ret; i++, got++) {
			EXPECT_EQ(got, ev[i].user_data);
			EXPECT_TRUE(seq_intact(&ev[i]));
		}
	}
	EXPECT_EQ(0, ret);
	EXPECT_EQ(9, got);
	EXPECT_BACKLOG(false);
}

TEST_F(full, counters)
{
	struct kevent_ring *ring = self->q.ring;
	int i;

	EXPECT_EQ(4, ring->posted);
	EXPECT_EQ(3, seq_post(self->q.fd, 4, 3, KEVENT_POST_DEFER));
	for (i = 0; i < 4; i++)
		EXPECT_CONSUMED(i);
	EXPECT_EQ(3, wait_now(&self->q));
	EXPECT_EQ(7, ring->posted);
	EXPECT_EQ(3, ring->deferred);
	EXPECT_EQ(0, ring->merged);
	EXPECT_EQ(0, ring->woken);
}

TEST_HARNESS_MAIN
