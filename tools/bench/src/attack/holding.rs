// SPDX-License-Identifier: GPL-2.0-only

//! Memory that stays taken when nothing is watched any more, and that can be taken without a watch.

use anyhow::{Context, Result};
use kevent::{Post, Queue};
use rustix::event::{EventfdFlags, epoll, eventfd};
use std::os::fd::{AsFd, OwnedFd};

use super::{Field, crowd};
use crate::memory::settled;

const QUEUES: usize = 10;
/// Watches that each has had.
const WATCHES: usize = 20_000;
/// What a queue without watches may hold.
const MOST: u64 = 65_536;
/// Queues that are posted to, and what is posted to each at most.
const POSTED_TO: usize = 16;
const POSTS: usize = 65_536;
/// What a user's posts may take: 16 MiB.
const MOST_POSTED: u64 = 16 << 20;

pub fn run(field: &mut Field) -> Result<()> {
    emptied(field)?;
    posted(field)
}

/// What empty queues hold.
fn emptied(field: &mut Field) -> Result<()> {
    let attack = "a queue that has had 20,000 watches";
    let file = eventfd(0, EventfdFlags::NONBLOCK)?;
    let queues = (0..QUEUES)
        .map(|_| crowd::queue())
        .collect::<Result<Vec<_>>>()?;
    let before = settled()?;
    let mut watches = 0;

    for queue in &queues {
        let handles = crowd::add_polled(queue, file.as_fd(), WATCHES)?;

        for some in handles.chunks(64) {
            queue.remove(some)?;
        }
        watches = handles.len();
    }
    let held = before.saturating_sub(settled()?) / QUEUES as u64;
    drop(queues);
    field.limited(attack, "kevent", watches, held, MOST);
    field.in_bytes();

    let copies: Vec<OwnedFd> = (0..WATCHES)
        .map(|_| file.try_clone())
        .collect::<Result<_, _>>()?;
    let instances = (0..QUEUES)
        .map(|_| epoll::create(epoll::CreateFlags::CLOEXEC))
        .collect::<Result<Vec<_>, _>>()?;
    let before = settled()?;
    for instance in &instances {
        for copy in &copies {
            epoll::add(
                instance,
                copy,
                epoll::EventData::new_u64(0),
                epoll::EventFlags::IN,
            )?;
        }
        for copy in &copies {
            epoll::delete(instance, copy)?;
        }
    }
    let held = before.saturating_sub(settled()?) / QUEUES as u64;
    field.shown(attack, "epoll", copies.len(), held);
    field.in_bytes();
    Ok(())
}

/// What untaken posts hold.
fn posted(field: &mut Field) -> Result<()> {
    let queues = (0..POSTED_TO)
        .map(|_| Ok(Queue::builder().entries(0).build()?))
        .collect::<Result<Vec<_>>>()
        .context("queues without a ring")?;
    let before = settled()?;
    let posts = [Post::new(0); 256];
    let mut count = 0;

    for queue in &queues {
        for _ in 0..POSTS / posts.len() {
            match queue.post_deferred(&posts) {
                Ok(posted) => count += posted,
                Err(_) => break,
            }
        }
    }
    let held = before.saturating_sub(settled()?);
    field.limited(
        "posts that are not taken, in 16 queues",
        "kevent",
        count,
        held,
        MOST_POSTED,
    );
    field.in_bytes();
    Ok(())
}
