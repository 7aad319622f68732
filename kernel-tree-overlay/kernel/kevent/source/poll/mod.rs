// SPDX-License-Identifier: GPL-2.0-only

//! POLL: any file that can be polled.
//!
//! The watch has an entry on each wait queue that the file names when it is polled. A waker which
//! says what the wake-up is for has the event posted from its own context. One that does not may
//! mean anything, so the file is polled again, by a thread of the program that sleeps or is about
//! to. And some say more than a poll would: what is not certain of that is read where it can be,
//! see `poll.c`, and polled otherwise.
//!
//! A watch does not keep its file open, see `files.c`: closing the descriptor removes it.

use kernel::{
    fs::File,
    prelude::*,
    sync::{
        aref::ARef,
        wait_entry::{
            can_poll,
            poll_now,
            WaitEntry, //
        },
        Arc,
        ArcBorrow, //
    },
    uapi, //
};

use crate::{
    core::event::EventData,
    engine::{
        nest,
        queue::Queue,
        watch::{
            EventKind,
            Rechecker,
            Watch, //
        }, //
    },
    source::{
        check_no_arg,
        fd::{
            doubtful,
            fget,
            is_epoll,
            is_pidfd,
            poll_and_add,
            queue_of,
            watch_around,
            FileLink,
            OfLink, //
        },
        Class,
        Source, //
    }, //
};

pub(crate) mod sys;

/// How many wait queues a file may have. Most have one, which is what a small watch has room for.
pub(crate) const MANY: usize = 8;

/// What a program may ask for.
const EVENTS: u32 = uapi::KEVENT_POLL_IN
    | uapi::KEVENT_POLL_PRI
    | uapi::KEVENT_POLL_OUT
    | uapi::KEVENT_POLL_RDNORM
    | uapi::KEVENT_POLL_RDBAND
    | uapi::KEVENT_POLL_WRNORM
    | uapi::KEVENT_POLL_WRBAND
    | uapi::KEVENT_POLL_MSG
    | uapi::KEVENT_POLL_RDHUP
    | ALWAYS;

/// What it gets in any case.
const ALWAYS: u32 = uapi::KEVENT_POLL_ERR | uapi::KEVENT_POLL_HUP;

/// Those who poll the queue have to know this, see [`Queue::note_waker`].
pub(crate) const RELAYED: u32 = kernel::bindings::EPOLL_URING_WAKE;

/// In what a poll has found: something may come to hold without a wake-up. No poll says that.
const SILENT: u32 = 1 << 25;

/// What can be read of a file of which something can.
const READABLE: u32 = uapi::KEVENT_POLL_IN | uapi::KEVENT_POLL_RDNORM;

/// A file that is to be polled.
pub(crate) struct Target {
    pub(crate) file: ARef<File>,
    /// What is of interest.
    pub(crate) key: u32,
}

impl Target {
    /// Polls it: `EPOLL*` bits. May sleep.
    pub(crate) fn poll(&self, rechecker: Rechecker) -> u32 {
        self.with_silent(match queue_of(&self.file) {
            Some(inner) => inner.readiness(rechecker.deeper()),
            None => poll_now(&self.file, self.key),
        })
    }

    /// What was `found`, and whether the file may become readable without a wake-up, as a queue
    /// does by one of its levels.
    fn with_silent(&self, found: u32) -> u32 {
        let is_silent = found & READABLE == 0
            && queue_of(&self.file).is_some_and(|inner| !inner.recheck_list().is_empty());
        if is_silent {
            found | SILENT
        } else {
            found
        }
    }
}

/// The source of a POLL watch, with room for `N` wait queues.
#[pin_data]
#[repr(C)]
pub(crate) struct Poll<const N: usize> {
    pub(crate) link: FileLink,
    #[pin]
    pub(crate) entries: [WaitEntry<Watch<Poll<N>>>; N],
}

impl<const N: usize> Poll<N> {
    fn new() -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            link: FileLink::new::<Self>(),
            entries <- pin_init::pin_init_array_from_fn(|_| WaitEntry::new()),
        })
    }

    /// A name for the watch, which no other one has.
    fn name(&self) -> usize {
        core::ptr::from_ref(self).addr()
    }

    /// Which events the watch may report of a wake-up for `key`.
    #[inline(always)]
    pub(crate) fn wanted(watch: &Watch<Self>, key: u32) -> u32 {
        key & (watch.interest() | ALWAYS)
    }

    /// There was a wake-up for `key`, of which there is to report `events`, which are not none.
    /// Returns whether an EXCLUSIVE watch claims it.
    #[inline(always)]
    pub(crate) fn woken(watch: ArcBorrow<'_, Watch<Self>>, key: u32, events: u32) -> bool {
        let mode = watch.mode();
        // With more entries there is more than one lock that wakers hold.
        if N > 1 || !mode.is_plain() || key & RELAYED != 0 {
            return Self::woken_slowly(watch, key, events, false);
        }
        let watch: ArcBorrow<'_, Watch> = watch;
        watch.fire_plain(mode, events, EventData::default());
        false
    }

    /// [`Poll::woken`], if it is not the usual wake-up. If `unknown`, there may be other events.
    #[cold]
    #[inline(never)]
    pub(crate) fn woken_slowly(
        watch: ArcBorrow<'_, Watch<Self>>,
        key: u32,
        events: u32,
        unknown: bool,
    ) -> bool {
        let watch: ArcBorrow<'_, Watch> = watch;
        let mut claims = false;
        if events != 0 {
            watch.queue().note_waker(key);
            if watch.is_exclusive() {
                claims = watch.fire_exclusive(events);
            } else {
                watch.fire(events);
            }
        }
        if unknown {
            // After that: who is asked to poll needs no event to wake up.
            watch.request_repoll();
        }
        claims
    }
}

impl<const N: usize> Class for Poll<N> {
    const NUMBER: u32 = uapi::KEVENT_SOURCE_POLL;
    const FLAGS: u32 = uapi::KEVENT_WATCH_EXCLUSIVE | uapi::KEVENT_WATCH_VANISHED;
    const EVENTS: u32 = EVENTS;
    const OF_LINK: Option<OfLink> = Some(sys::of_link);

    fn watch(queue: &Arc<Queue>, record: &uapi::kevent_watch) -> Result<Arc<Watch>> {
        check_no_arg(record)?;
        let source = Poll::<N>::new();
        let watch: Arc<Watch<Self>> = Watch::new(queue.clone(), record, EventKind::State, source)?;
        Ok(watch)
    }

    fn watch_large(queue: &Arc<Queue>, record: &uapi::kevent_watch) -> Result<Arc<Watch>> {
        Poll::<MANY>::watch(queue, record)
    }
}

/// Checks that a watch that has an entry on a wait queue can have these flags and this interest
/// from now on.
pub(crate) fn check_entry(watch: &Watch, flags: u32, interest: u32) -> Result {
    // Where the entry is among those of others says whether it is exclusive, and the key that it
    // was made with for which events.
    let exclusive = uapi::KEVENT_WATCH_EXCLUSIVE;
    let moves = (flags ^ watch.flags()) & exclusive != 0;
    if moves || (flags & exclusive != 0 && interest != watch.interest()) {
        return Err(EINVAL);
    }
    Ok(())
}

/// The key with which the file is polled.
fn key(flags: u32, interest: u32) -> u32 {
    let edge = if flags & uapi::KEVENT_WATCH_EDGE != 0 {
        kernel::bindings::EPOLLET
    } else {
        0
    };
    interest | ALWAYS | edge
}

impl<const N: usize> Source for Poll<N> {
    fn attach_file(
        &self,
        watch: ArcBorrow<'_, Watch>,
        record: &uapi::kevent_watch,
    ) -> Result<Option<Target>> {
        let (fd, file) = fget(record.ident)?;
        if is_epoll(&file) {
            return Err(ELOOP);
        }
        if !can_poll(&file) {
            return Err(EPERM);
        }
        // Who passes on a wake-up wakes without the locks that those of a process are made with.
        if watch.is_exclusive() && is_pidfd(&file) {
            return Err(EINVAL);
        }
        self.link.set_doubtful(doubtful(&file));
        self.link.note_atomic(&file);
        if let Some(inner) = queue_of(&file) {
            nest::link(watch.queue(), &inner.into(), self.name())?;
            self.link.set_nested();
        }
        self.link.link(watch.queue(), &file, fd)?;
        Ok(Some(Target {
            file,
            key: key(record.flags, record.events),
        }))
    }

    fn register(&self, target: &Target) -> Result<u32> {
        let exclusive = watch_around(self).is_exclusive();
        let polled = poll_and_add(self, &target.file, target.key, exclusive);
        if polled.queues > N {
            return Err(if N < MANY { ENOBUFS } else { E2BIG });
        }
        Ok(target.with_silent(polled.events))
    }

    fn registered(&self, watch: ArcBorrow<'_, Watch>, found: u32) -> Result<u32> {
        if !self.link.is_open() {
            return Err(EBADF);
        }
        Ok(self.polled(watch, found))
    }

    fn check(&self, watch: &Watch, flags: u32, interest: u32) -> Result {
        check_entry(watch, flags, interest)
    }

    fn disable(&self, watch: &Watch) {
        watch.disable();
        for entry in &self.entries {
            entry.pass_on(|| watch.unconsumed());
        }
    }

    fn claim_is_used(&self) {
        for entry in &self.entries {
            entry.requeue();
        }
    }

    fn synchronize(&self) {
        for entry in &self.entries {
            entry.synchronize();
        }
    }

    fn finish_wake(&self) {
        // With more entries there is more than one lock, and no plain report.
        if let [entry] = self.entries.as_slice() {
            entry.synchronize();
        }
    }

    fn detach(&self, queue: &Queue) {
        let watch = watch_around(self);
        // In this order, see `files.c`.
        for entry in &self.entries {
            entry.remove_passing_on(|| watch.unconsumed());
        }
        if self.link.is_nested() {
            nest::unlink(queue, self.name());
        }
        self.link.unlink(queue);
    }

    fn poll_at_once(&self, watch: ArcBorrow<'_, Watch>) -> Option<u32> {
        if self.entries.iter().any(WaitEntry::is_freed) {
            return None;
        }
        let found = self
            .link
            .poll_at_once(key(watch.flags(), watch.interest()))?;
        Some(self.polled(watch, found))
    }

    fn target(&self, watch: ArcBorrow<'_, Watch>) -> Option<Target> {
        if self.entries.iter().any(WaitEntry::is_freed) {
            return None;
        }
        Some(Target {
            file: self.link.file()?,
            key: key(watch.flags(), watch.interest()),
        })
    }

    fn holds_silently(&self) -> bool {
        // By what its levels are of, which the program has consumed.
        self.link.is_nested()
    }

    fn taken_by_poll(&self) -> (u32, u32) {
        // As in /proc/mounts, and of a trigger of pressure stall information.
        let change = uapi::KEVENT_POLL_PRI;
        (change, change | uapi::KEVENT_POLL_ERR)
    }

    fn polled(&self, watch: ArcBorrow<'_, Watch>, found: u32) -> u32 {
        if found & SILENT != 0 {
            watch.list_level();
        }
        found & (watch.interest() | ALWAYS)
    }

    fn closed(&self) -> u32 {
        uapi::KEVENT_POLL_NVAL
    }

    fn ident(&self) -> u64 {
        self.link.fd().into()
    }
}
