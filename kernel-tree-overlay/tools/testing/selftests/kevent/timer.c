// SPDX-License-Identifier: GPL-2.0
/*
 * KEVENT_SOURCE_TIMER: that expirations are reported, merged and counted, that
 * none is lost, and that a watch that is gone or disabled reports nothing. An
 * event may always be late: nothing here depends on when it comes, only on that
 * it comes, and not before its time.
 */
#include <poll.h>

#include "kevent_test.h"

FIXTURE(timer)
{
	struct queue q;
};

FIXTURE_VARIANT(timer)
{
	unsigned int entries;
	bool copy;	/* take events with kevent_get_events() */
};

FIXTURE_VARIANT_ADD(timer, ring)
{
	.entries = 8,
};

FIXTURE_VARIANT_ADD(timer, copied)
{
	.entries = 8,
	.copy = true,
};

FIXTURE_VARIANT_ADD(timer, no_ring)
{
	.copy = true,
};

FIXTURE_SETUP(timer)
{
	ASSERT_LE(0, queue_open_shared(&self->q, variant->entries));
}

FIXTURE_TEARDOWN(timer)
{
	queue_close(&self->q);
}

/*
 * A running timer: what it may have reported so far follows from when it was
 * started, which was between two readings of the clock.
 */
struct tally {
	struct kevent_watch w;
	__u64 before, after;
	__u64 sum;
};

static int tally_start(struct tally *t, struct queue *q, __u32 flags,
		       __u64 first, __u64 interval, __u64 user_data)
{
	int ret;

	memset(t, 0, sizeof(*t));
	t->w = timer_watch(user_data, first, interval);
	t->w.flags = flags;
	t->before = now_ns(CLOCK_MONOTONIC);
	if (flags & KEVENT_WATCH_ABSTIME)
		t->w.arg[0] = t->before + first;
	ret = add_one(q, &t->w);
	t->after = now_ns(CLOCK_MONOTONIC);
	if (flags & KEVENT_WATCH_ABSTIME) {
		t->before = t->w.arg[0];
		t->after = t->before;
	} else {
		t->before += first;
		t->after += first;
	}
	return ret;
}

/* How often it has expired before @now: at most, and at least. */
static __u64 tally_most(const struct tally *t, __u64 now)
{
	return now < t->before ? 0 : (now - t->before) / t->w.arg[1] + 1;
}

static __u64 tally_least(const struct tally *t, __u64 now)
{
	return now < t->after ? 0 : (now - t->after) / t->w.arg[1] + 1;
}

/* Adds an event; false if it cannot be. */
static bool tally_add(struct tally *t, const struct kevent_event *ev)
{
	t->sum += ev->data;
	return ev->data > 0 && ev->user_data == t->w.user_data &&
	       ev->events == KEVENT_TIMER_EXPIRED && !ev->extra &&
	       (ev->info & 0xffff) ==
	       (KEVENT_SOURCE_TIMER | KEVENT_INFO_COUNTED) &&
	       t->sum <= tally_most(t, now_ns(CLOCK_MONOTONIC));
}

#define EXPECT_EMPTY()							\
do {									\
	struct kevent_event __got = {};					\
									\
	EXPECT_EQ(0, take_now(&self->q, variant->copy, &__got));	\
} while (0)

/* The next event is that of a timer that has expired once. */
#define EXPECT_ONCE(value)						\
do {									\
	struct kevent_event __got = {};					\
									\
	EXPECT_EQ(1, take_next(&self->q, variant->copy, &__got));	\
	EXPECT_EQ((__u64)(value), __got.user_data);			\
	EXPECT_EQ(KEVENT_TIMER_EXPIRED, __got.events);			\
	EXPECT_EQ(KEVENT_SOURCE_TIMER | KEVENT_INFO_COUNTED,		\
		  __got.info);						\
	EXPECT_EQ(1, __got.data);					\
	EXPECT_EQ(0, __got.extra);					\
} while (0)

/* The next event is one of this tally. */
#define EXPECT_TALLY(tally)						\
do {									\
	struct kevent_event __got = {};					\
									\
	ASSERT_EQ(1, take_next(&self->q, variant->copy, &__got));	\
	ASSERT_TRUE(tally_add((tally), &__got));			\
} while (0)

/* Nothing is lost: what has expired by now comes. */
#define EXPECT_CAUGHT_UP(running)					\
do {									\
	struct tally *__t = (running);					\
	__u64 __least = tally_least(__t, now_ns(CLOCK_MONOTONIC));	\
									\
	while (__t->sum < __least)					\
		EXPECT_TALLY(__t);					\
} while (0)

/* Waits until the queue has at least that many events to take. */
static void until_there(struct queue *q, int nr)
{
	while (queue_refill(q) < nr)
		usleep(200);
}

TEST_F(timer, fires_once)
{
	struct kevent_watch w = timer_watch(0x123456789abcdef, 2 * MSEC, 0);
	__u64 before = now_ns(CLOCK_MONOTONIC);

	ASSERT_EQ(1, add_one(&self->q, &w));
	EXPECT_ONCE(0x123456789abcdef);
	EXPECT_LE(before + 2 * MSEC, now_ns(CLOCK_MONOTONIC));
	usleep(5000);
	EXPECT_EMPTY();
	/* It is still there, and can be used again. */
	EXPECT_EQ(1, modify_one(&self->q, &w, KEVENT_MODIFY_ARG));
	EXPECT_ONCE(0x123456789abcdef);
	EXPECT_EQ(1, remove_one(&self->q, w.handle));
	EXPECT_EMPTY();
}

TEST_F(timer, nothing_before_its_time)
{
	struct kevent_watch w = timer_watch(1, 20 * MSEC, 0);
	struct kevent_event ev;
	__u64 before;
	int ret;

	before = now_ns(CLOCK_MONOTONIC);
	ASSERT_EQ(1, add_one(&self->q, &w));
	do {
		ret = take_now(&self->q, variant->copy, &ev);
		ASSERT_LE(0, ret);
	} while (!ret);
	EXPECT_LE(before + 20 * MSEC, now_ns(CLOCK_MONOTONIC));
	EXPECT_EQ(1, ev.data);
}

TEST_F(timer, each_clock)
{
	static const clockid_t clocks[] = {
		CLOCK_MONOTONIC, CLOCK_BOOTTIME, CLOCK_REALTIME,
	};
	struct kevent_watch w;
	__u64 deadline;
	size_t i;

	for (i = 0; i < sizeof(clocks) / sizeof(*clocks); i++) {
		w = timer_watch(i, 3 * MSEC, 0);
		w.arg[2] = clocks[i];
		deadline = now_ns(clocks[i]) + 3 * MSEC;
		ASSERT_EQ(1, add_one(&self->q, &w));
		EXPECT_ONCE(i);
		/* Another program may set this one back. */
		if (clocks[i] != CLOCK_REALTIME)
			EXPECT_LE(deadline, now_ns(clocks[i]));

		w.flags = KEVENT_WATCH_ABSTIME;
		w.user_data = 100 + i;
		deadline = now_ns(clocks[i]) + 3 * MSEC;
		w.arg[0] = deadline;
		ASSERT_EQ(1, add_one(&self->q, &w));
		EXPECT_ONCE(100 + i);
		if (clocks[i] != CLOCK_REALTIME)
			EXPECT_LE(deadline, now_ns(clocks[i]));

		w.user_data = 200 + i;
		w.arg[0] = 0;
		ASSERT_EQ(1, add_one(&self->q, &w));
		EXPECT_ONCE(200 + i);
		w.user_data = 300 + i;
		w.arg[0] = now_ns(clocks[i]) - MSEC;
		ASSERT_EQ(1, add_one(&self->q, &w));
		EXPECT_ONCE(300 + i);
		w.user_data = 400 + i;
		w.arg[0] = 0;
		w.flags = 0;
		ASSERT_EQ(1, add_one(&self->q, &w));
		EXPECT_ONCE(400 + i);
	}
	EXPECT_EMPTY();
}

TEST_F(timer, slack_is_not_early)
{
	struct kevent_watch w = timer_watch(1, 3 * MSEC, 0);
	__u64 before = now_ns(CLOCK_MONOTONIC);

	w.arg[3] = 5 * MSEC;
	ASSERT_EQ(1, add_one(&self->q, &w));
	EXPECT_ONCE(1);
	EXPECT_LE(before + 3 * MSEC, now_ns(CLOCK_MONOTONIC));
}

TEST_F(timer, far_away)
{
	struct kevent_watch w = timer_watch(1, INT64_MAX, INT64_MAX);

	w.arg[3] = ~0ULL;
	ASSERT_EQ(1, add_one(&self->q, &w));
	w.flags = KEVENT_WATCH_ABSTIME;
	ASSERT_EQ(1, add_one(&self->q, &w));
	w.arg[0] = INT64_MAX - 1;
	ASSERT_EQ(1, add_one(&self->q, &w));
	usleep(5000);
	EXPECT_EMPTY();

	/* The second time never comes. */
	w = timer_watch(2, 0, INT64_MAX);
	ASSERT_EQ(1, add_one(&self->q, &w));
	EXPECT_ONCE(2);
	usleep(5000);
	EXPECT_EMPTY();
}

/* From then on everything is known: how often it has expired, exactly. */
TEST_F(timer, past_times_are_counted)
{
	struct kevent_watch w = timer_watch(1, 0, 10 * MSEC);
	struct kevent_event ev;
	__u64 start, count;

	w.flags = KEVENT_WATCH_ABSTIME | KEVENT_WATCH_DISPATCH;
	start = now_ns(CLOCK_MONOTONIC) - 1000 * MSEC;
	w.arg[0] = start;
	ASSERT_EQ(1, add_one(&self->q, &w));
	ASSERT_EQ(1, take_next(&self->q, variant->copy, &ev));
	EXPECT_LE(101, ev.data);
	count = (now_ns(CLOCK_MONOTONIC) - start) / (10 * MSEC) + 1;
	EXPECT_GE(count, ev.data);

	/* The same on a clock that began at 0, as far as programs can report. */
	w = timer_watch(2, 0, MSEC);
	w.flags = KEVENT_WATCH_ABSTIME | KEVENT_WATCH_DISPATCH;
	count = now_ns(CLOCK_MONOTONIC) / MSEC + 1;
	ASSERT_EQ(1, add_one(&self->q, &w));
	ASSERT_EQ(1, take_next(&self->q, variant->copy, &ev));
	EXPECT_LE(count, ev.data);
	EXPECT_GE(now_ns(CLOCK_MONOTONIC) / MSEC + 1, ev.data);
	EXPECT_EMPTY();
}

TEST_F(timer, periodic)
{
	struct tally t;
	int i;

	ASSERT_EQ(1, tally_start(&t, &self->q, 0, 2 * MSEC, 3 * MSEC, 1));
	for (i = 0; i < 30; i++)
		EXPECT_TALLY(&t);
	EXPECT_CAUGHT_UP(&t);
	EXPECT_EQ(1, remove_one(&self->q, t.w.handle));
	EXPECT_EMPTY();
	usleep(10000);
	EXPECT_EMPTY();
}

TEST_F(timer, periodic_from_a_point_in_time)
{
	struct tally t;
	int i;

	ASSERT_EQ(1, tally_start(&t, &self->q, KEVENT_WATCH_ABSTIME |
				 KEVENT_WATCH_EDGE, 2 * MSEC, 3 * MSEC, 1));
	for (i = 0; i < 30; i++)
		EXPECT_TALLY(&t);
	EXPECT_CAUGHT_UP(&t);
}

/*
 * When the queue was empty, so that everything before had been reported, the
 * next event brings the sum beyond what it must have been then. That may fail
 * when the kernel is interrupted between counting and reporting, but not
 * always.
 */
TEST_F(timer, no_expiration_is_shifted)
{
	struct kevent_event ev;
	int i, good = 0;
	struct tally t;
	__u64 least;

	ASSERT_EQ(1, tally_start(&t, &self->q, KEVENT_WATCH_ABSTIME, MSEC,
				 5 * MSEC, 1));
	for (i = 0; i < 20; i++) {
		if (i % 5 == 0)
			usleep(13000);
		while (take_now(&self->q, variant->copy, &ev))
			ASSERT_TRUE(tally_add(&t, &ev));
		least = tally_least(&t, now_ns(CLOCK_MONOTONIC));
		EXPECT_TALLY(&t);
		good += t.sum > least;
	}
	EXPECT_LT(0, good);
}

TEST_F(timer, unconsumed_expirations_merge)
{
	struct kevent_event ev;
	struct tally t;
	int i;

	ASSERT_EQ(1, tally_start(&t, &self->q, 0, MSEC, MSEC, 1));
	for (i = 0; i < 3; i++) {
		usleep(30000);
		until_there(&self->q, 1);
		EXPECT_EQ(1, queue_refill(&self->q));
		EXPECT_TALLY(&t);
	}
	EXPECT_EQ(1, modify_one(&self->q, &t.w, KEVENT_MODIFY_DISABLE));
	/* What had been reported before that. */
	while (take_now(&self->q, variant->copy, &ev))
		ASSERT_TRUE(tally_add(&t, &ev));
	EXPECT_EQ(1, modify_one(&self->q, &t.w, KEVENT_MODIFY_ENABLE));
	EXPECT_CAUGHT_UP(&t);
}

/* More than the word can count. */
TEST_F(timer, very_many_expirations_merge)
{
	struct tally t;
	int i;

	ASSERT_EQ(1, tally_start(&t, &self->q, 0, 10 * USEC, 10 * USEC, 1));
	for (i = 0; i < 3; i++) {
		usleep(40000);
		EXPECT_TALLY(&t);
		EXPECT_CAUGHT_UP(&t);
	}
}

/*
 * A call of the program has all that has expired by then in the event that is
 * there, also if that is more than the word can count, or the event of another
 * watch, which holds, is before it.
 */
TEST_F(timer, up_to_date_after_a_call)
{
	int i, fds[2];
	struct kevent_watch w;
	struct kevent_event ev;
	struct tally t;
	__u64 least;

	ASSERT_EQ(0, pipe(fds));
	ASSERT_EQ(1, write(fds[1], "x", 1));
	ASSERT_EQ(1, tally_start(&t, &self->q, 0, 50 * USEC, 50 * USEC, 1));
	for (i = 0; i < 4; i++) {
		w = watch_poll(fds[0], KEVENT_POLL_IN, 0, 2);
		if (i % 2)
			ASSERT_EQ(1, add_one(&self->q, &w));
		usleep(100000);
		least = tally_least(&t, now_ns(CLOCK_MONOTONIC));
		EXPECT_LE(1, queue_refill(&self->q));
		do {
			ASSERT_EQ(1, variant->copy ?
				  take_now(&self->q, true, &ev) :
				  ring_take(&self->q, &ev));
		} while (ev.user_data == 2);
		ASSERT_TRUE(tally_add(&t, &ev));
		EXPECT_LE(least, t.sum);
		if (i % 2)
			ASSERT_EQ(1, remove_one(&self->q, w.handle));
	}
	close(fds[0]);
	close(fds[1]);
}

TEST_F(timer, oneshot)
{
	struct kevent_watch w = timer_watch(5, MSEC, 0);

	w.flags = KEVENT_WATCH_ONESHOT;
	ASSERT_EQ(1, add_one(&self->q, &w));
	EXPECT_ONCE(5);
	EXPECT_EQ(-ENOENT, modify_one(&self->q, &w, KEVENT_MODIFY_ARG));
	EXPECT_EQ(-ENOENT, w.result);
	EXPECT_EQ(-ENOENT, remove_one(&self->q, w.handle));
	usleep(5000);
	EXPECT_EMPTY();
	EXPECT_EQ(-ENOENT, modify_one(&self->q, &w, KEVENT_MODIFY_ENABLE));
	EXPECT_EMPTY();
}

/* What it has reported stays when others come and go in its place. */
TEST_F(timer, oneshot_unconsumed)
{
	struct kevent_watch w[6], other;
	int i;

	for (i = 0; i < 6; i++) {
		w[i] = timer_watch(i, 0, 0);
		w[i].flags = KEVENT_WATCH_ONESHOT;
		ASSERT_EQ(1, add_one(&self->q, &w[i]));
	}
	until_there(&self->q, 6);
	for (i = 0; i < 20; i++) {
		other = timer_watch(100, HOUR, 0);
		ASSERT_EQ(1, add_one(&self->q, &other));
		ASSERT_EQ(1, remove_one(&self->q, other.handle));
	}
	EXPECT_EQ(1, remove_one(&self->q, w[5].handle));
	for (i = 0; i < 5; i++)
		EXPECT_ONCE(i);
	for (i = 0; i < 6; i++)
		EXPECT_EQ(-ENOENT, remove_one(&self->q, w[i].handle));
	EXPECT_EMPTY();
}

TEST_F(timer, dispatch)
{
	struct tally t;
	int i;

	ASSERT_EQ(1, tally_start(&t, &self->q, KEVENT_WATCH_DISPATCH, MSEC,
				 MSEC, 1));
	for (i = 0; i < 20; i++) {
		EXPECT_TALLY(&t);
		usleep(i % 4 * 1000);
		EXPECT_EMPTY();
		EXPECT_EQ(1, modify_one(&self->q, &t.w, KEVENT_MODIFY_ENABLE));
	}
	while (t.sum < tally_least(&t, t.after + 40 * MSEC)) {
		EXPECT_TALLY(&t);
		EXPECT_EQ(1, modify_one(&self->q, &t.w, KEVENT_MODIFY_ENABLE));
	}
	EXPECT_EQ(1, remove_one(&self->q, t.w.handle));
}

TEST_F(timer, dispatch_once)
{
	struct kevent_watch w = timer_watch(3, 0, 0);

	w.flags = KEVENT_WATCH_DISPATCH;
	ASSERT_EQ(1, add_one(&self->q, &w));
	EXPECT_ONCE(3);
	EXPECT_EQ(1, modify_one(&self->q, &w, KEVENT_MODIFY_ENABLE));
	usleep(2000);
	EXPECT_EMPTY();

	/* Armed while it is off. */
	EXPECT_EQ(1, modify_one(&self->q, &w, KEVENT_MODIFY_ARG));
	EXPECT_ONCE(3);
	EXPECT_EQ(1, modify_one(&self->q, &w, KEVENT_MODIFY_ARG));
	usleep(2000);
	EXPECT_EMPTY();
	EXPECT_EQ(1, modify_one(&self->q, &w, KEVENT_MODIFY_ENABLE));
	EXPECT_ONCE(3);
	EXPECT_EMPTY();
}

TEST_F(timer, disabled_at_first)
{
	struct kevent_watch w = timer_watch(4, MSEC, 0);
	struct tally t;

	w.flags = KEVENT_WATCH_DISABLED;
	ASSERT_EQ(1, add_one(&self->q, &w));
	usleep(5000);
	EXPECT_EMPTY();
	EXPECT_EQ(1, modify_one(&self->q, &w, KEVENT_MODIFY_ENABLE));
	EXPECT_ONCE(4);
	EXPECT_EMPTY();
	EXPECT_EQ(1, modify_one(&self->q, &w, KEVENT_MODIFY_ENABLE));
	EXPECT_EMPTY();
	EXPECT_EQ(1, remove_one(&self->q, w.handle));

	ASSERT_EQ(1, tally_start(&t, &self->q, KEVENT_WATCH_DISABLED, MSEC,
				 MSEC, 1));
	usleep(20000);
	EXPECT_EMPTY();
	EXPECT_EQ(1, modify_one(&self->q, &t.w, KEVENT_MODIFY_ENABLE));
	EXPECT_TALLY(&t);
	EXPECT_CAUGHT_UP(&t);
}

TEST_F(timer, disabled_in_between)
{
	struct kevent_event ev;
	struct tally t;
	int i;

	ASSERT_EQ(1, tally_start(&t, &self->q, 0, MSEC, MSEC, 1));
	for (i = 0; i < 10; i++) {
		EXPECT_TALLY(&t);
		EXPECT_EQ(1, modify_one(&self->q, &t.w, KEVENT_MODIFY_DISABLE));
		/* Once what was reported is taken there is no more. */
		while (take_now(&self->q, variant->copy, &ev))
			ASSERT_TRUE(tally_add(&t, &ev));
		usleep(3000);
		EXPECT_EMPTY();
		EXPECT_EQ(1, modify_one(&self->q, &t.w, KEVENT_MODIFY_ENABLE));
	}
	EXPECT_CAUGHT_UP(&t);
}

/* Enabling what is on, and disabling what is off, changes nothing. */
TEST_F(timer, enabled_twice)
{
	struct kevent_watch w = timer_watch(4, 0, 0);

	ASSERT_EQ(1, add_one(&self->q, &w));
	until_there(&self->q, 1);
	EXPECT_EQ(1, modify_one(&self->q, &w, KEVENT_MODIFY_ENABLE));
	EXPECT_EQ(1, modify_one(&self->q, &w, KEVENT_MODIFY_ENABLE));
	EXPECT_EQ(1, modify_one(&self->q, &w, KEVENT_MODIFY_DISABLE));
	EXPECT_EQ(1, modify_one(&self->q, &w, KEVENT_MODIFY_DISABLE));
	EXPECT_EQ(1, modify_one(&self->q, &w, KEVENT_MODIFY_ENABLE));
	EXPECT_ONCE(4);
	EXPECT_EMPTY();
}

TEST_F(timer, user_data_can_be_changed)
{
	struct kevent_watch w = timer_watch(1, 0, 0);

	ASSERT_EQ(1, add_one(&self->q, &w));
	EXPECT_ONCE(1);
	w.user_data = ~0ULL;
	EXPECT_EQ(1, modify_one(&self->q, &w, KEVENT_MODIFY_ARG));
	EXPECT_ONCE(1);
	EXPECT_EQ(1, modify_one(&self->q, &w, KEVENT_MODIFY_ARG |
				KEVENT_MODIFY_USER_DATA));
	w.arg[0] = MSEC;
	EXPECT_EQ(1, modify_one(&self->q, &w, KEVENT_MODIFY_ARG));
	until_there(&self->q, 1);
	usleep(5000);
	while (queue_drain(&self->q))
		usleep(1000);
	EXPECT_EQ(1, modify_one(&self->q, &w, KEVENT_MODIFY_ARG));
	EXPECT_ONCE(~0ULL);
	EXPECT_EMPTY();
}

TEST_F(timer, mode_can_be_changed)
{
	struct kevent_watch w = timer_watch(1, 0, 0);

	ASSERT_EQ(1, add_one(&self->q, &w));
	EXPECT_ONCE(1);

	w.flags = KEVENT_WATCH_DISPATCH;
	EXPECT_EQ(1, modify_one(&self->q, &w, KEVENT_MODIFY_MODE));
	EXPECT_EQ(1, modify_one(&self->q, &w, KEVENT_MODIFY_ARG));
	EXPECT_ONCE(1);
	EXPECT_EQ(1, modify_one(&self->q, &w, KEVENT_MODIFY_ARG));
	EXPECT_EMPTY();

	/* DISABLED is not a mode: it stays off. */
	w.flags = 0;
	EXPECT_EQ(1, modify_one(&self->q, &w, KEVENT_MODIFY_MODE));
	EXPECT_EMPTY();
	EXPECT_EQ(1, modify_one(&self->q, &w, KEVENT_MODIFY_ENABLE));
	EXPECT_ONCE(1);
	w.flags = KEVENT_WATCH_DISABLED;
	EXPECT_EQ(1, modify_one(&self->q, &w, KEVENT_MODIFY_MODE));
	w.flags = 0;
	EXPECT_EQ(1, modify_one(&self->q, &w, KEVENT_MODIFY_ARG));
	EXPECT_ONCE(1);

	w.flags = KEVENT_WATCH_ONESHOT;
	EXPECT_EQ(1, modify_one(&self->q, &w, KEVENT_MODIFY_MODE));
	EXPECT_EQ(1, modify_one(&self->q, &w, KEVENT_MODIFY_ARG));
	EXPECT_ONCE(1);
	EXPECT_EQ(-ENOENT, remove_one(&self->q, w.handle));
}

TEST_F(timer, rearmed_earlier_and_later)
{
	struct kevent_watch w = timer_watch(1, HOUR, 0);
	__u64 before;
	int i;

	ASSERT_EQ(1, add_one(&self->q, &w));
	for (i = 0; i < 10; i++) {
		w.flags = 0;
		w.arg[0] = MSEC;
		before = now_ns(CLOCK_MONOTONIC);
		EXPECT_EQ(1, modify_one(&self->q, &w, KEVENT_MODIFY_ARG));
		EXPECT_ONCE(1);
		EXPECT_LE(before + MSEC, now_ns(CLOCK_MONOTONIC));

		w.flags = KEVENT_WATCH_ABSTIME;
		before = now_ns(CLOCK_MONOTONIC);
		w.arg[0] = before + 2 * MSEC;
		EXPECT_EQ(1, modify_one(&self->q, &w, KEVENT_MODIFY_ARG));
		EXPECT_ONCE(1);
		EXPECT_LE(before + 2 * MSEC, now_ns(CLOCK_MONOTONIC));

		w.arg[0] = before + HOUR;
		EXPECT_EQ(1, modify_one(&self->q, &w, KEVENT_MODIFY_ARG));
		EXPECT_EMPTY();
	}
}

TEST_F(timer, rearmed_without_interval_stops)
{
	struct kevent_event ev;
	struct tally t;

	ASSERT_EQ(1, tally_start(&t, &self->q, 0, MSEC, MSEC, 1));
	EXPECT_TALLY(&t);
	t.w.arg[0] = HOUR;
	t.w.arg[1] = 0;
	EXPECT_EQ(1, modify_one(&self->q, &t.w, KEVENT_MODIFY_ARG));
	/* What it had reported, or counted, by then. */
	while (take_now(&self->q, variant->copy, &ev))
		EXPECT_LT(0, ev.data);
	usleep(10000);
	EXPECT_EMPTY();
}

TEST_F(timer, clock_can_be_changed)
{
	static const clockid_t clocks[] = {
		CLOCK_BOOTTIME, CLOCK_REALTIME, CLOCK_MONOTONIC,
	};
	struct kevent_watch w = timer_watch(1, HOUR, 0);
	int i;

	ASSERT_EQ(1, add_one(&self->q, &w));
	for (i = 0; i < 12; i++) {
		w.flags = i % 2 ? KEVENT_WATCH_ABSTIME : 0;
		w.arg[2] = clocks[i % 3];
		w.arg[0] = MSEC;
		if (i % 2)
			w.arg[0] += now_ns(clocks[i % 3]);
		EXPECT_EQ(1, modify_one(&self->q, &w, KEVENT_MODIFY_ARG));
		EXPECT_ONCE(1);
	}
	w.arg[2] = CLOCK_TAI;
	EXPECT_EQ(-EINVAL, modify_one(&self->q, &w, KEVENT_MODIFY_ARG));
	EXPECT_EMPTY();
}

TEST_F(timer, oneshot_has_no_interval)
{
	struct kevent_watch w = timer_watch(1, HOUR, HOUR);

	w.flags = KEVENT_WATCH_ONESHOT;
	EXPECT_EQ(-EINVAL, add_one(&self->q, &w));
	w.flags = 0;
	ASSERT_EQ(1, add_one(&self->q, &w));
	w.flags = KEVENT_WATCH_ONESHOT;
	EXPECT_EQ(-EINVAL, modify_one(&self->q, &w, KEVENT_MODIFY_MODE));
	EXPECT_EQ(-EINVAL, modify_one(&self->q, &w,
				      KEVENT_MODIFY_MODE | KEVENT_MODIFY_ARG));
	w.arg[1] = 0;
	EXPECT_EQ(1, modify_one(&self->q, &w,
				KEVENT_MODIFY_MODE | KEVENT_MODIFY_ARG));
	w.arg[1] = HOUR;
	EXPECT_EQ(-EINVAL, modify_one(&self->q, &w, KEVENT_MODIFY_ARG));
}

/* A call counts what has expired, though nothing was consumed. */
TEST_F(timer, call_counts_what_has_expired)
{
	struct kevent_event ev;
	struct tally t;
	__u64 least;

	ASSERT_EQ(1, tally_start(&t, &self->q, 0, 5 * MSEC, 5 * MSEC, 1));
	usleep(300000);
	least = tally_least(&t, now_ns(CLOCK_MONOTONIC));
	until_there(&self->q, 1);
	ASSERT_EQ(1, take_now(&self->q, variant->copy, &ev));
	EXPECT_LE(least, ev.data);
	EXPECT_TRUE(tally_add(&t, &ev));
}

/* Setting the clock does not move a span. */
TEST_F(timer, span_does_not_move_with_the_clock)
{
	struct kevent_watch w = timer_watch(1, HOUR, 0), abs;
	struct timespec ts;

	w.arg[2] = CLOCK_REALTIME;
	ASSERT_EQ(1, add_one(&self->q, &w));
	abs = w;
	abs.flags = KEVENT_WATCH_ABSTIME;
	abs.user_data = 2;
	abs.arg[0] = now_ns(CLOCK_REALTIME) + HOUR;
	ASSERT_EQ(1, add_one(&self->q, &abs));
	ASSERT_EQ(0, clock_gettime(CLOCK_REALTIME, &ts));
	ts.tv_sec += 7200;
	if (clock_settime(CLOCK_REALTIME, &ts))
		SKIP(return, "needs CAP_SYS_TIME");
	EXPECT_ONCE(2);
	usleep(10000);
	EXPECT_EMPTY();
	ts.tv_sec -= 7200;
	EXPECT_EQ(0, clock_settime(CLOCK_REALTIME, &ts));
}

TEST(no_interrupt_storm)
{
	struct kevent_watch w[20];
	long idle, busy;
	__u64 expired;
	struct queue q;
	int i;

	if (timer_interrupts() < 0)
		SKIP(return, "no LOC in /proc/interrupts");
	ASSERT_LE(0, queue_open(&q, 64));
	idle = count_interrupts(&q, &expired);
	for (i = 0; i < 20; i++) {
		w[i] = timer_watch(i, 10 * USEC, 10 * USEC + i);
		ASSERT_EQ(1, add_one(&q, &w[i]));
	}
	busy = count_interrupts(&q, &expired);
	/* Without a limit it is thousands of times as many. */
	EXPECT_GT(10 * idle + 100, busy);
	/* None is lost. */
	EXPECT_LT(20 * 10000, expired);
	TH_LOG("%ld timer interrupts, %ld without timers", busy, idle);
	queue_close(&q);
}

/*
 * A user's periodic timers share what may interrupt in a tick, if the program
 * makes no call, and nothing is lost by that.
 */
TEST(many_timers_share_a_tick)
{
	enum { NR = 4096, TICKS = 256, PER_TICK = 64 };
	struct tally *t = calloc(NR, sizeof(*t));
	struct kevent_event ev;
	__u64 begin, now, tick;
	struct timespec res;
	long events = 0;
	struct queue q;
	int i;

	ASSERT_NE(NULL, t);
	ASSERT_EQ(0, clock_getres(CLOCK_MONOTONIC_COARSE, &res));
	tick = res.tv_nsec;
	ASSERT_LE(0, queue_open(&q, 2 * NR));
	for (i = 0; i < NR; i++)
		ASSERT_EQ(1, tally_start(&t[i], &q, 0, MSEC, MSEC, i));
	begin = now_ns(CLOCK_MONOTONIC);
	do {
		while (ring_take(&q, &ev)) {
			ASSERT_GT(NR, ev.user_data);
			ASSERT_TRUE(tally_add(&t[ev.user_data], &ev));
			events++;
		}
		now = now_ns(CLOCK_MONOTONIC);
	} while (now - begin < TICKS * tick);
	TH_LOG("%ld events in %llu ticks", events, (now - begin) / tick);
	/* Each once because it was added, and then what they share. */
	EXPECT_GE(NR + (long)((now - begin) / tick + 1) * PER_TICK, events);
	/* A call reports the rest. */
	EXPECT_LE(0, queue_refill(&q));
	while (ring_take(&q, &ev))
		ASSERT_TRUE(tally_add(&t[ev.user_data], &ev));
	for (i = 0; i < NR; i++)
		ASSERT_LE(tally_least(&t[i], now), t[i].sum);
	queue_close(&q);
	free(t);
}

static int poll_call(void *arg)
{
	struct queue *q = arg;
	struct pollfd p = { .fd = q->fd, .events = POLLIN };

	return poll(&p, 1, -1) == 1 && p.revents == POLLIN;
}

static int wait_call(void *arg)
{
	struct queue *q = arg;
	struct kevent_wait args = {
		.clockid = CLOCK_MONOTONIC,
		.seen = q->ring ? ring_cursor(q) : 0,
		.min_nr = 1,
	};

	return kevent_wait(q->fd, &args, sizeof(args));
}

static int get_call(void *arg)
{
	struct kevent_event ev;
	struct queue *q = arg;

	return kevent_get_events(q->fd, 1, 1, NULL, &ev, 0);
}

TEST_F(timer, wakes_those_who_sleep)
{
	int (*calls[])(void *) = { poll_call, wait_call, get_call };
	struct kevent_watch w = timer_watch(1, HOUR, 0);
	struct sleeper s;
	int i;

	ASSERT_EQ(1, add_one(&self->q, &w));
	for (i = 0; i < 3; i++) {
		ASSERT_EQ(0, sleeper_start(&s, calls[i], &self->q));
		ASSERT_TRUE(sleeper_asleep(&s));
		w.arg[0] = MSEC;
		EXPECT_EQ(1, modify_one(&self->q, &w, KEVENT_MODIFY_ARG));
		EXPECT_EQ(1, sleeper_join(&s));
		queue_drain(&self->q);
	}
}

TEST_F(timer, many_timers)
{
	enum { NR = 1000 };
	struct kevent_watch *w = calloc(NR, sizeof(*w));
	static unsigned char seen[NR];
	struct kevent_event ev;
	int i;

	ASSERT_NE(NULL, w);
	memset(seen, 0, sizeof(seen));
	for (i = 0; i < NR; i++) {
		w[i] = timer_watch(i, i * 7919 % NR * 10 * USEC, 0);
		if (i % 2)
			w[i].flags = KEVENT_WATCH_ONESHOT;
	}
	ASSERT_EQ(NR, kevent_add(self->q.fd, w, sizeof(*w), NR, 0));
	for (i = 0; i < NR; i++) {
		ASSERT_EQ(1, take_next(&self->q, variant->copy, &ev));
		ASSERT_GT(NR, ev.user_data);
		ASSERT_EQ(0, seen[ev.user_data]);
		ASSERT_EQ(1, ev.data);
		seen[ev.user_data] = 1;
	}
	EXPECT_EMPTY();
	for (i = 0; i < NR; i++)
		ASSERT_EQ(i % 2 ? -ENOENT : 1,
			  remove_one(&self->q, w[i].handle));
	free(w);
}

/* None of them starves, and none reports more than is true. */
TEST_F(timer, many_periodic_timers)
{
	enum { NR = 50 };
	struct kevent_event ev;
	struct tally t[NR];
	bool missing = true;
	int i;

	for (i = 0; i < NR; i++) {
		ASSERT_EQ(1, tally_start(&t[i], &self->q, 0, MSEC,
					 5 * MSEC + i * 100 * USEC, i));
	}
	while (missing) {
		ASSERT_EQ(1, take_next(&self->q, variant->copy, &ev));
		ASSERT_GT(NR, ev.user_data);
		ASSERT_TRUE(tally_add(&t[ev.user_data], &ev));
		missing = false;
		for (i = 0; i < NR; i++)
			missing |= t[i].sum < 5;
	}
}

TEST_F(timer, one_nanosecond)
{
	struct tally t;
	__u64 last = 0;
	int i;

	ASSERT_EQ(1, tally_start(&t, &self->q, 0, 1, 1, 1));
	for (i = 0; i < 50; i++) {
		EXPECT_TALLY(&t);
		ASSERT_LT(last, t.sum);
		last = t.sum;
	}
	/* It is not consumed. */
	usleep(50000);
	EXPECT_TALLY(&t);
	EXPECT_CAUGHT_UP(&t);
	EXPECT_EQ(1, remove_one(&self->q, t.w.handle));
	EXPECT_EMPTY();
}

TEST_F(timer, many_times_one_nanosecond)
{
	struct kevent_watch w[50];
	__u64 handles[50];
	int i;

	for (i = 0; i < 50; i++)
		w[i] = timer_watch(i, 1, 1);
	ASSERT_EQ(50, kevent_add(self->q.fd, w, sizeof(*w), 50, 0));
	for (i = 0; i < 50; i++)
		handles[i] = w[i].handle;
	usleep(50000);
	EXPECT_EQ(50, kevent_remove(self->q.fd, handles, 50, 0));
	EXPECT_EMPTY();
}

TEST_F(timer, closed_while_armed)
{
	struct kevent_watch w[20];
	struct queue q;
	int i, j;

	for (i = 0; i < 50; i++) {
		ASSERT_LE(0, queue_open(&q, variant->entries));
		for (j = 0; j < 20; j++) {
			w[j] = timer_watch(j, j * 20 * USEC, j % 4 * 30 * USEC);
			if (!w[j].arg[1])
				w[j].flags = KEVENT_WATCH_ONESHOT;
		}
		ASSERT_EQ(20, kevent_add(q.fd, w, sizeof(*w), 20, 0));
		usleep(i * 10);
		queue_close(&q);
	}
}

TEST_F(timer, exit_while_armed)
{
	struct kevent_watch w[20];
	int i, j, status;
	struct queue q;
	pid_t pid;

	for (i = 0; i < 20; i++) {
		pid = fork();
		ASSERT_LE(0, pid);
		if (!pid) {
			if (queue_open(&q, variant->entries) < 0)
				_exit(1);
			for (j = 0; j < 20; j++)
				w[j] = timer_watch(j, j * 20 * USEC,
						   j % 4 * 30 * USEC);
			if (kevent_add(q.fd, w, sizeof(*w), 20, 0) != 20)
				_exit(2);
			if (i % 2)
				_exit(0);
			kill(getpid(), SIGKILL);
		}
		ASSERT_EQ(pid, waitpid(pid, &status, 0));
		EXPECT_EQ(i % 2 ? 0 : SIGKILL, status);
	}
}

TEST_F(timer, child_that_closes_stops_nothing)
{
	int status, i;
	struct tally t;
	pid_t pid;

	ASSERT_EQ(1, tally_start(&t, &self->q, 0, MSEC, MSEC, 1));
	for (i = 0; i < 5; i++) {
		pid = fork();
		ASSERT_LE(0, pid);
		if (!pid)
			_exit(close(self->q.fd));
		ASSERT_EQ(pid, waitpid(pid, &status, 0));
		EXPECT_EQ(0, status);
		EXPECT_TALLY(&t);
	}
	EXPECT_CAUGHT_UP(&t);
}

TEST_F(timer, outlives_the_child_that_added_it)
{
	struct kevent_watch w = timer_watch(9, 5 * MSEC, 0);
	int status;
	pid_t pid;

	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid)
		_exit(add_one(&self->q, &w));
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	ASSERT_TRUE(WIFEXITED(status));
	EXPECT_EQ(1, WEXITSTATUS(status));
	EXPECT_ONCE(9);
	EXPECT_EMPTY();
}

/*
 * Two consumers, many timers and posts: everything comes out once.
 */
#define TIMERS	400
#define POSTS	4000

struct consumer {
	pthread_t thread;
	struct queue *q;
	bool copy;
	int *left;
	unsigned char *timers;	/* how often each came */
	unsigned char *posts;
	int wrong;
};

static void *consumer_main(void *arg)
{
	struct __kernel_timespec ts = ns_to_ts(10 * MSEC);
	struct consumer *c = arg;
	struct kevent_wait wait = {
		.clockid = CLOCK_MONOTONIC,
		.min_nr = 1,
		.timeout = (unsigned long)&ts,
	};
	struct kevent_event ev;
	unsigned char *count;
	__u64 limit;
	int ret;

	while (__atomic_load_n(c->left, __ATOMIC_ACQUIRE) > 0) {
		if (c->copy) {
			ret = kevent_get_events(c->q->fd, 1, 1, &ts, &ev, 0);
		} else {
			ret = ring_take(c->q, &ev);
			if (!ret) {
				wait.seen = ring_cursor(c->q);
				kevent_wait(c->q->fd, &wait, sizeof(wait));
			}
		}
		if (ret != 1) {
			c->wrong += ret < 0;
			continue;
		}
		if (KEVENT_INFO_SOURCE(ev.info) == KEVENT_SOURCE_TIMER) {
			count = c->timers;
			limit = TIMERS;
			c->wrong += ev.data != 1;
		} else {
			count = c->posts;
			limit = POSTS;
			c->wrong += !seq_intact(&ev);
		}
		if (ev.user_data >= limit) {
			c->wrong++;
			continue;
		}
		__atomic_fetch_add(&count[ev.user_data], 1, __ATOMIC_RELAXED);
		__atomic_fetch_sub(c->left, 1, __ATOMIC_ACQ_REL);
	}
	return NULL;
}

TEST_F(timer, two_threads_take_each_event_once)
{
	struct kevent_watch *w = calloc(TIMERS, sizeof(*w));
	unsigned char *timers = calloc(TIMERS, 1);
	unsigned char *posts = calloc(POSTS, 1);
	int i, left = TIMERS + POSTS;
	struct consumer c[2];

	ASSERT_NE(NULL, w);
	ASSERT_NE(NULL, timers);
	ASSERT_NE(NULL, posts);
	for (i = 0; i < 2; i++) {
		c[i] = (struct consumer) {
			.q = &self->q,
			.copy = variant->copy,
			.left = &left,
			.timers = timers,
			.posts = posts,
		};
		ASSERT_EQ(0, pthread_create(&c[i].thread, NULL, consumer_main,
					    &c[i]));
	}
	for (i = 0; i < TIMERS; i++) {
		w[i] = timer_watch(i, i * 7919 % TIMERS * 20 * USEC, 0);
		if (i % 3 == 0)
			w[i].flags = KEVENT_WATCH_ONESHOT;
		if (i % 3 == 1)
			w[i].flags = KEVENT_WATCH_DISPATCH;
		ASSERT_EQ(1, add_one(&self->q, &w[i]));
		ASSERT_EQ(POSTS / TIMERS,
			  seq_post(self->q.fd, i * (POSTS / TIMERS),
				   POSTS / TIMERS, KEVENT_POST_DEFER));
	}
	for (i = 0; i < 2; i++) {
		pthread_join(c[i].thread, NULL);
		EXPECT_EQ(0, c[i].wrong);
	}
	EXPECT_EQ(0, left);
	for (i = 0; i < TIMERS; i++)
		ASSERT_EQ(1, timers[i]);
	for (i = 0; i < POSTS; i++)
		ASSERT_EQ(1, posts[i]);
	EXPECT_EMPTY();
	free(posts);
	free(timers);
	free(w);
}

/* Keeps the processor busy for about as long, so that races shift. */
static void delay(int loops)
{
	while (loops-- > 0)
		__asm__ volatile ("" ::: "memory");
}

TEST_F(timer, removed_while_it_fires)
{
	struct kevent_watch w;
	int i;

	for (i = 0; i < 1000; i++) {
		w = timer_watch(i, i % 50 * USEC, i % 3 * 5 * USEC);
		ASSERT_EQ(1, add_one(&self->q, &w));
		delay(i * 131 % 20000);
		ASSERT_EQ(1, remove_one(&self->q, w.handle));
		EXPECT_EMPTY();
		ASSERT_EQ(-ENOENT, remove_one(&self->q, w.handle));
	}
	usleep(2000);
	EXPECT_EMPTY();
}

static void *modifier_main(void *arg)
{
	struct tally *t = arg;
	struct queue *q = (void *)(unsigned long)t->w.user_data;
	struct kevent_watch w = t->w;
	int i;

	for (i = 0; i < 2000; i++) {
		unsigned int flags[] = {
			KEVENT_MODIFY_ARG, KEVENT_MODIFY_DISABLE,
			KEVENT_MODIFY_ENABLE, KEVENT_MODIFY_MODE,
			KEVENT_MODIFY_ARG | KEVENT_MODIFY_ENABLE,
		};

		w.flags = i % 7 ? 0 : KEVENT_WATCH_DISPATCH;
		w.arg[0] = i % 5 * 3 * USEC;
		w.arg[1] = 10 * USEC + i % 3 * 5 * USEC;
		if (modify_one(q, &w, flags[i % 5]) != 1)
			t->sum++;
		delay(i * 131 % 10000);
	}
	w.flags = 0;
	w.arg[0] = 0;
	if (modify_one(q, &w, KEVENT_MODIFY_ARG | KEVENT_MODIFY_MODE |
		       KEVENT_MODIFY_ENABLE) != 1)
		t->sum++;
	__atomic_store_n(&t->after, 1, __ATOMIC_RELEASE);
	return NULL;
}

/* Whatever it was reported in the meantime, in the end it runs. */
TEST_F(timer, modified_while_it_fires)
{
	struct tally t = { .w = timer_watch(0, 10 * USEC, 10 * USEC) };
	struct kevent_event ev;
	pthread_t thread;
	int i;

	t.w.user_data = (unsigned long)&self->q;
	ASSERT_EQ(1, add_one(&self->q, &t.w));
	ASSERT_EQ(0, pthread_create(&thread, NULL, modifier_main, &t));
	while (!__atomic_load_n(&t.after, __ATOMIC_ACQUIRE)) {
		if (!take_now(&self->q, variant->copy, &ev))
			continue;
		ASSERT_LT(0, ev.data);
		ASSERT_EQ(t.w.user_data, ev.user_data);
		ASSERT_EQ(KEVENT_TIMER_EXPIRED, ev.events);
	}
	pthread_join(thread, NULL);
	EXPECT_EQ(0, t.sum);
	for (i = 0; i < 20; i++) {
		ASSERT_EQ(1, take_next(&self->q, variant->copy, &ev));
		ASSERT_LT(0, ev.data);
	}

	t.w.arg[0] = HOUR;
	EXPECT_EQ(1, modify_one(&self->q, &t.w, KEVENT_MODIFY_ARG));
	while (take_now(&self->q, variant->copy, &ev))
		ASSERT_LT(0, ev.data);
	usleep(2000);
	EXPECT_EMPTY();
	EXPECT_EQ(1, remove_one(&self->q, t.w.handle));
}

/*
 * A consumer that spins sees an event the moment it is there: by then the watch
 * must be what the event makes of it.
 */
static int take_spinning(struct queue *q, struct kevent_event *ev)
{
	int spins;

	for (spins = 0; spins < 200000; spins++)
		if (ring_take(q, ev))
			return 1;
	return take_next(q, false, ev);
}

TEST(spinning_oneshot)
{
	struct kevent_event ev;
	struct kevent_watch w;
	struct queue q;
	int i;

	ASSERT_LE(0, queue_open(&q, 8));
	for (i = 0; i < 1000; i++) {
		w = timer_watch(i, 50 * USEC, 0);
		w.flags = KEVENT_WATCH_ONESHOT;
		ASSERT_EQ(1, add_one(&q, &w));
		ASSERT_EQ(1, take_spinning(&q, &ev));
		ASSERT_EQ(i, ev.user_data);
		ASSERT_EQ(-ENOENT, remove_one(&q, w.handle));
		ASSERT_EQ(0, take_now(&q, false, &ev));
	}
	queue_close(&q);
}

/* Each enabling is answered. */
TEST(spinning_dispatch)
{
	struct kevent_event ev;
	struct kevent_watch w;
	struct queue q;
	int i;

	ASSERT_LE(0, queue_open(&q, 8));
	w = timer_watch(1, 20 * USEC, 20 * USEC);
	w.flags = KEVENT_WATCH_DISPATCH;
	ASSERT_EQ(1, add_one(&q, &w));
	for (i = 0; i < 5000; i++) {
		ASSERT_EQ(1, take_spinning(&q, &ev));
		ASSERT_LT(0, ev.data);
		if (i % 4 == 0)
			delay(i * 131 % 20000);
		ASSERT_EQ(1, modify_one(&q, &w, KEVENT_MODIFY_ENABLE));
	}
	queue_close(&q);
}

/*
 * One thread adds and removes watches that fire at once, into a ring that is
 * mostly full; another takes and refills. After kevent_remove() has returned
 * no event of that watch is consumed.
 */
struct taker {
	pthread_t thread;
	struct queue *q;
	bool copy;
	__u64 removed;	/* all up to this one have been removed */
	int stop;
	int wrong;
};

static void *taker_main(void *arg)
{
	struct taker *t = arg;
	struct kevent_event ev;
	__u64 removed;

	while (!__atomic_load_n(&t->stop, __ATOMIC_ACQUIRE)) {
		removed = __atomic_load_n(&t->removed, __ATOMIC_ACQUIRE);
		if (!take_now(t->q, t->copy, &ev))
			continue;
		if (KEVENT_INFO_SOURCE(ev.info) == KEVENT_SOURCE_TIMER &&
		    ev.user_data <= removed)
			t->wrong++;
	}
	return NULL;
}

static int churn(struct queue *q, bool copy)
{
	struct taker t = { .q = q, .copy = copy };
	struct kevent_watch w;
	int i, wrong = 0;

	if (pthread_create(&t.thread, NULL, taker_main, &t))
		return -1;
	for (i = 1; i <= 10000; i++) {
		w = timer_watch(i, 0, i % 2 * 10 * USEC);
		seq_post(q->fd, i, i % 4, KEVENT_POST_DEFER);
		if (add_one(q, &w) != 1)
			wrong++;
		delay(i * 131 % 3000);
		if (remove_one(q, w.handle) != 1)
			wrong++;
		__atomic_store_n(&t.removed, i, __ATOMIC_RELEASE);
	}
	__atomic_store_n(&t.stop, 1, __ATOMIC_RELEASE);
	pthread_join(t.thread, NULL);
	return wrong + t.wrong;
}

TEST(removed_is_never_taken)
{
	struct queue q;

	ASSERT_LE(0, queue_open(&q, 2));
	EXPECT_EQ(0, churn(&q, false));
	queue_close(&q);
}

TEST(removed_is_never_copied)
{
	struct queue q;

	ASSERT_LE(0, queue_open(&q, 2));
	EXPECT_EQ(0, churn(&q, true));
	queue_close(&q);
}

/* After fork() and close() the mapping is what is left of the queue. */
TEST(mapping_keeps_timers_alive)
{
	struct kevent_watch w = timer_watch(1, 5 * MSEC, 0);
	struct kevent_event ev;
	struct queue q;

	ASSERT_LE(0, queue_open(&q, 2));
	ASSERT_EQ(1, add_one(&q, &w));
	close(q.fd);
	while (!ring_take(&q, &ev))
		usleep(500);
	EXPECT_EQ(1, ev.user_data);
	q.fd = -1;
	queue_close(&q);
}

TEST(merging_wakes_no_thread)
{
	struct kevent_event ev;
	struct waiter waiter;
	__u32 merged, word;
	struct queue q;
	struct tally t;
	__s64 first;

	ASSERT_LE(0, queue_open(&q, 8));
	ASSERT_EQ(0, waiter_start(&waiter, q.fd, 0, 2));
	ASSERT_TRUE(sleeper_asleep(&waiter.sleeper));
	ASSERT_EQ(1, tally_start(&t, &q, 0, MSEC, MSEC, 1));
	do {
		usleep(1000);
		word = __atomic_load_n(ring_word(&q, 0), __ATOMIC_ACQUIRE);
		merged = word >> KEVENT_WORD_MERGED_SHIFT &
			 KEVENT_WORD_MERGED_MAX;
	} while (merged < 10);
	EXPECT_EQ(KEVENT_WORD_READY, word & KEVENT_WORD_STATE_MASK);
	EXPECT_EQ(KEVENT_TIMER_EXPIRED, word & KEVENT_EVENTS_MASK);
	EXPECT_FALSE(sleeper_done(&waiter.sleeper));
	EXPECT_EQ(0, *ring_word(&q, 1));
	first = q.slots[0].data;
	EXPECT_LE(1, first);
	ASSERT_EQ(1, seq_post(q.fd, 1, 1, 0));
	EXPECT_EQ(2, sleeper_join(&waiter.sleeper));
	EXPECT_EQ(2, queue_refill(&q));
	EXPECT_LT(0, q.ring->merged);
	EXPECT_EQ(1, q.ring->woken);
	EXPECT_EQ(2, q.ring->posted);

	ASSERT_EQ(1, ring_take(&q, &ev));
	EXPECT_LE(first + 10, ev.data);
	EXPECT_EQ(first + KEVENT_INFO_MERGED(ev.info), ev.data);
	EXPECT_TRUE(tally_add(&t, &ev));
	ASSERT_EQ(1, ring_take(&q, &ev));
	EXPECT_EQ(1, ev.user_data);
	EXPECT_TRUE(seq_intact(&ev));
	queue_close(&q);
}

FIXTURE(full)
{
	struct queue q;
};

FIXTURE_VARIANT(full)
{
	bool copy;
};

FIXTURE_VARIANT_ADD(full, ring)
{
};

FIXTURE_VARIANT_ADD(full, copied)
{
	.copy = true,
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

static bool backlogged(const struct queue *q)
{
	return __atomic_load_n(&q->ring->flags, __ATOMIC_ACQUIRE) &
	       KEVENT_RING_BACKLOG;
}

#define EXPECT_SEQ(seq)							\
do {									\
	struct kevent_event __got = {};					\
									\
	EXPECT_EQ(1, take_now(&self->q, variant->copy, &__got));	\
	EXPECT_EQ((__u64)(seq), __got.user_data);			\
	EXPECT_TRUE(seq_intact(&__got));				\
} while (0)

TEST_F(full, timer_waits_in_the_backlog)
{
	struct kevent_watch w = timer_watch(100, MSEC, 0);
	int i;

	EXPECT_FALSE(backlogged(&self->q));
	ASSERT_EQ(1, add_one(&self->q, &w));
	while (!backlogged(&self->q))
		usleep(500);
	queue_refill(&self->q);
	EXPECT_EQ(1, self->q.ring->deferred);

	/* In order with posts. */
	EXPECT_EQ(-EAGAIN, seq_post(self->q.fd, 4, 1, 0));
	EXPECT_EQ(2, seq_post(self->q.fd, 4, 2, KEVENT_POST_DEFER));
	for (i = 0; i < 4; i++)
		EXPECT_SEQ(i);
	EXPECT_ONCE(100);
	EXPECT_SEQ(4);
	EXPECT_SEQ(5);
	EXPECT_FALSE(backlogged(&self->q));
	EXPECT_EMPTY();
}

TEST_F(full, one_free_slot_is_enough)
{
	struct kevent_watch w = timer_watch(100, 0, 0);
	int i;

	ASSERT_EQ(1, add_one(&self->q, &w));
	while (!backlogged(&self->q))
		usleep(500);
	EXPECT_SEQ(0);
	queue_refill(&self->q);
	EXPECT_FALSE(backlogged(&self->q));
	for (i = 1; i < 4; i++)
		EXPECT_SEQ(i);
	EXPECT_ONCE(100);
	EXPECT_EMPTY();
}

TEST_F(full, timer_merges_in_the_backlog)
{
	struct kevent_event ev;
	struct tally t;
	int i;

	ASSERT_EQ(1, tally_start(&t, &self->q, 0, MSEC, MSEC, 1));
	while (!backlogged(&self->q))
		usleep(500);
	EXPECT_EQ(1, seq_post(self->q.fd, 4, 1, KEVENT_POST_DEFER));
	usleep(30000);
	queue_refill(&self->q);
	EXPECT_EQ(2, self->q.ring->deferred);
	for (i = 0; i < 4; i++)
		EXPECT_SEQ(i);
	ASSERT_EQ(1, take_now(&self->q, variant->copy, &ev));
	EXPECT_TRUE(tally_add(&t, &ev));
	EXPECT_SEQ(4);
	EXPECT_CAUGHT_UP(&t);
}

TEST_F(full, removed_from_the_backlog)
{
	struct kevent_watch w[3];
	int i;

	for (i = 0; i < 3; i++) {
		w[i] = timer_watch(100 + i, 0, i == 1 ? MSEC : 0);
		ASSERT_EQ(1, add_one(&self->q, &w[i]));
		while (self->q.ring->deferred != 2 * i + 1) {
			usleep(500);
			queue_refill(&self->q);
		}
		EXPECT_EQ(1, seq_post(self->q.fd, 4 + i, 1, KEVENT_POST_DEFER));
	}
	EXPECT_EQ(1, remove_one(&self->q, w[1].handle));
	for (i = 0; i < 4; i++)
		EXPECT_SEQ(i);
	EXPECT_ONCE(100);
	EXPECT_SEQ(4);
	EXPECT_SEQ(5);
	EXPECT_ONCE(102);
	EXPECT_SEQ(6);
	EXPECT_EMPTY();
	EXPECT_FALSE(backlogged(&self->q));
}

TEST_F(full, oneshot_in_the_backlog)
{
	struct kevent_watch w = timer_watch(100, 0, 0);
	struct kevent_event ev;
	int i;

	w.flags = KEVENT_WATCH_ONESHOT;
	ASSERT_EQ(1, add_one(&self->q, &w));
	while (!backlogged(&self->q))
		usleep(500);
	for (i = 0; i < 4; i++)
		EXPECT_SEQ(i);
	ASSERT_EQ(1, take_now(&self->q, variant->copy, &ev));
	EXPECT_EQ(100, ev.user_data);
	EXPECT_LE(1, ev.data);
	EXPECT_EQ(-ENOENT, remove_one(&self->q, w.handle));
	usleep(5000);
	EXPECT_EMPTY();

	/* Until it has reported, it can be removed. */
	ASSERT_EQ(4, seq_post(self->q.fd, 0, 4, 0));
	ASSERT_EQ(1, add_one(&self->q, &w));
	while (!backlogged(&self->q))
		usleep(500);
	EXPECT_EQ(1, remove_one(&self->q, w.handle));
	EXPECT_FALSE(backlogged(&self->q));
	for (i = 0; i < 4; i++)
		EXPECT_SEQ(i);
	EXPECT_EMPTY();
}

TEST_F(full, closed_with_timers_in_the_backlog)
{
	struct kevent_watch w[10];
	int i;

	for (i = 0; i < 10; i++) {
		w[i] = timer_watch(i, 0, i % 2 * 20 * USEC);
		ASSERT_EQ(1, add_one(&self->q, &w[i]));
	}
	while (!backlogged(&self->q))
		usleep(500);
	queue_close(&self->q);
	ASSERT_LE(0, queue_open(&self->q, 4));
	EXPECT_EMPTY();
}

TEST_HARNESS_MAIN
