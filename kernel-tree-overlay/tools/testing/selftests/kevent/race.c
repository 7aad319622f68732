// SPDX-License-Identifier: GPL-2.0
/*
 * Two things at the same time: a watch fires while its descriptor is closed,
 * while it is removed or changed, while its queue goes. What must hold
 * afterwards does not depend on who was first.
 */
#include <sys/signalfd.h>

#include "kevent_poll_test.h"

#define ENTRIES	8
#define ROUNDS	150
#define SPIN	2000	/* turns by which a side may be late */

FIXTURE(race)
{
	struct queue q;
};

FIXTURE_VARIANT(race)
{
	unsigned int entries;
	__u32 flags;
	bool copy;
};

FIXTURE_VARIANT_ADD(race, level)
{
	.entries = ENTRIES,
};

FIXTURE_VARIANT_ADD(race, edge)
{
	.entries = ENTRIES,
	.flags = KEVENT_WATCH_EDGE,
};

FIXTURE_VARIANT_ADD(race, no_ring)
{
	.copy = true,
};

FIXTURE_SETUP(race)
{
	ASSERT_LE(0, queue_open_shared(&self->q, variant->entries));
}

FIXTURE_TEARDOWN(race)
{
	queue_close(&self->q);
}

#define Q	(&self->q)
#define COPY	(variant->copy)

/* The other side: fires a file a few times, each time a little later. */
struct firing {
	int fd;
	int times;
	unsigned int seed;
};

static void fire_side(void *arg)
{
	struct firing *f = arg;
	int i;

	for (i = 0; i < f->times; i++) {
		dawdle(&f->seed, SPIN);
		fire(f->fd);
	}
}

/* After close() has returned nothing of the watch is left, and none comes. */
TEST_F(race, close_against_firing)
{
	struct firing f = { .fd = new_file(), .times = 3, .seed = 1 };
	unsigned int seed = 2;
	struct kevent_watch w;
	struct racer racer;
	int i, fd;

	ASSERT_LE(0, f.fd);
	ASSERT_EQ(0, racer_start(&racer, fire_side, &f));
	for (i = 0; i < ROUNDS; i++) {
		fd = dup(f.fd);
		ASSERT_EQ(1, add_file(Q, &w, fd, variant->flags, i));
		racer_go(&racer);
		dawdle(&seed, 2 * SPIN);
		ASSERT_EQ(0, close(fd));
		EXPECT_EMPTY(Q, COPY);
		EXPECT_TRUE(watch_gone(Q, &w));
		racer_wait(&racer);
		EXPECT_EMPTY(Q, COPY);
		EXPECT_EQ(3, quiet(f.fd));
		ASSERT_TRUE(__test_passed(_metadata));
	}
	racer_stop(&racer);
	close(f.fd);
}

static void faulting_side(void *arg)
{
	struct queue *q = arg;
	int i;

	for (i = 0; i < 3; i++)
		kevent_get_events(q->fd, 0, 1, NULL, (void *)8, 0);
}

/*
 * An event that cannot be copied stays; but when its watch is removed
 * meanwhile it does not come back.
 */
TEST_F(race, remove_against_a_copy_that_faults)
{
	unsigned int seed = 5;
	int fd = new_file(), i;
	struct kevent_watch w;
	struct racer racer;

	ASSERT_LE(0, fd);
	ASSERT_EQ(0, racer_start(&racer, faulting_side, Q));
	for (i = 0; i < 10 * ROUNDS; i++) {
		ASSERT_EQ(1, add_file(Q, &w, fd, variant->flags, i));
		fire(fd);
		racer_go(&racer);
		dawdle(&seed, SPIN);
		ASSERT_EQ(1, kevent_remove(self->q.fd, &w.handle, 1, 0));
		EXPECT_EMPTY(Q, COPY);
		racer_wait(&racer);
		EXPECT_EMPTY(Q, COPY);
		quiet(fd);
		ASSERT_TRUE(__test_passed(_metadata));
	}
	racer_stop(&racer);
	close(fd);
}

/* The last event comes once, and as the last one. */
TEST_F(race, vanished_against_firing)
{
	struct firing f = { .fd = new_file(), .times = 3, .seed = 3 };
	unsigned int seed = 4;
	struct kevent_watch w;
	struct kevent_event ev;
	struct racer racer;
	int i, fd;

	ASSERT_LE(0, f.fd);
	ASSERT_EQ(0, racer_start(&racer, fire_side, &f));
	for (i = 0; i < ROUNDS; i++) {
		fd = dup(f.fd);
		ASSERT_EQ(1, add_file(Q, &w, fd, variant->flags |
				      KEVENT_WATCH_VANISHED, i));
		racer_go(&racer);
		dawdle(&seed, 2 * SPIN);
		ASSERT_EQ(0, close(fd));
		do {
			ASSERT_EQ(1, take_now(Q, COPY, &ev));
			ASSERT_EQ(i, ev.user_data);
			ASSERT_EQ(!(ev.events & KEVENT_POLL_NVAL),
				  !(ev.info & KEVENT_INFO_VANISHED));
		} while (!(ev.events & KEVENT_POLL_NVAL));
		racer_wait(&racer);
		EXPECT_EMPTY(Q, COPY);
		EXPECT_TRUE(watch_gone(Q, &w));
		EXPECT_EQ(3, quiet(f.fd));
		ASSERT_TRUE(__test_passed(_metadata));
	}
	racer_stop(&racer);
	close(f.fd);
}

TEST_F(race, remove_against_firing)
{
	struct firing f = { .fd = new_file(), .times = 3, .seed = 5 };
	unsigned int seed = 6;
	struct kevent_watch w;
	struct racer racer;
	int i;

	ASSERT_LE(0, f.fd);
	ASSERT_EQ(0, racer_start(&racer, fire_side, &f));
	for (i = 0; i < ROUNDS; i++) {
		ASSERT_EQ(1, add_file(Q, &w, f.fd, variant->flags, i));
		racer_go(&racer);
		dawdle(&seed, 2 * SPIN);
		ASSERT_EQ(1, remove_one(Q, w.handle));
		EXPECT_EMPTY(Q, COPY);
		racer_wait(&racer);
		EXPECT_EMPTY(Q, COPY);
		EXPECT_EQ(3, quiet(f.fd));
		ASSERT_TRUE(__test_passed(_metadata));
	}
	racer_stop(&racer);
	close(f.fd);
}

/* The same with the ring full, so that the watch is in the backlog. */
TEST_F(race, remove_against_refilling)
{
	struct firing f = { .fd = new_file(), .times = 1, .seed = 7 };
	unsigned int seed = 8;
	struct kevent_watch w;
	struct kevent_event ev;
	struct racer racer;
	int i, n;

	ASSERT_LE(0, f.fd);
	ASSERT_EQ(0, racer_start(&racer, fire_side, &f));
	for (i = 0; i < ROUNDS; i++) {
		ASSERT_EQ(1, add_file(Q, &w, f.fd, variant->flags, 100));
		ASSERT_EQ(ENTRIES, seq_post(self->q.fd, 0, ENTRIES,
					    KEVENT_POST_DEFER));
		racer_go(&racer);
		dawdle(&seed, 2 * SPIN);
		for (n = 0; n < ENTRIES / 2; n++) {
			ASSERT_EQ(1, take_now(Q, COPY, &ev));
			ASSERT_EQ(n, ev.user_data);
		}
		ASSERT_EQ(1, remove_one(Q, w.handle));
		for (; n < ENTRIES; n++) {
			ASSERT_EQ(1, take_now(Q, COPY, &ev));
			ASSERT_EQ(n, ev.user_data);
		}
		EXPECT_EMPTY(Q, COPY);
		racer_wait(&racer);
		EXPECT_EMPTY(Q, COPY);
		EXPECT_EQ(1, quiet(f.fd));
		ASSERT_TRUE(__test_passed(_metadata));
	}
	racer_stop(&racer);
	close(f.fd);
}

/*
 * A pipe that is hung up does not say what its wake-up is for: the watch is
 * looked at later, by a task that may come too late.
 */
struct hanging {
	int fd;
	unsigned int seed;
};

static void hang_up(void *arg)
{
	struct hanging *h = arg;

	dawdle(&h->seed, SPIN);
	close(h->fd);
}

TEST_F(race, hangup_against_close)
{
	struct hanging h = { .seed = 30 };
	unsigned int seed = 31;
	struct kevent_event ev;
	struct kevent_watch w;
	struct racer racer;
	int i, fds[2];

	ASSERT_EQ(0, racer_start(&racer, hang_up, &h));
	for (i = 0; i < ROUNDS; i++) {
		ASSERT_EQ(0, pipe(fds));
		ASSERT_EQ(1, add_file(Q, &w, fds[0], variant->flags |
				      KEVENT_WATCH_VANISHED, i));
		h.fd = fds[1];
		racer_go(&racer);
		dawdle(&seed, 2 * SPIN);
		ASSERT_EQ(0, close(fds[0]));
		do {
			ASSERT_EQ(1, take_now(Q, COPY, &ev));
			ASSERT_EQ(i, ev.user_data);
			ASSERT_EQ(0, ev.events & ~(KEVENT_POLL_HUP |
						   KEVENT_POLL_NVAL));
		} while (!(ev.events & KEVENT_POLL_NVAL));
		racer_wait(&racer);
		EXPECT_EMPTY(Q, COPY);
		ASSERT_TRUE(__test_passed(_metadata));
	}
	racer_stop(&racer);
}

TEST_F(race, hangup_against_remove)
{
	struct hanging h = { .seed = 32 };
	unsigned int seed = 33;
	struct kevent_watch w;
	struct racer racer;
	int i, fds[2];

	ASSERT_EQ(0, racer_start(&racer, hang_up, &h));
	for (i = 0; i < ROUNDS; i++) {
		ASSERT_EQ(0, pipe(fds));
		ASSERT_EQ(1, add_file(Q, &w, fds[0], variant->flags, i));
		h.fd = fds[1];
		racer_go(&racer);
		dawdle(&seed, 2 * SPIN);
		if (i % 3 == 0)
			queue_refill(Q);
		ASSERT_EQ(1, remove_one(Q, w.handle));
		EXPECT_EMPTY(Q, COPY);
		racer_wait(&racer);
		EXPECT_EMPTY(Q, COPY);
		close(fds[0]);
		ASSERT_TRUE(__test_passed(_metadata));
	}
	racer_stop(&racer);
}

TEST_F(race, hangup_against_the_end_of_the_queue)
{
	struct hanging h = { .seed = 34 };
	unsigned int seed = 35;
	struct kevent_watch w;
	struct racer racer;
	struct queue q;
	int i, fds[2];

	ASSERT_EQ(0, racer_start(&racer, hang_up, &h));
	for (i = 0; i < ROUNDS; i++) {
		ASSERT_EQ(0, pipe(fds));
		ASSERT_LE(0, queue_open(&q, variant->entries));
		ASSERT_EQ(1, add_file(&q, &w, fds[0], variant->flags, i));
		h.fd = fds[1];
		racer_go(&racer);
		dawdle(&seed, 2 * SPIN);
		queue_close(&q);
		racer_wait(&racer);
		close(fds[0]);
	}
	racer_stop(&racer);
}

/* In the end it is reported, whichever task was to recheck. */
TEST_F(race, hangup_against_enable)
{
	struct hanging h = { .seed = 36 };
	unsigned int seed = 37;
	struct kevent_event ev;
	struct kevent_watch w;
	struct racer racer;
	int i, fds[2];

	ASSERT_EQ(0, racer_start(&racer, hang_up, &h));
	for (i = 0; i < ROUNDS; i++) {
		ASSERT_EQ(0, pipe(fds));
		ASSERT_EQ(1, add_file(Q, &w, fds[0], variant->flags |
				      KEVENT_WATCH_DISABLED, i));
		h.fd = fds[1];
		racer_go(&racer);
		dawdle(&seed, 2 * SPIN);
		ASSERT_EQ(1, modify_one(Q, &w, KEVENT_MODIFY_ENABLE));
		ASSERT_EQ(1, take_next(Q, COPY, &ev));
		ASSERT_EQ(i, ev.user_data);
		ASSERT_EQ(KEVENT_POLL_HUP, ev.events);
		racer_wait(&racer);
		ASSERT_EQ(0, close(fds[0]));
		EXPECT_EMPTY(Q, COPY);
		ASSERT_TRUE(__test_passed(_metadata));
	}
	racer_stop(&racer);
}

TEST_F(race, timer_against_remove)
{
	unsigned int seed = 9;
	struct kevent_watch w;
	int i;

	for (i = 0; i < ROUNDS; i++) {
		w = timer_watch(i, rand_r(&seed) % 200 * USEC, 100 * USEC);
		w.flags = variant->flags;
		ASSERT_EQ(1, add_one(Q, &w));
		dawdle(&seed, 50 * SPIN);
		ASSERT_EQ(1, remove_one(Q, w.handle));
		EXPECT_EMPTY(Q, COPY);
		ASSERT_TRUE(__test_passed(_metadata));
	}
	EXPECT_EQ(0, nr_watches(self->q.fd));
}

struct removing {
	struct queue *q;
	struct kevent_watch w;
	unsigned int seed;
	int ret;
};

static void remove_side(void *arg)
{
	struct removing *r = arg;

	dawdle(&r->seed, SPIN);
	r->ret = remove_one(r->q, r->w.handle);
}

/* One of them has removed it, the other one is reported that it is not there. */
TEST_F(race, remove_against_remove)
{
	struct removing r = { .q = Q, .seed = 10 };
	int i, fd = eventfd(1, EFD_NONBLOCK), ret;
	unsigned int seed = 11;
	struct racer racer;

	ASSERT_LE(0, fd);
	ASSERT_EQ(0, racer_start(&racer, remove_side, &r));
	for (i = 0; i < ROUNDS; i++) {
		ASSERT_EQ(1, add_file(Q, &r.w, fd, variant->flags, i));
		racer_go(&racer);
		dawdle(&seed, SPIN);
		ret = remove_one(Q, r.w.handle);
		racer_wait(&racer);
		ASSERT_TRUE((ret == 1 && r.ret == -ENOENT) ||
			    (ret == -ENOENT && r.ret == 1));
		EXPECT_EMPTY(Q, COPY);
		ASSERT_TRUE(__test_passed(_metadata));
	}
	racer_stop(&racer);
	close(fd);
}

/* The other side: adds a watch of a file in a queue of its own. */
struct second {
	struct queue q;
	int fd;
	unsigned int seed;
	int ret;
};

static void add_second(void *arg)
{
	struct second *a = arg;
	struct kevent_watch w;

	dawdle(&a->seed, SPIN);
	a->ret = add_file(&a->q, &w, a->fd, 0, 0);
}

/*
 * One queue removes the only watch of a file while another queue adds one:
 * close() finds that.
 */
TEST_F(race, first_removed_against_added)
{
	struct second a = { .seed = 9 };
	unsigned int seed = 10;
	struct kevent_watch w;
	struct racer racer;
	int i;

	ASSERT_LE(0, queue_open(&a.q, variant->entries));
	ASSERT_EQ(0, racer_start(&racer, add_second, &a));
	for (i = 0; i < ROUNDS; i++) {
		a.fd = new_file();
		ASSERT_LE(0, a.fd);
		ASSERT_EQ(1, add_file(Q, &w, a.fd, variant->flags, i));
		racer_go(&racer);
		dawdle(&seed, SPIN);
		EXPECT_EQ(1, remove_one(Q, w.handle));
		racer_wait(&racer);
		ASSERT_EQ(1, a.ret);
		EXPECT_EQ(1, nr_watches(a.q.fd));
		close(a.fd);
		EXPECT_EQ(0, nr_watches(a.q.fd));
	}
	racer_stop(&racer);
	queue_close(&a.q);
}

/* A watch is removed and its descriptor closed: it goes once. */
TEST_F(race, remove_against_close)
{
	struct removing r = { .q = Q, .seed = 12 };
	struct kevent_event ev = {};
	unsigned int seed = 13;
	struct racer racer;
	int i, fd, nr;

	ASSERT_EQ(0, racer_start(&racer, remove_side, &r));
	for (i = 0; i < ROUNDS; i++) {
		fd = new_file();
		ASSERT_EQ(1, add_file(Q, &r.w, fd, variant->flags |
				      KEVENT_WATCH_VANISHED, i));
		racer_go(&racer);
		dawdle(&seed, SPIN);
		ASSERT_EQ(0, close(fd));
		racer_wait(&racer);
		ASSERT_TRUE(r.ret == 1 || r.ret == -ENOENT);
		nr = take_now(Q, COPY, &ev);
		ASSERT_EQ(r.ret == 1 ? 0 : 1, nr);
		if (nr) {
			ASSERT_EQ(KEVENT_POLL_NVAL, ev.events);
			ASSERT_EQ(i, ev.user_data);
		}
		EXPECT_EMPTY(Q, COPY);
		ASSERT_TRUE(__test_passed(_metadata));
	}
	racer_stop(&racer);
}

struct closing {
	int fd;
	unsigned int seed;
	int ret;
};

static void close_side(void *arg)
{
	struct closing *c = arg;

	dawdle(&c->seed, SPIN);
	c->ret = close(c->fd);
}

/* Two descriptors of one file, or one that both want to close. */
TEST_F(race, close_against_close)
{
	struct closing c = { .seed = 40 };
	int i, fd, nr, same, events;
	unsigned int seed = 41;
	struct kevent_event ev;
	struct kevent_watch w;
	struct racer racer;

	ASSERT_EQ(0, racer_start(&racer, close_side, &c));
	for (i = 0; i < ROUNDS; i++) {
		same = i & 1;
		fd = eventfd(i & 2 ? 1 : 0, EFD_NONBLOCK);
		c.fd = same ? fd : dup(fd);
		ASSERT_EQ(1, add_file(Q, &w, fd, variant->flags |
				      KEVENT_WATCH_VANISHED, 0));
		if (!same)
			ASSERT_EQ(1, add_file(Q, &w, c.fd, variant->flags |
					      KEVENT_WATCH_VANISHED, 1));
		racer_go(&racer);
		dawdle(&seed, SPIN);
		nr = !close(fd);
		racer_wait(&racer);
		nr += !c.ret;
		ASSERT_EQ(same ? 1 : 2, nr);
		events = 0;
		while (take_now(Q, COPY, &ev) == 1) {
			if (ev.events & KEVENT_POLL_NVAL)
				events += 1 << (4 * ev.user_data);
			ASSERT_GT(1000, events);
		}
		ASSERT_EQ(same ? 0x01 : 0x11, events);
		ASSERT_EQ(0, nr_watches(self->q.fd));
	}
	racer_stop(&racer);
}

struct adding {
	struct queue *q;
	int fd;
	__u32 flags;
	unsigned int seed;
	struct kevent_watch w;
	int ret;
};

static void add_side(void *arg)
{
	struct adding *a = arg;

	dawdle(&a->seed, SPIN);
	a->ret = add_file(a->q, &a->w, a->fd, a->flags, 1);
}

/* Either it is too late to watch the file, or the watch goes with it. */
TEST_F(race, add_against_close)
{
	struct adding a = {
		.q = Q,
		.flags = variant->flags | KEVENT_WATCH_VANISHED,
		.seed = 14,
	};
	struct kevent_event ev = {};
	int i, twin, nr, vanished;
	unsigned int seed = 15;
	struct racer racer;

	ASSERT_EQ(0, racer_start(&racer, add_side, &a));
	for (i = 0; i < 2 * ROUNDS; i++) {
		a.fd = eventfd(i & 1, EFD_NONBLOCK);
		/* With and without another reference to the file. */
		twin = i & 2 ? dup(a.fd) : -1;
		racer_go(&racer);
		dawdle(&seed, 2 * SPIN);
		ASSERT_EQ(0, close(a.fd));
		racer_wait(&racer);
		vanished = 0;
		while ((nr = take_now(Q, COPY, &ev)) == 1 && vanished < 2)
			vanished += !!(ev.events & KEVENT_POLL_NVAL);
		ASSERT_EQ(0, nr);
		if (a.ret == 1) {
			ASSERT_EQ(1, vanished);
			ASSERT_TRUE(watch_gone(Q, &a.w));
		} else {
			ASSERT_EQ(-EBADF, a.ret);
			ASSERT_EQ(0, vanished);
		}
		ASSERT_EQ(0, nr_watches(self->q.fd));
		if (twin >= 0) {
			ASSERT_EQ(0, fire(twin));
			EXPECT_EMPTY(Q, COPY);
			close(twin);
		}
		ASSERT_TRUE(__test_passed(_metadata));
	}
	racer_stop(&racer);
}

/* The number is given to another file at once: the watch is of one or none. */
TEST_F(race, add_against_dup2)
{
	struct adding a = {
		.q = Q,
		.flags = variant->flags,
		.seed = 16,
	};
	int i, files[2], which, nr;
	struct kevent_event ev = {};
	unsigned int seed = 17;
	struct racer racer;

	for (i = 0; i < 2; i++) {
		files[i] = new_file();
		ASSERT_LE(0, files[i]);
	}
	a.fd = dup(files[1]);
	ASSERT_LE(0, a.fd);
	ASSERT_EQ(0, racer_start(&racer, add_side, &a));
	for (i = 0; i < ROUNDS; i++) {
		which = i & 1;
		racer_go(&racer);
		dawdle(&seed, 2 * SPIN);
		ASSERT_EQ(a.fd, dup2(files[which], a.fd));
		racer_wait(&racer);
		ASSERT_TRUE(a.ret == 1 || a.ret == -EBADF);
		/* What is there now is that of the file that is there now. */
		ASSERT_EQ(0, fire(files[!which]));
		EXPECT_EMPTY(Q, COPY);
		ASSERT_EQ(0, fire(files[which]));
		nr = take_now(Q, COPY, &ev);
		ASSERT_EQ(a.ret == 1 && !watch_gone(Q, &a.w), nr);
		EXPECT_EQ(1, quiet(files[0]));
		EXPECT_EQ(1, quiet(files[1]));
		if (nr)
			EXPECT_EQ(1, remove_one(Q, a.w.handle));
		ASSERT_EQ(0, nr_watches(self->q.fd));
		ASSERT_TRUE(__test_passed(_metadata));
	}
	racer_stop(&racer);
}

/*
 * Watches fire, without end, on whatever processor, while their queue comes and
 * goes.
 */
#define FILES	8

struct storm {
	pthread_t thread[2];
	int fds[FILES];
	bool stop;
};

static void *storm_main(void *arg)
{
	struct storm *s = arg;
	unsigned int i = 0;

	while (!__atomic_load_n(&s->stop, __ATOMIC_ACQUIRE)) {
		fire(s->fds[i++ % FILES]);
		if (!(i % 64))
			quiet(s->fds[i / 64 % FILES]);
	}
	return NULL;
}

static int storm_start(struct storm *s)
{
	int i;

	s->stop = false;
	for (i = 0; i < FILES; i++) {
		s->fds[i] = new_file();
		if (s->fds[i] < 0)
			return -1;
	}
	return pthread_create(&s->thread[0], NULL, storm_main, s) ||
	       pthread_create(&s->thread[1], NULL, storm_main, s);
}

static void storm_stop(struct storm *s)
{
	int i;

	__atomic_store_n(&s->stop, true, __ATOMIC_RELEASE);
	pthread_join(s->thread[0], NULL);
	pthread_join(s->thread[1], NULL);
	for (i = 0; i < FILES; i++)
		close(s->fds[i]);
}

TEST_F(race, queue_is_closed_while_watches_fire)
{
	struct kevent_watch w;
	struct kevent_event ev;
	struct storm storm;
	struct queue q;
	int i, n;

	ASSERT_EQ(0, storm_start(&storm));
	for (i = 0; i < 60; i++) {
		ASSERT_LE(0, queue_open(&q, variant->entries));
		for (n = 0; n < 2 * FILES; n++) {
			ASSERT_EQ(1, add_file(&q, &w, storm.fds[n % FILES],
					      variant->flags, n));
		}
		/* It does work. */
		ASSERT_EQ(1, take_next(&q, COPY, &ev));
		ASSERT_GT(2 * FILES, ev.user_data);
		queue_close(&q);
	}
	storm_stop(&storm);
}

/* So does the process that has made them. */
TEST_F(race, process_ends_while_watches_fire)
{
	struct storm storm;
	struct kevent_watch w;
	pid_t pid;
	int i, n;

	ASSERT_EQ(0, storm_start(&storm));
	for (i = 0; i < 20; i++) {
		pid = fork();
		ASSERT_LE(0, pid);
		if (!pid) {
			for (n = 0; n < 2 * FILES; n++) {
				if (add_file(Q, &w, storm.fds[n % FILES],
					     variant->flags |
					     KEVENT_WATCH_VANISHED, n) != 1)
					_exit(1);
			}
			if (i % 2)
				raise(SIGKILL);
			_exit(0);
		}
		ASSERT_EQ(i % 2 ? -SIGKILL : 0, child_status(pid));
		ASSERT_EQ(0, nr_watches(self->q.fd));
		/* One last event for each, at least. */
		ASSERT_LE(2 * FILES, queue_drain(Q));
		EXPECT_EMPTY(Q, COPY);
		ASSERT_TRUE(__test_passed(_metadata));
	}
	storm_stop(&storm);
}

/* The mapping keeps the queue: it goes on firing, and stops with the mapping. */
TEST_F(race, mapping_outlives_the_descriptor)
{
	struct kevent_watch w;
	struct kevent_event ev;
	struct storm storm;
	struct queue q;
	int i, n, taken;

	if (!variant->entries)
		SKIP(return, "there is no mapping without a ring");
	ASSERT_EQ(0, storm_start(&storm));
	for (i = 0; i < 40; i++) {
		ASSERT_LE(0, queue_open(&q, variant->entries));
		for (n = 0; n < FILES; n++) {
			ASSERT_EQ(1, add_file(&q, &w, storm.fds[n],
					      KEVENT_WATCH_EDGE, n));
		}
		ASSERT_EQ(0, close(q.fd));
		q.fd = -1;
		/* What waits in the backlog is moved by what happens next. */
		for (taken = 0; taken < 4 * ENTRIES;) {
			if (ring_take(&q, &ev)) {
				ASSERT_GT(FILES, ev.user_data);
				taken++;
			} else {
				sched_yield();
			}
		}
		queue_close(&q);
	}
	storm_stop(&storm);
}

/* Whatever it is changed to and from, in the end it is what was last asked. */
TEST_F(race, modify_against_firing)
{
	static const __u32 modes[] = {
		0, KEVENT_WATCH_EDGE, KEVENT_WATCH_DISPATCH,
		KEVENT_WATCH_VANISHED,
	};
	struct firing f = { .fd = new_file(), .times = 6, .seed = 18 };
	unsigned int seed = 19;
	struct kevent_watch w;
	struct kevent_event ev;
	struct racer racer;
	int i, n, nr;
	__u32 reported;

	ASSERT_LE(0, f.fd);
	ASSERT_EQ(1, add_file(Q, &w, f.fd, variant->flags, 0));
	ASSERT_EQ(0, racer_start(&racer, fire_side, &f));
	for (i = 1; i <= ROUNDS; i++) {
		racer_go(&racer);
		w.user_data = i;
		for (n = 0; n < 4; n++) {
			w.flags = modes[rand_r(&seed) % ARRAY_SIZE(modes)];
			w.events = n & 1 ? KEVENT_POLL_OUT : KEVENT_POLL_PRI;
			ASSERT_EQ(1, modify_one(Q, &w,
						KEVENT_MODIFY_MODE |
						KEVENT_MODIFY_USER_DATA));
			ASSERT_EQ(1, modify_one(Q, &w, KEVENT_MODIFY_DISABLE));
			ASSERT_EQ(1, modify_one(Q, &w, KEVENT_MODIFY_EVENTS));
			ASSERT_EQ(1, modify_one(Q, &w, KEVENT_MODIFY_ENABLE));
			dawdle(&seed, SPIN);
		}
		w.events = KEVENT_POLL_IN;
		w.flags = variant->flags;
		ASSERT_EQ(1, modify_one(Q, &w, KEVENT_MODIFY_EVENTS |
					KEVENT_MODIFY_MODE |
					KEVENT_MODIFY_ENABLE));
		racer_wait(&racer);
		/* It is readable, and that is reported. */
		reported = 0;
		for (n = 0; (nr = take_now(Q, COPY, &ev)) == 1; n++) {
			ASSERT_GE(i, ev.user_data);
			ASSERT_GT(20, n);
			reported |= ev.events;
			if (ev.events & KEVENT_POLL_IN)
				quiet(f.fd);
		}
		ASSERT_EQ(0, nr);
		ASSERT_TRUE(reported & KEVENT_POLL_IN);
		quiet(f.fd);
		queue_drain(Q);
		ASSERT_EQ(0, fire(f.fd));
		ASSERT_EQ(1, take_now(Q, COPY, &ev));
		ASSERT_EQ(i, ev.user_data);
		ASSERT_EQ(KEVENT_POLL_IN, ev.events);
		EXPECT_EQ(1, quiet(f.fd));
		queue_drain(Q);
		ASSERT_TRUE(__test_passed(_metadata));
	}
	racer_stop(&racer);
	close(f.fd);
}

/* A level is reported as often as it takes to read all that was written. */
TEST_F(race, forks_while_events_flow)
{
	enum { TOTAL = 3000 };
	struct firing f = { .fd = new_file(), .times = TOTAL, .seed = 20 };
	struct kevent_watch w;
	struct kevent_event ev;
	struct racer racer;
	__u64 sum = 0;
	int i = 0;
	pid_t pid;

	ASSERT_LE(0, f.fd);
	ASSERT_EQ(1, add_file(Q, &w, f.fd, variant->flags, 1));
	ASSERT_EQ(0, racer_start(&racer, fire_side, &f));
	racer_go(&racer);
	while (sum < TOTAL) {
		if (i++ < 20) {
			pid = fork();
			ASSERT_LE(0, pid);
			if (!pid && i % 4 == 0) {
				execl("/bin/true", "true", NULL);
				_exit(126);
			}
			if (!pid) {
				if (i % 4 == 1)
					close(f.fd);
				if (i % 4 == 2)
					close(self->q.fd);
				_exit(0);
			}
			ASSERT_EQ(0, child_status(pid));
		}
		ASSERT_EQ(1, take_next(Q, COPY, &ev));
		ASSERT_EQ(1, ev.user_data);
		ASSERT_EQ(KEVENT_POLL_IN, ev.events);
		sum += quiet(f.fd);
	}
	EXPECT_EQ(TOTAL, sum);
	racer_wait(&racer);
	racer_stop(&racer);
	close(f.fd);
}

/* A queue goes while another one, which watches it, is waited on. */
struct inner {
	struct queue q;
	unsigned int seed;
};

static void close_inner(void *arg)
{
	struct inner *inner = arg;

	dawdle(&inner->seed, SPIN);
	seq_post(inner->q.fd, 0, 1, KEVENT_POST_DEFER);
	dawdle(&inner->seed, SPIN);
	queue_close(&inner->q);
}

TEST_F(race, nested_queue_is_closed)
{
	struct pollfd pfd = { .fd = self->q.fd, .events = POLLIN };
	struct inner inner = { .seed = 21 };
	struct kevent_event ev = {};
	struct kevent_watch w;
	struct racer racer;
	int i, fd;

	ASSERT_EQ(0, racer_start(&racer, close_inner, &inner));
	for (i = 0; i < ROUNDS; i++) {
		ASSERT_LE(0, queue_open(&inner.q, variant->entries));
		fd = inner.q.fd;
		ASSERT_EQ(1, add_file(Q, &w, fd, variant->flags |
				      KEVENT_WATCH_VANISHED, i));
		racer_go(&racer);
		do {
			if (i % 2)
				ASSERT_EQ(1, poll(&pfd, 1, -1));
			ASSERT_EQ(1, take_next(Q, COPY, &ev));
			ASSERT_EQ(i, ev.user_data);
		} while (!(ev.events & KEVENT_POLL_NVAL));
		racer_wait(&racer);
		EXPECT_EMPTY(Q, COPY);
		ASSERT_EQ(0, nr_watches(self->q.fd));
		ASSERT_TRUE(__test_passed(_metadata));
	}
	racer_stop(&racer);
}

/* The outer one goes while the inner one fires. */
static void post_inner(void *arg)
{
	struct inner *inner = arg;
	int i;

	for (i = 0; i < 4; i++) {
		dawdle(&inner->seed, SPIN);
		seq_post(inner->q.fd, i, 1, KEVENT_POST_DEFER);
	}
}

TEST_F(race, outer_queue_is_closed)
{
	struct inner inner = { .seed = 22 };
	unsigned int seed = 23;
	struct kevent_watch w;
	struct racer racer;
	struct queue outer;
	int i;

	ASSERT_LE(0, queue_open(&inner.q, variant->entries));
	ASSERT_EQ(0, racer_start(&racer, post_inner, &inner));
	for (i = 0; i < ROUNDS; i++) {
		ASSERT_LE(0, queue_open(&outer, variant->entries));
		ASSERT_EQ(1, add_file(&outer, &w, inner.q.fd, variant->flags,
				      i));
		racer_go(&racer);
		dawdle(&seed, 4 * SPIN);
		queue_close(&outer);
		racer_wait(&racer);
		ASSERT_EQ(4, queue_drain(&inner.q));
	}
	racer_stop(&racer);
	queue_close(&inner.q);
}

/* POLLFREE: the signal handlers go while the watch of their signalfd does. */
TEST_F(race, signalfd_against_its_process)
{
	unsigned int seed = 24;
	struct kevent_watch *w;
	struct gate ready;
	sigset_t set;
	int i, fd;
	pid_t pid;

	w = mmap(NULL, sizeof(*w), PROT_READ | PROT_WRITE,
		 MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, w);
	ASSERT_EQ(0, gate_init(&ready));
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	ASSERT_EQ(0, sigprocmask(SIG_BLOCK, &set, NULL));
	/* A process without a parent that waits ends at any time. */
	ASSERT_NE(SIG_ERR, signal(SIGCHLD, SIG_IGN));
	for (i = 0; i < 60; i++) {
		fd = signalfd(-1, &set, SFD_NONBLOCK);
		ASSERT_LE(0, fd);
		w->handle = 0;
		pid = fork_sharing_files();
		if (pid == nosys())
			SKIP(return, "no clone3");
		ASSERT_LE(0, pid);
		if (!pid) {
			add_file(Q, w, fd, variant->flags, i);
			gate_open(&ready);
			_exit(0);
		}
		ASSERT_TRUE(gate_pass(&ready));
		ASSERT_NE(0, w->handle);
		dawdle(&seed, 200 * SPIN);
		if (i % 3 == 0)
			ASSERT_EQ(1, remove_one(Q, w->handle));
		if (i % 3 == 1)
			queue_refill(Q);
		ASSERT_EQ(0, close(fd));
		EXPECT_TRUE(watch_gone(Q, w));
		EXPECT_EMPTY(Q, COPY);
		ASSERT_TRUE(__test_passed(_metadata));
	}
	munmap(w, sizeof(*w));
}

TEST_HARNESS_MAIN
