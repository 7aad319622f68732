/* SPDX-License-Identifier: GPL-2.0 */
/*
 * io_uring, as far as the kevent tests need it, without a library.
 */
#ifndef KEVENT_URING_TEST_H
#define KEVENT_URING_TEST_H

#include <linux/io_uring.h>

#include "kevent_test.h"

struct uring {
	int fd;
	void *sq, *cq;
	size_t sq_size, cq_size, sqes_size;
	struct io_uring_params p;
	struct io_uring_sqe *sqes;
};

#define URING(ring, off)	((__u32 *)((ring) + (off)))

/* 0, or a negated errno. */
static inline int uring_init(struct uring *u)
{
	memset(u, 0, sizeof(*u));
	u->fd = syscall(SYS_io_uring_setup, 8, &u->p);
	if (u->fd < 0)
		return -errno;
	u->sq_size = u->p.sq_off.array + u->p.sq_entries * sizeof(__u32);
	u->cq_size = u->p.cq_off.cqes +
		     u->p.cq_entries * sizeof(struct io_uring_cqe);
	u->sqes_size = u->p.sq_entries * sizeof(struct io_uring_sqe);
	u->sq = mmap(NULL, u->sq_size, PROT_READ | PROT_WRITE, MAP_SHARED,
		     u->fd, IORING_OFF_SQ_RING);
	u->cq = mmap(NULL, u->cq_size, PROT_READ | PROT_WRITE, MAP_SHARED,
		     u->fd, IORING_OFF_CQ_RING);
	u->sqes = mmap(NULL, u->sqes_size, PROT_READ | PROT_WRITE, MAP_SHARED,
		       u->fd, IORING_OFF_SQES);
	return u->sq == MAP_FAILED || u->cq == MAP_FAILED ||
	       u->sqes == MAP_FAILED ? -ENOMEM : 0;
}

static inline void uring_exit(struct uring *u)
{
	munmap(u->sq, u->sq_size);
	munmap(u->cq, u->cq_size);
	munmap(u->sqes, u->sqes_size);
	close(u->fd);
}

/* Hands in a request; 1 or a negated errno. */
static inline int uring_submit(struct uring *u, const struct io_uring_sqe *sqe)
{
	__u32 tail = *URING(u->sq, u->p.sq_off.tail);
	__u32 index = tail & *URING(u->sq, u->p.sq_off.ring_mask);
	int ret;

	u->sqes[index] = *sqe;
	URING(u->sq, u->p.sq_off.array)[index] = index;
	__atomic_store_n(URING(u->sq, u->p.sq_off.tail), tail + 1,
			 __ATOMIC_RELEASE);
	ret = syscall(SYS_io_uring_enter, u->fd, 1, 0, 0, NULL, 0);
	return ret < 0 ? -errno : ret;
}

/* Takes a completion, of at least @nr, for which it waits; 1 or 0. */
static inline int uring_take(struct uring *u, unsigned int nr,
			     struct io_uring_cqe *cqe)
{
	__u32 head, tail;

	syscall(SYS_io_uring_enter, u->fd, 0, nr, IORING_ENTER_GETEVENTS,
		NULL, 0);
	head = *URING(u->cq, u->p.cq_off.head);
	tail = __atomic_load_n(URING(u->cq, u->p.cq_off.tail),
			       __ATOMIC_ACQUIRE);
	if (head == tail)
		return 0;
	*cqe = ((struct io_uring_cqe *)(u->cq + u->p.cq_off.cqes))
		[head & *URING(u->cq, u->p.cq_off.ring_mask)];
	__atomic_store_n(URING(u->cq, u->p.cq_off.head), head + 1,
			 __ATOMIC_RELEASE);
	return 1;
}

#endif /* KEVENT_URING_TEST_H */
