/* SPDX-License-Identifier: MIT */
/* The library on a simulated kernel (sim.c). */
#define _GNU_SOURCE
#include "sim.h"
#include "test.h"
#include <kevent/ec.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>

static const struct timespec no_time = { 0, 0 }, soon = { 0, 20000000 };

static int post(struct kevent_queue *q, __u64 value, unsigned int flags)
{
	struct kevent_event ev = { .user_data = value, .events = 1, .data = (__s64)value };

	return kevent_post(q->fd, &ev, sizeof(ev), 1, flags);
}

static void ring_is_empty_and_fifo(void)
{
	struct kevent_queue q;
	struct kevent_event ev;

	CHECK_EQ(kevent_queue_init(&q, 4, 0, 0), 0);
	CHECK_EQ(q.entries, 4);
	CHECK_EQ(kevent_take(&q, &ev), 0);
	for (__u64 lap = 0; lap < 40; lap++) {
		for (__u64 i = 0; i < 4; i++)
			CHECK_EQ(post(&q, lap * 4 + i, 0), 1);
		CHECK_ERR(post(&q, 99, 0), EAGAIN);
		for (__u64 i = 0; i < 4; i++) {
			CHECK_EQ(i & 1 ? kevent_take(&q, &ev) : kevent_take_shared(&q, &ev), 1);
			CHECK_EQ(ev.user_data, lap * 4 + i);
			CHECK_EQ(ev.events, 1);
			CHECK_EQ(ev.info, KEVENT_SOURCE_USER | KEVENT_INFO_POSTED);
			CHECK_EQ(ev.data, lap * 4 + i);
		}
		CHECK_EQ(kevent_take(&q, &ev), 0);
		CHECK_EQ(kevent_take_shared(&q, &ev), 0);
	}
	kevent_queue_exit(&q);
}

static void index_wraps_at_32_bits(void)
{
	struct kevent_queue q;
	struct kevent_event ev;

	CHECK_EQ(kevent_queue_init(&q, 4, 0, 0), 0);
	sim_start_at(q.fd, 0xfffffffdU);
	for (__u64 i = 0; i < 12; i++) {
		CHECK_EQ(post(&q, i, 0), 1);
		CHECK_EQ(kevent_take(&q, &ev), 1);
		CHECK_EQ(ev.user_data, i);
	}
	CHECK_EQ(kevent_cursor(&q), 9);
	kevent_queue_exit(&q);
}

static void entry_of_another_lap_is_not_there(void)
{
	struct kevent_queue q;
	struct kevent_event ev;

	CHECK_EQ(kevent_queue_init(&q, 2, 0, 0), 0);
	/* A consumer has moved the cursor over a lap, and not yet exchanged the word. */
	q.slots[0].events = KEVENT_WORD_READY | 1;
	q.ring->cursor = 2;
	CHECK_EQ(kevent_take(&q, &ev), 0);
	CHECK_EQ(kevent_take_shared(&q, &ev), 0);
	CHECK_EQ(q.ring->cursor, 2);
	q.slots[0].events = KEVENT_WORD_TAKEN;
	CHECK_EQ(kevent_take(&q, &ev), 0);
	CHECK_EQ(kevent_take_shared(&q, &ev), 0);
	/* Free, whatever the other bits are. */
	q.slots[0].events = KEVENT_WORD_FREE | 1U << KEVENT_WORD_LAP_SHIFT | KEVENT_WORD_EXHAUSTED;
	CHECK_EQ(kevent_take(&q, &ev), 0);
	CHECK_EQ(kevent_take_shared(&q, &ev), 0);
	q.slots[0].events = KEVENT_WORD_READY | 1U << KEVENT_WORD_LAP_SHIFT | 1;
	CHECK_EQ(kevent_take_shared(&q, &ev), 1);
	CHECK_EQ(q.slots[0].events, KEVENT_WORD_FREE);
	kevent_queue_exit(&q);
}

static void cancelled_and_burnt_slots_are_skipped(void)
{
	struct kevent_watch w;
	struct kevent_queue q;
	struct kevent_event ev;

	for (int shared = 0; shared < 2; shared++) {
		CHECK_EQ(kevent_queue_init(&q, 8, 0, 0), 0);
		for (int i = 0; i < 50; i++) {
			kevent_prep_poll(&w, 0, KEVENT_POLL_IN, 0, 7);
			CHECK_EQ(kevent_watch_add(&q, &w), 0);
			sim_fire(q.fd, w.handle, KEVENT_POLL_IN, 0, 0, 0);
			sim_burn(q.fd);
			CHECK_EQ(post(&q, i, 0), 1);
			sim_burn(q.fd);
			CHECK_EQ(kevent_watch_remove(&q, &w), 0);
			CHECK_ERR(kevent_watch_remove(&q, &w), ENOENT);
			CHECK_EQ(shared ? kevent_take_shared(&q, &ev) : kevent_take(&q, &ev), 1);
			CHECK_EQ(ev.user_data, i);
			CHECK_EQ(shared ? kevent_take_shared(&q, &ev) : kevent_take(&q, &ev), 0);
		}
		kevent_queue_exit(&q);
	}
}

static void merges_and_counts(void)
{
	struct kevent_watch w;
	struct kevent_queue q;
	struct kevent_event ev;

	CHECK_EQ(kevent_queue_init(&q, 8, 0, 0), 0);
	kevent_prep_timer(&w, CLOCK_MONOTONIC, 1, 1, 0, 0, 5);
	CHECK_EQ(kevent_watch_add(&q, &w), 0);
	for (int i = 0; i < 5; i++)
		sim_fire(q.fd, w.handle, 1U << i, KEVENT_INFO_COUNTED, 3, 77);
	CHECK_EQ(kevent_take(&q, &ev), 1);
	CHECK_EQ(ev.events, 31);
	CHECK_EQ(KEVENT_INFO_MERGED(ev.info), 4);
	CHECK_EQ(KEVENT_INFO_SOURCE(ev.info), KEVENT_SOURCE_TIMER);
	CHECK_EQ(ev.data, 7);
	CHECK_EQ(ev.extra, 77);
	kevent_queue_exit(&q);
}

static void exhausted_mark(void)
{
	struct kevent_queue q;
	struct kevent_event ev;
	__u32 index;

	CHECK_EQ(kevent_queue_init(&q, 2, 0, 0), 0);
	for (int i = 0; i < 6; i++) {
		CHECK_EQ(post(&q, i, 0), 1);
		CHECK_EQ(kevent_take_begin(&q, &ev, &index), 1);
		CHECK_EQ(index, i);
		CHECK_EQ(q.slots[i % 2].events, KEVENT_WORD_TAKEN);
		kevent_take_end(&q, index, i & 1);
		CHECK_EQ(q.slots[i % 2].events, i & 1 ? (__u32)(i / 2) << KEVENT_WORD_LAP_SHIFT | 1 : 0);
	}
	q.features = 0;
	CHECK_EQ(post(&q, 0, 0), 1);
	CHECK_EQ(kevent_take_begin(&q, &ev, &index), 1);
	kevent_take_end(&q, index, 1);
	CHECK_EQ(q.slots[0].events, 0);
	kevent_queue_exit(&q);
}

/* kevent_next() that keeps the slot. */
static void exhausted_mark_of_next(void)
{
	struct kevent_queue q;
	struct kevent_event ev;
	__u32 index;

	for (int entries = 0; entries <= 2; entries += 2) {
		CHECK_EQ(kevent_queue_init(&q, entries, 0, 0), 0);
		CHECK_EQ(kevent_next_begin(&q, &ev, &index, &no_time), 0);
		CHECK_EQ(kevent_next_begin(&q, &ev, &index, &soon), 0);
		for (int i = 0; i < 6; i++) {
			CHECK_EQ(post(&q, i, KEVENT_POST_DEFER), 1);
			CHECK_EQ(kevent_next_begin(&q, &ev, &index, NULL), 1);
			CHECK_EQ(ev.user_data, i);
			CHECK_EQ(index, entries ? i : 0);
			if (entries)
				CHECK_EQ(q.slots[i % 2].events, KEVENT_WORD_TAKEN);
			kevent_take_end(&q, index, 1);
			if (entries)
				CHECK_EQ(q.slots[i % 2].events, (__u32)(i / 2) << KEVENT_WORD_LAP_SHIFT | 1);
		}
		/* A slot that is kept is not free: the next event waits for it. */
		CHECK_EQ(post(&q, 6, KEVENT_POST_DEFER), 1);
		CHECK_EQ(kevent_next_begin(&q, &ev, &index, NULL), 1);
		for (int i = 7; i < 9; i++)
			CHECK_EQ(post(&q, i, KEVENT_POST_DEFER), 1);
		kevent_take_end(&q, index, 0);
		CHECK_EQ(kevent_next(&q, &ev, 1, NULL), 1);
		CHECK_EQ(ev.user_data, 7);
		CHECK_EQ(kevent_next(&q, &ev, 1, NULL), 1);
		CHECK_EQ(ev.user_data, 8);
		/* A wake-up is no event, and leaves its slot free. */
		CHECK_EQ(kevent_wake(&q), 0);
		CHECK_EQ(kevent_next_begin(&q, &ev, &index, NULL), 0);
		if (entries)
			CHECK_EQ(q.slots[9 % 2].events, KEVENT_WORD_FREE);
		CHECK_ERR(kevent_next_begin(&q, &ev, &index, &(struct timespec){ 0, -1 }), EINVAL);
		kevent_queue_exit(&q);
		CHECK_ERR(kevent_next_begin(&q, &ev, &index, &no_time), EBADF);
	}
}

static void for_each_is_one_round(void)
{
	struct kevent_queue q;
	struct kevent_event ev;
	unsigned int n = 0;

	CHECK_EQ(kevent_queue_init(&q, 4, 0, 0), 0);
	CHECK_EQ(post(&q, 0, 0), 1);
	kevent_for_each(&q, &ev) {
		n++;
		CHECK_EQ(post(&q, n, 0), 1);
	}
	CHECK_EQ(n, 4);
	kevent_queue_exit(&q);
	CHECK_EQ(kevent_queue_init(&q, 0, 0, 0), 0);
	CHECK_EQ(post(&q, 1, 0), 1);
	kevent_for_each(&q, &ev)
		n++;
	CHECK_EQ(n, 4);
	kevent_queue_exit(&q);
}

#define EVENTS 20000U
static struct kevent_queue shared;
static unsigned char seen[EVENTS];
static unsigned int total;

/* Each thread marks what it has taken. */
static void *consume_marked(void *arg)
{
	struct kevent_event ev;
	__u32 index;

	(void)arg;
	while (__atomic_load_n(&total, __ATOMIC_RELAXED) < EVENTS) {
		if (kevent_take_begin(&shared, &ev, &index)) {
			__atomic_fetch_add(&seen[ev.user_data], 1, __ATOMIC_RELAXED);
			__atomic_fetch_add(&total, 1, __ATOMIC_RELAXED);
			kevent_take_end(&shared, index, ev.user_data & 1);
		} else {
			sched_yield();
		}
	}
	return NULL;
}

static void *consume_ring(void *arg)
{
	struct kevent_event ev;

	(void)arg;
	while (__atomic_load_n(&total, __ATOMIC_RELAXED) < EVENTS) {
		if (kevent_take_shared(&shared, &ev)) {
			__atomic_fetch_add(&seen[ev.user_data], 1, __ATOMIC_RELAXED);
			if ((__u64)ev.data != ev.user_data)
				__atomic_store_n(&test_failed, 1, __ATOMIC_RELAXED);
			__atomic_fetch_add(&total, 1, __ATOMIC_RELAXED);
		} else {
			sched_yield();
		}
	}
	return NULL;
}

static void *consume_next(void *arg)
{
	struct kevent_event ev[3];
	int n;

	(void)arg;
	for (;;) {
		n = kevent_next(&shared, ev, 3, NULL);
		if (n < 0)
			__atomic_store_n(&test_failed, 1, __ATOMIC_RELAXED);
		for (int i = 0; i < n; i++) {
			if (ev[i].user_data == ~0ULL)
				return NULL;
			__atomic_fetch_add(&seen[ev[i].user_data], 1, __ATOMIC_RELAXED);
			__atomic_fetch_add(&total, 1, __ATOMIC_RELAXED);
			/* The terminator may share the batch with events. */
			if (i + 1 < n && ev[i + 1].user_data == ~0ULL && i + 2 < n &&
			    post(&shared, ~0ULL, KEVENT_POST_DEFER) != 1)
				__atomic_store_n(&test_failed, 1, __ATOMIC_RELAXED);
		}
	}
}

static void many_consumers(unsigned int entries, void *(*consume)(void *), int end)
{
	pthread_t threads[4];
	unsigned int i;

	memset(seen, 0, sizeof(seen));
	total = 0;
	CHECK_EQ(kevent_queue_init(&shared, entries, 0, 0), 0);
	for (i = 0; i < 4; i++)
		CHECK_EQ(pthread_create(&threads[i], NULL, consume, NULL), 0);
	for (i = 0; i < EVENTS; i++) {
		if (i % 7 == 0)
			sim_burn(shared.fd);
		while (post(&shared, i, end ? KEVENT_POST_DEFER : 0) != 1)
			sched_yield();
	}
	while (__atomic_load_n(&total, __ATOMIC_RELAXED) < EVENTS)
		sched_yield();
	for (i = 0; i < 4 && end; i++)
		CHECK_EQ(post(&shared, ~0ULL, KEVENT_POST_DEFER), 1);
	for (i = 0; i < 4; i++) {
		/* One that took two ends took another's. */
		while (end && pthread_tryjoin_np(threads[i], NULL))
			if (post(&shared, ~0ULL, KEVENT_POST_DEFER) != 1 || sched_yield())
				break;
		if (!end)
			pthread_join(threads[i], NULL);
	}
	for (i = 0; i < EVENTS; i++)
		CHECK_EQ(seen[i], 1);
	kevent_queue_exit(&shared);
}

static void threads_take_each_event_once(void)
{
	many_consumers(8, consume_ring, 0);
}

static void threads_mark_each_event_once(void)
{
	many_consumers(8, consume_marked, 0);
}

static void threads_next_each_event_once(void)
{
	many_consumers(8, consume_next, 1);
}

static void threads_next_without_a_ring(void)
{
	many_consumers(0, consume_next, 1);
}

static void next_in_both_modes(void)
{
	struct kevent_event ev[8];
	struct kevent_queue q;

	for (int entries = 0; entries <= 4; entries += 4) {
		CHECK_EQ(kevent_queue_init(&q, entries, 0, 0), 0);
		CHECK_EQ(kevent_next(&q, ev, 8, &no_time), 0);
		CHECK_EQ(kevent_next(&q, ev, 8, &soon), 0);
		for (int i = 0; i < 10; i++)
			CHECK_EQ(post(&q, i, KEVENT_POST_DEFER), 1);
		for (int i = 0, n; i < 10; i += n) {
			n = kevent_next(&q, ev, 3, NULL);
			CHECK(n > 0 && n <= 3);
			for (int j = 0; j < n; j++)
				CHECK_EQ(ev[j].user_data, i + j);
		}
		CHECK_EQ(kevent_next(&q, ev, 8, &no_time), 0);
		CHECK_ERR(kevent_next(&q, ev, 0, &no_time), EINVAL);
		CHECK_ERR(kevent_next(&q, ev, ~0U, &no_time), EINVAL);
		CHECK_ERR(kevent_next(&q, ev, 1, &(struct timespec){ 0, 1000000000 }), EINVAL);
		CHECK_ERR(kevent_next(&q, ev, 1, &(struct timespec){ -1, 0 }), EINVAL);
		CHECK_ERR(kevent_next(&q, ev, 1, &(struct timespec){ 0, -1 }), EINVAL);
		kevent_queue_exit(&q);
		CHECK_ERR(kevent_next(&q, ev, 1, &no_time), EBADF);
		kevent_queue_exit(&q);
	}
}

static void flags_of_the_ring_are_served(void)
{
	struct kevent_event ev[8];
	struct kevent_queue q;
	unsigned int before;

	CHECK_EQ(kevent_queue_init(&q, 8, 0, 0), 0);
	for (int i = 0; i < 2; i++)
		CHECK_EQ(post(&q, i, 0), 1);
	before = sim_rechecks;
	CHECK_EQ(kevent_next(&q, ev, 1, NULL), 1);
	CHECK_EQ(sim_rechecks, before);
	sim_ring_flags(q.fd, KEVENT_RING_RECHECK, 0);
	CHECK_EQ(kevent_next(&q, ev, 1, NULL), 1);
	CHECK_EQ(sim_rechecks, before + 1);
	CHECK_EQ(kevent_ring_flags(&q), 0);
	/* Never idle: a call for each round. */
	before = sim_rechecks;
	CHECK_EQ(post(&q, 0, 0), 1);
	for (int i = 0; i < 80; i++) {
		CHECK_EQ(post(&q, 0, 0), 1);
		CHECK_EQ(kevent_next(&q, ev, 1, NULL), 1);
	}
	CHECK(sim_rechecks - before >= 9 && sim_rechecks - before <= 11);
	kevent_queue_exit(&q);
}

static void *waker(void *arg)
{
	struct kevent_queue *q = arg;

	while (!sim_sleepers(q->fd))
		sched_yield();
	if (kevent_wake(q))
		__atomic_store_n(&test_failed, 1, __ATOMIC_RELAXED);
	return NULL;
}

static void wake_ends_a_wait(void)
{
	struct kevent_event ev[8];
	struct kevent_queue q;
	pthread_t thread;

	for (int entries = 0; entries <= 4; entries += 4) {
		unsigned int posts;

		CHECK_EQ(kevent_queue_init(&q, entries, 0, 0), 0);
		CHECK_EQ(pthread_create(&thread, NULL, waker, &q), 0);
		CHECK_EQ(kevent_next(&q, ev, 8, NULL), 0);
		pthread_join(thread, NULL);
		/* Many before anybody looks are one. */
		posts = sim_posts;
		for (int i = 0; i < 5; i++)
			CHECK_EQ(kevent_wake(&q), 0);
		CHECK_EQ(sim_posts, posts + 1);
		CHECK_EQ(post(&q, 3, KEVENT_POST_DEFER), 1);
		CHECK_EQ(kevent_next(&q, ev, 8, NULL), 1);
		CHECK_EQ(ev[0].user_data, 3);
		CHECK_EQ(kevent_next(&q, ev, 8, &no_time), 0);
		CHECK_EQ(kevent_wake(&q), 0);
		CHECK_EQ(sim_posts, posts + 3);
		CHECK_EQ(kevent_next(&q, ev, 8, NULL), 0);
		/* Taken by hand. */
		for (int i = 0; i < 3 && entries; i++) {
			CHECK_EQ(kevent_wake(&q), 0);
			CHECK_EQ(kevent_take(&q, ev), 1);
			CHECK_EQ(kevent_is_wake(&q, ev), 1);
			CHECK_EQ(post(&q, KEVENT_WAKE_DATA, 0), 1);
			CHECK_EQ(kevent_take(&q, ev), 1);
			CHECK_EQ(kevent_is_wake(&q, ev), 0);
		}
		kevent_queue_exit(&q);
		CHECK_ERR(kevent_wake(&q), EBADF);
	}
}

static void child_of_fork_gets_eacces(void)
{
	struct kevent_queue q, own;
	struct kevent_event ev;
	struct kevent_watch w;
	__u32 index;
	int status;
	pid_t pid;

	CHECK_EQ(kevent_queue_init(&q, 4, 0, 0), 0);
	CHECK_EQ(post(&q, 1, 0), 1);
	CHECK_EQ(kevent_queue_is_mine(&q), 1);
	fflush(stdout);
	pid = fork();
	CHECK(pid >= 0);
	if (!pid) {
		int bad = 0;

		kevent_prep_user(&w, 0, 0);
		bad |= kevent_queue_is_mine(&q) << 0;
		bad |= kevent_take(&q, &ev) << 1;
		bad |= kevent_take_shared(&q, &ev) << 1;
		bad |= (kevent_next(&q, &ev, 1, NULL) != -1 || errno != EACCES) << 2;
		bad |= (kevent_next_begin(&q, &ev, &index, NULL) != -1 || errno != EACCES) << 2;
		bad |= kevent_take_begin(&q, &ev, &index) << 1;
		kevent_take_end(&q, 0, 1);
		bad |= (kevent_wake(&q) != -1 || errno != EACCES) << 3;
		bad |= (kevent_watch_add(&q, &w) != -1 || errno != EACCES) << 4;
		/* One of its own, and after that still. */
		bad |= (kevent_queue_init(&own, 4, 0, 0) != 0) << 5;
		bad |= (kevent_queue_is_mine(&q) || !kevent_queue_is_mine(&own)) << 6;
		bad |= kevent_take(&q, &ev) << 1;
		kevent_queue_exit(&q);
		_exit(bad);
	}
	CHECK_EQ(waitpid(pid, &status, 0), pid);
	CHECK_EQ(status, 0);
	CHECK_EQ(kevent_take(&q, &ev), 1);
	kevent_queue_exit(&q);
}

static void misuse_is_an_errno(void)
{
	struct kevent_queue none = KEVENT_QUEUE_NONE, q;
	struct kevent_create args = { .ring_entries = 3 };
	struct kevent_event ev;
	struct kevent_watch w;
	__u64 handle;

	kevent_prep_user(&w, 0, 1);
	CHECK_ERR(kevent_watch_add(&none, &w), EBADF);
	CHECK_EQ(kevent_take(&none, &ev), 0);
	CHECK_EQ(kevent_cursor(&none), 0);
	kevent_queue_exit(&none);

	CHECK_ERR(kevent_queue_init(&q, KEVENT_MAX_ENTRIES + 1, 0, 0), EINVAL);
	CHECK_EQ(q.fd, -1);
	CHECK_ERR(kevent_queue_map(&q, -1, &args), EBADF);
	CHECK_ERR(kevent_queue_map(&q, 0, &args), EINVAL);
	args.ring_entries = 4;
	CHECK_ERR(kevent_queue_map(&q, 0, &args), EINVAL);
	args.entries_offset = sizeof(struct kevent_ring);
	args.mmap_size = args.entries_offset + 3 * 32;
	CHECK_ERR(kevent_queue_map(&q, 0, &args), EINVAL);
	args.entries_offset = 0xfffffff8;
	CHECK_ERR(kevent_queue_map(&q, 0, &args), EINVAL);

	CHECK_EQ(kevent_queue_init(&q, 2, 0, 0), 0);
	CHECK_ERR(kevent_watch_enable(&q, &w), ENOENT);
	CHECK_EQ(kevent_watch_add(&q, &w), 0);
	CHECK_ERR(kevent_watch_set(&q, &w, 0), EINVAL);
	CHECK_ERR(kevent_watch_set(&q, &w, KEVENT_MODIFY_TRIGGER), EINVAL);
	CHECK_EQ(kevent_watch_remove(&q, &w), 0);
	CHECK_ERR(kevent_watch_remove(&q, &w), ENOENT);
	CHECK_ERR(kevent_watch_set(&q, &w, KEVENT_MODIFY_EVENTS), ENOENT);
	CHECK_ERR(kevent_watch_trigger(&q, &w, 1), ENOENT);
	CHECK_EQ(w.result, -ENOENT);

	kevent_prep_poll(&w, 0, KEVENT_POLL_IN, 0, 1);
	CHECK_ERR(kevent_watch_remove_named(&q, &w), ENOENT);
	CHECK_ERR(kevent_watch_set_named(&q, &w, KEVENT_MODIFY_EVENTS), ENOENT);
	CHECK_EQ(kevent_watch_put(&q, &w), 0);
	handle = w.handle;
	CHECK_EQ(kevent_watch_put(&q, &w), 0);
	CHECK_EQ(w.handle, handle);
	w.handle = 0;
	CHECK_EQ(kevent_watch_set_named(&q, &w, KEVENT_MODIFY_USER_DATA), 0);
	CHECK_EQ(w.handle, handle);
	CHECK_EQ(kevent_watch_add(&q, &w), 0);
	CHECK_ERR(kevent_watch_remove_named(&q, &w), EEXIST);
	CHECK_EQ(kevent_watch_remove(&q, &w), 0);
	CHECK_EQ(kevent_watch_remove_named(&q, &w), 0);
	CHECK_ERR(kevent_watch_remove_named(&q, &w), ENOENT);

	/* Nonsense in the ring: wrong events, nothing else. */
	for (int i = 0; i < 2000; i++) {
		q.slots[i & 1].events = (__u32)rand() * 2U;
		q.ring->cursor = (__u32)rand();
		kevent_take(&q, &ev);
		kevent_take_shared(&q, &ev);
		kevent_take_end(&q, (__u32)rand(), i & 2);
	}
	CHECK_ERR(kevent_get_events_ms(q.fd, 0, 1, 0, &ev, KEVENT_WAIT_ABSTIME), EINVAL);
	kevent_queue_exit(&q);
}

static void probe(void)
{
	struct kevent_queue q;
	struct kevent_probe p;

	CHECK_EQ(kevent_probe(&p), 0);
	CHECK_EQ(p.supported, 1);
	sim_error = ENOSYS;
	CHECK_EQ(kevent_probe(&p), 0);
	CHECK_EQ(p.supported, 0);
	CHECK_EQ(p.features, 0);
	CHECK_ERR(kevent_queue_init(&q, 4, 0, 0), ENOSYS);
	CHECK(!ec_create(0) && errno == ENOSYS);
	sim_error = EPERM;
	CHECK_ERR(kevent_probe(&p), EPERM);
	sim_error = 0;
}

static void queue_of_somebody_else(void)
{
	struct kevent_create none;
	struct kevent_queue q, theirs;
	struct kevent_event ev;

	/* As of a process that was passed the descriptor: no ring. */
	memset(&none, 0, sizeof(none));
	CHECK_EQ(kevent_queue_init(&q, 4, 0, KEVENT_CREATE_SHARED), 0);
	CHECK_EQ(kevent_queue_map(&theirs, dup(q.fd), &none), 0);
	CHECK_EQ(post(&q, 5, 0), 1);
	CHECK_EQ(kevent_take(&theirs, &ev), 0);
	CHECK_EQ(kevent_next(&theirs, &ev, 1, NULL), 1);
	CHECK_EQ(ev.user_data, 5);
	CHECK_EQ(kevent_next(&q, &ev, 1, &no_time), 0);
	kevent_queue_exit(&theirs);
	kevent_queue_exit(&q);
}

static void prepared_records(void)
{
	struct kevent_watch w;
	struct sigevent sev;
	struct iocb iocb;
	__u32 word = 3;
	int fd;

	kevent_prep_poll(&w, 7, KEVENT_POLL_IN, KEVENT_WATCH_EDGE, 9);
	CHECK(w.source == KEVENT_SOURCE_POLL && w.ident == 7 && w.events == 1 &&
	      w.flags == KEVENT_WATCH_EDGE && w.user_data == 9 && !w.handle && !w.arg[0]);
	kevent_prep_socket_marks(&w, 7, KEVENT_SOCKET_IN, 100, 200, 0, 9);
	CHECK(w.source == KEVENT_SOURCE_SOCKET && w.arg[0] == 100 && w.arg[1] == 200);
	kevent_prep_signal(&w, SIGUSR1, KEVENT_WATCH_TAKE, 1);
	CHECK(w.source == KEVENT_SOURCE_SIGNAL && w.ident == SIGUSR1 && w.events == KEVENT_SIGNAL_SENT);
	kevent_prep_timer(&w, CLOCK_BOOTTIME, 1, 2, 3, 0, 1);
	CHECK(w.source == KEVENT_SOURCE_TIMER && w.arg[0] == 1 && w.arg[1] == 2 &&
	      w.arg[2] == CLOCK_BOOTTIME && w.arg[3] == 3 && w.events == KEVENT_TIMER_EXPIRED);
	kevent_prep_process(&w, 3, KEVENT_PROCESS_EXIT, 0, 1);
	CHECK(w.source == KEVENT_SOURCE_PROCESS && w.ident == 3);
	kevent_prep_inode(&w, 3, KEVENT_INODE_MODIFY, 0, 1);
	CHECK(w.source == KEVENT_SOURCE_INODE);
	kevent_prep_futex_expect(&w, &word, KEVENT_FUTEX_PRIVATE, 3, 0, 1);
	CHECK(w.ident == (__u64)(uintptr_t)&word && w.arg[0] == 0x82 && w.arg[3] == 3 &&
	      w.flags == KEVENT_WATCH_EXPECT);
	memset(&iocb, 0, sizeof(iocb));
	kevent_prep_iocb(&iocb, 5, 6);
	CHECK(iocb.aio_flags == 4 && iocb.aio_resfd == 5 && iocb.aio_data == 6);
	kevent_prep_sigevent(&sev, 5, &word);
	memcpy(&fd, (char *)&sev + offsetof(struct sigevent, sigev_notify) + sizeof(int), sizeof(fd));
	CHECK(sev.sigev_notify == 8 && fd == 5 && sev.sigev_value.sival_ptr == &word);
	CHECK_EQ(sizeof(struct kevent_watch), KEVENT_WATCH_SIZE_VER0);
	CHECK_EQ(sizeof(struct kevent_create), KEVENT_CREATE_SIZE_VER0);
	CHECK_EQ(sizeof(struct kevent_wait), KEVENT_WAIT_SIZE_VER0);
	CHECK_EQ(sizeof(struct kevent_event), KEVENT_EVENT_SIZE_VER0);
	CHECK_EQ(offsetof(struct kevent_ring, flags), 64);
	CHECK_EQ(offsetof(struct kevent_ring, cursor), 128);
}

/* --- event channels --- */

static ec_t channel;
static unsigned int taken;

static void *ec_worker(void *arg)
{
	event_data_t ev;

	(void)arg;
	while (!ec_wait_event(channel, &ev)) {
		if (ev.user_data == ~0ULL)
			return NULL;
		__atomic_fetch_add(&seen[ev.user_data], 1, __ATOMIC_RELAXED);
		__atomic_fetch_add(&taken, 1, __ATOMIC_RELAXED);
	}
	__atomic_store_n(&test_failed, 1, __ATOMIC_RELAXED);
	return NULL;
}

static void channel_calls(void)
{
	struct timespec end;
	event_data_t ev;

	CHECK(!ec_create(2) && errno == EINVAL);
	CHECK_ERR(ec_destroy(NULL), EINVAL);
	for (int flags = 0; flags <= (int)EC_NO_RING; flags++) {
		channel = ec_create(flags);
		CHECK(channel);
		CHECK_ERR(ec_poll_event(channel, &ev), EAGAIN);
		CHECK_ERR(ec_poll_event(NULL, &ev), EINVAL);
		clock_gettime(CLOCK_MONOTONIC, &end);
		CHECK_ERR(ec_timedwait_event(channel, &ev, &end), ETIMEDOUT);
		CHECK_ERR(ec_timedwait_event(channel, &ev, NULL), EINVAL);
		end.tv_nsec = -1;
		CHECK_ERR(ec_timedwait_event(channel, &ev, &end), EINVAL);
		for (int i = 0; i < 3; i++)
			CHECK_EQ(post(ec_queue(channel), i, KEVENT_POST_DEFER), 1);
		CHECK_EQ(ec_poll_event(channel, &ev), 0);
		CHECK_EQ(ev.user_data, 0);
		CHECK_EQ(ec_wait_event(channel, &ev), 0);
		CHECK_EQ(ev.user_data, 1);
		clock_gettime(CLOCK_MONOTONIC, &end);
		CHECK_EQ(ec_timedwait_event(channel, &ev, &end), 0);
		CHECK_EQ(ev.user_data, 2);
		CHECK_EQ(ec_destroy(channel), 0);
	}
}

/*
 * Two sleep; the one that an event wakes is cancelled.  The other must take it: else
 * no thread does, and the test never ends.
 */
static void cancelled_thread_loses_nothing(void)
{
	for (int variant = 0; variant < 4; variant++) {
		sim_features = variant & 1 ? 1ULL << KEVENT_SOURCE_USER : 0;
		channel = ec_create(variant & 2 ? EC_NO_RING : 0);
		CHECK(channel);
		taken = 0;
		memset(seen, 0, sizeof(seen));
		for (unsigned int i = 0; i < 100; i++) {
			pthread_t a, b;
			void *how;

			CHECK_EQ(pthread_create(&a, NULL, ec_worker, NULL), 0);
			while (sim_sleepers(ec_queue(channel)->fd) != 1)
				sched_yield();
			CHECK_EQ(pthread_create(&b, NULL, ec_worker, NULL), 0);
			while (sim_sleepers(ec_queue(channel)->fd) != 2)
				sched_yield();
			CHECK_ERR(ec_destroy(channel), EBUSY);
			if (i & 1) {
				pthread_cancel(a);
				CHECK_EQ(post(ec_queue(channel), i, KEVENT_POST_DEFER), 1);
			} else {
				CHECK_EQ(post(ec_queue(channel), i, KEVENT_POST_DEFER), 1);
				pthread_cancel(a);
			}
			while (__atomic_load_n(&taken, __ATOMIC_RELAXED) != i + 1)
				sched_yield();
			CHECK_EQ(pthread_join(a, &how), 0);
			CHECK(how == PTHREAD_CANCELED);
			CHECK_EQ(post(ec_queue(channel), ~0ULL, KEVENT_POST_DEFER), 1);
			CHECK_EQ(pthread_join(b, NULL), 0);
			CHECK_EQ(seen[i], 1);
		}
		CHECK_EQ(ec_destroy(channel), 0);
	}
	CHECK(sim_wake_nexts);
	sim_features = 0;
}

int main(int argc, char **argv)
{
	static const struct test tests[] = {
		TEST(ring_is_empty_and_fifo),
		TEST(index_wraps_at_32_bits),
		TEST(entry_of_another_lap_is_not_there),
		TEST(cancelled_and_burnt_slots_are_skipped),
		TEST(merges_and_counts),
		TEST(exhausted_mark),
		TEST(exhausted_mark_of_next),
		TEST(for_each_is_one_round),
		TEST(threads_take_each_event_once),
		TEST(threads_mark_each_event_once),
		TEST(threads_next_each_event_once),
		TEST(threads_next_without_a_ring),
		TEST(next_in_both_modes),
		TEST(flags_of_the_ring_are_served),
		TEST(wake_ends_a_wait),
		TEST(child_of_fork_gets_eacces),
		TEST(misuse_is_an_errno),
		TEST(probe),
		TEST(queue_of_somebody_else),
		TEST(prepared_records),
		TEST(channel_calls),
		TEST(cancelled_thread_loses_nothing),
	};

	return test_main(tests, sizeof(tests) / sizeof(tests[0]), argc, argv);
}
