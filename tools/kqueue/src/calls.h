/* SPDX-License-Identifier: MIT */
/*
 * The system calls, under names of this library's own: what it exports is kqueue(), kqueue1()
 * and kevent(), and nothing that programs or other kqueue libraries may have too.  Tests make
 * them calls of a simulated kernel.
 */
#ifndef CALLS_H
#define CALLS_H

#include <kevent/uapi.h>
#include <stddef.h>

#ifdef KQUEUE_SIMULATED
#include <kevent.h>
#define sys_create	kevent_create
#define sys_add		kevent_add
#define sys_modify	kevent_modify
#define sys_remove	kevent_remove
#define sys_get_events	kevent_get_events
#else
#include "numbers.h"

static inline int sys_create(struct kevent_create *args, size_t usize, unsigned int sources)
{
	return (int)syscall(__NR_kevent_create, args, usize, sources);
}

static inline int sys_add(int fd, struct kevent_watch *w, size_t size, unsigned int nr,
			  unsigned int flags)
{
	return (int)syscall(__NR_kevent_add, fd, w, size, nr, flags);
}

static inline int sys_modify(int fd, struct kevent_watch *w, size_t size, unsigned int nr,
			     unsigned int flags)
{
	return (int)syscall(__NR_kevent_modify, fd, w, size, nr, flags);
}

static inline int sys_remove(int fd, const __u64 *handles, unsigned int nr, unsigned int flags)
{
	return (int)syscall(__NR_kevent_remove, fd, handles, nr, flags);
}

static inline int sys_get_events(int fd, unsigned int min_nr, unsigned int max_nr,
				 const struct __kernel_timespec *timeout,
				 struct kevent_event *events, unsigned int flags)
{
	return (int)syscall(__NR_kevent_get_events, fd, min_nr, max_nr, timeout, events, flags);
}
#endif

#endif /* CALLS_H */
