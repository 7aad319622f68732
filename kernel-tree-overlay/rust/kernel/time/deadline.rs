// SPDX-License-Identifier: GPL-2.0

//! Points in time until which a task sleeps.
//!
//! C header: [`include/linux/hrtimer.h`](srctree/include/linux/hrtimer.h)

use crate::{
    bindings,
    prelude::*,
    time::{
        BootTime,
        Instant,
        Monotonic,
        RealTime, //
    },
};

/// A point in time on a clock chosen at run time.
///
/// What would be before the clock began, at 0, is at 0, which has passed for ever: timers take what
/// is negative for what is too far away to be reached.
///
/// # Invariants
///
/// `clock` is `CLOCK_MONOTONIC`, `CLOCK_REALTIME` or `CLOCK_BOOTTIME`, and `at` is not negative.
///
/// # Examples
///
/// ```
/// use kernel::time::deadline::Deadline;
///
/// let soon = Deadline::after(1_000_000_000);
/// assert!(soon.remaining() <= 1_000_000_000);
///
/// // Longer ago than the clock has been running.
/// assert!(Deadline::after(i64::MIN).remaining() < 0);
///
/// // This one cannot be slept on.
/// assert!(Deadline::new(kernel::bindings::CLOCK_TAI, 0, 0).is_err());
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Deadline {
    clock: bindings::clockid_t,
    at: bindings::ktime_t,
    slack: u64,
}

impl Deadline {
    /// A point in time, in nanoseconds on `clock`, that may be missed by `slack` nanoseconds.
    ///
    /// Fails with `EINVAL` if the clock is not `CLOCK_MONOTONIC`, `CLOCK_REALTIME` or
    /// `CLOCK_BOOTTIME`.
    pub fn new(clock: u32, at: i64, slack: u64) -> Result<Self> {
        match clock {
            // INVARIANT: It is one of the three, and the time not negative. CAST: They are small
            // numbers.
            bindings::CLOCK_MONOTONIC | bindings::CLOCK_REALTIME | bindings::CLOCK_BOOTTIME => {
                Ok(Self {
                    clock: clock as bindings::clockid_t,
                    at: at.max(0),
                    slack,
                })
            }
            _ => Err(EINVAL),
        }
    }

    /// A point in time, in nanoseconds on `CLOCK_MONOTONIC`.
    pub fn monotonic(at: i64) -> Self {
        // INVARIANT: It is one of the three, and the time not negative. CAST: It is a small number.
        Self {
            clock: bindings::CLOCK_MONOTONIC as bindings::clockid_t,
            at: at.max(0),
            slack: 0,
        }
    }

    /// The point in time that is `ns` nanoseconds away on `CLOCK_MONOTONIC`.
    pub fn after(ns: i64) -> Self {
        Self::monotonic(Instant::<Monotonic>::now().as_nanos().saturating_add(ns))
    }

    /// The point in time that is `ns` nanoseconds away on `clock`, see [`Deadline::new`].
    ///
    /// On `CLOCK_REALTIME` too it moves when the clock is set.
    pub fn from_now(clock: u32, ns: i64, slack: u64) -> Result<Self> {
        let zero = Self::new(clock, 0, slack)?;
        Ok(zero.later(ns.saturating_sub(zero.remaining())))
    }

    /// The clock.
    pub(super) fn clock(&self) -> bindings::clockid_t {
        self.clock
    }

    /// The point in time, in nanoseconds on the clock.
    pub fn at(&self) -> i64 {
        self.at
    }

    /// By how many nanoseconds it may be missed.
    pub fn slack(&self) -> u64 {
        self.slack
    }

    /// The same point in time, that may be missed by at least `slack` nanoseconds.
    pub fn with_slack(&self, slack: u64) -> Self {
        // INVARIANT: Neither the clock nor the time changes.
        Self {
            slack: self.slack.max(slack),
            ..*self
        }
    }

    /// The point in time `ns` nanoseconds later on the same clock.
    ///
    /// # Examples
    ///
    /// ```
    /// use kernel::{
    ///     bindings::CLOCK_MONOTONIC,
    ///     time::deadline::Deadline, //
    /// };
    ///
    /// let soon = Deadline::from_now(CLOCK_MONOTONIC, 1_000_000_000, 0)?;
    /// assert!(soon.remaining() <= 1_000_000_000);
    /// assert_eq!(soon.later(5).at(), soon.at() + 5);
    ///
    /// // Longer ago than the clock has been running.
    /// let past = soon.later(i64::MIN);
    /// assert_eq!(past.at(), 0);
    /// assert!(past.remaining() < 0);
    /// assert_eq!(Deadline::after(i64::MIN).at(), 0);
    /// # Ok::<(), Error>(())
    /// ```
    pub fn later(&self, ns: i64) -> Self {
        // INVARIANT: The clock is the same, and the time not negative.
        Self {
            at: self.at.saturating_add(ns).max(0),
            ..*self
        }
    }

    /// How many nanoseconds are left, as the clock stands now; negative once it has passed.
    pub fn remaining(&self) -> i64 {
        // CAST: They are small numbers.
        const REALTIME: bindings::clockid_t = bindings::CLOCK_REALTIME as bindings::clockid_t;
        const BOOTTIME: bindings::clockid_t = bindings::CLOCK_BOOTTIME as bindings::clockid_t;
        let now = match self.clock {
            REALTIME => Instant::<RealTime>::now().as_nanos(),
            BOOTTIME => Instant::<BootTime>::now().as_nanos(),
            _ => Instant::<Monotonic>::now().as_nanos(),
        };
        self.at.saturating_sub(now)
    }

    /// Sleeps until the task is woken or the deadline has passed; returns whether it has.
    ///
    /// The task state says what wakes the task: it must have been set before whatever the task
    /// waits for was last looked at. If it is still `TASK_RUNNING` this returns at once.
    pub fn sleep(&self) -> bool {
        let mut at = self.at;
        // SAFETY: FFI call on a local variable; the clock is one that hrtimers have, by the type
        // invariants.
        let ret = unsafe {
            bindings::schedule_hrtimeout_range_clock(
                &mut at,
                self.slack,
                bindings::hrtimer_mode_HRTIMER_MODE_ABS,
                self.clock,
            )
        };
        ret == 0
    }
}
