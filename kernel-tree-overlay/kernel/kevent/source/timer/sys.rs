// SPDX-License-Identifier: GPL-2.0-only

//! What fires the source of a TIMER watch.

use kernel::{
    bindings,
    sync::ArcBorrow,
    time::{
        clock_timer::HasClockTimer,
        deadline::Deadline, //
    }, //
};

use crate::{
    engine::watch::Watch,
    source::timer::Timer, //
};

/// What a point in time in the time namespace of the current task is outside of it.
pub(crate) fn to_host_time(clock: u32, at: i64) -> i64 {
    // SAFETY: FFI call with numbers. CAST: Any will do, those that are no clock are returned as is.
    unsafe { bindings::timens_ktime_to_host(clock as bindings::clockid_t, at) }
}

// SAFETY:
// * The offset is that of the timer in the source in the watch.
// * Watches live in an `Arc`, and `Table::remove_at` detaches their source, which cancels the
//   timer, before it drops its reference. Before a watch is in the table its timer is not armed.
unsafe impl HasClockTimer for Watch<Timer> {
    const OFFSET: usize = core::mem::offset_of!(Watch<Timer>, source.timer);

    fn expired(this: ArcBorrow<'_, Self>) -> Option<Deadline> {
        Timer::expired(this)
    }
}

/// Arms the timer of a source that was cancelled, with a deadline on its clock. Returns whether it
/// is armed, which it is not if the deadline has passed.
///
/// To be called with the mutex of the queue's watches held since it was cancelled.
pub(crate) fn start_timer(source: &Timer, deadline: &Deadline) -> bool {
    // SAFETY: `Timer::watch` makes the source of a watch in an `Arc`. The rest is as this function
    // says.
    unsafe { source.timer.start(deadline) }
}

/// Puts the timer of a source on the clock of `deadline`.
///
/// To be called with the mutex of the queue's watches held since it was cancelled.
pub(crate) fn set_timer_clock(source: &Timer, deadline: &Deadline) {
    // SAFETY: The timer was cancelled. It is started and cancelled with the mutex held only.
    unsafe { source.timer.set_clock(deadline) };
}
