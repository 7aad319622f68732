/* SPDX-License-Identifier: MIT */
/* The library on the running kernel.  On one without kevent all is skipped. */
#define _GNU_SOURCE
#include "test.h"
#include <kevent/ec.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <mqueue.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>

static const struct timespec no_time = { 0, 0 }, a_while = { 20, 0 };
static struct kevent_probe the_kernel;
static struct kevent_queue q;

/* Both ways out of a queue. */
#define EACH_MODE(entries) for (unsigned int entries = 0; entries <= 16; entries += 16)

static int begin(unsigned int entries)
{
	return kevent_queue_init(&q, entries, 0, 0);
}

static int next(struct kevent_event *ev)
{
	return kevent_next(&q, ev, 1, &a_while);
}

static int has(unsigned int source)
{
	return !!(the_kernel.features & KEVENT_FEATURE_SOURCE(source));
}

#define NEED(source) do { if (!has(source)) SKIP("the kernel has no " #source); } while (0)

static void posts(void)
{
	struct kevent_event ev;

	NEED(KEVENT_SOURCE_USER);
	EACH_MODE(entries) {
		CHECK_EQ(begin(entries), 0);
		CHECK_EQ(kevent_next(&q, &ev, 1, &no_time), 0);
		for (unsigned int i = 0; i < 100; i++) {
			struct kevent_event in = { .user_data = i, .events = 3, .data = -5, .extra = 6 };

			CHECK_EQ(kevent_post(q.fd, &in, sizeof(in), 1, KEVENT_POST_DEFER), 1);
		}
		for (unsigned int i = 0; i < 100; i++) {
			CHECK_EQ(next(&ev), 1);
			CHECK_EQ(ev.user_data, i);
			CHECK_EQ(ev.events, 3);
			CHECK_EQ(KEVENT_INFO_SOURCE(ev.info), KEVENT_SOURCE_USER);
			CHECK_EQ(ev.data, -5);
		}
		CHECK_EQ(kevent_next(&q, &ev, 1, &no_time), 0);
		kevent_queue_exit(&q);
	}
}

static void levels(void)
{
	struct kevent_event ev;
	struct kevent_watch w;
	int p[2];
	char c;

	NEED(KEVENT_SOURCE_POLL);
	EACH_MODE(entries) {
		CHECK_EQ(pipe2(p, O_NONBLOCK), 0);
		CHECK_EQ(begin(entries), 0);
		kevent_prep_poll(&w, p[0], KEVENT_POLL_IN, 0, 7);
		CHECK_EQ(kevent_watch_add(&q, &w), 0);
		CHECK_EQ(kevent_next(&q, &ev, 1, &no_time), 0);
		CHECK_EQ(write(p[1], "ab", 2), 2);
		for (int i = 0; i < 3; i++) {
			CHECK_EQ(next(&ev), 1);
			CHECK_EQ(ev.user_data, 7);
			CHECK_EQ(ev.events, KEVENT_POLL_IN);
		}
		CHECK_EQ(read(p[0], &c, 1), 1);
		CHECK_EQ(next(&ev), 1);
		CHECK_EQ(kevent_watch_disable(&q, &w), 0);
		CHECK_EQ(kevent_next(&q, &ev, 1, &no_time), 0);
		CHECK_EQ(kevent_watch_enable(&q, &w), 0);
		CHECK_EQ(next(&ev), 1);
		CHECK_EQ(kevent_watch_remove(&q, &w), 0);
		CHECK_EQ(kevent_next(&q, &ev, 1, &no_time), 0);
		CHECK_ERR(kevent_watch_remove(&q, &w), ENOENT);
		CHECK_ERR(kevent_watch_enable(&q, &w), ENOENT);
		CHECK_ERR(kevent_watch_set(&q, &w, KEVENT_MODIFY_EVENTS), ENOENT);
		kevent_queue_exit(&q);
		close(p[0]);
		close(p[1]);
	}
}

static void named(void)
{
	struct kevent_event ev;
	struct kevent_watch w;
	__u64 handle;
	int p[2];

	if (!(the_kernel.features & KEVENT_FEATURE_BY_IDENT))
		SKIP("the kernel has no watches by name");
	EACH_MODE(entries) {
		CHECK_EQ(pipe(p), 0);
		CHECK_EQ(begin(entries), 0);
		kevent_prep_poll(&w, p[1], KEVENT_POLL_IN, KEVENT_WATCH_EDGE, 1);
		CHECK_ERR(kevent_watch_remove_named(&q, &w), ENOENT);
		CHECK_EQ(kevent_watch_put(&q, &w), 0);
		handle = w.handle;
		w.events = KEVENT_POLL_OUT;
		w.user_data = 2;
		CHECK_EQ(kevent_watch_put(&q, &w), 0);
		CHECK_EQ(w.handle, handle);
		CHECK_EQ(next(&ev), 1);
		CHECK_EQ(ev.user_data, 2);
		w.user_data = 3;
		w.handle = 0;
		CHECK_EQ(kevent_watch_set_named(&q, &w, KEVENT_MODIFY_USER_DATA | KEVENT_MODIFY_ENABLE), 0);
		CHECK_EQ(w.handle, handle);
		CHECK_EQ(next(&ev), 1);
		CHECK_EQ(ev.user_data, 3);
		CHECK_EQ(kevent_watch_remove_named(&q, &w), 0);
		CHECK_ERR(kevent_watch_remove(&q, &w), ENOENT);
		close(p[0]);
		close(p[1]);
		CHECK_ERR(kevent_watch_put(&q, &w), EBADF);
		kevent_queue_exit(&q);
	}
}

static void sockets(void)
{
	struct kevent_event ev;
	struct kevent_watch w;
	int s[2];

	NEED(KEVENT_SOURCE_SOCKET);
	EACH_MODE(entries) {
		CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, s), 0);
		CHECK_EQ(begin(entries), 0);
		kevent_prep_socket(&w, s[0], KEVENT_SOCKET_IN, KEVENT_WATCH_EDGE, 9);
		CHECK_EQ(kevent_watch_add(&q, &w), 0);
		CHECK_EQ(write(s[1], "hello", 5), 5);
		CHECK_EQ(next(&ev), 1);
		CHECK(ev.events & KEVENT_SOCKET_IN);
		CHECK_EQ(ev.data, 5);
		close(s[1]);
		CHECK_EQ(next(&ev), 1);
		CHECK(ev.events & KEVENT_SOCKET_EOF);
		kevent_queue_exit(&q);
		close(s[0]);
	}
}

static void timers(void)
{
	struct kevent_event ev;
	struct kevent_watch w;

	NEED(KEVENT_SOURCE_TIMER);
	EACH_MODE(entries) {
		long long sum = 0;

		CHECK_EQ(begin(entries), 0);
		kevent_prep_timer(&w, CLOCK_MONOTONIC, 1000000, 1000000, 0, 0, 5);
		CHECK_EQ(kevent_watch_add(&q, &w), 0);
		while (sum < 20) {
			CHECK_EQ(next(&ev), 1);
			CHECK_EQ(ev.user_data, 5);
			CHECK(ev.info & KEVENT_INFO_COUNTED);
			CHECK(ev.data >= 1);
			sum += ev.data;
		}
		CHECK_EQ(kevent_watch_remove(&q, &w), 0);
		kevent_queue_exit(&q);
	}
}

static void signals(void)
{
	struct kevent_event ev;
	struct kevent_watch w;

	NEED(KEVENT_SOURCE_SIGNAL);
	EACH_MODE(entries) {
		CHECK_EQ(begin(entries), 0);
		kevent_prep_signal(&w, SIGUSR1, KEVENT_WATCH_TAKE, 5);
		CHECK_EQ(kevent_watch_add(&q, &w), 0);
		CHECK_EQ(kill(getpid(), SIGUSR1), 0);
		CHECK_EQ(next(&ev), 1);
		CHECK_EQ(KEVENT_SIGNAL_PID(ev.extra), getpid());
		kevent_queue_exit(&q);
	}
}

static void processes(void)
{
	struct kevent_event ev;
	struct kevent_watch w;
	int fd, status;
	pid_t pid;

	NEED(KEVENT_SOURCE_PROCESS);
	EACH_MODE(entries) {
		CHECK_EQ(begin(entries), 0);
		fflush(stdout);
		pid = fork();
		if (!pid)
			_exit(42);
		fd = (int)syscall(SYS_pidfd_open, pid, 0);
		CHECK(fd >= 0);
		kevent_prep_process(&w, fd, KEVENT_PROCESS_EXIT, KEVENT_WATCH_EDGE, 5);
		CHECK_EQ(kevent_watch_add(&q, &w), 0);
		CHECK_EQ(next(&ev), 1);
		CHECK_EQ(ev.events, KEVENT_PROCESS_EXIT);
		CHECK_EQ(WEXITSTATUS(ev.data), 42);
		CHECK_EQ(waitpid(pid, &status, 0), pid);
		kevent_queue_exit(&q);
		close(fd);
	}
}

static void inodes(void)
{
	char name[] = "/tmp/libkevent-XXXXXX";
	struct kevent_event ev;
	struct kevent_watch w;
	int fd;

	NEED(KEVENT_SOURCE_INODE);
	fd = mkstemp(name);
	if (fd < 0)
		SKIP("no file can be made in /tmp");
	CHECK_EQ(begin(16), 0);
	kevent_prep_inode(&w, fd, KEVENT_INODE_MODIFY | KEVENT_INODE_EXTEND, 0, 5);
	CHECK_EQ(kevent_watch_add(&q, &w), 0);
	CHECK_EQ(write(fd, "x", 1), 1);
	CHECK_EQ(next(&ev), 1);
	CHECK(ev.events & KEVENT_INODE_MODIFY);
	unlink(name);
	close(fd);
	kevent_queue_exit(&q);
}

static void futexes(void)
{
	struct kevent_event ev;
	struct kevent_watch w;
	static __u32 word;

	NEED(KEVENT_SOURCE_FUTEX);
	CHECK_EQ(begin(16), 0);
	kevent_prep_futex(&w, &word, KEVENT_FUTEX_PRIVATE, KEVENT_FUTEX_WOKEN, 0, 5);
	CHECK_EQ(kevent_watch_add(&q, &w), 0);
	word = 9;
	CHECK_EQ(syscall(SYS_futex, &word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0), 1);
	CHECK_EQ(next(&ev), 1);
	CHECK_EQ(ev.data, 9);
	kevent_queue_exit(&q);
}

static void user_watches(void)
{
	struct kevent_event ev;
	struct kevent_watch w;

	if (!(the_kernel.features & KEVENT_FEATURE_USER_WATCH))
		SKIP("the kernel has no watches of KEVENT_SOURCE_USER");
	EACH_MODE(entries) {
		CHECK_EQ(begin(entries), 0);
		kevent_prep_user(&w, 0, 5);
		CHECK_EQ(kevent_watch_add(&q, &w), 0);
		CHECK_EQ(kevent_watch_trigger(&q, &w, 1), 0);
		CHECK_EQ(kevent_watch_trigger(&q, &w, 4), 0);
		CHECK_EQ(next(&ev), 1);
		CHECK_EQ(ev.events, 5);
		CHECK_EQ(ev.user_data, 5);
		CHECK_EQ(kevent_next(&q, &ev, 1, &no_time), 0);
		kevent_queue_exit(&q);
	}
}

static void requests(void)
{
	char name[] = "/tmp/libkevent-XXXXXX", buf[8];
	struct iocb iocb, *list[1] = { &iocb };
	aio_context_t context = 0;
	struct kevent_event ev;
	int fd;

	NEED(KEVENT_SOURCE_AIO);
	fd = mkstemp(name);
	if (fd < 0)
		SKIP("no file can be made in /tmp");
	unlink(name);
	CHECK_EQ(write(fd, "hello", 5), 5);
	CHECK_EQ(syscall(SYS_io_setup, 1, &context), 0);
	EACH_MODE(entries) {
		CHECK_EQ(begin(entries), 0);
		memset(&iocb, 0, sizeof(iocb));
		iocb.aio_lio_opcode = IOCB_CMD_PREAD;
		iocb.aio_fildes = (__u32)fd;
		iocb.aio_buf = (__u64)(uintptr_t)buf;
		iocb.aio_nbytes = sizeof(buf);
		kevent_prep_iocb(&iocb, q.fd, 5);
		CHECK_EQ(syscall(SYS_io_submit, context, 1, list), 1);
		CHECK_EQ(next(&ev), 1);
		CHECK_EQ(ev.user_data, 5);
		CHECK_EQ(KEVENT_INFO_SOURCE(ev.info), KEVENT_SOURCE_AIO);
		CHECK_EQ(ev.data, 5);
		kevent_queue_exit(&q);
	}
	syscall(SYS_io_destroy, context);
	close(fd);
}

static void posix_timers(void)
{
	struct itimerspec soon = { .it_value.tv_nsec = 1000000 };
	struct kevent_event ev;
	struct sigevent sev;
	int timer, user;

	NEED(KEVENT_SOURCE_SIGEV);
	EACH_MODE(entries) {
		CHECK_EQ(begin(entries), 0);
		kevent_prep_sigevent(&sev, q.fd, &user);
		CHECK_EQ(syscall(SYS_timer_create, CLOCK_MONOTONIC, &sev, &timer), 0);
		CHECK_EQ(syscall(SYS_timer_settime, timer, 0, &soon, NULL), 0);
		CHECK_EQ(next(&ev), 1);
		CHECK_EQ(ev.user_data, (uintptr_t)&user);
		CHECK_EQ(ev.events, KEVENT_SIGEV_TIMER);
		CHECK_EQ(ev.data, 1);
		CHECK_EQ(ev.extra, timer);
		CHECK_EQ(syscall(SYS_timer_delete, timer), 0);
		kevent_queue_exit(&q);
	}
}

static void messages(void)
{
	struct kevent_event ev;
	struct sigevent sev;
	char name[64];
	mqd_t mq;

	NEED(KEVENT_SOURCE_SIGEV);
	snprintf(name, sizeof(name), "/libkevent-%d", (int)getpid());
	mq = mq_open(name, O_RDWR | O_CREAT | O_EXCL | O_NONBLOCK, 0600, NULL);
	if (mq == (mqd_t)-1)
		SKIP("no message queue can be made");
	mq_unlink(name);
	EACH_MODE(entries) {
		char buf[8192];

		CHECK_EQ(begin(entries), 0);
		kevent_prep_sigevent(&sev, q.fd, buf);
		CHECK_EQ(mq_notify(mq, &sev), 0);
		CHECK_EQ(mq_send(mq, "x", 1, 0), 0);
		CHECK_EQ(next(&ev), 1);
		CHECK_EQ(ev.user_data, (uintptr_t)buf);
		CHECK_EQ(ev.events, KEVENT_SIGEV_MESSAGE);
		CHECK_EQ(mq_receive(mq, buf, sizeof(buf), NULL), 1);
		kevent_queue_exit(&q);
	}
	mq_close(mq);
}

/* The kernel believes the mark: a level is not reported again until something happens. */
static void exhausted_levels(void)
{
	struct kevent_event ev;
	struct kevent_watch w;
	char c, buf[8];
	__u32 index;
	int p[2];

	NEED(KEVENT_SOURCE_POLL);
	EACH_MODE(entries) {
		int marks = entries && (the_kernel.features & KEVENT_FEATURE_EXHAUSTED);

		CHECK_EQ(pipe2(p, O_NONBLOCK), 0);
		CHECK_EQ(begin(entries), 0);
		kevent_prep_poll(&w, p[0], KEVENT_POLL_IN, 0, 7);
		CHECK_EQ(kevent_watch_add(&q, &w), 0);
		CHECK_EQ(write(p[1], "abc", 3), 3);
		/* Without the mark it is reported as long as it holds. */
		for (int i = 0; i < 3; i++) {
			CHECK_EQ(kevent_next_begin(&q, &ev, &index, &a_while), 1);
			CHECK_EQ(ev.user_data, 7);
			kevent_take_end(&q, index, 0);
		}
		/* With it, and it is a lie, it is not. */
		CHECK_EQ(kevent_next_begin(&q, &ev, &index, &a_while), 1);
		kevent_take_end(&q, index, 1);
		CHECK_EQ(kevent_next(&q, &ev, 1, &no_time), !marks);
		CHECK_EQ(read(p[0], buf, sizeof(buf)), 3);
		/* What happens after the take is reported, before the mark and after it. */
		for (int i = 0; i < 20; i++) {
			CHECK_EQ(write(p[1], "d", 1), 1);
			CHECK_EQ(kevent_next_begin(&q, &ev, &index, &a_while), 1);
			while (read(p[0], &c, 1) == 1)
				;
			CHECK_EQ(write(p[1], "e", 1), 1);
			kevent_take_end(&q, index, 1);
			CHECK_EQ(kevent_next_begin(&q, &ev, &index, &a_while), 1);
			CHECK_EQ(ev.events, KEVENT_POLL_IN);
			CHECK_EQ(read(p[0], &c, 1), 1);
			kevent_take_end(&q, index, 1);
			CHECK_EQ(kevent_next(&q, &ev, 1, &no_time), 0);
		}
		kevent_queue_exit(&q);
		close(p[0]);
		close(p[1]);
	}
}

/* Two threads drain one pipe, and mark what they have drained: no byte stays there. */
#define BYTES 3000U
static unsigned int bytes;

static void *drain(void *arg)
{
	struct kevent_event ev;
	__u32 index;

	for (;;) {
		int n = kevent_next_begin(&q, &ev, &index, &a_while);
		char buf[16];
		ssize_t got;

		if (n != 1)
			return arg;
		if (ev.info & KEVENT_INFO_POSTED) {
			kevent_take_end(&q, index, 0);
			return NULL;
		}
		do {
			got = read((int)ev.user_data, buf, sizeof(buf));
			if (got > 0)
				__atomic_fetch_add(&bytes, (unsigned int)got, __ATOMIC_RELAXED);
		} while (got > 0);
		kevent_take_end(&q, index, 1);
	}
}

static void marks_of_threads_lose_nothing(void)
{
	struct kevent_event end = { .user_data = 1 };
	pthread_t threads[2];
	struct kevent_watch w;
	void *bad;
	int p[2];

	NEED(KEVENT_SOURCE_POLL);
	bytes = 0;
	CHECK_EQ(pipe2(p, O_NONBLOCK), 0);
	CHECK_EQ(begin(16), 0);
	kevent_prep_poll(&w, p[0], KEVENT_POLL_IN, 0, (__u64)p[0]);
	CHECK_EQ(kevent_watch_add(&q, &w), 0);
	for (int i = 0; i < 2; i++)
		CHECK_EQ(pthread_create(&threads[i], NULL, drain, &q), 0);
	for (unsigned int sent = 0; sent < BYTES;) {
		if (write(p[1], "x", 1) == 1)
			sent++;
		if (sent % 7 == 0)
			sched_yield();
		/* All of it comes, without another write. */
		while (sent % 50 == 0 && __atomic_load_n(&bytes, __ATOMIC_RELAXED) != sent)
			sched_yield();
	}
	for (int i = 0; i < 2; i++)
		CHECK_EQ(kevent_post(q.fd, &end, sizeof(end), 1, KEVENT_POST_DEFER), 1);
	for (int i = 0; i < 2; i++) {
		CHECK_EQ(pthread_join(threads[i], &bad), 0);
		CHECK(!bad);
	}
	CHECK_EQ(bytes, BYTES);
	kevent_queue_exit(&q);
	close(p[0]);
	close(p[1]);
}

static void misuse_is_an_errno(void)
{
	struct kevent_create args = { .entries = 16 };
	struct kevent_queue other = KEVENT_QUEUE_NONE;
	struct kevent_event ev;
	struct kevent_watch w;
	int p[2], fd, file, status;
	pid_t pid;

	/* What is no queue; a file that could be mapped, too. */
	CHECK_EQ(pipe(p), 0);
	fd = kevent_create(&args, sizeof(args), 0);
	CHECK(fd >= 0);
	file = memfd_create("none", 0);
	CHECK(file >= 0);
	CHECK_ERR(kevent_queue_map(&other, p[0], &args), EINVAL);
	CHECK_ERR(kevent_queue_map(&other, file, &args), EINVAL);
	close(file);
	CHECK_ERR(kevent_queue_map(&other, file, &args), EBADF);
	CHECK_ERR(kevent_queue_map(&other, -1, &args), EBADF);
	args.ring_entries /= 2;
	CHECK_ERR(kevent_queue_map(&other, fd, &args), EINVAL);
	args.ring_entries *= 2;
	CHECK_ERR(kevent_get_events_ms(p[0], 0, 1, 0, &ev, 0), EINVAL);
	CHECK_EQ(other.fd, -1);

	/* A class that no kernel has, one without watches, one that the queue may not use. */
	CHECK_EQ(begin(16), 0);
	kevent_prep(&w, 31, 0, 1, 0, 0);
	CHECK_ERR(kevent_watch_add(&q, &w), ENOSYS);
	CHECK_EQ(w.result, -ENOSYS);
	kevent_prep(&w, KEVENT_SOURCE_AIO, 0, KEVENT_AIO_DONE, 0, 0);
	if (has(KEVENT_SOURCE_AIO))
		CHECK_ERR(kevent_watch_add(&q, &w), EOPNOTSUPP);

	/* Descriptors that cannot be watched so. */
	kevent_prep_poll(&w, -1, KEVENT_POLL_IN, 0, 0);
	CHECK_ERR(kevent_watch_add(&q, &w), EBADF);
	kevent_prep_poll(&w, q.fd, KEVENT_POLL_IN, 0, 0);
	CHECK_ERR(kevent_watch_add(&q, &w), ELOOP);
	if (has(KEVENT_SOURCE_SOCKET)) {
		kevent_prep_socket(&w, p[0], KEVENT_SOCKET_IN, 0, 0);
		CHECK_ERR(kevent_watch_add(&q, &w), ENOTSOCK);
	}

	/* The handle of a watch of another queue, and of one that is gone. */
	kevent_prep_poll(&w, p[0], KEVENT_POLL_IN, 0, 0);
	CHECK_EQ(kevent_watch_add(&q, &w), 0);
	close(p[0]);
	CHECK_ERR(kevent_watch_remove(&q, &w), ENOENT);
	CHECK_ERR(kevent_watch_disable(&q, &w), ENOENT);

	/* The ring is its maker's: a child maps neither this queue nor a shared one. */
	fflush(stdout);
	pid = fork();
	if (!pid)
		_exit(kevent_queue_map(&other, fd, &args) != -1 || errno != EACCES);
	CHECK_EQ(waitpid(pid, &status, 0), pid);
	CHECK_EQ(status, 0);

	/* Two owners of one ring in this process: each event comes once. */
	CHECK_EQ(kevent_queue_map(&other, dup(fd), &args), 0);
	kevent_queue_exit(&q);
	CHECK_EQ(kevent_queue_map(&q, fd, &args), 0);
	for (int i = 0; i < 40; i++) {
		struct kevent_event in = { .user_data = (__u64)i };

		CHECK_EQ(kevent_post(q.fd, &in, sizeof(in), 1, 0), 1);
		CHECK_EQ(kevent_next(i & 1 ? &q : &other, &ev, 1, &a_while), 1);
		CHECK_EQ(ev.user_data, i);
		CHECK_EQ(kevent_next(i & 1 ? &other : &q, &ev, 1, &no_time), 0);
	}
	kevent_queue_exit(&other);

	/* A queue that was closed. */
	kevent_queue_exit(&q);
	CHECK_ERR(kevent_next(&q, &ev, 1, NULL), EBADF);
	CHECK_ERR(kevent_watch_add(&q, &w), EBADF);
	CHECK_ERR(kevent_wake(&q), EBADF);
	CHECK_EQ(kevent_take(&q, &ev), 0);
	kevent_queue_exit(&q);
	close(p[1]);
}

static void *wake(void *arg)
{
	usleep(20000);
	return kevent_wake(arg) ? arg : NULL;
}

static void wakes(void)
{
	struct kevent_event ev;
	pthread_t thread;
	void *bad;

	EACH_MODE(entries) {
		CHECK_EQ(begin(entries), 0);
		CHECK_EQ(pthread_create(&thread, NULL, wake, &q), 0);
		CHECK_EQ(kevent_next(&q, &ev, 1, NULL), 0);
		CHECK_EQ(pthread_join(thread, &bad), 0);
		CHECK(!bad);
		kevent_queue_exit(&q);
	}
}

static void child_gets_eacces(void)
{
	struct kevent_event ev;
	int status;
	pid_t pid;

	CHECK_EQ(begin(16), 0);
	fflush(stdout);
	pid = fork();
	if (!pid) {
		if (kevent_take(&q, &ev) || kevent_next(&q, &ev, 1, &no_time) != -1 || errno != EACCES)
			_exit(1);
		_exit(0);
	}
	CHECK_EQ(waitpid(pid, &status, 0), pid);
	CHECK_EQ(status, 0);
	kevent_queue_exit(&q);
}

/* The kernel says so too. */
static void kernel_refuses_a_child(void)
{
	struct kevent_event ev;
	int status;
	pid_t pid;

	CHECK_EQ(begin(16), 0);
	fflush(stdout);
	pid = fork();
	if (!pid) {
		struct kevent_watch w;

		kevent_prep_timer(&w, CLOCK_MONOTONIC, 1, 0, 0, 0, 0);
		if (kevent_get_events(q.fd, 0, 1, NULL, &ev, 0) != -1 || errno != EACCES)
			_exit(1);
		if (kevent_add(q.fd, &w, sizeof(w), 1, 0) != -1 || errno != EACCES)
			_exit(2);
		_exit(0);
	}
	CHECK_EQ(waitpid(pid, &status, 0), pid);
	CHECK_EQ(status, 0);
	kevent_queue_exit(&q);
}

static void shared_queue_in_a_child(void)
{
	struct kevent_event ev = { .user_data = 3 };
	int status;
	pid_t pid;

	CHECK_EQ(kevent_queue_init(&q, 16, 0, KEVENT_CREATE_SHARED), 0);
	CHECK_EQ(kevent_post(q.fd, &ev, sizeof(ev), 1, 0), 1);
	fflush(stdout);
	pid = fork();
	if (!pid) {
		struct kevent_create none;
		struct kevent_queue own;

		memset(&none, 0, sizeof(none));
		if (kevent_queue_map(&own, dup(q.fd), &none) || kevent_next(&own, &ev, 1, &a_while) != 1)
			_exit(1);
		_exit(ev.user_data != 3);
	}
	CHECK_EQ(waitpid(pid, &status, 0), pid);
	CHECK_EQ(status, 0);
	CHECK_EQ(kevent_next(&q, &ev, 1, &no_time), 0);
	kevent_queue_exit(&q);
}

static void article_call(void)
{
	struct kevent_event ev[2];

	CHECK_EQ(begin(16), 0);
	CHECK_EQ(kevent_get_events_ms(q.fd, 1, 2, 1, ev, 0), 0);
	ev[0] = (struct kevent_event){ .user_data = 4 };
	CHECK_EQ(kevent_post(q.fd, ev, sizeof(ev[0]), 1, 0), 1);
	CHECK_EQ(kevent_get_events_ms(q.fd, 1, 2, 4000, ev, 0), 1);
	CHECK_EQ(ev[0].user_data, 4);
	kevent_queue_exit(&q);
}

static void seal(void)
{
	struct kevent_watch w;

	CHECK_EQ(kevent_queue_init(&q, 2, 1U << KEVENT_SOURCE_TIMER, 0), 0);
	kevent_prep_poll(&w, 0, KEVENT_POLL_IN, 0, 0);
	CHECK_ERR(kevent_watch_add(&q, &w), EPERM);
	CHECK_ERR(kevent_wake(&q), EPERM);
	CHECK_ERR(kevent_wake(&q), EPERM);
	kevent_queue_exit(&q);
}

static ec_t channel;
static unsigned int taken;

static void *worker(void *arg)
{
	event_data_t ev;

	while (!ec_wait_event(channel, &ev)) {
		if (ev.user_data == ~0ULL)
			return NULL;
		__atomic_fetch_add(&taken, 1, __ATOMIC_RELAXED);
	}
	return arg;
}

static void cancelled_thread_loses_nothing(void)
{
	for (unsigned int flags = 0; flags <= EC_NO_RING; flags++) {
		channel = ec_create(flags);
		CHECK(channel);
		taken = 0;
		for (unsigned int i = 0; i < 50; i++) {
			struct kevent_event ev = { .user_data = i };
			pthread_t a, b;
			void *how;

			CHECK_EQ(pthread_create(&a, NULL, worker, NULL), 0);
			usleep(3000);
			CHECK_EQ(pthread_create(&b, NULL, worker, NULL), 0);
			usleep(3000);
			if (i & 1)
				pthread_cancel(a);
			CHECK_EQ(kevent_post(ec_queue(channel)->fd, &ev, sizeof(ev), 1, KEVENT_POST_DEFER), 1);
			if (!(i & 1))
				pthread_cancel(a);
			while (__atomic_load_n(&taken, __ATOMIC_RELAXED) != i + 1)
				sched_yield();
			CHECK_EQ(pthread_join(a, &how), 0);
			CHECK(how == PTHREAD_CANCELED);
			ev.user_data = ~0ULL;
			CHECK_EQ(kevent_post(ec_queue(channel)->fd, &ev, sizeof(ev), 1, KEVENT_POST_DEFER), 1);
			CHECK_EQ(pthread_join(b, NULL), 0);
		}
		CHECK_EQ(ec_destroy(channel), 0);
	}
}

static void one_event_wakes_one_thread(void)
{
	struct kevent_event ev = { .user_data = 1 };
	pthread_t threads[4];

	channel = ec_create(0);
	CHECK(channel);
	taken = 0;
	for (int i = 0; i < 4; i++)
		CHECK_EQ(pthread_create(&threads[i], NULL, worker, NULL), 0);
	for (unsigned int i = 1; i <= 20; i++) {
		struct kevent_wait look = { .clockid = CLOCK_MONOTONIC };
		struct kevent_queue *of = ec_queue(channel);
		__u64 woken;

		/* Until all sleep. */
		usleep(20000);
		CHECK(kevent_wait(of->fd, &look, sizeof(look)) >= 0);
		woken = __atomic_load_n(&of->ring->woken, __ATOMIC_RELAXED);
		CHECK_EQ(kevent_post(of->fd, &ev, sizeof(ev), 1, 0), 1);
		while (__atomic_load_n(&taken, __ATOMIC_RELAXED) != i)
			sched_yield();
		CHECK(kevent_wait(of->fd, &look, sizeof(look)) >= 0);
		CHECK(__atomic_load_n(&of->ring->woken, __ATOMIC_RELAXED) <= woken + 1);
	}
	ev.user_data = ~0ULL;
	for (int i = 0; i < 4; i++)
		CHECK_EQ(kevent_post(ec_queue(channel)->fd, &ev, sizeof(ev), 1, KEVENT_POST_DEFER), 1);
	for (int i = 0; i < 4; i++)
		CHECK_EQ(pthread_join(threads[i], NULL), 0);
	CHECK_EQ(ec_destroy(channel), 0);
}

int main(int argc, char **argv)
{
	static const struct test tests[] = {
		TEST(posts), TEST(levels), TEST(named), TEST(sockets), TEST(timers), TEST(signals), TEST(processes),
		TEST(inodes), TEST(futexes), TEST(user_watches), TEST(requests), TEST(posix_timers), TEST(messages),
		TEST(exhausted_levels), TEST(marks_of_threads_lose_nothing), TEST(misuse_is_an_errno),
		TEST(wakes), TEST(child_gets_eacces), TEST(kernel_refuses_a_child),
		TEST(shared_queue_in_a_child),
		TEST(article_call), TEST(seal), TEST(one_event_wakes_one_thread),
		TEST(cancelled_thread_loses_nothing),
	};

	/* With a ring: a kernel with an older kevent than this header's does not understand it. */
	if (kevent_probe(&the_kernel) || !the_kernel.supported || begin(16)) {
		printf("TAP version 13\n");
		for (unsigned int i = 0; i < sizeof(tests) / sizeof(tests[0]); i++)
			printf("ok %u %s # SKIP no kevent in this kernel\n", i + 1, tests[i].name);
		printf("1..%u\n", (unsigned int)(sizeof(tests) / sizeof(tests[0])));
		return 0;
	}
	kevent_queue_exit(&q);
	return test_main(tests, sizeof(tests) / sizeof(tests[0]), argc, argv);
}
