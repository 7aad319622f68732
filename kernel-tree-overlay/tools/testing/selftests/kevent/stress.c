// SPDX-License-Identifier: GPL-2.0
/*
 * Everything against everything else, on as many processors as there are, and
 * at the end the books are balanced: what was posted was taken or cancelled.
 *
 * With KEVENT_LONG in the environment there is a hundred times as much of it.
 */
#include "poll_test.h"

static int factor(void)
{
	return getenv("KEVENT_LONG") ? 100 : 1;
}

static void __attribute__((constructor)) set_timeouts(void)
{
	multiply_timeouts(factor());
}

/*
 * One that takes from the ring and keeps the books. What it expects of an entry
 * is up to the test.
 */
struct consumer {
	pthread_t thread;
	struct queue *q;
	bool (*check)(struct consumer *c, const struct kevent_event *ev);
	void *arg;
	bool copy;		/* with kevent_get_events() instead */
	bool sleeps;		/* in kevent_wait(), else it looks */
	int stop;
	int wrong;
	__u64 taken;		/* entries */
	__u64 cancelled;
	__u64 merged;		/* further occurrences in those taken */
	__u64 saturated;	/* entries that could not count any more */
};

static void book(struct consumer *c, bool valid, const struct kevent_event *ev)
{
	if (!valid) {
		c->cancelled++;
		return;
	}
	c->taken++;
	c->merged += KEVENT_INFO_MERGED(ev->info);
	c->saturated += KEVENT_INFO_MERGED(ev->info) == KEVENT_WORD_MERGED_MAX;
	if (c->check && !c->check(c, ev))
		__atomic_store_n(&c->wrong, 1, __ATOMIC_RELAXED);
}

static bool consume_one(struct consumer *c)
{
	struct kevent_event ev;
	__u32 index;
	bool valid;

	if (c->copy) {
		if (kevent_get_events(c->q->fd, 0, 1, NULL, &ev, 0) != 1)
			return false;
		book(c, true, &ev);
		return true;
	}
	if (!ring_claim(c->q, &index))
		return false;
	valid = ring_read(c->q, index, &ev);
	ring_free(c->q, index);
	book(c, valid, &ev);
	return true;
}

static void *consumer_main(void *arg)
{
	struct consumer *c = arg;

	while (!__atomic_load_n(&c->stop, __ATOMIC_ACQUIRE)) {
		if (consume_one(c))
			continue;
		if (c->q->ring && __atomic_load_n(&c->q->ring->flags,
						  __ATOMIC_RELAXED))
			queue_refill(c->q);
		if (c->sleeps) {
			struct __kernel_timespec ts = { .tv_nsec = 20 * MSEC };
			struct kevent_wait args = {
				.clockid = CLOCK_MONOTONIC,
				.seen = ring_cursor(c->q),
				.min_nr = 1,
				.timeout = (unsigned long)&ts,
			};

			kevent_wait(c->q->fd, &args, sizeof(args));
		} else {
			sched_yield();
		}
	}
	return NULL;
}

static int consumer_start(struct consumer *c, struct queue *q)
{
	c->q = q;
	return pthread_create(&c->thread, NULL, consumer_main, c);
}

/* Takes what is left, and is done. */
static void consumer_finish(struct consumer *c)
{
	__atomic_store_n(&c->stop, 1, __ATOMIC_RELEASE);
	pthread_join(c->thread, NULL);
	do {
		while (consume_one(c))
			;
	} while (queue_refill(c->q) > 0);
}

/*
 * Posted events: each one comes out once, as it was posted, whichever thread consumes it.
 */
#define PRODUCERS	2
#define CONSUMERS	3

struct posts {
	__u64 nr;		/* of each producer */
	unsigned char *seen[PRODUCERS];
	__u64 left;
};

static bool check_post(struct consumer *c, const struct kevent_event *ev)
{
	struct posts *p = c->arg;
	__u64 who = ev->user_data >> 56, nr = ev->user_data << 8 >> 8;
	unsigned char bit = 1 << nr % 8;

	if (!seq_intact(ev) || who >= PRODUCERS || nr >= p->nr ||
	    __atomic_fetch_or(&p->seen[who][nr / 8], bit,
			      __ATOMIC_RELAXED) & bit)
		return false;
	__atomic_sub_fetch(&p->left, 1, __ATOMIC_RELAXED);
	return true;
}

struct producer {
	pthread_t thread;
	int fd;
	__u64 first, nr, done;
};

static void *producer_main(void *arg)
{
	struct producer *p = arg;
	__u64 n;
	int ret;

	while (p->done < p->nr) {
		n = p->nr - p->done < 4096 ? p->nr - p->done : 4096;
		ret = seq_post_all(p->fd, p->first + p->done, n);
		if (ret < 0)
			break;
		p->done += ret;
	}
	return NULL;
}

FIXTURE(posts)
{
	struct queue q;
};

FIXTURE_VARIANT(posts)
{
	unsigned int entries;
	__u64 nr;
	bool copy;	/* one of the consumers uses kevent_get_events() */
	bool sleeps;
};

FIXTURE_VARIANT_ADD(posts, a_million)
{
	.entries = 4096, .nr = 1000000,
};

FIXTURE_VARIANT_ADD(posts, sleeping_consumers)
{
	.entries = 256, .nr = 100000, .sleeps = true,
};

FIXTURE_VARIANT_ADD(posts, mixed_consumers)
{
	.entries = 64, .nr = 100000, .copy = true,
};

FIXTURE_VARIANT_ADD(posts, two_slots)
{
	.entries = 2, .nr = 20000, .copy = true, .sleeps = true,
};

FIXTURE_SETUP(posts)
{
	ASSERT_LE(0, queue_open(&self->q, variant->entries));
}

FIXTURE_TEARDOWN(posts)
{
	queue_close(&self->q);
}

TEST_F_TIMEOUT(posts, each_comes_out_once, 100)
{
	struct consumer c[CONSUMERS] = {};
	struct producer producers[PRODUCERS] = {};
	struct posts p = {
		.nr = variant->nr * factor() / PRODUCERS,
	};
	__u64 taken = 0;
	bool wrong;
	int i;

	p.left = p.nr * PRODUCERS;
	for (i = 0; i < PRODUCERS; i++) {
		p.seen[i] = calloc(p.nr / 8 + 1, 1);
		ASSERT_NE(NULL, p.seen[i]);
	}
	for (i = 0; i < CONSUMERS; i++) {
		c[i].check = check_post;
		c[i].arg = &p;
		c[i].copy = variant->copy && i == 1;
		c[i].sleeps = variant->sleeps;
		ASSERT_EQ(0, consumer_start(&c[i], &self->q));
	}
	for (i = 0; i < PRODUCERS; i++) {
		producers[i].fd = self->q.fd;
		producers[i].first = (__u64)i << 56;
		producers[i].nr = p.nr;
		ASSERT_EQ(0, pthread_create(&producers[i].thread, NULL,
					    producer_main, &producers[i]));
	}
	for (i = 0; i < PRODUCERS; i++) {
		pthread_join(producers[i].thread, NULL);
		EXPECT_EQ(p.nr, producers[i].done);
	}
	do {
		usleep(1000);
		for (i = 0, wrong = false; i < CONSUMERS; i++)
			wrong |= __atomic_load_n(&c[i].wrong, __ATOMIC_RELAXED);
	} while (!wrong && __atomic_load_n(&p.left, __ATOMIC_RELAXED));
	for (i = 0; i < CONSUMERS; i++) {
		consumer_finish(&c[i]);
		EXPECT_EQ(0, c[i].wrong);
		EXPECT_EQ(0, c[i].cancelled);
		EXPECT_EQ(0, c[i].merged);
		taken += c[i].taken;
	}
	EXPECT_EQ(0, p.left);
	EXPECT_EQ(p.nr * PRODUCERS, taken);
	EXPECT_EQ(p.nr * PRODUCERS, self->q.ring->posted);
	EXPECT_EQ((__u32)taken, ring_cursor(&self->q));
}

/*
 * Files.
 */
#define FILES	16

FIXTURE(stress)
{
	struct queue q;
	int fds[FILES];
};

FIXTURE_VARIANT(stress)
{
	unsigned int entries;
};

FIXTURE_VARIANT_ADD(stress, two_slots)
{
	.entries = 2,
};

FIXTURE_VARIANT_ADD(stress, many_slots)
{
	.entries = 256,
};

FIXTURE_SETUP(stress)
{
	int i;

	ASSERT_LE(0, queue_open(&self->q, variant->entries));
	for (i = 0; i < FILES; i++) {
		self->fds[i] = new_file();
		ASSERT_LE(0, self->fds[i]);
	}
}

FIXTURE_TEARDOWN(stress)
{
	queue_close(&self->q);
}

/* Fires some of them, over and over, or a number of times. */
struct firing {
	pthread_t thread;
	const int *fds;
	int nr_fds;
	__u64 nr;		/* 0: until stopped */
	bool quench;		/* makes them unready again, too */
	int stop;
	__u64 done;
};

static void *firing_main(void *arg)
{
	struct firing *f = arg;
	__u64 state = RND_SEED;

	while (f->nr ? f->done < f->nr :
	       !__atomic_load_n(&f->stop, __ATOMIC_ACQUIRE)) {
		int fd = f->fds[(rnd(&state) >> 20) % f->nr_fds];

		efd_fire(fd);
		if (f->quench)
			efd_quench(fd);
		f->done++;
	}
	return NULL;
}

static int firing_start(struct firing *f, const int *fds, int nr_fds, __u64 nr)
{
	f->fds = fds;
	f->nr_fds = nr_fds;
	f->nr = nr;
	return pthread_create(&f->thread, NULL, firing_main, f);
}

static void firing_stop(struct firing *f)
{
	__atomic_store_n(&f->stop, 1, __ATOMIC_RELEASE);
	pthread_join(f->thread, NULL);
}

static bool check_in(struct consumer *c, const struct kevent_event *ev)
{
	return ev->user_data < FILES && ev->events == IN &&
	       (ev->info & 0xffff) == KEVENT_SOURCE_POLL && !ev->data &&
	       !ev->extra && c->q;
}

#define ADD_ALL(mode)							\
do {									\
	struct kevent_watch __w;					\
	int __i;							\
									\
	for (__i = 0; __i < FILES; __i++) {				\
		__w = watch_poll(self->fds[__i], IN, (mode), __i);	\
		ASSERT_EQ(1, add_one(&self->q, &__w));			\
	}								\
} while (0)

/*
 * What came out of the ring is what went into it. A slot is given up, and seen
 * as cancelled, if a CPU is about to merge into the entry that was there a
 * lap ago; kevent_get_events() skips it. That takes two who report something:
 * two writers, or one and a task that flushes the backlog.
 */
#define EXPECT_ALL_OUT(taken, cancelled, two, skips)			\
do {									\
	__u64 __posted = self->q.ring->posted;				\
	__u64 __out = (taken) + (cancelled);				\
									\
	EXPECT_EQ((__u32)__posted, ring_cursor(&self->q));		\
	if (!(two))							\
		EXPECT_EQ(0, (cancelled));				\
	EXPECT_GE(__posted, __out);					\
	if (!(two) || !(skips))						\
		EXPECT_EQ(__posted, __out);				\
} while (0)

/* Every occurrence is in some entry, once, whether it was merged or not. */
#define EXPECT_CONSERVED(fired, consumers, nr)				\
do {									\
	__u64 __fired = (fired), __taken = 0, __merged = 0, __sat = 0;	\
	__u64 __cancelled = 0;						\
	struct kevent_ring *__ring = self->q.ring;			\
	struct consumer *__c = (consumers);				\
	bool __skips = false;						\
	int __i;							\
									\
	for (__i = 0; __i < (nr); __i++) {				\
		EXPECT_EQ(0, __c[__i].wrong);				\
		__cancelled += __c[__i].cancelled;			\
		__taken += __c[__i].taken;				\
		__merged += __c[__i].merged;				\
		__sat += __c[__i].saturated;				\
		__skips |= __c[__i].copy;				\
	}								\
	EXPECT_ALL_OUT(__taken, __cancelled, __ring->deferred, __skips);\
	EXPECT_GE(__fired, __taken + __merged);				\
	/* Unless an entry or the backlog could not count them all. */	\
	if (!__sat && !__ring->deferred) {				\
		EXPECT_EQ(__fired, __taken + __merged);			\
		EXPECT_EQ(__merged, __ring->merged);			\
	}								\
} while (0)

/* One watch: each write finds its entry unconsumed, or being taken, or taken. */
TEST_F(stress, take_against_merge)
{
	struct firing f = {};
	struct consumer c = { .check = check_in };
	struct kevent_watch w = watch_poll(self->fds[0], IN, EDGE, 0);

	ASSERT_EQ(1, add_one(&self->q, &w));
	ASSERT_EQ(0, consumer_start(&c, &self->q));
	ASSERT_EQ(0, firing_start(&f, self->fds, 1, 50000 * factor()));
	pthread_join(f.thread, NULL);
	consumer_finish(&c);
	EXPECT_CONSERVED(f.done, &c, 1);
}

TEST_F(stress, two_consumers_of_one_ring)
{
	struct firing f = {};
	struct consumer c[2] = {
		{ .check = check_in }, { .check = check_in, .sleeps = true },
	};
	int i;

	ADD_ALL(EDGE);
	for (i = 0; i < 2; i++)
		ASSERT_EQ(0, consumer_start(&c[i], &self->q));
	ASSERT_EQ(0, firing_start(&f, self->fds, FILES, 50000 * factor()));
	pthread_join(f.thread, NULL);
	for (i = 0; i < 2; i++)
		consumer_finish(&c[i]);
	EXPECT_CONSERVED(f.done, c, 2);
}

TEST_F(stress, ring_consumer_beside_get_events)
{
	struct firing f = {};
	struct consumer c[2] = {
		{ .check = check_in }, { .check = check_in, .copy = true },
	};
	int i;

	ADD_ALL(EDGE);
	for (i = 0; i < 2; i++)
		ASSERT_EQ(0, consumer_start(&c[i], &self->q));
	ASSERT_EQ(0, firing_start(&f, self->fds, FILES, 50000 * factor()));
	pthread_join(f.thread, NULL);
	for (i = 0; i < 2; i++)
		consumer_finish(&c[i]);
	/* What kevent_get_events() takes has gone through the ring, too. */
	EXPECT_CONSERVED(f.done, c, 2);
}

/* Two processors fire the same watches. */
TEST_F(stress, merge_against_merge)
{
	struct firing f[2] = {};
	struct consumer c = { .check = check_in };
	int i;

	ADD_ALL(EDGE);
	ASSERT_EQ(0, consumer_start(&c, &self->q));
	for (i = 0; i < 2; i++)
		ASSERT_EQ(0, firing_start(&f[i], self->fds, FILES,
					  20000 * factor()));
	for (i = 0; i < 2; i++)
		pthread_join(f[i].thread, NULL);
	consumer_finish(&c);
	EXPECT_EQ(0, c.wrong);
	EXPECT_ALL_OUT(c.taken, c.cancelled, true, false);
	EXPECT_GE(f[0].done + f[1].done, c.taken + c.merged);
	EXPECT_FALSE(queue_readable(&self->q));
}

/*
 * A slot of the ring at a time: each file is fired, and fired again when that
 * was seen. What is lost is waited for in vain.
 */
struct round {
	pthread_t thread;
	const int *fds;		/* half of them */
	__u32 *seen;		/* how often each was reported */
	__u32 rounds;
};

static void *round_main(void *arg)
{
	struct round *r = arg;
	__u32 round;
	int i;

	for (round = 1; round <= r->rounds; round++) {
		for (i = 0; i < FILES / 2; i++)
			efd_fire(r->fds[i]);
		for (i = 0; i < FILES / 2; i++) {
			while (__atomic_load_n(&r->seen[i], __ATOMIC_ACQUIRE) <
			       round)
				sched_yield();
		}
	}
	return NULL;
}

static bool check_round(struct consumer *c, const struct kevent_event *ev)
{
	__u32 *seen = c->arg;

	if (!check_in(c, ev) || KEVENT_INFO_MERGED(ev->info))
		return false;
	__atomic_add_fetch(&seen[ev->user_data], 1, __ATOMIC_RELEASE);
	return true;
}

TEST_F(stress, full_against_drain)
{
	__u32 seen[FILES] = {};
	struct consumer c = {
		.check = check_round, .arg = seen, .sleeps = true,
	};
	struct round r[2];
	int i;

	ADD_ALL(EDGE);
	ASSERT_EQ(0, consumer_start(&c, &self->q));
	for (i = 0; i < 2; i++) {
		r[i].fds = self->fds + i * FILES / 2;
		r[i].seen = seen + i * FILES / 2;
		r[i].rounds = 1000 * factor();
		ASSERT_EQ(0, pthread_create(&r[i].thread, NULL, round_main,
					    &r[i]));
	}
	for (i = 0; i < 2; i++)
		pthread_join(r[i].thread, NULL);
	consumer_finish(&c);
	EXPECT_EQ(0, c.wrong);
	for (i = 0; i < FILES; i++)
		EXPECT_EQ(r[0].rounds, seen[i]);
	EXPECT_EQ(c.taken + c.cancelled, self->q.ring->posted);
	EXPECT_EQ(FILES * r[0].rounds, c.taken);
}

/* No thread sleeps while there is an event: there is no timeout to help. */
struct dekker {
	pthread_t thread;
	struct queue *q;
	bool copy;
	__u32 nr;
	__u32 reported;
};

static void *dekker_main(void *arg)
{
	struct dekker *d = arg;
	struct kevent_event ev;

	while (d->reported < d->nr) {
		if (take_next(d->q, d->copy, &ev) != 1 || ev.events != IN)
			break;
		__atomic_add_fetch(&d->reported, 1, __ATOMIC_RELEASE);
	}
	return NULL;
}

TEST_F(stress, wake_against_sleep)
{
	struct dekker d = { .q = &self->q, .nr = 2000 * factor() };
	struct kevent_watch w = watch_poll(self->fds[0], IN, EDGE, 0);
	__u64 state = RND_SEED;
	int round, spin;
	__u32 i;

	ASSERT_EQ(1, add_one(&self->q, &w));
	for (round = 0; round < 2; round++) {
		d.copy = round;
		d.reported = 0;
		ASSERT_EQ(0, pthread_create(&d.thread, NULL, dekker_main, &d));
		for (i = 0; i < d.nr; i++) {
			/* When it looks, when it goes to sleep, or later. */
			for (spin = rnd(&state) >> 20 & 0x3ff; spin; spin--)
				__asm__ volatile("" ::: "memory");
			efd_fire(self->fds[0]);
			while (__atomic_load_n(&d.reported, __ATOMIC_ACQUIRE) <= i)
				sched_yield();
		}
		pthread_join(d.thread, NULL);
		EXPECT_EQ(d.nr, d.reported);
	}
}

/*
 * One who is woken and does not take the event, because its time is over or a
 * signal comes, passes that on to the other one, who has no end to its time.
 */
struct pair {
	struct queue *q;
	int round;		/* the one that is on */
	int nr;
	int done[2];		/* rounds that each is done with */
	int got[2];
	int wrong;
};

struct half {
	struct pair *p;
	int me;
	__u64 state;
};

static int half_call(void *arg)
{
	struct half *h = arg;
	struct pair *p = h->p;
	struct kevent_event ev;
	int ret, round;

	for (round = 1; round <= p->nr; round++) {
		struct __kernel_timespec ts = {
			.tv_nsec = (rnd(&h->state) >> 20) % (300 * USEC),
		};

		while (__atomic_load_n(&p->round, __ATOMIC_ACQUIRE) < round)
			sched_yield();
		ret = kevent_get_events(p->q->fd, 1, 1, h->me ? NULL : &ts,
					&ev, 0);
		if (ret == 1)
			__atomic_add_fetch(&p->got[h->me], 1, __ATOMIC_RELEASE);
		else if (h->me || (ret && ret != -EINTR))
			__atomic_store_n(&p->wrong, 1, __ATOMIC_RELAXED);
		__atomic_store_n(&p->done[h->me], round, __ATOMIC_RELEASE);
	}
	return 0;
}

static void no_handler(int signo)
{
	(void)signo;
}

TEST_F(stress, who_does_not_take_it_passes_it_on)
{
	struct pair p = { .q = &self->q, .nr = 300 * factor() };
	struct kevent_watch w = watch_poll(self->fds[0], IN, EDGE, 0);
	struct half h[2] = {
		{ .p = &p, .me = 0, .state = RND_SEED }, { .p = &p, .me = 1 },
	};
	struct sigaction sa = { .sa_handler = no_handler };
	__u64 state = RND_SEED / 3;
	int i, round, fired = 0, got, before;
	struct sleeper s[2];

	sigaction(SIGUSR1, &sa, NULL);
	ASSERT_EQ(1, add_one(&self->q, &w));
	for (i = 0; i < 2; i++)
		ASSERT_EQ(0, sleeper_start(&s[i], half_call, &h[i]));
	for (round = 1; round <= p.nr; round++) {
		before = __atomic_load_n(&p.got[1], __ATOMIC_ACQUIRE);
		__atomic_store_n(&p.round, round, __ATOMIC_RELEASE);
		if (round & 1)
			usleep((rnd(&state) >> 20) % 300);
		efd_fire(self->fds[0]);
		fired++;
		if (round & 2)
			pthread_kill(s[0].thread, SIGUSR1);
		do {
			sched_yield();
			got = __atomic_load_n(&p.got[0], __ATOMIC_ACQUIRE) +
			      __atomic_load_n(&p.got[1], __ATOMIC_ACQUIRE);
		} while (got < fired);
		/* The one without an end to its time has to have one, too. */
		while (__atomic_load_n(&p.done[0], __ATOMIC_ACQUIRE) < round)
			sched_yield();
		if (__atomic_load_n(&p.got[1], __ATOMIC_ACQUIRE) == before) {
			efd_fire(self->fds[0]);
			fired++;
		}
		while (__atomic_load_n(&p.done[1], __ATOMIC_ACQUIRE) < round)
			sched_yield();
	}
	for (i = 0; i < 2; i++)
		EXPECT_EQ(0, sleeper_join(&s[i]));
	EXPECT_EQ(0, p.wrong);
	EXPECT_EQ(fired, p.got[0] + p.got[1]);
	EXPECT_EQ(0, queue_refill(&self->q));
}

/*
 * Removing against taking: each event is taken or cancelled, and nothing of a
 * watch is taken that was gone before.
 */
struct graves {
	unsigned char *dead;
	__u64 nr;
};

/* As consume_one(), but looks at the entry before it is taken. */
static void *gravedigger_main(void *arg)
{
	struct consumer *c = arg;
	struct graves *g = c->arg;
	struct kevent_event ev;
	bool valid, dead;
	__u32 index;
	__u64 nr;

	for (;;) {
		if (!ring_claim(c->q, &index)) {
			if (__atomic_load_n(&c->stop, __ATOMIC_ACQUIRE))
				return NULL;
			sched_yield();
			continue;
		}
		nr = c->q->slots[index % c->q->args.ring_entries].user_data;
		if (nr >= g->nr) {
			__atomic_store_n(&c->wrong, 1, __ATOMIC_RELAXED);
			return NULL;
		}
		dead = __atomic_load_n(&g->dead[nr], __ATOMIC_ACQUIRE);
		valid = ring_read(c->q, index, &ev);
		ring_free(c->q, index);
		book(c, valid, &ev);
		if (valid && (dead || ev.user_data != nr))
			__atomic_store_n(&c->wrong, 1, __ATOMIC_RELAXED);
	}
}

TEST_F(stress, cancel_against_take)
{
	struct graves g = { .nr = 30000 * factor() };
	struct consumer c = { .q = &self->q, .arg = &g };
	__u64 state = RND_SEED, i;
	struct kevent_watch w;
	int spin;

	g.dead = calloc(g.nr, 1);
	ASSERT_NE(NULL, g.dead);
	efd_fire(self->fds[0]);
	ASSERT_EQ(0, pthread_create(&c.thread, NULL, gravedigger_main, &c));
	for (i = 0; i < g.nr && !__atomic_load_n(&c.wrong, __ATOMIC_RELAXED);
	     i++) {
		w = watch_poll(self->fds[0], IN, EDGE, i);
		ASSERT_EQ(1, add_one(&self->q, &w));
		for (spin = rnd(&state) >> 20 & 0x3ff; spin; spin--)
			__asm__ volatile("" ::: "memory");
		ASSERT_EQ(1, remove_one(&self->q, w.handle));
		__atomic_store_n(&g.dead[i], 1, __ATOMIC_RELEASE);
	}
	/* What has never been in the ring is not there. */
	__atomic_store_n(&c.stop, 1, __ATOMIC_RELEASE);
	pthread_join(c.thread, NULL);
	EXPECT_EQ(0, c.wrong);
	EXPECT_EQ(0, queue_refill(&self->q));
	EXPECT_EQ(self->q.ring->posted, c.taken + c.cancelled);
	EXPECT_LE(c.taken, g.nr);
	EXPECT_LT(0, c.taken + c.cancelled);
	free(g.dead);
}

/* The same while the files fire, with watches of all kinds. */
#define LIVE	32

TEST_F(stress, add_modify_remove_against_firing)
{
	static const __u32 modes[] = {
		LEVEL, EDGE, ONESHOT, DISPATCH, DISABLED, EDGE | EXCLUSIVE,
		EDGE | DISPATCH, EDGE | ONESHOT,
	};
	struct graves g = { .nr = 20000 * factor() + LIVE };
	struct consumer c = { .q = &self->q, .arg = &g };
	struct kevent_watch live[LIVE] = {};
	__u64 state = RND_SEED, nr = 0;
	struct firing f[2] = {};
	int i, ret;

	g.dead = calloc(g.nr, 1);
	ASSERT_NE(NULL, g.dead);
	f[1].quench = true;
	for (i = 0; i < 2; i++)
		ASSERT_EQ(0, firing_start(&f[i], self->fds + i * FILES / 2,
					  FILES / 2, 0));
	ASSERT_EQ(0, pthread_create(&c.thread, NULL, gravedigger_main, &c));
	while (nr < g.nr - LIVE &&
	       !__atomic_load_n(&c.wrong, __ATOMIC_RELAXED)) {
		__u64 r = rnd(&state) >> 20;
		struct kevent_watch *w = &live[r % LIVE];
		bool once = w->flags & ONESHOT;
		__u32 what = 0;

		r >>= 8;
		switch (w->handle ? r & 7 : 8) {
		case 0:
		case 1:
			ret = remove_one(&self->q, w->handle);
			ASSERT_TRUE(ret == 1 || (once && ret == -ENOENT));
			/* Its event, if it had one, is good still. */
			if (ret == 1)
				__atomic_store_n(&g.dead[w->user_data], 1,
						 __ATOMIC_RELEASE);
			w->handle = 0;
			continue;
		case 2:
			what = KEVENT_MODIFY_DISABLE;
			break;
		case 3:
			what = KEVENT_MODIFY_USER_DATA;
			break;
		case 4:
			if (w->flags & EXCLUSIVE)
				continue;
			w->events = r & 8 ? IN : IN | OUT;
			what = KEVENT_MODIFY_EVENTS;
			break;
		case 5:
			if (w->flags & (EXCLUSIVE | ONESHOT))
				continue;
			w->flags = r & 8 ? EDGE : LEVEL;
			what = KEVENT_MODIFY_MODE;
			break;
		case 6:
		case 7:
			what = KEVENT_MODIFY_ENABLE;
			break;
		case 8:
			*w = watch_poll(self->fds[r % FILES], IN,
					modes[(r >> 4) % ARRAY_SIZE(modes)],
					nr++);
			ASSERT_EQ(1, add_one(&self->q, w));
			if (r & 1 << 20)
				queue_refill(&self->q);
			continue;
		}
		ret = modify_one(&self->q, w, what);
		ASSERT_TRUE(ret == 1 || (once && ret == -ENOENT)) {
			TH_LOG("modify %#x: %d", what, ret);
		}
	}
	for (i = 0; i < LIVE; i++) {
		if (!live[i].handle)
			continue;
		ret = remove_one(&self->q, live[i].handle);
		EXPECT_TRUE(ret == 1 || (live[i].flags & ONESHOT &&
					 ret == -ENOENT));
		if (ret == 1)
			__atomic_store_n(&g.dead[live[i].user_data], 1,
					 __ATOMIC_RELEASE);
	}
	for (i = 0; i < 2; i++)
		firing_stop(&f[i]);
	/* What waits in the backlog still, of those that were reported once. */
	while (queue_refill(&self->q) > 0)
		sched_yield();
	__atomic_store_n(&c.stop, 1, __ATOMIC_RELEASE);
	pthread_join(c.thread, NULL);
	EXPECT_EQ(0, c.wrong);
	EXPECT_EQ(0, queue_refill(&self->q));
	EXPECT_EQ(self->q.ring->posted, c.taken + c.cancelled);
	EXPECT_LT(0, c.taken);
	/* All of them are gone. */
	for (i = 0; i < FILES; i++)
		efd_fire(self->fds[i]);
	EXPECT_EQ(0, queue_refill(&self->q));
	EXPECT_FALSE(queue_readable(&self->q));
	free(g.dead);
}

/* Each of them is reported exactly once, however it is fired and taken. */
struct shots {
	unsigned char *seen;
	__u64 nr;
	__u64 left;
};

static bool check_shot(struct consumer *c, const struct kevent_event *ev)
{
	struct shots *s = c->arg;

	if (ev->user_data >= s->nr || ev->events != IN ||
	    __atomic_fetch_add(&s->seen[ev->user_data], 1, __ATOMIC_RELAXED))
		return false;
	__atomic_sub_fetch(&s->left, 1, __ATOMIC_RELAXED);
	return true;
}

TEST_F(stress, oneshots_are_reported_exactly_once)
{
	struct shots s = { .nr = 20000 * factor() };
	struct consumer c[3] = {};
	struct firing f = { .quench = true };
	struct kevent_watch w;
	bool wrong = false;
	__u64 i;
	int j;

	s.left = s.nr;
	s.seen = calloc(s.nr, 1);
	ASSERT_NE(NULL, s.seen);
	for (j = 0; j < 3; j++) {
		c[j].check = check_shot;
		c[j].arg = &s;
		c[j].copy = j == 1;
		c[j].sleeps = j == 2;
		ASSERT_EQ(0, consumer_start(&c[j], &self->q));
	}
	ASSERT_EQ(0, firing_start(&f, self->fds, FILES, 0));
	for (i = 0; i < s.nr && !wrong; i++) {
		w = watch_poll(self->fds[i % FILES], IN, ONESHOT, i);
		ASSERT_EQ(1, add_one(&self->q, &w));
		/* So that there are not too many of them. */
		while (i + 1 - (s.nr - __atomic_load_n(&s.left,
						       __ATOMIC_RELAXED)) >
		       200 && !wrong) {
			sched_yield();
			for (j = 0; j < 3; j++)
				wrong |= __atomic_load_n(&c[j].wrong,
							 __ATOMIC_RELAXED);
		}
	}
	firing_stop(&f);
	/* Those that are left. */
	for (j = 0; j < FILES; j++)
		efd_fire(self->fds[j]);
	for (j = 0; j < 3; j++) {
		consumer_finish(&c[j]);
		EXPECT_EQ(0, c[j].wrong);
	}
	EXPECT_EQ(0, s.left);
	for (i = 0; i < s.nr; i++)
		ASSERT_EQ(1, s.seen[i]);
	free(s.seen);
}

/* A handler enables its watch again while new data comes. */
struct handler {
	pthread_t thread;
	struct queue *q;
	struct kevent_watch *w;
	int fd;
	__u64 nr, sum;
	int ret;
};

static void *handler_main(void *arg)
{
	struct handler *h = arg;
	struct kevent_watch w = *h->w;
	struct kevent_event ev;
	__u64 count;

	while (__atomic_load_n(&h->sum, __ATOMIC_ACQUIRE) < h->nr) {
		h->ret = take_next(h->q, true, &ev);
		/* A plain event: the last one, for the others. */
		if (h->ret != 1 || KEVENT_INFO_SOURCE(ev.info) ==
		    KEVENT_SOURCE_USER)
			break;
		if (read(h->fd, &count, sizeof(count)) > 0)
			__atomic_add_fetch(&h->sum, count, __ATOMIC_RELEASE);
		h->ret = modify_one(h->q, &w, KEVENT_MODIFY_ENABLE);
		if (h->ret != 1)
			break;
	}
	return NULL;
}

TEST_F(stress, enable_against_firing)
{
	struct kevent_watch w = watch_poll(self->fds[0], IN, DISPATCH, 0);
	struct handler h = {
		.q = &self->q, .w = &w, .fd = self->fds[0],
		.nr = 30000 * factor(),
	};
	struct firing f = {};

	ASSERT_EQ(1, add_one(&self->q, &w));
	ASSERT_EQ(0, pthread_create(&h.thread, NULL, handler_main, &h));
	ASSERT_EQ(0, firing_start(&f, self->fds, 1, h.nr));
	pthread_join(f.thread, NULL);
	pthread_join(h.thread, NULL);
	EXPECT_EQ(1, h.ret);
	EXPECT_EQ(h.nr, h.sum);
}

/* Level mode: a sleeper is woken as long as there is something to read. */
TEST_F(stress, level_against_reading)
{
	struct kevent_watch w = watch_poll(self->fds[0], IN, LEVEL, 0);
	struct kevent_event ev;
	struct firing f = {};
	__u64 sum = 0, count;

	ASSERT_EQ(1, add_one(&self->q, &w));
	ASSERT_EQ(0, firing_start(&f, self->fds, 1, 30000 * factor()));
	while (sum < f.nr) {
		ASSERT_EQ(1, take_next(&self->q, sum & 1, &ev));
		ASSERT_EQ(IN, ev.events);
		if (read(self->fds[0], &count, sizeof(count)) > 0)
			sum += count;
	}
	pthread_join(f.thread, NULL);
	EXPECT_EQ(f.nr, sum);
	while (take_now(&self->q, true, &ev) == 1)
		;
	EXPECT_FALSE(queue_readable(&self->q));
}

/* Queues come and go while their files fire. */
TEST_F(stress, closing_against_firing)
{
	struct kevent_watch w[FILES];
	struct kevent_event ev[4];
	struct firing f[2] = {};
	struct queue q;
	int i, round;

	f[1].quench = true;
	for (i = 0; i < 2; i++)
		ASSERT_EQ(0, firing_start(&f[i], self->fds + i * FILES / 2,
					  FILES / 2, 0));
	for (round = 0; round < 500 * factor(); round++) {
		ASSERT_LE(0, queue_open(&q, round & 1 ? variant->entries : 0));
		for (i = 0; i < FILES; i++)
			w[i] = watch_poll(self->fds[i], IN,
					  round & 2 ? LEVEL : EDGE, i);
		ASSERT_EQ(FILES, kevent_add(q.fd, w, sizeof(*w), FILES, 0));
		if (round & 4)
			ASSERT_LE(0, kevent_get_events(q.fd, 0, 4, NULL, ev,
						       0));
		queue_close(&q);
	}
	for (i = 0; i < 2; i++)
		firing_stop(&f[i]);
	EXPECT_LT(0, f[0].done + f[1].done);
}

TEST_HARNESS_MAIN
