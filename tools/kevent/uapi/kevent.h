/* SPDX-License-Identifier: (GPL-2.0 WITH Linux-syscall-note) OR MIT */
/*
 * kevent: one queue for everything that the kernel can report to a program.
 *
 * Documentation/userspace-api/kevent.rst is the reference for what follows.
 */
#ifndef _UAPI_LINUX_KEVENT_H
#define _UAPI_LINUX_KEVENT_H

#include <linux/types.h>
#include <asm/bitsperlong.h>
#include <asm/byteorder.h>

/*
 * Source classes: kevent_watch.source, the low byte of kevent_event.info, and
 * bit (1 << class) of the argument @sources of kevent_create(2).  A class that
 * the running kernel does not know, or was built without, gives ENOSYS.
 */
#define KEVENT_SOURCE_POLL	1	/* any file that can be polled */
#define KEVENT_SOURCE_SOCKET	2	/* sockets, with amounts */
#define KEVENT_SOURCE_AIO	3	/* io_submit(2) completions */
#define KEVENT_SOURCE_SIGNAL	4	/* signals of this process */
#define KEVENT_SOURCE_TIMER	5
#define KEVENT_SOURCE_PROCESS	6	/* a pidfd: exit, exec */
#define KEVENT_SOURCE_INODE	7	/* changes of a file or directory */
#define KEVENT_SOURCE_FUTEX	8	/* a 32-bit word in memory */
#define KEVENT_SOURCE_USER	9	/* kevent_post(2), and watches that are triggered */
#define KEVENT_SOURCE_SIGEV	10	/* sigevent: timer_create, mq_notify */

/**
 * struct kevent_event - one event
 * @user_data: from the watch, the iocb, the sigevent or the post
 * @events: what happened, bits of the source class within KEVENT_EVENTS_MASK;
 *	while the event is in the ring, the whole word is the protocol's, see
 *	struct kevent_ring
 * @info: KEVENT_INFO_SOURCE(), KEVENT_INFO_* flags, KEVENT_INFO_MERGED()
 * @data: amount, result, status, count: per source
 * @extra: second word: per source
 */
struct kevent_event {
	__u64 user_data;
	__u32 events;
	__u32 info;
	__s64 data;
	__u64 extra;
};

#define KEVENT_EVENTS_MASK	0x0000ffffU

#define KEVENT_INFO_ERROR	(1U << 9)	/* @data or @extra has an errno */
#define KEVENT_INFO_MORE	(1U << 10)	/* more of the same follows */
#define KEVENT_INFO_COUNTED	(1U << 11)	/* @data counts; merges add to it */
#define KEVENT_INFO_VANISHED	(1U << 12)	/* the watched object is gone */
#define KEVENT_INFO_POSTED	(1U << 13)	/* posted: @user_data is no pointer */

#define KEVENT_INFO_SOURCE(info)	((info) & 0xffU)
#define KEVENT_INFO_MERGED(info)	((info) >> 16)	/* at most 1023 */

/*
 * The word kevent_event.events while the entry is in the ring.  It is the only
 * word of an entry that both sides write.  A slot whose state is FREE is free,
 * whatever the other bits are.
 *
 *	bits  0-15  event bits; the kernel ORs further ones in
 *	bits 16-25  how often the kernel merged a further occurrence
 *	bits 26-29  lap: low bits of (index / entries)
 *	bits 30-31  state
 */
#define KEVENT_WORD_MERGED_SHIFT	16
#define KEVENT_WORD_MERGED_MAX		0x3ffU
#define KEVENT_WORD_LAP_SHIFT		26
#define KEVENT_WORD_LAP_MASK		0xfU
#define KEVENT_WORD_STATE_MASK		0xc0000000U
#define KEVENT_WORD_FREE		0x00000000U
#define KEVENT_WORD_READY		0x40000000U	/* published, not taken */
#define KEVENT_WORD_TAKEN		0x80000000U	/* a consumer reads it */
#define KEVENT_WORD_CANCELLED		0xc0000000U	/* no event: skip */

/*
 * With KEVENT_FEATURE_EXHAUSTED: a consumer that has seen EAGAIN, or of a
 * stream of bytes a short read, for every event bit that was reported may free
 * the slot with (lap bits of the index | KEVENT_WORD_EXHAUSTED) instead of 0.
 * The kernel need not poll that level again until a wake-up.  A mark that is
 * not true may cost the program that event, and no other program anything.
 */
#define KEVENT_WORD_EXHAUSTED		0x00000001U

/**
 * struct kevent_ring - header of the mapping
 * @entries: number of slots, a power of two
 * @entries_offset: where the slots begin, in bytes from here
 * @event_size: size of a slot in bytes
 * @__resv0: zero
 * @flags: KEVENT_RING_* flags
 * @__resv1: zero
 * @posted: entries ever published, those without an event too; as of the last
 *          system call on the queue
 * @merged: occurrences that found their entry unconsumed
 * @deferred: events that had to wait in the backlog
 * @woken: wake-ups of a waiting thread
 * @saved: entries that were published without a wake-up
 * @__resv2: zero
 * @cursor: index of the next entry to take
 * @__resv3: for later: leave it zero
 *
 * Three cache lines with one writer each: none (the geometry, after
 * kevent_create()), the kernel, the program.  The kernel never trusts what it
 * reads here: writing nonsense harms only the events of this queue.
 *
 * Index i lives in slot i % @entries.  To take the entry at @cursor:
 *
 *  1. load-acquire its word; if the state is FREE or TAKEN, or the lap is not
 *     that of @cursor, there is nothing to take (yet);
 *  2. move @cursor from i to i + 1: by compare-and-exchange (acquire and
 *     release) if several threads consume, and start over when that fails;
 *  3. exchange the word (acquire and release) with KEVENT_WORD_TAKEN.  What
 *     comes out is final: event bits, number of merges, or CANCELLED;
 *  4. read the other fields;
 *  5. store-release KEVENT_WORD_FREE.
 *
 * What was taken out of a slot is final, whole: the kernel writes the other
 * fields once, before the entry is published, and a merge changes nothing but
 * the word.
 *
 * With KEVENT_INFO_COUNTED the count is @data plus the number of merges.
 */
struct kevent_ring {
	__u32 entries;
	__u32 entries_offset;
	__u32 event_size;
	__u32 __resv0[13];

	__u32 flags;
	__u32 __resv1;
	__u64 posted;
	__u64 merged;
	__u64 deferred;
	__u64 woken;
	__u64 saved;
	__u64 __resv2[2];

	__u32 cursor;
	__u32 __resv3[15];
};

/* kevent_ring.flags */
#define KEVENT_RING_BACKLOG	(1U << 0)	/* events wait for free slots */
#define KEVENT_RING_RECHECK	(1U << 1)	/* call kevent_wait(2), with min_nr 0 */

/**
 * struct kevent_create - arguments of kevent_create(2)
 * @flags: KEVENT_CREATE_* flags
 * @entries: slots wanted in the ring; rounded up to a power of two, at least
 *	KEVENT_MIN_ENTRIES and at most KEVENT_MAX_ENTRIES; 0 for no ring
 * @event_size: size of struct kevent_event that the program was built with: 0 or
 *	KEVENT_EVENT_SIZE_VER0; it is the size of a slot, too
 * @ring_entries: out: slots granted
 * @features: out: KEVENT_FEATURE_* bits of this kernel
 * @mmap_size: out: length for mmap(2), at offset 0; 0 without a ring
 * @entries_offset: out: where the slots begin in the mapping, in bytes
 * @__resv0: must be zero
 * @__resv: must be zero
 *
 * The third argument of the call, @sources, is the mask of the source classes
 * that this queue may ever use: bit (1 << class); EPERM for the others; 0 for
 * all.
 *
 * The descriptor is close-on-exec.  The queue belongs to the address space that
 * made it: others who have the descriptor may poll it and kevent_post(2), and
 * get EACCES for all else, unless it is KEVENT_CREATE_SHARED.
 */
struct kevent_create {
	__u32 flags;
	__u32 entries;
	__u32 event_size;
	__u32 ring_entries;
	__u64 features;
	__u64 mmap_size;
	__u32 entries_offset;
	__u32 __resv0;
	__u64 __resv[3];
};

#define KEVENT_CREATE_SIZE_VER0	64

#define KEVENT_CREATE_SHARED	(1U << 0)	/* other address spaces may use it */

#define KEVENT_MIN_ENTRIES	2U
#define KEVENT_MAX_ENTRIES	65536U

/* kevent_create.features: bit (1 << class) for each class this kernel has */
#define KEVENT_FEATURE_SOURCE(class)	(1ULL << (class))
#define KEVENT_FEATURE_EXHAUSTED	(1ULL << 32)	/* KEVENT_WORD_EXHAUSTED */
#define KEVENT_FEATURE_BY_IDENT		(1ULL << 33)	/* watches by ident */
#define KEVENT_FEATURE_WAKE_NEXT	(1ULL << 34)	/* KEVENT_WAIT_WAKE_NEXT */
#define KEVENT_FEATURE_USER_WATCH	(1ULL << 35)	/* watches of KEVENT_SOURCE_USER */

/**
 * struct kevent_watch - one change record of kevent_add(2), kevent_modify(2)
 * @source: KEVENT_SOURCE_*
 * @flags: KEVENT_WATCH_* flags
 * @ident: file descriptor, signal number, address, ...: per source
 * @events: event bits of interest, within KEVENT_EVENTS_MASK
 * @result: out: 0, or the negated error of this record; -ECANCELED if it was not
 *	tried, because one before it failed
 * @user_data: comes back in each event
 * @handle: kevent_add(): out, the watch's handle; kevent_modify(): in, or out with
 *	KEVENT_MODIFY_BY_IDENT
 * @arg: per source: low-water mark, deadline, interval, clock, ...
 */
struct kevent_watch {
	__u32 source;
	__u32 flags;
	__u64 ident;
	__u32 events;
	__s32 result;
	__u64 user_data;
	__u64 handle;
	__u64 arg[4];
};

#define KEVENT_WATCH_SIZE_VER0	72

/* kevent_watch.flags; none of EDGE, ONESHOT and DISPATCH means level */
#define KEVENT_WATCH_EDGE	(1U << 0)	/* report changes only */
#define KEVENT_WATCH_ONESHOT	(1U << 1)	/* removed by its first event */
#define KEVENT_WATCH_DISPATCH	(1U << 2)	/* disabled by each event */
#define KEVENT_WATCH_DISABLED	(1U << 3)	/* reports nothing until enabled */
#define KEVENT_WATCH_EXCLUSIVE	(1U << 4)	/* a wake-up goes to one of many queues */
#define KEVENT_WATCH_VANISHED	(1U << 5)	/* a last event when it vanishes */
#define KEVENT_WATCH_ABSTIME	(1U << 6)	/* TIMER: deadline is absolute */
#define KEVENT_WATCH_TAKE	(1U << 7)	/* SIGNAL: the event delivers it */
#define KEVENT_WATCH_EXPECT	(1U << 8)	/* FUTEX: arg[3] was last seen */

/*
 * KEVENT_SOURCE_POLL
 *
 * @ident is the file descriptor, @arg is 0.  The event bits are those of
 * poll(2): ERR, HUP and NVAL are reported in any case.
 */
#define KEVENT_POLL_IN		0x0001U
#define KEVENT_POLL_PRI		0x0002U
#define KEVENT_POLL_OUT		0x0004U
#define KEVENT_POLL_ERR		0x0008U
#define KEVENT_POLL_HUP		0x0010U
#define KEVENT_POLL_NVAL	0x0020U	/* closed: with KEVENT_INFO_VANISHED */
#define KEVENT_POLL_RDNORM	0x0040U
#define KEVENT_POLL_RDBAND	0x0080U
#define KEVENT_POLL_WRNORM	0x0100U
#define KEVENT_POLL_WRBAND	0x0200U
#define KEVENT_POLL_MSG		0x0400U
#define KEVENT_POLL_RDHUP	0x2000U

/*
 * KEVENT_SOURCE_TIMER
 *
 * @ident is 0, @arg is
 *	[0] nanoseconds until the first expiration; with ABSTIME its time
 *	[1] nanoseconds between the further ones, 0 for none
 *	[2] CLOCK_MONOTONIC, CLOCK_REALTIME or CLOCK_BOOTTIME
 *	[3] by how many nanoseconds an expiration may be late
 *
 * The event's @data is the number of expirations (KEVENT_INFO_COUNTED).
 */
#define KEVENT_TIMER_EXPIRED	(1U << 0)

/*
 * KEVENT_SOURCE_SOCKET
 *
 * @ident is the file descriptor of a socket, @arg is
 *	[0] receive low-water mark: IN not below so many bytes, nor below
 *	    SO_RCVLOWAT
 *	[1] send low-water mark: OUT not below so many free bytes, nor before
 *	    the protocol calls the socket writable
 *	[2] and [3] 0
 *
 * ERROR and CLOSED are reported in any case, EOF if IN is of interest.  The
 * event's @data is how many bytes can be read (of a datagram socket: the size
 * of the next datagram), or how many connections can be accepted, when the
 * event was posted; @extra see KEVENT_SOCKET_SPACE() and KEVENT_SOCKET_ERRNO().
 * With EOF no more will come.
 */
#define KEVENT_SOCKET_IN	(1U << 0)	/* data can be read */
#define KEVENT_SOCKET_OUT	(1U << 1)	/* data can be written */
#define KEVENT_SOCKET_ACCEPT	(1U << 2)	/* a connection can be accepted */
#define KEVENT_SOCKET_CONNECT	(1U << 3)	/* it is connected */
#define KEVENT_SOCKET_EOF	(1U << 4)	/* the peer has closed its half */
#define KEVENT_SOCKET_CLOSED	(1U << 5)	/* both halves are closed */
#define KEVENT_SOCKET_ERROR	(1U << 6)	/* there is an error */
#define KEVENT_SOCKET_OOB	(1U << 7)	/* out-of-band data can be read */
#define KEVENT_SOCKET_DRAINED	(1U << 8)	/* all that was sent has arrived */

/* free bytes in the send buffer, and the pending error, in @extra */
#define KEVENT_SOCKET_SPACE(extra)	((__u32)(extra))
#define KEVENT_SOCKET_ERRNO(extra)	((__u32)((extra) >> 32))

/*
 * KEVENT_SOURCE_AIO
 *
 * No watch: io_submit(2) with IOCB_FLAG_KEVENT in aio_flags and the queue's
 * descriptor in aio_resfd.  The event's @user_data is aio_data, @data and
 * @extra are res and res2 of struct io_event; KEVENT_INFO_ERROR if res is an
 * errno.
 */
#define KEVENT_AIO_DONE		(1U << 0)

/* As in <linux/aio_abi.h>, which may be older. */
#define IOCB_FLAG_KEVENT	(1 << 2)

/*
 * KEVENT_SOURCE_SIGNAL
 *
 * @ident is the number of a signal to the calling process, @arg is 0.
 *
 * Without TAKE, the event's @data counts how often it was sent, ignored or not
 * (KEVENT_INFO_COUNTED).  With TAKE the event is the delivery of what was sent
 * to the process as a whole: a real-time signal is an event each, others merge;
 * @data is the value (si_value), the status (SIGCHLD), the descriptor (if that
 * is what it is of: SIGIO, F_SETSIG) or the address (faults); @extra see the
 * macros; KEVENT_INFO_MORE if another one has been taken.
 */
#define KEVENT_SIGNAL_SENT	(1U << 0)

/*
 * Who sent it, and si_code, at least -512, in @extra.  If it is of a descriptor
 * UID is si_band instead.
 */
#define KEVENT_SIGNAL_PID(extra)	((__u32)(extra) & 0x3fffffU)
#define KEVENT_SIGNAL_CODE(extra)	((__s32)(extra) >> 22)
#define KEVENT_SIGNAL_UID(extra)	((__u32)((extra) >> 32))

/*
 * KEVENT_SOURCE_PROCESS
 *
 * @ident is a pidfd, @arg is 0.  With EXIT and REAPED the event's @data is the
 * status as wait(2) has it, and @extra the CPU time that the process has used,
 * in nanoseconds; 0 if that is not known any more, or not for the program to
 * know.
 */
#define KEVENT_PROCESS_EXIT	(1U << 0)	/* it can be waited for */
#define KEVENT_PROCESS_REAPED	(1U << 1)	/* it was waited for */
#define KEVENT_PROCESS_EXEC	(1U << 2)	/* it runs another program */

/*
 * KEVENT_SOURCE_INODE
 *
 * @ident is the descriptor of a file or directory that is open for reading,
 * @arg is 0.  The event's @data is the size of the file, and @extra with
 * CHILD_MOVED_OUT and CHILD_MOVED_IN a number that the two halves of one
 * rename have in common, of the last one if several merged; without those bits
 * it means nothing.
 */
#define KEVENT_INODE_MODIFY		(1U << 0)
#define KEVENT_INODE_EXTEND		(1U << 1)	/* with MODIFY */
#define KEVENT_INODE_ATTRIB		(1U << 2)	/* what stat(2) shows */
#define KEVENT_INODE_LINK		(1U << 3)	/* number of links */
#define KEVENT_INODE_RENAME		(1U << 4)
#define KEVENT_INODE_DELETE		(1U << 5)	/* the last link */
#define KEVENT_INODE_OPEN		(1U << 6)
#define KEVENT_INODE_CLOSE_WRITE	(1U << 7)
#define KEVENT_INODE_CLOSE_NOWRITE	(1U << 8)
#define KEVENT_INODE_CHILD_CREATED	(1U << 9)
#define KEVENT_INODE_CHILD_DELETED	(1U << 10)
#define KEVENT_INODE_CHILD_MOVED_OUT	(1U << 11)
#define KEVENT_INODE_CHILD_MOVED_IN	(1U << 12)
#define KEVENT_INODE_TRUNCATE		(1U << 13)	/* with MODIFY: it got shorter */

/*
 * KEVENT_SOURCE_FUTEX
 *
 * @ident is the address of the word, @arg is
 *	[0] FUTEX2_SIZE_U32, and FUTEX2_PRIVATE or not
 *	[1] bitset as in futex_wake(2), 0 for any
 *	[2] 0
 *	[3] with KEVENT_WATCH_EXPECT: what the program has last seen there
 *
 * @events must have WOKEN.  The event's @data is the value that the word was
 * last seen to have; @extra is EFAULT if it could not be looked at since
 * (KEVENT_INFO_ERROR).
 */
#define KEVENT_FUTEX_WOKEN	(1U << 0)	/* by a futex wake */
#define KEVENT_FUTEX_CHANGED	(1U << 1)	/* it is not what was expected */

/*
 * KEVENT_SOURCE_USER
 *
 * kevent_post(2) posts an event with the caller's words, and
 * KEVENT_INFO_POSTED. A watch (@ident and @arg are 0) is fired by
 * kevent_modify(2) with KEVENT_MODIFY_TRIGGER, whose record names @handle and
 * @events: these are ORed until the event is consumed.  @data and @extra are 0.
 * While the watch is disabled, what was triggered is kept.
 */

/*
 * KEVENT_SOURCE_SIGEV
 *
 * No watch: SIGEV_KEVENT in sigev_notify and the queue's descriptor in
 * sigev_notify_kevent_fd, for timer_create(2) and mq_notify(3).  The event's
 * @user_data is sigev_value (sival_ptr; see KEVENT_SIGVAL_INT()).  Of a timer,
 * @data is the number of expirations (KEVENT_INFO_COUNTED), which is one more
 * than what POSIX calls the overrun count, and @extra is the timer's id.
 */
#define KEVENT_SIGEV_TIMER	(1U << 0)	/* the timer has expired */
#define KEVENT_SIGEV_MESSAGE	(1U << 1)	/* a message has arrived */

/* As in <asm/siginfo.h>, which conflicts with the C library's <signal.h>. */
#define SIGEV_KEVENT	8	/* deliver to a kevent queue */
#define sigev_notify_kevent_fd	_sigev_un._tid

/* sigev_value.sival_int, of kevent_event.user_data, in the program that gave it */
#if defined(__BIG_ENDIAN_BITFIELD) && __BITS_PER_LONG == 64
#define KEVENT_SIGVAL_INT(user_data)	((__s32)((__u64)(user_data) >> 32))
#else
#define KEVENT_SIGVAL_INT(user_data)	((__s32)(__u32)(user_data))
#endif

/* flags of kevent_add(2) */
#define KEVENT_ADD_UPDATE	(1U << 0)	/* modify a watch of that ident */

/* flags of kevent_modify(2): what the records change */
#define KEVENT_MODIFY_EVENTS	(1U << 0)	/* @events */
#define KEVENT_MODIFY_MODE	(1U << 1)	/* @flags, except DISABLED */
#define KEVENT_MODIFY_USER_DATA	(1U << 2)	/* @user_data */
#define KEVENT_MODIFY_ARG	(1U << 3)	/* @arg */
#define KEVENT_MODIFY_ENABLE	(1U << 4)
#define KEVENT_MODIFY_DISABLE	(1U << 5)
#define KEVENT_MODIFY_TRIGGER	(1U << 6)	/* fire a USER watch with @events */
#define KEVENT_MODIFY_BY_IDENT	(1U << 7)	/* @source and @ident name the watch, not @handle */
#define KEVENT_MODIFY_REMOVE	(1U << 8)	/* remove the watch */

/* flags of kevent_post(2) */
#define KEVENT_POST_DEFER	(1U << 0)	/* no free slot: use the backlog */

/**
 * struct kevent_wait - arguments of kevent_wait(2)
 * @flags: KEVENT_WAIT_* flags
 * @clockid: CLOCK_MONOTONIC, CLOCK_REALTIME or CLOCK_BOOTTIME
 * @seen: index of the first entry that the caller has not seen, its cursor
 * @min_nr: how many entries from @seen on end the wait; 0: do not sleep
 * @timeout: address of a struct __kernel_timespec, or 0 to wait forever
 * @min_wait: nanoseconds for which to wait for all @min_nr; after
 *	that, one is enough.  0: no such window
 * @sigmask: address of the signal mask to install while waiting, or 0
 * @sigsetsize: size of that mask in bytes; 0 if there is none
 * @__resv: must be zero
 */
struct kevent_wait {
	__u32 flags;
	__u32 clockid;
	__u32 seen;
	__u32 min_nr;
	__u64 timeout;
	__u64 min_wait;
	__u64 sigmask;
	__u32 sigsetsize;
	__u32 __resv;
};

#define KEVENT_WAIT_SIZE_VER0	48

/* kevent_wait.flags, and flags of kevent_get_events(2) */
#define KEVENT_WAIT_ABSTIME	(1U << 0)	/* @timeout is absolute */
/* kevent_wait(2) with min_nr 0: the caller was woken and will not consume */
#define KEVENT_WAIT_WAKE_NEXT	(1U << 1)

#define KEVENT_EVENT_SIZE_VER0	32

#endif /* _UAPI_LINUX_KEVENT_H */
