// SPDX-License-Identifier: GPL-2.0-only

//! The kernel's `Source` and `Class`, and a class for the tests.

use super::queue::{Mutex, Queue};
use super::watch::{PostOutcome, Rechecker, Watch};
use crate::atomic::ordering::{Acquire, Full, Relaxed, Release};
use crate::atomic::Atomic;
use crate::core::event::EventData;
use crate::core::ring::Index;
use crate::memory;
use crate::prelude::{ArcMethods, Result, EINVAL, ENOENT};
use crate::sync::{Arc, ArcBorrow};
use crate::uapi;

/// No watch here is of a file.
pub(crate) mod fd {
    pub(crate) type OfLink = ();
}

include!(concat!(env!("OUT_DIR"), "/source_items.rs"));

/// How many wakers a source may have.
pub(crate) const WAKERS: usize = 2;

/// What the watch is of.
pub(crate) struct Object {
    /// What there is now, as far as a source has levels.
    state: Atomic<u32>,
    pending_count: Atomic<u64>,
    /// What was triggered while the watch was disabled.
    kept: Atomic<u32>,
    /// The locks under which wakers fire, as those of wait queues are; whether they still do.
    entries: [Mutex<bool>; WAKERS],
    /// All wakers take the first of them, and report plainly.
    is_plain: bool,
}

impl Object {
    pub(crate) fn new(is_plain: bool) -> Arc<Self> {
        let object = Self {
            state: Atomic::new(0),
            pending_count: Atomic::new(0),
            kept: Atomic::new(0),
            entries: [(); WAKERS].map(|()| Mutex::new(true)),
            is_plain,
        };
        let object = Arc::new(object);
        object.state.load(Relaxed);
        object.pending_count.load(Relaxed);
        object.kept.load(Relaxed);
        object
    }

    pub(crate) fn state(&self) -> u32 {
        self.state.load(Acquire)
    }

    /// What there is from now on. A full barrier, as before it is looked whether anybody waits.
    pub(crate) fn becomes(&self, state: u32) {
        self.state.store(state, Release);
        memory::fence();
    }

    /// The program does what it was reported that it can do, and there is no more.
    pub(crate) fn is_used_up(&self) -> u32 {
        self.state.xchg(0, Full)
    }

    /// Something happens, which is reported by one of those who can. Fails if they do not any more.
    pub(crate) fn complete(&self, waker: usize, watch: &Arc<Watch>, events: u32) -> bool {
        let attached = self.entry(waker).lock();
        if *attached {
            self.fire(watch, events);
        }
        *attached
    }

    fn entry(&self, waker: usize) -> &Mutex<bool> {
        &self.entries[if self.is_plain { 0 } else { waker }]
    }

    fn fire(&self, watch: &Arc<Watch>, events: u32) {
        if self.is_plain {
            watch
                .as_arc_borrow()
                .fire_plain(watch.mode(), events, EventData::default());
        } else {
            watch.as_arc_borrow().fire(events);
        }
    }

    /// The same, `count` times.
    pub(crate) fn happens_often(&self, waker: usize, watch: &Arc<Watch>, events: u32, count: u64) {
        let attached = self.entry(waker).lock();
        if *attached {
            self.pending_count.fetch_add(count, Relaxed);
            self.fire(watch, events);
        }
    }

    /// The program triggers the watch, as the kernel's `Triggers::fire` has it.
    pub(crate) fn trigger(&self, waker: usize, watch: &Arc<Watch>, events: u32) {
        let attached = self.entries[waker].lock();
        if *attached && watch.as_arc_borrow().fire(events) == PostOutcome::Muted {
            self.keep(events);
        }
    }

    fn keep(&self, events: u32) {
        let mut old = self.kept.load(Relaxed);
        while let Err(now) = self.kept.cmpxchg(old, old | events, Relaxed) {
            old = now;
        }
    }

    fn detach(&self) {
        for entry in &self.entries {
            *entry.lock() = false;
        }
    }

    /// Waits for those who fire.
    fn synchronize(&self) {
        for entry in &self.entries {
            drop(entry.lock());
        }
    }

    /// Something happens, but what is not known.
    pub(crate) fn stirs(&self, waker: usize, watch: &Arc<Watch>) {
        let attached = self.entry(waker).lock();
        if *attached {
            watch.as_arc_borrow().request_repoll();
        }
    }
}

/// What is polled while no mutex is held.
pub(crate) struct Target(Arc<Object>);

impl Target {
    pub(crate) fn poll(&self, _: Rechecker) -> u32 {
        self.0.state()
    }
}

/// A source of the tests.
pub(crate) struct Tested<const COUNTS: bool>(pub(crate) Arc<Object>);

impl<const COUNTS: bool> Class for Tested<COUNTS> {
    const NUMBER: u32 = uapi::KEVENT_SOURCE_POLL;
    const FLAGS: u32 = 0;
    const EVENTS: u32 = 0;

    fn watch(_: &Arc<Queue>, _: &uapi::kevent_watch) -> Result<Arc<Watch>> {
        Err(ENOENT)
    }
}

impl<const COUNTS: bool> Source for Tested<COUNTS> {
    fn pending_count(&self) -> Option<&Atomic<u64>> {
        COUNTS.then_some(&self.0.pending_count)
    }

    fn attach(&self, _: ArcBorrow<'_, Watch>, _: &uapi::kevent_watch) -> Result {
        Ok(())
    }

    fn set_arg(&self, _: ArcBorrow<'_, Watch>, _: &uapi::kevent_watch) -> Result {
        Ok(())
    }

    fn detach(&self, _: &Queue) {
        self.0.detach();
    }

    fn synchronize(&self) {
        self.0.synchronize();
    }

    fn finish_wake(&self) {
        if self.0.is_plain {
            drop(self.0.entries[0].lock());
        }
    }

    fn test(&self, _: ArcBorrow<'_, Watch>, _: Rechecker) -> u32 {
        self.0.state()
    }

    fn target(&self, _: ArcBorrow<'_, Watch>) -> Option<Target> {
        Some(Target(self.0.clone()))
    }

    fn polled(&self, _: ArcBorrow<'_, Watch>, found: u32) -> u32 {
        found
    }

    fn ident(&self) -> u64 {
        0
    }
}

/// The source of a USER watch, as the kernel has it.
pub(crate) struct Triggered(pub(crate) Arc<Object>);

impl Class for Triggered {
    const NUMBER: u32 = uapi::KEVENT_SOURCE_USER;
    const FLAGS: u32 = 0;
    const EVENTS: u32 = 0;

    fn watch(_: &Arc<Queue>, _: &uapi::kevent_watch) -> Result<Arc<Watch>> {
        Err(ENOENT)
    }
}

impl Source for Triggered {
    fn attach(&self, _: ArcBorrow<'_, Watch>, _: &uapi::kevent_watch) -> Result {
        Ok(())
    }

    fn detach(&self, _: &Queue) {
        self.0.detach();
    }

    fn synchronize(&self) {
        self.0.synchronize();
    }

    fn keep(&self, events: u32, _flags: u32) {
        self.0.keep(events);
    }

    fn test(&self, _: ArcBorrow<'_, Watch>, _: Rechecker) -> u32 {
        self.0.kept.xchg(0, Relaxed)
    }

    fn ident(&self) -> u64 {
        0
    }
}
