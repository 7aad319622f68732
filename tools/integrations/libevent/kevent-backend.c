/* SPDX-License-Identifier: MIT */
/*
 * A backend of libevent on a kevent queue; event.c includes it.  Timeouts are in
 * nanoseconds, signals need no handler and no socketpair, event_base_loopbreak() of
 * another thread no descriptor.  There is no ring: kevent_get_events(2) reports only
 * levels that hold, which is what callbacks with blocking descriptors need.
 */
#include <kevent.h>

/* How many events one call takes: at first, and at most. */
#define KEVENT_NR 64
#define KEVENT_NR_MAX 4096

struct kevent_fdinfo {
	uint64_t handle;	/* 0: no watch */
};

struct kevent_base {
	struct kevent_queue queue;
	uint64_t signals[NSIG];	/* handles */
	struct kevent_event *events;
	int nr;
};

static const struct eventop kevent_signal_ops;

static void *
kevent_backend_init(struct event_base *base)
{
	static int said;
	struct kevent_base *kb = mm_calloc(1, sizeof(*kb));

	if (!kb)
		return NULL;
	kb->nr = KEVENT_NR;
	kb->events = mm_calloc(kb->nr, sizeof(*kb->events));
	if (!kb->events || kevent_queue_init(&kb->queue, 0, 0, 0) < 0) {
		if (kb->events && errno == ENOSYS && !said++)
			event_msgx("no kevent in this kernel: another backend is used");
		mm_free(kb->events);
		mm_free(kb);
		return NULL;
	}
	base->evsigsel = &kevent_signal_ops;
	return kb;
}

static int
kevent_backend_set(struct event_base *base, evutil_socket_t fd, short events,
    struct kevent_fdinfo *info)
{
	struct kevent_base *kb = base->evbase;
	struct kevent_watch w;
	unsigned int bits = 0;

	if (events & EV_READ)
		bits |= KEVENT_POLL_IN;
	if (events & EV_WRITE)
		bits |= KEVENT_POLL_OUT;
	if (events & EV_CLOSED)
		bits |= KEVENT_POLL_RDHUP;
	kevent_prep_poll(&w, fd, bits, events & EV_ET ? KEVENT_WATCH_EDGE : 0, fd);

	if (info->handle) {
		w.handle = info->handle;
		if (bits ? !kevent_watch_set(&kb->queue, &w, KEVENT_MODIFY_EVENTS | KEVENT_MODIFY_MODE)
			 : !kevent_watch_remove(&kb->queue, &w)) {
			info->handle = bits ? w.handle : 0;
			return 0;
		}
		info->handle = 0;
		if (errno != ENOENT)
			return -1;
		/* It was closed, and may be another file by now. */
	}
	if (!bits)
		return 0;
	if (kevent_watch_add(&kb->queue, &w) < 0)
		return -1;
	info->handle = w.handle;
	return 0;
}

static int
kevent_backend_add(struct event_base *base, evutil_socket_t fd, short old, short events, void *info)
{
	return kevent_backend_set(base, fd, old | events, info);
}

static int
kevent_backend_del(struct event_base *base, evutil_socket_t fd, short old, short events, void *info)
{
	return kevent_backend_set(base, fd, (old & ~events) | (events & EV_ET), info);
}

static int
kevent_backend_dispatch(struct event_base *base, struct timeval *tv)
{
	struct kevent_base *kb = base->evbase;
	struct timespec ts;
	int i, n;

	if (tv) {
		ts.tv_sec = tv->tv_sec;
		ts.tv_nsec = tv->tv_usec * 1000;
	}
	EVBASE_RELEASE_LOCK(base, th_base_lock);
	n = kevent_next(&kb->queue, kb->events, kb->nr, tv ? &ts : NULL);
	EVBASE_ACQUIRE_LOCK(base, th_base_lock);
	base->is_notify_pending = 0;

	if (n < 0) {
		if (errno == EINTR)
			return 0;
		event_warn("kevent_next");
		return -1;
	}
	for (i = 0; i < n; i++) {
		const struct kevent_event *ev = &kb->events[i];
		unsigned int bits = ev->events;
		short what = 0;

		if (KEVENT_INFO_SOURCE(ev->info) == KEVENT_SOURCE_SIGNAL) {
			evmap_signal_active_(base, (int)ev->user_data, (int)ev->data);
			continue;
		}
		if ((bits & KEVENT_POLL_ERR) || ((bits & KEVENT_POLL_HUP) && !(bits & KEVENT_POLL_RDHUP))) {
			what = EV_READ | EV_WRITE;
		} else {
			if (bits & KEVENT_POLL_IN)
				what |= EV_READ;
			if (bits & KEVENT_POLL_OUT)
				what |= EV_WRITE;
			if (bits & KEVENT_POLL_RDHUP)
				what |= EV_CLOSED;
		}
		if (what)
			evmap_io_active_(base, (evutil_socket_t)ev->user_data, what | EV_ET);
	}
	if (n == kb->nr && n < KEVENT_NR_MAX) {
		struct kevent_event *events = mm_realloc(kb->events, 2 * n * sizeof(*events));

		if (events) {
			kb->events = events;
			kb->nr = 2 * n;
		}
	}
	return 0;
}

static void
kevent_backend_dealloc(struct event_base *base)
{
	struct kevent_base *kb = base->evbase;

	evsig_dealloc_(base);
	kevent_queue_exit(&kb->queue);
	mm_free(kb->events);
	mm_free(kb);
}

/* A watch counts what is sent, also what is ignored; but an ignored SIGCHLD is not sent. */
static int
kevent_signal_add(struct event_base *base, evutil_socket_t signo, short old, short events, void *info)
{
	struct kevent_base *kb = base->evbase;
	struct kevent_watch w;

	(void)old, (void)events, (void)info;
	kevent_prep_signal(&w, signo, 0, signo);
	if (kevent_watch_add(&kb->queue, &w) < 0)
		return -1;
	kb->signals[signo] = w.handle;
	return evsig_set_handler_(base, signo, signo == SIGCHLD ? SIG_DFL : SIG_IGN);
}

static int
kevent_signal_del(struct event_base *base, evutil_socket_t signo, short old, short events, void *info)
{
	struct kevent_base *kb = base->evbase;
	struct kevent_watch w;

	(void)old, (void)events, (void)info;
	w.handle = kb->signals[signo];
	if (kevent_watch_remove(&kb->queue, &w) < 0)
		return -1;
	return evsig_restore_handler_(base, signo);
}

static int
kevent_backend_notify(struct event_base *base)
{
	struct kevent_base *kb = base->evbase;

	return kevent_wake(&kb->queue);
}

static const struct eventop kevent_ops = {
	"kevent",
	kevent_backend_init,
	kevent_backend_add,
	kevent_backend_del,
	kevent_backend_dispatch,
	kevent_backend_dealloc,
	1,	/* after fork() */
	EV_FEATURE_ET | EV_FEATURE_O1 | EV_FEATURE_EARLY_CLOSE,
	sizeof(struct kevent_fdinfo)
};

static const struct eventop kevent_signal_ops = {
	"kevent_signal", NULL, kevent_signal_add, kevent_signal_del, NULL, NULL, 1, 0, 0
};
