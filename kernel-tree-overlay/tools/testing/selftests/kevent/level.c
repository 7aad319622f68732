// SPDX-License-Identifier: GPL-2.0
/*
 * Level mode: a state that holds is reported each time when the program waits,
 * and not otherwise; while its event is unconsumed, there is no second one.
 */
#include "poll_test.h"

FIXTURE(level)
{
	struct queue q;
	struct kevent_watch w;
	int fd;		/* an eventfd */
};

FIXTURE_VARIANT(level)
{
	unsigned int entries;
	bool copy;	/* take events with kevent_get_events() */
};

FIXTURE_VARIANT_ADD(level, ring)
{
	.entries = 8,
};

FIXTURE_VARIANT_ADD(level, copied)
{
	.entries = 8,
	.copy = true,
};

FIXTURE_VARIANT_ADD(level, no_ring)
{
	.copy = true,
};

FIXTURE_SETUP(level)
{
	ASSERT_LE(0, queue_open(&self->q, variant->entries));
	self->fd = new_file();
	ASSERT_LE(0, self->fd);
	self->w = watch_poll(self->fd, IN, LEVEL, 1);
	ASSERT_EQ(1, add_one(&self->q, &self->w));
}

FIXTURE_TEARDOWN(level)
{
	queue_close(&self->q);
	close(self->fd);
}

#define EXPECT_NEXT(value, bits)	EXPECT_REPORTED(&self->q, variant->copy, value, bits)
#define NOTHING()		EXPECT_EMPTY(&self->q, variant->copy)

TEST_F(level, reported_again_while_it_holds)
{
	int i;

	NOTHING();
	efd_fire(self->fd);
	for (i = 0; i < 50; i++)
		EXPECT_NEXT(1, IN);
	efd_quench(self->fd);
	NOTHING();
	NOTHING();
	efd_fire(self->fd);
	EXPECT_NEXT(1, IN);
}

TEST_F(level, not_reported_when_it_has_passed)
{
	int i;

	for (i = 0; i < 20; i++) {
		efd_fire(self->fd);
		EXPECT_NEXT(1, IN);
		efd_quench(self->fd);
		NOTHING();
	}
}

TEST_F(level, partly_read)
{
	struct kevent_watch w;
	int fds[2], i;
	char c;

	ASSERT_EQ(0, pipe2(fds, O_NONBLOCK));
	w = watch_poll(fds[0], IN, LEVEL, 2);
	ASSERT_EQ(1, add_one(&self->q, &w));
	ASSERT_EQ(10, write(fds[1], "0123456789", 10));
	for (i = 0; i < 10; i++) {
		EXPECT_NEXT(2, IN);
		ASSERT_EQ(1, read(fds[0], &c, 1));
		ASSERT_EQ('0' + i, c);
	}
	NOTHING();
}

/*
 * It does not hold any more. Out of the ring the event is a hint; the kernel
 * tests a level before it takes it.
 */
TEST_F(level, what_does_not_hold_is_not_copied)
{
	efd_fire(self->fd);
	efd_quench(self->fd);
	if (!variant->copy)
		EXPECT_NEXT(1, IN);
	NOTHING();
	NOTHING();
	efd_fire(self->fd);
	EXPECT_NEXT(1, IN);
}

/* Among others, which come in their order. */
TEST_F(level, what_does_not_hold_is_dropped_alone)
{
	enum { NR = 30 };
	struct kevent_event ev[2 * NR];
	struct kevent_watch w;
	int fds[NR], i, want = 0;
	struct queue q;

	if (!variant->copy)
		SKIP(return, "the program takes them itself");
	ASSERT_LE(0, queue_open(&q, variant->entries ? 64 : 0));
	for (i = 0; i < NR; i++) {
		fds[i] = new_file();
		ASSERT_LE(0, fds[i]);
		w = watch_poll(fds[i], IN, i % 5 ? LEVEL : EDGE, 100 + i);
		ASSERT_EQ(1, add_one(&q, &w));
	}
	for (i = 0; i < NR; i++) {
		efd_fire(fds[i]);
		ASSERT_EQ(1, seq_post(q.fd, i, 1, KEVENT_POST_DEFER));
	}
	for (i = 1; i < NR; i += 2)
		efd_quench(fds[i]);
	ASSERT_LE(NR, kevent_get_events(q.fd, NR, 2 * NR, NULL, ev, 0));
	for (i = 0; i < NR; i++) {
		if (i % 2 == 0 || i % 5 == 0)
			EXPECT_EQ(100 + i, ev[want++].user_data);
		EXPECT_EQ(i, ev[want++].user_data);
	}
	queue_close(&q);
}

/* The event waits in the backlog meanwhile. */
TEST_F(level, what_does_not_hold_is_not_copied_late)
{
	struct kevent_event ev;
	unsigned int i;

	for (i = 0; i < 8; i++)
		ASSERT_EQ(1, seq_post(self->q.fd, i, 1, KEVENT_POST_DEFER));
	efd_fire(self->fd);
	ASSERT_EQ(1, seq_post(self->q.fd, i, 1, KEVENT_POST_DEFER));
	for (i = 0; i < 4; i++)
		ASSERT_EQ(1, take_now(&self->q, variant->copy, &ev));
	efd_quench(self->fd);
	for (; i < 9; i++) {
		ASSERT_EQ(1, take_now(&self->q, variant->copy, &ev));
		if (!variant->copy && i == 8) {
			EXPECT_EQ(1, ev.user_data);
			ASSERT_EQ(1, take_now(&self->q, false, &ev));
		}
		EXPECT_EQ(i, ev.user_data);
	}
	NOTHING();
}

/*
 * Reported, the peer writes more, and all is read at once.
 */
TEST_F(level, read_more_than_was_reported)
{
	struct kevent_watch w;
	int fds[2], i;
	char buf[8];

	if (!variant->copy)
		SKIP(return, "what comes out of the ring is a hint");
	ASSERT_EQ(0, pipe(fds));
	w = watch_poll(fds[0], IN, LEVEL, 2);
	ASSERT_EQ(1, add_one(&self->q, &w));
	for (i = 0; i < 10; i++) {
		ASSERT_EQ(1, write(fds[1], "a", 1));
		EXPECT_NEXT(2, IN);
		ASSERT_EQ(1, write(fds[1], "b", 1));
		ASSERT_EQ(2, read(fds[0], buf, sizeof(buf)));
		NOTHING();
	}
}

/* The bits are those that hold when it is taken. */
TEST_F(level, bits_are_fresh)
{
	struct kevent_watch w;
	int fds[2];
	char c;

	if (!variant->copy)
		SKIP(return, "what comes out of the ring is a hint");
	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_STREAM, 0, fds));
	w = watch_poll(fds[0], IN | OUT, LEVEL, 2);
	ASSERT_EQ(1, add_one(&self->q, &w));
	ASSERT_EQ(1, write(fds[1], "x", 1));
	ASSERT_EQ(1, read(fds[0], &c, 1));
	EXPECT_NEXT(2, OUT);
	/* It was reported before that OUT alone holds. */
	ASSERT_EQ(1, queue_refill(&self->q));
	ASSERT_EQ(1, write(fds[1], "x", 1));
	EXPECT_NEXT(2, IN | OUT);
}

struct taker {
	int fd;
	struct kevent_event *ev;
};

static int get_one(void *arg)
{
	struct taker *t = arg;

	return kevent_get_events(t->fd, 1, 1, NULL, t->ev, 0);
}

/*
 * A loop that was written for epoll, with blocking descriptors: the other
 * thread writes no more before all was read, so a read for nothing is the last.
 */
struct dialogue {
	int fd;
	int credits;	/* an eventfd */
	int nr;
};

static int dialogue_call(void *arg)
{
	struct dialogue *d = arg;
	__u64 count;
	int i;

	for (i = 0; i < d->nr; i++) {
		if (write(d->fd, "a", 1) != 1)
			return -1;
		if (i & 1)
			sched_yield();
		if (write(d->fd, "b", 1) != 1)
			return -1;
		for (count = 0; count < 2;) {
			__u64 more;

			if (read(d->credits, &more, sizeof(more)) < 0)
				return -1;
			count += more;
		}
	}
	return 0;
}

TEST_F(level, blocking_descriptors_as_with_epoll)
{
	enum { PAIRS = 3, ROUNDS = 1000 };
	struct dialogue d[PAIRS];
	struct sleeper s[PAIRS];
	struct kevent_watch w;
	int fds[PAIRS][2], i, ret, left = 2 * PAIRS * ROUNDS;
	struct kevent_event ev[4];
	char buf[8];
	__u64 got;

	if (!variant->copy)
		SKIP(return, "what comes out of the ring is a hint");
	for (i = 0; i < PAIRS; i++) {
		ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_STREAM, 0, fds[i]));
		w = watch_poll(fds[i][0], IN, LEVEL, 10 + i);
		ASSERT_EQ(1, add_one(&self->q, &w));
		d[i].fd = fds[i][1];
		d[i].credits = eventfd(0, 0);
		ASSERT_LE(0, d[i].credits);
		d[i].nr = ROUNDS;
		ASSERT_EQ(0, sleeper_start(&s[i], dialogue_call, &d[i]));
	}
	while (left) {
		ret = kevent_get_events(self->q.fd, 1, 4, NULL, ev, 0);
		ASSERT_LE(1, ret);
		while (ret--) {
			i = ev[ret].user_data - 10;
			got = read(fds[i][0], buf, sizeof(buf));
			ASSERT_LE(1, got);
			ASSERT_GE(2, got);
			left -= got;
			ASSERT_EQ(8, write(d[i].credits, &got, 8));
		}
	}
	for (i = 0; i < PAIRS; i++)
		EXPECT_EQ(0, sleeper_join(&s[i]));
	NOTHING();
}

/* Two threads are asleep, and what holds is enough for both. */
TEST_F(level, the_second_sleeper_looks_too)
{
	struct kevent_event ev[2];
	struct sleeper s[2];
	struct taker t[2];
	int i, round;

	if (!variant->copy)
		SKIP(return, "the kernel cannot see what is taken");
	for (round = 0; round < 20; round++) {
		for (i = 0; i < 2; i++) {
			t[i].fd = self->q.fd;
			t[i].ev = &ev[i];
			ASSERT_EQ(0, sleeper_start(&s[i], get_one, &t[i]));
			ASSERT_TRUE(sleeper_asleep(&s[i]));
		}
		efd_fire(self->fd);
		for (i = 0; i < 2; i++) {
			EXPECT_EQ(1, sleeper_join(&s[i]));
			EXPECT_EQ(1, ev[i].user_data);
		}
		efd_quench(self->fd);
		NOTHING();
	}
}

TEST_F(level, one_event_while_it_is_unconsumed)
{
	int i;

	for (i = 0; i < 10; i++) {
		efd_fire(self->fd);
		EXPECT_EQ(1, queue_refill(&self->q));
		EXPECT_TRUE(queue_readable(&self->q));
	}
	EXPECT_NEXT(1, IN);
	efd_quench(self->fd);
	NOTHING();
}

TEST_F(level, what_happens_meanwhile_is_merged)
{
	struct kevent_event ev = {};
	int i;

	for (i = 0; i < 10; i++)
		efd_fire(self->fd);
	ASSERT_EQ(1, take_now(&self->q, variant->copy, &ev));
	EXPECT_EQ(1, ev.user_data);
	EXPECT_EQ(IN, ev.events);
	if (variant->entries)
		EXPECT_EQ(9, KEVENT_INFO_MERGED(ev.info));
	efd_quench(self->fd);
	NOTHING();
	if (variant->entries)
		EXPECT_EQ(9, self->q.ring->merged);
}

/* No test of the file adds up to the events that its wake-ups cause. */
TEST_F(level, waiting_does_not_count_as_happening)
{
	struct kevent_event ev = {};
	int i;

	efd_fire(self->fd);
	for (i = 0; i < 10; i++)
		EXPECT_EQ(1, queue_refill(&self->q));
	ASSERT_EQ(1, take_now(&self->q, variant->copy, &ev));
	EXPECT_EQ(0, KEVENT_INFO_MERGED(ev.info));
}

/* A program that takes from the ring and does not wait is reported of changes. */
TEST_F(level, a_busy_program_is_not_reported_again)
{
	struct kevent_event ev = {};
	int i;

	if (variant->copy)
		SKIP(return, "taking is a call here");
	for (i = 0; i < 10; i++) {
		efd_fire(self->fd);
		ASSERT_EQ(1, ring_take(&self->q, &ev));
		EXPECT_EQ(1, ev.user_data);
		EXPECT_EQ(IN, ev.events);
		EXPECT_EQ(0, ring_take(&self->q, &ev));
		EXPECT_EQ(0, ring_take(&self->q, &ev));
	}
	EXPECT_EQ(10, ring_cursor(&self->q));
	EXPECT_NEXT(1, IN);
}

/* Fired, taken, and fired again: the re-test that is due is not lost. */
TEST_F(level, fired_again_before_the_program_waits)
{
	struct kevent_event ev = {};

	efd_fire(self->fd);
	EXPECT_NEXT(1, IN);
	efd_fire(self->fd);
	EXPECT_NEXT(1, IN);
	EXPECT_NEXT(1, IN);
	efd_quench(self->fd);
	NOTHING();

	/* The same with nothing left to re-test. */
	efd_fire(self->fd);
	EXPECT_NEXT(1, IN);
	efd_quench(self->fd);
	efd_fire(self->fd);
	efd_quench(self->fd);
	EXPECT_EQ(!variant->copy, take_now(&self->q, variant->copy, &ev));
	NOTHING();
}

TEST_F(level, poll_of_the_queue_tests_again)
{
	efd_fire(self->fd);
	EXPECT_TRUE(queue_readable(&self->q));
	EXPECT_NEXT(1, IN);
	EXPECT_TRUE(queue_readable(&self->q));
	EXPECT_TRUE(queue_readable(&self->q));
	EXPECT_NEXT(1, IN);
	efd_quench(self->fd);
	EXPECT_FALSE(queue_readable(&self->q));
	NOTHING();
	EXPECT_FALSE(queue_readable(&self->q));
	efd_fire(self->fd);
	EXPECT_TRUE(queue_readable(&self->q));
}

/*
 * When there is something, it says so; and if it says so for nothing, no more
 * after that was not taken.
 */
TEST_F(level, poll_of_the_queue_does_not_lie)
{
	struct kevent_event ev;
	__u64 state = RND_SEED;
	bool ready = false;
	int i, readable, taken;

	for (i = 0; i < 2000; i++) {
		switch (rnd(&state) >> 20 & 3) {
		case 0:
			efd_fire(self->fd);
			ready = true;
			break;
		case 1:
			if (ready)
				efd_quench(self->fd);
			ready = false;
			break;
		case 2:
			readable = queue_readable(&self->q);
			taken = take_now(&self->q, variant->copy, &ev);
			ASSERT_LE(ready, taken);
			if (!variant->copy)
				ASSERT_EQ(readable, taken);
			ASSERT_LE(taken, readable);
			if (!taken)
				ASSERT_FALSE(queue_readable(&self->q));
			break;
		case 3:
			if (variant->entries)
				ring_take(&self->q, &ev);
		}
	}
}

TEST_F(level, epoll_of_the_queue_tests_again)
{
	struct epoll_event ev = { .events = EPOLLIN };
	int i, ep = epoll_create1(0);

	ASSERT_LE(0, ep);
	ASSERT_EQ(0, epoll_ctl(ep, EPOLL_CTL_ADD, self->q.fd, &ev));
	EXPECT_EQ(0, epoll_now(ep));
	for (i = 0; i < 10; i++) {
		efd_fire(self->fd);
		ASSERT_EQ(1, epoll_wait(ep, &ev, 1, -1));
		EXPECT_NEXT(1, IN);
		EXPECT_EQ(1, epoll_now(ep));
		EXPECT_NEXT(1, IN);
		efd_quench(self->fd);
		EXPECT_EQ(0, epoll_now(ep));
		NOTHING();
	}
	close(ep);
}

/* It has to be looked at: there will be no further wake-up. */
TEST_F(level, poll_does_not_sleep_over_a_re_test)
{
	struct pollfd pfd = { .fd = self->q.fd, .events = POLLIN };
	int i;

	efd_fire(self->fd);
	for (i = 0; i < 10; i++) {
		EXPECT_EQ(1, poll(&pfd, 1, -1));
		EXPECT_NEXT(1, IN);
	}
}

static int wait_nr(struct queue *q, __u32 nr)
{
	struct kevent_wait args = {
		.clockid = CLOCK_MONOTONIC,
		.seen = q->ring ? ring_cursor(q) : 0,
		.min_nr = nr,
	};

	return kevent_wait(q->fd, &args, sizeof(args));
}

TEST_F(level, kevent_wait_tests_again)
{
	int i;

	efd_fire(self->fd);
	for (i = 0; i < 10; i++) {
		EXPECT_EQ(1, wait_nr(&self->q, 1));
		EXPECT_EQ(1, wait_nr(&self->q, 0));
		EXPECT_NEXT(1, IN);
	}
	EXPECT_EQ(1, wait_nr(&self->q, 0));
	EXPECT_NEXT(1, IN);
	efd_quench(self->fd);
	EXPECT_EQ(0, wait_nr(&self->q, 0));
}

/* Several states complete what a waiter asks for. */
TEST_F(level, a_wait_for_several)
{
	struct kevent_event ev[4];
	struct kevent_watch w[3];
	int i, j;

	for (i = 0; i < 3; i++) {
		w[i] = watch_poll(self->fd, IN, LEVEL, 2 + i);
		ASSERT_EQ(1, add_one(&self->q, &w[i]));
	}
	efd_fire(self->fd);
	for (i = 0; i < 10; i++) {
		unsigned int seen = 0;

		ASSERT_EQ(4, wait_nr(&self->q, 4));
		for (j = 0; j < 4; j++) {
			ASSERT_EQ(1, take_now(&self->q, variant->copy, ev));
			seen |= 1U << ev->user_data;
		}
		/* One call at a time tests again those that went before. */
		if (!variant->copy)
			EXPECT_EQ(0x1e, seen);
	}
	if (variant->copy)
		ASSERT_EQ(4, kevent_get_events(self->q.fd, 4, 4, NULL, ev, 0));
	for (i = 0; i < 3; i++)
		ASSERT_EQ(1, remove_one(&self->q, w[i].handle));
}

/* More than are looked at in a call of which there is something to take. */
TEST_F(level, a_wait_for_many)
{
	enum { NR = 60 };
	struct kevent_event ev[NR];
	struct kevent_watch w[NR];
	struct queue q;
	int i, j;

	ASSERT_LE(0, queue_open(&q, variant->entries ? 64 : 0));
	efd_fire(self->fd);
	for (i = 0; i < NR; i++) {
		w[i] = watch_poll(self->fd, IN, LEVEL, i);
		ASSERT_EQ(1, add_one(&q, &w[i]));
	}
	for (i = 0; i < 10; i++) {
		/* Without a call, so that none is reported again. */
		while (!variant->copy && ring_take(&q, ev))
			;
		ASSERT_EQ(1, seq_post(q.fd, 100, 1, KEVENT_POST_DEFER));
		ASSERT_LE(NR / 2, wait_nr(&q, NR / 2));
		/* The one that was posted is among those. */
		for (j = 0; !j || ev->user_data != 100; j++)
			ASSERT_EQ(1, take_now(&q, variant->copy, ev));
		ASSERT_EQ(1, seq_post(q.fd, 100, 1, KEVENT_POST_DEFER));
		ASSERT_EQ(NR / 2, kevent_get_events(q.fd, NR / 2, NR / 2, NULL,
						    ev, 0));
		do {
			ASSERT_EQ(1, take_now(&q, variant->copy, ev));
		} while (ev->user_data != 100);
	}
	queue_close(&q);
}

TEST_F(level, a_waiter_sleeps_when_it_has_passed)
{
	struct waiter waiter;
	int i;

	for (i = 0; i < 5; i++) {
		efd_fire(self->fd);
		EXPECT_NEXT(1, IN);
		efd_quench(self->fd);
		ASSERT_EQ(0, waiter_start(&waiter, self->q.fd,
					  self->q.ring ?
					  ring_cursor(&self->q) : 0, 1));
		ASSERT_TRUE(sleeper_asleep(&waiter.sleeper));
		efd_fire(self->fd);
		EXPECT_EQ(1, sleeper_join(&waiter.sleeper));
		EXPECT_NEXT(1, IN);
		efd_quench(self->fd);
		NOTHING();
	}
}

/* It was made ready after it was consumed, and before the program waits. */
TEST_F(level, no_gap_between_taking_and_waiting)
{
	int i;

	for (i = 0; i < 20; i++) {
		efd_fire(self->fd);
		EXPECT_NEXT(1, IN);
		efd_quench(self->fd);
		efd_fire(self->fd);
		ASSERT_EQ(1, wait_nr(&self->q, 1));
		EXPECT_NEXT(1, IN);
		efd_quench(self->fd);
		while (queue_drain(&self->q))
			;
	}
}

/* What is reported is what holds now, not what held once. */
TEST_F(level, the_bits_are_those_that_hold)
{
	struct kevent_watch w;
	int fds[2];
	char c;

	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds));
	w = watch_poll(fds[0], IN | OUT | RDHUP, LEVEL, 2);
	ASSERT_EQ(1, add_one(&self->q, &w));
	EXPECT_NEXT(2, OUT);
	ASSERT_EQ(1, write(fds[1], "x", 1));
	EXPECT_EQ(0, take_until(&self->q, variant->copy, IN, IN | OUT));
	EXPECT_NEXT(2, IN | OUT);
	ASSERT_EQ(1, read(fds[0], &c, 1));
	EXPECT_EQ(0, take_until(&self->q, variant->copy, OUT, IN | OUT));
	EXPECT_NEXT(2, OUT);
	shutdown(fds[1], SHUT_WR);
	EXPECT_EQ(0, take_until(&self->q, variant->copy, RDHUP,
				IN | OUT | RDHUP));
	EXPECT_NEXT(2, IN | OUT | RDHUP);
	close(fds[1]);
	EXPECT_EQ(0, take_until(&self->q, variant->copy, HUP,
				IN | OUT | RDHUP | HUP));
	EXPECT_NEXT(2, IN | OUT | RDHUP | HUP);
}

TEST_F(level, always_ready_is_reported_always)
{
	struct kevent_watch w = watch_poll(self->fd, OUT, LEVEL, 2);
	int i;

	ASSERT_EQ(1, add_one(&self->q, &w));
	for (i = 0; i < 100; i++)
		EXPECT_NEXT(2, OUT);
	ASSERT_EQ(1, remove_one(&self->q, w.handle));
	NOTHING();
}

TEST_F(level, removed_after_it_was_consumed)
{
	efd_fire(self->fd);
	EXPECT_NEXT(1, IN);
	EXPECT_EQ(1, remove_one(&self->q, self->w.handle));
	NOTHING();
	EXPECT_FALSE(queue_readable(&self->q));
}

TEST_F(level, disabled_after_it_was_consumed)
{
	efd_fire(self->fd);
	EXPECT_NEXT(1, IN);
	EXPECT_EQ(1, modify_one(&self->q, &self->w, KEVENT_MODIFY_DISABLE));
	NOTHING();
	EXPECT_FALSE(queue_readable(&self->q));
	EXPECT_EQ(1, modify_one(&self->q, &self->w, KEVENT_MODIFY_ENABLE));
	EXPECT_NEXT(1, IN);
	EXPECT_NEXT(1, IN);
}

TEST_F(level, closed_after_it_was_consumed)
{
	efd_fire(self->fd);
	EXPECT_NEXT(1, IN);
	close(self->fd);
	self->fd = -1;
	NOTHING();
	EXPECT_FALSE(queue_readable(&self->q));
}

TEST_F(level, not_interested_any_more)
{
	efd_fire(self->fd);
	EXPECT_NEXT(1, IN);
	self->w.events = 0;
	EXPECT_EQ(1, modify_one(&self->q, &self->w, KEVENT_MODIFY_EVENTS));
	NOTHING();
	self->w.events = OUT;
	EXPECT_EQ(1, modify_one(&self->q, &self->w, KEVENT_MODIFY_EVENTS));
	EXPECT_NEXT(1, OUT);
	EXPECT_NEXT(1, OUT);
}

/* The queue sees each of them however few one takes at a time. */
#define FILES	60

TEST_F(level, no_watch_starves)
{
	unsigned int seen[FILES] = {}, i, j, least = ~0U;
	struct kevent_watch w;
	struct kevent_event ev[7];
	int fds[FILES], ret;

	for (i = 0; i < FILES; i++) {
		fds[i] = new_file();
		ASSERT_LE(0, fds[i]);
		efd_fire(fds[i]);
		w = watch_poll(fds[i], IN, LEVEL, i);
		ASSERT_EQ(1, add_one(&self->q, &w));
	}
	/* Each of them ten times, if it is fair; twice is fair enough. */
	for (i = 0; i < 10 * FILES; i += ret) {
		ret = variant->copy ?
		      kevent_get_events(self->q.fd, 1, 7, NULL, ev, 0) :
		      take_now(&self->q, false, ev);
		ASSERT_LE(1, ret);
		for (j = 0; j < ret; j++) {
			ASSERT_GT(FILES, ev[j].user_data);
			seen[ev[j].user_data]++;
		}
	}
	for (i = 0; i < FILES; i++)
		least = seen[i] < least ? seen[i] : least;
	EXPECT_LE(2, least);
	for (i = 0; i < FILES; i++)
		efd_quench(fds[i]);
	/* What was there already comes, and then no more. */
	for (i = 0; take_now(&self->q, variant->copy, ev) == 1; i++)
		ASSERT_GT(2 * FILES, i);
}

/*
 * The queue is never empty, and something is posted before each wait: all the
 * same, each wait looks at all levels whose events were consumed.
 */
TEST_F(level, each_wait_reports_all_that_was_consumed)
{
	enum { NR = 100, ROUNDS = 30 };
	unsigned int seen[NR] = {}, posts = 0;
	struct kevent_event ev[NR + 1];
	struct kevent_watch w;
	struct queue q;
	int i, j, ret;

	ASSERT_LE(0, queue_open(&q, variant->entries ? 256 : 0));
	efd_fire(self->fd);
	for (i = 0; i < NR; i++) {
		w = watch_poll(self->fd, IN, LEVEL, i);
		ASSERT_EQ(1, add_one(&q, &w));
	}
	ASSERT_EQ(1, seq_post(q.fd, NR, 1, KEVENT_POST_DEFER));
	for (i = 0; i < ROUNDS; i++) {
		ASSERT_EQ(1, seq_post(q.fd, NR, 1, KEVENT_POST_DEFER));
		if (variant->copy) {
			ret = kevent_get_events(q.fd, 1, NR + 1, NULL, ev, 0);
		} else {
			/* All but one. */
			ret = wait_nr(&q, 0) - 1;
			ASSERT_LE(NR, ret);
			ASSERT_GE(NR + 1, ret);
			for (j = 0; j < ret; j++)
				ASSERT_EQ(1, ring_take(&q, &ev[j]));
		}
		ASSERT_LE(NR, ret);
		for (j = 0; j < ret; j++) {
			ASSERT_GE(NR, ev[j].user_data);
			if (ev[j].user_data == NR)
				posts++;
			else
				seen[ev[j].user_data]++;
		}
	}
	for (i = 0; i < NR; i++) {
		EXPECT_LE(ROUNDS - 2, seen[i]);
		EXPECT_GE(ROUNDS, seen[i]);
	}
	EXPECT_LE(ROUNDS - 2, posts);
	queue_close(&q);
}

/* Two threads that want it both get it, for as long as it holds. */
struct scan {
	struct queue *q;
	int nr;
	int left;	/* threads that are not done */
};

static int scan_call(void *arg)
{
	struct scan *s = arg;
	struct kevent_event ev;
	int i, ret;

	for (i = 0; i < s->nr; i++) {
		ret = kevent_get_events(s->q->fd, 1, 1, NULL, &ev, 0);
		if (ret != 1)
			return ret;
	}
	return i;
}

TEST_F(level, two_threads_scan)
{
	struct scan scan = { .q = &self->q, .nr = 2000 };
	struct sleeper s[2];
	int i;

	efd_fire(self->fd);
	for (i = 0; i < 2; i++)
		ASSERT_EQ(0, sleeper_start(&s[i], scan_call, &scan));
	for (i = 0; i < 2; i++)
		EXPECT_EQ(scan.nr, sleeper_join(&s[i]));
}

/*
 * One thread sleeps while another takes the event and goes away: the state
 * holds, so it must be reported to a thread that sleeps for it.
 */
TEST_F(level, taken_from_under_a_sleeper)
{
	struct scan scan = { .q = &self->q, .nr = 1 };
	struct kevent_event ev;
	struct sleeper s;
	int i;

	if (!variant->copy)
		SKIP(return, "the kernel cannot see what is taken");
	for (i = 0; i < 200; i++) {
		ASSERT_EQ(0, sleeper_start(&s, scan_call, &scan));
		if (i & 1)
			ASSERT_TRUE(sleeper_asleep(&s));
		efd_fire(self->fd);
		ASSERT_LE(0, kevent_get_events(self->q.fd, 0, 1, NULL, &ev, 0));
		ASSERT_EQ(1, sleeper_join(&s));
		efd_quench(self->fd);
		while (queue_drain(&self->q))
			;
	}
}

/* Several queues, each with its own idea of what was reported. */
TEST_F(level, each_queue_for_itself)
{
	struct kevent_watch w = watch_poll(self->fd, IN, LEVEL, 5);
	struct queue other;
	int i;

	ASSERT_LE(0, queue_open(&other, variant->entries));
	ASSERT_EQ(1, add_one(&other, &w));
	efd_fire(self->fd);
	for (i = 0; i < 5; i++)
		EXPECT_NEXT(1, IN);
	EXPECT_REPORTED(&other, variant->copy, 5, IN);
	efd_quench(self->fd);
	NOTHING();
	EXPECT_EMPTY(&other, variant->copy);
	queue_close(&other);
}

/* Two watches of one file, one of each mode. */
TEST_F(level, beside_an_edge_watch)
{
	struct kevent_watch w = watch_poll(self->fd, IN, EDGE, 2);
	int i, level = 0, edge = 0;
	struct kevent_event ev;

	ASSERT_EQ(1, add_one(&self->q, &w));
	efd_fire(self->fd);
	for (i = 0; i < 20; i++) {
		ASSERT_EQ(1, take_now(&self->q, variant->copy, &ev));
		level += ev.user_data == 1;
		edge += ev.user_data == 2;
	}
	EXPECT_EQ(19, level);
	EXPECT_EQ(1, edge);
}

/*
 * More that is ready than there are slots, all of it again at each wait: the
 * program takes what the ring holds, and waits.
 */
TEST(more_states_than_slots)
{
	unsigned int seen[FILES] = {}, i, j;
	struct kevent_event ev;
	struct kevent_watch w;
	int fds[FILES];
	struct queue q;

	ASSERT_LE(0, queue_open(&q, 2));
	for (i = 0; i < FILES; i++) {
		fds[i] = new_file();
		ASSERT_LE(0, fds[i]);
		w = watch_poll(fds[i], IN, LEVEL, i);
		ASSERT_EQ(1, add_one(&q, &w));
		efd_fire(fds[i]);
	}
	for (i = 0; i < 10 * FILES; i++) {
		ASSERT_EQ(1, take_now(&q, false, &ev));
		ASSERT_GT(FILES, ev.user_data);
		ASSERT_EQ(IN, ev.events);
		seen[ev.user_data]++;
	}
	for (i = 0; i < FILES; i++) {
		EXPECT_LE(2, seen[i]) {
			TH_LOG("file %u", i);
		}
		efd_quench(fds[i]);
	}
	for (j = 0; take_now(&q, false, &ev) == 1; j++)
		ASSERT_GT(2 * FILES, j);
	EXPECT_FALSE(queue_readable(&q));
	EXPECT_EQ(0, q.ring->flags);
	queue_close(&q);
}

/* A level that comes and goes all the time, with a consumer that sleeps. */
struct flicker {
	pthread_t thread;
	int fd;
	int nr;
};

static void *flicker_main(void *arg)
{
	struct flicker *f = arg;
	int i;

	for (i = 0; i < f->nr; i++)
		efd_fire(f->fd);
	return NULL;
}

TEST_F(level, every_write_is_seen)
{
	struct flicker f = { .fd = self->fd, .nr = 20000 };
	struct kevent_event ev;
	__u64 count;
	int sum = 0;

	ASSERT_EQ(0, pthread_create(&f.thread, NULL, flicker_main, &f));
	while (sum < f.nr) {
		ASSERT_EQ(1, take_next(&self->q, variant->copy, &ev));
		ASSERT_EQ(IN, ev.events);
		if (read(self->fd, &count, sizeof(count)) > 0)
			sum += count;
	}
	pthread_join(f.thread, NULL);
	EXPECT_EQ(f.nr, sum);
	while (take_now(&self->q, variant->copy, &ev) == 1)
		;
	NOTHING();
}

TEST_HARNESS_MAIN
