# SPDX-License-Identifier: MIT
"""KeventSelector: a selector of Python's selectors module, and so of asyncio, on a kevent queue.

    loop = asyncio.SelectorEventLoop(KeventSelector())

On a kernel without kevent KeventSelector is EpollSelector.
"""
import ctypes
import errno
import os
import selectors
import sys
import time

CREATE, ADD, MODIFY, REMOVE, GET_EVENTS = 473, 474, 475, 476, 479
MODIFY_EVENTS = 1 << 0
SOURCE_POLL = 1


class _Create(ctypes.Structure):
    _fields_ = [("words", ctypes.c_uint32 * 16)]


class _Watch(ctypes.Structure):
    _fields_ = [("source", ctypes.c_uint32), ("flags", ctypes.c_uint32), ("ident", ctypes.c_uint64),
                ("events", ctypes.c_uint32), ("result", ctypes.c_int32), ("user_data", ctypes.c_uint64),
                ("handle", ctypes.c_uint64), ("arg", ctypes.c_uint64 * 4)]


class _Event(ctypes.Structure):
    _fields_ = [("user_data", ctypes.c_uint64), ("events", ctypes.c_uint32), ("info", ctypes.c_uint32),
                ("data", ctypes.c_int64), ("extra", ctypes.c_uint64)]


_libc = ctypes.CDLL(None, use_errno=True)


def _call(number, *args):
    result = _libc.syscall(ctypes.c_long(number), *args)
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


class Queue:
    """The methods of select.epoll that selectors use, without a ring: what poll() gives still holds."""

    def __init__(self):
        args = _Create()
        self._fd = _call(CREATE, ctypes.byref(args), ctypes.c_size_t(ctypes.sizeof(args)), 0)
        self._watches = {}

    def fileno(self):
        return self._fd

    def close(self):
        if self._fd >= 0:
            os.close(self._fd)
        self._fd = -1

    def register(self, fd, events):
        watch = _Watch(source=SOURCE_POLL, ident=fd, events=events, user_data=fd)
        _call(ADD, self._fd, ctypes.byref(watch), ctypes.c_size_t(ctypes.sizeof(watch)), 1, 0)
        self._watches[fd] = watch

    def modify(self, fd, events):
        watch = self._watches[fd]
        watch.events = events
        _call(MODIFY, self._fd, ctypes.byref(watch), ctypes.c_size_t(ctypes.sizeof(watch)), 1, MODIFY_EVENTS)

    def unregister(self, fd):
        handle = ctypes.c_uint64(self._watches.pop(fd).handle)
        _call(REMOVE, self._fd, ctypes.byref(handle), 1, 0)

    def poll(self, timeout, max_events):
        events = (_Event * max_events)()
        end = time.monotonic() + timeout
        while True:
            # As everywhere in Python: a signal handler that does not raise does not end the wait.
            left = max(end - time.monotonic(), 0)
            span = None if timeout < 0 else (ctypes.c_int64 * 2)(int(left), int(left % 1 * 1e9))
            try:
                n = _call(GET_EVENTS, self._fd, 0 if timeout == 0 else 1, max_events, span, events, 0)
            except InterruptedError:
                continue
            return [(event.user_data, event.events) for event in events[:n]]


class KeventSelector(selectors.EpollSelector):
    _selector_cls = Queue


try:
    Queue().close()
except OSError as error:
    if error.errno != errno.ENOSYS:
        raise
    print("no kevent in this kernel: epoll is used", file=sys.stderr)
    KeventSelector = selectors.EpollSelector
