// SPDX-License-Identifier: GPL-2.0-only

//! Periodic timers with a very short interval, of a program that is busy and takes what they report
//! without a call: how many instructions the interrupts take from it.

use anyhow::Result;
use kevent::{Queue, Watch};
use std::time::Duration;

use super::Field;
use crate::classes::sys::{Notify, PosixTimer, block, timerfd};
use crate::clock::spin_for;

const INTERVAL: Duration = Duration::from_micros(10);
/// A tenth of a second of the program, in steps after each of which it takes what is there.
const STEP: u64 = 10_000;
const STEPS: u64 = 10_000;
/// What one timer may take: 1 in 500.
const MOST: u64 = 200_000;

pub fn run(field: &mut Field) -> Result<()> {
    let queue = Queue::builder().entries(64).build()?;
    let taking = busy(field, Some(&queue))?;

    queue.add_one(Watch::timer(INTERVAL).every(INTERVAL))?;
    let timer = busy(field, Some(&queue))?.saturating_sub(taking);
    drop(queue);
    field.limited(
        "timer of 10 us, 0.1 s of program",
        "kevent TIMER",
        1,
        timer,
        MOST,
    );

    let queue = Queue::builder().entries(64).build()?;
    let posix = PosixTimer::new(Notify::Other(queue.sigevent(0)))?;
    posix.every(INTERVAL)?;
    let timer = busy(field, Some(&queue))?.saturating_sub(taking);
    drop((posix, queue));
    field.limited(
        "timer of 10 us, 0.1 s of program",
        "kevent SIGEV",
        1,
        timer,
        MOST,
    );

    let quiet = busy(field, None)?;

    // It is started again by being read.
    let file = timerfd()?;
    crate::classes::sys::every(&file, INTERVAL)?;
    let timer = busy(field, None)?.saturating_sub(quiet);
    drop(file);
    field.shown("timer of 10 us, 0.1 s of program", "timerfd", 1, timer);

    // And this one by being taken.
    block()?;
    let posix = PosixTimer::new(Notify::Signal(0))?;
    posix.every(INTERVAL)?;
    let timer = busy(field, None)?.saturating_sub(quiet);
    field.shown(
        "timer of 10 us, 0.1 s of program",
        "timer_create, signal",
        1,
        timer,
    );
    Ok(())
}

/// Instructions until the program has had its time.
fn busy(field: &Field, queue: Option<&Queue>) -> Result<u64> {
    field.clock.count(|| {
        for _ in 0..STEPS {
            spin_for(STEP);
            if let Some(queue) = queue {
                queue.drain().for_each(drop);
            }
        }
        Ok(())
    })
}
