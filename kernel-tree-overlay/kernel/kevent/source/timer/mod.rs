// SPDX-License-Identifier: GPL-2.0-only

//! TIMER: a point in time, and from there on every interval.
//!
//! Expirations are counted, from the nominal times: none is lost or shifted when the timer is late.
//! Between two calls of the program on the queue a periodic timer interrupts at most once a tick,
//! and may be a tick late, so that many interrupt at once. What expires in between is counted, and
//! a call counts it too. So an interrupt costs the program a call.
//!
//! If a user has more than 64 periodic timers, each may interrupt less often: all of them together
//! 64 times a tick.
//!
//! A relative timer is a span, which setting the clock does not move: on CLOCK_REALTIME it is on
//! CLOCK_MONOTONIC.
//!
//! A periodic timer whose last event is unconsumed doubles the distance to its next interrupt each
//! time, so a program that does not consume costs a handful of them, not one per interval. When the
//! program waits next, the distance is reset.

use kernel::{
    bindings,
    new_spinlock_irq,
    prelude::*,
    sync::{
        atomic::{
            ordering::Relaxed,
            Atomic, //
        },
        lock::spinlock::SpinLockIrq,
        Arc,
        ArcBorrow, //
    },
    time::{
        clock_timer::ClockTimer,
        deadline::Deadline, //
    },
    uapi, //
};

use crate::{
    engine::{
        queue::Queue,
        watch::{
            add_pending,
            EventKind,
            PostOutcome,
            Watch, //
        }, //
    },
    source::{
        timer::sys::{
            set_timer_clock,
            start_timer,
            to_host_time, //
        },
        Class,
        Source, //
    },
    sys::{
        limits::TimerCharge,
        time::{
            divide,
            TICK_NS, //
        }, //
    }, //
};

pub(crate) mod sys;

/// The nearest that an interrupt may be when the program makes a call, in nanoseconds. For
/// interrupts without a call in between it is [`TimerCharge::gap`].
const MIN_GAP: i64 = 10_000;

/// The most by which the distance is extended: 2^20 intervals.
const MAX_BACKOFF: u32 = 20;

/// What a timer does.
struct Schedule {
    /// The next expiration that has not been counted.
    next: Deadline,
    /// Nanoseconds between expirations; 0 for one only.
    interval: i64,
    /// The interrupt comes `2^backoff - 1` intervals after `next`.
    backoff: u32,
    armed: bool,
    /// Of one that is in use and periodic.
    charge: Option<TimerCharge>,
}

impl Schedule {
    fn parse(record: &uapi::kevent_watch) -> Result<Self> {
        let [at, interval, clock, slack] = record.arg;
        let at = i64::try_from(at).map_err(|_| EINVAL)?;
        let interval = i64::try_from(interval).map_err(|_| EINVAL)?;
        let clock = u32::try_from(clock).map_err(|_| EINVAL)?;
        if record.flags & uapi::KEVENT_WATCH_ONESHOT != 0 && interval != 0 {
            return Err(EINVAL);
        }
        let next = if record.flags & uapi::KEVENT_WATCH_ABSTIME != 0 {
            Deadline::new(clock, to_host_time(clock, at), slack)?
        } else {
            let clock = match clock {
                bindings::CLOCK_REALTIME => bindings::CLOCK_MONOTONIC,
                clock => clock,
            };
            Deadline::from_now(clock, at, slack)?
        };
        Ok(Self {
            next,
            interval,
            backoff: 0,
            armed: true,
            charge: None,
        })
    }

    /// Counts the expirations that have passed. Returns how many, and how many nanoseconds are left
    /// until the next one.
    fn count(&mut self) -> (u64, i64) {
        let left = self.next.remaining();
        if !self.armed || left > 0 {
            return (0, left);
        }
        if self.interval == 0 {
            self.armed = false;
            return (1, left);
        }
        let passed = divide(left.unsigned_abs(), self.interval.unsigned_abs()).saturating_add(1);
        let span = passed.saturating_mul(self.interval.unsigned_abs());
        let span = i64::try_from(span).unwrap_or(i64::MAX);
        self.next = self.next.later(span);
        (passed, left.saturating_add(span))
    }

    /// When the next interrupt of the watch at `place` comes, if any. `called`: it is armed by a
    /// call of the program. `left`: nanoseconds until the next expiration.
    fn interrupt(&self, place: u32, called: bool, left: i64) -> Option<Deadline> {
        if !self.armed {
            return None;
        }
        let skipped = (1i64 << self.backoff).saturating_sub(1);
        let skipped = skipped.saturating_mul(self.interval);
        let at = self.next.later(skipped);
        let least = match &self.charge {
            Some(charge) if !called => charge.gap(place),
            _ => MIN_GAP,
        };
        let least = if self.interval >= least {
            MIN_GAP
        } else {
            least
        };
        let gap = least.saturating_sub(left.saturating_add(skipped));
        let at = if gap > 0 { at.later(gap) } else { at };
        Some(if called || self.interval == 0 {
            at
        } else {
            at.with_slack(TICK_NS.into())
        })
    }
}

/// The source of a TIMER watch.
#[pin_data]
pub(crate) struct Timer {
    #[pin]
    pub(crate) timer: ClockTimer<Watch<Timer>>,
    #[pin]
    schedule: SpinLockIrq<Schedule>,
    pending_count: Atomic<u64>,
}

impl Class for Timer {
    const NUMBER: u32 = uapi::KEVENT_SOURCE_TIMER;
    const FLAGS: u32 = uapi::KEVENT_WATCH_ABSTIME;
    const EVENTS: u32 = uapi::KEVENT_TIMER_EXPIRED;
    const NEEDED: u32 = Self::EVENTS;

    fn watch(queue: &Arc<Queue>, record: &uapi::kevent_watch) -> Result<Arc<Watch>> {
        if record.ident != 0 {
            return Err(EINVAL);
        }
        let mut schedule = Schedule::parse(record)?;
        // Nothing expires before the watch is attached.
        schedule.armed = false;
        let timer = try_pin_init!(Timer {
            timer <- ClockTimer::new(&schedule.next),
            schedule <- new_spinlock_irq!(schedule),
            pending_count: Atomic::new(0),
        }? Error);
        let watch: Arc<Watch<Timer>> = Watch::new(queue.clone(), record, EventKind::Count, timer)?;
        Ok(watch)
    }
}

impl Source for Timer {
    fn pending_count(&self) -> Option<&Atomic<u64>> {
        Some(&self.pending_count)
    }

    fn attach(&self, watch: ArcBorrow<'_, Watch>, record: &uapi::kevent_watch) -> Result {
        self.set_arg(watch, record)?;
        self.start(watch);
        Ok(())
    }

    fn set_arg(&self, watch: ArcBorrow<'_, Watch>, record: &uapi::kevent_watch) -> Result {
        let mut new = Schedule::parse(record)?;
        if new.interval != 0 {
            new.charge = Some(TimerCharge::new(ENOSPC)?);
        }
        self.timer.cancel();
        set_timer_clock(self, &new.next);
        // What has expired before counts still.
        let mut schedule = self.schedule.lock();
        let (passed, _) = schedule.count();
        let old = core::mem::replace(&mut *schedule, new);
        drop(schedule);
        drop(old);
        if passed != 0 {
            self.fire(watch, passed);
        }
        // It is started when the change is complete, or the watch attached.
        Ok(())
    }

    fn detach(&self, _queue: &Queue) {
        self.timer.cancel();
    }

    fn on_recheck(&self, watch: ArcBorrow<'_, Watch>) {
        // If it is interrupting, it has fired after that.
        self.timer.cancel();
        if watch.is_unconsumed() {
            // The distance is reset when the event was consumed.
            watch.list();
        } else {
            self.schedule.lock().backoff = 0;
        }
        self.start(watch);
    }

    fn synchronize(&self) {
        self.timer.cancel();
    }

    fn resumed(&self, watch: ArcBorrow<'_, Watch>) {
        self.on_recheck(watch);
    }

    fn check_flags(&self, flags: u32) -> Result {
        if flags & uapi::KEVENT_WATCH_ONESHOT != 0 && self.schedule.lock().interval != 0 {
            return Err(EINVAL);
        }
        Ok(())
    }

    fn ident(&self) -> u64 {
        0
    }
}

impl Timer {
    /// Whether there are expirations that have not been reported.
    fn has_pending(&self) -> bool {
        self.pending_count.load(Relaxed) != 0
    }

    /// Reports `count` further expirations.
    fn fire(&self, watch: ArcBorrow<'_, Watch>, count: u64) -> PostOutcome {
        add_pending(&self.pending_count, count);
        watch.fire(uapi::KEVENT_TIMER_EXPIRED)
    }

    /// Reports what has expired, and arms the timer for what comes. To be called by the program.
    fn start(&self, watch: ArcBorrow<'_, Watch>) {
        while let Some(at) = self.expire(watch, true) {
            if start_timer(self, &at) {
                break;
            }
        }
    }

    /// Reports what has expired; returns when the next interrupt comes. `called`: because of a call
    /// of the program.
    fn expire(&self, watch: ArcBorrow<'_, Watch>, called: bool) -> Option<Deadline> {
        let mut schedule = self.schedule.lock();
        if !called && (schedule.interval != 0 || self.has_pending()) {
            // The next call of the program arms it again. It waits until this is over.
            watch.list();
        }
        let (count, left) = schedule.count();
        let mut outcome = PostOutcome::Posted;
        if count != 0 || self.has_pending() {
            let is_over = !schedule.armed;
            drop(schedule);
            outcome = self.fire(watch, count);
            if is_over {
                return None;
            }
            schedule = self.schedule.lock();
        }
        if watch.is_dead() {
            return None;
        }
        if matches!(outcome, PostOutcome::Posted | PostOutcome::Empty) {
            schedule.backoff = 0;
        } else if !called && schedule.backoff < MAX_BACKOFF {
            schedule.backoff = schedule.backoff.saturating_add(1);
        }
        schedule.interrupt(watch.place(), called, left)
    }

    /// The timer has expired.
    pub(crate) fn expired(watch: ArcBorrow<'_, Watch<Self>>) -> Option<Deadline> {
        watch.into_ref().source().expire(watch, false)
    }
}
