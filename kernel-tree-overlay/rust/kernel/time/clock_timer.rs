// SPDX-License-Identifier: GPL-2.0

//! Timers on a clock chosen at run time, armed on behalf of user space.
//!
//! The clock and the mode of [`HrTimer`] are types. Here the clock is a value, expiry is absolute,
//! and starting a timer that has expired already says so instead of raising an interrupt, which is
//! how timers that user space controls have to be started.
//!
//! [`HrTimer`]: crate::time::hrtimer::HrTimer
//!
//! C header: [`include/linux/hrtimer.h`](srctree/include/linux/hrtimer.h)

use crate::{
    bindings,
    prelude::*,
    sync::ArcBorrow,
    time::deadline::Deadline,
    types::Opaque, //
};
use core::marker::{
    PhantomData,
    PhantomPinned, //
};

/// What has a [`ClockTimer`].
///
/// # Safety
///
/// * `OFFSET` must be the offset of a `ClockTimer<Self>` in `Self`.
/// * `Self` must live in an [`Arc`](crate::sync::Arc), and its timer be cancelled before the last
///   reference is dropped.
pub unsafe trait HasClockTimer: Sized + Send + Sync {
    /// Where the timer is in `Self`.
    const OFFSET: usize;

    /// The timer has expired. What is returned is when it expires next, if at all.
    ///
    /// Called in hard interrupt context, or with `PREEMPT_RT` in a thread: must not sleep.
    fn expired(this: ArcBorrow<'_, Self>) -> Option<Deadline>;
}

/// A timer.
///
/// # Examples
///
/// ```
/// use kernel::{
///     sync::{
///         atomic::{
///             Atomic,
///             Relaxed, //
///         },
///         Arc,
///         ArcBorrow, //
///     },
///     time::{
///         clock_timer::{
///             ClockTimer,
///             HasClockTimer, //
///         },
///         deadline::Deadline, //
///     },
/// };
///
/// #[pin_data]
/// struct Alarm {
///     rung: Atomic<u32>,
///     #[pin]
///     timer: ClockTimer<Alarm>,
/// }
///
/// // SAFETY: The offset is that of the timer. Below, the only one is in an `Arc`, and its timer is
/// // cancelled.
/// unsafe impl HasClockTimer for Alarm {
///     const OFFSET: usize = core::mem::offset_of!(Alarm, timer);
///
///     fn expired(this: ArcBorrow<'_, Self>) -> Option<Deadline> {
///         this.rung.fetch_add(1, Relaxed);
///         None
///     }
/// }
///
/// let soon = Deadline::after(1_000_000);
/// let alarm = Arc::pin_init(
///     pin_init!(Alarm {
///         rung: Atomic::new(0),
///         timer <- ClockTimer::new(&soon),
///     }),
///     GFP_KERNEL,
/// )?;
/// // SAFETY: It is the timer of an `Alarm` in an `Arc`, on that clock, and was not started before.
/// if unsafe { alarm.timer.start(&soon) } {
///     while alarm.rung.load(Relaxed) == 0 {
///         core::hint::spin_loop();
///     }
/// }
/// alarm.timer.cancel();
///
/// // SAFETY: As above, and it was cancelled.
/// let started = unsafe { alarm.timer.start(&Deadline::monotonic(1)) };
/// assert!(!started);
/// # Ok::<(), Error>(())
/// ```
#[pin_data(PinnedDrop)]
#[repr(transparent)]
pub struct ClockTimer<T: HasClockTimer> {
    #[pin]
    timer: Opaque<bindings::hrtimer>,
    /// Timers that are armed are in a tree.
    #[pin]
    _pin: PhantomPinned,
    _owner: PhantomData<fn() -> T>,
}

// SAFETY: Timers may be used from any thread.
unsafe impl<T: HasClockTimer> Send for ClockTimer<T> {}
// SAFETY: Timers have locks of their own.
unsafe impl<T: HasClockTimer> Sync for ClockTimer<T> {}

impl<T: HasClockTimer> ClockTimer<T> {
    /// Makes a timer on the clock of `deadline`, without arming it.
    pub fn new(deadline: &Deadline) -> impl PinInit<Self> + use<T> {
        let clock = deadline.clock();
        pin_init!(Self {
            // SAFETY: `slot` is valid while the closure is called; the clock is one that hrtimers
            // have.
            timer <- Opaque::ffi_init(move |slot| unsafe {
                bindings::hrtimer_setup(
                    slot,
                    Some(Self::run),
                    clock,
                    bindings::hrtimer_mode_HRTIMER_MODE_ABS,
                )
            }),
            _pin: PhantomPinned,
            _owner: PhantomData,
        })
    }

    /// Arms the timer, or arms it again. Returns `false` if the deadline has passed: the timer is
    /// not armed then, and its callback is not called.
    ///
    /// # Safety
    ///
    /// * It must be the timer at `OFFSET` of a `T` in an [`Arc`](crate::sync::Arc).
    /// * The deadline must be on the clock that the timer was made with.
    /// * The callback must not be running, unless it is known to return `None`: what it returns
    ///   would be written to a timer that is in the tree.
    pub unsafe fn start(&self, deadline: &Deadline) -> bool {
        // SAFETY: The timer is initialised, and pinned because there is no other way to make one.
        // Its callback finds the `T`, by the safety requirements.
        unsafe {
            bindings::hrtimer_start_range_ns_user(
                self.timer.get(),
                deadline.at(),
                deadline.slack(),
                bindings::hrtimer_mode_HRTIMER_MODE_ABS,
            )
        }
    }

    /// Puts the timer on the clock of `deadline`.
    ///
    /// # Safety
    ///
    /// The timer must have been cancelled, and not be started or cancelled meanwhile.
    pub unsafe fn set_clock(&self, deadline: &Deadline) {
        // SAFETY: The timer is initialised, not armed, and by the safety requirements no other
        // code accesses it. The clock is one that hrtimers have.
        unsafe {
            bindings::hrtimer_setup(
                self.timer.get(),
                Some(Self::run),
                deadline.clock(),
                bindings::hrtimer_mode_HRTIMER_MODE_ABS,
            )
        };
    }

    /// Disarms the timer. Its callback is not running any more when this returns.
    ///
    /// May sleep with `PREEMPT_RT`; must not be called from the callback.
    pub fn cancel(&self) {
        // SAFETY: The timer is initialised.
        unsafe { bindings::hrtimer_cancel(self.timer.get()) };
    }

    /// # Safety
    ///
    /// To be called by the timer core only, on a timer in a `T`.
    unsafe extern "C" fn run(timer: *mut bindings::hrtimer) -> bindings::hrtimer_restart {
        // SAFETY: The timer is at `OFFSET` in a `T`, which lives in an `Arc` that is not dropped
        // before the timer is cancelled.
        let this = unsafe { ArcBorrow::from_raw(timer.byte_sub(T::OFFSET).cast::<T>()) };
        let Some(next) = T::expired(this) else {
            return bindings::hrtimer_restart::HRTIMER_NORESTART;
        };
        // SAFETY: The callback of a timer may change when it expires.
        unsafe { bindings::hrtimer_set_expires_range_ns(timer, next.at(), next.slack()) };
        bindings::hrtimer_restart::HRTIMER_RESTART
    }
}

#[pinned_drop]
impl<T: HasClockTimer> PinnedDrop for ClockTimer<T> {
    fn drop(self: Pin<&mut Self>) {
        self.cancel();
    }
}
