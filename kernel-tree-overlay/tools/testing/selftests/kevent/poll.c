// SPDX-License-Identifier: GPL-2.0
/*
 * A queue is a file: what poll, select and epoll say of it, what it refuses,
 * what its fdinfo reports, and that it can be handed to another process.
 */
#include <poll.h>
#include <sys/select.h>
#include <sys/uio.h>

#include "kevent_test.h"

#define ENTRIES	4

FIXTURE(file)
{
	struct queue q;
};

FIXTURE_VARIANT(file)
{
	unsigned int entries;
};

FIXTURE_VARIANT_ADD(file, ring)
{
	.entries = ENTRIES,
};

FIXTURE_VARIANT_ADD(file, no_ring)
{
	.entries = 0,
};

FIXTURE_SETUP(file)
{
	ASSERT_LE(0, queue_open(&self->q, variant->entries));
}

FIXTURE_TEARDOWN(file)
{
	queue_close(&self->q);
}

/* Takes one event the way that suits the queue. */
static int take(struct queue *q)
{
	struct kevent_event ev;

	if (q->ring)
		return ring_take(q, &ev);
	return kevent_get_events(q->fd, 0, 1, NULL, &ev, 0);
}

/* What poll() says about readability, without sleeping. */
static int readable(int fd)
{
	struct pollfd pfd = { .fd = fd, .events = POLLIN | POLLRDNORM };
	int ret = poll(&pfd, 1, 0);

	if (ret < 0)
		return -errno;
	return pfd.revents;
}

#define READABLE	(POLLIN | POLLRDNORM)

TEST_F(file, poll_reports_whether_there_are_events)
{
	int i;

	EXPECT_EQ(0, readable(self->q.fd));
	for (i = 0; i < 3; i++) {
		EXPECT_EQ(2, seq_post(self->q.fd, 0, 2, 0));
		EXPECT_EQ(READABLE, readable(self->q.fd));
		EXPECT_EQ(READABLE, readable(self->q.fd));
		EXPECT_EQ(1, take(&self->q));
		EXPECT_EQ(READABLE, readable(self->q.fd));
		EXPECT_EQ(1, take(&self->q));
		EXPECT_EQ(0, readable(self->q.fd));
	}
}

TEST_F(file, poll_after_get_events)
{
	struct kevent_event ev;

	EXPECT_EQ(2, seq_post(self->q.fd, 0, 2, 0));
	EXPECT_EQ(1, kevent_get_events(self->q.fd, 1, 1, NULL, &ev, 0));
	EXPECT_EQ(READABLE, readable(self->q.fd));
	EXPECT_EQ(1, kevent_get_events(self->q.fd, 1, 1, NULL, &ev, 0));
	EXPECT_EQ(0, readable(self->q.fd));
}

TEST_F(file, poll_knows_of_the_backlog)
{
	int i;

	EXPECT_EQ(ENTRIES + 1, seq_post(self->q.fd, 0, ENTRIES + 1,
					KEVENT_POST_DEFER));
	for (i = 0; i < ENTRIES; i++)
		EXPECT_EQ(1, take(&self->q));
	EXPECT_EQ(READABLE, readable(self->q.fd));
	EXPECT_EQ(1, queue_drain(&self->q));
	EXPECT_EQ(0, readable(self->q.fd));
}

/* Readable if, and only if, a call that does not sleep gets something. */
TEST_F(file, poll_agrees_with_get_events)
{
	struct kevent_event ev;
	int i, nr;

	for (i = 0; i < 30; i++) {
		ASSERT_EQ(0, readable(self->q.fd));
		ASSERT_EQ(0, kevent_get_events(self->q.fd, 0, 1, NULL, &ev,
					       0));
		nr = 1 + i % (ENTRIES + 2);
		ASSERT_EQ(nr, seq_post(self->q.fd, i, nr, KEVENT_POST_DEFER));
		while (nr--) {
			ASSERT_EQ(READABLE, readable(self->q.fd));
			ASSERT_EQ(1, kevent_get_events(self->q.fd, 0, 1, NULL,
						       &ev, 0));
		}
	}
}

static int poll_call(void *arg)
{
	struct pollfd pfd = { .fd = *(int *)arg, .events = POLLIN };
	int ret = poll(&pfd, 1, -1);

	return ret < 0 ? -errno : pfd.revents;
}

TEST_F(file, poll_sleeps_until_an_event_comes)
{
	struct sleeper s;
	int i;

	for (i = 0; i < 10; i++) {
		ASSERT_EQ(0, sleeper_start(&s, poll_call, &self->q.fd));
		ASSERT_TRUE(sleeper_asleep(&s));
		ASSERT_EQ(1, seq_post(self->q.fd, 0, 1, 0));
		ASSERT_EQ(POLLIN, sleeper_join(&s));
		ASSERT_EQ(1, take(&self->q));
	}
}

/* It looks, it does not take: all who poll are reported. */
TEST_F(file, every_poller_wakes)
{
	struct sleeper s[3];
	int i;

	for (i = 0; i < 3; i++) {
		ASSERT_EQ(0, sleeper_start(&s[i], poll_call, &self->q.fd));
		ASSERT_TRUE(sleeper_asleep(&s[i]));
	}
	EXPECT_EQ(1, seq_post(self->q.fd, 0, 1, 0));
	for (i = 0; i < 3; i++)
		EXPECT_EQ(POLLIN, sleeper_join(&s[i]));
}

/* Nor does it take the wake-up away from the one who waits. */
TEST_F(file, poller_and_waiter_both_wake)
{
	struct sleeper s;
	struct waiter w;

	ASSERT_EQ(0, sleeper_start(&s, poll_call, &self->q.fd));
	ASSERT_TRUE(sleeper_asleep(&s));
	ASSERT_EQ(0, waiter_start(&w, self->q.fd, 0, 1));
	ASSERT_TRUE(sleeper_asleep(&w.sleeper));
	EXPECT_EQ(1, seq_post(self->q.fd, 0, 1, 0));
	EXPECT_EQ(POLLIN, sleeper_join(&s));
	EXPECT_EQ(1, sleeper_join(&w.sleeper));
}

TEST_F(file, select_reports_whether_there_are_events)
{
	struct timeval tv = {};
	int fd = self->q.fd;
	fd_set set;

	FD_ZERO(&set);
	FD_SET(fd, &set);
	EXPECT_EQ(0, select(fd + 1, &set, NULL, NULL, &tv));
	EXPECT_EQ(1, seq_post(fd, 0, 1, 0));
	FD_SET(fd, &set);
	EXPECT_EQ(1, select(fd + 1, &set, NULL, NULL, &tv));
	EXPECT_TRUE(FD_ISSET(fd, &set));
	EXPECT_EQ(1, select(fd + 1, &set, NULL, NULL, NULL));
	EXPECT_EQ(1, take(&self->q));
	EXPECT_EQ(0, select(fd + 1, &set, NULL, NULL, &tv));
}

static int epoll_add(int fd, __u32 events)
{
	struct epoll_event ev = { .events = events };
	int ep = epoll_create1(0);

	if (ep >= 0 && epoll_ctl(ep, EPOLL_CTL_ADD, fd, &ev)) {
		close(ep);
		ep = -1;
	}
	return ep;
}

/* After a post: it is reported soon, not at once. */
static int epoll_soon(int ep)
{
	struct epoll_event ev[4];

	return epoll_wait(ep, ev, 4, -1);
}

TEST_F(file, epoll_level)
{
	int ep = epoll_add(self->q.fd, EPOLLIN);

	ASSERT_LE(0, ep);
	EXPECT_EQ(0, epoll_now(ep));
	EXPECT_EQ(2, seq_post(self->q.fd, 0, 2, 0));
	EXPECT_EQ(1, epoll_soon(ep));
	EXPECT_EQ(1, epoll_soon(ep));
	EXPECT_EQ(1, take(&self->q));
	EXPECT_EQ(1, epoll_soon(ep));
	EXPECT_EQ(1, take(&self->q));
	EXPECT_EQ(0, epoll_now(ep));
	EXPECT_EQ(1, seq_post(self->q.fd, 0, 1, 0));
	EXPECT_EQ(1, epoll_soon(ep));
	close(ep);
}

static int epoll_call(void *arg)
{
	return epoll_soon(*(int *)arg);
}

/* The next slot is in use still, so there is nothing in the ring to be reported. */
TEST_F(file, epoll_of_what_waits_for_a_slot)
{
	int ep = epoll_add(self->q.fd, EPOLLIN);
	struct kevent_event ev;
	struct sleeper s = {};
	__u32 index;
	int i;

	if (!self->q.ring)
		SKIP(return, "there are no slots");
	ASSERT_LE(0, ep);
	EXPECT_EQ(ENTRIES, seq_post(self->q.fd, 0, ENTRIES, 0));
	ASSERT_TRUE(ring_claim(&self->q, &index));
	ASSERT_TRUE(ring_read(&self->q, index, &ev));
	for (i = 1; i < ENTRIES; i++)
		EXPECT_EQ(1, ring_take(&self->q, &ev));
	EXPECT_EQ(0, epoll_now(ep));
	ASSERT_EQ(0, sleeper_start(&s, epoll_call, &ep));
	EXPECT_TRUE(sleeper_asleep(&s));
	EXPECT_EQ(1, seq_post(self->q.fd, ENTRIES, 1, KEVENT_POST_DEFER));
	EXPECT_EQ(1, sleeper_join(&s));
	ring_free(&self->q, index);
	EXPECT_EQ(1, queue_refill(&self->q));
	EXPECT_EQ(1, take(&self->q));
	EXPECT_EQ(0, epoll_now(ep));
	close(ep);
}

TEST_F(file, epoll_edge)
{
	int ep = epoll_add(self->q.fd, EPOLLIN | EPOLLET);

	ASSERT_LE(0, ep);
	EXPECT_EQ(0, epoll_now(ep));
	EXPECT_EQ(1, seq_post(self->q.fd, 0, 1, 0));
	EXPECT_EQ(1, epoll_soon(ep));
	EXPECT_EQ(0, epoll_now(ep));
	/* Another one is reported of, even with the first one still there. */
	EXPECT_EQ(1, seq_post(self->q.fd, 1, 1, 0));
	EXPECT_EQ(1, epoll_soon(ep));
	EXPECT_EQ(0, epoll_now(ep));
	EXPECT_EQ(1, take(&self->q));
	EXPECT_EQ(1, take(&self->q));
	EXPECT_EQ(0, epoll_now(ep));
	EXPECT_EQ(1, seq_post(self->q.fd, 2, 1, 0));
	EXPECT_EQ(1, epoll_soon(ep));
	close(ep);
}

TEST_F(file, epoll_added_late_sees_what_is_there)
{
	int ep;

	EXPECT_EQ(1, seq_post(self->q.fd, 0, 1, 0));
	ep = epoll_add(self->q.fd, EPOLLIN | EPOLLET);
	ASSERT_LE(0, ep);
	EXPECT_EQ(1, epoll_soon(ep));
	close(ep);
}

TEST_F(file, epoll_sleeps_until_an_event_comes)
{
	int i, ep = epoll_add(self->q.fd, EPOLLIN | EPOLLET);
	struct sleeper s;

	ASSERT_LE(0, ep);
	for (i = 0; i < 10; i++) {
		ASSERT_EQ(0, sleeper_start(&s, epoll_call, &ep));
		ASSERT_TRUE(sleeper_asleep(&s));
		ASSERT_EQ(1, seq_post(self->q.fd, 0, 1, 0));
		ASSERT_EQ(1, sleeper_join(&s));
		ASSERT_EQ(1, take(&self->q));
	}
	close(ep);
}

TEST_F(file, closed_while_in_epoll)
{
	int ep = epoll_add(self->q.fd, EPOLLIN);

	ASSERT_LE(0, ep);
	EXPECT_EQ(1, seq_post(self->q.fd, 0, 1, 0));
	EXPECT_EQ(1, epoll_soon(ep));
	close(self->q.fd);
	self->q.fd = -1;
	if (self->q.ring)
		munmap(self->q.ring, self->q.args.mmap_size);
	self->q.ring = NULL;
	EXPECT_EQ(0, epoll_now(ep));
	close(ep);
}

TEST_F(file, cannot_be_read_or_written)
{
	struct kevent_event ev = {};
	struct iovec iov = { .iov_base = &ev, .iov_len = sizeof(ev) };
	int fd = self->q.fd;

	EXPECT_EQ(1, seq_post(fd, 0, 1, 0));
	EXPECT_EQ(-1, read(fd, &ev, sizeof(ev)));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(-1, write(fd, &ev, sizeof(ev)));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(-1, readv(fd, &iov, 1));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(-1, writev(fd, &iov, 1));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(1, take(&self->q));
}

/* The number behind a name in the queue's fdinfo, or -1. */
static long long fdinfo_value(int fd, const char *name)
{
	char path[64], line[256];
	size_t len = strlen(name);
	long long value = -1;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
	f = fopen(path, "r");
	if (!f)
		return -1;
	while (fgets(line, sizeof(line), f)) {
		if (!strncmp(line, name, len) && line[len] == ':' &&
		    line[len + 1] == '\t')
			value = strtoll(line + len + 2, NULL, 10);
	}
	fclose(f);
	return value;
}

TEST_F(file, fdinfo_of_a_fresh_queue)
{
	EXPECT_EQ(variant->entries, fdinfo_value(self->q.fd, "entries"));
	EXPECT_EQ(0, fdinfo_value(self->q.fd, "posted"));
	EXPECT_EQ(0, fdinfo_value(self->q.fd, "merged"));
	EXPECT_EQ(0, fdinfo_value(self->q.fd, "deferred"));
	EXPECT_EQ(0, fdinfo_value(self->q.fd, "woken"));
	EXPECT_EQ(0, fdinfo_value(self->q.fd, "backlog"));
	EXPECT_EQ(0, fdinfo_value(self->q.fd, "waiters"));
}

TEST_F(file, fdinfo_counts_waiters)
{
	struct waiter w[2];

	ASSERT_EQ(0, waiter_start(&w[0], self->q.fd, 0, 1));
	ASSERT_TRUE(sleeper_asleep(&w[0].sleeper));
	EXPECT_EQ(1, fdinfo_value(self->q.fd, "waiters"));
	ASSERT_EQ(0, waiter_start(&w[1], self->q.fd, 0, 1));
	ASSERT_TRUE(sleeper_asleep(&w[1].sleeper));
	EXPECT_EQ(2, fdinfo_value(self->q.fd, "waiters"));
	EXPECT_EQ(0, fdinfo_value(self->q.fd, "woken"));
	EXPECT_EQ(2, seq_post(self->q.fd, 0, 2, 0));
	sleeper_join(&w[0].sleeper);
	sleeper_join(&w[1].sleeper);
	EXPECT_EQ(0, fdinfo_value(self->q.fd, "waiters"));
	EXPECT_EQ(2, fdinfo_value(self->q.fd, "woken"));
}

TEST(fdinfo_counts_events)
{
	struct queue q;

	ASSERT_LE(0, queue_open(&q, ENTRIES));
	EXPECT_EQ(ENTRIES + 3, seq_post(q.fd, 0, ENTRIES + 3,
					KEVENT_POST_DEFER));
	EXPECT_EQ(ENTRIES, fdinfo_value(q.fd, "posted"));
	EXPECT_EQ(3, fdinfo_value(q.fd, "deferred"));
	EXPECT_EQ(3, fdinfo_value(q.fd, "backlog"));
	EXPECT_EQ(ENTRIES + 3, queue_drain(&q));
	EXPECT_EQ(ENTRIES + 3, fdinfo_value(q.fd, "posted"));
	EXPECT_EQ(3, fdinfo_value(q.fd, "deferred"));
	EXPECT_EQ(0, fdinfo_value(q.fd, "backlog"));
	queue_close(&q);
}

TEST(fdinfo_does_not_trust_the_mapping)
{
	struct queue q;

	ASSERT_LE(0, queue_open(&q, ENTRIES));
	memset(q.ring, 0xff, q.args.mmap_size);
	EXPECT_EQ(ENTRIES, fdinfo_value(q.fd, "entries"));
	EXPECT_EQ(0, fdinfo_value(q.fd, "posted"));
	EXPECT_EQ(0, fdinfo_value(q.fd, "backlog"));
	queue_close(&q);
}

TEST_F(file, passed_to_another_process)
{
	int sockets[2], status;
	pid_t pid;

	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_STREAM, 0, sockets));
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		int fd;

		close(self->q.fd);
		fd = recv_fd(sockets[1]);
		if (fd < 0)
			_exit(1);
		if (readable(fd) != READABLE)
			_exit(2);
		_exit(seq_post(fd, 8, 1, 0) == 1 ? 0 : 3);
	}
	EXPECT_EQ(1, seq_post(self->q.fd, 7, 1, 0));
	ASSERT_EQ(0, send_fd(sockets[0], self->q.fd));
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
	EXPECT_EQ(2, queue_drain(&self->q));
}

/* On its way in a socket, no process has it, and then it is gone. */
TEST_F(file, lost_on_its_way)
{
	int sockets[2];

	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_STREAM, 0, sockets));
	EXPECT_EQ(1, seq_post(self->q.fd, 0, 1, 0));
	ASSERT_EQ(0, send_fd(sockets[0], self->q.fd));
	close(self->q.fd);
	self->q.fd = recv_fd(sockets[1]);
	ASSERT_LE(0, self->q.fd);
	EXPECT_EQ(1, take(&self->q));
	ASSERT_EQ(0, send_fd(sockets[0], self->q.fd));
	close(self->q.fd);
	close(sockets[0]);
	close(sockets[1]);
	self->q.fd = -1;
}

TEST_HARNESS_MAIN
