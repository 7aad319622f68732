// SPDX-License-Identifier: GPL-2.0-only

//! Watches that the program triggers, by handle.
//!
//! They are found here without the mutex of the table, which may be held for long. A watch is fired
//! with the lock held, so a watch that was removed from here is not being fired.

use kernel::{
    prelude::*,
    sync::Arc,
    xarray::{
        AllocKind,
        XArray, //
    }, //
};

use crate::engine::watch::{
    PostOutcome,
    Watch, //
};

/// One of them.
struct Trigger {
    handle: u64,
    watch: Arc<Watch>,
}

/// Watches that can be triggered.
#[pin_data]
pub(crate) struct Triggers {
    /// By the low half of their handles, which no other watch has at the same time.
    #[pin]
    watches: XArray<KBox<Trigger>>,
}

/// Where a watch is in the array.
fn index(handle: u64) -> usize {
    // CAST: The low half.
    handle as u32 as usize
}

impl Triggers {
    pub(crate) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            watches <- XArray::new(AllocKind::Alloc),
        })
    }

    /// From now on the watch can be triggered.
    pub(crate) fn insert(&self, handle: u64, watch: Arc<Watch>) -> Result {
        let trigger = KBox::new(Trigger { handle, watch }, GFP_KERNEL_ACCOUNT)?;
        let replaced = {
            let mut watches = self.watches.lock();
            watches.store(index(handle), trigger, GFP_KERNEL_ACCOUNT)?
        };
        debug_assert!(replaced.is_none());
        Ok(())
    }

    /// From now on the watch cannot be triggered, and it is not being fired. To be called when it
    /// is removed, which may be more than once.
    pub(crate) fn remove(&self, handle: u64) {
        // What is dropped after that may be the last reference but one.
        let _removed = {
            let mut watches = self.watches.lock();
            let is_there = watches
                .get(index(handle))
                .is_some_and(|trigger| trigger.handle == handle);
            if is_there {
                watches.remove(index(handle))
            } else {
                None
            }
        };
    }

    /// When this returns, no watch is being fired by a call of [`Triggers::fire`] that began
    /// before.
    pub(crate) fn synchronize(&self) {
        drop(self.watches.lock());
    }

    /// Fires the watch that `handle` was issued for with those of `events` that are of interest;
    /// `ENOENT` if it is gone, or cannot be triggered.
    pub(crate) fn fire(&self, class: u32, handle: u64, events: u32) -> Result {
        let watches = self.watches.lock();
        let trigger = watches
            .get(index(handle))
            .filter(|trigger| trigger.handle == handle && !trigger.watch.has_ended())
            .ok_or(ENOENT)?;
        if trigger.watch.class() != class {
            return Err(EINVAL);
        }
        let events = events & trigger.watch.interest();
        if events != 0 {
            if trigger.watch.as_arc_borrow().fire(events) == PostOutcome::Muted {
                // For when it is enabled: a change of the watch waits for the lock.
                trigger.watch.source().keep(events, 0);
            }
        }
        Ok(())
    }
}
