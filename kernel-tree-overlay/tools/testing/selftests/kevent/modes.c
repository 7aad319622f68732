// SPDX-License-Identifier: GPL-2.0
/*
 * ONESHOT, DISPATCH, DISABLED and EXCLUSIVE watches of files, and what
 * kevent_modify() makes of a watch.
 */
#include "poll_test.h"

FIXTURE(modes)
{
	struct queue q;
	struct kevent_watch w;
	int fd;		/* an eventfd */
};

FIXTURE_VARIANT(modes)
{
	unsigned int entries;
	bool copy;	/* take events with kevent_get_events() */
	__u32 edge;	/* for both, the rest is the same */
};

FIXTURE_VARIANT_ADD(modes, ring)
{
	.entries = 8,
};

FIXTURE_VARIANT_ADD(modes, copied_edge)
{
	.entries = 8,
	.copy = true,
	.edge = EDGE,
};

FIXTURE_VARIANT_ADD(modes, no_ring)
{
	.copy = true,
};

FIXTURE_VARIANT_ADD(modes, no_ring_edge)
{
	.copy = true,
	.edge = EDGE,
};

FIXTURE_SETUP(modes)
{
	ASSERT_LE(0, queue_open(&self->q, variant->entries));
	self->fd = new_file();
	ASSERT_LE(0, self->fd);
}

FIXTURE_TEARDOWN(modes)
{
	queue_close(&self->q);
	close(self->fd);
}

#define EXPECT_NEXT(value, bits)	EXPECT_REPORTED(&self->q, variant->copy, value, bits)
#define NOTHING()		EXPECT_EMPTY(&self->q, variant->copy)

#define ADD(events, flags, value)					\
do {									\
	self->w = watch_poll(self->fd, (events),			\
			     (flags) | variant->edge, (value));		\
	ASSERT_EQ(1, add_one(&self->q, &self->w));			\
} while (0)

#define MODIFY(what)	EXPECT_EQ(1, modify_one(&self->q, &self->w, what))
#define REMOVE()	EXPECT_EQ(1, remove_one(&self->q, self->w.handle))

/* A ONESHOT watch that has fired can be removed until its event is consumed. */
#define EXPECT_FIRED()							\
	EXPECT_EQ(-ENOENT, modify_one(&self->q, &self->w,		\
				      KEVENT_MODIFY_ENABLE))

#define EXPECT_GONE()							\
do {									\
	EXPECT_EQ(-ENOENT, modify_one(&self->q, &self->w,		\
				      KEVENT_MODIFY_ENABLE));		\
	EXPECT_EQ(-ENOENT, remove_one(&self->q, self->w.handle));	\
} while (0)

TEST_F(modes, oneshot_is_removed_by_its_event)
{
	int i;

	for (i = 0; i < 5; i++) {
		ADD(IN, ONESHOT, i);
		NOTHING();
		efd_fire(self->fd);
		EXPECT_FIRED();
		EXPECT_NEXT(i, IN);
		EXPECT_GONE();
		efd_fire(self->fd);
		NOTHING();
		efd_quench(self->fd);
		NOTHING();
	}
}

TEST_F(modes, oneshot_that_is_ready_already)
{
	efd_fire(self->fd);
	ADD(IN, ONESHOT, 1);
	EXPECT_FIRED();
	EXPECT_TRUE(queue_readable(&self->q));
	EXPECT_NEXT(1, IN);
	EXPECT_GONE();
	NOTHING();
}

/* What it has reported stays when others come and go in its place. */
TEST_F(modes, oneshot_unconsumed)
{
	struct kevent_watch other;
	int i;

	efd_fire(self->fd);
	for (i = 0; i < 6; i++)
		ADD(IN, ONESHOT, i);
	other = watch_poll(self->fd, IN, LEVEL, 100);
	for (i = 0; i < 20; i++) {
		ASSERT_EQ(1, add_one(&self->q, &other));
		EXPECT_NE(self->w.handle, other.handle);
		ASSERT_EQ(1, remove_one(&self->q, other.handle));
		EXPECT_FIRED();
	}
	for (i = 0; i < 6; i++)
		EXPECT_NEXT(i, IN);
	NOTHING();
}

TEST_F(modes, oneshot_of_a_file_that_is_closed)
{
	int fd = new_file();
	struct kevent_watch w = watch_poll(fd, IN, ONESHOT, 1);

	efd_fire(fd);
	ASSERT_EQ(1, add_one(&self->q, &w));
	close(fd);
	NOTHING();
	EXPECT_FALSE(queue_readable(&self->q));
}

TEST_F(modes, oneshot_removed_while_unconsumed)
{
	int i;

	for (i = 0; i < 5; i++) {
		efd_fire(self->fd);
		ADD(IN, ONESHOT, i);
		if (i % 2)
			queue_refill(&self->q);
		EXPECT_FIRED();
		REMOVE();
		EXPECT_GONE();
		NOTHING();
		EXPECT_FALSE(queue_readable(&self->q));
		efd_quench(self->fd);
	}
}

/* The same behind events that fill the ring. */
TEST_F(modes, oneshot_removed_from_the_backlog)
{
	int i;

	ASSERT_EQ(8, seq_post(self->q.fd, 100, 8, KEVENT_POST_DEFER));
	efd_fire(self->fd);
	ADD(IN, ONESHOT, 1);
	EXPECT_FIRED();
	REMOVE();
	EXPECT_GONE();
	for (i = 0; i < 8; i++) {
		struct kevent_event ev = {};

		ASSERT_EQ(1, take_now(&self->q, variant->copy, &ev));
		EXPECT_EQ(100 + i, ev.user_data);
	}
	NOTHING();
}

/* All ways to consume it, and what the kernel has seen of that. */
TEST_F(modes, oneshot_removed_after_it_was_consumed)
{
	int i;

	efd_fire(self->fd);
	for (i = 0; i < 4; i++) {
		ADD(IN, ONESHOT, i);
		EXPECT_NEXT(i, IN);
		if (i % 2)
			queue_refill(&self->q);
		EXPECT_EQ(-ENOENT, remove_one(&self->q, self->w.handle));
		EXPECT_GONE();
	}
}

/* What happens after that is another matter. */
TEST_F(modes, what_it_fired_for_is_reported_once)
{
	static const __u32 flags[] = { ONESHOT, DISPATCH };
	struct kevent_event ev = {};
	int i, full;

	for (i = 0; i < 4; i++) {
		full = i / 2 ? 8 : 0;
		ASSERT_EQ(full, seq_post(self->q.fd, 100, full,
					 KEVENT_POST_DEFER));
		ADD(IN | OUT, flags[i % 2], i);
		efd_fire(self->fd);
		while (full--) {
			ASSERT_EQ(1, take_now(&self->q, variant->copy, &ev));
			ASSERT_LE(100, ev.user_data);
		}
		ASSERT_EQ(1, take_now(&self->q, variant->copy, &ev));
		EXPECT_EQ(i, ev.user_data);
		EXPECT_EQ(OUT, ev.events);
		EXPECT_EQ(0, KEVENT_INFO_MERGED(ev.info));
		NOTHING();
		if (i % 2) {
			MODIFY(KEVENT_MODIFY_ENABLE);
			EXPECT_NEXT(i, IN | OUT);
			REMOVE();
		}
		efd_quench(self->fd);
	}
}

TEST_F(modes, oneshot_is_switched_off)
{
	ADD(IN, ONESHOT | DISABLED, 1);
	efd_fire(self->fd);
	NOTHING();
	efd_quench(self->fd);
	MODIFY(KEVENT_MODIFY_ENABLE);
	NOTHING();
	efd_fire(self->fd);
	EXPECT_NEXT(1, IN);
	EXPECT_GONE();
}

TEST_F(modes, oneshot_removed_before_it_fires)
{
	ADD(IN, ONESHOT, 1);
	REMOVE();
	EXPECT_GONE();
	efd_fire(self->fd);
	NOTHING();
}

/* One event, however many wait for it. */
struct hunter {
	struct queue *q;
	struct kevent_event ev;
};

static int hunter_call(void *arg)
{
	struct hunter *h = arg;

	return kevent_get_events(h->q->fd, 1, 1, NULL, &h->ev, 0);
}

#define HUNTERS	8

TEST_F(modes, oneshot_under_many_waiters)
{
	int i, round, done, seen;
	struct hunter h[HUNTERS];
	struct sleeper s[HUNTERS];

	for (round = 0; round < 3; round++) {
		for (i = 0; i < HUNTERS; i++) {
			h[i].q = &self->q;
			ASSERT_EQ(0, sleeper_start(&s[i], hunter_call, &h[i]));
			ASSERT_TRUE(sleeper_asleep(&s[i]));
		}
		for (seen = 0; seen < HUNTERS; seen++) {
			ADD(IN, ONESHOT, seen);
			efd_fire(self->fd);
			/* One more than before, and no more than that. */
			do {
				sched_yield();
				for (i = 0, done = 0; i < HUNTERS; i++)
					done += sleeper_done(&s[i]);
			} while (done <= seen);
			usleep(1000);
			for (i = 0, done = 0; i < HUNTERS; i++)
				done += sleeper_done(&s[i]);
			ASSERT_EQ(seen + 1, done);
			EXPECT_GONE();
			efd_quench(self->fd);
		}
		for (i = 0, seen = 0; i < HUNTERS; i++) {
			ASSERT_EQ(1, sleeper_join(&s[i]));
			seen |= 1 << h[i].ev.user_data;
		}
		EXPECT_EQ((1 << HUNTERS) - 1, seen);
		NOTHING();
	}
}

TEST_F(modes, dispatch_reports_once_until_it_is_enabled)
{
	int i;

	ADD(IN, DISPATCH, 1);
	NOTHING();
	efd_fire(self->fd);
	for (i = 0; i < 5; i++) {
		EXPECT_NEXT(1, IN);
		NOTHING();
		efd_fire(self->fd);
		NOTHING();
		MODIFY(KEVENT_MODIFY_ENABLE);
	}
	EXPECT_NEXT(1, IN);
	efd_quench(self->fd);
	MODIFY(KEVENT_MODIFY_ENABLE);
	NOTHING();
	efd_fire(self->fd);
	EXPECT_NEXT(1, IN);
	REMOVE();
}

/* Only what holds then. */
TEST_F(modes, dispatch_forgets_what_has_passed)
{
	ADD(IN, DISPATCH, 1);
	efd_fire(self->fd);
	EXPECT_NEXT(1, IN);
	efd_quench(self->fd);
	efd_fire(self->fd);
	efd_quench(self->fd);
	MODIFY(KEVENT_MODIFY_ENABLE);
	NOTHING();
	efd_fire(self->fd);
	EXPECT_NEXT(1, IN);
	NOTHING();
}

TEST_F(modes, dispatch_enabled_while_unconsumed)
{
	efd_fire(self->fd);
	ADD(IN, DISPATCH, 1);
	MODIFY(KEVENT_MODIFY_ENABLE);
	MODIFY(KEVENT_MODIFY_ENABLE);
	EXPECT_NEXT(1, IN);
	NOTHING();
	MODIFY(KEVENT_MODIFY_ENABLE);
	EXPECT_NEXT(1, IN);
	NOTHING();
}

TEST_F(modes, dispatch_that_is_off_stays_off)
{
	efd_fire(self->fd);
	ADD(IN, DISPATCH, 1);
	EXPECT_NEXT(1, IN);
	/* What is changed meanwhile takes effect when it is enabled. */
	self->w.events = IN | OUT;
	self->w.user_data = 2;
	MODIFY(KEVENT_MODIFY_EVENTS | KEVENT_MODIFY_USER_DATA);
	NOTHING();
	MODIFY(KEVENT_MODIFY_ENABLE);
	EXPECT_NEXT(2, IN | OUT);
	NOTHING();
	REMOVE();
	NOTHING();
}

TEST_F(modes, dispatch_removed_while_off)
{
	efd_fire(self->fd);
	ADD(IN, DISPATCH, 1);
	EXPECT_NEXT(1, IN);
	REMOVE();
	EXPECT_GONE();
	efd_fire(self->fd);
	NOTHING();
}

TEST_F(modes, disabled_reports_nothing)
{
	efd_fire(self->fd);
	ADD(IN, DISABLED, 1);
	NOTHING();
	EXPECT_FALSE(queue_readable(&self->q));
	efd_fire(self->fd);
	NOTHING();
	EXPECT_FALSE(queue_readable(&self->q));
	MODIFY(KEVENT_MODIFY_ENABLE);
	EXPECT_NEXT(1, IN);
	MODIFY(KEVENT_MODIFY_DISABLE);
	efd_fire(self->fd);
	NOTHING();
	efd_quench(self->fd);
	MODIFY(KEVENT_MODIFY_ENABLE);
	NOTHING();
	efd_fire(self->fd);
	EXPECT_NEXT(1, IN);
	REMOVE();
}

TEST_F(modes, disabled_twice_and_enabled_twice)
{
	ADD(IN, DISABLED, 1);
	MODIFY(KEVENT_MODIFY_DISABLE);
	efd_fire(self->fd);
	NOTHING();
	MODIFY(KEVENT_MODIFY_ENABLE);
	MODIFY(KEVENT_MODIFY_ENABLE);
	EXPECT_NEXT(1, IN);
	MODIFY(KEVENT_MODIFY_DISABLE);
	MODIFY(KEVENT_MODIFY_DISABLE);
	NOTHING();
	REMOVE();
}

/* It reports nothing from then on, and what holds when it is enabled. */
TEST_F(modes, disabled_while_unconsumed)
{
	efd_fire(self->fd);
	ADD(IN, LEVEL, 1);
	MODIFY(KEVENT_MODIFY_DISABLE);
	NOTHING();
	MODIFY(KEVENT_MODIFY_ENABLE);
	EXPECT_NEXT(1, IN);
	REMOVE();
	NOTHING();
}

TEST_F(modes, enabled_wakes_a_sleeper)
{
	struct waiter waiter;

	efd_fire(self->fd);
	ADD(IN, DISABLED, 1);
	ASSERT_EQ(0, waiter_start(&waiter, self->q.fd, 0, 1));
	ASSERT_TRUE(sleeper_asleep(&waiter.sleeper));
	MODIFY(KEVENT_MODIFY_ENABLE);
	EXPECT_EQ(1, sleeper_join(&waiter.sleeper));
	EXPECT_NEXT(1, IN);
}

TEST_F(modes, modified_interest_wakes_a_sleeper)
{
	struct waiter waiter;

	efd_fire(self->fd);
	ADD(0, LEVEL, 1);
	ASSERT_EQ(0, waiter_start(&waiter, self->q.fd, 0, 1));
	ASSERT_TRUE(sleeper_asleep(&waiter.sleeper));
	self->w.events = OUT;
	MODIFY(KEVENT_MODIFY_EVENTS);
	EXPECT_EQ(1, sleeper_join(&waiter.sleeper));
	EXPECT_NEXT(1, OUT);
}

TEST_F(modes, modify_events)
{
	ADD(0, LEVEL, 1);
	efd_fire(self->fd);
	NOTHING();
	self->w.events = IN;
	MODIFY(KEVENT_MODIFY_EVENTS);
	EXPECT_NEXT(1, IN);
	self->w.events = OUT;
	MODIFY(KEVENT_MODIFY_EVENTS);
	EXPECT_NEXT(1, OUT);
	self->w.events = IN | OUT;
	MODIFY(KEVENT_MODIFY_EVENTS);
	EXPECT_NEXT(1, IN | OUT);
	efd_quench(self->fd);
	/* In edge mode the wake-up of the read itself is reported. */
	EXPECT_EQ(0, take_until(&self->q, variant->copy, OUT, OUT));
	self->w.events = 0;
	MODIFY(KEVENT_MODIFY_EVENTS);
	NOTHING();
	efd_fire(self->fd);
	NOTHING();
	REMOVE();
}

/* Of what was of interest before, nothing is left. */
TEST_F(modes, modify_events_while_unconsumed)
{
	efd_fire(self->fd);
	ADD(IN, LEVEL, 1);
	self->w.events = OUT;
	MODIFY(KEVENT_MODIFY_EVENTS);
	EXPECT_NEXT(1, OUT);
	if (!variant->edge)
		EXPECT_NEXT(1, OUT);
	self->w.events = 0;
	MODIFY(KEVENT_MODIFY_EVENTS);
	NOTHING();
}

TEST_F(modes, modify_events_refuses)
{
	int bit;

	efd_fire(self->fd);
	ADD(IN, DISPATCH, 1);
	EXPECT_NEXT(1, IN);
	for (bit = 0; bit < 32; bit++) {
		self->w.events = 1U << bit;
		EXPECT_EQ(self->w.events & INTEREST ? 1 : -EINVAL,
			  modify_one(&self->q, &self->w,
				     KEVENT_MODIFY_EVENTS)) {
			TH_LOG("bit %d", bit);
		}
		EXPECT_EQ(self->w.events & INTEREST ? 0 : -EINVAL,
			  self->w.result);
	}
	/* What was refused has changed nothing. */
	self->w.events = IN;
	MODIFY(KEVENT_MODIFY_EVENTS);
	self->w.events = OUT | NVAL;
	EXPECT_EQ(-EINVAL, modify_one(&self->q, &self->w, KEVENT_MODIFY_EVENTS |
				      KEVENT_MODIFY_ENABLE));
	NOTHING();
	MODIFY(KEVENT_MODIFY_ENABLE);
	EXPECT_NEXT(1, IN);
}

TEST_F(modes, modify_user_data)
{
	ADD(IN, LEVEL, 1);
	self->w.user_data = ~0ULL;
	MODIFY(KEVENT_MODIFY_USER_DATA);
	NOTHING();
	efd_fire(self->fd);
	EXPECT_NEXT(~0ULL, IN);
	efd_quench(self->fd);
	NOTHING();
	/* The unconsumed event has it too. */
	efd_fire(self->fd);
	self->w.user_data = 3;
	MODIFY(KEVENT_MODIFY_USER_DATA);
	EXPECT_NEXT(3, IN);
	efd_fire(self->fd);
	EXPECT_NEXT(3, IN);
}

/* Nothing new is reported by a change of the name alone. */
TEST_F(modes, modify_user_data_reports_nothing)
{
	efd_fire(self->fd);
	ADD(IN, EDGE, 1);
	EXPECT_NEXT(1, IN);
	self->w.user_data = 2;
	MODIFY(KEVENT_MODIFY_USER_DATA);
	NOTHING();
	MODIFY(KEVENT_MODIFY_DISABLE);
	NOTHING();
}

TEST_F(modes, modify_arguments)
{
	int i;

	efd_fire(self->fd);
	ADD(IN, EDGE, 1);
	EXPECT_NEXT(1, IN);
	EXPECT_EQ(1, modify_one(&self->q, &self->w, KEVENT_MODIFY_ARG));
	for (i = 0; i < 4; i++) {
		self->w.arg[i] = 1ULL << 63;
		EXPECT_EQ(-EINVAL, modify_one(&self->q, &self->w,
					      KEVENT_MODIFY_ARG));
		EXPECT_EQ(-EINVAL, self->w.result);
		self->w.arg[i] = 1;
		EXPECT_EQ(-EINVAL, modify_one(&self->q, &self->w,
					      KEVENT_MODIFY_ARG));
		/* What is not to be changed does not matter. */
		MODIFY(KEVENT_MODIFY_USER_DATA);
		self->w.arg[i] = 0;
	}
	REMOVE();
}

/* From each mode into each other. */
TEST_F(modes, modify_mode)
{
	static const __u32 all[] = {
		LEVEL, EDGE, DISPATCH, EDGE | DISPATCH, LEVEL, ONESHOT,
	};
	static const __u32 from[] = {
		LEVEL, EDGE, DISPATCH, EDGE | DISPATCH,
	};
	size_t i, j;

	efd_fire(self->fd);
	for (i = 0; i < ARRAY_SIZE(from); i++) {
		for (j = 0; j < ARRAY_SIZE(all); j++) {
			self->w = watch_poll(self->fd, IN, from[i], 10 * i + j);
			ASSERT_EQ(1, add_one(&self->q, &self->w));
			EXPECT_NEXT(10 * i + j, IN);
			self->w.flags = all[j];
			MODIFY(KEVENT_MODIFY_MODE | KEVENT_MODIFY_ENABLE);
			EXPECT_NEXT(10 * i + j, IN);
			if (all[j] == ONESHOT) {
				EXPECT_GONE();
				continue;
			}
			if (all[j] == LEVEL)
				EXPECT_NEXT(10 * i + j, IN);
			else
				NOTHING();
			REMOVE();
			NOTHING();
		}
	}
}

TEST_F(modes, modify_mode_refuses)
{
	static const __u32 wrong[] = {
		KEVENT_WATCH_ABSTIME, KEVENT_WATCH_TAKE, KEVENT_WATCH_EXPECT,
		ONESHOT | DISPATCH, EXCLUSIVE, EXCLUSIVE | EDGE,
		EXCLUSIVE | ONESHOT, ~0U, 1U << 31, 1U << 9,
	};
	size_t i;

	ADD(IN, LEVEL, 1);
	for (i = 0; i < ARRAY_SIZE(wrong); i++) {
		self->w.flags = wrong[i];
		self->w.result = 0x55;
		EXPECT_EQ(-EINVAL, modify_one(&self->q, &self->w,
					      KEVENT_MODIFY_MODE)) {
			TH_LOG("flags %#x", wrong[i]);
		}
		EXPECT_EQ(-EINVAL, self->w.result);
	}
	/* It goes on as it was. */
	efd_fire(self->fd);
	EXPECT_NEXT(1, IN);
	if (!variant->edge)
		EXPECT_NEXT(1, IN);
	REMOVE();
}

TEST_F(modes, modify_everything_at_once)
{
	ADD(OUT, DISABLED, 1);
	efd_fire(self->fd);
	self->w.events = IN;
	self->w.flags = DISPATCH;
	self->w.user_data = 2;
	MODIFY(KEVENT_MODIFY_EVENTS | KEVENT_MODIFY_MODE | KEVENT_MODIFY_ARG |
	       KEVENT_MODIFY_USER_DATA | KEVENT_MODIFY_ENABLE);
	EXPECT_NEXT(2, IN);
	NOTHING();
	self->w.events = IN | OUT;
	self->w.flags = EDGE;
	self->w.user_data = 3;
	MODIFY(KEVENT_MODIFY_EVENTS | KEVENT_MODIFY_MODE |
	       KEVENT_MODIFY_USER_DATA | KEVENT_MODIFY_DISABLE);
	NOTHING();
	MODIFY(KEVENT_MODIFY_ENABLE);
	EXPECT_NEXT(3, IN | OUT);
	NOTHING();
	efd_fire(self->fd);
	EXPECT_NEXT(3, IN);
	REMOVE();
}

TEST_F(modes, modify_of_several)
{
	struct kevent_watch w[4];
	int i;

	efd_fire(self->fd);
	for (i = 0; i < 4; i++) {
		w[i] = watch_poll(self->fd, IN, DISABLED, i);
		ASSERT_EQ(1, add_one(&self->q, &w[i]));
		w[i].flags = EDGE;
		w[i].result = 0x55;
	}
	w[2].handle += 1ULL << 32;
	EXPECT_EQ(2, kevent_modify(self->q.fd, w, sizeof(*w), 4,
				   KEVENT_MODIFY_MODE | KEVENT_MODIFY_ENABLE));
	EXPECT_EQ(0, w[0].result);
	EXPECT_EQ(0, w[1].result);
	EXPECT_EQ(-ENOENT, w[2].result);
	EXPECT_EQ(-ECANCELED, w[3].result);
	EXPECT_NEXT(0, IN);
	EXPECT_NEXT(1, IN);
	NOTHING();
}

TEST_F(modes, modify_needs_the_class_of_the_watch)
{
	efd_fire(self->fd);
	ADD(IN, DISPATCH, 1);
	EXPECT_NEXT(1, IN);
	self->w.source = KEVENT_SOURCE_TIMER;
	EXPECT_EQ(-EINVAL, modify_one(&self->q, &self->w,
				      KEVENT_MODIFY_ENABLE));
	self->w.source = KEVENT_SOURCE_USER;
	EXPECT_EQ(-EINVAL, modify_one(&self->q, &self->w,
				      KEVENT_MODIFY_ENABLE));
	NOTHING();
}

TEST_F(modes, exclusive_cannot_be_changed)
{
	static const __u32 flags[] = {
		LEVEL, EDGE, ONESHOT, DISPATCH, EXCLUSIVE | ONESHOT,
		EXCLUSIVE | DISPATCH,
	};
	size_t i;

	ADD(IN, EXCLUSIVE, 1);
	for (i = 0; i < ARRAY_SIZE(flags); i++) {
		self->w.flags = flags[i];
		EXPECT_EQ(-EINVAL, modify_one(&self->q, &self->w,
					      KEVENT_MODIFY_MODE)) {
			TH_LOG("flags %#x", flags[i]);
		}
	}
	self->w.events = IN | OUT;
	EXPECT_EQ(-EINVAL, modify_one(&self->q, &self->w,
				      KEVENT_MODIFY_EVENTS));
	NOTHING();
	/* The rest can. */
	self->w.user_data = 2;
	MODIFY(KEVENT_MODIFY_USER_DATA);
	MODIFY(KEVENT_MODIFY_DISABLE);
	efd_fire(self->fd);
	NOTHING();
	MODIFY(KEVENT_MODIFY_ENABLE);
	EXPECT_NEXT(2, IN);
	REMOVE();
	NOTHING();
}

TEST_F(modes, exclusive_alone_is_like_others)
{
	int i;

	ADD(IN, EXCLUSIVE, 1);
	for (i = 0; i < 10; i++) {
		NOTHING();
		efd_fire(self->fd);
		EXPECT_NEXT(1, IN);
		if (!variant->edge)
			EXPECT_NEXT(1, IN);
		efd_quench(self->fd);
		NOTHING();
	}
	REMOVE();
	efd_fire(self->fd);
	NOTHING();
}

/* What is ready when it is added, each one is reported. */
TEST_F(modes, exclusive_and_ready_already)
{
	int i;

	efd_fire(self->fd);
	for (i = 0; i < 3; i++) {
		ADD(IN, EXCLUSIVE, i);
		EXPECT_NEXT(i, IN);
		REMOVE();
	}
}

/*
 * Several queues at one file: a wake-up is for one of those which share it, if
 * that wakes a thread, and for all of those which do not.
 */
#define QUEUES	5

/* How many of some queues are reported; -1 if one is reported more than once. */
static int reported(struct queue *q, int first, int last, bool copy)
{
	struct kevent_event ev;
	int i, sum = 0;

	for (i = first; i <= last; i++) {
		if (take_now(&q[i], copy, &ev) != 1)
			continue;
		if (ev.events != IN || ev.user_data != i ||
		    take_now(&q[i], copy, &ev))
			return -1;
		sum++;
	}
	return sum;
}

TEST_F(modes, all_queues_are_reported)
{
	struct queue q[QUEUES];
	struct kevent_watch w;
	int i;

	for (i = 0; i < QUEUES; i++) {
		ASSERT_LE(0, queue_open(&q[i], variant->entries));
		w = watch_poll(self->fd, IN, EDGE, i);
		ASSERT_EQ(1, add_one(&q[i], &w));
	}
	for (i = 0; i < 20; i++) {
		efd_fire(self->fd);
		ASSERT_EQ(QUEUES, reported(q, 0, QUEUES - 1, variant->copy));
	}
	for (i = 0; i < QUEUES; i++)
		queue_close(&q[i]);
}

/* No thread sleeps, so none is woken that would handle it. */
TEST_F(modes, exclusive_queues_without_sleepers)
{
	struct queue q[QUEUES];
	struct kevent_watch w;
	int i;

	for (i = 0; i < QUEUES; i++) {
		ASSERT_LE(0, queue_open(&q[i], variant->entries));
		w = watch_poll(self->fd, IN, EDGE | EXCLUSIVE, i);
		ASSERT_EQ(1, add_one(&q[i], &w));
	}
	for (i = 0; i < 20; i++) {
		efd_fire(self->fd);
		ASSERT_EQ(QUEUES, reported(q, 0, QUEUES - 1, variant->copy));
	}
	/* One after the other goes, and the others share it still. */
	for (i = 0; i < QUEUES - 1; i++) {
		queue_close(&q[i]);
		efd_fire(self->fd);
		ASSERT_EQ(QUEUES - 1 - i,
			  reported(q, i + 1, QUEUES - 1, variant->copy));
	}
	queue_close(&q[i]);
}

TEST_F(modes, exclusive_queues_beside_others)
{
	struct queue q[QUEUES];
	struct kevent_watch w;
	int i;

	for (i = 0; i < QUEUES; i++) {
		ASSERT_LE(0, queue_open(&q[i], variant->entries));
		w = watch_poll(self->fd, IN, i < 2 ? EDGE : EDGE | EXCLUSIVE,
			       i);
		ASSERT_EQ(1, add_one(&q[i], &w));
	}
	for (i = 0; i < 20; i++) {
		efd_fire(self->fd);
		ASSERT_EQ(2, reported(q, 0, 1, variant->copy));
		ASSERT_EQ(QUEUES - 2, reported(q, 2, QUEUES - 1, variant->copy));
	}
	for (i = 0; i < QUEUES; i++)
		queue_close(&q[i]);
}

/* One that is disabled does not keep it from the others. */
TEST_F(modes, exclusive_queue_that_is_off)
{
	struct queue q[QUEUES];
	struct kevent_watch w;
	int i, round;

	for (round = 0; round < QUEUES; round++) {
		for (i = 0; i < QUEUES; i++) {
			__u32 off = i == round ? 0 : DISABLED;

			ASSERT_LE(0, queue_open(&q[i], variant->entries));
			w = watch_poll(self->fd, IN, EDGE | EXCLUSIVE | off, i);
			ASSERT_EQ(1, add_one(&q[i], &w));
		}
		efd_fire(self->fd);
		EXPECT_EQ(1, reported(q, 0, QUEUES - 1, variant->copy));
		for (i = 0; i < QUEUES; i++)
			queue_close(&q[i]);
		efd_quench(self->fd);
	}
}

/* A wake-up that is for other bits than one's is no wake-up. */
TEST_F(modes, exclusive_queue_with_other_interest)
{
	struct queue q[QUEUES];
	struct kevent_watch w;
	int i, round;

	for (round = 0; round < QUEUES; round++) {
		for (i = 0; i < QUEUES; i++) {
			ASSERT_LE(0, queue_open(&q[i], variant->entries));
			w = watch_poll(self->fd, i == round ? IN : PRI,
				       EDGE | EXCLUSIVE, i);
			ASSERT_EQ(1, add_one(&q[i], &w));
		}
		efd_fire(self->fd);
		EXPECT_EQ(1, reported(q, 0, QUEUES - 1, variant->copy));
		for (i = 0; i < QUEUES; i++)
			queue_close(&q[i]);
		efd_quench(self->fd);
	}
}

/* A watch that has claimed a wake-up, and does not use it, passes it on. */
TEST_F(modes, exclusive_event_that_is_unconsumed_is_passed_on)
{
	enum { CLOSE, REMOVE_WATCH, DISABLE, WAYS };
	struct kevent_watch w[2];
	struct waiter waiter;
	struct queue q[2];
	int i, way;

	for (way = 0; way < WAYS; way++) {
		for (i = 0; i < 2; i++) {
			ASSERT_LE(0, queue_open(&q[i], variant->entries));
			w[i] = watch_poll(self->fd, IN,
					  variant->edge | EXCLUSIVE, i);
			ASSERT_EQ(1, add_one(&q[i], &w[i]));
		}
		ASSERT_EQ(0, waiter_start(&waiter, q[0].fd, 0, 1));
		ASSERT_TRUE(sleeper_asleep(&waiter.sleeper));
		efd_fire(self->fd);
		ASSERT_EQ(1, sleeper_join(&waiter.sleeper));
		ASSERT_EQ(0, reported(q, 1, 1, variant->copy));
		switch (way) {
		case CLOSE:
			queue_close(&q[0]);
			break;
		case REMOVE_WATCH:
			ASSERT_EQ(1, remove_one(&q[0], w[0].handle));
			break;
		case DISABLE:
			ASSERT_EQ(1, modify_one(&q[0], &w[0],
						KEVENT_MODIFY_DISABLE));
			break;
		}
		EXPECT_FALSE(!queue_readable(&q[1]));
		efd_quench(self->fd);
		if (way != CLOSE)
			queue_close(&q[0]);
		queue_close(&q[1]);
	}
}

/*
 * A program may write what it likes into its event.  Others are woken for that
 * at most: no waiter takes it for the end of the file.
 */
TEST_F(modes, exclusive_event_that_is_forged_does_no_harm)
{
	static const __u32 forged[] = {
		0x4000 /* POLLFREE */, EPOLLHUP, EPOLLERR, 0xfffe,
	};
	struct epoll_event ev = { .events = EPOLLIN | EPOLLET };
	struct kevent_event out;
	struct kevent_watch w;
	struct waiter waiter;
	struct queue q[2];
	int epoll, i, n, way;

	if (!variant->entries)
		SKIP(return, "no ring");
	epoll = epoll_create1(EPOLL_CLOEXEC);
	ASSERT_LE(0, epoll);
	ASSERT_EQ(0, epoll_ctl(epoll, EPOLL_CTL_ADD, self->fd, &ev));
	ASSERT_LE(0, queue_open(&q[1], 0));
	w = watch_poll(self->fd, IN, EDGE, 1);
	ASSERT_EQ(1, add_one(&q[1], &w));
	for (i = 0; i < (int)ARRAY_SIZE(forged) * 2; i++) {
		way = i % 2;
		ASSERT_LE(0, queue_open(&q[0], variant->entries));
		w = watch_poll(self->fd, IN, variant->edge | EXCLUSIVE, 0);
		ASSERT_EQ(1, add_one(&q[0], &w));
		ASSERT_EQ(0, waiter_start(&waiter, q[0].fd, 0, 1));
		ASSERT_TRUE(sleeper_asleep(&waiter.sleeper));
		efd_fire(self->fd);
		ASSERT_EQ(1, sleeper_join(&waiter.sleeper));
		q[0].slots[0].events |= forged[i / 2];
		ASSERT_EQ(1, way ? remove_one(&q[0], w.handle) :
				   modify_one(&q[0], &w, KEVENT_MODIFY_DISABLE));
		efd_quench(self->fd);
		while (epoll_wait(epoll, &ev, 1, 0) > 0)
			;
		while (take_now(&q[1], true, &out) == 1)
			;
		/* Those who watched before still do. */
		for (n = 0; n < 2; n++) {
			efd_fire(self->fd);
			EXPECT_EQ(1, epoll_wait(epoll, &ev, 1, 0));
			EXPECT_EQ(1, take_now(&q[1], true, &out));
			efd_quench(self->fd);
		}
		queue_close(&q[0]);
	}
	queue_close(&q[1]);
	close(epoll);
}

/* What the program has consumed is its own. */
TEST_F(modes, exclusive_event_that_was_consumed_is_not_passed_on)
{
	struct kevent_event ev;
	struct kevent_watch w;
	struct waiter waiter;
	struct queue q[2];
	int i;

	for (i = 0; i < 2; i++) {
		ASSERT_LE(0, queue_open(&q[i], variant->entries));
		w = watch_poll(self->fd, IN, variant->edge | EXCLUSIVE, i);
		ASSERT_EQ(1, add_one(&q[i], &w));
	}
	ASSERT_EQ(0, waiter_start(&waiter, q[0].fd, 0, 1));
	ASSERT_TRUE(sleeper_asleep(&waiter.sleeper));
	efd_fire(self->fd);
	ASSERT_EQ(1, sleeper_join(&waiter.sleeper));
	ASSERT_LE(1, take_now(&q[0], variant->copy, &ev));
	efd_quench(self->fd);
	queue_close(&q[0]);
	EXPECT_EQ(0, reported(q, 1, 1, variant->copy));
	queue_close(&q[1]);
}

/* A thread that waits for more is not woken by it. */
TEST_F(modes, exclusive_event_that_does_not_complete_min_nr)
{
	struct kevent_watch w;
	struct waiter waiter;
	struct queue q[2];
	int i;

	for (i = 0; i < 2; i++) {
		ASSERT_LE(0, queue_open(&q[i], variant->entries));
		w = watch_poll(self->fd, IN, EDGE | EXCLUSIVE, i);
		ASSERT_EQ(1, add_one(&q[i], &w));
	}
	ASSERT_EQ(0, waiter_start(&waiter, q[0].fd, 0, 2));
	ASSERT_TRUE(sleeper_asleep(&waiter.sleeper));
	efd_fire(self->fd);
	EXPECT_EQ(1, reported(q, 1, 1, variant->copy));
	ASSERT_EQ(1, seq_post(q[0].fd, 7, 1, KEVENT_POST_DEFER));
	EXPECT_EQ(2, sleeper_join(&waiter.sleeper));
	for (i = 0; i < 2; i++)
		queue_close(&q[i]);
}

/* As LTP's epoll_wait15: the sleepers of one queue, of all of them, wake. */
TEST_F(modes, exclusive_queues_with_sleepers)
{
	struct queue q[QUEUES];
	struct hunter h[QUEUES];
	struct sleeper s[QUEUES];
	int i, n, done, fd;
	struct kevent_watch w;

	for (i = 0; i < QUEUES; i++) {
		ASSERT_LE(0, queue_open(&q[i], variant->entries));
		w = watch_poll(self->fd, IN, EDGE | EXCLUSIVE, i);
		ASSERT_EQ(1, add_one(&q[i], &w));
		h[i].q = &q[i];
		ASSERT_EQ(0, sleeper_start(&s[i], hunter_call, &h[i]));
		ASSERT_TRUE(sleeper_asleep(&s[i]));
	}
	efd_fire(self->fd);
	do {
		sched_yield();
		for (i = 0, done = 0; i < QUEUES; i++)
			done += sleeper_done(&s[i]);
	} while (!done);
	usleep(5000);
	for (i = 0, done = 0; i < QUEUES; i++)
		done += sleeper_done(&s[i]);
	EXPECT_EQ(1, done);
	/* The others are woken by something else. */
	fd = new_file();
	efd_fire(fd);
	for (i = 0, n = 0; i < QUEUES; i++) {
		w = watch_poll(fd, IN, EDGE, 100);
		ASSERT_EQ(1, add_one(&q[i], &w));
		EXPECT_EQ(1, sleeper_join(&s[i]));
		n += h[i].ev.user_data == i;
	}
	EXPECT_EQ(1, n);
	for (i = 0; i < QUEUES; i++)
		queue_close(&q[i]);
}

/* Its wake-ups are for all, and are made with locks that others do not have. */
TEST(no_exclusive_watch_of_a_process)
{
	int fd = syscall(SYS_pidfd_open, getpid(), 0);
	struct kevent_watch w;
	struct queue q;

	ASSERT_LE(0, fd);
	ASSERT_LE(0, queue_open(&q, 0));
	w = watch_poll(fd, IN, EXCLUSIVE, 1);
	EXPECT_EQ(-EINVAL, add_one(&q, &w));
	w = watch_poll(fd, IN, LEVEL, 1);
	EXPECT_EQ(1, add_one(&q, &w));
	close(fd);
	queue_close(&q);
}

TEST_HARNESS_MAIN
