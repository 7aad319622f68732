// SPDX-License-Identifier: GPL-2.0
/*
 * The examples of Documentation/userspace-api/kevent.rst: they compile, the
 * prototypes there are right, and each example does what it is there for.
 *
 * The Makefile copies the examples into doc_examples.h.
 */
#include "kevent_test.h"

#include <fcntl.h>
#include <poll.h>
#include <stdint.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <linux/aio_abi.h>
#include <linux/futex.h>

#ifndef FUTEX2_SIZE_U32
#define FUTEX2_SIZE_U32	0x02
#endif
#ifndef FUTEX2_PRIVATE
#define FUTEX2_PRIVATE	FUTEX_PRIVATE_FLAG
#endif

/* The calls as a C library would have them: -1 and errno. */
static int to_errno(int ret)
{
	if (ret >= 0)
		return ret;
	errno = -ret;
	return -1;
}

static int doc_create(struct kevent_create *args, size_t usize,
		      unsigned int sources)
{
	return to_errno(kevent_create(args, usize, sources));
}

static int doc_add(int fd, struct kevent_watch *watches, size_t wsize,
		   unsigned int nr, unsigned int flags)
{
	return to_errno(kevent_add(fd, watches, wsize, nr, flags));
}

static int doc_modify(int fd, struct kevent_watch *watches, size_t wsize,
		      unsigned int nr, unsigned int flags)
{
	return to_errno(kevent_modify(fd, watches, wsize, nr, flags));
}

static int doc_remove(int fd, const __u64 *handles, unsigned int nr,
		      unsigned int flags)
{
	return to_errno(kevent_remove(fd, handles, nr, flags));
}

static int doc_post(int fd, const struct kevent_event *events, size_t esize,
		    unsigned int nr, unsigned int flags)
{
	return to_errno(kevent_post(fd, events, esize, nr, flags));
}

static int doc_wait(int fd, struct kevent_wait *args, size_t usize)
{
	return to_errno(kevent_wait(fd, args, usize));
}

static int doc_get_events(int fd, unsigned int min_nr, unsigned int max_nr,
			  const struct __kernel_timespec *timeout,
			  struct kevent_event *events, unsigned int flags)
{
	return to_errno(kevent_get_events(fd, min_nr, max_nr, timeout, events,
					  flags));
}

#define kevent_create(...)		doc_create(__VA_ARGS__)
#define kevent_add(...)		doc_add(__VA_ARGS__)
#define kevent_modify(...)		doc_modify(__VA_ARGS__)
#define kevent_remove(...)		doc_remove(__VA_ARGS__)
#define kevent_post(...)		doc_post(__VA_ARGS__)
#define kevent_wait(...)		doc_wait(__VA_ARGS__)
#define kevent_get_events(...)	doc_get_events(__VA_ARGS__)

#include "doc_examples.h"

#define USER_DATA	0x1122334455667788ULL

static const struct __kernel_timespec now;

FIXTURE(doc)
{
	struct mapped_queue q;
	struct kevent_event ev;
};

FIXTURE_SETUP(doc)
{
	ASSERT_EQ(0, open_mapped_queue(&self->q, 64));
}

FIXTURE_TEARDOWN(doc)
{
	close(self->q.fd);
}

/* The event that is there, consumed from the ring as the text does it. */
#define EXPECT_EVENT(bits) do {						\
	EXPECT_EQ(1, next_event(&self->q, &self->ev, NULL));		\
	EXPECT_EQ(USER_DATA, self->ev.user_data);			\
	EXPECT_EQ((bits), self->ev.events);				\
} while (0)

#define EXPECT_NONE()							\
	EXPECT_EQ(0, next_event(&self->q, &self->ev, &now))

static bool has_class(int source)
{
	struct kevent_create args = {};
	int fd = kevent_create(&args, sizeof(args), 0);

	close(fd);
	return args.features & KEVENT_FEATURE_SOURCE(source);
}

static int handled;

static int handle_three(const struct kevent_event *event)
{
	handled += event->data;
	return handled < 6;
}

TEST_F(doc, simple_loop)
{
	int i;

	for (i = 1; i <= 3; i++)
		EXPECT_EQ(1, post_number(self->q.fd, i));
	EXPECT_EQ(0, simple_loop(self->q.fd, handle_three));
	EXPECT_EQ(6, handled);
}

/* Over many laps, and through the backlog. */
TEST_F(doc, ring_loop)
{
	int i, n;

	for (n = 0; n < 20; n++) {
		for (i = 0; i < 100; i++)
			EXPECT_EQ(1, post_number(self->q.fd, n * 100 + i));
		for (i = 0; i < 100; i++) {
			ASSERT_EQ(1, next_event(&self->q, &self->ev, NULL));
			EXPECT_EQ(n * 100 + i, self->ev.data);
			EXPECT_EQ(KEVENT_SOURCE_USER | KEVENT_INFO_POSTED,
				  self->ev.info);
		}
	}
	EXPECT_NONE();
}

TEST_F(doc, poll_modify_remove)
{
	struct kevent_watch w = {
		.source = KEVENT_SOURCE_POLL,
		.events = KEVENT_POLL_IN,
	};
	int fds[2];

	ASSERT_EQ(0, pipe(fds));
	EXPECT_EQ(1, watch_readable(self->q.fd, fds[0], USER_DATA));
	EXPECT_NONE();
	EXPECT_EQ(1, write(fds[1], "x", 1));
	EXPECT_EVENT(KEVENT_POLL_IN);
	close(fds[0]);
	close(fds[1]);

	ASSERT_EQ(0, pipe(fds));
	w.ident = fds[0];
	EXPECT_EQ(1, kevent_add(self->q.fd, &w, sizeof(w), 1, 0));
	EXPECT_EQ(1, set_user_data(self->q.fd, w.handle, USER_DATA));
	EXPECT_EQ(1, write(fds[1], "x", 1));
	EXPECT_EVENT(KEVENT_POLL_IN);
	EXPECT_EQ(1, remove_one_watch(self->q.fd, w.handle));
	EXPECT_NONE();
	EXPECT_EQ(-1, remove_one_watch(self->q.fd, w.handle));
	EXPECT_EQ(ENOENT, errno);
	close(fds[0]);
	close(fds[1]);
}

TEST_F(doc, exhausted)
{
	struct kevent_event *slot;
	struct kevent_create args = {};
	int fds[2];
	__u32 index;

	close(kevent_create(&args, sizeof(args), 0));
	if (!(args.features & KEVENT_FEATURE_EXHAUSTED))
		SKIP(return, "no exhausted mark in this kernel");
	ASSERT_EQ(0, pipe(fds));
	EXPECT_EQ(1, watch_readable(self->q.fd, fds[0], USER_DATA));
	EXPECT_EQ(1, write(fds[1], "x", 1));
	EXPECT_EVENT(KEVENT_POLL_IN);
	/* Not marked: it is polled again. */
	EXPECT_EQ(1, kevent_wait(self->q.fd, &(struct kevent_wait){ .seen = 1 },
				 sizeof(struct kevent_wait)));
	/* Steps 2 and 3 of consume(), and a mark that is a lie. */
	index = self->q.ring->cursor;
	EXPECT_EQ(1, index);
	slot = &self->q.slots[index];
	__atomic_store_n(&self->q.ring->cursor, index + 1, __ATOMIC_RELEASE);
	__atomic_exchange_n(&slot->events, KEVENT_WORD_TAKEN, __ATOMIC_ACQ_REL);
	free_slot(&self->q, index, 1);
	EXPECT_NONE();
	close(fds[0]);
	close(fds[1]);
}

TEST_F(doc, socket)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	socklen_t len = sizeof(addr);
	int listener, fd;

	if (!has_class(KEVENT_SOURCE_SOCKET))
		SKIP(return, "no sockets in this kernel");
	listener = socket(AF_UNIX, SOCK_STREAM, 0);
	/* Any name. */
	ASSERT_EQ(0, bind(listener, (void *)&addr, sizeof(sa_family_t)));
	ASSERT_EQ(0, listen(listener, 4));
	ASSERT_EQ(0, getsockname(listener, (void *)&addr, &len));
	EXPECT_EQ(1, watch_listener(self->q.fd, listener, USER_DATA));
	EXPECT_NONE();
	fd = socket(AF_UNIX, SOCK_STREAM, 0);
	ASSERT_EQ(0, connect(fd, (void *)&addr, len));
	EXPECT_EVENT(KEVENT_SOCKET_ACCEPT);
	EXPECT_EQ(1, self->ev.data);
	close(fd);
	close(listener);
}

TEST_F(doc, aio)
{
	aio_context_t ctx = 0;
	char buf[8];
	int fd;

	if (!has_class(KEVENT_SOURCE_AIO))
		SKIP(return, "no AIO in this kernel");
	fd = open("/proc/self/exe", O_RDONLY);
	ASSERT_LE(0, fd);
	ASSERT_EQ(0, syscall(__NR_io_setup, 4, &ctx));
	EXPECT_EQ(1, read_async(self->q.fd, ctx, fd, buf, sizeof(buf),
				USER_DATA));
	EXPECT_EVENT(KEVENT_AIO_DONE);
	EXPECT_EQ((int)sizeof(buf), self->ev.data);
	EXPECT_EQ(0, memcmp(buf, "\177ELF", 4));
	syscall(__NR_io_destroy, ctx);
	close(fd);
}

TEST_F(doc, signal)
{
	if (!has_class(KEVENT_SOURCE_SIGNAL))
		SKIP(return, "no signals in this kernel");
	EXPECT_EQ(1, intercept(self->q.fd, SIGUSR1, USER_DATA));
	EXPECT_EQ(0, kill(getpid(), SIGUSR1));
	EXPECT_EVENT(KEVENT_SIGNAL_SENT);
	EXPECT_EQ(getpid(), (pid_t)KEVENT_SIGNAL_PID(self->ev.extra));
	EXPECT_EQ(SI_USER, KEVENT_SIGNAL_CODE(self->ev.extra));
}

TEST_F(doc, timer)
{
	if (!has_class(KEVENT_SOURCE_TIMER))
		SKIP(return, "no timers in this kernel");
	EXPECT_EQ(1, watch_interval(self->q.fd, 1000000, USER_DATA));
	EXPECT_EVENT(KEVENT_TIMER_EXPIRED);
	EXPECT_LE(1, self->ev.data);
}

TEST_F(doc, process)
{
	int pidfd, status;
	pid_t child;

	if (!has_class(KEVENT_SOURCE_PROCESS))
		SKIP(return, "no processes in this kernel");
	child = fork();
	if (!child)
		_exit(7);
	pidfd = syscall(__NR_pidfd_open, child, 0);
	ASSERT_LE(0, pidfd);
	EXPECT_EQ(1, watch_exit(self->q.fd, pidfd, USER_DATA));
	EXPECT_EVENT(KEVENT_PROCESS_EXIT);
	EXPECT_EQ(child, waitpid(child, &status, 0));
	EXPECT_EQ(status, self->ev.data);
	close(pidfd);
}

TEST_F(doc, inode)
{
	char dir[] = "/tmp/kevent-docXXXXXX", name[64];
	int dirfd, fd;

	if (!has_class(KEVENT_SOURCE_INODE))
		SKIP(return, "no inodes in this kernel");
	ASSERT_NE(NULL, mkdtemp(dir));
	dirfd = open(dir, O_RDONLY | O_DIRECTORY);
	ASSERT_LE(0, dirfd);
	EXPECT_EQ(1, watch_directory(self->q.fd, dirfd, USER_DATA));
	snprintf(name, sizeof(name), "%s/file", dir);
	fd = open(name, O_CREAT | O_WRONLY, 0600);
	EXPECT_LE(0, fd);
	close(fd);
	EXPECT_EVENT(KEVENT_INODE_CHILD_CREATED);
	unlink(name);
	rmdir(dir);
	close(dirfd);
}

TEST_F(doc, futex)
{
	__u32 word = 1;

	if (!has_class(KEVENT_SOURCE_FUTEX))
		SKIP(return, "no futexes in this kernel");
	EXPECT_EQ(1, watch_word(self->q.fd, &word, 1, USER_DATA));
	EXPECT_NONE();
	__atomic_store_n(&word, 2, __ATOMIC_RELEASE);
	EXPECT_EQ(1, syscall(__NR_futex, &word,
			     FUTEX_WAKE | FUTEX_PRIVATE_FLAG, 1, NULL, NULL,
			     0));
	EXPECT_EVENT(KEVENT_FUTEX_WOKEN);
	EXPECT_EQ(2, self->ev.data);
}

TEST_F(doc, user)
{
	struct kevent_create args = {};
	__u64 handle;
	int fd;

	fd = kevent_create(&args, sizeof(args), 0);
	close(fd);
	if (!(args.features & KEVENT_FEATURE_USER_WATCH))
		SKIP(return, "no USER watches in this kernel");
	EXPECT_EQ(1, add_doorbell(self->q.fd, USER_DATA, &handle));
	EXPECT_NONE();
	EXPECT_EQ(1, ring_doorbell(self->q.fd, handle, 1));
	EXPECT_EQ(1, ring_doorbell(self->q.fd, handle, 4));
	EXPECT_EVENT(5);
	EXPECT_NONE();
}

TEST_F(doc, want)
{
	struct kevent_create args = {};
	int fd;

	fd = kevent_create(&args, sizeof(args), 0);
	close(fd);
	if (!(args.features & KEVENT_FEATURE_BY_IDENT))
		SKIP(return, "no watches by name in this kernel");
	fd = eventfd(0, EFD_NONBLOCK);
	ASSERT_LE(0, fd);
	EXPECT_EQ(1, want(self->q.fd, fd, KEVENT_POLL_IN, 0));
	EXPECT_NONE();
	EXPECT_EQ(1, want(self->q.fd, fd, KEVENT_POLL_OUT, USER_DATA));
	EXPECT_EVENT(KEVENT_POLL_OUT);
	EXPECT_EQ(1, want(self->q.fd, fd, 0, 0));
	EXPECT_NONE();
	close(fd);
}

TEST_F(doc, sigev)
{
	int id;

	if (!has_class(KEVENT_SOURCE_SIGEV) || !has_timers())
		SKIP(return, "no POSIX timers in this kernel");
	EXPECT_EQ(0, create_cpu_timer(self->q.fd, &id,
				      (void *)(uintptr_t)USER_DATA));
	EXPECT_NONE();
	EXPECT_EQ(0, syscall(__NR_timer_delete, id));
}

TEST_HARNESS_MAIN
