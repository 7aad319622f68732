#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# libevent on kevent: see README.md.
# shellcheck source=../lib.sh
. "$(dirname "$0")/../lib.sh"

VERSION=2.1.12
# What has to do with the backend; util, evtag, dns and the like have not.
GROUPS_ALL=(main/.. et/.. signal/.. thread/.. finalize/.. bufferevent/.. listener/.. http/..)
GROUPS_SHORT=(main/.. et/.. signal/.. thread/..)
PROGRAMS=(test-init test-eof test-closed test-weof test-time test-changelist test-fdleak)

build() {
	fetch_debian source libevent $VERSION
	fresh libevent-$VERSION libevent
	build_libkevent
	cp "$HERE/kevent-backend.c" "$OUT/libevent/"
	cd "$OUT/libevent" || exit
	[ -e Makefile ] || ./configure --disable-openssl --disable-shared --disable-samples \
		CPPFLAGS="-I$ROOT/tools/libkevent/include" LIBS="$OUT/libkevent/libkevent.a -lpthread" || exit 1
	make -j2 || exit 1
	make -j2 check TESTS= || exit 1
}

run_tests() {
	local program groups=("${GROUPS_ALL[@]}")
	[ "$2" != short ] || groups=("${GROUPS_SHORT[@]}")
	case $1 in
	stock) export EVENT_NOKEVENT=1 ;;
	fallback) groups=(main/.. et/..) PROGRAMS=() ;;
	esac
	cd "$OUT/libevent/test" || exit
	# tinytest: 'group/test: OK', or what went wrong and then '[test FAILED]'.
	timeout 1500 ./regress "${groups[@]}" 2>&1 | tee "$TMP/out"
	awk '
		match($0, /^[a-z_]+\/[a-z_A-Z0-9]+: /) { test = substr($0, 1, RLENGTH - 2); seen[test] = "not ok" }
		/SKIPPED$|DISABLED$/  { seen[test] = "skip" }
		/OK$/                 { seen[test] = "ok" }
		END { for (test in seen) print seen[test] " " test }' "$TMP/out"
	for program in "${PROGRAMS[@]}"; do
		if timeout 120 "./$program" </dev/null; then echo "ok $program"; else echo "not ok $program"; fi
	done
}

case $1 in
build) build ;;
test) run_tests "$2" "${3:-}" ;;
esac
