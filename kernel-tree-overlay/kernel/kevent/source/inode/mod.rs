// SPDX-License-Identifier: GPL-2.0-only

//! INODE: what happens to a file or a directory.
//!
//! Changes are reported by fsnotify, see `inode.c`, in the context of the task that makes them.
//! They are no states that could be polled later, so nothing is reported again in level mode. What
//! happens while the watch is disabled is kept, and reported when it is enabled, or with its last
//! event: a program that reads a directory and then enables its watch misses nothing.
//!
//! A watch is that of a descriptor, see `files.c`. The inode stays as long as that is open, so the
//! removal of its last link is the end of it as far as others are concerned, and is reported as
//! such.

use kernel::{
    prelude::*,
    sync::{
        atomic::{
            ordering::{
                Full,
                Relaxed, //
            },
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
            PostOutcome,
            Rechecker,
            Watch, //
        }, //
    },
    source::{
        check_no_arg,
        fd::{
            self,
            fget,
            FileLink, //
        },
        inode::sys::Mark,
        Class,
        Source, //
    }, //
};

pub(crate) mod sys;

/// What a program may ask for.
const EVENTS: u32 = uapi::KEVENT_INODE_MODIFY
    | uapi::KEVENT_INODE_EXTEND
    | uapi::KEVENT_INODE_ATTRIB
    | uapi::KEVENT_INODE_LINK
    | uapi::KEVENT_INODE_RENAME
    | uapi::KEVENT_INODE_DELETE
    | uapi::KEVENT_INODE_OPEN
    | uapi::KEVENT_INODE_CLOSE_WRITE
    | uapi::KEVENT_INODE_CLOSE_NOWRITE
    | uapi::KEVENT_INODE_CHILD_CREATED
    | uapi::KEVENT_INODE_CHILD_DELETED
    | uapi::KEVENT_INODE_TRUNCATE
    | MOVED;

/// What has a cookie.
const MOVED: u32 = uapi::KEVENT_INODE_CHILD_MOVED_OUT | uapi::KEVENT_INODE_CHILD_MOVED_IN;

/// The source of an INODE watch.
///
/// It is fired with the lock of the mark held, so by one CPU at a time.
#[pin_data]
pub(crate) struct Inode {
    pub(crate) link: FileLink,
    mark: Mark,
    /// The size of the file.
    size: Atomic<i64>,
    /// What the last two halves of a rename have in common.
    cookie: Atomic<u32>,
    /// What happened while the watch was disabled.
    kept: Atomic<u32>,
    /// There is no link to it any more.
    is_unlinked: Atomic<bool>,
}

impl Inode {
    /// `events` have happened. To be called with the lock of the mark held.
    pub(crate) fn changed(watch: ArcBorrow<'_, Watch<Self>>, events: u32, size: i64, cookie: u32) {
        let inode = watch.into_ref().source();
        inode.size.store(size, Relaxed);
        if events & MOVED != 0 {
            inode.cookie.store(cookie, Relaxed);
        }
        if events & (uapi::KEVENT_INODE_LINK | uapi::KEVENT_INODE_DELETE) != 0 {
            let gone = events & uapi::KEVENT_INODE_DELETE != 0;
            inode.is_unlinked.store(gone, Relaxed);
        }
        let vanishes = events & uapi::KEVENT_INODE_DELETE != 0
            && watch.flags() & uapi::KEVENT_WATCH_VANISHED != 0;
        let events = events & watch.interest();
        let watch: ArcBorrow<'_, Watch> = watch;
        if vanishes {
            // The last event reports it. If the flag is taken away before, it is reported then.
            inode.add_kept(events & uapi::KEVENT_INODE_DELETE);
            inode.report(watch, events & !uapi::KEVENT_INODE_DELETE);
            watch.request_repoll();
        } else {
            inode.report(watch, events);
        }
    }

    /// Reports `events`, or keeps them if the watch is disabled.
    fn report(&self, watch: ArcBorrow<'_, Watch>, mut events: u32) {
        while events != 0 && watch.fire(events) == PostOutcome::Muted {
            // ORDERING: Full. A task that enables the watch, and then takes what was kept, finds
            // this; or it is seen here that the watch is enabled.
            self.add_kept(events);
            if watch.is_muted() {
                break;
            }
            events = self.take(events);
        }
    }

    /// Keeps `events` for when the watch is enabled.
    fn add_kept(&self, events: u32) {
        let mut old = self.kept.load(Relaxed);
        while let Err(now) = self.kept.cmpxchg(old, old | events, Full) {
            old = now;
        }
    }

    /// Takes those of `events` that were kept.
    fn take(&self, events: u32) -> u32 {
        let mut old = self.kept.load(Relaxed);
        while let Err(now) = self.kept.cmpxchg(old, old & !events, Full) {
            old = now;
        }
        old & events
    }
}

impl Class for Inode {
    const NUMBER: u32 = uapi::KEVENT_SOURCE_INODE;
    const FLAGS: u32 = uapi::KEVENT_WATCH_VANISHED;
    const EVENTS: u32 = EVENTS;
    const OF_LINK: Option<fd::OfLink> = Some(fd::watch_with::<Self>);

    fn watch(queue: &Arc<Queue>, record: &uapi::kevent_watch) -> Result<Arc<Watch>> {
        check_no_arg(record)?;
        let inode = try_pin_init!(Inode {
            link: FileLink::new::<Inode>(),
            mark: Mark::new(),
            size: Atomic::new(0),
            cookie: Atomic::new(0),
            kept: Atomic::new(0),
            is_unlinked: Atomic::new(false),
        }? Error);
        let watch: Arc<Watch<Inode>> =
            Watch::new(queue.clone(), record, EventKind::StateData, inode)?;
        Ok(watch)
    }
}

impl Source for Inode {
    fn words(&self) -> EventData {
        EventData {
            data: self.size.load(Relaxed),
            extra: self.cookie.load(Relaxed).into(),
            ..EventData::default()
        }
    }

    fn words_matter_for(&self) -> u32 {
        uapi::KEVENT_INODE_CHILD_MOVED_OUT | uapi::KEVENT_INODE_CHILD_MOVED_IN
    }

    fn attach(&self, watch: ArcBorrow<'_, Watch>, record: &uapi::kevent_watch) -> Result {
        let (fd, file) = fget(record.ident)?;
        sys::check(&file, record.events)?;
        self.link.link(watch.queue(), &file, fd)?;
        self.mark
            .attach(watch.queue(), &file, record.events, self)?;
        if self.link.is_open() {
            Ok(())
        } else {
            Err(EBADF)
        }
    }

    fn check(&self, _watch: &Watch, _flags: u32, interest: u32) -> Result {
        let file = self.link.file().ok_or(EBADF)?;
        sys::check(&file, interest)?;
        // It is reported less, if so, when the change is made.
        self.mark.add(&file, interest);
        Ok(())
    }

    fn detach(&self, queue: &Queue) {
        // In this order, see `files.c`.
        self.mark.detach(queue);
        self.link.unlink(queue);
    }

    fn test(&self, watch: ArcBorrow<'_, Watch>, _visitor: Rechecker) -> u32 {
        self.mark.set(watch.interest());
        let vanishes = watch.flags() & uapi::KEVENT_WATCH_VANISHED != 0;
        let events = if vanishes && self.is_unlinked.load(Relaxed) {
            watch.request_repoll();
            self.take(!uapi::KEVENT_INODE_DELETE)
        } else {
            self.take(u32::MAX)
        };
        events & watch.interest()
    }

    fn synchronize(&self) {
        self.mark.synchronize();
    }

    fn keep(&self, events: u32, _flags: u32) {
        self.add_kept(events);
    }

    fn vanished(&self) -> Option<u32> {
        let events = self.kept.load(Relaxed) | uapi::KEVENT_INODE_DELETE;
        Some(events).filter(|_| self.is_unlinked.load(Relaxed))
    }

    fn closed(&self) -> u32 {
        self.vanished().unwrap_or_else(|| self.kept.load(Relaxed))
    }

    fn ident(&self) -> u64 {
        self.link.fd().into()
    }
}
