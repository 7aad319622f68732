// SPDX-License-Identifier: GPL-2.0-only

//! How the server hears of what is ready.

use anyhow::{Context, Result};
use io_uring::{IoUring, cqueue, opcode, types};
use kevent::{Event, Queue, Readiness, Wait, Watch};
use rustix::buffer::spare_capacity;
use rustix::event::PollFlags;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

/// How many it hears of at once.
pub const AT_ONCE: usize = 64;
/// Connections, of which each has one event at most.
const MOST: u32 = 2_048;

/// An interface in use.
pub trait Engine {
    /// Watches for something to read, or to accept.
    fn add(&mut self, fd: BorrowedFd, token: usize) -> Result<()>;

    /// Waits until something is ready: at least one, unless it is to be called again.
    fn wait(&mut self, ready: &mut Vec<usize>) -> Result<()>;

    /// System calls of this since they were last forgotten.
    fn calls(&self) -> u64;

    fn forget_calls(&mut self);
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    KeventRing,
    KeventGetEvents,
    EpollLevel,
    EpollEdge,
    Uring,
}

impl Kind {
    pub const ALL: [Kind; 5] = [
        Kind::KeventRing,
        Kind::KeventGetEvents,
        Kind::EpollLevel,
        Kind::EpollEdge,
        Kind::Uring,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Kind::KeventRing => "kevent-ring",
            Kind::KeventGetEvents => "kevent-get-events",
            Kind::EpollLevel => "epoll-level",
            Kind::EpollEdge => "epoll-edge",
            Kind::Uring => "io_uring",
        }
    }

    pub fn by_name(name: &str) -> Result<Kind> {
        Kind::ALL
            .into_iter()
            .find(|kind| kind.name() == name)
            .with_context(|| format!("there is no engine {name}"))
    }

    pub fn is_kevent(self) -> bool {
        matches!(self, Kind::KeventRing | Kind::KeventGetEvents)
    }

    pub fn open(self) -> Result<Box<dyn Engine>> {
        Ok(match self {
            Kind::KeventRing => Box::new(Ring(kevent()?, 0)),
            Kind::KeventGetEvents => Box::new(Copied(kevent()?, [Event::default(); AT_ONCE], 0)),
            Kind::EpollLevel => Box::new(Epoll::new(EventFlags::IN)?),
            Kind::EpollEdge => Box::new(Epoll::new(EventFlags::IN | EventFlags::ET)?),
            Kind::Uring => Box::new(Uring::new()?),
        })
    }
}

fn kevent() -> Result<Queue> {
    Ok(Queue::builder().entries(MOST).build()?)
}

fn add(queue: &Queue, fd: BorrowedFd, token: usize) -> Result<()> {
    queue.add_one(
        Watch::poll(fd, Readiness::IN)
            .edge()
            .user_data(token as u64),
    )?;
    Ok(())
}

/// The ring of a queue, with a call only when it is empty; and the calls that are forgotten.
struct Ring(Queue, u64);

impl Engine for Ring {
    fn add(&mut self, fd: BorrowedFd, token: usize) -> Result<()> {
        add(&self.0, fd, token)
    }

    fn wait(&mut self, ready: &mut Vec<usize>) -> Result<()> {
        let ring = self.0.ring().context("a queue without a ring")?;

        ready.clear();
        loop {
            ready.extend(
                ring.drain()
                    .take(AT_ONCE)
                    .map(|event| event.user_data() as usize),
            );
            if !ready.is_empty() {
                return Ok(());
            }
            self.0.wait(&Wait::new())?;
        }
    }

    fn calls(&self) -> u64 {
        self.0.calls().total() - self.1
    }

    fn forget_calls(&mut self) {
        self.1 = self.0.calls().total();
    }
}

struct Copied(Queue, [Event; AT_ONCE], u64);

impl Engine for Copied {
    fn add(&mut self, fd: BorrowedFd, token: usize) -> Result<()> {
        add(&self.0, fd, token)
    }

    fn wait(&mut self, ready: &mut Vec<usize>) -> Result<()> {
        let got = self.0.get_events(&mut self.1, &Wait::new())?;

        ready.clear();
        ready.extend(self.1[..got].iter().map(|event| event.user_data() as usize));
        Ok(())
    }

    fn calls(&self) -> u64 {
        self.0.calls().total() - self.2
    }

    fn forget_calls(&mut self) {
        self.2 = self.0.calls().total();
    }
}

struct Epoll {
    fd: OwnedFd,
    flags: EventFlags,
    events: Vec<epoll::Event>,
    calls: u64,
}

impl Epoll {
    fn new(flags: EventFlags) -> Result<Epoll> {
        Ok(Epoll {
            fd: epoll::create(CreateFlags::CLOEXEC)?,
            flags,
            events: Vec::with_capacity(AT_ONCE),
            calls: 0,
        })
    }
}

impl Engine for Epoll {
    fn add(&mut self, fd: BorrowedFd, token: usize) -> Result<()> {
        self.calls += 1;
        Ok(epoll::add(
            &self.fd,
            fd,
            EventData::new_u64(token as u64),
            self.flags,
        )?)
    }

    fn wait(&mut self, ready: &mut Vec<usize>) -> Result<()> {
        self.events.clear();
        self.calls += 1;
        epoll::wait(&self.fd, spare_capacity(&mut self.events), None)?;
        ready.clear();
        ready.extend(self.events.iter().map(|event| event.data.u64() as usize));
        Ok(())
    }

    fn calls(&self) -> u64 {
        self.calls
    }

    fn forget_calls(&mut self) {
        self.calls = 0;
    }
}

/// Multishot polls.
struct Uring {
    ring: IoUring,
    calls: u64,
}

impl Uring {
    fn new() -> Result<Uring> {
        let ring = IoUring::builder()
            .setup_cqsize(MOST)
            .setup_single_issuer()
            .setup_defer_taskrun()
            .build(AT_ONCE as u32)?;

        Ok(Uring { ring, calls: 0 })
    }
}

impl Engine for Uring {
    fn add(&mut self, fd: BorrowedFd, token: usize) -> Result<()> {
        let entry = opcode::PollAdd::new(types::Fd(fd.as_raw_fd()), PollFlags::IN.bits().into())
            .multi(true)
            .build()
            .user_data(token as u64);

        // SAFETY: the entry refers to no memory.
        unsafe { self.ring.submission().push(&entry)? };
        self.ring.submit()?;
        self.calls += 1;
        Ok(())
    }

    fn wait(&mut self, ready: &mut Vec<usize>) -> Result<()> {
        ready.clear();
        loop {
            let done = self.ring.completion().take(AT_ONCE);
            // A poll that has ended is of a connection that is closed.
            let reported = done.filter(|done| cqueue::more(done.flags()) || done.result() > 0);

            ready.extend(reported.map(|done| done.user_data() as usize));
            if !ready.is_empty() {
                return Ok(());
            }
            self.ring.submit_and_wait(1)?;
            self.calls += 1;
        }
    }

    fn calls(&self) -> u64 {
        self.calls
    }

    fn forget_calls(&mut self) {
        self.calls = 0;
    }
}
