#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# mio on kevent: see README.md.
# shellcheck source=../lib.sh
. "$(dirname "$0")/../lib.sh"

MIO=1.2.5 TOKIO=1.54.1
TESTS='^(io_async_fd|io_driver|net_unix_pipe|process_|signal_|tcp_|udp|uds_|unix_)'

build() {
	local test tests=()
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
		[[ ! $test =~ $TESTS ]] || tests+=(--test "$test")
	done
	cargo_tests "$OUT/tests" -p tokio --features full "${tests[@]}"
}

run_tests() {
	local list=$OUT/tests
	case $1 in
	stock) export NO_KEVENT=1 ;;
	fallback) # without the network beyond this machine: what is local
		list=$TMP/tests && grep -E '/(uds_|unix_|net_unix|tcp_(echo|stream)|process_smoke|signal_usr1)' "$OUT/tests" >"$list" ;;
	esac
	rust_tests "$list"
}

case $1 in
build) build ;;
test) run_tests "$2" ;;
esac
