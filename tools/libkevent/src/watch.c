/* SPDX-License-Identifier: MIT */
/* One watch at a time. */
#define _GNU_SOURCE
#include "lib.h"
#include <signal.h>

EXPORT int kevent_watch_add(struct kevent_queue *q, struct kevent_watch *w)
{
	if (kevent_check_(q))
		return -1;
	return kevent_add(q->fd, w, sizeof(*w), 1, 0) == 1 ? 0 : -1;
}

static int modify(struct kevent_queue *q, struct kevent_watch *w, unsigned int flags)
{
	if (kevent_check_(q))
		return -1;
	return kevent_modify(q->fd, w, sizeof(*w), 1, flags) == 1 ? 0 : -1;
}

EXPORT int kevent_watch_set(struct kevent_queue *q, struct kevent_watch *w, unsigned int what)
{
	unsigned int all = KEVENT_MODIFY_EVENTS | KEVENT_MODIFY_MODE | KEVENT_MODIFY_USER_DATA |
			   KEVENT_MODIFY_ARG;

	if (!what || (what & ~all))
		return fail(EINVAL);
	return modify(q, w, what);
}

EXPORT int kevent_watch_enable(struct kevent_queue *q, struct kevent_watch *w)
{
	return modify(q, w, KEVENT_MODIFY_ENABLE);
}

EXPORT int kevent_watch_disable(struct kevent_queue *q, struct kevent_watch *w)
{
	return modify(q, w, KEVENT_MODIFY_DISABLE);
}

EXPORT int kevent_watch_trigger(struct kevent_queue *q, struct kevent_watch *w,
				unsigned int events)
{
	struct kevent_watch record = *w;
	int ret;

	record.events = events;
	ret = modify(q, &record, KEVENT_MODIFY_TRIGGER);
	w->result = record.result;
	return ret;
}

EXPORT int kevent_watch_remove(struct kevent_queue *q, struct kevent_watch *w)
{
	if (kevent_check_(q))
		return -1;
	return kevent_remove(q->fd, &w->handle, 1, 0) == 1 ? 0 : -1;
}

EXPORT void kevent_prep_sigevent(struct sigevent *sev, int fd, void *user_data)
{
	memset(sev, 0, sizeof(*sev));
	sev->sigev_notify = SIGEV_KEVENT;
	sev->sigev_value.sival_ptr = user_data;
	/* The descriptor is the first word of the union behind sigev_notify. */
	memcpy((char *)&sev->sigev_notify + sizeof(sev->sigev_notify), &fd, sizeof(fd));
}
