// SPDX-License-Identifier: MIT

//! The event bits of each source class.

use crate::event::Source;
use crate::sys;

mod sealed {
    pub trait Sealed {}
}

/// A set of event bits that belongs to one source class: what a watch of that class is interested
/// in, and what its events report.
///
/// It is implemented by the sets in this crate, and by nothing else.
pub trait EventBits: Copy + sealed::Sealed {
    /// The class.
    const SOURCE: Source;

    /// The bits as the kernel has them, 16 of them.
    fn to_raw(self) -> u16;

    /// A set of all these bits, also of those that this version of the crate has no name for.
    fn from_raw(bits: u16) -> Self;
}

macro_rules! event_bits {
    ($($name:ident: $source:ident),* $(,)?) => {$(
        impl sealed::Sealed for $name {}

        impl EventBits for $name {
            const SOURCE: Source = Source::$source;

            #[inline]
            fn to_raw(self) -> u16 {
                self.bits()
            }

            #[inline]
            fn from_raw(bits: u16) -> $name {
                $name::from_bits_retain(bits)
            }
        }
    )*};
}

event_bits! {
    Readiness: Poll,
    SocketEvents: Socket,
    AioEvents: Aio,
    SignalEvents: Signal,
    TimerEvents: Timer,
    ProcessEvents: Process,
    InodeEvents: Inode,
    FutexEvents: Futex,
    UserEvents: User,
    SigevEvents: Sigev,
}

bitflags::bitflags! {
    /// For what a file is ready: the bits of `poll(2)`, of the class [`Source::Poll`].
    ///
    /// It is the interest of `Watch::poll()`, and what
    /// [`Event::readiness()`](crate::Event::readiness) gives.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct Readiness: u16 {
        /// There is something to read.
        const IN = sys::KEVENT_POLL_IN as u16;
        /// There is something urgent, such as out-of-band data.
        const PRI = sys::KEVENT_POLL_PRI as u16;
        /// There is room to write.
        const OUT = sys::KEVENT_POLL_OUT as u16;
        /// An error; reported whether asked for or not.
        const ERR = sys::KEVENT_POLL_ERR as u16;
        /// Both directions are shut; reported whether asked for or not.
        const HUP = sys::KEVENT_POLL_HUP as u16;
        /// The descriptor was closed; never asked for, and only reported by a watch that is
        /// [`vanished()`](crate::Watch::vanished).
        const NVAL = sys::KEVENT_POLL_NVAL as u16;
        /// There is normal data to read.
        const RDNORM = sys::KEVENT_POLL_RDNORM as u16;
        /// There is priority data to read.
        const RDBAND = sys::KEVENT_POLL_RDBAND as u16;
        /// There is room for normal data.
        const WRNORM = sys::KEVENT_POLL_WRNORM as u16;
        /// There is room for priority data.
        const WRBAND = sys::KEVENT_POLL_WRBAND as u16;
        /// There is a message.
        const MSG = sys::KEVENT_POLL_MSG as u16;
        /// The other side writes no more.
        const RDHUP = sys::KEVENT_POLL_RDHUP as u16;
    }

    /// What happened to a socket: the class [`Source::Socket`].
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct SocketEvents: u16 {
        /// Bytes, or a datagram, can be read.
        const IN = sys::KEVENT_SOCKET_IN as u16;
        /// Bytes, or a datagram, can be written.
        const OUT = sys::KEVENT_SOCKET_OUT as u16;
        /// A connection can be accepted.
        const ACCEPT = sys::KEVENT_SOCKET_ACCEPT as u16;
        /// It is connected.
        const CONNECT = sys::KEVENT_SOCKET_CONNECT as u16;
        /// Nothing more will be received; reported also to those who ask for `IN`.
        const EOF = sys::KEVENT_SOCKET_EOF as u16;
        /// Both halves are closed; reported whether asked for or not.
        const CLOSED = sys::KEVENT_SOCKET_CLOSED as u16;
        /// There is an error, or something in the error queue; reported whether asked for or not.
        const ERROR = sys::KEVENT_SOCKET_ERROR as u16;
        /// There is out-of-band data.
        const OOB = sys::KEVENT_SOCKET_OOB as u16;
        /// All that was sent has arrived.
        const DRAINED = sys::KEVENT_SOCKET_DRAINED as u16;
    }

    /// What happened to a request of `io_submit(2)`: the class [`Source::Aio`].
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct AioEvents: u16 {
        /// It is complete.
        const DONE = sys::KEVENT_AIO_DONE as u16;
    }

    /// What happened to a signal: the class [`Source::Signal`].
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct SignalEvents: u16 {
        /// It was sent.
        const SENT = sys::KEVENT_SIGNAL_SENT as u16;
    }

    /// What happened to a timer: the class [`Source::Timer`].
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct TimerEvents: u16 {
        /// It has expired.
        const EXPIRED = sys::KEVENT_TIMER_EXPIRED as u16;
    }

    /// What happened to a process: the class [`Source::Process`].
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct ProcessEvents: u16 {
        /// It has ended and can be waited for.
        const EXIT = sys::KEVENT_PROCESS_EXIT as u16;
        /// It was waited for, and is gone.
        const REAPED = sys::KEVENT_PROCESS_REAPED as u16;
        /// It runs another program.
        const EXEC = sys::KEVENT_PROCESS_EXEC as u16;
    }

    /// What happened to a file or directory: the class [`Source::Inode`].
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct InodeEvents: u16 {
        /// What is in the file has changed.
        const MODIFY = sys::KEVENT_INODE_MODIFY as u16;
        /// It is longer than before; comes with `MODIFY`.
        const EXTEND = sys::KEVENT_INODE_EXTEND as u16;
        /// What `stat(2)` shows has changed: mode, owner, times, extended attributes.
        const ATTRIB = sys::KEVENT_INODE_ATTRIB as u16;
        /// The number of links has changed.
        const LINK = sys::KEVENT_INODE_LINK as u16;
        /// It was renamed itself.
        const RENAME = sys::KEVENT_INODE_RENAME as u16;
        /// Its last link was removed.
        const DELETE = sys::KEVENT_INODE_DELETE as u16;
        /// It was opened.
        const OPEN = sys::KEVENT_INODE_OPEN as u16;
        /// It was closed by a task that had it open for writing.
        const CLOSE_WRITE = sys::KEVENT_INODE_CLOSE_WRITE as u16;
        /// It was closed by a task that had not.
        const CLOSE_NOWRITE = sys::KEVENT_INODE_CLOSE_NOWRITE as u16;
        /// Something was made or linked in the directory.
        const CHILD_CREATED = sys::KEVENT_INODE_CHILD_CREATED as u16;
        /// Something was removed from the directory.
        const CHILD_DELETED = sys::KEVENT_INODE_CHILD_DELETED as u16;
        /// Something in the directory was renamed.
        const CHILD_MOVED_OUT = sys::KEVENT_INODE_CHILD_MOVED_OUT as u16;
        /// Something got a name in the directory by a rename.
        const CHILD_MOVED_IN = sys::KEVENT_INODE_CHILD_MOVED_IN as u16;
        /// It is shorter than before; comes with `MODIFY`.
        const TRUNCATE = sys::KEVENT_INODE_TRUNCATE as u16;
    }

    /// What happened to a word in memory: the class [`Source::Futex`].
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct FutexEvents: u16 {
        /// A wake-up reached the watch. It must be asked for.
        const WOKEN = sys::KEVENT_FUTEX_WOKEN as u16;
        /// The word was not what it was last seen to be.
        const CHANGED = sys::KEVENT_FUTEX_CHANGED as u16;
    }

    /// The program's own 16 bits: the class [`Source::User`].
    ///
    /// They have no names here: `UserEvents::from_bits_retain()`, or
    /// [`UserEvents::bit()`], makes them.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct UserEvents: u16 {
        const _ = !0;
    }

    /// What happened to a `sigevent`: the class [`Source::Sigev`].
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct SigevEvents: u16 {
        /// The timer has expired.
        const TIMER = sys::KEVENT_SIGEV_TIMER as u16;
        /// A message has arrived.
        const MESSAGE = sys::KEVENT_SIGEV_MESSAGE as u16;
    }
}

impl UserEvents {
    /// The set of bit `n`, 0 to 15; the empty set for another number.
    pub const fn bit(n: u32) -> UserEvents {
        UserEvents::from_bits_retain(if n < 16 { 1 << n } else { 0 })
    }
}

impl From<u16> for UserEvents {
    fn from(bits: u16) -> UserEvents {
        UserEvents::from_bits_retain(bits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(not(any(target_arch = "sparc64", target_arch = "mips", target_arch = "mips64")))]
    fn as_poll() {
        let poll = [
            (Readiness::IN, libc::POLLIN),
            (Readiness::PRI, libc::POLLPRI),
            (Readiness::OUT, libc::POLLOUT),
            (Readiness::ERR, libc::POLLERR),
            (Readiness::HUP, libc::POLLHUP),
            (Readiness::NVAL, libc::POLLNVAL),
            (Readiness::RDNORM, libc::POLLRDNORM),
            (Readiness::RDBAND, libc::POLLRDBAND),
            (Readiness::WRNORM, libc::POLLWRNORM),
            (Readiness::WRBAND, libc::POLLWRBAND),
            (Readiness::RDHUP, libc::POLLRDHUP),
        ];

        for (bit, number) in poll {
            assert_eq!(bit.bits(), number as u16);
        }
    }

    #[test]
    fn user_bits() {
        assert_eq!(UserEvents::bit(15).bits(), 0x8000);
        assert_eq!(UserEvents::bit(16), UserEvents::empty());
        assert_eq!(UserEvents::from(0x1234).to_raw(), 0x1234);
    }
}
