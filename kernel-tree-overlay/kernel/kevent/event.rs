// SPDX-License-Identifier: GPL-2.0-only

//! One event, as it leaves the kernel.

use kernel::uapi;

/// A `struct kevent_event`.
#[derive(Clone, Copy, Default)]
#[repr(transparent)]
pub(crate) struct Event(pub(crate) uapi::kevent_event);

impl Event {
    /// The class of what it comes from, `KEVENT_SOURCE_*`.
    pub(crate) fn class(&self) -> u32 {
        self.0.info & 0xff
    }

    /// Puts together what came out of the ring.
    pub(crate) fn taken(
        events: u32,
        merged: u32,
        user_data: u64,
        info: u32,
        data: i64,
        extra: u64,
    ) -> Self {
        let count = if info & uapi::KEVENT_INFO_COUNTED != 0 {
            merged
        } else {
            0
        };
        Self(uapi::kevent_event {
            user_data,
            events,
            info: (info & 0xffff) | (merged << 16),
            data: data.wrapping_add(count.into()),
            extra,
        })
    }
}
