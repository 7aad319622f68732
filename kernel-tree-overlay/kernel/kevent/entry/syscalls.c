// SPDX-License-Identifier: GPL-2.0-only
/*
 * The system calls of kevent: only what Rust cannot do.  Each copies its
 * argument structures, checks what does not depend on the queue, and calls
 * the function of this directory that does the work.
 */
#include <linux/compat.h>
#include <linux/errno.h>
#include <linux/fcntl.h>
#include <linux/file.h>
#include <linux/hrtimer.h>
#include <linux/kevent.h>
#include <linux/ktime.h>
#include <linux/sched/signal.h>
#include <linux/signal.h>
#include <linux/syscalls.h>
#include <linux/time_namespace.h>
#include <linux/uaccess.h>

#include "../kevent.h"

/* The sizes and the flags that user space was promised. */
static_assert(sizeof(struct kevent_event) == KEVENT_EVENT_SIZE_VER0);
static_assert(sizeof(struct kevent_watch) == KEVENT_WATCH_SIZE_VER0);
static_assert(sizeof(struct kevent_create) == KEVENT_CREATE_SIZE_VER0);
static_assert(sizeof(struct kevent_wait) == KEVENT_WAIT_SIZE_VER0);
static_assert(sizeof(struct kevent_ring) == 192);

#define KEVENT_MODIFY_ALL	(KEVENT_MODIFY_EVENTS | KEVENT_MODIFY_MODE | \
				 KEVENT_MODIFY_USER_DATA | KEVENT_MODIFY_ARG | \
				 KEVENT_MODIFY_ENABLE | KEVENT_MODIFY_DISABLE | \
				 KEVENT_MODIFY_TRIGGER | KEVENT_MODIFY_BY_IDENT | \
				 KEVENT_MODIFY_REMOVE)

static int kevent_copy_args(void *args, size_t size, const void __user *uargs,
			    size_t usize, size_t ver0)
{
	if (usize < ver0)
		return -EINVAL;
	if (usize > PAGE_SIZE)
		return -E2BIG;
	return copy_struct_from_user(args, size, uargs, usize);
}

/*
 * Copies a structure of words of 64 bits in, word by word: they are so few that
 * a loop in copy_from_user() is dearer than most of what they are copied for.
 */
static __always_inline int kevent_copy_words(void *to, const void __user *from,
					     size_t size)
{
	const u64 __user *words = from;

	scoped_user_read_access_size(words, size, efault) {
		for (size_t i = 0; i < size / sizeof(u64); i++)
			unsafe_get_user(((u64 *)to)[i], words + i, efault);
	}
	return 0;
efault:
	return -EFAULT;
}

/**
 * kevent_read_watch - copy a record in
 * @to: where it goes
 * @from: where the program has it
 *
 * Return: 0 or -EFAULT
 */
int kevent_read_watch(struct kevent_watch *to,
		      const struct kevent_watch __user *from)
{
	return kevent_copy_words(to, from, sizeof(*to));
}

/**
 * kevent_read_handle - copy a handle in
 * @to: where it goes
 * @from: where the program has it
 *
 * Return: 0 or -EFAULT
 */
int kevent_read_handle(u64 *to, const u64 __user *from)
{
	return get_user(*to, from);
}

/**
 * kevent_read_event - copy an event in
 * @to: where it goes
 * @from: where the program has it
 *
 * Return: 0 or -EFAULT
 */
int kevent_read_event(struct kevent_event *to,
		      const struct kevent_event __user *from)
{
	return kevent_copy_words(to, from, sizeof(*to));
}

/**
 * kevent_write_results - copy out what a record returns
 * @to: where the program has it
 * @from: the record
 * @handle: copy its handle too
 *
 * Return: 0 or -EFAULT
 */
int kevent_write_results(struct kevent_watch __user *to,
			 const struct kevent_watch *from, bool handle)
{
	scoped_user_write_access(to, efault) {
		if (handle)
			unsafe_put_user(from->handle, &to->handle, efault);
		unsafe_put_user(from->result, &to->result, efault);
	}
	return 0;
efault:
	return -EFAULT;
}

/**
 * kevent_write_event - copy an event out
 * @to: where it goes
 * @from: it
 *
 * Return: 0 or -EFAULT
 */
int kevent_write_event(struct kevent_event __user *to,
		       const struct kevent_event *from)
{
	scoped_user_write_access(to, efault) {
		unsafe_put_user(from->user_data, &to->user_data, efault);
		unsafe_put_user(from->events, &to->events, efault);
		unsafe_put_user(from->info, &to->info, efault);
		unsafe_put_user(from->data, &to->data, efault);
		unsafe_put_user(from->extra, &to->extra, efault);
	}
	return 0;
efault:
	return -EFAULT;
}

static int kevent_copy_wait(struct kevent_wait *args,
			    const struct kevent_wait __user *uargs, size_t usize)
{
	if (usize == sizeof(*args))
		return kevent_copy_words(args, uargs, usize);
	return kevent_copy_args(args, sizeof(*args), uargs, usize,
				KEVENT_WAIT_SIZE_VER0);
}

static int kevent_get_deadline(struct kevent_deadline *deadline,
			       const struct __kernel_timespec __user *timeout,
			       u32 clockid, bool absolute)
{
	struct timespec64 ts;
	ktime_t at;

	if (get_timespec64(&ts, timeout))
		return -EFAULT;
	if (!timespec64_valid(&ts))
		return -EINVAL;

	at = timespec64_to_ktime(ts);
	if (absolute) {
		at = timens_ktime_to_host(clockid, at);
	} else if (clockid == CLOCK_BOOTTIME) {
		at = ktime_add_safe(ktime_get_boottime(), at);
	} else {
		/* A span of time is not affected by clock_settime(). */
		clockid = CLOCK_MONOTONIC;
		at = ktime_add_safe(ktime_get(), at);
	}
	deadline->at = at;
	deadline->clockid = clockid;
	deadline->slack = current->timer_slack_ns;
	return 0;
}

/**
 * kevent_sigev_user_data - what an event says of a sigevent
 * @event: as the current task has passed it
 *
 * Return: kevent_event.user_data
 */
u64 kevent_sigev_user_data(const struct sigevent *event)
{
	/* Of a compat task that is all there is. */
	if (in_compat_syscall())
		return (u32)event->sigev_value.sival_int;
	return (unsigned long)event->sigev_value.sival_ptr;
}

SYSCALL_DEFINE3(kevent_create, struct kevent_create __user *, uargs,
		size_t, usize, unsigned int, sources)
{
	struct kevent_create args;
	int err;

	err = kevent_copy_args(&args, sizeof(args), uargs, usize,
			       KEVENT_CREATE_SIZE_VER0);
	if (err)
		return err;
	if (args.flags & ~KEVENT_CREATE_SHARED)
		return -EINVAL;
	if (args.event_size && args.event_size != KEVENT_EVENT_SIZE_VER0)
		return -EINVAL;
	if (args.__resv0 || args.__resv[0] || args.__resv[1] || args.__resv[2])
		return -EINVAL;

	FD_PREPARE(fdf, O_CLOEXEC, kevent_do_create(&args, sources));
	if (fdf.err)
		return fdf.err;
	err = copy_struct_to_user(uargs, usize, &args, sizeof(args), NULL);
	if (err)
		return err;
	return fd_publish(fdf);
}

/* A batch of records, @size bytes each: what does not depend on the queue. */
static int kevent_check_batch(size_t size, size_t ver0, unsigned int nr)
{
	if (size < ver0)
		return -EINVAL;
	if (size > PAGE_SIZE)
		return -E2BIG;
	if (!nr || nr > INT_MAX)
		return -EINVAL;
	return 0;
}

SYSCALL_DEFINE5(kevent_add, int, fd, struct kevent_watch __user *, watches,
		size_t, wsize, unsigned int, nr, unsigned int, flags)
{
	int err = kevent_check_batch(wsize, KEVENT_WATCH_SIZE_VER0, nr);

	if (err)
		return err;
	if (flags & ~KEVENT_ADD_UPDATE)
		return -EINVAL;
	return kevent_do_add(fd, watches, wsize, nr, flags);
}

SYSCALL_DEFINE5(kevent_modify, int, fd, struct kevent_watch __user *, watches,
		size_t, wsize, unsigned int, nr, unsigned int, flags)
{
	int err = kevent_check_batch(wsize, KEVENT_WATCH_SIZE_VER0, nr);
	unsigned int changes = flags & ~KEVENT_MODIFY_BY_IDENT;

	if (err)
		return err;
	if (!changes || flags & ~KEVENT_MODIFY_ALL)
		return -EINVAL;
	if (flags & KEVENT_MODIFY_ENABLE && flags & KEVENT_MODIFY_DISABLE)
		return -EINVAL;
	if (flags & KEVENT_MODIFY_TRIGGER && flags != KEVENT_MODIFY_TRIGGER)
		return -EINVAL;
	if (changes & KEVENT_MODIFY_REMOVE && changes != KEVENT_MODIFY_REMOVE)
		return -EINVAL;
	return kevent_do_modify(fd, watches, wsize, nr, flags);
}

SYSCALL_DEFINE4(kevent_remove, int, fd, const __u64 __user *, handles,
		unsigned int, nr, unsigned int, flags)
{
	if (flags || !nr || nr > INT_MAX)
		return -EINVAL;
	return kevent_do_remove(fd, handles, nr);
}

SYSCALL_DEFINE5(kevent_post, int, fd, const struct kevent_event __user *, events,
		size_t, esize, unsigned int, nr, unsigned int, flags)
{
	int err = kevent_check_batch(esize, KEVENT_EVENT_SIZE_VER0, nr);

	if (err)
		return err;
	if (flags & ~KEVENT_POST_DEFER)
		return -EINVAL;
	return kevent_do_post(fd, events, esize, nr, flags);
}

/* kevent_wait() with a time-out or a signal mask. */
static noinline int kevent_wait_with(struct file *file,
				     const struct kevent_wait *args)
{
	struct kevent_deadline deadline, *until = NULL;
	int err;

	if (args->timeout) {
		until = &deadline;
		err = kevent_get_deadline(until, u64_to_user_ptr(args->timeout),
					  args->clockid,
					  args->flags & KEVENT_WAIT_ABSTIME);
		if (err)
			return err;
	}
	if (!args->sigmask)
		return kevent_do_wait(file, args, until);

	/* No compat entry point: a sigset_t is all that would need one. */
	if (in_compat_syscall())
		err = set_compat_user_sigmask(u64_to_user_ptr(args->sigmask),
					      args->sigsetsize);
	else
		err = set_user_sigmask(u64_to_user_ptr(args->sigmask),
				       args->sigsetsize);
	if (err)
		return err;

	err = kevent_do_wait(file, args, until);
	restore_saved_sigmask_unless(err == -EINTR);
	return err;
}

SYSCALL_DEFINE3(kevent_wait, int, fd, struct kevent_wait __user *, uargs,
		size_t, usize)
{
	struct kevent_wait args;
	int err;

	err = kevent_copy_wait(&args, uargs, usize);
	if (err)
		return err;
	if (args.flags & ~(KEVENT_WAIT_ABSTIME | KEVENT_WAIT_WAKE_NEXT) ||
	    args.__resv)
		return -EINVAL;
	if (args.flags & KEVENT_WAIT_WAKE_NEXT && args.min_nr)
		return -EINVAL;
	if (args.clockid != CLOCK_MONOTONIC && args.clockid != CLOCK_REALTIME &&
	    args.clockid != CLOCK_BOOTTIME)
		return -EINVAL;
	if (!args.sigmask && args.sigsetsize)
		return -EINVAL;

	CLASS(fd, f)(fd);
	if (fd_empty(f))
		return -EBADF;
	if (args.timeout || args.sigmask)
		return kevent_wait_with(fd_file(f), &args);
	return kevent_do_wait(fd_file(f), &args, NULL);
}

SYSCALL_DEFINE6(kevent_get_events, int, fd, unsigned int, min_nr,
		unsigned int, max_nr,
		const struct __kernel_timespec __user *, timeout,
		struct kevent_event __user *, events, unsigned int, flags)
{
	struct kevent_deadline deadline;
	int err;

	if (flags & ~KEVENT_WAIT_ABSTIME)
		return -EINVAL;
	if (!max_nr || min_nr > max_nr ||
	    max_nr > INT_MAX / sizeof(struct kevent_event))
		return -EINVAL;
	if (timeout) {
		err = kevent_get_deadline(&deadline, timeout, CLOCK_MONOTONIC,
					  flags & KEVENT_WAIT_ABSTIME);
		if (err)
			return err;
	}
	CLASS(fd, f)(fd);
	if (fd_empty(f))
		return -EBADF;
	return kevent_do_get_events(fd_file(f), min_nr, max_nr,
				    timeout ? &deadline : NULL, events);
}
