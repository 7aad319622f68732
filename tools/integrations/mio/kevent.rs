// SPDX-License-Identifier: MIT

//! A selector of mio on a kevent queue: src/sys/unix/selector/kevent.rs.
//!
//! The bits of POLL watches are those of epoll, so its `Events` and accessors serve as they are. On a
//! kernel without kevent, and with NO_KEVENT in the environment, epoll does all the work.

use std::io::Write;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Once};
use std::time::Duration;
use std::{env, io};

use kevent::{Error, Features, Handle, Modify, Post, Queue, Readiness, UserEvents, Wait, Watch};

use crate::{Interest, Token};

#[path = "epoll.rs"]
mod epoll;
pub use self::epoll::{event, Event, Events};
cfg_io_source! {
    pub(crate) use self::epoll::IoSourceState;
}

const ENTRIES: u32 = 1024;

#[derive(Debug)]
pub struct Shared {
    id: usize,
    queue: Queue,
    /// A wake-up was posted and has not come out yet.
    woken: AtomicBool,
}

#[derive(Debug)]
pub enum Selector {
    Kevent(Arc<Shared>),
    Epoll(epoll::Selector),
}

impl Selector {
    pub fn new() -> io::Result<Selector> {
        static NEXT_ID: AtomicUsize = AtomicUsize::new(1);
        static SAID: Once = Once::new();

        if env::var_os("NO_KEVENT").is_some() {
            return epoll::Selector::new().map(Selector::Epoll);
        }
        match Queue::builder().entries(ENTRIES).build() {
            Ok(queue) => Ok(Selector::Kevent(Arc::new(Shared {
                id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
                queue,
                woken: AtomicBool::new(false),
            }))),
            Err(Error::Unsupported) => {
                SAID.call_once(|| {
                    let _ = writeln!(io::stderr(), "mio: no kevent in this kernel: epoll is used");
                });
                epoll::Selector::new().map(Selector::Epoll)
            }
            Err(error) => Err(error.into()),
        }
    }

    pub fn try_clone(&self) -> io::Result<Selector> {
        match self {
            Selector::Kevent(shared) => Ok(Selector::Kevent(Arc::clone(shared))),
            Selector::Epoll(epoll) => epoll.try_clone().map(Selector::Epoll),
        }
    }

    pub fn select(&self, events: &mut Events, timeout: Option<Duration>) -> io::Result<()> {
        match self {
            Selector::Kevent(shared) => shared.select(events, timeout),
            Selector::Epoll(epoll) => epoll.select(events, timeout),
        }
    }

    pub fn register(&self, fd: RawFd, token: Token, interests: Interest) -> io::Result<()> {
        match self {
            Selector::Kevent(shared) => shared.register(fd, token, interests),
            Selector::Epoll(epoll) => epoll.register(fd, token, interests),
        }
    }

    cfg_any_os_ext! {
    pub fn reregister(&self, fd: RawFd, token: Token, interests: Interest) -> io::Result<()> {
        match self {
            Selector::Kevent(shared) => shared.reregister(fd, token, interests),
            Selector::Epoll(epoll) => epoll.reregister(fd, token, interests),
        }
    }

    pub fn deregister(&self, fd: RawFd) -> io::Result<()> {
        match self {
            Selector::Kevent(shared) => shared.deregister(fd),
            Selector::Epoll(epoll) => epoll.deregister(fd),
        }
    }
    }
}

cfg_io_source! {
    impl Selector {
        #[cfg(debug_assertions)]
        pub fn id(&self) -> usize {
            match self {
                Selector::Kevent(shared) => shared.id,
                Selector::Epoll(epoll) => epoll.id(),
            }
        }
    }
}

impl AsFd for Selector {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Selector::Kevent(shared) => shared.queue.as_fd(),
            Selector::Epoll(epoll) => epoll.as_fd(),
        }
    }
}

impl AsRawFd for Selector {
    fn as_raw_fd(&self) -> RawFd {
        self.as_fd().as_raw_fd()
    }
}

#[allow(dead_code)] // without os-ext nothing is changed or removed
impl Shared {
    fn select(&self, events: &mut Events, timeout: Option<Duration>) -> io::Result<()> {
        let wait = timeout.map_or(Wait::new(), |time| Wait::new().timeout(time));

        events.clear();
        let mut next = self.queue.next_with(&wait)?;
        while let Some(event) = next {
            if event.is_posted() {
                // Before select() returns: what was done before a wake() that this saves is seen.
                self.woken.swap(false, Ordering::AcqRel);
            }
            events.push(Event {
                events: event.as_raw().events,
                u64: event.user_data(),
            });
            next = match events.len() < events.capacity() {
                true => self.queue.try_next().ok().flatten(),
                false => None,
            };
        }
        Ok(())
    }

    /// One that is there already is changed, as with kqueue.
    fn register(&self, fd: RawFd, token: Token, interests: Interest) -> io::Result<()> {
        self.queue
            .add_or_update(&mut [watch(fd, token, interests)])?;
        Ok(())
    }

    fn reregister(&self, fd: RawFd, token: Token, interests: Interest) -> io::Result<()> {
        let what = Modify::EVENTS | Modify::MODE | Modify::USER_DATA;

        self.queue
            .modify(&mut [watch(fd, token, interests)], what | Modify::BY_IDENT)?;
        Ok(())
    }

    fn deregister(&self, fd: RawFd) -> io::Result<()> {
        let mut name = [Watch::of_events(Readiness::empty()).ident(fd as u64)];

        self.queue
            .modify(&mut name, Modify::REMOVE | Modify::BY_IDENT)?;
        Ok(())
    }
}

fn watch(fd: RawFd, token: Token, interests: Interest) -> Watch {
    let mut bits = Readiness::empty();

    if interests.is_readable() {
        bits |= Readiness::IN | Readiness::RDHUP;
    }
    if interests.is_writable() {
        bits |= Readiness::OUT;
    }
    if interests.is_priority() {
        bits |= Readiness::PRI;
    }
    Watch::of_events(bits)
        .ident(fd as u64)
        .user_data(usize::from(token) as u64)
        .edge()
}

/// Needs no descriptor of its own where there is a queue.
#[derive(Debug)]
pub(crate) enum Waker {
    Kevent(Arc<Shared>, Token, Option<Handle>),
    Eventfd(epoll::Waker),
}

impl Waker {
    pub(crate) fn new(selector: &Selector, token: Token) -> io::Result<Waker> {
        let Selector::Kevent(shared) = selector else {
            return epoll::Waker::new(selector, token).map(Waker::Eventfd);
        };
        let user = match shared.queue.features() {
            Some(features) if features.contains(Features::USER_WATCH) => {
                let watch = Watch::of_events(UserEvents::all());
                Some(shared.queue.add_one(watch.user_data(token.0 as u64))?)
            }
            _ => None,
        };
        Ok(Waker::Kevent(Arc::clone(shared), token, user))
    }

    pub(crate) fn wake(&self) -> io::Result<()> {
        const READABLE: u16 = Readiness::IN.bits();

        match self {
            Waker::Kevent(shared, _, Some(handle)) => {
                shared
                    .queue
                    .trigger(*handle, UserEvents::from_bits_retain(READABLE))?;
            }
            Waker::Kevent(shared, token, None) => {
                if !shared.woken.swap(true, Ordering::AcqRel) {
                    let post =
                        Post::new(token.0 as u64).events(UserEvents::from_bits_retain(READABLE));
                    shared.queue.post_deferred(&[post])?;
                }
            }
            Waker::Eventfd(waker) => waker.wake()?,
        }
        Ok(())
    }
}

impl Drop for Waker {
    fn drop(&mut self) {
        if let Waker::Kevent(shared, _, Some(handle)) = self {
            let _ = shared.queue.remove(&[*handle]);
        }
    }
}
