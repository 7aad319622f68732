// SPDX-License-Identifier: GPL-2.0-only
/*
 * Which files are watched, so that a watch goes when its descriptor is closed,
 * and can be found by it.
 *
 * A watch of a file has a struct kevent_file_link, in a hash table by the
 * addresses of the file and of the table of descriptors that the watch was made
 * with.  So closing a descriptor goes through the links of that table only,
 * however many watches others have of the same file.
 *
 * A link holds no reference to the file.  Instead, each link has one of these,
 * which do:
 *
 *  - its table, where @fd stands for the file;
 *  - a task that has taken the file out of the table and has not got beyond
 *    filp_flush().  There it finds the link, in kevent_file_closed(), and
 *    removes the watch, for which it waits for the mutex of the watch's queue;
 *  - the task that makes the watch.  It looks, after it has linked it, whether
 *    the descriptor is still open, and removes the watch if it is not.
 *
 * Whatever takes a file out of a table passes filp_flush() with that table:
 * close(), dup2(), close_range(), exec, the exit of the last task, io_uring,
 * binder.  References that others have, as by dup(), fork() or SCM_RIGHTS, are
 * in other places or other tables, and of no importance here.  So no link is
 * left when the last reference to a file is dropped.
 *
 * A watch is unlinked only after it has left the file's wait queues.
 *
 * A file without watches costs one test of a flag, FMODE_KEVENT, when a
 * descriptor is closed; and not even that while there is no queue in the
 * system.
 *
 * Lock order: the mutex of a queue, then the lock of a bucket, or
 * files->file_lock, or file->f_lock; within the last the lock of a count.
 */
#include <linux/cache.h>
#include <linux/err.h>
#include <linux/fdtable.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/hash.h>
#include <linux/jump_label_ratelimit.h>
#include <linux/kevent.h>
#include <linux/list.h>
#include <linux/memblock.h>
#include <linux/math64.h>
#include <linux/pid.h>
#include <linux/rcupdate.h>
#include <linux/sched.h>
#include <linux/spinlock.h>

#include "../kevent.h"

/* One bucket for so much memory, as a power of two. */
#define KEVENT_FILE_SCALE	19

/* At least so many buckets. */
#define KEVENT_FILE_LEAST	64

/* So many links are looked at before the lock of their bucket is dropped. */
#define KEVENT_LINKS_AT_ONCE	64

struct kevent_bucket {
	spinlock_t lock; /* protects @links and what they link */
	struct hlist_head links;
};

static struct kevent_bucket *kevent_files __ro_after_init;
static unsigned int kevent_file_bits __ro_after_init;

/* On while there are queues, and a while longer. */
DEFINE_STATIC_KEY_DEFERRED_FALSE(kevent_queues, HZ);

/**
 * kevent_resched - let others run
 */
void kevent_resched(void)
{
	cond_resched();
}

/**
 * kevent_divide - divide what a 32-bit machine cannot divide by itself
 * @dividend: what to divide
 * @divisor: by what, not 0
 *
 * Return: the quotient.
 */
u64 kevent_divide(u64 dividend, u64 divisor)
{
	return div64_u64(dividend, divisor);
}

/**
 * kevent_queue_made - there is one queue more
 */
void kevent_queue_made(void)
{
	static_branch_deferred_inc(&kevent_queues);
}

/**
 * kevent_queue_gone - there is one queue less
 */
void kevent_queue_gone(void)
{
	static_branch_slow_dec_deferred(&kevent_queues);
}

static struct kevent_bucket *kevent_bucket(const struct file *file,
					   const struct files_struct *files)
{
	unsigned long key = hash_long((unsigned long)files, BITS_PER_LONG);

	return &kevent_files[hash_long(key ^ (unsigned long)file, kevent_file_bits)];
}

/**
 * kevent_is_pidfd - whether a file is the pidfd of a process
 * @file: it
 *
 * Return: whether it is.
 */
bool kevent_is_pidfd(const struct file *file)
{
	return !IS_ERR(pidfd_pid(file));
}

/*
 * What a watch counts as one of, see objects.c.  Each time that a process, a FIFO
 * or a file of procfs is opened there is another file, and a wake-up is for all
 * of them.  Those of a device need have nothing in common.
 */
static const void *kevent_file_object(const struct file *file, u16 kind)
{
	const struct inode *inode = file_inode(file);

	/* The others count what they watch themselves. */
	if ((kind & KEVENT_LINK_CLASS) != KEVENT_SOURCE_POLL)
		return file;
	if (kevent_is_pidfd(file))
		return inode;
	if (!IS_ANON_FILE(inode) &&
	    (S_ISREG(inode->i_mode) || S_ISFIFO(inode->i_mode)))
		return inode;
	return file;
}

/* Who closes @file looks for links from now on; whether that was so before. */
static bool kevent_mark_file(struct file *file)
{
	bool marked;

	guard(spinlock)(&file->f_lock);
	marked = file->f_mode & FMODE_KEVENT;
	file->f_mode |= FMODE_KEVENT;
	return marked;
}

/*
 * The watch that is not counted is going to leave @file, to which there is a
 * reference.  If there are no others, the next one is not counted either.
 */
static void kevent_unmark_file(struct file *file)
{
	const void *object = kevent_file_object(file, KEVENT_SOURCE_POLL);

	guard(spinlock)(&file->f_lock);
	if (!kevent_object_is_counted(file) &&
	    (object == file || !kevent_object_is_counted(object)))
		file->f_mode &= ~FMODE_KEVENT;
}

/**
 * kevent_link_file - from now on the watch goes when the descriptor is closed
 * @link: the watch's
 * @file: what @fd stands for; the caller has a reference
 * @fd: a descriptor of the current task
 * @holder: on whose account
 *
 * The first watch of a file is not counted as one of that file: most files have
 * no other one.
 *
 * Return: 0, -ENOSPC if there are too many watches of the file, or -ENOMEM.
 */
int kevent_link_file(struct kevent_file_link *link, struct file *file, int fd,
		     const struct kevent_holder *holder)
{
	struct kevent_bucket *bucket = kevent_bucket(file, current->files);
	const void *object = kevent_file_object(file, link->kind);
	int ret;

	if (kevent_mark_file(file) || object != file) {
		ret = kevent_count_object(object, holder);
		if (ret)
			return ret;
		link->kind |= KEVENT_LINK_COUNTED;
		/* The mark may have gone.  It stays while there is a count. */
		kevent_mark_file(file);
	}
	link->file = file;
	link->files = current->files;
	link->fd = fd;
	spin_lock(&bucket->lock);
	hlist_add_head(&link->node, &bucket->links);
	spin_unlock(&bucket->lock);
	return 0;
}

/**
 * kevent_unlink_file - the watch has left the file
 * @link: the watch's, which may be unlinked already
 * @holder: as it was
 */
void kevent_unlink_file(struct kevent_file_link *link,
			const struct kevent_holder *holder)
{
	bool counted = link->kind & KEVENT_LINK_COUNTED;
	struct file *file = link->file;
	struct kevent_bucket *bucket;

	if (!file)
		return;
	bucket = kevent_bucket(file, link->files);
	if (counted) {
		kevent_uncount_object(kevent_file_object(file, link->kind), holder);
	} else {
		/* Who closes the file does not wait for this when the mark has gone. */
		get_file(file);
		kevent_unmark_file(file);
	}
	spin_lock(&bucket->lock);
	hlist_del_init(&link->node);
	link->file = NULL;
	spin_unlock(&bucket->lock);
	if (!counted)
		fput(file);
}

/**
 * kevent_linked_file - the file of a link
 * @link: of a watch whose queue's mutex is held
 *
 * Return: the file with a reference, or NULL if it is about to go.
 */
struct file *kevent_linked_file(const struct kevent_file_link *link)
{
	struct file *file = link->file;

	return file && file_ref_get(&file->f_ref) ? file : NULL;
}

/**
 * kevent_link_is_open - whether the descriptor still stands for the file
 * @link: made by the current task, in the system call that looked it up
 *
 * Return: whether it does.  If it is closed from now on the link is found.
 */
bool kevent_link_is_open(const struct kevent_file_link *link)
{
	struct files_struct *files = link->files;

	/*
	 * Who closes it holds this, and looks for links after that.  That no other
	 * task has the table now says nothing of one that has left it.
	 */
	guard(spinlock)(&files->file_lock);
	return files_lookup_fd_locked(files, link->fd) == link->file;
}

/**
 * kevent_find_link - the link of the watch that a program names by a descriptor
 * @file: what @fd stands for; the caller has a reference
 * @fd: a descriptor of the current task
 * @class: of the watch
 * @queue: the watch's; its mutex is held, so its links stay
 *
 * The links of a file that is watched in many queues may be many, so the lock of
 * the bucket is dropped in between.
 *
 * Return: the link, NULL if there is none, or -EEXIST if there are several.
 */
struct kevent_file_link *kevent_find_link(const struct file *file, int fd,
					  u16 class, const void *queue)
{
	struct kevent_file_link *link, *found = NULL, cursor = {};
	struct files_struct *files = current->files;
	struct kevent_bucket *bucket = kevent_bucket(file, files);
	struct hlist_node *node, *next;
	int nr = 0;

	spin_lock(&bucket->lock);
	for (node = bucket->links.first; node; node = next) {
		link = hlist_entry(node, struct kevent_file_link, node);
		if (link->file == file && link->files == files && link->fd == fd &&
		    (link->kind & KEVENT_LINK_CLASS) == class &&
		    kevent_link_is_named(link, queue)) {
			if (found) {
				found = ERR_PTR(-EEXIST);
				break;
			}
			found = link;
		}
		next = node->next;
		if (++nr % KEVENT_LINKS_AT_ONCE || !next)
			continue;
		hlist_add_behind(&cursor.node, node);
		spin_unlock(&bucket->lock);
		cond_resched();
		spin_lock(&bucket->lock);
		next = cursor.node.next;
		hlist_del(&cursor.node);
	}
	spin_unlock(&bucket->lock);
	return found;
}

/* Whether @link is to go because a descriptor of @files for @file is closed. */
static bool kevent_link_is_closed(const struct kevent_file_link *link,
				  const struct file *file, struct files_struct *files)
{
	if (link->file != file || link->files != files)
		return false;
	/* When the last task leaves, its files are closed in their places. */
	if (!atomic_read(&files->count))
		return true;
	guard(rcu)();
	return files_lookup_fd_raw(files, link->fd) != link->file;
}

/*
 * The watch of the next link after @cursor that is to go, with a reference.  A
 * link stays until its watch has gone: if others look for it, they wait too.
 */
static const void *kevent_next_closed(struct kevent_file_link *cursor, struct file *file,
				      struct files_struct *files, bool *done)
{
	struct kevent_file_link *link;
	int i;

	for (i = 0; i < KEVENT_LINKS_AT_ONCE; i++) {
		link = hlist_entry_safe(cursor->node.next, struct kevent_file_link, node);
		*done = !link;
		if (!link)
			break;
		hlist_del(&cursor->node);
		hlist_add_behind(&cursor->node, &link->node);
		if (kevent_link_is_closed(link, file, files))
			return kevent_get_watch(link);
	}
	return NULL;
}

/*
 * Removes the watches of @file that were made with a descriptor of @files which
 * is closed.
 *
 * Those of its other descriptors for @file stay.  A cursor, which is a link of
 * no file, keeps the place while the lock is dropped.
 */
static void kevent_remove_links(struct file *file, struct files_struct *files)
{
	struct kevent_bucket *bucket = kevent_bucket(file, files);
	struct kevent_file_link cursor = {};
	const void *watch;
	bool done;

	/* A link that cannot be seen yet is that of a task that will look. */
	if (hlist_empty(&bucket->links))
		return;
	scoped_guard(spinlock, &bucket->lock)
		hlist_add_head(&cursor.node, &bucket->links);
	do {
		scoped_guard(spinlock, &bucket->lock)
			watch = kevent_next_closed(&cursor, file, files, &done);
		if (watch)
			kevent_watch_closed(watch);
		cond_resched();
	} while (!done);
	scoped_guard(spinlock, &bucket->lock)
		hlist_del(&cursor.node);
}

/**
 * __kevent_file_closed - a descriptor was closed
 * @file: what it stood for
 * @id: the table of descriptors that it was in, or any other pointer
 */
void __kevent_file_closed(struct file *file, fl_owner_t id)
{
	if (id)
		kevent_remove_links(file, id);
}

static int __init kevent_init(void)
{
	unsigned int i;

	kevent_files = alloc_large_system_hash("Kevent files", sizeof(*kevent_files), 0,
					       KEVENT_FILE_SCALE, 0, &kevent_file_bits, NULL,
					       KEVENT_FILE_LEAST, 0);
	for (i = 0; i < 1U << kevent_file_bits; i++) {
		spin_lock_init(&kevent_files[i].lock);
		INIT_HLIST_HEAD(&kevent_files[i].links);
	}
	kevent_init_locks();
	return 0;
}
core_initcall(kevent_init);
