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
            PostOutcome,
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

    /// One of them.
    pub(crate) fn of(watch: Arc<Watch>, target: Target) -> Self {
        let mut batch = Self::new();
        batch.push(watch, target);
        batch
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

/// How far a task has come that rechecks the watches on the list.
pub(crate) struct Walk {
    /// All of them have to be looked at.
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

    /// Whether the current task may know what is in the table, though it may not use the queue.
    pub(crate) fn may_inspect(&self) -> bool {
        self.account.may_inspect()
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

    /// The watch that `handle` was issued for; `ENOENT` if it is gone, or has posted its last
    /// event.
    pub(crate) fn get(&self, handle: u64) -> Result<&Arc<Watch>> {
        let index = self.slots.index_of(handle).ok_or(ENOENT)?;
        let watch = self
            .slots
            .get(index)
            .filter(|watch| !watch.has_ended() && !watch.is_attaching());
        watch.ok_or(ENOENT)
    }

    /// Whether another task is attaching the watch that `handle` is going to be issued for.
    pub(crate) fn is_attaching(&self, handle: u64) -> bool {
        let watch = self.slots.index_of(handle).and_then(|i| self.slots.get(i));
        watch.is_some_and(|watch| watch.is_attaching())
    }

    /// The handle of the watch at `place`.
    pub(crate) fn handle_at(&self, place: u32) -> Result<u64> {
        let used = self.slots.used(place);
        used.map(|(handle, _)| handle).ok_or(ENOENT)
    }

    /// Whether a watch is in the table, and was not removed.
    pub(crate) fn has(&self, watch: &Arc<Watch>) -> bool {
        let post_owned = self.slots.used(watch.place());
        post_owned.is_some_and(|(_, post_owned)| Arc::ptr_eq(post_owned, watch))
    }

    /// The watch at `place`, if the entry at `index` of the ring reports its level.
    pub(crate) fn level_at(&self, place: u32, index: u32) -> Option<&Arc<Watch>> {
        let watch = self.slots.get(place);
        watch.filter(|watch| watch.level_entry() == Some(index))
    }

    /// Removes a watch. After that no unconsumed event of it is left, and none will come. `ENOENT`
    /// if it is gone, or its last event was consumed.
    pub(crate) fn remove(&mut self, queue: &Queue, handle: u64) -> Result {
        let index = self.slots.index_of(handle).ok_or(ENOENT)?;
        if self
            .slots
            .get(index)
            .is_none_or(|watch| watch.is_removed() || watch.is_attaching())
        {
            return Err(ENOENT);
        }
        if self.remove_at(queue, index, true) {
            Ok(())
        } else {
            Err(ENOENT)
        }
    }

    /// Removes a watch that could not be made in the end, and what it has reported already.
    pub(crate) fn withdraw(&mut self, queue: &Queue, handle: u64) {
        if let Some(index) = self.slots.index_of(handle) {
            self.remove_at(queue, index, true);
        }
    }

    /// The watched object has gone: removes the watch. If it is to report that, it does with
    /// `events`, and is removed by that.
    pub(crate) fn vanished(
        &mut self,
        queue: &Queue,
        watch: &Arc<Watch>,
        events: u32,
        reports: bool,
    ) {
        if !self.has(watch) || watch.is_attaching() {
            // Another task was faster; or the one that attaches it looks whether it is still there.
            return;
        }
        if !reports {
            self.remove_at(queue, watch.place(), true);
            return;
        }
        watch.source().detach(queue);
        if !watch.as_arc_borrow().vanish(events) {
            self.remove_at(queue, watch.place(), false);
        }
    }

    /// Ends what [`Watch::set_attaching`] began: `events` were there, unless that failed.
    pub(crate) fn attached(
        &mut self,
        queue: &Queue,
        watch: &Arc<Watch>,
        events: Result<u32>,
    ) -> Result {
        let removed = watch.as_arc_borrow().attached(events.unwrap_or(0));
        if removed || events.is_err() {
            // What it has reported is cancelled.
            self.remove_at(queue, watch.place(), true);
        }
        events?;
        if removed {
            Err(EBADF)
        } else {
            Ok(())
        }
    }

    /// Gives a place up. The unconsumed event of its watch is cancelled if `cancels`. Returns
    /// whether the last event of the watch was not consumed before.
    fn remove_at(&mut self, queue: &Queue, index: u32, cancels: bool) -> bool {
        let Some((handle, watch)) = self.slots.used(index) else {
            return false;
        };
        // No producer fires it after it is detached, and no CPU moves it into the ring after it is
        // skipped in the backlog: what is there then is all that there will be.
        watch.set_removed();
        if watch.is_attaching() {
            // The task that attaches it does the rest.
            return true;
        }
        watch.source().detach(queue);
        queue.skip_watch(watch);
        let intercepted = watch.source().intercept();
        let mut cancelled = intercepted.is_some_and(|it| it.removed(watch, cancels));
        if cancels {
            cancelled |= watch.cancel_entry();
        }
        let is_consumed = watch.is_oneshot_done() && !cancelled;
        self.account.uncharge();
        trace::remove(queue, handle, watch);
        self.slots.remove_at(index);
        self.free(index);
        !is_consumed
    }

    /// Frees the slot of a watch that was removed, if nothing else refers to the watch.
    fn free(&mut self, index: u32) {
        if self.slots.get(index).is_some_and(|watch| watch.is_busy()) {
            // It may have been listed again right before its source was detached.
            return;
        }
        self.slots.free(index);
    }

    /// Rechecks the watches that are on the list, in the order in which they were posted. Those
    /// whose poll may sleep are put into `batch`, some at a time, to be polled without the mutex.
    /// Of the others, hands those to `note` of which something was posted.
    ///
    /// If the caller has `enough` events, that is up to the first level whose event is unconsumed,
    /// and as far as there is room for what they report. Unless all of them have to be looked at.
    pub(crate) fn recheck(
        &mut self,
        queue: &Queue,
        rechecker: Rechecker,
        walk: &mut Walk,
        batch: &mut Option<Batch>,
        enough: impl Fn() -> bool,
        mut note: impl FnMut(&Watch),
    ) {
        let recheck_list = queue.recheck_list();
        let _turn = recheck_list.begin();
        loop {
            let Some(index) = recheck_list.first() else {
                if walk.taken {
                    break;
                }
                walk.taken = true;
                self.take_listed(queue);
                continue;
            };
            let Some(watch) = self.slots.get(index) else {
                // A listed watch keeps its place.
                debug_assert!(false);
                break;
            };
            let is_last = !walk.all && enough() && watch.ends_recheck(queue);
            if is_last {
                break;
            }
            walk.nr = walk.nr.wrapping_add(1);
            if walk.nr % MANY == 0 {
                // Others may go on with the same list, and list more.
                if walk.nr > (self.slots.end() as usize).saturating_mul(2) {
                    break;
                }
                resched();
            }
            recheck_list.pop(watch.next());
            if walk.all && !watch.wants_poll() && !queue.has_room() && enough() {
                watch.relist();
                continue;
            }
            match watch.as_arc_borrow().recheck() {
                RecheckOutcome::Stays => {}
                RecheckOutcome::Dead => {
                    // Its last event was consumed, or reports that its object has vanished.
                    self.remove_at(queue, index, false);
                    self.free(index);
                }
                RecheckOutcome::Poll => match watch.as_arc_borrow().poll_source(rechecker) {
                    Ok(events) => {
                        let watch = watch.as_arc_borrow();
                        if events != 0 && watch.fire_as_task(events) == PostOutcome::Posted {
                            note(&watch);
                        }
                    }
                    Err(target) => {
                        let batch = batch.get_or_insert_with(Batch::new);
                        if !batch.push(watch.clone(), target) {
                            break;
                        }
                    }
                },
            }
        }
    }

    /// Reports what was found by polling, of watches that are still there, and hands those to
    /// `note` of which something was posted.
    pub(crate) fn polled(&self, batch: &Batch, mut note: impl FnMut(&Watch)) {
        for item in batch.items.iter().flatten() {
            // A watch that was changed meanwhile has been looked at after that.
            if self.has(&item.watch) && !item.watch.is_muted() {
                let watch = item.watch.as_arc_borrow();
                let events = watch.source().polled(watch, item.found);
                if events != 0 && watch.fire_as_task(events) == PostOutcome::Posted {
                    note(&watch);
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
            // No other task writes that while the watch is on the list.
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
    pub(crate) fn sweep(&mut self, queue: &Queue) {
        queue.compact();
        self.each_listed(queue, |watch| {
            let is_dead = watch.delist();
            if !is_dead {
                watch.list();
            }
            is_dead
        });
    }

    /// Takes those that are listed now off the list, one by one, and hands them to `delist`, which
    /// returns whether the watch is dead.
    fn each_listed(&mut self, queue: &Queue, delist: impl Fn(&Arc<Watch>) -> bool) {
        let recheck_list = queue.recheck_list();
        let _turn = recheck_list.begin();
        let mut nr = 0usize;
        for again in [true, false] {
            while let Some(index) = recheck_list.first() {
                let Some(watch) = self.slots.get(index) else {
                    // A listed watch keeps its place.
                    debug_assert!(false);
                    return;
                };
                recheck_list.pop(watch.next());
                nr = nr.wrapping_add(1);
                if nr % MANY == 0 {
                    resched();
                }
                if delist(watch) {
                    // As in `recheck`.
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

    /// How many watches there are.
    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    /// The watches, and their handles.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u64, &Arc<Watch>)> {
        self.slots.iter()
    }
}
