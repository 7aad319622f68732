// SPDX-License-Identifier: GPL-2.0-only

//! What the program itself posts: a batch by one call, beside an eventfd for each.

use anyhow::{Result, ensure};
use kevent::Post;
use rustix::event::{EventfdFlags, eventfd};
use std::os::fd::OwnedFd;

use super::{Class, Epoll, MOST, Taking};

pub struct Posts(Taking);

impl Posts {
    pub fn new() -> Result<Posts> {
        Ok(Posts(Taking::new()?))
    }
}

impl Class for Posts {
    fn set_off(&mut self, batch: usize) -> Result<()> {
        let mut posts = [Post::new(0); MOST];
        let posts = &mut posts[..batch];

        for (index, post) in posts.iter_mut().enumerate() {
            *post = Post::new(index as u64);
        }
        let posted = self.0.0.post(posts)?;

        ensure!(posted == batch, "{posted} of {batch} posts");
        Ok(())
    }

    fn serve(&mut self, batch: usize) -> Result<()> {
        self.0.take(batch, |_| Ok(()))
    }

    fn calls(&self) -> u64 {
        self.0.calls()
    }
}

pub struct Eventfds {
    epoll: Epoll,
    files: Vec<OwnedFd>,
    ready: Vec<usize>,
    calls: u64,
}

impl Eventfds {
    pub fn new() -> Result<Eventfds> {
        let epoll = Epoll::new()?;
        let files = (0..MOST)
            .map(|_| eventfd(0, EventfdFlags::NONBLOCK))
            .collect::<Result<Vec<_>, _>>()?;

        for (index, file) in files.iter().enumerate() {
            epoll.add(file, index)?;
        }
        Ok(Eventfds {
            epoll,
            files,
            ready: Vec::with_capacity(MOST),
            calls: 0,
        })
    }
}

impl Class for Eventfds {
    fn set_off(&mut self, batch: usize) -> Result<()> {
        for file in &self.files[..batch] {
            rustix::io::write(file, &1u64.to_ne_bytes())?;
        }
        Ok(())
    }

    fn serve(&mut self, batch: usize) -> Result<()> {
        let mut left = batch;

        while left > 0 {
            self.epoll.wait(&mut self.ready)?;
            for index in &self.ready {
                rustix::io::read(&self.files[*index], &mut [0; 8])?;
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
