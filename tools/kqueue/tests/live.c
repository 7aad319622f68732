/* SPDX-License-Identifier: MIT */
/* kqueue(2) on the running kernel.  On one without kevent all is skipped. */
#define _GNU_SOURCE
#include <sys/event.h>
#include "test.h"
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>

static const struct timespec no_time = { 0, 0 }, a_while = { 20, 0 };
static int kq;

static int change(uintptr_t ident, short filter, unsigned short flags, unsigned int fflags,
		  int64_t data, void *udata)
{
	struct kevent kev;

	EV_SET(&kev, ident, filter, flags, fflags, data, udata);
	return kevent(kq, &kev, 1, NULL, 0, NULL);
}

static int now(struct kevent *kev)
{
	return kevent(kq, NULL, 0, kev, 1, &no_time);
}

static int next(struct kevent *kev)
{
	return kevent(kq, NULL, 0, kev, 1, &a_while);
}

static void read_level_clear_oneshot(void)
{
	struct kevent kev;
	char buf[16];
	int s[2];

	CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, s), 0);
	CHECK_EQ(change(s[0], EVFILT_READ, EV_ADD, 0, 0, buf), 0);
	CHECK_EQ(now(&kev), 0);
	CHECK_EQ(write(s[1], "abc", 3), 3);
	for (int i = 0; i < 3; i++) {
		CHECK_EQ(next(&kev), 1);
		CHECK(kev.ident == (uintptr_t)s[0] && kev.filter == EVFILT_READ && kev.udata == buf);
		CHECK_EQ(kev.data, 3);
	}
	CHECK_EQ(read(s[0], buf, sizeof(buf)), 3);
	CHECK_EQ(now(&kev), 0);
	CHECK_EQ(change(s[0], EVFILT_READ, EV_ADD | EV_CLEAR, 0, 0, NULL), 0);
	CHECK_EQ(now(&kev), 0);
	CHECK_EQ(write(s[1], "d", 1), 1);
	CHECK_EQ(next(&kev), 1);
	CHECK_EQ(now(&kev), 0);
	CHECK_EQ(write(s[1], "e", 1), 1);
	CHECK_EQ(next(&kev), 1);
	CHECK_EQ(kev.data, 2);
	CHECK_EQ(change(s[0], EVFILT_READ, EV_DISABLE, 0, 0, NULL), 0);
	CHECK_EQ(write(s[1], "f", 1), 1);
	CHECK_EQ(now(&kev), 0);
	CHECK_EQ(change(s[0], EVFILT_READ, EV_ENABLE, 0, 0, NULL), 0);
	CHECK_EQ(next(&kev), 1);
	CHECK_EQ(change(s[0], EVFILT_READ, EV_DELETE, 0, 0, NULL), 0);
	CHECK_EQ(now(&kev), 0);
	CHECK_EQ(change(s[0], EVFILT_READ, EV_ADD | EV_ONESHOT, 0, 0, NULL), 0);
	CHECK_EQ(next(&kev), 1);
	CHECK_EQ(now(&kev), 0);
	CHECK_ERR(change(s[0], EVFILT_READ, EV_DELETE, 0, 0, NULL), ENOENT);
	CHECK_EQ(change(s[0], EVFILT_READ, EV_ADD | EV_DISPATCH, 0, 0, NULL), 0);
	CHECK_EQ(next(&kev), 1);
	CHECK_EQ(now(&kev), 0);
	CHECK_EQ(change(s[0], EVFILT_READ, EV_ENABLE, 0, 0, NULL), 0);
	CHECK_EQ(next(&kev), 1);
	close(s[0]);
	close(s[1]);
}

static void read_eof(void)
{
	struct kevent kev;
	int s[2];

	CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, s), 0);
	CHECK_EQ(write(s[1], "abc", 3), 3);
	close(s[1]);
	CHECK_EQ(change(s[0], EVFILT_READ, EV_ADD, 0, 0, NULL), 0);
	CHECK_EQ(next(&kev), 1);
	CHECK(kev.flags & EV_EOF);
	CHECK_EQ(kev.data, 3);
	close(s[0]);
	CHECK_EQ(now(&kev), 0);
}

static void read_low_water(void)
{
	struct kevent kev;
	int s[2];

	CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, s), 0);
	CHECK_EQ(change(s[0], EVFILT_READ, EV_ADD, NOTE_LOWAT, 4, NULL), 0);
	CHECK_EQ(write(s[1], "abc", 3), 3);
	CHECK_EQ(now(&kev), 0);
	CHECK_EQ(write(s[1], "d", 1), 1);
	CHECK_EQ(next(&kev), 1);
	CHECK_EQ(kev.data, 4);
	close(s[0]);
	close(s[1]);
}

static void accepts_and_refusals(void)
{
	struct sockaddr_in addr = { .sin_family = AF_INET };
	socklen_t len = sizeof(addr);
	struct kevent kev;
	int l, c;

	addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	l = socket(AF_INET, SOCK_STREAM, 0);
	if (bind(l, (void *)&addr, sizeof(addr)))
		SKIP("no loopback");
	CHECK_EQ(listen(l, 4), 0);
	CHECK_EQ(getsockname(l, (void *)&addr, &len), 0);
	CHECK_EQ(change(l, EVFILT_READ, EV_ADD, 0, 0, NULL), 0);
	c = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
	if (connect(c, (void *)&addr, sizeof(addr)) && errno != EINPROGRESS)
		SKIP("no loopback");
	CHECK_EQ(next(&kev), 1);
	CHECK(kev.ident == (uintptr_t)l);
	CHECK_EQ(kev.data, 1);
	CHECK_EQ(change(l, EVFILT_READ, EV_DELETE, 0, 0, NULL), 0);
	CHECK_EQ(change(c, EVFILT_WRITE, EV_ADD | EV_ONESHOT, 0, 0, NULL), 0);
	CHECK_EQ(next(&kev), 1);
	CHECK(kev.filter == EVFILT_WRITE && kev.data > 0);
	close(c);
	close(l);
	c = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
	if (!connect(c, (void *)&addr, sizeof(addr)))
		SKIP("another program listens there");
	CHECK_EQ(change(c, EVFILT_WRITE, EV_ADD, 0, 0, NULL), 0);
	CHECK_EQ(next(&kev), 1);
	CHECK(kev.flags & EV_EOF);
	CHECK_EQ(kev.fflags, ECONNREFUSED);
	close(c);
}

static void as_many_as_asked_for(void)
{
	enum { PIPES = 200 };
	static struct kevent list[PIPES];
	static int p[PIPES][2];
	char seen[PIPES] = { 0 };
	long i;

	for (i = 0; i < PIPES; i++) {
		CHECK_EQ(pipe(p[i]), 0);
		CHECK_EQ(write(p[i][1], "x", 1), 1);
		CHECK_EQ(change(p[i][0], EVFILT_READ, EV_ADD, 0, 0, (void *)i), 0);
	}
	/* All levels in one call, each once. */
	CHECK_EQ(kevent(kq, NULL, 0, list, PIPES, &a_while), PIPES);
	for (i = 0; i < PIPES; i++) {
		long at = (long)list[i].udata;

		CHECK(at >= 0 && at < PIPES && !seen[at]++);
		CHECK(list[i].ident == (uintptr_t)p[at][0] && list[i].data == 1);
	}
	CHECK_EQ(kevent(kq, NULL, 0, list, 7, &a_while), 7);
	for (i = 0; i < PIPES; i++)
		close(p[i][0]), close(p[i][1]);
	CHECK_EQ(now(list), 0);
}

static void pipes(void)
{
	struct kevent kev;
	int p[2];

	CHECK_EQ(pipe(p), 0);
	CHECK_EQ(change(p[0], EVFILT_READ, EV_ADD, 0, 0, NULL), 0);
	CHECK_EQ(change(p[1], EVFILT_WRITE, EV_ADD | EV_ONESHOT, 0, 0, NULL), 0);
	CHECK_EQ(next(&kev), 1);
	CHECK(kev.filter == EVFILT_WRITE && kev.data > 0);
	CHECK_EQ(write(p[1], "abcd", 4), 4);
	CHECK_EQ(next(&kev), 1);
	CHECK(kev.filter == EVFILT_READ && kev.data == 4 && !(kev.flags & EV_EOF));
	close(p[1]);
	CHECK_EQ(next(&kev), 1);
	CHECK(kev.data == 4 && kev.flags & EV_EOF);
	close(p[0]);
	CHECK_EQ(now(&kev), 0);
}

static void vnodes(void)
{
	char name[] = "/tmp/kqueue-XXXXXX", other[sizeof(name) + 2];
	struct kevent kev;
	int fd = mkstemp(name);

	if (fd < 0)
		SKIP("no file can be made in /tmp");
	sprintf(other, "%s-b", name);
	CHECK_EQ(change(fd, EVFILT_VNODE, EV_ADD | EV_CLEAR, NOTE_WRITE | NOTE_EXTEND | NOTE_ATTRIB |
			NOTE_RENAME | NOTE_DELETE, 0, NULL), 0);
	CHECK_EQ(now(&kev), 0);
	CHECK_EQ(write(fd, "x", 1), 1);
	CHECK_EQ(next(&kev), 1);
	CHECK_EQ(kev.fflags & (NOTE_WRITE | NOTE_EXTEND), NOTE_WRITE | NOTE_EXTEND);
	CHECK_EQ(fchmod(fd, 0600), 0);
	CHECK_EQ(next(&kev), 1);
	CHECK_EQ(kev.fflags, NOTE_ATTRIB);
	CHECK_EQ(rename(name, other), 0);
	CHECK_EQ(next(&kev), 1);
	CHECK(kev.fflags & NOTE_RENAME);
	CHECK_ERR(change(fd, EVFILT_VNODE, EV_ADD, NOTE_READ, 0, NULL), ENOTSUP);
	unlink(other);
	close(fd);
	now(&kev);
}

static void processes(void)
{
	struct kevent kev;
	int status;
	pid_t pid;

	fflush(stdout);
	pid = fork();
	if (!pid) {
		usleep(20000);
		_exit(7);
	}
	CHECK_EQ(change(pid, EVFILT_PROC, EV_ADD, NOTE_EXIT, 0, NULL), 0);
	CHECK_EQ(next(&kev), 1);
	CHECK(kev.ident == (uintptr_t)pid && kev.fflags == NOTE_EXIT && kev.flags & EV_EOF);
	CHECK_EQ(WEXITSTATUS(kev.data), 7);
	CHECK_ERR(change(pid, EVFILT_PROC, EV_DELETE, 0, 0, NULL), ENOENT);
	CHECK_EQ(waitpid(pid, &status, 0), pid);
	CHECK_EQ(now(&kev), 0);
	CHECK_ERR(change(pid, EVFILT_PROC, EV_ADD, NOTE_EXIT, 0, NULL), ESRCH);
}

static void signals(void)
{
	struct kevent kev;

	signal(SIGUSR1, SIG_IGN);
	CHECK_EQ(change(SIGUSR1, EVFILT_SIGNAL, EV_ADD, 0, 0, NULL), 0);
	CHECK_EQ(now(&kev), 0);
	for (int i = 0; i < 3; i++)
		CHECK_EQ(kill(getpid(), SIGUSR1), 0);
	CHECK_EQ(next(&kev), 1);
	CHECK(kev.ident == SIGUSR1 && kev.filter == EVFILT_SIGNAL);
	CHECK_EQ(kev.data, 3);
	CHECK_EQ(now(&kev), 0);
	CHECK_EQ(change(SIGUSR1, EVFILT_SIGNAL, EV_DELETE, 0, 0, NULL), 0);
	signal(SIGUSR1, SIG_DFL);
}

static void timers(void)
{
	struct kevent kev;
	long long sum = 0;

	CHECK_EQ(change(1, EVFILT_TIMER, EV_ADD | EV_ONESHOT, 0, 5, NULL), 0);
	CHECK_EQ(next(&kev), 1);
	CHECK(kev.ident == 1 && kev.data == 1);
	CHECK_ERR(change(1, EVFILT_TIMER, EV_DELETE, 0, 0, NULL), ENOENT);
	CHECK_EQ(change(2, EVFILT_TIMER, EV_ADD, NOTE_USECONDS, 1000, NULL), 0);
	while (sum < 20) {
		CHECK_EQ(next(&kev), 1);
		CHECK(kev.ident == 2 && kev.data >= 1);
		sum += kev.data;
	}
	CHECK_EQ(change(2, EVFILT_TIMER, EV_DELETE, 0, 0, NULL), 0);
	CHECK_EQ(change(3, EVFILT_TIMER, EV_ADD, NOTE_ABSTIME | NOTE_SECONDS, 1, NULL), 0);
	CHECK_EQ(next(&kev), 1);
	CHECK_EQ(kev.ident, 3);
	CHECK_EQ(change(3, EVFILT_TIMER, EV_DELETE, 0, 0, NULL), 0);
	CHECK_EQ(now(&kev), 0);
}

static void *trigger(void *arg)
{
	usleep(20000);
	return change(1, EVFILT_USER, 0, NOTE_TRIGGER | NOTE_FFCOPY | 9, 0, NULL) ? arg : NULL;
}

static void user_events(void)
{
	struct kevent kev;
	pthread_t thread;
	void *bad;

	CHECK_EQ(change(1, EVFILT_USER, EV_ADD | EV_CLEAR, 0, 0, &kev), 0);
	CHECK_EQ(pthread_create(&thread, NULL, trigger, &kev), 0);
	CHECK_EQ(next(&kev), 1);
	CHECK_EQ(kev.fflags, 9);
	CHECK_EQ(pthread_join(thread, &bad), 0);
	CHECK(!bad);
	CHECK_EQ(now(&kev), 0);
	CHECK_EQ(change(1, EVFILT_USER, EV_DELETE, 0, 0, NULL), 0);
}

static void nests(void)
{
	struct kevent kev;
	int inner = kqueue(), outer = kq;

	CHECK(inner >= 0);
	CHECK_EQ(change(inner, EVFILT_READ, EV_ADD, 0, 0, NULL), 0);
	CHECK_EQ(now(&kev), 0);
	kq = inner;
	CHECK_EQ(change(5, EVFILT_USER, EV_ADD | EV_CLEAR, NOTE_TRIGGER, 0, NULL), 0);
	kq = outer;
	CHECK_EQ(next(&kev), 1);
	CHECK_EQ(kev.ident, inner);
	close(inner);
	CHECK_EQ(now(&kev), 0);
}

static void read_and_write_are_two(void)
{
	struct kevent kev[4];
	int s[2], marks[2], n;

	CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, s), 0);
	CHECK_EQ(write(s[1], "ab", 2), 2);
	EV_SET(&kev[0], s[0], EVFILT_READ, EV_ADD, 0, 0, &marks[0]);
	EV_SET(&kev[1], s[0], EVFILT_WRITE, EV_ADD, 0, 0, &marks[1]);
	CHECK_EQ(kevent(kq, kev, 2, NULL, 0, NULL), 0);
	n = kevent(kq, NULL, 0, kev, 4, &a_while);
	if (n == 1)
		n += kevent(kq, NULL, 0, kev + 1, 1, &a_while);
	CHECK_EQ(n, 2);
	for (int i = 0; i < 2; i++)
		CHECK(kev[i].udata == &marks[kev[i].filter == EVFILT_WRITE]);
	CHECK(kev[0].filter != kev[1].filter);
	CHECK_EQ(change(s[0], EVFILT_WRITE, EV_DELETE, 0, 0, NULL), 0);
	CHECK_EQ(next(kev), 1);
	CHECK_EQ(kev->filter, EVFILT_READ);
	/* EV_ADD again: new user data, for the event that is there too. */
	CHECK_EQ(change(s[0], EVFILT_READ, EV_ADD, 0, 0, &marks[1]), 0);
	CHECK_EQ(next(kev), 1);
	CHECK(kev->udata == &marks[1]);
	CHECK_EQ(change(s[0], EVFILT_READ, EV_ADD | EV_KEEPUDATA, 0, 0, NULL), 0);
	CHECK_EQ(next(kev), 1);
	CHECK(kev->udata == &marks[1]);
	close(s[0]);
	close(s[1]);
}

static void closed_and_reused_descriptor(void)
{
	struct kevent kev;
	int p[2], again[2];

	CHECK_EQ(pipe(p), 0);
	CHECK_EQ(change(p[0], EVFILT_READ, EV_ADD, 0, 0, NULL), 0);
	CHECK_EQ(write(p[1], "a", 1), 1);
	close(p[0]);
	CHECK_EQ(now(&kev), 0);
	CHECK_EQ(pipe(again), 0);
	CHECK_EQ(again[0], p[0]);
	CHECK_EQ(now(&kev), 0);
	CHECK_EQ(write(again[1], "a", 1), 1);
	CHECK_EQ(now(&kev), 0);
	CHECK_ERR(change(again[0], EVFILT_READ, EV_DISABLE, 0, 0, NULL), ENOENT);
	CHECK_EQ(change(again[0], EVFILT_READ, EV_ADD, 0, 0, NULL), 0);
	CHECK_EQ(next(&kev), 1);
	close(p[1]);
	close(again[0]);
	close(again[1]);
}

static void receipts(void)
{
	struct kevent kev[3];
	int p[2];

	CHECK_EQ(pipe(p), 0);
	CHECK_EQ(write(p[1], "a", 1), 1);
	EV_SET(&kev[0], p[0], EVFILT_READ, EV_ADD | EV_RECEIPT, 0, 0, NULL);
	EV_SET(&kev[1], 12345, EVFILT_READ, EV_ADD | EV_RECEIPT, 0, 0, NULL);
	EV_SET(&kev[2], 1, EVFILT_TIMER, EV_DELETE | EV_RECEIPT, 0, 0, NULL);
	CHECK_EQ(kevent(kq, kev, 3, kev, 3, NULL), 3);
	CHECK(kev[0].flags & EV_ERROR && !kev[0].data);
	CHECK(kev[1].flags & EV_ERROR && kev[1].data == EBADF);
	CHECK(kev[2].flags & EV_ERROR && kev[2].data == ENOENT);
	CHECK_EQ(next(kev), 1);
	close(p[0]);
	close(p[1]);
}

static void directories(void)
{
	char name[] = "/tmp/kqueue-XXXXXX", file[sizeof(name) + 4];
	struct kevent kev;
	int fd, sub;

	if (!mkdtemp(name))
		SKIP("no directory can be made in /tmp");
	sprintf(file, "%s/a", name);
	fd = open(name, O_RDONLY | O_DIRECTORY);
	CHECK_EQ(change(fd, EVFILT_VNODE, EV_ADD | EV_CLEAR, NOTE_WRITE | NOTE_DELETE, 0, NULL), 0);
	sub = open(file, O_CREAT | O_RDWR, 0600);
	CHECK(sub >= 0);
	CHECK_EQ(next(&kev), 1);
	CHECK(kev.fflags & NOTE_WRITE);
	CHECK_EQ(unlink(file), 0);
	CHECK_EQ(next(&kev), 1);
	CHECK(kev.fflags & NOTE_WRITE);
	CHECK_EQ(now(&kev), 0);
	close(sub);
	CHECK_EQ(rmdir(name), 0);
	close(fd);
	now(&kev);
}

static void process_that_executes(void)
{
	struct kevent kev;
	int go[2], status, seen = 0;
	pid_t pid;

	CHECK_EQ(pipe(go), 0);
	fflush(stdout);
	pid = fork();
	if (!pid) {
		char c;

		if (read(go[0], &c, 1) != 1)
			_exit(1);
		execl("/bin/true", "true", NULL);
		_exit(2);
	}
	CHECK_EQ(change(pid, EVFILT_PROC, EV_ADD, NOTE_EXEC | NOTE_EXIT, 0, NULL), 0);
	CHECK_EQ(write(go[1], "x", 1), 1);
	while (!(seen & 2)) {
		CHECK_EQ(next(&kev), 1);
		seen |= (kev.fflags & NOTE_EXEC ? 1 : 0) | (kev.fflags & NOTE_EXIT ? 2 : 0);
	}
	CHECK_EQ(seen, 3);
	CHECK_EQ(waitpid(pid, &status, 0), pid);
	CHECK_EQ(now(&kev), 0);
	close(go[0]);
	close(go[1]);
}

static void process_that_has_ended(void)
{
	struct kevent kev;
	siginfo_t info;
	pid_t pid;

	fflush(stdout);
	pid = fork();
	if (!pid)
		_exit(3);
	CHECK_EQ(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT), 0);
	CHECK_EQ(change(pid, EVFILT_PROC, EV_ADD, NOTE_EXIT, 0, NULL), 0);
	CHECK_EQ(next(&kev), 1);
	CHECK_EQ(WEXITSTATUS(kev.data), 3);
	CHECK_EQ(now(&kev), 0);
	CHECK_EQ(waitpid(pid, NULL, 0), pid);
}

static void signal_in_two_queues(void)
{
	struct kevent kev;
	int first = kq, second = kqueue();

	CHECK(second >= 0);
	signal(SIGUSR2, SIG_IGN);
	CHECK_EQ(change(SIGUSR2, EVFILT_SIGNAL, EV_ADD, 0, 0, NULL), 0);
	kq = second;
	CHECK_EQ(change(SIGUSR2, EVFILT_SIGNAL, EV_ADD | EV_DISABLE, 0, 0, NULL), 0);
	CHECK_EQ(kill(getpid(), SIGUSR2), 0);
	CHECK_EQ(now(&kev), 0);
	CHECK_EQ(change(SIGUSR2, EVFILT_SIGNAL, EV_ENABLE, 0, 0, NULL), 0);
	CHECK_EQ(kill(getpid(), SIGUSR2), 0);
	CHECK_EQ(next(&kev), 1);
	kq = first;
	CHECK_EQ(next(&kev), 1);
	CHECK_EQ(kev.data, 2);
	CHECK_EQ(change(SIGUSR2, EVFILT_SIGNAL, EV_DELETE, 0, 0, NULL), 0);
	signal(SIGUSR2, SIG_DFL);
	close(second);
}

static unsigned int got;

static void *wait_for_one(void *arg)
{
	struct kevent kev;

	while (kevent(kq, NULL, 0, &kev, 1, NULL) == 1) {
		if (kev.ident == 777)
			return NULL;
		__atomic_fetch_add(&got, 1, __ATOMIC_RELAXED);
	}
	return arg;
}

static void each_event_to_one_thread(void)
{
	pthread_t threads[3];
	void *bad;

	got = 0;
	for (int i = 0; i < 3; i++)
		CHECK_EQ(pthread_create(&threads[i], NULL, wait_for_one, &got), 0);
	for (unsigned int i = 0; i < 300; i++)
		CHECK_EQ(change(i, EVFILT_USER, EV_ADD | EV_ONESHOT, NOTE_TRIGGER, 0, NULL), 0);
	while (__atomic_load_n(&got, __ATOMIC_RELAXED) < 300)
		usleep(1000);
	/* A level wakes one after the other. */
	CHECK_EQ(change(777, EVFILT_USER, EV_ADD, NOTE_TRIGGER, 0, NULL), 0);
	for (int i = 0; i < 3; i++) {
		CHECK_EQ(pthread_join(threads[i], &bad), 0);
		CHECK(!bad);
	}
	CHECK_EQ(got, 300);
	CHECK_EQ(change(777, EVFILT_USER, EV_DELETE, 0, 0, NULL), 0);
}

static void queue_of_the_parent(void)
{
	struct kevent kev;
	int status;
	pid_t pid;

	CHECK_EQ(change(5, EVFILT_USER, EV_ADD | EV_CLEAR, NOTE_TRIGGER, 0, NULL), 0);
	fflush(stdout);
	pid = fork();
	if (!pid) {
		int own;

		if (now(&kev) != -1 || errno != EBADF)
			_exit(1);
		own = kqueue();
		_exit(own < 0 || kevent(own, NULL, 0, &kev, 1, &no_time) ? 2 : 0);
	}
	CHECK_EQ(waitpid(pid, &status, 0), pid);
	CHECK_EQ(status, 0);
	CHECK_EQ(next(&kev), 1);
	CHECK_EQ(change(5, EVFILT_USER, EV_DELETE, 0, 0, NULL), 0);
}

static void what_cannot_be_had(void)
{
	int fd = open("/proc/self/exe", O_RDONLY), dir = open("/", O_RDONLY | O_DIRECTORY), p[2];

	CHECK(fd >= 0 && dir >= 0);
	CHECK_EQ(pipe(p), 0);
	CHECK_ERR(change(fd, EVFILT_READ, EV_ADD, 0, 0, NULL), ENOTSUP);
	CHECK_ERR(change(fd, EVFILT_WRITE, EV_ADD, 0, 0, NULL), ENOTSUP);
	CHECK_ERR(change(dir, EVFILT_READ, EV_ADD, 0, 0, NULL), ENOTSUP);
	CHECK_ERR(change(p[0], EVFILT_READ, EV_ADD, NOTE_FILE_POLL, 0, NULL), ENOTSUP);
	CHECK_ERR(change(p[0], EVFILT_READ, EV_ADD, NOTE_LOWAT, 2, NULL), ENOTSUP);
	CHECK_ERR(change(fd, EVFILT_VNODE, EV_ADD, NOTE_WRITE | NOTE_READ, 0, NULL), ENOTSUP);
	CHECK_ERR(change(getpid(), EVFILT_PROC, EV_ADD, NOTE_FORK, 0, NULL), ENOTSUP);
	CHECK_ERR(change(getpid(), EVFILT_PROC, EV_ADD, NOTE_EXIT | NOTE_TRACK, 0, NULL), ENOTSUP);
	CHECK_ERR(change(1, EVFILT_AIO, EV_ADD, 0, 0, NULL), ENOTSUP);
	CHECK_ERR(change(1, EVFILT_LIO, EV_ADD, 0, 0, NULL), ENOTSUP);
	CHECK_ERR(change(1, EVFILT_FS, EV_ADD, 0, 0, NULL), ENOTSUP);
	/* And none of it was added. */
	CHECK_EQ(change(p[0], EVFILT_READ, EV_DELETE, 0, 0, NULL), -1);
	CHECK_EQ(errno, ENOENT);
	close(p[0]);
	close(p[1]);
	close(dir);
	close(fd);
}

int main(int argc, char **argv)
{
	static const struct test tests[] = {
		TEST(read_level_clear_oneshot), TEST(read_eof), TEST(read_low_water), TEST(accepts_and_refusals),
		TEST(pipes), TEST(as_many_as_asked_for), TEST(vnodes), TEST(processes), TEST(signals), TEST(timers), TEST(user_events),
		TEST(nests), TEST(read_and_write_are_two), TEST(closed_and_reused_descriptor), TEST(receipts),
		TEST(directories), TEST(process_that_executes), TEST(process_that_has_ended),
		TEST(signal_in_two_queues), TEST(each_event_to_one_thread), TEST(queue_of_the_parent),
		TEST(what_cannot_be_had),
	};

	kq = kqueue();
	if (kq < 0 && errno == ENOSYS) {
		printf("TAP version 13\n");
		for (unsigned int i = 0; i < sizeof(tests) / sizeof(tests[0]); i++)
			printf("ok %u %s # SKIP no kevent in this kernel\n", i + 1, tests[i].name);
		printf("1..%u\n", (unsigned int)(sizeof(tests) / sizeof(tests[0])));
		return 0;
	}
	return test_main(tests, sizeof(tests) / sizeof(tests[0]), argc, argv);
}
