// SPDX-License-Identifier: GPL-2.0
/*
 * What goes wrong half-way: memory that faults in the middle of a batch, and
 * allocations that fail. What was done is reported, what was not leaves
 * nothing.
 */
#include <sys/mount.h>

#include "kevent_poll_test.h"

#define ENTRIES	8

FIXTURE(fault)
{
	struct queue q;
	int fd, twin;	/* the same file, which is readable */
	void *end;	/* of a page that is followed by none */
	long page;
};

FIXTURE_VARIANT(fault)
{
	unsigned int entries;
	bool copy;
};

FIXTURE_VARIANT_ADD(fault, ring)
{
	.entries = ENTRIES,
};

FIXTURE_VARIANT_ADD(fault, no_ring)
{
	.copy = true,
};

FIXTURE_SETUP(fault)
{
	ASSERT_LE(0, queue_open(&self->q, variant->entries));
	self->fd = eventfd(1, EFD_NONBLOCK);
	ASSERT_LE(0, self->fd);
	self->twin = dup(self->fd);
	self->end = guard_page();
	ASSERT_NE(NULL, self->end);
	self->page = sysconf(_SC_PAGESIZE);
}

FIXTURE_TEARDOWN(fault)
{
	queue_close(&self->q);
	close(self->fd);
	close(self->twin);
}

#define Q	(&self->q)
#define COPY	(variant->copy)

/* The last page before the end can be read only, or both. */
static int protect(void *end, bool read_only)
{
	long page = sysconf(_SC_PAGESIZE);

	return mprotect(end - page, page, PROT_READ |
			(read_only ? 0 : PROT_WRITE));
}

/* Those before the fault are there and work, the others have left nothing. */
TEST_F(fault, add_faults_half_way)
{
	struct kevent_watch *w = self->end;
	struct kevent_event ev;
	int i;

	w -= 3;
	for (i = 0; i < 3; i++)
		w[i] = file_watch(self->fd, KEVENT_WATCH_EDGE, i);
	EXPECT_EQ(3, kevent_add(self->q.fd, w, sizeof(*w), 5, 0));
	EXPECT_EQ(3, nr_watches(self->q.fd));
	for (i = 0; i < 3; i++) {
		EXPECT_EQ(0, w[i].result);
		ASSERT_EQ(1, take_next(Q, COPY, &ev));
		EXPECT_EQ(i, ev.user_data);
	}
	EXPECT_EMPTY(Q, COPY);
	for (i = 0; i < 3; i++)
		EXPECT_FALSE(watch_gone(Q, &w[i]));
	/* Half of the first record. */
	w = self->end - sizeof(*w) / 2;
	EXPECT_EQ(-EFAULT, kevent_add(self->q.fd, w, sizeof(*w), 1, 0));
	w = self->end;
	EXPECT_EQ(-EFAULT, kevent_add(self->q.fd, w, sizeof(*w), 1, 0));
	EXPECT_EQ(3, nr_watches(self->q.fd));
	EXPECT_EMPTY(Q, COPY);
}

/* Half of a record is there: the one before it is registered. */
TEST_F(fault, add_faults_within_a_record)
{
	struct kevent_watch *w = self->end - 8;
	struct kevent_watch first = file_watch(self->fd, 0, 7);

	memcpy(w - 1, &first, sizeof(first));
	EXPECT_EQ(1, kevent_add(self->q.fd, w - 1, sizeof(*w), 2, 0));
	EXPECT_EQ(1, nr_watches(self->q.fd));
	EXPECT_READABLE(Q, COPY, 7);
}

/*
 * The result cannot be reported: the watch is not registered, and what it has
 * reported already, of a file that is readable, is not to be seen.
 */
TEST_F(fault, result_cannot_be_written)
{
	static const __u32 modes[] = {
		0, KEVENT_WATCH_EDGE, KEVENT_WATCH_DISPATCH,
		KEVENT_WATCH_VANISHED, KEVENT_WATCH_EXCLUSIVE,
		KEVENT_WATCH_DISABLED,
	};
	struct kevent_watch *w = self->end;
	size_t i;

	w--;
	for (i = 0; i < ARRAY_SIZE(modes); i++) {
		*w = file_watch(self->fd, modes[i], i);
		ASSERT_EQ(0, protect(self->end, true));
		EXPECT_EQ(-EFAULT, kevent_add(self->q.fd, w, sizeof(*w), 1, 0));
		ASSERT_EQ(0, protect(self->end, false));
		EXPECT_EQ(0, nr_watches(self->q.fd));
		EXPECT_EMPTY(Q, COPY);
		ASSERT_EQ(0, fire(self->twin));
		EXPECT_EMPTY(Q, COPY);
	}
	ASSERT_EQ(0, close(self->fd));
	EXPECT_EMPTY(Q, COPY);
}

/* Two pages: the first can be written, the second cannot. */
TEST_F(fault, result_of_a_later_record_cannot_be_written)
{
	struct kevent_watch *w;
	struct kevent_event ev;
	void *map;
	int i;

	map = mmap(NULL, 2 * self->page, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, map);
	/* The third one lies across the border, with its result behind it. */
	w = map + self->page - 2 * sizeof(*w) -
	    offsetof(struct kevent_watch, result);
	for (i = 0; i < 5; i++) {
		struct kevent_watch one = file_watch(self->fd,
						     KEVENT_WATCH_EDGE, i);

		memcpy(&w[i], &one, sizeof(one));
	}
	ASSERT_EQ(0, mprotect(map + self->page, self->page, PROT_READ));
	EXPECT_EQ(2, kevent_add(self->q.fd, w, sizeof(*w), 5, 0));
	EXPECT_EQ(2, nr_watches(self->q.fd));
	for (i = 0; i < 2; i++) {
		ASSERT_EQ(1, take_next(Q, COPY, &ev));
		EXPECT_EQ(i, ev.user_data);
	}
	EXPECT_EMPTY(Q, COPY);
	munmap(map, 2 * self->page);
}

TEST_F(fault, remove_faults_half_way)
{
	__u64 *handles = self->end;
	struct kevent_watch w[4];
	int i;

	for (i = 0; i < 4; i++)
		ASSERT_EQ(1, add_file(Q, &w[i], self->fd, 0, i));
	handles -= 3;
	for (i = 0; i < 3; i++)
		handles[i] = w[i].handle;
	EXPECT_EQ(3, kevent_remove(self->q.fd, handles, 4, 0));
	for (i = 0; i < 4; i++)
		EXPECT_EQ(i < 3, watch_gone(Q, &w[i]));
	EXPECT_EQ(-EFAULT, kevent_remove(self->q.fd, self->end, 1, 0));
	/* Half of a handle. */
	EXPECT_EQ(-EFAULT, kevent_remove(self->q.fd, self->end - 4, 1, 0));
	EXPECT_EQ(1, nr_watches(self->q.fd));
	EXPECT_READABLE(Q, COPY, 3);
}

TEST_F(fault, modify_faults_half_way)
{
	struct kevent_watch *w = self->end;
	struct kevent_event ev;
	int i;

	w -= 3;
	for (i = 0; i < 3; i++)
		w[i] = file_watch(self->fd, KEVENT_WATCH_DISABLED, i);
	ASSERT_EQ(3, kevent_add(self->q.fd, w, sizeof(*w), 3, 0));
	EXPECT_EMPTY(Q, COPY);
	EXPECT_EQ(2, kevent_modify(self->q.fd, w + 1, sizeof(*w), 4,
				   KEVENT_MODIFY_ENABLE));
	for (i = 1; i < 3; i++) {
		ASSERT_EQ(1, take_now(Q, COPY, &ev));
		EXPECT_EQ(i, ev.user_data);
	}
	/* The first was not named: it is off still. */
	EXPECT_EQ(1, quiet(self->fd));
	queue_drain(Q);
	ASSERT_EQ(0, fire(self->fd));
	for (i = 1; i < 3; i++) {
		ASSERT_EQ(1, take_now(Q, COPY, &ev));
		EXPECT_NE(0, ev.user_data);
	}
}

/* A level watch whose event could not be copied: it comes again. */
TEST_F(fault, buffer_faults)
{
	struct kevent_event *ev = self->end, got;
	struct kevent_watch w[4];
	bool seen[4] = {};
	int i;

	for (i = 0; i < 4; i++) {
		ASSERT_EQ(1, add_file(Q, &w[i], self->fd, KEVENT_WATCH_EDGE,
				      i));
	}
	ev -= 2;
	EXPECT_EQ(2, kevent_get_events(self->q.fd, 1, 4, NULL, ev, 0));
	EXPECT_EQ(-EFAULT, kevent_get_events(self->q.fd, 1, 4, NULL, self->end,
					     0));
	EXPECT_EQ(-EFAULT, kevent_get_events(self->q.fd, 0, 1, NULL,
					     self->end - 8, 0));
	for (i = 0; i < 2; i++)
		seen[ev[i].user_data & 3] = true;
	for (i = 0; i < 2; i++) {
		ASSERT_EQ(1, kevent_get_events(self->q.fd, 0, 1, NULL, &got,
					       0));
		EXPECT_FALSE(seen[got.user_data & 3]);
		seen[got.user_data & 3] = true;
		EXPECT_EQ(KEVENT_POLL_IN, got.events);
	}
	EXPECT_EMPTY(Q, COPY);
}

/* Nor is an event lost whose watch is gone by then: the last one. */
TEST_F(fault, buffer_faults_for_a_last_event)
{
	struct kevent_watch w;

	ASSERT_EQ(1, quiet(self->fd));
	ASSERT_EQ(1, add_file(Q, &w, self->fd, KEVENT_WATCH_VANISHED, 1));
	ASSERT_EQ(0, close(self->fd));
	EXPECT_EQ(-EFAULT, kevent_get_events(self->q.fd, 1, 1, NULL, self->end,
					     0));
	EXPECT_VANISHED(Q, COPY, 1);
	EXPECT_EMPTY(Q, COPY);
	ASSERT_EQ(0, fire(self->twin));
	ASSERT_EQ(1, add_file(Q, &w, self->twin, KEVENT_WATCH_ONESHOT, 2));
	EXPECT_EQ(-EFAULT, kevent_get_events(self->q.fd, 1, 1, NULL, self->end,
					     0));
	EXPECT_READABLE(Q, COPY, 2);
	EXPECT_EMPTY(Q, COPY);
}

/* A DISPATCH watch whose event could not be copied has reported nothing yet. */
TEST_F(fault, buffer_faults_for_a_dispatched_event)
{
	struct kevent_watch w;

	ASSERT_EQ(1, add_file(Q, &w, self->fd, KEVENT_WATCH_DISPATCH, 1));
	EXPECT_EQ(-EFAULT, kevent_get_events(self->q.fd, 1, 1, NULL, self->end,
					     0));
	EXPECT_READABLE(Q, COPY, 1);
	EXPECT_EMPTY(Q, COPY);
	ASSERT_EQ(1, modify_one(Q, &w, KEVENT_MODIFY_ENABLE));
	EXPECT_READABLE(Q, COPY, 1);
	EXPECT_EMPTY(Q, COPY);
}

/*
 * Allocations that fail: the n-th that this thread makes, for each n until a
 * call has no n-th one.
 */
#define FAILSLAB	"/sys/kernel/debug/failslab/"
#define FAIL_PAGES	"/sys/kernel/debug/fail_page_alloc/"

static bool write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	bool ok;

	if (fd < 0)
		return false;
	ok = write(fd, text, strlen(text)) > 0;
	close(fd);
	return ok;
}

FIXTURE(failing)
{
	struct queue q;
	int fd;
	int file;		/* fail-nth of this thread */
	unsigned int nth;	/* which allocation fails */
	unsigned int failures;	/* of the call */
	bool hit;
	int ret;
};

FIXTURE_VARIANT(failing)
{
	unsigned int entries;
};

FIXTURE_VARIANT_ADD(failing, ring)
{
	.entries = ENTRIES,
};

FIXTURE_VARIANT_ADD(failing, no_ring)
{
};

FIXTURE_SETUP(failing)
{
	self->file = open("/proc/thread-self/fail-nth", O_RDWR | O_CLOEXEC);
	if (self->file < 0)
		SKIP(return, "this kernel lets no allocations fail");
	if (geteuid() || unshare(CLONE_NEWNS) ||
	    mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL))
		SKIP(return, "needs to be root");
	if (access(FAILSLAB, F_OK))
		mount("none", "/sys/kernel/debug", "debugfs", 0, NULL);
	/* Allocations that may sleep, too; and without a word. */
	if (!write_file(FAILSLAB "ignore-gfp-wait", "N"))
		SKIP(return, "no failslab");
	write_file(FAILSLAB "verbose", "0");
	write_file(FAIL_PAGES "ignore-gfp-wait", "N");
	write_file(FAIL_PAGES "min-order", "0");
	write_file(FAIL_PAGES "verbose", "0");
	ASSERT_LE(0, queue_open(&self->q, variant->entries));
	self->fd = eventfd(1, EFD_NONBLOCK);
	ASSERT_LE(0, self->fd);
}

FIXTURE_TEARDOWN(failing)
{
	queue_close(&self->q);
	close(self->fd);
	close(self->file);
}

#undef COPY
#define COPY	(!variant->entries)

static void fail_nth(int file, unsigned int nth)
{
	char text[16];

	snprintf(text, sizeof(text), "%u", nth);
	if (pwrite(file, text, strlen(text), 0) < 0)
		abort();
}

/* Ends it, and reports whether an allocation has failed. */
static bool has_failed(int file)
{
	char text[16] = {};

	if (pread(file, text, sizeof(text) - 1, 0) < 0)
		abort();
	fail_nth(file, 0);
	return atoi(text) == 0;
}

/*
 * Makes the call again and again, until none of its allocations fails. What it
 * gave is in ret; hit reports whether one has failed. Then either the call has
 * failed and has left nothing, or it succeeded in spite of that.
 */
#define FOR_EACH_FAILURE(call)						\
	for (self->nth = 0, self->hit = true; self->hit &&		\
	     (fail_nth(self->file, ++self->nth), self->ret = (call),	\
	      self->hit = has_failed(self->file), true);)

TEST_F(failing, create)
{
	struct kevent_create args;
	int next = dup(0);

	ASSERT_LE(0, next);
	close(next);
	args = self->q.args;
	FOR_EACH_FAILURE(kevent_create(&args, sizeof(args), 0)) {
		if (self->ret < 0) {
			EXPECT_TRUE(self->hit);
			EXPECT_TRUE(self->ret == -ENOMEM || self->ret == -ENFILE);
			EXPECT_EQ(-1, fcntl(next, F_GETFD));
			self->failures++;
		} else {
			EXPECT_EQ(next, self->ret);
			close(self->ret);
		}
		args = self->q.args;
		ASSERT_GT(1000, self->nth);
	}
	EXPECT_LE(0, self->ret);
	EXPECT_LT(0, self->failures);
}

static int try_mmap(const struct queue *q)
{
	void *map = queue_mmap(q);

	if (map == MAP_FAILED)
		return -errno;
	munmap(map, q->args.mmap_size);
	return 0;
}

TEST_F(failing, mmap)
{
	if (!variant->entries)
		SKIP(return, "there is no mapping without a ring");
	FOR_EACH_FAILURE(try_mmap(&self->q)) {
		if (self->ret) {
			EXPECT_TRUE(self->hit);
			EXPECT_EQ(-ENOMEM, self->ret);
			self->failures++;
		}
		ASSERT_GT(1000, self->nth);
	}
	EXPECT_EQ(0, self->ret);
	EXPECT_LT(0, self->failures);
	EXPECT_EQ(1, seq_post(self->q.fd, 0, 1, 0));
	EXPECT_EQ(1, queue_drain(&self->q));
}

/* One record: it is registered, or it is not. */
TEST_F(failing, add)
{
	static const __u32 modes[] = {
		KEVENT_WATCH_EDGE, KEVENT_WATCH_VANISHED,
		KEVENT_WATCH_ONESHOT,
	};
	struct kevent_watch w, timer;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(modes); i++) {
		w = file_watch(self->fd, modes[i], i);
		FOR_EACH_FAILURE(add_one(&self->q, &w)) {
			if (self->ret != 1) {
				EXPECT_TRUE(self->hit);
				EXPECT_EQ(-ENOMEM, self->ret);
				EXPECT_EQ(-ENOMEM, w.result);
				EXPECT_EQ(0, w.handle);
				EXPECT_EQ(0, nr_watches(self->q.fd));
				EXPECT_EMPTY(&self->q, COPY);
				self->failures++;
			} else {
				EXPECT_READABLE(&self->q, COPY, i);
				if (!(modes[i] & KEVENT_WATCH_ONESHOT)) {
					EXPECT_EQ(1, remove_one(&self->q,
								w.handle));
				}
				EXPECT_EMPTY(&self->q, COPY);
			}
			ASSERT_GT(100, self->nth);
		}
		EXPECT_EQ(1, self->ret);
	}
	EXPECT_LT(0, self->failures);
	timer = timer_watch(1, HOUR, 0);
	FOR_EACH_FAILURE(add_one(&self->q, &timer)) {
		if (self->ret != 1) {
			EXPECT_EQ(-ENOMEM, self->ret);
			EXPECT_EQ(0, nr_watches(self->q.fd));
		} else {
			EXPECT_EQ(1, remove_one(&self->q, timer.handle));
		}
		ASSERT_GT(100, self->nth);
	}
	EXPECT_EQ(1, self->ret);
}

/* A batch: as many are registered as it reports, the first ones. */
TEST_F(failing, add_batch)
{
	enum { NR = 6 };
	struct kevent_watch w[NR];
	struct kevent_event ev;
	int i, nr;

	for (i = 0; i < NR; i++)
		w[i] = file_watch(self->fd, KEVENT_WATCH_EDGE, i);
	FOR_EACH_FAILURE(kevent_add(self->q.fd, w, sizeof(*w), NR, 0)) {
		if (self->ret < 0)
			EXPECT_EQ(-ENOMEM, self->ret);
		nr = self->ret < 0 ? 0 : self->ret;
		self->failures += nr < NR;
		EXPECT_EQ(nr, nr_watches(self->q.fd));
		for (i = 0; i < nr; i++) {
			EXPECT_EQ(0, w[i].result);
			ASSERT_EQ(1, take_now(&self->q, COPY, &ev));
			EXPECT_EQ(i, ev.user_data);
			EXPECT_EQ(1, remove_one(&self->q, w[i].handle));
		}
		if (nr < NR) {
			EXPECT_TRUE(self->hit);
			EXPECT_EQ(-ENOMEM, w[nr].result);
			EXPECT_EQ(0, w[nr].handle);
		}
		EXPECT_EMPTY(&self->q, COPY);
		ASSERT_GT(1000, self->nth);
	}
	EXPECT_EQ(NR, self->ret);
	EXPECT_LT(0, self->failures);
}

/* A queue that watches a queue: what is refused does not count as nested. */
TEST_F(failing, add_nested)
{
	struct kevent_watch w;
	struct queue outer;

	ASSERT_LE(0, queue_open(&outer, variant->entries));
	w = file_watch(self->q.fd, 0, 1);
	FOR_EACH_FAILURE(add_one(&outer, &w)) {
		if (self->ret == 1) {
			EXPECT_EQ(1, remove_one(&outer, w.handle));
		} else {
			EXPECT_EQ(-ENOMEM, self->ret);
			self->failures++;
		}
		EXPECT_EQ(0, nr_watches(outer.fd));
		/* No circle is left behind. */
		w = file_watch(outer.fd, 0, 1);
		EXPECT_EQ(1, add_one(&self->q, &w));
		EXPECT_EQ(1, remove_one(&self->q, w.handle));
		w = file_watch(self->q.fd, 0, 1);
		ASSERT_GT(100, self->nth);
	}
	EXPECT_EQ(1, self->ret);
	EXPECT_LT(0, self->failures);
	queue_close(&outer);
}

/* Events need no memory, whatever fails. */
TEST_F(failing, events_need_none)
{
	enum { NR = 3 * ENTRIES };
	struct kevent_watch w[NR];
	struct kevent_event ev;
	bool seen[NR] = {};
	int i;

	ASSERT_EQ(1, quiet(self->fd));
	for (i = 0; i < NR; i++) {
		ASSERT_EQ(1, add_file(&self->q, &w[i], self->fd,
				      KEVENT_WATCH_EDGE, i));
	}
	/* The checks of a debug kernel may make some. */
	FOR_EACH_FAILURE(fire(self->fd)) {
		EXPECT_EQ(0, self->ret);
		ASSERT_GT(100, self->nth);
	}
	for (i = 0; i < NR; i++) {
		ASSERT_EQ(1, take_now(&self->q, COPY, &ev));
		ASSERT_GT(NR, ev.user_data);
		EXPECT_FALSE(seen[ev.user_data]);
		seen[ev.user_data] = true;
	}
	EXPECT_EMPTY(&self->q, COPY);
}

/* Nor does it take any to report of the last one, or to remove. */
TEST_F(failing, closing_needs_none)
{
	struct kevent_watch w[2];

	ASSERT_EQ(1, quiet(self->fd));
	ASSERT_EQ(1, add_file(&self->q, &w[0], self->fd,
			      KEVENT_WATCH_VANISHED, 1));
	ASSERT_EQ(1, add_file(&self->q, &w[1], self->fd, 0, 2));
	fail_nth(self->file, 1);
	EXPECT_EQ(1, remove_one(&self->q, w[1].handle));
	has_failed(self->file);
	EXPECT_EQ(1, nr_watches(self->q.fd));
	fail_nth(self->file, 1);
	EXPECT_EQ(0, close(self->fd));
	has_failed(self->file);
	EXPECT_VANISHED(&self->q, COPY, 1);
	EXPECT_EQ(0, nr_watches(self->q.fd));
}

/* Taking may need some: what cannot be taken is not lost. */
TEST_F(failing, get_events)
{
	struct kevent_watch w;
	struct kevent_event ev = {};

	ASSERT_EQ(1, add_file(&self->q, &w, self->fd, 0, 1));
	FOR_EACH_FAILURE(kevent_get_events(self->q.fd, 1, 1, NULL, &ev, 0)) {
		EXPECT_EQ(self->hit && self->ret != 1 ? -ENOMEM : 1, self->ret);
		if (self->ret == 1)
			EXPECT_EQ(1, ev.user_data);
		ASSERT_GT(100, self->nth);
	}
	EXPECT_EQ(1, self->ret);
	/* It holds still: the next one is as good as that. */
	EXPECT_READABLE(&self->q, COPY, 1);
}

TEST_F(failing, post_deferred)
{
	int nr = 0;

	/* Without a ring all posts are deferred, as many as there may be. */
	while (!COPY && seq_post(self->q.fd, 0, 1, 0) == 1)
		nr++;
	FOR_EACH_FAILURE(seq_post(self->q.fd, 1, 1, KEVENT_POST_DEFER)) {
		if (self->ret == 1) {
			nr++;
		} else {
			EXPECT_EQ(-ENOMEM, self->ret);
			self->failures++;
		}
		ASSERT_GT(100, self->nth);
	}
	EXPECT_LT(0, self->failures);
	EXPECT_EQ(nr, queue_drain(&self->q));
}

TEST_HARNESS_MAIN
