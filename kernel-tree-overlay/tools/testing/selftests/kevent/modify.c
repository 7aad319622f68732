// SPDX-License-Identifier: GPL-2.0
/*
 * kevent_modify() and the unconsumed event: when it returns, no event made
 * under the old settings is left. A state is reported again if it holds. The
 * same with and without a ring, and in the backlog.
 */
#include "poll_test.h"

FIXTURE(modify)
{
	struct queue q;
	struct kevent_watch w;
	int fd;		/* an eventfd */
};

FIXTURE_VARIANT(modify)
{
	unsigned int entries;
	bool copy;	/* take events with kevent_get_events() */
	bool full;	/* posted events fill the ring */
};

FIXTURE_VARIANT_ADD(modify, ring)
{
	.entries = 8,
};

FIXTURE_VARIANT_ADD(modify, copied)
{
	.entries = 8,
	.copy = true,
};

FIXTURE_VARIANT_ADD(modify, no_ring)
{
	.copy = true,
};

FIXTURE_VARIANT_ADD(modify, backlog)
{
	.entries = 2,
	.full = true,
};

FIXTURE_SETUP(modify)
{
	ASSERT_LE(0, queue_open(&self->q, variant->entries));
	self->fd = new_file();
	ASSERT_LE(0, self->fd);
	if (variant->full)
		ASSERT_EQ(2, seq_post(self->q.fd, 0, 2, 0));
}

FIXTURE_TEARDOWN(modify)
{
	queue_close(&self->q);
	close(self->fd);
}

/* The next event that was not posted; 1 or 0. */
static int take(struct queue *q, bool copy, struct kevent_event *ev)
{
	int ret;

	do {
		ret = take_now(q, copy, ev);
	} while (ret == 1 && ev->info & KEVENT_INFO_POSTED);
	return ret;
}

#define ADD(events, flags, value)					\
do {									\
	self->w = watch_poll(self->fd, (events), (flags), (value));	\
	ASSERT_EQ(1, add_one(&self->q, &self->w));			\
} while (0)

#define MODIFY(what)	EXPECT_EQ(1, modify_one(&self->q, &self->w, what))

#define NAME(value)							\
do {									\
	self->w.user_data = (value);					\
	MODIFY(KEVENT_MODIFY_USER_DATA);				\
} while (0)

/* The next event is this one, and nothing was merged into it. */
#define EXPECT_NEXT(value, bits)					\
do {									\
	struct kevent_event __got = {};					\
									\
	ASSERT_EQ(1, take(&self->q, variant->copy, &__got));		\
	EXPECT_EQ((__u64)(value), __got.user_data);			\
	EXPECT_EQ((__u32)(bits), __got.events);				\
	EXPECT_EQ(KEVENT_SOURCE_POLL, __got.info);			\
} while (0)

#define NOTHING()							\
do {									\
	struct kevent_event __got = {};					\
									\
	EXPECT_EQ(0, take(&self->q, variant->copy, &__got)) {		\
		TH_LOG("user_data %llx events %x", __got.user_data,	\
		       __got.events);					\
	}								\
} while (0)

static const __u32 modes[] = { LEVEL, EDGE, DISPATCH, EDGE | DISPATCH };

TEST_F(modify, state_is_reported_with_the_new_user_data)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(modes); i++) {
		efd_fire(self->fd);
		ADD(IN, modes[i], 1);
		efd_fire(self->fd);
		NAME(2);
		NAME(3);
		EXPECT_NEXT(3, IN);
		efd_quench(self->fd);
		NOTHING();
		ASSERT_EQ(1, remove_one(&self->q, self->w.handle));
	}
}

/* If it has passed it is not reported, and the watch goes on. */
TEST_F(modify, state_that_has_passed_is_not_reported)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(modes); i++) {
		efd_fire(self->fd);
		ADD(IN, modes[i], 1);
		efd_quench(self->fd);
		NAME(2);
		NOTHING();
		EXPECT_FALSE(queue_readable(&self->q));
		efd_fire(self->fd);
		EXPECT_NEXT(2, IN);
		efd_quench(self->fd);
		ASSERT_EQ(1, remove_one(&self->q, self->w.handle));
		NOTHING();
	}
}

TEST_F(modify, interest)
{
	size_t i;

	efd_fire(self->fd);
	for (i = 0; i < ARRAY_SIZE(modes); i++) {
		ADD(IN, modes[i], 1);
		self->w.events = OUT;
		MODIFY(KEVENT_MODIFY_EVENTS);
		EXPECT_NEXT(1, OUT);
		if (modes[i] != LEVEL)
			NOTHING();
		ASSERT_EQ(1, remove_one(&self->q, self->w.handle));
		ADD(IN, modes[i], 1);
		self->w.events = 0;
		MODIFY(KEVENT_MODIFY_EVENTS);
		NOTHING();
		ASSERT_EQ(1, remove_one(&self->q, self->w.handle));
	}
}

TEST_F(modify, disabled)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(modes); i++) {
		efd_fire(self->fd);
		ADD(IN, modes[i], 1);
		MODIFY(KEVENT_MODIFY_DISABLE);
		NOTHING();
		EXPECT_FALSE(queue_readable(&self->q));
		MODIFY(KEVENT_MODIFY_ENABLE);
		EXPECT_NEXT(1, IN);
		MODIFY(KEVENT_MODIFY_ENABLE);
		MODIFY(KEVENT_MODIFY_DISABLE);
		efd_quench(self->fd);
		MODIFY(KEVENT_MODIFY_ENABLE);
		NOTHING();
		ASSERT_EQ(1, remove_one(&self->q, self->w.handle));
	}
}

/* An edge that has been reported once becomes the one that it reports. */
TEST_F(modify, becomes_oneshot)
{
	efd_fire(self->fd);
	ADD(IN, EDGE, 1);
	self->w.flags = ONESHOT;
	MODIFY(KEVENT_MODIFY_MODE);
	EXPECT_EQ(-ENOENT, modify_one(&self->q, &self->w,
				      KEVENT_MODIFY_USER_DATA));
	EXPECT_NEXT(1, IN);
	EXPECT_EQ(-ENOENT, remove_one(&self->q, self->w.handle));
	NOTHING();

	ADD(IN, EDGE, 2);
	self->w.flags = ONESHOT;
	MODIFY(KEVENT_MODIFY_MODE);
	EXPECT_EQ(1, remove_one(&self->q, self->w.handle));
	NOTHING();
}

TEST_F(modify, becomes_level)
{
	efd_fire(self->fd);
	ADD(IN, EDGE, 1);
	self->w.flags = LEVEL;
	self->w.user_data = 2;
	MODIFY(KEVENT_MODIFY_MODE | KEVENT_MODIFY_USER_DATA);
	EXPECT_NEXT(2, IN);
	EXPECT_NEXT(2, IN);
	efd_quench(self->fd);
	NOTHING();
}

/* What is refused changes nothing, not even a state that has passed. */
TEST_F(modify, refused)
{
	efd_fire(self->fd);
	ADD(IN, EDGE, 1);
	efd_quench(self->fd);
	self->w.user_data = 2;
	self->w.arg[0] = 1;
	EXPECT_EQ(-EINVAL, modify_one(&self->q, &self->w, KEVENT_MODIFY_ARG |
				      KEVENT_MODIFY_USER_DATA));
	self->w.arg[0] = 0;
	self->w.flags = ONESHOT | DISPATCH;
	EXPECT_EQ(-EINVAL, modify_one(&self->q, &self->w, KEVENT_MODIFY_MODE |
				      KEVENT_MODIFY_USER_DATA));
	EXPECT_NEXT(1, IN);
	NOTHING();
}

/* The order of others does not change, and none of them is lost. */
TEST_F(modify, others_stay)
{
	struct kevent_watch w[6];
	struct kevent_event ev;
	int i;

	efd_fire(self->fd);
	for (i = 0; i < 6; i++) {
		w[i] = watch_poll(self->fd, IN, EDGE, i);
		ASSERT_EQ(1, add_one(&self->q, &w[i]));
	}
	for (i = 0; i < 6; i += 2) {
		w[i].user_data += 10;
		EXPECT_EQ(1, modify_one(&self->q, &w[i],
					KEVENT_MODIFY_USER_DATA));
	}
	EXPECT_EQ(1, remove_one(&self->q, w[4].handle));
	EXPECT_EQ(1, remove_one(&self->q, w[5].handle));
	EXPECT_NEXT(1, IN);
	EXPECT_NEXT(3, IN);
	EXPECT_NEXT(10, IN);
	EXPECT_NEXT(12, IN);
	EXPECT_EQ(0, take(&self->q, variant->copy, &ev));
	EXPECT_FALSE(queue_readable(&self->q));
}

/* Again and again: cancelled events do not pile up. */
TEST_F(modify, many_times)
{
	int i;

	efd_fire(self->fd);
	ADD(IN, EDGE, 0);
	for (i = 1; i < 1000; i++)
		NAME(i);
	EXPECT_NEXT(999, IN);
	NOTHING();
	efd_fire(self->fd);
	EXPECT_NEXT(999, IN);
	NOTHING();
	efd_fire(self->fd);
	for (i = 0; i < 100; i++) {
		NAME(i);
		MODIFY(KEVENT_MODIFY_DISABLE);
		MODIFY(KEVENT_MODIFY_ENABLE);
	}
	ASSERT_EQ(1, remove_one(&self->q, self->w.handle));
	NOTHING();
}

TEST_F(modify, wakes_a_sleeper)
{
	struct waiter waiter;

	if (variant->full)
		SKIP(return, "there are events");
	efd_fire(self->fd);
	ADD(IN, EDGE, 1);
	efd_quench(self->fd);
	NAME(2);
	ASSERT_EQ(0, waiter_start(&waiter, self->q.fd, self->q.ring ?
				  ring_cursor(&self->q) + 1 : 0, 1));
	ASSERT_TRUE(sleeper_asleep(&waiter.sleeper));
	efd_fire(self->fd);
	EXPECT_EQ(1, sleeper_join(&waiter.sleeper));
	EXPECT_NEXT(2, IN);
	NOTHING();
}

/* Counts are reported again, whatever is changed. */
#define TOLD_COUNT(value, count)					\
do {									\
	struct kevent_event __got = {};					\
									\
	ASSERT_EQ(1, take(&self->q, variant->copy, &__got));		\
	EXPECT_EQ((__u64)(value), __got.user_data);			\
	EXPECT_EQ(KEVENT_SIGNAL_SENT, __got.events);			\
	EXPECT_EQ((count), __got.data);					\
} while (0)

static void raise_often(int nr)
{
	while (nr--)
		raise(SIGUSR1);
}

TEST_F(modify, counts_are_reported_with_the_new_user_data)
{
	static const int numbers[] = { 1, 2, 40, 1023, 1024, 1025, 5000 };
	size_t i;
	int nr;

	if (sealed_queue(1 << KEVENT_SOURCE_SIGNAL) < 0)
		SKIP(return, "this kernel does not watch signals");
	signal(SIGUSR1, SIG_IGN);
	self->w = (struct kevent_watch){
		.source = KEVENT_SOURCE_SIGNAL,
		.ident = SIGUSR1,
		.events = KEVENT_SIGNAL_SENT,
		.user_data = 1,
	};
	ASSERT_EQ(1, add_one(&self->q, &self->w));
	for (i = 0; i < ARRAY_SIZE(numbers); i++) {
		nr = numbers[i];
		raise_often(nr);
		NAME(2);
		TOLD_COUNT(2, nr);
		raise_often(nr);
		NAME(3);
		raise_often(nr);
		MODIFY(KEVENT_MODIFY_DISABLE);
		NOTHING();
		raise_often(nr);
		NAME(4);
		NOTHING();
		MODIFY(KEVENT_MODIFY_ENABLE);
		raise_often(1);
		TOLD_COUNT(4, 3 * nr + 1);
		NOTHING();
	}
	self->w.flags = DISPATCH;
	MODIFY(KEVENT_MODIFY_MODE);
	raise_often(1);
	NAME(5);
	TOLD_COUNT(5, 1);
	raise_often(2);
	NAME(6);
	NOTHING();
	MODIFY(KEVENT_MODIFY_ENABLE);
	TOLD_COUNT(6, 2);
	NOTHING();
}

/*
 * A producer at the same time. When kevent_modify() has returned, no event has
 * an older name.
 */
static void fire_some(void *arg)
{
	int fd = *(int *)arg, i;

	for (i = 0; i < 20; i++)
		efd_fire(fd);
}

TEST_F(modify, no_older_event_while_it_is_fired)
{
	unsigned int seed = 1;
	struct kevent_event ev;
	struct racer racer;
	int i, j;

	ASSERT_EQ(0, racer_start(&racer, fire_some, &self->fd));
	ADD(IN, EDGE, 0);
	for (i = 1; i < 400; i++) {
		racer_go(&racer);
		for (j = 0; j < 4; j++) {
			dawdle(&seed, 2000);
			NAME(10 * i + j);
			while (take(&self->q, variant->copy, &ev) == 1) {
				ASSERT_EQ(10 * i + j, ev.user_data);
				ASSERT_EQ(IN, ev.events);
			}
		}
		racer_wait(&racer);
		/* It is there still: that is reported, whatever came before. */
		NAME(10 * i + j);
		while (take(&self->q, variant->copy, &ev) == 1)
			ASSERT_EQ(10 * i + j, ev.user_data);
		efd_quench(self->fd);
		efd_fire(self->fd);
		EXPECT_NEXT(10 * i + j, IN);
		efd_quench(self->fd);
		ASSERT_TRUE(__test_passed(_metadata));
	}
	racer_stop(&racer);
}

TEST_F(modify, no_bit_that_is_not_of_interest_while_it_is_fired)
{
	unsigned int seed = 1;
	struct kevent_event ev;
	struct racer racer;
	int i;

	ASSERT_EQ(0, racer_start(&racer, fire_some, &self->fd));
	ADD(IN, EDGE, 0);
	for (i = 1; i < 400; i++) {
		racer_go(&racer);
		dawdle(&seed, 5000);
		self->w.events = i % 2 ? OUT : IN;
		MODIFY(KEVENT_MODIFY_EVENTS);
		while (take(&self->q, variant->copy, &ev) == 1)
			ASSERT_EQ(self->w.events, ev.events);
		racer_wait(&racer);
		efd_quench(self->fd);
		queue_drain(&self->q);
		ASSERT_TRUE(__test_passed(_metadata));
	}
	racer_stop(&racer);
}

TEST_HARNESS_MAIN
