/* SPDX-License-Identifier: MIT */
/*
 * Event channels, with the calls that were proposed for Linux in November 2006.
 *
 * A channel is a queue from which any number of threads take one event at a time.
 * An event wakes one thread.  ec_wait_event() and ec_timedwait_event() are
 * cancellation points; a thread that is cancelled there has taken nothing, and hands
 * on the wake-up that it may just have got.
 */
#ifndef KEVENT_EC_H
#define KEVENT_EC_H

#include <kevent.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct ec *ec_t;
typedef struct kevent_event event_data_t;

/* ec_create(): no ring; each event costs a system call */
#define EC_NO_RING	(1U << 0)

/*
 * Makes a channel.  @flags: 0 or EC_NO_RING.  NULL with errno: EINVAL, ENOSYS,
 * ENOMEM, EMFILE, ENFILE.
 */
ec_t ec_create(unsigned int flags);

/*
 * Ends it, with all of its watches.  No thread may be using it: EBUSY if one waits.
 * EINVAL: NULL.
 */
int ec_destroy(ec_t ec);

/* The queue, for kevent_watch_add(), kevent_post(2) and the like; not for taking. */
struct kevent_queue *ec_queue(ec_t ec);

/* Takes an event if there is one: 0.  Never sleeps.  EAGAIN: there is none. */
int ec_poll_event(ec_t ec, event_data_t *event);

/* Takes an event, and waits for it.  Errors: EINTR, EACCES (in a child), EINVAL. */
int ec_wait_event(ec_t ec, event_data_t *event);

/*
 * The same, until @abstime (CLOCK_MONOTONIC), as pthread_cond_clockwait(): a point in
 * time, so that a loop around it is correct.  ETIMEDOUT: there was none.
 */
int ec_timedwait_event(ec_t ec, event_data_t *event, const struct timespec *abstime);

#ifdef __cplusplus
}
#endif

#endif /* KEVENT_EC_H */
