// SPDX-License-Identifier: GPL-2.0
/*
 * Watches by name: class and descriptor in the caller's table stand for a
 * handle, in KEVENT_ADD_UPDATE and KEVENT_MODIFY_BY_IDENT. And records remove
 * watches, with KEVENT_MODIFY_REMOVE.
 */
#include <sys/stat.h>

#include "poll_test.h"

#define UPDATE		KEVENT_ADD_UPDATE
#define BY_IDENT	KEVENT_MODIFY_BY_IDENT
#define REMOVE		KEVENT_MODIFY_REMOVE

/* Many enough that the lock of a bucket is dropped in between. */
#define MANY		200

/* How often a race is run. */
#define ROUNDS		200

static void __attribute__((constructor)) need_names(void)
{
	struct kevent_create args = {};
	int fd = kevent_create(&args, sizeof(args), 0);

	if (fd >= 0 && !(args.features & KEVENT_FEATURE_BY_IDENT)) {
		ksft_print_header();
		ksft_exit_skip("this kernel finds watches by handle only\n");
	}
	close(fd);
}

static int update(const struct queue *q, struct kevent_watch *w)
{
	return kevent_add(q->fd, w, sizeof(*w), 1, UPDATE);
}

static int update_file(const struct queue *q, struct kevent_watch *w, int fd,
		       __u32 flags, __u64 user_data)
{
	*w = file_watch(fd, flags, user_data);
	return update(q, w);
}

/* Gives a POLL watch other user data, by name. */
static int rename_file(const struct queue *q, int fd, __u64 user_data)
{
	struct kevent_watch w = file_watch(fd, 0, user_data);

	return modify_one(q, &w, BY_IDENT | KEVENT_MODIFY_USER_DATA);
}

static int remove_file(const struct queue *q, int fd)
{
	struct kevent_watch w = file_watch(fd, 0, 0);

	return modify_one(q, &w, BY_IDENT | REMOVE);
}

FIXTURE(named)
{
	struct queue q;
	struct kevent_watch w;
	int fd;		/* an eventfd */
};

FIXTURE_VARIANT(named)
{
	unsigned int entries;
	bool copy;	/* take events with kevent_get_events() */
};

FIXTURE_VARIANT_ADD(named, ring)
{
	.entries = 8,
};

FIXTURE_VARIANT_ADD(named, copied)
{
	.entries = 8,
	.copy = true,
};

FIXTURE_VARIANT_ADD(named, no_ring)
{
	.copy = true,
};

FIXTURE_SETUP(named)
{
	ASSERT_LE(0, queue_open(&self->q, variant->entries));
	self->fd = new_file();
	ASSERT_LE(0, self->fd);
}

FIXTURE_TEARDOWN(named)
{
	queue_close(&self->q);
	close(self->fd);
}

#define Q	(&self->q)
#define W	(&self->w)
#define COPY	(variant->copy)

TEST_F(named, update_adds_what_is_not_there)
{
	ASSERT_EQ(1, update_file(Q, W, self->fd, EDGE, 1));
	EXPECT_EQ(0, W->result);
	EXPECT_EQ(1, nr_watches(Q->fd));
	efd_fire(self->fd);
	EXPECT_READABLE(Q, COPY, 1);
	EXPECT_EQ(1, remove_one(Q, W->handle));
}

TEST_F(named, update_changes_what_is_there)
{
	__u64 handle;

	ASSERT_EQ(1, add_file(Q, W, self->fd, EDGE, 1));
	handle = W->handle;
	*W = watch_poll(self->fd, OUT, DISPATCH, 2);
	ASSERT_EQ(1, update(Q, W));
	EXPECT_EQ(handle, W->handle);
	EXPECT_EQ(1, nr_watches(Q->fd));
	EXPECT_REPORTED(Q, COPY, 2, OUT);
	/* It is DISPATCH now, and no longer interested in IN. */
	efd_fire(self->fd);
	EXPECT_EMPTY(Q, COPY);
	ASSERT_EQ(1, update_file(Q, W, self->fd, EDGE, 3));
	EXPECT_READABLE(Q, COPY, 3);
	efd_fire(self->fd);
	EXPECT_READABLE(Q, COPY, 3);
}

/* What was reported under the old settings is gone. */
TEST_F(named, update_leaves_no_old_event)
{
	static const __u32 modes[] = { LEVEL, EDGE, DISPATCH, ONESHOT };
	size_t i;

	for (i = 0; i < ARRAY_SIZE(modes); i++) {
		efd_fire(self->fd);
		ASSERT_EQ(1, update_file(Q, W, self->fd, modes[i], 1));
		ASSERT_EQ(1, update_file(Q, W, self->fd, modes[i], 2));
		EXPECT_READABLE(Q, COPY, 2);
		efd_quench(self->fd);
		EXPECT_EMPTY(Q, COPY);
		ASSERT_EQ(1, update_file(Q, W, self->fd, modes[i], 3));
		efd_fire(self->fd);
		efd_quench(self->fd);
		ASSERT_EQ(1, update_file(Q, W, self->fd, modes[i], 4));
		EXPECT_EMPTY(Q, COPY);
		ASSERT_EQ(1, remove_file(Q, self->fd));
	}
	EXPECT_EQ(0, nr_watches(Q->fd));
}

/* Of a ONESHOT watch that has fired there is nothing to change. */
TEST_F(named, update_of_a_fired_oneshot_adds)
{
	__u64 handle;

	efd_fire(self->fd);
	ASSERT_EQ(1, update_file(Q, W, self->fd, ONESHOT, 1));
	handle = W->handle;
	EXPECT_EQ(-ENOENT, rename_file(Q, self->fd, 2));
	ASSERT_EQ(1, update_file(Q, W, self->fd, ONESHOT, 3));
	EXPECT_NE(handle, W->handle);
	EXPECT_EQ(-ENOENT, remove_one(Q, handle));
	EXPECT_READABLE(Q, COPY, 3);
	EXPECT_EMPTY(Q, COPY);
	handle = W->handle;
	ASSERT_EQ(1, update_file(Q, W, self->fd, ONESHOT, 4));
	EXPECT_NE(handle, W->handle);
	EXPECT_READABLE(Q, COPY, 4);
	EXPECT_EMPTY(Q, COPY);
	EXPECT_EQ(-ENOENT, remove_file(Q, self->fd));
}

TEST_F(named, update_disables_and_enables)
{
	efd_fire(self->fd);
	ASSERT_EQ(1, update_file(Q, W, self->fd, LEVEL, 1));
	ASSERT_EQ(1, update_file(Q, W, self->fd, DISABLED, 2));
	EXPECT_EMPTY(Q, COPY);
	ASSERT_EQ(1, update_file(Q, W, self->fd, LEVEL, 3));
	EXPECT_READABLE(Q, COPY, 3);
	ASSERT_EQ(1, update_file(Q, W, self->fd, DISPATCH, 4));
	EXPECT_READABLE(Q, COPY, 4);
	EXPECT_EMPTY(Q, COPY);
	ASSERT_EQ(1, update_file(Q, W, self->fd, DISPATCH, 5));
	EXPECT_READABLE(Q, COPY, 5);
	EXPECT_EMPTY(Q, COPY);
}

/* What kevent_modify() refuses, and then nothing has changed. */
TEST_F(named, update_that_fails_changes_nothing)
{
	__u64 handle;

	ASSERT_EQ(1, add_file(Q, W, self->fd, EXCLUSIVE, 1));
	handle = W->handle;
	EXPECT_EQ(-EINVAL, update_file(Q, W, self->fd, 0, 2));
	EXPECT_EQ(-EINVAL, W->result);
	EXPECT_EQ(0, W->handle);
	*W = watch_poll(self->fd, OUT, EXCLUSIVE, 2);
	EXPECT_EQ(-EINVAL, update(Q, W));
	*W = file_watch(self->fd, EXCLUSIVE, 2);
	W->arg[0] = 1;
	EXPECT_EQ(-EINVAL, update(Q, W));
	EXPECT_EMPTY(Q, COPY);
	efd_fire(self->fd);
	EXPECT_READABLE(Q, COPY, 1);
	EXPECT_EQ(1, remove_one(Q, handle));
}

/* The record cannot be written: what was there already stays. */
TEST_F(named, update_without_a_result_stays)
{
	struct kevent_watch *w = mmap(NULL, 4096, PROT_READ | PROT_WRITE,
				      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	ASSERT_NE(MAP_FAILED, w);
	*w = file_watch(self->fd, 0, 2);
	ASSERT_EQ(0, mprotect(w, 4096, PROT_READ));
	EXPECT_EQ(-EFAULT, update(Q, w));
	EXPECT_EQ(0, nr_watches(Q->fd));
	ASSERT_EQ(1, add_file(Q, W, self->fd, 0, 1));
	EXPECT_EQ(-EFAULT, update(Q, w));
	EXPECT_EQ(1, nr_watches(Q->fd));
	EXPECT_EQ(1, remove_one(Q, W->handle));
	munmap(w, 4096);
}

TEST_F(named, modify_finds_the_watch)
{
	__u64 handle;

	ASSERT_EQ(1, add_file(Q, W, self->fd, EDGE, 1));
	handle = W->handle;
	W->handle = ~0ULL;
	W->user_data = 2;
	ASSERT_EQ(1, modify_one(Q, W, BY_IDENT | KEVENT_MODIFY_USER_DATA));
	EXPECT_EQ(handle, W->handle);
	efd_fire(self->fd);
	EXPECT_READABLE(Q, COPY, 2);
	W->handle = 0;
	W->events = OUT;
	ASSERT_EQ(1, modify_one(Q, W, BY_IDENT | KEVENT_MODIFY_EVENTS));
	EXPECT_REPORTED(Q, COPY, 2, OUT);
	W->handle = 0;
	ASSERT_EQ(1, modify_one(Q, W, BY_IDENT | KEVENT_MODIFY_DISABLE));
	EXPECT_EQ(handle, W->handle);
	ASSERT_EQ(1, modify_one(Q, W, BY_IDENT | KEVENT_MODIFY_ENABLE));
	EXPECT_REPORTED(Q, COPY, 2, OUT);
}

TEST_F(named, remove_finds_the_watch)
{
	ASSERT_EQ(1, add_file(Q, W, self->fd, 0, 1));
	efd_fire(self->fd);
	ASSERT_EQ(1, remove_file(Q, self->fd));
	EXPECT_EMPTY(Q, COPY);
	EXPECT_EQ(-ENOENT, remove_file(Q, self->fd));
	EXPECT_EQ(-ENOENT, remove_one(Q, W->handle));
}

/* Its name, and its event, are there until that is consumed. */
TEST_F(named, remove_of_a_fired_oneshot)
{
	efd_fire(self->fd);
	ASSERT_EQ(1, add_file(Q, W, self->fd, ONESHOT, 1));
	ASSERT_EQ(1, remove_file(Q, self->fd));
	EXPECT_EMPTY(Q, COPY);
	ASSERT_EQ(1, add_file(Q, W, self->fd, ONESHOT, 2));
	EXPECT_READABLE(Q, COPY, 2);
	EXPECT_EQ(-ENOENT, remove_file(Q, self->fd));
}

/* In a record, by handle: as kevent_remove(), of any class. */
TEST_F(named, remove_by_handle)
{
	struct kevent_watch timer = timer_watch(2, 1, 0);
	struct kevent_event ev;

	efd_fire(self->fd);
	ASSERT_EQ(1, add_file(Q, W, self->fd, ONESHOT, 1));
	EXPECT_EQ(1, modify_one(Q, W, REMOVE));
	EXPECT_EQ(0, W->result);
	EXPECT_EMPTY(Q, COPY);
	EXPECT_EQ(-ENOENT, modify_one(Q, W, REMOVE));
	EXPECT_EQ(-ENOENT, W->result);

	ASSERT_EQ(1, add_one(Q, &timer));
	EXPECT_EQ(1, modify_one(Q, &timer, REMOVE));
	EXPECT_EQ(-ENOENT, remove_one(Q, timer.handle));
	EXPECT_EQ(0, take_now(Q, COPY, &ev));
}

TEST_F(named, several_are_ambiguous)
{
	struct kevent_watch other;

	ASSERT_EQ(1, add_file(Q, W, self->fd, EDGE, 1));
	ASSERT_EQ(1, add_file(Q, &other, self->fd, EDGE, 2));
	EXPECT_EQ(-EEXIST, rename_file(Q, self->fd, 3));
	EXPECT_EQ(-EEXIST, remove_file(Q, self->fd));
	EXPECT_EQ(-EEXIST, update_file(Q, W, self->fd, EDGE, 3));
	EXPECT_EQ(-EEXIST, W->result);
	EXPECT_EQ(2, nr_watches(Q->fd));
	ASSERT_EQ(1, remove_one(Q, other.handle));
	EXPECT_EQ(1, rename_file(Q, self->fd, 4));
	efd_fire(self->fd);
	EXPECT_READABLE(Q, COPY, 4);
	EXPECT_EMPTY(Q, COPY);
}

/* A duplicate is another name. */
TEST_F(named, duplicates_are_different)
{
	int twin = dup(self->fd);

	ASSERT_LE(0, twin);
	ASSERT_EQ(1, add_file(Q, W, self->fd, EDGE, 1));
	EXPECT_EQ(-ENOENT, rename_file(Q, twin, 2));
	ASSERT_EQ(1, update_file(Q, W, twin, EDGE, 2));
	EXPECT_EQ(2, nr_watches(Q->fd));
	EXPECT_EQ(1, remove_file(Q, self->fd));
	efd_fire(self->fd);
	EXPECT_READABLE(Q, COPY, 2);
	EXPECT_EMPTY(Q, COPY);
	close(twin);
}

/* The name goes with the descriptor, not with its number. */
TEST_F(named, number_that_is_used_again)
{
	__u64 handle;
	int other;

	ASSERT_EQ(1, add_file(Q, W, self->fd, EDGE, 1));
	handle = W->handle;
	other = new_file();
	ASSERT_LE(0, other);
	ASSERT_EQ(self->fd, dup2(other, self->fd));
	EXPECT_EQ(-ENOENT, rename_file(Q, self->fd, 2));
	ASSERT_EQ(1, update_file(Q, W, self->fd, EDGE, 3));
	EXPECT_NE(handle, W->handle);
	EXPECT_EQ(1, nr_watches(Q->fd));
	/* The same file: nothing has changed. */
	ASSERT_EQ(self->fd, dup2(other, self->fd));
	EXPECT_EQ(1, rename_file(Q, self->fd, 4));
	efd_fire(other);
	EXPECT_READABLE(Q, COPY, 4);
	close(other);
	close(self->fd);
	EXPECT_EQ(-EBADF, rename_file(Q, self->fd, 5));
	EXPECT_EQ(-EBADF, remove_file(Q, self->fd));
	EXPECT_EQ(-EBADF, update_file(Q, W, self->fd, EDGE, 5));
}

/* Others watch the same descriptor, and none of those watches is meant. */
TEST_F(named, watches_of_many_other_queues)
{
	struct kevent_watch w;
	int queues[MANY], i;
	struct queue other;

	ASSERT_LE(MANY, many_files(MANY));
	/* The first in the list, and the last: both are found. */
	ASSERT_EQ(1, add_file(Q, W, self->fd, EDGE, 1));
	for (i = 0; i < MANY; i++) {
		other.fd = sealed_queue(0);
		ASSERT_LE(0, other.fd);
		queues[i] = other.fd;
		EXPECT_EQ(-ENOENT, rename_file(&other, self->fd, 2));
		ASSERT_EQ(1, update_file(&other, &w, self->fd, EDGE, 2));
	}
	EXPECT_EQ(1, rename_file(Q, self->fd, 3));
	other.fd = queues[0];
	EXPECT_EQ(1, rename_file(&other, self->fd, 4));
	EXPECT_EQ(1, remove_file(&other, self->fd));
	EXPECT_EQ(-ENOENT, remove_file(&other, self->fd));
	efd_fire(self->fd);
	EXPECT_READABLE(Q, COPY, 3);
	EXPECT_EQ(1, remove_file(Q, self->fd));
	for (i = 0; i < MANY; i++)
		close(queues[i]);
}

struct other_table {
	struct queue *q;
	int fd, found, added, removed;
};

static int in_another_table(void *arg)
{
	struct other_table *t = arg;
	struct kevent_watch w;

	if (unshare(CLONE_FILES))
		return -errno;
	t->found = rename_file(t->q, t->fd, 2);
	t->added = update_file(t->q, &w, t->fd, EDGE, 3);
	t->removed = remove_file(t->q, t->fd);
	return 0;
}

/* A thread with a table of its own has names of its own. */
TEST_F(named, table_of_the_caller)
{
	struct other_table t = { .q = Q, .fd = self->fd };
	struct sleeper s;

	ASSERT_EQ(1, add_file(Q, W, self->fd, EDGE, 1));
	ASSERT_EQ(0, sleeper_start(&s, in_another_table, &t));
	ASSERT_EQ(0, sleeper_join(&s));
	EXPECT_EQ(-ENOENT, t.found);
	EXPECT_EQ(1, t.added);
	EXPECT_EQ(1, t.removed);
	efd_fire(self->fd);
	EXPECT_READABLE(Q, COPY, 1);
	EXPECT_EQ(1, remove_file(Q, self->fd));
}

TEST_F(named, batches)
{
	struct kevent_watch w[4];
	int fd[4], i;

	for (i = 0; i < 4; i++) {
		fd[i] = new_file();
		ASSERT_LE(0, fd[i]);
	}
	ASSERT_EQ(1, add_file(Q, W, fd[1], EDGE, 1));
	/* Some are there, some are not. */
	for (i = 0; i < 3; i++)
		w[i] = file_watch(fd[i], EDGE, 10 + i);
	w[3] = file_watch(fd[0], EDGE, 20);
	ASSERT_EQ(4, kevent_add(Q->fd, w, sizeof(*w), 4, UPDATE));
	EXPECT_EQ(3, nr_watches(Q->fd));
	EXPECT_EQ(W->handle, w[1].handle);
	EXPECT_EQ(w[0].handle, w[3].handle);

	/* The third has no watch. */
	w[2].ident = fd[3];
	for (i = 0; i < 4; i++)
		w[i].result = 1;
	EXPECT_EQ(2, kevent_modify(Q->fd, w, sizeof(*w), 4, BY_IDENT | REMOVE));
	EXPECT_EQ(0, w[0].result);
	EXPECT_EQ(0, w[1].result);
	EXPECT_EQ(-ENOENT, w[2].result);
	EXPECT_EQ(-ECANCELED, w[3].result);
	EXPECT_EQ(1, nr_watches(Q->fd));

	w[0] = file_watch(-1, EDGE, 1);
	EXPECT_EQ(-EBADF, kevent_add(Q->fd, w, sizeof(*w), 2, UPDATE));
	EXPECT_EQ(-EBADF, w[0].result);
	EXPECT_EQ(-ECANCELED, w[1].result);
	EXPECT_EQ(1, nr_watches(Q->fd));
	for (i = 0; i < 4; i++)
		close(fd[i]);
}

/* As many as a queue may have of one file, and one more. */
TEST_F(named, update_at_the_limit_of_an_object)
{
	struct kevent_watch w;
	int i, ret = 1;

	for (i = 0; i < 1000 && ret == 1; i++)
		ret = add_file(Q, &w, self->fd, EDGE, i);
	ASSERT_EQ(-ENOSPC, ret);
	EXPECT_EQ(-EEXIST, rename_file(Q, self->fd, 1));
	EXPECT_EQ(-EEXIST, update_file(Q, W, self->fd, EDGE, 1));
}

TEST(flags)
{
	struct kevent_watch w;
	struct queue q;
	int fd;

	ASSERT_LE(0, queue_open(&q, 0));
	fd = new_file();
	ASSERT_EQ(1, add_file(&q, &w, fd, 0, 1));
	EXPECT_EQ(-EINVAL, modify_one(&q, &w, BY_IDENT));
	EXPECT_EQ(-EINVAL, modify_one(&q, &w, REMOVE | KEVENT_MODIFY_EVENTS));
	EXPECT_EQ(-EINVAL, modify_one(&q, &w, BY_IDENT | REMOVE |
					      KEVENT_MODIFY_DISABLE));
	EXPECT_EQ(-EINVAL, modify_one(&q, &w, REMOVE | KEVENT_MODIFY_TRIGGER));
	EXPECT_EQ(-EINVAL, modify_one(&q, &w, BY_IDENT |
					      KEVENT_MODIFY_TRIGGER));
	EXPECT_EQ(-EINVAL, modify_one(&q, &w, REMOVE << 1));
	EXPECT_EQ(-EINVAL, kevent_add(q.fd, &w, sizeof(w), 1, UPDATE << 1));
	EXPECT_EQ(-EINVAL, kevent_remove(q.fd, &w.handle, 1, 1));
	EXPECT_EQ(1, nr_watches(q.fd));
	close(fd);
	queue_close(&q);
}

/* Only descriptors are names. */
TEST(classes_without_names)
{
	static const __u32 classes[] = {
		KEVENT_SOURCE_TIMER, KEVENT_SOURCE_SIGNAL, KEVENT_SOURCE_FUTEX,
		KEVENT_SOURCE_USER,
	};
	struct kevent_watch w = {};
	struct queue q;
	size_t i;

	ASSERT_LE(0, queue_open(&q, 0));
	for (i = 0; i < ARRAY_SIZE(classes); i++) {
		if (!(q.args.features & KEVENT_FEATURE_SOURCE(classes[i])))
			continue;
		w.source = classes[i];
		EXPECT_EQ(-EINVAL, update(&q, &w));
		EXPECT_EQ(-EINVAL, modify_one(&q, &w, BY_IDENT | REMOVE));
	}
	w.source = 31;
	EXPECT_EQ(nosys(), update(&q, &w));
	EXPECT_EQ(-EINVAL, modify_one(&q, &w, BY_IDENT | REMOVE));
	if (q.args.features & KEVENT_FEATURE_SOURCE(KEVENT_SOURCE_AIO)) {
		w.source = KEVENT_SOURCE_AIO;
		EXPECT_EQ(-EOPNOTSUPP, update(&q, &w));
	}
	w.source = KEVENT_SOURCE_POLL;
	w.ident = 1ULL << 32;
	EXPECT_EQ(-EBADF, update(&q, &w));
	EXPECT_EQ(-EBADF, modify_one(&q, &w, BY_IDENT | REMOVE));
	queue_close(&q);

	q.fd = sealed_queue(1U << KEVENT_SOURCE_TIMER);
	ASSERT_LE(0, q.fd);
	w = file_watch(q.fd, 0, 1);
	EXPECT_EQ(-EPERM, update(&q, &w));
	EXPECT_EQ(-ENOENT, remove_file(&q, q.fd));
	close(q.fd);
}

/* The class is part of the name. */
TEST(classes_of_one_descriptor)
{
	struct kevent_watch poll, sock;
	struct kevent_event ev;
	struct queue q;
	int fds[2];

	ASSERT_LE(0, queue_open(&q, 0));
	if (!(q.args.features & KEVENT_FEATURE_SOURCE(KEVENT_SOURCE_SOCKET)))
		SKIP(return, "this kernel does not watch sockets");
	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_STREAM, 0, fds));
	ASSERT_EQ(1, update_file(&q, &poll, fds[0], EDGE, 1));
	sock = poll;
	sock.source = KEVENT_SOURCE_SOCKET;
	sock.events = KEVENT_SOCKET_IN;
	EXPECT_EQ(-ENOENT, modify_one(&q, &sock, BY_IDENT | REMOVE));
	sock.user_data = 2;
	ASSERT_EQ(1, update(&q, &sock));
	EXPECT_NE(poll.handle, sock.handle);
	/* With its marks. */
	sock.arg[0] = 3;
	ASSERT_EQ(1, update(&q, &sock));
	ASSERT_EQ(1, remove_file(&q, fds[0]));
	ASSERT_EQ(2, write(fds[1], "ab", 2));
	EXPECT_EQ(0, take_now(&q, true, &ev));
	ASSERT_EQ(1, write(fds[1], "c", 1));
	ASSERT_EQ(1, take_next(&q, true, &ev));
	EXPECT_EQ(2, ev.user_data);
	EXPECT_EQ(3, ev.data);
	EXPECT_EQ(1, modify_one(&q, &sock, BY_IDENT | REMOVE));
	close(fds[0]);
	close(fds[1]);
	queue_close(&q);
}

TEST(inode_and_process)
{
	struct kevent_watch w = {
		.source = KEVENT_SOURCE_INODE,
		.events = KEVENT_INODE_ATTRIB,
	};
	struct kevent_event ev;
	__u64 handle;
	struct queue q;
	FILE *f;
	int fd;

	ASSERT_LE(0, queue_open(&q, 0));
	if (q.args.features & KEVENT_FEATURE_SOURCE(KEVENT_SOURCE_INODE)) {
		f = tmpfile();
		ASSERT_NE(NULL, f);
		w.ident = fileno(f);
		w.user_data = 1;
		ASSERT_EQ(1, update(&q, &w));
		handle = w.handle;
		w.user_data = 2;
		ASSERT_EQ(1, update(&q, &w));
		EXPECT_EQ(handle, w.handle);
		ASSERT_EQ(0, fchmod(fileno(f), 0600));
		ASSERT_EQ(1, take_now(&q, true, &ev));
		EXPECT_EQ(2, ev.user_data);
		EXPECT_EQ(1, modify_one(&q, &w, BY_IDENT | REMOVE));
		fclose(f);
	}
	if (q.args.features & KEVENT_FEATURE_SOURCE(KEVENT_SOURCE_PROCESS)) {
		fd = syscall(SYS_pidfd_open, getpid(), 0);
		ASSERT_LE(0, fd);
		w.source = KEVENT_SOURCE_PROCESS;
		w.ident = fd;
		w.events = KEVENT_PROCESS_EXIT;
		ASSERT_EQ(1, update(&q, &w));
		handle = w.handle;
		w.handle = 0;
		EXPECT_EQ(1, modify_one(&q, &w, BY_IDENT |
						KEVENT_MODIFY_USER_DATA));
		EXPECT_EQ(handle, w.handle);
		EXPECT_EQ(1, modify_one(&q, &w, BY_IDENT | REMOVE));
		close(fd);
	}
	EXPECT_EQ(0, nr_watches(q.fd));
	queue_close(&q);
}

/* Both threads see that there is no watch, and one of them makes one. */
struct update_race {
	struct queue *q;
	int fd, ret;
	__u64 handle;
};

static void update_side(void *arg)
{
	struct update_race *r = arg;
	struct kevent_watch w;

	r->ret = update_file(r->q, &w, r->fd, EDGE, 1);
	r->handle = w.handle;
}

TEST(two_updates_make_one_watch)
{
	struct update_race a, b;
	struct racer racer;
	struct queue q;
	int i;

	ASSERT_LE(0, queue_open(&q, 0));
	a.q = &q;
	a.fd = new_file();
	ASSERT_LE(0, a.fd);
	b = a;
	ASSERT_EQ(0, racer_start(&racer, update_side, &b));
	for (i = 0; i < ROUNDS; i++) {
		racer_go(&racer);
		update_side(&a);
		racer_wait(&racer);
		ASSERT_TRUE(a.ret == 1 || a.ret == -EBUSY);
		ASSERT_TRUE(b.ret == 1 || b.ret == -EBUSY);
		ASSERT_TRUE(a.ret == 1 || b.ret == 1);
		if (a.ret == 1 && b.ret == 1)
			ASSERT_EQ(a.handle, b.handle);
		/* There is one: it is no ambiguous name. */
		ASSERT_EQ(1, remove_file(&q, a.fd));
	}
	EXPECT_EQ(0, nr_watches(q.fd));
	racer_stop(&racer);
	close(a.fd);
	queue_close(&q);
}

struct close_race {
	int fd, files[2];
	unsigned int round;
};

/* Each time the descriptor stands for the other file. */
static void close_side(void *arg)
{
	struct close_race *r = arg;

	if (dup2(r->files[++r->round & 1], r->fd) != r->fd)
		abort();
}

TEST(number_is_used_again_meanwhile)
{
	struct kevent_watch w;
	struct close_race r = {};
	struct racer racer;
	struct queue q;
	int i, ret;

	ASSERT_LE(0, queue_open(&q, 0));
	for (i = 0; i < 2; i++) {
		r.files[i] = new_file();
		ASSERT_LE(0, r.files[i]);
	}
	r.fd = dup(r.files[0]);
	ASSERT_LE(0, r.fd);
	ASSERT_EQ(0, racer_start(&racer, close_side, &r));
	for (i = 0; i < ROUNDS; i++) {
		racer_go(&racer);
		ret = update_file(&q, &w, r.fd, EDGE, 1);
		ASSERT_TRUE(ret == 1 || ret == -EBADF) {
			TH_LOG("kevent_add() %d", ret);
		}
		ret = rename_file(&q, r.fd, 2);
		ASSERT_TRUE(ret == 1 || ret == -ENOENT) {
			TH_LOG("kevent_modify() %d", ret);
		}
		racer_wait(&racer);
		/* A watch is of the file that is there now. */
		ret = nr_watches(q.fd);
		ASSERT_TRUE(ret == 0 || ret == 1);
		ASSERT_EQ(ret ? 1 : -ENOENT, remove_file(&q, r.fd));
	}
	racer_stop(&racer);
	close(r.fd);
	close(r.files[0]);
	close(r.files[1]);
	queue_close(&q);
}

TEST_HARNESS_MAIN
