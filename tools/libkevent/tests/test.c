/* SPDX-License-Identifier: MIT */
/* Runs tests; those whose names contain an argument, if there are arguments. */
#include "test.h"

const char *test_skip;
int test_failed;

int test_main(const struct test *tests, unsigned int nr, int argc, char **argv)
{
	unsigned int i, number = 0, failed = 0;

	setvbuf(stdout, NULL, _IOLBF, 0);
	printf("TAP version 13\n");
	for (i = 0; i < nr; i++) {
		int picked = argc < 2;

		for (int a = 1; a < argc; a++)
			picked |= !!strstr(tests[i].name, argv[a]);
		if (!picked)
			continue;
		test_skip = NULL;
		test_failed = 0;
		alarm(300);
		tests[i].run();
		alarm(0);
		failed += !!test_failed;
		printf("%sok %u %s%s%s\n", test_failed ? "not " : "", ++number, tests[i].name,
		       !test_failed && test_skip ? " # SKIP " : "",
		       !test_failed && test_skip ? test_skip : "");
	}
	printf("1..%u\n", number);
	return failed ? 1 : 0;
}
