# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-only
#
# test integrations: other people's event loops on kevent, each with its own upstream's tests, in the
# booted kernel, beside the same tests on the backend that they have, and on a kernel without kevent.

INTEGRATIONS=$ROOT/tools/integrations
# What 'short' is without names: what is done in three minutes once it is built, and measures no time.
INTEGRATIONS_SHORT=(mio libevent selectors epoll)

integrations() { find "$INTEGRATIONS" -mindepth 2 -maxdepth 2 -name run.sh -printf '%h\n' | sed 's|.*/||' | sort; }

# test_integrations [short] [NAME...]: 'short' is the part that is quick, in one machine for all.
test_integrations() {
	local name names short=''
	[ "${1:-}" != short ] || { short=short && shift; }
	names=("$@")
	[ ${#names[@]} != 0 ] || [ -z "$short" ] || names=("${INTEGRATIONS_SHORT[@]}")
	[ ${#names[@]} != 0 ] || mapfile -t names < <(integrations)
	for name in "${names[@]}"; do
		[ -e "$INTEGRATIONS/$name/run.sh" ] ||
			die "there is no integration '$name': there are $(integrations | tr '\n' ' ')"
	done
	build_kernel "$VARIANT"
	build_kernel nokevent
	mkdir -p "$CACHE/integrations/src"
	if [ -n "$short" ]; then
		test_integrations_of short "${names[@]}"
	else
		for name in "${names[@]}"; do test_integrations_of '' "$name"; done
	fi
}

# test_integrations_of SHORT NAME...: those that can be built, in one machine with and one without kevent.
test_integrations_of() {
	local short=$1 name built=() start=$SECONDS log totals
	shift
	for name; do
		if integration_build "$name" "$short"; then built+=("$name"); fi
	done
	[ ${#built[@]} != 0 ] || return 0
	[ -z "$short" ] || start=$SECONDS # once for all
	integrations_boot "$VARIANT" "$short" 'stock kevent' "${built[@]}"
	integrations_boot nokevent "$short" fallback "${built[@]}"
	for name in "${built[@]}"; do
		log=$LOG/integration-$name
		integration_judge "$INTEGRATIONS/$name/differences" "$log-$VARIANT.log" "$log-nokevent.log" >"$log.log"
		grep -vE '^(ok|skip) ' "$log.log" | sed -e '$d' -e "s/^not ok /FAIL  $name: /" -e "s/^note /note  $name: /" || true
		totals=$(tail -n 1 "$log.log")
		[[ $totals == *" 0 failed"* ]] || say "      (logs: $log*.log)"
		say "$name: $totals"
		add_totals "$totals"
	done
	say "integrations${short:+ $short}: ${built[*]}: $(clock $((SECONDS - start)))"
}

# integration NAME ARGUMENTS...: its run.sh, on this machine.
integration() {
	local name=$1 out=$CACHE/integrations/$1
	shift
	mkdir -p "$out"
	ROOT=$ROOT OUT=$out SRC=$CACHE/integrations/src TREE=$TREE MIRROR=$(debian_mirror) bash "$INTEGRATIONS/$name/run.sh" "$@"
}

# integration_build NAME SHORT: fails, having said why, if there is nothing to test.
integration_build() {
	local name=$1 status=0 log=$LOG/integration-$1-build.log
	logged "integration-$name-build" integration "$name" build "$2" || status=$?
	if [ $status = 3 ]; then
		say "skip  $name: $(tail -n 1 "$log") (log: $log)"
		SKIPPED=$((SKIPPED + 1))
	elif [ $status != 0 ]; then
		say "FAIL  $name: it does not build: $(grep -m1 -iE 'error' "$log" || tail -n 1 "$log") (log: $log)"
		FAILED=$((FAILED + 1))
	else
		sed -n "s/^cannot get /skip  $name: without /p" "$log" # one of several sources
	fi
	return $status
}

# integrations_boot KERNEL SHORT BACKENDS NAME...: the log of each is integration-NAME-KERNEL.log.
integrations_boot() {
	local kernel=$1 short=$2 backends=$3 name log=$LOG/integrations-$1.log BOOT_OPTIONS=(--append kunit.enable=0) # tested elsewhere
	shift 3
	logged "integrations-$kernel" boot_kernel "$kernel" env ROOT="$ROOT" OUTS="$CACHE/integrations" \
		bash "$INTEGRATIONS/guest.sh" "$INTEGRATIONS" "$short" "$backends" "$@" || true
	for name; do
		tr -d '\r' <"$log" | awk -v name="$name" '/^integration / { on = $2 == name; next } on' >"$LOG/integration-$name-$kernel.log"
	done
}

# integration_judge DIFFERENCES LOG LOG-WITHOUT: 'ok', 'not ok', 'skip' and 'note' lines, and the totals.
# A test must pass on kevent, and where there is none, if it passes on the stock backend.  DIFFERENCES has
# 'BACKEND TEST-PATTERN cause' lines for those that need not.
integration_judge() {
	touch "$LOG/none" # there may be no differences
	[ -e "$1" ] || set -- "$LOG/none" "$2" "$3"
	tr -d '\r' <"$1" >"$LOG/integration.differences"
	cat "$2" "$3" | tr -d '\r' | awk -v list="$LOG/integration.differences" '
		BEGIN {
			while ((getline line < list) > 0) {
				if (line ~ /^(#|$)/) continue
				split(line, word, /[ \t]+/)
				pattern = word[2]
				gsub(/[][.+()^$|{}\\]/, "\\\\&", pattern)
				gsub(/\*/, ".*", pattern)
				wanted[++patterns] = word[1] " ^" pattern "$"
				text[patterns] = substr(line, index(line, word[2]) + length(word[2]) + 1)
			}
		}
		function cause(backend, test,   i, part) {
			for (i = 1; i <= patterns; i++) {
				split(wanted[i], part, " ")
				if (part[1] == backend && test ~ part[2]) return i
			}
			return 0
		}
		function say(verdict, what) {
			print verdict " " what
			count[verdict]++
		}
		function judge(backend,   test, result, i) {
			for (i = 1; i <= tests[backend]; i++) {
				test = order[backend, i]
				result = got[backend, test]
				if (result == "ok") {
					say("ok", backend " " test)
					if ((backend, test) in again) say("note", backend " " test " failed, and passed by itself")
					if (cause(backend, test)) say("note", backend " " test " is in differences, and passes")
				} else if (result == "skip" || got["stock", test] == "skip" || got["stock", test] == "not ok")
					say("skip", backend " " test)
				else if (cause(backend, test))
					say("skip", backend " " test " (" text[cause(backend, test)] ")")
				else
					say("not ok", backend " " test)
			}
		}
		/^backend /       { backend = $2; began[backend] = 1; next }
		/^backends done$/ { done++; next }
		/^used /          { used[backend] = $2; next }
		/^again /         { again[backend, substr($0, 7)] = 1; next }
		/no kevent in this kernel|kqueue: Function not implemented/ { said[backend]++; next }
		match($0, /^(ok|not ok|skip) /) {
			verdict = substr($0, 1, RLENGTH - 1)
			test = substr($0, RLENGTH + 1)
			if (!((backend, test) in got)) order[backend, ++tests[backend]] = test
			got[backend, test] = verdict
		}
		END {
			for (i = 1; i <= tests["stock"]; i++) {
				test = order["stock", i]
				if (got["stock", test] == "ok" && !(("kevent", test) in got)) {
					order["kevent", ++tests["kevent"]] = test
					got["kevent", test] = "not run"
				}
			}
			judge("kevent")
			judge("fallback")
			if (done != 2) say("not ok", "a kernel ended before its tests")
			if (!tests["stock"]) say("not ok", "no test on the stock backend")
			if (!tests["fallback"]) say("not ok", "no test without kevent")
			say(used["kevent"] == "kevent" ? "ok" : "not ok", "kevent: it makes watches")
			say(used["stock"] == "none" ? "ok" : "not ok", "stock: it makes none")
			say(said["fallback"] ? "ok" : "not ok", "fallback: it says that there is no kevent")
			printf "%d passed, %d failed, %d skipped\n", count["ok"], count["not ok"], count["skip"]
		}'
}

# The judge itself, and that each folder has what it must have.
check_integrations() {
	local name to=$LOG/integration.check got
	for name in $(integrations); do
		[ -s "$INTEGRATIONS/$name/README.md" ] || { echo "tools/integrations/$name has no README.md"; return 1; }
	done
	printf '%s\n' '# comment' 'kevent b::* why' 'kevent listed why' >"$to.differences"
	printf '%s\n' 'backend stock' 'ok good' 'not ok both' 'ok b::2' 'ok listed' 'ok lost' 'ok flaky' 'skip none' 'used none' \
		'backend kevent' 'ok good' 'not ok both' 'not ok b::2' 'ok listed' 'not ok new' 'again flaky' 'ok flaky' \
		'skip none' 'used kevent' 'backends done' >"$to.log"
	printf '%s\n' 'backend fallback' 'no kevent in this kernel' 'ok good' 'not ok b::2' 'used none' 'backends done' >"$to.without"
	got=$(integration_judge "$to.differences" "$to.log" "$to.without" | grep -vE '^(ok|skip) ')
	[ "$got" = "note kevent listed is in differences, and passes
not ok kevent new
note kevent flaky failed, and passed by itself
not ok kevent lost
not ok fallback b::2
7 passed, 3 failed, 3 skipped" ] || { echo "$got"; echo "the judge of the integrations is wrong"; return 1; }
}
