/* SPDX-License-Identifier: MIT */
/* An echo server with one thread: echo-server [PORT], 7777 if none is given. */
#define _GNU_SOURCE
#include <kevent.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

struct connection {
	struct kevent_watch watch;
	int fd;
	size_t from, to;	/* what of the buffer is still to be sent */
	char buffer[4096];
};

static struct kevent_queue q;

/* Closing the descriptor removes its watch and its event. */
static int hang_up(struct connection *c)
{
	close(c->fd);
	free(c);
	return 0;
}

/*
 * EAGAIN was seen of what these events are about.  1: of all that is watched, so the level is
 * exhausted.
 */
static int want(struct connection *c, unsigned int events)
{
	if (c->watch.events == events)
		return 1;
	c->watch.events = events;
	return kevent_watch_set(&q, &c->watch, KEVENT_MODIFY_EVENTS) ? hang_up(c) : 0;
}

static int echo(struct connection *c)
{
	ssize_t n;

	for (;;) {
		if (c->from < c->to) {
			n = send(c->fd, c->buffer + c->from, c->to - c->from, MSG_NOSIGNAL);
			if (n < 0 && errno == EAGAIN)
				return want(c, KEVENT_SOCKET_OUT);
			if (n < 0)
				return hang_up(c);
			c->from += (size_t)n;
		} else {
			n = recv(c->fd, c->buffer, sizeof(c->buffer), 0);
			if (n < 0 && errno == EAGAIN)
				return want(c, KEVENT_SOCKET_IN);
			if (n <= 0)
				return hang_up(c);
			c->from = 0;
			c->to = (size_t)n;
		}
	}
}

static int accept_all(int listener)
{
	struct connection *c;
	int fd;

	while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
		c = calloc(1, sizeof(*c));
		if (!c) {
			close(fd);
			continue;
		}
		c->fd = fd;
		kevent_prep_socket(&c->watch, fd, KEVENT_SOCKET_IN, 0, (uintptr_t)c);
		if (kevent_watch_add(&q, &c->watch))
			hang_up(c);
	}
	return errno == EAGAIN;
}

int main(int argc, char **argv)
{
	struct sockaddr_in addr = { .sin_family = AF_INET };
	int listener, exhausted, one = 1;
	struct kevent_event ev;
	struct kevent_watch w;
	__u32 index;

	addr.sin_port = htons((unsigned short)(argc > 1 ? atoi(argv[1]) : 7777));
	addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	/* No other class, so nothing is posted: user_data is ours. */
	if (kevent_queue_init(&q, 256, 1U << KEVENT_SOURCE_SOCKET, 0)) {
		perror("kevent");
		return 1;
	}
	listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	kevent_prep_socket(&w, listener, KEVENT_SOCKET_ACCEPT, 0, 0);
	if (bind(listener, (struct sockaddr *)&addr, sizeof(addr)) || listen(listener, 128) ||
	    kevent_watch_add(&q, &w)) {
		perror("listen");
		return 1;
	}

	/* One at a time: with several there may be one more of a connection that was just freed. */
	for (;;) {
		int n = kevent_next_begin(&q, &ev, &index, NULL);

		if (n < 0 && errno != EINTR) {
			perror("kevent_next_begin");
			return 1;
		}
		if (n != 1)
			continue;
		exhausted = ev.user_data ? echo((struct connection *)(uintptr_t)ev.user_data) :
					   accept_all(listener);
		kevent_take_end(&q, index, exhausted);
	}
}
