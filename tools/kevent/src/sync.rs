// SPDX-License-Identifier: MIT

//! The atomics of the ring: the processor's, or under `--cfg loom` those of the model checker.

#[cfg(not(all(loom, test)))]
pub(crate) use core::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};
#[cfg(all(loom, test))]
pub(crate) use loom::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};
