// SPDX-License-Identifier: MIT

//! The kernel's side of the ring, as the header describes it, for the tests. It runs on the
//! processor's atomics and on the model checker's.

use super::{Consumer, Slot};
use crate::sync::{AtomicU32, AtomicU64, Ordering};
use crate::sys;

/// A ring in ordinary memory, with its producer.
pub(super) struct Model {
    cursor: AtomicU32,
    slots: Vec<Slot>,
    /// The kernel's private counter: the index of the next entry to publish.
    tail: AtomicU32,
    /// The kernel's private mark per slot: somebody publishes, merges or cancels there.
    busy: Vec<AtomicU32>,
}

/// What a merge came to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Merge {
    Done,
    /// The entry is gone, or has no room for another occurrence: it needs a new entry.
    New,
}

impl Model {
    /// A ring whose first index is `start`.
    pub(super) fn new(entries: usize, start: u32) -> Model {
        Model {
            cursor: AtomicU32::new(start),
            slots: (0..entries).map(|_| empty_slot()).collect(),
            tail: AtomicU32::new(start),
            busy: (0..entries).map(|_| AtomicU32::new(0)).collect(),
        }
    }

    pub(super) fn consumer(&self) -> Consumer<'_> {
        Consumer::new(&self.cursor, &self.slots)
    }

    pub(super) fn producer(&self) -> Producer<'_> {
        Producer {
            slots: &self.slots,
            tail: &self.tail,
            busy: &self.busy,
        }
    }
}

pub(super) fn empty_slot() -> Slot {
    Slot {
        user_data: AtomicU64::new(0),
        word: AtomicU32::new(0),
        info: AtomicU32::new(0),
        data: AtomicU64::new(0),
        extra: AtomicU64::new(0),
    }
}

/// The kernel's algorithm on slots, wherever they live.
#[derive(Clone, Copy)]
pub(super) struct Producer<'a> {
    pub(super) slots: &'a [Slot],
    pub(super) tail: &'a AtomicU32,
    pub(super) busy: &'a [AtomicU32],
}

impl Producer<'_> {
    fn at(&self, index: u32) -> usize {
        index as usize & (self.slots.len() - 1)
    }

    fn lap(&self, index: u32) -> u32 {
        let lap = index / self.slots.len() as u32;

        (lap & sys::KEVENT_WORD_LAP_MASK) << sys::KEVENT_WORD_LAP_SHIFT
    }

    /// Publishes an event and returns its index, or `None` if there is no free slot, or another
    /// thread is at work on it.
    ///
    /// That the word is zero is not enough: it also is while another producer has claimed the slot
    /// and not published yet, and the ring may have gone all the way round meanwhile. So the slot
    /// is marked before the index is claimed, and only who holds the mark may move the counter on.
    pub(super) fn post(&self, event: sys::kevent_event) -> Option<u32> {
        loop {
            let index = self.tail.load(Ordering::Acquire);
            let done = self.mark(index, |slot| {
                // The counter may have moved before the slot was marked, but does not any more.
                // Acquire: pairs with the consumer's release when it freed the slot.
                if self.tail.load(Ordering::Acquire) != index
                    || slot.word.load(Ordering::Acquire) != sys::KEVENT_WORD_FREE
                {
                    return None;
                }
                self.tail.store(index.wrapping_add(1), Ordering::Release);
                slot.user_data.store(event.user_data, Ordering::Relaxed);
                slot.info.store(event.info, Ordering::Relaxed);
                slot.data.store(event.data as u64, Ordering::Relaxed);
                slot.extra.store(event.extra, Ordering::Relaxed);
                slot.word.store(
                    sys::KEVENT_WORD_READY | self.lap(index) | event.events,
                    Ordering::Release,
                );
                Some(index)
            });

            if done.is_some() || self.tail.load(Ordering::Acquire) == index {
                return done;
            }
        }
    }

    /// Does `work` on the slot of `index` unless somebody else is at it; it is not published anew
    /// meanwhile.
    fn mark<T>(&self, index: u32, work: impl FnOnce(&Slot) -> Option<T>) -> Option<T> {
        let busy = &self.busy[self.at(index)];

        if busy.swap(1, Ordering::AcqRel) != 0 {
            return None;
        }
        let result = work(&self.slots[self.at(index)]);
        busy.store(0, Ordering::Release);
        result
    }

    fn is_ready(&self, word: u32, index: u32) -> bool {
        const STATE_AND_LAP: u32 =
            sys::KEVENT_WORD_STATE_MASK | sys::KEVENT_WORD_LAP_MASK << sys::KEVENT_WORD_LAP_SHIFT;

        word & STATE_AND_LAP == sys::KEVENT_WORD_READY | self.lap(index)
    }

    /// Merges a further occurrence into the entry at `index`: `amount` is its fresh amount, if it
    /// has one.
    pub(super) fn merge(&self, index: u32, bits: u16, amount: Option<i64>) -> Merge {
        self.mark(index, |slot| {
            let mut word = slot.word.load(Ordering::Relaxed);

            loop {
                let merged = (word >> sys::KEVENT_WORD_MERGED_SHIFT) & sys::KEVENT_WORD_MERGED_MAX;

                if !self.is_ready(word, index) || merged == sys::KEVENT_WORD_MERGED_MAX {
                    return None;
                }
                if let Some(amount) = amount {
                    slot.data.store(amount as u64, Ordering::Relaxed);
                }
                // Release: whoever takes the word with this occurrence in it has its amount too.
                match slot.word.compare_exchange(
                    word,
                    (word | u32::from(bits)) + (1 << sys::KEVENT_WORD_MERGED_SHIFT),
                    Ordering::AcqRel,
                    Ordering::Relaxed,
                ) {
                    Ok(_) => return Some(()),
                    Err(now) => word = now,
                }
            }
        })
        .map_or(Merge::New, |()| Merge::Done)
    }

    /// Cancels the entry at `index`. False if it has been taken, or is being taken.
    pub(super) fn cancel(&self, index: u32) -> bool {
        self.mark(index, |slot| {
            let mut word = slot.word.load(Ordering::Relaxed);

            loop {
                if !self.is_ready(word, index) {
                    return None;
                }
                // The lap stays: a consumer tells by it whose entry this is, as with READY.
                match slot.word.compare_exchange(
                    word,
                    word | sys::KEVENT_WORD_CANCELLED,
                    Ordering::AcqRel,
                    Ordering::Relaxed,
                ) {
                    Ok(_) => return Some(()),
                    Err(now) => word = now,
                }
            }
        })
        .is_some()
    }
}
