// SPDX-License-Identifier: GPL-2.0-only

//! One watch.
//!
//! A watch belongs to a queue and has a source that fires it: [`Watch::fire`]. What it has to
//! report goes where there is a place for it, without allocating, sleeping or taking a lock that
//! producers on different CPUs share:
//!
//! * into the entry that the watch has in the ring, if that is unconsumed: [`Ring::merge`];
//! * into a new entry;
//! * if there is no free slot, into the watch itself, which is deferred to the backlog.
//!
//! What a watch is doing is one word, and what may become of it is in [`core::state`]. It is
//! changed by compare-and-exchange: [`Watch::update`].
//!
//! # Levels
//!
//! A level watch is listed when it reports something, before that can be seen, and as long as it
//! may come to hold without a wake-up. The next task that waits rechecks it: if its entry is still
//! unconsumed it stays on the list; else the source is polled, and the watch fires again, or is off
//! the list until a wake-up fires it. If the program says that it has used all that was reported,
//! the source is not polled: [`Ring::is_exhausted`]. A program that is busy consumes events without
//! any of that; for those that the kernel consumes on its behalf, see
//! [`level`](crate::engine::level).
//!
//! [`Ring::merge`]: crate::core::ring::Ring::merge
//! [`Ring::is_exhausted`]: crate::core::ring::Ring::is_exhausted
//! [`core::state`]: crate::core::state

use core::cell::Cell;

use kernel::{
    prelude::*,
    sync::{
        atomic::{
            ordering::{
                Acquire,
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
            Merge,
            Ring, //
        },
        state::{
            Disarm,
            Mode,
            Report,
            State, //
        }, //
    },
    engine::queue::{
        Queue,
        FLUSH_BATCH, //
    },
    source::{
        Class,
        Source,
        Target, //
    },
    trace, //
};

pub(crate) use crate::core::state::EventKind;

/// The watch has no entry in the ring. Those that there are have smaller indices.
const NO_ENTRY: Index = (1 << MERGES_SHIFT) - 1;

/// In [`Watch::entry`] above the index: how many reports have merged into what is deferred.
const MERGES_SHIFT: u32 = 53;

/// There instead, of a watch that counts: what it was deferred with.
const HAS_COUNT: u64 = 1 << 63;

const _: () = assert!((uapi::KEVENT_WORD_MERGED_MAX as u64) << MERGES_SHIFT < HAS_COUNT);

/// Where a watch's event went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PostOutcome {
    /// A new entry, or one that was not there before.
    Posted,
    /// Into the entry before, which is unconsumed.
    Merged,
    /// Nowhere yet: the watch is deferred, or another CPU is reporting.
    Deferred,
    /// Nowhere: the watch is disabled, or gone.
    Muted,
    /// Nowhere: the entry before had it already.
    Empty,
}

/// What becomes of a watch that was rechecked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RecheckOutcome {
    /// It is on the list again, or off it until it fires.
    Stays,
    /// It has reported its last event: its slot in the table may be freed.
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
    /// The index of the last entry; while it is deferred, what [`MERGES_SHIFT`] and [`HAS_COUNT`]
    /// say as well. Written by the owner, or with the backlog's lock held while it is deferred.
    entry: Atomic<Index>,
    /// A [`State`].
    state: Atomic<u32>,
    /// A [`Mode`].
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
        kind: EventKind,
        source: impl PinInit<S, Error>,
    ) -> Result<Arc<Self>> {
        let state = if record.flags & uapi::KEVENT_WATCH_DISABLED != 0 {
            State::DISABLED
        } else {
            State::IDLE
        };
        let mode = Mode::new(S::NUMBER, kind, record.flags, record.events);
        Arc::pin_init(
            try_pin_init!(Self {
                queue,
                user_data: Atomic::new(record.user_data),
                entry: Atomic::new(NO_ENTRY),
                state: Atomic::new(state.bits()),
                mode: Atomic::new(mode.bits()),
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

    #[inline(always)]
    fn state(&self) -> State {
        State::from_bits(self.state.load(Relaxed))
    }

    #[inline(always)]
    pub(crate) fn mode(&self) -> Mode {
        Mode::from_bits(self.mode.load(Relaxed))
    }

    /// Changes the state to what `new` makes of it, and returns what it was.
    #[inline(always)]
    fn update(&self, new: impl Fn(State) -> State) -> State {
        let mut old = self.state();
        loop {
            match self.state.cmpxchg(old.bits(), new(old).bits(), Full) {
                Ok(_) => return old,
                Err(now) => old = State::from_bits(now),
            }
        }
    }

    /// The class, `KEVENT_SOURCE_*`.
    pub(crate) fn class(&self) -> u32 {
        self.mode().class()
    }

    /// The `KEVENT_WATCH_*` flags.
    pub(crate) fn flags(&self) -> u32 {
        self.mode().flags()
    }

    /// The events of interest.
    #[inline]
    pub(crate) fn interest(&self) -> u32 {
        self.mode().interest()
    }

    /// Changes flags and interest. Changes are made one at a time.
    pub(crate) fn set_mode(&self, flags: u32, interest: u32) {
        self.mode
            .store(self.mode().with(flags, interest).bits(), Relaxed);
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

    /// Whether the watch was removed, or posted its last event: it cannot be modified.
    pub(crate) fn has_ended(&self) -> bool {
        self.state().has_ended(self.mode())
    }

    /// Whether the watch was removed, by the program or because its object has vanished.
    pub(crate) fn is_removed(&self) -> bool {
        let state = self.state();
        state.is_removed() || state.is_vanish_pending()
    }

    /// Whether the program may name the watch by what it is of: it can be changed, or at least
    /// removed.
    pub(crate) fn is_named(&self) -> bool {
        let state = self.state();
        let is_over = state.has_ended(self.mode()) && !state.is_reporting();
        !self.is_removed() && (!is_over || self.is_unconsumed())
    }

    /// Whether the event of a ONESHOT watch was posted, and has left the backlog.
    pub(crate) fn is_oneshot_done(&self) -> bool {
        self.state().is_oneshot_done()
    }

    /// Whether the watch reports nothing new: it is disabled, or gone.
    pub(crate) fn is_muted(&self) -> bool {
        let state = self.state();
        // A ONESHOT or DISPATCH watch has fired when it is deferred.
        let has_fired = state.is_deferred() && !self.mode().disarm().is_none();
        has_fired || state.is_muted()
    }

    /// Whether the watch reports what happens now. If an event disables it, it does not while one
    /// is on its way.
    pub(crate) fn is_open(&self) -> bool {
        self.state().is_open(self.mode())
    }

    /// For people: what the watch is doing.
    pub(crate) fn describe(&self) -> &'static CStr {
        let state = self.state();
        if state.has_ended(self.mode()) {
            c"gone"
        } else if state.is_muted() {
            c"off"
        } else {
            c"on"
        }
    }

    /// The ring, and the index of the last entry in it, if there is one. For the owner.
    #[inline(always)]
    fn last_entry(&self) -> Option<(&Ring, Index)> {
        let entry = self.entry.load(Relaxed);
        let ring = self.queue.ring().filter(|_| entry < NO_ENTRY);
        ring.map(|ring| (ring, entry))
    }

    /// The same, also of a watch that is deferred.
    fn any_entry(&self) -> Option<(&Ring, Index)> {
        let entry = self.entry.load(Relaxed) & (HAS_COUNT | NO_ENTRY);
        let ring = self.queue.ring().filter(|_| entry < NO_ENTRY);
        ring.map(|ring| (ring, entry))
    }

    /// Adds to the number of merges into what the watch is going to be deferred with, or is. In
    /// that case the backlog's lock is held, else the caller owns the watch.
    fn add_merges(&self, merges: u32) {
        let word = self.entry.load(Relaxed);
        if word & HAS_COUNT == 0 {
            let sum = (word >> MERGES_SHIFT).saturating_add(merges.into());
            let sum = sum.min(uapi::KEVENT_WORD_MERGED_MAX.into());
            let new = (word & NO_ENTRY) | (sum << MERGES_SHIFT);
            self.entry.store(new, Relaxed);
        }
    }

    /// Takes the number of merges into what the watch was deferred with. For the owner.
    fn take_merges(&self) -> u32 {
        let word = self.entry.load(Relaxed);
        if word & HAS_COUNT != 0 {
            return 0;
        }
        self.entry.store(word & NO_ENTRY, Relaxed);
        // CAST: It is a small number.
        (word >> MERGES_SHIFT) as u32
    }

    /// The watch is going to be deferred with an event that counts that much. For the owner.
    fn set_deferred_count(&self, count: u64) {
        self.entry.store(count | HAS_COUNT, Relaxed);
    }

    /// Takes what the event counts that the watch was deferred with, 0 if there is none. For the
    /// owner.
    fn take_deferred_count(&self) -> u64 {
        let word = self.entry.load(Relaxed);
        if word & HAS_COUNT == 0 {
            return 0;
        }
        self.entry.store(NO_ENTRY, Relaxed);
        word & !HAS_COUNT
    }

    /// Takes what there is to count: what the watch was deferred with, and what has happened since,
    /// which merges into that. The event of a ONESHOT or DISPATCH watch is what it fired for.
    fn take_counts(&self, mode: Mode) -> (u64, u64) {
        let deferred = self.take_deferred_count();
        if deferred != 0 && !mode.disarm().is_none() {
            (deferred, 0)
        } else {
            (deferred, self.take_pending(mode))
        }
    }

    /// Whether the program has not consumed the last event yet.
    pub(crate) fn is_unconsumed(&self) -> bool {
        let is_deferred = self.state().is_deferred();
        let last = self.any_entry();
        is_deferred || last.is_some_and(|(ring, entry)| ring.is_unconsumed(entry))
    }

    /// Whether the program says of the last entry that nothing is left of its level.
    #[inline]
    fn is_exhausted(&self) -> bool {
        let last = self.last_entry();
        last.is_some_and(|(ring, entry)| ring.is_exhausted(entry)) && !self.source.holds_silently()
    }

    /// The bits of the last event if it is unconsumed, else 0.
    pub(crate) fn unconsumed(&self) -> u32 {
        let state = self.state();
        if state.is_deferred() {
            return state.events();
        }
        self.any_entry()
            .map_or(0, |(ring, entry)| ring.unconsumed_events(entry))
    }

    /// Whether the watch reports a level, and nothing else.
    pub(crate) fn is_level(&self) -> bool {
        self.mode().is_level() && !self.has_ended()
    }

    /// The index of the entry that reports its level, as programs count.
    pub(crate) fn level_entry(&self) -> Option<u32> {
        let entry = self.any_entry().filter(|_| self.is_level());
        // CAST: Programs count modulo 2^32.
        entry.map(|(_, index)| index as u32)
    }

    /// What an event of the watch says beside its bits, if it reports a level.
    pub(crate) fn level_data(&self) -> EventData {
        self.data(self.mode(), Report::of(uapi::KEVENT_EVENTS_MASK))
    }

    /// Whether the watch shares wake-ups with those of other queues.
    #[inline(always)]
    pub(crate) fn is_exclusive(&self) -> bool {
        self.mode().is_exclusive()
    }

    /// The event of an EXCLUSIVE watch was posted; whether that woke a thread.
    #[cold]
    fn set_woke(&self, woke: bool) {
        self.update(|state| state.woke(woke));
    }

    /// The events that are still to be reported.
    pub(crate) fn pending(&self) -> u32 {
        self.state().events()
    }

    /// The source is going to be attached without the mutex. To be called before anything can fire
    /// the watch.
    pub(crate) fn set_attaching(&self) {
        self.update(State::attaching);
    }

    /// Whether the source is being attached.
    pub(crate) fn is_attaching(&self) -> bool {
        self.state().is_attaching()
    }

    /// Disables the watch.
    pub(crate) fn disable(&self) {
        self.update(State::disabled);
    }

    /// From here on the watch reports nothing.
    pub(crate) fn set_removed(&self) {
        self.update(State::removed);
    }

    /// Has a watch that was removed passed over in the backlog, if it is there; returns whether it
    /// is.
    ///
    /// To be called with the backlog's lock held.
    pub(crate) fn set_skip(&self) -> bool {
        let is_deferred = self.state().is_deferred();
        if is_deferred {
            self.update(State::skipped);
        }
        is_deferred
    }

    /// Whether a CPU reports, or will: the watch may be deferred. If not, the caller sees what the
    /// last one has done.
    pub(crate) fn is_reporting(&self) -> bool {
        // ORDERING: Pairs with the release of the watch by its owner.
        State::from_bits(self.state.load(Acquire)).is_reporting()
    }

    pub(crate) fn is_deferred(&self) -> bool {
        self.state().is_deferred()
    }

    /// If the watch, which is held, is deferred, has it leave its place in the backlog. Returns
    /// what it was to report then.
    ///
    /// To be called with the backlog's lock held.
    pub(crate) fn leave_backlog(&self) -> Option<u32> {
        if !self.state().is_deferred() {
            return None;
        }
        Some(self.update(State::left).events())
    }

    /// Whether the watch has left as many places in the backlog as it may.
    pub(crate) fn has_left_many(&self) -> bool {
        self.state().has_left_many()
    }

    /// Whether the watch, which comes out of the backlog, is passed over there: it has left that
    /// place, or was removed. In that case it is not deferred any more, and goes for good when it
    /// is rechecked.
    ///
    /// To be called with the backlog's lock held.
    pub(crate) fn pass_over(&self) -> bool {
        let state = self.state();
        if state.has_left() {
            self.update(State::place_passed);
            return true;
        }
        if !state.is_skipped() {
            return false;
        }
        // In one step, so that the slot in the table is not freed in between.
        if !self.update(State::passed_over).is_on_list() {
            self.relist();
        }
        true
    }

    /// Whether the watch went with `event`, and was not removed before that was taken.
    pub(crate) fn reported_last(&self, event: &Event) -> bool {
        let vanished = event.0.info & uapi::KEVENT_INFO_VANISHED != 0;
        vanished || self.state().is_oneshot_done()
    }

    /// Whether the watch has reported its last event, or was removed.
    pub(crate) fn is_dead(&self) -> bool {
        self.state().is_dead()
    }

    /// Whether something else than the table still refers to the watch. To be called when it is
    /// removed.
    pub(crate) fn is_busy(&self) -> bool {
        self.state().is_busy()
    }

    /// Takes the watch off the list, to which it belongs no more. Returns whether it is dead.
    pub(crate) fn delist(&self) -> bool {
        let old = self.update(State::delisted);
        old.is_dead() && !self.keeps_place(old)
    }

    /// Whether a watch that was in the state `state` has posted its last event, and that is
    /// unconsumed: the watch can still be removed, and the event with it.
    fn keeps_place(&self, state: State) -> bool {
        !state.is_removed() && self.is_unconsumed()
    }

    /// Whether a task that has events need not recheck the watch, nor those after it on the list:
    /// its event is unconsumed, and so are those that were posted later; or it may not hold, but
    /// there is no slot to report that it does.
    pub(crate) fn ends_recheck(&self, queue: &Queue) -> bool {
        let state = self.state();
        if state.is_dead() {
            return self.keeps_place(state);
        }
        if !self.mode().is_level() || state.is_out_of_order() {
            return false;
        }
        self.is_unconsumed() || !queue.has_room()
    }

    /// Whether the watch is to be polled in any case, or has something else to do than that.
    pub(crate) fn wants_poll(&self) -> bool {
        let state = self.state();
        !self.mode().is_level() || state.is_muted() || state.wants_repoll()
    }

    /// Puts the watch, which is listed in its state, on the list.
    #[inline(always)]
    pub(crate) fn relist(&self) {
        self.queue.list(self.place(), &self.next);
    }

    /// Has the next task that waits recheck the watch.
    #[inline(never)]
    pub(crate) fn list(&self) {
        if !self.update(State::listed).is_on_list() {
            self.relist();
        }
    }

    /// Has each task that waits recheck the watch if it reports a level: that may come to hold
    /// without a wake-up.
    pub(crate) fn list_level(&self) {
        if self.is_level() && !self.update(State::listed_to_poll).is_on_list() {
            self.relist();
        }
    }

    /// The event that reports `report`.
    #[inline(always)]
    fn event(&self, mode: Mode, report: Report, data: EventData) -> Event {
        Event(uapi::kevent_event {
            user_data: self.user_data.load(Relaxed),
            events: report.events(),
            info: mode.info() | report.info() | data.info,
            data: data.data,
            extra: data.extra,
        })
    }

    /// What an event says beside its bits, if the events of the watch are states or counts.
    #[inline(always)]
    fn data(&self, mode: Mode, report: Report) -> EventData {
        // If nothing is delivered, there is nothing to say of it.
        let is_none = mode.takes() && report.events() == 0;
        if mode.has_data() && !is_none {
            self.source.words()
        } else {
            EventData::default()
        }
    }

    /// What an event that counts says.
    fn count_data(&self, mode: Mode, report: Report, count: u64) -> EventData {
        EventData {
            data: i64::try_from(count).unwrap_or(i64::MAX),
            ..self.data(mode, report)
        }
    }

    /// How many occurrences are to be reported, which are reported from now on.
    fn take_pending(&self, mode: Mode) -> u64 {
        match self.source.pending_count() {
            Some(pending_count) if mode.is_counted() => pending_count.xchg(0, Relaxed),
            _ => 0,
        }
    }

    fn return_pending(&self, count: u64) {
        if let Some(pending_count) = self.source.pending_count().filter(|_| count != 0) {
            add_pending(pending_count, count);
        }
    }

    /// Takes the next completion that is to be reported with `report`, and what of that the event
    /// has. If there is more, the watch has to report it still, and the change `disarm` is undone.
    fn take_completion(&self, report: Report, disarm: Disarm) -> Option<(Report, EventData)> {
        let intercepted = self.source.intercept()?;
        let Some(completion) = intercepted.next() else {
            return Some((Report::last(0), EventData::default())).filter(|_| report.is_last());
        };
        intercepted.consumed();
        if report.is_last() {
            // That comes after all completions.
            self.update(|state| state.rearmed(disarm).with(report));
        } else if intercepted.next().is_some() {
            self.update(|state| state.with(report));
        }
        Some((Report::of(report.events()), completion))
    }

    /// Whether the watch cannot report again what it has reported.
    pub(crate) fn has_completions(&self) -> bool {
        self.mode().is_queued()
    }

    /// Posts `report` if the ring has a place for it: the entry that the watch has, or a new one. A
    /// new one comes after those that are in the backlog, unless this comes `from_backlog`. In that
    /// case it is left to the caller to wake a thread.
    ///
    /// To be called by the owner.
    #[inline(always)]
    fn post(&self, mode: Mode, report: Report, from_backlog: bool) -> PostOutcome {
        if mode.is_counted() || mode.is_queued() {
            return if mode.is_counted() {
                self.post_count(mode, report, from_backlog)
            } else {
                self.post_completions(mode, report, from_backlog)
            };
        }
        let data = self.data(mode, report);
        // What a TAKE event says was delivered.
        if mode.has_data() && !mode.takes() && self.needs_withdrawal(report) {
            return self.post_again(mode, report, data, 0, from_backlog);
        }
        match self.merge(report, 1) {
            Merge::Done(_) => PostOutcome::Merged,
            Merge::Gone => self.publish(mode, report, data, from_backlog),
            Merge::Locked => PostOutcome::Deferred,
        }
    }

    /// Whether the watch has an unconsumed entry which cannot have `report`, because its data would
    /// be wrong for that.
    #[inline(always)]
    fn needs_withdrawal(&self, report: Report) -> bool {
        self.last_entry()
            .is_some_and(|(ring, entry)| !ring.is_taken(entry))
            && !report.is_last()
            && report.events() & self.source.words_matter_for() != 0
    }

    /// Posts `report` and what is in the entry of the watch as a new entry, with `data`.
    #[cold]
    #[inline(never)]
    fn post_again(
        &self,
        mode: Mode,
        report: Report,
        data: EventData,
        merges: u32,
        from_backlog: bool,
    ) -> PostOutcome {
        let entry = self.entry.load(Relaxed);
        let withdrawn = self.queue.ring().map(|ring| ring.withdraw(entry));
        let old = match withdrawn {
            Some(Merge::Done(old)) => old,
            Some(Merge::Locked) => return PostOutcome::Deferred,
            Some(Merge::Gone) | None => {
                let mut event = self.event(mode, report, data);
                event.set_merges(merges);
                return self.publish_unless_backlogged(mode, &event, from_backlog);
            }
        };
        let withdrawn = Report::of(old & uapi::KEVENT_EVENTS_MASK);
        let before = Event::merges(old).saturating_add(1);
        self.queue.count_merge();
        let mut event = self.event(mode, report, data);
        event.0.events |= withdrawn.events();
        event.set_merges(before.saturating_add(merges));
        let outcome = self.publish_unless_backlogged(mode, &event, from_backlog);
        if outcome == PostOutcome::Deferred {
            self.entry.store(NO_ENTRY, Relaxed);
            self.add_merges(before);
            self.update(|state| state.with(withdrawn));
        }
        outcome
    }

    /// [`Watch::post`] for a watch that comes out of the backlog.
    fn post_deferred(&self, mode: Mode, report: Report) -> PostOutcome {
        if !mode.merges_when_deferred() {
            return self.post(mode, report, true);
        }
        let merges = self.take_merges();
        let data = self.data(mode, report);
        let outcome = if mode.has_data() && self.needs_withdrawal(report) {
            self.post_again(mode, report, data, merges, true)
        } else {
            match self.merge(report, merges.saturating_add(1)) {
                Merge::Done(_) => PostOutcome::Merged,
                Merge::Gone => {
                    let mut event = self.event(mode, report, data);
                    event.set_merges(merges);
                    self.publish_event(mode, &event, true)
                }
                Merge::Locked => PostOutcome::Deferred,
            }
        };
        if outcome == PostOutcome::Deferred {
            self.add_merges(merges);
        }
        outcome
    }

    /// [`Watch::post`] for a class whose events are completions: posts them all, or one if that
    /// changes the state of the watch.
    #[inline(never)]
    fn post_completions(&self, mode: Mode, report: Report, from_backlog: bool) -> PostOutcome {
        let mut outcome = PostOutcome::Empty;
        let Some(intercepted) = self.source.intercept() else {
            return outcome;
        };
        let mut left = FLUSH_BATCH;
        while let Some(completion) = intercepted.next() {
            if from_backlog && left == 0 {
                // So much for this time.
                return PostOutcome::Deferred;
            }
            left = left.saturating_sub(1);
            let disarmed = !report.is_last() && !mode.disarm().is_none();
            if outcome != PostOutcome::Empty && disarmed {
                // The next ones are for when the watch is enabled.
                self.update(|state| state.with(report));
                break;
            }
            let one = Report::of(report.events());
            outcome = self.publish(mode, one, completion, from_backlog);
            if outcome != PostOutcome::Posted {
                return outcome;
            }
            intercepted.posted(self.entry.load(Relaxed));
        }
        if report.is_last() {
            outcome = self.publish(mode, Report::last(0), EventData::default(), from_backlog);
        }
        outcome
    }

    /// [`Watch::post`] for a class whose events count.
    #[inline(never)]
    fn post_count(&self, mode: Mode, report: Report, from_backlog: bool) -> PostOutcome {
        let (deferred, pending) = self.take_counts(mode);
        let sum = deferred.saturating_add(pending);
        if sum == 0 && !report.is_last() {
            return PostOutcome::Empty;
        }
        let count = u32::try_from(sum).unwrap_or(u32::MAX);
        match self.merge(report, count) {
            Merge::Done(left) => {
                // Neither of the two is more than the sum.
                let rest = sum.wrapping_sub(count.into()).wrapping_add(left.into());
                if rest == 0 {
                    PostOutcome::Merged
                } else {
                    self.post_sum(mode, report, rest, from_backlog)
                }
            }
            Merge::Gone => self.publish_count(mode, report, deferred, pending, from_backlog),
            Merge::Locked => {
                self.return_pending(sum);
                PostOutcome::Deferred
            }
        }
    }

    /// Cancels the entry of the watch, which cannot count `rest` further occurrences, and posts the
    /// sum.
    #[cold]
    fn post_sum(&self, mode: Mode, report: Report, rest: u64, from_backlog: bool) -> PostOutcome {
        let data = Cell::new(0);
        let withdrawn = self
            .last_entry()
            .map(|(ring, entry)| ring.withdraw_with_data(entry, &data));
        match withdrawn {
            Some(Merge::Done(word)) => {
                let sum = rest.saturating_add(Event::count(data.get(), word));
                let outcome = self.publish_count(mode, report, sum, 0, from_backlog);
                if outcome == PostOutcome::Posted {
                    // For the source it is the event that was there.
                    return PostOutcome::Merged;
                }
                outcome
            }
            Some(Merge::Gone) | None => self.publish_count(mode, report, rest, 0, from_backlog),
            Some(Merge::Locked) => {
                self.return_pending(rest);
                PostOutcome::Deferred
            }
        }
    }

    /// Makes an entry that counts what the watch was `deferred` with, into which `merged` merged.
    /// If there is no slot, the watch is to be deferred with the same.
    fn publish_count(
        &self,
        mode: Mode,
        report: Report,
        deferred: u64,
        merged: u64,
        from_backlog: bool,
    ) -> PostOutcome {
        let event = self.count_event(mode, report, deferred, merged);
        let outcome = self.publish_unless_backlogged(mode, &event, from_backlog);
        if outcome == PostOutcome::Deferred {
            let (first, rest) = if deferred == 0 {
                (merged, 0)
            } else {
                (deferred, merged)
            };
            self.set_deferred_count(first);
            self.return_pending(rest);
        }
        outcome
    }

    /// The entry that counts what the watch was `deferred` with, into which `merged` merged. If it
    /// was not deferred that is all there is, and what does not fit is part of the sum.
    fn count_event(&self, mode: Mode, report: Report, deferred: u64, merged: u64) -> Event {
        let merges = u32::try_from(merged).unwrap_or(u32::MAX);
        let fits = deferred != 0 && merges <= uapi::KEVENT_WORD_MERGED_MAX;
        let (count, merges) = if fits {
            (deferred, merges)
        } else {
            (deferred.saturating_add(merged), 0)
        };
        let mut event = self.event(mode, report, self.count_data(mode, report, count));
        event.set_merges(merges);
        event
    }

    /// Merges `report`, which happened `count` times, into the entry that the watch has in the
    /// ring. [`Merge::Gone`] if it has none.
    #[inline(always)]
    fn merge(&self, report: Report, count: u32) -> Merge {
        // The last event is one of its own.
        let Some((ring, entry)) = self.last_entry().filter(|_| !report.is_last()) else {
            return Merge::Gone;
        };
        if ring.is_taken(entry) {
            return Merge::Gone;
        }
        let merge = ring.merge(entry, report.events(), count);
        if let Merge::Done(_) = merge {
            self.queue.count_merge();
            trace::merge(self, entry, report.events());
        }
        merge
    }

    /// Makes an entry for `report`.
    #[inline(always)]
    fn publish(
        &self,
        mode: Mode,
        report: Report,
        data: EventData,
        from_backlog: bool,
    ) -> PostOutcome {
        self.publish_unless_backlogged(mode, &self.event(mode, report, data), from_backlog)
    }

    #[inline(always)]
    fn publish_unless_backlogged(
        &self,
        mode: Mode,
        event: &Event,
        from_backlog: bool,
    ) -> PostOutcome {
        if !from_backlog && self.queue.is_backlogged() {
            return PostOutcome::Deferred;
        }
        self.publish_event(mode, event, from_backlog)
    }

    #[inline(always)]
    fn publish_event(&self, mode: Mode, event: &Event, from_backlog: bool) -> PostOutcome {
        let publish = |ring: &Ring| {
            if mode.is_level() {
                ring.publish_level(event, self.place(), &self.entry)
            } else {
                ring.publish(event)
            }
        };
        let Some(index) = self.queue.ring().and_then(publish) else {
            return PostOutcome::Deferred;
        };
        self.entry.store(index, Relaxed);
        trace::publish(self, index, event.0.events);
        if from_backlog {
            self.queue.count_unwoken();
        } else {
            let woke = self.queue.wake();
            if mode.is_exclusive() {
                self.set_woke(woke);
            }
        }
        PostOutcome::Posted
    }

    /// Claims what is to be reported, as the owner or to become it, and changes the state to what
    /// it is when that is reported. Returns the report and that change.
    fn claim(&self) -> (Report, Disarm) {
        let mode = self.mode();
        let old = self.update(|state| state.claimed(mode));
        (old.report(), old.disarm(mode))
    }

    /// Releases the watch. Fails if there is more to report.
    #[inline(always)]
    fn release(&self) -> bool {
        let state = self.state();
        // Mostly nothing has happened since.
        if state.is_reported() {
            let (old, new) = (state.bits(), state.without_owner().bits());
            if self.state.cmpxchg(old, new, Full).is_ok() {
                return true;
            }
        }
        self.release_slowly()
    }

    #[inline(never)]
    fn release_slowly(&self) -> bool {
        let old = self.update(State::released);
        if old.has_more() {
            return false;
        }
        if old.is_gone() {
            self.list();
        }
        true
    }

    /// Undoes [`Watch::take_deferred`]. Returns whether the watch has to be put back into the
    /// backlog, because it is not there again already.
    pub(crate) fn unconsume(&self, event: &Event) -> bool {
        let mode = self.mode();
        if mode.is_counted() {
            // CAST: It is the number that was taken.
            self.return_pending(event.0.data as u64);
        }
        let report = if event.0.info & uapi::KEVENT_INFO_VANISHED != 0 {
            Report::last(event.0.events)
        } else {
            Report::of(event.0.events)
        };
        let disarm = report.disarm(mode);
        let old = self.update(|state| state.unconsumed(report, disarm));
        !old.is_reporting()
    }

    /// The program enables the watch. To be called while it is [modified](Watch::modify).
    pub(crate) fn set_enabled(&self) {
        self.update(State::armed);
    }

    /// Cancels the last entry that a watch which is gone has left in the ring, and returns whether
    /// it was unconsumed. Its source must have been detached.
    pub(crate) fn cancel_entry(&self) -> bool {
        self.any_entry()
            .is_some_and(|(_, entry)| self.queue.cancel(entry))
    }
}

/// What a source, and a task of the program, do with a watch.
impl Watch {
    /// The source has something to report: `events`.
    ///
    /// May be called from any context that may take a spinlock.
    pub(crate) fn fire(self: ArcBorrow<'_, Self>, events: u32) -> PostOutcome {
        self.fire_with(events, || {})
    }

    /// [`Watch::fire`], for the wake-up that is most frequent: of a file, for an EDGE or LEVEL
    /// watch whose last event was consumed, in a queue with free slots. `mode` is the watch's, and
    /// `data` what the event says beside its bits: [`Source::words`].
    ///
    /// All who call this hold one lock, that of the wait queue, so they need not own the watch to
    /// post its event. Who does own it, has waited for that lock: a task that fires it, see
    /// [`Source::finish_wake`], or holds, detaches or attaches it; and who moves it out of the
    /// backlog got it from one of these. What is not as usual is done by a function that is not
    /// inlined, and after which there is nothing left to do: so no register has to be saved.
    #[inline(always)]
    pub(crate) fn fire_plain(self: ArcBorrow<'_, Self>, mode: Mode, events: u32, data: EventData) {
        // So that it is compiled for each, with one test of which it is.
        if mode.is_level() {
            self.fire_plain_as::<true>(mode, events, data);
        } else {
            self.fire_plain_as::<false>(mode, events, data);
        }
    }

    /// [`Watch::fire_plain`] for a LEVEL watch, or for an EDGE watch.
    #[inline(always)]
    fn fire_plain_as<const LEVEL: bool>(
        self: ArcBorrow<'_, Self>,
        mode: Mode,
        events: u32,
        data: EventData,
    ) {
        let queue = &self.queue;
        // ORDERING: Who was the owner before has written the last entry.
        let state = State::from_bits(self.state.load(Acquire));
        let Some(ring) = queue.ring() else {
            return self.fire_slowly(events);
        };
        if !state.is_idle() || queue.is_backlogged() {
            return self.fire_slowly(events);
        }
        if LEVEL && !state.is_refired() {
            // Before the event can be seen.
            let listed = state.listed_idle();
            if !self.exchange(state, listed) {
                return self.fire_slowly(events);
            }
            if !state.is_on_list() {
                self.relist();
            }
        }
        // Without a last entry this is another word, and what that says is wrong, but harmless: the
        // event is posted all the same.
        if !ring.is_taken(self.entry.load(Relaxed)) {
            return self.fire_slowly(events);
        }
        let event = || {
            Event(uapi::kevent_event {
                user_data: self.user_data(),
                events: events & uapi::KEVENT_EVENTS_MASK,
                info: mode.class() | data.info,
                data: data.data,
                extra: data.extra,
            })
        };
        let posted = ring.publish_at_once(event, |index| {
            self.entry.store(index, Relaxed);
            if LEVEL {
                ring.note_level(index, self.place());
            }
        });
        if posted.is_none() {
            return self.fire_slowly(events);
        }
        // There is a full barrier between the event and this. Who rechecks the watch takes it off
        // the list, full barrier, and looks for an event, and what there is: if the two did not see
        // each other, that has to be done again.
        let is_off_list = LEVEL && !self.state().is_on_list();
        if is_off_list || queue.needs_attention() || trace::is_posting_traced() {
            self.posted_plainly(events, is_off_list);
        }
    }

    #[cold]
    #[inline(never)]
    fn fire_slowly(self: ArcBorrow<'_, Self>, events: u32) {
        self.fire(events);
    }

    /// The rest of [`Watch::fire_plain`]: the event was published.
    #[cold]
    #[inline(never)]
    fn posted_plainly(self: ArcBorrow<'_, Self>, events: u32, is_off_list: bool) {
        trace::publish(&*self, self.entry.load(Relaxed), events);
        if is_off_list {
            self.request_repoll();
        }
        self.queue.attend();
    }

    /// Changes the state from `old` to `new`. Fails if it is not `old`.
    #[inline(always)]
    fn exchange(&self, old: State, new: State) -> bool {
        self.state.cmpxchg(old.bits(), new.bits(), Full).is_ok()
    }

    /// [`Watch::fire`], which does `owned` when it has made itself the owner, if it does.
    #[inline(always)]
    fn fire_with(self: ArcBorrow<'_, Self>, events: u32, owned: impl FnOnce()) -> PostOutcome {
        let mode = self.mode();
        let report = Report::of(events);
        let old = self.update(|state| state.fired(mode, report));
        if !old.can_fire() {
            return self.fire_busy(mode, report, old);
        }
        owned();
        if mode.is_level() && !old.is_on_list() {
            self.relist();
        }
        self.post_owned(mode, report.and_events_of(old), mode.disarm())
    }

    /// The rest of [`Watch::fire`] if the watch was in the state `old`, where the report was left,
    /// unless it merges into what is deferred.
    #[cold]
    fn fire_busy(self: ArcBorrow<'_, Self>, mode: Mode, report: Report, old: State) -> PostOutcome {
        let mut outcome = None;
        if old.is_deferred() {
            if mode.merges_when_deferred() {
                outcome = self.merge_deferred(mode, report);
                if outcome.is_none() {
                    // It has come out of the backlog meanwhile.
                    return self.fire(report.events());
                }
            }
            self.queue.flush_if_free();
        }
        if let Some(outcome) = outcome {
            return outcome;
        }
        if old.is_muted() {
            PostOutcome::Muted
        } else {
            PostOutcome::Deferred
        }
    }

    /// Merges `report` into what the watch is deferred with. Fails if it is not deferred any more.
    fn merge_deferred(&self, mode: Mode, report: Report) -> Option<PostOutcome> {
        self.queue.with_backlog_lock(|| {
            if !self.state().is_deferred() {
                return None;
            }
            if !mode.disarm().is_none() {
                // It has fired, and reports nothing after that.
                return Some(PostOutcome::Muted);
            }
            self.update(|state| state.with(report));
            self.add_merges(1);
            self.queue.count_merge();
            Some(PostOutcome::Deferred)
        })
    }

    /// [`Watch::fire`], for a wake-up that the watch shares with others. Returns whether it claims
    /// it: only if a thread was woken for the event, which has all that it waits for. A busy
    /// program finds the event when it comes to that, and leaves the wake-up to those that are
    /// idle.
    ///
    /// Called with the lock of the wait queue held, so for one wake-up at a time.
    #[cold]
    pub(crate) fn fire_exclusive(self: ArcBorrow<'_, Self>, events: u32) -> bool {
        self.set_woke(false);
        let outcome = self.fire(events);
        let claims = outcome == PostOutcome::Posted && self.state().has_woken();
        if claims {
            // When the event is consumed, it is the turn of others.
            self.list();
        }
        claims
    }

    /// [`Watch::fire`] by a task that has polled the source.
    ///
    /// To be called with the mutex of the queue's watches held.
    pub(crate) fn fire_as_task(self: ArcBorrow<'_, Self>, events: u32) -> PostOutcome {
        self.fire_with(events, || self.source.finish_wake())
    }

    /// Something has happened to the source, but only polling it shows what. Has that done soon, in
    /// the context of a task.
    ///
    /// May be called from any context that may take a spinlock.
    pub(crate) fn request_repoll(self: ArcBorrow<'_, Self>) {
        let mode = self.mode();
        let old = self.update(|state| state.repoll_wanted(mode));
        if old.ignores_repoll(mode) {
            return;
        }
        if !old.is_on_list() {
            self.relist();
        }
        self.queue.kick_waiter();
    }

    /// The source was attached, and `events` were there. Reports them, and what happened since,
    /// unless the watch was removed. Returns whether it was.
    ///
    /// To be called with the mutex of the queue's watches held.
    pub(crate) fn attached(self: ArcBorrow<'_, Self>, events: u32) -> bool {
        let old = self.update(State::attached);
        let events = events | old.events();
        if events != 0 && !old.is_off() {
            self.fire_as_task(events);
        }
        old.is_removed()
    }

    /// Polls the source, and reports what there is now, after the program has changed what it wants
    /// to be reported. If a file has to be polled for that which may sleep, returns it: that is
    /// left to the caller, without the mutex.
    ///
    /// To be called with the mutex of the queue's watches held.
    pub(crate) fn poll(self: ArcBorrow<'_, Self>) -> Option<Target> {
        let state = self.state();
        let mode = self.mode();
        // ORDERING: A producer that makes the source ready, and then reads the mode, sees the new
        // one; or it is seen here that the source is ready.
        smp_mb(Full);
        if state.is_muted() || mode.is_counted() {
            return None;
        }
        if mode.is_level() {
            // It may not have been a level when it began to report.
            self.list();
        }
        match self.poll_source(Rechecker::PROGRAM) {
            Ok(0) => None,
            Ok(events) => {
                self.fire_as_task(events);
                None
            }
            Err(target) => Some(target),
        }
    }

    /// Polls the source: which of the events of interest there are. If a file has to be polled for
    /// that which may sleep, returns that instead.
    ///
    /// To be called with the mutex of the queue's watches held.
    pub(crate) fn poll_source(
        self: ArcBorrow<'_, Self>,
        rechecker: Rechecker,
    ) -> Result<u32, Target> {
        if let Some(events) = self.source.poll_at_once(self) {
            return Ok(events);
        }
        match self.source.target(self) {
            Some(target) => Err(target),
            None => Ok(self.source.test(self, rechecker)),
        }
    }

    /// Cancels the unconsumed event of a watch that is held, in the ring or in the backlog, and
    /// takes what producers have left since. What cannot be found out by polling the source is kept
    /// to be reported again. Returns whether the source is to be polled.
    ///
    /// `flags` says what was changed, `KEVENT_MODIFY_*`. The producers that had begun before have
    /// finished, see [`Source::synchronize`].
    fn withdraw(&self, flags: u32) -> bool {
        let deferred = self.queue.leave_backlog(self);
        let deferred_count = self.take_deferred_count();
        self.take_merges();
        let posted = self
            .last_entry()
            .and_then(|(_, entry)| self.queue.withdraw(entry));
        if deferred.is_some() || posted.is_some() {
            self.update(State::withdrawn);
        }
        let (posted, count) = posted.unwrap_or_default();
        let left = self.update(State::without_events).events();
        let events = deferred.unwrap_or_default() | posted | left;
        if let Some(pending_count) = self.source.pending_count() {
            add_pending(pending_count, count.saturating_add(deferred_count));
            if pending_count.load(Relaxed) != 0 {
                // There may be no bit for what happened while it was disabled.
                let events = if events != 0 { events } else { self.interest() };
                let report = Report::of(events);
                self.update(|state| state.with(report));
            }
        } else if events != 0 {
            self.source.keep(events, flags);
        }
        events != 0
    }

    /// Has `change` make a change, of which `flags` says what it is, `KEVENT_MODIFY_*`. After that
    /// no unconsumed event is left that was made before it: what it reported is reported again, as
    /// far as it is a count, cannot be tested, or holds. But completions and intercepted signals
    /// are left as they are.
    ///
    /// Returns the file that has to be polled then, see [`Watch::poll`]. `ENOENT` if a ONESHOT
    /// watch has fired meanwhile, and its event was consumed.
    ///
    /// To be called with the mutex of the queue's watches held.
    pub(crate) fn modify(
        self: ArcBorrow<'_, Self>,
        flags: u32,
        change: impl FnOnce() -> Result,
    ) -> Result<Option<Target>> {
        const POLLS: u32 = uapi::KEVENT_MODIFY_ENABLE
            | uapi::KEVENT_MODIFY_MODE
            | uapi::KEVENT_MODIFY_EVENTS
            | uapi::KEVENT_MODIFY_ARG;
        let mode = self.mode();
        let holds = !mode.takes() && !mode.is_queued();
        if holds {
            // From here on producers leave in the state what they report.
            self.update(|state| state.held(mode));
        }
        let mut result = change();
        let mut polls = flags & POLLS != 0;
        if holds && result.is_ok() {
            // A producer that has read the old settings has finished then.
            self.source.synchronize();
            polls |= self.withdraw(flags);
            if self.is_oneshot_done() {
                result = Err(ENOENT);
            }
        }
        if self.update(State::resumed).is_to_report() {
            let (report, disarm) = self.claim();
            self.post_owned(self.mode(), report, disarm);
        }
        self.source.resumed(self);
        result?;
        Ok(if polls { self.poll() } else { None })
    }

    /// The watched object has vanished: reports that with `events`, and nothing after it. Fails if
    /// the last event of the watch was consumed, or it was removed.
    ///
    /// To be called with the mutex of the queue's watches held, under which the source is detached
    /// too.
    pub(crate) fn vanish(self: ArcBorrow<'_, Self>, events: u32) -> bool {
        let mode = self.mode();
        // A CPU that is flushing it into the ring may yet find no slot for its last event; and
        // while it does that, the event is neither in the backlog nor in the ring.
        let (old, has_event) = self.queue.with_backlog_lock(|| {
            let old = self.update(|state| state.vanished(mode, events));
            (old, self.keeps_place(old))
        });
        if old.has_ended(mode) {
            // It is yet to report that, or has posted its last event, which stays.
            return old.is_vanish_pending() || has_event;
        }
        if !old.is_reporting() {
            let (report, disarm) = self.claim();
            self.post_owned(mode, report, disarm);
        }
        true
    }

    /// Posts until there is no more. The caller has made itself the owner.
    #[inline(always)]
    fn post_owned(
        self: ArcBorrow<'_, Self>,
        mode: Mode,
        report: Report,
        disarm: Disarm,
    ) -> PostOutcome {
        let outcome = self.post(mode, report, false);
        if matches!(outcome, PostOutcome::Posted | PostOutcome::Merged) && self.release() {
            self.queue.flush_backlog();
            return outcome;
        }
        self.post_owned_slowly(outcome, report, disarm)
    }

    /// The rest of [`Watch::post_owned`]: `outcome` is that of the first report.
    #[cold]
    fn post_owned_slowly(
        self: ArcBorrow<'_, Self>,
        mut outcome: PostOutcome,
        mut report: Report,
        mut disarm: Disarm,
    ) -> PostOutcome {
        let first = outcome;
        loop {
            match outcome {
                PostOutcome::Deferred => {
                    self.update(|state| state.deferred(report, disarm));
                    let woke = self.queue.defer_watch(self.into());
                    if self.is_exclusive() {
                        self.set_woke(woke);
                    }
                    // It has a place of its own, if not in the ring.
                    return PostOutcome::Posted;
                }
                PostOutcome::Empty => {
                    self.update(|state| state.rearmed(disarm));
                }
                PostOutcome::Posted | PostOutcome::Merged | PostOutcome::Muted => {}
            }
            if self.release() {
                self.queue.flush_backlog();
                return first;
            }
            (report, disarm) = self.claim();
            // That may be an entry more.
            self.list_level();
            outcome = self.post(self.mode(), report, false);
        }
    }

    /// Moves a deferred watch from the backlog into the ring. Fails if there is no free slot still.
    ///
    /// To be called with the backlog's lock held.
    pub(crate) fn move_into_ring(self: ArcBorrow<'_, Self>) -> bool {
        loop {
            let (report, disarm) = self.claim();
            if self.state().is_removed() && !disarm.removes() {
                // It is being removed. Its source may want to know what it did not report.
                let unreported = Report::of(report.events());
                self.update(|state| state.without_owner().rearmed(disarm).with(unreported));
                return true;
            }
            match self.post_deferred(self.mode(), report) {
                PostOutcome::Deferred => {
                    self.update(|state| state.deferred(report, disarm));
                    return false;
                }
                PostOutcome::Empty => {
                    self.update(|state| state.rearmed(disarm));
                }
                PostOutcome::Posted | PostOutcome::Merged | PostOutcome::Muted => {}
            }
            if self.release() {
                return true;
            }
        }
    }

    /// Takes what a watch that comes out of the backlog of a queue without a ring has to report,
    /// which is nothing if the event before had it already. Returns whether there is more, for
    /// which it is deferred again.
    ///
    /// To be called with the backlog's lock held.
    pub(crate) fn take_deferred(self: ArcBorrow<'_, Self>) -> (Option<Event>, bool) {
        let mode = self.mode();
        let (report, disarm) = self.claim();
        let event = if mode.is_queued() {
            let taken = self.take_completion(report, disarm);
            taken.map(|(report, data)| self.event(mode, report, data))
        } else if mode.is_counted() {
            let (deferred, merged) = self.take_counts(mode);
            let is_none = deferred == 0 && merged == 0 && !report.is_last();
            let event = self.count_event(mode, report, deferred, merged);
            Some(event).filter(|_| !is_none)
        } else {
            let mut event = self.event(mode, report, self.data(mode, report));
            event.set_merges(self.take_merges());
            Some(event)
        };
        let event = event.map(|event| event.as_consumed());
        if event.is_none() {
            self.update(|state| state.rearmed(disarm));
        }
        let more = !self.release();
        if more {
            self.update(|state| state.deferred(Report::NONE, Disarm::NONE));
        }
        (event, more)
    }

    /// Rechecks a watch that was on the queue's list, and is not any more.
    ///
    /// To be called with the mutex of the queue's watches held.
    #[inline(always)]
    pub(crate) fn recheck(self: ArcBorrow<'_, Self>) -> RecheckOutcome {
        let old = self.update(State::rechecked);
        let mode = self.mode();
        if old.is_only_on_list() && mode.is_plain() && mode.is_level() && self.is_exhausted() {
            // It has reported nothing since, and what happens from now on is in a new entry.
            return RecheckOutcome::Stays;
        }
        self.recheck_slowly(old, mode)
    }

    /// The rest of [`Watch::recheck`]: the watch was in the state `old`.
    #[inline(never)]
    fn recheck_slowly(self: ArcBorrow<'_, Self>, old: State, mode: Mode) -> RecheckOutcome {
        if old.is_dead() {
            if self.keeps_place(old) {
                self.list();
                return RecheckOutcome::Stays;
            }
            return RecheckOutcome::Dead;
        }
        if old.is_ending() {
            // It is listed again when it has reported the last it has to report.
            return RecheckOutcome::Stays;
        }
        let vanished = if old.wants_repoll() {
            self.source.vanished()
        } else {
            None
        };
        if let Some(events) = vanished {
            if mode.reports_vanished() {
                // In this order: a close() that finds the watch detached has nothing to wait for.
                self.vanish(events);
                self.source.detach(&self.queue);
            }
            return RecheckOutcome::Stays;
        }
        if mode.is_counted() || mode.is_queued() {
            self.source.on_recheck(self);
            return RecheckOutcome::Stays;
        }
        if mode.is_exclusive() {
            if !self.is_unconsumed() {
                self.source.claim_is_used();
            } else if !mode.is_level() {
                self.list();
            }
        }
        if mode.is_level() && old.is_reporting() {
            // It is being reported, or going to be: it has to be on the list after that.
            self.list();
        }
        if old.is_disabled() {
            return RecheckOutcome::Stays;
        }
        if !old.wants_repoll() {
            if !mode.is_level() {
                self.source.on_recheck(self);
                return RecheckOutcome::Stays;
            }
            if old.is_deferred() {
                return RecheckOutcome::Stays;
            }
            if self.is_unconsumed() {
                self.list();
                return RecheckOutcome::Stays;
            }
            // If it is owned, what it reports may have been consumed already: poll.
        }
        RecheckOutcome::Poll
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

/// A task of the program that rechecks a watch, and so sees what the program sees.
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
