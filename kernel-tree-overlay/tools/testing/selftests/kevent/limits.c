// SPDX-License-Identifier: GPL-2.0
/*
 * What a user may have: so many watches, so much locked memory; and what a
 * watch costs.
 */
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "kevent_poll_test.h"

#define SYSCTL	"/proc/sys/fs/kevent/max_user_watches"
#define UID	41111	/* no other user has it, it is hoped */
#define LIMIT	20

/* Gives up all privileges, in this process, which may look at itself still. */
static bool become_user(uid_t uid)
{
	return !setresgid(uid, uid, uid) && !setresuid(uid, uid, uid) &&
	       !prctl(PR_SET_DUMPABLE, 1);
}

static struct kevent_watch some_watch(int fd, int i)
{
	return i % 2 ? timer_watch(i, HOUR, 0) : file_watch(fd, 0, i);
}

/* Adds up to @nr watches; how many it could, or the error of the first. */
static int add_some(const struct queue *q, int fd, int nr, __u64 *handles)
{
	struct kevent_watch w;
	int i, ret;

	for (i = 0; i < nr; i++) {
		w = some_watch(fd, i);
		ret = add_one(q, &w);
		if (ret != 1)
			return i && ret == -ENOSPC ? i : ret;
		if (handles)
			handles[i] = w.handle;
	}
	return nr;
}

/* A user with a limit. */
FIXTURE(user)
{
	long long before;
};

FIXTURE_SETUP(user)
{
	self->before = read_number(SYSCTL);
	if (self->before < 0)
		SKIP(return, "no fs.kevent.max_user_watches");
	if (geteuid())
		SKIP(return, "needs to be root");
	ASSERT_TRUE(write_number(SYSCTL, LIMIT));
}

FIXTURE_TEARDOWN_PARENT(user)
{
	if (self->before > 0)
		write_number(SYSCTL, self->before);
}

/* Does something as a user who has nothing yet; 0, or which step failed. */
static int as_user(int (*steps)(void *arg), void *arg)
{
	pid_t pid = fork();

	if (!pid)
		_exit(become_user(UID) ? steps(arg) : 100);
	return pid < 0 ? -errno : child_status(pid);
}

/* In a child: exits with a status from which the line can be reported. */
#define STEP(cond)							\
do {									\
	if (!(cond))							\
		_exit(__LINE__ % 90 + 1);				\
} while (0)

TEST(sysctl_has_a_default)
{
	long long value = read_number(SYSCTL);

	if (value < 0)
		SKIP(return, "no fs.kevent.max_user_watches");
	EXPECT_LE(1024, value);
	EXPECT_EQ(-1, access(SYSCTL, X_OK));
	if (geteuid())
		SKIP(return, "needs to be root");
	EXPECT_FALSE(write_to(SYSCTL, "-1"));
	EXPECT_FALSE(write_to(SYSCTL, "nonsense"));
	EXPECT_EQ(value, read_number(SYSCTL));
}

#define USER_TIMERS	"/proc/sys/user/max_kevent_timers"

static int timers_count(void *arg)
{
	struct kevent_watch w[3];
	struct kevent_event ev;
	struct queue q;
	int i;

	(void)arg;
	/* In a namespace of its own the limit is for it alone. */
	if (unshare(CLONE_NEWUSER))
		return 0;
	STEP(write_number(USER_TIMERS, 2));
	STEP(queue_open(&q, 8) >= 0);
	for (i = 0; i < 3; i++)
		w[i] = timer_watch(i, HOUR, HOUR);
	STEP(kevent_add(q.fd, w, sizeof(*w), 3, 0) == 2);
	STEP(kevent_add(q.fd, &w[2], sizeof(*w), 1, 0) == -ENOSPC);
	/* Those of one shot are not limited. */
	w[2].arg[0] = MSEC;
	w[2].arg[1] = 0;
	STEP(kevent_add(q.fd, &w[2], sizeof(*w), 1, 0) == 1);
	/* What is refused changes nothing. */
	w[2].arg[1] = HOUR;
	STEP(kevent_modify(q.fd, &w[2], sizeof(*w), 1, KEVENT_MODIFY_ARG) ==
	     -ENOSPC);
	STEP(take_next(&q, false, &ev) == 1 && ev.user_data == 2);
	/* A timer that is periodic no more does not count. */
	w[0].arg[1] = 0;
	STEP(kevent_modify(q.fd, &w[0], sizeof(*w), 1, KEVENT_MODIFY_ARG) == 1);
	STEP(kevent_modify(q.fd, &w[2], sizeof(*w), 1, KEVENT_MODIFY_ARG) == 1);
	/* Nor does one that was removed. */
	STEP(kevent_remove(q.fd, &w[1].handle, 1, 0) == 1);
	w[1].handle = 0;
	STEP(kevent_add(q.fd, &w[1], sizeof(*w), 1, 0) == 1);
	queue_close(&q);
	STEP(queue_open(&q, 8) >= 0);
	for (i = 0; i < 2; i++) {
		w[i] = timer_watch(i, HOUR, HOUR);
		STEP(kevent_add(q.fd, &w[i], sizeof(*w), 1, 0) == 1);
	}
	return 0;
}

/* Periodic timers have a limit of their own. */
TEST_F(user, timers)
{
	if (access(USER_TIMERS, F_OK))
		SKIP(return, "no user.max_kevent_timers");
	ASSERT_EQ(0, as_user(timers_count, NULL));
}

#define USER_NESTED	"/proc/sys/user/max_kevent_nested"

static int nested_count(void *arg)
{
	struct kevent_watch w[4];
	struct queue q[3];
	int i;

	(void)arg;
	if (unshare(CLONE_NEWUSER))
		return 0;
	STEP(write_number(USER_NESTED, 2));
	for (i = 0; i < 3; i++)
		STEP(queue_open(&q[i], 0) >= 0);
	for (i = 0; i < 4; i++)
		w[i] = file_watch(q[i % 2].fd, 0, i);
	/* In whichever queue they are. */
	STEP(add_one(&q[2], &w[0]) == 1);
	STEP(add_one(&q[1], &w[2]) == 1);
	STEP(add_one(&q[2], &w[1]) == -ENOSPC);
	STEP(nr_watches(q[2].fd) == 1);
	/* Those that have gone do not count. */
	STEP(kevent_remove(q[1].fd, &w[2].handle, 1, 0) == 1);
	w[1].handle = 0;
	STEP(add_one(&q[2], &w[1]) == 1);
	w[2].handle = 0;
	STEP(add_one(&q[1], &w[2]) == -ENOSPC);
	queue_close(&q[2]);
	STEP(add_one(&q[1], &w[2]) == 1);
	return 0;
}

/* So have watches of queues. */
TEST_F(user, watches_of_queues)
{
	if (access(USER_NESTED, F_OK))
		SKIP(return, "no user.max_kevent_nested");
	ASSERT_EQ(0, as_user(nested_count, NULL));
}

static int limit_counts(void *arg)
{
	int fd = new_file(), i;
	struct kevent_watch w[4];
	__u64 handles[LIMIT];
	struct queue q[2];

	(void)arg;
	STEP(queue_open(&q[0], 8) >= 0 && queue_open(&q[1], 0) >= 0);
	/* All queues of a user count together, whatever is watched. */
	STEP(add_some(&q[0], fd, LIMIT / 2, handles) == LIMIT / 2);
	STEP(add_some(&q[1], fd, LIMIT, NULL) == LIMIT / 2);
	for (i = 0; i < 4; i++)
		w[i] = some_watch(fd, i);
	STEP(add_one(&q[0], &w[0]) == -ENOSPC);
	STEP(w[0].result == -ENOSPC && !w[0].handle);
	STEP(add_one(&q[1], &w[1]) == -ENOSPC);
	STEP(nr_watches(q[0].fd) == LIMIT / 2);
	/* What is removed can be had again, and as many as that of a batch. */
	STEP(kevent_remove(q[0].fd, handles, 3, 0) == 3);
	STEP(kevent_add(q[1].fd, w, sizeof(*w), 4, 0) == 3);
	STEP(w[3].result == -ENOSPC);
	STEP(add_one(&q[0], &w[0]) == -ENOSPC);
	queue_close(&q[1]);
	STEP(add_some(&q[0], fd, LIMIT, NULL) == LIMIT - (LIMIT / 2 - 3));
	queue_close(&q[0]);
	STEP(queue_open(&q[0], 8) >= 0);
	STEP(add_some(&q[0], fd, LIMIT + 1, NULL) == LIMIT);
	return 0;
}

TEST_F(user, limit_counts)
{
	EXPECT_EQ(0, as_user(limit_counts, NULL));
	/* The process has exited: nothing of it is left. */
	EXPECT_EQ(0, as_user(limit_counts, NULL));
}

/* In whichever way a watch goes, or does not come to be. */
static int count_returns(void *arg)
{
	struct kevent_event ev[LIMIT];
	struct kevent_watch w;
	struct queue q;
	int fd, i;

	(void)arg;
	STEP(queue_open(&q, 64) >= 0);
	for (i = 0; i < 3 * LIMIT; i++) {
		/* Closed. */
		fd = new_file();
		STEP(add_file(&q, &w, fd, i % 2 ? KEVENT_WATCH_VANISHED : 0,
			      i) == 1);
		STEP(!close(fd));
		STEP(queue_drain(&q) == i % 2);
		/* Removed by its event. */
		fd = eventfd(1, EFD_NONBLOCK);
		STEP(add_file(&q, &w, fd, KEVENT_WATCH_ONESHOT, i) == 1);
		STEP(kevent_get_events(q.fd, 1, 1, NULL, ev, 0) == 1);
		STEP(queue_drain(&q) == 0);
		/* Refused. */
		STEP(add_file(&q, &w, 1000, 0, i) == -EBADF);
		STEP(add_file(&q, &w, q.fd, 0, i) == -ELOOP);
		w = file_watch(fd, 0, i);
		w.arg[0] = 1;
		STEP(add_one(&q, &w) == -EINVAL);
		STEP(!close(fd));
	}
	fd = new_file();
	STEP(add_some(&q, fd, LIMIT + 1, NULL) == LIMIT);
	return 0;
}

TEST_F(user, count_returns)
{
	EXPECT_EQ(0, as_user(count_returns, NULL));
}

/* Those that were consumed do not stand in the way of others. */
static int consumed_ones_count_no_more(void *arg)
{
	struct kevent_watch w;
	struct kevent_event ev;
	struct queue q;
	int fd, i;

	(void)arg;
	STEP(queue_open(&q, LIMIT) >= 0);
	fd = eventfd(1, EFD_NONBLOCK);
	for (i = 0; i < 5 * LIMIT; i++) {
		STEP(add_file(&q, &w, fd, KEVENT_WATCH_ONESHOT, i) == 1);
		/* Nothing here makes the kernel look at what was reported. */
		STEP(ring_take(&q, &ev) == 1 && ev.user_data == i);
	}
	STEP(add_some(&q, new_file(), LIMIT + 1, NULL) == LIMIT);
	return 0;
}

TEST_F(user, consumed_ones_count_no_more)
{
	EXPECT_EQ(0, as_user(consumed_ones_count_no_more, NULL));
}

/* A ONESHOT watch that has fired counts, with and without a ring. */
static int fired_ones_count_until_consumed(void *arg)
{
	struct kevent_watch w[LIMIT], more;
	struct kevent_event ev;
	struct queue q;
	int fd, i;

	STEP(queue_open(&q, (long)arg) >= 0);
	fd = eventfd(1, EFD_NONBLOCK);
	for (i = 0; i < LIMIT; i++)
		STEP(add_file(&q, &w[i], fd, KEVENT_WATCH_ONESHOT, i) == 1);
	STEP(queue_refill(&q) > 0);
	STEP(add_file(&q, &more, fd, KEVENT_WATCH_ONESHOT, 0) == -ENOSPC);
	STEP(remove_one(&q, w[LIMIT - 1].handle) == 1);
	STEP(add_file(&q, &more, fd, KEVENT_WATCH_ONESHOT, i) == 1);
	STEP(add_file(&q, &more, fd, KEVENT_WATCH_ONESHOT, i) == -ENOSPC);
	STEP(take_now(&q, !arg, &ev) == 1 && !ev.user_data);
	STEP(add_file(&q, &more, fd, KEVENT_WATCH_ONESHOT, i) == 1);
	STEP(add_file(&q, &more, fd, KEVENT_WATCH_ONESHOT, i) == -ENOSPC);
	return 0;
}

TEST_F(user, fired_ones_count_until_consumed)
{
	EXPECT_EQ(0, as_user(fired_ones_count_until_consumed, (void *)0));
	EXPECT_EQ(0, as_user(fired_ones_count_until_consumed,
			     (void *)(long)LIMIT));
}

/* It is the user who has made the queue, whichever user adds to it. */
static int add_to(void *arg)
{
	struct queue *q = arg;
	int fd = new_file();

	STEP(add_some(q, fd, 2 * LIMIT, NULL) == LIMIT - 5);
	return 0;
}

static int of_the_creator(void *arg)
{
	int fd = new_file();
	struct queue q, own;
	pid_t pid;

	(void)arg;
	STEP(queue_open_shared(&q, 8) >= 0 && queue_open(&own, 8) >= 0);
	STEP(add_some(&own, fd, 5, NULL) == 5);
	pid = fork();
	STEP(pid >= 0);
	if (!pid)
		_exit(add_to(&q));
	return child_status(pid);
}

TEST_F(user, the_creator_of_the_queue_counts)
{
	int sockets[2], status;
	struct queue q;
	pid_t pid;

	EXPECT_EQ(0, as_user(of_the_creator, NULL));
	/* Two users: the one adds to the queue of the other. */
	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_STREAM, 0, sockets));
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		if (!become_user(UID) || queue_open_shared(&q, 0) < 0)
			_exit(1);
		_exit(send_fd(sockets[0], q.fd) ? 2 : 0);
	}
	ASSERT_EQ(0, child_status(pid));
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		struct queue own;
		int fd = new_file();

		memset(&q, 0, sizeof(q));
		q.fd = recv_fd(sockets[1]);
		if (q.fd < 0 || !become_user(UID + 1) ||
		    queue_open(&own, 0) < 0 ||
		    add_some(&own, fd, LIMIT, NULL) != LIMIT)
			_exit(1);
		/* Its own ones are used up, those of the other are not. */
		if (add_some(&own, fd, 1, NULL) != -ENOSPC)
			_exit(2);
		_exit(add_some(&q, fd, LIMIT + 1, NULL) == LIMIT ? 0 : 3);
	}
	status = child_status(pid);
	EXPECT_EQ(0, status);
	close(sockets[0]);
	close(sockets[1]);
}

/* No user gets more by making user namespaces. */
static int in_a_namespace(void *arg)
{
	int fd = new_file();
	struct queue q;

	(void)arg;
	STEP(queue_open(&q, 0) >= 0);
	STEP(add_some(&q, fd, LIMIT / 2, NULL) == LIMIT / 2);
	if (unshare(CLONE_NEWUSER))
		return 99;
	/* That queue, and one that is made here. */
	STEP(add_some(&q, fd, 2, NULL) == 2);
	STEP(queue_open(&q, 0) >= 0);
	STEP(add_some(&q, fd, 2 * LIMIT, NULL) == LIMIT / 2 - 2);
	STEP(add_some(&q, fd, 1, NULL) == -ENOSPC);
	return 0;
}

TEST_F(user, namespaces_do_not_multiply)
{
	int status = as_user(in_a_namespace, NULL);

	if (status == 99)
		SKIP(return, "no user namespaces");
	EXPECT_EQ(0, status);
	EXPECT_EQ(0, as_user(limit_counts, NULL));
}

/* Two users at the same time do not count for each other. */
TEST_F(user, users_are_apart)
{
	struct gate ready, end;
	pid_t pid;

	ASSERT_EQ(0, gate_init(&ready));
	ASSERT_EQ(0, gate_init(&end));
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		struct queue q;

		if (!become_user(UID + 1) || queue_open(&q, 0) < 0 ||
		    add_some(&q, new_file(), LIMIT, NULL) != LIMIT)
			_exit(1);
		gate_open(&ready);
		_exit(gate_pass(&end) ? 0 : 2);
	}
	ASSERT_TRUE(gate_pass(&ready));
	EXPECT_EQ(0, as_user(limit_counts, NULL));
	gate_open(&end);
	EXPECT_EQ(0, child_status(pid));
}

/* Threads that add and remove at the same time lose no count. */
struct adder {
	struct queue *q;
	int fd;
	bool failed;
};

static void *add_and_remove(void *arg)
{
	struct adder *a = arg;
	struct kevent_watch w;
	int i, ret;

	for (i = 0; i < 500; i++) {
		w = some_watch(a->fd, i);
		ret = add_one(a->q, &w);
		if (ret == 1)
			ret = remove_one(a->q, w.handle);
		if (ret != 1 && ret != -ENOSPC)
			a->failed = true;
	}
	return NULL;
}

static int threads_count(void *arg)
{
	struct adder a = { .fd = new_file() };
	pthread_t thread[4];
	struct queue q;
	int i;

	(void)arg;
	STEP(queue_open(&q, 8) >= 0);
	STEP(add_some(&q, a.fd, LIMIT - 2, NULL) == LIMIT - 2);
	a.q = &q;
	for (i = 0; i < 4; i++)
		STEP(!pthread_create(&thread[i], NULL, add_and_remove, &a));
	for (i = 0; i < 4; i++)
		pthread_join(thread[i], NULL);
	STEP(!a.failed);
	STEP(add_some(&q, a.fd, LIMIT, NULL) == 2);
	return 0;
}

TEST_F(user, threads_lose_no_count)
{
	EXPECT_EQ(0, as_user(threads_count, NULL));
	EXPECT_EQ(0, as_user(limit_counts, NULL));
}

/* Deferred posts count as watches: those to all queues together. */
static int posts_count(void *arg)
{
	struct kevent_event ev[2 * LIMIT] = {};
	int fd = new_file(), i;
	struct queue q[2];

	(void)arg;
	STEP(queue_open(&q[0], 2) >= 0 && queue_open(&q[1], 0) >= 0);
	for (i = 0; i < 3; i++) {
		/* Two are in the ring, and need no memory. */
		STEP(kevent_post(q[0].fd, ev, sizeof(*ev), 2 + LIMIT / 2,
				 KEVENT_POST_DEFER) == 2 + LIMIT / 2);
		STEP(kevent_post(q[1].fd, ev, sizeof(*ev), LIMIT, 0) ==
		     LIMIT - LIMIT / 2);
		STEP(kevent_post(q[1].fd, ev, sizeof(*ev), 1, 0) == -EAGAIN);
		STEP(add_some(&q[0], fd, 1, NULL) == -ENOSPC);
		/* Consumed, or dropped with the queue. */
		STEP(queue_drain(&q[0]) == 2 + LIMIT / 2);
		queue_close(&q[1]);
		STEP(queue_open(&q[1], 0) >= 0);
	}
	STEP(add_some(&q[0], fd, LIMIT + 1, NULL) == LIMIT);
	return 0;
}

TEST_F(user, deferred_posts_count)
{
	EXPECT_EQ(0, as_user(posts_count, NULL));
	EXPECT_EQ(0, as_user(limit_counts, NULL));
}

/*
 * The ring counts as locked memory of the user who made it.
 */
static int ring_until_unmapped(void *arg)
{
	long page = sysconf(_SC_PAGESIZE);
	struct rlimit limit = { 8 * page, 8 * page };
	unsigned int entries = 5 * page / sizeof(struct kevent_event);
	struct kevent_watch w = timer_watch(1, HOUR, 0);
	struct queue q, other;

	(void)arg;
	STEP(!setrlimit(RLIMIT_MEMLOCK, &limit));
	/* Rounded up to 8 pages of slots: with the header it is too much. */
	STEP(queue_open(&q, entries) == -ENOMEM);
	STEP(queue_open(&q, entries / 2) >= 0);
	STEP(queue_open(&other, entries / 2) == -ENOMEM);
	STEP(queue_open(&other, 0) >= 0);
	queue_close(&other);
	STEP(add_one(&q, &w) == 1);
	/* The mapping keeps the ring, and what it is charged. */
	STEP(!close(q.fd));
	STEP(queue_open(&other, entries / 2) == -ENOMEM);
	STEP(!munmap(q.ring, q.args.mmap_size));
	STEP(queue_open(&other, entries / 2) >= 0);
	queue_close(&other);
	return 0;
}

TEST(ring_counts_until_it_is_unmapped)
{
	if (geteuid())
		SKIP(return, "needs to be root");
	EXPECT_EQ(0, as_user(ring_until_unmapped, NULL));
	EXPECT_EQ(0, as_user(ring_until_unmapped, NULL));
}

/* Passed to another user, it stays charged to the one who made it. */
/* A queue without one counts as a page. */
static int queues_without_a_ring(void *arg)
{
	long page = sysconf(_SC_PAGESIZE);
	struct rlimit limit = { 8 * page, 8 * page };
	struct queue q[9];
	int i;

	(void)arg;
	STEP(!setrlimit(RLIMIT_MEMLOCK, &limit));
	for (i = 0; i < 8; i++)
		STEP(queue_open(&q[i], 0) >= 0);
	STEP(queue_open(&q[8], 0) == -ENOMEM);
	queue_close(&q[3]);
	STEP(queue_open(&q[8], 0) >= 0);
	STEP(queue_open(&q[3], 0) == -ENOMEM);
	return 0;
}

TEST(queues_without_a_ring_count)
{
	if (geteuid())
		SKIP(return, "needs to be root");
	EXPECT_EQ(0, as_user(queues_without_a_ring, NULL));
}

TEST(ring_counts_for_its_creator)
{
	long page = sysconf(_SC_PAGESIZE);
	struct rlimit limit = { 8 * page, 8 * page };
	unsigned int entries = 2 * page / sizeof(struct kevent_event);
	struct queue q = {}, own;
	int sockets[2];
	pid_t pid, other;

	if (geteuid())
		SKIP(return, "needs to be root");
	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_STREAM, 0, sockets));
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		if (!become_user(UID) || setrlimit(RLIMIT_MEMLOCK, &limit))
			_exit(1);
		if (queue_open(&q, 2 * entries) < 0 ||
		    send_fd(sockets[0], q.fd) ||
		    write(sockets[0], &q.args, sizeof(q.args)) < 0)
			_exit(2);
		_exit(0);
	}
	ASSERT_EQ(0, child_status(pid));
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		q.fd = recv_fd(sockets[1]);
		if (q.fd < 0 || read(sockets[1], &q.args, sizeof(q.args)) < 0)
			_exit(1);
		/* This user has still all of the limit. */
		if (!become_user(UID + 1) || setrlimit(RLIMIT_MEMLOCK, &limit))
			_exit(2);
		/* It may not map the ring, but keeps it. */
		if (queue_map(&q) != -EACCES ||
		    queue_open(&own, 2 * entries) < 0)
			_exit(3);
		gate_open(&(struct gate){ { -1, sockets[1] } });
		pause();
	}
	ASSERT_TRUE(gate_pass(&(struct gate){ { sockets[0], -1 } }));
	/* That one has not, while another one has the ring. */
	other = fork();
	ASSERT_LE(0, other);
	if (!other) {
		if (!become_user(UID) || setrlimit(RLIMIT_MEMLOCK, &limit))
			_exit(1);
		if (queue_open(&own, 2 * entries) != -ENOMEM)
			_exit(2);
		_exit(queue_open(&own, entries) >= 0 ? 0 : 3);
	}
	EXPECT_EQ(0, child_status(other));
	ASSERT_EQ(0, kill(pid, SIGKILL));
	EXPECT_EQ(-SIGKILL, child_status(pid));
	close(sockets[0]);
	close(sockets[1]);
}

/*
 * The memory of watches, as the memory cgroup of the process sees it.
 */
#define BATCHES	10
#define NR	4000	/* watches in a batch */
#define OF_A_FILE	100	/* of them of one file */

struct memcg {
	char mount[32], group[64];
};

static bool memcg_enter(struct memcg *m)
{
	char name[128];

	snprintf(m->mount, sizeof(m->mount), "/tmp/kevent.XXXXXX");
	if (unshare(CLONE_NEWNS) ||
	    mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
	    !mkdtemp(m->mount))
		return false;
	if (mount("none", m->mount, "cgroup2", 0, NULL))
		goto rmdir;
	snprintf(name, sizeof(name), "%s/cgroup.subtree_control", m->mount);
	if (!write_to(name, "+memory"))
		goto umount;
	snprintf(m->group, sizeof(m->group), "%s/kevent-limits", m->mount);
	if (mkdir(m->group, 0700) && errno != EEXIST)
		goto umount;
	snprintf(name, sizeof(name), "%s/cgroup.procs", m->group);
	if (write_number(name, getpid()))
		return true;
	rmdir(m->group);
umount:
	umount(m->mount);
rmdir:
	rmdir(m->mount);
	return false;
}

static void memcg_leave(struct memcg *m)
{
	char name[128];

	snprintf(name, sizeof(name), "%s/cgroup.procs", m->mount);
	write_number(name, getpid());
	rmdir(m->group);
	umount(m->mount);
	rmdir(m->mount);
}

/* A line of memory.stat, in bytes, or -1. */
static long long memcg_stat(struct memcg *m, const char *what)
{
	char name[128], line[128];
	size_t len = strlen(what);
	long long value = -1;
	FILE *f;

	snprintf(name, sizeof(name), "%s/memory.stat", m->group);
	f = fopen(name, "r");
	if (!f)
		return -1;
	while (fgets(line, sizeof(line), f)) {
		if (!strncmp(line, what, len) && line[len] == ' ')
			value = strtoll(line + len, NULL, 10);
	}
	fclose(f);
	return value;
}

/* Checks that make objects larger than they are. */
static bool slab_debugging(void)
{
	long long object, slab;

	object = read_number("/sys/kernel/slab/kmalloc-128/object_size");
	slab = read_number("/sys/kernel/slab/kmalloc-128/slab_size");
	return object > 0 && slab > object;
}

/*
 * A batch in which no table grows shows what a watch costs by itself: the
 * cheapest one. To each object the cgroup adds a pointer of its own.
 */
TEST(memory_of_a_watch)
{
	long long before, last, now, batch = LLONG_MAX, after = 0;
	int fd[NR * BATCHES / OF_A_FILE], i, n;
	struct kevent_watch *w;
	struct memcg m;
	struct queue q;

	if (geteuid())
		SKIP(return, "needs to be root");
	if (!memcg_enter(&m))
		SKIP(return, "no memory cgroup");
	for (i = 0; i < ARRAY_SIZE(fd); i++) {
		fd[i] = new_file();
		ASSERT_LE(0, fd[i]);
	}
	w = calloc(NR, sizeof(*w));
	ASSERT_NE(NULL, w);
	ASSERT_LE(0, queue_open(&q, 64));
	before = memcg_stat(&m, "slab_unreclaimable");
	last = before;
	for (n = 0; n < BATCHES; n++) {
		for (i = 0; i < NR; i++)
			w[i] = file_watch(fd[(n * NR + i) / OF_A_FILE], 0, i);
		ASSERT_EQ(NR, kevent_add(q.fd, w, sizeof(*w), NR, 0));
		now = memcg_stat(&m, "slab_unreclaimable");
		if (now - last < batch)
			batch = now - last;
		last = now;
	}
	ksft_print_msg("a watch: %lld bytes; with tables, of %d: %lld\n",
		       batch / NR, BATCHES * NR,
		       (last - before) / (BATCHES * NR));
	/* It is charged at all, and it is no more than was promised. */
	EXPECT_LE(64LL * NR, batch);
	if (slab_debugging())
		ksft_print_msg("objects are larger than they should be: debugging\n");
	else
		/* The watch, the cgroup's pointer to it, its slot, its place in the backlog. */
		EXPECT_GE((128LL + (int)sizeof(void *) + 64) * NR + 16384, batch);
	/* As much again for the tables is too much in any case. */
	EXPECT_GE(2 * batch * BATCHES, last - before);
	queue_close(&q);
	for (i = 0; i < ARRAY_SIZE(fd); i++)
		close(fd[i]);
	/* All of it comes back, if it is let to. */
	for (i = 0; i < 2000; i++) {
		after = memcg_stat(&m, "slab_unreclaimable");
		if (after - before < batch)
			break;
		usleep(5000);
	}
	EXPECT_GT(batch, after - before);
	free(w);
	memcg_leave(&m);
}

#define EMPTIED	20000
/*
 * What a queue may keep of that.  If watches are larger because the kernel is one
 * for debugging, which keeps more: one part in so many of what they all took.
 */
#define KEPT	65536
#define PART	64

/* Of a queue that has had many watches, or posts, and has none any more. */
TEST(memory_is_given_back)
{
	struct kevent_event ev[256] = {};
	long long before, with[2], after = 0, kept;
	struct kevent_watch *w;
	__u64 *handles;
	struct memcg m;
	struct queue q;
	int i, n, way;

	if (geteuid())
		SKIP(return, "needs to be root");
	if (!memcg_enter(&m))
		SKIP(return, "no memory cgroup");
	w = calloc(EMPTIED, sizeof(*w));
	handles = calloc(EMPTIED, sizeof(*handles));
	ASSERT_TRUE(w && handles);
	ASSERT_LE(0, queue_open(&q, 0));
	before = memcg_stat(&m, "kernel");
	for (way = 0; way < 2; way++) {
		if (way) {
			for (n = 0; n < EMPTIED; n += i) {
				i = kevent_post(q.fd, ev, sizeof(ev[0]),
						ARRAY_SIZE(ev), 0);
				ASSERT_LT(0, i);
			}
		} else {
			for (i = 0; i < EMPTIED; i++) {
				w[i].source = KEVENT_SOURCE_USER;
				w[i].events = 1;
			}
			ASSERT_EQ(EMPTIED, kevent_add(q.fd, w, sizeof(*w),
						      EMPTIED, 0));
		}
		with[way] = memcg_stat(&m, "kernel");
		if (way) {
			while (kevent_get_events(q.fd, 0, ARRAY_SIZE(ev), NULL,
						 ev, 0) > 0)
				;
		} else {
			for (i = 0; i < EMPTIED; i++)
				handles[i] = w[i].handle;
			ASSERT_EQ(EMPTIED, kevent_remove(q.fd, handles,
							 EMPTIED, 0));
		}
		/* Some of it after a while, and debugging keeps some. */
		kept = (with[0] - before) / PART;
		if (kept < KEPT)
			kept = KEPT;
		for (i = 0; i < 2000; i++) {
			after = memcg_stat(&m, "kernel");
			if (after - before < kept)
				break;
			usleep(5000);
		}
		EXPECT_LT(EMPTIED * 64LL, with[way] - before);
		EXPECT_GT(kept, after - before) {
			TH_LOG("%s: with %lld, after %lld",
			       way ? "posts" : "watches", with[way] - before,
			       after - before);
		}
	}
	queue_close(&q);
	free(w);
	free(handles);
	memcg_leave(&m);
}

/* The ring is charged to it as well. */
TEST(memory_of_a_ring)
{
	long long before, with, after = 0;
	struct memcg m;
	struct queue q;
	int i;

	if (geteuid())
		SKIP(return, "needs to be root");
	if (!memcg_enter(&m))
		SKIP(return, "no memory cgroup");
	before = memcg_stat(&m, "kernel");
	ASSERT_LE(0, queue_open(&q, KEVENT_MAX_ENTRIES));
	with = memcg_stat(&m, "kernel");
	EXPECT_LE((long long)q.args.mmap_size * 9 / 10, with - before) {
		TH_LOG("%llu bytes", q.args.mmap_size);
	}
	queue_close(&q);
	for (i = 0; i < 2000; i++) {
		after = memcg_stat(&m, "kernel");
		if (after - before < (long long)q.args.mmap_size / 10)
			break;
		usleep(5000);
	}
	EXPECT_GT((long long)q.args.mmap_size / 10, after - before);
	memcg_leave(&m);
}

TEST_HARNESS_MAIN
