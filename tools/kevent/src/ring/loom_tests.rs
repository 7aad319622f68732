// SPDX-License-Identifier: MIT

//! The consumer against the kernel's side of the protocol, in every interleaving and under every
//! reordering that the memory model allows, up to a bound on preemptions:
//!
//! ```sh
//! RUSTFLAGS="--cfg loom" cargo test --release -p kevent --lib
//! ```

use super::model::{Change, Model};
use crate::event::Event;
use crate::sys;
use loom::model::Builder;
use loom::sync::Arc;
use loom::thread;

const COUNTED: u32 = sys::KEVENT_INFO_COUNTED | sys::KEVENT_SOURCE_TIMER;

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

    assert_eq!(u64::from(event.events()), n);
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

/// Two slots, three events, two consumers: each event comes out once, whole and in order, and what
/// did not fit was refused. One consumer may sleep at any point while the other one comes round.
#[test]
fn two_consumers() {
    check(3, || {
        let model = Arc::new(Model::new(2, u32::MAX));
        assert!(model.producer().post(event(1)).is_some());
        assert!(model.producer().post(event(2)).is_some());

        let one = thread::spawn({
            let model = model.clone();
            move || take(&model, 1)
        });
        let two = thread::spawn({
            let model = model.clone();
            move || {
                let taken = take(&model, 3);
                assert!(taken.is_sorted());
                taken
            }
        });
        let posted = model.producer().post(event(3)).is_some();

        let mut taken = one.join().unwrap();
        taken.extend(two.join().unwrap());
        taken.extend(take(&model, 3));
        taken.sort();
        assert_eq!(taken, if posted { vec![1, 2, 3] } else { vec![1, 2] });
        assert!(model.consumer().is_empty());
    });
}

/// Two producers and a consumer on two slots: one producer may sleep between claiming its slot and
/// publishing it while the other one comes round.
#[test]
fn two_producers() {
    check(3, || {
        let model = Arc::new(Model::new(2, 0));
        let one = thread::spawn({
            let model = model.clone();
            move || model.producer().post(event(1)).is_some()
        });
        let two = thread::spawn({
            let model = model.clone();
            move || -> Vec<u64> {
                (2..=3)
                    .filter(|n| model.producer().post(event(*n)).is_some())
                    .collect()
            }
        });
        let mut taken = take(&model, 1);

        let mut posted = Vec::new();
        posted.extend(one.join().unwrap().then_some(1));
        posted.extend(two.join().unwrap());
        taken.extend(take(&model, 3));
        taken.sort();
        assert_eq!(taken, posted);
        assert!(model.consumer().is_empty());
    });
}

/// A slot that is used again and again hands over its fields each time.
#[test]
fn reuse() {
    check(3, || {
        let model = Arc::new(Model::new(2, 0));
        let producer = thread::spawn({
            let model = model.clone();
            move || {
                (1..=4)
                    .filter(|n| model.producer().post(event(*n)).is_some())
                    .collect()
            }
        });
        let mut taken = take(&model, 4);

        let posted: Vec<u64> = producer.join().unwrap();
        taken.extend(take(&model, 4));
        assert_eq!(taken, posted);
    });
}

/// Occurrences that merge while the entry is being taken: the sum is right, whoever wins.
#[test]
fn merge() {
    check(3, || {
        let model = Arc::new(Model::new(4, 0));
        let counted = sys::kevent_event {
            info: COUNTED,
            data: 1,
            ..Default::default()
        };
        let index = model.producer().post(counted).unwrap();

        let producer = thread::spawn({
            let model = model.clone();
            move || {
                let mut last = index;

                for _ in 0..2 {
                    if model.producer().merge(last, 1, None) != Change::Done {
                        last = model.producer().post(counted).expect("a slot is free");
                    }
                }
            }
        });
        let other = thread::spawn({
            let model = model.clone();
            move || model.consumer().take().map_or(0, |event| event.data())
        });
        let mut sum = model.consumer().take().map_or(0, |event| event.data());

        sum += other.join().unwrap();
        producer.join().unwrap();
        while let Ok(event) = model.consumer().take() {
            sum += event.data();
        }
        assert_eq!(sum, 3);
    });
}

/// An amount is that of an occurrence which is in the entry, or a fresher one; never torn, never of
/// another entry.
#[test]
fn amount() {
    check(3, || {
        let model = Arc::new(Model::new(2, 0));
        let index = model.producer().post(event(1)).unwrap();

        let producer = thread::spawn({
            let model = model.clone();
            move || {
                let merged = model.producer().merge(index, 0x100, Some(100)) == Change::Done;
                model.producer().post(event(2)).expect("a slot is free");
                merged
            }
        });
        if let Some(event) = model.consumer().peek() {
            assert_eq!(event.user_data(), 1);
            assert!(event.data() == -1 || event.data() == 100);
            assert!(event.merged() == 0 || event.data() == 100);
        }
        let first = model.consumer().take().unwrap();

        let merged = producer.join().unwrap();
        assert_eq!((first.user_data(), first.extra()), (1, !1));
        assert_eq!(first.merged(), u32::from(merged));
        assert_eq!(first.events(), if merged { 0x101 } else { 1 });
        if merged {
            assert_eq!(first.data(), 100);
        } else {
            // The merge stored its amount and then came too late: fresh is allowed.
            assert!(first.data() == -1 || first.data() == 100);
        }
        assert_eq!(number(model.consumer().take().unwrap()), 2);
    });
}

/// An entry is cancelled or taken, never both and never neither; and nothing behind it is lost.
#[test]
fn cancel() {
    check(3, || {
        let model = Arc::new(Model::new(2, 2));
        let index = model.producer().post(event(1)).unwrap();
        assert!(model.producer().post(event(2)).is_some());

        let kernel = thread::spawn({
            let model = model.clone();
            move || {
                let cancelled = model.producer().cancel(index) == Change::Done;
                (cancelled, model.producer().post(event(3)).is_some())
            }
        });
        let other = thread::spawn({
            let model = model.clone();
            move || take(&model, 1)
        });
        let mut taken = take(&model, 2);

        taken.extend(other.join().unwrap());
        let (cancelled, posted) = kernel.join().unwrap();
        taken.extend(take(&model, 3));
        taken.sort();
        let expected: Vec<u64> = [(1, !cancelled), (2, true), (3, posted)]
            .into_iter()
            .filter_map(|(n, there)| there.then_some(n))
            .collect();
        assert_eq!(taken, expected);
        assert!(model.consumer().is_empty());
    });
}

/// Take, merge and cancel all at once on one entry.
#[test]
fn everything_at_once() {
    check(2, || {
        let model = Arc::new(Model::new(2, 0));
        let index = model.producer().post(event(1)).unwrap();

        let merger = thread::spawn({
            let model = model.clone();
            move || model.producer().merge(index, 0x100, None) == Change::Done
        });
        let consumer = thread::spawn({
            let model = model.clone();
            move || model.consumer().take().ok()
        });
        // A cancel that finds the mark set is tried again: the kernel does not leave it at that.
        let mut cancelled = model.producer().cancel(index) == Change::Done;

        let merged = merger.join().unwrap();
        let taken = consumer.join().unwrap();
        cancelled = cancelled || model.producer().cancel(index) == Change::Done;
        assert_ne!(taken.is_some(), cancelled);
        if let Some(event) = taken {
            assert_eq!(event.merged(), u32::from(merged));
            assert_eq!(event.events(), if merged { 0x101 } else { 1 });
        }
        assert!(model.consumer().is_empty());
    });
}
