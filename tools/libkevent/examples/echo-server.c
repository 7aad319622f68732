/* SPDX-License-Identifier: MIT */
/* An echo server with one thread: echo-server [PORT], 7777 if none is given. */
#define _GNU_SOURCE
#include <kevent.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

static struct kevent_queue q;

/* user_data is the descriptor: closing it removes its watch and its events. */
static int watch(int fd, unsigned int events)
{
	struct kevent_watch w;

	kevent_prep_socket(&w, fd, events, 0, (__u64)fd);
	return kevent_watch_add(&q, &w);
}

static void echo(int fd)
{
	char buf[4096];
	ssize_t n = recv(fd, buf, sizeof(buf), MSG_DONTWAIT);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0 || send(fd, buf, (size_t)n, MSG_NOSIGNAL) != n)
		close(fd);
}

int main(int argc, char **argv)
{
	struct sockaddr_in addr = { .sin_family = AF_INET };
	struct kevent_event events[64];
	int listener, one = 1;

	addr.sin_port = htons((unsigned short)(argc > 1 ? atoi(argv[1]) : 7777));
	addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (kevent_queue_init(&q, 256, 1U << KEVENT_SOURCE_SOCKET, 0)) {
		perror("kevent");
		return 1;
	}
	listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(listener, (struct sockaddr *)&addr, sizeof(addr)) || listen(listener, 128) ||
	    watch(listener, KEVENT_SOCKET_ACCEPT)) {
		perror("listen");
		return 1;
	}

	for (;;) {
		int n = kevent_next(&q, events, 64, NULL);

		if (n < 0 && errno != EINTR) {
			perror("kevent_next");
			return 1;
		}
		for (int i = 0; i < n; i++) {
			int fd = (int)events[i].user_data;

			if (events[i].events & KEVENT_SOCKET_ACCEPT) {
				fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
				if (fd >= 0 && watch(fd, KEVENT_SOCKET_IN))
					close(fd);
			} else if (fd != listener) {
				echo(fd);
			}
		}
	}
}
