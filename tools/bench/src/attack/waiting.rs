// SPDX-License-Identifier: GPL-2.0-only

//! Very many threads that wait for more events than there are: what wakes the queue's watches asks
//! whether they have enough now.

use anyhow::{Context, Result, anyhow};
use kevent::{Post, Queue, Readiness, Wait, Watch};
use rustix::event::{EventfdFlags, eventfd};
use std::fs;
use std::os::fd::{AsFd, AsRawFd};
use std::thread;

use super::{Field, crowd};

/// Most of what is done with interrupts off, as for one wake-up of very many watches.
const MOST: u64 = 600_000;
const THREADS: usize = 500;
/// Slots of the ring, and what the threads wait for.
const ENTRIES: u32 = 1024;

pub fn run(field: &mut Field) -> Result<()> {
    let attack = "write to an eventfd, threads wait";
    let file = eventfd(0, EventfdFlags::NONBLOCK)?;
    let queue = Queue::builder().entries(ENTRIES).build()?;
    let watch = Watch::poll(file.as_fd(), Readiness::IN).edge();
    let watches = crowd::add(&queue, watch, crowd::MANY)?.len();

    let taken = thread::scope(|scope| {
        for _ in 0..THREADS {
            thread::Builder::new()
                .stack_size(64 << 10)
                .spawn_scoped(scope, || {
                    // One that has enough wakes the next one, which has as well.
                    if queue.wait(&Wait::new().min(ENTRIES).seen(0)).is_ok() {
                        let _ = queue.wake_next();
                    }
                })?;
        }
        let taken = wait_for_all(&queue).and_then(|()| {
            field.clock.count(|| {
                rustix::io::write(&file, &1u64.to_ne_bytes())?;
                Ok::<_, anyhow::Error>(())
            })
        });
        for _ in watches..ENTRIES as usize {
            queue.post(&[Post::new(0)])?;
        }
        taken
    })?;
    field.limited(attack, "kevent", THREADS, taken, MOST);
    Ok(())
}

/// Returns when all of the threads sleep.
fn wait_for_all(queue: &Queue) -> Result<()> {
    let path = format!("/proc/self/fdinfo/{}", queue.as_fd().as_raw_fd());
    let wanted = format!("waiters:\t{THREADS}\n");

    for _ in 0..1_000_000 {
        if fs::read_to_string(&path)
            .context("fdinfo")?
            .contains(&wanted)
        {
            return Ok(());
        }
        thread::yield_now();
    }
    Err(anyhow!("the threads do not come to wait"))
}
