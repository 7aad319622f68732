// SPDX-License-Identifier: GPL-2.0
/*
 * KEVENT_SOURCE_SOCKET: each event, over each kind of socket, with amounts and
 * low-water marks, in each mode.
 */
#include <arpa/inet.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/sockios.h>
#include <linux/tls.h>
#include <linux/vm_sockets.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/ioctl.h>
#include <sys/un.h>

#include "kevent_poll_test.h"

#ifndef IPPROTO_MPTCP
#define IPPROTO_MPTCP	262
#endif
#ifndef TCP_ULP
#define TCP_ULP		31
#endif
#ifndef SOL_TLS
#define SOL_TLS		282
#endif

#define IN		KEVENT_SOCKET_IN
#define OUT		KEVENT_SOCKET_OUT
#define ACCEPT		KEVENT_SOCKET_ACCEPT
#define CONNECT		KEVENT_SOCKET_CONNECT
#define END		KEVENT_SOCKET_EOF
#define CLOSED		KEVENT_SOCKET_CLOSED
#define ERROR		KEVENT_SOCKET_ERROR
#define OOB		KEVENT_SOCKET_OOB
#define DRAINED		KEVENT_SOCKET_DRAINED

#define EDGE		KEVENT_WATCH_EDGE
#define ONESHOT		KEVENT_WATCH_ONESHOT
#define DISPATCH	KEVENT_WATCH_DISPATCH
#define DISABLED	KEVENT_WATCH_DISABLED
#define EXCLUSIVE	KEVENT_WATCH_EXCLUSIVE
#define VANISHED	KEVENT_WATCH_VANISHED

static void __attribute__((constructor)) need_sockets(void)
{
	need_source(KEVENT_SOURCE_SOCKET, "sockets");
}

/*
 * Sockets
 */
union address {
	struct sockaddr any;
	struct sockaddr_in in;
	struct sockaddr_in6 in6;
	struct sockaddr_un un;
	struct sockaddr_vm vm;
};

static socklen_t loopback(union address *a, int family)
{
	memset(a, 0, sizeof(*a));
	a->any.sa_family = family;
	switch (family) {
	case AF_INET:
		a->in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
		return sizeof(a->in);
	case AF_INET6:
		a->in6.sin6_addr = in6addr_loopback;
		return sizeof(a->in6);
	case AF_VSOCK:
		a->vm.svm_cid = 1;	/* VMADDR_CID_LOCAL */
		a->vm.svm_port = VMADDR_PORT_ANY;
		return sizeof(a->vm);
	default:
		/* The kernel chooses a name. */
		return sizeof(a->un.sun_family);
	}
}

static int bound_with(int family, int type, int protocol, union address *a,
		      socklen_t *len)
{
	int fd = socket(family, type | SOCK_NONBLOCK, protocol);

	if (fd < 0)
		return -1;
	*len = loopback(a, family);
	if (bind(fd, &a->any, *len)) {
		close(fd);
		return -1;
	}
	*len = sizeof(*a);
	return getsockname(fd, &a->any, len) ? -1 : fd;
}

static int bound(int family, int type, union address *a, socklen_t *len)
{
	return bound_with(family, type, 0, a, len);
}

static int listener(int family, int type, union address *a, socklen_t *len)
{
	int fd = bound(family, type, a, len);

	if (fd >= 0 && listen(fd, 64)) {
		close(fd);
		fd = -1;
	}
	return fd;
}

/* Makes two sockets that are connected; 0, or -1. */
static int pair(int family, int type, int fds[2])
{
	int one = 1, fd, i;
	union address a[2];
	socklen_t len[2];

	if (family == AF_UNIX)
		return socketpair(AF_UNIX, type | SOCK_NONBLOCK, 0, fds);
	if (type == SOCK_DGRAM) {
		for (i = 0; i < 2; i++) {
			fds[i] = bound(family, type, &a[i], &len[i]);
			if (fds[i] < 0)
				return -1;
		}
		return connect(fds[0], &a[1].any, len[1]) ||
		       connect(fds[1], &a[0].any, len[0]) ? -1 : 0;
	}
	fd = listener(family, type, &a[0], &len[0]);
	if (fd < 0)
		return -1;
	fds[0] = socket(family, type, 0);
	if (fds[0] < 0 || connect(fds[0], &a[0].any, len[0]))
		return -1;
	/* It is there, but maybe not in the queue yet. */
	do {
		fds[1] = accept4(fd, NULL, NULL, SOCK_NONBLOCK);
	} while (fds[1] < 0 && errno == EAGAIN);
	close(fd);
	for (i = 0; i < 2; i++) {
		setsockopt(fds[i], IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
		fcntl(fds[i], F_SETFL, O_NONBLOCK);
	}
	return fds[1] < 0 ? -1 : 0;
}

static int put(int fd, size_t len)
{
	static const char buf[65536];

	return send(fd, buf, len, MSG_NOSIGNAL | MSG_DONTWAIT);
}

/* Exactly as much, as soon as the peer has room. */
static void put_all(int fd, size_t len)
{
	while (len) {
		int ret = put(fd, len < 65536 ? len : 65536);

		if (ret < 0 && errno != EAGAIN && errno != ENOBUFS)
			abort();
		if (ret > 0)
			len -= ret;
		else
			sched_yield();
	}
}

static int get(int fd, size_t len)
{
	static char buf[65536];

	return recv(fd, buf, len < sizeof(buf) ? len : sizeof(buf),
		    MSG_DONTWAIT);
}

static void get_all(int fd, size_t len)
{
	while (len) {
		int ret = get(fd, len);

		if (ret > 0)
			len -= ret;
		else
			sched_yield();
	}
}

static size_t get_everything(int fd)
{
	size_t sum = 0;
	int ret;

	while ((ret = get(fd, 65536)) > 0)
		sum += ret;
	return sum;
}

/* Sends until no more goes in; how many bytes. */
static size_t fill(int fd, size_t chunk)
{
	size_t sum = 0;
	int ret, tries;

	for (tries = 0; tries < 20; tries++) {
		while ((ret = put(fd, chunk)) > 0) {
			sum += ret;
			tries = 0;
		}
		usleep(2000);
	}
	return sum;
}

static struct kevent_watch sock_watch(int fd, __u32 events, __u32 flags,
				      __u64 user_data)
{
	struct kevent_watch w = {
		.source = KEVENT_SOURCE_SOCKET,
		.flags = flags,
		.ident = fd,
		.events = events,
		.user_data = user_data,
	};

	return w;
}

/* As SIOCINQ has it. */
static int queued(int fd)
{
	int nr = 0;

	return ioctl(fd, SIOCINQ, &nr) ? -errno : nr;
}

static int sndbuf(int fd)
{
	int size = 0;
	socklen_t len = sizeof(size);

	return getsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, &len) ? -1 : size;
}

static int so_error(int fd)
{
	int error = 0;
	socklen_t len = sizeof(error);

	return getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len) ? -1 : error;
}

/* For what must not come: as long as nothing goes by itself. */
static void a_while(void)
{
	usleep(100000);
}

/*
 * Takes an event from the ring without any call on the queue, as a program that
 * is busy; false if none comes in ten seconds.
 */
static bool ring_watch(struct queue *q, struct kevent_event *ev)
{
	__u64 end = now_ns(CLOCK_MONOTONIC) + 10000 * MSEC;

	while (!ring_take(q, ev)) {
		if (now_ns(CLOCK_MONOTONIC) > end)
			return false;
		sched_yield();
	}
	return true;
}

#define EXPECT_SOCKET(q, copy, value, bits, amount, ev)			\
do {									\
	ASSERT_EQ(1, take_next((q), (copy), (ev)));			\
	EXPECT_EQ((__u64)(value), (ev)->user_data);			\
	EXPECT_EQ((__u32)(bits), (ev)->events);				\
	EXPECT_EQ(KEVENT_SOURCE_SOCKET, (ev)->info & 0xffff);		\
	EXPECT_EQ((amount), (ev)->data);				\
} while (0)

/*
 * Each kind of socket, each way to take events.
 */
FIXTURE(kind)
{
	struct queue q;
	struct kevent_watch w;
	struct kevent_event ev;
	int fd, peer;
};

FIXTURE_VARIANT(kind)
{
	int family, type;
	unsigned int entries;
	bool copy;
};

#define KIND(name, f, t)						\
FIXTURE_VARIANT_ADD(kind, name)						\
{									\
	.family = (f), .type = (t), .entries = 8,			\
};									\
FIXTURE_VARIANT_ADD(kind, name##_no_ring)				\
{									\
	.family = (f), .type = (t), .copy = true,			\
}

KIND(tcp, AF_INET, SOCK_STREAM);
KIND(tcp6, AF_INET6, SOCK_STREAM);
KIND(udp, AF_INET, SOCK_DGRAM);
KIND(udp6, AF_INET6, SOCK_DGRAM);
KIND(unix_stream, AF_UNIX, SOCK_STREAM);
KIND(unix_dgram, AF_UNIX, SOCK_DGRAM);
KIND(unix_seqpacket, AF_UNIX, SOCK_SEQPACKET);

FIXTURE_SETUP(kind)
{
	int fds[2];

	ASSERT_LE(0, queue_open_shared(&self->q, variant->entries));
	if (pair(variant->family, variant->type, fds))
		SKIP(return, "no such sockets: %s", strerror(errno));
	self->fd = fds[0];
	self->peer = fds[1];
}

FIXTURE_TEARDOWN(kind)
{
	queue_close(&self->q);
	close(self->fd);
	close(self->peer);
}

#define Q	(&self->q)
#define COPY	(variant->copy)
#define EV	(&self->ev)
#define STREAM	(variant->type == SOCK_STREAM)
#define CONNECTED	(variant->type != SOCK_DGRAM)
#define TCP	(STREAM && variant->family != AF_UNIX)

#define EXPECT_NEXT(value, bits, amount)				\
	EXPECT_SOCKET(Q, COPY, value, bits, amount, EV)
#define NOTHING()	EXPECT_EMPTY(Q, COPY)
#define ADD(events, flags, value)					\
do {									\
	self->w = sock_watch(self->fd, (events), (flags), (value));	\
	ASSERT_EQ(1, add_one(Q, &self->w));				\
} while (0)
#define ADD_MARKS(events, flags, value, receive, send)			\
do {									\
	self->w = sock_watch(self->fd, (events), (flags), (value));	\
	self->w.arg[0] = (receive);					\
	self->w.arg[1] = (send);					\
	ASSERT_EQ(1, add_one(Q, &self->w));				\
} while (0)
#define MODIFY(what)	EXPECT_EQ(1, modify_one(Q, &self->w, (what)))

TEST_F(kind, reports_how_much_can_be_read)
{
	ADD(IN, EDGE, 1);
	NOTHING();
	put_all(self->peer, 5);
	EXPECT_NEXT(1, IN, 5);
	EXPECT_LT(0, KEVENT_SOCKET_SPACE(EV->extra));
	EXPECT_EQ(0, KEVENT_SOCKET_ERRNO(EV->extra));
	NOTHING();
	put_all(self->peer, 7);
	EXPECT_NEXT(1, IN, STREAM ? 12 : 5);
	/* What the socket itself says; for SOCK_SEQPACKET that is a sum. */
	if (variant->type != SOCK_SEQPACKET)
		EXPECT_EQ(queued(self->fd), EV->data);
	EXPECT_EQ(5, get(self->fd, 5));
	put_all(self->peer, 3);
	EXPECT_NEXT(1, IN, STREAM ? 10 : 7);
	NOTHING();
}

TEST_F(kind, reports_what_is_there_already)
{
	put_all(self->peer, 5);
	put_all(self->peer, 6);
	ADD(IN, EDGE, 1);
	EXPECT_NEXT(1, IN, STREAM ? 11 : 5);
	NOTHING();
}

/* What is in the ring says what there was when it was posted. */
TEST_F(kind, merges_leave_amounts)
{
	int i;

	ADD(IN, EDGE, 1);
	for (i = 0; i < 10; i++)
		put_all(self->peer, 5);
	EXPECT_NEXT(1, IN, STREAM && !Q->ring ? 50 : 5);
	if (Q->ring)
		EXPECT_EQ(9, KEVENT_INFO_MERGED(EV->info));
	NOTHING();
}

TEST_F(kind, level_is_reported_until_all_was_read)
{
	ADD(IN, 0, 1);
	NOTHING();
	put_all(self->peer, 5);
	put_all(self->peer, 6);
	/* In the ring, the amount is that of when the event was posted. */
	EXPECT_NEXT(1, IN, STREAM && !Q->ring ? 11 : 5);
	EXPECT_NEXT(1, IN, STREAM ? 11 : 5);
	EXPECT_EQ(5, get(self->fd, 5));
	EXPECT_NEXT(1, IN, 6);
	EXPECT_EQ(6, get(self->fd, 6));
	NOTHING();
	put_all(self->peer, 1);
	EXPECT_NEXT(1, IN, 1);
}

/* No task waits: the waker posts. */
TEST_F(kind, busy_program_is_reported)
{
	int i, edge;

	if (!Q->ring)
		return;
	for (edge = 0; edge < 2; edge++) {
		ADD(IN, edge ? EDGE : 0, 1);
		for (i = 1; i < 20; i++) {
			put_all(self->peer, i);
			ASSERT_TRUE(ring_watch(Q, EV));
			EXPECT_EQ(IN, EV->events);
			EXPECT_EQ(i, EV->data);
			get_all(self->fd, i);
		}
		EXPECT_EQ(1, remove_one(Q, self->w.handle));
		EXPECT_FALSE(ring_take(Q, EV));
	}
}

TEST_F(kind, out_reports_how_much_space_there_is)
{
	__u32 space;

	ADD(OUT, EDGE, 1);
	EXPECT_NEXT(1, OUT, 0);
	space = KEVENT_SOCKET_SPACE(EV->extra);
	EXPECT_LT(0, space);
	EXPECT_GE(sndbuf(self->fd), space);
	NOTHING();
	/* What has been read by the peer frees space, which then is reported. */
	if (variant->family == AF_UNIX) {
		EXPECT_EQ(1000, put(self->fd, 1000));
		self->w.arg[1] = 0;
		MODIFY(KEVENT_MODIFY_ARG);
		EXPECT_NEXT(1, OUT, 0);
		EXPECT_GT(space, KEVENT_SOCKET_SPACE(EV->extra));
		get_all(self->peer, 1000);
		EXPECT_NEXT(1, OUT, 0);
		EXPECT_EQ(space, KEVENT_SOCKET_SPACE(EV->extra));
	}
}

TEST_F(kind, out_when_there_is_space_again)
{
	__u64 end = now_ns(CLOCK_MONOTONIC) + 10000 * MSEC;

	if (variant->family != AF_UNIX && !STREAM)
		return; /* it never is full */
	EXPECT_LT(0, fill(self->fd, STREAM ? 65536 : 1000));
	ADD(OUT, EDGE, 1);
	NOTHING();
	a_while();
	NOTHING();
	get_everything(self->peer);
	/* TCP has to see it. */
	while (!take_now(Q, COPY, EV)) {
		ASSERT_GT(end, now_ns(CLOCK_MONOTONIC));
		get_everything(self->peer);
		sched_yield();
	}
	EXPECT_EQ(OUT, EV->events);
	EXPECT_LT(0, KEVENT_SOCKET_SPACE(EV->extra));
}

/* To a watch that waits for data it is reported that there will be none. */
TEST_F(kind, eof)
{
	__u32 interest;

	if (!CONNECTED)
		return;
	ADD(IN, EDGE, 1);
	put_all(self->peer, 5);
	EXPECT_NEXT(1, IN, 5);
	EXPECT_EQ(0, shutdown(self->peer, SHUT_WR));
	ASSERT_EQ(1, take_next(Q, COPY, EV));
	EXPECT_EQ(IN | END, EV->events);
	EXPECT_EQ(5, EV->data);
	queue_drain(Q);
	EXPECT_EQ(1, remove_one(Q, self->w.handle));
	get_all(self->fd, 5);
	for (interest = 0; interest < 3; interest++) {
		static const __u32 events[] = { END, IN, END | OOB };

		ADD(events[interest], 0, 2);
		EXPECT_NEXT(2, END, 0);
		EXPECT_NEXT(2, END, 0);
		EXPECT_EQ(1, remove_one(Q, self->w.handle));
	}
	ADD(ACCEPT, 0, 3);
	NOTHING();
	/* This side may go on. */
	EXPECT_EQ(3, put(self->fd, 3));
	EXPECT_EQ(0, shutdown(self->fd, SHUT_WR));
	ASSERT_EQ(1, take_next(Q, COPY, EV));
	EXPECT_EQ(CLOSED, EV->events);
	EXPECT_EQ(0, KEVENT_SOCKET_SPACE(EV->extra));
}

TEST_F(kind, busy_program_is_reported_of_eof)
{
	int edge, fds[2];

	if (!CONNECTED || !Q->ring)
		return;
	for (edge = 0; edge < 2; edge++) {
		ASSERT_EQ(0, pair(variant->family, variant->type, fds));
		self->w = sock_watch(fds[0], END, edge ? EDGE : 0, 1);
		ASSERT_EQ(1, add_one(Q, &self->w));
		EXPECT_FALSE(ring_take(Q, EV));
		EXPECT_EQ(0, shutdown(fds[1], SHUT_WR));
		ASSERT_TRUE(ring_watch(Q, EV));
		EXPECT_EQ(END, EV->events);
		close(fds[0]);
		close(fds[1]);
		while (ring_take(Q, EV))
			;
	}
}

TEST_F(kind, closed_without_having_asked)
{
	__u32 bits = 0;

	if (!CONNECTED)
		return;
	ADD(0, EDGE, 1);
	NOTHING();
	put_all(self->peer, 5);
	NOTHING();
	EXPECT_EQ(0, shutdown(self->fd, SHUT_WR));
	close(self->peer);
	self->peer = -1;
	while (!(bits & CLOSED)) {
		ASSERT_EQ(1, take_next(Q, COPY, EV));
		bits |= EV->events;
	}
	EXPECT_EQ(CLOSED, bits);
}

TEST_F(kind, connected_and_drained)
{
	ADD(CONNECT, ONESHOT, 1);
	if (CONNECTED)
		EXPECT_NEXT(1, CONNECT, 0);
	else
		NOTHING();
	ADD(DRAINED, EDGE, 2);
	EXPECT_NEXT(2, DRAINED, 0);
	NOTHING();
}

TEST_F(kind, oneshot_and_dispatch)
{
	int i;

	ADD(IN, ONESHOT, 1);
	put_all(self->peer, 5);
	EXPECT_NEXT(1, IN, 5);
	EXPECT_TRUE(watch_gone(Q, &self->w));
	put_all(self->peer, 5);
	NOTHING();
	get_everything(self->fd);
	ADD(IN, DISPATCH, 2);
	for (i = 1; i < 10; i++) {
		put_all(self->peer, i);
		EXPECT_NEXT(2, IN, i);
		put_all(self->peer, 10);
		NOTHING();
		get_all(self->fd, i);
		MODIFY(KEVENT_MODIFY_ENABLE);
		EXPECT_NEXT(2, IN, 10);
		get_all(self->fd, 10);
		NOTHING();
		MODIFY(KEVENT_MODIFY_ENABLE);
		NOTHING();
	}
}

TEST_F(kind, disabled)
{
	ADD(IN, DISABLED, 1);
	put_all(self->peer, 5);
	NOTHING();
	MODIFY(KEVENT_MODIFY_ENABLE);
	EXPECT_NEXT(1, IN, 5);
	MODIFY(KEVENT_MODIFY_DISABLE);
	put_all(self->peer, 5);
	NOTHING();
	get_everything(self->fd);
	MODIFY(KEVENT_MODIFY_ENABLE);
	NOTHING();
	put_all(self->peer, 4);
	EXPECT_NEXT(1, IN, 4);
}

TEST_F(kind, modify_events)
{
	ADD(IN, EDGE, 1);
	NOTHING();
	self->w.events = OUT;
	MODIFY(KEVENT_MODIFY_EVENTS);
	EXPECT_NEXT(1, OUT, 0);
	put_all(self->peer, 5);
	NOTHING();
	self->w.events = IN;
	self->w.user_data = 2;
	MODIFY(KEVENT_MODIFY_EVENTS | KEVENT_MODIFY_USER_DATA);
	EXPECT_NEXT(2, IN, 5);
	self->w.events = 0;
	MODIFY(KEVENT_MODIFY_EVENTS);
	put_all(self->peer, 5);
	NOTHING();
}

TEST_F(kind, close_removes_it)
{
	int twin = dup(self->fd);
	pid_t pid;

	ASSERT_LE(0, twin);
	ADD(IN, 0, 1);
	/* A child has a copy of its own. */
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid)
		_exit(close(self->fd) ? 1 : 0);
	ASSERT_EQ(0, child_status(pid));
	EXPECT_FALSE(watch_gone(Q, &self->w));
	put_all(self->peer, 5);
	EXPECT_EQ(1, queue_refill(Q));
	EXPECT_EQ(0, close(self->fd));
	EXPECT_TRUE(watch_gone(Q, &self->w));
	NOTHING();
	EXPECT_EQ(0, nr_watches(Q->fd));
	self->fd = twin;
}

TEST_F(kind, vanishes_when_it_is_closed)
{
	int i;

	for (i = 0; i < 2; i++) {
		int twin = dup(self->fd);

		ASSERT_LE(0, twin);
		self->w = sock_watch(twin, IN | DRAINED,
				     VANISHED | EDGE | (i ? DISABLED : 0), 1);
		ASSERT_EQ(1, add_one(Q, &self->w));
		queue_drain(Q);
		EXPECT_EQ(0, close(twin));
		EXPECT_TRUE(watch_gone(Q, &self->w) || !Q->ring);
		ASSERT_EQ(1, take_next(Q, COPY, EV));
		EXPECT_EQ(CLOSED, EV->events);
		EXPECT_EQ(KEVENT_INFO_VANISHED | KEVENT_SOURCE_SOCKET,
			  EV->info & 0xffff);
		EXPECT_EQ(0, EV->data);
		EXPECT_EQ(0, EV->extra);
		NOTHING();
		EXPECT_EQ(0, nr_watches(Q->fd));
	}
}

/* The whole socket goes, not just a descriptor. */
TEST_F(kind, vanishes_with_the_last_reference)
{
	int i;

	put_all(self->peer, 5);
	for (i = 0; i < 5; i++)
		ADD(IN | OUT | DRAINED, i % 2 ? VANISHED : 0, i);
	close(self->fd);
	self->fd = -1;
	for (i = 0; i < 2;) {
		ASSERT_EQ(1, take_next(Q, COPY, EV));
		EXPECT_EQ(1, EV->user_data % 2);
		if (EV->info & KEVENT_INFO_VANISHED) {
			EXPECT_EQ(CLOSED, EV->events & CLOSED);
			i++;
		}
	}
	NOTHING();
	EXPECT_EQ(0, nr_watches(Q->fd));
}

TEST_F(kind, maker_exits)
{
	pid_t pid = fork();

	ASSERT_LE(0, pid);
	if (!pid) {
		self->w = sock_watch(self->fd, IN, VANISHED, 1);
		if (add_one(Q, &self->w) != 1)
			_exit(1);
		self->w = sock_watch(self->fd, IN, 0, 2);
		_exit(add_one(Q, &self->w) == 1 ? 0 : 2);
	}
	ASSERT_EQ(0, child_status(pid));
	ASSERT_EQ(1, take_next(Q, COPY, EV));
	EXPECT_EQ(1, EV->user_data);
	EXPECT_EQ(CLOSED, EV->events);
	EXPECT_EQ(KEVENT_INFO_VANISHED, EV->info & KEVENT_INFO_VANISHED);
	EXPECT_EQ(0, nr_watches(Q->fd));
	put_all(self->peer, 5);
	NOTHING();
}

TEST_F(kind, closed_by_exec)
{
	char fdinfo[32];
	pid_t pid;

	ASSERT_EQ(0, fcntl(self->fd, F_SETFD, FD_CLOEXEC));
	snprintf(fdinfo, sizeof(fdinfo), "/proc/self/fd/%d", self->fd);
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		self->w = sock_watch(self->fd, IN, VANISHED, 1);
		if (add_one(Q, &self->w) != 1)
			_exit(1);
		/* Stays until it is killed. */
		execlp("sleep", "sleep", "1000", NULL);
		_exit(2);
	}
	ASSERT_EQ(1, take_next(Q, COPY, EV));
	EXPECT_EQ(CLOSED, EV->events);
	EXPECT_EQ(0, waitpid(pid, NULL, WNOHANG));
	EXPECT_EQ(0, nr_watches(Q->fd));
	kill(pid, SIGKILL);
	EXPECT_EQ(-SIGKILL, child_status(pid));
}

/*
 * Low-water marks.
 */
TEST_F(kind, receive_mark)
{
	struct waiter waiter;

	if (!STREAM) {
		/* A message is reported whatever its size. */
		ADD_MARKS(IN, EDGE, 1, 1000, 0);
		put_all(self->peer, 5);
		EXPECT_NEXT(1, IN, 5);
		return;
	}
	ADD_MARKS(IN, EDGE, 1, 100, 0);
	put_all(self->peer, 50);
	put_all(self->peer, 49);
	NOTHING();
	if (Q->ring) {
		/* No thread is woken. */
		ASSERT_EQ(0, waiter_start(&waiter, Q->fd, ring_cursor(Q), 1));
		ASSERT_TRUE(sleeper_asleep(&waiter.sleeper));
		get_all(self->fd, 60);
		put_all(self->peer, 60);
		a_while();
		EXPECT_FALSE(sleeper_done(&waiter.sleeper));
		put_all(self->peer, 1);
		EXPECT_EQ(1, sleeper_join(&waiter.sleeper));
	} else {
		put_all(self->peer, 1);
	}
	EXPECT_NEXT(1, IN, 100);
	put_all(self->peer, 1);
	EXPECT_NEXT(1, IN, 101);
	get_all(self->fd, 2);
	NOTHING();
	put_all(self->peer, 1);
	EXPECT_NEXT(1, IN, 100);
}

TEST_F(kind, receive_mark_of_a_level)
{
	if (!STREAM)
		return;
	ADD_MARKS(IN, 0, 1, 100, 0);
	put_all(self->peer, 99);
	NOTHING();
	put_all(self->peer, 21);
	EXPECT_NEXT(1, IN, 120);
	EXPECT_NEXT(1, IN, 120);
	get_all(self->fd, 20);
	EXPECT_NEXT(1, IN, 100);
	get_all(self->fd, 1);
	NOTHING();
	put_all(self->peer, 1);
	EXPECT_NEXT(1, IN, 100);
}

TEST_F(kind, receive_mark_is_changed)
{
	if (!STREAM)
		return;
	ADD_MARKS(IN, EDGE, 1, 100, 0);
	put_all(self->peer, 50);
	NOTHING();
	self->w.arg[0] = 51;
	MODIFY(KEVENT_MODIFY_ARG);
	NOTHING();
	self->w.arg[0] = 50;
	MODIFY(KEVENT_MODIFY_ARG);
	EXPECT_NEXT(1, IN, 50);
	self->w.arg[0] = ~0ULL;
	MODIFY(KEVENT_MODIFY_ARG);
	put_all(self->peer, 1000);
	NOTHING();
	self->w.arg[0] = 0;
	MODIFY(KEVENT_MODIFY_ARG);
	EXPECT_NEXT(1, IN, 1050);
	self->w.arg[0] = 2000;
	self->w.arg[2] = 1;
	EXPECT_EQ(-EINVAL, modify_one(Q, &self->w, KEVENT_MODIFY_ARG));
	put_all(self->peer, 1);
	EXPECT_NEXT(1, IN, 1051);
	/* It does not switch anything on. */
	MODIFY(KEVENT_MODIFY_DISABLE);
	self->w.arg[2] = 0;
	self->w.arg[0] = 1;
	MODIFY(KEVENT_MODIFY_ARG);
	NOTHING();
	MODIFY(KEVENT_MODIFY_ENABLE);
	EXPECT_NEXT(1, IN, 1051);
}

/* Of the two the higher counts. */
TEST_F(kind, receive_mark_and_so_rcvlowat)
{
	int lowat = 100;

	if (!STREAM)
		return;
	ASSERT_EQ(0, setsockopt(self->fd, SOL_SOCKET, SO_RCVLOWAT, &lowat,
				sizeof(lowat)));
	ADD_MARKS(IN, EDGE, 1, 0, 0);
	put_all(self->peer, 99);
	NOTHING();
	put_all(self->peer, 1);
	EXPECT_NEXT(1, IN, 100);
	self->w.arg[0] = 10;
	MODIFY(KEVENT_MODIFY_ARG);
	EXPECT_NEXT(1, IN, 100);
	get_all(self->fd, 50);
	put_all(self->peer, 49);
	NOTHING();
	put_all(self->peer, 1);
	EXPECT_NEXT(1, IN, 100);
	self->w.arg[0] = 200;
	MODIFY(KEVENT_MODIFY_ARG);
	put_all(self->peer, 99);
	NOTHING();
	put_all(self->peer, 1);
	EXPECT_NEXT(1, IN, 200);
}

/* No one is woken for that, except by TCP. */
TEST_F(kind, so_rcvlowat_is_lowered)
{
	int i, lowat;

	if (!STREAM)
		return;
	for (i = 0; i < 2; i++) {
		lowat = 100;
		if (i)
			ADD(IN, 0, 1);
		ASSERT_EQ(0, setsockopt(self->fd, SOL_SOCKET, SO_RCVLOWAT,
					&lowat, sizeof(lowat)));
		if (!i)
			ADD(IN, 0, 1);
		NOTHING();
		put_all(self->peer, 50);
		NOTHING();
		lowat = 60;
		ASSERT_EQ(0, setsockopt(self->fd, SOL_SOCKET, SO_RCVLOWAT,
					&lowat, sizeof(lowat)));
		NOTHING();
		lowat = 10;
		ASSERT_EQ(0, setsockopt(self->fd, SOL_SOCKET, SO_RCVLOWAT,
					&lowat, sizeof(lowat)));
		EXPECT_NEXT(1, IN, 50);
		get_all(self->fd, 50);
		NOTHING();
		EXPECT_EQ(1, remove_one(Q, self->w.handle));
	}
}

/* A level is tested before it is copied: what is read meanwhile counts no more. */
TEST_F(kind, copied_levels_have_fresh_amounts)
{
	int i;

	if (!STREAM)
		return;
	ADD(IN, 0, 1);
	for (i = 0; i < 10; i++) {
		put_all(self->peer, 10);
		while (queued(self->fd) != 10)
			sched_yield();
		get_all(self->fd, 4);
		EXPECT_SOCKET(Q, true, 1, IN, 6, EV);
		get_all(self->fd, 6);
		EXPECT_EMPTY(Q, true);
	}
}

/* One that cannot be reached is reported when there is no room for more. */
TEST_F(kind, receive_mark_above_all_buffers)
{
	size_t chunk, small = TCP ? 1000 : 1;

	if (!STREAM)
		return;
	for (chunk = small; chunk <= 40000; chunk += 32768) {
		ADD_MARKS(IN, EDGE, 1, ~0ULL, 0);
		put_all(self->peer, 1000);
		NOTHING();
		fill(self->peer, chunk);
		EXPECT_NEXT(1, IN, EV->data);
		EXPECT_LT(0, EV->data);
		EXPECT_EQ(1, remove_one(Q, self->w.handle));
		do {
			a_while();
		} while (get_everything(self->fd));
	}
}

TEST_F(kind, receive_mark_and_eof)
{
	if (!STREAM)
		return;
	ADD_MARKS(IN, EDGE, 1, 1000, 0);
	put_all(self->peer, 10);
	NOTHING();
	EXPECT_EQ(0, shutdown(self->peer, SHUT_WR));
	EXPECT_NEXT(1, IN | END, 10);
}

TEST_F(kind, send_mark)
{
	__u64 end = now_ns(CLOCK_MONOTONIC) + 20000 * MSEC;
	__u32 mark = sndbuf(self->fd) / 10 * 9;
	size_t sent, got = 0;
	int reported = 0;

	if (variant->family != AF_UNIX && !STREAM) {
		ADD_MARKS(OUT, EDGE, 1, 0, mark);
		EXPECT_NEXT(1, OUT, 0);
		EXPECT_LE(mark, KEVENT_SOCKET_SPACE(EV->extra));
		return;
	}
	ADD_MARKS(OUT, EDGE, 1, 0, mark);
	EXPECT_NEXT(1, OUT, 0);
	EXPECT_LE(mark, KEVENT_SOCKET_SPACE(EV->extra));
	sent = fill(self->fd, STREAM ? 65536 : 1000);
	/* TCP may have reported meanwhile, as it made the buffer larger. */
	mark = sndbuf(self->fd) / 10 * 9;
	self->w.arg[1] = mark;
	MODIFY(KEVENT_MODIFY_ARG);
	queue_drain(Q);
	EXPECT_LT(0, sent);
	while (got < sent) {
		int ret = get(self->peer, 2000);

		ASSERT_GT(end, now_ns(CLOCK_MONOTONIC));
		if (ret > 0)
			got += ret;
		if (take_now(Q, COPY, EV)) {
			reported++;
			EXPECT_EQ(OUT, EV->events);
			/* Less was reported as if it were enough. */
			ASSERT_LE(mark, KEVENT_SOCKET_SPACE(EV->extra));
		}
	}
	while (!reported) {
		ASSERT_GT(end, now_ns(CLOCK_MONOTONIC));
		reported = take_now(Q, COPY, EV);
		sched_yield();
	}
	EXPECT_LE(mark, KEVENT_SOCKET_SPACE(EV->extra));
}

/* As large as the buffer, or larger: when all has arrived. */
TEST_F(kind, send_mark_above_the_buffer)
{
	__u64 end = now_ns(CLOCK_MONOTONIC) + 20000 * MSEC;
	int fixed = 50000;

	ASSERT_EQ(0, setsockopt(self->fd, SOL_SOCKET, SO_SNDBUF, &fixed,
				sizeof(fixed)));
	ADD_MARKS(OUT, EDGE, 1, 0, ~0ULL);
	EXPECT_NEXT(1, OUT, 0);
	EXPECT_EQ(sndbuf(self->fd), KEVENT_SOCKET_SPACE(EV->extra));
	if (variant->family != AF_UNIX && !STREAM)
		return;
	put_all(self->fd, 100);
	if (variant->family == AF_UNIX)
		NOTHING();
	queue_drain(Q);
	get_all(self->peer, 100);
	put_all(self->fd, 1000);
	get_all(self->peer, 1000);
	do {
		ASSERT_GT(end, now_ns(CLOCK_MONOTONIC));
		sched_yield();
	} while (!take_now(Q, COPY, EV));
	EXPECT_EQ(OUT, EV->events);
	EXPECT_EQ(sndbuf(self->fd), KEVENT_SOCKET_SPACE(EV->extra));
}

/*
 * DRAINED
 */
TEST_F(kind, drained_each_time)
{
	int i, edge;

	for (edge = 0; edge < 2; edge++) {
		ADD(DRAINED, edge ? EDGE : DISPATCH, 1);
		EXPECT_NEXT(1, DRAINED, 0);
		for (i = 1; i < 10; i++) {
			/* More than once, for TCP frees space in steps. */
			put_all(self->fd, 1000);
			put_all(self->fd, 1000);
			if (!edge)
				MODIFY(KEVENT_MODIFY_ENABLE);
			if (variant->family == AF_UNIX) {
				NOTHING();
				get_all(self->peer, 1000);
				NOTHING();
			}
			get_everything(self->peer);
			ASSERT_EQ(1, take_next(Q, COPY, EV));
			EXPECT_EQ(DRAINED, EV->events);
			/* UDP has reported of the first already. */
			queue_drain(Q);
		}
		EXPECT_EQ(1, remove_one(Q, self->w.handle));
	}
}

/* Again and again, while no task rechecks. */
TEST_F(kind, busy_program_is_reported_of_drained)
{
	size_t size;
	int i;

	if (!Q->ring || !STREAM)
		return;
	ADD(DRAINED, EDGE, 1);
	ASSERT_TRUE(ring_watch(Q, EV));
	for (i = 0; i < 10; i++) {
		size = i % 2 ? 200000 : 1;
		while (size) {
			int ret = put(self->fd, size < 65536 ? size : 65536);

			if (ret > 0)
				size -= ret;
			else
				get_everything(self->peer);
		}
		do {
			get_everything(self->peer);
			ASSERT_TRUE(ring_watch(Q, EV));
			EXPECT_EQ(DRAINED, EV->events);
		} while (get_everything(self->peer));
		/* Let it come to rest. */
		if (TCP)
			usleep(50000);
		while (ring_take(Q, EV))
			;
	}
}

TEST_F(kind, drained_after_it_was_full)
{
	if (variant->family != AF_UNIX && !STREAM)
		return;
	ADD(DRAINED, EDGE, 1);
	EXPECT_NEXT(1, DRAINED, 0);
	fill(self->fd, STREAM ? 65536 : 1000);
	a_while();
	queue_drain(Q);
	NOTHING();
	for (;;) {
		get_everything(self->peer);
		if (take_now(Q, COPY, EV))
			break;
		sched_yield();
	}
	EXPECT_EQ(DRAINED, EV->events);
	while (get_everything(self->peer))
		;
	queue_drain(Q);
}

TEST_F(kind, drained_after_shutdown)
{
	if (!TCP)
		return;
	ADD(DRAINED, EDGE, 1);
	EXPECT_NEXT(1, DRAINED, 0);
	put_all(self->fd, 10);
	EXPECT_EQ(0, shutdown(self->fd, SHUT_WR));
	do {
		ASSERT_EQ(1, take_next(Q, COPY, EV));
		EXPECT_EQ(DRAINED, EV->events);
	} while (KEVENT_SOCKET_SPACE(EV->extra));
	NOTHING();
}

/* Nothing is lost with two slots for many sockets. */
TEST_F(kind, small_ring)
{
	enum { NR = 50 };
	int fds[NR][2], i, reported[NR] = {}, left;
	struct queue q;
	bool merged;

	ASSERT_LE(0, queue_open(&q, variant->entries ? 2 : 0));
	for (i = 0; i < NR; i++) {
		ASSERT_EQ(0, pair(variant->family, variant->type, fds[i]));
		self->w = sock_watch(fds[i][0], IN, EDGE, i);
		ASSERT_EQ(1, add_one(&q, &self->w));
	}
	for (i = 0; i < NR; i++) {
		put_all(fds[i][1], i + 1);
		put_all(fds[i][1], 1);
	}
	for (left = NR; left; left--) {
		ASSERT_EQ(1, take_next(&q, COPY, EV));
		ASSERT_GT(NR, EV->user_data);
		EXPECT_EQ(0, reported[EV->user_data]++);
		EXPECT_EQ(IN, EV->events);
		/* The first two were in the ring when the second byte came. */
		merged = !STREAM || (q.ring && EV->user_data < 2);
		EXPECT_EQ(EV->user_data + (merged ? 1 : 2), EV->data);
	}
	EXPECT_EMPTY(&q, COPY);
	for (i = 0; i < NR; i++) {
		close(fds[i][0]);
		close(fds[i][1]);
	}
	queue_close(&q);
}

/* Several watches of one socket do not disturb each other. */
TEST_F(kind, several_watches)
{
	static const __u32 events[] = { IN, IN, DRAINED, OUT, DRAINED };
	struct kevent_watch w[5];
	__u32 reported = 0;
	int i;

	for (i = 0; i < 5; i++) {
		w[i] = sock_watch(self->fd, events[i], EDGE, i);
		w[i].arg[0] = i ? 10 : 0;
		ASSERT_EQ(1, add_one(Q, &w[i]));
	}
	queue_drain(Q);
	EXPECT_EQ(1, remove_one(Q, w[2].handle));
	put_all(self->peer, 5);
	while (take_now(Q, COPY, EV))
		reported |= 1 << EV->user_data;
	EXPECT_EQ(STREAM ? 1 : 3, reported);
	put_all(self->fd, 5);
	get_all(self->peer, 5);
	for (reported = 0; !(reported & 1 << 4);) {
		ASSERT_EQ(1, take_next(Q, COPY, EV));
		reported |= 1 << EV->user_data;
	}
	EXPECT_EQ(0, reported & ~(1 << 3 | 1 << 4));
}

/*
 * Connecting and accepting.
 */
FIXTURE(connecting)
{
	struct queue q;
	struct kevent_watch w;
	struct kevent_event ev;
	union address a;
	socklen_t len;
	int fd;
};

FIXTURE_VARIANT(connecting)
{
	int family, type;
	unsigned int entries;
	bool copy;
};

#define CONNECTING(name, f, t)						\
FIXTURE_VARIANT_ADD(connecting, name)					\
{									\
	.family = (f), .type = (t), .entries = 8,			\
};									\
FIXTURE_VARIANT_ADD(connecting, name##_no_ring)				\
{									\
	.family = (f), .type = (t), .copy = true,			\
}

CONNECTING(tcp, AF_INET, SOCK_STREAM);
CONNECTING(tcp6, AF_INET6, SOCK_STREAM);
CONNECTING(unix_stream, AF_UNIX, SOCK_STREAM);
CONNECTING(unix_seqpacket, AF_UNIX, SOCK_SEQPACKET);

FIXTURE_SETUP(connecting)
{
	ASSERT_LE(0, queue_open(&self->q, variant->entries));
	self->fd = listener(variant->family, variant->type, &self->a,
			    &self->len);
	if (self->fd < 0)
		SKIP(return, "no such sockets: %s", strerror(errno));
}

FIXTURE_TEARDOWN(connecting)
{
	queue_close(&self->q);
	close(self->fd);
}

static int connected(int family, int type, const union address *a,
		     socklen_t len)
{
	int fd = socket(family, type, 0);

	if (fd >= 0 && connect(fd, &a->any, len)) {
		close(fd);
		return -1;
	}
	return fd;
}

#define NEW()	connected(variant->family, variant->type, &self->a, self->len)

TEST_F(connecting, accept_reports_the_backlog)
{
	int fds[4], accepted[4], i;

	ADD(ACCEPT, EDGE, 1);
	NOTHING();
	for (i = 0; i < 4; i++) {
		fds[i] = NEW();
		ASSERT_LE(0, fds[i]);
		EXPECT_NEXT(1, ACCEPT, i + 1);
	}
	NOTHING();
	ADD(IN | ACCEPT | OUT | CONNECT | DRAINED, 0, 2);
	for (i = 0; i < 4; i++) {
		EXPECT_NEXT(2, ACCEPT, 4 - i);
		accepted[i] = accept(self->fd, NULL, NULL);
		ASSERT_LE(0, accepted[i]);
	}
	NOTHING();
	for (i = 0; i < 4; i++) {
		close(fds[i]);
		close(accepted[i]);
	}
}

TEST_F(connecting, busy_program_is_reported_to_accept)
{
	int i, fd, accepted;

	if (!Q->ring)
		return;
	ADD(ACCEPT, 0, 1);
	for (i = 0; i < 20; i++) {
		fd = NEW();
		ASSERT_LE(0, fd);
		ASSERT_TRUE(ring_watch(Q, EV));
		EXPECT_EQ(ACCEPT, EV->events);
		EXPECT_EQ(1, EV->data);
		accepted = accept(self->fd, NULL, NULL);
		ASSERT_LE(0, accepted);
		close(fd);
		close(accepted);
	}
}

TEST_F(connecting, in_is_not_for_listeners)
{
	int fd;

	ADD(IN | OUT | CONNECT, 0, 1);
	fd = NEW();
	ASSERT_LE(0, fd);
	NOTHING();
	close(fd);
}

/* Watched before it listens. */
TEST_F(connecting, listens_later)
{
	union address a;
	socklen_t len;
	int fd, other;

	fd = bound(variant->family, variant->type, &a, &len);
	ASSERT_LE(0, fd);
	self->w = sock_watch(fd, ACCEPT | IN | OUT, EDGE, 1);
	ASSERT_EQ(1, add_one(Q, &self->w));
	NOTHING();
	ASSERT_EQ(0, listen(fd, 5));
	NOTHING();
	other = connected(variant->family, variant->type, &a, len);
	ASSERT_LE(0, other);
	EXPECT_NEXT(1, ACCEPT, 1);
	close(other);
	close(fd);
}

/* Whatever was asked for. */
TEST_F(connecting, shutdown_of_a_listener)
{
	static const __u32 asked[] = { ACCEPT, IN, ACCEPT | IN, 0, END };
	static const int how[] = { SHUT_RD, SHUT_RDWR };
	__u32 wanted, bits;
	union address a;
	socklen_t len;
	size_t i, n;
	int fd;

	for (n = 0; n < 2 * ARRAY_SIZE(asked); n++) {
		i = n / 2;
		wanted = CLOSED | (asked[i] & (IN | END) ? END : 0);
		if (variant->family == AF_UNIX && how[n & 1] == SHUT_RD)
			continue;
		fd = bound(variant->family, variant->type, &a, &len);
		ASSERT_LE(0, fd);
		/* Watched before it listens, or after that. */
		self->w = sock_watch(fd, asked[i], i & 1 ? EDGE : 0, i);
		if (n & 2)
			ASSERT_EQ(1, add_one(Q, &self->w));
		ASSERT_EQ(0, listen(fd, n & 1 ? 0 : 5));
		if (!(n & 2))
			ASSERT_EQ(1, add_one(Q, &self->w));
		NOTHING();
		ASSERT_EQ(0, shutdown(fd, how[n & 1]));
		for (bits = 0; bits != wanted; bits |= EV->events) {
			ASSERT_EQ(1, take_next(Q, COPY, EV));
			EXPECT_EQ(i, EV->user_data);
			EXPECT_EQ(0, EV->events & ~wanted);
			EXPECT_EQ(0, EV->data);
		}
		EXPECT_EQ(1, remove_one(Q, self->w.handle));
		/* It can be seen later, too. */
		self->w = sock_watch(fd, asked[i], EDGE, 9);
		ASSERT_EQ(1, add_one(Q, &self->w));
		EXPECT_NEXT(9, wanted, 0);
		/* And it can be used again. */
		if (variant->family != AF_UNIX) {
			EXPECT_EQ(0, listen(fd, 5));
			self->w = sock_watch(fd, asked[i], EDGE, 10);
			ASSERT_EQ(1, add_one(Q, &self->w));
			NOTHING();
		}
		close(fd);
	}
}

TEST_F(connecting, not_connected_is_not_closed)
{
	int fd = socket(variant->family, variant->type | SOCK_NONBLOCK, 0);
	__u32 bits = 0;

	ASSERT_LE(0, fd);
	self->w = sock_watch(fd, CONNECT | OUT | IN | END, EDGE, 1);
	ASSERT_EQ(1, add_one(Q, &self->w));
	NOTHING();
	if (connect(fd, &self->a.any, self->len))
		ASSERT_EQ(EINPROGRESS, errno);
	if (variant->family == AF_UNIX) {
		/* No thread is woken for it, but a level is seen. */
		self->w = sock_watch(fd, CONNECT, 0, 2);
		ASSERT_EQ(1, add_one(Q, &self->w));
		EXPECT_NEXT(2, CONNECT, 0);
	} else {
		while (!(bits & CONNECT)) {
			ASSERT_EQ(1, take_next(Q, COPY, EV));
			bits |= EV->events;
		}
		EXPECT_EQ(CONNECT | OUT, bits);
	}
	close(fd);
}

TEST_F(connecting, level_waits_for_the_connection)
{
	int fd = socket(variant->family, variant->type | SOCK_NONBLOCK, 0);

	ASSERT_LE(0, fd);
	self->w = sock_watch(fd, CONNECT, 0, 1);
	ASSERT_EQ(1, add_one(Q, &self->w));
	NOTHING();
	if (connect(fd, &self->a.any, self->len))
		ASSERT_EQ(EINPROGRESS, errno);
	/* With a unix socket no one is woken for that. */
	if (variant->family != AF_UNIX && Q->ring) {
		ASSERT_TRUE(ring_watch(Q, EV));
		EXPECT_EQ(CONNECT, EV->events);
	}
	EXPECT_NEXT(1, CONNECT, 0);
	EXPECT_NEXT(1, CONNECT, 0);
	close(fd);
}

/* A level that was never reported, and holds without a wake-up. */
TEST_F(connecting, level_out_of_what_is_connected_later)
{
	int i, fd, no_cookie = 1;

	for (i = 0; i < 2; i++) {
		fd = socket(variant->family, variant->type | SOCK_NONBLOCK, 0);
		ASSERT_LE(0, fd);
		/* What is written first goes with the SYN. */
		if (variant->family != AF_UNIX &&
		    (setsockopt(fd, IPPROTO_TCP, 30 /* TCP_FASTOPEN_CONNECT */,
				&no_cookie, sizeof(no_cookie)) ||
		     setsockopt(fd, IPPROTO_TCP, 34 /* ..._NO_COOKIE */,
				&no_cookie, sizeof(no_cookie))))
			SKIP(return, "no TCP fast open");
		self->w = sock_watch(fd, OUT, 0, 1);
		ASSERT_EQ(1, add_one(Q, &self->w));
		NOTHING();
		if (i)
			MODIFY(KEVENT_MODIFY_EVENTS);
		NOTHING();
		ASSERT_EQ(0, connect(fd, &self->a.any, self->len));
		EXPECT_NEXT(1, OUT, 0);
		EXPECT_NEXT(1, OUT, 0);
		close(fd);
	}
}

TEST_F(connecting, refused)
{
	union address a;
	socklen_t len;
	__u32 bits = 0;
	int fd, other, ring;

	if (variant->family == AF_UNIX)
		return;
	for (ring = 0; ring < (Q->ring ? 2 : 1); ring++) {
		/* Bound, and does not listen. */
		other = bound(variant->family, variant->type, &a, &len);
		ASSERT_LE(0, other);
		fd = socket(variant->family, variant->type | SOCK_NONBLOCK, 0);
		ASSERT_LE(0, fd);
		self->w = sock_watch(fd, CONNECT, EDGE, 1);
		ASSERT_EQ(1, add_one(Q, &self->w));
		EXPECT_EQ(-1, connect(fd, &a.any, len));
		if (errno == EINPROGRESS) {
			while (!(bits & ERROR)) {
				ASSERT_EQ(1, ring ? ring_watch(Q, EV) :
						    take_next(Q, COPY, EV));
				bits |= EV->events;
			}
			EXPECT_EQ(ERROR | CLOSED, bits);
			EXPECT_EQ(ECONNREFUSED,
				  KEVENT_SOCKET_ERRNO(EV->extra));
			EXPECT_EQ(KEVENT_SOURCE_SOCKET, EV->info & 0xffff);
			/* It is pending still. */
			EXPECT_EQ(ECONNREFUSED, so_error(fd));
			EXPECT_EQ(0, so_error(fd));
		}
		close(fd);
		close(other);
		queue_drain(Q);
	}
}

TEST_F(connecting, reset)
{
	struct linger linger = { .l_onoff = 1 };
	__u32 bits = 0;
	int fd, peer;

	fd = NEW();
	ASSERT_LE(0, fd);
	while ((peer = accept(self->fd, NULL, NULL)) < 0)
		ASSERT_EQ(EAGAIN, errno);
	self->w = sock_watch(fd, 0, 0, 1);
	ASSERT_EQ(1, add_one(Q, &self->w));
	NOTHING();
	EXPECT_EQ(5, put(fd, 5));
	/* Unread data does it for unix sockets, and this for TCP. */
	setsockopt(peer, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
	close(peer);
	while (!(bits & ERROR && bits & CLOSED)) {
		ASSERT_EQ(1, take_next(Q, COPY, EV));
		bits |= EV->events;
	}
	EXPECT_EQ(ERROR | CLOSED, bits);
	EXPECT_EQ(ECONNRESET, KEVENT_SOCKET_ERRNO(EV->extra));
	/* It is reported until it is over. */
	EXPECT_NEXT(1, ERROR | CLOSED, 0);
	EXPECT_EQ(ECONNRESET, so_error(fd));
	EXPECT_NEXT(1, CLOSED, 0);
	EXPECT_EQ(0, KEVENT_SOCKET_ERRNO(EV->extra));
	close(fd);
}

enum { QUEUES = 4 };

/* How many of the queues have been reported something, each thing once. */
static int reported(struct queue *q, bool copy)
{
	struct kevent_event ev;
	int i, sum = 0;

	for (i = 0; i < QUEUES; i++)
		sum += take_now(&q[i], copy, &ev);
	return sum;
}

TEST_F(connecting, exclusive)
{
	struct queue q[QUEUES];
	int i, fd, accepted;

	for (i = 0; i < QUEUES; i++) {
		ASSERT_LE(0, queue_open(&q[i], variant->entries));
		self->w = sock_watch(self->fd, ACCEPT, EDGE | EXCLUSIVE, i);
		ASSERT_EQ(1, add_one(&q[i], &self->w));
		/* The marks may change, the rest may not. */
		EXPECT_EQ(1, modify_one(&q[i], &self->w, KEVENT_MODIFY_ARG));
		self->w.events = IN;
		EXPECT_EQ(-EINVAL, modify_one(&q[i], &self->w,
					      KEVENT_MODIFY_EVENTS));
		self->w.flags = EDGE;
		EXPECT_EQ(-EINVAL, modify_one(&q[i], &self->w,
					      KEVENT_MODIFY_MODE));
	}
	for (i = 0; i < 20; i++) {
		fd = NEW();
		ASSERT_LE(0, fd);
		/* No thread sleeps that would handle it. */
		ASSERT_EQ(QUEUES, reported(q, COPY));
		accepted = accept(self->fd, NULL, NULL);
		ASSERT_LE(0, accepted);
		close(fd);
		close(accepted);
	}
	for (i = 0; i < QUEUES; i++)
		queue_close(&q[i]);
}

/* Pre-forked servers, but threads: each has a queue of its own. */
struct server {
	struct queue q;
	struct sleeper sleeper;
	int listener;
	int served;
	int *total;
	bool copy;
	bool stop;
};

static int server_call(void *arg)
{
	struct server *s = arg;
	struct kevent_event ev;
	int fd;

	while (!__atomic_load_n(&s->stop, __ATOMIC_ACQUIRE)) {
		if (take_next(&s->q, s->copy, &ev) != 1)
			return -1;
		while ((fd = accept(s->listener, NULL, NULL)) >= 0) {
			close(fd);
			s->served++;
			__atomic_add_fetch(s->total, 1, __ATOMIC_RELEASE);
		}
	}
	return 0;
}

static void exclusive_servers(struct __test_metadata *_metadata,
			      struct _test_data_connecting *self,
			      const struct _fixture_variant_connecting *variant,
			      __u32 mode, int running, struct server *s)
{
	int i, j, fd, total = 0;

	for (i = 0; i < 2; i++) {
		s[i] = (struct server) {
			.listener = self->fd,
			.total = &total,
			.copy = variant->copy,
		};
		ASSERT_LE(0, queue_open(&s[i].q, variant->entries));
		self->w = sock_watch(self->fd, ACCEPT, mode | EXCLUSIVE, i);
		ASSERT_EQ(1, add_one(&s[i].q, &self->w));
	}
	for (i = 2 - running; i < 2; i++)
		ASSERT_EQ(0, sleeper_start(&s[i].sleeper, server_call, &s[i]));
	for (j = 0; j < 100; j++) {
		for (i = 2 - running; i < 2; i++)
			ASSERT_TRUE(sleeper_asleep(&s[i].sleeper));
		fd = NEW();
		ASSERT_LE(0, fd);
		while (__atomic_load_n(&total, __ATOMIC_ACQUIRE) <= j)
			sched_yield();
		close(fd);
	}
	for (i = 2 - running; i < 2; i++) {
		__atomic_store_n(&s[i].stop, true, __ATOMIC_RELEASE);
		ASSERT_EQ(1, seq_post(s[i].q.fd, 9, 1, KEVENT_POST_DEFER));
		EXPECT_EQ(0, sleeper_join(&s[i].sleeper));
	}
	for (i = 0; i < 2; i++)
		queue_close(&s[i].q);
}

TEST_F(connecting, exclusive_servers_take_turns)
{
	static const __u32 modes[] = { 0, EDGE };
	struct server s[2];
	size_t i;

	for (i = 0; i < ARRAY_SIZE(modes); i++) {
		exclusive_servers(_metadata, self, variant, modes[i], 2, s);
		EXPECT_EQ(100, s[0].served + s[1].served);
		EXPECT_GE(60, s[0].served);
		EXPECT_GE(60, s[1].served);
	}
}

TEST_F(connecting, exclusive_server_beside_one_that_stands_still)
{
	static const __u32 modes[] = { 0, EDGE };
	struct server s[2];
	size_t i;

	for (i = 0; i < ARRAY_SIZE(modes); i++) {
		exclusive_servers(_metadata, self, variant, modes[i], 1, s);
		EXPECT_EQ(100, s[1].served);
	}
}

/* One to which there is nothing to report passes it on. */
TEST_F(connecting, exclusive_with_marks)
{
	struct queue q[QUEUES];
	int i, fd, peer, round;

	if (variant->type != SOCK_STREAM)
		return;
	for (round = 0; round < QUEUES; round++) {
		fd = NEW();
		ASSERT_LE(0, fd);
		while ((peer = accept(self->fd, NULL, NULL)) < 0)
			ASSERT_EQ(EAGAIN, errno);
		for (i = 0; i < QUEUES; i++) {
			ASSERT_LE(0, queue_open(&q[i], variant->entries));
			self->w = sock_watch(peer, IN, EDGE | EXCLUSIVE, i);
			self->w.arg[0] = i == round ? 10 : 100;
			ASSERT_EQ(1, add_one(&q[i], &self->w));
		}
		put_all(fd, 10);
		EXPECT_EQ(1, take_next(&q[round], COPY, EV));
		EXPECT_EQ(0, reported(q, COPY));
		for (i = 0; i < QUEUES; i++)
			queue_close(&q[i]);
		close(fd);
		close(peer);
	}
}

/*
 * Single things
 */
TEST(oob)
{
	static const int families[] = { AF_INET, AF_INET6, AF_UNIX };
	struct kevent_event ev = {};
	struct kevent_watch w;
	struct queue q;
	int fds[2], i;
	char byte;

	ASSERT_LE(0, queue_open(&q, 8));
	for (i = 0; i < 3; i++) {
		if (pair(families[i], SOCK_STREAM, fds))
			continue;
		w = sock_watch(fds[0], OOB, EDGE, 1);
		ASSERT_EQ(1, add_one(&q, &w));
		EXPECT_EMPTY(&q, false);
		ASSERT_EQ(3, put(fds[1], 3));
		EXPECT_EMPTY(&q, false);
		if (send(fds[1], "x", 1, MSG_OOB) != 1) {
			ASSERT_EQ(AF_UNIX, families[i]);
			close(fds[0]);
			close(fds[1]);
			continue;
		}
		ASSERT_TRUE(ring_watch(&q, &ev));
		EXPECT_EQ(OOB, ev.events);
		if (families[i] != AF_UNIX) {
			/* It does not count. */
			EXPECT_EQ(3, ev.data);
			ASSERT_EQ(4, put(fds[1], 4));
			queue_drain(&q);
			w = sock_watch(fds[0], IN, EDGE, 2);
			w.arg[0] = 8;
			ASSERT_EQ(1, add_one(&q, &w));
			EXPECT_EMPTY(&q, false);
			w.arg[0] = 7;
			ASSERT_EQ(1, modify_one(&q, &w, KEVENT_MODIFY_ARG));
			EXPECT_SOCKET(&q, false, 2, IN, 7, &ev);
		}
		EXPECT_EQ(1, recv(fds[0], &byte, 1, MSG_OOB));
		EXPECT_EQ('x', byte);
		w = sock_watch(fds[0], OOB, 0, 3);
		ASSERT_EQ(1, add_one(&q, &w));
		EXPECT_EMPTY(&q, false);
		close(fds[0]);
		close(fds[1]);
	}
	queue_close(&q);
}

/* Out-of-band data that is not read as such is passed over, and does not count. */
TEST(oob_is_passed_over)
{
	struct kevent_event ev = {};
	struct kevent_watch w;
	struct queue q;
	int fds[2], i;

	ASSERT_LE(0, queue_open(&q, 8));
	ASSERT_EQ(0, pair(AF_UNIX, SOCK_STREAM, fds));
	w = sock_watch(fds[0], IN, 0, 1);
	ASSERT_EQ(1, add_one(&q, &w));
	for (i = 0; i < 3; i++) {
		if (send(fds[1], "x", 1, MSG_OOB) != 1)
			SKIP(return, "no out-of-band data: %s",
			     strerror(errno));
		EXPECT_EQ(-1, get(fds[0], 1));
		EXPECT_EQ(EAGAIN, errno);
		queue_drain(&q);
		EXPECT_EMPTY(&q, false);
		EXPECT_EQ(0, queued(fds[0]));
	}
	ASSERT_EQ(5, put(fds[1], 5));
	EXPECT_SOCKET(&q, false, 1, IN, 5, &ev);
	close(fds[0]);
	close(fds[1]);
	queue_close(&q);
}

/* The sizes of messages, one after the other, and an empty one. */
TEST(sizes_of_messages)
{
	static const int sizes[] = { 0, 1, 1000, 0, 7 };
	static const struct { int family, type; } kinds[] = {
		{ AF_INET, SOCK_DGRAM }, { AF_INET6, SOCK_DGRAM },
		{ AF_UNIX, SOCK_DGRAM }, { AF_UNIX, SOCK_SEQPACKET },
	};
	struct kevent_event ev = {};
	struct kevent_watch w;
	struct queue q;
	int fds[2], i, k;

	ASSERT_LE(0, queue_open(&q, 8));
	for (k = 0; k < 4; k++) {
		if (pair(kinds[k].family, kinds[k].type, fds))
			continue;
		w = sock_watch(fds[0], IN, 0, k);
		ASSERT_EQ(1, add_one(&q, &w));
		for (i = 0; i < 5; i++)
			ASSERT_EQ(sizes[i], put(fds[1], sizes[i]));
		for (i = 0; i < 5; i++) {
			EXPECT_SOCKET(&q, false, k, IN, sizes[i], &ev);
			EXPECT_EQ(sizes[i], get(fds[0], 65536));
		}
		EXPECT_EMPTY(&q, false);
		close(fds[0]);
		close(fds[1]);
	}
	queue_close(&q);
}

/* An error that comes back from where a datagram was sent to. */
TEST(udp_refused)
{
	struct kevent_event ev = {};
	struct kevent_watch w;
	union address a;
	struct queue q;
	socklen_t len;
	int fd, other;

	ASSERT_LE(0, queue_open(&q, 8));
	other = bound(AF_INET, SOCK_DGRAM, &a, &len);
	ASSERT_LE(0, other);
	fd = connected(AF_INET, SOCK_DGRAM, &a, len);
	ASSERT_LE(0, fd);
	close(other);
	w = sock_watch(fd, IN, EDGE, 1);
	ASSERT_EQ(1, add_one(&q, &w));
	ASSERT_EQ(1, put(fd, 1));
	ASSERT_TRUE(ring_watch(&q, &ev));
	EXPECT_EQ(ERROR, ev.events);
	EXPECT_EQ(ECONNREFUSED, KEVENT_SOCKET_ERRNO(ev.extra));
	EXPECT_EQ(KEVENT_SOURCE_SOCKET, ev.info & 0xffff);
	EXPECT_EQ(ECONNREFUSED, so_error(fd));
	close(fd);
	queue_close(&q);
}

/* A datagram socket that is not connected has no state to speak of. */
TEST(udp_alone)
{
	struct kevent_event ev = {};
	struct kevent_watch w;
	union address a;
	struct queue q;
	socklen_t len;
	int fd;

	ASSERT_LE(0, queue_open(&q, 8));
	fd = bound(AF_INET, SOCK_DGRAM, &a, &len);
	ASSERT_LE(0, fd);
	w = sock_watch(fd, IN | OUT | CONNECT | END | ACCEPT, EDGE, 1);
	ASSERT_EQ(1, add_one(&q, &w));
	EXPECT_SOCKET(&q, false, 1, OUT, 0, &ev);
	EXPECT_EQ(3, sendto(fd, "abc", 3, 0, &a.any, len));
	do {
		ASSERT_TRUE(ring_watch(&q, &ev));
	} while (!(ev.events & IN));
	/* If it merged into an OUT, that was posted before there was anything. */
	EXPECT_EQ(KEVENT_INFO_MERGED(ev.info) ? 0 : 3, ev.data);
	close(fd);
	queue_close(&q);
}

/* What the peer of a unix datagram socket has not read keeps others out. */
TEST(unix_dgram_of_a_busy_peer)
{
	struct kevent_event ev = {};
	struct kevent_watch w;
	union address a;
	struct queue q;
	socklen_t len;
	int fd, peer;

	ASSERT_LE(0, queue_open(&q, 8));
	peer = bound(AF_UNIX, SOCK_DGRAM, &a, &len);
	ASSERT_LE(0, peer);
	fd = connected(AF_UNIX, SOCK_DGRAM, &a, len);
	ASSERT_LE(0, fd);
	w = sock_watch(fd, OUT, EDGE, 1);
	ASSERT_EQ(1, add_one(&q, &w));
	ASSERT_TRUE(ring_watch(&q, &ev));
	while (put(fd, 1) == 1)
		;
	/* One that fails gives back what it took. */
	EXPECT_EMPTY(&q, false);
	w = sock_watch(fd, OUT, 0, 2);
	ASSERT_EQ(1, add_one(&q, &w));
	EXPECT_EMPTY(&q, false);
	EXPECT_EQ(1, get(peer, 10));
	ASSERT_TRUE(ring_watch(&q, &ev));
	EXPECT_EQ(OUT, ev.events);
	close(fd);
	close(peer);
	queue_close(&q);
}

TEST(netlink)
{
	struct {
		struct nlmsghdr h;
		struct rtgenmsg g;
	} request = {
		.h = {
			.nlmsg_len = sizeof(request),
			.nlmsg_type = RTM_GETLINK,
			.nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP,
		},
		.g.rtgen_family = AF_UNSPEC,
	};
	struct kevent_event ev = {};
	struct kevent_watch w;
	struct queue q;
	int fd;

	fd = socket(AF_NETLINK, SOCK_RAW | SOCK_NONBLOCK, NETLINK_ROUTE);
	ASSERT_LE(0, fd);
	ASSERT_LE(0, queue_open(&q, 8));
	w = sock_watch(fd, IN | CONNECT | ACCEPT, EDGE, 1);
	ASSERT_EQ(1, add_one(&q, &w));
	EXPECT_EMPTY(&q, false);
	ASSERT_EQ(sizeof(request), send(fd, &request, sizeof(request), 0));
	ASSERT_TRUE(ring_watch(&q, &ev));
	EXPECT_EQ(IN, ev.events);
	EXPECT_EQ(ev.data, get(fd, 65536));
	EXPECT_LT(sizeof(struct nlmsghdr), ev.data);
	w = sock_watch(fd, OUT, EDGE, 2);
	ASSERT_EQ(1, add_one(&q, &w));
	do {
		ASSERT_EQ(1, take_next(&q, false, &ev));
	} while (ev.user_data != 2);
	EXPECT_EQ(OUT, ev.events);
	close(fd);
	queue_close(&q);
}

/*
 * Protocols that keep to themselves what can be read: without amounts, and
 * otherwise as usual.
 */
FIXTURE(other)
{
	struct queue q;
	struct kevent_watch w;
	struct kevent_event ev;
	int listener, fd, peer;
};

FIXTURE_VARIANT(other)
{
	int family, type, protocol;
	bool tls;
};

FIXTURE_VARIANT_ADD(other, mptcp)
{
	.family = AF_INET,
	.type = SOCK_STREAM,
	.protocol = IPPROTO_MPTCP,
};

FIXTURE_VARIANT_ADD(other, sctp)
{
	.family = AF_INET,
	.type = SOCK_STREAM,
	.protocol = IPPROTO_SCTP,
};

FIXTURE_VARIANT_ADD(other, vsock)
{
	.family = AF_VSOCK,
	.type = SOCK_STREAM,
};

FIXTURE_VARIANT_ADD(other, vsock_seqpacket)
{
	.family = AF_VSOCK,
	.type = SOCK_SEQPACKET,
};

FIXTURE_VARIANT_ADD(other, tls)
{
	.family = AF_INET,
	.type = SOCK_STREAM,
	.tls = true,
};

static int use_tls(int fd, int direction)
{
	struct tls12_crypto_info_aes_gcm_128 crypto = {
		.info = {
			.version = TLS_1_2_VERSION,
			.cipher_type = TLS_CIPHER_AES_GCM_128,
		},
	};

	setsockopt(fd, IPPROTO_TCP, TCP_ULP, "tls", sizeof("tls"));
	return setsockopt(fd, SOL_TLS, direction, &crypto, sizeof(crypto));
}

FIXTURE_SETUP(other)
{
	union address a;
	socklen_t len;

	ASSERT_LE(0, queue_open(&self->q, 8));
	self->listener = bound_with(variant->family, variant->type,
				    variant->protocol, &a, &len);
	if (self->listener < 0 || listen(self->listener, 5))
		SKIP(return, "no such sockets: %s", strerror(errno));
	self->w = sock_watch(self->listener, ACCEPT | IN, EDGE, 1);
	ASSERT_EQ(1, add_one(&self->q, &self->w));
	EXPECT_EMPTY(&self->q, false);

	self->fd = socket(variant->family, variant->type | SOCK_NONBLOCK,
			  variant->protocol);
	ASSERT_LE(0, self->fd);
	self->w = sock_watch(self->fd, CONNECT, EDGE, 2);
	ASSERT_EQ(1, add_one(&self->q, &self->w));
	EXPECT_EMPTY(&self->q, false);
	if (connect(self->fd, &a.any, len) && errno != EINPROGRESS)
		SKIP(return, "not connected: %s", strerror(errno));
	for (len = 0; len != 3;) {
		ASSERT_EQ(1, take_next(&self->q, false, &self->ev));
		EXPECT_EQ(self->ev.user_data == 1 ? ACCEPT : CONNECT,
			  self->ev.events);
		len |= self->ev.user_data;
	}
	self->peer = accept4(self->listener, NULL, NULL, SOCK_NONBLOCK);
	ASSERT_LE(0, self->peer);
	if (variant->tls && (use_tls(self->fd, TLS_RX) ||
			     use_tls(self->peer, TLS_TX)))
		SKIP(return, "no TLS: %s", strerror(errno));
	EXPECT_EQ(1, remove_one(&self->q, self->w.handle));
	queue_drain(&self->q);
}

FIXTURE_TEARDOWN(other)
{
	queue_close(&self->q);
	close(self->listener);
	close(self->fd);
	close(self->peer);
}

TEST_F(other, in)
{
	int i;

	self->w = sock_watch(self->fd, IN, EDGE, 1);
	self->w.arg[0] = 1000000;
	ASSERT_EQ(1, add_one(&self->q, &self->w));
	EXPECT_EMPTY(&self->q, false);
	for (i = 0; i < 20; i++) {
		ASSERT_EQ(100, put(self->peer, 100));
		ASSERT_TRUE(ring_watch(&self->q, &self->ev));
		EXPECT_EQ(IN, self->ev.events);
		EXPECT_EQ(0, self->ev.data);
		get_all(self->fd, 100);
		while (ring_take(&self->q, &self->ev))
			;
	}
	self->w = sock_watch(self->fd, IN, 0, 2);
	ASSERT_EQ(1, add_one(&self->q, &self->w));
	EXPECT_EMPTY(&self->q, false);
	ASSERT_EQ(100, put(self->peer, 100));
	for (i = 0; i < 3;) {
		ASSERT_EQ(1, take_next(&self->q, false, &self->ev));
		i += self->ev.user_data == 2;
	}
	get_all(self->fd, 100);
}

TEST_F(other, out)
{
	int i, fd = variant->tls ? self->peer : self->fd;
	int peer = variant->tls ? self->fd : self->peer;

	self->w = sock_watch(fd, OUT, 0, 1);
	ASSERT_EQ(1, add_one(&self->q, &self->w));
	for (i = 0; i < 3; i++) {
		ASSERT_EQ(1, take_next(&self->q, false, &self->ev));
		EXPECT_EQ(OUT, self->ev.events);
	}
	EXPECT_EQ(1, remove_one(&self->q, self->w.handle));
	fill(fd, 4000);
	self->w = sock_watch(fd, OUT, EDGE, 2);
	ASSERT_EQ(1, add_one(&self->q, &self->w));
	EXPECT_FALSE(ring_take(&self->q, &self->ev));
	do {
		get_everything(peer);
		sched_yield();
	} while (!ring_take(&self->q, &self->ev));
	EXPECT_EQ(OUT, self->ev.events);
}

TEST_F(other, end)
{
	__u32 bits = 0;

	self->w = sock_watch(self->fd, IN | END, EDGE, 1);
	ASSERT_EQ(1, add_one(&self->q, &self->w));
	EXPECT_EMPTY(&self->q, false);
	close(self->peer);
	self->peer = -1;
	while (!(bits & END)) {
		ASSERT_EQ(1, take_next(&self->q, false, &self->ev));
		bits |= self->ev.events;
	}
	EXPECT_EQ(0, bits & ~(IN | END | CLOSED | ERROR));
}

TEST_F(other, vanishes)
{
	self->w = sock_watch(self->fd, DRAINED | OUT, EDGE | VANISHED, 1);
	self->w.arg[1] = 1000;
	ASSERT_EQ(1, add_one(&self->q, &self->w));
	queue_drain(&self->q);
	close(self->fd);
	self->fd = -1;
	do {
		ASSERT_EQ(1, take_next(&self->q, false, &self->ev));
	} while (!(self->ev.info & KEVENT_INFO_VANISHED));
	EXPECT_EQ(CLOSED, self->ev.events);
	EXPECT_EMPTY(&self->q, false);
}

TEST(packet)
{
	struct kevent_event ev = {};
	struct kevent_watch w;
	struct queue q;
	int fd, fds[2];

	/* SOCK_DGRAM: without the header of the link. ETH_P_IP */
	fd = socket(AF_PACKET, SOCK_DGRAM | SOCK_NONBLOCK, htons(0x0800));
	if (fd < 0)
		SKIP(return, "no packet sockets: %s", strerror(errno));
	ASSERT_EQ(0, pair(AF_INET, SOCK_DGRAM, fds));
	ASSERT_LE(0, queue_open(&q, 8));
	w = sock_watch(fd, IN, EDGE, 1);
	ASSERT_EQ(1, add_one(&q, &w));
	EXPECT_EMPTY(&q, false);
	ASSERT_EQ(100, put(fds[0], 100));
	ASSERT_TRUE(ring_watch(&q, &ev));
	EXPECT_EQ(IN, ev.events);
	EXPECT_EQ(ev.data, get(fd, 65536));
	close(fd);
	close(fds[0]);
	close(fds[1]);
	queue_close(&q);
}

TEST(errors)
{
	static const __u32 flags[] = {
		KEVENT_WATCH_ABSTIME, KEVENT_WATCH_TAKE, KEVENT_WATCH_EXPECT,
		ONESHOT | DISPATCH, EXCLUSIVE | ONESHOT, EXCLUSIVE | DISPATCH,
		1U << 9, 1U << 31,
	};
	struct kevent_watch w;
	int fds[2], pipes[2], fd, i;
	struct queue q, other;

	ASSERT_LE(0, queue_open(&q, 8));
	ASSERT_LE(0, queue_open(&other, 8));
	ASSERT_EQ(0, pair(AF_UNIX, SOCK_STREAM, fds));
	ASSERT_EQ(0, pipe(pipes));
	w = sock_watch(pipes[0], IN, 0, 1);
	EXPECT_EQ(-ENOTSOCK, add_one(&q, &w));
	w.ident = other.fd;
	EXPECT_EQ(-ENOTSOCK, add_one(&q, &w));
	w.ident = q.fd;
	EXPECT_EQ(-ENOTSOCK, add_one(&q, &w));
	fd = open("/proc/self/exe", O_RDONLY);
	ASSERT_LE(0, fd);
	w.ident = fd;
	EXPECT_EQ(-ENOTSOCK, add_one(&q, &w));
	close(fd);
	EXPECT_EQ(-EBADF, add_one(&q, &w));
	fd = open("/proc/self/exe", O_PATH);
	ASSERT_LE(0, fd);
	w.ident = fd;
	EXPECT_EQ(-EBADF, add_one(&q, &w));
	close(fd);
	w.ident = -1;
	EXPECT_EQ(-EBADF, add_one(&q, &w));
	w.ident = 1ULL << 32 | fds[0];
	EXPECT_EQ(-EBADF, add_one(&q, &w));
	w.ident = fds[0];
	for (i = 0; i < 8; i++) {
		w.flags = flags[i];
		EXPECT_EQ(-EINVAL, add_one(&q, &w));
	}
	w.flags = 0;
	for (i = 9; i < 32; i++) {
		w.events = 1U << i;
		EXPECT_EQ(-EINVAL, add_one(&q, &w));
	}
	w.events = IN;
	for (i = 2; i < 4; i++) {
		w.arg[i] = 1;
		EXPECT_EQ(-EINVAL, add_one(&q, &w));
		w.arg[i] = 0;
	}
	w.arg[0] = ~0ULL;
	w.arg[1] = ~0ULL;
	w.events = 0x1ff;
	EXPECT_EQ(1, add_one(&q, &w));
	w.events = 0x200;
	EXPECT_EQ(-EINVAL, modify_one(&q, &w, KEVENT_MODIFY_EVENTS));
	w.source = KEVENT_SOURCE_POLL;
	EXPECT_EQ(-EINVAL, modify_one(&q, &w, KEVENT_MODIFY_DISABLE));
	fd = sealed_queue(1 << KEVENT_SOURCE_USER);
	ASSERT_LE(0, fd);
	w = sock_watch(fds[0], IN, 0, 1);
	EXPECT_EQ(-EPERM, kevent_add(fd, &w, sizeof(w), 1, 0));
	close(fd);
	close(pipes[0]);
	close(pipes[1]);
	close(fds[0]);
	close(fds[1]);
	queue_close(&q);
	queue_close(&other);
}

TEST(fdinfo)
{
	char path[64], line[512];
	bool found = false;
	struct kevent_watch w;
	struct queue q;
	int fds[2];
	FILE *f;

	ASSERT_LE(0, queue_open(&q, 8));
	ASSERT_EQ(0, pair(AF_UNIX, SOCK_STREAM, fds));
	w = sock_watch(fds[0], IN, EDGE, 0x77);
	ASSERT_EQ(1, add_one(&q, &w));
	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", q.fd);
	f = fopen(path, "r");
	ASSERT_NE(NULL, f);
	while (fgets(line, sizeof(line), f)) {
		char want[64];

		snprintf(want, sizeof(want), "source:2 flags:1 ident:%d ",
			 fds[0]);
		found |= strstr(line, want) && strstr(line, "user_data:77");
	}
	fclose(f);
	EXPECT_TRUE(found);
	close(fds[0]);
	close(fds[1]);
	queue_close(&q);
}

/* A queue in a queue is reported of a socket. */
TEST(nested)
{
	struct kevent_event ev = {};
	struct queue inner, outer;
	struct kevent_watch w;
	int fds[2];

	ASSERT_LE(0, queue_open(&inner, 8));
	ASSERT_LE(0, queue_open(&outer, 8));
	ASSERT_EQ(0, pair(AF_INET, SOCK_STREAM, fds));
	w = sock_watch(fds[0], IN, 0, 1);
	w.arg[0] = 10;
	ASSERT_EQ(1, add_one(&inner, &w));
	w = watch_poll(inner.fd, KEVENT_POLL_IN, 0, 2);
	ASSERT_EQ(1, add_one(&outer, &w));
	put_all(fds[1], 9);
	EXPECT_EMPTY(&outer, false);
	put_all(fds[1], 1);
	ASSERT_EQ(1, take_next(&outer, false, &ev));
	EXPECT_EQ(2, ev.user_data);
	EXPECT_SOCKET(&inner, false, 1, IN, 10, &ev);
	close(fds[0]);
	close(fds[1]);
	queue_close(&inner);
	queue_close(&outer);
}

/*
 * Races: one side sends while the other side does all that it can do.
 */
#define ROUNDS	3000

FIXTURE(race)
{
	struct queue q;
	struct kevent_watch w;
	struct kevent_event ev;
	struct racer racer;
	int fd, peer, len;
};

FIXTURE_VARIANT(race)
{
	int family, type;
};

FIXTURE_VARIANT_ADD(race, tcp)
{
	.family = AF_INET,
	.type = SOCK_STREAM,
};

FIXTURE_VARIANT_ADD(race, udp)
{
	.family = AF_INET,
	.type = SOCK_DGRAM,
};

FIXTURE_VARIANT_ADD(race, unix_stream)
{
	.family = AF_UNIX,
	.type = SOCK_STREAM,
};

FIXTURE_VARIANT_ADD(race, unix_dgram)
{
	.family = AF_UNIX,
	.type = SOCK_DGRAM,
};

FIXTURE_SETUP(race)
{
	int fds[2];

	ASSERT_LE(0, queue_open(&self->q, 8));
	ASSERT_EQ(0, pair(variant->family, variant->type, fds));
	self->fd = fds[0];
	self->peer = fds[1];
}

FIXTURE_TEARDOWN(race)
{
	queue_close(&self->q);
	close(self->fd);
	close(self->peer);
}

#define RACE	FIXTURE_DATA(race)

static void send_some(void *arg)
{
	RACE *self = arg;

	put_all(self->peer, self->len);
}

static void send_split(void *arg)
{
	RACE *self = arg;

	put_all(self->peer, 1);
	put_all(self->peer, 3);
	put_all(self->peer, 6);
}

#undef COPY
#define COPY	false

TEST_F_TIMEOUT(race, add_while_it_is_sent, 120)
{
	unsigned int seed = 1;
	int i;

	self->len = 1;
	ASSERT_EQ(0, racer_start(&self->racer, send_some, self));
	for (i = 0; i < ROUNDS; i++) {
		racer_go(&self->racer);
		dawdle(&seed, 2000);
		self->w = sock_watch(self->fd, IN, i % 2 ? EDGE : ONESHOT, i);
		ASSERT_EQ(1, add_one(Q, &self->w));
		ASSERT_TRUE(ring_watch(Q, EV));
		ASSERT_EQ(i, EV->user_data);
		ASSERT_EQ(IN, EV->events);
		ASSERT_EQ(1, EV->data);
		racer_wait(&self->racer);
		get_all(self->fd, 1);
		if (i % 2)
			ASSERT_EQ(1, remove_one(Q, self->w.handle));
		queue_drain(Q);
	}
	racer_stop(&self->racer);
}

TEST_F_TIMEOUT(race, enable_while_it_is_sent, 120)
{
	unsigned int seed = 2;
	int i;

	self->len = 1;
	ADD(IN, DISPATCH | DISABLED, 1);
	ASSERT_EQ(0, racer_start(&self->racer, send_some, self));
	for (i = 0; i < ROUNDS; i++) {
		racer_go(&self->racer);
		dawdle(&seed, 2000);
		MODIFY(KEVENT_MODIFY_ENABLE);
		ASSERT_TRUE(ring_watch(Q, EV));
		ASSERT_EQ(IN, EV->events);
		racer_wait(&self->racer);
		get_all(self->fd, 1);
	}
	racer_stop(&self->racer);
}

/* The mark is lowered as the bytes that reach it come. */
TEST_F_TIMEOUT(race, mark_is_changed_while_it_is_sent, 120)
{
	unsigned int seed = 3;
	int i;

	if (variant->type != SOCK_STREAM)
		return;
	ADD_MARKS(IN, EDGE, 1, 1000, 0);
	ASSERT_EQ(0, racer_start(&self->racer, send_split, self));
	for (i = 0; i < ROUNDS; i++) {
		racer_go(&self->racer);
		dawdle(&seed, 3000);
		self->w.arg[0] = 10;
		MODIFY(KEVENT_MODIFY_ARG);
		ASSERT_TRUE(ring_watch(Q, EV));
		ASSERT_EQ(IN, EV->events);
		ASSERT_EQ(10, EV->data);
		racer_wait(&self->racer);
		get_all(self->fd, 10);
		self->w.arg[0] = 1000;
		MODIFY(KEVENT_MODIFY_ARG);
		while (ring_take(Q, EV))
			;
	}
	racer_stop(&self->racer);
}

/* The last byte is read while further ones come: the program must learn. */
TEST_F_TIMEOUT(race, read_while_it_is_sent, 120)
{
	static const __u32 modes[] = { EDGE, 0, DISPATCH };
	size_t sum;
	int i, m;

	for (m = 0; m < 3; m++) {
		ADD(IN, modes[m], 1);
		ASSERT_EQ(0, racer_start(&self->racer, send_split, self));
		for (i = 0; i < ROUNDS / 3; i++) {
			racer_go(&self->racer);
			for (sum = 0; sum < 10;) {
				ASSERT_EQ(1, modes[m] == EDGE ?
					     ring_watch(Q, EV) :
					     take_next(Q, false, EV));
				ASSERT_EQ(IN, EV->events);
				sum += get_everything(self->fd);
				if (modes[m] == DISPATCH)
					MODIFY(KEVENT_MODIFY_ENABLE);
			}
			ASSERT_EQ(10, sum);
			racer_wait(&self->racer);
		}
		racer_stop(&self->racer);
		EXPECT_EQ(1, remove_one(Q, self->w.handle));
		queue_drain(Q);
	}
}

TEST_F_TIMEOUT(race, remove_and_close_while_it_is_sent, 120)
{
	unsigned int seed = 5;
	int i, twin;

	self->len = 1;
	ASSERT_EQ(0, racer_start(&self->racer, send_some, self));
	for (i = 0; i < ROUNDS; i++) {
		twin = dup(self->fd);
		self->w = sock_watch(twin, IN | OUT | DRAINED,
				     EDGE | (i % 4 == 3 ? VANISHED : 0), i);
		ASSERT_EQ(1, add_one(Q, &self->w));
		racer_go(&self->racer);
		dawdle(&seed, 2000);
		if (i % 2 == 0)
			ASSERT_EQ(1, remove_one(Q, self->w.handle));
		close(twin);
		ASSERT_TRUE(watch_gone(Q, &self->w));
		if (i % 4 != 3) {
			ASSERT_FALSE(ring_take(Q, EV));
		} else {
			do {
				ASSERT_TRUE(ring_take(Q, EV));
				ASSERT_EQ(i, EV->user_data);
			} while (!(EV->info & KEVENT_INFO_VANISHED));
			ASSERT_FALSE(ring_take(Q, EV));
		}
		racer_wait(&self->racer);
		get_all(self->fd, 1);
	}
	racer_stop(&self->racer);
}

/* The socket itself goes while its peer sends to it. */
TEST_F_TIMEOUT(race, release_while_it_is_sent, 120)
{
	unsigned int seed = 6;
	int i, fds[2];

	for (i = 0; i < ROUNDS / 10; i++) {
		ASSERT_EQ(0, pair(variant->family, variant->type, fds));
		self->w = sock_watch(fds[0], IN | OUT | DRAINED | END, 0, i);
		ASSERT_EQ(1, add_one(Q, &self->w));
		self->w = sock_watch(fds[1], IN | OUT | DRAINED | END, EDGE, i);
		ASSERT_EQ(1, add_one(Q, &self->w));
		put(fds[0], 100);
		put(fds[1], 100);
		dawdle(&seed, 2000);
		close(fds[i % 2]);
		put(fds[1 - i % 2], 100);
		close(fds[1 - i % 2]);
		ASSERT_FALSE(ring_take(Q, EV));
	}
}

static void get_some(void *arg)
{
	RACE *self = arg;

	get_all(self->peer, self->len);
}

/* What is acknowledged or read while the watch is being made. */
TEST_F_TIMEOUT(race, drained_while_it_is_added, 120)
{
	unsigned int seed = 7;
	int i;

	if (variant->family != AF_UNIX && variant->type == SOCK_DGRAM)
		return;
	self->len = 10;
	ASSERT_EQ(0, racer_start(&self->racer, get_some, self));
	for (i = 0; i < ROUNDS / 5; i++) {
		put_all(self->fd, 10);
		racer_go(&self->racer);
		dawdle(&seed, 2000);
		self->w = sock_watch(self->fd, DRAINED, EDGE, i);
		ASSERT_EQ(1, add_one(Q, &self->w));
		ASSERT_TRUE(ring_watch(Q, EV));
		ASSERT_EQ(i, EV->user_data);
		ASSERT_EQ(DRAINED, EV->events);
		racer_wait(&self->racer);
		ASSERT_EQ(1, remove_one(Q, self->w.handle));
		ASSERT_FALSE(ring_take(Q, EV));
	}
	racer_stop(&self->racer);
}

/* Much data, marks in both directions, and no call but to read and write. */
TEST_F_TIMEOUT(race, stream_with_marks, 120)
{
	enum { ALL = 8 << 20, MARK = 3000 };
	struct kevent_watch out, drained;
	size_t sent = 0, got = 0;
	bool done = false;

	if (variant->type != SOCK_STREAM)
		return;
	ADD_MARKS(IN, EDGE, 1, MARK, 0);
	out = sock_watch(self->peer, OUT, EDGE, 2);
	out.arg[1] = sndbuf(self->peer) / 2;
	ASSERT_EQ(1, add_one(Q, &out));
	while (got < ALL) {
		ASSERT_TRUE(ring_watch(Q, EV));
		if (EV->user_data == 1) {
			ASSERT_EQ(IN, EV->events & IN);
			got += get_everything(self->fd);
			continue;
		}
		if (EV->user_data == 3) {
			done = true;
			continue;
		}
		while (sent < ALL) {
			size_t more = ALL - sent;
			int ret = put(self->peer, more < 5000 ? more : 5000);

			if (ret < 0)
				break;
			sent += ret;
		}
		if (sent == ALL) {
			/* The rest may be below the mark. */
			shutdown(self->peer, SHUT_WR);
			ASSERT_EQ(1, remove_one(Q, out.handle));
			drained = sock_watch(self->peer, DRAINED, EDGE, 3);
			ASSERT_EQ(1, add_one(Q, &drained));
		}
	}
	EXPECT_EQ(ALL, got);
	while (!done) {
		ASSERT_TRUE(ring_watch(Q, EV));
		done = EV->user_data == 3 && EV->events & DRAINED;
	}
}

TEST_HARNESS_MAIN
