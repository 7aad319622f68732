// SPDX-License-Identifier: GPL-2.0-only

//! The state of a watch, and its mode: pure functions of one word each.
//!
//! # States
//!
//! One word says what a watch is doing. Bits of events that are still to be reported are in it too,
//! so that a producer that finds the watch owned, deferred or disabled leaves them there and is
//! done:
//!
//! ```text
//!             fired                     deferred: no free slot
//!     idle ------------> OWNED --------------------------------> DEFERRED
//!       ^                 | ^                                       |
//!       |    released     | |      claimed: slots were freed        |
//!       +-----------------+ +---------------------------------------+
//! ```
//!
//! * `OWNED`: one CPU reports. It looks for new bits before it releases the watch.
//! * `DEFERRED`: in the backlog. The CPU that flushes the backlog claims the watch.
//! * `DISABLED`: disabled by the program; `DISPATCHED`: by its last event, in DISPATCH mode.
//! * `REMOVED`: removed by the program; `ONESHOT_DONE`: by its last event, in ONESHOT mode.
//! * `VANISH_PENDING`: the watched object has vanished, which is still to be reported; nothing else
//!   follows.
//! * `ON_LIST`: on the queue's list of watches to be rechecked by the next task that waits;
//!   `REPOLL`: because something happened that only polling the source can name.
//! * `REFIRED`: reported while it was listed, so that it is not where it belongs on that list, and
//!   its last entry is not all that it has reported since.
//! * `WOKE`: the last event of an EXCLUSIVE watch has woken a thread.
//! * `ATTACHING`: its source is being attached, while no mutex is held. It is owned meanwhile, so
//!   that what happens is reported afterwards. A task that would remove it leaves that to the one
//!   that attaches it.
//! * `SKIP`: removed while it was in the backlog, where it is passed over.
//! * `HELD`: the program is changing it. A producer leaves what it has to report.
//! * `LEFT`: how many places it has left in the backlog, where it is passed over.
//!
//! An event that changes the state, as in DISPATCH and ONESHOT mode, does so before it can be seen:
//! the program may consume it at once and enable the watch again. That change is a [`Disarm`]. If
//! there is no slot for the event, or there is nothing to report, it is undone.

use kernel::uapi;

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
const HELD: u32 = 1 << 19;
const LEFT: u32 = 3 << 17;
const ONE_LEFT: u32 = 1 << 17;
const ATTACHING: u32 = 1 << 16;

const _: () = assert!(EVENTS & (LEFT | HELD | ATTACHING) == 0);

/// Nothing new is reported in these states.
const OFF: u32 = DISABLED | REMOVED | DISPATCHED | ONESHOT_DONE;

/// The end of a watch, or at least of what it reports.
const ENDING: u32 = REMOVED | ONESHOT_DONE | VANISH_PENDING;

/// What is left in the state will be reported by another CPU.
const REPORTING: u32 = OWNED | DEFERRED;

/// What there may be to report.
const REPORTABLE: u32 = EVENTS | VANISH_PENDING;

/// What a watch has to report: bits of events, and whether the watched object has vanished. That is
/// the last report then.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(transparent)]
pub(crate) struct Report(u32);

impl Report {
    pub(crate) const NONE: Self = Self(0);

    /// `events`, which are within `KEVENT_EVENTS_MASK`.
    #[inline(always)]
    pub(crate) const fn of(events: u32) -> Self {
        Self(events)
    }

    /// The last report of a watch whose object has vanished.
    pub(crate) const fn last(events: u32) -> Self {
        Self(events | VANISH_PENDING)
    }

    #[inline(always)]
    pub(crate) fn events(self) -> u32 {
        self.0 & EVENTS
    }

    #[inline(always)]
    pub(crate) fn is_last(self) -> bool {
        self.0 & VANISH_PENDING != 0
    }

    /// Adds what was left in a state.
    #[inline(always)]
    pub(crate) fn and_events_of(self, state: State) -> Self {
        Self(self.0 | (state.0 & EVENTS))
    }

    /// `info` of an event that reports this.
    #[inline(always)]
    pub(crate) fn info(self) -> u32 {
        if self.is_last() {
            uapi::KEVENT_INFO_VANISHED
        } else {
            0
        }
    }

    /// How the report changes the state of a watch.
    #[inline(always)]
    pub(crate) fn disarm(self, mode: Mode) -> Disarm {
        if self.is_last() {
            Disarm(REMOVED)
        } else {
            mode.disarm()
        }
    }
}

/// How a report changes the state of the watch: a ONESHOT or DISPATCH watch reports nothing after
/// it, nor does one that has reported that its object has vanished.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(transparent)]
pub(crate) struct Disarm(u32);

impl Disarm {
    pub(crate) const NONE: Self = Self(0);

    #[inline(always)]
    pub(crate) fn is_none(self) -> bool {
        self.0 == 0
    }

    /// Whether the watch goes with the report.
    pub(crate) fn removes(self) -> bool {
        self.0 & REMOVED != 0
    }
}

/// What a watch is doing.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(transparent)]
pub(crate) struct State(u32);

/// Predicates.
impl State {
    /// A watch that waits for something to happen.
    pub(crate) const IDLE: Self = Self(0);

    pub(crate) const DISABLED: Self = Self(DISABLED);

    #[inline(always)]
    pub(crate) const fn from_bits(bits: u32) -> Self {
        Self(bits)
    }

    #[inline(always)]
    pub(crate) const fn bits(self) -> u32 {
        self.0
    }

    /// The events that are still to be reported.
    #[inline(always)]
    pub(crate) fn events(self) -> u32 {
        self.0 & EVENTS
    }

    /// The same, and whether the watched object has vanished.
    #[inline(always)]
    pub(crate) fn report(self) -> Report {
        Report(self.0 & REPORTABLE)
    }

    /// Whether the producer that fires the watch becomes its owner. If not, what it has to report
    /// is left in the state.
    #[inline(always)]
    pub(crate) fn can_fire(self) -> bool {
        self.0 & (REPORTING | HELD | OFF | VANISH_PENDING) == 0
    }

    /// Whether the watch waits for something to happen, and does nothing else. It may be listed.
    #[inline(always)]
    pub(crate) fn is_idle(self) -> bool {
        self.0 & !(ON_LIST | REFIRED) == 0
    }

    /// Whether the watch is on the list, and nothing else: it is idle, and has reported nothing
    /// since.
    #[inline(always)]
    pub(crate) fn is_only_on_list(self) -> bool {
        self.0 == ON_LIST
    }

    /// Whether it is noted already that a level has been reported while it was listed.
    #[inline(always)]
    pub(crate) fn is_refired(self) -> bool {
        self.0 & REFIRED != 0
    }

    #[inline(always)]
    pub(crate) fn is_deferred(self) -> bool {
        self.0 & DEFERRED != 0
    }

    /// Whether a CPU reports, or will, and looks for new bits after that.
    #[inline(always)]
    pub(crate) fn is_reporting(self) -> bool {
        self.0 & REPORTING != 0
    }

    /// Whether the watch is disabled, or was removed.
    #[inline(always)]
    pub(crate) fn is_off(self) -> bool {
        self.0 & OFF != 0
    }

    /// Whether the watch is disabled, by the program or by its last event.
    pub(crate) fn is_disabled(self) -> bool {
        self.0 & (DISABLED | DISPATCHED) != 0
    }

    /// Whether the watch reports nothing new: it is off, or its object has vanished.
    #[inline(always)]
    pub(crate) fn is_muted(self) -> bool {
        self.0 & (OFF | VANISH_PENDING) != 0
    }

    /// Whether the watch reports what happens now. If an event disables it, it does not while one
    /// is on its way.
    pub(crate) fn is_open(self, mode: Mode) -> bool {
        let busy = if mode.disarm().is_none() {
            0
        } else {
            REPORTING | EVENTS
        };
        self.0 & (OFF | VANISH_PENDING | busy) == 0
    }

    pub(crate) fn is_removed(self) -> bool {
        self.0 & REMOVED != 0
    }

    pub(crate) fn is_oneshot_done(self) -> bool {
        self.0 & ONESHOT_DONE != 0
    }

    /// Whether the watch was removed, or posted its last event, be it to the backlog: it cannot be
    /// modified.
    pub(crate) fn has_ended(self, mode: Mode) -> bool {
        self.0 & mode.ended() != 0
    }

    /// Whether it is still to be reported that the watched object has vanished.
    pub(crate) fn is_vanish_pending(self) -> bool {
        self.0 & VANISH_PENDING != 0
    }

    /// Whether the watch was removed, or reports nothing after what it is reporting.
    pub(crate) fn is_ending(self) -> bool {
        self.0 & ENDING != 0
    }

    /// Whether the watch was removed, by the program or by its last event.
    pub(crate) fn is_gone(self) -> bool {
        self.0 & (REMOVED | ONESHOT_DONE) != 0
    }

    /// Whether the watch is gone for good. While it is owned, there may turn out to be no slot for
    /// its last event, and it is deferred then.
    pub(crate) fn is_dead(self) -> bool {
        self.is_gone() && self.0 & (REPORTING | VANISH_PENDING) == 0
    }

    /// Whether a removed watch is still referred to by something else than the table.
    pub(crate) fn is_busy(self) -> bool {
        self.0 & (REPORTING | ON_LIST) != 0
    }

    /// Whether there is more to report.
    #[inline(always)]
    pub(crate) fn has_more(self) -> bool {
        self.0 & VANISH_PENDING != 0 || (self.0 & EVENTS != 0 && self.0 & (OFF | HELD) == 0)
    }

    /// Whether the owner has nothing to do but to release the watch.
    #[inline(always)]
    pub(crate) fn is_reported(self) -> bool {
        self.0 & (REPORTABLE | REMOVED | ONESHOT_DONE) == 0
    }

    #[inline(always)]
    pub(crate) fn is_on_list(self) -> bool {
        self.0 & ON_LIST != 0
    }

    pub(crate) fn wants_repoll(self) -> bool {
        self.0 & REPOLL != 0
    }

    /// Whether a recheck must not stop at the watch, though its event is unconsumed.
    pub(crate) fn is_out_of_order(self) -> bool {
        self.0 & (OFF | VANISH_PENDING | REPOLL | REFIRED) != 0
    }

    /// Whether a request to poll the source is of no use.
    pub(crate) fn ignores_repoll(self, mode: Mode) -> bool {
        // That the object has vanished is reported even if the watch is disabled.
        if mode.reports_vanished() {
            self.is_gone()
        } else {
            self.is_off()
        }
    }

    /// Whether resuming the watch after a change makes the caller its owner, because there is
    /// something to report.
    pub(crate) fn is_to_report(self) -> bool {
        self.events() != 0 && self.0 & (REPORTING | OFF | VANISH_PENDING) == 0
    }

    /// Whether the watch has left a place in the backlog that was not passed over yet.
    pub(crate) fn has_left(self) -> bool {
        self.0 & LEFT != 0
    }

    /// Whether it cannot leave another one.
    pub(crate) fn has_left_many(self) -> bool {
        self.0 & LEFT == LEFT
    }

    /// Whether the source is being attached.
    pub(crate) fn is_attaching(self) -> bool {
        self.0 & ATTACHING != 0
    }

    pub(crate) fn is_skipped(self) -> bool {
        self.0 & SKIP != 0
    }

    pub(crate) fn has_woken(self) -> bool {
        self.0 & WOKE != 0
    }
}

/// Transitions.
impl State {
    /// Leaves more to report.
    #[inline(always)]
    pub(crate) fn with(self, report: Report) -> Self {
        Self(self.0 | report.0)
    }

    /// The source has `report`. If the watch [can fire](State::can_fire), the caller owns it, and a
    /// level is listed before its event can be seen. Else it is left there, unless it [merges into
    /// what is deferred](Mode::merges_when_deferred).
    #[inline(always)]
    pub(crate) fn fired(self, mode: Mode, report: Report) -> Self {
        if self.is_deferred() && mode.merges_when_deferred() {
            return self;
        }
        if !self.can_fire() {
            return self.with(report);
        }
        let listed = if mode.is_level() { ON_LIST } else { 0 };
        let refired = refired(self.0 & listed);
        Self((self.0 & !EVENTS) | OWNED | mode.disarm().0 | listed | refired)
    }

    /// A level that is idle is listed, as [`State::fired`] does, and not owned.
    #[inline(always)]
    pub(crate) fn listed_idle(self) -> Self {
        Self(self.0 | ON_LIST | refired(self.0 & ON_LIST))
    }

    /// The caller owns the watch, and takes all there is to report.
    pub(crate) fn claimed(self, mode: Mode) -> Self {
        let disarm = self.report().disarm(mode);
        Self((self.0 & !(DEFERRED | REPORTABLE)) | OWNED | disarm.0)
    }

    /// What [`State::claimed`] changes beside that.
    pub(crate) fn disarm(self, mode: Mode) -> Disarm {
        Disarm(self.report().disarm(mode).0 & !self.0)
    }

    /// The owner has reported everything. It goes on if there is more by now.
    #[inline(always)]
    pub(crate) fn released(self) -> Self {
        if self.has_more() {
            self
        } else {
            self.without_owner()
        }
    }

    #[inline(always)]
    pub(crate) fn without_owner(self) -> Self {
        Self(self.0 & !OWNED)
    }

    /// The owner found no free slot for `report`.
    pub(crate) fn deferred(self, report: Report, disarm: Disarm) -> Self {
        Self((self.0 & !(OWNED | disarm.0)) | report.0 | DEFERRED)
    }

    /// The owner found that there is nothing to report.
    pub(crate) fn rearmed(self, disarm: Disarm) -> Self {
        Self(self.0 & !disarm.0)
    }

    /// What was taken out of the backlog could not be copied to the program: it is deferred again,
    /// or left to the owner.
    pub(crate) fn unconsumed(self, report: Report, disarm: Disarm) -> Self {
        let deferred = if self.0 & OWNED != 0 { 0 } else { DEFERRED };
        Self((self.0 & !disarm.0) | report.0 | deferred)
    }

    /// The source is going to be attached by the caller, who owns the watch meanwhile.
    pub(crate) fn attaching(self) -> Self {
        Self(self.0 | OWNED | ATTACHING)
    }

    /// The source was attached. What happened meanwhile is left to the caller to report.
    pub(crate) fn attached(self) -> Self {
        Self(self.0 & !(OWNED | ATTACHING | EVENTS))
    }

    pub(crate) fn disabled(self) -> Self {
        Self(self.0 | DISABLED)
    }

    /// The program is going to change the watch: what producers report from here on is left in the
    /// state. What happened while a watch was disabled that does not keep that is dropped.
    pub(crate) fn held(self, mode: Mode) -> Self {
        let stale = if self.is_off() && !self.is_reporting() && !mode.keeps_events() {
            EVENTS
        } else {
            0
        };
        Self((self.0 & !stale) | HELD)
    }

    /// The program enables a watch that is held.
    pub(crate) fn armed(self) -> Self {
        Self(self.0 & !(DISABLED | DISPATCHED))
    }

    /// The watch was deferred, and leaves its place in the backlog without reporting.
    pub(crate) fn left(self) -> Self {
        // It does not overflow, see `State::has_left_many`.
        Self((self.0 & !(DEFERRED | EVENTS)).wrapping_add(ONE_LEFT))
    }

    /// A place that the watch has left is passed over.
    pub(crate) fn place_passed(self) -> Self {
        Self(self.0.saturating_sub(ONE_LEFT))
    }

    /// The unconsumed event was cancelled: the watch is as if it had not posted it.
    pub(crate) fn withdrawn(self) -> Self {
        Self(self.0 & !(DISPATCHED | ONESHOT_DONE))
    }

    pub(crate) fn without_events(self) -> Self {
        Self(self.0 & !EVENTS)
    }

    /// The change is made. If there [is something to report](State::is_to_report), the caller owns
    /// the watch.
    pub(crate) fn resumed(self) -> Self {
        let owned = if self.is_to_report() { OWNED } else { 0 };
        Self((self.0 & !HELD) | owned)
    }

    /// The watched object has vanished, of which `events` are the last. If the watch neither
    /// [had ended](State::has_ended) nor was [reporting](State::is_reporting), the caller owns it.
    pub(crate) fn vanished(self, mode: Mode, events: u32) -> Self {
        let last = Report::last(events);
        let enabled = self.0 & !(DISABLED | DISPATCHED);
        let stale = if mode.keeps_events() { 0 } else { EVENTS };
        if self.has_ended(mode) {
            self
        } else if self.is_reporting() {
            Self(enabled | last.0)
        } else {
            Self((enabled & !stale) | last.0 | OWNED)
        }
    }

    /// The watch reports nothing from here on.
    pub(crate) fn removed(self) -> Self {
        Self((self.0 | REMOVED) & !VANISH_PENDING)
    }

    /// The backlog passes over the watch.
    pub(crate) fn skipped(self) -> Self {
        Self(self.0 | SKIP)
    }

    /// The watch was passed over, and goes for good when it is rechecked.
    pub(crate) fn passed_over(self) -> Self {
        Self((self.0 & !(DEFERRED | SKIP | VANISH_PENDING)) | ON_LIST)
    }

    pub(crate) fn listed(self) -> Self {
        Self(self.0 | ON_LIST)
    }

    /// The watch is listed because its level may come to hold without a wake-up, or there may be
    /// more than one entry to look for: whatever the program says of the last one.
    pub(crate) fn listed_to_poll(self) -> Self {
        Self(self.0 | ON_LIST | REFIRED)
    }

    /// The watch is listed for its source to be polled, if that [is of use](State::ignores_repoll).
    pub(crate) fn repoll_wanted(self, mode: Mode) -> Self {
        if self.ignores_repoll(mode) {
            self
        } else {
            Self(self.0 | REPOLL | ON_LIST)
        }
    }

    /// The watch is on the list no more, to which it does not belong.
    pub(crate) fn delisted(self) -> Self {
        Self(self.0 & !(ON_LIST | REFIRED))
    }

    /// The watch is on the list no more, because it is rechecked.
    pub(crate) fn rechecked(self) -> Self {
        Self(self.0 & !(ON_LIST | REPOLL | REFIRED))
    }

    /// An event was posted; whether that woke a thread.
    pub(crate) fn woke(self, woke: bool) -> Self {
        let woke = if woke { WOKE } else { 0 };
        Self((self.0 & !WOKE) | woke)
    }
}

/// What `listed`, which is [`ON_LIST`] if it was already, makes of the state of a level that fires.
#[inline(always)]
fn refired(listed: u32) -> u32 {
    const SHIFT: u32 = ON_LIST.trailing_zeros() - REFIRED.trailing_zeros();
    listed >> SHIFT
}

const CLASS_SHIFT: u32 = 9;
const CLASS_MASK: u32 = 0xf << CLASS_SHIFT;
const COUNTED: u32 = 1 << 13;
const HAS_DATA: u32 = 1 << 14;
const QUEUED: u32 = 1 << 15;
/// In the place of a flag that the state has, and the mode does not.
const TRIGGERED: u32 = uapi::KEVENT_WATCH_DISABLED;
const KINDS: u32 = COUNTED | HAS_DATA | QUEUED | TRIGGERED;
const INTEREST_SHIFT: u32 = 16;
const FLAGS: u32 = ((1 << CLASS_SHIFT) - 1) & !TRIGGERED;

/// Any of these, and it is no level watch.
const NO_LEVEL: u32 = COUNTED
    | QUEUED
    | TRIGGERED
    | uapi::KEVENT_WATCH_EDGE
    | uapi::KEVENT_WATCH_ONESHOT
    | uapi::KEVENT_WATCH_DISPATCH;

/// What the events of a watch are.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum EventKind {
    /// States, which merge.
    State,
    /// States, with the data that there was last.
    StateData,
    /// How often something has happened.
    Count,
    /// Completions, each one an event.
    Queued,
    /// What the program triggers, which merges until it is consumed, and is no state.
    Triggered,
}

impl EventKind {
    fn bits(self) -> u32 {
        match self {
            EventKind::State => 0,
            EventKind::StateData => HAS_DATA,
            EventKind::Count => HAS_DATA | COUNTED,
            EventKind::Queued => QUEUED,
            EventKind::Triggered => TRIGGERED,
        }
    }
}

/// How a watch reports: its `KEVENT_WATCH_*` flags, the number of its class, what its events are,
/// and the events of interest.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(transparent)]
pub(crate) struct Mode(u32);

impl Mode {
    pub(crate) fn new(class: u32, kind: EventKind, flags: u32, interest: u32) -> Self {
        Self((class << CLASS_SHIFT) | kind.bits()).with(flags, interest)
    }

    /// The same class and kind, with other flags and another interest.
    pub(crate) fn with(self, flags: u32, interest: u32) -> Self {
        let kept = self.0 & (CLASS_MASK | KINDS);
        Self(kept | (flags & FLAGS) | (interest << INTEREST_SHIFT))
    }

    #[inline(always)]
    pub(crate) const fn from_bits(bits: u32) -> Self {
        Self(bits)
    }

    #[inline(always)]
    pub(crate) const fn bits(self) -> u32 {
        self.0
    }

    /// The class, `KEVENT_SOURCE_*`.
    #[inline(always)]
    pub(crate) fn class(self) -> u32 {
        (self.0 & CLASS_MASK) >> CLASS_SHIFT
    }

    /// The `KEVENT_WATCH_*` flags, without DISABLED.
    #[inline(always)]
    pub(crate) fn flags(self) -> u32 {
        self.0 & FLAGS
    }

    /// The events of interest.
    #[inline(always)]
    pub(crate) fn interest(self) -> u32 {
        self.0 >> INTEREST_SHIFT
    }

    /// Whether the watch reports again as long as what it reported holds.
    #[inline(always)]
    pub(crate) fn is_level(self) -> bool {
        self.0 & NO_LEVEL == 0
    }

    /// Whether an event is a state, and reporting it changes nothing else.
    #[inline(always)]
    pub(crate) fn is_plain(self) -> bool {
        const ONCE: u32 = uapi::KEVENT_WATCH_ONESHOT | uapi::KEVENT_WATCH_DISPATCH;
        const OTHER: u32 = ONCE | uapi::KEVENT_WATCH_EXCLUSIVE | uapi::KEVENT_WATCH_TAKE;
        self.0 & ((KINDS & !HAS_DATA) | OTHER) == 0
    }

    #[inline(always)]
    pub(crate) fn is_exclusive(self) -> bool {
        self.0 & uapi::KEVENT_WATCH_EXCLUSIVE != 0
    }

    /// Whether the event is the delivery of what it reports: it goes on to say that, whatever
    /// follows, and if the program does not consume it, the watch gives it back when it goes.
    #[inline(always)]
    pub(crate) fn takes(self) -> bool {
        self.0 & uapi::KEVENT_WATCH_TAKE != 0
    }

    pub(crate) fn reports_vanished(self) -> bool {
        self.0 & uapi::KEVENT_WATCH_VANISHED != 0
    }

    #[inline(always)]
    pub(crate) fn is_counted(self) -> bool {
        self.0 & COUNTED != 0
    }

    /// Whether each event is a completion, which the watch cannot report again.
    #[inline(always)]
    pub(crate) fn is_queued(self) -> bool {
        self.0 & QUEUED != 0
    }

    #[inline(always)]
    pub(crate) fn has_data(self) -> bool {
        self.0 & HAS_DATA != 0
    }

    /// The states of a watch that was removed, or posted its last event. That of a ONESHOT watch
    /// may be in the backlog still.
    fn ended(self) -> u32 {
        let is_once = self.0 & uapi::KEVENT_WATCH_ONESHOT != 0;
        ENDING | if is_once { DEFERRED } else { 0 }
    }

    /// Whether what happened while the watch was disabled is still news when it is enabled.
    pub(crate) fn keeps_events(self) -> bool {
        self.0 & (COUNTED | QUEUED | TRIGGERED | uapi::KEVENT_WATCH_TAKE) != 0
    }

    /// Whether a report merges into what the watch is deferred with, and is counted there: that of
    /// a state.
    #[inline(always)]
    pub(crate) fn merges_when_deferred(self) -> bool {
        self.0 & (COUNTED | QUEUED | uapi::KEVENT_WATCH_TAKE) == 0
    }

    /// How a report changes the state of a watch whose object has not vanished.
    #[inline(always)]
    pub(crate) fn disarm(self) -> Disarm {
        const SHIFT: u32 =
            ONESHOT_DONE.trailing_zeros() - uapi::KEVENT_WATCH_ONESHOT.trailing_zeros();
        const _: () = assert!(uapi::KEVENT_WATCH_ONESHOT << SHIFT == ONESHOT_DONE);
        const _: () = assert!(uapi::KEVENT_WATCH_DISPATCH << SHIFT == DISPATCHED);
        let once = uapi::KEVENT_WATCH_ONESHOT | uapi::KEVENT_WATCH_DISPATCH;
        Disarm((self.0 & once) << SHIFT)
    }

    /// `info` of an event, beside what the source and the report add.
    #[inline(always)]
    pub(crate) fn info(self) -> u32 {
        let counted = if self.is_counted() {
            uapi::KEVENT_INFO_COUNTED
        } else {
            0
        };
        self.class() | counted
    }
}
