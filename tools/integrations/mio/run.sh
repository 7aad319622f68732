#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# mio on kevent: see README.md.
# shellcheck source=../lib.sh
. "$(dirname "$0")/../lib.sh"

MIO=1.2.5 TOKIO=1.54.1
TESTS='^(io_async_fd|io_driver|net_unix_pipe|process_|signal_|tcp_|udp|uds_|unix_)'
SHORT='^(io_async_fd|uds_stream|unix_shutdown|tcp_(echo|stream)|udp|process_smoke|signal_usr1)$'
# The kernel without kevent has less of a network.
LOCAL='/(uds_stream|unix_shutdown|tcp_echo|process_smoke|signal_usr1)-'

build() {
	local test tests=() wanted=$TESTS
	[ "$1" != short ] || wanted=$SHORT
	fetch_crate mio $MIO
	fetch_crate tokio $TOKIO
	fresh mio-$MIO mio
	fresh tokio-$TOKIO tokio
	cp "$HERE/kevent.rs" "$OUT/mio/src/sys/unix/selector/kevent.rs"
	cat >"$OUT/Cargo.toml" <<-END
	[workspace]
	resolver = "2"
	members = ["mio", "tokio"]
	[patch.crates-io]
	mio = { path = "mio" }
	tokio = { path = "tokio" }
	kevent = { path = "$ROOT/tools/kevent" }
	[profile.dev]
	debug = false
	END
	cd "$OUT" || exit
	cargo fetch || no_source "the crates that tokio's tests use"
	for test in tokio/tests/*.rs; do
		test=$(basename "$test" .rs)
		[[ ! $test =~ $wanted ]] || tests+=(--test "$test")
	done
	cargo_tests "$OUT/tests" -p tokio --features full "${tests[@]}"
}

run_tests() {
	local list=$TMP/tests only=.
	[ "$1" != stock ] || export NO_KEVENT=1
	[ "$1" != fallback ] || only=$LOCAL
	grep -E "$only" "$OUT/tests" >"$list"
	rust_tests "$list"
}

case $1 in
build) build "${2:-}" ;;
test) run_tests "$2" "${3:-}" ;;
esac
