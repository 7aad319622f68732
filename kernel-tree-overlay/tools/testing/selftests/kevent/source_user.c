// SPDX-License-Identifier: GPL-2.0
/*
 * Watches of KEVENT_SOURCE_USER: the program fires them itself.
 */
#include "kevent_poll_test.h"

#define EDGE		KEVENT_WATCH_EDGE
#define ONESHOT		KEVENT_WATCH_ONESHOT
#define DISPATCH	KEVENT_WATCH_DISPATCH
#define DISABLED	KEVENT_WATCH_DISABLED
#define ENABLE		KEVENT_MODIFY_ENABLE
#define DISABLE		KEVENT_MODIFY_DISABLE

/* For races. */
#define ROUNDS		2000
#define THREADS		4

static void __attribute__((constructor)) need_user_watches(void)
{
	struct kevent_create args = {};
	int fd = kevent_create(&args, sizeof(args), 0);

	if (fd >= 0 && !(args.features & KEVENT_FEATURE_USER_WATCH)) {
		ksft_print_header();
		ksft_exit_skip("this kernel has no watches of class USER\n");
	}
	close(fd);
}

static struct kevent_watch user_watch(__u32 events, __u32 flags,
				      __u64 user_data)
{
	struct kevent_watch w = {
		.source = KEVENT_SOURCE_USER,
		.flags = flags,
		.events = events,
		.user_data = user_data,
	};

	return w;
}

FIXTURE(user)
{
	struct queue q;
	struct kevent_watch w;
	struct kevent_event ev;
};

FIXTURE_VARIANT(user)
{
	unsigned int entries;
	bool copy;
};

FIXTURE_VARIANT_ADD(user, ring)
{
	.entries = 4,
};

FIXTURE_VARIANT_ADD(user, copied)
{
	.entries = 4,
	.copy = true,
};

FIXTURE_VARIANT_ADD(user, no_ring)
{
	.copy = true,
};

FIXTURE_SETUP(user)
{
	ASSERT_LE(0, queue_open(&self->q, variant->entries));
}

FIXTURE_TEARDOWN(user)
{
	queue_close(&self->q);
}

#define Q		(&self->q)
#define NOTHING()	EXPECT_EMPTY(Q, variant->copy)

#define ADD(events, flags, value)					\
do {									\
	self->w = user_watch((events), (flags), (value));		\
	ASSERT_EQ(1, add_one(Q, &self->w));				\
} while (0)

#define CHANGE(what)	ASSERT_EQ(1, modify_one(Q, &self->w, (what)))
#define REMOVE()	EXPECT_EQ(1, remove_one(Q, self->w.handle))
#define TRIGGER(events)							\
	ASSERT_EQ(1, trigger(self->q.fd, self->w.handle, (events)))

/* The next event, which is there already, is exactly this one. */
#define TAKE(value, bits)						\
do {									\
	memset(&self->ev, 0xff, sizeof(self->ev));			\
	ASSERT_EQ(1, take_now(Q, variant->copy, &self->ev));		\
	EXPECT_EQ((__u64)(value), self->ev.user_data);			\
	EXPECT_EQ((__u32)(bits), self->ev.events);			\
	EXPECT_EQ(KEVENT_SOURCE_USER, self->ev.info & 0xffff);		\
	EXPECT_EQ(0, self->ev.data);					\
	EXPECT_EQ(0, self->ev.extra);					\
} while (0)

TEST_F(user, trigger_is_reported)
{
	ADD(KEVENT_EVENTS_MASK, 0, 1);
	NOTHING();
	TRIGGER(1);
	TAKE(1, 1);
	NOTHING();
	TRIGGER(KEVENT_EVENTS_MASK);
	TAKE(1, KEVENT_EVENTS_MASK);
	NOTHING();
	REMOVE();
}

/* In whichever mode, its bits are ORed until the program has them. */
TEST_F(user, consumption_resets_it)
{
	static const __u32 modes[] = { 0, EDGE };
	size_t i;

	for (i = 0; i < ARRAY_SIZE(modes); i++) {
		ADD(KEVENT_EVENTS_MASK, modes[i], i);
		TRIGGER(1);
		TRIGGER(1);
		TRIGGER(4);
		TAKE(i, 5);
		NOTHING();
		TRIGGER(2);
		TAKE(i, 2);
		NOTHING();
		/* Nor does changing the mode bring it back. */
		self->w.flags = EDGE ^ modes[i];
		CHANGE(KEVENT_MODIFY_MODE);
		NOTHING();
		TRIGGER(8);
		TAKE(i, 8);
		NOTHING();
		REMOVE();
	}
}

/* A level that does not hold any more would be gone; this is none. */
TEST_F(user, is_not_lost_by_waiting)
{
	ADD(1, 0, 1);
	TRIGGER(1);
	EXPECT_LE(0, queue_refill(Q));
	EXPECT_LE(0, queue_refill(Q));
	TAKE(1, 1);
	NOTHING();
	REMOVE();
}

TEST_F(user, only_bits_of_interest)
{
	ADD(6, 0, 1);
	TRIGGER(1);
	NOTHING();
	TRIGGER(3);
	TAKE(1, 2);
	self->w.events = 1;
	CHANGE(KEVENT_MODIFY_EVENTS);
	TRIGGER(7);
	TAKE(1, 1);
	self->w.events = 0;
	CHANGE(KEVENT_MODIFY_EVENTS);
	TRIGGER(7);
	NOTHING();
	REMOVE();
}

TEST_F(user, kept_while_it_is_disabled)
{
	static const __u32 modes[] = { 0, EDGE };
	size_t i;

	for (i = 0; i < ARRAY_SIZE(modes); i++) {
		ADD(KEVENT_EVENTS_MASK, modes[i] | DISABLED, i);
		TRIGGER(1);
		TRIGGER(2);
		NOTHING();
		CHANGE(ENABLE);
		TAKE(i, 3);
		NOTHING();
		CHANGE(DISABLE);
		NOTHING();
		TRIGGER(4);
		CHANGE(DISABLE);
		NOTHING();
		CHANGE(ENABLE);
		TAKE(i, 4);
		CHANGE(ENABLE);
		NOTHING();
		/* Disabled as long as nothing happens. */
		CHANGE(DISABLE);
		CHANGE(ENABLE);
		NOTHING();
		REMOVE();
	}
}

TEST_F(user, enabling_it_wakes_a_sleeper)
{
	struct waiter w;

	if (!Q->ring)
		return;
	ADD(1, DISABLED, 1);
	TRIGGER(1);
	ASSERT_EQ(0, waiter_start(&w, self->q.fd, ring_cursor(Q), 1));
	EXPECT_TRUE(sleeper_asleep(&w.sleeper));
	CHANGE(ENABLE);
	EXPECT_EQ(1, sleeper_join(&w.sleeper));
	TAKE(1, 1);
}

/* Its event disables it when it is posted, and what comes then is kept. */
TEST_F(user, dispatch)
{
	ADD(KEVENT_EVENTS_MASK, DISPATCH, 1);
	TRIGGER(1);
	TRIGGER(2);
	TAKE(1, 1);
	NOTHING();
	TRIGGER(4);
	NOTHING();
	CHANGE(ENABLE);
	TAKE(1, 6);
	NOTHING();
	CHANGE(ENABLE);
	NOTHING();
	TRIGGER(8);
	TAKE(1, 8);
	REMOVE();
}

TEST_F(user, oneshot)
{
	ADD(KEVENT_EVENTS_MASK, ONESHOT, 1);
	TRIGGER(1);
	EXPECT_EQ(-ENOENT,
		  trigger(self->q.fd, self->w.handle, 2));
	TAKE(1, 1);
	NOTHING();
	EXPECT_EQ(-ENOENT, trigger(self->q.fd, self->w.handle, 2));
	NOTHING();
	EXPECT_EQ(-ENOENT, remove_one(Q, self->w.handle));
}

TEST_F(user, user_data_is_changed)
{
	ADD(1, 0, 1);
	self->w.user_data = 2;
	CHANGE(KEVENT_MODIFY_USER_DATA);
	NOTHING();
	TRIGGER(1);
	TAKE(2, 1);
	REMOVE();
}

TEST_F(user, removed_while_unconsumed)
{
	ADD(1, 0, 1);
	TRIGGER(1);
	REMOVE();
	NOTHING();
	EXPECT_EQ(-ENOENT, trigger(self->q.fd, self->w.handle, 1));
	NOTHING();
}

TEST_F(user, wakes_a_sleeper)
{
	struct waiter w;
	int i;

	if (!Q->ring)
		return;
	ADD(1, 0, 1);
	for (i = 0; i < 10; i++) {
		ASSERT_EQ(0, waiter_start(&w, self->q.fd, ring_cursor(Q), 1));
		EXPECT_TRUE(sleeper_asleep(&w.sleeper));
		TRIGGER(1);
		EXPECT_EQ(1, sleeper_join(&w.sleeper));
		TAKE(1, 1);
		NOTHING();
	}
}

static int get_one(void *arg)
{
	struct kevent_event ev = {};
	int ret = kevent_get_events(*(int *)arg, 1, 1, NULL, &ev, 0);

	return ret == 1 ? (int)ev.events : ret;
}

TEST_F(user, wakes_a_sleeper_in_get_events)
{
	struct sleeper s;

	ADD(3, 0, 1);
	ASSERT_EQ(0, sleeper_start(&s, get_one, &self->q.fd));
	EXPECT_TRUE(sleeper_asleep(&s));
	TRIGGER(2);
	EXPECT_EQ(2, sleeper_join(&s));
	NOTHING();
}

TEST_F(user, the_queue_polls_as_readable)
{
	struct pollfd pfd = { .fd = self->q.fd, .events = POLLIN };

	ADD(1, 0, 1);
	EXPECT_EQ(0, poll(&pfd, 1, 0));
	TRIGGER(1);
	EXPECT_EQ(1, poll(&pfd, 1, 0));
	TAKE(1, 1);
	EXPECT_EQ(0, poll(&pfd, 1, 0));
}

TEST_F(user, several_watches)
{
	struct kevent_watch w[3];
	int i;

	for (i = 0; i < 3; i++)
		w[i] = user_watch(0xff, 0, i);
	ASSERT_EQ(3, kevent_add(self->q.fd, w, sizeof(*w), 3, 0));
	for (i = 0; i < 3; i++)
		w[i].events = 1 << i;
	EXPECT_EQ(3, kevent_modify(self->q.fd, w, sizeof(*w), 3,
				   KEVENT_MODIFY_TRIGGER));
	for (i = 0; i < 3; i++)
		TAKE(i, 1 << i);
	NOTHING();
	/* Up to the first that is wrong. */
	EXPECT_EQ(1, remove_one(Q, w[1].handle));
	EXPECT_EQ(1, kevent_modify(self->q.fd, w, sizeof(*w), 3,
				   KEVENT_MODIFY_TRIGGER));
	EXPECT_EQ(0, w[0].result);
	EXPECT_EQ(-ENOENT, w[1].result);
	EXPECT_EQ(-ECANCELED, w[2].result);
	TAKE(0, 1);
	NOTHING();
}

/* The place in the table is another watch's by now. */
TEST_F(user, old_handles_trigger_nothing)
{
	__u64 old[300];
	int i;

	for (i = 0; i < 300; i++) {
		ADD(1, 0, i);
		old[i] = self->w.handle;
		REMOVE();
	}
	ADD(1, 0, 1000);
	for (i = 0; i < 300; i++)
		EXPECT_EQ(-ENOENT, trigger(self->q.fd, old[i], 1));
	NOTHING();
	TRIGGER(1);
	TAKE(1000, 1);
}

TEST_F(user, nothing_is_lost_in_a_full_ring)
{
	struct kevent_event ev;
	int n;

	if (!Q->ring)
		return;
	ADD(KEVENT_EVENTS_MASK, 0, 1000);
	ASSERT_EQ(4, seq_post(self->q.fd, 0, 4, 0));
	TRIGGER(1);
	TRIGGER(2);
	CHANGE(ENABLE);
	TRIGGER(4);
	for (n = 0; n < 4; n++) {
		ASSERT_EQ(1, take_now(Q, variant->copy, &ev));
		EXPECT_EQ(n, ev.user_data);
	}
	TAKE(1000, 7);
	NOTHING();
}

TEST_F(user, add_refuses)
{
	static const __u32 unknown[] = {
		KEVENT_WATCH_EXCLUSIVE, KEVENT_WATCH_VANISHED,
		KEVENT_WATCH_ABSTIME, KEVENT_WATCH_TAKE, KEVENT_WATCH_EXPECT,
		ONESHOT | DISPATCH,
	};
	struct kevent_watch w;
	size_t i;
	int fd;

	for (i = 0; i < ARRAY_SIZE(unknown); i++) {
		w = user_watch(1, unknown[i], 1);
		EXPECT_EQ(-EINVAL, add_one(Q, &w));
	}
	for (i = 0; i < 4; i++) {
		w = user_watch(1, 0, 1);
		w.arg[i] = 1;
		EXPECT_EQ(-EINVAL, add_one(Q, &w));
	}
	w = user_watch(1, 0, 1);
	w.ident = 1;
	EXPECT_EQ(-EINVAL, add_one(Q, &w));
	w = user_watch(KEVENT_EVENTS_MASK + 1, 0, 1);
	EXPECT_EQ(-EINVAL, add_one(Q, &w));
	fd = sealed_queue(1 << KEVENT_SOURCE_TIMER);
	w = user_watch(1, 0, 1);
	EXPECT_EQ(-EPERM, kevent_add(fd, &w, sizeof(w), 1, 0));
	close(fd);
	EXPECT_EQ(0, nr_watches(self->q.fd));
}

TEST_F(user, trigger_refuses)
{
	static const unsigned int others[] = {
		KEVENT_MODIFY_EVENTS, KEVENT_MODIFY_MODE,
		KEVENT_MODIFY_USER_DATA, KEVENT_MODIFY_ARG,
		KEVENT_MODIFY_ENABLE, KEVENT_MODIFY_DISABLE,
	};
	struct kevent_watch timer = timer_watch(2, HOUR, 0);
	struct queue other;
	size_t i;

	ADD(KEVENT_EVENTS_MASK, 0, 1);
	for (i = 0; i < ARRAY_SIZE(others); i++)
		EXPECT_EQ(-EINVAL, modify_one(Q, &self->w, others[i] |
					      KEVENT_MODIFY_TRIGGER));
	EXPECT_EQ(-EINVAL, trigger(self->q.fd, self->w.handle, 0));
	EXPECT_EQ(-EINVAL, trigger(self->q.fd, self->w.handle,
				   KEVENT_EVENTS_MASK + 1));
	EXPECT_EQ(-ENOENT, trigger(self->q.fd, 0, 1));
	EXPECT_EQ(-ENOENT, trigger(self->q.fd, ~0ULL, 1));
	EXPECT_EQ(-ENOENT, trigger(self->q.fd,
				   self->w.handle + (1ULL << 32), 1));
	/* What it is not is of no use either. */
	self->w.source = KEVENT_SOURCE_TIMER;
	EXPECT_EQ(-EINVAL, modify_one(Q, &self->w, KEVENT_MODIFY_TRIGGER));
	self->w.source = KEVENT_SOURCE_USER;
	ASSERT_EQ(1, add_one(Q, &timer));
	EXPECT_EQ(-EINVAL, modify_one(Q, &timer, KEVENT_MODIFY_TRIGGER));
	EXPECT_EQ(-EINVAL, trigger(self->q.fd, timer.handle, 1));
	ASSERT_LE(0, queue_open(&other, 0));
	EXPECT_EQ(-ENOENT, trigger(other.fd, self->w.handle, 1));
	queue_close(&other);
	NOTHING();
}

TEST_F(user, posts_are_marked)
{
	struct kevent_event post = { .user_data = 1, .events = 1 };

	ADD(1, 0, 1);
	TRIGGER(1);
	ASSERT_EQ(1, kevent_post(self->q.fd, &post, sizeof(post), 1, 0));
	TAKE(1, 1);
	ASSERT_EQ(1, take_now(Q, variant->copy, &self->ev));
	EXPECT_EQ(INFO_POSTED, self->ev.info);
	NOTHING();
}

/*
 * Threads that trigger, each a bit of its own, and go on when it was seen.
 */
struct ringer {
	pthread_t thread;
	int fd;
	__u64 handle;
	__u32 bit;
	unsigned int seen;
};

static void *ringer_main(void *arg)
{
	struct ringer *r = arg;
	unsigned int n;

	for (n = 1; n <= ROUNDS; n++) {
		if (trigger(r->fd, r->handle, r->bit) != 1)
			abort();
		while (__atomic_load_n(&r->seen, __ATOMIC_ACQUIRE) != n)
			sched_yield();
	}
	return NULL;
}

/* Each is reported, and once. */
TEST_F_TIMEOUT(user, many_threads, 120)
{
	struct ringer r[THREADS] = {};
	unsigned int i, left = THREADS * ROUNDS;

	ADD(KEVENT_EVENTS_MASK, 0, 1);
	for (i = 0; i < THREADS; i++) {
		r[i].fd = self->q.fd;
		r[i].handle = self->w.handle;
		r[i].bit = 1 << i;
		ASSERT_EQ(0, pthread_create(&r[i].thread, NULL, ringer_main,
					    &r[i]));
	}
	while (left) {
		ASSERT_EQ(1, take_next(Q, variant->copy, &self->ev));
		EXPECT_NE(0, self->ev.events);
		for (i = 0; i < THREADS; i++) {
			if (!(self->ev.events & r[i].bit))
				continue;
			left--;
			__atomic_add_fetch(&r[i].seen, 1, __ATOMIC_ACQ_REL);
		}
	}
	for (i = 0; i < THREADS; i++) {
		pthread_join(r[i].thread, NULL);
		EXPECT_EQ(ROUNDS, r[i].seen);
	}
	NOTHING();
}

struct switcher {
	pthread_t thread;
	struct queue *q;
	struct kevent_watch w;
	bool stop;
};

static void *switcher_main(void *arg)
{
	struct switcher *s = arg;

	while (!__atomic_load_n(&s->stop, __ATOMIC_ACQUIRE)) {
		if (modify_one(s->q, &s->w, DISABLE) != 1 ||
		    modify_one(s->q, &s->w, ENABLE) != 1)
			abort();
	}
	return NULL;
}

/* The same, while another thread disables and enables it. */
TEST_F_TIMEOUT(user, disabled_while_it_is_triggered, 120)
{
	struct switcher s = { .q = Q };
	struct ringer r = { .fd = self->q.fd, .bit = 1 };
	unsigned int n;

	ADD(1, 0, 1);
	s.w = self->w;
	r.handle = self->w.handle;
	ASSERT_EQ(0, pthread_create(&s.thread, NULL, switcher_main, &s));
	ASSERT_EQ(0, pthread_create(&r.thread, NULL, ringer_main, &r));
	for (n = 0; n < ROUNDS; n++) {
		ASSERT_EQ(1, take_next(Q, variant->copy, &self->ev));
		EXPECT_EQ(1, self->ev.events);
		__atomic_add_fetch(&r.seen, 1, __ATOMIC_ACQ_REL);
	}
	pthread_join(r.thread, NULL);
	__atomic_store_n(&s.stop, true, __ATOMIC_RELEASE);
	pthread_join(s.thread, NULL);
	NOTHING();
}

struct target {
	int fd;
	__u64 handle;
};

static void trigger_side(void *arg)
{
	struct target *t = arg;
	int i, ret;

	for (i = 0; i < 10; i++) {
		ret = trigger(t->fd, t->handle, 1);
		if (ret != 1 && ret != -ENOENT && ret != -EBADF)
			abort();
	}
}

TEST_F_TIMEOUT(user, removed_while_it_is_triggered, 120)
{
	struct target t = { .fd = self->q.fd };
	struct racer r;
	unsigned int seed = 1;
	int i;

	ASSERT_EQ(0, racer_start(&r, trigger_side, &t));
	for (i = 0; i < ROUNDS / 2; i++) {
		ADD(1, 0, i);
		t.handle = self->w.handle;
		racer_go(&r);
		dawdle(&seed, 5000);
		REMOVE();
		/* Removed: nothing is left, and nothing comes. */
		NOTHING();
		racer_wait(&r);
		NOTHING();
	}
	racer_stop(&r);
}

TEST_F_TIMEOUT(user, closed_while_it_is_triggered, 120)
{
	struct queue q;
	struct target t;
	struct racer r;
	unsigned int seed = 1;
	int i;

	ASSERT_EQ(0, racer_start(&r, trigger_side, &t));
	for (i = 0; i < ROUNDS / 4; i++) {
		ASSERT_LE(0, queue_open(&q, variant->entries));
		self->w = user_watch(1, 0, 1);
		ASSERT_EQ(1, add_one(&q, &self->w));
		t.fd = q.fd;
		t.handle = self->w.handle;
		racer_go(&r);
		dawdle(&seed, 5000);
		queue_close(&q);
		racer_wait(&r);
	}
	racer_stop(&r);
}

TEST_HARNESS_MAIN
