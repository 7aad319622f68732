/* SPDX-License-Identifier: MIT */
/*
 * libkevent: kevent queues for C and C++ programs.
 *
 * Three layers, which may be mixed:
 *
 *	kevent_create() ... kevent_get_events()	the seven system calls, as they are
 *	kevent_queue_*, kevent_watch_*, kevent_prep_*, kevent_take*
 *						a queue with its ring
 *	kevent_next()				events, whichever way they come
 *
 * <kevent/ec.h> has event channels on top.
 *
 * Unless it says otherwise a function returns 0 or a count, or -1 with errno.
 * Functions that can only fail by errors of a system call list those that a
 * correct program meets; Documentation/userspace-api/kevent.rst has all.
 *
 * Times are struct timespec, and nanoseconds where the name ends in _ns.
 */
#ifndef KEVENT_H
#define KEVENT_H

#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <time.h>

#include <linux/aio_abi.h>
#include <linux/time_types.h>
#include <kevent/uapi.h>

#define LIBKEVENT_VERSION_MAJOR	0
#define LIBKEVENT_VERSION_MINOR	1

#ifdef __cplusplus
extern "C" {
#endif

/*
 * With LIBKEVENT_NO_INLINE, and for those who bind the -ffi library, all that is
 * inline here is an ordinary function of that library.
 */
#ifdef LIBKEVENT_FFI_SOURCE
#define KEVENT_INLINE
#elif defined(LIBKEVENT_NO_INLINE)
#define KEVENT_INLINE	/* declared only */
#define KEVENT_DECLARE_ONLY
#else
#define KEVENT_INLINE	static inline
#endif

/*
 * System calls, by the kernel's names.  Weak: what the program, or a library before this one,
 * defines is used instead, and a C library that has them does not clash.
 * All return -1 with errno.  ENOSYS: the kernel has no kevent.
 */
int kevent_create(struct kevent_create *args, size_t usize, unsigned int sources);
int kevent_add(int fd, struct kevent_watch *watches, size_t wsize,
	       unsigned int nr, unsigned int flags);
int kevent_modify(int fd, struct kevent_watch *watches, size_t wsize,
		  unsigned int nr, unsigned int flags);
int kevent_remove(int fd, const __u64 *handles, unsigned int nr, unsigned int flags);
int kevent_post(int fd, const struct kevent_event *events, size_t esize,
		unsigned int nr, unsigned int flags);
int kevent_wait(int fd, struct kevent_wait *args, size_t usize);
int kevent_get_events(int fd, unsigned int min_nr, unsigned int max_nr,
		      const struct __kernel_timespec *timeout,
		      struct kevent_event *events, unsigned int flags);

/*
 * The call as it was proposed in 2006: a time in milliseconds, a buffer of any
 * type.  @timeout_ms 0 does not sleep; there is no value for "forever" (the
 * largest is 49 days).  @buf has room for @max_nr struct kevent_event.  Returns
 * how many were copied.  Errors: EINVAL, EINTR, EFAULT, EBADF, EACCES.
 */
int kevent_get_events_ms(int ctl_fd, unsigned int min_nr, unsigned int max_nr,
			 unsigned int timeout_ms, void *buf, unsigned int flags);

/**
 * struct kevent_queue - a queue, and its ring if it has one
 * @fd: its descriptor; -1 if there is no queue
 * @entries: slots in the ring, a power of two; 0 without a ring, or if it is
 *	not mapped
 * @shift: log2 of @entries
 * @flags: what kevent_create(2) got
 * @ring: the mapping, or NULL
 * @slots: the slots in it
 * @features: KEVENT_FEATURE_* bits of the kernel
 * @mmap_size: length of the mapping in bytes
 * @entries_offset: where the slots begin in it, in bytes
 * @consumed: events taken since the kernel last looked
 * @waking: whether kevent_wake() has posted something that is unconsumed
 * @generation: which process made this: see kevent_queue_is_mine()
 *
 * May be used by any number of threads at once, but for kevent_queue_init(),
 * _map() and _exit().  It belongs to the process (the address space) that made
 * it, as the queue does: in a child all functions fail with EACCES, and
 * kevent_take() finds nothing.  The fields are for reading.
 */
struct kevent_queue {
	int fd;
	__u32 entries;
	__u32 shift;
	__u32 flags;
	struct kevent_ring *ring;
	struct kevent_event *slots;
	__u64 features;
	__u64 mmap_size;
	__u32 entries_offset;
	__u32 consumed;
	__u32 waking;
	__u32 generation;
	__u64 resv[4];
};

/* A queue that is none: every call on it fails with EBADF. */
#define KEVENT_QUEUE_NONE { -1, 0, 0, 0, NULL, NULL, 0, 0, 0, 0, 0, 0, { 0, 0, 0, 0 } }

/**
 * struct kevent_probe - what the running kernel has
 * @features: KEVENT_FEATURE_* bits, 0 without kevent
 * @supported: 1 if the kernel has kevent, else 0
 */
struct kevent_probe {
	__u64 features;
	__u32 supported;
	__u32 resv[5];
};

/*
 * Fills @probe.  Returns 0 also on a kernel without kevent (ENOSYS), where
 * @supported is 0.  -1: it cannot be known (EMFILE, ENFILE, ENOMEM; EPERM or
 * whatever else a seccomp filter says).
 */
int kevent_probe(struct kevent_probe *probe);

/*
 * Makes a queue and maps its ring.  @entries: slots wanted, 0 for no ring, at
 * most KEVENT_MAX_ENTRIES.  @sources: mask of 1U << KEVENT_SOURCE_*, the classes it
 * may ever use; 0 for all; kevent_wake() needs USER.  @flags: KEVENT_CREATE_*.
 * On failure @q is KEVENT_QUEUE_NONE, and there is nothing to undo.  Errors: ENOSYS,
 * EINVAL, ENOMEM (also RLIMIT_MEMLOCK), EMFILE, ENFILE, EPERM.  ENOSYS also means a kernel
 * that grants no ring where one was asked for: its kevent is not the one of this header.
 */
int kevent_queue_init(struct kevent_queue *q, unsigned int entries,
		      unsigned int sources, unsigned int flags);

/* The same with all arguments of kevent_create(2); its answers are in @args. */
int kevent_queue_init_args(struct kevent_queue *q, struct kevent_create *args,
			   unsigned int sources);

/*
 * Makes @q of a queue that exists already, whose descriptor @fd is @q's from here
 * on, and maps its ring, with what kevent_create(2) answered in @args.  If that
 * fails @fd stays the caller's.  With @args->ring_entries 0 nothing is mapped: so a process
 * that was passed the descriptor of a KEVENT_CREATE_SHARED queue uses it.  Errors: EINVAL
 * (@fd is no queue, or @args is not what its kevent_create(2) answered), EACCES (the ring of
 * another process' queue), EBADF, ENOMEM, ENOSYS.
 */
int kevent_queue_map(struct kevent_queue *q, int fd, const struct kevent_create *args);

/*
 * Unmaps and closes; @q is KEVENT_QUEUE_NONE then.  Closing wakes no thread: no other
 * thread may be using @q.  Twice is harmless.
 */
void kevent_queue_exit(struct kevent_queue *q);

/*
 * Watches.  Each function is a system call with one record; kevent_add(2) and
 * kevent_modify(2) take many at once.
 *
 * _add() puts the handle into @w.  _set() changes what @what says
 * (KEVENT_MODIFY_EVENTS, _MODE, _USER_DATA, _ARG, or several) to what is in @w.
 * _trigger() fires a watch of KEVENT_SOURCE_USER.  After _remove() no event of the
 * watch will come.  Errors: ENOENT (no such watch, or not any more; of
 * _remove() also: its last event was taken), EINVAL, EBADF, EPERM (the seal),
 * EACCES, ENOSYS (no such class), ENOSPC (a limit), ENOMEM; @w->result has the
 * negated error of _add(), _set(), _enable(), _disable() and _trigger().
 */
int kevent_watch_add(struct kevent_queue *q, struct kevent_watch *w);
int kevent_watch_set(struct kevent_queue *q, struct kevent_watch *w, unsigned int what);
int kevent_watch_enable(struct kevent_queue *q, struct kevent_watch *w);
int kevent_watch_disable(struct kevent_queue *q, struct kevent_watch *w);
int kevent_watch_trigger(struct kevent_queue *q, struct kevent_watch *w, unsigned int events);
int kevent_watch_remove(struct kevent_queue *q, struct kevent_watch *w);

/*
 * kevent_watch_put(), kevent_watch_set_named(), kevent_watch_remove_named(): the same by
 * name, for programs that keep no handles.  @w.source and @w.ident, a descriptor of the
 * calling task's table, name the watch.
 *
 * _put() changes that watch in everything to what is in @w, or adds one.
 * _set_named() changes what @what says, also KEVENT_MODIFY_ENABLE and _DISABLE.  Both put
 * the handle into @w.  Errors: as above; EEXIST (several watches have that name),
 * EBUSY (_put(): another thread is adding one), EINVAL (not a class of descriptors, or a
 * kernel without KEVENT_FEATURE_BY_IDENT).
 */
/*
 * Takes up to @max events, and sleeps for the first one if there is none.
 * @timeout: how long, on CLOCK_MONOTONIC; NULL for ever, 0 for not at all.
 *
 * Returns how many events it has taken; 0 if the time is over or after
 * kevent_wake().  Works with and without a ring, and in any number of threads.
 * The events are as from kevent_get_events(2): KEVENT_INFO_MERGED() is in @info,
 * and counts include the merges.  What the ring's flags and the fairness of levels
 * need (kevent_wait(2) with min_nr 0) it does on the way, when the program has
 * come back for more, so levels are not looked at while it handles them.
 *
 * Errors: EINTR (a signal; call it again if nothing else is to be done), EACCES
 * (in a child of the process that made the queue), EINVAL (@max 0 or above
 * INT_MAX, a time that is none), EBADF (no queue).
 */
int kevent_next(struct kevent_queue *q, struct kevent_event *events, unsigned int max,
		const struct timespec *timeout);

/*
 * kevent_next() of one event, which keeps its slot as kevent_take_begin() does: for programs that
 * say that they have exhausted a level.  After 1 kevent_take_end() with @index has to follow, in
 * every queue; without a ring that does nothing.  Errors: as above.
 */
int kevent_next_begin(struct kevent_queue *q, struct kevent_event *ev, __u32 *index,
		      const struct timespec *timeout);

/*
 * Brings one thread out of kevent_next() that sleeps there, or the next one that
 * would.  It returns 0, or events if there are some.  Calls before anybody has met
 * the first one count as one.  To be called from any thread, and from signal
 * handlers.  Errors: EPERM (the queue was made without KEVENT_SOURCE_USER),
 * EAGAIN (more events wait than the kernel keeps: a thread is awake), EBADF, EACCES.
 */
int kevent_wake(struct kevent_queue *q);

/* The text of what is not an event but a kevent_wake(); see kevent_is_wake(). */
#define KEVENT_WAKE_DATA	0x6b6576656e747721ULL
#define KEVENT_WAKE_EVENTS	0x8000U

/*
 * Prepares @sev for timer_create(2) and mq_notify(3) with the queue @fd.  The C library
 * may not know SIGEV_KEVENT: then make the system call itself.  @user_data comes back in
 * kevent_event.user_data; for numbers see KEVENT_SIGVAL_INT().
 */
struct sigevent;
void kevent_prep_sigevent(struct sigevent *sev, int fd, void *user_data);

#ifdef KEVENT_DECLARE_ONLY

int kevent_queue_is_mine(const struct kevent_queue *q);
int kevent_is_wake(struct kevent_queue *q, const struct kevent_event *ev);
int kevent_take_begin(struct kevent_queue *q, struct kevent_event *ev, __u32 *index);
void kevent_take_end(struct kevent_queue *q, __u32 index, int exhausted);
int kevent_take(struct kevent_queue *q, struct kevent_event *ev);
int kevent_take_shared(struct kevent_queue *q, struct kevent_event *ev);
__u32 kevent_cursor(const struct kevent_queue *q);
__u32 kevent_ring_flags(const struct kevent_queue *q);
int kevent_watch_put(struct kevent_queue *q, struct kevent_watch *w);
int kevent_watch_set_named(struct kevent_queue *q, struct kevent_watch *w, unsigned int what);
int kevent_watch_remove_named(struct kevent_queue *q, struct kevent_watch *w);
void kevent_prep(struct kevent_watch *w, __u32 source, __u64 ident, __u32 events,
		 __u32 flags, __u64 user_data);
void kevent_prep_poll(struct kevent_watch *w, int fd, __u32 events, __u32 flags,
		      __u64 user_data);
void kevent_prep_socket(struct kevent_watch *w, int fd, __u32 events, __u32 flags,
			__u64 user_data);
void kevent_prep_socket_marks(struct kevent_watch *w, int fd, __u32 events,
			      __u64 receive, __u64 send, __u32 flags, __u64 user_data);
void kevent_prep_signal(struct kevent_watch *w, int signo, __u32 flags, __u64 user_data);
void kevent_prep_timer(struct kevent_watch *w, int clock, __u64 first_ns,
		       __u64 interval_ns, __u64 slack_ns, __u32 flags, __u64 user_data);
void kevent_prep_process(struct kevent_watch *w, int pidfd, __u32 events, __u32 flags,
			 __u64 user_data);
void kevent_prep_inode(struct kevent_watch *w, int fd, __u32 events, __u32 flags,
		       __u64 user_data);
void kevent_prep_futex(struct kevent_watch *w, const __u32 *word, __u32 futex_flags,
		       __u32 events, __u32 flags, __u64 user_data);
void kevent_prep_futex_expect(struct kevent_watch *w, const __u32 *word, __u32 futex_flags,
			      __u32 seen, __u32 flags, __u64 user_data);
void kevent_prep_user(struct kevent_watch *w, __u32 flags, __u64 user_data);
void kevent_prep_iocb(struct iocb *iocb, int fd, __u64 user_data);

#else
#include <kevent/inline.h>
#endif

/*
 * One round: at most as many events as the ring has slots, by one consumer.  What
 * follows such a loop is kevent_next() or kevent_wait(2), so that levels are looked
 * at again.  Takes nothing in a queue without a ring.
 *
 *	struct kevent_event ev;
 *
 *	kevent_for_each(&q, &ev)
 *		handle(&ev);
 */
#define kevent_for_each(q, ev)						\
	for (__u32 kevent_left_ = (q)->entries;				\
	     kevent_left_ && kevent_take((q), (ev)); kevent_left_--)

#ifdef __cplusplus
}
#endif

#endif /* KEVENT_H */
