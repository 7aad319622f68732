# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-only
#
# check: what must hold of the files here; needs the unpacked tree, but no kernel and no machine.

help_check() {
	cat <<-END
	Usage: ./build.sh check [--tree DIR]
	       ./build.sh check --configs [--tree DIR] [NAME...]

	One line for each item, ok or FAIL, in about a minute:
	  series      git am of patches/ gives exactly kernel-tree-overlay/
	  rustfmt     the Rust files of the overlay and of the tools are formatted
	  batches     the cover letters name each patch once, in batches of at most 15
	  size        no patch of the selftests adds more than 1,500 lines
	  checkpatch  scripts/checkpatch.pl --strict has nothing to say about any patch
	  shellcheck  nor shellcheck about any script
	  clippy      nor clippy about the tools
	  man         the manual pages are well formed, and their programs compile
	  uapi        the copies of the kernel's header are up to date
	  crate       the kevent crate is packaged, and by itself documented, tested and no_std
	  integrations  what judges the integrations' tests is right
	  code        the C code of README.md and Documentation/ compiles
	  pictures    each picture says what the file says that it is made from
	  paths       no file names a path of the machine it was made on

	With --configs it compiles kevent, and the files of the kernel that it changes, in configurations that
	no variant has, instead; a few minutes for each the first time, and again only if something changed.
	NAME...: $(configs | tr '\n' ' ')
	END
}

CHECKS=(series rustfmt batches size checkpatch shellcheck clippy man uapi crate integrations code pictures paths)

verb_check() {
	if [ "${1-}" = --configs ]; then
		shift
		parse_options "$@"
		open_cache
		make_tree
		check_configs ${ARGS[@]+"${ARGS[@]}"}
		say "$PASSED passed, $FAILED failed"
		[ "$FAILED" = 0 ] || exit 1
		return
	fi
	parse_options "$@"
	no_args
	open_cache
	setup_all
	run_checks
	[ "$FAILED" = 0 ] || exit 1
}

# Runs all items, adding to PASSED and FAILED.
PASSED=0 FAILED=0 SKIPPED=0
run_checks() {
	local item
	for item in "${CHECKS[@]}"; do
		if logged "check-$item" "check_$item"; then
			say "ok    $item"
			PASSED=$((PASSED + 1))
		else
			say "FAIL  $item: $(grep -v '^$' "$LOG/check-$item.log" | tail -n 1) (log: $LOG/check-$item.log)"
			FAILED=$((FAILED + 1))
		fi
	done
}

check_series() { series check; }

check_rustfmt() {
	local files
	mapfile -t files < <(find kernel-tree-overlay -name '*.rs' | sort)
	if [ ${#files[@]} != 0 ]; then
		rustfmt --check --color never --edition 2021 --config-path "$TREE/.rustfmt.toml" "${files[@]}" ||
			{ echo "not formatted: run rustfmt --edition 2021 on the files named in the log, then ./build.sh refresh"; return 1; }
	fi
	cargo fmt --all --check -- --color never || { echo "not formatted: run cargo fmt --all"; return 1; }
}

check_batches() {
	local letter first last next=1 count
	for letter in Documentation/cover-letters/*.txt; do
		IFS=- read -r first last <<<"$(sed -n '1s/^patches: *//p' "$letter")"
		last=${last:-$first}
		[ "$first" = $next ] || { echo "$letter begins with patch '$first', not with $next"; return 1; }
		[ $((last - first)) -lt 15 ] || { echo "$letter has $((last - first + 1)) patches"; return 1; }
		next=$((last + 1))
	done
	count=$(find patches -name '*.patch' | wc -l)
	[ $((next - 1)) = "$count" ] || { echo "the letters name $((next - 1)) patches, the series has $count"; return 1; }
}

check_size() {
	local patch lines big=()
	for patch in patches/*-selftests-*.patch; do
		lines=$(grep -c '^+' "$patch")
		[ "$lines" -le 1510 ] || big+=("${patch#patches/}: $lines lines")
	done
	[ ${#big[@]} = 0 ] || { printf '%s\n' "${big[@]}"; return 1; }
}

# Types of checkpatch's that do not apply here:
#   FILE_PATH_CHANGES  the MAINTAINERS entry comes with one patch, and covers what all of them add
#   EMBEDDED_FUNCTION_NAME
#                      a file of procfs that a helper of a test is named after
#   ENOSYS             the system calls of a later series answer it until then
#   MACRO_ARG_REUSE, MULTISTATEMENT_MACRO_USE_DO_WHILE
#                      macros of the tests that declare variants, or compare a value and show it
IGNORED_TYPES=EMBEDDED_FUNCTION_NAME,FILE_PATH_CHANGES,ENOSYS,MACRO_ARG_REUSE,MULTISTATEMENT_MACRO_USE_DO_WHILE
check_checkpatch() {
	local patch bad=()
	PATH=$CACHE/venv/bin:$PATH # its check of licences is in Python
	for patch in patches/*.patch; do
		[ -e "$patch" ] || continue
		(cd "$TREE" && perl scripts/checkpatch.pl --strict --no-signoff --quiet --ignore $IGNORED_TYPES "$ROOT/$patch") ||
			bad+=("$patch")
	done
	[ ${#bad[@]} = 0 ] || { echo "${bad[*]}"; return 1; }
}

check_shellcheck() {
	shellcheck -x build.sh && shellcheck .ci/run tools/image/*.sh &&
		shellcheck -x -P SCRIPTDIR tools/integrations/*.sh tools/integrations/*/run.sh
}

check_clippy() { in_workspace clippy --locked -q --workspace --all-targets -- -D warnings; }

# cargo, without the network if what it needs is there.
cached() { CARGO_NET_OFFLINE=true cargo "$@" || cargo "$@"; }

# The kevent crate as it would be published, unpacked where there is no repository.
check_crate() {
	local dir=$CACHE/target/published name
	export CARGO_TARGET_DIR=$dir/target
	rm -rf "$dir/kevent" "$dir/user" && mkdir -p "$dir/kevent" "$dir/user" || return
	cached package -q -p kevent --no-verify --allow-dirty || { echo "cargo package refuses it"; return 1; }
	name=$(echo "$dir"/target/package/kevent-*.crate)
	# With the time of now, for cargo to see what is new.
	tar -xzmf "$name" --strip-components=1 -C "$dir/kevent" && rm "$name" || return
	(cd "$dir/kevent" && cached test -q && RUSTDOCFLAGS='-D warnings' cached doc -q --no-deps) ||
		{ echo "its tests or its documentation fail outside of the repository"; return 1; }
	# With std in it there would be two panic handlers.
	cat >"$dir/user/Cargo.toml" <<-END
	[package]
	name = "user"
	version = "0.0.0"
	edition = "2021"
	[lib]
	path = "lib.rs"
	crate-type = ["staticlib"]
	[dependencies]
	kevent = { path = "../kevent", default-features = false }
	[profile.dev]
	panic = "abort"
	[workspace]
	END
	cat >"$dir/user/lib.rs" <<-END
	#![no_std]
	pub use kevent::ring::View;
	#[panic_handler]
	fn panic(_: &core::panic::PanicInfo) -> ! {
	    loop {}
	}
	END
	cp "$dir/kevent/Cargo.lock" "$dir/user/" || return
	(cd "$dir/user" && cached build -q) || { echo "without its features it is not no_std"; return 1; }
	check_crate_msrv "$dir/user"
}

# With the oldest compiler that the crate is for, if rustup has it; clippy's incompatible_msrv looks at
# what it uses of the standard library in any case.
check_crate_msrv() {
	local msrv toolchain
	msrv=$(sed -n 's/^rust-version = "\(.*\)"$/\1/p' tools/kevent/Cargo.toml)
	toolchain=$(rustup toolchain list 2>/dev/null | grep -oE "^${msrv//./\\.}(\.[0-9]+)?-[^ ]+" | head -n 1)
	[ -n "$toolchain" ] || { echo "there is no Rust $msrv here: rustup toolchain install $msrv"; return 0; }
	echo 'pub use kevent::sys;' >"$1/lib.rs"
	(cd "$1" && cached "+$toolchain" build -q &&
		sed -i 's/, default-features = false//' Cargo.toml && cached "+$toolchain" build -q) ||
		{ echo "it does not build with Rust $msrv"; return 1; }
}

# Each block is compiled by itself; one without #include gets those that its calls need.
check_code() {
	local page dir
	dir=$(mktemp -d "$CACHE/code.XXXXXX")
	TEMPS+=("$dir")
	for page in README.md Documentation/*.md; do
		awk -v stem="$dir/$(basename "$page" .md)" '
			/^```c$/ { file = stem "-" ++count ".c"; next }
			/^```/ { file = ""; next }
			file { print >file }' "$page"
	done
	for page in "$dir"/*.c; do
		[ -e "$page" ] || { echo "no page has C code"; return 1; }
		grep -q '#include' "$page" || sed -i '1i #include <errno.h>\n#include <signal.h>\n#include <stdint.h>\n#include <sys/epoll.h>\n#include <sys/timerfd.h>\n#include <kevent.h>' "$page"
		cc -std=gnu11 -Wall -Wextra -Wno-unused-function -Werror -Itools/libkevent/include -fsyntax-only "$page" ||
			{ echo "the code of ${page##*/} does not compile"; return 1; }
	done
	diff -u tools/libkevent/examples/hello.c <(sed -n '/^```c$/,/^```$/p' README.md | sed '1d;$d' | sed '1i /* SPDX-License-Identifier: MIT */') ||
		{ echo "the program in README.md is not tools/libkevent/examples/hello.c"; return 1; }
}

# The words of each picture: where they are depends on the version of Graphviz.
check_pictures() {
	local dot bad=0
	for dot in Documentation/pictures/*.dot; do
		diff <(dot -Tsvg "$dot" | picture_words) <(picture_words <"${dot%.dot}.svg") ||
			{ echo "not up to date: dot -Tsvg $dot >${dot%.dot}.svg"; bad=1; }
	done
	return $bad
}
picture_words() { grep -oE '<(text|title)[^>]*>[^<]*' | sed 's/^[^>]*>//' | sort; }

# A path of a machine: a home folder, or a work folder at the top.
check_paths() {
	local found
	found=$(git grep -nIE '(^|[^[:alnum:]_./-])/(root|work|home/[[:alnum:]]+|Users)/' -- . || true)
	[ -z "$found" ] || { echo "$found"; echo "$(echo "$found" | wc -l) lines name a path of a machine"; return 1; }
}
