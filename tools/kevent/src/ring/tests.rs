// SPDX-License-Identifier: MIT

//! The consumer on real atomics: sequences against a `VecDeque`, threads against threads, and the
//! mapped [`Ring`] on a memfd.

use super::model::{Change, Model, Private, Producer, empty_slot};
use super::{Geometry, Rest, Ring, Slot};
use crate::error::Error;
use crate::event::{Event, Source};
use crate::sys;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use proptest::prelude::*;
use std::collections::VecDeque;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::thread;

const USER: u32 = sys::KEVENT_SOURCE_USER;
const COUNTED: u32 = sys::KEVENT_INFO_COUNTED | sys::KEVENT_SOURCE_TIMER;

fn event(n: u64) -> sys::kevent_event {
    sys::kevent_event {
        user_data: n,
        events: (n & 0xffff) as u32,
        info: USER,
        data: -(n as i64),
        extra: !n,
    }
}

fn is_whole(event: &Event) -> bool {
    let n = event.user_data();

    event.source() == Source::User
        && event.raw_events() == n as u16
        && event.data() == -(n as i64)
        && event.extra() == !n
}

#[test]
fn one_by_one() {
    let model = Model::new(4, 0);
    let (consumer, producer) = (model.consumer(), model.producer());

    assert!(consumer.is_empty());
    assert_eq!(consumer.peek(), None);
    assert_eq!(consumer.take(), Err(0));

    for n in 0..100 {
        assert_eq!(producer.post(event(n)), Some(n as u32));
        assert!(!consumer.is_empty());
        let seen = consumer.peek();
        let taken = consumer.take().unwrap();
        assert_eq!(seen, Some(taken));
        assert!(is_whole(&taken));
        assert_eq!(consumer.take(), Err(n as u32 + 1));
    }
}

#[test]
fn served() {
    let model = Model::new(2, 0);
    let (consumer, producer) = (model.consumer(), model.producer());

    assert_eq!(consumer.serve(|_| Rest::Nothing), Err(0));
    for n in 0..40u64 {
        let index = producer.post(event(n)).unwrap();
        let word = &consumer.slot(index).word;
        let rest = if n % 3 == 0 {
            Rest::Unknown
        } else {
            Rest::Nothing
        };
        let served = consumer.serve(|event| {
            assert!(is_whole(&event));
            assert_eq!(word.load(Ordering::Relaxed), sys::KEVENT_WORD_TAKEN);
            rest
        });

        assert_eq!(served, Ok(()));
        let mark = match rest {
            Rest::Unknown => 0,
            Rest::Nothing => consumer.lap(index) | sys::KEVENT_WORD_EXHAUSTED,
        };
        assert_eq!(word.load(Ordering::Relaxed), mark);
        assert!(consumer.is_empty());
    }
}

#[test]
fn full() {
    let model = Model::new(4, u32::MAX - 1);
    let (consumer, producer) = (model.consumer(), model.producer());

    for n in 0..4 {
        assert!(producer.post(event(n)).is_some());
    }
    assert_eq!(producer.post(event(4)), None);
    assert_eq!(consumer.take().unwrap().user_data(), 0);
    assert!(producer.post(event(4)).is_some());
    assert_eq!(producer.post(event(5)), None);
    for n in 1..5 {
        assert_eq!(consumer.take().unwrap().user_data(), n);
    }
    assert_eq!(consumer.take(), Err(3));
}

#[test]
fn merges() {
    let model = Model::new(2, 0);
    let (consumer, producer) = (model.consumer(), model.producer());
    let counted = sys::kevent_event {
        events: 1,
        info: COUNTED,
        data: 1,
        ..Default::default()
    };

    // A count: data plus the number of merges, and no more of them than fit.
    let index = producer.post(counted).unwrap();
    for _ in 0..1023 {
        assert_eq!(producer.merge(index, 4), Change::Done);
    }
    assert_eq!(producer.merge(index, 8), Change::Later);
    let taken = consumer.take().unwrap();
    assert!(taken.is_counted());
    assert_eq!(taken.source(), Source::Timer);
    assert_eq!(
        (taken.merged(), taken.data(), taken.raw_events()),
        (1023, 1024, 5)
    );
    assert_eq!(producer.merge(index, 8), Change::Gone);

    // An amount: as of the post.
    let index = producer.post(event(3)).unwrap();
    assert_eq!(producer.merge(index, 0x8000), Change::Done);
    let taken = consumer.take().unwrap();
    assert_eq!(
        (taken.merged(), taken.data(), taken.raw_events()),
        (1, -3, 0x8003)
    );
}

#[test]
fn cancelled_entries_are_skipped() {
    let model = Model::new(4, 0);
    let (consumer, producer) = (model.consumer(), model.producer());

    for _ in 0..20 {
        let indices: Vec<_> = (0..4).filter_map(|n| producer.post(event(n))).collect();
        assert_eq!(producer.cancel(indices[0]), Change::Done);
        assert_eq!(producer.cancel(indices[2]), Change::Done);
        assert_eq!(producer.cancel(indices[3]), Change::Done);
        assert_eq!(producer.cancel(indices[3]), Change::Gone);
        assert_eq!(consumer.peek().unwrap().user_data(), 1);
        assert_eq!(consumer.take().unwrap().user_data(), 1);
        assert_eq!(producer.cancel(indices[1]), Change::Gone);
        assert!(consumer.is_empty());
        assert!(consumer.take().is_err());
    }
}

/// A consumer that was preempted between cursor and exchange leaves a word that is READY and not
/// for those who come round.
#[test]
fn the_entry_of_the_lap_before_is_not_ours() {
    let model = Model::new(2, 0);
    let (consumer, producer) = (model.consumer(), model.producer());

    assert_eq!(producer.post(event(10)), Some(0));
    assert_eq!(producer.post(event(11)), Some(1));
    assert_eq!(
        model
            .consumer()
            .cursor
            .compare_exchange(0, 1, Ordering::Relaxed, Ordering::Relaxed),
        Ok(0)
    );
    assert_eq!(consumer.take().unwrap().user_data(), 11);
    assert_eq!(consumer.take(), Err(2));
    assert_eq!(consumer.peek(), None);

    // The same if it was cancelled.
    assert_eq!(producer.cancel(0), Change::Done);
    assert_eq!(consumer.take(), Err(2));
    assert_eq!(producer.post(event(12)), None);
}

#[derive(Clone, Debug)]
enum Op {
    Post(u16, i64, bool),
    Take,
    Peek,
    Merge(u16),
    Cancel,
}

fn op() -> impl Strategy<Value = (Op, prop::sample::Index)> {
    let op = prop_oneof![
        4 => (any::<u16>(), any::<i64>(), any::<bool>()).prop_map(|(e, d, c)| Op::Post(e, d, c)),
        3 => Just(Op::Take),
        1 => Just(Op::Peek),
        2 => any::<u16>().prop_map(Op::Merge),
        1 => Just(Op::Cancel),
    ];

    (op, any::<prop::sample::Index>())
}

/// What the ring should hold for one entry.
#[derive(Debug)]
struct Entry {
    index: u32,
    user_data: u64,
    events: u16,
    data: i64,
    counted: bool,
    merged: u32,
    cancelled: bool,
}

impl Entry {
    fn matches(&self, event: &Event) -> bool {
        event.user_data() == self.user_data
            && event.raw_events() == self.events
            && event.merged() == self.merged
            && event.is_counted() == self.counted
            && event.extra() == !self.user_data
            && event.data()
                == if self.counted {
                    self.data.wrapping_add(i64::from(self.merged))
                } else {
                    self.data
                }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn sequences(
        bits in 1u32..6,
        start in prop_oneof![Just(0), any::<u32>(), (u32::MAX - 100)..=u32::MAX],
        ops in prop::collection::vec(op(), 1..400),
    ) {
        let model = Model::new(1 << bits, start);
        let (consumer, producer) = (model.consumer(), model.producer());
        let mut expected: VecDeque<Entry> = VecDeque::new();
        let (mut tail, mut count) = (start, 0);

        for (op, which) in ops {
            let picked = (!expected.is_empty()).then(|| which.index(expected.len()));

            match op {
                Op::Post(events, data, counted) => {
                    let got = producer.post(sys::kevent_event {
                        user_data: count,
                        events: events.into(),
                        info: if counted { COUNTED } else { USER },
                        data,
                        extra: !count,
                    });
                    if expected.len() == 1 << bits {
                        prop_assert_eq!(got, None);
                    } else {
                        prop_assert_eq!(got, Some(tail));
                        expected.push_back(Entry {
                            index: tail, user_data: count, events, data, counted,
                            merged: 0, cancelled: false,
                        });
                        tail = tail.wrapping_add(1);
                        count += 1;
                    }
                }
                Op::Take | Op::Peek => {
                    while expected.front().is_some_and(|entry| entry.cancelled) {
                        expected.pop_front();
                    }
                    let got = match op {
                        Op::Take => consumer.take(),
                        _ => consumer.peek().ok_or(tail),
                    };
                    match (expected.front(), got) {
                        (Some(entry), Ok(event)) => {
                            prop_assert!(entry.matches(&event), "{:?} {:?}", entry, event)
                        }
                        (None, Err(seen)) => prop_assert_eq!(seen, tail),
                        (entry, got) => prop_assert!(false, "{:?} {:?}", entry, got),
                    }
                    if matches!(op, Op::Take) {
                        expected.pop_front();
                    }
                }
                Op::Merge(events) => if let Some(entry) = picked.map(|n| &mut expected[n]) {
                    let merged = producer.merge(entry.index, events);

                    prop_assert_eq!(merged == Change::Done, !entry.cancelled);
                    if merged == Change::Done {
                        entry.events |= events;
                        entry.merged += 1;
                    }
                },
                Op::Cancel => if let Some(entry) = picked.map(|n| &mut expected[n]) {
                    prop_assert_eq!(producer.cancel(entry.index) == Change::Done, !entry.cancelled);
                    entry.cancelled = true;
                },
            }
        }
    }
}

/// Lets the other threads of a test end when one of them panics, so that it fails and does not hang.
struct Fuse<'a>(&'a AtomicBool);

impl Drop for Fuse<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.store(true, Ordering::Relaxed);
        }
    }
}

impl Fuse<'_> {
    fn pause(&self) {
        assert!(!self.0.load(Ordering::Relaxed), "another thread failed");
        thread::yield_now();
    }
}

/// Two producers, two consumers, a ring much smaller than what goes through it: every event comes
/// out once, whole, and those of one producer in order.
#[test]
fn threads() {
    const EACH: u64 = 20_000;

    for entries in [2, 4, 64] {
        let model = Model::new(entries, u32::MAX - 1000);
        let (model, left) = (&model, &AtomicU64::new(2 * EACH));
        let blown = &AtomicBool::new(false);
        let mut taken: Vec<u64> = thread::scope(|s| {
            for who in 0..2 {
                s.spawn(move || {
                    let fuse = Fuse(blown);

                    for n in 0..EACH {
                        while model.producer().post(event(who << 32 | n)).is_none() {
                            fuse.pause();
                        }
                    }
                });
            }
            let consumers: Vec<_> = (0..2)
                .map(|_| {
                    s.spawn(move || {
                        let fuse = Fuse(blown);
                        let mut taken = Vec::new();

                        while left.load(Ordering::Relaxed) > 0 {
                            let Ok(event) = model.consumer().take() else {
                                fuse.pause();
                                continue;
                            };
                            assert!(is_whole(&event), "{event:?}");
                            taken.push(event.user_data());
                            left.fetch_sub(1, Ordering::Relaxed);
                        }
                        for who in 0..2 {
                            assert!(taken.iter().filter(|n| *n >> 32 == who).is_sorted());
                        }
                        taken
                    })
                })
                .collect();

            consumers
                .into_iter()
                .flat_map(|c| c.join().unwrap())
                .collect()
        });

        taken.sort();
        assert!(
            taken
                .into_iter()
                .eq((0..EACH).chain(1 << 32..(1 << 32) + EACH))
        );
    }
}

/// Occurrences that merge where they can: none is lost and none counted twice, whatever the
/// consumers do meanwhile.
#[test]
fn threads_that_merge() {
    const OCCURRENCES: i64 = 50_000;

    let model = &Model::new(4, 0);
    let done = &AtomicBool::new(false);
    let counted = sys::kevent_event {
        info: COUNTED,
        data: 1,
        ..Default::default()
    };
    let total: i64 = thread::scope(|s| {
        s.spawn(move || {
            let mut last = None;

            for _ in 0..OCCURRENCES {
                if last.is_none_or(|last| model.producer().merge(last, 1) != Change::Done) {
                    last = loop {
                        match model.producer().post(counted) {
                            None => thread::yield_now(),
                            index => break index,
                        }
                    };
                }
            }
            done.store(true, Ordering::Release);
        });
        let consumers: Vec<_> = (0..2)
            .map(|_| {
                s.spawn(move || {
                    let mut sum = 0;

                    loop {
                        let over = done.load(Ordering::Acquire);

                        match model.consumer().take() {
                            Ok(event) => sum += event.data(),
                            Err(_) if over => return sum,
                            Err(_) => thread::yield_now(),
                        }
                    }
                })
            })
            .collect();

        consumers.into_iter().map(|c| c.join().unwrap()).sum()
    });

    assert_eq!(total, OCCURRENCES);
}

/// Whatever is in the mapping, the consumer comes to an end and stays inside.
#[test]
fn nonsense() {
    let mut seed = 1u64;
    let mut random = move || {
        seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1);
        (seed >> 32) as u32
    };

    for _ in 0..1000 {
        let model = Model::new(8, random());

        for slot in model.consumer().slots {
            slot.word.store(random(), Ordering::Relaxed);
        }
        model.consumer().cursor.store(random(), Ordering::Relaxed);
        model.consumer().peek();
        assert!((0..100).any(|_| model.consumer().take().is_err()));
    }
}

fn memfd(len: usize) -> OwnedFd {
    // SAFETY: the name is a C string; the descriptor is new and ours.
    unsafe {
        let fd = libc::memfd_create(c"ring".as_ptr(), libc::MFD_CLOEXEC);
        assert!(fd >= 0);
        assert_eq!(libc::ftruncate(fd, len as libc::off_t), 0);
        OwnedFd::from_raw_fd(fd)
    }
}

const GEOMETRY: Geometry = Geometry {
    ring_entries: 8,
    entries_offset: 4096,
    mmap_size: 8192,
};

/// The memory of a descriptor once more, as integers that are accessed as atomics.
fn words(fd: &OwnedFd, len: usize) -> &'static [AtomicU32] {
    // SAFETY: a new mapping, checked, never unmapped, of memory that stays as long as it is.
    unsafe {
        let base = libc::mmap(
            core::ptr::null_mut(),
            len,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_SHARED,
            fd.as_raw_fd(),
            0,
        );
        assert_ne!(base, libc::MAP_FAILED);
        core::slice::from_raw_parts(base.cast::<AtomicU32>(), len / 4)
    }
}

/// What there is to do with a ring: each of it comes to an end.
fn use_all(ring: &Ring) {
    for _ in 0..20 {
        let _ = (ring.peek(), ring.is_empty(), ring.cursor(), ring.stats());
        let _ = (
            ring.has_backlog(),
            ring.wants_recheck(),
            format!("{ring:?}"),
        );
        if let Some(event) = ring.take() {
            let _ = format!("{event:?} {:?}", event.details());
        }
        let _ = ring.take_or_seen();
        let _ = ring.serve(|_| Rest::Nothing);
    }
    assert!(ring.drain().take(100).count() <= 100);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 64, ..ProptestConfig::default() })]

    /// Anything may be in the mapping, and be written there at any time, by a program that knows where
    /// the words are that matter.
    #[test]
    fn scribbled(
        all in prop::collection::vec(any::<u32>(), 2048),
        later in prop::collection::vec((0usize..3, any::<prop::sample::Index>(), any::<u32>()), 0..200),
    ) {
        let fd = memfd(8192);
        let ring = Ring::map(fd.as_fd(), &GEOMETRY).unwrap();
        let words = words(&fd, 8192);
        let stop = AtomicBool::new(false);

        for (word, value) in words.iter().zip(&all) {
            word.store(*value, Ordering::Relaxed);
        }
        use_all(&ring);
        for (kind, which, value) in &later {
            scribble(words, *kind, which.index(2048), *value);
            use_all(&ring);
        }
        thread::scope(|s| {
            s.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    for (kind, which, value) in &later {
                        scribble(words, *kind, which.index(2048), *value);
                        thread::yield_now();
                    }
                    thread::yield_now();
                }
            });
            for _ in 0..20 {
                use_all(&ring);
            }
            stop.store(true, Ordering::Relaxed);
        });
        // SAFETY: the mapping of words(), of which nothing is used any more.
        unsafe { libc::munmap(words.as_ptr() as *mut _, 8192) };
    }
}

/// Writes anywhere, to the cursor, or a word that looks right to an entry.
fn scribble(words: &[AtomicU32], kind: usize, at: usize, value: u32) {
    match kind {
        0 => words[at].store(value, Ordering::Relaxed),
        1 => words[32].store(value, Ordering::Relaxed),
        _ => {
            let cursor = words[32].load(Ordering::Relaxed);
            let lap = (cursor >> 3 & sys::KEVENT_WORD_LAP_MASK) << sys::KEVENT_WORD_LAP_SHIFT;
            let state = [sys::KEVENT_WORD_READY, sys::KEVENT_WORD_CANCELLED][at & 1];
            let slot = 1024 + (cursor as usize & 7) * 8 + 2;

            words[slot].store(state | lap | value & 0x3ff_ffff, Ordering::Relaxed);
        }
    }
}

/// A ring that a child inherits is empty there, touches nothing, and is not unmapped.
#[test]
fn forked() {
    let fd = memfd(8192);
    let ring = Ring::map(fd.as_fd(), &GEOMETRY).unwrap();
    let words = words(&fd, 8192);
    let entry = sys::KEVENT_WORD_READY | 7;

    words[1024 + 2].store(entry, Ordering::Relaxed);
    assert!(!ring.is_inherited() && ring.peek().is_some());
    // SAFETY: the child calls nothing that takes a lock, and leaves by _exit().
    unsafe {
        let pid = libc::fork();
        assert!(pid >= 0);
        if pid == 0 {
            // Something else of the child's, where the parent has its ring.
            let (base, len) = ring.range();
            let other = libc::mmap(
                base,
                len,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED_NOREPLACE,
                -1,
                0,
            );
            let mut good = other == base;
            let bytes = base.cast::<u32>();

            bytes.add(1024 + 2).write_volatile(entry);
            good &= ring.is_inherited() && ring.take().is_none() && ring.is_empty();
            good &= ring.cursor() == 0 && ring.take_or_seen() == Err(0);
            good &= ring.drain().next().is_none() && ring.stats().posted == 0;
            drop(ring);
            good &= bytes.add(1024 + 2).read_volatile() == entry;
            libc::_exit(if good { 0 } else { 1 });
        }
        let mut status = -1;
        assert_eq!(libc::waitpid(pid, &mut status, 0), pid);
        assert_eq!(status, 0);
    }
    assert_eq!(ring.take().map(|event| event.raw_events()), Some(7));
}

/// The ring's memory may be mapped by other code, which needs no `std`.
#[test]
fn viewed() {
    use super::View;
    use core::ptr::NonNull;

    let fd = memfd(8192);
    let words = words(&fd, 8192);
    let base = NonNull::new(words.as_ptr().cast::<u8>().cast_mut()).unwrap();
    // SAFETY: it is mapped for good, and accessed as atomics.
    let view = unsafe { View::from_raw(base, &GEOMETRY) }.unwrap();

    words[1024 + 2].store(sys::KEVENT_WORD_READY | 3, Ordering::Relaxed);
    words[16].store(sys::KEVENT_RING_RECHECK, Ordering::Relaxed);
    words[26].store(5, Ordering::Relaxed);
    assert!(view.wants_recheck() && !view.has_backlog() && view.entries() == 8);
    assert_eq!(view.stats().saved, 5);
    assert_eq!(view.take().map(|event| event.raw_events()), Some(3));
    assert_eq!((view.take_or_seen(), view.cursor()), (Err(1), 1));
    // SAFETY: as above; and what is wrong is refused before anything is accessed.
    unsafe {
        let odd = NonNull::new(base.as_ptr().add(8)).unwrap();
        assert!(View::from_raw(odd, &GEOMETRY).is_err());
        assert!(View::from_raw(base, &Geometry::default()).is_err());
    }
}

/// The mapped ring, with the producer on another mapping of the same memory.
#[test]
fn mapped() {
    let fd = memfd(8192);
    let ring = Ring::map(fd.as_fd(), &GEOMETRY).unwrap();
    // SAFETY: a new mapping, checked, never unmapped.
    let base = unsafe {
        let base = libc::mmap(
            core::ptr::null_mut(),
            8192,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_SHARED,
            fd.as_raw_fd(),
            0,
        );
        assert_ne!(base, libc::MAP_FAILED);
        base.cast::<u8>()
    };
    drop(fd);
    // SAFETY: eight slots are there, of integers that are accessed as atomics.
    let slots = unsafe { core::slice::from_raw_parts(base.add(4096).cast::<Slot>(), 8) };
    let private = Private::new(8, 0);
    let producer = Producer {
        slots,
        private: &private,
    };
    // SAFETY: the places of `flags`, `posted` and `cursor` in the header.
    let (flags, posted, cursor) = unsafe {
        (
            &*base.add(64).cast::<AtomicU32>(),
            &*base.add(72).cast::<AtomicU64>(),
            &*base.add(128).cast::<AtomicU32>(),
        )
    };

    assert_eq!((ring.entries(), ring.cursor()), (8, 0));
    assert!(ring.is_empty() && ring.take().is_none() && !ring.has_backlog());
    for n in 0..8 {
        assert!(producer.post(event(n)).is_some());
    }
    assert_eq!(producer.post(event(8)), None);
    flags.store(sys::KEVENT_RING_BACKLOG, Ordering::Relaxed);
    posted.store(8, Ordering::Relaxed);
    assert!(ring.has_backlog());
    assert_eq!(ring.stats().posted, 8);
    assert!(is_whole(&ring.peek().unwrap()));
    assert!(is_whole(&ring.take().unwrap()));
    assert!(ring.drain().map(|e| e.user_data()).eq(1..8));
    assert_eq!(ring.take_or_seen(), Err(8));
    assert_eq!(cursor.load(Ordering::Relaxed), 8);
    assert!(format!("{ring:?}").contains("cursor: 8"));
}

#[test]
fn bad_geometry() {
    let fd = memfd(8192);
    let bad = |change: fn(&mut Geometry)| {
        let mut geometry = GEOMETRY;

        change(&mut geometry);
        let error = Ring::map(fd.as_fd(), &geometry).unwrap_err();
        assert_eq!(error, Error::Invalid, "{geometry:?}");
    };

    bad(|g| g.ring_entries = 0);
    bad(|g| g.ring_entries = 3);
    bad(|g| g.ring_entries = 256);
    bad(|g| g.ring_entries = 1 << 31);
    bad(|g| g.entries_offset = 0);
    bad(|g| g.entries_offset = 4100);
    bad(|g| g.entries_offset = 8192);
    bad(|g| g.entries_offset = u32::MAX - 7);
    bad(|g| g.mmap_size = 0);
    bad(|g| g.mmap_size = 4096);
    bad(|g| g.ring_entries = 1 << 17);
    assert!(Ring::map(fd.as_fd(), &GEOMETRY).is_ok());
}

#[test]
fn slots_start_free() {
    assert_eq!(empty_slot().word.into_inner(), sys::KEVENT_WORD_FREE);
}
