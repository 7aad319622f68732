# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-only
#
# image: a disk for QEMU, with a distribution on kernel 'vm'.  What puts it together is in tools/image.

IMAGE=$CACHE/image/kevent.qcow2
# What puts it together, and what is in it beside the smallest Debian and what deb makes.
IMAGE_TOOLS=(mmdebstrap mtools syslinux syslinux-common fdisk e2fsprogs qemu-utils systemd-boot-efi ovmf)
IMAGE_PACKAGES=(systemd-sysv systemd-resolved dbus udev kmod iproute2 iputils-ping netbase ca-certificates less nano
	procps gcc libc6-dev make pkg-config)

help_image() {
	cat <<-END
	Usage: ./build.sh image [--tree DIR]

	Makes $IMAGE, after what ./build.sh deb makes: Debian of this system's
	version with kernel 'vm', libkevent, a C compiler, the samples and the demonstration.  Then boots it by
	a BIOS and by EFI, and in it builds and runs an example.  As root.  5 minutes after deb, and the
	boots 2 minutes each without KVM.

	  qemu-system-x86_64 -m 1G -nic user,model=virtio -drive if=virtio,file=$IMAGE

	Log in as root, without a password; -nographic gives the console in the terminal, -accel kvm -cpu host
	makes it fast.  The disk has 4 GB.
	END
}

verb_image() {
	parse_options --kernel vm "$@"
	no_args
	[ "$VARIANT" = vm ] || die "only kernel 'vm' starts from a disk"
	open_cache
	make_tree
	make_image
	say "$IMAGE: $(du -m "$IMAGE" | cut -f1) MB"
	try_image bios
	try_image efi
}

# test image: the same, counted.
test_image() {
	local firmware
	VARIANT=vm
	make_image
	for firmware in bios efi; do
		if (try_image $firmware); then PASSED=$((PASSED + 1)); else FAILED=$((FAILED + 1)); fi
	done
}

make_image() {
	local work=$CACHE/image/work key
	[ "$(id -u)" = 0 ] || die "an image has files of root's: run this as root"
	install_packages "images" "${IMAGE_TOOLS[@]}"
	make_debs vm
	logged demo in_workspace build --release -p kevent-demo ||
		die "tools/demo does not build: $(grep -m1 -E '^error' "$LOG/demo.log") (log: $LOG/demo.log)"
	logged samples build_samples ||
		die "samples/kevent does not build: $(grep -m1 -E 'error' "$LOG/samples.log") (log: $LOG/samples.log)"
	key=$({
		echo "${IMAGE_PACKAGES[*]}"
		cat "$CACHE/deb/key" tools/image/* "$CACHE/target/release/kevent-demo" "$CACHE"/target/samples/*
	} | sha256sum)
	[ ! -e "$IMAGE" ] || [ "$key" != "$(cat "$CACHE/image/key" 2>/dev/null)" ] || return 0
	mkdir -p "$CACHE/image"
	need_space 3000 "$CACHE" "an image"
	image_base
	rm -rf "$work" "$IMAGE" && mkdir "$work"
	TEMPS+=("$work")
	logged image-files env CACHE="$CACHE" TREE="$TREE" bash tools/image/files.sh "$work/files" ||
		die "the image's files cannot be put together: $(tail -n 1 "$LOG/image-files.log") (log: $LOG/image-files.log)"
	logged image-disk bash tools/image/disk.sh "$work" ||
		die "the image cannot be written: $(tail -n 1 "$LOG/image-disk.log") (log: $LOG/image-disk.log)"
	mv "$work/kevent.qcow2" "$IMAGE"
	echo "$key" >"$CACHE/image/key"
}

# The distribution, as an archive: it needs the network, and changes with the list of packages alone.
image_base() {
	local base=$CACHE/image/base.tar mirror key codename
	codename=$(. /etc/os-release && echo "${VERSION_CODENAME:-stable}")
	key="$codename ${IMAGE_PACKAGES[*]}"
	[ ! -e "$base" ] || [ "$key" != "$(cat "$base.key" 2>/dev/null)" ] || return 0
	mirror=$(debian_mirror)
	[ -n "$mirror" ] || die "apt's sources name no Debian main archive to make an image from: add one"
	TEMPS+=("$base.new" "$base.options")
	# apt's ways to the network; they stay out of the image.
	apt-config dump | grep -E '^Acquire::(http|https|Retries)(::| )' >"$base.options" || true
	say "fetching Debian for the image, 3 minutes"
	rm -f "$base" "$base.new"
	# shellcheck disable=SC2016 # mmdebstrap expands it
	TMPDIR=$CACHE/image logged image-base mmdebstrap --mode=root --variant=minbase --format=tar --include="${IMAGE_PACKAGES[*]}" --aptopt="$base.options" \
		--customize-hook='rm -f "$1/etc/apt/apt.conf.d/99mmdebstrap"' "$codename" "$base.new" "$mirror" ||
		die "cannot get Debian for the image: $(grep -m1 '^E: ' "$LOG/image-base.log" | cut -c4-) (log: $LOG/image-base.log)"
	mv "$base.new" "$base"
	echo "$key" >"$base.key"
}

# try_image bios|efi: boots it and, in it, builds and runs an example, whose events are said.
try_image() {
	local log=$LOG/image-$1.log options=(-machine q35) events
	# shellcheck disable=SC2016 # expanded in the machine
	local example='cd /tmp && cc -o hello /usr/share/doc/libkevent-dev/examples/hello.c -lkevent && { sleep 5; echo; } | ./hello'
	! kvm_works || options=(-machine q35,accel=kvm -cpu host)
	[ "$1" = bios ] || options+=(-bios /usr/share/ovmf/OVMF.fd)
	logged "image-$1" image_conversation "$log.events" 900 "$example" \
		qemu-system-x86_64 "${options[@]}" -smp 2 -m 1G -display none -serial stdio -monitor none -no-reboot \
		-nic user,model=virtio -drive "if=virtio,file=$IMAGE,format=qcow2,snapshot=on" ||
		die "the image does not do by $1 what it should: $(grep -a . "$log" | tail -n 1 | tr -d '\r') (log: $log)"
	events=$(cat "$log.events")
	[[ $events == *"waited for a line for "* ]] || die "the example gave no events in the image: $events (log: $log)"
	say "the image starts by $1, and its example says: $(tail -n 1 "$log.events")"
}
image_conversation() {
	local events=$1
	shift
	python3 tools/image/try.py "$@" >"$events"
}
