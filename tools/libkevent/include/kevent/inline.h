/* SPDX-License-Identifier: MIT */
/*
 * What <kevent.h> has inline: the consumer's side of the ring, and the
 * preparation of watches.  Not to be included by itself.
 */
#ifndef KEVENT_INLINE_H
#define KEVENT_INLINE_H

/* Not 0 and the same for as long as a process lives; 0 or another in a child. */
extern const __u32 *kevent_process_generation;

/*
 * Whether the calling process is the one that made @q.  No system call.  Children
 * of fork() are not; those of vfork() and threads are.
 */
KEVENT_INLINE int kevent_queue_is_mine(const struct kevent_queue *q)
{
	const __u32 *generation = __atomic_load_n(&kevent_process_generation, __ATOMIC_RELAXED);

	return generation &&
	       __atomic_load_n(generation, __ATOMIC_RELAXED) == q->generation;
}

/*
 * Whether @ev is only a kevent_wake(), which is noted: the next kevent_wake() posts again.
 * kevent_next() does that by itself.  Who takes out of the ring in other ways asks it of each event
 * of KEVENT_SOURCE_USER, if the program uses kevent_wake().
 */
KEVENT_INLINE int kevent_is_wake(struct kevent_queue *q, const struct kevent_event *ev)
{
	if (ev->user_data != KEVENT_WAKE_DATA || ev->events != KEVENT_WAKE_EVENTS ||
	    ev->extra != KEVENT_WAKE_DATA || KEVENT_INFO_SOURCE(ev->info) != KEVENT_SOURCE_USER)
		return 0;
	/* An exchange: what was written before a kevent_wake() that found 1 is seen from here on. */
	(void)__atomic_exchange_n(&q->waking, 0, __ATOMIC_SEQ_CST);
	return 1;
}

/* The index of the next entry to take: kevent_wait.seen.  0 without a ring. */
KEVENT_INLINE __u32 kevent_cursor(const struct kevent_queue *q)
{
	if (!q->ring || !kevent_queue_is_mine(q))
		return 0;
	return __atomic_load_n(&q->ring->cursor, __ATOMIC_ACQUIRE);
}

/* KEVENT_RING_* flags; 0 without a ring. */
KEVENT_INLINE __u32 kevent_ring_flags(const struct kevent_queue *q)
{
	if (!q->ring || !kevent_queue_is_mine(q))
		return 0;
	return __atomic_load_n(&q->ring->flags, __ATOMIC_RELAXED);
}

/* Watches by name, see <kevent.h>. */
KEVENT_INLINE int kevent_watch_put(struct kevent_queue *q, struct kevent_watch *w)
{
	return kevent_add(q->fd, w, sizeof(*w), 1, KEVENT_ADD_UPDATE) == 1 ? 0 : -1;
}

KEVENT_INLINE int kevent_watch_set_named(struct kevent_queue *q, struct kevent_watch *w,
					 unsigned int what)
{
	return kevent_modify(q->fd, w, sizeof(*w), 1, what | KEVENT_MODIFY_BY_IDENT) == 1 ? 0 : -1;
}

KEVENT_INLINE int kevent_watch_remove_named(struct kevent_queue *q, struct kevent_watch *w)
{
	return kevent_watch_set_named(q, w, KEVENT_MODIFY_REMOVE);
}

/* The lap of @index, where it is in the word. */
#define KEVENT_LAP_OF_(q, index) \
	((((index) >> (q)->shift) & KEVENT_WORD_LAP_MASK) << KEVENT_WORD_LAP_SHIFT)

/*
 * Step 4, of the entry at @index whose word the exchange gave: the event as
 * kevent_get_events(2) has it.  Each field is read once: who breaks the protocol
 * gets wrong events and nothing worse.
 */
static inline void kevent_read_entry_(const struct kevent_event *slot, __u32 word,
				      struct kevent_event *ev)
{
	__u32 merged = (word >> KEVENT_WORD_MERGED_SHIFT) & KEVENT_WORD_MERGED_MAX;
	__u32 info = *(const volatile __u32 *)&slot->info & 0xffffU;
	__u64 data = (__u64)*(const volatile __s64 *)&slot->data;

	if (info & KEVENT_INFO_COUNTED)
		data += merged;
	ev->user_data = *(const volatile __u64 *)&slot->user_data;
	ev->events = word & KEVENT_EVENTS_MASK;
	ev->info = info | merged << 16;
	ev->data = (__s64)data;
	ev->extra = *(const volatile __u64 *)&slot->extra;
}

/*
 * Steps 1 to 4.  @shared is a constant.  Returns 1 with an event, whose slot is the
 * caller's until kevent_take_end(), or 0.
 */
static inline int kevent_begin_(struct kevent_queue *q, struct kevent_event *ev,
				__u32 *at, int shared)
{
	if (!q->ring || !kevent_queue_is_mine(q))
		return 0;

	for (;;) {
		__u32 *cursor = &q->ring->cursor;
		__u32 index = __atomic_load_n(cursor, shared ? __ATOMIC_ACQUIRE : __ATOMIC_RELAXED);
		struct kevent_event *slot = &q->slots[index & (q->entries - 1)];
		__u32 lap = KEVENT_LAP_OF_(q, index);
		__u32 word = __atomic_load_n(&slot->events, __ATOMIC_ACQUIRE);

		/* 1: is it there, in this lap?  READY or CANCELLED */
		if (!(word & KEVENT_WORD_READY) ||
		    (word & KEVENT_WORD_LAP_MASK << KEVENT_WORD_LAP_SHIFT) != lap) {
			/* Unless another consumer was faster between the loads. */
			if (shared && __atomic_load_n(cursor, __ATOMIC_ACQUIRE) != index)
				continue;
			return 0;
		}

		/* 2: it is ours if the cursor is */
		if (!shared)
			__atomic_store_n(cursor, index + 1, __ATOMIC_RELEASE);
		else if (!__atomic_compare_exchange_n(cursor, &index, index + 1, 0,
						      __ATOMIC_ACQ_REL, __ATOMIC_RELAXED))
			continue;

		/* 3: final from here on */
		word = __atomic_exchange_n(&slot->events, KEVENT_WORD_TAKEN, __ATOMIC_ACQ_REL);

		if ((word & KEVENT_WORD_STATE_MASK) == KEVENT_WORD_READY) {
			kevent_read_entry_(slot, word, ev);
			*at = index;
			return 1;
		}

		/*
		 * CANCELLED.  TAKEN or FREE: a program broke the rules, and for the former
		 * has the slot still.
		 */
		if ((word & KEVENT_WORD_STATE_MASK) != KEVENT_WORD_TAKEN)
			__atomic_store_n(&slot->events, KEVENT_WORD_FREE, __ATOMIC_RELEASE);
	}
}

/*
 * Takes the next event and keeps its slot, which kevent_take_end() has to free: for
 * programs that say that they have exhausted what was reported.  @index is for that
 * call.  The ring has one slot less meanwhile, and stops at one that is never freed.
 * Any number of threads may do so.  Returns 1, or 0 if there is nothing.
 */
KEVENT_INLINE int kevent_take_begin(struct kevent_queue *q, struct kevent_event *ev,
				    __u32 *index)
{
	return kevent_begin_(q, ev, index, 1);
}

/*
 * Frees the slot.  @exhausted: after the event was taken, EAGAIN was seen for every bit that
 * was reported, or of a stream of bytes a short read or write, so the level need not be looked
 * at again before something happens.  If that is not true, what is left may never be reported.
 * 0 is always right.  Without KEVENT_FEATURE_EXHAUSTED it is ignored.
 */
KEVENT_INLINE void kevent_take_end(struct kevent_queue *q, __u32 index, int exhausted)
{
	__u32 word = KEVENT_WORD_FREE;

	if (!q->ring || !kevent_queue_is_mine(q))
		return;
	if (exhausted && (q->features & KEVENT_FEATURE_EXHAUSTED))
		word = KEVENT_LAP_OF_(q, index) | KEVENT_WORD_EXHAUSTED;
	__atomic_fetch_add(&q->consumed, 1, __ATOMIC_RELAXED);
	/* 5: the loads of step 4 are over */
	__atomic_store_n(&q->slots[index & (q->entries - 1)].events, word, __ATOMIC_RELEASE);
}

/*
 * Takes the next event out of the ring: one consumer at a time, which nothing else
 * but this thread's own calls may be.  No system call; returns 1, or 0 if
 * there is nothing, in a queue without a ring, and in a child.
 */
KEVENT_INLINE int kevent_take(struct kevent_queue *q, struct kevent_event *ev)
{
	__u32 index;

	if (!kevent_begin_(q, ev, &index, 0))
		return 0;
	__atomic_store_n(&q->consumed, __atomic_load_n(&q->consumed, __ATOMIC_RELAXED) + 1,
			 __ATOMIC_RELAXED);
	__atomic_store_n(&q->slots[index & (q->entries - 1)].events, KEVENT_WORD_FREE,
			 __ATOMIC_RELEASE);
	return 1;
}

/* The same for any number of threads at once. */
KEVENT_INLINE int kevent_take_shared(struct kevent_queue *q, struct kevent_event *ev)
{
	__u32 index;

	if (!kevent_begin_(q, ev, &index, 1))
		return 0;
	__atomic_fetch_add(&q->consumed, 1, __ATOMIC_RELAXED);
	__atomic_store_n(&q->slots[index & (q->entries - 1)].events, KEVENT_WORD_FREE,
			 __ATOMIC_RELEASE);
	return 1;
}

/*
 * Preparation of watches, for kevent_watch_add() or kevent_add(2).  @flags are
 * KEVENT_WATCH_* flags, 0 for level; @user_data comes back in each event.
 */
KEVENT_INLINE void kevent_prep(struct kevent_watch *w, __u32 source, __u64 ident,
			       __u32 events, __u32 flags, __u64 user_data)
{
	memset(w, 0, sizeof(*w));
	w->source = source;
	w->flags = flags;
	w->ident = ident;
	w->events = events;
	w->user_data = user_data;
}

/* @events: KEVENT_POLL_*, which are those of poll(2). */
KEVENT_INLINE void kevent_prep_poll(struct kevent_watch *w, int fd, __u32 events,
				    __u32 flags, __u64 user_data)
{
	kevent_prep(w, KEVENT_SOURCE_POLL, (__u64)(__s64)fd, events, flags, user_data);
}

/* @events: KEVENT_SOCKET_*. */
KEVENT_INLINE void kevent_prep_socket(struct kevent_watch *w, int fd, __u32 events,
				      __u32 flags, __u64 user_data)
{
	kevent_prep(w, KEVENT_SOURCE_SOCKET, (__u64)(__s64)fd, events, flags, user_data);
}

/* The same with low-water marks, in bytes; 0 for none. */
KEVENT_INLINE void kevent_prep_socket_marks(struct kevent_watch *w, int fd, __u32 events,
					    __u64 receive, __u64 send, __u32 flags,
					    __u64 user_data)
{
	kevent_prep(w, KEVENT_SOURCE_SOCKET, (__u64)(__s64)fd, events, flags, user_data);
	w->arg[0] = receive;
	w->arg[1] = send;
}

/* Counts what is sent; with KEVENT_WATCH_TAKE the event is the delivery. */
KEVENT_INLINE void kevent_prep_signal(struct kevent_watch *w, int signo, __u32 flags,
				      __u64 user_data)
{
	kevent_prep(w, KEVENT_SOURCE_SIGNAL, (__u64)(__s64)signo, KEVENT_SIGNAL_SENT,
		    flags, user_data);
}

/*
 * @first_ns: nanoseconds until the first expiration, or with KEVENT_WATCH_ABSTIME
 * its time on @clock (CLOCK_MONOTONIC, CLOCK_REALTIME, CLOCK_BOOTTIME).
 * @interval_ns: between the further ones, 0 for none.  @slack_ns: how late one may be.
 */
KEVENT_INLINE void kevent_prep_timer(struct kevent_watch *w, int clock, __u64 first_ns,
				     __u64 interval_ns, __u64 slack_ns, __u32 flags,
				     __u64 user_data)
{
	kevent_prep(w, KEVENT_SOURCE_TIMER, 0, KEVENT_TIMER_EXPIRED, flags, user_data);
	w->arg[0] = first_ns;
	w->arg[1] = interval_ns;
	w->arg[2] = (__u64)(__s64)clock;
	w->arg[3] = slack_ns;
}

/* @events: KEVENT_PROCESS_*. */
KEVENT_INLINE void kevent_prep_process(struct kevent_watch *w, int pidfd, __u32 events,
				       __u32 flags, __u64 user_data)
{
	kevent_prep(w, KEVENT_SOURCE_PROCESS, (__u64)(__s64)pidfd, events, flags, user_data);
}

/* @fd: a file or directory open for reading.  @events: KEVENT_INODE_*. */
KEVENT_INLINE void kevent_prep_inode(struct kevent_watch *w, int fd, __u32 events,
				     __u32 flags, __u64 user_data)
{
	kevent_prep(w, KEVENT_SOURCE_INODE, (__u64)(__s64)fd, events, flags, user_data);
}

#define KEVENT_FUTEX_SIZE_U32	0x02U	/* FUTEX2_SIZE_U32 */
#define KEVENT_FUTEX_PRIVATE	0x80U	/* FUTEX2_PRIVATE */

/*
 * @futex_flags: 0, or KEVENT_FUTEX_PRIVATE if only this process uses the word.
 * @events: KEVENT_FUTEX_*.
 */
KEVENT_INLINE void kevent_prep_futex(struct kevent_watch *w, const __u32 *word,
				     __u32 futex_flags, __u32 events, __u32 flags,
				     __u64 user_data)
{
	kevent_prep(w, KEVENT_SOURCE_FUTEX, (__u64)(uintptr_t)word, events, flags, user_data);
	w->arg[0] = KEVENT_FUTEX_SIZE_U32 | futex_flags;
}

/* The same for a change from @seen, which the program has last seen there. */
KEVENT_INLINE void kevent_prep_futex_expect(struct kevent_watch *w, const __u32 *word,
					    __u32 futex_flags, __u32 seen, __u32 flags,
					    __u64 user_data)
{
	kevent_prep_futex(w, word, futex_flags, KEVENT_FUTEX_WOKEN | KEVENT_FUTEX_CHANGED,
			  flags | KEVENT_WATCH_EXPECT, user_data);
	w->arg[3] = seen;
}

/* For kevent_watch_trigger(), with any bits; needs KEVENT_FEATURE_USER_WATCH. */
KEVENT_INLINE void kevent_prep_user(struct kevent_watch *w, __u32 flags, __u64 user_data)
{
	kevent_prep(w, KEVENT_SOURCE_USER, 0, KEVENT_EVENTS_MASK, flags, user_data);
}


/* Has io_submit(2) report the end of @iocb to the queue @fd, in place of its own ring. */
KEVENT_INLINE void kevent_prep_iocb(struct iocb *iocb, int fd, __u64 user_data)
{
	iocb->aio_flags |= IOCB_FLAG_KEVENT;
	iocb->aio_resfd = (__u32)fd;
	iocb->aio_data = user_data;
}

#endif /* KEVENT_INLINE_H */
