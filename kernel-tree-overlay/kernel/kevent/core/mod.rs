// SPDX-License-Identifier: GPL-2.0-only

//! Pure parts: they know no class, no C and no lock order.

pub(crate) mod event;
pub(crate) mod fifo;
pub(crate) mod recheck;
pub(crate) mod ring;
pub(crate) mod slots;
