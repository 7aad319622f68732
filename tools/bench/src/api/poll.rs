// SPDX-License-Identifier: GPL-2.0-only

use anyhow::Result;
use rustix::event::{PollFd, PollFlags, poll};
use std::ops::Range;
use std::os::fd::BorrowedFd;

use super::Api;
use crate::ends::Ends;

/// `poll(2)` on all of them.
#[derive(Default)]
pub struct Poll {
    files: Vec<PollFd<'static>>,
    calls: u64,
}

impl Api for Poll {
    fn add(&mut self, which: Range<usize>, ends: &Ends) -> Result<()> {
        for index in which {
            let fd = std::os::fd::AsRawFd::as_raw_fd(&ends.watched(index));
            // SAFETY: used by serve() only, whose caller has the same ends.
            let fd = unsafe { BorrowedFd::borrow_raw(fd) };

            self.files.push(PollFd::from_borrowed_fd(fd, PollFlags::IN));
        }
        Ok(())
    }

    fn serve(&mut self, ready: Range<usize>, ends: &Ends) -> Result<()> {
        let mut left = ready.len();

        while left > 0 {
            let mut found = poll(&mut self.files, None)?;

            self.calls += 1;
            for (index, file) in self.files.iter().enumerate() {
                if !file.revents().is_empty() {
                    left -= usize::from(ends.read(index)?);
                    found -= 1;
                    if found == 0 {
                        break;
                    }
                }
            }
        }
        Ok(())
    }

    fn calls(&self) -> u64 {
        self.calls
    }
}
