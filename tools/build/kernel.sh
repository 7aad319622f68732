# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-only
#
# kernel: configures and builds one variant of the kernel.

help_kernel() {
	cat <<-END
	Usage: ./build.sh kernel [--kernel VARIANT] [--tree DIR]

	Configures and builds the kernel in $BUILD/VARIANT, after setup and tree.
	12 minutes on two cores the first time, seconds after an edit.
	Variants: $(variants | tr '\n' ' ')

	A variant is selftests/configs/default.config and, for all others, selftests/configs/VARIANT.config
	on top of it; what neither names is off, but in 'vm' what Kconfig has as its default.
	END
}

variants() { find "$ROOT/selftests/configs" -name '*.config' -printf '%f\n' | sed 's/\.config$//' | sort; }

verb_kernel() {
	parse_options "$@"
	no_args
	fragments "$VARIANT"
	open_cache
	make_tree
	build_kernel "$VARIANT"
}

kernel_image() { echo "$BUILD/$1/arch/x86/boot/bzImage"; }

# build_kernel VARIANT [bindeb-pkg]: or the kernel's packages, which are then beside its folder.
build_kernel() {
	local out=$BUILD/$1 goal=${2:-bzImage} start=$SECONDS
	fragments "$1"
	use_tools
	check_tools
	[ -e "$out/.config" ] || need_space "$([ "$1" = vm ] && echo 4000 || echo 2000)" "$CACHE" "building a kernel"
	mkdir -p "$out"
	configure "$1"
	[ -e "$(kernel_image "$1")" ] || say "building kernel '$1', $([ "$1" = vm ] && echo 30 || echo 12) minutes on two cores"
	if ! logged "kernel-$1" make -C "$TREE" O="$out" -j"$(nproc)" "$goal"; then
		grep -m1 -A12 -E '(^|[: ])(fatal )?error(\[E[0-9]+\])?:|^ld.lld: error' "$LOG/kernel-$1.log" >&2 || true
		die "kernel '$1' does not build: $(grep -m1 -E '^make.*\*\*\*' "$LOG/kernel-$1.log" || tail -n 1 "$LOG/kernel-$1.log") (log: $LOG/kernel-$1.log)"
	fi
	say "kernel '$1' is built ($(clock $((SECONDS - start)))): $(kernel_image "$1")"
}

# Sets FRAGMENTS to the files that make up a variant.
fragments() {
	local own=$ROOT/selftests/configs/$1.config
	[ "$1" != uml ] || die "variant 'uml' is no machine to boot: it is built and run by ./build.sh test --kernel uml"
	[ -e "$own" ] || die "there is no kernel variant '$1': the variants are $(variants | tr '\n' ' ')"
	FRAGMENTS=("$ROOT/selftests/configs/default.config")
	[ "$1" = default ] || FRAGMENTS+=("$own")
	if [[ $1 = default || $1 = bench || $1 = vm ]] && [ "$(llvm_version)" = "$(rustc_llvm)" ]; then
		FRAGMENTS+=("$ROOT/selftests/configs/inline-helpers.fragment")
	fi
}

# The compilers, against what the tree says it needs.
check_tools() {
	local need=$TREE/scripts/min-tool-version.sh clang
	clang=$(clang --version 2>/dev/null | sed -n 's/.*clang version \([0-9.]*\).*/\1/p')
	check_tool clang "$clang" "$("$need" llvm)" "./build.sh setup installs clang-$(llvm_version)"
	check_tool rustc "$(rustc --version | cut -d' ' -f2)" "$("$need" rustc)" "run 'rustup update stable'"
	check_tool bindgen "$(bindgen --version 2>/dev/null | cut -d' ' -f2)" "$("$need" bindgen)" "./build.sh setup installs bindgen $BINDGEN"
	command -v ld.lld >/dev/null || die "ld.lld is missing: ./build.sh setup installs lld-19"
	logged rustavailable make -C "$TREE" O="$CACHE/stamp" rustavailable ||
		die "the kernel cannot use this Rust: $(grep -m1 '^\*\*\* [^*]' "$LOG/rustavailable.log" | cut -c5-) (log: $LOG/rustavailable.log)"
}
check_tool() {
	[ -n "$2" ] || die "$1 is missing: $4"
	at_least "$2" "$3" || die "$1 $2 is too old, this kernel needs $3 or later: $4"
}

# What else than its sources a kernel depends on.
compiler_versions() { clang --version && rustc --version && bindgen --version; }

# The C files of the kernel that the series changes, as objects.
touched_objects() {
	git -C "$TREE" diff --name-only --diff-filter=M base -- '*.c' |
		grep -vE '^(tools|samples|rust|scripts)/' | sed 's/\.c$/.o/'
}

# Configure again only when the fragments, a Kconfig file or a compiler changed: the build stays
# incremental.
configure() {
	local out=$BUILD/$1 key
	key=$({
		cat "${FRAGMENTS[@]}"
		git -C "$TREE" ls-files -s '*Kconfig*' scripts/kconfig
		git -C "$TREE" diff HEAD -- '*Kconfig*' scripts/kconfig
		compiler_versions
	} | sha256sum)
	[ "$key" != "$(cat "$out/.kevent-config" 2>/dev/null)" ] || [ ! -e "$out/.config" ] || return 0
	rm -f "$out/.kevent-config"
	logged "config-$1" merge_config "$out" ||
		die "kernel '$1' cannot be configured: $(grep -m1 -iE 'error|\*\*\*' "$LOG/config-$1.log") (log: $LOG/config-$1.log)"
	check_config "$out/.config"
	echo "$key" >"$out/.kevent-config"
}
merge_config() {
	local rest=(-n)
	[ "$1" != "$BUILD/vm" ] || rest=()
	cd "$TREE" && scripts/kconfig/merge_config.sh ${rest[@]+"${rest[@]}"} -Q -O "$1" "${FRAGMENTS[@]}"
}

# Every option a fragment asks for must have come out as asked.
check_config() {
	local lost
	lost=$(awk '
		{ sub(/[ \t]+$/, "") }
		/^# CONFIG_[A-Za-z0-9_]+ is not set$/ { name = $2; value = "n" }
		/^CONFIG_/ { name = substr($0, 1, index($0, "=") - 1); value = substr($0, index($0, "=") + 1) }
		!/^(# )?CONFIG_/ { next }
		FILENAME == ARGV[ARGC - 1] { is[name] = value; next }
		{ want[name] = value }
		END {
			for (name in want) {
				got = name in is ? is[name] : "n"
				if (got != want[name]) printf "%s=%s (is %s) ", name, want[name], got
			}
		}' "${FRAGMENTS[@]}" "$1")
	[ -z "$lost" ] || die "these options of ${FRAGMENTS[*]##*/} did not come out as asked, look at their 'depends on': $lost"
}

# kunit_py run|build DIR OPTIONS...: a kernel with kevent's KUnit tests as an ordinary program, in DIR, by
# the tree's own kunit.py.
kunit_py() {
	local verb=$1 dir=$2
	shift 2
	cd "$TREE" && ./tools/testing/kunit/kunit.py "$verb" --build_dir "$dir" --make_options LLVM=1 --jobs "$(nproc)" \
		--kunitconfig /dev/null --kconfig_add CONFIG_KUNIT=y --kconfig_add CONFIG_RUST=y \
		--kconfig_add CONFIG_KEVENT=y --kconfig_add CONFIG_KEVENT_KUNIT_TEST=y "$@"
}
