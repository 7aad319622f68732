// SPDX-License-Identifier: MIT

//! The consumer against the kernel's side of the protocol, in every interleaving and under every
//! reordering that the memory model allows, up to a bound on preemptions:
//!
//! ```sh
//! RUSTFLAGS="--cfg loom" cargo test --release -p kevent --lib
//! ```
//!
//! What loom cannot show: it never lets a load see a store that comes later, so that the slot is
//! freed with release order, and the fields are read before, is not tested by this.

use super::model::{Change, Model};
use crate::event::Event;
use crate::sys;
use loom::model::Builder;
use loom::sync::Arc;
use loom::thread;

const COUNTED: u32 = sys::KEVENT_INFO_COUNTED | sys::KEVENT_SOURCE_TIMER;

/// Two preemptions are enough for every wrong turn of the protocol that was tried on these tests: no
/// lap, no exchange, a relaxed exchange, a cancel that drops the lap, a claim of a slot that is not
/// yet published. Three where it is cheap.
fn check(preemptions: usize, test: impl Fn() + Sync + Send + 'static) {
    let mut builder = Builder::new();

    builder.preemption_bound = Some(preemptions);
    builder.check(test);
}

fn event(n: u64) -> sys::kevent_event {
    sys::kevent_event {
        user_data: n,
        events: n as u32,
        info: sys::KEVENT_SOURCE_USER,
        data: -(n as i64),
        extra: !n,
    }
}

/// The entry's number, after a look that all its fields are of one entry.
fn number(event: Event) -> u64 {
    let n = event.user_data();

    assert_eq!(u64::from(event.raw_events()), n);
    assert_eq!(event.data(), -(n as i64));
    assert_eq!(event.extra(), !n);
    n
}

fn take(model: &Model, times: usize) -> Vec<u64> {
    (0..times)
        .filter_map(|_| model.consumer().take().ok())
        .map(number)
        .collect()
}

/// Posts these events as far as there is room; returns those that were.
fn post(model: &Model, events: impl IntoIterator<Item = u64>) -> Vec<u64> {
    events
        .into_iter()
        .filter(|n| model.producer().post(event(*n)).is_some())
        .collect()
}

/// Runs `work` in a thread of its own. The main thread of a test only waits for the others: so any
/// of them can be the first to run, without that counting as a preemption.
fn spawn<T: 'static>(
    model: &Arc<Model>,
    work: impl FnOnce(&Model) -> T + 'static,
) -> thread::JoinHandle<T> {
    let model = model.clone();

    thread::spawn(move || work(&model))
}

/// What is taken now comes after `taken`, and all of it is `expected`, in whatever order.
fn check_all(model: &Model, mut taken: Vec<u64>, mut expected: Vec<u64>) {
    taken.extend(take(model, 4));
    taken.sort();
    expected.sort();
    assert_eq!(taken, expected);
    assert!(model.consumer().is_empty());
}

/// Two slots, three events, two consumers: each event comes out once, whole and in order, and what
/// did not fit was refused. One consumer may sleep at any point while the other one comes round.
#[test]
fn two_consumers() {
    check(2, || {
        let model = Arc::new(Model::new(2, u32::MAX));
        assert_eq!(post(&model, [1, 2]), [1, 2]);

        let one = spawn(&model, |model| take(model, 1));
        let two = spawn(&model, |model| {
            let taken = take(model, 3);
            assert!(taken.is_sorted());
            taken
        });
        let producer = spawn(&model, |model| post(model, [3]));

        let taken = [one.join().unwrap(), two.join().unwrap()].concat();
        let posted = [vec![1, 2], producer.join().unwrap()].concat();
        check_all(&model, taken, posted);
    });
}

/// Two producers and a consumer on two slots: one producer may sleep between claiming its slot and
/// publishing it while the other one comes round.
#[test]
fn two_producers() {
    check(2, || {
        let model = Arc::new(Model::new(2, 0));
        let one = spawn(&model, |model| post(model, [1]));
        let two = spawn(&model, |model| post(model, [2, 3]));
        let consumer = spawn(&model, |model| take(model, 1));

        let posted = [one.join().unwrap(), two.join().unwrap()].concat();
        check_all(&model, consumer.join().unwrap(), posted);
    });
}

/// A slot that is used again and again hands over its fields each time.
#[test]
fn reuse() {
    check(3, || {
        let model = Arc::new(Model::new(2, 0));
        let producer = spawn(&model, |model| post(model, 1..=4));
        let consumer = spawn(&model, |model| take(model, 4));

        let posted = producer.join().unwrap();
        let taken = consumer.join().unwrap();
        assert!(taken.is_sorted());
        check_all(&model, taken, posted);
    });
}

/// Occurrences that merge while the entry is being taken: the sum is right, whichever wins.
#[test]
fn merge() {
    check(2, || {
        let model = Arc::new(Model::new(4, 0));
        let counted = sys::kevent_event {
            info: COUNTED,
            data: 1,
            ..Default::default()
        };
        let index = model.producer().post(counted).unwrap();

        let producer = spawn(&model, move |model| {
            let mut last = index;

            for _ in 0..2 {
                if model.producer().merge(last, 1) != Change::Done {
                    last = model.producer().post(counted).expect("a slot is free");
                }
            }
        });
        let take = |model: &Model| model.consumer().take().map_or(0, |event| event.data());
        let (one, two) = (spawn(&model, take), spawn(&model, take));

        producer.join().unwrap();
        let mut sum = one.join().unwrap() + two.join().unwrap();
        while let Ok(event) = model.consumer().take() {
            sum += event.data();
        }
        assert_eq!(sum, 3);
    });
}

/// An amount is as of the post, whatever merges into the entry; never of another entry.
#[test]
fn amount() {
    check(3, || {
        let model = Arc::new(Model::new(2, 0));
        let index = model.producer().post(event(1)).unwrap();

        let producer = spawn(&model, move |model| {
            let merged = model.producer().merge(index, 0x100);
            assert_eq!(post(model, [2]), [2]);
            merged == Change::Done
        });
        let consumer = spawn(&model, |model| {
            let seen = model.consumer().peek().unwrap();
            assert_eq!(seen.user_data(), 1);
            assert_eq!(seen.data(), -1);
            model.consumer().take().unwrap()
        });

        let merged = producer.join().unwrap();
        let first = consumer.join().unwrap();
        assert_eq!((first.user_data(), first.extra()), (1, !1));
        assert_eq!(first.merged(), u32::from(merged));
        assert_eq!(first.raw_events(), if merged { 0x101 } else { 1 });
        assert_eq!(first.data(), -1);
        check_all(&model, Vec::new(), vec![2]);
    });
}

/// A look at an entry that another thread takes meanwhile, and whose slot is filled again: what is
/// seen is one entry or the other.
#[test]
fn peek() {
    check(3, || {
        let model = Arc::new(Model::new(2, 0));
        assert_eq!(post(&model, [1, 2]), [1, 2]);

        let looker = spawn(&model, |model| model.consumer().peek().map(number));
        let consumer = spawn(&model, |model| take(model, 1));
        let producer = spawn(&model, |model| post(model, [3]));

        assert!(looker.join().unwrap().is_some());
        let posted = [vec![1, 2], producer.join().unwrap()].concat();
        check_all(&model, consumer.join().unwrap(), posted);
    });
}

/// An entry is cancelled or taken, never both and never neither; and nothing behind it is lost.
#[test]
fn cancel() {
    check(2, || {
        let model = Arc::new(Model::new(2, 2));
        let index = model.producer().post(event(1)).unwrap();
        assert_eq!(post(&model, [2]), [2]);

        let kernel = spawn(&model, move |model| {
            let cancelled = model.producer().cancel(index) == Change::Done;
            (cancelled, post(model, [3]))
        });
        let one = spawn(&model, |model| take(model, 1));
        let two = spawn(&model, |model| take(model, 2));

        let (cancelled, posted) = kernel.join().unwrap();
        let taken = [one.join().unwrap(), two.join().unwrap()].concat();
        let first = if cancelled { vec![] } else { vec![1] };
        check_all(&model, taken, [first, vec![2], posted].concat());
    });
}

/// A publisher that finds a mark on its slot gives the slot up and takes the next one.
#[test]
fn cancel_and_publish() {
    check(2, || {
        let model = Arc::new(Model::new(2, 0));
        let index = model.producer().post(event(1)).unwrap();

        let canceller = spawn(&model, move |model| model.producer().cancel(index));
        let consumer = spawn(&model, |model| take(model, 2));
        let producer = spawn(&model, |model| post(model, [2, 3]));

        let first = match canceller.join().unwrap() {
            Change::Done => vec![],
            _ => vec![1],
        };
        let posted = [first, producer.join().unwrap()].concat();
        check_all(&model, consumer.join().unwrap(), posted);
    });
}

/// Take, merge and cancel all at once on one entry.
#[test]
fn everything_at_once() {
    check(3, || {
        let model = Arc::new(Model::new(2, 0));
        let index = model.producer().post(event(1)).unwrap();

        let merger = spawn(&model, move |model| model.producer().merge(index, 0x100));
        let canceller = spawn(&model, move |model| model.producer().cancel(index));
        let consumer = spawn(&model, |model| model.consumer().take().ok());

        let merged = merger.join().unwrap() == Change::Done;
        let taken = consumer.join().unwrap();
        // A cancel that finds a mark is tried again: the kernel does not leave it at that.
        let cancelled = match canceller.join().unwrap() {
            Change::Later => model.producer().cancel(index),
            other => other,
        };
        assert_eq!(taken.is_none(), cancelled == Change::Done);
        if let Some(event) = taken {
            assert_eq!(event.merged(), u32::from(merged));
            assert_eq!(event.raw_events(), if merged { 0x101 } else { 1 });
        }
        assert!(model.consumer().is_empty());
    });
}
