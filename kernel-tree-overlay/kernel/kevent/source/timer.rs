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
    hooks::{
        start_timer,
        to_host_time, //
    },
    queue::Queue,
    source::{
        Class,
        Room,
        Source, //
    },
    watch::{
        fire,
        owe,
        Tells,
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
    owed: Atomic<u64>,
}

impl Class for Timer {
    const NUMBER: u32 = uapi::KEVENT_SOURCE_TIMER;
    const FLAGS: u32 = uapi::KEVENT_WATCH_ABSTIME;
    const EVENTS: u32 = uapi::KEVENT_TIMER_EXPIRED;
    const NEEDED: u32 = Self::EVENTS;

    fn watch(queue: &Arc<Queue>, record: &uapi::kevent_watch, _: Room) -> Result<Arc<Watch>> {
        if record.ident != 0 {
            return Err(EINVAL);
        }
        let mut schedule = Schedule::parse(record)?;
        // Nothing expires before the watch is attached.
        schedule.armed = false;
        let timer = try_pin_init!(Timer {
            timer <- ClockTimer::new(&schedule.next),
            schedule <- new_spinlock_irq!(schedule),
            owed: Atomic::new(0),
        }? Error);
        let watch: Arc<Watch<Timer>> = Watch::new(queue.clone(), record, Tells::Counts, timer)?;
        Ok(watch)
    }
}

impl Source for Timer {
    fn owed(&self) -> Option<&Atomic<u64>> {
        Some(&self.owed)
    }

    fn attach(&self, watch: ArcBorrow<'_, Watch>, record: &uapi::kevent_watch) -> Result {
        self.set_arg(watch, record)
    }

    fn set_arg(&self, watch: ArcBorrow<'_, Watch>, record: &uapi::kevent_watch) -> Result {
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
            self.fire(watch, passed);
        }
        self.start(watch);
        Ok(())
    }

    fn detach(&self, _queue: &Queue) {
        self.timer.cancel();
    }

    fn revisit(&self, watch: ArcBorrow<'_, Watch>) {
        let late = self.schedule.lock().backoff != 0;
        if !late && !self.owes() {
            return;
        }
        if watch.is_untaken() {
            watch.list();
            return;
        }
        self.timer.cancel();
        self.schedule.lock().backoff = 0;
        self.start(watch);
    }

    fn ident(&self) -> u64 {
        0
    }
}

impl Timer {
    /// Whether there are expirations that have not been told.
    fn owes(&self) -> bool {
        self.owed.load(Relaxed) != 0
    }

    /// Tells `count` further expirations.
    fn fire(&self, watch: ArcBorrow<'_, Watch>, count: u64) -> Told {
        owe(&self.owed, count);
        fire(watch, uapi::KEVENT_TIMER_EXPIRED)
    }

    /// Tells what has expired, and arms the timer for what comes.
    fn start(&self, watch: ArcBorrow<'_, Watch>) {
        while let Some(at) = self.expire(watch) {
            if start_timer(self, &at) {
                break;
            }
        }
    }

    /// Tells what has expired, and when the next interrupt comes.
    fn expire(&self, watch: ArcBorrow<'_, Watch>) -> Option<Deadline> {
        let count = self.schedule.lock().count();
        let told = if count != 0 || self.owes() {
            self.fire(watch, count)
        } else {
            Told::Anew
        };
        if watch.is_over() {
            return None;
        }
        let mut schedule = self.schedule.lock();
        if matches!(told, Told::Anew | Told::Nothing) {
            schedule.backoff = 0;
        } else if schedule.backoff < MAX_BACKOFF {
            schedule.backoff = schedule.backoff.saturating_add(1);
            watch.list();
        }
        schedule.interrupt()
    }

    /// The timer has expired.
    pub(crate) fn expired(watch: ArcBorrow<'_, Watch<Self>>) -> Option<Deadline> {
        let timer = watch.into_ref().source();
        timer.expire(watch)
    }
}
