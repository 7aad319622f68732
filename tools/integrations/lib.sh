# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-only
#
# What the integrations' run.sh scripts share, on the building machine and in the guest.
#
#   run.sh build [short]         here: fetches and builds into $OUT; 'cannot get WHAT' and status 3 if that
#                                is all, 'cannot get WHAT' alone if the rest can be tested
#   run.sh test BACKEND [short]  in the guest: runs the suite on 'stock' or 'kevent', or, on a kernel
#                                without kevent, 'fallback'; prints 'ok TEST', 'not ok TEST', 'skip TEST'
#
# Given: ROOT (the repository), OUT (this integration's folder in the cache), SRC (fetched sources),
# TREE (the kernel's), MIRROR (the mirror that apt uses).
set -u
HERE=$(cd "$(dirname "${BASH_SOURCE[1]}")" && pwd)
: "${ROOT:=$(cd "$HERE/../../.." && pwd)}"

# --- fetching: ends with status 3 and one line that says what cannot be had -------------------------

no_source() { echo "cannot get $*"; exit 3; }

# fetch_crate NAME VERSION: from crates.io, as $SRC/NAME-VERSION.
fetch_crate() {
	local to=$SRC/$1-$2 stub=$SRC/stub from
	[ ! -d "$to" ] || return 0
	rm -rf "$stub" "$to.new" && mkdir -p "$stub" || exit
	printf '[package]\nname = "stub"\nversion = "0.0.0"\n[lib]\npath = "lib.rs"\n[dependencies]\n%s = "=%s"\n' \
		"$1" "$2" >"$stub/Cargo.toml"
	: >"$stub/lib.rs"
	cargo fetch --manifest-path "$stub/Cargo.toml" || no_source "crate $1 $2"
	from=$(cargo metadata --offline --format-version 1 --manifest-path "$stub/Cargo.toml" | python3 -c '
import json, os, sys
for p in json.load(sys.stdin)["packages"]:
    if p["name"] == sys.argv[1]: print(os.path.dirname(p["manifest_path"]))' "$1")
	[ -n "$from" ] || no_source "crate $1 $2"
	cp -a "$from" "$to.new" && chmod -R u+w "$to.new" && mv "$to.new" "$to"
}

# fetch_debian source|binary PACKAGE VERSION-PREFIX: from Debian, unpacked as $SRC/PACKAGE-VERSION (no epoch);
# of a source package what upstream released.  apt checks signatures and sums as always.
fetch_debian() {
	local to=$SRC/$2-${3##*:} dl=$SRC/dl suite version type=deb file
	[ ! -d "$to" ] || return 0
	[ -n "${MIRROR:-}" ] || no_source "Debian's $2 $3: apt's sources name no Debian archive"
	[ "$1" = binary ] || type=deb-src
	export APT_CONFIG=$SRC/apt/apt.conf
	mkdir -p "$SRC/apt/lists/partial" "$SRC/apt/cache/archives/partial"
	cat >"$APT_CONFIG" <<-END
	Dir::State "$SRC/apt";
	Dir::State::status "/dev/null";
	Dir::State::lists "$SRC/apt/lists";
	Dir::Cache "$SRC/apt/cache";
	Dir::Etc::sourcelist "$SRC/apt/sources.list";
	Dir::Etc::sourceparts "/dev/null";
	Acquire::Languages "none";
	APT::Sandbox::User "root";
	END
	for suite in bookworm trixie sid; do
		echo "$type [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $MIRROR $suite main" >"$SRC/apt/sources.list"
		apt-get update || continue
		version=$(apt-cache madison "$2" | awk -F'|' -v p="$3" '{ gsub(/ /, "") } index($2, p) == 1 { print $2; exit }')
		[ -n "$version" ] || continue
		rm -rf "$dl" "$to.new" && mkdir -p "$dl" "$to.new" || exit
		if [ "$1" = binary ]; then
			(cd "$dl" && apt-get download "$2=$version") || continue
			dpkg-deb -x "$dl"/*.deb "$to.new" || continue
		else
			(cd "$dl" && apt-get source --download-only "$2=$version") || continue
			file=$(find "$dl" -name "$2_*.orig.tar.*" ! -name '*.asc')
			tar -xf "$file" --strip-components=1 -C "$to.new" || continue
		fi
		rm -rf "$dl"
		mv "$to.new" "$to" && return
	done
	no_source "Debian's $2 $3"
}

# fresh SOURCE [NAME]: a copy of $SRC/SOURCE as $OUT/NAME, with the patch of that name applied.  An
# unchanged one stays, so that a build goes on where it was.
fresh() {
	local name=${2:-$1} patch=$HERE/${2:-$1}.patch stamp
	stamp=$1\ $(sha256sum "$patch" 2>/dev/null)
	[ "$stamp" != "$(cat "$OUT/$name.stamp" 2>/dev/null)" ] || return 0
	rm -rf "${OUT:?}/$name" && cp -a "$SRC/$1" "$OUT/$name" || exit
	if [ -e "$patch" ]; then
		patch -d "$OUT/$name" -p1 -s <"$patch" || { echo "$name.patch does not apply to $1"; exit 1; }
	fi
	echo "$stamp" >"$OUT/$name.stamp"
}

# --- building -------------------------------------------------------------------------------------

# cargo_tests LIST ARGUMENTS...: builds the test programs that cargo test with ARGUMENTS would run, and
# writes their paths into LIST.
cargo_tests() {
	local list=$1
	shift
	CARGO_TARGET_DIR=$OUT/target cargo test --no-run --message-format json-render-diagnostics "$@" >"$list.json" || exit 1
	sed -n 's/.*"executable":"\([^"]*\)".*/\1/p' "$list.json" >"$list"
	[ -s "$list" ] || { echo "cargo built no test program"; exit 1; }
}

# libkevent: as a static library in $OUT/libkevent.
build_libkevent() {
	make -s -C "$ROOT/tools/libkevent" OUT="$OUT/libkevent" || exit 1
}

# build_libevent CONFIGURE-ARGUMENTS...: in $OUT/libevent, with its tests.
build_libevent() {
	cd "$OUT/libevent" || exit
	# It does not know that it depends on a library of ours.
	[ -z "$(find "$OUT" -maxdepth 2 -name 'lib*.a' -newer libevent.la 2>/dev/null)" ] || rm -f libevent*.la
	[ -e Makefile ] || ./configure --disable-openssl --disable-shared --disable-samples "$@" || exit 1
	make -j2 || exit 1
	make -j2 check TESTS= || exit 1
}

# --- testing, in the guest ----------------------------------------------------------------------

# again TEST COMMAND...: a test that failed, run by itself: it may have measured how long something took,
# on a busy machine.  It is said of those that then pass.
again() {
	local test=$1
	shift
	for _ in 1 2; do
		if timeout "${LIMIT:-300}" "$@" >"$TMP/again" 2>&1 </dev/null; then
			echo "again $test"
			echo "ok $test"
			return
		fi
	done
	echo "not ok $test"
}

# rust_tests LIST [ARGUMENT...]: runs the programs, each with its own time.
rust_tests() {
	local program name test status failed list=$1
	shift
	while read -r program; do
		name=${program##*/} name=${name%-*}
		timeout "${LIMIT:-300}" "$program" "$@" >"$TMP/out" 2>&1 </dev/null
		status=$?
		cat "$TMP/out"
		awk -v name="$name" -v status=$status '
			/^test .* \.\.\. ok$/     { print "ok " name "::" $2; next }
			/^test .* \.\.\. ignored/ { print "skip " name "::" $2; next }
			/^test .* \.\.\. FAILED$/ { bad = 1 }
			END { if (status && !bad) print "not ok " name "::all (status " status ")" }' "$TMP/out"
		mapfile -t failed < <(sed -n 's/^test \(.*\) \.\.\. FAILED$/\1/p' "$TMP/out")
		for test in ${failed[@]+"${failed[@]}"}; do
			again "$name::$test" "$program" --exact "$test"
		done
	done <"$list"
}

# libevent_tests GROUP...: runs those of regress, without :TEST.  tinytest says 'group/test: OK', or what went
# wrong and then '[test FAILED]'; what was not asked for it says to have skipped.
libevent_tests() {
	local verdict test left_out=' '
	for test; do
		[[ $test != :* ]] || left_out+="$test "
	done
	cd "$OUT/libevent/test" || exit
	timeout 1500 ./regress "$@" 2>&1 | tee "$TMP/out"
	awk '
		match($0, /^[a-z_]+\/[a-z_A-Z0-9]+: /) { test = substr($0, 1, RLENGTH - 2); seen[test] = "failed" }
		/SKIPPED$|DISABLED$/  { seen[test] = "skip" }
		/OK$/                 { seen[test] = "ok" }
		END { for (test in seen) print seen[test] " " test }' "$TMP/out" |
		while read -r verdict test; do
			case $verdict in
			failed) again "$test" ./regress "$test" ;;
			skip) is_left_out "$test" || echo "skip $test" ;;
			*) echo "$verdict $test" ;;
			esac
		done
}

# is_left_out TEST: by one of left_out, which may end in ..
is_left_out() {
	local pattern
	for pattern in $left_out; do
		pattern=${pattern#:}
		# shellcheck disable=SC2053  # a pattern
		[[ $1 != ${pattern/%../*} ]] || return 0
	done
	return 1
}

TMP=${TMPDIR:-/tmp}
