# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-only
#
# check --configs: compiles kevent, and the files of the kernel that it changes, in configurations
# that no variant of the kernel has: selftests/configs/compile/.

configs() { find "$ROOT/selftests/configs/compile" -name '*.fragment' ! -name base.fragment -printf '%f\n' | sed 's/\.fragment$//' | sort; }

# check_configs NAME...: those, or all.
check_configs() {
	local name start stamp
	use_tools
	check_tools
	for name; do
		[ -e "$ROOT/selftests/configs/compile/$name.fragment" ] || die "there is no configuration '$name': they are $(configs | tr '\n' ' ')"
	done
	[ $# != 0 ] || mapfile -t ARGS < <(configs)
	need_space 3000 "$CACHE" "compiling ${#ARGS[@]} configurations"
	for name in "${ARGS[@]}"; do
		start=$SECONDS
		FRAGMENTS=("$ROOT/selftests/configs/compile/base.fragment" "$ROOT/selftests/configs/compile/$name.fragment")
		stamp=$(config_key)
		if [ "$stamp" = "$(cat "$BUILD/compile-$name/.kevent-compiled" 2>/dev/null)" ]; then
			say "ok    $name, as before"
			PASSED=$((PASSED + 1))
		elif logged "compile-$name" compile_config "$name"; then
			echo "$stamp" >"$BUILD/compile-$name/.kevent-compiled"
			say "ok    $name ($(clock $((SECONDS - start))))"
			PASSED=$((PASSED + 1))
		else
			say "FAIL  $name: $(compile_errors "$LOG/compile-$name.log" | head -n 1) (log: $LOG/compile-$name.log)"
			FAILED=$((FAILED + 1))
		fi
	done
}

# What the result depends on.
config_key() {
	{
		git -C "$TREE" rev-parse 'HEAD^{tree}'
		git -C "$TREE" diff HEAD
		cat "${FRAGMENTS[@]}"
		compiler_versions
	} | sha256sum
}

# Files whose option is off have no rule, which is no error.
compile_errors() {
	grep -E '(^|[: ])(fatal )?error(\[E[0-9]+\])?:|(^|(rust/|kernel/kevent/).*)warning:|^make.*\*\*\*' "$1" |
		grep -vE 'KSYM_NAME_LEN|No rule to make target|not remade because of errors|Nothing to be done|^make.*(Error 2|Interrupt)'
}

# touched_in OUT: the objects of the C files that the series changes, as far as OUT's configuration has them.
touched_in() {
	local object option
	for object in $(touched_objects); do
		case $object in
		fs/aio.o) option=AIO ;;
		fs/notify/*) option=FSNOTIFY ;;
		fs/proc/*) option=PROC_FS ;;
		ipc/mqueue.o) option=POSIX_MQUEUE ;;
		kernel/time/posix-timers.o) option=POSIX_TIMERS ;;
		net/ipv4/*) option=INET ;;
		net/unix/*) option=UNIX ;;
		net/*) option=NET ;;
		*) option='' ;;
		esac
		[ -z "$option" ] || grep -qx "CONFIG_$option=y" "$1/.config" || continue
		echo "$object"
	done
}

compile_config() {
	local out=$BUILD/compile-$1 arch
	arch=$(sed -n 's/^# arch: //p' "${FRAGMENTS[1]}")
	export ARCH=$arch
	mkdir -p "$out"
	rm -f "$out/.kevent-compiled"
	(merge_config "$out") || return
	check_config "$out/.config" || return
	make -C "$TREE" O="$out" -j"$(nproc)" prepare || return
	rm -f "$out"/kernel/kevent/*.o # so that warnings are seen again
	make -C "$TREE" O="$out" -j"$(nproc)" kernel/kevent/ 2>&1 | tee "$out/kevent.log"
	[ "${PIPESTATUS[0]}" = 0 ] || return
	# shellcheck disable=SC2046 # a list
	make -C "$TREE" O="$out" -j"$(nproc)" -k $(touched_in "$out") 2>&1 | tee "$out/touched.log"
	if compile_errors "$out/kevent.log" || compile_errors "$out/touched.log"; then
		return 1
	fi
	# What the compiler calls for a division of 64 bits on a machine of 32.
	if find "$out/kernel/kevent" -name '*.o' -exec llvm-nm -A -u {} + | grep -E '__aeabi_u?ldivmod|__u?(div|mod|divmod)di[34]'; then
		echo "error: kevent divides by 64 bits, which 32-bit machines cannot"
		return 1
	fi
}
