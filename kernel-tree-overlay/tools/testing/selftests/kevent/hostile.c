// SPDX-License-Identifier: GPL-2.0
/*
 * A program that writes nonsense into the whole mapping of its ring while files
 * fire: the kernel goes on, so do other queues, and so does this one once its
 * ring makes sense again, as far as it can.
 */
#include "poll_test.h"

#define FILES	16

FIXTURE(hostile)
{
	struct queue q;		/* whose mapping is written to */
	struct queue other;	/* of the same process */
	struct queue bare;	/* without a ring */
	int fds[FILES];
	int quiet[FILES];	/* watched by the others only */
};

FIXTURE_VARIANT(hostile)
{
	unsigned int entries;
	__u32 mode;
};

FIXTURE_VARIANT_ADD(hostile, smallest_level)
{
	.entries = 2, .mode = LEVEL,
};

FIXTURE_VARIANT_ADD(hostile, smallest_edge)
{
	.entries = 2, .mode = EDGE,
};

FIXTURE_VARIANT_ADD(hostile, some_level)
{
	.entries = 64, .mode = LEVEL,
};

FIXTURE_VARIANT_ADD(hostile, some_pages_dispatch)
{
	.entries = 1024, .mode = DISPATCH,
};

FIXTURE_SETUP(hostile)
{
	struct kevent_watch w;
	int i;

	ASSERT_LE(0, queue_open(&self->q, variant->entries));
	ASSERT_LE(0, queue_open(&self->other, 64));
	ASSERT_LE(0, queue_open(&self->bare, 0));
	for (i = 0; i < FILES; i++) {
		self->fds[i] = new_file();
		self->quiet[i] = new_file();
		ASSERT_LE(0, self->quiet[i]);
		w = watch_poll(self->fds[i], IN | OUT, variant->mode, i);
		ASSERT_EQ(1, add_one(&self->q, &w));
		w = watch_poll(self->quiet[i], IN, EDGE, i);
		ASSERT_EQ(1, add_one(&self->other, &w));
		ASSERT_EQ(1, add_one(&self->bare, &w));
		/* One file that both see. */
		w = watch_poll(self->fds[i], PRI, EDGE, i);
		ASSERT_EQ(1, add_one(&self->other, &w));
	}
}

FIXTURE_TEARDOWN(hostile)
{
	queue_close(&self->q);
	queue_close(&self->other);
	queue_close(&self->bare);
}

/*
 * What writes: a thread, or another process that has the queue's descriptor.
 */
struct scribbler {
	pthread_t thread;
	struct queue *q;
	bool blind;	/* anything anywhere; else at where it matters most */
	int stop;
};

static void scribble(const struct queue *q, bool blind, __u64 *state)
{
	size_t words = q->args.mmap_size / 4;
	__u32 *map = (__u32 *)q->ring;
	__u32 *cursor = &q->ring->cursor;
	__u64 r = rnd(state);
	__u32 *word = ring_word(q, r >> 8);

	if (blind) {
		map[(r >> 8) % words] = r >> 32;
		return;
	}
	switch (r & 15) {
	case 0:
		*cursor = r >> 32;
		break;
	case 1:
		*cursor += r >> 40 & 3;
		break;
	case 2:
		*cursor -= r >> 40 & 3;
		break;
	case 3:
		*cursor += 1U << 31;
		break;
	case 4:
		map[r >> 8 & 31] = r >> 32;
		break;
	case 5:
		*word = KEVENT_WORD_FREE;
		break;
	case 6:
		*word = KEVENT_WORD_TAKEN;
		break;
	case 7:
		*word ^= KEVENT_WORD_STATE_MASK;
		break;
	case 8:
		*word += 1U << KEVENT_WORD_LAP_SHIFT;
		break;
	case 9:
		*word |= KEVENT_WORD_MERGED_MAX << KEVENT_WORD_MERGED_SHIFT;
		break;
	case 10:
		*word = (r >> 32 & ~KEVENT_WORD_STATE_MASK) | KEVENT_WORD_READY;
		break;
	case 11:
		*word = (r >> 32 & ~KEVENT_WORD_STATE_MASK) |
			KEVENT_WORD_CANCELLED;
		break;
	default:
		map[(r >> 8) % words] = r >> 32;
	}
}

static void *scribbler_main(void *arg)
{
	struct scribbler *s = arg;
	__u64 state = RND_SEED;

	while (!__atomic_load_n(&s->stop, __ATOMIC_RELAXED))
		scribble(s->q, s->blind, &state);
	return NULL;
}

static int scribbler_start(struct scribbler *s, struct queue *q, bool blind)
{
	memset(s, 0, sizeof(*s));
	s->q = q;
	s->blind = blind;
	return pthread_create(&s->thread, NULL, scribbler_main, s);
}

static void scribbler_stop(struct scribbler *s)
{
	__atomic_store_n(&s->stop, 1, __ATOMIC_RELAXED);
	pthread_join(s->thread, NULL);
}

/* Everything that one can ask of a queue; what it answers must be an answer. */
static int use(struct queue *q, int fd)
{
	struct __kernel_timespec ts = {};
	struct kevent_wait args = {
		.clockid = CLOCK_MONOTONIC,
		.seen = ring_cursor(q),
		.min_nr = 1,
		.timeout = (unsigned long)&ts,
	};
	struct kevent_watch w = watch_poll(fd, IN | OUT, LEVEL, 99);
	struct kevent_event ev[8];
	int ret;

	ret = kevent_wait(q->fd, &args, sizeof(args));
	if (ret < 0)
		return 1;
	ret = kevent_get_events(q->fd, 0, 8, NULL, ev, 0);
	if (ret < 0 || ret > 8)
		return 2;
	ret = kevent_get_events(q->fd, 8, 8, &ts, ev, 0);
	if (ret < 0 || ret > 8)
		return 3;
	ret = seq_post(q->fd, 0, 2, 0);
	if (ret != -EAGAIN && (ret < 1 || ret > 2))
		return 4;
	ret = seq_post(q->fd, 0, 1, KEVENT_POST_DEFER);
	if (ret != -EAGAIN && ret != 1)
		return 5;
	if (add_one(q, &w) != 1)
		return 6;
	w.flags = EDGE;
	if (modify_one(q, &w, KEVENT_MODIFY_MODE) != 1)
		return 7;
	if (remove_one(q, w.handle) != 1)
		return 8;
	queue_readable(q);
	return 0;
}

/* The others see everything, once, in order. */
#define EXPECT_OTHERS_ARE_WELL(round)					\
do {									\
	unsigned int __first = (round), __i;				\
	bool __copy = __first & 1;					\
									\
	for (__i = __first; __i < __first + FILES; __i++)		\
		efd_fire(self->quiet[__i % FILES]);			\
	for (__i = __first; __i < __first + FILES; __i++) {		\
		EXPECT_REPORTED(&self->other, __copy, __i % FILES, IN);	\
		EXPECT_REPORTED(&self->bare, true, __i % FILES, IN);	\
	}								\
	EXPECT_EMPTY(&self->other, __copy);				\
	EXPECT_EMPTY(&self->bare, true);				\
} while (0)

TEST_F(hostile, nonsense_while_files_fire)
{
	struct scribbler s;
	int i, round;

	for (round = 0; round < 300; round++) {
		if (round % 50 == 0)
			ASSERT_EQ(0, scribbler_start(&s, &self->q,
						     round / 50 & 1));
		for (i = 0; i < FILES; i++) {
			efd_fire(self->fds[i]);
			if (i & 1)
				efd_quench(self->fds[i]);
		}
		ASSERT_EQ(0, use(&self->q, self->fds[round % FILES]));
		if (round % 10 == 0)
			EXPECT_OTHERS_ARE_WELL(round);
		if (round % 50 == 49)
			scribbler_stop(&s);
	}
	EXPECT_OTHERS_ARE_WELL(0);
}

/* The waker does not depend on what it finds there: it comes back. */
struct firing {
	pthread_t thread;
	const int *fds;
	int rounds;
};

static void *firing_main(void *arg)
{
	struct firing *f = arg;
	int i;

	for (i = 0; i < f->rounds; i++) {
		efd_fire(f->fds[i % FILES]);
		if (i % 3 == 0)
			efd_quench(f->fds[i % FILES]);
	}
	return NULL;
}

TEST_F(hostile, wakers_are_not_held)
{
	struct firing f = { .fds = self->fds, .rounds = 30000 };
	__u64 state = RND_SEED;
	struct kevent_event ev;
	int i;

	ASSERT_EQ(0, pthread_create(&f.thread, NULL, firing_main, &f));
	for (i = 0; i < 100000; i++) {
		scribble(&self->q, i & 1, &state);
		if (i % 100 == 0)
			ASSERT_LE(0, take_now(&self->q, true, &ev));
	}
	pthread_join(f.thread, NULL);
	EXPECT_OTHERS_ARE_WELL(1);
}

/* A sleeper in such a queue can be ended, and its end is harmless. */
static int sleep_call(void *arg)
{
	struct queue *q = arg;
	struct kevent_event ev[2];
	int i, ret = 0;

	for (i = 0; i < 50; i++) {
		struct __kernel_timespec ts = { .tv_nsec = MSEC };
		struct kevent_wait args = {
			.clockid = CLOCK_MONOTONIC,
			.seen = i * 0x10000001U,
			.min_nr = 2,
			.timeout = (unsigned long)&ts,
		};

		ret = kevent_wait(q->fd, &args, sizeof(args));
		if (ret < 0)
			break;
		ret = kevent_get_events(q->fd, 1, 2, &ts, ev, 0);
		if (ret < 0 || ret > 2)
			break;
		ret = 0;
	}
	return ret;
}

TEST_F(hostile, sleepers_are_not_held)
{
	struct scribbler s;
	struct sleeper t[2];
	int i;

	ASSERT_EQ(0, scribbler_start(&s, &self->q, false));
	for (i = 0; i < 2; i++)
		ASSERT_EQ(0, sleeper_start(&t[i], sleep_call, &self->q));
	for (i = 0; !sleeper_done(&t[0]) || !sleeper_done(&t[1]); i++) {
		efd_fire(self->fds[i % FILES]);
		sched_yield();
	}
	for (i = 0; i < 2; i++)
		EXPECT_EQ(0, sleeper_join(&t[i]));
	scribbler_stop(&s);
	EXPECT_OTHERS_ARE_WELL(2);
}

/* Each value that may be mistaken for a good one, in each place. */
TEST_F(hostile, nonsense_without_luck)
{
	static const __u32 values[] = {
		0, 1, 0x7fffffff, 0xffffffff,
		KEVENT_WORD_READY, KEVENT_WORD_TAKEN, KEVENT_WORD_CANCELLED,
		KEVENT_WORD_READY | 0x3fffffff, KEVENT_WORD_READY | 0xffff,
		KEVENT_WORD_READY | 5 << KEVENT_WORD_LAP_SHIFT,
		KEVENT_WORD_CANCELLED | 5 << KEVENT_WORD_LAP_SHIFT,
	};
	struct kevent_ring *ring = self->q.ring;
	size_t v, c;
	__u32 i;

	for (v = 0; v < ARRAY_SIZE(values); v++) {
		for (c = 0; c < ARRAY_SIZE(values); c++) {
			ring->entries = values[v];
			ring->entries_offset = values[v];
			ring->flags = values[v];
			ring->posted = values[v];
			for (i = 0; i < variant->entries; i++)
				*ring_word(&self->q, i) = values[v];
			__atomic_store_n(&ring->cursor, values[c],
					 __ATOMIC_RELEASE);
			for (i = 0; i < FILES; i++)
				efd_fire(self->fds[i]);
			ASSERT_EQ(0, use(&self->q, self->fds[0])) {
				TH_LOG("words %#x, cursor %#x", values[v],
				       values[c]);
			}
		}
		EXPECT_OTHERS_ARE_WELL(v);
	}
}

/* Removing waits for producers, but not for what the ring says. */
TEST_F(hostile, watches_can_be_removed)
{
	struct kevent_watch w[FILES];
	struct scribbler s;
	int i, round;

	ASSERT_EQ(0, scribbler_start(&s, &self->q, false));
	for (round = 0; round < 100; round++) {
		for (i = 0; i < FILES; i++) {
			w[i] = watch_poll(self->fds[i], IN | OUT, EDGE, i);
			ASSERT_EQ(1, add_one(&self->q, &w[i]));
			efd_fire(self->fds[i]);
		}
		for (i = 0; i < FILES; i++)
			ASSERT_EQ(1, remove_one(&self->q, w[i].handle));
	}
	scribbler_stop(&s);
	EXPECT_OTHERS_ARE_WELL(3);
}

TEST_F(hostile, the_queue_can_be_closed)
{
	struct queue q = self->q;
	struct scribbler s;
	int i;

	/* The mapping outlives the descriptor. */
	ASSERT_EQ(0, scribbler_start(&s, &q, false));
	for (i = 0; i < FILES; i++)
		efd_fire(self->fds[i]);
	close(self->q.fd);
	self->q.fd = -1;
	for (i = 0; i < 20 * FILES; i++)
		efd_fire(self->fds[i % FILES]);
	for (i = 0; i < FILES; i++)
		close(self->fds[i]);
	scribbler_stop(&s);
	EXPECT_OTHERS_ARE_WELL(4);
}

/* Not by another process, which was given the queue: the ring is the maker's. */
TEST_F(hostile, written_by_another_process)
{
	int i, round, status;
	pid_t pid;

	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid)
		_exit(queue_map(&self->q) == -EACCES ? 0 : 1);
	for (round = 0; round < 100; round++) {
		for (i = 0; i < FILES; i++)
			efd_fire(self->fds[i]);
		ASSERT_EQ(0, use(&self->q, self->fds[round % FILES]));
		if (round % 10 == 0)
			EXPECT_OTHERS_ARE_WELL(round);
	}
	EXPECT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
	EXPECT_OTHERS_ARE_WELL(5);
}

TEST_HARNESS_MAIN
