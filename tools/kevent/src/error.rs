// SPDX-License-Identifier: MIT

/// What a call on a queue failed with.
///
/// Each variant stands for one error number of the kernel's; [`Error::raw_os_error()`] gives it. It
/// turns into a [`std::io::Error`] by `?`.
///
/// ```
/// # use kevent::Error;
/// assert_eq!(Error::from_raw_os_error(libc::ENOSPC), Error::Limit);
/// # #[cfg(feature = "std")]
/// assert_eq!(std::io::Error::from(Error::Full).kind(), std::io::ErrorKind::WouldBlock);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// `ENOSYS`: the kernel has no kevent, or not the source class.
    #[error("this kernel has no kevent, or not this source class")]
    Unsupported,
    /// `EOPNOTSUPP`: the source class has no watches.
    #[error("this source class has no watches")]
    NoWatches,
    /// `EACCES`: the queue belongs to another address space, which has not made it
    /// [shared](crate::Builder::shared), so this process may only post to it; or the object may not
    /// be watched.
    #[error("the queue belongs to another address space, or the object may not be watched")]
    NotAllowed,
    /// `EPERM`: the queue is sealed without the source class; or the file cannot be polled.
    #[error("the queue is sealed without this source class, or the file cannot be polled")]
    Sealed,
    /// `EINVAL`: an argument that the kernel does not take; or the descriptor is not a queue.
    #[error("invalid argument, or the descriptor is not a queue")]
    Invalid,
    /// `EBADF`: a descriptor that is not open, or not in the way that is needed.
    #[error("bad file descriptor")]
    BadDescriptor,
    /// `EINTR`: a signal was handled, the process was stopped and continued, or the kernel had
    /// something for the thread to do. Nothing was consumed: wait again.
    #[error("interrupted")]
    Interrupted,
    /// `EAGAIN`: the ring is full; or as many events wait in the queue as are allowed.
    #[error("the ring is full, or too many events wait")]
    Full,
    /// `ENOSPC`: a limit on the number of watches.
    #[error("too many watches")]
    Limit,
    /// `ENOENT`: there is no such watch, or it is gone.
    #[error("no such watch")]
    NoSuchWatch,
    /// `EEXIST`: several watches fit, where one was to be named.
    #[error("several watches fit")]
    Ambiguous,
    /// `EBUSY`: another thread is adding a watch of that class and descriptor.
    #[error("another thread is adding that watch")]
    Busy,
    /// `ELOOP`: a queue that would watch itself, a chain of queues that is too long, or an epoll
    /// instance.
    #[error("a loop of queues, or a chain of them that is too long")]
    Loop,
    /// `ECANCELED`, of a record only: it was not tried, because one before it failed.
    #[error("not tried, because a record before it failed")]
    NotTried,
    /// `EPIPE`: the queue is dead, because the program that made it has ended.
    #[error("the queue's owner is gone")]
    OwnerGone,
    /// `ENOMEM`: no memory; or the ring is larger than `RLIMIT_MEMLOCK` allows.
    #[error("out of memory")]
    NoMemory,
    /// `ENOTSOCK`: the descriptor is not one of a socket.
    #[error("not a socket")]
    NotSocket,
    /// Another error number.
    #[error("system error {0}")]
    Other(i32),
}

impl Error {
    /// The error that stands for this number.
    pub const fn from_raw_os_error(errno: i32) -> Error {
        match errno {
            libc::ENOSYS => Error::Unsupported,
            libc::EOPNOTSUPP => Error::NoWatches,
            libc::EACCES => Error::NotAllowed,
            libc::EPERM => Error::Sealed,
            libc::EINVAL => Error::Invalid,
            libc::EBADF => Error::BadDescriptor,
            libc::EINTR => Error::Interrupted,
            libc::EAGAIN => Error::Full,
            libc::ENOSPC => Error::Limit,
            libc::ENOENT => Error::NoSuchWatch,
            libc::EEXIST => Error::Ambiguous,
            libc::EBUSY => Error::Busy,
            libc::ELOOP => Error::Loop,
            libc::ECANCELED => Error::NotTried,
            libc::EPIPE => Error::OwnerGone,
            libc::ENOMEM => Error::NoMemory,
            libc::ENOTSOCK => Error::NotSocket,
            other => Error::Other(other),
        }
    }

    /// The error number.
    pub const fn raw_os_error(self) -> i32 {
        match self {
            Error::Unsupported => libc::ENOSYS,
            Error::NoWatches => libc::EOPNOTSUPP,
            Error::NotAllowed => libc::EACCES,
            Error::Sealed => libc::EPERM,
            Error::Invalid => libc::EINVAL,
            Error::BadDescriptor => libc::EBADF,
            Error::Interrupted => libc::EINTR,
            Error::Full => libc::EAGAIN,
            Error::Limit => libc::ENOSPC,
            Error::NoSuchWatch => libc::ENOENT,
            Error::Ambiguous => libc::EEXIST,
            Error::Busy => libc::EBUSY,
            Error::Loop => libc::ELOOP,
            Error::NotTried => libc::ECANCELED,
            Error::OwnerGone => libc::EPIPE,
            Error::NoMemory => libc::ENOMEM,
            Error::NotSocket => libc::ENOTSOCK,
            Error::Other(errno) => errno,
        }
    }

    /// The error in `errno`.
    #[cfg(all(feature = "std", not(all(loom, test))))]
    pub(crate) fn last() -> Error {
        Error::from_raw_os_error(std::io::Error::last_os_error().raw_os_error().unwrap_or(0))
    }
}

#[cfg(feature = "std")]
impl From<Error> for std::io::Error {
    fn from(error: Error) -> std::io::Error {
        std::io::Error::from_raw_os_error(error.raw_os_error())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_and_back() {
        for errno in 1..200 {
            assert_eq!(Error::from_raw_os_error(errno).raw_os_error(), errno);
        }
    }
}
