// SPDX-License-Identifier: GPL-2.0-only

//! Ticks, and division where the machine has none of 64 bits.

use kernel::bindings;

/// The length of a tick, in nanoseconds.
pub(crate) const TICK_NS: u32 = bindings::KEVENT_TICK_NS;

/// Divides, on 32-bit machines too.
pub(crate) fn divide(dividend: u64, divisor: u64) -> u64 {
    // SAFETY: FFI call with numbers; a divisor of 0 is replaced.
    unsafe { bindings::kevent_divide(dividend, divisor.max(1)) }
}
