// SPDX-License-Identifier: GPL-2.0-only

//! The ring: publish, merge, cancel, take.
//!
//! A ring is a power of two of slots in memory that the program has mapped. Index `i`, counted from
//! 0 and never reset, lives in slot `i % entries`. The kernel's side of the protocol is here, the
//! program's in `include/uapi/linux/kevent.h`; the two meet in one word per slot, the entry's
//! `events`, whose bits are laid out there:
//!
//! ```text
//!            publish                 take               free
//!    FREE ------------> READY ----------------> TAKEN -------> FREE
//!                       |  ^  \                   ^
//!                       +--+   \--> CANCELLED ----+
//!                      merge  cancel
//! ```
//!
//! A slot is free if its state is, whatever else the word says: a consumer may leave a mark there,
//! which is not needed for anything but to save a poll, see [`Ring::is_exhausted`].
//!
//! The kernel moves a slot along the arrows *publish*, *merge* and *cancel*, a consumer (the
//! program, or [`Ring::take`] on its behalf) along *take* and *free*. Nothing ever goes back: a
//! consumer in the kernel takes an event after it has copied it to the program.
//!
//! # Claiming a slot
//!
//! [`Ring::tail`] is the next index to be published. It is not in the mapping, so no program can
//! change it. A producer that finds the slot of the tail free advances the tail by one; that
//! compare-and-exchange is all that producers on different CPUs share. It then owns the slot until
//! it has published the word. A slot that is not free means that the ring is full.
//!
//! A claimed slot is still FREE to look at. So that it is not claimed again by a producer that has
//! gone once around the ring in the meantime, [`Slot::next`] returns which index may be claimed
//! there; it moves on to the next lap after the word is out. Until then the slot counts as not
//! free.
//!
//! # Merging and cancelling without hitting a stranger
//!
//! The producer of an entry remembers its index, and may change the word later, while it is READY,
//! with a compare-and-exchange. Between loading the word and exchanging it, the entry may be taken,
//! and the slot may be published again for another watch; if the same bits came back the exchange
//! would succeed, on the wrong entry. [`Slot::update_lock`] is a mark against that:
//!
//! * [`Ring::change`] sets the mark, full barrier, and then looks whether the tail has passed the
//!   next index of this slot. If so the entry is long gone.
//! * [`Ring::publish`] moves the tail, full barrier, and then looks at the mark. If it is set, the
//!   slot is given up: it is published as CANCELLED, and the event goes into the next one.
//!
//! One of the two sees the other. So while a mark is set, the slot holds the entry that it was set
//! for, or nothing that is READY.
//!
//! # Memory ordering
//!
//! * The word is stored with release order, after the fields; they are read after the word was read
//!   with acquire order. Message passing.
//! * A slot is freed with release order, and found free with acquire order: what a consumer reads
//!   is not overwritten by the next lap.
//! * The cursor moves with acquire and release order: a consumer that sees it moved, sees what the
//!   consumers that moved it saw.
//! * Publishing ends in a full barrier, after which the producer looks whether a task sleeps; a
//!   sleeper makes itself known, full barrier, and looks at the word. Store buffering: one of them
//!   sees the other. The same holds between a producer and another one that finds the slot not free
//!   yet, puts its event into the backlog, full barrier, and tries once more.
//!
//! # What the program can do to it
//!
//! Everything in the mapping is read once, as a number, and is used for nothing but a decision
//! which harms only the program that made it go wrong: a slot is or is not free, an event is or is
//! not there, bits are ORed. Indices are masked. Loops are bounded.

use core::cell::Cell;

use kernel::{
    mm::shared_pages::SharedPages,
    prelude::*,
    sync::atomic::{
        ordering::{
            Acquire,
            Full,
            Relaxed,
            Release, //
        },
        Atomic, //
    },
    uapi, //
};

use crate::core::event::Event;

const MERGED_SHIFT: u32 = uapi::KEVENT_WORD_MERGED_SHIFT;
const MERGED_MAX: u32 = uapi::KEVENT_WORD_MERGED_MAX;
const LAP_SHIFT: u32 = uapi::KEVENT_WORD_LAP_SHIFT;
const LAP_MASK: u32 = uapi::KEVENT_WORD_LAP_MASK;
const STATE_MASK: u32 = uapi::KEVENT_WORD_STATE_MASK;

/// State and lap of a word, which say whose entry it is.
const ENTRY_MASK: u32 = STATE_MASK | (LAP_MASK << LAP_SHIFT);
const FREE: u32 = uapi::KEVENT_WORD_FREE;
const READY: u32 = uapi::KEVENT_WORD_READY;
const TAKEN: u32 = uapi::KEVENT_WORD_TAKEN;
const CANCELLED: u32 = uapi::KEVENT_WORD_CANCELLED;
const EXHAUSTED: u32 = uapi::KEVENT_WORD_EXHAUSTED;
const EVENTS_MASK: u32 = uapi::KEVENT_EVENTS_MASK;

/// What is posted in the word, beside its lap and state: the events, and the number of merges of an
/// entry that was withdrawn.
const POSTED_MASK: u32 = EVENTS_MASK | (MERGED_MAX << MERGED_SHIFT);

/// Where the slots begin: the header, and one cache line to spare.
const ENTRIES_OFFSET: usize = 256;

const _: () = assert!(size_of::<uapi::kevent_ring>() <= ENTRIES_OFFSET);
const _: () = assert!(uapi::KEVENT_MAX_ENTRIES <= 1 << LAP_SHIFT);
const _: () = assert!(size_of::<uapi::kevent_event>() == 32);

/// How often to try to change the flags of the header.
const MAX_TRIES: u32 = 64;

/// The index of an entry. At one event per nanosecond it wraps after 584 years.
pub(crate) type Index = u64;

/// What became of an attempt to merge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Merge {
    /// The entry has it, but for so many occurrences that it could not count any more.
    Done(u32),
    /// The entry has been taken, or was never there.
    Gone,
    /// Another change is under way: try later.
    Locked,
}

/// The next event to be taken.
pub(crate) struct First {
    pub(crate) event: Event,
    pub(crate) index: u32,
    word: u32,
}

/// The next event to be taken, of [`Ring::first_plain`].
pub(crate) struct FirstPlain<'a> {
    pub(crate) event: Event,
    at: SlotRef<'a>,
    word: u32,
}

/// What became of it.
pub(crate) enum TakenPlain {
    /// It was taken as it was.
    Same,
    /// It was taken, and had become that.
    Changed(Event),
    /// It was cancelled.
    Cancelled,
}

/// An event that was taken out of its slot, which is not free yet.
pub(crate) struct Taken {
    /// What it is by now, if it has changed since [`Ring::first`].
    pub(crate) changed: Option<Event>,
    index: u32,
}

/// A word or field that producers on all CPUs write, on a cache line of its own.
#[repr(align(64))]
struct CacheAligned<T>(T);

/// What the kernel keeps for itself of a slot.
struct Slot {
    /// The index that may be claimed there next, modulo 2^32.
    next: Atomic<u32>,
    /// Another CPU is about to change the word.
    update_lock: Atomic<i32>,
}

impl Slot {
    /// Whether another CPU is about to change the word. To be called after the tail was moved.
    #[inline(always)]
    fn is_updating(&self) -> bool {
        self.update_lock.load(Acquire) != 0
    }
}

/// In `Ring::levels`: the last entry of the slot is not that of a level.
const NO_LEVEL: u32 = u32::MAX;

/// Where an index lives.
///
/// # Invariants
///
/// `entry` is within the pages of the ring, which live for `'a`.
struct SlotRef<'a> {
    index: Index,
    slot: &'a Slot,
    entry: *mut uapi::kevent_event,
    word: &'a Atomic<u32>,
    lap: u32,
}

impl SlotRef<'_> {
    /// Whether the slot is free to be claimed for the index.
    #[inline(always)]
    fn is_free(&self) -> bool {
        // ORDERING: The claim of this slot one lap ago, and its word, come before `next`: look at
        // that first. CAST: It counts modulo 2^32.
        self.slot.next.load(Acquire) == self.index as u32
            && self.word.load(Acquire) & STATE_MASK == FREE
    }

    /// Frees the slot, whose word was taken.
    #[inline(always)]
    fn free(&self) {
        self.word.store(FREE, Release);
    }

    /// Puts together the event in the slot, whose word is `word`.
    #[inline(always)]
    fn read(&self, word: u32) -> Event {
        let entry = self.entry;
        // SAFETY: By the type invariants the entry is within the pages, and fields are accessed
        // volatile.
        unsafe {
            Event::taken(
                word & EVENTS_MASK,
                (word >> MERGED_SHIFT) & MERGED_MAX,
                (&raw const (*entry).user_data).read_volatile(),
                (&raw const (*entry).info).read_volatile(),
                (&raw const (*entry).data).read_volatile(),
                (&raw const (*entry).extra).read_volatile(),
            )
        }
    }
}

/// A ring.
///
/// # Invariants
///
/// * `entries` is a power of two, `mask` is that less one, `slots` and `levels` have as many
///   elements, and `pages` has room for the header and as many entries.
/// * `lap_unit` is by what an index is multiplied for its lap to be where the word has it.
/// * What is in `pages` is only accessed atomically or volatile.
pub(crate) struct Ring {
    pages: SharedPages,
    entries: u32,
    /// `entries` less one.
    mask: u32,
    lap_unit: u32,
    slots: KVVec<Slot>,
    /// Whose level the last entry of each slot reports, if it is one: see [`Ring::publish_level`].
    levels: KVVec<Atomic<u32>>,
    tail: CacheAligned<Atomic<Index>>,
}

impl Ring {
    /// Makes a ring of `entries` slots, a power of two.
    pub(crate) fn new(entries: u32) -> Result<Self> {
        if !entries.is_power_of_two() || entries > uapi::KEVENT_MAX_ENTRIES {
            return Err(EINVAL);
        }
        let pages = SharedPages::new(Self::size_for(entries), GFP_KERNEL_ACCOUNT)?;
        let mut slots = KVVec::with_capacity(entries as usize, GFP_KERNEL_ACCOUNT)?;
        let mut levels = KVVec::with_capacity(entries as usize, GFP_KERNEL_ACCOUNT)?;
        for index in 0..entries {
            let slot = Slot {
                next: Atomic::new(index),
                update_lock: Atomic::new(0),
            };
            slots.push(slot, GFP_KERNEL_ACCOUNT)?;
            levels.push(Atomic::new(NO_LEVEL), GFP_KERNEL_ACCOUNT)?;
        }
        // INVARIANT: `size_for` made room for the header and the slots, and nothing was accessed.
        // The lap is the index divided by `entries`.
        let ring = Self {
            pages,
            entries,
            mask: entries.wrapping_sub(1),
            lap_unit: (1 << LAP_SHIFT) >> entries.trailing_zeros(),
            slots,
            levels,
            tail: CacheAligned(Atomic::new(0)),
        };
        let header = ring.header();
        // SAFETY: The header is within the pages.
        unsafe {
            (&raw mut (*header).entries).write_volatile(entries);
            // CAST: The offset is 256.
            (&raw mut (*header).entries_offset).write_volatile(ENTRIES_OFFSET as u32);
            // CAST: It is 32.
            (&raw mut (*header).event_size).write_volatile(size_of::<uapi::kevent_event>() as u32);
        }
        Ok(ring)
    }

    /// The size in bytes of a ring with that many slots, a multiple of the page size.
    pub(crate) fn size_for(entries: u32) -> usize {
        // CAST: At most `KEVENT_MAX_ENTRIES`, so nothing overflows.
        let size = ENTRIES_OFFSET + entries as usize * size_of::<uapi::kevent_event>();
        size.next_multiple_of(kernel::page::PAGE_SIZE)
    }

    pub(crate) fn pages(&self) -> &SharedPages {
        &self.pages
    }

    pub(crate) fn entries(&self) -> u32 {
        self.entries
    }

    pub(crate) const fn entries_offset() -> u32 {
        // CAST: The offset is 256.
        ENTRIES_OFFSET as u32
    }

    /// The number of entries published so far.
    pub(crate) fn posted(&self) -> u64 {
        self.tail.0.load(Relaxed)
    }

    fn header(&self) -> *mut uapi::kevent_ring {
        self.pages.as_ptr().cast()
    }

    /// The number of the slot of `index`.
    #[inline(always)]
    fn slot(&self, index: Index) -> usize {
        // CAST: What is cut off is masked away.
        (index as u32 & self.mask) as usize
    }

    #[inline(always)]
    fn entry(&self, index: Index) -> *mut uapi::kevent_event {
        let base = self.pages.as_ptr().wrapping_add(ENTRIES_OFFSET);
        base.cast::<uapi::kevent_event>()
            .wrapping_add(self.slot(index))
    }

    /// The word that both sides write.
    #[inline(always)]
    fn word(&self, index: Index) -> &Atomic<u32> {
        // SAFETY:
        // * By the type invariants the slot is within the pages, which live as long as `self`, and
        //   all accesses to its word are atomic.
        // * The entries are aligned to 32 bytes.
        unsafe { Atomic::from_ptr(&raw mut (*self.entry(index)).events) }
    }

    /// The program's cursor.
    fn cursor_word(&self) -> &Atomic<u32> {
        // SAFETY: The header is within the pages, aligned, and the cursor is accessed atomically.
        unsafe { Atomic::from_ptr(&raw mut (*self.header()).cursor) }
    }

    pub(crate) fn flags_word(&self) -> &Atomic<u32> {
        // SAFETY: The header is within the pages, aligned, and the flags are accessed atomically.
        unsafe { Atomic::from_ptr(&raw mut (*self.header()).flags) }
    }

    /// Sets or clears one of the flags that the program sees, `KEVENT_RING_*`.
    pub(crate) fn set_flag(&self, flag: u32, on: bool) {
        let word = self.flags_word();
        let mut old = word.load(Relaxed);
        // Only a program that harms itself writes it so often.
        for _ in 0..MAX_TRIES {
            let new = if on { old | flag } else { old & !flag };
            if new == old {
                return;
            }
            let Err(now) = word.cmpxchg(old, new, Full) else {
                return;
            };
            old = now;
        }
    }

    /// The counters that the program sees, in the order of the header.
    pub(crate) fn set_counters(&self, merged: u64, deferred: u64, woken: u64) {
        let header = self.header();
        let posted = self.posted();
        // SAFETY: The header is within the pages.
        unsafe {
            (&raw mut (*header).posted).write_volatile(posted);
            (&raw mut (*header).merged).write_volatile(merged);
            (&raw mut (*header).deferred).write_volatile(deferred);
            (&raw mut (*header).woken).write_volatile(woken);
            (&raw mut (*header).saved).write_volatile(posted.saturating_sub(woken));
        }
    }

    /// The number of laps before `index`, where the word has it.
    #[inline(always)]
    fn lap(&self, index: Index) -> u32 {
        // CAST: What is cut off is masked away.
        (index as u32).wrapping_mul(self.lap_unit) & (LAP_MASK << LAP_SHIFT)
    }

    /// Publishes an event and reports its index, or `None` if there is no free slot.
    ///
    /// Neither sleeps nor allocates nor takes a lock; may be called from any context. Has a full
    /// barrier after the event is visible.
    #[inline(always)]
    pub(crate) fn publish(&self, event: &Event) -> Option<Index> {
        self.publish_noting(event, |_| {})
    }

    /// [`Ring::publish`] for an event that reports a level: that of the watch at `place`, whose
    /// last entry is `entry`. Who sees the event sees both.
    #[inline(always)]
    pub(crate) fn publish_level(
        &self,
        event: &Event,
        place: u32,
        entry: &Atomic<Index>,
    ) -> Option<Index> {
        self.publish_noting(event, |index| {
            entry.store(index, Relaxed);
            self.note_level(index, place);
        })
    }

    /// Notes that the entry at `index` reports the level of the watch at `place`. To be called
    /// before the event can be seen.
    #[inline(always)]
    pub(crate) fn note_level(&self, index: Index, place: u32) {
        self.level(index).store(place, Relaxed);
    }

    /// Whose level the last entry in the slot of `index` reports.
    #[inline(always)]
    fn level(&self, index: Index) -> &Atomic<u32> {
        // SAFETY: By the type invariants there are as many as entries.
        unsafe { self.levels.get_unchecked(self.slot(index)) }
    }

    /// [`Ring::publish`], which notes the index before the event can be seen.
    #[inline(always)]
    fn publish_noting(&self, event: &Event, note: impl Fn(Index)) -> Option<Index> {
        self.publish_at_once(|| Event(event.0), &note)
            .or_else(|| self.publish_slowly(event, note))
    }

    /// [`Ring::publish_noting`] for the usual case. `None` if there is no free slot, or the one at
    /// the tail is another producer's, or is being changed. The event is made when there is a slot.
    #[inline(always)]
    pub(crate) fn publish_at_once(
        &self,
        event: impl FnOnce() -> Event,
        note: impl Fn(Index),
    ) -> Option<Index> {
        let slot_ref = self.slot_ref(self.tail.0.load(Relaxed));
        if !slot_ref.is_free() || self.claim(slot_ref.index).is_err() {
            return None;
        }
        if slot_ref.slot.is_updating() {
            self.burn_slot(&slot_ref);
            return None;
        }
        Some(self.fill(&slot_ref, &event(), note))
    }

    /// [`Ring::publish_noting`] after an attempt to do so at once has failed.
    #[cold]
    #[inline(never)]
    fn publish_slowly(&self, event: &Event, note: impl Fn(Index)) -> Option<Index> {
        let slot_ref = self.claim_slowly()?;
        Some(self.fill(&slot_ref, event, note))
    }

    /// Publishes an event in a slot that was claimed for it, and returns the index.
    #[inline(always)]
    fn fill(&self, slot_ref: &SlotRef<'_>, event: &Event, note: impl Fn(Index)) -> Index {
        // SAFETY: By the type invariants of `SlotRef` the entry is within the pages. Only a
        // program that breaks the protocol accesses its fields before the word is published.
        unsafe {
            (&raw mut (*slot_ref.entry).user_data).write_volatile(event.0.user_data);
            (&raw mut (*slot_ref.entry).info).write_volatile(event.0.info);
            (&raw mut (*slot_ref.entry).data).write_volatile(event.0.data);
            (&raw mut (*slot_ref.entry).extra).write_volatile(event.0.extra);
        }
        note(slot_ref.index);
        let word = READY | slot_ref.lap | (event.0.events & POSTED_MASK);
        slot_ref.word.store(word, Release);
        self.next_lap(slot_ref);
        slot_ref.index
    }

    /// Where `index` lives.
    #[inline(always)]
    fn slot_ref(&self, index: Index) -> SlotRef<'_> {
        // INVARIANT: It is the entry of that index.
        SlotRef {
            index,
            // SAFETY: By the type invariants there are as many slots as entries.
            slot: unsafe { self.slots.get_unchecked(self.slot(index)) },
            entry: self.entry(index),
            word: self.word(index),
            lap: self.lap(index),
        }
    }

    /// Moves the tail beyond `index`; fails with where it is if that is not there.
    #[inline(always)]
    fn claim(&self, index: Index) -> Result<Index, Index> {
        // ORDERING: Full, so that the tail is moved before the mark is looked at; see above.
        self.tail.0.cmpxchg(index, index.wrapping_add(1), Full)
    }

    /// Claims the next slot that is not marked.
    fn claim_slowly(&self) -> Option<SlotRef<'_>> {
        let mut index = self.tail.0.load(Relaxed);
        loop {
            let slot_ref = self.slot_ref(index);
            if !slot_ref.is_free() {
                let tail = self.tail.0.load(Relaxed);
                if tail == index {
                    return None;
                }
                index = tail;
                continue;
            }
            if let Err(tail) = self.claim(index) {
                index = tail;
                continue;
            }
            if !slot_ref.slot.is_updating() {
                return Some(slot_ref);
            }
            self.burn_slot(&slot_ref);
            index = index.wrapping_add(1);
        }
    }

    /// Gives a slot up that was claimed, because it is marked.
    #[inline(always)]
    fn burn_slot(&self, slot_ref: &SlotRef<'_>) {
        slot_ref.word.store(CANCELLED | slot_ref.lap, Release);
        self.next_lap(slot_ref);
    }

    /// Lets a slot whose word is out be claimed for the next lap. A full barrier.
    #[inline(always)]
    fn next_lap(&self, slot_ref: &SlotRef<'_>) {
        // CAST: It counts modulo 2^32.
        let next = (slot_ref.index as u32).wrapping_add(self.entries);
        slot_ref.slot.next.xchg(next, Full);
    }

    /// Whether there seems to be a free slot.
    pub(crate) fn has_free(&self) -> bool {
        let index = self.tail.0.load(Relaxed);
        self.word(index).load(Relaxed) & STATE_MASK == FREE
    }

    /// Whether the entry at `index` has certainly been taken, if it ever was there. Most often it
    /// has, and then there is no need to mark anything.
    #[inline(always)]
    pub(crate) fn is_taken(&self, index: Index) -> bool {
        self.word(index).load(Relaxed) & ENTRY_MASK != READY | self.lap(index)
    }

    /// Changes the word of the entry at `index`, if that is still the one published there.
    fn change(&self, index: Index, new: impl Fn(u32) -> (u32, u32)) -> Merge {
        let Some(slot) = self.slots.get(self.slot(index)) else {
            return Merge::Gone;
        };
        let word = self.word(index);
        let ours = READY | self.lap(index);
        if self.is_taken(index) {
            return Merge::Gone;
        }
        // ORDERING: Full, so that the mark is set before the tail is looked at; see above.
        if slot.update_lock.cmpxchg(0, 1, Full).is_err() {
            return Merge::Locked;
        }
        let passed = self.has_passed(index);
        let old = word.load(Relaxed);
        let result = if passed || old & ENTRY_MASK != ours {
            Merge::Gone
        } else {
            let (new, left) = new(old);
            // Other changes are held off by the mark: if this fails the entry was just taken.
            match word.cmpxchg(old, new, Full) {
                Ok(_) => Merge::Done(left),
                Err(_) => Merge::Gone,
            }
        };
        slot.update_lock.store(0, Release);
        result
    }

    /// Merges `count` further occurrences of `events` into the entry at `index`, whose other words
    /// stay as they are.
    ///
    /// Never allocates or sleeps; may be called from any context.
    #[inline(always)]
    pub(crate) fn merge(&self, index: Index, events: u32, count: u32) -> Merge {
        if self.is_taken(index) {
            return Merge::Gone;
        }
        self.merge_slowly(index, events, count)
    }

    /// [`Ring::merge`] into an entry that seems not to be taken.
    fn merge_slowly(&self, index: Index, events: u32, count: u32) -> Merge {
        self.change(index, |old| {
            let merged = (old >> MERGED_SHIFT) & MERGED_MAX;
            let sum = merged.saturating_add(count);
            let kept = old & !(MERGED_MAX << MERGED_SHIFT);
            let merged = sum.min(MERGED_MAX) << MERGED_SHIFT;
            (
                kept | merged | (events & EVENTS_MASK),
                sum.saturating_sub(MERGED_MAX),
            )
        })
    }

    /// Whether a producer has claimed the slot of the entry at `index` since.
    #[inline(always)]
    fn has_passed(&self, index: Index) -> bool {
        self.tail.0.load(Relaxed).wrapping_sub(index) > u64::from(self.entries)
    }

    /// Whether the entry at `index`, if it is the one published there, has not been taken.
    pub(crate) fn is_unconsumed(&self, index: Index) -> bool {
        !self.has_passed(index)
            && self.word(index).load(Relaxed) & ENTRY_MASK == READY | self.lap(index)
    }

    /// Whether the consumer has freed the slot of the entry at `index` with the exhausted mark.
    /// That can be seen until a producer claims the slot.
    ///
    /// Whose mark it is the lap does not say for certain, which comes round after sixteen; but if
    /// the slot was not claimed since, it is that of the last entry there.
    #[inline]
    pub(crate) fn is_exhausted(&self, index: Index) -> bool {
        !self.has_passed(index)
            && self.word(index).load(Relaxed) == FREE | self.lap(index) | EXHAUSTED
    }

    /// The event bits of the entry at `index`, if that has not been taken, else 0.
    pub(crate) fn unconsumed_events(&self, index: Index) -> u32 {
        if self.is_unconsumed(index) {
            self.word(index).load(Relaxed) & EVENTS_MASK
        } else {
            0
        }
    }

    /// Cancels the entry at `index`, so that the consumer skips it. [`Merge::Gone`] means that it
    /// has been taken.
    pub(crate) fn cancel(&self, index: Index) -> Merge {
        self.change(index, |old| ((old & !STATE_MASK) | CANCELLED, 0))
    }

    /// Cancels the entry at `index`, to post it again with other words. [`Merge::Done`] has its
    /// events and number of merges, as [`Ring::publish`] takes them.
    #[cold]
    pub(crate) fn withdraw(&self, index: Index) -> Merge {
        self.change(index, |old| {
            ((old & !STATE_MASK) | CANCELLED, old & POSTED_MASK)
        })
    }

    /// [`Ring::withdraw`]. `data` is set to the word of that name, as the program has left it.
    #[cold]
    pub(crate) fn withdraw_with_data(&self, index: Index, data: &Cell<i64>) -> Merge {
        let entry = self.entry(index);
        self.change(index, |old| {
            // As long as the slot is marked no other event is published there.
            // SAFETY: The slot is within the pages, and fields are accessed volatile.
            data.set(unsafe { (&raw const (*entry).data).read_volatile() });
            ((old & !STATE_MASK) | CANCELLED, old & POSTED_MASK)
        })
    }

    /// The word of the entry at `index`, as programs count, if it can be taken.
    ///
    /// The lap matters: a consumer may have moved the cursor past the previous entry in this slot,
    /// and not have exchanged its word yet.
    #[inline]
    fn published(&self, index: u32) -> Option<u32> {
        let word = self.word(index.into()).load(Acquire);
        let taken = matches!(word & STATE_MASK, FREE | TAKEN);
        let is_there = !taken && word & (LAP_MASK << LAP_SHIFT) == self.lap(index.into());
        is_there.then_some(word)
    }

    /// The index from which on the caller, who has seen all before `seen`, may find something.
    ///
    /// Others may have consumed in the meantime.
    #[inline]
    fn first_unseen(&self, seen: Option<u32>) -> u32 {
        let cursor = self.cursor_word().load(Acquire);
        let Some(seen) = seen else {
            return cursor;
        };
        // CAST: Programs count modulo 2^32.
        let tail = self.tail.0.load(Relaxed) as u32;
        if cursor.wrapping_sub(seen) <= tail.wrapping_sub(seen) {
            cursor
        } else {
            seen
        }
    }

    /// How many entries there are from `seen` on, or from the cursor on, at most all.
    pub(crate) fn available(&self, seen: Option<u32>) -> u32 {
        let first = self.first_unseen(seen);
        if self.published(first).is_none() {
            return 0;
        }
        // CAST: Programs count modulo 2^32.
        let tail = self.tail.0.load(Relaxed) as u32;
        tail.wrapping_sub(first).min(self.entries)
    }

    /// Whether there are at least `nr` entries from `seen` on, or from the cursor on.
    #[inline]
    pub(crate) fn has(&self, seen: Option<u32>, nr: u32) -> bool {
        let first = self.first_unseen(seen);
        // CAST: Programs count modulo 2^32.
        let tail = self.tail.0.load(Relaxed) as u32;
        let last = first.wrapping_add(nr).wrapping_sub(1);
        // Claimed is not published: look at both ends.
        let is_there = |index| self.published(index).is_some();
        tail.wrapping_sub(first) >= nr && is_there(first) && is_there(last)
    }

    /// The index of the next entry to be taken, as programs count.
    pub(crate) fn cursor(&self) -> u32 {
        self.cursor_word().load(Acquire)
    }

    /// Whether there is an entry at `index`, and if so, where the watch is whose level it may
    /// report: that is so if it is the last entry of that watch.
    pub(crate) fn level_at(&self, index: u32) -> Option<Option<u32>> {
        self.published(index)?;
        // Of a lap before, if this entry is not that of a level.
        let place = self.level(index.into()).load(Relaxed);
        Some(Some(place).filter(|place| *place != NO_LEVEL))
    }

    /// The next event for a consumer in the kernel, which is not taken yet: it copies the event to
    /// the program first, and takes it when that has worked.
    pub(crate) fn first(&self) -> Option<First> {
        // Others may be faster, and entries cancelled; a program that keeps moving the cursor
        // gets nothing.
        for _ in 0..self.entries.saturating_mul(2) {
            let index = self.cursor_word().load(Acquire);
            let word = self.published(index)?;
            if word & STATE_MASK == READY {
                let event = self.read(index, word);
                return Some(First { event, index, word });
            }
            // It was cancelled, and is skipped; unless the program has made something of it.
            if self.exchange(&self.slot_ref(index.into())).is_some() {
                self.free(index);
            }
        }
        None
    }

    /// [`Ring::first`], for the usual case: the event is where the cursor is, and reports no level.
    #[inline(always)]
    pub(crate) fn first_plain(&self) -> Option<FirstPlain<'_>> {
        let at = self.slot_ref(self.cursor_word().load(Acquire).into());
        let word = at.word.load(Acquire);
        let is_ready = word & ENTRY_MASK == READY | at.lap;
        if !is_ready || self.level(at.index).load(Relaxed) != NO_LEVEL {
            return None;
        }
        let event = at.read(word);
        Some(FirstPlain { event, at, word })
    }

    /// Takes what [`Ring::first_plain`] returned. `None` if another consumer was faster.
    #[inline(always)]
    pub(crate) fn take_plain(&self, first: &FirstPlain<'_>) -> Option<TakenPlain> {
        let word = self.exchange(&first.at)?;
        if word != first.word {
            return Some(self.changed_plain(first, word));
        }
        // Whose level the slot has was not changed since it was none.
        first.at.free();
        Some(TakenPlain::Same)
    }

    #[cold]
    #[inline(never)]
    fn changed_plain(&self, first: &FirstPlain<'_>, word: u32) -> TakenPlain {
        let event = first.at.read(word);
        first.at.free();
        if word & STATE_MASK == READY {
            TakenPlain::Changed(event)
        } else {
            TakenPlain::Cancelled
        }
    }

    /// Takes what [`Ring::first`] returned, as it is by now. [`Ring::release`] has to follow.
    ///
    /// `None` if another consumer was faster, or it was cancelled.
    #[inline]
    pub(crate) fn take(&self, first: &First) -> Option<Taken> {
        let index = first.index;
        let word = self.exchange(&self.slot_ref(index.into()))?;
        if word & STATE_MASK != READY {
            self.free(index);
            return None;
        }
        // What merges into an entry changes its word only.
        let changed = (word != first.word).then(|| self.read(index, word));
        Some(Taken { changed, index })
    }

    /// Moves the cursor beyond a slot and takes the word there; `None` if another consumer was
    /// faster.
    #[inline(always)]
    fn exchange(&self, at: &SlotRef<'_>) -> Option<u32> {
        // CAST: Programs count modulo 2^32.
        let index = at.index as u32;
        let next = index.wrapping_add(1);
        self.cursor_word().cmpxchg(index, next, Full).ok()?;
        Some(at.word.xchg(TAKEN, Full))
    }

    /// Puts together the event in the slot of `index`, whose word is `word`.
    fn read(&self, index: u32, word: u32) -> Event {
        self.slot_ref(index.into()).read(word)
    }

    /// Frees the slot of an event that was taken.
    #[inline]
    pub(crate) fn release(&self, taken: &Taken) {
        self.free(taken.index);
    }

    /// Frees the slot of `index`, whose word was taken.
    #[inline]
    fn free(&self, index: u32) {
        // Only now: the slot is not claimed before it is free.
        self.level(index.into()).store(NO_LEVEL, Relaxed);
        self.slot_ref(index.into()).free();
    }
}

#[cfg(CONFIG_KEVENT_KUNIT_TEST)]
#[kunit_tests(kevent_ring)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn event(n: u64) -> Event {
        Event(uapi::kevent_event {
            user_data: n,
            events: 1,
            info: uapi::KEVENT_SOURCE_USER,
            data: -1,
            extra: !n,
        })
    }

    pub(crate) fn take(ring: &Ring) -> Option<uapi::kevent_event> {
        let first = ring.first()?;
        let taken = ring.take(&first)?;
        ring.release(&taken);
        Some(taken.changed.unwrap_or(first.event).0)
    }

    /// Takes an event as a program does that has used up its level.
    #[cfg(CONFIG_KEVENT_BENCHMARK)]
    pub(crate) fn take_exhausted(ring: &Ring) -> Option<Index> {
        let first = ring.first()?;
        let index = ring.take(&first)?.index.into();
        ring.word(index).store(ring.lap(index) | EXHAUSTED, Release);
        Some(index)
    }

    fn taken(ring: &Ring) -> Option<u64> {
        take(ring).map(|e| e.user_data)
    }

    #[test]
    fn sizes() {
        assert!(Ring::new(0).is_err());
        assert!(Ring::new(3).is_err());
        assert!(Ring::new(2 * uapi::KEVENT_MAX_ENTRIES).is_err());
        assert_eq!(Ring::size_for(2), kernel::page::PAGE_SIZE);
        assert!(Ring::new(uapi::KEVENT_MAX_ENTRIES).is_ok());
    }

    #[test]
    fn payload_comes_out_as_it_went_in() -> Result {
        let ring = Ring::new(2)?;
        assert_eq!(ring.publish(&event(7)), Some(0));
        let e = take(&ring).ok_or(ENOENT)?;
        assert_eq!((e.user_data, e.events, e.data, e.extra), (7, 1, -1, !7));
        assert_eq!(e.info, uapi::KEVENT_SOURCE_USER);
        assert!(take(&ring).is_none());
        Ok(())
    }

    #[test]
    fn full_ring_refuses_and_keeps_order_over_many_laps() -> Result {
        let ring = Ring::new(4)?;
        let mut next = 0;
        for n in 0..1000u64 {
            while ring.publish(&event(next)).is_some() {
                next += 1;
            }
            assert_eq!(next, n + 4);
            assert_eq!(ring.available(None), 4);
            assert_eq!(taken(&ring), Some(n));
        }
        Ok(())
    }

    #[test]
    fn claimed_slot_is_not_claimed_again() -> Result {
        let ring = Ring::new(2)?;
        // A producer claims index 0 and is preempted before it publishes.
        ring.tail.0.store(1, Relaxed);
        assert_eq!(ring.publish(&event(1)), Some(1));
        assert_eq!(ring.publish(&event(2)), None);
        assert!(!ring.has(None, 1));
        Ok(())
    }

    #[test]
    fn merge_into_unconsumed_only() -> Result {
        let ring = Ring::new(2)?;
        let index = ring.publish(&event(1)).ok_or(ENOSPC)?;
        assert!(ring.is_unconsumed(index));
        assert_eq!(ring.merge(index, 4, 1), Merge::Done(0));
        assert_eq!(ring.merge(index, 8, 1), Merge::Done(0));
        let e = take(&ring).ok_or(ENOENT)?;
        assert_eq!(
            (e.events, e.info, e.data),
            (13, uapi::KEVENT_SOURCE_USER | 2 << 16, -1)
        );
        assert_eq!(ring.merge(index, 4, 1), Merge::Gone);
        assert!(!ring.is_unconsumed(index));
        Ok(())
    }

    #[test]
    fn merge_never_hits_the_next_lap() -> Result {
        let ring = Ring::new(2)?;
        let index = ring.publish(&event(1)).ok_or(ENOSPC)?;
        assert_eq!(taken(&ring), Some(1));
        // The same slot, 1 to 40 laps later, with the same bits.
        for _ in 0..40 {
            ring.publish(&event(2)).ok_or(ENOSPC)?;
            ring.publish(&event(3)).ok_or(ENOSPC)?;
            assert_eq!(ring.merge(index, 4, 1), Merge::Gone);
            assert_eq!(ring.cancel(index), Merge::Gone);
            assert_eq!(taken(&ring), Some(2));
            assert_eq!(taken(&ring), Some(3));
        }
        Ok(())
    }

    #[test]
    fn merge_count_does_not_overflow() -> Result {
        let ring = Ring::new(2)?;
        let mut counted = event(1);
        counted.0.info |= uapi::KEVENT_INFO_COUNTED;
        counted.0.data = 1;
        let index = ring.publish(&counted).ok_or(ENOSPC)?;
        for _ in 0..MERGED_MAX {
            assert_eq!(ring.merge(index, 1, 1), Merge::Done(0));
        }
        assert_eq!(ring.merge(index, 1, 1), Merge::Done(1));
        let left = u32::MAX - MERGED_MAX;
        assert_eq!(ring.merge(index, 1, u32::MAX), Merge::Done(left));
        let e = take(&ring).ok_or(ENOENT)?;
        assert_eq!(e.data, 1 + i64::from(MERGED_MAX));
        Ok(())
    }

    #[test]
    fn cancelled_is_skipped() -> Result {
        let ring = Ring::new(4)?;
        let first = ring.publish(&event(1)).ok_or(ENOSPC)?;
        ring.publish(&event(2)).ok_or(ENOSPC)?;
        assert_eq!(ring.cancel(first), Merge::Done(0));
        assert_eq!(ring.cancel(first), Merge::Gone);
        assert_eq!(taken(&ring), Some(2));
        assert_eq!(taken(&ring), None);
        Ok(())
    }

    #[test]
    fn slot_with_a_change_under_way_is_given_up() -> Result {
        let ring = Ring::new(2)?;
        ring.slots
            .first()
            .ok_or(EINVAL)?
            .update_lock
            .store(1, Relaxed);
        assert_eq!(ring.publish(&event(1)), Some(1));
        assert_eq!(ring.merge(0, 1, 1), Merge::Gone);
        ring.slots
            .first()
            .ok_or(EINVAL)?
            .update_lock
            .store(0, Relaxed);
        assert_eq!(taken(&ring), Some(1));
        assert_eq!(ring.publish(&event(2)), Some(2));
        ring.slots
            .first()
            .ok_or(EINVAL)?
            .update_lock
            .store(1, Relaxed);
        assert_eq!(ring.merge(2, 1, 1), Merge::Locked);
        Ok(())
    }

    #[test]
    fn is_taken_as_it_is_by_then_and_once() -> Result {
        let ring = Ring::new(2)?;
        let index = ring.publish(&event(1)).ok_or(ENOENT)?;
        ring.publish(&event(2));
        let first = ring.first().ok_or(ENOENT)?;
        let again = ring.first().ok_or(ENOENT)?;
        assert_eq!(ring.merge(index, 4, 1), Merge::Done(0));
        let taken = ring.take(&first).ok_or(ENOENT)?;
        let changed = taken.changed.as_ref().ok_or(ENOENT)?;
        assert_eq!((changed.0.events, changed.0.data), (5, -1));
        assert_eq!(first.event.0.events, 1);
        assert!(ring.take(&again).is_none());
        ring.release(&taken);
        assert_eq!(take(&ring).map(|e| e.user_data), Some(2));
        Ok(())
    }

    #[test]
    fn withdrawn_is_posted_again_with_its_merges() -> Result {
        let ring = Ring::new(2)?;
        let index = ring.publish(&event(1)).ok_or(ENOENT)?;
        assert_eq!(ring.merge(index, 4, 3), Merge::Done(0));
        let Merge::Done(posted) = ring.withdraw(index) else {
            return Err(EINVAL);
        };
        assert_eq!(ring.withdraw(index), Merge::Gone);
        let mut again = event(2);
        again.0.events = posted | 8;
        ring.publish(&again).ok_or(ENOENT)?;
        let e = take(&ring).ok_or(ENOENT)?;
        assert_eq!((e.user_data, e.events, e.info >> 16), (2, 13, 3));
        assert!(take(&ring).is_none());
        Ok(())
    }

    #[test]
    fn mark_is_that_of_one_entry() -> Result {
        let ring = Ring::new(2)?;
        let index = ring.publish(&event(1)).ok_or(ENOENT)?;
        assert!(!ring.is_exhausted(index));
        assert_eq!(taken(&ring), Some(1));
        assert!(!ring.is_exhausted(index));
        ring.word(index).store(ring.lap(index) | EXHAUSTED, Release);
        assert!(ring.is_exhausted(index));
        // Sixteen laps later, with the same mark.
        for _ in 0..32 {
            let later = ring.publish(&event(2)).ok_or(ENOSPC)?;
            assert_eq!(taken(&ring), Some(2));
            ring.word(later).store(ring.lap(later) | EXHAUSTED, Release);
            assert!(ring.is_exhausted(later));
        }
        assert_eq!(ring.word(index).load(Relaxed), ring.lap(index) | EXHAUSTED);
        assert!(!ring.is_exhausted(index));
        Ok(())
    }

    #[test]
    fn cancelled_is_not_taken() -> Result {
        let ring = Ring::new(2)?;
        let index = ring.publish(&event(1)).ok_or(ENOENT)?;
        ring.publish(&event(2));
        let first = ring.first().ok_or(ENOENT)?;
        assert_eq!(ring.cancel(index), Merge::Done(0));
        assert!(ring.take(&first).is_none());
        assert_eq!(taken(&ring), Some(2));
        assert!(ring.first().is_none());
        Ok(())
    }

    #[test]
    fn cursor_ahead_of_the_exchange_is_not_overtaken() -> Result {
        let ring = Ring::new(2)?;
        ring.publish(&event(1)).ok_or(ENOSPC)?;
        ring.publish(&event(2)).ok_or(ENOSPC)?;
        // A consumer moves the cursor and is then preempted.
        ring.cursor_word().store(1, Relaxed);
        assert_eq!(taken(&ring), Some(2));
        assert_eq!(taken(&ring), None);
        assert!(!ring.has(None, 1));
        assert_eq!(ring.available(None), 0);
        assert_eq!(ring.publish(&event(3)), None);
        // It goes on.
        ring.word(0).xchg(TAKEN, Full);
        ring.word(0).store(FREE, Release);
        assert_eq!(ring.publish(&event(3)), Some(2));
        assert_eq!(taken(&ring), Some(3));
        Ok(())
    }

    #[test]
    fn seen_index_is_compared_with_what_was_published() -> Result {
        let ring = Ring::new(4)?;
        assert!(!ring.has(Some(0), 1));
        ring.publish(&event(1)).ok_or(ENOSPC)?;
        ring.publish(&event(2)).ok_or(ENOSPC)?;
        assert!(ring.has(Some(0), 2) && !ring.has(Some(0), 3));
        assert!(ring.has(Some(1), 1) && !ring.has(Some(1), 2));
        assert!(!ring.has(Some(2), 1));
        // Another consumer is faster: what the caller has not seen is gone all the same.
        assert_eq!(taken(&ring), Some(1));
        assert!(ring.has(Some(0), 1) && !ring.has(Some(0), 2));
        assert_eq!(ring.available(Some(0)), 1);
        Ok(())
    }

    #[test]
    fn nonsense_in_the_mapping_is_survived() -> Result {
        let ring = Ring::new(4)?;
        let mut seed = 1u32;
        for _ in 0..10000 {
            seed = seed.wrapping_mul(1664525).wrapping_add(1013904223);
            ring.word((seed >> 8).into()).store(seed, Relaxed);
            ring.cursor_word().store(seed.rotate_left(7), Relaxed);
            let index = ring.publish(&event(1)).unwrap_or(0);
            ring.merge(index, seed, 1);
            ring.cancel(index.wrapping_sub(seed.into()));
            take(&ring);
            assert!(ring.available(Some(seed)) <= 4);
            ring.has(Some(seed), seed);
        }
        Ok(())
    }
}
