// SPDX-License-Identifier: MIT

use crate::readiness::Readiness;
use crate::sys;
use core::fmt;

bitflags::bitflags! {
    /// A set of source classes: what a kernel has, or what a queue may use.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct Sources: u64 {
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

impl From<Source> for Sources {
    fn from(source: Source) -> Sources {
        Sources::from_bits_retain(1u64.checked_shl(source.class()).unwrap_or(0))
    }
}

/// The class of what an event tells of.
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
    /// [`Queue::post()`](crate::Queue::post): another thread or process.
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
            Source::Other(class) => return f.pad(&format!("class {class}")),
        })
    }
}

/// One event, as it came out of a queue.
///
/// It is the same value whether it was taken from the mapped ring or copied out by
/// [`Queue::get_events()`](crate::Queue::get_events).
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

    /// What happened: bits of the source class. Those of merged occurrences are ORed together.
    #[inline]
    pub fn events(&self) -> u16 {
        (self.0.events & sys::KEVENT_EVENTS_MASK) as u16
    }

    /// For what the file is ready, if it is an event of [`Source::Poll`].
    #[inline]
    pub fn readiness(&self) -> Readiness {
        Readiness::from_bits_retain(self.events())
    }

    /// The class of the source.
    #[inline]
    pub fn source(&self) -> Source {
        Source::from_class((self.0.info & 0xff) as u8)
    }

    /// How many further occurrences were merged into this event before it was taken, 0 to 1023.
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

    /// The other side is done; nothing more will come from it.
    #[inline]
    pub fn is_eof(&self) -> bool {
        self.0.info & sys::KEVENT_INFO_EOF != 0
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
            .field("events", &format_args!("{:#06x}", self.events()))
            .field("info", &format_args!("{:#06x}", self.0.info & 0xff00))
            .field("merged", &self.merged())
            .field("data", &self.data())
            .field("extra", &self.extra())
            .finish()
    }
}

/// An event to be [posted](crate::Queue::post).
///
/// All of it is the poster's own: the kernel only adds that it came from [`Source::User`].
///
/// ```
/// # use kevent::Post;
/// let done = Post::new(7).events(1).data(-5).extra(42);
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
    pub const fn events(mut self, events: u16) -> Post {
        self.0.events = events as u32;
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
