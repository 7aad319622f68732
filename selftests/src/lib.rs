// SPDX-License-Identifier: GPL-2.0-only

//! The harness that tests kevent: checks the system call tables of a patched
//! tree, boots the kernel that was built from it and turns everything that
//! runs there into one report.

pub mod filter;
pub mod ktap;
pub mod report;
pub mod tables;
