// SPDX-License-Identifier: GPL-2.0
/*
 * The server of kevent-server.c without kevent: with epoll, and a descriptor for
 * everything that is none, which has to be read to learn what has happened.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>

#include "server.h"

#define BATCH	64

static int epoll;
/* Signals of three kinds come out of one descriptor. */
#define SIGNALS	KINDS

static void watch(int kind, int fd)
{
	struct epoll_event ev = {
		.events = EPOLLIN,
		.data.u64 = (__u64)fd << 32 | kind,
	};

	check(DO(epoll_ctl(epoll, EPOLL_CTL_ADD, check(fd, "watch"), &ev)),
	      "epoll_ctl");
}

/*
 * To close it is not enough: a child that was forked meanwhile, and executes
 * nothing, has it open too, and epoll would go on telling of it.
 */
static void unwatch_and_close(int fd)
{
	DO(epoll_ctl(epoll, EPOLL_CTL_DEL, fd, NULL));
	DO(close(fd));
}

static int new_signals(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	sigaddset(&set, SIGUSR2);
	sigaddset(&set, SIGTERM);
	sigprocmask(SIG_BLOCK, &set, NULL);
	return signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
}

static int new_timer(int ms)
{
	struct itimerspec when = {
		.it_value.tv_nsec = ms * 1000000,
		.it_interval.tv_nsec = ms * 1000000,
	};
	int fd = check(timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK |
				      TFD_CLOEXEC), "timerfd_create");

	check(timerfd_settime(fd, 0, &when, NULL), "timerfd_settime");
	return fd;
}

static void post(int fd)
{
	__u64 one = 1;

	if (write(fd, &one, sizeof(one)) != sizeof(one))
		die("eventfd");
}

/* What a timerfd or an eventfd has counted. */
static __u64 count(int fd)
{
	__u64 value;

	return LEARN(read(fd, &value, sizeof(value))) == sizeof(value) ? value :
	       0;
}

static void read_block(aio_context_t ctx, int fd, int eventfd)
{
	struct iocb iocb = {
		.aio_flags = IOCB_FLAG_RESFD,
		.aio_resfd = eventfd,
	};

	aio_read(ctx, &iocb, fd);
}

static void blocks_read(aio_context_t ctx, int eventfd)
{
	__u64 nr = count(eventfd);
	struct io_event events[BLOCKS];
	long ret, i;

	if (!nr)
		return;
	ret = LEARN(syscall(SYS_io_getevents, ctx, 0, BLOCKS, events, NULL));
	for (i = 0; i < ret; i++) {
		record_event(AIO, 1);
		if (events[i].res != BLOCK)
			fprintf(stderr, "read: %lld\n",
				(long long)events[i].res);
	}
}

static void signals(int fd)
{
	struct signalfd_siginfo info[8];
	ssize_t len = LEARN(read(fd, info, sizeof(info)));
	int i;

	for (i = 0; i < len / (ssize_t)sizeof(info[0]); i++) {
		record_event(info[i].ssi_signo == SIGUSR1 ? OBSERVED : TAKEN, 1);
		if (info[i].ssi_signo == SIGTERM)
			finished = true;
	}
}

static void directory(int fd)
{
	__u64 buf[BLOCK / sizeof(__u64)]; /* aligned as the events are */
	ssize_t len = LEARN(read(fd, buf, sizeof(buf)));
	ssize_t at = 0;

	while (at < len) {
		struct inotify_event *ev = (void *)((char *)buf + at);

		record_event(DIRECTORY, 1);
		at += sizeof(*ev) + ev->len;
	}
}

static void child(int fd)
{
	siginfo_t info;

	/* It says how the child ended, beside that it takes the zombie. */
	if (LEARN(waitid(P_PIDFD, fd, &info, WEXITED)) ||
	    info.si_code != CLD_EXITED)
		fprintf(stderr, "status %x\n", info.si_status);
	record_event(CHILD, 1);
	unwatch_and_close(fd);
}

static void new_child(void)
{
	static int nr;
	pid_t pid;

	watch(CHILD, start_child(nr++ % 8, &pid));
}

static void new_client(int listener)
{
	int fd = DO(accept4(listener, NULL, NULL,
			    SOCK_NONBLOCK | SOCK_CLOEXEC));

	if (fd >= 0)
		watch(TCP, fd);
}

static void handle(const struct epoll_event *ev, aio_context_t ctx, int file,
		   int aio_done)
{
	int kind = ev->data.u64 & 0xffffffff;
	int fd = ev->data.u64 >> 32;

	switch (kind) {
	case ACCEPTED:
		record_event(ACCEPTED, 1);
		new_client(fd);
		break;
	case TCP:
		record_event(TCP, 1);
		if (!echo_tcp(fd))
			unwatch_and_close(fd);
		break;
	case UDP:
		record_event(UDP, 1);
		echo_udp(fd);
		break;
	case AIO:
		blocks_read(ctx, fd);
		break;
	case SIGNALS:
		signals(fd);
		break;
	case FAST:
		record_event(FAST, count(fd));
		read_block(ctx, file, aio_done);
		break;
	case SLOW:
		record_event(SLOW, count(fd));
		new_child();
		break;
	case CHILD:
		child(fd);
		break;
	case DIRECTORY:
		directory(fd);
		break;
	case POSTED:
		record_event(POSTED, count(fd));
		break;
	default:
		break;
	}
}

int main(void)
{
	char dir[] = "/tmp/epoll-serverXXXXXX";
	int listener, udp, file, inotify, posts, aio_done, nr, i;
	struct sockaddr_in tcp_addr, udp_addr;
	aio_context_t ctx = aio_new();
	struct epoll_event ev[BATCH];

	if (!mkdtemp(dir))
		die(dir);
	epoll = check(epoll_create1(EPOLL_CLOEXEC), "epoll_create1");
	listener = open_socket(SOCK_STREAM, &tcp_addr);
	udp = open_socket(SOCK_DGRAM, &udp_addr);
	file = aio_file(dir);
	inotify = check(inotify_init1(IN_NONBLOCK | IN_CLOEXEC), "inotify");
	check(inotify_add_watch(inotify, dir, IN_CREATE | IN_DELETE), dir);
	posts = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	aio_done = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);

	watch(ACCEPTED, listener);
	watch(UDP, udp);
	watch(AIO, aio_done);
	watch(SIGNALS, new_signals());
	watch(FAST, new_timer(FAST_MS));
	watch(SLOW, new_timer(SLOW_MS));
	watch(DIRECTORY, inotify);
	watch(POSTED, posts);
	start_all(&tcp_addr, &udp_addr, dir, post, posts);

	while (!finished) {
		nr = LEARN(epoll_wait(epoll, ev, BATCH, -1));
		if (nr < 0 && errno != EINTR)
			die("epoll_wait");
		for (i = 0; i < nr; i++)
			handle(&ev[i], ctx, file, aio_done);
	}
	report("epoll");
	remove_dir(dir);
	return 0;
}
