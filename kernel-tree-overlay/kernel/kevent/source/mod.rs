// SPDX-License-Identifier: GPL-2.0-only

//! The classes of sources.
//!
//! A class is a file in this directory and a line in [`CLASSES`].

use kernel::{
    prelude::*,
    sync::{
        atomic::Atomic,
        Arc,
        ArcBorrow, //
    },
    uapi, //
};

use crate::{
    core::{
        event::EventData,
        ring::Index, //
    },
    engine::{
        queue::Queue,
        watch::{
            Rechecker,
            Watch, //
        }, //
    }, //
};

pub(crate) mod fd;
#[cfg(CONFIG_FUTEX)]
pub(crate) mod futex;
#[cfg(CONFIG_FSNOTIFY)]
pub(crate) mod inode;
pub(crate) mod poll;
pub(crate) mod process;
#[cfg(CONFIG_POSIX_TIMERS)]
pub(crate) mod sigev;
pub(crate) mod signal;
#[cfg(CONFIG_NET)]
pub(crate) mod socket;
pub(crate) mod timer;
pub(crate) mod user;

pub(crate) use poll::Target;

/// What fires a watch.
///
/// All but [`Source::register`], [`Source::pending_count`], [`Source::words`] and
/// [`Source::intercept`] are called with the mutex of the queue's watches held.
pub(crate) trait Source: Send + Sync {
    /// What an event of a watch that reports amounts or counts says beside its bits. Of a count,
    /// `data` is not used.
    ///
    /// May be called from where the source fires the watch, and with the lock of a backlog held.
    fn words(&self) -> EventData {
        EventData::default()
    }

    /// For which events the other words of an event matter, so that these do not merge into an
    /// unconsumed event, which has older ones: it is posted again instead.
    fn words_matter_for(&self) -> u32 {
        0
    }

    /// Whether a level may come to hold again without a wake-up after the program has used all of
    /// it.
    fn holds_silently(&self) -> bool {
        false
    }

    /// Which events a poll may take away, so that they cannot be tested before they are consumed:
    /// it is the poll that has found them which reports them. These are the second, of an event
    /// that has the first.
    fn taken_by_poll(&self) -> (u32, u32) {
        (0, 0)
    }

    /// For a class that can intercept what it reports.
    fn intercept(&self) -> Option<&dyn Intercept> {
        None
    }

    /// For a class whose events count: how many occurrences have not been reported. The source adds
    /// to it before it fires the watch.
    fn pending_count(&self) -> Option<&Atomic<u64>> {
        None
    }

    /// Begins to fire `watch`, as the record says, which has its handle. If that fails,
    /// [`Source::detach`] is called.
    fn attach(&self, _watch: ArcBorrow<'_, Watch>, _record: &uapi::kevent_watch) -> Result {
        Ok(())
    }

    /// [`Source::attach`] for a class whose watches are of files that are polled: returns what is
    /// to be registered with, which is not done while the mutex is held.
    fn attach_file(
        &self,
        watch: ArcBorrow<'_, Watch>,
        record: &uapi::kevent_watch,
    ) -> Result<Option<Target>> {
        self.attach(watch, record).map(|()| None)
    }

    /// Puts the watch on the wait queues of what [`Source::attach_file`] returned, and returns what
    /// the poll found. Called once, without the mutex.
    fn register(&self, _target: &Target) -> Result<u32> {
        Ok(0)
    }

    /// [`Source::register`] has found that: which of the events of interest there are.
    fn registered(&self, watch: ArcBorrow<'_, Watch>, found: u32) -> Result<u32> {
        Ok(self.polled(watch, found))
    }

    /// Checks that the watch can have these flags and this interest from now on, of what the class
    /// knows.
    fn check(&self, _watch: &Watch, _flags: u32, _interest: u32) -> Result {
        Ok(())
    }

    /// Checks that the watch can have these flags with the arguments that it has.
    fn check_flags(&self, _flags: u32) -> Result {
        Ok(())
    }

    /// Does from now on what `arg` of the record says. If that fails, it goes on as it did.
    ///
    /// Most classes have no arguments.
    fn set_arg(&self, _watch: ArcBorrow<'_, Watch>, record: &uapi::kevent_watch) -> Result {
        check_no_arg(record)
    }

    /// Disables the watch. A class to which it matters whether the watch is enabled when it
    /// fires it can hold that off meanwhile.
    fn disable(&self, watch: &Watch) {
        watch.disable();
    }

    /// The watch is held for a change. When this returns, no producer that began before is firing
    /// it still, and those that begin later see the new settings.
    fn synchronize(&self);

    /// A task has made itself the owner of the watch. When this returns, no wake-up is reporting
    /// that began before, and found it idle: see [`Watch::fire_plain`].
    fn finish_wake(&self) {}

    /// The watch was changed by the program.
    fn resumed(&self, _watch: ArcBorrow<'_, Watch>) {}

    /// `events` were cancelled for a change of the watch, `KEVENT_MODIFY_*`. Those that
    /// [`Source::test`] would not find again are kept, for it to return them.
    fn keep(&self, _events: u32, _flags: u32) {}

    /// Stops. When this returns, the watch is not being fired and will not be. May be called twice.
    fn detach(&self, queue: &Queue);

    /// For a class that has levels or completions: which of the events of interest there are now.
    fn test(&self, _watch: ArcBorrow<'_, Watch>, _visitor: Rechecker) -> u32 {
        0
    }

    /// For a class whose watches are of files that are polled: which of the events of interest
    /// there are now, if the file does not sleep when it is polled.
    fn poll_at_once(&self, _watch: ArcBorrow<'_, Watch>) -> Option<u32> {
        None
    }

    /// For a class whose watches are of files that are polled: what is to be polled while the mutex
    /// is not held: that may sleep. If there is nothing, [`Source::test`] is called.
    fn target(&self, _watch: ArcBorrow<'_, Watch>) -> Option<Target> {
        None
    }

    /// [`Source::target`] was polled, with that result: which of the events of interest there are.
    fn polled(&self, _watch: ArcBorrow<'_, Watch>, _found: u32) -> u32 {
        0
    }

    /// For a class with EXCLUSIVE watches: the event of a wake-up that may have been claimed was
    /// consumed, and the program waits.
    fn claim_is_used(&self) {}

    /// When the watch is rechecked: which events there are to report beside that what it watched
    /// has vanished, if it has.
    fn vanished(&self) -> Option<u32> {
        None
    }

    /// For a watch that is no level and not disabled, or reports counts or completions: the program
    /// is about to wait, and the watch is listed.
    fn on_recheck(&self, _watch: ArcBorrow<'_, Watch>) {}

    /// For a class whose watches are of files: which events to report when that is closed.
    fn closed(&self) -> u32 {
        0
    }

    /// What the program said that this is: `kevent_watch.ident`.
    fn ident(&self) -> u64;
}

/// What a source has intercepted: its event is the delivery, and what the program does not consume
/// is returned. Of a watch whose events are queued, each is a completion.
pub(crate) trait Intercept {
    /// What the next completion says, if there is one to report.
    ///
    /// Called as [`Source::words`], by one CPU at a time.
    fn next(&self) -> Option<EventData>;

    /// What [`Intercept::next`] returned was consumed in one step with being reported.
    fn consumed(&self);

    /// It was reported by the entry at that index of the ring, where it may be unconsumed still.
    fn posted(&self, entry: Index);

    /// The watch was removed after it was detached, and reports nothing any more. Cancels its
    /// unconsumed events if `cancels`, and returns whether there was one.
    fn removed(&self, watch: &Watch, cancels: bool) -> bool;
}

/// A class of sources.
pub(crate) trait Class: Source + Sized {
    /// `KEVENT_SOURCE_*`.
    const NUMBER: u32;

    /// The `KEVENT_WATCH_*` flags that it knows, beside [`MODES`].
    const FLAGS: u32;

    /// The events that a program may ask for.
    const EVENTS: u32;

    /// Those for which it has to ask.
    const NEEDED: u32 = 0;

    /// For a class whose watches are of files, see [`fd::HasFileLink`].
    const OF_LINK: Option<fd::OfLink> = None;

    /// Makes a watch from a record, without attaching it. What of the record is said above has been
    /// checked.
    fn watch(queue: &Arc<Queue>, record: &uapi::kevent_watch) -> Result<Arc<Watch>>;

    /// The same, of a larger watch, for what failed to be attached with `ENOBUFS`.
    fn watch_large(queue: &Arc<Queue>, record: &uapi::kevent_watch) -> Result<Arc<Watch>> {
        Self::watch(queue, record)
    }
}

/// Makes a watch from a record.
pub(crate) type Make = fn(&Arc<Queue>, &uapi::kevent_watch) -> Result<Arc<Watch>>;

/// An entry in the list of classes.
struct Entry {
    number: u32,
    flags: u32,
    events: u32,
    needed: u32,
    of_link: Option<fd::OfLink>,
    watch: Make,
    watch_large: Make,
}

impl Entry {
    const fn of<C: Class>() -> Self {
        Self {
            number: C::NUMBER,
            flags: C::FLAGS,
            events: C::EVENTS,
            needed: C::NEEDED,
            of_link: C::OF_LINK,
            watch: C::watch,
            watch_large: C::watch_large,
        }
    }

    fn find(number: u32) -> Option<&'static Self> {
        CLASSES.iter().find(|class| class.number == number)
    }

    /// Checks flags and events of interest.
    fn check(&self, flags: u32, interest: u32) -> Result {
        const ONCE: u32 = uapi::KEVENT_WATCH_ONESHOT | uapi::KEVENT_WATCH_DISPATCH;
        let once = flags & ONCE;
        // An event that one watch alone sees must not be lost with it.
        let loses = flags & uapi::KEVENT_WATCH_EXCLUSIVE != 0 && once != 0;
        let asks = interest & !self.events == 0 && interest & self.needed == self.needed;
        if flags & !(MODES | self.flags) != 0 || once == ONCE || loses || !asks {
            return Err(EINVAL);
        }
        Ok(())
    }
}

/// The classes whose watches come from `kevent_add()`.
const CLASSES: &[Entry] = &[
    #[cfg(CONFIG_FUTEX)]
    Entry::of::<futex::Futex>(),
    Entry::of::<poll::Poll<1>>(),
    Entry::of::<process::Process>(),
    #[cfg(CONFIG_FSNOTIFY)]
    Entry::of::<inode::Inode>(),
    #[cfg(CONFIG_NET)]
    Entry::of::<socket::Socket>(),
    Entry::of::<signal::Signal>(),
    Entry::of::<timer::Timer>(),
    Entry::of::<user::User>(), //
];

/// Other classes, whose events come without a watch.
const OTHERS: &[u32] = &[
    #[cfg(CONFIG_AIO)]
    uapi::KEVENT_SOURCE_AIO,
    #[cfg(any(CONFIG_POSIX_TIMERS, CONFIG_POSIX_MQUEUE))]
    uapi::KEVENT_SOURCE_SIGEV,
];

/// The classes that this kernel has, as in the argument `sources` of `kevent_create()`.
pub(crate) const KNOWN: u64 = {
    let mut known = 0;
    let mut i = 0;
    while i < OTHERS.len() {
        known |= 1 << OTHERS[i];
        i += 1;
    }
    i = 0;
    while i < CLASSES.len() {
        known |= 1 << CLASSES[i].number;
        i += 1;
    }
    known
};

/// How the watches of a class are found by their links, if they are of files.
pub(crate) fn of_link(class: u32) -> Option<fd::OfLink> {
    Entry::find(class).and_then(|entry| entry.of_link)
}

/// The class of that number, of which `queue` may have watches.
fn class_for(queue: &Queue, number: u32) -> Result<&'static Entry> {
    if number >= u64::BITS || KNOWN & (1 << number) == 0 {
        return Err(ENOSYS);
    }
    if !queue.allows(number) {
        return Err(EPERM);
    }
    Entry::find(number).ok_or(EOPNOTSUPP)
}

/// Checks that `queue` may have watches of the class of that number.
pub(crate) fn check_class(queue: &Queue, number: u32) -> Result {
    class_for(queue, number).map(|_| ())
}

/// Makes a watch from a change record.
pub(crate) fn watch(queue: &Arc<Queue>, record: &uapi::kevent_watch) -> Result<Arc<Watch>> {
    (class_of(queue, record)?.watch)(queue, record)
}

/// The same, if that failed to be attached with `ENOBUFS`.
pub(crate) fn watch_large(queue: &Arc<Queue>, record: &uapi::kevent_watch) -> Result<Arc<Watch>> {
    (class_of(queue, record)?.watch_large)(queue, record)
}

/// The class of a watch that the record may make in that queue.
fn class_of(queue: &Queue, record: &uapi::kevent_watch) -> Result<&'static Entry> {
    let class = class_for(queue, record.source)?;
    class.check(record.flags, record.events)?;
    Ok(class)
}

/// Checks that a watch can have these flags and this interest from now on. A watch that no program
/// made stays as it is.
pub(crate) fn check(watch: &Watch, flags: u32, interest: u32) -> Result {
    Entry::find(watch.class())
        .ok_or(EINVAL)?
        .check(flags, interest)?;
    watch.source().check(watch, flags, interest)
}

/// Checks that a record of a class without arguments has none.
pub(crate) fn check_no_arg(record: &uapi::kevent_watch) -> Result {
    // Without a call, which comparing arrays would be.
    if record.arg.iter().all(|arg| *arg == 0) {
        Ok(())
    } else {
        Err(EINVAL)
    }
}

/// The flags that each class knows: they say how events are reported.
const MODES: u32 = uapi::KEVENT_WATCH_EDGE
    | uapi::KEVENT_WATCH_ONESHOT
    | uapi::KEVENT_WATCH_DISPATCH
    | uapi::KEVENT_WATCH_DISABLED;
