// SPDX-License-Identifier: GPL-2.0-only

//! A program's side of the ring: the five steps that `include/uapi/linux/kevent.h` reports, and no
//! more.

use crate::atomic::ordering::{AcqRel, Acquire, Release};
use crate::atomic::Atomic;
use crate::core::event::Event;
use crate::uapi::{self, kevent_event, kevent_ring};

/// A mapping.
#[derive(Clone, Copy)]
pub(crate) struct Mapping {
    pub(crate) base: *mut u8,
    pub(crate) entries_offset: u32,
    pub(crate) entries: u32,
}

impl Mapping {
    fn cursor(&self) -> &Atomic<u32> {
        let header: *mut kevent_ring = self.base.cast();
        // SAFETY: The header is where the mapping begins.
        unsafe { Atomic::from_ptr(&raw mut (*header).cursor) }
    }

    fn entry(&self, index: u32) -> *mut kevent_event {
        let entries: *mut kevent_event =
            self.base.wrapping_add(self.entries_offset as usize).cast();
        entries.wrapping_add((index % self.entries) as usize)
    }

    fn word(&self, index: u32) -> &Atomic<u32> {
        // SAFETY: The entry is within the mapping.
        unsafe { Atomic::from_ptr(&raw mut (*self.entry(index)).events) }
    }

    /// Takes the next event, if there is one. `lap_mask` is how many bits of the lap there are.
    pub(crate) fn take(&self, lap_mask: u32) -> Option<Event> {
        // Starting over is bounded here, so that the model is finite.
        for _ in 0..8 {
            let index = self.cursor().load(Acquire);
            // 1.
            let word = self.word(index).load(Acquire);
            let lap = (index / self.entries) & lap_mask;
            match word & uapi::KEVENT_WORD_STATE_MASK {
                uapi::KEVENT_WORD_FREE | uapi::KEVENT_WORD_TAKEN => return None,
                _ if (word >> uapi::KEVENT_WORD_LAP_SHIFT) & uapi::KEVENT_WORD_LAP_MASK != lap => {
                    return None;
                }
                _ => {}
            }
            // 2.
            let next = index.wrapping_add(1);
            if self.cursor().cmpxchg(index, next, AcqRel).is_err() {
                continue;
            }
            // 3.
            let word = self.word(index).xchg(uapi::KEVENT_WORD_TAKEN, AcqRel);
            // 4.
            let entry = self.entry(index);
            // SAFETY: The entry is within the mapping.
            let event = unsafe {
                Event::taken(
                    word & uapi::KEVENT_EVENTS_MASK,
                    (word >> uapi::KEVENT_WORD_MERGED_SHIFT) & uapi::KEVENT_WORD_MERGED_MAX,
                    (&raw const (*entry).user_data).read_volatile(),
                    (&raw const (*entry).info).read_volatile(),
                    (&raw const (*entry).data).read_volatile(),
                    (&raw const (*entry).extra).read_volatile(),
                )
            };
            // 5.
            self.word(index).store(uapi::KEVENT_WORD_FREE, Release);
            if word & uapi::KEVENT_WORD_STATE_MASK == uapi::KEVENT_WORD_READY {
                return Some(event);
            }
        }
        None
    }
}
