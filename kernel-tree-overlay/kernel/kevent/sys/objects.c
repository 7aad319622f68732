// SPDX-License-Identifier: GPL-2.0-only
/*
 * How many watches one object may have.
 *
 * Each time that something happens to an object, the kernel walks all watches of
 * it: in a wake-up with interrupts off, under siglock when a signal is sent, under
 * tasklist_lock when a process exits.  The one who pays is the task that wakes,
 * sends or exits, which is not the one who made the watches.  So their number is
 * limited, for each queue and for each user, by one rule for all classes.
 *
 * A count has an object, and the queue or the user it is of.  It exists while it
 * is not 0.  Objects are named by their addresses: a watch is uncounted before its
 * object can go away.  What a program could choose is no name for an object, as it
 * may choose them for one bucket.
 */
#include <linux/hash.h>
#include <linux/init.h>
#include <linux/list.h>
#include <linux/memblock.h>
#include <linux/slab.h>
#include <linux/spinlock.h>
#include <linux/uidgid.h>

#include "../kevent.h"

/*
 * A queue needs few watches of one object: one for each way in which it looks at
 * it.
 */
#define KEVENT_OBJECT_QUEUE_MAX		128

/*
 * A server may have a thousand processes with a queue each, all of which watch one
 * listener or one directory.
 */
#define KEVENT_OBJECT_USER_MAX		1280

/* One bucket for so much memory, as a power of two; and at least so many. */
#define KEVENT_OBJECT_SCALE	18
#define KEVENT_OBJECT_LEAST	64

struct kevent_count {
	struct hlist_node node;
	const void *object;
	u64 queue; /* its number; 0: the count is of the user */
	kuid_t user;
	u32 nr;
};

struct kevent_count_bucket {
	spinlock_t lock; /* protects @counts and what they link */
	struct hlist_head counts;
};

static struct kevent_count_bucket *kevent_counts __ro_after_init;
static unsigned int kevent_count_bits __ro_after_init;

static struct kevent_count_bucket *kevent_count_bucket(const void *object)
{
	return &kevent_counts[hash_ptr(object, kevent_count_bits)];
}

/* The lock of the bucket is held. */
static struct kevent_count *kevent_find_count(struct kevent_count_bucket *bucket,
					      const void *object, u64 queue,
					      kuid_t user)
{
	struct kevent_count *count;

	hlist_for_each_entry(count, &bucket->counts, node) {
		if (count->object == object && count->queue == queue &&
		    (queue || uid_eq(count->user, user)))
			return count;
	}
	return NULL;
}

/* Counts one watch more of @queue or, if that is 0, of @user. */
static int kevent_count(const void *object, u64 queue, kuid_t user)
{
	struct kevent_count_bucket *bucket = kevent_count_bucket(object);
	u32 max = queue ? KEVENT_OBJECT_QUEUE_MAX : KEVENT_OBJECT_USER_MAX;
	struct kevent_count *count, *new = NULL;
	int ret = 0;

	for (;;) {
		spin_lock(&bucket->lock);
		count = kevent_find_count(bucket, object, queue, user);
		if (!count && new) {
			count = new;
			new = NULL;
			hlist_add_head(&count->node, &bucket->counts);
		}
		if (count && count->nr < max)
			count->nr++;
		else if (count)
			ret = -ENOSPC;
		spin_unlock(&bucket->lock);
		if (count)
			break;
		new = kzalloc_obj(*new, GFP_KERNEL_ACCOUNT);
		if (!new)
			return -ENOMEM;
		new->object = object;
		new->queue = queue;
		new->user = user;
	}
	kfree(new);
	return ret;
}

static void kevent_uncount(const void *object, u64 queue, kuid_t user)
{
	struct kevent_count_bucket *bucket = kevent_count_bucket(object);
	struct kevent_count *count;

	spin_lock(&bucket->lock);
	count = kevent_find_count(bucket, object, queue, user);
	if (!WARN_ON_ONCE(!count) && !--count->nr)
		hlist_del(&count->node);
	else
		count = NULL;
	spin_unlock(&bucket->lock);
	kfree(count);
}

/**
 * kevent_count_object - an object gets one watch more
 * @object: it, by its address
 * @holder: the queue of the watch, and its user
 *
 * Return: 0, -ENOSPC if the queue or its user has too many watches of @object, or
 * -ENOMEM.
 */
int kevent_count_object(const void *object, const struct kevent_holder *holder)
{
	int ret = kevent_count(object, holder->queue, holder->user);

	if (ret)
		return ret;
	ret = kevent_count(object, 0, holder->user);
	if (ret)
		kevent_uncount(object, holder->queue, holder->user);
	return ret;
}

/**
 * kevent_uncount_object - undo kevent_count_object()
 * @object: as it was
 * @holder: as it was
 */
void kevent_uncount_object(const void *object, const struct kevent_holder *holder)
{
	kevent_uncount(object, 0, holder->user);
	kevent_uncount(object, holder->queue, holder->user);
}

/**
 * kevent_object_is_counted - whether there is a watch of an object that is counted
 * @object: it
 *
 * Return: whether there is.  One that is being counted now may be missed.
 */
bool kevent_object_is_counted(const void *object)
{
	struct kevent_count_bucket *bucket = kevent_count_bucket(object);
	struct kevent_count *count;

	if (hlist_empty(&bucket->counts))
		return false;
	guard(spinlock)(&bucket->lock);
	hlist_for_each_entry(count, &bucket->counts, node) {
		if (count->object == object)
			return true;
	}
	return false;
}

static int __init kevent_objects_init(void)
{
	unsigned int i;

	kevent_counts = alloc_large_system_hash("Kevent objects", sizeof(*kevent_counts), 0,
						KEVENT_OBJECT_SCALE, 0, &kevent_count_bits,
						NULL, KEVENT_OBJECT_LEAST, 0);
	for (i = 0; i < 1U << kevent_count_bits; i++) {
		spin_lock_init(&kevent_counts[i].lock);
		INIT_HLIST_HEAD(&kevent_counts[i].counts);
	}
	return 0;
}
core_initcall(kevent_objects_init);
