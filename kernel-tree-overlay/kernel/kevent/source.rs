// SPDX-License-Identifier: GPL-2.0-only

//! The classes of sources.

use kernel::uapi;

/// The classes that this kernel has, as in `kevent_create.sources`.
pub(crate) const KNOWN: u64 = 1 << uapi::KEVENT_SOURCE_USER;
