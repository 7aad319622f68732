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

global_lock! {
    // SAFETY: `kevent_init_locks()` initialises it at boot, before there are programs.
    pub(crate) unsafe(uninit) static NEST: Mutex<()> = ();
}

/// What a queue has to do with other queues.
#[derive(Default)]
struct Links {
    /// The queues that watch this one, with the name of the watch.
    outer: KVec<(usize, Arc<Queue>)>,
    /// The queues that this one watches.
    inner: KVec<(usize, Arc<Queue>)>,
    /// How many queues are in the longest chain above this one.
    above: u32,
    /// And below.
    below: u32,
}

/// A queue's part of the net.
pub(crate) struct Nest(GlobalLockedBy<Links, NEST>);

type Guard = GlobalGuard<NEST>;

impl Nest {
    pub(crate) fn new() -> Self {
        Self(GlobalLockedBy::new(Links::default()))
    }

    fn above(&self, guard: &Guard) -> u32 {
        self.0.as_ref(guard).above
    }

    fn below(&self, guard: &Guard) -> u32 {
        self.0.as_ref(guard).below
    }

    fn outer(&self, guard: &Guard, nr: usize) -> Option<Arc<Queue>> {
        let links = self.0.as_ref(guard);
        links.outer.get(nr).map(|(_, queue)| queue.clone())
    }

    fn inner(&self, guard: &Guard, nr: usize) -> Option<Arc<Queue>> {
        let links = self.0.as_ref(guard);
        links.inner.get(nr).map(|(_, queue)| queue.clone())
    }
}

/// Records that `outer` watches `inner`; `name` is that of the watch. `ELOOP` if it must not.
pub(crate) fn link(outer: &Arc<Queue>, inner: &Arc<Queue>, name: usize) -> Result {
    let mut guard = NEST.lock();
    let chain = outer.nest().above(&guard);
    let chain = chain.saturating_add(inner.nest().below(&guard));
    if chain.saturating_add(2) > MAX_CHAIN || reaches(inner, outer, MAX_CHAIN, &guard) {
        return Err(ELOOP);
    }
    let links = outer.nest().0.as_mut(&mut guard);
    links
        .inner
        .push((name, inner.clone()), GFP_KERNEL_ACCOUNT)?;
    let links = inner.nest().0.as_mut(&mut guard);
    if let Err(e) = links.outer.push((name, outer.clone()), GFP_KERNEL_ACCOUNT) {
        outer.nest().0.as_mut(&mut guard).inner.pop();
        return Err(e.into());
    }
    rise(outer, inner, &mut guard);
    Ok(())
}

/// Forgets what [`link`] recorded, if it did.
pub(crate) fn unlink(outer: &Queue, name: usize) {
    let mut guard = NEST.lock();
    let Some(inner) = remove(&mut outer.nest().0.as_mut(&mut guard).inner, name) else {
        return;
    };
    let outer = remove(&mut inner.nest().0.as_mut(&mut guard).outer, name);
    if let Some(outer) = &outer {
        rise(outer, &inner, &mut guard);
    }
    drop(guard);
}

/// Takes the entry called `name` out.
fn remove(links: &mut KVec<(usize, Arc<Queue>)>, name: usize) -> Option<Arc<Queue>> {
    let at = links.iter().position(|(n, _)| *n == name)?;
    links.remove(at).ok().map(|(_, queue)| queue)
}

/// Whether `from` watches `to`, directly or not. No chain is longer than `most`.
fn reaches(from: &Arc<Queue>, to: &Arc<Queue>, most: u32, guard: &Guard) -> bool {
    if Arc::ptr_eq(from, to) {
        return true;
    }
    let most = most.checked_sub(1);
    let Some(most) = most.filter(|_| to.nest().above(guard) != 0) else {
        return false;
    };
    let inner = &from.nest().0.as_ref(guard).inner;
    inner
        .iter()
        .any(|(_, queue)| reaches(queue, to, most, guard))
}

/// Puts the lengths of the chains right above `outer` and below `inner`, after a link came or went.
fn rise(outer: &Arc<Queue>, inner: &Arc<Queue>, guard: &mut Guard) {
    set_below(outer, MAX_CHAIN, guard);
    set_above(inner, MAX_CHAIN, guard);
}

fn set_below(queue: &Arc<Queue>, most: u32, guard: &mut Guard) {
    let links = queue.nest().0.as_ref(guard);
    let longest = links.inner.iter();
    let longest = longest.map(|(_, q)| q.nest().below(guard).saturating_add(1));
    let longest = longest.max().unwrap_or(0);
    if links.below == longest {
        return;
    }
    queue.nest().0.as_mut(guard).below = longest;
    let Some(most) = most.checked_sub(1) else {
        return;
    };
    let mut nr = 0usize;
    while let Some(outer) = queue.nest().outer(guard, nr) {
        set_below(&outer, most, guard);
        nr = nr.saturating_add(1);
    }
}

fn set_above(queue: &Arc<Queue>, most: u32, guard: &mut Guard) {
    let links = queue.nest().0.as_ref(guard);
    let longest = links.outer.iter();
    let longest = longest.map(|(_, q)| q.nest().above(guard).saturating_add(1));
    let longest = longest.max().unwrap_or(0);
    if links.above == longest {
        return;
    }
    queue.nest().0.as_mut(guard).above = longest;
    let Some(most) = most.checked_sub(1) else {
        return;
    };
    let mut nr = 0usize;
    while let Some(inner) = queue.nest().inner(guard, nr) {
        set_above(&inner, most, guard);
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
            assert_eq!(
                (queue.nest().above(&guard), queue.nest().below(&guard)),
                (0, 0)
            );
        }
        Ok(())
    }
}
