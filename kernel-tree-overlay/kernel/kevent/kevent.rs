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
//! * [`ring::Ring`] is the memory shared with the program, and the protocol on it.
//! * The backlog, in the queue, is a list of events that found the ring full. Whatever can cause an
//!   event owns its node there from the start, so that nothing is allocated when the event happens.
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
//! 2. `Queue::backlog`, a spinlock that disables interrupts: the backlog and the decision whether
//!    it is empty.
//! 3. The locks of the wait queues.
//!
//! The ring has no lock. Posting takes the first two not at all as long as the ring has room.
//!
//! # Contexts
//!
//! Publishing and appending to the backlog neither sleep nor allocate nor call anybody back, and
//! may be done from any context that may take a spinlock.

mod event;
mod hooks;
mod post;
mod queue;
mod ring;
mod source;
mod wait;

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
