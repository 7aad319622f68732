/* SPDX-License-Identifier: MIT */
/*
 * kqueue(2) and kevent(2), on kevent queues.  README.md says what differs from the BSDs.
 *
 * May be included beside libkevent's <kevent.h>: struct kevent and kevent() are only here, the names
 * that begin with kevent_ only there.
 */
#ifndef _SYS_EVENT_H_
#define _SYS_EVENT_H_

#include <stdint.h>
#include <sys/types.h>
#include <time.h>

#ifdef __cplusplus
extern "C" {
#endif

#define EVFILT_READ	(-1)
#define EVFILT_WRITE	(-2)
#define EVFILT_AIO	(-3)	/* ENOTSUP */
#define EVFILT_VNODE	(-4)
#define EVFILT_PROC	(-5)
#define EVFILT_SIGNAL	(-6)
#define EVFILT_TIMER	(-7)
#define EVFILT_PROCDESC	(-8)	/* a pidfd */
#define EVFILT_FS	(-9)	/* ENOTSUP */
#define EVFILT_LIO	(-10)	/* ENOTSUP */
#define EVFILT_USER	(-11)
#define EVFILT_SYSCOUNT	11

struct kevent {
	uintptr_t	ident;
	short		filter;
	unsigned short	flags;
	unsigned int	fflags;
	int64_t		data;
	void		*udata;
	uint64_t	ext[4];
};

#ifdef __cplusplus
#define EV_SET(kevp_, a, b, c, d, e, f) do {		\
	struct kevent *kev_ = (kevp_);			\
	*kev_ = { (uintptr_t)(a), (short)(b), (unsigned short)(c), (unsigned int)(d),	\
		  (int64_t)(e), (void *)(f), { 0, 0, 0, 0 } };	\
} while (0)
#else
#define EV_SET(kevp_, a, b, c, d, e, f)			\
	(*(kevp_) = (struct kevent){ (uintptr_t)(a), (short)(b), (unsigned short)(c),	\
		(unsigned int)(d), (int64_t)(e), (void *)(f), { 0, 0, 0, 0 } })
#endif

/* actions */
#define EV_ADD		0x0001
#define EV_DELETE	0x0002
#define EV_ENABLE	0x0004
#define EV_DISABLE	0x0008
/* flags */
#define EV_ONESHOT	0x0010
#define EV_CLEAR	0x0020
#define EV_RECEIPT	0x0040
#define EV_DISPATCH	0x0080
#define EV_KEEPUDATA	0x0200
#define EV_SYSFLAGS	0xf000
/* returned */
#define EV_ERROR	0x4000
#define EV_EOF		0x8000

/* EVFILT_READ, EVFILT_WRITE */
#define NOTE_LOWAT	0x00000001
#define NOTE_FILE_POLL	0x00000002	/* ENOTSUP */

/* EVFILT_VNODE */
#define NOTE_DELETE	0x00000001
#define NOTE_WRITE	0x00000002
#define NOTE_EXTEND	0x00000004
#define NOTE_ATTRIB	0x00000008
#define NOTE_LINK	0x00000010
#define NOTE_RENAME	0x00000020
#define NOTE_REVOKE	0x00000040	/* never happens */
#define NOTE_OPEN	0x00000080
#define NOTE_CLOSE	0x00000100
#define NOTE_CLOSE_WRITE	0x00000200
#define NOTE_READ	0x00000400	/* ENOTSUP */
#define NOTE_TRUNCATE	0x00000800

/* EVFILT_PROC, EVFILT_PROCDESC */
#define NOTE_EXIT	0x80000000U
#define NOTE_FORK	0x40000000U	/* ENOTSUP */
#define NOTE_EXEC	0x20000000U
#define NOTE_PCTRLMASK	0xf0000000U
#define NOTE_PDATAMASK	0x000fffffU
#define NOTE_TRACK	0x00000001U	/* ENOTSUP */
#define NOTE_TRACKERR	0x00000002U
#define NOTE_CHILD	0x00000004U

/* EVFILT_TIMER; milliseconds if none is given */
#define NOTE_SECONDS	0x00000001
#define NOTE_MSECONDS	0x00000002
#define NOTE_USECONDS	0x00000004
#define NOTE_NSECONDS	0x00000008
#define NOTE_ABSTIME	0x00000010

/* EVFILT_USER */
#define NOTE_FFNOP	0x00000000U
#define NOTE_FFAND	0x40000000U
#define NOTE_FFOR	0x80000000U
#define NOTE_FFCOPY	0xc0000000U
#define NOTE_FFCTRLMASK	0xc0000000U
#define NOTE_FFLAGSMASK	0x00ffffffU
#define NOTE_TRIGGER	0x01000000U

/*
 * Makes a queue: its descriptor, or -1 with errno: ENOSYS (no kevent in this kernel), EMFILE,
 * ENFILE, ENOMEM.  It is close-on-exec, and of no use to a child of fork().
 */
int kqueue(void);

/* The same.  @flags: O_CLOEXEC or 0, else EINVAL. */
int kqueue1(int flags);

/*
 * Applies @nchanges changes, then waits for up to @nevents events.  @timeout: NULL for ever, 0 for
 * not at all.  @changelist and @eventlist may be the same.  Returns how many were put into
 * @eventlist; if changes put something there (EV_ERROR with an errno in data, 0 with EV_RECEIPT)
 * that alone.  Errors: EBADF (no queue, or a parent's), EINVAL, EINTR, ENOMEM, and of
 * a change for which there is no room: ENOENT (no such event), ENOTSUP, ESRCH, EBADF, EINVAL, ENOSPC,
 * ENOMEM.
 */
int kevent(int kq, const struct kevent *changelist, int nchanges, struct kevent *eventlist,
	   int nevents, const struct timespec *timeout);

#ifdef __cplusplus
}
#endif

#endif /* _SYS_EVENT_H_ */
