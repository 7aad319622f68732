// SPDX-License-Identifier: GPL-2.0-only

//! SOCKET: what happens to a socket, and how much of it.
//!
//! As a POLL watch does, the watch has an entry on the wait queue of the socket, where every
//! protocol announces what happens. What that is, and how much can be read and written, is found
//! out in the context of the waker: `socket.c`. It does not have to be polled for that, nor does a
//! program have to wait. So a low-water mark that is not reached costs neither an event nor a
//! wake-up.
//!
//! For a protocol that keeps to itself how much can be read, it is as with POLL: the waker's key is
//! reported, and if it has none a thread of the program polls the socket.

use kernel::{
    prelude::*,
    sync::{
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
            Watch, //
        }, //
    },
    source::{
        fd::{
            self,
            fget,
            poll_and_add,
            watch_around,
            FileLink, //
        },
        poll::{
            check_entry,
            RELAYED, //
        },
        socket::sys::{
            SocketState,
            Woken, //
        },
        Class,
        Source,
        Target, //
    }, //
};

pub(crate) mod sys;

/// What a program may ask for.
const EVENTS: u32 = uapi::KEVENT_SOCKET_IN
    | uapi::KEVENT_SOCKET_OUT
    | uapi::KEVENT_SOCKET_ACCEPT
    | uapi::KEVENT_SOCKET_CONNECT
    | uapi::KEVENT_SOCKET_EOF
    | uapi::KEVENT_SOCKET_OOB
    | uapi::KEVENT_SOCKET_DRAINED
    | ALWAYS;

/// What it gets in any case.
const ALWAYS: u32 = uapi::KEVENT_SOCKET_ERROR | uapi::KEVENT_SOCKET_CLOSED;

/// The source of a SOCKET watch.
#[pin_data]
#[repr(C)]
pub(crate) struct Socket {
    pub(crate) link: FileLink,
    pub(crate) state: SocketState,
    #[pin]
    pub(crate) entries: [WaitEntry<Watch<Socket>>; 1],
}

impl Socket {
    fn new(record: &uapi::kevent_watch) -> impl PinInit<Self, Error> {
        let [receive, send, ..] = record.arg;
        try_pin_init!(Self {
            link: FileLink::new::<Self>(),
            state: SocketState::new(receive, send),
            entries <- pin_init::pin_init_array_from_fn(|_| WaitEntry::new()),
        })
    }

    /// What is reported to a program that is interested in `interest`. A program that waits for
    /// data has to know that none will come.
    pub(crate) fn reported(interest: u32) -> u32 {
        let eof = if interest & uapi::KEVENT_SOCKET_IN != 0 {
            uapi::KEVENT_SOCKET_EOF
        } else {
            0
        };
        interest | eof | ALWAYS
    }

    /// Has the socket report space as that is of interest: TCP would not report all.
    fn watch_space(&self, interest: u32) {
        let all = interest & uapi::KEVENT_SOCKET_DRAINED != 0;
        let more = interest & uapi::KEVENT_SOCKET_OUT != 0 && self.state.has_send_mark();
        self.state.watch_space(all || more);
    }

    /// There was a wake-up, for `key`, which has found out what there is to report. Returns whether
    /// an EXCLUSIVE watch claims it.
    #[inline(always)]
    pub(crate) fn woken(watch: ArcBorrow<'_, Watch<Self>>, key: u32, woken: Woken) -> bool {
        let mode = watch.mode();
        let events = woken.events_only();
        let Some(events) = events.filter(|_| mode.is_plain() && key & RELAYED == 0) else {
            return Self::woken_slowly(watch, key, woken);
        };
        let words = watch.source().words();
        let watch: ArcBorrow<'_, Watch> = watch;
        watch.fire_plain(mode, events, words);
        false
    }

    /// [`Socket::woken`], if it is not the usual wake-up.
    #[inline(never)]
    fn woken_slowly(watch: ArcBorrow<'_, Watch<Self>>, key: u32, woken: Woken) -> bool {
        let watch: ArcBorrow<'_, Watch> = watch;
        let Some(found) = woken.found() else {
            watch.request_repoll();
            return false;
        };
        if found.silent != 0 {
            watch.list_level();
        }
        if found.events == 0 {
            return false;
        }
        watch.queue().note_waker(key);
        if watch.is_exclusive() {
            return watch.fire_exclusive(found.events);
        }
        watch.fire(found.events);
        false
    }
}

/// The key of the wake-up that `events` came from.
fn key_of(events: u32) -> u32 {
    let mut key = 0;
    if events & (uapi::KEVENT_SOCKET_IN | uapi::KEVENT_SOCKET_ACCEPT) != 0 {
        key |= uapi::KEVENT_POLL_IN | uapi::KEVENT_POLL_RDNORM;
    }
    if events & (uapi::KEVENT_SOCKET_OUT | uapi::KEVENT_SOCKET_DRAINED) != 0 {
        key |= uapi::KEVENT_POLL_OUT | uapi::KEVENT_POLL_WRNORM;
    }
    key
}

/// What the socket is asked for when it is polled. Some do more, or register for more, if it is of
/// interest.
fn key(interest: u32) -> u32 {
    let mut key = uapi::KEVENT_POLL_ERR | uapi::KEVENT_POLL_HUP | uapi::KEVENT_POLL_RDHUP;
    if interest & (uapi::KEVENT_SOCKET_IN | uapi::KEVENT_SOCKET_ACCEPT) != 0 {
        key |= uapi::KEVENT_POLL_IN | uapi::KEVENT_POLL_RDNORM;
    }
    if interest & (uapi::KEVENT_SOCKET_OUT | uapi::KEVENT_SOCKET_DRAINED) != 0 {
        key |= uapi::KEVENT_POLL_OUT | uapi::KEVENT_POLL_WRNORM;
    }
    if interest & uapi::KEVENT_SOCKET_OOB != 0 {
        key |= uapi::KEVENT_POLL_PRI;
    }
    key
}

fn check_arg(record: &uapi::kevent_watch) -> Result {
    let [.., a, b] = record.arg;
    if a != 0 || b != 0 {
        return Err(EINVAL);
    }
    Ok(())
}

impl Class for Socket {
    const NUMBER: u32 = uapi::KEVENT_SOURCE_SOCKET;
    const FLAGS: u32 = uapi::KEVENT_WATCH_EXCLUSIVE | uapi::KEVENT_WATCH_VANISHED;
    const EVENTS: u32 = EVENTS;
    const OF_LINK: Option<fd::OfLink> = Some(fd::watch_with::<Self>);

    fn watch(queue: &Arc<Queue>, record: &uapi::kevent_watch) -> Result<Arc<Watch>> {
        check_arg(record)?;
        Ok(Watch::new(
            queue.clone(),
            record,
            EventKind::StateData,
            Self::new(record),
        )?)
    }
}

impl Source for Socket {
    fn words(&self) -> EventData {
        self.state.words()
    }

    fn attach_file(
        &self,
        watch: ArcBorrow<'_, Watch>,
        record: &uapi::kevent_watch,
    ) -> Result<Option<Target>> {
        let (fd, file) = fget(record.ident)?;
        self.begin(&file)?;
        self.link.link(watch.queue(), &file, fd)?;
        Ok(Some(Target {
            file,
            key: key(record.events),
        }))
    }

    fn register(&self, target: &Target) -> Result<u32> {
        let exclusive = watch_around(self).is_exclusive();
        let polled = poll_and_add(self, &target.file, target.key, exclusive);
        match polled.queues {
            0 => Err(EPERM),
            1 => Ok(polled.events),
            _ => Err(E2BIG),
        }
    }

    fn registered(&self, watch: ArcBorrow<'_, Watch>, found: u32) -> Result<u32> {
        self.watch_space(watch.interest());
        if !self.link.is_open() {
            return Err(EBADF);
        }
        Ok(self.polled(watch, found))
    }

    fn check(&self, watch: &Watch, flags: u32, interest: u32) -> Result {
        check_entry(watch, flags, interest)
    }

    fn set_arg(&self, _watch: ArcBorrow<'_, Watch>, record: &uapi::kevent_watch) -> Result {
        check_arg(record)?;
        let [receive, send, ..] = record.arg;
        // What holds now is reported after that.
        self.state.set_marks(receive, send);
        Ok(())
    }

    fn disable(&self, watch: &Watch) {
        watch.disable();
        for entry in &self.entries {
            entry.pass_on(|| key_of(watch.unconsumed()));
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
        self.synchronize();
    }

    fn detach(&self, queue: &Queue) {
        let watch = watch_around(self);
        // In this order, see `files.c`.
        for entry in &self.entries {
            entry.remove_passing_on(|| key_of(watch.unconsumed()));
        }
        self.state.watch_space(false);
        self.state.clear();
        self.link.unlink(queue);
    }

    fn poll_at_once(&self, watch: ArcBorrow<'_, Watch>) -> Option<u32> {
        if self.entries.iter().any(WaitEntry::is_freed) {
            return None;
        }
        let interest = watch.interest();
        self.watch_space(interest);
        let found = self.link.poll_at_once(key(interest))?;
        Some(self.polled(watch, found))
    }

    fn target(&self, watch: ArcBorrow<'_, Watch>) -> Option<Target> {
        if self.entries.iter().any(WaitEntry::is_freed) {
            return None;
        }
        let file = self.link.file()?;
        let interest = watch.interest();
        self.watch_space(interest);
        Some(Target {
            file,
            key: key(interest),
        })
    }

    fn polled(&self, watch: ArcBorrow<'_, Watch>, found: u32) -> u32 {
        let interest = Self::reported(watch.interest());
        let found = self.state.polled(found);
        if found.silent & interest != 0 {
            watch.list_level();
        }
        found.events & interest
    }

    fn closed(&self) -> u32 {
        uapi::KEVENT_SOCKET_CLOSED
    }

    fn ident(&self) -> u64 {
        self.link.fd().into()
    }
}
