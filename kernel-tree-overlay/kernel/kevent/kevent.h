/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the C and the Rust files of kevent call of each other.
 */
#ifndef _KERNEL_KEVENT_KEVENT_H
#define _KERNEL_KEVENT_KEVENT_H

#include <linux/types.h>
#include <uapi/linux/kevent.h>

struct file;
struct user_struct;

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

/* limits.c */
int kevent_charge_ring(size_t size, struct user_struct **user);
void kevent_uncharge_ring(size_t size, struct user_struct *user);

#endif /* _KERNEL_KEVENT_KEVENT_H */
