// SPDX-License-Identifier: GPL-2.0-only

//! What it takes to read the first page of a descriptor's `fdinfo`, of an instance with very many
//! watches.

use anyhow::{Result, ensure};
use rustix::event::{EventfdFlags, epoll, eventfd};
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use super::{Field, crowd};

/// Enough for a page of text.
const MOST: u64 = 300_000;

pub fn run(field: &mut Field) -> Result<()> {
    let attack = "first page of fdinfo";
    let file = eventfd(0, EventfdFlags::NONBLOCK)?;
    let queue = crowd::queue()?;
    let watches = crowd::add_polled(&queue, file.as_fd(), crowd::MANY)?.len();
    let taken = read(field, queue.as_raw_fd())?;
    drop(queue);
    field.limited(attack, "kevent", watches, taken, MOST);

    let instance = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    let copies: Vec<OwnedFd> = (0..crowd::MANY_EPOLLS)
        .map(|_| file.try_clone())
        .collect::<Result<_, _>>()?;
    for copy in &copies {
        epoll::add(
            &instance,
            copy,
            epoll::EventData::new_u64(0),
            epoll::EventFlags::IN,
        )?;
    }
    let taken = read(field, instance.as_raw_fd())?;
    field.shown(attack, "epoll", copies.len(), taken);
    Ok(())
}

fn read(field: &Field, fd: i32) -> Result<u64> {
    let mut page = [0; 4096];
    let mut read = 0;
    let mut file = File::open(format!("/proc/self/fdinfo/{fd}"))?;

    let taken = field.clock.count(|| {
        read = file.read(&mut page)?;
        Ok::<_, anyhow::Error>(())
    })?;
    ensure!(read > 0, "fdinfo is empty");
    Ok(taken)
}
