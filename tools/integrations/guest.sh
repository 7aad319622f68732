#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# In the guest: guest.sh FOLDER SHORT BACKENDS NAME...: runs the tests of each NAME on each of BACKENDS, and says
# whether there was a watch of kevent.  OUTS has what was built.
folder=$1 short=$2 backends=$3
shift 3
t=/sys/kernel/tracing
mount -t tracefs tracefs $t 2>/dev/null
ip link set lo up
for name; do
	echo "integration $name"
	for backend in $backends; do
		echo "backend $backend"
		if [ -e $t/events/kevent ]; then
			echo 0 >$t/trace
			echo 1 >$t/events/kevent/kevent_add/enable
		fi
		(cd /tmp && OUT=$OUTS/$name exec bash "$folder/$name/run.sh" test "$backend" "$short") </dev/null
		if grep -qs kevent_add: $t/trace; then echo "used kevent"; else echo "used none"; fi
	done
	echo "backends done"
done 2>&1
