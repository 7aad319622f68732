# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-only
#
# The copies of the kernel's header that the libraries ship: the series has it, they follow.

UAPI=$ROOT/kernel-tree-overlay/include/uapi/linux/kevent.h
UAPI_CRATE=$ROOT/tools/kevent/uapi/kevent.h
UAPI_LIBKEVENT=$ROOT/tools/libkevent/include/kevent/uapi.h

# uapi_of_libkevent: the header as libkevent has it.
uapi_of_libkevent() {
	awk '
		NR == 1 {
			print "/* SPDX-License-Identifier: MIT */"
			print "/*"
			print " * The kernel'"'"'s <linux/kevent.h>, for systems whose kernel headers are older.  It is"
			print " * dual licensed; this copy is used under MIT.  Nothing is defined twice if the"
			print " * kernel'"'"'s own was included before."
			print " */"
			print "#ifndef KEVENT_UAPI_H"
			print "#define KEVENT_UAPI_H"
			print "#if !defined(_LINUX_KEVENT_H) && !defined(_UAPI_LINUX_KEVENT_H)"
			print "#define _LINUX_KEVENT_H"
			next
		}
		/^#(ifndef|define) _UAPI_LINUX_KEVENT_H$/ { next }
		/^#endif \/\* _UAPI_LINUX_KEVENT_H \*\/$/ {
			print "#endif /* the kernel'"'"'s own was not included */"
			print "#endif /* KEVENT_UAPI_H */"
			next
		}
		{ print }' "$UAPI"
}

# write_uapi_copies: brings the copies up to date.
write_uapi_copies() {
	cmp -s "$UAPI" "$UAPI_CRATE" || cp "$UAPI" "$UAPI_CRATE"
	uapi_of_libkevent | cmp -s - "$UAPI_LIBKEVENT" || uapi_of_libkevent >"$UAPI_LIBKEVENT"
}

check_uapi() {
	local wrong=0
	cmp "$UAPI" "$UAPI_CRATE" || wrong=1
	uapi_of_libkevent | cmp - "$UAPI_LIBKEVENT" || wrong=1
	[ $wrong = 0 ] || echo "a copy of the kernel's header is not up to date: run ./build.sh refresh"
	return $wrong
}
