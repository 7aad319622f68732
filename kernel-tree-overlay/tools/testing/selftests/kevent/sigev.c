// SPDX-License-Identifier: GPL-2.0
/*
 * KEVENT_SOURCE_SIGEV: POSIX timers and message queues that report a queue of
 * events. Expirations are counted, and none is lost, on whichever clock and
 * whatever the program does in the meantime; what goes reports nothing any
 * more. An event may always be late: nothing here depends on when it comes,
 * only on that it comes, and not before its time.
 */
#include <mqueue.h>

#include "kevent_poll_test.h"

#ifndef CLOCK_REALTIME_ALARM
#define CLOCK_REALTIME_ALARM	8
#define CLOCK_BOOTTIME_ALARM	9
#define CLOCK_TAI		11
#endif

#define ENTRIES	8

/* The C library has notions of its own of what a timer_t and a sigevent are. */
static struct sigevent sigev(int queue, unsigned long value)
{
	struct sigevent ev = {
		.sigev_notify = SIGEV_KEVENT,
		.sigev_value.sival_ptr = (void *)value,
	};

	ev.sigev_notify_kevent_fd = queue;
	return ev;
}

/* The id, or a negated errno. */
static int create_on(clockid_t clock, int queue, unsigned long value)
{
	struct sigevent ev = sigev(queue, value);
	int id;

	return syscall(__NR_timer_create, clock, &ev, &id) ? -errno : id;
}

static int create(int queue, unsigned long value)
{
	return create_on(CLOCK_MONOTONIC, queue, value);
}

static struct itimerspec spec(__u64 first, __u64 interval)
{
	struct itimerspec its = {
		.it_value.tv_sec = first / 1000000000,
		.it_value.tv_nsec = first % 1000000000,
		.it_interval.tv_sec = interval / 1000000000,
		.it_interval.tv_nsec = interval % 1000000000,
	};

	return its;
}

static int set_flags(int id, int flags, __u64 first, __u64 interval)
{
	struct itimerspec its = spec(first, interval);

	return syscall(__NR_timer_settime, id, flags, &its, NULL) ? -errno : 0;
}

static int set(int id, __u64 first, __u64 interval)
{
	return set_flags(id, 0, first, interval);
}

/* How many nanoseconds there are until it expires, 0 if it does not. */
static __s64 remaining(int id)
{
	struct itimerspec its;

	if (syscall(__NR_timer_gettime, id, &its))
		return -errno;
	return its.it_value.tv_sec * 1000000000LL + its.it_value.tv_nsec;
}

static int overrun(int id)
{
	int ret = syscall(__NR_timer_getoverrun, id);

	return ret < 0 ? -errno : ret;
}

static int destroy(int id)
{
	return syscall(__NR_timer_delete, id) ? -errno : 0;
}

FIXTURE(sigev)
{
	struct queue q;
};

FIXTURE_VARIANT(sigev)
{
	unsigned int entries;
	bool copy;
};

FIXTURE_VARIANT_ADD(sigev, ring)
{
	.entries = ENTRIES,
};

FIXTURE_VARIANT_ADD(sigev, copied)
{
	.entries = ENTRIES,
	.copy = true,
};

FIXTURE_VARIANT_ADD(sigev, no_ring)
{
	.copy = true,
};

FIXTURE_SETUP(sigev)
{
	ASSERT_LE(0, queue_open_shared(&self->q, variant->entries));
	if (!has_timers())
		SKIP(return, "this kernel has no POSIX timers");
}

FIXTURE_TEARDOWN(sigev)
{
	queue_close(&self->q);
}

#define Q	(&self->q)
#define COPY	(variant->copy)

#define TIMER_INFO	(KEVENT_SOURCE_SIGEV | KEVENT_INFO_COUNTED)

/* The next event is that of this timer, which has expired @count times. */
#define EXPECT_EXPIRED(value, id, count)				\
do {									\
	struct kevent_event __got = {};					\
									\
	ASSERT_EQ(1, take_next(Q, COPY, &__got));			\
	EXPECT_EQ((__u64)(value), __got.user_data);			\
	EXPECT_EQ(KEVENT_SIGEV_TIMER, __got.events);			\
	EXPECT_EQ(TIMER_INFO, __got.info & 0xffff);			\
	EXPECT_EQ((__s64)(count), __got.data);				\
	EXPECT_EQ((__u64)(id), __got.extra);				\
} while (0)

/* The next event is that of a message. */
#define EXPECT_MESSAGE(value)						\
do {									\
	struct kevent_event __got = {};					\
									\
	ASSERT_EQ(1, take_next(Q, COPY, &__got));			\
	EXPECT_EQ((__u64)(value), __got.user_data);			\
	EXPECT_EQ(KEVENT_SIGEV_MESSAGE, __got.events);			\
	EXPECT_EQ(KEVENT_SOURCE_SIGEV, __got.info);			\
	EXPECT_EQ(0, __got.data);					\
	EXPECT_EQ(0, __got.extra);					\
} while (0)

/*
 * A running timer: what it may have reported so far follows from when it was
 * started, which was between two readings of the clock.
 */
struct tally {
	clockid_t clock;
	int id;
	__u64 before, after, interval, sum;
};

static int tally_start_on(struct tally *t, clockid_t clock, int queue,
			  __u64 first, __u64 interval)
{
	int ret;

	memset(t, 0, sizeof(*t));
	t->clock = clock;
	t->interval = interval;
	t->id = create_on(clock, queue, (unsigned long)t);
	if (t->id < 0)
		return t->id;
	t->before = now_ns(clock) + first;
	ret = set(t->id, first, interval);
	t->after = now_ns(clock) + first;
	return ret;
}

static int tally_start(struct tally *t, int queue, __u64 first, __u64 interval)
{
	return tally_start_on(t, CLOCK_MONOTONIC, queue, first, interval);
}

/* How often it has expired at @now: at most, and at least. */
static __u64 tally_most(const struct tally *t, __u64 now)
{
	return now < t->before ? 0 : (now - t->before) / t->interval + 1;
}

static __u64 tally_least(const struct tally *t, __u64 now)
{
	return now < t->after ? 0 : (now - t->after) / t->interval + 1;
}

/* Adds an event; false if it cannot be. */
static bool tally_add(struct tally *t, const struct kevent_event *ev)
{
	t->sum += ev->data;
	return ev->data > 0 && ev->user_data == (unsigned long)t &&
	       ev->events == KEVENT_SIGEV_TIMER && ev->extra == t->id &&
	       (ev->info & 0xffff) == TIMER_INFO &&
	       t->sum <= tally_most(t, now_ns(t->clock));
}

/* Takes events until all that has expired so far is reported; false if it is not. */
static bool tally_catch_up(struct tally *t, struct queue *q, bool copy)
{
	__u64 least = tally_least(t, now_ns(t->clock));
	struct kevent_event ev;

	while (t->sum < least) {
		if (take_next(q, copy, &ev) != 1 || !tally_add(t, &ev))
			return false;
	}
	return true;
}

/* It has reported all that it will. */
#define EXPECT_STOPPED(t)						\
do {									\
	struct kevent_event __ev;					\
	__u64 __least = tally_least((t), now_ns((t)->clock)), __most;	\
									\
	ASSERT_EQ(0, set((t)->id, 0, 0));				\
	__most = tally_most((t), now_ns((t)->clock));			\
	while (take_now(Q, COPY, &__ev))				\
		EXPECT_TRUE(tally_add((t), &__ev));			\
	EXPECT_LE(__least, (t)->sum);					\
	EXPECT_GE(__most, (t)->sum);					\
	usleep(20000);							\
	EXPECT_EMPTY(Q, COPY);						\
} while (0)

TEST_F(sigev, kernel_has_the_class)
{
	struct kevent_watch w = {
		.source = KEVENT_SOURCE_SIGEV,
		.events = KEVENT_SIGEV_TIMER,
	};

	EXPECT_TRUE(self->q.args.features &
		    KEVENT_FEATURE_SOURCE(KEVENT_SOURCE_SIGEV));
	EXPECT_EQ(-EOPNOTSUPP, add_one(Q, &w));
}

TEST_F(sigev, expires_once)
{
	int a = create(self->q.fd, 0x1234), b = create(self->q.fd, ~0UL);
	struct kevent_event ev;
	__u64 start;
	bool late;

	ASSERT_LE(0, a);
	ASSERT_LE(0, b);
	ASSERT_EQ(0, set(a, HOUR, HOUR));
	usleep(20000);
	EXPECT_EMPTY(Q, COPY);
	ASSERT_EQ(0, set(a, MSEC, 0));
	EXPECT_EXPIRED(0x1234, a, 1);
	EXPECT_EQ(0, overrun(a));
	EXPECT_EQ(0, remaining(a));
	ASSERT_EQ(0, set(b, 1, 0));
	EXPECT_EXPIRED(~0UL, b, 1);
	/* Long ago. */
	ASSERT_EQ(0, set_flags(b, TIMER_ABSTIME, 1, 0));
	EXPECT_EXPIRED(~0UL, b, 1);
	/* Stopped before it expires, unless that took too long. */
	do {
		start = now_ns(CLOCK_MONOTONIC);
		ASSERT_EQ(0, set(b, 20 * MSEC, 0));
		ASSERT_EQ(0, set(b, 0, 0));
		late = now_ns(CLOCK_MONOTONIC) - start >= 20 * MSEC;
		if (late)
			while (take_now(Q, COPY, &ev))
				;
	} while (late);
	usleep(50000);
	EXPECT_EMPTY(Q, COPY);
	EXPECT_EQ(0, destroy(a));
	EXPECT_EQ(0, destroy(b));
}

/* What timer_getoverrun() says is one less than what the event does. */
TEST_F(sigev, overruns)
{
	__u64 now = now_ns(CLOCK_MONOTONIC);
	int id = create(self->q.fd, 1);

	ASSERT_LE(0, id);
	ASSERT_EQ(0, set_flags(id, TIMER_ABSTIME, now, HOUR));
	EXPECT_EXPIRED(1, id, 1);
	EXPECT_EQ(0, overrun(id));

	/* When the clock began to go, a third of that time ago, and not yet. */
	now = now_ns(CLOCK_MONOTONIC);
	ASSERT_EQ(0, set_flags(id, TIMER_ABSTIME, 1, now * 2 / 3));
	EXPECT_EXPIRED(1, id, 2);
	EXPECT_EQ(1, overrun(id));
	EXPECT_LT(0, remaining(id));
	EXPECT_GE(now * 2 / 3, remaining(id));
	EXPECT_EQ(0, destroy(id));
}

/* There is no number so large that it turns into a small one. */
TEST_F(sigev, overruns_without_end)
{
	int id = create_on(CLOCK_REALTIME, self->q.fd, 1);
	struct kevent_event ev;
	int i;

	ASSERT_LE(0, id);
	if (now_ns(CLOCK_REALTIME) < 1ULL << 60)
		SKIP(return, "the clock was not set");
	for (i = 0; i < 13; i++) {
		/* Since 1970, each nanosecond. */
		ASSERT_EQ(0, set_flags(id, TIMER_ABSTIME, 1, 1));
		EXPECT_EQ(INT_MAX, overrun(id));
	}
	ASSERT_EQ(0, set(id, 0, 0));
	ASSERT_EQ(1, take_next(Q, COPY, &ev));
	EXPECT_LE(variant->entries ? 1LL << 60 : INT64_MAX, ev.data);
	EXPECT_EQ(0, destroy(id));
}

/* The unconsumed event goes on counting when the timer is set again, and so does that. */
TEST_F(sigev, overruns_of_what_was_before)
{
	__u64 now = now_ns(CLOCK_MONOTONIC);
	int id = create(self->q.fd, 1);

	ASSERT_LE(0, id);
	ASSERT_EQ(0, set_flags(id, TIMER_ABSTIME, 1, now * 2 / 3));
	ASSERT_EQ(0, set(id, 1, 0));
	while (remaining(id))
		usleep(100);
	EXPECT_EQ(2, overrun(id));
	EXPECT_EXPIRED(1, id, 3);
	EXPECT_EQ(2, overrun(id));
	/* It is that of the last event. */
	ASSERT_EQ(0, set(id, 0, 0));
	EXPECT_EQ(2, overrun(id));
	ASSERT_EQ(0, set(id, 1, 0));
	EXPECT_EXPIRED(1, id, 1);
	EXPECT_EQ(0, overrun(id));
	EXPECT_EQ(0, destroy(id));
}

TEST_F(sigev, periodic)
{
	struct kevent_event ev;
	struct tally t;
	int i;

	ASSERT_EQ(0, tally_start(&t, self->q.fd, MSEC, MSEC));
	for (i = 0; i < 50; i++) {
		ASSERT_EQ(1, take_next(Q, COPY, &ev));
		EXPECT_TRUE(tally_add(&t, &ev));
	}
	EXPECT_TRUE(tally_catch_up(&t, Q, COPY));
	EXPECT_STOPPED(&t);
	EXPECT_EQ(0, destroy(t.id));
}

/* The event is unconsumed: it is merged into, but not for each expiration. */
TEST_F(sigev, unconsumed)
{
	static const __u64 intervals[] = { 1, 10 * USEC, MSEC };
	struct tally t;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(intervals); i++) {
		ASSERT_EQ(0, tally_start(&t, self->q.fd, MSEC, intervals[i]));
		usleep(300000);
		if (self->q.ring) {
			/* One event, and those that were cancelled for it. */
			EXPECT_LE(1, queue_refill(Q));
			EXPECT_LT(0, self->q.ring->merged);
			EXPECT_GT(40 * (i + 1), self->q.ring->merged);
		}
		EXPECT_LT(0, remaining(t.id));
		EXPECT_GE(intervals[i], remaining(t.id));
		EXPECT_TRUE(tally_catch_up(&t, Q, COPY));
		EXPECT_STOPPED(&t);
		EXPECT_EQ(0, destroy(t.id));
	}
}

/* What was not reported yet is when it is set again, and then it is as new. */
TEST_F(sigev, set_again)
{
	struct tally t;
	int i;

	for (i = 0; i < 5; i++) {
		ASSERT_EQ(0, tally_start(&t, self->q.fd, USEC, 100 * USEC));
		usleep(50000);
		EXPECT_STOPPED(&t);
		ASSERT_EQ(0, set(t.id, MSEC, 0));
		EXPECT_EXPIRED((unsigned long)&t, t.id, 1);
		EXPECT_EQ(0, destroy(t.id));
	}
}

/*
 * After a while in which the program did not take the event, it waits again:
 * that brings the timer back to its interval.
 */
TEST_F(sigev, program_comes_back)
{
	struct kevent_event ev;
	struct tally t;
	__u64 passed;
	int i;

	for (i = 0; i < 5; i++) {
		ASSERT_EQ(0, tally_start(&t, self->q.fd, MSEC, 50 * MSEC));
		/* The next interrupt is as far away as this takes. */
		usleep(3000000);
		ASSERT_EQ(1, take_next(Q, COPY, &ev));
		EXPECT_TRUE(tally_add(&t, &ev));
		passed = tally_most(&t, now_ns(CLOCK_MONOTONIC));
		ASSERT_EQ(1, take_next(Q, COPY, &ev));
		EXPECT_TRUE(tally_add(&t, &ev));
		EXPECT_EQ(0, destroy(t.id));
		/* It may be late, but not each time. */
		if (t.sum <= passed + 20)
			break;
	}
	EXPECT_GT(5, i);
}

/* The next interrupt was put off, but not for a program that waits. */
TEST_F(sigev, waiting_brings_it_back)
{
	struct kevent_event ev = {};
	int id, i;

	for (i = 0; i < 5; i++) {
		id = create(self->q.fd, 1);
		ASSERT_LE(0, id);
		ASSERT_EQ(0, set(id, 400 * MSEC, 400 * MSEC));
		/* At the second one the event was unconsumed. */
		usleep(850000);
		ASSERT_EQ(1, take_next(Q, COPY, &ev));
		EXPECT_LE(2, ev.data);
		ASSERT_EQ(1, take_next(Q, COPY, &ev));
		EXPECT_EQ(0, destroy(id));
		/* It may be late, but not each time. */
		if (ev.data == 1)
			break;
	}
	EXPECT_GT(5, i);
}

/* A call counts what has expired by then, although no interrupt has. */
TEST_F(sigev, up_to_date_after_a_call)
{
	struct kevent_event ev;
	struct tally t;
	__u64 least;
	int i;

	ASSERT_EQ(0, tally_start(&t, self->q.fd, 50 * USEC, 50 * USEC));
	for (i = 0; i < 4; i++) {
		usleep(i % 2 ? 2000 : 300000);
		least = tally_least(&t, now_ns(CLOCK_MONOTONIC));
		EXPECT_LE(1, queue_refill(Q));
		ASSERT_EQ(1, take_now(Q, COPY, &ev));
		ASSERT_TRUE(tally_add(&t, &ev));
		EXPECT_LE(least, t.sum);
	}
	EXPECT_EQ(0, destroy(t.id));
}

/* Many timers interrupt together, once in a tick. */
TEST(no_interrupt_storm)
{
	enum { TIMERS = 50 };
	int id[TIMERS], i;
	long idle, busy;
	__u64 expired;
	struct queue q;

	if (timer_interrupts() < 0)
		SKIP(return, "no LOC in /proc/interrupts");
	ASSERT_LE(0, queue_open(&q, 64));
	idle = count_interrupts(&q, &expired);
	for (i = 0; i < TIMERS; i++) {
		id[i] = create(q.fd, i);
		ASSERT_LE(0, id[i]);
		ASSERT_EQ(0, set(id[i], 10 * USEC, 10 * USEC + i));
	}
	busy = count_interrupts(&q, &expired);
	EXPECT_GT(10 * idle + 100, busy);
	EXPECT_LT(TIMERS * 10000, expired);
	TH_LOG("%ld timer interrupts, %ld without timers", busy, idle);
	for (i = 0; i < TIMERS; i++)
		EXPECT_EQ(0, destroy(id[i]));
	queue_close(&q);
}

/* A program that takes events, but makes no calls. */
TEST_F(sigev, program_is_busy)
{
	struct kevent_event ev;
	struct tally t;
	int i;

	if (!variant->entries)
		SKIP(return, "without a ring events need calls");
	ASSERT_EQ(0, tally_start(&t, self->q.fd, MSEC, MSEC));
	for (i = 0; i < 50; i++) {
		while (!ring_take(Q, &ev))
			;
		EXPECT_TRUE(tally_add(&t, &ev));
		if (i == 25)
			usleep(30000);
	}
	EXPECT_STOPPED(&t);
	EXPECT_EQ(0, destroy(t.id));
}

TEST_F(sigev, wakes_a_thread)
{
	int id = create(self->q.fd, 1);
	struct waiter waiter;

	ASSERT_EQ(0, waiter_start(&waiter, self->q.fd, 0, 1));
	ASSERT_TRUE(sleeper_asleep(&waiter.sleeper));
	ASSERT_EQ(0, set(id, MSEC, 0));
	EXPECT_EQ(1, sleeper_join(&waiter.sleeper));
	EXPECT_EXPIRED(1, id, 1);
	EXPECT_EQ(0, destroy(id));
}

static clockid_t process_clock(pid_t pid)
{
	return (~(clockid_t)pid << 3) | 2;
}

/* Some clocks go only while the program does: no sleeping. */
static int spin_next(struct queue *q, bool copy, struct kevent_event *ev)
{
	while (!take_now(q, copy, ev))
		;
	return 1;
}

TEST_F(sigev, clocks)
{
	clockid_t clocks[] = {
		CLOCK_REALTIME, CLOCK_MONOTONIC, CLOCK_BOOTTIME, CLOCK_TAI,
		CLOCK_REALTIME_ALARM, CLOCK_BOOTTIME_ALARM,
		CLOCK_PROCESS_CPUTIME_ID, CLOCK_THREAD_CPUTIME_ID, 0,
	};
	struct kevent_event ev;
	struct tally t;
	size_t i;
	int ret, j;
	pid_t pid;

	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		for (;;)
			;
	}
	clocks[ARRAY_SIZE(clocks) - 1] = process_clock(pid);
	for (i = 0; i < ARRAY_SIZE(clocks); i++) {
		ret = tally_start_on(&t, clocks[i], self->q.fd, MSEC, 0);
		if (ret == -EOPNOTSUPP || ret == -EPERM) {
			TH_LOG("no timers on clock %d", clocks[i]);
			EXPECT_EQ(0, nr_watches(self->q.fd));
			continue;
		}
		ASSERT_EQ(0, ret);
		ASSERT_EQ(1, spin_next(Q, COPY, &ev));
		EXPECT_EQ(1, ev.data);
		EXPECT_EQ((unsigned long)&t, ev.user_data);
		EXPECT_EQ(0, destroy(t.id));

		ASSERT_EQ(0, tally_start_on(&t, clocks[i], self->q.fd, MSEC,
					    MSEC));
		for (j = 0; j < 10; j++) {
			ASSERT_EQ(1, spin_next(Q, COPY, &ev));
			EXPECT_TRUE(tally_add(&t, &ev));
			if (j == 5) {
				usleep(20000);
				EXPECT_LT(0, remaining(t.id));
			}
		}
		EXPECT_EQ(0, set(t.id, 0, 0));
		while (take_now(Q, COPY, &ev))
			EXPECT_TRUE(tally_add(&t, &ev));
		EXPECT_EQ(0, destroy(t.id));
	}
	kill(pid, SIGKILL);
	EXPECT_EQ(-SIGKILL, child_status(pid));
}

/* Whose clock it is has gone. */
TEST_F(sigev, process_of_a_clock_ends)
{
	struct kevent_event ev;
	struct tally t;
	pid_t pid;

	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		for (;;)
			;
	}
	ASSERT_EQ(0, tally_start_on(&t, process_clock(pid), self->q.fd, MSEC,
				    MSEC));
	ASSERT_EQ(1, take_next(Q, COPY, &ev));
	kill(pid, SIGKILL);
	EXPECT_EQ(-SIGKILL, child_status(pid));
	queue_drain(Q);
	usleep(20000);
	EXPECT_EMPTY(Q, COPY);
	EXPECT_EQ(0, destroy(t.id));
	EXPECT_EQ(0, nr_watches(self->q.fd));
}

TEST_F(sigev, refused)
{
	struct sigevent ev = sigev(self->q.fd, 1);
	int sealed = sealed_queue(1 << KEVENT_SOURCE_USER), file = new_file();

	ASSERT_LE(0, sealed);
	EXPECT_EQ(-EBADF, create(-1, 1));
	EXPECT_EQ(-EINVAL, create(file, 1));
	EXPECT_EQ(-EPERM, create(sealed, 1));
	EXPECT_EQ(-EOPNOTSUPP, create_on(CLOCK_MONOTONIC_COARSE, self->q.fd,
					 1));
	EXPECT_EQ(-EINVAL, create_on(12345, self->q.fd, 1));
	EXPECT_EQ(-1, syscall(__NR_timer_create, CLOCK_MONOTONIC, &ev,
			      guard_page()));
	EXPECT_EQ(EFAULT, errno);
	EXPECT_EQ(0, nr_watches(self->q.fd));
	EXPECT_EMPTY(Q, COPY);
	close(sealed);
	close(file);
}

#define MAX_WATCHES	"/proc/sys/fs/kevent/max_user_watches"

TEST_F(sigev, too_many_watches)
{
	char old[32] = {};
	int fd = open(MAX_WATCHES, O_RDWR | O_CLOEXEC), a, b;

	if (fd < 0)
		SKIP(return, "the limit cannot be set");
	a = create(self->q.fd, 1);
	EXPECT_LE(0, a);
	ASSERT_LT(0, pread(fd, old, sizeof(old) - 1, 0));
	ASSERT_EQ(1, pwrite(fd, "1", 1, 0));
	b = create(self->q.fd, 2);
	EXPECT_EQ(0, destroy(a));
	a = create(self->q.fd, 3);
	ASSERT_EQ(strlen(old), pwrite(fd, old, strlen(old), 0));
	EXPECT_EQ(-ENOSPC, b);
	EXPECT_LE(0, a);
	EXPECT_EQ(0, set(a, 1, 0));
	EXPECT_EXPIRED(3, a, 1);
	EXPECT_EQ(0, destroy(a));
	close(fd);
}

/* The handle of the only watch, as fdinfo shows it; 0 if there is none. */
static __u64 only_handle(int fd, int id)
{
	unsigned long long handle, found = 0, ident;
	char path[64], line[512];
	unsigned int source;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
	f = fopen(path, "r");
	if (!f)
		return 0;
	while (fgets(line, sizeof(line), f)) {
		if (sscanf(line, "watch: handle:%llx source:%u flags:0 ident:%llu",
			   &handle, &source, &ident) == 3 &&
		    source == KEVENT_SOURCE_SIGEV && ident == id)
			found = handle;
	}
	fclose(f);
	return found;
}

/* It is a watch like others, but the program cannot change it. */
TEST_F(sigev, watch_of_a_timer)
{
	static const __u32 changes[] = {
		KEVENT_MODIFY_EVENTS, KEVENT_MODIFY_MODE, KEVENT_MODIFY_ARG,
		KEVENT_MODIFY_USER_DATA, KEVENT_MODIFY_ENABLE,
		KEVENT_MODIFY_DISABLE,
	};
	struct kevent_watch w = {
		.source = KEVENT_SOURCE_SIGEV,
		.events = KEVENT_SIGEV_TIMER,
	};
	int id = create(self->q.fd, 1);
	size_t i;

	ASSERT_LE(0, id);
	EXPECT_EQ(1, nr_watches(self->q.fd));
	w.handle = only_handle(self->q.fd, id);
	ASSERT_NE(0, w.handle);
	for (i = 0; i < ARRAY_SIZE(changes); i++)
		EXPECT_EQ(-EINVAL, modify_one(Q, &w, changes[i]));
	ASSERT_EQ(0, set(id, MSEC, 10 * MSEC));
	usleep(30000);
	EXPECT_EQ(1, remove_one(Q, w.handle));
	EXPECT_EMPTY(Q, COPY);
	EXPECT_EQ(0, nr_watches(self->q.fd));
	/* The timer goes on silently. */
	usleep(30000);
	EXPECT_LT(0, remaining(id));
	EXPECT_GE(10 * MSEC, remaining(id));
	EXPECT_EQ(0, set(id, MSEC, 0));
	usleep(20000);
	EXPECT_EMPTY(Q, COPY);
	EXPECT_EQ(0, destroy(id));
}

TEST_F(sigev, deleted_with_an_event)
{
	int id = create(self->q.fd, 1), i;

	ASSERT_EQ(0, set(id, 1, MSEC));
	usleep(20000);
	EXPECT_EQ(1, queue_refill(Q));
	EXPECT_EQ(0, destroy(id));
	EXPECT_EMPTY(Q, COPY);
	EXPECT_EQ(-EINVAL, set(id, 1, 0));
	EXPECT_EQ(0, nr_watches(self->q.fd));

	/* From the backlog as well. */
	ASSERT_EQ(ENTRIES, seq_post(self->q.fd, 0, ENTRIES,
				    KEVENT_POST_DEFER));
	id = create(self->q.fd, 1);
	ASSERT_EQ(0, set(id, 1, MSEC));
	usleep(20000);
	EXPECT_EQ(0, destroy(id));
	for (i = 0; i < ENTRIES; i++) {
		struct kevent_event ev;

		ASSERT_EQ(1, take_next(Q, COPY, &ev));
		EXPECT_EQ(i, ev.user_data);
		EXPECT_TRUE(seq_intact(&ev));
	}
	EXPECT_EMPTY(Q, COPY);
}

#define MANY	100

TEST_F(sigev, overflow)
{
	int id[MANY], i, seen[MANY] = {};
	struct kevent_event ev;

	for (i = 0; i < MANY; i++) {
		id[i] = create(self->q.fd, i);
		ASSERT_LE(0, id[i]);
		ASSERT_EQ(0, set(id[i], 1 + i % 7 * 100 * USEC, 0));
	}
	usleep(20000);
	for (i = 0; i < MANY; i++) {
		ASSERT_EQ(1, take_next(Q, COPY, &ev));
		ASSERT_GT(MANY, ev.user_data);
		EXPECT_EQ(1, ev.data);
		EXPECT_EQ(id[ev.user_data], ev.extra);
		seen[ev.user_data]++;
	}
	EXPECT_EMPTY(Q, COPY);
	for (i = 0; i < MANY; i++) {
		EXPECT_EQ(1, seen[i]);
		EXPECT_EQ(0, destroy(id[i]));
	}
}

#define TIMERS	4

TEST_F(sigev, many_periodic)
{
	struct kevent_event ev;
	struct tally t[TIMERS];
	int i;

	for (i = 0; i < TIMERS; i++)
		ASSERT_EQ(0, tally_start(&t[i], self->q.fd, i * 10 * USEC + 1,
					 (i + 1) * 50 * USEC));
	for (i = 0; i < 2000; i++) {
		ASSERT_EQ(1, take_next(Q, COPY, &ev));
		ASSERT_TRUE(tally_add((void *)(unsigned long)ev.user_data,
				      &ev));
	}
	for (i = 0; i < TIMERS; i++) {
		__u64 least = tally_least(&t[i], now_ns(CLOCK_MONOTONIC)), most;

		ASSERT_EQ(0, set(t[i].id, 0, 0));
		most = tally_most(&t[i], now_ns(CLOCK_MONOTONIC));
		while (take_now(Q, COPY, &ev))
			ASSERT_TRUE(tally_add((void *)(unsigned long)
					      ev.user_data, &ev));
		EXPECT_LE(least, t[i].sum);
		EXPECT_GE(most, t[i].sum);
	}
	for (i = 0; i < TIMERS; i++)
		EXPECT_EQ(0, destroy(t[i].id));
	EXPECT_EMPTY(Q, COPY);
}

/* The timer outlives the queue, and goes on silently. */
TEST_F(sigev, queue_closed)
{
	struct queue q;
	int id[2], i;

	for (i = 0; i < 20; i++) {
		ASSERT_LE(0, queue_open(&q, variant->entries));
		id[0] = create(q.fd, 1);
		id[1] = create(q.fd, 2);
		ASSERT_EQ(0, set(id[0], 1, 50 * USEC));
		ASSERT_EQ(0, set(id[1], 5 * MSEC, 0));
		usleep(1000);
		queue_close(&q);
		usleep(6000);
		EXPECT_LT(0, remaining(id[0]));
		/* On another CPU the interrupt may come later. */
		while (remaining(id[1]))
			usleep(1000);
		EXPECT_EQ(0, set(id[1], 1, MSEC));
		usleep(3000);
		EXPECT_LT(0, remaining(id[1]));
		EXPECT_EQ(0, destroy(id[0]));
		EXPECT_EQ(0, destroy(id[1]));
	}
}

/* The next interrupt of such a timer is far away, not so what is reported of it. */
TEST_F(sigev, queue_closed_between_interrupts)
{
	struct queue q;
	int id, i;

	ASSERT_LE(0, queue_open(&q, variant->entries));
	id = create(q.fd, 1);
	ASSERT_LE(0, id);
	ASSERT_EQ(0, set(id, 1, MSEC));
	usleep(500000);
	queue_close(&q);
	for (i = 0; i < 30; i++) {
		EXPECT_LT(0, remaining(id));
		EXPECT_GE(MSEC, remaining(id));
		usleep(50000);
	}
	EXPECT_EQ(0, destroy(id));
}

TEST(mapping_keeps_the_queue)
{
	struct kevent_event ev;
	struct queue q;
	int id;

	if (!has_timers())
		SKIP(return, "this kernel has no POSIX timers");
	ASSERT_LE(0, queue_open(&q, ENTRIES));
	id = create(q.fd, 1);
	ASSERT_LE(0, id);
	close(q.fd);
	q.fd = -1;
	ASSERT_EQ(0, set(id, 5 * MSEC, 0));
	while (!ring_take(&q, &ev))
		usleep(500);
	EXPECT_EQ(1, ev.user_data);
	queue_close(&q);
	EXPECT_EQ(0, destroy(id));
}

/* A child has no timers, and its end is not that of its parent's. */
TEST_F(sigev, forked)
{
	int id = create(self->q.fd, 1);
	pid_t pid;

	ASSERT_LE(0, id);
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid)
		_exit(destroy(id) == -EINVAL ? 0 : 1);
	EXPECT_EQ(0, child_status(pid));
	EXPECT_EQ(1, nr_watches(self->q.fd));
	ASSERT_EQ(0, set(id, MSEC, 0));
	EXPECT_EXPIRED(1, id, 1);
	EXPECT_EQ(0, destroy(id));
}

/*
 * The end of a process, by exit or exec: its timers go, with what they have
 * reported, and so does what it wants to see messages.
 */
struct ending {
	int queue, timer, mq;
};

static void __attribute__((constructor)) after_exec(void)
{
	struct ending end;
	struct kevent_event ev;

	if (!exec_state(&end, sizeof(end)))
		return;
	if (destroy(end.timer) != -EINVAL)
		_exit(10);
	if (nr_watches(end.queue))
		_exit(11);
	if (kevent_get_events(end.queue, 0, 1, NULL, &ev, 0))
		_exit(12);
	_exit(0);
}

/* Message queues: 0 or more, or a negated errno. */
static int mq_new(const char *name)
{
	struct mq_attr attr = { .mq_maxmsg = 4, .mq_msgsize = 8 };
	int fd = syscall(__NR_mq_open, name, O_RDWR | O_CREAT | O_NONBLOCK,
			 0600, &attr);

	return fd < 0 ? -errno : fd;
}

static int mq_put(int mq)
{
	return syscall(__NR_mq_timedsend, mq, "x", 1L, 0, NULL) ? -errno : 0;
}

static int mq_get(int mq)
{
	char buf[8];
	int ret = syscall(__NR_mq_timedreceive, mq, buf, 8L, NULL, NULL);

	return ret < 0 ? -errno : ret;
}

static int mq_report(int mq, int queue, unsigned long value)
{
	struct sigevent ev = sigev(queue, value);

	return syscall(__NR_mq_notify, mq, &ev) ? -errno : 0;
}

static int mq_report_ended(int mq)
{
	return syscall(__NR_mq_notify, mq, NULL) ? -errno : 0;
}

/* In the child. */
static void end_with_timers(int queue, int mq, bool exec)
{
	struct ending end = { .queue = queue };
	int i, id;

	for (i = 0; i < 10; i++) {
		id = create(queue, i);
		if (id < 0 || set(id, 1 + i * 100 * USEC, i * 20 * USEC))
			_exit(1);
	}
	end.timer = id;
	if (mq_report(mq, queue, 99))
		_exit(2);
	usleep(2000);
	if (nr_watches(queue) != 10)
		_exit(3);
	if (exec && !fcntl(queue, F_SETFD, 0))
		exec_again(&end, sizeof(end));
	_exit(0);
}

TEST_F(sigev, process_ends)
{
	int mq = mq_new("kevent_ends"), round;
	pid_t pid;

	if (mq == -ENOSYS)
		SKIP(return, "this kernel has no message queues");
	ASSERT_LE(0, mq);
	for (round = 0; round < 20; round++) {
		pid = fork();
		ASSERT_LE(0, pid);
		if (!pid)
			end_with_timers(self->q.fd, mq, round % 2);
		EXPECT_EQ(0, child_status(pid));
		EXPECT_EQ(0, nr_watches(self->q.fd));
		EXPECT_EMPTY(Q, COPY);
		EXPECT_EQ(0, mq_put(mq));
		EXPECT_EMPTY(Q, COPY);
		EXPECT_EQ(1, mq_get(mq));
	}
	close(mq);
	syscall(__NR_mq_unlink, "kevent_ends");
}

/* Other ways to be reported of timers are as they were. */
TEST_F(sigev, signals_still_work)
{
	struct timespec second = { .tv_sec = 10 };
	struct sigevent ev = {
		.sigev_notify = SIGEV_SIGNAL,
		.sigev_signo = SIGUSR1,
		.sigev_value.sival_int = 5,
	};
	siginfo_t info;
	sigset_t set;
	int id;

	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	ASSERT_EQ(0, sigprocmask(SIG_BLOCK, &set, NULL));
	ASSERT_EQ(0, syscall(__NR_timer_create, CLOCK_MONOTONIC, &ev, &id));
	ASSERT_EQ(0, set_flags(id, 0, MSEC, MSEC));
	ASSERT_EQ(SIGUSR1, sigtimedwait(&set, &info, &second));
	EXPECT_EQ(5, info.si_value.sival_int);
	EXPECT_EQ(SI_TIMER, info.si_code);
	EXPECT_LE(0, overrun(id));
	EXPECT_EQ(0, destroy(id));
	EXPECT_EMPTY(Q, COPY);
}

TEST_F(sigev, shown_in_proc)
{
	int id = create(self->q.fd, 1);
	char line[128];
	bool shown = false;
	FILE *f;

	ASSERT_LE(0, id);
	f = fopen("/proc/self/timers", "r");
	if (!f)
		SKIP(return, "/proc/self/timers is not there");
	while (fgets(line, sizeof(line), f)) {
		if (!strncmp(line, "notify: kevent/pid.", 19))
			shown = true;
	}
	fclose(f);
	EXPECT_TRUE(shown);
	EXPECT_EQ(0, destroy(id));
}

FIXTURE(mq)
{
	struct queue q;
	int mq;
};

FIXTURE_VARIANT(mq)
{
	unsigned int entries;
	bool copy;
};

FIXTURE_VARIANT_ADD(mq, ring)
{
	.entries = ENTRIES,
};

FIXTURE_VARIANT_ADD(mq, copied)
{
	.entries = ENTRIES,
	.copy = true,
};

FIXTURE_VARIANT_ADD(mq, no_ring)
{
	.copy = true,
};

#define MQ	"kevent_test"

FIXTURE_SETUP(mq)
{
	ASSERT_LE(0, queue_open(&self->q, variant->entries));
	self->mq = mq_new(MQ);
	if (self->mq == -ENOSYS)
		SKIP(return, "this kernel has no message queues");
	ASSERT_LE(0, self->mq);
}

FIXTURE_TEARDOWN(mq)
{
	queue_close(&self->q);
	close(self->mq);
	syscall(__NR_mq_unlink, MQ);
}

TEST_F(mq, message)
{
	ASSERT_EQ(0, mq_report(self->mq, self->q.fd, ~0UL));
	EXPECT_EMPTY(Q, COPY);
	ASSERT_EQ(0, mq_put(self->mq));
	EXPECT_MESSAGE(~0UL);
	/* That was all that was asked for. */
	ASSERT_EQ(1, mq_get(self->mq));
	ASSERT_EQ(0, mq_put(self->mq));
	EXPECT_EMPTY(Q, COPY);
	/* Reported when there is one after there was none. */
	ASSERT_EQ(0, mq_report(self->mq, self->q.fd, 2));
	ASSERT_EQ(0, mq_put(self->mq));
	EXPECT_EMPTY(Q, COPY);
	ASSERT_EQ(1, mq_get(self->mq));
	ASSERT_EQ(1, mq_get(self->mq));
	ASSERT_EQ(0, mq_put(self->mq));
	EXPECT_MESSAGE(2);
	EXPECT_EMPTY(Q, COPY);
}

TEST_F(mq, wakes_a_thread)
{
	struct waiter waiter;

	ASSERT_EQ(0, waiter_start(&waiter, self->q.fd, 0, 1));
	ASSERT_TRUE(sleeper_asleep(&waiter.sleeper));
	ASSERT_EQ(0, mq_report(self->mq, self->q.fd, 1));
	ASSERT_EQ(0, mq_put(self->mq));
	EXPECT_EQ(1, sleeper_join(&waiter.sleeper));
	EXPECT_MESSAGE(1);
}

TEST_F(mq, no_poller_any_more)
{
	ASSERT_EQ(0, mq_report(self->mq, self->q.fd, 1));
	EXPECT_EQ(-EBUSY, mq_report(self->mq, self->q.fd, 2));
	ASSERT_EQ(0, mq_report_ended(self->mq));
	ASSERT_EQ(0, mq_put(self->mq));
	ASSERT_EQ(1, mq_get(self->mq));
	EXPECT_EMPTY(Q, COPY);
	ASSERT_EQ(0, mq_report(self->mq, self->q.fd, 3));
	close(self->mq);
	self->mq = mq_new(MQ);
	ASSERT_EQ(0, mq_put(self->mq));
	ASSERT_EQ(1, mq_get(self->mq));
	EXPECT_EMPTY(Q, COPY);
	ASSERT_EQ(0, mq_report(self->mq, self->q.fd, 4));
	ASSERT_EQ(0, mq_put(self->mq));
	EXPECT_MESSAGE(4);
}

TEST_F(mq, refused)
{
	struct sigevent ev = sigev(self->q.fd, 1);
	int sealed = sealed_queue(1 << KEVENT_SOURCE_USER), file = new_file();

	ASSERT_LE(0, sealed);
	EXPECT_EQ(-EBADF, mq_report(self->mq, -1, 1));
	EXPECT_EQ(-EINVAL, mq_report(self->mq, file, 1));
	EXPECT_EQ(-EPERM, mq_report(self->mq, sealed, 1));
	EXPECT_EQ(-EBADF, mq_report(-1, self->q.fd, 1));
	EXPECT_EQ(-EBADF, mq_report(file, self->q.fd, 1));
	ev.sigev_notify = 99;
	EXPECT_EQ(-1, syscall(__NR_mq_notify, self->mq, &ev));
	EXPECT_EQ(EINVAL, errno);
	/* None of them has registered anything. */
	ASSERT_EQ(0, mq_put(self->mq));
	ASSERT_EQ(1, mq_get(self->mq));
	EXPECT_EMPTY(Q, COPY);
	ASSERT_EQ(0, mq_report(self->mq, self->q.fd, 1));
	close(sealed);
	close(file);
}

TEST_F(mq, overflow)
{
	int i;

	for (i = 0; i < 1000; i++) {
		ASSERT_EQ(0, mq_report(self->mq, self->q.fd, i));
		ASSERT_EQ(0, mq_put(self->mq));
		ASSERT_EQ(1, mq_get(self->mq));
	}
	for (i = 0; i < 1000; i++)
		EXPECT_MESSAGE(i);
	EXPECT_EMPTY(Q, COPY);
}

TEST_F(mq, queue_closed)
{
	struct queue q;
	int i;

	for (i = 0; i < 100; i++) {
		ASSERT_LE(0, queue_open(&q, variant->entries));
		ASSERT_EQ(0, mq_report(self->mq, q.fd, 1));
		queue_close(&q);
		if (i % 2) {
			ASSERT_EQ(0, mq_put(self->mq));
			ASSERT_EQ(1, mq_get(self->mq));
		} else {
			ASSERT_EQ(0, mq_report_ended(self->mq));
		}
	}
	EXPECT_EMPTY(Q, COPY);
}

#ifdef __x86_64__
/* The calls of a 32-bit program. */
static int call32(int nr, unsigned long a, unsigned long b, unsigned long c)
{
	int ret;

	__asm__ volatile("int $0x80" : "=a" (ret)
			 : "a" (nr), "b" (a), "c" (b), "d" (c), "S" (0)
			 : "memory", "r8", "r9", "r10", "r11");
	return ret;
}

/* In the child: 0 if it did what was expected. */
static int sigev32(struct queue *q, int mq)
{
	struct {
		struct {
			__u32 value;
			__s32 signo, notify, fd;
			__u32 pad[12];
		} ev;
		__s32 id;
		__s64 its[4];
	} *mem;
	struct kevent_event got;

	mem = mmap(NULL, 4096, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
	if (mem == MAP_FAILED)
		return 1;
	mem->ev.value = 0xfedcba98;
	mem->ev.notify = SIGEV_KEVENT;
	mem->ev.fd = q->fd;
	if (call32(259, CLOCK_MONOTONIC, (unsigned long)&mem->ev,
		   (unsigned long)&mem->id))
		return 2;
	mem->its[3] = 1;
	if (call32(409, mem->id, 0, (unsigned long)mem->its))
		return 3;
	if (kevent_get_events(q->fd, 1, 1, NULL, &got, 0) != 1 ||
	    got.user_data != 0xfedcba98 || got.extra != mem->id)
		return 4;
	if (call32(281, mq, (unsigned long)&mem->ev, 0) || mq_put(mq))
		return 5;
	if (kevent_get_events(q->fd, 1, 1, NULL, &got, 0) != 1 ||
	    got.user_data != 0xfedcba98 || got.events != KEVENT_SIGEV_MESSAGE)
		return 6;
	return 0;
}

TEST_F(mq, program_of_32_bits)
{
	pid_t pid = fork();
	int status;

	ASSERT_LE(0, pid);
	if (!pid) {
		struct queue own;

		if (queue_open(&own, variant->entries) < 0)
			_exit(9);
		_exit(sigev32(&own, self->mq));
	}
	status = child_status(pid);
	if (status == -SIGSEGV)
		SKIP(return, "this kernel has no 32-bit programs");
	EXPECT_EQ(0, status);
}
#endif

/*
 * Races.
 */
#define LONG	100	/* seconds, for machines with fewer processors than threads */

/*
 * One thread makes and deletes timers that expire at once, into a ring that is
 * mostly full; another consumes. After timer_delete() has returned none consumes an
 * event of that timer.
 */
struct taker {
	pthread_t thread;
	struct queue *q;
	bool copy;
	__u64 deleted;	/* all up to this one have been */
	int stop;
	int wrong;
};

static void *taker_main(void *arg)
{
	struct taker *t = arg;
	struct kevent_event ev;
	__u64 deleted;

	while (!__atomic_load_n(&t->stop, __ATOMIC_ACQUIRE)) {
		deleted = __atomic_load_n(&t->deleted, __ATOMIC_ACQUIRE);
		if (!take_now(t->q, t->copy, &ev))
			continue;
		if (KEVENT_INFO_SOURCE(ev.info) == KEVENT_SOURCE_SIGEV &&
		    ev.user_data <= deleted)
			t->wrong++;
	}
	return NULL;
}

TEST_F_TIMEOUT(sigev, deleted_is_never_taken, LONG)
{
	struct taker t = { .q = Q, .copy = COPY };
	unsigned int seed = 1;
	int i, id;

	ASSERT_EQ(0, pthread_create(&t.thread, NULL, taker_main, &t));
	for (i = 1; i <= 5000; i++) {
		seq_post(self->q.fd, i, i % 4, KEVENT_POST_DEFER);
		id = create(self->q.fd, i);
		ASSERT_LE(0, id);
		ASSERT_EQ(0, set(id, 1, i % 2 * 10 * USEC));
		dawdle(&seed, 3000);
		if (i % 3 == 0)
			ASSERT_EQ(0, set(id, 1, i % 2 * 15 * USEC));
		ASSERT_EQ(0, destroy(id));
		__atomic_store_n(&t.deleted, i, __ATOMIC_RELEASE);
	}
	__atomic_store_n(&t.stop, 1, __ATOMIC_RELEASE);
	pthread_join(t.thread, NULL);
	EXPECT_EQ(0, t.wrong);
	EXPECT_EQ(0, nr_watches(self->q.fd));
}

struct setter {
	pthread_t thread;
	int id, done, wrong;
};

static void *setter_main(void *arg)
{
	struct setter *s = arg;
	unsigned int seed = 1;
	int i;

	for (i = 0; i < 5000; i++) {
		if (set(s->id, i % 5 * 3 * USEC, 10 * USEC + i % 3 * 5 * USEC))
			s->wrong++;
		dawdle(&seed, 10000);
		if (remaining(s->id) < 0 || overrun(s->id) < 0)
			s->wrong++;
	}
	if (set(s->id, 1, 100 * USEC))
		s->wrong++;
	__atomic_store_n(&s->done, 1, __ATOMIC_RELEASE);
	return NULL;
}

/* Whatever it was set to in the meantime, in the end it runs. */
TEST_F_TIMEOUT(sigev, set_while_it_expires, LONG)
{
	struct setter s = { .id = create(self->q.fd, 1) };
	struct kevent_event ev;
	int i;

	ASSERT_LE(0, s.id);
	ASSERT_EQ(0, pthread_create(&s.thread, NULL, setter_main, &s));
	while (!__atomic_load_n(&s.done, __ATOMIC_ACQUIRE)) {
		if (!take_now(Q, COPY, &ev))
			continue;
		ASSERT_LT(0, ev.data);
		ASSERT_EQ(1, ev.user_data);
	}
	pthread_join(s.thread, NULL);
	EXPECT_EQ(0, s.wrong);
	for (i = 0; i < 20; i++) {
		ASSERT_EQ(1, take_next(Q, COPY, &ev));
		ASSERT_LT(0, ev.data);
	}
	EXPECT_EQ(0, destroy(s.id));
	EXPECT_EMPTY(Q, COPY);
}

/* What expired is reported, to the last one, while it is taken at full speed. */
TEST_F_TIMEOUT(sigev, taken_while_it_expires, LONG)
{
	struct kevent_event ev;
	struct tally t;
	int i;

	ASSERT_EQ(0, tally_start(&t, self->q.fd, 1, 20 * USEC));
	for (i = 0; i < 5000; i++) {
		ASSERT_EQ(1, spin_next(Q, COPY, &ev));
		ASSERT_TRUE(tally_add(&t, &ev));
	}
	EXPECT_STOPPED(&t);
	EXPECT_EQ(0, destroy(t.id));
}

struct closing {
	unsigned int seed;
	struct queue q;
	__u64 handle;
	int id;
};

static void close_side(void *arg)
{
	struct closing *c = arg;

	dawdle(&c->seed, 5000);
	queue_close(&c->q);
}

TEST_F_TIMEOUT(sigev, queue_closed_while_it_expires, LONG)
{
	struct closing c = { .seed = 1 };
	struct racer racer;
	unsigned int seed = 2;
	int i;

	ASSERT_EQ(0, racer_start(&racer, close_side, &c));
	for (i = 0; i < 1000; i++) {
		ASSERT_LE(0, queue_open(&c.q, variant->entries));
		c.id = create(c.q.fd, 1);
		ASSERT_LE(0, c.id);
		ASSERT_EQ(0, set(c.id, 1, 10 * USEC));
		racer_go(&racer);
		dawdle(&seed, 5000);
		if (i % 2)
			racer_wait(&racer);
		ASSERT_EQ(0, destroy(c.id));
		racer_wait(&racer);
	}
	racer_stop(&racer);
}

static void remove_side(void *arg)
{
	struct closing *c = arg;

	dawdle(&c->seed, 5000);
	remove_one(&c->q, c->handle);
}

TEST_F_TIMEOUT(sigev, watch_removed_while_the_timer_is_deleted, LONG)
{
	struct closing c = { .seed = 1, .q = self->q };
	struct racer racer;
	unsigned int seed = 2;
	int i;

	ASSERT_EQ(0, racer_start(&racer, remove_side, &c));
	for (i = 0; i < 1000; i++) {
		c.id = create(self->q.fd, i);
		ASSERT_LE(0, c.id);
		c.handle = only_handle(self->q.fd, c.id);
		ASSERT_NE(0, c.handle);
		ASSERT_EQ(0, set(c.id, 1, 10 * USEC));
		racer_go(&racer);
		dawdle(&seed, 5000);
		ASSERT_EQ(0, destroy(c.id));
		racer_wait(&racer);
		EXPECT_EMPTY(Q, COPY);
		ASSERT_EQ(0, nr_watches(self->q.fd));
	}
	racer_stop(&racer);
}

struct sending {
	unsigned int seed;
	int mq;
};

static void send_side(void *arg)
{
	struct sending *s = arg;

	dawdle(&s->seed, 2000);
	mq_put(s->mq);
}

/* Reported or not, but not after it was called off, and not twice. */
TEST_F_TIMEOUT(mq, called_off_while_a_message_comes, LONG)
{
	struct sending s = { .seed = 1, .mq = self->mq };
	struct kevent_event ev;
	struct racer racer;
	unsigned int seed = 2;
	int i, reported = 0, nr;

	ASSERT_EQ(0, racer_start(&racer, send_side, &s));
	for (i = 0; i < 3000; i++) {
		ASSERT_EQ(0, mq_report(self->mq, self->q.fd, i));
		racer_go(&racer);
		dawdle(&seed, 2000);
		ASSERT_EQ(0, mq_report_ended(self->mq));
		nr = take_now(Q, COPY, &ev);
		if (nr)
			ASSERT_EQ(i, ev.user_data);
		reported += nr;
		racer_wait(&racer);
		ASSERT_EQ(1, mq_get(self->mq));
		EXPECT_EMPTY(Q, COPY);
	}
	racer_stop(&racer);
	TH_LOG("reported %d of %d", reported, i);
}

TEST_F_TIMEOUT(mq, queue_closed_while_a_message_comes, LONG)
{
	struct sending s = { .seed = 1, .mq = self->mq };
	struct racer racer;
	unsigned int seed = 2;
	struct queue q;
	int i;

	ASSERT_EQ(0, racer_start(&racer, send_side, &s));
	for (i = 0; i < 1000; i++) {
		ASSERT_LE(0, queue_open(&q, variant->entries));
		ASSERT_EQ(0, mq_report(self->mq, q.fd, i));
		racer_go(&racer);
		dawdle(&seed, 2000);
		queue_close(&q);
		racer_wait(&racer);
		ASSERT_EQ(1, mq_get(self->mq));
	}
	racer_stop(&racer);
}

TEST_HARNESS_MAIN
