#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# epoll by LD_PRELOAD on kevent: see README.md.
# shellcheck source=../lib.sh
. "$(dirname "$0")/../lib.sh"

# The servers, from Debian, and the libraries of theirs that not every machine has.
declare -A SERVERS=(
	[nginx]=nginx=1.22.1
	[redis]='redis-tools=5:7.0 libjemalloc2=5.3.0 liblzf1=3.6' # the server is in the tools
	[memcached]=memcached=1.6.18
	[haproxy]='haproxy=2.6.12 liblua5.3-0=5.3.6 libopentracing-c-wrapper0=1.1.3 libopentracing1=1.6.0'
)
ALL=(nginx redis memcached haproxy) SHORT=(nginx)

build() {
	local server package servers=("${ALL[@]}")
	[ "$1" != short ] || servers=("${SHORT[@]}")
	rm -rf "$OUT/servers" && mkdir -p "$OUT/servers"
	for server in "${servers[@]}"; do
		# One that cannot be had is not tested.
		for package in ${SERVERS[$server]}; do
			(fetch_debian binary "${package%%=*}" "${package#*=}") || continue 2
			cp -rs "$SRC/${package%%=*}-${package##*[=:]}"/usr "$OUT/servers/"
		done
		touch "$OUT/servers/$server"
	done
	[ -d "$OUT/servers/usr" ] || exit 3
	build_libkevent
	cc -O2 -Wall -Wextra -fPIC -shared -pthread -I"$ROOT/tools/libkevent/include" -o "$OUT/libepoll-kevent.so" \
		"$HERE/epoll-kevent.c" "$OUT/libkevent/syscall.pic.o" -ldl || exit 1
	# The tree's own tests of epoll; they need no more of the kernel's headers than the system has.
	cc -O2 -w -pthread -I"$TREE/tools/testing/selftests" \
		-o "$OUT/epoll_wakeup_test" "$TREE/tools/testing/selftests/filesystems/epoll/epoll_wakeup_test.c" || exit 1
}

# load KIND PORT NAME SERVER...
load() {
	local kind=$1 port=$2 name=$3 server
	shift 3
	"$@" &
	server=$!
	timeout 600 env -u LD_PRELOAD -u LD_LIBRARY_PATH /usr/bin/python3 "$HERE/load.py" "$kind" "$port" "$name" ||
		echo "not ok $name"
	kill $server && wait $server
}

# Two workers on one listener.
serve_nginx() {
	local to=$TMP/nginx port=8080
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
	load http $port nginx "$USR/sbin/nginx" -p "$to" -c "$to/nginx.conf" -e "$to/logs/error.log"
	cat "$to/logs/error.log"
}

serve_redis() {
	load redis 6380 redis "$TMP/redis-server" --port 6380 --save '' --appendonly no --io-threads 2 --dir "$TMP"
}

serve_memcached() {
	load memcached 11212 memcached "$USR/bin/memcached" -u root -l 127.0.0.1 -p 11212 -t 3
}

# Between the clients and a server of files that is not on the layer.
serve_haproxy() {
	local to=$TMP/haproxy files
	mkdir -p "$to"
	echo small >"$to/small"
	head -c 200000 /dev/zero >"$to/large"
	env -u LD_PRELOAD -u LD_LIBRARY_PATH /usr/bin/python3 -m http.server -b 127.0.0.1 -d "$to" 8082 2>/dev/null &
	files=$!
	cat >"$to/haproxy.cfg" <<-END
	global
		nbthread 2
	defaults
		mode http
		timeout connect 100s
		timeout client 100s
		timeout server 100s
		retries 10
	listen front
		bind 127.0.0.1:8081
		server files 127.0.0.1:8082
	END
	load http 8081 haproxy "$USR/sbin/haproxy" -f "$to/haproxy.cfg" -db
	kill $files
}

run_tests() {
	local server servers=("${ALL[@]}")
	[ "$2" != short ] || servers=("${SHORT[@]}")
	USR=$OUT/servers/usr
	[ ! -e "$USR/bin/redis-check-rdb" ] || ln -sf "$(readlink -f "$USR/bin/redis-check-rdb")" "$TMP/redis-server"
	[ "$1" != stock ] || export NO_KEVENT=1
	export LD_PRELOAD=$OUT/libepoll-kevent.so LD_LIBRARY_PATH=$OUT/servers/usr/lib/x86_64-linux-gnu
	for server in "${servers[@]}"; do
		if [ -e "$OUT/servers/$server" ]; then "serve_$server"; else echo "skip $server"; fi
	done
	[ "$2" = short ] || [ "$1" = fallback ] || wakeups
}

# 59, 60 and 65 run into their own time limits under emulation, on epoll too.
wakeups() {
	local verdict test
	timeout 900 "$OUT/epoll_wakeup_test" -T epoll59 -T epoll60 -T epoll65 | tee "$TMP/out" |
		sed -u 's/^/# /' # not in the form of a verdict
	sed -nE 's/^((not )?ok) [0-9]+ global\.([a-z0-9]+).*/\1 \3/p' "$TMP/out" | while read -r verdict test; do
		case $verdict in
		ok) echo "ok $test" ;;
		not) again "${test#ok }" "$OUT/epoll_wakeup_test" -t "${test#ok }" ;;
		esac
	done
}

case $1 in
build) build "${2:-}" ;;
test) run_tests "$2" "${3:-}" ;;
esac
