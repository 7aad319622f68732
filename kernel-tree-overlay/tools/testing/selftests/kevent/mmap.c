// SPDX-License-Identifier: GPL-2.0
/*
 * The mapping: which ones there are, who can have them, and that a program may
 * do to its own what it likes while events arrive.
 */
#include "kevent_test.h"

#define ENTRIES	1024	/* several pages on most machines */

FIXTURE(map)
{
	struct queue q;
	long page;
	size_t size;	/* of the mapping, in whole pages */
	off_t offset;
};

FIXTURE_SETUP(map)
{
	self->page = sysconf(_SC_PAGESIZE);
	ASSERT_LE(0, queue_open(&self->q, ENTRIES));
	self->size = (self->q.args.mmap_size + self->page - 1) &
		     ~(self->page - 1);
	self->offset = 0;
}

FIXTURE_TEARDOWN(map)
{
	queue_close(&self->q);
}

/* Tries to map; 0 (and unmapped again) or a negated errno. */
static int try_map(size_t size, int prot, int flags, int fd, off_t offset)
{
	void *map = mmap(NULL, size, prot, flags, fd, offset);

	if (map == MAP_FAILED)
		return -errno;
	munmap(map, size);
	return 0;
}

#define RW	(PROT_READ | PROT_WRITE)

TEST_F(map, size_must_be_exact)
{
	int fd = self->q.fd;
	size_t size;

	for (size = self->page; size < self->size; size += self->page)
		EXPECT_EQ(-EINVAL, try_map(size, RW, MAP_SHARED, fd,
					   self->offset));
	EXPECT_EQ(0, try_map(self->size, RW, MAP_SHARED, fd, self->offset));
	EXPECT_EQ(-EINVAL, try_map(self->size + self->page, RW, MAP_SHARED, fd,
				   self->offset));
	EXPECT_EQ(-EINVAL, try_map(2 * self->size, RW, MAP_SHARED, fd,
				   self->offset));
	EXPECT_EQ(-EINVAL, try_map(64 << 20, RW, MAP_SHARED, fd,
				   self->offset));
}

TEST_F(map, offset_must_be_exact)
{
	int fd = self->q.fd;
	off_t offset;

	for (offset = self->page; offset <= self->size; offset += self->page) {
		EXPECT_EQ(-EINVAL, try_map(self->size, RW, MAP_SHARED, fd,
					   self->offset + offset));
		EXPECT_EQ(-EINVAL, try_map(self->page, RW, MAP_SHARED, fd,
					   self->offset + offset));
	}
	EXPECT_EQ(-EINVAL, try_map(self->size, RW, MAP_SHARED, fd,
				   0x7ffff000 & -self->page));
}

TEST_F(map, must_be_shared)
{
	EXPECT_EQ(-EINVAL, try_map(self->size, RW, MAP_PRIVATE, self->q.fd,
				   self->offset));
	EXPECT_EQ(-EINVAL, try_map(self->size, PROT_READ, MAP_PRIVATE,
				   self->q.fd, self->offset));
	EXPECT_EQ(0, try_map(self->size, RW, MAP_SHARED_VALIDATE, self->q.fd,
			     self->offset));
}

/* Which error it is depends on who refuses it first. */
TEST_F(map, cannot_be_executable)
{
	EXPECT_GT(0, try_map(self->size, RW | PROT_EXEC, MAP_SHARED,
			     self->q.fd, self->offset));
	EXPECT_GT(0, try_map(self->size, PROT_READ | PROT_EXEC, MAP_SHARED,
			     self->q.fd, self->offset));
	EXPECT_EQ(-1, mprotect(self->q.ring, self->size, RW | PROT_EXEC));
	EXPECT_EQ(EACCES, errno);
	EXPECT_EQ(-1, mprotect(self->q.ring, self->page,
			       PROT_READ | PROT_EXEC));
	EXPECT_EQ(EACCES, errno);
}

TEST(without_ring_there_is_none)
{
	long page = sysconf(_SC_PAGESIZE);
	struct queue q;

	ASSERT_LE(0, queue_open(&q, 0));
	EXPECT_EQ(-EINVAL, try_map(page, RW, MAP_SHARED, q.fd, 0));
	EXPECT_EQ(-EINVAL, try_map(2 * page, RW, MAP_SHARED, q.fd, 0));
	EXPECT_EQ(-EINVAL, try_map(page, PROT_READ, MAP_SHARED, q.fd, page));
	queue_close(&q);
}

TEST_F(map, read_only)
{
	struct kevent_event ev;
	struct queue ro = self->q;
	void *map;

	map = mmap(NULL, self->size, PROT_READ, MAP_SHARED, self->q.fd,
		   self->offset);
	ASSERT_NE(MAP_FAILED, map);
	ro.ring = map;
	ro.slots = map + self->q.args.entries_offset;
	EXPECT_EQ(1, seq_post(self->q.fd, 5, 1, 0));
	EXPECT_TRUE(ring_ready(&ro, 0));
	EXPECT_EQ(5, ro.slots[0].user_data);
	EXPECT_EQ(1, ring_take(&self->q, &ev));
	EXPECT_FALSE(ring_ready(&ro, 0));
	EXPECT_EQ(1, ring_cursor(&ro));
	munmap(map, self->size);
}

TEST_F(map, twice_is_the_same_ring)
{
	struct queue again = self->q;
	struct kevent_event ev;
	int i;

	ASSERT_EQ(0, queue_map(&again));
	EXPECT_NE(self->q.ring, again.ring);
	EXPECT_EQ(4, seq_post(self->q.fd, 0, 4, 0));
	for (i = 0; i < 4; i++) {
		EXPECT_EQ(1, ring_take(i & 1 ? &again : &self->q, &ev));
		EXPECT_EQ(i, ev.user_data);
		EXPECT_TRUE(seq_intact(&ev));
	}
	EXPECT_EQ(0, ring_take(&again, &ev));
	EXPECT_EQ(0, ring_take(&self->q, &ev));

	/* The first one can go. */
	munmap(self->q.ring, self->size);
	self->q.ring = again.ring;
	self->q.slots = again.slots;
	EXPECT_EQ(1, seq_post(self->q.fd, 4, 1, 0));
	EXPECT_EQ(1, ring_take(&again, &ev));
	EXPECT_EQ(4, ev.user_data);
}

TEST_F(map, through_a_duplicate)
{
	struct queue other = self->q;
	struct kevent_event ev;

	other.fd = dup(self->q.fd);
	ASSERT_LE(0, other.fd);
	ASSERT_EQ(0, queue_map(&other));
	EXPECT_EQ(1, seq_post(self->q.fd, 1, 1, 0));
	EXPECT_EQ(1, ring_take(&other, &ev));
	EXPECT_EQ(1, ev.user_data);
	queue_close(&other);
}

TEST_F(map, outlives_the_descriptor)
{
	struct kevent_event ev;
	int i;

	EXPECT_EQ(4, seq_post(self->q.fd, 0, 4, 0));
	close(self->q.fd);
	self->q.fd = -1;
	for (i = 0; i < 4; i++) {
		EXPECT_EQ(1, ring_take(&self->q, &ev));
		EXPECT_EQ(i, ev.user_data);
		EXPECT_TRUE(seq_intact(&ev));
	}
	EXPECT_EQ(0, ring_take(&self->q, &ev));
	EXPECT_EQ(ENTRIES, self->q.ring->entries);
	/* All of it is still there. */
	memset(self->q.ring, 0x55, self->size);
}

TEST_F(map, not_inherited_by_fork)
{
	struct kevent_event ev;
	int status;
	pid_t pid;

	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		unsigned char vec[64];

		/* Nothing is there, and the ring is the maker's. */
		if (!mincore(self->q.ring, self->page, vec) || errno != ENOMEM)
			_exit(1);
		if (queue_map(&self->q) != -EACCES)
			_exit(2);
		_exit(seq_post(self->q.fd, 3, 1, 0) == 1 ? 0 : 3);
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, WEXITSTATUS(status));
	EXPECT_TRUE(WIFEXITED(status));
	EXPECT_EQ(1, ring_take(&self->q, &ev));
	EXPECT_EQ(3, ev.user_data);
}

TEST_F(map, child_that_uses_the_address_dies)
{
	int status;
	pid_t pid;

	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		ring_cursor(&self->q);
		_exit(0);
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	ASSERT_TRUE(WIFSIGNALED(status));
	EXPECT_EQ(SIGSEGV, WTERMSIG(status));
}

/* The kernel's side of the ring goes on, mapping or not. */
static bool still_works(struct queue *q)
{
	struct kevent_event ev;
	int i;

	queue_drain(q);
	for (i = 0; i < 2 * ENTRIES; i += 16) {
		int j;

		if (seq_post(q->fd, i, 16, 0) != 16)
			return false;
		for (j = 0; j < 16; j++)
			if (kevent_get_events(q->fd, 1, 1, NULL, &ev, 0) != 1 ||
			    ev.user_data != i + j || !seq_intact(&ev))
				return false;
	}
	return true;
}

TEST_F(map, cannot_grow)
{
	void *new;

	EXPECT_EQ(MAP_FAILED, mremap(self->q.ring, self->size,
				     self->size + self->page, 0));
	EXPECT_EQ(MAP_FAILED, mremap(self->q.ring, self->size,
				     2 * self->size, MREMAP_MAYMOVE));
	EXPECT_EQ(MAP_FAILED, mremap(self->q.ring, self->page,
				     2 * self->size, MREMAP_MAYMOVE));
	/* Old size 0 asks for a second mapping of the same. */
	new = mremap(self->q.ring, 0, self->size + self->page, MREMAP_MAYMOVE);
	EXPECT_EQ(MAP_FAILED, new);
	EXPECT_TRUE(still_works(&self->q));
	EXPECT_EQ(ENTRIES, self->q.ring->entries);
}

TEST_F(map, can_move)
{
	struct queue moved = self->q;
	struct kevent_event ev;
	void *target, *new;

	target = mmap(NULL, self->size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS,
		      -1, 0);
	ASSERT_NE(MAP_FAILED, target);
	new = mremap(self->q.ring, self->size, self->size,
		     MREMAP_MAYMOVE | MREMAP_FIXED, target);
	if (new == MAP_FAILED)
		SKIP(return, "this kernel does not move it");
	ASSERT_EQ(target, new);
	moved.ring = new;
	moved.slots = new + moved.args.entries_offset;
	self->q.ring = new;
	self->q.slots = moved.slots;
	EXPECT_EQ(1, seq_post(moved.fd, 1, 1, 0));
	EXPECT_EQ(1, ring_take(&moved, &ev));
	EXPECT_EQ(1, ev.user_data);
	EXPECT_TRUE(still_works(&moved));
	EXPECT_EQ(2 * ENTRIES + 1, ring_cursor(&moved));
}

TEST_F(map, unmapped_in_parts)
{
	size_t offset;
	char *map = (char *)self->q.ring;

	/* From the end; the header page is last. */
	for (offset = self->size; offset; offset -= self->page) {
		ASSERT_EQ(0, munmap(map + offset - self->page, self->page));
		EXPECT_TRUE(still_works(&self->q));
	}
	EXPECT_EQ(0, queue_map(&self->q));
	EXPECT_EQ(ENTRIES, self->q.ring->entries);
	EXPECT_TRUE(still_works(&self->q));
}

TEST_F(map, unmapped_in_the_middle)
{
	char *map = (char *)self->q.ring;

	if (self->size < 3 * self->page)
		SKIP(return, "the mapping has no page in the middle");
	ASSERT_EQ(0, munmap(map + self->page, self->page));
	EXPECT_TRUE(still_works(&self->q));
	EXPECT_EQ(ENTRIES, self->q.ring->entries);
}

TEST_F(map, protected)
{
	struct kevent_event ev;

	ASSERT_EQ(0, mprotect(self->q.ring, self->size, PROT_READ));
	EXPECT_TRUE(still_works(&self->q));
	EXPECT_EQ(2 * ENTRIES, ring_cursor(&self->q));
	ASSERT_EQ(0, mprotect(self->q.ring, self->size, PROT_NONE));
	EXPECT_TRUE(still_works(&self->q));
	ASSERT_EQ(0, mprotect(self->q.ring, self->size, RW));
	EXPECT_EQ(1, seq_post(self->q.fd, 9, 1, 0));
	EXPECT_EQ(1, ring_take(&self->q, &ev));
	EXPECT_EQ(9, ev.user_data);
}

TEST_F(map, advice_and_locks)
{
	static const int advice[] = {
		MADV_NORMAL, MADV_WILLNEED, MADV_DONTNEED, MADV_REMOVE,
		MADV_FREE, MADV_DOFORK, MADV_DONTFORK, MADV_MERGEABLE,
		MADV_HUGEPAGE, MADV_COLD, MADV_PAGEOUT,
		MADV_WIPEONFORK,
	};
	size_t i;

	for (i = 0; i < sizeof(advice) / sizeof(*advice); i++) {
		/* Any answer will do. */
		madvise(self->q.ring, self->size, advice[i]);
		EXPECT_TRUE(still_works(&self->q));
	}
	mlock(self->q.ring, self->size);
	munlock(self->q.ring, self->size);
	msync(self->q.ring, self->size, MS_SYNC);
	EXPECT_TRUE(still_works(&self->q));
}

/* Events arrive all the time. */
struct source {
	pthread_t thread;
	int fd;
	int stop;
	int ret;
};

static void *source_main(void *arg)
{
	struct source *s = arg;
	__u64 seq = 0;
	int ret;

	while (!__atomic_load_n(&s->stop, __ATOMIC_RELAXED)) {
		struct kevent_event ev[32];

		ret = seq_post(s->fd, seq, 16, 0);
		if (ret == -EAGAIN)
			ret = kevent_get_events(s->fd, 0, 32, NULL, ev, 0);
		else if (ret > 0)
			seq += ret;
		if (ret < 0) {
			s->ret = ret;
			break;
		}
	}
	return NULL;
}

FIXTURE(busy)
{
	struct queue q;
	size_t size;
	struct source source;
};

FIXTURE_SETUP(busy)
{
	long page = sysconf(_SC_PAGESIZE);

	ASSERT_LE(0, queue_open(&self->q, ENTRIES));
	self->size = (self->q.args.mmap_size + page - 1) & ~(page - 1);
	self->source.fd = self->q.fd;
	ASSERT_EQ(0, pthread_create(&self->source.thread, NULL, source_main,
				    &self->source));
}

FIXTURE_TEARDOWN(busy)
{
	__atomic_store_n(&self->source.stop, 1, __ATOMIC_RELAXED);
	pthread_join(self->source.thread, NULL);
	EXPECT_EQ(0, self->source.ret);
	EXPECT_TRUE(still_works(&self->q));
	queue_close(&self->q);
}

#define BUSY_ROUNDS	500

TEST_F(busy, unmapped_while_events_arrive)
{
	int i;

	for (i = 0; i < BUSY_ROUNDS; i++) {
		ASSERT_EQ(0, munmap(self->q.ring, self->size));
		ASSERT_EQ(0, queue_map(&self->q));
		ASSERT_EQ(ENTRIES, self->q.ring->entries);
	}
}

TEST_F(busy, protected_while_events_arrive)
{
	static const int prot[] = { PROT_READ, PROT_NONE, RW };
	int i;

	for (i = 0; i < BUSY_ROUNDS; i++)
		ASSERT_EQ(0, mprotect(self->q.ring, self->size, prot[i % 3]));
	ASSERT_EQ(0, mprotect(self->q.ring, self->size, RW));
	EXPECT_EQ(ENTRIES, self->q.ring->entries);
}

TEST_F(busy, moved_while_events_arrive)
{
	void *target, *new;
	int i;

	for (i = 0; i < BUSY_ROUNDS; i++) {
		target = mmap(NULL, self->size, PROT_NONE,
			      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		ASSERT_NE(MAP_FAILED, target);
		new = mremap(self->q.ring, self->size, self->size,
			     MREMAP_MAYMOVE | MREMAP_FIXED, target);
		if (new == MAP_FAILED)
			SKIP(break, "this kernel does not move it");
		self->q.ring = new;
		ASSERT_EQ(ENTRIES, self->q.ring->entries);
	}
}

TEST_F(busy, mapped_many_times_while_events_arrive)
{
	struct queue many[32];
	int i, j;

	for (i = 0; i < 10; i++) {
		for (j = 0; j < 32; j++) {
			many[j] = self->q;
			ASSERT_EQ(0, queue_map(&many[j]));
		}
		for (j = 0; j < 32; j++) {
			ASSERT_EQ(ENTRIES, many[j].ring->entries);
			ASSERT_EQ(0, munmap(many[j].ring, self->size));
		}
	}
}

/* A process that had the queue handed over takes from it, without a mapping. */
TEST(by_another_process)
{
	struct kevent_event ev;
	int sockets[2], status;
	struct queue q;
	char byte;
	pid_t pid;

	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_STREAM, 0, sockets));
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		/* The other end must know when this one is gone. */
		close(sockets[0]);
		memset(&q, 0, sizeof(q));
		if (read(sockets[1], &q.args, sizeof(q.args)) !=
		    sizeof(q.args))
			_exit(1);
		q.fd = recv_fd(sockets[1]);
		if (q.fd < 0)
			_exit(2);
		if (queue_map(&q) != -EACCES)
			_exit(3);
		if (take_now(&q, true, &ev) != 1 || ev.user_data != 1)
			_exit(4);
		if (write(sockets[1], "", 1) != 1)
			_exit(5);
		/* The second one wakes it. */
		if (take_next(&q, true, &ev) != 1)
			_exit(6);
		_exit(ev.user_data == 2 && seq_intact(&ev) ? 0 : 7);
	}
	close(sockets[1]);
	ASSERT_LE(0, queue_open_shared(&q, ENTRIES));
	ASSERT_EQ(1, seq_post(q.fd, 1, 1, 0));
	ASSERT_EQ(sizeof(q.args), write(sockets[0], &q.args, sizeof(q.args)));
	ASSERT_EQ(0, send_fd(sockets[0], q.fd));
	EXPECT_EQ(1, read(sockets[0], &byte, 1));
	EXPECT_EQ(1, ring_cursor(&q));
	EXPECT_EQ(0, ring_take(&q, &ev));
	EXPECT_EQ(1, seq_post(q.fd, 2, 1, 0));
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status) {
		TH_LOG("the child ended with %d", WEXITSTATUS(status));
	}
	EXPECT_EQ(2, ring_cursor(&q));
	queue_close(&q);
}

TEST_HARNESS_MAIN
