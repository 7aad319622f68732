/* SPDX-License-Identifier: MIT */
/* What the files of the library share. */
#ifndef LIB_H
#define LIB_H

#include <kevent.h>

#define HIDDEN __attribute__((visibility("hidden")))
#define EXPORT __attribute__((visibility("default")))

#define SEC_NS 1000000000LL

/* Sets errno and returns -1. */
static inline int fail(int error)
{
	errno = error;
	return -1;
}

/* 0, or -1 with EBADF if there is no queue, or EACCES if it is not this process'. */
HIDDEN int kevent_check_(const struct kevent_queue *q);

/* An absolute time, CLOCK_MONOTONIC, from a span; EINVAL. */
HIDDEN int kevent_deadline_(const struct timespec *span, struct __kernel_timespec *end);

/*
 * kevent_wait(2) with min_nr 0: what the kernel has held back comes into the ring,
 * levels are looked at again.  Forgets how many were consumed.
 */
HIDDEN int kevent_serve_(struct kevent_queue *q, unsigned int flags);

/* Whether it is time for that. */
HIDDEN int kevent_must_serve_(const struct kevent_queue *q);

/*
 * Up to @max events that are no wake-ups out of the ring; @wakes counts those.  May be
 * called by any number of threads.
 */
HIDDEN unsigned int kevent_take_some_(struct kevent_queue *q, struct kevent_event *events,
				      unsigned int max, unsigned int *wakes);

/* Removes the wake-ups from @nr events; @wakes counts them. */
HIDDEN unsigned int kevent_drop_wakes_(struct kevent_queue *q, struct kevent_event *events,
				       unsigned int nr, unsigned int *wakes);

#endif /* LIB_H */
