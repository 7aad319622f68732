// SPDX-License-Identifier: MIT

use crate::bits::*;
use crate::sys;
use core::fmt;
use core::time::Duration;

bitflags::bitflags! {
    /// A set of source classes: what a kernel has, or what a queue may use.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct Sources: u32 {
        /// [`Source::Poll`]
        const POLL = 1 << sys::KEVENT_SOURCE_POLL;
        /// [`Source::Socket`]
        const SOCKET = 1 << sys::KEVENT_SOURCE_SOCKET;
        /// [`Source::Aio`]
        const AIO = 1 << sys::KEVENT_SOURCE_AIO;
        /// [`Source::Signal`]
        const SIGNAL = 1 << sys::KEVENT_SOURCE_SIGNAL;
        /// [`Source::Timer`]
        const TIMER = 1 << sys::KEVENT_SOURCE_TIMER;
        /// [`Source::Process`]
        const PROCESS = 1 << sys::KEVENT_SOURCE_PROCESS;
        /// [`Source::Inode`]
        const INODE = 1 << sys::KEVENT_SOURCE_INODE;
        /// [`Source::Futex`]
        const FUTEX = 1 << sys::KEVENT_SOURCE_FUTEX;
        /// [`Source::User`]
        const USER = 1 << sys::KEVENT_SOURCE_USER;
        /// [`Source::Sigev`]
        const SIGEV = 1 << sys::KEVENT_SOURCE_SIGEV;
    }
}

bitflags::bitflags! {
    /// What a kernel has: a bit for each source class, and from bit 32 on additions to the
    /// interface.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct Features: u64 {
        /// A consumer may free a slot with the exhausted mark.
        const EXHAUSTED = sys::KEVENT_FEATURE_EXHAUSTED;
        /// Watches are named by class and descriptor: `Queue::add_or_update()`,
        /// [`Modify::BY_IDENT`](crate::Modify::BY_IDENT).
        const BY_IDENT = sys::KEVENT_FEATURE_BY_IDENT;
        /// A wake-up can be handed on: `Queue::wake_next()`.
        const WAKE_NEXT = sys::KEVENT_FEATURE_WAKE_NEXT;
        /// Watches of [`Source::User`]: [`Watch::user()`](crate::Watch::user).
        const USER_WATCH = sys::KEVENT_FEATURE_USER_WATCH;
    }
}

impl Features {
    /// The source classes among them.
    pub const fn sources(self) -> Sources {
        Sources::from_bits_retain(self.bits() as u32)
    }
}

impl From<Source> for Sources {
    fn from(source: Source) -> Sources {
        Sources::from_bits_retain(1u32.checked_shl(source.class()).unwrap_or(0))
    }
}

/// The class of what an event reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Source {
    /// Any file that can be polled.
    Poll,
    /// A socket, with amounts.
    Socket,
    /// A finished `io_submit(2)` request.
    Aio,
    /// A signal of this process.
    Signal,
    /// A timer.
    Timer,
    /// A process, by its pidfd.
    Process,
    /// A file or directory that changes.
    Inode,
    /// A 32-bit word in memory.
    Futex,
    /// `Queue::post()`: another thread or process. Or a watch that was triggered.
    User,
    /// A `sigevent` with `SIGEV_KEVENT`: `timer_create`, `mq_notify`.
    Sigev,
    /// A class that this version of the crate does not know.
    Other(u8),
}

impl Source {
    /// Every class that this version of the crate knows.
    pub const ALL: [Source; 10] = [
        Source::Poll,
        Source::Socket,
        Source::Aio,
        Source::Signal,
        Source::Timer,
        Source::Process,
        Source::Inode,
        Source::Futex,
        Source::User,
        Source::Sigev,
    ];

    /// The number of the class, `KEVENT_SOURCE_*`.
    pub const fn class(self) -> u32 {
        match self {
            Source::Poll => sys::KEVENT_SOURCE_POLL,
            Source::Socket => sys::KEVENT_SOURCE_SOCKET,
            Source::Aio => sys::KEVENT_SOURCE_AIO,
            Source::Signal => sys::KEVENT_SOURCE_SIGNAL,
            Source::Timer => sys::KEVENT_SOURCE_TIMER,
            Source::Process => sys::KEVENT_SOURCE_PROCESS,
            Source::Inode => sys::KEVENT_SOURCE_INODE,
            Source::Futex => sys::KEVENT_SOURCE_FUTEX,
            Source::User => sys::KEVENT_SOURCE_USER,
            Source::Sigev => sys::KEVENT_SOURCE_SIGEV,
            Source::Other(class) => class as u32,
        }
    }

    const fn from_class(class: u8) -> Source {
        match class as u32 {
            sys::KEVENT_SOURCE_POLL => Source::Poll,
            sys::KEVENT_SOURCE_SOCKET => Source::Socket,
            sys::KEVENT_SOURCE_AIO => Source::Aio,
            sys::KEVENT_SOURCE_SIGNAL => Source::Signal,
            sys::KEVENT_SOURCE_TIMER => Source::Timer,
            sys::KEVENT_SOURCE_PROCESS => Source::Process,
            sys::KEVENT_SOURCE_INODE => Source::Inode,
            sys::KEVENT_SOURCE_FUTEX => Source::Futex,
            sys::KEVENT_SOURCE_USER => Source::User,
            sys::KEVENT_SOURCE_SIGEV => Source::Sigev,
            _ => Source::Other(class),
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Source::Poll => "POLL",
            Source::Socket => "SOCKET",
            Source::Aio => "AIO",
            Source::Signal => "SIGNAL",
            Source::Timer => "TIMER",
            Source::Process => "PROCESS",
            Source::Inode => "INODE",
            Source::Futex => "FUTEX",
            Source::User => "USER",
            Source::Sigev => "SIGEV",
            Source::Other(class) => return write!(f, "class {class}"),
        })
    }
}

/// One event, as it came out of a queue.
///
/// It is the same value whether it was taken from the mapped ring or copied out by
/// `Queue::get_events()`.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
#[repr(transparent)]
pub struct Event(sys::kevent_event);

impl Event {
    /// Puts an event together from a ring entry whose word came out as `word`.
    #[inline]
    pub(crate) fn from_entry(word: u32, mut raw: sys::kevent_event) -> Event {
        let merged = (word >> sys::KEVENT_WORD_MERGED_SHIFT) & sys::KEVENT_WORD_MERGED_MAX;

        raw.events = word & sys::KEVENT_EVENTS_MASK;
        raw.info = raw.info & 0xffff | merged << 16;
        if raw.info & sys::KEVENT_INFO_COUNTED != 0 {
            raw.data = raw.data.wrapping_add(i64::from(merged));
        }
        Event(raw)
    }

    /// What the program chose when it registered the source or posted the event.
    #[inline]
    pub fn user_data(&self) -> u64 {
        self.0.user_data
    }

    /// What happened, as the bits of this class; `None` if it is an event of another class. Those of
    /// merged occurrences are ORed together.
    ///
    /// ```
    /// # use kevent::{Event, SocketEvents};
    /// # fn look(event: Event) {
    /// if event.events::<SocketEvents>().is_some_and(|bits| bits.contains(SocketEvents::EOF)) {
    ///     // The peer sends no more.
    /// }
    /// # }
    /// ```
    #[inline]
    pub fn events<B: EventBits>(&self) -> Option<B> {
        (self.source() == B::SOURCE).then(|| B::from_raw(self.raw_events()))
    }

    /// What happened, as the kernel's number.
    #[inline]
    pub fn raw_events(&self) -> u16 {
        (self.0.events & sys::KEVENT_EVENTS_MASK) as u16
    }

    /// For what the file is ready: the bits of an event of [`Source::Poll`], none of another one.
    #[inline]
    pub fn readiness(&self) -> Readiness {
        self.events().unwrap_or_default()
    }

    /// What happened, with everything that comes with it.
    ///
    /// ```
    /// # use kevent::{Details, Event};
    /// # fn look(event: Event) {
    /// match event.details() {
    ///     Details::Socket { events, readable, .. } => println!("{events:?}, {readable} bytes"),
    ///     Details::Timer { expirations, .. } => println!("{expirations} times"),
    ///     other => println!("{other:?}"),
    /// }
    /// # }
    /// ```
    pub fn details(&self) -> Details {
        let (raw, data, extra) = (self.raw_events(), self.0.data, self.0.extra);
        let errno = |errno: u32| (errno != 0).then_some(errno as i32);

        match self.source() {
            Source::Poll => Details::Poll {
                events: EventBits::from_raw(raw),
            },
            Source::Socket => Details::Socket {
                events: EventBits::from_raw(raw),
                readable: data.max(0) as u64,
                space: extra as u32,
                error: errno((extra >> 32) as u32),
            },
            Source::Aio => Details::Aio {
                events: EventBits::from_raw(raw),
                result: if self.is_error() {
                    Err(data.wrapping_neg().clamp(0, i64::from(i32::MAX)) as i32)
                } else {
                    Ok(data)
                },
                second: extra as i64,
            },
            Source::Signal if self.is_counted() => Details::SignalSent {
                events: EventBits::from_raw(raw),
                count: data,
            },
            Source::Signal => Details::SignalTaken {
                events: EventBits::from_raw(raw),
                value: data,
                pid: (extra & 0x3f_ffff) as u32,
                code: extra as u32 as i32 >> 22,
                uid: (extra >> 32) as u32,
            },
            Source::Timer => Details::Timer {
                events: EventBits::from_raw(raw),
                expirations: data,
            },
            Source::Process => Details::Process {
                events: EventBits::from_raw(raw),
                status: data as i32,
                cpu_time: Duration::from_nanos(extra),
            },
            Source::Inode => Details::Inode {
                events: EventBits::from_raw(raw),
                size: data,
                rename: extra,
            },
            Source::Futex => Details::Futex {
                events: EventBits::from_raw(raw),
                value: data as u32,
                error: errno(extra as u32),
            },
            Source::User => Details::User {
                events: EventBits::from_raw(raw),
                posted: self.is_posted(),
                data,
                extra,
            },
            Source::Sigev if self.is_counted() => Details::SigevTimer {
                events: EventBits::from_raw(raw),
                expirations: data,
                timer: extra as i32,
            },
            Source::Sigev => Details::SigevMessage {
                events: EventBits::from_raw(raw),
            },
            source => Details::Other {
                source,
                events: raw,
                data,
                extra,
            },
        }
    }

    /// The class of the source.
    #[inline]
    pub fn source(&self) -> Source {
        Source::from_class((self.0.info & 0xff) as u8)
    }

    /// How many further occurrences were merged into this event before it was consumed, 0 to 1023.
    #[inline]
    pub fn merged(&self) -> u32 {
        sys::kevent_info_merged(self.0.info)
    }

    /// Amount, result, status or count: per source. If it [counts](Event::is_counted), the merged
    /// occurrences are included.
    #[inline]
    pub fn data(&self) -> i64 {
        self.0.data
    }

    /// The second word: per source.
    #[inline]
    pub fn extra(&self) -> u64 {
        self.0.extra
    }

    /// [`data()`](Event::data) or [`extra()`](Event::extra) has an errno.
    #[inline]
    pub fn is_error(&self) -> bool {
        self.0.info & sys::KEVENT_INFO_ERROR != 0
    }

    /// More of the same follows.
    #[inline]
    pub fn has_more(&self) -> bool {
        self.0.info & sys::KEVENT_INFO_MORE != 0
    }

    /// [`data()`](Event::data) is a count.
    #[inline]
    pub fn is_counted(&self) -> bool {
        self.0.info & sys::KEVENT_INFO_COUNTED != 0
    }

    /// The watched object is gone, and the watch with it.
    #[inline]
    pub fn is_vanished(&self) -> bool {
        self.0.info & sys::KEVENT_INFO_VANISHED != 0
    }

    /// It was [posted](crate::Post): all of it is the choice of the poster, which may be in another
    /// process. Its [`user_data()`](Event::user_data) is nothing to trust as a pointer or an index.
    #[inline]
    pub fn is_posted(&self) -> bool {
        self.0.info & sys::KEVENT_INFO_POSTED != 0
    }

    /// `sival_int` of the `sigevent` of an event of [`Source::Sigev`], where
    /// [`user_data()`](Event::user_data) is its `sival_ptr`.
    pub fn sigval_int(&self) -> i32 {
        if cfg!(all(target_endian = "big", target_pointer_width = "64")) {
            (self.0.user_data >> 32) as i32
        } else {
            self.0.user_data as i32
        }
    }

    /// The event as the kernel's structure.
    pub fn as_raw(&self) -> &sys::kevent_event {
        &self.0
    }
}

impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Event")
            .field("source", &self.source())
            .field("user_data", &self.user_data())
            .field("events", &format_args!("{:#06x}", self.raw_events()))
            .field("info", &format_args!("{:#06x}", self.0.info & 0xff00))
            .field("merged", &self.merged())
            .field("data", &self.data())
            .field("extra", &self.extra())
            .finish()
    }
}

/// What an [`Event`] says, decoded: [`Event::details()`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Details {
    /// A file is ready.
    Poll {
        /// For what; `NVAL` if the descriptor was closed.
        events: Readiness,
    },
    /// Something happened to a socket. The amounts are as of the post.
    Socket {
        /// What.
        events: SocketEvents,
        /// Bytes that can be read; of a datagram or seqpacket socket the size in bytes of the next
        /// message; of a socket that listens how many connections can be accepted.
        readable: u64,
        /// Free space in the send buffer in bytes, as the protocol counts it.
        space: u32,
        /// The pending error, as an errno.
        error: Option<i32>,
    },
    /// A request of `io_submit(2)` is complete; [`Event::user_data()`] is its `aio_data`.
    Aio {
        /// Always `DONE`.
        events: AioEvents,
        /// What the operation gave, most often a number of bytes; or the errno of its failure.
        result: Result<i64, i32>,
        /// `res2` of `struct io_event`.
        second: i64,
    },
    /// A signal was sent, and went its usual way.
    SignalSent {
        /// Always `SENT`.
        events: SignalEvents,
        /// How often.
        count: i64,
    },
    /// A signal was sent, and this is its delivery: see [`Watch::take()`](crate::Watch::take).
    SignalTaken {
        /// `SENT`; none in the last event of a watch that went away.
        events: SignalEvents,
        /// `si_value`; of `SIGCHLD` the status, of `SIGIO` the descriptor, of a fault the address.
        value: i64,
        /// Who sent it.
        pid: u32,
        /// `si_code`, at least -512.
        code: i32,
        /// The user who sent it; `si_band` if the signal is of a descriptor.
        uid: u32,
    },
    /// A timer has expired.
    Timer {
        /// Always `EXPIRED`.
        events: TimerEvents,
        /// How often since the last event that was consumed.
        expirations: i64,
    },
    /// Something happened to a process.
    Process {
        /// What.
        events: ProcessEvents,
        /// With `EXIT` and `REAPED`, the status as `wait(2)` has it:
        /// `std::os::unix::process::ExitStatusExt::from_raw()` takes it.
        status: i32,
        /// With `EXIT` and `REAPED`, the CPU time that it has used; zero if that is not known.
        cpu_time: Duration,
    },
    /// Something happened to a file or directory.
    Inode {
        /// What.
        events: InodeEvents,
        /// The size of the file in bytes.
        size: i64,
        /// With `CHILD_MOVED_OUT` and `CHILD_MOVED_IN`, a number that both halves of one rename
        /// have in common; of the last one if several merged.
        rename: u64,
    },
    /// Something happened to a word in memory.
    Futex {
        /// What.
        events: FutexEvents,
        /// What the word was last seen to be.
        value: u32,
        /// The errno (`EFAULT`) if it could not be looked at since.
        error: Option<i32>,
    },
    /// An event was posted, or a watch was triggered.
    User {
        /// The program's bits.
        events: UserEvents,
        /// It was posted: see [`Event::is_posted()`].
        posted: bool,
        /// Of a post, the poster's; else 0.
        data: i64,
        /// Of a post, the poster's; else 0.
        extra: u64,
    },
    /// A timer of `timer_create(2)` has expired; [`Event::user_data()`] is its `sigev_value`.
    SigevTimer {
        /// Always `TIMER`.
        events: SigevEvents,
        /// How often since the last event that was consumed: one more than POSIX's overrun count.
        expirations: i64,
        /// The kernel's number of the timer.
        timer: i32,
    },
    /// A message has arrived in the queue of an `mq_notify(3)`.
    SigevMessage {
        /// Always `MESSAGE`.
        events: SigevEvents,
    },
    /// A class that this version of the crate does not know.
    Other {
        /// The class.
        source: Source,
        /// Its bits.
        events: u16,
        /// Per class.
        data: i64,
        /// Per class.
        extra: u64,
    },
}

/// An event to be posted, by `Queue::post()`.
///
/// All of it is the poster's own: the kernel only adds that it was posted, see
/// [`Event::is_posted()`].
///
/// ```
/// # use kevent::{Post, UserEvents};
/// let done = Post::new(7).events(UserEvents::bit(0)).data(-5).extra(42);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(transparent)]
pub struct Post(sys::kevent_event);

impl Post {
    /// An event with this `user_data`, and zero for the rest.
    pub const fn new(user_data: u64) -> Post {
        Post(sys::kevent_event {
            user_data,
            events: 0,
            info: 0,
            data: 0,
            extra: 0,
        })
    }

    /// What [`Event::events()`] will give.
    pub const fn events(mut self, events: UserEvents) -> Post {
        self.0.events = events.bits() as u32;
        self
    }

    /// What [`Event::data()`] will give.
    pub const fn data(mut self, data: i64) -> Post {
        self.0.data = data;
        self
    }

    /// What [`Event::extra()`] will give.
    pub const fn extra(mut self, extra: u64) -> Post {
        self.0.extra = extra;
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(source: u32, flags: u32, events: u16, data: i64, extra: u64) -> Event {
        Event(sys::kevent_event {
            user_data: 0x1_0000_0007,
            events: events.into(),
            info: source | flags,
            data,
            extra,
        })
    }

    #[test]
    fn details_of_every_class() {
        use Details as D;
        let (counted, error) = (sys::KEVENT_INFO_COUNTED, sys::KEVENT_INFO_ERROR);
        let cases = [
            (
                event(1, 0, 0x11, 0, 0),
                D::Poll {
                    events: Readiness::IN | Readiness::HUP,
                },
            ),
            (
                event(2, 0, 0x41, 12, 111 << 32 | 4096),
                D::Socket {
                    events: SocketEvents::IN | SocketEvents::ERROR,
                    readable: 12,
                    space: 4096,
                    error: Some(111),
                },
            ),
            (
                event(3, 0, 1, 512, u64::MAX),
                D::Aio {
                    events: AioEvents::DONE,
                    result: Ok(512),
                    second: -1,
                },
            ),
            (
                event(3, error, 1, -5, 0),
                D::Aio {
                    events: AioEvents::DONE,
                    result: Err(libc::EIO),
                    second: 0,
                },
            ),
            (
                event(4, counted, 1, 3, 0),
                D::SignalSent {
                    events: SignalEvents::SENT,
                    count: 3,
                },
            ),
            (
                event(
                    4,
                    0,
                    1,
                    7,
                    1000 << 32 | (-6i32 as u32 as u64 & 0x3ff) << 22 | 4_194_303,
                ),
                D::SignalTaken {
                    events: SignalEvents::SENT,
                    value: 7,
                    pid: 4_194_303,
                    code: -6,
                    uid: 1000,
                },
            ),
            (
                event(5, counted, 1, 60, 0),
                D::Timer {
                    events: TimerEvents::EXPIRED,
                    expirations: 60,
                },
            ),
            (
                event(6, 0, 1, 0x100, 5),
                D::Process {
                    events: ProcessEvents::EXIT,
                    status: 0x100,
                    cpu_time: Duration::from_nanos(5),
                },
            ),
            (
                event(7, 0, 0x1000, 9, 77),
                D::Inode {
                    events: InodeEvents::CHILD_MOVED_IN,
                    size: 9,
                    rename: 77,
                },
            ),
            (
                event(8, error, 2, 5, libc::EFAULT as u64),
                D::Futex {
                    events: FutexEvents::CHANGED,
                    value: 5,
                    error: Some(libc::EFAULT),
                },
            ),
            (
                event(9, sys::KEVENT_INFO_POSTED, 4, -1, 2),
                D::User {
                    events: UserEvents::bit(2),
                    posted: true,
                    data: -1,
                    extra: 2,
                },
            ),
            (
                event(10, counted, 1, 2, 3),
                D::SigevTimer {
                    events: SigevEvents::TIMER,
                    expirations: 2,
                    timer: 3,
                },
            ),
            (
                event(10, 0, 2, 0, 0),
                D::SigevMessage {
                    events: SigevEvents::MESSAGE,
                },
            ),
            (
                event(99, 0, 2, 3, 4),
                D::Other {
                    source: Source::Other(99),
                    events: 2,
                    data: 3,
                    extra: 4,
                },
            ),
        ];

        for (event, details) in cases {
            assert_eq!(event.details(), details);
        }
    }

    #[test]
    fn bits_belong_to_their_class() {
        let event = event(2, 0, 1, 0, 0);

        assert_eq!(event.events(), Some(SocketEvents::IN));
        assert_eq!(event.events::<Readiness>(), None);
        assert_eq!(event.readiness(), Readiness::empty());
        if cfg!(target_endian = "little") {
            assert_eq!(event.sigval_int(), 7);
        }
    }

    #[cfg(not(loom))]
    proptest::proptest! {
        /// Whatever an event holds, it can be decoded and shown.
        #[test]
        fn anything_decodes(
            user_data in proptest::prelude::any::<u64>(),
            events in proptest::prelude::any::<u32>(),
            info in proptest::prelude::any::<u32>(),
            class in 0u32..14,
            data in proptest::prelude::any::<i64>(),
            extra in proptest::prelude::any::<u64>(),
        ) {
            for info in [info, info & !0xff | class] {
                let raw = sys::kevent_event { user_data, events, info, data, extra };
                for event in [Event(raw), Event::from_entry(events, raw)] {
                    let _ = (format!("{event:?} {:?}", event.details()), event.sigval_int());
                }
            }
        }
    }
}
