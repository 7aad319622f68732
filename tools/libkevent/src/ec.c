/* SPDX-License-Identifier: MIT */
/*
 * Event channels.
 *
 * Cancellation.  The system call that sleeps takes nothing, so the thread may be cancelled
 * at any point of it; asynchronous cancellation is on for just that call.  But it may have been
 * woken for an event: then its cleanup handler has the kernel wake the next one
 * (KEVENT_WAIT_WAKE_NEXT).  A kernel without that wakes a thread for a posted event, which has
 * no other meaning and is dropped by the thread that consumes it.  Without a ring the call that sleeps is
 * kevent_wait() too, and the event is taken by a call that does not sleep.
 */
#define _GNU_SOURCE
#include "lib.h"
#include <kevent/ec.h>
#include <pthread.h>
#include <stdlib.h>

#define ENTRIES 256

struct ec {
	struct kevent_queue queue;
	unsigned int waiting;	/* threads in ec_wait_event(), ec_timedwait_event() */
};

EXPORT ec_t ec_create(unsigned int flags)
{
	struct ec *ec;
	int error;

	if (flags & ~EC_NO_RING) {
		errno = EINVAL;
		return NULL;
	}
	ec = (struct ec *)calloc(1, sizeof(*ec));
	if (!ec)
		return NULL;
	if (!kevent_queue_init(&ec->queue, flags & EC_NO_RING ? 0 : ENTRIES, 0, 0))
		return ec;
	error = errno;
	free(ec);
	errno = error;
	return NULL;
}

EXPORT int ec_destroy(ec_t ec)
{
	if (!ec)
		return fail(EINVAL);
	/* In a child the threads that waited do not exist. */
	if (!kevent_check_(&ec->queue) && __atomic_load_n(&ec->waiting, __ATOMIC_SEQ_CST))
		return fail(EBUSY);
	kevent_queue_exit(&ec->queue);
	free(ec);
	return 0;
}

EXPORT struct kevent_queue *ec_queue(ec_t ec)
{
	return ec ? &ec->queue : NULL;
}

/* Hands on a wake-up of a thread that takes nothing. */
static void wake_next(struct kevent_queue *q)
{
	struct kevent_event ev;

	if (q->features & KEVENT_FEATURE_WAKE_NEXT) {
		if (kevent_serve_(q, KEVENT_WAIT_WAKE_NEXT) >= 0)
			return;
	}
	memset(&ev, 0, sizeof(ev));
	ev.user_data = KEVENT_WAKE_DATA;
	ev.events = KEVENT_WAKE_EVENTS;
	ev.extra = KEVENT_WAKE_DATA;
	kevent_post(q->fd, &ev, sizeof(ev), 1, KEVENT_POST_DEFER);
}

static void cancelled(void *arg)
{
	struct ec *ec = (struct ec *)arg;

	wake_next(&ec->queue);
	__atomic_fetch_sub(&ec->waiting, 1, __ATOMIC_SEQ_CST);
}

/* Takes one event without sleeping: 1, 0 if there is none, -1 with errno. */
static int take(struct kevent_queue *q, struct kevent_event *event)
{
	unsigned int wakes = 0;
	int n;

	if (q->ring)
		return (int)kevent_take_some_(q, event, 1, &wakes);
	do {
		n = kevent_get_events(q->fd, 0, 1, NULL, event, 0);
		if (n <= 0)
			return n;
	} while (!kevent_drop_wakes_(q, event, 1, &wakes));
	return 1;
}

EXPORT int ec_poll_event(ec_t ec, event_data_t *event)
{
	int n;

	if (!ec || !event)
		return fail(EINVAL);
	if (kevent_check_(&ec->queue))
		return -1;
	if (ec->queue.ring) {
		if (kevent_must_serve_(&ec->queue) && kevent_serve_(&ec->queue, 0) < 0)
			return -1;
		if (take(&ec->queue, event))
			return 0;
		if (kevent_serve_(&ec->queue, 0) < 0)
			return -1;
	}
	n = take(&ec->queue, event);
	if (n < 0)
		return -1;
	return n ? 0 : fail(EAGAIN);
}

/*
 * kevent_wait() as a cancellation point.  Between the two calls of pthread_setcanceltype()
 * the thread owns nothing.
 */
static int wait_cancellable(struct ec *ec, struct kevent_wait *wait)
{
	int type, error = 0, ret;

	__atomic_fetch_add(&ec->waiting, 1, __ATOMIC_SEQ_CST);
	pthread_cleanup_push(cancelled, ec);
	pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, &type);
	ret = kevent_wait(ec->queue.fd, wait, sizeof(*wait));
	error = errno;
	pthread_setcanceltype(type, NULL);
	pthread_cleanup_pop(0);
	__atomic_fetch_sub(&ec->waiting, 1, __ATOMIC_SEQ_CST);
	errno = error;
	return ret;
}

static int wait_event(ec_t ec, event_data_t *event, const struct timespec *abstime)
{
	struct __kernel_timespec end = { 0, 0 };
	struct kevent_queue *q;
	struct kevent_wait wait;
	int n;

	if (!ec || !event)
		return fail(EINVAL);
	q = &ec->queue;
	if (abstime) {
		if (abstime->tv_nsec < 0 || abstime->tv_nsec >= SEC_NS || abstime->tv_sec < 0)
			return fail(EINVAL);
		end.tv_sec = abstime->tv_sec;
		end.tv_nsec = abstime->tv_nsec;
	}
	pthread_testcancel();
	if (kevent_check_(q))
		return -1;
	if (q->ring && kevent_must_serve_(q) && kevent_serve_(q, 0) < 0)
		return -1;

	for (;;) {
		n = take(q, event);
		if (n)
			return n < 0 ? -1 : 0;

		memset(&wait, 0, sizeof(wait));
		wait.clockid = CLOCK_MONOTONIC;
		wait.min_nr = 1;
		if (abstime) {
			wait.flags = KEVENT_WAIT_ABSTIME;
			wait.timeout = (__u64)(uintptr_t)&end;
		}
		__atomic_store_n(&q->consumed, 0, __ATOMIC_RELAXED);
		wait.seen = kevent_cursor(q);
		n = wait_cancellable(ec, &wait);
		if (n < 0)
			return -1;
		if (!n && abstime) {
			n = take(q, event);
			if (n)
				return n < 0 ? -1 : 0;
			return fail(ETIMEDOUT);
		}
	}
}

EXPORT int ec_wait_event(ec_t ec, event_data_t *event)
{
	return wait_event(ec, event, NULL);
}

EXPORT int ec_timedwait_event(ec_t ec, event_data_t *event, const struct timespec *abstime)
{
	if (!abstime)
		return fail(EINVAL);
	return wait_event(ec, event, abstime);
}
