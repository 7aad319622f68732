# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-only
#
# bench: what an event and a watch cost, with kevent and with the other interfaces (tools/bench).

help_bench() {
	cat <<-END
	Usage: ./build.sh bench [--json FILE] [--check | --accept] [--quick] [--list | --profile]
	                        [--kernel VARIANT] [--tree DIR] [ROW...]
	       ./build.sh bench --attack | --growth [--svg FILE] | --server | --contention [--json FILE]
	       ./build.sh bench --native [--tree DIR]

	Counts instructions in one boot: for an event by kevent, epoll, io_uring and poll, beyond the bare
	write and read of the same loop, and for registering a watch, with the memory it takes.
	3 minutes on a built kernel.  Documentation/measurements/README.md says what the rows mean.

	  ROW...        only rows whose name contains one of these, such as eventfd/64 or register
	  --json FILE   write the rows for programs, too
	  --check       fail when a limit is not met, with a line for each
	  --accept      put the figures that miss their goal into tools/bench/src/known.json: --check then
	                lets them pass as long as they get no worse
	  --quick       only what takes a minute: unix sockets, and what is no file, and not poll
	  --list        only show the names of the rows
	  --profile     show in which functions of the kernel the instructions are, instead

	Instead of the rows:
	  --attack      what a program can do on the account of others; with --check and --accept, too
	  --growth      how an event's cost grows with the watches, as a table; --svg FILE draws it
	  --server      what a request takes from a server of HTTP, by each interface (with wrk, if that is
	                installed)
	  --contention  ratios of time with several threads, on two processors
	  --native      nanoseconds of single operations in the kernel, as an ordinary program on this
	                machine's processor (UML); an 11 minute build of its own, then 10 s
	END
}

verb_bench() {
	local json='' svg='' list='' accept='' native='' options=() others=() program boot=boot_counting shared=$CACHE/bench status
	while [ $# -gt 0 ]; do
		case $1 in
		--json | --svg) [ $# -gt 1 ] || die "$1 needs a value: see ./build.sh bench --help" ;;
		esac
		case $1 in
		--json) json=$2 && shift 2 ;;
		--json=*) json=${1#*=} && shift ;;
		--svg) svg=$2 && shift 2 ;;
		--svg=*) svg=${1#*=} && shift ;;
		--list) list=1 && shift ;;
		--native) native=1 && shift ;;
		--accept) accept=1 && options+=("$1" "$shared/known.json") && shift ;;
		--contention) boot=boot_contending && options+=("$1") && shift ;;
		--check | --quick | --profile | --attack | --growth | --server) options+=("$1") && shift ;;
		--) break ;;
		*) others+=("$1") && shift ;;
		esac
	done
	parse_options --kernel bench ${others[@]+"${others[@]}"} "$@"
	if [ -n "$native" ]; then
		no_args
		[ "$json$svg$list${options[*]-}$VARIANT" = bench ] ||
			die "--native has no other options than --tree"
		open_cache
		make_tree
		bench_native
		return
	fi
	if [ -n "$json" ]; then
		json=$(place_for "$json")
		options+=(--json "$shared/rows.json")
	fi
	if [ -n "$svg" ]; then
		svg=$(place_for "$svg")
		options+=(--svg "$shared/plot.svg")
	fi
	fragments "$VARIANT"
	open_cache
	if [ -z "$list" ]; then
		make_tree
		build_kernel "$VARIANT"
	fi
	logged bench-build in_workspace build --release -p kevent-bench ||
		die "tools/bench does not build: $(grep -m1 -E '^error' "$LOG/bench-build.log") (log: $LOG/bench-build.log)"
	program=$CACHE/target/release/kevent-bench
	if [ -n "$list" ]; then
		"$program" --list ${options[@]+"${options[@]}"} ${ARGS[@]+"${ARGS[@]}"}
		return
	fi

	rm -rf "$shared"
	mkdir "$shared"
	case $boot in
	boot_counting) say "booting kernel '$VARIANT' with one CPU, on which time counts instructions" ;;
	*) say "booting kernel '$VARIANT' with two CPUs" ;;
	esac
	logged bench "$boot" "$VARIANT" "$shared" \
		"$program" ${options[@]+"${options[@]}"} --trace "$shared/trace" --vmlinux "$BUILD/$VARIANT/vmlinux" \
		${ARGS[@]+"${ARGS[@]}"} || true
	[ ! -e "$shared/output" ] || cat "$shared/output"
	[ ! -e "$shared/errors" ] || grep -v '^measuring ' "$shared/errors" >&2 || true
	[ -z "$json" ] || [ ! -s "$shared/rows.json" ] || cp "$shared/rows.json" "$json"
	[ -z "$svg" ] || [ ! -s "$shared/plot.svg" ] || cp "$shared/plot.svg" "$svg"
	[ -z "$accept" ] || [ ! -s "$shared/known.json" ] || cp "$shared/known.json" "$ROOT/tools/bench/src/known.json"
	[ -s "$shared/status" ] || die "the machine ended before tools/bench did (log: $LOG/bench.log)"
	status=$(cat "$shared/status")
	[ "$status" != 142 ] || die "an event never came: $(grep '^measuring ' "$shared/errors" | tail -n 1)"
	return "$status"
}

# place_for FILE: its whole name, if it can be there.
place_for() {
	local file
	file=$(cd "$CALLER" && realpath -m -- "$1")
	[ -d "$(dirname "$file")" ] || die "there is no folder for $file"
	echo "$file"
}

# boot_counting VARIANT FOLDER COMMAND...: with one CPU on which time goes on by a nanosecond with each
# instruction, and jumps when there is nothing to do.  FOLDER takes the output and the status, as the
# machine's ports do not always come up in a time that jumps, and whatever else COMMAND writes.
# QEMU's monitor is at a port of the machine, for --profile.
boot_counting() {
	local variant=$1 folder=$2 monitor=socket,path=$2/monitor
	shift 2
	# shellcheck disable=SC2054 # the commas are QEMU's
	BOOT_OPTIONS=(--disable-kvm --cpus 1 --append kunit.enable=0 --rwdir "$folder" --qemu-opts="-icount shift=0,sleep=off"
		--qemu-opts="-chardev $monitor,id=monitor,server=on,wait=off -mon chardev=monitor,mode=control"
		--qemu-opts="-chardev $monitor,id=port -device virtserialport,chardev=port,name=kevent.monitor")
	boot_writing "$variant" "$folder" "$@"
}

# boot_contending VARIANT FOLDER COMMAND...: the same with two CPUs that run at once.
boot_contending() {
	local variant=$1 folder=$2
	shift 2
	BOOT_OPTIONS=(--disable-kvm --append kunit.enable=0 --rwdir "$folder")
	boot_writing "$variant" "$folder" "$@"
}

boot_writing() {
	local variant=$1 folder=$2
	shift 2
	# shellcheck disable=SC2016 # expanded in the machine
	boot_kernel "$variant" sh -c '"$@" >"$0/output" 2>"$0/errors"; echo $? >"$0/status"' "$folder" "$@"
}

# bench_native: the KUnit suite kevent_benchmark under User Mode Linux, with the tree's own kunit.py:
# the kernel is a program, which the processor runs itself.
bench_native() {
	local log=$LOG/bench-native.log results=$BUILD/native/test.log counts=$LOG/bench-native.counts status=0
	COUNTER=(perf stat -x ';' -e instructions:u -o "$counts")
	use_tools
	check_tools
	need_space 2000 "$CACHE" "building a kernel"
	[ -e "$BUILD/native/linux" ] || say "building the kernel as a program, 11 minutes on two cores"
	logged native-build build_native ||
		die "it does not build: $(grep -m1 -iE '(^|[: ])error' "$LOG/native-build.log" || tail -n 1 "$LOG/native-build.log") (log: $LOG/native-build.log)"
	if ! command -v perf >/dev/null; then
		say "no instructions: there is no perf"
		COUNTER=()
	elif ! "${COUNTER[@]}" true 2>/dev/null || [ -z "$(counted "$counts")" ]; then
		say "no instructions: perf cannot count them on this machine"
		COUNTER=()
	fi
	rm -f "$results"
	logged bench-native run_native || status=$?
	awk '
		{ sub(/\r$/, "") }
		!sub(/^.*# kevent_benchmark: /, "") || !/^[a-z_]+: [0-9.]+ ns$/ { next }
		!rows++ { printf "%-24s %8s\n", "operation", "ns" }
		{ sub(/:$/, "", $1); printf "%-24s %8s\n", $1, $2 }
		END { exit !rows }' "$results" 2>/dev/null ||
		die "there are no figures: $(grep -m1 -iE 'error|crashed' "$log" || tail -n 1 "$log") (log: $log)"
	[ ${#COUNTER[@]} = 0 ] || say "$(counted "$counts") instructions in all, with starting and ending the kernel, and kunit.py"
	[ $status = 0 ] || die "a benchmark failed: $(grep -m1 -E '\[FAILED\]|\[CRASHED\]|\[ERROR\]' "$log" || tail -n 1 "$log") (log: $log)"
}
# counted FILE: the number that perf stat has written there, nothing if it could not count.
counted() { sed -n 's/^\([0-9][0-9]*\);.*/\1/p' "$1"; }
# Without doctests, and without checks of Rust code that no kernel in production has.  And with one
# processor: with several, UML has a full barrier for each acquire and release, and a call of the
# system each time that interrupts are disabled or enabled.
build_native() {
	kunit_py build "$BUILD/native" --kconfig_add CONFIG_RUST_OVERFLOW_CHECKS=n --kconfig_add CONFIG_KEVENT_BENCHMARK=y
}
run_native() {
	cd "$TREE" && ${COUNTER[@]+"${COUNTER[@]}"} ./tools/testing/kunit/kunit.py exec --build_dir "$BUILD/native" kevent_benchmark
}
