// SPDX-License-Identifier: GPL-2.0-only

//! Very many watches of one file.

use anyhow::{Context, Result};
use kevent::{Error, Handle, Queue, Readiness, Watch};
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use std::os::fd::{BorrowedFd, OwnedFd};

/// How many go into one call.
const AT_ONCE: usize = 64;

/// How many watches an attacker wants to have.
pub const MANY: usize = 100_000;
/// And how many instances of epoll, each of which can watch a descriptor once only.
pub const MANY_EPOLLS: usize = 10_000;

/// A queue with a ring for attacks: level watches that are reported at most once.
pub fn queue() -> Result<Queue> {
    Ok(Queue::builder().entries(2).build()?)
}

/// Adds up to `count` watches like this one, as far as the kernel allows it; their handles.
pub fn add(queue: &Queue, watch: Watch, count: usize) -> Result<Vec<Handle>> {
    let mut handles = Vec::with_capacity(count);

    while handles.len() < count {
        let mut watches = [watch; AT_ONCE];
        let watches = &mut watches[..AT_ONCE.min(count - handles.len())];

        match queue.add(watches) {
            Ok(_) => {}
            Err(Error::Limit) => break,
            Err(error) => return Err(error).context("many watches"),
        }
        let before = handles.len();
        let good = watches.iter().take_while(|watch| watch.result().is_ok());

        handles.extend(good.map(Watch::handle));
        if handles.len() < before + watches.len() {
            break;
        }
    }
    Ok(handles)
}

/// The same of a file that can be polled.
pub fn add_polled(queue: &Queue, file: BorrowedFd, count: usize) -> Result<Vec<Handle>> {
    add(queue, Watch::poll(file, Readiness::IN).edge(), count)
}

/// Instances of epoll, each of which watches the file.
pub fn epolls(file: BorrowedFd, count: usize) -> Result<Vec<OwnedFd>> {
    (0..count)
        .map(|_| {
            let instance = epoll::create(CreateFlags::CLOEXEC)?;

            epoll::add(&instance, file, EventData::new_u64(0), EventFlags::IN)?;
            Ok(instance)
        })
        .collect()
}
