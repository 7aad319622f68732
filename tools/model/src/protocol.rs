// SPDX-License-Identifier: GPL-2.0-only

//! What `ring.rs`, and each changed copy of it, can do.

use crate::core::event::Event;

/// What became of a merge or a cancel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    Done,
    /// Done, but for so many occurrences that could not be counted.
    Left(u32),
    Gone,
    Deferred,
}

pub(crate) trait Protocol: Sized + 'static {
    type First;
    type Taken;

    fn new(entries: u32) -> Self;
    fn publish(&self, event: &Event) -> Option<u64>;
    fn merge(&self, index: u64, events: u32, count: u32) -> Change;
    fn cancel(&self, index: u64) -> Change;
    fn first(&self) -> Option<Self::First>;
    fn take(&self, first: &Self::First) -> Option<Self::Taken>;
    /// As `kevent_get_events()` does it.
    fn take_first(&self) -> Option<Self::Taken> {
        loop {
            let first = self.first()?;
            if let Some(taken) = self.take(&first) {
                return Some(taken);
            }
        }
    }

    /// The same, for an event that reports no level: it is released at once. The result is missing if
    /// there is none at the cursor, or it was cancelled, or another consumer was faster.
    fn take_plain(&self) -> Option<Event>;
    fn event(taken: &Self::Taken) -> Event;
    fn release(&self, taken: &Self::Taken);
    fn has(&self, seen: Option<u32>, nr: u32) -> bool;
    fn available(&self, seen: Option<u32>) -> u32;
    fn posted(&self) -> u64;
    fn base(&self) -> *mut u8;
    fn entries_offset() -> u32;
    /// The bits of the lap that the word has.
    fn lap_mask() -> u32;
}

macro_rules! implement {
    ($ring:path, $lap_mask:expr) => {
        const _: () = {
            use crate::core::event::Event;
            use crate::protocol::{Change, Protocol};
            use $ring as ring;

            impl From<ring::Merge> for Change {
                fn from(merge: ring::Merge) -> Change {
                    match merge {
                        ring::Merge::Done(0) => Change::Done,
                        ring::Merge::Done(left) => Change::Left(left),
                        ring::Merge::Gone => Change::Gone,
                        ring::Merge::Locked => Change::Deferred,
                    }
                }
            }

            impl Protocol for ring::Ring {
                type First = ring::First;
                type Taken = (Event, ring::Taken);

                fn new(entries: u32) -> Self {
                    ring::Ring::new(entries).expect("a power of two")
                }
                fn publish(&self, event: &Event) -> Option<u64> {
                    self.publish(event)
                }
                fn merge(&self, index: u64, events: u32, n: u32) -> Change {
                    self.merge(index, events, n).into()
                }
                fn cancel(&self, index: u64) -> Change {
                    self.cancel(index).into()
                }
                fn first(&self) -> Option<ring::First> {
                    self.first()
                }
                fn take(&self, first: &ring::First) -> Option<Self::Taken> {
                    let taken = self.take(first)?;
                    Some((taken.changed.unwrap_or(first.event), taken))
                }
                fn take_plain(&self) -> Option<Event> {
                    let first = self.first_plain()?;
                    match self.take_plain(&first)? {
                        ring::TakenPlain::Same => Some(first.event),
                        ring::TakenPlain::Changed(event) => Some(event),
                        ring::TakenPlain::Cancelled => None,
                    }
                }
                fn event(taken: &Self::Taken) -> Event {
                    taken.0
                }
                fn release(&self, taken: &Self::Taken) {
                    self.release(&taken.1)
                }
                fn has(&self, seen: Option<u32>, nr: u32) -> bool {
                    self.has(seen, nr)
                }
                fn available(&self, seen: Option<u32>) -> u32 {
                    self.available(seen)
                }
                fn posted(&self) -> u64 {
                    self.posted()
                }
                fn base(&self) -> *mut u8 {
                    self.pages().as_ptr()
                }
                fn entries_offset() -> u32 {
                    ring::Ring::entries_offset()
                }
                fn lap_mask() -> u32 {
                    $lap_mask
                }
            }
        };
    };
}
pub(crate) use implement;
