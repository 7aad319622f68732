/* SPDX-License-Identifier: MIT */
/*
 * A backend of libuv on a kevent queue; src/unix/epoll.c includes it and calls it where it
 * called epoll.  The bits of POLL watches are epoll's, so the events are too.  There is no
 * ring: kevent_get_events(2) reports only levels that hold, as libuv expects it.
 */
#include <kevent.h>
#include <stdio.h>
#include <stdlib.h>

#define UV__KEVENT_NR 1024

/* Part of the loop's internal fields: the handles by descriptor; NULL and 0 with epoll. */
static uint64_t* uv__kevent_handle(uv_loop_t* loop, int fd) {
  uv__loop_internal_fields_t* lfields = uv__get_internal_fields(loop);
  unsigned int nr = lfields->kevent_nr;

  if ((unsigned int) fd >= nr) {
    nr = (unsigned int) fd * 2 + 64;
    lfields->kevent_handles =
        uv__realloc(lfields->kevent_handles, nr * sizeof(uint64_t));
    if (lfields->kevent_handles == NULL)
      abort();
    memset(lfields->kevent_handles + lfields->kevent_nr, 0,
           (nr - lfields->kevent_nr) * sizeof(uint64_t));
    lfields->kevent_nr = nr;
  }
  return lfields->kevent_handles + fd;
}

/* A queue; -1 with ENOSYS where there is no kevent, and so with NO_KEVENT in the environment. */
static int uv__kevent_create(uv_loop_t* loop) {
  static int said;
  uv__loop_internal_fields_t* lfields = uv__get_internal_fields(loop);
  struct kevent_create args;
  int fd;

  /* Also in a child, which has to make one of its own. */
  uv__free(lfields->kevent_handles);
  lfields->kevent_handles = NULL;
  lfields->kevent_nr = 0;
  if (getenv("NO_KEVENT") != NULL) {
    errno = ENOSYS;
    return -1;
  }
  memset(&args, 0, sizeof(args));
  fd = kevent_create(&args, sizeof(args), 1U << KEVENT_SOURCE_POLL);
  if (fd >= 0)
    uv__kevent_handle(loop, 0);
  else if (errno == ENOSYS && !said++)
    fprintf(stderr, "libuv: no kevent in this kernel: epoll is used\n");
  return fd;
}

static int uv__kevent_ctl(uv_loop_t* loop, int op, int fd, struct epoll_event* e) {
  struct kevent_watch w;
  uint64_t* handle;

  if (uv__get_internal_fields(loop)->kevent_nr == 0)
    return epoll_ctl(loop->backend_fd, op, fd, e);

  handle = uv__kevent_handle(loop, fd);
  if (op == EPOLL_CTL_DEL) {
    uint64_t old = *handle;

    *handle = 0;
    return old != 0 && kevent_remove(loop->backend_fd, &old, 1, 0) == 1 ? 0 : -1;
  }

  /* ERR and HUP are reported whether asked for or not. */
  kevent_prep_poll(&w, fd, e->events & ~(POLLERR | POLLHUP), 0, e->data.u64);
  w.handle = *handle;
  if (w.handle != 0) {
    if (kevent_modify(loop->backend_fd, &w, sizeof(w), 1,
                      KEVENT_MODIFY_EVENTS | KEVENT_MODIFY_USER_DATA) == 1)
      return 0;
    /* It was closed, and may be another file by now. */
    if (errno != ENOENT)
      return -1;
  }
  if (kevent_add(loop->backend_fd, &w, sizeof(w), 1, 0) != 1)
    return -1;
  *handle = w.handle;
  return 0;
}

static int uv__kevent_wait(uv_loop_t* loop,
                           struct epoll_event* events,
                           int max,
                           int timeout,
                           const sigset_t* mask) {
  struct __kernel_timespec ts;
  struct kevent_event got[UV__KEVENT_NR];
  sigset_t old;
  int i;
  int n;

  if (uv__get_internal_fields(loop)->kevent_nr == 0)
    return epoll_pwait(loop->backend_fd, events, max, timeout, mask);

  ts.tv_sec = timeout / 1000;
  ts.tv_nsec = timeout % 1000 * 1000000L;
  if (mask != NULL && pthread_sigmask(SIG_SETMASK, mask, &old))
    abort();
  n = kevent_get_events(loop->backend_fd,
                        timeout != 0,
                        max < UV__KEVENT_NR ? max : UV__KEVENT_NR,
                        timeout < 0 ? NULL : &ts,
                        got,
                        0);
  if (mask != NULL)
    SAVE_ERRNO(pthread_sigmask(SIG_SETMASK, &old, NULL));
  for (i = 0; i < n; i++) {
    events[i].events = got[i].events;
    events[i].data.u64 = got[i].user_data;
  }
  return n;
}
