/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the C and the Rust files of kevent call of each other.
 */
#ifndef _KERNEL_KEVENT_KEVENT_H
#define _KERNEL_KEVENT_KEVENT_H

#include <linux/kevent.h>
#include <linux/jiffies.h>
#include <linux/spinlock_types.h>
#include <linux/types.h>
#include <uapi/linux/kevent.h>

struct file;
struct files_struct;
struct kevent_futex;
struct kevent_inode_mark;
struct pid;
struct sigqueue;
struct socket;
struct task_struct;
struct ucounts;
struct user_struct;

/**
 * struct kevent_file_link - that a watch is of a file
 * @node: in the bucket of the file and the table
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

/*
 * What wakes those who watch a process by its pidfd when it has executed
 * something.  It is none of the bits that poll(2) knows, so nobody else who
 * polls the pidfd takes it for an event.
 */
#define KEVENT_KEY_EXEC	0x04000000U

/**
 * struct kevent_process - what a watch knows of its process
 * @node: in the hash table of those that are watched
 * @pid: by which it is watched, with a reference; NULL if it is not
 * @user: who made the watch
 * @cputime: that it has used, in nanoseconds; 0 if the program may not see it
 * @status: as wait(2) has it
 * @seen: KEVENT_PROCESS_* that have happened, not EXEC; if there are any, the
 *	two above are final
 * @may_see: whether the program may see what procfs shows of the process
 */
struct kevent_process {
	struct hlist_node node;
	struct pid *pid;
	kuid_t user;
	u64 cputime;
	s32 status;
	u32 seen;
	bool may_see;
};

/**
 * struct kevent_socket - what a watch knows of its socket
 * @sock: it, from when it is attached; stays as long as its file is open
 * @receive_mark: do not report fewer bytes to read; 0: as the socket does
 * @send_mark: do not report less free space; 0: as the protocol does
 * @amount: bytes to read or connections to accept, as last seen
 * @space: free space in the send buffer, as last seen
 * @error: the pending error, as last seen
 * @info: KEVENT_INFO_*, as last seen
 * @flow: of TCP, what decides about space: what was written, sent and
 *	acknowledged, how much there may be, and how much unsent, as last seen
 * @watches_space: it is counted in socket_wq.space_watches
 */
struct kevent_socket {
	struct socket *sock;
	u32 receive_mark;
	u32 send_mark;
	u32 amount;
	u32 space;
	u32 error;
	u32 info;
	u32 flow[5];
	bool watches_space;
};

/* None of KEVENT_SOCKET_*: they cannot be known now. */
#define KEVENT_SOCKET_UNKNOWN	0x80000000U

/**
 * struct kevent_signal - that a watch is of a signal, see source/signal.c
 * @node: in the list of the process, protected by its siglock
 * @pid: the process
 * @lock: protects the lists and @spare
 * @sig: signal number
 * @takes: the event is the delivery
 * @stale: since it was taken it was overruled, as SIGCONT is by a stop signal;
 *	protected by siglock
 * @untold: what was taken and not reported, oldest first; of a signal that is not
 *	queued only the last, reported or not
 * @told: what was reported, oldest first, and may not have been taken yet
 * @spare: for a signal for which there is no memory; NULL if there was one
 *	already, which has not been taken
 */
struct kevent_signal {
	struct hlist_node node;
	struct pid *pid;
	spinlock_t lock;	/* protects the lists and @spare */
	u8 sig;
	bool takes;
	bool stale;
	struct list_head untold;
	struct list_head told;
	struct sigqueue *spare;
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

/* The length of a tick, in nanoseconds. */
enum { KEVENT_TICK_NS = TICK_NSEC };

/* hooks.rs */
struct file *kevent_do_create(struct kevent_create *args, unsigned int sources);
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
void kevent_inode_changed(const void *watch, u32 events, s64 size,
			  u32 cookie);

void kevent_futex_woken(const void *watch);
void kevent_futex_gone(const void *watch);

/* hooks/signal.rs */
void kevent_signal_count(const struct kevent_signal *ks);
bool kevent_signal_intercepts(const struct kevent_signal *ks);
void kevent_signal_sweep(const struct kevent_signal *ks);
void kevent_signal_fire(const struct kevent_signal *ks);
const void *kevent_get_signal(const struct kevent_signal *ks);
void kevent_signal_ended(const void *ks);

/* files.c */
void kevent_resched(void);
u64 kevent_divide(u64 dividend, u64 divisor);
void kevent_queue_made(void);
void kevent_queue_gone(void);
void kevent_link_file(struct kevent_file_link *link, struct file *file, int fd);
void kevent_unlink_file(struct kevent_file_link *link);
struct file *kevent_linked_file(const struct kevent_file_link *link);
bool kevent_write_wake_is_hint(struct file *file);
bool kevent_link_is_open(const struct kevent_file_link *link);

/* source/futex.c */
struct kevent_futex *kevent_futex_new(u64 uaddr, u32 flags, u32 bitset);
void kevent_futex_free(struct kevent_futex *f);
void kevent_futex_attach(struct kevent_futex *f, const void *watch);
void kevent_futex_detach(struct kevent_futex *f);
bool kevent_futex_is_armed(struct kevent_futex *f);
int kevent_futex_arm(struct kevent_futex *f, bool compare);
void kevent_futex_disarm(struct kevent_futex *f);
bool kevent_futex_is_mine(const struct kevent_futex *f);
bool kevent_futex_is_gone(const struct kevent_futex *f);
void kevent_futex_change(struct kevent_futex *f, u32 bitset, const u32 *expect);
u32 kevent_futex_seen(const struct kevent_futex *f, bool *unread);
u64 kevent_futex_name(const struct kevent_futex *f, u32 *flags);

/* source/process.c */
int kevent_process_open(struct kevent_process *process, struct file *file);
void kevent_process_close(struct kevent_process *process);
u32 kevent_process_woken(struct kevent_process *process);
u32 kevent_process_poll(struct kevent_process *process);
u32 kevent_process_outcome(const struct kevent_process *process, s32 *status,
			   u64 *cputime);

/* source/socket.c */
int kevent_socket_attach(struct kevent_socket *ks, struct file *file);
u32 kevent_socket_woken(struct kevent_socket *ks, u32 key, u32 interest);
u32 kevent_socket_polled(struct kevent_socket *ks, u32 polled);
void kevent_socket_watch_space(struct kevent_socket *ks, bool watch);

/* source/signal.c */
int kevent_signal_init(struct kevent_signal *ks, int sig, bool takes);
void kevent_signal_destroy(struct kevent_signal *ks);
int kevent_signal_link(struct kevent_signal *ks);
void kevent_signal_unlink(struct kevent_signal *ks);
void kevent_signal_pull(struct kevent_signal *ks);
struct task_struct *kevent_signal_lock(const struct kevent_signal *ks,
				       unsigned long *flags);
void kevent_signal_unlock(struct task_struct *t, unsigned long flags);
bool kevent_signal_next(struct kevent_signal *ks, u32 *info, s64 *data,
			u64 *extra);
void kevent_signal_drop(struct kevent_signal *ks);
void kevent_signal_posted(struct kevent_signal *ks, u64 entry);
bool kevent_signal_entry(struct kevent_signal *ks, bool oldest, u64 *entry);
void kevent_signal_resolve(struct kevent_signal *ks, bool oldest, u64 entry,
			   bool taken);
void kevent_signal_return(struct kevent_signal *ks);

/* limits.c */
int kevent_charge_ring(size_t size, struct user_struct **user);
void kevent_uncharge_ring(size_t size, struct user_struct *user);
struct ucounts *kevent_current_user(void);
bool kevent_charge_watches(struct ucounts *user, u32 nr);
void kevent_uncharge_watches(struct ucounts *user, u32 nr);
kuid_t kevent_outermost_user(void);

/* source/inode.c */
int kevent_inode_check(struct file *file, u32 events);
struct kevent_inode_mark *kevent_inode_attach(struct file *file, u32 events,
					      const void *watch);
void kevent_inode_set(struct kevent_inode_mark *mark, u32 events, bool more);
void kevent_inode_detach(struct kevent_inode_mark *mark);

#endif /* _KERNEL_KEVENT_KEVENT_H */
