// SPDX-License-Identifier: GPL-2.0-only

//! The interfaces that are compared, each as a program would use it.

mod bare;
mod epoll;
mod io_uring;
mod kevent;
mod poll;

use anyhow::{Result, bail};
use serde::{Serialize, Serializer};
use std::fmt;
use std::ops::Range;

use self::kevent::How;
use crate::ends::{Ends, Source};

/// How many events a program takes at once.
pub const AT_ONCE: usize = 64;

/// An interface in use.
pub trait Api {
    /// Registers these, at most [`AT_ONCE`], with as few calls as the interface allows.
    fn add(&mut self, which: Range<usize>, ends: &Ends) -> Result<()>;

    /// Changes what the watches of these carry, with as few calls as the interface allows.
    fn modify(&mut self, _: Range<usize>, _: &Ends) -> Result<()> {
        bail!("this is not measured here")
    }

    /// Removes the watches of these, as [`Api::modify()`].
    fn remove(&mut self, _: Range<usize>, _: &Ends) -> Result<()> {
        bail!("this is not measured here")
    }

    /// Hears which ends are ready and reads each of them, until that was done for as many as are
    /// `ready`. Only the bare loop may look at which they are.
    fn serve(&mut self, ready: Range<usize>, ends: &Ends) -> Result<()>;

    /// The system calls that were made, apart from those on the ends.
    fn calls(&self) -> u64;

    /// Registers all.
    fn add_all(&mut self, ends: &Ends) -> Result<()> {
        batches(ends).try_for_each(|which| self.add(which, ends))
    }

    /// Changes the watches of all.
    fn modify_all(&mut self, ends: &Ends) -> Result<()> {
        batches(ends).try_for_each(|which| self.modify(which, ends))
    }

    /// Removes the watches of all.
    fn remove_all(&mut self, ends: &Ends) -> Result<()> {
        batches(ends).try_for_each(|which| self.remove(which, ends))
    }
}

/// All of them, as many at once as go into a call.
fn batches(ends: &Ends) -> impl Iterator<Item = Range<usize>> {
    let all = ends.len();

    (0..all)
        .step_by(AT_ONCE)
        .map(move |first| first..all.min(first + AT_ONCE))
}

/// Which interface, and how it is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// None: it is known what is ready.
    Bare,
    KeventEdge,
    KeventLevel,
    KeventLevelBusy,
    KeventGetEvents,
    /// Edge watches of the class SOCKET.
    KeventSocket,
    EpollEdge,
    EpollLevel,
    UringMultishot,
    UringDefer,
    Poll,
    /// A queue with a ring, for what is no file.
    Kevent,
    TimerfdEpoll,
    SignalfdEpoll,
    PidfdEpoll,
    IoGetevents,
    EventfdEpoll,
}

impl Kind {
    /// All that watch files, but the bare loop.
    pub const FILES: [Kind; 10] = [
        Kind::KeventEdge,
        Kind::KeventLevel,
        Kind::KeventLevelBusy,
        Kind::KeventGetEvents,
        Kind::KeventSocket,
        Kind::EpollEdge,
        Kind::EpollLevel,
        Kind::UringMultishot,
        Kind::UringDefer,
        Kind::Poll,
    ];

    /// Those whose registration and removal are measured.
    pub const REGISTERING: [Kind; 4] = [
        Kind::KeventEdge,
        Kind::KeventSocket,
        Kind::EpollEdge,
        Kind::UringMultishot,
    ];

    /// Those of which it is measured what it takes to change a watch.
    pub const MODIFYING: [Kind; 3] = [Kind::KeventEdge, Kind::KeventSocket, Kind::EpollEdge];

    /// Those whose atomic operations are counted.
    pub const ATOMIC: [Kind; 6] = [
        Kind::KeventEdge,
        Kind::KeventLevel,
        Kind::KeventGetEvents,
        Kind::EpollEdge,
        Kind::EpollLevel,
        Kind::UringDefer,
    ];

    /// How many watches go into a call that registers, changes or removes.
    pub fn changes_at_once(self) -> usize {
        match self {
            Kind::EpollEdge | Kind::EpollLevel => 1,
            _ => AT_ONCE,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Kind::Bare => "bare",
            Kind::KeventEdge => "kevent-edge",
            Kind::KeventLevel => "kevent-level",
            Kind::KeventLevelBusy => "kevent-level-busy",
            Kind::KeventGetEvents => "kevent-get-events",
            Kind::KeventSocket => "kevent-socket",
            Kind::EpollEdge => "epoll-edge",
            Kind::EpollLevel => "epoll-level",
            Kind::UringMultishot => "io_uring-multishot",
            Kind::UringDefer => "io_uring-defer",
            Kind::Poll => "poll",
            Kind::Kevent => "kevent",
            Kind::TimerfdEpoll => "timerfd-epoll",
            Kind::SignalfdEpoll => "signalfd-epoll",
            Kind::PidfdEpoll => "pidfd-epoll",
            Kind::IoGetevents => "io_getevents",
            Kind::EventfdEpoll => "eventfd-epoll",
        }
    }

    /// Whether it can watch files of that kind.
    pub fn fits(self, source: Source) -> bool {
        self != Kind::KeventSocket || source != Source::Eventfd
    }

    /// Whether it needs a kernel with kevent.
    pub fn is_kevent(self) -> bool {
        self.name().starts_with("kevent")
    }

    /// Sets it up for up to `events` unconsumed events, with nothing registered.
    pub fn open(self, events: usize) -> Result<Box<dyn Api>> {
        Ok(match self {
            Kind::Bare => Box::new(bare::Bare),
            Kind::KeventEdge => Box::new(kevent::Busy::new(How::Edge, events)?),
            Kind::KeventLevel => Box::new(kevent::Idle::new(events)?),
            Kind::KeventLevelBusy => Box::new(kevent::Busy::new(How::Level, events)?),
            Kind::KeventGetEvents => Box::new(kevent::Copied::new(events)?),
            Kind::KeventSocket => Box::new(kevent::Busy::new(How::Socket, events)?),
            Kind::EpollEdge => Box::new(epoll::Epoll::new(true)?),
            Kind::EpollLevel => Box::new(epoll::Epoll::new(false)?),
            Kind::UringMultishot => Box::new(io_uring::Uring::new(false, events)?),
            Kind::UringDefer => Box::new(io_uring::Uring::new(true, events)?),
            Kind::Poll => Box::new(poll::Poll::default()),
            Kind::Kevent
            | Kind::TimerfdEpoll
            | Kind::SignalfdEpoll
            | Kind::PidfdEpoll
            | Kind::IoGetevents
            | Kind::EventfdEpoll => bail!("{self} is not for files"),
        })
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl Serialize for Kind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// Whether the running kernel has what is needed for [`Kind::is_kevent()`].
pub fn has_kevent() -> bool {
    let needed = ::kevent::Sources::POLL | ::kevent::Sources::SOCKET;

    ::kevent::Queue::probe().is_ok_and(|sources| sources.contains(needed))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every interface of this kernel reports what is written, and nothing else.
    #[test]
    fn all_serve() {
        let mut kinds = vec![Kind::Bare];

        kinds.extend(Kind::FILES);
        kinds.retain(|kind| !kind.is_kevent() || has_kevent());
        for kind in kinds {
            let Ok(mut api) = kind.open(128) else {
                eprintln!("skipped: this kernel has no {kind}");
                continue;
            };
            let ends = Ends::new(Source::Unix, 100).unwrap();

            api.add_all(&ends).unwrap();
            for ready in [0..1, 7..71, 99..100, 7..8] {
                ready.clone().for_each(|index| ends.write(index).unwrap());
                api.serve(ready.clone(), &ends).unwrap();
                for index in ready {
                    assert!(!ends.read(index).unwrap(), "{kind}");
                }
            }
        }
    }

    #[test]
    fn names() {
        let json = serde_json::to_string(&Kind::FILES).unwrap();

        for kind in Kind::FILES {
            assert!(json.contains(&format!("\"{kind}\"")));
        }
        assert_eq!(
            Kind::FILES.iter().filter(|kind| kind.is_kevent()).count(),
            5
        );
    }
}
