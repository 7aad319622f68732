// SPDX-License-Identifier: GPL-2.0-only

//! kevent: one queue for everything the kernel can report a program.
//!
//! What programs see is in `Documentation/userspace-api/kevent.rst` and
//! `include/uapi/linux/kevent.h`. This is how it is done.
//!
//! # Objects
//!
//! * [`engine::queue::Queue`] is what a descriptor stands for. It is owned by the file that
//!   `kevent_create()` makes, and by nobody else: it goes with the last reference to the file.
//!   Mappings of the ring are such references.
//! * [`engine::watch::Watch`] is what a program registers: it connects a source, such as a timer,
//!   with the queue. The table of the queue owns it, the backlog has a reference while it waits
//!   there, and it has one to the queue. That is a circle; it is broken when the file is released,
//!   which removes all watches.
//! * [`source::Source`] is what fires a watch: it calls [`engine::watch::fire`], or
//!   [`engine::watch::request_repoll`] if it does not know what has happened, and nothing else. It
//!   does so no more once it is detached, which comes before the table lets go of the watch.
//! * [`core::ring::Ring`] is the memory shared with the program, and the protocol on it.
//! * The backlog, in the queue, is what found the ring full, oldest first. Whatever can cause an
//!   event has a place there from the start, so that nothing is allocated when the event happens.
//!   A watch is in it at most once: what else it has to report waits in the watch.
//! * The list of rechecks, see [`core::recheck::RecheckList`], is which watches whoever waits next
//!   has to look at: levels that were reported, timers that were not heard, futexes that were
//!   woken, sources that want to be looked at.
//! * [`core::event::Event`] is one event as a program gets it.
//!
//! # The way of an event
//!
//! ```text
//!                    free slot
//!    happens ---> publish -----------> ring ----> the program takes it
//!       |            | full             ^    \--> kevent_get_events() takes it
//!       |            v                  |
//!       +------> backlog ---------------+
//!        backlog         slots freed
//!        not empty
//! ```
//!
//! An event goes into the ring if it has a free slot and nobody waits for one, else to the end of
//! the backlog. The backlog moves on whenever somebody looks: whoever posts next, `kevent_wait()`,
//! `kevent_get_events()`, `poll()`. A sleeping program cannot miss it: before it sleeps the backlog
//! has been moved, and who appends to it afterwards tries to move it right away.
//!
//! Then one sleeper is woken, if there is one whom this event helps; see [`kernel::sync::wait`].
//!
//! # The end of a watch
//!
//! There are four: the program removes it, its queue is released, it has reported its last event
//! (ONESHOT, VANISHED), or what it watches goes (see `files.c` for descriptors). In each of them,
//! under the mutex of the table:
//!
//! 1. it is marked, so that it reports nothing new;
//! 2. its source is detached: from then on nobody fires it;
//! 3. the lock of the backlog is taken: from then on nobody moves it into the ring;
//! 4. its entry in the ring is cancelled, if the program is not to see it any more.
//!
//! If it is in the backlog or on the list of rechecks at that time, it keeps its place in the
//! table, but not its handle, until whoever goes through those comes upon it.
//!
//! # Locks
//!
//! In this order:
//!
//! 1. `Queue::consumer`, a mutex: consumers inside the kernel, one at a time. Held while events are
//!    copied to the program.
//! 2. `Queue::watches`, a mutex: the table of watches, and every change to one of them by the
//!    program. Held while sources are attached, detached and tested, so while files are polled.
//!    Where queues watch queues, from the outer to the inner; lockdep knows the depth.
//! 3. `nest::NEST`, a mutex: which queues watch which.
//! 4. The locks of sources: that of a timer's schedule, not held while the watch is fired; that of
//!    a bucket of watched files; that of a wait queue, held by whoever fires a watch of a file,
//!    with interrupts disabled; that of a POSIX timer, held while its watch is fired; the `siglock`
//!    of a process, held by whoever sends it a signal: see `source/signal.c`. When a process ends,
//!    `tasklist_lock` is held around that of its wait queue, and when it is reaped, `siglock` too.
//!    Under the lock of its wait queue, a watch of a socket tries the locks of the socket's queues,
//!    and that of a unix socket, but does not wait for them: `source/socket.c`. The `mark_mutex` of
//!    fsnotify, and the lock of the mark of a watched inode, held by whoever fires its watch: see
//!    `source/inode.c`. Of a futex, the lock of its bucket and that of the futex itself are held
//!    while it is woken.
//! 5. `Queue::backlog`, a spinlock that disables interrupts: the backlog and the decision whether
//!    it is empty.
//! 6. The lock of a watch of signals, for what it has taken and is to report.
//! 7. The lock of the wait queue on which threads sleep.
//!
//! The lock of the wait queue for those who poll a queue belongs to step 4, because they may be
//! watches of other queues. So it is never taken while a watch is fired:
//! [`engine::queue::Queue::wake`] leaves that to an interrupt of its own.
//!
//! The ring has no lock, and neither has the list of rechecks. As long as the ring has room, an
//! event takes none of those above but the one that its source holds anyway.
//!
//! # Contexts
//!
//! Firing a watch neither sleeps nor allocates nor calls anybody back, and may be done from any
//! context that may take a spinlock.

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
