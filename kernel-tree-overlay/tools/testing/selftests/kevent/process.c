// SPDX-License-Identifier: GPL-2.0
/*
 * KEVENT_SOURCE_PROCESS: the end of a process, in every way in which it can
 * come, is reported once, with its wait status; and so is each exec.
 */
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>

#include "kevent_poll_test.h"

#define EXIT		KEVENT_PROCESS_EXIT
#define REAPED		KEVENT_PROCESS_REAPED
#define EXEC		KEVENT_PROCESS_EXEC
#define ALL		(EXIT | REAPED | EXEC)

#define EDGE		KEVENT_WATCH_EDGE
#define ONESHOT		KEVENT_WATCH_ONESHOT
#define DISPATCH	KEVENT_WATCH_DISPATCH
#define DISABLED	KEVENT_WATCH_DISABLED
#define VANISHED	KEVENT_WATCH_VANISHED

#ifndef PIDFD_THREAD
#define PIDFD_THREAD	O_EXCL
#endif

#define STATUS(code)	((code) << 8)

static void __attribute__((constructor)) need_process(void)
{
	need_source(KEVENT_SOURCE_PROCESS, "processes");
}

static int pidfd_of(pid_t pid, unsigned int flags)
{
	return syscall(SYS_pidfd_open, pid, flags);
}

static struct kevent_watch process_watch(int pidfd, __u32 events, __u32 flags,
					 __u64 user_data)
{
	struct kevent_watch w = {
		.source = KEVENT_SOURCE_PROCESS,
		.flags = flags,
		.ident = pidfd,
		.events = events,
		.user_data = user_data,
	};

	return w;
}

/*
 * A child that does as it is reported: a letter and a number, over a pipe.
 */
struct child {
	pid_t pid;
	int pidfd;
	int to;		/* commands */
	int from;	/* a byte back for each that was done */
};

/* This program was started again to watch, not to be watched. */
#define WATCHER	"KEVENT_TEST_WATCHER"

/* What it does when it was started again to be watched. */
struct execed {
	int from, to;
	int then;	/* exec once more */
};

static void child_main(int from, int to);

static void idle(void)
{
	for (;;)
		pause();
}

static void *idle_thread(void *arg)
{
	(void)arg;
	idle();
	return NULL;
}

struct ends {
	int from, to;
};

static void *main_thread(void *arg)
{
	struct ends *ends = arg;

	child_main(ends->from, ends->to);
	return NULL;
}

struct exiter {
	int code;
	pid_t leader;
};

/* Ends as the last thread, after the leader. */
static void *exit_thread(void *arg)
{
	struct exiter *e = arg;

	while (task_state(e->leader) != 'Z')
		usleep(200);
	syscall(SYS_exit, e->code);
	return NULL;
}

static void burn(__u64 ns)
{
	__u64 end = now_ns(CLOCK_THREAD_CPUTIME_ID) + ns;

	while (now_ns(CLOCK_THREAD_CPUTIME_ID) < end)
		;
}

static void *burn_thread(void *arg)
{
	burn((long)arg * MSEC);
	return NULL;
}

static void child_do(char what, int nr, int from, int to)
{
	static struct ends ends;
	static struct execed s;
	static struct exiter e;
	static pthread_t thread;

	switch (what) {
	case 'x':	/* exit */
		_exit(nr);
	case 'k':	/* be killed */
		kill(getpid(), nr);
		idle();
		return;
	case 'b':	/* burn that many milliseconds of CPU time */
		burn(nr * MSEC);
		return;
	case 'B':	/* the same in a thread */
		pthread_create(&thread, NULL, burn_thread, (void *)(long)nr);
		pthread_join(thread, NULL);
		return;
	case 't':	/* start a thread */
		pthread_create(&thread, NULL, idle_thread, NULL);
		return;
	case 'l':	/* the leader ends alone, a thread of it later */
		e.code = nr;
		e.leader = getpid();
		pthread_create(&thread, NULL, exit_thread, &e);
		syscall(SYS_exit, nr + 1);
		return;
	case 'L':	/* the leader ends alone */
		pthread_create(&thread, NULL, idle_thread, NULL);
		syscall(SYS_exit, nr);
		return;
	case 'e':	/* execute, that many times */
		s = (struct execed){ from, to, nr - 1 };
		exec_again(&s, sizeof(s));
		return;
	case 'T':	/* have another thread do the rest */
		ends = (struct ends){ from, to };
		pthread_create(&thread, NULL, main_thread, &ends);
		if (write(to, "", 1) != 1)
			_exit(123);
		idle();
		return;
	case 'f':	/* fail to execute */
		execl("/proc/self/fd/-1", "kevent", NULL);
		return;
	}
	_exit(120);
}

static void child_main(int from, int to)
{
	char cmd[2];

	while (read(from, cmd, 2) == 2) {
		child_do(cmd[0], (unsigned char)cmd[1], from, to);
		if (write(to, "", 1) != 1)
			break;
	}
	_exit(121);
}

static void __attribute__((constructor)) execed(void)
{
	struct execed s;

	if (getenv(WATCHER) || !exec_state(&s, sizeof(s)))
		return;
	if (s.then) {
		s.then--;
		exec_again(&s, sizeof(s));
	}
	if (write(s.to, "", 1) != 1)
		_exit(122);
	child_main(s.from, s.to);
}

static int child_start(struct child *c)
{
	int to[2], from[2];

	if (pipe(to) || pipe(from))
		return -errno;
	c->pid = fork();
	if (c->pid < 0)
		return -errno;
	if (!c->pid) {
		close(to[1]);
		close(from[0]);
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		child_main(to[0], from[1]);
	}
	close(to[0]);
	close(from[1]);
	c->to = to[1];
	c->from = from[0];
	c->pidfd = pidfd_of(c->pid, 0);
	return c->pidfd < 0 ? -errno : 0;
}

static void child_report(struct child *c, char what, unsigned char nr)
{
	char cmd[2] = { what, nr };

	if (write(c->to, cmd, 2) != 2)
		abort();
}

/* Waits until it has done that. */
static bool child_did(struct child *c)
{
	char byte;

	return read(c->from, &byte, 1) == 1;
}

/* Waits until it is a zombie. */
static void child_ended(struct child *c)
{
	siginfo_t info;

	waitid(P_PID, c->pid, &info, WEXITED | WNOWAIT);
}

static void child_done(struct child *c)
{
	if (c->pidfd >= 0)
		close(c->pidfd);
	close(c->to);
	close(c->from);
}

FIXTURE(process)
{
	struct queue q;
	struct child c;
};

FIXTURE_VARIANT(process)
{
	unsigned int entries;
	bool copy;
};

FIXTURE_VARIANT_ADD(process, ring)
{
	.entries = 8,
};

FIXTURE_VARIANT_ADD(process, copied)
{
	.entries = 8,
	.copy = true,
};

FIXTURE_VARIANT_ADD(process, no_ring)
{
	.copy = true,
};

FIXTURE_SETUP(process)
{
	ASSERT_LE(0, queue_open_shared(&self->q, variant->entries));
	ASSERT_EQ(0, child_start(&self->c));
}

FIXTURE_TEARDOWN(process)
{
	queue_close(&self->q);
	kill(self->c.pid, SIGKILL);
	child_done(&self->c);
}

#define Q	(&self->q)
#define C	(&self->c)
#define COPY	(variant->copy)

static int add(struct queue *q, struct kevent_watch *w, int pidfd,
	       __u32 events, __u32 flags, __u64 user_data)
{
	*w = process_watch(pidfd, events, flags, user_data);
	return add_one(q, w);
}

/* The next event, which may have to be waited for, has these bits. */
#define EXPECT_REPORTED(value, bits, flags, status)			\
({									\
	struct kevent_event __ev = {};					\
									\
	EXPECT_EQ(1, take_next(Q, COPY, &__ev));			\
	EXPECT_EQ((__u64)(value), __ev.user_data);			\
	EXPECT_EQ((__u32)(bits), __ev.events);				\
	EXPECT_EQ(KEVENT_SOURCE_PROCESS | (__u32)(flags),		\
		  __ev.info & 0xffff);					\
	EXPECT_EQ((status), __ev.data);					\
	__ev;								\
})

/* Nothing comes, and nothing is on its way. */
#define EXPECT_SILENCE()						\
do {									\
	usleep(100 * 1000);						\
	EXPECT_EMPTY(Q, COPY);						\
} while (0)

/*
 * Takes events until these bits have been there, each in one event only; false
 * if one is reported twice or with another status.
 */
static bool take_bits(struct queue *q, bool copy, __u32 bits, int status)
{
	struct kevent_event ev;
	__u32 seen = 0;

	while (seen != bits) {
		if (take_next(q, copy, &ev) != 1)
			return false;
		if (ev.events & seen || ev.events & ~bits ||
		    (ev.events & (EXIT | REAPED) && ev.data != status))
			return false;
		seen |= ev.events;
	}
	return true;
}

TEST_F(process, exit_and_reaped)
{
	struct kevent_event exit, reaped;
	struct kevent_watch w;
	struct rusage usage;
	__u64 used;
	int status;

	ASSERT_EQ(1, add(Q, &w, C->pidfd, ALL, EDGE, 0x123456789abcdef));
	EXPECT_SILENCE();
	child_report(C, 'b', 30);
	child_report(C, 'B', 40);
	child_report(C, 'x', 7);
	exit = EXPECT_REPORTED(0x123456789abcdef, EXIT, 0, STATUS(7));
	EXPECT_SILENCE();
	ASSERT_EQ(C->pid, wait4(C->pid, &status, 0, &usage));
	EXPECT_EQ(STATUS(7), status);
	reaped = EXPECT_REPORTED(0x123456789abcdef, REAPED, 0, STATUS(7));
	EXPECT_EQ(exit.extra, reaped.extra);
	used = (usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1000 * MSEC +
	       (usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) * USEC;
	/* Of both threads; what it uses after that is not much. */
	EXPECT_LE(70 * MSEC, exit.extra);
	EXPECT_LE(exit.extra, used + MSEC);
	EXPECT_SILENCE();
	EXPECT_FALSE(watch_gone(Q, &w));
	EXPECT_EQ(1, remove_one(Q, w.handle));
}

TEST_F(process, killed)
{
	struct kevent_watch w;

	ASSERT_EQ(1, add(Q, &w, C->pidfd, EXIT, EDGE, 1));
	ASSERT_EQ(0, kill(C->pid, SIGKILL));
	EXPECT_REPORTED(1, EXIT, 0, SIGKILL);
}

TEST_F(process, dies_of_a_signal)
{
	struct kevent_watch w;
	int status;

	ASSERT_EQ(1, add(Q, &w, C->pidfd, ALL, EDGE, 1));
	child_report(C, 'k', SIGSEGV);
	child_ended(C);
	ASSERT_EQ(C->pid, waitpid(C->pid, &status, 0));
	EXPECT_EQ(SIGSEGV, WTERMSIG(status));
	/* It may have dumped core, which is in the status. */
	EXPECT_TRUE(take_bits(Q, COPY, EXIT | REAPED, status));
}

TEST_F(process, only_what_is_asked_for)
{
	static const __u32 events[] = { EXIT, REAPED, EXEC, 0 };
	struct kevent_watch w[4];
	struct kevent_event ev;
	unsigned int seen = 0;
	int i;

	for (i = 0; i < 4; i++)
		ASSERT_EQ(1, add(Q, &w[i], C->pidfd, events[i], EDGE, i));
	child_report(C, 'e', 1);
	ASSERT_TRUE(child_did(C));
	child_report(C, 'x', 1);
	child_ended(C);
	EXPECT_EQ(1, child_status(C->pid));
	for (i = 0; i < 3; i++) {
		ASSERT_EQ(1, take_next(Q, COPY, &ev));
		ASSERT_GT(3, ev.user_data);
		EXPECT_EQ(events[ev.user_data], ev.events);
		seen |= 1 << ev.user_data;
	}
	EXPECT_EQ(7, seen);
	EXPECT_SILENCE();
}

/* Registered when it has happened already. */
TEST_F(process, exited_before)
{
	struct kevent_watch w;
	struct kevent_event ev;

	child_report(C, 'b', 10);
	child_report(C, 'x', 3);
	child_ended(C);
	ASSERT_EQ(1, add(Q, &w, C->pidfd, ALL, EDGE, 1));
	ev = EXPECT_REPORTED(1, EXIT, 0, STATUS(3));
	EXPECT_LE(10 * MSEC, ev.extra);
	EXPECT_SILENCE();
	EXPECT_EQ(3, child_status(C->pid));
	EXPECT_REPORTED(1, REAPED, 0, STATUS(3));
}

TEST_F(process, reaped_before)
{
	struct kevent_watch w;
	struct kevent_event ev;

	child_report(C, 'x', 3);
	EXPECT_EQ(3, child_status(C->pid));
	ASSERT_EQ(1, add(Q, &w, C->pidfd, ALL, EDGE, 1));
	ev = EXPECT_REPORTED(1, EXIT | REAPED, 0, STATUS(3));
	/* It is not known any more. */
	EXPECT_EQ(0, ev.extra);
	EXPECT_SILENCE();
	ASSERT_EQ(1, add(Q, &w, C->pidfd, EXIT, EDGE, 2));
	EXPECT_REPORTED(2, EXIT, 0, STATUS(3));
	ASSERT_EQ(1, add(Q, &w, C->pidfd, REAPED, EDGE, 3));
	EXPECT_REPORTED(3, REAPED, 0, STATUS(3));
}

TEST_F(process, reaps_itself)
{
	struct kevent_watch w;

	ASSERT_NE(SIG_ERR, signal(SIGCHLD, SIG_IGN));
	ASSERT_EQ(1, add(Q, &w, C->pidfd, ALL, EDGE, 1));
	child_report(C, 'x', 9);
	EXPECT_TRUE(take_bits(Q, COPY, EXIT | REAPED, STATUS(9)));
	EXPECT_SILENCE();
	signal(SIGCHLD, SIG_DFL);
	EXPECT_EQ(-1000, child_status(C->pid));
}

TEST_F(process, exec)
{
	struct kevent_watch w;
	struct kevent_event ev;

	ASSERT_EQ(1, add(Q, &w, C->pidfd, ALL, EDGE, 1));
	child_report(C, 'f', 0);
	ASSERT_TRUE(child_did(C));
	EXPECT_SILENCE();
	child_report(C, 'e', 1);
	ev = EXPECT_REPORTED(1, EXEC, 0, 0);
	EXPECT_EQ(0, ev.extra);
	ASSERT_TRUE(child_did(C));
	EXPECT_SILENCE();
	/* Several merge, if they are unconsumed. */
	child_report(C, 'e', 3);
	ASSERT_TRUE(child_did(C));
	ev = EXPECT_REPORTED(1, EXEC, 0, 0);
	if (variant->entries)
		EXPECT_EQ(2, KEVENT_INFO_MERGED(ev.info));
	child_report(C, 'x', 2);
	EXPECT_REPORTED(1, EXIT, 0, STATUS(2));
}

/* How it has ended is right, though exec was posted before. */
TEST_F(process, exit_after_unconsumed_exec)
{
	struct kevent_watch w;

	ASSERT_EQ(1, add(Q, &w, C->pidfd, EXEC | EXIT, EDGE, 1));
	child_report(C, 'e', 3);
	ASSERT_TRUE(child_did(C));
	child_report(C, 'x', 2);
	child_ended(C);
	EXPECT_REPORTED(1, EXEC | EXIT, 0, STATUS(2));
	EXPECT_SILENCE();
}

/* Others who poll the pidfd have nothing to do with exec. */
TEST_F(process, exec_wakes_no_other_poller)
{
	struct pollfd pfd = { .fd = C->pidfd, .events = 0x3fff };
	struct kevent_watch w, p;

	ASSERT_EQ(1, add(Q, &w, C->pidfd, EXEC, EDGE, 1));
	p = watch_poll(C->pidfd, KEVENT_POLL_IN | KEVENT_POLL_MSG, EDGE, 2);
	ASSERT_EQ(1, add_one(Q, &p));
	child_report(C, 'e', 1);
	ASSERT_TRUE(child_did(C));
	EXPECT_REPORTED(1, EXEC, 0, 0);
	EXPECT_SILENCE();
	EXPECT_EQ(0, poll(&pfd, 1, 100));
}

/* The process goes on with the id, and the thread's own id is gone. */
TEST_F(process, exec_by_another_thread)
{
	struct kevent_watch w;

	ASSERT_EQ(1, add(Q, &w, C->pidfd, ALL, EDGE, 1));
	child_report(C, 'T', 0);
	ASSERT_TRUE(child_did(C));
	child_report(C, 'e', 1);
	ASSERT_TRUE(child_did(C));
	EXPECT_REPORTED(1, EXEC, 0, 0);
	EXPECT_SILENCE();
	child_report(C, 'x', 4);
	EXPECT_REPORTED(1, EXIT, 0, STATUS(4));
	EXPECT_SILENCE();
	EXPECT_EQ(4, child_status(C->pid));
	EXPECT_REPORTED(1, REAPED, 0, STATUS(4));
}

/* The id of a thread of a process that is not its leader. */
static pid_t other_thread(pid_t pid)
{
	char path[64], name[280];
	pid_t tid;

	for (tid = pid + 1; tid < pid + 1000; tid++) {
		snprintf(path, sizeof(path), "/proc/%d/task", pid);
		snprintf(name, sizeof(name), "%s/%d", path, tid);
		if (!access(name, F_OK))
			return tid;
	}
	return -1;
}

/* EXEC of the process, the end of its other thread. */
#define EXPECT_EXEC_AND_END()						\
do {									\
	struct kevent_event __ev;					\
	__u32 __all = 0;						\
									\
	while (__all != ALL) {						\
		ASSERT_EQ(1, take_next(Q, COPY, &__ev));		\
		EXPECT_EQ(0, __all & __ev.events);			\
		EXPECT_EQ(__ev.events & EXEC ? 1 : 2, __ev.user_data);	\
		EXPECT_EQ(0, __ev.data);				\
		__all |= __ev.events;					\
	}								\
} while (0)

TEST_F(process, exec_ends_other_threads)
{
	struct kevent_watch w[2];
	int tidfd;

	child_report(C, 't', 0);
	ASSERT_TRUE(child_did(C));
	tidfd = pidfd_of(other_thread(C->pid), PIDFD_THREAD);
	if (tidfd < 0)
		SKIP(return, "no pidfds of threads");
	ASSERT_EQ(1, add(Q, &w[0], C->pidfd, ALL, EDGE, 1));
	ASSERT_EQ(1, add(Q, &w[1], tidfd, ALL, EDGE, 2));
	child_report(C, 'e', 1);
	ASSERT_TRUE(child_did(C));
	EXPECT_EXEC_AND_END();
	EXPECT_SILENCE();
	close(tidfd);
}

/* The thread that executes takes over the id of the leader; its own ends. */
TEST_F(process, thread_that_executes)
{
	struct kevent_watch w[2];
	int tidfd;

	child_report(C, 'T', 0);
	ASSERT_TRUE(child_did(C));
	tidfd = pidfd_of(other_thread(C->pid), PIDFD_THREAD);
	if (tidfd < 0)
		SKIP(return, "no pidfds of threads");
	ASSERT_EQ(1, add(Q, &w[0], C->pidfd, ALL, EDGE, 1));
	ASSERT_EQ(1, add(Q, &w[1], tidfd, ALL, EDGE, 2));
	child_report(C, 'e', 1);
	ASSERT_TRUE(child_did(C));
	EXPECT_EXEC_AND_END();
	EXPECT_SILENCE();
	child_report(C, 'x', 4);
	EXPECT_REPORTED(1, EXIT, 0, STATUS(4));
	EXPECT_SILENCE();
	close(tidfd);
}

TEST_F(process, leader_exits_first)
{
	struct kevent_watch w;
	int status;

	ASSERT_EQ(1, add(Q, &w, C->pidfd, ALL, EDGE, 1));
	child_report(C, 'L', 5);
	while (task_state(C->pid) != 'Z')
		usleep(200);
	EXPECT_SILENCE();
	/* Not at a second watch either. */
	ASSERT_EQ(1, add(Q, &w, C->pidfd, ALL, EDGE, 2));
	EXPECT_SILENCE();
	ASSERT_EQ(1, remove_one(Q, w.handle));
	ASSERT_EQ(0, kill(C->pid, SIGKILL));
	EXPECT_REPORTED(1, EXIT, 0, SIGKILL);
	ASSERT_EQ(C->pid, waitpid(C->pid, &status, 0));
	EXPECT_EQ(SIGKILL, status);
	EXPECT_REPORTED(1, REAPED, 0, SIGKILL);
}

TEST_F(process, last_thread_exits)
{
	struct kevent_watch w;
	int status;

	ASSERT_EQ(1, add(Q, &w, C->pidfd, ALL, EDGE, 1));
	child_report(C, 'l', 5);
	EXPECT_REPORTED(1, EXIT, 0, STATUS(5));
	ASSERT_EQ(C->pid, waitpid(C->pid, &status, 0));
	EXPECT_EQ(STATUS(5), status);
	EXPECT_REPORTED(1, REAPED, 0, STATUS(5));
}

struct thread {
	pthread_t thread;
	pid_t tid;
	int go[2];
};

static void *thread_main(void *arg)
{
	struct thread *t = arg;
	char byte;

	__atomic_store_n(&t->tid, syscall(SYS_gettid), __ATOMIC_RELEASE);
	if (read(t->go[0], &byte, 1) != 1)
		abort();
	burn(5 * MSEC);
	return NULL;
}

TEST_F(process, thread)
{
	struct kevent_watch w;
	struct kevent_event ev;
	struct thread t = {};
	__u32 seen = 0;
	int tidfd;

	ASSERT_EQ(0, pipe(t.go));
	ASSERT_EQ(0, pthread_create(&t.thread, NULL, thread_main, &t));
	while (!__atomic_load_n(&t.tid, __ATOMIC_ACQUIRE))
		sched_yield();
	EXPECT_GT(0, pidfd_of(t.tid, 0));
	tidfd = pidfd_of(t.tid, PIDFD_THREAD);
	if (tidfd < 0)
		SKIP(return, "no pidfds of threads");
	ASSERT_EQ(1, add(Q, &w, tidfd, ALL, EDGE, 1));
	EXPECT_SILENCE();
	ASSERT_EQ(1, write(t.go[1], "", 1));
	while (seen != (EXIT | REAPED)) {
		ASSERT_EQ(1, take_next(Q, COPY, &ev));
		EXPECT_EQ(0, seen & ev.events);
		EXPECT_EQ(0, ev.data);
		EXPECT_LE(5 * MSEC, ev.extra);
		seen |= ev.events;
	}
	EXPECT_SILENCE();
	ASSERT_EQ(1, add(Q, &w, tidfd, ALL, EDGE, 2));
	EXPECT_REPORTED(2, EXIT | REAPED, 0, 0);
	pthread_join(t.thread, NULL);
	close(t.go[0]);
	close(t.go[1]);
	close(tidfd);
}

/*
 * A process that traces the child, and does what is said.
 */
static pid_t start_tracer(struct child *c, struct gate *ready, struct gate *go)
{
	pid_t pid = fork();
	int status;

	if (pid)
		return pid;
	if (ptrace(PTRACE_SEIZE, c->pid, 0, 0))
		_exit(1);
	gate_open(ready);
	if (!gate_pass(go))
		_exit(2);
	if (waitpid(c->pid, &status, __WALL) != c->pid || !WIFEXITED(status))
		_exit(3);
	_exit(WEXITSTATUS(status));
}

TEST_F(process, traced)
{
	struct gate ready, go;
	struct kevent_watch w;
	pid_t tracer;

	ASSERT_EQ(0, gate_init(&ready));
	ASSERT_EQ(0, gate_init(&go));
	tracer = start_tracer(C, &ready, &go);
	ASSERT_LT(0, tracer);
	close(ready.fds[1]);
	if (!gate_pass(&ready))
		SKIP(return, "cannot trace");
	ASSERT_EQ(1, add(Q, &w, C->pidfd, ALL, EDGE, 1));
	child_report(C, 'x', 6);
	/* The tracer can wait for it, its parent not yet. */
	EXPECT_REPORTED(1, EXIT, 0, STATUS(6));
	EXPECT_EQ(0, waitpid(C->pid, NULL, WNOHANG));
	gate_open(&go);
	EXPECT_EQ(6, child_status(tracer));
	EXPECT_SILENCE();
	EXPECT_EQ(6, child_status(C->pid));
	EXPECT_REPORTED(1, REAPED, 0, STATUS(6));
	EXPECT_SILENCE();
}

/* The tracer of a leader that ends alone is reported, but that is not the end. */
TEST_F(process, traced_leader_exits_first)
{
	struct gate ready, go;
	struct kevent_watch w;
	pid_t tracer;

	ASSERT_EQ(0, gate_init(&ready));
	ASSERT_EQ(0, gate_init(&go));
	tracer = start_tracer(C, &ready, &go);
	ASSERT_LT(0, tracer);
	close(ready.fds[1]);
	if (!gate_pass(&ready))
		SKIP(return, "cannot trace");
	ASSERT_EQ(1, add(Q, &w, C->pidfd, ALL, EDGE, 1));
	child_report(C, 'L', 5);
	while (task_state(C->pid) != 'Z')
		usleep(200);
	EXPECT_SILENCE();
	ASSERT_EQ(0, kill(C->pid, SIGKILL));
	EXPECT_REPORTED(1, EXIT, 0, SIGKILL);
	kill(tracer, SIGKILL);
	EXPECT_EQ(-SIGKILL, child_status(tracer));
	EXPECT_EQ(-SIGKILL, child_status(C->pid));
	EXPECT_REPORTED(1, REAPED, 0, SIGKILL);
	EXPECT_SILENCE();
}

/*
 * Modes.
 */
TEST_F(process, level)
{
	struct kevent_event ev;
	struct kevent_watch w;
	int i;

	ASSERT_EQ(1, add(Q, &w, C->pidfd, ALL, 0, 1));
	child_report(C, 'e', 1);
	ASSERT_TRUE(child_did(C));
	EXPECT_REPORTED(1, EXEC, 0, 0);
	EXPECT_SILENCE();
	child_report(C, 'x', 1);
	/* These hold from then on. */
	for (i = 0; i < 3; i++)
		EXPECT_REPORTED(1, EXIT, 0, STATUS(1));
	EXPECT_EQ(1, child_status(C->pid));
	do {
		ASSERT_EQ(1, take_next(Q, COPY, &ev));
	} while (!(ev.events & REAPED));
	for (i = 0; i < 3; i++)
		EXPECT_REPORTED(1, EXIT | REAPED, 0, STATUS(1));
	EXPECT_EQ(1, remove_one(Q, w.handle));
	EXPECT_EMPTY(Q, COPY);
}

TEST_F(process, oneshot)
{
	struct kevent_watch w;

	ASSERT_EQ(1, add(Q, &w, C->pidfd, ALL, ONESHOT, 1));
	child_report(C, 'x', 1);
	EXPECT_REPORTED(1, EXIT, 0, STATUS(1));
	EXPECT_EQ(1, child_status(C->pid));
	EXPECT_SILENCE();
	EXPECT_TRUE(watch_gone(Q, &w));
	EXPECT_EQ(0, nr_watches(self->q.fd));
}

TEST_F(process, dispatch)
{
	struct kevent_watch w;

	ASSERT_EQ(1, add(Q, &w, C->pidfd, ALL, DISPATCH, 1));
	child_report(C, 'e', 1);
	EXPECT_REPORTED(1, EXEC, 0, 0);
	ASSERT_TRUE(child_did(C));
	/* The watch is disabled: an exec is no state. */
	child_report(C, 'e', 1);
	ASSERT_TRUE(child_did(C));
	ASSERT_EQ(1, modify_one(Q, &w, KEVENT_MODIFY_ENABLE));
	EXPECT_SILENCE();
	child_report(C, 'x', 1);
	EXPECT_REPORTED(1, EXIT, 0, STATUS(1));
	EXPECT_EQ(1, child_status(C->pid));
	EXPECT_SILENCE();
	ASSERT_EQ(1, modify_one(Q, &w, KEVENT_MODIFY_ENABLE));
	EXPECT_REPORTED(1, EXIT | REAPED, 0, STATUS(1));
	EXPECT_SILENCE();
}

TEST_F(process, disabled)
{
	struct kevent_watch w[2];

	ASSERT_EQ(1, add(Q, &w[0], C->pidfd, ALL, EDGE | DISABLED, 1));
	child_report(C, 'x', 1);
	child_ended(C);
	ASSERT_EQ(1, add(Q, &w[1], C->pidfd, ALL, EDGE | DISABLED, 2));
	EXPECT_SILENCE();
	ASSERT_EQ(1, modify_one(Q, &w[0], KEVENT_MODIFY_ENABLE));
	EXPECT_REPORTED(1, EXIT, 0, STATUS(1));
	ASSERT_EQ(1, modify_one(Q, &w[0], KEVENT_MODIFY_DISABLE));
	EXPECT_EQ(1, child_status(C->pid));
	EXPECT_SILENCE();
	ASSERT_EQ(1, modify_one(Q, &w[1], KEVENT_MODIFY_ENABLE));
	EXPECT_REPORTED(2, EXIT | REAPED, 0, STATUS(1));
	EXPECT_SILENCE();
}

/* That it has executed something is no state, and is not lost. */
TEST_F(process, unconsumed_while_it_is_modified)
{
	struct kevent_watch w;

	ASSERT_EQ(1, add(Q, &w, C->pidfd, ALL, EDGE, 1));
	child_report(C, 'e', 1);
	ASSERT_TRUE(child_did(C));
	w.user_data = 2;
	ASSERT_EQ(1, modify_one(Q, &w, KEVENT_MODIFY_USER_DATA));
	ASSERT_EQ(1, modify_one(Q, &w, KEVENT_MODIFY_DISABLE));
	EXPECT_EMPTY(Q, COPY);
	ASSERT_EQ(1, modify_one(Q, &w, KEVENT_MODIFY_ENABLE));
	EXPECT_REPORTED(2, EXEC, 0, 0);
	EXPECT_SILENCE();
	child_report(C, 'e', 1);
	ASSERT_TRUE(child_did(C));
	child_report(C, 'x', 1);
	child_ended(C);
	w.events = EXIT;
	w.user_data = 3;
	ASSERT_EQ(1, modify_one(Q, &w, KEVENT_MODIFY_EVENTS |
				KEVENT_MODIFY_USER_DATA));
	EXPECT_REPORTED(3, EXIT, 0, STATUS(1));
	EXPECT_SILENCE();
}

TEST_F(process, interest_changes)
{
	struct kevent_watch w;

	ASSERT_EQ(1, add(Q, &w, C->pidfd, EXEC, EDGE, 1));
	child_report(C, 'x', 1);
	child_ended(C);
	EXPECT_SILENCE();
	w.events = EXIT;
	ASSERT_EQ(1, modify_one(Q, &w, KEVENT_MODIFY_EVENTS));
	EXPECT_REPORTED(1, EXIT, 0, STATUS(1));
	EXPECT_EQ(1, child_status(C->pid));
	EXPECT_SILENCE();
	w.events = REAPED;
	w.user_data = 2;
	ASSERT_EQ(1, modify_one(Q, &w, KEVENT_MODIFY_EVENTS |
				KEVENT_MODIFY_USER_DATA));
	EXPECT_REPORTED(2, REAPED, 0, STATUS(1));
	w.events = 0x8;
	EXPECT_EQ(-EINVAL, modify_one(Q, &w, KEVENT_MODIFY_EVENTS));
	w.flags = KEVENT_WATCH_EXCLUSIVE;
	EXPECT_EQ(-EINVAL, modify_one(Q, &w, KEVENT_MODIFY_MODE));
	w.flags = 0;
	w.arg[2] = 1;
	EXPECT_EQ(-EINVAL, modify_one(Q, &w, KEVENT_MODIFY_ARG));
	w.arg[2] = 0;
	EXPECT_EQ(1, modify_one(Q, &w, KEVENT_MODIFY_ARG));
	EXPECT_REPORTED(2, REAPED, 0, STATUS(1));
	EXPECT_SILENCE();
}

/*
 * The end of the watch.
 */
TEST_F(process, vanishes)
{
	struct kevent_watch w;

	ASSERT_EQ(1, add(Q, &w, C->pidfd, ALL, VANISHED | EDGE, 1));
	child_report(C, 'x', 1);
	EXPECT_REPORTED(1, EXIT, 0, STATUS(1));
	EXPECT_SILENCE();
	EXPECT_FALSE(watch_gone(Q, &w));
	EXPECT_EQ(1, child_status(C->pid));
	EXPECT_REPORTED(1, REAPED, KEVENT_INFO_VANISHED, STATUS(1));
	EXPECT_SILENCE();
	EXPECT_TRUE(watch_gone(Q, &w));
	EXPECT_EQ(0, nr_watches(self->q.fd));
	EXPECT_EQ(0, close(C->pidfd));
	C->pidfd = -1;
	EXPECT_SILENCE();
}

/* A thread that sleeps is reported, and so is one that polls. */
TEST_F(process, vanishes_while_a_thread_sleeps)
{
	struct kevent_watch w[2];
	struct pollfd pfd = { .fd = self->q.fd, .events = POLLIN };
	struct waiter s;

	ASSERT_EQ(1, add(Q, &w[0], C->pidfd, EXEC, VANISHED, 1));
	child_report(C, 'x', 1);
	child_ended(C);
	ASSERT_EQ(0, waiter_start(&s, self->q.fd, variant->entries ?
				  ring_cursor(Q) : 0, 1));
	ASSERT_TRUE(sleeper_asleep(&s.sleeper));
	EXPECT_EQ(1, child_status(C->pid));
	EXPECT_EQ(1, sleeper_join(&s.sleeper));
	EXPECT_REPORTED(1, REAPED, KEVENT_INFO_VANISHED, STATUS(1));
	ASSERT_EQ(1, add(Q, &w[1], C->pidfd, REAPED, VANISHED, 2));
	EXPECT_EQ(1, poll(&pfd, 1, -1));
	EXPECT_REPORTED(2, REAPED, KEVENT_INFO_VANISHED, STATUS(1));
	EXPECT_EQ(0, nr_watches(self->q.fd));
}

/* Even if it is disabled. */
TEST_F(process, vanishes_in_each_mode)
{
	static const __u32 modes[] = {
		0, EDGE, DISPATCH, DISABLED, ONESHOT, DISABLED | ONESHOT,
	};
	struct kevent_watch w[ARRAY_SIZE(modes)];
	struct kevent_event ev;
	unsigned int i, vanished = 0;

	for (i = 0; i < ARRAY_SIZE(modes); i++)
		ASSERT_EQ(1, add(Q, &w[i], C->pidfd, EXIT,
				 VANISHED | modes[i], i));
	child_report(C, 'x', 1);
	child_ended(C);
	for (i = 0; i < 4; i++) {
		ASSERT_EQ(1, take_now(Q, COPY, &ev));
		EXPECT_EQ(EXIT, ev.events);
		EXPECT_EQ(KEVENT_SOURCE_PROCESS, ev.info & 0xffff);
		/* Not the level again. */
		if (ev.user_data == 0)
			ASSERT_EQ(1, modify_one(Q, &w[0],
						KEVENT_MODIFY_DISABLE));
	}
	EXPECT_SILENCE();
	EXPECT_EQ(1, child_status(C->pid));
	/* All but the ONESHOT that was reported. */
	for (i = 0; i < 5; i++) {
		ASSERT_EQ(1, take_next(Q, COPY, &ev));
		EXPECT_EQ(REAPED, ev.events);
		EXPECT_EQ(KEVENT_SOURCE_PROCESS | KEVENT_INFO_VANISHED,
			  ev.info & 0xffff);
		EXPECT_EQ(STATUS(1), ev.data);
		vanished |= 1 << ev.user_data;
	}
	EXPECT_EQ(0x2f, vanished);
	EXPECT_SILENCE();
	EXPECT_EQ(0, nr_watches(self->q.fd));
}

TEST_F(process, vanished_before)
{
	struct kevent_watch w;

	child_report(C, 'x', 1);
	EXPECT_EQ(1, child_status(C->pid));
	ASSERT_EQ(1, add(Q, &w, C->pidfd, ALL, VANISHED | EDGE, 1));
	EXPECT_TRUE(take_bits(Q, COPY, EXIT | REAPED, STATUS(1)));
	EXPECT_SILENCE();
	EXPECT_TRUE(watch_gone(Q, &w));
	/* Wants to know later. */
	ASSERT_EQ(1, add(Q, &w, C->pidfd, EXIT, EDGE, 2));
	EXPECT_REPORTED(2, EXIT, 0, STATUS(1));
	w.flags = EDGE | VANISHED;
	w.events = 0;
	ASSERT_EQ(1, modify_one(Q, &w, KEVENT_MODIFY_MODE |
				KEVENT_MODIFY_EVENTS));
	EXPECT_REPORTED(2, REAPED, KEVENT_INFO_VANISHED, STATUS(1));
	EXPECT_SILENCE();
	EXPECT_TRUE(watch_gone(Q, &w));
}

TEST_F(process, silent_when_it_vanishes)
{
	struct kevent_watch w;

	ASSERT_EQ(1, add(Q, &w, C->pidfd, EXIT, EDGE, 1));
	child_report(C, 'x', 1);
	EXPECT_REPORTED(1, EXIT, 0, STATUS(1));
	EXPECT_EQ(1, child_status(C->pid));
	EXPECT_SILENCE();
	EXPECT_FALSE(watch_gone(Q, &w));
	EXPECT_EQ(0, close(C->pidfd));
	C->pidfd = -1;
	EXPECT_SILENCE();
	EXPECT_TRUE(watch_gone(Q, &w));
}

TEST_F(process, pidfd_is_closed)
{
	struct kevent_watch w[3];
	int fd = dup(C->pidfd), second = dup(C->pidfd);

	ASSERT_EQ(1, add(Q, &w[0], C->pidfd, ALL, EDGE, 1));
	ASSERT_EQ(1, add(Q, &w[1], fd, ALL, EDGE | VANISHED, 2));
	ASSERT_EQ(1, add(Q, &w[2], second, ALL, EDGE, 3));
	EXPECT_EQ(0, close(C->pidfd));
	C->pidfd = -1;
	EXPECT_TRUE(watch_gone(Q, &w[0]));
	EXPECT_SILENCE();
	EXPECT_EQ(0, close(fd));
	/* It has not been reaped. */
	EXPECT_REPORTED(2, 0, KEVENT_INFO_VANISHED, 0);
	EXPECT_TRUE(watch_gone(Q, &w[1]));
	child_report(C, 'x', 1);
	child_ended(C);
	EXPECT_FALSE(watch_gone(Q, &w[2]));
	/* Its event has not been taken, and goes too. */
	EXPECT_LE(1, queue_refill(Q));
	EXPECT_EQ(0, close(second));
	EXPECT_EMPTY(Q, COPY);
	EXPECT_EQ(0, nr_watches(self->q.fd));
}

/*
 * Errors.
 */
TEST_F(process, errors)
{
	static const __u32 flags[] = {
		KEVENT_WATCH_EXCLUSIVE, KEVENT_WATCH_ABSTIME,
		KEVENT_WATCH_TAKE, KEVENT_WATCH_EXPECT, 1U << 9, 1U << 31,
		ONESHOT | DISPATCH,
	};
	struct kevent_watch w;
	unsigned int i;
	int fd;

	for (i = 0; i < ARRAY_SIZE(flags); i++)
		EXPECT_EQ(-EINVAL, add(Q, &w, C->pidfd, ALL, flags[i], 1));
	for (i = 3; i < 32; i++)
		EXPECT_EQ(-EINVAL, add(Q, &w, C->pidfd, EXIT | 1U << i, 0, 1));
	for (i = 0; i < 4; i++) {
		w = process_watch(C->pidfd, ALL, 0, 1);
		w.arg[i] = 1;
		EXPECT_EQ(-EINVAL, add_one(Q, &w));
	}
	EXPECT_EQ(-EBADF, add(Q, &w, -1, ALL, 0, 1));
	w = process_watch(0, ALL, 0, 1);
	w.ident = 1ULL << 32 | C->pidfd;
	EXPECT_EQ(-EBADF, add_one(Q, &w));
	fd = dup(C->pidfd);
	close(fd);
	EXPECT_EQ(-EBADF, add(Q, &w, fd, ALL, 0, 1));
	fd = open("/proc/self", O_RDONLY | O_DIRECTORY);
	ASSERT_LE(0, fd);
	EXPECT_EQ(-EINVAL, add(Q, &w, fd, ALL, 0, 1));
	close(fd);
	fd = new_file();
	EXPECT_EQ(-EINVAL, add(Q, &w, fd, ALL, 0, 1));
	close(fd);
	EXPECT_EQ(-EINVAL, add(Q, &w, self->q.fd, ALL, 0, 1));
	EXPECT_EQ(0, nr_watches(self->q.fd));
}

TEST(sealed)
{
	struct queue q = { .fd = sealed_queue(1 << KEVENT_SOURCE_POLL) };
	struct kevent_watch w;
	int fd = pidfd_of(getpid(), 0);

	ASSERT_LE(0, q.fd);
	EXPECT_EQ(-EPERM, add(&q, &w, fd, ALL, 0, 1));
	close(q.fd);
	q.fd = sealed_queue(1 << KEVENT_SOURCE_PROCESS);
	ASSERT_LE(0, q.fd);
	EXPECT_EQ(1, add(&q, &w, fd, ALL, 0, 1));
	close(q.fd);
	close(fd);
}

/* The child of another process, which has more privileges. */
TEST_F(process, of_another_user)
{
	struct kevent_event ev;
	struct kevent_watch w;
	pid_t pid;

	if (geteuid())
		SKIP(return, "needs to be root");
	child_report(C, 'b', 5);
	ASSERT_TRUE(child_did(C));
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		if (setresuid(65534, 65534, 65534))
			_exit(1);
		if (add(Q, &w, C->pidfd, ALL, EDGE, 1) != -EACCES)
			_exit(2);
		if (add(Q, &w, C->pidfd, EXIT | REAPED, EDGE, 1) != 1)
			_exit(3);
		w.events = ALL;
		if (modify_one(Q, &w, KEVENT_MODIFY_EVENTS) != -EACCES)
			_exit(4);
		child_report(C, 'e', 1);
		if (!child_did(C))
			_exit(5);
		child_report(C, 'x', 8);
		if (take_next(Q, true, &ev) != 1 || ev.events != EXIT)
			_exit(6);
		/* PIDFD_GET_INFO reports the status, but not the time. */
		if (ev.data != STATUS(8) || ev.extra)
			_exit(7);
		_exit(0);
	}
	EXPECT_EQ(0, child_status(pid));
	EXPECT_EQ(8, child_status(C->pid));
}

/* Of the same user, but no child. */
TEST_F(process, of_a_sibling)
{
	struct kevent_event ev;
	struct kevent_watch w;
	pid_t pid;

	child_report(C, 'b', 5);
	ASSERT_TRUE(child_did(C));
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		if (add(Q, &w, C->pidfd, ALL, EDGE, 1) != 1)
			_exit(1);
		child_report(C, 'x', 8);
		if (take_next(Q, true, &ev) != 1 || ev.events != EXIT)
			_exit(2);
		_exit(ev.data == STATUS(8) && ev.extra > 5 * MSEC ? 0 : 3);
	}
	EXPECT_EQ(0, child_status(pid));
}

/* From a pid namespace in which there is no such process. */
TEST_F(process, of_another_namespace)
{
	struct kevent_watch w;
	pid_t pid;

	if (geteuid() || unshare(CLONE_NEWPID))
		SKIP(return, "needs to be root");
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		int own = pidfd_of(getpid(), 0);

		if (add(Q, &w, C->pidfd, EXIT, EDGE, 1) != -EREMOTE)
			_exit(1);
		_exit(add(Q, &w, own, ALL, EDGE, 1) == 1 ? 0 : 2);
	}
	/* The other way round it works. */
	close(C->pidfd);
	C->pidfd = pidfd_of(pid, 0);
	ASSERT_EQ(1, add(Q, &w, C->pidfd, EXIT, EDGE, 1));
	EXPECT_REPORTED(1, EXIT, 0, 0);
	EXPECT_EQ(0, child_status(pid));
}

/*
 * fork, exec and exit of the one who watches.
 */
TEST_F(process, watcher_forks)
{
	struct kevent_watch w;
	struct kevent_event ev;
	pid_t pid;

	ASSERT_EQ(1, add(Q, &w, C->pidfd, ALL, EDGE, 1));
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		/* Its copy of the pidfd has nothing to do with the watch. */
		close(C->pidfd);
		if (watch_gone(Q, &w))
			_exit(1);
		child_report(C, 'x', 1);
		if (kevent_get_events(self->q.fd, 1, 1, NULL, &ev, 0) != 1 ||
		    ev.events != EXIT)
			_exit(2);
		_exit(0);
	}
	EXPECT_EQ(0, child_status(pid));
	EXPECT_EMPTY(Q, COPY);
	EXPECT_EQ(1, child_status(C->pid));
	EXPECT_REPORTED(1, REAPED, 0, STATUS(1));
}

TEST_F(process, watcher_exits)
{
	struct kevent_watch w;
	pid_t pid;

	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		if (add(Q, &w, C->pidfd, ALL, EDGE, 1) != 1 ||
		    add(Q, &w, C->pidfd, ALL, EDGE | VANISHED, 2) != 1)
			_exit(1);
		_exit(0);
	}
	EXPECT_EQ(0, child_status(pid));
	EXPECT_EQ(0, nr_watches(self->q.fd));
	EXPECT_REPORTED(2, 0, KEVENT_INFO_VANISHED, 0);
	child_report(C, 'x', 1);
	EXPECT_EQ(1, child_status(C->pid));
	EXPECT_SILENCE();
}

/* It sees the pidfd closed, and not its own end. */
TEST_F(process, watcher_watches_itself)
{
	struct kevent_watch w;
	pid_t pid;

	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		int own = pidfd_of(getpid(), 0);

		_exit(add(Q, &w, own, ALL, EDGE | VANISHED, 1) == 1 ? 0 : 1);
	}
	EXPECT_EQ(0, child_status(pid));
	EXPECT_REPORTED(1, 0, KEVENT_INFO_VANISHED, 0);
	EXPECT_SILENCE();
}

static void __attribute__((constructor)) execed_watcher(void)
{
	struct kevent_event ev;
	struct {
		int magic;
		int q;
		struct child c;
	} s;

	if (!getenv(WATCHER) || !exec_state(&s, sizeof(s)))
		return;
	if (nr_watches(s.q) != 1)
		_exit(10);
	child_report(&s.c, 'x', 1);
	if (kevent_get_events(s.q, 1, 1, NULL, &ev, 0) != 1 ||
	    ev.user_data != 1 || ev.events != EXIT || ev.data != STATUS(1))
		_exit(11);
	_exit(0);
}

TEST_F(process, watcher_executes)
{
	struct kevent_watch w;
	pid_t pid;

	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		struct {
			int magic;
			int q;
			struct child c;
		} s = { 1, self->q.fd, self->c };
		int cloexec = fcntl(C->pidfd, F_DUPFD_CLOEXEC, 0);

		/* Both are close-on-exec unless that is changed. */
		if (fcntl(C->pidfd, F_SETFD, 0) ||
		    fcntl(self->q.fd, F_SETFD, 0))
			_exit(1);
		if (add(Q, &w, C->pidfd, ALL, EDGE, 1) != 1 ||
		    add(Q, &w, cloexec, ALL, EDGE, 2) != 1)
			_exit(2);
		setenv(WATCHER, "1", 1);
		exec_again(&s, sizeof(s));
	}
	EXPECT_EQ(0, child_status(pid));
	EXPECT_EQ(0, nr_watches(self->q.fd));
}

/*
 * Many at once, and a ring that is too small: nothing is lost.
 */
#define MANY	48

TEST(overflow)
{
	struct child c[MANY];
	struct kevent_watch w[MANY];
	struct kevent_event ev;
	__u32 seen[MANY] = {};
	struct queue q;
	int i, nr;

	ASSERT_LE(0, queue_open(&q, 2));
	for (i = 0; i < MANY; i++) {
		ASSERT_EQ(0, child_start(&c[i]));
		ASSERT_EQ(1, add(&q, &w[i], c[i].pidfd, ALL,
				 i % 2 ? EDGE : EDGE | VANISHED, i));
	}
	for (i = 0; i < MANY; i++) {
		child_report(&c[i], 'e', 1);
		ASSERT_TRUE(child_did(&c[i]));
		child_report(&c[i], 'x', i);
	}
	for (i = 0; i < MANY; i++)
		ASSERT_EQ(i, child_status(c[i].pid));
	for (nr = 0; nr < MANY; ) {
		ASSERT_EQ(1, take_next(&q, nr % 3 == 0, &ev));
		ASSERT_GT(MANY, ev.user_data);
		i = ev.user_data;
		ASSERT_EQ(0, seen[i] & ev.events);
		if (ev.events & (EXIT | REAPED))
			EXPECT_EQ(STATUS(i), ev.data);
		seen[i] |= ev.events;
		if (seen[i] == ALL)
			nr++;
	}
	EXPECT_EQ(0, take_now(&q, false, &ev));
	EXPECT_EQ(MANY / 2, nr_watches(q.fd));
	for (i = 0; i < MANY; i++)
		child_done(&c[i]);
	EXPECT_EQ(0, nr_watches(q.fd));
	queue_close(&q);
}

/*
 * Races.  Processes are slow to make; threads end in the same way.
 */
#define ROUNDS	2000
#define TIMEOUT	100

FIXTURE(race)
{
	struct queue q;
};

FIXTURE_SETUP(race)
{
	ASSERT_LE(0, queue_open(&self->q, 8));
}

FIXTURE_TEARDOWN(race)
{
	queue_close(&self->q);
}

struct ender {
	struct queue q;
	unsigned int seed;
};

struct named {
	pid_t tid;
	unsigned int seed;
};

static void *named_thread(void *arg)
{
	struct named *n = arg;
	unsigned int seed = n->seed;

	__atomic_store_n(&n->tid, syscall(SYS_gettid), __ATOMIC_RELEASE);
	dawdle(&seed, 60000);
	return NULL;
}

/*
 * A thread that may end at any time, and its pidfd; -ESRCH if it has ended
 * already.
 */
static int ending_thread(pthread_t *thread, unsigned int seed)
{
	struct named n = { .seed = seed };
	int fd;

	if (pthread_create(thread, NULL, named_thread, &n))
		return -EAGAIN;
	while (!__atomic_load_n(&n.tid, __ATOMIC_ACQUIRE))
		;
	fd = pidfd_of(n.tid, PIDFD_THREAD);
	return fd < 0 ? -errno : fd;
}

/* Added while it ends: reported once, by the one or the other. */
TEST_F_TIMEOUT(race, add, TIMEOUT)
{
	struct kevent_watch w;
	pthread_t thread;
	int i, fd, reported = 0;

	for (i = 0; i < ROUNDS; i++) {
		fd = ending_thread(&thread, i);
		if (fd == -EINVAL)
			SKIP(return, "no pidfds of threads");
		if (fd < 0) {
			ASSERT_EQ(-ESRCH, fd);
			pthread_join(thread, NULL);
			continue;
		}
		ASSERT_EQ(1, add(Q, &w, fd, ALL,
				 i % 2 ? EDGE : EDGE | VANISHED, i));
		ASSERT_TRUE(take_bits(Q, i % 3 == 0, EXIT | REAPED, 0));
		pthread_join(thread, NULL);
		close(fd);
		reported++;
	}
	EXPECT_LT(0, reported);
	EXPECT_EQ(0, queue_drain(Q));
	EXPECT_EQ(0, nr_watches(self->q.fd));
}

/* Removed, closed or changed while it ends: no more after that. */
TEST_F_TIMEOUT(race, remove, TIMEOUT)
{
	struct kevent_event ev;
	struct kevent_watch w;
	unsigned int seed = 1;
	pthread_t thread;
	int i, fd;

	for (i = 0; i < ROUNDS; i++) {
		fd = ending_thread(&thread, i);
		if (fd == -EINVAL)
			SKIP(return, "no pidfds of threads");
		if (fd < 0) {
			pthread_join(thread, NULL);
			continue;
		}
		ASSERT_EQ(1, add(Q, &w, fd, ALL,
				 i % 2 ? EDGE : EDGE | VANISHED, i));
		dawdle(&seed, 60000);
		switch (i % 4) {
		case 0:
			/* It may have reported its last event. */
			if (remove_one(Q, w.handle) != 1)
				break;
			/* That of the one before may be reported just now. */
			while (take_now(Q, true, &ev) == 1)
				ASSERT_NE(i, ev.user_data);
			break;
		case 1:
			close(fd);
			fd = -1;
			while (take_now(Q, false, &ev) == 1)
				ASSERT_NE(i, ev.user_data);
			break;
		case 2:
			modify_one(Q, &w, KEVENT_MODIFY_DISABLE);
			modify_one(Q, &w, KEVENT_MODIFY_ENABLE);
			break;
		case 3:
			w.flags ^= VANISHED;
			modify_one(Q, &w, KEVENT_MODIFY_MODE);
			break;
		}
		pthread_join(thread, NULL);
		if (fd >= 0)
			close(fd);
		queue_drain(Q);
	}
	EXPECT_EQ(0, nr_watches(self->q.fd));
	EXPECT_EQ(0, take_now(Q, true, &ev));
}

static void end_queue(void *arg)
{
	struct ender *e = arg;

	dawdle(&e->seed, 20000);
	close(e->q.fd);
}

/* The queue goes while what it watches ends. */
TEST_F_TIMEOUT(race, queue, TIMEOUT)
{
	struct ender e = { .seed = 1 };
	struct kevent_watch w;
	struct racer r;
	pid_t pid;
	int i, fd;

	ASSERT_EQ(0, racer_start(&r, end_queue, &e));
	for (i = 0; i < ROUNDS / 6; i++) {
		ASSERT_LE(0, queue_open(&e.q, 0));
		pid = fork();
		ASSERT_LE(0, pid);
		if (!pid) {
			unsigned int seed = i;

			dawdle(&seed, 10000);
			_exit(0);
		}
		fd = pidfd_of(pid, 0);
		ASSERT_EQ(1, add(&e.q, &w, fd, ALL, i % 2 ? EDGE : VANISHED,
				 i));
		racer_go(&r);
		ASSERT_EQ(0, child_status(pid));
		racer_wait(&r);
		close(fd);
	}
	racer_stop(&r);
}

/* Exit, exec and reaping of processes against the one who waits. */
TEST_F_TIMEOUT(race, processes, TIMEOUT)
{
	struct kevent_watch w;
	struct child c;
	int i;

	for (i = 0; i < ROUNDS / 10; i++) {
		ASSERT_EQ(0, child_start(&c));
		ASSERT_EQ(1, add(Q, &w, c.pidfd, EXIT | REAPED, EDGE, i));
		child_report(&c, i % 3 ? 'x' : 'l', 1);
		if (i % 2) {
			ASSERT_EQ(1, child_status(c.pid));
			ASSERT_TRUE(take_bits(Q, false, EXIT | REAPED,
					      STATUS(1)));
		} else {
			child_ended(&c);
			ASSERT_TRUE(take_bits(Q, false, EXIT, STATUS(1)));
			ASSERT_EQ(1, child_status(c.pid));
			ASSERT_TRUE(take_bits(Q, true, REAPED, STATUS(1)));
		}
		child_done(&c);
	}
	EXPECT_EQ(0, queue_drain(Q));
}

TEST_HARNESS_MAIN
