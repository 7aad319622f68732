// SPDX-License-Identifier: GPL-2.0
/*
 * KEVENT_SOURCE_POLL: each kind of file that can be polled, each bit, each
 * error. poll(2) is the reference for which bits a file has.
 */
#include <arpa/inet.h>
#include <mqueue.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>
#include <sys/un.h>
#include <termios.h>

#ifndef IPPROTO_MPTCP
#define IPPROTO_MPTCP	262
#endif

#include "poll_test.h"

/*
 * One file of some kind, and what makes it ready.
 */
struct file {
	int fd;			/* what is watched */
	int peer;		/* the other end */
	int extra;		/* one more that has to stay open */
	pid_t pid;
	struct sockaddr_storage addr;
	socklen_t len;
};

struct kind {
	int (*open)(struct file *f);	/* 0, or a negated errno: no such kind */
	void (*fire)(struct file *f);	/* makes it ready, soon */
	void (*quench)(struct file *f);	/* and no longer so; NULL: for good */
	__u32 events;			/* what it then has; not before */
};

#define NO_FILE	"there is no such file here: %s", strerror(errno)

static void drain(int fd)
{
	char buf[4096];

	while (read(fd, buf, sizeof(buf)) > 0)
		;
}

static void one_byte(int fd)
{
	if (write(fd, "x", 1) != 1)
		abort();
}

/* Until no more goes in, and what is on its way has arrived. */
static void fill(int fd)
{
	static const char buf[4096];
	bool more;

	do {
		more = false;
		while (write(fd, buf, sizeof(buf)) > 0)
			more = true;
		while (write(fd, buf, 1) > 0)
			more = true;
		usleep(2000);
	} while (more || polled(fd, POLLOUT) & POLLOUT);
}

/* The other end takes everything, until there is room again. */
static void drain_for(int peer, int fd)
{
	do {
		drain(peer);
		sched_yield();
	} while (!(polled(fd, POLLOUT) & POLLOUT));
}

static void fire_byte(struct file *f)
{
	one_byte(f->peer);
}

static void fire_drain(struct file *f)
{
	drain_for(f->peer, f->fd);
}

static void quench_drain(struct file *f)
{
	until_ready(f->fd, POLLIN);
	drain(f->fd);
}

static void quench_fill(struct file *f)
{
	fill(f->fd);
}

static int open_eventfd(struct file *f)
{
	f->fd = new_file();
	return f->fd < 0 ? -errno : 0;
}

static void fire_eventfd(struct file *f)
{
	efd_fire(f->fd);
}

static void quench_eventfd(struct file *f)
{
	efd_quench(f->fd);
}

/* The other direction: full, and emptied. */
static void fill_eventfd(struct file *f)
{
	__u64 most = ~0ULL - 1;

	if (write(f->fd, &most, sizeof(most)) != sizeof(most))
		abort();
}

static int open_eventfd_full(struct file *f)
{
	int ret = open_eventfd(f);

	if (!ret)
		fill_eventfd(f);
	return ret;
}

static int open_pipe(struct file *f)
{
	int fds[2];

	if (pipe2(fds, O_NONBLOCK | O_CLOEXEC))
		return -errno;
	f->fd = fds[0];
	f->peer = fds[1];
	return 0;
}

static int open_pipe_full(struct file *f)
{
	int fds[2];

	if (pipe2(fds, O_NONBLOCK | O_CLOEXEC))
		return -errno;
	f->fd = fds[1];
	f->peer = fds[0];
	fill(f->fd);
	return 0;
}

/* One that can be read and written waits for both: two wait queues. */
static int open_fifo(struct file *f)
{
	char path[64];
	int ret;

	ret = open_pipe(f);
	if (ret)
		return ret;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", f->fd);
	f->extra = f->fd;
	f->fd = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC);
	return f->fd < 0 ? -errno : 0;
}

static int open_fifo_full(struct file *f)
{
	int ret = open_fifo(f);

	if (ret)
		return ret;
	close(f->peer);
	f->peer = f->extra;
	f->extra = -1;
	fill(f->fd);
	return 0;
}

static int open_pair(struct file *f, int type)
{
	int fds[2];

	if (socketpair(AF_UNIX, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds))
		return -errno;
	f->fd = fds[0];
	f->peer = fds[1];
	return 0;
}

static int open_stream(struct file *f)
{
	return open_pair(f, SOCK_STREAM);
}

static int open_stream_full(struct file *f)
{
	int ret = open_pair(f, SOCK_STREAM);

	if (!ret)
		fill(f->fd);
	return ret;
}

static int open_dgram(struct file *f)
{
	return open_pair(f, SOCK_DGRAM);
}

static int open_seqpacket(struct file *f)
{
	return open_pair(f, SOCK_SEQPACKET);
}

/* The receiver's queue is full: the writer waits for another socket's room. */
static int open_dgram_full(struct file *f)
{
	struct sockaddr_un name = { .sun_family = AF_UNIX };
	socklen_t len = sizeof(name);

	f->peer = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0);
	f->fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0);
	if (f->peer < 0 || f->fd < 0)
		return -errno;
	if (bind(f->peer, (void *)&name, sizeof(sa_family_t)) ||
	    getsockname(f->peer, (void *)&name, &len) ||
	    connect(f->fd, (void *)&name, len))
		return -errno;
	fill(f->fd);
	return 0;
}

/* The loopback interface may still be down. */
static int loopback_up(void)
{
	struct ifreq req = { .ifr_name = "lo" };
	int ret = 0, fd = socket(AF_INET, SOCK_DGRAM, 0);

	if (fd < 0)
		return -errno;
	if (ioctl(fd, SIOCGIFFLAGS, &req)) {
		ret = -errno;
	} else if (!(req.ifr_flags & IFF_UP)) {
		req.ifr_flags |= IFF_UP;
		if (ioctl(fd, SIOCSIFFLAGS, &req))
			ret = -errno;
	}
	close(fd);
	return ret;
}

/* A socket on the loopback interface, with an address of its own. */
static int inet_socket(int family, int type, struct file *f)
{
	struct sockaddr_in6 *in6 = (void *)&f->addr;
	struct sockaddr_in *in = (void *)&f->addr;
	int fd, ret;

	ret = loopback_up();
	if (ret)
		return ret;
	fd = socket(family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	memset(&f->addr, 0, sizeof(f->addr));
	if (family == AF_INET) {
		in->sin_family = AF_INET;
		in->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
		f->len = sizeof(*in);
	} else {
		in6->sin6_family = AF_INET6;
		in6->sin6_addr = in6addr_loopback;
		f->len = sizeof(*in6);
	}
	if (bind(fd, (void *)&f->addr, f->len) ||
	    getsockname(fd, (void *)&f->addr, &f->len)) {
		ret = -errno;
		close(fd);
		return ret;
	}
	return fd;
}

static int tcp_socket(void)
{
	return socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
}

static int open_tcp_listen(struct file *f)
{
	f->fd = inet_socket(AF_INET, SOCK_STREAM, f);
	if (f->fd < 0)
		return f->fd;
	return listen(f->fd, 8) ? -errno : 0;
}

static void fire_connect(struct file *f)
{
	f->peer = tcp_socket();
	if (f->peer < 0 ||
	    (connect(f->peer, (void *)&f->addr, f->len) &&
	     errno != EINPROGRESS))
		abort();
}

static void quench_accept(struct file *f)
{
	until_ready(f->fd, POLLIN);
	close(accept(f->fd, NULL, NULL));
	close(f->peer);
	f->peer = -1;
}

/* Both ends of a connection. */
static int open_tcp(struct file *f)
{
	int ret, server;

	ret = open_tcp_listen(f);
	if (ret)
		return ret;
	server = f->fd;
	fire_connect(f);
	until_ready(server, POLLIN);
	f->fd = accept4(server, NULL, NULL, SOCK_NONBLOCK);
	close(server);
	until_ready(f->peer, POLLOUT);
	return f->fd < 0 ? -errno : 0;
}

static int open_tcp_full(struct file *f)
{
	int ret = open_tcp(f);

	if (!ret)
		fill(f->fd);
	return ret;
}

static int open_udp_family(struct file *f, int family)
{
	f->fd = inet_socket(family, SOCK_DGRAM, f);
	if (f->fd < 0)
		return f->fd;
	f->peer = socket(family, SOCK_DGRAM | SOCK_NONBLOCK, 0);
	if (f->peer < 0 || connect(f->peer, (void *)&f->addr, f->len))
		return -errno;
	return 0;
}

static int open_udp(struct file *f)
{
	return open_udp_family(f, AF_INET);
}

static int open_udp6(struct file *f)
{
	return open_udp_family(f, AF_INET6);
}

static int open_timerfd(struct file *f)
{
	f->fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
	return f->fd < 0 ? -errno : 0;
}

static void fire_timerfd(struct file *f)
{
	struct itimerspec soon = { .it_value.tv_nsec = 1 };

	timerfd_settime(f->fd, 0, &soon, NULL);
}

static int open_signalfd(struct file *f)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	f->pid = getpid();
	f->fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
	return f->fd < 0 ? -errno : 0;
}

static void fire_signalfd(struct file *f)
{
	kill(f->pid, SIGUSR1);
}

static int open_pidfd(struct file *f)
{
	int fds[2];
	char c;

	if (pipe2(fds, O_CLOEXEC))
		return -errno;
	f->pid = fork();
	if (f->pid < 0)
		return -errno;
	if (!f->pid) {
		close(fds[1]);
		_exit(read(fds[0], &c, 1));
	}
	close(fds[0]);
	f->peer = fds[1];
	f->fd = syscall(SYS_pidfd_open, f->pid, 0);
	return f->fd < 0 ? -errno : 0;
}

static int open_inotify(struct file *f)
{
	char shm[] = "/dev/shm/kevent-XXXXXX", tmp[] = "/tmp/kevent-XXXXXX";
	char *path = tmp;

	f->peer = mkstemp(tmp);
	if (f->peer < 0) {
		path = shm;
		f->peer = mkstemp(shm);
	}
	f->fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
	if (f->peer < 0 || f->fd < 0 ||
	    inotify_add_watch(f->fd, path, IN_MODIFY) < 0)
		return -errno;
	unlink(path);
	return 0;
}

/* Bytes pass through both ends as they are. */
static int open_pty(struct file *f)
{
	struct termios raw;
	char name[64];

	f->fd = posix_openpt(O_RDWR | O_NOCTTY | O_NONBLOCK);
	if (f->fd < 0 || grantpt(f->fd) || unlockpt(f->fd) ||
	    ptsname_r(f->fd, name, sizeof(name)))
		return -errno;
	f->peer = open(name, O_RDWR | O_NOCTTY | O_NONBLOCK);
	if (f->peer < 0 || tcgetattr(f->peer, &raw))
		return -errno;
	cfmakeraw(&raw);
	return tcsetattr(f->peer, TCSANOW, &raw) ? -errno : 0;
}

static int open_tty(struct file *f)
{
	int ret = open_pty(f), fd = f->fd;

	f->fd = f->peer;
	f->peer = fd;
	return ret;
}

static mqd_t open_queue(struct file *f)
{
	struct mq_attr attr = { .mq_maxmsg = 1, .mq_msgsize = 8 };
	char name[64];

	snprintf(name, sizeof(name), "/kevent-%d", getpid());
	f->fd = mq_open(name, O_RDWR | O_CREAT | O_NONBLOCK, 0600, &attr);
	if (f->fd < 0)
		return -errno;
	mq_unlink(name);
	return 0;
}

static void mq_put(struct file *f)
{
	if (mq_send(f->fd, "x", 1, 0))
		abort();
}

static void mq_get(struct file *f)
{
	char buf[8];

	if (mq_receive(f->fd, buf, sizeof(buf), NULL) < 0)
		abort();
}

static int open_queue_full(struct file *f)
{
	int ret = open_queue(f);

	if (!ret)
		mq_put(f);
	return ret;
}

/*
 * The kinds.
 */
FIXTURE(kind)
{
	struct file f;
	struct queue q;		/* with a ring */
	struct queue bare;	/* without */
};

FIXTURE_VARIANT(kind)
{
	struct kind kind;
};

FIXTURE_VARIANT_ADD(kind, eventfd)
{
	.kind = { open_eventfd, fire_eventfd, quench_eventfd, IN },
};

FIXTURE_VARIANT_ADD(kind, eventfd_full)
{
	.kind = { open_eventfd_full, quench_eventfd, fill_eventfd, OUT },
};

FIXTURE_VARIANT_ADD(kind, pipe)
{
	.kind = { open_pipe, fire_byte, quench_drain, IN | RDNORM },
};

FIXTURE_VARIANT_ADD(kind, pipe_full)
{
	.kind = { open_pipe_full, fire_drain, quench_fill,
		  OUT | WRNORM },
};

FIXTURE_VARIANT_ADD(kind, fifo)
{
	.kind = { open_fifo, fire_byte, quench_drain, IN | RDNORM },
};

FIXTURE_VARIANT_ADD(kind, fifo_full)
{
	.kind = { open_fifo_full, fire_drain, quench_fill,
		  OUT | WRNORM },
};

FIXTURE_VARIANT_ADD(kind, unix_stream)
{
	.kind = { open_stream, fire_byte, quench_drain, IN | RDNORM },
};

FIXTURE_VARIANT_ADD(kind, unix_stream_full)
{
	.kind = { open_stream_full, fire_drain, quench_fill,
		  OUT | WRNORM | WRBAND },
};

FIXTURE_VARIANT_ADD(kind, unix_dgram)
{
	.kind = { open_dgram, fire_byte, quench_drain, IN | RDNORM },
};

FIXTURE_VARIANT_ADD(kind, unix_dgram_full)
{
	.kind = { open_dgram_full, fire_drain, quench_fill,
		  OUT | WRNORM | WRBAND },
};

FIXTURE_VARIANT_ADD(kind, unix_seqpacket)
{
	.kind = { open_seqpacket, fire_byte, quench_drain, IN | RDNORM },
};

FIXTURE_VARIANT_ADD(kind, tcp_listen)
{
	.kind = { open_tcp_listen, fire_connect, quench_accept,
		  IN | RDNORM },
};

FIXTURE_VARIANT_ADD(kind, tcp)
{
	.kind = { open_tcp, fire_byte, quench_drain, IN | RDNORM },
};

FIXTURE_VARIANT_ADD(kind, tcp_full)
{
	.kind = { open_tcp_full, fire_drain, quench_fill, OUT | WRNORM },
};

FIXTURE_VARIANT_ADD(kind, udp)
{
	.kind = { open_udp, fire_byte, quench_drain, IN | RDNORM },
};

FIXTURE_VARIANT_ADD(kind, udp6)
{
	.kind = { open_udp6, fire_byte, quench_drain, IN | RDNORM },
};

FIXTURE_VARIANT_ADD(kind, timerfd)
{
	.kind = { open_timerfd, fire_timerfd, quench_drain, IN },
};

FIXTURE_VARIANT_ADD(kind, signalfd)
{
	.kind = { open_signalfd, fire_signalfd, quench_drain, IN },
};

FIXTURE_VARIANT_ADD(kind, pidfd)
{
	.kind = { open_pidfd, fire_byte, NULL, IN | RDNORM },
};

FIXTURE_VARIANT_ADD(kind, inotify)
{
	.kind = { open_inotify, fire_byte, quench_drain, IN | RDNORM },
};

FIXTURE_VARIANT_ADD(kind, pty)
{
	.kind = { open_pty, fire_byte, quench_drain, IN | RDNORM },
};

FIXTURE_VARIANT_ADD(kind, tty)
{
	.kind = { open_tty, fire_byte, quench_drain, IN | RDNORM },
};

FIXTURE_VARIANT_ADD(kind, mqueue)
{
	.kind = { open_queue, mq_put, mq_get, IN | RDNORM },
};

FIXTURE_VARIANT_ADD(kind, mqueue_full)
{
	.kind = { open_queue_full, mq_get, mq_put, OUT | WRNORM },
};

static void file_init(struct file *f)
{
	memset(f, 0, sizeof(*f));
	f->fd = -1;
	f->peer = -1;
	f->extra = -1;
}

static bool opened(struct file *f, int (*open)(struct file *f))
{
	int ret = open(f);

	errno = -ret;
	return !ret;
}

FIXTURE_SETUP(kind)
{
	file_init(&self->f);
	ASSERT_LE(0, queue_open(&self->q, 8));
	ASSERT_LE(0, queue_open(&self->bare, 0));
	if (!opened(&self->f, variant->kind.open))
		SKIP(return, NO_FILE);
}

FIXTURE_TEARDOWN(kind)
{
	queue_close(&self->q);
	queue_close(&self->bare);
	if (self->f.fd >= 0)
		close(self->f.fd);
	if (self->f.peer >= 0)
		close(self->f.peer);
}

/* Otherwise there is nothing to test. */
TEST_F(kind, is_ready_only_when_fired)
{
	const struct kind *kind = &variant->kind;
	struct file *f = &self->f;

	EXPECT_EQ(0, polled(f->fd, kind->events));
	kind->fire(f);
	until_ready(f->fd, kind->events);
	EXPECT_EQ(kind->events, polled(f->fd, kind->events));
	if (!kind->quench)
		return;
	kind->quench(f);
	EXPECT_EQ(0, polled(f->fd, kind->events));
}

TEST_F(kind, a_sleeper_at_the_ring_is_woken)
{
	const struct kind *kind = &variant->kind;
	struct kevent_watch w = watch_poll(self->f.fd, kind->events, 0, 7);
	struct waiter waiter;

	ASSERT_EQ(1, add_one(&self->q, &w));
	EXPECT_EMPTY(&self->q, false);
	ASSERT_EQ(0, waiter_start(&waiter, self->q.fd, 0, 1));
	ASSERT_TRUE(sleeper_asleep(&waiter.sleeper));
	kind->fire(&self->f);
	EXPECT_EQ(1, sleeper_join(&waiter.sleeper));
	EXPECT_TRUE(ring_ready(&self->q, 0));
	EXPECT_REPORTED(&self->q, false, 7, kind->events);
}

/* A sleeper's call: one event, the other way. */
struct taking {
	struct queue *q;
	struct kevent_event ev;
};

static int taking_call(void *arg)
{
	struct taking *t = arg;

	return take_next(t->q, true, &t->ev);
}

TEST_F(kind, a_sleeper_in_get_events_is_woken)
{
	const struct kind *kind = &variant->kind;
	struct queue *queues[] = { &self->q, &self->bare };
	struct kevent_watch w;
	struct sleeper s;
	struct taking t;
	int i;

	for (i = 0; i < 2; i++) {
		w = watch_poll(self->f.fd, kind->events, EDGE, 1ULL << 63 | i);
		ASSERT_EQ(1, add_one(queues[i], &w));
		t.q = queues[i];
		ASSERT_EQ(0, sleeper_start(&s, taking_call, &t));
		ASSERT_TRUE(sleeper_asleep(&s));
		kind->fire(&self->f);
		EXPECT_EQ(1, sleeper_join(&s));
		EXPECT_EQ(1ULL << 63 | i, t.ev.user_data);
		EXPECT_EQ(kind->events, t.ev.events);
		EXPECT_EQ(KEVENT_SOURCE_POLL, t.ev.info & 0xffff);
		EXPECT_EQ(0, t.ev.data);
		EXPECT_EQ(0, t.ev.extra);
		if (!kind->quench)
			break;
		kind->quench(&self->f);
	}
}

/* Fires when reported to. */
struct trigger {
	pthread_t thread;
	const struct kind *kind;
	struct file *f;
	int go;
};

static void *trigger_main(void *arg)
{
	struct trigger *t = arg;

	while (!__atomic_load_n(&t->go, __ATOMIC_ACQUIRE))
		sched_yield();
	t->kind->fire(t->f);
	return NULL;
}

/*
 * No system call at all from the moment when it is fired, unless the wake-up
 * does not say what it is for: the ring's header asks for one then.
 */
TEST_F(kind, looking_at_the_ring_is_enough)
{
	const struct kind *kind = &variant->kind;
	struct kevent_watch w = watch_poll(self->f.fd, kind->events, 0, 3);
	struct trigger t = { .kind = kind, .f = &self->f };
	struct kevent_event ev;

	ASSERT_EQ(0, pthread_create(&t.thread, NULL, trigger_main, &t));
	ASSERT_EQ(1, add_one(&self->q, &w));
	EXPECT_FALSE(ring_ready(&self->q, 0));
	__atomic_store_n(&t.go, 1, __ATOMIC_RELEASE);
	while (!ring_ready(&self->q, 0)) {
		if (ring_flags(&self->q) & KEVENT_RING_RECHECK)
			queue_refill(&self->q);
	}
	ASSERT_EQ(1, ring_take(&self->q, &ev));
	pthread_join(t.thread, NULL);
	EXPECT_EQ(3, ev.user_data);
	EXPECT_EQ(kind->events, ev.events);
}

TEST_F(kind, firing_it_oneself_is_seen_at_once)
{
	const struct kind *kind = &variant->kind;
	struct queue *queues[] = { &self->q, &self->bare };
	struct kevent_watch w = watch_poll(self->f.fd, kind->events, 0, 4);
	int i;

	for (i = 0; i < 2; i++)
		ASSERT_EQ(1, add_one(queues[i], &w));
	kind->fire(&self->f);
	until_ready(self->f.fd, kind->events);
	for (i = 0; i < 2; i++) {
		struct kevent_event ev = {};

		ASSERT_EQ(1, take_now(queues[i], true, &ev));
		EXPECT_EQ(4, ev.user_data);
		EXPECT_EQ(kind->events, ev.events);
	}
}

TEST_F(kind, another_process_may_fire_it)
{
	const struct kind *kind = &variant->kind;
	struct queue *queues[] = { &self->q, &self->bare };
	struct kevent_watch w = watch_poll(self->f.fd, kind->events, 0, 5);
	int i, status;
	pid_t pid;

	for (i = 0; i < 2; i++)
		ASSERT_EQ(1, add_one(queues[i], &w));
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		kind->fire(&self->f);
		/* Else closing a socket on the way out ends a connection. */
		until_ready(self->f.fd, kind->events);
		_exit(0);
	}
	for (i = 0; i < 2; i++)
		EXPECT_REPORTED(queues[i], true, 5, kind->events);
	/* It may poll something else, such as its own signals. */
	if (kind->fire == fire_signalfd)
		kill(pid, SIGKILL);
	EXPECT_EQ(pid, waitpid(pid, &status, 0));
}

static int poll_call(void *arg)
{
	struct pollfd *pfd = arg;

	return poll(pfd, 1, -1);
}

TEST_F(kind, the_queue_polls_as_readable)
{
	const struct kind *kind = &variant->kind;
	struct queue *queues[] = { &self->q, &self->bare };
	struct kevent_watch w;
	struct pollfd pfd;
	struct sleeper s;
	int i;

	for (i = 0; i < 2; i++) {
		w = watch_poll(self->f.fd, kind->events, EDGE, 6);
		ASSERT_EQ(1, add_one(queues[i], &w));
		EXPECT_FALSE(queue_readable(queues[i]));
		pfd.fd = queues[i]->fd;
		pfd.events = POLLIN | POLLRDNORM | POLLOUT;
		ASSERT_EQ(0, sleeper_start(&s, poll_call, &pfd));
		ASSERT_TRUE(sleeper_asleep(&s));
		kind->fire(&self->f);
		EXPECT_EQ(1, sleeper_join(&s));
		EXPECT_EQ(POLLIN | POLLRDNORM, pfd.revents);
		EXPECT_REPORTED(queues[i], true, 6, kind->events);
		if (!kind->quench)
			break;
		kind->quench(&self->f);
	}
}

/* In both modes, and exactly the bits that poll(2) reports. */
TEST_F(kind, what_is_ready_already_is_reported_at_once)
{
	static const __u32 modes[] = { LEVEL, EDGE, ONESHOT, DISPATCH };
	const struct kind *kind = &variant->kind;
	struct queue *queues[] = { &self->q, &self->bare };
	struct kevent_watch w;
	size_t i;

	kind->fire(&self->f);
	until_ready(self->f.fd, kind->events);
	for (i = 0; i < 2 * ARRAY_SIZE(modes); i++) {
		struct queue *q = queues[i % 2];
		struct kevent_event ev = {};

		w = watch_poll(self->f.fd, INTEREST, modes[i / 2], i);
		ASSERT_EQ(1, add_one(q, &w));
		EXPECT_TRUE(queue_readable(q));
		ASSERT_EQ(1, take_now(q, i % 4 == 0, &ev));
		EXPECT_EQ(i, ev.user_data);
		EXPECT_EQ(polled(self->f.fd, INTEREST), ev.events);
		EXPECT_EQ(modes[i / 2] == ONESHOT ? -ENOENT : 1,
			  remove_one(q, w.handle));
		EXPECT_EMPTY(q, true);
	}
}

TEST_F(kind, reported_again_and_again_while_it_is_ready)
{
	const struct kind *kind = &variant->kind;
	struct queue *queues[] = { &self->q, &self->bare };
	struct kevent_watch w = watch_poll(self->f.fd, kind->events, LEVEL, 9);
	int i, j;

	for (i = 0; i < 2; i++)
		ASSERT_EQ(1, add_one(queues[i], &w));
	kind->fire(&self->f);
	until_ready(self->f.fd, kind->events);
	for (j = 0; j < 5; j++) {
		for (i = 0; i < 2; i++)
			EXPECT_REPORTED(queues[i], i, 9, kind->events);
	}
	if (!kind->quench)
		return;
	kind->quench(&self->f);
	for (i = 0; i < 2; i++) {
		EXPECT_EMPTY(queues[i], true);
		EXPECT_FALSE(queue_readable(queues[i]));
	}
}

TEST_F(kind, each_time_it_is_fired_it_is_reported)
{
	static const __u32 modes[] = { LEVEL, EDGE };
	const struct kind *kind = &variant->kind;
	struct kevent_watch w;
	struct kevent_event ev;
	size_t m;
	int i;

	if (!kind->quench)
		SKIP(return, "it is fired but once");
	for (m = 0; m < ARRAY_SIZE(modes); m++) {
		w = watch_poll(self->f.fd, kind->events, modes[m], m);
		ASSERT_EQ(1, add_one(&self->q, &w));
		for (i = 0; i < 10; i++) {
			kind->fire(&self->f);
			EXPECT_REPORTED(&self->q, i & 1, m, kind->events);
			kind->quench(&self->f);
			/* One that was merged into nothing, or is stale. */
			while (take_now(&self->q, true, &ev) == 1)
				;
		}
		ASSERT_EQ(1, remove_one(&self->q, w.handle));
	}
}

TEST_F(kind, a_bit_that_is_not_asked_for_is_not_reported)
{
	const struct kind *kind = &variant->kind;
	struct queue *queues[] = { &self->q, &self->bare };
	struct kevent_watch w;
	int i, bit;

	/* One watch for none, and one each for a single bit. */
	for (i = 0; i < 2; i++) {
		w = watch_poll(self->f.fd, 0, LEVEL, 0);
		ASSERT_EQ(1, add_one(queues[i], &w));
		for (bit = 0; bit < 16; bit++) {
			w.events = 1U << bit;
			w.user_data = w.events;
			if (w.events & kind->events)
				ASSERT_EQ(1, add_one(queues[i], &w));
		}
		EXPECT_EMPTY(queues[i], true);
	}
	kind->fire(&self->f);
	until_ready(self->f.fd, kind->events);
	for (i = 0; i < 2; i++) {
		__u32 seen = 0;

		while (seen != kind->events) {
			struct kevent_event ev = {};

			ASSERT_EQ(1, take_next(queues[i], true, &ev));
			ASSERT_EQ(ev.user_data, ev.events);
			seen |= ev.events;
		}
	}
}

#define WATCHES	5

TEST_F(kind, watched_many_times)
{
	const struct kind *kind = &variant->kind;
	struct queue *queues[] = { &self->q, &self->bare };
	struct kevent_watch w[2 * WATCHES];
	int i;

	for (i = 0; i < 2 * WATCHES; i++) {
		w[i] = watch_poll(self->f.fd, kind->events, EDGE, i);
		ASSERT_EQ(1, add_one(queues[i % 2], &w[i]));
	}
	kind->fire(&self->f);
	for (i = 0; i < 2; i++) {
		int seen[2 * WATCHES] = {}, distinct = 0;

		while (distinct < WATCHES) {
			struct kevent_event ev = {};

			ASSERT_EQ(1, take_next(queues[i], true, &ev));
			ASSERT_GT(2 * WATCHES, ev.user_data);
			ASSERT_EQ(i, ev.user_data % 2);
			ASSERT_EQ(kind->events, ev.events);
			distinct += !seen[ev.user_data]++;
		}
	}
	for (i = 0; i < 2 * WATCHES; i++)
		EXPECT_EQ(1, remove_one(queues[i % 2], w[i].handle));
}

TEST_F(kind, a_removed_watch_reports_nothing)
{
	const struct kind *kind = &variant->kind;
	struct queue *queues[] = { &self->q, &self->bare };
	struct kevent_watch gone, stays;
	struct kevent_event ev;
	int i;

	for (i = 0; i < 2; i++) {
		gone = watch_poll(self->f.fd, kind->events, LEVEL, 1);
		stays = watch_poll(self->f.fd, kind->events, LEVEL, 2);
		ASSERT_EQ(1, add_one(queues[i], &gone));
		ASSERT_EQ(1, add_one(queues[i], &stays));
		EXPECT_EQ(1, remove_one(queues[i], gone.handle));
		EXPECT_EQ(-ENOENT, remove_one(queues[i], gone.handle));
	}
	kind->fire(&self->f);
	for (i = 0; i < 2; i++) {
		EXPECT_REPORTED(queues[i], i, 2, kind->events);
		EXPECT_EQ(1, remove_one(queues[i], stays.handle));
		EXPECT_EQ(0, take_now(queues[i], true, &ev));
	}
}

TEST_F(kind, removed_with_its_event_unconsumed)
{
	const struct kind *kind = &variant->kind;
	struct queue *queues[] = { &self->q, &self->bare };
	struct kevent_watch w = watch_poll(self->f.fd, kind->events, LEVEL, 1);
	int i;

	kind->fire(&self->f);
	until_ready(self->f.fd, kind->events);
	for (i = 0; i < 2; i++) {
		ASSERT_EQ(1, add_one(queues[i], &w));
		EXPECT_EQ(1, queue_refill(queues[i]));
		EXPECT_EQ(1, remove_one(queues[i], w.handle));
		EXPECT_EMPTY(queues[i], false);
		EXPECT_EMPTY(queues[i], true);
		EXPECT_FALSE(queue_readable(queues[i]));
	}
}

/* Neither end of it knows of the other's end. */
TEST_F(kind, the_queue_goes_first)
{
	const struct kind *kind = &variant->kind;
	struct kevent_watch w = watch_poll(self->f.fd, kind->events, LEVEL, 1);

	ASSERT_EQ(1, add_one(&self->q, &w));
	ASSERT_EQ(1, add_one(&self->bare, &w));
	queue_close(&self->q);
	kind->fire(&self->f);
	queue_close(&self->bare);
	until_ready(self->f.fd, kind->events);
	if (kind->quench) {
		kind->quench(&self->f);
		kind->fire(&self->f);
	}
}

TEST_F(kind, the_file_goes_first)
{
	const struct kind *kind = &variant->kind;
	struct kevent_watch w = watch_poll(self->f.fd, kind->events, LEVEL, 1);

	ASSERT_EQ(1, add_one(&self->q, &w));
	kind->fire(&self->f);
	EXPECT_REPORTED(&self->q, false, 1, kind->events);
	/* It is to be tested again, but there is nothing to be tested. */
	close(self->f.fd);
	self->f.fd = -1;
	EXPECT_EMPTY(&self->q, true);
	EXPECT_EQ(-ENOENT, remove_one(&self->q, w.handle));
}

TEST_F(kind, a_dozen_descriptors_of_one_file)
{
	const struct kind *kind = &variant->kind;
	struct kevent_watch w[12];
	__u32 seen = 0;
	int i;

	for (i = 0; i < 12; i++) {
		w[i] = watch_poll(dup(self->f.fd), kind->events, ONESHOT, i);
		ASSERT_EQ(1, add_one(&self->bare, &w[i]));
	}
	kind->fire(&self->f);
	for (i = 0; i < 12; i++) {
		struct kevent_event ev = {};

		ASSERT_EQ(1, take_next(&self->bare, true, &ev));
		ASSERT_GT(12, ev.user_data);
		ASSERT_EQ(kind->events, ev.events);
		seen |= 1U << ev.user_data;
	}
	EXPECT_EQ(0xfff, seen);
	EXPECT_EMPTY(&self->bare, true);
	for (i = 0; i < 12; i++)
		close(w[i].ident);
}

/*
 * Records: what is accepted and what is not.
 */
FIXTURE(record)
{
	struct queue q;
	int fd;		/* ready to be read and to be written */
};

FIXTURE_SETUP(record)
{
	ASSERT_LE(0, queue_open(&self->q, 64));
	self->fd = new_file();
	ASSERT_LE(0, self->fd);
	efd_fire(self->fd);
}

FIXTURE_TEARDOWN(record)
{
	queue_close(&self->q);
	close(self->fd);
}

/* The record is refused, with the error in its result, and reports nothing. */
#define EXPECT_REFUSED(err, watch)					\
do {									\
	struct kevent_watch __w = (watch);				\
	int __err = (err);						\
									\
	__w.result = 0x55;						\
	__w.handle = 0x55;						\
	EXPECT_EQ(__err, add_one(&self->q, &__w)) {			\
		TH_LOG("ident %#llx, events %#x, flags %#x",		\
		       __w.ident, __w.events, __w.flags);		\
	}								\
	EXPECT_EQ(__err, __w.result);					\
	EXPECT_EQ(0, __w.handle);					\
} while (0)

TEST_F(record, result_and_handle_are_written_back)
{
	struct kevent_watch w = watch_poll(self->fd, IN, EDGE, ~0ULL), before;

	w.result = 0x55;
	before = w;
	EXPECT_EQ(1, add_one(&self->q, &w));
	EXPECT_EQ(0, w.result);
	EXPECT_NE(0, w.handle);
	before.result = 0;
	before.handle = w.handle;
	EXPECT_EQ(0, memcmp(&before, &w, sizeof(w)));
	EXPECT_REPORTED(&self->q, false, ~0ULL, IN);
}

TEST_F(record, every_bit_of_interest)
{
	struct kevent_watch w = watch_poll(self->fd, 0, LEVEL, 0);
	int bit;

	for (bit = 0; bit < 32; bit++) {
		w.events = 1U << bit;
		if (!(w.events & INTEREST)) {
			EXPECT_REFUSED(-EINVAL, w);
			w.events |= IN | OUT;
			EXPECT_REFUSED(-EINVAL, w);
			continue;
		}
		EXPECT_EQ(1, add_one(&self->q, &w));
		if (w.events & (IN | OUT))
			EXPECT_REPORTED(&self->q, false, 0, w.events);
		EXPECT_EQ(1, remove_one(&self->q, w.handle));
		EXPECT_EMPTY(&self->q, true);
	}
	w.events = INTEREST;
	EXPECT_EQ(1, add_one(&self->q, &w));
	EXPECT_REPORTED(&self->q, false, 0, IN | OUT);
	w.events = ~0U;
	EXPECT_REFUSED(-EINVAL, w);
}

TEST_F(record, interest_in_nothing)
{
	struct kevent_watch w = watch_poll(self->fd, 0, LEVEL, 0);

	EXPECT_EQ(1, add_one(&self->q, &w));
	efd_fire(self->fd);
	efd_quench(self->fd);
	EXPECT_EMPTY(&self->q, false);
	EXPECT_EMPTY(&self->q, true);
	EXPECT_EQ(1, remove_one(&self->q, w.handle));
}

TEST_F(record, arguments_must_be_zero)
{
	struct kevent_watch w;
	int i;

	for (i = 0; i < 4; i++) {
		w = watch_poll(self->fd, IN, LEVEL, 0);
		w.arg[i] = 1;
		EXPECT_REFUSED(-EINVAL, w);
		w.arg[i] = 1ULL << 63;
		EXPECT_REFUSED(-EINVAL, w);
	}
	EXPECT_EMPTY(&self->q, true);
}

TEST_F(record, flags)
{
	static const __u32 good[] = {
		LEVEL, EDGE, ONESHOT, DISPATCH, DISABLED, EXCLUSIVE, VANISHED,
		EDGE | ONESHOT, EDGE | DISPATCH, EDGE | EXCLUSIVE,
		DISABLED | EDGE | ONESHOT | VANISHED,
		DISABLED | EXCLUSIVE | VANISHED | EDGE,
	};
	static const __u32 bad[] = {
		ONESHOT | DISPATCH, EDGE | ONESHOT | DISPATCH,
		EXCLUSIVE | ONESHOT, EXCLUSIVE | DISPATCH,
		EXCLUSIVE | EDGE | ONESHOT, EXCLUSIVE | EDGE | DISPATCH,
		KEVENT_WATCH_ABSTIME, KEVENT_WATCH_TAKE, KEVENT_WATCH_EXPECT,
		EDGE | KEVENT_WATCH_ABSTIME, ~0U,
	};
	struct kevent_watch w = watch_poll(self->fd, IN, 0, 1);
	size_t i;
	int bit;

	for (i = 0; i < ARRAY_SIZE(good); i++) {
		struct kevent_event ev = {};

		w.flags = good[i];
		EXPECT_EQ(1, add_one(&self->q, &w)) {
			TH_LOG("flags %#x", w.flags);
		}
		EXPECT_EQ(!(w.flags & DISABLED),
			  take_now(&self->q, false, &ev));
		EXPECT_EQ(w.flags & ONESHOT && !(w.flags & DISABLED) ?
			  -ENOENT : 1, remove_one(&self->q, w.handle));
		EXPECT_EMPTY(&self->q, true);
	}
	for (i = 0; i < ARRAY_SIZE(bad); i++) {
		w.flags = bad[i];
		EXPECT_REFUSED(-EINVAL, w);
	}
	for (bit = 6; bit < 32; bit++) {
		w.flags = 1U << bit;
		EXPECT_REFUSED(-EINVAL, w);
	}
	EXPECT_EMPTY(&self->q, true);
}

/* The whole 64 bits of it: none are cut off. */
TEST_F(record, what_is_no_descriptor)
{
	struct kevent_watch w = watch_poll(self->fd, IN, LEVEL, 1);
	int closed = dup(self->fd);
	const __u64 idents[] = {
		closed, ~0ULL, -2ULL, INT_MIN, INT_MAX, 1ULL << 31, 1ULL << 32,
		1ULL << 63, 1ULL << 32 | self->fd, 1ULL << 31 | self->fd,
		1ULL << 63 | self->fd, 0xffffffff00000000ULL | self->fd,
		0xffffffff, AT_FDCWD, 1000000,
	};
	size_t i;

	close(closed);
	for (i = 0; i < ARRAY_SIZE(idents); i++) {
		w.ident = idents[i];
		EXPECT_REFUSED(-EBADF, w);
	}
	EXPECT_EMPTY(&self->q, true);
}

TEST_F(record, descriptors_that_are_only_a_path)
{
	static const char *const paths[] = { "/", "/dev/null", "/proc/self/mem" };
	struct kevent_watch w = watch_poll(-1, IN, LEVEL, 1);
	char path[64];
	size_t i;

	for (i = 0; i < ARRAY_SIZE(paths); i++) {
		w.ident = open(paths[i], O_PATH);
		if ((int)w.ident < 0)
			continue;
		EXPECT_REFUSED(-EBADF, w);
		close(w.ident);
	}
	/* Even of what could be polled. */
	snprintf(path, sizeof(path), "/proc/self/fd/%d", self->fd);
	w.ident = open(path, O_PATH);
	ASSERT_LE(0, (int)w.ident);
	EXPECT_REFUSED(-EBADF, w);
	close(w.ident);
}

/* epoll_ctl(2) has the same rule. */
static bool epoll_refuses(int fd)
{
	struct epoll_event ev = { .events = EPOLLIN };
	int ep = epoll_create1(0);
	int ret = epoll_ctl(ep, EPOLL_CTL_ADD, fd, &ev);
	int error = errno;

	close(ep);
	return ret && error == EPERM;
}

TEST_F(record, files_that_are_always_ready)
{
	static const char *const paths[] = {
		"/", "/dev", "/proc", "/proc/self", "/proc/self/exe",
		"/proc/self/stat", "/dev/null", "/dev/zero", "/proc/self/mounts",
		"/dev/urandom", "/dev/kmsg", "/sys/kernel/uevent_seqnum",
	};
	struct kevent_watch w = watch_poll(-1, IN, LEVEL, 1);
	int fd, refused = 0, accepted = 0;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(paths); i++) {
		fd = open(paths[i], O_RDONLY | O_NONBLOCK);
		if (fd < 0)
			continue;
		w.ident = fd;
		if (epoll_refuses(fd)) {
			EXPECT_REFUSED(-EPERM, w);
			refused++;
		} else {
			EXPECT_EQ(1, add_one(&self->q, &w)) {
				TH_LOG("%s", paths[i]);
			}
			if (polled(fd, IN))
				EXPECT_REPORTED(&self->q, false, 1,
						polled(fd, IN));
			EXPECT_EQ(1, remove_one(&self->q, w.handle));
			accepted++;
		}
		EXPECT_EMPTY(&self->q, true);
		close(fd);
	}
	EXPECT_LT(0, refused);
	EXPECT_LT(0, accepted);

	fd = memfd_create("kevent", 0);
	if (fd >= 0) {
		w.ident = fd;
		EXPECT_REFUSED(-EPERM, w);
		close(fd);
	}
}

TEST_F(record, epoll_is_refused)
{
	struct epoll_event ev = { .events = EPOLLIN };
	int ep = epoll_create1(0), fd;
	struct kevent_watch w;

	ASSERT_LE(0, ep);
	w = watch_poll(ep, IN, LEVEL, 1);
	EXPECT_REFUSED(-ELOOP, w);
	ASSERT_EQ(0, epoll_ctl(ep, EPOLL_CTL_ADD, self->fd, &ev));
	EXPECT_REFUSED(-ELOOP, w);
	w.events = 0;
	EXPECT_REFUSED(-ELOOP, w);
	fd = dup(ep);
	w.ident = fd;
	EXPECT_REFUSED(-ELOOP, w);
	EXPECT_EMPTY(&self->q, true);
	close(fd);
	close(ep);
}

TEST_F(record, the_queue_itself_is_refused)
{
	struct kevent_watch w = watch_poll(self->q.fd, IN, LEVEL, 1);
	int fd = dup(self->q.fd);

	EXPECT_REFUSED(-ELOOP, w);
	w.ident = fd;
	EXPECT_REFUSED(-ELOOP, w);
	EXPECT_EMPTY(&self->q, true);
	close(fd);
}

TEST_F(record, more_wait_queues_than_a_watch_has)
{
	SKIP(return, "no file of this kernel has more than eight");
}

TEST_F(record, stops_at_the_first_error)
{
	struct kevent_watch w[4];
	int i;

	for (i = 0; i < 4; i++) {
		w[i] = watch_poll(self->fd, IN, EDGE, i);
		w[i].result = 0x55;
		w[i].handle = 0x55;
	}
	w[2].ident = 1000000;
	EXPECT_EQ(2, kevent_add(self->q.fd, w, sizeof(*w), 4, 0));
	EXPECT_EQ(0, w[0].result);
	EXPECT_EQ(0, w[1].result);
	EXPECT_EQ(-EBADF, w[2].result);
	EXPECT_EQ(0, w[2].handle);
	EXPECT_EQ(-ECANCELED, w[3].result);
	EXPECT_REPORTED(&self->q, false, 0, IN);
	EXPECT_REPORTED(&self->q, true, 1, IN);
	EXPECT_EMPTY(&self->q, true);
}

TEST_F(record, a_sealed_queue)
{
	struct kevent_watch w = watch_poll(self->fd, IN, EDGE, 1);
	struct queue q = { .fd = sealed_queue(1 << KEVENT_SOURCE_USER) };

	ASSERT_LE(0, q.fd);
	EXPECT_EQ(-EPERM, add_one(&q, &w));
	EXPECT_EQ(-EPERM, w.result);
	close(q.fd);

	q.fd = sealed_queue(1 << KEVENT_SOURCE_POLL);
	ASSERT_LE(0, q.fd);
	EXPECT_EQ(1, add_one(&q, &w));
	EXPECT_REPORTED(&q, true, 1, IN);
	close(q.fd);
}

/* The program would not know the handle. */
TEST_F(record, an_unwritable_record_is_not_registered)
{
	long page = sysconf(_SC_PAGESIZE);
	struct kevent_watch *w;
	int i;

	w = mmap(NULL, page, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, w);
	*w = watch_poll(self->fd, IN, LEVEL, 1);
	ASSERT_EQ(0, mprotect(w, page, PROT_READ));
	for (i = 0; i < 20; i++)
		EXPECT_EQ(-EFAULT, add_one(&self->q, w));
	efd_fire(self->fd);
	EXPECT_EMPTY(&self->q, false);
	EXPECT_EMPTY(&self->q, true);
}

/*
 * What is particular to some kind.
 */
FIXTURE(file)
{
	struct file f;
	struct queue q;
	struct kevent_watch w;
};

FIXTURE_VARIANT(file)
{
	unsigned int entries;
	bool copy;
};

FIXTURE_VARIANT_ADD(file, ring)
{
	.entries = 8,
};

FIXTURE_VARIANT_ADD(file, no_ring)
{
	.copy = true,
};

FIXTURE_SETUP(file)
{
	file_init(&self->f);
	ASSERT_LE(0, queue_open(&self->q, variant->entries));
}

FIXTURE_TEARDOWN(file)
{
	queue_close(&self->q);
}

#define EXPECT_NEXT(value, bits)	EXPECT_REPORTED(&self->q, variant->copy, value, bits)
#define NOTHING()		EXPECT_EMPTY(&self->q, variant->copy)
#define UNTIL(bits, allowed)						\
	EXPECT_EQ(0, take_until(&self->q, variant->copy, bits, allowed))

/* Watches self->f.fd. */
#define WATCH(events, flags, value)					\
do {									\
	self->w = watch_poll(self->f.fd, (events), (flags), (value));	\
	ASSERT_EQ(1, add_one(&self->q, &self->w));			\
} while (0)

#define REMOVE()	EXPECT_EQ(1, remove_one(&self->q, self->w.handle))

/* Each subset of what is asked for, against each subset of what is ready. */
TEST_F(file, every_combination_of_bits)
{
	static const __u32 bits[] = {
		IN, OUT, RDNORM, WRNORM, WRBAND, RDHUP, HUP, PRI,
	};
	__u32 set, events, ready;
	size_t i;
	int state;

	ASSERT_EQ(0, open_stream(&self->f));
	for (state = 0; state < 4; state++) {
		if (state == 1)
			one_byte(self->f.peer);
		if (state == 2)
			shutdown(self->f.peer, SHUT_WR);
		if (state == 3)
			close(self->f.peer);
		ready = polled(self->f.fd, INTEREST);
		for (set = 0; set < 256; set++) {
			struct kevent_event ev = {};

			for (events = 0, i = 0; i < ARRAY_SIZE(bits); i++)
				if (set >> i & 1)
					events |= bits[i];
			WATCH(events, LEVEL, set);
			events = ready & (events | ERR | HUP);
			ASSERT_EQ(!!events, take_now(&self->q, variant->copy,
						     &ev));
			ASSERT_EQ(events, ev.events);
			ASSERT_EQ(1, remove_one(&self->q, self->w.handle));
		}
	}
}

/* Not asked for, but reported; and nothing else is. */
TEST_F(file, hang_up_is_always_reported)
{
	static const __u32 modes[] = { LEVEL, EDGE, DISPATCH, ONESHOT };
	size_t i;

	for (i = 0; i < ARRAY_SIZE(modes); i++) {
		ASSERT_EQ(0, open_pipe(&self->f));
		WATCH(0, modes[i], i);
		one_byte(self->f.peer);
		NOTHING();
		close(self->f.peer);
		EXPECT_NEXT(i, HUP);
		if (modes[i] == LEVEL)
			EXPECT_NEXT(i, HUP);
		remove_one(&self->q, self->w.handle);
		NOTHING();
		close(self->f.fd);
	}
}

TEST_F(file, error_is_always_reported)
{
	static const __u32 modes[] = { LEVEL, EDGE, DISPATCH, ONESHOT };
	size_t i;

	for (i = 0; i < ARRAY_SIZE(modes); i++) {
		ASSERT_EQ(0, open_pipe_full(&self->f));
		WATCH(0, modes[i], i);
		NOTHING();
		close(self->f.peer);
		EXPECT_NEXT(i, ERR);
		if (modes[i] == LEVEL)
			EXPECT_NEXT(i, ERR);
		remove_one(&self->q, self->w.handle);
		NOTHING();
		close(self->f.fd);
	}
}

/* The same as a state that was there before. */
TEST_F(file, hang_up_and_error_are_reported_at_once)
{
	ASSERT_EQ(0, open_pipe(&self->f));
	close(self->f.peer);
	WATCH(0, EDGE, 1);
	EXPECT_NEXT(1, HUP);
	ASSERT_EQ(0, open_pipe_full(&self->f));
	close(self->f.peer);
	WATCH(0, EDGE, 2);
	EXPECT_NEXT(2, ERR);
	NOTHING();
}

TEST_F(file, pipe_with_data_and_no_writer)
{
	ASSERT_EQ(0, open_pipe(&self->f));
	WATCH(IN, LEVEL, 1);
	one_byte(self->f.peer);
	EXPECT_NEXT(1, IN);
	close(self->f.peer);
	/* Whether the writer has gone already or is noticed only now. */
	UNTIL(IN | HUP, IN | HUP);
	drain(self->f.fd);
	UNTIL(HUP, IN | HUP);
	EXPECT_NEXT(1, HUP);
	REMOVE();
}

/* The last writer goes, and another one comes. */
TEST_F(file, fifo_has_a_writer_again)
{
	char path[64];
	int i;

	ASSERT_EQ(0, open_pipe(&self->f));
	close(self->f.peer);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", self->f.fd);
	WATCH(IN, LEVEL, 1);
	for (i = 0; i < 3; i++) {
		EXPECT_NEXT(1, HUP);
		EXPECT_NEXT(1, HUP);
		self->f.peer = open(path, O_WRONLY | O_NONBLOCK);
		if (self->f.peer < 0)
			SKIP(return, NO_FILE);
		queue_drain(&self->q);
		NOTHING();
		one_byte(self->f.peer);
		EXPECT_NEXT(1, IN);
		drain(self->f.fd);
		queue_drain(&self->q);
		NOTHING();
		close(self->f.peer);
	}
	EXPECT_NEXT(1, HUP);
	REMOVE();
}

/* A fifo reports through two wait queues: of data in one, of room in the other. */
TEST_F(file, two_wait_queues)
{
	int i;

	if (!opened(&self->f, open_fifo))
		SKIP(return, NO_FILE);
	/* It is empty: one may write. */
	WATCH(IN | OUT, EDGE, 1);
	EXPECT_NEXT(1, OUT);
	for (i = 0; i < 5; i++) {
		fill(self->f.fd);
		UNTIL(IN, IN | OUT);
		while (queue_drain(&self->q))
			;
		drain(self->f.extra);
		UNTIL(OUT, IN | OUT);
		while (queue_drain(&self->q))
			;
	}
	REMOVE();
	fill(self->f.fd);
	drain(self->f.extra);
	NOTHING();
}

TEST_F(file, unix_stream_half_closed)
{
	ASSERT_EQ(0, open_stream(&self->f));
	WATCH(IN | RDHUP, LEVEL, 1);
	NOTHING();
	shutdown(self->f.peer, SHUT_WR);
	EXPECT_NEXT(1, IN | RDHUP);
	EXPECT_NEXT(1, IN | RDHUP);
	close(self->f.peer);
	UNTIL(HUP, IN | RDHUP | HUP);
	EXPECT_NEXT(1, IN | RDHUP | HUP);
	REMOVE();
}

/* Its own end: what it has shut down is reported, too. */
TEST_F(file, unix_stream_shut_down_here)
{
	ASSERT_EQ(0, open_stream(&self->f));
	WATCH(IN | RDHUP, LEVEL, 1);
	NOTHING();
	shutdown(self->f.fd, SHUT_RD);
	EXPECT_NEXT(1, IN | RDHUP);
	shutdown(self->f.fd, SHUT_WR);
	UNTIL(HUP, IN | RDHUP | HUP);
	REMOVE();
}

TEST_F(file, unix_stream_reset_by_peer)
{
	ASSERT_EQ(0, open_stream(&self->f));
	WATCH(0, LEVEL, 1);
	/* What it has not read makes it an error. */
	one_byte(self->f.fd);
	close(self->f.peer);
	UNTIL(HUP | ERR, HUP | ERR);
	REMOVE();
}

TEST_F(file, unix_out_of_band)
{
	ASSERT_EQ(0, open_stream(&self->f));
	WATCH(PRI, EDGE, 1);
	if (send(self->f.peer, "x", 1, MSG_OOB) != 1)
		SKIP(return, "no out-of-band data in unix sockets");
	EXPECT_NEXT(1, PRI);
	REMOVE();
}

/* A send that fails gives its buffer back. There is no space for that. */
TEST_F(file, unix_dgram_peer_stays_full)
{
	const __u32 modes[] = { LEVEL, EDGE };
	char byte = 0;
	int i, n;

	for (i = 0; i < ARRAY_SIZE(modes); i++) {
		file_init(&self->f);
		ASSERT_EQ(0, open_dgram_full(&self->f));
		/* So many messages, but small ones: it has space itself. */
		drain(self->f.peer);
		while (send(self->f.fd, &byte, 1, 0) == 1)
			;
		WATCH(OUT, modes[i], i);
		for (n = 0; n < 10; n++) {
			EXPECT_EQ(-1, send(self->f.fd, &byte, 1, 0));
			EXPECT_EQ(EAGAIN, errno);
			EXPECT_LE(0, queue_refill(&self->q));
			NOTHING();
		}
		EXPECT_EQ(1, recv(self->f.peer, &byte, 1, 0));
		EXPECT_NEXT(i, OUT);
		REMOVE();
		close(self->f.fd);
		close(self->f.peer);
	}
}

TEST_F(file, unix_dgram_peer_is_gone)
{
	ASSERT_EQ(0, open_dgram_full(&self->f));
	WATCH(OUT, LEVEL, 1);
	NOTHING();
	/* One may write now, and will see it then. */
	close(self->f.peer);
	EXPECT_NEXT(1, OUT);
	REMOVE();
}

TEST_F(file, tcp_connects)
{
	struct file client;

	file_init(&client);
	if (!opened(&self->f, open_tcp_listen))
		SKIP(return, NO_FILE);
	client.fd = tcp_socket();
	ASSERT_LE(0, client.fd);
	self->w = watch_poll(client.fd, OUT, EDGE, 1);
	ASSERT_EQ(1, add_one(&self->q, &self->w));
	/* What is not connected is both writable and hung up, says poll(2). */
	EXPECT_NEXT(1, polled(client.fd, OUT));
	if (connect(client.fd, (void *)&self->f.addr, self->f.len))
		ASSERT_EQ(EINPROGRESS, errno);
	UNTIL(OUT, OUT | HUP);
	until_ready(client.fd, POLLOUT);
	EXPECT_EQ(OUT, polled(client.fd, OUT));
	REMOVE();
}

TEST_F(file, tcp_is_refused)
{
	struct file server;
	socklen_t len = sizeof(int);
	int err = 0;

	file_init(&server);
	server.fd = inet_socket(AF_INET, SOCK_STREAM, &server);
	if (server.fd < 0)
		SKIP(return, "no TCP: %s", strerror(-server.fd));
	self->f.fd = tcp_socket();
	ASSERT_LE(0, self->f.fd);
	WATCH(OUT, LEVEL, 1);
	EXPECT_NEXT(1, OUT | HUP);
	/* No program listens there. */
	EXPECT_EQ(-1, connect(self->f.fd, (void *)&server.addr, server.len));
	if (errno == EINPROGRESS) {
		UNTIL(OUT | HUP | ERR, OUT | HUP | ERR);
		EXPECT_EQ(0, getsockopt(self->f.fd, SOL_SOCKET, SO_ERROR, &err,
					&len));
		EXPECT_EQ(ECONNREFUSED, err);
	} else {
		EXPECT_EQ(ECONNREFUSED, errno);
		UNTIL(OUT | HUP, OUT | HUP | ERR);
	}
	REMOVE();
	close(server.fd);
}

TEST_F(file, tcp_half_closed)
{
	if (!opened(&self->f, open_tcp))
		SKIP(return, NO_FILE);
	WATCH(IN | RDHUP, EDGE, 1);
	one_byte(self->f.peer);
	UNTIL(IN, IN);
	shutdown(self->f.peer, SHUT_WR);
	UNTIL(IN | RDHUP, IN | RDHUP);
	/* When both directions are closed, it has hung up. */
	shutdown(self->f.fd, SHUT_WR);
	UNTIL(HUP, IN | RDHUP | HUP);
	REMOVE();
}

TEST_F(file, tcp_reset)
{
	struct linger now = { .l_onoff = 1 };

	if (!opened(&self->f, open_tcp))
		SKIP(return, NO_FILE);
	WATCH(IN, LEVEL, 1);
	NOTHING();
	setsockopt(self->f.peer, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
	close(self->f.peer);
	UNTIL(IN | ERR | HUP, IN | ERR | HUP);
	REMOVE();
}

TEST_F(file, tcp_out_of_band)
{
	char c;

	if (!opened(&self->f, open_tcp))
		SKIP(return, NO_FILE);
	WATCH(PRI, LEVEL, 1);
	NOTHING();
	ASSERT_EQ(1, send(self->f.peer, "x", 1, MSG_OOB));
	EXPECT_NEXT(1, PRI);
	EXPECT_NEXT(1, PRI);
	ASSERT_EQ(1, recv(self->f.fd, &c, 1, MSG_OOB));
	while (polled(self->f.fd, PRI))
		sched_yield();
	/* What was reported before that may still come. */
	queue_drain(&self->q);
	NOTHING();
	REMOVE();
}

TEST_F(file, tcp_listener_has_many)
{
	struct file clients[5];
	int i;

	if (!opened(&self->f, open_tcp_listen))
		SKIP(return, NO_FILE);
	WATCH(IN, LEVEL, 1);
	for (i = 0; i < 5; i++) {
		clients[i] = self->f;
		fire_connect(&clients[i]);
	}
	for (i = 0; i < 5; i++) {
		int fd;

		EXPECT_NEXT(1, IN);
		do {
			fd = accept(self->f.fd, NULL, NULL);
		} while (fd < 0 && errno == EAGAIN);
		ASSERT_LE(0, fd);
		close(fd);
		close(clients[i].peer);
	}
	NOTHING();
	REMOVE();
}

TEST_F(file, udp_can_be_written)
{
	if (!opened(&self->f, open_udp))
		SKIP(return, NO_FILE);
	WATCH(OUT | WRNORM | WRBAND, LEVEL, 1);
	EXPECT_NEXT(1, polled(self->f.fd, OUT | WRNORM | WRBAND));
	EXPECT_NEXT(1, OUT | WRNORM | WRBAND);
	REMOVE();
}

/* The answer from a port where no program listens. */
TEST_F(file, udp_error)
{
	int fd;

	if (!opened(&self->f, open_udp))
		SKIP(return, NO_FILE);
	close(self->f.fd);
	fd = self->f.peer;
	self->f.fd = fd;
	WATCH(0, LEVEL, 1);
	NOTHING();
	one_byte(fd);
	EXPECT_NEXT(1, ERR);
	EXPECT_EQ(-1, write(fd, "x", 1));
	EXPECT_EQ(ECONNREFUSED, errno);
	REMOVE();
}

/* In an interrupt, over and over. */
TEST_F(file, timerfd_with_an_interval)
{
	struct itimerspec often = {
		.it_value.tv_nsec = MSEC,
		.it_interval.tv_nsec = MSEC,
	};
	__u64 count, sum = 0;

	ASSERT_EQ(0, open_timerfd(&self->f));
	WATCH(IN, EDGE, 1);
	timerfd_settime(self->f.fd, 0, &often, NULL);
	while (sum < 30) {
		EXPECT_NEXT(1, IN);
		if (read(self->f.fd, &count, sizeof(count)) > 0)
			sum += count;
	}
	REMOVE();
}

TEST_F(file, signalfd_of_other_signals)
{
	sigset_t set;

	ASSERT_EQ(0, open_signalfd(&self->f));
	WATCH(IN, LEVEL, 1);
	sigemptyset(&set);
	sigaddset(&set, SIGUSR2);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	/* The wake-up does not say for which signal it is. */
	kill(getpid(), SIGUSR2);
	NOTHING();
	usleep(5000);
	NOTHING();
	kill(getpid(), SIGUSR1);
	EXPECT_NEXT(1, IN);
	EXPECT_NEXT(1, IN);
	drain(self->f.fd);
	NOTHING();
	REMOVE();
}

/*
 * A file whose wake-up does not say what it is for is polled only by the
 * program: while it is busy the ring's header says that there is something to
 * look at.
 */
TEST_F(file, busy_program_is_shown_what_to_recheck)
{
	struct kevent_event ev = {};
	int i;

	if (variant->copy)
		SKIP(return, "without a ring every call looks");
	ASSERT_EQ(0, open_inotify(&self->f));
	WATCH(IN, EDGE, 1);
	for (i = 0; i < 20; i++) {
		EXPECT_EQ(0, ring_flags(&self->q));
		fire_byte(&self->f);
		EXPECT_EQ(KEVENT_RING_RECHECK,
			  ring_flags(&self->q));
		usleep(1000);
		EXPECT_EQ(0, ring_take(&self->q, &ev));
		EXPECT_NEXT(1, IN);
		EXPECT_EQ(0, ring_flags(&self->q));
		drain(self->f.fd);
		NOTHING();
	}
}

/* And other watches are looked at when the program waits, not before. */
TEST_F(file, recheck_reports_no_levels_to_a_busy_program)
{
	struct kevent_event ev = {};
	struct kevent_watch w;
	int fd;

	if (variant->copy)
		SKIP(return, "without a ring the program has to wait");
	fd = eventfd(0, EFD_NONBLOCK);
	ASSERT_LE(0, fd);
	w = watch_poll(fd, IN, LEVEL, 2);
	ASSERT_EQ(1, add_one(&self->q, &w));
	ASSERT_EQ(0, open_inotify(&self->f));
	WATCH(IN, EDGE, 1);
	efd_fire(fd);
	EXPECT_NEXT(2, IN);
	fire_byte(&self->f);
	usleep(1000);
	EXPECT_EQ(0, ring_take(&self->q, &ev));
	/* Both are rechecked then. */
	EXPECT_EQ(2, queue_refill(&self->q));
	ASSERT_EQ(1, ring_take(&self->q, &ev));
	ASSERT_EQ(1, ring_take(&self->q, &ev));
	efd_quench(fd);
	drain(self->f.fd);
	NOTHING();
	close(fd);
}

static void *toggle_main(void *arg)
{
	struct file *f = arg;
	char c = 0;

	while (!__atomic_load_n(&f->peer, __ATOMIC_ACQUIRE)) {
		if (write(f->fd, &c, 1) != 1 || read(f->fd, &c, 1) != 1)
			abort();
	}
	return NULL;
}

/*
 * A file with two wait queues takes a second try to be watched, because most
 * have one. What happens during the first one is reported by the second one.
 */
TEST_F(file, oneshot_of_two_queues_reports_once)
{
	enum { NR = 20000 };
	struct kevent_event ev;
	unsigned int seed = 1;
	static char reported[NR];
	char path[64];
	pthread_t thread;
	int fds[2], i;

	ASSERT_EQ(0, pipe2(fds, O_NONBLOCK));
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fds[0]);
	self->f.fd = open(path, O_RDWR | O_NONBLOCK);
	ASSERT_LE(0, self->f.fd);
	self->f.peer = 0;
	ASSERT_EQ(0, pthread_create(&thread, NULL, toggle_main, &self->f));
	for (i = 0; i < NR; i++) {
		WATCH(IN, ONESHOT, i);
		dawdle(&seed, 500);
		remove_one(&self->q, self->w.handle);
		/* One that was reported may be on its way still. */
		while (take_now(&self->q, variant->copy, &ev)) {
			ASSERT_GE(i, (int)ev.user_data);
			ASSERT_EQ(0, reported[ev.user_data]);
			reported[ev.user_data] = 1;
		}
	}
	__atomic_store_n(&self->f.peer, 1, __ATOMIC_RELEASE);
	pthread_join(thread, NULL);
	self->f.peer = -1;
	close(fds[0]);
	close(fds[1]);
}

TEST_F(file, signal_to_oneself_needs_no_sleep)
{
	struct kevent_event ev = {};
	int i;

	ASSERT_EQ(0, open_signalfd(&self->f));
	WATCH(IN, EDGE, 1);
	for (i = 0; i < 100; i++) {
		kill(getpid(), SIGUSR1);
		ASSERT_EQ(1, take_now(&self->q, variant->copy, &ev));
		ASSERT_EQ(IN, ev.events);
		drain(self->f.fd);
		while (take_now(&self->q, true, &ev))
			;
	}
	REMOVE();
}

/*
 * A wake-up that does not say what it is for is reported when a task has
 * looked, so possibly after what has happened since, but it is not forgotten
 * for that.
 */
TEST_F(file, a_signal_and_data)
{
	struct kevent_event ev[2] = {};
	struct kevent_watch w;
	int fds[2], i, j;

	ASSERT_EQ(0, open_signalfd(&self->f));
	WATCH(IN, EDGE, 1);
	ASSERT_EQ(0, pipe2(fds, O_NONBLOCK));
	w = watch_poll(fds[0], IN, EDGE, 2);
	ASSERT_EQ(1, add_one(&self->q, &w));
	for (i = 0; i < 10; i++) {
		if (i % 2)
			one_byte(fds[1]);
		kill(getpid(), SIGUSR1);
		if (!(i % 2))
			one_byte(fds[1]);
		for (j = 0; j < 2; j++) {
			ASSERT_EQ(1, take_now(&self->q, variant->copy, &ev[j]));
			EXPECT_EQ(IN, ev[j].events);
		}
		EXPECT_EQ(3, ev[0].user_data + ev[1].user_data);
		if (i % 2)
			EXPECT_EQ(2, ev[0].user_data);
		NOTHING();
		drain(self->f.fd);
		drain(fds[0]);
	}
}

/*
 * The queue of waiters that a signalfd has is that of the process which has
 * added the watch, and it may go before the file does.
 */
TEST_F(file, the_wait_queue_goes_first)
{
	struct kevent_event ev;
	struct kevent_watch *w;
	int ret, status;
	pid_t pid;

	w = mmap(NULL, sizeof(*w), PROT_READ | PROT_WRITE,
		 MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, w);
	queue_close(&self->q);
	ASSERT_LE(0, queue_open_shared(&self->q, variant->entries));
	ASSERT_EQ(0, open_signalfd(&self->f));
	*w = watch_poll(self->f.fd, IN, LEVEL, 1);
	/* It shares the descriptors, and so does not close any. */
	pid = syscall(SYS_clone, CLONE_FILES | SIGCHLD, 0, 0, 0, 0);
	ASSERT_LE(0, pid);
	if (!pid)
		_exit(add_one(&self->q, w) != 1);
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	ASSERT_EQ(0, status);
	EXPECT_EMPTY(&self->q, variant->copy);
	/* This process has another one: nothing is reported through that. */
	kill(getpid(), SIGUSR1);
	EXPECT_EQ(0, take_now(&self->q, variant->copy, &ev));
	ret = remove_one(&self->q, w->handle);
	EXPECT_TRUE(ret == 1 || ret == -ENOENT);
	drain(self->f.fd);
	/* One that is added here is another matter. */
	ASSERT_EQ(1, add_one(&self->q, w));
	kill(getpid(), SIGUSR1);
	EXPECT_NEXT(1, IN);
}

TEST_F(file, pidfd_of_a_process_that_is_reaped)
{
	ASSERT_EQ(0, open_pidfd(&self->f));
	WATCH(IN, LEVEL, 1);
	NOTHING();
	kill(self->f.pid, SIGKILL);
	EXPECT_NEXT(1, IN);
	EXPECT_NEXT(1, IN);
	ASSERT_EQ(self->f.pid, waitpid(self->f.pid, NULL, 0));
	UNTIL(IN | HUP, IN | HUP);
	REMOVE();
}

TEST_F(file, many_pidfds)
{
	struct file f[32];
	unsigned int seen = 0;
	int i;

	for (i = 0; i < 32; i++) {
		struct kevent_watch w;

		file_init(&f[i]);
		ASSERT_EQ(0, open_pidfd(&f[i]));
		w = watch_poll(f[i].fd, IN, ONESHOT, i);
		ASSERT_EQ(1, add_one(&self->q, &w));
	}
	for (i = 0; i < 32; i++)
		kill(f[i].pid, SIGKILL);
	for (i = 0; i < 32; i++) {
		struct kevent_event ev = {};

		ASSERT_EQ(1, take_next(&self->q, variant->copy, &ev));
		ASSERT_EQ(IN, ev.events);
		seen |= 1U << ev.user_data;
	}
	EXPECT_EQ(~0U, seen);
	NOTHING();
}

TEST_F(file, pty_hangs_up)
{
	if (!opened(&self->f, open_pty))
		SKIP(return, NO_FILE);
	WATCH(0, LEVEL, 1);
	NOTHING();
	close(self->f.peer);
	UNTIL(HUP, HUP | ERR);
	REMOVE();
	close(self->f.fd);

	if (!opened(&self->f, open_tty))
		SKIP(return, NO_FILE);
	WATCH(0, LEVEL, 2);
	NOTHING();
	close(self->f.peer);
	UNTIL(HUP, HUP | ERR);
	REMOVE();
}

TEST_F(file, pty_in_packet_mode)
{
	int on = 1;

	if (!opened(&self->f, open_pty))
		SKIP(return, NO_FILE);
	ASSERT_EQ(0, ioctl(self->f.fd, TIOCPKT, &on));
	/* What making it raw has left there. */
	drain(self->f.fd);
	WATCH(PRI, LEVEL, 1);
	NOTHING();
	tcflush(self->f.peer, TCOFLUSH);
	EXPECT_NEXT(1, PRI);
	REMOVE();
}

TEST_F(file, pty_can_be_written)
{
	int i;

	if (!opened(&self->f, open_pty))
		SKIP(return, NO_FILE);
	for (i = 0; i < 2; i++) {
		WATCH(OUT | WRNORM, LEVEL, i);
		EXPECT_NEXT(i, OUT | WRNORM);
		EXPECT_NEXT(i, OUT | WRNORM);
		REMOVE();
		self->f.fd = self->f.peer;
	}
}

/* The table of mounts polls as an error when it changes, once. */
TEST_F(file, mounts_change)
{
	if (unshare(CLONE_NEWNS) ||
	    mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL))
		SKIP(return, "may not mount: %s", strerror(errno));
	self->f.fd = open("/proc/self/mounts", O_RDONLY);
	if (self->f.fd < 0)
		SKIP(return, "no /proc/self/mounts");
	WATCH(PRI, LEVEL, 1);
	queue_drain(&self->q);
	NOTHING();
	if (mount("none", "/proc", "tmpfs", 0, NULL))
		SKIP(return, "may not mount: %s", strerror(errno));
	UNTIL(PRI | ERR, PRI | ERR);
	REMOVE();
}

/* Each byte wakes for urgent data and for bands, of which poll(2) says nothing. */
TEST_F(file, no_bit_that_never_held)
{
	static const struct {
		int (*open)(struct file *f);
		int (*open_full)(struct file *f);
	} kinds[] = {
		{ open_stream, open_stream_full },
		{ open_seqpacket },
		{ open_dgram, open_dgram_full },
		{ open_tcp, open_tcp_full },
		{ open_udp },
		{ open_udp6 },
		{ open_pty },
		{ open_tty },
		{ open_pipe, open_pipe_full },
	};
	const __u32 in = IN | PRI | RDNORM | RDBAND | MSG;
	const __u32 out = OUT | WRNORM | WRBAND;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(kinds); i++) {
		file_init(&self->f);
		if (!opened(&self->f, kinds[i].open))
			continue;
		drain(self->f.fd);
		WATCH(in, EDGE, i);
		NOTHING();
		one_byte(self->f.peer);
		until_ready(self->f.fd, IN);
		EXPECT_EQ(IN | RDNORM, polled(self->f.fd, in));
		EXPECT_NEXT(i, IN | RDNORM);
		REMOVE();
		close(self->f.fd);
		close(self->f.peer);

		file_init(&self->f);
		if (!kinds[i].open_full || !opened(&self->f, kinds[i].open_full))
			continue;
		WATCH(out, EDGE, i);
		NOTHING();
		drain_for(self->f.peer, self->f.fd);
		UNTIL(polled(self->f.fd, out), polled(self->f.fd, out));
		REMOVE();
		close(self->f.fd);
		close(self->f.peer);
	}
}

/* An urgent byte alone cannot be read as others can. */
TEST_F(file, tcp_urgent_byte_alone)
{
	const __u32 in = IN | PRI | RDNORM | RDBAND;
	struct kevent_event ev = {};
	char c;

	if (!opened(&self->f, open_tcp))
		SKIP(return, NO_FILE);
	WATCH(in, EDGE, 1);
	ASSERT_EQ(1, send(self->f.peer, "x", 1, MSG_OOB));
	UNTIL(PRI, PRI);
	EXPECT_EQ(PRI, polled(self->f.fd, in));
	while (take_now(&self->q, variant->copy, &ev))
		EXPECT_EQ(PRI, ev.events);
	one_byte(self->f.peer);
	UNTIL(IN | RDNORM, IN | PRI | RDNORM);
	EXPECT_EQ(IN | PRI | RDNORM, polled(self->f.fd, in));
	REMOVE();
	/* Now it can. */
	WATCH(in, EDGE, 2);
	EXPECT_NEXT(2, IN | PRI | RDNORM);
	ASSERT_EQ(1, recv(self->f.fd, &c, 1, MSG_OOB));
	drain(self->f.fd);
	queue_drain(&self->q);
	EXPECT_EQ(0, polled(self->f.fd, in));
	one_byte(self->f.peer);
	EXPECT_NEXT(2, IN | RDNORM);
	REMOVE();
}

TEST_F(file, tcp_listener_is_shut_down)
{
	if (!opened(&self->f, open_tcp_listen))
		SKIP(return, NO_FILE);
	WATCH(IN, EDGE, 1);
	NOTHING();
	shutdown(self->f.fd, SHUT_RDWR);
	EXPECT_EQ(HUP, polled(self->f.fd, IN));
	UNTIL(HUP, HUP);
	NOTHING();
	REMOVE();
}

/* Of MPTCP, who knows what is urgent: but that there is a byte is certain. */
TEST_F(file, certain_bits_wait_for_nothing)
{
	struct kevent_event ev = {};
	struct file server;
	int fd;

	if (!self->q.ring)
		return;
	file_init(&server);
	fd = inet_socket(AF_INET, SOCK_STREAM, &server);
	if (fd < 0)
		SKIP(return, "no TCP: %s", strerror(-fd));
	close(fd);
	fd = socket(AF_INET, SOCK_STREAM, IPPROTO_MPTCP);
	if (fd < 0 || bind(fd, (void *)&server.addr, server.len) ||
	    listen(fd, 1))
		SKIP(return, "no MPTCP: %s", strerror(errno));
	self->f.peer = socket(AF_INET, SOCK_STREAM, IPPROTO_MPTCP);
	ASSERT_EQ(0, connect(self->f.peer, (void *)&server.addr, server.len));
	self->f.fd = accept(fd, NULL, NULL);
	ASSERT_LE(0, self->f.fd);
	WATCH(IN | PRI, EDGE, 1);
	NOTHING();
	one_byte(self->f.peer);
	while (!ring_take(&self->q, &ev))
		sched_yield();
	EXPECT_EQ(IN, ev.events);
	/* The rest waits for a look, which finds nothing of it. */
	while (take_now(&self->q, false, &ev))
		EXPECT_EQ(IN, ev.events);
	REMOVE();
	close(fd);
}

TEST_HARNESS_MAIN
