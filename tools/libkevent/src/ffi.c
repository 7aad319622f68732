/* SPDX-License-Identifier: MIT */
/* Everything that is inline in <kevent.h> as functions, for other languages. */
#define LIBKEVENT_FFI_SOURCE
#include <kevent.h>
