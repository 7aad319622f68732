// SPDX-License-Identifier: GPL-2.0
/*
 * Tracepoints: each one fires when it should, with the right numbers, in the
 * right order.
 */
#include <sys/mount.h>
#include <sys/stat.h>

#include "kevent_poll_test.h"

#define TRACEFS	"/sys/kernel/tracing"

static bool write_text(const char *dir, const char *name, const char *text)
{
	char path[192];
	bool ok;
	int fd;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	fd = open(path, O_WRONLY | O_CLOEXEC | O_TRUNC);
	if (fd < 0)
		return false;
	ok = write(fd, text, strlen(text)) == (ssize_t)strlen(text);
	close(fd);
	return ok;
}

/* The number by which traces name the queue; 0 if it has none. */
static unsigned long long queue_id(const struct queue *q)
{
	unsigned long long id = 0;
	char path[64], line[256];
	FILE *f;

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", q->fd);
	f = fopen(path, "r");
	if (!f)
		return 0;
	while (fgets(line, sizeof(line), f)) {
		if (sscanf(line, "id:\t%llu", &id) == 1)
			break;
	}
	fclose(f);
	return id;
}

static int post(const struct queue *q, __u64 user_data, unsigned int flags)
{
	struct kevent_event ev = { .events = 5, .user_data = user_data };

	return kevent_post(q->fd, &ev, sizeof(ev), 1, flags);
}

/* What is traced of one queue. */
struct tracer {
	char dir[64];		/* an instance of its own */
	unsigned long long id;
	FILE *file;
};

FIXTURE(trace)
{
	struct tracer t;
	struct queue q;
	int fd;			/* to be watched */
};

FIXTURE_VARIANT(trace)
{
	unsigned int entries;
};

FIXTURE_VARIANT_ADD(trace, ring)
{
	.entries = 2,
};

FIXTURE_VARIANT_ADD(trace, no_ring)
{
	.entries = 0,
};

FIXTURE_SETUP(trace)
{
	self->q.fd = -1;
	self->fd = -1;
	if (geteuid())
		SKIP(return, "needs to be root");
	if (access(TRACEFS "/instances", F_OK) &&
	    mount("tracefs", TRACEFS, "tracefs", 0, NULL))
		SKIP(return, "no tracefs");
	if (access(TRACEFS "/events/kevent", F_OK))
		SKIP(return, "no tracepoints");
	snprintf(self->t.dir, sizeof(self->t.dir), TRACEFS "/instances/kevent-%d",
		 getpid());
	if (mkdir(self->t.dir, 0700)) {
		self->t.dir[0] = 0;
		SKIP(return, "no instances of the tracer");
	}
	/* What is traced on several CPUs comes in the right order. */
	ASSERT_TRUE(write_text(self->t.dir, "trace_clock", "global"));
	ASSERT_TRUE(write_text(self->t.dir, "events/kevent/enable", "1"));
	ASSERT_LE(0, queue_open(&self->q, variant->entries));
	self->t.id = queue_id(&self->q);
	ASSERT_NE(0, self->t.id);
	self->fd = new_file();
	ASSERT_LE(0, self->fd);
}

FIXTURE_TEARDOWN(trace)
{
	if (self->t.file)
		fclose(self->t.file);
	if (self->fd >= 0)
		close(self->fd);
	if (self->q.fd >= 0)
		queue_close(&self->q);
	if (self->t.dir[0]) {
		write_text(self->t.dir, "events/kevent/enable", "0");
		rmdir(self->t.dir);
	}
}

/* The next line about the queue, without its number; empty if there is none. */
static void next_line(struct tracer *t, char *to, size_t size)
{
	char path[128], line[512], prefix[32], *event, *fields;
	size_t len;

	to[0] = 0;
	if (!t->file) {
		snprintf(path, sizeof(path), "%s/trace", t->dir);
		t->file = fopen(path, "r");
		if (!t->file)
			return;
	}
	len = snprintf(prefix, sizeof(prefix), ": id=%llu", t->id);
	while (fgets(line, sizeof(line), t->file)) {
		event = strstr(line, ": kevent_");
		fields = event ? strstr(event + 2, prefix) : NULL;
		if (!fields || (fields[len] != ' ' && fields[len] != '\n'))
			continue;
		line[strcspn(line, "\n")] = 0;
		*fields = 0;
		/* The lines begin with "kevent_", which is known. */
		snprintf(to, size, "%s%s", event + 9, fields + len);
		return;
	}
}

/* Forgets what has been traced, and looks at what comes. */
static bool begin(struct tracer *t)
{
	if (t->file)
		fclose(t->file);
	t->file = NULL;
	return write_text(t->dir, "trace", "");
}

/* The next line is this one. */
#define EXPECT_LINE(...)						\
do {									\
	char __want[256], __got[256];					\
									\
	snprintf(__want, sizeof(__want), __VA_ARGS__);			\
	next_line(&self->t, __got, sizeof(__got));			\
	EXPECT_STREQ(__want, __got);					\
} while (0)

#define EXPECT_END()	EXPECT_LINE("%s", "")

/* What follows an event for which no thread waits. */
#define EXPECT_SKIP()	EXPECT_LINE("skip_wake waiters=0")

/* How a posted event with the number @seq gets in, and comes out. */
#define EXPECT_POST(index, seq)						\
	EXPECT_LINE("post place=-1 index=%u source=%u events=5 user_data=%x", \
		    (index), KEVENT_SOURCE_USER, (seq))

#define EXPECT_DEFER(seq)						\
	EXPECT_LINE("defer place=-1 source=%u events=5 user_data=%x",	\
		    KEVENT_SOURCE_USER, (seq))

#define EXPECT_CONSUME(seq)						\
	EXPECT_LINE("consume source=%u events=5 user_data=%x",		\
		    KEVENT_SOURCE_USER, (seq))

TEST(queues_have_different_ids)
{
	unsigned long long first;
	struct queue q;

	ASSERT_LE(0, queue_open(&q, 2));
	first = queue_id(&q);
	EXPECT_LT(0, first);
	queue_close(&q);
	ASSERT_LE(0, queue_open(&q, 2));
	EXPECT_LT(first, queue_id(&q));
	queue_close(&q);
}

TEST_F(trace, posts)
{
	struct kevent_event ev[4];

	ASSERT_TRUE(begin(&self->t));
	ASSERT_EQ(1, post(&self->q, 1, 0));
	ASSERT_EQ(1, post(&self->q, 2, 0));
	ASSERT_EQ(1, post(&self->q, 3, KEVENT_POST_DEFER));
	ASSERT_EQ(3, kevent_get_events(self->q.fd, 3, 4, NULL, ev, 0));
	if (variant->entries) {
		EXPECT_POST(0, 1);
		EXPECT_SKIP();
		EXPECT_POST(1, 2);
		EXPECT_SKIP();
		EXPECT_DEFER(3);
		EXPECT_CONSUME(1);
		EXPECT_POST(2, 3);
		EXPECT_SKIP();
		EXPECT_CONSUME(2);
		EXPECT_CONSUME(3);
	} else {
		EXPECT_DEFER(1);
		EXPECT_SKIP();
		EXPECT_DEFER(2);
		EXPECT_SKIP();
		EXPECT_DEFER(3);
		EXPECT_SKIP();
		EXPECT_CONSUME(1);
		EXPECT_CONSUME(2);
		EXPECT_CONSUME(3);
	}
	EXPECT_END();
}

/* A program that takes events out of the ring is not seen. */
TEST_F(trace, ring_is_private)
{
	struct kevent_event ev;

	if (!variant->entries)
		SKIP(return, "no ring");
	ASSERT_EQ(1, post(&self->q, 1, 0));
	ASSERT_TRUE(begin(&self->t));
	ASSERT_EQ(1, ring_take(&self->q, &ev));
	EXPECT_END();
}

TEST_F(trace, watches)
{
	struct kevent_watch w = file_watch(self->fd, KEVENT_WATCH_EDGE, 0xabc);
	struct kevent_event ev;
	__u32 place;

	ASSERT_TRUE(begin(&self->t));
	ASSERT_EQ(1, add_one(&self->q, &w));
	place = w.handle;
	ASSERT_EQ(0, fire(self->fd));
	ASSERT_EQ(0, fire(self->fd));
	ASSERT_EQ(1, kevent_get_events(self->q.fd, 1, 1, NULL, &ev, 0));
	ASSERT_EQ(1, remove_one(&self->q, w.handle));

	EXPECT_LINE("add handle=%016llx source=%u flags=%x ident=%d events=%x user_data=abc",
		    w.handle, KEVENT_SOURCE_POLL, KEVENT_WATCH_EDGE, self->fd,
		    KEVENT_POLL_IN);
	if (variant->entries) {
		EXPECT_LINE("post place=%u index=0 source=%u events=%x user_data=abc",
			    place, KEVENT_SOURCE_POLL, KEVENT_POLL_IN);
		EXPECT_SKIP();
		EXPECT_LINE("merge place=%u index=0 source=%u events=%x user_data=abc",
			    place, KEVENT_SOURCE_POLL, KEVENT_POLL_IN);
	} else {
		EXPECT_LINE("defer place=%u source=%u events=%x user_data=abc",
			    place, KEVENT_SOURCE_POLL, KEVENT_POLL_IN);
		EXPECT_SKIP();
	}
	EXPECT_LINE("consume source=%u events=%x user_data=abc",
		    KEVENT_SOURCE_POLL, KEVENT_POLL_IN);
	EXPECT_LINE("remove handle=%016llx source=%u user_data=abc", w.handle,
		    KEVENT_SOURCE_POLL);
	EXPECT_END();
}

TEST_F(trace, watch_that_finds_no_slot)
{
	struct kevent_watch w = file_watch(self->fd, KEVENT_WATCH_EDGE, 0xabc);
	__u32 place;

	if (!variant->entries)
		SKIP(return, "no ring");
	ASSERT_EQ(1, add_one(&self->q, &w));
	place = w.handle;
	ASSERT_EQ(1, post(&self->q, 1, 0));
	ASSERT_EQ(1, post(&self->q, 2, 0));
	ASSERT_TRUE(begin(&self->t));
	ASSERT_EQ(0, fire(self->fd));
	ASSERT_EQ(3, queue_drain(&self->q));
	EXPECT_LINE("defer place=%u source=%u events=%x user_data=abc", place,
		    KEVENT_SOURCE_POLL, KEVENT_POLL_IN);
	EXPECT_CONSUME(1);
	EXPECT_LINE("post place=%u index=2 source=%u events=%x user_data=abc",
		    place, KEVENT_SOURCE_POLL, KEVENT_POLL_IN);
	EXPECT_SKIP();
	EXPECT_CONSUME(2);
	EXPECT_LINE("consume source=%u events=%x user_data=abc",
		    KEVENT_SOURCE_POLL, KEVENT_POLL_IN);
	EXPECT_END();
}

/* However a watch goes, and when it could not be made after all. */
TEST_F(trace, ends)
{
	struct kevent_watch w = file_watch(self->fd, 0, 1);
	char line[256], want[256];

	ASSERT_TRUE(begin(&self->t));
	ASSERT_EQ(1, add_one(&self->q, &w));
	close(self->fd);
	self->fd = -1;
	next_line(&self->t, line, sizeof(line));
	EXPECT_EQ(0, strncmp("add ", line, 4));
	EXPECT_LINE("remove handle=%016llx source=%u user_data=1", w.handle,
		    KEVENT_SOURCE_POLL);
	EXPECT_END();

	ASSERT_TRUE(begin(&self->t));
	w = file_watch(1000, 0, 2);
	ASSERT_EQ(-EBADF, add_one(&self->q, &w));
	next_line(&self->t, line, sizeof(line));
	EXPECT_EQ(0, strncmp("add ", line, 4));
	next_line(&self->t, line, sizeof(line));
	EXPECT_EQ(0, strncmp("remove ", line, 7));
	EXPECT_END();

	ASSERT_TRUE(begin(&self->t));
	w = timer_watch(3, 1, 0);
	w.flags = KEVENT_WATCH_ONESHOT;
	ASSERT_EQ(1, add_one(&self->q, &w));
	while (!queue_drain(&self->q))
		usleep(1000);
	queue_refill(&self->q);
	/* That may be noticed before or after the event is taken. */
	snprintf(want, sizeof(want),
		 "remove handle=%016llx source=%u user_data=3", w.handle,
		 KEVENT_SOURCE_TIMER);
	do {
		next_line(&self->t, line, sizeof(line));
	} while (line[0] && strncmp("remove ", line, 7));
	EXPECT_STREQ(want, line);
}

TEST_F(trace, wake_ups)
{
	struct waiter w;

	ASSERT_EQ(0, waiter_start(&w, self->q.fd, 0, 2));
	ASSERT_TRUE(sleeper_asleep(&w.sleeper));
	ASSERT_TRUE(begin(&self->t));
	ASSERT_EQ(1, post(&self->q, 1, 0));
	ASSERT_EQ(1, post(&self->q, 2, 0));
	ASSERT_EQ(2, sleeper_join(&w.sleeper));
	if (variant->entries)
		EXPECT_POST(0, 1);
	else
		EXPECT_DEFER(1);
	EXPECT_LINE("skip_wake waiters=1");
	if (variant->entries)
		EXPECT_POST(1, 2);
	else
		EXPECT_DEFER(2);
	EXPECT_LINE("wake");
	EXPECT_END();
}

TEST_F(trace, nothing_while_it_is_off)
{
	ASSERT_TRUE(write_text(self->t.dir, "events/kevent/enable", "0"));
	ASSERT_TRUE(begin(&self->t));
	ASSERT_EQ(1, post(&self->q, 1, 0));
	ASSERT_EQ(1, queue_drain(&self->q));
	EXPECT_END();
	ASSERT_TRUE(write_text(self->t.dir, "events/kevent/kevent_consume/enable",
			       "1"));
	ASSERT_TRUE(begin(&self->t));
	ASSERT_EQ(1, post(&self->q, 2, 0));
	ASSERT_EQ(1, queue_drain(&self->q));
	EXPECT_CONSUME(2);
	EXPECT_END();
}

TEST_HARNESS_MAIN
