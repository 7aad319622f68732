/* SPDX-License-Identifier: MIT */
/* Two timers, and SIGINT as an event: no handler, no signal mask. */
#define _GNU_SOURCE
#include <kevent.h>
#include <signal.h>
#include <stdio.h>

enum { FAST, SLOW, STOP };

int main(void)
{
	struct kevent_watch w[3];
	struct kevent_queue q;
	struct kevent_event ev;

	if (kevent_queue_init(&q, 16, 0, 0)) {
		perror("kevent");
		return 1;
	}
	kevent_prep_timer(&w[0], CLOCK_MONOTONIC, 100000000, 100000000, 1000000, 0, FAST);
	kevent_prep_timer(&w[1], CLOCK_MONOTONIC, 1000000000, 1000000000, 0, 0, SLOW);
	kevent_prep_signal(&w[2], SIGINT, KEVENT_WATCH_TAKE, STOP);
	if (kevent_add(q.fd, w, sizeof(w[0]), 3, 0) != 3) {
		perror("kevent_add");
		return 1;
	}

	for (;;) {
		int n = kevent_next(&q, &ev, 1, NULL);

		if (n < 0 && errno != EINTR) {
			perror("kevent_next");
			return 1;
		}
		if (n <= 0)
			continue;
		switch (ev.user_data) {
		case FAST:
			printf("%lld tenths of a second\n", (long long)ev.data);
			break;
		case SLOW:
			printf("%lld seconds\n", (long long)ev.data);
			break;
		case STOP:
			printf("interrupted by process %u\n", KEVENT_SIGNAL_PID(ev.extra));
			kevent_queue_exit(&q);
			return 0;
		}
	}
}
