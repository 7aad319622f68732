// SPDX-License-Identifier: GPL-2.0-only

//! The watches of a queue, by handle.
//!
//! A handle is a number that the kernel issues: the low half says where the watch is in the table,
//! the high half is the place's generation, which changes when the watch is removed. So a handle
//! never names another watch than the one that it was issued for, until a place has been used 2^32
//! times.

use kernel::{
    prelude::*,
    sync::Arc, //
};

use crate::{
    queue::Queue,
    watch::{
        cancel,
        Watch, //
    },
};

/// A place in the table.
struct Place {
    watch: Option<Arc<Watch>>,
    generation: u32,
}

/// The watches of a queue.
pub(crate) struct Table {
    places: KVVec<Place>,
    free: KVVec<u32>,
}

impl Table {
    pub(crate) const fn new() -> Self {
        Self {
            places: KVVec::new(),
            free: KVVec::new(),
        }
    }

    /// Puts a watch into the table and tells its handle.
    pub(crate) fn insert(&mut self, watch: Arc<Watch>) -> Result<u64> {
        let index = match self.free.pop() {
            Some(index) => index,
            None => {
                let index = u32::try_from(self.places.len()).map_err(|_| ENOSPC)?;
                // So that a place can always be given back.
                self.free
                    .reserve(self.places.len().saturating_add(1), GFP_KERNEL_ACCOUNT)?;
                let place = Place {
                    watch: None,
                    generation: 1,
                };
                self.places.push(place, GFP_KERNEL_ACCOUNT)?;
                index
            }
        };
        let place = self.places.get_mut(index as usize).ok_or(EINVAL)?;
        place.watch = Some(watch);
        Ok(u64::from(place.generation) << 32 | u64::from(index))
    }

    /// The watch that `handle` was issued for; `ENOENT` if it is gone.
    pub(crate) fn get(&self, handle: u64) -> Result<Arc<Watch>> {
        // CAST: The two halves.
        let (generation, index) = ((handle >> 32) as u32, handle as u32);
        let place = self.places.get(index as usize).ok_or(ENOENT)?;
        let watch = place.watch.as_ref().ok_or(ENOENT)?;
        if place.generation != generation || watch.is_gone() {
            return Err(ENOENT);
        }
        Ok(watch.clone())
    }

    /// Removes a watch. After that no untaken event of it is left, and none will come.
    pub(crate) fn remove(&mut self, queue: &Queue, handle: u64) -> Result {
        self.get(handle)?;
        // CAST: The low half.
        self.vacate(queue, handle as u32, true);
        Ok(())
    }

    /// Gives a place up. What its watch has told and nobody has taken is cancelled if `cancels`.
    fn vacate(&mut self, queue: &Queue, index: u32, cancels: bool) {
        let Some(place) = self.places.get_mut(index as usize) else {
            return;
        };
        let Some(watch) = place.watch.take() else {
            return;
        };
        place.generation = place.generation.wrapping_add(1).max(1);
        // Nobody fires it after it is detached, and nobody moves it into the ring after it is
        // forgotten: what is there then is all that there will be.
        watch.set_gone();
        watch.source().detach();
        queue.forget_watch(&watch);
        if cancels {
            cancel(&watch);
        }
        let pushed = self.free.push_within_capacity(index);
        debug_assert!(pushed.is_ok());
    }

    /// Looks at all watches: they may catch up, and those that are gone are removed.
    pub(crate) fn revisit(&mut self, queue: &Queue) {
        for index in 0..self.places.len() {
            let watch = self.places.get(index).and_then(|p| p.watch.as_ref());
            match watch {
                Some(watch) if watch.is_settled() => {
                    // What a ONESHOT watch has told before it went stays. CAST: The table has at
                    // most 2^32 places.
                    self.vacate(queue, index as u32, false);
                }
                Some(watch) => watch.source().revisit(watch.as_arc_borrow()),
                None => {}
            }
        }
    }

    /// Removes all watches.
    pub(crate) fn clear(&mut self, queue: &Queue) {
        for index in 0..self.places.len() {
            // CAST: The table has at most 2^32 places.
            self.vacate(queue, index as u32, true);
        }
    }
}
