// SPDX-License-Identifier: MIT

//! The queue: a descriptor, its mapped ring, and the system calls on it.

use crate::bits::UserEvents;
use crate::error::Error;
use crate::event::{Event, Features, Post, Sources};
use crate::ring::{Geometry, Rest, Ring, View};
use crate::sys;
use crate::wait::{Timeout, Wait};
use crate::watch::{Handle, Modify, Watch};
use core::mem::size_of;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use libc::{c_long, c_uint};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

/// The size of the ring if nothing else is asked for.
const DEFAULT_ENTRIES: u32 = 256;

/// The result of a system call: what it returned, or `errno`.
#[inline]
fn check(ret: c_long) -> Result<c_long, Error> {
    if ret < 0 { Err(Error::last()) } else { Ok(ret) }
}

/// What a new queue shall be like. Made by [`Queue::builder()`].
#[derive(Clone, Debug)]
#[must_use = "nothing is made before build()"]
pub struct Builder {
    entries: u32,
    sources: Sources,
    shared: bool,
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

    /// Whether other address spaces may use the queue.
    ///
    /// If not set, a queue belongs to the address space that made it: a process that has been handed
    /// the descriptor may poll it and [post](Queue::post), all else is
    /// [`NotAllowed`](Error::NotAllowed); and when the last task leaves that address space, by exit or
    /// exec, the queue is dead. A shared queue's ring is still for its maker alone: others use
    /// [`Queue::get_events()`], and every process that has the descriptor can remove any watch.
    pub fn shared(mut self, shared: bool) -> Builder {
        self.shared = shared;
        self
    }

    /// Makes the queue and maps its ring.
    ///
    /// # Errors
    ///
    /// * [`Unsupported`](Error::Unsupported): the kernel has no kevent, or another edition of it,
    ///   or not every class in [`sources()`](Builder::sources)
    /// * [`Invalid`](Error::Invalid): more than 65536 entries
    /// * [`NoMemory`](Error::NoMemory): no memory, or the ring is larger than `RLIMIT_MEMLOCK` allows
    /// * [`Other`](Error::Other) with `EMFILE` or `ENFILE`: too many open files
    pub fn build(&self) -> Result<Queue, Error> {
        let mut args = sys::kevent_create {
            flags: if self.shared {
                sys::KEVENT_CREATE_SHARED
            } else {
                0
            },
            entries: self.entries,
            // 0 stands for the size that this crate knows.
            event_size: 0,
            ..Default::default()
        };
        // SAFETY: `args` is valid for reading and writing its own size.
        let fd = check(unsafe {
            sys::kevent_create(
                &mut args,
                size_of::<sys::kevent_create>(),
                self.sources.bits(),
            )
        })?;
        // SAFETY: the kernel just gave us this descriptor; nothing else owns it.
        let fd = unsafe { OwnedFd::from_raw_fd(fd as RawFd) };
        // The first edition of the interface has the length elsewhere.
        if self.entries != 0 && args.mmap_size == 0 {
            return Err(Error::Unsupported);
        }
        let geometry = Geometry {
            ring_entries: args.ring_entries,
            entries_offset: args.entries_offset,
            mmap_size: args.mmap_size,
        };
        let queue = Queue::assemble(
            fd,
            geometry,
            Some(Features::from_bits_retain(args.features)),
        )?;

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
/// lives until its last descriptor is closed. The descriptor is close-on-exec, always.
///
/// The descriptor is itself pollable, so a queue fits into `poll(2)`, `epoll(7)`, io_uring or
/// another queue: it is readable while there are events.
///
/// # fork
///
/// A child of `fork(2)` inherits the value and the descriptor, but neither the ring nor, unless the
/// queue is [shared](Builder::shared), the right to more than to [post](Queue::post): everything
/// else is [`NotAllowed`](Error::NotAllowed) there. Dropping it in the child closes the child's
/// descriptor and does nothing to the parent's.
#[derive(Debug)]
pub struct Queue {
    // Unmapped before the descriptor is closed, though the kernel does not mind the order.
    ring: Option<Ring>,
    fd: OwnedFd,
    geometry: Geometry,
    features: Option<Features>,
    calls: Counters,
    /// The cursor when this value last entered the kernel to wait.
    waited: AtomicU32,
}

impl Queue {
    /// Makes a queue with a ring of 256 entries, for all sources.
    ///
    /// # Errors
    ///
    /// As for [`Builder::build()`].
    pub fn new() -> Result<Queue, Error> {
        Queue::builder().build()
    }

    /// Makes a queue to measure.
    pub fn builder() -> Builder {
        Builder {
            entries: DEFAULT_ENTRIES,
            sources: Sources::empty(),
            shared: false,
        }
    }

    /// The source classes that the running kernel has.
    ///
    /// # Errors
    ///
    /// As for [`probe_features()`](Queue::probe_features).
    pub fn probe() -> Result<Sources, Error> {
        Queue::probe_features().map(Features::sources)
    }

    /// What the running kernel has.
    ///
    /// # Errors
    ///
    /// [`Unsupported`](Error::Unsupported): it has no kevent at all.
    pub fn probe_features() -> Result<Features, Error> {
        let queue = Queue::builder().entries(0).build()?;

        Ok(queue.features.unwrap_or_default())
    }

    fn assemble(
        fd: OwnedFd,
        geometry: Geometry,
        features: Option<Features>,
    ) -> Result<Queue, Error> {
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
            waited: AtomicU32::new(0),
        })
    }

    /// Uses the descriptor of a queue that was made elsewhere, without mapping its ring.
    ///
    /// This is what a process needs that only posts. A process that may consume, which is the one that
    /// made the queue, or everybody if it is [shared](Builder::shared), gets events by system call.
    ///
    /// # Errors
    ///
    /// [`Invalid`](Error::Invalid): the descriptor is not a queue.
    /// [`Unsupported`](Error::Unsupported): the kernel has no kevent.
    pub fn from_fd(fd: OwnedFd) -> Result<Queue, Error> {
        let queue = Queue::assemble(fd, Geometry::default(), None)?;

        match queue.wait(&Wait::poll()) {
            Ok(_) | Err(Error::NotAllowed | Error::OwnerGone) => Ok(queue),
            Err(error) => Err(error),
        }
    }

    /// Uses the descriptor of a queue that this process has made elsewhere, and maps its ring again.
    ///
    /// `geometry` is the maker's [`Queue::geometry()`].
    ///
    /// # Errors
    ///
    /// [`Invalid`](Error::Invalid): the descriptor is not a queue, or the geometry is not its own.
    /// [`NotAllowed`](Error::NotAllowed): another process has made it.
    /// [`Unsupported`](Error::Unsupported): the kernel has no kevent.
    pub fn from_fd_mapped(fd: OwnedFd, geometry: Geometry) -> Result<Queue, Error> {
        let plain = Queue::assemble(fd, Geometry::default(), None)?;

        // Fails if it is something else, whose memory could vanish under the mapping.
        plain.wait(&Wait::poll())?;
        let queue = Queue::assemble(plain.fd, geometry, None)?;

        match &queue.ring {
            Some(ring) if !ring.is_of(&geometry) => Err(Error::Invalid),
            _ => Ok(queue),
        }
    }

    /// The shape of the mapping; all 0 without a ring.
    pub fn geometry(&self) -> Geometry {
        self.geometry
    }

    /// The mapped ring, unless the queue was made without one.
    pub fn ring(&self) -> Option<&Ring> {
        self.ring.as_ref()
    }

    /// What the running kernel has; `None` for a queue that was not made by this value.
    pub fn features(&self) -> Option<Features> {
        self.features
    }

    /// The source classes that the running kernel has; `None` for a queue that was not made by this
    /// value.
    pub fn sources(&self) -> Option<Sources> {
        self.features.map(Features::sources)
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

    /// Takes all events that there are, without sleeping: without a system call while there are any
    /// in the ring, and with one when the kernel holds some back, or when it is time to have it poll
    /// the levels.
    ///
    /// This is the loop of a program that is never idle. A level that goes on holding comes out once
    /// for each time that the kernel was entered, so a program that does not read what is reported to it
    /// goes on for ever: use [`Iterator::take()`] for a limit.
    ///
    /// An error ends it, and the next call on the queue says which: the only ones that a correct
    /// program sees are those of a forked child.
    pub fn ready(&self) -> impl Iterator<Item = Event> + '_ {
        core::iter::from_fn(move || self.try_next().ok().flatten())
    }

    /// The ring, where it is mapped.
    #[inline]
    fn view(&self) -> Option<View<'_>> {
        self.ring.as_ref().and_then(Ring::view)
    }

    /// Whether the kernel has to be entered before more is taken, though there may be events: it
    /// asks for it, or so many events were consumed that levels may starve.
    #[inline]
    fn is_due(&self, view: &View<'_>) -> bool {
        let consumed = view
            .cursor()
            .wrapping_sub(self.waited.load(Ordering::Relaxed));

        view.flags() & sys::KEVENT_RING_RECHECK != 0 || consumed >= view.entries()
    }

    /// Takes the next event, sleeping until there is one.
    ///
    /// # Errors
    ///
    /// * [`Interrupted`](Error::Interrupted): a signal was handled, or the process was stopped and
    ///   continued; call it again
    /// * [`NotAllowed`](Error::NotAllowed): this is not the process that made the queue
    pub fn next(&self) -> Result<Event, Error> {
        loop {
            if let Some(event) = self.next_with(&Wait::new())? {
                return Ok(event);
            }
        }
    }

    /// Takes the next event without sleeping. It enters the kernel only if that holds events back,
    /// asks for it ([`Ring::wants_recheck()`]), or has not been entered for as many events as the
    /// ring has entries.
    ///
    /// So a loop that never sleeps calls this rather than [`take()`](Queue::take): it gets what did
    /// not fit into the ring, and levels do not starve.
    ///
    /// # Errors
    ///
    /// [`NotAllowed`](Error::NotAllowed): this is not the process that made the queue.
    pub fn try_next(&self) -> Result<Option<Event>, Error> {
        let Some(view) = self.view() else {
            return self.get_one(&Wait::poll());
        };

        if self.is_due(&view) {
            self.wait(&Wait::poll())?;
        }
        match view.take() {
            None if view.flags() & (sys::KEVENT_RING_BACKLOG | sys::KEVENT_RING_RECHECK) != 0 => {
                self.wait(&Wait::poll())?;
                Ok(view.take())
            }
            event => Ok(event),
        }
    }

    /// Takes the next event: from the ring if there is one, else after waiting as `wait` says.
    /// `None` if the time is over.
    ///
    /// With [`Wait::min()`] above 1 it sleeps until there are so many, and returns the first of
    /// them; the others are then there to be taken without sleeping. [`Wait::seen()`] is ignored.
    /// As [`try_next()`](Queue::try_next) it enters the kernel, without sleeping, when that is due.
    ///
    /// # Errors
    ///
    /// * [`Interrupted`](Error::Interrupted): a signal was handled, or the process was stopped and
    ///   continued
    /// * [`Invalid`](Error::Invalid): `min` is more than the ring has entries; or the queue has no
    ///   ring, and `wait` has what [`get_events()`](Queue::get_events) cannot do
    /// * [`NotAllowed`](Error::NotAllowed): this is not the process that made the queue
    pub fn next_with(&self, wait: &Wait) -> Result<Option<Event>, Error> {
        match self.view() {
            None => self.get_one(wait),
            Some(view) => self.take_with(&view, wait, |view| view.take_or_seen()),
        }
    }

    /// Takes the next event, sleeping until there is one, and hands it to `serve`, whose result says
    /// whether anything is left of what it reports: see [`Ring::serve()`].
    ///
    /// A queue without a ring does not need to know.
    ///
    /// # Errors
    ///
    /// As for [`next()`](Queue::next); `serve` was not called then.
    ///
    /// ```no_run
    /// # use kevent::{Queue, Readiness, Rest, Watch};
    /// # use std::io::{ErrorKind, Read};
    /// # use std::os::fd::AsFd;
    /// # fn main() -> std::io::Result<()> {
    /// # let mut stream = std::net::TcpStream::connect("127.0.0.1:7")?;
    /// # stream.set_nonblocking(true)?;
    /// # let queue = Queue::new()?;
    /// # let mut buffer = [0; 4096];
    /// queue.add_one(Watch::poll(stream.as_fd(), Readiness::IN))?;
    /// queue.serve(|_event| loop {
    ///     match stream.read(&mut buffer) {
    ///         Ok(n) if n == buffer.len() => {} // there may be more
    ///         Ok(n) if n > 0 => return Rest::Nothing,
    ///         Err(error) if error.kind() == ErrorKind::WouldBlock => return Rest::Nothing,
    ///         _ => return Rest::Unknown, // the end, which holds for good
    ///     }
    /// })?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn serve(&self, serve: impl FnOnce(Event) -> Rest) -> Result<(), Error> {
        let mut serve = Some(serve);

        while !self.serve_once(&Wait::new(), &mut serve)? {}
        Ok(())
    }

    /// [`serve()`](Queue::serve), waiting as `wait` says; whether there was an event before the time was
    /// over.
    ///
    /// # Errors
    ///
    /// As for [`next_with()`](Queue::next_with); `serve` was not called then.
    pub fn serve_with(
        &self,
        wait: &Wait,
        serve: impl FnOnce(Event) -> Rest,
    ) -> Result<bool, Error> {
        self.serve_once(wait, &mut Some(serve))
    }

    /// Serves one event, if there is one in time.
    fn serve_once(
        &self,
        wait: &Wait,
        serve: &mut Option<impl FnOnce(Event) -> Rest>,
    ) -> Result<bool, Error> {
        let mut serve = |event| serve.take().map_or(Rest::Unknown, |serve| serve(event));
        let Some(view) = self.view() else {
            return Ok(self.get_one(wait)?.map(serve).is_some());
        };
        let served = self.take_with(&view, wait, |view| view.serve_or_seen(&mut serve))?;

        Ok(served.is_some())
    }

    /// What `take` gives of the ring, after waiting as `wait` says if there is nothing. It fails with
    /// the cursor then.
    fn take_with<T>(
        &self,
        view: &View<'_>,
        wait: &Wait,
        mut take: impl FnMut(&View<'_>) -> Result<T, u32>,
    ) -> Result<Option<T>, Error> {
        let mut wait = *wait;
        let mut slept = false;

        if self.is_due(view) {
            self.wait(&Wait::poll())?;
        }
        loop {
            let seen = match take(view) {
                Ok(taken) => return Ok(Some(taken)),
                Err(seen) => seen,
            };

            // Another consumer may have taken what woke us up: the same deadline holds next time.
            if !slept {
                wait.timeout = wait.timeout.fixed();
                slept = true;
            }
            if self.wait(&wait.seen(seen))? == 0 {
                return Ok(take(view).ok());
            }
        }
    }

    /// The next event of a queue without a ring.
    fn get_one(&self, wait: &Wait) -> Result<Option<Event>, Error> {
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
    /// Entering the kernel also moves its backlog into free slots and polls level watches again.
    ///
    /// # Errors
    ///
    /// * [`Interrupted`](Error::Interrupted): a signal was handled, or the process was stopped and
    ///   continued, and fewer than `min` events were ready
    /// * [`Invalid`](Error::Invalid): `min` is more than the ring has entries
    /// * [`NotAllowed`](Error::NotAllowed): this is not the process that made the queue
    #[inline]
    pub fn wait(&self, wait: &Wait) -> Result<u32, Error> {
        if !wait.is_plain() {
            return self.wait_with(wait);
        }
        self.enter(sys::kevent_wait {
            flags: wait.flags(),
            clockid: libc::CLOCK_MONOTONIC as u32,
            seen: self.seen(wait),
            min_nr: wait.min_nr,
            ..Default::default()
        })
    }

    /// [`wait()`](Queue::wait) with a time-out, a window or a signal mask. Apart from it, so that what
    /// is inlined where a program waits is only what it needs.
    #[inline(never)]
    fn wait_with(&self, wait: &Wait) -> Result<u32, Error> {
        let timespec = wait.timeout.timespec();
        let mut args = sys::kevent_wait {
            flags: wait.flags(),
            clockid: libc::CLOCK_MONOTONIC as u32,
            seen: self.seen(wait),
            min_nr: wait.min_nr,
            timeout: timespec.as_ref().map_or(0, address),
            min_wait: u64::try_from(wait.min_wait.as_nanos()).unwrap_or(u64::MAX),
            ..Default::default()
        };

        if let Timeout::At(clock, _) = wait.timeout {
            args.flags |= sys::KEVENT_WAIT_ABSTIME;
            args.clockid = clock.id() as u32;
        }
        if let Some(mask) = &wait.sigmask {
            args.sigmask = address(mask);
            args.sigsetsize = size_of_val(mask) as u32;
        }
        self.enter(args)
    }

    /// From which index on to look for events.
    #[inline]
    fn seen(&self, wait: &Wait) -> u32 {
        wait.seen
            .or_else(|| self.ring.as_ref().map(Ring::cursor))
            .unwrap_or(0)
    }

    /// The system call. What `args` points to must be valid until it returns.
    #[inline]
    fn enter(&self, mut args: sys::kevent_wait) -> Result<u32, Error> {
        count(&self.calls.wait);
        if let Some(view) = self.view() {
            self.waited.store(view.cursor(), Ordering::Relaxed);
        }
        // SAFETY: `args` is valid for its own size; the callers have made the time-out and the mask
        // that it points to, which live until the call returns.
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
    /// This works with and without a ring; an event comes out once, whichever way it leaves. A level
    /// is polled before its event is copied, so it holds, and its amounts are fresh.
    ///
    /// # Errors
    ///
    /// * [`Interrupted`](Error::Interrupted): a signal was handled, or the process was stopped and
    ///   continued, and nothing was copied
    /// * [`Invalid`](Error::Invalid): no room at all, `min` is larger than the room, or `wait` has a
    ///   deadline on another clock than [`Monotonic`](crate::Clock::Monotonic), a window, or a
    ///   signal mask
    /// * [`NotAllowed`](Error::NotAllowed): this is not the process that made the queue
    #[inline]
    pub fn get_events(&self, events: &mut [Event], wait: &Wait) -> Result<usize, Error> {
        let timespec = wait.timeout.timespec();
        let flags = match wait.timeout {
            Timeout::At(crate::Clock::Monotonic, _) => sys::KEVENT_WAIT_ABSTIME,
            Timeout::At(..) => return Err(Error::Invalid),
            _ => 0,
        };
        let most = i32::MAX as usize / size_of::<Event>();

        if !wait.min_wait.is_zero() || wait.sigmask.is_some() {
            return Err(Error::Invalid);
        }

        count(&self.calls.get_events);
        if let Some(view) = self.view() {
            self.waited.store(view.cursor(), Ordering::Relaxed);
        }
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
    /// The events wake a thread that waits, in this process or in another one.
    ///
    /// # Errors
    ///
    /// * [`Full`](Error::Full): the ring is full, or events already wait for free slots. Nothing is
    ///   lost: try again, or use [`post_deferred()`](Queue::post_deferred)
    /// * [`Invalid`](Error::Invalid): `events` is empty
    /// * [`Sealed`](Error::Sealed): the queue is sealed without [`Sources::USER`]
    /// * [`OwnerGone`](Error::OwnerGone): the program that made the queue has ended
    pub fn post(&self, events: &[Post]) -> Result<usize, Error> {
        self.post_flags(events, 0)
    }

    /// Posts events, in this order; those for which the ring has no free slot wait in the kernel, in
    /// memory that is charged to the poster. Returns how many; an error only if not even the first
    /// one went in.
    ///
    /// # Errors
    ///
    /// * [`Full`](Error::Full): 65536 posted events wait already
    /// * [`NoMemory`](Error::NoMemory): no memory
    /// * others as for [`post()`](Queue::post)
    pub fn post_deferred(&self, events: &[Post]) -> Result<usize, Error> {
        self.post_flags(events, sys::KEVENT_POST_DEFER)
    }

    fn post_flags(&self, events: &[Post], flags: u32) -> Result<usize, Error> {
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
    /// * [`Unsupported`](Error::Unsupported): the kernel does not have the class
    /// * [`NoWatches`](Error::NoWatches): the class has no watches
    /// * [`Sealed`](Error::Sealed): the queue is sealed without the class
    /// * [`Limit`](Error::Limit): a limit on the number of watches
    /// * [`Invalid`](Error::Invalid): `watches` is empty, or the record is wrong
    /// * [`NotAllowed`](Error::NotAllowed): this is not the process that made the queue
    /// * others per class, see [`Watch`]
    pub fn add(&self, watches: &mut [Watch]) -> Result<usize, Error> {
        self.add_flags(watches, 0)
    }

    /// Registers watches of descriptors, or changes everything about those that are there already: the
    /// class and the descriptor, in the caller's table, name the watch. Returns how many; an error only
    /// if the first one fails.
    ///
    /// A watch that is changed keeps its handle, and leaves no event of the old settings. In place of a
    /// oneshot watch that has fired there is another one.
    ///
    /// Needs [`Features::BY_IDENT`].
    ///
    /// # Errors
    ///
    /// As for [`add()`](Queue::add) and [`modify()`](Queue::modify), and
    ///
    /// * [`Ambiguous`](Error::Ambiguous): several watches fit
    /// * [`Busy`](Error::Busy): another thread is adding a watch that fits
    /// * [`Invalid`](Error::Invalid): a class that watches no descriptors, or a kernel without the
    ///   feature
    pub fn add_or_update(&self, watches: &mut [Watch]) -> Result<usize, Error> {
        self.add_flags(watches, sys::KEVENT_ADD_UPDATE)
    }

    fn add_flags(&self, watches: &mut [Watch], flags: u32) -> Result<usize, Error> {
        count(&self.calls.change);
        // SAFETY: `watches` is valid for reading and writing that many of the kernel's structures,
        // for `Watch` is transparent, and any bits are a valid one.
        let ret = unsafe {
            sys::kevent_add(
                self.fd.as_raw_fd(),
                watches.as_mut_ptr().cast(),
                size_of::<sys::kevent_watch>(),
                nr(watches),
                flags,
            )
        };
        Ok(check(ret)? as usize)
    }

    /// Registers one watch and gives its handle.
    ///
    /// # Errors
    ///
    /// As for [`add()`](Queue::add).
    pub fn add_one(&self, watch: Watch) -> Result<Handle, Error> {
        let mut watches = [watch];

        self.add(&mut watches)?;
        watches[0].result()?;
        Ok(watches[0].handle())
    }

    /// Changes what `what` says of the watches that these records [name](Watch::of). Returns how
    /// many; an error only if the first one fails. A record is made like the one that was added.
    ///
    /// After it returns, no unconsumed event that was made under the old settings is left: states and
    /// counts are reported again, under the new ones. Completions and intercepted signals that were
    /// posted stay as they are.
    ///
    /// # Errors
    ///
    /// * [`NoSuchWatch`](Error::NoSuchWatch): there is no such watch, or it is gone
    /// * [`Invalid`](Error::Invalid): `what` is empty or contradicts itself, or the record does
    /// * [`Ambiguous`](Error::Ambiguous): [`Modify::BY_IDENT`], and several watches fit
    /// * [`NotAllowed`](Error::NotAllowed): this is not the process that made the queue
    pub fn modify(&self, watches: &mut [Watch], what: Modify) -> Result<usize, Error> {
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
    /// * [`NoSuchWatch`](Error::NoSuchWatch): there is no such watch, or it is gone: its last event was
    ///   consumed
    /// * [`NotAllowed`](Error::NotAllowed): this is not the process that made the queue
    pub fn remove(&self, handles: &[Handle]) -> Result<usize, Error> {
        count(&self.calls.change);
        // SAFETY: `handles` is valid for reading that many handles, for `Handle` is transparent.
        let ret = unsafe {
            sys::kevent_remove(self.fd.as_raw_fd(), handles.as_ptr().cast(), nr(handles), 0)
        };
        Ok(check(ret)? as usize)
    }

    /// Fires a watch of [`Watch::user()`] with these bits, which are ORed until the event is consumed.
    ///
    /// # Errors
    ///
    /// As for [`modify()`](Queue::modify).
    pub fn trigger(&self, watch: Handle, events: UserEvents) -> Result<(), Error> {
        let mut record = [Watch::of_events(events).of(watch)];

        self.modify(&mut record, Modify::TRIGGER).map(drop)
    }

    /// Hands on a wake-up that this thread has got and will not use, because it is about to go away:
    /// another thread is woken for it. Needs [`Features::WAKE_NEXT`].
    ///
    /// # Errors
    ///
    /// [`Invalid`](Error::Invalid) on a kernel without the feature.
    pub fn wake_next(&self) -> Result<(), Error> {
        let mut wait = Wait::poll();

        wait.wake_next = true;
        self.wait(&wait).map(drop)
    }

    /// Prepares a request of `io_submit(2)`, complete otherwise, so that its completion comes to this
    /// queue with this `user_data`, as [`Details::Aio`](crate::Details::Aio).
    ///
    /// It sets `aio_data`, `aio_resfd` and `aio_flags`. A kernel without [`Sources::AIO`] ignores
    /// them, and the completion goes to the AIO context. The queue's descriptor must be open when the
    /// request is submitted.
    pub fn prepare_aio(&self, request: &mut libc::iocb, user_data: u64) {
        request.aio_data = user_data;
        request.aio_flags = sys::IOCB_FLAG_KEVENT;
        request.aio_resfd = self.fd.as_raw_fd() as u32;
    }

    /// A `sigevent` for `timer_create(2)` and `mq_notify(3)` with which the timer or the message
    /// queue reports to this queue, as [`Details::SigevTimer`](crate::Details::SigevTimer) or
    /// [`Details::SigevMessage`](crate::Details::SigevMessage).
    ///
    /// On a 32-bit machine `user_data` is cut to 32 bits. The queue's descriptor must be open when
    /// the `sigevent` is used.
    pub fn sigevent(&self, user_data: u64) -> libc::sigevent {
        // SAFETY: it holds integers and pointers, for which zero is a value.
        let mut event: libc::sigevent = unsafe { core::mem::zeroed() };

        event.sigev_notify = sys::SIGEV_KEVENT;
        event.sigev_value.sival_ptr = core::ptr::without_provenance_mut(user_data as usize);
        event.sigev_notify_thread_id = self.fd.as_raw_fd();
        event
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
