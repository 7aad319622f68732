// SPDX-License-Identifier: GPL-2.0
/*
 * KEVENT_SOURCE_SIGNAL: that a watch counts all that is sent, and changes
 * nothing; or that it takes what is sent to the process, and each signal comes
 * out once: as an event, or the ordinary way.
 */
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/time.h>

#include "kevent_poll_test.h"

#define RT	(SIGRTMIN + 1)

FIXTURE(signal)
{
	struct queue q;
};

FIXTURE_VARIANT(signal)
{
	unsigned int entries;
	bool copy;	/* take events with kevent_get_events() */
};

FIXTURE_VARIANT_ADD(signal, ring)
{
	.entries = 8,
};

FIXTURE_VARIANT_ADD(signal, small_ring)
{
	.entries = 2,
};

FIXTURE_VARIANT_ADD(signal, copied)
{
	.entries = 8,
	.copy = true,
};

FIXTURE_VARIANT_ADD(signal, no_ring)
{
	.copy = true,
};

FIXTURE_SETUP(signal)
{
	ASSERT_LE(0, queue_open_shared(&self->q, variant->entries));
}

FIXTURE_TEARDOWN(signal)
{
	queue_close(&self->q);
}

#define Q	(&self->q)
#define COPY	(variant->copy)

static struct kevent_watch signal_watch(int sig, __u32 flags, __u64 user_data)
{
	struct kevent_watch w = {
		.source = KEVENT_SOURCE_SIGNAL,
		.flags = flags,
		.ident = sig,
		.events = KEVENT_SIGNAL_SENT,
		.user_data = user_data,
	};

	return w;
}

static int add_signal(const struct queue *q, struct kevent_watch *w, int sig,
		      __u32 flags, __u64 user_data)
{
	*w = signal_watch(sig, flags, user_data);
	return add_one(q, w);
}

static int nr_handled, last_value;

static void handler(int sig, siginfo_t *info, void *context)
{
	(void)sig;
	(void)context;
	__atomic_add_fetch(&nr_handled, 1, __ATOMIC_RELAXED);
	__atomic_store_n(&last_value, info->si_value.sival_int,
			 __ATOMIC_RELAXED);
}

/* How often the handler was called, and with what the last time. */
static int handled(void)
{
	return __atomic_load_n(&nr_handled, __ATOMIC_RELAXED);
}

static int handled_value(void)
{
	return __atomic_load_n(&last_value, __ATOMIC_RELAXED);
}

static int handle(int sig)
{
	struct sigaction sa = {
		.sa_sigaction = handler,
		.sa_flags = SA_SIGINFO,
	};

	__atomic_store_n(&nr_handled, 0, __ATOMIC_RELAXED);
	return sigaction(sig, &sa, NULL);
}

static int block(int sig)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, sig);
	return sigprocmask(SIG_BLOCK, &set, NULL);
}

static bool is_pending(int sig)
{
	sigset_t set;

	return !sigpending(&set) && sigismember(&set, sig);
}

/* Sends a signal with a value to this process. */
static int queue_to(pid_t pid, int sig, int value)
{
	union sigval v = { .sival_ptr = (void *)(long)value };

	return sigqueue(pid, sig, v) ? -errno : 0;
}

#define send_value(sig, value)	queue_to(getpid(), (sig), (value))

/* Takes a pending signal the ordinary way: its value, or -errno. */
static long pending_value(int sig)
{
	struct timespec now = {};
	siginfo_t info;
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, sig);
	if (sigtimedwait(&set, &info, &now) != sig)
		return -errno;
	return (long)info.si_value.sival_ptr;
}

static int tgkill_self(int sig)
{
	return syscall(SYS_tgkill, getpid(), syscall(SYS_gettid), sig);
}

/* The next event is one of a signal that was taken. */
#define EXPECT_CONSUMED(queue, copy, value, code, what)			\
do {									\
	struct kevent_event __got = {};					\
									\
	ASSERT_EQ(1, take_next((queue), (copy), &__got));		\
	EXPECT_EQ((__u64)(value), __got.user_data);			\
	EXPECT_EQ(KEVENT_SIGNAL_SENT, __got.events);			\
	EXPECT_EQ(KEVENT_SOURCE_SIGNAL,					\
		  __got.info & 0xffff & ~KEVENT_INFO_MORE);		\
	EXPECT_EQ((code), KEVENT_SIGNAL_CODE(__got.extra));		\
	EXPECT_EQ(getpid(), KEVENT_SIGNAL_PID(__got.extra));		\
	EXPECT_EQ(getuid(), KEVENT_SIGNAL_UID(__got.extra));		\
	EXPECT_EQ((what), __got.data);					\
} while (0)

/* The next event is one of a watch that counts. */
#define EXPECT_COUNT(queue, copy, value, count)				\
do {									\
	struct kevent_event __got = {};					\
									\
	ASSERT_EQ(1, take_next((queue), (copy), &__got));		\
	EXPECT_EQ((__u64)(value), __got.user_data);			\
	EXPECT_EQ(KEVENT_SIGNAL_SENT, __got.events);			\
	EXPECT_EQ(KEVENT_SOURCE_SIGNAL | KEVENT_INFO_COUNTED,		\
		  __got.info & 0xffff);					\
	EXPECT_EQ((count), __got.data);					\
	EXPECT_EQ(0, __got.extra);					\
} while (0)

TEST_F(signal, what_is_refused)
{
	static const __u64 idents[] = { 0, 65, 1000, 1ULL << 32 | SIGUSR1 };
	static const __u32 flags[] = {
		KEVENT_WATCH_EXCLUSIVE, KEVENT_WATCH_ABSTIME,
		KEVENT_WATCH_EXPECT, 1U << 9, 1U << 31,
		KEVENT_WATCH_ONESHOT | KEVENT_WATCH_DISPATCH,
	};
	struct kevent_watch w;
	size_t i;

	for (i = 0; i < sizeof(idents) / sizeof(*idents); i++) {
		w = signal_watch(0, 0, 1);
		w.ident = idents[i];
		EXPECT_EQ(-EINVAL, add_one(Q, &w));
		w.flags = KEVENT_WATCH_TAKE;
		EXPECT_EQ(-EINVAL, add_one(Q, &w));
	}
	for (i = 0; i < sizeof(flags) / sizeof(*flags); i++) {
		EXPECT_EQ(-EINVAL, add_signal(Q, &w, RT, flags[i], 1));
		EXPECT_EQ(-EINVAL, add_signal(Q, &w, RT, flags[i] |
					      KEVENT_WATCH_TAKE, 1));
	}
	for (i = 0; i < 4; i++) {
		w = signal_watch(SIGUSR1, 0, 1);
		w.arg[i] = 1;
		EXPECT_EQ(-EINVAL, add_one(Q, &w));
	}
	w = signal_watch(SIGUSR1, 0, 1);
	w.events = 0;
	EXPECT_EQ(-EINVAL, add_one(Q, &w));
	w.events = KEVENT_SIGNAL_SENT << 1;
	EXPECT_EQ(-EINVAL, add_one(Q, &w));
	w.events = KEVENT_SIGNAL_SENT | 0x8000;
	EXPECT_EQ(-EINVAL, add_one(Q, &w));
	/* Those cannot be intercepted, but can be watched. */
	EXPECT_EQ(-EINVAL, add_signal(Q, &w, SIGKILL, KEVENT_WATCH_TAKE, 1));
	EXPECT_EQ(-EINVAL, add_signal(Q, &w, SIGSTOP, KEVENT_WATCH_TAKE, 1));
	EXPECT_EQ(1, add_signal(Q, &w, SIGKILL, 0, 1));
	EXPECT_EQ(1, add_signal(Q, &w, SIGSTOP, 0, 1));
	EXPECT_EQ(1, add_signal(Q, &w, 1, KEVENT_WATCH_TAKE, 1));
	EXPECT_EQ(1, add_signal(Q, &w, 64, KEVENT_WATCH_TAKE, 1));
}

TEST_F(signal, what_cannot_be_changed)
{
	struct kevent_watch w, change;

	ASSERT_EQ(1, add_signal(Q, &w, RT, 0, 1));
	change = w;
	change.flags = KEVENT_WATCH_TAKE;
	EXPECT_EQ(-EINVAL, modify_one(Q, &change, KEVENT_MODIFY_MODE));
	change = w;
	change.arg[1] = 1;
	EXPECT_EQ(-EINVAL, modify_one(Q, &change, KEVENT_MODIFY_ARG));
	change = w;
	change.events = 0;
	EXPECT_EQ(-EINVAL, modify_one(Q, &change, KEVENT_MODIFY_EVENTS));
	EXPECT_EQ(1, modify_one(Q, &w, KEVENT_MODIFY_ARG | KEVENT_MODIFY_MODE |
				KEVENT_MODIFY_EVENTS));
	ASSERT_EQ(1, add_signal(Q, &w, RT, KEVENT_WATCH_TAKE, 1));
	change = w;
	change.flags = KEVENT_WATCH_EDGE;
	EXPECT_EQ(-EINVAL, modify_one(Q, &change, KEVENT_MODIFY_MODE));
	change.flags |= KEVENT_WATCH_TAKE;
	EXPECT_EQ(1, modify_one(Q, &change, KEVENT_MODIFY_MODE));
}

TEST_F(signal, seal)
{
	struct queue q = {};
	struct kevent_watch w;

	q.fd = sealed_queue(1 << KEVENT_SOURCE_TIMER);
	ASSERT_LE(0, q.fd);
	EXPECT_TRUE(self->q.args.features &
		    KEVENT_FEATURE_SOURCE(KEVENT_SOURCE_SIGNAL));
	EXPECT_EQ(-EPERM, add_signal(&q, &w, SIGUSR1, 0, 1));
	close(q.fd);
}

/*
 * Without TAKE.
 */
TEST_F(signal, counts_and_changes_nothing)
{
	struct kevent_watch w;
	int i;

	ASSERT_EQ(0, handle(SIGUSR1));
	ASSERT_EQ(1, add_signal(Q, &w, SIGUSR1, 0, 0x123456789));
	EXPECT_EMPTY(Q, COPY);
	ASSERT_EQ(0, kill(getpid(), SIGUSR1));
	EXPECT_EQ(1, handled());
	EXPECT_COUNT(Q, COPY, 0x123456789, 1);
	EXPECT_EMPTY(Q, COPY);
	/* To the thread. */
	ASSERT_EQ(0, tgkill_self(SIGUSR1));
	EXPECT_EQ(2, handled());
	EXPECT_COUNT(Q, COPY, 0x123456789, 1);
	/* Others do not count. */
	ASSERT_EQ(0, handle(SIGUSR2));
	ASSERT_EQ(0, kill(getpid(), SIGUSR2));
	EXPECT_EQ(1, handled());
	EXPECT_EMPTY(Q, COPY);
	for (i = 0; i < 5000; i++)
		ASSERT_EQ(0, kill(getpid(), SIGUSR1));
	for (i = 0; i < 5000;) {
		struct kevent_event ev;

		ASSERT_EQ(1, take_now(Q, COPY, &ev));
		i += ev.data;
	}
	EXPECT_EQ(5000, i);
	EXPECT_EMPTY(Q, COPY);
}

TEST_F(signal, counts_ignored_and_blocked)
{
	struct kevent_watch w;

	ASSERT_EQ(1, add_signal(Q, &w, SIGUSR1, KEVENT_WATCH_EDGE, 1));
	ASSERT_NE(SIG_ERR, signal(SIGUSR1, SIG_IGN));
	ASSERT_EQ(0, kill(getpid(), SIGUSR1));
	ASSERT_EQ(0, tgkill_self(SIGUSR1));
	EXPECT_COUNT(Q, COPY, 1, 2);
	EXPECT_FALSE(is_pending(SIGUSR1));
	ASSERT_NE(SIG_ERR, signal(SIGUSR1, SIG_DFL));
	ASSERT_EQ(0, block(SIGUSR1));
	/* The second one is pending already. */
	ASSERT_EQ(0, kill(getpid(), SIGUSR1));
	ASSERT_EQ(0, kill(getpid(), SIGUSR1));
	EXPECT_COUNT(Q, COPY, 1, 2);
	EXPECT_TRUE(is_pending(SIGUSR1));
	/* The default is to ignore it. */
	ASSERT_EQ(1, add_signal(Q, &w, SIGWINCH, 0, 2));
	ASSERT_EQ(0, kill(getpid(), SIGWINCH));
	EXPECT_COUNT(Q, COPY, 2, 1);
}

TEST_F(signal, modes_of_counting)
{
	struct kevent_watch w;

	ASSERT_NE(SIG_ERR, signal(SIGUSR1, SIG_IGN));
	ASSERT_EQ(1, add_signal(Q, &w, SIGUSR1, KEVENT_WATCH_ONESHOT, 1));
	ASSERT_EQ(0, kill(getpid(), SIGUSR1));
	EXPECT_COUNT(Q, COPY, 1, 1);
	ASSERT_EQ(0, kill(getpid(), SIGUSR1));
	EXPECT_EMPTY(Q, COPY);
	EXPECT_TRUE(watch_gone(Q, &w));

	ASSERT_EQ(1, add_signal(Q, &w, SIGUSR1, KEVENT_WATCH_DISPATCH, 2));
	ASSERT_EQ(0, kill(getpid(), SIGUSR1));
	EXPECT_COUNT(Q, COPY, 2, 1);
	ASSERT_EQ(0, kill(getpid(), SIGUSR1));
	ASSERT_EQ(0, kill(getpid(), SIGUSR1));
	EXPECT_EMPTY(Q, COPY);
	ASSERT_EQ(1, modify_one(Q, &w, KEVENT_MODIFY_ENABLE));
	EXPECT_COUNT(Q, COPY, 2, 2);
	ASSERT_EQ(1, remove_one(Q, w.handle));

	ASSERT_EQ(1, add_signal(Q, &w, SIGUSR1, KEVENT_WATCH_DISABLED, 3));
	ASSERT_EQ(0, kill(getpid(), SIGUSR1));
	EXPECT_EMPTY(Q, COPY);
	ASSERT_EQ(1, modify_one(Q, &w, KEVENT_MODIFY_ENABLE));
	EXPECT_COUNT(Q, COPY, 3, 1);
	ASSERT_EQ(0, kill(getpid(), SIGUSR1));
	ASSERT_EQ(1, remove_one(Q, w.handle));
	EXPECT_EMPTY(Q, COPY);
	ASSERT_EQ(0, kill(getpid(), SIGUSR1));
	EXPECT_EMPTY(Q, COPY);
}

/* A stop and the end of a process, as seen by another one. */
TEST_F(signal, sigstop_is_counted)
{
	struct kevent_watch w;
	int status;
	pid_t pid;

	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		if (add_signal(Q, &w, SIGSTOP, 0, 1) != 1 ||
		    kill(getpid(), SIGSTOP))
			_exit(1);
		_exit(0);
	}
	ASSERT_EQ(pid, waitpid(pid, &status, WUNTRACED));
	ASSERT_TRUE(WIFSTOPPED(status));
	EXPECT_COUNT(Q, COPY, 1, 1);
	ASSERT_EQ(0, kill(pid, SIGCONT));
	EXPECT_EQ(0, child_status(pid));
	EXPECT_EQ(0, nr_watches(Q->fd));
}

TEST_F(signal, timers_are_counted_and_not_taken)
{
	struct sigevent sev = {
		.sigev_notify = SIGEV_SIGNAL,
		.sigev_signo = RT,
		.sigev_value.sival_int = 5,
	};
	struct itimerspec its = {
		.it_value.tv_nsec = MSEC,
		.it_interval.tv_nsec = MSEC,
	};
	struct kevent_watch w, taking;
	struct kevent_event ev;
	timer_t timer;
	int i;

	if (!has_timers())
		SKIP(return, "this kernel has no POSIX timers");
	ASSERT_EQ(0, block(RT));
	ASSERT_EQ(1, add_signal(Q, &taking, RT, KEVENT_WATCH_TAKE, 2));
	ASSERT_EQ(1, add_signal(Q, &w, RT, 0, 1));
	ASSERT_EQ(0, timer_create(CLOCK_MONOTONIC, &sev, &timer));
	ASSERT_EQ(0, timer_settime(timer, 0, &its, NULL));
	for (i = 0; i < 5; i++) {
		ASSERT_EQ(1, take_next(Q, COPY, &ev));
		EXPECT_EQ(1, ev.user_data);
		EXPECT_LE(1, ev.data);
		while (!is_pending(RT))
			usleep(100);
		EXPECT_EQ(5, (int)pending_value(RT));
	}
	timer_delete(timer);
	/* Of a timer whose signal is ignored there is one to count. */
	ASSERT_EQ(1, remove_one(Q, w.handle));
	ASSERT_NE(SIG_ERR, signal(SIGUSR1, SIG_IGN));
	ASSERT_EQ(1, add_signal(Q, &w, SIGUSR1, 0, 3));
	sev.sigev_signo = SIGUSR1;
	ASSERT_EQ(0, timer_create(CLOCK_MONOTONIC, &sev, &timer));
	its.it_interval.tv_nsec = 0;
	ASSERT_EQ(0, timer_settime(timer, 0, &its, NULL));
	EXPECT_COUNT(Q, COPY, 3, 1);
	timer_delete(timer);
}

/* What merges, and what it sums up to, is the same wherever the event is. */
TEST_F(signal, merges_are_counted)
{
	static const int numbers[] = { 1, 2, 3, 40, 1023, 1024 };
	static const int sums[] = { 1025, 1026, 3000, 10000 };
	struct kevent_event ev = {};
	struct kevent_watch w;
	size_t i;
	int n;

	ASSERT_EQ(0, handle(SIGUSR1));
	ASSERT_EQ(1, add_signal(Q, &w, SIGUSR1, 0, 1));
	for (i = 0; i < ARRAY_SIZE(numbers); i++) {
		for (n = 0; n < numbers[i]; n++)
			raise(SIGUSR1);
		ASSERT_EQ(1, take_now(Q, COPY, &ev));
		EXPECT_EQ(numbers[i], ev.data);
		EXPECT_EQ(numbers[i] - 1, KEVENT_INFO_MERGED(ev.info));
		EXPECT_EMPTY(Q, COPY);
	}
	/* One event has the sum. Cancelled ones may fill the ring before it. */
	for (i = 0; i < ARRAY_SIZE(sums); i++) {
		for (n = 0; n < sums[i]; n++)
			raise(SIGUSR1);
		ASSERT_EQ(1, take_now(Q, COPY, &ev));
		EXPECT_EQ(sums[i], ev.data);
		EXPECT_EMPTY(Q, COPY);
	}
	/* In the backlog. */
	n = variant->entries ?: 1;
	ASSERT_EQ(n, seq_post(self->q.fd, 100, n, KEVENT_POST_DEFER));
	for (i = 0; i < 10; i++)
		raise(SIGUSR1);
	while (n--)
		ASSERT_EQ(1, take_now(Q, COPY, &ev));
	queue_refill(Q);
	raise(SIGUSR1);
	ASSERT_EQ(1, take_now(Q, COPY, &ev));
	EXPECT_EQ(11, ev.data);
	EXPECT_EQ(10, KEVENT_INFO_MERGED(ev.info));
	EXPECT_EMPTY(Q, COPY);
}

/* A ONESHOT or DISPATCH watch counts what it fired for. */
TEST_F(signal, later_ones_are_not_counted)
{
	struct kevent_event ev = {};
	struct kevent_watch w;
	int i;

	ASSERT_EQ(0, handle(SIGUSR1));
	for (i = 0; i < 2; i++) {
		ASSERT_EQ(1, add_signal(Q, &w, SIGUSR1, i ?
					KEVENT_WATCH_DISPATCH :
					KEVENT_WATCH_ONESHOT, i));
		raise(SIGUSR1);
		raise(SIGUSR1);
		raise(SIGUSR1);
		ASSERT_EQ(1, take_now(Q, COPY, &ev));
		EXPECT_EQ(i, ev.user_data);
		EXPECT_EQ(1, ev.data);
		EXPECT_EQ(0, KEVENT_INFO_MERGED(ev.info));
		EXPECT_EMPTY(Q, COPY);
		if (!i)
			continue;
		ASSERT_EQ(1, modify_one(Q, &w, KEVENT_MODIFY_ENABLE));
		ASSERT_EQ(1, take_now(Q, COPY, &ev));
		EXPECT_EQ(2, ev.data);
		EXPECT_EMPTY(Q, COPY);
	}
}

/*
 * With TAKE.
 */
TEST_F(signal, takes_instead_of_handling)
{
	const int sigs[] = { SIGUSR1, SIGTERM, SIGSEGV, SIGINT, RT, 64 };
	struct kevent_watch w;
	size_t i;

	for (i = 0; i < sizeof(sigs) / sizeof(*sigs); i++) {
		ASSERT_EQ(0, handle(sigs[i]));
		ASSERT_EQ(1, add_signal(Q, &w, sigs[i], KEVENT_WATCH_TAKE, i));
		EXPECT_EMPTY(Q, COPY);
		ASSERT_EQ(0, kill(getpid(), sigs[i]));
		EXPECT_EQ(0, handled());
		EXPECT_FALSE(is_pending(sigs[i]));
		EXPECT_CONSUMED(Q, COPY, i, SI_USER, 0);
		EXPECT_EMPTY(Q, COPY);
		ASSERT_EQ(0, send_value(sigs[i], -77));
		EXPECT_CONSUMED(Q, COPY, i, SI_QUEUE, -77);
		/* Ignored, or deadly: no matter. */
		ASSERT_NE(SIG_ERR, signal(sigs[i], SIG_IGN));
		ASSERT_EQ(0, kill(getpid(), sigs[i]));
		EXPECT_CONSUMED(Q, COPY, i, SI_USER, 0);
		ASSERT_NE(SIG_ERR, signal(sigs[i], SIG_DFL));
		ASSERT_EQ(0, kill(getpid(), sigs[i]));
		EXPECT_CONSUMED(Q, COPY, i, SI_USER, 0);
		/* Once the watch is removed everything is as it was. */
		ASSERT_EQ(0, handle(sigs[i]));
		ASSERT_EQ(1, remove_one(Q, w.handle));
		ASSERT_EQ(0, kill(getpid(), sigs[i]));
		EXPECT_EQ(1, handled());
		EXPECT_EMPTY(Q, COPY);
	}
}

static int sleep_long(void *arg)
{
	struct timespec ts = { .tv_sec = 1000 };

	(void)arg;
	return nanosleep(&ts, NULL) ? -errno : 0;
}

TEST_F(signal, no_thread_is_interrupted)
{
	struct sleeper sleeper;
	struct kevent_watch w;
	struct waiter waiter;

	ASSERT_EQ(0, handle(SIGUSR1));
	ASSERT_EQ(1, add_signal(Q, &w, SIGUSR1, KEVENT_WATCH_TAKE, 1));
	ASSERT_EQ(0, sleeper_start(&sleeper, sleep_long, NULL));
	ASSERT_TRUE(sleeper_asleep(&sleeper));
	ASSERT_EQ(0, waiter_start(&waiter, Q->fd, 0, 1));
	ASSERT_TRUE(sleeper_asleep(&waiter.sleeper));
	ASSERT_EQ(0, kill(getpid(), SIGUSR1));
	EXPECT_EQ(1, sleeper_join(&waiter.sleeper));
	EXPECT_TRUE(sleeper_asleep(&sleeper));
	EXPECT_CONSUMED(Q, COPY, 1, SI_USER, 0);
	/* Only the thread that sleeps can be interrupted by this. */
	ASSERT_EQ(1, remove_one(Q, w.handle));
	ASSERT_EQ(0, block(SIGUSR1));
	ASSERT_EQ(0, kill(getpid(), SIGUSR1));
	EXPECT_EQ(-EINTR, sleeper_join(&sleeper));
	EXPECT_EQ(1, handled());
}

TEST_F(signal, only_of_the_process)
{
	struct kevent_watch w, counting;

	ASSERT_EQ(0, handle(RT));
	ASSERT_EQ(1, add_signal(Q, &w, RT, KEVENT_WATCH_TAKE, 1));
	ASSERT_EQ(0, tgkill_self(RT));
	EXPECT_EQ(1, handled());
	ASSERT_EQ(0, raise(RT));
	EXPECT_EQ(2, handled());
	EXPECT_EMPTY(Q, COPY);
	/* Who only looks, sees both. */
	ASSERT_EQ(1, add_signal(Q, &counting, RT, 0, 2));
	ASSERT_EQ(0, raise(RT));
	EXPECT_EQ(3, handled());
	EXPECT_COUNT(Q, COPY, 2, 1);
	ASSERT_EQ(1, modify_one(Q, &w, KEVENT_MODIFY_DISABLE));
	ASSERT_EQ(0, kill(getpid(), RT));
	EXPECT_EQ(4, handled());
	EXPECT_COUNT(Q, COPY, 2, 1);
	ASSERT_EQ(1, modify_one(Q, &w, KEVENT_MODIFY_ENABLE));
	ASSERT_EQ(0, kill(getpid(), RT));
	EXPECT_EQ(4, handled());
	ASSERT_EQ(1, modify_one(Q, &counting, KEVENT_MODIFY_DISABLE));
}

TEST_F(signal, faults_are_not_taken)
{
	struct kevent_watch w;
	char *page;
	pid_t pid;

	page = guard_page();
	ASSERT_NE(NULL, page);
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		if (add_signal(Q, &w, SIGSEGV, KEVENT_WATCH_TAKE, 1) != 1 ||
		    kill(getpid(), SIGSEGV))
			_exit(1);
		__atomic_store_n(page, 0, __ATOMIC_RELAXED);
		_exit(2);
	}
	EXPECT_EQ(-SIGSEGV, child_status(pid));
}

TEST_F(signal, standard_ones_merge)
{
	struct kevent_watch w;
	struct kevent_event ev;
	int i;

	ASSERT_EQ(1, add_signal(Q, &w, SIGUSR1, KEVENT_WATCH_TAKE, 1));
	for (i = 1; i <= 100; i++)
		ASSERT_EQ(0, send_value(SIGUSR1, i));
	ASSERT_EQ(1, take_now(Q, COPY, &ev));
	/* What is in the ring is not written again. */
	EXPECT_EQ(variant->entries ? 1 : 100, ev.data);
	EXPECT_EQ(SI_QUEUE, KEVENT_SIGNAL_CODE(ev.extra));
	EXPECT_EQ(variant->entries ? 99 : 0, KEVENT_INFO_MERGED(ev.info));
	EXPECT_EMPTY(Q, COPY);
	ASSERT_EQ(0, send_value(SIGUSR1, 101));
	EXPECT_CONSUMED(Q, COPY, 1, SI_QUEUE, 101);
	EXPECT_EMPTY(Q, COPY);
}

TEST_F(signal, real_time_ones_queue)
{
	const int nr = 600;
	struct kevent_watch w;
	int i, round;

	ASSERT_EQ(1, add_signal(Q, &w, RT, KEVENT_WATCH_TAKE, 1));
	for (round = 0; round < 3; round++) {
		for (i = 0; i < nr; i++)
			ASSERT_EQ(0, send_value(RT, i));
		EXPECT_FALSE(is_pending(RT));
		for (i = 0; i < nr; i++)
			EXPECT_CONSUMED(Q, COPY, 1, SI_QUEUE, i);
		EXPECT_EMPTY(Q, COPY);
	}
}

/* How many signals count for the limit now. */
static long nr_queued(void)
{
	long queued = -1;
	char line[256];
	FILE *f;

	f = fopen("/proc/self/status", "r");
	while (f && fgets(line, sizeof(line), f) &&
	       sscanf(line, "SigQ: %ld", &queued) != 1)
		;
	if (f)
		fclose(f);
	return queued;
}

TEST_F(signal, limit_of_pending_signals)
{
	struct kevent_event ev = {};
	struct kevent_watch w;
	struct rlimit limit;
	int i, nr, got;
	long before;

	before = nr_queued();
	ASSERT_LE(0, before);
	ASSERT_EQ(0, getrlimit(RLIMIT_SIGPENDING, &limit));
	limit.rlim_cur = before;
	ASSERT_EQ(0, setrlimit(RLIMIT_SIGPENDING, &limit));
	EXPECT_EQ(-EAGAIN, add_signal(Q, &w, RT, KEVENT_WATCH_TAKE, 1));
	/* Who does not take needs none. */
	EXPECT_EQ(1, add_signal(Q, &w, RT, 0, 1));
	EXPECT_EQ(1, remove_one(Q, w.handle));
	limit.rlim_cur = before + 20;
	ASSERT_EQ(0, setrlimit(RLIMIT_SIGPENDING, &limit));
	ASSERT_EQ(1, add_signal(Q, &w, RT, KEVENT_WATCH_TAKE, 1));
	EXPECT_EQ(before + 1, nr_queued());

	for (i = 0; i < 2; i++) {
		nr = 0;
		while (!send_value(RT, nr))
			ASSERT_GT(30, ++nr);
		EXPECT_EQ(19, nr);
		EXPECT_EQ(-EAGAIN, send_value(RT, nr));
		/* kill() does not fail, and what it sends is not lost. */
		ASSERT_EQ(0, kill(getpid(), RT));
		ASSERT_EQ(0, kill(getpid(), RT));
		ASSERT_EQ(0, kill(getpid(), RT));
		for (got = 0; got < nr; got++)
			EXPECT_CONSUMED(Q, COPY, 1, SI_QUEUE, got);
		ASSERT_EQ(1, take_now(Q, COPY, &ev));
		EXPECT_EQ(SI_USER, KEVENT_SIGNAL_CODE(ev.extra));
		EXPECT_EQ(0, KEVENT_SIGNAL_PID(ev.extra));
		EXPECT_EQ(0, ev.data);
		EXPECT_EMPTY(Q, COPY);
		/* It is noticed that they were taken, at the latest now. */
		queue_refill(Q);
		EXPECT_EQ(before + 1, nr_queued());
	}
	ASSERT_EQ(1, remove_one(Q, w.handle));
	queue_refill(Q);
	EXPECT_EQ(before, nr_queued());
}

/* A program that takes events from the ring and makes no system call. */
/* Those that are not queued: each time one comes, without saying who sent it. */
TEST_F(signal, merging_ones_at_the_limit)
{
	struct kevent_event ev = {};
	struct kevent_watch w;
	struct rlimit limit;
	int i;

	ASSERT_EQ(0, getrlimit(RLIMIT_SIGPENDING, &limit));
	limit.rlim_cur = nr_queued() + 1;
	ASSERT_EQ(0, setrlimit(RLIMIT_SIGPENDING, &limit));
	ASSERT_EQ(1, add_signal(Q, &w, SIGUSR1, KEVENT_WATCH_TAKE, 1));
	for (i = 0; i < 5; i++) {
		ASSERT_EQ(0, send_value(SIGUSR1, i));
		ASSERT_EQ(1, take_now(Q, COPY, &ev));
		EXPECT_EQ(KEVENT_SIGNAL_SENT, ev.events);
		EXPECT_EQ(SI_USER, KEVENT_SIGNAL_CODE(ev.extra));
		EXPECT_EQ(0, KEVENT_SIGNAL_PID(ev.extra));
		EXPECT_EQ(0, ev.data);
		EXPECT_EMPTY(Q, COPY);
	}
}

/* One that was pending without a record, while the last one's is not given back. */
TEST_F(signal, pending_at_the_limit)
{
	struct kevent_event ev = {};
	struct kevent_watch w;
	struct rlimit limit;
	int i;

	ASSERT_EQ(0, block(RT));
	ASSERT_EQ(0, getrlimit(RLIMIT_SIGPENDING, &limit));
	limit.rlim_cur = nr_queued() + 1;
	ASSERT_EQ(0, setrlimit(RLIMIT_SIGPENDING, &limit));
	ASSERT_EQ(1, add_signal(Q, &w, RT, KEVENT_WATCH_TAKE |
				KEVENT_WATCH_DISPATCH, 1));
	ASSERT_EQ(0, kill(getpid(), RT));
	for (i = 0; i < 5; i++) {
		if (Q->ring) {
			/* Without a call. */
			ASSERT_TRUE(ring_take(Q, &ev));
		} else {
			ASSERT_EQ(1, take_now(Q, COPY, &ev));
		}
		EXPECT_EQ(KEVENT_SIGNAL_SENT, ev.events);
		ASSERT_EQ(0, kill(getpid(), RT));
		EXPECT_TRUE(is_pending(RT));
		ASSERT_EQ(1, modify_one(Q, &w, KEVENT_MODIFY_ENABLE));
		EXPECT_FALSE(is_pending(RT));
	}
}

TEST_F(signal, limit_without_system_calls)
{
	struct rlimit limit;
	struct kevent_watch w;
	struct kevent_event ev;
	int i;

	if (COPY)
		return;
	ASSERT_EQ(0, getrlimit(RLIMIT_SIGPENDING, &limit));
	limit.rlim_cur = nr_queued() + 4;
	ASSERT_EQ(0, setrlimit(RLIMIT_SIGPENDING, &limit));
	ASSERT_EQ(1, add_signal(Q, &w, RT, KEVENT_WATCH_TAKE, 1));
	for (i = 0; i < 1000; i += 2) {
		ASSERT_EQ(0, send_value(RT, i));
		ASSERT_EQ(0, send_value(RT, i + 1));
		ASSERT_EQ(1, ring_take(Q, &ev));
		EXPECT_EQ(i, ev.data);
		ASSERT_EQ(1, ring_take(Q, &ev));
		EXPECT_EQ(i + 1, ev.data);
	}
}

TEST_F(signal, children)
{
	struct kevent_watch w;
	struct kevent_event ev;
	int status;
	pid_t pid;

	ASSERT_EQ(1, add_signal(Q, &w, SIGCHLD, KEVENT_WATCH_TAKE, 1));
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid)
		_exit(42);
	ASSERT_EQ(1, take_next(Q, COPY, &ev));
	EXPECT_EQ(pid, KEVENT_SIGNAL_PID(ev.extra));
	EXPECT_EQ(getuid(), KEVENT_SIGNAL_UID(ev.extra));
	EXPECT_EQ(CLD_EXITED, KEVENT_SIGNAL_CODE(ev.extra));
	EXPECT_EQ(42, ev.data);
	EXPECT_EQ(pid, waitpid(pid, &status, WNOHANG));
	EXPECT_EQ(42, WEXITSTATUS(status));
	/* With SIG_IGN children are not reported. */
	ASSERT_NE(SIG_ERR, signal(SIGCHLD, SIG_IGN));
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid)
		_exit(0);
	EXPECT_EQ(-1, waitpid(pid, &status, 0));
	EXPECT_EMPTY(Q, COPY);
	ASSERT_NE(SIG_ERR, signal(SIGCHLD, SIG_DFL));
}

TEST_F(signal, of_a_file)
{
	struct kevent_watch w;
	struct kevent_event ev;
	int fds[2];

	ASSERT_EQ(1, add_signal(Q, &w, RT, KEVENT_WATCH_TAKE, 1));
	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_STREAM, 0, fds));
	ASSERT_EQ(0, fcntl(fds[0], F_SETOWN, getpid()));
	ASSERT_EQ(0, fcntl(fds[0], F_SETSIG, RT));
	ASSERT_EQ(0, fcntl(fds[0], F_SETFL, O_ASYNC));
	ASSERT_EQ(1, write(fds[1], "x", 1));
	ASSERT_EQ(1, take_next(Q, COPY, &ev));
	EXPECT_EQ(POLL_IN, KEVENT_SIGNAL_CODE(ev.extra));
	EXPECT_EQ(fds[0], ev.data);
	EXPECT_TRUE(KEVENT_SIGNAL_UID(ev.extra) & POLLIN);
	close(fds[0]);
	close(fds[1]);
}

/* A message queue says so once, and by a signal as well. */
TEST_F(signal, of_a_message_queue)
{
	struct sigevent reported = {
		.sigev_notify = SIGEV_SIGNAL,
		.sigev_signo = RT,
	};
	struct kevent_watch w;
	struct kevent_event ev;
	char name[32];
	int mq, i;

	snprintf(name, sizeof(name), "kevent-signal-%d", getpid());
	mq = syscall(__NR_mq_open, name, O_RDWR | O_CREAT | O_NONBLOCK, 0600,
		     NULL);
	if (mq < 0)
		SKIP(return, "no message queues: %s", strerror(errno));
	ASSERT_EQ(0, syscall(__NR_mq_unlink, name));
	ASSERT_EQ(0, block(RT));
	ASSERT_EQ(1, add_signal(Q, &w, RT, KEVENT_WATCH_TAKE, 1));
	for (i = 0; i < 2; i++) {
		char buf[8192];

		reported.sigev_value.sival_int = 70 + i;
		ASSERT_EQ(0, syscall(__NR_mq_notify, mq, &reported));
		EXPECT_EMPTY(Q, COPY);
		ASSERT_EQ(0, syscall(__NR_mq_timedsend, mq, "x", 1L, 0, NULL));
		EXPECT_FALSE(is_pending(RT));
		ASSERT_EQ(1, take_next(Q, COPY, &ev));
		EXPECT_EQ(SI_MESGQ, KEVENT_SIGNAL_CODE(ev.extra));
		EXPECT_EQ(getpid(), KEVENT_SIGNAL_PID(ev.extra));
		EXPECT_EQ(getuid(), KEVENT_SIGNAL_UID(ev.extra));
		EXPECT_EQ(70 + i, (int)ev.data);
		ASSERT_EQ(1, syscall(__NR_mq_timedreceive, mq, buf,
				     sizeof(buf), NULL, NULL));
		/* There was no request for the next one. */
		ASSERT_EQ(0, syscall(__NR_mq_timedsend, mq, "x", 1L, 0, NULL));
		EXPECT_EMPTY(Q, COPY);
		ASSERT_EQ(1, syscall(__NR_mq_timedreceive, mq, buf,
				     sizeof(buf), NULL, NULL));
	}
	close(mq);
}

TEST_F(signal, any_code_and_number_fits)
{
	static const int codes[] = { SI_QUEUE, SI_MESGQ, SI_ASYNCIO, -60, -512,
				     -513, -100000 };
	struct kevent_watch w;
	struct kevent_event ev;
	siginfo_t info;
	size_t i;

	ASSERT_EQ(1, add_signal(Q, &w, RT, KEVENT_WATCH_TAKE, 1));
	for (i = 0; i < sizeof(codes) / sizeof(*codes); i++) {
		memset(&info, 0, sizeof(info));
		info.si_signo = RT;
		info.si_code = codes[i];
		info.si_pid = 0x3fffff;
		info.si_uid = 0xfffffffe;
		info.si_value.sival_ptr = (void *)LONG_MIN;
		ASSERT_EQ(0, syscall(SYS_rt_sigqueueinfo, getpid(), RT, &info));
		ASSERT_EQ(1, take_now(Q, COPY, &ev));
		EXPECT_EQ(codes[i] < -512 ? -512 : codes[i],
			  KEVENT_SIGNAL_CODE(ev.extra));
		EXPECT_EQ(0x3fffff, KEVENT_SIGNAL_PID(ev.extra));
		EXPECT_EQ(0xfffffffe, KEVENT_SIGNAL_UID(ev.extra));
		EXPECT_EQ(LONG_MIN, ev.data);
	}
}

/* What stops and continues a process. */
TEST_F(signal, stop_and_continue)
{
	struct kevent_event ev;
	struct kevent_watch w;
	int status;
	pid_t pid;

	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		if (add_signal(Q, &w, SIGCONT, KEVENT_WATCH_TAKE, 1) != 1 ||
		    add_signal(Q, &w, SIGTSTP, KEVENT_WATCH_TAKE, 2) != 1 ||
		    kill(getpid(), SIGTSTP) || kill(getpid(), SIGSTOP))
			_exit(1);
		for (;;)
			pause();
	}
	/* It was not stopped by SIGTSTP, which is taken. */
	ASSERT_EQ(pid, waitpid(pid, &status, WUNTRACED));
	ASSERT_TRUE(WIFSTOPPED(status));
	EXPECT_EQ(SIGSTOP, WSTOPSIG(status));
	ASSERT_EQ(1, take_next(Q, COPY, &ev));
	EXPECT_EQ(2, ev.user_data);
	EXPECT_EMPTY(Q, COPY);
	ASSERT_EQ(0, kill(pid, SIGCONT));
	ASSERT_EQ(1, take_next(Q, COPY, &ev));
	EXPECT_EQ(1, ev.user_data);
	EXPECT_EQ(getpid(), KEVENT_SIGNAL_PID(ev.extra));
	ASSERT_EQ(pid, waitpid(pid, &status, WCONTINUED));
	EXPECT_TRUE(WIFCONTINUED(status));
	ASSERT_EQ(0, kill(pid, SIGKILL));
	EXPECT_EQ(-SIGKILL, child_status(pid));
	EXPECT_EQ(0, nr_watches(Q->fd));
}

/* In the background of the terminal @name; the status to exit with. */
static int in_background(struct queue *q, const char *name)
{
	struct kevent_event ev;
	struct kevent_watch w;
	char byte;
	int fd;

	fd = open(name, O_RDWR);
	if (fd < 0 || setpgid(0, 0))
		return 1;
	if (add_signal(q, &w, SIGTTIN, KEVENT_WATCH_TAKE, 1) != 1 ||
	    add_signal(q, &w, SIGTTOU, KEVENT_WATCH_TAKE, 2) != 1)
		return 2;
	/* It is sent, and does not stop the process. */
	if (kill(0, SIGTTIN) || take_now(q, true, &ev) != 1 ||
	    ev.user_data != 1)
		return 3;
	if (block(SIGTTIN) || block(SIGTTOU))
		return 4;
	if (read(fd, &byte, 1) != -1 || errno != EIO)
		return 5;
	if (tcsetpgrp(fd, getpgrp()))
		return 6;
	return take_now(q, true, &ev) ? 7 : 0;
}

/* A terminal, of a program that has blocked what it takes. */
TEST_F(signal, terminal)
{
	char name[64];
	int pty, ret;
	pid_t pid;

	pty = posix_openpt(O_RDWR | O_NOCTTY);
	if (pty < 0 || grantpt(pty) || unlockpt(pty) ||
	    ptsname_r(pty, name, sizeof(name)))
		SKIP(return, "no terminals: %s", strerror(errno));
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		/* The first one it opens is that of its session. */
		if (setsid() < 0 || open(name, O_RDWR) < 0)
			_exit(20);
		pid = fork();
		if (!pid)
			_exit(in_background(Q, name));
		ret = child_status(pid);
		_exit(ret < 0 ? 100 - ret : ret);
	}
	EXPECT_EQ(0, child_status(pid));
	close(pty);
}

/* setitimer() waits for its signal to be dequeued. */
TEST_F(signal, interval_timer_goes_on)
{
	static const int usecs[] = { 10000, 2000, 1 };
	struct itimerval it = {};
	struct kevent_watch w;
	struct kevent_event ev;
	size_t i, n;

	if (!has_timers())
		SKIP(return, "this kernel has no POSIX timers");
	ASSERT_EQ(1, add_signal(Q, &w, SIGALRM, KEVENT_WATCH_TAKE, 1));
	for (i = 0; i < sizeof(usecs) / sizeof(*usecs); i++) {
		it.it_value.tv_usec = usecs[i];
		it.it_interval.tv_usec = usecs[i];
		ASSERT_EQ(0, setitimer(ITIMER_REAL, &it, NULL));
		for (n = 0; n < 5; n++) {
			ASSERT_EQ(1, take_next(Q, COPY, &ev));
			EXPECT_EQ(SI_KERNEL, KEVENT_SIGNAL_CODE(ev.extra));
		}
		memset(&it, 0, sizeof(it));
		ASSERT_EQ(0, setitimer(ITIMER_REAL, &it, NULL));
		take_now(Q, COPY, &ev);
		usleep(30000);
		EXPECT_EMPTY(Q, COPY);
	}
	alarm(1);
	ASSERT_EQ(1, take_next(Q, COPY, &ev));
}

/*
 * Who gets it.
 */
TEST_F(signal, first_that_is_on)
{
	struct kevent_watch first, second, counting;
	struct kevent_event ev;
	struct queue other;

	ASSERT_LE(0, queue_open(&other, variant->entries));
	ASSERT_EQ(0, handle(RT));
	ASSERT_EQ(1, add_signal(Q, &first, RT, KEVENT_WATCH_TAKE, 1));
	ASSERT_EQ(1, add_signal(&other, &second, RT, KEVENT_WATCH_TAKE, 2));
	ASSERT_EQ(1, add_signal(&other, &counting, RT, 0, 3));
	ASSERT_EQ(0, send_value(RT, 1));
	EXPECT_CONSUMED(Q, COPY, 1, SI_QUEUE, 1);
	EXPECT_COUNT(&other, COPY, 3, 1);
	EXPECT_EMPTY(&other, COPY);
	ASSERT_EQ(1, remove_one(&other, counting.handle));

	ASSERT_EQ(1, modify_one(Q, &first, KEVENT_MODIFY_DISABLE));
	ASSERT_EQ(0, send_value(RT, 2));
	EXPECT_EMPTY(Q, COPY);
	EXPECT_CONSUMED(&other, COPY, 2, SI_QUEUE, 2);
	ASSERT_EQ(1, modify_one(&other, &second, KEVENT_MODIFY_DISABLE));
	ASSERT_EQ(0, send_value(RT, 3));
	EXPECT_EQ(1, handled());
	EXPECT_EQ(3, handled_value());
	ASSERT_EQ(1, modify_one(Q, &first, KEVENT_MODIFY_ENABLE));
	ASSERT_EQ(1, modify_one(&other, &second, KEVENT_MODIFY_ENABLE));
	EXPECT_EMPTY(Q, COPY);
	EXPECT_EMPTY(&other, COPY);
	ASSERT_EQ(0, send_value(RT, 4));
	ASSERT_EQ(0, send_value(RT, 5));

	/* What the first has not reported goes to the next one. */
	ASSERT_EQ(1, remove_one(Q, first.handle));
	EXPECT_EMPTY(Q, COPY);
	EXPECT_CONSUMED(&other, COPY, 2, SI_QUEUE, 4);
	EXPECT_CONSUMED(&other, COPY, 2, SI_QUEUE, 5);
	EXPECT_EQ(1, handled());
	EXPECT_EQ(0, take_now(&other, COPY, &ev));
	queue_close(&other);
}

TEST_F(signal, taken_once)
{
	struct kevent_watch w;

	ASSERT_EQ(0, handle(RT));
	ASSERT_EQ(1, add_signal(Q, &w, RT, KEVENT_WATCH_TAKE |
				KEVENT_WATCH_ONESHOT, 1));
	ASSERT_EQ(0, send_value(RT, 1));
	EXPECT_EQ(0, handled());
	/* It takes one only. */
	ASSERT_EQ(0, send_value(RT, 2));
	EXPECT_EQ(1, handled());
	EXPECT_EQ(2, handled_value());
	EXPECT_CONSUMED(Q, COPY, 1, SI_QUEUE, 1);
	EXPECT_EMPTY(Q, COPY);
	EXPECT_TRUE(watch_gone(Q, &w));
	EXPECT_EQ(1, handled());
}

TEST_F(signal, switched_off_by_each)
{
	struct kevent_watch w;
	int sig;

	for (sig = SIGUSR2; sig != 1; sig = sig == SIGUSR2 ? RT : 1) {
		ASSERT_EQ(0, handle(sig));
		ASSERT_EQ(1, add_signal(Q, &w, sig, KEVENT_WATCH_TAKE |
					KEVENT_WATCH_DISPATCH, 1));
		ASSERT_EQ(0, send_value(sig, 1));
		EXPECT_EQ(0, handled());
		EXPECT_CONSUMED(Q, COPY, 1, SI_QUEUE, 1);
		ASSERT_EQ(0, send_value(sig, 2));
		EXPECT_EQ(1, handled());
		EXPECT_EMPTY(Q, COPY);
		/* What is pending then it takes, one at a time. */
		ASSERT_EQ(0, block(sig));
		ASSERT_EQ(0, send_value(sig, 3));
		ASSERT_EQ(0, send_value(sig, 4));
		EXPECT_TRUE(is_pending(sig));
		EXPECT_EMPTY(Q, COPY);
		ASSERT_EQ(1, modify_one(Q, &w, KEVENT_MODIFY_ENABLE));
		EXPECT_CONSUMED(Q, COPY, 1, SI_QUEUE, 3);
		EXPECT_EMPTY(Q, COPY);
		EXPECT_EQ(sig == RT, is_pending(sig));
		if (sig == RT) {
			ASSERT_EQ(1, modify_one(Q, &w, KEVENT_MODIFY_ENABLE));
			EXPECT_CONSUMED(Q, COPY, 1, SI_QUEUE, 4);
			EXPECT_FALSE(is_pending(sig));
		}
		ASSERT_EQ(1, modify_one(Q, &w, KEVENT_MODIFY_ENABLE));
		EXPECT_EMPTY(Q, COPY);
		EXPECT_EQ(1, handled());
		ASSERT_EQ(1, remove_one(Q, w.handle));
	}
}

TEST_F(signal, begins_switched_off)
{
	struct kevent_watch w;

	ASSERT_EQ(0, block(RT));
	ASSERT_EQ(0, send_value(RT, 1));
	ASSERT_EQ(1, add_signal(Q, &w, RT, KEVENT_WATCH_TAKE |
				KEVENT_WATCH_DISABLED, 1));
	ASSERT_EQ(0, send_value(RT, 2));
	EXPECT_EMPTY(Q, COPY);
	EXPECT_TRUE(is_pending(RT));
	ASSERT_EQ(1, modify_one(Q, &w, KEVENT_MODIFY_ENABLE));
	EXPECT_FALSE(is_pending(RT));
	EXPECT_CONSUMED(Q, COPY, 1, SI_QUEUE, 1);
	EXPECT_CONSUMED(Q, COPY, 1, SI_QUEUE, 2);
	EXPECT_EMPTY(Q, COPY);
}

TEST_F(signal, what_was_pending)
{
	struct kevent_watch w;
	int i;

	ASSERT_EQ(0, block(RT));
	ASSERT_EQ(0, block(SIGUSR1));
	for (i = 0; i < 20; i++)
		ASSERT_EQ(0, send_value(RT, i));
	ASSERT_EQ(0, send_value(SIGUSR1, 100));
	ASSERT_EQ(1, add_signal(Q, &w, SIGUSR1, KEVENT_WATCH_TAKE, 1));
	EXPECT_FALSE(is_pending(SIGUSR1));
	EXPECT_TRUE(is_pending(RT));
	EXPECT_CONSUMED(Q, COPY, 1, SI_QUEUE, 100);
	ASSERT_EQ(1, add_signal(Q, &w, RT, KEVENT_WATCH_TAKE, 2));
	EXPECT_FALSE(is_pending(RT));
	for (i = 0; i < 20; i++)
		EXPECT_CONSUMED(Q, COPY, 2, SI_QUEUE, i);
	EXPECT_EMPTY(Q, COPY);
	/* That of a thread stays. */
	ASSERT_EQ(1, remove_one(Q, w.handle));
	ASSERT_EQ(0, tgkill_self(RT));
	ASSERT_EQ(1, add_signal(Q, &w, RT, KEVENT_WATCH_TAKE, 2));
	EXPECT_TRUE(is_pending(RT));
	EXPECT_EMPTY(Q, COPY);
}

/* Of those that are reported later than they are taken. */
TEST_F(signal, says_that_more_follow)
{
	static const __u32 modes[] = { 0, KEVENT_WATCH_DISPATCH };
	struct kevent_watch w;
	struct kevent_event ev;
	size_t m;
	__u32 i;

	ASSERT_EQ(0, block(RT));
	ASSERT_EQ(0, block(SIGUSR1));
	for (m = 0; m < sizeof(modes) / sizeof(*modes); m++) {
		for (i = 0; i < 4; i++)
			ASSERT_EQ(0, send_value(RT, i));
		ASSERT_EQ(1, add_signal(Q, &w, RT, KEVENT_WATCH_TAKE | modes[m],
					1));
		for (i = 0; i < 4; i++) {
			ASSERT_EQ(1, take_now(Q, COPY, &ev));
			EXPECT_EQ(i, ev.data);
			EXPECT_EQ(!modes[m] && i >= variant->entries && i < 3 ?
				  KEVENT_INFO_MORE : 0,
				  ev.info & KEVENT_INFO_MORE);
			if (modes[m])
				ASSERT_EQ(1, modify_one(Q, &w,
							KEVENT_MODIFY_ENABLE));
		}
		EXPECT_EMPTY(Q, COPY);
		ASSERT_EQ(1, remove_one(Q, w.handle));
	}
	/* Of one that merges none follows. */
	ASSERT_EQ(1, add_signal(Q, &w, SIGUSR1, KEVENT_WATCH_TAKE, 1));
	for (i = 0; i < 4; i++)
		ASSERT_EQ(0, send_value(SIGUSR1, i));
	ASSERT_EQ(1, take_now(Q, COPY, &ev));
	EXPECT_EQ(0, ev.info & KEVENT_INFO_MORE);
	EXPECT_EMPTY(Q, COPY);
}

/*
 * What is unconsumed is returned to the process when the watch goes.
 */
TEST_F(signal, removal_loses_nothing)
{
	const int nr = 12;
	struct kevent_watch w;
	struct kevent_event ev;
	int i, taken;

	ASSERT_EQ(0, block(RT));
	ASSERT_EQ(0, block(SIGUSR1));
	for (taken = 0; taken <= nr; taken++) {
		ASSERT_EQ(1, add_signal(Q, &w, RT, KEVENT_WATCH_TAKE, 1));
		for (i = 0; i < nr; i++)
			ASSERT_EQ(0, send_value(RT, i));
		for (i = 0; i < taken; i++)
			EXPECT_CONSUMED(Q, COPY, 1, SI_QUEUE, i);
		ASSERT_EQ(1, remove_one(Q, w.handle));
		EXPECT_EMPTY(Q, COPY);
		for (i = taken; i < nr; i++)
			EXPECT_EQ(i, pending_value(RT));
		EXPECT_EQ(-EAGAIN, pending_value(RT));
	}
	for (taken = 0; taken < 3; taken++) {
		ASSERT_EQ(1, add_signal(Q, &w, SIGUSR1, KEVENT_WATCH_TAKE, 1));
		for (i = 0; i < taken; i++)
			ASSERT_EQ(0, send_value(SIGUSR1, 50));
		if (taken)
			ASSERT_EQ(1, take_now(Q, COPY, &ev));
		if (taken < 2)
			ASSERT_EQ(0, send_value(SIGUSR1, taken));
		ASSERT_EQ(1, remove_one(Q, w.handle));
		EXPECT_EMPTY(Q, COPY);
		EXPECT_EQ(taken < 2 ? taken : -EAGAIN, pending_value(SIGUSR1));
		EXPECT_FALSE(is_pending(SIGUSR1));
	}
}

/* The same while other events fill the ring. */
TEST_F(signal, removal_from_the_backlog)
{
	struct kevent_watch w, rt;
	int i;

	ASSERT_EQ(0, block(RT));
	ASSERT_EQ(0, block(SIGUSR1));
	ASSERT_EQ(20, seq_post(Q->fd, 0, 20, KEVENT_POST_DEFER));
	ASSERT_EQ(1, add_signal(Q, &rt, RT, KEVENT_WATCH_TAKE, 1));
	ASSERT_EQ(1, add_signal(Q, &w, SIGUSR1, KEVENT_WATCH_TAKE, 2));
	for (i = 0; i < 5; i++) {
		ASSERT_EQ(0, send_value(RT, i));
		ASSERT_EQ(0, send_value(SIGUSR1, i));
	}
	ASSERT_EQ(1, remove_one(Q, w.handle));
	ASSERT_EQ(1, remove_one(Q, rt.handle));
	EXPECT_EQ(20, queue_drain(Q));
	for (i = 0; i < 5; i++)
		EXPECT_EQ(i, pending_value(RT));
	EXPECT_EQ(4, pending_value(SIGUSR1));
	EXPECT_FALSE(is_pending(RT));
	EXPECT_FALSE(is_pending(SIGUSR1));
}

TEST_F(signal, close_loses_nothing)
{
	struct kevent_watch w;
	struct queue q;
	int i, looks;

	ASSERT_EQ(0, block(RT));
	ASSERT_EQ(0, block(RT + 1));
	ASSERT_EQ(0, block(SIGUSR1));
	/* Whether or not a task has rechecked the queue in between. */
	for (looks = 0; looks < 3; looks++) {
		ASSERT_LE(0, queue_open(&q, variant->entries));
		ASSERT_EQ(1, add_signal(&q, &w, RT, KEVENT_WATCH_TAKE, 1));
		ASSERT_EQ(1, add_signal(&q, &w, RT + 1, KEVENT_WATCH_TAKE |
					KEVENT_WATCH_ONESHOT, 1));
		ASSERT_EQ(1, add_signal(&q, &w, SIGUSR1, KEVENT_WATCH_TAKE |
					KEVENT_WATCH_ONESHOT, 1));
		ASSERT_EQ(0, send_value(RT + 1, 8));
		ASSERT_EQ(0, send_value(SIGUSR1, 9));
		for (i = 0; i < 5; i++)
			ASSERT_EQ(0, send_value(RT, i));
		for (i = 0; i < looks; i++)
			queue_refill(&q);
		EXPECT_FALSE(is_pending(RT));
		EXPECT_FALSE(is_pending(RT + 1));
		EXPECT_FALSE(is_pending(SIGUSR1));
		queue_close(&q);
		for (i = 0; i < 5; i++)
			EXPECT_EQ(i, pending_value(RT));
		EXPECT_EQ(8, pending_value(RT + 1));
		EXPECT_EQ(9, pending_value(SIGUSR1));
	}
}

/* What one did not report goes to those who are on, as far as each takes it. */
TEST_F(signal, returned_to_all_who_take)
{
	struct kevent_watch w[3];
	struct queue other;
	int i;

	ASSERT_LE(0, queue_open(&other, variant->entries));
	ASSERT_EQ(0, handle(RT));
	ASSERT_EQ(1, add_signal(Q, &w[0], RT, KEVENT_WATCH_TAKE, 1));
	ASSERT_EQ(1, add_signal(&other, &w[1], RT, KEVENT_WATCH_TAKE |
				KEVENT_WATCH_DISPATCH, 2));
	ASSERT_EQ(1, add_signal(&other, &w[2], RT, KEVENT_WATCH_TAKE, 3));
	for (i = 0; i < 4; i++)
		ASSERT_EQ(0, send_value(RT, i));
	ASSERT_EQ(1, remove_one(Q, w[0].handle));
	EXPECT_CONSUMED(&other, COPY, 2, SI_QUEUE, 0);
	for (i = 1; i < 4; i++)
		EXPECT_CONSUMED(&other, COPY, 3, SI_QUEUE, i);
	EXPECT_EMPTY(Q, COPY);
	EXPECT_EMPTY(&other, COPY);
	EXPECT_EQ(0, handled());
	queue_close(&other);
}

/* Each that takes one signal gets one, in the order in which they were added. */
TEST_F(signal, returned_to_each_who_takes_one)
{
	struct kevent_watch first, w;
	struct queue other;
	int i;

	ASSERT_LE(0, queue_open(&other, variant->entries));
	ASSERT_EQ(0, block(RT));
	ASSERT_EQ(1, add_signal(Q, &first, RT, KEVENT_WATCH_TAKE, 1));
	for (i = 0; i < 20; i++)
		ASSERT_EQ(1, add_signal(&other, &w, RT, KEVENT_WATCH_TAKE |
					KEVENT_WATCH_ONESHOT, 100 + i));
	for (i = 0; i < 25; i++)
		ASSERT_EQ(0, send_value(RT, i));
	ASSERT_EQ(1, remove_one(Q, first.handle));
	for (i = 0; i < 20; i++)
		EXPECT_CONSUMED(&other, COPY, 100 + i, SI_QUEUE, i);
	EXPECT_EMPTY(&other, COPY);
	for (i = 20; i < 25; i++)
		EXPECT_EQ(i, pending_value(RT));
	EXPECT_FALSE(is_pending(RT));
	queue_close(&other);
}

/* It is sent as if it had never been taken: ignored, handled, deadly. */
TEST_F(signal, sent_for_good)
{
	struct kevent_watch w;
	pid_t pid;

	ASSERT_EQ(0, handle(SIGUSR1));
	ASSERT_EQ(1, add_signal(Q, &w, SIGUSR1, KEVENT_WATCH_TAKE, 1));
	ASSERT_EQ(0, send_value(SIGUSR1, 6));
	ASSERT_EQ(1, remove_one(Q, w.handle));
	EXPECT_EQ(1, handled());
	EXPECT_EQ(6, handled_value());
	ASSERT_NE(SIG_ERR, signal(SIGUSR1, SIG_IGN));
	ASSERT_EQ(1, add_signal(Q, &w, SIGUSR1, KEVENT_WATCH_TAKE, 1));
	ASSERT_EQ(0, send_value(SIGUSR1, 6));
	ASSERT_EQ(1, remove_one(Q, w.handle));
	EXPECT_FALSE(is_pending(SIGUSR1));

	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		if (add_signal(Q, &w, SIGTERM, KEVENT_WATCH_TAKE, 1) != 1 ||
		    kill(getpid(), SIGTERM))
			_exit(1);
		remove_one(Q, w.handle);
		_exit(2);
	}
	EXPECT_EQ(-SIGTERM, child_status(pid));
}

/* But not if something came that overrules it. */
TEST_F(signal, overruled)
{
	struct kevent_watch w, cont;

	ASSERT_EQ(0, block(SIGTSTP));
	ASSERT_EQ(0, block(SIGCONT));
	ASSERT_EQ(1, add_signal(Q, &w, SIGTSTP, KEVENT_WATCH_TAKE, 1));
	ASSERT_EQ(0, kill(getpid(), SIGTSTP));
	ASSERT_EQ(0, kill(getpid(), SIGCONT));
	ASSERT_EQ(1, remove_one(Q, w.handle));
	EXPECT_FALSE(is_pending(SIGTSTP));
	EXPECT_EQ(0, pending_value(SIGCONT));

	ASSERT_EQ(1, add_signal(Q, &w, SIGTSTP, KEVENT_WATCH_TAKE, 1));
	ASSERT_EQ(1, add_signal(Q, &cont, SIGCONT, KEVENT_WATCH_TAKE, 1));
	ASSERT_EQ(0, kill(getpid(), SIGCONT));
	ASSERT_EQ(0, kill(getpid(), SIGTSTP));
	ASSERT_EQ(1, remove_one(Q, cont.handle));
	EXPECT_FALSE(is_pending(SIGCONT));
	ASSERT_EQ(1, remove_one(Q, w.handle));
	EXPECT_TRUE(is_pending(SIGTSTP));
	EXPECT_EMPTY(Q, COPY);
}

/*
 * Other processes.
 */
TEST_F(signal, child_is_not_watched)
{
	struct kevent_watch w, counting;
	pid_t pid;

	ASSERT_EQ(0, handle(SIGUSR1));
	ASSERT_EQ(1, add_signal(Q, &w, SIGUSR1, KEVENT_WATCH_TAKE, 1));
	ASSERT_EQ(1, add_signal(Q, &counting, SIGUSR1, 0, 1));
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		if (kill(getpid(), SIGUSR1))
			_exit(1);
		_exit(handled());
	}
	EXPECT_EQ(1, child_status(pid));
	EXPECT_EQ(0, handled());
	EXPECT_EMPTY(Q, COPY);
	EXPECT_EQ(2, nr_watches(Q->fd));
}

/* A signal to a process group reaches all in it. */
/*
 * Processes that share their handlers, and so the lock of their lists, are two
 * all the same.
 */
struct sharing {
	struct queue *q;
	struct kevent_watch w;
	struct kevent_event ev[2];
	long pending;
	pid_t pid;
	int ret[4];
};

static int share_handlers(void *arg)
{
	struct sharing *s = arg;

	s->pid = getpid();
	/* The parent's watch is not this one's. */
	s->ret[0] = send_value(RT, 1);
	s->pending = pending_value(RT);
	s->ret[1] = queue_to(getppid(), RT, 2);
	s->ret[2] = add_signal(s->q, &s->w, RT, KEVENT_WATCH_TAKE, 2);
	s->ret[3] = send_value(RT, 3);
	if (take_now(s->q, true, &s->ev[0]) == 1)
		take_now(s->q, true, &s->ev[1]);
	_exit(0);
}

TEST_F(signal, shared_handlers)
{
	/* For a stack that grows down, as it does where this is tested. */
	static char stack[65536];
	struct sharing s = { .q = Q, .pending = -1 };
	struct kevent_watch w;
	int i;

	ASSERT_EQ(0, block(RT));
	ASSERT_EQ(1, add_signal(Q, &w, RT, KEVENT_WATCH_TAKE, 1));
	s.pid = clone(share_handlers, stack + sizeof(stack),
		      CLONE_VM | CLONE_SIGHAND | CLONE_VFORK | SIGCHLD, &s);
	ASSERT_LT(0, s.pid);
	ASSERT_EQ(0, child_status(s.pid));
	EXPECT_EQ(0, s.ret[0]);
	EXPECT_EQ(1, s.pending);
	EXPECT_EQ(0, s.ret[1]);
	EXPECT_EQ(1, s.ret[2]);
	EXPECT_EQ(0, s.ret[3]);
	for (i = 0; i < 2; i++) {
		EXPECT_EQ(1 + i, s.ev[i].user_data);
		EXPECT_EQ(2 + i, s.ev[i].data);
		EXPECT_EQ(s.pid, KEVENT_SIGNAL_PID(s.ev[i].extra));
	}
	/* The child's has gone with it. */
	EXPECT_EQ(1, nr_watches(Q->fd));
	ASSERT_EQ(0, send_value(RT, 4));
	EXPECT_CONSUMED(Q, COPY, 1, SI_QUEUE, 4);
	EXPECT_EMPTY(Q, COPY);
}

TEST_F(signal, process_group)
{
	struct gate ready, sent;
	struct kevent_watch w;
	pid_t pid;

	ASSERT_EQ(0, gate_init(&ready));
	ASSERT_EQ(0, gate_init(&sent));
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		pid_t other;

		if (setpgid(0, 0) || handle(RT) ||
		    add_signal(Q, &w, RT, KEVENT_WATCH_TAKE, 1) != 1)
			_exit(1);
		other = fork();
		if (!other) {
			gate_open(&ready);
			gate_pass(&sent);
			_exit(handled());
		}
		_exit(child_status(other) * 2 + handled());
	}
	ASSERT_TRUE(gate_pass(&ready));
	ASSERT_EQ(0, kill(-pid, RT));
	EXPECT_CONSUMED(Q, COPY, 1, SI_USER, 0);
	gate_open(&sent);
	EXPECT_EQ(2, child_status(pid));
}

/* Another process has the queue: waits, changes, removes. */
TEST_F(signal, passed_queue)
{
	struct gate ready, done;
	struct kevent_watch w;
	pid_t pid;

	ASSERT_EQ(0, gate_init(&ready));
	ASSERT_EQ(0, gate_init(&done));
	ASSERT_EQ(0, handle(RT));
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		ssize_t n;

		if (block(RT) || add_signal(Q, &w, RT, KEVENT_WATCH_TAKE |
					    KEVENT_WATCH_DISPATCH, 1) != 1)
			_exit(1);
		n = write(ready.fds[1], &w.handle, sizeof(w.handle));
		if (n != sizeof(w.handle) || !gate_pass(&done))
			_exit(2);
		_exit(pending_value(RT) == 3 && pending_value(RT) == 4 &&
		      pending_value(RT) == -EAGAIN ? 0 : 3);
	}
	w = signal_watch(RT, 0, 1);
	ASSERT_EQ(sizeof(w.handle),
		  read(ready.fds[0], &w.handle, sizeof(w.handle)));
	ASSERT_EQ(0, queue_to(pid, RT, 1));
	EXPECT_CONSUMED(Q, COPY, 1, SI_QUEUE, 1);
	ASSERT_EQ(0, queue_to(pid, RT, 2));
	ASSERT_EQ(1, modify_one(Q, &w, KEVENT_MODIFY_ENABLE));
	EXPECT_CONSUMED(Q, COPY, 1, SI_QUEUE, 2);
	/* It is that of the other process, whichever process enables it. */
	ASSERT_EQ(0, kill(getpid(), RT));
	EXPECT_EQ(1, handled());
	ASSERT_EQ(1, modify_one(Q, &w, KEVENT_MODIFY_ENABLE));
	ASSERT_EQ(0, queue_to(pid, RT, 3));
	ASSERT_EQ(0, queue_to(pid, RT, 4));
	ASSERT_EQ(1, remove_one(Q, w.handle));
	EXPECT_EMPTY(Q, COPY);
	EXPECT_EQ(1, handled());
	gate_open(&done);
	EXPECT_EQ(0, child_status(pid));
}

TEST_F(signal, process_exits)
{
	struct kevent_watch w[4];
	struct kevent_event ev;
	pid_t pid;
	int i;

	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		/* The child numbers them from 0 on, as the parent would. */
		if (add_signal(Q, &w[0], RT, KEVENT_WATCH_TAKE, 0) != 1 ||
		    add_signal(Q, &w[1], RT, 0, 1) != 1 ||
		    add_signal(Q, &w[2], SIGUSR1, KEVENT_WATCH_TAKE, 2) != 1 ||
		    add_signal(Q, &w[3], SIGUSR2, KEVENT_WATCH_DISABLED, 3) != 1)
			_exit(1);
		for (i = 0; i < 5; i++)
			kill(getpid(), i == 4 ? SIGUSR1 : RT);
		_exit(nr_watches(Q->fd) == 4 ? 0 : 2);
	}
	ASSERT_EQ(0, child_status(pid));
	EXPECT_EQ(0, nr_watches(Q->fd));
	EXPECT_EQ(0, take_now(Q, COPY, &ev));
}

TEST_F(signal, process_exits_and_that_is_reported)
{
	struct kevent_watch w[5];
	struct kevent_event ev;
	int i, last[5] = {}, rt = 0;
	pid_t pid;

	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		__u32 take = KEVENT_WATCH_TAKE | KEVENT_WATCH_VANISHED;

		if (add_signal(Q, &w[0], RT, take, 0) != 1 ||
		    add_signal(Q, &w[1], RT, KEVENT_WATCH_VANISHED, 1) != 1 ||
		    add_signal(Q, &w[2], SIGUSR1, take, 2) != 1 ||
		    add_signal(Q, &w[3], SIGUSR2, KEVENT_WATCH_VANISHED |
			       KEVENT_WATCH_DISABLED, 3) != 1 ||
		    add_signal(Q, &w[4], RT + 1, take | KEVENT_WATCH_DISPATCH,
			       4) != 1)
			_exit(1);
		for (i = 0; i < 6; i++)
			send_value(RT, i);
		send_value(SIGUSR1, 7);
		_exit(0);
	}
	ASSERT_EQ(0, child_status(pid));
	for (;;) {
		ASSERT_EQ(1, take_now(Q, COPY, &ev));
		ASSERT_GT(5, ev.user_data);
		ASSERT_EQ(0, last[ev.user_data]);
		if (ev.user_data == 0 && ev.events) {
			EXPECT_EQ(0, ev.info & KEVENT_INFO_VANISHED);
			EXPECT_EQ(rt, ev.data);
			rt++;
		}
		if (ev.info & KEVENT_INFO_VANISHED) {
			last[ev.user_data] = 1;
			EXPECT_NE(0, ev.user_data || rt == 6);
			if (last[0] && last[1] && last[2] && last[3] && last[4])
				break;
		}
	}
	EXPECT_EMPTY(Q, COPY);
	EXPECT_EQ(0, nr_watches(Q->fd));
}

struct execed {
	struct kevent_create args;
	int fd;
	int what;
	struct kevent_watch w;
};

enum { JUST_EXIT, QUEUE_STAYS, QUEUE_CLOSED };

static int after_exec(struct execed *s)
{
	struct queue q = { .fd = s->fd, .args = s->args };
	const bool copy = true;
	struct kevent_event ev = {};
	int i;

	switch (s->what) {
	case QUEUE_CLOSED:
		if (fcntl(s->fd, F_GETFD) != -1)
			return 10;
		for (i = 0; i < 5; i++) {
			if (pending_value(RT) != i)
				return 11;
		}
		return pending_value(RT) == -EAGAIN ? 0 : 12;
	case QUEUE_STAYS:
		if (q.args.mmap_size && queue_map(&q) != -EACCES)
			return 20;
		if (watch_gone(&q, &s->w))
			return 21;
		if (is_pending(RT) || kill(getpid(), RT))
			return 22;
		for (i = 0; i < 6; i++) {
			if (take_now(&q, copy, &ev) != 1)
				return 23;
			if (ev.data != (i < 5 ? i : 0))
				return 24;
		}
		return remove_one(&q, s->w.handle) == 1 ? 0 : 25;
	}
	return 0;
}

static void __attribute__((constructor)) execed(void)
{
	struct execed s;

	if (exec_state(&s, sizeof(s)))
		_exit(after_exec(&s));
}

static void *exec_in_thread(void *arg)
{
	exec_again(arg, sizeof(struct execed));
	return NULL;
}

/* Executes this program with five signals taken. */
static int exec_with_five(struct queue *q, int what, bool in_thread)
{
	struct execed s = {
		.args = q->args,
		.fd = q->fd,
		.what = what,
	};
	pthread_t thread;
	int i;

	if (block(RT) || add_signal(q, &s.w, RT, KEVENT_WATCH_TAKE, 1) != 1)
		return 1;
	if (fcntl(q->fd, F_SETFD, what == QUEUE_CLOSED ? FD_CLOEXEC : 0))
		return 5;
	for (i = 0; i < 5; i++) {
		if (send_value(RT, i))
			return 2;
	}
	if (in_thread && pthread_create(&thread, NULL, exec_in_thread, &s))
		return 3;
	while (in_thread)
		pause();
	exec_again(&s, sizeof(s));
	return 4;
}

TEST_F(signal, exec)
{
	struct queue q;
	pid_t pid;
	int i;

	for (i = 0; i < 4; i++) {
		bool closed = i & 1, in_thread = i & 2;

		pid = fork();
		ASSERT_LE(0, pid);
		if (!pid) {
			if (queue_open_shared(&q, variant->entries) < 0)
				_exit(5);
			if (q.ring)
				munmap(q.ring, q.args.mmap_size);
			if (closed)
				fcntl(q.fd, F_SETFD, FD_CLOEXEC);
			_exit(exec_with_five(&q, closed ? QUEUE_CLOSED :
					     QUEUE_STAYS, in_thread));
		}
		EXPECT_EQ(0, child_status(pid));
	}
}

/* A copy of this program that has its own user id, in a filesystem of its own. */
static bool make_set_user_id(char *dir, char *name, size_t size)
{
	char buf[65536];
	int from, to;
	ssize_t n;

	if (!mkdtemp(dir) || mount("kevent", dir, "tmpfs", 0, NULL))
		return false;
	snprintf(name, size, "%s/program", dir);
	from = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	to = open(name, O_WRONLY | O_CREAT | O_CLOEXEC, 0755);
	while ((n = read(from, buf, sizeof(buf))) > 0)
		if (write(to, buf, n) != n)
			return false;
	close(from);
	if (fchown(to, 1234, -1) || fchmod(to, 04755))
		return false;
	close(to);
	return true;
}

/* Executes it; it is stopped right after that. */
static int exec_stopped(const char *name)
{
	struct execed s = { .what = JUST_EXIT };
	char hex[2 * sizeof(s) + 1];
	size_t i;

	for (i = 0; i < sizeof(s); i++)
		snprintf(hex + 2 * i, 3, "%02x", ((unsigned char *)&s)[i]);
	setenv(EXEC_STATE, hex, 1);
	if (syscall(SYS_ptrace, 0 /* PTRACE_TRACEME */, 0, 0, 0))
		return 2;
	execl(name, "kevent", NULL);
	return 3;
}

/* No program watches the signals of one with more privileges. */
TEST_F(signal, set_user_id)
{
	char dir[] = "/tmp/kevent-XXXXXX", name[64];
	struct kevent_watch w;
	struct kevent_event ev;
	int status;
	pid_t pid;

	if (geteuid())
		SKIP(return, "needs root");
	ASSERT_TRUE(make_set_user_id(dir, name, sizeof(name)));
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		if (add_signal(Q, &w, RT, KEVENT_WATCH_TAKE |
			       KEVENT_WATCH_VANISHED, 1) != 1 ||
		    add_signal(Q, &w, RT, 0, 2) != 1)
			_exit(1);
		_exit(exec_stopped(name));
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	ASSERT_TRUE(WIFSTOPPED(status));
	EXPECT_EQ(0, nr_watches(Q->fd));
	ASSERT_EQ(1, take_now(Q, COPY, &ev));
	EXPECT_EQ(1, ev.user_data);
	EXPECT_EQ(0, ev.events);
	EXPECT_EQ(KEVENT_INFO_VANISHED, ev.info & KEVENT_INFO_VANISHED);
	EXPECT_EMPTY(Q, COPY);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	umount2(dir, MNT_DETACH);
	rmdir(dir);
}

/* Nor does closing a queue send it what was intercepted before. */
TEST_F(signal, set_user_id_is_returned_nothing)
{
	char dir[] = "/tmp/kevent-XXXXXX", name[64];
	const int sig[] = { SIGTERM, RT };
	struct kevent_watch w;
	struct queue q;
	int i, status;
	pid_t pid;

	if (geteuid())
		SKIP(return, "needs root");
	ASSERT_TRUE(make_set_user_id(dir, name, sizeof(name)));
	for (i = 0; i < 2; i++) {
		ASSERT_LE(0, queue_open_shared(&q, variant->entries));
		pid = fork();
		ASSERT_LE(0, pid);
		if (!pid) {
			if (add_signal(&q, &w, sig[i], KEVENT_WATCH_TAKE |
				       KEVENT_WATCH_VANISHED, 1) != 1 ||
			    kill(getpid(), sig[i]))
				_exit(1);
			_exit(exec_stopped(name));
		}
		ASSERT_EQ(pid, waitpid(pid, &status, 0));
		ASSERT_TRUE(WIFSTOPPED(status));
		queue_close(&q);
		/* It exits; a signal would stop it first. */
		ASSERT_EQ(0, syscall(SYS_ptrace, 7 /* PTRACE_CONT */, pid, 0, 0));
		ASSERT_EQ(pid, waitpid(pid, &status, 0));
		EXPECT_TRUE(WIFEXITED(status));
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
	}
	umount2(dir, MNT_DETACH);
	rmdir(dir);
}

/* Threads share the watch, and it stays when the first one goes. */
static void *outlive(void *arg)
{
	struct queue *q = arg;
	struct kevent_event ev;

	/* Until the first thread is a zombie. */
	while (task_state(getpid()) != 'Z')
		usleep(1000);
	if (send_value(RT, 5) || take_now(q, true, &ev) != 1 || ev.data != 5)
		_exit(1);
	if (send_value(RT, 6) || queue_drain(q) != 1)
		_exit(2);
	_exit(0);
}

TEST_F(signal, first_thread_exits)
{
	struct kevent_watch w;
	pthread_t thread;
	pid_t pid;

	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		if (add_signal(Q, &w, RT, KEVENT_WATCH_TAKE, 1) != 1 ||
		    pthread_create(&thread, NULL, outlive, Q))
			_exit(3);
		syscall(SYS_exit, 0);
	}
	EXPECT_EQ(0, child_status(pid));
	EXPECT_EQ(0, nr_watches(Q->fd));
}

/*
 * Races. Whichever is first, a signal comes out once.
 */
#define SIGNALS	200000
#define ROUNDS	1500

struct sending {
	pid_t pid;
	int sig;
	int next;
	int refused;	/* RLIMIT_SIGPENDING */
	unsigned int most;	/* turns to wait between two */
	bool stop;
};

static void *send_all(void *arg)
{
	struct sending *s = arg;
	unsigned int seed = 7;
	int ret;

	while (s->next < SIGNALS &&
	       !__atomic_load_n(&s->stop, __ATOMIC_ACQUIRE)) {
		dawdle(&seed, s->most);
		ret = queue_to(s->pid, s->sig, s->next);
		if (ret && ret != -EAGAIN)
			break;
		if (ret) {
			s->refused++;
			sched_yield();
		} else {
			s->next++;
		}
	}
	return NULL;
}

static void stop_sending(struct sending *s, pthread_t thread)
{
	__atomic_store_n(&s->stop, true, __ATOMIC_RELEASE);
	pthread_join(thread, NULL);
}

static unsigned char seen[SIGNALS];

static bool see(long value)
{
	return value >= 0 && value < SIGNALS && !seen[value]++;
}

/* Sees what comes as events and what is pending; false if something is odd. */
static bool see_some(struct queue *q, bool copy, int most)
{
	struct kevent_event ev;

	while (most-- && take_now(q, copy, &ev) == 1) {
		if (ev.events != KEVENT_SIGNAL_SENT || !see(ev.data))
			return false;
	}
	return true;
}

static bool see_pending(void)
{
	long value;

	while ((value = pending_value(RT)) != -EAGAIN) {
		if (!see(value))
			return false;
	}
	return true;
}

static int nr_seen(void)
{
	int i, nr = 0;

	for (i = 0; i < SIGNALS; i++)
		nr += seen[i];
	return nr;
}

TEST_F_TIMEOUT(signal, each_comes_once_with_watches_that_come_and_go, 120)
{
	static const __u32 modes[] = {
		0, KEVENT_WATCH_ONESHOT, KEVENT_WATCH_DISPATCH,
		KEVENT_WATCH_DISABLED,
	};
	struct sending s = { .pid = getpid(), .sig = RT, .most = 2000 };
	unsigned int seed = 1, rounds;
	struct kevent_watch w;
	pthread_t thread;
	int ret;

	ASSERT_EQ(0, block(RT));
	ASSERT_EQ(0, pthread_create(&thread, NULL, send_all, &s));
	for (rounds = 0; rounds < ROUNDS; rounds++) {
		ret = add_signal(Q, &w, RT, KEVENT_WATCH_TAKE |
				 modes[rand_r(&seed) % 4], 1);
		if (ret == -EAGAIN) {
			/* As many are pending as may be. */
			ASSERT_TRUE(see_some(Q, COPY, SIGNALS));
			ASSERT_TRUE(see_pending());
			continue;
		}
		ASSERT_EQ(1, ret);
		dawdle(&seed, 3000);
		ASSERT_TRUE(see_some(Q, COPY, rand_r(&seed) % 8));
		switch (rand_r(&seed) % 4) {
		case 0:
			modify_one(Q, &w, KEVENT_MODIFY_DISABLE);
			dawdle(&seed, 3000);
			break;
		case 1:
			modify_one(Q, &w, KEVENT_MODIFY_ENABLE);
			dawdle(&seed, 3000);
			break;
		}
		remove_one(Q, w.handle);
		ASSERT_TRUE(see_pending());
	}
	stop_sending(&s, thread);
	ASSERT_TRUE(see_some(Q, COPY, SIGNALS));
	ASSERT_TRUE(see_pending());
	EXPECT_LT(100, s.next);
	EXPECT_EQ(s.next, nr_seen());
	EXPECT_EQ(0, nr_watches(Q->fd));
}

TEST_F_TIMEOUT(signal, each_comes_once_with_queues_that_come_and_go, 120)
{
	struct sending s = { .pid = getpid(), .sig = RT, .most = 2000 };
	unsigned int seed = 2, rounds;
	struct kevent_watch w, first;
	pthread_t thread;
	struct queue q;
	int ret;

	ASSERT_EQ(0, block(RT));
	ASSERT_EQ(1, add_signal(Q, &first, RT, KEVENT_WATCH_TAKE, 1));
	ASSERT_EQ(0, pthread_create(&thread, NULL, send_all, &s));
	for (rounds = 0; rounds < ROUNDS; rounds++) {
		ASSERT_LE(0, queue_open(&q, variant->entries));
		ret = add_signal(&q, &w, RT, KEVENT_WATCH_TAKE, 2);
		ASSERT_TRUE(ret == 1 || ret == -EAGAIN);
		/* Every other time it is the only one that is on. */
		if (rounds & 1)
			modify_one(Q, &first, KEVENT_MODIFY_DISABLE);
		ASSERT_TRUE(see_some(Q, COPY, 200));
		dawdle(&seed, 3000);
		ASSERT_TRUE(see_some(&q, COPY, rand_r(&seed) % 8));
		queue_close(&q);
		ASSERT_TRUE(see_pending());
		modify_one(Q, &first, KEVENT_MODIFY_ENABLE);
	}
	stop_sending(&s, thread);
	ASSERT_TRUE(see_some(Q, COPY, SIGNALS));
	ASSERT_TRUE(see_pending());
	EXPECT_LT(100, s.next);
	EXPECT_EQ(s.next, nr_seen());
}

/* A standard one comes at least once after it was sent. */
struct poking {
	pid_t pid;
	int times;
	unsigned int seed;
};

static void poke(void *arg)
{
	struct poking *p = arg;
	int i;

	for (i = 0; i < p->times; i++) {
		dawdle(&p->seed, 1000);
		kill(p->pid, SIGUSR1);
	}
}

TEST_F_TIMEOUT(signal, none_is_forgotten, 120)
{
	struct poking p = { .pid = getpid(), .times = 2, .seed = 3 };
	struct kevent_event ev;
	struct kevent_watch w;
	struct racer racer;
	unsigned int seed = 4;
	int i, got;

	ASSERT_EQ(0, block(SIGUSR1));
	ASSERT_EQ(0, racer_start(&racer, poke, &p));
	for (i = 0; i < 2000; i++) {
		got = 0;
		racer_go(&racer);
		ASSERT_EQ(1, add_signal(Q, &w, SIGUSR1, KEVENT_WATCH_TAKE, 1));
		dawdle(&seed, 1500);
		got += take_now(Q, COPY, &ev);
		if (i & 1) {
			modify_one(Q, &w, KEVENT_MODIFY_DISABLE);
			dawdle(&seed, 1000);
			modify_one(Q, &w, KEVENT_MODIFY_ENABLE);
		}
		dawdle(&seed, 1000);
		if (i & 2)
			racer_wait(&racer);
		ASSERT_EQ(1, remove_one(Q, w.handle));
		racer_wait(&racer);
		while (pending_value(SIGUSR1) != -EAGAIN)
			got++;
		ASSERT_LE(1, got);
		ASSERT_GE(2, got);
		EXPECT_EMPTY(Q, COPY);
		ASSERT_TRUE(__test_passed(_metadata));
	}
	racer_stop(&racer);
}

/* Counts are exact, whatever else goes on. */
TEST_F(signal, counts_are_exact)
{
	struct sending s = { .pid = getpid(), .sig = RT, .most = 1000 };
	struct kevent_watch w, taking;
	struct kevent_event ev;
	unsigned int seed = 5, rounds;
	__u64 sum = 0, taken = 0;
	pthread_t thread;
	int i;

	ASSERT_NE(SIG_ERR, signal(RT, SIG_IGN));
	ASSERT_EQ(1, add_signal(Q, &w, RT, 0, 1));
	for (rounds = 0; rounds < ROUNDS / 10; rounds++) {
		ASSERT_EQ(1, add_signal(Q, &taking, RT, KEVENT_WATCH_TAKE, 2));
		/* The first ones are taken. */
		if (!rounds)
			ASSERT_EQ(0, pthread_create(&thread, NULL, send_all,
						    &s));
		for (i = 0; i < 30; i++) {
			dawdle(&seed, 2000);
			if (take_now(Q, COPY, &ev) != 1)
				continue;
			if (ev.user_data == 1)
				sum += ev.data;
			else
				taken++;
		}
		ASSERT_EQ(1, remove_one(Q, taking.handle));
	}
	stop_sending(&s, thread);
	while (take_now(Q, COPY, &ev) == 1) {
		ASSERT_EQ(1, ev.user_data);
		sum += ev.data;
	}
	/* Those that could not be queued were sent as well. */
	EXPECT_EQ(s.next + s.refused, sum);
	EXPECT_NE(0, taken);
	EXPECT_GE(s.next, taken);
}

/* The process exits, or executes something, while others are at the watch. */
enum { EXITS, THREAD_EXITS, EXECUTES, THREAD_EXECUTES, NR_ENDS };

static void *exit_thread(void *arg)
{
	syscall(SYS_exit, 0);
	return arg;
}

static int end_process(struct queue *q, int how, int out)
{
	struct execed s = { .what = JUST_EXIT };
	struct kevent_watch w;
	pthread_t thread;

	if (signal(RT, SIG_IGN) == SIG_ERR ||
	    add_signal(q, &w, RT, KEVENT_WATCH_TAKE, 1) != 1 ||
	    write(out, &w.handle, sizeof(w.handle)) != sizeof(w.handle))
		return 1;
	switch (how) {
	case THREAD_EXITS:
		if (pthread_create(&thread, NULL, exit_thread, NULL))
			return 2;
		syscall(SYS_exit, 0);
		break;
	case EXECUTES:
		exec_again(&s, sizeof(s));
		break;
	case THREAD_EXECUTES:
		if (pthread_create(&thread, NULL, exec_in_thread, &s))
			return 3;
		for (;;)
			pause();
	}
	return 0;
}

TEST_F_TIMEOUT(signal, end_against_all, 120)
{
	struct kevent_watch w = signal_watch(RT, 0, 1);
	unsigned int seed = 6;
	struct gate reported;
	int i, n, ret;
	pid_t pid;

	ASSERT_EQ(0, gate_init(&reported));
	for (i = 0; i < 600; i++) {
		pid = fork();
		ASSERT_LE(0, pid);
		if (!pid)
			_exit(end_process(Q, i % NR_ENDS, reported.fds[1]));
		ASSERT_EQ(sizeof(w.handle),
			  read(reported.fds[0], &w.handle, sizeof(w.handle)));
		n = rand_r(&seed) % 12;
		while (n--) {
			ret = queue_to(pid, RT, n);
			ASSERT_TRUE(!ret || ret == -EAGAIN || ret == -ESRCH);
			dawdle(&seed, 20000);
		}
		switch (rand_r(&seed) % 3) {
		case 0:
			ret = remove_one(Q, w.handle);
			ASSERT_TRUE(ret == 1 || ret == -ENOENT);
			break;
		case 1:
			ret = modify_one(Q, &w, KEVENT_MODIFY_DISABLE);
			ASSERT_TRUE(ret == 1 || ret == -ENOENT);
			ret = modify_one(Q, &w, KEVENT_MODIFY_ENABLE);
			ASSERT_TRUE(ret == 1 || ret == -ENOENT);
			break;
		}
		queue_drain(Q);
		ASSERT_EQ(0, child_status(pid));
		ASSERT_EQ(0, queue_drain(Q));
		ASSERT_EQ(0, nr_watches(Q->fd));
	}
}

TEST_HARNESS_MAIN
