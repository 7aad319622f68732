// SPDX-License-Identifier: MIT

use crate::sys;
use core::time::Duration;
use libc::c_ulong;

/// A clock to which deadlines refer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Clock {
    /// `CLOCK_MONOTONIC`: never set, stands still while the machine is suspended.
    #[default]
    Monotonic,
    /// `CLOCK_REALTIME`: the time of day, may be set.
    Realtime,
    /// `CLOCK_BOOTTIME`: never set, runs on while the machine is suspended.
    Boottime,
}

impl Clock {
    pub(crate) fn id(self) -> libc::clockid_t {
        match self {
            Clock::Monotonic => libc::CLOCK_MONOTONIC,
            Clock::Realtime => libc::CLOCK_REALTIME,
            Clock::Boottime => libc::CLOCK_BOOTTIME,
        }
    }

    /// What the clock shows, as the time since its zero.
    pub fn now(self) -> Duration {
        let mut ts = libc::timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };

        // SAFETY: `ts` is valid for writing. These three clocks always exist.
        unsafe { libc::clock_gettime(self.id(), &mut ts) };
        Duration::new(
            u64::try_from(ts.tv_sec).unwrap_or(0),
            u32::try_from(ts.tv_nsec).unwrap_or(0),
        )
    }
}

const WORD_BITS: usize = c_ulong::BITS as usize;
// The kernel's _NSIG: 128 on MIPS, 64 elsewhere.
#[cfg(any(
    target_arch = "mips",
    target_arch = "mips32r6",
    target_arch = "mips64",
    target_arch = "mips64r6"
))]
const NSIG: usize = 128;
#[cfg(not(any(
    target_arch = "mips",
    target_arch = "mips32r6",
    target_arch = "mips64",
    target_arch = "mips64r6"
)))]
const NSIG: usize = 64;

/// A set of signals, as the kernel has it.
///
/// ```
/// # use kevent::SignalSet;
/// let mask = SignalSet::full().without(libc::SIGINT);
/// assert!(!mask.contains(libc::SIGINT) && mask.contains(libc::SIGTERM));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct SignalSet([c_ulong; NSIG / WORD_BITS]);

impl SignalSet {
    /// No signal.
    pub const fn empty() -> SignalSet {
        SignalSet([0; NSIG / WORD_BITS])
    }

    /// Every signal.
    pub const fn full() -> SignalSet {
        SignalSet([c_ulong::MAX; NSIG / WORD_BITS])
    }

    fn place(signo: i32) -> Option<(usize, c_ulong)> {
        let bit = usize::try_from(signo).ok()?.checked_sub(1)?;

        (bit < NSIG).then(|| (bit / WORD_BITS, 1 << (bit % WORD_BITS)))
    }

    /// The set with `signo` in it. A number that is no signal changes nothing.
    pub fn with(mut self, signo: i32) -> SignalSet {
        if let Some((word, bit)) = SignalSet::place(signo) {
            self.0[word] |= bit;
        }
        self
    }

    /// The set without `signo`. A number that is no signal changes nothing.
    pub fn without(mut self, signo: i32) -> SignalSet {
        if let Some((word, bit)) = SignalSet::place(signo) {
            self.0[word] &= !bit;
        }
        self
    }

    /// Whether `signo` is in the set.
    pub fn contains(&self, signo: i32) -> bool {
        SignalSet::place(signo).is_some_and(|(word, bit)| self.0[word] & bit != 0)
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Timeout {
    #[default]
    Never,
    After(Duration),
    At(Clock, Duration),
}

impl Timeout {
    #[cfg_attr(not(feature = "std"), allow(dead_code))]
    /// The same moment on a clock, so that a wait can be taken up again without growing longer.
    pub(crate) fn fixed(self) -> Timeout {
        match self {
            Timeout::After(time) => Clock::Monotonic
                .now()
                .checked_add(time)
                .map_or(Timeout::Never, |at| Timeout::At(Clock::Monotonic, at)),
            other => other,
        }
    }

    #[cfg_attr(not(feature = "std"), allow(dead_code))]
    #[inline]
    pub(crate) fn timespec(self) -> Option<sys::__kernel_timespec> {
        match self {
            Timeout::Never => None,
            Timeout::After(time) | Timeout::At(_, time) => Some(sys::__kernel_timespec {
                tv_sec: i64::try_from(time.as_secs()).unwrap_or(i64::MAX),
                tv_nsec: i64::from(time.subsec_nanos()),
            }),
        }
    }
}

/// How to wait: for how many events, and for how long.
///
/// The default is to wait for one event, forever.
///
/// ```
/// # use kevent::{Clock, Wait};
/// # use std::time::Duration;
/// // Eight events, or what there is after 5 ms.
/// let batch = Wait::new().min(8).timeout(Duration::from_millis(5));
///
/// // The same moment however often the wait is repeated.
/// let until = Wait::new().deadline(Clock::Boottime, Clock::Boottime.now() + Duration::from_secs(60));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wait {
    pub(crate) min_nr: u32,
    pub(crate) seen: Option<u32>,
    pub(crate) timeout: Timeout,
    pub(crate) min_wait: Duration,
    pub(crate) sigmask: Option<SignalSet>,
    pub(crate) wake_next: bool,
}

impl Default for Wait {
    fn default() -> Wait {
        Wait::new()
    }
}

impl Wait {
    /// Wait for one event, forever.
    #[inline]
    pub const fn new() -> Wait {
        Wait {
            min_nr: 1,
            seen: None,
            timeout: Timeout::Never,
            min_wait: Duration::ZERO,
            sigmask: None,
            wake_next: false,
        }
    }

    /// Do not sleep: let the kernel move its backlog into the ring and poll level watches again.
    #[inline]
    pub const fn poll() -> Wait {
        Wait::new().min(0)
    }

    /// Wait until there are `min_nr` events, at most as many as the ring has slots. 0: do not sleep.
    #[inline]
    pub const fn min(mut self, min_nr: u32) -> Wait {
        self.min_nr = min_nr;
        self
    }

    /// Wait no longer than this, in steps of a nanosecond, by [`Clock::Monotonic`].
    #[inline]
    pub const fn timeout(mut self, time: Duration) -> Wait {
        self.timeout = Timeout::After(time);
        self
    }

    /// Wait until `clock` shows `at`, see [`Clock::now()`].
    pub const fn deadline(mut self, clock: Clock, at: Duration) -> Wait {
        self.timeout = Timeout::At(clock, at);
        self
    }

    /// Wait for all of [`min()`](Wait::min) only so long; after that, one event is enough.
    ///
    /// This is how to batch: events are collected for up to `time` and then handed over together,
    /// while the time-out, which is about having none at all, may be much longer or absent.
    pub const fn min_wait(mut self, time: Duration) -> Wait {
        self.min_wait = time;
        self
    }

    /// Install this signal mask while waiting, as `ppoll(2)` does: atomically, so that a signal
    /// which it lets through ends the wait even if it was already pending.
    pub const fn sigmask(mut self, mask: SignalSet) -> Wait {
        self.sigmask = Some(mask);
        self
    }

    /// Whether there is neither a time-out nor a window nor a signal mask.
    #[inline]
    pub(crate) const fn is_plain(&self) -> bool {
        matches!(self.timeout, Timeout::Never) && self.min_wait.is_zero() && self.sigmask.is_none()
    }

    /// `kevent_wait.flags`, but for that of the time-out.
    #[inline]
    pub(crate) const fn flags(&self) -> u32 {
        if self.wake_next {
            sys::KEVENT_WAIT_WAKE_NEXT
        } else {
            0
        }
    }

    /// Wait for events from this index of the ring on, instead of from the cursor.
    ///
    /// An event that came after the program looked at the ring, and found nothing at this index,
    /// then ends the wait at once. `Queue::next()` does it by itself.
    #[inline]
    pub const fn seen(mut self, index: u32) -> Wait {
        self.seen = Some(index);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signal_set() {
        assert_eq!(size_of::<SignalSet>() * 8, NSIG);
        let set = SignalSet::empty()
            .with(1)
            .with(64)
            .with(0)
            .with(-3)
            .with(4711);
        assert!(set.contains(1) && set.contains(64));
        assert!(!set.contains(2) && !set.contains(0) && !set.contains(4711));
        assert_eq!(set.without(1).without(64), SignalSet::empty());
        #[cfg(target_pointer_width = "64")]
        assert_eq!(set.0[0], 1 << 63 | 1);
    }

    #[test]
    fn timeouts() {
        assert_eq!(Timeout::Never.timespec(), None);
        let ts = Timeout::After(Duration::new(3, 999_999_999)).timespec();
        assert_eq!(
            ts,
            Some(sys::__kernel_timespec {
                tv_sec: 3,
                tv_nsec: 999_999_999
            })
        );
        let huge = Timeout::After(Duration::MAX);
        assert_eq!(huge.timespec().map(|ts| ts.tv_sec), Some(i64::MAX));
        assert_eq!(huge.fixed(), Timeout::Never);
        assert!(matches!(
            Timeout::After(Duration::ZERO).fixed(),
            Timeout::At(Clock::Monotonic, _)
        ));
    }
}
