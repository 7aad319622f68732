// SPDX-License-Identifier: GPL-2.0-only

//! The harness that tests kevent: checks the system call tables of a patched
//! tree, boots the kernel that was built from it and turns everything that
//! runs there into one report.
//!
//! * [`tables`] reads the tree; every number comes from there.
//! * [`kselftest`] builds and judges the kernel's own selftests, [`kunit`] the
//!   unit tests that the kernel runs at boot, [`live`] the numbers on the
//!   running kernel, [`klog`] the kernel log.
//! * [`vm`] boots, [`guest`] is what runs inside, [`record`] is what the two
//!   exchange.
//! * [`ktap`] reads test output, [`filter`] picks tests, [`report`] prints.
//! * [`run`] puts it together.

pub mod filter;
pub mod guest;
pub mod klog;
pub mod kselftest;
pub mod ktap;
pub mod kunit;
pub mod live;
pub mod record;
pub mod report;
pub mod run;
pub mod tables;
pub mod vm;
