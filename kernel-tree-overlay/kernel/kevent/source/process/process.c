// SPDX-License-Identifier: GPL-2.0-only
/*
 * What becomes of a process that is watched by its pidfd.
 *
 * The watch is on the wait queue of the struct pid, which is woken
 *
 *  - by do_notify_pidfd(), when the process can be waited for, with EPOLLIN;
 *  - by __unhash_process(), when it was waited for, without a key;
 *  - by kevent_exec(), with KEVENT_KEY_EXEC.
 *
 * The first two hold tasklist_lock for writing.  What such a wake-up means, the
 * state of the task reports: a traced leader notifies its tracer while it has
 * threads still, and exec can give the id to another task.  So the state is
 * looked at under tasklist_lock, by wakers and by everybody else, and written
 * down then, because when the process is reaped most of it goes.
 *
 * All that is done for each watch, so a user may not have too many of one
 * process.  They are counted in a hash table of all that are watched.
 */
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/kevent.h>
#include <linux/pid.h>
#include <linux/pidfs.h>
#include <linux/poll.h>
#include <linux/ptrace.h>
#include <linux/sched/cputime.h>
#include <linux/sched/signal.h>
#include <linux/sched/task.h>
#include <linux/wait.h>

#include "../../kevent.h"

/* Whether the current task could see in procfs what that task does. */
static bool kevent_may_see(struct task_struct *task)
{
	bool is_child;

	rcu_read_lock();
	is_child = same_thread_group(rcu_dereference(task->real_parent),
				     current);
	rcu_read_unlock();
	return is_child ||
	       ptrace_may_access(task, PTRACE_MODE_READ_FSCREDS |
				 PTRACE_MODE_NOAUDIT);
}

/**
 * kevent_process_open - begin to watch a process
 * @process: what is known of it, all zero
 * @file: its pidfd
 * @holder: on whose account
 *
 * Return: 0, -EINVAL if @file is no pidfd, -EREMOTE if the process is not in
 * the pid namespace of the current task: PIDFD_GET_INFO reports nothing then.
 * -ENOSPC if there are too many watches of it.
 */
int kevent_process_open(struct kevent_process *process, struct file *file,
			const struct kevent_holder *holder)
{
	struct pid *pid = pidfd_pid(file);
	struct task_struct *task;
	int ret;

	if (IS_ERR(pid))
		return -EINVAL;
	if (!pid_vnr(pid))
		return -EREMOTE;
	ret = kevent_count_object(pid, holder);
	if (ret)
		return ret;
	task = get_pid_task(pid, PIDTYPE_PID);
	/* If it was reaped there is nothing left that is not for everybody. */
	process->may_see = !task || kevent_may_see(task);
	if (task)
		put_task_struct(task);
	process->pid = get_pid(pid);
	return 0;
}

/**
 * kevent_process_close - stop watching a process
 * @process: it, which may be closed already; there are no wake-ups any more
 * @holder: as it was
 */
void kevent_process_close(struct kevent_process *process,
			  const struct kevent_holder *holder)
{
	if (!process->pid)
		return;
	kevent_uncount_object(process->pid, holder);
	put_pid(process->pid);
	process->pid = NULL;
}

/* Writes down how a task ended which is a zombie. */
static void kevent_task_ended(struct kevent_process *process,
			      struct task_struct *task)
{
	struct signal_struct *sig = task->signal;
	u64 cputime = task_sched_runtime(task);

	process->status = task->exit_code;
	if (thread_group_leader(task)) {
		/* As in wait_task_zombie(). All other threads are gone. */
		if (sig->flags & SIGNAL_GROUP_EXIT)
			process->status = sig->group_exit_code;
		cputime += sig->sum_sched_runtime;
	}
	if (process->may_see)
		process->cputime = cputime;
}

/**
 * kevent_process_woken - there was a wake-up that is not about exec
 * @process: that it was of; tasklist_lock is held
 *
 * Return: what has become of the process that was not known before.
 */
u32 kevent_process_woken(struct kevent_process *process)
{
	u32 seen = process->seen, now;
	struct task_struct *task;

	lockdep_assert_held(&tasklist_lock);

	task = pid_task(process->pid, PIDTYPE_PID);
	if (!task)
		now = KEVENT_PROCESS_EXIT | KEVENT_PROCESS_REAPED;
	else if (task->exit_state && !delay_group_leader(task))
		now = KEVENT_PROCESS_EXIT;
	else
		now = 0;
	now &= ~seen;
	if (now & KEVENT_PROCESS_EXIT) {
		if (task)
			kevent_task_ended(process, task);
		else
			process->status = pidfs_exit_code(process->pid);
	}
	/* Pairs with the one in kevent_process_outcome(). */
	smp_store_release(&process->seen, seen | now);
	return now;
}

/**
 * kevent_process_poll - look what has become of a process
 * @process: it; no other task does this at the same time
 *
 * Return: what was not known before.
 */
u32 kevent_process_poll(struct kevent_process *process)
{
	u32 now;

	read_lock(&tasklist_lock);
	now = kevent_process_woken(process);
	read_unlock(&tasklist_lock);
	return now;
}

/**
 * kevent_process_outcome - how a process has ended
 * @process: it
 * @status: its wait status
 * @cputime: the CPU time that it has used
 *
 * Return: what is known to have become of it.  If that is nothing, @status and
 * @cputime are left alone.
 */
u32 kevent_process_outcome(const struct kevent_process *process, s32 *status,
			   u64 *cputime)
{
	/* Pairs with the one in kevent_process_woken(). */
	u32 seen = smp_load_acquire(&process->seen);

	if (seen) {
		*status = process->status;
		*cputime = process->cputime;
	}
	return seen;
}

/**
 * __kevent_exec - the current task runs another program
 *
 * It is the leader of its thread group, and the only one in it.
 */
void __kevent_exec(void)
{
	struct wait_queue_head *waiters = &task_pid(current)->wait_pidfd;

	if (wq_has_sleeper(waiters))
		__wake_up(waiters, TASK_NORMAL, 0,
			  poll_to_key((__force __poll_t)KEVENT_KEY_EXEC));
}
