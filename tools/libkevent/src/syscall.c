/* SPDX-License-Identifier: MIT */
/* The seven system calls. */
#define _GNU_SOURCE
#include <kevent.h>
#include <unistd.h>

#include "numbers.h"

#define WEAK __attribute__((weak))

WEAK int kevent_create(struct kevent_create *args, size_t usize, unsigned int sources)
{
	return (int)syscall(__NR_kevent_create, args, usize, sources);
}

WEAK int kevent_add(int fd, struct kevent_watch *watches, size_t wsize, unsigned int nr,
		    unsigned int flags)
{
	return (int)syscall(__NR_kevent_add, fd, watches, wsize, nr, flags);
}

WEAK int kevent_modify(int fd, struct kevent_watch *watches, size_t wsize, unsigned int nr,
		       unsigned int flags)
{
	return (int)syscall(__NR_kevent_modify, fd, watches, wsize, nr, flags);
}

WEAK int kevent_remove(int fd, const __u64 *handles, unsigned int nr, unsigned int flags)
{
	return (int)syscall(__NR_kevent_remove, fd, handles, nr, flags);
}

WEAK int kevent_post(int fd, const struct kevent_event *events, size_t esize, unsigned int nr,
		     unsigned int flags)
{
	return (int)syscall(__NR_kevent_post, fd, events, esize, nr, flags);
}

WEAK int kevent_wait(int fd, struct kevent_wait *args, size_t usize)
{
	return (int)syscall(__NR_kevent_wait, fd, args, usize);
}

WEAK int kevent_get_events(int fd, unsigned int min_nr, unsigned int max_nr,
			   const struct __kernel_timespec *timeout, struct kevent_event *events,
			   unsigned int flags)
{
	return (int)syscall(__NR_kevent_get_events, fd, min_nr, max_nr, timeout, events, flags);
}

int kevent_get_events_ms(int ctl_fd, unsigned int min_nr, unsigned int max_nr,
			 unsigned int timeout_ms, void *buf, unsigned int flags)
{
	struct __kernel_timespec time;

	if (flags & KEVENT_WAIT_ABSTIME) { /* milliseconds of what? */
		errno = EINVAL;
		return -1;
	}
	time.tv_sec = timeout_ms / 1000;
	time.tv_nsec = (long long)(timeout_ms % 1000) * 1000000;
	return kevent_get_events(ctl_fd, min_nr, max_nr, &time, (struct kevent_event *)buf, flags);
}
