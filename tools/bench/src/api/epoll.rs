// SPDX-License-Identifier: GPL-2.0-only

use anyhow::Result;
use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use std::ops::Range;
use std::os::fd::OwnedFd;

use super::{AT_ONCE, Api};
use crate::ends::Ends;

pub struct Epoll {
    fd: OwnedFd,
    flags: EventFlags,
    events: Vec<Event>,
    calls: u64,
}

impl Epoll {
    pub fn new(edge: bool) -> Result<Epoll> {
        let mut flags = EventFlags::IN;

        flags.set(EventFlags::ET, edge);
        Ok(Epoll {
            fd: epoll::create(CreateFlags::CLOEXEC)?,
            flags,
            events: Vec::with_capacity(AT_ONCE),
            calls: 0,
        })
    }
}

impl Api for Epoll {
    fn add(&mut self, which: Range<usize>, ends: &Ends) -> Result<()> {
        for index in which {
            let data = EventData::new_u64(index as u64);

            epoll::add(&self.fd, ends.watched(index), data, self.flags)?;
            self.calls += 1;
        }
        Ok(())
    }

    fn modify(&mut self, which: Range<usize>, ends: &Ends) -> Result<()> {
        for index in which {
            let data = EventData::new_u64(index as u64);

            epoll::modify(&self.fd, ends.watched(index), data, self.flags)?;
            self.calls += 1;
        }
        Ok(())
    }

    fn remove(&mut self, which: Range<usize>, ends: &Ends) -> Result<()> {
        for index in which {
            epoll::delete(&self.fd, ends.watched(index))?;
            self.calls += 1;
        }
        Ok(())
    }

    fn serve(&mut self, ready: Range<usize>, ends: &Ends) -> Result<()> {
        let mut left = ready.len();

        while left > 0 {
            self.events.clear();
            epoll::wait(&self.fd, spare_capacity(&mut self.events), None)?;
            self.calls += 1;
            for event in &self.events {
                left -= usize::from(ends.read(event.data.u64() as usize)?);
            }
        }
        Ok(())
    }

    fn calls(&self) -> u64 {
        self.calls
    }
}
