// SPDX-License-Identifier: GPL-2.0-only

use anyhow::{Result, bail, ensure};
use io_uring::{IoUring, cqueue, opcode, squeue, types};
use rustix::event::PollFlags;
use std::ops::Range;
use std::os::fd::AsRawFd;

use super::{AT_ONCE, Api};
use crate::ends::Ends;

/// Completions that a ring has room for, at most.
const MOST: usize = 65_536;

/// Multishot polls, which report edges.
pub struct Uring {
    ring: IoUring,
    calls: u64,
}

impl Uring {
    /// With `defer`, completions are made when they are asked for, as liburing's manual recommends;
    /// else the kernel interrupts the program for each.
    pub fn new(defer: bool, events: usize) -> Result<Uring> {
        let mut builder = IoUring::builder();

        // More than the kernel takes are kept in a list that it has for that.
        builder.setup_cqsize(events.clamp(2 * AT_ONCE, MOST) as u32);
        if defer {
            builder.setup_single_issuer().setup_defer_taskrun();
        }
        Ok(Uring {
            ring: builder.build(AT_ONCE as u32)?,
            calls: 0,
        })
    }
}

impl Api for Uring {
    fn add(&mut self, which: Range<usize>, ends: &Ends) -> Result<()> {
        let count = which.len();

        for index in which {
            let fd = types::Fd(ends.watched(index).as_raw_fd());
            let entry = opcode::PollAdd::new(fd, PollFlags::IN.bits().into())
                .multi(true)
                .build()
                .user_data(index as u64);

            // SAFETY: the entry refers to no memory.
            unsafe { self.ring.submission().push(&entry)? };
        }
        let submitted = self.ring.submit()?;

        self.calls += 1;
        ensure!(submitted == count, "io_uring took {submitted} of {count}");
        Ok(())
    }

    fn remove(&mut self, which: Range<usize>, _: &Ends) -> Result<()> {
        let count = which.len();

        for index in which {
            let entry = opcode::PollRemove::new(index as u64)
                .build()
                .flags(squeue::Flags::SKIP_SUCCESS);

            // SAFETY: the entry refers to no memory.
            unsafe { self.ring.submission().push(&entry)? };
        }
        // The polls that end complete, too.
        self.ring.submit_and_wait(count)?;
        self.calls += 1;
        self.ring.completion().for_each(drop);
        Ok(())
    }

    fn serve(&mut self, ready: Range<usize>, ends: &Ends) -> Result<()> {
        let mut left = ready.len();

        loop {
            for done in self.ring.completion() {
                if !cqueue::more(done.flags()) {
                    bail!("io_uring ended a poll: {}", done.result());
                }
                left -= usize::from(ends.read(done.user_data() as usize)?);
            }
            if left == 0 {
                return Ok(());
            }
            // Each end completes once, so one call is enough.
            self.ring.submit_and_wait(left)?;
            self.calls += 1;
        }
    }

    fn calls(&self) -> u64 {
        self.calls
    }
}
