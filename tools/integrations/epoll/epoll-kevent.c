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
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <kevent.h>

#define MAX_EPOLLS 65536
#define BATCH 64

/* The watches of a queue: handles by descriptor. */
struct epoll {
	pthread_mutex_t lock;
	__u64 *handles;
	unsigned int room;
};

static struct epoll *epolls[MAX_EPOLLS];

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

static int make(int flags)
{
	static int said;
	struct kevent_create args;
	struct epoll *ep;
	int fd;

	if (getenv("NO_KEVENT"))
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
	ep = fd < MAX_EPOLLS ? calloc(1, sizeof(*ep)) : NULL;
	if (!ep) {
		close(fd);
		errno = ENOMEM;
		return -1;
	}
	pthread_mutex_init(&ep->lock, NULL);
	/* One that was closed and had this number stays: a thread may be in a call on it. */
	__atomic_store_n(&epolls[fd], ep, __ATOMIC_RELEASE);
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

static struct epoll *find(int epfd)
{
	return epfd >= 0 && epfd < MAX_EPOLLS ? __atomic_load_n(&epolls[epfd], __ATOMIC_ACQUIRE) : NULL;
}

static int grow(struct epoll *ep, int fd)
{
	unsigned int room = ep->room ? ep->room : 64;
	__u64 *handles;

	while (room <= (unsigned int)fd)
		room *= 2;
	if (room == ep->room)
		return 0;
	handles = realloc(ep->handles, room * sizeof(*handles));
	if (!handles)
		return -1;
	memset(handles + ep->room, 0, (room - ep->room) * sizeof(*handles));
	ep->handles = handles;
	ep->room = room;
	return 0;
}

static int change(struct epoll *ep, int epfd, int op, int fd, struct epoll_event *event)
{
	const unsigned int what = KEVENT_MODIFY_EVENTS | KEVENT_MODIFY_MODE |
				  KEVENT_MODIFY_USER_DATA | KEVENT_MODIFY_ENABLE;
	__u64 *handle = &ep->handles[fd];
	struct kevent_watch w;
	unsigned int flags = 0;

	if (op == EPOLL_CTL_DEL) {
		__u64 old = *handle;

		*handle = 0;
		if (!old) {
			errno = ENOENT;
			return -1;
		}
		return kevent_remove(epfd, &old, 1, 0) == 1 ? 0 : -1;
	}
	if (event->events & EPOLLET)
		flags |= KEVENT_WATCH_EDGE;
	if (event->events & EPOLLONESHOT)
		flags |= KEVENT_WATCH_DISPATCH;
	if (event->events & EPOLLEXCLUSIVE)
		flags |= KEVENT_WATCH_EXCLUSIVE;
	/* ERR and HUP are reported whether asked for or not. */
	kevent_prep_poll(&w, fd, event->events & 0x3fff & ~(EPOLLERR | EPOLLHUP), flags, event->data.u64);
	w.handle = *handle;

	if (op == EPOLL_CTL_MOD) {
		if (!*handle) {
			errno = ENOENT;
			return -1;
		}
		return kevent_modify(epfd, &w, sizeof(w), 1, what) == 1 ? 0 : -1;
	}
	if (*handle) {
		/* One that was closed has no watch any more. */
		struct kevent_watch same = w;

		if (kevent_modify(epfd, &same, sizeof(same), 1, KEVENT_MODIFY_MODE) == 1) {
			errno = EEXIST;
			return -1;
		}
	}
	if (kevent_add(epfd, &w, sizeof(w), 1, 0) != 1)
		return -1;
	*handle = w.handle;
	return 0;
}

int epoll_ctl(int epfd, int op, int fd, struct epoll_event *event)
{
	struct epoll *ep = find(epfd);
	int ret = -1;

	if (!ep)
		return REAL(epoll_ctl)(epfd, op, fd, event);
	if (op != EPOLL_CTL_ADD && op != EPOLL_CTL_MOD && op != EPOLL_CTL_DEL) {
		errno = EINVAL;
		return -1;
	}
	if (fcntl(fd, F_GETFD) < 0)
		return -1;
	if (!event && op != EPOLL_CTL_DEL) {
		errno = EFAULT;
		return -1;
	}
	pthread_mutex_lock(&ep->lock);
	if (!grow(ep, fd))
		ret = change(ep, epfd, op, fd, event);
	pthread_mutex_unlock(&ep->lock);
	return ret;
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

	if (!find(epfd))
		return REAL(epoll_wait)(epfd, events, max, timeout);
	return take(epfd, events, max, timeout < 0 ? NULL : &ts, timeout != 0);
}

/* The mask is not changed and restored in one step with sleeping, as epoll does it. */
int epoll_pwait(int epfd, struct epoll_event *events, int max, int timeout, const sigset_t *mask)
{
	sigset_t old;
	int ret, error;

	if (!find(epfd))
		return REAL(epoll_pwait)(epfd, events, max, timeout, mask);
	if (mask)
		pthread_sigmask(SIG_SETMASK, mask, &old);
	ret = epoll_wait(epfd, events, max, timeout);
	error = errno;
	if (mask)
		pthread_sigmask(SIG_SETMASK, &old, NULL);
	errno = error;
	return ret;
}
