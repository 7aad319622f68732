#!/bin/sh
# SPDX-License-Identifier: MIT
#
# What 'make check' runs, as KTAP: each test program as it is and with sanitizers, and what needs
# no program.  The last line is 'N passed, N failed, N skipped'.
# shellcheck source=tests/check-lib.sh
. tests/check-lib.sh

program unit "$OUT/unit"
# Neither sanitizer can follow a thread that is cancelled in the middle of things: ASan keeps the
# red zones of the frames that are gone.  Nor TSan a fork.
program unit-asan "$OUT/unit-asan" ring index entry cancelled_and merges exhausted for_each threads next \
	flags wake child misuse probe prepared queue channel
TSAN_OPTIONS="halt_on_error=1 exitcode=66" program unit-tsan "$OUT/unit-tsan" ring index entry cancelled_and \
	merges exhausted threads next flags wake channel
if command -v valgrind >/dev/null && [ "${VALGRIND:-1}" = 1 ]; then
	program unit-valgrind valgrind -q --error-exitcode=9 --leak-check=full --fair-sched=yes \
		--trace-children=no "$OUT/unit" ring index entry cancelled_and merges exhausted for_each next_in \
		wake misuse probe prepared queue channel
else
	skip unit-valgrind "no valgrind"
fi

# Headers: both languages, every warning, with and without inline functions.
for header in kevent.h kevent/ec.h; do
	for mode in "" -DLIBKEVENT_NO_INLINE; do
		echo "#include <$header>" >"$OUT/header.c"
		cp "$OUT/header.c" "$OUT/header.cc"
		$CC -std=c11 -Wall -Wextra -Wpedantic -Werror -Iinclude $mode -fsyntax-only "$OUT/header.c"
		judge $? "header: $header C11 $mode"
		if command -v "${CXX%% *}" >/dev/null; then
			$CXX -std=c++17 -Wall -Wextra -Wpedantic -Werror -Iinclude $mode -fsyntax-only "$OUT/header.cc"
			judge $? "header: $header C++17 $mode"
		else
			skip "header: $header C++17 $mode" "no C++ compiler"
		fi
	done
done

# What the -ffi library must have: all that <kevent.h> declares.
missing=
for name in $(grep -ohE '\b(kevent|ec)_[a-z_]+\(' include/kevent.h include/kevent/ec.h include/kevent/inline.h |
	tr -d '(' | sort -u | grep -vE '_$|^kevent_for_each$'); do
	grep -qE "^(static inline|KEVENT_INLINE|int|void|__u32|ec_t|struct kevent_queue) .*\b$name\(" \
		include/kevent.h include/kevent/ec.h include/kevent/inline.h || continue
	nm -D --defined-only "$OUT/libkevent-ffi.so" | grep -q " $name@" || missing="$missing $name"
done
[ -z "$missing" ] || echo "# missing:$missing"
[ -z "$missing" ]
judge $? "ffi: has every function"
nm -D --defined-only "$OUT/libkevent.so" | grep -v LIBKEVENT_ | grep -vq '@' && wrong=1 || wrong=0
judge "$wrong" "symbols: all have a version"

# The same constants as the kernel's header, where both have one.
uapi=${UAPI:-../../kernel-tree-overlay/include/uapi/linux/kevent.h}
if [ ! -e "$uapi" ]; then
	skip "uapi: constants are the kernel's" "no $uapi"
elif ! grep -q KEVENT_INFO_POSTED "$uapi"; then
	skip "uapi: constants are the kernel's" "the tree has the first edition"
else
	for file in "$uapi" include/kevent/uapi.h; do
		sed -nE 's|[[:space:]]*/\*.*||; s/^#define[[:space:]]+(KEVENT_[A-Z0-9_]+)[[:space:]]+(.+)$/\1 \2/p' "$file" |
			sort -u >"$OUT/$(basename "$file").defines"
	done
	join -j 1 "$OUT/kevent.h.defines" "$OUT/uapi.h.defines" |
		awk '{ n = (NF - 1) / 2; for (i = 2; i <= n + 1; i++) if ($i != $(i + n)) { print "# " $0; bad = 1 } } END { exit bad }'
	judge $? "uapi: constants are the kernel's"
fi

# Installed, the library is found by pkg-config and a program links.
rm -rf "$OUT/root"
make -s install MAKEFLAGS= DESTDIR="$OUT/root" PREFIX=/usr OUT="$OUT" >/dev/null
judge $? "install: DESTDIR"
grep -qx '.so man3/kevent_queue_init.3' "$OUT/root/usr/share/man/man3/kevent_queue_exit.3" &&
	[ -s "$OUT/root/usr/share/man/man3/kevent_queue_init.3" ]
judge $? "install: manual pages"
cat >"$OUT/link.c" <<-END
	#include <kevent/ec.h>
	int main(void)
	{
		struct kevent_probe p;
		return kevent_probe(&p) != 0 && errno != ENOSYS && errno != EPERM;
	}
END
for lib in "$OUT/root/usr/lib/libkevent.a" "-L$OUT/root/usr/lib -lkevent -Wl,-rpath,$OUT/root/usr/lib" \
	"-L$OUT/root/usr/lib -lkevent-ffi -Wl,-rpath,$OUT/root/usr/lib"; do
	# shellcheck disable=SC2086
	$CC -I"$OUT/root/usr/include" -o "$OUT/link" "$OUT/link.c" $lib -pthread && "$OUT/link"
	judge $? "install: a program links and runs (${lib##* })"
done

# The calls are weak: with those of a program there is no clash, and the library uses them.
cat >"$OUT/weak.c" <<-END
	#include <kevent.h>
	static int called;
	int kevent_wait(int fd, struct kevent_wait *args, size_t usize)
	{
		called = fd == 0 && args && usize;
		return 0;
	}
	int main(void)
	{
		struct kevent_create args = { .entries = 0 };
		struct kevent_queue q;
		return kevent_queue_map(&q, 0, &args) || !called;
	}
END
for lib in "$OUT/root/usr/lib/libkevent.a" "-L$OUT/root/usr/lib -lkevent -Wl,-rpath,$OUT/root/usr/lib"; do
	# shellcheck disable=SC2086
	$CC -I"$OUT/root/usr/include" -o "$OUT/weak" "$OUT/weak.c" $lib -pthread && "$OUT/weak"
	judge $? "weak: a program's own call is used (${lib##* })"
done

finish
