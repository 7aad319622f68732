// SPDX-License-Identifier: GPL-2.0-only
/*
 * What goes with the memory of a program: its queues, and the futexes that are
 * watched in it.
 *
 * A queue belongs to the mm of the task that made it, to which it has a
 * reference, but not as a user of it.  When the last user has left, there is
 * no task that may consume the queue's events, though others may have its
 * descriptor.  So it ends then, unless it is KEVENT_CREATE_SHARED.
 *
 * All of that is in the list mm_struct.kevents.  Only users of an mm add to its
 * list, but anyone may take something off: who drops the last reference to the
 * file of a queue, say.
 *
 * Lock order: the mutex of a queue, the lock in kevent_mm_locks, then what
 * kevent_mm_link.gone takes.  A queue ends without the lock.
 */
#include <linux/cache.h>
#include <linux/hash.h>
#include <linux/init.h>
#include <linux/kevent.h>
#include <linux/list.h>
#include <linux/mm_types.h>
#include <linux/sched.h>
#include <linux/spinlock.h>

#include "../kevent.h"

#define KEVENT_MM_BITS	6

struct kevent_mm_lock {
	spinlock_t lock; /* mm_struct.kevents, and to leave that list */
} ____cacheline_aligned_in_smp;

static struct kevent_mm_lock kevent_mm_locks[1 << KEVENT_MM_BITS];

/**
 * kevent_mm_lock - the lock of a list
 * @mm: whose list
 *
 * Return: what protects mm->kevents.
 */
spinlock_t *kevent_mm_lock(const struct mm_struct *mm)
{
	return &kevent_mm_locks[hash_ptr(mm, KEVENT_MM_BITS)].lock;
}

/**
 * kevent_mm_add - from now on something goes with the memory of a program
 * @link: its link, which is not in a list
 * @mm: the memory of the current task
 */
void kevent_mm_add(struct kevent_mm_link *link, struct mm_struct *mm)
{
	spinlock_t *lock = kevent_mm_lock(mm);

	spin_lock(lock);
	hlist_add_head(&link->node, &mm->kevents);
	spin_unlock(lock);
}

/**
 * kevent_link_queue - from now on a queue ends with the memory of its program
 * @link: the queue's
 * @mm: the memory of the current task
 */
void kevent_link_queue(struct kevent_mm_link *link, struct mm_struct *mm)
{
	link->gone = kevent_get_queue;
	kevent_mm_add(link, mm);
}

/**
 * kevent_unlink_queue - a queue does not end with the memory of its program
 * @link: the queue's, which may have been unlinked, or never linked
 * @mm: as it was linked, with a reference
 */
void kevent_unlink_queue(struct kevent_mm_link *link, struct mm_struct *mm)
{
	spinlock_t *lock = kevent_mm_lock(mm);

	spin_lock(lock);
	hlist_del_init(&link->node);
	spin_unlock(lock);
}

/**
 * __kevent_mm_exit - no task uses the memory of a program any more
 * @mm: it
 */
void __kevent_mm_exit(struct mm_struct *mm)
{
	spinlock_t *lock = kevent_mm_lock(mm);
	struct kevent_mm_link *link;
	const void *queue;

	/* Nothing is added any more, but something may be about to leave. */
	spin_lock(lock);
	while (!hlist_empty(&mm->kevents)) {
		link = hlist_entry(mm->kevents.first, struct kevent_mm_link, node);
		hlist_del_init(&link->node);
		queue = link->gone(link);
		if (queue) {
			spin_unlock(lock);
			kevent_end_queue(queue);
			spin_lock(lock);
		}
		cond_resched_lock(lock);
	}
	spin_unlock(lock);
}

static int __init kevent_owner_init(void)
{
	int i;

	for (i = 0; i < 1 << KEVENT_MM_BITS; i++)
		spin_lock_init(&kevent_mm_locks[i].lock);
	return 0;
}
core_initcall(kevent_owner_init);
