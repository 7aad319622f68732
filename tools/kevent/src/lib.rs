// SPDX-License-Identifier: MIT

//! kevent: one queue for everything that the Linux kernel can report to a program.
//!
//! A program makes a `Queue`, says what it is interested in, and takes [`Event`]s. The kernel writes
//! them into a ring that is mapped into the program, at the moment they happen: a busy program takes
//! them without entering the kernel, and only a program with nothing to do makes a system call, to
//! sleep.
//!
//! ```no_run
//! # #[cfg(feature = "std")]
//! # fn main() -> std::io::Result<()> {
//! use kevent::{Post, Queue, Wait};
//! use std::time::Duration;
//!
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
//! # #[cfg(not(feature = "std"))]
//! # fn main() {}
//! ```
//!
//! # Layers
//!
//! * `Queue` is the safe interface, and all that most programs need.
//! * [`ring`] is the consumer's side of the mapping alone: it never makes a system call.
//! * [`sys`] is the kernel's interface as it is: structures, constants, numbers, system calls.
//!
//! Without the feature `std`, which is on by default, the crate is `no_std` and has no allocator: it
//! is then [`sys`], the records and decoders ([`Watch`], [`Event`], [`Details`], [`Post`]), and the
//! ring's protocol on memory that other code has mapped ([`ring::View`]).
//!
//! # Rules worth knowing
//!
//! They are the kernel's, and `Documentation/userspace-api/kevent.rst` is the reference.
//!
//! * Nothing is lost when the ring is full. Events then wait in the kernel, in order; waiting moves
//!   them into the ring.
//! * Any number of threads may take from one queue. Each event comes out once, to one of them, and
//!   wakes at most one that sleeps.
//! * A *state* that occurs again before its event was consumed merges into that event: its bits are
//!   ORed, [`Event::merged()`] goes up. What was consumed is final. Posted events and completions
//!   never merge.
//! * Levels are polled when the program waits. A program that is never idle has to wait now and then
//!   without sleeping: `Queue::next()`, `Queue::try_next()` and `Queue::ready()` do that by
//!   themselves, `Queue::take()` and `Ring` do not.
//! * A queue belongs to the address space that made it. Others who have its descriptor may post to it,
//!   and nothing else, unless it was made shared. The mapping is not inherited by `fork(2)`, and a
//!   value that is, is safe to use and to drop.
//! * A signal ends a wait with [`Interrupted`](Error::Interrupted); nothing here restarts it.
//!
//! # Errors
//!
//! All are [`Error`]s, one for each error number, and turn into [`std::io::Error`]s by `?`. On a kernel
//! without kevent everything that makes a queue fails with [`Unsupported`](Error::Unsupported).

#![deny(missing_docs)]
#![cfg(target_os = "linux")]
#![cfg_attr(not(any(feature = "std", test)), no_std)]
#![cfg_attr(all(loom, test), allow(dead_code))]

mod bits;
mod error;
mod event;
#[cfg(all(feature = "std", not(all(loom, test))))]
mod fork;
pub mod ring;
mod sync;
pub mod sys;
mod wait;
mod watch;

#[cfg(all(feature = "std", not(all(loom, test))))]
pub mod queue;

pub use bits::*;
pub use error::Error;
pub use event::{Details, Event, Features, Post, Source, Sources};
#[cfg(all(feature = "std", not(all(loom, test))))]
pub use queue::{Builder, Calls, Queue};
#[cfg(all(feature = "std", not(all(loom, test))))]
pub use ring::Ring;
#[cfg(not(all(loom, test)))]
pub use ring::{Geometry, Rest, Stats};
pub use wait::{Clock, SignalSet, Wait};
pub use watch::{Handle, Modify, Watch};

/// The examples of README.md.
#[cfg(all(doctest, feature = "std"))]
#[doc = include_str!("../README.md")]
struct Readme;
