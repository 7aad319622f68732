# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-only
#
# man: the manual pages in tools/man and of libkevent are well formed, and the program in each compiles; and in the
# booted kernel those programs run, and the kevent crate's live tests and examples.

MAN_OUT=$CACHE/target/man
# The kernel's header, as the programs in the pages and the crate see it.
MAN_UAPI=tools/kevent/uapi/kevent.h
MAN_PAGES=(tools/man/man[27]/* tools/libkevent/man/man3/*)

check_man() {
	local page bad=0
	for page in "${MAN_PAGES[@]}"; do
		man_lint "$page" || bad=1
		man_sections "$page" || bad=1
	done
	man_calls || bad=1
	man_functions || bad=1
	man_programs || bad=1
	return $bad
}

# The formatters have nothing to say.
man_lint() {
	local said
	said=$(mandoc -Tlint -W warning "$1" 2>&1; groff -ww -rCHECKSTYLE=10 -man -Tutf8 "$1" 2>&1 >/dev/null)
	[ -z "$said" ] || { echo "$said"; return 1; }
}

# The sections that each page must have are there, in the order of man-pages(7).
man_sections() {
	local order=' NAME LIBRARY SYNOPSIS DESCRIPTION RETURN_VALUE ERRORS FILES VERSIONS STANDARDS HISTORY NOTES EXAMPLES SEE_ALSO '
	local section place last=0 needed='NAME SYNOPSIS DESCRIPTION STANDARDS HISTORY EXAMPLES SEE_ALSO' have=' '
	[[ $1 != *.2 ]] || needed+=' LIBRARY RETURN_VALUE ERRORS'
	[[ $1 != *.3 ]] || needed+=' LIBRARY RETURN_VALUE'
	while read -r section; do
		section=${section// /_}
		place=${order%%" $section "*}
		[ "$place" != "$order" ] || { echo "$1: no section of man-pages(7): $section"; return 1; }
		[ ${#place} -ge "$last" ] || { echo "$1: section out of order: $section"; return 1; }
		last=${#place} have+="$section "
	done < <(sed -n 's/^\.SH //p' "$1")
	for section in $needed; do
		[[ $have == *" $section "* ]] || { echo "$1: section missing: $section"; return 1; }
	done
}

# Every call has a page, and the page of the whole names every constant family and flag.
man_calls() {
	local call flag bad=0
	for call in create add modify remove post wait get_events; do
		[ -e "tools/man/man2/kevent_$call.2" ] || { echo "no page for kevent_$call"; bad=1; }
	done
	for flag in $(sed -nE 's/^#define[[:space:]]+(KEVENT_(WATCH|MODIFY|CREATE|ADD|POST|WAIT|FEATURE|RING|INFO|SOURCE)_[A-Z_]+)[[:space:](].*/\1/p' "$MAN_UAPI"); do
		grep -qrE "(^|[^A-Z_])$flag([^A-Z_]|$)" tools/man || { echo "no page has $flag"; bad=1; }
	done
	return $bad
}

# Every function of libkevent that is not a system call is in the NAME of a page.
man_functions() {
	local name bad=0
	for name in $(sed -nE 's/^\t\t((kevent|ec)_[a-z_]+);$/\1/p' tools/libkevent/libkevent*.map | sort -u); do
		[ ! -e "tools/man/man2/$name.2" ] && [ "$name" != kevent_process_generation ] || continue
		grep -qE "^([a-z_, ]* )?$name(,| \\\\-)" tools/libkevent/man/man3/*.3 || { echo "no page for $name"; bad=1; }
	done
	return $bad
}

# The numbers of the calls, for a C library that does not have them.
man_numbers() {
	local call nr=473
	for call in create add modify remove post wait get_events; do
		echo "-DSYS_kevent_$call=$((nr++))"
	done
}

# Takes the program out of each page, and compiles it.
man_programs() {
	local page name bad=0
	local libkevent=$CACHE/target/libkevent
	rm -rf "$MAN_OUT" && mkdir -p "$MAN_OUT/include/linux" && cp "$MAN_UAPI" "$MAN_OUT/include/linux/" || return
	in_library libkevent "$libkevent/libkevent.a" || return
	for page in "${MAN_PAGES[@]}"; do
		name=$(sed -n 's/^\.\\" SRC BEGIN (\(.*\)\.c)$/\1/p' "$page")
		[ -n "$name" ] || { echo "$page: no program"; bad=1; continue; }
		sed -n '/^\.\\" SRC BEGIN/,/^\.\\" SRC END/p' "$page" |
			sed -e '/^\.\(\\"\|EX\|EE\)/d' -e 's/^\\&//' -e 's/\\-/-/g' -e 's/\\\[rs\]/\\/g' >"$MAN_OUT/$name.c"
		# shellcheck disable=SC2046
		cc -std=gnu11 -O2 -Wall -Wextra -Wno-sign-compare -Werror -I"$MAN_OUT/include" $(man_numbers) \
			-Itools/libkevent/include -o "$MAN_OUT/$name" "$MAN_OUT/$name.c" -pthread "$libkevent/libkevent.a" || { echo "$page: its program does not compile"; bad=1; }
	done
	return $bad
}

# --- in the booted kernel ------------------------------------------------------------------------

# crate: the kevent crate's live tests and examples, kevent-top's, and the programs of the manual pages.
test_crate_live() {
	local program log=$LOG/crate-live.log programs=() totals
	if ! grep -q KEVENT_INFO_POSTED "$TREE/include/uapi/linux/kevent.h"; then
		say "kevent crate and manual pages live: skipped, the tree has the first edition of the interface"
		SKIPPED=$((SKIPPED + 1))
		return
	fi
	build_kernel "$VARIANT"
	if ! logged crate-live-build build_crate_live; then
		say "FAIL  kevent crate: its live tests do not build (log: $LOG/crate-live-build.log)"
		FAILED=$((FAILED + 1))
		return
	fi
	mapfile -t programs <"$CACHE/target/crate-live.list"
	# shellcheck disable=SC2016  # the shell in the guest expands it
	logged crate-live boot_kernel "$VARIANT" sh -c 'while read -r program; do if timeout 300 "$program" </dev/null; then echo "ended well: $program"; else echo "failed: $program"; fi; done <"$0"' "$CACHE/target/crate-live.list" || true
	for program in "${programs[@]}"; do
		tr -d '\r' <"$log" | grep -qx "ended well: $program" || say "FAIL  live: ${program##*/} (log: $log)"
	done
	# Each program is one test, those of the crate's live tests are themselves.
	totals=$(tr -d '\r' <"$log" | awk -v programs=${#programs[@]} '
		/^test .* \.\.\. ok$/     { tests++ }
		/^test .* FAILED$/        { failed++ }
		/^skipped: /              { skipped++ }
		/^ended well: /           { well++ }
		END { printf "%d passed, %d failed, %d skipped", tests + well, failed + programs - well, skipped }')
	say "kevent crate and manual pages live: $totals"
	add_totals "$totals"
}

# Builds them, and lists the programs.
build_crate_live() {
	local list=$CACHE/target/crate-live.list
	man_programs || return
	in_workspace build -p kevent --examples || return
	in_workspace test -p kevent -p kevent-top --test live --test top --test trace --no-run --message-format json >"$list.json" || return
	{
		sed -n 's/.*"executable":"\([^"]*\)".*/\1/p' "$list.json" | grep -E '/(live|top|trace)-'
		printf '%s\n' "$CACHE"/target/debug/examples/{hello,echo,everything}
		find "$MAN_OUT" -type f -perm -u+x | sort
	} >"$list"
}
