// SPDX-License-Identifier: MIT

use crate::event::Source;
use crate::readiness::Readiness;
use crate::sys;
use crate::wait::Clock;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::time::Duration;

/// As the kernel takes them; 292 years are as good as never.
fn nanoseconds(span: Duration) -> u64 {
    i64::try_from(span.as_nanos()).unwrap_or(i64::MAX) as u64
}

bitflags::bitflags! {
    /// What [`Queue::modify()`](crate::Queue::modify) changes.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct Modify: u32 {
        /// The events of interest.
        const EVENTS = sys::KEVENT_MODIFY_EVENTS;
        /// The mode: level, edge, oneshot and so on, but not disabled.
        const MODE = sys::KEVENT_MODIFY_MODE;
        /// The user data.
        const USER_DATA = sys::KEVENT_MODIFY_USER_DATA;
        /// The arguments.
        const ARG = sys::KEVENT_MODIFY_ARG;
        /// Enable the watch.
        const ENABLE = sys::KEVENT_MODIFY_ENABLE;
        /// Disable the watch.
        const DISABLE = sys::KEVENT_MODIFY_DISABLE;
    }
}

/// The kernel's name for a watch.
///
/// It carries a generation: the handle of a removed watch gives `ENOENT`, never another watch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(transparent)]
pub struct Handle(pub(crate) u64);

impl Handle {
    /// The handle as the kernel's number.
    pub fn as_raw(self) -> u64 {
        self.0
    }

    /// A handle from the kernel's number.
    pub fn from_raw(raw: u64) -> Handle {
        Handle(raw)
    }
}

/// Something to watch: one record of [`Queue::add()`](crate::Queue::add) and
/// [`Queue::modify()`](crate::Queue::modify).
///
/// Without [`edge()`](Watch::edge), [`oneshot()`](Watch::oneshot) or
/// [`dispatch()`](Watch::dispatch) a watch is *level*: once its event was taken, the kernel tests
/// the condition again when the program next waits, and tells it again while it holds.
///
/// ```
/// # use kevent::{Readiness, Watch};
/// # use std::os::fd::AsFd;
/// # let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
/// let readable = Watch::poll(socket.as_fd(), Readiness::IN).user_data(1).edge();
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(transparent)]
pub struct Watch(pub(crate) sys::kevent_watch);

impl Watch {
    /// A watch of any class, with all other fields zero.
    pub fn new(source: Source) -> Watch {
        Watch(sys::kevent_watch {
            source: source.class(),
            ..Default::default()
        })
    }

    /// Watches a file that can be polled, as `poll(2)` does.
    ///
    /// If it is ready already, an event comes at once; [`Event::readiness()`](crate::Event::readiness)
    /// says for what. Without [`edge()`](Watch::edge) it is told as long as it is ready. The watch
    /// does not hold the file: closing `fd` in this process removes it, with a last event if it is
    /// [`vanished()`](Watch::vanished).
    ///
    /// [`Queue::add()`](crate::Queue::add) refuses what is never not ready, such as a regular file,
    /// with `EPERM`, and an epoll descriptor or the queue itself with `ELOOP`.
    ///
    /// ```no_run
    /// # use kevent::{Queue, Readiness, Watch};
    /// # use std::os::fd::AsFd;
    /// # fn main() -> std::io::Result<()> {
    /// # let (listener, stream) = (std::net::TcpListener::bind("127.0.0.1:0")?, std::io::stdin());
    /// # let queue = Queue::new()?;
    /// // Of several queues that watch a listener so, each connection is told to one.
    /// queue.add_one(Watch::poll(listener.as_fd(), Readiness::IN).exclusive())?;
    /// // Whoever gets the event owns the stream until it enables the watch again.
    /// queue.add_one(Watch::poll(stream.as_fd(), Readiness::IN | Readiness::RDHUP).dispatch())?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn poll(fd: BorrowedFd<'_>, interest: Readiness) -> Watch {
        Watch::new(Source::Poll).fd(fd).events(interest.bits())
    }

    /// Watches a socket for these events, with amounts.
    pub fn socket(fd: BorrowedFd<'_>, events: u16) -> Watch {
        Watch::new(Source::Socket).fd(fd).events(events)
    }

    /// Watches a file or directory for these changes.
    pub fn inode(fd: BorrowedFd<'_>, events: u16) -> Watch {
        Watch::new(Source::Inode).fd(fd).events(events)
    }

    /// Watches the process of a pidfd for these events.
    pub fn process(pidfd: BorrowedFd<'_>, events: u16) -> Watch {
        Watch::new(Source::Process).fd(pidfd).events(events)
    }

    /// Counts the deliveries of a signal; with [`take()`](Watch::take) the event is the delivery.
    pub fn signal(signo: i32) -> Watch {
        Watch::new(Source::Signal).ident(signo as u64)
    }

    /// A timer on `CLOCK_MONOTONIC` that expires once, after `first`, to the nanosecond.
    ///
    /// The event's [`data()`](crate::Event::data) counts expirations.
    ///
    /// ```
    /// # use kevent::{Clock, Watch};
    /// # use std::time::Duration;
    /// // Ten times a second, from now on, on a clock that also runs while the machine sleeps.
    /// let tick = Duration::from_millis(100);
    /// let watch = Watch::timer(tick).every(tick).clock(Clock::Boottime);
    /// ```
    pub fn timer(first: Duration) -> Watch {
        Watch::new(Source::Timer)
            .events(sys::KEVENT_TIMER_EXPIRED as u16)
            .arg(0, nanoseconds(first))
            .clock(Clock::Monotonic)
    }

    /// A timer that expires at `time`, counted from the epoch of `clock`.
    pub fn timer_at(clock: Clock, time: Duration) -> Watch {
        Watch::timer(time)
            .clock(clock)
            .flag(sys::KEVENT_WATCH_ABSTIME)
    }

    /// Makes a timer expire again and again, each time `interval` after the last.
    pub fn every(self, interval: Duration) -> Watch {
        self.arg(1, nanoseconds(interval))
    }

    /// The clock of a timer.
    pub fn clock(self, clock: Clock) -> Watch {
        self.arg(2, clock.id() as u64)
    }

    /// By how much a timer may be late, so that the kernel can serve several with one interrupt.
    pub fn slack(self, slack: Duration) -> Watch {
        self.arg(3, nanoseconds(slack))
    }

    fn fd(self, fd: BorrowedFd<'_>) -> Watch {
        self.ident(fd.as_raw_fd() as u64)
    }

    fn flag(mut self, flag: u32) -> Watch {
        self.0.flags |= flag;
        self
    }

    /// What is watched: file descriptor, signal number, address, per source.
    pub fn ident(mut self, ident: u64) -> Watch {
        self.0.ident = ident;
        self
    }

    /// The events of interest, bits of the source class.
    pub fn events(mut self, events: u16) -> Watch {
        self.0.events = u32::from(events);
        self
    }

    /// What [`Event::user_data()`](crate::Event::user_data) will give. 0 if never set.
    pub fn user_data(mut self, user_data: u64) -> Watch {
        self.0.user_data = user_data;
        self
    }

    /// Sets argument `n`, 0 to 3: low-water mark, deadline, interval, clock, per source.
    ///
    /// # Panics
    ///
    /// If `n` is above 3.
    pub fn arg(mut self, n: usize, value: u64) -> Watch {
        self.0.arg[n] = value;
        self
    }

    /// Tell of changes only.
    pub fn edge(self) -> Watch {
        self.flag(sys::KEVENT_WATCH_EDGE)
    }

    /// The first event removes the watch.
    pub fn oneshot(self) -> Watch {
        self.flag(sys::KEVENT_WATCH_ONESHOT)
    }

    /// Each event disables the watch until it is [enabled](Modify::ENABLE) again.
    pub fn dispatch(self) -> Watch {
        self.flag(sys::KEVENT_WATCH_DISPATCH)
    }

    /// Register it disabled.
    pub fn disabled(self) -> Watch {
        self.flag(sys::KEVENT_WATCH_DISABLED)
    }

    /// Of many queues that watch the same, tell one.
    pub fn exclusive(self) -> Watch {
        self.flag(sys::KEVENT_WATCH_EXCLUSIVE)
    }

    /// Post a last event when the watched object goes away.
    pub fn vanished(self) -> Watch {
        self.flag(sys::KEVENT_WATCH_VANISHED)
    }

    /// For a timer: its deadline is absolute.
    pub fn absolute(self) -> Watch {
        self.flag(sys::KEVENT_WATCH_ABSTIME)
    }

    /// For a signal: the event is the delivery, no handler runs.
    pub fn take(self) -> Watch {
        self.flag(sys::KEVENT_WATCH_TAKE)
    }

    /// Give what was last seen as argument 3, so that a change since then is told at once.
    pub fn expect(self, seen: u64) -> Watch {
        self.flag(sys::KEVENT_WATCH_EXPECT).arg(3, seen)
    }

    /// Which watch [`Queue::modify()`](crate::Queue::modify) is to change.
    pub fn of(mut self, handle: Handle) -> Watch {
        self.0.handle = handle.0;
        self
    }

    /// The handle that [`Queue::add()`](crate::Queue::add) gave this record.
    pub fn handle(&self) -> Handle {
        Handle(self.0.handle)
    }

    /// What became of this record in the last [`Queue::add()`](crate::Queue::add) or
    /// [`Queue::modify()`](crate::Queue::modify).
    pub fn result(&self) -> io::Result<()> {
        match self.0.result {
            0 => Ok(()),
            error => Err(io::Error::from_raw_os_error(error.wrapping_neg())),
        }
    }

    /// The record as the kernel's structure.
    pub fn as_raw(&self) -> &sys::kevent_watch {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    #[test]
    fn poll() {
        let fd = std::io::stdin();
        let plain = *Watch::poll(fd.as_fd(), Readiness::IN | Readiness::RDHUP).as_raw();
        let expected = sys::kevent_watch {
            source: sys::KEVENT_SOURCE_POLL,
            ident: 0,
            events: 0x2001,
            ..Default::default()
        };
        assert_eq!(plain, expected);

        let all = Watch::poll(fd.as_fd(), Readiness::empty())
            .edge()
            .oneshot()
            .dispatch()
            .disabled()
            .exclusive()
            .vanished();
        assert_eq!((all.as_raw().flags, all.as_raw().events), (0x3f, 0));
    }

    #[test]
    fn timer() {
        let watch = *Watch::timer(Duration::from_micros(5))
            .every(Duration::MAX)
            .clock(Clock::Boottime)
            .as_raw();
        let boottime = libc::CLOCK_BOOTTIME as u64;

        assert_eq!(watch.source, sys::KEVENT_SOURCE_TIMER);
        assert_eq!(watch.arg, [5000, i64::MAX as u64, boottime, 0]);
    }
}
