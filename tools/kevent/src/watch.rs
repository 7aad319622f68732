// SPDX-License-Identifier: MIT

use crate::event::Source;
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
/// # use kevent::Watch;
/// # use std::os::fd::AsFd;
/// # let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
/// let readable = Watch::poll(socket.as_fd(), libc::POLLIN as u16).user_data(1).edge();
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

    /// Watches a file that can be polled for these `POLL*` bits.
    ///
    /// The watch does not hold the file: closing `fd` removes it.
    pub fn poll(fd: BorrowedFd<'_>, events: u16) -> Watch {
        Watch::new(Source::Poll).fd(fd).events(events)
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
