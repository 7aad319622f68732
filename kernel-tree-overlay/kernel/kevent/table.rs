// SPDX-License-Identifier: GPL-2.0-only

//! The watches of a queue, by handle.
//!
//! A handle is a number that the kernel issues: the low half says where the watch is in the table,
//! the high half is the place's generation, which changes when the watch is removed. So a handle
//! never names another watch than the one that it was issued for, until a place has been used 2^32
//! times.
//!
//! A watch may be removed while it is in the backlog or on the list of those to be visited. It then
//! keeps its place, without a handle, until it has come off both.

use kernel::{
    prelude::*,
    sync::Arc, //
};

use crate::{
    hooks::{
        resched,
        WatchAccount, //
    },
    queue::Queue,
    trace,
    watch::{
        cancel,
        vanish,
        visit,
        Visit,
        Visitor,
        Watch, //
    },
};

/// How many watches are visited at a time if there are events already.
const FEW_VISITS: usize = 16;

/// After so many watches that are visited, or go, others may run.
const MANY: usize = 64;

/// A place in the table.
struct Place {
    watch: Option<Arc<Watch>>,
    generation: u32,
    /// The watch was removed.
    is_left: bool,
}

/// The watches of a queue.
pub(crate) struct Table {
    places: KVVec<Place>,
    free: KVVec<u32>,
    /// How many places have a watch that was removed.
    left: usize,
    /// Whom the watches are charged to, until they are removed.
    account: WatchAccount,
}

impl Table {
    pub(crate) fn new(account: WatchAccount) -> Self {
        Self {
            places: KVVec::new(),
            free: KVVec::new(),
            left: 0,
            account,
        }
    }

    /// Charges a watch, puts it into the table and tells its handle.
    pub(crate) fn insert(&mut self, queue: &Queue, watch: Arc<Watch>) -> Result<u64> {
        if self.account.charge().is_err() {
            // Some may have told their last event.
            self.sweep(queue);
            self.account.charge()?;
        }
        self.settle(queue, watch)
            .inspect_err(|_| self.account.uncharge())
    }

    /// Finds a place for a watch.
    fn settle(&mut self, queue: &Queue, watch: Arc<Watch>) -> Result<u64> {
        if self.free.is_empty() && self.left > self.places.len() / 2 {
            self.sweep(queue);
        }
        let index = match self.free.pop() {
            Some(index) => index,
            None => {
                let index = u32::try_from(self.places.len()).map_err(|_| ENOSPC)?;
                if self.places.len() == self.places.capacity().min(self.free.capacity()) {
                    // Grow in steps that get larger, and so that a place can always be given back.
                    let more = self.places.len().clamp(8, 4096);
                    self.places.reserve(more, GFP_KERNEL_ACCOUNT)?;
                    let all = self.places.capacity();
                    self.free.reserve(all, GFP_KERNEL_ACCOUNT)?;
                }
                let place = Place {
                    watch: None,
                    generation: 1,
                    is_left: false,
                };
                self.places.push(place, GFP_KERNEL_ACCOUNT)?;
                index
            }
        };
        let place = self.places.get_mut(index as usize).ok_or(EINVAL)?;
        watch.set_place(index);
        place.watch = Some(watch);
        Ok(u64::from(place.generation) << 32 | u64::from(index))
    }

    /// The watch that `handle` was issued for; `ENOENT` if it is gone.
    pub(crate) fn get(&self, handle: u64) -> Result<&Arc<Watch>> {
        // CAST: The two halves.
        let (generation, index) = ((handle >> 32) as u32, handle as u32);
        let place = self.places.get(index as usize).ok_or(ENOENT)?;
        let watch = place.watch.as_ref().ok_or(ENOENT)?;
        if place.generation != generation || watch.is_gone() {
            return Err(ENOENT);
        }
        Ok(watch)
    }

    /// Whether a watch is in the table, and was not removed.
    pub(crate) fn has(&self, watch: &Arc<Watch>) -> bool {
        let place = self.places.get(watch.place() as usize);
        let own = place.and_then(|p| p.watch.as_ref().filter(|_| !p.is_left));
        own.is_some_and(|own| Arc::ptr_eq(own, watch))
    }

    /// Removes a watch. After that no untaken event of it is left, and none will come.
    pub(crate) fn remove(&mut self, queue: &Queue, handle: u64) -> Result {
        self.get(handle)?;
        // CAST: The low half.
        self.vacate(queue, handle as u32, true);
        Ok(())
    }

    /// Removes a watch that could not be made in the end. What it has told already is cancelled,
    /// which is otherwise left of a ONESHOT watch.
    pub(crate) fn withdraw(&mut self, queue: &Queue, handle: u64) {
        // CAST: The two halves.
        let (generation, index) = ((handle >> 32) as u32, handle as u32);
        let place = self.places.get(index as usize);
        if place.is_some_and(|place| place.generation == generation) {
            self.vacate(queue, index, true);
        }
    }

    /// What `watch` is of has gone: removes it. If it is to tell so, it does with `events`, and
    /// goes after that.
    pub(crate) fn vanished(&mut self, queue: &Queue, watch: &Arc<Watch>, events: u32, tells: bool) {
        if !self.has(watch) {
            // Somebody else was faster.
            return;
        }
        if !tells {
            // What it told before it went by itself stays.
            let cancels = !watch.is_gone();
            self.vacate(queue, watch.place(), cancels);
            return;
        }
        watch.source().detach(queue);
        if !vanish(watch.as_arc_borrow(), events) {
            self.vacate(queue, watch.place(), false);
        }
    }

    /// Gives a place up. What its watch has told and nobody has taken is cancelled if `cancels`.
    fn vacate(&mut self, queue: &Queue, index: u32, cancels: bool) {
        let Some(place) = self.places.get_mut(index as usize) else {
            return;
        };
        let Some(watch) = place.watch.as_ref().filter(|_| !place.is_left) else {
            return;
        };
        let handle = u64::from(place.generation) << 32 | u64::from(index);
        place.generation = place.generation.wrapping_add(1).max(1);
        // Nobody fires it after it is detached, and nobody moves it into the ring after it is
        // forgotten: what is there then is all that there will be.
        watch.set_gone(cancels);
        watch.source().detach(queue);
        queue.forget_watch(watch);
        watch.source().removed(watch, cancels);
        if cancels {
            cancel(watch);
        }
        place.is_left = true;
        self.account.uncharge();
        trace::remove(queue, handle, watch);
        self.left = self.left.wrapping_add(1);
        self.free(index);
    }

    /// Makes a place whose watch was removed free for another one, if nobody else may come upon the
    /// watch.
    fn free(&mut self, index: u32) {
        let Some(place) = self.places.get_mut(index as usize).filter(|p| p.is_left) else {
            return;
        };
        if place.watch.as_ref().is_some_and(|watch| watch.is_busy()) {
            // It may have been listed again right before its source was detached.
            return;
        }
        place.watch = None;
        place.is_left = false;
        self.left = self.left.wrapping_sub(1);
        let pushed = self.free.push_within_capacity(index);
        debug_assert!(pushed.is_ok());
    }

    /// Visits the watches that are on the list, all of them if there is no event otherwise.
    pub(crate) fn visit(&mut self, queue: &Queue, visitor: Visitor, enough: bool) {
        let mut most = if enough { FEW_VISITS } else { usize::MAX };
        self.each_listed(queue, |watch| {
            most = most.wrapping_sub(1);
            if most % MANY == 0 {
                resched();
            }
            let settled = visit(watch.as_arc_borrow(), visitor) == Visit::Settled;
            (settled, most != 0)
        });
    }

    /// Frees the places of watches that were removed while they were listed.
    fn sweep(&mut self, queue: &Queue) {
        queue.compact();
        self.each_listed(queue, |watch| {
            let over = watch.come_off();
            if !over {
                watch.list();
            }
            (over, true)
        });
    }

    /// Takes those that are listed now off the list, one by one, and hands them to `look`, which
    /// tells whether the watch is over and whether to go on.
    fn each_listed(&mut self, queue: &Queue, mut look: impl FnMut(&Arc<Watch>) -> (bool, bool)) {
        let visits = queue.visits();
        let _turn = visits.begin();
        for again in [true, false] {
            while let Some(index) = visits.first() {
                let place = self.places.get(index as usize);
                let Some(watch) = place.and_then(|p| p.watch.as_ref()) else {
                    // A listed watch keeps its place.
                    debug_assert!(false);
                    return;
                };
                visits.pop(watch.next());
                let (over, go_on) = look(watch);
                if over {
                    // What a ONESHOT watch has told before it went stays.
                    self.vacate(queue, index, false);
                    self.free(index);
                }
                if !go_on {
                    return;
                }
            }
            if again {
                visits.look_again();
            }
        }
    }

    /// Removes all watches.
    pub(crate) fn clear(&mut self, queue: &Queue) {
        for index in 0..self.places.len() {
            // CAST: The table has at most 2^32 places.
            self.vacate(queue, index as u32, true);
            if index % MANY == 0 {
                resched();
            }
        }
        // All that is left of them is in the backlog and on the list, and they have references to
        // the queue.
        self.sweep(queue);
        debug_assert!(self.left == 0);
    }

    /// The watches, and their handles.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u64, &Arc<Watch>)> {
        self.places.iter().zip(0u64..).filter_map(|(place, index)| {
            let watch = place.watch.as_ref().filter(|_| !place.is_left)?;
            Some((u64::from(place.generation) << 32 | index, watch))
        })
    }
}
