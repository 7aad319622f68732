// SPDX-License-Identifier: GPL-2.0-only

//! SIGEV: POSIX timers that report to a queue instead of sending a signal.
//!
//! Such a timer has a watch in the queue, which `timer_create()` makes and no program can change.
//! The timer decides when to report, and counts what has expired: `kernel/time/posix-timers.c`. How
//! the two refer to each other is in `sys.rs`.

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
            add_pending,
            EventKind,
            PostOutcome,
            Watch, //
        }, //
    },
    entry::register,
    source::{
        sigev::sys::TimerLink,
        Class,
        Source, //
    },
    sys::limits::TimerCharge, //
};

pub(crate) mod sys;

/// The source of the watch of a POSIX timer.
pub(crate) struct Sigev {
    pub(crate) link: TimerLink,
    id: u32,
    pending_count: Atomic<u64>,
    charge: TimerCharge,
}

impl Class for Sigev {
    const NUMBER: u32 = uapi::KEVENT_SOURCE_SIGEV;
    const FLAGS: u32 = 0;
    const EVENTS: u32 = uapi::KEVENT_SIGEV_TIMER;

    fn watch(_: &Arc<Queue>, _: &uapi::kevent_watch) -> Result<Arc<Watch>> {
        // It takes a timer.
        Err(ENOSYS)
    }
}

impl Source for Sigev {
    fn words(&self) -> EventData {
        EventData {
            extra: self.id.into(),
            ..EventData::default()
        }
    }

    fn pending_count(&self) -> Option<&Atomic<u64>> {
        Some(&self.pending_count)
    }

    fn attach(&self, _watch: ArcBorrow<'_, Watch>, _record: &uapi::kevent_watch) -> Result {
        self.link.begin();
        Ok(())
    }

    fn detach(&self, _queue: &Queue) {
        self.link.end();
    }

    fn synchronize(&self) {
        // No program changes it.
    }

    fn on_recheck(&self, watch: ArcBorrow<'_, Watch>) {
        if watch.is_unconsumed() {
            watch.list();
            self.link.on_recheck(false);
            return;
        }
        if self.pending_count.load(Relaxed) != 0 {
            // The rest of what did not fit into the last event.
            watch.fire(uapi::KEVENT_SIGEV_TIMER);
        }
        self.link.on_recheck(true);
    }

    fn ident(&self) -> u64 {
        self.id.into()
    }
}

impl Sigev {
    /// The timer has expired `count` times since it reported so last. Returns whether that made an
    /// event.
    pub(crate) fn expired(watch: ArcBorrow<'_, Watch<Self>>, count: u64) -> bool {
        add_pending(&watch.source().pending_count, count);
        // The next call of the program arms the timer again. It waits for the lock of the timer.
        watch.list();
        let watch: ArcBorrow<'_, Watch> = watch;
        let outcome = watch.fire(uapi::KEVENT_SIGEV_TIMER);
        matches!(outcome, PostOutcome::Posted | PostOutcome::Empty)
    }
}

/// See [`TimerCharge::gap`].
pub(crate) fn gap(watch: ArcBorrow<'_, Watch<Sigev>>) -> i64 {
    watch.source().charge.gap(watch.place())
}

/// Makes the watch of the timer `id`.
pub(crate) fn add(queue: &Arc<Queue>, link: TimerLink, id: u32, user_data: u64) -> Result {
    if !queue.allows(Sigev::NUMBER) {
        return Err(EPERM);
    }
    let record = uapi::kevent_watch {
        source: Sigev::NUMBER,
        ident: id.into(),
        events: uapi::KEVENT_SIGEV_TIMER,
        user_data,
        ..Default::default()
    };
    let source = Sigev {
        link,
        id,
        pending_count: Atomic::new(0),
        charge: TimerCharge::new(ENOSPC)?,
    };
    register::add_internal(queue, &record, || {
        let watch: Arc<Watch<Sigev>> =
            Watch::new(queue.clone(), &record, EventKind::Count, Ok(source))?;
        Ok(watch)
    })?;
    Ok(())
}
