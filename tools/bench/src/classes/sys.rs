// SPDX-License-Identifier: GPL-2.0-only

//! System calls that rustix does not have.

use rustix::process::Pid;
use std::io::{Error, Result};
use std::mem::zeroed;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::ptr::{from_mut, from_ref, null, null_mut};
use std::time::Duration;

/// The real-time signal that everything here uses.
pub fn signal() -> libc::c_int {
    libc::SIGRTMIN() + 1
}

fn check(ret: libc::c_int) -> Result<libc::c_int> {
    if ret < 0 {
        Err(Error::last_os_error())
    } else {
        Ok(ret)
    }
}

/// A set of [`signal()`] alone.
fn only() -> libc::sigset_t {
    // SAFETY: sigemptyset() initialises it, and both only write to it.
    unsafe {
        let mut set = zeroed();

        libc::sigemptyset(&mut set);
        libc::sigaddset(&mut set, signal());
        set
    }
}

/// Keeps the signal from being delivered by interrupting the program.
pub fn block() -> Result<()> {
    mask(libc::SIG_BLOCK)
}

fn mask(how: libc::c_int) -> Result<()> {
    // SAFETY: reads a set, and changes the mask of this thread.
    check(unsafe { libc::pthread_sigmask(how, &only(), null_mut()) }).map(drop)
}

/// While this is there, the signal is ignored.
pub struct Ignore;

impl Ignore {
    pub fn new() -> Result<Ignore> {
        // SAFETY: no handler is installed.
        unsafe { libc::signal(signal(), libc::SIG_IGN) };
        // What is blocked is kept, ignored or not.
        mask(libc::SIG_UNBLOCK)?;
        Ok(Ignore)
    }
}

impl Drop for Ignore {
    fn drop(&mut self) {
        let _ = block();
        // SAFETY: no handler is installed.
        unsafe { libc::signal(signal(), libc::SIG_DFL) };
    }
}

/// Sends the signal to this process.
#[inline]
pub fn send(value: usize) -> Result<()> {
    let value = libc::sigval {
        sival_ptr: std::ptr::without_provenance_mut(value),
    };

    // SAFETY: reads and writes no memory.
    check(unsafe { libc::sigqueue(libc::getpid(), signal(), value) }).map(drop)
}

/// A descriptor from which the signal can be read.
pub fn signalfd() -> Result<OwnedFd> {
    // SAFETY: reads a set; the descriptor is new.
    unsafe {
        let fd = check(libc::signalfd(
            -1,
            &only(),
            libc::SFD_CLOEXEC | libc::SFD_NONBLOCK,
        ))?;

        Ok(OwnedFd::from_raw_fd(fd))
    }
}

/// Room for what is read from a signalfd.
pub type SignalInfo = [u8; size_of::<libc::signalfd_siginfo>()];

/// A child that does this, and then exits.
pub fn child(work: impl FnOnce() -> Option<()>) -> Result<Pid> {
    // SAFETY: this program has one thread, so the child may do what it wants.
    match check(unsafe { libc::fork() })? {
        0 => {
            let done = work();
            // SAFETY: touches no memory.
            unsafe { libc::_exit(i32::from(done.is_none())) }
        }
        child => Pid::from_raw(child).ok_or_else(|| Error::other("no child")),
    }
}

/// A child that does nothing until it is killed.
pub fn sleeping_child() -> Result<Pid> {
    child(|| {
        loop {
            // SAFETY: touches no memory.
            unsafe { libc::pause() };
        }
    })
}

/// What a POSIX timer does when it expires.
pub enum Notify {
    Nothing,
    Signal(usize),
    Other(libc::sigevent),
}

/// A POSIX timer, by the kernel's number.
pub struct PosixTimer(libc::c_int);

impl PosixTimer {
    pub fn new(notify: Notify) -> Result<PosixTimer> {
        let mut id: libc::c_int = 0;
        // SAFETY: it holds integers and pointers, for which zero is a value.
        let mut event: libc::sigevent = unsafe { zeroed() };

        match notify {
            Notify::Nothing => event.sigev_notify = libc::SIGEV_NONE,
            Notify::Signal(value) => {
                event.sigev_notify = libc::SIGEV_SIGNAL;
                event.sigev_signo = signal();
                event.sigev_value.sival_ptr = std::ptr::without_provenance_mut(value);
            }
            Notify::Other(other) => event = other,
        }
        // The C library would look into the sigevent, and does not know all there is.
        // SAFETY: reads the sigevent, writes an integer.
        let ret = unsafe {
            libc::syscall(
                libc::SYS_timer_create,
                libc::CLOCK_MONOTONIC,
                from_ref(&event),
                from_mut(&mut id),
            )
        };
        check(ret as libc::c_int)?;
        Ok(PosixTimer(id))
    }

    /// Has it expire again and again.
    pub fn every(&self, interval: Duration) -> Result<()> {
        let times = repeated(interval);

        // SAFETY: reads the times.
        let ret = unsafe {
            libc::syscall(
                libc::SYS_timer_settime,
                self.0,
                0,
                from_ref(&times),
                null_mut::<libc::itimerspec>(),
            )
        };
        check(ret as libc::c_int).map(drop)
    }

    /// Has it expire at that time of `CLOCK_MONOTONIC`.
    #[inline]
    pub fn expire_at(&self, at: Duration) -> Result<()> {
        let at = once(at);

        // SAFETY: reads the time.
        let ret = unsafe {
            libc::syscall(
                libc::SYS_timer_settime,
                self.0,
                libc::TIMER_ABSTIME,
                from_ref(&at),
                null_mut::<libc::itimerspec>(),
            )
        };
        check(ret as libc::c_int).map(drop)
    }
}

impl Drop for PosixTimer {
    fn drop(&mut self) {
        // SAFETY: it is this timer's number.
        unsafe { libc::syscall(libc::SYS_timer_delete, self.0) };
    }
}

/// Once, at that time.
fn once(at: Duration) -> libc::itimerspec {
    libc::itimerspec {
        it_interval: timespec(Duration::ZERO),
        it_value: timespec(at),
    }
}

/// Again and again, from now on.
fn repeated(interval: Duration) -> libc::itimerspec {
    libc::itimerspec {
        it_interval: timespec(interval),
        it_value: timespec(interval),
    }
}

fn timespec(time: Duration) -> libc::timespec {
    libc::timespec {
        tv_sec: time.as_secs() as libc::time_t,
        tv_nsec: time.subsec_nanos().into(),
    }
}

pub fn timerfd() -> Result<OwnedFd> {
    // SAFETY: the descriptor is new.
    unsafe {
        let fd = check(libc::timerfd_create(
            libc::CLOCK_MONOTONIC,
            libc::TFD_CLOEXEC | libc::TFD_NONBLOCK,
        ))?;

        Ok(OwnedFd::from_raw_fd(fd))
    }
}

/// Has a timerfd expire again and again.
pub fn every(timer: &OwnedFd, interval: Duration) -> Result<()> {
    let times = repeated(interval);

    // SAFETY: reads the times.
    check(unsafe { libc::timerfd_settime(timer.as_raw_fd(), 0, &times, null_mut()) }).map(drop)
}

/// Has a timerfd expire at that time of `CLOCK_MONOTONIC`.
#[inline]
pub fn expire_at(fd: RawFd, at: Duration) -> Result<()> {
    // SAFETY: reads the time.
    check(unsafe { libc::timerfd_settime(fd, libc::TFD_TIMER_ABSTIME, &once(at), null_mut()) })
        .map(drop)
}

/// A context of `io_submit(2)`.
pub struct AioContext(usize);

impl AioContext {
    pub fn new(requests: usize) -> Result<AioContext> {
        let mut context = 0usize;

        // SAFETY: writes the context.
        let ret = unsafe {
            libc::syscall(
                libc::SYS_io_setup,
                requests as libc::c_long,
                from_mut(&mut context),
            )
        };
        check(ret as libc::c_int)?;
        Ok(AioContext(context))
    }

    /// Submits all of them.
    #[inline]
    pub fn submit(&self, requests: &mut [*mut libc::iocb]) -> Result<()> {
        // SAFETY: the caller's requests stay where they are, as does what they read into: see
        // `Requests`, the only user.
        let ret = unsafe {
            libc::syscall(
                libc::SYS_io_submit,
                self.0,
                requests.len() as libc::c_long,
                requests.as_mut_ptr(),
            )
        };

        match check(ret as libc::c_int)? as usize {
            all if all == requests.len() => Ok(()),
            some => Err(Error::other(format!("{some} of {}", requests.len()))),
        }
    }

    /// Takes what is complete, at least one.
    #[inline]
    pub fn events(&self, events: &mut [AioEvent]) -> Result<usize> {
        // SAFETY: writes at most that many events.
        let ret = unsafe {
            libc::syscall(
                libc::SYS_io_getevents,
                self.0,
                1 as libc::c_long,
                events.len() as libc::c_long,
                events.as_mut_ptr(),
                null::<libc::timespec>(),
            )
        };

        Ok(check(ret as libc::c_int)? as usize)
    }

    /// Has all completions forgotten without a call: the context is the address of a ring, the third
    /// and fourth word of which are its head and its tail.
    #[inline]
    pub fn forget(&self) {
        // SAFETY: the kernel has mapped the ring there; the head is the program's to write.
        unsafe {
            let ring = std::ptr::with_exposed_provenance_mut::<u32>(self.0);

            ring.add(2).write_volatile(ring.add(3).read_volatile());
        }
    }
}

impl Drop for AioContext {
    fn drop(&mut self) {
        // SAFETY: it is this context, in which nothing is under way.
        unsafe { libc::syscall(libc::SYS_io_destroy, self.0) };
    }
}

/// `struct io_event`
#[derive(Clone, Copy, Default)]
#[repr(C)]
pub struct AioEvent {
    pub data: u64,
    pub request: u64,
    pub result: i64,
    pub result2: i64,
}
