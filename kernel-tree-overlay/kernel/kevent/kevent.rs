// SPDX-License-Identifier: GPL-2.0-only

//! kevent: one queue for everything the kernel can tell a program.
//!
//! What programs see is in `Documentation/userspace-api/kevent.rst` and
//! `include/uapi/linux/kevent.h`. This is how it is done.
//!
//! # Objects
//!
//! * [`queue::Queue`] is what a descriptor stands for. It is owned by the file that
//!   `kevent_create()` makes, and by nobody else: it goes with the last reference to the file.
//!   Mappings of the ring are such references.
//! * [`watch::Watch`] is what a program registers: it connects a source, such as a timer, with the
//!   queue. The table of the queue owns it, the backlog has a reference while it waits there, and
//!   it has one to the queue. That is a circle; it is broken when the file is released, which
//!   removes all watches. A source calls [`watch::fire`] and nothing else, and does so no more once
//!   it is detached, which comes before the table lets go of the watch.
//! * [`ring::Ring`] is the memory shared with the program, and the protocol on it.
//! * The backlog, in the queue, is what found the ring full, oldest first. Whatever can cause an
//!   event has a place there from the start, so that nothing is allocated when the event happens.
//!   A watch is in it at most once: what else it has to tell waits in the watch.
//! * [`event::Event`] is one event as a program gets it.
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
//! # Locks
//!
//! In this order:
//!
//! 1. `Queue::consumer`, a mutex: consumers inside the kernel, one at a time. Held while events are
//!    copied to the program.
//! 2. `Queue::watches`, a mutex: the table of watches, and every change to one of them by the
//!    program. Held while sources are attached and detached.
//! 3. The locks of sources, such as that of a timer's schedule: not held while the watch is fired.
//! 4. `Queue::backlog`, a spinlock that disables interrupts: the backlog and the decision whether
//!    it is empty.
//! 5. The locks of the wait queues.
//!
//! The ring has no lock. As long as the ring has room, an event takes none of the first four.
//!
//! # Contexts
//!
//! Publishing and appending to the backlog neither sleep nor allocate nor call anybody back, and
//! may be done from any context that may take a spinlock.

mod event;
mod fifo;
mod hooks;
mod post;
mod queue;
mod register;
mod ring;
mod source;
mod table;
mod user;
mod wait;
mod watch;

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
    const THIS_MODULE: ThisModule = unsafe { ThisModule::from_ptr(core::ptr::null_mut()) };
}
