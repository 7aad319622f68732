// SPDX-License-Identifier: GPL-2.0-only
/*
 * What a user may have of kevent.
 */
#include <linux/capability.h>
#include <linux/mm.h>
#include <linux/resource.h>
#include <linux/sched/signal.h>
#include <linux/sched/user.h>

#include "kevent.h"

/**
 * kevent_charge_ring - charge a ring to RLIMIT_MEMLOCK of the current user
 * @size: size of the ring in bytes, a multiple of PAGE_SIZE
 * @user: out: whom it was charged to, NULL if the task has CAP_IPC_LOCK
 *
 * Return: 0, or -ENOMEM if the limit does not allow it.
 */
int kevent_charge_ring(size_t size, struct user_struct **user)
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
 * kevent_uncharge_ring - give back what kevent_charge_ring() charged
 * @size: as it was
 * @user: as it was returned
 */
void kevent_uncharge_ring(size_t size, struct user_struct *user)
{
	if (!user)
		return;
	atomic_long_sub(size >> PAGE_SHIFT, &user->locked_vm);
	free_uid(user);
}
