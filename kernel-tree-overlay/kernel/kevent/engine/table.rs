// SPDX-License-Identifier: GPL-2.0-only

//! The watches of a queue, by handle.
//!
//! A watch may be removed while it is in the backlog or on the list of those to be rechecked. It
//! then keeps its slot, without a handle, until it has come off both.

use kernel::{
    prelude::*,
    sync::{
        atomic::ordering::Relaxed,
        Arc, //
    },
};

use crate::{
    core::{
        recheck::END,
        slots::Slots, //
    },
    engine::{
        queue::Queue,
        watch::{
            cancel,
            fire,
            recheck,
            vanish,
            RecheckOutcome,
            Rechecker,
            Watch, //
        }, //
    },
    source::Target,
    sys::limits::{
        resched,
        WatchAccount, //
    },
    trace, //
};

/// How many files are polled between two times that the mutex is taken.
const BATCH: usize = 8;

/// After so many watches that are rechecked, or go, others may run.
const MANY: usize = 64;

/// What is to be polled while the mutex is not held.
struct Polled {
    watch: Arc<Watch>,
    target: Target,
    /// What the poll found.
    found: u32,
}

/// A few of those.
pub(crate) struct Batch {
    items: [Option<Polled>; BATCH],
    nr: usize,
}

impl Batch {
    pub(crate) fn new() -> Self {
        Self {
            items: [const { None }; BATCH],
            nr: 0,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.nr == 0
    }

    /// Adds one; whether there is room for another one.
    fn push(&mut self, watch: Arc<Watch>, target: Target) -> bool {
        if let Some(item) = self.items.get_mut(self.nr) {
            self.nr = self.nr.saturating_add(1);
            *item = Some(Polled {
                watch,
                target,
                found: 0,
            });
        }
        self.nr < BATCH
    }

    /// Polls them. May sleep for as long as the files like: no mutex of a queue is held.
    pub(crate) fn poll(&mut self, rechecker: Rechecker) {
        for item in self.items.iter_mut().flatten() {
            item.found = item.target.poll(rechecker);
        }
    }
}

/// How far somebody has come who rechecks the watches on the list.
pub(crate) struct Walk {
    /// Somebody wants all of them looked at.
    all: bool,
    /// What was listed since the last time has been taken.
    taken: bool,
    nr: usize,
}

impl Walk {
    pub(crate) fn new(all: bool) -> Self {
        Self {
            all,
            taken: false,
            nr: 0,
        }
    }
}

/// The watches of a queue.
pub(crate) struct Table {
    slots: Slots<Arc<Watch>>,
    /// Whom the watches are charged to, until they are removed.
    account: WatchAccount,
}

impl Table {
    pub(crate) fn new(account: WatchAccount) -> Self {
        Self {
            slots: Slots::new(),
            account,
        }
    }

    /// Charges a watch, puts it into the table and reports its handle.
    pub(crate) fn insert(&mut self, queue: &Queue, watch: Arc<Watch>) -> Result<u64> {
        if self.account.charge().is_err() {
            // Some may have reported their last event.
            self.sweep(queue);
            self.account.charge()?;
        }
        self.install(queue, watch)
            .inspect_err(|_| self.account.uncharge())
    }

    /// Finds a slot for a watch.
    fn install(&mut self, queue: &Queue, watch: Arc<Watch>) -> Result<u64> {
        if self.slots.is_littered() {
            self.sweep(queue);
        }
        let handle = self.slots.insert(watch)?;
        // CAST: The low half.
        let index = handle as u32;
        if let Some(watch) = self.slots.get(index) {
            watch.set_place(index);
        }
        Ok(handle)
    }

    /// The watch that `handle` was issued for; `ENOENT` if it is gone.
    pub(crate) fn get(&self, handle: u64) -> Result<&Arc<Watch>> {
        let index = self.slots.index_of(handle).ok_or(ENOENT)?;
        let watch = self
            .slots
            .get(index)
            .filter(|watch| !watch.is_removed_or_done());
        watch.ok_or(ENOENT)
    }

    /// Whether a watch is in the table, and was not removed.
    pub(crate) fn has(&self, watch: &Arc<Watch>) -> bool {
        let post_owned = self.slots.used(watch.place());
        post_owned.is_some_and(|(_, post_owned)| Arc::ptr_eq(post_owned, watch))
    }

    /// Removes a watch. After that no unconsumed event of it is left, and none will come.
    pub(crate) fn remove(&mut self, queue: &Queue, handle: u64) -> Result {
        self.get(handle)?;
        // CAST: The low half.
        self.remove_at(queue, handle as u32, true);
        Ok(())
    }

    /// Removes a watch that could not be made in the end. What it has reported already is
    /// cancelled, which is otherwise left of a ONESHOT watch.
    pub(crate) fn withdraw(&mut self, queue: &Queue, handle: u64) {
        if let Some(index) = self.slots.index_of(handle) {
            self.remove_at(queue, index, true);
        }
    }

    /// What `watch` is of has gone: removes it. If it is to report so, it does with `events`, and
    /// goes after that.
    pub(crate) fn vanished(&mut self, queue: &Queue, watch: &Arc<Watch>, events: u32, tells: bool) {
        if !self.has(watch) {
            // Somebody else was faster.
            return;
        }
        if !tells {
            // What it reported before it went by itself stays.
            let cancels = !watch.is_removed_or_done();
            self.remove_at(queue, watch.place(), cancels);
            return;
        }
        watch.source().detach(queue);
        if !vanish(watch.as_arc_borrow(), events) {
            self.remove_at(queue, watch.place(), false);
        }
    }

    /// Gives a place up. What its watch has reported and nobody has taken is cancelled if
    /// `cancels`.
    fn remove_at(&mut self, queue: &Queue, index: u32, cancels: bool) {
        let Some((handle, watch)) = self.slots.used(index) else {
            return;
        };
        // Nobody fires it after it is detached, and nobody moves it into the ring after it is
        // forgotten: what is there then is all that there will be.
        watch.set_removed(cancels);
        watch.source().detach(queue);
        queue.skip_watch(watch);
        watch.source().removed(watch, cancels);
        if cancels {
            cancel(watch);
        }
        self.account.uncharge();
        trace::remove(queue, handle, watch);
        self.slots.remove_at(index);
        self.free(index);
    }

    /// Frees the slot of a watch that was removed, if nobody else may come upon the watch.
    fn free(&mut self, index: u32) {
        if self.slots.get(index).is_some_and(|watch| watch.is_busy()) {
            // It may have been listed again right before its source was detached.
            return;
        }
        self.slots.free(index);
    }

    /// Rechecks the watches that are on the list, in the order in which they were posted, until
    /// `batch` is full of what has to be polled without the mutex.
    ///
    /// If the caller has `enough` events, that is up to the first level whose event is unconsumed,
    /// and as far as there is room for what they report. Unless somebody wants all of them.
    pub(crate) fn recheck(
        &mut self,
        queue: &Queue,
        rechecker: Rechecker,
        walk: &mut Walk,
        batch: &mut Batch,
        enough: impl Fn() -> bool,
    ) {
        // Others may go on with the same list, and list more.
        let most = (self.slots.end() as usize).saturating_mul(2);
        let recheck_list = queue.recheck_list();
        let _turn = recheck_list.begin();
        loop {
            let Some(index) = recheck_list.first() else {
                if walk.taken {
                    return;
                }
                walk.taken = true;
                self.take_listed(queue);
                continue;
            };
            let Some(watch) = self.slots.get(index) else {
                // A listed watch keeps its place.
                debug_assert!(false);
                return;
            };
            let is_last = !walk.all && watch.ends_recheck(queue) && enough();
            if is_last || walk.nr > most {
                return;
            }
            recheck_list.pop(watch.next());
            walk.nr = walk.nr.saturating_add(1);
            if walk.nr % MANY == 0 {
                resched();
            }
            if walk.all && !watch.wants_poll() && !queue.has_room() && enough() {
                watch.relist();
                continue;
            }
            match recheck(watch.as_arc_borrow()) {
                RecheckOutcome::Stays => {}
                RecheckOutcome::Dead => {
                    // What a ONESHOT watch has reported before it went stays.
                    self.remove_at(queue, index, false);
                    self.free(index);
                }
                RecheckOutcome::Poll => {
                    if let Some(target) = watch.source().target(watch.as_arc_borrow()) {
                        if !batch.push(watch.clone(), target) {
                            return;
                        }
                        continue;
                    }
                    let events = watch.source().test(watch.as_arc_borrow(), rechecker);
                    if events != 0 {
                        fire(watch.as_arc_borrow(), events);
                    }
                }
            }
        }
    }

    /// Reports what was found by polling, of watches that are still there.
    pub(crate) fn polled(&self, batch: &Batch) {
        for item in batch.items.iter().flatten() {
            // A watch that was changed meanwhile has been looked at after that.
            if self.has(&item.watch) && !item.watch.is_muted() {
                let watch = item.watch.as_arc_borrow();
                let events = watch.source().polled(watch, item.found);
                if events != 0 {
                    fire(watch, events);
                }
            }
        }
    }

    /// Takes what was listed since the last time, in that order.
    fn take_listed(&self, queue: &Queue) {
        let recheck_list = queue.recheck_list();
        let mut index = recheck_list.take_listed();
        let mut first = END;
        let mut nr = 0usize;
        while index != END {
            let Some(watch) = self.slots.get(index) else {
                // A listed watch keeps its place.
                debug_assert!(false);
                break;
            };
            // Nobody else writes that while the watch is on the list.
            let next = watch.next().load(Relaxed);
            watch.next().store(first, Relaxed);
            first = index;
            index = next;
            nr = nr.wrapping_add(1);
            if nr % MANY == 0 {
                resched();
            }
        }
        recheck_list.set_left(first);
    }

    /// Frees the places of watches that were removed while they were listed.
    fn sweep(&mut self, queue: &Queue) {
        queue.compact();
        self.each_listed(queue, |watch| {
            let over = watch.delist();
            if !over {
                watch.list();
            }
            over
        });
    }

    /// Takes those that are listed now off the list, one by one, and hands them to
    /// `request_repoll`, which returns whether the watch is over.
    fn each_listed(&mut self, queue: &Queue, request_repoll: impl Fn(&Arc<Watch>) -> bool) {
        let recheck_list = queue.recheck_list();
        let _turn = recheck_list.begin();
        for again in [true, false] {
            while let Some(index) = recheck_list.first() {
                let Some(watch) = self.slots.get(index) else {
                    // A listed watch keeps its place.
                    debug_assert!(false);
                    return;
                };
                recheck_list.pop(watch.next());
                if request_repoll(watch) {
                    // What a ONESHOT watch has reported before it went stays.
                    self.remove_at(queue, index, false);
                    self.free(index);
                }
            }
            if again {
                self.take_listed(queue);
            }
        }
    }

    /// Removes all watches.
    pub(crate) fn clear(&mut self, queue: &Queue) {
        for index in 0..self.slots.end() {
            self.remove_at(queue, index, true);
            if index as usize % MANY == 0 {
                resched();
            }
        }
        // All that is left of them is in the backlog and on the list, and they have references to
        // the queue.
        self.sweep(queue);
        debug_assert!(self.slots.removed() == 0);
    }

    /// The watches from that slot on, and their handles.
    pub(crate) fn iter_from(&self, first: u32) -> impl Iterator<Item = (u64, &Arc<Watch>)> {
        self.slots.iter_from(first)
    }
}
