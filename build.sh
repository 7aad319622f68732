#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
#
# The one entry point of kevent for Linux: ./build.sh VERB.  Every verb can be interrupted and run
# again, and does only what is left to do.  The work itself is in tools/build/, a file per concern.
set -eu

CALLER=$PWD
cd "$(dirname "$(readlink -f "$0")")"
ROOT=$PWD
. tools/build/common.sh
. tools/build/setup.sh
. tools/build/tree.sh
. tools/build/kernel.sh
. tools/build/boot.sh
. tools/build/check.sh
. tools/build/configs.sh
. tools/build/man.sh
. tools/build/uapi.sh
. tools/build/each.sh
. tools/build/batch.sh
. tools/build/test.sh
. tools/build/integrations.sh
. tools/build/bench.sh
. tools/build/deb.sh
. tools/build/image.sh

usage() {
	cat <<-END
	Usage: ./build.sh VERB [OPTIONS]      (VERB --help says more)

	  setup    install what is needed and unpack Linux 7.3     5 minutes, 0 s when all is there
	  tree     apply patches/ to the unpacked tree             10 s
	  kernel   configure and build the kernel                  12 minutes on 2 cores, then seconds
	  boot     boot it under QEMU, for a shell or one command  10 s
	  run      all of the above, then the demonstration
	  test     everything that must hold                       a few minutes on a built kernel
	  check    the tests that need no kernel                   1 minute
	  each     build the kernel after each single patch        an hour
	  bench    what an event and a watch cost, and others'     2 minutes on a built kernel
	  deb      Debian packages of the kernel and of libkevent  half an hour, then 5 minutes
	  image    a disk for QEMU with them, started once         10 minutes after deb
	  refresh  fold edits of tree and overlay into patches/    5 s
	  batch    one batch of the series as it is mailed         5 s
	  clean    remove the cache

	Everything is kept in $CACHE.
	END
}

verb=${1:-help}
[ $# = 0 ] || shift
case $verb in
setup | tree | kernel | boot | run | test | check | each | bench | deb | image | refresh | batch | clean)
	for word; do
		case $word in
		--) break ;;
		-h | --help) "help_$verb" && exit ;;
		esac
	done
	"verb_$verb" "$@"
	;;
help | -h | --help) usage ;;
*) die "there is no verb '$verb': see ./build.sh --help" ;;
esac
