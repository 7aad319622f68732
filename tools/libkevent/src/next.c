/* SPDX-License-Identifier: MIT */
/* kevent_next() and kevent_wake(). */
#define _GNU_SOURCE
#include "lib.h"
#include <limits.h>

int kevent_deadline_(const struct timespec *span, struct __kernel_timespec *end)
{
	struct timespec now;
	long long sec, nsec;

	if (span->tv_sec < 0 || span->tv_nsec < 0 || span->tv_nsec >= SEC_NS)
		return fail(EINVAL);
	clock_gettime(CLOCK_MONOTONIC, &now);
	nsec = (long long)now.tv_nsec + span->tv_nsec;
	/* More than anybody's uptime, less than the kernel's limit. */
	sec = (long long)span->tv_sec;
	if (sec > INT_MAX)
		sec = INT_MAX;
	sec += (long long)now.tv_sec + nsec / SEC_NS;
	end->tv_sec = sec;
	end->tv_nsec = nsec % SEC_NS;
	return 0;
}

int kevent_must_serve_(const struct kevent_queue *q)
{
	__u32 flags = __atomic_load_n(&q->ring->flags, __ATOMIC_RELAXED);
	__u32 consumed = __atomic_load_n(&q->consumed, __ATOMIC_RELAXED);

	if (flags & KEVENT_RING_RECHECK)
		return 1;
	/* The backlog: when there is room worth a call. */
	if ((flags & KEVENT_RING_BACKLOG) && consumed > q->entries / 4)
		return 1;
	return consumed >= q->entries;
}

int kevent_serve_(struct kevent_queue *q, unsigned int flags)
{
	struct kevent_wait wait;

	memset(&wait, 0, sizeof(wait));
	wait.flags = flags;
	wait.clockid = CLOCK_MONOTONIC;
	__atomic_store_n(&q->consumed, 0, __ATOMIC_RELAXED);
	wait.seen = q->ring ? __atomic_load_n(&q->ring->cursor, __ATOMIC_ACQUIRE) : 0;
	return kevent_wait(q->fd, &wait, sizeof(wait));
}

unsigned int kevent_drop_wakes_(struct kevent_queue *q, struct kevent_event *events,
				unsigned int nr, unsigned int *wakes)
{
	unsigned int i, kept = 0;

	for (i = 0; i < nr; i++) {
		if (kevent_is_wake(q, &events[i]))
			++*wakes;
		else if (kept++ != i)
			events[kept - 1] = events[i];
	}
	return kept;
}

unsigned int kevent_take_some_(struct kevent_queue *q, struct kevent_event *events,
			       unsigned int max, unsigned int *wakes)
{
	unsigned int left, n = 0;

	/* No more than one round, which is when levels have to be looked at. */
	for (left = q->entries; left && n < max; left--) {
		if (!kevent_take_shared(q, &events[n]))
			break;
		if (kevent_is_wake(q, &events[n]))
			++*wakes;
		else
			n++;
	}
	return n;
}

/*
 * What kevent_next() takes out of the ring; with @index one event, whose slot the caller of
 * kevent_next_begin() keeps.
 */
static unsigned int take_next(struct kevent_queue *q, struct kevent_event *events,
			      unsigned int max, unsigned int *wakes, __u32 *index)
{
	if (!index)
		return kevent_take_some_(q, events, max, wakes);
	while (kevent_take_begin(q, events, index)) {
		if (!kevent_is_wake(q, events))
			return 1;
		kevent_take_end(q, *index, 0);
		++*wakes;
	}
	return 0;
}

/* Without a ring the kernel does it all. */
static int next_copied(struct kevent_queue *q, struct kevent_event *events, unsigned int max,
		       const struct __kernel_timespec *end, int sleep)
{
	unsigned int wakes = 0, kept;
	int n;

	do {
		n = kevent_get_events(q->fd, sleep ? 1 : 0, max, sleep ? end : NULL, events,
				      sleep && end ? KEVENT_WAIT_ABSTIME : 0);
		if (n <= 0)
			return n;
		kept = kevent_drop_wakes_(q, events, (unsigned int)n, &wakes);
	} while (!kept && !wakes);
	return (int)kept;
}

static int next(struct kevent_queue *q, struct kevent_event *events, unsigned int max,
		const struct timespec *timeout, __u32 *index)
{
	struct __kernel_timespec end = { 0, 0 };
	int sleep = !timeout || timeout->tv_sec || timeout->tv_nsec;
	unsigned int n, wakes = 0;
	struct kevent_wait wait;
	int ret, have_end = 0;

	if (kevent_check_(q))
		return -1;
	if (!max || max > INT_MAX / sizeof(*events))
		return fail(EINVAL);
	if (timeout && (timeout->tv_sec < 0 || timeout->tv_nsec < 0 || timeout->tv_nsec >= SEC_NS))
		return fail(EINVAL);

	if (!q->ring) {
		if (sleep && timeout && kevent_deadline_(timeout, &end))
			return -1;
		return next_copied(q, events, max, timeout ? &end : NULL, sleep);
	}

	/*
	 * At the beginning, not after taking: the program has handled what it had, so a level
	 * that it has exhausted does not hold any more.
	 */
	if (kevent_must_serve_(q) && kevent_serve_(q, 0) < 0)
		return -1;

	for (;;) {
		n = take_next(q, events, max, &wakes, index);
		if (n || wakes)
			return (int)n;

		if (!sleep) {
			/* Levels come only so. */
			ret = kevent_serve_(q, 0);
			if (ret < 0)
				return -1;
			if (!ret)
				return 0;
			n = take_next(q, events, max, &wakes, index);
			return (int)n;
		}

		if (timeout && !have_end) {
			if (kevent_deadline_(timeout, &end))
				return -1;
			have_end = 1;
		}
		memset(&wait, 0, sizeof(wait));
		wait.clockid = CLOCK_MONOTONIC;
		wait.min_nr = 1;
		if (have_end) {
			wait.flags = KEVENT_WAIT_ABSTIME;
			wait.timeout = (__u64)(uintptr_t)&end;
		}
		__atomic_store_n(&q->consumed, 0, __ATOMIC_RELAXED);
		wait.seen = __atomic_load_n(&q->ring->cursor, __ATOMIC_ACQUIRE);
		ret = kevent_wait(q->fd, &wait, sizeof(wait));
		if (ret < 0)
			return -1;
		if (!ret && have_end)
			sleep = 0; /* the time is over: look once more */
		/* Otherwise there is something, unless another thread is faster. */
	}
}

EXPORT int kevent_next(struct kevent_queue *q, struct kevent_event *events, unsigned int max,
		       const struct timespec *timeout)
{
	return next(q, events, max, timeout, NULL);
}

EXPORT int kevent_next_begin(struct kevent_queue *q, struct kevent_event *ev, __u32 *index,
			     const struct timespec *timeout)
{
	*index = 0;
	return next(q, ev, 1, timeout, index);
}

EXPORT int kevent_wake(struct kevent_queue *q)
{
	struct kevent_event ev;
	int error;

	if (kevent_check_(q))
		return -1;
	if (__atomic_exchange_n(&q->waking, 1, __ATOMIC_SEQ_CST))
		return 0; /* one is on its way */

	memset(&ev, 0, sizeof(ev));
	ev.user_data = KEVENT_WAKE_DATA;
	ev.events = KEVENT_WAKE_EVENTS;
	ev.extra = KEVENT_WAKE_DATA;
	if (kevent_post(q->fd, &ev, sizeof(ev), 1, KEVENT_POST_DEFER) == 1)
		return 0;
	error = errno;
	__atomic_store_n(&q->waking, 0, __ATOMIC_SEQ_CST);
	return fail(error);
}
