/* SPDX-License-Identifier: MIT */
/* Queues and their mapping. */
#define _GNU_SOURCE
#include "lib.h"
#include <pthread.h>
#include <sys/mman.h>
#include <unistd.h>

/*
 * Which process this is.  A page that the kernel wipes in a child of fork() holds a
 * number; 0 means that a child has not made a queue yet.  Where the kernel cannot do that
 * pthread_atfork() does.  The number comes from a variable that a child inherits, so no
 * ancestor had the same one.
 */
EXPORT const __u32 *kevent_process_generation;

static pthread_mutex_t generation_lock = PTHREAD_MUTEX_INITIALIZER;
static __u32 *generation_page;
static __u32 last_generation;

static void wipe(void)
{
	__atomic_store_n(generation_page, 0, __ATOMIC_RELAXED);
}

/* A thread that held it is not there in the child. */
static void lock_before_fork(void)
{
	pthread_mutex_lock(&generation_lock);
}

static void unlock_after_fork(void)
{
	pthread_mutex_unlock(&generation_lock);
}

static __u32 this_generation(void)
{
	__u32 generation = 0;

	pthread_mutex_lock(&generation_lock);
	if (!generation_page) {
		size_t size = (size_t)sysconf(_SC_PAGESIZE);
		void *page = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
				  -1, 0);

		if (page == MAP_FAILED)
			goto out;
		generation_page = (__u32 *)page;
#ifdef MADV_WIPEONFORK
		if (madvise(page, size, MADV_WIPEONFORK))
#endif
			pthread_atfork(NULL, NULL, wipe);
		pthread_atfork(lock_before_fork, unlock_after_fork, unlock_after_fork);
	}
	generation = __atomic_load_n(generation_page, __ATOMIC_RELAXED);
	if (!generation) {
		if (!++last_generation)
			last_generation = 1;
		generation = last_generation;
		__atomic_store_n(generation_page, generation, __ATOMIC_RELAXED);
	}
	__atomic_store_n(&kevent_process_generation, generation_page, __ATOMIC_RELEASE);
out:
	pthread_mutex_unlock(&generation_lock);
	return generation;
}

static const struct kevent_queue none = KEVENT_QUEUE_NONE;

int kevent_check_(const struct kevent_queue *q)
{
	const __u32 *generation = __atomic_load_n(&kevent_process_generation, __ATOMIC_ACQUIRE);

	if (q->fd < 0)
		return fail(EBADF);
	if (!generation || __atomic_load_n(generation, __ATOMIC_RELAXED) != q->generation)
		return fail(EACCES);
	return 0;
}

/* Whether @fd is a queue, which this process may use if it wants its ring. */
static int check_fd(int fd, int ring)
{
	struct kevent_wait wait;

	memset(&wait, 0, sizeof(wait));
	wait.clockid = CLOCK_MONOTONIC;
	if (kevent_wait(fd, &wait, sizeof(wait)) >= 0)
		return 0;
	/* Others may post to it. */
	return !ring && (errno == EACCES || errno == EPIPE) ? 0 : -1;
}

static int map_queue(struct kevent_queue *q, int fd, const struct kevent_create *args, int is_ours)
{
	__u64 end = args->entries_offset + (__u64)args->ring_entries * sizeof(struct kevent_event);
	__u32 generation;
	void *ring = NULL;

	*q = none;
	if (fd < 0)
		return fail(EBADF);
	if (args->ring_entries) {
		if ((args->ring_entries & (args->ring_entries - 1)) ||
		    args->ring_entries > KEVENT_MAX_ENTRIES ||
		    (args->event_size && args->event_size != sizeof(struct kevent_event)) ||
		    args->entries_offset < sizeof(struct kevent_ring) ||
		    args->entries_offset % 8 || end > args->mmap_size ||
		    args->mmap_size > SIZE_MAX / 2)
			return fail(EINVAL);
	}
	if (!is_ours && check_fd(fd, !!args->ring_entries))
		return -1;
	generation = this_generation();
	if (!generation)
		return fail(ENOMEM);
	if (args->ring_entries) {
		ring = mmap(NULL, (size_t)args->mmap_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
		if (ring == MAP_FAILED)
			return -1;
		if (((struct kevent_ring *)ring)->entries != args->ring_entries ||
		    ((struct kevent_ring *)ring)->entries_offset != args->entries_offset) {
			munmap(ring, (size_t)args->mmap_size);
			return fail(EINVAL);
		}
		q->ring = (struct kevent_ring *)ring;
		q->slots = (struct kevent_event *)(void *)((char *)ring + args->entries_offset);
		q->entries = args->ring_entries;
		q->shift = (__u32)__builtin_ctz(args->ring_entries);
		q->mmap_size = args->mmap_size;
		q->entries_offset = args->entries_offset;
	}
	q->fd = fd;
	q->flags = args->flags;
	q->features = args->features;
	q->generation = generation;
	return 0;
}

EXPORT int kevent_queue_map(struct kevent_queue *q, int fd, const struct kevent_create *args)
{
	return map_queue(q, fd, args, 0);
}

EXPORT int kevent_queue_init_args(struct kevent_queue *q, struct kevent_create *args,
				  unsigned int sources)
{
	int fd, error;

	*q = none;
	fd = kevent_create(args, sizeof(*args), sources);
	if (fd < 0)
		return -1;
	if (args->entries && !args->ring_entries)
		error = ENOSYS;
	else if (!map_queue(q, fd, args, 1))
		return 0;
	else
		error = errno;
	close(fd);
	return fail(error);
}

EXPORT int kevent_queue_init(struct kevent_queue *q, unsigned int entries, unsigned int sources,
			     unsigned int flags)
{
	struct kevent_create args;

	memset(&args, 0, sizeof(args));
	args.flags = flags;
	args.entries = entries;
	return kevent_queue_init_args(q, &args, sources);
}

EXPORT void kevent_queue_exit(struct kevent_queue *q)
{
	int error = errno;

	if (q->fd < 0)
		return;
	/* The mapping is not inherited: in a child there may be something else. */
	if (q->ring && !kevent_check_(q))
		munmap(q->ring, (size_t)q->mmap_size);
	close(q->fd);
	*q = none;
	errno = error;
}

EXPORT int kevent_probe(struct kevent_probe *probe)
{
	struct kevent_create args;
	int fd;

	memset(probe, 0, sizeof(*probe));
	memset(&args, 0, sizeof(args));
	fd = kevent_create(&args, sizeof(args), 0);
	if (fd < 0)
		return errno == ENOSYS ? 0 : -1;
	close(fd);
	probe->supported = 1;
	probe->features = args.features;
	return 0;
}
