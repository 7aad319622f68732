#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# epoll by LD_PRELOAD on kevent: see README.md.
# shellcheck source=../lib.sh
. "$(dirname "$0")/../lib.sh"

NGINX=1.22.1

build() {
	fetch_debian binary nginx $NGINX
	ln -sfn "$SRC/nginx-$NGINX" "$OUT/nginx"
	build_libkevent
	cc -O2 -Wall -Wextra -fPIC -shared -pthread -I"$ROOT/tools/libkevent/include" -o "$OUT/libepoll-kevent.so" \
		"$HERE/epoll-kevent.c" "$OUT/libkevent/syscall.pic.o" -ldl || exit 1
	# The tree's own tests of epoll; they need no more of the kernel's headers than the system has.
	cc -O2 -w -pthread -I"$TREE/tools/testing/selftests" \
		-o "$OUT/epoll_wakeup_test" "$TREE/tools/testing/selftests/filesystems/epoll/epoll_wakeup_test.c" || exit 1
}

# Two workers on one listener.
serve() {
	local to=$TMP/nginx port=8080 master
	mkdir -p "$to/html" "$to/logs"
	echo small >"$to/html/small"
	head -c 200000 /dev/zero >"$to/html/large"
	cat >"$to/nginx.conf" <<-END
	user root;
	daemon off;
	worker_processes 2;
	pid $to/pid;
	error_log $to/logs/error.log;
	events { use epoll; worker_connections 256; accept_mutex off; }
	http {
		access_log off;
		client_body_temp_path $to/b; proxy_temp_path $to/p; fastcgi_temp_path $to/f;
		uwsgi_temp_path $to/u; scgi_temp_path $to/s;
		server { listen 127.0.0.1:$port; root $to/html; }
	}
	END
	"$OUT/nginx/usr/sbin/nginx" -p "$to" -c "$to/nginx.conf" -e "$to/logs/error.log" &
	master=$!
	timeout 600 env -u LD_PRELOAD /usr/bin/python3 "$HERE/load.py" $port nginx || echo "not ok nginx"
	kill $master && wait $master
	cat "$to/logs/error.log"
}

run_tests() {
	[ "$1" != stock ] || export NO_KEVENT=1
	export LD_PRELOAD=$OUT/libepoll-kevent.so
	serve
	# 59, 60 and 65 run into their own time limits under emulation, on epoll too.
	[ "$2" = short ] || [ "$1" = fallback ] ||
		timeout 900 "$OUT/epoll_wakeup_test" -T epoll59 -T epoll60 -T epoll65 |
		sed -uE 's/^((not )?ok) [0-9]+ global\./\1 /'
}

case $1 in
build) build ;;
test) run_tests "$2" "${3:-}" ;;
esac
