// SPDX-License-Identifier: GPL-2.0-only

//! kevent: one queue for everything that the kernel can report to a program.
//!
//! What programs see is in `Documentation/userspace-api/kevent.rst` and
//! `include/uapi/linux/kevent.h`. This page is about the implementation.
//!
//! # Vocabulary
//!
//! Objects:
//!
//! - Queue: what a descriptor of kevent stands for.
//! - Watch: connects one object, such as a file or a timer, with one queue.
//! - Source: the part of a watch that is specific to its class and knows the object.
//! - Event: 32 bytes for the program. Entry: an event in the ring. Slot: where an entry is.
//! - Backlog: what found no free slot, oldest first.
//! - Recheck list: the watches that the next task which waits has to look at.
//! - Completion: an event that is yet to come and has no watch, such as that of an AIO request.
//!
//! Operations of a producer, in any context that may take a spinlock:
//!
//! - Fire: a source says that something happened to its object.
//! - Post: an event goes to the queue, by one of the next three.
//! - Publish: it becomes a new entry in the ring.
//! - Merge: its bits are ORed into the unconsumed entry of its watch.
//! - Defer: its watch, or the event itself, is appended to the backlog.
//! - Flush: what was deferred moves into free slots.
//! - Request a repoll: a source does not know what happened, and only polling its object shows it.
//!
//! Operations of a consumer, which is the program, or the kernel on its behalf:
//!
//! - Take: an entry becomes TAKEN. Free: its slot becomes FREE. Consume: both.
//! - Recheck: a watch that is on the recheck list is looked at. Repoll: its object is polled for
//!   that.
//!
//! Operations of a task of the program:
//!
//! - Attach: a source begins to fire its watch. Detach: it stops.
//! - Enable, disable: a disabled watch is *muted*, and so is one that was removed.
//! - Cancel: an unconsumed entry becomes CANCELLED, and consumers skip it. Withdraw: the same, to
//!   post the event again with other data.
//! - Remove: the watch ends.
//! - Vanish: the watched object goes away, and the watch with it.
//!
//! Kinds of events ([`engine::watch::EventKind`]):
//!
//! - State: holds or not, and can be polled. Unconsumed ones merge.
//! - State with data: the same, with amounts as of the post.
//! - Count: how often something happened. What was not posted yet is *pending*, in the source.
//! - Triggered: merges, is kept while the watch is disabled, and is no level.
//! - Queued: each occurrence is an event of its own and never merges.
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
//! * A [`engine::queue::Queue`] lives as long as there are references (`Arc`): one of its file, one
//!   of each watch and of each completion. Mappings of the ring are references to the file.
//! * A [`engine::watch::Watch`] is owned by the table of its queue. The backlog has a reference to
//!   a watch that is deferred, and a task to one that it polls. Queue and watch refer to each
//!   other: that circle is broken when the file is released, which removes all watches.
//! * A [`source::Source`] is a field of its watch. What its object has of it (an entry on a wait
//!   queue, a timer, a mark) is no reference: [`source::Source::detach`] takes it back, and waits
//!   for a producer that is firing the watch. The table drops its reference only after that.
//! * A watch of a file does not refer to the file. `source/files.c` says why that is enough.
//! * A [`core::ring::Ring`] is the memory shared with the program and the protocol on it. Its pages
//!   live as long as the queue, and while they are mapped.
//! * Memory for an event is allocated before the event can happen: a watch has a place in the
//!   backlog from the moment it is made, a completion and a deferred post have one each.
//! * A [`engine::completion::Completion`] keeps its queue until it completes. If nothing else does,
//!   the last reference is dropped by a work item: [`engine::queue::Queue::put`].
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
//! the end of the backlog. The backlog is flushed by the next producer, by `kevent_wait()`,
//! `kevent_get_events()` and `poll()`. A task that goes to sleep flushes it first, and a producer
//! that defers flushes afterwards, so no task sleeps while there are both a free slot and a
//! deferred event.
//!
//! After that at most one sleeping task is woken: the first that this event helps, see
//! [`kernel::sync::wait`].
//!
//! A watch that has something to report is *owned* by one CPU at a time. Another CPU that fires it
//! leaves its bits in the state of the watch, and the owner finds them before it lets go. See
//! [`core::state`] for the states.
//!
//! The usual wake-up of a file is posted without that, because all wake-ups of a SOCKET watch, or
//! of a POLL watch with one entry, hold the same lock: [`engine::watch::Watch::fire_plain`]. A task
//! that makes itself the owner waits for that lock before it posts. It does so for a level that is
//! found to hold, and each wake-up is spared two atomic operations.
//!
//! # How a watch ends
//!
//! There are four paths. In each of them, the same is done in the same order, under
//! `Queue::watches` (`Table::remove_at`):
//!
//! 1. the state becomes REMOVED: the watch posts nothing new;
//! 2. the source is detached: no producer fires the watch from here on;
//! 3. the lock of the backlog is taken: nothing moves the watch into the ring from here on. If it
//!    is deferred, it is marked to be skipped there (SKIP);
//! 4. its entry in the ring is cancelled, if the program must not see it any more;
//! 5. the handle ends, and the user gets the share of the limit back.
//!
//! If the watch is owned, deferred or on the recheck list by then, it keeps its slot in the table,
//! without a handle, until the last of these finds it.
//!
//! ## Path A: the program removes it
//!
//! `kevent_remove()`, or `kevent_add()` that cannot attach the source or write back the handle. All
//! five steps. After that no unconsumed event of the watch is left, and none will come.
//!
//! ## Path B: the queue goes
//!
//! The release of the file: `Table::clear` does the five steps for each watch.
//!
//! Or its owner goes: when the last task has left the address space that made the queue,
//! `Queue::end` does the same for all watches, and drops deferred posts.
//!
//! ## Path C: its last event
//!
//! A ONESHOT watch that fires becomes ONESHOT_DONE before its entry can be seen, and is put on the
//! recheck list. The next task that rechecks, or that adds a watch beyond the limit, does all steps
//! but the fourth: the program consumes that event, or has done so. If path A, B or D comes first,
//! the entry is cancelled.
//!
//! ## Path D: the watched object goes
//!
//! The descriptor is closed (`kevent_watch_closed()`), or a recheck finds that the object has
//! vanished ([`source::Source::vanished`]). Without `KEVENT_WATCH_VANISHED` these are the five
//! steps. With it, the source is detached, the state becomes VANISH_PENDING, and the last event is
//! posted or deferred. With that the watch is REMOVED, and goes on as in path C.
//!
//! # Locks
//!
//! In this order; a lock may be taken while any above it is held.
//!
//! ```text
//!  lock                     protects
//!  -----------------------  ------------------------------------------------------------------
//!  Queue::consumer          the event kept for a copy that fails; consumers in the kernel come
//!  (mutex)                  one at a time
//!
//!  Queue::watches           the table: slots, handles, the user's share; changes of a watch by
//!  (mutex, nested by the    the program (Watch::mode, user_data); detach, and tests that poll
//!  depth of queues that     no file; FileLink; RecheckList::left and ::turns; Watch::next while
//!  watch queues)            it is on the list that is gone through
//!
//!  nest::NEST               which queues watch which: the links of all queues
//!  (mutex, global)
//!
//!  locks of sources         see the next table
//!
//!  Queue::backlog           Backlog: the fifo and its counts; writes of Queue::backlogged;
//!  (spinlock, irqs off)     Queue::pending; a watch that is DEFERRED leaves the backlog; SKIP
//!
//!  kevent_signal.lock       the lists of intercepted signals of a watch
//!
//!  the lock of              which tasks wait; conditions of waiters are evaluated under it
//!  Queue::waiters
//! ```
//!
//! Locks of sources, which are held while a watch is fired unless the table says otherwise:
//!
//! ```text
//!  class    lock                          protects
//!  -------  ----------------------------  ----------------------------------------------------
//!  files    kevent_bucket.lock            the links in the bucket; not held while firing
//!  POLL,    the lock of the wait queue    that the watch is on it; whether it claimed a wake-up
//!  SOCKET,  (irqs off)                    (SOCKET tries the locks of the socket's queues under
//!  PROCESS                                it, and does not wait for them)
//!  PROCESS  tasklist_lock, siglock        around the former, when a process ends or is reaped
//!  all of   kevent_count_bucket.lock      how many watches an object has; not held while firing.
//!  objects                                Within file->f_lock, which protects FMODE_KEVENT
//!  TIMER    Timer::schedule (irqs off)    times, interval, distance of interrupts; not held
//!                                         while firing
//!  SIGEV    k_itimer.it_lock (irqs off)   the link between timer and watch
//!  SIGNAL   siglock                       signal->kevents of the process
//!  INODE    mark_mutex of fsnotify        which marks an inode has; not held while firing
//!  INODE    kevent_inode_mark.lock        watch, size and nlink of the mark
//!  FUTEX    a lock of kevent_mm_locks     mm_struct.kevents; not held while firing. Also of the
//!                                         owner of a queue, then with no other lock held
//!  FUTEX    the lock of the bucket        that the watch waits in it
//!  FUTEX    kevent_futex.lock             that the watch is being fired
//!  USER     Queue::triggers (an XArray)   which watches can be triggered
//! ```
//!
//! Without a lock: `Watch::state` changes by compare-and-exchange only; `Watch::entry` is written
//! by the owner of the watch, or as said above; `Watch::place` is written once, before the source
//! is attached; the count of what is pending, and the head of the recheck list, are atomic. The
//! ring has no lock. As long as the ring has room, posting takes no lock but the one that the
//! source holds anyway.
//!
//! The lock of `Queue::pollers` is that of a wait queue on which watches of other queues may be, so
//! it belongs to the locks of sources, and is never taken while a watch is fired:
//! [`engine::queue::Queue::wake`] leaves that to an irq_work.
//!
//! No mutex is held while a file is polled, because a file (FUSE) may take as long as it likes and
//! close(), exec() and exit() wait for `Queue::watches`. The watch and the file are referenced
//! instead, and the state of the watch is looked at again afterwards. A watch whose file is polled
//! to attach it is ATTACHING: its removal is left to the task that attaches it. What is known not
//! to sleep is polled with the mutex held, because that costs less: pidfds, and of the class POLL
//! and SOCKET what `kevent_poll_at_once()` knows.
//!
//! # Barriers
//!
//! Each pair is named after what must not happen. `Documentation/litmus-tests/kevent` has tests of
//! most of them. "mb" is a full barrier, "xchg" and "cmpxchg" imply one.
//!
//! ## A task sleeps although there is an event
//!
//! ```text
//!  CPU 0: Ring::publish, Queue::wake      CPU 1: WaitQueue::wait
//!
//!  store-release word = READY             list_add(waiter)
//!  xchg Slot::next            (mb)        set_current_state()        (mb)
//!  waitqueue_active(waiters)?             word under the cursor READY?
//!    wake the first it helps                no: schedule()
//! ```
//!
//! ## A task sleeps although there is a deferred event and a free slot
//!
//! ```text
//!  CPU 0: Queue::after_append             CPU 1: the program, Queue::sleep
//!
//!  append to the backlog                  store-release word = FREE
//!  store backlogged                       sleepers += 1
//!  smp_mb()                               smp_mb()
//!  is there a free slot?                  backlogged != 0?
//!    flush, wake                            flush
//! ```
//!
//! ## A deferred event stays although the slot it waited for was published
//!
//! CPU 1 finds the slot of the tail claimed by CPU 0 and not published: not free.
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
//!  take a level that holds                sleepers += 1
//!  smp_mb()                               smp_mb()
//!  sleepers != 0? wake one to look        recheck
//! ```
//!
//! ## A slot is taken for free which another CPU has claimed a lap ago
//!
//! ```text
//!  CPU 0: Ring::publish of index i        CPU 1: SlotRef::is_free of index i + entries
//!
//!  store-release word = READY             load-acquire Slot::next == i + entries?
//!  xchg Slot::next = i + entries          load-acquire word == FREE?
//! ```
//!
//! CPU 1 looks at `next` first: if it sees the new one, it sees at least the word of index i.
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
//!  smp_mb()                               go through the recheck list, if that
//!  set KEVENT_RING_RECHECK                was so all of it
//! ```
//!
//! The flag may be set while the list is empty, which costs the program one call.
//!
//! ## A level holds that is not on the recheck list
//!
//! CPU 1 goes through the list and has found the event before consumed.
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
//!  CPU 0: the object becomes ready        CPU 1: kevent_modify(), engine::watch::test
//!
//!  store to the object                    store Watch::mode, change Watch::state
//!  lock of the wait queue                 smp_mb()
//!  mode and state: interested? fire       poll the object: ready? fire
//! ```
//!
//! CPU 0 has a full barrier between the two, as every waker that looks for waiters without their
//! lock, or takes the lock; `poll()` takes or observes it in turn, as for epoll.
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
//! Pairs inside one class are explained there: what INODE keeps while its watch is disabled
//! (`source/inode/mod.rs`), the status of a process (`source/process/process.c`), and the send
//! buffer of TCP (`source/socket/socket.c`).
//!
//! # Contexts
//!
//! Firing a watch neither sleeps nor allocates, and calls nothing back. It may be done in any
//! context that may take a spinlock: hard interrupts, with `siglock` or `tasklist_lock` held, with
//! the lock of a wait queue held. No worker of the kernel ever polls a file on behalf of a program.
//!
//! With interrupts disabled the kernel moves at most 64 events out of the backlog at a time, and
//! looks at 256 at a time for watches that were removed (`Queue::compact`). An event that happens
//! moves as many, and the irq_work once more; what is left then is moved by the program, in
//! `kevent_wait()`, for which a thread that sleeps is woken. When the backlog gets
//! larger or smaller its events stay where they are, see [`core::fifo`].
//!
//! The program is not trusted: what the kernel reads in the mapping decides only about the events
//! of that queue, see [`core::ring`].

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

/// What `#[vtable]` asks a crate for: kevent is built in and has no module.
struct LocalModule;

impl ModuleMetadata for LocalModule {
    const NAME: &'static CStr = c"kevent";

    // SAFETY: The null pointer stands for the kernel itself.
    const THIS_MODULE: ThisModule = unsafe { ThisModule::from_ptr(::core::ptr::null_mut()) };
}
