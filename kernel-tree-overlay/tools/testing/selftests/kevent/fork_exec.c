// SPDX-License-Identifier: GPL-2.0
/*
 * fork(), vfork(), exec, threads and unshare(): who has the queue, its mapping
 * and its watches afterwards. A watch of a file belongs to the table of
 * descriptors in which it was made.
 */
#include "kevent_poll_test.h"

#define ENTRIES	8

FIXTURE(fork)
{
	struct queue q;
	int fd, twin;		/* the same file */
	struct kevent_watch w;	/* of fd, with a last event */
};

FIXTURE_VARIANT(fork)
{
	unsigned int entries;
	bool copy;
};

FIXTURE_VARIANT_ADD(fork, ring)
{
	.entries = ENTRIES,
};

FIXTURE_VARIANT_ADD(fork, no_ring)
{
	.copy = true,
};

FIXTURE_SETUP(fork)
{
	ASSERT_LE(0, queue_open_shared(&self->q, variant->entries));
	self->fd = new_file();
	ASSERT_LE(0, self->fd);
	self->twin = dup(self->fd);
	ASSERT_LE(0, self->twin);
	ASSERT_EQ(1, add_file(&self->q, &self->w, self->fd,
			      KEVENT_WATCH_VANISHED, 1));
}

FIXTURE_TEARDOWN(fork)
{
	queue_close(&self->q);
	close(self->fd);
	close(self->twin);
}

#define Q	(&self->q)
#define COPY	(variant->copy)

/* The watch of the fixture is as it was. */
#define EXPECT_UNTOUCHED()						\
do {									\
	EXPECT_FALSE(watch_gone(Q, &self->w));				\
	EXPECT_EMPTY(Q, COPY);						\
	EXPECT_EQ(0, fire(self->twin));					\
	EXPECT_READABLE(Q, COPY, 1);					\
	EXPECT_EQ(1, quiet(self->twin));				\
	EXPECT_EMPTY(Q, COPY);						\
} while (0)

/* The queue is inherited, its mapping is not, and cannot be had. */
TEST_F(fork, mapping_is_not_inherited)
{
	struct kevent_event ev;
	unsigned char vec[64];
	long page = sysconf(_SC_PAGESIZE);
	pid_t pid;

	if (!variant->entries)
		SKIP(return, "there is no mapping without a ring");
	ASSERT_EQ(0, fire(self->fd));
	ASSERT_EQ(0, mincore(self->q.ring, page, vec));
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		struct queue q = self->q;

		if (!mincore(self->q.ring, page, vec) || errno != ENOMEM)
			_exit(1);
		if (queue_map(&q) != -EACCES)
			_exit(2);
		if (kevent_get_events(q.fd, 0, 1, NULL, &ev, 0) != 1 ||
		    ev.user_data != 1)
			_exit(3);
		_exit(0);
	}
	EXPECT_EQ(0, child_status(pid));
	EXPECT_EQ(1, quiet(self->fd));
	/* Taken by the child; or again, because it did hold still. */
	EXPECT_GE(1, queue_drain(Q));
	EXPECT_UNTOUCHED();
}

TEST_F(fork, child_that_touches_the_mapping_dies)
{
	pid_t pid;

	if (!variant->entries)
		SKIP(return, "there is no mapping without a ring");
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		signal(SIGSEGV, SIG_DFL);
		_exit(ring_cursor(Q) ? 1 : 2);
	}
	EXPECT_EQ(-SIGSEGV, child_status(pid));
	EXPECT_UNTOUCHED();
}

TEST_F(fork, child_exits)
{
	pid_t pid = fork();

	ASSERT_LE(0, pid);
	if (!pid)
		_exit(0);
	ASSERT_EQ(0, child_status(pid));
	EXPECT_UNTOUCHED();
}

TEST_F(fork, child_closes_all)
{
	pid_t pid = fork();

	ASSERT_LE(0, pid);
	if (!pid)
		_exit(syscall(SYS_close_range, 0, ~0U, 0) ? 1 : 0);
	ASSERT_EQ(0, child_status(pid));
	EXPECT_UNTOUCHED();
}

/* The parent's watch fires, whichever process writes or consumes. */
TEST_F(fork, child_fires_and_takes)
{
	struct kevent_event ev;
	pid_t pid;

	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid)
		_exit(fire(self->fd) ? 1 : 0);
	ASSERT_EQ(0, child_status(pid));
	EXPECT_READABLE(Q, COPY, 1);
	EXPECT_EQ(1, quiet(self->fd));
	EXPECT_EMPTY(Q, COPY);
	ASSERT_EQ(0, fire(self->fd));
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		if (kevent_get_events(self->q.fd, 1, 1, NULL, &ev, 0) != 1)
			_exit(1);
		if (ev.user_data != 1 || ev.events != KEVENT_POLL_IN)
			_exit(2);
		_exit(quiet(self->fd) == 1 ? 0 : 3);
	}
	ASSERT_EQ(0, child_status(pid));
	EXPECT_UNTOUCHED();
}

/* What is done by handle can be done by all who share the queue. */
TEST_F(fork, child_removes_the_watch)
{
	pid_t pid = fork();

	ASSERT_LE(0, pid);
	if (!pid)
		_exit(remove_one(Q, self->w.handle) == 1 ? 0 : 1);
	ASSERT_EQ(0, child_status(pid));
	EXPECT_TRUE(watch_gone(Q, &self->w));
	ASSERT_EQ(0, fire(self->fd));
	EXPECT_EMPTY(Q, COPY);
}

/* The number is what it is in the child, which may be another file here. */
TEST_F(fork, watch_of_the_child)
{
	struct kevent_watch *w;
	struct gate ready, end;
	int number, i;
	pid_t pid;

	w = mmap(NULL, sizeof(*w), PROT_READ | PROT_WRITE,
		 MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, w);
	ASSERT_EQ(0, gate_init(&ready));
	ASSERT_EQ(0, gate_init(&end));
	number = new_file();
	ASSERT_LE(0, number);
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		/* This number is that of the fixture's file in the child. */
		if (dup2(self->fd, number) != number ||
		    add_file(Q, w, number, KEVENT_WATCH_EDGE |
			     KEVENT_WATCH_VANISHED, 2) != 1)
			_exit(1);
		close(self->fd);
		gate_open(&ready);
		_exit(gate_pass(&end) ? 0 : 2);
	}
	ASSERT_TRUE(gate_pass(&ready));
	EXPECT_FALSE(watch_gone(Q, w));
	ASSERT_EQ(0, fire(number));
	EXPECT_EMPTY(Q, COPY);
	ASSERT_EQ(0, close(number));
	EXPECT_FALSE(watch_gone(Q, w));
	EXPECT_EMPTY(Q, COPY);
	ASSERT_EQ(1, remove_one(Q, self->w.handle));
	for (i = 0; i < 3; i++) {
		ASSERT_EQ(0, fire(self->fd));
		EXPECT_READABLE(Q, COPY, 2);
		EXPECT_EMPTY(Q, COPY);
	}
	gate_open(&end);
	ASSERT_EQ(0, child_status(pid));
	EXPECT_TRUE(watch_gone(Q, w));
	EXPECT_VANISHED(Q, COPY, 2);
	EXPECT_EMPTY(Q, COPY);
	munmap(w, sizeof(*w));
}

/* The parent's end takes its watches along, the child keeps its own. */
TEST_F(fork, parent_exits_first)
{
	struct gate ready, end;
	pid_t pid, child;
	char ok = 0;
	int fds[2];

	ASSERT_EQ(0, pipe(fds));
	ASSERT_EQ(0, gate_init(&ready));
	ASSERT_EQ(0, gate_init(&end));
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		struct kevent_watch w, own;
		struct kevent_event ev[3];
		int fd = new_file();

		if (add_file(Q, &w, fd, KEVENT_WATCH_VANISHED, 2) != 1)
			_exit(1);
		child = fork();
		if (child)
			_exit(child < 0 ? 2 : gate_pass(&ready) ? 0 : 3);
		if (add_file(Q, &own, fd, 0, 3) != 1)
			_exit(1);
		gate_open(&ready);
		/* Its parent is gone when this comes. */
		if (kevent_get_events(self->q.fd, 1, 3, NULL, ev, 0) == 1 &&
		    ev->user_data == 2 && ev->events == KEVENT_POLL_NVAL &&
		    watch_gone(Q, &w) && !watch_gone(Q, &own) && !fire(fd) &&
		    kevent_get_events(self->q.fd, 1, 3, NULL, ev, 0) == 1 &&
		    ev->user_data == 3 && ev->events == KEVENT_POLL_IN &&
		    write(fds[1], "x", 1) == 1)
			_exit(0);
		_exit(1);
	}
	EXPECT_EQ(0, child_status(pid));
	close(fds[1]);
	EXPECT_EQ(1, read(fds[0], &ok, 1));
	EXPECT_EQ('x', ok);
	/* It exits. */
	EXPECT_EQ(0, read(fds[0], &ok, 1));
	close(fds[0]);
	while (nr_watches(self->q.fd) > 1)
		usleep(500);
	queue_drain(Q);
	EXPECT_UNTOUCHED();
}

/* A watch stays when the thread that made it ends. */
static void *add_in_thread(void *arg)
{
	struct queue *q = arg;
	static struct kevent_watch w;

	return add_file(q, &w, q->args.__resv[0], 0, 2) == 1 ? &w : NULL;
}

TEST_F(fork, thread_ends)
{
	struct kevent_watch w;
	struct queue q = self->q;
	pthread_t thread;
	void *ret = NULL;
	int fd = new_file();

	ASSERT_LE(0, fd);
	q.args.__resv[0] = fd;
	ASSERT_EQ(0, pthread_create(&thread, NULL, add_in_thread, &q));
	ASSERT_EQ(0, pthread_join(thread, &ret));
	ASSERT_NE(NULL, ret);
	w = *(struct kevent_watch *)ret;
	EXPECT_FALSE(watch_gone(Q, &w));
	ASSERT_EQ(0, fire(fd));
	EXPECT_READABLE(Q, COPY, 2);
	EXPECT_EQ(1, quiet(fd));
	ASSERT_EQ(0, close(fd));
	EXPECT_TRUE(watch_gone(Q, &w));
	EXPECT_UNTOUCHED();
}

/* So it does if a process with the same descriptors made it. */
TEST_F(fork, process_with_the_same_descriptors_ends)
{
	int fd = new_file();
	pid_t pid;

	ASSERT_LE(0, fd);
	pid = fork_sharing_files();
	if (pid == nosys())
		SKIP(return, "no clone3");
	ASSERT_LE(0, pid);
	if (!pid) {
		struct kevent_watch w;

		_exit(add_file(Q, &w, fd, KEVENT_WATCH_VANISHED, 2) == 1 ?
		      0 : 1);
	}
	ASSERT_EQ(0, child_status(pid));
	EXPECT_EQ(2, nr_watches(self->q.fd));
	EXPECT_EMPTY(Q, COPY);
	ASSERT_EQ(0, fire(fd));
	EXPECT_READABLE(Q, COPY, 2);
	ASSERT_EQ(0, close(fd));
	EXPECT_VANISHED(Q, COPY, 2);
	EXPECT_UNTOUCHED();
}

/*
 * A thread that leaves the common table: with a copy of it, in which nothing is
 * watched.
 */
struct leaver {
	struct queue *q;
	int fd;
	int step, done;
	struct kevent_watch w;
	const char *failed;
};

static void leaver_step(struct leaver *l, int step)
{
	__atomic_store_n(&l->step, step, __ATOMIC_RELEASE);
	while (__atomic_load_n(&l->done, __ATOMIC_ACQUIRE) < step)
		sched_yield();
}

static void leaver_wait(struct leaver *l, int step)
{
	while (__atomic_load_n(&l->step, __ATOMIC_ACQUIRE) < step)
		sched_yield();
}

static void *leave(void *arg)
{
	struct leaver *l = arg;

	if (unshare(CLONE_FILES))
		l->failed = "unshare";
	__atomic_store_n(&l->done, 1, __ATOMIC_RELEASE);
	leaver_wait(l, 2);
	/* Its copy of what is watched. */
	if (!l->failed && close(l->fd))
		l->failed = "close";
	__atomic_store_n(&l->done, 2, __ATOMIC_RELEASE);
	leaver_wait(l, 3);
	if (!l->failed && add_file(l->q, &l->w, l->q->args.__resv[0],
				   KEVENT_WATCH_VANISHED, 2) != 1)
		l->failed = "add";
	__atomic_store_n(&l->done, 3, __ATOMIC_RELEASE);
	leaver_wait(l, 4);
	return NULL;
}

TEST_F(fork, thread_leaves_the_common_table)
{
	struct queue q = self->q;
	struct leaver l = {
		.q = &q,
		.fd = self->fd,
	};
	pthread_t thread;
	int fd = new_file(), twin = dup(fd);

	ASSERT_LE(0, twin);
	q.args.__resv[0] = fd;
	ASSERT_EQ(0, pthread_create(&thread, NULL, leave, &l));
	leaver_step(&l, 1);
	ASSERT_EQ(NULL, l.failed);
	EXPECT_UNTOUCHED();
	leaver_step(&l, 2);
	ASSERT_EQ(NULL, l.failed);
	EXPECT_UNTOUCHED();
	leaver_step(&l, 3);
	ASSERT_EQ(NULL, l.failed);
	/* That one is the thread's, which has the same file open there. */
	ASSERT_EQ(0, close(fd));
	EXPECT_FALSE(watch_gone(Q, &l.w));
	EXPECT_EMPTY(Q, COPY);
	ASSERT_EQ(0, fire(twin));
	EXPECT_READABLE(Q, COPY, 2);
	EXPECT_EQ(1, quiet(twin));
	__atomic_store_n(&l.step, 4, __ATOMIC_RELEASE);
	ASSERT_EQ(0, pthread_join(thread, NULL));
	/* It may not quite be gone when it can be joined. */
	EXPECT_VANISHED(Q, COPY, 2);
	EXPECT_TRUE(watch_gone(Q, &l.w));
	EXPECT_UNTOUCHED();
	close(twin);
}

/* CLOSE_RANGE_UNSHARE: what is closed is a copy, if the table was common. */
static void *close_unshared(void *arg)
{
	struct leaver *l = arg;

	if (syscall(SYS_close_range, l->fd, l->fd, 1U << 1))
		l->failed = "close_range";
	else if (fcntl(l->fd, F_GETFD) >= 0)
		l->failed = "still open";
	return NULL;
}

TEST_F(fork, range_closed_in_a_copy_of_the_table)
{
	struct leaver l = { .fd = self->fd };
	pthread_t thread;

	ASSERT_EQ(0, pthread_create(&thread, NULL, close_unshared, &l));
	ASSERT_EQ(0, pthread_join(thread, NULL));
	ASSERT_EQ(NULL, l.failed);
	EXPECT_LE(0, fcntl(self->fd, F_GETFD));
	EXPECT_UNTOUCHED();
	/* The only thread has no need of a copy. */
	ASSERT_EQ(0, syscall(SYS_close_range, self->fd, self->fd, 1U << 1));
	EXPECT_VANISHED(Q, COPY, 1);
	EXPECT_EMPTY(Q, COPY);
}

/* vfork() shares the memory, not the descriptors. */
TEST_F(fork, vforked_child_closes)
{
	int fd = self->fd;
	pid_t pid;

	pid = vfork();
	if (!pid) {
		close(fd);
		_exit(0);
	}
	ASSERT_LE(0, pid);
	ASSERT_EQ(0, child_status(pid));
	EXPECT_UNTOUCHED();
}

TEST_F(fork, vforked_child_uses_the_mapping)
{
	struct queue *q = Q;
	pid_t pid;

	if (!variant->entries)
		SKIP(return, "there is no mapping without a ring");
	ASSERT_EQ(0, fire(self->fd));
	pid = vfork();
	if (!pid) {
		/* It is the parent's memory. */
		_exit(ring_ready(q, ring_cursor(q)) ? 0 : 1);
	}
	ASSERT_LE(0, pid);
	EXPECT_EQ(0, child_status(pid));
	EXPECT_READABLE(Q, COPY, 1);
}

TEST_F(fork, vforked_child_executes)
{
	pid_t pid;

	ASSERT_EQ(0, fcntl(self->fd, F_SETFD, FD_CLOEXEC));
	ASSERT_EQ(0, fcntl(self->q.fd, F_SETFD, FD_CLOEXEC));
	pid = vfork();
	if (!pid) {
		execl("/bin/true", "true", NULL);
		_exit(126);
	}
	ASSERT_LE(0, pid);
	ASSERT_EQ(0, child_status(pid));
	EXPECT_UNTOUCHED();
}

/* exec gives the process a table of its own, and closes in that one. */
TEST_F(fork, process_with_the_same_descriptors_executes)
{
	pid_t pid;

	ASSERT_EQ(0, fcntl(self->fd, F_SETFD, FD_CLOEXEC));
	pid = fork_sharing_files();
	if (pid == nosys())
		SKIP(return, "no clone3");
	ASSERT_LE(0, pid);
	if (!pid) {
		execl("/bin/true", "true", NULL);
		_exit(126);
	}
	ASSERT_EQ(0, child_status(pid));
	EXPECT_LE(0, fcntl(self->fd, F_GETFD));
	EXPECT_UNTOUCHED();
}

/*
 * exec.
 */
struct execed {
	struct kevent_create args;
	int fd;			/* of the queue */
	int file;
	bool cloexec;		/* the queue is */
	struct kevent_watch w;
};

static int after_exec(struct execed *s)
{
	struct queue q = { .fd = s->fd, .args = s->args };
	const bool copy = true;
	struct kevent_event ev;
	int i;

	if (s->cloexec)
		return fcntl(s->fd, F_GETFD) < 0 && errno == EBADF ? 0 : 10;
	if (q.args.mmap_size && queue_map(&q) != -EACCES)
		return 11;
	/* What was reported before, and a timer that was started before. */
	for (i = 0; i < 2; i++) {
		if (take_next(&q, copy, &ev) != 1)
			return 12;
		if (ev.user_data == 7 ? !seq_intact(&ev) :
		    ev.user_data != 2 || ev.data < 1)
			return 13;
	}
	/* The watch is there, and its process. */
	if (watch_gone(&q, &s->w))
		return 14;
	if (fire(s->file) || take_next(&q, copy, &ev) != 1 ||
	    ev.user_data != 1 || ev.events != KEVENT_POLL_IN)
		return 15;
	if (quiet(s->file) != 1 || take_now(&q, copy, &ev))
		return 16;
	if (close(s->file) || !watch_gone(&q, &s->w))
		return 17;
	return 0;
}

static void __attribute__((constructor)) execed(void)
{
	struct execed s;

	if (exec_state(&s, sizeof(s)))
		_exit(after_exec(&s));
}

static int prepare_exec(struct execed *s, const struct queue *q)
{
	struct kevent_watch timer = timer_watch(2, MSEC, 0);

	s->args = q->args;
	s->fd = q->fd;
	if (!s->cloexec && fcntl(q->fd, F_SETFD, 0))
		return 5;
	s->file = new_file();
	if (add_file(q, &s->w, s->file, 0, 1) != 1 || add_one(q, &timer) != 1)
		return 1;
	return seq_post(q->fd, 7, 1, KEVENT_POST_DEFER) == 1 ? 0 : 2;
}

TEST_F(fork, queue_survives_exec)
{
	struct execed s = {};
	struct queue q;
	pid_t pid;
	int ret;

	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		if (queue_open_shared(&q, variant->entries) < 0)
			_exit(3);
		ret = prepare_exec(&s, &q);
		if (ret)
			_exit(ret);
		exec_again(&s, sizeof(s));
	}
	EXPECT_EQ(0, child_status(pid));
}

/* exec by another thread than the first: the others are gone, no watch is. */
static void *exec_in_thread(void *arg)
{
	exec_again(arg, sizeof(struct execed));
	return NULL;
}

TEST_F(fork, queue_survives_exec_by_a_thread)
{
	struct execed s = {};
	pthread_t thread;
	struct queue q;
	pid_t pid;
	int ret;

	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		if (queue_open_shared(&q, variant->entries) < 0)
			_exit(3);
		ret = prepare_exec(&s, &q);
		if (ret || pthread_create(&thread, NULL, exec_in_thread, &s))
			_exit(4);
		for (;;)
			pause();
	}
	EXPECT_EQ(0, child_status(pid));
}

TEST_F(fork, queue_closed_by_exec)
{
	struct execed s = { .cloexec = true };
	struct queue q = {
		.args = {
			.entries = variant->entries,
		},
	};
	pid_t pid;
	int ret;

	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		q.fd = kevent_create(&q.args, sizeof(q.args), 0);
		if (q.fd < 0 || (variant->entries && queue_map(&q)))
			_exit(3);
		ret = prepare_exec(&s, &q);
		if (ret || fire(s.file))
			_exit(4);
		exec_again(&s, sizeof(s));
	}
	EXPECT_EQ(0, child_status(pid));
}

/* The queue of a process that executes is that of another one, too. */
TEST_F(fork, other_process_keeps_the_queue)
{
	struct execed s = { .cloexec = true };
	struct kevent_watch w;
	pid_t pid;

	ASSERT_EQ(0, fcntl(self->q.fd, F_SETFD, FD_CLOEXEC));
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		s.fd = self->q.fd;
		s.file = new_file();
		/* Kept open by exec, gone when it exits. */
		if (add_file(Q, &w, s.file, KEVENT_WATCH_VANISHED, 2) != 1)
			_exit(1);
		exec_again(&s, sizeof(s));
	}
	EXPECT_EQ(0, child_status(pid));
	EXPECT_VANISHED(Q, COPY, 2);
	EXPECT_UNTOUCHED();
}

/* exec that fails changes nothing. */
TEST_F(fork, exec_fails)
{
	char *const argv[] = { "nothing", NULL };

	ASSERT_EQ(0, fcntl(self->fd, F_SETFD, FD_CLOEXEC));
	EXPECT_EQ(-1, execv("/nothing/there", argv));
	EXPECT_EQ(-1, execv("/", argv));
	EXPECT_UNTOUCHED();
}

TEST_HARNESS_MAIN
