// SPDX-License-Identifier: MIT

//! The queue: a descriptor, its mapped ring, and the system calls on it.

use crate::event::{Event, Post, Sources};
use crate::ring::{Geometry, Ring};
use crate::sys;
use crate::wait::{Timeout, Wait};
use crate::watch::{Handle, Modify, Watch};
use core::mem::size_of;
use core::sync::atomic::{AtomicU64, Ordering};
use libc::{c_long, c_uint};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

/// The size of the ring if nothing else is asked for.
const DEFAULT_ENTRIES: u32 = 256;

/// The result of a system call: what it returned, or `errno`.
#[inline]
fn check(ret: c_long) -> io::Result<c_long> {
    if ret < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(ret)
    }
}

fn invalid() -> io::Error {
    io::Error::from_raw_os_error(libc::EINVAL)
}

/// What a new queue shall be like. Made by [`Queue::builder()`].
#[derive(Clone, Debug)]
#[must_use = "nothing is made before build()"]
pub struct Builder {
    entries: u32,
    sources: Sources,
    cloexec: bool,
}

impl Builder {
    /// How many events the ring holds, rounded up to a power of two; at least 2, at most 65536.
    /// 256 if not set.
    ///
    /// 0 makes a queue without a ring: every event is then copied out by a system call.
    pub fn entries(mut self, entries: u32) -> Builder {
        self.entries = entries;
        self
    }

    /// Seals the queue: it will never use other source classes than these, `EPERM` for the rest.
    /// All are allowed if not set.
    pub fn sources(mut self, sources: Sources) -> Builder {
        self.sources = sources;
        self
    }

    /// Whether `execve(2)` closes the descriptor. It does if not set.
    pub fn cloexec(mut self, cloexec: bool) -> Builder {
        self.cloexec = cloexec;
        self
    }

    /// Makes the queue and maps its ring.
    ///
    /// # Errors
    ///
    /// * `ENOSYS` ([`Unsupported`](io::ErrorKind::Unsupported)): the kernel has no kevent, or not
    ///   every class in [`sources()`](Builder::sources)
    /// * `EINVAL`: more than 65536 entries
    /// * `ENOMEM`: no memory, or the ring is larger than `RLIMIT_MEMLOCK` allows
    /// * `EMFILE`, `ENFILE`: too many open files
    pub fn build(&self) -> io::Result<Queue> {
        let mut args = sys::kevent_create {
            flags: if self.cloexec {
                sys::KEVENT_CREATE_CLOEXEC
            } else {
                0
            },
            entries: self.entries,
            sources: self.sources.bits(),
            ..Default::default()
        };
        // SAFETY: `args` is valid for reading and writing its own size.
        let fd = check(unsafe { sys::kevent_create(&mut args, size_of::<sys::kevent_create>()) })?;
        // SAFETY: the kernel just gave us this descriptor; nobody else owns it.
        let fd = unsafe { OwnedFd::from_raw_fd(fd as RawFd) };
        let geometry = Geometry {
            ring_entries: args.ring_entries,
            entries_offset: args.entries_offset,
            mmap_offset: args.mmap_offset,
            mmap_size: args.mmap_size,
        };
        let queue = Queue::assemble(fd, geometry, Some(Sources::from_bits_retain(args.features)))?;

        queue.calls.create.store(1, Ordering::Relaxed);
        Ok(queue)
    }
}

/// The system calls that were made on a queue, by this process and through this value.
///
/// Mapping and unmapping the ring and closing the descriptor are not among them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Calls {
    /// `kevent_create(2)`
    pub create: u64,
    /// `kevent_add(2)`, `kevent_modify(2)`, `kevent_remove(2)`
    pub change: u64,
    /// `kevent_post(2)`
    pub post: u64,
    /// `kevent_wait(2)`
    pub wait: u64,
    /// `kevent_get_events(2)`
    pub get_events: u64,
}

impl Calls {
    /// All of them.
    pub fn total(&self) -> u64 {
        self.create + self.change + self.post + self.wait + self.get_events
    }
}

/// [`Calls`] as they are counted: relaxed, for nothing depends on their order.
#[derive(Debug, Default)]
struct Counters {
    create: AtomicU64,
    change: AtomicU64,
    post: AtomicU64,
    wait: AtomicU64,
    get_events: AtomicU64,
}

#[inline]
fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// A queue of events.
///
/// Everything takes `&self` and may be called from any number of threads at once: share a queue by
/// reference or in an `Arc`. Dropping it unmaps the ring and closes the descriptor; the queue itself
/// lives until its last descriptor is closed.
///
/// The descriptor is itself pollable, so a queue fits into `poll(2)`, `epoll(7)`, io_uring or
/// another queue: it is readable while there are events.
#[derive(Debug)]
pub struct Queue {
    // Unmapped before the descriptor is closed, though the kernel does not mind the order.
    ring: Option<Ring>,
    fd: OwnedFd,
    geometry: Geometry,
    features: Option<Sources>,
    calls: Counters,
}

impl Queue {
    /// Makes a queue with a ring of 256 entries, for all sources, closed by `execve(2)`.
    ///
    /// # Errors
    ///
    /// As for [`Builder::build()`].
    pub fn new() -> io::Result<Queue> {
        Queue::builder().build()
    }

    /// Makes a queue to measure.
    pub fn builder() -> Builder {
        Builder {
            entries: DEFAULT_ENTRIES,
            sources: Sources::empty(),
            cloexec: true,
        }
    }

    /// The source classes that the running kernel has.
    ///
    /// # Errors
    ///
    /// [`Unsupported`](io::ErrorKind::Unsupported): it has no kevent at all.
    pub fn probe() -> io::Result<Sources> {
        let queue = Queue::builder().entries(0).build()?;

        Ok(queue.features.unwrap_or_default())
    }

    fn assemble(fd: OwnedFd, geometry: Geometry, features: Option<Sources>) -> io::Result<Queue> {
        let ring = match geometry.mmap_size {
            0 => None,
            _ => Some(Ring::map(fd.as_fd(), &geometry)?),
        };

        Ok(Queue {
            ring,
            fd,
            geometry,
            features,
            calls: Counters::default(),
        })
    }

    /// Uses the descriptor of a queue that was made elsewhere, without mapping its ring.
    ///
    /// This is what a process needs that only posts. Events can be taken too, by system call, and
    /// each comes out once, here or there.
    ///
    /// # Errors
    ///
    /// `EINVAL`: the descriptor is not a kevent queue. `ENOSYS`: the kernel has no kevent.
    pub fn from_fd(fd: OwnedFd) -> io::Result<Queue> {
        Queue::from_fd_mapped(fd, Geometry::default())
    }

    /// Uses the descriptor of a queue that was made elsewhere, and maps its ring.
    ///
    /// `geometry` is the maker's [`Queue::geometry()`]. Both processes may take events; if one dies
    /// while it does so, see [`ring`](crate::ring).
    ///
    /// # Errors
    ///
    /// `EINVAL`: the descriptor is not a kevent queue, or the geometry is not its own. `ENOSYS`: the
    /// kernel has no kevent.
    pub fn from_fd_mapped(fd: OwnedFd, geometry: Geometry) -> io::Result<Queue> {
        let plain = Queue::assemble(fd, Geometry::default(), None)?;

        // Fails if it is something else, whose memory could vanish under the mapping.
        plain.wait(&Wait::poll())?;
        Queue::assemble(plain.fd, geometry, None)
    }

    /// The shape of the mapping, for another process that shall [map](Queue::from_fd_mapped) it.
    pub fn geometry(&self) -> Geometry {
        self.geometry
    }

    /// The mapped ring, unless the queue was made without one.
    pub fn ring(&self) -> Option<&Ring> {
        self.ring.as_ref()
    }

    /// The source classes that the running kernel has; `None` for a queue that was not made here.
    pub fn features(&self) -> Option<Sources> {
        self.features
    }

    /// The system calls made so far through this value.
    pub fn calls(&self) -> Calls {
        Calls {
            create: self.calls.create.load(Ordering::Relaxed),
            change: self.calls.change.load(Ordering::Relaxed),
            post: self.calls.post.load(Ordering::Relaxed),
            wait: self.calls.wait.load(Ordering::Relaxed),
            get_events: self.calls.get_events.load(Ordering::Relaxed),
        }
    }

    /// Takes the next event from the ring, without a system call. `None` if there is nothing in it,
    /// or no ring.
    #[inline]
    pub fn take(&self) -> Option<Event> {
        self.ring.as_ref()?.take()
    }

    /// Takes events from the ring until there are no more, without a system call.
    pub fn drain(&self) -> impl Iterator<Item = Event> + '_ {
        self.ring.iter().flat_map(Ring::drain)
    }

    /// Takes the next event, sleeping until there is one.
    ///
    /// # Errors
    ///
    /// [`Interrupted`](io::ErrorKind::Interrupted): a signal handler ran.
    pub fn next(&self) -> io::Result<Event> {
        loop {
            if let Some(event) = self.next_with(&Wait::new())? {
                return Ok(event);
            }
        }
    }

    /// Takes the next event without sleeping; enters the kernel only if it holds events back.
    ///
    /// A loop that never sleeps calls this rather than [`take()`](Queue::take): it also gets what
    /// did not fit into the ring. It does not test level watches again, [`Wait::poll()`] does.
    ///
    /// # Errors
    ///
    /// None that a correct program sees.
    pub fn try_next(&self) -> io::Result<Option<Event>> {
        let Some(ring) = &self.ring else {
            return self.get_one(&Wait::poll());
        };

        match ring.take() {
            None if ring.has_backlog() => {
                self.wait(&Wait::poll())?;
                Ok(ring.take())
            }
            event => Ok(event),
        }
    }

    /// Takes the next event: from the ring if there is one, else after waiting as `wait` says.
    /// `None` if the time is over.
    ///
    /// With [`Wait::min()`] above 1 it sleeps until there are so many, and returns the first of
    /// them; the others are then there to be taken without sleeping. [`Wait::seen()`] is ignored.
    ///
    /// # Errors
    ///
    /// * [`Interrupted`](io::ErrorKind::Interrupted): a signal handler ran
    /// * `EINVAL`: `min` is more than the ring has entries; or the queue has no ring, and `wait` has
    ///   what [`get_events()`](Queue::get_events) cannot do
    pub fn next_with(&self, wait: &Wait) -> io::Result<Option<Event>> {
        let Some(ring) = &self.ring else {
            return self.get_one(wait);
        };
        let mut wait = *wait;
        let mut slept = false;

        loop {
            let seen = match ring.take_or_seen() {
                Ok(event) => return Ok(Some(event)),
                Err(seen) => seen,
            };

            // Another consumer may have taken what woke us up: the same deadline holds next time.
            if !slept {
                wait.timeout = wait.timeout.fixed();
                slept = true;
            }
            if self.wait(&wait.seen(seen))? == 0 {
                return Ok(ring.take());
            }
        }
    }

    /// The next event of a queue without a ring.
    fn get_one(&self, wait: &Wait) -> io::Result<Option<Event>> {
        let mut event = [Event::default()];
        let got = self.get_events(&mut event, &wait.min(wait.min_nr.min(1)))?;

        Ok((got > 0).then_some(event[0]))
    }

    /// Waits as `wait` says, without taking anything. Returns how many events are ready, 0 if the
    /// time is over and there are none.
    ///
    /// It counts from [`Wait::seen()`], or if that is not set from the cursor as it is now. Entries
    /// whose watch was removed meanwhile count too, so there may be fewer to take; and where several
    /// threads take events, those that are ready may be gone.
    ///
    /// Entering the kernel also moves its backlog into free slots and tests level watches again.
    ///
    /// # Errors
    ///
    /// * [`Interrupted`](io::ErrorKind::Interrupted): a signal handler ran, and fewer than `min`
    ///   events were ready
    /// * `EINVAL`: `min` is more than the ring has entries
    #[inline]
    pub fn wait(&self, wait: &Wait) -> io::Result<u32> {
        let timespec = wait.timeout.timespec();
        let seen = wait
            .seen
            .or_else(|| self.ring.as_ref().map(Ring::cursor))
            .unwrap_or(0);
        let mut args = sys::kevent_wait {
            seen,
            min_nr: wait.min_nr,
            timeout: timespec.as_ref().map_or(0, address),
            min_wait: u64::try_from(wait.min_wait.as_nanos()).unwrap_or(u64::MAX),
            clockid: libc::CLOCK_MONOTONIC as u32,
            ..Default::default()
        };

        if let Timeout::At(clock, _) = wait.timeout {
            args.flags = sys::KEVENT_WAIT_ABSTIME;
            args.clockid = clock.id() as u32;
        }
        if let Some(mask) = &wait.sigmask {
            args.sigmask = address(mask);
            args.sigsetsize = size_of_val(mask) as u32;
        }

        count(&self.calls.wait);
        // SAFETY: `args` is valid for its own size; the time-out and the mask it points to live
        // until the call returns.
        let ret = unsafe {
            sys::kevent_wait(
                self.fd.as_raw_fd(),
                &mut args,
                size_of::<sys::kevent_wait>(),
            )
        };
        Ok(check(ret)? as u32)
    }

    /// Copies events out by system call: at least `wait`'s [`min()`](Wait::min) unless the time is
    /// over, at most as many as `events` has room for. Returns how many.
    ///
    /// This works with and without a ring; an event comes out once, whichever way it leaves.
    ///
    /// # Errors
    ///
    /// * [`Interrupted`](io::ErrorKind::Interrupted): a signal handler ran, and nothing was copied
    /// * `EINVAL`: no room at all, `min` is larger than the room, or `wait` has a deadline on
    ///   another clock than [`Monotonic`](crate::Clock::Monotonic), a window, or a signal mask
    #[inline]
    pub fn get_events(&self, events: &mut [Event], wait: &Wait) -> io::Result<usize> {
        let timespec = wait.timeout.timespec();
        let flags = match wait.timeout {
            Timeout::At(crate::Clock::Monotonic, _) => sys::KEVENT_WAIT_ABSTIME,
            Timeout::At(..) => return Err(invalid()),
            _ => 0,
        };
        let most = i32::MAX as usize / size_of::<Event>();

        if !wait.min_wait.is_zero() || wait.sigmask.is_some() {
            return Err(invalid());
        }

        count(&self.calls.get_events);
        // SAFETY: `events` is valid for writing that many of the kernel's structures, for `Event` is
        // transparent, and any bits are a valid one; the time-out is null or valid.
        let ret = unsafe {
            sys::kevent_get_events(
                self.fd.as_raw_fd(),
                wait.min_nr,
                events.len().min(most) as c_uint,
                timespec.as_ref().map_or(core::ptr::null(), |ts| ts),
                events.as_mut_ptr().cast(),
                flags,
            )
        };
        Ok(check(ret)? as usize)
    }

    /// Posts events, in this order. Returns how many; an error only if not even the first one went
    /// in.
    ///
    /// The events wake up whoever waits, in this process or in another one.
    ///
    /// # Errors
    ///
    /// * [`WouldBlock`](io::ErrorKind::WouldBlock) (`EAGAIN`): the ring is full, or events already
    ///   wait for free slots. Nothing is lost: try again, or use
    ///   [`post_deferred()`](Queue::post_deferred)
    /// * `EINVAL`: `events` is empty
    /// * `EPERM`: the queue is sealed without [`Sources::USER`]
    pub fn post(&self, events: &[Post]) -> io::Result<usize> {
        self.post_flags(events, 0)
    }

    /// Posts events, in this order; those for which the ring has no free slot wait in the kernel, in
    /// memory that is charged to the poster. Returns how many; an error only if not even the first
    /// one went in.
    ///
    /// # Errors
    ///
    /// * [`WouldBlock`](io::ErrorKind::WouldBlock) (`EAGAIN`): 65536 posted events wait already
    /// * `ENOMEM`: no memory
    /// * others as for [`post()`](Queue::post)
    pub fn post_deferred(&self, events: &[Post]) -> io::Result<usize> {
        self.post_flags(events, sys::KEVENT_POST_DEFER)
    }

    fn post_flags(&self, events: &[Post], flags: u32) -> io::Result<usize> {
        count(&self.calls.post);
        // SAFETY: `events` is valid for reading that many of the kernel's structures, for `Post` is
        // transparent.
        let ret = unsafe {
            sys::kevent_post(
                self.fd.as_raw_fd(),
                events.as_ptr().cast(),
                size_of::<sys::kevent_event>(),
                nr(events),
                flags,
            )
        };
        Ok(check(ret)? as usize)
    }

    /// Registers watches. Returns how many; an error only if the first one fails.
    ///
    /// Each record then has its [`result()`](Watch::result) and, if that is good, its
    /// [`handle()`](Watch::handle).
    ///
    /// # Errors
    ///
    /// * `ENOSYS` ([`Unsupported`](io::ErrorKind::Unsupported)): the kernel does not have the class
    /// * `EPERM`: the queue is sealed without the class
    /// * others per source
    pub fn add(&self, watches: &mut [Watch]) -> io::Result<usize> {
        count(&self.calls.change);
        // SAFETY: `watches` is valid for reading and writing that many of the kernel's structures,
        // for `Watch` is transparent, and any bits are a valid one.
        let ret = unsafe {
            sys::kevent_add(
                self.fd.as_raw_fd(),
                watches.as_mut_ptr().cast(),
                size_of::<sys::kevent_watch>(),
                nr(watches),
                0,
            )
        };
        Ok(check(ret)? as usize)
    }

    /// Registers one watch and gives its handle.
    ///
    /// # Errors
    ///
    /// As for [`add()`](Queue::add).
    pub fn add_one(&self, watch: Watch) -> io::Result<Handle> {
        let mut watches = [watch];

        self.add(&mut watches)?;
        watches[0].result()?;
        Ok(watches[0].handle())
    }

    /// Changes what `what` says of the watches that these records [name](Watch::of). Returns how
    /// many; an error only if the first one fails.
    ///
    /// # Errors
    ///
    /// * `ENOENT`: there is no such watch, or it is gone
    /// * `EINVAL`: `what` is empty or contradicts itself, or the record does
    pub fn modify(&self, watches: &mut [Watch], what: Modify) -> io::Result<usize> {
        count(&self.calls.change);
        // SAFETY: as for add().
        let ret = unsafe {
            sys::kevent_modify(
                self.fd.as_raw_fd(),
                watches.as_mut_ptr().cast(),
                size_of::<sys::kevent_watch>(),
                nr(watches),
                what.bits(),
            )
        };
        Ok(check(ret)? as usize)
    }

    /// Removes watches. Returns how many; an error only if the first one fails.
    ///
    /// After it returns, no event of theirs is left in the ring and none will come.
    ///
    /// # Errors
    ///
    /// `ENOENT`: there is no such watch, or it is gone.
    pub fn remove(&self, handles: &[Handle]) -> io::Result<usize> {
        count(&self.calls.change);
        // SAFETY: `handles` is valid for reading that many handles, for `Handle` is transparent.
        let ret = unsafe {
            sys::kevent_remove(self.fd.as_raw_fd(), handles.as_ptr().cast(), nr(handles), 0)
        };
        Ok(check(ret)? as usize)
    }
}

/// How many, for the kernel: no more than it takes at once, the caller learns from the result.
fn nr<T>(records: &[T]) -> c_uint {
    records.len().min(i32::MAX as usize) as c_uint
}

#[inline]
fn address<T>(value: &T) -> u64 {
    core::ptr::from_ref(value).addr() as u64
}

impl AsFd for Queue {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl AsRawFd for Queue {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

impl From<Queue> for OwnedFd {
    /// Unmaps the ring and leaves the descriptor.
    fn from(queue: Queue) -> OwnedFd {
        queue.fd
    }
}
