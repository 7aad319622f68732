// SPDX-License-Identifier: GPL-2.0-only

//! The classes of sources.
//!
//! A class is a file in this directory and a line in [`CLASSES`].

use kernel::{
    prelude::*,
    sync::{
        Arc,
        ArcBorrow, //
    },
    uapi, //
};

use crate::{
    queue::Queue,
    watch::Watch, //
};

pub(crate) mod timer;

/// What fires a watch.
pub(crate) trait Source: Send + Sync {
    /// The class, `KEVENT_SOURCE_*`.
    fn class(&self) -> u32;

    /// Whether the events of this class count, so that an event without a count is none.
    fn counts(&self) -> bool;

    /// Begins to fire `watch`, as the record says. Called again when the program changes what the
    /// source was told to do; if that fails, the source goes on as it did.
    fn attach(&self, watch: ArcBorrow<'_, Watch>, record: &uapi::kevent_watch) -> Result;

    /// Changes the events of interest.
    fn set_events(&self, events: u32) -> Result;

    /// Stops. When this returns, the watch is not being fired and will not be.
    fn detach(&self);

    /// The program is about to wait, and some watch of the queue has asked for this.
    fn revisit(&self, _watch: ArcBorrow<'_, Watch>) {}
}

/// A class of sources that programs make watches of.
struct Class {
    number: u32,
    /// Makes a watch from a record, without attaching it.
    watch: fn(Arc<Queue>, &uapi::kevent_watch) -> Result<Arc<Watch>>,
}

/// The classes whose watches come from `kevent_add()`.
const CLASSES: &[Class] = &[Class {
    number: uapi::KEVENT_SOURCE_TIMER,
    watch: timer::watch,
}];

/// The classes that this kernel has, as in `kevent_create.sources`.
pub(crate) const KNOWN: u64 = {
    let mut known = 1 << uapi::KEVENT_SOURCE_USER;
    let mut i = 0;
    while i < CLASSES.len() {
        known |= 1 << CLASSES[i].number;
        i += 1;
    }
    known
};

/// Makes a watch from a change record.
pub(crate) fn watch(queue: &Arc<Queue>, record: &uapi::kevent_watch) -> Result<Arc<Watch>> {
    let class = CLASSES.iter().find(|c| c.number == record.source);
    let class = class.ok_or(ENOSYS)?;
    if !queue.allows(class.number) {
        return Err(EPERM);
    }
    check(record)?;
    (class.watch)(queue.clone(), record)
}

/// Checks what does not depend on the class.
pub(crate) fn check(record: &uapi::kevent_watch) -> Result {
    let modes = uapi::KEVENT_WATCH_EDGE | uapi::KEVENT_WATCH_ONESHOT | uapi::KEVENT_WATCH_DISPATCH;
    let once = uapi::KEVENT_WATCH_ONESHOT | uapi::KEVENT_WATCH_DISPATCH;
    if record.flags & once == once || record.flags & !(modes | OTHER_FLAGS) != 0 {
        return Err(EINVAL);
    }
    if record.events & !uapi::KEVENT_EVENTS_MASK != 0 {
        return Err(EINVAL);
    }
    Ok(())
}

/// The flags of watches other than the modes.
const OTHER_FLAGS: u32 = uapi::KEVENT_WATCH_DISABLED | uapi::KEVENT_WATCH_ABSTIME;
