// SPDX-License-Identifier: GPL-2.0
/*
 * kevent_wait(): what it refuses, when it sleeps, for how long, and who wakes.
 */
#include "kevent_test.h"

#define ENTRIES	64

/* A signal mask in the kernel's form, and its size there. */
struct mask {
	unsigned long bits[16 / sizeof(long)];
};

#define MASK_SIZE	(_NSIG / 8)

static struct mask mask_of(int sig)
{
	struct mask mask = {};

	if (sig)
		mask.bits[0] = 1UL << (sig - 1);
	return mask;
}

FIXTURE(wait)
{
	struct queue q;
	struct kevent_wait args;
	struct __kernel_timespec ts;
};

FIXTURE_SETUP(wait)
{
	ASSERT_LE(0, queue_open_shared(&self->q, ENTRIES));
	self->args.clockid = CLOCK_MONOTONIC;
	self->args.min_nr = 1;
	self->args.timeout = (unsigned long)&self->ts;
}

FIXTURE_TEARDOWN(wait)
{
	queue_close(&self->q);
}

/* With the arguments of the fixture: one event from 0 on, do not sleep. */
#define wait_args()							\
	kevent_wait(self->q.fd, &self->args, sizeof(self->args))

/*
 * Arguments.
 */
TEST_F(wait, unknown_flags)
{
	int bit;

	for (bit = 0; bit < 32; bit++) {
		self->args.flags = 1U << bit;
		if (self->args.flags == KEVENT_WAIT_ABSTIME)
			continue;
		/* WAKE_NEXT is for calls that do not wait. */
		EXPECT_EQ(-EINVAL, wait_args()) {
			TH_LOG("flag bit %d", bit);
		}
	}
}

TEST_F(wait, reserved_field_must_be_zero)
{
	int bit;

	for (bit = 0; bit < 32; bit++) {
		self->args.__resv = 1U << bit;
		EXPECT_EQ(-EINVAL, wait_args());
	}
}

TEST_F(wait, clocks)
{
	int id;

	for (id = -8; id < 20; id++) {
		self->args.clockid = id;
		if (id == CLOCK_MONOTONIC || id == CLOCK_REALTIME ||
		    id == CLOCK_BOOTTIME) {
			EXPECT_EQ(0, wait_args());
		} else {
			EXPECT_EQ(-EINVAL, wait_args()) {
				TH_LOG("clock %d", id);
			}
		}
	}
	self->args.clockid = INT_MAX;
	EXPECT_EQ(-EINVAL, wait_args());
	self->args.clockid = INT_MIN;
	EXPECT_EQ(-EINVAL, wait_args());
}

TEST_F(wait, more_than_the_ring_can_hold)
{
	self->args.min_nr = ENTRIES;
	EXPECT_EQ(0, wait_args());
	self->args.min_nr = ENTRIES + 1;
	EXPECT_EQ(-EINVAL, wait_args());
	self->args.min_nr = INT_MAX;
	EXPECT_EQ(-EINVAL, wait_args());
	self->args.min_nr = UINT_MAX;
	EXPECT_EQ(-EINVAL, wait_args());
}

TEST_F(wait, size_of_arguments)
{
	long page = sysconf(_SC_PAGESIZE);
	char *buf = calloc(2, page);
	int fd = self->q.fd;
	size_t size;

	ASSERT_NE(NULL, buf);
	memcpy(buf, &self->args, sizeof(self->args));
	for (size = 0; size < KEVENT_WAIT_SIZE_VER0; size++)
		EXPECT_EQ(-EINVAL, kevent_wait(fd, (void *)buf, size));
	for (; size <= page; size += 8)
		EXPECT_EQ(0, kevent_wait(fd, (void *)buf, size));
	EXPECT_EQ(-E2BIG, kevent_wait(fd, (void *)buf, page + 1));
	EXPECT_EQ(-E2BIG, kevent_wait(fd, (void *)buf, SIZE_MAX));

	buf[KEVENT_WAIT_SIZE_VER0] = 1;
	EXPECT_EQ(0, kevent_wait(fd, (void *)buf, KEVENT_WAIT_SIZE_VER0));
	EXPECT_EQ(-E2BIG, kevent_wait(fd, (void *)buf,
				      KEVENT_WAIT_SIZE_VER0 + 1));
	EXPECT_EQ(-E2BIG, kevent_wait(fd, (void *)buf, page));
	free(buf);
}

TEST_F(wait, unreadable_arguments)
{
	struct kevent_wait *end = guard_page();
	int fd = self->q.fd;

	ASSERT_NE(NULL, end);
	EXPECT_EQ(-EFAULT, kevent_wait(fd, NULL, sizeof(*end)));
	EXPECT_EQ(-EFAULT, kevent_wait(fd, (void *)-1L, sizeof(*end)));
	EXPECT_EQ(-EFAULT, kevent_wait(fd, end, sizeof(*end)));
	EXPECT_EQ(-EFAULT, kevent_wait(fd, (void *)((char *)end - 1),
				       sizeof(*end)));
	end[-1] = self->args;
	EXPECT_EQ(0, kevent_wait(fd, end - 1, sizeof(*end)));
	EXPECT_EQ(-EFAULT, kevent_wait(fd, end - 1, sizeof(*end) + 8));
}

TEST_F(wait, read_only_arguments)
{
	long page = sysconf(_SC_PAGESIZE);
	struct kevent_wait *args = mmap(NULL, page, PROT_READ | PROT_WRITE,
					MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	ASSERT_NE(MAP_FAILED, args);
	*args = self->args;
	ASSERT_EQ(0, mprotect(args, page, PROT_READ));
	EXPECT_EQ(0, kevent_wait(self->q.fd, args, sizeof(*args)));
}

TEST_F(wait, timespec_must_be_valid)
{
	static const struct __kernel_timespec bad[] = {
		{ .tv_sec = -1 },
		{ .tv_sec = INT64_MIN },
		{ .tv_nsec = -1 },
		{ .tv_nsec = 1000000000 },
		{ .tv_nsec = INT64_MAX },
		{ .tv_sec = 1, .tv_nsec = -1000000000 },
	};
	size_t i;

	for (i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		self->ts = bad[i];
		self->args.flags = 0;
		EXPECT_EQ(-EINVAL, wait_args());
		self->args.flags = KEVENT_WAIT_ABSTIME;
		EXPECT_EQ(-EINVAL, wait_args());
	}
}

TEST_F(wait, unreadable_timespec)
{
	char *end = guard_page();

	ASSERT_NE(NULL, end);
	self->args.timeout = (unsigned long)end;
	EXPECT_EQ(-EFAULT, wait_args());
	self->args.timeout = (unsigned long)(end - 8);
	EXPECT_EQ(-EFAULT, wait_args());
	self->args.timeout = -1UL;
	EXPECT_EQ(-EFAULT, wait_args());
	self->args.timeout = 1;
	EXPECT_EQ(-EFAULT, wait_args());
}

TEST_F(wait, signal_mask_must_have_its_size)
{
	static const __u32 bad[] = {
		0, 1, 4, MASK_SIZE - 1, MASK_SIZE + 1, 2 * MASK_SIZE, 128,
		0xffffffff,
	};
	struct mask mask = mask_of(0);
	size_t i;

	self->args.sigmask = (unsigned long)&mask;
	for (i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		self->args.sigsetsize = bad[i];
		EXPECT_EQ(-EINVAL, wait_args()) {
			TH_LOG("sigsetsize %u", bad[i]);
		}
	}
	self->args.sigsetsize = MASK_SIZE;
	EXPECT_EQ(0, wait_args());

	self->args.sigmask = 0;
	EXPECT_EQ(-EINVAL, wait_args());
	self->args.sigsetsize = 1;
	EXPECT_EQ(-EINVAL, wait_args());
}

TEST_F(wait, unreadable_signal_mask)
{
	char *end = guard_page();

	ASSERT_NE(NULL, end);
	self->args.sigsetsize = MASK_SIZE;
	self->args.sigmask = (unsigned long)end;
	EXPECT_EQ(-EFAULT, wait_args());
	self->args.sigmask = (unsigned long)(end - 4);
	EXPECT_EQ(-EFAULT, wait_args());
	self->args.sigmask = 1;
	EXPECT_EQ(-EFAULT, wait_args());
}

/*
 * What is ready.
 */
TEST_F(wait, returns_how_many_are_ready)
{
	int i;

	for (i = 1; i <= 5; i++) {
		EXPECT_EQ(1, seq_post(self->q.fd, i, 1, 0));
		EXPECT_EQ(i, wait_args());
	}
	/* Also with no time limit at all. */
	self->args.timeout = 0;
	EXPECT_EQ(5, wait_args());
	self->args.min_nr = 5;
	EXPECT_EQ(5, wait_args());
}

TEST_F(wait, takes_nothing)
{
	struct kevent_event ev;

	EXPECT_EQ(1, seq_post(self->q.fd, 7, 1, 0));
	EXPECT_EQ(1, wait_args());
	EXPECT_EQ(1, wait_args());
	EXPECT_EQ(0, ring_cursor(&self->q));
	EXPECT_EQ(1, ring_take(&self->q, &ev));
	EXPECT_EQ(7, ev.user_data);
}

TEST_F(wait, min_nr_zero_never_sleeps)
{
	self->args.min_nr = 0;
	self->args.timeout = 0;
	EXPECT_EQ(0, wait_args());
	EXPECT_EQ(3, seq_post(self->q.fd, 0, 3, 0));
	EXPECT_EQ(3, wait_args());
	self->args.min_wait = 1000000 * MSEC;
	EXPECT_EQ(3, wait_args());
}

TEST_F(wait, timed_out_with_fewer_than_wanted)
{
	EXPECT_EQ(2, seq_post(self->q.fd, 0, 2, 0));
	self->args.min_nr = 3;
	EXPECT_EQ(2, wait_args());
	self->ts.tv_nsec = 5 * MSEC;
	EXPECT_EQ(2, wait_args());
}

TEST_F(wait, counts_from_the_index_seen)
{
	EXPECT_EQ(5, seq_post(self->q.fd, 0, 5, 0));
	for (self->args.seen = 0; self->args.seen < 5; self->args.seen++)
		EXPECT_EQ(5 - self->args.seen, wait_args());
	EXPECT_EQ(0, wait_args());
	self->ts.tv_nsec = MSEC;
	EXPECT_EQ(0, wait_args());
}

/* It came after the program had looked and before it could sleep. */
TEST_F(wait, event_after_the_look_does_not_let_sleep)
{
	struct kevent_event ev;
	int i;

	self->args.timeout = 0;
	for (i = 0; i < 3 * ENTRIES; i++) {
		self->args.seen = ring_cursor(&self->q);
		ASSERT_EQ(0, ring_take(&self->q, &ev));
		ASSERT_EQ(1, seq_post(self->q.fd, i, 1, 0));
		ASSERT_EQ(1, wait_args());
		ASSERT_EQ(1, ring_take(&self->q, &ev));
	}
}

/* The same, but another thread has taken it by then: nothing is there. */
TEST_F(wait, event_taken_by_another_is_not_there)
{
	struct kevent_event ev;
	int i;

	for (i = 0; i < 3 * ENTRIES; i++) {
		self->args.seen = ring_cursor(&self->q);
		ASSERT_EQ(1, seq_post(self->q.fd, i, 1, 0));
		ASSERT_EQ(1, ring_take(&self->q, &ev));
		ASSERT_EQ(0, wait_args());
		ASSERT_EQ(1, seq_post(self->q.fd, i, 1, 0));
		ASSERT_EQ(1, wait_args());
		ASSERT_EQ(1, ring_take(&self->q, &ev));
	}
}

/* What it gives for such an index is open; that it gives something is not. */
TEST_F(wait, absurd_index_is_harmless)
{
	static const __u32 far[] = {
		1, ENTRIES - 1, ENTRIES, ENTRIES + 1, 0x7fffffff, 0x80000000,
		0x80000001, -(ENTRIES + 1), -ENTRIES, -1,
	};
	struct kevent_event ev;
	size_t i;
	int j;

	EXPECT_EQ(3, seq_post(self->q.fd, 0, 3, 0));
	for (i = 0; i < sizeof(far) / sizeof(*far); i++) {
		self->args.seen = 3 + far[i];
		self->args.min_nr = 1;
		EXPECT_LE(0, wait_args());
		self->args.min_nr = ENTRIES;
		EXPECT_LE(0, wait_args());
		self->ts.tv_nsec = MSEC;
		EXPECT_LE(0, wait_args());
		self->ts.tv_nsec = 0;
	}
	for (j = 0; j < 3; j++) {
		EXPECT_EQ(1, ring_take(&self->q, &ev));
		EXPECT_EQ(j, ev.user_data);
	}
}

TEST_F(wait, far_behind_does_not_let_sleep)
{
	struct kevent_event ev;
	int i;

	for (i = 0; i < 2 * ENTRIES; i++) {
		ASSERT_EQ(1, seq_post(self->q.fd, i, 1, 0));
		ASSERT_EQ(1, ring_take(&self->q, &ev));
	}
	ASSERT_EQ(3, seq_post(self->q.fd, i, 3, 0));
	self->args.timeout = 0;
	for (i = 0; i <= 2 * ENTRIES; i++) {
		self->args.seen = i;
		ASSERT_EQ(3, wait_args());
	}
}

TEST(without_ring_counts_what_is_pending)
{
	struct __kernel_timespec ts = {};
	struct kevent_wait args = {
		.clockid = CLOCK_MONOTONIC,
		.min_nr = 1,
		.timeout = (unsigned long)&ts,
	};
	struct kevent_event ev;
	struct queue q;

	ASSERT_LE(0, queue_open(&q, 0));
	EXPECT_EQ(0, kevent_wait(q.fd, &args, sizeof(args)));
	EXPECT_EQ(3, seq_post(q.fd, 0, 3, 0));
	EXPECT_EQ(3, kevent_wait(q.fd, &args, sizeof(args)));
	args.seen = 2;
	EXPECT_EQ(3, kevent_wait(q.fd, &args, sizeof(args)));
	args.seen = 0x80000000;
	EXPECT_EQ(3, kevent_wait(q.fd, &args, sizeof(args)));
	args.min_nr = 3;
	EXPECT_EQ(3, kevent_wait(q.fd, &args, sizeof(args)));
	EXPECT_EQ(1, kevent_get_events(q.fd, 1, 1, NULL, &ev, 0));
	EXPECT_EQ(2, kevent_wait(q.fd, &args, sizeof(args)));
	EXPECT_EQ(2, queue_drain(&q));
	EXPECT_EQ(0, kevent_wait(q.fd, &args, sizeof(args)));
	queue_close(&q);
}

/*
 * Time. Being late is no failure, being early is.
 */
FIXTURE(timeout)
{
	struct queue q;
	struct kevent_wait args;
	struct __kernel_timespec ts;
};

FIXTURE_VARIANT(timeout)
{
	clockid_t clock;
};

FIXTURE_VARIANT_ADD(timeout, monotonic)
{
	.clock = CLOCK_MONOTONIC,
};

FIXTURE_VARIANT_ADD(timeout, realtime)
{
	.clock = CLOCK_REALTIME,
};

FIXTURE_VARIANT_ADD(timeout, boottime)
{
	.clock = CLOCK_BOOTTIME,
};

FIXTURE_SETUP(timeout)
{
	ASSERT_LE(0, queue_open_shared(&self->q, ENTRIES));
	self->args.clockid = variant->clock;
	self->args.min_nr = 1;
	self->args.timeout = (unsigned long)&self->ts;
}

FIXTURE_TEARDOWN(timeout)
{
	queue_close(&self->q);
}

TEST_F(timeout, zero)
{
	EXPECT_EQ(0, wait_args());
}

TEST_F(timeout, relative)
{
	__u64 start = now_ns(CLOCK_MONOTONIC);

	self->ts.tv_nsec = 20 * MSEC;
	EXPECT_EQ(0, wait_args());
	EXPECT_LE(start + 20 * MSEC, now_ns(CLOCK_MONOTONIC));
}

TEST_F(timeout, relative_is_not_touched)
{
	self->ts.tv_nsec = 5 * MSEC;
	EXPECT_EQ(0, wait_args());
	EXPECT_EQ(0, self->ts.tv_sec);
	EXPECT_EQ(5 * MSEC, self->ts.tv_nsec);
}

TEST_F(timeout, absolute)
{
	__u64 end = now_ns(variant->clock) + 20 * MSEC;

	self->args.flags = KEVENT_WAIT_ABSTIME;
	self->ts = ns_to_ts(end);
	EXPECT_EQ(0, wait_args());
	EXPECT_LE(end, now_ns(variant->clock));
}

TEST_F(timeout, absolute_in_the_past)
{
	self->args.flags = KEVENT_WAIT_ABSTIME;
	EXPECT_EQ(0, wait_args());
	self->ts.tv_nsec = 1;
	EXPECT_EQ(0, wait_args());
	self->ts = ns_to_ts(now_ns(variant->clock) - 1);
	EXPECT_EQ(0, wait_args());
	EXPECT_EQ(2, seq_post(self->q.fd, 0, 2, 0));
	EXPECT_EQ(2, wait_args());
}

/* It is over before the window begins, however long ago that was. */
TEST_F(timeout, absolute_in_the_past_and_a_window)
{
	static const __u64 windows[] = {
		1, 1000, 1000000 * MSEC, 1ULL << 63, ~0ULL,
	};
	size_t i;

	self->args.flags = KEVENT_WAIT_ABSTIME;
	for (i = 0; i < sizeof(windows) / sizeof(*windows); i++) {
		self->args.min_wait = windows[i];
		self->ts = ns_to_ts(1000000000);
		EXPECT_EQ(0, wait_args());
		self->ts = ns_to_ts(1);
		EXPECT_EQ(0, wait_args());
		self->ts = ns_to_ts(0);
		EXPECT_EQ(0, wait_args());
	}
}

/* No number of seconds is so large that it turns into a small one. */
TEST_F(timeout, far_future)
{
	static const __s64 secs[] = {
		INT_MAX, UINT_MAX, INT64_MAX / 1000000000,
		INT64_MAX / 1000000000 + 1, INT64_MAX,
	};
	size_t i;

	for (i = 0; i < sizeof(secs) / sizeof(*secs); i++) {
		struct waiter w;
		int flags;

		for (flags = 0; flags <= 1; flags++) {
			struct __kernel_timespec ts = {
				.tv_sec = secs[i],
				.tv_nsec = 999999999,
			};

			memset(&w, 0, sizeof(w));
			w.fd = self->q.fd;
			w.args = self->args;
			w.args.flags = flags ? KEVENT_WAIT_ABSTIME : 0;
			w.args.timeout = (unsigned long)&ts;
			w.args.seen = ring_cursor(&self->q);
			ASSERT_EQ(0, sleeper_start(&w.sleeper, waiter_call,
						   &w));
			EXPECT_TRUE(sleeper_asleep(&w.sleeper)) {
				TH_LOG("%lld seconds", (long long)secs[i]);
			}
			EXPECT_EQ(1, seq_post(self->q.fd, i, 1, 0));
			EXPECT_EQ(1, sleeper_join(&w.sleeper));
			EXPECT_EQ(1, queue_drain(&self->q));
		}
	}
}

/*
 * The window in which to wait for more.
 */
TEST_F(wait, window_then_one_is_enough)
{
	__u64 start = now_ns(CLOCK_MONOTONIC);

	EXPECT_EQ(1, seq_post(self->q.fd, 0, 1, 0));
	self->args.timeout = 0;
	self->args.min_nr = 2;
	self->args.min_wait = 20 * MSEC;
	EXPECT_EQ(1, wait_args());
	EXPECT_LE(start + 20 * MSEC, now_ns(CLOCK_MONOTONIC));
}

TEST_F(wait, window_ends_early_with_all_there)
{
	struct waiter w;

	memset(&w, 0, sizeof(w));
	w.fd = self->q.fd;
	w.args = self->args;
	w.args.timeout = 0;
	w.args.min_nr = 3;
	w.args.min_wait = 1000000 * MSEC;
	ASSERT_EQ(0, sleeper_start(&w.sleeper, waiter_call, &w));
	EXPECT_TRUE(sleeper_asleep(&w.sleeper));
	EXPECT_EQ(2, seq_post(self->q.fd, 0, 2, 0));
	EXPECT_TRUE(sleeper_asleep(&w.sleeper));
	EXPECT_EQ(1, seq_post(self->q.fd, 2, 1, 0));
	EXPECT_EQ(3, sleeper_join(&w.sleeper));
}

TEST_F(wait, window_over_and_nothing_there)
{
	struct waiter w;

	memset(&w, 0, sizeof(w));
	w.fd = self->q.fd;
	w.args = self->args;
	w.args.timeout = 0;
	w.args.min_nr = 3;
	w.args.min_wait = MSEC;
	ASSERT_EQ(0, sleeper_start(&w.sleeper, waiter_call, &w));
	usleep(10000);
	EXPECT_TRUE(sleeper_asleep(&w.sleeper));
	EXPECT_EQ(1, seq_post(self->q.fd, 0, 1, 0));
	EXPECT_EQ(1, sleeper_join(&w.sleeper));
}

TEST_F(wait, timeout_ends_the_window)
{
	self->args.min_nr = 2;
	self->args.min_wait = 1000000 * MSEC;
	EXPECT_EQ(0, wait_args());
	self->ts.tv_nsec = 5 * MSEC;
	EXPECT_EQ(0, wait_args());
	EXPECT_EQ(1, seq_post(self->q.fd, 0, 1, 0));
	EXPECT_EQ(1, wait_args());
}

TEST_F(wait, endless_window)
{
	EXPECT_EQ(1, seq_post(self->q.fd, 0, 1, 0));
	self->args.min_nr = 2;
	self->args.min_wait = ~0ULL;
	self->ts.tv_nsec = 5 * MSEC;
	EXPECT_EQ(1, wait_args());
	self->args.min_wait = 1ULL << 63;
	EXPECT_EQ(1, wait_args());
}

/*
 * Signals.
 */
static int caught;

static void on_signal(int sig)
{
	(void)sig;
	__atomic_add_fetch(&caught, 1, __ATOMIC_RELAXED);
}

static int catch_signal(int sig, int flags)
{
	struct sigaction sa = { .sa_handler = on_signal, .sa_flags = flags };

	return sigaction(sig, &sa, NULL);
}

static bool is_blocked(int sig)
{
	sigset_t set;

	pthread_sigmask(SIG_BLOCK, NULL, &set);
	return sigismember(&set, sig);
}

static void block(int sig)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, sig);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
}

TEST_F(wait, pending_signal_that_the_mask_lets_through)
{
	struct mask mask = mask_of(0);

	ASSERT_EQ(0, catch_signal(SIGUSR1, 0));
	block(SIGUSR1);
	ASSERT_EQ(0, raise(SIGUSR1));
	EXPECT_EQ(0, caught);
	self->args.timeout = 0;
	self->args.sigmask = (unsigned long)&mask;
	self->args.sigsetsize = MASK_SIZE;
	EXPECT_EQ(-EINTR, wait_args());
	EXPECT_EQ(1, caught);
	EXPECT_TRUE(is_blocked(SIGUSR1));
}

TEST_F(wait, pending_signal_that_the_mask_holds_back)
{
	struct mask mask = mask_of(SIGUSR1);

	ASSERT_EQ(0, catch_signal(SIGUSR1, 0));
	block(SIGUSR1);
	ASSERT_EQ(0, raise(SIGUSR1));
	self->args.sigmask = (unsigned long)&mask;
	self->args.sigsetsize = MASK_SIZE;
	EXPECT_EQ(0, wait_args());
	self->ts.tv_nsec = 10 * MSEC;
	EXPECT_EQ(0, wait_args());
	EXPECT_EQ(0, caught);
	EXPECT_TRUE(is_blocked(SIGUSR1));
}

TEST_F(wait, signal_held_back_until_the_call_ends)
{
	struct mask mask = mask_of(SIGUSR1);
	struct waiter w;

	ASSERT_EQ(0, catch_signal(SIGUSR1, 0));
	memset(&w, 0, sizeof(w));
	w.fd = self->q.fd;
	w.args = self->args;
	w.args.timeout = 0;
	w.args.sigmask = (unsigned long)&mask;
	w.args.sigsetsize = MASK_SIZE;
	ASSERT_EQ(0, sleeper_start(&w.sleeper, waiter_call, &w));
	EXPECT_TRUE(sleeper_asleep(&w.sleeper));
	pthread_kill(w.sleeper.thread, SIGUSR1);
	EXPECT_TRUE(sleeper_asleep(&w.sleeper));
	EXPECT_EQ(0, __atomic_load_n(&caught, __ATOMIC_RELAXED));
	EXPECT_EQ(1, seq_post(self->q.fd, 0, 1, 0));
	EXPECT_EQ(1, sleeper_join(&w.sleeper));
	EXPECT_EQ(1, caught);
}

/* Blocked but for the call: each signal ends one call, at whatever moment. */
#define SIGNALS	200

struct target {
	struct queue *q;
	int ended;
};

static int target_call(void *arg)
{
	struct mask mask = mask_of(0);
	struct target *t = arg;
	struct kevent_wait args = {
		.clockid = CLOCK_MONOTONIC,
		.min_nr = 1,
		.sigmask = (unsigned long)&mask,
		.sigsetsize = MASK_SIZE,
	};
	int i, ret;

	for (i = 0; i < SIGNALS; i++) {
		ret = kevent_wait(t->q->fd, &args, sizeof(args));
		if (ret != -EINTR ||
		    __atomic_load_n(&caught, __ATOMIC_RELAXED) != i + 1)
			return -1;
		__atomic_store_n(&t->ended, i + 1, __ATOMIC_RELEASE);
	}
	return 0;
}

TEST_F(wait, mask_is_swapped_atomically)
{
	struct target t = { .q = &self->q };
	struct sleeper s;
	int i;

	ASSERT_EQ(0, catch_signal(SIGUSR1, 0));
	block(SIGUSR1);
	ASSERT_EQ(0, sleeper_start(&s, target_call, &t));
	for (i = 0; i < SIGNALS; i++) {
		pthread_kill(s.thread, SIGUSR1);
		while (__atomic_load_n(&t.ended, __ATOMIC_ACQUIRE) == i &&
		       !sleeper_done(&s))
			sched_yield();
	}
	EXPECT_EQ(0, sleeper_join(&s));
}

TEST_F(wait, mask_cannot_hold_back_sigkill)
{
	int status, *tid;
	struct mask mask;
	pid_t pid;

	memset(&mask, 0xff, sizeof(mask));
	tid = mmap(NULL, 4096, PROT_READ | PROT_WRITE,
		   MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, tid);
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		self->args.timeout = 0;
		self->args.sigmask = (unsigned long)&mask;
		self->args.sigsetsize = MASK_SIZE;
		__atomic_store_n(&tid[0], getpid(), __ATOMIC_RELEASE);
		wait_args();
		_exit(1);
	}
	EXPECT_TRUE(task_asleep(&tid[0], &tid[1]));
	kill(pid, SIGKILL);
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_TRUE(WIFSIGNALED(status));
	EXPECT_EQ(SIGKILL, WTERMSIG(status));
}

TEST_F(wait, mask_is_restored_after_an_error)
{
	struct mask mask;

	memset(&mask, 0xff, sizeof(mask));
	self->args.sigmask = (unsigned long)&mask;
	self->args.sigsetsize = MASK_SIZE;
	EXPECT_EQ(0, wait_args());
	EXPECT_FALSE(is_blocked(SIGUSR1));
	self->ts.tv_nsec = -1;
	EXPECT_EQ(-EINVAL, wait_args());
	EXPECT_FALSE(is_blocked(SIGUSR1));
	self->args.timeout = 1;
	EXPECT_EQ(-EFAULT, wait_args());
	EXPECT_FALSE(is_blocked(SIGUSR1));
}

FIXTURE(interrupt)
{
	struct queue q;
};

FIXTURE_VARIANT(interrupt)
{
	int sa_flags;
};

FIXTURE_VARIANT_ADD(interrupt, plain)
{
	.sa_flags = 0,
};

FIXTURE_VARIANT_ADD(interrupt, restart)
{
	.sa_flags = SA_RESTART,
};

FIXTURE_SETUP(interrupt)
{
	ASSERT_LE(0, queue_open_shared(&self->q, ENTRIES));
}

FIXTURE_TEARDOWN(interrupt)
{
	queue_close(&self->q);
}

TEST_F(interrupt, is_never_restarted)
{
	struct __kernel_timespec ts = { .tv_sec = 1000000 };
	struct waiter w;
	int timed;

	ASSERT_EQ(0, catch_signal(SIGUSR1, variant->sa_flags));
	for (timed = 0; timed <= 1; timed++) {
		memset(&w, 0, sizeof(w));
		w.fd = self->q.fd;
		w.args.clockid = CLOCK_MONOTONIC;
		w.args.min_nr = 1;
		w.args.timeout = timed ? (unsigned long)&ts : 0;
		ASSERT_EQ(0, sleeper_start(&w.sleeper, waiter_call, &w));
		EXPECT_TRUE(sleeper_asleep(&w.sleeper));
		pthread_kill(w.sleeper.thread, SIGUSR1);
		EXPECT_EQ(-EINTR, sleeper_join(&w.sleeper));
		EXPECT_EQ(timed + 1, caught);
	}
}

TEST_F(interrupt, ready_event_wins)
{
	struct mask mask = mask_of(0);
	struct kevent_wait args = {
		.clockid = CLOCK_MONOTONIC,
		.min_nr = 1,
		.sigmask = (unsigned long)&mask,
		.sigsetsize = MASK_SIZE,
	};
	sigset_t set;

	ASSERT_EQ(0, catch_signal(SIGUSR1, variant->sa_flags));
	block(SIGUSR1);
	EXPECT_EQ(1, seq_post(self->q.fd, 0, 1, 0));
	ASSERT_EQ(0, raise(SIGUSR1));
	EXPECT_EQ(1, kevent_wait(self->q.fd, &args, sizeof(args)));

	/* The signal is not lost for that. */
	sigemptyset(&set);
	pthread_sigmask(SIG_SETMASK, &set, NULL);
	EXPECT_EQ(1, caught);
}

/* A signal without a handler is no reason to return. */
TEST_F(interrupt, ignored_signal_does_not)
{
	struct waiter w;

	signal(SIGUSR1, SIG_IGN);
	ASSERT_EQ(0, waiter_start(&w, self->q.fd, 0, 1));
	EXPECT_TRUE(sleeper_asleep(&w.sleeper));
	pthread_kill(w.sleeper.thread, SIGUSR1);
	EXPECT_TRUE(sleeper_asleep(&w.sleeper));
	EXPECT_EQ(1, seq_post(self->q.fd, 0, 1, 0));
	EXPECT_EQ(1, sleeper_join(&w.sleeper));
}

/*
 * Who wakes.
 */
#define WAITERS	4

/* Wake-ups of waiting threads, as the header counts them. */
static __u64 woken(struct queue *q)
{
	struct kevent_wait args = { .clockid = CLOCK_MONOTONIC };

	kevent_wait(q->fd, &args, sizeof(args));
	return q->ring->woken;
}

TEST_F(wait, event_wakes)
{
	struct waiter w;
	int i;

	for (i = 0; i < 20; i++) {
		ASSERT_EQ(0, waiter_start(&w, self->q.fd, i, 1));
		ASSERT_TRUE(sleeper_asleep(&w.sleeper));
		ASSERT_EQ(1, seq_post(self->q.fd, i, 1, 0));
		ASSERT_EQ(1, sleeper_join(&w.sleeper));
	}
	EXPECT_EQ(20, woken(&self->q));
}

TEST_F(wait, event_from_another_process_wakes)
{
	struct waiter w;
	int status;
	pid_t pid;

	ASSERT_EQ(0, waiter_start(&w, self->q.fd, 0, 1));
	ASSERT_TRUE(sleeper_asleep(&w.sleeper));
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid)
		_exit(seq_post(self->q.fd, 0, 1, 0));
	EXPECT_EQ(1, sleeper_join(&w.sleeper));
	EXPECT_EQ(pid, waitpid(pid, &status, 0));
}

TEST_F(wait, deferred_event_wakes)
{
	struct waiter w;

	ASSERT_EQ(0, waiter_start(&w, self->q.fd, 0, 1));
	ASSERT_TRUE(sleeper_asleep(&w.sleeper));
	ASSERT_EQ(1, seq_post(self->q.fd, 0, 1, KEVENT_POST_DEFER));
	ASSERT_EQ(1, sleeper_join(&w.sleeper));
}

TEST_F(wait, without_ring_event_wakes)
{
	struct waiter w;
	struct queue q;

	ASSERT_LE(0, queue_open(&q, 0));
	ASSERT_EQ(0, waiter_start(&w, q.fd, 0, 2));
	ASSERT_TRUE(sleeper_asleep(&w.sleeper));
	ASSERT_EQ(1, seq_post(q.fd, 0, 1, 0));
	ASSERT_TRUE(sleeper_asleep(&w.sleeper));
	ASSERT_EQ(1, seq_post(q.fd, 1, 1, 0));
	ASSERT_EQ(2, sleeper_join(&w.sleeper));
	queue_close(&q);
}

TEST_F(wait, wakes_when_there_are_enough)
{
	struct waiter w;

	ASSERT_EQ(0, waiter_start(&w, self->q.fd, 0, 3));
	EXPECT_TRUE(sleeper_asleep(&w.sleeper));
	EXPECT_EQ(1, seq_post(self->q.fd, 0, 1, 0));
	EXPECT_TRUE(sleeper_asleep(&w.sleeper));
	EXPECT_EQ(1, seq_post(self->q.fd, 1, 1, 0));
	EXPECT_TRUE(sleeper_asleep(&w.sleeper));
	EXPECT_EQ(1, seq_post(self->q.fd, 2, 1, 0));
	EXPECT_EQ(3, sleeper_join(&w.sleeper));
	EXPECT_EQ(1, woken(&self->q));
}

TEST_F(wait, no_waiter_no_wake_up)
{
	EXPECT_EQ(10, seq_post(self->q.fd, 0, 10, 0));
	EXPECT_EQ(0, woken(&self->q));
}

static int nr_done(struct waiter *w, int nr)
{
	int i, done = 0;

	for (i = 0; i < nr; i++)
		done += sleeper_done(&w[i].sleeper);
	return done;
}

/* The one that has waited longest goes first, and alone. */
TEST_F(wait, one_event_wakes_one_waiter)
{
	struct waiter w[WAITERS];
	int i, j;

	for (i = 0; i < WAITERS; i++) {
		ASSERT_EQ(0, waiter_start(&w[i], self->q.fd, 0, 1));
		ASSERT_TRUE(sleeper_asleep(&w[i].sleeper));
	}
	for (i = 0; i < WAITERS; i++) {
		ASSERT_EQ(1, seq_post(self->q.fd, i, 1, 0));
		EXPECT_LE(1, sleeper_join(&w[i].sleeper));
		for (j = i + 1; j < WAITERS; j++) {
			EXPECT_TRUE(sleeper_asleep(&w[j].sleeper)) {
				TH_LOG("event %d woke waiter %d", i, j);
			}
		}
		EXPECT_EQ(i + 1, woken(&self->q));
	}
}

TEST_F(wait, as_many_events_wake_as_many_waiters)
{
	struct waiter w[WAITERS];
	int i;

	for (i = 0; i < WAITERS; i++) {
		ASSERT_EQ(0, waiter_start(&w[i], self->q.fd, 0, 1));
		ASSERT_TRUE(sleeper_asleep(&w[i].sleeper));
	}
	ASSERT_EQ(WAITERS, seq_post(self->q.fd, 0, WAITERS, 0));
	for (i = 0; i < WAITERS; i++)
		EXPECT_LE(1, sleeper_join(&w[i].sleeper));
	EXPECT_EQ(WAITERS, woken(&self->q));
}

TEST_F(wait, fewer_events_wake_fewer_waiters)
{
	struct waiter w[WAITERS];
	int i, attempts;

	for (i = 0; i < WAITERS; i++) {
		ASSERT_EQ(0, waiter_start(&w[i], self->q.fd, 0, 1));
		ASSERT_TRUE(sleeper_asleep(&w[i].sleeper));
	}
	ASSERT_EQ(2, seq_post(self->q.fd, 0, 2, 0));
	for (attempts = 0; attempts < 20000; attempts++) {
		if (nr_done(w, WAITERS) >= 2)
			break;
		usleep(500);
	}
	for (i = 0; i < WAITERS; i++)
		sleeper_asleep(&w[i].sleeper);
	EXPECT_EQ(2, nr_done(w, WAITERS));
	EXPECT_EQ(2, woken(&self->q));
	ASSERT_EQ(2, seq_post(self->q.fd, 2, 2, 0));
	for (i = 0; i < WAITERS; i++)
		EXPECT_LE(1, sleeper_join(&w[i].sleeper));
}

TEST_F(wait, waiter_for_many_does_not_starve_waiter_for_one)
{
	struct waiter many, one;

	ASSERT_EQ(0, waiter_start(&many, self->q.fd, 0, 4));
	ASSERT_TRUE(sleeper_asleep(&many.sleeper));
	ASSERT_EQ(0, waiter_start(&one, self->q.fd, 0, 1));
	ASSERT_TRUE(sleeper_asleep(&one.sleeper));

	ASSERT_EQ(1, seq_post(self->q.fd, 0, 1, 0));
	EXPECT_EQ(1, sleeper_join(&one.sleeper));
	EXPECT_TRUE(sleeper_asleep(&many.sleeper));
	ASSERT_EQ(3, seq_post(self->q.fd, 1, 3, 0));
	EXPECT_EQ(4, sleeper_join(&many.sleeper));
}

TEST_F(wait, waiter_for_one_does_not_starve_waiter_for_many)
{
	struct waiter many, one;

	ASSERT_EQ(0, waiter_start(&one, self->q.fd, 0, 1));
	ASSERT_TRUE(sleeper_asleep(&one.sleeper));
	ASSERT_EQ(0, waiter_start(&many, self->q.fd, 0, 3));
	ASSERT_TRUE(sleeper_asleep(&many.sleeper));

	ASSERT_EQ(1, seq_post(self->q.fd, 0, 1, 0));
	EXPECT_EQ(1, sleeper_join(&one.sleeper));
	ASSERT_EQ(2, seq_post(self->q.fd, 1, 2, 0));
	EXPECT_EQ(3, sleeper_join(&many.sleeper));
}

/*
 * A producer does not ask all who wait, but has one of them ask the others: who
 * waits for one event gets it, wherever it stands among those who wait for more.
 */
#define MANY	40

TEST_F(wait, waiter_for_one_is_found_among_many)
{
	struct kevent_wait next = {
		.clockid = CLOCK_MONOTONIC,
		.flags = KEVENT_WAIT_WAKE_NEXT,
	};
	struct waiter many[MANY], one;
	int i;

	for (i = 0; i < MANY; i++) {
		if (i == MANY / 2)
			ASSERT_EQ(0, waiter_start(&one, self->q.fd, 0, 1));
		ASSERT_EQ(0, waiter_start(&many[i], self->q.fd, 0, ENTRIES));
		ASSERT_TRUE(sleeper_asleep(&many[i].sleeper));
	}
	ASSERT_TRUE(sleeper_asleep(&one.sleeper));
	for (i = 0; i < ENTRIES - 1; i++) {
		if (i) {
			ASSERT_EQ(0, waiter_start(&one, self->q.fd, i, 1));
			ASSERT_TRUE(sleeper_asleep(&one.sleeper));
		}
		ASSERT_EQ(1, seq_post(self->q.fd, i, 1, i % 2 ? KEVENT_POST_DEFER : 0));
		EXPECT_EQ(1, sleeper_join(&one.sleeper));
		EXPECT_EQ(0, nr_done(many, MANY));
	}

	/* There is enough for all, and each wake-up is for one of them. */
	ASSERT_EQ(1, seq_post(self->q.fd, i, 1, 0));
	for (i = 1; i < MANY; i++)
		ASSERT_EQ(ENTRIES, kevent_wait(self->q.fd, &next, sizeof(next)));
	for (i = 0; i < MANY; i++)
		EXPECT_EQ(ENTRIES, sleeper_join(&many[i].sleeper));
}

/*
 * A waiter that was chosen and does not come back with its event has to pass
 * the wake-up on, or the next one sleeps beside an event.
 *
 * Each round has two waiters; the second one has no time limit. When the first
 * one comes back with nothing, the second one must come back by itself.
 */
#define ROUNDS	30

static int settle(struct queue *q, struct waiter *first, struct waiter *second,
		  int nothing)
{
	int ret = sleeper_join(&first->sleeper);

	if (ret >= 1)
		seq_post(q->fd, 1, 1, 0);
	else if (ret != nothing)
		return -1;
	if (sleeper_join(&second->sleeper) < 1)
		return -1;
	queue_drain(q);
	return ret >= 1;
}

TEST_F(wait, waiter_that_times_out_passes_it_on)
{
	int i, ret, got = 0;

	for (i = 0; i < ROUNDS; i++) {
		__u32 seen = ring_cursor(&self->q);
		struct __kernel_timespec ts;
		struct waiter first, second;
		__u64 end;

		end = now_ns(CLOCK_MONOTONIC) + 20 * MSEC;
		ts = ns_to_ts(end);
		memset(&first, 0, sizeof(first));
		first.fd = self->q.fd;
		first.args = self->args;
		first.args.flags = KEVENT_WAIT_ABSTIME;
		first.args.timeout = (unsigned long)&ts;
		first.args.seen = seen;
		ASSERT_EQ(0, sleeper_start(&first.sleeper, waiter_call,
					   &first));
		sleeper_asleep(&first.sleeper);
		ASSERT_EQ(0, waiter_start(&second, self->q.fd, seen, 1));
		ASSERT_TRUE(sleeper_asleep(&second.sleeper));

		/* At about that time, a little earlier in each round. */
		while (now_ns(CLOCK_MONOTONIC) + i * MSEC / 20 <
		       end + MSEC / 2)
			;
		ASSERT_EQ(1, seq_post(self->q.fd, 0, 1, 0));
		ret = settle(&self->q, &first, &second, 0);
		ASSERT_LE(0, ret);
		got += ret;
	}
	TH_LOG("in %d of %d rounds the event was faster", got, ROUNDS);
}

TEST_F(wait, waiter_that_gets_a_signal_passes_it_on)
{
	int i, ret, got = 0;

	ASSERT_EQ(0, catch_signal(SIGUSR1, 0));
	for (i = 0; i < ROUNDS; i++) {
		__u32 seen = ring_cursor(&self->q);
		struct waiter first, second;

		ASSERT_EQ(0, waiter_start(&first, self->q.fd, seen, 1));
		ASSERT_TRUE(sleeper_asleep(&first.sleeper));
		ASSERT_EQ(0, waiter_start(&second, self->q.fd, seen, 1));
		ASSERT_TRUE(sleeper_asleep(&second.sleeper));
		if (i & 1)
			pthread_kill(first.sleeper.thread, SIGUSR1);
		ASSERT_EQ(1, seq_post(self->q.fd, 0, 1, 0));
		if (!(i & 1))
			pthread_kill(first.sleeper.thread, SIGUSR1);
		ret = settle(&self->q, &first, &second, -EINTR);
		ASSERT_LE(0, ret);
		got += ret;
	}
	TH_LOG("in %d of %d rounds the event was faster", got, ROUNDS);
}

/* The signal is there before the event, so this one never comes back. */
TEST_F(wait, waiter_that_is_killed_passes_it_on)
{
	struct waiter second;
	int i, *tid;
	pid_t pid;

	tid = mmap(NULL, 4096, PROT_READ | PROT_WRITE,
		   MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, tid);
	for (i = 0; i < ROUNDS; i++) {
		__u32 seen = ring_cursor(&self->q);

		tid[0] = 0;
		pid = fork();
		ASSERT_LE(0, pid);
		if (!pid) {
			self->args.timeout = 0;
			self->args.seen = seen;
			__atomic_store_n(tid, getpid(), __ATOMIC_RELEASE);
			wait_args();
			_exit(1);
		}
		ASSERT_TRUE(task_asleep(&tid[0], &tid[1]));
		ASSERT_EQ(0, waiter_start(&second, self->q.fd, seen, 1));
		ASSERT_TRUE(sleeper_asleep(&second.sleeper));
		ASSERT_EQ(0, kill(pid, SIGKILL));
		ASSERT_EQ(1, seq_post(self->q.fd, 0, 1, 0));
		ASSERT_EQ(1, sleeper_join(&second.sleeper));
		ASSERT_EQ(pid, waitpid(pid, NULL, 0));
		ASSERT_EQ(1, queue_drain(&self->q));
	}
}

/* Two threads that take turns: one lost wake-up and they sleep forever. */
struct player {
	struct queue *in, *out;
	unsigned int rounds;
};

static int player_call(void *arg)
{
	struct player *p = arg;
	struct kevent_event ev;
	unsigned int i;
	int ret;

	for (i = 0; i < p->rounds; i++) {
		while (!ring_take(p->in, &ev)) {
			struct kevent_wait args = {
				.clockid = CLOCK_MONOTONIC,
				.seen = ring_cursor(p->in),
				.min_nr = 1,
			};

			ret = kevent_wait(p->in->fd, &args, sizeof(args));
			if (ret < 1)
				return ret ? ret : -ETIME;
		}
		if (ev.user_data != i)
			return -EBADMSG;
		ret = seq_post(p->out->fd, i, 1, 0);
		if (ret != 1)
			return ret;
	}
	return 0;
}

TEST_F(wait, ping_pong_loses_no_wakeup)
{
	struct kevent_event ev;
	struct sleeper s;
	struct queue back;
	struct player p = { .in = &self->q, .out = &back, .rounds = 1000 };
	unsigned int i;

	ASSERT_LE(0, queue_open(&back, 2));
	ASSERT_EQ(0, sleeper_start(&s, player_call, &p));
	for (i = 0; i < p.rounds; i++) {
		ASSERT_EQ(1, seq_post(self->q.fd, i, 1, 0));
		while (!ring_take(&back, &ev)) {
			struct kevent_wait args = {
				.clockid = CLOCK_MONOTONIC,
				.seen = ring_cursor(&back),
				.min_nr = 1,
			};

			ASSERT_LE(1, kevent_wait(back.fd, &args,
						 sizeof(args)));
		}
		ASSERT_EQ(i, ev.user_data);
	}
	EXPECT_EQ(0, sleeper_join(&s));
	queue_close(&back);
}

/* Several sleepers take from one queue until each has seen its end. */
static int worker_call(void *arg)
{
	struct queue *q = arg;
	struct kevent_event ev;
	int got = 0;

	for (;;) {
		__u32 seen = ring_cursor(q);
		struct kevent_wait args = {
			.clockid = CLOCK_MONOTONIC,
			.seen = seen,
			.min_nr = 1,
		};
		int ret;

		if (ring_take(q, &ev)) {
			if (ev.user_data == ~0ULL)
				return got;
			if (!seq_intact(&ev))
				return -EBADMSG;
			got++;
			continue;
		}
		ret = kevent_wait(q->fd, &args, sizeof(args));
		if (ret < 1)
			return ret ? ret : -ETIME;
	}
}

TEST_F(wait, workers_miss_nothing)
{
	struct sleeper s[WAITERS];
	int i, ret, got = 0, nr = 10000;

	for (i = 0; i < WAITERS; i++)
		ASSERT_EQ(0, sleeper_start(&s[i], worker_call, &self->q));
	/* In small portions, so that they sleep in between. */
	for (i = 0; i < nr; i += 5)
		ASSERT_EQ(5, seq_post_all(self->q.fd, i, 5));
	for (i = 0; i < WAITERS; i++)
		ASSERT_EQ(1, seq_post_all(self->q.fd, ~0ULL, 1));
	for (i = 0; i < WAITERS; i++) {
		ret = sleeper_join(&s[i]);
		ASSERT_LE(0, ret);
		got += ret;
	}
	EXPECT_EQ(nr, got);
}

/*
 * The end of a queue on which a thread waits.
 */
TEST_F(wait, close_of_one_descriptor)
{
	int other = dup(self->q.fd);
	struct waiter w;

	ASSERT_LE(0, other);
	ASSERT_EQ(0, waiter_start(&w, self->q.fd, 0, 1));
	ASSERT_TRUE(sleeper_asleep(&w.sleeper));
	close(self->q.fd);
	self->q.fd = other;
	EXPECT_EQ(1, seq_post(other, 0, 1, 0));
	sleeper_join(&w.sleeper);
}

TEST_F(wait, close_of_the_last_descriptor)
{
	struct __kernel_timespec ts = { .tv_nsec = 50 * MSEC };
	struct kevent_event ev;
	struct waiter w;

	memset(&w, 0, sizeof(w));
	w.fd = self->q.fd;
	w.args = self->args;
	w.args.timeout = (unsigned long)&ts;
	ASSERT_EQ(0, sleeper_start(&w.sleeper, waiter_call, &w));
	sleeper_asleep(&w.sleeper);
	close(self->q.fd);
	self->q.fd = -1;
	EXPECT_GE(0, sleeper_join(&w.sleeper));
	EXPECT_EQ(0, ring_take(&self->q, &ev));
}

/* The number of the descriptor is in use again while the waiter sleeps. */
TEST_F(wait, close_and_reuse_of_the_number)
{
	struct __kernel_timespec ts = { .tv_nsec = 50 * MSEC };
	struct kevent_create args = { .entries = ENTRIES };
	struct waiter w;
	int fd;

	memset(&w, 0, sizeof(w));
	w.fd = self->q.fd;
	w.args = self->args;
	w.args.timeout = (unsigned long)&ts;
	ASSERT_EQ(0, sleeper_start(&w.sleeper, waiter_call, &w));
	sleeper_asleep(&w.sleeper);
	fd = self->q.fd;
	close(fd);
	self->q.fd = kevent_create(&args, sizeof(args), 0);
	ASSERT_EQ(fd, self->q.fd);
	EXPECT_EQ(1, seq_post(fd, 0, 1, 0));
	/* What happens to the new queue is not the waiter's business. */
	EXPECT_GE(0, sleeper_join(&w.sleeper));
}

TEST_F(wait, exit_with_waiters)
{
	struct waiter w[WAITERS];
	int i, status;
	pid_t pid;

	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		for (i = 0; i < WAITERS; i++) {
			if (waiter_start(&w[i], self->q.fd, 0, i + 1) ||
			    !sleeper_asleep(&w[i].sleeper))
				_exit(1);
		}
		_exit(0);
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);

	/* They are gone, and nothing waits for them. */
	EXPECT_EQ(1, seq_post(self->q.fd, 0, 1, 0));
	EXPECT_EQ(1, wait_args());
}

/*
 * A thread that was woken and will not consume has the next one woken.
 */
TEST(wake_up_is_handed_on)
{
	struct kevent_wait next = {
		.flags = KEVENT_WAIT_WAKE_NEXT,
		.clockid = CLOCK_MONOTONIC,
	};
	struct waiter w[2];
	unsigned int entries;
	struct queue q;
	int i, first;

	for (entries = 0; entries <= ENTRIES; entries += ENTRIES) {
		ASSERT_LE(0, queue_open(&q, entries));
		EXPECT_TRUE(q.args.features & KEVENT_FEATURE_WAKE_NEXT);
		for (i = 0; i < 2; i++) {
			ASSERT_EQ(0, waiter_start(&w[i], q.fd, 0, 1));
			ASSERT_TRUE(sleeper_asleep(&w[i].sleeper));
		}
		ASSERT_EQ(1, seq_post(q.fd, 1, 1, KEVENT_POST_DEFER));
		while (!sleeper_done(&w[0].sleeper) &&
		       !sleeper_done(&w[1].sleeper))
			sched_yield();
		first = sleeper_done(&w[0].sleeper) ? 0 : 1;
		EXPECT_TRUE(sleeper_asleep(&w[!first].sleeper));
		/* Who waits does not hand anything on. */
		next.min_nr = 1;
		EXPECT_EQ(-EINVAL, kevent_wait(q.fd, &next, sizeof(next)));
		EXPECT_TRUE(sleeper_asleep(&w[!first].sleeper));
		next.min_nr = 0;
		EXPECT_EQ(1, kevent_wait(q.fd, &next, sizeof(next)));
		for (i = 0; i < 2; i++)
			EXPECT_EQ(1, sleeper_join(&w[i].sleeper));
		/* No thread is left to be woken. */
		EXPECT_EQ(1, kevent_wait(q.fd, &next, sizeof(next)));
		queue_close(&q);
	}
}

TEST_HARNESS_MAIN
