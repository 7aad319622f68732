// SPDX-License-Identifier: GPL-2.0-only

use anyhow::{Context, Result};
use kevent::{Event, Queue, Readiness, Ring, SocketEvents, Wait, Watch};
use std::ops::Range;

use super::{AT_ONCE, Api};
use crate::ends::Ends;

/// Which watches.
#[derive(Clone, Copy)]
pub enum How {
    /// Of the class POLL.
    Edge,
    Level,
    /// Edge watches of the class SOCKET.
    Socket,
}

/// A queue and how it watches.
struct Watching {
    queue: Queue,
    how: How,
}

impl Watching {
    fn new(how: How, events: usize) -> Result<Watching> {
        let queue = Queue::builder().entries(events as u32).build()?;

        Ok(Watching { queue, how })
    }

    fn ring(&self) -> Result<&Ring> {
        self.queue.ring().context("a queue without a ring")
    }

    fn add(&self, which: Range<usize>, ends: &Ends) -> Result<()> {
        let mut watches = [Watch::default(); AT_ONCE];
        let watches = &mut watches[..which.len()];

        for (watch, index) in watches.iter_mut().zip(which) {
            let fd = ends.watched(index);
            let plain = match self.how {
                How::Edge | How::Level => Watch::poll(fd, Readiness::IN),
                How::Socket => Watch::socket(fd, SocketEvents::IN),
            };
            let plain = plain.user_data(index as u64);

            *watch = match self.how {
                How::Level => plain,
                How::Edge | How::Socket => plain.edge(),
            };
        }
        self.queue.add(watches)?;
        for watch in watches {
            watch.result()?;
        }
        Ok(())
    }

    fn calls(&self) -> u64 {
        self.queue.calls().total()
    }
}

/// Takes from the ring until it has served all; a call only if the ring is empty too early.
pub struct Busy(Watching);

impl Busy {
    pub fn new(how: How, events: usize) -> Result<Busy> {
        Ok(Busy(Watching::new(how, events)?))
    }
}

impl Api for Busy {
    fn add(&mut self, which: Range<usize>, ends: &Ends) -> Result<()> {
        self.0.add(which, ends)
    }

    fn serve(&mut self, ready: Range<usize>, ends: &Ends) -> Result<()> {
        let ring = self.0.ring()?;
        let mut left = ready.len();

        loop {
            for event in ring.drain() {
                left -= usize::from(ends.read(event.user_data() as usize)?);
                if left == 0 {
                    return Ok(());
                }
            }
            self.0.queue.wait(&Wait::new())?;
        }
    }

    fn calls(&self) -> u64 {
        self.0.calls()
    }
}

/// Takes from the ring until it is empty, and then makes a call, which tests level watches again:
/// it has nothing else to do after each round.
pub struct Idle(Watching);

impl Idle {
    pub fn new(events: usize) -> Result<Idle> {
        Ok(Idle(Watching::new(How::Level, events)?))
    }
}

impl Api for Idle {
    fn add(&mut self, which: Range<usize>, ends: &Ends) -> Result<()> {
        self.0.add(which, ends)
    }

    fn serve(&mut self, ready: Range<usize>, ends: &Ends) -> Result<()> {
        let ring = self.0.ring()?;
        let mut left = ready.len();

        loop {
            for event in ring.drain() {
                left -= usize::from(ends.read(event.user_data() as usize)?);
            }
            if self.0.queue.wait(&Wait::new().min(u32::from(left > 0)))? == 0 {
                return Ok(());
            }
        }
    }

    fn calls(&self) -> u64 {
        self.0.calls()
    }
}

/// Edge watches, copied out by `kevent_get_events(2)`.
pub struct Copied {
    watching: Watching,
    events: [Event; AT_ONCE],
}

impl Copied {
    pub fn new(events: usize) -> Result<Copied> {
        Ok(Copied {
            watching: Watching::new(How::Edge, events)?,
            events: [Event::default(); AT_ONCE],
        })
    }
}

impl Api for Copied {
    fn add(&mut self, which: Range<usize>, ends: &Ends) -> Result<()> {
        self.watching.add(which, ends)
    }

    fn serve(&mut self, ready: Range<usize>, ends: &Ends) -> Result<()> {
        let mut left = ready.len();

        while left > 0 {
            let got = self
                .watching
                .queue
                .get_events(&mut self.events, &Wait::new())?;

            for event in &self.events[..got] {
                left -= usize::from(ends.read(event.user_data() as usize)?);
            }
        }
        Ok(())
    }

    fn calls(&self) -> u64 {
        self.watching.calls()
    }
}
