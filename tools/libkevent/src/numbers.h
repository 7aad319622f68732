/* SPDX-License-Identifier: MIT */
/* Numbers of the system calls, where the C library does not have them. */
#ifndef NUMBERS_H
#define NUMBERS_H

#include <sys/syscall.h>

/* What an architecture adds to the numbers of the common table. */
#if defined(__alpha__)
#define KEVENT_NR_BASE_ 110
#elif defined(__mips__) && defined(_MIPS_SIM) && _MIPS_SIM == _ABI64
#define KEVENT_NR_BASE_ 5000
#elif defined(__mips__) && defined(_MIPS_SIM) && _MIPS_SIM == _ABIN32
#define KEVENT_NR_BASE_ 6000
#elif defined(__mips__)
#define KEVENT_NR_BASE_ 4000
#elif defined(__x86_64__) && defined(__ILP32__)
#define KEVENT_NR_BASE_ 0x40000000
#else
#define KEVENT_NR_BASE_ 0
#endif

#ifndef __NR_kevent_create
#define __NR_kevent_create	(KEVENT_NR_BASE_ + 473)
#define __NR_kevent_add		(KEVENT_NR_BASE_ + 474)
#define __NR_kevent_modify	(KEVENT_NR_BASE_ + 475)
#define __NR_kevent_remove	(KEVENT_NR_BASE_ + 476)
#define __NR_kevent_post	(KEVENT_NR_BASE_ + 477)
#define __NR_kevent_wait	(KEVENT_NR_BASE_ + 478)
#define __NR_kevent_get_events	(KEVENT_NR_BASE_ + 479)
#endif

#endif /* NUMBERS_H */
