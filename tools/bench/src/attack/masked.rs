// SPDX-License-Identifier: GPL-2.0-only

//! What is done with interrupts off or under a lock of all: one wake-up of very many watches of one
//! object, by what wakes it; and one call that removes watches of a queue that has very many.

use anyhow::Result;
use kevent::{ProcessEvents, Queue, Watch};
use rustix::event::{EventfdFlags, eventfd};
use rustix::process::{
    PidfdFlags, Signal, WaitId, WaitIdOptions, pidfd_open, pidfd_send_signal, waitid,
};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use super::{Field, crowd};
use crate::classes::sys::{block, send, signal, signalfd, sleeping_child};

/// The aim for everything that is done with interrupts off, with the most watches that are allowed.
const MOST: u64 = 300_000;
/// For each signal: it leaves a list, and a watch fires.
const MOST_RETURNED: u64 = 3_000_000;

pub fn run(field: &mut Field) -> Result<()> {
    write(field)?;
    exit(field)?;
    signals(field)?;
    returned_signals(field)?;
    remove(field)
}

/// A write to an eventfd.
fn write(field: &mut Field) -> Result<()> {
    let file = eventfd(0, EventfdFlags::NONBLOCK)?;
    let attack = "write to an eventfd";
    let once = |field: &Field| {
        field.clock.count(|| {
            rustix::io::write(&file, &1u64.to_ne_bytes())?;
            Ok::<_, anyhow::Error>(())
        })
    };

    field.shown(attack, "no watch", 0, once(field)?);
    let queue = crowd::queue()?;
    let watches = crowd::add_polled(&queue, file.as_fd(), crowd::MANY)?.len();
    let taken = once(field)?;
    drop(queue);
    field.limited(attack, "kevent POLL", watches, taken, MOST);

    let mut buffer = [0; 8];
    rustix::io::read(&file, &mut buffer)?;
    let instances = crowd::epolls(file.as_fd(), crowd::MANY_EPOLLS)?;
    let taken = once(field)?;
    field.shown(attack, "epoll", instances.len(), taken);
    Ok(())
}

/// The exit of a child.
fn exit(field: &mut Field) -> Result<()> {
    let attack = "exit of a child";
    let start = || -> Result<OwnedFd> { Ok(pidfd_open(sleeping_child()?, PidfdFlags::empty())?) };
    let exit = |field: &Field, child: OwnedFd| {
        field.clock.count(|| {
            pidfd_send_signal(&child, Signal::KILL)?;
            waitid(WaitId::PidFd(child.as_fd()), WaitIdOptions::EXITED)?;
            Ok::<_, anyhow::Error>(())
        })
    };

    let unwatched = exit(field, start()?)?;
    field.shown(attack, "no watch", 0, unwatched);
    type Add = fn(&Queue, BorrowedFd) -> Result<usize>;
    let classes: [(&'static str, Add); 2] = [
        ("kevent POLL", |queue, child| {
            Ok(crowd::add_polled(queue, child, crowd::MANY)?.len())
        }),
        ("kevent PROCESS", |queue, child| {
            let watch = Watch::process(child, ProcessEvents::EXIT);

            Ok(crowd::add(queue, watch, crowd::MANY)?.len())
        }),
    ];
    for (api, add) in classes {
        let child = start()?;
        let queue = crowd::queue()?;
        let watches = add(&queue, child.as_fd())?;
        let taken = exit(field, child)?;

        field.limited(attack, api, watches, taken.saturating_sub(unwatched), MOST);
    }
    let child = start()?;
    let instances = crowd::epolls(child.as_fd(), crowd::MANY_EPOLLS)?;
    let taken = exit(field, child)?;
    field.shown(
        attack,
        "epoll",
        instances.len(),
        taken.saturating_sub(unwatched),
    );
    Ok(())
}

/// A signal to this process.
fn signals(field: &mut Field) -> Result<()> {
    let attack = "signal to the process";
    let once = |field: &Field| field.clock.count(|| send(1));

    block()?;
    let file = signalfd()?;
    field.shown(attack, "no watch", 0, once(field)?);
    let queue = crowd::queue()?;
    let watches = crowd::add_polled(&queue, file.as_fd(), crowd::MANY)?.len();
    let taken = once(field)?;
    drop(queue);
    field.limited(attack, "kevent POLL of a signalfd", watches, taken, MOST);

    let queue = crowd::queue()?;
    let watches = crowd::add(&queue, Watch::signal(signal()), crowd::MANY)?.len();
    let taken = once(field)?;
    drop(queue);
    field.limited(attack, "kevent SIGNAL", watches, taken, MOST);

    let instances = crowd::epolls(file.as_fd(), crowd::MANY_EPOLLS)?;
    let taken = once(field)?;
    field.shown(attack, "epoll of a signalfd", instances.len(), taken);
    Ok(())
}

/// A watch that has intercepted many signals is removed, and others take one of them each.
fn returned_signals(field: &mut Field) -> Result<()> {
    const SIGNALS: usize = 500;
    let signals = Watch::signal(signal()).take();
    let queue = crowd::queue()?;
    let first = crowd::add(&queue, signals, 1)?;
    let others: Vec<Queue> = (0..4).map(|_| crowd::queue()).collect::<Result<_>>()?;

    for other in &others {
        crowd::add(other, signals.oneshot(), crowd::MANY)?;
    }
    for value in 0..SIGNALS {
        send(value)?;
    }
    let taken = field.clock.count(|| queue.remove(&first).map(drop))?;
    field.limited("return signals", "kevent", SIGNALS, taken, MOST_RETURNED);
    Ok(())
}

/// The dearest call of those that remove all watches.
fn remove(field: &mut Field) -> Result<()> {
    const AT_ONCE: usize = 64;
    let attack = "remove 64, the dearest";
    let file = eventfd(0, EventfdFlags::NONBLOCK)?;
    let queue = crowd::queue()?;
    let handles = crowd::add_polled(&queue, file.as_fd(), crowd::MANY)?;
    let mut most = 0;

    for some in handles.chunks(AT_ONCE) {
        most = most.max(field.clock.count(|| queue.remove(some).map(drop))?);
    }
    field.limited(attack, "kevent", handles.len(), most, MOST);
    Ok(())
}
