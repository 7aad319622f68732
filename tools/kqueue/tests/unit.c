/* SPDX-License-Identifier: MIT */
/* kqueue(2) on a simulated kernel: what the library itself does. */
#define _GNU_SOURCE
#include <sys/event.h>
#include "sim.h"
#include "test.h"
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/socket.h>

static const struct timespec no_time = { 0, 0 };

static int change(int kq, uintptr_t ident, short filter, unsigned short flags, unsigned int fflags,
		  int64_t data, void *udata)
{
	struct kevent kev;

	EV_SET(&kev, ident, filter, flags, fflags, data, udata);
	return kevent(kq, &kev, 1, NULL, 0, NULL);
}

static int get(int kq, struct kevent *kev)
{
	return kevent(kq, NULL, 0, kev, 1, &no_time);
}

static void add_errors(void)
{
	struct kevent kev[2];
	int kq = kqueue();

	CHECK(kq >= 0);
	CHECK_ERR(kqueue1(1), EINVAL);
	CHECK_ERR(change(-1, 1, EVFILT_USER, EV_ADD, 0, 0, NULL), EBADF);
	CHECK_ERR(change(0, 1, EVFILT_USER, EV_ADD, 0, 0, NULL), EBADF);
	CHECK_ERR(kevent(kq, NULL, 1, NULL, 0, NULL), EINVAL);
	CHECK_ERR(kevent(kq, NULL, -1, NULL, 0, NULL), EINVAL);
	CHECK_ERR(kevent(kq, NULL, 0, NULL, 1, NULL), EINVAL);
	CHECK_ERR(kevent(kq, NULL, 0, kev, 1, &(struct timespec){ 0, -1 }), EINVAL);
	CHECK_EQ(kevent(kq, NULL, 0, NULL, 0, NULL), 0);
	CHECK_ERR(change(kq, 1, 5, EV_ADD, 0, 0, NULL), EINVAL);
	CHECK_ERR(change(kq, 1, -77, EV_ADD, 0, 0, NULL), EINVAL);
	CHECK_ERR(change(kq, 1, EVFILT_AIO, EV_ADD, 0, 0, NULL), ENOTSUP);
	CHECK_ERR(change(kq, 1, EVFILT_FS, EV_ADD, 0, 0, NULL), ENOTSUP);
	CHECK_ERR(change(kq, 12345, EVFILT_READ, EV_ADD, 0, 0, NULL), EBADF);
	CHECK_ERR(change(kq, (uintptr_t)-1, EVFILT_READ, EV_ADD, 0, 0, NULL), EBADF);
	CHECK_ERR(change(kq, 0, EVFILT_SIGNAL, EV_ADD, 0, 0, NULL), EINVAL);
	CHECK_ERR(change(kq, 0, EVFILT_TIMER, EV_ADD, 0, -1, NULL), EINVAL);
	CHECK_ERR(change(kq, 0, EVFILT_TIMER, EV_ADD, NOTE_SECONDS | NOTE_NSECONDS, 1, NULL), EINVAL);
	CHECK_EQ(change(kq, 0x7fffffff, EVFILT_PROC, EV_ADD, NOTE_EXIT, 0, NULL), -1);
	CHECK(errno == ESRCH || errno == ENOSYS); /* valgrind may not have pidfd_open(2) */
	CHECK_ERR(change(kq, getpid(), EVFILT_PROC, EV_ADD, NOTE_FORK, 0, NULL), ENOTSUP);
	CHECK_ERR(change(kq, 1, EVFILT_USER, EV_DELETE, 0, 0, NULL), ENOENT);
	CHECK_ERR(change(kq, 1, EVFILT_USER, EV_ENABLE, 0, 0, NULL), ENOENT);
	CHECK_EQ(sim_watches(kq), 0);

	/* With room for it the error is an event, and it comes alone. */
	CHECK_EQ(change(kq, 9, EVFILT_USER, EV_ADD, NOTE_TRIGGER, 0, NULL), 0);
	EV_SET(&kev[0], 1, EVFILT_USER, EV_DELETE, 0, 0, NULL);
	EV_SET(&kev[1], 2, EVFILT_USER, EV_ADD | EV_RECEIPT, 0, 0, NULL);
	CHECK_EQ(kevent(kq, kev, 2, kev, 2, NULL), 2);
	CHECK(kev[0].flags & EV_ERROR && kev[0].data == ENOENT && kev[0].ident == 1);
	CHECK(kev[1].flags & EV_ERROR && kev[1].data == 0 && kev[1].ident == 2);
	close(kq);
	CHECK_ERR(get(kq, kev), EBADF);
}

static void user_events(void)
{
	struct kevent kev;
	int kq = kqueue(), mark;

	CHECK_EQ(change(kq, 1, EVFILT_USER, EV_ADD | EV_CLEAR, 0, 0, &mark), 0);
	CHECK_EQ(get(kq, &kev), 0);
	CHECK_EQ(change(kq, 1, EVFILT_USER, 0, NOTE_FFOR | 5, 0, NULL), 0);
	CHECK_EQ(get(kq, &kev), 0);
	CHECK_EQ(change(kq, 1, EVFILT_USER, 0, NOTE_FFOR | NOTE_TRIGGER | 2, 77, NULL), 0);
	CHECK_EQ(change(kq, 1, EVFILT_USER, 0, NOTE_TRIGGER, 78, NULL), 0);
	CHECK_EQ(get(kq, &kev), 1);
	CHECK(kev.ident == 1 && kev.filter == EVFILT_USER && kev.fflags == 7 && kev.data == 78 &&
	      kev.udata == &mark && kev.flags & EV_CLEAR);
	CHECK_EQ(get(kq, &kev), 0);
	/* A level stays. */
	CHECK_EQ(change(kq, 2, EVFILT_USER, EV_ADD, NOTE_TRIGGER | NOTE_FFCOPY | 6, 0, NULL), 0);
	for (int i = 0; i < 3; i++) {
		CHECK_EQ(get(kq, &kev), 1);
		CHECK_EQ(kev.fflags, 6);
	}
	CHECK_EQ(change(kq, 2, EVFILT_USER, EV_DISABLE, NOTE_FFAND | 2, 0, NULL), 0);
	CHECK_EQ(get(kq, &kev), 0);
	CHECK_EQ(change(kq, 2, EVFILT_USER, EV_ENABLE, 0, 0, NULL), 0);
	CHECK_EQ(get(kq, &kev), 1);
	CHECK_EQ(kev.fflags, 2);
	CHECK_EQ(change(kq, 2, EVFILT_USER, EV_DELETE, 0, 0, NULL), 0);
	CHECK_EQ(get(kq, &kev), 0);
	/* Triggered while disabled. */
	CHECK_EQ(change(kq, 3, EVFILT_USER, EV_ADD | EV_DISABLE | EV_ONESHOT, 0, 0, NULL), 0);
	CHECK_EQ(change(kq, 3, EVFILT_USER, 0, NOTE_TRIGGER, 0, NULL), 0);
	CHECK_EQ(get(kq, &kev), 0);
	CHECK_EQ(change(kq, 3, EVFILT_USER, EV_ENABLE, 0, 0, NULL), 0);
	CHECK_EQ(get(kq, &kev), 1);
	CHECK_ERR(change(kq, 3, EVFILT_USER, EV_DELETE, 0, 0, NULL), ENOENT);
	close(kq);
}

static void sockets(void)
{
	struct kevent_watch w;
	struct kevent kev;
	int kq = kqueue(), s[2];
	__u64 handle;

	CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, s), 0);
	CHECK_EQ(change(kq, s[0], EVFILT_READ, EV_ADD, NOTE_LOWAT, 10, NULL), 0);
	handle = sim_find(kq, KEVENT_SOURCE_SOCKET, s[0], &w);
	CHECK(handle && w.events == (KEVENT_SOCKET_IN | KEVENT_SOCKET_ACCEPT) && w.arg[0] == 10 && !w.flags);
	sim_fire(kq, handle, KEVENT_SOCKET_IN, 0, 33, 0);
	CHECK_EQ(get(kq, &kev), 1);
	CHECK(kev.data == 33 && !(kev.flags & EV_EOF));
	sim_fire(kq, handle, KEVENT_SOCKET_IN | KEVENT_SOCKET_EOF, KEVENT_INFO_ERROR, 3, (__u64)ECONNRESET << 32);
	CHECK_EQ(get(kq, &kev), 1);
	CHECK(kev.data == 3 && kev.flags & EV_EOF && kev.fflags == ECONNRESET);

	/* EV_ADD again changes it; READ and WRITE are two. */
	CHECK_EQ(change(kq, s[0], EVFILT_READ, EV_ADD | EV_CLEAR, 0, 0, &kev), 0);
	CHECK_EQ(change(kq, s[0], EVFILT_READ, EV_DISABLE, 0, 0, NULL), 0);
	CHECK_EQ(sim_watches(kq), 1);
	CHECK(sim_find(kq, KEVENT_SOURCE_SOCKET, s[0], &w) == handle && w.flags == KEVENT_WATCH_EDGE && !w.arg[0]);
	sim_fire(kq, handle, KEVENT_SOCKET_IN, 0, 33, 0);
	CHECK_EQ(get(kq, &kev), 0);
	CHECK_EQ(change(kq, s[0], EVFILT_WRITE, EV_ADD, 0, 0, NULL), 0);
	CHECK_EQ(sim_watches(kq), 2);
	handle = sim_find(kq, KEVENT_SOURCE_SOCKET, s[0], &w);
	sim_fire(kq, handle, KEVENT_SOCKET_OUT, 0, 0, 4096);
	CHECK_EQ(get(kq, &kev), 1);
	CHECK(kev.filter == EVFILT_WRITE && kev.data == 4096);
	/* Its descriptor was closed: EV_ADD makes another one. */
	CHECK_EQ(kevent_remove(kq, &handle, 1, 0), 1);
	CHECK_EQ(change(kq, s[0], EVFILT_WRITE, EV_ADD, 0, 0, NULL), 0);
	CHECK_EQ(sim_watches(kq), 2);
	handle = sim_find(kq, KEVENT_SOURCE_SOCKET, s[0], &w);
	CHECK_EQ(kevent_remove(kq, &handle, 1, 0), 1);
	CHECK_ERR(change(kq, s[0], EVFILT_WRITE, EV_DELETE, 0, 0, NULL), ENOENT);
	CHECK_ERR(change(kq, s[0], EVFILT_WRITE, EV_DELETE, 0, 0, NULL), ENOENT);
	close(kq);
	close(s[0]);
	close(s[1]);
}

static void dispatch_and_oneshot(void)
{
	struct kevent kev;
	int kq = kqueue(), p[2];
	__u64 handle;

	CHECK_EQ(pipe(p), 0);
	CHECK_EQ(write(p[1], "abc", 3), 3);
	CHECK_EQ(change(kq, p[0], EVFILT_READ, EV_ADD | EV_DISPATCH, 0, 0, NULL), 0);
	handle = sim_find(kq, KEVENT_SOURCE_POLL, p[0], NULL);
	sim_fire(kq, handle, KEVENT_POLL_IN, 0, 0, 0);
	CHECK_EQ(get(kq, &kev), 1);
	CHECK_EQ(kev.data, 3);
	sim_fire(kq, handle, KEVENT_POLL_IN, 0, 0, 0);
	CHECK_EQ(get(kq, &kev), 0);
	CHECK_EQ(change(kq, p[0], EVFILT_READ, EV_ENABLE, 0, 0, NULL), 0);
	sim_fire(kq, handle, KEVENT_POLL_IN | KEVENT_POLL_HUP, 0, 0, 0);
	CHECK_EQ(get(kq, &kev), 1);
	CHECK(kev.flags & EV_EOF);
	CHECK_EQ(change(kq, p[0], EVFILT_READ, EV_DELETE, 0, 0, NULL), 0);

	CHECK_EQ(change(kq, 4, EVFILT_TIMER, EV_ADD | EV_ONESHOT, NOTE_USECONDS, 5, NULL), 0);
	handle = sim_find(kq, KEVENT_SOURCE_TIMER, 0, NULL);
	sim_fire(kq, handle, KEVENT_TIMER_EXPIRED, KEVENT_INFO_COUNTED, 1, 0);
	CHECK_EQ(get(kq, &kev), 1);
	CHECK(kev.ident == 4 && kev.data == 1 && kev.flags & EV_ONESHOT);
	CHECK_ERR(change(kq, 4, EVFILT_TIMER, EV_DELETE, 0, 0, NULL), ENOENT);
	close(kq);
	close(p[0]);
	close(p[1]);
}

static void delete_drops_what_was_under_way(void)
{
	struct kevent kev;
	int kq = kqueue(), p[2];

	CHECK_EQ(pipe(p), 0);
	for (int i = 0; i < 50; i++) {
		CHECK_EQ(change(kq, p[0], EVFILT_READ, EV_ADD, 0, 0, NULL), 0);
		sim_fire(kq, sim_find(kq, KEVENT_SOURCE_POLL, p[0], NULL), KEVENT_POLL_IN, 0, 0, 0);
		CHECK_EQ(change(kq, p[0], EVFILT_READ, EV_DELETE, 0, 0, NULL), 0);
		CHECK_EQ(change(kq, p[0], EVFILT_READ, EV_ADD, 0, 0, NULL), 0);
		CHECK_EQ(get(kq, &kev), 0);
		CHECK_EQ(change(kq, p[0], EVFILT_READ, EV_DELETE, 0, 0, NULL), 0);
	}
	CHECK_EQ(sim_watches(kq), 0);
	/* A post of another program is no event of kqueue. */
	CHECK_EQ(change(kq, p[0], EVFILT_READ, EV_ADD, 0, 0, NULL), 0);
	for (__u64 i = 0; i < 200; i++) {
		struct kevent_event ev = { .user_data = i << 32, .events = 1 };

		CHECK_EQ(kevent_post(kq, &ev, sizeof(ev), 1, KEVENT_POST_DEFER), 1);
	}
	CHECK_EQ(get(kq, &kev), 0);
	close(kq);
	close(p[0]);
	close(p[1]);
}

static void timers_units(void)
{
	static const struct { unsigned int fflags; int64_t data; __u64 first, interval; } cases[] = {
		{ 0, 5, 5000000, 5000000 },
		{ NOTE_SECONDS, 2, 2000000000, 2000000000 },
		{ NOTE_MSECONDS, 2, 2000000, 2000000 },
		{ NOTE_USECONDS, 2, 2000, 2000 },
		{ NOTE_NSECONDS, 2, 2, 2 },
		{ NOTE_SECONDS, INT64_MAX, INT64_MAX, INT64_MAX },
		{ NOTE_ABSTIME | NOTE_SECONDS, 7, 7000000000, 0 },
		{ 0, 0, 1, 1 },
	};
	struct kevent_watch w;
	int kq = kqueue();

	for (unsigned int i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		CHECK_EQ(change(kq, 1, EVFILT_TIMER, EV_ADD, cases[i].fflags, cases[i].data, NULL), 0);
		CHECK(sim_find(kq, KEVENT_SOURCE_TIMER, 0, &w));
		CHECK(w.arg[0] == cases[i].first && w.arg[1] == cases[i].interval);
		CHECK_EQ(!!(w.flags & KEVENT_WATCH_ABSTIME), !!(cases[i].fflags & NOTE_ABSTIME));
		CHECK_EQ(w.arg[2], cases[i].fflags & NOTE_ABSTIME ? CLOCK_REALTIME : CLOCK_MONOTONIC);
		CHECK_EQ(change(kq, 1, EVFILT_TIMER, EV_DELETE, 0, 0, NULL), 0);
	}
	close(kq);
}

static void child_of_fork_gets_ebadf(void)
{
	struct kevent kev;
	int kq = kqueue(), status;
	pid_t pid;

	fflush(stdout);
	pid = fork();
	if (!pid) {
		if (get(kq, &kev) != -1 || errno != EBADF)
			_exit(1);
		close(kq);
		kq = kqueue();
		_exit(kq < 0 || get(kq, &kev) ? 2 : 0);
	}
	CHECK_EQ(waitpid(pid, &status, 0), pid);
	CHECK_EQ(status, 0);
	CHECK_EQ(get(kq, &kev), 0);
	close(kq);
}

static void many_knotes(void)
{
	struct kevent kev;
	int kq = kqueue();

	for (uintptr_t i = 0; i < 5000; i++)
		CHECK_EQ(change(kq, i * 8191, EVFILT_USER, EV_ADD | EV_CLEAR, 0, 0, (void *)i), 0);
	for (uintptr_t i = 0; i < 5000; i += 7) {
		CHECK_EQ(change(kq, i * 8191, EVFILT_USER, 0, NOTE_TRIGGER, 0, NULL), 0);
		CHECK_EQ(get(kq, &kev), 1);
		CHECK_EQ((uintptr_t)kev.udata, i);
	}
	for (uintptr_t i = 0; i < 5000; i++)
		CHECK_EQ(change(kq, i * 8191, EVFILT_USER, EV_DELETE, 0, 0, NULL), 0);
	CHECK_ERR(change(kq, 0, EVFILT_USER, EV_DELETE, 0, 0, NULL), ENOENT);
	close(kq);
}

static int shared;
static unsigned int got;

static void *trigger(void *arg)
{
	for (int i = 0; i < 2000; i++) {
		if (change(shared, (uintptr_t)arg, EVFILT_USER, EV_ADD | EV_CLEAR, NOTE_TRIGGER, 0, NULL))
			__atomic_store_n(&test_failed, 1, __ATOMIC_RELAXED);
		if (i % 5 == 0)
			change(shared, (uintptr_t)arg + 1, EVFILT_USER, EV_ADD, NOTE_TRIGGER, 0, NULL);
		if (i % 5 == 1)
			change(shared, (uintptr_t)arg + 1, EVFILT_USER, EV_DELETE, 0, 0, NULL);
	}
	return NULL;
}

static void *collect(void *arg)
{
	struct kevent kev[8];

	for (;;) {
		int n = kevent(shared, NULL, 0, kev, 8, NULL);

		for (int i = 0; i < n; i++) {
			__atomic_fetch_add(&got, 1, __ATOMIC_RELAXED);
			if (kev[i].ident == 999)
				return arg;
		}
		if (n < 0)
			__atomic_store_n(&test_failed, 1, __ATOMIC_RELAXED);
	}
}

static void threads_change_and_wait(void)
{
	pthread_t threads[4];

	shared = kqueue();
	for (uintptr_t i = 0; i < 4; i++)
		CHECK_EQ(pthread_create(&threads[i], NULL, i < 2 ? trigger : collect, (void *)(i * 10)), 0);
	for (int i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	CHECK_EQ(change(shared, 999, EVFILT_USER, EV_ADD, NOTE_TRIGGER, 0, NULL), 0);
	for (int i = 2; i < 4; i++)
		pthread_join(threads[i], NULL);
	CHECK(got);
	close(shared);
}

static void no_kernel(void)
{
	sim_error = ENOSYS;
	CHECK_ERR(kqueue(), ENOSYS);
	sim_error = 0;
}

int main(int argc, char **argv)
{
	static const struct test tests[] = {
		TEST(add_errors), TEST(user_events), TEST(sockets), TEST(dispatch_and_oneshot),
		TEST(delete_drops_what_was_under_way), TEST(timers_units), TEST(child_of_fork_gets_ebadf),
		TEST(many_knotes), TEST(threads_change_and_wait), TEST(no_kernel),
	};

	return test_main(tests, sizeof(tests) / sizeof(tests[0]), argc, argv);
}
