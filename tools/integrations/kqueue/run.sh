#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# libevent by its own kqueue backend on tools/kqueue: see README.md.
# shellcheck source=../lib.sh
. "$(dirname "$0")/../lib.sh"

VERSION=2.1.12

build() {
	fetch_debian source libevent $VERSION
	fresh libevent-$VERSION libevent
	make -s -C "$ROOT/tools/kqueue" OUT="$OUT/kqueue" || exit 1
	# Its configure decides by a program that it runs here, where there may be no kevent.
	build_libevent CPPFLAGS="-I$ROOT/tools/kqueue/include -DEVENT__HAVE_WORKING_KQUEUE=1" \
		LIBS="$OUT/kqueue/libkqueue-kevent.a -lpthread"
}

run_tests() {
	local groups=(main/.. et/.. signal/.. thread/.. finalize/.. bufferevent/.. listener/..)
	[ "$2" != short ] && [ "$1" != fallback ] || groups=(main/.. et/..)
	if [ "$1" = stock ]; then
		export EVENT_NOKQUEUE=1
		groups+=(:main/methods :main/base_environ) # they do not look at it
	fi
	libevent_tests "${groups[@]}"
}

case $1 in
build) build ;;
test) run_tests "$2" "${3:-}" ;;
esac
