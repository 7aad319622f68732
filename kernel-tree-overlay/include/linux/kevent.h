/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Where the rest of the kernel tells kevent what happens.
 */
#ifndef _LINUX_KEVENT_H
#define _LINUX_KEVENT_H

#include <linux/fs.h>
#include <linux/jump_label_ratelimit.h>

#ifdef CONFIG_KEVENT

extern struct static_key_false_deferred kevent_queues;

void __kevent_file_closed(struct file *file, fl_owner_t id);
void __kevent_file_released(struct file *file);

static inline bool kevent_watches(const struct file *file)
{
	return static_branch_unlikely(&kevent_queues.key) &&
	       unlikely(READ_ONCE(file->f_mode) & FMODE_KEVENT);
}

/**
 * kevent_file_closed - a descriptor was closed
 * @file: what it stood for
 * @id: the table of descriptors that it was in, or any other pointer
 */
static inline void kevent_file_closed(struct file *file, fl_owner_t id)
{
	if (kevent_watches(file))
		__kevent_file_closed(file, id);
}

/**
 * kevent_file_released - the last reference to a file is gone
 * @file: it; to be called before anything else happens to it
 */
static inline void kevent_file_released(struct file *file)
{
	if (kevent_watches(file))
		__kevent_file_released(file);
}

#else /* !CONFIG_KEVENT */

static inline void kevent_file_closed(struct file *file, fl_owner_t id) {}
static inline void kevent_file_released(struct file *file) {}

#endif /* CONFIG_KEVENT */

#endif /* _LINUX_KEVENT_H */
