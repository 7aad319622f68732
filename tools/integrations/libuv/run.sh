#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# libuv on kevent: see README.md.
# shellcheck source=../lib.sh
. "$(dirname "$0")/../lib.sh"

VERSION=1.44.2
# Nothing of these reaches the backend.
OTHERS='^(fs_([^e]|e[^v])|thread|platform_|idna|utf8|ip_|ip[46]_|strtok|strscpy|random|get|semaphore|condvar|barrier'
OTHERS+='|dlerror|error_|sys_error|hrtime|homedir|tmpdir|process_[pt]|env_|cwd|test_macros|queue_foreach|uname|open_osf'
OTHERS+='|shutdown_eof$)' # gives itself 100 ms
# Of each kind of handle something.
SHORT='^(active|async|poll_|pipe_ping_pong|tcp_(ping_pong|close|oob|rst|writealot)|udp_send|fork_|embed|signal|spawn_std(in|out)$|timer|loop_)'

build() {
	fetch_debian source libuv1 $VERSION
	fresh libuv1-$VERSION libuv
	build_libkevent
	cp "$HERE/kevent.c" "$OUT/libuv/src/unix/"
	make -j2 -s -f "$HERE/Makefile" -C "$OUT/libuv" KEVENT="$OUT/libkevent/libkevent.a" INCLUDE="$ROOT/tools/libkevent/include" || exit 1
	UV_RUN_AS_ROOT=1 "$OUT/libuv/run-tests" --list >"$OUT/list" || exit 1
}

# One process for each, as the suite itself does it; what is not possible says so in TAP.
run_tests() {
	local only=. test program=$OUT/libuv/run-tests
	export UV_RUN_AS_ROOT=1 UV_TEST_TIMEOUT_MULTIPLIER=10 LIMIT=120
	[ "$1" != stock ] || export NO_KEVENT=1
	[ "$1" != fallback ] || "$program" timer_init timer_init # the suite keeps what its processes say
	if [ "$1" = fallback ] || [ "$2" = short ]; then only=$SHORT; fi
	mkdir -p "$TMP/test" && ln -sfn "$OUT/libuv/test/fixtures" "$TMP/test/fixtures" && cd "$TMP" || exit
	while read -r test _; do
		if timeout $LIMIT "$program" "$test" >"$TMP/out" 2>&1 </dev/null; then
			echo "ok $test"
		elif grep -q '# SKIP' "$TMP/out"; then
			echo "skip $test"
		else
			sed 's/^/# /' "$TMP/out" # not in the form of a verdict
			again "$test" "$program" "$test"
		fi
		grep -h 'no kevent in this kernel' "$TMP/out"
	done < <(grep -vE "$OTHERS" "$OUT/list" | grep -E "$only")
}

case $1 in
build) build ;;
test) run_tests "$2" "${3:-}" ;;
esac
