// SPDX-License-Identifier: GPL-2.0-only

//! USER: what the program fires itself.
//!
//! `kevent_modify()` with `KEVENT_MODIFY_TRIGGER` finds the watch among those that can be
//! triggered, see [`Triggers`](crate::engine::triggers::Triggers), and fires it. The events of the
//! class that `kevent_post()` posts have no watch.

use kernel::{
    prelude::*,
    sync::{
        atomic::{
            ordering::Relaxed,
            Atomic, //
        },
        Arc,
        ArcBorrow, //
    },
    uapi, //
};

use crate::{
    engine::{
        queue::Queue,
        watch::{
            EventKind,
            Rechecker,
            Watch, //
        }, //
    },
    source::{
        check_no_arg,
        Class,
        Source, //
    }, //
};

/// The source of a USER watch.
pub(crate) struct User {
    /// By which the watch can be triggered. Written once, when it is attached.
    handle: Atomic<u64>,
    /// What was triggered while the watch was disabled, or before a change and not consumed.
    kept: Atomic<u32>,
    /// That of the watch.
    queue: Arc<Queue>,
}

impl Class for User {
    const NUMBER: u32 = uapi::KEVENT_SOURCE_USER;
    const FLAGS: u32 = 0;
    const EVENTS: u32 = uapi::KEVENT_EVENTS_MASK;

    fn watch(queue: &Arc<Queue>, record: &uapi::kevent_watch) -> Result<Arc<Watch>> {
        check_no_arg(record)?;
        if record.ident != 0 {
            return Err(EINVAL);
        }
        let user = User {
            handle: Atomic::new(0),
            kept: Atomic::new(0),
            queue: queue.clone(),
        };
        let watch: Arc<Watch<User>> =
            Watch::new(queue.clone(), record, EventKind::Triggered, Ok(user))?;
        Ok(watch)
    }
}

impl Source for User {
    fn attach(&self, watch: ArcBorrow<'_, Watch>, record: &uapi::kevent_watch) -> Result {
        self.handle.store(record.handle, Relaxed);
        watch.queue().triggers().insert(record.handle, watch.into())
    }

    fn synchronize(&self) {
        self.queue.triggers().synchronize();
    }

    fn keep(&self, events: u32, _flags: u32) {
        let mut old = self.kept.load(Relaxed);
        while let Err(now) = self.kept.cmpxchg(old, old | events, Relaxed) {
            old = now;
        }
    }

    fn test(&self, watch: ArcBorrow<'_, Watch>, _visitor: Rechecker) -> u32 {
        self.kept.xchg(0, Relaxed) & watch.interest()
    }

    fn detach(&self, queue: &Queue) {
        queue.triggers().remove(self.handle.load(Relaxed));
    }

    fn ident(&self) -> u64 {
        0
    }
}
