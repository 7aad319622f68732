# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-only
#
# boot, run: a built kernel in QEMU, on this machine's own root file system (virtme-ng).

help_boot() {
	cat <<-END
	Usage: ./build.sh boot [--kernel VARIANT] [--tree DIR] [-- COMMAND...]

	Boots a kernel that ./build.sh kernel has built, and gives a shell, or runs COMMAND and returns
	its status.  10 s.  The guest sees this machine's files and cannot change them.  QEMU uses KVM if
	that works here, and emulates the processor otherwise, as run and test do.
	END
}

help_run() {
	cat <<-END
	Usage: ./build.sh run [--kernel VARIANT] [--tree DIR]

	The whole way: setup, tree, kernel, boot, and there the demonstration: events as they come out of
	a ring (tools/demo), and a server that waits in one place for everything the kernel can report,
	beside the same with epoll (samples/kevent in the tree).  20 minutes from nothing, then a minute.
	END
}

verb_boot() {
	parse_options "$@"
	boot_kernel "$VARIANT" ${ARGS[@]+"${ARGS[@]}"}
}

verb_run() {
	local program
	parse_options "$@"
	no_args
	fragments "$VARIANT"
	open_cache
	make_tree
	build_kernel "$VARIANT"
	logged demo in_workspace build --release -p kevent-demo ||
		die "tools/demo does not build: $(grep -m1 -E '^error' "$LOG/demo.log") (log: $LOG/demo.log)"
	program=$CACHE/target/release/kevent-demo
	logged samples build_samples ||
		die "samples/kevent does not build: $(grep -m1 -E 'error' "$LOG/samples.log") (log: $LOG/samples.log)"
	say "booting kernel '$VARIANT'"
	# shellcheck disable=SC2016  # the shell in the guest expands it
	boot_kernel "$VARIANT" sh -c '"$0" && echo && "$1/kevent-server" && "$1/epoll-server"' \
		"$program" "$CACHE/target/samples"
}

# Builds the samples of the tree, with the headers of the built kernel.
build_samples() {
	local name to=$CACHE/target/samples out=$BUILD/$VARIANT
	mkdir -p "$to"
	make -C "$TREE" O="$out" headers || return
	for name in kevent-server epoll-server; do
		cc -O2 -Wall -pthread -I"$out/usr/include" -o "$to/$name" "$TREE/samples/kevent/$name.c" || return
	done
}

# Whether KVM runs a guest, which it need not where it can be opened: a boot sector has QEMU end with a
# status of its own.  Found out once in each boot of this machine.
kvm_works() {
	local file=$CACHE/stamp/kvm boot works=no sector status=0
	[ -w /dev/kvm ] || return
	boot=$(cat /proc/sys/kernel/random/boot_id)
	if [ "$(sed -n 1p "$file" 2>/dev/null)" != "$boot" ]; then
		sector=$CACHE/stamp/kvm.sector
		mkdir -p "$CACHE/stamp"
		# mov $0x501, %dx; mov $0x31, %al; out %al, %dx; 1: jmp 1b
		{ printf '\xba\x01\x05\xb0\x31\xee\xeb\xfe' && head -c 502 /dev/zero && printf '\x55\xaa'; } >"$sector"
		{
			timeout 20 qemu-system-x86_64 -machine accel=kvm -cpu host -m 64 -nodefaults -display none -no-reboot \
				-device isa-debug-exit,iobase=0x501,iosize=1 -drive "file=$sector,format=raw,if=ide" </dev/null 9>&- || status=$?
		} >/dev/null 2>&1 # a QEMU that aborts too
		[ $status != 99 ] || works=yes # 2 * 0x31 + 1
		printf '%s\n' "$boot" $works >"$file"
	fi
	[ "$(sed -n 2p "$file")" = yes ]
}

# boot_kernel VARIANT [COMMAND...]: with what BOOT_OPTIONS says to vng on top.  The console is kept; its
# last lines are shown if the guest ends without the status of COMMAND.
BOOT_OPTIONS=()
boot_kernel() {
	local image variant=$1 options emulate=() console command status=0
	shift
	image=$(kernel_image "$variant")
	[ -e "$image" ] || die "kernel '$variant' is not built yet: run ./build.sh kernel --kernel $variant"
	[ -x "$CACHE/venv/bin/vng" ] || die "virtme-ng is not there yet: run ./build.sh setup"
	mkdir -p "$LOG"
	console=$LOG/console-$variant.$$
	TEMPS+=("$console")
	# The kernel has no drivers for the microvm machine.  An emulated timer may come late to the kernel's
	# check of it, which panics then.
	options=(--run "$image" --disable-microvm --force-9p --cpus 2 --memory 1G
		--append panic=-1 --append root=/dev/root --append no_timer_check --cwd "$CALLER"
		--qemu-opts="-set chardev.console.logfile=$console"
		${BOOT_OPTIONS[@]+"${BOOT_OPTIONS[@]}"})
	kvm_works || emulate=(--disable-kvm)
	# The command says on the console that user space is reached: a boot that ends before that may be
	# repeated, and is then emulated.
	# It is a part of the kernel's command line, in base64.  What is too long is cut off, and with it
	# which program is init: another one runs then, and the command does not.
	if [ $# != 0 ]; then
		command="echo '<5>user space is reached' >/dev/kmsg; $(printf '%q ' "$@")"
		[ ${#command} -le 900 ] || die "the command is too long for the kernel's command line: put it into a script"
		options+=(--append loglevel=6 --exec "$command")
	fi
	start_machine ${emulate[@]+"${emulate[@]}"} "${options[@]}" || status=$?
	if [ $# != 0 ] && [ $status = 255 ] && ! grep -q 'user space is reached' "$console"; then
		echo "the machine went down before it reached user space, booting once more:" >&2
		tail -n 3 "$console" >&2 || true
		status=0
		start_machine --disable-kvm "${options[@]}" || status=$?
	fi
	[ ! -e "$console" ] || mv "$console" "$LOG/console-$variant.log"
	if [ $# != 0 ] && [ $status = 255 ]; then
		echo "the guest ended without the status of the command; the last lines of its console ($LOG/console-$variant.log):" >&2
		tail -n 8 "$LOG/console-$variant.log" >&2 || true
	fi
	return $status
}

# start_machine OPTIONS...: vng, with its outputs where ours are.
start_machine() {
	(
		PATH=$CACHE/venv/bin:$PATH
		if [ -t 1 ] && [ -t 2 ]; then
			vng "$@" 9>&-
		else # QEMU opens what it writes to by name, and so would empty a file: give it pipes
			set -o pipefail
			{ vng "$@" 2>&1 >&3 3>&- 9>&- | cat >&2; } 3>&1 | cat
		fi
	)
}
