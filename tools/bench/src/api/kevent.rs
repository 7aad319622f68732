// SPDX-License-Identifier: GPL-2.0-only

use anyhow::Result;
use kevent::{Event, Queue, Readiness, Wait, Watch};
use std::ops::Range;

use super::{AT_ONCE, Api};
use crate::ends::Ends;

/// How a queue is used.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// Edge watches, taken from the ring; a call only if the ring is empty too early.
    Edge,
    /// Level watches, taken from the ring until it is empty, and then one call, which tests the
    /// watches again: a program that has nothing else to do after each round.
    Level,
    /// Level watches, taken from the ring; the next round begins before it was found empty.
    LevelBusy,
    /// Edge watches, copied out by `kevent_get_events(2)`.
    GetEvents,
}

pub struct Kevent {
    queue: Queue,
    style: Style,
    events: [Event; AT_ONCE],
}

impl Kevent {
    pub fn new(style: Style, events: usize) -> Result<Kevent> {
        Ok(Kevent {
            queue: Queue::builder().entries(events as u32).build()?,
            style,
            events: [Event::default(); AT_ONCE],
        })
    }

    /// Takes from the ring; how many were really ready.
    fn drain(&self, most: usize, ends: &Ends) -> Result<usize> {
        let mut served = 0;

        while served < most {
            let Some(event) = self.queue.take() else {
                break;
            };
            served += usize::from(ends.read(event.user_data() as usize)?);
        }
        Ok(served)
    }
}

impl Api for Kevent {
    fn add(&mut self, which: Range<usize>, ends: &Ends) -> Result<()> {
        let mut watches = [Watch::default(); AT_ONCE];
        let watches = &mut watches[..which.len()];

        for (watch, index) in watches.iter_mut().zip(which) {
            let plain = Watch::poll(ends.watched(index), Readiness::IN).user_data(index as u64);

            *watch = match self.style {
                Style::Edge | Style::GetEvents => plain.edge(),
                Style::Level | Style::LevelBusy => plain,
            };
        }
        self.queue.add(watches)?;
        for watch in watches {
            watch.result()?;
        }
        Ok(())
    }

    fn serve(&mut self, ready: Range<usize>, ends: &Ends) -> Result<()> {
        let mut left = ready.len();

        match self.style {
            Style::Edge | Style::LevelBusy => loop {
                left -= self.drain(left, ends)?;
                if left == 0 {
                    return Ok(());
                }
                self.queue.wait(&Wait::new())?;
            },
            Style::Level => loop {
                left -= self.drain(usize::MAX, ends)?;
                if self.queue.wait(&Wait::new().min(u32::from(left > 0)))? == 0 {
                    return Ok(());
                }
            },
            Style::GetEvents => {
                while left > 0 {
                    let got = self.queue.get_events(&mut self.events, &Wait::new())?;

                    for event in &self.events[..got] {
                        left -= usize::from(ends.read(event.user_data() as usize)?);
                    }
                }
                Ok(())
            }
        }
    }

    fn calls(&self) -> u64 {
        self.queue.calls().total()
    }
}
