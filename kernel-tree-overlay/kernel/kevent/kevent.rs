// SPDX-License-Identifier: GPL-2.0-only

//! kevent: one queue for everything that the kernel can report to a program.
//!
//! The user interface is described in `Documentation/userspace-api/kevent.rst` and
//! `include/uapi/linux/kevent.h`. This page describes the implementation.
//!
//! # Vocabulary
//!
//! Objects:
//!
//! - Queue: the object behind a kevent descriptor.
//! - Watch: connects one object, such as a file or a timer, with one queue.
//! - Class: a kind of objects, such as POLL or TIMER (`KEVENT_SOURCE_*`).
//! - Source: the part of a watch that is specific to its class and knows the object.
//! - Event: 32 bytes for the program. Entry: an event in the ring. Slot: the place of an entry in
//!   the ring. (The table of watches has *table slots*.)
//! - Backlog: events and watches that found no free slot, oldest first.
//! - Recheck list: the watches that the next waiting task has to recheck, see below.
//! - Completion: a future event that has no watch, such as that of an AIO request.
//!
//! Operations of a producer, in any context that may take a spinlock:
//!
//! - Fire: a source reports to its watch that something happened to the object.
//! - Post: give an event to the queue: publish, merge or defer it.
//! - Publish: write the event into the ring, as a new entry.
//! - Merge: OR the bits of the event into the unconsumed entry of its watch.
//! - Defer: append the watch, or the event itself, to the backlog.
//! - Flush: move deferred events into free slots.
//! - Request a repoll: ask for a recheck because only polling the object can show what happened.
//!
//! Operations of a consumer, which is the program, or the kernel on its behalf:
//!
//! - Take: an entry becomes TAKEN. Free: its slot becomes FREE. Consume: both.
//! - Recheck: take a watch off the recheck list and check for anything to report. Repoll: poll its
//!   object for that.
//!
//! Operations of a task of the program:
//!
//! - Attach: from now on, the source can fire its watch. Detach: it no longer can.
//! - Enable, disable: a disabled watch is *muted*, and so is a removed one.
//! - Cancel: an unconsumed entry becomes CANCELLED, and consumers skip it. Withdraw: cancel an
//!   entry to post its event again with other data.
//! - Remove: the watch ends.
//! - Vanish: the watched object goes away, and the watch with it.
//!
//! Kinds of events ([`engine::watch::EventKind`]):
//!
//! - State: a condition that holds or not, and that can be polled. Merges.
//! - State with data: merges too, and has data as of the post. If it cannot be polled, `kevent.rst`
//!   calls it a change.
//! - Count: how often something happened. Occurrences that were not posted yet are *pending*, in
//!   the source.
//! - Triggered: fired by the program. Merges, is kept while the watch is disabled, and is never a
//!   level.
//! - Queued: each occurrence is an event of its own. Never merges. `kevent.rst` calls it a
//!   completion.
//!
//! # Objects and lifetimes
//!
//! ```text
//!    descriptors, mappings --> file ------> Queue <--------- Watch, Completion
//!                                           | | |               ^   ^   ^
//!                                   Ring <--+ | +--> Table -----+   |   |
//!                                             +----> Backlog -------+   |
//!                                    wake-up of the object, no ref - - -+
//! ```
//!
//! * A [`engine::queue::Queue`] lives as long as there are references (`Arc`): its file has one,
//!   and so has each watch and each completion. Each mapping of the ring has a reference to the
//!   file.
//! * A [`engine::watch::Watch`] is owned by the table of its queue. The backlog has a reference to
//!   each deferred watch, and a task that polls a watch has a reference to it. Queue and watch
//!   refer to each other. The release of the file breaks that circle: it removes all watches.
//! * A [`source::Source`] is a field of its watch. What connects it to the object (a wait queue
//!   entry, a timer, a mark) holds no reference: [`source::Source::detach`] removes the connection
//!   and waits for producers that are firing the watch. Only then does the table drop its
//!   reference.
//! * A watch of a file has no reference to the file. `source/files.c` explains why none is needed.
//! * A [`core::ring::Ring`] is the memory shared with the program, and the protocol on it. Its
//!   pages live as long as the queue or a mapping.
//! * Memory for an event is allocated before the event can happen: each watch has a place in the
//!   backlog from the moment it is made, and so has each completion and each deferred post.
//! * A completion ([`engine::completion`]) has a reference to its queue until it completes. If that
//!   is the last reference, a work item drops it: [`engine::queue::Queue::put`].
//!
//! # From an occurrence to the program
//!
//! ```text
//!                    free slot
//!    fire  ------> publish -----------> ring ----> the program takes it
//!       |            | full              ^    \--> kevent_get_events() takes it
//!       |            v                   |
//!       +------> backlog ----------------+
//!        backlog            flush
//!        not empty
//! ```
//!
//! An event is published if the ring has a free slot and the backlog is empty; otherwise it goes to
//! the end of the backlog. The next producer, `kevent_wait()`, `kevent_get_events()` and `poll()`
//! flush the backlog. A task flushes before it sleeps, and a producer flushes after it has
//! deferred. So no task sleeps while there are both a free slot and a deferred event.
//!
//! Each event wakes at most one sleeping task: the first one whose wait condition the event makes
//! true, see [`kernel::sync::wait`].
//!
//! A watch that has something to report is *owned* by one CPU at a time. Another CPU that fires the
//! watch leaves its bits in the state of the watch, and the owner finds them before it releases the
//! watch. See [`core::state`] for the states.
//!
//! The usual wake-up of a file is posted without owning the watch:
//! [`engine::watch::Watch::fire_plain`]. This is possible because all wake-ups of a SOCKET watch,
//! or of a POLL watch with one wait queue entry, hold the same lock. A task that polled the object
//! and has something to report becomes the owner, and waits for that lock before it posts. Posting
//! without owning saves two atomic operations per wake-up.
//!
//! # How a watch ends
//!
//! There are four paths. Unless a path says otherwise, it takes these steps in this order, with the
//! mutex `Queue::watches` held (`Table::remove_at`):
//!
//! 1. the state becomes REMOVED: the watch posts nothing new;
//! 2. the source is detached: from here on no producer fires the watch;
//! 3. the lock of the backlog is taken: from here on nothing moves the watch into the ring. A
//!    deferred watch is marked to be skipped in the backlog (SKIP);
//! 4. its entry in the ring is cancelled, if the program must no longer see it;
//! 5. the handle becomes invalid, and the watch no longer counts against the limit of the user.
//!
//! If the watch is owned, deferred or on the recheck list by then, it keeps its table slot, without
//! a handle, until none of the three is true.
//!
//! ## Path A: the program removes the watch
//!
//! `kevent_remove()`, or `kevent_add()` if it cannot attach the source or write back the handle,
//! takes all five steps. After that no unconsumed event of the watch is left, and none will follow.
//!
//! ## Path B: the queue ends
//!
//! When the file is released, `Table::clear` takes the five steps for each watch.
//!
//! When the last task has left the address space that made the queue, `Queue::end` does the same,
//! and drops deferred posts.
//!
//! ## Path C: its last event
//!
//! A ONESHOT watch that fires becomes ONESHOT_DONE before its entry can be seen, and is put on the
//! recheck list. After the program has consumed that event, the next task that rechecks, or that
//! adds a watch beyond the limit, takes all steps but the fourth. If path A or B comes first, or D
//! without `KEVENT_WATCH_VANISHED`, the entry is cancelled.
//!
//! ## Path D: the watched object vanishes
//!
//! The descriptor is closed (`kevent_watch_closed()`), or a recheck finds that the object has
//! vanished ([`source::Source::vanished`]). Without `KEVENT_WATCH_VANISHED`, close takes the five
//! steps, and a recheck leaves the watch as it is. With `KEVENT_WATCH_VANISHED`, the source is
//! detached, the state becomes VANISH_PENDING (in a recheck the other way round, so that a close()
//! which finds the watch detached has nothing to wait for), and the last event is posted or
//! deferred. The watch then becomes REMOVED, and the next task that rechecks takes the other steps.
//!
//! # Locks
//!
//! In lock order: a lock may be taken while any lock above it is held.
//!
//! ```text
//!  lock                     protects
//!  -----------------------  ------------------------------------------------------------------
//!  Queue::consumer          the event kept if a copy fails; serializes consumers in the kernel
//!  (mutex)
//!
//!  Queue::watches           the table: table slots, handles, the user's share; changes of a
//!  (mutex, nested by the    watch by the program (Watch::mode, user_data); detach; polls of a
//!  depth of queues that     source that poll no file; FileLink; RecheckList::left and ::turns;
//!  watch queues)            Watch::next while the watch is on the list being processed
//!
//!  nest::NEST               which queues watch which queues: the links of all queues
//!  (mutex, global)
//!
//!  locks of sources         see the next table
//!
//!  Queue::backlog           Backlog: the fifo and its counts; writes of Queue::backlogged;
//!  (spinlock, irqs off)     Queue::pending; clearing DEFERRED; SKIP
//!
//!  kevent_signal.lock       the lists of intercepted signals of a watch
//!
//!  the lock of              which tasks wait; wait conditions are evaluated under it
//!  Queue::waiters
//! ```
//!
//! Locks of sources. They are held while a watch is fired unless the table says otherwise:
//!
//! ```text
//!  class    lock                          protects
//!  -------  ----------------------------  ----------------------------------------------------
//!  files    kevent_bucket.lock            the links in the bucket; not held while firing
//!  POLL,    the lock of the wait queue    whether the watch is on the wait queue, and whether it
//!  SOCKET,  (irqs off)                    claimed a wake-up (SOCKET only tries the locks of the
//!  PROCESS                                socket's queues under it)
//!  PROCESS  tasklist_lock, siglock        held around the lock of the wait queue, when a process
//!                                         ends or is reaped
//!  all with kevent_count_bucket.lock      how many watches an object has; not held while firing.
//!  objects                                Nests in file->f_lock, which protects FMODE_KEVENT
//!  TIMER    Timer::schedule (irqs off)    times, interval, time between interrupts; not held
//!                                         while firing
//!  SIGEV    k_itimer.it_lock (irqs off)   the link between timer and watch
//!  SIGNAL   siglock                       signal->kevents of the process
//!  INODE    mark_mutex of fsnotify        the marks of an inode; not held while firing
//!  INODE    kevent_inode_mark.lock        watch, size and nlink of the mark
//!  FUTEX    a lock of kevent_mm_locks     mm_struct.kevents; not held while firing. Also used
//!                                         for queue owners, then with no other lock held
//!  FUTEX    the lock of the bucket        whether the watch waits in the bucket
//!  FUTEX    kevent_futex.lock             whether the watch is being fired
//!  USER     Queue::triggers (an XArray)   which watches can be triggered
//! ```
//!
//! Without a lock: `Watch::state` changes only by compare-and-exchange; `Watch::entry` is written
//! by the owner of the watch, by `fire_plain` as described above, or with the lock of the backlog
//! while the watch is DEFERRED; `Watch::place` is written once, before the source is attached; the
//! pending count and the head of the recheck list are atomic. The ring has no lock. As long as the
//! ring has room, posting takes no lock besides the one that the source already holds.
//!
//! `Queue::pollers` is a wait queue that may hold watches of other queues. So its lock belongs to
//! the locks of sources and is never taken while a watch is fired: [`engine::queue::Queue::wake`]
//! leaves the wake-up of pollers to an irq_work.
//!
//! No mutex is held while a file is polled: polling a file (FUSE) may take arbitrarily long, and
//! close(), exec() and exit() wait for `Queue::watches`. Instead, the task holds references to the
//! watch and the file, and checks the state of the watch again afterwards. While the file of a new
//! watch is polled, the watch is ATTACHING: if it has to be removed meanwhile, the task that
//! attaches it does that. Files that are known not to sleep are polled with the mutex held,
//! because that costs less: pidfds and, for POLL and SOCKET, the files that `kevent_poll_at_once()`
//! knows.
//!
//! # Barriers
//!
//! Each pair is named after the failure that it prevents. `Documentation/litmus-tests/kevent` has
//! tests for most pairs. "mb" is a full barrier; "xchg" and "cmpxchg" imply one.
//!
//! ## A task sleeps although there is an event
//!
//! ```text
//!  CPU 0: Ring::publish, Queue::wake      CPU 1: Queue::sleep, WaitQueue::wait
//!
//!  store-release word = READY             listeners += 1
//!  xchg Slot::next            (mb)        smp_mb()
//!  listeners != 0?                        list_add(waiter)
//!  waitqueue_active(waiters)?             set_current_state()        (mb)
//!    wake the first it helps              word at the cursor READY?
//!                                           no: schedule()
//! ```
//!
//! ## A task sleeps beside an event because it was not asked
//!
//! A producer asks at most [`MAX_ASKED`](kernel::sync::wait::MAX_ASKED) of those who sleep whether
//! the event is enough for them. If it is not, one of them is woken to ask all.
//!
//! ```text
//!  CPU 0: Queue::wake_one                 CPU 1: Queue::ask_all
//!
//!  store-release word = READY             xchg unasked = 0           (mb)
//!  fetch_add unasked          (mb)        is it enough for one that sleeps?
//!    it was 0: wake one, to ask             wake so many
//! ```
//!
//! ## A task sleeps although there is a deferred event and a free slot
//!
//! ```text
//!  CPU 0: Queue::after_append             CPU 1: the program, Queue::sleep
//!
//!  append to the backlog                  store-release word = FREE
//!  store backlogged                       listeners += 1
//!  smp_mb()                               smp_mb()
//!  is there a free slot?                  backlogged != 0?
//!    flush, wake                            flush
//! ```
//!
//! ## A deferred event stays although the slot it waited for was published
//!
//! CPU 1 finds that CPU 0 has claimed, but not published, the slot at the tail: the slot is not
//! free.
//!
//! ```text
//!  CPU 0: Ring::publish, post             CPU 1: Queue::after_append
//!
//!  store-release word = READY             append to the backlog
//!  xchg Slot::next            (mb)        smp_mb()
//!  backlogged != 0?                       is the slot of the tail free?
//!    flush                                  flush
//! ```
//!
//! ## A deferred event stays although the entry it could not merge into is unlocked
//!
//! ```text
//!  CPU 0: Queue::cancel                   CPU 1: fire: Merge::Locked, Queue::after_append
//!
//!  store-release update_lock = 0          append to the backlog
//!  smp_mb()                               smp_mb()
//!  backlogged != 0?                       update_lock, free slots
//!    flush                                  flush
//! ```
//!
//! ## A merge or a cancel hits another entry of the same slot
//!
//! ```text
//!  CPU 0: Ring::change of index i         CPU 1: Ring::publish of index i + entries
//!
//!  cmpxchg update_lock 0 -> 1 (mb)        cmpxchg tail i + entries -> + 1   (mb)
//!  tail > i + entries?                    load-acquire update_lock != 0?
//!    yes: gone                              yes: burn the slot, take the next
//!  cmpxchg word
//!  store-release update_lock = 0
//! ```
//!
//! ## A task sleeps although a level that another task consumed still holds
//!
//! ```text
//!  CPU 0: kevent_get_events()             CPU 1: Queue::sleep
//!
//!  take a level that holds                listeners += 1
//!  smp_mb()                               smp_mb()
//!  listeners != 0? wake one to recheck    recheck
//! ```
//!
//! ## A slot that another CPU claimed a lap ago, and has not published yet, is considered free
//!
//! ```text
//!  CPU 0: Ring::publish of index i        CPU 1: SlotRef::is_free of index i + entries
//!
//!  store-release word = READY             load-acquire Slot::next == i + entries?
//!  xchg Slot::next = i + entries          load-acquire word == FREE?
//! ```
//!
//! CPU 1 loads `next` first: if it sees the new value, it also sees the word of index i, or a later
//! one.
//!
//! ## What a consumer reads is overwritten, or is not there yet
//!
//! ```text
//!  CPU 0: Ring::publish                   CPU 1: the consumer
//!
//!  load-acquire word == FREE              load-acquire word == READY
//!  store the fields                       xchg word = TAKEN
//!  store-release word = READY             load the fields
//!                                         store-release word = FREE
//! ```
//!
//! ## A repoll is requested and no task does it
//!
//! ```text
//!  CPU 0: request_repoll, kick_waiter     CPU 1: WaitQueue::wait
//!
//!  cmpxchg head of the recheck list       list_add(waiter)
//!  store recheck_wanted = true            set_current_state()        (mb)
//!  smp_mb()                               recheck_wanted?
//!  waitqueue_active(waiters)? wake          yes: recheck
//!                                           no: schedule()
//!
//!  CPU 0: request_repoll, kick_waiter     CPU 1: Queue::recheck
//!
//!  cmpxchg head of the recheck list       KEVENT_RING_RECHECK? clear it (mb)
//!  store recheck_wanted = true            recheck_wanted? xchg = false  (mb)
//!  smp_mb()                               recheck the list: all of it if
//!  set KEVENT_RING_RECHECK                recheck_wanted was set
//! ```
//!
//! The flag may be set while the list is empty, which costs the program one call.
//!
//! ## A level holds that is not on the recheck list
//!
//! CPU 1 rechecks the list and finds that the previous event of the watch was consumed.
//!
//! ```text
//!  CPU 0: Watch::fire_plain               CPU 1: Watch::recheck
//!
//!  the object becomes ready
//!  state: on the list already?            cmpxchg state: off the list (mb)
//!  store Watch::entry                     load Watch::entry
//!  store-release word = READY             that entry unconsumed, or exhausted?
//!  xchg Slot::next            (mb)          no: poll the object
//!  state: on the list still?
//!    no: request_repoll
//! ```
//!
//! ## A state that holds is not reported after its watch was changed
//!
//! ```text
//!  CPU 0: the object becomes ready        CPU 1: kevent_modify(), Watch::poll
//!
//!  store to the object                    store Watch::mode, change Watch::state
//!  lock of the wait queue                 smp_mb()
//!  mode and state: interested? fire       poll the object: ready? fire
//! ```
//!
//! Between its store and its check, CPU 0 takes the lock, or has the full barrier of a waker that
//! checks for waiters without the lock. `poll()` pairs with either, as for epoll.
//!
//! ## The recheck list seems empty while a task goes through it
//!
//! ```text
//!  CPU 0: Table::recheck                  CPU 1: RecheckList::is_empty
//!
//!  store turns = odd                      load-acquire turns: even?
//!  xchg listed = END                      load-acquire listed == END?
//!  store-release left = the next          load-acquire left == END?
//!  store-release turns = even             load turns: the same?
//! ```
//!
//! ## An entry is removed from a wait queue that is being freed (POLLFREE)
//!
//! ```text
//!  CPU 0: WaitEntry::wake, POLLFREE       CPU 1: WaitEntry::remove
//!
//!  list_del_init(entry)                   rcu_read_lock()
//!  store-release head = FREED             load-acquire head == FREED?
//!  free the wait queue after RCU            yes: done; no: remove from the queue
//! ```
//!
//! Barrier pairs within a class are explained in its source: events that INODE keeps while its
//! watch is disabled (`source/inode/mod.rs`), the status of a process (`source/process/process.c`),
//! and the send buffer of TCP (`source/socket/socket.c`).
//!
//! # Contexts
//!
//! Firing a watch neither sleeps nor allocates, and makes no callbacks. A watch may be fired in any
//! context that may take a spinlock: in hard interrupts, with `siglock` or `tasklist_lock` held,
//! and with the lock of a wait queue held. No kernel worker ever polls a file on behalf of a
//! program.
//!
//! With interrupts disabled, the kernel moves at most 64 events out of the backlog at a time, and
//! searches at most 256 places at a time for removed watches (`Queue::compact`). An event that
//! happens moves up to 4 events, and the irq_work up to 4 more: one wake-up may fire watches in
//! more than a thousand queues. The program moves the rest in `kevent_wait()`; a sleeping thread is
//! woken for that. When the backlog grows or shrinks, its
//! events are not copied, see [`core::fifo`].
//!
//! The program is not trusted: what the kernel reads in the mapping affects only the events of that
//! queue, see [`core::ring`].

#[cfg(CONFIG_KEVENT_BENCHMARK)]
mod benchmark;
mod core;
mod engine;
mod entry;
mod source;
mod sys;
mod trace;

use kernel::{
    module::{
        ModuleMetadata,
        ThisModule, //
    },
    str::CStr, //
};

/// `#[vtable]` requires a module: kevent is built in and has none.
struct LocalModule;

impl ModuleMetadata for LocalModule {
    const NAME: &'static CStr = c"kevent";

    // SAFETY: The null pointer stands for the kernel itself.
    const THIS_MODULE: ThisModule = unsafe { ThisModule::from_ptr(::core::ptr::null_mut()) };
}
