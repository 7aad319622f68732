// SPDX-License-Identifier: GPL-2.0-only
/*
 * What a user may have of kevent.
 */
#include <linux/capability.h>
#include <linux/cred.h>
#include <linux/init.h>
#include <linux/limits.h>
#include <linux/minmax.h>
#include <linux/mm.h>
#include <linux/resource.h>
#include <linux/sched/signal.h>
#include <linux/sched/user.h>
#include <linux/sysctl.h>
#include <linux/uidgid.h>
#include <linux/user_namespace.h>

#include "../kevent.h"

/**
 * kevent_charge_queue - charge a queue to RLIMIT_MEMLOCK of the current user
 * @size: size of its ring, or a page if it has none, a multiple of PAGE_SIZE
 * @user: out: whom it was charged to, NULL if the task has CAP_IPC_LOCK
 *
 * Return: 0, or -ENOMEM if the limit does not allow it.
 */
int kevent_charge_queue(size_t size, struct user_struct **user)
{
	unsigned long limit = rlimit(RLIMIT_MEMLOCK) >> PAGE_SHIFT;
	unsigned long pages = size >> PAGE_SHIFT;
	struct user_struct *self = current_user();
	unsigned long used;

	*user = NULL;
	if (capable(CAP_IPC_LOCK))
		return 0;

	used = atomic_long_read(&self->locked_vm);
	do {
		if (used > limit || pages > limit - used)
			return -ENOMEM;
	} while (!atomic_long_try_cmpxchg(&self->locked_vm, &used,
					  used + pages));

	*user = get_uid(self);
	return 0;
}

/**
 * kevent_uncharge_queue - give back what kevent_charge_queue() charged
 * @size: as it was
 * @user: as it was returned
 */
void kevent_uncharge_queue(size_t size, struct user_struct *user)
{
	if (!user)
		return;
	atomic_long_sub(size >> PAGE_SHIFT, &user->locked_vm);
	free_uid(user);
}

/*
 * What a watch costs, roughly: 128 bytes, what the memory cgroup adds, and its
 * places in the tables of its queue.
 */
#define KEVENT_WATCH_COST	256

/*
 * A wake-up of one file may fire a watch in each of many queues, and all of
 * their events may fire the watches of these queues, in one interrupt.
 */
#define KEVENT_MAX_NESTED	4096

/**
 * kevent_current_user - whom what the current task makes is charged to
 *
 * Return: the current user, with a reference; NULL if there is no memory.
 */
struct ucounts *kevent_current_user(void)
{
	return get_ucounts(current_ucounts());
}

/**
 * kevent_may_inspect - whether the current task may know what a queue watches
 * @user: whom its watches are charged to
 *
 * That has addresses in the program, which others who have the queue need not
 * know.
 *
 * Return: whether it may, though it may not use the queue: it is of the same
 * user, or may trace that user's programs.
 */
bool kevent_may_inspect(const struct ucounts *user)
{
	return uid_eq(user->uid, current_euid()) ||
	       ns_capable_noaudit(user->ns, CAP_SYS_PTRACE);
}

/* The user of the initial namespace whom all that @user has is charged to. */
static const struct ucounts *kevent_outermost(const struct ucounts *user)
{
	while (user->ns->ucounts)
		user = user->ns->ucounts;
	return user;
}

/**
 * kevent_outermost_user - whom all that the current task has is charged to
 *
 * Return: the user of the initial namespace for whom that is.
 */
kuid_t kevent_outermost_user(void)
{
	return kevent_outermost(current_ucounts())->uid;
}

/**
 * kevent_count_timers - how many periodic timers a user has
 * @user: a user, perhaps of one namespace of many
 *
 * Return: how many there are, in all namespaces.
 */
s64 kevent_count_timers(const struct ucounts *user)
{
	return atomic_long_read(&kevent_outermost(user)->ucount[UCOUNT_KEVENT_TIMERS]);
}

#ifdef CONFIG_SYSCTL
static long kevent_zero;
static long kevent_int_max = INT_MAX;

static const struct ctl_table kevent_table[] = {
	{
		.procname	= "max_user_watches",
		.data		= &init_user_ns.ucount_max[UCOUNT_KEVENT_WATCHES],
		.maxlen		= sizeof(long),
		.mode		= 0644,
		.proc_handler	= proc_doulongvec_minmax,
		.extra1		= &kevent_zero,
		.extra2		= &kevent_int_max,
	},
};

static void __init kevent_sysctls_init(void)
{
	register_sysctl("fs/kevent", kevent_table);
}
#else
static void __init kevent_sysctls_init(void) {}
#endif

static int __init kevent_limits_init(void)
{
	unsigned long max;
	struct sysinfo si;

	si_meminfo(&si);
	/* Like epoll: 4% of the memory that is always mapped, for each user. */
	max = (si.totalram - si.totalhigh) / 25 *
	      (PAGE_SIZE / KEVENT_WATCH_COST);
	max = clamp(max, 8192UL, (unsigned long)INT_MAX);
	init_user_ns.ucount_max[UCOUNT_KEVENT_WATCHES] = max;
	/* Each is a watch. */
	init_user_ns.ucount_max[UCOUNT_KEVENT_TIMERS] = INT_MAX;
	init_user_ns.ucount_max[UCOUNT_KEVENT_NESTED] = KEVENT_MAX_NESTED;
	kevent_sysctls_init();
	return 0;
}
fs_initcall(kevent_limits_init);
