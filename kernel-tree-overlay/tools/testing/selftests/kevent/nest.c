// SPDX-License-Identifier: GPL-2.0
/*
 * A queue is a file that can be watched: by poll, select, epoll and io_uring,
 * and by other queues, as long as they are not too many on top of each other
 * and not in a circle.
 */
#include <sys/select.h>
#include <sys/un.h>

#include "kevent_poll_test.h"
#include "kevent_uring_test.h"

#define ENTRIES	8
#define DEPTH	4	/* queues on top of each other */

FIXTURE(inner)
{
	struct queue q;
	struct kevent_watch w;	/* of fd */
	int fd;
};

FIXTURE_VARIANT(inner)
{
	unsigned int entries;
	__u32 flags;
};

FIXTURE_VARIANT_ADD(inner, level)
{
	.entries = ENTRIES,
};

FIXTURE_VARIANT_ADD(inner, edge)
{
	.entries = ENTRIES,
	.flags = KEVENT_WATCH_EDGE,
};

FIXTURE_VARIANT_ADD(inner, level_no_ring)
{
};

FIXTURE_VARIANT_ADD(inner, edge_no_ring)
{
	.flags = KEVENT_WATCH_EDGE,
};

FIXTURE_SETUP(inner)
{
	ASSERT_LE(0, queue_open(&self->q, variant->entries));
	self->fd = new_file();
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(1, add_file(&self->q, &self->w, self->fd, variant->flags, 1));
}

FIXTURE_TEARDOWN(inner)
{
	close(self->fd);
	queue_close(&self->q);
}

#define COPY	(!variant->entries)

static int poll_now(int fd)
{
	struct pollfd pfd = { .fd = fd, .events = POLLIN | POLLRDNORM };
	int ret = poll(&pfd, 1, 0);

	return ret < 0 ? -errno : pfd.revents;
}

/* Waits until it is readable, for as long as it takes. */
static int poll_call(void *arg)
{
	struct pollfd pfd = { .fd = *(int *)arg, .events = POLLIN };
	int ret = poll(&pfd, 1, -1);

	return ret < 0 ? -errno : pfd.revents;
}

static int select_call(void *arg)
{
	int fd = *(int *)arg, ret;
	fd_set set;

	FD_ZERO(&set);
	FD_SET(fd, &set);
	ret = select(fd + 1, &set, NULL, NULL, NULL);
	return ret < 0 ? -errno : FD_ISSET(fd, &set);
}

static int epoll_call(void *arg)
{
	struct epoll_event ev;
	int ret = epoll_wait(*(int *)arg, &ev, 1, -1);

	return ret < 0 ? -errno : ret;
}

static int epoll_on(int fd, __u32 events)
{
	struct epoll_event ev = { .events = events };
	int ep = epoll_create1(0);

	if (ep >= 0 && epoll_ctl(ep, EPOLL_CTL_ADD, fd, &ev)) {
		close(ep);
		ep = -1;
	}
	return ep;
}

TEST_F(inner, poll)
{
	int i;

	EXPECT_EQ(0, poll_now(self->q.fd));
	for (i = 0; i < 5; i++) {
		ASSERT_EQ(0, fire(self->fd));
		EXPECT_EQ(POLLIN, poll_call(&self->q.fd));
		EXPECT_EQ(POLLIN | POLLRDNORM, poll_now(self->q.fd));
		EXPECT_READABLE(&self->q, COPY, 1);
		EXPECT_EQ(1, quiet(self->fd));
		EXPECT_EQ(0, poll_now(self->q.fd));
	}
}

/* A level that was consumed and still holds is found by polling. */
TEST_F(inner, poll_tests_levels_again)
{
	bool level = !variant->flags;
	int i;

	ASSERT_EQ(0, fire(self->fd));
	for (i = 0; i < 3; i++) {
		if (i && !level)
			break;
		EXPECT_NE(0, poll_now(self->q.fd));
		EXPECT_READABLE(&self->q, COPY, 1);
	}
	EXPECT_EQ(level, !!poll_now(self->q.fd));
	EXPECT_EQ(1, quiet(self->fd));
	/* What was posted does not hold by now. */
	EXPECT_EQ(0, queue_drain(&self->q));
	EXPECT_EQ(0, poll_now(self->q.fd));
}

TEST_F(inner, sleepers)
{
	static int (*const calls[])(void *arg) = { poll_call, select_call };
	struct sleeper s;
	int i;

	for (i = 0; i < 10; i++) {
		ASSERT_EQ(0, sleeper_start(&s, calls[i % 2], &self->q.fd));
		ASSERT_TRUE(sleeper_asleep(&s));
		ASSERT_EQ(0, fire(self->fd));
		EXPECT_LT(0, sleeper_join(&s));
		EXPECT_READABLE(&self->q, COPY, 1);
		EXPECT_EQ(1, quiet(self->fd));
		EXPECT_EQ(0, queue_drain(&self->q));
	}
}

TEST_F(inner, epoll_level)
{
	int ep = epoll_on(self->q.fd, EPOLLIN), i;
	struct sleeper s;

	ASSERT_LE(0, ep);
	EXPECT_EQ(0, epoll_now(ep));
	for (i = 0; i < 5; i++) {
		ASSERT_EQ(0, sleeper_start(&s, epoll_call, &ep));
		ASSERT_TRUE(sleeper_asleep(&s));
		ASSERT_EQ(0, fire(self->fd));
		EXPECT_EQ(1, sleeper_join(&s));
		EXPECT_EQ(1, epoll_now(ep));
		EXPECT_READABLE(&self->q, COPY, 1);
		EXPECT_EQ(1, quiet(self->fd));
		EXPECT_EQ(0, epoll_now(ep));
	}
	close(ep);
}

TEST_F(inner, epoll_edge)
{
	int ep = epoll_on(self->q.fd, EPOLLIN | EPOLLET), i;
	struct sleeper s;

	ASSERT_LE(0, ep);
	for (i = 0; i < 10; i++) {
		ASSERT_EQ(0, sleeper_start(&s, epoll_call, &ep));
		ASSERT_TRUE(sleeper_asleep(&s));
		ASSERT_EQ(0, fire(self->fd));
		EXPECT_EQ(1, sleeper_join(&s));
		EXPECT_READABLE(&self->q, COPY, 1);
		EXPECT_EQ(1, quiet(self->fd));
	}
	close(ep);
}

static int uring_poll(struct uring *u, int fd, __u32 flags)
{
	struct io_uring_sqe sqe = {
		.opcode = IORING_OP_POLL_ADD,
		.fd = fd,
		.len = flags,
		.poll32_events = POLLIN,
	};

#if __BYTE_ORDER == __BIG_ENDIAN
	sqe.poll32_events = (__u32)POLLIN << 16;
#endif
	return uring_submit(u, &sqe);
}

TEST_F(inner, io_uring_once)
{
	struct io_uring_cqe cqe = {};
	struct uring u;
	int i, ret;

	ret = uring_init(&u);
	if (ret == nosys() || ret == -EPERM)
		SKIP(return, "no io_uring");
	ASSERT_EQ(0, ret);
	for (i = 0; i < 5; i++) {
		ASSERT_EQ(1, uring_poll(&u, self->q.fd, 0));
		EXPECT_EQ(0, uring_take(&u, 0, &cqe));
		ASSERT_EQ(0, fire(self->fd));
		ASSERT_EQ(1, uring_take(&u, 1, &cqe));
		EXPECT_EQ(POLLIN, cqe.res);
		EXPECT_EQ(0, cqe.flags & IORING_CQE_F_MORE);
		EXPECT_EQ(0, uring_take(&u, 0, &cqe));
		/* With an event there already, it is reported of at once. */
		ASSERT_EQ(1, uring_poll(&u, self->q.fd, 0));
		ASSERT_EQ(1, uring_take(&u, 1, &cqe));
		EXPECT_EQ(POLLIN, cqe.res);
		EXPECT_READABLE(&self->q, COPY, 1);
		EXPECT_EQ(1, quiet(self->fd));
		EXPECT_EQ(0, poll_now(self->q.fd));
	}
	uring_exit(&u);
}

TEST_F(inner, io_uring_multishot)
{
	struct io_uring_cqe cqe = {};
	struct uring u;
	int i, ret;

	ret = uring_init(&u);
	if (ret == nosys() || ret == -EPERM)
		SKIP(return, "no io_uring");
	ASSERT_EQ(0, ret);
	ASSERT_EQ(1, uring_poll(&u, self->q.fd, IORING_POLL_ADD_MULTI));
	for (i = 0; i < 10; i++) {
		ASSERT_EQ(0, fire(self->fd));
		ASSERT_EQ(1, uring_take(&u, 1, &cqe));
		ASSERT_EQ(POLLIN, cqe.res);
		ASSERT_EQ(IORING_CQE_F_MORE, cqe.flags & IORING_CQE_F_MORE);
		EXPECT_READABLE(&self->q, COPY, 1);
		EXPECT_EQ(1, quiet(self->fd));
		/* Nothing is left of this round. */
		EXPECT_EQ(0, poll_now(self->q.fd));
		while (uring_take(&u, 0, &cqe))
			ASSERT_EQ(IORING_CQE_F_MORE,
				  cqe.flags & IORING_CQE_F_MORE);
	}
	uring_exit(&u);
}

TEST_F(inner, closed_under_io_uring)
{
	struct io_uring_cqe cqe = {};
	struct uring u;
	int ret;

	ret = uring_init(&u);
	if (ret == nosys() || ret == -EPERM)
		SKIP(return, "no io_uring");
	ASSERT_EQ(0, ret);
	ASSERT_EQ(1, uring_poll(&u, self->q.fd, IORING_POLL_ADD_MULTI));
	/* The request has a reference: it is reported still. */
	queue_close(&self->q);
	ASSERT_EQ(0, fire(self->fd));
	ASSERT_EQ(1, uring_take(&u, 1, &cqe));
	EXPECT_EQ(POLLIN, cqe.res);
	uring_exit(&u);
}

/*
 * Queues that watch queues.
 */
FIXTURE(nest)
{
	struct queue q[DEPTH + 1];	/* q[i + 1] is to watch q[i] */
	struct kevent_watch w[DEPTH + 1];
};

FIXTURE_VARIANT(nest)
{
	unsigned int entries;
	__u32 flags;
	bool copy;
};

FIXTURE_VARIANT_ADD(nest, level)
{
	.entries = ENTRIES,
};

FIXTURE_VARIANT_ADD(nest, edge)
{
	.entries = ENTRIES,
	.flags = KEVENT_WATCH_EDGE,
};

FIXTURE_VARIANT_ADD(nest, level_no_ring)
{
	.copy = true,
};

FIXTURE_VARIANT_ADD(nest, edge_copied)
{
	.entries = ENTRIES,
	.flags = KEVENT_WATCH_EDGE,
	.copy = true,
};

FIXTURE_SETUP(nest)
{
	int i;

	for (i = 0; i <= DEPTH; i++)
		ASSERT_LE(0, queue_open(&self->q[i], variant->entries));
}

FIXTURE_TEARDOWN(nest)
{
	int i;

	for (i = 0; i <= DEPTH; i++)
		queue_close(&self->q[i]);
}

#undef COPY
#define COPY	(variant->copy)

/* An edge: @outer watches @inner. */
static int edge(struct queue *outer, const struct queue *inner,
		struct kevent_watch *w, __u32 flags)
{
	return add_file(outer, w, inner->fd, flags, inner->fd);
}

/* The edge from the next queue to this one. */
static int edge_up(struct queue *q, struct kevent_watch *w, int i, __u32 flags)
{
	return edge(&q[i + 1], &q[i], &w[i], flags);
}

#define Q(i)	(&self->q[i])
#define EDGE(i)	edge_up(self->q, self->w, i, variant->flags)

/*
 * Nothing more comes once what is reported has been seen: events which were on
 * their way may be stale, but they end.
 */
#define EXPECT_SETTLES(queue)						\
do {									\
	struct kevent_event __ev;					\
	int __stale = 0;						\
									\
	while (__stale < 10 && take_now((queue), COPY, &__ev) == 1)	\
		__stale++;						\
	EXPECT_GT(10, __stale);						\
} while (0)

TEST_F(nest, event_comes_through)
{
	struct kevent_event ev;
	int i;

	ASSERT_EQ(1, EDGE(0));
	EXPECT_EMPTY(Q(1), COPY);
	for (i = 0; i < 10; i++) {
		ASSERT_EQ(1, seq_post(self->q[0].fd, i, 1, KEVENT_POST_DEFER));
		EXPECT_READABLE(Q(1), COPY, self->q[0].fd);
		ASSERT_EQ(1, take_now(Q(0), COPY, &ev));
		EXPECT_EQ(i, ev.user_data);
		EXPECT_SETTLES(Q(1));
	}
}

TEST_F(nest, only_what_was_asked_for)
{
	struct kevent_watch w = file_watch(self->q[0].fd, variant->flags, 1);

	w.events = KEVENT_POLL_IN | KEVENT_POLL_RDNORM | KEVENT_POLL_OUT |
		   KEVENT_POLL_PRI;
	ASSERT_EQ(1, add_one(Q(1), &w));
	ASSERT_EQ(1, seq_post(self->q[0].fd, 0, 1, KEVENT_POST_DEFER));
	EXPECT_EVENT(Q(1), COPY, 1, KEVENT_POLL_IN | KEVENT_POLL_RDNORM, 0);
	EXPECT_EQ(1, remove_one(Q(1), w.handle));
	w.events = KEVENT_POLL_OUT;
	ASSERT_EQ(1, add_one(Q(1), &w));
	ASSERT_EQ(1, seq_post(self->q[0].fd, 0, 1, KEVENT_POST_DEFER));
	EXPECT_EMPTY(Q(1), COPY);
}

TEST_F(nest, level_or_edge)
{
	bool level = !variant->flags;
	struct kevent_event ev;
	int i;

	ASSERT_EQ(1, EDGE(0));
	ASSERT_EQ(2, seq_post(self->q[0].fd, 0, 2, KEVENT_POST_DEFER));
	EXPECT_READABLE(Q(1), COPY, self->q[0].fd);
	if (level) {
		for (i = 0; i < 3; i++)
			EXPECT_READABLE(Q(1), COPY, self->q[0].fd);
		ASSERT_EQ(1, take_now(Q(0), COPY, &ev));
		EXPECT_READABLE(Q(1), COPY, self->q[0].fd);
		/* One more may have been posted before this. */
		ASSERT_EQ(1, take_now(Q(0), COPY, &ev));
	}
	EXPECT_SETTLES(Q(1));
	/* Another one is reported of, with others there still or not. */
	ASSERT_EQ(1, seq_post(self->q[0].fd, 2, 1, KEVENT_POST_DEFER));
	EXPECT_READABLE(Q(1), COPY, self->q[0].fd);
}

TEST_F(nest, late_watcher_sees_what_is_there)
{
	ASSERT_EQ(1, seq_post(self->q[0].fd, 0, 1, KEVENT_POST_DEFER));
	ASSERT_EQ(1, EDGE(0));
	EXPECT_READABLE(Q(1), COPY, self->q[0].fd);
}

/* The level of a file is that of the inner queue, and of the outer one. */
TEST_F(nest, level_of_a_level)
{
	struct kevent_watch w;
	int fd = new_file(), i;

	ASSERT_LE(0, fd);
	ASSERT_EQ(1, add_file(Q(0), &w, fd, 0, 7));
	ASSERT_EQ(1, edge(Q(1), Q(0), &self->w[0], 0));
	ASSERT_EQ(0, fire(fd));
	for (i = 0; i < 3; i++) {
		EXPECT_READABLE(Q(1), COPY, self->q[0].fd);
		EXPECT_READABLE(Q(0), COPY, 7);
	}
	EXPECT_EQ(1, quiet(fd));
	EXPECT_GE(1, queue_drain(Q(0)));
	EXPECT_SETTLES(Q(1));
	ASSERT_EQ(0, fire(fd));
	EXPECT_READABLE(Q(1), COPY, self->q[0].fd);
	close(fd);
}

TEST_F(nest, sleeper_wakes)
{
	struct sleeper s;
	struct waiter w;
	int i;

	ASSERT_EQ(1, EDGE(0));
	for (i = 0; i < 10; i++) {
		ASSERT_EQ(0, waiter_start(&w, self->q[1].fd, variant->entries ?
					  ring_cursor(Q(1)) : 0, 1));
		ASSERT_TRUE(sleeper_asleep(&w.sleeper));
		ASSERT_EQ(0, sleeper_start(&s, poll_call, &self->q[1].fd));
		ASSERT_TRUE(sleeper_asleep(&s));
		ASSERT_EQ(1, seq_post(self->q[0].fd, i, 1, KEVENT_POST_DEFER));
		EXPECT_EQ(1, sleeper_join(&w.sleeper));
		EXPECT_EQ(POLLIN, sleeper_join(&s));
		EXPECT_EQ(1, queue_drain(Q(0)));
		EXPECT_SETTLES(Q(1));
	}
}

static void chain(struct __test_metadata *_metadata, struct queue *q,
		  struct kevent_watch *w, __u32 flags, bool up)
{
	int i, n;

	for (n = 0; n < DEPTH - 1; n++) {
		i = up ? n : DEPTH - 2 - n;
		ASSERT_EQ(1, edge(&q[i + 1], &q[i], &w[i], flags));
	}
}

TEST_F(nest, four_deep)
{
	struct sleeper s;
	int i;

	chain(_metadata, self->q, self->w, variant->flags, true);
	for (i = 0; i < 5; i++) {
		ASSERT_EQ(0, sleeper_start(&s, poll_call,
					   &self->q[DEPTH - 1].fd));
		ASSERT_TRUE(sleeper_asleep(&s));
		ASSERT_EQ(1, seq_post(self->q[0].fd, i, 1, KEVENT_POST_DEFER));
		EXPECT_EQ(POLLIN, sleeper_join(&s));
		EXPECT_READABLE(Q(3), COPY, self->q[2].fd);
		EXPECT_READABLE(Q(2), COPY, self->q[1].fd);
		EXPECT_READABLE(Q(1), COPY, self->q[0].fd);
		EXPECT_EQ(1, queue_drain(Q(0)));
		EXPECT_SETTLES(Q(1));
		EXPECT_SETTLES(Q(2));
		EXPECT_SETTLES(Q(3));
	}
}

#define EXPECT_ELOOP(outer, inner)					\
do {									\
	struct kevent_watch __w;					\
									\
	EXPECT_EQ(-ELOOP, edge((outer), (inner), &__w, 0));		\
	EXPECT_EQ(-ELOOP, __w.result);					\
	EXPECT_EQ(0, __w.handle);					\
} while (0)

TEST_F(nest, five_deep_is_refused)
{
	int up;

	for (up = 0; up < 2; up++) {
		chain(_metadata, self->q, self->w, variant->flags, up);
		EXPECT_ELOOP(Q(4), Q(3));
		EXPECT_EQ(0, nr_watches(self->q[4].fd));
		EXPECT_EQ(1, remove_one(Q(1), self->w[0].handle));
		EXPECT_EQ(1, remove_one(Q(2), self->w[1].handle));
		EXPECT_EQ(1, remove_one(Q(3), self->w[2].handle));
	}
	/* Below the chain, and in its middle. */
	ASSERT_EQ(1, EDGE(1));
	ASSERT_EQ(1, EDGE(2));
	ASSERT_EQ(1, EDGE(3));
	EXPECT_ELOOP(Q(1), Q(0));
	EXPECT_EQ(1, remove_one(Q(3), self->w[2].handle));
	ASSERT_EQ(1, EDGE(0));
	EXPECT_ELOOP(Q(3), Q(2));
}

TEST_F(nest, circles_are_refused)
{
	int twin = dup(self->q[0].fd), i;
	struct kevent_watch w;

	ASSERT_LE(0, twin);
	EXPECT_ELOOP(Q(0), Q(0));
	EXPECT_EQ(-ELOOP, add_file(Q(0), &w, twin, 0, 1));
	for (i = 0; i < DEPTH - 1; i++) {
		ASSERT_EQ(1, EDGE(i));
		EXPECT_ELOOP(Q(0), Q(i + 1));
		EXPECT_EQ(-ELOOP, add_file(Q(i + 1), &w, self->q[i + 1].fd,
					   variant->flags, 1));
	}
	close(twin);
	/* What was refused has left nothing behind. */
	EXPECT_EQ(0, nr_watches(self->q[0].fd));
	EXPECT_EQ(1, nr_watches(self->q[1].fd));
	ASSERT_EQ(1, seq_post(self->q[0].fd, 0, 1, KEVENT_POST_DEFER));
	EXPECT_EQ(POLLIN, poll_call(&self->q[DEPTH - 1].fd));
}

/* Neither a circle nor too deep: the same queue by two ways. */
TEST_F(nest, two_ways_to_the_same_queue)
{
	struct kevent_watch w[4], again;

	ASSERT_EQ(1, edge(Q(1), Q(0), &w[0], variant->flags));
	ASSERT_EQ(1, edge(Q(2), Q(0), &w[1], variant->flags));
	ASSERT_EQ(1, edge(Q(3), Q(1), &w[2], variant->flags));
	ASSERT_EQ(1, edge(Q(3), Q(2), &w[3], variant->flags));
	ASSERT_EQ(1, edge(Q(3), Q(2), &again, variant->flags));
	EXPECT_ELOOP(Q(0), Q(3));
	ASSERT_EQ(1, seq_post(self->q[0].fd, 0, 1, KEVENT_POST_DEFER));
	EXPECT_EQ(POLLIN, poll_call(&self->q[1].fd));
	EXPECT_EQ(POLLIN, poll_call(&self->q[2].fd));
	EXPECT_EQ(POLLIN, poll_call(&self->q[3].fd));
	/* One of two that are the same is enough for a circle. */
	EXPECT_EQ(1, remove_one(Q(3), again.handle));
	EXPECT_ELOOP(Q(2), Q(3));
	EXPECT_EQ(1, remove_one(Q(3), w[3].handle));
	EXPECT_EQ(1, edge(Q(2), Q(3), &w[3], variant->flags));
}

TEST_F(nest, epoll_is_refused)
{
	int ep = epoll_create1(0), outer = epoll_on(ep, EPOLLIN);
	struct kevent_watch w;

	ASSERT_LE(0, outer);
	EXPECT_EQ(-ELOOP, add_file(Q(0), &w, ep, variant->flags, 1));
	EXPECT_EQ(-ELOOP, add_file(Q(0), &w, outer, variant->flags, 1));
	close(ep);
	close(outer);
	/* One that watches this queue, or has nothing to do with it. */
	ep = epoll_on(self->q[0].fd, EPOLLIN);
	ASSERT_LE(0, ep);
	EXPECT_EQ(-ELOOP, add_file(Q(0), &w, ep, variant->flags, 1));
	EXPECT_EQ(-ELOOP, add_file(Q(1), &w, ep, variant->flags, 1));
	EXPECT_EQ(0, nr_watches(self->q[0].fd));
	close(ep);
}

/* A watch that goes makes room, in whichever way it goes. */
TEST_F(nest, room_after_removal)
{
	struct kevent_watch w;

	chain(_metadata, self->q, self->w, variant->flags, true);
	EXPECT_ELOOP(Q(4), Q(3));
	ASSERT_EQ(1, remove_one(Q(2), self->w[1].handle));
	ASSERT_EQ(1, EDGE(3));
	EXPECT_ELOOP(Q(2), Q(1));
	ASSERT_EQ(1, remove_one(Q(1), self->w[0].handle));
	ASSERT_EQ(1, EDGE(1));
	EXPECT_ELOOP(Q(1), Q(0));
	/* A circle that is none any more. */
	ASSERT_EQ(1, remove_one(Q(4), self->w[3].handle));
	ASSERT_EQ(1, edge(Q(1), Q(4), &w, variant->flags));
}

TEST_F(nest, room_after_closing_the_inner_one)
{
	int twin = dup(self->q[0].fd);

	ASSERT_LE(0, twin);
	chain(_metadata, self->q, self->w, variant->flags, true);
	EXPECT_ELOOP(Q(4), Q(3));
	/* The queue lives on, but the watch is gone with its descriptor. */
	ASSERT_EQ(0, close(self->q[0].fd));
	self->q[0].fd = twin;
	EXPECT_TRUE(watch_gone(Q(1), &self->w[0]));
	EXPECT_EQ(1, EDGE(3));
	EXPECT_ELOOP(Q(1), Q(0));
}

TEST_F(nest, room_after_closing_the_outer_one)
{
	chain(_metadata, self->q, self->w, variant->flags, true);
	EXPECT_ELOOP(Q(0), Q(3));
	EXPECT_ELOOP(Q(0), Q(1));
	/* The one above the lowest is gone, with its mapping. */
	queue_close(Q(1));
	EXPECT_EQ(1, edge(Q(0), Q(3), &self->w[3], variant->flags));
	EXPECT_ELOOP(Q(2), Q(0));
}

TEST_F(nest, room_after_a_oneshot)
{
	struct kevent_watch w;

	chain(_metadata, self->q, self->w, variant->flags, true);
	ASSERT_EQ(1, remove_one(Q(1), self->w[0].handle));
	ASSERT_EQ(1, edge(Q(1), Q(0), &w, KEVENT_WATCH_ONESHOT));
	EXPECT_ELOOP(Q(4), Q(3));
	ASSERT_EQ(1, seq_post(self->q[0].fd, 0, 1, KEVENT_POST_DEFER));
	EXPECT_READABLE(Q(1), COPY, self->q[0].fd);
	EXPECT_EMPTY(Q(1), COPY);
	EXPECT_TRUE(watch_gone(Q(1), &w));
	EXPECT_EQ(1, EDGE(3));
}

TEST_F(nest, inner_one_is_closed)
{
	struct kevent_watch w;
	struct sleeper s;
	int fd;

	ASSERT_EQ(1, edge(Q(1), Q(0), &w, variant->flags |
			  KEVENT_WATCH_VANISHED));
	ASSERT_EQ(0, sleeper_start(&s, poll_call, &self->q[1].fd));
	ASSERT_TRUE(sleeper_asleep(&s));
	fd = self->q[0].fd;
	queue_close(Q(0));
	EXPECT_EQ(POLLIN, sleeper_join(&s));
	EXPECT_VANISHED(Q(1), COPY, fd);
	EXPECT_TRUE(watch_gone(Q(1), &w));
	EXPECT_EMPTY(Q(1), COPY);
}

/* The queue outlives its descriptor, if it is mapped, but not its watch. */
TEST_F(nest, inner_mapping_outlives_the_descriptor)
{
	struct kevent_watch w, timer = timer_watch(5, MSEC, 0);
	int fd = self->q[0].fd;

	if (!variant->entries)
		SKIP(return, "there is no mapping without a ring");
	ASSERT_EQ(1, edge(Q(1), Q(0), &w, variant->flags |
			  KEVENT_WATCH_VANISHED));
	ASSERT_EQ(1, add_one(Q(0), &timer));
	ASSERT_EQ(0, close(fd));
	self->q[0].fd = -1;
	while (!ring_ready(Q(0), 0))
		usleep(500);
	/* The timer may have been first. */
	if (queue_refill(Q(1)) > 1)
		EXPECT_READABLE(Q(1), COPY, fd);
	EXPECT_VANISHED(Q(1), COPY, fd);
	EXPECT_EMPTY(Q(1), COPY);
}

TEST_F(nest, outer_one_is_closed)
{
	struct kevent_event ev;
	int i;

	for (i = 0; i < 5; i++) {
		ASSERT_EQ(1, EDGE(0));
		ASSERT_EQ(1, seq_post(self->q[0].fd, i, 1, KEVENT_POST_DEFER));
		queue_close(Q(1));
		ASSERT_EQ(1, take_now(Q(0), COPY, &ev));
		EXPECT_EQ(i, ev.user_data);
		ASSERT_LE(0, queue_open(Q(1), variant->entries));
	}
}

/*
 * A timer expires with interrupts off, and what it reports goes up from queue
 * to queue.
 */
TEST_F(nest, inner_one_fires_in_an_interrupt)
{
	enum { NR = 100 };
	struct kevent_watch timer = timer_watch(9, MSEC / 2, MSEC / 2);
	struct kevent_event ev;
	__u64 sum = 0;
	int i;

	chain(_metadata, self->q, self->w, variant->flags, true);
	ASSERT_EQ(1, add_one(Q(0), &timer));
	while (sum < NR) {
		ASSERT_EQ(POLLIN, poll_call(&self->q[DEPTH - 1].fd));
		/* Levels come back for as long as there is something below. */
		for (i = DEPTH - 1; i > 0; i--)
			take_now(Q(i), COPY, &ev);
		while (take_now(Q(0), COPY, &ev) == 1) {
			ASSERT_EQ(9, ev.user_data);
			ASSERT_LT(0, ev.data);
			sum += ev.data;
		}
	}
	EXPECT_EQ(1, remove_one(Q(0), timer.handle));
}

TEST_F(nest, all_outer_ones_are_reported)
{
	enum { NR = 20 };
	struct queue outer[NR];
	struct kevent_watch w;
	int i;

	for (i = 0; i < NR; i++) {
		ASSERT_LE(0, queue_open(&outer[i], variant->entries));
		ASSERT_EQ(1, edge(&outer[i], Q(0), &w, variant->flags));
	}
	ASSERT_EQ(1, seq_post(self->q[0].fd, 0, 1, KEVENT_POST_DEFER));
	for (i = 0; i < NR; i++) {
		EXPECT_READABLE(&outer[i], COPY, self->q[0].fd);
		queue_close(&outer[i]);
	}
}

TEST_F(nest, many_inner_ones)
{
	enum { NR = 40 };
	bool seen[NR] = {};
	struct queue inner[NR];
	struct kevent_event ev;
	struct kevent_watch w;
	int i;

	for (i = 0; i < NR; i++) {
		ASSERT_LE(0, queue_open(&inner[i], 0));
		ASSERT_EQ(1, add_file(Q(0), &w, inner[i].fd,
				      KEVENT_WATCH_DISPATCH, i));
		ASSERT_EQ(1, seq_post(inner[i].fd, 0, 1, KEVENT_POST_DEFER));
	}
	for (i = 0; i < NR; i++) {
		ASSERT_EQ(1, take_next(Q(0), COPY, &ev));
		ASSERT_GT(NR, ev.user_data);
		EXPECT_FALSE(seen[ev.user_data]);
		seen[ev.user_data] = true;
	}
	EXPECT_EMPTY(Q(0), COPY);
	for (i = 0; i < NR; i++)
		queue_close(&inner[i]);
}

/* Each watch costs those that there are, so there is a limit in each direction. */
TEST(too_many_on_top_of_each_other)
{
	enum { QUEUES = 8, OF_EACH = 128 };
	struct queue below, above, one[QUEUES], other;
	struct kevent_watch w, v, first, second;
	int i;

	ASSERT_LE(0, queue_open(&below, ENTRIES));
	ASSERT_LE(0, queue_open(&above, 0));
	ASSERT_LE(0, queue_open(&other, 0));
	for (i = 0; i < QUEUES; i++)
		ASSERT_LE(0, queue_open(&one[i], 0));
	for (i = 0; i < QUEUES * OF_EACH; i++) {
		ASSERT_EQ(1, edge(&one[i / OF_EACH], &below, &w, 0));
		ASSERT_EQ(1, edge(&above, &one[i / OF_EACH], &v, 0));
		if (!i) {
			first = w;
			second = v;
		}
	}
	EXPECT_EQ(-ENOSPC, edge(&other, &below, &v, 0));
	EXPECT_EQ(-ENOSPC, edge(&above, &other, &v, 0));
	EXPECT_EQ(1, remove_one(&one[0], first.handle));
	EXPECT_EQ(1, edge(&other, &below, &v, 0));
	EXPECT_EQ(-ENOSPC, edge(&other, &below, &v, 0));
	EXPECT_EQ(1, remove_one(&above, second.handle));
	EXPECT_EQ(1, edge(&above, &other, &v, 0));
	EXPECT_EQ(-ENOSPC, edge(&above, &other, &v, 0));
	for (i = 0; i < QUEUES; i++)
		queue_close(&one[i]);
	queue_close(&below);
	queue_close(&above);
	queue_close(&other);
}

/* How long it takes to watch a queue from below @width ways, the best of some. */
static long long time_below(int width)
{
	struct queue q[4];
	struct kevent_watch w;
	struct timespec from, to;
	long long best = LLONG_MAX, ns;
	int i, n;

	for (i = 0; i < 4; i++)
		if (queue_open(&q[i], 0) < 0)
			return -1;
	for (n = 0; n < width; n++)
		for (i = 0; i < 2; i++)
			if (edge(&q[i], &q[i + 1], &w, 0) != 1)
				return -1;
	for (n = 0; n < 20; n++) {
		clock_gettime(CLOCK_MONOTONIC, &from);
		if (edge(&q[2], &q[3], &w, 0) != 1 ||
		    remove_one(&q[2], w.handle) != 1)
			return -1;
		clock_gettime(CLOCK_MONOTONIC, &to);
		ns = (to.tv_sec - from.tv_sec) * 1000000000LL +
		     to.tv_nsec - from.tv_nsec;
		if (ns < best)
			best = ns;
	}
	for (i = 0; i < 4; i++)
		queue_close(&q[i]);
	return best;
}

/* Each of the watches between queues is looked at some times, not often. */
TEST(cost_of_a_net_is_linear)
{
	enum { WIDTH = 8, TIMES = 16 };
	long long some = time_below(WIDTH), many = time_below(WIDTH * TIMES);

	ASSERT_LT(0, some);
	ASSERT_LT(0, many);
	EXPECT_GT(4 * TIMES * some, many);
}

/* A process ends with all of it, in whichever order its files are closed. */
TEST_F(nest, process_with_a_chain_exits)
{
	enum { FIRST = 100, WAYS = 12 };
	unsigned int seed = 1;
	int i, n, way, at, fd;
	struct kevent_watch w;
	pid_t pid;

	for (way = 0; way < WAYS; way++) {
		pid = fork();
		ASSERT_LE(0, pid);
		if (!pid) {
			struct queue q[DEPTH] = {};

			for (i = 0; i < DEPTH; i++) {
				if (queue_open(&q[i], variant->entries) < 0)
					_exit(1);
			}
			/* Numbers in another order than that of the chain. */
			for (i = 0; i < DEPTH; i++) {
				do {
					at = FIRST + rand_r(&seed) % 50;
				} while (fcntl(at, F_GETFD) >= 0);
				fd = q[i].fd;
				q[i].fd = dup2(fd, at);
				close(fd);
			}
			fd = eventfd(1, EFD_NONBLOCK);
			for (n = 0; n < 3; n++) {
				if (add_file(&q[0], &w, fd, variant->flags |
					     KEVENT_WATCH_VANISHED, 1) != 1)
					_exit(2);
				for (i = 1; i < DEPTH; i++) {
					if (edge(&q[i], &q[i - 1], &w,
						 variant->flags |
						 KEVENT_WATCH_VANISHED) != 1)
						_exit(3);
				}
			}
			if (way & 1)
				seq_post(q[0].fd, 0, 1, KEVENT_POST_DEFER);
			if (way & 2)
				poll_call(&q[DEPTH - 1].fd);
			if (way & 4)
				raise(SIGKILL);
			_exit(0);
		}
		ASSERT_EQ(way & 4 ? -SIGKILL : 0, child_status(pid));
		rand_r(&seed);
	}
}

/* The outer queue is in a socket, which is in the inner queue, in a circle. */
TEST_F(nest, passed_in_a_circle)
{
	struct pollfd pfd = { .events = POLLIN };
	int sockets[2], fds[2], i;
	struct kevent_watch w;

	ASSERT_EQ(0, pipe(fds));
	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_STREAM, 0, sockets));
	ASSERT_EQ(1, edge(Q(1), Q(0), &w, variant->flags));
	ASSERT_EQ(1, add_file(Q(0), &w, sockets[1], variant->flags, 1));
	for (i = 0; i < 2; i++)
		ASSERT_EQ(0, send_fd(sockets[0], self->q[i].fd));
	EXPECT_EQ(POLLIN, poll_call(&self->q[1].fd));
	/* The socket itself, so that only the garbage collector can end it. */
	ASSERT_EQ(0, send_fd(sockets[0], sockets[1]));
	ASSERT_EQ(0, send_fd(sockets[0], fds[1]));
	close(fds[1]);
	queue_close(Q(0));
	queue_close(Q(1));
	close(sockets[0]);
	close(sockets[1]);
	/* It runs when a socket is closed. */
	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_STREAM, 0, sockets));
	close(sockets[0]);
	close(sockets[1]);
	pfd.fd = fds[0];
	EXPECT_EQ(1, poll(&pfd, 1, -1));
	EXPECT_EQ(POLLHUP, pfd.revents);
	close(fds[0]);
}

struct opposite {
	struct queue *outer, *inner;
	struct kevent_watch w;
	int ret;
};

static void add_edge(void *arg)
{
	struct opposite *o = arg;

	o->ret = edge(o->outer, o->inner, &o->w, 0);
}

/* Two threads each add one half of a circle: one of them must be refused. */
TEST_F(nest, two_halves_of_a_circle)
{
	struct opposite up = { .outer = Q(1), .inner = Q(0) };
	struct opposite down = { .outer = Q(0), .inner = Q(1) };
	struct racer racer;
	int i;

	ASSERT_EQ(0, racer_start(&racer, add_edge, &up));
	for (i = 0; i < 300; i++) {
		racer_go(&racer);
		add_edge(&down);
		racer_wait(&racer);
		ASSERT_TRUE((up.ret == 1 && down.ret == -ELOOP) ||
			    (up.ret == -ELOOP && down.ret == 1)) {
			TH_LOG("%d and %d", up.ret, down.ret);
		}
		if (up.ret == 1)
			remove_one(Q(1), up.w.handle);
		else
			remove_one(Q(0), down.w.handle);
		EXPECT_EQ(0, nr_watches(self->q[0].fd));
		EXPECT_EQ(0, nr_watches(self->q[1].fd));
	}
	racer_stop(&racer);
}

/*
 * A level of the inner queue comes to hold without a wake-up: so does the outer
 * queue's that watches it.
 */
TEST(inner_level_that_holds_without_a_wake_up)
{
	struct kevent_watch w = {
		.source = KEVENT_SOURCE_SOCKET,
		.events = KEVENT_SOCKET_CONNECT,
		.user_data = 1,
	};
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	socklen_t len = sizeof(a);
	struct queue inner, outer;
	struct kevent_event ev;
	int listener, fd;

	ASSERT_LE(0, queue_open(&inner, ENTRIES));
	ASSERT_LE(0, queue_open(&outer, ENTRIES));
	if (!(inner.args.features &
	      KEVENT_FEATURE_SOURCE(KEVENT_SOURCE_SOCKET)))
		SKIP(return, "no sockets");
	listener = socket(AF_UNIX, SOCK_STREAM, 0);
	ASSERT_LE(0, listener);
	ASSERT_EQ(0, bind(listener, (void *)&a, sizeof(a.sun_family)));
	ASSERT_EQ(0, getsockname(listener, (void *)&a, &len));
	ASSERT_EQ(0, listen(listener, 1));
	fd = socket(AF_UNIX, SOCK_STREAM, 0);
	ASSERT_LE(0, fd);
	w.ident = fd;
	ASSERT_EQ(1, add_one(&inner, &w));
	w = watch_poll(inner.fd, KEVENT_POLL_IN, 0, 2);
	ASSERT_EQ(1, add_one(&outer, &w));
	EXPECT_EMPTY(&outer, false);
	ASSERT_EQ(0, connect(fd, (void *)&a, len));
	ASSERT_EQ(1, take_next(&outer, false, &ev));
	EXPECT_EQ(2, ev.user_data);
	ASSERT_EQ(1, take_next(&inner, false, &ev));
	EXPECT_EQ(KEVENT_SOCKET_CONNECT, ev.events);
	close(fd);
	close(listener);
	queue_close(&outer);
	queue_close(&inner);
}

TEST_HARNESS_MAIN
