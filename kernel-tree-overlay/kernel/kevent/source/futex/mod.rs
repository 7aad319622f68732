// SPDX-License-Identifier: GPL-2.0-only

//! FUTEX: a word in memory that is woken, as by futex_wake(2).
//!
//! The watch waits as a thread in `futex_wait()` would: a wake-up counts it as woken, takes it off
//! the futex and has the event posted from the waker's context. When the program has taken that and
//! waits again, so does the watch, unless the word has changed in the meantime, which is reported
//! instead: between two waits it would not see a wake-up.
//!
//! Only a task of the program can look at the word. So a watch that has been reported stays on the
//! list of rechecks, in EDGE mode too, until one comes by.

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
    core::event::EventData,
    engine::{
        queue::Queue,
        watch::{
            EventKind,
            Rechecker,
            Watch, //
        }, //
    },
    source::{
        futex::sys::{
            Armed,
            Word, //
        },
        Class,
        Source, //
    }, //
};

pub(crate) mod sys;

const WOKEN: u32 = uapi::KEVENT_FUTEX_WOKEN;
const CHANGED: u32 = uapi::KEVENT_FUTEX_CHANGED;

/// What `kevent_watch.arg` says.
struct Arg {
    flags: u32,
    bitset: u32,
    expect: Option<u32>,
}

impl Arg {
    fn parse(record: &uapi::kevent_watch) -> Result<Self> {
        let [flags, bitset, zero, expect] = record.arg;
        let bitset = u32::try_from(bitset).map_err(|_| EINVAL)?;
        let value = u32::try_from(expect).map_err(|_| EINVAL)?;
        let expects = record.flags & uapi::KEVENT_WATCH_EXPECT != 0;
        if zero != 0 || (value != 0 && !expects) {
            return Err(EINVAL);
        }
        Ok(Self {
            flags: u32::try_from(flags).map_err(|_| EINVAL)?,
            bitset: if bitset == 0 { u32::MAX } else { bitset },
            expect: expects.then_some(value),
        })
    }
}

/// The source of a FUTEX watch.
#[pin_data]
pub(crate) struct Futex {
    word: Word,
    /// Events that were cancelled, and are no state. Protected by the mutex of the queue's watches.
    kept: Atomic<u32>,
}

impl Futex {
    /// A waker woke the word, and the watch does not wait any more.
    pub(crate) fn woken(watch: ArcBorrow<'_, Watch<Self>>) {
        let watch: ArcBorrow<'_, Watch> = watch;
        // Before the event can be seen.
        watch.list();
        watch.fire(WOKEN);
    }

    /// The memory that the word was in has gone.
    pub(crate) fn gone(watch: ArcBorrow<'_, Watch<Self>>) {
        let watch: ArcBorrow<'_, Watch> = watch;
        if watch.flags() & uapi::KEVENT_WATCH_VANISHED != 0 {
            watch.request_repoll();
        }
    }

    /// Waits, if the watch does not. Returns what is to be reported instead.
    fn arm(&self, watch: ArcBorrow<'_, Watch>) -> u32 {
        if self.word.is_removed_or_done() {
            if watch.flags() & uapi::KEVENT_WATCH_VANISHED != 0 {
                watch.request_repoll();
            }
            return 0;
        }
        // In this order: the one that fired it may be switching it off.
        if self.word.is_armed() || watch.is_muted() {
            return 0;
        }
        if !self.word.is_mine() {
            watch.list();
            return 0;
        }
        let compares = watch.interest() & CHANGED != 0;
        let was_unread = self.word.is_unread();
        let changed = match self.word.arm(compares) {
            Armed::Waits => false,
            Armed::Changed => true,
            // It may have changed. The program can wait for the page, if there is one.
            Armed::Unread => compares && !was_unread,
        };
        if !changed {
            return 0;
        }
        watch.list();
        CHANGED
    }

    /// [`Futex::arm`], and reports.
    fn arm_and_post(&self, watch: ArcBorrow<'_, Watch>) {
        let events = self.arm(watch);
        if events != 0 {
            watch.fire(events);
        }
    }
}

impl Class for Futex {
    const NUMBER: u32 = uapi::KEVENT_SOURCE_FUTEX;
    const FLAGS: u32 = uapi::KEVENT_WATCH_EXPECT | uapi::KEVENT_WATCH_VANISHED;
    const EVENTS: u32 = WOKEN | CHANGED;
    // Without a wake-up nothing is noticed.
    const NEEDED: u32 = WOKEN;

    fn watch(queue: &Arc<Queue>, record: &uapi::kevent_watch) -> Result<Arc<Watch>> {
        let arg = Arg::parse(record)?;
        let word = Word::new(record.ident, arg.flags, arg.bitset)?;
        if arg.expect.is_some() {
            word.change(arg.bitset, arg.expect);
        }
        let futex = try_pin_init!(Futex {
            word,
            kept: Atomic::new(0),
        }? Error);
        let watch: Arc<Watch<Futex>> =
            Watch::new(queue.clone(), record, EventKind::StateData, futex)?;
        Ok(watch)
    }
}

impl Source for Futex {
    fn words(&self) -> EventData {
        self.word.words()
    }

    fn words_matter_for(&self) -> u32 {
        uapi::KEVENT_FUTEX_CHANGED
    }

    fn attach(&self, watch: ArcBorrow<'_, Watch>, _record: &uapi::kevent_watch) -> Result {
        self.word.attach(watch)?;
        self.arm_and_post(watch);
        Ok(())
    }

    fn set_arg(&self, _watch: ArcBorrow<'_, Watch>, record: &uapi::kevent_watch) -> Result {
        let arg = Arg::parse(record)?;
        if arg.flags != self.word.name().1 {
            return Err(EINVAL);
        }
        // It waits again when the watch is tested.
        self.word.change(arg.bitset, arg.expect);
        Ok(())
    }

    fn disable(&self, watch: &Watch) {
        // A wake-up is for a waiter that reports it.
        self.word.disarm();
        watch.disable();
    }

    fn synchronize(&self) {
        // A waker holds the lock that this takes.
        self.word.is_armed();
    }

    fn keep(&self, events: u32, flags: u32) {
        // The program has said what it has seen of the word.
        let tested = if flags & uapi::KEVENT_MODIFY_ARG != 0 {
            CHANGED
        } else {
            0
        };
        let kept = self.kept.load(Relaxed);
        self.kept.store((kept | events) & !tested, Relaxed);
    }

    fn detach(&self, queue: &Queue) {
        self.word.detach(queue);
    }

    fn test(&self, watch: ArcBorrow<'_, Watch>, _visitor: Rechecker) -> u32 {
        let kept = self.kept.xchg(0, Relaxed) & watch.interest();
        if kept == 0 {
            return self.arm(watch);
        }
        // It waits again when that was consumed.
        watch.list();
        kept
    }

    fn on_recheck(&self, watch: ArcBorrow<'_, Watch>) {
        if watch.is_unconsumed() {
            watch.list();
        } else {
            self.arm_and_post(watch);
        }
    }

    fn vanished(&self) -> Option<u32> {
        self.word.is_removed_or_done().then_some(0)
    }

    fn ident(&self) -> u64 {
        self.word.name().0
    }
}
