// SPDX-License-Identifier: GPL-2.0-only

//! POLL: any file that can be polled.
//!
//! The watch has an entry on each wait queue that the file names when it is polled. A waker which
//! says what the wake-up is for has the event posted from its own context. One that does not may
//! mean anything, so the file is polled again, by a thread of the program that sleeps or is about
//! to.
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
    engine::{
        nest,
        queue::Queue,
        watch::{
            enable,
            fire,
            fire_exclusive,
            fire_inline,
            request_repoll,
            test,
            EventKind,
            Rechecker,
            Watch, //
        }, //
    },
    source::{
        check_no_arg,
        fd::{
            fget,
            is_epoll,
            poll_and_add,
            queue_of,
            watch_around,
            write_wake_is_hint,
            FileLink,
            OfLink, //
        },
        Class,
        Room,
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

/// Sockets that send messages have this in the key of a wake-up for space.
const SPACE: u32 = uapi::KEVENT_POLL_WRBAND;

/// A file that is to be polled.
pub(crate) struct Target {
    pub(crate) file: ARef<File>,
    /// What is of interest.
    pub(crate) key: u32,
}

impl Target {
    /// Polls it: `EPOLL*` bits. May sleep.
    pub(crate) fn poll(&self, rechecker: Rechecker) -> u32 {
        match queue_of(&self.file) {
            Some(inner) => inner.readiness(rechecker.deeper()),
            None => poll_now(&self.file, self.key),
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

    /// There was a wake-up, for `key`, or nobody knows what if that is 0. Returns whether an
    /// EXCLUSIVE watch claims it.
    #[inline(always)]
    pub(crate) fn woken(watch: ArcBorrow<'_, Watch<Self>>, key: u32) -> bool {
        let events = key & (watch.interest() | ALWAYS);
        if key & SPACE != 0 && watch.source().link.write_wake_is_hint() {
            if events != 0 {
                request_repoll(watch);
            }
            return false;
        }
        let watch: ArcBorrow<'_, Watch> = watch;
        if events != 0 {
            watch.queue().note_waker(key);
            if watch.is_exclusive() {
                return fire_exclusive(watch, events);
            }
            fire_inline(watch, events);
        } else if key & uapi::KEVENT_EVENTS_MASK == 0 {
            request_repoll(watch);
        }
        false
    }
}

impl<const N: usize> Class for Poll<N> {
    const NUMBER: u32 = uapi::KEVENT_SOURCE_POLL;
    const FLAGS: u32 = uapi::KEVENT_WATCH_EXCLUSIVE | uapi::KEVENT_WATCH_VANISHED;
    const EVENTS: u32 = EVENTS;
    const OF_LINK: Option<OfLink> = Some(sys::of_link);

    fn watch(queue: &Arc<Queue>, record: &uapi::kevent_watch, room: Room) -> Result<Arc<Watch>> {
        check_no_arg(record)?;
        Ok(match room {
            Room::Little => Watch::new(queue.clone(), record, EventKind::State, Poll::<1>::new())?,
            Room::Plenty => {
                Watch::new(queue.clone(), record, EventKind::State, Poll::<MANY>::new())?
            }
        })
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

/// What a file is reported that the watch is interested in.
fn key(flags: u32, interest: u32) -> u32 {
    let edge = if flags & uapi::KEVENT_WATCH_EDGE != 0 {
        kernel::bindings::EPOLLET
    } else {
        0
    };
    interest | ALWAYS | edge
}

impl<const N: usize> Source for Poll<N> {
    fn attach(&self, watch: ArcBorrow<'_, Watch>, record: &uapi::kevent_watch) -> Result {
        let (fd, file) = fget(record.ident)?;
        if is_epoll(&file) {
            return Err(ELOOP);
        }
        if !can_poll(&file) {
            return Err(EPERM);
        }
        if write_wake_is_hint(&file) {
            self.link.set_write_wake_is_hint();
        }
        if let Some(inner) = queue_of(&file) {
            nest::link(watch.queue(), &inner.into(), self.name())?;
            self.link.set_nested();
        }
        self.link.link(&file, fd);
        let exclusive = record.flags & uapi::KEVENT_WATCH_EXCLUSIVE != 0;
        // If it reports once it must not have done so if this fails and is tried again.
        let holds = record.flags & (uapi::KEVENT_WATCH_ONESHOT | uapi::KEVENT_WATCH_DISPATCH) != 0
            && record.flags & uapi::KEVENT_WATCH_DISABLED == 0;
        if holds {
            watch.disable();
        }
        let polled = poll_and_add(self, &file, key(record.flags, record.events), exclusive);
        if polled.queues > N {
            return Err(if N < MANY { ENOBUFS } else { E2BIG });
        }
        if !self.link.is_open() {
            return Err(EBADF);
        }
        if holds {
            enable(watch);
            test(watch);
            return Ok(());
        }
        let events = polled.events & (record.events | ALWAYS);
        if events != 0 && record.flags & uapi::KEVENT_WATCH_DISABLED == 0 {
            fire(watch, events);
        }
        Ok(())
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

    fn detach(&self, queue: &Queue) {
        let watch = watch_around(self);
        // In this order, see `files.c`.
        for entry in &self.entries {
            entry.remove_passing_on(|| watch.unconsumed());
        }
        if self.link.is_nested() {
            nest::unlink(queue, self.name());
        }
        self.link.unlink();
    }

    fn test(&self, watch: ArcBorrow<'_, Watch>, rechecker: Rechecker) -> u32 {
        let found = self.target(watch).map(|target| target.poll(rechecker));
        found.map_or(0, |found| self.polled(watch, found))
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

    fn polled(&self, watch: ArcBorrow<'_, Watch>, found: u32) -> u32 {
        found & (watch.interest() | ALWAYS)
    }

    fn closed(&self) -> u32 {
        uapi::KEVENT_POLL_NVAL
    }

    fn ident(&self) -> u64 {
        self.link.fd().into()
    }
}
