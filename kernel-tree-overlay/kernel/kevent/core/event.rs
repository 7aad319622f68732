// SPDX-License-Identifier: GPL-2.0-only

//! One event, as it leaves the kernel.

use kernel::uapi;

/// What an event says beside its bits, see the class in `include/uapi/linux/kevent.h`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct EventData {
    /// `KEVENT_INFO_*`, those that the class sets.
    pub(crate) info: u32,
    pub(crate) data: i64,
    pub(crate) extra: u64,
}

/// A `struct kevent_event`.
#[derive(Clone, Copy, Default)]
#[repr(transparent)]
pub(crate) struct Event(pub(crate) uapi::kevent_event);

impl PartialEq for Event {
    fn eq(&self, other: &Self) -> bool {
        let words = |e: &Self| (e.0.user_data, e.0.events, e.0.info, e.0.data, e.0.extra);
        words(self) == words(other)
    }
}

impl Event {
    /// The class of what it comes from, `KEVENT_SOURCE_*`.
    pub(crate) fn class(&self) -> u32 {
        self.0.info & 0xff
    }

    /// How much an event that counts has counted: its `data`, which the program may have written,
    /// and the merges of its `word`.
    pub(crate) fn count(data: i64, word: u32) -> u64 {
        let merges = Self::merges(word);
        data.max(0).unsigned_abs().saturating_add(merges.into())
    }

    /// The number of merges that a word in the ring says.
    pub(crate) fn merges(word: u32) -> u32 {
        (word >> uapi::KEVENT_WORD_MERGED_SHIFT) & uapi::KEVENT_WORD_MERGED_MAX
    }

    /// Sets the number of merges of an event that is to be posted, at most what there is room for.
    pub(crate) fn set_merges(&mut self, merges: u32) {
        let merges = merges.min(uapi::KEVENT_WORD_MERGED_MAX);
        self.0.events |= merges << uapi::KEVENT_WORD_MERGED_SHIFT;
    }

    /// An event that was to be posted, as it is if it is consumed right away.
    pub(crate) fn as_consumed(&self) -> Self {
        Self::taken(
            self.0.events & uapi::KEVENT_EVENTS_MASK,
            Self::merges(self.0.events),
            self.0.user_data,
            self.0.info,
            self.0.data,
            self.0.extra,
        )
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
