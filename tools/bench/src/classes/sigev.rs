// SPDX-License-Identifier: GPL-2.0-only

//! POSIX timers that expire once, all at the same time: by `SIGEV_KEVENT`, or by `SIGEV_SIGNAL` with a
//! real-time signal that a signalfd takes.

use anyhow::{Result, bail};

use super::signal::Signalfd;
use super::sys::{Notify, PosixTimer};
use super::timer::{deadline, pass};
use super::{Class, MOST, Taking};
use crate::api::Kind;

enum How {
    Bare,
    Kevent(Taking),
    Signalfd(Signalfd),
}

pub struct Timers {
    how: How,
    timers: Vec<PosixTimer>,
}

impl Timers {
    pub fn new(kind: Kind) -> Result<Timers> {
        let how = match kind {
            Kind::Bare => How::Bare,
            Kind::Kevent => How::Kevent(Taking::new()?),
            Kind::SignalfdEpoll => How::Signalfd(Signalfd::new()?),
            _ => bail!("{kind} is not for POSIX timers"),
        };
        let notify = |index| match &how {
            How::Bare => Notify::Nothing,
            How::Kevent(queue) => Notify::Other(queue.0.sigevent(index as u64)),
            How::Signalfd(_) => Notify::Signal(index),
        };
        let timers = (0..MOST)
            .map(|index| PosixTimer::new(notify(index)))
            .collect::<Result<_, _>>()?;

        Ok(Timers { how, timers })
    }
}

impl Class for Timers {
    fn set_off(&mut self, batch: usize) -> Result<()> {
        let at = deadline();

        for timer in &self.timers[..batch] {
            timer.expire_at(at)?;
        }
        pass();
        Ok(())
    }

    fn serve(&mut self, batch: usize) -> Result<()> {
        match &mut self.how {
            How::Bare => Ok(()),
            How::Kevent(queue) => queue.take(batch, |_| Ok(())),
            How::Signalfd(signalfd) => signalfd.serve(batch),
        }
    }

    fn calls(&self) -> u64 {
        match &self.how {
            How::Bare => 0,
            How::Kevent(queue) => queue.calls(),
            How::Signalfd(signalfd) => signalfd.calls(),
        }
    }
}
