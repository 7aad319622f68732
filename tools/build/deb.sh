# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-only
#
# deb: a kernel with kevent to install, and the library.

DEB_PACKAGES=(dpkg-dev debhelper libdw-dev)

help_deb() {
	cat <<-END
	Usage: ./build.sh deb [--kernel VARIANT] [--tree DIR]

	Builds kernel 'vm', and makes Debian packages in $CACHE/deb: the kernel with its modules, its
	headers for modules and for programs (linux-libc-dev), and libkevent.  In a virtual machine:
	dpkg -i linux-image-*.deb libkevent*.deb, and start it again.  What a machine boots from is built in, so
	that it needs no initial RAM disk.  Half an hour on two cores the first time, then 5 minutes.
	END
}

verb_deb() {
	parse_options --kernel vm "$@"
	no_args
	fragments "$VARIANT"
	open_cache
	make_tree
	make_debs "$VARIANT"
	(cd "$CACHE/deb" && ls -s --block-size=K ./*.deb)
}

# make_debs VARIANT: the packages, in $CACHE/deb, unless they are there.
make_debs() {
	local to=$CACHE/deb key
	install_packages "packages" "${DEB_PACKAGES[@]}"
	key="$1 $(deb_key "$1")"
	[ "$key" != "$(cat "$to/key" 2>/dev/null)" ] || return 0
	rm -f "$BUILD"/linux-*.deb
	# One number for all that is built of a base, and no package of the debug information.
	KDEB_PKGVERSION=$(make -s -C "$TREE" kernelversion)-1
	export KDEB_PKGVERSION DEB_BUILD_PROFILES=pkg.linux-upstream.nokerneldbg
	build_kernel "$1" bindeb-pkg
	# They are put beside the folder that is built in.
	rm -rf "$to" && mkdir -p "$to" && mv "$BUILD"/linux-*.deb "$to"
	rm -f "$BUILD"/linux-*.{buildinfo,changes}
	logged deb-libkevent deb_libkevent "$to" ||
		die "libkevent's packages cannot be made: $(tail -n 1 "$LOG/deb-libkevent.log") (log: $LOG/deb-libkevent.log)"
	echo "$key" >"$to/key"
}

# deb_key VARIANT: what they are made of.
deb_key() {
	fragments "$1"
	use_tools
	{
		git -C "$TREE" rev-parse HEAD
		git -C "$TREE" diff HEAD
		(cd "$TREE" && git ls-files -o --exclude-standard -z | xargs -0r sha256sum)
		cat "${FRAGMENTS[@]}" tools/build/deb.sh
		compiler_versions
		find tools/libkevent -type f -exec sha256sum {} + | sort
	} | sha256sum
}

# deb_libkevent TO: from a copy, in which it builds.
deb_libkevent() {
	local copy=$CACHE/target/deb
	rm -rf "$copy" && mkdir -p "$copy" && cp -a tools/libkevent "$copy/" || return
	# It is tested elsewhere.
	(cd "$copy/libkevent" && DEB_BUILD_OPTIONS='nocheck noautodbgsym' dpkg-buildpackage -b -us -uc) &&
		mv "$copy"/*.deb "$1"
}
