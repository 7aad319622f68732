// SPDX-License-Identifier: GPL-2.0-only

//! What the kernel is asked for.

pub(crate) mod limits;
pub(crate) mod owner;
pub(crate) mod time;
