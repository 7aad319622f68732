/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the kevent tests share: the raw calls, a queue with its mapping, the
 * consumer's side of the ring protocol, and threads that sleep in a call.
 */
#ifndef KEVENT_TEST_H
#define KEVENT_TEST_H

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <linux/kevent.h>
#include <linux/time_types.h>

#include "kselftest_harness.h"

/* The numbers, in case the C library's headers are older than the kernel. */
#if defined(__alpha__)
#define KEVENT_NR(nr)	((nr) + 110)
#elif defined(_MIPS_SIM) && _MIPS_SIM == _MIPS_SIM_ABI32	/* o32 */
#define KEVENT_NR(nr)	((nr) + 4000)
#elif defined(_MIPS_SIM) && _MIPS_SIM == _MIPS_SIM_ABI64	/* n64 */
#define KEVENT_NR(nr)	((nr) + 5000)
#elif defined(_MIPS_SIM)					/* n32 */
#define KEVENT_NR(nr)	((nr) + 6000)
#elif defined(__x86_64__) && defined(__ILP32__)
#define KEVENT_NR(nr)	((nr) + __X32_SYSCALL_BIT)
#else
#define KEVENT_NR(nr)	(nr)
#endif

#ifndef __NR_kevent_create
#define __NR_kevent_create	KEVENT_NR(473)
#define __NR_kevent_add		KEVENT_NR(474)
#define __NR_kevent_modify	KEVENT_NR(475)
#define __NR_kevent_remove	KEVENT_NR(476)
#define __NR_kevent_post	KEVENT_NR(477)
#define __NR_kevent_wait	KEVENT_NR(478)
#define __NR_kevent_get_events	KEVENT_NR(479)
#endif

/*
 * The calls. All return what the kernel returned: a negated errno on failure.
 */
static inline int kevent_create(struct kevent_create *args, size_t usize,
				unsigned int sources)
{
	int ret = syscall(__NR_kevent_create, args, usize, sources);

	return ret < 0 ? -errno : ret;
}

static inline int kevent_add(int fd, struct kevent_watch *w, size_t wsize,
			     unsigned int nr, unsigned int flags)
{
	int ret = syscall(__NR_kevent_add, fd, w, wsize, nr, flags);

	return ret < 0 ? -errno : ret;
}

static inline int kevent_modify(int fd, struct kevent_watch *w, size_t wsize,
				unsigned int nr, unsigned int flags)
{
	int ret = syscall(__NR_kevent_modify, fd, w, wsize, nr, flags);

	return ret < 0 ? -errno : ret;
}

static inline int kevent_remove(int fd, const __u64 *handles, unsigned int nr,
				unsigned int flags)
{
	int ret = syscall(__NR_kevent_remove, fd, handles, nr, flags);

	return ret < 0 ? -errno : ret;
}

static inline int kevent_post(int fd, const struct kevent_event *ev,
			      size_t esize, unsigned int nr, unsigned int flags)
{
	int ret = syscall(__NR_kevent_post, fd, ev, esize, nr, flags);

	return ret < 0 ? -errno : ret;
}

static inline int kevent_wait(int fd, struct kevent_wait *args, size_t usize)
{
	int ret = syscall(__NR_kevent_wait, fd, args, usize);

	return ret < 0 ? -errno : ret;
}

static inline int kevent_get_events(int fd, unsigned int min_nr,
				    unsigned int max_nr,
				    const struct __kernel_timespec *timeout,
				    struct kevent_event *buf,
				    unsigned int flags)
{
	int ret = syscall(__NR_kevent_get_events, fd, min_nr, max_nr, timeout,
			  buf, flags);

	return ret < 0 ? -errno : ret;
}

/* What a call gives that this kernel does not have. */
static inline int nosys(void)
{
	return syscall(KEVENT_NR(0xffff)) < 0 ? -errno : 0;
}

static void __attribute__((constructor)) need_kevent(void)
{
	if (kevent_create(NULL, 0, 0) == nosys()) {
		ksft_print_header();
		ksft_exit_skip("this kernel has no kevent\n");
	}
}

/* A queue without a ring that may use no classes but these; the descriptor. */
static inline int sealed_queue(unsigned int sources)
{
	struct kevent_create args = {};

	return kevent_create(&args, sizeof(args), sources);
}

/* Skips all tests of a program if the kernel does not have a class. */
static inline void need_source(unsigned int source, const char *what)
{
	struct kevent_create args = {};
	int fd = kevent_create(&args, sizeof(args), 0);

	if (fd >= 0 && !(args.features & KEVENT_FEATURE_SOURCE(source))) {
		ksft_print_header();
		ksft_exit_skip("this kernel does not watch %s\n", what);
	}
	close(fd);
}

/* Each test may take so many times as long. Called before main(). */
static inline void multiply_timeouts(unsigned int factor)
{
	struct __fixture_metadata *f;
	struct __test_metadata *t;

	for (f = __fixture_list; f; f = f->next)
		for (t = f->tests; t; t = t->next)
			t->timeout *= factor;
}

/*
 * KEVENT_PATIENCE in the environment says how much slower a kernel is. The
 * tests have been registered: that has a priority.
 */
static void __attribute__((constructor)) be_patient(void)
{
	const char *patience = getenv("KEVENT_PATIENCE");

	if (patience && atoi(patience) > 1)
		multiply_timeouts(atoi(patience));
}

/*
 * A queue and its mapping.
 */
struct queue {
	int fd;
	struct kevent_create args;
	struct kevent_ring *ring;	/* NULL: no ring */
	struct kevent_event *slots;
};

static inline void *queue_mmap(const struct queue *q)
{
	return mmap(NULL, q->args.mmap_size, PROT_READ | PROT_WRITE,
		    MAP_SHARED, q->fd, 0);
}

/* Maps the ring of q->fd; 0 or a negated errno. */
static inline int queue_map(struct queue *q)
{
	void *map = queue_mmap(q);

	if (map == MAP_FAILED)
		return -errno;
	q->ring = map;
	q->slots = map + q->args.entries_offset;
	return 0;
}

/* Makes a queue and maps its ring; the fd or a negated errno. */
static inline int queue_open_as(struct queue *q, unsigned int entries,
				__u32 flags)
{
	int ret;

	memset(q, 0, sizeof(*q));
	q->args.flags = flags;
	q->args.entries = entries;
	q->fd = kevent_create(&q->args, sizeof(q->args), 0);
	if (q->fd < 0 || !q->args.mmap_size)
		return q->fd;
	ret = queue_map(q);
	if (ret) {
		close(q->fd);
		q->fd = -1;
		return ret;
	}
	return q->fd;
}

static inline int queue_open(struct queue *q, unsigned int entries)
{
	return queue_open_as(q, entries, 0);
}

/* One that child processes may use as this one does, but for the mapping. */
static inline int queue_open_shared(struct queue *q, unsigned int entries)
{
	return queue_open_as(q, entries, KEVENT_CREATE_SHARED);
}

static inline void queue_close(struct queue *q)
{
	if (q->ring)
		munmap(q->ring, q->args.mmap_size);
	q->ring = NULL;
	if (q->fd >= 0)
		close(q->fd);
	q->fd = -1;
}

/*
 * The consumer's side of the ring, as struct kevent_ring describes it.
 */
static inline __u32 ring_cursor(const struct queue *q)
{
	return __atomic_load_n(&q->ring->cursor, __ATOMIC_ACQUIRE);
}

static inline __u32 *ring_word(const struct queue *q, __u32 index)
{
	return &q->slots[index & (q->args.ring_entries - 1)].events;
}

static inline __u32 ring_lap(const struct queue *q, __u32 index)
{
	return index / q->args.ring_entries & KEVENT_WORD_LAP_MASK;
}

/*
 * Whether the entry at @index waits to be taken. The lap reports it from the
 * entry before it in the same slot, which another consumer may have claimed but
 * not yet exchanged.
 */
static inline bool ring_ready(const struct queue *q, __u32 index)
{
	__u32 word = __atomic_load_n(ring_word(q, index), __ATOMIC_ACQUIRE);
	__u32 state = word & KEVENT_WORD_STATE_MASK;

	return (state == KEVENT_WORD_READY ||
		state == KEVENT_WORD_CANCELLED) &&
	       (word >> KEVENT_WORD_LAP_SHIFT & KEVENT_WORD_LAP_MASK) ==
	       ring_lap(q, index);
}

/* Claims the entry at the cursor: steps 1 and 2. */
static inline bool ring_claim(struct queue *q, __u32 *index)
{
	*index = ring_cursor(q);
	do {
		if (!ring_ready(q, *index))
			return false;
	} while (!__atomic_compare_exchange_n(&q->ring->cursor, index,
					      *index + 1, false,
					      __ATOMIC_ACQ_REL,
					      __ATOMIC_ACQUIRE));
	return true;
}

/* Takes and reads a claimed entry, steps 3 and 4; false if it was cancelled. */
static inline bool ring_read(struct queue *q, __u32 index,
			     struct kevent_event *ev)
{
	__u32 *word = ring_word(q, index);
	__u32 got = __atomic_exchange_n(word, KEVENT_WORD_TAKEN,
					__ATOMIC_ACQUIRE);
	__u32 merged = got >> KEVENT_WORD_MERGED_SHIFT & KEVENT_WORD_MERGED_MAX;

	*ev = q->slots[index & (q->args.ring_entries - 1)];
	ev->events = got & KEVENT_EVENTS_MASK;
	ev->info = (ev->info & 0xffff) | merged << 16;
	if (ev->info & KEVENT_INFO_COUNTED)
		ev->data += merged;
	return (got & KEVENT_WORD_STATE_MASK) != KEVENT_WORD_CANCELLED;
}

/* Step 5. */
static inline void ring_free(struct queue *q, __u32 index)
{
	__atomic_store_n(ring_word(q, index), KEVENT_WORD_FREE,
			 __ATOMIC_RELEASE);
}

/* Takes one event, in the form that kevent_get_events() gives; 1 or 0. */
static inline int ring_take(struct queue *q, struct kevent_event *ev)
{
	bool valid = false;
	__u32 index;

	while (!valid) {
		if (!ring_claim(q, &index))
			return 0;
		valid = ring_read(q, index, ev);
		ring_free(q, index);
	}
	return 1;
}

/* Takes whatever the queue holds, the way that needs no ring; how many. */
static inline int queue_drain(struct queue *q)
{
	struct kevent_event ev[64];
	int ret, nr = 0;

	while ((ret = kevent_get_events(q->fd, 0, 64, NULL, ev, 0)) > 0)
		nr += ret;
	return nr;
}

/*
 * Numbered events: every field follows from the number in user_data.
 */
static inline void seq_fill(struct kevent_event *ev, __u64 seq)
{
	ev->user_data = seq;
	ev->events = (seq * 0x9e37 ^ seq >> 7) & KEVENT_EVENTS_MASK;
	ev->info = 0;
	ev->data = ~seq;
	ev->extra = seq * 0x9e3779b97f4a7c15ULL;
}

#define INFO_POSTED	(KEVENT_SOURCE_USER | KEVENT_INFO_POSTED)

static inline bool seq_intact(const struct kevent_event *ev)
{
	struct kevent_event want;

	seq_fill(&want, ev->user_data);
	return ev->events == want.events && ev->info == INFO_POSTED &&
	       ev->data == want.data && ev->extra == want.extra;
}

/* Posts @nr events numbered from @first; how many, or a negated errno. */
static inline int seq_post(int fd, __u64 first, unsigned int nr,
			   unsigned int flags)
{
	struct kevent_event ev[64];
	unsigned int done = 0, n, i;
	int ret;

	while (done < nr) {
		n = nr - done < 64 ? nr - done : 64;
		for (i = 0; i < n; i++)
			seq_fill(&ev[i], first + done + i);
		ret = kevent_post(fd, ev, sizeof(*ev), n, flags);
		if (ret < 0)
			return done ? (int)done : ret;
		done += ret;
		if ((unsigned int)ret < n)
			break;
	}
	return done;
}

/* The same, but tries again for as long as there is no room. */
static inline int seq_post_all(int fd, __u64 first, unsigned int nr)
{
	unsigned int done = 0;
	int ret;

	while (done < nr) {
		ret = seq_post(fd, first + done, nr - done, 0);
		if (ret < 0 && ret != -EAGAIN)
			return ret;
		if (ret > 0)
			done += ret;
		else
			sched_yield();
	}
	return done;
}

/*
 * Time: only ever used as "not before".
 */
static inline int epoll_now(int ep)
{
	struct epoll_event ev[4];

	return epoll_wait(ep, ev, 4, 0);
}

/* Whether the kernel has POSIX timers. */
static inline bool has_timers(void)
{
	struct sigevent none = { .sigev_notify = SIGEV_NONE };
	int id;

	if (syscall(__NR_timer_create, CLOCK_MONOTONIC, &none, &id))
		return errno != ENOSYS;
	syscall(__NR_timer_delete, id);
	return true;
}

static inline __u64 now_ns(clockid_t clock)
{
	struct timespec ts;

	clock_gettime(clock, &ts);
	return ts.tv_sec * 1000000000ULL + ts.tv_nsec;
}

static inline struct __kernel_timespec ns_to_ts(__u64 ns)
{
	struct __kernel_timespec ts = {
		.tv_sec = ns / 1000000000ULL,
		.tv_nsec = ns % 1000000000ULL,
	};

	return ts;
}

#define USEC	1000ULL
#define MSEC	1000000ULL
#define HOUR	3600000000000ULL

/*
 * Watches of timers on CLOCK_MONOTONIC.
 */
static inline struct kevent_watch timer_watch(__u64 user_data, __u64 first,
					      __u64 interval)
{
	struct kevent_watch w = {
		.source = KEVENT_SOURCE_TIMER,
		.events = KEVENT_TIMER_EXPIRED,
		.user_data = user_data,
		.arg = { first, interval, CLOCK_MONOTONIC },
	};

	return w;
}

/*
 * Watches of a file that can be polled.
 */
static inline struct kevent_watch watch_poll(int fd, __u32 events, __u32 flags,
					     __u64 user_data)
{
	struct kevent_watch w = {
		.source = KEVENT_SOURCE_POLL,
		.flags = flags,
		.ident = fd,
		.events = events,
		.user_data = user_data,
	};

	return w;
}

static inline int add_one(const struct queue *q, struct kevent_watch *w)
{
	return kevent_add(q->fd, w, sizeof(*w), 1, 0);
}

static inline int modify_one(const struct queue *q, struct kevent_watch *w,
			     unsigned int flags)
{
	return kevent_modify(q->fd, w, sizeof(*w), 1, flags);
}

static inline int remove_one(const struct queue *q, __u64 handle)
{
	return kevent_remove(q->fd, &handle, 1, 0);
}

/* Fires a USER watch. */
static inline int trigger(int fd, __u64 handle, __u32 events)
{
	struct kevent_watch w = {
		.source = KEVENT_SOURCE_USER,
		.handle = handle,
		.events = events,
	};

	return kevent_modify(fd, &w, sizeof(w), 1, KEVENT_MODIFY_TRIGGER);
}

static inline __u32 ring_flags(const struct queue *q)
{
	return __atomic_load_n(&q->ring->flags, __ATOMIC_RELAXED);
}

/* Only moves what waits in the backlog, and lets watches catch up. */
static inline int queue_refill(const struct queue *q)
{
	struct kevent_wait args = {
		.clockid = CLOCK_MONOTONIC,
		.seen = q->ring ? ring_cursor(q) : 0,
	};

	return kevent_wait(q->fd, &args, sizeof(args));
}

/* Takes what there is now, in one of the two ways; 1 or 0. */
static inline int take_now(struct queue *q, bool copy, struct kevent_event *ev)
{
	if (copy || !q->ring)
		return kevent_get_events(q->fd, 0, 1, NULL, ev, 0);
	if (ring_take(q, ev))
		return 1;
	queue_refill(q);
	return ring_take(q, ev);
}

/* The same, but sleeps until there is something; 1 or a negated errno. */
static inline int take_next(struct queue *q, bool copy, struct kevent_event *ev)
{
	struct kevent_wait args = {
		.clockid = CLOCK_MONOTONIC,
		.min_nr = 1,
	};
	int ret;

	if (copy || !q->ring)
		return kevent_get_events(q->fd, 1, 1, NULL, ev, 0);
	while (!ring_take(q, ev)) {
		args.seen = ring_cursor(q);
		ret = kevent_wait(q->fd, &args, sizeof(args));
		if (ret < 0)
			return ret;
	}
	return 1;
}

/*
 * Is a task asleep? It announces its id in @tid right before the call in which
 * it is going to sleep, and sets @done after it.
 */
static inline char task_state(pid_t tid)
{
	char name[32], buf[512], *end;
	ssize_t len;
	int fd;

	snprintf(name, sizeof(name), "/proc/%d/stat", tid);
	fd = open(name, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return 0;
	len = read(fd, buf, sizeof(buf) - 1);
	close(fd);
	if (len <= 0)
		return 0;
	buf[len] = 0;
	end = strrchr(buf, ')');
	return end ? end[2] : 0;
}

static inline bool task_asleep(const int *tid, const int *done)
{
	int attempts, id;

	for (attempts = 0; attempts < 20000; attempts++) {
		if (__atomic_load_n(done, __ATOMIC_ACQUIRE))
			return false;
		id = __atomic_load_n(tid, __ATOMIC_ACQUIRE);
		if (id && task_state(id) == 'S')
			return !__atomic_load_n(done, __ATOMIC_ACQUIRE);
		usleep(500);
	}
	return false;
}

/*
 * A thread that makes one call, in which it is expected to sleep.
 */
struct sleeper {
	pthread_t thread;
	int (*call)(void *arg);
	void *arg;
	int tid;
	int done;
	int ret;
};

static inline void *sleeper_main(void *arg)
{
	struct sleeper *s = arg;

	__atomic_store_n(&s->tid, syscall(SYS_gettid), __ATOMIC_RELEASE);
	s->ret = s->call(s->arg);
	__atomic_store_n(&s->done, 1, __ATOMIC_RELEASE);
	return NULL;
}

static inline int sleeper_start(struct sleeper *s, int (*call)(void *arg),
				void *arg)
{
	memset(s, 0, sizeof(*s));
	s->call = call;
	s->arg = arg;
	return pthread_create(&s->thread, NULL, sleeper_main, s);
}

static inline bool sleeper_asleep(struct sleeper *s)
{
	return task_asleep(&s->tid, &s->done);
}

static inline bool sleeper_done(struct sleeper *s)
{
	return __atomic_load_n(&s->done, __ATOMIC_ACQUIRE);
}

static inline int sleeper_join(struct sleeper *s)
{
	pthread_join(s->thread, NULL);
	return s->ret;
}

/* A sleeper's call for kevent_wait(). */
struct waiter {
	struct sleeper sleeper;
	int fd;
	struct kevent_wait args;
};

static inline int waiter_call(void *arg)
{
	struct waiter *w = arg;

	return kevent_wait(w->fd, &w->args, sizeof(w->args));
}

/* Starts a thread that waits, forever, for @min_nr events from @seen on. */
static inline int waiter_start(struct waiter *w, int fd, __u32 seen,
			       __u32 min_nr)
{
	memset(w, 0, sizeof(*w));
	w->fd = fd;
	w->args.clockid = CLOCK_MONOTONIC;
	w->args.seen = seen;
	w->args.min_nr = min_nr;
	return sleeper_start(&w->sleeper, waiter_call, w);
}

/*
 * Two pages, of which only the first can be used; returns where it ends.
 */
static inline void *guard_page(void)
{
	long size = sysconf(_SC_PAGESIZE);
	void *map = mmap(NULL, 2 * size, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (map == MAP_FAILED || mprotect(map + size, size, PROT_NONE))
		return NULL;
	return map + size;
}

static inline int send_fd(int sock, int fd)
{
	char control[CMSG_SPACE(sizeof(int))] = {}, byte = 0;
	struct iovec iov = { .iov_base = &byte, .iov_len = 1 };
	struct msghdr msg = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control,
		.msg_controllen = sizeof(control),
	};
	struct cmsghdr *cmsg = CMSG_FIRSTHDR(&msg);

	cmsg->cmsg_level = SOL_SOCKET;
	cmsg->cmsg_type = SCM_RIGHTS;
	cmsg->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(cmsg), &fd, sizeof(int));
	return sendmsg(sock, &msg, 0) == 1 ? 0 : -errno;
}

static inline int recv_fd(int sock)
{
	char control[CMSG_SPACE(sizeof(int))] = {}, byte;
	struct iovec iov = { .iov_base = &byte, .iov_len = 1 };
	struct msghdr msg = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control,
		.msg_controllen = sizeof(control),
	};
	struct cmsghdr *cmsg;
	int fd;

	if (recvmsg(sock, &msg, 0) != 1)
		return -EIO;
	cmsg = CMSG_FIRSTHDR(&msg);
	if (!cmsg || cmsg->cmsg_type != SCM_RIGHTS)
		return -EBADMSG;
	memcpy(&fd, CMSG_DATA(cmsg), sizeof(int));
	return fd;
}

/* Files of the kernel that hold a number. */
static inline long long read_number(const char *path)
{
	long long value = -1;
	FILE *f = fopen(path, "r");

	if (!f)
		return -1;
	if (fscanf(f, "%lld", &value) != 1)
		value = -1;
	fclose(f);
	return value;
}

static inline bool write_to(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	bool ok;

	if (fd < 0)
		return false;
	ok = write(fd, text, strlen(text)) == (ssize_t)strlen(text);
	close(fd);
	return ok;
}

static inline bool write_number(const char *path, long long value)
{
	char text[32];

	snprintf(text, sizeof(text), "%lld", value);
	return write_to(path, text);
}

/* How many timer interrupts there were, or -1. */
static inline long timer_interrupts(void)
{
	char line[4096], *at, *end;
	FILE *f = fopen("/proc/interrupts", "r");
	long sum = -1, nr;

	while (f && fgets(line, sizeof(line), f)) {
		at = strstr(line, "LOC:");
		if (!at)
			continue;
		sum = 0;
		for (at += 4; (nr = strtol(at, &end, 10)), end != at; at = end)
			sum += nr;
		break;
	}
	if (f)
		fclose(f);
	return sum;
}

/* How many of them there are while a program consumes and makes no call. */
static inline long count_interrupts(struct queue *q, __u64 *expired)
{
	__u64 end = now_ns(CLOCK_MONOTONIC) + 300 * MSEC;
	long before = timer_interrupts();
	struct kevent_event ev;

	*expired = 0;
	while (now_ns(CLOCK_MONOTONIC) < end) {
		if (ring_take(q, &ev))
			*expired += ev.data;
	}
	return timer_interrupts() - before;
}

#endif /* KEVENT_TEST_H */
