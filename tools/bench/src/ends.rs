// SPDX-License-Identifier: GPL-2.0-only

//! What is watched: pairs of an end to write to and an end that then has something to read.

use anyhow::{Context, Result};
use rustix::event::{EventfdFlags, eventfd};
use rustix::io::{self, Errno};
use rustix::process::{Resource, Rlimit, setrlimit};
use serde::Serialize;
use std::fmt;
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

/// Enough descriptors for everything here, and for all but the largest where that is refused.
const FILES: [u64; 2] = [262_144, 16_384];

/// What one write is: what an eventfd takes, and for a socket as good as any other.
const MESSAGE: [u8; 8] = 1u64.to_ne_bytes();

/// What events are of: a kind of file, or another class of kevent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// An eventfd, written to and read from by the same descriptor.
    Eventfd,
    /// A pair of unix stream sockets.
    Unix,
    /// A TCP connection over the loopback device.
    Tcp,
    /// No file: timers that expire.
    Timer,
    /// Signals to this process.
    Signal,
    /// Children that exit.
    Process,
    /// Requests of `io_submit(2)`.
    Aio,
    /// POSIX timers.
    Sigev,
    /// What the program itself posts.
    User,
}

impl Source {
    pub const ALL: [Source; 9] = [
        Source::Eventfd,
        Source::Unix,
        Source::Tcp,
        Source::Timer,
        Source::Signal,
        Source::Process,
        Source::Aio,
        Source::Sigev,
        Source::User,
    ];

    /// Those that are files, of which there are [`Ends`].
    pub const FILES: [Source; 3] = [Source::Eventfd, Source::Unix, Source::Tcp];

    pub fn is_file(self) -> bool {
        Source::FILES.contains(&self)
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Source::Eventfd => "eventfd",
            Source::Unix => "unix",
            Source::Tcp => "tcp",
            Source::Timer => "timer",
            Source::Signal => "signal",
            Source::Process => "process",
            Source::Aio => "aio",
            Source::Sigev => "sigev",
            Source::User => "user",
        })
    }
}

/// The watched files of one kind, by index.
pub struct Ends {
    /// The end to write to if it is another one, and the end to read from.
    pairs: Vec<(Option<OwnedFd>, OwnedFd)>,
}

impl Ends {
    /// Makes `count` of them, with nothing to read.
    pub fn new(source: Source, count: usize) -> Result<Ends> {
        let listener = match source {
            Source::Tcp => Some(TcpListener::bind("127.0.0.1:0").context("no loopback device")?),
            _ => None,
        };
        let make = |_| -> Result<_> {
            Ok(match &listener {
                Some(listener) => tcp(listener)?,
                None if source == Source::Unix => unix()?,
                None => (None, eventfd(0, EventfdFlags::NONBLOCK)?),
            })
        };
        let pairs = (0..count).map(make).collect::<Result<_>>()?;

        Ok(Ends { pairs })
    }

    pub fn len(&self) -> usize {
        self.pairs.len()
    }

    /// The end that is watched.
    pub fn watched(&self, index: usize) -> BorrowedFd<'_> {
        self.pairs[index].1.as_fd()
    }

    /// Gives the watched end something to read.
    #[inline]
    pub fn write(&self, index: usize) -> io::Result<()> {
        let (writer, reader) = &self.pairs[index];

        io::write(writer.as_ref().unwrap_or(reader), &MESSAGE)?;
        Ok(())
    }

    /// Reads all that there is; whether there was anything.
    #[inline]
    pub fn read(&self, index: usize) -> io::Result<bool> {
        let mut buffer = [0; 64];

        match io::read(&self.pairs[index].1, &mut buffer) {
            Ok(read) => Ok(read > 0),
            Err(Errno::AGAIN) => Ok(false),
            Err(error) => Err(error),
        }
    }
}

fn unix() -> Result<(Option<OwnedFd>, OwnedFd)> {
    let (far, near) = UnixStream::pair()?;

    near.set_nonblocking(true)?;
    Ok((Some(far.into()), near.into()))
}

fn tcp(listener: &TcpListener) -> Result<(Option<OwnedFd>, OwnedFd)> {
    let far = TcpStream::connect(listener.local_addr()?)?;
    let (near, _) = listener.accept()?;

    far.set_nodelay(true)?;
    near.set_nonblocking(true)?;
    Ok((Some(far.into()), near.into()))
}

/// Raises the limit of open files.
pub fn allow_many_files() -> Result<()> {
    let allow = |files| {
        setrlimit(
            Resource::Nofile,
            Rlimit {
                current: Some(files),
                maximum: Some(files),
            },
        )
    };

    FILES
        .into_iter()
        .map(allow)
        .find(Result::is_ok)
        .map(drop)
        .context("cannot allow many open files")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        for source in Source::FILES {
            let ends = Ends::new(source, 3).unwrap();

            assert_eq!(ends.len(), 3);
            assert!(!ends.read(1).unwrap(), "{source}");
            ends.write(1).unwrap();
            assert!(!ends.read(2).unwrap(), "{source}");
            assert!(ends.read(1).unwrap(), "{source}");
            assert!(!ends.read(1).unwrap(), "{source}");
        }
    }
}
