// SPDX-License-Identifier: GPL-2.0-only

//! One watch, and its state machine.
//!
//! A watch belongs to a queue and has a source that fires it: [`fire`]. What it has to report goes
//! where there is a place for it, without allocating, sleeping or taking a lock that producers on
//! different CPUs share:
//!
//! * into the entry that the watch has in the ring, if that is unconsumed: [`Ring::merge`];
//! * into a new entry;
//! * if there is no free slot, into the watch itself, which waits in the backlog.
//!
//! # States
//!
//! One word says what a watch is doing. Bits of events that are still to be reported are in it too,
//! so that whoever finds the watch owned, waiting or disabled leaves them there and is done:
//!
//! ```text
//!              fire                     no free slot
//!     idle ------------> OWNED ----------------------------> WAITS
//!       ^                  |  ^                                |
//!       +------------------+  +--------------------------------+
//!          reported, nothing new          slots were freed
//! ```
//!
//! * `OWNED`: one CPU reports. It looks for new bits before it lets go.
//! * `DEFERRED`: in the backlog. Whoever moves the backlog takes ownership.
//! * `DISABLED`: disabled by the program; `DISPATCHED`: by its last event, in DISPATCH mode.
//! * `REMOVED`: removed by the program; `ONESHOT_DONE`: by its last event, in ONESHOT mode.
//! * `VANISH_PENDING`: what it watched has vanished, and it is yet to report that; nothing else
//!   follows.
//! * `ON_LIST`: on the queue's list of watches to be [rechecked](recheck) by whoever waits next;
//!   `REPOLL`: because something happened that only a look at the source can report.
//! * `REFIRED`: posted while it was listed, so that it is not where it belongs on that list.
//! * `WOKE`: the last event of an EXCLUSIVE watch has woken a thread.
//! * `SKIP`: removed while it was in the backlog, where it is passed over.
//!
//! An event that changes the state, as in DISPATCH and ONESHOT mode, does so before it can be seen:
//! the program may take it at once and switch the watch on again. If there is no place for the
//! event, or it turns out to be none, that is undone.
//!
//! # Levels
//!
//! A level watch is listed when it reports something, before that can be seen. The next one who
//! waits rechecks it: if its entry is still unconsumed it stays on the list; else the source is
//! tested, and the watch fires again, or is off the list until a wake-up fires it. A program that
//! is busy takes events without any of that.
//!
//! [`Ring::merge`]: crate::core::ring::Ring::merge

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
    core::{
        event::{
            Event,
            EventData, //
        },
        ring::{
            Index,
            Merge, //
        }, //
    },
    engine::queue::{
        Queue,
        FLUSH_BATCH, //
    },
    source::{
        Class,
        Source, //
    },
    trace, //
};

const EVENTS: u32 = uapi::KEVENT_EVENTS_MASK;
const OWNED: u32 = 1 << 31;
const DEFERRED: u32 = 1 << 30;
const DISABLED: u32 = 1 << 29;
const REMOVED: u32 = 1 << 28;
const DISPATCHED: u32 = 1 << 27;
const ONESHOT_DONE: u32 = 1 << 26;
const ON_LIST: u32 = 1 << 25;
const REPOLL: u32 = 1 << 24;
const VANISH_PENDING: u32 = 1 << 23;
const SKIP: u32 = 1 << 22;
const REFIRED: u32 = 1 << 21;
const WOKE: u32 = 1 << 20;

/// Nothing new is reported in these states.
const MUTED: u32 = DISABLED | REMOVED | DISPATCHED | ONESHOT_DONE;

/// What there may be to report.
const REPORTABLE: u32 = EVENTS | VANISH_PENDING;

/// In `mode`, beside the `KEVENT_WATCH_*` flags: the class, what its events are, and the events of
/// interest.
const CLASS_SHIFT: u32 = 9;
const CLASS_MASK: u32 = 0xf << CLASS_SHIFT;
const COUNTED: u32 = 1 << 13;
const HAS_DATA: u32 = 1 << 14;
const QUEUED: u32 = 1 << 15;
const KINDS: u32 = COUNTED | HAS_DATA | QUEUED;
const INTEREST_SHIFT: u32 = 16;
const FLAGS: u32 = (1 << CLASS_SHIFT) - 1;

/// Any of these, and it is no level watch.
const NO_LEVEL: u32 = COUNTED
    | QUEUED
    | uapi::KEVENT_WATCH_EDGE
    | uapi::KEVENT_WATCH_ONESHOT
    | uapi::KEVENT_WATCH_DISPATCH;

/// The event is the delivery of what it reports: it goes on to say that, whatever comes after, and
/// if nobody takes it, the watch gives it back when it goes.
const TAKE: u32 = uapi::KEVENT_WATCH_TAKE;

/// Any of these, and what happened while the watch was disabled is still news when it is on.
const KEPT: u32 = COUNTED | QUEUED | TAKE;

/// What the events of a watch are.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum EventKind {
    /// States, which merge.
    State,
    /// States, with amounts: those that there were last.
    StateData,
    /// How often something has happened.
    Count,
    /// Completions, each one an event.
    Queued,
}

impl EventKind {
    fn mode(self) -> u32 {
        match self {
            EventKind::State => 0,
            EventKind::StateData => HAS_DATA,
            EventKind::Count => HAS_DATA | COUNTED,
            EventKind::Queued => QUEUED,
        }
    }
}

/// The watch has no entry in the ring.
const NO_ENTRY: Index = Index::MAX;

/// Where a watch's event went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PostOutcome {
    /// A new entry, or one that was not there before.
    Posted,
    /// The program has not taken the one before.
    Merged,
    /// Nowhere yet: the watch waits, or somebody else is reporting.
    Deferred,
    /// Nowhere: the watch is disabled, or gone.
    Muted,
    /// Nowhere: the one before had it already.
    Empty,
}

/// What becomes of a watch that was rechecked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RecheckOutcome {
    /// It is on the list again, or off it till it fires.
    Stays,
    /// It has reported its last event: its place may be given up.
    Dead,
    /// Its source has to be polled.
    Poll,
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
        tells: EventKind,
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
                state: Atomic::new(if off { DISABLED } else { 0 }),
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
        let kept = self.mode.load(Relaxed) & (CLASS_MASK | KINDS);
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

    pub(crate) fn is_removed_or_done(&self) -> bool {
        self.state.load(Relaxed) & (REMOVED | ONESHOT_DONE | VANISH_PENDING) != 0
    }

    /// Whether the watch reports nothing new: it is disabled, or gone.
    pub(crate) fn is_muted(&self) -> bool {
        self.state.load(Relaxed) & (MUTED | VANISH_PENDING) != 0
    }

    /// Whether the watch reports what happens now. If an event disables it, it does not while one
    /// is under way.
    pub(crate) fn is_open(&self) -> bool {
        let once = Self::after(self.mode.load(Relaxed)) != 0;
        let update_lock = if once { OWNED | DEFERRED | EVENTS } else { 0 };
        self.state.load(Relaxed) & (MUTED | VANISH_PENDING | update_lock) == 0
    }

    /// For people: what the watch is doing.
    pub(crate) fn describe(&self) -> &'static CStr {
        if self.is_removed_or_done() {
            c"gone"
        } else if self.is_muted() {
            c"off"
        } else {
            c"on"
        }
    }

    /// Whether the program has not taken the last event yet.
    pub(crate) fn is_unconsumed(&self) -> bool {
        let waits = self.state.load(Relaxed) & DEFERRED != 0;
        let entry = self.entry.load(Relaxed);
        let ring = self.queue.ring().filter(|_| entry != NO_ENTRY);
        waits || ring.is_some_and(|r| r.is_unconsumed(entry))
    }

    /// The bits of the last event if it is unconsumed, else 0.
    pub(crate) fn unconsumed(&self) -> u32 {
        let state = self.state.load(Relaxed);
        if state & DEFERRED != 0 {
            return state & EVENTS;
        }
        let entry = self.entry.load(Relaxed);
        let ring = self.queue.ring().filter(|_| entry != NO_ENTRY);
        ring.map_or(0, |r| r.untaken_events(entry))
    }

    /// Whether the watch shares wake-ups with those of other queues.
    #[inline(always)]
    pub(crate) fn is_exclusive(&self) -> bool {
        self.mode.load(Relaxed) & uapi::KEVENT_WATCH_EXCLUSIVE != 0
    }

    /// The event of an EXCLUSIVE watch was posted; whether that woke a thread.
    #[cold]
    fn set_woke(&self, woke: bool) {
        let bit = if woke { WOKE } else { 0 };
        self.change(|state| (state & !WOKE) | bit);
    }

    /// What there is to report.
    pub(crate) fn pending(&self) -> u32 {
        self.state.load(Relaxed) & EVENTS
    }

    /// Changes the state to what `new` makes of it, and reports what it was.
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

    /// Disables the watch.
    pub(crate) fn disable(&self) {
        self.change(|state| state | DISABLED);
    }

    /// From here on the watch reports nothing. What it has reported is to be forgotten if
    /// `cancels`.
    pub(crate) fn set_removed(&self, cancels: bool) {
        let told = if cancels {
            VANISH_PENDING | ONESHOT_DONE
        } else {
            VANISH_PENDING
        };
        self.change(|state| (state | REMOVED) & !told);
    }

    /// Has a watch that was removed passed over in the backlog, if it is there; returns whether it
    /// is.
    ///
    /// To be called with the backlog's lock held.
    pub(crate) fn set_skip(&self) -> bool {
        let waits = self.state.load(Relaxed) & DEFERRED != 0;
        if waits {
            self.change(|state| state | SKIP);
        }
        waits
    }

    /// Whether the watch, which comes out of the backlog, was removed. It does not wait any more
    /// then, and goes for good when it is rechecked.
    ///
    /// To be called with the backlog's lock held.
    pub(crate) fn skip_if_removed(&self) -> bool {
        if self.state.load(Relaxed) & SKIP == 0 {
            return false;
        }
        // In one step, so that the place is not given up in between.
        let old = self.change(|state| (state & !(DEFERRED | SKIP | VANISH_PENDING)) | ON_LIST);
        if old & ON_LIST == 0 {
            self.queue.list(self.place(), &self.next);
        }
        true
    }

    /// Whether the watch is gone for good. While it is owned, its last event may still turn out to
    /// have no place, and it goes on waiting then.
    fn is_dead(state: u32) -> bool {
        state & (REMOVED | ONESHOT_DONE) != 0 && state & (OWNED | DEFERRED | VANISH_PENDING) == 0
    }

    /// Whether the watch went with `event`, and was not removed before.
    pub(crate) fn reported_last(&self, event: &Event) -> bool {
        let vanished = event.0.info & uapi::KEVENT_INFO_VANISHED != 0;
        vanished || self.state.load(Relaxed) & ONESHOT_DONE != 0
    }

    /// Whether the watch has reported its last event, or was removed.
    pub(crate) fn is_over(&self) -> bool {
        Self::is_dead(self.state.load(Relaxed))
    }

    /// Whether anybody but the table may still come upon the watch. To be asked when it is removed.
    pub(crate) fn is_busy(&self) -> bool {
        self.state.load(Relaxed) & (OWNED | DEFERRED | ON_LIST) != 0
    }

    /// Takes the watch off the list, to which it belongs no more. Returns whether it is over.
    pub(crate) fn delist(&self) -> bool {
        let old = self.change(|state| state & !(ON_LIST | REFIRED));
        Self::is_dead(old) && !self.may_give_back(old)
    }

    /// Whether a watch that was in the state `state` went by itself, and may have to give back what
    /// its last event reports.
    fn may_give_back(&self, state: u32) -> bool {
        self.mode.load(Relaxed) & TAKE != 0 && state & REMOVED == 0 && self.is_unconsumed()
    }

    /// Whether who has events need not recheck the watch, nor those after it on the list: its event
    /// is unconsumed, and so are those that were posted later; or it may not hold, but there is no
    /// room to report that it does.
    pub(crate) fn ends_recheck(&self, queue: &Queue) -> bool {
        let state = self.state.load(Relaxed);
        let dead = MUTED | VANISH_PENDING | REPOLL | REFIRED;
        if self.mode.load(Relaxed) & NO_LEVEL != 0 || state & dead != 0 {
            return false;
        }
        self.is_unconsumed() || !queue.has_room()
    }

    /// Whether the watch is to be polled in any case, or has something else to do than that.
    pub(crate) fn wants_poll(&self) -> bool {
        let state = self.state.load(Relaxed);
        self.mode.load(Relaxed) & NO_LEVEL != 0 || state & (MUTED | VANISH_PENDING | REPOLL) != 0
    }

    /// Puts the watch, which has come off the list, back to its end.
    pub(crate) fn relist(&self) {
        self.queue.list(self.place(), &self.next);
    }

    /// Has whoever waits next recheck the watch.
    #[inline(never)]
    pub(crate) fn list(&self) {
        if self.change(|state| state | ON_LIST) & ON_LIST == 0 {
            self.queue.list(self.place(), &self.next);
        }
    }

    /// What a ONESHOT or DISPATCH watch becomes when it has reported something.
    #[inline(always)]
    fn after(mode: u32) -> u32 {
        const SHIFT: u32 =
            ONESHOT_DONE.trailing_zeros() - uapi::KEVENT_WATCH_ONESHOT.trailing_zeros();
        const _: () = assert!(uapi::KEVENT_WATCH_ONESHOT << SHIFT == ONESHOT_DONE);
        const _: () = assert!(uapi::KEVENT_WATCH_DISPATCH << SHIFT == DISPATCHED);
        (mode & (uapi::KEVENT_WATCH_ONESHOT | uapi::KEVENT_WATCH_DISPATCH)) << SHIFT
    }

    /// What an event has as `info`.
    #[inline(always)]
    fn info(mode: u32, events: u32, words: EventData) -> u32 {
        let counted = if mode & COUNTED != 0 {
            uapi::KEVENT_INFO_COUNTED
        } else {
            0
        };
        let vanished = if events & VANISH_PENDING != 0 {
            uapi::KEVENT_INFO_VANISHED
        } else {
            0
        };
        ((mode & CLASS_MASK) >> CLASS_SHIFT) | counted | vanished | words.info
    }

    #[inline(always)]
    fn event(&self, mode: u32, events: u32, words: EventData) -> Event {
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
    fn words(&self, mode: u32, events: u32) -> EventData {
        // If nothing is delivered, there is nothing to say of it.
        let is_none = mode & TAKE != 0 && events & EVENTS == 0;
        if mode & HAS_DATA != 0 && !is_none {
            self.source.words()
        } else {
            EventData::default()
        }
    }

    /// What an event says that counts.
    fn count_words(&self, mode: u32, events: u32, count: u64) -> EventData {
        EventData {
            data: i64::try_from(count).unwrap_or(i64::MAX),
            ..self.words(mode, events)
        }
    }

    /// How many occurrences are to be reported, which are reported from now on.
    fn take_pending(&self, mode: u32) -> u64 {
        match self.source.pending_count() {
            Some(pending_count) if mode & COUNTED != 0 => pending_count.xchg(0, Relaxed),
            _ => 0,
        }
    }

    /// Takes the next fact that is to be reported with `events`, and what of those the event has.
    /// If there is more, the watch has to report it still, and the change `after` is undone.
    fn take_completion(&self, events: u32, after: u32) -> Option<(u32, EventData)> {
        let last = events & VANISH_PENDING;
        let Some(next_completion) = self.source.next_completion() else {
            return Some((last, EventData::default())).filter(|_| last != 0);
        };
        self.source.completion_posted();
        if last != 0 {
            // That comes after all completions.
            self.change(|state| (state & !after) | events);
        } else if self.source.next_completion().is_some() {
            self.change(|state| state | events);
        }
        Some((events & EVENTS, next_completion))
    }

    /// Whether the watch cannot report again what it has reported.
    pub(crate) fn has_completions(&self) -> bool {
        self.mode.load(Relaxed) & QUEUED != 0
    }

    fn return_pending(&self, count: u64) {
        if let Some(pending_count) = self.source.pending_count().filter(|_| count != 0) {
            add_pending(pending_count, count);
        }
    }

    /// Returns `events` if the ring has a place for them: the entry that the watch has, or a new
    /// one. If events wait already, a new one comes after them, unless this is the `first` of
    /// those. In that case it is left to the caller to wake somebody.
    ///
    /// To be called by the owner.
    #[inline(always)]
    fn tell(&self, mode: u32, events: u32, first: bool) -> PostOutcome {
        if mode & (COUNTED | QUEUED) != 0 {
            return if mode & COUNTED != 0 {
                self.post_count(mode, events, first)
            } else {
                self.post_completions(mode, events, first)
            };
        }
        let words = self.words(mode, events);
        // What a TAKE event says was delivered.
        if mode & (HAS_DATA | TAKE) == HAS_DATA && self.needs_withdrawal(events) {
            return self.post_again(mode, events, words, first);
        }
        match self.merge(events, 1) {
            Merge::Done(_) => PostOutcome::Merged,
            Merge::Gone => self.publish(mode, events, words, first),
            Merge::Locked => PostOutcome::Deferred,
        }
    }

    /// Whether the watch has an unconsumed entry which cannot have `events`, because its words
    /// would be wrong for them.
    #[inline(always)]
    fn needs_withdrawal(&self, events: u32) -> bool {
        let entry = self.entry.load(Relaxed);
        let ring = self.queue.ring().filter(|_| entry != NO_ENTRY);
        ring.is_some_and(|ring| !ring.is_taken(entry))
            && events & VANISH_PENDING == 0
            && events & self.source.words_matter_for() != 0
    }

    /// Posts `events` and what is in the entry of the watch as a new entry, with `words`; `first`
    /// as for [`Watch::tell`].
    #[cold]
    #[inline(never)]
    fn post_again(&self, mode: u32, events: u32, words: EventData, first: bool) -> PostOutcome {
        const ONE_MERGE: u32 = 1 << uapi::KEVENT_WORD_MERGED_SHIFT;
        const ALL_MERGES: u32 = uapi::KEVENT_WORD_MERGED_MAX << uapi::KEVENT_WORD_MERGED_SHIFT;
        let entry = self.entry.load(Relaxed);
        let withdrawn = self.queue.ring().map(|ring| ring.withdraw(entry));
        let old = match withdrawn {
            Some(Merge::Done(old)) => old,
            Some(Merge::Locked) => return PostOutcome::Deferred,
            Some(Merge::Gone) | None => return self.publish(mode, events, words, first),
        };
        self.queue.count_merge();
        if !first && self.queue.is_backlogged() {
            self.change(|state| state | (old & EVENTS));
            return PostOutcome::Deferred;
        }
        let merges = old & ALL_MERGES;
        let merges = if merges == ALL_MERGES {
            merges
        } else {
            merges.wrapping_add(ONE_MERGE)
        };
        let mut event = self.event(mode, events | (old & EVENTS), words);
        event.0.events |= merges;
        let told = self.publish_event(mode, &event, first);
        if told == PostOutcome::Deferred {
            self.change(|state| state | (old & EVENTS));
        }
        told
    }

    /// [`Watch::tell`] for a class whose events are completions: reports them all, or one if that
    /// changes the state of the watch.
    #[inline(never)]
    fn post_completions(&self, mode: u32, events: u32, first: bool) -> PostOutcome {
        let last = events & VANISH_PENDING;
        let mut told = PostOutcome::Empty;
        let mut left = FLUSH_BATCH;
        while let Some(words) = self.source.next_completion() {
            if first && left == 0 {
                // So much for this time.
                return PostOutcome::Deferred;
            }
            left = left.saturating_sub(1);
            if told != PostOutcome::Empty && last == 0 && Self::after(mode) != 0 {
                // The next ones are for when the watch is enabled.
                self.change(|state| state | events);
                break;
            }
            told = self.publish(mode, events & EVENTS, words, first);
            if told != PostOutcome::Posted {
                return told;
            }
            self.source.completion_posted_at(self.entry.load(Relaxed));
        }
        if last != 0 {
            told = self.publish(mode, last, EventData::default(), first);
        }
        told
    }

    /// [`Watch::tell`] for a class whose events count.
    #[inline(never)]
    fn post_count(&self, mode: u32, events: u32, first: bool) -> PostOutcome {
        let pending_count = self.take_pending(mode);
        if pending_count == 0 && events & VANISH_PENDING == 0 {
            return PostOutcome::Empty;
        }
        let count = u32::try_from(pending_count).unwrap_or(u32::MAX);
        let told = match self.merge(events, count) {
            Merge::Done(left) => {
                // Neither of the two is more than was pending.
                let beyond = pending_count.wrapping_sub(count.into());
                let rest = beyond.wrapping_add(left.into());
                if rest != 0 {
                    // It may be the last time that something happens: look again.
                    self.return_pending(rest);
                    self.list();
                }
                return PostOutcome::Merged;
            }
            Merge::Gone => self.publish(
                mode,
                events,
                self.count_words(mode, events, pending_count),
                first,
            ),
            Merge::Locked => PostOutcome::Deferred,
        };
        if told == PostOutcome::Deferred {
            self.return_pending(pending_count);
        }
        told
    }

    /// Merges `events`, which happened `count` times, into the entry that the watch has in the
    /// ring. [`Merge::Gone`] if it has none.
    #[inline(always)]
    fn merge(&self, events: u32, count: u32) -> Merge {
        let entry = self.entry.load(Relaxed);
        let ring = self.queue.ring().filter(|_| entry != NO_ENTRY);
        // The last event is one of its own.
        let Some(ring) = ring.filter(|_| events & VANISH_PENDING == 0) else {
            return Merge::Gone;
        };
        if ring.is_taken(entry) {
            return Merge::Gone;
        }
        let merge = ring.merge(entry, events, count);
        if let Merge::Done(_) = merge {
            self.queue.count_merge();
            trace::merge(self, entry, events);
        }
        merge
    }

    /// Makes an entry for `events`; `first` as for [`Watch::tell`].
    #[inline(always)]
    fn publish(&self, mode: u32, events: u32, words: EventData, first: bool) -> PostOutcome {
        if !first && self.queue.is_backlogged() {
            return PostOutcome::Deferred;
        }
        self.publish_event(mode, &self.event(mode, events, words), first)
    }

    #[inline(always)]
    fn publish_event(&self, mode: u32, event: &Event, first: bool) -> PostOutcome {
        let Some(index) = self.queue.ring().and_then(|ring| ring.publish(event)) else {
            return PostOutcome::Deferred;
        };
        self.entry.store(index, Relaxed);
        trace::publish(self, index, event.0.events);
        if first {
            self.queue.count_unwoken();
        } else {
            let woke = self.queue.wake();
            if mode & uapi::KEVENT_WATCH_EXCLUSIVE != 0 {
                self.set_woke(woke);
            }
        }
        PostOutcome::Posted
    }

    /// Takes the bits that are to be reported, as the owner or to become it, and changes the state
    /// to what it is when they are reported. Returns the bits and that change.
    fn take_events(&self) -> (u32, u32) {
        let after = Self::after(self.mode.load(Relaxed));
        let old = self.change(|state| {
            let after = if state & VANISH_PENDING != 0 {
                REMOVED
            } else {
                after
            };
            (state & !(DEFERRED | REPORTABLE)) | OWNED | after
        });
        let after = if old & VANISH_PENDING != 0 {
            REMOVED
        } else {
            after
        };
        (old & REPORTABLE, after & !old)
    }

    /// Whether there is more to report in `state`.
    #[inline(always)]
    fn has_more(state: u32) -> bool {
        state & VANISH_PENDING != 0 || (state & EVENTS != 0 && state & MUTED == 0)
    }

    /// Lets go of the watch. Fails if there is more to report.
    #[inline(always)]
    fn release_ownership(&self) -> bool {
        let state = self.state.load(Relaxed);
        // Mostly nothing has happened since.
        let is_plain = state & (REPORTABLE | REMOVED | ONESHOT_DONE) == 0;
        if is_plain && self.state.cmpxchg(state, state & !OWNED, Full).is_ok() {
            return true;
        }
        self.release_ownership_slowly()
    }

    #[inline(never)]
    fn release_ownership_slowly(&self) -> bool {
        let old = self.change(|state| {
            if Self::has_more(state) {
                state
            } else {
                state & !OWNED
            }
        });
        if Self::has_more(old) {
            return false;
        }
        if old & (ONESHOT_DONE | REMOVED) != 0 {
            self.list();
        }
        true
    }

    /// Gives the bits back, because there is no place for them, and leaves the watch waiting.
    fn set_deferred(&self, events: u32, after: u32) {
        self.change(|state| (state & !(OWNED | after)) | events | DEFERRED);
    }
}

/// The source of a watch has something to report: `events`.
///
/// May be called from any context that may take a spinlock.
pub(crate) fn fire(watch: ArcBorrow<'_, Watch>, events: u32) -> PostOutcome {
    fire_inline(watch, events)
}

/// What `listed`, which is [`ON_LIST`] if it was already, makes of the state of a level that fires.
#[inline(always)]
fn refired(listed: u32) -> u32 {
    const SHIFT: u32 = ON_LIST.trailing_zeros() - REFIRED.trailing_zeros();
    listed >> SHIFT
}

/// [`fire`], for where each instruction counts.
#[inline(always)]
pub(crate) fn fire_inline(watch: ArcBorrow<'_, Watch>, events: u32) -> PostOutcome {
    const BUSY: u32 = OWNED | DEFERRED | MUTED | VANISH_PENDING;
    let mode = watch.mode.load(Relaxed);
    let after = Watch::<dyn Source>::after(mode);
    let listed = if mode & NO_LEVEL == 0 { ON_LIST } else { 0 };
    let old = watch.change(|state| {
        if state & BUSY != 0 {
            state | events
        } else {
            (state & !EVENTS) | OWNED | after | listed | refired(state & listed)
        }
    });
    if old & BUSY != 0 {
        return fire_busy(watch, old);
    }
    if listed & !old != 0 {
        watch.queue.list(watch.place(), &watch.next);
    }
    post_owned(watch, mode, events | (old & EVENTS), after)
}

/// [`fire`], for a wake-up that the watch shares with others. Returns whether it claims it: only if
/// a thread was woken for the event, which has all that it waits for. A busy program finds the
/// event when it comes to that, and leaves the wake-up to those who are idle.
///
/// Called with the lock of the wait queue held, so for one wake-up at a time.
#[cold]
pub(crate) fn fire_exclusive(watch: ArcBorrow<'_, Watch>, events: u32) -> bool {
    watch.change(|state| state & !WOKE);
    let told = fire(watch, events);
    let claims = told == PostOutcome::Posted && watch.state.load(Relaxed) & WOKE != 0;
    if claims {
        // When the event is consumed, it is the turn of others.
        watch.list();
    }
    claims
}

/// The rest of [`fire`] if the watch was in the state `old`, where the events were left.
#[cold]
fn fire_busy(watch: ArcBorrow<'_, Watch>, old: u32) -> PostOutcome {
    if old & DEFERRED != 0 {
        watch.queue.flush_if_free();
    }
    if old & (MUTED | VANISH_PENDING) == 0 {
        PostOutcome::Deferred
    } else {
        PostOutcome::Muted
    }
}

/// Something has happened to the source, but what, only a look can report. Has one taken soon, in
/// the context of a task.
///
/// May be called from any context that may take a spinlock.
pub(crate) fn request_repoll(watch: ArcBorrow<'_, Watch>) -> PostOutcome {
    // That it has vanished is reported even if the watch is disabled.
    let deaf = if watch.flags() & uapi::KEVENT_WATCH_VANISHED != 0 {
        REMOVED | ONESHOT_DONE
    } else {
        MUTED
    };
    let old = watch.change(|state| {
        if state & deaf == 0 {
            state | REPOLL | ON_LIST
        } else {
            state
        }
    });
    if old & deaf == 0 {
        if old & ON_LIST == 0 {
            watch.queue.list(watch.place(), &watch.next);
        }
        watch.queue.kick_waiter();
    }
    if old & MUTED == 0 {
        PostOutcome::Posted
    } else {
        PostOutcome::Muted
    }
}

/// Something happened `count` times that is to be reported. There is no end to what may be pending,
/// but one to what can be said of it.
pub(crate) fn add_pending(pending_count: &Atomic<u64>, count: u64) {
    let mut old = pending_count.load(Relaxed);
    loop {
        let new = old.saturating_add(count).min(i64::MAX.unsigned_abs());
        match pending_count.cmpxchg(old, new, Relaxed) {
            Ok(_) => return,
            Err(now) => old = now,
        }
    }
}

/// Enables the watch, and reports what happened while it was off, if its events are counts or
/// completions.
pub(crate) fn enable(watch: ArcBorrow<'_, Watch>) {
    let update_lock = OWNED | DEFERRED | REMOVED | ONESHOT_DONE | VANISH_PENDING;
    let mode = watch.mode.load(Relaxed);
    let kept = mode & KEPT != 0;
    let old = watch.change(|state| {
        let mut on = state & !(DISABLED | DISPATCHED);
        if !kept && on & (OWNED | DEFERRED) == 0 {
            // It may be otherwise by now: the source is tested.
            on &= !EVENTS;
        }
        if on & EVENTS != 0 && on & update_lock == 0 {
            on | OWNED
        } else {
            on
        }
    });
    if kept && old & EVENTS != 0 && old & update_lock == 0 {
        let (events, after) = watch.take_events();
        post_owned(watch, mode, events, after);
    }
}

/// Returns what there is now, after the program has changed what it wants to be reported.
///
/// To be called with the mutex of the queue's watches held.
pub(crate) fn test(watch: ArcBorrow<'_, Watch>) {
    let state = watch.state.load(Relaxed);
    let mode = watch.mode.load(Relaxed);
    // ORDERING: Whoever makes the source ready, and then looks at the mode, sees the new one; or it
    // is seen here that the source is ready.
    smp_mb(Full);
    if state & (MUTED | VANISH_PENDING) == 0 && mode & COUNTED == 0 {
        if mode & NO_LEVEL == 0 {
            // It may not have been a level when it began to report.
            watch.list();
        }
        let events = watch.source.test(watch, Rechecker::PROGRAM);
        if events != 0 {
            fire(watch, events);
        }
    }
}

/// What the watch is of has vanished: reports so with `events`, and nothing after that. Fails if
/// the watch has reported its last event already, or was removed.
///
/// To be called with the mutex of the queue's watches held, under which the source is detached too.
pub(crate) fn vanish(watch: ArcBorrow<'_, Watch>, events: u32) -> bool {
    let end = REMOVED | ONESHOT_DONE | VANISH_PENDING;
    let mode = watch.mode.load(Relaxed);
    let stale = if mode & KEPT != 0 { 0 } else { EVENTS };
    // Whoever is moving it into the ring may yet find no place for its last event.
    let old = watch.queue.while_nobody_moves(|| {
        watch.change(|state| {
            if state & end != 0 {
                state
            } else if state & (OWNED | DEFERRED) != 0 {
                (state & !(DISABLED | DISPATCHED)) | events | VANISH_PENDING
            } else {
                (state & !(DISABLED | DISPATCHED | stale)) | events | VANISH_PENDING | OWNED
            }
        })
    });
    if old & end != 0 {
        // It is yet to report it, or not to report anything any more.
        return old & VANISH_PENDING != 0;
    }
    if old & (OWNED | DEFERRED) == 0 {
        let (events, after) = watch.take_events();
        post_owned(watch, mode, events, after);
    }
    true
}

/// Returns until there is no more. The caller has made itself the owner.
#[inline(always)]
fn post_owned(watch: ArcBorrow<'_, Watch>, mode: u32, events: u32, after: u32) -> PostOutcome {
    let told = watch.tell(mode, events, false);
    if matches!(told, PostOutcome::Posted | PostOutcome::Merged) && watch.release_ownership() {
        watch.queue.flush_backlog();
        return told;
    }
    post_owned_slowly(watch, told, events, after)
}

/// The rest of [`post_owned`]: `told` says what became of the first events.
#[cold]
fn post_owned_slowly(
    watch: ArcBorrow<'_, Watch>,
    mut told: PostOutcome,
    mut events: u32,
    mut after: u32,
) -> PostOutcome {
    let first = told;
    loop {
        match told {
            PostOutcome::Deferred => {
                watch.set_deferred(events, after);
                let woke = watch.queue.defer_watch(watch.into());
                if watch.is_exclusive() {
                    watch.set_woke(woke);
                }
                // It has a place of its own, if not in the ring.
                return PostOutcome::Posted;
            }
            PostOutcome::Empty => {
                watch.change(|state| state & !after);
            }
            PostOutcome::Posted | PostOutcome::Merged | PostOutcome::Muted => {}
        }
        if watch.release_ownership() {
            watch.queue.flush_backlog();
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
        if watch.state.load(Relaxed) & REMOVED & !after != 0 {
            // It is being removed. Its source may want to know what it did not report.
            watch.change(|state| (state & !OWNED) | (events & EVENTS));
            return true;
        }
        match watch.tell(watch.mode.load(Relaxed), events, true) {
            PostOutcome::Deferred => {
                watch.set_deferred(events, after);
                return false;
            }
            PostOutcome::Empty => {
                watch.change(|state| state & !after);
            }
            PostOutcome::Posted | PostOutcome::Merged | PostOutcome::Muted => {}
        }
        if watch.release_ownership() {
            return true;
        }
    }
}

/// Takes what a watch that comes out of the backlog of a queue without a ring has to report, which
/// is nothing if the event before had it already. Returns whether there is more, for which it has
/// to wait again.
///
/// To be called with the backlog's lock held.
pub(crate) fn take_deferred(watch: ArcBorrow<'_, Watch>) -> (Option<Event>, bool) {
    let mode = watch.mode.load(Relaxed);
    let (events, after) = watch.take_events();
    let told = if mode & QUEUED != 0 {
        watch.take_completion(events, after)
    } else if mode & COUNTED != 0 {
        let pending_count = watch.take_pending(mode);
        let words = watch.count_words(mode, events, pending_count);
        Some((events, words)).filter(|_| pending_count != 0 || events & VANISH_PENDING != 0)
    } else {
        Some((events, watch.words(mode, events)))
    };
    let event = told.map(|(events, words)| watch.event(mode, events, words));
    if event.is_none() {
        watch.change(|state| state & !after);
    }
    let more = !watch.release_ownership();
    if more {
        watch.set_deferred(0, 0);
    }
    (event, more)
}

/// Undoes [`take_deferred`]. Returns whether the watch has to be put back into the backlog, because
/// it is not there again already.
pub(crate) fn unconsume(watch: &Watch, event: &Event) -> bool {
    let mode = watch.mode.load(Relaxed);
    if mode & COUNTED != 0 {
        // CAST: It is the number that was taken.
        watch.return_pending(event.0.data as u64);
    }
    let last = event.0.info & uapi::KEVENT_INFO_VANISHED != 0;
    let (after, last) = if last {
        (REMOVED, VANISH_PENDING)
    } else {
        (Watch::<dyn Source>::after(mode), 0)
    };
    let old = watch.change(|state| {
        let waits = if state & OWNED != 0 { 0 } else { DEFERRED };
        (state & !after) | event.0.events | last | waits
    });
    old & (OWNED | DEFERRED) == 0
}

/// Cancels the last entry that a watch which is gone has left in the ring, and returns whether it
/// was unconsumed. Its source must have been detached.
pub(crate) fn cancel(watch: &Watch) -> bool {
    let entry = watch.entry.load(Relaxed);
    entry != NO_ENTRY && watch.queue.cancel(entry)
}

/// Who rechecks a watch: a task of the program, which sees what the program sees.
#[derive(Clone, Copy)]
pub(crate) struct Rechecker {
    /// How many queues that watch each other are being looked at already, 0 for none.
    pub(crate) depth: u32,
}

impl Rechecker {
    /// A task of the program, that looks at its queue.
    pub(crate) const PROGRAM: Self = Self { depth: 0 };

    /// A task of the program, that asks whether the queue is ready.
    pub(crate) const POLLER: Self = Self { depth: 1 };

    /// The rechecker of a queue that a queue watches.
    pub(crate) fn deeper(self) -> Self {
        Self {
            depth: self.depth.saturating_add(1),
        }
    }
}

/// Rechecks a watch that was on the queue's list, and is not any more.
///
/// To be called with the mutex of the queue's watches held.
pub(crate) fn recheck(watch: ArcBorrow<'_, Watch>) -> RecheckOutcome {
    let old = watch.change(|state| state & !(ON_LIST | REPOLL | REFIRED));
    if Watch::<dyn Source>::is_dead(old) {
        if watch.may_give_back(old) {
            watch.list();
            return RecheckOutcome::Stays;
        }
        return RecheckOutcome::Dead;
    }
    if old & (REMOVED | ONESHOT_DONE | VANISH_PENDING) != 0 {
        // It is listed again when it has reported the last it has to report.
        return RecheckOutcome::Stays;
    }
    let vanished = if old & REPOLL != 0 {
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
        return RecheckOutcome::Stays;
    }
    let mode = watch.mode.load(Relaxed);
    if mode & (COUNTED | QUEUED) != 0 {
        watch.source.on_recheck(watch);
        return RecheckOutcome::Stays;
    }
    let is_level = mode & NO_LEVEL == 0;
    if mode & uapi::KEVENT_WATCH_EXCLUSIVE != 0 {
        if !watch.is_unconsumed() {
            watch.source.claim_is_used();
        } else if !is_level {
            watch.list();
        }
    }
    if is_level && old & (OWNED | DEFERRED) != 0 {
        // It is being reported, or going to be: it has to be on the list after that.
        watch.list();
    }
    if old & (DISABLED | DISPATCHED) != 0 {
        return RecheckOutcome::Stays;
    }
    if old & REPOLL == 0 {
        if !is_level {
            watch.source.on_recheck(watch);
            return RecheckOutcome::Stays;
        }
        if old & DEFERRED != 0 {
            return RecheckOutcome::Stays;
        }
        if watch.is_unconsumed() {
            watch.list();
            return RecheckOutcome::Stays;
        }
        // If it is owned, what it reports may have been taken already: test.
    }
    RecheckOutcome::Poll
}
