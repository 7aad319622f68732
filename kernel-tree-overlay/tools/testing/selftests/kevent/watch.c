// SPDX-License-Identifier: GPL-2.0
/*
 * kevent_add(), kevent_modify() and kevent_remove(): what they accept, what
 * they write back, and what a handle is good for.
 */
#include "kevent_test.h"

#define TIMER_FLAGS	(KEVENT_WATCH_EDGE | KEVENT_WATCH_ONESHOT |	\
			 KEVENT_WATCH_DISPATCH | KEVENT_WATCH_DISABLED |	\
			 KEVENT_WATCH_ABSTIME)

#define MODIFY_FLAGS	(KEVENT_MODIFY_EVENTS | KEVENT_MODIFY_MODE |	\
			 KEVENT_MODIFY_USER_DATA | KEVENT_MODIFY_ARG |	\
			 KEVENT_MODIFY_ENABLE | KEVENT_MODIFY_DISABLE)

FIXTURE(watch)
{
	struct queue q;
	struct kevent_watch w;	/* registered, never fires */
};

FIXTURE_VARIANT(watch)
{
	unsigned int entries;
	bool copy;
};

FIXTURE_VARIANT_ADD(watch, ring)
{
	.entries = 8,
};

FIXTURE_VARIANT_ADD(watch, no_ring)
{
	.copy = true,
};

FIXTURE_SETUP(watch)
{
	ASSERT_LE(0, queue_open_shared(&self->q, variant->entries));
	self->w = timer_watch(0, HOUR, 0);
	ASSERT_EQ(1, add_one(&self->q, &self->w));
}

FIXTURE_TEARDOWN(watch)
{
	queue_close(&self->q);
}

/* One that fires as soon as it is registered. */
static struct kevent_watch at_once(__u64 user_data)
{
	struct kevent_watch w = timer_watch(user_data, 0, 0);

	w.flags = KEVENT_WATCH_ABSTIME;
	return w;
}

#define EXPECT_EMPTY()							\
do {									\
	struct kevent_event __got = {};					\
									\
	EXPECT_EQ(0, take_now(&self->q, variant->copy, &__got));	\
} while (0)

#define EXPECT_EVENT(data)						\
do {									\
	struct kevent_event __got = {};					\
									\
	EXPECT_EQ(1, take_next(&self->q, variant->copy, &__got));	\
	EXPECT_EQ((__u64)(data), __got.user_data);			\
} while (0)

/* The record is refused, with the error in its result, and fires nothing. */
#define EXPECT_REFUSED(err, watch)					\
do {									\
	struct kevent_watch __w = (watch);				\
	int __err = (err);						\
									\
	__w.result = 0x55;						\
	__w.handle = 0x55;						\
	EXPECT_EQ(__err, add_one(&self->q, &__w));			\
	EXPECT_EQ(__err, __w.result);					\
	EXPECT_EQ(0, __w.handle);					\
} while (0)

TEST_F(watch, result_and_handle_are_written_back)
{
	struct kevent_watch w = timer_watch(0x1234567890, HOUR, 5), before;

	w.flags = KEVENT_WATCH_EDGE | KEVENT_WATCH_DISABLED;
	w.arg[3] = 77;
	w.result = 0x55;
	w.handle = self->w.handle;
	before = w;
	EXPECT_EQ(1, add_one(&self->q, &w));
	EXPECT_EQ(0, w.result);
	EXPECT_NE(0, w.handle);
	EXPECT_NE(self->w.handle, w.handle);
	before.result = w.result;
	before.handle = w.handle;
	EXPECT_EQ(0, memcmp(&before, &w, sizeof(w)));
	EXPECT_EQ(1, remove_one(&self->q, w.handle));
	EXPECT_EQ(1, remove_one(&self->q, self->w.handle));
}

TEST_F(watch, number_of_records)
{
	static const unsigned int wrong[] = { 0, 0x80000000, 0xffffffff };
	struct kevent_watch w = at_once(1);
	int fd = self->q.fd;
	size_t i;

	for (i = 0; i < sizeof(wrong) / sizeof(*wrong); i++) {
		EXPECT_EQ(-EINVAL, kevent_add(fd, &w, sizeof(w), wrong[i], 0));
		EXPECT_EQ(-EINVAL, kevent_modify(fd, &self->w, sizeof(w),
						 wrong[i],
						 KEVENT_MODIFY_USER_DATA));
		EXPECT_EQ(-EINVAL, kevent_remove(fd, &self->w.handle, wrong[i],
						 0));
	}
	EXPECT_EQ(1, remove_one(&self->q, self->w.handle));
	EXPECT_EMPTY();
}

TEST_F(watch, more_records_than_memory)
{
	static const unsigned int nr[] = { 3, INT_MAX, 0x40000000 };
	struct kevent_watch *w = guard_page();
	__u64 *handles = guard_page();
	int fd = self->q.fd;
	size_t i;

	ASSERT_NE(NULL, w);
	ASSERT_NE(NULL, handles);
	w -= 2;
	handles -= 2;
	for (i = 0; i < sizeof(nr) / sizeof(*nr); i++) {
		w[0] = timer_watch(1, HOUR, 0);
		w[1] = timer_watch(2, HOUR, 0);
		EXPECT_EQ(2, kevent_add(fd, w, sizeof(*w), nr[i], 0));
		EXPECT_EQ(2, kevent_modify(fd, w, sizeof(*w), nr[i],
					   KEVENT_MODIFY_ARG));
		handles[0] = w[0].handle;
		handles[1] = w[1].handle;
		EXPECT_EQ(2, kevent_remove(fd, handles, nr[i], 0));
	}
}

TEST_F(watch, unknown_flags_of_the_calls)
{
	struct kevent_watch w = at_once(1);
	int fd = self->q.fd, bit;

	EXPECT_EQ(-EINVAL, modify_one(&self->q, &self->w, 0));
	EXPECT_EQ(-EINVAL, modify_one(&self->q, &self->w,
				      KEVENT_MODIFY_ENABLE |
				      KEVENT_MODIFY_DISABLE));
	EXPECT_EQ(-EINVAL, modify_one(&self->q, &self->w, MODIFY_FLAGS));
	for (bit = 0; bit < 32; bit++) {
		EXPECT_EQ(-EINVAL, kevent_add(fd, &w, sizeof(w), 1, 1U << bit));
		EXPECT_EQ(-EINVAL, kevent_remove(fd, &self->w.handle, 1,
						 1U << bit));
		if (1U << bit & (MODIFY_FLAGS | KEVENT_MODIFY_REMOVE))
			continue;
		EXPECT_EQ(-EINVAL, modify_one(&self->q, &self->w, 1U << bit));
		EXPECT_EQ(-EINVAL, modify_one(&self->q, &self->w, 1U << bit |
					      KEVENT_MODIFY_USER_DATA));
	}
	EXPECT_EQ(1, remove_one(&self->q, self->w.handle));
	EXPECT_EMPTY();
}

TEST_F(watch, size_below_the_first_version)
{
	struct kevent_watch w = at_once(1);
	size_t size;

	for (size = 0; size < KEVENT_WATCH_SIZE_VER0; size++) {
		EXPECT_EQ(-EINVAL, kevent_add(self->q.fd, &w, size, 1, 0));
		EXPECT_EQ(-EINVAL, kevent_modify(self->q.fd, &self->w, size, 1,
						 KEVENT_MODIFY_USER_DATA));
	}
	EXPECT_EMPTY();
}

TEST_F(watch, size_above_a_page)
{
	long page = sysconf(_SC_PAGESIZE);
	size_t sizes[] = { page + 1, 2 * page, INT_MAX, SIZE_MAX }, i;
	struct kevent_watch *w = calloc(2, page);

	ASSERT_NE(NULL, w);
	for (i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
		*w = at_once(1);
		EXPECT_EQ(-E2BIG, kevent_add(self->q.fd, w, sizes[i], 1, 0));
		*w = self->w;
		EXPECT_EQ(-E2BIG, kevent_modify(self->q.fd, w, sizes[i], 1,
						KEVENT_MODIFY_USER_DATA));
	}
	EXPECT_EMPTY();
	free(w);
}

/* Some odd strides, so that most of the records are not aligned. */
TEST_F(watch, larger_size_with_zero_tail)
{
	size_t sizes[] = { 73, 80, 95, 128, 200, sysconf(_SC_PAGESIZE) };
	char *buf = malloc(3 * sizes[5]);
	struct kevent_watch w;
	size_t i, j, k, size;

	ASSERT_NE(NULL, buf);
	for (i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
		size = sizes[i];
		memset(buf, 0, 3 * size);
		for (j = 0; j < 3; j++) {
			w = timer_watch(j, HOUR, 0);
			memcpy(buf + j * size, &w, sizeof(w));
		}
		EXPECT_EQ(3, kevent_add(self->q.fd, (void *)buf, size, 3, 0));
		EXPECT_EQ(3, kevent_modify(self->q.fd, (void *)buf, size, 3,
					   KEVENT_MODIFY_ARG));
		for (j = 0; j < 3; j++) {
			memcpy(&w, buf + j * size, sizeof(w));
			EXPECT_EQ(0, w.result);
			EXPECT_EQ(1, remove_one(&self->q, w.handle));
			for (k = sizeof(w); k < size; k++)
				ASSERT_EQ(0, buf[j * size + k]);
		}
	}
	free(buf);
}

TEST_F(watch, larger_size_with_nonzero_tail)
{
	struct {
		struct kevent_watch w;
		char tail[200];
	} w[3] = {};
	int i, fd = self->q.fd;

	for (i = 0; i < 3; i++)
		w[i].w = at_once(i);
	w[0].tail[199] = 1;
	EXPECT_EQ(-E2BIG, kevent_add(fd, &w[0].w, sizeof(*w), 3, 0));
	EXPECT_EMPTY();

	w[0].tail[199] = 0;
	w[2].tail[0] = 1;
	EXPECT_EQ(2, kevent_add(fd, &w[0].w, sizeof(*w), 3, 0));
	EXPECT_EQ(0, w[2].w.handle);
	EXPECT_EVENT(0);
	EXPECT_EVENT(1);
	EXPECT_EMPTY();

	w[2].w = self->w;
	EXPECT_EQ(-E2BIG, kevent_modify(fd, &w[2].w, sizeof(*w), 1,
					KEVENT_MODIFY_USER_DATA));
	EXPECT_EQ(2, kevent_modify(fd, &w[0].w, sizeof(*w), 3,
				   KEVENT_MODIFY_USER_DATA));
}

/* What is wrong with the arguments is found first. */
TEST_F(watch, arguments_come_before_the_descriptor)
{
	struct kevent_watch w = at_once(1);
	long page = sysconf(_SC_PAGESIZE);

	EXPECT_EQ(-EINVAL, kevent_add(-1, &w, sizeof(w) - 1, 1, 0));
	EXPECT_EQ(-E2BIG, kevent_add(-1, &w, page + 1, 1, 0));
	EXPECT_EQ(-EINVAL, kevent_add(-1, &w, sizeof(w), 0, 0));
	EXPECT_EQ(-EINVAL, kevent_add(-1, &w, sizeof(w), 1, 2));
	EXPECT_EQ(-EBADF, kevent_add(-1, NULL, sizeof(w), 1, 0));
	EXPECT_EQ(-EINVAL, kevent_modify(-1, &w, sizeof(w) - 1, 1, 1));
	EXPECT_EQ(-E2BIG, kevent_modify(-1, &w, page + 1, 1, 1));
	EXPECT_EQ(-EINVAL, kevent_modify(-1, &w, sizeof(w), 0, 1));
	EXPECT_EQ(-EINVAL, kevent_modify(-1, &w, sizeof(w), 1, 0));
	EXPECT_EQ(-EBADF, kevent_modify(-1, NULL, sizeof(w), 1, 1));
	EXPECT_EQ(-EINVAL, kevent_remove(-1, &w.handle, 0, 0));
	EXPECT_EQ(-EINVAL, kevent_remove(-1, &w.handle, 1, 1));
	EXPECT_EQ(-EBADF, kevent_remove(-1, NULL, 1, 0));
}

TEST_F(watch, sources_that_this_kernel_does_not_watch)
{
	struct kevent_watch w = at_once(1);
	__u64 features = self->q.args.features;
	__u32 source;
	int bit;

	EXPECT_TRUE(features & KEVENT_FEATURE_SOURCE(KEVENT_SOURCE_TIMER));
	for (source = 0; source < 64; source++) {
		w.source = source;
		if (!(features & KEVENT_FEATURE_SOURCE(source)))
			EXPECT_REFUSED(nosys(), w);
	}
	for (bit = 6; bit < 32; bit++) {
		w.source = KEVENT_SOURCE_TIMER | 1U << bit;
		EXPECT_REFUSED(nosys(), w);
	}
	w.source = ~0U;
	EXPECT_REFUSED(nosys(), w);
	EXPECT_EMPTY();
}

TEST_F(watch, classes_without_watches)
{
	static const __u32 sources[] = {
		KEVENT_SOURCE_AIO, KEVENT_SOURCE_SIGEV,
	};
	struct kevent_watch w = at_once(1);
	size_t i;

	for (i = 0; i < ARRAY_SIZE(sources); i++) {
		if (!(self->q.args.features & KEVENT_FEATURE_SOURCE(sources[i])))
			continue;
		w.source = sources[i];
		EXPECT_REFUSED(-EOPNOTSUPP, w);
	}
	EXPECT_EMPTY();
}

TEST(seal)
{
	struct kevent_watch w = at_once(1);
	struct kevent_event ev;
	struct queue q = { .args.entries = 2 };

	q.fd = kevent_create(&q.args, sizeof(q.args), 1 << KEVENT_SOURCE_USER);
	ASSERT_LE(0, q.fd);
	w.result = 1;
	EXPECT_EQ(-EPERM, add_one(&q, &w));
	EXPECT_EQ(-EPERM, w.result);
	w.source = 0;
	EXPECT_EQ(nosys(), add_one(&q, &w));
	EXPECT_EQ(nosys(), w.result);
	EXPECT_EQ(0, kevent_get_events(q.fd, 0, 1, NULL, &ev, 0));
	close(q.fd);

	memset(&q.args, 0, sizeof(q.args));
	q.args.entries = 2;
	q.fd = kevent_create(&q.args, sizeof(q.args), 1 << KEVENT_SOURCE_TIMER);
	ASSERT_LE(0, q.fd);
	w = at_once(1);
	EXPECT_EQ(1, add_one(&q, &w));
	EXPECT_EQ(1, kevent_get_events(q.fd, 1, 1, NULL, &ev, 0));
	EXPECT_EQ(-EPERM, seq_post(q.fd, 1, 1, 0));
	close(q.fd);
}

TEST_F(watch, unknown_flags_of_a_record)
{
	struct kevent_watch w = at_once(1);
	int bit;

	for (bit = 0; bit < 32; bit++) {
		if (1U << bit & TIMER_FLAGS)
			continue;
		w.flags = KEVENT_WATCH_ABSTIME | 1U << bit;
		EXPECT_REFUSED(-EINVAL, w);
	}
	w.flags = KEVENT_WATCH_ABSTIME | KEVENT_WATCH_ONESHOT |
		  KEVENT_WATCH_DISPATCH;
	EXPECT_REFUSED(-EINVAL, w);
	w.flags |= KEVENT_WATCH_EDGE;
	EXPECT_REFUSED(-EINVAL, w);
	EXPECT_EMPTY();
}

TEST_F(watch, events_and_ident_of_a_timer)
{
	struct kevent_watch w = at_once(1);
	int bit;

	w.events = 0;
	EXPECT_REFUSED(-EINVAL, w);
	w.events = ~0U;
	EXPECT_REFUSED(-EINVAL, w);
	for (bit = 1; bit < 32; bit++) {
		w.events = 1U << bit;
		EXPECT_REFUSED(-EINVAL, w);
		w.events |= KEVENT_TIMER_EXPIRED;
		EXPECT_REFUSED(-EINVAL, w);
	}
	for (bit = 0; bit < 64; bit++) {
		w = at_once(1);
		w.ident = 1ULL << bit;
		EXPECT_REFUSED(-EINVAL, w);
	}
	EXPECT_EMPTY();
}

TEST_F(watch, arguments_of_a_timer)
{
	static const __u64 no_clock[] = {
		2, 3, 4, 5, 6, 8, 9, 10, 11, 16, 1ULL << 32, 1ULL << 32 | 1,
		1ULL << 63, ~0ULL, 0xffffffff,
	};
	static const __u64 too_large[] = {
		1ULL << 63, (1ULL << 63) + 1, ~0ULL,
	};
	static const __u32 clocks[] = {
		CLOCK_MONOTONIC, CLOCK_REALTIME, CLOCK_BOOTTIME,
	};
	struct kevent_watch w;
	size_t i;

	for (i = 0; i < sizeof(no_clock) / sizeof(*no_clock); i++) {
		w = at_once(1);
		w.arg[2] = no_clock[i];
		EXPECT_REFUSED(-EINVAL, w);
	}
	for (i = 0; i < sizeof(too_large) / sizeof(*too_large); i++) {
		w = at_once(1);
		w.arg[0] = too_large[i];
		EXPECT_REFUSED(-EINVAL, w);
		w.flags = 0;
		EXPECT_REFUSED(-EINVAL, w);
		w = at_once(1);
		w.arg[1] = too_large[i];
		EXPECT_REFUSED(-EINVAL, w);
	}
	EXPECT_EMPTY();
	for (i = 0; i < sizeof(clocks) / sizeof(*clocks); i++) {
		w = timer_watch(1, INT64_MAX, INT64_MAX);
		w.arg[2] = clocks[i];
		w.arg[3] = ~0ULL;
		EXPECT_EQ(1, add_one(&self->q, &w));
		EXPECT_EQ(1, remove_one(&self->q, w.handle));
		w.flags = KEVENT_WATCH_ABSTIME;
		EXPECT_EQ(1, add_one(&self->q, &w));
		EXPECT_EQ(1, modify_one(&self->q, &w, KEVENT_MODIFY_ARG));
		EXPECT_EQ(1, remove_one(&self->q, w.handle));
	}
	EXPECT_EMPTY();
}

TEST_F(watch, add_stops_at_the_first_error)
{
	struct kevent_watch w[4];
	int i;

	for (i = 0; i < 4; i++) {
		w[i] = at_once(i);
		w[i].result = 0x55;
		w[i].handle = 0x55;
	}
	w[2].ident = 1;
	EXPECT_EQ(2, kevent_add(self->q.fd, w, sizeof(*w), 4, 0));
	EXPECT_EQ(0, w[0].result);
	EXPECT_EQ(0, w[1].result);
	EXPECT_EQ(-EINVAL, w[2].result);
	EXPECT_EQ(0, w[2].handle);
	EXPECT_EQ(-ECANCELED, w[3].result);
	EXPECT_EQ(0x55, w[3].handle);
	EXPECT_EVENT(0);
	EXPECT_EVENT(1);
	EXPECT_EMPTY();

	w[2].source = 0;
	EXPECT_EQ(nosys(), kevent_add(self->q.fd, w + 2, sizeof(*w), 2, 0));
	EXPECT_EQ(nosys(), w[2].result);
	EXPECT_EQ(-ECANCELED, w[3].result);
	EXPECT_EMPTY();
}

TEST_F(watch, unreadable_records)
{
	struct kevent_watch *end = guard_page();
	int fd = self->q.fd;
	size_t size = sizeof(*end);

	ASSERT_NE(NULL, end);
	end[-1] = at_once(1);
	EXPECT_EQ(-EFAULT, kevent_add(fd, NULL, size, 1, 0));
	EXPECT_EQ(-EFAULT, kevent_add(fd, (void *)-1L, size, 1, 0));
	EXPECT_EQ(-EFAULT, kevent_add(fd, (void *)-64L, size, 1, 0));
	EXPECT_EQ(-EFAULT, kevent_add(fd, end, size, 1, 0));
	EXPECT_EQ(-EFAULT, kevent_add(fd, (void *)((char *)end - 71), size, 1,
				      0));
	/* Here only the tail cannot be read. */
	EXPECT_EQ(-EFAULT, kevent_add(fd, end - 1, size + 1, 1, 0));
	end[-1] = self->w;
	EXPECT_EQ(-EFAULT, kevent_modify(fd, NULL, size, 1, 1));
	EXPECT_EQ(-EFAULT, kevent_modify(fd, (void *)-64L, size, 1, 1));
	EXPECT_EQ(-EFAULT, kevent_modify(fd, end, size, 1, 1));
	EXPECT_EQ(-EFAULT, kevent_modify(fd, end - 1, size + 1, 1, 1));
	EXPECT_EQ(-EFAULT, kevent_remove(fd, NULL, 1, 0));
	EXPECT_EQ(-EFAULT, kevent_remove(fd, (void *)-1L, 1, 0));
	EXPECT_EQ(-EFAULT, kevent_remove(fd, (void *)end, 1, 0));
	EXPECT_EQ(-EFAULT, kevent_remove(fd, (void *)((char *)end - 7), 1, 0));
	EXPECT_EMPTY();
}

/* The program would not know the handle. */
TEST_F(watch, unwritable_record_is_not_registered)
{
	long page = sysconf(_SC_PAGESIZE);
	struct kevent_watch *w;
	char *map;
	int i;

	map = mmap(NULL, 2 * page, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, map);
	/* One that can be written, one across the border, one beyond. */
	w = (void *)(map + page - 100);
	w[0] = at_once(0);
	w[1] = at_once(1);
	w[2] = at_once(2);
	w[2].arg[1] = MSEC;
	ASSERT_EQ(0, mprotect(map + page, page, PROT_READ));
	for (i = 0; i < 20; i++) {
		EXPECT_EQ(-EFAULT, kevent_add(self->q.fd, w + 2, sizeof(*w), 1,
					      0));
		EXPECT_EQ(-EFAULT, kevent_add(self->q.fd, w + 1, sizeof(*w), 2,
					      0));
	}
	usleep(5000);
	EXPECT_EMPTY();
	EXPECT_EQ(1, kevent_add(self->q.fd, w, sizeof(*w), 3, 0));
	EXPECT_EVENT(0);
	EXPECT_EMPTY();
}

TEST_F(watch, unwritable_record_of_modify)
{
	long page = sysconf(_SC_PAGESIZE);
	struct kevent_watch *w;

	w = mmap(NULL, page, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, w);
	*w = self->w;
	ASSERT_EQ(0, mprotect(w, page, PROT_READ));
	EXPECT_EQ(-EFAULT, modify_one(&self->q, w, KEVENT_MODIFY_USER_DATA));
	EXPECT_EQ(1, remove_one(&self->q, self->w.handle));
}

/* A handle is one only as a whole. */
TEST_F(watch, handles_that_name_nothing)
{
	struct kevent_watch w = self->w;
	__u64 handle = self->w.handle;
	__u64 wrong[8] = {
		0, ~0ULL, handle + 1, handle - 1, handle + (1ULL << 32),
		handle - (1ULL << 32), handle << 32, (__u32)handle,
	};
	int i, bit;

	for (i = 0; i < 8; i++) {
		w.handle = wrong[i];
		w.result = 0x55;
		EXPECT_EQ(-ENOENT, modify_one(&self->q, &w,
					      KEVENT_MODIFY_USER_DATA));
		EXPECT_EQ(-ENOENT, w.result);
		EXPECT_EQ(wrong[i], w.handle);
		EXPECT_EQ(-ENOENT, remove_one(&self->q, wrong[i]));
	}
	for (bit = 0; bit < 64; bit++) {
		w.handle = handle ^ 1ULL << bit;
		EXPECT_EQ(-ENOENT, modify_one(&self->q, &w,
					      KEVENT_MODIFY_USER_DATA));
		EXPECT_EQ(-ENOENT, remove_one(&self->q, w.handle));
	}
	EXPECT_EQ(1, remove_one(&self->q, handle));
	EXPECT_EQ(-ENOENT, remove_one(&self->q, handle));
	w.handle = handle;
	EXPECT_EQ(-ENOENT, modify_one(&self->q, &w, KEVENT_MODIFY_USER_DATA));
}

TEST_F(watch, handles_belong_to_a_queue)
{
	struct kevent_watch w = self->w;
	struct queue other;

	ASSERT_LE(0, queue_open(&other, 2));
	EXPECT_EQ(-ENOENT, modify_one(&other, &w, KEVENT_MODIFY_USER_DATA));
	EXPECT_EQ(-ENOENT, remove_one(&other, w.handle));
	queue_close(&other);
	EXPECT_EQ(1, remove_one(&self->q, self->w.handle));
}

#define REUSES	300

/* A place that is used again has another handle. */
TEST_F(watch, stale_handles_never_come_back)
{
	__u64 handles[REUSES];
	struct kevent_watch w;
	int i, j;

	for (i = 0; i < REUSES; i++) {
		w = timer_watch(i, HOUR, 0);
		ASSERT_EQ(1, add_one(&self->q, &w));
		for (j = 0; j < i; j++) {
			struct kevent_watch stale = w;

			ASSERT_NE(handles[j], w.handle);
			if ((i ^ j) % 16)
				continue;
			stale.handle = handles[j];
			ASSERT_EQ(-ENOENT, modify_one(&self->q, &stale,
						      KEVENT_MODIFY_ARG));
			ASSERT_EQ(-ENOENT, remove_one(&self->q, handles[j]));
		}
		handles[i] = w.handle;
		ASSERT_EQ(1, modify_one(&self->q, &w, KEVENT_MODIFY_ARG));
		ASSERT_EQ(1, remove_one(&self->q, w.handle));
	}
}

TEST_F(watch, source_must_be_that_of_the_watch)
{
	struct kevent_watch w = self->w;
	__u32 source;

	for (source = 0; source < 32; source++) {
		if (source == KEVENT_SOURCE_TIMER)
			continue;
		w.source = source;
		w.result = 0x55;
		EXPECT_EQ(-EINVAL, modify_one(&self->q, &w,
					      KEVENT_MODIFY_USER_DATA));
		EXPECT_EQ(-EINVAL, w.result);
		EXPECT_EQ(self->w.handle, w.handle);
	}
}

TEST_F(watch, modes_that_modify_refuses)
{
	struct kevent_watch w = self->w;
	int bit;

	for (bit = 0; bit < 32; bit++) {
		w.flags = 1U << bit;
		w.result = 0x55;
		if (w.flags & TIMER_FLAGS)
			continue;
		EXPECT_EQ(-EINVAL, modify_one(&self->q, &w,
					      KEVENT_MODIFY_MODE)) {
			TH_LOG("flag bit %d", bit);
		}
		EXPECT_EQ(-EINVAL, w.result);
	}
	w.flags = KEVENT_WATCH_ONESHOT | KEVENT_WATCH_DISPATCH;
	EXPECT_EQ(-EINVAL, modify_one(&self->q, &w, KEVENT_MODIFY_MODE));
	w.flags = 0;
	w.events = 0x10000 | KEVENT_TIMER_EXPIRED;
	EXPECT_EQ(-EINVAL, modify_one(&self->q, &w, KEVENT_MODIFY_EVENTS));
	w.events = 0;
	EXPECT_EQ(-EINVAL, modify_one(&self->q, &w, KEVENT_MODIFY_EVENTS));
	w.events = 2 | KEVENT_TIMER_EXPIRED;
	EXPECT_EQ(-EINVAL, modify_one(&self->q, &w, KEVENT_MODIFY_EVENTS));
}

TEST_F(watch, arguments_that_modify_refuses)
{
	static const struct {
		int arg;
		__u64 value;
	} wrong[] = {
		{ 0, 1ULL << 63 }, { 0, ~0ULL }, { 1, 1ULL << 63 },
		{ 1, ~0ULL }, { 2, 2 }, { 2, ~0ULL }, { 2, 1ULL << 32 | CLOCK_MONOTONIC },
	};
	struct kevent_watch w;
	size_t i;

	for (i = 0; i < sizeof(wrong) / sizeof(*wrong); i++) {
		w = self->w;
		w.flags = KEVENT_WATCH_ABSTIME;
		w.arg[0] = 0;
		w.arg[wrong[i].arg] = wrong[i].value;
		EXPECT_EQ(-EINVAL, modify_one(&self->q, &w,
					      KEVENT_MODIFY_ARG)) {
			TH_LOG("wrong value %zu", i);
		}
		EXPECT_EQ(-EINVAL, w.result);
	}
	/* It goes on as it was: not to fire for an hour. */
	EXPECT_EMPTY();
	/* What is not to be changed does not matter. */
	EXPECT_EQ(1, modify_one(&self->q, &w, KEVENT_MODIFY_USER_DATA));
	EXPECT_EQ(0, w.result);
}

TEST_F(watch, modify_stops_at_the_first_error)
{
	struct kevent_watch w[3];
	int i;

	for (i = 0; i < 3; i++) {
		w[i] = timer_watch(i, HOUR, 0);
		ASSERT_EQ(1, add_one(&self->q, &w[i]));
		w[i].arg[0] = 0;
		w[i].result = 0x55;
	}
	w[1].source = KEVENT_SOURCE_USER;
	EXPECT_EQ(1, kevent_modify(self->q.fd, w, sizeof(*w), 3,
				   KEVENT_MODIFY_ARG));
	EXPECT_EQ(0, w[0].result);
	EXPECT_EQ(-EINVAL, w[1].result);
	EXPECT_EQ(-ECANCELED, w[2].result);
	EXPECT_EVENT(0);
	EXPECT_EMPTY();
	EXPECT_EQ(-EINVAL, kevent_modify(self->q.fd, w + 1, sizeof(*w), 2,
					 KEVENT_MODIFY_ARG));
	EXPECT_EMPTY();
	w[1].source = KEVENT_SOURCE_TIMER;
	EXPECT_EQ(2, kevent_modify(self->q.fd, w + 1, sizeof(*w), 2,
				   KEVENT_MODIFY_ARG));
	EXPECT_EVENT(1);
	EXPECT_EVENT(2);
	EXPECT_EMPTY();
}

TEST_F(watch, remove_stops_at_the_first_error)
{
	struct kevent_watch w[4];
	__u64 handles[6];
	int i;

	for (i = 0; i < 4; i++)
		w[i] = timer_watch(i, HOUR, 0);
	ASSERT_EQ(4, kevent_add(self->q.fd, w, sizeof(*w), 4, 0));
	/* The second one twice. */
	handles[0] = w[0].handle;
	handles[1] = w[1].handle;
	handles[2] = w[1].handle;
	handles[3] = w[2].handle;
	handles[4] = 0;
	handles[5] = w[3].handle;
	EXPECT_EQ(2, kevent_remove(self->q.fd, handles, 6, 0));
	EXPECT_EQ(-ENOENT, kevent_remove(self->q.fd, handles, 6, 0));
	EXPECT_EQ(-ENOENT, kevent_remove(self->q.fd, handles + 2, 4, 0));
	EXPECT_EQ(1, kevent_remove(self->q.fd, handles + 3, 3, 0));
	EXPECT_EQ(1, kevent_remove(self->q.fd, handles + 5, 1, 0));
}

#define MANY	3000

TEST_F(watch, many_watches)
{
	struct kevent_watch *w = calloc(MANY, sizeof(*w));
	__u64 *handles = calloc(MANY, sizeof(*handles));
	int i, nr = 0;

	ASSERT_NE(NULL, w);
	ASSERT_NE(NULL, handles);
	for (i = 0; i < MANY; i++)
		w[i] = timer_watch(i, HOUR, HOUR);
	ASSERT_EQ(MANY, kevent_add(self->q.fd, w, sizeof(*w), MANY, 0));

	/* Every other one, then new ones in their places. */
	for (i = 0; i < MANY; i += 2)
		handles[nr++] = w[i].handle;
	EXPECT_EQ(nr, kevent_remove(self->q.fd, handles, nr, 0));
	for (i = 0; i < MANY; i += 2)
		ASSERT_EQ(1, add_one(&self->q, &w[i]));
	EXPECT_EQ(-ENOENT, remove_one(&self->q, handles[0]));
	for (i = 0; i < MANY; i++)
		handles[i] = w[i].handle;
	EXPECT_EQ(MANY, kevent_remove(self->q.fd, handles, MANY, 0));
	EXPECT_EQ(1, remove_one(&self->q, self->w.handle));
	EXPECT_EMPTY();
	free(handles);
	free(w);
}

TEST_F(watch, descriptors_of_the_same_queue)
{
	int status, fd = dup(self->q.fd);
	pid_t pid;

	ASSERT_LE(0, fd);
	EXPECT_EQ(1, kevent_modify(fd, &self->w, sizeof(self->w), 1,
				   KEVENT_MODIFY_USER_DATA));
	close(fd);
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid)
		_exit(remove_one(&self->q, self->w.handle));
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	ASSERT_TRUE(WIFEXITED(status));
	EXPECT_EQ(1, WEXITSTATUS(status));
	EXPECT_EQ(-ENOENT, remove_one(&self->q, self->w.handle));
}

TEST_F(watch, removed_event_is_skipped)
{
	struct __kernel_timespec ts = ns_to_ts(5 * MSEC);
	struct kevent_watch w[3];
	struct kevent_event ev;
	int i;

	for (i = 0; i < 3; i++) {
		w[i] = at_once(100 + i);
		ASSERT_EQ(1, seq_post(self->q.fd, i, 1, 0));
		ASSERT_EQ(1, add_one(&self->q, &w[i]));
	}
	while (queue_refill(&self->q) < 6)
		usleep(500);
	EXPECT_EQ(1, remove_one(&self->q, w[1].handle));
	if (self->q.ring) {
		EXPECT_EQ(KEVENT_WORD_READY, *ring_word(&self->q, 1) &
					     KEVENT_WORD_STATE_MASK);
		EXPECT_EQ(KEVENT_WORD_CANCELLED, *ring_word(&self->q, 3) &
						 KEVENT_WORD_STATE_MASK);
		EXPECT_EQ(0, *ring_word(&self->q, 3) >> KEVENT_WORD_LAP_SHIFT &
			     KEVENT_WORD_LAP_MASK);
	}
	EXPECT_EVENT(0);
	EXPECT_EVENT(100);
	EXPECT_EVENT(1);
	EXPECT_EVENT(2);
	EXPECT_EVENT(102);
	EXPECT_EMPTY();

	/* What has been taken is not affected; what is cancelled is no event. */
	EXPECT_EQ(1, remove_one(&self->q, w[0].handle));
	w[0] = at_once(200);
	ASSERT_EQ(1, add_one(&self->q, &w[0]));
	while (queue_refill(&self->q) < 1)
		usleep(500);
	EXPECT_EQ(1, remove_one(&self->q, w[0].handle));
	EXPECT_EQ(0, kevent_get_events(self->q.fd, 1, 1, &ts, &ev, 0));
	EXPECT_EQ(1, seq_post(self->q.fd, 7, 1, 0));
	EXPECT_EVENT(7);
	EXPECT_EMPTY();
}

/* A ring full of cancelled entries is a ring of free slots. */
TEST_F(watch, removed_events_make_room)
{
	struct kevent_watch w[20];
	__u64 handles[20];
	int i, round;

	for (round = 0; round < 10; round++) {
		for (i = 0; i < 20; i++)
			w[i] = at_once(i);
		ASSERT_EQ(20, kevent_add(self->q.fd, w, sizeof(*w), 20, 0));
		for (i = 0; i < 20; i++)
			handles[i] = w[i].handle;
		ASSERT_EQ(20, kevent_remove(self->q.fd, handles, 20, 0));
		EXPECT_EMPTY();
		ASSERT_EQ(2, seq_post(self->q.fd, round, 2, 0));
		EXPECT_EVENT(round);
		EXPECT_EVENT(round + 1);
		EXPECT_EMPTY();
	}
}

#define THREADS		4
#define PER_THREAD	200

struct worker {
	pthread_t thread;
	struct queue *q;
	int failed;
};

static void *worker_main(void *arg)
{
	struct worker *self = arg;
	struct kevent_watch w[4];
	__u64 handles[4];
	int i, j;

	for (i = 0; i < PER_THREAD; i++) {
		for (j = 0; j < 4; j++)
			w[j] = timer_watch(j, HOUR, 0);
		if (kevent_add(self->q->fd, w, sizeof(*w), 4, 0) != 4)
			self->failed++;
		if (kevent_modify(self->q->fd, w, sizeof(*w), 4,
				  KEVENT_MODIFY_ARG) != 4)
			self->failed++;
		for (j = 0; j < 4; j++)
			handles[j] = w[j].handle;
		if (kevent_remove(self->q->fd, handles, 4, 0) != 4)
			self->failed++;
		if (remove_one(self->q, handles[i % 4]) != -ENOENT)
			self->failed++;
	}
	return NULL;
}

TEST_F(watch, from_many_threads)
{
	struct worker workers[THREADS] = {};
	int i;

	for (i = 0; i < THREADS; i++) {
		workers[i].q = &self->q;
		ASSERT_EQ(0, pthread_create(&workers[i].thread, NULL,
					    worker_main, &workers[i]));
	}
	for (i = 0; i < THREADS; i++) {
		pthread_join(workers[i].thread, NULL);
		EXPECT_EQ(0, workers[i].failed);
	}
	EXPECT_EQ(1, remove_one(&self->q, self->w.handle));
	EXPECT_EMPTY();
}

TEST_HARNESS_MAIN
