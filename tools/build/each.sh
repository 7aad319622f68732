# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-only
#
# each: the series patch by patch, so that a bisection never ends in one that does not build.

help_each() {
	cat <<-END
	Usage: ./build.sh each [--touched] [--tree DIR] [N...]

	Builds the kernel after each patch (after patch N only, if any are named), with CONFIG_KEVENT=y and =n,
	in a tree of its own, and ends in 'N passed, N failed, N skipped'.  Hours on two cores: a patch that
	changes a central header builds everything again.  What has been built before, with these compilers
	and configurations, is not built again; an interrupted run goes on where it was.  A patch that changes
	nothing that is built, as those of the selftests, is as good as the one before.

	With --touched, only kernel/kevent, the Rust crates and the objects of the C files that the series
	changes are built, without linking the kernel, and the documentation's tests of rust/ only after
	patches that change it: an hour.

	Before the patch that adds the option CONFIG_KEVENT, only the rest is built.
	END
}

verb_each() {
	local number=0 commit wanted variant argument
	local -a arguments=()
	TOUCHED=
	for argument; do
		case $argument in
		--touched) TOUCHED=touched ;;
		*) arguments+=("$argument") ;;
		esac
	done
	parse_options ${arguments[@]+"${arguments[@]}"}
	wanted=" ${ARGS[*]-} "
	for commit in ${ARGS[@]+"${ARGS[@]}"}; do
		[[ $commit =~ ^[0-9]+$ ]] || die "'$commit' is not the number of a patch: see ./build.sh each --help"
	done
	open_cache
	make_tree
	use_tools
	check_tools
	EACH=$WORK/each
	mkdir -p "$EACH"
	if [ ! -e "$EACH/linux/.git" ]; then
		need_space 6000 "$CACHE" "building each patch"
		git -C "$TREE" worktree prune
		git -C "$TREE" worktree add -q --detach "$EACH/linux" base
	fi
	for commit in $(git -C "$TREE" rev-list --reverse base..HEAD); do
		number=$((number + 1))
		[ "$wanted" = "  " ] || [[ $wanted == *" $number "* ]] || continue
		for variant in default nokevent; do
			each_build "$number" "$commit" "$variant"
		done
	done
	say "$PASSED passed, $FAILED failed, $SKIPPED skipped"
	[ "$FAILED" = 0 ] || exit 1
}

# each_build NUMBER COMMIT VARIANT
each_build() {
	local name stamp start=$SECONDS
	name=$(printf '%04d %s' "$1" "$3")
	fragments "$3"
	stamp=$EACH/$({
		each_sources "$2" "$3"
		echo "$TOUCHED"
		cat "${FRAGMENTS[@]}"
		compiler_versions
	} | sha256sum | cut -c1-40)
	if [ ! -e "$stamp" ]; then
		git -C "$EACH/linux" checkout -q --force --detach "$2"
		if ! logged "each-$1-$3" each_make "$3"; then
			say "FAIL  $name: $(grep -m1 -E '(^|[: ])(fatal )?error(\[E[0-9]+\])?:|warning:|^make.*\*\*\*' "$LOG/each-$1-$3.log") (log: $LOG/each-$1-$3.log)"
			FAILED=$((FAILED + 1))
			return
		fi
		touch "$stamp"
	fi
	say "ok    $name ($(clock $((SECONDS - start))))"
	PASSED=$((PASSED + 1))
}

# each_sources COMMIT VARIANT: what of the commit is built.
each_sources() {
	git -C "$TREE" ls-tree "$1" | grep -vE '	(Documentation|MAINTAINERS|kernel|samples|tools)$'
	if [ "$2" = nokevent ]; then
		git -C "$TREE" ls-tree "$1" kernel/ kernel/kevent/Kconfig | grep -v '	kernel/kevent$'
	else
		git -C "$TREE" ls-tree "$1" kernel/
	fi
}

# each_targets VARIANT: what is made of the commit that is checked out.
each_targets() {
	if [ -z "$TOUCHED" ]; then
		echo bzImage
		return
	fi
	echo prepare
	git -C "$EACH/linux" diff --quiet HEAD^ HEAD -- rust || echo rust/
	if [ "$1" = default ] && [ -e "$EACH/linux/kernel/kevent/Makefile" ]; then
		echo kernel/kevent/
	fi
	touched_objects
}

each_make() {
	local out=$EACH/$1 kconfig=$EACH/linux/kernel/kevent/Kconfig
	mkdir -p "$out"
	(cd "$EACH/linux" && scripts/kconfig/merge_config.sh -n -Q -O "$out" "${FRAGMENTS[@]}") || return
	if [ "$1" = default ] && [ -e "$kconfig" ]; then
		grep -qx CONFIG_KEVENT=y "$out/.config" || { echo "error: CONFIG_KEVENT=y cannot be had"; return 1; }
	fi
	# shellcheck disable=SC2046 # These are words.
	make -C "$EACH/linux" O="$out" -j"$(nproc)" $(each_targets "$1") 2>&1 | tee "$out/last.log"
	[ "${PIPESTATUS[0]}" = 0 ] || return 1
	! grep -E '(rust|kernel/kevent|include/linux/kevent).*warning:|^warning:' "$out/last.log"
}
