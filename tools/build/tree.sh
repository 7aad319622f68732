# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-only
#
# tree, refresh, clean: the kernel tree with the series on it.  The logic is in tools/series.

help_tree() {
	cat <<-END
	Usage: ./build.sh tree [--tree DIR]

	Applies patches/ with git am to the base, on branch 'kevent' of $CACHE/linux.
	10 s; nothing when it is up to date.  When patches/ changed they are applied again, touching only
	the files that differ.  Edits and commits in the tree are never thrown away: when patches/
	changed as well it stops and says what to do.

	  --tree DIR   use the newest v7.3* tag of the kernel clone DIR, in a clone of its own that shares
	               DIR's objects; DIR itself is not changed.  Every verb that uses the tree takes this.
	END
}

help_refresh() {
	cat <<-END
	Usage: ./build.sh refresh [--tree DIR] [--into N FILE...]...

	Folds every edit, made in kernel-tree-overlay/ or in the tree, into the patch that owns the
	edited lines, and writes patches/ and the overlay again.  5 s.
	Commits made in the tree become patches; 'git commit --fixup' and rebased commits are respected.
	A new file belongs to no patch yet: commit it in the tree (a new patch), or name its patch.  An
	edit that several patches could own is not folded: the error says which patches these are.

	  --into N FILE...   fold all edits of these files (kernel paths) into patch N
	END
}

help_clean() {
	cat <<-END
	Usage: ./build.sh clean [--force]

	Removes $CACHE.  Refuses while its tree has edits that are not in patches/, unless --force is given.
	END
}

verb_tree() {
	parse_options "$@"
	no_args
	open_cache
	make_tree
}

make_tree() {
	setup_all
	series apply
}

verb_refresh() {
	local before=()
	while [ $# -gt 0 ] && [ "$1" != --into ]; do # --into takes all that follows
		before+=("$1") && shift
	done
	parse_options ${before[@]+"${before[@]}"}
	no_args
	open_cache
	setup_all
	series refresh "$@"
	write_uapi_copies
}

verb_clean() {
	local force='' repository applied
	if [ "${1:-}" = --force ]; then force=1 && shift; fi
	[ $# = 0 ] || die "unexpected '$1': see ./build.sh clean --help"
	[ -d "$CACHE" ] || return 0
	exec 9>>"$CACHE/lock"
	flock -n 9 || die "another build.sh (process $(head -n1 "$CACHE/lock")) is using $CACHE: run this again when it has ended"
	for repository in "$CACHE"/linux "$CACHE"/clones/*/linux; do
		if [ -n "$force" ] || [ ! -e "$repository/.git" ]; then continue; fi
		applied=$(git -C "$repository" rev-parse -q --verify refs/kevent/applied || git -C "$repository" rev-parse base)
		if [ -n "$(git -C "$repository" status --porcelain)" ] || [ "$(git -C "$repository" rev-parse HEAD)" != "$applied" ]; then
			die "$repository has edits that are not in patches/: run './build.sh refresh' first, or './build.sh clean --force'"
		fi
	done
	rm -rf -- "$CACHE"
	say "removed $CACHE"
}

# --- a developer's own clone -------------------------------------------------------------------

# use_clone DIR: from here on work on DIR's newest v7.3* tag, in a folder of its own in the cache.
use_clone() {
	CLONE_OF=$(cd "$CALLER" && git -C "$1" rev-parse --path-format=absolute --git-common-dir 2>/dev/null) ||
		die "$1 is not a git repository: --tree needs a clone of the kernel"
	BASE_TAG=$(git -C "$CLONE_OF" -c versionsort.suffix=-rc tag --sort=-v:refname -l 'v7.3' 'v7.3[-.]*' | head -n 1)
	[ -n "$BASE_TAG" ] || die "$1 has no tag v7.3*: fetch the tags of Linux 7.3 into it"
	set_work "$CACHE/clones/$(basename "$(dirname "$CLONE_OF")")-$(echo "$CLONE_OF" | cksum | cut -d' ' -f1)"
}

# A clone that borrows the developer's objects: nothing at all changes in theirs.
clone_base() {
	need_space 2000 "$CACHE" "a tree of $BASE_TAG"
	mkdir -p "$WORK"
	rm -rf "$TREE.new"
	TEMPS+=("$TREE.new")
	logged clone unpack_clone || die "cannot clone $CLONE_OF: $(tail -n 1 "$LOG/clone.log")"
	mv "$TREE.new" "$TREE"
}
unpack_clone() {
	git clone --shared --no-checkout --single-branch --branch "$BASE_TAG" "$CLONE_OF" "$TREE.new" &&
		cd "$TREE.new" &&
		git config gc.auto 0 &&
		git config user.name kevent && git config user.email kevent@kevent.invalid &&
		git checkout -q -b kevent "$BASE_TAG^{commit}" &&
		git tag -f base "$BASE_TAG^{commit}"
}
