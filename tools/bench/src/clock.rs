// SPDX-License-Identifier: GPL-2.0-only

//! Time as a count of instructions.
//!
//! Under QEMU's `-icount shift=0` the machine's time goes on by one nanosecond with each
//! instruction, so `CLOCK_MONOTONIC`, which [`Instant`] reads, counts them.

use std::arch::asm;
use std::time::Instant;

/// What the clock counts here.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    /// Whether a nanosecond is an instruction; otherwise figures are nanoseconds.
    pub exact: bool,
    /// What two readings of the clock, one after the other, are apart.
    overhead: u64,
}

/// Rounds of the loop of two instructions that is timed.
const LOOPS: u64 = 1 << 14;
/// How often it is timed. Nothing else comes in between in the fastest.
const TRIES: u64 = 1 << 8;
/// By how much the time may differ from the instructions: a clock is not read in one instant.
const TOLERANCE: u64 = LOOPS / 50;

impl Clock {
    /// Finds out by timing a loop whose instructions are known.
    pub fn calibrate() -> Clock {
        let time = |work: fn()| {
            let once = || {
                let start = Instant::now();
                work();
                start.elapsed().as_nanos() as u64
            };
            (0..TRIES).map(|_| once()).min().unwrap_or(0)
        };
        let overhead = time(|| ());
        let loops = time(spin).saturating_sub(overhead);

        Clock {
            exact: is_exact(loops),
            overhead,
        }
    }

    /// The instructions of `work`.
    pub fn count<E>(&self, work: impl FnOnce() -> Result<(), E>) -> Result<u64, E> {
        let start = Instant::now();
        work()?;
        let elapsed = start.elapsed().as_nanos() as u64;

        Ok(elapsed.saturating_sub(self.overhead))
    }

    /// What figures are in.
    pub fn unit(&self) -> &'static str {
        if self.exact { "insn" } else { "ns" }
    }
}

/// Whether the loop took as many nanoseconds as it has instructions.
fn is_exact(loops: u64) -> bool {
    loops.abs_diff(2 * LOOPS) <= TOLERANCE
}

/// Twice `LOOPS` instructions.
fn spin() {
    spin_for(2 * LOOPS);
}

/// Takes that many instructions in the program, at least two.
pub fn spin_for(instructions: u64) {
    let rounds = instructions / 2;

    #[cfg(target_arch = "x86_64")]
    // SAFETY: it only counts a register down.
    unsafe {
        asm!("2: dec {0}", "jnz 2b", inout(reg) rounds => _, options(nomem, nostack));
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: it only counts a register down.
    unsafe {
        asm!("2: subs {0}, {0}, #1", "b.ne 2b", inout(reg) rounds => _, options(nomem, nostack));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exact_or_not() {
        assert!(is_exact(2 * LOOPS));
        assert!(is_exact(2 * LOOPS + 300));
        assert!(!is_exact(LOOPS));
        assert!(!is_exact(4 * LOOPS));
    }

    #[test]
    fn counts() {
        let clock = Clock {
            exact: false,
            overhead: u64::MAX,
        };
        assert_eq!(clock.count(|| Ok::<(), ()>(())), Ok(0));
        assert_eq!(clock.count(|| Err(7)), Err(7));
        assert_eq!(clock.unit(), "ns");
    }
}
