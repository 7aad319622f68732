// SPDX-License-Identifier: GPL-2.0-only

//! Timers that expire once, all at the same time: one interrupt, while the program is busy.

use anyhow::{Context, Result, ensure};
use kevent::{Clock, Handle, Modify, Watch};
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

use super::{Class, Epoll, MOST, Taking, sys};
use crate::clock::spin_for;

/// Nanoseconds, that is, instructions, until they expire: more than it takes to start them.
const AHEAD: u64 = 300_000;
/// For how many instructions the program is busy after it has started them.
const BUSY: u64 = 600_000;

/// When what is started now expires.
pub fn deadline() -> Duration {
    Clock::Monotonic.now() + Duration::from_nanos(AHEAD)
}

/// Has it pass.
pub fn pass() {
    spin_for(BUSY);
}

/// The bare loop: no timer at all.
pub struct Busy;

impl Class for Busy {
    fn set_off(&mut self, _: usize) -> Result<()> {
        deadline();
        pass();
        Ok(())
    }

    fn serve(&mut self, _: usize) -> Result<()> {
        Ok(())
    }

    fn calls(&self) -> u64 {
        0
    }
}

pub struct Watches {
    queue: Taking,
    handles: Vec<Handle>,
}

impl Watches {
    pub fn new() -> Result<Watches> {
        let queue = Taking::new()?;
        // In a year: none expires before it is started again.
        let never = Watch::timer(Duration::from_secs(31_536_000));
        let handles = (0..MOST as u64)
            .map(|index| queue.0.add_one(never.user_data(index)))
            .collect::<Result<_, _>>()
            .context("timers")?;

        Ok(Watches { queue, handles })
    }
}

impl Class for Watches {
    fn set_off(&mut self, batch: usize) -> Result<()> {
        let mut watches = [Watch::default(); MOST];
        let watches = &mut watches[..batch];
        let at = Watch::timer_at(Clock::Monotonic, deadline());

        for (watch, handle) in watches.iter_mut().zip(&self.handles) {
            *watch = at.of(*handle);
        }
        let started = self.queue.0.modify(watches, Modify::ARG)?;

        ensure!(started == batch, "{started} of {batch} timers");
        pass();
        Ok(())
    }

    fn serve(&mut self, batch: usize) -> Result<()> {
        self.queue.take(batch, |event| {
            ensure!(event.data() >= 1, "a timer that has not expired");
            Ok(())
        })
    }

    fn calls(&self) -> u64 {
        self.queue.calls()
    }
}

pub struct Timerfds {
    epoll: Epoll,
    timers: Vec<OwnedFd>,
    ready: Vec<usize>,
    calls: u64,
}

impl Timerfds {
    pub fn new() -> Result<Timerfds> {
        let epoll = Epoll::new()?;
        let timers = (0..MOST)
            .map(|_| sys::timerfd())
            .collect::<Result<Vec<_>, _>>()?;

        for (index, timer) in timers.iter().enumerate() {
            epoll.add(timer, index)?;
        }
        Ok(Timerfds {
            epoll,
            timers,
            ready: Vec::with_capacity(MOST),
            calls: 0,
        })
    }
}

impl Class for Timerfds {
    fn set_off(&mut self, batch: usize) -> Result<()> {
        let at = deadline();

        for timer in &self.timers[..batch] {
            sys::expire_at(timer.as_raw_fd(), at)?;
        }
        pass();
        Ok(())
    }

    fn serve(&mut self, batch: usize) -> Result<()> {
        let mut left = batch;

        while left > 0 {
            self.epoll.wait(&mut self.ready)?;
            for index in &self.ready {
                let mut expirations = [0; 8];

                rustix::io::read(&self.timers[*index], &mut expirations)?;
                self.calls += 1;
                left -= 1;
            }
        }
        Ok(())
    }

    fn calls(&self) -> u64 {
        self.epoll.calls + self.calls
    }
}
