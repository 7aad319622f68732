// SPDX-License-Identifier: GPL-2.0-only

//! The kernel's own `ring.rs`, `watch.rs` and what a watch has to do with, out of `kernel/kevent`,
//! compiled in user space against a small stand-in for the `kernel` crate, so that they can be run
//! under a model checker and against random input. Nothing here is for use: it is all tests.
//!
//! ```sh
//! cargo test --release -p kevent-model
//! ```
//!
//! * `interleavings`: the hand-overs of the protocol, under [loom], which runs a few threads in
//!   every order, and lets each load return everything that the memory model of C11 allows.
//! * `watches`: the states of a watch, in the same way. `watch.rs`, `table.rs`, `slots.rs`,
//!   `recheck_list.rs` and `fifo.rs` are the kernel's, and so are the methods of `Queue` that they need: the build script
//!   takes them out of `queue.rs`. A class of sources, locks and those who sleep are stand-ins.
//! * `mutations`: copies of these files with one thing wrong each. The interleavings must show it.
//! * `litmus`: the litmus tests in `Documentation/litmus-tests/kevent`, under a part of the kernel's
//!   memory model.
//! * `random`: long random sequences of operations against a model of what should happen.
//!
//! # How the model checker gets to see it
//!
//! The words that kernel and program share are in the mapping, at addresses; loom wants objects. So
//! an `Atomic` here is what it is in the kernel, a place in memory, and the module `memory` has a
//! table from addresses to loom's objects, filled before the threads start.
//!
//! The other fields of an entry are accessed by volatile reads and writes, which nothing can
//! intercept. But loom switches threads at atomic operations only: what a thread wrote is found at
//! its next atomic operation by comparing the memory with a copy, and what it reads is read right
//! after the exchange that took the entry. `memory` reports loom then. All fields but one are
//! watched for data races: no two threads may access them without an order between them that the
//! atomic operations make. A merge writes the field `data` while it may be read; it is a relaxed
//! atomic.
//!
//! loom only knows the last access of each object, and leaves out orders that it should try. So
//! each word is two objects, see `memory`.
//!
//! # What is not shown
//!
//! There is one watch, at most two wakers, and a ring of two slots or none. Watches are not made
//! while others are fired. Timers, descriptors and queues that watch queues are not here.
//!
//! loom bounds the number of preemptions. It knows no dependencies, and no load that sees a store
//! which is executed later. C11 is not the kernel's memory model; a full barrier is weaker here (an
//! operation with acquire and release order, with a fence behind it if it succeeded). For the
//! kernel's model there are the litmus tests.
//!
//! [loom]: https://docs.rs/loom

#![cfg(test)]

// The stand-in is this crate: `use kernel::...` finds it.
extern crate self as kernel;

mod atomic;
mod consumer;
mod interleavings;
mod litmus;
mod memory;
mod mutations;
mod protocol;
#[allow(dead_code)]
mod queue;
mod random;
mod scenarios;
mod shim;
#[allow(dead_code)]
mod source;
mod states;
mod watches;

// What the kernel's files import.
pub(crate) use shim::{alloc, mm, page, prelude, sync, sys, trace, uapi};

#[rustfmt::skip]
#[allow(dead_code, unused_imports)]
#[path = "../../../kernel-tree-overlay/kernel/kevent/core/mod.rs"]
mod core;
protocol::implement!(crate::core::ring, crate::uapi::KEVENT_WORD_LAP_MASK);

// Where the kernel's files import each other from.
mod engine {
    pub(crate) use super::{queue, table, watch};
}

// `watch.rs` and `table.rs`, and `methods`, which are those of `Queue`.
include!(concat!(env!("OUT_DIR"), "/watch.rs"));

/// Copies of these that the build script changed.
mod watch_copies {
    include!(concat!(env!("OUT_DIR"), "/watch_copies.rs"));
}

/// Copies of `ring.rs` that the build script changed.
mod copies {
    include!(concat!(env!("OUT_DIR"), "/copies.rs"));
}
