// SPDX-License-Identifier: MIT
/*
 * epoll on kevent queues, for programs as they are: LD_PRELOAD=libepoll-kevent.so.
 *
 * epoll_wait() is kevent_get_events(2): a level is tested when it is taken, so blocking
 * descriptors work as ever.  On a kernel without kevent, and with NO_KEVENT in the
 * environment, everything goes to the C library.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <kevent.h>

#define MAX_EPOLLS 65536
#define BATCH 64

/* Which descriptors are queues. One that was closed stays, until the number is one again. */
static char queues[MAX_EPOLLS];

/* Looking for a watch and adding one is one step. */
static pthread_mutex_t adding = PTHREAD_MUTEX_INITIALIZER;

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

/* Some programs clear their environment. */
static int off;

__attribute__((constructor)) static void see_environment(void)
{
	off = getenv("NO_KEVENT") != NULL;
}

static int make(int flags)
{
	static int said;
	struct kevent_create args;
	int fd;

	if (off)
		return REAL(epoll_create1)(flags);
	if (flags & ~EPOLL_CLOEXEC) {
		errno = EINVAL;
		return -1;
	}
	memset(&args, 0, sizeof(args));
	fd = kevent_create(&args, sizeof(args), 1U << KEVENT_SOURCE_POLL);
	if (fd < 0 && errno == ENOSYS) {
		if (!__atomic_exchange_n(&said, 1, __ATOMIC_RELAXED))
			fprintf(stderr, "epoll-kevent: no kevent in this kernel: epoll is used\n");
		return REAL(epoll_create1)(flags);
	}
	if (fd < 0)
		return -1;
	if (fd >= MAX_EPOLLS) {
		close(fd);
		errno = EMFILE;
		return -1;
	}
	__atomic_store_n(&queues[fd], 1, __ATOMIC_RELEASE);
	return fd;
}

int epoll_create1(int flags)
{
	return make(flags);
}

int epoll_create(int size)
{
	if (size <= 0) {
		errno = EINVAL;
		return -1;
	}
	return make(0);
}

static int is_queue(int epfd)
{
	return epfd >= 0 && epfd < MAX_EPOLLS && __atomic_load_n(&queues[epfd], __ATOMIC_ACQUIRE);
}

static int modify(int epfd, const struct kevent_watch *w, unsigned int what)
{
	struct kevent_watch record = *w;

	return kevent_modify(epfd, &record, sizeof(record), 1, KEVENT_MODIFY_BY_IDENT | what) == 1 ? 0 : -1;
}

static int add(int epfd, struct kevent_watch *w)
{
	int ret = -1;

	pthread_mutex_lock(&adding);
	/* A watch of files has no arguments to change: is there one? */
	if (!modify(epfd, w, KEVENT_MODIFY_ARG))
		errno = EEXIST;
	else if (errno == ENOENT)
		ret = kevent_add(epfd, w, sizeof(*w), 1, 0) == 1 ? 0 : -1;
	pthread_mutex_unlock(&adding);
	return ret;
}

int epoll_ctl(int epfd, int op, int fd, struct epoll_event *event)
{
	const unsigned int what = KEVENT_MODIFY_EVENTS | KEVENT_MODIFY_MODE |
				  KEVENT_MODIFY_USER_DATA | KEVENT_MODIFY_ENABLE;
	struct kevent_watch w;
	unsigned int flags = 0;

	if (!is_queue(epfd))
		return REAL(epoll_ctl)(epfd, op, fd, event);
	if (op == EPOLL_CTL_DEL) {
		kevent_prep_poll(&w, fd, 0, 0, 0);
		return modify(epfd, &w, KEVENT_MODIFY_REMOVE);
	}
	if (op != EPOLL_CTL_ADD && op != EPOLL_CTL_MOD) {
		errno = EINVAL;
		return -1;
	}
	if (!event) {
		errno = EFAULT;
		return -1;
	}
	if (event->events & EPOLLET)
		flags |= KEVENT_WATCH_EDGE;
	if (event->events & EPOLLONESHOT)
		flags |= KEVENT_WATCH_DISPATCH;
	if (event->events & EPOLLEXCLUSIVE)
		flags |= KEVENT_WATCH_EXCLUSIVE;
	/* ERR and HUP are reported whether asked for or not. */
	kevent_prep_poll(&w, fd, event->events & 0x3fff & ~(EPOLLERR | EPOLLHUP), flags, event->data.u64);
	return op == EPOLL_CTL_MOD ? modify(epfd, &w, what) : add(epfd, &w);
}

static int take(int epfd, struct epoll_event *events, int max, const struct __kernel_timespec *timeout,
		int sleep)
{
	struct kevent_event got[BATCH];
	int i, n;

	if (max <= 0) {
		errno = EINVAL;
		return -1;
	}
	n = kevent_get_events(epfd, sleep, max < BATCH ? max : BATCH, timeout, got, 0);
	for (i = 0; i < n; i++) {
		events[i].events = got[i].events;
		events[i].data.u64 = got[i].user_data;
	}
	return n;
}

int epoll_wait(int epfd, struct epoll_event *events, int max, int timeout)
{
	struct __kernel_timespec ts = { timeout / 1000, timeout % 1000 * 1000000L };

	if (!is_queue(epfd))
		return REAL(epoll_wait)(epfd, events, max, timeout);
	return take(epfd, events, max, timeout < 0 ? NULL : &ts, timeout != 0);
}

/* The mask is not changed and restored in one step with sleeping, as epoll does it. */
static int masked(int epfd, struct epoll_event *events, int max, const struct __kernel_timespec *timeout,
		  int sleep, const sigset_t *mask)
{
	sigset_t old;
	int ret, error;

	if (mask)
		pthread_sigmask(SIG_SETMASK, mask, &old);
	ret = take(epfd, events, max, timeout, sleep);
	error = errno;
	if (mask)
		pthread_sigmask(SIG_SETMASK, &old, NULL);
	errno = error;
	return ret;
}

int epoll_pwait(int epfd, struct epoll_event *events, int max, int timeout, const sigset_t *mask)
{
	struct __kernel_timespec ts = { timeout / 1000, timeout % 1000 * 1000000L };

	if (!is_queue(epfd))
		return REAL(epoll_pwait)(epfd, events, max, timeout, mask);
	return masked(epfd, events, max, timeout < 0 ? NULL : &ts, timeout != 0, mask);
}

int epoll_pwait2(int epfd, struct epoll_event *events, int max, const struct timespec *timeout,
		 const sigset_t *mask)
{
	struct __kernel_timespec ts;

	if (!is_queue(epfd))
		return REAL(epoll_pwait2)(epfd, events, max, timeout, mask);
	if (timeout) {
		ts.tv_sec = timeout->tv_sec;
		ts.tv_nsec = timeout->tv_nsec;
	}
	return masked(epfd, events, max, timeout ? &ts : NULL,
		      !timeout || timeout->tv_sec || timeout->tv_nsec, mask);
}

/* For those who call the newest one by its number. */
long syscall(long number, ...)
{
	static __typeof__(&syscall) real;
	long arg[6];
	va_list list;
	int i;

	va_start(list, number);
	for (i = 0; i < 6; i++)
		arg[i] = va_arg(list, long);
	va_end(list);
	if (number == SYS_epoll_pwait2 && is_queue((int)arg[0]))
		return epoll_pwait2((int)arg[0], (struct epoll_event *)arg[1], (int)arg[2],
				    (const struct timespec *)arg[3], (const sigset_t *)arg[4]);
	if (!real)
		real = REAL(syscall);
	return real(number, arg[0], arg[1], arg[2], arg[3], arg[4], arg[5]);
}
