// SPDX-License-Identifier: MIT

//! The consumer's side of the mapped ring.
//!
//! The protocol is the one that `include/uapi/linux/kevent.h` writes down at `struct kevent_ring`.
//! In short: index `i` lives in slot `i % entries`. The only word of an entry that both sides write
//! is its `events` word, and zero there means that the slot is free. The kernel fills the other
//! fields and then publishes the word; a consumer claims the index by moving the cursor on, takes
//! the entry with one exchange of the word, reads the fields, and gives the slot back with a store
//! of zero. There is no shared head or tail, and neither side ever waits for the other.
//!
//! # Why the lap matters
//!
//! An entry is there for index `i` only if its word carries the lap of `i`. A consumer that has
//! moved the cursor past `i` and is preempted before the exchange leaves the word READY. Others may
//! take everything after it and come round to `i + entries`, which lives in the same slot: what
//! they find there is not theirs. The lap shows that, and as no thread gets beyond that slot before
//! the sleeper has woken up, one bit of it would be enough; the kernel needs the other three.
//!
//! # What is not promised
//!
//! A thread that dies between claiming an entry and giving the slot back keeps that slot, and the
//! ring stops there one lap later; threads of one process do not die alone, and no other process may
//! map the ring. And a program that can write the mapping can write nonsense: it then gets nonsense out. None
//! of it is undefined behaviour, for everything in the mapping is read and written as atomics and no
//! index is believed.

#[cfg(all(test, loom))]
mod loom_tests;
#[cfg(test)]
mod model;
#[cfg(all(test, feature = "std", not(loom)))]
mod tests;

use crate::event::Event;
use crate::sync::{AtomicU32, AtomicU64, Ordering, fence};
use crate::sys;

/// A slot of the ring: `struct kevent_event`, each field an atomic.
///
/// Only `events` needs to be one for the protocol. The others are, because a program that disagrees
/// with itself about the protocol must get wrong values and not undefined behaviour.
#[repr(C)]
pub(crate) struct Slot {
    pub(crate) user_data: AtomicU64,
    pub(crate) word: AtomicU32,
    pub(crate) info: AtomicU32,
    pub(crate) data: AtomicU64,
    pub(crate) extra: AtomicU64,
}

#[cfg(not(all(loom, test)))]
const _: () = {
    use core::mem::{align_of, offset_of, size_of};

    assert!(size_of::<Slot>() == size_of::<sys::kevent_event>());
    assert!(align_of::<Slot>() == 8);
    assert!(offset_of!(Slot, user_data) == offset_of!(sys::kevent_event, user_data));
    assert!(offset_of!(Slot, word) == offset_of!(sys::kevent_event, events));
    assert!(offset_of!(Slot, info) == offset_of!(sys::kevent_event, info));
    assert!(offset_of!(Slot, data) == offset_of!(sys::kevent_event, data));
    assert!(offset_of!(Slot, extra) == offset_of!(sys::kevent_event, extra));
};

/// The consumer's algorithm on a cursor and a power of two of slots, wherever they live: in the
/// mapping, in a test, or in the model checker.
#[derive(Clone, Copy)]
pub(crate) struct Consumer<'a> {
    cursor: &'a AtomicU32,
    /// At least one.
    slots: &'a [Slot],
    /// By what an index is multiplied for its lap to be where the word has it.
    lap_unit: u32,
}

/// What is left of what an event has reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rest {
    /// Maybe something.
    Unknown,
    /// Nothing: after the event was taken, a read or write failed with `EAGAIN`, or was a short one of a
    /// stream of bytes, for every bit of the event. If that is not true, what is left may never be
    /// reported. `EAGAIN` is certain; a short read is not if it is one of a terminal's line, or ends at
    /// an urgent byte, at ancillary data, or at a TLS record.
    Nothing,
}

/// A slot whose entry was taken. It is freed when this is dropped.
struct Held<'a> {
    slot: &'a Slot,
    /// What it is freed with.
    free: u32,
}

impl Drop for Held<'_> {
    #[inline]
    fn drop(&mut self) {
        // Release: what was read of the entry was read before the kernel can fill the slot again.
        self.slot.word.store(self.free, Ordering::Release);
    }
}

impl<'a> Consumer<'a> {
    /// `slots.len()` must be a power of two and at most `KEVENT_MAX_ENTRIES`, else entries are not found.
    ///
    /// # Safety
    ///
    /// There must be at least one slot.
    #[inline]
    pub(crate) unsafe fn new(cursor: &'a AtomicU32, slots: &'a [Slot]) -> Consumer<'a> {
        debug_assert!(slots.len().is_power_of_two());
        Consumer {
            cursor,
            slots,
            lap_unit: (1 << sys::KEVENT_WORD_LAP_SHIFT) >> slots.len().trailing_zeros(),
        }
    }

    #[inline]
    fn slot(&self, index: u32) -> &'a Slot {
        let index = index as usize & (self.slots.len() - 1);

        // SAFETY: there is at least one, so that is at most the last one's index.
        unsafe { self.slots.get_unchecked(index) }
    }

    /// The lap of `index`, where it is in the word.
    #[inline]
    fn lap(&self, index: u32) -> u32 {
        index.wrapping_mul(self.lap_unit)
            & (sys::KEVENT_WORD_LAP_MASK << sys::KEVENT_WORD_LAP_SHIFT)
    }

    /// Looks for the entry at the cursor: its index, slot and word, or the index at which there is
    /// nothing yet. Entries whose watch is gone are dropped on the way.
    #[inline]
    fn front(&self) -> Result<(u32, &'a Slot, u32), u32> {
        const LAP: u32 = sys::KEVENT_WORD_LAP_MASK << sys::KEVENT_WORD_LAP_SHIFT;
        const STATE: u32 = sys::KEVENT_WORD_STATE_MASK;

        loop {
            // Acquire, and release where the cursor is moved: who sees the cursor at `index` also
            // sees that the slot had its entry of one lap ago. Without it, a word from sixteen laps
            // ago would be a legal answer to the load below.
            let index = self.cursor.load(Ordering::Acquire);
            // Acquire: pairs with the kernel's release when it publishes, for peek(). For take()
            // the exchange does the same again, and is the one that counts.
            let slot = self.slot(index);
            let word = slot.word.load(Ordering::Acquire);
            let lap = self.lap(index);

            match word & (STATE | LAP) {
                found if found == sys::KEVENT_WORD_READY | lap => return Ok((index, slot, word)),
                found if found == sys::KEVENT_WORD_CANCELLED | lap => {
                    let _ = self.claim(index, slot);
                }
                // Nothing there, unless another consumer was faster between the two loads.
                _ if self.cursor.load(Ordering::Acquire) == index => return Err(index),
                _ => {}
            }
        }
    }

    /// Takes the entry at `index`, in `slot`, if the cursor is still there and it is not cancelled meanwhile.
    #[inline]
    fn claim(&self, index: u32, slot: &Slot) -> Option<Event> {
        let (event, held) = self.hold(index, slot)?;

        drop(held);
        event
    }

    /// Takes the entry at `index`, in `slot`, if the cursor is still there. The slot is not free before the
    /// second is dropped. The event is missing if it was cancelled meanwhile.
    #[inline]
    fn hold<'s>(&self, index: u32, slot: &'s Slot) -> Option<(Option<Event>, Held<'s>)> {
        // Release: see front(). The index is this thread's alone from here on.
        self.cursor
            .compare_exchange(
                index,
                index.wrapping_add(1),
                Ordering::AcqRel,
                Ordering::Relaxed,
            )
            .ok()?;

        // Acquire: pairs with the kernel's release when it published or merged, so that the fields
        // below are those of this entry. An exchange and not a store, because a merge or a cancel
        // may hit the word until this very moment: what comes out is final, and theirs fails after.
        // Release: another consumer that finds TAKEN here also finds the cursor moved on, and does
        // not mistake this slot for the end of what there is.
        let word = slot.word.swap(sys::KEVENT_WORD_TAKEN, Ordering::AcqRel);
        let event = Event::from_entry(
            word,
            sys::kevent_event {
                user_data: slot.user_data.load(Ordering::Relaxed),
                events: 0,
                info: slot.info.load(Ordering::Relaxed),
                data: slot.data.load(Ordering::Relaxed) as i64,
                extra: slot.extra.load(Ordering::Relaxed),
            },
        );
        let held = Held {
            slot,
            free: sys::KEVENT_WORD_FREE,
        };
        let is_ready = word & sys::KEVENT_WORD_STATE_MASK == sys::KEVENT_WORD_READY;

        Some((is_ready.then_some(event), held))
    }

    /// Takes the next event and hands it to `serve`, before its slot is free. If that has used all that
    /// the event reports, the slot is freed with the exhausted mark. Fails with the index up to which
    /// everything has been taken.
    #[inline]
    pub(crate) fn serve(&self, serve: impl FnOnce(Event) -> Rest) -> Result<(), u32> {
        loop {
            let (index, slot, _) = self.front()?;

            if let Some((Some(event), mut held)) = self.hold(index, slot) {
                if serve(event) == Rest::Nothing {
                    held.free = self.lap(index) | sys::KEVENT_WORD_EXHAUSTED;
                }
                return Ok(());
            }
        }
    }

    /// Takes the next event, or gives the index up to which everything has been taken.
    #[inline]
    pub(crate) fn take(&self) -> Result<Event, u32> {
        loop {
            let (index, slot, _) = self.front()?;

            if let Some(event) = self.claim(index, slot) {
                return Ok(event);
            }
        }
    }

    /// Copies the next event without taking it.
    pub(crate) fn peek(&self) -> Option<Event> {
        loop {
            let (index, slot, word) = self.front().ok()?;
            let event = Event::from_entry(
                word,
                sys::kevent_event {
                    user_data: slot.user_data.load(Ordering::Relaxed),
                    events: 0,
                    info: slot.info.load(Ordering::Relaxed),
                    data: slot.data.load(Ordering::Relaxed) as i64,
                    extra: slot.extra.load(Ordering::Relaxed),
                },
            );

            // Acquire: the loads above come before those below. If the cursor has not moved,
            // no thread took the entry, so the slot was not filled again; if the word is the same, no
            // merge or cancel came in between. The other half of it is that a slot is filled only
            // by who has found it free, with acquire order, after the cursor had moved.
            fence(Ordering::Acquire);
            if slot.word.load(Ordering::Relaxed) == word
                && self.cursor.load(Ordering::Relaxed) == index
            {
                return Some(event);
            }
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.front().is_err()
    }
}

#[cfg(all(feature = "std", not(all(loom, test))))]
pub use mapped::Ring;
#[cfg(not(all(loom, test)))]
pub use view::{Geometry, Stats, View};

#[cfg(not(all(loom, test)))]
mod view {
    use super::{Consumer, Rest, Slot};
    use crate::error::Error;
    use crate::event::Event;
    use crate::sync::{AtomicU32, AtomicU64, Ordering};
    use crate::sys;
    use core::fmt;
    use core::mem::{align_of, offset_of, size_of};
    use core::ptr::NonNull;

    /// The shape of a queue's mapping, as `kevent_create(2)` gives it.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Geometry {
        /// Slots in the ring, a power of two; 0 without a ring.
        pub ring_entries: u32,
        /// Where the slots begin in the mapping, in bytes.
        pub entries_offset: u32,
        /// Length for `mmap(2)` at offset 0, in bytes; 0 without a ring.
        pub mmap_size: u64,
    }

    impl Geometry {
        /// The length of the mapping, if all of this fits together.
        pub(super) fn len(&self) -> Option<usize> {
            let len = usize::try_from(self.mmap_size).ok()?;
            let slots = (self.ring_entries as usize).checked_mul(size_of::<Slot>())?;
            let end = (self.entries_offset as usize).checked_add(slots)?;
            let good = self.ring_entries.is_power_of_two()
                && self.ring_entries <= sys::KEVENT_MAX_ENTRIES
                && self.entries_offset as usize >= size_of::<Header>()
                && self.entries_offset as usize % align_of::<Slot>() == 0
                && end <= len;

            good.then_some(len)
        }
    }

    /// Counters that the kernel keeps in the ring's header, as of the last system call on the queue.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Stats {
        /// Entries ever published, those without an event too.
        pub posted: u64,
        /// Occurrences that found their entry unconsumed.
        pub merged: u64,
        /// Events that had to wait in the backlog.
        pub deferred: u64,
        /// Wake-ups of a waiting thread.
        pub woken: u64,
        /// Entries that were published without a wake-up.
        pub saved: u64,
    }

    /// `struct kevent_ring`, each field an atomic.
    #[repr(C)]
    struct Header {
        entries: AtomicU32,
        entries_offset: AtomicU32,
        event_size: AtomicU32,
        __resv0: [AtomicU32; 13],
        flags: AtomicU32,
        __resv1: AtomicU32,
        posted: AtomicU64,
        merged: AtomicU64,
        deferred: AtomicU64,
        woken: AtomicU64,
        saved: AtomicU64,
        __resv2: [AtomicU64; 2],
        cursor: AtomicU32,
        __resv3: [AtomicU32; 15],
    }

    const _: () = {
        assert!(size_of::<Header>() == size_of::<sys::kevent_ring>());
        assert!(align_of::<Header>() == 8);
        assert!(offset_of!(Header, flags) == offset_of!(sys::kevent_ring, flags));
        assert!(offset_of!(Header, posted) == offset_of!(sys::kevent_ring, posted));
        assert!(offset_of!(Header, merged) == offset_of!(sys::kevent_ring, merged));
        assert!(offset_of!(Header, deferred) == offset_of!(sys::kevent_ring, deferred));
        assert!(offset_of!(Header, woken) == offset_of!(sys::kevent_ring, woken));
        assert!(offset_of!(Header, saved) == offset_of!(sys::kevent_ring, saved));
        assert!(offset_of!(Header, cursor) == offset_of!(sys::kevent_ring, cursor));
    };

    /// The ring in memory that other code has mapped: what `Ring` is built on, and all of it that
    /// needs no `std`.
    ///
    /// Nothing here makes a system call, and nothing blocks. Any number of threads may take events
    /// at once; each event comes out once.
    #[derive(Clone, Copy)]
    pub struct View<'a> {
        header: &'a Header,
        slots: &'a [Slot],
    }

    impl<'a> View<'a> {
        /// The ring of this shape at `base`.
        ///
        /// # Errors
        ///
        /// [`Invalid`](Error::Invalid): the geometry is not one of a ring, or `base` is not a
        /// multiple of 64.
        ///
        /// # Safety
        ///
        /// At `base` there must be a mapping of the queue, or other memory with nothing but integers
        /// in it, of `geometry.mmap_size` bytes, readable and writable for as long as `'a`, and
        /// accessed by nothing in this program but as atomics. What is in it does not matter.
        pub unsafe fn from_raw(base: NonNull<u8>, geometry: &Geometry) -> Result<View<'a>, Error> {
            if geometry.len().is_none() || base.addr().get() % 64 != 0 {
                return Err(Error::Invalid);
            }
            // SAFETY: the caller vouches for the memory; len() has checked that it is large enough
            // for both, and that the slots are aligned.
            Ok(unsafe { View::at(base, geometry.ring_entries, geometry.entries_offset) })
        }

        /// # Safety
        ///
        /// As [`View::from_raw()`], of a geometry that was checked, so `entries` is not 0.
        #[inline]
        pub(super) unsafe fn at(base: NonNull<u8>, entries: u32, offset: u32) -> View<'a> {
            // SAFETY: the caller vouches for memory, alignment and size.
            unsafe {
                let slots = base.add(offset as usize).cast::<Slot>();

                View {
                    header: base.cast::<Header>().as_ref(),
                    slots: core::slice::from_raw_parts(slots.as_ptr(), entries as usize),
                }
            }
        }

        #[inline]
        fn consumer(&self) -> Consumer<'a> {
            // SAFETY: at() was called with more than none.
            unsafe { Consumer::new(&self.header.cursor, self.slots) }
        }

        /// Takes the next event, or returns `None` if there is nothing in the ring.
        #[inline]
        pub fn take(&self) -> Option<Event> {
            self.consumer().take().ok()
        }

        /// Takes the next event and hands it to `serve`; whether there is one. See
        /// [`Ring::serve()`](crate::Ring::serve).
        #[inline]
        pub fn serve(&self, serve: impl FnOnce(Event) -> Rest) -> bool {
            self.consumer().serve(serve).is_ok()
        }

        /// [`serve()`](View::serve), which fails with the cursor at which there was nothing.
        #[cfg_attr(not(feature = "std"), allow(dead_code))]
        #[inline]
        pub(crate) fn serve_or_seen(&self, serve: impl FnOnce(Event) -> Rest) -> Result<(), u32> {
            self.consumer().serve(serve)
        }

        /// The number of slots and where they begin, as the header says.
        #[cfg(feature = "std")]
        pub(super) fn says(&self) -> (u32, u32) {
            let header = self.header;

            (
                header.entries.load(Ordering::Relaxed),
                header.entries_offset.load(Ordering::Relaxed),
            )
        }

        /// Takes the next event, or gives the cursor at which there was none: what
        /// [`Wait::seen()`](crate::Wait::seen) wants.
        ///
        /// # Errors
        ///
        /// The cursor, if there is nothing.
        #[inline]
        pub fn take_or_seen(&self) -> Result<Event, u32> {
            self.consumer().take()
        }

        /// Copies the next event and leaves it in the ring.
        pub fn peek(&self) -> Option<Event> {
            self.consumer().peek()
        }

        /// Whether there is nothing to take now.
        pub fn is_empty(&self) -> bool {
            self.consumer().is_empty()
        }

        /// The index of the next entry to take, modulo 2³².
        #[inline]
        pub fn cursor(&self) -> u32 {
            self.header.cursor.load(Ordering::Acquire)
        }

        /// The number of slots, a power of two.
        pub fn entries(&self) -> u32 {
            self.slots.len() as u32
        }

        /// The ring was full and events wait in the kernel for free slots.
        #[inline]
        pub fn has_backlog(&self) -> bool {
            self.flags() & sys::KEVENT_RING_BACKLOG != 0
        }

        /// The kernel cannot say what holds before it polls: it does so when the program waits next.
        #[inline]
        pub fn wants_recheck(&self) -> bool {
            self.flags() & sys::KEVENT_RING_RECHECK != 0
        }

        #[inline]
        pub(crate) fn flags(&self) -> u32 {
            self.header.flags.load(Ordering::Relaxed)
        }

        /// What the kernel counted, as of the last system call on the queue.
        pub fn stats(&self) -> Stats {
            let header = self.header;

            Stats {
                posted: header.posted.load(Ordering::Relaxed),
                merged: header.merged.load(Ordering::Relaxed),
                deferred: header.deferred.load(Ordering::Relaxed),
                woken: header.woken.load(Ordering::Relaxed),
                saved: header.saved.load(Ordering::Relaxed),
            }
        }
    }

    impl fmt::Debug for View<'_> {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.debug_struct("View")
                .field("entries", &self.entries())
                .field("cursor", &self.cursor())
                .field("flags", &self.flags())
                .finish()
        }
    }
}

#[cfg(all(feature = "std", not(all(loom, test))))]
mod mapped {
    use super::{Geometry, Rest, Stats, View};
    use crate::error::Error;
    use crate::event::Event;
    use crate::fork::Process;
    use core::fmt;
    use core::ptr::NonNull;
    use std::os::fd::{AsRawFd, BorrowedFd};

    /// The ring of a [`Queue`](crate::Queue), mapped into this process.
    ///
    /// Nothing here makes a system call, and nothing blocks. Any number of threads may take events
    /// at once; each event comes out once. The mapping goes away with the value.
    ///
    /// # fork
    ///
    /// `fork(2)` does not hand the mapping down. A `Ring` that a child has inherited says so
    /// ([`is_inherited()`](Ring::is_inherited)), is empty for ever, and touches no memory, not even
    /// when it is dropped.
    pub struct Ring {
        base: NonNull<u8>,
        len: usize,
        entries: u32,
        entries_offset: u32,
        /// Where the mapping is.
        process: Process,
    }

    // SAFETY: the value owns its mapping, which is the process's, not a thread's.
    unsafe impl Send for Ring {}
    // SAFETY: everything behind `base` is accessed as atomics.
    unsafe impl Sync for Ring {}

    impl Ring {
        /// Maps the ring of the queue `fd`.
        ///
        /// `fd` must be a kevent queue, or else memory whose size never shrinks: the pages of other
        /// files can go away under the mapping, which is a `SIGBUS`.
        pub(crate) fn map(fd: BorrowedFd<'_>, geometry: &Geometry) -> Result<Ring, Error> {
            let len = geometry.len().ok_or(Error::Invalid)?;
            let process = Process::current()?;

            // SAFETY: a new mapping, at an address of the kernel's choice, touches nothing else.
            let base = unsafe {
                libc::mmap(
                    core::ptr::null_mut(),
                    len,
                    libc::PROT_READ | libc::PROT_WRITE,
                    libc::MAP_SHARED,
                    fd.as_raw_fd(),
                    0,
                )
            };
            if base == libc::MAP_FAILED {
                return Err(Error::last());
            }
            let base = NonNull::new(base.cast::<u8>()).ok_or(Error::Invalid)?;

            // As the kernel does it by itself to a queue's mapping; the tests have other memory.
            // SAFETY: it is our own mapping.
            unsafe { libc::madvise(base.as_ptr().cast(), len, libc::MADV_DONTFORK) };
            Ok(Ring {
                base,
                len,
                entries: geometry.ring_entries,
                entries_offset: geometry.entries_offset,
                process,
            })
        }

        /// What is mapped, unless this is a forked child.
        #[inline]
        pub(crate) fn view(&self) -> Option<View<'_>> {
            if !self.process.is_current() {
                return None;
            }
            // SAFETY: map() has checked the geometry; the mapping is page-aligned, lives as long as
            // `self`, is in this process, and holds nothing but integers, all accessed as atomics.
            Some(unsafe { View::at(self.base, self.entries, self.entries_offset) })
        }

        /// Whether its header says that it has this shape.
        pub(crate) fn is_of(&self, geometry: &Geometry) -> bool {
            let shape = (geometry.ring_entries, geometry.entries_offset);

            self.view().is_some_and(|view| view.says() == shape)
        }

        /// Where it is mapped.
        #[cfg(test)]
        pub(super) fn range(&self) -> (*mut libc::c_void, usize) {
            (self.base.as_ptr().cast(), self.len)
        }

        /// Whether it was inherited by `fork(2)`, and so is not there.
        #[inline]
        pub fn is_inherited(&self) -> bool {
            !self.process.is_current()
        }

        /// Takes the next event, or returns `None` if there is nothing in the ring.
        ///
        /// The kernel may still hold events back, see [`has_backlog()`](Ring::has_backlog), and it
        /// polls level watches again only when it is entered: a program that never sleeps should
        /// use [`Queue::try_next()`](crate::Queue::try_next), which does what is needed.
        // A call and its result would be a third of it.
        #[inline(always)]
        pub fn take(&self) -> Option<Event> {
            self.view()?.take()
        }

        /// Takes the next event and hands it to `serve`, whose result says whether anything is left of
        /// what it reports; whether there is one.
        ///
        /// Nothing is left of a level if a read or write failed with `EAGAIN`, or was a short one of a
        /// stream of bytes. The kernel then need not poll it when the program waits next. That pays for
        /// programs that wait often; kernels without it do not mind. The event's slot is free only after
        /// that, also if `serve` panics, so a program that serves for long needs more slots.
        ///
        /// [`Queue::serve()`](crate::Queue::serve) sleeps if there is nothing.
        // As take().
        #[inline(always)]
        pub fn serve(&self, serve: impl FnOnce(Event) -> Rest) -> bool {
            self.view().is_some_and(|view| view.serve(serve))
        }

        /// Takes the next event, or gives the cursor at which there was none: what
        /// [`Wait::seen()`](crate::Wait::seen) wants.
        ///
        /// # Errors
        ///
        /// The cursor, if there is nothing; 0 in a forked child.
        #[inline]
        pub fn take_or_seen(&self) -> Result<Event, u32> {
            self.view().ok_or(0u32)?.take_or_seen()
        }

        /// Copies the next event and leaves it in the ring.
        ///
        /// Further occurrences may still merge into it, another thread may take it, and removing
        /// its watch may cancel it.
        pub fn peek(&self) -> Option<Event> {
            self.view()?.peek()
        }

        /// Whether there is nothing to take now.
        pub fn is_empty(&self) -> bool {
            self.view().is_none_or(|view| view.is_empty())
        }

        /// Takes events until there are no more.
        ///
        /// Those that arrive meanwhile are included, so a producer that is fast enough keeps this
        /// going forever: use [`Iterator::take()`] for a limit.
        pub fn drain(&self) -> impl Iterator<Item = Event> + '_ {
            core::iter::from_fn(move || self.take())
        }

        /// The index of the next entry to take, modulo 2³²; 0 in a forked child.
        #[inline]
        pub fn cursor(&self) -> u32 {
            self.view().map_or(0, |view| view.cursor())
        }

        /// The number of slots, a power of two.
        pub fn entries(&self) -> u32 {
            self.entries
        }

        /// The ring was full and events wait in the kernel for free slots.
        ///
        /// They move into the ring, in order, when the program next waits.
        pub fn has_backlog(&self) -> bool {
            self.view().is_some_and(|view| view.has_backlog())
        }

        /// A wake-up did not say what it is for: the kernel polls those watches when the program
        /// waits next.
        pub fn wants_recheck(&self) -> bool {
            self.view().is_some_and(|view| view.wants_recheck())
        }

        /// What the kernel counted, as of the last system call on the queue.
        pub fn stats(&self) -> Stats {
            self.view().map(|view| view.stats()).unwrap_or_default()
        }
    }

    impl Drop for Ring {
        fn drop(&mut self) {
            if self.is_inherited() {
                return;
            }
            // SAFETY: the range is this value's own mapping, in the process that made it, and no
            // reference into it is left.
            unsafe { libc::munmap(self.base.as_ptr().cast(), self.len) };
        }
    }

    impl fmt::Debug for Ring {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.debug_struct("Ring")
                .field("entries", &self.entries)
                .field("cursor", &self.cursor())
                .field("backlog", &self.has_backlog())
                .field("recheck", &self.wants_recheck())
                .finish()
        }
    }
}
