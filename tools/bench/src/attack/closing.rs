// SPDX-License-Identifier: GPL-2.0-only

//! What a close() takes in one program when another has very many watches of that file, and what it
//! takes until a program with very many watches is gone.

use anyhow::{Context, Result};
use rustix::event::{EventfdFlags, eventfd};
use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};

use super::{Field, crowd};
use crate::classes::sys::child;

/// Files of the program that is killed, and watches of each.
const FILES: usize = 1_000;
/// What the close may take, which is what it takes without watches and a little.
const MOST: u64 = 5_000;
/// What a watch may take when its program is killed.
const MOST_EACH: u64 = 2_000;

pub fn run(field: &mut Field) -> Result<()> {
    let file = eventfd(0, EventfdFlags::NONBLOCK)?;

    field.shown(
        "close a duplicate elsewhere",
        "no watch",
        0,
        close_elsewhere(field, &file)?,
    );
    let queue = crowd::queue()?;
    let watches = crowd::add_polled(&queue, file.as_fd(), crowd::MANY)?.len();
    let taken = close_elsewhere(field, &file)?;
    drop(queue);
    field.limited(
        "close a duplicate elsewhere",
        "kevent",
        watches,
        taken,
        MOST,
    );

    let instances = crowd::epolls(file.as_fd(), crowd::MANY_EPOLLS)?;
    let taken = close_elsewhere(field, &file)?;
    field.shown(
        "close a duplicate elsewhere",
        "epoll",
        instances.len(),
        taken,
    );
    drop(instances);

    let (watches, taken) = killed(field, |files| {
        let queue = crowd::queue()?;
        let mut watches = 0;

        for file in files {
            watches += crowd::add_polled(&queue, file.as_fd(), crowd::MANY / FILES)?.len();
        }
        std::mem::forget(queue);
        Ok(watches)
    })?;
    field.limited(
        "kill a program, for each watch",
        "kevent",
        watches,
        taken / watches.max(1) as u64,
        MOST_EACH,
    );
    let (watches, taken) = killed(field, |files| {
        let mut watches = 0;

        for file in files {
            let instances = crowd::epolls(file.as_fd(), crowd::MANY_EPOLLS / FILES)?;

            watches += instances.len();
            std::mem::forget(instances);
        }
        Ok(watches)
    })?;
    field.shown(
        "kill a program, for each watch",
        "epoll",
        watches,
        taken / watches.max(1) as u64,
    );
    Ok(())
}

/// The ends of a pipe, to read and to write.
fn pipe() -> Result<(File, File)> {
    let (reader, writer) = rustix::pipe::pipe()?;

    Ok((reader.into(), writer.into()))
}

/// Instructions of close() of a duplicate, by a child.
fn close_elsewhere(field: &Field, file: &OwnedFd) -> Result<u64> {
    let (mut reader, mut writer) = pipe()?;
    let clock = field.clock;

    let pid = child(|| {
        let copies = (0..8)
            .map(|_| file.try_clone().ok())
            .collect::<Option<Vec<_>>>()?;
        let close = |copy| {
            clock.count(|| {
                drop(copy);
                Ok::<_, ()>(())
            })
        };
        let best = copies
            .into_iter()
            .map_while(|copy| close(copy).ok())
            .min()?;

        writer.write_all(&best.to_ne_bytes()).ok()
    })?;
    waitpid(Some(pid), WaitOptions::empty())?;
    let mut best = [0; 8];
    drop(writer);
    reader.read_exact(&mut best).context("the child")?;
    Ok(u64::from_ne_bytes(best))
}

/// The watches of a child, by `watch`, and instructions from killing it until it can be waited for.
fn killed(field: &Field, watch: impl Fn(&[OwnedFd]) -> Result<usize>) -> Result<(usize, u64)> {
    let (mut reader, mut writer) = pipe()?;
    let pid = child(|| {
        let files = (0..FILES)
            .map(|_| eventfd(0, EventfdFlags::NONBLOCK).ok())
            .collect::<Option<Vec<_>>>()?;
        let watches = watch(&files).ok()?;

        writer.write_all(&(watches as u64).to_ne_bytes()).ok()?;
        loop {
            std::thread::park();
        }
    })?;
    drop(writer);
    let mut watches = [0; 8];
    reader
        .read_exact(&mut watches)
        .context("the child has no watches")?;
    let taken = field.clock.count(|| kill(pid))?;

    Ok((u64::from_ne_bytes(watches) as usize, taken))
}

fn kill(pid: Pid) -> Result<()> {
    kill_process(pid, Signal::KILL)?;
    waitpid(Some(pid), WaitOptions::empty())?;
    Ok(())
}
