// SPDX-License-Identifier: GPL-2.0-only

//! Pure parts: they know no class, no C and no lock order.
//!
//! * [`event`]: an event, and the data that a source adds to it.
//! * [`ring`]: the mapped ring, to which producers on several CPUs append.
//! * [`state`]: the state of a watch and its mode, and how the state may change.
//! * [`recheck`]: the list of watches that the next task that waits rechecks.
//! * [`fifo`]: a queue in memory that was reserved.
//! * [`slots`]: a table of slots with handles that are not used again.

pub(crate) mod event;
pub(crate) mod fifo;
pub(crate) mod recheck;
pub(crate) mod ring;
pub(crate) mod slots;
pub(crate) mod state;
