// SPDX-License-Identifier: MIT

use crate::sys;

bitflags::bitflags! {
    /// For what a file is ready: the bits of `poll(2)`.
    ///
    /// It is the interest of [`Watch::poll()`](crate::Watch::poll), and what
    /// [`Event::readiness()`](crate::Event::readiness) tells.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct Readiness: u16 {
        /// There is something to read.
        const IN = sys::KEVENT_POLL_IN as u16;
        /// There is something urgent, such as out-of-band data.
        const PRI = sys::KEVENT_POLL_PRI as u16;
        /// There is room to write.
        const OUT = sys::KEVENT_POLL_OUT as u16;
        /// An error; told whether asked for or not.
        const ERR = sys::KEVENT_POLL_ERR as u16;
        /// Both directions are shut; told whether asked for or not.
        const HUP = sys::KEVENT_POLL_HUP as u16;
        /// The descriptor was closed; never asked for, and only told by a watch that is
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
}
