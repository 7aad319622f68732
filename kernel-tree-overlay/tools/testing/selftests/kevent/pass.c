// SPDX-License-Identifier: GPL-2.0
/*
 * A shared queue that is passed to another process over a socket: both take
 * events, one from the ring, the other without, each comes out once, and the
 * queue lives as long as one of them has it.
 */
#include "kevent_poll_test.h"

#define ENTRIES	16

FIXTURE(pass)
{
	struct queue q;
	int sockets[2];
};

FIXTURE_VARIANT(pass)
{
	unsigned int entries;
	bool copy;
};

FIXTURE_VARIANT_ADD(pass, ring)
{
	.entries = ENTRIES,
};

FIXTURE_VARIANT_ADD(pass, copied)
{
	.entries = ENTRIES,
	.copy = true,
};

FIXTURE_VARIANT_ADD(pass, no_ring)
{
	.copy = true,
};

FIXTURE_SETUP(pass)
{
	ASSERT_LE(0, queue_open_shared(&self->q, variant->entries));
	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0,
				self->sockets));
}

FIXTURE_TEARDOWN(pass)
{
	queue_close(&self->q);
	close(self->sockets[0]);
	close(self->sockets[1]);
}

#define Q	(&self->q)
#define COPY	(variant->copy)

/* Passes a queue; what is known of it goes along. */
static int send_queue(int sock, const struct queue *q)
{
	int ret = send_fd(sock, q->fd);

	if (!ret && write(sock, &q->args, sizeof(q->args)) != sizeof(q->args))
		ret = -EIO;
	return ret;
}

/* Receives a queue, whose ring is that of its maker; 0 or a negated errno. */
static int receive_queue(int sock, struct queue *q)
{
	memset(q, 0, sizeof(*q));
	q->fd = recv_fd(sock);
	if (q->fd < 0)
		return q->fd;
	if (read(sock, &q->args, sizeof(q->args)) != sizeof(q->args))
		return -EIO;
	return 0;
}

/* A process without the fixture's queue. */
static pid_t fork_without(struct queue *q)
{
	pid_t pid = fork();

	if (!pid)
		close(q->fd);
	return pid;
}

TEST_F(pass, receiver_sees_the_same_events)
{
	struct kevent_event ev;
	struct kevent_watch w;
	int fd = eventfd(1, EFD_NONBLOCK);
	struct queue q;
	pid_t pid;

	ASSERT_LE(0, fd);
	ASSERT_EQ(1, add_file(Q, &w, fd, KEVENT_WATCH_EDGE, 1));
	ASSERT_EQ(1, seq_post(self->q.fd, 2, 1, KEVENT_POST_DEFER));
	pid = fork_without(Q);
	ASSERT_LE(0, pid);
	if (!pid) {
		if (receive_queue(self->sockets[1], &q))
			_exit(1);
		if (q.args.mmap_size && queue_map(&q) != -EACCES)
			_exit(2);
		if (take_next(&q, COPY, &ev) != 1 || ev.user_data != 1 ||
		    ev.events != KEVENT_POLL_IN)
			_exit(3);
		if (seq_post(q.fd, 3, 1, KEVENT_POST_DEFER) != 1)
			_exit(4);
		_exit(0);
	}
	ASSERT_EQ(0, send_queue(self->sockets[0], Q));
	ASSERT_EQ(0, child_status(pid));
	ASSERT_EQ(1, take_next(Q, COPY, &ev));
	EXPECT_EQ(2, ev.user_data);
	ASSERT_EQ(1, take_next(Q, COPY, &ev));
	EXPECT_EQ(3, ev.user_data);
	EXPECT_EMPTY(Q, COPY);
	close(fd);
}

/* The receiver's watch of the receiver's file. */
TEST_F(pass, receiver_adds_a_watch)
{
	struct kevent_watch w;
	struct gate ready, end;
	struct queue q;
	pid_t pid;

	ASSERT_EQ(0, gate_init(&ready));
	ASSERT_EQ(0, gate_init(&end));
	pid = fork_without(Q);
	ASSERT_LE(0, pid);
	if (!pid) {
		int fd = new_file();

		if (receive_queue(self->sockets[1], &q) ||
		    add_file(&q, &w, fd, KEVENT_WATCH_VANISHED, 5) != 1 ||
		    fire(fd))
			_exit(1);
		gate_open(&ready);
		if (!gate_pass(&end))
			_exit(2);
		/* It closes the queue first: the watch stays. */
		queue_close(&q);
		gate_open(&ready);
		_exit(gate_pass(&end) && quiet(fd) == 1 ? 0 : 3);
	}
	ASSERT_EQ(0, send_queue(self->sockets[0], Q));
	ASSERT_TRUE(gate_pass(&ready));
	EXPECT_READABLE(Q, COPY, 5);
	gate_open(&end);
	ASSERT_TRUE(gate_pass(&ready));
	EXPECT_READABLE(Q, COPY, 5);
	gate_open(&end);
	ASSERT_EQ(0, child_status(pid));
	EXPECT_VANISHED(Q, COPY, 5);
	EXPECT_EMPTY(Q, COPY);
	EXPECT_EQ(0, nr_watches(self->q.fd));
}

/* The sender is gone: the queue is not, its watches are. */
TEST_F(pass, sender_exits)
{
	struct kevent_watch w[2], timer = timer_watch(3, MSEC, MSEC);
	struct kevent_event ev;
	struct queue q;
	int status, fd;
	pid_t pid;

	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		fd = new_file();
		if (queue_open_shared(&q, variant->entries) < 0 ||
		    add_file(&q, &w[0], fd, KEVENT_WATCH_VANISHED, 1) != 1 ||
		    add_file(&q, &w[1], fd, 0, 2) != 1 ||
		    add_one(&q, &timer) != 1)
			_exit(1);
		_exit(send_queue(self->sockets[0], &q) ? 2 : 0);
	}
	ASSERT_EQ(0, child_status(pid));
	ASSERT_EQ(0, receive_queue(self->sockets[1], &q));
	/* Both in either order: the last event, and that of the timer. */
	for (status = 0; status != 3;) {
		ASSERT_EQ(1, take_next(&q, COPY, &ev));
		if (ev.user_data == 1) {
			EXPECT_EQ(KEVENT_POLL_NVAL, ev.events);
			EXPECT_TRUE(ev.info & KEVENT_INFO_VANISHED);
			EXPECT_EQ(0, status & 1);
			status |= 1;
		} else {
			ASSERT_EQ(3, ev.user_data);
			status |= 2;
		}
	}
	EXPECT_EQ(1, nr_watches(q.fd));
	fd = new_file();
	ASSERT_EQ(1, add_file(&q, &w[0], fd, 0, 4));
	ASSERT_EQ(0, fire(fd));
	do {
		ASSERT_EQ(1, take_next(&q, COPY, &ev));
	} while (ev.user_data == 3);
	EXPECT_EQ(4, ev.user_data);
	queue_close(&q);
	close(fd);
}

/* What happens while no process has it open is there when it arrives. */
TEST_F(pass, fires_on_its_way)
{
	struct kevent_event ev;
	struct kevent_watch w;
	struct queue q;
	int fd = new_file(), twin = dup(fd);

	ASSERT_LE(0, twin);
	ASSERT_EQ(1, add_file(Q, &w, fd, KEVENT_WATCH_VANISHED, 1));
	ASSERT_EQ(0, send_queue(self->sockets[0], Q));
	queue_close(Q);
	ASSERT_EQ(0, fire(fd));
	ASSERT_EQ(0, receive_queue(self->sockets[1], &q));
	EXPECT_READABLE(&q, COPY, 1);
	EXPECT_EQ(1, quiet(fd));
	ASSERT_EQ(0, send_queue(self->sockets[0], &q));
	queue_close(&q);
	ASSERT_EQ(0, close(fd));
	ASSERT_EQ(0, receive_queue(self->sockets[1], &q));
	EXPECT_VANISHED(&q, COPY, 1);
	EXPECT_EQ(0, take_now(&q, COPY, &ev));
	queue_close(&q);
	close(twin);
}

/*
 * A queue that watches the socket in which it is on its way: neither keeps the
 * other. That the other end is closed is reported to the process that has it.
 */
TEST_F(pass, lost_in_a_socket_that_it_watches)
{
	struct pollfd pfd = { .events = POLLIN };
	struct kevent_watch w[2];
	int fds[2], i;

	ASSERT_EQ(0, pipe(fds));
	for (i = 0; i < 2; i++) {
		ASSERT_EQ(1, add_file(Q, &w[i], self->sockets[i],
				      KEVENT_WATCH_VANISHED, i));
		ASSERT_EQ(0, send_queue(self->sockets[i], Q));
		/* This end of the pipe is closed when the socket is. */
		ASSERT_EQ(0, send_fd(self->sockets[i], fds[1]));
	}
	close(fds[1]);
	queue_close(Q);
	close(self->sockets[0]);
	close(self->sockets[1]);
	self->sockets[0] = -1;
	self->sockets[1] = -1;
	pfd.fd = fds[0];
	EXPECT_EQ(1, poll(&pfd, 1, -1));
	EXPECT_EQ(POLLHUP, pfd.revents);
	close(fds[0]);
}

/*
 * Two processes take the events of one queue: posts, and edges of files that
 * each were fired once.
 */
#define POSTS	4000
#define FILES	64
#define ALL	(POSTS + FILES)

struct taken {
	unsigned int count, wrong;
	unsigned int by[2];
	unsigned char times[ALL];
};

static void take_all(struct queue *q, bool copy, struct taken *t, int me)
{
	struct kevent_event ev;

	while (__atomic_load_n(&t->count, __ATOMIC_ACQUIRE) < ALL) {
		if (take_now(q, copy, &ev) != 1) {
			sched_yield();
			continue;
		}
		if (ev.user_data >= ALL ||
		    (ev.user_data < POSTS ? !seq_intact(&ev) :
		     ev.events != KEVENT_POLL_IN))
			__atomic_add_fetch(&t->wrong, 1, __ATOMIC_RELAXED);
		else
			__atomic_add_fetch(&t->times[ev.user_data], 1,
					   __ATOMIC_RELAXED);
		__atomic_add_fetch(&t->by[me], 1, __ATOMIC_RELAXED);
		__atomic_add_fetch(&t->count, 1, __ATOMIC_ACQ_REL);
	}
}

TEST_F(pass, both_take)
{
	int files[FILES], i, done = 0, ret;
	struct kevent_watch w;
	struct taken *t;
	struct queue q;
	pid_t pid[2];

	t = mmap(NULL, sizeof(*t), PROT_READ | PROT_WRITE,
		 MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, t);
	for (i = 0; i < 2; i++) {
		pid[i] = fork_without(Q);
		ASSERT_LE(0, pid[i]);
		if (!pid[i]) {
			if (receive_queue(self->sockets[1], &q))
				_exit(1);
			take_all(&q, COPY, t, i);
			_exit(0);
		}
		ASSERT_EQ(0, send_queue(self->sockets[0], Q));
		/* The socket is a stream: one after the other. */
		while (!__atomic_load_n(&t->by[i], __ATOMIC_ACQUIRE) &&
		       done < (i + 1) * POSTS / 4) {
			ret = seq_post(self->q.fd, done, 1, KEVENT_POST_DEFER);
			if (ret == 1)
				done++;
			usleep(500);
		}
	}
	for (i = 0; i < FILES; i++) {
		files[i] = new_file();
		ASSERT_LE(0, files[i]);
		ASSERT_EQ(1, add_file(Q, &w, files[i], KEVENT_WATCH_EDGE,
				      POSTS + i));
	}
	for (i = 0; done < POSTS || i < FILES;) {
		ret = done < POSTS ? seq_post(self->q.fd, done,
					      POSTS - done < 50 ?
					      POSTS - done : 50,
					      KEVENT_POST_DEFER) : 0;
		ASSERT_LE(0, ret);
		done += ret;
		if (i < FILES)
			ASSERT_EQ(0, fire(files[i++]));
	}
	for (i = 0; i < 2; i++)
		EXPECT_EQ(0, child_status(pid[i]));
	EXPECT_EQ(ALL, t->count);
	EXPECT_EQ(0, t->wrong);
	for (i = 0; i < ALL; i++) {
		EXPECT_EQ(1, t->times[i]) {
			TH_LOG("event %d", i);
			break;
		}
	}
	EXPECT_LT(0, t->by[0]);
	EXPECT_LT(0, t->by[1]);
	EXPECT_EMPTY(Q, COPY);
	munmap(t, sizeof(*t));
}

/* Both sleep: each event wakes one of them, and none is lost. */
TEST_F(pass, both_sleep)
{
	enum { NR = 200 };
	struct gate go;
	struct queue q;
	pid_t pid[2];
	int i;

	ASSERT_EQ(0, gate_init(&go));
	for (i = 0; i < 2; i++) {
		pid[i] = fork_without(Q);
		ASSERT_LE(0, pid[i]);
		if (!pid[i]) {
			struct kevent_event ev;

			if (receive_queue(self->sockets[1], &q))
				_exit(1);
			gate_open(&go);
			do {
				if (take_next(&q, COPY, &ev) != 1)
					_exit(2);
				if (!seq_intact(&ev))
					_exit(3);
				gate_open(&go);
			} while (ev.user_data < NR);
			_exit(0);
		}
		ASSERT_EQ(0, send_queue(self->sockets[0], Q));
		ASSERT_TRUE(gate_pass(&go));
	}
	for (i = 0; i < NR; i++) {
		ASSERT_EQ(1, seq_post(self->q.fd, i, 1, KEVENT_POST_DEFER));
		ASSERT_TRUE(gate_pass(&go));
	}
	/* The last two: one for each of them. */
	ASSERT_EQ(2, seq_post(self->q.fd, NR, 2, KEVENT_POST_DEFER));
	EXPECT_EQ(0, child_status(pid[0]));
	EXPECT_EQ(0, child_status(pid[1]));
	EXPECT_EMPTY(Q, COPY);
}

/* A receiver that is killed while it takes events takes none along for good. */
TEST_F(pass, receiver_is_killed)
{
	struct kevent_event ev;
	struct queue q;
	pid_t pid;
	int i;

	pid = fork_without(Q);
	ASSERT_LE(0, pid);
	if (!pid) {
		if (receive_queue(self->sockets[1], &q))
			_exit(1);
		for (;;)
			take_next(&q, COPY, &ev);
	}
	ASSERT_EQ(0, send_queue(self->sockets[0], Q));
	for (i = 0; i < 50; i++)
		ASSERT_EQ(1, seq_post(self->q.fd, i, 1, KEVENT_POST_DEFER));
	ASSERT_EQ(0, kill(pid, SIGKILL));
	EXPECT_EQ(-SIGKILL, child_status(pid));
	queue_drain(Q);
	for (i = 0; i < 3 * ENTRIES; i++) {
		ASSERT_EQ(1, seq_post(self->q.fd, i, 1, KEVENT_POST_DEFER));
		ASSERT_EQ(1, take_next(Q, COPY, &ev));
		EXPECT_EQ(i, ev.user_data);
	}
}

TEST_HARNESS_MAIN
