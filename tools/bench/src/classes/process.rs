// SPDX-License-Identifier: GPL-2.0-only

//! Children that are killed: that they have exited is heard of, and then they are waited for.

use anyhow::{Result, bail};
use kevent::{ProcessEvents, Watch};
use rustix::process::{
    PidfdFlags, Signal, WaitId, WaitIdOptions, pidfd_open, pidfd_send_signal, waitid,
};
use std::os::fd::{AsFd, OwnedFd};

use super::{Class, Epoll, MOST, Taking};
use crate::api::Kind;

enum How {
    Bare,
    Kevent(Taking),
    Epoll(Epoll, Vec<usize>),
}

pub struct Children {
    how: How,
    /// Those that were not waited for yet.
    children: Vec<Option<OwnedFd>>,
}

impl Children {
    pub fn new(kind: Kind) -> Result<Children> {
        Ok(Children {
            how: match kind {
                Kind::Bare => How::Bare,
                Kind::Kevent => How::Kevent(Taking::new()?),
                Kind::PidfdEpoll => How::Epoll(Epoll::new()?, Vec::with_capacity(MOST)),
                _ => bail!("{kind} is not for processes"),
            },
            children: Vec::new(),
        })
    }
}

impl Class for Children {
    fn prepare(&mut self, batch: usize) -> Result<()> {
        self.children.clear();
        for index in 0..batch {
            let child = super::sys::sleeping_child()?;
            let fd = pidfd_open(child, PidfdFlags::empty())?;

            match &self.how {
                How::Bare => {}
                How::Kevent(queue) => {
                    let watch = Watch::process(fd.as_fd(), ProcessEvents::EXIT);

                    queue.0.add_one(watch.user_data(index as u64))?;
                }
                How::Epoll(epoll, _) => epoll.add(&fd, index)?,
            }
            self.children.push(Some(fd));
        }
        Ok(())
    }

    fn set_off(&mut self, batch: usize) -> Result<()> {
        for child in self.children[..batch].iter().flatten() {
            pidfd_send_signal(child, Signal::KILL)?;
        }
        // They have all exited after this.
        for child in self.children[..batch].iter().flatten() {
            waitid(
                WaitId::PidFd(child.as_fd()),
                WaitIdOptions::EXITED | WaitIdOptions::NOWAIT,
            )?;
        }
        Ok(())
    }

    fn serve(&mut self, batch: usize) -> Result<()> {
        let children = &mut self.children;
        // The descriptor is closed with that: it would be readable for ever.
        let mut reap = |index: usize| -> Result<()> {
            if let Some(child) = children[index].take() {
                waitid(WaitId::PidFd(child.as_fd()), WaitIdOptions::EXITED)?;
            }
            Ok(())
        };

        match &mut self.how {
            How::Bare => (0..batch).try_for_each(reap),
            How::Kevent(queue) => queue.take(batch, |event| reap(event.user_data() as usize)),
            How::Epoll(epoll, ready) => {
                let mut left = batch;

                while left > 0 {
                    epoll.wait(ready)?;
                    left -= ready.len();
                    ready.iter().try_for_each(|index| reap(*index))?;
                }
                Ok(())
            }
        }
    }

    fn calls(&self) -> u64 {
        match &self.how {
            How::Bare => 0,
            How::Kevent(queue) => queue.calls(),
            How::Epoll(epoll, _) => epoll.calls,
        }
    }
}
