// SPDX-License-Identifier: GPL-2.0
/*
 * What fdinfo reports of a queue: counters, and a line for each watch.
 */
#include "kevent_poll_test.h"

#define ENTRIES	8

/* A line of fdinfo. */
struct line {
	unsigned long long handle, ident, user_data;
	unsigned int source, flags, events;
	char state[16];
};

static FILE *fdinfo_open(pid_t pid, int fd)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/fdinfo/%d", pid, fd);
	return fopen(path, "r");
}

/* Reads the lines of up to @max watches; how many there are, or -1. */
static int read_watches(pid_t pid, int fd, struct line *lines, int max)
{
	char text[512], rest;
	struct line l;
	int nr = 0, at = 0;
	FILE *f = fdinfo_open(pid, fd);

	if (!f)
		return -1;
	while (fgets(text, sizeof(text), f)) {
		if (strncmp(text, "watch:", 6))
			continue;
		memset(&l, 0, sizeof(l));
		if (sscanf(text, "watch: handle:%16llx source:%u flags:%x %n",
			   &l.handle, &l.source, &l.flags, &at) != 3 ||
		    sscanf(text + at,
			   "ident:%llu events:%x user_data:%llx state:%15s%c",
			   &l.ident, &l.events, &l.user_data, l.state,
			   &rest) != 5 || rest != '\n') {
			ksft_print_msg("cannot be parsed: %s", text);
			nr = -2;
			break;
		}
		if (nr < max)
			lines[nr] = l;
		nr++;
	}
	fclose(f);
	return nr;
}

/* The number behind a name, or -1. */
static long long value_of(int fd, const char *name)
{
	size_t len = strlen(name);
	long long value = -1;
	char line[512];
	FILE *f = fdinfo_open(getpid(), fd);

	if (!f)
		return -1;
	while (fgets(line, sizeof(line), f)) {
		if (!strncmp(line, name, len) && line[len] == ':' &&
		    line[len + 1] == '\t')
			value = strtoll(line + len + 2, NULL, 10);
	}
	fclose(f);
	return value;
}

FIXTURE(fdinfo)
{
	struct queue q;
	int fd;
};

FIXTURE_VARIANT(fdinfo)
{
	unsigned int entries;
	bool copy;
};

FIXTURE_VARIANT_ADD(fdinfo, ring)
{
	.entries = ENTRIES,
};

FIXTURE_VARIANT_ADD(fdinfo, no_ring)
{
	.copy = true,
};

FIXTURE_SETUP(fdinfo)
{
	ASSERT_LE(0, queue_open(&self->q, variant->entries));
	self->fd = new_file();
	ASSERT_LE(0, self->fd);
}

FIXTURE_TEARDOWN(fdinfo)
{
	queue_close(&self->q);
	close(self->fd);
}

#define Q	(&self->q)
#define COPY	(variant->copy)

/* There is exactly one line, and it reports of this watch. */
#define EXPECT_LINE(watch, bits, is)					\
do {									\
	const struct kevent_watch *__w = (watch);			\
	struct line __l = {};						\
									\
	ASSERT_EQ(1, read_watches(getpid(), self->q.fd, &__l, 1));	\
	EXPECT_EQ(__w->handle, __l.handle);				\
	EXPECT_EQ(__w->source, __l.source);				\
	EXPECT_EQ((__u32)(bits), __l.flags);				\
	EXPECT_EQ(__w->ident, __l.ident);				\
	EXPECT_EQ(__w->events, __l.events);				\
	EXPECT_EQ(__w->user_data, __l.user_data);			\
	EXPECT_STREQ((is), __l.state);					\
} while (0)

TEST_F(fdinfo, how_to_map_the_ring)
{
	EXPECT_EQ(self->q.args.mmap_size, value_of(self->q.fd, "mmap_size"));
	EXPECT_EQ(self->q.args.entries_offset,
		  value_of(self->q.fd, "entries_offset"));
}

TEST_F(fdinfo, watch_of_a_file)
{
	struct kevent_watch w = file_watch(self->fd, KEVENT_WATCH_EDGE |
					   KEVENT_WATCH_VANISHED,
					   0xfedcba9876543210);

	EXPECT_EQ(0, read_watches(getpid(), self->q.fd, NULL, 0));
	w.events = KEVENT_POLL_IN | KEVENT_POLL_RDHUP;
	ASSERT_EQ(1, add_one(Q, &w));
	EXPECT_LINE(&w, w.flags, "on");
	w.user_data = 7;
	ASSERT_EQ(1, modify_one(Q, &w, KEVENT_MODIFY_USER_DATA));
	EXPECT_LINE(&w, w.flags, "on");
	w.events = KEVENT_POLL_PRI;
	ASSERT_EQ(1, modify_one(Q, &w, KEVENT_MODIFY_EVENTS));
	EXPECT_LINE(&w, w.flags, "on");
	w.flags = KEVENT_WATCH_DISPATCH;
	ASSERT_EQ(1, modify_one(Q, &w, KEVENT_MODIFY_MODE));
	EXPECT_LINE(&w, w.flags, "on");
	ASSERT_EQ(1, remove_one(Q, w.handle));
	EXPECT_EQ(0, read_watches(getpid(), self->q.fd, NULL, 0));
}

TEST_F(fdinfo, watch_of_a_timer)
{
	struct kevent_watch w = timer_watch(3, HOUR, 0);

	w.flags = KEVENT_WATCH_ONESHOT;
	ASSERT_EQ(1, add_one(Q, &w));
	EXPECT_LINE(&w, w.flags, "on");
	ASSERT_EQ(1, remove_one(Q, w.handle));
	EXPECT_EQ(0, read_watches(getpid(), self->q.fd, NULL, 0));
}

TEST_F(fdinfo, switched_off_and_on)
{
	__u32 off = KEVENT_WATCH_DISABLED;
	struct kevent_watch w;
	struct line l = {};

	ASSERT_EQ(1, add_file(Q, &w, self->fd, off, 1));
	ASSERT_EQ(1, read_watches(getpid(), self->q.fd, &l, 1));
	EXPECT_STREQ("off", l.state);
	EXPECT_EQ(0, l.flags & ~off);
	ASSERT_EQ(1, modify_one(Q, &w, KEVENT_MODIFY_ENABLE));
	ASSERT_EQ(1, read_watches(getpid(), self->q.fd, &l, 1));
	EXPECT_STREQ("on", l.state);
	ASSERT_EQ(1, modify_one(Q, &w, KEVENT_MODIFY_DISABLE));
	ASSERT_EQ(1, read_watches(getpid(), self->q.fd, &l, 1));
	EXPECT_STREQ("off", l.state);
}

TEST_F(fdinfo, switched_off_by_its_event)
{
	struct kevent_watch w;

	ASSERT_EQ(1, add_file(Q, &w, self->fd, KEVENT_WATCH_DISPATCH, 1));
	EXPECT_LINE(&w, w.flags, "on");
	ASSERT_EQ(0, fire(self->fd));
	EXPECT_READABLE(Q, COPY, 1);
	EXPECT_LINE(&w, w.flags, "off");
	EXPECT_EQ(1, quiet(self->fd));
	ASSERT_EQ(1, modify_one(Q, &w, KEVENT_MODIFY_ENABLE));
	EXPECT_LINE(&w, w.flags, "on");
	EXPECT_EMPTY(Q, COPY);
}

/* A watch that has gone by itself may have a line, but is not on. */
TEST_F(fdinfo, removed_by_its_event)
{
	struct kevent_watch w;
	struct line l = {};

	ASSERT_EQ(1, add_file(Q, &w, self->fd, KEVENT_WATCH_ONESHOT, 1));
	EXPECT_LINE(&w, w.flags, "on");
	ASSERT_EQ(0, fire(self->fd));
	EXPECT_READABLE(Q, COPY, 1);
	if (read_watches(getpid(), self->q.fd, &l, 1))
		EXPECT_STREQ("gone", l.state);
	EXPECT_EQ(0, nr_watches(self->q.fd));
	EXPECT_EMPTY(Q, COPY);
	EXPECT_EQ(0, read_watches(getpid(), self->q.fd, &l, 1));
}

TEST_F(fdinfo, closed)
{
	struct kevent_watch w[2];

	ASSERT_EQ(1, add_file(Q, &w[0], self->fd, 0, 1));
	ASSERT_EQ(1, add_file(Q, &w[1], self->fd, KEVENT_WATCH_VANISHED, 2));
	EXPECT_EQ(2, nr_watches(self->q.fd));
	ASSERT_EQ(0, close(self->fd));
	self->fd = -1;
	EXPECT_EQ(0, nr_watches(self->q.fd));
	EXPECT_VANISHED(Q, COPY, 2);
	EXPECT_EMPTY(Q, COPY);
	EXPECT_EQ(0, read_watches(getpid(), self->q.fd, NULL, 0));
}

/* More than fits into a page, each of them once. */
TEST_F(fdinfo, many_watches)
{
	enum { NR = 60 };
	struct kevent_watch w[NR];
	struct line *lines = calloc(NR, sizeof(*lines));
	bool seen[NR] = {};
	int i, n;

	ASSERT_NE(NULL, lines);
	for (i = 0; i < NR; i++) {
		if (i % 5 == 0)
			w[i] = file_watch(self->fd, i % 2 ? KEVENT_WATCH_EDGE :
					  0, i);
		else
			w[i] = timer_watch(i, HOUR, 0);
	}
	ASSERT_EQ(NR, kevent_add(self->q.fd, w, sizeof(*w), NR, 0));
	ASSERT_EQ(NR, read_watches(getpid(), self->q.fd, lines, NR));
	for (i = 0; i < NR; i++) {
		n = lines[i].user_data;
		ASSERT_GT(NR, n);
		ASSERT_FALSE(seen[n]);
		seen[n] = true;
		EXPECT_EQ(w[n].handle, lines[i].handle);
		EXPECT_EQ(w[n].source, lines[i].source);
		EXPECT_EQ(w[n].flags, lines[i].flags);
		EXPECT_EQ(w[n].ident, lines[i].ident);
	}
	for (i = 0; i < NR; i += 2)
		ASSERT_EQ(1, remove_one(Q, w[i].handle));
	EXPECT_EQ(NR / 2, read_watches(getpid(), self->q.fd, NULL, 0));
	free(lines);
}

/* Another process sees the same. */
TEST_F(fdinfo, of_another_process)
{
	struct kevent_watch w;
	struct line l = {};
	struct gate end;
	pid_t pid;

	ASSERT_EQ(0, gate_init(&end));
	ASSERT_EQ(1, add_file(Q, &w, self->fd, 0, 5));
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid)
		_exit(gate_pass(&end) ? 0 : 1);
	EXPECT_EQ(1, read_watches(pid, self->q.fd, &l, 1));
	EXPECT_EQ(w.handle, l.handle);
	EXPECT_EQ(5, l.user_data);
	gate_open(&end);
	EXPECT_EQ(0, child_status(pid));
}

/* Another user who may only post is not to know addresses of the owner. */
TEST_F(fdinfo, of_the_queue_of_another_user)
{
	const uid_t uid = 41111;
	struct kevent_watch w;
	pid_t pid;

	if (geteuid())
		SKIP(return, "needs to be root");
	ASSERT_EQ(1, add_file(Q, &w, self->fd, 0, 5));
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		if (setresuid(uid, uid, uid))
			_exit(1);
		if (value_of(self->q.fd, "watches") != 1)
			_exit(2);
		_exit(read_watches(getpid(), self->q.fd, NULL, 0) ? 3 : 0);
	}
	EXPECT_EQ(0, child_status(pid));
	EXPECT_EQ(1, read_watches(getpid(), self->q.fd, NULL, 0));
}

TEST_F(fdinfo, counters)
{
	struct kevent_event ev;
	struct kevent_watch w;
	int i;

	ASSERT_EQ(1, add_file(Q, &w, self->fd, KEVENT_WATCH_EDGE, 1));
	EXPECT_EQ(0, value_of(self->q.fd, "posted"));
	ASSERT_EQ(0, fire(self->fd));
	EXPECT_EQ(variant->entries ? 0 : 1, value_of(self->q.fd, "backlog"));
	for (i = 0; i < 3; i++)
		ASSERT_EQ(0, fire(self->fd));
	if (variant->entries) {
		EXPECT_EQ(1, value_of(self->q.fd, "posted"));
		EXPECT_EQ(3, value_of(self->q.fd, "merged"));
	}
	ASSERT_EQ(1, take_next(Q, COPY, &ev));
	if (variant->entries)
		EXPECT_EQ(3, KEVENT_INFO_MERGED(ev.info));
	EXPECT_EQ(0, value_of(self->q.fd, "backlog"));
}

/* A watch that finds the ring full is in the backlog, once. */
TEST_F(fdinfo, backlog)
{
	struct kevent_watch w;
	int i;

	if (!variant->entries)
		SKIP(return, "needs a ring");
	ASSERT_EQ(ENTRIES, seq_post(self->q.fd, 0, ENTRIES, 0));
	ASSERT_EQ(1, add_file(Q, &w, self->fd, KEVENT_WATCH_EDGE, 1));
	EXPECT_EQ(0, value_of(self->q.fd, "backlog"));
	for (i = 0; i < 3; i++)
		ASSERT_EQ(0, fire(self->fd));
	EXPECT_EQ(1, value_of(self->q.fd, "backlog"));
	EXPECT_EQ(1, value_of(self->q.fd, "deferred"));
	EXPECT_EQ(ENTRIES, value_of(self->q.fd, "posted"));
	EXPECT_EQ(ENTRIES + 1, queue_drain(Q));
	EXPECT_EQ(0, value_of(self->q.fd, "backlog"));
	EXPECT_EQ(ENTRIES + 1, value_of(self->q.fd, "posted"));
	/* Removed from there, it does not count any more. */
	ASSERT_EQ(ENTRIES, seq_post(self->q.fd, 0, ENTRIES, 0));
	ASSERT_EQ(0, fire(self->fd));
	EXPECT_EQ(1, value_of(self->q.fd, "backlog"));
	ASSERT_EQ(1, remove_one(Q, w.handle));
	EXPECT_EQ(0, value_of(self->q.fd, "backlog"));
}

/* However many there are, all are counted, and only the first have a line. */
TEST_F(fdinfo, lines_are_bounded)
{
	enum { NR = 200, TIMES = 50, LINES = 64 };
	struct kevent_watch w[NR];
	__u64 handles[NR];
	int i, n;

	for (i = 0; i < TIMES; i++) {
		for (n = 0; n < NR; n++)
			w[n] = timer_watch(n, HOUR, 0);
		ASSERT_EQ(NR, kevent_add(self->q.fd, w, sizeof(*w), NR, 0));
		for (n = 0; n < NR && !i; n++)
			handles[n] = w[n].handle;
	}
	EXPECT_EQ(NR * TIMES, value_of(self->q.fd, "watches"));
	EXPECT_EQ(LINES, read_watches(getpid(), self->q.fd, NULL, 0));
	/* Others take the place of those that are removed. */
	ASSERT_EQ(NR, kevent_remove(self->q.fd, handles, NR, 0));
	EXPECT_EQ(NR * (TIMES - 1), value_of(self->q.fd, "watches"));
	EXPECT_EQ(LINES, read_watches(getpid(), self->q.fd, NULL, 0));
}

static void change_watches(void *arg)
{
	const struct queue *q = arg;
	struct kevent_watch w[20];
	__u64 handles[20];
	int fd = new_file(), i, n;

	for (i = 0; i < 30; i++) {
		for (n = 0; n < 20; n++)
			w[n] = file_watch(fd, KEVENT_WATCH_VANISHED, 1);
		if (kevent_add(q->fd, w, sizeof(*w), 20, 0) != 20)
			break;
		for (n = 0; n < 20; n++)
			handles[n] = w[n].handle;
		if (i % 2) {
			kevent_remove(q->fd, handles, 20, 0);
		} else {
			close(fd);
			fd = new_file();
		}
	}
	close(fd);
}

/* Read while watches come and go: each line is a whole one. */
TEST_F(fdinfo, while_watches_change)
{
	struct racer racer;
	struct kevent_watch w;
	/* Those that have vanished and are not taken yet have lines, too. */
	enum { MOST = 1000 };
	struct line *l = calloc(MOST, sizeof(*l));
	int i, nr, found;

	ASSERT_NE(NULL, l);
	ASSERT_EQ(1, add_file(Q, &w, self->fd, 0, 77));
	ASSERT_EQ(0, racer_start(&racer, change_watches, Q));
	racer_go(&racer);
	while (__atomic_load_n(&racer.done, __ATOMIC_ACQUIRE) != 1) {
		nr = read_watches(getpid(), self->q.fd, l, MOST);
		ASSERT_LE(1, nr);
		ASSERT_GE(MOST, nr);
		for (i = 0, found = 0; i < nr; i++)
			found += l[i].user_data == 77;
		ASSERT_EQ(1, found);
		queue_drain(Q);
	}
	racer_stop(&racer);
	queue_drain(Q);
	EXPECT_EQ(1, read_watches(getpid(), self->q.fd, l, MOST));
	free(l);
}

TEST_HARNESS_MAIN
