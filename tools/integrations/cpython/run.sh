#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# CPython's kqueue on tools/kqueue: see README.md.
# shellcheck source=../lib.sh
. "$(dirname "$0")/../lib.sh"

PYTHON=/usr/bin/python3
MODULES=(test.test_kqueue test.test_selectors test.test_asyncio.test_streams)
MORE=(test.test_asyncio.test_{server,buffered_proto,sock_lowlevel,events,unix_events,subprocess,sendfile,base_events})

build() {
	local full version include
	full=$($PYTHON -c 'import platform; print(platform.python_version())') || no_source "Debian's python3"
	version=${full%.*}
	fetch_debian source "python$version" "$full"
	fetch_debian binary "libpython$version-dev" "$full"
	fetch_debian binary "libpython$version-testsuite" "$full"
	ln -sfn "$SRC/libpython$version-testsuite-$full/usr/lib/python$version" "$OUT/tests"
	include=$SRC/libpython$version-dev-$full/usr/include
	make -s -C "$ROOT/tools/kqueue" OUT="$OUT/kqueue" || exit 1
	cc -O2 -w -fPIC -shared -pthread -DHAVE_KQUEUE=1 -DHAVE_SYS_EVENT_H=1 -DPy_BUILD_CORE_MODULE -I"$ROOT/tools/kqueue/include" \
		-I"$include/python$version" -I"$include/python$version/internal" -I"$include" -I"$include/x86_64-linux-gnu" \
		-o "$OUT/select.so" "$SRC/python$version-$full/Modules/selectmodule.c" "$OUT/kqueue/libkqueue-kevent.a" || exit 1
}

run_tests() {
	local modules=("${MODULES[@]}")
	case $1 in
	fallback) unset 'modules[0]' ;; # there is no kqueue
	*) [ "$2" = short ] || modules+=("${MORE[@]}") ;;
	esac
	PYTHONPATH=$HERE/../selectors PYTHONDONTWRITEBYTECODE=1 \
		timeout 1500 $PYTHON -W ignore "$HERE/run.py" "$1" "$OUT/select.so" "$OUT/tests" "${modules[@]}"
}

case $1 in
build) build ;;
test) run_tests "$2" "${3:-}" ;;
esac
