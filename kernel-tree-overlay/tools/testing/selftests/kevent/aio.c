// SPDX-License-Identifier: GPL-2.0
/*
 * KEVENT_SOURCE_AIO: what io_submit() was given is reported as an event when it
 * is complete, once, whatever becomes of the context, the process and the file;
 * and the context does not run out of slots by that.
 */
#include <linux/aio_abi.h>
#include <sys/timerfd.h>
#include <sys/uio.h>

#include "kevent_poll_test.h"

#define ENTRIES		8
#define SLOTS		4	/* of a context; the kernel grants more */
#define MAX_WAITING	65536	/* events that a queue holds */

static aio_context_t setup(void)
{
	aio_context_t ctx = 0;

	return syscall(__NR_io_setup, SLOTS, &ctx) ? 0 : ctx;
}

static int destroy(aio_context_t ctx)
{
	return syscall(__NR_io_destroy, ctx) ? -errno : 0;
}

static int submit(aio_context_t ctx, struct iocb *cb)
{
	int ret = syscall(__NR_io_submit, ctx, 1L, &cb);

	return ret < 0 ? -errno : ret;
}

/* The same, if requests that are not reported may still be on their way out. */
static int submit_soon(aio_context_t ctx, struct iocb *cb)
{
	int ret;

	while ((ret = submit(ctx, cb)) == -EAGAIN)
		usleep(500);
	return ret;
}

static int cancel(aio_context_t ctx, struct iocb *cb)
{
	struct io_event ev;

	return syscall(__NR_io_cancel, ctx, cb, &ev) ? -errno : 0;
}

/* What there is in the ring of the context, without waiting. */
static int getevents(aio_context_t ctx, int nr, struct io_event *ev)
{
	struct __kernel_timespec zero = {};
	int ret = syscall(__NR_io_pgetevents, ctx, 0L, (long)nr, ev, &zero,
			  NULL);

	return ret < 0 ? -errno : ret;
}

static struct iocb request(int queue, int op, int fd, __u64 user_data)
{
	struct iocb cb = {
		.aio_data = user_data,
		.aio_lio_opcode = op,
		.aio_fildes = fd,
		.aio_flags = IOCB_FLAG_KEVENT,
		.aio_resfd = queue,
	};

	return cb;
}

static struct iocb transfer(int queue, int op, int fd, void *buf, size_t len,
			    __u64 user_data)
{
	struct iocb cb = request(queue, op, fd, user_data);

	cb.aio_buf = (unsigned long)buf;
	cb.aio_nbytes = len;
	return cb;
}

static struct iocb poll_in(int queue, int fd, __u64 user_data)
{
	struct iocb cb = request(queue, IOCB_CMD_POLL, fd, user_data);

	cb.aio_buf = POLLIN;
	return cb;
}

/* A request on a file in memory, which is complete when it is submitted. */
static int submit_done(aio_context_t ctx, int queue, int file, __u64 user_data)
{
	char byte;
	struct iocb cb = transfer(queue, IOCB_CMD_PREAD, file, &byte, 1,
				  user_data);

	return submit(ctx, &cb);
}

FIXTURE(aio)
{
	struct queue q;
	aio_context_t ctx;
	int file;	/* in memory */
	int fd;		/* an eventfd */
};

FIXTURE_VARIANT(aio)
{
	unsigned int entries;
	bool copy;
};

FIXTURE_VARIANT_ADD(aio, ring)
{
	.entries = ENTRIES,
};

FIXTURE_VARIANT_ADD(aio, copied)
{
	.entries = ENTRIES,
	.copy = true,
};

FIXTURE_VARIANT_ADD(aio, no_ring)
{
	.copy = true,
};

FIXTURE_SETUP(aio)
{
	self->ctx = setup();
	if (!self->ctx && errno == ENOSYS)
		SKIP(return, "this kernel has no AIO");
	ASSERT_NE(0, self->ctx);
	ASSERT_LE(0, queue_open(&self->q, variant->entries));
	self->file = memfd_create("aio", MFD_CLOEXEC);
	ASSERT_LE(0, self->file);
	ASSERT_EQ(3, write(self->file, "abc", 3));
	self->fd = new_file();
	ASSERT_LE(0, self->fd);
}

FIXTURE_TEARDOWN(aio)
{
	if (self->ctx)
		destroy(self->ctx);
	queue_close(&self->q);
	close(self->file);
	close(self->fd);
}

#define Q	(&self->q)
#define COPY	(variant->copy)

/* The next event, which may have to be waited for, is this one. */
#define EXPECT_DONE(value, result)					\
do {									\
	struct kevent_event __got = {};					\
									\
	ASSERT_EQ(1, take_next(Q, COPY, &__got));			\
	EXPECT_EQ((__u64)(value), __got.user_data);			\
	EXPECT_EQ((__s64)(result), __got.data);				\
	EXPECT_EQ(KEVENT_AIO_DONE, __got.events);			\
	EXPECT_EQ(KEVENT_SOURCE_AIO |					\
		  (__got.data < 0 ? KEVENT_INFO_ERROR : 0), __got.info);	\
	EXPECT_EQ(0, __got.extra);					\
} while (0)

/* There is none, neither here nor there. */
#define EXPECT_NOTHING()						\
do {									\
	struct io_event __ev;						\
									\
	EXPECT_EMPTY(Q, COPY);						\
	EXPECT_EQ(0, getevents(self->ctx, 1, &__ev));			\
} while (0)

TEST_F(aio, kernel_says_that_it_knows_the_flag)
{
	EXPECT_TRUE(self->q.args.features &
		    KEVENT_FEATURE_SOURCE(KEVENT_SOURCE_AIO));
}

TEST_F(aio, read_and_write)
{
	char buf[8] = "hello";
	struct iocb cb;

	cb = transfer(self->q.fd, IOCB_CMD_PWRITE, self->file, buf, 5, 1);
	ASSERT_EQ(1, submit(self->ctx, &cb));
	EXPECT_DONE(1, 5);
	memset(buf, 0, sizeof(buf));
	cb = transfer(self->q.fd, IOCB_CMD_PREAD, self->file, buf, 8, ~2ULL);
	cb.aio_offset = 1;
	ASSERT_EQ(1, submit(self->ctx, &cb));
	EXPECT_DONE(~2ULL, 4);
	EXPECT_STREQ("ello", buf);
	cb.aio_offset = 100;
	ASSERT_EQ(1, submit(self->ctx, &cb));
	EXPECT_DONE(~2ULL, 0);
	EXPECT_NOTHING();
}

TEST_F(aio, vectored)
{
	char a[3] = "ab", b[3] = "cd";
	struct iovec iov[2] = { { a, 2 }, { b, 2 } };
	struct iocb cb;

	cb = transfer(self->q.fd, IOCB_CMD_PWRITEV, self->file, iov, 2, 1);
	ASSERT_EQ(1, submit(self->ctx, &cb));
	EXPECT_DONE(1, 4);
	memset(a, 0, sizeof(a));
	memset(b, 0, sizeof(b));
	cb = transfer(self->q.fd, IOCB_CMD_PREADV, self->file, iov, 2, 2);
	ASSERT_EQ(1, submit(self->ctx, &cb));
	EXPECT_DONE(2, 4);
	EXPECT_STREQ("ab", a);
	EXPECT_STREQ("cd", b);
	EXPECT_NOTHING();
}

TEST_F(aio, sync)
{
	struct iocb cb;

	cb = request(self->q.fd, IOCB_CMD_FSYNC, self->file, 1);
	ASSERT_EQ(1, submit(self->ctx, &cb));
	EXPECT_DONE(1, 0);
	cb = request(self->q.fd, IOCB_CMD_FDSYNC, self->file, 2);
	ASSERT_EQ(1, submit(self->ctx, &cb));
	EXPECT_DONE(2, 0);
	EXPECT_NOTHING();
}

TEST_F(aio, what_went_wrong)
{
	struct iocb cb;

	cb = transfer(self->q.fd, IOCB_CMD_PREAD, self->file, guard_page(), 1,
		      1);
	ASSERT_EQ(1, submit(self->ctx, &cb));
	EXPECT_DONE(1, -EFAULT);
	cb = transfer(self->q.fd, IOCB_CMD_PREAD, self->fd, &cb, 8, 2);
	ASSERT_EQ(1, submit(self->ctx, &cb));
	EXPECT_DONE(2, -EAGAIN);
	EXPECT_NOTHING();
}

TEST_F(aio, poll)
{
	struct iocb cb = poll_in(self->q.fd, self->fd, 1);

	ASSERT_EQ(1, submit(self->ctx, &cb));
	EXPECT_NOTHING();
	ASSERT_EQ(0, fire(self->fd));
	EXPECT_DONE(1, POLLIN);
	ASSERT_EQ(1, submit(self->ctx, &cb));
	EXPECT_DONE(1, POLLIN);
	ASSERT_EQ(1, quiet(self->fd));
	ASSERT_EQ(0, fire(self->fd));
	EXPECT_NOTHING();
}

/* The wake-up comes from an interrupt. */
TEST_F(aio, poll_of_a_timer)
{
	struct itimerspec its = { .it_value.tv_nsec = 2 * MSEC };
	struct iocb cb;
	int fd, i;

	fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);
	ASSERT_LE(0, fd);
	for (i = 0; i < 20; i++) {
		ASSERT_EQ(0, timerfd_settime(fd, 0, &its, NULL));
		cb = poll_in(self->q.fd, fd, i);
		ASSERT_EQ(1, submit(self->ctx, &cb));
		EXPECT_DONE(i, POLLIN);
	}
	EXPECT_NOTHING();
	close(fd);
}

/* The queue that is reported is the file that is polled. */
TEST_F(aio, poll_of_the_queue)
{
	struct iocb cb = poll_in(self->q.fd, self->q.fd, 1);
	struct kevent_event ev;

	ASSERT_EQ(1, submit(self->ctx, &cb));
	EXPECT_NOTHING();
	ASSERT_EQ(1, seq_post(self->q.fd, 2, 1, KEVENT_POST_DEFER));
	ASSERT_EQ(1, take_next(Q, COPY, &ev));
	EXPECT_EQ(2, ev.user_data);
	EXPECT_DONE(1, POLLIN | POLLRDNORM);
	EXPECT_NOTHING();
}

TEST_F(aio, wakes_a_thread)
{
	struct iocb cb = poll_in(self->q.fd, self->fd, 1);
	struct waiter waiter;

	ASSERT_EQ(0, waiter_start(&waiter, self->q.fd, 0, 1));
	ASSERT_TRUE(sleeper_asleep(&waiter.sleeper));
	ASSERT_EQ(1, submit(self->ctx, &cb));
	EXPECT_FALSE(sleeper_done(&waiter.sleeper));
	ASSERT_EQ(0, fire(self->fd));
	EXPECT_EQ(1, sleeper_join(&waiter.sleeper));
	EXPECT_DONE(1, POLLIN);
}

/*
 * Requests that complete in an interrupt: those to a block device, if there is
 * one that may be read.
 */
TEST_F(aio, block_device)
{
	struct iocb cb;
	void *buf;
	int fd, i;

	fd = open("/dev/nullb0", O_RDONLY | O_DIRECT | O_CLOEXEC);
	if (fd < 0)
		SKIP(return, "there is no /dev/nullb0");
	ASSERT_EQ(0, posix_memalign(&buf, 4096, 4096));
	for (i = 0; i < 1000; i++) {
		cb = transfer(self->q.fd, IOCB_CMD_PREAD, fd, buf, 4096, i);
		ASSERT_EQ(1, submit(self->ctx, &cb));
		EXPECT_DONE(i, 4096);
	}
	EXPECT_NOTHING();
	free(buf);
	close(fd);
}

TEST_F(aio, refused)
{
	int sealed, opath, i;
	struct iocb cb;

	sealed = sealed_queue(1 << KEVENT_SOURCE_USER);
	ASSERT_LE(0, sealed);
	opath = open("/", O_PATH | O_CLOEXEC);
	ASSERT_LE(0, opath);
	/* Often enough to use up all slots if they were not given back. */
	for (i = 0; i < 1000; i++) {
		cb = poll_in(self->q.fd, self->fd, 1);
		cb.aio_flags |= IOCB_FLAG_RESFD;
		ASSERT_EQ(-EINVAL, submit(self->ctx, &cb));
		cb.aio_resfd = self->fd;
		ASSERT_EQ(-EINVAL, submit(self->ctx, &cb));
		cb = poll_in(-1, self->fd, 1);
		ASSERT_EQ(-EBADF, submit(self->ctx, &cb));
		cb = poll_in(opath, self->fd, 1);
		ASSERT_EQ(-EBADF, submit(self->ctx, &cb));
		cb = poll_in(self->fd, self->fd, 1);
		ASSERT_EQ(-EINVAL, submit(self->ctx, &cb));
		cb = poll_in(sealed, self->fd, 1);
		ASSERT_EQ(-EPERM, submit(self->ctx, &cb));

		/* As without the flag. */
		cb = poll_in(self->q.fd, -1, 1);
		ASSERT_EQ(-EBADF, submit(self->ctx, &cb));
		cb = request(self->q.fd, 99, self->fd, 1);
		ASSERT_EQ(-EINVAL, submit(self->ctx, &cb));
		cb = poll_in(self->q.fd, self->fd, 1);
		cb.aio_nbytes = 1;
		ASSERT_EQ(-EINVAL, submit(self->ctx, &cb));
		cb = poll_in(self->q.fd, self->fd, 1);
		cb.aio_reserved2 = 1;
		ASSERT_EQ(-EINVAL, submit(self->ctx, &cb));
	}
	EXPECT_NOTHING();
	cb = poll_in(self->q.fd, self->fd, 1);
	ASSERT_EQ(1, submit(self->ctx, &cb));
	ASSERT_EQ(0, fire(self->fd));
	EXPECT_DONE(1, POLLIN);
	EXPECT_NOTHING();
	close(sealed);
	close(opath);
}

/* Without io_getevents(), which is what gives slots back otherwise. */
TEST_F(aio, context_does_not_run_dry)
{
	int i;

	for (i = 0; i < 20000; i++) {
		ASSERT_EQ(1, submit_done(self->ctx, self->q.fd, self->file, i));
		EXPECT_DONE(i, 1);
	}
	EXPECT_NOTHING();
}

/* Many more than the ring has slots, none of which is taken. */
TEST_F(aio, overflow)
{
	int i;

	for (i = 0; i < 5000; i++)
		ASSERT_EQ(1, submit_done(self->ctx, self->q.fd, self->file, i));
	for (i = 0; i < 5000; i++)
		EXPECT_DONE(i, 1);
	EXPECT_NOTHING();
}

/* Requests in flight still have a place when others have filled the ring. */
TEST_F(aio, overflow_by_others)
{
	struct kevent_event ev;
	struct iocb cb[SLOTS];
	__u64 seen = 0;
	int i;

	for (i = 0; i < SLOTS; i++) {
		cb[i] = poll_in(self->q.fd, self->fd, i);
		ASSERT_EQ(1, submit(self->ctx, &cb[i]));
	}
	ASSERT_EQ(2 * ENTRIES, seq_post(self->q.fd, 0, 2 * ENTRIES,
					KEVENT_POST_DEFER));
	ASSERT_EQ(0, fire(self->fd));
	for (i = 0; i < 2 * ENTRIES; i++) {
		ASSERT_EQ(1, take_next(Q, COPY, &ev));
		EXPECT_EQ(i, ev.user_data);
		EXPECT_TRUE(seq_intact(&ev));
	}
	for (i = 0; i < SLOTS; i++) {
		ASSERT_EQ(1, take_next(Q, COPY, &ev));
		EXPECT_EQ(KEVENT_SOURCE_AIO, ev.info);
		seen |= 1ULL << ev.user_data;
	}
	EXPECT_EQ((1ULL << SLOTS) - 1, seen);
	EXPECT_NOTHING();
}

/* The number of unconsumed completions is limited. */
TEST_F(aio, too_much_waits)
{
	struct kevent_event ev;
	int i;

	ASSERT_EQ(MAX_WAITING, seq_post(self->q.fd, 0, MAX_WAITING,
					KEVENT_POST_DEFER));
	for (i = 0; i < variant->entries; i++)
		ASSERT_EQ(1, submit_done(self->ctx, self->q.fd, self->file, i));
	EXPECT_EQ(-EAGAIN, submit_done(self->ctx, self->q.fd, self->file, i));
	EXPECT_EQ(-EAGAIN, seq_post(self->q.fd, 0, 1, KEVENT_POST_DEFER));
	ASSERT_EQ(1, take_now(Q, COPY, &ev));
	queue_refill(Q);
	EXPECT_EQ(1, submit_done(self->ctx, self->q.fd, self->file, i));
	EXPECT_EQ(MAX_WAITING + variant->entries, queue_drain(Q));
	EXPECT_NOTHING();
}

/* So is that of requests in flight, which are complete all at once. */
TEST_F(aio, too_much_is_in_flight)
{
	static const char limit[] = "/proc/sys/fs/aio-max-nr";
	enum { BATCH = 256 };
	struct iocb cb[BATCH], *at[BATCH];
	long long old = read_number(limit);
	aio_context_t ctx = 0;
	int i, ret, nr;

	if (!write_number(limit, old + 4 * MAX_WAITING))
		SKIP(return, "%s cannot be changed", limit);
	ret = syscall(__NR_io_setup, MAX_WAITING + BATCH, &ctx);
	EXPECT_TRUE(write_number(limit, old));
	ASSERT_EQ(0, ret);
	for (i = 0; i < BATCH; i++) {
		cb[i] = poll_in(self->q.fd, self->fd, i);
		at[i] = &cb[i];
	}
	for (nr = 0; nr < MAX_WAITING; nr += ret) {
		ret = syscall(__NR_io_submit, ctx, (long)BATCH, at);
		if (ret <= 0)
			break;
	}
	EXPECT_EQ(MAX_WAITING, nr);
	EXPECT_EQ(-EAGAIN, submit(ctx, &cb[0]));
	/* They share it with posts. */
	EXPECT_EQ(variant->entries, seq_post(self->q.fd, 0, variant->entries,
					     KEVENT_POST_DEFER));
	EXPECT_EQ(-EAGAIN, seq_post(self->q.fd, 0, 1, KEVENT_POST_DEFER));
	EXPECT_EQ(0, destroy(ctx));
	EXPECT_EQ(nr + variant->entries, queue_drain(Q));
	/* What has gone does not count any more. */
	EXPECT_EQ(1, submit_done(self->ctx, self->q.fd, self->file, 0));
	EXPECT_EQ(1, queue_drain(Q));
}

TEST_F(aio, beside_the_ring_of_the_context)
{
	struct io_event ev[4];
	struct iocb cb;
	char byte;
	int i;

	for (i = 0; i < 6; i++) {
		cb = transfer(self->q.fd, IOCB_CMD_PREAD, self->file, &byte, 1,
			      i);
		if (i % 2) {
			cb.aio_flags = 0;
			cb.aio_resfd = 0;
		}
		ASSERT_EQ(1, submit(self->ctx, &cb));
	}
	EXPECT_EQ(3, getevents(self->ctx, 4, ev));
	for (i = 0; i < 3; i++) {
		EXPECT_EQ(2 * i + 1, ev[i].data);
		EXPECT_DONE(2 * i, 1);
	}
	EXPECT_NOTHING();
}

TEST_F(aio, cancelled)
{
	struct iocb cb = poll_in(self->q.fd, self->fd, 1);

	ASSERT_EQ(1, submit(self->ctx, &cb));
	EXPECT_EQ(-EINPROGRESS, cancel(self->ctx, &cb));
	EXPECT_DONE(1, 0);
	EXPECT_EQ(-EINVAL, cancel(self->ctx, &cb));
	ASSERT_EQ(0, fire(self->fd));
	EXPECT_NOTHING();
}

TEST_F(aio, context_destroyed)
{
	struct iocb cb[SLOTS];
	struct kevent_event ev;
	__u64 seen = 0;
	int i;

	for (i = 0; i < SLOTS; i++) {
		cb[i] = poll_in(self->q.fd, self->fd, i);
		ASSERT_EQ(1, submit(self->ctx, &cb[i]));
	}
	EXPECT_EMPTY(Q, COPY);
	ASSERT_EQ(0, destroy(self->ctx));
	self->ctx = 0;
	for (i = 0; i < SLOTS; i++) {
		ASSERT_EQ(1, take_now(Q, COPY, &ev));
		EXPECT_EQ(0, ev.data);
		seen |= 1ULL << ev.user_data;
	}
	EXPECT_EQ((1ULL << SLOTS) - 1, seen);
	EXPECT_EMPTY(Q, COPY);
}

/* It is not reported, and nothing else happens. */
TEST_F(aio, queue_closed)
{
	struct iocb cb[SLOTS];
	int i, round;

	for (round = 0; round < 100; round++) {
		struct queue q;

		ASSERT_LE(0, queue_open(&q, variant->entries));
		for (i = 0; i < SLOTS; i++) {
			cb[i] = poll_in(q.fd, self->fd, i);
			ASSERT_EQ(1, submit_soon(self->ctx, &cb[i]));
		}
		if (round % 2)
			ASSERT_EQ(0, fire(self->fd));
		queue_close(&q);
		if (round % 2) {
			ASSERT_EQ(1, quiet(self->fd));
		} else {
			ASSERT_EQ(0, fire(self->fd));
			ASSERT_EQ(1, quiet(self->fd));
		}
		EXPECT_NOTHING();
	}
}

/* The mapping is enough to see it. */
TEST(descriptor_closed)
{
	struct kevent_event ev = {};
	aio_context_t ctx = setup();
	struct queue q;
	struct iocb cb;
	int fd;

	if (!ctx)
		SKIP(return, "this kernel has no AIO");
	ASSERT_LE(0, queue_open(&q, ENTRIES));
	fd = new_file();
	cb = poll_in(q.fd, fd, 1);
	ASSERT_EQ(1, submit(ctx, &cb));
	close(q.fd);
	q.fd = -1;
	ASSERT_EQ(0, fire(fd));
	while (!ring_take(&q, &ev))
		usleep(500);
	EXPECT_EQ(1, ev.user_data);
	EXPECT_EQ(POLLIN, ev.data);
	queue_close(&q);
	destroy(ctx);
	close(fd);
}

/*
 * The end of a process: its requests complete, and who has the queue still is
 * reported so.
 */
struct ending {
	int queue, fd;
};

static void __attribute__((constructor)) after_exec(void)
{
	struct ending end;

	/* The context went with the memory of the program before. */
	if (exec_state(&end, sizeof(end)))
		_exit(0);
}

/* In the child. */
static void end_with_requests(int queue, int fd, bool exec)
{
	struct ending end = { queue, fd };
	aio_context_t ctx = setup();
	struct iocb cb[SLOTS];
	int i;

	for (i = 0; i < SLOTS; i++) {
		cb[i] = poll_in(queue, fd, i);
		if (submit(ctx, &cb[i]) != 1)
			_exit(1);
	}
	if (exec)
		exec_again(&end, sizeof(end));
	_exit(0);
}

TEST_F(aio, process_ends)
{
	struct kevent_event ev;
	int i, round;
	__u64 seen;
	pid_t pid;

	for (round = 0; round < 4; round++) {
		pid = fork();
		ASSERT_LE(0, pid);
		if (!pid)
			end_with_requests(self->q.fd, self->fd, round % 2);
		EXPECT_EQ(0, child_status(pid));
		seen = 0;
		for (i = 0; i < SLOTS; i++) {
			ASSERT_EQ(1, take_next(Q, COPY, &ev));
			EXPECT_EQ(0, ev.data);
			/* The child may only post to the queue. */
			EXPECT_EQ(KEVENT_SOURCE_AIO | KEVENT_INFO_POSTED,
				  ev.info);
			seen |= 1ULL << ev.user_data;
		}
		EXPECT_EQ((1ULL << SLOTS) - 1, seen);
		EXPECT_NOTHING();
	}
}

/* A child has the queue, not the context; what is in flight is the parent's. */
TEST_F(aio, forked)
{
	struct iocb cb = poll_in(self->q.fd, self->fd, 1);
	pid_t pid;

	ASSERT_EQ(1, submit(self->ctx, &cb));
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid)
		_exit(-submit(self->ctx, &cb));
	EXPECT_EQ(EINVAL, child_status(pid));
	EXPECT_NOTHING();
	ASSERT_EQ(0, fire(self->fd));
	EXPECT_DONE(1, POLLIN);
	EXPECT_NOTHING();
}

#ifdef __x86_64__
/* The calls of a 32-bit program. */
static int call32(int nr, unsigned long a, unsigned long b, unsigned long c)
{
	int ret;

	__asm__ volatile("int $0x80" : "=a" (ret)
			 : "a" (nr), "b" (a), "c" (b), "d" (c)
			 : "memory", "r8", "r9", "r10", "r11");
	return ret;
}

/* In the child: 0 if it did what was expected. */
static int submit32(int queue, int file)
{
	struct {
		__u32 ctx, list[2];
		struct iocb cb[2];
		char byte;
	} *mem;

	mem = mmap(NULL, 4096, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
	if (mem == MAP_FAILED)
		return 1;
	if (call32(245, SLOTS, (unsigned long)&mem->ctx, 0))
		return 2;
	mem->cb[0] = transfer(queue, IOCB_CMD_PREAD, file, &mem->byte, 1, 1);
	mem->cb[1] = mem->cb[0];
	mem->cb[1].aio_data = 2;
	mem->list[0] = (unsigned long)&mem->cb[0];
	mem->list[1] = (unsigned long)&mem->cb[1];
	if (call32(248, mem->ctx, 2, (unsigned long)mem->list) != 2)
		return 3;
	mem->cb[0].aio_flags |= IOCB_FLAG_RESFD;
	if (call32(248, mem->ctx, 1, (unsigned long)mem->list) != -EINVAL)
		return 4;
	return 0;
}

TEST_F(aio, program_of_32_bits)
{
	struct kevent_event ev;
	pid_t pid = fork();
	int status, i;

	ASSERT_LE(0, pid);
	if (!pid)
		_exit(submit32(self->q.fd, self->file));
	status = child_status(pid);
	if (status == -SIGSEGV)
		SKIP(return, "this kernel has no 32-bit programs");
	ASSERT_EQ(0, status);
	for (i = 1; i <= 2; i++) {
		ASSERT_EQ(1, take_next(Q, COPY, &ev));
		EXPECT_EQ(i, ev.user_data);
		/* The child may only post to the queue. */
		EXPECT_EQ(KEVENT_SOURCE_AIO | KEVENT_INFO_POSTED, ev.info);
		EXPECT_EQ(1, ev.data);
	}
	EXPECT_NOTHING();
}
#endif

/*
 * Races.
 */
#define LONG	100	/* seconds, for machines with fewer processors than threads */

struct firing {
	struct racer racer;
	unsigned int seed;
	int fd;
};

static void fire_side(void *arg)
{
	struct firing *f = arg;

	dawdle(&f->seed, 2000);
	fire(f->fd);
}

static int start_firing(struct firing *f, int fd)
{
	f->fd = fd;
	f->seed = 1;
	return racer_start(&f->racer, fire_side, f);
}

/* It completes in one of the two ways, once. */
TEST_F_TIMEOUT(aio, cancelled_while_it_completes, LONG)
{
	unsigned int seed = 2, done = 0;
	struct kevent_event ev;
	struct firing f;
	struct iocb cb;
	int i, ret;

	ASSERT_EQ(0, start_firing(&f, self->fd));
	for (i = 0; i < 5000; i++) {
		cb = poll_in(self->q.fd, self->fd, i);
		ASSERT_EQ(1, submit(self->ctx, &cb));
		racer_go(&f.racer);
		dawdle(&seed, 2000);
		ret = cancel(self->ctx, &cb);
		ASSERT_TRUE(ret == -EINPROGRESS || ret == -EINVAL);
		ASSERT_EQ(1, take_next(Q, COPY, &ev));
		ASSERT_EQ(i, ev.user_data);
		ASSERT_TRUE(ev.data == POLLIN ||
			    (!ev.data && ret == -EINPROGRESS));
		done += ev.data == POLLIN;
		racer_wait(&f.racer);
		ASSERT_EQ(1, quiet(self->fd));
	}
	racer_stop(&f.racer);
	TH_LOG("completed %u, cancelled %u", done, i - done);
	EXPECT_NOTHING();
}

TEST_F_TIMEOUT(aio, context_destroyed_while_it_completes, LONG)
{
	struct kevent_event ev;
	struct iocb cb[SLOTS];
	unsigned int seed = 2;
	struct firing f;
	int i, round;
	__u64 seen;

	ASSERT_EQ(0, start_firing(&f, self->fd));
	for (round = 0; round < 100; round++) {
		for (i = 0; i < SLOTS; i++) {
			cb[i] = poll_in(self->q.fd, self->fd, i);
			ASSERT_EQ(1, submit(self->ctx, &cb[i]));
		}
		racer_go(&f.racer);
		dawdle(&seed, 2000);
		ASSERT_EQ(0, destroy(self->ctx));
		self->ctx = setup();
		ASSERT_NE(0, self->ctx);
		seen = 0;
		for (i = 0; i < SLOTS; i++) {
			ASSERT_EQ(1, take_now(Q, COPY, &ev));
			ASSERT_TRUE(!ev.data || ev.data == POLLIN);
			seen |= 1ULL << ev.user_data;
		}
		ASSERT_EQ((1ULL << SLOTS) - 1, seen);
		racer_wait(&f.racer);
		ASSERT_EQ(1, quiet(self->fd));
	}
	racer_stop(&f.racer);
	EXPECT_NOTHING();
}

TEST_F_TIMEOUT(aio, queue_closed_while_it_completes, LONG)
{
	unsigned int seed = 2;
	struct iocb cb[2];
	struct firing f;
	struct queue q;
	int i;

	ASSERT_EQ(0, start_firing(&f, self->fd));
	for (i = 0; i < 1000; i++) {
		ASSERT_LE(0, queue_open(&q, variant->entries));
		cb[0] = poll_in(q.fd, self->fd, i);
		cb[1] = cb[0];
		ASSERT_EQ(1, submit_soon(self->ctx, &cb[0]));
		ASSERT_EQ(1, submit_soon(self->ctx, &cb[1]));
		racer_go(&f.racer);
		dawdle(&seed, 2000);
		queue_close(&q);
		racer_wait(&f.racer);
		ASSERT_EQ(1, quiet(self->fd));
	}
	racer_stop(&f.racer);
	EXPECT_NOTHING();
}

/*
 * Several threads submit, each with a context of its own, and one takes: each
 * event once, and in the order in which they happened.
 */
#define THREADS	3
#define EACH	5000

struct submitter {
	pthread_t thread;
	int queue, file, nr, wrong;
};

static void *submitter_main(void *arg)
{
	struct submitter *s = arg;
	aio_context_t ctx = setup();
	int i, ret;

	if (!ctx)
		s->wrong++;
	for (i = 0; i < EACH && !s->wrong; i++) {
		ret = submit_done(ctx, s->queue, s->file,
				  (__u64)s->nr << 32 | i);
		if (ret != 1)
			s->wrong++;
	}
	destroy(ctx);
	return NULL;
}

TEST_F_TIMEOUT(aio, many_threads, LONG)
{
	struct submitter s[THREADS] = {};
	__u32 next[THREADS] = {};
	struct kevent_event ev;
	unsigned int nr;
	int i;

	for (i = 0; i < THREADS; i++) {
		s[i].queue = self->q.fd;
		s[i].file = self->file;
		s[i].nr = i;
		ASSERT_EQ(0, pthread_create(&s[i].thread, NULL, submitter_main,
					    &s[i]));
	}
	for (i = 0; i < THREADS * EACH; i++) {
		ASSERT_EQ(1, take_next(Q, COPY, &ev));
		nr = ev.user_data >> 32;
		ASSERT_GT(THREADS, nr);
		ASSERT_EQ(next[nr]++, (__u32)ev.user_data);
		ASSERT_EQ(1, ev.data);
	}
	for (i = 0; i < THREADS; i++) {
		pthread_join(s[i].thread, NULL);
		EXPECT_EQ(0, s[i].wrong);
	}
	EXPECT_NOTHING();
}

TEST_HARNESS_MAIN
