// SPDX-License-Identifier: GPL-2.0
/*
 * The layout of the structures, and what all calls have in common: which file
 * descriptors they refuse, and that they do not care how a pointer is aligned.
 */
#include <sys/eventfd.h>

#include "kevent_test.h"

#include <linux/aio_abi.h>

#define EXPECT_OFFSET(offset, type, member) \
	EXPECT_EQ(offset, offsetof(struct type, member))

TEST(event_layout)
{
	EXPECT_EQ(32, sizeof(struct kevent_event));
	EXPECT_EQ(KEVENT_EVENT_SIZE_VER0, sizeof(struct kevent_event));
	EXPECT_OFFSET(0, kevent_event, user_data);
	EXPECT_OFFSET(8, kevent_event, events);
	EXPECT_OFFSET(12, kevent_event, info);
	EXPECT_OFFSET(16, kevent_event, data);
	EXPECT_OFFSET(24, kevent_event, extra);
}

TEST(ring_layout)
{
	EXPECT_EQ(192, sizeof(struct kevent_ring));
	EXPECT_OFFSET(0, kevent_ring, entries);
	EXPECT_OFFSET(4, kevent_ring, entries_offset);
	EXPECT_OFFSET(8, kevent_ring, event_size);
	EXPECT_OFFSET(64, kevent_ring, flags);
	EXPECT_OFFSET(72, kevent_ring, posted);
	EXPECT_OFFSET(80, kevent_ring, merged);
	EXPECT_OFFSET(88, kevent_ring, deferred);
	EXPECT_OFFSET(96, kevent_ring, woken);
	EXPECT_OFFSET(128, kevent_ring, cursor);
}

TEST(create_layout)
{
	EXPECT_EQ(64, sizeof(struct kevent_create));
	EXPECT_EQ(KEVENT_CREATE_SIZE_VER0, sizeof(struct kevent_create));
	EXPECT_OFFSET(0, kevent_create, flags);
	EXPECT_OFFSET(4, kevent_create, entries);
	EXPECT_OFFSET(8, kevent_create, event_size);
	EXPECT_OFFSET(12, kevent_create, ring_entries);
	EXPECT_OFFSET(16, kevent_create, features);
	EXPECT_OFFSET(24, kevent_create, mmap_size);
	EXPECT_OFFSET(32, kevent_create, entries_offset);
	EXPECT_OFFSET(36, kevent_create, __resv0);
	EXPECT_OFFSET(40, kevent_create, __resv);
}

TEST(watch_layout)
{
	EXPECT_EQ(72, sizeof(struct kevent_watch));
	EXPECT_EQ(KEVENT_WATCH_SIZE_VER0, sizeof(struct kevent_watch));
	EXPECT_OFFSET(0, kevent_watch, source);
	EXPECT_OFFSET(4, kevent_watch, flags);
	EXPECT_OFFSET(8, kevent_watch, ident);
	EXPECT_OFFSET(16, kevent_watch, events);
	EXPECT_OFFSET(20, kevent_watch, result);
	EXPECT_OFFSET(24, kevent_watch, user_data);
	EXPECT_OFFSET(32, kevent_watch, handle);
	EXPECT_OFFSET(40, kevent_watch, arg);
}

TEST(wait_layout)
{
	EXPECT_EQ(48, sizeof(struct kevent_wait));
	EXPECT_EQ(KEVENT_WAIT_SIZE_VER0, sizeof(struct kevent_wait));
	EXPECT_OFFSET(0, kevent_wait, flags);
	EXPECT_OFFSET(4, kevent_wait, clockid);
	EXPECT_OFFSET(8, kevent_wait, seen);
	EXPECT_OFFSET(12, kevent_wait, min_nr);
	EXPECT_OFFSET(16, kevent_wait, timeout);
	EXPECT_OFFSET(24, kevent_wait, min_wait);
	EXPECT_OFFSET(32, kevent_wait, sigmask);
	EXPECT_OFFSET(40, kevent_wait, sigsetsize);
	EXPECT_OFFSET(44, kevent_wait, __resv);
}

TEST(word_fields_do_not_overlap)
{
	__u32 merged = KEVENT_WORD_MERGED_MAX << KEVENT_WORD_MERGED_SHIFT;
	__u32 lap = KEVENT_WORD_LAP_MASK << KEVENT_WORD_LAP_SHIFT;

	EXPECT_EQ(0xffffffffU, KEVENT_EVENTS_MASK | merged | lap |
			       KEVENT_WORD_STATE_MASK);
	EXPECT_EQ(0xffffffffU, KEVENT_EVENTS_MASK + merged + lap +
			       KEVENT_WORD_STATE_MASK);
	EXPECT_EQ(0, KEVENT_WORD_FREE);
}

/* What all calls agree upon when they get this for a queue; 0 if they do not. */
static int all_calls(int fd)
{
	struct kevent_wait wait = { .clockid = CLOCK_MONOTONIC };
	struct kevent_watch watch = timer_watch(0, 0, 0);
	struct kevent_event ev = {};
	__u64 handle = 0;
	int ret;

	ret = kevent_post(fd, &ev, sizeof(ev), 1, 0);
	if (kevent_add(fd, &watch, sizeof(watch), 1, 0) != ret)
		return 0;
	if (kevent_modify(fd, &watch, sizeof(watch), 1,
			  KEVENT_MODIFY_ENABLE) != ret)
		return 0;
	if (kevent_remove(fd, &handle, 1, 0) != ret)
		return 0;
	if (kevent_wait(fd, &wait, sizeof(wait)) != ret)
		return 0;
	if (kevent_get_events(fd, 0, 1, NULL, &ev, 0) != ret)
		return 0;
	return ret;
}

TEST(not_a_file_descriptor)
{
	struct queue q;

	EXPECT_EQ(-EBADF, all_calls(-1));
	EXPECT_EQ(-EBADF, all_calls(AT_FDCWD));
	EXPECT_EQ(-EBADF, all_calls(INT_MAX));
	EXPECT_EQ(-EBADF, all_calls(INT_MIN));

	ASSERT_LE(0, queue_open(&q, 2));
	close(q.fd);
	EXPECT_EQ(-EBADF, all_calls(q.fd));
}

TEST(not_a_queue)
{
	int pipes[2], sockets[2], fd;

	ASSERT_EQ(0, pipe(pipes));
	EXPECT_EQ(-EINVAL, all_calls(pipes[0]));
	EXPECT_EQ(-EINVAL, all_calls(pipes[1]));
	close(pipes[0]);
	close(pipes[1]);

	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_STREAM, 0, sockets));
	EXPECT_EQ(-EINVAL, all_calls(sockets[0]));
	close(sockets[0]);
	close(sockets[1]);

	/* These are anonymous inodes, as a queue is. */
	fd = epoll_create1(0);
	ASSERT_LE(0, fd);
	EXPECT_EQ(-EINVAL, all_calls(fd));
	close(fd);

	fd = eventfd(0, 0);
	ASSERT_LE(0, fd);
	EXPECT_EQ(-EINVAL, all_calls(fd));
	close(fd);

	fd = open("/dev/null", O_RDWR);
	ASSERT_LE(0, fd);
	EXPECT_EQ(-EINVAL, all_calls(fd));
	close(fd);

	fd = open("/", O_RDONLY | O_DIRECTORY);
	ASSERT_LE(0, fd);
	EXPECT_EQ(-EINVAL, all_calls(fd));
	close(fd);
}

TEST(path_only_descriptor)
{
	struct queue q;
	char name[64];
	int fd;

	fd = open("/", O_PATH);
	ASSERT_LE(0, fd);
	EXPECT_EQ(-EBADF, all_calls(fd));
	close(fd);

	ASSERT_LE(0, queue_open(&q, 2));
	snprintf(name, sizeof(name), "/proc/self/fd/%d", q.fd);
	fd = open(name, O_PATH);
	ASSERT_LE(0, fd);
	EXPECT_EQ(-EBADF, all_calls(fd));
	close(fd);
	queue_close(&q);
}

TEST(duplicate_is_the_same_queue)
{
	struct kevent_event ev;
	struct queue q;
	int fd;

	ASSERT_LE(0, queue_open(&q, 2));
	fd = dup(q.fd);
	ASSERT_LE(0, fd);
	EXPECT_EQ(1, seq_post(fd, 1, 1, 0));
	EXPECT_EQ(1, kevent_get_events(q.fd, 0, 1, NULL, &ev, 0));
	EXPECT_EQ(1, ev.user_data);
	close(fd);
	queue_close(&q);
}

TEST(two_queues_share_nothing)
{
	struct kevent_event ev;
	struct queue a, b;

	ASSERT_LE(0, queue_open(&a, 2));
	ASSERT_LE(0, queue_open(&b, 2));
	EXPECT_EQ(1, seq_post(a.fd, 1, 1, 0));
	EXPECT_EQ(0, ring_take(&b, &ev));
	EXPECT_EQ(0, kevent_get_events(b.fd, 0, 1, NULL, &ev, 0));
	EXPECT_EQ(1, ring_take(&a, &ev));
	queue_close(&a);
	queue_close(&b);
}

/* A copy of @obj at an address that suits no type. */
static void *misalign(void *buf, const void *obj, size_t size, int by)
{
	return memcpy((char *)buf + by, obj, size);
}

TEST(misaligned_pointers)
{
	struct kevent_create create = { .entries = 8 };
	struct __kernel_timespec ts = {};
	__u64 buf[64], buf2[64], buf3[64];
	const __u64 mask[2] = {};
	struct kevent_watch watch;
	struct kevent_wait wait;
	struct kevent_event ev;
	void *copy, *timeout;
	int by, fd;

	for (by = 1; by < 8; by++) {
		copy = misalign(buf, &create, sizeof(create), by);
		fd = kevent_create(copy, sizeof(create), 0);
		ASSERT_LE(0, fd) {
			TH_LOG("misaligned by %d", by);
		}
		EXPECT_NE(0, memcmp(copy, &create, sizeof(create)));

		seq_fill(&ev, by);
		copy = misalign(buf, &ev, sizeof(ev), by);
		EXPECT_EQ(1, kevent_post(fd, copy, sizeof(ev), 1, 0));

		timeout = misalign(buf2, &ts, sizeof(ts), by);
		memset(&wait, 0, sizeof(wait));
		wait.clockid = CLOCK_MONOTONIC;
		wait.min_nr = 1;
		wait.timeout = (unsigned long)timeout;
		wait.sigmask = (unsigned long)misalign(buf3, mask,
						       sizeof(mask), by);
		wait.sigsetsize = _NSIG / 8;
		copy = misalign(buf, &wait, sizeof(wait), by);
		EXPECT_EQ(1, kevent_wait(fd, copy, sizeof(wait)));

		EXPECT_EQ(1, kevent_get_events(fd, 1, 1, timeout, copy, 0));
		memcpy(&ev, copy, sizeof(ev));
		EXPECT_EQ(by, ev.user_data);
		EXPECT_TRUE(seq_intact(&ev));

		watch = timer_watch(by, HOUR, 0);
		copy = misalign(buf, &watch, sizeof(watch), by);
		EXPECT_EQ(1, kevent_add(fd, copy, sizeof(watch), 1, 0));
		memcpy(&watch, copy, sizeof(watch));
		EXPECT_NE(0, watch.handle);
		EXPECT_EQ(1, kevent_modify(fd, copy, sizeof(watch), 1,
					   KEVENT_MODIFY_ARG));
		copy = misalign(buf, &watch.handle, sizeof(watch.handle), by);
		EXPECT_EQ(1, kevent_remove(fd, copy, 1, 0));
		close(fd);
	}
}

/* Without the kernel's <asm/siginfo.h>; <linux/aio_abi.h> comes last here. */
TEST(sigevent_and_iocb)
{
	struct sigevent event = { .sigev_notify = SIGEV_KEVENT };
	struct iocb iocb = { .aio_flags = IOCB_FLAG_KEVENT };

	event.sigev_notify_kevent_fd = 5;
	EXPECT_EQ(8, event.sigev_notify);
	/* Past the value, the signal and the way to notify. */
	EXPECT_EQ(5, *(int *)((char *)&event + sizeof(sigval_t) + 8));
	EXPECT_EQ(4, iocb.aio_flags);
}

TEST(sigval_int)
{
	union {
		sigval_t value;
		unsigned long word;
	} u = { .word = 0 };

	u.value.sival_int = -5;
	EXPECT_EQ(-5, KEVENT_SIGVAL_INT((__u64)u.word));
}

TEST_HARNESS_MAIN
