// SPDX-License-Identifier: GPL-2.0-only

//! SIGNAL: what is sent to the process that registered the watch.
//!
//! A watch either observes, and counts how often the signal was sent; or it intercepts, and its
//! event is the delivery. The side of the process is in `signal.c`: which lock protects what, and
//! how long there is a process.
//!
//! A watch that intercepts is fired with the siglock of the process held: by the sender of a
//! signal, and by a task that intercepts what is pending. So a signal is intercepted by a watch
//! that is enabled, and posted, and the watch is not disabled in between. It may be removed in
//! between: then the signal is one of those that were not posted.
//!
//! An intercepted signal is not lost. The watch keeps it until the event was consumed, as far as is
//! known, and what is left when the watch is removed is returned to the process. Of a real-time
//! signal, whose events are completions, these are records in two lists. Of the others it is the
//! last one, if its event is unconsumed.

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
    core::{
        event::EventData,
        ring::Index, //
    },
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
        signal::sys::{
            SignalLink,
            Which, //
        },
        Class,
        Intercept,
        Source, //
    }, //
};

pub(crate) mod sys;

const MAX: u32 = kernel::bindings::_NSIG;
const KILL: u32 = kernel::bindings::SIGKILL;
const STOP: u32 = kernel::bindings::SIGSTOP;

/// The first of the signals that are queued, each one by itself.
const REAL_TIME: u32 = kernel::bindings::SIGRTMIN;

/// The source of a SIGNAL watch.
#[pin_data]
pub(crate) struct Signal {
    #[pin]
    pub(crate) link: SignalLink,
    pending_count: Atomic<u64>,
}

impl Class for Signal {
    const NUMBER: u32 = uapi::KEVENT_SOURCE_SIGNAL;
    const FLAGS: u32 = uapi::KEVENT_WATCH_TAKE | uapi::KEVENT_WATCH_VANISHED;
    const EVENTS: u32 = uapi::KEVENT_SIGNAL_SENT;
    const NEEDED: u32 = Self::EVENTS;

    fn watch(queue: &Arc<Queue>, record: &uapi::kevent_watch) -> Result<Arc<Watch>> {
        let sig = u32::try_from(record.ident).map_err(|_| EINVAL)?;
        let takes = record.flags & uapi::KEVENT_WATCH_TAKE != 0;
        check_no_arg(record)?;
        if sig == 0 || sig > MAX {
            return Err(EINVAL);
        }
        if takes && (sig == KILL || sig == STOP) {
            return Err(EINVAL);
        }
        let kind = if !takes {
            EventKind::Count
        } else if sig < REAL_TIME {
            EventKind::StateData
        } else {
            EventKind::Queued
        };
        let signal = try_pin_init!(Signal {
            link <- SignalLink::new(sig, takes),
            pending_count: Atomic::new(0),
        }? Error);
        let watch: Arc<Watch<Signal>> = Watch::new(queue.clone(), record, kind, signal)?;
        Ok(watch)
    }
}

impl Source for Signal {
    fn words(&self) -> EventData {
        self.link.next().unwrap_or_default()
    }

    fn intercept(&self) -> Option<&dyn Intercept> {
        Some(self)
            .filter(|signal| signal.link.takes())
            .map(|signal| signal as &dyn Intercept)
    }

    fn pending_count(&self) -> Option<&Atomic<u64>> {
        Some(&self.pending_count)
    }

    fn attach(&self, watch: ArcBorrow<'_, Watch>, _record: &uapi::kevent_watch) -> Result {
        self.link.link(watch.queue())
    }

    fn check(&self, watch: &Watch, flags: u32, _interest: u32) -> Result {
        if (flags ^ watch.flags()) & uapi::KEVENT_WATCH_TAKE != 0 {
            return Err(EINVAL);
        }
        Ok(())
    }

    fn disable(&self, watch: &Watch) {
        let _lock = self.link.lock();
        watch.disable();
    }

    fn synchronize(&self) {
        drop(self.link.lock());
    }

    fn detach(&self, queue: &Queue) {
        self.link.uncount(queue);
        if self.link.takes() {
            // It is removed, so nothing more is intercepted after the senders have released the
            // lock. What was intercepted may be discarded until it is returned, see `removed`.
            drop(self.link.lock());
        } else {
            self.link.unlink();
        }
    }

    fn test(&self, _watch: ArcBorrow<'_, Watch>, _visitor: Rechecker) -> u32 {
        if self.link.takes() {
            self.link.pull();
        }
        // What there is has been posted.
        0
    }

    fn on_recheck(&self, watch: ArcBorrow<'_, Watch>) {
        self.sweep(watch.queue());
        let has_pending = self.pending_count.load(Relaxed) != 0;
        let is_posted = self.link.entry(Which::Oldest).is_some();
        let will_be = watch.has_completions() && self.link.next().is_some();
        if is_posted || will_be || (has_pending && watch.is_unconsumed()) {
            watch.list();
        } else if has_pending {
            watch.fire(uapi::KEVENT_SIGNAL_SENT);
        }
    }

    fn ident(&self) -> u64 {
        self.link.sig().into()
    }
}

impl Intercept for Signal {
    fn next(&self) -> Option<EventData> {
        self.link.next()
    }

    fn consumed(&self) {
        self.link.drop_next();
    }

    fn posted(&self, entry: Index) {
        self.link.posted(entry);
    }

    fn removed(&self, watch: &Watch, cancels: bool) -> bool {
        let mut cancelled = false;
        if watch.has_completions() {
            // From the latest one on, so that they come out in order.
            while let Some(entry) = self.link.entry(Which::Latest) {
                let consumed = !cancels || !watch.queue().cancel(entry);
                cancelled |= !consumed;
                self.link.settle(Which::Latest, entry, consumed);
            }
        } else {
            cancelled = cancels && watch.cancel_entry();
            if !cancelled && watch.pending() == 0 {
                self.link.drop_next();
            }
        }
        self.link.requeue_to_process();
        cancelled
    }
}

impl Signal {
    /// The signal was sent, and the watch counts that.
    pub(crate) fn count(watch: ArcBorrow<'_, Watch<Self>>) {
        watch.source().pending_count.fetch_add(1, Relaxed);
        let watch: ArcBorrow<'_, Watch> = watch;
        watch.fire(uapi::KEVENT_SIGNAL_SENT);
    }

    /// The watch has intercepted a signal.
    pub(crate) fn taken(watch: ArcBorrow<'_, Watch<Self>>) {
        let watch: ArcBorrow<'_, Watch> = watch;
        watch.fire(uapi::KEVENT_SIGNAL_SENT);
        if watch.has_completions() {
            // To settle it when its event was consumed.
            watch.list();
        }
    }

    /// Settles the signals whose events were consumed.
    pub(crate) fn sweep(&self, queue: &Queue) {
        while let Some(entry) = self.link.entry(Which::Oldest) {
            if queue.ring().is_some_and(|ring| ring.is_unconsumed(entry)) {
                break;
            }
            self.link.settle(Which::Oldest, entry, true);
        }
    }
}
