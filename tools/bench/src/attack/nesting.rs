// SPDX-License-Identifier: GPL-2.0-only

//! Queues that watch queues, by very many watches: what it takes to add one more.

use anyhow::Result;
use kevent::{Readiness, Watch};
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use std::os::fd::{AsFd, OwnedFd};

use super::{Field, crowd};

/// Watches between each two of the queues; the kernel allows 1,024.
const WIDTH: usize = 500;
/// How often it is tried: the cheapest counts.
const TRIES: usize = 8;
/// A thousand instructions for each watch that there is.
const MOST: u64 = 2 * WIDTH as u64 * 1_000;

pub fn run(field: &mut Field) -> Result<()> {
    let queues = (0..4).map(|_| crowd::queue()).collect::<Result<Vec<_>>>()?;
    let edge = |inner: usize| Watch::poll(queues[inner].as_fd(), Readiness::IN);
    let mut watches = 0;

    for (inner, outer) in (1..3).zip(&queues) {
        watches += crowd::add(outer, edge(inner), WIDTH)?.len();
    }
    let mut best = u64::MAX;
    for _ in 0..TRIES {
        let mut handle = None;

        best = best.min(field.clock.count(|| {
            handle = Some(queues[2].add_one(edge(3))?);
            Ok::<_, anyhow::Error>(())
        })?);
        if let Some(handle) = handle {
            queues[2].remove(&[handle])?;
        }
    }
    field.limited("add to a net of queues", "kevent", watches, best, MOST);

    let instances = (0..4)
        .map(|_| epoll::create(CreateFlags::CLOEXEC))
        .collect::<Result<Vec<_>, _>>()?;
    let add = |outer: &OwnedFd, inner: &OwnedFd| {
        epoll::add(outer, inner, EventData::new_u64(0), EventFlags::IN)
    };
    let mut copies = Vec::new();
    for outer in 0..2 {
        for _ in 0..WIDTH {
            let copy = instances[outer + 1].try_clone()?;

            // It has limits of its own on how many ways there are.
            if add(&instances[outer], &copy).is_err() {
                break;
            }
            copies.push(copy);
        }
    }
    let mut best = u64::MAX;
    let mut refused = false;
    for _ in 0..TRIES {
        best = best.min(field.clock.count(|| {
            refused |= add(&instances[2], &instances[3]).is_err();
            Ok::<_, anyhow::Error>(())
        })?);
        let _ = epoll::delete(&instances[2], &instances[3]);
    }
    let api = if refused { "epoll (refuses)" } else { "epoll" };
    field.shown("add to a net of queues", api, copies.len(), best);
    Ok(())
}
