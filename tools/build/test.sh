# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-only
#
# test: everything that must hold.

help_test() {
	cat <<-END
	Usage: ./build.sh test [--kernel VARIANT] [--tree DIR] [FILTER...]

	Runs the tools' own tests, what ./build.sh check runs, and in the booted kernel the selftests and
	KUnit; ends in 'N passed, N failed, N skipped' and fails when one failed.  A few minutes on built
	kernels; 'default' and 'nokevent' are built when they are not (12 minutes each on two cores).

	  FILTER...         only tests in the kernel whose name contains this (or fits it, with * and ?);
	                    the names: ./build.sh test --list
	  libkevent, kqueue the C libraries: their unit tests, and their tests in the booted kernel
	  integrations [short] [NAME...]  other people's event loops on kevent, with their own tests, see
	                    tools/integrations; half an hour the first time.  'short', which is part of the
	                    whole, takes three minutes once it is built, and a few for that
	  image             ./build.sh image starts by a BIOS and by EFI, and an example in it has events; no
	                    part of the whole, as it takes a kernel of its own
	  crate             the kevent crate's live tests and examples, and the manual pages' programs
	  --kernel VARIANT  boot this kernel instead of 'default', only it, and run only what runs in it;
	                    'debug' takes an hour
	  --kernel uml      KUnit and the Rust doctests as an ordinary program: an 11 minute build of its own
	END
}

verb_test() {
	local only=
	for word; do [[ $word != --kernel* ]] || only=1; done
	[[ " $* " != *" --kernel nokevent "* ]] ||
		die "kernel 'nokevent' is tested for what it lacks, beside 'default': ./build.sh test off: kernel-off"
	if [ "${1:-}" = --list ]; then
		shift
		parse_options "$@"
		open_cache
		make_tree >/dev/null
		harness --list ${ARGS[@]+"${ARGS[@]}"}
		return
	fi
	parse_options "$@"
	[ "$VARIANT" = uml ] || fragments "$VARIANT"
	open_cache
	make_tree
	if [ "$VARIANT" = uml ]; then
		test_uml
	elif [ "${ARGS[0]:-}" = integrations ]; then
		test_integrations "${ARGS[@]:1}"
	elif [ "${ARGS[0]:-}" = image ]; then
		test_image
	else
		pick_libraries
		if [ -z "$only" ] && [ ${#ARGS[@]} = 0 ] && [ -z "$PICKED" ]; then
			test_workspace
			test_libraries
			run_checks
		elif [ -n "$PICKED" ]; then
			test_libraries
		fi
		if [ -z "$PICKED" ] || [ ${#ARGS[@]} != 0 ]; then
			test_kernels "$only" ${ARGS[@]+"${ARGS[@]}"}
		fi
		if [ -n "$PICKED" ] || [ ${#ARGS[@]} = 0 ]; then
			test_libraries_live
			[ -z "$CRATE" ] || test_crate_live
		fi
		if [ -z "$only" ] && [ ${#ARGS[@]} = 0 ] && [ -z "$PICKED" ]; then
			test_integrations short
		fi
	fi
	say "$PASSED passed, $FAILED failed, $SKIPPED skipped"
	[ "$FAILED" = 0 ] || exit 1
}

# add_totals 'N passed, N failed, N skipped'
add_totals() {
	local passed failed skipped
	read -r passed _ failed _ skipped _ <<<"$1"
	PASSED=$((PASSED + passed)) FAILED=$((FAILED + failed)) SKIPPED=$((SKIPPED + skipped))
}

# The unit tests of the tools, counted from cargo's lines.
test_workspace() {
	local status=0 totals
	logged cargo-test in_workspace test --workspace --no-fail-fast || status=$?
	totals=$(awk '
		/^test result: / { passed += $4; failed += $6; skipped += $8 }
		END { printf "%d passed, %d failed, %d skipped", passed, failed, skipped }' "$LOG/cargo-test.log")
	if [ $status != 0 ]; then
		grep -E '^(error|test .* FAILED)' "$LOG/cargo-test.log" | grep -v '^error: test failed' || true
		say "FAIL  tools (log: $LOG/cargo-test.log)"
		[[ $totals != *" 0 failed"* ]] || FAILED=$((FAILED + 1)) # it does not even build
	fi
	say "tools: $totals"
	add_totals "$totals"
}

# The libraries in C: each has 'make check', which ends in the totals, and 'make live', a program
# that tests the kernel it runs on and says so in KTAP.
LIBRARIES=(libkevent kqueue)

# Takes the libraries' names out of ARGS: LIBRARIES is then those, and PICKED not empty.
# So with 'crate', which is CRATE.
PICKED='' CRATE=1
pick_libraries() {
	local arg args=() picked=() crate=
	for arg in ${ARGS[@]+"${ARGS[@]}"}; do
		case $arg in
		libkevent | kqueue) picked+=("$arg") ;;
		crate) crate=1 ;;
		*) args+=("$arg") ;;
		esac
	done
	[ -n "$crate" ] || [ ${#picked[@]} != 0 ] || return 0
	PICKED=1 CRATE=$crate LIBRARIES=(${picked[@]+"${picked[@]}"}) ARGS=(${args[@]+"${args[@]}"})
}

# in_library NAME TARGET: make, with everything it makes in the cache.
in_library() { make -C "$ROOT/tools/$1" OUT="$CACHE/target/$1" UAPI="$TREE/include/uapi/linux/kevent.h" "$2"; }

test_libraries() {
	local name totals
	for name in ${LIBRARIES[@]+"${LIBRARIES[@]}"}; do
		logged "$name" in_library "$name" check || true
		totals=$(grep -E '^[0-9]+ passed, [0-9]+ failed, [0-9]+ skipped$' "$LOG/$name.log" | tail -n 1)
		if [ -z "$totals" ]; then
			say "FAIL  $name: $(grep -m1 -E 'error' "$LOG/$name.log" || tail -n 1 "$LOG/$name.log") (log: $LOG/$name.log)"
			totals='0 passed, 1 failed, 0 skipped'
		fi
		grep '^not ok' "$LOG/$name.log" | sed 's/^not ok [0-9]*/FAIL/' || true
		say "$name: $totals"
		add_totals "$totals"
	done
}

# The same libraries in the booted kernel.
test_libraries_live() {
	local name log totals
	build_kernel "$VARIANT"
	for name in ${LIBRARIES[@]+"${LIBRARIES[@]}"}; do
		log=$LOG/$name-live.log
		if ! logged "$name-live-build" in_library "$name" live; then
			say "FAIL  $name: its live tests do not build (log: $LOG/$name-live-build.log)"
			FAILED=$((FAILED + 1))
			continue
		fi
		logged "$name-live" boot_kernel "$VARIANT" "$CACHE/target/$name/live" || true
		totals=$(tr -d '\r' <"$log" | awk '
			/^ok .*# SKIP/ { skipped++; next }
			/^ok /         { passed++ }
			/^not ok /     { failed++ }
			/^1\.\./       { done = 1 }
			END { printf "%d passed, %d failed, %d skipped", passed, failed + !done, skipped }')
		tr -d '\r' <"$log" | grep '^not ok' | sed "s/^not ok [0-9]*/FAIL  $name live:/" || true
		[[ $totals == *" 0 failed"* ]] || say "      (log: $log)"
		say "$name live: $totals"
		add_totals "$totals"
	done
}

# harness ARGUMENTS...: the selftests harness on the tree in use.
harness() {
	in_workspace run -q --release -p kevent-selftests -- run --tree "$TREE" \
		--vng "$CACHE/venv/bin/vng" --log-dir "$LOG/selftests" "$@" 9>&-
}

# test_kernels ONLY [FILTER...]: what the filters need is built, booted and judged.
test_kernels() {
	local only=$1 options=() totals
	shift
	use_tools
	logged harness in_workspace build --release -p kevent-selftests ||
		die "selftests/ does not build: $(grep -m1 -E '^error' "$LOG/harness.log") (log: $LOG/harness.log)"
	harness --list "$@" >"$LOG/tests.list" || die "the harness cannot list its tests"
	# KUnit's names are known only to the booted kernel, so a list of none may still mean some.
	if [ ! -s "$LOG/tests.list" ] || [[ " $*" == *" kunit"* ]] || grep -qv -e '^tables:' -e ':kernel-off$' -e '^off:' "$LOG/tests.list"; then
		build_kernel "$VARIANT"
		options+=(--kernel "$BUILD/$VARIANT")
		case $VARIANT in
		debug) options+=(--patience 8 --memory 2G) ;;
		rt | kcsan) options+=(--patience 4) ;;
		esac
	fi
	! kvm_works || options+=(--kvm)
	if [ -z "$only" ] && grep -q -e ':kernel-off$' -e '^off:' "$LOG/tests.list"; then
		build_kernel nokevent
		options+=(--kernel-off "$BUILD/nokevent")
	fi
	harness ${options[@]+"${options[@]}"} "$@" 2>&1 | tee "$LOG/selftests.log" | sed '$d' || true
	totals=$(tail -n 1 "$LOG/selftests.log")
	if [[ $totals =~ ^[0-9]+\ passed,\ [0-9]+\ failed,\ [0-9]+\ skipped$ ]]; then
		add_totals "$totals"
	else
		say "$totals"
		say "FAIL  selftests: the harness gave no totals (log: $LOG/selftests.log)"
		FAILED=$((FAILED + 1))
	fi
}

# KUnit and the doctests under User Mode Linux, with the tree's own kunit.py.
test_uml() {
	local log=$LOG/kunit-uml.log
	use_tools
	check_tools
	need_space 2000 "$CACHE" "building a kernel"
	say "building and running KUnit under UML, 11 minutes the first time"
	logged kunit-uml run_uml || true
	totals=$(sed -n 's/^\(\[[0-9:]*\] \)\?Testing complete\. Ran [0-9]* tests: //p' "$log" | tail -n 1)
	if [ -z "$totals" ]; then
		FAILED=$((FAILED + 1))
		say "FAIL  kunit.py: $(grep -m1 -iE 'error' "$log" || tail -n 1 "$log") (log: $log)"
		return
	fi
	grep -E '\[FAILED\]|\[CRASHED\]|\[ERROR\]' "$log" || true
	PASSED=$((PASSED + $(uml_count passed)))
	FAILED=$((FAILED + $(uml_count failed) + $(uml_count crashed) + $(uml_count errors)))
	SKIPPED=$((SKIPPED + $(uml_count skipped)))
}
uml_count() { [[ $totals =~ $1:\ ([0-9]+) ]] && echo "${BASH_REMATCH[1]}" || echo 0; }
run_uml() {
	kunit_py run "$BUILD/uml" --kconfig_add CONFIG_RUST_KERNEL_DOCTESTS=y
}
