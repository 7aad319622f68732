// SPDX-License-Identifier: GPL-2.0-only

//! A queue, as far as its watches have to do with it.
//!
//! The methods are the kernel's own; the build script takes them out of `queue.rs`. What is here is
//! what they use of the rest of the kernel: locks, and those who sleep.

use super::methods::{Backlog, Spare};
pub(crate) use super::methods::{Take, FLUSH_BATCH};
use super::table::Table;
use crate::atomic::ordering::{Any, Full, Relaxed, ReleaseOrRelaxed};
use crate::atomic::Atomic;
use crate::core::event::Event;
use crate::core::recheck::RecheckList;
use crate::core::ring::Ring;
use crate::memory;
use crate::sync::Arc;
use crate::sys::limits::WatchAccount;
use ::core::mem::ManuallyDrop;
use ::core::ops::{Deref, DerefMut};
use std::sync::Weak;

/// A mutex or a spinlock.
pub(crate) struct Mutex<T>(loom::sync::Mutex<T>);

impl<T> Mutex<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(loom::sync::Mutex::new(value))
    }

    pub(crate) fn lock(&self) -> Guard<'_, T> {
        Guard(ManuallyDrop::new(self.0.lock().unwrap()))
    }

    /// For lockdep there is a depth.
    pub(crate) fn lock_nested(&self, _depth: u32) -> Guard<'_, T> {
        self.lock()
    }
}

pub(crate) struct Guard<'a, T>(ManuallyDrop<loom::sync::MutexGuard<'a, T>>);

impl<T> Deref for Guard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> DerefMut for Guard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.0
    }
}

impl<T> Drop for Guard<'_, T> {
    fn drop(&mut self) {
        // When a test fails the other threads unwind as well, and loom is not there any more.
        if !std::thread::panicking() {
            // SAFETY: It is not used after that.
            unsafe { ManuallyDrop::drop(&mut self.0) };
        }
    }
}

/// `Atomic<bool>`.
pub(crate) struct Flag(Atomic<u32>);

impl Flag {
    fn new() -> Self {
        Self(Atomic::new(0))
    }

    pub(crate) fn load(&self, _: Relaxed) -> bool {
        self.0.load(Relaxed) != 0
    }

    pub(crate) fn store<O: ReleaseOrRelaxed>(&self, value: bool, order: O) {
        self.0.store(value.into(), order);
    }

    pub(crate) fn xchg<O: Any>(&self, value: bool, order: O) -> bool {
        self.0.xchg(value.into(), order) != 0
    }
}

/// What is only reported to people.
pub(crate) struct Counter;

impl Counter {
    /// There may always be another one.
    pub(crate) fn load(&self, _: Relaxed) -> u32 {
        1
    }

    pub(crate) fn fetch_add(&self, _: u32, _: Relaxed) {}
    pub(crate) fn fetch_sub(&self, _: u32, _: Relaxed) {}
}

/// A backlog as small as here has never too much memory.
pub(crate) struct Never;

impl Never {
    pub(crate) fn load(&self, _: Relaxed) -> bool {
        false
    }

    pub(crate) fn store(&self, _: bool, _: Relaxed) {}
}

pub(crate) struct Deadline;

/// An event that was posted: by the owner of the queue, there is no other one here.
#[derive(Default)]
pub(crate) struct Post {
    pub(crate) event: Event,
}

impl Post {
    pub(crate) fn is_foreign(&self) -> bool {
        false
    }
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Woken {
    Ready,
    /// It never is: that is about signals and deadlines.
    #[allow(dead_code)]
    Late,
    /// It sleeps, unless it was woken since.
    Asleep,
}

/// What a waker did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wake {
    One,
    /// A thread that is asked to recheck, to look, or to ask others.
    Other,
    Nobody,
    /// There are others, which it has not asked.
    Unknown,
}

/// What a waiter's condition says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    No,
    Other,
    Yes,
}

/// A wait queue for one thread, which waits for an event or is asked to recheck. It does not stop
/// when it would sleep: [`WaitQueue::sleeps`] reports afterwards.
pub(crate) struct WaitQueue {
    queue: Weak<Queue>,
    asleep: Flag,
    woken: Flag,
    /// There are always more threads before this one than a waker asks, and they wait for more.
    crowded: ::core::sync::atomic::AtomicBool,
}

impl WaitQueue {
    /// From now on this thread is not the only one.
    pub(crate) fn crowd(&self) {
        self.crowded
            .store(true, ::core::sync::atomic::Ordering::Relaxed);
    }

    pub(crate) fn wait(&self, ready: impl Fn() -> Answer, _: Option<&Deadline>) -> Woken {
        self.woken.store(false, Relaxed);
        self.asleep.xchg(true, Full);
        if ready() != Answer::No {
            self.asleep.store(false, Relaxed);
            return Woken::Ready;
        }
        Woken::Asleep
    }

    pub(crate) fn is_active(&self) -> bool {
        self.asleep.load(Relaxed)
    }

    pub(crate) fn wake_one(&self) -> Wake {
        self.wake(self.crowded.load(::core::sync::atomic::Ordering::Relaxed))
    }

    fn wake(&self, crowded: bool) -> Wake {
        let Some(queue) = self.queue.upgrade() else {
            return Wake::Nobody;
        };
        let asked = queue.recheck_wanted.load(Relaxed)
            || queue.look_wanted.load(Relaxed)
            || queue.unasked.load(Relaxed) != 0;
        if !asked && crowded {
            return Wake::Unknown;
        }
        let wake = match queue.has(None, 1) {
            true => Wake::One,
            false if asked => Wake::Other,
            false => return Wake::Nobody,
        };
        self.woken.store(true, Relaxed);
        wake
    }

    pub(crate) fn wake_one_of_all(&self) -> bool {
        self.wake(false) != Wake::Nobody
    }

    pub(crate) fn is_over(_: Option<&Deadline>) -> Option<Woken> {
        None
    }

    /// Whether a thread sleeps that was not woken.
    pub(crate) fn sleeps(&self) -> bool {
        self.asleep.load(Relaxed) && !self.woken.load(Relaxed)
    }
}

/// The threads that wait. One that the model has put to sleep returns from `Queue::sleep`, and
/// still counts.
pub(crate) struct Listeners(Atomic<u32>);

impl Listeners {
    pub(crate) fn load(&self, _: Relaxed) -> u32 {
        self.0.load(Relaxed)
    }

    pub(crate) fn fetch_add(&self, n: u32, _: Relaxed) {
        let mut old = self.0.load(Relaxed);
        while let Err(now) = self.0.cmpxchg(old, old + n, Relaxed) {
            old = now;
        }
    }

    pub(crate) fn fetch_sub(&self, _: u32, _: Relaxed) {}
}

/// Those who poll the queue: none.
pub(crate) struct Pollers;

impl Pollers {
    pub(crate) fn is_active(&self) -> bool {
        false
    }
}

/// A number that the backlog's lock protects.
#[derive(Default)]
pub(crate) struct Posted(::core::sync::atomic::AtomicU32);

impl Posted {
    pub(crate) fn fetch_add<O>(&self, n: u32, _: O) {
        self.0.fetch_add(n, ::core::sync::atomic::Ordering::Relaxed);
    }

    pub(crate) fn xchg<O>(&self, n: u32, _: O) -> u32 {
        self.0.swap(n, ::core::sync::atomic::Ordering::Relaxed)
    }
}

pub(crate) struct IrqWork;

impl IrqWork {
    pub(crate) fn queue(_: &Queue) {}
}

/// With the names that the kernel's have.
pub(crate) struct Queue {
    pub(crate) ring: Option<Ring>,
    pub(crate) consumer: Mutex<Spare>,
    pub(crate) watches: Mutex<Table>,
    pub(crate) recheck_list: RecheckList,
    pub(crate) recheck_wanted: Flag,
    pub(crate) look_wanted: Flag,
    pub(crate) unasked: Atomic<u32>,
    pub(crate) backlog: Mutex<Backlog>,
    pub(crate) backlogged: Atomic<u32>,
    pub(crate) has_excess: Never,
    pub(crate) waiters: WaitQueue,
    pub(crate) listeners: Listeners,
    pub(crate) pollers: Pollers,
    pub(crate) poll_wake_mask: Atomic<u32>,
    pub(crate) pending: Posted,
    pub(crate) merged: Counter,
    pub(crate) deferred: Counter,
    pub(crate) woken: Counter,
}

impl Queue {
    /// A queue with a ring of `entries` slots, none if that is 0.
    pub(crate) fn new(entries: u32) -> Arc<Self> {
        let ring = (entries != 0).then(|| Ring::new(entries).expect("a power of two"));
        if let Some(ring) = &ring {
            let base = ring.pages().as_ptr();
            memory::add_ring(base, Ring::entries_offset() as usize, entries);
        }
        let queue = Arc::new_cyclic(|queue| Self {
            ring,
            consumer: Mutex::new(None),
            watches: Mutex::new(Table::new(WatchAccount)),
            recheck_list: RecheckList::new(),
            recheck_wanted: Flag::new(),
            look_wanted: Flag::new(),
            unasked: Atomic::new(0),
            backlog: Mutex::new(Backlog::new()),
            backlogged: Atomic::new(0),
            has_excess: Never,
            waiters: WaitQueue {
                queue: queue.clone(),
                asleep: Flag::new(),
                woken: Flag::new(),
                crowded: false.into(),
            },
            listeners: Listeners(Atomic::new(0)),
            pollers: Pollers,
            poll_wake_mask: Atomic::new(0),
            pending: Posted::default(),
            merged: Counter,
            deferred: Counter,
            woken: Counter,
        });
        queue.reserve_watches(1).expect("there is memory");
        // So that the model knows the words.
        if let Some(ring) = queue.ring() {
            ring.posted();
            ring.set_flag(crate::uapi::KEVENT_RING_RECHECK, false);
        }
        queue.recheck_list().is_empty();
        queue.is_backlogged();
        queue.poll_wake_mask.load(Relaxed);
        queue.unasked.load(Relaxed);
        queue.listeners.load(Relaxed);
        for flag in [
            &queue.recheck_wanted,
            &queue.look_wanted,
            &queue.waiters.asleep,
            &queue.waiters.woken,
        ] {
            flag.load(Relaxed);
        }
        queue
    }
}
