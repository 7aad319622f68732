// SPDX-License-Identifier: GPL-2.0-only

//! The hand-overs, each as a few threads and what must hold afterwards.
//!
//! Each is to be run under [`memory::check`]. What is asserted: an event that was published comes
//! out once, whole, and in order; what was merged is in the entry that it was merged into; and the
//! ring works afterwards.

use crate::atomic::ordering::{Full, Relaxed};
use crate::atomic::Atomic;
use crate::consumer::Mapping;
use crate::core::event::Event;
use crate::memory::{self, spawn};
use crate::protocol::{Change, Protocol};
use crate::uapi;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::Arc;

/// A bit that only merges set.
const MERGED: u32 = 1 << 15;

pub(crate) struct World<R> {
    ring: R,
    entries: u32,
}

impl<R: Protocol> World<R> {
    pub(crate) fn new(entries: u32) -> Arc<Self> {
        let world = Arc::new(Self {
            ring: R::new(entries),
            entries,
        });
        memory::add_ring(
            world.ring.base(),
            R::entries_offset() as usize,
            world.entries,
        );
        // The tail.
        world.ring.posted();
        world
    }

    fn mapping(&self) -> Mapping {
        Mapping {
            base: self.ring.base(),
            entries_offset: R::entries_offset(),
            entries: self.entries,
        }
    }

    fn publish(&self, n: u64) -> Option<u64> {
        self.ring.publish(&event(n))
    }

    /// Publishes these, as far as there is room; those that were.
    fn publish_all(&self, numbers: impl IntoIterator<Item = u64>) -> Vec<u64> {
        let numbers = numbers.into_iter();
        numbers.filter(|n| self.publish(*n).is_some()).collect()
    }

    /// As the program does it.
    fn program_takes(&self) -> Option<Event> {
        self.mapping().take(R::lap_mask())
    }

    /// As `kevent_get_events()` does it.
    fn kernel_takes(&self) -> Option<Event> {
        self.ring.take_first().map(|taken| {
            let event = R::event(&taken);
            self.ring.release(&taken);
            event
        })
    }

    /// The same, for an event that reports no level.
    fn kernel_takes_plain(&self) -> Option<Event> {
        self.ring.take_plain().or_else(|| self.kernel_takes())
    }

    fn takes(&self, by: Consumer) -> Option<Event> {
        match by {
            Consumer::Plain => self.kernel_takes_plain(),
            Consumer::Program => self.program_takes(),
            Consumer::Kernel => self.kernel_takes(),
        }
    }

    fn drain(&self) -> Vec<Event> {
        core::iter::from_fn(|| self.program_takes()).collect()
    }

    /// Everything has been taken. The ring must be as good as new.
    fn still_works(&self) {
        assert!(!self.ring.has(None, 1));
        assert_eq!(self.ring.available(None), 0);
        for lap in 0..2 {
            let numbers: Vec<_> = (0..u64::from(self.entries))
                .map(|n| 100 + 10 * lap + n)
                .collect();
            assert_eq!(self.publish_all(numbers.iter().copied()), numbers);
            assert_eq!(self.publish(99), None, "more than there are slots");
            assert!(self.ring.has(None, self.entries));
            assert_eq!(self.ring.available(None), self.entries);
            assert_eq!(numbers_of(&self.drain()), numbers);
        }
    }
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Consumer {
    Program,
    Kernel,
    /// The kernel, in its usual way.
    Plain,
}

fn event(n: u64) -> Event {
    Event(uapi::kevent_event {
        user_data: n,
        events: n as u32,
        // Not the same for two that follow in one slot, see `memory::Field`.
        info: uapi::KEVENT_SOURCE_USER | ((n as u32 & 7) << 13),
        data: -(n as i64),
        extra: !n,
    })
}

/// The number of an event, after a look that it is all of one piece.
fn number(event: &Event) -> u64 {
    let e = &event.0;
    let info = e.info & 0xffff;
    let whole = (u64::from(e.events & !MERGED), info, e.data, e.extra)
        == (
            e.user_data,
            self::event(e.user_data).0.info,
            -(e.user_data as i64),
            !e.user_data,
        );
    assert!(whole, "torn: {e:x?}");
    e.user_data
}

fn numbers_of(events: &[Event]) -> Vec<u64> {
    events.iter().map(number).collect()
}

fn sorted(mut numbers: Vec<u64>) -> Vec<u64> {
    numbers.sort_unstable();
    numbers
}

fn merged(event: &Event) -> u32 {
    event.0.info >> 16
}

/// What is in `numbers` and begins with this digit.
fn of(numbers: &[u64], tens: u64) -> Vec<u64> {
    numbers.iter().copied().filter(|n| n / 10 == tens).collect()
}

/// Two producers on the smallest ring: one claims a slot and stops, the other goes once around.
/// What each published comes out once, and in its order.
pub(crate) fn two_producers<R: Protocol>() {
    let world = World::<R>::new(2);
    let other = world.clone();
    let a = spawn(move || other.publish_all([11]));
    let other = world.clone();
    let b = spawn(move || other.publish_all([21, 22, 23]));
    let (a, b) = (a.join().unwrap(), b.join().unwrap());
    let out = numbers_of(&world.drain());
    assert_eq!((of(&out, 1), of(&out, 2)), (a, b));
    assert_eq!(out.len(), 2);
    world.still_works();
}

/// The same with a consumer in between, so that slots are free again.
pub(crate) fn two_producers_and_a_consumer<R: Protocol>() {
    let world = World::<R>::new(2);
    let other = world.clone();
    let a = spawn(move || other.publish_all([11]));
    let other = world.clone();
    let b = spawn(move || {
        let mut published = other.publish_all([21, 22]);
        let taken = other.kernel_takes();
        published.extend(other.publish_all([23]));
        (published, taken)
    });
    let (a, (b, taken)) = (a.join().unwrap(), b.join().unwrap());
    let mut out: Vec<_> = taken.iter().map(number).collect();
    out.extend(numbers_of(&world.drain()));
    assert_eq!((of(&out, 1), of(&out, 2)), (a, b));
    world.still_works();
}

/// What is taken is what was published, all of it, while the ring is filled again.
pub(crate) fn publish_and_take<R: Protocol>(by: Consumer) {
    let world = World::<R>::new(2);
    let other = world.clone();
    let producer = spawn(move || other.publish_all([11, 12, 13]));
    let other = world.clone();
    let consumer = spawn(move || (0..2).filter_map(|_| other.takes(by)).collect::<Vec<_>>());
    let published = producer.join().unwrap();
    let mut out = numbers_of(&consumer.join().unwrap());
    out.extend(numbers_of(&world.drain()));
    assert_eq!(out, published);
    world.still_works();
}

/// An occurrence is merged into the entry, or the caller is reported that it was not: none counts
/// twice, none is lost.
pub(crate) fn merge_and_take<R: Protocol>(by: Consumer) {
    let world = World::<R>::new(2);
    let index = world.publish(1).unwrap();
    let other = world.clone();
    let merger = spawn(move || [(); 2].map(|()| other.ring.merge(index, MERGED, 1)));
    let taken = world.takes(by);
    let changes = merger.join().unwrap();
    let out: Vec<_> = taken.into_iter().chain(world.drain()).collect();
    assert_eq!(numbers_of(&out), [1]);
    let done = changes.iter().filter(|c| **c == Change::Done).count() as u32;
    assert_eq!(merged(&out[0]), done);
    assert_eq!(out[0].0.events & MERGED != 0, done != 0);
    assert!(
        !changes.contains(&Change::Deferred),
        "there is no other thread"
    );
    world.still_works();
}

/// What was in an entry when it was posted stays there, whatever merges into it.
pub(crate) fn merge_leaves_the_amount<R: Protocol>(by: Consumer) {
    let world = World::<R>::new(2);
    let index = world.publish(1).unwrap();
    let other = world.clone();
    let merger = spawn(move || other.ring.merge(index, MERGED, 1));
    let other = world.clone();
    let consumer = spawn(move || {
        let taken = other.takes(by);
        let published = other.publish_all([2, 3]);
        (taken, published)
    });
    let change = merger.join().unwrap();
    let (taken, published) = consumer.join().unwrap();
    let out: Vec<_> = taken.into_iter().chain(world.drain()).collect();
    let (first, rest) = out.split_first().unwrap();
    assert_eq!(merged(first), u32::from(change == Change::Done));
    assert_eq!(first.0.info & 0x1fff, uapi::KEVENT_SOURCE_USER);
    assert_eq!(first.0.data, -1);
    assert_eq!(numbers_of(rest), published);
}

/// A merge or a cancel that is late, while the slot goes to others for `laps` laps: it hits the
/// entry that it is meant for or nothing.
pub(crate) fn late_change_and_republish<R: Protocol>(laps: u64, cancel: bool) {
    let world = World::<R>::new(2);
    let index = world.publish(1).unwrap();
    let other = world.clone();
    let changer = spawn(move || {
        if cancel {
            other.ring.cancel(index)
        } else {
            other.ring.merge(index, MERGED, 1)
        }
    });
    let other = world.clone();
    let rest = spawn(move || {
        let mut out: Vec<_> = other.kernel_takes().into_iter().collect();
        let mut published = Vec::new();
        for lap in 1..=laps {
            published.extend(other.publish_all([10 * lap, 10 * lap + 1]));
            if lap < laps {
                out.extend(
                    [other.kernel_takes(), other.kernel_takes()]
                        .into_iter()
                        .flatten(),
                );
            }
        }
        (out, published)
    });
    let change = changer.join().unwrap();
    let (mut out, published) = rest.join().unwrap();
    out.extend(world.drain());
    let (first, others): (Vec<_>, Vec<_>) = out.into_iter().partition(|e| e.0.user_data == 1);
    assert_eq!(numbers_of(&others), published);
    for e in &others {
        assert_eq!((merged(e), e.0.events & MERGED), (0, 0), "hit a stranger");
    }
    let done = change == Change::Done;
    if cancel {
        assert_eq!(first.len(), usize::from(!done));
    } else {
        assert_eq!(first.len(), 1);
        assert_eq!(merged(&first[0]), u32::from(done));
    }
    assert_ne!(change, Change::Deferred, "there is no other thread");
    world.still_works();
}

/// Two changes that are late, while the slot goes to others: the first one to end does not take the
/// mark away from the other.
pub(crate) fn late_changes_and_republish<R: Protocol>() {
    let world = World::<R>::new(2);
    let index = world.publish(1).unwrap();
    let changers = [(); 2].map(|()| {
        let other = world.clone();
        spawn(move || other.ring.merge(index, MERGED, 1))
    });
    let mut out: Vec<_> = world.kernel_takes().into_iter().collect();
    let published = world.publish_all([2, 3]);
    let changes = changers.map(|changer| changer.join().unwrap());
    out.extend(world.drain());
    let (first, others): (Vec<_>, Vec<_>) = out.into_iter().partition(|e| e.0.user_data == 1);
    assert_eq!(numbers_of(&others), published);
    for e in &others {
        assert_eq!((merged(e), e.0.events & MERGED), (0, 0), "hit a stranger");
    }
    let done = changes.iter().filter(|c| **c == Change::Done).count();
    assert_eq!(first.len(), 1);
    assert_eq!(merged(&first[0]) as usize, done);
}

/// Either the cancel wins or the consumer, never both or none.
pub(crate) fn cancel_and_take<R: Protocol>(by: Consumer) {
    let world = World::<R>::new(2);
    let index = world.publish(1).unwrap();
    world.publish(2).unwrap();
    let other = world.clone();
    let canceller = spawn(move || other.ring.cancel(index));
    let taken = world.takes(by);
    let change = canceller.join().unwrap();
    let out: Vec<_> = taken.into_iter().chain(world.drain()).collect();
    match change {
        Change::Done => assert_eq!(numbers_of(&out), [2]),
        Change::Gone => assert_eq!(numbers_of(&out), [1, 2]),
        Change::Left(_) | Change::Deferred => panic!("there is no other thread, and room to count"),
    }
    world.still_works();
}

/// Two merge into one entry while it is taken: it has what those have that were reported so.
pub(crate) fn two_mergers<R: Protocol>() {
    let world = World::<R>::new(2);
    let index = world.publish(1).unwrap();
    let mergers = [(); 2].map(|()| {
        let other = world.clone();
        spawn(move || other.ring.merge(index, MERGED, 1))
    });
    let taken = world.program_takes();
    let changes = mergers.map(|m| m.join().unwrap());
    let out: Vec<_> = taken.into_iter().chain(world.drain()).collect();
    assert_eq!(numbers_of(&out), [1]);
    let done = changes.iter().filter(|c| **c == Change::Done).count() as u32;
    assert_eq!(merged(&out[0]), done);
    assert_ne!(changes, [Change::Deferred; 2]);
    world.still_works();
}

/// A merge and a cancel of one entry.
pub(crate) fn merge_and_cancel<R: Protocol>() {
    let world = World::<R>::new(2);
    let index = world.publish(1).unwrap();
    let other = world.clone();
    let merger = spawn(move || other.ring.merge(index, MERGED, 1));
    let other = world.clone();
    let canceller = spawn(move || other.ring.cancel(index));
    let (merge, cancel) = (merger.join().unwrap(), canceller.join().unwrap());
    let out = world.drain();
    if cancel == Change::Done {
        assert!(out.is_empty());
    } else {
        assert_eq!(cancel, Change::Deferred);
        assert_eq!(numbers_of(&out), [1]);
        assert_eq!(merged(&out[0]), u32::from(merge == Change::Done));
    }
    world.still_works();
}

/// Two consumers, one of which may be overtaken between the cursor and the exchange, while the ring
/// is filled again: each event goes to one of them.
pub(crate) fn two_consumers<R: Protocol>(one: Consumer, two: Consumer) {
    let world = World::<R>::new(2);
    let mut published = world.publish_all([11, 12]);
    let other = world.clone();
    let a = spawn(move || other.takes(one).into_iter().collect::<Vec<_>>());
    let other = world.clone();
    let b = spawn(move || {
        let mut out: Vec<_> = other.takes(two).into_iter().collect();
        let published = other.publish_all([13]);
        out.extend(other.takes(two));
        (out, published)
    });
    let a = numbers_of(&a.join().unwrap());
    let (b, more) = b.join().unwrap();
    let b = numbers_of(&b);
    published.extend(more);
    assert!(a.is_sorted() && b.is_sorted());
    let rest = numbers_of(&world.drain());
    assert!(rest.is_sorted());
    let out = sorted([a, b, rest].concat());
    assert_eq!(out, published);
    world.still_works();
}

/// A consumer in the kernel looks at an event and then takes it, if it is there still: with what
/// was merged in between, and not if it was cancelled or another consumer was faster.
pub(crate) fn change_and_take_first<R: Protocol>(cancel: bool) {
    let world = World::<R>::new(2);
    let index = world.publish(1).unwrap();
    let other = world.clone();
    let changer = spawn(move || {
        if cancel {
            other.ring.cancel(index)
        } else {
            other.ring.merge(index, MERGED, 1)
        }
    });
    let other = world.clone();
    let kernel = spawn(move || {
        let first = other.ring.first()?;
        let taken = other.ring.take(&first)?;
        let event = R::event(&taken);
        other.ring.release(&taken);
        Some(event)
    });
    let mut out: Vec<_> = world.program_takes().into_iter().collect();
    out.extend(kernel.join().unwrap());
    let done = changer.join().unwrap() == Change::Done;
    out.extend(world.drain());
    if cancel && done {
        assert!(out.is_empty());
    } else {
        assert_eq!(numbers_of(&out), [1]);
        assert_eq!(merged(&out[0]), u32::from(!cancel && done));
    }
    world.still_works();
}

/// A thread says that it sleeps and then looks; a producer publishes and then looks who sleeps, on
/// whose behalf it asks whether that is enough. One of them finds out.
pub(crate) fn sleeper_and_producers<R: Protocol>(producers: u32) {
    let world = World::<R>::new(2);
    let asleep = Arc::new(Atomic::<u32>::new(0));
    asleep.load(Relaxed);
    let threads: Vec<_> = (0..producers)
        .map(|n| {
            let (other, asleep) = (world.clone(), asleep.clone());
            spawn(move || {
                other.publish(u64::from(n)).unwrap();
                asleep.load(Relaxed) != 0 && other.ring.has(Some(0), producers)
            })
        })
        .collect();
    asleep.xchg(1, Full);
    let found = world.ring.has(Some(0), producers);
    let woken = threads.into_iter().map(|t| t.join().unwrap());
    // Each of them has to be joined.
    let woken = woken.fold(false, |any, woken| any | woken);
    assert!(found || woken, "sleeps for ever");
}

/// A producer that finds the slot not free yet puts its event into the backlog, and tries once
/// more; the one that owns the slot publishes, and then looks at the backlog. One of them moves it.
pub(crate) fn backlog_and_producer<R: Protocol>() {
    let world = World::<R>::new(2);
    let backlog = Arc::new(Atomic::<u32>::new(0));
    backlog.load(Relaxed);
    let (other, length) = (world.clone(), backlog.clone());
    let first = spawn(move || {
        let published = other.publish(11).is_some();
        published && length.load(Relaxed) != 0
    });
    let (other, length) = (world.clone(), backlog.clone());
    let second = spawn(move || {
        other.publish(21).unwrap();
        let taken = other.program_takes();
        let full = other.publish(22).is_none() && {
            length.store(1, Relaxed);
            memory::fence();
            other.publish(22).is_none()
        };
        (taken, full)
    });
    let saw = first.join().unwrap();
    let (taken, full) = second.join().unwrap();
    // What was taken made room, whatever the other producer does.
    assert!(
        taken.is_none() || !full || saw,
        "an event stays in the backlog"
    );
}

/// A merge is under way while its slot is claimed for the next lap: the producer gives the slot up
/// and takes the next one. Adds to `given_up` each time.
pub(crate) fn busy_slot_is_given_up<R: Protocol>(given_up: &AtomicU32) {
    let world = World::<R>::new(2);
    let index = world.publish(1).unwrap();
    let other = world.clone();
    let merger = spawn(move || other.ring.merge(index, MERGED, 1));
    let other = world.clone();
    let rest = spawn(move || {
        let mut out: Vec<_> = other.kernel_takes().into_iter().collect();
        let mut indices = vec![other.publish(2)];
        out.extend(other.kernel_takes());
        indices.extend([other.publish(3), other.publish(4)]);
        (out, indices)
    });
    let change = merger.join().unwrap();
    let (mut out, indices) = rest.join().unwrap();
    if indices[1] == Some(3) {
        given_up.fetch_add(1, Ordering::Relaxed);
    }
    out.extend(world.drain());
    let published = (2..).zip(&indices).filter(|(_, i)| i.is_some());
    let expected: Vec<_> = [1].into_iter().chain(published.map(|(n, _)| n)).collect();
    assert_eq!(numbers_of(&out), expected);
    assert_eq!(merged(&out[0]), u32::from(change == Change::Done));
    for e in &out[1..] {
        assert_eq!((merged(e), e.0.events & MERGED), (0, 0), "hit a stranger");
    }
    world.still_works();
}
