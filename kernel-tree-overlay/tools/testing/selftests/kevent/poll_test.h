/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the tests of KEVENT_SOURCE_POLL share: short names, files that are easy
 * to make ready and unready, and what is expected of a queue.
 *
 * Nothing here waits for an amount of time: what has to come is waited for, and
 * what must not come has had every chance.
 */
#ifndef POLL_TEST_H
#define POLL_TEST_H

#include <sys/resource.h>

#include "kevent_poll_test.h"

#define IN	KEVENT_POLL_IN
#define PRI	KEVENT_POLL_PRI
#define OUT	KEVENT_POLL_OUT
#define ERR	KEVENT_POLL_ERR
#define HUP	KEVENT_POLL_HUP
#define NVAL	KEVENT_POLL_NVAL
#define RDNORM	KEVENT_POLL_RDNORM
#define RDBAND	KEVENT_POLL_RDBAND
#define WRNORM	KEVENT_POLL_WRNORM
#define WRBAND	KEVENT_POLL_WRBAND
#define MSG	KEVENT_POLL_MSG
#define RDHUP	KEVENT_POLL_RDHUP

/* What may be asked for. */
#define INTEREST							\
	(IN | PRI | OUT | ERR | HUP | RDNORM | RDBAND | WRNORM |	\
	 WRBAND | MSG | RDHUP)

#define LEVEL		0
#define EDGE		KEVENT_WATCH_EDGE
#define ONESHOT		KEVENT_WATCH_ONESHOT
#define DISPATCH	KEVENT_WATCH_DISPATCH
#define DISABLED	KEVENT_WATCH_DISABLED
#define EXCLUSIVE	KEVENT_WATCH_EXCLUSIVE
#define VANISHED	KEVENT_WATCH_VANISHED

static void __attribute__((constructor)) need_poll(void)
{
	need_source(KEVENT_SOURCE_POLL, "files");
}

/* The next event is the one of this watch, with these bits. */
#define EXPECT_REPORTED(q, copy, value, bits)				\
	EXPECT_EVENT(q, copy, value, bits, 0)

/*
 * Takes events, sleeping for them, until these bits have been there; only bits
 * of @allowed may be. What comes in several steps is waited for so.
 */
static inline int take_until(struct queue *q, bool copy, __u32 bits,
			     __u32 allowed)
{
	struct kevent_event ev;
	__u32 seen = 0;
	int ret;

	while ((seen & bits) != bits) {
		ret = take_next(q, copy, &ev);
		if (ret < 0)
			return ret;
		if (!ev.events || ev.events & ~allowed)
			return -EPROTO;
		seen |= ev.events;
	}
	return 0;
}

/* What poll(2) says of a file, with everything asked for that can be. */
static inline __u32 polled(int fd, __u32 events)
{
	struct pollfd pfd = { .fd = fd, .events = events };

	return poll(&pfd, 1, 0) < 0 ? 0 : (__u16)pfd.revents;
}

/* Whether the queue itself polls as readable. */
static inline bool queue_readable(const struct queue *q)
{
	return polled(q->fd, POLLIN) & POLLIN;
}

/* Waits, with poll(2), until the file is ready. */
static inline void until_ready(int fd, __u32 events)
{
	struct pollfd pfd = { .fd = fd, .events = events };

	while (poll(&pfd, 1, -1) < 1)
		;
}

/*
 * An eventfd is ready to be read between efd_fire() and efd_quench(), and all
 * of its wake-ups say for which bits they are.
 */
static inline void efd_fire(int fd)
{
	if (fire(fd))
		abort();
}

static inline void efd_quench(int fd)
{
	if (!quiet(fd))
		abort();
}

/* Lets this process open many files; how many it can. */
static inline int many_files(int nr)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit))
		return 0;
	if (limit.rlim_cur < nr + 64) {
		limit.rlim_cur = nr + 64;
		if (limit.rlim_max < limit.rlim_cur)
			limit.rlim_max = limit.rlim_cur;
		setrlimit(RLIMIT_NOFILE, &limit);
		getrlimit(RLIMIT_NOFILE, &limit);
	}
	return limit.rlim_cur < nr + 64 ? (int)limit.rlim_cur - 64 : nr;
}

/* Random numbers, the same each time. */
static inline __u64 rnd(__u64 *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

#define RND_SEED	88172645463325252ULL

#endif /* POLL_TEST_H */
