/* SPDX-License-Identifier: MIT */
/*
 * kqueue(2) on kevent queues without a ring: a knote is a watch, and kevent() is
 * kevent_get_events(2), which reports levels that hold.
 *
 * The table of knotes, by (ident, filter), is here; the kernel knows a knote by the user data of its
 * watch, which is a place in the table and how often that was used.  So an event that was under
 * way when its knote went finds no knote.
 */
#define _GNU_SOURCE
#include <sys/event.h>

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/time_types.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "calls.h"

#define EXPORT __attribute__((visibility("default")))
#define SEC_NS 1000000000LL
#define NONE UINT32_MAX

/* What a knote's amounts come from. */
enum kind { KIND_NONE, KIND_POLL, KIND_SOCKET };

struct knote {
	struct kevent_watch w;	/* as the kernel has it; user_data names this place */
	struct kevent kev;	/* ident, filter; flags, fflags as asked for; udata */
	uint32_t uses;		/* of this place */
	uint32_t next;		/* in the hash chain, or in the free list */
	int pidfd;		/* EVFILT_PROC; -1 */
	unsigned char used, disabled, kind, dir;
};

struct kq {
	pthread_mutex_t lock;
	unsigned int refs;
	int fd;
	struct knote *notes;
	uint32_t nr, max, free;
	uint32_t *buckets;
	uint32_t nr_buckets;
	uint32_t in_use;
};

/* --- which descriptors are queues --- */

static pthread_mutex_t registry_lock = PTHREAD_MUTEX_INITIALIZER;
static struct kq **registry;
static int registry_size;

static void kq_free(struct kq *kq)
{
	for (uint32_t i = 0; i < kq->nr; i++)
		if (kq->notes[i].used && kq->notes[i].pidfd >= 0)
			close(kq->notes[i].pidfd);
	pthread_mutex_destroy(&kq->lock);
	free(kq->notes);
	free(kq->buckets);
	free(kq);
}

static void kq_put(struct kq *kq)
{
	if (__atomic_sub_fetch(&kq->refs, 1, __ATOMIC_ACQ_REL) == 0)
		kq_free(kq);
}

static struct kq *kq_get(int fd)
{
	struct kq *kq = NULL;

	pthread_mutex_lock(&registry_lock);
	if (fd >= 0 && fd < registry_size)
		kq = registry[fd];
	if (kq)
		__atomic_add_fetch(&kq->refs, 1, __ATOMIC_RELAXED);
	pthread_mutex_unlock(&registry_lock);
	if (!kq)
		errno = EBADF;
	return kq;
}

/* The program has closed it, which only the kernel saw. */
static void kq_forget(struct kq *kq)
{
	int found = 0;

	pthread_mutex_lock(&registry_lock);
	if (kq->fd < registry_size && registry[kq->fd] == kq) {
		registry[kq->fd] = NULL;
		found = 1;
	}
	pthread_mutex_unlock(&registry_lock);
	if (found)
		kq_put(kq);
}

static void before_fork(void)
{
	pthread_mutex_lock(&registry_lock);
}

static void after_fork_parent(void)
{
	pthread_mutex_unlock(&registry_lock);
}

/* Queues are not inherited.  Their memory stays: another thread may have been changing it. */
static void after_fork_child(void)
{
	for (int i = 0; i < registry_size; i++)
		registry[i] = NULL;
	pthread_mutex_unlock(&registry_lock);
}

static void once(void)
{
	pthread_atfork(before_fork, after_fork_parent, after_fork_child);
}

EXPORT int kqueue1(int flags)
{
	static pthread_once_t done = PTHREAD_ONCE_INIT;
	struct kevent_create args;
	struct kq *kq, *old;
	int fd;

	if (flags & ~O_CLOEXEC) {
		errno = EINVAL;
		return -1;
	}
	pthread_once(&done, once);
	kq = calloc(1, sizeof(*kq));
	if (!kq)
		return -1;
	memset(&args, 0, sizeof(args));
	fd = sys_create(&args, sizeof(args), 0);
	if (fd < 0) {
		free(kq);
		return -1;
	}
	pthread_mutex_init(&kq->lock, NULL);
	kq->refs = 1;
	kq->fd = fd;
	kq->free = NONE;

	pthread_mutex_lock(&registry_lock);
	if (fd >= registry_size) {
		int size = fd < 512 ? 1024 : fd * 2;
		struct kq **more = realloc(registry, (size_t)size * sizeof(*more));

		if (!more) {
			pthread_mutex_unlock(&registry_lock);
			close(fd);
			kq_free(kq);
			errno = ENOMEM;
			return -1;
		}
		memset(more + registry_size, 0, (size_t)(size - registry_size) * sizeof(*more));
		registry = more;
		registry_size = size;
	}
	old = registry[fd];
	registry[fd] = kq;
	pthread_mutex_unlock(&registry_lock);
	if (old)
		kq_put(old);
	return fd;
}

EXPORT int kqueue(void)
{
	return kqueue1(0);
}

/* --- the table --- */

static uint32_t bucket(const struct kq *kq, uintptr_t ident, short filter)
{
	uint64_t h = ((uint64_t)ident ^ (uint64_t)(uint16_t)filter << 48) * 0x9e3779b97f4a7c15ULL;

	return (uint32_t)(h >> 32) & (kq->nr_buckets - 1);
}

static struct knote *lookup(struct kq *kq, uintptr_t ident, short filter)
{
	uint32_t i;

	if (!kq->nr_buckets)
		return NULL;
	for (i = kq->buckets[bucket(kq, ident, filter)]; i != NONE; i = kq->notes[i].next)
		if (kq->notes[i].kev.ident == ident && kq->notes[i].kev.filter == filter)
			return &kq->notes[i];
	return NULL;
}

/* By the user data of an event. */
static struct knote *named(struct kq *kq, uint64_t user_data)
{
	uint32_t i = (uint32_t)user_data;

	if (i >= kq->nr || !kq->notes[i].used || kq->notes[i].uses != user_data >> 32)
		return NULL;
	return &kq->notes[i];
}

static int grow(struct kq *kq)
{
	uint32_t i, nr = kq->nr_buckets ? kq->nr_buckets * 2 : 64;
	uint32_t *buckets = malloc(nr * sizeof(*buckets));

	if (!buckets)
		return ENOMEM;
	for (i = 0; i < nr; i++)
		buckets[i] = NONE;
	free(kq->buckets);
	kq->buckets = buckets;
	kq->nr_buckets = nr;
	for (i = 0; i < kq->nr; i++) {
		struct knote *kn = &kq->notes[i];
		uint32_t b;

		if (!kn->used)
			continue;
		b = bucket(kq, kn->kev.ident, kn->kev.filter);
		kn->next = buckets[b];
		buckets[b] = i;
	}
	return 0;
}

static struct knote *insert(struct kq *kq, uintptr_t ident, short filter)
{
	struct knote *kn;
	uint32_t i, b, uses;

	if (kq->in_use >= kq->nr_buckets && grow(kq))
		return NULL;
	if (kq->free != NONE) {
		i = kq->free;
		kq->free = kq->notes[i].next;
	} else {
		if (kq->nr == kq->max) {
			uint32_t max = kq->max ? kq->max * 2 : 32;
			struct knote *more = realloc(kq->notes, max * sizeof(*more));

			if (!more)
				return NULL;
			kq->notes = more;
			kq->max = max;
		}
		i = kq->nr++;
		kq->notes[i].uses = 0;
	}
	kn = &kq->notes[i];
	uses = kn->uses + 1;
	memset(kn, 0, sizeof(*kn));
	kn->uses = uses;
	kn->used = 1;
	kn->pidfd = -1;
	kn->kev.ident = ident;
	kn->kev.filter = filter;
	kn->w.user_data = (uint64_t)uses << 32 | i;
	b = bucket(kq, ident, filter);
	kn->next = kq->buckets[b];
	kq->buckets[b] = i;
	kq->in_use++;
	return kn;
}

/* Takes it out of the table; its watch is gone already or goes by closing. */
static void erase(struct kq *kq, struct knote *kn)
{
	uint32_t i = (uint32_t)(kn - kq->notes);
	uint32_t *p = &kq->buckets[bucket(kq, kn->kev.ident, kn->kev.filter)];

	while (*p != i)
		p = &kq->notes[*p].next;
	*p = kn->next;
	if (kn->pidfd >= 0)
		close(kn->pidfd);
	kn->used = 0;
	kn->next = kq->free;
	kq->free = i;
	kq->in_use--;
}

/* --- what each filter watches --- */

static unsigned int vnode_events(unsigned int fflags, int dir)
{
	unsigned int ev = 0;

	if (fflags & NOTE_DELETE)
		ev |= KEVENT_INODE_DELETE;
	if (fflags & NOTE_WRITE)
		ev |= KEVENT_INODE_MODIFY;
	if (fflags & NOTE_EXTEND)
		ev |= KEVENT_INODE_EXTEND;
	if (dir && (fflags & (NOTE_WRITE | NOTE_EXTEND)))
		ev |= KEVENT_INODE_CHILD_CREATED | KEVENT_INODE_CHILD_DELETED |
		      KEVENT_INODE_CHILD_MOVED_OUT | KEVENT_INODE_CHILD_MOVED_IN;
	if (fflags & NOTE_ATTRIB)
		ev |= KEVENT_INODE_ATTRIB;
	if (fflags & NOTE_LINK)
		ev |= KEVENT_INODE_LINK;
	if (fflags & NOTE_RENAME)
		ev |= KEVENT_INODE_RENAME;
	if (fflags & NOTE_OPEN)
		ev |= KEVENT_INODE_OPEN;
	if (fflags & NOTE_CLOSE)
		ev |= KEVENT_INODE_CLOSE_NOWRITE;
	if (fflags & NOTE_CLOSE_WRITE)
		ev |= KEVENT_INODE_CLOSE_WRITE;
	if (fflags & NOTE_TRUNCATE)
		ev |= KEVENT_INODE_TRUNCATE;
	return ev;
}

static unsigned int vnode_notes(unsigned int ev)
{
	const unsigned int in_out = KEVENT_INODE_CHILD_CREATED | KEVENT_INODE_CHILD_DELETED |
				    KEVENT_INODE_CHILD_MOVED_OUT | KEVENT_INODE_CHILD_MOVED_IN;
	unsigned int fflags = 0;

	if (ev & KEVENT_INODE_DELETE)
		fflags |= NOTE_DELETE;
	if (ev & (KEVENT_INODE_MODIFY | in_out))
		fflags |= NOTE_WRITE;
	if (ev & (KEVENT_INODE_EXTEND | in_out))
		fflags |= NOTE_EXTEND;
	if (ev & KEVENT_INODE_ATTRIB)
		fflags |= NOTE_ATTRIB;
	if (ev & KEVENT_INODE_LINK)
		fflags |= NOTE_LINK;
	if (ev & KEVENT_INODE_RENAME)
		fflags |= NOTE_RENAME;
	if (ev & KEVENT_INODE_OPEN)
		fflags |= NOTE_OPEN;
	if (ev & KEVENT_INODE_CLOSE_NOWRITE)
		fflags |= NOTE_CLOSE;
	if (ev & KEVENT_INODE_CLOSE_WRITE)
		fflags |= NOTE_CLOSE_WRITE;
	if (ev & KEVENT_INODE_TRUNCATE)
		fflags |= NOTE_TRUNCATE;
	return fflags;
}

static int prepare_timer(struct knote *kn, const struct kevent *kev)
{
	long long unit = 1000000, ns;

	switch (kev->fflags & ~(unsigned int)NOTE_ABSTIME) {
	case NOTE_SECONDS:
		unit = SEC_NS;
		break;
	case 0:
	case NOTE_MSECONDS:
		break;
	case NOTE_USECONDS:
		unit = 1000;
		break;
	case NOTE_NSECONDS:
		unit = 1;
		break;
	default:
		return EINVAL;
	}
	if (kev->data < 0)
		return EINVAL;
	ns = kev->data > INT64_MAX / unit ? INT64_MAX : kev->data * unit;
	kn->w.arg[0] = kn->w.arg[1] = (uint64_t)(ns ? ns : 1);
	kn->w.arg[2] = CLOCK_MONOTONIC;
	kn->w.flags &= ~KEVENT_WATCH_ABSTIME;
	if (kev->fflags & NOTE_ABSTIME) {
		kn->w.arg[0] = (uint64_t)ns;
		kn->w.arg[1] = 0;
		kn->w.arg[2] = CLOCK_REALTIME;
		kn->w.flags |= KEVENT_WATCH_ABSTIME;
	}
	if (kev->flags & EV_ONESHOT)
		kn->w.arg[1] = 0;
	return 0;
}

/* Fills @kn->w from @kev; @is_new: what the knote is of, too.  Returns 0 or an errno. */
static int prepare(struct knote *kn, const struct kevent *kev, int is_new)
{
	struct kevent_watch *w = &kn->w;
	struct stat st;

	w->flags = 0;
	if (kev->flags & EV_ONESHOT)
		w->flags |= KEVENT_WATCH_ONESHOT;
	else if (kev->flags & EV_DISPATCH)
		w->flags |= KEVENT_WATCH_DISPATCH;
	else if (kev->flags & EV_CLEAR)
		w->flags |= KEVENT_WATCH_EDGE;

	switch (kev->filter) {
	case EVFILT_READ:
	case EVFILT_WRITE:
		if (kev->ident > INT_MAX)
			return EBADF;
		if (kev->fflags & ~(unsigned int)NOTE_LOWAT)
			return ENOTSUP;
		if (is_new) {
			if (fstat((int)kev->ident, &st))
				return EBADF;
			kn->kind = S_ISSOCK(st.st_mode) ? KIND_SOCKET : KIND_POLL;
			w->source = kn->kind == KIND_SOCKET ? KEVENT_SOURCE_SOCKET : KEVENT_SOURCE_POLL;
			w->ident = kev->ident;
		}
		w->arg[0] = w->arg[1] = 0;
		if (kn->kind == KIND_SOCKET) {
			int mark = kev->filter == EVFILT_WRITE;

			w->events = mark ? KEVENT_SOCKET_OUT : KEVENT_SOCKET_IN | KEVENT_SOCKET_ACCEPT;
			if (kev->fflags & NOTE_LOWAT)
				w->arg[mark] = kev->data < 0 ? 0 : (uint64_t)kev->data;
		} else {
			if (kev->fflags & NOTE_LOWAT && kev->data > 1)
				return ENOTSUP;
			w->events = kev->filter == EVFILT_READ ? KEVENT_POLL_IN | KEVENT_POLL_RDHUP :
								 KEVENT_POLL_OUT;
		}
		return 0;
	case EVFILT_VNODE:
		if (kev->ident > INT_MAX)
			return EBADF;
		if (kev->fflags & ~0xbffU)
			return ENOTSUP;
		if (is_new) {
			if (fstat((int)kev->ident, &st))
				return EBADF;
			kn->dir = S_ISDIR(st.st_mode);
			w->source = KEVENT_SOURCE_INODE;
			w->ident = kev->ident;
		}
		w->flags &= ~KEVENT_WATCH_EDGE;
		w->events = vnode_events(kev->fflags, kn->dir);
		return w->events ? 0 : EINVAL;
	case EVFILT_PROC:
	case EVFILT_PROCDESC:
		if (kev->fflags & ~(NOTE_EXIT | NOTE_EXEC))
			return ENOTSUP;
		if (!(kev->fflags & (NOTE_EXIT | NOTE_EXEC)))
			return EINVAL;
		if (kev->ident > INT_MAX)
			return kev->filter == EVFILT_PROC ? ESRCH : EBADF;
		if (is_new) {
			w->source = KEVENT_SOURCE_PROCESS;
			w->ident = kev->ident;
			if (kev->filter == EVFILT_PROC) {
				kn->pidfd = (int)syscall(SYS_pidfd_open, (pid_t)kev->ident, 0);
				if (kn->pidfd < 0)
					return errno == EINVAL ? ESRCH : errno;
				w->ident = (uint64_t)kn->pidfd;
			}
		}
		/* Once: a level would be reported until the process is waited for. */
		w->flags |= w->flags & (KEVENT_WATCH_ONESHOT | KEVENT_WATCH_DISPATCH) ? 0 : KEVENT_WATCH_EDGE;
		w->events = (kev->fflags & NOTE_EXIT ? KEVENT_PROCESS_EXIT : 0) |
			    (kev->fflags & NOTE_EXEC ? KEVENT_PROCESS_EXEC : 0);
		return 0;
	case EVFILT_SIGNAL:
		if (is_new) {
			if (!kev->ident || kev->ident >= NSIG)
				return EINVAL;
			w->source = KEVENT_SOURCE_SIGNAL;
			w->ident = kev->ident;
		}
		w->flags &= ~KEVENT_WATCH_EDGE;
		w->events = KEVENT_SIGNAL_SENT;
		return 0;
	case EVFILT_TIMER:
		w->source = KEVENT_SOURCE_TIMER;
		w->events = KEVENT_TIMER_EXPIRED;
		w->flags &= ~KEVENT_WATCH_EDGE;
		return prepare_timer(kn, kev);
	case EVFILT_USER:
		w->source = KEVENT_SOURCE_USER;
		w->events = 1;
		return 0;
	default:
		return kev->filter <= 0 && kev->filter >= -EVFILT_SYSCOUNT && kev->filter ? ENOTSUP : EINVAL;
	}
}

/* Makes a call on one watch.  Returns 0 or an errno. */
static int modify(struct kq *kq, struct knote *kn, unsigned int flags)
{
	if (!flags)
		return 0;
	return sys_modify(kq->fd, &kn->w, sizeof(kn->w), 1, flags) == 1 ? 0 : errno;
}

/* --- EVFILT_USER --- */

static int user_trigger(struct kq *kq, const struct knote *kn)
{
	struct kevent_watch record = kn->w;

	if (sys_modify(kq->fd, &record, sizeof(record), 1, KEVENT_MODIFY_TRIGGER) == 1)
		return 0;
	/* It was ONESHOT, and its event is yet to be met. */
	return errno == ENOENT ? 0 : errno;
}

static void user_flags(struct knote *kn, unsigned int fflags)
{
	unsigned int value = fflags & NOTE_FFLAGSMASK;

	switch (fflags & NOTE_FFCTRLMASK) {
	case NOTE_FFAND:
		kn->kev.fflags &= value;
		break;
	case NOTE_FFOR:
		kn->kev.fflags |= value;
		break;
	case NOTE_FFCOPY:
		kn->kev.fflags = value;
		break;
	}
}

/* --- changes --- */

static int add(struct kq *kq, const struct kevent *kev, struct knote **made)
{
	struct knote *kn = insert(kq, kev->ident, kev->filter);
	int error;

	if (!kn)
		return ENOMEM;
	error = prepare(kn, kev, 1);
	if (!error) {
		if (kev->flags & EV_DISABLE)
			kn->w.flags |= KEVENT_WATCH_DISABLED;
		if (sys_add(kq->fd, &kn->w, sizeof(kn->w), 1, 0) != 1)
			error = errno;
		kn->w.flags &= ~KEVENT_WATCH_DISABLED;
		/* The kernel has no such class, or cannot watch such a file. */
		if (error == ENOSYS || (error == EPERM && kn->kind == KIND_POLL))
			error = ENOTSUP;
	}
	if (error) {
		erase(kq, kn);
		return error;
	}
	*made = kn;
	return 0;
}

static int change(struct kq *kq, const struct kevent *kev)
{
	struct knote *kn = lookup(kq, kev->ident, kev->filter), *old;
	int error, is_new = 0;

	if (kev->filter >= 0 || kev->filter < -EVFILT_SYSCOUNT)
		return EINVAL;

	if (kev->flags & EV_ADD) {
		if (kn) {
			struct kevent_watch before = kn->w;
			unsigned int what = KEVENT_MODIFY_MODE;

			error = prepare(kn, kev, 0);
			if (error) {
				kn->w = before;
				return error;
			}
			if (kn->w.events != before.events)
				what |= KEVENT_MODIFY_EVENTS;
			if (kev->filter == EVFILT_TIMER || memcmp(kn->w.arg, before.arg, sizeof(before.arg)))
				what |= KEVENT_MODIFY_ARG;
			error = modify(kq, kn, what);
			if (error == ENOENT) { /* its descriptor was closed: another file */
				erase(kq, kn);
				kn = NULL;
			} else if (error) {
				kn->w = before;
				return error;
			}
		}
		if (!kn) {
			error = add(kq, kev, &kn);
			if (error)
				return error;
			is_new = 1;
			kn->disabled = !!(kev->flags & EV_DISABLE);
		}
		if (is_new || !(kev->flags & EV_KEEPUDATA))
			kn->kev.udata = kev->udata;
		kn->kev.flags = kev->flags & (EV_ONESHOT | EV_CLEAR | EV_DISPATCH);
		if (kev->filter == EVFILT_SIGNAL || kev->filter == EVFILT_TIMER)
			kn->kev.flags |= EV_CLEAR;
		if (kev->filter != EVFILT_USER)
			kn->kev.fflags = kev->fflags;
	} else if (!kn) {
		return ENOENT;
	}

	if (kev->flags & EV_DELETE) {
		error = 0;
		if (sys_remove(kq->fd, &kn->w.handle, 1, 0) != 1)
			error = errno;
		erase(kq, kn);
		return error;
	}

	if (kev->filter == EVFILT_USER) {
		user_flags(kn, kev->fflags);
		if (kev->fflags & NOTE_TRIGGER) {
			kn->kev.data = kev->data;
			if (!(kev->flags & EV_ADD) && !(kev->flags & EV_KEEPUDATA) && kev->udata)
				kn->kev.udata = kev->udata;
		}
	}
	old = kn;
	error = 0;
	if ((kev->flags & EV_DISABLE) && !is_new) {
		kn->disabled = 1;
		error = modify(kq, kn, KEVENT_MODIFY_DISABLE);
	}
	if (kev->flags & EV_ENABLE) {
		kn->disabled = 0;
		error = modify(kq, kn, KEVENT_MODIFY_ENABLE);
	}
	if (error == ENOENT)
		erase(kq, old);
	if (error)
		return error;
	return kev->filter == EVFILT_USER && kev->fflags & NOTE_TRIGGER ? user_trigger(kq, kn) : 0;
}

/* --- events --- */

static long long ioctl_amount(int fd, unsigned long request)
{
	int value = 0;

	return ioctl(fd, request, &value) ? -1 : value;
}

static void poll_amount(struct knote *kn, const struct kevent_event *ev, struct kevent *out)
{
	int fd = (int)kn->kev.ident;
	long long n;

	if (out->filter == EVFILT_READ) {
		n = ioctl_amount(fd, FIONREAD);
		out->data = n >= 0 ? n : 1; /* there is something, in its own unit */
		if (ev->events & (KEVENT_POLL_HUP | KEVENT_POLL_RDHUP))
			out->flags |= EV_EOF;
	} else {
		n = fcntl(fd, F_GETPIPE_SZ);
		if (n > 0)
			n -= ioctl_amount(fd, FIONREAD);
		out->data = n > 0 ? n : 1;
		if (ev->events & (KEVENT_POLL_HUP | KEVENT_POLL_ERR))
			out->flags |= EV_EOF;
	}
}

/* Turns @ev into @out; 0 if it has nothing for the program. */
static int convert(struct kq *kq, const struct kevent_event *ev, struct kevent *out)
{
	struct knote *kn = named(kq, ev->user_data);

	if (!kn || ev->info & KEVENT_INFO_POSTED)
		return 0;
	if (kn->disabled) {
		/* It was under way.  That it was triggered is kept. */
		if (kn->kev.filter == EVFILT_USER)
			user_trigger(kq, kn);
		return 0;
	}

	memset(out, 0, sizeof(*out));
	out->ident = kn->kev.ident;
	out->filter = kn->kev.filter;
	out->flags = kn->kev.flags;
	out->udata = kn->kev.udata;
	out->data = ev->data;

	switch (kn->kev.filter) {
	case EVFILT_READ:
	case EVFILT_WRITE:
		if (kn->kind == KIND_POLL) {
			poll_amount(kn, ev, out);
			break;
		}
		if (kn->kev.filter == EVFILT_WRITE)
			out->data = KEVENT_SOCKET_SPACE(ev->extra);
		if (ev->events & KEVENT_SOCKET_CLOSED ||
		    (kn->kev.filter == EVFILT_READ && ev->events & KEVENT_SOCKET_EOF)) {
			out->flags |= EV_EOF;
			out->fflags = KEVENT_SOCKET_ERRNO(ev->extra);
		}
		break;
	case EVFILT_VNODE:
		out->fflags = vnode_notes(ev->events) & kn->kev.fflags;
		out->data = 0;
		if (!out->fflags)
			return 0;
		break;
	case EVFILT_PROC:
	case EVFILT_PROCDESC:
		out->data = 0;
		if (ev->events & KEVENT_PROCESS_EXEC)
			out->fflags |= NOTE_EXEC;
		if (ev->events & (KEVENT_PROCESS_EXIT | KEVENT_PROCESS_REAPED)) {
			out->fflags |= NOTE_EXIT;
			out->flags |= EV_EOF | EV_ONESHOT;
			out->data = ev->data;
		}
		out->fflags &= kn->kev.fflags;
		if (!out->fflags)
			return 0;
		break;
	case EVFILT_USER:
		out->fflags = kn->kev.fflags;
		out->data = kn->kev.data;
		if (kn->kev.flags & EV_CLEAR) {
			kn->kev.fflags = 0;
			kn->kev.data = 0;
		}
		break;
	}

	if (out->flags & EV_ONESHOT) {
		/* The kernel removes its ONESHOT watches; not that of a process. */
		if (!(kn->w.flags & KEVENT_WATCH_ONESHOT))
			sys_remove(kq->fd, &kn->w.handle, 1, 0);
		erase(kq, kn);
		return 1;
	}
	if (out->flags & EV_DISPATCH)
		kn->disabled = 1;
	if (kn->kev.filter == EVFILT_USER && !(out->flags & (EV_CLEAR | EV_DISPATCH)))
		user_trigger(kq, kn); /* a level: it stays triggered */
	return 1;
}

static int events(struct kq *kq, struct kevent *list, int max, const struct timespec *timeout)
{
	/* At the end of the list: what was converted never reaches what was not. */
	char *batch = (char *)list + (size_t)max * (sizeof(*list) - sizeof(struct kevent_event));
	struct __kernel_timespec end = { 0, 0 };
	int sleep = !timeout || timeout->tv_sec || timeout->tv_nsec;
	int out = 0;

	if (timeout && (timeout->tv_sec < 0 || timeout->tv_nsec < 0 || timeout->tv_nsec >= SEC_NS)) {
		errno = EINVAL;
		return -1;
	}
	if (timeout && sleep) {
		struct timespec now;

		clock_gettime(CLOCK_MONOTONIC, &now);
		end.tv_nsec = (long long)now.tv_nsec + timeout->tv_nsec;
		end.tv_sec = (long long)now.tv_sec + end.tv_nsec / SEC_NS +
			     (timeout->tv_sec > INT_MAX ? INT_MAX : timeout->tv_sec);
		end.tv_nsec %= SEC_NS;
	}

	do {
		int i, n = sys_get_events(kq->fd, sleep ? 1 : 0, (unsigned int)max,
					  sleep && timeout ? &end : NULL, (struct kevent_event *)(void *)batch,
					  sleep && timeout ? KEVENT_WAIT_ABSTIME : 0);

		if (n < 0) {
			if (errno == EINVAL) { /* the number is another file's by now */
				kq_forget(kq);
				errno = EBADF;
			}
			return -1;
		}
		if (!n)
			return 0;
		pthread_mutex_lock(&kq->lock);
		for (i = 0; i < n; i++) {
			struct kevent_event ev;

			memcpy(&ev, batch + (size_t)i * sizeof(ev), sizeof(ev));
			out += convert(kq, &ev, &list[out]);
		}
		pthread_mutex_unlock(&kq->lock);
	} while (!out);
	return out;
}

EXPORT int kevent(int fd, const struct kevent *changelist, int nchanges, struct kevent *eventlist,
		  int nevents, const struct timespec *timeout)
{
	int i, error, out = 0, ret;
	struct kq *kq;

	if (nchanges < 0 || nevents < 0 || (nchanges && !changelist) || (nevents && !eventlist)) {
		errno = EINVAL;
		return -1;
	}
	kq = kq_get(fd);
	if (!kq)
		return -1;

	pthread_mutex_lock(&kq->lock);
	for (i = 0; i < nchanges; i++) {
		struct kevent kev = changelist[i];

		error = change(kq, &kev);
		if (!error && !(kev.flags & EV_RECEIPT))
			continue;
		if (out < nevents) {
			eventlist[out] = kev;
			eventlist[out].flags = EV_ERROR;
			eventlist[out++].data = error;
		} else if (error) {
			pthread_mutex_unlock(&kq->lock);
			kq_put(kq);
			errno = error;
			return -1;
		}
	}
	pthread_mutex_unlock(&kq->lock);

	ret = out || !nevents ? out : events(kq, eventlist, nevents, timeout);
	error = errno;
	kq_put(kq);
	errno = error;
	return ret;
}
