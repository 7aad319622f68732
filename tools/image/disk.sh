#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# disk.sh WORK: its folder 'files' becomes kevent.qcow2 there.  Nothing is mounted.
#
# A machine with a BIOS starts syslinux, one with EFI systemd-boot; both are in the first partition, with
# one copy of the kernel.
set -eu
work=$1
disk=$work/disk esp=$((1 << 20)) root=$((65 << 20)) end=$((4 << 30))
options='root=PARTLABEL=root rw no_timer_check console=tty0 console=ttyS0'

truncate -s $end "$disk"
sfdisk -q "$disk" <<-END
	label: gpt
	start=$((esp / 512)), size=$(((root - esp) / 512)), type=uefi, name=efi, attrs=LegacyBIOSBootable
	start=$((root / 512)), type=4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709, name=root
END
dd if=/usr/lib/SYSLINUX/gptmbr.bin of="$disk" bs=440 count=1 conv=notrunc status=none

export MTOOLS_SKIP_CHECK=1
mformat -i "$disk@@$esp" -T $(((root - esp) / 512)) -h 64 -s 32 -H $((esp / 512)) -v EFI ::
syslinux --install --offset $esp "$disk"
printf 'DEFAULT kevent\nLABEL kevent\nLINUX /vmlinuz\nAPPEND %s\n' "$options" >"$work/syslinux.cfg"
printf 'title kevent\nlinux /vmlinuz\noptions %s\n' "$options" >"$work/kevent.conf"
mmd -i "$disk@@$esp" ::/EFI ::/EFI/BOOT ::/loader ::/loader/entries
mcopy -i "$disk@@$esp" "$work/syslinux.cfg" ::/
mcopy -i "$disk@@$esp" "$work/kevent.conf" ::/loader/entries/
mcopy -i "$disk@@$esp" /usr/lib/systemd/boot/efi/systemd-bootx64.efi ::/EFI/BOOT/BOOTX64.EFI
mcopy -i "$disk@@$esp" "$work"/files/boot/vmlinuz-* ::/vmlinuz

# Up to the copy of the partition table in the last MB.
mke2fs -q -t ext4 -L root -d "$work/files" -E offset=$root "$disk" $(((end - root) / 1024 - 1024))k
qemu-img convert -c -O qcow2 "$disk" "$work/kevent.qcow2"
