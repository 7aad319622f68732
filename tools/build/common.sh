# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-only
#
# What every verb uses: messages, the cache and its lock, progress, options, the tools' environment.

[ -n "${XDG_CACHE_HOME:-${HOME:-}}" ] || { echo "error: neither HOME nor XDG_CACHE_HOME is set" >&2; exit 1; }
CACHE=${XDG_CACHE_HOME:-$HOME/.cache}/kevent
LOG=$CACHE/log
FORMAT=1 # of the cache; one more whenever an older cache cannot be used as it is

# The tree in use: Debian's, or with --tree a clone of the developer's own (see use_clone).
WORK=$CACHE
CLONE_OF=
set_work() {
	WORK=$1
	TREE=$WORK/linux
	BUILD=$WORK/build
}
set_work "$CACHE"

say() { echo "$*"; }
die() {
	echo "error: $*" >&2
	exit 1
}

# --- leaving: nothing half-made stays behind -------------------------------------------------

JOB=       # the process group of the running step
TEMPS=()   # what to remove on the way out
trap leave EXIT
trap 'echo >&2; echo "interrupted: run the same command again to go on" >&2; exit 130' INT
trap 'exit 143' TERM HUP
leave() {
	local status=$?
	trap '' INT TERM HUP
	if [ -n "$JOB" ]; then
		kill -- "-$JOB" 2>/dev/null || true
		wait "$JOB" 2>/dev/null || true
	fi
	[ ${#TEMPS[@]} = 0 ] || rm -rf -- "${TEMPS[@]}"
	exit $status
}

# --- the cache -------------------------------------------------------------------------------

# Make the cache usable and ours alone until this build.sh ends.
open_cache() {
	mkdir -p "$CACHE" 2>/dev/null || die "cannot create $CACHE: set XDG_CACHE_HOME to a folder that can be written"
	exec 9>>"$CACHE/lock" || die "cannot write to $CACHE: set XDG_CACHE_HOME to a folder that can be written"
	flock -n 9 || die "another build.sh (process $(head -n1 "$CACHE/lock")) is using $CACHE: run this again when it has ended"
	echo $$ >"$CACHE/lock"
	if [ ! -e "$CACHE/format" ]; then
		[ ! -e "$CACHE/linux" ] || die "$CACHE was made by an older build.sh: remove it with './build.sh clean'"
		echo $FORMAT >"$CACHE/format"
	fi
	[ "$(cat "$CACHE/format")" = $FORMAT ] ||
		die "$CACHE has format $(cat "$CACHE/format"), this build.sh needs $FORMAT: remove it with './build.sh clean'"
	mkdir -p "$LOG" "$CACHE/dl" "$CACHE/stamp" "$BUILD"
}

# need_space MEGABYTES FOLDER WHAT
need_space() {
	local free
	free=$(df -Pm "$2" | awk 'NR == 2 { print $4 }')
	[ "$free" -ge "$1" ] || die "$3 needs $1 MB in $2, where $free MB are free: make room, or set XDG_CACHE_HOME to a larger disk"
}

# --- progress --------------------------------------------------------------------------------

clock() { printf '%d:%02d' $(($1 / 60)) $(($1 % 60)); }

# logged NAME COMMAND...: run a step with its output in log/NAME.log, showing what it is at: in one
# line on a terminal, every 30 s elsewhere.  Returns the step's status.
logged() {
	local log=$LOG/$1.log name=$1 start=$SECONDS shown=0 status=0 last width
	shift
	width=$(tput cols 2>/dev/null || echo 80)
	set -m # a process group of its own, so that leave() can end all of it
	"$@" >"$log" 2>&1 </dev/null 9>&- &
	JOB=$!
	set +m
	while kill -0 "$JOB" 2>/dev/null; do
		sleep 0.2
		[ $((SECONDS - start - shown)) -ge "$([ -t 1 ] && echo 1 || echo 30)" ] || continue
		shown=$((SECONDS - start))
		last=$(tail -c 400 "$log" | tr '\r' '\n' | tr -cd '[:print:]\n' | grep . | tail -n 1) || true
		if [ -t 1 ]; then
			printf '\r\033[K%.*s' "$((width - 1))" "  $name $(clock $shown)  $last"
		else
			printf '  %s %s  %.80s\n' "$name" "$(clock $shown)" "$last"
		fi
	done
	wait "$JOB" || status=$?
	JOB=
	[ ! -t 1 ] || printf '\r\033[K'
	return $status
}

# no_download WHAT LOGNAME: says why a download failed.
no_download() {
	if grep -qiE 'resolv|name resolution|unreachable|connection (refused|timed out|failed)|network|offline|timeout' "$LOG/$2.log"; then
		die "cannot download $1, there seems to be no network: run this again with one (log: $LOG/$2.log)"
	fi
	die "cannot get $1: $(grep -iE '^(e:|error|err:)' "$LOG/$2.log" | head -n 1) (log: $LOG/$2.log)"
}

# --- options ---------------------------------------------------------------------------------

# Sets VARIANT (--kernel), the tree (--tree), DRY_RUN and ARGS (the rest; all after -- as it is).
parse_options() {
	VARIANT=default DRY_RUN='' ARGS=()
	while [ $# -gt 0 ]; do
		case $1 in
		--kernel | --tree) [ $# -gt 1 ] || die "$1 needs a value: see ./build.sh $verb --help" ;;
		esac
		case $1 in
		--kernel) VARIANT=$2 && shift 2 ;;
		--kernel=*) VARIANT=${1#*=} && shift ;;
		--tree) use_clone "$2" && shift 2 ;;
		--tree=*) use_clone "${1#*=}" && shift ;;
		--) shift && ARGS+=("$@") && break ;;
		--dry-run) [ "$verb" = setup ] || die "only setup has --dry-run" && DRY_RUN=1 && shift ;;
		-*) die "unknown option '$1': see ./build.sh $verb --help" ;;
		*) ARGS+=("$1") && shift ;;
		esac
	done
}
no_args() { [ ${#ARGS[@]} = 0 ] || die "unexpected '${ARGS[0]}': see ./build.sh $verb --help"; }

# --- tools -----------------------------------------------------------------------------------

# The version of LLVM to use: rustc's own where Debian has it, because the kernel's C helpers can then
# be inlined into Rust code, else the newest that is certain to be there.
rustc_llvm() { rustc -vV 2>/dev/null | sed -n 's/^LLVM version: \([0-9]*\).*/\1/p'; }
llvm_version() {
	local own
	own=$(rustc_llvm)
	if [ -x "/usr/lib/llvm-$own/bin/clang" ] || apt-cache show "clang-$own" >/dev/null 2>&1; then
		echo "$own"
	else
		echo 19
	fi
}

# The environment in which kernels are built.
use_tools() {
	local llvm
	llvm=/usr/lib/llvm-$(llvm_version)
	[ ! -d "$llvm/bin" ] || PATH=$llvm/bin:$PATH
	export PATH=$CACHE/bindgen/bin:$PATH
	[ ! -d "$llvm/lib" ] || export LIBCLANG_PATH=$llvm/lib
	if [ ! -e "$(rustc --print sysroot)/lib/rustlib/src/rust/library/core/src/lib.rs" ]; then
		RUST_LIB_SRC=$(echo "$CACHE"/rust-src/usr/src/rustc-*/library)
		export RUST_LIB_SRC
	fi
	unset ARCH CROSS_COMPILE MAKEFLAGS KBUILD_OUTPUT KCFLAGS KRUSTFLAGS RUSTFLAGS
	export LLVM=1 KBUILD_BUILD_USER=kevent KBUILD_BUILD_HOST=kevent
	export KBUILD_BUILD_TIMESTAMP='Thu Jan 1 00:00:00 UTC 2026'
	export LOCALVERSION='' # no + in the version
}

# cargo, with everything it makes in the cache.
in_workspace() { CARGO_TARGET_DIR=$CACHE/target cargo "$@"; }

# The series tool (tools/series) on the tree in use.
series() {
	local log=$LOG/series-build.log
	in_workspace build -q --release -p kevent-series >"$log" 2>&1 ||
		die "tools/series does not build: $(grep -m1 -E '^error' "$log" || tail -n 1 "$log") (log: $log)"
	"$CACHE/target/release/series" --tree "$TREE" --repo "$ROOT" "$@"
}
