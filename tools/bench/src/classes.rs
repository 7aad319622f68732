// SPDX-License-Identifier: GPL-2.0-only

//! What an event costs that is not of a file: a batch is set off, heard of and taken, beside the
//! descriptor that there is for it, with epoll.
//!
//! Where there is a bare loop it sets the same off and hears of nothing; what it takes is not in the
//! figure. Of what is set off by telling the interface itself everything is in the figure.

mod aio;
mod process;
mod sigev;
mod signal;
pub mod sys;
mod timer;
mod user;

use anyhow::{Context, Result, bail};
use kevent::{Event, Queue, Ring, Wait};
use std::os::fd::{AsFd, OwnedFd};

use crate::api::Kind;
use crate::clock::Clock;
use crate::ends::Source;
use crate::events::{LAPS, Loop};
use crate::patience::Patience;
use crate::plan::{Plan, What};
use crate::report::{Report, Row};

/// How many are set off in a round, at most.
const MOST: usize = 64;
/// Rounds in each lap: of each the cheapest of all laps counts.
const ROUNDS: usize = 4;

/// A class in use, by one interface.
trait Class {
    /// What has to be there for the next batch, which is not measured.
    fn prepare(&mut self, _batch: usize) -> Result<()> {
        Ok(())
    }

    /// Has that many events happen.
    fn set_off(&mut self, batch: usize) -> Result<()>;

    /// Hears of that many, and takes what there is to take of each.
    fn serve(&mut self, batch: usize) -> Result<()>;

    /// The system calls of `serve`.
    fn calls(&self) -> u64;
}

/// Which batches are measured of a class.
pub fn batches(source: Source) -> &'static [usize] {
    match source {
        // They share an interrupt.
        Source::Timer | Source::Sigev => &[MOST],
        // Each of them takes a child.
        Source::Process => &[MOST],
        _ => &[1, MOST],
    }
}

/// By which interfaces.
pub fn kinds(source: Source) -> &'static [Kind] {
    match source {
        Source::Timer => &[Kind::Kevent, Kind::TimerfdEpoll],
        Source::Signal => &[Kind::Kevent, Kind::SignalfdEpoll],
        Source::Process => &[Kind::Kevent, Kind::PidfdEpoll],
        Source::Aio => &[Kind::Kevent, Kind::IoGetevents, Kind::EventfdEpoll],
        Source::Sigev => &[Kind::Kevent, Kind::SignalfdEpoll],
        Source::User => &[Kind::Kevent, Kind::EventfdEpoll],
        Source::Eventfd | Source::Unix | Source::Tcp => &[],
    }
}

fn open(source: Source, kind: Kind) -> Result<Box<dyn Class>> {
    Ok(match (source, kind) {
        (Source::Timer, Kind::Kevent) => Box::new(timer::Watches::new()?),
        (Source::Timer, Kind::TimerfdEpoll) => Box::new(timer::Timerfds::new()?),
        (Source::Signal, Kind::Kevent) => Box::new(signal::Taken::new()?),
        (Source::Signal, Kind::SignalfdEpoll) => Box::new(signal::Signalfd::new()?),
        (Source::Signal, Kind::Bare) => Box::new(signal::Ignored::new()?),
        (Source::Process, kind) => Box::new(process::Children::new(kind)?),
        (Source::Aio, kind) => Box::new(aio::Requests::new(kind)?),
        (Source::Sigev, kind) => Box::new(sigev::Timers::new(kind)?),
        (Source::User, Kind::Kevent) => Box::new(user::Posts::new()?),
        (Source::User, Kind::EventfdEpoll) => Box::new(user::Eventfds::new()?),
        (Source::Timer, Kind::Bare) => Box::new(timer::Busy),
        (Source::User, Kind::Bare) => Box::new(Nothing),
        _ => bail!("{source} and {kind} do not go together"),
    })
}

/// Measures the planned rows of a class.
pub fn measure(plan: &Plan, source: Source, clock: &Clock, report: &mut Report) -> Result<()> {
    for task in plan.of(source) {
        let What::Events(batch) = task.what else {
            continue;
        };
        task.begin();
        let bare = run(source, Kind::Bare, batch, clock)?;
        let this = run(source, task.kind, batch, clock)?;

        report.push(Row {
            task,
            figures: this.beyond(&bare),
        });
    }
    Ok(())
}

/// A class in use, to be looked at while it works.
pub struct Stretches {
    class: Box<dyn Class>,
    batch: usize,
}

impl Stretches {
    /// A class that has served some batches.
    pub fn warm(source: Source, kind: Kind, batch: usize) -> Result<Stretches> {
        let class = open(source, kind)?;
        let mut this = Stretches { class, batch };

        for _ in 0..ROUNDS {
            this.run()?;
        }
        Ok(this)
    }

    /// As many events as are measured at a time.
    pub fn run(&mut self) -> Result<()> {
        for _ in 0..MOST / self.batch {
            self.class.prepare(self.batch)?;
            self.class.set_off(self.batch)?;
            self.class.serve(self.batch)?;
        }
        Ok(())
    }
}

fn run(source: Source, kind: Kind, batch: usize, clock: &Clock) -> Result<Loop> {
    let mut class = open(source, kind)?;
    let mut rounds = vec![Vec::new(); ROUNDS];
    let mut calls = 0;

    // The first lap warms up.
    for lap in 0..=LAPS {
        for times in &mut rounds {
            let mut time = 0;
            let before = class.calls();

            for _ in 0..MOST / batch {
                class.prepare(batch)?;
                let _patience = Patience::new();
                time += clock.count(|| {
                    class.set_off(batch)?;
                    class.serve(batch)
                })?;
            }
            if lap > 0 {
                times.push(time);
                calls += class.calls() - before;
            }
        }
    }
    Ok(Loop::new(rounds, calls))
}

/// The bare loop of what is set off by the interface itself.
struct Nothing;

impl Class for Nothing {
    fn set_off(&mut self, _: usize) -> Result<()> {
        Ok(())
    }

    fn serve(&mut self, _: usize) -> Result<()> {
        Ok(())
    }

    fn calls(&self) -> u64 {
        0
    }
}

/// A queue with a ring that has room for a batch and more.
struct Taking(Queue);

impl Taking {
    fn new() -> Result<Taking> {
        Ok(Taking(Queue::builder().entries(4 * MOST as u32).build()?))
    }

    fn ring(&self) -> Result<&Ring> {
        self.0.ring().context("a queue without a ring")
    }

    /// Takes that many events; a call only if there is none.
    fn take(&self, count: usize, mut each: impl FnMut(&Event) -> Result<()>) -> Result<()> {
        let ring = self.ring()?;
        let mut left = count;

        loop {
            for event in ring.drain() {
                each(&event)?;
                left -= 1;
                if left == 0 {
                    return Ok(());
                }
            }
            self.0.wait(&Wait::new())?;
        }
    }

    fn calls(&self) -> u64 {
        let calls = self.0.calls();

        calls.wait + calls.get_events
    }
}

/// An epoll instance, level-triggered, whose items have a number.
struct Epoll {
    fd: OwnedFd,
    calls: u64,
}

impl Epoll {
    fn new() -> Result<Epoll> {
        use rustix::event::epoll;

        Ok(Epoll {
            fd: epoll::create(epoll::CreateFlags::CLOEXEC)?,
            calls: 0,
        })
    }

    fn add(&self, fd: impl AsFd, number: usize) -> Result<()> {
        use rustix::event::epoll::{EventData, EventFlags, add};

        let data = EventData::new_u64(number as u64);

        Ok(add(&self.fd, fd, data, EventFlags::IN)?)
    }

    /// The numbers of those that are ready, at least one.
    fn wait(&mut self, ready: &mut Vec<usize>) -> Result<()> {
        use rustix::buffer::spare_capacity;
        use rustix::event::epoll::{Event, wait};

        let mut events: Vec<Event> = Vec::with_capacity(MOST);

        wait(&self.fd, spare_capacity(&mut events), None)?;
        self.calls += 1;
        ready.clear();
        ready.extend(events.iter().map(|event| event.data.u64() as usize));
        Ok(())
    }
}
