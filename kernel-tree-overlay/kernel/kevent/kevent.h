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
#include <linux/uidgid_types.h>
#include <uapi/linux/kevent.h>

struct file;
struct files_struct;
struct kevent_futex;
struct kevent_inode_mark;
struct mm_struct;
struct pid;
struct sigqueue;
struct socket;
struct task_struct;
struct ucounts;
struct user_struct;

/**
 * struct kevent_holder - on whose account the watches of one object are counted
 * @queue: number of the queue that they are in
 * @user: who made the queue, in the initial user namespace
 */
struct kevent_holder {
	u64 queue;
	kuid_t user;
};

/* In kevent_file_link.kind: the class of the watch. */
#define KEVENT_LINK_CLASS	0x00ffU

/* And this: the watch is counted as one of its file. */
#define KEVENT_LINK_COUNTED	0x4000U

/* And this: kevent_poll_is_atomic() has said so of the file. */
#define KEVENT_LINK_ATOMIC	0x2000U

/* None of KEVENT_POLL_*: whether there are others, only a poll says. */
#define KEVENT_POLL_UNKNOWN	0x80000000U

/**
 * struct kevent_file_link - that a watch is of a file
 * @node: in the bucket of the file and the table
 * @file: without a reference; NULL if it is not linked
 * @files: the table in which the program named the file
 * @fd: by which number
 * @kind: what source it is in, see source/fd.rs and KEVENT_LINK_*
 * @doubtful: KEVENT_POLL_* events that a wake-up may be for although a poll
 *	would not report them, see source/poll/poll.c
 */
struct kevent_file_link {
	struct hlist_node node;
	struct file *file;
	struct files_struct *files;
	int fd;
	u16 kind;
	u16 doubtful;
};

/**
 * struct kevent_mm_link - that something goes with the memory of a program
 * @node: in mm_struct.kevents
 * @gone: called when no task uses that memory any more, unlinked, with the lock of
 *	the list held; returns a queue, with a reference, that ends, or NULL
 */
struct kevent_mm_link {
	struct hlist_node node;
	const void *(*gone)(struct kevent_mm_link *link);
};

/*
 * The key of the wake-up of those who watch a process by its pidfd when it has
 * executed a program.  It is none of the bits that poll(2) knows, so other
 * pollers of the pidfd do not take it for an event.
 */
#define KEVENT_KEY_EXEC	0x04000000U

/**
 * struct kevent_process - what a watch knows of its process
 * @pid: by which it is watched, with a reference; NULL if it is not
 * @cputime: that it has used, in nanoseconds; 0 if the program may not see it
 * @status: as wait(2) has it
 * @seen: KEVENT_PROCESS_* that have happened, not EXEC; if there are any, the
 *	two above are final
 * @may_see: whether the program may see what procfs shows of the process
 */
struct kevent_process {
	struct pid *pid;
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
	u32 flow[5];
	bool watches_space;
};

/* None of KEVENT_SOCKET_*: they cannot be known now. */
#define KEVENT_SOCKET_UNKNOWN	0x80000000U

/* Beside those that hold, those that may come to hold without a wake-up. */
#define KEVENT_SOCKET_SILENT_SHIFT	16

/**
 * struct kevent_signal - that a watch is of a signal, see source/signal/signal.c
 * @node: in the list of the process, protected by its siglock
 * @next: see kevent_find_interceptors(), protected by siglock
 * @pid: the process
 * @lock: protects the lists and @spare
 * @sig: signal number
 * @takes: the event is the delivery
 * @counted: it is counted as a watch of its process
 * @stale: it was discarded since it was intercepted, as SIGCONT is by a stop
 *	signal, or the process has vanished for the watch; protected by siglock
 * @unposted: intercepted and not posted, oldest first; of a signal that is not
 *	queued only the last, posted or not
 * @posted: posted, oldest first, and maybe unconsumed
 * @spare: for a signal for which there is no memory; NULL if there was one
 *	already, which is unconsumed
 */
struct kevent_signal {
	struct hlist_node node;
	struct kevent_signal *next;
	struct pid *pid;
	spinlock_t lock;	/* protects the lists and @spare */
	u8 sig;
	bool takes;
	bool counted;
	bool stale;
	struct list_head unposted;
	struct list_head posted;
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

/* entry/, source/ */
struct file *kevent_do_create(struct kevent_create *args, unsigned int sources);
int kevent_do_add(int fd, struct kevent_watch __user *watches, size_t wsize,
		  unsigned int nr, unsigned int flags);
int kevent_do_modify(int fd, struct kevent_watch __user *watches, size_t wsize,
		     unsigned int nr, unsigned int flags);
int kevent_do_remove(int fd, const u64 __user *handles, unsigned int nr);
int kevent_do_post(int fd, const struct kevent_event __user *events,
		   size_t esize, unsigned int nr, unsigned int flags);
int kevent_do_wait(struct file *file, const struct kevent_wait *args,
		   const struct kevent_deadline *deadline);
int kevent_do_get_events(struct file *file, unsigned int min_nr,
			 unsigned int max_nr,
			 const struct kevent_deadline *deadline,
			 struct kevent_event __user *events);

const void *kevent_get_queue(struct kevent_mm_link *link);
void kevent_end_queue(const void *queue);

void kevent_init_locks(void);
const void *kevent_get_watch(const struct kevent_file_link *link);
void kevent_watch_closed(const void *watch);
bool kevent_link_is_named(const struct kevent_file_link *link,
			  const void *queue);
void kevent_inode_changed(const void *watch, u32 events, s64 size,
			  u32 cookie);

void kevent_futex_woken(const void *watch);
void kevent_futex_gone(const void *watch);

/* source/signal/sys.rs */
void kevent_signal_count(const struct kevent_signal *ks);
bool kevent_signal_intercepts(const struct kevent_signal *ks);
void kevent_signal_sweep(const struct kevent_signal *ks);
void kevent_signal_fire(const struct kevent_signal *ks);
const void *kevent_get_signal(const struct kevent_signal *ks);
void kevent_signal_ended(const void *ks);

/* entry/syscalls.c */
int kevent_read_watch(struct kevent_watch *to,
		      const struct kevent_watch __user *from);
int kevent_read_handle(u64 *to, const u64 __user *from);
int kevent_read_event(struct kevent_event *to,
		      const struct kevent_event __user *from);
int kevent_write_results(struct kevent_watch __user *to,
			 const struct kevent_watch *from, bool handle);
int kevent_write_event(struct kevent_event __user *to,
		       const struct kevent_event *from);

/* entry/owner.c */
spinlock_t *kevent_mm_lock(const struct mm_struct *mm);
void kevent_mm_add(struct kevent_mm_link *link, struct mm_struct *mm);
void kevent_link_queue(struct kevent_mm_link *link, struct mm_struct *mm);
void kevent_unlink_queue(struct kevent_mm_link *link, struct mm_struct *mm);

/* source/files.c */
bool kevent_is_pidfd(const struct file *file);
void kevent_resched(void);
u64 kevent_divide(u64 dividend, u64 divisor);
void kevent_queue_made(void);
void kevent_queue_gone(void);
int kevent_link_file(struct kevent_file_link *link, struct file *file, int fd,
		     const struct kevent_holder *holder);
void kevent_unlink_file(struct kevent_file_link *link,
			const struct kevent_holder *holder);
struct file *kevent_linked_file(const struct kevent_file_link *link);
bool kevent_link_is_open(const struct kevent_file_link *link);
struct kevent_file_link *kevent_find_link(const struct file *file, int fd,
					  u16 class, const void *queue);

/* source/poll/poll.c */
u16 kevent_poll_doubtful(struct file *file);
u32 kevent_poll_read(struct file *file, u32 events);
bool kevent_poll_is_atomic(struct file *file);
u32 kevent_poll_at_once(struct file *file, u32 key, bool atomic);

/* source/futex/futex.c */
struct kevent_futex *kevent_futex_new(u64 uaddr, u32 flags, u32 bitset);
void kevent_futex_free(struct kevent_futex *f);
int kevent_futex_attach(struct kevent_futex *f, const void *watch,
			const struct kevent_holder *holder);
void kevent_futex_detach(struct kevent_futex *f,
			 const struct kevent_holder *holder);
bool kevent_futex_is_armed(struct kevent_futex *f);
int kevent_futex_arm(struct kevent_futex *f, bool compare);
void kevent_futex_disarm(struct kevent_futex *f);
bool kevent_futex_is_mine(const struct kevent_futex *f);
bool kevent_futex_is_gone(const struct kevent_futex *f);
void kevent_futex_change(struct kevent_futex *f, u32 bitset, const u32 *expect);
u32 kevent_futex_seen(const struct kevent_futex *f, bool *unread);
u64 kevent_futex_name(const struct kevent_futex *f, u32 *flags);

/* source/process/process.c */
int kevent_process_open(struct kevent_process *process, struct file *file,
			const struct kevent_holder *holder);
void kevent_process_close(struct kevent_process *process,
			  const struct kevent_holder *holder);
u32 kevent_process_woken(struct kevent_process *process);
u32 kevent_process_poll(struct kevent_process *process);
u32 kevent_process_outcome(const struct kevent_process *process, s32 *status,
			   u64 *cputime);

/* source/socket/socket.c */
int kevent_socket_attach(struct kevent_socket *ks, struct file *file);
u32 kevent_socket_woken(struct kevent_socket *ks, u32 key, u32 interest);
u32 kevent_socket_polled(struct kevent_socket *ks, u32 polled);
void kevent_socket_watch_space(struct kevent_socket *ks, bool watch);

/* source/signal/signal.c */
int kevent_signal_init(struct kevent_signal *ks, int sig, bool takes);
void kevent_signal_destroy(struct kevent_signal *ks);
int kevent_signal_link(struct kevent_signal *ks,
		       const struct kevent_holder *holder);
void kevent_signal_uncount(struct kevent_signal *ks,
			   const struct kevent_holder *holder);
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
void kevent_signal_forget(struct kevent_signal *ks);

/* sys/limits.c */
int kevent_charge_queue(size_t size, struct user_struct **user);
void kevent_uncharge_queue(size_t size, struct user_struct *user);
struct ucounts *kevent_current_user(void);
bool kevent_may_inspect(const struct ucounts *user);
s64 kevent_count_timers(const struct ucounts *user);
kuid_t kevent_outermost_user(void);

/* sys/objects.c */
int kevent_count_object(const void *object, const struct kevent_holder *holder);
void kevent_uncount_object(const void *object, const struct kevent_holder *holder);
bool kevent_object_is_counted(const void *object);

/* source/inode/inode.c */
int kevent_inode_check(struct file *file, u32 events);
struct kevent_inode_mark *kevent_inode_attach(struct file *file, u32 events,
					      const void *watch,
					      const struct kevent_holder *holder);
void kevent_inode_add(struct kevent_inode_mark *mark, struct file *file,
		      u32 events);
void kevent_inode_set(struct kevent_inode_mark *mark, u32 events);
void kevent_inode_synchronize(struct kevent_inode_mark *mark);
void kevent_inode_detach(struct kevent_inode_mark *mark,
			 const struct kevent_holder *holder);

#endif /* _KERNEL_KEVENT_KEVENT_H */
