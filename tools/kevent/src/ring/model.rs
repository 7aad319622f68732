// SPDX-License-Identifier: MIT

//! The kernel's side of the ring, as `kernel/kevent/ring.rs` does it, for the tests. It runs on the
//! processor's atomics and on the model checker's.

use super::{Consumer, Slot};
use crate::sync::{AtomicU32, AtomicU64, Ordering, fence};
use crate::sys;

/// A ring in ordinary memory, with its producer.
pub(super) struct Model {
    cursor: AtomicU32,
    slots: Vec<Slot>,
    private: Private,
}

/// What the kernel keeps to itself.
pub(super) struct Private {
    /// The index of the next entry to publish. (The kernel has 64 bits of it.)
    tail: AtomicU32,
    /// Per slot: a merge or a cancel is at work on it.
    busy: Vec<AtomicU32>,
    /// Per slot: the index that may be published there next.
    next: Vec<AtomicU32>,
}

/// What a merge or a cancel came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    Done,
    /// The entry has been taken.
    Gone,
    /// The entry has no room for another occurrence, or another change is under way.
    Later,
}

impl Model {
    /// A ring whose first index is `start`.
    pub(super) fn new(entries: usize, start: u32) -> Model {
        Model {
            cursor: AtomicU32::new(start),
            slots: (0..entries).map(|_| empty_slot()).collect(),
            private: Private::new(entries, start),
        }
    }

    pub(super) fn consumer(&self) -> Consumer<'_> {
        // SAFETY: new() was called with a power of two.
        unsafe { Consumer::new(&self.cursor, &self.slots) }
    }

    pub(super) fn producer(&self) -> Producer<'_> {
        Producer {
            slots: &self.slots,
            private: &self.private,
        }
    }
}

impl Private {
    pub(super) fn new(entries: usize, start: u32) -> Private {
        let mask = entries as u32 - 1;

        Private {
            tail: AtomicU32::new(start),
            busy: (0..entries).map(|_| AtomicU32::new(0)).collect(),
            next: (0..=mask)
                .map(|slot| AtomicU32::new(start.wrapping_add(slot.wrapping_sub(start) & mask)))
                .collect(),
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
    pub(super) private: &'a Private,
}

impl Producer<'_> {
    fn at(&self, index: u32) -> usize {
        index as usize & (self.slots.len() - 1)
    }

    fn lap(&self, index: u32) -> u32 {
        let lap = index / self.slots.len() as u32;

        (lap & sys::KEVENT_WORD_LAP_MASK) << sys::KEVENT_WORD_LAP_SHIFT
    }

    /// Moves the tail from `index` on, if it is there and the slot is free.
    fn claim(&self, index: u32) -> Option<bool> {
        let Private { tail, next, .. } = self.private;
        // That the state is FREE is not enough. So it is while another producer has claimed the slot
        // and not published yet, and the tail may have gone all the way round meanwhile. So look
        // first whether the entry of the lap before was published, and then whether it was taken.
        // Acquire: pairs with the release in publish(), and with the consumer's when it frees.
        let free = next[self.at(index)].load(Ordering::Acquire) == index
            && self.slots[self.at(index)].word.load(Ordering::Acquire)
                & sys::KEVENT_WORD_STATE_MASK
                == sys::KEVENT_WORD_FREE;

        if !free {
            return (tail.load(Ordering::Relaxed) == index).then_some(false);
        }
        tail.compare_exchange(
            index,
            index.wrapping_add(1),
            Ordering::AcqRel,
            Ordering::Relaxed,
        )
        .ok()
        .map(|_| true)
    }

    /// Publishes the word of an index that was claimed.
    fn publish(&self, index: u32, word: u32) {
        let entries = self.slots.len() as u32;

        self.slots[self.at(index)]
            .word
            .store(word | self.lap(index), Ordering::Release);
        self.private.next[self.at(index)].store(index.wrapping_add(entries), Ordering::Release);
    }

    /// Publishes an event and returns its index, or `None` if there is no free slot.
    pub(super) fn post(&self, event: sys::kevent_event) -> Option<u32> {
        loop {
            let index = self.private.tail.load(Ordering::Relaxed);

            match self.claim(index) {
                None => continue,
                Some(false) => return None,
                Some(true) => {}
            }
            // The tail is moved before the mark is looked at, in change() it is the other way
            // round: one of the two sees the other.
            fence(Ordering::SeqCst);
            if self.private.busy[self.at(index)].load(Ordering::Relaxed) != 0 {
                self.publish(index, sys::KEVENT_WORD_CANCELLED);
                continue;
            }

            let slot = &self.slots[self.at(index)];
            slot.user_data.store(event.user_data, Ordering::Relaxed);
            slot.info.store(event.info, Ordering::Relaxed);
            slot.data.store(event.data as u64, Ordering::Relaxed);
            slot.extra.store(event.extra, Ordering::Relaxed);
            self.publish(index, sys::KEVENT_WORD_READY | event.events);
            return Some(index);
        }
    }

    /// Changes the word of the entry at `index`, if that is still the one published there.
    fn change(&self, index: u32, new: impl Fn(u32) -> Option<u32>) -> Change {
        const STATE_AND_LAP: u32 =
            sys::KEVENT_WORD_STATE_MASK | sys::KEVENT_WORD_LAP_MASK << sys::KEVENT_WORD_LAP_SHIFT;
        let slot = &self.slots[self.at(index)];
        let busy = &self.private.busy[self.at(index)];

        if busy
            .compare_exchange(0, 1, Ordering::AcqRel, Ordering::Relaxed)
            .is_err()
        {
            return Change::Later;
        }
        fence(Ordering::SeqCst);
        let ahead = self
            .private
            .tail
            .load(Ordering::Relaxed)
            .wrapping_sub(index);
        let word = slot.word.load(Ordering::Relaxed);
        let result = if ahead > self.slots.len() as u32
            || word & STATE_AND_LAP != sys::KEVENT_WORD_READY | self.lap(index)
        {
            Change::Gone
        } else if let Some(new) = new(word) {
            match slot
                .word
                .compare_exchange(word, new, Ordering::AcqRel, Ordering::Relaxed)
            {
                Ok(_) => Change::Done,
                Err(_) => Change::Gone,
            }
        } else {
            Change::Later
        };
        busy.store(0, Ordering::Release);
        result
    }

    /// Merges a further occurrence into the entry at `index`: into its word, and nothing else.
    pub(super) fn merge(&self, index: u32, bits: u16) -> Change {
        self.change(index, |word| {
            let merged = (word >> sys::KEVENT_WORD_MERGED_SHIFT) & sys::KEVENT_WORD_MERGED_MAX;

            if merged == sys::KEVENT_WORD_MERGED_MAX {
                return None;
            }
            Some((word | u32::from(bits)) + (1 << sys::KEVENT_WORD_MERGED_SHIFT))
        })
    }

    /// Cancels the entry at `index`. The lap stays: a consumer knows by it whose entry this is.
    pub(super) fn cancel(&self, index: u32) -> Change {
        self.change(index, |word| Some(word | sys::KEVENT_WORD_CANCELLED))
    }
}
