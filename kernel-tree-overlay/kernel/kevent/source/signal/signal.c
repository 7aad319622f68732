// SPDX-License-Identifier: GPL-2.0-only
/*
 * Signals that are watched: the side of the process.
 *
 * A watch of a signal has a struct kevent_signal, in the list signal->kevents
 * of the process that registered it.  The list is protected by the siglock,
 * with which signals are sent: the sender goes through the list and fires the
 * watches that count.  If there is one that intercepts, it gets the record that
 * would have been queued as pending otherwise.
 *
 * An intercepted record is first in the list of those to be posted, then in the
 * list of those that were, with the index of its entry in the ring, until it is
 * noticed that the entry was consumed.  Until then it counts for
 * RLIMIT_SIGPENDING as if it was pending, and when the watch is removed all
 * records that are unconsumed are returned to the process.  These lists have a
 * lock of their own, because they are also used with the lock of the queue's
 * backlog held.
 *
 * Which siglock, and for how long
 *
 * The struct signal_struct of a process lives as long as its last task, and the
 * siglock to go with it is found by way of a task.  A watch may be removed by
 * another process, which holds the queue, at any time, so it has a reference to
 * the struct pid of its process and to nothing else:
 *
 *  - While the process has a task, the pid has one of type PIDTYPE_TGID: the
 *    leader, a zombie at the least.  If execve() makes another thread the leader
 *    it takes over the pid, but a task found just before that may have lost its
 *    sighand already: try again.
 *  - With the siglock held, no task of the process is released, and none of its
 *    signals is sent.
 *  - execve() may give the process another sighand.  It does so with the siglock
 *    of the old one held, and lock_task_sighand() makes sure that the siglock
 *    it returns is the one in use.
 *  - The last thread takes all watches off the list as it exits, see
 *    kevent_signals_end(), and there is no other that could add one then.  So
 *    if the pid has no task, the watch is not on the list.
 *
 * Lock order: the mutex of a queue, then siglock, then the locks that are taken
 * to fire a watch, then kevent_signal.lock.
 */
#include <linux/hrtimer.h>
#include <linux/jump_label_ratelimit.h>
#include <linux/kevent.h>
#include <linux/list.h>
#include <linux/lockdep.h>
#include <linux/minmax.h>
#include <linux/pid.h>
#include <linux/rcupdate.h>
#include <linux/sched/signal.h>
#include <linux/signal.h>
#include <linux/spinlock.h>

#include "../../kevent.h"

/* On while there are watches of signals, and a while longer. */
DEFINE_STATIC_KEY_DEFERRED_FALSE(kevent_signals, HZ);

/**
 * kevent_signal_init - make what a watch of a signal has
 * @ks: it
 * @sig: signal number
 * @takes: whether the event is the delivery
 *
 * Return: 0, or -EAGAIN if no signal could be queued.
 */
int kevent_signal_init(struct kevent_signal *ks, int sig, bool takes)
{
	INIT_HLIST_NODE(&ks->node);
	ks->next = NULL;
	INIT_LIST_HEAD(&ks->unposted);
	INIT_LIST_HEAD(&ks->posted);
	spin_lock_init(&ks->lock);
	ks->sig = sig;
	ks->takes = takes;
	ks->counted = false;
	ks->stale = false;
	ks->spare = NULL;
	if (takes) {
		ks->spare = kevent_alloc_signal(sig);
		if (!ks->spare)
			return -EAGAIN;
	}
	ks->pid = get_pid(task_tgid(current));
	static_branch_deferred_inc(&kevent_signals);
	return 0;
}

/**
 * kevent_signal_destroy - the end of what kevent_signal_init() made
 * @ks: it, unlinked
 */
void kevent_signal_destroy(struct kevent_signal *ks)
{
	kevent_free_signals(&ks->unposted);
	kevent_free_signals(&ks->posted);
	if (ks->spare) {
		list_add(&ks->spare->list, &ks->posted);
		kevent_free_signals(&ks->posted);
	}
	put_pid(ks->pid);
	static_branch_slow_dec_deferred(&kevent_signals);
}

/**
 * kevent_signal_lock - take the siglock of the process
 * @ks: of which watch
 * @flags: out: for kevent_signal_unlock()
 *
 * Return: a task of the process, or NULL if that is gone and no lock was taken.
 */
struct task_struct *kevent_signal_lock(const struct kevent_signal *ks,
				       unsigned long *flags)
{
	struct sighand_struct *sighand;
	struct task_struct *t;

	do {
		rcu_read_lock();
		t = pid_task(ks->pid, PIDTYPE_TGID);
		sighand = t ? lock_task_sighand(t, flags) : NULL;
		rcu_read_unlock();
	} while (t && !sighand);
	return t;
}

/**
 * kevent_signal_unlock - release the siglock of a process
 * @t: task that kevent_signal_lock() returned
 * @flags: from there
 */
void kevent_signal_unlock(struct task_struct *t, unsigned long flags)
{
	unlock_task_sighand(t, &flags);
}

/* Where a record says by which entry it was reported.  It is not pending then. */
static void kevent_set_entry(struct sigqueue *q, u64 entry)
{
	q->flags = lower_32_bits(entry);
	q->info.si_signo = upper_32_bits(entry);
}

static u64 kevent_get_entry(const struct sigqueue *q)
{
	return (u64)(u32)q->info.si_signo << 32 | (u32)q->flags;
}

/* Makes it an ordinary record again. */
static void kevent_clear_entry(struct sigqueue *q, int sig)
{
	q->flags = 0;
	q->info.si_signo = sig;
}

/*
 * Records that are of no use any more, off their list: keeps a spare one, and
 * leaves those to be freed in @queue.
 */
static void kevent_keep_spare(struct kevent_signal *ks, struct list_head *queue)
{
	lockdep_assert_held(&ks->lock);
	if (ks->spare || list_empty(queue))
		return;
	ks->spare = list_first_entry(queue, struct sigqueue, list);
	list_del_init(&ks->spare->list);
}

/*
 * The first of the watches that are enabled and intercept the signal.  @next of
 * each is the one after it, as long as siglock is held.
 */
static struct kevent_signal *kevent_find_interceptors(int sig, struct task_struct *t)
{
	struct kevent_signal *ks, *first = NULL;

	lockdep_assert_held(&t->sighand->siglock);
	if (t->signal->flags & SIGNAL_GROUP_EXIT)
		return NULL;
	/* The list begins with the last one. */
	hlist_for_each_entry(ks, &t->signal->kevents, node) {
		if (ks->sig == sig && ks->takes && kevent_signal_intercepts(ks)) {
			ks->next = first;
			first = ks;
		}
	}
	return first;
}

/**
 * __kevent_signal_sent - a signal is sent
 * @sig: its number
 * @t: to this task or its process; siglock is held
 * @can_intercept: whether it may be intercepted instead of being delivered
 *
 * Return: the watch that intercepts it, or NULL.
 */
struct kevent_signal *__kevent_signal_sent(int sig, struct task_struct *t,
					   bool can_intercept)
{
	bool stops = sig_kernel_stop(sig);
	struct kevent_signal *ks, *interceptor;

	lockdep_assert_held(&t->sighand->siglock);
	if (hlist_empty(&t->signal->kevents))
		return NULL;

	hlist_for_each_entry(ks, &t->signal->kevents, node) {
		if (ks->sig == sig && !ks->takes)
			kevent_signal_count(ks);
		/* As prepare_signal() does with those that are pending. */
		if ((stops && ks->sig == SIGCONT) ||
		    (sig == SIGCONT && sig_kernel_stop(ks->sig)))
			ks->stale = true;
	}
	interceptor = can_intercept ? kevent_find_interceptors(sig, t) : NULL;
	if (interceptor)
		kevent_signal_sweep(interceptor);
	return interceptor;
}

/*
 * A timer of setitimer() goes on when its signal is dequeued, so that a program
 * which does not come to that is not interrupted all the time.  The kernel does
 * not see when the program consumes an event, so the timer interrupts at most
 * once in a tick.
 */
static void kevent_rearm_itimer(struct task_struct *t)
{
#ifdef CONFIG_POSIX_TIMERS
	struct hrtimer *timer = &t->signal->real_timer;
	ktime_t interval = t->signal->it_real_incr;
	ktime_t now;

	if (!interval || hrtimer_is_queued(timer))
		return;
	now = hrtimer_cb_get_time(timer);
	if (interval < TICK_NSEC)
		now = ktime_add_ns(now, TICK_NSEC);
	hrtimer_forward(timer, now, interval);
	hrtimer_restart(timer);
#endif
}

/**
 * kevent_intercept_signal - give a signal to the watch that intercepts it
 * @ks: from __kevent_signal_sent(), with siglock held since
 * @q: record of the signal, NULL if there was no memory for one
 * @t: task of the process
 */
void kevent_intercept_signal(struct kevent_signal *ks, struct sigqueue *q,
			     struct task_struct *t)
{
	LIST_HEAD(old);

	lockdep_assert_held(&t->sighand->siglock);
	spin_lock(&ks->lock);
	if (!q) {
		q = ks->spare;
		ks->spare = NULL;
		/* If there is none, the last one used it, and is not needed. */
		if (!q && ks->sig < SIGRTMIN && !list_empty(&ks->unposted)) {
			q = list_first_entry(&ks->unposted, struct sigqueue,
					     list);
			list_del_init(&q->list);
		}
		/* As collect_signal() does it. */
		if (q) {
			clear_siginfo(&q->info);
			q->info.si_signo = ks->sig;
			q->info.si_code = SI_USER;
		}
	}
	if (q) {
		if (ks->sig < SIGRTMIN)
			list_splice_init(&ks->unposted, &old);
		list_add_tail(&q->list, &ks->unposted);
		kevent_keep_spare(ks, &old);
	}
	spin_unlock(&ks->lock);
	kevent_free_signals(&old);

	ks->stale = false;
	/* Without a record it merges with those that are unconsumed. */
	if (q)
		kevent_signal_fire(ks);
	if (ks->sig == SIGALRM)
		kevent_rearm_itimer(t);
}

/* Intercepts what is pending, if the watch intercepts. */
static void kevent_take_pending(struct kevent_signal *ks, struct task_struct *t)
{
	struct sigpending *pending = &t->signal->shared_pending;
	bool took = false, left = false;
	struct sigqueue *q, *next;

	lockdep_assert_held(&t->sighand->siglock);
	if (!ks->takes || (t->signal->flags & SIGNAL_GROUP_EXIT) ||
	    !sigismember(&pending->signal, ks->sig))
		return;

	kevent_signal_sweep(ks);
	list_for_each_entry_safe(q, next, &pending->list, list) {
		if (q->info.si_signo != ks->sig)
			continue;
		/* Those of timers stay, see posixtimer_send_sigqueue(). */
		if ((q->flags & SIGQUEUE_PREALLOC) ||
		    !kevent_signal_intercepts(ks)) {
			left = true;
			continue;
		}
		list_del_init(&q->list);
		kevent_intercept_signal(ks, q, t);
		took = true;
	}
	if (!took && !left) {
		/* There was no memory for it. */
		if (!kevent_signal_intercepts(ks))
			return;
		kevent_intercept_signal(ks, NULL, t);
	}
	if (!left)
		sigdelset(&pending->signal, ks->sig);
}

/**
 * kevent_signal_link - from now on the watch is of the current process
 * @ks: the watch's, made by this process
 * @holder: on whose account
 *
 * Return: 0, -ENOSPC if there are too many, or -ENOMEM.
 */
int kevent_signal_link(struct kevent_signal *ks,
		       const struct kevent_holder *holder)
{
	struct task_struct *t = current;
	int ret;

	ret = kevent_count_object(ks->pid, holder);
	if (ret)
		return ret;
	ks->counted = true;
	guard(spinlock_irq)(&t->sighand->siglock);
	hlist_add_head(&ks->node, &t->signal->kevents);
	kevent_take_pending(ks, t);
	return 0;
}

/**
 * kevent_signal_uncount - the watch is not counted as one of its process any more
 * @ks: the watch's, which may be uncounted already
 * @holder: as it was for kevent_signal_link()
 */
void kevent_signal_uncount(struct kevent_signal *ks,
			   const struct kevent_holder *holder)
{
	if (ks->counted)
		kevent_uncount_object(ks->pid, holder);
	ks->counted = false;
}

/**
 * kevent_signal_unlink - end what kevent_signal_link() began
 * @ks: the watch's, which may be unlinked already
 */
void kevent_signal_unlink(struct kevent_signal *ks)
{
	struct task_struct *t;
	unsigned long flags;

	t = kevent_signal_lock(ks, &flags);
	if (!t)
		return;
	hlist_del_init(&ks->node);
	kevent_signal_unlock(t, flags);
}

/**
 * kevent_signal_pull - intercept what is pending
 * @ks: the watch's
 */
void kevent_signal_pull(struct kevent_signal *ks)
{
	struct task_struct *t;
	unsigned long flags;

	t = kevent_signal_lock(ks, &flags);
	if (!t)
		return;
	if (!hlist_unhashed(&ks->node))
		kevent_take_pending(ks, t);
	kevent_signal_unlock(t, flags);
}

/* The sender, si_code, and the value; see the uapi header. */
static void kevent_siginfo_words(const kernel_siginfo_t *info, s64 *data,
				 u64 *extra)
{
	u32 pid = 0, uid = 0;

	*data = 0;
	switch (siginfo_layout(info->si_signo, info->si_code)) {
	case SIL_KILL:
		pid = info->si_pid;
		uid = info->si_uid;
		break;
	case SIL_RT:
		pid = info->si_pid;
		uid = info->si_uid;
		*data = (long)info->si_ptr;
		break;
	case SIL_CHLD:
		pid = info->si_pid;
		uid = info->si_uid;
		*data = info->si_status;
		break;
	case SIL_TIMER:
		*data = (long)info->si_ptr;
		break;
	case SIL_POLL:
		uid = info->si_band;
		*data = info->si_fd;
		break;
	case SIL_SYS:
		*data = (long)info->si_call_addr;
		break;
	case SIL_FAULT:
	case SIL_FAULT_TRAPNO:
	case SIL_FAULT_MCEERR:
	case SIL_FAULT_BNDERR:
	case SIL_FAULT_PKUERR:
	case SIL_FAULT_PERF_EVENT:
		*data = (long)info->si_addr;
		break;
	}
	*extra = (u64)uid << 32 |
		 (u32)clamp(info->si_code, -512, 511) << 22 |
		 (pid & 0x3fffff);
}

/**
 * kevent_signal_next - what the next event says
 * @ks: the watch's
 * @info: out: KEVENT_INFO_MORE if another one was intercepted already
 * @data: out: the event's data
 * @extra: out: the event's extra
 *
 * Return: whether there is something to report.
 */
bool kevent_signal_next(struct kevent_signal *ks, u32 *info, s64 *data,
			u64 *extra)
{
	struct sigqueue *q;

	guard(spinlock_irqsave)(&ks->lock);
	q = list_first_entry_or_null(&ks->unposted, struct sigqueue, list);
	if (!q)
		return false;
	*info = list_is_singular(&ks->unposted) ? 0 : KEVENT_INFO_MORE;
	kevent_siginfo_words(&q->info, data, extra);
	return true;
}

/**
 * kevent_signal_drop - what kevent_signal_next() returned was consumed
 * @ks: the watch's
 */
void kevent_signal_drop(struct kevent_signal *ks)
{
	LIST_HEAD(old);

	scoped_guard(spinlock_irqsave, &ks->lock) {
		if (list_empty(&ks->unposted))
			return;
		list_move(ks->unposted.next, &old);
		kevent_keep_spare(ks, &old);
	}
	kevent_free_signals(&old);
}

/**
 * kevent_signal_posted - what kevent_signal_next() returned was posted
 * @ks: the watch's
 * @entry: as the entry in the ring with this index
 */
void kevent_signal_posted(struct kevent_signal *ks, u64 entry)
{
	struct sigqueue *q;

	guard(spinlock_irqsave)(&ks->lock);
	q = list_first_entry_or_null(&ks->unposted, struct sigqueue, list);
	if (!q)
		return;
	list_move_tail(&q->list, &ks->posted);
	kevent_set_entry(q, entry);
}

static struct sigqueue *kevent_end_of_posted(struct kevent_signal *ks,
					     bool oldest)
{
	lockdep_assert_held(&ks->lock);
	if (list_empty(&ks->posted))
		return NULL;
	if (oldest)
		return list_first_entry(&ks->posted, struct sigqueue, list);
	return list_last_entry(&ks->posted, struct sigqueue, list);
}

/**
 * kevent_signal_entry - as which entry in the ring a signal was posted
 * @ks: the watch's
 * @oldest: which one: of those that were posted, the oldest, else the latest
 * @entry: out: index of the entry
 *
 * Return: whether there is one.
 */
bool kevent_signal_entry(struct kevent_signal *ks, bool oldest, u64 *entry)
{
	struct sigqueue *q;

	guard(spinlock_irqsave)(&ks->lock);
	q = kevent_end_of_posted(ks, oldest);
	if (!q)
		return false;
	*entry = kevent_get_entry(q);
	return true;
}

/**
 * kevent_signal_resolve - it is known what became of a signal that was posted
 * @ks: the watch's
 * @oldest: as for kevent_signal_entry()
 * @entry: from there; if it is another one now, another task was faster
 * @taken: the entry was consumed, else it was cancelled
 */
void kevent_signal_resolve(struct kevent_signal *ks, bool oldest, u64 entry,
			   bool taken)
{
	struct sigqueue *q;
	LIST_HEAD(old);

	scoped_guard(spinlock_irqsave, &ks->lock) {
		q = kevent_end_of_posted(ks, oldest);
		if (!q || kevent_get_entry(q) != entry)
			return;
		kevent_clear_entry(q, ks->sig);
		if (taken) {
			list_move(&q->list, &old);
			kevent_keep_spare(ks, &old);
		} else {
			list_move(&q->list, &ks->unposted);
		}
	}
	kevent_free_signals(&old);
}

/**
 * kevent_signal_return - unlink, and return to the process what was intercepted
 * and not posted
 * @ks: the watch's, which posts nothing any more
 */
void kevent_signal_return(struct kevent_signal *ks)
{
	struct kevent_signal *interceptor;
	struct task_struct *t;
	struct sigqueue *q;
	unsigned long flags;

	t = kevent_signal_lock(ks, &flags);
	if (t) {
		hlist_del_init(&ks->node);
		/* There may be many signals, and many watches: one walk for all. */
		interceptor = kevent_find_interceptors(ks->sig, t);
		while (!ks->stale && !list_empty(&ks->unposted)) {
			while (interceptor && !kevent_signal_intercepts(interceptor))
				interceptor = interceptor->next;
			if (!interceptor) {
				kevent_return_signals(ks->sig, &ks->unposted, t);
				break;
			}
			q = list_first_entry(&ks->unposted, struct sigqueue,
					     list);
			list_del_init(&q->list);
			kevent_intercept_signal(interceptor, q, t);
		}
		kevent_signal_unlock(t, flags);
	}
	kevent_free_signals(&ks->unposted);
}

/**
 * kevent_signal_forget - do not return to the process what was intercepted
 * @ks: the watch's, which has vanished
 *
 * Its last events are there still, but the process may be running a program that
 * those who have the queue could not send a signal.
 */
void kevent_signal_forget(struct kevent_signal *ks)
{
	struct task_struct *t;
	unsigned long flags;

	t = kevent_signal_lock(ks, &flags);
	if (!t)
		return;
	ks->stale = true;
	kevent_signal_unlock(t, flags);
}

/**
 * __kevent_signals_end - the current process is not to be watched any more
 *
 * Another process that has the queue may be removing the watch.  One of the two
 * is first; the other finds that it is not on the list, or not in its queue.
 */
void __kevent_signals_end(void)
{
	struct task_struct *t = current;
	struct kevent_signal *ks;
	const void *watch;

	do {
		watch = NULL;
		spin_lock_irq(&t->sighand->siglock);
		ks = hlist_entry_safe(t->signal->kevents.first,
				      struct kevent_signal, node);
		if (ks) {
			hlist_del_init(&ks->node);
			watch = kevent_get_signal(ks);
		}
		spin_unlock_irq(&t->sighand->siglock);
		if (watch)
			kevent_signal_ended(watch);
	} while (watch);
}
