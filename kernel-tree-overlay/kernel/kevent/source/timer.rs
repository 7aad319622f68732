// SPDX-License-Identifier: GPL-2.0-only

//! TIMER: a point in time, and from there on every interval.
//!
//! Expirations are counted, from the nominal times: none is lost or shifted when the timer is late.
//! A periodic timer whose last event the program has not taken doubles the distance to its next
//! interrupt each time, so a program that does not listen costs a handful of them, not one per
//! interval. When the program waits next, the distance is reset.

use kernel::{
    new_spinlock_irq,
    prelude::*,
    sync::{
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
    hooks::to_host_time,
    queue::Queue,
    source::Source,
    watch::{
        fire,
        Told,
        Watch, //
    },
};

/// The nearest that two interrupts of a timer may be, in nanoseconds.
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
}

impl Schedule {
    fn parse(record: &uapi::kevent_watch) -> Result<Self> {
        let [at, interval, clock, slack] = record.arg;
        let at = i64::try_from(at).map_err(|_| EINVAL)?;
        let interval = i64::try_from(interval).map_err(|_| EINVAL)?;
        let clock = u32::try_from(clock).map_err(|_| EINVAL)?;
        let next = if record.flags & uapi::KEVENT_WATCH_ABSTIME != 0 {
            Deadline::new(clock, to_host_time(clock, at), slack)?
        } else {
            Deadline::from_now(clock, at, slack)?
        };
        Ok(Self {
            next,
            interval,
            backoff: 0,
            armed: true,
        })
    }

    /// Counts the expirations that have passed.
    fn count(&mut self) -> u64 {
        let late = self.next.remaining().saturating_neg();
        if !self.armed || late < 0 {
            return 0;
        }
        if self.interval == 0 {
            self.armed = false;
            return 1;
        }
        let more = late.checked_div(self.interval).unwrap_or(0);
        let passed = more.saturating_add(1);
        self.next = self.next.later(passed.saturating_mul(self.interval));
        // CAST: Neither is negative.
        passed as u64
    }

    /// When the next interrupt comes, if any.
    fn interrupt(&self) -> Option<Deadline> {
        if !self.armed {
            return None;
        }
        let skipped = (1i64 << self.backoff).saturating_sub(1);
        let at = self.next.later(skipped.saturating_mul(self.interval));
        let gap = MIN_GAP.saturating_sub(at.remaining());
        Some(if gap > 0 { at.later(gap) } else { at })
    }
}

/// The source of a TIMER watch.
#[pin_data]
pub(crate) struct Timer {
    #[pin]
    pub(crate) timer: ClockTimer<Watch<Timer>>,
    #[pin]
    schedule: SpinLockIrq<Schedule>,
}

/// Makes a TIMER watch.
pub(super) fn watch(queue: Arc<Queue>, record: &uapi::kevent_watch) -> Result<Arc<Watch>> {
    let flags = uapi::KEVENT_WATCH_ONESHOT
        | uapi::KEVENT_WATCH_DISPATCH
        | uapi::KEVENT_WATCH_EDGE
        | uapi::KEVENT_WATCH_DISABLED
        | uapi::KEVENT_WATCH_ABSTIME;
    if record.flags & !flags != 0 || record.ident != 0 {
        return Err(EINVAL);
    }
    if record.events != uapi::KEVENT_TIMER_EXPIRED {
        return Err(EINVAL);
    }
    let mut schedule = Schedule::parse(record)?;
    // Nothing expires before the watch is attached.
    schedule.armed = false;
    let timer = try_pin_init!(Timer {
        timer <- ClockTimer::new(&schedule.next),
        schedule <- new_spinlock_irq!(schedule),
    }? Error);
    let watch: Arc<Watch<Timer>> = Watch::new(queue, record, timer)?;
    Ok(watch)
}

impl Source for Timer {
    fn class(&self) -> u32 {
        uapi::KEVENT_SOURCE_TIMER
    }

    fn counts(&self) -> bool {
        true
    }

    fn attach(&self, watch: ArcBorrow<'_, Watch>, record: &uapi::kevent_watch) -> Result {
        let new = Schedule::parse(record)?;
        // The timer itself is on the clock that it was made with.
        if !self.schedule.lock().next.is_on_clock_of(&new.next) {
            return Err(EINVAL);
        }
        self.timer.cancel();
        // What has expired before counts still.
        let mut schedule = self.schedule.lock();
        let passed = schedule.count();
        *schedule = new;
        drop(schedule);
        if passed != 0 {
            fire(watch, uapi::KEVENT_TIMER_EXPIRED, passed);
        }
        self.start(watch);
        Ok(())
    }

    fn set_events(&self, events: u32) -> Result {
        if events == uapi::KEVENT_TIMER_EXPIRED {
            Ok(())
        } else {
            Err(EINVAL)
        }
    }

    fn detach(&self) {
        self.timer.cancel();
    }

    fn revisit(&self, watch: ArcBorrow<'_, Watch>) {
        let late = self.schedule.lock().backoff != 0;
        if !late && !watch.owes() {
            return;
        }
        if watch.is_untaken() {
            watch.ask_for_revisit();
            return;
        }
        self.timer.cancel();
        self.schedule.lock().backoff = 0;
        self.start(watch);
    }
}

impl Timer {
    /// Tells what has expired, and arms the timer for what comes.
    fn start(&self, watch: ArcBorrow<'_, Watch>) {
        while let Some(at) = self.expire(watch) {
            if self.timer.start(&at) {
                break;
            }
        }
    }

    /// Tells what has expired, and when the next interrupt comes.
    fn expire(&self, watch: ArcBorrow<'_, Watch>) -> Option<Deadline> {
        let count = self.schedule.lock().count();
        let told = if count != 0 || watch.owes() {
            fire(watch, uapi::KEVENT_TIMER_EXPIRED, count)
        } else {
            Told::Anew
        };
        if watch.is_settled() {
            return None;
        }
        let mut schedule = self.schedule.lock();
        if matches!(told, Told::Anew | Told::Nothing) {
            schedule.backoff = 0;
        } else if schedule.backoff < MAX_BACKOFF {
            schedule.backoff = schedule.backoff.saturating_add(1);
            watch.ask_for_revisit();
        }
        schedule.interrupt()
    }

    /// The timer has expired.
    pub(crate) fn expired(watch: ArcBorrow<'_, Watch<Self>>) -> Option<Deadline> {
        let timer = watch.into_ref().source();
        timer.expire(watch)
    }
}
