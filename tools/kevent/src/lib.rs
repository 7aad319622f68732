// SPDX-License-Identifier: MIT

//! kevent: one queue for everything the Linux kernel can tell a program.
//!
//! A program makes a [`Queue`], says what it wants to hear about, and takes [`Event`]s. The kernel
//! writes them into a ring that is mapped into the program, at the moment they happen: a busy
//! program takes them without entering the kernel, and only a program with nothing to do makes a
//! system call, to sleep.
//!
//! ```no_run
//! use kevent::{Post, Queue, Wait};
//! use std::time::Duration;
//!
//! # fn main() -> std::io::Result<()> {
//! let queue = Queue::builder().entries(256).build()?;
//!
//! std::thread::scope(|s| {
//!     s.spawn(|| queue.post(&[Post::new(1).data(42)]));
//!
//!     // From the ring if there is something, else sleep.
//!     let event = queue.next()?;
//!     assert_eq!((event.user_data(), event.data()), (1, 42));
//!
//!     // Nothing else happens: `None` after a second.
//!     let none = queue.next_with(&Wait::new().timeout(Duration::from_secs(1)))?;
//!     assert_eq!(none, None);
//!     Ok(())
//! })
//! # }
//! ```
//!
//! # Layers
//!
//! * [`Queue`] is the safe interface, and all that most programs need.
//! * [`Ring`] is the consumer's side of the mapping alone: it never makes a system call.
//! * [`sys`] is the kernel's interface as it is: structures, constants, numbers, system calls.
//!
//! # Rules worth knowing
//!
//! They are the kernel's, and `Documentation/userspace-api/kevent.rst` is the reference.
//!
//! * Nothing is lost when the ring is full. Events then wait in the kernel, in order, and
//!   [`Ring::has_backlog()`] says so; waiting moves them into the ring.
//! * Any number of threads may take from one queue. Each event comes out once, to one of them, and
//!   wakes at most one that sleeps.
//! * A *state* that occurs again before its event was taken merges into that event: its bits are
//!   ORed, its amount is refreshed, [`Event::merged()`] goes up. *Facts*, such as a posted event,
//!   never merge.
//! * The mapping is not inherited by `fork(2)`; the descriptor is, and may also be sent to another
//!   process. Whoever holds it may [post](Queue::post).
//! * A signal ends a wait with [`Interrupted`](std::io::ErrorKind::Interrupted); nothing here
//!   restarts it.
//!
//! # Errors
//!
//! All are [`std::io::Error`]s that carry the kernel's error number. On a kernel without kevent,
//! everything that makes a queue fails with [`Unsupported`](std::io::ErrorKind::Unsupported)
//! (`ENOSYS`).

#![warn(missing_docs)]
#![cfg(target_os = "linux")]
#![cfg_attr(all(loom, test), allow(dead_code))]

mod event;
mod readiness;
pub mod ring;
mod sync;
pub mod sys;
mod wait;
mod watch;

#[cfg(not(all(loom, test)))]
pub mod queue;

pub use event::{Event, Post, Source, Sources};
#[cfg(not(all(loom, test)))]
pub use queue::{Builder, Calls, Queue};
pub use readiness::Readiness;
#[cfg(not(all(loom, test)))]
pub use ring::{Geometry, Ring, Stats};
pub use wait::{Clock, SignalSet, Wait};
pub use watch::{Handle, Modify, Watch};
