// SPDX-License-Identifier: GPL-2.0-only
/*
 * Words in memory on which a watch waits, as futex_wait(2) does.
 *
 * A watch that waits is in a bucket of the futexes.  A waker takes it
 * out, with the lock of the bucket held, and has it fire.  To wait again it
 * has to be put back by a task of the program, because the word is looked at
 * under the lock of the bucket.  That never faults: a page that is not there
 * may have to come from a program that waits for this very queue.  The page is
 * faulted in, and the key found out, when the watch is made.
 *
 * The buckets of private futexes belong to the mm, and so do their keys,
 * without a reference.  So before an mm goes, kevent_mm_exit() takes everything
 * out that waits there, and shared futexes too: no task would recheck
 * them.
 *
 * Lock order: the mutex of a queue, the lock of the mm's list (entry/owner.c),
 * the lock of a bucket, the lock of a futex.
 */
#include <linux/err.h>
#include <linux/futex.h>
#include <linux/kevent.h>
#include <linux/list.h>
#include <linux/once.h>
#include <linux/random.h>
#include <linux/sched.h>
#include <linux/siphash.h>
#include <linux/slab.h>
#include <linux/spinlock.h>
#include <linux/uaccess.h>

#include "../../../futex/futex.h"
#include "../../kevent.h"

/**
 * struct kevent_futex - a word on which a watch waits, or not
 * @q: in the bucket; its lock_ptr is NULL if it is not
 * @lock: who does not find @q in a bucket takes it to wait for who wakes it
 * @key: of the word; that of @q is another one after futex_requeue(2)
 * @link: in the list of @mm
 * @mm_lock: that of this list
 * @mm: where the word is; NULL if that is gone
 * @uaddr: of the word
 * @watch: to be fired
 * @flags: FUTEX2_*
 * @bitset: which wakes are for this one
 * @value: that the word was last seen to have
 * @unread: it could not be read when it was looked at last
 * @counted: it is counted as a watch of its word
 */
struct kevent_futex {
	struct futex_q q;
	spinlock_t lock; /* held while @watch is fired */
	union futex_key key;
	struct kevent_mm_link link;
	spinlock_t *mm_lock; /* protects the list */
	struct mm_struct *mm;
	u32 __user *uaddr;
	const void *watch;
	u32 flags;
	u32 bitset;
	u32 value;
	bool unread;
	bool counted;
};

/* The lock of the bucket is held. */
static void kevent_futex_wake(struct wake_q_head *wake_q, struct futex_q *q)
{
	struct kevent_futex *f = container_of(q, struct kevent_futex, q);
	u32 value;

	/* Who sees that it does not wait any more, waits for this lock. */
	spin_lock(&f->lock);
	if (likely(__futex_wake_mark(q))) {
		if (current->mm == READ_ONCE(f->mm) &&
		    !futex_get_value_locked(&value, f->uaddr)) {
			WRITE_ONCE(f->value, value);
			WRITE_ONCE(f->unread, false);
		}
		kevent_futex_woken(f->watch);
	}
	spin_unlock(&f->lock);
}

/* The private hash has to be there before there is a waiter, see io_uring. */
static int kevent_futex_prepare_hash(void)
{
	int ret = futex_hash_allocate_default();

	/* Another thread has chosen to have none. */
	return ret == -EBUSY ? 0 : ret;
}

/**
 * kevent_futex_new - a word of the current task
 * @uaddr: where it is
 * @flags: FUTEX2_*
 * @bitset: which wakes matter
 *
 * Return: it, or an error: -EINVAL for flags and alignment, -EFAULT, -ENOMEM.
 */
struct kevent_futex *kevent_futex_new(u64 uaddr, u32 flags, u32 bitset)
{
	struct kevent_futex *f;
	int ret;

	if (flags & ~(FUTEX2_SIZE_MASK | FUTEX2_PRIVATE) ||
	    (flags & FUTEX2_SIZE_MASK) != FUTEX2_SIZE_U32)
		return ERR_PTR(-EINVAL);
	if (uaddr != (unsigned long)uaddr)
		return ERR_PTR(-EFAULT);
	f = kzalloc_obj(*f, GFP_KERNEL_ACCOUNT);
	if (!f)
		return ERR_PTR(-ENOMEM);
	f->q = futex_q_init;
	f->q.wake = kevent_futex_wake;
	spin_lock_init(&f->lock);
	f->mm = current->mm;
	f->mm_lock = kevent_mm_lock(f->mm);
	f->uaddr = u64_to_user_ptr(uaddr);
	f->flags = flags;
	f->bitset = bitset;

	ret = get_futex_key(f->uaddr, futex2_to_flags(flags), &f->key,
			    FUTEX_READ);
	if (!ret && flags & FUTEX2_PRIVATE)
		ret = kevent_futex_prepare_hash();
	if (!ret)
		ret = get_user(f->value, f->uaddr);
	if (ret) {
		kfree(f);
		return ERR_PTR(ret);
	}
	return f;
}

/**
 * kevent_futex_free - free what a futex has
 * @f: the futex, which is detached
 */
void kevent_futex_free(struct kevent_futex *f)
{
	kfree(f);
}

/*
 * f->mm_lock is held.  The bucket may go with the mm, which waits for that lock
 * as long as the futex is in its list.
 */
static void kevent_futex_take_out(struct kevent_futex *f)
{
	if (futex_unqueue(&f->q))
		WRITE_ONCE(f->q.lock_ptr, NULL);
}

/* The list's lock is held.  The mm has no users. */
static const void *kevent_futex_mm_gone(struct kevent_mm_link *link)
{
	struct kevent_futex *f = container_of(link, struct kevent_futex, link);

	kevent_futex_take_out(f);
	WRITE_ONCE(f->mm, NULL);
	kevent_futex_gone(f->watch);
	return NULL;
}

static siphash_key_t kevent_futex_secret __read_mostly;

/*
 * What all watches of the same word have in common, for kevent_count_object(), and
 * no program can choose.  If two words had it in common, which is rare, they would
 * share a limit.
 */
static const void *kevent_futex_object(const struct kevent_futex *f)
{
	const union futex_key *key = &f->key;

	get_random_once(&kevent_futex_secret, sizeof(kevent_futex_secret));
	return (const void *)(unsigned long)
		siphash_3u64((unsigned long)key->both.ptr, key->both.word,
			     key->both.offset, &kevent_futex_secret);
}

/**
 * kevent_futex_attach - connect a futex with its watch
 * @f: the futex, of the current task
 * @watch: to be fired until it is detached
 * @holder: on whose account
 *
 * Return: 0, -ENOSPC if there are too many watches of the word, or -ENOMEM.
 */
int kevent_futex_attach(struct kevent_futex *f, const void *watch,
			const struct kevent_holder *holder)
{
	int ret = kevent_count_object(kevent_futex_object(f), holder);

	if (ret)
		return ret;
	f->counted = true;
	f->watch = watch;
	f->link.gone = kevent_futex_mm_gone;
	kevent_mm_add(&f->link, current->mm);
	return 0;
}

/**
 * kevent_futex_is_armed - whether it waits
 * @f: the futex, attached and of a watch whose queue's mutex is held
 *
 * Return: whether it does.  If not, no waker fires the watch.
 */
bool kevent_futex_is_armed(struct kevent_futex *f)
{
	bool armed;

	spin_lock(&f->lock);
	armed = READ_ONCE(f->q.lock_ptr);
	spin_unlock(&f->lock);
	return armed;
}

/**
 * kevent_futex_disarm - do not wait any more
 * @f: the futex, of a watch whose queue's mutex is held
 *
 * When this returns no waker fires the watch.
 */
void kevent_futex_disarm(struct kevent_futex *f)
{
	spin_lock(f->mm_lock);
	kevent_futex_take_out(f);
	spin_unlock(f->mm_lock);
	/* A waker may be taking it out. */
	kevent_futex_is_armed(f);
}

/**
 * kevent_futex_detach - end what kevent_futex_attach() began
 * @f: the futex, which may be detached already
 * @holder: as it was
 */
void kevent_futex_detach(struct kevent_futex *f,
			 const struct kevent_holder *holder)
{
	if (f->counted)
		kevent_uncount_object(kevent_futex_object(f), holder);
	f->counted = false;
	spin_lock(f->mm_lock);
	kevent_futex_take_out(f);
	hlist_del_init(&f->link.node);
	spin_unlock(f->mm_lock);
	/* A waker may be taking it out. */
	kevent_futex_is_armed(f);
}

/**
 * kevent_futex_arm - wait
 * @f: the futex, which does not, and is the current task's
 * @compare: do not if the word is not what it was last seen to be
 *
 * Return: 0 if it waits, 1 if the word has changed.  -EFAULT if it waits, but
 * the word cannot be read without a fault.
 */
int kevent_futex_arm(struct kevent_futex *f, bool compare)
{
	struct futex_q *q = &f->q;
	bool changed;
	u32 value;
	int ret;

	q->key = f->key;
	q->bitset = f->bitset;

	CLASS(hbr, hbr)(&q->key);
	futex_q_lock(q, hbr.hb);
	ret = futex_get_value_locked(&value, f->uaddr);
	WRITE_ONCE(f->unread, ret);
	if (!ret) {
		changed = value != f->value;
		WRITE_ONCE(f->value, value);
		if (changed && compare) {
			futex_q_unlock(hbr.hb);
			WRITE_ONCE(q->lock_ptr, NULL);
			return 1;
		}
	}
	futex_queue(q, hbr.hb, NULL);
	return ret;
}

/**
 * kevent_futex_is_mine - whether the current task can look at the word
 * @f: the futex
 *
 * Return: whether it is in its memory.
 */
bool kevent_futex_is_mine(const struct kevent_futex *f)
{
	return !(current->flags & PF_KTHREAD) &&
	       current->mm == READ_ONCE(f->mm);
}

/**
 * kevent_futex_is_gone - whether the memory that the word was in is gone
 * @f: the futex
 *
 * Return: whether it is.
 */
bool kevent_futex_is_gone(const struct kevent_futex *f)
{
	return !READ_ONCE(f->mm);
}

/**
 * kevent_futex_change - wait for something else
 * @f: the futex, which does not wait
 * @bitset: which wakes matter
 * @expect: what the program has last seen, or NULL
 */
void kevent_futex_change(struct kevent_futex *f, u32 bitset, const u32 *expect)
{
	u32 value;

	f->bitset = bitset;
	if (expect)
		WRITE_ONCE(f->value, *expect);
	else if (kevent_futex_is_mine(f) &&
		 !futex_get_value_locked(&value, f->uaddr))
		WRITE_ONCE(f->value, value);
}

/**
 * kevent_futex_seen - what the word was last seen to be
 * @f: the futex
 * @unread: whether it could not be read since
 *
 * Return: the value.
 */
u32 kevent_futex_seen(const struct kevent_futex *f, bool *unread)
{
	*unread = READ_ONCE(f->unread);
	return READ_ONCE(f->value);
}

/**
 * kevent_futex_name - what the program said that it is
 * @f: the futex
 * @flags: FUTEX2_*
 *
 * Return: the address.
 */
u64 kevent_futex_name(const struct kevent_futex *f, u32 *flags)
{
	*flags = f->flags;
	return (unsigned long)f->uaddr;
}
