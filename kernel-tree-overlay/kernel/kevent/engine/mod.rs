// SPDX-License-Identifier: GPL-2.0-only

//! Watches, the table that owns them, and the queue: they own each other.

pub(crate) mod completion;
pub(crate) mod level;
pub(crate) mod nest;
pub(crate) mod post;
pub(crate) mod queue;
pub(crate) mod table;
pub(crate) mod triggers;
pub(crate) mod watch;
