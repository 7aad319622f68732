// SPDX-License-Identifier: GPL-2.0
/*
 * A queue belongs to the address space that it was made in. Others who have the
 * descriptor may post and poll. When the last task has left the address space
 * the queue has ended. KEVENT_CREATE_SHARED lifts both, but the ring is mapped
 * by its maker only.
 */
#include <linux/aio_abi.h>
#include <sys/prctl.h>

#include "kevent_poll_test.h"

#define ENTRIES	8

/* What one can do with a queue. Returns 0 or more, or a negated errno. */
enum verb {
	ADD, MODIFY, REMOVE, WAIT, WAIT_NOW, GET_EVENTS, MMAP, TIMER_CREATE,
	POST, POST_DEFERRED, POLL, IO_SUBMIT, MQ_NOTIFY, WATCH,
};

struct task {
	enum verb verb;
	struct kevent_create args;
	int fd;			/* of the queue */
	struct kevent_watch w;	/* that is in it */
};

static int do_timer_create(int queue)
{
	struct sigevent ev = {
		.sigev_notify = SIGEV_KEVENT,
	};
	int id;

	ev.sigev_notify_kevent_fd = queue;
	return syscall(__NR_timer_create, CLOCK_MONOTONIC, &ev, &id) ? -errno : 0;
}

static int do_mq_notify(int queue)
{
	struct sigevent ev = {
		.sigev_notify = SIGEV_KEVENT,
	};
	char name[32];
	int mq;

	ev.sigev_notify_kevent_fd = queue;
	snprintf(name, sizeof(name), "kevent-owner-%d", getpid());
	mq = syscall(__NR_mq_open, name, O_RDWR | O_CREAT, 0600, NULL);
	if (mq < 0)
		return -errno;
	syscall(__NR_mq_unlink, name);
	return syscall(__NR_mq_notify, mq, &ev) ? -errno : 0;
}

/* Reads something from a file that is always there. */
static int do_io_submit(int queue)
{
	static char byte;
	struct iocb cb = {
		.aio_fildes = open("/proc/self/exe", O_RDONLY | O_CLOEXEC),
		.aio_lio_opcode = IOCB_CMD_PREAD,
		.aio_buf = (unsigned long)&byte,
		.aio_nbytes = 1,
		.aio_flags = IOCB_FLAG_KEVENT,
		.aio_resfd = queue,
		.aio_data = 7,
	};
	struct iocb *cbs = &cb;
	aio_context_t ctx = 0;
	int ret;

	if (syscall(__NR_io_setup, 1, &ctx))
		return -errno;
	ret = syscall(__NR_io_submit, ctx, 1L, &cbs);
	return ret < 0 ? -errno : ret;
}

/* Watches the queue with one of its own; whether that is ready at once. */
static int do_watch(int queue)
{
	struct kevent_event ev;
	struct kevent_watch w;
	struct queue own;
	int ret;

	ret = queue_open(&own, 0);
	if (ret < 0)
		return ret;
	ret = add_file(&own, &w, queue, 0, 1);
	return ret == 1 ? kevent_get_events(own.fd, 0, 1, NULL, &ev, 0) : ret;
}

static int do_verb(struct task *t)
{
	struct queue q = { .fd = t->fd, .args = t->args };
	struct pollfd pfd = { .fd = t->fd, .events = POLLIN };
	struct kevent_wait wait = { .clockid = CLOCK_MONOTONIC };
	struct kevent_watch w = timer_watch(1, HOUR, 0);
	struct kevent_event ev;

	switch (t->verb) {
	case ADD:
		return add_one(&q, &w);
	case MODIFY:
		w = t->w;
		return modify_one(&q, &w, KEVENT_MODIFY_USER_DATA);
	case REMOVE:
		return remove_one(&q, t->w.handle);
	case WAIT:
		wait.min_nr = 1;
		return kevent_wait(t->fd, &wait, sizeof(wait));
	case WAIT_NOW:
		return kevent_wait(t->fd, &wait, sizeof(wait));
	case GET_EVENTS:
		return kevent_get_events(t->fd, 1, 1, NULL, &ev, 0);
	case MMAP:
		return queue_map(&q);
	case TIMER_CREATE:
		return do_timer_create(t->fd);
	case POST:
		return seq_post(t->fd, 3, 1, 0);
	case POST_DEFERRED:
		return seq_post(t->fd, 3, 1, KEVENT_POST_DEFER);
	case POLL:
		return poll(&pfd, 1, 0) < 0 ? -errno : pfd.revents;
	case IO_SUBMIT:
		return do_io_submit(t->fd);
	case MQ_NOTIFY:
		return do_mq_notify(t->fd);
	case WATCH:
		return do_watch(t->fd);
	}
	return -EINVAL;
}

/* As an exit status: errors are below that. */
#define NO_ERROR	140

static void exit_with(int ret)
{
	_exit(ret < 0 ? -ret : NO_ERROR + ret);
}

static int result_of(pid_t pid)
{
	int status = pid < 0 ? -2000 : child_status(pid);

	return status < 0 ? status * 1000 :
	       status < NO_ERROR ? -status : status - NO_ERROR;
}

/* A process that has the descriptor, but not the memory. */
enum who { FORKED, EXECED, RECEIVER };

static pid_t start(enum who who, struct task *t)
{
	int sockets[2];
	pid_t pid;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets))
		return -1;
	pid = fork();
	if (pid) {
		if (pid > 0 && who == RECEIVER)
			send_fd(sockets[0], t->fd);
		close(sockets[0]);
		close(sockets[1]);
		return pid;
	}
	close(sockets[0]);
	switch (who) {
	case FORKED:
		break;
	case EXECED:
		if (fcntl(t->fd, F_SETFD, 0))
			_exit(139);
		exec_again(t, sizeof(*t));
		break;
	case RECEIVER:
		close(t->fd);
		t->fd = recv_fd(sockets[1]);
		break;
	}
	exit_with(do_verb(t));
}

static void __attribute__((constructor)) execed(void)
{
	struct task t;

	if (exec_state(&t, sizeof(t)))
		exit_with(do_verb(&t));
}

FIXTURE(stranger)
{
	struct queue q;
	struct task t;
	int fd;
};

FIXTURE_VARIANT(stranger)
{
	enum who who;
	unsigned int entries;
	bool shared;
};

FIXTURE_VARIANT_ADD(stranger, forked)
{
	.who = FORKED,
	.entries = ENTRIES,
};

FIXTURE_VARIANT_ADD(stranger, execed)
{
	.who = EXECED,
	.entries = ENTRIES,
};

FIXTURE_VARIANT_ADD(stranger, receiver)
{
	.who = RECEIVER,
	.entries = ENTRIES,
};

FIXTURE_VARIANT_ADD(stranger, forked_no_ring)
{
	.who = FORKED,
};

FIXTURE_VARIANT_ADD(stranger, receiver_no_ring)
{
	.who = RECEIVER,
};

FIXTURE_VARIANT_ADD(stranger, shared_forked)
{
	.who = FORKED,
	.entries = ENTRIES,
	.shared = true,
};

FIXTURE_VARIANT_ADD(stranger, shared_execed)
{
	.who = EXECED,
	.entries = ENTRIES,
	.shared = true,
};

FIXTURE_VARIANT_ADD(stranger, shared_receiver)
{
	.who = RECEIVER,
	.entries = ENTRIES,
	.shared = true,
};

FIXTURE_VARIANT_ADD(stranger, shared_forked_no_ring)
{
	.who = FORKED,
	.shared = true,
};

/* A watch that has reported a level, and an event that was posted. */
FIXTURE_SETUP(stranger)
{
	ASSERT_LE(0, queue_open_as(&self->q, variant->entries,
				   variant->shared ? KEVENT_CREATE_SHARED : 0));
	self->fd = new_file();
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(0, fire(self->fd));
	self->t.fd = self->q.fd;
	self->t.args = self->q.args;
	ASSERT_EQ(1, add_file(&self->q, &self->t.w, self->fd, 0, 1));
	ASSERT_EQ(1, seq_post(self->q.fd, 2, 1, KEVENT_POST_DEFER));
}

FIXTURE_TEARDOWN(stranger)
{
	queue_close(&self->q);
	close(self->fd);
}

#define Q	(&self->q)

static int as(enum who who, struct task *t, enum verb verb)
{
	t->verb = verb;
	return result_of(start(who, t));
}

/* What a stranger gets for it, and that nothing has come of it. */
#define EXPECT_OWNED(verb_, shared_result)				\
do {									\
	struct kevent_event __ev;					\
									\
	if (variant->shared) {						\
		EXPECT_EQ(shared_result, as(variant->who, &self->t, verb_)); \
		break;							\
	}								\
	EXPECT_EQ(-EACCES, as(variant->who, &self->t, verb_));		\
	EXPECT_EQ(1, nr_watches(self->q.fd));				\
	ASSERT_EQ(1, take_next(Q, false, &__ev));			\
	EXPECT_EQ(1, __ev.user_data);					\
	ASSERT_EQ(1, take_next(Q, false, &__ev));			\
	EXPECT_EQ(2, __ev.user_data);					\
	EXPECT_TRUE(seq_intact(&__ev));					\
	EXPECT_FALSE(watch_gone(Q, &self->t.w));			\
} while (0)

TEST_F(stranger, adds)
{
	EXPECT_OWNED(ADD, 1);
}

TEST_F(stranger, modifies)
{
	EXPECT_OWNED(MODIFY, 1);
}

TEST_F(stranger, removes)
{
	EXPECT_OWNED(REMOVE, 1);
}

TEST_F(stranger, waits)
{
	EXPECT_OWNED(WAIT, 2);
}

TEST_F(stranger, waits_for_nothing)
{
	EXPECT_OWNED(WAIT_NOW, 2);
}

TEST_F(stranger, gets_events)
{
	EXPECT_OWNED(GET_EVENTS, 1);
}

TEST_F(stranger, creates_a_timer)
{
	if (!has_timers())
		SKIP(return, "no POSIX timers");
	EXPECT_OWNED(TIMER_CREATE, 0);
}

/* Shared or not: two consumers of a ring may not die on each other. */
TEST_F(stranger, maps)
{
	/* Without a ring there is nothing to map, for any process. */
	if (!variant->entries)
		self->t.args.mmap_size = sysconf(_SC_PAGESIZE);
	EXPECT_EQ(-EACCES, as(variant->who, &self->t, MMAP));
	EXPECT_EQ(variant->entries ? 0 : -EINVAL, do_verb(&self->t));
}

/* Takes the two events that are there from the start; nothing holds then. */
#define TAKE_BOTH()							\
do {									\
	struct kevent_event __ev;					\
									\
	ASSERT_EQ(1, take_next(Q, false, &__ev));			\
	EXPECT_EQ(1, __ev.user_data);					\
	EXPECT_EQ(1, quiet(self->fd));					\
	ASSERT_EQ(1, take_next(Q, false, &__ev));			\
	EXPECT_EQ(2, __ev.user_data);					\
} while (0)

TEST_F(stranger, posts)
{
	struct kevent_event ev;

	TAKE_BOTH();
	EXPECT_EQ(1, as(variant->who, &self->t, POST));
	ASSERT_EQ(1, take_next(Q, false, &ev));
	EXPECT_EQ(3, ev.user_data);
	EXPECT_EQ(1, as(variant->who, &self->t, POST_DEFERRED));
	ASSERT_EQ(1, take_next(Q, false, &ev));
	EXPECT_EQ(3, ev.user_data);
}

/* What others ask the kernel to report is as if they posted it. */
TEST_F(stranger, submits_a_request)
{
	struct kevent_event ev;

	TAKE_BOTH();
	self->t.verb = IO_SUBMIT;
	if (do_verb(&self->t) == nosys())
		SKIP(return, "no AIO");
	ASSERT_EQ(1, take_next(Q, false, &ev));
	EXPECT_EQ(1, as(variant->who, &self->t, IO_SUBMIT));
	ASSERT_EQ(1, take_next(Q, false, &ev));
	EXPECT_EQ(7, ev.user_data);
	EXPECT_EQ(1, ev.data);
}

TEST_F(stranger, has_a_message_queue_reported)
{
	self->t.verb = MQ_NOTIFY;
	if (do_verb(&self->t) == nosys())
		SKIP(return, "no POSIX message queues");
	EXPECT_EQ(0, as(variant->who, &self->t, MQ_NOTIFY));
}

/* It is ready; and to others also as long as it is not known not to be. */
TEST_F(stranger, polls)
{
	struct pollfd pfd = { .fd = self->q.fd, .events = POLLIN };

	EXPECT_EQ(POLLIN, as(variant->who, &self->t, POLL));
	EXPECT_EQ(1, as(variant->who, &self->t, WATCH));
	TAKE_BOTH();
	if (variant->entries) {
		/* The level does not hold any more: who may look knows. */
		EXPECT_EQ(variant->shared ? 0 : POLLIN,
			  as(variant->who, &self->t, POLL));
		EXPECT_EQ(variant->shared ? 0 : 1,
			  as(variant->who, &self->t, WATCH));
	}
	EXPECT_EQ(0, poll(&pfd, 1, 0));
	EXPECT_EQ(0, as(variant->who, &self->t, POLL));
	EXPECT_EQ(0, as(variant->who, &self->t, WATCH));
}

/* A stranger who polls has nothing polled, and posts nothing. */
TEST_F(stranger, polls_and_causes_nothing)
{
	struct pollfd pfd = { .fd = self->q.fd, .events = POLLIN };
	struct kevent_event ev;

	if (!variant->entries || variant->shared)
		SKIP(return, "this cannot be seen");
	ASSERT_EQ(1, ring_take(Q, &ev));
	ASSERT_EQ(1, ring_take(Q, &ev));
	EXPECT_EQ(POLLIN, as(variant->who, &self->t, POLL));
	EXPECT_EQ(1, as(variant->who, &self->t, WATCH));
	EXPECT_EQ(0, ring_take(Q, &ev));
	EXPECT_EQ(1, poll(&pfd, 1, 0));
	ASSERT_EQ(1, ring_take(Q, &ev));
	EXPECT_EQ(1, ev.user_data);
}

/*
 * An epoll instance that parent and child share: what the child finds out about
 * the queue costs the parent no event.
 */
static int epoll_of(int fd, __u32 events)
{
	struct epoll_event ev = { .events = events };
	int ep = epoll_create1(EPOLL_CLOEXEC);

	return ep >= 0 && !epoll_ctl(ep, EPOLL_CTL_ADD, fd, &ev) ? ep : -1;
}

/* PREEMPT_RT wakes pollers in a thread: that may take a moment. */
#define A_MOMENT	10000

static int epoll_soon(int ep)
{
	struct epoll_event ev;

	return epoll_wait(ep, &ev, 1, A_MOMENT);
}

/* @first_wait: how many milliseconds the first time may take. */
static int epoll_in_a_child(int ep, int times, int first_wait)
{
	struct epoll_event ev;
	pid_t pid = fork();
	int i, nr = 0;

	if (!pid) {
		nr = epoll_wait(ep, &ev, 1, first_wait);
		for (i = 1; i < times; i++)
			nr += epoll_now(ep);
		_exit(nr);
	}
	return pid < 0 ? -1 : child_status(pid);
}

FIXTURE(epoll)
{
	struct queue q;
	struct kevent_watch w;
	int fd, ep;
};

FIXTURE_SETUP(epoll)
{
	ASSERT_LE(0, queue_open(&self->q, ENTRIES));
	self->fd = new_file();
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(1, add_file(&self->q, &self->w, self->fd, 0, 1));
	self->ep = epoll_of(self->q.fd, EPOLLIN);
	ASSERT_LE(0, self->ep);
}

FIXTURE_TEARDOWN(epoll)
{
	queue_close(&self->q);
	close(self->fd);
	close(self->ep);
}

TEST_F(epoll, shared_over_fork_loses_no_level)
{
	struct kevent_event ev;
	int i;

	EXPECT_EQ(0, epoll_in_a_child(self->ep, 3, 0));
	for (i = 0; i < 20; i++) {
		ASSERT_EQ(0, fire(self->fd));
		EXPECT_EQ(1, epoll_soon(self->ep));
		ASSERT_EQ(1, ring_take(Q, &ev));
		/* The level holds, no wake-up will say so again. */
		EXPECT_EQ(3, epoll_in_a_child(self->ep, 3, A_MOMENT));
		EXPECT_EQ(1, epoll_now(self->ep));
		ASSERT_EQ(1, ring_take(Q, &ev));
		EXPECT_EQ(1, quiet(self->fd));
		EXPECT_EQ(0, epoll_now(self->ep));
		EXPECT_EQ(0, epoll_in_a_child(self->ep, 3, 0));
	}
}

/* A wake-up that does not say what it is for asks for a look at the file. */
TEST_F(epoll, shared_over_fork_loses_no_recheck)
{
	struct kevent_event ev;
	struct kevent_watch w;
	int fds[2], i;
	char byte;

	ASSERT_EQ(0, pipe2(fds, O_NONBLOCK | O_CLOEXEC));
	ASSERT_EQ(1, add_file(Q, &w, fds[0], KEVENT_WATCH_EDGE, 2));
	for (i = 0; i < 20; i++) {
		ASSERT_EQ(1, write(fds[1], "x", 1));
		EXPECT_EQ(3, epoll_in_a_child(self->ep, 3, A_MOMENT));
		EXPECT_EQ(1, epoll_now(self->ep));
		ASSERT_EQ(1, ring_take(Q, &ev));
		EXPECT_EQ(2, ev.user_data);
		ASSERT_EQ(1, read(fds[0], &byte, 1));
	}
	close(fds[0]);
	close(fds[1]);
}

/* Both sleep in epoll_wait(): that the child is woken does not end it there. */
struct epoll_sleeper {
	struct sleeper sleeper;
	int ep;
};

static int sleep_in_epoll(void *arg)
{
	struct epoll_sleeper *s = arg;
	struct epoll_event ev;

	return epoll_wait(s->ep, &ev, 1, -1);
}

TEST_F(epoll, shared_over_fork_wakes_the_owner)
{
	struct epoll_sleeper s = { .ep = self->ep };
	struct kevent_event ev;
	int *tids, i;
	pid_t pid;

	tids = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
		    -1, 0);
	ASSERT_NE(MAP_FAILED, tids);
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		struct epoll_event one;

		__atomic_store_n(&tids[0], getpid(), __ATOMIC_RELEASE);
		while (epoll_wait(self->ep, &one, 1, -1) == 1)
			sched_yield();
		_exit(1);
	}
	for (i = 0; i < 10; i++) {
		ASSERT_TRUE(task_asleep(&tids[0], &tids[1]));
		ASSERT_EQ(0, sleeper_start(&s.sleeper, sleep_in_epoll, &s));
		ASSERT_TRUE(sleeper_asleep(&s.sleeper));
		ASSERT_EQ(0, fire(self->fd));
		EXPECT_EQ(1, sleeper_join(&s.sleeper));
		ASSERT_EQ(1, ring_take(Q, &ev));
		EXPECT_EQ(1, quiet(self->fd));
		/* Until then the child has reason to look. */
		EXPECT_EQ(0, queue_refill(Q));
	}
	kill(pid, SIGKILL);
	EXPECT_EQ(-SIGKILL, child_status(pid));
	munmap(tids, 4096);
}

/*
 * Who shares the memory owns the queue.
 */
struct sharing {
	struct task t;
	int ret;
	struct gate go;
};

static int shares_memory(void *arg)
{
	struct sharing *s = arg;

	s->ret = do_verb(&s->t);
	return 0;
}

FIXTURE(memory)
{
	struct queue q;
	struct sharing s;
	char *stack;
};

#define STACK	65536

FIXTURE_SETUP(memory)
{
	ASSERT_LE(0, queue_open(&self->q, ENTRIES));
	self->s.t.fd = self->q.fd;
	self->s.t.args = self->q.args;
	self->s.t.w = timer_watch(1, HOUR, 0);
	ASSERT_EQ(1, add_one(&self->q, &self->s.t.w));
	ASSERT_EQ(1, seq_post(self->q.fd, 2, 1, 0));
	self->stack = mmap(NULL, STACK, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, self->stack);
}

FIXTURE_TEARDOWN(memory)
{
	queue_close(&self->q);
	munmap(self->stack, STACK);
}

TEST_F(memory, child_that_shares_it_owns_the_queue)
{
	static const struct {
		enum verb verb;
		int ret;
	} verbs[] = {
		{ ADD, 1 }, { MODIFY, 1 }, { WAIT, 1 }, { MMAP, 0 },
		{ GET_EVENTS, 1 }, { REMOVE, 1 }, { TIMER_CREATE, 0 },
	};
	pid_t pid;
	int i;

	for (i = 0; i < ARRAY_SIZE(verbs); i++) {
		if (verbs[i].verb == TIMER_CREATE && !has_timers())
			continue;
		self->s.t.verb = verbs[i].verb;
		pid = clone(shares_memory, self->stack + STACK,
			    CLONE_VM | SIGCHLD, &self->s);
		ASSERT_LE(0, pid);
		ASSERT_EQ(0, child_status(pid));
		EXPECT_EQ(verbs[i].ret, self->s.ret) {
			TH_LOG("verb %d", verbs[i].verb);
		}
	}
}

TEST_F(memory, vforked_child_owns_the_queue)
{
	struct task *t = &self->s.t;
	int *ret = &self->s.ret;
	pid_t pid;

	t->verb = ADD;
	pid = vfork();
	if (!pid) {
		*ret = do_verb(t);
		_exit(0);
	}
	ASSERT_LE(0, pid);
	ASSERT_EQ(0, child_status(pid));
	EXPECT_EQ(1, self->s.ret);
	EXPECT_EQ(2, nr_watches(self->q.fd));
}

/* A child that leaves the memory leaves it to the others. */
TEST_F(memory, vforked_child_executes)
{
	pid_t pid = vfork();

	if (!pid) {
		execl("/bin/true", "true", NULL);
		_exit(126);
	}
	ASSERT_LE(0, pid);
	ASSERT_EQ(0, child_status(pid));
	EXPECT_EQ(1, nr_watches(self->q.fd));
	EXPECT_EQ(1, queue_drain(Q));
	EXPECT_EQ(1, seq_post(self->q.fd, 3, 1, 0));
}

static int outlives(void *arg)
{
	struct sharing *s = arg;
	struct kevent_event ev;

	/* Its parent is gone by then. */
	if (!gate_pass(&s->go))
		_exit(1);
	if (kevent_get_events(s->t.fd, 2, 2, NULL, &ev, 0) < 0)
		_exit(2);
	_exit(do_verb(&s->t) == 1 ? 0 : 3);
}

/*
 * The end of the owner.
 */
FIXTURE(end)
{
	struct queue q;		/* of a child, no ring is mapped here */
	int sockets[2];
	struct gate ready, go;
	pid_t pid;
};

FIXTURE_VARIANT(end)
{
	unsigned int entries;
	bool exec;
};

FIXTURE_VARIANT_ADD(end, exit)
{
	.entries = ENTRIES,
};

FIXTURE_VARIANT_ADD(end, exit_no_ring)
{
};

FIXTURE_VARIANT_ADD(end, exec)
{
	.entries = ENTRIES,
	.exec = true,
};

FIXTURE_VARIANT_ADD(end, exec_no_ring)
{
	.exec = true,
};

FIXTURE_SETUP(end)
{
	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0,
				self->sockets));
	ASSERT_EQ(0, gate_init(&self->ready));
	ASSERT_EQ(0, gate_init(&self->go));
	self->q.fd = -1;
}

FIXTURE_TEARDOWN(end)
{
	queue_close(&self->q);
}

/* In a child: makes a queue and passes it to the parent. */
static int make_and_pass(struct queue *q, unsigned int entries, __u32 flags,
			 int sock)
{
	if (queue_open_as(q, entries, flags) < 0)
		return -1;
	if (send_fd(sock, q->fd) ||
	    write(sock, &q->args, sizeof(q->args)) != sizeof(q->args))
		return -1;
	return 0;
}

static int receive(struct queue *q, int sock)
{
	memset(q, 0, sizeof(*q));
	q->fd = recv_fd(sock);
	if (q->fd < 0)
		return q->fd;
	return read(sock, &q->args, sizeof(q->args)) == sizeof(q->args) ?
	       q->fd : -EIO;
}

/* Ends a process, or at least its memory, and stays until it is killed. */
static void leave(bool exec)
{
	if (exec)
		execl("/bin/sleep", "sleep", "1000", NULL);
	_exit(0);
}

static int poll_hup(int fd)
{
	struct pollfd pfd = { .fd = fd, .events = POLLIN };

	return poll(&pfd, 1, -1) == 1 ? pfd.revents : -1;
}

/* A number in the fdinfo of a queue. */
static long long fdinfo(int fd, const char *name)
{
	char path[64], line[512];
	long long value = -1;
	size_t len = strlen(name);
	FILE *f;

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
	f = fopen(path, "r");
	if (!f)
		return -1;
	while (fgets(line, sizeof(line), f))
		if (!strncmp(line, name, len) && line[len] == ':')
			value = atoll(line + len + 1);
	fclose(f);
	return value;
}

static void reap(pid_t pid)
{
	kill(pid, SIGKILL);
	child_status(pid);
}

TEST_F(end, queue_ends_with_its_owner)
{
	struct epoll_event ee;
	int ep;

	self->pid = fork();
	ASSERT_LE(0, self->pid);
	if (!self->pid) {
		struct kevent_watch w, timer = timer_watch(2, HOUR, 0);
		struct queue q;
		int fd = new_file();

		if (make_and_pass(&q, variant->entries, 0, self->sockets[0]) ||
		    add_file(&q, &w, fd, KEVENT_WATCH_VANISHED, 1) != 1 ||
		    add_one(&q, &timer) != 1)
			_exit(1);
		gate_open(&self->ready);
		gate_pass(&self->go);
		leave(variant->exec);
	}
	ASSERT_LE(0, receive(Q, self->sockets[1]));
	ASSERT_TRUE(gate_pass(&self->ready));
	EXPECT_EQ(0, fdinfo(self->q.fd, "ended"));
	EXPECT_EQ(2, nr_watches(self->q.fd));
	ep = epoll_of(self->q.fd, EPOLLIN);
	ASSERT_LE(0, ep);
	/* What waits in the backlog goes, too. */
	ASSERT_EQ(3 * ENTRIES, seq_post(self->q.fd, 1, 3 * ENTRIES,
					KEVENT_POST_DEFER));
	EXPECT_EQ(1, epoll_soon(ep));
	gate_open(&self->go);
	while (poll_hup(self->q.fd) == POLLIN)
		usleep(500);
	EXPECT_EQ(POLLHUP, poll_hup(self->q.fd));
	EXPECT_EQ(1, epoll_wait(ep, &ee, 1, -1));
	EXPECT_EQ(EPOLLHUP, ee.events);
	EXPECT_EQ(-EPIPE, seq_post(self->q.fd, 1, 1, 0));
	EXPECT_EQ(-EPIPE, seq_post(self->q.fd, 1, 1, KEVENT_POST_DEFER));
	EXPECT_EQ(1, fdinfo(self->q.fd, "ended"));
	EXPECT_EQ(0, fdinfo(self->q.fd, "backlog"));
	EXPECT_EQ(0, nr_watches(self->q.fd));
	reap(self->pid);
	close(ep);
}

/* To those who post by way of the kernel, too; for the rest it is not theirs. */
TEST_F(end, nothing_can_be_done_with_it)
{
	static const struct {
		enum verb verb;
		int ret;
	} verbs[] = {
		{ ADD, -EACCES }, { WAIT_NOW, -EACCES }, { GET_EVENTS, -EACCES },
		{ MMAP, -EACCES }, { TIMER_CREATE, -EACCES }, { POST, -EPIPE },
		{ POLL, POLLHUP }, { IO_SUBMIT, -EPIPE }, { MQ_NOTIFY, -EPIPE },
		{ WATCH, 1 },
	};
	struct task t = {};
	int i, ret;

	self->pid = fork();
	ASSERT_LE(0, self->pid);
	if (!self->pid) {
		struct queue q;

		if (make_and_pass(&q, variant->entries, 0, self->sockets[0]))
			_exit(1);
		leave(variant->exec);
	}
	ASSERT_LE(0, receive(Q, self->sockets[1]));
	EXPECT_EQ(POLLHUP, poll_hup(self->q.fd));
	t.fd = self->q.fd;
	t.args = self->q.args;
	if (!t.args.mmap_size)
		t.args.mmap_size = 4096;
	for (i = 0; i < ARRAY_SIZE(verbs); i++) {
		t.verb = verbs[i].verb;
		ret = do_verb(&t);
		if (ret == nosys())
			continue;
		EXPECT_EQ(verbs[i].ret, ret) {
			TH_LOG("verb %d", t.verb);
		}
	}
	reap(self->pid);
}

/* Who sleeps is woken. */
static int sleep_in_poll(void *arg)
{
	return poll_hup(*(int *)arg);
}

TEST_F(end, wakes_those_who_poll)
{
	struct epoll_sleeper e = {}, exclusive[2] = {};
	struct kevent_event ev = {};
	struct sleeper s, o;
	struct kevent_watch w;
	struct queue outer;
	int i;

	self->pid = fork();
	ASSERT_LE(0, self->pid);
	if (!self->pid) {
		struct queue q;

		if (make_and_pass(&q, variant->entries, 0, self->sockets[0]))
			_exit(1);
		gate_pass(&self->go);
		leave(variant->exec);
	}
	ASSERT_LE(0, receive(Q, self->sockets[1]));
	e.ep = epoll_of(self->q.fd, EPOLLIN);
	ASSERT_LE(0, e.ep);
	ASSERT_LE(0, queue_open(&outer, ENTRIES));
	/* A queue of its own that watches the other's. */
	ASSERT_EQ(1, add_file(&outer, &w, self->q.fd, 0, 1));
	ASSERT_EQ(0, sleeper_start(&s, sleep_in_poll, &self->q.fd));
	ASSERT_EQ(0, sleeper_start(&o, sleep_in_poll, &outer.fd));
	ASSERT_EQ(0, sleeper_start(&e.sleeper, sleep_in_epoll, &e));
	for (i = 0; i < 2; i++) {
		exclusive[i].ep = epoll_of(self->q.fd, EPOLLIN | EPOLLEXCLUSIVE);
		ASSERT_LE(0, exclusive[i].ep);
		ASSERT_EQ(0, sleeper_start(&exclusive[i].sleeper, sleep_in_epoll,
					   &exclusive[i]));
		EXPECT_TRUE(sleeper_asleep(&exclusive[i].sleeper));
	}
	EXPECT_TRUE(sleeper_asleep(&s));
	EXPECT_TRUE(sleeper_asleep(&o));
	EXPECT_TRUE(sleeper_asleep(&e.sleeper));
	gate_open(&self->go);
	EXPECT_EQ(POLLHUP, sleeper_join(&s));
	EXPECT_EQ(POLLIN, sleeper_join(&o));
	EXPECT_EQ(1, sleeper_join(&e.sleeper));
	/* All of them: nothing else will happen. */
	for (i = 0; i < 2; i++) {
		EXPECT_EQ(1, sleeper_join(&exclusive[i].sleeper));
		close(exclusive[i].ep);
	}
	ASSERT_EQ(1, take_next(&outer, false, &ev));
	EXPECT_EQ(1, ev.user_data);
	EXPECT_EQ(KEVENT_POLL_HUP, ev.events);
	reap(self->pid);
	queue_close(&outer);
	close(e.ep);
}

/* The queue of another is ready when it has events; levels included. */
TEST_F(end, watched_by_the_queue_of_another)
{
	struct kevent_event ev;
	struct kevent_watch w;
	struct queue outer;
	int i;

	self->pid = fork();
	ASSERT_LE(0, self->pid);
	if (!self->pid) {
		struct queue q;

		if (make_and_pass(&q, variant->entries, 0, self->sockets[0]))
			_exit(1);
		while (gate_pass(&self->go)) {
			queue_drain(&q);
			queue_refill(&q);
			gate_open(&self->ready);
		}
		_exit(0);
	}
	ASSERT_LE(0, receive(Q, self->sockets[1]));
	ASSERT_LE(0, queue_open(&outer, ENTRIES));
	ASSERT_EQ(1, add_file(&outer, &w, self->q.fd, 0, 1));
	for (i = 0; i < 5; i++) {
		EXPECT_EMPTY(&outer, false);
		ASSERT_EQ(1, seq_post(self->q.fd, i, 1, 0));
		EXPECT_READABLE(&outer, false, 1);
		/* It is still. */
		EXPECT_READABLE(&outer, false, 1);
		gate_open(&self->go);
		ASSERT_TRUE(gate_pass(&self->ready));
		ASSERT_EQ(1, take_now(&outer, true, &ev) + 1);
	}
	reap(self->pid);
	EXPECT_EVENT(&outer, false, 1, KEVENT_POLL_HUP, 0);
	queue_close(&outer);
}

/* A process that has its memory in common with another one may end. */
TEST_F(end, not_as_long_as_the_memory_has_a_user)
{
	self->pid = fork();
	ASSERT_LE(0, self->pid);
	if (!self->pid) {
		struct sharing *s = calloc(1, sizeof(*s));
		char *stack = malloc(STACK);
		struct queue q;

		if (make_and_pass(&q, variant->entries, 0, self->sockets[0]))
			_exit(1);
		s->t.verb = ADD;
		s->t.fd = q.fd;
		s->go = self->go;
		if (clone(outlives, stack + STACK, CLONE_VM, s) < 0)
			_exit(2);
		leave(variant->exec);
	}
	ASSERT_LE(0, receive(Q, self->sockets[1]));
	if (!variant->exec) {
		ASSERT_EQ(0, child_status(self->pid));
		self->pid = 0;
	} else {
		usleep(1000);
	}
	ASSERT_EQ(1, seq_post(self->q.fd, 1, 1, KEVENT_POST_DEFER));
	EXPECT_EQ(0, fdinfo(self->q.fd, "ended"));
	gate_open(&self->go);
	ASSERT_EQ(1, seq_post(self->q.fd, 2, 1, KEVENT_POST_DEFER));
	while (poll_hup(self->q.fd) != POLLHUP)
		usleep(500);
	if (self->pid)
		reap(self->pid);
}

/* A shared one goes on: it is for those who have it. */
TEST_F(end, shared_queue_goes_on)
{
	struct kevent_event ev;
	struct kevent_watch w;
	int fd = new_file();

	self->pid = fork();
	ASSERT_LE(0, self->pid);
	if (!self->pid) {
		struct kevent_watch timer = timer_watch(2, MSEC, 0);
		struct queue q;

		if (make_and_pass(&q, variant->entries, KEVENT_CREATE_SHARED,
				  self->sockets[0]) ||
		    add_one(&q, &timer) != 1)
			_exit(1);
		leave(variant->exec);
	}
	ASSERT_LE(0, receive(Q, self->sockets[1]));
	if (!variant->exec)
		ASSERT_EQ(0, child_status(self->pid));
	ASSERT_EQ(1, kevent_get_events(self->q.fd, 1, 1, NULL, &ev, 0));
	EXPECT_EQ(2, ev.user_data);
	ASSERT_EQ(1, add_file(Q, &w, fd, 0, 1));
	ASSERT_EQ(0, fire(fd));
	ASSERT_EQ(1, kevent_get_events(self->q.fd, 1, 1, NULL, &ev, 0));
	EXPECT_EQ(1, ev.user_data);
	EXPECT_EQ(1, seq_post(self->q.fd, 3, 1, KEVENT_POST_DEFER));
	EXPECT_EQ(POLLIN, poll_hup(self->q.fd));
	EXPECT_EQ(1, fdinfo(self->q.fd, "shared"));
	EXPECT_EQ(0, fdinfo(self->q.fd, "ended"));
	if (variant->exec)
		reap(self->pid);
	close(fd);
}

/*
 * Signals that were intercepted go back to the process, which may be another
 * program by then.
 */
#define SIGNALS_STATE	"KEVENT_OWNER_SIGNALS"

static void __attribute__((constructor)) after_exec_with_signals(void)
{
	struct timespec now = {};
	siginfo_t info;
	sigset_t set;
	int i;

	if (!getenv(SIGNALS_STATE))
		return;
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	sigaddset(&set, SIGRTMIN + 1);
	if (sigtimedwait(&set, &info, &now) != SIGUSR1)
		_exit(1);
	for (i = 1; i <= 3; i++) {
		if (sigtimedwait(&set, &info, &now) != SIGRTMIN + 1)
			_exit(2);
		if (info.si_value.sival_int != i)
			_exit(3);
	}
	_exit(sigtimedwait(&set, &info, &now) < 0 && errno == EAGAIN ? 0 : 4);
}

static struct kevent_watch intercept(int sig)
{
	struct kevent_watch w = {
		.source = KEVENT_SOURCE_SIGNAL,
		.flags = KEVENT_WATCH_TAKE,
		.ident = sig,
		.events = KEVENT_SIGNAL_SENT,
		.user_data = sig,
	};

	return w;
}

TEST_F(end, signals_go_back)
{
	if (!variant->exec)
		SKIP(return, "there is no process left to get them");
	self->pid = fork();
	ASSERT_LE(0, self->pid);
	if (!self->pid) {
		struct kevent_watch w[2] = {
			intercept(SIGUSR1), intercept(SIGRTMIN + 1)
		};
		sigset_t set, pending;
		struct queue q;
		int i;

		sigemptyset(&set);
		sigaddset(&set, SIGUSR1);
		sigaddset(&set, SIGRTMIN + 1);
		sigprocmask(SIG_BLOCK, &set, NULL);
		if (make_and_pass(&q, variant->entries, 0, self->sockets[0]) ||
		    kevent_add(q.fd, w, sizeof(*w), 2, 0) != 2)
			_exit(101);
		if (kill(getpid(), SIGUSR1))
			_exit(102);
		for (i = 1; i <= 3; i++)
			sigqueue(getpid(), SIGRTMIN + 1,
				 (union sigval) { .sival_int = i });
		if (sigpending(&pending) || sigismember(&pending, SIGUSR1) ||
		    sigismember(&pending, SIGRTMIN + 1))
			_exit(104);
		/* The parent keeps the queue. */
		if (!gate_pass(&self->go))
			_exit(105);
		setenv(SIGNALS_STATE, "1", 1);
		execl("/proc/self/exe", "owner", NULL);
		_exit(126);
	}
	ASSERT_LE(0, receive(Q, self->sockets[1]));
	gate_open(&self->go);
	EXPECT_EQ(0, child_status(self->pid));
	EXPECT_EQ(POLLHUP, poll_hup(self->q.fd));
}

/*
 * Deferred posts count against those who post.
 */
#define DEFERRED_MAX	65536
#define UID		41112	/* no other user, it is hoped */
#define SYSCTL		"/proc/sys/fs/kevent/max_user_watches"
#define LIMIT		50

TEST(deferred_posts_of_others_leave_room_for_those_of_the_owner)
{
	struct queue q;
	pid_t pid;

	ASSERT_LE(0, queue_open(&q, 2));
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		int nr = seq_post(q.fd, 0, DEFERRED_MAX + 100, KEVENT_POST_DEFER);

		/* As many as fit into the ring besides. */
		if (nr != DEFERRED_MAX + 2)
			_exit(1);
		_exit(seq_post(q.fd, 0, 1, KEVENT_POST_DEFER) == -EAGAIN ? 0 : 2);
	}
	ASSERT_EQ(0, child_status(pid));
	EXPECT_EQ(100, seq_post(q.fd, 0, 100, KEVENT_POST_DEFER));
	EXPECT_EQ(DEFERRED_MAX + 102, queue_drain(&q));
	queue_close(&q);
}

static long long sysctl_value(long long value)
{
	char text[32] = "";
	int fd = open(SYSCTL, value < 0 ? O_RDONLY : O_WRONLY);
	ssize_t len;

	if (fd < 0)
		return -1;
	if (value < 0) {
		len = read(fd, text, sizeof(text) - 1);
	} else {
		snprintf(text, sizeof(text), "%lld", value);
		len = write(fd, text, strlen(text));
	}
	close(fd);
	return len > 0 ? atoll(text) : -1;
}

FIXTURE(user)
{
	long long before;
};

FIXTURE_SETUP(user)
{
	self->before = sysctl_value(-1);
	if (self->before < 0 || geteuid())
		SKIP(return, "needs a limit, and root to change it");
	ASSERT_EQ(LIMIT, sysctl_value(LIMIT));
}

FIXTURE_TEARDOWN_PARENT(user)
{
	if (self->before > 0)
		sysctl_value(self->before);
}

TEST_F(user, deferred_posts_count_against_who_posts)
{
	struct kevent_event ev[10];
	struct gate ready, go;
	struct queue q;
	pid_t pid;

	ASSERT_EQ(0, gate_init(&ready));
	ASSERT_EQ(0, gate_init(&go));
	ASSERT_LE(0, queue_open(&q, 0));
	/* Those of the owner, too, until they are consumed. */
	ASSERT_EQ(LIMIT, seq_post(q.fd, 0, 2 * LIMIT, 0));
	ASSERT_EQ(-EAGAIN, seq_post(q.fd, 0, 1, KEVENT_POST_DEFER));
	ASSERT_EQ(LIMIT, queue_drain(&q));
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		if (setresgid(UID, UID, UID) || setresuid(UID, UID, UID))
			_exit(1);
		if (seq_post(q.fd, 0, 2 * LIMIT, 0) != LIMIT ||
		    seq_post(q.fd, 0, 1, KEVENT_POST_DEFER) != -EAGAIN)
			_exit(2);
		gate_open(&ready);
		if (!gate_pass(&go) || seq_post(q.fd, 0, LIMIT, 0) != 10)
			_exit(3);
		_exit(0);
	}
	ASSERT_TRUE(gate_pass(&ready));
	/* Others' posts are not in the way of the owner's. */
	EXPECT_EQ(LIMIT, seq_post(q.fd, 1000, LIMIT, 0));
	/* What was consumed counts no more. */
	EXPECT_EQ(10, kevent_get_events(q.fd, 10, 10, NULL, ev, 0));
	gate_open(&go);
	EXPECT_EQ(0, child_status(pid));
	EXPECT_EQ(2 * LIMIT, queue_drain(&q));
	queue_close(&q);
}

TEST_HARNESS_MAIN
