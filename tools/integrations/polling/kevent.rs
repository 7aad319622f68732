// SPDX-License-Identifier: MIT

//! A poller of the polling crate on a kevent queue: src/kevent.rs, a child of epoll.rs.
//!
//! The bits of POLL watches are those of epoll, so its `Events` serve as they are. On a kernel without
//! kevent, and with NO_KEVENT in the environment, epoll does all the work.

use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::sync::Once;
use std::time::Instant;

use kevent::{Error, Modify, Post, Queue, Readiness, Wait, Watch};
use rustix::event::epoll;

use crate::{Event, PollMode, NOTIFY_KEY};

pub use super::{EventExtra, Events};

#[derive(Debug)]
pub enum Poller {
    Kevent(Queue),
    Epoll(super::Poller),
}

impl Poller {
    pub fn new() -> io::Result<Poller> {
        static SAID: Once = Once::new();

        if std::env::var_os("NO_KEVENT").is_some() {
            return super::Poller::new().map(Poller::Epoll);
        }
        match Queue::new() {
            Ok(queue) => Ok(Poller::Kevent(queue)),
            Err(Error::Unsupported) => {
                SAID.call_once(|| {
                    let _ = writeln!(io::stderr(), "polling: no kevent in this kernel: epoll is used");
                });
                super::Poller::new().map(Poller::Epoll)
            }
            Err(error) => Err(error.into()),
        }
    }

    pub fn supports_level(&self) -> bool {
        true
    }

    pub fn supports_edge(&self) -> bool {
        true
    }

    /// # Safety
    ///
    /// The `fd` must be a valid file descriptor. Closing it removes its watch.
    pub unsafe fn add(&self, fd: RawFd, event: Event, mode: PollMode) -> io::Result<()> {
        let Poller::Kevent(queue) = self else {
            return unsafe { self.epoll().add(fd, event, mode) };
        };
        let mut new = [watch(fd, &event, mode)];

        match queue.modify(&mut new, Modify::EVENTS | Modify::BY_IDENT) {
            Ok(_) => Err(io::ErrorKind::AlreadyExists.into()),
            Err(Error::NoSuchWatch) => Ok(queue.add(&mut new).map(drop)?),
            Err(error) => Err(error.into()),
        }
    }

    pub fn modify(&self, fd: BorrowedFd<'_>, event: Event, mode: PollMode) -> io::Result<()> {
        let Poller::Kevent(queue) = self else {
            return self.epoll().modify(fd, event, mode);
        };
        let what = Modify::EVENTS | Modify::MODE | Modify::USER_DATA | Modify::ENABLE;
        let mut changed = [watch(fd.as_raw_fd(), &event, mode)];

        queue.modify(&mut changed, what | Modify::BY_IDENT)?;
        Ok(())
    }

    pub fn delete(&self, fd: BorrowedFd<'_>) -> io::Result<()> {
        let Poller::Kevent(queue) = self else {
            return self.epoll().delete(fd);
        };
        let mut name = [Watch::of_events(Readiness::empty()).ident(fd.as_raw_fd() as u64)];

        queue.modify(&mut name, Modify::REMOVE | Modify::BY_IDENT)?;
        Ok(())
    }

    pub fn wait_deadline(&self, events: &mut Events, deadline: Option<Instant>) -> io::Result<()> {
        let Poller::Kevent(queue) = self else {
            return self.epoll().wait_deadline(events, deadline);
        };
        let wait = deadline.map_or(Wait::new(), |end| {
            Wait::new().timeout(end.saturating_duration_since(Instant::now()))
        });
        let mut next = queue.next_with(&wait)?;

        while let Some(event) = next {
            events.list.push(epoll::Event {
                flags: epoll::EventFlags::from_bits_retain(event.as_raw().events),
                data: epoll::EventData::new_u64(event.user_data()),
            });
            // Levels that still hold come with the next wait.
            next = match events.list.len() < events.list.capacity() {
                true => queue.take(),
                false => None,
            };
        }
        Ok(())
    }

    /// Needs no descriptor; the caller keeps count, so at most one is under way.
    pub fn notify(&self) -> io::Result<()> {
        let Poller::Kevent(queue) = self else {
            return self.epoll().notify();
        };

        queue.post_deferred(&[Post::new(NOTIFY_KEY as u64)])?;
        Ok(())
    }

    fn epoll(&self) -> &super::Poller {
        match self {
            Poller::Epoll(epoll) => epoll,
            Poller::Kevent(..) => unreachable!(),
        }
    }
}

fn watch(fd: RawFd, event: &Event, mode: PollMode) -> Watch {
    let flags = super::epoll_flags(event, mode) | event.extra.flags;
    // HUP and ERR are reported whether asked for or not; what is above are epoll's modes.
    let bits = Readiness::from_bits_retain(flags.bits() as u16) - Readiness::HUP - Readiness::ERR;
    let watch = Watch::of_events(bits).ident(fd as u64).user_data(event.key as u64);

    match mode {
        PollMode::Oneshot => watch.dispatch(),
        PollMode::Level => watch,
        PollMode::Edge => watch.edge(),
        PollMode::EdgeOneshot => watch.edge().dispatch(),
    }
}

impl AsRawFd for Poller {
    fn as_raw_fd(&self) -> RawFd {
        self.as_fd().as_raw_fd()
    }
}

impl AsFd for Poller {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Poller::Kevent(queue) => queue.as_fd(),
            Poller::Epoll(epoll) => epoll.as_fd(),
        }
    }
}
