/* SPDX-License-Identifier: MIT */
/*
 * A kernel for tests: the seven calls in the test's own process, on a ring of ordinary
 * memory.  It has no sources but USER and what a test fires by hand.
 */
#ifndef SIM_H
#define SIM_H

#include <kevent.h>

/* What the next queue will have; 0 for all. */
extern __u64 sim_features;
/* If not 0, every call fails with this errno: a kernel without kevent, a filter. */
extern int sim_error;
/* How often each call was made. */
extern unsigned int sim_creates, sim_waits, sim_rechecks, sim_gets, sim_posts, sim_wake_nexts;

/* An occurrence of the watch @handle. */
void sim_fire(int fd, __u64 handle, __u32 events, __u32 info, __s64 data, __u64 extra);
/* Publishes an entry without an event. */
void sim_burn(int fd);
/* Sets the index of the next entry; before anything was posted. */
void sim_start_at(int fd, __u32 index);
/* Sets or clears flags of the ring's header. */
void sim_ring_flags(int fd, __u32 set, __u32 clear);
/* The handle of the watch of (source, ident), and its record; 0 if there is none. */
__u64 sim_find(int fd, __u32 source, __u64 ident, struct kevent_watch *record);
/* How many threads sleep. */
unsigned int sim_sleepers(int fd);
/* How many watches are registered. */
unsigned int sim_watches(int fd);

#endif /* SIM_H */
