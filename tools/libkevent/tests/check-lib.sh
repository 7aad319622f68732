# shellcheck shell=sh
# SPDX-License-Identifier: MIT
#
# For check.sh: counts results, and says them as KTAP.
set -u
passed=0 failed=0 skipped=0
OUT=$(cd "$OUT" && pwd)

ok() { passed=$((passed + 1)) && echo "ok $((passed + failed + skipped)) $1"; }
not_ok() { failed=$((failed + 1)) && echo "not ok $((passed + failed + skipped)) $1"; }
skip() { skipped=$((skipped + 1)) && echo "ok $((passed + failed + skipped)) $1 # SKIP $2"; }
judge() { if [ "$1" = 0 ]; then ok "$2"; else not_ok "$2"; fi; }

# program NAME COMMAND...: counts the results of a program's tests; ending badly is one more.
program() {
	name=$1
	shift
	"$@" >"$OUT/$name.ktap" 2>"$OUT/$name.err"
	status=$?
	while read -r first number rest; do
		case "$first $rest" in
		"ok "*"# SKIP"*) skip "$name: ${rest%% *}" "${rest#*# SKIP }" ;;
		"ok "*) ok "$name: $rest" ;;
		"not "*) not_ok "$name: ${rest#* }" ;;
		"# "*) echo "# $number $rest" ;;
		esac
	done <"$OUT/$name.ktap"
	if ! grep -q '^1\.\.' "$OUT/$name.ktap"; then
		sed 's/^/# /' "$OUT/$name.err"
		not_ok "$name: did not get to its end (status $status)"
	elif [ $status != 0 ] && ! grep -q '^not ok' "$OUT/$name.ktap"; then
		head -n 40 "$OUT/$name.err" | sed 's/^/# /'
		not_ok "$name: status $status"
	fi
}

finish() {
	echo "1..$((passed + failed + skipped))"
	echo "$passed passed, $failed failed, $skipped skipped"
	[ $failed = 0 ]
}
