/* SPDX-License-Identifier: MIT */
/* Four threads take work from one event channel; one is cancelled, and nothing is lost. */
#define _GNU_SOURCE
#include <kevent/ec.h>
#include <pthread.h>
#include <stdio.h>

#define JOBS 1000U
#define WORKERS 4

static ec_t channel;
static unsigned int done;

static void *work(void *arg)
{
	event_data_t ev;

	while (!ec_wait_event(channel, &ev))
		__atomic_fetch_add(&done, 1, __ATOMIC_RELAXED);
	return arg;
}

int main(void)
{
	pthread_t threads[WORKERS];
	unsigned int i;

	channel = ec_create(0);
	if (!channel) {
		perror("ec_create");
		return 1;
	}
	for (i = 0; i < WORKERS; i++)
		pthread_create(&threads[i], NULL, work, NULL);
	for (i = 0; i < JOBS; i++) {
		struct kevent_event job = { .user_data = i, .events = 1 };

		if (kevent_post(ec_queue(channel)->fd, &job, sizeof(job), 1, KEVENT_POST_DEFER) != 1)
			perror("kevent_post");
		if (i == JOBS / 2)
			pthread_cancel(threads[0]);
	}
	while (__atomic_load_n(&done, __ATOMIC_RELAXED) < JOBS)
		nanosleep(&(struct timespec){ 0, 1000000 }, NULL);
	for (i = 0; i < WORKERS; i++) {
		pthread_cancel(threads[i]);
		pthread_join(threads[i], NULL);
	}
	printf("%u of %u jobs done\n", done, JOBS);
	return ec_destroy(channel) || done != JOBS;
}
