/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What kevent-server and epoll-server have in common: what they serve, who
 * keeps them busy, and how their system calls are counted. Nothing here is about
 * waiting.
 */
#ifndef SAMPLES_KEVENT_SERVER_H
#define SAMPLES_KEVENT_SERVER_H

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <linux/aio_abi.h>

#define TCP_CLIENTS	4
#define UDP_CLIENTS	2
#define MESSAGE		64	/* bytes, there and back */
#define PAUSE_US	500	/* from one to the next */
#define BLOCK		4096	/* bytes that are read from a file at a time */
#define BLOCKS		16	/* that the file has */
#define FAST_MS		10	/* intervals of the timers */
#define SLOW_MS		25
#define TEASE_MS	5	/* of signals, posts and changes of the directory */
#define RUN_MS		1000

/*
 * The system calls of the server while it runs: those whose only use is to
 * learn what has happened, and all others.
 */
static struct {
	unsigned long learn;
	unsigned long other;
} calls;

#define LEARN(call)	(calls.learn++, (call))
#define DO(call)	(calls.other++, (call))

enum kind {
	ACCEPTED, TCP, UDP, AIO, OBSERVED, TAKEN, FAST, SLOW, CHILD, DIRECTORY,
	POSTED, KINDS,
};

static struct {
	const char *name;
	unsigned long events;	/* how many events the server got */
	unsigned long happened;	/* and how much happened altogether */
} kinds[KINDS] = {
	[ACCEPTED]	= { "TCP connections" },
	[TCP]		= { "TCP messages" },
	[UDP]		= { "UDP messages" },
	[AIO]		= { "blocks read" },
	[OBSERVED]	= { "signals observed" },
	[TAKEN]		= { "signals intercepted" },
	[FAST]		= { "ticks of the fast timer" },
	[SLOW]		= { "ticks of the slow timer" },
	[CHILD]		= { "children that exited" },
	[DIRECTORY]	= { "changes of the directory" },
	[POSTED]	= { "events posted" },
};

static bool finished;	/* SIGTERM came */

static inline void record_event(enum kind kind, unsigned long happened)
{
	kinds[kind].events++;
	kinds[kind].happened += happened;
}

static inline void report(const char *name)
{
	unsigned long events = 0, all = calls.learn + calls.other;
	int i;

	printf("%s:\n", name);
	for (i = 0; i < KINDS; i++) {
		printf("  %-26s%8lu in%8lu events\n", kinds[i].name,
		       kinds[i].happened, kinds[i].events);
		events += kinds[i].events;
	}
	if (!events)
		return;
	printf("  %lu system calls to learn of %lu events: %.2f each\n",
	       calls.learn, events, (double)calls.learn / events);
	printf("  %lu system calls altogether: %.2f each\n", all,
	       (double)all / events);
}

static inline void die(const char *what)
{
	perror(what);
	exit(EXIT_FAILURE);
}

static inline int check(int ret, const char *what)
{
	if (ret < 0)
		die(what);
	return ret;
}

static inline long long now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000LL + ts.tv_nsec / 1000000;
}

/*
 * Sockets, on a port that is free.
 */
static inline int open_socket(int type, struct sockaddr_in *addr)
{
	socklen_t len = sizeof(*addr);
	int fd = socket(AF_INET, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	check(fd, "socket");
	memset(addr, 0, sizeof(*addr));
	addr->sin_family = AF_INET;
	addr->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	check(bind(fd, (struct sockaddr *)addr, len), "bind");
	check(getsockname(fd, (struct sockaddr *)addr, &len), "getsockname");
	if (type == SOCK_STREAM)
		check(listen(fd, TCP_CLIENTS), "listen");
	return fd;
}

/* Sends back what a client has sent; false if it has gone. */
static inline bool echo_tcp(int fd)
{
	char buf[MESSAGE];
	ssize_t len = DO(recv(fd, buf, sizeof(buf), MSG_DONTWAIT));

	if (len < 0)
		return errno == EAGAIN;
	if (len)
		DO(send(fd, buf, len, MSG_NOSIGNAL));
	return len;
}

static inline void echo_udp(int fd)
{
	char buf[MESSAGE];
	struct sockaddr_in from;
	socklen_t addrlen = sizeof(from);
	ssize_t len = DO(recvfrom(fd, buf, sizeof(buf), MSG_DONTWAIT,
				  (struct sockaddr *)&from, &addrlen));

	if (len >= 0)
		DO(sendto(fd, buf, len, 0, (struct sockaddr *)&from, addrlen));
}

/*
 * AIO, as far as it is the same for both servers.
 */
static inline aio_context_t aio_new(void)
{
	aio_context_t ctx = 0;

	check(syscall(SYS_io_setup, BLOCKS, &ctx), "io_setup");
	return ctx;
}

/* A file to read, without a name. */
static inline int aio_file(const char *dir)
{
	static char block[BLOCK];
	char path[PATH_MAX];
	int fd, i;

	snprintf(path, sizeof(path), "%s/blocks", dir);
	fd = check(open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600),
		   path);
	check(unlink(path), "unlink");
	for (i = 0; i < BLOCKS; i++)
		check(write(fd, block, BLOCK), "write");
	return fd;
}

/* Reads the next block; @iocb says where to report it. */
static inline void aio_read(aio_context_t ctx, struct iocb *iocb, int fd)
{
	static char buf[BLOCK];
	static int block;

	iocb->aio_lio_opcode = IOCB_CMD_PREAD;
	iocb->aio_fildes = fd;
	iocb->aio_buf = (unsigned long)buf;
	iocb->aio_nbytes = BLOCK;
	iocb->aio_offset = (long long)block * BLOCK;
	block = (block + 1) % BLOCKS;
	check(DO(syscall(SYS_io_submit, ctx, 1, &iocb)), "io_submit");
}

/* A child that exits with a status; its pidfd. */
static inline int start_child(int status, pid_t *pid)
{
	*pid = DO(fork());
	if (!*pid)
		_exit(status);
	check(*pid, "fork");
	return check(DO(syscall(SYS_pidfd_open, *pid, 0)), "pidfd_open");
}

/*
 * Those who keep the server busy: processes of their own.
 */
static inline void serve_client(int type, const struct sockaddr_in *addr)
{
	long long end = now_ms() + RUN_MS;
	struct timeval patience = { .tv_usec = 100000 };
	char buf[MESSAGE] = {};
	int fd;

	while (now_ms() < end) {
		int round, one = 1;

		fd = check(socket(AF_INET, type, 0), "socket");
		setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience,
			   sizeof(patience));
		if (type == SOCK_STREAM)
			setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one,
				   sizeof(one));
		check(connect(fd, (const struct sockaddr *)addr, sizeof(*addr)),
		      "connect");
		for (round = 0; round < 100 && now_ms() < end; round++) {
			if (send(fd, buf, sizeof(buf), MSG_NOSIGNAL) < 0)
				break;
			recv(fd, buf, sizeof(buf), 0);
			usleep(PAUSE_US);
		}
		close(fd);
	}
}

/* Signals, changes of the directory, and what @post does to @fd. */
static inline void tease(pid_t server, const char *dir, void (*post)(int fd),
			 int fd)
{
	long long next = now_ms(), end = next + RUN_MS;
	char path[PATH_MAX];
	int i;

	for (i = 0; next < end; i++) {
		union sigval value = { .sival_int = i };

		kill(server, SIGUSR1);
		sigqueue(server, SIGUSR2, value);
		snprintf(path, sizeof(path), "%s/file%d", dir, i % 4);
		if (i % 8 < 4)
			close(open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
		else
			unlink(path);
		post(fd);
		next += TEASE_MS;
		while (now_ms() < next)
			usleep(500);
	}
	/* The clients are done. */
	usleep(100000);
	kill(server, SIGTERM);
}

static inline void start_all(const struct sockaddr_in *tcp,
			     const struct sockaddr_in *udp, const char *dir,
			     void (*post)(int fd), int fd)
{
	pid_t server = getpid();
	int i;

	for (i = 0; i <= TCP_CLIENTS + UDP_CLIENTS; i++) {
		pid_t pid = check(fork(), "fork");

		if (pid)
			continue;
		if (i < TCP_CLIENTS)
			serve_client(SOCK_STREAM, tcp);
		else if (i < TCP_CLIENTS + UDP_CLIENTS)
			serve_client(SOCK_DGRAM, udp);
		else
			tease(server, dir, post, fd);
		_exit(0);
	}
}

static inline void remove_dir(const char *dir)
{
	char path[PATH_MAX];
	int i;

	for (i = 0; i < 4; i++) {
		snprintf(path, sizeof(path), "%s/file%d", dir, i);
		unlink(path);
	}
	rmdir(dir);
}

#endif /* SAMPLES_KEVENT_SERVER_H */
