// SPDX-License-Identifier: GPL-2.0
/*
 * A file whose poll() takes as long as another process likes, one of FUSE: no
 * mutex of a queue is held meanwhile, so all that others do with the queue, and
 * with other descriptors, goes on.
 */
#include <linux/fuse.h>
#include <semaphore.h>
#include <sys/mount.h>
#include <sys/uio.h>

#include "poll_test.h"

/* The server of a file system that is one file. */
struct server {
	pthread_t thread;
	int dev;
	int polls;		/* how many polls have come */
	sem_t answer;		/* how many may be answered */
	bool holds;		/* polls wait for that */
	__u32 revents;
};

static void answer(struct server *s, __u64 unique, int error, void *data,
		   size_t size)
{
	struct fuse_out_header out = {
		.len = sizeof(out) + (error ? 0 : size),
		.error = error,
		.unique = unique,
	};
	struct iovec iov[2] = {
		{ .iov_base = &out, .iov_len = sizeof(out) },
		{ .iov_base = data, .iov_len = size },
	};

	if (writev(s->dev, iov, error || !size ? 1 : 2) < 0 && errno != ENOENT)
		perror("fuse");
}

static void serve(struct server *s, struct fuse_in_header *in)
{
	struct fuse_init_out init = {
		.major = FUSE_KERNEL_VERSION,
		.minor = FUSE_KERNEL_MINOR_VERSION,
		.max_write = 4096,
	};
	struct fuse_attr_out attr = {
		.attr = { .ino = 1, .mode = S_IFREG | 0666, .nlink = 1 },
	};
	struct fuse_open_out open = {
		.open_flags = FOPEN_DIRECT_IO | FOPEN_NOFLUSH,
	};
	struct fuse_poll_out poll = {};

	switch (in->opcode) {
	case FUSE_INIT:
		answer(s, in->unique, 0, &init, sizeof(init));
		break;
	case FUSE_GETATTR:
		answer(s, in->unique, 0, &attr, sizeof(attr));
		break;
	case FUSE_OPEN:
		answer(s, in->unique, 0, &open, sizeof(open));
		break;
	case FUSE_POLL:
		__atomic_fetch_add(&s->polls, 1, __ATOMIC_SEQ_CST);
		if (__atomic_load_n(&s->holds, __ATOMIC_SEQ_CST))
			sem_wait(&s->answer);
		poll.revents = __atomic_load_n(&s->revents, __ATOMIC_SEQ_CST);
		answer(s, in->unique, 0, &poll, sizeof(poll));
		break;
	case FUSE_RELEASE:
		answer(s, in->unique, 0, NULL, 0);
		break;
	case FUSE_FORGET:
	case FUSE_INTERRUPT:
		break;
	default:
		answer(s, in->unique, -ENOSYS, NULL, 0);
	}
}

static void *server_main(void *arg)
{
	static __thread __u64 buf[(1 << 16) / 8];
	struct server *s = arg;
	ssize_t len;

	for (;;) {
		len = read(s->dev, buf, sizeof(buf));
		if (len < 0 && (errno == EINTR || errno == ENOENT))
			continue;
		if (len < (ssize_t)sizeof(struct fuse_in_header))
			return NULL;
		serve(s, (void *)buf);
	}
}

FIXTURE(fuse)
{
	struct queue q;
	struct server server;
	struct kevent_watch w;
	char dir[32];
	char path[40];
	int fd;
};

FIXTURE_VARIANT(fuse)
{
	unsigned int entries;
};

FIXTURE_VARIANT_ADD(fuse, ring)
{
	.entries = 16,
};

FIXTURE_VARIANT_ADD(fuse, no_ring)
{
};

FIXTURE_SETUP(fuse)
{
	char options[80];
	int file;

	self->fd = -1;
	self->server.dev = open("/dev/fuse", O_RDWR | O_CLOEXEC);
	if (self->server.dev < 0)
		SKIP(return, "no FUSE");
	strcpy(self->dir, "/tmp/kevent-fuse-XXXXXX");
	ASSERT_NE(NULL, mkdtemp(self->dir));
	ASSERT_EQ(0, mount("none", self->dir, "tmpfs", 0, NULL));
	snprintf(self->path, sizeof(self->path), "%s/file", self->dir);
	file = open(self->path, O_CREAT | O_RDWR, 0666);
	ASSERT_LE(0, file);
	close(file);
	snprintf(options, sizeof(options),
		 "fd=%d,rootmode=100000,user_id=0,group_id=0", self->server.dev);
	if (mount("fuse", self->path, "fuse", 0, options))
		SKIP(return, "FUSE cannot be mounted");
	ASSERT_EQ(0, sem_init(&self->server.answer, 0, 0));
	ASSERT_EQ(0, pthread_create(&self->server.thread, NULL, server_main,
				    &self->server));
	self->fd = open(self->path, O_RDWR | O_CLOEXEC);
	ASSERT_LE(0, self->fd);
	ASSERT_LE(0, queue_open(&self->q, variant->entries));
	self->w = watch_poll(self->fd, IN, LEVEL, 1);
}

FIXTURE_TEARDOWN(fuse)
{
	if (self->fd >= 0)
		queue_close(&self->q);
	if (self->fd > 0)
		close(self->fd);
	umount2(self->path, MNT_DETACH);
	umount2(self->dir, MNT_DETACH);
	rmdir(self->dir);
}

/* Waits until so many polls have come. */
static void until_polled(struct server *s, int nr)
{
	while (__atomic_load_n(&s->polls, __ATOMIC_SEQ_CST) < nr)
		usleep(200);
}

static void hold(struct server *s, bool holds)
{
	__atomic_store_n(&s->holds, holds, __ATOMIC_SEQ_CST);
}

struct adder {
	struct queue *q;
	struct kevent_watch *w;
	unsigned int flags;	/* 0: kevent_add() */
};

static int adder_call(void *arg)
{
	struct adder *a = arg;

	return a->flags ? modify_one(a->q, a->w, a->flags) :
			  add_one(a->q, a->w);
}

/* What others do with a queue, which must not hang. */
static void use_queue(struct __test_metadata *_metadata, struct queue *q)
{
	struct kevent_event ev;
	struct kevent_watch w;
	int fd = new_file(), gone;

	ASSERT_LE(0, fd);
	w = watch_poll(fd, IN, LEVEL, 7);
	ASSERT_EQ(1, add_one(q, &w));
	efd_fire(fd);
	ASSERT_EQ(1, take_now(q, true, &ev));
	EXPECT_EQ(7, ev.user_data);
	efd_quench(fd);
	ASSERT_EQ(0, take_now(q, true, &ev));
	w.events = IN | OUT;
	ASSERT_EQ(1, modify_one(q, &w, KEVENT_MODIFY_EVENTS));
	ASSERT_EQ(1, take_now(q, true, &ev));
	EXPECT_EQ(OUT, ev.events);
	EXPECT_TRUE(queue_readable(q));
	ASSERT_EQ(1, remove_one(q, w.handle));
	ASSERT_EQ(1, add_one(q, &w));
	/* A duplicate has it go, the hook for which takes the mutex. */
	gone = dup(fd);
	ASSERT_LE(0, gone);
	close(fd);
	close(gone);
	ASSERT_EQ(-ENOENT, remove_one(q, w.handle));
}

TEST_F(fuse, add_that_polls_holds_up_no_one)
{
	struct adder adder = { .q = &self->q, .w = &self->w };
	struct kevent_event ev;
	struct sleeper s;

	hold(&self->server, true);
	ASSERT_EQ(0, sleeper_start(&s, adder_call, &adder));
	until_polled(&self->server, 1);
	use_queue(_metadata, &self->q);
	/* It has no handle yet. */
	EXPECT_EQ(0, queue_drain(&self->q));
	self->server.revents = IN;
	hold(&self->server, false);
	sem_post(&self->server.answer);
	EXPECT_EQ(1, sleeper_join(&s));
	ASSERT_EQ(1, take_now(&self->q, true, &ev));
	EXPECT_EQ(1, ev.user_data);
	EXPECT_EQ(IN, ev.events);
	EXPECT_EQ(1, remove_one(&self->q, self->w.handle));
}

/* No second watch of that name, and none that could be changed yet. */
TEST_F(fuse, named_while_it_is_added)
{
	struct adder adder = { .q = &self->q, .w = &self->w };
	struct kevent_watch w = self->w;
	struct sleeper s;

	if (!(self->q.args.features & KEVENT_FEATURE_BY_IDENT))
		SKIP(return, "this kernel finds watches by handle only");
	hold(&self->server, true);
	ASSERT_EQ(0, sleeper_start(&s, adder_call, &adder));
	until_polled(&self->server, 1);
	EXPECT_EQ(-EBUSY, kevent_add(self->q.fd, &w, sizeof(w), 1,
				     KEVENT_ADD_UPDATE));
	EXPECT_EQ(-ENOENT, modify_one(&self->q, &w, KEVENT_MODIFY_BY_IDENT |
				      KEVENT_MODIFY_USER_DATA));
	EXPECT_EQ(-ENOENT, modify_one(&self->q, &w, KEVENT_MODIFY_BY_IDENT |
				      KEVENT_MODIFY_REMOVE));
	hold(&self->server, false);
	sem_post(&self->server.answer);
	EXPECT_EQ(1, sleeper_join(&s));
	EXPECT_EQ(1, kevent_add(self->q.fd, &w, sizeof(w), 1,
				KEVENT_ADD_UPDATE));
	EXPECT_EQ(self->w.handle, w.handle);
	EXPECT_EQ(1, modify_one(&self->q, &w, KEVENT_MODIFY_BY_IDENT |
				KEVENT_MODIFY_REMOVE));
}

TEST_F(fuse, closed_while_it_is_added)
{
	struct adder adder = { .q = &self->q, .w = &self->w };
	struct sleeper s;

	hold(&self->server, true);
	ASSERT_EQ(0, sleeper_start(&s, adder_call, &adder));
	until_polled(&self->server, 1);
	/* Its file is released when the poll is over, not before. */
	hold(&self->server, false);
	sem_post(&self->server.answer);
	close(self->fd);
	self->fd = 0;
	/* It may have been added just before that. */
	if (sleeper_join(&s) == 1)
		EXPECT_EQ(-ENOENT, remove_one(&self->q, self->w.handle));
	EXPECT_EQ(0, queue_drain(&self->q));
	use_queue(_metadata, &self->q);
}

/* Closes the descriptor and exits, when the parent says so. */
struct closer {
	int go;
	int tid;
	int fd;
};

static void *closer_main(void *arg)
{
	struct closer *c = arg;
	int tid = syscall(SYS_gettid);
	char byte;

	if (write(c->tid, &tid, sizeof(tid)) == sizeof(tid) &&
	    read(c->go, &byte, 1) == 1)
		close(c->fd);
	return NULL;
}

/* A process that adds the watch; what that returned. */
static int add_beside_closer(struct kevent_watch *w, struct closer *c)
{
	pthread_t thread;
	struct queue q;

	if (queue_open(&q, 16) < 0 ||
	    pthread_create(&thread, NULL, closer_main, c))
		return 0;
	return add_one(&q, w);
}

/* That it is the only one left to use the table does not mean that it is open. */
TEST_F(fuse, closed_by_a_thread_that_is_gone)
{
	int go[2], tids[2], tid, status;
	struct closer closer;
	char task[64];
	pid_t pid;

	ASSERT_EQ(0, pipe(go));
	ASSERT_EQ(0, pipe(tids));
	closer = (struct closer) {
		.go = go[0], .tid = tids[1], .fd = self->fd,
	};
	hold(&self->server, true);
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid)
		_exit(-add_beside_closer(&self->w, &closer));
	ASSERT_EQ(sizeof(tid), read(tids[0], &tid, sizeof(tid)));
	until_polled(&self->server, 1);
	ASSERT_EQ(1, write(go[1], "", 1));
	snprintf(task, sizeof(task), "/proc/%d/task/%d", pid, tid);
	while (!access(task, F_OK))
		usleep(200);
	hold(&self->server, false);
	sem_post(&self->server.answer);
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	ASSERT_TRUE(WIFEXITED(status));
	EXPECT_EQ(EBADF, WEXITSTATUS(status));
}

TEST_F(fuse, modify_that_polls_holds_up_no_one)
{
	struct adder adder = { .q = &self->q, .w = &self->w };
	const unsigned int flags[] = {
		KEVENT_MODIFY_EVENTS, KEVENT_MODIFY_MODE, KEVENT_MODIFY_ENABLE,
	};
	struct kevent_event ev;
	struct sleeper s;
	int i;

	ASSERT_EQ(1, add_one(&self->q, &self->w));
	for (i = 0; i < 3; i++) {
		hold(&self->server, true);
		self->server.revents = 0;
		adder.flags = flags[i];
		if (adder.flags == KEVENT_MODIFY_ENABLE)
			ASSERT_EQ(1, modify_one(&self->q, &self->w,
						KEVENT_MODIFY_DISABLE));
		self->server.polls = 0;
		ASSERT_EQ(0, sleeper_start(&s, adder_call, &adder));
		until_polled(&self->server, 1);
		/* A level that is polled by all who wait would hold them up. */
		ASSERT_EQ(1, seq_post(self->q.fd, 5, 1, KEVENT_POST_DEFER));
		self->server.revents = IN;
		hold(&self->server, false);
		/* Another change of the same watch. */
		self->w.user_data = 2 + i;
		ASSERT_EQ(1, modify_one(&self->q, &self->w,
					KEVENT_MODIFY_USER_DATA));
		sem_post(&self->server.answer);
		EXPECT_EQ(1, sleeper_join(&s));
		ASSERT_EQ(1, take_now(&self->q, true, &ev));
		EXPECT_EQ(5, ev.user_data);
		ASSERT_EQ(1, take_now(&self->q, true, &ev));
		EXPECT_EQ(2 + i, ev.user_data);
		EXPECT_EQ(IN, ev.events);
	}
}

/* A level is tested before it is taken; others take what they like meanwhile. */
static int take_call(void *arg)
{
	struct kevent_event ev;
	struct queue *q = arg;

	return kevent_get_events(q->fd, 0, 1, NULL, &ev, 0);
}

TEST_F(fuse, take_that_polls_holds_up_no_one)
{
	struct sleeper s;
	__u64 handle;

	self->server.revents = IN;
	ASSERT_EQ(1, add_one(&self->q, &self->w));
	hold(&self->server, true);
	self->server.polls = 0;
	ASSERT_EQ(0, sleeper_start(&s, take_call, &self->q));
	until_polled(&self->server, 1);
	handle = self->w.handle;
	EXPECT_EQ(1, remove_one(&self->q, handle));
	use_queue(_metadata, &self->q);
	hold(&self->server, false);
	sem_post(&self->server.answer);
	/* What it tested has gone. */
	EXPECT_LE(0, sleeper_join(&s));
	EXPECT_EQ(0, queue_drain(&self->q));
}

/* Who is woken to ask the others whether they have enough asks them first. */
#define MANY	20

TEST_F(fuse, wait_that_polls_holds_up_no_one)
{
	struct kevent_wait next = {
		.clockid = CLOCK_MONOTONIC,
		.flags = KEVENT_WAIT_WAKE_NEXT,
	};
	struct waiter many[MANY], one;
	struct kevent_event ev;
	int i;

	if (!variant->entries)
		SKIP(return, "no index to wait from");
	self->server.revents = IN;
	ASSERT_EQ(1, add_one(&self->q, &self->w));
	for (i = 0; i < MANY; i++) {
		/* Behind the one that asks: a producer itself asks 16. */
		if (i == MANY - 1) {
			ASSERT_EQ(0, waiter_start(&one, self->q.fd, 1, 1));
			ASSERT_TRUE(sleeper_asleep(&one.sleeper));
		}
		ASSERT_EQ(0, waiter_start(&many[i], self->q.fd, 0,
					  variant->entries));
		ASSERT_TRUE(sleeper_asleep(&many[i].sleeper));
	}
	hold(&self->server, true);
	self->server.polls = 0;
	ASSERT_EQ(1, ring_take(&self->q, &ev));
	ASSERT_EQ(1, seq_post(self->q.fd, 1, 1, 0));
	EXPECT_EQ(1, sleeper_join(&one.sleeper));

	/* It does poll what was consumed. */
	until_polled(&self->server, 1);
	self->server.revents = 0;
	hold(&self->server, false);
	sem_post(&self->server.answer);
	i = variant->entries - 1;
	ASSERT_EQ(i, seq_post(self->q.fd, 2, i, KEVENT_POST_DEFER));
	for (i = 0; i < MANY; i++)
		ASSERT_LE(0, kevent_wait(self->q.fd, &next, sizeof(next)));
	for (i = 0; i < MANY; i++)
		EXPECT_LE(variant->entries, sleeper_join(&many[i].sleeper));
}

TEST_HARNESS_MAIN
