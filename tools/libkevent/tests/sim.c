/* SPDX-License-Identifier: MIT */
/* See sim.h. */
#define _GNU_SOURCE
#include "sim.h"
#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define QUEUES 1024
#define WAITERS 64

enum { EMPTY, ON, OFF };

struct sim_watch {
	struct kevent_watch w;
	int state;
	__u32 generation;
	__u32 pending;		/* USER: triggered while disabled */
	__u32 entry;		/* index of its unconsumed entry */
	int has_entry;
};

struct waiter {
	int used;
	int woken;		/* futex */
	unsigned long since;
};

struct queue {
	int used;
	ino_t ino;
	struct kevent_create args;
	struct kevent_ring *ring;
	struct kevent_event *slots;
	__u32 next;
	unsigned long slept;
	struct kevent_event *backlog;
	unsigned int nr_backlog, max_backlog;
	struct sim_watch *watches;
	__u32 nr_watches;
	struct waiter waiters[WAITERS];
};

static struct queue queues[QUEUES];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

__u64 sim_features;
int sim_error;
unsigned int sim_creates, sim_waits, sim_rechecks, sim_gets, sim_posts, sim_wake_nexts;

static int no(int error)
{
	errno = error;
	return -1;
}

/* The lock, without asynchronous cancellation: "in the kernel".  Nothing there is a cancellation point. */
static int enter(void)
{
	int state;

	pthread_setcanceltype(PTHREAD_CANCEL_DEFERRED, &state);
	pthread_mutex_lock(&lock);
	return state;
}

static void leave(int state)
{
	pthread_mutex_unlock(&lock);
	pthread_setcanceltype(state, NULL);
}

static struct queue *find(int fd)
{
	struct stat st;

	if (fstat(fd, &st)) {
		errno = EBADF;
		return NULL;
	}
	for (int i = 0; i < QUEUES; i++)
		if (queues[i].used && queues[i].ino == st.st_ino)
			return &queues[i];
	errno = EINVAL;
	return NULL;
}

int kevent_create(struct kevent_create *args, size_t usize, unsigned int sources)
{
	size_t size = sysconf(_SC_PAGESIZE), length;
	struct queue *q = NULL;
	struct stat st;
	int fd, state;
	void *map;

	(void)sources;
	if (sim_error)
		return no(sim_error);
	if (usize != sizeof(*args) || (args->flags & ~KEVENT_CREATE_SHARED) ||
	    args->entries > KEVENT_MAX_ENTRIES)
		return no(EINVAL);
	fd = memfd_create("kevent", MFD_CLOEXEC);
	if (fd < 0)
		return -1;
	args->ring_entries = 0;
	if (args->entries)
		for (args->ring_entries = 2; args->ring_entries < args->entries;)
			args->ring_entries *= 2;
	args->features = sim_features ? sim_features : ~0ULL;
	length = sizeof(struct kevent_ring) + args->ring_entries * sizeof(struct kevent_event);
	length = (length + size - 1) / size * size;
	if (ftruncate(fd, length) || fstat(fd, &st))
		abort();
	map = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (map == MAP_FAILED)
		abort();
	args->mmap_size = args->entries ? length : 0;
	args->entries_offset = args->entries ? sizeof(struct kevent_ring) : 0;

	state = enter();
	sim_creates++;
	for (int i = 0; i < QUEUES && !q; i++)
		if (!queues[i].used)
			q = &queues[i];
	if (!q)
		abort();
	memset(q, 0, sizeof(*q));
	q->used = 1;
	q->ino = st.st_ino;
	q->args = *args;
	q->ring = map;
	q->ring->entries = args->ring_entries;
	q->ring->entries_offset = args->entries_offset;
	q->ring->event_size = sizeof(struct kevent_event);
	q->slots = (void *)((char *)map + sizeof(struct kevent_ring));
	leave(state);
	return fd;
}

static __u32 lap(struct queue *q, __u32 index)
{
	return (index / q->args.ring_entries & KEVENT_WORD_LAP_MASK) << KEVENT_WORD_LAP_SHIFT;
}

/* Publishes, if there is a free slot. */
static int publish(struct queue *q, const struct kevent_event *ev, __u32 state)
{
	struct kevent_event *slot;
	__u32 word;

	if (!q->args.ring_entries)
		return 0;
	slot = &q->slots[q->next & (q->args.ring_entries - 1)];
	word = __atomic_load_n(&slot->events, __ATOMIC_ACQUIRE);
	if (word & KEVENT_WORD_STATE_MASK)
		return 0;
	slot->user_data = ev->user_data;
	slot->info = ev->info;
	slot->data = ev->data;
	slot->extra = ev->extra;
	__atomic_store_n(&slot->events, (ev->events & KEVENT_EVENTS_MASK) | lap(q, q->next) | state,
			 __ATOMIC_SEQ_CST);
	q->next++;
	return 1;
}

static void set_backlog_flag(struct queue *q)
{
	if (q->nr_backlog)
		__atomic_fetch_or(&q->ring->flags, KEVENT_RING_BACKLOG, __ATOMIC_SEQ_CST);
	else
		__atomic_fetch_and(&q->ring->flags, ~KEVENT_RING_BACKLOG, __ATOMIC_SEQ_CST);
}

static void flush_backlog(struct queue *q)
{
	unsigned int n = 0;

	while (n < q->nr_backlog && publish(q, &q->backlog[n], KEVENT_WORD_READY))
		n++;
	if (n)
		memmove(q->backlog, q->backlog + n, (q->nr_backlog - n) * sizeof(*q->backlog));
	q->nr_backlog -= n;
	set_backlog_flag(q);
}

/* The one that sleeps longest. */
static void wake_one(struct queue *q)
{
	struct waiter *first = NULL;

	for (int i = 0; i < WAITERS; i++) {
		struct waiter *w = &q->waiters[i];

		if (w->used && !__atomic_load_n(&w->woken, __ATOMIC_RELAXED) &&
		    (!first || w->since < first->since))
			first = w;
	}
	if (first) {
		__atomic_store_n(&first->woken, 1, __ATOMIC_SEQ_CST);
		syscall(SYS_futex, &first->woken, FUTEX_WAKE, 1, NULL, NULL, 0);
	}
}

static int post(struct queue *q, const struct kevent_event *ev, int defer)
{
	if (q->nr_backlog)
		flush_backlog(q);
	if (q->nr_backlog || !publish(q, ev, KEVENT_WORD_READY)) {
		if (!defer)
			return 0;
		if (q->nr_backlog == q->max_backlog) {
			q->max_backlog = q->max_backlog ? q->max_backlog * 2 : 16;
			q->backlog = realloc(q->backlog, q->max_backlog * sizeof(*q->backlog));
			if (!q->backlog)
				abort();
		}
		q->backlog[q->nr_backlog++] = *ev;
		set_backlog_flag(q);
	}
	wake_one(q);
	return 1;
}

static unsigned int ready_from(struct queue *q, __u32 seen)
{
	unsigned int n = q->nr_backlog;
	__u32 cursor;

	if (!q->args.ring_entries)
		return n;
	cursor = __atomic_load_n(&q->ring->cursor, __ATOMIC_SEQ_CST);
	if ((__s32)(cursor - seen) > 0)
		seen = cursor;
	return (__s32)(q->next - seen) > 0 ? q->next - seen : 0;
}

static struct sim_watch *watch(struct queue *q, __u64 handle)
{
	__u32 place = (__u32)handle;

	if (place >= q->nr_watches || q->watches[place].state == EMPTY ||
	    q->watches[place].generation != handle >> 32)
		return NULL;
	return &q->watches[place];
}

/* The handle of the watch that has the name in @w, 0 if none has; -1: EEXIST. */
static int named(const struct queue *q, struct kevent_watch *w)
{
	w->handle = 0;
	for (__u32 i = 0; i < q->nr_watches; i++) {
		const struct sim_watch *other = &q->watches[i];

		if (other->state == EMPTY || other->w.source != w->source || other->w.ident != w->ident)
			continue;
		if (w->handle)
			return -1;
		w->handle = (__u64)other->generation << 32 | i;
	}
	return 0;
}

int kevent_add(int fd, struct kevent_watch *watches, size_t wsize, unsigned int nr,
	       unsigned int flags)
{
	const unsigned int all = KEVENT_MODIFY_EVENTS | KEVENT_MODIFY_MODE | KEVENT_MODIFY_USER_DATA |
				 KEVENT_MODIFY_ARG;
	unsigned int done = 0;
	struct queue *q;
	int state;

	if (sim_error)
		return no(sim_error);
	if (wsize != sizeof(*watches) || !nr || flags & ~KEVENT_ADD_UPDATE)
		return no(EINVAL);
	if (flags) {
		q = find(fd);
		if (q && nr == 1 && !named(q, watches) && watches->handle)
			return kevent_modify(fd, watches, wsize, 1, all |
					     (watches->flags & KEVENT_WATCH_DISABLED ?
					      KEVENT_MODIFY_DISABLE : KEVENT_MODIFY_ENABLE));
	}
	state = enter();
	q = find(fd);
	for (; q && done < nr; done++) {
		__u32 i = 0;

		while (i < q->nr_watches && q->watches[i].state != EMPTY)
			i++;
		if (i == q->nr_watches) {
			q->nr_watches = i ? i * 2 : 16;
			q->watches = realloc(q->watches, q->nr_watches * sizeof(*q->watches));
			if (!q->watches)
				abort();
			memset(q->watches + i, 0, (q->nr_watches - i) * sizeof(*q->watches));
		}
		watches[done].result = 0;
		watches[done].handle = (__u64)++q->watches[i].generation << 32 | i;
		q->watches[i].w = watches[done];
		q->watches[i].has_entry = 0;
		q->watches[i].pending = 0;
		q->watches[i].state = watches[done].flags & KEVENT_WATCH_DISABLED ? OFF : ON;
	}
	leave(state);
	return done ? (int)done : -1;
}

static void fire(struct queue *q, struct sim_watch *w, __u32 events, __u32 info, __s64 data,
		 __u64 extra)
{
	struct kevent_event ev = { w->w.user_data, events, info | w->w.source, data, extra };

	if (w->has_entry && q->args.ring_entries) {
		__u32 *p = &q->slots[w->entry & (q->args.ring_entries - 1)].events;
		__u32 word = __atomic_load_n(p, __ATOMIC_ACQUIRE);

		while ((word & (KEVENT_WORD_STATE_MASK | KEVENT_WORD_LAP_MASK << KEVENT_WORD_LAP_SHIFT)) ==
		       (KEVENT_WORD_READY | lap(q, w->entry))) {
			__u32 merged = word >> KEVENT_WORD_MERGED_SHIFT & KEVENT_WORD_MERGED_MAX;
			__u32 more = word | events;

			if (merged < KEVENT_WORD_MERGED_MAX)
				more += 1U << KEVENT_WORD_MERGED_SHIFT;
			if (__atomic_compare_exchange_n(p, &word, more, 0, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
				return;
		}
	}
	/* Without a ring it is in the backlog, if anywhere. */
	for (unsigned int i = 0; !q->args.ring_entries && i < q->nr_backlog; i++)
		if (q->backlog[i].user_data == ev.user_data &&
		    KEVENT_INFO_SOURCE(q->backlog[i].info) == w->w.source &&
		    !(q->backlog[i].info & KEVENT_INFO_POSTED)) {
			q->backlog[i].events |= events;
			return;
		}
	w->entry = q->next;
	w->has_entry = 1;
	post(q, &ev, 1);
	if (w->w.flags & KEVENT_WATCH_ONESHOT)
		w->state = EMPTY;
	if (w->w.flags & KEVENT_WATCH_DISPATCH)
		w->state = OFF;
}

int kevent_modify(int fd, struct kevent_watch *watches, size_t wsize, unsigned int nr,
		  unsigned int flags)
{
	unsigned int done = 0;
	struct queue *q;
	int state;

	if (sim_error)
		return no(sim_error);
	if (wsize != sizeof(*watches) || !nr)
		return no(EINVAL);
	state = enter();
	q = find(fd);
	for (; q && done < nr; done++) {
		int error = flags & KEVENT_MODIFY_BY_IDENT ? named(q, &watches[done]) : 0;
		struct sim_watch *w = watch(q, watches[done].handle);

		if (error) {
			watches[done].result = -EEXIST;
			errno = EEXIST;
			break;
		}
		if (!w) {
			watches[done].result = -ENOENT;
			errno = ENOENT;
			break;
		}
		watches[done].result = 0;
		if (flags & KEVENT_MODIFY_REMOVE)
			w->state = EMPTY;
		if (flags & KEVENT_MODIFY_USER_DATA)
			w->w.user_data = watches[done].user_data;
		if (flags & KEVENT_MODIFY_EVENTS)
			w->w.events = watches[done].events;
		if (flags & KEVENT_MODIFY_ARG)
			memcpy(w->w.arg, watches[done].arg, sizeof(w->w.arg));
		if (flags & KEVENT_MODIFY_MODE)
			w->w.flags = watches[done].flags;
		if (flags & KEVENT_MODIFY_DISABLE)
			w->state = OFF;
		if (flags & KEVENT_MODIFY_ENABLE) {
			w->state = ON;
			if (w->pending)
				fire(q, w, w->pending, 0, 0, 0);
			w->pending = 0;
		}
		if (flags & KEVENT_MODIFY_TRIGGER) {
			if (w->state == ON)
				fire(q, w, watches[done].events, 0, 0, 0);
			else
				w->pending |= watches[done].events;
		}
	}
	leave(state);
	return done ? (int)done : -1;
}

int kevent_remove(int fd, const __u64 *handles, unsigned int nr, unsigned int flags)
{
	unsigned int done = 0;
	struct queue *q;
	int state;

	if (sim_error)
		return no(sim_error);
	if (!nr || flags)
		return no(EINVAL);
	state = enter();
	q = find(fd);
	for (; q && done < nr; done++) {
		struct sim_watch *w = watch(q, handles[done]);

		if (!w) {
			errno = ENOENT;
			break;
		}
		if (w->has_entry && q->args.ring_entries) {
			__u32 *p = &q->slots[w->entry & (q->args.ring_entries - 1)].events;
			__u32 word = __atomic_load_n(p, __ATOMIC_ACQUIRE);

			while ((word & (KEVENT_WORD_STATE_MASK | KEVENT_WORD_LAP_MASK << KEVENT_WORD_LAP_SHIFT)) ==
			       (KEVENT_WORD_READY | lap(q, w->entry)))
				if (__atomic_compare_exchange_n(p, &word, word | KEVENT_WORD_CANCELLED, 0,
								__ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
					break;
		}
		w->state = EMPTY;
	}
	leave(state);
	return done ? (int)done : -1;
}

int kevent_post(int fd, const struct kevent_event *events, size_t esize, unsigned int nr,
		unsigned int flags)
{
	unsigned int done = 0;
	struct queue *q;
	int state;

	if (sim_error)
		return no(sim_error);
	if (esize != sizeof(*events) || !nr || (flags & ~KEVENT_POST_DEFER))
		return no(EINVAL);
	state = enter();
	sim_posts++;
	q = find(fd);
	for (; q && done < nr; done++) {
		struct kevent_event ev = events[done];

		ev.info = KEVENT_SOURCE_USER | KEVENT_INFO_POSTED;
		if (!post(q, &ev, flags & KEVENT_POST_DEFER || !q->args.ring_entries)) {
			errno = EAGAIN;
			break;
		}
	}
	leave(state);
	return done ? (int)done : -1;
}

struct sleep {
	struct queue *q;
	struct waiter *w;
};

/* A cancelled thread sleeps no more; that it was woken is lost. */
static void cancelled(void *arg)
{
	struct sleep *s = arg;
	int state = enter();

	s->w->used = 0;
	leave(state);
}

/* Sleeps until woken or the absolute time; called and returns with the lock. */
static int sleep_once(struct queue *q, const struct __kernel_timespec *end, int state)
{
	struct sleep s = { q, NULL };
	struct timespec ts;
	long ret;
	int error;

	for (int i = 0; i < WAITERS && !s.w; i++)
		if (!q->waiters[i].used)
			s.w = &q->waiters[i];
	if (!s.w)
		abort();
	s.w->used = 1;
	s.w->woken = 0;
	s.w->since = q->slept++;
	if (end) {
		ts.tv_sec = end->tv_sec;
		ts.tv_nsec = end->tv_nsec;
	}
	pthread_cleanup_push(cancelled, &s);
	pthread_mutex_unlock(&lock);
	pthread_setcanceltype(state, NULL);
	ret = syscall(SYS_futex, &s.w->woken, FUTEX_WAIT_BITSET, 0, end ? &ts : NULL, NULL,
		      FUTEX_BITSET_MATCH_ANY);
	error = errno;
	pthread_setcanceltype(PTHREAD_CANCEL_DEFERRED, NULL);
	pthread_mutex_lock(&lock);
	pthread_cleanup_pop(0);
	s.w->used = 0;
	if (__atomic_load_n(&s.w->woken, __ATOMIC_SEQ_CST))
		return 0;
	return ret < 0 && error != EAGAIN ? error : 0;
}

static void absolute(const struct __kernel_timespec *time, int is_absolute, struct __kernel_timespec *end)
{
	struct timespec now;

	*end = *time;
	if (is_absolute)
		return;
	clock_gettime(CLOCK_MONOTONIC, &now);
	end->tv_sec += now.tv_sec + (end->tv_nsec + now.tv_nsec) / 1000000000;
	end->tv_nsec = (end->tv_nsec + now.tv_nsec) % 1000000000;
}

int kevent_wait(int fd, struct kevent_wait *args, size_t usize)
{
	struct __kernel_timespec end;
	int state, n = 0, error = 0;
	struct queue *q;

	if (sim_error)
		return no(sim_error);
	if (usize != sizeof(*args))
		return no(EINVAL);
	if (args->timeout)
		absolute((void *)(uintptr_t)args->timeout, args->flags & KEVENT_WAIT_ABSTIME, &end);
	state = enter();
	q = find(fd);
	if (!q) {
		n = -1;
		goto out;
	}
	if (args->min_nr)
		sim_waits++;
	else
		sim_rechecks++;
	if (args->flags & KEVENT_WAIT_WAKE_NEXT) {
		sim_wake_nexts++;
		wake_one(q);
	}
	__atomic_fetch_and(&q->ring->flags, ~KEVENT_RING_RECHECK, __ATOMIC_SEQ_CST);
	for (;;) {
		if (q->args.ring_entries)
			flush_backlog(q);
		n = (int)ready_from(q, args->seen);
		if ((unsigned int)n >= args->min_nr || error)
			break;
		error = sleep_once(q, args->timeout ? &end : NULL, state);
	}
	if (error == EINTR && !n) {
		errno = EINTR;
		n = -1;
	}
out:
	leave(state);
	return n;
}

int kevent_get_events(int fd, unsigned int min_nr, unsigned int max_nr,
		      const struct __kernel_timespec *timeout, struct kevent_event *events,
		      unsigned int flags)
{
	struct __kernel_timespec end;
	unsigned int n = 0;
	int state, error = 0;
	struct queue *q;

	if (sim_error)
		return no(sim_error);
	if (!max_nr || max_nr > INT_MAX / sizeof(*events) || min_nr > max_nr)
		return no(EINVAL);
	if (timeout)
		absolute(timeout, flags & KEVENT_WAIT_ABSTIME, &end);
	state = enter();
	sim_gets++;
	q = find(fd);
	if (!q) {
		leave(state);
		return -1;
	}
	for (;;) {
		if (q->args.ring_entries) { /* as a consumer */
			struct kevent_queue as = { .fd = fd, .ring = q->ring, .slots = q->slots,
				.entries = q->args.ring_entries,
				.shift = (__u32)__builtin_ctz(q->args.ring_entries),
				.generation = *kevent_process_generation };

			flush_backlog(q);
			while (n < max_nr && kevent_take_shared(&as, &events[n]))
				n++;
		} else {
			while (n < max_nr && q->nr_backlog) {
				events[n++] = q->backlog[0];
				memmove(q->backlog, q->backlog + 1, --q->nr_backlog * sizeof(*q->backlog));
			}
		}
		if (n >= min_nr || error)
			break;
		error = sleep_once(q, timeout ? &end : NULL, state);
	}
	leave(state);
	return error == EINTR && !n ? no(EINTR) : (int)n;
}

void sim_fire(int fd, __u64 handle, __u32 events, __u32 info, __s64 data, __u64 extra)
{
	int state = enter();
	struct queue *q = find(fd);
	struct sim_watch *w = q ? watch(q, handle) : NULL;

	if (w && w->state == ON)
		fire(q, w, events, info, data, extra);
	leave(state);
}

void sim_burn(int fd)
{
	struct kevent_event ev = { 0, 0, 0, 0, 0 };
	int state = enter();

	publish(find(fd), &ev, KEVENT_WORD_CANCELLED);
	leave(state);
}

void sim_start_at(int fd, __u32 index)
{
	int state = enter();
	struct queue *q = find(fd);

	q->next = index;
	q->ring->cursor = index;
	leave(state);
}

void sim_ring_flags(int fd, __u32 set, __u32 clear)
{
	int state = enter();
	struct queue *q = find(fd);

	__atomic_fetch_or(&q->ring->flags, set, __ATOMIC_SEQ_CST);
	__atomic_fetch_and(&q->ring->flags, ~clear, __ATOMIC_SEQ_CST);
	leave(state);
}

unsigned int sim_sleepers(int fd)
{
	int state = enter();
	struct queue *q = find(fd);
	unsigned int n = 0;

	for (int i = 0; i < WAITERS; i++)
		n += q->waiters[i].used && !q->waiters[i].woken;
	leave(state);
	return n;
}

unsigned int sim_watches(int fd)
{
	int state = enter();
	struct queue *q = find(fd);
	unsigned int n = 0;

	for (__u32 i = 0; q && i < q->nr_watches; i++)
		n += q->watches[i].state != EMPTY;
	leave(state);
	return n;
}

__u64 sim_find(int fd, __u32 source, __u64 ident, struct kevent_watch *record)
{
	int state = enter();
	struct queue *q = find(fd);
	__u64 handle = 0;

	for (__u32 i = 0; q && i < q->nr_watches; i++)
		if (q->watches[i].state != EMPTY && q->watches[i].w.source == source &&
		    q->watches[i].w.ident == ident) {
			handle = (__u64)q->watches[i].generation << 32 | i;
			if (record)
				*record = q->watches[i].w;
		}
	leave(state);
	return handle;
}
