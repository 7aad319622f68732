#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# CPython's selectors and asyncio on kevent: see README.md.
# shellcheck source=../lib.sh
. "$(dirname "$0")/../lib.sh"

PYTHON=/usr/bin/python3
MODULES=(test.test_selectors test.test_asyncio.test_streams)
MORE=(test.test_asyncio.test_{server,buffered_proto,sock_lowlevel,events,unix_events,subprocess,sendfile})

build() {
	local version
	version=$($PYTHON -c 'import platform; print(platform.python_version())') || no_source "Debian's python3"
	fetch_debian binary "libpython${version%.*}-testsuite" "$version"
	ln -sfn "$SRC/libpython${version%.*}-testsuite-$version/usr/lib/python${version%.*}" "$OUT/tests"
}

run_tests() {
	local modules=("${MODULES[@]}")
	[ "$1" = fallback ] || [ "$2" = short ] || modules+=("${MORE[@]}")
	# Without those that measure how long something took.
	[ "$2" != short ] || export LEFT_OUT='test_(timeout|select_interrupt|above_fd|start_server|.*_timeout|exception_waiter)'
	PYTHONPATH=$HERE PYTHONDONTWRITEBYTECODE=1 timeout 1500 \
		$PYTHON -W ignore "$HERE/tests.py" "$1" "$OUT/tests" "${modules[@]}"
}

case $1 in
build) build ;;
test) run_tests "$2" "${3:-}" ;;
esac
