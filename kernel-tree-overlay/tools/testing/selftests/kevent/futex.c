// SPDX-License-Identifier: GPL-2.0
/*
 * KEVENT_SOURCE_FUTEX: a watch counts as one waiter, who is woken once, and no
 * change of the word is lost while it does not wait.
 */
#include <linux/futex.h>
#include <sys/prctl.h>

#include "kevent_poll_test.h"

#define WOKEN		KEVENT_FUTEX_WOKEN
#define CHANGED		KEVENT_FUTEX_CHANGED
#define BOTH		(WOKEN | CHANGED)

#define EDGE		KEVENT_WATCH_EDGE
#define ONESHOT		KEVENT_WATCH_ONESHOT
#define DISPATCH	KEVENT_WATCH_DISPATCH
#define DISABLED	KEVENT_WATCH_DISABLED
#define VANISHED	KEVENT_WATCH_VANISHED
#define EXPECT		KEVENT_WATCH_EXPECT

#ifndef FUTEX2_SIZE_U32
#define FUTEX2_SIZE_U8		0x00
#define FUTEX2_SIZE_U16		0x01
#define FUTEX2_SIZE_U32		0x02
#define FUTEX2_SIZE_U64		0x03
#define FUTEX2_NUMA		0x04
#define FUTEX2_PRIVATE		FUTEX_PRIVATE_FLAG
#endif
#ifndef FUTEX2_MPOL
#define FUTEX2_MPOL		0x08
#endif
#ifndef PR_FUTEX_HASH
#define PR_FUTEX_HASH			78
#define PR_FUTEX_HASH_SET_SLOTS		1
#endif

static void __attribute__((constructor)) need_futex(void)
{
	need_source(KEVENT_SOURCE_FUTEX, "futexes");
}

/* Of which kind the word is. */
enum kind {
	PRIVATE,	/* a private futex */
	SHARED,		/* in memory that is shared */
	ANON,		/* in memory that is not, but not declared private */
};

static __u32 *new_word(enum kind kind)
{
	__u32 *word = mmap(NULL, sysconf(_SC_PAGESIZE), PROT_READ | PROT_WRITE,
			   MAP_ANONYMOUS |
			   (kind == SHARED ? MAP_SHARED : MAP_PRIVATE), -1, 0);

	if (word == MAP_FAILED)
		return NULL;
	*word = 0;
	return word;
}

static void free_word(__u32 *word)
{
	munmap(word, sysconf(_SC_PAGESIZE));
}

static __u32 load(const __u32 *word)
{
	return __atomic_load_n(word, __ATOMIC_ACQUIRE);
}

static void store(__u32 *word, __u32 value)
{
	__atomic_store_n(word, value, __ATOMIC_RELEASE);
}

static int private_flag(enum kind kind)
{
	return kind == PRIVATE ? FUTEX_PRIVATE_FLAG : 0;
}

/* How many were woken. */
static int wake_bits(enum kind kind, __u32 *word, int nr, __u32 bits)
{
	int op = FUTEX_WAKE_BITSET | private_flag(kind);
	int ret = syscall(SYS_futex, word, op, nr, NULL, NULL, bits);

	return ret < 0 ? -errno : ret;
}

static int wake(enum kind kind, __u32 *word, int nr)
{
	return wake_bits(kind, word, nr, FUTEX_BITSET_MATCH_ANY);
}

static struct kevent_watch futex_watch(enum kind kind, const __u32 *word,
				       __u32 events, __u32 flags,
				       __u64 user_data)
{
	struct kevent_watch w = {
		.source = KEVENT_SOURCE_FUTEX,
		.flags = flags,
		.ident = (unsigned long)word,
		.events = events,
		.user_data = user_data,
		.arg = {
			FUTEX2_SIZE_U32 |
			(kind == PRIVATE ? FUTEX2_PRIVATE : 0),
		},
	};

	return w;
}

static int add(struct queue *q, struct kevent_watch *w, enum kind kind,
	       const __u32 *word, __u32 flags, __u64 user_data)
{
	*w = futex_watch(kind, word, BOTH, flags, user_data);
	return add_one(q, w);
}

FIXTURE(futex)
{
	struct queue q;
	__u32 *word;
};

FIXTURE_VARIANT(futex)
{
	unsigned int entries;
	bool copy;
	enum kind kind;
};

FIXTURE_VARIANT_ADD(futex, ring)
{
	.entries = 8,
};

FIXTURE_VARIANT_ADD(futex, copied)
{
	.entries = 8,
	.copy = true,
};

FIXTURE_VARIANT_ADD(futex, no_ring)
{
	.copy = true,
};

FIXTURE_VARIANT_ADD(futex, ring_shared)
{
	.entries = 8,
	.kind = SHARED,
};

FIXTURE_VARIANT_ADD(futex, no_ring_shared)
{
	.copy = true,
	.kind = SHARED,
};

FIXTURE_VARIANT_ADD(futex, ring_anon)
{
	.entries = 8,
	.kind = ANON,
};

FIXTURE_SETUP(futex)
{
	ASSERT_LE(0, queue_open_shared(&self->q, variant->entries));
	self->word = new_word(variant->kind);
	ASSERT_NE(NULL, self->word);
}

FIXTURE_TEARDOWN(futex)
{
	queue_close(&self->q);
	free_word(self->word);
}

#define Q	(&self->q)
#define COPY	(variant->copy)
#define KIND	(variant->kind)
#define WORD	(self->word)

#define EXPECT_WAKES(woken, nr)						\
	EXPECT_EQ(woken, wake(KIND, WORD, nr))

/* The next event, which may have to be waited for, is exactly this one. */
#define EXPECT_REPORTED_EXTRA(value, bits, flags, seen, error)		\
do {									\
	struct kevent_event __ev = {};					\
									\
	ASSERT_EQ(1, take_next(Q, COPY, &__ev));			\
	EXPECT_EQ((__u64)(value), __ev.user_data);			\
	EXPECT_EQ((__u32)(bits), __ev.events);				\
	EXPECT_EQ(KEVENT_SOURCE_FUTEX | (__u32)(flags),			\
		  __ev.info & 0xffff);					\
	EXPECT_EQ((seen), __ev.data);					\
	EXPECT_EQ((__u64)(error), __ev.extra);				\
} while (0)

#define EXPECT_REPORTED(value, bits, seen)				\
	EXPECT_REPORTED_EXTRA(value, bits, 0, seen, 0)

#define EXPECT_SILENCE()						\
do {									\
	usleep(100 * 1000);						\
	EXPECT_EMPTY(Q, COPY);						\
} while (0)

/*
 * One waiter, who is woken once.
 */
TEST_F(futex, woken)
{
	static const __u32 modes[] = { 0, EDGE };
	struct kevent_watch w;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(modes); i++) {
		store(WORD, 0);
		ASSERT_EQ(1, add(Q, &w, KIND, WORD, modes[i], 0x123456789abcd));
		EXPECT_SILENCE();
		store(WORD, 7);
		/* It is of no interest to it how many. */
		EXPECT_WAKES(1, i ? 1 : INT_MAX);
		/* It does not wait while it has reported that. */
		EXPECT_WAKES(0, 1);
		EXPECT_REPORTED(0x123456789abcd, WOKEN, 7);
		/* Nor before the program does. */
		EXPECT_WAKES(0, 1);
		EXPECT_EMPTY(Q, COPY);
		EXPECT_WAKES(1, 1);
		EXPECT_REPORTED(0x123456789abcd, WOKEN, 7);
		EXPECT_SILENCE();
		ASSERT_EQ(1, remove_one(Q, w.handle));
		EXPECT_WAKES(0, 1);
		EXPECT_SILENCE();
	}
}

TEST_F(futex, in_order)
{
	struct kevent_watch w[3];
	int i;

	for (i = 0; i < 3; i++)
		ASSERT_EQ(1, add(Q, &w[i], KIND, WORD, EDGE, i));
	EXPECT_WAKES(1, 1);
	EXPECT_REPORTED(0, WOKEN, 0);
	/* The first one waits again, at the end. */
	EXPECT_EMPTY(Q, COPY);
	EXPECT_WAKES(2, 2);
	EXPECT_REPORTED(1, WOKEN, 0);
	EXPECT_REPORTED(2, WOKEN, 0);
	EXPECT_EMPTY(Q, COPY);
	EXPECT_WAKES(3, INT_MAX);
}

/* Among threads that wait in the futex itself. */
struct waiting {
	enum kind kind;
	__u32 *word;
};

static int wait_in_futex(void *arg)
{
	struct waiting *w = arg;
	int op = FUTEX_WAIT | private_flag(w->kind);

	return syscall(SYS_futex, w->word, op, 0, NULL, NULL, 0);
}

TEST_F(futex, with_a_thread)
{
	struct waiting waiting = { KIND, WORD };
	struct kevent_watch w;
	struct sleeper s;

	ASSERT_EQ(0, sleeper_start(&s, wait_in_futex, &waiting));
	ASSERT_TRUE(sleeper_asleep(&s));
	ASSERT_EQ(1, add(Q, &w, KIND, WORD, 0, 1));
	EXPECT_WAKES(1, 1);
	EXPECT_EQ(0, sleeper_join(&s));
	EXPECT_EMPTY(Q, COPY);
	ASSERT_EQ(0, sleeper_start(&s, wait_in_futex, &waiting));
	ASSERT_TRUE(sleeper_asleep(&s));
	EXPECT_WAKES(1, 1);
	EXPECT_REPORTED(1, WOKEN, 0);
	EXPECT_FALSE(sleeper_done(&s));
	EXPECT_EMPTY(Q, COPY);
	EXPECT_WAKES(2, 2);
	EXPECT_EQ(0, sleeper_join(&s));
	EXPECT_REPORTED(1, WOKEN, 0);
}

TEST_F(futex, sleeper_is_woken)
{
	struct kevent_watch w;
	struct waiter s;
	int i;

	ASSERT_EQ(1, add(Q, &w, KIND, WORD, 0, 1));
	for (i = 1; i < 4; i++) {
		ASSERT_EQ(0, waiter_start(&s, self->q.fd, variant->entries ?
					  ring_cursor(Q) : 0, 1));
		ASSERT_TRUE(sleeper_asleep(&s.sleeper));
		store(WORD, i);
		EXPECT_WAKES(1, 1);
		EXPECT_EQ(1, sleeper_join(&s.sleeper));
		EXPECT_REPORTED(1, WOKEN, i);
	}
}

TEST_F(futex, bitset)
{
	struct kevent_watch w = futex_watch(KIND, WORD, BOTH, EDGE, 1);

	w.arg[1] = 0x6;
	ASSERT_EQ(1, add_one(Q, &w));
	EXPECT_EQ(0, wake_bits(KIND, WORD, 1, 0x9));
	EXPECT_EQ(1, wake_bits(KIND, WORD, 1, 0xc));
	EXPECT_REPORTED(1, WOKEN, 0);
	EXPECT_EMPTY(Q, COPY);
	w.arg[1] = 0x80000000;
	ASSERT_EQ(1, modify_one(Q, &w, KEVENT_MODIFY_ARG));
	EXPECT_EQ(0, wake_bits(KIND, WORD, 1, 0x6));
	EXPECT_EQ(1, wake_bits(KIND, WORD, 1, 0x80000000));
	EXPECT_REPORTED(1, WOKEN, 0);
	w.arg[1] = 0;
	ASSERT_EQ(1, modify_one(Q, &w, KEVENT_MODIFY_ARG));
	EXPECT_EQ(1, wake_bits(KIND, WORD, 1, 1));
	EXPECT_REPORTED(1, WOKEN, 0);
}

/*
 * What was expected.
 */
TEST_F(futex, expected)
{
	struct kevent_watch w = futex_watch(KIND, WORD, BOTH, EXPECT, 1);

	store(WORD, 0xffffffff);
	w.arg[3] = 0xfffffffe;
	ASSERT_EQ(1, add_one(Q, &w));
	EXPECT_WAKES(0, 1);
	EXPECT_REPORTED(1, CHANGED, 0xffffffff);
	/* That is known now. */
	EXPECT_SILENCE();
	EXPECT_WAKES(1, 1);
	EXPECT_REPORTED(1, WOKEN, 0xffffffff);
	ASSERT_EQ(1, remove_one(Q, w.handle));

	w.arg[3] = 0xffffffff;
	ASSERT_EQ(1, add_one(Q, &w));
	EXPECT_SILENCE();
	EXPECT_WAKES(1, 1);
	EXPECT_REPORTED(1, WOKEN, 0xffffffff);
	ASSERT_EQ(1, remove_one(Q, w.handle));

	/* 0 is a value too. */
	w.arg[3] = 0;
	ASSERT_EQ(1, add_one(Q, &w));
	EXPECT_REPORTED(1, CHANGED, 0xffffffff);
}

/* No change is lost for which there was no waiter to wake. */
TEST_F(futex, changed_while_it_does_not_wait)
{
	static const __u32 modes[] = { 0, EDGE };
	struct kevent_watch w;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(modes); i++) {
		store(WORD, 0);
		ASSERT_EQ(1, add(Q, &w, KIND, WORD, modes[i], 1));
		EXPECT_WAKES(1, 1);
		store(WORD, 1);
		EXPECT_WAKES(0, 1);
		EXPECT_REPORTED(1, WOKEN, 0);
		EXPECT_REPORTED(1, CHANGED, 1);
		store(WORD, 2);
		EXPECT_WAKES(0, 1);
		EXPECT_REPORTED(1, CHANGED, 2);
		EXPECT_SILENCE();
		/* Without a wake-up it does not notice. */
		store(WORD, 3);
		EXPECT_SILENCE();
		EXPECT_WAKES(1, 1);
		EXPECT_REPORTED(1, WOKEN, 3);
		EXPECT_SILENCE();
		ASSERT_EQ(1, remove_one(Q, w.handle));
	}
}

TEST_F(futex, only_woken)
{
	struct kevent_watch w = futex_watch(KIND, WORD, WOKEN, EDGE | EXPECT,
					    1);

	w.arg[3] = 5;
	ASSERT_EQ(1, add_one(Q, &w));
	EXPECT_SILENCE();
	EXPECT_WAKES(1, 1);
	store(WORD, 1);
	EXPECT_REPORTED(1, WOKEN, 0);
	EXPECT_EMPTY(Q, COPY);
	EXPECT_WAKES(1, 1);
	EXPECT_REPORTED(1, WOKEN, 1);
	w.events = BOTH;
	ASSERT_EQ(1, modify_one(Q, &w, KEVENT_MODIFY_EVENTS));
	store(WORD, 2);
	EXPECT_WAKES(1, 1);
	store(WORD, 3);
	EXPECT_REPORTED(1, WOKEN, 2);
	EXPECT_REPORTED(1, CHANGED, 3);
}

/*
 * Modes.
 */
TEST_F(futex, oneshot)
{
	struct kevent_watch w;

	ASSERT_EQ(1, add(Q, &w, KIND, WORD, ONESHOT, 1));
	EXPECT_SILENCE();
	EXPECT_WAKES(1, 1);
	EXPECT_WAKES(0, 1);
	EXPECT_REPORTED(1, WOKEN, 0);
	EXPECT_EMPTY(Q, COPY);
	EXPECT_WAKES(0, 1);
	EXPECT_TRUE(watch_gone(Q, &w));
	w = futex_watch(KIND, WORD, BOTH, ONESHOT | EXPECT, 2);
	w.arg[3] = 1;
	ASSERT_EQ(1, add_one(Q, &w));
	EXPECT_REPORTED(2, CHANGED, 0);
	EXPECT_EMPTY(Q, COPY);
	EXPECT_WAKES(0, 1);
	EXPECT_TRUE(watch_gone(Q, &w));
	EXPECT_EQ(0, nr_watches(self->q.fd));
}

TEST_F(futex, dispatch)
{
	struct kevent_watch w;

	ASSERT_EQ(1, add(Q, &w, KIND, WORD, DISPATCH, 1));
	EXPECT_WAKES(1, 1);
	EXPECT_REPORTED(1, WOKEN, 0);
	EXPECT_EMPTY(Q, COPY);
	EXPECT_WAKES(0, 1);
	ASSERT_EQ(1, modify_one(Q, &w, KEVENT_MODIFY_ENABLE));
	EXPECT_EMPTY(Q, COPY);
	EXPECT_WAKES(1, 1);
	EXPECT_REPORTED(1, WOKEN, 0);
	/* Another value than was reported. */
	store(WORD, 1);
	ASSERT_EQ(1, modify_one(Q, &w, KEVENT_MODIFY_ENABLE));
	EXPECT_REPORTED(1, CHANGED, 1);
	EXPECT_EMPTY(Q, COPY);
	EXPECT_WAKES(0, 1);
	/* The program has seen it. */
	store(WORD, 2);
	w.arg[3] = 2;
	w.flags |= EXPECT;
	ASSERT_EQ(1, modify_one(Q, &w, KEVENT_MODIFY_ENABLE |
				KEVENT_MODIFY_ARG));
	EXPECT_SILENCE();
	EXPECT_WAKES(1, 1);
	EXPECT_REPORTED(1, WOKEN, 2);
	w.arg[3] = 1;
	ASSERT_EQ(1, modify_one(Q, &w, KEVENT_MODIFY_ENABLE |
				KEVENT_MODIFY_ARG));
	EXPECT_REPORTED(1, CHANGED, 2);
	EXPECT_SILENCE();
}

TEST_F(futex, disabled)
{
	struct kevent_watch w;

	ASSERT_EQ(1, add(Q, &w, KIND, WORD, DISABLED, 1));
	EXPECT_WAKES(0, 1);
	EXPECT_SILENCE();
	ASSERT_EQ(1, modify_one(Q, &w, KEVENT_MODIFY_ENABLE));
	EXPECT_EMPTY(Q, COPY);
	EXPECT_WAKES(1, 1);
	EXPECT_REPORTED(1, WOKEN, 0);
	EXPECT_EMPTY(Q, COPY);
	/* It takes no wake-up from others while it is disabled. */
	ASSERT_EQ(1, modify_one(Q, &w, KEVENT_MODIFY_DISABLE));
	EXPECT_WAKES(0, 1);
	EXPECT_EMPTY(Q, COPY);
	EXPECT_WAKES(0, 1);
	store(WORD, 1);
	ASSERT_EQ(1, modify_one(Q, &w, KEVENT_MODIFY_ENABLE));
	EXPECT_REPORTED(1, CHANGED, 1);
	EXPECT_EMPTY(Q, COPY);
	EXPECT_WAKES(1, 1);
	ASSERT_EQ(1, remove_one(Q, w.handle));
	EXPECT_EMPTY(Q, COPY);
}

/* A wake-up that was reported is not lost, nor is a change. */
TEST_F(futex, unconsumed_while_it_is_modified)
{
	struct kevent_watch w;

	ASSERT_EQ(1, add(Q, &w, KIND, WORD, EDGE, 1));
	EXPECT_WAKES(1, 1);
	w.user_data = 2;
	ASSERT_EQ(1, modify_one(Q, &w, KEVENT_MODIFY_USER_DATA));
	EXPECT_WAKES(0, 1);
	ASSERT_EQ(1, modify_one(Q, &w, KEVENT_MODIFY_DISABLE));
	EXPECT_EMPTY(Q, COPY);
	EXPECT_WAKES(0, 1);
	ASSERT_EQ(1, modify_one(Q, &w, KEVENT_MODIFY_ENABLE));
	EXPECT_REPORTED(2, WOKEN, 0);
	EXPECT_EMPTY(Q, COPY);
	EXPECT_WAKES(1, 1);
	EXPECT_REPORTED(2, WOKEN, 0);
	store(WORD, 1);
	EXPECT_EQ(1, queue_refill(Q));
	w.user_data = 3;
	ASSERT_EQ(1, modify_one(Q, &w, KEVENT_MODIFY_USER_DATA));
	EXPECT_REPORTED(3, CHANGED, 1);
	EXPECT_EMPTY(Q, COPY);
	/* That the program has seen it by now is said by the argument. */
	EXPECT_WAKES(1, 1);
	EXPECT_REPORTED(3, WOKEN, 1);
	store(WORD, 2);
	EXPECT_EQ(1, queue_refill(Q));
	w.arg[3] = 2;
	w.flags |= EXPECT;
	ASSERT_EQ(1, modify_one(Q, &w, KEVENT_MODIFY_ARG));
	EXPECT_EMPTY(Q, COPY);
	EXPECT_WAKES(1, 1);
	EXPECT_REPORTED(3, WOKEN, 2);
}

TEST_F(futex, argument_changes)
{
	struct kevent_watch w;

	ASSERT_EQ(1, add(Q, &w, KIND, WORD, EDGE, 1));
	/* From now on it is what is there. */
	store(WORD, 1);
	ASSERT_EQ(1, modify_one(Q, &w, KEVENT_MODIFY_ARG));
	EXPECT_SILENCE();
	w.flags |= EXPECT;
	ASSERT_EQ(1, modify_one(Q, &w, KEVENT_MODIFY_ARG));
	EXPECT_REPORTED(1, CHANGED, 1);
	EXPECT_SILENCE();
	EXPECT_WAKES(1, 1);
	EXPECT_REPORTED(1, WOKEN, 1);
	/* An error changes nothing. */
	EXPECT_EMPTY(Q, COPY);
	w.arg[0] ^= FUTEX2_PRIVATE;
	EXPECT_EQ(-EINVAL, modify_one(Q, &w, KEVENT_MODIFY_ARG));
	w.arg[0] ^= FUTEX2_PRIVATE;
	w.arg[2] = 1;
	EXPECT_EQ(-EINVAL, modify_one(Q, &w, KEVENT_MODIFY_ARG));
	w.arg[2] = 0;
	w.arg[3] = 1ULL << 32;
	EXPECT_EQ(-EINVAL, modify_one(Q, &w, KEVENT_MODIFY_ARG));
	w.arg[3] = 1;
	w.flags &= ~EXPECT;
	EXPECT_EQ(-EINVAL, modify_one(Q, &w, KEVENT_MODIFY_ARG));
	w.events = CHANGED;
	EXPECT_EQ(-EINVAL, modify_one(Q, &w, KEVENT_MODIFY_EVENTS));
	w.flags = KEVENT_WATCH_ABSTIME;
	EXPECT_EQ(-EINVAL, modify_one(Q, &w, KEVENT_MODIFY_MODE));
	EXPECT_WAKES(1, 1);
	EXPECT_REPORTED(1, WOKEN, 1);
}

TEST_F(futex, errors)
{
	static const __u32 flags[] = {
		KEVENT_WATCH_EXCLUSIVE, KEVENT_WATCH_ABSTIME,
		KEVENT_WATCH_TAKE, 1U << 9, 1U << 31, ONESHOT | DISPATCH,
	};
	static const __u64 kinds[] = {
		FUTEX2_SIZE_U8, FUTEX2_SIZE_U16, FUTEX2_SIZE_U64,
		FUTEX2_SIZE_U32 | FUTEX2_NUMA, FUTEX2_SIZE_U32 | FUTEX2_MPOL,
		FUTEX2_SIZE_U32 | 0x10, FUTEX2_SIZE_U32 | 0x100,
		FUTEX2_SIZE_U32 | 1ULL << 32,
	};
	char *page = guard_page();
	struct kevent_watch w;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(flags); i++)
		EXPECT_EQ(-EINVAL, add(Q, &w, KIND, WORD, flags[i], 1));
	for (i = 0; i < ARRAY_SIZE(kinds); i++) {
		w = futex_watch(KIND, WORD, BOTH, 0, 1);
		w.arg[0] = kinds[i];
		EXPECT_EQ(-EINVAL, add_one(Q, &w));
	}
	w = futex_watch(KIND, WORD, CHANGED, 0, 1);
	EXPECT_EQ(-EINVAL, add_one(Q, &w));
	w.events = 0;
	EXPECT_EQ(-EINVAL, add_one(Q, &w));
	w.events = BOTH | 4;
	EXPECT_EQ(-EINVAL, add_one(Q, &w));
	w.events = BOTH;
	w.arg[1] = 1ULL << 32;
	EXPECT_EQ(-EINVAL, add_one(Q, &w));
	w.arg[1] = 0;
	w.arg[2] = 1;
	EXPECT_EQ(-EINVAL, add_one(Q, &w));
	w.arg[2] = 0;
	w.arg[3] = 1;
	EXPECT_EQ(-EINVAL, add_one(Q, &w));
	w.flags = EXPECT;
	w.arg[3] = 1ULL << 32;
	EXPECT_EQ(-EINVAL, add_one(Q, &w));
	for (i = 1; i < 4; i++)
		EXPECT_EQ(-EINVAL, add(Q, &w, KIND, (void *)WORD + i, 0, 1));
	EXPECT_EQ(-EFAULT, add(Q, &w, KIND, NULL, 0, 1));
	EXPECT_EQ(-EFAULT, add(Q, &w, KIND, (void *)page, 0, 1));
	EXPECT_EQ(-EFAULT, add(Q, &w, KIND, (void *)-4096L, 0, 1));
	EXPECT_EQ(0, nr_watches(self->q.fd));
	EXPECT_WAKES(0, INT_MAX);
}

TEST(sealed)
{
	struct queue q = { .fd = sealed_queue(1 << KEVENT_SOURCE_POLL) };
	struct kevent_watch w;
	__u32 word = 0;

	ASSERT_LE(0, q.fd);
	EXPECT_EQ(-EPERM, add(&q, &w, PRIVATE, &word, 0, 1));
	close(q.fd);
}

/*
 * What others do to a futex.
 */
TEST_F(futex, requeued)
{
	int op = FUTEX_CMP_REQUEUE | private_flag(KIND);
	__u32 *other = WORD + 100;
	struct kevent_watch w;

	ASSERT_EQ(1, add(Q, &w, KIND, WORD, EDGE, 1));
	EXPECT_EQ(1, syscall(SYS_futex, WORD, op, 0, 1, other, 0));
	EXPECT_WAKES(0, 1);
	EXPECT_EQ(1, wake(KIND, other, 1));
	EXPECT_REPORTED(1, WOKEN, 0);
	/* It waits for its own word again. */
	EXPECT_EMPTY(Q, COPY);
	EXPECT_EQ(0, wake(KIND, other, 1));
	EXPECT_WAKES(1, 1);
	EXPECT_REPORTED(1, WOKEN, 0);
	EXPECT_EMPTY(Q, COPY);
	EXPECT_EQ(1, syscall(SYS_futex, WORD, op, 0, 1, other, 0));
	ASSERT_EQ(1, remove_one(Q, w.handle));
	EXPECT_EQ(0, wake(KIND, other, 1));
	EXPECT_WAKES(0, 1);
}

/* A mutex with priority inheritance cannot be passed to it. */
TEST_F(futex, is_no_mutex)
{
	int op = FUTEX_LOCK_PI | private_flag(KIND);
	struct kevent_watch w;

	ASSERT_EQ(1, add(Q, &w, KIND, WORD, EDGE, 1));
	store(WORD, getppid());
	EXPECT_EQ(-1, syscall(SYS_futex, WORD, op, 0, NULL, NULL, 0));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_WAKES(1, 1);
	EXPECT_REPORTED(1, WOKEN, getppid());
}

/* The end of a thread wakes the word that it named; pthread_join() waits so. */
static void *thread_that_clears(void *word)
{
	syscall(SYS_set_tid_address, word);
	syscall(SYS_exit, 0);
	return NULL;
}

TEST_F(futex, thread_ends)
{
	struct kevent_watch w;
	pthread_t thread;

	if (KIND == PRIVATE)
		SKIP(return, "that is a shared one");
	store(WORD, 1);
	ASSERT_EQ(1, add(Q, &w, KIND, WORD, EDGE, 1));
	ASSERT_EQ(0, pthread_create(&thread, NULL, thread_that_clears, WORD));
	EXPECT_REPORTED(1, WOKEN, 0);
}

/* The hash table of private futexes is replaced. */
TEST_F(futex, hash_changes)
{
	static const int slots[] = { 16, 256, 2, 64, 0 };
	struct kevent_watch w, other;
	unsigned int i;

	ASSERT_EQ(1, add(Q, &w, KIND, WORD, EDGE, 1));
	for (i = 0; i < ARRAY_SIZE(slots); i++) {
		ASSERT_EQ(1, add(Q, &other, KIND, WORD + 1 + i, EDGE, 2));
		if (prctl(PR_FUTEX_HASH, PR_FUTEX_HASH_SET_SLOTS, slots[i], 0))
			SKIP(return, "no private hash");
		EXPECT_WAKES(1, 1);
		EXPECT_REPORTED(1, WOKEN, 0);
		EXPECT_EMPTY(Q, COPY);
		ASSERT_EQ(1, remove_one(Q, other.handle));
		EXPECT_EQ(0, wake(KIND, WORD + 1 + i, 1));
	}
	ASSERT_EQ(1, add(Q, &other, KIND, WORD + 1, EDGE, 2));
	EXPECT_EQ(1, wake(KIND, WORD + 1, 1));
	EXPECT_REPORTED(2, WOKEN, 0);
}

/* It is made with the first thread, if it was not needed before. */
static void *no_thread(void *arg)
{
	return arg;
}

TEST_F(futex, first_thread)
{
	struct kevent_watch w;
	pthread_t thread;
	int i;

	ASSERT_EQ(1, add(Q, &w, KIND, WORD, EDGE, 1));
	for (i = 0; i < 3; i++) {
		ASSERT_EQ(0, pthread_create(&thread, NULL, no_thread, NULL));
		EXPECT_WAKES(1, 1);
		EXPECT_REPORTED(1, WOKEN, 0);
		pthread_join(thread, NULL);
		EXPECT_EMPTY(Q, COPY);
	}
}

/*
 * Memory that cannot be read at once.
 */
TEST_F(futex, page_is_not_there)
{
	long size = sysconf(_SC_PAGESIZE);
	struct kevent_watch w;

	ASSERT_EQ(1, add(Q, &w, KIND, WORD, EDGE, 1));
	EXPECT_WAKES(1, 1);
	EXPECT_REPORTED(1, WOKEN, 0);
	ASSERT_EQ(0, madvise(WORD, size, MADV_DONTNEED));
	/* The program has to look for itself. */
	EXPECT_REPORTED_EXTRA(1, CHANGED, KEVENT_INFO_ERROR, 0, EFAULT);
	ASSERT_EQ(0, madvise(WORD, size, MADV_DONTNEED));
	EXPECT_SILENCE();
	store(WORD, 1);
	EXPECT_WAKES(1, 1);
	EXPECT_REPORTED(1, WOKEN, 1);
	EXPECT_SILENCE();
	EXPECT_WAKES(1, 1);
	EXPECT_REPORTED(1, WOKEN, 1);
}

TEST_F(futex, unmapped)
{
	long size = sysconf(_SC_PAGESIZE);
	struct kevent_watch w[2];
	struct kevent_event ev;
	unsigned int seen = 0;
	int i;

	store(WORD, 3);
	ASSERT_EQ(1, add(Q, &w[0], KIND, WORD, EDGE, 0));
	ASSERT_EQ(1, add(Q, &w[1], KIND, WORD, 0, 1));
	EXPECT_WAKES(2, 2);
	ASSERT_EQ(0, munmap(WORD, size));
	/* Reported once each. */
	for (i = 0; i < 4; i++) {
		ASSERT_EQ(1, take_next(Q, COPY, &ev));
		EXPECT_EQ(3, ev.data);
		EXPECT_EQ(ev.events == CHANGED ? EFAULT : 0, ev.extra);
		seen |= 1 << (2 * ev.user_data + (ev.events == CHANGED));
	}
	EXPECT_EQ(0xf, seen);
	EXPECT_SILENCE();
	ASSERT_EQ(1, modify_one(Q, &w[0], KEVENT_MODIFY_ARG));
	ASSERT_EQ(1, remove_one(Q, w[0].handle));
	queue_close(Q);
	ASSERT_EQ(WORD, mmap(WORD, size, PROT_READ | PROT_WRITE,
			     MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0));
	EXPECT_WAKES(0, INT_MAX);
}

/*
 * Other processes.
 */

/* Who has other memory cannot look at the word for it. */
TEST_F(futex, woken_by_another_process)
{
	struct kevent_watch w;
	pid_t pid;

	if (KIND != SHARED)
		SKIP(return, "no other process has the word");
	ASSERT_EQ(1, add(Q, &w, KIND, WORD, EDGE, 1));
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		store(WORD, 5);
		_exit(wake(KIND, WORD, 1) == 1 ? 0 : 1);
	}
	EXPECT_EQ(0, child_status(pid));
	/* The value is what it was when it began to wait. */
	EXPECT_REPORTED(1, WOKEN, 0);
	EXPECT_REPORTED(1, CHANGED, 5);
	EXPECT_SILENCE();
	EXPECT_WAKES(1, 1);
	EXPECT_REPORTED(1, WOKEN, 5);
}

/* The child's word is its own, and it does not look at its parent's. */
TEST_F(futex, maker_forks)
{
	struct kevent_watch w;
	struct kevent_event ev;
	pid_t pid;

	ASSERT_EQ(1, add(Q, &w, KIND, WORD, EDGE, 1));
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		if (KIND != SHARED) {
			store(WORD, 1);
			if (wake(KIND, WORD, 1))
				_exit(1);
		}
		_exit(0);
	}
	EXPECT_EQ(0, child_status(pid));
	EXPECT_EMPTY(Q, COPY);
	EXPECT_WAKES(1, 1);
	/* The child takes the event and waits, but that puts nothing back. */
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		if (kevent_get_events(self->q.fd, 1, 1, NULL, &ev, 0) != 1 ||
		    ev.events != WOKEN)
			_exit(1);
		store(WORD, 1);
		if (kevent_get_events(self->q.fd, 0, 1, NULL, &ev, 0))
			_exit(2);
		/* Nor does a change that it makes to the watch. */
		if (modify_one(Q, &w, KEVENT_MODIFY_ARG) != 1)
			_exit(3);
		_exit(0);
	}
	EXPECT_EQ(0, child_status(pid));
	EXPECT_WAKES(0, 1);
	if (KIND == SHARED)
		EXPECT_REPORTED(1, CHANGED, 1);
	EXPECT_EMPTY(Q, COPY);
	EXPECT_WAKES(1, 1);
	EXPECT_REPORTED(1, WOKEN, load(WORD));
}

/* What waits in the memory of a process goes with that. */
struct going {
	int q;
	struct kevent_watch w[4];
};

static void __attribute__((constructor)) execed(void)
{
	struct going s;

	if (!exec_state(&s, sizeof(s)))
		return;
	/* Until it is reported. */
	pause();
	_exit(0);
}

static int watch_and_go(struct queue *q, enum kind is, __u32 *word,
			struct gate *ready, struct gate *go, bool exec)
{
	struct going s = { .q = q->fd };

	if (add(q, &s.w[0], is, word, EDGE | VANISHED, 1) != 1 ||
	    add(q, &s.w[1], is, word, EDGE, 2) != 1 ||
	    add(q, &s.w[2], is, word, DISABLED | VANISHED, 3) != 1 ||
	    add(q, &s.w[3], PRIVATE, word, VANISHED, 4) != 1)
		return 1;
	gate_open(ready);
	gate_pass(go);
	if (exec)
		exec_again(&s, sizeof(s));
	return 0;
}

static void going_test(struct __test_metadata *_metadata, struct queue *q,
		       enum kind kind, __u32 *word, bool exec)
{
	struct gate ready, go;
	struct kevent_event ev;
	unsigned int seen = 0;
	pid_t pid;
	int i;

	ASSERT_EQ(0, gate_init(&ready));
	ASSERT_EQ(0, gate_init(&go));
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid)
		_exit(watch_and_go(q, kind, word, &ready, &go, exec));
	ASSERT_TRUE(gate_pass(&ready));
	EXPECT_EQ(4, nr_watches(q->fd));
	if (kind == SHARED) {
		EXPECT_EQ(1, wake(kind, word, 1));
		ASSERT_EQ(1, take_next(q, true, &ev));
		EXPECT_EQ(1, ev.user_data);
		EXPECT_EQ(WOKEN, ev.events);
	}
	gate_open(&go);
	for (i = 0; i < 3; i++) {
		ASSERT_EQ(1, take_next(q, true, &ev));
		EXPECT_EQ(0, ev.events);
		EXPECT_EQ(KEVENT_SOURCE_FUTEX | KEVENT_INFO_VANISHED,
			  ev.info & 0xffff);
		seen |= 1 << ev.user_data;
	}
	EXPECT_EQ(0x1a, seen);
	/* There is no waiter any more. */
	EXPECT_EQ(0, wake(kind, word, INT_MAX));
	EXPECT_EQ(0, take_now(q, true, &ev));
	EXPECT_EQ(1, nr_watches(q->fd));
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	EXPECT_EQ(1, nr_watches(q->fd));
	EXPECT_EQ(0, take_now(q, true, &ev));
}

TEST_F(futex, maker_exits)
{
	going_test(_metadata, Q, KIND, WORD, false);
}

TEST_F(futex, maker_executes)
{
	going_test(_metadata, Q, KIND, WORD, true);
}

/* A process with everything exits, in whichever order things go. */
TEST_F(futex, all_goes)
{
	pid_t pid;
	int i;

	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		struct kevent_watch w;
		struct queue q[2];

		for (i = 0; i < 100; i++) {
			if (i % 50 == 0 &&
			    queue_open(&q[i / 50], variant->entries) < 0)
				_exit(1);
			if (add(&q[i / 50], &w, KIND, WORD + i,
				i % 3 ? EDGE : VANISHED, i) != 1)
				_exit(2);
		}
		if (wake(KIND, WORD, 1) != 1)
			_exit(3);
		_exit(0);
	}
	EXPECT_EQ(0, child_status(pid));
	for (i = 0; i < 100; i++)
		EXPECT_EQ(0, wake(KIND, WORD + i, 1));
}

/* The child has the same memory: it is as good as its parent. */
struct sharing {
	int fd;
	struct kevent_event ev;
};

static int sharing_child(void *arg)
{
	struct kevent_event other;
	struct sharing *s = arg;

	if (kevent_get_events(s->fd, 1, 1, NULL, &s->ev, 0) != 1)
		return 1;
	return kevent_get_events(s->fd, 0, 1, NULL, &other, 0) ? 2 : 0;
}

TEST_F(futex, memory_is_shared_with_a_child)
{
	struct sharing s = { .fd = self->q.fd };
	const size_t size = 1 << 16;
	struct kevent_watch w;
	char *stack;
	pid_t pid;

	ASSERT_EQ(1, add(Q, &w, KIND, WORD, EDGE | VANISHED, 1));
	EXPECT_WAKES(1, 1);
	stack = mmap(NULL, size, PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, stack);
	pid = clone(sharing_child, stack + size, CLONE_VM | CLONE_VFORK |
		    SIGCHLD, &s);
	ASSERT_LE(0, pid);
	EXPECT_EQ(0, child_status(pid));
	EXPECT_EQ(WOKEN, s.ev.events);
	/* It waits again, and does not mind that the child is gone. */
	EXPECT_WAKES(1, 1);
	EXPECT_REPORTED(1, WOKEN, 0);
	munmap(stack, size);
}

/*
 * Many at once, and a ring that is too small.
 */
#define MANY	500

TEST(overflow)
{
	static struct kevent_watch w[MANY];
	static __u32 words[MANY];
	struct kevent_event ev;
	struct queue q;
	int i, round, sum, nr[MANY] = {};

	ASSERT_LE(0, queue_open(&q, 2));
	for (i = 0; i < MANY; i++)
		ASSERT_EQ(1, add(&q, &w[i], PRIVATE, &words[i],
				 i % 2 ? EDGE : 0, i));
	for (round = 1; round <= 3; round++) {
		for (i = 0; i < MANY; i++) {
			store(&words[i], round);
			ASSERT_EQ(1, wake(PRIVATE, &words[i], 1));
		}
		for (sum = 0; sum < MANY; sum++) {
			ASSERT_EQ(1, take_next(&q, sum % 3 == 0, &ev));
			ASSERT_GT(MANY, ev.user_data);
			EXPECT_EQ(WOKEN, ev.events);
			EXPECT_EQ(round, ev.data);
			ASSERT_EQ(round, ++nr[ev.user_data]);
		}
		/* All of them wait again after this, however many there are. */
		ASSERT_EQ(0, take_now(&q, true, &ev));
	}
	queue_close(&q);
	for (i = 0; i < MANY; i++)
		ASSERT_EQ(0, wake(PRIVATE, &words[i], 1));
}

/*
 * Races.
 */
#define ROUNDS	4000
#define TIMEOUT	100

struct changer {
	enum kind kind;
	__u32 *word;
	unsigned int rounds;
};

static void *change_main(void *arg)
{
	struct changer *c = arg;
	unsigned int seed = 1, i;

	for (i = 1; i <= c->rounds; i++) {
		store(c->word, i);
		wake(c->kind, c->word, INT_MAX);
		dawdle(&seed, 2000);
		if (i % 64 == 0)
			sched_yield();
	}
	return NULL;
}

/*
 * Sleeps until the word has its last value.  A change that is lost leaves it
 * asleep.
 */
static bool follow(struct queue *q, bool copy, enum kind kind, __u32 *word,
		   __u32 flags, unsigned int rounds)
{
	struct changer c = { kind, word, rounds };
	struct kevent_watch w;
	struct kevent_event ev;
	pthread_t thread;
	__s64 last = 0;
	__u32 seen;

	store(word, 0);
	if (add(q, &w, kind, word, flags, 1) != 1)
		return false;
	if (pthread_create(&thread, NULL, change_main, &c))
		return false;
	for (seen = 0; seen != rounds; seen = load(word)) {
		if (take_next(q, copy, &ev) != 1 || ev.user_data != 1 ||
		    !ev.events || ev.events & ~BOTH)
			return false;
		/* Never back. */
		if (ev.data < last || ev.data > rounds)
			return false;
		last = ev.data;
		if (flags & ONESHOT) {
			w = futex_watch(kind, word, BOTH, flags | EXPECT, 1);
			w.arg[3] = ev.data;
			if (add_one(q, &w) != 1)
				return false;
		}
		if (flags & DISPATCH &&
		    modify_one(q, &w, KEVENT_MODIFY_ENABLE) != 1)
			return false;
	}
	pthread_join(thread, NULL);
	remove_one(q, w.handle);
	queue_drain(q);
	return true;
}

TEST_F_TIMEOUT(futex, no_change_is_lost, TIMEOUT)
{
	static const __u32 modes[] = { 0, EDGE, DISPATCH, ONESHOT };
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(modes); i++)
		ASSERT_TRUE(follow(Q, COPY, KIND, WORD, modes[i], ROUNDS));
	EXPECT_EQ(0, nr_watches(self->q.fd));
	EXPECT_WAKES(0, INT_MAX);
}

struct sides {
	struct queue q;
	enum kind kind;
	__u32 *word;
	unsigned int seed;
	int woken;
};

static void side_wakes(void *arg)
{
	struct sides *s = arg;

	dawdle(&s->seed, 500);
	s->woken = wake(s->kind, s->word, INT_MAX);
}

/* Each wake-up is reported, or was not counted, or came with what was removed. */
TEST_F_TIMEOUT(futex, removed_while_it_is_woken, TIMEOUT)
{
	struct sides s = { .kind = KIND, .word = WORD, .seed = 1 };
	unsigned int seed = 2, i;
	struct kevent_event ev;
	struct kevent_watch w;
	struct racer r;

	ASSERT_EQ(0, racer_start(&r, side_wakes, &s));
	for (i = 0; i < ROUNDS / 2; i++) {
		ASSERT_EQ(1, add(Q, &w, KIND, WORD, i % 2 ? EDGE : ONESHOT, i));
		racer_go(&r);
		dawdle(&seed, 1500);
		if (i % 4 < 2) {
			ASSERT_EQ(1, remove_one(Q, w.handle));
			racer_wait(&r);
			ASSERT_EQ(0, take_now(Q, COPY, &ev));
		} else {
			if (i % 2)
				modify_one(Q, &w, KEVENT_MODIFY_DISABLE);
			racer_wait(&r);
			/* It is kept until the watch is enabled. */
			if (i % 2) {
				ASSERT_EQ(0, take_now(Q, COPY, &ev));
				modify_one(Q, &w, KEVENT_MODIFY_ENABLE);
			}
			ASSERT_EQ(s.woken, take_now(Q, COPY, &ev));
			remove_one(Q, w.handle);
		}
		ASSERT_EQ(0, wake(KIND, WORD, INT_MAX));
	}
	racer_stop(&r);
	EXPECT_EMPTY(Q, COPY);
}

/* The queue goes while its watch is woken. */
TEST_F_TIMEOUT(futex, queue_goes_while_it_is_woken, TIMEOUT)
{
	struct sides s = { .kind = KIND, .word = WORD, .seed = 1 };
	unsigned int seed = 2, i;
	struct kevent_watch w;
	struct racer r;

	ASSERT_EQ(0, racer_start(&r, side_wakes, &s));
	for (i = 0; i < ROUNDS / 8; i++) {
		ASSERT_LE(0, queue_open(&s.q, variant->entries));
		ASSERT_EQ(1, add(&s.q, &w, KIND, WORD, 0, i));
		racer_go(&r);
		dawdle(&seed, 1500);
		queue_close(&s.q);
		racer_wait(&r);
		ASSERT_EQ(0, wake(KIND, WORD, INT_MAX));
	}
	racer_stop(&r);
}

static void side_requeues(void *arg)
{
	struct sides *s = arg;
	int op = FUTEX_REQUEUE | private_flag(s->kind);

	syscall(SYS_futex, s->word, op, 0, INT_MAX, s->word + 64, 0);
	syscall(SYS_futex, s->word + 64, op, s->seed++ % 3 == 0, INT_MAX,
		s->word, 0);
}

TEST_F_TIMEOUT(futex, removed_while_it_is_requeued, TIMEOUT)
{
	struct sides s = { .kind = KIND, .word = WORD };
	unsigned int seed = 2, i;
	struct kevent_watch w;
	struct racer r;

	ASSERT_EQ(0, racer_start(&r, side_requeues, &s));
	for (i = 0; i < ROUNDS / 2; i++) {
		ASSERT_EQ(1, add(Q, &w, KIND, WORD, EDGE, i));
		racer_go(&r);
		dawdle(&seed, 1500);
		if (i % 2)
			modify_one(Q, &w, KEVENT_MODIFY_ARG);
		ASSERT_EQ(1, remove_one(Q, w.handle));
		racer_wait(&r);
		ASSERT_EQ(0, wake(KIND, WORD, INT_MAX));
		ASSERT_EQ(0, wake(KIND, WORD + 64, INT_MAX));
	}
	racer_stop(&r);
	EXPECT_EMPTY(Q, COPY);
}

static void *resize_main(void *arg)
{
	static const int slots[] = { 16, 64, 4, 256 };
	bool *stop = arg;
	int i = 0;

	while (!__atomic_load_n(stop, __ATOMIC_ACQUIRE))
		prctl(PR_FUTEX_HASH, PR_FUTEX_HASH_SET_SLOTS, slots[i++ % 4],
		      0);
	return NULL;
}

TEST_F_TIMEOUT(futex, hash_changes_meanwhile, TIMEOUT)
{
	bool stop = false;
	pthread_t thread;

	ASSERT_EQ(0, pthread_create(&thread, NULL, resize_main, &stop));
	EXPECT_TRUE(follow(Q, COPY, KIND, WORD, EDGE, ROUNDS / 4));
	EXPECT_TRUE(follow(Q, COPY, KIND, WORD, ONESHOT, ROUNDS / 4));
	__atomic_store_n(&stop, true, __ATOMIC_RELEASE);
	pthread_join(thread, NULL);
}

/* Processes that go while their words are woken, by others. */
TEST_F_TIMEOUT(futex, maker_exits_while_it_is_woken, TIMEOUT)
{
	struct kevent_event ev;
	pid_t pid;
	int i, reported = 0, vanished = 0;

	if (KIND != SHARED)
		SKIP(return, "no other process has the word");
	for (i = 0; i < 200; i++) {
		pid = fork();
		ASSERT_LE(0, pid);
		if (!pid) {
			struct kevent_watch w;

			_exit(add(Q, &w, KIND, WORD, EDGE | VANISHED, i) != 1);
		}
		while (!vanished) {
			wake(KIND, WORD, 1);
			while (take_now(Q, true, &ev)) {
				ASSERT_EQ(i, ev.user_data);
				if (ev.info & KEVENT_INFO_VANISHED)
					vanished++;
				else
					reported++;
			}
		}
		ASSERT_EQ(1, vanished);
		ASSERT_GE(1, reported);
		vanished = 0;
		reported = 0;
		ASSERT_EQ(0, child_status(pid));
	}
	EXPECT_EQ(0, nr_watches(self->q.fd));
}

/*
 * Another process removes the watches of a process that ends.  The buckets of its
 * private futexes go with it.
 */
TEST_F_TIMEOUT(futex, removed_while_its_maker_exits, TIMEOUT)
{
	enum { WATCHES = 32 };
	size_t size = WATCHES * sizeof(__u64);
	unsigned int seed = 1;
	struct kevent_event ev;
	struct kevent_watch w;
	struct gate ready;
	__u64 *handles;
	int i, j, ret;
	pid_t pid;

	handles = mmap(NULL, size, PROT_READ | PROT_WRITE,
		       MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, handles);
	ASSERT_EQ(0, gate_init(&ready));
	for (i = 0; i < 200; i++) {
		pid = fork();
		ASSERT_LE(0, pid);
		if (!pid) {
			for (j = 0; j < WATCHES; j++) {
				if (add(Q, &w, KIND, WORD, EDGE | VANISHED,
					i) != 1)
					_exit(1);
				handles[j] = w.handle;
			}
			gate_open(&ready);
			_exit(0);
		}
		ASSERT_TRUE(gate_pass(&ready));
		dawdle(&seed, 200000);
		for (j = 0; j < WATCHES; j++) {
			ret = remove_one(Q, handles[j]);
			if (ret != 1)
				ASSERT_EQ(-ENOENT, ret);
		}
		ASSERT_EQ(0, child_status(pid));
		EXPECT_EQ(0, nr_watches(self->q.fd));
		/* Who went before it was removed has reported so. */
		while (take_now(Q, true, &ev)) {
			ASSERT_EQ(i, ev.user_data);
			ASSERT_TRUE(ev.info & KEVENT_INFO_VANISHED);
		}
		EXPECT_WAKES(0, INT_MAX);
	}
	munmap(handles, size);
}

TEST_HARNESS_MAIN
