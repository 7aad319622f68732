/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the C and the Rust files of kevent call of each other.
 */
#ifndef _KERNEL_KEVENT_KEVENT_H
#define _KERNEL_KEVENT_KEVENT_H

#include <linux/types.h>
#include <uapi/linux/kevent.h>

struct file;
struct files_struct;
struct ucounts;
struct user_struct;

/**
 * struct kevent_file_link - that a watch is of a file
 * @node: in the bucket of the file
 * @file: without a reference; NULL if it was never linked
 * @files: the table in which the program named the file
 * @fd: by which number
 * @kind: what source it is in, see hooks.rs
 */
struct kevent_file_link {
	struct hlist_node node;
	struct file *file;
	struct files_struct *files;
	int fd;
	u32 kind;
};

/**
 * struct kevent_deadline - until when to wait
 * @at: point in time, in nanoseconds on @clockid
 * @slack: by how many nanoseconds it may be missed
 * @clockid: CLOCK_MONOTONIC, CLOCK_REALTIME or CLOCK_BOOTTIME
 */
struct kevent_deadline {
	s64 at;
	u64 slack;
	u32 clockid;
};

/* hooks.rs */
struct file *kevent_do_create(struct kevent_create *args);
int kevent_do_add(int fd, struct kevent_watch __user *watches, size_t wsize,
		  unsigned int nr);
int kevent_do_modify(int fd, struct kevent_watch __user *watches, size_t wsize,
		     unsigned int nr, unsigned int flags);
int kevent_do_remove(int fd, const u64 __user *handles, unsigned int nr);
int kevent_do_post(int fd, const struct kevent_event __user *events,
		   size_t esize, unsigned int nr, unsigned int flags);
int kevent_do_wait(int fd, const struct kevent_wait *args,
		   const struct kevent_deadline *deadline);
int kevent_do_get_events(int fd, unsigned int min_nr, unsigned int max_nr,
			 const struct kevent_deadline *deadline,
			 struct kevent_event __user *events);

void kevent_init_locks(void);
const void *kevent_get_watch(const struct kevent_file_link *link);
void kevent_watch_closed(const void *watch);

/* files.c */
void kevent_queue_made(void);
void kevent_queue_gone(void);
void kevent_link_file(struct kevent_file_link *link, struct file *file, int fd);
void kevent_unlink_file(struct kevent_file_link *link);
struct file *kevent_linked_file(const struct kevent_file_link *link);
bool kevent_link_is_open(const struct kevent_file_link *link);

/* limits.c */
int kevent_charge_ring(size_t size, struct user_struct **user);
void kevent_uncharge_ring(size_t size, struct user_struct *user);
struct ucounts *kevent_current_user(void);
bool kevent_charge_watches(struct ucounts *user, u32 nr);
void kevent_uncharge_watches(struct ucounts *user, u32 nr);

#endif /* _KERNEL_KEVENT_KEVENT_H */
