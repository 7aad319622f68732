// SPDX-License-Identifier: GPL-2.0
/*
 * Edge mode: an event for each wake-up, with the bits that it is for, and none
 * for a state that merely holds.
 */
#include <sys/signalfd.h>

#include "poll_test.h"

FIXTURE(edge)
{
	struct queue q;
	struct kevent_watch w;
	int fd;		/* an eventfd */
};

FIXTURE_VARIANT(edge)
{
	unsigned int entries;
	bool copy;	/* take events with kevent_get_events() */
};

FIXTURE_VARIANT_ADD(edge, ring)
{
	.entries = 8,
};

FIXTURE_VARIANT_ADD(edge, copied)
{
	.entries = 8,
	.copy = true,
};

FIXTURE_VARIANT_ADD(edge, no_ring)
{
	.copy = true,
};

FIXTURE_SETUP(edge)
{
	ASSERT_LE(0, queue_open(&self->q, variant->entries));
	self->fd = new_file();
	ASSERT_LE(0, self->fd);
	self->w = watch_poll(self->fd, IN, EDGE, 1);
	ASSERT_EQ(1, add_one(&self->q, &self->w));
}

FIXTURE_TEARDOWN(edge)
{
	queue_close(&self->q);
	close(self->fd);
}

#define EXPECT_NEXT(value, bits)	EXPECT_REPORTED(&self->q, variant->copy, value, bits)
#define NOTHING()		EXPECT_EMPTY(&self->q, variant->copy)

TEST_F(edge, each_wake_up_is_reported)
{
	int i;

	for (i = 0; i < 50; i++) {
		NOTHING();
		efd_fire(self->fd);
		EXPECT_NEXT(1, IN);
	}
	NOTHING();
}

/* However one waits. */
TEST_F(edge, not_reported_because_it_holds)
{
	efd_fire(self->fd);
	EXPECT_TRUE(queue_readable(&self->q));
	EXPECT_NEXT(1, IN);
	EXPECT_FALSE(queue_readable(&self->q));
	EXPECT_EQ(0, queue_refill(&self->q));
	EXPECT_EQ(0, queue_drain(&self->q));
	EXPECT_EQ(0, take_now(&self->q, false, &(struct kevent_event){}));
	EXPECT_EQ(IN, polled(self->fd, IN));
	NOTHING();
}

TEST_F(edge, a_waiter_sleeps_although_it_holds)
{
	struct waiter waiter;
	int i;

	efd_fire(self->fd);
	EXPECT_NEXT(1, IN);
	for (i = 0; i < 5; i++) {
		ASSERT_EQ(0, waiter_start(&waiter, self->q.fd,
					  self->q.ring ?
					  ring_cursor(&self->q) : 0, 1));
		ASSERT_TRUE(sleeper_asleep(&waiter.sleeper));
		efd_fire(self->fd);
		EXPECT_EQ(1, sleeper_join(&waiter.sleeper));
		EXPECT_NEXT(1, IN);
	}
}

/* The program has looked, and found nothing, and then it is fired. */
TEST_F(edge, fired_between_looking_and_waiting)
{
	struct kevent_wait args = {
		.clockid = CLOCK_MONOTONIC,
		.min_nr = 1,
	};
	int i;

	for (i = 0; i < 20; i++) {
		NOTHING();
		args.seen = self->q.ring ? ring_cursor(&self->q) : 0;
		efd_fire(self->fd);
		ASSERT_EQ(1, kevent_wait(self->q.fd, &args, sizeof(args)));
		EXPECT_NEXT(1, IN);
	}
}

/* One event is for one of those who sleep. */
#define SLEEPERS	4

static int one_call(void *arg)
{
	struct queue *q = arg;
	struct kevent_event ev;

	return kevent_get_events(q->fd, 1, 1, NULL, &ev, 0);
}

TEST_F(edge, one_sleeper_is_woken)
{
	struct sleeper s[SLEEPERS];
	int i, round, done;

	for (i = 0; i < SLEEPERS; i++) {
		ASSERT_EQ(0, sleeper_start(&s[i], one_call, &self->q));
		ASSERT_TRUE(sleeper_asleep(&s[i]));
	}
	for (round = 1; round <= SLEEPERS; round++) {
		efd_fire(self->fd);
		do {
			sched_yield();
			for (i = 0, done = 0; i < SLEEPERS; i++)
				done += sleeper_done(&s[i]);
		} while (done < round);
		usleep(2000);
		for (i = 0, done = 0; i < SLEEPERS; i++)
			done += sleeper_done(&s[i]);
		ASSERT_EQ(round, done);
		if (self->q.ring) {
			queue_refill(&self->q);
			EXPECT_EQ(round, self->q.ring->woken);
		}
	}
	for (i = 0; i < SLEEPERS; i++)
		EXPECT_EQ(1, sleeper_join(&s[i]));
	NOTHING();
}

TEST_F(edge, wake_ups_are_merged_while_unconsumed)
{
	struct kevent_event ev = {};
	int i, n;

	for (n = 1; n < 30; n++) {
		for (i = 0; i < n; i++)
			efd_fire(self->fd);
		ASSERT_EQ(1, take_now(&self->q, variant->copy, &ev));
		EXPECT_EQ(1, ev.user_data);
		EXPECT_EQ(IN, ev.events);
		EXPECT_EQ(n - 1, KEVENT_INFO_MERGED(ev.info));
		NOTHING();
	}
}

/* What was posted fills the ring, if there is one. */
TEST_F(edge, wake_ups_are_merged_in_the_backlog)
{
	unsigned int nr = variant->entries ?: 2;
	struct kevent_event ev = {};
	int i, n, in_ring;

	for (n = 1; n < 30; n++) {
		ASSERT_EQ(nr, seq_post(self->q.fd, 100, nr,
				       KEVENT_POST_DEFER));
		for (i = 0; i < n; i++)
			efd_fire(self->fd);
		/* It comes out of the backlog, and they go on to merge. */
		in_ring = n % 3;
		for (i = 0; i < nr; i++) {
			ASSERT_EQ(1, take_now(&self->q, variant->copy, &ev));
			ASSERT_EQ(100 + i, ev.user_data);
		}
		queue_refill(&self->q);
		for (i = 0; i < in_ring; i++)
			efd_fire(self->fd);
		ASSERT_EQ(1, take_now(&self->q, variant->copy, &ev));
		EXPECT_EQ(1, ev.user_data);
		EXPECT_EQ(IN, ev.events);
		EXPECT_EQ(n + in_ring - 1, KEVENT_INFO_MERGED(ev.info));
		NOTHING();
	}
}

/* More of them than the word can count. */
TEST_F(edge, very_many_are_merged)
{
	static const int numbers[] = {
		KEVENT_WORD_MERGED_MAX, KEVENT_WORD_MERGED_MAX + 1,
		KEVENT_WORD_MERGED_MAX + 2, 3 * KEVENT_WORD_MERGED_MAX,
	};
	struct kevent_event ev = {};
	size_t i;
	int n;

	for (i = 0; i < ARRAY_SIZE(numbers); i++) {
		for (n = 0; n < numbers[i]; n++)
			efd_fire(self->fd);
		ASSERT_EQ(1, take_now(&self->q, variant->copy, &ev));
		EXPECT_EQ(1, ev.user_data);
		EXPECT_EQ(IN, ev.events);
		n = numbers[i] - 1;
		EXPECT_EQ(n < KEVENT_WORD_MERGED_MAX ? n :
			  KEVENT_WORD_MERGED_MAX, KEVENT_INFO_MERGED(ev.info));
		NOTHING();
	}
}

/* Room in an eventfd is another matter than a number in it. */
TEST_F(edge, only_the_bits_of_the_wake_up)
{
	struct kevent_watch w[3];

	w[0] = watch_poll(self->fd, OUT, EDGE, 2);
	w[1] = watch_poll(self->fd, IN | OUT, EDGE, 3);
	w[2] = watch_poll(self->fd, 0, EDGE, 4);
	ASSERT_EQ(3, kevent_add(self->q.fd, w, sizeof(*w), 3, 0));
	EXPECT_NEXT(2, OUT);
	EXPECT_NEXT(3, OUT);
	NOTHING();
	/* It can be written to still, but there was no wake-up for that. */
	efd_fire(self->fd);
	EXPECT_EQ(0, take_until(&self->q, variant->copy, IN, IN));
	EXPECT_EQ(0, take_until(&self->q, variant->copy, IN, IN));
	NOTHING();
	efd_quench(self->fd);
	EXPECT_EQ(0, take_until(&self->q, variant->copy, OUT, OUT));
	EXPECT_EQ(0, take_until(&self->q, variant->copy, OUT, OUT));
	NOTHING();
}

/* Both directions in one event. */
TEST_F(edge, bits_add_up_while_unconsumed)
{
	struct kevent_watch w = watch_poll(self->fd, IN | OUT, EDGE, 2);

	ASSERT_EQ(1, remove_one(&self->q, self->w.handle));
	ASSERT_EQ(1, add_one(&self->q, &w));
	EXPECT_NEXT(2, OUT);
	efd_fire(self->fd);
	efd_quench(self->fd);
	EXPECT_NEXT(2, IN | OUT);
	NOTHING();
	efd_fire(self->fd);
	EXPECT_NEXT(2, IN);
	efd_quench(self->fd);
	EXPECT_NEXT(2, OUT);
	NOTHING();
}

TEST_F(edge, a_stale_event_is_reported)
{
	efd_fire(self->fd);
	efd_quench(self->fd);
	EXPECT_NEXT(1, IN);
	NOTHING();
}

TEST_F(edge, ready_when_added_is_reported_once)
{
	struct kevent_watch w = watch_poll(self->fd, IN | OUT, EDGE, 2);

	efd_fire(self->fd);
	EXPECT_NEXT(1, IN);
	ASSERT_EQ(1, add_one(&self->q, &w));
	EXPECT_NEXT(2, IN | OUT);
	NOTHING();
	EXPECT_FALSE(queue_readable(&self->q));
}

/* What was there when part of it was read is not reported, what comes then is. */
TEST_F(edge, partly_read_then_more)
{
	struct kevent_watch w;
	int fds[2], i;
	char buf[8];

	ASSERT_EQ(0, pipe2(fds, O_NONBLOCK));
	w = watch_poll(fds[0], IN, EDGE, 2);
	ASSERT_EQ(1, add_one(&self->q, &w));
	ASSERT_EQ(8, write(fds[1], "01234567", 8));
	EXPECT_NEXT(2, IN);
	for (i = 0; i < 10; i++) {
		ASSERT_EQ(4, read(fds[0], buf, 4));
		NOTHING();
		ASSERT_EQ(4, write(fds[1], "89ab", 4));
		EXPECT_NEXT(2, IN);
		NOTHING();
	}
}

/* LTP's epoll_wait06: the writer is reported when there is room, and only then. */
TEST_F(edge, room_after_it_was_full)
{
	struct kevent_watch w;
	char buf[4096] = {};
	int fds[2], i, size;

	ASSERT_EQ(0, pipe2(fds, O_NONBLOCK));
	size = fcntl(fds[1], F_GETPIPE_SZ);
	ASSERT_LT(0, size);
	w = watch_poll(fds[1], OUT, EDGE, 2);
	ASSERT_EQ(1, add_one(&self->q, &w));
	EXPECT_NEXT(2, OUT);
	for (i = 0; i < 5; i++) {
		while (write(fds[1], buf, sizeof(buf)) > 0)
			;
		NOTHING();
		EXPECT_EQ(0, polled(fds[1], OUT));
		while (read(fds[0], buf, sizeof(buf)) > 0)
			;
		EXPECT_NEXT(2, OUT);
		NOTHING();
	}
}

/* A wake-up that does not say what it is for: the file is looked at. */
TEST_F(edge, without_a_key_what_is_there_is_reported)
{
	struct kevent_watch w;
	int fds[2];

	ASSERT_EQ(0, pipe2(fds, O_NONBLOCK));
	w = watch_poll(fds[0], IN, EDGE, 2);
	ASSERT_EQ(1, add_one(&self->q, &w));
	ASSERT_EQ(1, write(fds[1], "x", 1));
	EXPECT_NEXT(2, IN);
	NOTHING();
	/* The writer goes. That there is data is reported along with it. */
	close(fds[1]);
	EXPECT_NEXT(2, IN | HUP);
	NOTHING();
	usleep(2000);
	NOTHING();
}

TEST_F(edge, without_a_key_nothing_there_is_not_reported)
{
	struct kevent_watch w;
	sigset_t set;
	int fd, i;

	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	fd = signalfd(-1, &set, SFD_NONBLOCK);
	ASSERT_LE(0, fd);
	sigaddset(&set, SIGUSR2);
	ASSERT_EQ(0, pthread_sigmask(SIG_BLOCK, &set, NULL));
	w = watch_poll(fd, IN, EDGE, 2);
	ASSERT_EQ(1, add_one(&self->q, &w));
	sigemptyset(&set);
	sigaddset(&set, SIGUSR2);
	for (i = 0; i < 20; i++) {
		kill(getpid(), SIGUSR2);
		NOTHING();
		usleep(500);
		NOTHING();
		ASSERT_EQ(SIGUSR2, sigwaitinfo(&set, NULL));
	}
	kill(getpid(), SIGUSR1);
	EXPECT_NEXT(2, IN);
}

TEST_F(edge, modify_reports_again)
{
	int i;

	efd_fire(self->fd);
	EXPECT_NEXT(1, IN);
	for (i = 0; i < 5; i++) {
		ASSERT_EQ(1, modify_one(&self->q, &self->w,
					KEVENT_MODIFY_EVENTS));
		EXPECT_NEXT(1, IN);
		NOTHING();
		ASSERT_EQ(1, modify_one(&self->q, &self->w,
					KEVENT_MODIFY_MODE));
		EXPECT_NEXT(1, IN);
		NOTHING();
		ASSERT_EQ(1, modify_one(&self->q, &self->w,
					KEVENT_MODIFY_ENABLE));
		EXPECT_NEXT(1, IN);
		NOTHING();
	}
	/* There is nothing to report of. */
	efd_quench(self->fd);
	ASSERT_EQ(1, modify_one(&self->q, &self->w, KEVENT_MODIFY_EVENTS |
				KEVENT_MODIFY_MODE | KEVENT_MODIFY_ENABLE));
	NOTHING();
}

TEST_F(edge, becomes_level_and_edge_again)
{
	int i;

	efd_fire(self->fd);
	EXPECT_NEXT(1, IN);
	NOTHING();
	for (i = 0; i < 3; i++) {
		self->w.flags = LEVEL;
		ASSERT_EQ(1, modify_one(&self->q, &self->w,
					KEVENT_MODIFY_MODE));
		EXPECT_NEXT(1, IN);
		EXPECT_NEXT(1, IN);
		EXPECT_NEXT(1, IN);
		self->w.flags = EDGE;
		ASSERT_EQ(1, modify_one(&self->q, &self->w,
					KEVENT_MODIFY_MODE));
		EXPECT_NEXT(1, IN);
		NOTHING();
	}
}

TEST_F(edge, removed_while_unconsumed)
{
	efd_fire(self->fd);
	EXPECT_EQ(1, remove_one(&self->q, self->w.handle));
	NOTHING();
	EXPECT_FALSE(queue_readable(&self->q));
	efd_fire(self->fd);
	NOTHING();
}

/* In the order in which they happened. */
#define FILES	200

TEST_F(edge, in_the_order_of_occurrence)
{
	__u64 order[FILES], state = RND_SEED;
	int fds[FILES], i, j, round;
	struct kevent_watch w;

	for (i = 0; i < FILES; i++) {
		fds[i] = new_file();
		ASSERT_LE(0, fds[i]);
		order[i] = i;
		w = watch_poll(fds[i], IN, EDGE, i);
		ASSERT_EQ(1, add_one(&self->q, &w));
	}
	for (round = 0; round < 5; round++) {
		for (i = FILES - 1; i > 0; i--) {
			__u64 tmp = order[i];

			j = (rnd(&state) >> 20) % (i + 1);
			order[i] = order[j];
			order[j] = tmp;
		}
		for (i = 0; i < FILES; i++)
			efd_fire(fds[order[i]]);
		for (i = 0; i < FILES; i++)
			EXPECT_NEXT(order[i], IN);
		NOTHING();
	}
}

/*
 * No wake-up is lost: one thread answers another's write with a write, and
 * each sleeps until the other's is reported.
 */
struct player {
	struct queue q;
	bool copy;
	int mine, other;
	int nr;
};

static int player_call(void *arg)
{
	struct player *p = arg;
	struct kevent_event ev;
	int i;

	for (i = 0; i < p->nr; i++) {
		if (take_next(&p->q, p->copy, &ev) != 1 || ev.events != IN)
			return i;
		efd_quench(p->mine);
		efd_fire(p->other);
	}
	return i;
}

TEST_F(edge, ping_pong)
{
	struct player p[2];
	struct kevent_watch w;
	struct sleeper s[2];
	int fds[2], i;

	for (i = 0; i < 2; i++)
		fds[i] = new_file();
	for (i = 0; i < 2; i++) {
		ASSERT_LE(0, queue_open(&p[i].q, variant->entries));
		p[i].copy = variant->copy;
		p[i].mine = fds[i];
		p[i].other = fds[!i];
		p[i].nr = 2000;
		w = watch_poll(fds[i], IN, EDGE, i);
		ASSERT_EQ(1, add_one(&p[i].q, &w));
	}
	for (i = 0; i < 2; i++)
		ASSERT_EQ(0, sleeper_start(&s[i], player_call, &p[i]));
	efd_fire(fds[0]);
	for (i = 0; i < 2; i++)
		EXPECT_EQ(p[i].nr, sleeper_join(&s[i]));
	for (i = 0; i < 2; i++)
		queue_close(&p[i].q);
}

/* As epoll60: many waiters, many files, each write is seen by a waiter. */
#define WAITERS	4
#define TARGETS	8

struct crowd {
	struct queue q;
	int fds[TARGETS];
	int stop;		/* one more, to end with */
	unsigned int seen[TARGETS];
	unsigned int wrong;
};

static int crowd_call(void *arg)
{
	struct crowd *c = arg;
	struct kevent_event ev;
	__u64 count;

	for (;;) {
		if (kevent_get_events(c->q.fd, 1, 1, NULL, &ev, 0) != 1)
			return 1;
		if (ev.user_data == TARGETS)
			return 0;
		if (ev.user_data > TARGETS || ev.events != IN)
			return 2;
		/* Another thread may have got the event and have read both. */
		if (read(c->fds[ev.user_data], &count, sizeof(count)) < 0)
			continue;
		__atomic_add_fetch(&c->seen[ev.user_data], count,
				   __ATOMIC_RELAXED);
	}
}

TEST_F(edge, many_waiters_and_many_files)
{
	struct crowd c = {};
	struct sleeper s[WAITERS];
	struct kevent_watch w;
	int i, round, rounds = 300;

	ASSERT_LE(0, queue_open(&c.q, variant->entries));
	for (i = 0; i < TARGETS; i++) {
		c.fds[i] = new_file();
		w = watch_poll(c.fds[i], IN, EDGE, i);
		ASSERT_EQ(1, add_one(&c.q, &w));
	}
	c.stop = new_file();
	w = watch_poll(c.stop, IN, LEVEL, TARGETS);
	ASSERT_EQ(1, add_one(&c.q, &w));
	for (i = 0; i < WAITERS; i++)
		ASSERT_EQ(0, sleeper_start(&s[i], crowd_call, &c));
	for (round = 1; round <= rounds; round++) {
		for (i = 0; i < TARGETS; i++)
			efd_fire(c.fds[i]);
		for (i = 0; i < TARGETS; i++) {
			while (__atomic_load_n(&c.seen[i], __ATOMIC_RELAXED) <
			       round)
				sched_yield();
		}
	}
	for (i = 0; i < TARGETS; i++)
		EXPECT_EQ(rounds, c.seen[i]);
	/* A level: each of them is reported, as each one waits again. */
	for (i = 0; i < WAITERS; i++)
		efd_fire(c.stop);
	for (i = 0; i < WAITERS; i++) {
		while (!sleeper_done(&s[i])) {
			efd_fire(c.stop);
			sched_yield();
		}
		EXPECT_EQ(0, sleeper_join(&s[i]));
	}
	queue_close(&c.q);
}

TEST_HARNESS_MAIN
