// SPDX-License-Identifier: GPL-2.0-only

//! PROCESS: the end of a process, and what it executes.
//!
//! The watch has an entry on the wait queue of the process' id, where pollers of a pidfd have
//! theirs. The task that ends or reaps the process wakes it, with `tasklist_lock` held, and the
//! event is posted from there. What has become of the process is looked up then, and stored: see
//! `process.c`.
//!
//! Exit and reaping are states that hold from then on. When the process is reaped, the watched
//! object has vanished: a watch that reports so requests a repoll, because it cannot be detached
//! from where it is woken.

use kernel::{
    prelude::*,
    sync::{
        atomic::{
            ordering::Relaxed,
            Atomic, //
        },
        wait_entry::WaitEntry,
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
        check_no_arg,
        fd::{
            self,
            fget,
            poll_and_add,
            FileLink, //
        },
        process::sys::ProcessState,
        Class,
        Source, //
    }, //
};

pub(crate) mod sys;

const EXIT: u32 = uapi::KEVENT_PROCESS_EXIT;
const REAPED: u32 = uapi::KEVENT_PROCESS_REAPED;
const EXEC: u32 = uapi::KEVENT_PROCESS_EXEC;

/// The source of a PROCESS watch.
#[pin_data]
#[repr(C)]
pub(crate) struct Process {
    pub(crate) link: FileLink,
    #[pin]
    pub(crate) entries: [WaitEntry<Watch<Process>>; 1],
    pub(crate) state: ProcessState,
    /// Events that were cancelled, and are no state. Protected by the mutex of the queue's watches.
    kept: Atomic<u32>,
}

impl Process {
    /// Checks that the program may be reported `interest`.
    fn may_report(&self, interest: u32) -> Result {
        if interest & EXEC == 0 || self.state.may_see() {
            Ok(())
        } else {
            Err(EACCES)
        }
    }

    /// The process runs another program.
    pub(crate) fn executes(&self, watch: ArcBorrow<'_, Watch<Self>>) {
        let watch: ArcBorrow<'_, Watch> = watch;
        if watch.interest() & EXEC != 0 {
            watch.fire(EXEC);
        }
    }

    /// `new` has become of the process.
    pub(crate) fn changes(&self, watch: ArcBorrow<'_, Watch>, new: u32) {
        let events = self.events(watch, new);
        if events != 0 {
            watch.fire(events);
        }
    }

    /// What to report that, beside that the process has vanished. If that is to be reported too,
    /// has it reported soon.
    fn events(&self, watch: ArcBorrow<'_, Watch>, seen: u32) -> u32 {
        let events = seen & watch.interest();
        if seen & REAPED == 0 || watch.flags() & uapi::KEVENT_WATCH_VANISHED == 0 {
            return events;
        }
        watch.request_repoll();
        events & !REAPED
    }
}

impl Class for Process {
    const NUMBER: u32 = uapi::KEVENT_SOURCE_PROCESS;
    const FLAGS: u32 = uapi::KEVENT_WATCH_VANISHED;
    const EVENTS: u32 = EXIT | REAPED | EXEC;
    const OF_LINK: Option<fd::OfLink> = Some(fd::watch_with::<Self>);

    fn watch(queue: &Arc<Queue>, record: &uapi::kevent_watch) -> Result<Arc<Watch>> {
        check_no_arg(record)?;
        let process = try_pin_init!(Process {
            link: FileLink::new::<Process>(),
            entries <- pin_init::pin_init_array_from_fn(|_| WaitEntry::new()),
            state: ProcessState::new(),
            kept: Atomic::new(0),
        }? Error);
        let watch: Arc<Watch<Process>> =
            Watch::new(queue.clone(), record, EventKind::StateData, process)?;
        Ok(watch)
    }
}

impl Source for Process {
    fn words(&self) -> EventData {
        self.state.words()
    }

    fn words_matter_for(&self) -> u32 {
        EXIT | REAPED
    }

    fn attach(&self, watch: ArcBorrow<'_, Watch>, record: &uapi::kevent_watch) -> Result {
        let (fd, file) = fget(record.ident)?;
        self.state.open(watch.queue(), &file)?;
        self.may_report(record.events)?;
        self.link.link(watch.queue(), &file, fd)?;
        poll_and_add(self, &file, 0, false);
        if !self.link.is_open() {
            return Err(EBADF);
        }
        self.changes(watch, self.state.look());
        Ok(())
    }

    fn check(&self, _watch: &Watch, _flags: u32, interest: u32) -> Result {
        self.may_report(interest)
    }

    fn synchronize(&self) {
        for entry in &self.entries {
            entry.synchronize();
        }
    }

    fn detach(&self, queue: &Queue) {
        // In this order, see `files.c`.
        for entry in &self.entries {
            entry.remove();
        }
        self.state.close(queue);
        self.link.unlink(queue);
    }

    fn test(&self, watch: ArcBorrow<'_, Watch>, _visitor: Rechecker) -> u32 {
        self.state.look();
        let kept = self.kept.xchg(0, Relaxed);
        self.events(watch, self.state.seen() | kept)
    }

    fn keep(&self, events: u32, _flags: u32) {
        let kept = self.kept.load(Relaxed);
        self.kept.store(kept | (events & EXEC), Relaxed);
    }

    fn vanished(&self) -> Option<u32> {
        Some(self.state.seen() & REAPED).filter(|events| *events != 0)
    }

    fn closed(&self) -> u32 {
        self.state.seen() & REAPED
    }

    fn ident(&self) -> u64 {
        self.link.fd().into()
    }
}
