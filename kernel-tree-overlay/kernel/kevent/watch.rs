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
//! * `LAST`: what it watched has vanished, and it is yet to tell that; nothing else follows.
//! * `LISTED`: on the queue's list of watches to be [visited](visit) by whoever waits next; `LOOK`:
//!   because something happened that only a look at the source can tell.
//! * `FORGOTTEN`: removed while it was in the backlog, where it is passed over.
//!
//! An event that changes the state, as in DISPATCH and ONESHOT mode, does so before it can be seen:
//! the program may take it at once and switch the watch on again. If there is no place for the
//! event, or it turns out to be none, that is undone.
//!
//! # Levels
//!
//! A level watch is listed when it tells something, before that can be seen. The next one who waits
//! visits it: if its entry is still untaken it stays on the list; else the source is tested, and
//! the watch fires again, or is off the list until a wake-up fires it. A program that is busy takes
//! events without any of that.
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
        barrier::smp_mb,
        Arc,
        ArcBorrow, //
    },
    uapi, //
};

use crate::{
    event::{
        Event,
        Words, //
    },
    queue::{
        Queue,
        MOST_MOVED, //
    },
    ring::{
        Index,
        Merge, //
    },
    source::{
        Class,
        Source, //
    },
    trace, //
};

const EVENTS: u32 = uapi::KEVENT_EVENTS_MASK;
const OWNED: u32 = 1 << 31;
const WAITS: u32 = 1 << 30;
const OFF: u32 = 1 << 29;
const GONE: u32 = 1 << 28;
const SPENT: u32 = 1 << 27;
const ONCE: u32 = 1 << 26;
const LISTED: u32 = 1 << 25;
const LOOK: u32 = 1 << 24;
const LAST: u32 = 1 << 23;
const FORGOTTEN: u32 = 1 << 22;

/// Nothing new is told in these states.
const SILENT: u32 = OFF | GONE | SPENT | ONCE;

/// What there may be to tell.
const TELL: u32 = EVENTS | LAST;

/// In `mode`, beside the `KEVENT_WATCH_*` flags: the class, what its events are, and the events of
/// interest.
const CLASS_SHIFT: u32 = 9;
const CLASS_MASK: u32 = 0xf << CLASS_SHIFT;
const COUNTED: u32 = 1 << 13;
const WORDS: u32 = 1 << 14;
const FACTS: u32 = 1 << 15;
const TELLS: u32 = COUNTED | WORDS | FACTS;
const INTEREST_SHIFT: u32 = 16;
const FLAGS: u32 = (1 << CLASS_SHIFT) - 1;

/// Any of these, and it is no level watch.
const NO_LEVEL: u32 = COUNTED
    | FACTS
    | uapi::KEVENT_WATCH_EDGE
    | uapi::KEVENT_WATCH_ONESHOT
    | uapi::KEVENT_WATCH_DISPATCH;

/// The event is the delivery of what it tells: it goes on to say that, whatever comes after, and if
/// nobody takes it, the watch gives it back when it goes.
const TAKE: u32 = uapi::KEVENT_WATCH_TAKE;

/// Any of these, and what happened while the watch was switched off is still news when it is on.
const KEPT: u32 = COUNTED | FACTS | TAKE;

/// What the events of a watch are.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tells {
    /// States, which merge.
    States,
    /// States, with amounts: those that there were last.
    Amounts,
    /// How often something has happened.
    Counts,
    /// Facts, each one an event.
    Facts,
}

impl Tells {
    fn mode(self) -> u32 {
        match self {
            Tells::States => 0,
            Tells::Amounts => WORDS,
            Tells::Counts => WORDS | COUNTED,
            Tells::Facts => FACTS,
        }
    }
}

/// The watch has no entry in the ring.
const NO_ENTRY: Index = Index::MAX;

/// Where a watch's event went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    /// A new entry, or one that was not there before.
    Anew,
    /// The program has not taken the one before.
    Merged,
    /// Nowhere yet: the watch waits, or somebody else is telling.
    Later,
    /// Nowhere: the watch is switched off, or gone.
    Off,
    /// Nowhere: the one before had it already.
    Nothing,
}

/// What becomes of a watch that was visited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Visit {
    /// It is on the list again, or off it till it fires.
    Stays,
    /// It has told its last event: its place may be given up.
    Settled,
}

/// A watch.
///
/// With the count of its [`Arc`], 48 bytes and the source.
#[pin_data]
#[repr(C)]
pub(crate) struct Watch<S: ?Sized = dyn Source> {
    queue: Arc<Queue>,
    user_data: Atomic<u64>,
    /// The index of the last entry. Written by the owner only.
    entry: Atomic<Index>,
    state: Atomic<u32>,
    /// `KEVENT_WATCH_*` flags, and what the constants above say.
    mode: Atomic<u32>,
    /// Where it is in the table. Written once, before the source is attached.
    place: Atomic<u32>,
    /// The next one on the queue's list.
    next: Atomic<u32>,
    #[pin]
    pub(crate) source: S,
}

impl<S: Class> Watch<S> {
    /// Makes a watch from a change record.
    pub(crate) fn new(
        queue: Arc<Queue>,
        record: &uapi::kevent_watch,
        tells: Tells,
        source: impl PinInit<S, Error>,
    ) -> Result<Arc<Self>> {
        let off = record.flags & uapi::KEVENT_WATCH_DISABLED != 0;
        let mode = (record.flags & FLAGS)
            | (S::NUMBER << CLASS_SHIFT)
            | tells.mode()
            | (record.events << INTEREST_SHIFT);
        Arc::pin_init(
            try_pin_init!(Self {
                queue,
                user_data: Atomic::new(record.user_data),
                entry: Atomic::new(NO_ENTRY),
                state: Atomic::new(if off { OFF } else { 0 }),
                mode: Atomic::new(mode),
                place: Atomic::new(0),
                next: Atomic::new(0),
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

    pub(crate) fn queue(&self) -> &Arc<Queue> {
        &self.queue
    }

    pub(crate) fn user_data(&self) -> u64 {
        self.user_data.load(Relaxed)
    }

    pub(crate) fn set_user_data(&self, user_data: u64) {
        self.user_data.store(user_data, Relaxed);
    }

    /// The class, `KEVENT_SOURCE_*`.
    pub(crate) fn class(&self) -> u32 {
        (self.mode.load(Relaxed) & CLASS_MASK) >> CLASS_SHIFT
    }

    /// The `KEVENT_WATCH_*` flags.
    pub(crate) fn flags(&self) -> u32 {
        self.mode.load(Relaxed) & FLAGS
    }

    /// The events of interest.
    #[inline]
    pub(crate) fn interest(&self) -> u32 {
        self.mode.load(Relaxed) >> INTEREST_SHIFT
    }

    /// Changes flags and interest. Changes are made one at a time.
    pub(crate) fn set_mode(&self, flags: u32, interest: u32) {
        let kept = self.mode.load(Relaxed) & (CLASS_MASK | TELLS);
        let mode = kept | (flags & FLAGS) | (interest << INTEREST_SHIFT);
        self.mode.store(mode, Relaxed);
    }

    pub(crate) fn place(&self) -> u32 {
        self.place.load(Relaxed)
    }

    pub(crate) fn set_place(&self, place: u32) {
        self.place.store(place, Relaxed);
    }

    /// The link of the queue's list.
    pub(crate) fn next(&self) -> &Atomic<u32> {
        &self.next
    }

    pub(crate) fn is_gone(&self) -> bool {
        self.state.load(Relaxed) & (GONE | ONCE | LAST) != 0
    }

    /// Whether the watch tells nothing new: it is switched off, or gone.
    pub(crate) fn is_silent(&self) -> bool {
        self.state.load(Relaxed) & (SILENT | LAST) != 0
    }

    /// Whether the watch tells what happens now. If an event switches it off, it does not while one
    /// is under way.
    pub(crate) fn is_open(&self) -> bool {
        let once = Self::after(self.mode.load(Relaxed)) != 0;
        let busy = if once { OWNED | WAITS | EVENTS } else { 0 };
        self.state.load(Relaxed) & (SILENT | LAST | busy) == 0
    }

    /// For people: what the watch is doing.
    pub(crate) fn describe(&self) -> &'static CStr {
        if self.is_gone() {
            c"gone"
        } else if self.is_silent() {
            c"off"
        } else {
            c"on"
        }
    }

    /// Whether the program has not taken the last event yet.
    pub(crate) fn is_untaken(&self) -> bool {
        let waits = self.state.load(Relaxed) & WAITS != 0;
        let entry = self.entry.load(Relaxed);
        let ring = self.queue.ring().filter(|_| entry != NO_ENTRY);
        waits || ring.is_some_and(|r| r.is_untaken(entry))
    }

    /// What there is to tell.
    pub(crate) fn untold(&self) -> u32 {
        self.state.load(Relaxed) & EVENTS
    }

    /// Changes the state to what `new` makes of it, and tells what it was.
    #[inline(always)]
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

    /// From here on the watch tells nothing. What it has told is to be forgotten if `cancels`.
    pub(crate) fn set_gone(&self, cancels: bool) {
        let told = if cancels { LAST | ONCE } else { LAST };
        self.change(|state| (state | GONE) & !told);
    }

    /// Has a watch that was removed passed over in the backlog, if it is there; tells whether it
    /// is.
    ///
    /// To be called with the backlog's lock held.
    pub(crate) fn set_forgotten(&self) -> bool {
        let waits = self.state.load(Relaxed) & WAITS != 0;
        if waits {
            self.change(|state| state | FORGOTTEN);
        }
        waits
    }

    /// Whether the watch, which comes out of the backlog, was removed. It does not wait any more
    /// then, and goes for good when it is visited.
    ///
    /// To be called with the backlog's lock held.
    pub(crate) fn come_out_forgotten(&self) -> bool {
        if self.state.load(Relaxed) & FORGOTTEN == 0 {
            return false;
        }
        // In one step, so that the place is not given up in between.
        let old = self.change(|state| (state & !(WAITS | FORGOTTEN | LAST)) | LISTED);
        if old & LISTED == 0 {
            self.queue.list(self.place(), &self.next);
        }
        true
    }

    /// Whether the watch is gone for good. While it is owned, its last event may still turn out to
    /// have no place, and it goes on waiting then.
    fn is_settled(state: u32) -> bool {
        state & (GONE | ONCE) != 0 && state & (OWNED | WAITS | LAST) == 0
    }

    /// Whether the watch went with `event`, and was not removed before.
    pub(crate) fn told_its_last(&self, event: &Event) -> bool {
        let vanished = event.0.info & uapi::KEVENT_INFO_VANISHED != 0;
        vanished || self.state.load(Relaxed) & ONCE != 0
    }

    /// Whether the watch has told its last event, or was removed.
    pub(crate) fn is_over(&self) -> bool {
        Self::is_settled(self.state.load(Relaxed))
    }

    /// Whether anybody but the table may still come upon the watch. To be asked when it is removed.
    pub(crate) fn is_busy(&self) -> bool {
        self.state.load(Relaxed) & (OWNED | WAITS | LISTED) != 0
    }

    /// Takes the watch off the list, to which it belongs no more. Tells whether it is over.
    pub(crate) fn come_off(&self) -> bool {
        let old = self.change(|state| state & !LISTED);
        Self::is_settled(old) && !self.may_give_back(old)
    }

    /// Whether a watch that was in the state `state` went by itself, and may have to give back what
    /// its last event tells.
    fn may_give_back(&self, state: u32) -> bool {
        self.mode.load(Relaxed) & TAKE != 0 && state & GONE == 0 && self.is_untaken()
    }

    /// Has whoever waits next visit the watch.
    #[inline(never)]
    pub(crate) fn list(&self) {
        if self.change(|state| state | LISTED) & LISTED == 0 {
            self.queue.list(self.place(), &self.next);
        }
    }

    /// What a ONESHOT or DISPATCH watch becomes when it has told something.
    #[inline(always)]
    fn after(mode: u32) -> u32 {
        const SHIFT: u32 = ONCE.trailing_zeros() - uapi::KEVENT_WATCH_ONESHOT.trailing_zeros();
        const _: () = assert!(uapi::KEVENT_WATCH_ONESHOT << SHIFT == ONCE);
        const _: () = assert!(uapi::KEVENT_WATCH_DISPATCH << SHIFT == SPENT);
        (mode & (uapi::KEVENT_WATCH_ONESHOT | uapi::KEVENT_WATCH_DISPATCH)) << SHIFT
    }

    /// What an event has as `info`.
    #[inline(always)]
    fn info(mode: u32, events: u32, words: Words) -> u32 {
        let counted = if mode & COUNTED != 0 {
            uapi::KEVENT_INFO_COUNTED
        } else {
            0
        };
        let vanished = if events & LAST != 0 {
            uapi::KEVENT_INFO_VANISHED
        } else {
            0
        };
        ((mode & CLASS_MASK) >> CLASS_SHIFT) | counted | vanished | words.info
    }

    #[inline(always)]
    fn event(&self, mode: u32, events: u32, words: Words) -> Event {
        Event(uapi::kevent_event {
            user_data: self.user_data.load(Relaxed),
            events: events & EVENTS,
            info: Self::info(mode, events, words),
            data: words.data,
            extra: words.extra,
        })
    }

    /// What an event says beside its bits, if the events of the watch are states or counts.
    #[inline(always)]
    fn words(&self, mode: u32, events: u32) -> Words {
        // If nothing is delivered, there is nothing to say of it.
        let is_none = mode & TAKE != 0 && events & EVENTS == 0;
        if mode & WORDS != 0 && !is_none {
            self.source.words()
        } else {
            Words::default()
        }
    }

    /// What an event says that counts.
    fn count_words(&self, mode: u32, events: u32, count: u64) -> Words {
        Words {
            data: i64::try_from(count).unwrap_or(i64::MAX),
            ..self.words(mode, events)
        }
    }

    /// How many occurrences are to be told, which are told from now on.
    fn take_owed(&self, mode: u32) -> u64 {
        match self.source.owed() {
            Some(owed) if mode & COUNTED != 0 => owed.xchg(0, Relaxed),
            _ => 0,
        }
    }

    /// Takes the next fact that is to be told with `events`, and what of those the event has. If
    /// there is more, the watch has to tell it still, and the change `after` is undone.
    fn take_fact(&self, events: u32, after: u32) -> Option<(u32, Words)> {
        let last = events & LAST;
        let Some(fact) = self.source.fact() else {
            return Some((last, Words::default())).filter(|_| last != 0);
        };
        self.source.fact_is_told();
        if last != 0 {
            // That comes after all facts.
            self.change(|state| (state & !after) | events);
        } else if self.source.fact().is_some() {
            self.change(|state| state | events);
        }
        Some((events & EVENTS, fact))
    }

    /// Whether the watch cannot tell again what it has told.
    pub(crate) fn tells_once(&self) -> bool {
        self.mode.load(Relaxed) & FACTS != 0
    }

    fn give_back_owed(&self, count: u64) {
        if let Some(owed) = self.source.owed().filter(|_| count != 0) {
            owe(owed, count);
        }
    }

    /// Tells `events` if the ring has a place for them: the entry that the watch has, or a new one.
    /// If events wait already, a new one comes after them, unless this is the `first` of those. In
    /// that case it is left to the caller to wake somebody.
    ///
    /// To be called by the owner.
    #[inline(always)]
    fn tell(&self, mode: u32, events: u32, first: bool) -> Told {
        if mode & (COUNTED | FACTS) != 0 {
            return if mode & COUNTED != 0 {
                self.tell_count(mode, events, first)
            } else {
                self.tell_facts(mode, events, first)
            };
        }
        let words = self.words(mode, events);
        // The program may be reading what was delivered.
        let renews = mode & (WORDS | TAKE) == WORDS;
        let anew = || {
            renews.then(|| Words {
                info: Self::info(mode, events, words),
                ..words
            })
        };
        match self.merge(events, 1, anew) {
            Merge::Done(_) => Told::Merged,
            Merge::Gone => self.publish(mode, events, words, first),
            Merge::Later => Told::Later,
        }
    }

    /// [`Watch::tell`] for a class whose events are facts: tells them all, or one if that changes
    /// the state of the watch.
    #[inline(never)]
    fn tell_facts(&self, mode: u32, events: u32, first: bool) -> Told {
        let last = events & LAST;
        let mut told = Told::Nothing;
        let mut left = MOST_MOVED;
        while let Some(words) = self.source.fact() {
            if first && left == 0 {
                // So much for this time.
                return Told::Later;
            }
            left = left.saturating_sub(1);
            if told != Told::Nothing && last == 0 && Self::after(mode) != 0 {
                // The next ones are for when the watch is switched on.
                self.change(|state| state | events);
                break;
            }
            told = self.publish(mode, events & EVENTS, words, first);
            if told != Told::Anew {
                return told;
            }
            self.source.fact_is_told_at(self.entry.load(Relaxed));
        }
        if last != 0 {
            told = self.publish(mode, last, Words::default(), first);
        }
        told
    }

    /// [`Watch::tell`] for a class whose events count.
    #[inline(never)]
    fn tell_count(&self, mode: u32, events: u32, first: bool) -> Told {
        let owed = self.take_owed(mode);
        if owed == 0 && events & LAST == 0 {
            return Told::Nothing;
        }
        let count = u32::try_from(owed).unwrap_or(u32::MAX);
        let told = match self.merge(events, count, || None) {
            Merge::Done(left) => {
                // Neither of the two is more than was owed.
                let beyond = owed.wrapping_sub(count.into());
                let rest = beyond.wrapping_add(left.into());
                if rest != 0 {
                    // It may be the last time that something happens: look again.
                    self.give_back_owed(rest);
                    self.list();
                }
                return Told::Merged;
            }
            Merge::Gone => self.publish(mode, events, self.count_words(mode, events, owed), first),
            Merge::Later => Told::Later,
        };
        if told == Told::Later {
            self.give_back_owed(owed);
        }
        told
    }

    /// Merges `events`, which happened `count` times, into the entry that the watch has in the
    /// ring, whose words become what `words` gives, if anything. [`Merge::Gone`] if it has none.
    #[inline(always)]
    fn merge(&self, events: u32, count: u32, words: impl FnOnce() -> Option<Words>) -> Merge {
        let entry = self.entry.load(Relaxed);
        let ring = self.queue.ring().filter(|_| entry != NO_ENTRY);
        // The last event is one of its own.
        let Some(ring) = ring.filter(|_| events & LAST == 0) else {
            return Merge::Gone;
        };
        if ring.is_taken(entry) {
            return Merge::Gone;
        }
        let merge = ring.merge(entry, events, count, words());
        if let Merge::Done(_) = merge {
            self.queue.count_merge();
            trace::merge(self, entry, events);
        }
        merge
    }

    /// Makes an entry for `events`; `first` as for [`Watch::tell`].
    #[inline(always)]
    fn publish(&self, mode: u32, events: u32, words: Words, first: bool) -> Told {
        if !first && self.queue.is_backlogged() {
            return Told::Later;
        }
        let event = self.event(mode, events, words);
        let Some(index) = self.queue.ring().and_then(|ring| ring.publish(&event)) else {
            return Told::Later;
        };
        self.entry.store(index, Relaxed);
        trace::publish(self, index, events);
        if first {
            self.queue.count_untold();
        } else {
            self.queue.wake();
        }
        Told::Anew
    }

    /// Takes the bits that are to be told, as the owner or to become it, and changes the state to
    /// what it is when they are told. Returns the bits and that change.
    fn take_events(&self) -> (u32, u32) {
        let after = Self::after(self.mode.load(Relaxed));
        let old = self.change(|state| {
            let after = if state & LAST != 0 { GONE } else { after };
            (state & !(WAITS | TELL)) | OWNED | after
        });
        let after = if old & LAST != 0 { GONE } else { after };
        (old & TELL, after & !old)
    }

    /// Whether there is more to tell in `state`.
    #[inline(always)]
    fn is_more(state: u32) -> bool {
        state & LAST != 0 || (state & EVENTS != 0 && state & SILENT == 0)
    }

    /// Lets go of the watch. Fails if there is more to tell.
    #[inline(always)]
    fn let_go(&self) -> bool {
        let state = self.state.load(Relaxed);
        // Mostly nothing has happened since.
        let is_plain = state & (TELL | GONE | ONCE) == 0;
        if is_plain && self.state.cmpxchg(state, state & !OWNED, Full).is_ok() {
            return true;
        }
        self.let_go_slowly()
    }

    #[inline(never)]
    fn let_go_slowly(&self) -> bool {
        let old = self.change(|state| {
            if Self::is_more(state) {
                state
            } else {
                state & !OWNED
            }
        });
        if Self::is_more(old) {
            return false;
        }
        if old & (ONCE | GONE) != 0 {
            self.list();
        }
        true
    }

    /// Gives the bits back, because there is no place for them, and leaves the watch waiting.
    fn leave_waiting(&self, events: u32, after: u32) {
        self.change(|state| (state & !(OWNED | after)) | events | WAITS);
    }
}

/// The source of a watch has something to tell: `events`.
///
/// May be called from any context that may take a spinlock.
pub(crate) fn fire(watch: ArcBorrow<'_, Watch>, events: u32) -> Told {
    fire_inline(watch, events)
}

/// [`fire`], for where each instruction counts.
#[inline(always)]
pub(crate) fn fire_inline(watch: ArcBorrow<'_, Watch>, events: u32) -> Told {
    const BUSY: u32 = OWNED | WAITS | SILENT | LAST;
    let mode = watch.mode.load(Relaxed);
    let after = Watch::<dyn Source>::after(mode);
    let listed = if mode & NO_LEVEL == 0 { LISTED } else { 0 };
    let old = watch.change(|state| {
        if state & BUSY != 0 {
            state | events
        } else {
            (state & !EVENTS) | OWNED | after | listed
        }
    });
    if old & BUSY != 0 {
        return fire_busy(watch, old);
    }
    if listed & !old != 0 {
        watch.queue.list(watch.place(), &watch.next);
    }
    own(watch, mode, events | (old & EVENTS), after)
}

/// The rest of [`fire`] if the watch was in the state `old`, where the events were left.
#[cold]
fn fire_busy(watch: ArcBorrow<'_, Watch>, old: u32) -> Told {
    if old & WAITS != 0 {
        watch.queue.refill_if_free();
    }
    if old & (SILENT | LAST) == 0 {
        Told::Later
    } else {
        Told::Off
    }
}

/// Something has happened to the source, but what, only a look can tell. Has one taken soon, in the
/// context of a task.
///
/// May be called from any context that may take a spinlock.
pub(crate) fn look(watch: ArcBorrow<'_, Watch>) -> Told {
    // That it has vanished is told even if the watch is switched off.
    let deaf = if watch.flags() & uapi::KEVENT_WATCH_VANISHED != 0 {
        GONE | ONCE
    } else {
        SILENT
    };
    let old = watch.change(|state| {
        if state & deaf == 0 {
            state | LOOK | LISTED
        } else {
            state
        }
    });
    if old & deaf == 0 {
        if old & LISTED == 0 {
            watch.queue.list(watch.place(), &watch.next);
        }
        Queue::ask_for_visits(&watch.queue);
    }
    if old & SILENT == 0 {
        Told::Anew
    } else {
        Told::Off
    }
}

/// Something happened `count` times that is to be told. There is no end to what may be owed, but
/// one to what can be said of it.
pub(crate) fn owe(owed: &Atomic<u64>, count: u64) {
    let mut old = owed.load(Relaxed);
    loop {
        let new = old.saturating_add(count).min(i64::MAX.unsigned_abs());
        match owed.cmpxchg(old, new, Relaxed) {
            Ok(_) => return,
            Err(now) => old = now,
        }
    }
}

/// Switches the watch on, and tells what happened while it was off, if its events are counts or
/// facts.
pub(crate) fn enable(watch: ArcBorrow<'_, Watch>) {
    let busy = OWNED | WAITS | GONE | ONCE | LAST;
    let mode = watch.mode.load(Relaxed);
    let kept = mode & KEPT != 0;
    let old = watch.change(|state| {
        let mut on = state & !(OFF | SPENT);
        if !kept && on & (OWNED | WAITS) == 0 {
            // It may be otherwise by now: the source is tested.
            on &= !EVENTS;
        }
        if on & EVENTS != 0 && on & busy == 0 {
            on | OWNED
        } else {
            on
        }
    });
    if kept && old & EVENTS != 0 && old & busy == 0 {
        let (events, after) = watch.take_events();
        own(watch, mode, events, after);
    }
}

/// Tells what there is now, after the program has changed what it wants to be told.
///
/// To be called with the mutex of the queue's watches held.
pub(crate) fn test(watch: ArcBorrow<'_, Watch>) {
    let state = watch.state.load(Relaxed);
    let mode = watch.mode.load(Relaxed);
    // ORDERING: Whoever makes the source ready, and then looks at the mode, sees the new one; or it
    // is seen here that the source is ready.
    smp_mb(Full);
    if state & (SILENT | LAST) == 0 && mode & COUNTED == 0 {
        if mode & NO_LEVEL == 0 {
            // It may not have been a level when it began to tell.
            watch.list();
        }
        let events = watch.source.test(watch, Visitor::PROGRAM);
        if events != 0 {
            fire(watch, events);
        }
    }
}

/// What the watch is of has vanished: tells so with `events`, and nothing after that. Fails if the
/// watch has told its last event already, or was removed.
///
/// To be called with the mutex of the queue's watches held, under which the source is detached too.
pub(crate) fn vanish(watch: ArcBorrow<'_, Watch>, events: u32) -> bool {
    let end = GONE | ONCE | LAST;
    let mode = watch.mode.load(Relaxed);
    let stale = if mode & KEPT != 0 { 0 } else { EVENTS };
    // Whoever is moving it into the ring may yet find no place for its last event.
    let old = watch.queue.while_nobody_moves(|| {
        watch.change(|state| {
            if state & end != 0 {
                state
            } else if state & (OWNED | WAITS) != 0 {
                (state & !(OFF | SPENT)) | events | LAST
            } else {
                (state & !(OFF | SPENT | stale)) | events | LAST | OWNED
            }
        })
    });
    if old & end != 0 {
        // It is yet to tell it, or not to tell anything any more.
        return old & LAST != 0;
    }
    if old & (OWNED | WAITS) == 0 {
        let (events, after) = watch.take_events();
        own(watch, mode, events, after);
    }
    true
}

/// Tells until there is no more. The caller has made itself the owner.
#[inline(always)]
fn own(watch: ArcBorrow<'_, Watch>, mode: u32, events: u32, after: u32) -> Told {
    let told = watch.tell(mode, events, false);
    if matches!(told, Told::Anew | Told::Merged) && watch.let_go() {
        watch.queue.refill();
        return told;
    }
    own_slowly(watch, told, events, after)
}

/// The rest of [`own`]: `told` says what became of the first events.
#[cold]
fn own_slowly(
    watch: ArcBorrow<'_, Watch>,
    mut told: Told,
    mut events: u32,
    mut after: u32,
) -> Told {
    let first = told;
    loop {
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
            Told::Anew | Told::Merged | Told::Off => {}
        }
        if watch.let_go() {
            watch.queue.refill();
            return first;
        }
        (events, after) = watch.take_events();
        told = watch.tell(watch.mode.load(Relaxed), events, false);
    }
}

/// Moves a watch that waits from the backlog into the ring. Fails if there is no free slot still.
///
/// To be called with the backlog's lock held.
pub(crate) fn move_into_ring(watch: ArcBorrow<'_, Watch>) -> bool {
    loop {
        let (events, after) = watch.take_events();
        if watch.state.load(Relaxed) & GONE & !after != 0 {
            // It is being removed. Its source may want to know what it did not tell.
            watch.change(|state| (state & !OWNED) | (events & EVENTS));
            return true;
        }
        match watch.tell(watch.mode.load(Relaxed), events, true) {
            Told::Later => {
                watch.leave_waiting(events, after);
                return false;
            }
            Told::Nothing => {
                watch.change(|state| state & !after);
            }
            Told::Anew | Told::Merged | Told::Off => {}
        }
        if watch.let_go() {
            return true;
        }
    }
}

/// Takes what a watch that comes out of the backlog of a queue without a ring has to tell, which is
/// nothing if the event before had it already. Tells whether there is more, for which it has to
/// wait again.
///
/// To be called with the backlog's lock held.
pub(crate) fn take_waiting(watch: ArcBorrow<'_, Watch>) -> (Option<Event>, bool) {
    let mode = watch.mode.load(Relaxed);
    let (events, after) = watch.take_events();
    let told = if mode & FACTS != 0 {
        watch.take_fact(events, after)
    } else if mode & COUNTED != 0 {
        let owed = watch.take_owed(mode);
        let words = watch.count_words(mode, events, owed);
        Some((events, words)).filter(|_| owed != 0 || events & LAST != 0)
    } else {
        Some((events, watch.words(mode, events)))
    };
    let event = told.map(|(events, words)| watch.event(mode, events, words));
    if event.is_none() {
        watch.change(|state| state & !after);
    }
    let more = !watch.let_go();
    if more {
        watch.leave_waiting(0, 0);
    }
    (event, more)
}

/// Undoes [`take_waiting`]. Tells whether the watch has to be put back into the backlog, because it
/// is not there again already.
pub(crate) fn untake(watch: &Watch, event: &Event) -> bool {
    let mode = watch.mode.load(Relaxed);
    if mode & COUNTED != 0 {
        // CAST: It is the number that was taken.
        watch.give_back_owed(event.0.data as u64);
    }
    let last = event.0.info & uapi::KEVENT_INFO_VANISHED != 0;
    let (after, last) = if last {
        (GONE, LAST)
    } else {
        (Watch::<dyn Source>::after(mode), 0)
    };
    let old = watch.change(|state| {
        let waits = if state & OWNED != 0 { 0 } else { WAITS };
        (state & !after) | event.0.events | last | waits
    });
    old & (OWNED | WAITS) == 0
}

/// Cancels the last entry that a watch which is gone has left in the ring, and tells whether it was
/// untaken. Its source must have been detached.
pub(crate) fn cancel(watch: &Watch) -> bool {
    let entry = watch.entry.load(Relaxed);
    entry != NO_ENTRY && watch.queue.cancel(entry)
}

/// Who visits a watch.
#[derive(Clone, Copy)]
pub(crate) struct Visitor {
    /// It is a task of the program, which sees what the program sees. Some sources answer each task
    /// differently, a signalfd for instance.
    pub(crate) is_program: bool,
    /// How many queues that watch each other are being looked at already, 0 for none.
    pub(crate) depth: u32,
}

impl Visitor {
    /// A task of the program, that looks at its queue.
    pub(crate) const PROGRAM: Self = Self {
        is_program: true,
        depth: 0,
    };

    /// A task of the program, that asks whether the queue is ready.
    pub(crate) const POLLER: Self = Self {
        is_program: true,
        depth: 1,
    };

    /// A worker of the kernel.
    pub(crate) const WORKER: Self = Self {
        is_program: false,
        depth: 0,
    };

    /// The visitor of a queue that a queue watches.
    pub(crate) fn deeper(self) -> Self {
        Self {
            depth: self.depth.saturating_add(1),
            ..self
        }
    }
}

/// Visits a watch that was on the queue's list, and is not any more.
///
/// To be called with the mutex of the queue's watches held.
pub(crate) fn visit(watch: ArcBorrow<'_, Watch>, visitor: Visitor) -> Visit {
    let old = watch.change(|state| state & !(LISTED | LOOK));
    if Watch::<dyn Source>::is_settled(old) {
        if watch.may_give_back(old) {
            watch.list();
            return Visit::Stays;
        }
        return Visit::Settled;
    }
    if old & (GONE | ONCE | LAST) != 0 {
        // It is listed again when it has told the last it has to tell.
        return Visit::Stays;
    }
    let vanished = if old & LOOK != 0 {
        watch.source.vanished()
    } else {
        None
    };
    if let Some(events) = vanished {
        if watch.flags() & uapi::KEVENT_WATCH_VANISHED != 0 {
            // In this order: a close() that finds the watch detached has nothing to wait for.
            vanish(watch, events);
            watch.source.detach(&watch.queue);
        }
        return Visit::Stays;
    }
    let mode = watch.mode.load(Relaxed);
    if mode & (COUNTED | FACTS) != 0 {
        watch.source.revisit(watch);
        return Visit::Stays;
    }
    let is_level = mode & NO_LEVEL == 0;
    if is_level && old & (OWNED | WAITS) != 0 {
        // It is being told, or going to be: it has to be on the list after that.
        watch.list();
    }
    if old & (OFF | SPENT) != 0 {
        return Visit::Stays;
    }
    if old & LOOK == 0 {
        if !is_level {
            watch.source.revisit(watch);
            return Visit::Stays;
        }
        if old & WAITS != 0 {
            return Visit::Stays;
        }
        if watch.is_untaken() || !visitor.is_program {
            // A state that stays is told when the program waits, and not otherwise.
            watch.list();
            return Visit::Stays;
        }
        // If it is owned, what it tells may have been taken already: test.
    }
    let events = watch.source.test(watch, visitor);
    if events != 0 {
        fire(watch, events);
    } else if old & LOOK != 0 && !visitor.is_program {
        // Let somebody look who may see more.
        watch.change(|state| state | LOOK);
        watch.list();
        watch.queue.ask_program();
    }
    Visit::Stays
}
