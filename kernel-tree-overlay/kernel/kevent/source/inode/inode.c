// SPDX-License-Identifier: GPL-2.0-only
/*
 * Watches of files and directories: a group of fsnotify.
 *
 * A watch has a mark of its own, so an inode may have several of this group.
 * There is one group for all queues.  Its mark_mutex is held only while a mark
 * is put on the lists or taken off them, never while an event is reported.
 *
 * fsnotify calls kevent_inode_event() under its SRCU, maybe long after the mark
 * was destroyed.  So the mark has a lock under which its watch is fired, and
 * which is taken to detach the watch: no task has to wait for SRCU.  The
 * mark itself is freed when fsnotify has no more use for it.
 *
 * A mark has no reference to the inode.  The file has one, and it cannot go
 * before its watches have, see files.c.  So nothing here calls iput(), and a
 * watch keeps no inode and no filesystem busier than its descriptor does.
 *
 * Lock order: the mutex of a queue's watches, then mark_mutex and what fsnotify
 * takes under it.  The former is held across allocations that may enter a
 * filesystem to reclaim memory, and the eviction of an inode takes mark_mutex;
 * hence fsnotify_group_lock(), which forbids such allocations inside of it.
 * And hence the other direction: no callback of this group may take the mutex
 * of a queue.  They take the lock of the mark and fire, which needs spinlocks
 * only, and they are called by tasks, with or without locks of filesystems.
 */
#include <linux/err.h>
#include <linux/fs.h>
#include <linux/fsnotify_backend.h>
#include <linux/init.h>
#include <linux/security.h>
#include <linux/slab.h>
#include <linux/uidgid.h>

#include "../../kevent.h"

struct kevent_inode_mark {
	struct fsnotify_mark fsn;
	spinlock_t lock; /* held while @watch is fired; protects the next three */
	const void *watch; /* NULL: it is detached */
	loff_t size; /* as last seen */
	unsigned int nlink; /* as last seen */
	const struct inode *inode; /* without a reference */
};

static struct fsnotify_group *kevent_inode_group __ro_after_init;

static const struct {
	u32 fs;
	u32 events;
} kevent_inode_map[] = {
	{ FS_MODIFY,		KEVENT_INODE_MODIFY },
	{ FS_ATTRIB,		KEVENT_INODE_ATTRIB },
	{ FS_MOVE_SELF,		KEVENT_INODE_RENAME },
	{ FS_OPEN,		KEVENT_INODE_OPEN },
	{ FS_CLOSE_WRITE,	KEVENT_INODE_CLOSE_WRITE },
	{ FS_CLOSE_NOWRITE,	KEVENT_INODE_CLOSE_NOWRITE },
	{ FS_CREATE,		KEVENT_INODE_CHILD_CREATED },
	{ FS_DELETE,		KEVENT_INODE_CHILD_DELETED },
	{ FS_MOVED_FROM,	KEVENT_INODE_CHILD_MOVED_OUT },
	{ FS_MOVED_TO,		KEVENT_INODE_CHILD_MOVED_IN },
};

/* What fsnotify has to report for a watch that is interested in @events. */
static u32 kevent_inode_mask(u32 events)
{
	/* With or without interest: whether there are links left. */
	u32 mask = FS_ATTRIB | FS_UNLINKED;
	int i;

	if (events & (KEVENT_INODE_EXTEND | KEVENT_INODE_TRUNCATE))
		events |= KEVENT_INODE_MODIFY;
	/* A directory has one for each directory in it. */
	if (events & KEVENT_INODE_LINK)
		events |= KEVENT_INODE_CHILD_CREATED |
			  KEVENT_INODE_CHILD_DELETED |
			  KEVENT_INODE_CHILD_MOVED_OUT |
			  KEVENT_INODE_CHILD_MOVED_IN;
	for (i = 0; i < ARRAY_SIZE(kevent_inode_map); i++) {
		if (events & kevent_inode_map[i].events)
			mask |= kevent_inode_map[i].fs;
	}
	return mask;
}

static struct kevent_inode_mark *kevent_inode_mark(struct fsnotify_mark *fsn)
{
	return container_of(fsn, struct kevent_inode_mark, fsn);
}

static int kevent_inode_event(struct fsnotify_mark *fsn, u32 mask,
			      struct inode *inode, struct inode *dir,
			      const struct qstr *name, u32 cookie)
{
	struct kevent_inode_mark *mark = kevent_inode_mark(fsn);
	unsigned int nlink;
	u32 events = 0;
	loff_t size;
	int i;

	for (i = 0; i < ARRAY_SIZE(kevent_inode_map); i++) {
		if (mask & kevent_inode_map[i].fs)
			events |= kevent_inode_map[i].events;
	}
	/* What happens to a child is reported to the directory. */
	if (mask & ALL_FSNOTIFY_DIRENT_EVENTS)
		inode = dir;

	spin_lock(&mark->lock);
	size = i_size_read(inode);
	if (events & KEVENT_INODE_MODIFY && size > mark->size)
		events |= KEVENT_INODE_EXTEND;
	if (events & KEVENT_INODE_MODIFY && size < mark->size)
		events |= KEVENT_INODE_TRUNCATE;
	mark->size = size;
	nlink = READ_ONCE(inode->i_nlink);
	if (nlink != mark->nlink)
		events |= KEVENT_INODE_LINK;
	if (!nlink && mark->nlink)
		events |= KEVENT_INODE_DELETE;
	mark->nlink = nlink;
	if (mark->watch)
		kevent_inode_changed(mark->watch, events, size, cookie);
	spin_unlock(&mark->lock);
	return 0;
}

static void kevent_inode_free_mark(struct fsnotify_mark *fsn)
{
	kfree(kevent_inode_mark(fsn));
}

static const struct fsnotify_ops kevent_inode_ops = {
	.handle_inode_event = kevent_inode_event,
	.free_mark = kevent_inode_free_mark,
};

/**
 * kevent_inode_check - whether a file may be watched
 * @file: it
 * @events: what is to be reported, KEVENT_INODE_*
 *
 * Who could not read the file is not reported what happens to it.
 *
 * Return: 0, or -EINVAL if it is neither a file nor a directory, -EBADF if it
 * is not open for reading, and what a security module says.
 */
int kevent_inode_check(struct file *file, u32 events)
{
	const struct inode *inode = file_inode(file);

	/* Those of filesystems inside the kernel, like pidfds, are no files. */
	if ((!S_ISREG(inode->i_mode) && !S_ISDIR(inode->i_mode)) ||
	    inode->i_sb->s_flags & (SB_NOUSER | SB_KERNMOUNT))
		return -EINVAL;
	if (!(file->f_mode & FMODE_READ))
		return -EBADF;
	return security_path_notify(&file->f_path, kevent_inode_mask(events),
				    FSNOTIFY_OBJ_TYPE_INODE);
}

/**
 * kevent_inode_attach - report a watch what happens to an inode
 * @file: that of the inode, which passed kevent_inode_check()
 * @events: what to report, KEVENT_INODE_*
 * @watch: for kevent_inode_changed()
 * @holder: on whose account
 *
 * Return: the mark, or an error: -ENOMEM, -EINVAL if its filesystem does not
 * want that, -ENOSPC if there are too many watches of the inode.
 */
struct kevent_inode_mark *kevent_inode_attach(struct file *file, u32 events,
					      const void *watch,
					      const struct kevent_holder *holder)
{
	struct inode *inode = file_inode(file);
	struct kevent_inode_mark *mark;
	int err;

	err = kevent_count_object(inode, holder);
	if (err)
		return ERR_PTR(err);
	mark = kzalloc_obj(*mark, GFP_KERNEL_ACCOUNT);
	if (!mark) {
		kevent_uncount_object(inode, holder);
		return ERR_PTR(-ENOMEM);
	}
	fsnotify_init_mark(&mark->fsn, kevent_inode_group);
	mark->fsn.mask = kevent_inode_mask(events);
	mark->fsn.flags = FSNOTIFY_MARK_FLAG_NO_IREF;
	spin_lock_init(&mark->lock);
	mark->watch = watch;
	mark->size = i_size_read(inode);
	mark->nlink = READ_ONCE(inode->i_nlink);
	mark->inode = inode;

	err = fsnotify_add_inode_mark(&mark->fsn, inode, 0);
	if (!err)
		return mark;
	kevent_inode_detach(mark, holder);
	return ERR_PTR(err);
}

/**
 * kevent_inode_add - report a watch more
 * @mark: its mark
 * @file: that of the inode
 * @events: KEVENT_INODE_*, beside those that it is reported already
 */
void kevent_inode_add(struct kevent_inode_mark *mark, struct file *file,
		      u32 events)
{
	u32 mask = kevent_inode_mask(events);

	/* While changes were not reported, it may have got longer or shorter. */
	if (mask & ~mark->fsn.mask & FS_MODIFY) {
		spin_lock(&mark->lock);
		mark->size = i_size_read(file_inode(file));
		spin_unlock(&mark->lock);
	}
	fsnotify_modify_mark_mask(&mark->fsn, mask, 0);
}

/**
 * kevent_inode_set - report a watch nothing else
 * @mark: its mark
 * @events: KEVENT_INODE_*
 */
void kevent_inode_set(struct kevent_inode_mark *mark, u32 events)
{
	u32 mask = kevent_inode_mask(events);

	fsnotify_modify_mark_mask(&mark->fsn, mask, mark->fsn.mask & ~mask);
}

/**
 * kevent_inode_synchronize - wait until a watch is not being fired
 * @mark: its mark
 *
 * It may be fired again by what happens after that.
 */
void kevent_inode_synchronize(struct kevent_inode_mark *mark)
{
	spin_lock(&mark->lock);
	spin_unlock(&mark->lock);
}

/**
 * kevent_inode_detach - report a watch no more
 * @mark: its mark
 * @holder: as it was
 *
 * When this returns the watch is not being fired, and will not be.
 */
void kevent_inode_detach(struct kevent_inode_mark *mark,
			 const struct kevent_holder *holder)
{
	kevent_uncount_object(mark->inode, holder);
	spin_lock(&mark->lock);
	mark->watch = NULL;
	spin_unlock(&mark->lock);
	fsnotify_destroy_mark(&mark->fsn, kevent_inode_group);
	fsnotify_put_mark(&mark->fsn);
}

static int __init kevent_inode_init(void)
{
	kevent_inode_group = fsnotify_alloc_group(&kevent_inode_ops,
						  FSNOTIFY_GROUP_DUPS);
	if (IS_ERR(kevent_inode_group))
		panic("kevent: no memory for the group of fsnotify\n");
	return 0;
}
fs_initcall(kevent_inode_init);
