#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# polling on kevent: see README.md.
# shellcheck source=../lib.sh
. "$(dirname "$0")/../lib.sh"

POLLING=3.11.0 ASYNC_IO=2.6.0

build() {
	fetch_crate polling $POLLING
	fetch_crate async-io $ASYNC_IO
	fresh polling-$POLLING polling
	fresh async-io-$ASYNC_IO async-io
	cp "$HERE/kevent.rs" "$OUT/polling/src/kevent.rs"
	cat >"$OUT/Cargo.toml" <<-END
	[workspace]
	resolver = "2"
	members = ["polling", "async-io"]
	[patch.crates-io]
	polling = { path = "polling" }
	async-io = { path = "async-io" }
	kevent = { path = "$ROOT/tools/kevent" }
	[profile.dev]
	debug = false
	END
	cd "$OUT" || exit
	cargo fetch || no_source "the crates that the tests of polling and async-io use"
	cargo_tests "$OUT/tests" -p polling -p async-io --tests
}

run_tests() {
	[ "$1" != stock ] || export NO_KEVENT=1
	# Without those that measure by how little something was late, which here says nothing.
	grep -v '/precision-' "$OUT/tests" >"$TMP/tests"
	rust_tests "$TMP/tests" --skip interval
}

case $1 in
build) build ;;
test) run_tests "$2" ;;
esac
