// SPDX-License-Identifier: GPL-2.0-only

//! Reads of 8 bytes of a file in memory, submitted in one call, which are complete when it returns.

use anyhow::{Result, bail};
use rustix::event::{EventfdFlags, eventfd};
use rustix::fs::{MemfdFlags, memfd_create};
use std::os::fd::{AsRawFd, OwnedFd};

use super::sys::{AioContext, AioEvent};
use super::{Class, Epoll, MOST, Taking};
use crate::api::Kind;

const SIZE: usize = 8;
/// `IOCB_CMD_PREAD` and `IOCB_FLAG_RESFD`
const READ: u16 = 0;
const TO_EVENTFD: u32 = 1;

enum How {
    /// Completions are forgotten.
    Bare,
    Kevent(Taking),
    Getevents,
    /// The context has an eventfd, as for programs that wait for other things, too.
    Eventfd(Epoll, OwnedFd, Vec<usize>),
}

pub struct Requests {
    how: How,
    context: AioContext,
    requests: Vec<*mut libc::iocb>,
    calls: u64,
    // What the requests point to.
    _file: OwnedFd,
    _owned: Vec<(libc::iocb, [u8; SIZE])>,
}

impl Requests {
    pub fn new(kind: Kind) -> Result<Requests> {
        let how = match kind {
            Kind::Bare => How::Bare,
            Kind::Kevent => How::Kevent(Taking::new()?),
            Kind::IoGetevents => How::Getevents,
            Kind::EventfdEpoll => {
                let (epoll, fd) = (Epoll::new()?, eventfd(0, EventfdFlags::NONBLOCK)?);

                epoll.add(&fd, 0)?;
                How::Eventfd(epoll, fd, Vec::with_capacity(MOST))
            }
            _ => bail!("{kind} is not for requests"),
        };
        let file = memfd_create("file", MemfdFlags::CLOEXEC)?;

        rustix::io::write(&file, &[0; SIZE])?;
        let mut owned: Vec<_> = (0..MOST)
            .map(|index| (request(&how, &file, index), [0; SIZE]))
            .collect();
        let requests = owned
            .iter_mut()
            .map(|both| {
                both.0.aio_buf = both.1.as_mut_ptr().expose_provenance() as u64;
                std::ptr::from_mut(&mut both.0)
            })
            .collect();

        Ok(Requests {
            how,
            context: AioContext::new(4 * MOST)?,
            requests,
            calls: 0,
            _file: file,
            _owned: owned,
        })
    }
}

fn request(how: &How, file: &OwnedFd, index: usize) -> libc::iocb {
    // SAFETY: it holds integers, for which zero is a value.
    let mut request: libc::iocb = unsafe { std::mem::zeroed() };

    request.aio_data = index as u64;
    request.aio_lio_opcode = READ;
    request.aio_fildes = file.as_raw_fd() as u32;
    request.aio_nbytes = SIZE as u64;
    match how {
        How::Kevent(queue) => queue.0.prepare_aio(&mut request, index as u64),
        How::Eventfd(_, fd, _) => {
            request.aio_flags = TO_EVENTFD;
            request.aio_resfd = fd.as_raw_fd() as u32;
        }
        How::Bare | How::Getevents => {}
    }
    request
}

impl Class for Requests {
    fn set_off(&mut self, batch: usize) -> Result<()> {
        Ok(self.context.submit(&mut self.requests[..batch])?)
    }

    fn serve(&mut self, batch: usize) -> Result<()> {
        let mut left = batch;
        let mut done = [AioEvent::default(); MOST];

        match &mut self.how {
            How::Bare => self.context.forget(),
            How::Kevent(queue) => queue.take(batch, |_| Ok(()))?,
            How::Getevents => {
                while left > 0 {
                    left -= self.context.events(&mut done)?;
                    self.calls += 1;
                }
            }
            How::Eventfd(epoll, fd, ready) => {
                while left > 0 {
                    epoll.wait(ready)?;
                    rustix::io::read(&*fd, &mut [0; 8])?;
                    left -= self.context.events(&mut done)?;
                    self.calls += 2;
                }
            }
        }
        Ok(())
    }

    fn calls(&self) -> u64 {
        self.calls
            + match &self.how {
                How::Kevent(queue) => queue.calls(),
                How::Eventfd(epoll, ..) => epoll.calls,
                How::Bare | How::Getevents => 0,
            }
    }
}
