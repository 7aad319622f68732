/* SPDX-License-Identifier: MIT */
#include <kevent.h>
#include <stdio.h>
#include <unistd.h>

int main(void)
{
	struct kevent_queue q;
	struct kevent_watch w[2];
	struct kevent_event ev;

	kevent_prep_poll(&w[0], STDIN_FILENO, KEVENT_POLL_IN, 0, 0);
	kevent_prep_timer(&w[1], CLOCK_MONOTONIC, 1000000000, 1000000000, 0, 0, 1);
	if (kevent_queue_init(&q, 64, 0, 0) || kevent_add(q.fd, w, sizeof(w[0]), 2, 0) != 2)
		return perror("kevent"), 1;
	while (kevent_next(&q, &ev, 1, NULL) == 1 && ev.user_data == 1)
		printf("waited for a line for %lld s more\n", (long long)ev.data);
	kevent_queue_exit(&q);
}
