// SPDX-License-Identifier: GPL-2.0
/*
 * How many watches one object may have, of a queue and of a user: of whatever
 * class, because others pay for each of them.
 */
#include <sched.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "kevent_poll_test.h"

#define OF_QUEUE	128
#define OF_USER		1280
#define UID		41111	/* no other program's, it is hoped */

static __u32 word;

FIXTURE(object)
{
	struct kevent_watch w; /* a watch of the object */
	struct kevent_watch other; /* one of another object */
	int fd[4];
};

FIXTURE_VARIANT(object)
{
	__u32 source;
	/* The first watch of a file is not counted. */
	int uncounted;
};

FIXTURE_VARIANT_ADD(object, poll)
{
	.source = KEVENT_SOURCE_POLL,
	.uncounted = 1,
};

FIXTURE_VARIANT_ADD(object, socket)
{
	.source = KEVENT_SOURCE_SOCKET,
	.uncounted = 1,
};

FIXTURE_VARIANT_ADD(object, process)
{
	.source = KEVENT_SOURCE_PROCESS,
};

FIXTURE_VARIANT_ADD(object, inode)
{
	.source = KEVENT_SOURCE_INODE,
};

FIXTURE_VARIANT_ADD(object, futex)
{
	.source = KEVENT_SOURCE_FUTEX,
};

FIXTURE_VARIANT_ADD(object, signal)
{
	.source = KEVENT_SOURCE_SIGNAL,
};

static struct kevent_watch record(__u32 source, __u64 ident, __u32 events)
{
	return (struct kevent_watch) {
		.source = source,
		.ident = ident,
		.events = events,
	};
}

FIXTURE_SETUP(object)
{
	__u32 source = variant->source, events = 1;
	int i;

	need_source(source, "the class");
	for (i = 0; i < ARRAY_SIZE(self->fd); i++)
		self->fd[i] = -1;
	switch (source) {
	case KEVENT_SOURCE_POLL:
		for (i = 0; i < 2; i++)
			self->fd[i] = new_file();
		break;
	case KEVENT_SOURCE_SOCKET:
		ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_STREAM, 0, self->fd));
		events = KEVENT_SOCKET_IN;
		break;
	case KEVENT_SOURCE_PROCESS:
		self->fd[0] = syscall(SYS_pidfd_open, getpid(), 0);
		self->fd[1] = syscall(SYS_pidfd_open, getppid(), 0);
		events = KEVENT_PROCESS_EXIT;
		break;
	case KEVENT_SOURCE_INODE:
		self->fd[0] = open("/tmp", O_RDONLY);
		self->fd[1] = open("/", O_RDONLY);
		events = KEVENT_INODE_ATTRIB;
		break;
	case KEVENT_SOURCE_FUTEX:
		self->w = record(source, (unsigned long)&word, KEVENT_FUTEX_WOKEN);
		self->w.arg[0] = 2; /* FUTEX2_SIZE_U32 */
		self->other = self->w;
		self->other.ident = (unsigned long)self->fd;
		return;
	case KEVENT_SOURCE_SIGNAL:
		self->w = record(source, SIGUSR1, KEVENT_SIGNAL_SENT);
		return;
	}
	ASSERT_LE(0, self->fd[0]);
	ASSERT_LE(0, self->fd[1]);
	self->w = record(source, self->fd[0], events);
	self->other = record(source, self->fd[1], events);
}

FIXTURE_TEARDOWN(object)
{
	int i;

	for (i = 0; i < ARRAY_SIZE(self->fd); i++)
		if (self->fd[i] >= 0)
			close(self->fd[i]);
}

/* How many watches like @w a queue takes, up to @most; the last error. */
static int fill(const struct queue *q, const struct kevent_watch *w, int most,
		__u64 *last, int *error)
{
	struct kevent_watch one;
	int nr, ret = 0;

	for (nr = 0; nr < most; nr++) {
		one = *w;
		ret = add_one(q, &one);
		if (ret != 1)
			break;
		*last = one.handle;
	}
	*error = ret;
	return nr;
}

TEST_F(object, watches_in_a_queue)
{
	int most = OF_QUEUE + variant->uncounted, error;
	struct kevent_watch one;
	struct queue q, second;
	__u64 last = 0;

	ASSERT_LE(0, queue_open(&q, 0));
	ASSERT_LE(0, queue_open(&second, 8));
	EXPECT_EQ(most, fill(&q, &self->w, most + 10, &last, &error));
	EXPECT_EQ(-ENOSPC, error);
	EXPECT_EQ(most, nr_watches(q.fd));
	/* Another object, and another queue, have nothing to do with that. */
	if (self->other.source) {
		one = self->other;
		EXPECT_EQ(1, add_one(&q, &one));
	}
	one = self->w;
	EXPECT_EQ(1, add_one(&second, &one));
	/* One more fits if one goes. */
	EXPECT_EQ(1, remove_one(&q, last));
	EXPECT_EQ(1, fill(&q, &self->w, 2, &last, &error));
	EXPECT_EQ(-ENOSPC, error);
	/* All of them, if the queue goes. */
	queue_close(&q);
	ASSERT_LE(0, queue_open(&q, 0));
	EXPECT_EQ(OF_QUEUE, fill(&q, &self->w, OF_QUEUE, &last, &error));
	queue_close(&q);
	queue_close(&second);
}

/* Makes queues with watches like @w until no more are allowed; how many. */
static int fill_queues(struct queue *q, int nr_queues, const struct kevent_watch *w)
{
	int i, sum = 0, error;
	__u64 last;

	for (i = 0; i < nr_queues; i++) {
		if (queue_open(&q[i], 0) < 0)
			return -errno;
		sum += fill(&q[i], w, OF_QUEUE, &last, &error);
	}
	return sum;
}

/* In a child that is another user, or the same one in a namespace of its own. */
static int add_as(const struct kevent_watch *w, uid_t uid)
{
	struct kevent_watch one = *w;
	struct queue q;

	if (uid && setresuid(uid, uid, uid))
		return 1;
	if (!uid && unshare(CLONE_NEWUSER))
		return KSFT_SKIP;
	if (queue_open(&q, 0) < 0)
		return 2;
	switch (add_one(&q, &one)) {
	case 1:
		return 10;
	case -ENOSPC:
		return 11;
	}
	return 3;
}

TEST_F(object, watches_of_a_user)
{
	struct queue q[OF_USER / OF_QUEUE + 2];
	int nr = ARRAY_SIZE(q), i, status;
	pid_t pid;

	EXPECT_EQ(OF_USER + variant->uncounted, fill_queues(q, nr, &self->w));
	/* Signals are those of the process itself. */
	if (variant->source != KEVENT_SOURCE_SIGNAL &&
	    variant->source != KEVENT_SOURCE_FUTEX) {
		pid = fork();
		if (!pid)
			_exit(add_as(&self->w, 0));
		status = child_status(pid);
		if (status != KSFT_SKIP)
			EXPECT_EQ(11, status);
		if (!geteuid() && variant->source != KEVENT_SOURCE_PROCESS) {
			pid = fork();
			if (!pid)
				_exit(add_as(&self->w, UID));
			EXPECT_EQ(10, child_status(pid));
		}
	}
	for (i = 0; i < nr; i++)
		queue_close(&q[i]);
	ASSERT_LE(0, queue_open(&q[0], 0));
	EXPECT_EQ(1, add_one(&q[0], &self->w));
	queue_close(&q[0]);
}

/* A watch that was the only one is the first one again when it is added again. */
TEST_F(object, first_again)
{
	int most = OF_QUEUE + variant->uncounted, error;
	struct kevent_watch one;
	struct queue q;
	__u64 last = 0;
	int i;

	ASSERT_LE(0, queue_open(&q, 0));
	for (i = 0; i < 3; i++) {
		one = self->w;
		ASSERT_EQ(1, add_one(&q, &one));
		ASSERT_EQ(1, remove_one(&q, one.handle));
	}
	EXPECT_EQ(most, fill(&q, &self->w, most + 10, &last, &error));
	EXPECT_EQ(-ENOSPC, error);
	queue_close(&q);
}

/* Each watch is the only one of its file, which costs no count. */
TEST(many_objects)
{
	enum { FILES = 500 };
	struct kevent_watch w;
	int fd[FILES], i;
	struct queue q;

	ASSERT_LE(0, queue_open(&q, 0));
	for (i = 0; i < FILES; i++) {
		fd[i] = new_file();
		ASSERT_LE(0, fd[i]);
		EXPECT_EQ(1, add_file(&q, &w, fd[i], 0, i));
	}
	EXPECT_EQ(FILES, nr_watches(q.fd));
	for (i = 0; i < FILES; i++)
		close(fd[i]);
	EXPECT_EQ(0, nr_watches(q.fd));
	queue_close(&q);
}

/* Files that have wait queues in common, one for each time that it is opened. */
static int open_object(bool is_process, const char *fifo)
{
	return is_process ? syscall(SYS_pidfd_open, getpid(), 0) :
			    open(fifo, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
}

TEST(opened_many_times)
{
	int fd[OF_QUEUE + 1], i, nr, error, ret;
	char path[] = "/tmp/kevent-XXXXXX", name[32];
	struct kevent_watch w;
	struct queue q;
	__u64 last;

	ASSERT_NE(NULL, mkdtemp(path));
	snprintf(name, sizeof(name), "%s/fifo", path);
	ASSERT_EQ(0, mkfifo(name, 0600));
	for (i = 0; i < 2; i++) {
		ASSERT_LE(0, queue_open(&q, 0));
		for (nr = 0; nr <= OF_QUEUE; nr++) {
			fd[nr] = open_object(i, name);
			ASSERT_LE(0, fd[nr]);
			ret = add_file(&q, &w, fd[nr], 0, nr);
			if (ret != 1)
				break;
		}
		EXPECT_EQ(OF_QUEUE, nr);
		EXPECT_EQ(-ENOSPC, ret);
		EXPECT_EQ(OF_QUEUE, nr_watches(q.fd));
		/* Closed, they make room. */
		while (nr >= 0)
			close(fd[nr--]);
		EXPECT_EQ(0, nr_watches(q.fd));
		fd[0] = open_object(i, name);
		w = record(KEVENT_SOURCE_POLL, fd[0], KEVENT_POLL_IN);
		EXPECT_EQ(OF_QUEUE, fill(&q, &w, OF_QUEUE + 1, &last, &error));
		EXPECT_EQ(-ENOSPC, error);
		close(fd[0]);
		queue_close(&q);
	}
	unlink(name);
	rmdir(path);
}

TEST_HARNESS_MAIN
