// SPDX-License-Identifier: GPL-2.0-only

//! Real-time signals that this process sends to itself.

use anyhow::{Context, Result};
use kevent::Watch;
use std::os::fd::OwnedFd;

use super::{Class, Epoll, MOST, Taking, sys};

fn send(batch: usize) -> Result<()> {
    (0..batch).try_for_each(sys::send)?;
    Ok(())
}

/// The bare loop: a signal that is ignored is not queued.
pub struct Ignored(sys::Ignore);

impl Ignored {
    pub fn new() -> Result<Ignored> {
        Ok(Ignored(sys::Ignore::new()?))
    }
}

impl Class for Ignored {
    fn set_off(&mut self, batch: usize) -> Result<()> {
        send(batch)
    }

    fn serve(&mut self, _: usize) -> Result<()> {
        Ok(())
    }

    fn calls(&self) -> u64 {
        0
    }
}

/// A watch with TAKE: the event is the delivery.
pub struct Taken(Taking);

impl Taken {
    pub fn new() -> Result<Taken> {
        let queue = Taking::new()?;

        sys::block()?;
        queue.0.add_one(Watch::signal(sys::signal()).take())?;
        Ok(Taken(queue))
    }
}

impl Class for Taken {
    fn set_off(&mut self, batch: usize) -> Result<()> {
        send(batch)
    }

    fn serve(&mut self, batch: usize) -> Result<()> {
        self.0.take(batch, |_| Ok(()))
    }

    fn calls(&self) -> u64 {
        self.0.calls()
    }
}

/// All that there is, by one read.
pub struct Signalfd {
    epoll: Epoll,
    fd: OwnedFd,
    ready: Vec<usize>,
    calls: u64,
}

impl Signalfd {
    pub fn new() -> Result<Signalfd> {
        let epoll = Epoll::new()?;

        sys::block()?;
        let fd = sys::signalfd()?;
        epoll.add(&fd, 0)?;
        Ok(Signalfd {
            epoll,
            fd,
            ready: Vec::with_capacity(MOST),
            calls: 0,
        })
    }
}

impl Class for Signalfd {
    fn set_off(&mut self, batch: usize) -> Result<()> {
        send(batch)
    }

    fn serve(&mut self, batch: usize) -> Result<()> {
        let mut left = batch;
        let mut taken = [[0; size_of::<sys::SignalInfo>()]; MOST];

        while left > 0 {
            self.epoll.wait(&mut self.ready)?;
            let read = rustix::io::read(&self.fd, taken.as_flattened_mut())?;

            self.calls += 1;
            let taken = read / size_of::<sys::SignalInfo>();
            left = left.checked_sub(taken).context("too many signals")?;
        }
        Ok(())
    }

    fn calls(&self) -> u64 {
        self.epoll.calls + self.calls
    }
}
