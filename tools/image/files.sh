#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# files.sh ROOT: all files of the image, from what ./build.sh image has put into CACHE, and TREE.
set -eu
root=$1
mkdir "$root"
tar -C "$root" -xf "$CACHE/image/base.tar" --numeric-owner

# Copies the kernel to where the machine starts it from, whenever one is installed.
mkdir -p "$root/efi" "$root/etc/kernel/postinst.d"
cat >"$root/etc/kernel/postinst.d/kevent" <<-'END'
	#!/bin/sh
	! mountpoint -q /efi || cp "$2" /efi/vmlinuz
END
chmod 755 "$root/etc/kernel/postinst.d/kevent"

mkdir "$root/tmp/deb"
cp "$CACHE"/deb/*.deb "$root/tmp/deb/"
rm -f "$root"/tmp/deb/linux-headers-*
chroot "$root" sh -c 'dpkg -i /tmp/deb/*.deb && rm -r /tmp/deb'
install -t "$root/usr/local/bin" "$CACHE"/target/samples/*-server "$CACHE/target/release/kevent-demo"
install -m 644 -D -t "$root/usr/local/src/kevent" "$TREE"/samples/kevent/*.[ch]

echo kevent >"$root/etc/hostname"
printf '127.0.0.1 localhost kevent\n::1 localhost kevent\n' >"$root/etc/hosts"
printf 'PARTLABEL=root / ext4 defaults 0 1\nPARTLABEL=efi /efi vfat umask=0077,nofail 0 2\n' >"$root/etc/fstab"
printf '[Match]\nName=en* eth*\n[Network]\nDHCP=yes\n' >"$root/etc/systemd/network/dhcp.network"
chroot "$root" systemctl enable systemd-networkd
sed -i 's/^root:[^:]*:/root::/' "$root/etc/shadow"
cat >"$root/etc/motd" <<-END

	kevent for Linux.  kevent-demo shows events as they come out of a ring, kevent-server a server with
	them and epoll-server the same with epoll; their sources are in /usr/local/src/kevent.  To build one:
	cc /usr/share/doc/libkevent-dev/examples/hello.c -lkevent && ./a.out

END
