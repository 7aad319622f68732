// SPDX-License-Identifier: GPL-2.0
/*
 * kevent_create(): what it grants, what it refuses, and that it leaves nothing
 * behind when it fails.
 */
#include <grp.h>
#include <sys/resource.h>

#include "kevent_test.h"

static int create(struct kevent_create *args)
{
	return kevent_create(args, sizeof(*args), 0);
}

/* The number that the next file descriptor gets. */
static int next_fd(void)
{
	int fd = dup(STDERR_FILENO);

	close(fd);
	return fd;
}

TEST(without_ring)
{
	struct kevent_create args = {};
	int fd = create(&args);

	ASSERT_LE(0, fd);
	EXPECT_EQ(0, args.mmap_size);
	EXPECT_EQ(0, args.ring_entries);
	close(fd);
}

TEST(entries_are_rounded_up_to_a_power_of_two)
{
	static const unsigned int wanted[][2] = {
		{ 1, 2 }, { 2, 2 }, { 3, 4 }, { 4, 4 }, { 5, 8 }, { 7, 8 },
		{ 8, 8 }, { 1000, 1024 }, { 1025, 2048 },
	};
	unsigned int i;

	for (i = 0; i < sizeof(wanted) / sizeof(*wanted); i++) {
		struct kevent_create args = { .entries = wanted[i][0] };
		int fd = create(&args);

		ASSERT_LE(0, fd);
		EXPECT_EQ(wanted[i][1], args.ring_entries);
		EXPECT_LE(sizeof(struct kevent_ring), args.entries_offset);
		EXPECT_EQ(0, args.entries_offset % sizeof(struct kevent_event));
		EXPECT_LE(args.entries_offset +
			  args.ring_entries * sizeof(struct kevent_event),
			  args.mmap_size);
		EXPECT_EQ(wanted[i][0], args.entries);
		close(fd);
	}
}

TEST(largest_ring)
{
	struct kevent_create args = { .entries = KEVENT_MAX_ENTRIES };
	int fd = create(&args);

	if (fd == -ENOMEM && geteuid())
		SKIP(return, "RLIMIT_MEMLOCK does not allow it");
	ASSERT_LE(0, fd);
	EXPECT_EQ(KEVENT_MAX_ENTRIES, args.ring_entries);
	close(fd);

	args.entries = KEVENT_MAX_ENTRIES - 1;
	fd = create(&args);
	ASSERT_LE(0, fd);
	EXPECT_EQ(KEVENT_MAX_ENTRIES, args.ring_entries);
	close(fd);
}

TEST(too_many_entries)
{
	static const unsigned int wanted[] = {
		KEVENT_MAX_ENTRIES + 1, 2 * KEVENT_MAX_ENTRIES, 0x7fffffff,
		0x80000000, 0x80000001, 0xffffffff,
	};
	int first = next_fd();
	unsigned int i;

	for (i = 0; i < sizeof(wanted) / sizeof(*wanted); i++) {
		struct kevent_create args = { .entries = wanted[i] };

		EXPECT_EQ(-EINVAL, create(&args));
	}
	EXPECT_EQ(first, next_fd());
}

TEST(mapping_is_pages)
{
	struct kevent_create args = { .entries = 2 };
	int fd = create(&args);

	ASSERT_LE(0, fd);
	EXPECT_LT(0, args.mmap_size);
	EXPECT_EQ(0, args.mmap_size % sysconf(_SC_PAGESIZE));
	close(fd);
}

TEST(unknown_flags)
{
	int bit, first = next_fd();

	for (bit = 0; bit < 32; bit++) {
		struct kevent_create args = { .flags = 1U << bit };

		if (args.flags == KEVENT_CREATE_SHARED)
			continue;
		EXPECT_EQ(-EINVAL, create(&args)) {
			TH_LOG("flag bit %d", bit);
		}
	}
	EXPECT_EQ(first, next_fd());
}

TEST(reserved_fields_must_be_zero)
{
	int i, bit;

	for (bit = 0; bit < 32; bit++) {
		struct kevent_create args = { .__resv0 = 1U << bit };

		EXPECT_EQ(-EINVAL, create(&args));
	}
	for (i = 0; i < 3; i++) {
		for (bit = 0; bit < 64; bit++) {
			struct kevent_create args = { .entries = 2 };

			args.__resv[i] = 1ULL << bit;
			EXPECT_EQ(-EINVAL, create(&args));
		}
	}
}

TEST(output_fields_do_not_matter_before)
{
	struct kevent_create args = {
		.entries = 2,
		.features = ~0ULL,
		.mmap_size = ~0ULL,
		.ring_entries = ~0U,
		.entries_offset = ~0U,
	}, clean = { .entries = 2 };
	int fd;

	fd = create(&clean);
	ASSERT_LE(0, fd);
	close(fd);
	fd = create(&args);
	ASSERT_LE(0, fd);
	close(fd);
	EXPECT_EQ(0, memcmp(&clean, &args, sizeof(args)));
}

TEST(event_size)
{
	struct kevent_create args = { .entries = 2 };
	struct queue q;
	int fd;

	args.event_size = sizeof(struct kevent_event);
	fd = create(&args);
	ASSERT_LE(0, fd);
	close(fd);
	args.event_size = 1;
	EXPECT_EQ(-EINVAL, create(&args));
	args.event_size = 31;
	EXPECT_EQ(-EINVAL, create(&args));
	args.event_size = 64;
	EXPECT_EQ(-EINVAL, create(&args));
	args.event_size = ~0U;
	EXPECT_EQ(-EINVAL, create(&args));

	ASSERT_LE(0, queue_open(&q, 2));
	EXPECT_EQ(sizeof(struct kevent_event), q.ring->event_size);
	queue_close(&q);
}

TEST(size_below_the_first_version)
{
	struct kevent_create args = {};
	size_t size;

	for (size = 0; size < KEVENT_CREATE_SIZE_VER0; size++)
		EXPECT_EQ(-EINVAL, kevent_create(&args, size, 0));
}

TEST(larger_size_with_zero_tail)
{
	long page = sysconf(_SC_PAGESIZE);
	struct kevent_create *args = calloc(1, page);
	int fd;

	ASSERT_NE(NULL, args);
	args->entries = 2;
	fd = kevent_create(args, sizeof(*args) + 1, 0);
	ASSERT_LE(0, fd);
	EXPECT_EQ(2, args->ring_entries);
	close(fd);

	memset(args, 0, sizeof(*args));
	args->entries = 4;
	fd = kevent_create(args, page, 0);
	ASSERT_LE(0, fd);
	EXPECT_EQ(4, args->ring_entries);
	close(fd);
	free(args);
}

TEST(larger_size_with_nonzero_tail)
{
	long page = sysconf(_SC_PAGESIZE);
	struct kevent_create *args = calloc(1, page);
	char *bytes = (char *)args;
	int first = next_fd();

	ASSERT_NE(NULL, args);
	bytes[sizeof(*args)] = 1;
	EXPECT_EQ(-E2BIG, kevent_create(args, sizeof(*args) + 1, 0));
	EXPECT_EQ(-E2BIG, kevent_create(args, page, 0));
	bytes[sizeof(*args)] = 0;
	bytes[page - 1] = 1;
	EXPECT_EQ(-E2BIG, kevent_create(args, page, 0));
	/* The byte is beyond this size. */
	close(kevent_create(args, page - 1, 0));
	EXPECT_EQ(1, bytes[page - 1]);
	EXPECT_EQ(first, next_fd());
	free(args);
}

TEST(size_above_a_page)
{
	long page = sysconf(_SC_PAGESIZE);
	struct kevent_create *args = calloc(2, page);

	ASSERT_NE(NULL, args);
	EXPECT_EQ(-E2BIG, kevent_create(args, page + 1, 0));
	EXPECT_EQ(-E2BIG, kevent_create(args, 2 * page, 0));
	EXPECT_EQ(-E2BIG, kevent_create(args, INT_MAX, 0));
	EXPECT_EQ(-E2BIG, kevent_create(args, (size_t)LONG_MAX + 1, 0));
	EXPECT_EQ(-E2BIG, kevent_create(args, SIZE_MAX, 0));
	free(args);
}

TEST(nothing_is_written_beyond_the_struct)
{
	struct {
		struct kevent_create args;
		unsigned char after[64];
	} s = { .args.entries = 2 };
	size_t i;
	int fd;

	memset(s.after, 0xaa, sizeof(s.after));
	fd = create(&s.args);
	ASSERT_LE(0, fd);
	for (i = 0; i < sizeof(s.after); i++)
		EXPECT_EQ(0xaa, s.after[i]);
	close(fd);
}

TEST(struct_at_the_end_of_a_page)
{
	struct kevent_create *args = guard_page();
	int fd;

	ASSERT_NE(NULL, args);
	args--;
	args->entries = 2;
	fd = create(args);
	ASSERT_LE(0, fd);
	EXPECT_EQ(2, args->ring_entries);
	close(fd);
}

TEST(unreadable_arguments)
{
	struct kevent_create *end = guard_page();
	int first = next_fd();

	ASSERT_NE(NULL, end);
	EXPECT_EQ(-EFAULT, create(NULL));
	EXPECT_EQ(-EFAULT, create((void *)-1L));
	EXPECT_EQ(-EFAULT, create(end));
	EXPECT_EQ(-EFAULT, create((void *)((char *)end - 8)));
	EXPECT_EQ(-EFAULT, create((void *)((char *)(end - 1) + 1)));
	/* Here only the tail cannot be read. */
	EXPECT_EQ(-EFAULT, kevent_create(end - 1, sizeof(*end) + 8, 0));
	EXPECT_EQ(first, next_fd());
}

TEST(read_only_arguments_leave_no_descriptor_behind)
{
	long page = sysconf(_SC_PAGESIZE);
	struct kevent_create *args;
	int i, first = next_fd();

	args = mmap(NULL, page, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, args);
	args->entries = 8;
	ASSERT_EQ(0, mprotect(args, page, PROT_READ));
	for (i = 0; i < 20; i++)
		EXPECT_EQ(-EFAULT, create(args));
	EXPECT_EQ(first, next_fd());
}

TEST(close_on_exec)
{
	struct kevent_create args = {};
	int fd;

	fd = create(&args);
	ASSERT_LE(0, fd);
	EXPECT_EQ(FD_CLOEXEC, fcntl(fd, F_GETFD));
	close(fd);
}

TEST(descriptor_can_be_read_and_written)
{
	struct kevent_create args = {};
	int fd = create(&args);

	ASSERT_LE(0, fd);
	EXPECT_EQ(O_RDWR, fcntl(fd, F_GETFL) & O_ACCMODE);
	close(fd);
}

TEST(features_report_the_source_classes)
{
	struct kevent_create args = {};
	__u64 features;
	int bit, fd;

	fd = create(&args);
	ASSERT_LE(0, fd);
	close(fd);
	features = args.features;
	EXPECT_TRUE(features & KEVENT_FEATURE_SOURCE(KEVENT_SOURCE_USER));
	EXPECT_TRUE(features & KEVENT_FEATURE_SOURCE(KEVENT_SOURCE_TIMER));
	EXPECT_FALSE(features & KEVENT_FEATURE_SOURCE(0));

	for (bit = 0; bit < 32; bit++) {
		memset(&args, 0, sizeof(args));
		fd = kevent_create(&args, sizeof(args), 1U << bit);
		if (features & 1ULL << bit) {
			EXPECT_LE(0, fd) {
				TH_LOG("source class %d", bit);
			}
			EXPECT_EQ(features, args.features);
			close(fd);
		} else {
			EXPECT_EQ(nosys(), fd) {
				TH_LOG("source class %d", bit);
			}
		}
	}
	memset(&args, 0, sizeof(args));
	EXPECT_EQ(nosys(), kevent_create(&args, sizeof(args), ~0U));
	EXPECT_TRUE(features & KEVENT_FEATURE_EXHAUSTED);
	EXPECT_TRUE(features & KEVENT_FEATURE_BY_IDENT);
	EXPECT_TRUE(features & KEVENT_FEATURE_USER_WATCH);
	EXPECT_TRUE(features & KEVENT_FEATURE_WAKE_NEXT);
}

TEST(sealed_without_posts)
{
	struct kevent_create args = {};
	unsigned int sources;
	int fd;

	fd = create(&args);
	ASSERT_LE(0, fd);
	close(fd);
	sources = args.features & ~KEVENT_FEATURE_SOURCE(KEVENT_SOURCE_USER);
	memset(&args, 0, sizeof(args));
	fd = kevent_create(&args, sizeof(args), sources);
	ASSERT_LE(0, fd);
	EXPECT_EQ(-EPERM, seq_post(fd, 1, 1, 0));
	EXPECT_EQ(-EPERM, seq_post(fd, 1, 1, KEVENT_POST_DEFER));
	close(fd);
}

TEST(sealed_to_posts)
{
	struct kevent_create args = {};
	int fd = kevent_create(&args, sizeof(args), 1 << KEVENT_SOURCE_USER);

	ASSERT_LE(0, fd);
	EXPECT_EQ(1, seq_post(fd, 1, 1, 0));
	close(fd);
}

TEST(no_descriptor_free)
{
	struct kevent_create args = { .entries = 2 };
	struct rlimit old, rl;
	int fd;

	ASSERT_EQ(0, getrlimit(RLIMIT_NOFILE, &old));
	rl = old;
	rl.rlim_cur = next_fd();
	ASSERT_EQ(0, setrlimit(RLIMIT_NOFILE, &rl));
	EXPECT_EQ(-EMFILE, create(&args));
	ASSERT_EQ(0, setrlimit(RLIMIT_NOFILE, &old));
	fd = create(&args);
	EXPECT_LE(0, fd);
	close(fd);
}

/* Sets the limit and makes it hold, also for root. */
static bool limit_memlock(rlim_t limit)
{
	struct rlimit rl = { .rlim_cur = limit, .rlim_max = limit };
	int uid = 65534;

	if (setrlimit(RLIMIT_MEMLOCK, &rl))
		return false;
	if (geteuid())
		return true;
	return !setgroups(0, NULL) && !setresgid(uid, uid, uid) &&
	       !setresuid(uid, uid, uid);
}

TEST(locked_memory_limit_counts)
{
	struct kevent_create args = { .entries = 2 };
	int first;

	ASSERT_TRUE(limit_memlock(0));
	first = next_fd();
	EXPECT_EQ(-ENOMEM, create(&args));
	args.entries = KEVENT_MAX_ENTRIES;
	EXPECT_EQ(-ENOMEM, create(&args));
	EXPECT_EQ(first, next_fd());

	/* A queue without a ring counts as a page. */
	args.entries = 0;
	EXPECT_EQ(-ENOMEM, create(&args));
	EXPECT_EQ(first, next_fd());
}

TEST(locked_memory_is_given_back)
{
	struct kevent_create args = { .entries = 4096 };
	int fd, i;

	fd = create(&args);
	ASSERT_LE(0, fd);
	close(fd);
	/* Room for one, and not for two. */
	ASSERT_TRUE(limit_memlock(args.mmap_size + sysconf(_SC_PAGESIZE)));

	for (i = 0; i < 20; i++) {
		struct kevent_create one = { .entries = 4096 };
		struct kevent_create two = { .entries = 4096 };

		fd = create(&one);
		if (i == 0 && fd == -ENOMEM)
			SKIP(return, "this user has other locked memory");
		ASSERT_LE(0, fd);
		EXPECT_EQ(-ENOMEM, create(&two));
		close(fd);
	}
}

TEST(locked_memory_limit_does_not_bind_the_privileged)
{
	struct rlimit rl = {};
	struct kevent_create args = { .entries = 2 };
	int fd;

	if (geteuid())
		SKIP(return, "needs CAP_IPC_LOCK");
	ASSERT_EQ(0, setrlimit(RLIMIT_MEMLOCK, &rl));
	fd = create(&args);
	ASSERT_LE(0, fd);
	close(fd);
}

TEST(many_queues)
{
	int fds[50], i;

	for (i = 0; i < 50; i++) {
		struct kevent_create args = { .entries = 2 };

		fds[i] = create(&args);
		if (fds[i] == -ENOMEM && geteuid())
			break;
		ASSERT_LE(0, fds[i]);
		EXPECT_EQ(1, seq_post(fds[i], i, 1, 0));
	}
	while (i--) {
		struct kevent_event ev;

		EXPECT_EQ(1, kevent_get_events(fds[i], 1, 1, NULL, &ev, 0));
		EXPECT_EQ(i, ev.user_data);
		close(fds[i]);
	}
}

TEST_HARNESS_MAIN
