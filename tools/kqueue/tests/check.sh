#!/bin/sh
# SPDX-License-Identifier: MIT
#
# What 'make check' runs, as KTAP; the last line is 'N passed, N failed, N skipped'.
# shellcheck source=../libkevent/tests/check-lib.sh
. ../libkevent/tests/check-lib.sh

program unit "$OUT/unit"
program unit-asan "$OUT/unit-asan"
TSAN_OPTIONS="halt_on_error=1 exitcode=66" program unit-tsan "$OUT/unit-tsan" add user thread delete dispatch
if command -v valgrind >/dev/null && [ "${VALGRIND:-1}" = 1 ]; then
	program unit-valgrind valgrind -q --error-exitcode=9 --fair-sched=yes "$OUT/unit"
else
	skip unit-valgrind "no valgrind"
fi

for pair in "sys/event.h kevent.h" "kevent.h sys/event.h" "sys/event.h sys/event.h"; do
	for header in $pair; do echo "#include <$header>"; done >"$OUT/header.c"
	echo 'void f(struct kevent *kev); void f(struct kevent *kev) { EV_SET(kev, 1, EVFILT_READ, EV_ADD, 0, 0, 0); }' >>"$OUT/header.c"
	cp "$OUT/header.c" "$OUT/header.cc"
	$CC -std=c11 -Wall -Wextra -Wpedantic -Werror -Iinclude -I../libkevent/include -fsyntax-only "$OUT/header.c"
	judge $? "header: C11, $pair"
	if command -v "${CXX%% *}" >/dev/null; then
		$CXX -std=c++17 -Wall -Wextra -Wpedantic -Werror -Iinclude -I../libkevent/include -fsyntax-only "$OUT/header.cc"
		judge $? "header: C++17, $pair"
	else
		skip "header: C++17, $pair" "no C++ compiler"
	fi
done

[ "$(nm -D --defined-only "$OUT/libkqueue-kevent.so" | awk '{ print $3 }' | sort | tr '\n' ' ')" = "kevent kqueue kqueue1 " ]
judge $? "symbols: kqueue, kqueue1 and kevent alone"
[ "$(nm --defined-only --extern-only "$OUT/libkqueue-kevent.a" | awk 'NF == 3 { print $3 }' | sort | tr '\n' ' ')" = "kevent kqueue kqueue1 " ]
judge $? "symbols: in the static library too"
finish
