// SPDX-License-Identifier: GPL-2.0-only

//! Queues that watch queues.
//!
//! They may do so four deep and in no circle, which is checked when a watch is made. Each queue
//! knows the longest chain of queues that it watches, and the longest of those that watch it; both
//! are kept right, by going along the chains, whenever a watch of a queue comes or goes. All of
//! that is under one mutex, [`NEST`].
//!
//! What is done under it is linear in the number of watches in the net. The search for a circle
//! marks the queues that it has been to. Each queue counts its neighbours by the length of their
//! chains, so a neighbour whose length changes is accounted for without a look at the others; and
//! when a watch comes lengths only grow, when one goes they only shrink, so a queue changes at most
//! [`MAX_CHAIN`] times.
//!
//! So a task that goes through a queue, those that it watches, and so on, comes to an end, and
//! takes their mutexes in the order of the chain.

use kernel::{
    prelude::*,
    sync::{
        global_lock,
        Arc,
        GlobalGuard,
        GlobalLockedBy, //
    },
};

use crate::{
    engine::queue::Queue,
    sys::limits::{
        resched,
        NestedCharge, //
    }, //
};

/// How many queues a chain may have.
const MAX_CHAIN: u32 = 4;

/// How many watches a queue may have of queues, and be watched by. Each is looked at when one of
/// them comes or goes.
const MAX_LINKS: usize = 1024;

/// After so many queues that were looked at others may run.
const RESCHED_EVERY: usize = 64;

global_lock! {
    // The number of the last search for a circle.
    // SAFETY: `kevent_init_locks()` initialises it at boot, before there are programs.
    pub(crate) unsafe(uninit) static NEST: Mutex<u64> = 0;
}

/// A way along a chain.
#[derive(Clone, Copy)]
enum Direction {
    /// To the queues that watch this one.
    Out,
    /// To the queues that this one watches.
    In,
}

impl Direction {
    fn back(self) -> Self {
        match self {
            Direction::Out => Direction::In,
            Direction::In => Direction::Out,
        }
    }
}

/// A neighbour of a queue.
struct Neighbour {
    /// The name of the watch.
    name: usize,
    queue: Arc<Queue>,
    /// Each watch is charged once: where it is the way in.
    _charge: Option<NestedCharge>,
}

/// The neighbours of a queue in one direction.
#[derive(Default)]
struct Neighbours {
    /// The next queues on that way.
    queues: KVVec<Neighbour>,
    /// How many of them have a longest chain of 0, 1... queues on that way.
    by_length: [u32; MAX_CHAIN as usize],
    /// How many queues the longest chain has on that way.
    longest: u32,
}

impl Neighbours {
    fn count(&mut self, length: u32) {
        if let Some(nr) = self.by_length.get_mut(length as usize) {
            *nr = nr.saturating_add(1);
        }
    }

    fn uncount(&mut self, length: u32) {
        if let Some(nr) = self.by_length.get_mut(length as usize) {
            *nr = nr.saturating_sub(1);
        }
    }

    /// The longest chain, by the counts.
    fn measured(&self) -> u32 {
        (1..)
            .zip(&self.by_length)
            .filter(|(_, nr)| **nr != 0)
            .map(|(length, _)| length)
            .max()
            .unwrap_or(0)
    }
}

/// The neighbours of a queue.
#[derive(Default)]
struct Links {
    outer: Neighbours,
    inner: Neighbours,
    /// The last search for a circle that was here.
    visited: u64,
}

/// A queue's part of the net.
pub(crate) struct Nest(GlobalLockedBy<Links, NEST>);

type Guard = GlobalGuard<NEST>;

impl Nest {
    pub(crate) fn new() -> Self {
        Self(GlobalLockedBy::new(Links::default()))
    }

    fn side<'a>(&'a self, way: Direction, guard: &'a Guard) -> &'a Neighbours {
        let links = self.0.as_ref(guard);
        match way {
            Direction::Out => &links.outer,
            Direction::In => &links.inner,
        }
    }

    fn side_mut<'a>(&'a self, way: Direction, guard: &'a mut Guard) -> &'a mut Neighbours {
        let links = self.0.as_mut(guard);
        match way {
            Direction::Out => &mut links.outer,
            Direction::In => &mut links.inner,
        }
    }
}

/// Records that `outer` watches `inner`; `name` is that of the watch. `ELOOP` if it must not,
/// `ENOSPC` if it watches too many, or too many watch it, or the current user has too many of these
/// watches.
pub(crate) fn link(outer: &Arc<Queue>, inner: &Arc<Queue>, name: usize) -> Result {
    let mut guard = NEST.lock();
    let chain = outer.nest().side(Direction::Out, &guard).longest;
    let chain = chain.saturating_add(inner.nest().side(Direction::In, &guard).longest);
    if chain.saturating_add(2) > MAX_CHAIN {
        return Err(ELOOP);
    }
    *guard = guard.wrapping_add(1);
    if reaches(inner, outer, MAX_CHAIN, &mut guard)? {
        return Err(ELOOP);
    }
    let links = outer.nest().side(Direction::In, &guard).queues.len();
    if links.max(inner.nest().side(Direction::Out, &guard).queues.len()) >= MAX_LINKS {
        return Err(ENOSPC);
    }
    let to_inner = Neighbour {
        name,
        queue: inner.clone(),
        _charge: Some(NestedCharge::new(ENOSPC)?),
    };
    let to_outer = Neighbour {
        name,
        queue: outer.clone(),
        _charge: None,
    };
    let side = outer.nest().side_mut(Direction::In, &mut guard);
    side.queues.push(to_inner, GFP_KERNEL_ACCOUNT)?;
    let side = inner.nest().side_mut(Direction::Out, &mut guard);
    if let Err(e) = side.queues.push(to_outer, GFP_KERNEL_ACCOUNT) {
        outer
            .nest()
            .side_mut(Direction::In, &mut guard)
            .queues
            .pop();
        return Err(e.into());
    }
    for (queue, next, way) in [
        (outer, inner, Direction::In),
        (inner, outer, Direction::Out),
    ] {
        let length = next.nest().side(way, &guard).longest;
        queue.nest().side_mut(way, &mut guard).count(length);
        measure(queue, way, MAX_CHAIN, &mut guard);
    }
    Ok(())
}

/// Removes what [`link`] recorded, if it did.
pub(crate) fn unlink(outer: &Queue, name: usize) {
    let mut guard = NEST.lock();
    let Some(inner) = remove(outer.nest().side_mut(Direction::In, &mut guard), name) else {
        return;
    };
    let outer = remove(inner.nest().side_mut(Direction::Out, &mut guard), name);
    if let Some(outer) = &outer {
        for (queue, next, way) in [
            (outer, &inner, Direction::In),
            (&inner, outer, Direction::Out),
        ] {
            let length = next.nest().side(way, &guard).longest;
            queue.nest().side_mut(way, &mut guard).uncount(length);
            measure(queue, way, MAX_CHAIN, &mut guard);
        }
    }
    // The last references may go, and with them the queues.
    drop(guard);
}

/// Takes the entry called `name` out.
fn remove(side: &mut Neighbours, name: usize) -> Option<Arc<Queue>> {
    let at = side.queues.iter().position(|n| n.name == name)?;
    let last = side.queues.len().checked_sub(1)?;
    side.queues.swap(at, last);
    let queue = side.queues.pop()?.queue;
    if side.queues.is_empty() {
        side.queues = KVVec::new();
    }
    Some(queue)
}

/// Whether `from` watches `to`, directly or not, as far as this search has not been there. No chain
/// is longer than `most`. `EINTR` if the task is killed.
fn reaches(from: &Arc<Queue>, to: &Arc<Queue>, most: u32, guard: &mut Guard) -> Result<bool> {
    if Arc::ptr_eq(from, to) {
        return Ok(true);
    }
    let search = **guard;
    let links = from.nest().0.as_mut(guard);
    if core::mem::replace(&mut links.visited, search) == search {
        return Ok(false);
    }
    let most = most.checked_sub(1);
    let Some(most) = most.filter(|_| to.nest().side(Direction::Out, guard).longest != 0) else {
        return Ok(false);
    };
    let mut nr = 0usize;
    loop {
        let inner = from.nest().side(Direction::In, guard);
        let Some(next) = inner.queues.get(nr) else {
            return Ok(false);
        };
        let next = next.queue.clone();
        if reaches(&next, to, most, guard)? {
            return Ok(true);
        }
        nr = nr.saturating_add(1);
        if nr % RESCHED_EVERY == 0 {
            resched();
            if current!().fatal_signal_pending() {
                return Err(EINTR);
            }
        }
    }
}

/// Puts right what a queue knows of the longest chain on one way, after its counts there have
/// changed, and what those on the way back know that have it in their chains, which are no longer
/// than `most`.
fn measure(queue: &Arc<Queue>, way: Direction, most: u32, guard: &mut Guard) {
    let side = queue.nest().side_mut(way, guard);
    let (before, now) = (side.longest, side.measured());
    if before == now {
        return;
    }
    side.longest = now;
    let Some(most) = most.checked_sub(1) else {
        return;
    };
    let mut nr = 0usize;
    loop {
        let back = queue.nest().side(way.back(), guard);
        let Some(next) = back.queues.get(nr) else {
            return;
        };
        let next = next.queue.clone();
        let side = next.nest().side_mut(way, guard);
        side.uncount(before);
        side.count(now);
        measure(&next, way, most, guard);
        nr = nr.saturating_add(1);
        if nr % RESCHED_EVERY == 0 {
            resched();
        }
    }
}

#[cfg(CONFIG_KEVENT_KUNIT_TEST)]
#[kunit_tests(kevent_nest)]
mod tests {
    use super::*;

    fn queues() -> Result<[Arc<Queue>; 5]> {
        let queue = || Queue::new(0, 0, false);
        Ok([queue()?, queue()?, queue()?, queue()?, queue()?])
    }

    #[test]
    fn four_deep_and_no_circle() -> Result {
        let q = queues()?;
        assert_eq!(link(&q[0], &q[0], 9), Err(ELOOP));
        link(&q[1], &q[2], 1)?;
        link(&q[0], &q[1], 2)?;
        assert_eq!(link(&q[2], &q[0], 9), Err(ELOOP));
        assert_eq!(link(&q[1], &q[0], 9), Err(ELOOP));
        link(&q[2], &q[3], 3)?;
        assert_eq!(link(&q[3], &q[4], 9), Err(ELOOP));
        assert_eq!(link(&q[4], &q[0], 9), Err(ELOOP));
        // Beside the chain there is room.
        link(&q[2], &q[4], 4)?;
        unlink(&q[0], 2);
        assert_eq!(link(&q[4], &q[1], 9), Err(ELOOP));
        link(&q[3], &q[0], 5)?;
        for (outer, name) in [(1, 1), (2, 3), (2, 4), (3, 5)] {
            unlink(&q[outer], name);
        }
        // A link that is not there is nothing to forget.
        unlink(&q[0], 2);
        let guard = NEST.lock();
        for queue in &q {
            let longest = |way| queue.nest().side(way, &guard).longest;
            assert_eq!((longest(Direction::Out), longest(Direction::In)), (0, 0));
        }
        Ok(())
    }
}
