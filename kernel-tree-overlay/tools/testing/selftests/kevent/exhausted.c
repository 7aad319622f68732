// SPDX-License-Identifier: GPL-2.0
/*
 * The exhausted mark: a consumer says of a level that it has used all of it,
 * and the kernel need not poll it when the program waits next.
 *
 * Whether it is polled shows when the mark is a lie.
 */
#include "poll_test.h"

FIXTURE(exhausted)
{
	struct queue q;
	struct kevent_watch w;
	int fd;		/* an eventfd, a level */
};

FIXTURE_SETUP(exhausted)
{
	ASSERT_LE(0, queue_open(&self->q, 4));
	self->fd = new_file();
	ASSERT_LE(0, self->fd);
	self->w = watch_poll(self->fd, IN, LEVEL, 1);
	ASSERT_EQ(1, add_one(&self->q, &self->w));
}

FIXTURE_TEARDOWN(exhausted)
{
	queue_close(&self->q);
	close(self->fd);
}

static void free_marked(struct queue *q, __u32 index)
{
	__u32 lap = ring_lap(q, index) << KEVENT_WORD_LAP_SHIFT;

	__atomic_store_n(ring_word(q, index), lap | KEVENT_WORD_EXHAUSTED,
			 __ATOMIC_RELEASE);
}

/* Takes the next event and leaves its slot TAKEN. */
#define EXPECT_HELD(q, value, bits, index)				\
do {									\
	struct kevent_event __got = {};					\
									\
	ASSERT_TRUE(ring_claim(q, index));				\
	ASSERT_TRUE(ring_read(q, *(index), &__got));			\
	EXPECT_EQ((__u64)(value), __got.user_data);			\
	EXPECT_EQ((__u32)(bits), __got.events);				\
} while (0)

#define EXPECT_NEXT(value, bits)	EXPECT_REPORTED(&self->q, false, value, bits)
#define NOTHING()			EXPECT_EMPTY(&self->q, false)

TEST_F(exhausted, the_kernel_has_it)
{
	EXPECT_TRUE(self->q.args.features & KEVENT_FEATURE_EXHAUSTED);
}

TEST_F(exhausted, a_marked_level_is_not_polled)
{
	__u32 index;
	int i;

	for (i = 0; i < 40; i++) {
		efd_fire(self->fd);
		EXPECT_HELD(&self->q, 1, IN, &index);
		free_marked(&self->q, index);
		NOTHING();
		NOTHING();
	}
}

TEST_F(exhausted, a_level_without_the_mark_is)
{
	__u32 index;

	efd_fire(self->fd);
	EXPECT_HELD(&self->q, 1, IN, &index);
	ring_free(&self->q, index);
	EXPECT_NEXT(1, IN);
	EXPECT_NEXT(1, IN);
}

TEST_F(exhausted, what_happens_after_the_take_is_reported)
{
	__u32 index;

	efd_fire(self->fd);
	EXPECT_HELD(&self->q, 1, IN, &index);
	efd_fire(self->fd);
	free_marked(&self->q, index);
	EXPECT_NEXT(1, IN);

	/* And what happens after the mark. */
	EXPECT_EQ(1, queue_refill(&self->q));
	EXPECT_HELD(&self->q, 1, IN, &index);
	free_marked(&self->q, index);
	efd_fire(self->fd);
	EXPECT_NEXT(1, IN);
}

/* What was reported first may hold still, whatever is said of the second. */
TEST_F(exhausted, two_events_and_one_mark)
{
	__u32 index;

	efd_fire(self->fd);
	EXPECT_HELD(&self->q, 1, IN, &index);
	ring_free(&self->q, index);
	efd_fire(self->fd);
	EXPECT_HELD(&self->q, 1, IN, &index);
	free_marked(&self->q, index);
	EXPECT_NEXT(1, IN);
}

TEST_F(exhausted, the_mark_of_another_lap)
{
	__u32 index;

	efd_fire(self->fd);
	EXPECT_HELD(&self->q, 1, IN, &index);
	free_marked(&self->q, index + 4);
	EXPECT_NEXT(1, IN);
}

/* Sixteen laps later the slot has the same mark, for an event of another. */
TEST_F(exhausted, the_mark_of_another_event)
{
	__u32 index, first, i;

	efd_fire(self->fd);
	EXPECT_HELD(&self->q, 1, IN, &first);
	ring_free(&self->q, first);
	for (i = 1; i <= 64; i++) {
		ASSERT_EQ(1, seq_post(self->q.fd, i, 1, 0));
		ASSERT_TRUE(ring_claim(&self->q, &index));
		free_marked(&self->q, index);
	}
	ASSERT_EQ(first + 64, index);
	EXPECT_NEXT(1, IN);
}

TEST_F(exhausted, a_marked_slot_is_free)
{
	__u32 index;
	int i;

	for (i = 0; i < 100; i++) {
		ASSERT_EQ(1, seq_post(self->q.fd, i, 1, 0));
		EXPECT_EQ(1, queue_refill(&self->q));
		ASSERT_TRUE(ring_claim(&self->q, &index));
		free_marked(&self->q, index);
		EXPECT_EQ(0, queue_refill(&self->q));
	}
	ASSERT_EQ(4, seq_post(self->q.fd, 0, 5, 0));
}

/* A change of the watch polls it. */
TEST_F(exhausted, modified_after_the_mark)
{
	__u32 index;

	efd_fire(self->fd);
	EXPECT_HELD(&self->q, 1, IN, &index);
	free_marked(&self->q, index);
	NOTHING();
	ASSERT_EQ(1, modify_one(&self->q, &self->w, KEVENT_MODIFY_EVENTS));
	EXPECT_NEXT(1, IN);
}

TEST_F(exhausted, a_lie_harms_only_the_liar)
{
	struct kevent_watch w = watch_poll(self->fd, IN, LEVEL, 2);
	struct queue other;
	__u32 index;

	ASSERT_LE(0, queue_open(&other, 4));
	ASSERT_EQ(1, add_one(&other, &w));
	efd_fire(self->fd);
	EXPECT_HELD(&self->q, 1, IN, &index);
	free_marked(&self->q, index);
	NOTHING();
	EXPECT_REPORTED(&other, false, 2, IN);
	EXPECT_REPORTED(&other, false, 2, IN);
	queue_close(&other);
}

/* What it is of may become ready without a wake-up: the queue has a level. */
TEST_F(exhausted, a_queue_is_polled_all_the_same)
{
	struct kevent_watch w;
	struct queue outer;
	__u32 index;

	ASSERT_LE(0, queue_open(&outer, 4));
	w = watch_poll(self->q.fd, IN, LEVEL, 3);
	ASSERT_EQ(1, add_one(&outer, &w));
	efd_fire(self->fd);
	until_ready(outer.fd, POLLIN);
	EXPECT_HELD(&outer, 3, IN, &index);
	EXPECT_NEXT(1, IN);
	free_marked(&outer, index);
	/* The event of the level was taken, and the level holds. */
	EXPECT_REPORTED(&outer, false, 3, IN);
	queue_close(&outer);
}

TEST_HARNESS_MAIN
