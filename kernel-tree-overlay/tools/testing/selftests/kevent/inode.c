// SPDX-License-Identifier: GPL-2.0
/*
 * Watches of files and directories: what is reported of each change, to whom,
 * in which mode, and how such a watch ends.
 *
 * Each test has a mount namespace with an empty tmpfs of its own. What changes
 * a file reports so before it returns, so there is nothing to wait for.
 */
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "kevent_poll_test.h"

#define ENTRIES	8
#define DIR	"/tmp"

/* The tests are about files, so the names may be short. */
#define MODIFY		KEVENT_INODE_MODIFY
#define EXTEND		KEVENT_INODE_EXTEND
#define ATTRIB		KEVENT_INODE_ATTRIB
#define LINK		KEVENT_INODE_LINK
#define RENAME		KEVENT_INODE_RENAME
#define DELETE		KEVENT_INODE_DELETE
#define OPEN		KEVENT_INODE_OPEN
#define CLOSE_WRITE	KEVENT_INODE_CLOSE_WRITE
#define CLOSE_NOWRITE	KEVENT_INODE_CLOSE_NOWRITE
#define CREATED		KEVENT_INODE_CHILD_CREATED
#define DELETED		KEVENT_INODE_CHILD_DELETED
#define MOVED_OUT	KEVENT_INODE_CHILD_MOVED_OUT
#define MOVED_IN	KEVENT_INODE_CHILD_MOVED_IN
#define TRUNCATE	KEVENT_INODE_TRUNCATE
#define ALL		0x3fffU

#define EDGE		KEVENT_WATCH_EDGE
#define ONESHOT		KEVENT_WATCH_ONESHOT
#define DISPATCH	KEVENT_WATCH_DISPATCH
#define DISABLED	KEVENT_WATCH_DISABLED
#define VANISHED	KEVENT_WATCH_VANISHED

/* For races. */
#define FILES	32
#define REPEATS	50

static void put_text(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY);

	if (fd < 0 || write(fd, text, strlen(text)) < 0)
		_exit(KSFT_SKIP);
	close(fd);
}

/* An empty tmpfs at DIR that only this process sees. */
static bool new_tmpfs(void)
{
	char map[32];

	if (geteuid()) {
		snprintf(map, sizeof(map), "0 %d 1", geteuid());
		if (unshare(CLONE_NEWUSER | CLONE_NEWNS))
			return false;
		put_text("/proc/self/setgroups", "deny");
		put_text("/proc/self/uid_map", map);
		snprintf(map, sizeof(map), "0 %d 1", getegid());
		put_text("/proc/self/gid_map", map);
	} else if (unshare(CLONE_NEWNS)) {
		return false;
	}
	return !mount("", "/", NULL, MS_REC | MS_PRIVATE, NULL) &&
	       !mount("kevent", DIR, "tmpfs", 0, "mode=0777") && !chdir(DIR);
}

static struct kevent_watch watch_inode(int fd, __u32 events, __u32 flags,
				       __u64 user_data)
{
	struct kevent_watch w = {
		.source = KEVENT_SOURCE_INODE,
		.flags = flags,
		.ident = fd,
		.events = events,
		.user_data = user_data,
	};

	return w;
}

/* Files by their names in DIR. */
static bool make_file(const char *name)
{
	int fd = open(name, O_WRONLY | O_CREAT | O_EXCL, 0666);

	return fd >= 0 && !close(fd);
}

static bool append(const char *name, const char *text)
{
	int fd = open(name, O_WRONLY | O_APPEND);
	ssize_t len = strlen(text);

	return fd >= 0 && write(fd, text, len) == len && !close(fd);
}

FIXTURE(inode)
{
	struct queue q;
	struct kevent_watch w;
	struct kevent_event ev;
	int file;	/* "file", read only */
	int dir;	/* "dir" */
};

FIXTURE_VARIANT(inode)
{
	unsigned int entries;
	bool copy;
};

FIXTURE_VARIANT_ADD(inode, ring)
{
	.entries = ENTRIES,
};

FIXTURE_VARIANT_ADD(inode, copied)
{
	.entries = ENTRIES,
	.copy = true,
};

FIXTURE_VARIANT_ADD(inode, no_ring)
{
	.copy = true,
};

FIXTURE_SETUP(inode)
{
	if (!new_tmpfs())
		SKIP(return, "no mount namespace");
	ASSERT_LE(0, queue_open_shared(&self->q, variant->entries));
	if (!(self->q.args.features &
	      KEVENT_FEATURE_SOURCE(KEVENT_SOURCE_INODE)))
		SKIP(return, "this kernel has no fsnotify");
	ASSERT_TRUE(make_file("file"));
	ASSERT_EQ(0, mkdir("dir", 0777));
	self->file = open("file", O_RDONLY);
	self->dir = open("dir", O_RDONLY);
	ASSERT_LE(0, self->file);
	ASSERT_LE(0, self->dir);
}

FIXTURE_TEARDOWN(inode)
{
	queue_close(&self->q);
}

#define Q	(&self->q)

#define ADD(fd, events, flags, value)					\
do {									\
	self->w = watch_inode((fd), (events), (flags), (value));	\
	ASSERT_EQ(1, add_one(Q, &self->w));				\
} while (0)

#define CHANGE(what)	EXPECT_EQ(1, modify_one(Q, &self->w, what))
#define REMOVE()	EXPECT_EQ(1, remove_one(Q, self->w.handle))

/* What was taken, by @take, is exactly this event, which stays in self->ev. */
#define TAKEN(take, queue, value, bits, flags)				\
do {									\
	memset(&self->ev, 0, sizeof(self->ev));				\
	ASSERT_EQ(1, take((queue), variant->copy, &self->ev));		\
	EXPECT_EQ((__u64)(value), self->ev.user_data);			\
	EXPECT_EQ((__u32)(bits), self->ev.events) {			\
		TH_LOG("%x instead of %x", self->ev.events, (bits));	\
	}								\
	EXPECT_EQ(KEVENT_SOURCE_INODE | (__u32)(flags),			\
		  self->ev.info & 0xffff);				\
} while (0)

#define EXPECT_NEXT_OF(queue, value, bits)	TAKEN(take_now, queue, value, bits, 0)
#define EXPECT_NEXT(value, bits)		EXPECT_NEXT_OF(Q, value, bits)
/* A worker may be about to report it. */
#define LAST(value, bits)						\
	TAKEN(take_next, Q, value, bits, KEVENT_INFO_VANISHED)
#define NOTHING()		EXPECT_EMPTY(Q, variant->copy)

/* One watch, of one thing that happens, reports these bits and no more. */
#define REPORTS(what, bits)						\
do {									\
	NOTHING();							\
	ASSERT_TRUE(what);						\
	EXPECT_NEXT(self->w.user_data, bits);				\
	NOTHING();							\
} while (0)

#define REPORTS_NOTHING(what)						\
do {									\
	ASSERT_TRUE(what);						\
	NOTHING();							\
} while (0)

TEST_F(inode, modify_and_extend)
{
	int fd = open("file", O_RDWR);

	ADD(self->file, MODIFY | EXTEND, 0, 1);
	REPORTS(write(fd, "12345", 5) == 5, MODIFY | EXTEND);
	EXPECT_EQ(5, self->ev.data);
	REPORTS(pwrite(fd, "abc", 3, 1) == 3, MODIFY);
	EXPECT_EQ(5, self->ev.data);
	REPORTS(pwrite(fd, "abc", 3, 3) == 3, MODIFY | EXTEND);
	EXPECT_EQ(6, self->ev.data);
	REPORTS(!ftruncate(fd, 2), MODIFY);
	EXPECT_EQ(2, self->ev.data);
	REPORTS(!truncate("file", 1LL << 33), MODIFY | EXTEND);
	EXPECT_EQ(1LL << 33, self->ev.data);
	REPORTS(!truncate("file", 100), MODIFY);
	REPORTS(!posix_fallocate(fd, 0, 50), MODIFY);
	EXPECT_EQ(100, self->ev.data);
	REPORTS(!posix_fallocate(fd, 0, 150), MODIFY | EXTEND);
	EXPECT_EQ(150, self->ev.data);
	/* None of these changes what is in it. */
	REPORTS_NOTHING(pread(fd, &self->ev, 1, 0) == 1);
	REPORTS_NOTHING(!fchmod(fd, 0600));
	REPORTS_NOTHING(!rename("file", "other"));
	REPORTS_NOTHING(!link("other", "file"));
	REPORTS_NOTHING(!close(fd));
	REMOVE();
	REPORTS_NOTHING(append("file", "x"));
}

/* In whichever way it gets shorter. */
TEST_F(inode, truncate)
{
	int fd = open("file", O_RDWR);

	ASSERT_EQ(10, write(fd, "1234567890", 10));
	ADD(self->file, TRUNCATE, 0, 1);
	REPORTS(!ftruncate(fd, 8), TRUNCATE);
	EXPECT_EQ(8, self->ev.data);
	REPORTS(!truncate("file", 7), TRUNCATE);
	EXPECT_EQ(7, self->ev.data);
	REPORTS_NOTHING(!ftruncate(fd, 7));
	REPORTS_NOTHING(!ftruncate(fd, 9));
	REPORTS_NOTHING(pwrite(fd, "x", 1, 0) == 1);
	REPORTS_NOTHING(append("file", "x"));
	REPORTS(!close(open("file", O_WRONLY | O_TRUNC)), TRUNCATE);
	EXPECT_EQ(0, self->ev.data);
	REPORTS_NOTHING(!close(open("file", O_WRONLY | O_TRUNC)));
	REPORTS_NOTHING(write(fd, "x", 1) == 1);
	REMOVE();
	ADD(self->file, MODIFY | EXTEND | TRUNCATE, 0, 2);
	REPORTS(!ftruncate(fd, 3), MODIFY | TRUNCATE);
	REPORTS(!ftruncate(fd, 13), MODIFY | EXTEND);
	/* Both, before the program has looked. */
	ASSERT_EQ(0, ftruncate(fd, 20));
	ASSERT_EQ(0, ftruncate(fd, 1));
	EXPECT_NEXT(2, MODIFY | EXTEND | TRUNCATE);
	NOTHING();
	REMOVE();
}

/* What happened before it was asked for is not taken for what happens then. */
TEST_F(inode, truncate_is_asked_for_later)
{
	int fd = open("file", O_RDWR);

	ASSERT_EQ(10, write(fd, "1234567890", 10));
	ADD(self->file, OPEN, 0, 1);
	REPORTS_NOTHING(!ftruncate(fd, 5));
	self->w.events = EXTEND | TRUNCATE;
	CHANGE(KEVENT_MODIFY_EVENTS);
	REPORTS_NOTHING(pwrite(fd, "abc", 3, 0) == 3);
	REPORTS(!ftruncate(fd, 4), TRUNCATE);
	REPORTS(!ftruncate(fd, 5), EXTEND);
	REMOVE();
}

TEST_F(inode, only_what_is_of_interest)
{
	int fd = open("file", O_RDWR);

	ADD(self->file, EXTEND, 0, 1);
	REPORTS(write(fd, "12345", 5) == 5, EXTEND);
	REPORTS_NOTHING(pwrite(fd, "123", 3, 0) == 3);
	REPORTS_NOTHING(!ftruncate(fd, 1));
	REPORTS(!ftruncate(fd, 2), EXTEND);
	REMOVE();
	ADD(self->file, MODIFY, 0, 2);
	REPORTS(!ftruncate(fd, 3), MODIFY);
	REMOVE();
	ADD(self->file, LINK, 0, 3);
	REPORTS_NOTHING(!fchmod(fd, 0600));
	REPORTS(!link("file", "other"), LINK);
	REMOVE();
	ADD(self->file, DELETE, 0, 4);
	REPORTS_NOTHING(!unlink("other"));
	REPORTS(!unlink("file"), DELETE);
	REPORTS_NOTHING(!close(fd));
}

/* Interest in nothing is allowed, and reports nothing. */
TEST_F(inode, no_interest)
{
	ADD(self->file, 0, 0, 1);
	REPORTS_NOTHING(append("file", "x"));
	REPORTS_NOTHING(!rename("file", "other"));
	REPORTS_NOTHING(!unlink("other"));
	REMOVE();
	ADD(self->dir, 0, VANISHED, 2);
	REPORTS_NOTHING(make_file("dir/file") && !unlink("dir/file"));
	ASSERT_EQ(0, rmdir("dir"));
	LAST(2, DELETE);
	NOTHING();
}

TEST_F(inode, attributes)
{
	struct timespec times[2] = { { 1, 0 }, { 2, 0 } };

	ADD(self->file, ALL & ~(OPEN | CLOSE_WRITE | CLOSE_NOWRITE), 0, 1);
	REPORTS(!chmod("file", 0640), ATTRIB);
	REPORTS(!chown("file", 0, 0), ATTRIB);
	REPORTS(!utimensat(AT_FDCWD, "file", times, 0), ATTRIB);
	REMOVE();
	ADD(self->dir, ALL & ~(OPEN | CLOSE_WRITE | CLOSE_NOWRITE), 0, 2);
	REPORTS(!chmod("dir", 0750), ATTRIB);
	EXPECT_LE(0, self->ev.data);
	REPORTS(!fchmod(self->dir, 0755), ATTRIB);
}

TEST_F(inode, links)
{
	ADD(self->file, ALL, 0, 1);
	REPORTS(!link("file", "two"), LINK | ATTRIB);
	REPORTS(!link("two", "three"), LINK | ATTRIB);
	REPORTS(!unlink("file"), LINK | ATTRIB);
	REPORTS(!unlink("three"), LINK | ATTRIB);
	ASSERT_TRUE(make_file("other"));
	/* Over one of two. */
	REPORTS(!link("two", "three"), LINK | ATTRIB);
	REPORTS(!rename("other", "three"), LINK | ATTRIB);
	/* What its other name is does not matter. */
	ASSERT_TRUE(append("two", "x"));
	EXPECT_NEXT(1, MODIFY | EXTEND | OPEN | CLOSE_WRITE);
}

/* A directory has a link for each one in it. */
TEST_F(inode, links_of_a_directory)
{
	ADD(self->dir, LINK, 0, 1);
	REPORTS(!mkdir("dir/a", 0777), LINK);
	REPORTS(!mkdir("dir/b", 0777), LINK);
	REPORTS(!rename("dir/b", "b"), LINK);
	REPORTS(!rename("b", "dir/b"), LINK);
	REPORTS(!rmdir("dir/a"), LINK);
	REPORTS_NOTHING(make_file("dir/file"));
	REPORTS_NOTHING(!rename("dir/b", "dir/c"));
	REPORTS_NOTHING(!unlink("dir/file"));
}

TEST_F(inode, renamed)
{
	ADD(self->file, ALL, 0, 1);
	REPORTS(!rename("file", "other"), RENAME);
	EXPECT_EQ(0, self->ev.data);
	REPORTS(!rename("other", "dir/other"), RENAME);
	REPORTS(!rename("dir/other", "file"), RENAME);
	/* Its directory is renamed: it has its name still. */
	ASSERT_EQ(0, rename("file", "dir/file"));
	EXPECT_NEXT(1, RENAME);
	REPORTS_NOTHING(!rename("dir", "moved"));
	REMOVE();
	ADD(self->dir, RENAME, 0, 2);
	REPORTS(!rename("moved", "dir"), RENAME);
	REPORTS_NOTHING(!rename("dir/file", "dir/other"));
}

TEST_F(inode, deleted)
{
	int fd = open("file", O_RDWR);

	ADD(self->file, ALL, 0, 1);
	REPORTS(!unlink("file"), DELETE | LINK | ATTRIB);
	/* It is there still, and things happen to it. */
	REPORTS(write(fd, "x", 1) == 1, MODIFY | EXTEND);
	REPORTS(!fchmod(fd, 0600), ATTRIB);
	REPORTS(!close(fd), CLOSE_WRITE);
	REMOVE();
	NOTHING();
}

TEST_F(inode, deleted_under_one_of_two_names)
{
	ASSERT_EQ(0, link("file", "dir/file"));
	ADD(self->file, DELETE, 0, 1);
	REPORTS_NOTHING(!unlink("file"));
	REPORTS(!unlink("dir/file"), DELETE);
}

TEST_F(inode, deleted_by_a_rename)
{
	ASSERT_TRUE(make_file("other"));
	ADD(self->file, ALL, 0, 1);
	REPORTS(!rename("other", "file"), DELETE | LINK | ATTRIB);
	REPORTS_NOTHING(!unlink("file"));
	REMOVE();
	ASSERT_EQ(0, mkdir("other", 0777));
	ADD(self->dir, DELETE, 0, 2);
	REPORTS(!rename("other", "dir"), DELETE);
	REPORTS_NOTHING(!rmdir("dir"));
}

/* While it is open, which is not when inotify has IN_DELETE_SELF. */
TEST_F(inode, deleted_directory)
{
	ADD(self->dir, ALL, 0, 1);
	REPORTS(!rmdir("dir"), DELETE | LINK);
	NOTHING();
}

/* A file without a name is not deleted, it gets one. */
TEST_F(inode, file_without_a_name)
{
	char path[32];
	int fd;

	fd = open(".", O_TMPFILE | O_RDWR, 0600);
	if (fd < 0)
		SKIP(return, "no O_TMPFILE");
	ADD(fd, ALL, VANISHED, 1);
	REPORTS(write(fd, "x", 1) == 1, MODIFY | EXTEND);
	REPORTS(!fchmod(fd, 0600), ATTRIB);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	REPORTS(!linkat(AT_FDCWD, path, AT_FDCWD, "name", AT_SYMLINK_FOLLOW),
		LINK | ATTRIB);
	if (variant->entries) {
		ASSERT_EQ(0, unlink("name"));
		EXPECT_NEXT(1, LINK | ATTRIB);
		LAST(1, DELETE);
	}
	NOTHING();
}

TEST_F(inode, opened_and_closed)
{
	int fd, copy;

	ADD(self->file, OPEN | CLOSE_WRITE | CLOSE_NOWRITE, 0, 1);
	REPORTS((fd = open("file", O_RDONLY)) >= 0, OPEN);
	/* It is the last of its descriptors that closes it. */
	REPORTS_NOTHING((copy = dup(fd)) >= 0);
	REPORTS_NOTHING(!close(fd));
	REPORTS(!close(copy), CLOSE_NOWRITE);
	REPORTS((fd = open("file", O_WRONLY)) >= 0, OPEN);
	REPORTS(!close(fd), CLOSE_WRITE);
	REPORTS((fd = open("file", O_RDWR)) >= 0, OPEN);
	REPORTS(!close(fd), CLOSE_WRITE);
	/* This is no open file. */
	REPORTS_NOTHING((fd = open("file", O_PATH)) >= 0);
	REPORTS_NOTHING(!close(fd));
	REMOVE();
	ADD(self->dir, OPEN | CLOSE_WRITE | CLOSE_NOWRITE, 0, 2);
	REPORTS((fd = open("dir", O_RDONLY)) >= 0, OPEN);
	REPORTS(!close(fd), CLOSE_NOWRITE);
}

/* Not to its own watch: that goes first. */
TEST_F(inode, own_close_is_not_reported)
{
	struct kevent_watch other;
	int fd = open("file", O_RDWR);

	ADD(self->file, ALL, 0, 1);
	other = watch_inode(fd, ALL, 0, 2);
	ASSERT_EQ(1, add_one(Q, &other));
	ASSERT_EQ(0, close(fd));
	EXPECT_NEXT(1, CLOSE_WRITE);
	NOTHING();
	EXPECT_TRUE(watch_gone(Q, &other));
	EXPECT_FALSE(watch_gone(Q, &self->w));
	ASSERT_EQ(0, close(self->file));
	NOTHING();
	EXPECT_TRUE(watch_gone(Q, &self->w));
}

TEST_F(inode, children_come_and_go)
{
	struct sockaddr_un addr = { AF_UNIX, "dir/socket" };
	int sock = socket(AF_UNIX, SOCK_DGRAM, 0);

	ADD(self->dir, ALL & ~LINK, 0, 1);
	REPORTS(make_file("dir/file"), CREATED);
	REPORTS(!mkdir("dir/dir", 0777), CREATED);
	REPORTS(!symlink("file", "dir/symlink"), CREATED);
	REPORTS(!mkfifo("dir/fifo", 0600), CREATED);
	REPORTS(!bind(sock, (void *)&addr, sizeof(addr)), CREATED);
	REPORTS(!link("dir/file", "dir/link"), CREATED);
	EXPECT_LE(0, self->ev.data);
	REPORTS(!unlink("dir/link"), DELETED);
	REPORTS(!unlink("dir/file"), DELETED);
	REPORTS(!unlink("dir/socket"), DELETED);
	REPORTS(!unlink("dir/symlink"), DELETED);
	REPORTS(!rmdir("dir/dir"), DELETED);
	/* Several merge. */
	ASSERT_TRUE(make_file("dir/1") && make_file("dir/2"));
	ASSERT_EQ(0, unlink("dir/1"));
	EXPECT_NEXT(1, CREATED | DELETED);
	EXPECT_EQ(2, KEVENT_INFO_MERGED(self->ev.info));
	close(sock);
}

/* What is reported of a child is that it is there, or is not. */
TEST_F(inode, changes_of_children_are_not_reported)
{
	int fd;

	ASSERT_TRUE(make_file("dir/file"));
	ASSERT_EQ(0, mkdir("dir/dir", 0777));
	ADD(self->dir, ALL, 0, 1);
	REPORTS_NOTHING(append("dir/file", "x"));
	REPORTS_NOTHING(!chmod("dir/file", 0600));
	REPORTS_NOTHING(!chmod("dir/dir", 0700));
	REPORTS_NOTHING(make_file("dir/dir/file"));
	REPORTS_NOTHING(!link("dir/file", "dir/dir/link"));
	REPORTS_NOTHING((fd = open("dir/dir", O_RDONLY)) >= 0);
	REPORTS_NOTHING(!close(fd));
}

TEST_F(inode, children_move)
{
	struct kevent_event out;
	struct kevent_watch w;
	struct queue other;
	__u64 cookie;
	int fd;

	ASSERT_EQ(0, mkdir("to", 0777));
	fd = open("to", O_RDONLY);
	ASSERT_LE(0, queue_open(&other, variant->entries));
	ADD(self->dir, ALL & ~LINK, 0, 1);
	w = watch_inode(fd, ALL & ~LINK, 0, 2);
	ASSERT_EQ(1, add_one(&other, &w));

	/* From one to the other. */
	ASSERT_TRUE(make_file("dir/file"));
	EXPECT_NEXT(1, CREATED);
	ASSERT_EQ(0, rename("dir/file", "to/file"));
	EXPECT_NEXT(1, MOVED_OUT);
	out = self->ev;
	EXPECT_NEXT_OF(&other, 2, MOVED_IN);
	EXPECT_NE(0, out.extra);
	EXPECT_EQ(out.extra, self->ev.extra);
	cookie = out.extra;

	/* And back: that is another one. */
	ASSERT_EQ(0, rename("to/file", "dir/back"));
	EXPECT_NEXT_OF(&other, 2, MOVED_OUT);
	out = self->ev;
	EXPECT_NEXT(1, MOVED_IN);
	EXPECT_EQ(out.extra, self->ev.extra);
	EXPECT_NE(cookie, self->ev.extra);

	/* Both halves in one directory. */
	REPORTS(!rename("dir/back", "dir/file"), MOVED_OUT | MOVED_IN);
	EXPECT_LT(out.extra, self->ev.extra);

	/* From nowhere, to nowhere, and over another one. */
	ASSERT_TRUE(make_file("file2"));
	REPORTS(!rename("file2", "dir/file2"), MOVED_IN);
	REPORTS(!rename("dir/file2", "file2"), MOVED_OUT);
	REPORTS(!rename("file2", "dir/file"), MOVED_IN);

	/* If several merge, it is the last one's. */
	ASSERT_TRUE(make_file("1") && make_file("2") && make_file("3"));
	ASSERT_EQ(0, rename("1", "dir/1"));
	ASSERT_EQ(0, rename("2", "dir/2"));
	ASSERT_EQ(0, rename("dir/2", "to/2"));
	ASSERT_TRUE(make_file("dir/3"));
	EXPECT_NEXT(1, MOVED_IN | MOVED_OUT | CREATED);
	cookie = self->ev.extra;
	EXPECT_NEXT_OF(&other, 2, MOVED_IN);
	EXPECT_EQ(cookie, self->ev.extra);

	/* Each half of an exchange is a rename. */
	ASSERT_EQ(0, syscall(SYS_renameat2, AT_FDCWD, "dir/3", AT_FDCWD, "to/2",
			     2 /* RENAME_EXCHANGE */));
	EXPECT_NEXT(1, MOVED_OUT | MOVED_IN);
	EXPECT_NEXT_OF(&other, 2, MOVED_OUT | MOVED_IN);
	NOTHING();
	EXPECT_EMPTY(&other, variant->copy);
	queue_close(&other);
	close(fd);
}

/*
 * Modes. Changes are no state: nothing holds still, and nothing is reported
 * again.
 */
TEST_F(inode, level_and_edge_are_the_same)
{
	static const __u32 modes[] = { 0, EDGE };
	size_t i;

	for (i = 0; i < ARRAY_SIZE(modes); i++) {
		ADD(self->file, MODIFY, modes[i], i);
		REPORTS(append("file", "x"), MODIFY);
		NOTHING();
		EXPECT_EQ(0, queue_refill(Q));
		ASSERT_TRUE(append("file", "x") && append("file", "x"));
		EXPECT_NEXT(i, MODIFY);
		EXPECT_EQ(1, KEVENT_INFO_MERGED(self->ev.info));
		/* In the ring it is the size as of the post. */
		EXPECT_EQ(3 * (i + 1) - (variant->entries ? 1 : 0),
			  self->ev.data);
		NOTHING();
		CHANGE(KEVENT_MODIFY_EVENTS | KEVENT_MODIFY_MODE);
		NOTHING();
		REMOVE();
	}
}

TEST_F(inode, oneshot)
{
	ADD(self->file, MODIFY | ATTRIB, ONESHOT, 1);
	REPORTS(append("file", "x"), MODIFY);
	EXPECT_TRUE(watch_gone(Q, &self->w));
	REPORTS_NOTHING(append("file", "x"));
}

TEST_F(inode, dispatch_keeps_what_happens_meanwhile)
{
	ADD(self->file, MODIFY | EXTEND | ATTRIB, DISPATCH, 1);
	REPORTS(append("file", "1"), MODIFY | EXTEND);
	REPORTS_NOTHING(!chmod("file", 0600));
	REPORTS_NOTHING(!truncate("file", 0));
	CHANGE(KEVENT_MODIFY_ENABLE);
	EXPECT_NEXT(1, MODIFY | ATTRIB);
	EXPECT_EQ(0, self->ev.data);
	NOTHING();
	/* That is all there was. */
	CHANGE(KEVENT_MODIFY_ENABLE);
	NOTHING();
	REPORTS(append("file", "1"), MODIFY | EXTEND);
	CHANGE(KEVENT_MODIFY_ENABLE);
	NOTHING();
	/* What is of no interest any more. */
	REPORTS(append("file", "1"), MODIFY | EXTEND);
	ASSERT_EQ(0, chmod("file", 0640));
	ASSERT_TRUE(append("file", "1"));
	self->w.events = ATTRIB;
	CHANGE(KEVENT_MODIFY_EVENTS | KEVENT_MODIFY_ENABLE);
	EXPECT_NEXT(1, ATTRIB);
	self->w.events = MODIFY | ATTRIB;
	CHANGE(KEVENT_MODIFY_EVENTS | KEVENT_MODIFY_ENABLE);
	NOTHING();
}

TEST_F(inode, disabled_keeps_what_happens_meanwhile)
{
	ADD(self->dir, CREATED | DELETED | MOVED_IN, DISABLED, 1);
	REPORTS_NOTHING(make_file("dir/file"));
	REPORTS_NOTHING(!rename("file", "dir/moved"));
	CHANGE(KEVENT_MODIFY_ENABLE);
	EXPECT_NEXT(1, CREATED | MOVED_IN);
	EXPECT_NE(0, self->ev.extra);
	NOTHING();
	CHANGE(KEVENT_MODIFY_DISABLE);
	REPORTS_NOTHING(!unlink("dir/file"));
	CHANGE(KEVENT_MODIFY_ENABLE);
	EXPECT_NEXT(1, DELETED);
	CHANGE(KEVENT_MODIFY_DISABLE);
	REPORTS_NOTHING(!unlink("dir/moved"));
	REMOVE();
	NOTHING();
}

/* What has happened is not lost, as far as it is of interest. */
TEST_F(inode, unconsumed_while_it_is_modified)
{
	ADD(self->file, MODIFY | ATTRIB, 0, 1);
	ASSERT_TRUE(append("file", "x"));
	self->w.user_data = 2;
	CHANGE(KEVENT_MODIFY_USER_DATA);
	ASSERT_EQ(0, chmod("file", 0600));
	self->w.user_data = 3;
	CHANGE(KEVENT_MODIFY_USER_DATA);
	EXPECT_NEXT(3, MODIFY | ATTRIB);
	NOTHING();
	ASSERT_TRUE(append("file", "x"));
	ASSERT_EQ(0, chmod("file", 0640));
	self->w.events = ATTRIB;
	CHANGE(KEVENT_MODIFY_EVENTS);
	EXPECT_NEXT(3, ATTRIB);
	NOTHING();
	ASSERT_EQ(0, chmod("file", 0600));
	CHANGE(KEVENT_MODIFY_DISABLE);
	NOTHING();
	self->w.user_data = 4;
	CHANGE(KEVENT_MODIFY_USER_DATA);
	NOTHING();
	CHANGE(KEVENT_MODIFY_ENABLE);
	EXPECT_NEXT(4, ATTRIB);
	NOTHING();
	/* The event of a DISPATCH watch that has fired. */
	self->w.flags = DISPATCH;
	CHANGE(KEVENT_MODIFY_MODE);
	ASSERT_EQ(0, chmod("file", 0640));
	self->w.user_data = 5;
	CHANGE(KEVENT_MODIFY_USER_DATA);
	EXPECT_NEXT(5, ATTRIB);
	REPORTS_NOTHING(!chmod("file", 0600));
	CHANGE(KEVENT_MODIFY_ENABLE);
	EXPECT_NEXT(5, ATTRIB);
}

TEST_F(inode, interest_is_changed)
{
	ADD(self->file, 0, EDGE, 1);
	REPORTS_NOTHING(append("file", "x"));
	self->w.events = MODIFY;
	CHANGE(KEVENT_MODIFY_EVENTS);
	REPORTS(append("file", "x"), MODIFY);
	self->w.events = OPEN | LINK;
	CHANGE(KEVENT_MODIFY_EVENTS);
	REPORTS(append("file", "x"), OPEN);
	REPORTS(!link("file", "link"), LINK);
	self->w.events = 0;
	CHANGE(KEVENT_MODIFY_EVENTS);
	REPORTS_NOTHING(append("file", "x"));
	REPORTS_NOTHING(!unlink("link"));
	/* While it is off. */
	CHANGE(KEVENT_MODIFY_DISABLE);
	self->w.events = MODIFY;
	CHANGE(KEVENT_MODIFY_EVENTS);
	REPORTS_NOTHING(append("file", "x"));
	CHANGE(KEVENT_MODIFY_ENABLE);
	EXPECT_NEXT(1, MODIFY);
}

TEST_F(inode, modify_refuses)
{
	static const __u32 wrong[] = {
		KEVENT_WATCH_EXCLUSIVE, KEVENT_WATCH_ABSTIME, KEVENT_WATCH_TAKE,
		KEVENT_WATCH_EXPECT, ONESHOT | DISPATCH, 1U << 9,
	};
	size_t i;

	ADD(self->file, MODIFY, EDGE, 1);
	for (i = 0; i < ARRAY_SIZE(wrong); i++) {
		self->w.flags = wrong[i];
		EXPECT_EQ(-EINVAL, modify_one(Q, &self->w, KEVENT_MODIFY_MODE));
	}
	self->w.flags = EDGE;
	for (i = 14; i < 32; i++) {
		self->w.events = 1U << i;
		EXPECT_EQ(-EINVAL, modify_one(Q, &self->w,
					      KEVENT_MODIFY_EVENTS));
	}
	self->w.events = ATTRIB;
	for (i = 0; i < 4; i++) {
		self->w.arg[i] = 1;
		EXPECT_EQ(-EINVAL, modify_one(Q, &self->w, KEVENT_MODIFY_ARG |
					      KEVENT_MODIFY_EVENTS));
		self->w.arg[i] = 0;
	}
	/* None of that has changed anything. */
	REPORTS_NOTHING(!chmod("file", 0600));
	REPORTS(append("file", "x"), MODIFY);
	CHANGE(KEVENT_MODIFY_ARG | KEVENT_MODIFY_EVENTS);
	REPORTS(!chmod("file", 0600), ATTRIB);
}

/*
 * The end.
 */
TEST_F(inode, vanishes_when_it_is_deleted)
{
	static const __u32 modes[] = { 0, EDGE, DISPATCH, ONESHOT };
	size_t i;
	int fd;

	for (i = 0; i < ARRAY_SIZE(modes); i++) {
		ASSERT_TRUE(make_file("victim"));
		fd = open("victim", O_RDONLY);
		ADD(fd, DELETE | MODIFY, modes[i] | VANISHED, i);
		REPORTS_NOTHING(!rename("victim", "dir/victim"));
		ASSERT_EQ(0, unlink("dir/victim"));
		LAST(i, DELETE);
		EXPECT_TRUE(watch_gone(Q, &self->w));
		REPORTS_NOTHING(!ftruncate(fd, 0) || errno == EINVAL);
		REPORTS_NOTHING(!close(fd));
		/* A directory. */
		ASSERT_EQ(0, mkdir("victim", 0777));
		fd = open("victim", O_RDONLY);
		ADD(fd, DELETED, modes[i] | VANISHED, i);
		ASSERT_EQ(0, rmdir("victim"));
		LAST(i, DELETE);
		EXPECT_TRUE(watch_gone(Q, &self->w));
		REPORTS_NOTHING(!close(fd));
	}
}

/* Even if it is disabled, and with what was kept. */
TEST_F(inode, vanishes_while_switched_off)
{
	int fd, i;

	for (i = 0; i < 3; i++) {
		ASSERT_TRUE(make_file("victim"));
		fd = open("victim", O_RDONLY);
		ADD(fd, ALL, VANISHED | (i == 0 ? DISABLED : 0) |
		    (i == 1 ? DISPATCH : 0), i);
		if (i == 1)
			REPORTS(!chmod("victim", 0600), ATTRIB);
		if (i == 2)
			CHANGE(KEVENT_MODIFY_DISABLE);
		ASSERT_EQ(0, rename("victim", "renamed"));
		ASSERT_EQ(0, unlink("renamed"));
		LAST(i, RENAME | ATTRIB | LINK | DELETE);
		NOTHING();
		EXPECT_TRUE(watch_gone(Q, &self->w));
		close(fd);
		/* The same if it is closed. */
		ASSERT_TRUE(make_file("victim"));
		fd = open("victim", O_RDONLY);
		ADD(fd, RENAME, VANISHED | DISABLED, i);
		ASSERT_EQ(0, rename("victim", "renamed"));
		close(fd);
		LAST(i, RENAME);
		NOTHING();
		ASSERT_EQ(0, unlink("renamed"));
	}
}

/* What it reported before and is unconsumed comes before its last event. */
TEST_F(inode, vanishes_unconsumed)
{
	ADD(self->file, MODIFY | DELETE, VANISHED, 1);
	ASSERT_TRUE(append("file", "123"));
	ASSERT_EQ(0, unlink("file"));
	ASSERT_EQ(1, take_next(Q, variant->copy, &self->ev));
	EXPECT_EQ(3, self->ev.data);
	if (self->ev.events & DELETE) {
		/* Where it is not in a ring, it may be in the last one. */
		EXPECT_EQ(0, variant->entries);
		EXPECT_EQ(MODIFY | DELETE, self->ev.events);
		EXPECT_TRUE(self->ev.info & KEVENT_INFO_VANISHED);
	} else {
		EXPECT_EQ(MODIFY, self->ev.events);
		EXPECT_EQ(KEVENT_SOURCE_INODE, self->ev.info & 0xffff);
		LAST(1, DELETE);
	}
	NOTHING();
}

/* A thread that sleeps sees it. */
TEST_F(inode, vanishes_and_wakes)
{
	struct waiter waiter;

	ADD(self->dir, 0, VANISHED, 1);
	ASSERT_EQ(0, waiter_start(&waiter, self->q.fd, 0, 1));
	ASSERT_TRUE(sleeper_asleep(&waiter.sleeper));
	ASSERT_EQ(0, rmdir("dir"));
	EXPECT_EQ(1, sleeper_join(&waiter.sleeper));
	LAST(1, DELETE);
}

/* Pollers of the queue are woken, too, if they are interested. */
TEST_F(inode, vanishes_and_is_readable)
{
	struct pollfd pfd = { .fd = self->q.fd, .events = POLLIN };

	ADD(self->dir, 0, VANISHED, 1);
	EXPECT_EQ(0, poll(&pfd, 1, 0));
	ASSERT_EQ(0, rmdir("dir"));
	EXPECT_EQ(1, poll(&pfd, 1, 10000));
	LAST(1, DELETE);
}

TEST_F(inode, reported_of_vanishing_later)
{
	int fd;

	/* The flag comes after the deletion. */
	ADD(self->file, DELETE, 0, 1);
	REPORTS(!unlink("file"), DELETE);
	self->w.flags = VANISHED;
	CHANGE(KEVENT_MODIFY_MODE);
	LAST(1, DELETE);
	EXPECT_TRUE(watch_gone(Q, &self->w));
	NOTHING();
	/* It is said by the last event however that comes about. */
	ASSERT_TRUE(make_file("file"));
	fd = open("file", O_RDONLY);
	ADD(fd, 0, VANISHED, 3);
	ASSERT_EQ(0, unlink("file"));
	close(fd);
	LAST(3, DELETE);
	NOTHING();
	/* A watch that begins after it knows nothing of it. */
	ADD(self->file, DELETE | ATTRIB, VANISHED, 2);
	REPORTS(!fchmod(self->file, 0600), ATTRIB);
	REMOVE();
}

/* A worker is about to report it of each, while the file is closed. */
TEST_F(inode, closed_as_it_vanishes)
{
	int fd[FILES], reported[FILES];
	char name[16];
	int round, i;

	for (round = 0; round < REPEATS; round++) {
		memset(reported, 0, sizeof(reported));
		for (i = 0; i < FILES; i++) {
			snprintf(name, sizeof(name), "%d", i);
			ASSERT_TRUE(make_file(name));
			fd[i] = open(name, O_RDONLY);
			ADD(fd[i], DELETE, VANISHED, i);
		}
		for (i = 0; i < FILES; i++) {
			snprintf(name, sizeof(name), "%d", i);
			ASSERT_EQ(0, unlink(name));
		}
		for (i = 0; i < FILES; i++)
			ASSERT_EQ(0, close(fd[i]));
		while (take_now(Q, variant->copy, &self->ev) == 1) {
			ASSERT_GT(FILES, self->ev.user_data);
			reported[self->ev.user_data]++;
			EXPECT_EQ(DELETE, self->ev.events);
			EXPECT_TRUE(self->ev.info & KEVENT_INFO_VANISHED);
		}
		for (i = 0; i < FILES; i++) {
			ASSERT_EQ(1, reported[i]) {
				TH_LOG("round %d file %d", round, i);
			}
		}
	}
}

TEST_F(inode, closed)
{
	struct kevent_watch w[2];
	int fd[2], i;

	for (i = 0; i < 2; i++) {
		fd[i] = open("file", O_RDONLY);
		w[i] = watch_inode(fd[i], MODIFY, i ? VANISHED : 0, i);
		ASSERT_EQ(1, add_one(Q, &w[i]));
	}
	ASSERT_EQ(0, close(fd[0]));
	NOTHING();
	ASSERT_EQ(0, close(fd[1]));
	/* There is no bit for that. */
	LAST(1, 0);
	NOTHING();
	for (i = 0; i < 2; i++)
		EXPECT_TRUE(watch_gone(Q, &w[i]));
	REPORTS_NOTHING(append("file", "x"));
	/* What was reported and not taken goes with a watch without the flag. */
	fd[0] = open("file", O_RDONLY);
	ADD(fd[0], MODIFY, 0, 3);
	ASSERT_TRUE(append("file", "x"));
	ASSERT_EQ(0, close(fd[0]));
	NOTHING();
}

TEST_F(inode, duplicate_is_closed)
{
	int copy = dup(self->file);

	ADD(self->file, MODIFY, VANISHED, 1);
	REPORTS_NOTHING(!close(copy));
	REPORTS(append("file", "x"), MODIFY);
	/* And the other way round: the file stays open. */
	copy = dup(self->file);
	ASSERT_EQ(0, close(self->file));
	LAST(1, 0);
	REPORTS_NOTHING(append("file", "x"));
	close(copy);
}

TEST_F(inode, queue_is_closed)
{
	struct queue other;
	struct kevent_watch w = watch_inode(self->file, ALL, 0, 1);
	int i;

	for (i = 0; i < 20; i++) {
		ASSERT_LE(0, queue_open(&other, variant->entries));
		ASSERT_EQ(1, add_one(&other, &w));
		ASSERT_TRUE(append("file", "x"));
		queue_close(&other);
		ASSERT_TRUE(append("file", "x"));
	}
}

/*
 * Who is reported.
 */
TEST_F(inode, each_watch_is_reported)
{
	struct kevent_watch w[3];
	struct queue other;
	int i, fd = open("file", O_RDONLY);

	ASSERT_LE(0, queue_open(&other, variant->entries));
	/* Two of one descriptor, one of another one, and one in another queue. */
	ADD(self->file, MODIFY, 0, 0);
	w[0] = watch_inode(self->file, MODIFY | EXTEND, 0, 1);
	w[1] = watch_inode(fd, EXTEND | ATTRIB, 0, 2);
	for (i = 0; i < 2; i++)
		ASSERT_EQ(1, add_one(Q, &w[i]));
	w[2] = watch_inode(fd, MODIFY, 0, 3);
	ASSERT_EQ(1, add_one(&other, &w[2]));
	ASSERT_TRUE(append("file", "x"));
	for (i = 0; i < 3; i++) {
		static const __u32 bits[] = { MODIFY, MODIFY | EXTEND, EXTEND };

		ASSERT_EQ(1, take_now(Q, variant->copy, &self->ev));
		ASSERT_GT(3, self->ev.user_data);
		EXPECT_EQ(bits[self->ev.user_data], self->ev.events);
	}
	NOTHING();
	EXPECT_NEXT_OF(&other, 3, MODIFY);
	/* One goes, the others stay. */
	REMOVE();
	ASSERT_EQ(1, remove_one(Q, w[1].handle));
	ASSERT_EQ(0, truncate("file", 0));
	EXPECT_NEXT(1, MODIFY);
	NOTHING();
	EXPECT_NEXT_OF(&other, 3, MODIFY);
	queue_close(&other);
}

TEST_F(inode, other_process_changes_it)
{
	pid_t pid;

	ADD(self->file, MODIFY, 0, 1);
	pid = fork();
	if (!pid)
		_exit(!append("file", "x"));
	EXPECT_EQ(0, child_status(pid));
	EXPECT_NEXT(1, MODIFY);
	NOTHING();
}

TEST_F(inode, sleeper_is_woken)
{
	struct waiter waiter;

	ADD(self->dir, CREATED, 0, 1);
	ASSERT_EQ(0, waiter_start(&waiter, self->q.fd, 0, 1));
	ASSERT_TRUE(sleeper_asleep(&waiter.sleeper));
	ASSERT_TRUE(make_file("dir/file"));
	EXPECT_EQ(1, sleeper_join(&waiter.sleeper));
	EXPECT_NEXT(1, CREATED);
}

TEST_F(inode, fdinfo)
{
	char path[64], line[512], want[64];
	bool found = false;
	FILE *f;

	ADD(self->dir, CREATED, 0, 1);
	EXPECT_EQ(1, nr_watches(self->q.fd));
	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", self->q.fd);
	snprintf(want, sizeof(want), "source:7 flags:0 ident:%d events:200 ",
		 self->dir);
	f = fopen(path, "r");
	ASSERT_NE(NULL, f);
	while (fgets(line, sizeof(line), f))
		found |= !!strstr(line, want);
	fclose(f);
	EXPECT_TRUE(found);
}

/*
 * Processes. A watch is of a descriptor, in the table in which it was made.
 */
TEST_F(inode, child_closes_and_exits)
{
	pid_t pid;

	ADD(self->file, MODIFY, VANISHED, 1);
	pid = fork();
	if (!pid) {
		close(self->file);
		_exit(0);
	}
	EXPECT_EQ(0, child_status(pid));
	REPORTS(append("file", "x"), MODIFY);
}

TEST_F(inode, watch_of_a_child)
{
	struct kevent_watch w = watch_inode(self->file, MODIFY, 0, 1);
	struct gate ready, go;
	pid_t pid;

	ASSERT_EQ(0, gate_init(&ready));
	ASSERT_EQ(0, gate_init(&go));
	pid = fork();
	if (!pid) {
		if (add_one(Q, &w) != 1)
			_exit(1);
		gate_open(&ready);
		gate_pass(&go);
		_exit(0);
	}
	ASSERT_TRUE(gate_pass(&ready));
	/* Everybody takes from the queue. */
	self->w.user_data = 1;
	REPORTS(append("file", "x"), MODIFY);
	gate_open(&go);
	EXPECT_EQ(0, child_status(pid));
	EXPECT_EQ(0, nr_watches(self->q.fd));
	REPORTS_NOTHING(append("file", "x"));
}

TEST_F(inode, exec)
{
	struct kevent_watch w[2];
	int fd, pipes[2];
	pid_t pid;

	fd = open("dir", O_RDONLY | O_CLOEXEC);
	ASSERT_EQ(0, pipe2(pipes, O_CLOEXEC));
	w[0] = watch_inode(self->file, MODIFY, 0, 1);
	w[1] = watch_inode(fd, CREATED, VANISHED, 2);
	pid = fork();
	if (!pid) {
		if (add_one(Q, &w[0]) != 1 || add_one(Q, &w[1]) != 1)
			_exit(1);
		dup2(pipes[0], 0);
		execl("/bin/cat", "cat", NULL);
		_exit(2);
	}
	/* The one that is closed by it goes, and says so. */
	ASSERT_EQ(1, take_next(Q, variant->copy, &self->ev));
	EXPECT_EQ(2, self->ev.user_data);
	EXPECT_EQ(0, self->ev.events);
	EXPECT_TRUE(self->ev.info & KEVENT_INFO_VANISHED);
	REPORTS_NOTHING(make_file("dir/file"));
	self->w.user_data = 1;
	REPORTS(append("file", "x"), MODIFY);
	close(pipes[0]);
	close(pipes[1]);
	EXPECT_EQ(0, child_status(pid));
	EXPECT_EQ(0, nr_watches(self->q.fd));
	REPORTS_NOTHING(append("file", "x"));
}

TEST_F(inode, process_with_the_same_descriptors_closes)
{
	pid_t pid;

	ADD(self->file, MODIFY, VANISHED, 1);
	pid = fork_sharing_files();
	if (!pid)
		_exit(close(self->file));
	EXPECT_EQ(0, child_status(pid));
	LAST(1, 0);
	NOTHING();
}

/*
 * What cannot be watched.
 */
#define EXPECT_REFUSED(error, what)					\
do {									\
	struct kevent_watch __w = watch_inode((what), MODIFY, 0, 1);	\
									\
	EXPECT_EQ((error), add_one(Q, &__w));				\
	EXPECT_EQ((error), __w.result);					\
	EXPECT_EQ(0, nr_watches(self->q.fd));				\
} while (0)

TEST_F(inode, not_for_who_cannot_read)
{
	struct kevent_watch w;
	int fd;

	EXPECT_REFUSED(-EBADF, -1);
	fd = dup(self->file);
	close(fd);
	EXPECT_REFUSED(-EBADF, fd);
	w = watch_inode(0, MODIFY, 0, 1);
	w.ident = self->file + (1ULL << 32);
	EXPECT_EQ(-EBADF, add_one(Q, &w));
	EXPECT_REFUSED(-EBADF, open("file", O_PATH));
	EXPECT_REFUSED(-EBADF, open("dir", O_PATH));
	EXPECT_REFUSED(-EBADF, open("file", O_WRONLY));
	ADD(open("file", O_RDWR), MODIFY, 0, 1);
	/* It is the descriptor that counts, whichever process has it. */
	ASSERT_EQ(0, chmod("file", 0));
	ADD(self->file, MODIFY, 0, 1);
}

TEST_F(inode, only_files_and_directories)
{
	int fds[2];

	ASSERT_EQ(0, pipe(fds));
	EXPECT_REFUSED(-EINVAL, fds[0]);
	EXPECT_REFUSED(-EINVAL, fds[1]);
	EXPECT_REFUSED(-EINVAL, socket(AF_UNIX, SOCK_STREAM, 0));
	EXPECT_REFUSED(-EINVAL, new_file());
	EXPECT_REFUSED(-EINVAL, self->q.fd);
	EXPECT_REFUSED(-EINVAL, syscall(SYS_memfd_create, "memfd", 0));
	EXPECT_REFUSED(-EINVAL, syscall(SYS_pidfd_open, getpid(), 0));
	EXPECT_REFUSED(-EINVAL, open("/proc/self/ns/mnt", O_RDONLY));
	EXPECT_REFUSED(-EINVAL, open("/dev/null", O_RDWR));
	ASSERT_EQ(0, mkfifo("fifo", 0600));
	EXPECT_REFUSED(-EINVAL, open("fifo", O_RDWR));
	/* Files of any kind of filesystem. */
	ADD(open("/proc/self/status", O_RDONLY), OPEN, 0, 1);
	REPORTS(open("/proc/self/status", O_RDONLY) >= 0, OPEN);
	ADD(open("/proc/self", O_RDONLY), OPEN, 0, 1);
	ADD(open("/", O_RDONLY), CREATED, 0, 1);
}

TEST_F(inode, add_refuses)
{
	static const __u32 wrong[] = {
		KEVENT_WATCH_EXCLUSIVE, KEVENT_WATCH_ABSTIME, KEVENT_WATCH_TAKE,
		KEVENT_WATCH_EXPECT, ONESHOT | DISPATCH, 1U << 9, 1U << 31,
	};
	struct kevent_watch w;
	size_t i;
	int fd;

	for (i = 0; i < ARRAY_SIZE(wrong); i++) {
		w = watch_inode(self->file, MODIFY, wrong[i], 1);
		EXPECT_EQ(-EINVAL, add_one(Q, &w));
	}
	for (i = 0; i < 32; i++) {
		w = watch_inode(self->file, 1U << i, 0, 1);
		EXPECT_EQ(1U << i & ALL ? 1 : -EINVAL, add_one(Q, &w));
	}
	for (i = 0; i < 4; i++) {
		w = watch_inode(self->file, MODIFY, 0, 1);
		w.arg[i] = 1ULL << 63;
		EXPECT_EQ(-EINVAL, add_one(Q, &w));
	}
	EXPECT_EQ(14, nr_watches(self->q.fd));
	fd = sealed_queue(1 << KEVENT_SOURCE_TIMER);
	ASSERT_LE(0, fd);
	w = watch_inode(self->file, MODIFY, 0, 1);
	EXPECT_EQ(-EPERM, kevent_add(fd, &w, sizeof(w), 1, 0));
	close(fd);
}

/* A file of another user can be watched by those who may read it only. */
TEST_F(inode, other_user)
{
	pid_t pid;

	if (geteuid())
		SKIP(return, "needs to be root");
	ASSERT_TRUE(make_file("secret"));
	ASSERT_EQ(0, chmod("secret", 0600));
	pid = fork();
	if (!pid) {
		struct kevent_watch w;

		if (setresuid(41111, 41111, 41111))
			_exit(1);
		if (open("secret", O_RDONLY) >= 0)
			_exit(2);
		w = watch_inode(open("secret", O_PATH), MODIFY, 0, 1);
		if (add_one(Q, &w) != -EBADF)
			_exit(3);
		w = watch_inode(open("file", O_RDONLY), MODIFY, 0, 1);
		_exit(add_one(Q, &w) == 1 ? 0 : 4);
	}
	EXPECT_EQ(0, child_status(pid));
}

/*
 * Unmounting. The descriptor keeps the filesystem, the watch adds nothing.
 */
TEST_F(inode, unmounted)
{
	int fd, i;

	ASSERT_EQ(0, mkdir("mnt", 0777));
	for (i = 0; i < 100; i++) {
		ASSERT_EQ(0, mount("kevent", "mnt", "tmpfs", 0, NULL));
		fd = open("mnt", O_RDONLY);
		ADD(fd, ALL & ~LINK, i % 2 ? VANISHED : 0, i);
		ASSERT_EQ(-1, umount("mnt"));
		EXPECT_EQ(EBUSY, errno);
		REPORTS(make_file("mnt/file"), CREATED);
		if (i % 3) {
			ASSERT_EQ(0, close(fd));
			ASSERT_EQ(0, umount("mnt"));
		} else {
			/* It is there for those who have it open. */
			REPORTS_NOTHING(!umount2("mnt", MNT_DETACH));
			REPORTS(!unlinkat(fd, "file", 0), DELETED);
			ASSERT_EQ(0, close(fd));
		}
		if (i % 2)
			LAST(i, 0);
		NOTHING();
	}
}

/* The same if the queue goes, and not the descriptor. */
TEST_F(inode, unmounted_after_the_watch)
{
	struct kevent_watch w;
	struct queue q;
	int fd, i;

	ASSERT_EQ(0, mkdir("mnt", 0777));
	for (i = 0; i < 100; i++) {
		ASSERT_EQ(0, mount("kevent", "mnt", "tmpfs", 0, NULL));
		ASSERT_LE(0, queue_open(&q, variant->entries));
		fd = open("mnt", O_RDONLY);
		w = watch_inode(fd, ALL, 0, 1);
		ASSERT_EQ(1, add_one(&q, &w));
		if (i % 2)
			ASSERT_EQ(1, remove_one(&q, w.handle));
		queue_close(&q);
		ASSERT_EQ(0, close(fd));
		ASSERT_EQ(0, umount("mnt"));
	}
}

TEST_F(inode, overlayfs)
{
	int fd;

	ASSERT_TRUE(!mkdir("lower", 0777) && !mkdir("upper", 0777) &&
		    !mkdir("work", 0777) && !mkdir("mnt", 0777));
	ASSERT_TRUE(make_file("lower/file") && append("lower/file", "123"));
	if (mount("kevent", "mnt", "overlay", 0,
		  "lowerdir=lower,upperdir=upper,workdir=work"))
		SKIP(return, "no overlayfs");
	fd = open("mnt/file", O_RDONLY);
	ADD(fd, MODIFY | EXTEND | ATTRIB | RENAME | DELETE, 0, 1);
	/* This copies it. */
	REPORTS(append("mnt/file", "4"), MODIFY | EXTEND);
	EXPECT_EQ(4, self->ev.data);
	REPORTS(!chmod("mnt/file", 0600), ATTRIB);
	REPORTS(!rename("mnt/file", "mnt/other"), RENAME);
	REPORTS(!unlink("mnt/other"), ATTRIB | DELETE);
	REMOVE();
	close(fd);
	ASSERT_EQ(0, mkdir("mnt/dir", 0777));
	fd = open("mnt/dir", O_RDONLY);
	ADD(fd, ALL & ~LINK, VANISHED, 2);
	REPORTS(make_file("mnt/dir/file"), CREATED);
	REPORTS(!unlink("mnt/dir/file"), DELETED);
	ASSERT_EQ(0, rmdir("mnt/dir"));
	LAST(2, DELETE);
	NOTHING();
	close(fd);
	EXPECT_EQ(0, umount("mnt"));
}

/*
 * Many at once.
 */
#define MANY	100

TEST_F(inode, nothing_is_lost_in_a_small_ring)
{
	char name[16];
	bool seen[MANY] = {};
	struct kevent_watch w;
	struct queue q;
	int fd, i, nr = 0;

	ASSERT_LE(0, queue_open(&q, variant->entries ? 2 : 0));
	for (i = 0; i < MANY; i++) {
		snprintf(name, sizeof(name), "dir/%d", i);
		ASSERT_TRUE(make_file(name));
		fd = open(name, O_RDONLY);
		w = watch_inode(fd, MODIFY | ATTRIB | DELETE, i % 2 ? VANISHED :
				0, i);
		ASSERT_EQ(1, add_one(&q, &w));
		ASSERT_EQ(0, unlink(name));
	}
	while (nr < MANY) {
		ASSERT_EQ(1, take_next(&q, variant->copy, &self->ev));
		i = self->ev.user_data;
		ASSERT_GT(MANY, i);
		if (!(self->ev.events & DELETE)) {
			ASSERT_EQ(ATTRIB, self->ev.events);
			continue;
		}
		EXPECT_FALSE(seen[i]);
		EXPECT_EQ(i % 2, !!(self->ev.info & KEVENT_INFO_VANISHED));
		seen[i] = true;
		nr++;
	}
	EXPECT_EMPTY(&q, variant->copy);
	EXPECT_EQ(MANY / 2, nr_watches(q.fd));
	queue_close(&q);
}

/*
 * Races: one side changes files, the other one the watch. What holds does not
 * depend on who is first.
 */
#define ROUNDS	500
#define SPIN	2000

struct changing {
	int fd;
	unsigned int seed;
	bool unlinks;
};

static void change_side(void *arg)
{
	struct changing *c = arg;
	int i;

	for (i = 0; i < 3; i++) {
		dawdle(&c->seed, SPIN);
		if (pwrite(c->fd, "x", 1, 0) != 1)
			abort();
	}
	if (c->unlinks && unlink("victim"))
		abort();
}

TEST_F(inode, remove_against_change)
{
	struct changing c = { .fd = open("file", O_RDWR), .seed = 1 };
	unsigned int seed = 2;
	struct racer racer;
	int i;

	ASSERT_EQ(0, racer_start(&racer, change_side, &c));
	for (i = 0; i < ROUNDS; i++) {
		ADD(self->file, MODIFY, i % 2 ? 0 : ONESHOT, i);
		racer_go(&racer);
		dawdle(&seed, 3 * SPIN);
		/* A ONESHOT watch may have fired by then. */
		REMOVE();
		NOTHING();
		racer_wait(&racer);
		NOTHING();
		ASSERT_TRUE(__test_passed(_metadata));
	}
	racer_stop(&racer);
}

TEST_F(inode, close_against_change)
{
	struct changing c = { .fd = open("file", O_RDWR), .seed = 3 };
	unsigned int seed = 4;
	struct racer racer;
	int i, fd;

	ASSERT_EQ(0, racer_start(&racer, change_side, &c));
	for (i = 0; i < ROUNDS; i++) {
		fd = open("file", O_RDONLY);
		ADD(fd, MODIFY, i % 2 ? VANISHED : 0, i);
		racer_go(&racer);
		dawdle(&seed, 3 * SPIN);
		ASSERT_EQ(0, close(fd));
		if (i % 2) {
			do {
				ASSERT_EQ(1, take_now(Q, variant->copy,
						      &self->ev));
				ASSERT_EQ(i, self->ev.user_data);
			} while (!(self->ev.info & KEVENT_INFO_VANISHED));
		}
		NOTHING();
		racer_wait(&racer);
		NOTHING();
		ASSERT_TRUE(__test_passed(_metadata));
	}
	racer_stop(&racer);
}

/* The end by deletion, against the other ends. */
TEST_F(inode, deletion_against_close)
{
	struct changing c = { .seed = 5, .unlinks = true };
	unsigned int seed = 6;
	struct racer racer;
	int i, fd;

	ASSERT_EQ(0, racer_start(&racer, change_side, &c));
	for (i = 0; i < ROUNDS; i++) {
		ASSERT_TRUE(make_file("victim"));
		c.fd = open("victim", O_RDWR);
		fd = open("victim", O_RDONLY);
		ADD(fd, DELETE, VANISHED, i);
		racer_go(&racer);
		dawdle(&seed, 5 * SPIN);
		if (i % 2)
			queue_refill(Q);
		if (i % 4 < 2) {
			ASSERT_EQ(0, close(fd));
			racer_wait(&racer);
			/* One of the two, and once. */
			ASSERT_EQ(1, take_next(Q, variant->copy, &self->ev));
			ASSERT_TRUE(self->ev.info & KEVENT_INFO_VANISHED);
			ASSERT_EQ(0, self->ev.events & ~DELETE);
		} else {
			/* It may have reported it by now, and have gone. */
			if (remove_one(Q, self->w.handle) != 1)
				LAST(i, DELETE);
			racer_wait(&racer);
			close(fd);
		}
		NOTHING();
		close(c.fd);
		ASSERT_TRUE(__test_passed(_metadata));
	}
	racer_stop(&racer);
}

TEST_F(inode, queue_closed_against_change)
{
	struct changing c = { .seed = 7, .unlinks = true };
	struct kevent_watch w;
	unsigned int seed = 8;
	struct racer racer;
	struct queue q;
	int i, fd;

	ASSERT_EQ(0, racer_start(&racer, change_side, &c));
	for (i = 0; i < ROUNDS / 5; i++) {
		ASSERT_TRUE(make_file("victim"));
		c.fd = open("victim", O_RDWR);
		fd = open("victim", O_RDONLY);
		ASSERT_LE(0, queue_open(&q, variant->entries));
		w = watch_inode(fd, ALL, VANISHED, i);
		ASSERT_EQ(1, add_one(&q, &w));
		racer_go(&racer);
		dawdle(&seed, 5 * SPIN);
		queue_close(&q);
		racer_wait(&racer);
		close(fd);
		close(c.fd);
	}
	racer_stop(&racer);
}

TEST_F(inode, modify_against_change)
{
	struct changing c = { .fd = open("file", O_RDWR), .seed = 9 };
	unsigned int seed = 10;
	struct racer racer;
	__u32 reported;
	int i;

	ADD(self->file, MODIFY, 0, 1);
	ASSERT_EQ(0, racer_start(&racer, change_side, &c));
	for (i = 0; i < ROUNDS; i++) {
		racer_go(&racer);
		dawdle(&seed, SPIN);
		CHANGE(KEVENT_MODIFY_DISABLE);
		self->w.events = i % 2 ? MODIFY : MODIFY | ATTRIB;
		CHANGE(KEVENT_MODIFY_EVENTS);
		dawdle(&seed, SPIN);
		CHANGE(KEVENT_MODIFY_ENABLE);
		racer_wait(&racer);
		/* On or off, it was interested all the time. */
		for (reported = 0; take_now(Q, variant->copy, &self->ev) == 1;)
			reported |= self->ev.events;
		ASSERT_EQ(MODIFY, reported);
	}
	racer_stop(&racer);
}

/* Each change is reported, and once, however fast it is taken. */
struct echo {
	struct queue *q;
	unsigned int reported;
	bool copy;
};

static int take_side(void *arg)
{
	struct echo *e = arg;
	struct kevent_event ev;

	while (take_next(e->q, e->copy, &ev) == 1 && ev.user_data == 1) {
		if (ev.events != MODIFY)
			return -1;
		__atomic_add_fetch(&e->reported, 1, __ATOMIC_ACQ_REL);
	}
	return 0;
}

TEST_F(inode, reported_once)
{
	struct echo e = { .q = Q, .copy = variant->copy };
	int fd = open("file", O_RDWR), i;
	struct kevent_event stop = { .user_data = 2 };
	struct sleeper s;

	ADD(self->file, MODIFY, 0, 1);
	ASSERT_EQ(0, sleeper_start(&s, take_side, &e));
	for (i = 1; i <= 2 * ROUNDS; i++) {
		ASSERT_EQ(1, pwrite(fd, "x", 1, 0));
		while (__atomic_load_n(&e.reported, __ATOMIC_ACQUIRE) < i)
			sched_yield();
		ASSERT_EQ(i, __atomic_load_n(&e.reported, __ATOMIC_ACQUIRE));
	}
	ASSERT_EQ(1, kevent_post(self->q.fd, &stop, sizeof(stop), 1,
				 KEVENT_POST_DEFER));
	EXPECT_EQ(0, sleeper_join(&s));
	EXPECT_EQ(2 * ROUNDS, e.reported);
}

/*
 * A program that enables a DISPATCH watch after reading the file will see
 * what has changed since the look.
 */
#define WRITES	3000

static void *write_side(void *arg)
{
	int i, fd = open("file", O_WRONLY | O_APPEND);

	for (i = 0; i < WRITES; i++) {
		if (write(fd, "x", 1) != 1)
			abort();
		if (i % 16 == 0)
			sched_yield();
	}
	close(fd);
	return arg;
}

TEST_F(inode, dispatch_misses_nothing)
{
	struct stat st = {};
	pthread_t thread;

	ADD(self->file, MODIFY, DISPATCH, 1);
	ASSERT_EQ(0, pthread_create(&thread, NULL, write_side, NULL));
	while (st.st_size != WRITES) {
		ASSERT_EQ(1, take_next(Q, variant->copy, &self->ev));
		ASSERT_EQ(MODIFY, self->ev.events);
		ASSERT_EQ(0, stat("file", &st));
		CHANGE(KEVENT_MODIFY_ENABLE);
	}
	pthread_join(thread, NULL);
}

/* Everything at once, in one directory. */
static void *churn(void *arg)
{
	unsigned int seed = (long)arg;
	char from[16], to[16];
	int i;

	for (i = 0; i < ROUNDS; i++) {
		snprintf(from, sizeof(from), "dir/%d", rand_r(&seed) % 8);
		snprintf(to, sizeof(to), "dir/%d", rand_r(&seed) % 8);
		switch (rand_r(&seed) % 5) {
		case 0:
			make_file(from);
			break;
		case 1:
			unlink(from);
			break;
		case 2:
			rename(from, to);
			break;
		case 3:
			link(from, to);
			break;
		case 4:
			append(from, "x");
			break;
		}
	}
	return arg;
}

TEST_F(inode, churn)
{
	pthread_t threads[3];
	__u64 handles[8] = {};
	unsigned int seed = 1;
	int fds[8], i, n;
	char name[16];
	long t;

	for (i = 0; i < 8; i++)
		fds[i] = -1;
	ADD(self->dir, ALL, 0, 100);
	for (t = 0; t < 3; t++)
		ASSERT_EQ(0, pthread_create(&threads[t], NULL, churn,
					    (void *)(t + 2)));
	for (i = 0; i < 3 * ROUNDS; i++) {
		n = rand_r(&seed) % 8;
		if (rand_r(&seed) % 2)
			remove_one(Q, handles[n]);
		if (fds[n] >= 0)
			close(fds[n]);
		snprintf(name, sizeof(name), "dir/%d", n);
		fds[n] = open(name, O_RDONLY);
		if (fds[n] >= 0) {
			ADD(fds[n], ALL, rand_r(&seed) % 2 ? VANISHED :
			    rand_r(&seed) % 2 ? ONESHOT : DISPATCH, n);
			handles[n] = self->w.handle;
			if (rand_r(&seed) % 2)
				modify_one(Q, &self->w, KEVENT_MODIFY_ENABLE);
		}
		while (take_now(Q, variant->copy, &self->ev) == 1) {
			ASSERT_EQ(KEVENT_SOURCE_INODE,
				  KEVENT_INFO_SOURCE(self->ev.info));
			ASSERT_EQ(0, self->ev.events & ~ALL);
		}
	}
	for (t = 0; t < 3; t++)
		pthread_join(threads[t], NULL);
	for (i = 0; i < 8; i++)
		close(fds[i]);
	while (take_now(Q, variant->copy, &self->ev) == 1)
		;
	REPORTS_NOTHING(!chmod("file", 0600));
	self->w.user_data = 100;
	REPORTS(make_file("dir/new"), CREATED);
	EXPECT_EQ(1, nr_watches(self->q.fd));
}

TEST_HARNESS_MAIN
