#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# libevent on kevent: see README.md.
# shellcheck source=../lib.sh
. "$(dirname "$0")/../lib.sh"

VERSION=2.1.12
# What has to do with the backend; util, evtag, dns and the like have not.
GROUPS_ALL=(main/.. et/.. signal/.. thread/.. finalize/.. bufferevent/.. listener/.. http/..)
# Without those that measure how long something took.
GROUPS_SHORT=(main/.. et/.. signal/.. thread/.. :main/simpletimeout :main/common_timeout :main/persistent_..
	:main/event_pending :main/event_remove_timeout :main/event_once.. :main/loopexit.. :main/gettimeofday..
	:main/del_wait :thread/conditions_simple :thread/deferred_cb_skew)
PROGRAMS=(test-init test-eof test-closed test-weof test-time test-changelist test-fdleak)

build() {
	fetch_debian source libevent $VERSION
	fresh libevent-$VERSION libevent
	build_libkevent
	cp "$HERE/kevent-backend.c" "$OUT/libevent/"
	build_libevent CPPFLAGS="-I$ROOT/tools/libkevent/include" LIBS="$OUT/libkevent/libkevent.a -lpthread"
}

run_tests() {
	local program groups=("${GROUPS_ALL[@]}")
	[ "$2" != short ] || groups=("${GROUPS_SHORT[@]}") PROGRAMS=()
	case $1 in
	stock) export EVENT_NOKEVENT=1 ;;
	fallback) groups=("${GROUPS_SHORT[@]}") PROGRAMS=() ;;
	esac
	libevent_tests "${groups[@]}"
	for program in "${PROGRAMS[@]}"; do
		if timeout 120 "./$program" </dev/null; then echo "ok $program"; else echo "not ok $program"; fi
	done
}

case $1 in
build) build ;;
test) run_tests "$2" "${3:-}" ;;
esac
