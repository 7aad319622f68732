# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-only
#
# batch: one batch of the series, as it is mailed.

help_batch() {
	cat <<-END
	Usage: ./build.sh batch N DIR [--tree DIR]

	Writes batch N of the series to DIR, a new folder: patches that are numbered within the batch, and
	a cover letter with the text of Documentation/cover-letters/, the diffstat, the commit that the
	batch is based on and the patches it needs.  Batches: $(batches | tr '\n' ' ')

	With --tree, a clone of the kernel, the base is the tag of that clone, which others have too.
	END
}

batches() {
	local letter
	for letter in "$ROOT"/Documentation/cover-letters/*.txt; do basename "$letter" .txt; done
}

verb_batch() {
	local letter dir first last cover
	parse_options "$@"
	[ ${#ARGS[@]} = 2 ] || die "batch needs a number and a new folder: see ./build.sh batch --help"
	letter=$(find "$ROOT/Documentation/cover-letters" -name "${ARGS[0]}-*.txt")
	[ -n "$letter" ] || die "there is no batch '${ARGS[0]}': the batches are $(batches | tr '\n' ' ')"
	dir=${ARGS[1]}
	case $dir in /*) ;; *) dir=$CALLER/$dir ;; esac
	[ ! -e "$dir" ] || die "$dir exists: name a new folder"
	IFS=- read -r first last <<<"$(sed -n '1s/^patches: *//p' "$letter")"
	open_cache
	make_tree
	mkdir -p "$dir"
	logged batch write_batch "$dir" "$first" "${last:-$first}" ||
		die "the batch cannot be written: $(tail -n 1 "$LOG/batch.log") (log: $LOG/batch.log)"
	cover=$dir/0000-cover-letter.patch
	[ ! -e "$cover" ] || fill_cover "$letter" "$cover"
	say "batch ${ARGS[0]}, patches $first to ${last:-$first}: $dir"
}

# write_batch DIR FIRST LAST
write_batch() {
	local commits cover=--cover-letter
	mapfile -t commits < <(git -C "$TREE" rev-list --reverse base..kevent)
	[ "$3" -le ${#commits[@]} ] || {
		echo "the series has ${#commits[@]} patches, the batch ends with $3"
		return 1
	}
	[ "$2" != "$3" ] || cover=--no-cover-letter
	git -C "$TREE" format-patch -q $cover --numbered --base=base -o "$1" "${commits[$2 - 1]}^..${commits[$3 - 1]}"
}

# fill_cover LETTER COVER: puts subject and text of a letter into what format-patch has made.
fill_cover() {
	awk -v letter="$1" '
		BEGIN { getline line <letter; getline subject <letter; while ((getline line <letter) > 0) body = body line "\n" }
		{ sub(/\*\*\* SUBJECT HERE \*\*\*/, subject) }
		/^\*\*\* BLURB HERE \*\*\*$/ { sub(/^\n+/, "", body); sub(/\n+$/, "", body); print body; next }
		{ print }' "$2" >"$2.new"
	mv "$2.new" "$2"
}
