// SPDX-License-Identifier: MIT

//! kevent-top: where its queues come from and how they are shown; kevent-trace: what happens in them.

pub mod fdinfo;
pub mod proc;
pub mod trace;
pub mod view;
