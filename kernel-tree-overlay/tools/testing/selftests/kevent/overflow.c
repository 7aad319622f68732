// SPDX-License-Identifier: GPL-2.0
/*
 * More events than slots: nothing is lost, nothing comes twice, the order is
 * kept, and the program can see in the ring what is going on.
 */
#include "poll_test.h"

#define FILES	500
#define OF_A_FILE	100

FIXTURE(overflow)
{
	struct queue q;
	int fds[FILES];
	__u64 order[FILES];	/* in which they are fired */
};

/* How the program takes events. */
enum taking {
	RING,		/* from the ring, and kevent_wait() when it is empty */
	COPY,		/* kevent_get_events(), some at a time */
	BOTH,		/* in turns */
};

FIXTURE_VARIANT(overflow)
{
	unsigned int entries;
	enum taking how;
	__u32 mode;
};

FIXTURE_VARIANT_ADD(overflow, two_slots)
{
	.entries = 2, .how = RING, .mode = EDGE,
};

FIXTURE_VARIANT_ADD(overflow, two_slots_copied)
{
	.entries = 2, .how = COPY, .mode = EDGE,
};

FIXTURE_VARIANT_ADD(overflow, two_slots_both)
{
	.entries = 2, .how = BOTH, .mode = EDGE,
};

FIXTURE_VARIANT_ADD(overflow, two_slots_oneshot)
{
	.entries = 2, .how = RING, .mode = ONESHOT,
};

FIXTURE_VARIANT_ADD(overflow, two_slots_dispatch)
{
	.entries = 2, .how = BOTH, .mode = DISPATCH,
};

FIXTURE_VARIANT_ADD(overflow, some_slots)
{
	.entries = 64, .how = RING, .mode = EDGE,
};

FIXTURE_VARIANT_ADD(overflow, some_slots_both)
{
	.entries = 64, .how = BOTH, .mode = EDGE,
};

FIXTURE_VARIANT_ADD(overflow, no_ring)
{
	.how = COPY, .mode = EDGE,
};

FIXTURE_VARIANT_ADD(overflow, no_ring_oneshot)
{
	.how = COPY, .mode = ONESHOT,
};

static void shuffle(__u64 *order, int nr)
{
	static __u64 state = RND_SEED;
	__u64 tmp;
	int i, j;

	for (i = 0; i < nr; i++)
		order[i] = i;
	for (i = nr - 1; i > 0; i--) {
		j = (rnd(&state) >> 20) % (i + 1);
		tmp = order[i];
		order[i] = order[j];
		order[j] = tmp;
	}
}

FIXTURE_SETUP(overflow)
{
	int i;

	if (many_files(FILES) < FILES)
		SKIP(return, "may not open %d files", FILES);
	ASSERT_LE(0, queue_open(&self->q, variant->entries));
	for (i = 0; i < FILES; i++) {
		self->fds[i] = new_file();
		ASSERT_LE(0, self->fds[i]);
	}
	shuffle(self->order, FILES);
}

FIXTURE_TEARDOWN(overflow)
{
	queue_close(&self->q);
}

static int take_some(struct queue *q, enum taking how, unsigned int turn,
		     struct kevent_event *ev, int max)
{
	struct kevent_wait args = {
		.clockid = CLOCK_MONOTONIC,
		.min_nr = 1,
	};
	int ret;

	if (how == COPY || (how == BOTH && turn & 1))
		return kevent_get_events(q->fd, 1, max, NULL, ev, 0);
	while (!ring_take(q, ev)) {
		args.seen = ring_cursor(q);
		ret = kevent_wait(q->fd, &args, sizeof(args));
		if (ret < 0)
			return ret;
	}
	return 1;
}

/* Watches each of the files. */
#define ADD_ALL()							\
do {									\
	struct kevent_watch __w;					\
	int __i;							\
									\
	for (__i = 0; __i < FILES; __i++) {				\
		__w = watch_poll(self->fds[__i], IN, variant->mode, __i);\
		ASSERT_EQ(1, add_one(&self->q, &__w));			\
	}								\
} while (0)

/* Entries that were cancelled may be there, for consumers to skip. */
#define EXPECT_ALL_EMPTY()						\
do {									\
	EXPECT_EQ(0, queue_drain(&self->q));				\
	EXPECT_EQ(0, queue_refill(&self->q));				\
	EXPECT_FALSE(queue_readable(&self->q));				\
	if (self->q.ring)						\
		EXPECT_EQ(0, self->q.ring->flags);			\
} while (0)

TEST_F(overflow, all_come_in_order)
{
	int round, rounds = variant->mode == EDGE ? 4 : 1, i, n, got;
	struct kevent_event ev[5];

	ADD_ALL();
	for (round = 0; round < rounds; round++) {
		shuffle(self->order, FILES);
		for (i = 0; i < FILES; i++)
			efd_fire(self->fds[self->order[i]]);
		for (got = 0; got < FILES; got += n) {
			n = take_some(&self->q, variant->how, got, ev, 5);
			ASSERT_LE(1, n);
			for (i = 0; i < n; i++) {
				ASSERT_GT(FILES, got + i);
				ASSERT_EQ(self->order[got + i],
					  ev[i].user_data);
				ASSERT_EQ(IN, ev[i].events);
				ASSERT_EQ(KEVENT_SOURCE_POLL, ev[i].info);
			}
		}
		EXPECT_ALL_EMPTY();
	}
}

/* Ready before they are watched, which is another way to be reported. */
TEST_F(overflow, all_that_are_ready_come_in_order)
{
	struct kevent_event ev[5];
	int i, n, got;

	for (i = 0; i < FILES; i++)
		efd_fire(self->fds[i]);
	ADD_ALL();
	for (got = 0; got < FILES; got += n) {
		n = take_some(&self->q, variant->how, got / 2, ev, 5);
		ASSERT_LE(1, n);
		for (i = 0; i < n; i++) {
			ASSERT_EQ(got + i, ev[i].user_data);
			ASSERT_EQ(IN, ev[i].events);
		}
	}
	EXPECT_ALL_EMPTY();
}

/* What waits does so in its watch, and merges there. */
TEST_F(overflow, what_waits_merges)
{
	int i, j, n, got, sum = 0;
	struct kevent_event ev[5];

	if (variant->mode != EDGE)
		SKIP(return, "fires once in this mode");
	ADD_ALL();
	for (j = 0; j < 3; j++) {
		for (i = 0; i < FILES; i++)
			efd_fire(self->fds[self->order[i]]);
	}
	for (got = 0; got < FILES; got += n) {
		n = take_some(&self->q, variant->how, got, ev, 5);
		ASSERT_LE(1, n);
		for (i = 0; i < n; i++) {
			ASSERT_GT(FILES, got + i);
			ASSERT_EQ(self->order[got + i], ev[i].user_data);
			ASSERT_EQ(IN, ev[i].events);
			sum += 1 + KEVENT_INFO_MERGED(ev[i].info);
		}
	}
	EXPECT_GE(3 * FILES, sum);
	EXPECT_ALL_EMPTY();
}

/* New ones come behind those that wait. */
TEST_F(overflow, no_event_overtakes)
{
	int i, n, got = 0, fired = 0;
	struct kevent_event ev[5];

	ADD_ALL();
	while (got < FILES) {
		/* Three are fired for each two that are taken. */
		for (i = 0; i < 3 && fired < FILES; i++)
			efd_fire(self->fds[self->order[fired++]]);
		n = take_some(&self->q, variant->how, got, ev, 2);
		ASSERT_LE(1, n);
		for (i = 0; i < n; i++)
			ASSERT_EQ(self->order[got + i], ev[i].user_data);
		got += n;
	}
	EXPECT_EQ(FILES, got);
	EXPECT_ALL_EMPTY();
}

TEST_F(overflow, flag_and_counters_are_true)
{
	struct kevent_ring *ring = self->q.ring;
	unsigned int n = variant->entries;
	struct kevent_event ev;
	int i;

	if (!ring)
		SKIP(return, "there is no ring to look at");
	ADD_ALL();
	EXPECT_EQ(0, ring->flags);
	for (i = 0; i < n; i++)
		efd_fire(self->fds[i]);
	queue_refill(&self->q);
	EXPECT_EQ(0, ring->flags);
	EXPECT_EQ(n, ring->posted);
	EXPECT_EQ(0, ring->deferred);
	efd_fire(self->fds[i++]);
	EXPECT_EQ(KEVENT_RING_BACKLOG, ring->flags);
	for (; i < FILES; i++)
		efd_fire(self->fds[i]);
	EXPECT_EQ(KEVENT_RING_BACKLOG, ring->flags);
	queue_refill(&self->q);
	EXPECT_EQ(n, ring->posted);
	EXPECT_EQ(FILES - n, ring->deferred);
	EXPECT_EQ(0, ring->merged);
	for (i = 0; i < FILES; i++) {
		int left = FILES - i - 1 - n;

		if (!ring_take(&self->q, &ev)) {
			queue_refill(&self->q);
			ASSERT_EQ(1, ring_take(&self->q, &ev));
		}
		ASSERT_EQ(i, ev.user_data);
		/* As long as some have never been in the ring. */
		if (left > 0)
			ASSERT_EQ(KEVENT_RING_BACKLOG, ring->flags);
	}
	queue_refill(&self->q);
	EXPECT_EQ(0, ring->flags);
	EXPECT_EQ(FILES, ring->posted);
	EXPECT_EQ(FILES - n, ring->deferred);
	EXPECT_EQ(0, ring->merged);
	EXPECT_EQ(FILES, ring_cursor(&self->q));
}

/* The flag is what reports a program that an empty ring is not all there is. */
TEST_F(overflow, an_empty_ring_with_the_flag_is_refilled)
{
	struct kevent_ring *ring = self->q.ring;
	struct kevent_event ev;
	int got = 0;
	int i;

	if (!ring)
		SKIP(return, "there is no ring to look at");
	ADD_ALL();
	for (i = 0; i < FILES; i++)
		efd_fire(self->fds[i]);
	do {
		while (ring_take(&self->q, &ev)) {
			ASSERT_EQ(got, ev.user_data);
			got++;
		}
		if (!(__atomic_load_n(&ring->flags, __ATOMIC_ACQUIRE) &
		      KEVENT_RING_BACKLOG))
			break;
		ASSERT_LT(0, queue_refill(&self->q));
	} while (1);
	EXPECT_EQ(FILES, got);
	EXPECT_ALL_EMPTY();
}

TEST_F(overflow, readable_as_long_as_something_waits)
{
	struct kevent_event ev;
	int i;

	ADD_ALL();
	for (i = 0; i < FILES; i++)
		efd_fire(self->fds[i]);
	for (i = 0; i < FILES; i++) {
		ASSERT_TRUE(queue_readable(&self->q));
		ASSERT_EQ(1, take_some(&self->q, variant->how, i, &ev, 1));
	}
	EXPECT_ALL_EMPTY();
}

/* Those that wait are removed: nothing of them comes. */
TEST_F(overflow, removed_while_waiting)
{
	struct kevent_watch w[FILES];
	struct kevent_event ev;
	int i;

	for (i = 0; i < FILES; i++) {
		w[i] = watch_poll(self->fds[i], IN, variant->mode, i);
		ASSERT_EQ(1, add_one(&self->q, &w[i]));
		efd_fire(self->fds[i]);
	}
	/* Each second one of them, and the very last. */
	for (i = 0; i < FILES; i += 2)
		ASSERT_EQ(1, remove_one(&self->q, w[i].handle));
	ASSERT_EQ(1, remove_one(&self->q, w[FILES - 1].handle));
	for (i = 1; i < FILES - 1; i += 2) {
		ASSERT_EQ(1, take_some(&self->q, variant->how, i / 2, &ev, 1));
		ASSERT_EQ(i, ev.user_data);
	}
	EXPECT_ALL_EMPTY();
}

#define MANY	6000

/*
 * While many watches wait, most are removed, others are held, and some of those
 * that stay are consumed, and fired again.
 */
TEST_F(overflow, most_are_removed_while_waiting)
{
	struct kevent_event ev[16];
	__u64 last = 0, handle;
	struct kevent_watch *w;
	int i, j, nr, seen;

	w = calloc(MANY, sizeof(*w));
	ASSERT_NE(NULL, w);
	for (i = 0; i < MANY; i++) {
		w[i].source = KEVENT_SOURCE_USER;
		w[i].events = 1;
		w[i].user_data = i + 1;
	}
	ASSERT_EQ(MANY, kevent_add(self->q.fd, w, sizeof(*w), MANY, 0));
	for (i = 0; i < MANY; i++)
		ASSERT_EQ(1, trigger(self->q.fd, w[i].handle, 1));
	/* All but each fifth. */
	for (i = MANY - 1; i >= 0; i--) {
		if (i % 5) {
			handle = w[i].handle;
			ASSERT_EQ(1, remove_one(&self->q, handle));
		}
	}
	/* A few go to the end. */
	for (i = 0; i < MANY; i += 500) {
		w[i].user_data = MANY + i + 1;
		ASSERT_EQ(1, modify_one(&self->q, &w[i],
					KEVENT_MODIFY_USER_DATA));
	}
	for (i = 0, seen = 0; seen < MANY / 5; i++) {
		nr = take_some(&self->q, variant->how, i, ev, ARRAY_SIZE(ev));
		ASSERT_LT(0, nr);
		for (j = 0; j < nr; j++) {
			ASSERT_LT(last, ev[j].user_data);
			last = ev[j].user_data;
			ASSERT_EQ(0, (last - 1) % 5);
			ASSERT_EQ(last > MANY, (last - 1) % 500 == 0);
		}
		seen += nr;
	}
	EXPECT_EQ(MANY / 5, seen);
	EXPECT_ALL_EMPTY();
	free(w);
}

/*
 * ONESHOT watches that have fired: each is removed or reported, none is both,
 * and none is neither.
 */
TEST_F(overflow, removed_or_reported)
{
	struct kevent_watch w[FILES];
	struct kevent_event ev;
	bool gone[FILES] = {};
	int i, nr = 0;

	for (i = 0; i < FILES; i++) {
		w[i] = watch_poll(self->fds[i], IN, ONESHOT, i);
		ASSERT_EQ(1, add_one(&self->q, &w[i]));
		efd_fire(self->fds[i]);
	}
	for (i = FILES - 1; i >= 0; i -= 3) {
		ASSERT_EQ(1, remove_one(&self->q, w[i].handle));
		gone[i] = true;
		nr++;
	}
	while (take_now(&self->q, variant->how == COPY, &ev) == 1) {
		ASSERT_GT(FILES, ev.user_data);
		ASSERT_FALSE(gone[ev.user_data]);
		gone[ev.user_data] = true;
		ASSERT_EQ(-ENOENT, remove_one(&self->q,
					      w[ev.user_data].handle));
		nr++;
	}
	EXPECT_EQ(FILES, nr);
	EXPECT_ALL_EMPTY();
}

/* The queue goes with all that waits in it. */
TEST_F(overflow, closed_while_waiting)
{
	int i;

	ADD_ALL();
	for (i = 0; i < FILES; i++)
		efd_fire(self->fds[i]);
	queue_close(&self->q);
	for (i = 0; i < FILES; i++) {
		efd_fire(self->fds[i]);
		close(self->fds[i]);
	}
}

/* The files go: what waits for a slot goes with them. */
TEST_F(overflow, files_are_closed_while_waiting)
{
	int i;

	ADD_ALL();
	for (i = 0; i < FILES; i++)
		efd_fire(self->fds[i]);
	for (i = 0; i < FILES; i++)
		close(self->fds[i]);
	EXPECT_ALL_EMPTY();
}

/* Posted events wait in the same line. */
TEST_F(overflow, among_posted_events)
{
	struct kevent_event ev[5];
	int i, n, got;

	ADD_ALL();
	for (i = 0; i < FILES; i++) {
		efd_fire(self->fds[i]);
		ASSERT_EQ(1, seq_post(self->q.fd, 1000 + i, 1,
				      KEVENT_POST_DEFER));
	}
	for (got = 0; got < 2 * FILES; got += n) {
		n = take_some(&self->q, variant->how, got / 3, ev, 5);
		ASSERT_LE(1, n);
		for (i = 0; i < n; i++) {
			__u64 nr = (got + i) / 2;

			if ((got + i) & 1)
				nr += 1000;
			ASSERT_EQ(nr, ev[i].user_data);
			ASSERT_TRUE((got + i) & 1 ? seq_intact(&ev[i]) :
				    ev[i].events == IN);
		}
	}
	EXPECT_ALL_EMPTY();
}

/* One thread fires and another one consumes, at the same time. */
struct burst {
	pthread_t thread;
	const int *fds;
	int rounds;
	int taken;	/* rounds of which everything was taken */
};

static void *burst_main(void *arg)
{
	struct burst *b = arg;
	int round, i;

	for (round = 0; round < b->rounds; round++) {
		for (i = 0; i < FILES; i++)
			efd_fire(b->fds[i]);
		while (__atomic_load_n(&b->taken, __ATOMIC_ACQUIRE) <= round)
			sched_yield();
	}
	return NULL;
}

TEST_F(overflow, fired_while_taken)
{
	struct burst b = { .fds = self->fds, .rounds = 5 };
	struct kevent_event ev[5];
	int round, i, n, got;

	if (variant->mode != EDGE)
		SKIP(return, "fires once in this mode");
	ADD_ALL();
	ASSERT_EQ(0, pthread_create(&b.thread, NULL, burst_main, &b));
	for (round = 0; round < b.rounds; round++) {
		for (got = 0; got < FILES; got += n) {
			n = take_some(&self->q, variant->how, got, ev, 5);
			ASSERT_LE(1, n);
			for (i = 0; i < n; i++) {
				ASSERT_EQ(got + i, ev[i].user_data);
				ASSERT_EQ(IN, ev[i].events);
			}
		}
		EXPECT_ALL_EMPTY();
		__atomic_store_n(&b.taken, round + 1, __ATOMIC_RELEASE);
	}
	pthread_join(b.thread, NULL);
}

/* A ring that was full, and as much in the backlog; then the ring is empty. */
FIXTURE(behind)
{
	struct queue q;
	int fd;
};

#define BEHIND	1024

FIXTURE_SETUP(behind)
{
	struct kevent_watch w;

	ASSERT_LE(0, queue_open(&self->q, BEHIND));
	self->fd = new_file();
	ASSERT_LE(0, self->fd);
	w = watch_poll(self->fd, IN, EDGE, 2 * BEHIND - 1);
	ASSERT_EQ(1, add_one(&self->q, &w));
	ASSERT_EQ(BEHIND, seq_post(self->q.fd, 0, BEHIND, 0));
	ASSERT_EQ(BEHIND - 1, seq_post(self->q.fd, BEHIND, BEHIND - 1,
				       KEVENT_POST_DEFER));
}

FIXTURE_TEARDOWN(behind)
{
	queue_close(&self->q);
	close(self->fd);
}

#define EXPECT_NEXT(from, to)						\
do {									\
	struct kevent_event __ev = {};					\
	int __i;							\
									\
	for (__i = (from); __i < (to); __i++) {				\
		ASSERT_EQ(1, ring_take(&self->q, &__ev));		\
		ASSERT_EQ(__i, __ev.user_data);				\
	}								\
} while (0)

/* The task that causes an event moves a little of it, the program the rest. */
TEST_F(behind, others_move_some_of_it)
{
	struct kevent_event ev;
	int n;

	EXPECT_NEXT(0, BEHIND);
	efd_fire(self->fd);
	usleep(100000);
	for (n = BEHIND; ring_take(&self->q, &ev); n++)
		ASSERT_EQ(n, ev.user_data);
	EXPECT_LT(BEHIND, n);
	EXPECT_GE(BEHIND + 128, n);
	EXPECT_TRUE(__atomic_load_n(&self->q.ring->flags, __ATOMIC_ACQUIRE) &
		    KEVENT_RING_BACKLOG);
	EXPECT_EQ(2 * BEHIND - n, queue_refill(&self->q));
	EXPECT_FALSE(__atomic_load_n(&self->q.ring->flags, __ATOMIC_ACQUIRE) &
		     KEVENT_RING_BACKLOG);
	EXPECT_NEXT(n, 2 * BEHIND);
	EXPECT_ALL_EMPTY();
}

/* So does a task that polls the queue and does not own it. */
TEST_F(behind, a_stranger_who_polls_moves_some_of_it)
{
	struct pollfd pfd = { .fd = self->q.fd, .events = POLLIN };
	struct kevent_event ev;
	pid_t pid;
	int n;

	EXPECT_NEXT(0, BEHIND);
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid)
		_exit(poll(&pfd, 1, 0));
	EXPECT_EQ(1, child_status(pid));
	usleep(100000);
	for (n = BEHIND; ring_take(&self->q, &ev); n++)
		ASSERT_EQ(n, ev.user_data);
	EXPECT_LT(BEHIND, n);
	EXPECT_GE(BEHIND + 128, n);
	EXPECT_EQ(2 * BEHIND - 1 - n, queue_refill(&self->q));
	EXPECT_NEXT(n, 2 * BEHIND - 1);
	EXPECT_ALL_EMPTY();
}

static void *wait_for_all(void *arg)
{
	struct queue *q = arg;
	struct kevent_wait args = {
		.clockid = CLOCK_MONOTONIC,
		.seen = BEHIND,
		.min_nr = BEHIND,
	};

	return (void *)(long)kevent_wait(q->fd, &args, sizeof(args));
}

/* A thread that sleeps until all of it is there, too. */
TEST_F(behind, a_sleeper_moves_the_rest)
{
	pthread_t thread;
	void *ret;

	ASSERT_EQ(0, pthread_create(&thread, NULL, wait_for_all, &self->q));
	usleep(100000);
	EXPECT_NEXT(0, BEHIND);
	efd_fire(self->fd);
	ASSERT_EQ(0, pthread_join(thread, &ret));
	EXPECT_EQ(BEHIND, (long)ret);
	EXPECT_NEXT(BEHIND, 2 * BEHIND);
}

/*
 * Few wake-ups for very many watches: one write to each of some eventfds, which
 * have a hundred watches each. KEVENT_WATCHES says how many altogether.
 */
FIXTURE(crowd)
{
	struct queue q;
	unsigned char *seen;
	int *fds;
	int nr_fds;
	int nr;
};

FIXTURE_VARIANT(crowd)
{
	unsigned int entries;
	enum taking how;
	__u32 mode;
};

FIXTURE_VARIANT_ADD(crowd, two_slots)
{
	.entries = 2, .how = RING, .mode = EDGE,
};

FIXTURE_VARIANT_ADD(crowd, two_slots_both)
{
	.entries = 2, .how = BOTH, .mode = EDGE,
};

FIXTURE_VARIANT_ADD(crowd, no_ring)
{
	.how = COPY, .mode = ONESHOT,
};

FIXTURE_SETUP(crowd)
{
	const char *nr = getenv("KEVENT_WATCHES");
	int i;

	self->nr = nr ? atoi(nr) : 100000;
	ASSERT_LE(0, queue_open(&self->q, variant->entries));
	self->nr_fds = self->nr / OF_A_FILE + 1;
	self->fds = calloc(self->nr_fds, sizeof(int));
	ASSERT_NE(NULL, self->fds);
	if (many_files(self->nr_fds) < self->nr_fds)
		SKIP(return, "may not open %d files", self->nr_fds);
	for (i = 0; i < self->nr_fds; i++) {
		self->fds[i] = new_file();
		ASSERT_LE(0, self->fds[i]);
	}
	self->seen = calloc(self->nr, 1);
	ASSERT_NE(NULL, self->seen);
}

FIXTURE_TEARDOWN(crowd)
{
	int i;

	queue_close(&self->q);
	for (i = 0; i < self->nr_fds; i++)
		close(self->fds[i]);
	free(self->fds);
	free(self->seen);
}

TEST_F_TIMEOUT(crowd, all_are_reported, 100)
{
	struct kevent_watch w[64];
	struct kevent_event ev[64];
	int i, n, got;

	for (got = 0; got < self->nr; got += n) {
		n = self->nr - got < 64 ? self->nr - got : 64;
		for (i = 0; i < n; i++)
			w[i] = watch_poll(self->fds[(got + i) / OF_A_FILE], IN,
					  variant->mode, got + i);
		n = kevent_add(self->q.fd, w, sizeof(*w), n, 0);
		if (n == -ENOSPC || n == -ENOMEM)
			SKIP(return, "may not have %d watches", self->nr);
		ASSERT_LE(1, n);
	}
	EXPECT_EQ(0, queue_refill(&self->q));
	for (i = 0; i < self->nr_fds; i++)
		efd_fire(self->fds[i]);
	/* What is tested again at a wait is not ready any more. */
	for (i = 0; i < self->nr_fds; i++)
		efd_quench(self->fds[i]);
	if (self->q.ring) {
		EXPECT_EQ(KEVENT_RING_BACKLOG, self->q.ring->flags);
		queue_refill(&self->q);
		EXPECT_EQ(2, self->q.ring->posted);
		EXPECT_EQ(self->nr - 2, self->q.ring->deferred);
	}
	for (got = 0; got < self->nr; got += n) {
		n = take_some(&self->q, variant->how, got / 64, ev, 64);
		ASSERT_LE(1, n);
		for (i = 0; i < n; i++) {
			ASSERT_GT(self->nr, ev[i].user_data);
			ASSERT_EQ(IN, ev[i].events);
			ASSERT_EQ(0, self->seen[ev[i].user_data]++);
		}
	}
	EXPECT_EQ(self->nr, got);
	EXPECT_ALL_EMPTY();
}

TEST_HARNESS_MAIN
