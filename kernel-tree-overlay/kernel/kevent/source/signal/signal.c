// SPDX-License-Identifier: GPL-2.0-only
/*
 * Signals that are watched: the side of the process.
 *
 * A watch of a signal has a struct kevent_signal, in the list signal->kevents
 * of the process that registered it.  The list is protected by the siglock,
 * with which signals are sent: whoever sends one goes through the list, and
 * reports those watches that count.  If there is one that takes, it is handed
 * the record that would have been queued as pending otherwise.
 *
 * A record that was taken is first in the list of those to be reported, then in
 * the list of those that were, with the index of its entry in the ring, till it
 * is noticed that the program has taken that.  So until then it counts for
 * RLIMIT_SIGPENDING as if it was pending, and when the watch is removed all
 * that nobody has taken is sent for good.  These lists have a lock of their
 * own, because they are also used with the lock of the queue's backlog held.
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
 *    of the old one held, and lock_task_sighand() sees to it that who gets a
 *    siglock gets the one in use.
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

/*
 * So many watches may a process have.  Whoever sends it a signal goes through
 * them, with interrupts disabled, and parents of those who exit with
 * tasklist_lock held.
 */
#define KEVENT_SIGNAL_WATCHES	512

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
	INIT_LIST_HEAD(&ks->untold);
	INIT_LIST_HEAD(&ks->told);
	spin_lock_init(&ks->lock);
	ks->sig = sig;
	ks->takes = takes;
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
	kevent_free_signals(&ks->untold);
	kevent_free_signals(&ks->told);
	if (ks->spare) {
		list_add(&ks->spare->list, &ks->told);
		kevent_free_signals(&ks->told);
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

/* The first of the watches that are on and take the signal. */
static struct kevent_signal *kevent_find_interceptor(int sig, struct task_struct *t)
{
	struct kevent_signal *ks, *taker = NULL;

	lockdep_assert_held(&t->sighand->siglock);
	if (t->signal->flags & SIGNAL_GROUP_EXIT)
		return NULL;
	/* The list begins with the last one. */
	hlist_for_each_entry(ks, &t->signal->kevents, node) {
		if (ks->sig == sig && ks->takes && kevent_signal_intercepts(ks))
			taker = ks;
	}
	return taker;
}

/**
 * __kevent_signal_sent - a signal is sent
 * @sig: its number
 * @t: to this task or its process; siglock is held
 * @can_take: whether it may be taken instead of being delivered
 *
 * Return: who is to be handed it, or NULL.
 */
struct kevent_signal *__kevent_signal_sent(int sig, struct task_struct *t,
					   bool can_take)
{
	bool stops = sig_kernel_stop(sig);
	struct kevent_signal *ks, *taker;

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
	taker = can_take ? kevent_find_interceptor(sig, t) : NULL;
	if (taker)
		kevent_signal_sweep(taker);
	return taker;
}

/*
 * A timer of setitimer() goes on when its signal is dequeued, so that a program
 * which does not come to that is not interrupted all the time.  Nobody knows
 * when the program has taken an event, so it is not interrupted more often than
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
 * kevent_intercept_signal - hand a signal to the one who takes it
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
		/* If there is none, the last one had it, and need not be known. */
		if (!q && ks->sig < SIGRTMIN && !list_empty(&ks->untold)) {
			q = list_first_entry(&ks->untold, struct sigqueue,
					     list);
			list_del_init(&q->list);
		}
		/* What collect_signal() says of such a one. */
		if (q) {
			clear_siginfo(&q->info);
			q->info.si_signo = ks->sig;
			q->info.si_code = SI_USER;
		}
	}
	if (q) {
		if (ks->sig < SIGRTMIN)
			list_splice_init(&ks->untold, &old);
		list_add_tail(&q->list, &ks->untold);
		kevent_keep_spare(ks, &old);
	}
	spin_unlock(&ks->lock);
	kevent_free_signals(&old);

	ks->stale = false;
	/* Without a record it is one with those that were not taken yet. */
	if (q)
		kevent_signal_fire(ks);
	if (ks->sig == SIGALRM)
		kevent_rearm_itimer(t);
}

/* Takes what is pending, as far as the watch takes anything. */
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
 *
 * Return: 0, or -ENOSPC if there are too many.
 */
int kevent_signal_link(struct kevent_signal *ks)
{
	struct task_struct *t = current;
	struct signal_struct *signal = t->signal;

	guard(spinlock_irq)(&t->sighand->siglock);
	if (hlist_count_nodes(&signal->kevents) >= KEVENT_SIGNAL_WATCHES)
		return -ENOSPC;
	hlist_add_head(&ks->node, &signal->kevents);
	kevent_take_pending(ks, t);
	return 0;
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
 * kevent_signal_pull - take what is pending
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

/* Who has sent it, and why, and what goes with it; see the uapi header. */
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
 * @info: out: KEVENT_INFO_MORE if another one was taken already
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
	q = list_first_entry_or_null(&ks->untold, struct sigqueue, list);
	if (!q)
		return false;
	*info = list_is_singular(&ks->untold) ? 0 : KEVENT_INFO_MORE;
	kevent_siginfo_words(&q->info, data, extra);
	return true;
}

/**
 * kevent_signal_drop - the program has taken what kevent_signal_next() said
 * @ks: the watch's
 */
void kevent_signal_drop(struct kevent_signal *ks)
{
	LIST_HEAD(old);

	scoped_guard(spinlock_irqsave, &ks->lock) {
		if (list_empty(&ks->untold))
			return;
		list_move(ks->untold.next, &old);
		kevent_keep_spare(ks, &old);
	}
	kevent_free_signals(&old);
}

/**
 * kevent_signal_posted - what kevent_signal_next() said was reported
 * @ks: the watch's
 * @entry: by the entry in the ring with this index
 */
void kevent_signal_posted(struct kevent_signal *ks, u64 entry)
{
	struct sigqueue *q;

	guard(spinlock_irqsave)(&ks->lock);
	q = list_first_entry_or_null(&ks->untold, struct sigqueue, list);
	if (!q)
		return;
	list_move_tail(&q->list, &ks->told);
	kevent_set_entry(q, entry);
}

static struct sigqueue *kevent_end_of_posted(struct kevent_signal *ks,
					     bool oldest)
{
	lockdep_assert_held(&ks->lock);
	if (list_empty(&ks->told))
		return NULL;
	if (oldest)
		return list_first_entry(&ks->told, struct sigqueue, list);
	return list_last_entry(&ks->told, struct sigqueue, list);
}

/**
 * kevent_signal_entry - by which entry in the ring a signal was reported
 * @ks: the watch's
 * @oldest: which one: of those that were reported, the oldest, else the latest
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
 * kevent_signal_resolve - it is known what became of a signal that was reported
 * @ks: the watch's
 * @oldest: as for kevent_signal_entry()
 * @entry: from there; if it is another one now, somebody else was faster
 * @taken: the program has taken it, else it was not reported after all
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
			list_move(&q->list, &ks->untold);
		}
	}
	kevent_free_signals(&old);
}

/**
 * kevent_signal_return - unlink, and send for good what was taken and not
 * reported
 * @ks: the watch's, which reports nothing any more
 */
void kevent_signal_return(struct kevent_signal *ks)
{
	struct kevent_signal *taker;
	struct task_struct *t;
	struct sigqueue *q;
	unsigned long flags;

	t = kevent_signal_lock(ks, &flags);
	if (t) {
		hlist_del_init(&ks->node);
		while (!ks->stale && !list_empty(&ks->untold)) {
			taker = kevent_find_interceptor(ks->sig, t);
			if (!taker) {
				kevent_return_signals(ks->sig, &ks->untold, t);
				break;
			}
			q = list_first_entry(&ks->untold, struct sigqueue,
					     list);
			list_del_init(&q->list);
			kevent_intercept_signal(taker, q, t);
		}
		kevent_signal_unlock(t, flags);
	}
	kevent_free_signals(&ks->untold);
}

/**
 * __kevent_signals_end - the current process is not to be watched any more
 *
 * Whoever holds a queue with such a watch may be removing it.  One of the two
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
