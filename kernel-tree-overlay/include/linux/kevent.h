/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the rest of the kernel calls to report to kevent.
 */
#ifndef _LINUX_KEVENT_H
#define _LINUX_KEVENT_H

#include <linux/err.h>
#include <linux/fs.h>
#include <linux/jump_label_ratelimit.h>
#include <uapi/linux/kevent.h>

struct k_itimer;
struct kevent_completion;
struct sigevent;

struct mm_struct;

struct kevent_signal;
struct list_head;
struct sigqueue;
struct task_struct;

#ifdef CONFIG_KEVENT

extern struct static_key_false_deferred kevent_queues;

void __kevent_file_closed(struct file *file, fl_owner_t id);
void __kevent_exec(void);

static inline bool kevent_watches(const struct file *file)
{
	return static_branch_unlikely(&kevent_queues.key) &&
	       unlikely(READ_ONCE(file->f_mode) & FMODE_KEVENT);
}

/**
 * kevent_file_closed - a descriptor was closed
 * @file: what it stood for
 * @id: the table of descriptors that it was in, or any other pointer
 */
static inline void kevent_file_closed(struct file *file, fl_owner_t id)
{
	if (kevent_watches(file))
		__kevent_file_closed(file, id);
}

/**
 * kevent_exec - the current task runs another program
 */
static inline void kevent_exec(void)
{
	if (static_branch_unlikely(&kevent_queues.key))
		__kevent_exec();
}

/**
 * kevent_completion_new - prepare to report a completion to a queue
 * @fd: the queue's, in the current task
 * @class: KEVENT_SOURCE_*
 * @user_data: what the event will say
 *
 * Whatever the event needs is allocated here, so that it cannot be lost later.
 * The descriptor may be closed meanwhile: the completion is not reported then.
 *
 * Return: the completion, or an ERR_PTR: EBADF, EINVAL if @fd is no queue,
 * EPERM if the queue may not use the class, EPIPE if its owner has gone, EAGAIN
 * if too many events wait in it that are not consumed, ENOMEM.
 */
struct kevent_completion *kevent_completion_new(int fd, u32 class, u64 user_data);

/**
 * kevent_complete - report a completion
 * @completion: from kevent_completion_new(); gone after this
 * @events: event bits of the class
 * @info: KEVENT_INFO_* flags beside the class
 * @data: as in the event
 * @extra: as in the event
 *
 * May be called from any context in which a spinlock may be taken.
 */
void kevent_complete(struct kevent_completion *completion, u32 events, u32 info,
		     s64 data, u64 extra);

/**
 * kevent_completion_drop - give up a completion that will not happen
 * @completion: from kevent_completion_new(); gone after this
 *
 * May be called from any context in which a spinlock may be taken.
 */
void kevent_completion_drop(struct kevent_completion *completion);

/**
 * struct kevent_sigev - part of the watch of a POSIX timer
 * @timer: the timer; NULL when it does not report to the watch any more.
 *	Protected by the mutex of the queue's watches
 */
struct kevent_sigev {
	struct k_itimer *timer;
};

u64 kevent_sigev_user_data(const struct sigevent *event);
int kevent_sigev_add(int fd, struct k_itimer *timer, int id, u64 user_data);
bool kevent_sigev_expired(struct kevent_sigev *sigev, u64 count);
s64 kevent_sigev_gap(struct kevent_sigev *sigev);
const void *kevent_sigev_get(struct kevent_sigev *sigev);
void kevent_sigev_remove(const void *watch);

/* kernel/time/posix-timers.c */
void posixtimer_set_kevent(struct k_itimer *timr, struct kevent_sigev *sigev);
void posixtimer_recheck_kevent(struct k_itimer *timr, bool consumed);

extern struct static_key_false_deferred kevent_signals;

struct kevent_signal *__kevent_signal_sent(int sig, struct task_struct *t,
					   bool can_intercept);
void kevent_intercept_signal(struct kevent_signal *interceptor, struct sigqueue *q,
			     struct task_struct *t);
void __kevent_signals_end(void);

/**
 * kevent_signal_sent - a signal is sent
 * @sig: its number
 * @t: to this task or its process; siglock is held
 * @can_intercept: whether it may be intercepted instead of being delivered
 *
 * Return: what to pass to kevent_intercept_signal(), with the siglock still held,
 * or NULL if the signal is to be delivered.
 */
static inline struct kevent_signal *
kevent_signal_sent(int sig, struct task_struct *t, bool can_intercept)
{
	if (static_branch_unlikely(&kevent_signals.key))
		return __kevent_signal_sent(sig, t, can_intercept);
	return NULL;
}

/**
 * kevent_signals_end - the current process is not to be watched any more
 *
 * To be called by the only thread that is left of it.
 */
static inline void kevent_signals_end(void)
{
	if (static_branch_unlikely(&kevent_signals.key))
		__kevent_signals_end();
}

/* kernel/signal.c */
struct sigqueue *kevent_alloc_signal(int sig);
void kevent_free_signals(struct list_head *queue);
void kevent_return_signals(int sig, struct list_head *queue,
			   struct task_struct *t);

void __kevent_mm_exit(struct mm_struct *mm);

/**
 * kevent_mm_init - a program gets memory of its own
 * @mm: it
 */
static inline void kevent_mm_init(struct mm_struct *mm)
{
	INIT_HLIST_HEAD(&mm->kevents);
}

/**
 * kevent_mm_exit - no task uses the memory of a program any more
 * @mm: it; to be called before it is torn down
 */
static inline void kevent_mm_exit(struct mm_struct *mm)
{
	if (static_branch_unlikely(&kevent_queues.key))
		__kevent_mm_exit(mm);
}

#else /* !CONFIG_KEVENT */

static inline void kevent_mm_init(struct mm_struct *mm) {}
static inline void kevent_mm_exit(struct mm_struct *mm) {}

static inline struct kevent_signal *
kevent_signal_sent(int sig, struct task_struct *t, bool can_intercept)
{
	return NULL;
}

static inline void kevent_intercept_signal(struct kevent_signal *interceptor,
					   struct sigqueue *q,
					   struct task_struct *t) {}
static inline void kevent_signals_end(void) {}

static inline void kevent_file_closed(struct file *file, fl_owner_t id) {}
static inline void kevent_exec(void) {}

static inline struct kevent_completion *kevent_completion_new(int fd, u32 class,
							      u64 user_data)
{
	return ERR_PTR(-EINVAL);
}

static inline void kevent_complete(struct kevent_completion *completion, u32 events,
				   u32 info, s64 data, u64 extra) {}
static inline void kevent_completion_drop(struct kevent_completion *completion) {}

static inline u64 kevent_sigev_user_data(const struct sigevent *event)
{
	return 0;
}

#endif /* CONFIG_KEVENT */

#endif /* _LINUX_KEVENT_H */
