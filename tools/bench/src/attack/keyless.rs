// SPDX-License-Identifier: GPL-2.0-only

//! Wake-ups that do not say what they are for, with very many level watches that were reported: what
//! each takes, with everything that the kernel does about it later while the program is busy.

use anyhow::{Context, Result};
use kevent::{Queue, Readiness, Watch};
use rustix::event::{EventfdFlags, epoll, eventfd};
use std::os::fd::{AsFd, OwnedFd};

use super::{Field, crowd};
use crate::classes::sys::{block, send, signalfd};
use crate::clock::spin_for;

/// Listed level watches, and how many of one file.
const LISTED: usize = 50_000;
const OF_A_FILE: usize = 500;
/// Wake-ups: signals, which a signalfd is woken for without a key.
const WAKE_UPS: usize = 200;
/// For how long the program is busy after them.
const BUSY: u64 = 50_000_000;
/// What a wake-up may take.
const MOST: u64 = 2_000;

pub fn run(field: &mut Field) -> Result<()> {
    block()?;
    let signals = signalfd()?;
    let quiet = wake(field, &signals)?;
    let files: Vec<OwnedFd> = (0..LISTED / OF_A_FILE)
        .map(|_| eventfd(1, EventfdFlags::NONBLOCK))
        .collect::<Result<_, _>>()?;

    let queue = Queue::builder().entries(65_536).build()?;
    let mut listed = 0;
    for file in &files {
        let watch = Watch::poll(file.as_fd(), Readiness::IN);

        listed += crowd::add(&queue, watch, OF_A_FILE)?.len();
    }
    let taken = queue
        .ring()
        .context("a queue without a ring")?
        .drain()
        .count();
    queue.add_one(Watch::poll(signals.as_fd(), Readiness::IN))?;
    let with = wake(field, &signals)?;
    drop(queue);
    field.limited(
        "wake-up without a key, level watches taken",
        "kevent",
        taken.min(listed),
        with.saturating_sub(quiet) / WAKE_UPS as u64,
        MOST,
    );

    let instance = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    let add = |file: &OwnedFd| {
        epoll::add(
            &instance,
            file,
            epoll::EventData::new_u64(0),
            epoll::EventFlags::IN,
        )
    };
    let copies = files
        .iter()
        .flat_map(|file| (0..OF_A_FILE / 5).map(|_| file.try_clone()))
        .collect::<Result<Vec<_>, _>>()?;
    copies.iter().try_for_each(add)?;
    add(&signals)?;
    let with = wake(field, &signals)?;
    field.shown(
        "wake-up without a key, level watches taken",
        "epoll",
        copies.len(),
        with.saturating_sub(quiet) / WAKE_UPS as u64,
    );
    Ok(())
}

/// Instructions of the wake-ups, and of the time after them.
fn wake(field: &Field, signals: &OwnedFd) -> Result<u64> {
    let taken = field.clock.count(|| {
        (0..WAKE_UPS).try_for_each(send)?;
        spin_for(BUSY);
        Ok::<_, anyhow::Error>(())
    })?;
    let mut buffer = [0; 128];

    while rustix::io::read(signals, &mut buffer).is_ok() {}
    Ok(taken)
}
