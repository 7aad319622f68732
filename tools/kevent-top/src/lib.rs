// SPDX-License-Identifier: MIT

//! kevent-top: where its queues come from and how they are shown.

pub mod fdinfo;
pub mod proc;
pub mod view;
