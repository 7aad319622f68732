#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# In the guest: guest.sh RUN SHORT BACKEND...: runs the tests of RUN on each backend, and says whether
# there was a watch of kevent.
run=$1 short=$2
shift 2
t=/sys/kernel/tracing
mount -t tracefs tracefs $t 2>/dev/null
ip link set lo up
for backend; do
	echo "backend $backend"
	if [ -e $t/events/kevent ]; then
		echo 0 >$t/trace
		echo 1 >$t/events/kevent/kevent_add/enable
	fi
	(cd /tmp && exec bash "$run" test "$backend" "$short") </dev/null
	if grep -qs kevent_add: $t/trace; then echo "used kevent"; else echo "used none"; fi
done 2>&1
echo "backends done"
