// SPDX-License-Identifier: GPL-2.0-only

//! One watch, and its state machine.
//!
//! A watch belongs to a queue and has a source that fires it: [`fire`]. What it has to tell goes
//! where there is a place for it, without allocating, sleeping or taking a lock that producers on
//! different CPUs share:
//!
//! * into the entry that the watch has in the ring, if that is untaken: [`Ring::merge`];
//! * into a new entry;
//! * if there is no free slot, into the watch itself, which waits in the backlog.
//!
//! # States
//!
//! One word says what a watch is doing. Bits of events that are still to be told are in it too, so
//! that whoever finds the watch owned, waiting or switched off leaves them there and is done:
//!
//! ```text
//!              fire                     no free slot
//!     idle ------------> OWNED ----------------------------> WAITS
//!       ^                  |  ^                                |
//!       +------------------+  +--------------------------------+
//!          told, nothing new          slots were freed
//! ```
//!
//! * `OWNED`: one CPU tells. It looks for new bits before it lets go.
//! * `WAITS`: in the backlog. Whoever moves the backlog takes ownership.
//! * `OFF`: switched off by the program; `SPENT`: by its last event, in DISPATCH mode.
//! * `GONE`: removed by the program; `ONCE`: by its last event, in ONESHOT mode.
//!
//! An event that changes the state, as in DISPATCH and ONESHOT mode, does so before it can be seen:
//! the program may take it at once and switch the watch on again. If there is no place for the
//! event, or it turns out to be none, that is undone.
//!
//! [`Ring::merge`]: crate::ring::Ring::merge

use kernel::{
    prelude::*,
    sync::{
        atomic::{
            ordering::{
                Full,
                Relaxed, //
            },
            Atomic, //
        },
        Arc,
        ArcBorrow, //
    },
    uapi, //
};

use crate::{
    event::Event,
    queue::Queue,
    ring::{
        Index,
        Merge, //
    },
    source::Source, //
};

const EVENTS: u32 = uapi::KEVENT_EVENTS_MASK;
const OWNED: u32 = 1 << 31;
const WAITS: u32 = 1 << 30;
const OFF: u32 = 1 << 29;
const GONE: u32 = 1 << 28;
const SPENT: u32 = 1 << 27;
const ONCE: u32 = 1 << 26;

/// Nothing is told in these states.
const SILENT: u32 = OFF | GONE | SPENT | ONCE;

/// The watch has no entry in the ring.
const NO_ENTRY: Index = Index::MAX;

/// Where a watch's event went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    /// A new entry, or one that was not there before.
    Anew,
    /// The program has not taken the one before.
    Merged,
    /// Nowhere yet: the watch is switched off, waits, or somebody else is telling.
    Later,
    /// Nowhere: the one before had it already.
    Nothing,
}

/// A watch.
#[pin_data]
pub(crate) struct Watch<S: ?Sized = dyn Source> {
    queue: Arc<Queue>,
    user_data: Atomic<u64>,
    state: Atomic<u32>,
    /// `KEVENT_WATCH_*` flags.
    mode: Atomic<u32>,
    /// The index of the last entry. Used by the owner only.
    entry: Atomic<Index>,
    /// Occurrences that have not been told.
    owed: Atomic<u64>,
    #[pin]
    pub(crate) source: S,
}

impl<S: Source> Watch<S> {
    /// Makes a watch from a change record.
    pub(crate) fn new(
        queue: Arc<Queue>,
        record: &uapi::kevent_watch,
        source: impl PinInit<S, Error>,
    ) -> Result<Arc<Self>> {
        let off = record.flags & uapi::KEVENT_WATCH_DISABLED != 0;
        Arc::pin_init(
            try_pin_init!(Self {
                queue,
                user_data: Atomic::new(record.user_data),
                state: Atomic::new(if off { OFF } else { 0 }),
                mode: Atomic::new(record.flags),
                entry: Atomic::new(NO_ENTRY),
                owed: Atomic::new(0),
                source <- source,
            }),
            GFP_KERNEL_ACCOUNT,
        )
    }
}

impl<S: Source + ?Sized> Watch<S> {
    pub(crate) fn source(&self) -> &S {
        &self.source
    }

    pub(crate) fn set_user_data(&self, user_data: u64) {
        self.user_data.store(user_data, Relaxed);
    }

    pub(crate) fn set_mode(&self, mode: u32) {
        self.mode.store(mode, Relaxed);
    }

    pub(crate) fn mode(&self) -> u32 {
        self.mode.load(Relaxed)
    }

    pub(crate) fn is_gone(&self) -> bool {
        self.state.load(Relaxed) & (GONE | ONCE) != 0
    }

    /// Whether the program has not taken the last event yet.
    pub(crate) fn is_untaken(&self) -> bool {
        let waits = self.state.load(Relaxed) & WAITS != 0;
        let entry = self.entry.load(Relaxed);
        let ring = self.queue.ring().filter(|_| entry != NO_ENTRY);
        waits || ring.is_some_and(|r| r.is_untaken(entry))
    }

    /// Changes the state to what `new` makes of it, and tells what it was.
    fn change(&self, new: impl Fn(u32) -> u32) -> u32 {
        let mut old = self.state.load(Relaxed);
        loop {
            match self.state.cmpxchg(old, new(old), Full) {
                Ok(_) => return old,
                Err(now) => old = now,
            }
        }
    }

    /// Switches the watch off.
    pub(crate) fn disable(&self) {
        self.change(|state| state | OFF);
    }

    /// From here on the watch tells nothing.
    pub(crate) fn set_gone(&self) {
        self.change(|state| state | GONE);
    }

    /// Whether the watch is gone for good. While it is owned, its last event may still turn out to
    /// have no place, and it goes on waiting then.
    pub(crate) fn is_settled(&self) -> bool {
        let state = self.state.load(Relaxed);
        state & (GONE | ONCE) != 0 && state & (OWNED | WAITS) == 0
    }

    /// Whether there are occurrences that have not been told.
    pub(crate) fn owes(&self) -> bool {
        self.owed.load(Relaxed) != 0
    }

    /// Asks for [`Source::revisit`] when the program waits next.
    pub(crate) fn ask_for_revisit(&self) {
        self.queue.ask_for_revisit();
    }

    /// What a ONESHOT or DISPATCH watch becomes when it has told something.
    fn after(&self) -> u32 {
        let mode = self.mode();
        if mode & uapi::KEVENT_WATCH_ONESHOT != 0 {
            ONCE
        } else if mode & uapi::KEVENT_WATCH_DISPATCH != 0 {
            SPENT
        } else {
            0
        }
    }

    fn event(&self, events: u32, count: u64) -> Event {
        Event(uapi::kevent_event {
            user_data: self.user_data.load(Relaxed),
            events,
            info: self.source.class()
                | if self.source.counts() {
                    uapi::KEVENT_INFO_COUNTED
                } else {
                    0
                },
            data: i64::try_from(count).unwrap_or(i64::MAX),
            extra: 0,
        })
    }

    /// Tells `events` if the ring has a place for them. To be called by the owner.
    fn tell(&self, events: u32) -> Told {
        let Some(ring) = self.queue.ring() else {
            return Told::Later;
        };
        let owed = self.owed.xchg(0, Relaxed);
        if owed == 0 && self.source.counts() {
            return Told::Nothing;
        }
        let entry = self.entry.load(Relaxed);
        if entry != NO_ENTRY {
            let count = u32::try_from(owed).unwrap_or(u32::MAX);
            match ring.merge(entry, events, count, None) {
                Merge::Done(left) => {
                    // Neither of the two is more than was owed.
                    let beyond = owed.wrapping_sub(count.into());
                    self.owed
                        .fetch_add(beyond.wrapping_add(left.into()), Relaxed);
                    self.queue.count_merge();
                    return Told::Merged;
                }
                Merge::Gone => self.entry.store(NO_ENTRY, Relaxed),
                Merge::Later => {
                    self.owed.fetch_add(owed, Relaxed);
                    return Told::Later;
                }
            }
        }
        match ring.publish(&self.event(events, owed)) {
            Some(index) => {
                self.entry.store(index, Relaxed);
                self.queue.wake();
                Told::Anew
            }
            None => {
                self.owed.fetch_add(owed, Relaxed);
                Told::Later
            }
        }
    }

    /// Takes the bits that are to be told, as the owner or to become it, and changes the state to
    /// what it is when they are told. Returns the bits and that change.
    fn take_events(&self) -> (u32, u32) {
        let after = self.after();
        let old = self.change(|state| (state & !(WAITS | EVENTS)) | OWNED | after);
        (old & EVENTS, after & !old)
    }

    /// Lets go of the watch. Fails if there is more to tell.
    fn let_go(&self) -> bool {
        let more = |state: u32| state & EVENTS != 0 && state & SILENT == 0;
        let old = self.change(|state| if more(state) { state } else { state & !OWNED });
        if old & ONCE != 0 {
            self.queue.ask_for_revisit();
        }
        !more(old)
    }

    /// Gives the bits back, because there is no place for them, and leaves the watch waiting.
    fn leave_waiting(&self, events: u32, after: u32) {
        self.change(|state| (state & !(OWNED | after)) | events | WAITS);
    }
}

/// The source of a watch has something to tell: `events`, `count` times.
///
/// May be called from any context that may take a spinlock.
pub(crate) fn fire(watch: ArcBorrow<'_, Watch>, events: u32, count: u64) -> Told {
    watch.owed.fetch_add(count, Relaxed);
    let busy = OWNED | WAITS | SILENT;
    let old = watch.change(|state| {
        if state & busy != 0 {
            state | events
        } else {
            state | events | OWNED
        }
    });
    if old & busy != 0 {
        return Told::Later;
    }
    own(watch)
}

/// Switches the watch on, and tells what happened while it was off.
pub(crate) fn enable(watch: ArcBorrow<'_, Watch>) {
    let busy = OWNED | WAITS | GONE | ONCE;
    let old = watch.change(|state| {
        let on = state & !(OFF | SPENT);
        if on & EVENTS != 0 && on & busy == 0 {
            on | OWNED
        } else {
            on
        }
    });
    if old & EVENTS != 0 && old & busy == 0 {
        own(watch);
    }
}

/// Tells until there is no more. The caller has made itself the owner.
fn own(watch: ArcBorrow<'_, Watch>) -> Told {
    let mut first = None;
    loop {
        let (events, after) = watch.take_events();
        // What waits already comes first.
        let told = if watch.queue.is_backlogged() {
            Told::Later
        } else {
            watch.tell(events)
        };
        let first = *first.get_or_insert(told);
        match told {
            Told::Later => {
                watch.leave_waiting(events, after);
                watch.queue.defer_watch(watch.into());
                // It has a place of its own, if not in the ring.
                return Told::Anew;
            }
            Told::Nothing => {
                watch.change(|state| state & !after);
            }
            Told::Anew | Told::Merged => {}
        }
        if watch.let_go() {
            watch.queue.refill();
            return first;
        }
    }
}

/// Moves a watch that waits from the backlog into the ring. Fails if there is no free slot still.
///
/// To be called with the backlog's lock held.
pub(crate) fn move_into_ring(watch: ArcBorrow<'_, Watch>) -> bool {
    loop {
        let (events, after) = watch.take_events();
        if watch.state.load(Relaxed) & GONE != 0 {
            watch.change(|state| state & !OWNED);
            return true;
        }
        match watch.tell(events) {
            Told::Later => {
                watch.leave_waiting(events, after);
                return false;
            }
            Told::Nothing => {
                watch.change(|state| state & !after);
            }
            Told::Anew | Told::Merged => {}
        }
        if watch.let_go() {
            return true;
        }
    }
}

/// Takes what a watch in the backlog of a queue without a ring has to tell.
///
/// To be called after it was taken out of the backlog. `None` if the event before had it already.
pub(crate) fn take_waiting(watch: ArcBorrow<'_, Watch>) -> Option<Event> {
    let (events, after) = watch.take_events();
    let owed = watch.owed.xchg(0, Relaxed);
    let event = watch.event(events, owed);
    let is_one = owed != 0 || !watch.source.counts();
    if !is_one {
        watch.change(|state| state & !after);
    }
    if !watch.let_go() {
        watch.leave_waiting(0, 0);
        watch.queue.defer_watch(watch.into());
    }
    is_one.then_some(event)
}

/// Undoes [`take_waiting`]. Tells whether the watch has to be put back into the backlog, because it
/// is not there again already.
pub(crate) fn untake(watch: &Watch, event: &Event) -> bool {
    // CAST: It is the number that was taken.
    watch.owed.fetch_add(event.0.data as u64, Relaxed);
    let after = watch.after();
    let old = watch.change(|state| {
        let waits = if state & OWNED != 0 { 0 } else { WAITS };
        (state & !after) | event.0.events | waits
    });
    old & (OWNED | WAITS) == 0
}

/// Cancels what a watch that is gone has left in the ring. Its source must have been detached.
pub(crate) fn cancel(watch: &Watch) {
    let entry = watch.entry.load(Relaxed);
    if let Some(ring) = watch.queue.ring().filter(|_| entry != NO_ENTRY) {
        while ring.cancel(entry) == Merge::Later {
            core::hint::spin_loop();
        }
    }
}
