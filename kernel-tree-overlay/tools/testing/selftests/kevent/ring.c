// SPDX-License-Identifier: GPL-2.0
/*
 * The protocol of the mapped ring: what is in a word, when a slot is used
 * again, what two processors see of each other, and what a program that writes
 * nonsense there can do to others: nothing.
 */
#include <poll.h>

#include "kevent_test.h"

FIXTURE(ring)
{
	struct queue q;
};

FIXTURE_VARIANT(ring)
{
	unsigned int entries;
};

FIXTURE_VARIANT_ADD(ring, smallest)
{
	.entries = 2,
};

FIXTURE_VARIANT_ADD(ring, some_pages)
{
	.entries = 1024,
};

FIXTURE_SETUP(ring)
{
	ASSERT_LE(0, queue_open(&self->q, variant->entries));
}

FIXTURE_TEARDOWN(ring)
{
	queue_close(&self->q);
}

static bool all_zero(const void *buf, size_t size)
{
	const char *byte = buf;

	while (size--)
		if (*byte++)
			return false;
	return true;
}

TEST_F(ring, fresh_mapping)
{
	struct kevent_ring *ring = self->q.ring;

	EXPECT_EQ(variant->entries, ring->entries);
	EXPECT_EQ(self->q.args.ring_entries, ring->entries);
	EXPECT_EQ(self->q.args.entries_offset, ring->entries_offset);
	EXPECT_TRUE(all_zero(ring->__resv0, sizeof(ring->__resv0)));
	EXPECT_TRUE(all_zero(&ring->flags, sizeof(*ring) -
			     offsetof(struct kevent_ring, flags)));
	EXPECT_TRUE(all_zero(ring + 1, self->q.args.mmap_size -
			     sizeof(*ring)));
}

/* More laps than the word can count, with bits 0 to 15 of all kinds. */
TEST_F(ring, word_has_state_lap_and_bits)
{
	__u32 index, laps = variant->entries == 2 ? 40 : 18;
	struct kevent_event ev;

	for (index = 0; index < laps * variant->entries; index++) {
		__u32 word;

		seq_fill(&ev, index);
		ASSERT_EQ(0, *ring_word(&self->q, index));
		ASSERT_EQ(1, kevent_post(self->q.fd, &ev, sizeof(ev), 1, 0));
		word = __atomic_load_n(ring_word(&self->q, index),
				       __ATOMIC_ACQUIRE);
		ASSERT_EQ(KEVENT_WORD_READY |
			  ring_lap(&self->q, index) << KEVENT_WORD_LAP_SHIFT |
			  ev.events, word);
		ASSERT_EQ(1, ring_take(&self->q, &ev));
		ASSERT_EQ(index, ev.user_data);
		ASSERT_TRUE(seq_intact(&ev));
	}
	EXPECT_EQ(index, self->q.ring->posted);
	EXPECT_EQ(index, ring_cursor(&self->q));
}

TEST_F(ring, slots_are_filled_in_order)
{
	unsigned int i;

	ASSERT_EQ(variant->entries,
		  seq_post(self->q.fd, 0, variant->entries, 0));
	for (i = 0; i < variant->entries; i++) {
		ASSERT_TRUE(ring_ready(&self->q, i));
		ASSERT_EQ(i, self->q.slots[i].user_data);
		ASSERT_EQ(INFO_POSTED, self->q.slots[i].info);
	}
	EXPECT_EQ(0, ring_cursor(&self->q));
}

TEST_F(ring, wraps_at_any_fill_level)
{
	unsigned int n = variant->entries, put = 0, got = 0, l, i;
	const unsigned int levels[] = { 1, n / 2 + 1, n };
	struct kevent_event ev;

	for (l = 0; l < 3; l++) {
		for (i = 0; i < 40 * n; i += levels[l]) {
			ASSERT_EQ(levels[l],
				  seq_post(self->q.fd, put, levels[l], 0));
			put += levels[l];
			while (got < put) {
				ASSERT_EQ(1, ring_take(&self->q, &ev));
				ASSERT_EQ(got, ev.user_data);
				ASSERT_TRUE(seq_intact(&ev));
				got++;
			}
			ASSERT_EQ(0, ring_take(&self->q, &ev));
		}
	}
}

/* A slot that a consumer reads is not written, whatever its neighbours do. */
TEST_F(ring, taken_slot_is_not_used_again)
{
	unsigned int n = variant->entries;
	struct kevent_event ev, other;
	__u32 first, second;

	ASSERT_EQ(n, seq_post(self->q.fd, 0, n, 0));
	ASSERT_TRUE(ring_claim(&self->q, &first));
	ASSERT_TRUE(ring_read(&self->q, first, &ev));
	EXPECT_EQ(KEVENT_WORD_TAKEN, *ring_word(&self->q, first));
	EXPECT_EQ(-EAGAIN, seq_post(self->q.fd, n, 1, 0));

	/* The second one goes first, but the first one is next. */
	ASSERT_TRUE(ring_claim(&self->q, &second));
	ASSERT_TRUE(ring_read(&self->q, second, &other));
	ring_free(&self->q, second);
	EXPECT_EQ(-EAGAIN, seq_post(self->q.fd, n, 1, 0));
	EXPECT_EQ(KEVENT_WORD_TAKEN, *ring_word(&self->q, first));
	EXPECT_EQ(0, self->q.slots[first].user_data);

	ring_free(&self->q, first);
	EXPECT_EQ(2, seq_post(self->q.fd, n, 2, 0));
	EXPECT_EQ(n, self->q.slots[first].user_data);
	EXPECT_EQ(n + 1, self->q.slots[second].user_data);
}

/* Two processors. */
#define EVENTS	200000

struct feed {
	pthread_t thread;
	int fd;
	__u64 first;
	unsigned int nr;
	int ret;
};

static void *feed_main(void *arg)
{
	struct feed *f = arg;

	f->ret = seq_post_all(f->fd, f->first, f->nr);
	return NULL;
}

static int feed_start(struct feed *f, int fd, __u64 first, unsigned int nr)
{
	f->fd = fd;
	f->first = first;
	f->nr = nr;
	return pthread_create(&f->thread, NULL, feed_main, f);
}

TEST_F(ring, payload_is_there_before_its_word)
{
	unsigned int got = 0, nr = variant->entries == 2 ? 20000 : EVENTS;
	struct kevent_event ev;
	struct feed feed;

	ASSERT_EQ(0, feed_start(&feed, self->q.fd, 0, nr));
	while (got < nr) {
		if (!ring_take(&self->q, &ev)) {
			sched_yield();
			continue;
		}
		ASSERT_EQ(got, ev.user_data);
		ASSERT_TRUE(seq_intact(&ev));
		got++;
	}
	pthread_join(feed.thread, NULL);
	EXPECT_EQ(nr, feed.ret);
	EXPECT_EQ(0, ring_take(&self->q, &ev));
}

/*
 * Many producers. One that has a slot and has not filled it yet may be
 * overtaken by the others, but not by a whole lap.
 */
#define FEEDS	4

TEST_F(ring, producers_never_share_a_slot)
{
	unsigned int i, got, nr = 3000;
	__u32 next[FEEDS] = {};
	struct feed feeds[FEEDS];
	struct kevent_event ev;

	for (i = 0; i < FEEDS; i++)
		ASSERT_EQ(0, feed_start(&feeds[i], self->q.fd, (__u64)i << 32,
					nr));
	for (got = 0; got < FEEDS * nr; got++) {
		while (!ring_take(&self->q, &ev))
			sched_yield();
		ASSERT_TRUE(seq_intact(&ev));
		i = ev.user_data >> 32;
		ASSERT_GT(FEEDS, i);
		ASSERT_EQ(next[i], (__u32)ev.user_data);
		next[i]++;
	}
	for (i = 0; i < FEEDS; i++) {
		pthread_join(feeds[i].thread, NULL);
		EXPECT_EQ(nr, feeds[i].ret);
		EXPECT_EQ(nr, next[i]);
	}
	EXPECT_EQ(0, ring_take(&self->q, &ev));
}

/* Many consumers. */
struct share {
	struct queue *q;
	unsigned int nr;
	unsigned int left;	/* how many are still to come */
	unsigned int wrong;
	unsigned char *seen;	/* how often each one came */
};

static bool share_one(struct share *s, const struct kevent_event *ev,
		      __s64 *last)
{
	if (!seq_intact(ev) || ev->user_data >= s->nr ||
	    (__s64)ev->user_data <= *last ||
	    __atomic_fetch_add(&s->seen[ev->user_data], 1, __ATOMIC_RELAXED))
		return false;
	*last = ev->user_data;
	__atomic_sub_fetch(&s->left, 1, __ATOMIC_RELAXED);
	return true;
}

static void *share_main(void *arg)
{
	struct share *s = arg;
	struct kevent_event ev;
	__s64 last = -1;

	while (__atomic_load_n(&s->left, __ATOMIC_RELAXED) &&
	       !__atomic_load_n(&s->wrong, __ATOMIC_RELAXED)) {
		if (!ring_take(s->q, &ev))
			sched_yield();
		else if (!share_one(s, &ev, &last))
			__atomic_add_fetch(&s->wrong, 1, __ATOMIC_RELAXED);
	}
	return NULL;
}

TEST_F(ring, consumers_share_events_exactly_once)
{
	unsigned int i, nr = variant->entries == 2 ? 20000 : 100000;
	struct share share = {
		.q = &self->q,
		.nr = nr,
		.left = nr,
		.seen = calloc(nr, 1),
	};
	pthread_t threads[3];
	struct feed feed;

	ASSERT_NE(NULL, share.seen);
	for (i = 0; i < 3; i++)
		ASSERT_EQ(0, pthread_create(&threads[i], NULL, share_main,
					    &share));
	ASSERT_EQ(0, feed_start(&feed, self->q.fd, 0, nr));
	for (i = 0; i < 3; i++)
		pthread_join(threads[i], NULL);
	ASSERT_EQ(0, share.wrong);
	pthread_join(feed.thread, NULL);
	EXPECT_EQ(nr, feed.ret);
	for (i = 0; i < nr; i++)
		ASSERT_EQ(1, share.seen[i]);
	EXPECT_EQ(nr, ring_cursor(&self->q));
	free(share.seen);
}

/* A program out of its mind. */
static __u64 rnd(__u64 *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

struct scribbler {
	pthread_t thread;
	struct queue *q;
	int stop;
};

static void *scribbler_main(void *arg)
{
	struct scribbler *s = arg;
	size_t words = s->q->args.mmap_size / 4;
	__u32 *map = (__u32 *)s->q->ring;
	__u64 state = 88172645463325252ULL;

	while (!__atomic_load_n(&s->stop, __ATOMIC_RELAXED)) {
		__u64 r = rnd(&state);

		/* Half of them at the words where it matters most. */
		switch (r & 7) {
		case 0:
			map[offsetof(struct kevent_ring, cursor) / 4] = r >> 32;
			break;
		case 1:
			map[offsetof(struct kevent_ring, cursor) / 4] += r >> 63;
			break;
		case 2:
			map[r >> 8 & 31] = r >> 32;
			break;
		case 3:
			*ring_word(s->q, r >> 8) = 0;
			break;
		default:
			map[(r >> 8) % words] = r >> 32;
		}
	}
	return NULL;
}

/* Everything that one can ask of a queue; only errors of the kernel count. */
static int use(struct queue *q)
{
	struct __kernel_timespec ts = {};
	struct kevent_wait args = {
		.clockid = CLOCK_MONOTONIC,
		.seen = ring_cursor(q),
		.min_nr = 1,
		.timeout = (unsigned long)&ts,
	};
	struct pollfd pfd = { .fd = q->fd, .events = POLLIN };
	struct kevent_event ev[8];
	int ret;

	ret = seq_post(q->fd, 0, 8, 0);
	if (ret != -EAGAIN && (ret < 1 || ret > 8))
		return 1;
	ret = seq_post(q->fd, 0, 2, KEVENT_POST_DEFER);
	if (ret != -EAGAIN && (ret < 1 || ret > 2))
		return 2;
	ret = kevent_wait(q->fd, &args, sizeof(args));
	if (ret < 0)
		return 3;
	ret = kevent_get_events(q->fd, 0, 8, NULL, ev, 0);
	if (ret < 0 || ret > 8)
		return 4;
	ret = kevent_get_events(q->fd, 8, 8, &ts, ev, 0);
	if (ret < 0 || ret > 8)
		return 5;
	if (poll(&pfd, 1, 0) < 0)
		return 6;
	return 0;
}

TEST_F(ring, nonsense_harms_only_this_queue)
{
	struct scribbler s = { .q = &self->q };
	struct kevent_event ev;
	struct queue other;
	int i, j;

	ASSERT_LE(0, queue_open(&other, variant->entries));
	ASSERT_EQ(0, pthread_create(&s.thread, NULL, scribbler_main, &s));
	for (i = 0; i < 2000; i++) {
		ASSERT_EQ(0, use(&self->q));
		ASSERT_EQ(2, seq_post(other.fd, i, 2, 0));
		for (j = 0; j < 2; j++) {
			ASSERT_EQ(1, ring_take(&other, &ev));
			ASSERT_EQ(i + j, ev.user_data);
			ASSERT_TRUE(seq_intact(&ev));
		}
		ASSERT_EQ(0, ring_take(&other, &ev));
	}
	__atomic_store_n(&s.stop, 1, __ATOMIC_RELAXED);
	pthread_join(s.thread, NULL);
	EXPECT_EQ(2 * i, other.ring->posted);
	EXPECT_EQ(variant->entries, other.ring->entries);
	queue_close(&other);
}

/* The same without luck: every value that could be mistaken for a good one. */
TEST_F(ring, nonsense_of_every_kind)
{
	static const __u32 values[] = {
		0, 1, 0x7fffffff, 0xffffffff,
		KEVENT_WORD_READY, KEVENT_WORD_TAKEN, KEVENT_WORD_CANCELLED,
		KEVENT_WORD_READY | 0x3fffffff, KEVENT_WORD_READY | 0xffff,
		KEVENT_WORD_READY | 5 << KEVENT_WORD_LAP_SHIFT,
	};
	size_t v, c;
	__u32 i;

	for (v = 0; v < sizeof(values) / sizeof(*values); v++) {
		for (c = 0; c < sizeof(values) / sizeof(*values); c++) {
			struct kevent_ring *ring = self->q.ring;

			ring->entries = values[v];
			ring->entries_offset = values[v];
			ring->flags = values[v];
			ring->posted = values[v];
			for (i = 0; i < variant->entries; i++)
				*ring_word(&self->q, i) = values[v];
			__atomic_store_n(&ring->cursor, values[c],
					 __ATOMIC_RELEASE);
			ASSERT_EQ(0, use(&self->q)) {
				TH_LOG("words %#x, cursor %#x", values[v],
				       values[c]);
			}
		}
	}
}

/* Sleeping on such a queue ends, too. */
TEST_F(ring, nonsense_does_not_hold_a_waiter)
{
	struct scribbler s = { .q = &self->q };
	__u32 seen;
	int i;

	ASSERT_EQ(0, pthread_create(&s.thread, NULL, scribbler_main, &s));
	for (i = 0, seen = 0; i < 50; i++, seen += 0x10000001) {
		struct __kernel_timespec ts = { .tv_nsec = MSEC };
		struct kevent_wait args = {
			.clockid = CLOCK_MONOTONIC,
			.seen = seen,
			.min_nr = 2,
			.timeout = (unsigned long)&ts,
		};
		struct kevent_event ev[2];
		int ret;

		EXPECT_LE(0, kevent_wait(self->q.fd, &args, sizeof(args)));
		ret = kevent_get_events(self->q.fd, 1, 2, &ts, ev, 0);
		EXPECT_LE(0, ret);
		EXPECT_GE(2, ret);
	}
	__atomic_store_n(&s.stop, 1, __ATOMIC_RELAXED);
	pthread_join(s.thread, NULL);
}

TEST_HARNESS_MAIN
