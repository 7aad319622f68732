/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the tests of watched files share: their records, eventfds that fire
 * them, what is left of them, child processes, and the program started again.
 */
#ifndef KEVENT_POLL_TEST_H
#define KEVENT_POLL_TEST_H

#include <poll.h>
#include <sys/eventfd.h>

#include "kevent_test.h"

#ifndef CLONE_FILES
#define CLONE_FILES	0x00000400
#endif

static inline struct kevent_watch file_watch(int fd, __u32 flags,
					     __u64 user_data)
{
	return watch_poll(fd, KEVENT_POLL_IN, flags, user_data);
}

/* Adds a watch of readability; 1 or a negated errno. */
static inline int add_file(const struct queue *q, struct kevent_watch *w,
			   int fd, __u32 flags, __u64 user_data)
{
	*w = file_watch(fd, flags, user_data);
	return add_one(q, w);
}

/* Eventfds: readable after fire() until quiet(). */
static inline int new_file(void)
{
	return eventfd(0, EFD_NONBLOCK);
}

static inline int fire(int fd)
{
	__u64 one = 1;

	return write(fd, &one, sizeof(one)) == sizeof(one) ? 0 : -errno;
}

/* How much was fired since the last time. */
static inline __u64 quiet(int fd)
{
	__u64 value;

	return read(fd, &value, sizeof(value)) == sizeof(value) ? value : 0;
}

/* Whether the handle names nothing any more. */
static inline bool watch_gone(const struct queue *q,
			      const struct kevent_watch *w)
{
	struct kevent_watch change = *w;

	return modify_one(q, &change, KEVENT_MODIFY_USER_DATA) == -ENOENT;
}

/* How many watches the fdinfo of a queue has, or -1. */
static inline int nr_watches(int fd)
{
	char path[64], line[512];
	int nr = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
	f = fopen(path, "r");
	if (!f)
		return -1;
	/* Not all of them may have a line. */
	while (fgets(line, sizeof(line), f)) {
		if (!strncmp(line, "watches:", 8))
			nr += atoi(line + 8);
		else if (!strncmp(line, "watch:", 6) && strstr(line, "state:gone"))
			nr--;
	}
	fclose(f);
	return nr;
}

/* The next event, which may have to be waited for, is exactly this one. */
#define EXPECT_EVENT(queue, copy, value, bits, flags)			\
do {									\
	struct kevent_event __got = {};					\
									\
	ASSERT_EQ(1, take_next((queue), (copy), &__got));		\
	EXPECT_EQ((__u64)(value), __got.user_data);			\
	EXPECT_EQ((__u32)(bits), __got.events);				\
	EXPECT_EQ(KEVENT_SOURCE_POLL | (__u32)(flags),			\
		  __got.info & 0xffff);					\
	EXPECT_EQ(0, __got.data);					\
	EXPECT_EQ(0, __got.extra);					\
} while (0)

#define EXPECT_READABLE(queue, copy, value)				\
	EXPECT_EVENT(queue, copy, value, KEVENT_POLL_IN, 0)

#define EXPECT_VANISHED(queue, copy, value)				\
	EXPECT_EVENT(queue, copy, value, KEVENT_POLL_NVAL,		\
		     KEVENT_INFO_VANISHED)

/* There is none. */
#define EXPECT_EMPTY(queue, copy)					\
do {									\
	struct kevent_event __got = {};					\
	int __nr = take_now((queue), (copy), &__got);			\
									\
	EXPECT_EQ(0, __nr) {						\
		TH_LOG("user_data %llx events %x info %x",		\
		       __got.user_data, __got.events, __got.info);	\
	}								\
} while (0)

/* What a child exited with, or the negated signal that it died of. */
static inline int child_status(pid_t pid)
{
	int status;

	if (waitpid(pid, &status, 0) != pid)
		return -1000;
	return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

/* A child process with the same descriptors, not a copy of them. */
static inline pid_t fork_sharing_files(void)
{
	/* struct clone_args: the flags and the signal of its exit. */
	__u64 args[8] = { CLONE_FILES, 0, 0, 0, SIGCHLD };
	pid_t pid = syscall(SYS_clone3, args, sizeof(args));

	return pid < 0 ? -errno : pid;
}

/* One process reports another, or waits to be reported: over a pipe. */
struct gate {
	int fds[2];
};

static inline int gate_init(struct gate *g)
{
	return pipe2(g->fds, O_CLOEXEC);
}

static inline void gate_open(struct gate *g)
{
	if (write(g->fds[1], "", 1) != 1)
		abort();
}

/* False if there is no process left that could open it. */
static inline bool gate_pass(struct gate *g)
{
	char byte;

	return read(g->fds[0], &byte, 1) == 1;
}

#define EXEC_STATE	"KEVENT_TEST_STATE"

/*
 * Starts this program again in the same process. A constructor there gets the
 * state with exec_state(), and has the last word.
 */
static inline void exec_again(const void *state, size_t size)
{
	const unsigned char *from = state;
	char hex[2 * 512 + 1];
	size_t i;

	for (i = 0; i < size && i < 512; i++)
		snprintf(hex + 2 * i, 3, "%02x", from[i]);
	setenv(EXEC_STATE, hex, 1);
	execl("/proc/self/exe", "kevent", NULL);
	_exit(126);
}

/* Whether this program was started by exec_again(), and with what. */
static inline bool exec_state(void *state, size_t size)
{
	const char *hex = getenv(EXEC_STATE);
	unsigned char *to = state;
	unsigned int byte;
	size_t i;

	if (!hex)
		return false;
	for (i = 0; i < size; i++) {
		if (sscanf(hex + 2 * i, "%2x", &byte) != 1)
			_exit(125);
		to[i] = byte;
	}
	return true;
}

/*
 * Two sides of a race: a thread that does its side once a round.
 */
struct racer {
	pthread_t thread;
	void (*side)(void *arg);
	void *arg;
	unsigned int go, done;
	bool stop;
};

static inline void *racer_main(void *arg)
{
	struct racer *r = arg;
	unsigned int round = 0;

	for (;;) {
		while (__atomic_load_n(&r->go, __ATOMIC_ACQUIRE) == round) {
			if (__atomic_load_n(&r->stop, __ATOMIC_ACQUIRE))
				return NULL;
			sched_yield();
		}
		round++;
		r->side(r->arg);
		__atomic_store_n(&r->done, round, __ATOMIC_RELEASE);
	}
}

static inline int racer_start(struct racer *r, void (*side)(void *arg),
			      void *arg)
{
	memset(r, 0, sizeof(*r));
	r->side = side;
	r->arg = arg;
	return pthread_create(&r->thread, NULL, racer_main, r);
}

static inline void racer_go(struct racer *r)
{
	__atomic_add_fetch(&r->go, 1, __ATOMIC_ACQ_REL);
}

static inline void racer_wait(struct racer *r)
{
	while (__atomic_load_n(&r->done, __ATOMIC_ACQUIRE) != r->go)
		sched_yield();
}

static inline void racer_stop(struct racer *r)
{
	__atomic_store_n(&r->stop, true, __ATOMIC_RELEASE);
	pthread_join(r->thread, NULL);
}

/* Some work, so that the sides meet at different points: 0 to @most turns. */
static inline void dawdle(unsigned int *seed, unsigned int most)
{
	unsigned int turns = rand_r(seed) % (most + 1);

	while (turns--)
		__asm__ volatile("" ::: "memory");
}

#endif /* KEVENT_POLL_TEST_H */
