/* SPDX-License-Identifier: MIT */
/* KTAP from C: a test is a function, CHECK() ends it. */
#ifndef TEST_H
#define TEST_H

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

struct test {
	const char *name;
	void (*run)(void);
};

extern const char *test_skip;
extern int test_failed;

#define CHECK(cond)							\
	do {								\
		if (!(cond)) {						\
			printf("# %s:%d: %s (errno %d, %s)\n", __FILE__, __LINE__, #cond,	\
			       errno, strerror(errno));			\
			__atomic_store_n(&test_failed, 1, __ATOMIC_RELAXED);	\
			return;						\
		}							\
	} while (0)

#define CHECK_EQ(a, b)							\
	do {								\
		long long a_ = (long long)(a), b_ = (long long)(b);	\
		if (a_ != b_) {						\
			printf("# %s:%d: %s is %lld, not %lld (errno %d, %s)\n", __FILE__, __LINE__,	\
			       #a, a_, b_, errno, strerror(errno));	\
			__atomic_store_n(&test_failed, 1, __ATOMIC_RELAXED);	\
			return;						\
		}							\
	} while (0)

#define CHECK_ERR(call, error)						\
	do {								\
		errno = 0;						\
		CHECK_EQ(call, -1);					\
		CHECK_EQ(errno, error);					\
	} while (0)

#define SKIP(why) do { test_skip = (why); return; } while (0)

#define TEST(name) { #name, name }

int test_main(const struct test *tests, unsigned int nr, int argc, char **argv);

#endif /* TEST_H */
