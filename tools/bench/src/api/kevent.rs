// SPDX-License-Identifier: GPL-2.0-only

use anyhow::{Context, Result, ensure};
use kevent::{
    Error, Event, Handle, Modify, Queue, Readiness, Rest, Ring, SocketEvents, Wait, Watch,
};
use std::ops::Range;

use super::{AT_ONCE, Api};
use crate::ends::Ends;
use crate::plan::WATCHED;

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
    /// Of what was registered, by index.
    handles: Vec<Handle>,
}

impl Watching {
    fn new(how: How, events: usize) -> Result<Watching> {
        // More than that wait in the backlog.
        let entries = events.min(kevent::sys::KEVENT_MAX_ENTRIES as usize);
        let queue = Queue::builder().entries(entries as u32).build()?;

        Ok(Watching {
            queue,
            how,
            // Not counted as memory of a watch: it is there before.
            handles: vec![Handle::from_raw(u64::MAX); WATCHED],
        })
    }

    fn ring(&self) -> Result<&Ring> {
        self.queue.ring().context("a queue without a ring")
    }

    /// The watch of that end.
    fn watch(&self, index: usize, ends: &Ends) -> Watch {
        let fd = ends.watched(index);

        match self.how {
            How::Edge => Watch::poll(fd, Readiness::IN).edge(),
            How::Level => Watch::poll(fd, Readiness::IN),
            How::Socket => Watch::socket(fd, SocketEvents::IN).edge(),
        }
        .user_data(index as u64)
    }

    fn add(&mut self, which: Range<usize>, ends: &Ends) -> Result<()> {
        let mut watches = [Watch::default(); AT_ONCE];
        let watches = &mut watches[..which.len()];

        for (watch, index) in watches.iter_mut().zip(which.clone()) {
            *watch = self.watch(index, ends);
        }
        self.queue.add(watches)?;
        if self.handles.len() < which.end {
            self.handles.resize(which.end, Handle::from_raw(u64::MAX));
        }
        for (handle, watch) in self.handles[which].iter_mut().zip(watches) {
            watch.result()?;
            *handle = watch.handle();
        }
        Ok(())
    }

    fn modify(&self, which: Range<usize>, ends: &Ends) -> Result<()> {
        let mut watches = [Watch::default(); AT_ONCE];
        let watches = &mut watches[..which.len()];

        for (watch, index) in watches.iter_mut().zip(which) {
            *watch = self.watch(index, ends).of(self.handles[index]);
        }
        self.queue
            .modify(watches, Modify::EVENTS | Modify::USER_DATA)?;
        for watch in watches {
            watch.result()?;
        }
        Ok(())
    }

    fn remove(&self, which: Range<usize>) -> Result<()> {
        let count = which.len();
        let removed = self.queue.remove(&self.handles[which])?;

        ensure!(removed == count, "kevent removed {removed} of {count}");
        Ok(())
    }

    fn wait(&self, wait: &Wait) -> Result<u32> {
        uninterrupted(|| self.queue.wait(wait))
    }

    fn calls(&self) -> u64 {
        self.queue.calls().total()
    }
}

/// Waits again if that was interrupted, without a signal: by io_uring closing a ring, for example.
fn uninterrupted<T>(mut wait: impl FnMut() -> Result<T, Error>) -> Result<T> {
    loop {
        match wait() {
            Err(Error::Interrupted) => {}
            other => return Ok(other?),
        }
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

    fn modify(&mut self, which: Range<usize>, ends: &Ends) -> Result<()> {
        self.0.modify(which, ends)
    }

    fn remove(&mut self, which: Range<usize>, _: &Ends) -> Result<()> {
        self.0.remove(which)
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
            self.0.wait(&Wait::new())?;
        }
    }

    fn calls(&self) -> u64 {
        self.0.calls()
    }
}

/// Takes from the ring until it is empty, and then makes a call, which tests level watches again
/// unless it has said that nothing is left: it has nothing else to do after each round.
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
            let mut read = Ok(true);

            // A read that leaves something would have filled the buffer.
            while read.is_ok()
                && ring.serve(|event| {
                    read = ends.read(event.user_data() as usize);
                    left -= usize::from(matches!(read, Ok(true)));
                    Rest::Nothing
                })
            {}
            read?;
            if self.0.wait(&Wait::new().min(u32::from(left > 0)))? == 0 {
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
            let got = uninterrupted(|| {
                let queue = &self.watching.queue;

                queue.get_events(&mut self.events, &Wait::new())
            })?;

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
