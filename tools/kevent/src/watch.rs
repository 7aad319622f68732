// SPDX-License-Identifier: MIT

use crate::bits::*;
use crate::error::Error;
use crate::event::Source;
use crate::sys;
use crate::wait::Clock;
use core::sync::atomic::AtomicU32;
use core::time::Duration;
#[cfg(feature = "std")]
use std::os::fd::{AsRawFd, BorrowedFd};

/// As the kernel takes them; 292 years are as good as never.
fn nanoseconds(span: Duration) -> u64 {
    i64::try_from(span.as_nanos()).unwrap_or(i64::MAX) as u64
}

bitflags::bitflags! {
    /// What `Queue::modify()` changes.
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
        /// Fire a watch of [`Source::User`] with the record's events, which are ORed until the event
        /// is consumed.
        const TRIGGER = sys::KEVENT_MODIFY_TRIGGER;
        /// With others: the class and the descriptor name the watch, not [`Watch::of()`], and the
        /// record then has its handle. Needs [`Features::BY_IDENT`](crate::Features::BY_IDENT).
        const BY_IDENT = sys::KEVENT_MODIFY_BY_IDENT;
        /// Remove the watch; alone, or with `BY_IDENT`.
        const REMOVE = sys::KEVENT_MODIFY_REMOVE;
    }
}

/// The kernel's name for a watch.
///
/// None is issued twice: the handle of a removed watch gives
/// [`NoSuchWatch`](Error::NoSuchWatch), never another watch.
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

/// Something to watch: one record of `Queue::add()` and `Queue::modify()`.
///
/// Without [`edge()`](Watch::edge), [`oneshot()`](Watch::oneshot) or
/// [`dispatch()`](Watch::dispatch) a watch is *level*: once its event was consumed, the kernel polls
/// the condition again when the program next waits, and reports it again while it holds. Out of the
/// ring such an event is a hint: the program itself may have drained what it was about. So use
/// non-blocking descriptors.
///
/// What a record says that its class does not take is [`Invalid`](Error::Invalid) when it is added.
///
/// ```
/// # #[cfg(feature = "std")] {
/// # use kevent::{Readiness, Watch};
/// # use std::os::fd::AsFd;
/// # let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
/// let readable = Watch::poll(socket.as_fd(), Readiness::IN).user_data(1).edge();
/// # }
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

    /// A watch of the class to which these events belong, with all other fields zero.
    pub fn of_events<B: EventBits>(events: B) -> Watch {
        let mut watch = Watch::new(B::SOURCE);

        watch.0.events = u32::from(events.to_raw());
        watch
    }

    /// Watches a file that can be polled, as `poll(2)` does.
    ///
    /// If it is ready already, an event comes at once;
    /// [`Event::readiness()`](crate::Event::readiness) says for what. Without
    /// [`edge()`](Watch::edge) it is reported as long as it is ready. The watch does not hold the
    /// file: closing `fd` in this process removes it, with a last event if it is
    /// [`vanished()`](Watch::vanished).
    ///
    /// # Errors
    ///
    /// Of `Queue::add()`: [`Sealed`](Error::Sealed) for what is never not ready, such as a regular
    /// file; [`Loop`](Error::Loop) for an epoll descriptor, the queue itself, or too many queues in
    /// a chain; [`BadDescriptor`](Error::BadDescriptor).
    ///
    /// ```no_run
    /// # use kevent::{Queue, Readiness, Watch};
    /// # use std::os::fd::AsFd;
    /// # fn main() -> std::io::Result<()> {
    /// # let (listener, stream) = (std::net::TcpListener::bind("127.0.0.1:0")?, std::io::stdin());
    /// # let queue = Queue::new()?;
    /// // Of several queues that watch a listener so, each connection wakes one.
    /// queue.add_one(Watch::poll(listener.as_fd(), Readiness::IN).exclusive())?;
    /// // The thread that gets the event owns the stream until it enables the watch again.
    /// queue.add_one(Watch::poll(stream.as_fd(), Readiness::IN | Readiness::RDHUP).dispatch())?;
    /// # Ok(())
    /// # }
    /// ```
    #[cfg(feature = "std")]
    pub fn poll(fd: BorrowedFd<'_>, interest: Readiness) -> Watch {
        Watch::of_events(interest).fd(fd)
    }

    /// Watches a socket for these events, with amounts: see
    /// [`Details::Socket`](crate::Details::Socket).
    ///
    /// [`receive_mark()`](Watch::receive_mark) and [`send_mark()`](Watch::send_mark) set its
    /// low-water marks.
    ///
    /// # Errors
    ///
    /// Of `Queue::add()`: [`NotSocket`](Error::NotSocket), [`BadDescriptor`](Error::BadDescriptor).
    #[cfg(feature = "std")]
    pub fn socket(fd: BorrowedFd<'_>, events: SocketEvents) -> Watch {
        Watch::of_events(events).fd(fd)
    }

    /// Watches a file or directory, open for reading, for these changes: see
    /// [`Details::Inode`](crate::Details::Inode).
    ///
    /// # Errors
    ///
    /// Of `Queue::add()`: [`BadDescriptor`](Error::BadDescriptor) if it is not open for reading;
    /// [`Invalid`](Error::Invalid) if it is neither a file nor a directory;
    /// [`Limit`](Error::Limit) if it has too many watches.
    #[cfg(feature = "std")]
    pub fn inode(fd: BorrowedFd<'_>, events: InodeEvents) -> Watch {
        Watch::of_events(events).fd(fd)
    }

    /// Watches the process of a pidfd for these events: see
    /// [`Details::Process`](crate::Details::Process).
    ///
    /// # Errors
    ///
    /// Of `Queue::add()`: [`Invalid`](Error::Invalid) if it is no pidfd;
    /// [`NotAllowed`](Error::NotAllowed) for `EXEC` of a process that the caller may not look into;
    /// [`Limit`](Error::Limit) if it has too many watches.
    #[cfg(feature = "std")]
    pub fn process(pidfd: BorrowedFd<'_>, events: ProcessEvents) -> Watch {
        Watch::of_events(events).fd(pidfd)
    }

    /// Counts how often a signal is sent to this process; with [`take()`](Watch::take) the event is
    /// the delivery.
    ///
    /// # Errors
    ///
    /// Of `Queue::add()`: [`Invalid`](Error::Invalid) if there is no such signal, or for `take()` of
    /// `SIGKILL` and `SIGSTOP`; [`Limit`](Error::Limit) if the process has too many such watches.
    pub fn signal(signo: i32) -> Watch {
        Watch::of_events(SignalEvents::SENT).ident(signo as u64)
    }

    /// Watches a word in the memory of this process, as a thread in `futex_wait(2)` does: see
    /// [`Details::Futex`](crate::Details::Futex). `events` must contain
    /// [`WOKEN`](FutexEvents::WOKEN).
    ///
    /// The watch is of the address, and holds nothing: the kernel only ever reads there, and it does
    /// not matter if there is something else by then, or nothing. The futex is private to the
    /// process unless it is [`shared_futex()`](Watch::shared_futex). With
    /// [`expect()`](Watch::expect) a change since the program looked is reported at once.
    ///
    /// # Errors
    ///
    /// Of `Queue::add()`: [`Invalid`](Error::Invalid) without `WOKEN`.
    pub fn futex(word: &AtomicU32, events: FutexEvents) -> Watch {
        const SIZE_U32: u64 = 2;
        const PRIVATE: u64 = 128;

        Watch::of_events(events)
            .ident(core::ptr::from_ref(word).addr() as u64)
            .arg(0, SIZE_U32 | PRIVATE)
    }

    /// The futex may be in memory that several processes share.
    pub fn shared_futex(self) -> Watch {
        let size = self.0.arg[0] & 3;

        self.arg(0, size)
    }

    /// Of a futex, only the wake-ups whose bitset has one of these bits. 0 means all.
    pub fn bitset(self, bits: u32) -> Watch {
        self.arg(1, bits.into())
    }

    /// A watch that is fired by `Queue::trigger()`: the cheapest way to wake another thread.
    ///
    /// Triggers OR their bits until the event is consumed. While the watch is disabled, what was
    /// triggered is kept.
    ///
    /// # Errors
    ///
    /// Of `Queue::add()`: [`NoWatches`](Error::NoWatches) if the kernel does not have
    /// [`Features::USER_WATCH`](crate::Features::USER_WATCH).
    pub fn user() -> Watch {
        let mut watch = Watch::new(Source::User);

        watch.0.events = sys::KEVENT_EVENTS_MASK;
        watch
    }

    /// A timer on `CLOCK_MONOTONIC` that expires once, after `first`, to the nanosecond.
    ///
    /// The event counts expirations: see [`Details::Timer`](crate::Details::Timer). Times of more
    /// than 2⁶³ - 1 ns, 292 years, are that.
    ///
    /// # Errors
    ///
    /// Of `Queue::add()`: [`Invalid`](Error::Invalid) for [`oneshot()`](Watch::oneshot) with an
    /// interval.
    ///
    /// ```
    /// # use kevent::{Clock, Watch};
    /// # use std::time::Duration;
    /// // Ten times a second, from now on, on a clock that also runs while the machine sleeps.
    /// let tick = Duration::from_millis(100);
    /// let watch = Watch::timer(tick).every(tick).clock(Clock::Boottime);
    /// ```
    pub fn timer(first: Duration) -> Watch {
        Watch::of_events(TimerEvents::EXPIRED)
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

    #[cfg(feature = "std")]
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

    /// Receive low-water mark of a socket, in bytes: `IN` is not reported below it, nor below
    /// `SO_RCVLOWAT`.
    pub fn receive_mark(self, bytes: u64) -> Watch {
        self.arg(0, bytes)
    }

    /// Send low-water mark of a socket, in bytes of free space: `OUT` is not reported below it, nor
    /// before the protocol calls the socket writable.
    pub fn send_mark(self, bytes: u64) -> Watch {
        self.arg(1, bytes)
    }

    /// Report changes only.
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

    /// If many queues watch the same, a wake-up goes to one of them.
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

    /// For a signal: the event is the delivery. No handler runs, no process is killed by it, and
    /// `sigwait(3)` does not see it. See [`Details::SignalTaken`](crate::Details::SignalTaken).
    pub fn take(self) -> Watch {
        self.flag(sys::KEVENT_WATCH_TAKE)
    }

    /// For a futex: what the program has last seen there, so that a change since then is reported at
    /// once.
    pub fn expect(self, seen: u32) -> Watch {
        self.flag(sys::KEVENT_WATCH_EXPECT).arg(3, seen.into())
    }

    /// Which watch `Queue::modify()` is to change.
    pub fn of(mut self, handle: Handle) -> Watch {
        self.0.handle = handle.0;
        self
    }

    /// The handle that `Queue::add()` gave this record.
    pub fn handle(&self) -> Handle {
        Handle(self.0.handle)
    }

    /// What became of this record in the last `Queue::add()` or `Queue::modify()`.
    ///
    /// # Errors
    ///
    /// What the record failed with; [`NotTried`](Error::NotTried) if one before it failed.
    pub fn result(&self) -> Result<(), Error> {
        match self.0.result {
            0 => Ok(()),
            error => Err(Error::from_raw_os_error(error.wrapping_neg())),
        }
    }

    /// A record from the kernel's structure: for what this crate has no method for.
    pub fn from_raw(raw: sys::kevent_watch) -> Watch {
        Watch(raw)
    }

    /// The record as the kernel's structure.
    pub fn as_raw(&self) -> &sys::kevent_watch {
        &self.0
    }
}

#[cfg(all(test, feature = "std"))]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    /// The fields of a record that a constructor fills: class, ident, events, arguments.
    fn fields(watch: Watch) -> (u32, u64, u32, [u64; 4]) {
        let raw = watch.as_raw();

        (raw.source, raw.ident, raw.events, raw.arg)
    }

    #[test]
    fn flags() {
        let fd = std::io::stdin();
        let all = Watch::poll(fd.as_fd(), Readiness::empty())
            .edge()
            .oneshot()
            .dispatch()
            .disabled()
            .exclusive()
            .vanished()
            .absolute()
            .take()
            .expect(1);
        assert_eq!((all.as_raw().flags, all.as_raw().events), (0x1ff, 0));
    }

    #[test]
    fn descriptors() {
        let fd = std::io::stderr();
        let fd = fd.as_fd();

        let poll = Watch::poll(fd, Readiness::IN | Readiness::RDHUP);
        assert_eq!(fields(poll), (1, 2, 0x2001, [0; 4]));
        let socket = Watch::socket(fd, SocketEvents::IN | SocketEvents::DRAINED)
            .receive_mark(7)
            .send_mark(9);
        assert_eq!(fields(socket), (2, 2, 0x101, [7, 9, 0, 0]));
        let process = Watch::process(fd, ProcessEvents::EXIT | ProcessEvents::EXEC);
        assert_eq!(fields(process), (6, 2, 5, [0; 4]));
        let inode = Watch::inode(fd, InodeEvents::TRUNCATE);
        assert_eq!(fields(inode), (7, 2, 0x2000, [0; 4]));
    }

    #[test]
    fn signal() {
        assert_eq!(fields(Watch::signal(17)), (4, 17, 1, [0; 4]));
        assert_eq!(Watch::signal(17).take().as_raw().flags, 1 << 7);
    }

    #[test]
    fn futex() {
        let word = AtomicU32::new(0);
        let address = &raw const word as u64;
        let watch = Watch::futex(&word, FutexEvents::WOKEN).bitset(5).expect(3);

        assert_eq!(fields(watch), (8, address, 1, [130, 5, 0, 3]));
        assert_eq!(watch.shared_futex().as_raw().arg[0], 2);
    }

    #[test]
    fn user() {
        assert_eq!(fields(Watch::user()), (9, 0, 0xffff, [0; 4]));
    }

    #[test]
    fn timer() {
        let watch = Watch::timer(Duration::from_micros(5))
            .every(Duration::MAX)
            .slack(Duration::from_nanos(3))
            .clock(Clock::Boottime);
        let boottime = libc::CLOCK_BOOTTIME as u64;

        assert_eq!(
            fields(watch),
            (5, 0, 1, [5000, i64::MAX as u64, boottime, 3])
        );
        let at = Watch::timer_at(Clock::Realtime, Duration::from_secs(1));
        assert_eq!(fields(at), (5, 0, 1, [1_000_000_000, 0, 0, 0]));
        assert_eq!(at.as_raw().flags, 1 << 6);
    }

    #[test]
    fn results() {
        let mut raw = sys::kevent_watch::default();

        assert_eq!(Watch::from_raw(raw).result(), Ok(()));
        raw.result = -libc::ECANCELED;
        assert_eq!(Watch::from_raw(raw).result(), Err(Error::NotTried));
        raw.result = i32::MIN;
        assert!(Watch::from_raw(raw).result().is_err());
    }
}
