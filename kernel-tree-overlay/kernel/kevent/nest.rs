// SPDX-License-Identifier: GPL-2.0-only

//! Queues that watch queues.
//!
//! They may do so four deep and in no circle, which is checked when a watch is made. Each queue
//! knows the longest chain of queues that it watches, and the longest of those that watch it; both
//! are kept right, by going along the chains, whenever a watch of a queue comes or goes. All of
//! that is under one mutex, [`NEST`].
//!
//! So whoever looks at a queue, and at those that it watches, and so on, comes to an end, and takes
//! their mutexes in the order of the chain.

use kernel::{
    prelude::*,
    sync::{
        global_lock,
        Arc,
        GlobalGuard,
        GlobalLockedBy, //
    },
};

use crate::queue::Queue;

/// How many queues a chain may have.
const MAX_CHAIN: u32 = 4;

/// How many watches a queue may have of queues, and be watched by. Each is looked at when one of
/// them comes or goes.
const MOST_LINKS: usize = 1024;

global_lock! {
    // SAFETY: `kevent_init_locks()` initialises it at boot, before there are programs.
    pub(crate) unsafe(uninit) static NEST: Mutex<()> = ();
}

/// A way along a chain.
#[derive(Clone, Copy)]
enum Way {
    /// To the queues that watch this one.
    Out,
    /// To the queues that this one watches.
    In,
}

impl Way {
    fn back(self) -> Self {
        match self {
            Way::Out => Way::In,
            Way::In => Way::Out,
        }
    }
}

/// What a queue has to do with other queues, one way.
#[derive(Default)]
struct Side {
    /// The next queues on that way, with the names of the watches.
    queues: KVVec<(usize, Arc<Queue>)>,
    /// How many queues the longest chain has on that way.
    longest: u32,
}

/// What a queue has to do with other queues.
#[derive(Default)]
struct Links {
    outer: Side,
    inner: Side,
}

/// A queue's part of the net.
pub(crate) struct Nest(GlobalLockedBy<Links, NEST>);

type Guard = GlobalGuard<NEST>;

impl Nest {
    pub(crate) fn new() -> Self {
        Self(GlobalLockedBy::new(Links::default()))
    }

    fn side<'a>(&'a self, way: Way, guard: &'a Guard) -> &'a Side {
        let links = self.0.as_ref(guard);
        match way {
            Way::Out => &links.outer,
            Way::In => &links.inner,
        }
    }

    fn side_mut<'a>(&'a self, way: Way, guard: &'a mut Guard) -> &'a mut Side {
        let links = self.0.as_mut(guard);
        match way {
            Way::Out => &mut links.outer,
            Way::In => &mut links.inner,
        }
    }
}

/// Records that `outer` watches `inner`; `name` is that of the watch. `ELOOP` if it must not,
/// `ENOSPC` if it watches too many, or too many watch it.
pub(crate) fn link(outer: &Arc<Queue>, inner: &Arc<Queue>, name: usize) -> Result {
    let mut guard = NEST.lock();
    let chain = outer.nest().side(Way::Out, &guard).longest;
    let chain = chain.saturating_add(inner.nest().side(Way::In, &guard).longest);
    if chain.saturating_add(2) > MAX_CHAIN || reaches(inner, outer, MAX_CHAIN, &guard) {
        return Err(ELOOP);
    }
    let links = outer.nest().side(Way::In, &guard).queues.len();
    if links.max(inner.nest().side(Way::Out, &guard).queues.len()) >= MOST_LINKS {
        return Err(ENOSPC);
    }
    let side = outer.nest().side_mut(Way::In, &mut guard);
    side.queues
        .push((name, inner.clone()), GFP_KERNEL_ACCOUNT)?;
    let side = inner.nest().side_mut(Way::Out, &mut guard);
    if let Err(e) = side.queues.push((name, outer.clone()), GFP_KERNEL_ACCOUNT) {
        outer.nest().side_mut(Way::In, &mut guard).queues.pop();
        return Err(e.into());
    }
    measure(outer, Way::In, MAX_CHAIN, &mut guard);
    measure(inner, Way::Out, MAX_CHAIN, &mut guard);
    Ok(())
}

/// Forgets what [`link`] recorded, if it did.
pub(crate) fn unlink(outer: &Queue, name: usize) {
    let mut guard = NEST.lock();
    let Some(inner) = remove(outer.nest().side_mut(Way::In, &mut guard), name) else {
        return;
    };
    let outer = remove(inner.nest().side_mut(Way::Out, &mut guard), name);
    if let Some(outer) = &outer {
        measure(outer, Way::In, MAX_CHAIN, &mut guard);
        measure(&inner, Way::Out, MAX_CHAIN, &mut guard);
    }
    // The last references may go, and with them the queues.
    drop(guard);
}

/// Takes the entry called `name` out.
fn remove(side: &mut Side, name: usize) -> Option<Arc<Queue>> {
    let at = side.queues.iter().position(|(n, _)| *n == name)?;
    let last = side.queues.len().checked_sub(1)?;
    side.queues.swap(at, last);
    side.queues.pop().map(|(_, queue)| queue)
}

/// Whether `from` watches `to`, directly or not. No chain is longer than `most`.
fn reaches(from: &Arc<Queue>, to: &Arc<Queue>, most: u32, guard: &Guard) -> bool {
    if Arc::ptr_eq(from, to) {
        return true;
    }
    let most = most.checked_sub(1);
    let Some(most) = most.filter(|_| to.nest().side(Way::Out, guard).longest != 0) else {
        return false;
    };
    let inner = from.nest().side(Way::In, guard);
    inner
        .queues
        .iter()
        .any(|(_, queue)| reaches(queue, to, most, guard))
}

/// Puts right what a queue knows of the longest chain on one way, after a link there came or went,
/// and what those on the way back know that have it in their chains, which are no longer than
/// `most`.
fn measure(queue: &Arc<Queue>, way: Way, most: u32, guard: &mut Guard) {
    let side = queue.nest().side(way, guard);
    let next = side.queues.iter();
    let longest = next.map(|(_, q)| q.nest().side(way, guard).longest.saturating_add(1));
    let longest = longest.max().unwrap_or(0);
    if side.longest == longest {
        return;
    }
    queue.nest().side_mut(way, guard).longest = longest;
    let Some(most) = most.checked_sub(1) else {
        return;
    };
    let mut nr = 0usize;
    loop {
        let back = queue.nest().side(way.back(), guard);
        let Some((_, before)) = back.queues.get(nr) else {
            return;
        };
        let before = before.clone();
        measure(&before, way, most, guard);
        nr = nr.saturating_add(1);
    }
}

#[cfg(CONFIG_KEVENT_KUNIT_TEST)]
#[kunit_tests(kevent_nest)]
mod tests {
    use super::*;

    fn queues() -> Result<[Arc<Queue>; 5]> {
        let queue = || Queue::new(0, 0);
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
            assert_eq!((longest(Way::Out), longest(Way::In)), (0, 0));
        }
        Ok(())
    }
}
