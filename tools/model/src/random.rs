// SPDX-License-Identifier: GPL-2.0-only

//! Long random sequences of operations on the kernel's `ring.rs`, by one thread, against a model of
//! what should happen: a queue with names for its places.

use crate::consumer::Mapping;
use crate::core::event::Event;
use crate::core::ring::{Ring, Taken};
use crate::protocol::{Change, Protocol};
use crate::uapi;
use proptest::prelude::*;
use std::collections::VecDeque;

#[derive(Clone, Debug)]
enum Op {
    Publish {
        events: u32,
        counted: bool,
    },
    /// Into the entry that was published that long ago.
    Merge {
        back: u64,
        events: u32,
        count: u32,
    },
    Cancel {
        back: u64,
    },
    /// By the program.
    Take,
    /// By the kernel. What was taken is held until one of the next two.
    Hold,
    Release,
    /// Look at the next one, as one does who cannot copy it.
    Look,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        6 => (0..0x10000u32, any::<bool>())
            .prop_map(|(events, counted)| Op::Publish { events, counted }),
        4 => (1..6u64, 0..0x10000u32, prop_oneof![4 => 0..3u32, 1 => 500..2000u32])
            .prop_map(|(back, events, count)| Op::Merge { back, events, count }),
        1 => (1..6u64).prop_map(|back| Op::Cancel { back }),
        3 => Just(Op::Take),
        2 => Just(Op::Hold),
        2 => Just(Op::Release),
        2 => Just(Op::Look),
    ]
}

/// An entry as it should be.
#[derive(Clone, Debug)]
struct Entry {
    index: u64,
    user_data: u64,
    events: u32,
    counted: bool,
    /// `KEVENT_INFO_*`
    info: u32,
    merged: u32,
    data: i64,
    extra: u64,
    cancelled: bool,
}

impl Entry {
    fn is(&self, event: &Event) -> Result<(), TestCaseError> {
        let e = &event.0;
        let count = if self.counted { self.merged } else { 0 };
        prop_assert_eq!(e.user_data, self.user_data);
        prop_assert_eq!(e.events, self.events);
        prop_assert_eq!(uapi::KEVENT_SOURCE_USER | self.info, e.info & 0xffff);
        prop_assert_eq!(e.info >> 16, self.merged);
        prop_assert_eq!(e.data, self.data + i64::from(count));
        prop_assert_eq!(e.extra, self.extra);
        Ok(())
    }
}

/// The ring, what should be in it, and what a consumer inside the kernel holds.
struct Tested {
    ring: Ring,
    entries: u32,
    expected: VecDeque<Entry>,
    held: Vec<((Event, Taken), Entry)>,
    posted: u64,
    /// The index of the next entry to take.
    cursor: u64,
}

impl Tested {
    /// Drops what is cancelled at the front, and gives what comes next.
    fn next(&mut self) -> Option<Entry> {
        while let Some(entry) = self.expected.pop_front() {
            self.cursor = entry.index + 1;
            if !entry.cancelled {
                return Some(entry);
            }
        }
        None
    }

    fn entry(&mut self, index: u64) -> Option<&mut Entry> {
        self.expected
            .iter_mut()
            .find(|e| e.index == index && !e.cancelled)
    }

    /// Whether the slot of the next index is free.
    fn has_room(&self) -> bool {
        let Some(previous) = self.posted.checked_sub(self.entries.into()) else {
            return true;
        };
        self.expected.iter().all(|e| e.index != previous)
            && self.held.iter().all(|(_, e)| e.index != previous)
    }

    fn run(&mut self, op: Op) -> Result<(), TestCaseError> {
        match op {
            Op::Publish { events, counted } => {
                let user_data = self.posted * 3;
                let info = if counted {
                    uapi::KEVENT_INFO_COUNTED
                } else {
                    0
                };
                let entry = Entry {
                    index: self.posted,
                    user_data,
                    events,
                    counted,
                    info,
                    merged: 0,
                    data: -5,
                    extra: !user_data,
                    cancelled: false,
                };
                let event = Event(uapi::kevent_event {
                    user_data,
                    // What is neither an event bit nor a number of merges must not get into the word.
                    events: events | 0xa800_0000,
                    info: uapi::KEVENT_SOURCE_USER | info,
                    data: -5,
                    extra: !user_data,
                });
                let room = self.has_room();
                prop_assert_eq!(self.ring.publish(&event), room.then_some(self.posted));
                if room {
                    self.posted += 1;
                    self.expected.push_back(entry);
                }
            }
            Op::Merge {
                back,
                events,
                count,
            } => {
                let index = self.posted.wrapping_sub(back);
                let expected = match self.entry(index) {
                    None => Change::Gone,
                    Some(e) => {
                        let sum = e.merged + count;
                        e.merged = sum.min(uapi::KEVENT_WORD_MERGED_MAX);
                        e.events |= events;
                        match sum - e.merged {
                            0 => Change::Done,
                            left => Change::Left(left),
                        }
                    }
                };
                let change = Protocol::merge(&self.ring, index, events, count);
                prop_assert_eq!(change, expected);
            }
            Op::Cancel { back } => {
                let index = self.posted.wrapping_sub(back);
                let expected = match self.entry(index) {
                    None => Change::Gone,
                    Some(e) => {
                        e.cancelled = true;
                        Change::Done
                    }
                };
                prop_assert_eq!(Protocol::cancel(&self.ring, index), expected);
            }
            Op::Take => {
                let mapping = Mapping {
                    base: self.ring.pages().as_ptr(),
                    entries_offset: Ring::entries_offset(),
                    entries: self.entries,
                };
                let taken = mapping.take(uapi::KEVENT_WORD_LAP_MASK);
                self.took(taken.as_ref())?;
            }
            Op::Hold => {
                let taken = self.ring.take_first();
                let entry = self.took(taken.as_ref().map(|t| &t.0))?;
                self.held.extend(taken.zip(entry));
            }
            Op::Release => {
                if let Some(((_, taken), _)) = self.held.pop() {
                    self.ring.release(&taken);
                }
            }
            Op::Look => {
                let first = self.ring.first();
                let entry = self.next();
                self.is_next(first.as_ref().map(|f| &f.event), &entry)?;
                if let Some(entry) = entry {
                    self.cursor = entry.index;
                    self.expected.push_front(entry);
                }
            }
        }
        self.look()
    }

    fn took(&mut self, event: Option<&Event>) -> Result<Option<Entry>, TestCaseError> {
        let expected = self.next();
        self.is_next(event, &expected)?;
        Ok(expected)
    }

    fn is_next(
        &self,
        event: Option<&Event>,
        expected: &Option<Entry>,
    ) -> Result<(), TestCaseError> {
        match (event, expected) {
            (Some(event), Some(entry)) => entry.is(event)?,
            (event, entry) => prop_assert!(
                event.is_none() && entry.is_none(),
                "{:?} instead of {entry:?}",
                event.map(|e| e.0)
            ),
        }
        Ok(())
    }

    /// The questions that change nothing.
    fn look(&self) -> Result<(), TestCaseError> {
        let there = (self.posted - self.cursor) as u32;
        prop_assert_eq!(self.ring.posted(), self.posted);
        prop_assert_eq!(self.ring.available(None), there);
        prop_assert_eq!(self.ring.available(Some(self.cursor as u32)), there);
        for nr in 1..=self.entries {
            prop_assert_eq!(self.ring.has(None, nr), nr <= there);
            // Who is behind sees what is there, and who is ahead what comes after.
            let behind = (self.cursor as u32).wrapping_sub(1);
            prop_assert_eq!(self.ring.has(Some(behind), nr), nr <= there);
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: if cfg!(debug_assertions) { 100 } else { 5000 },
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn any_sequence_does_what_the_model_does(
        order in 1..4u32,
        ops in proptest::collection::vec(op(), 1..400),
    ) {
        let entries = 1 << order;
        let mut tested = Tested {
            ring: <Ring as Protocol>::new(entries),
            entries,
            expected: VecDeque::new(),
            held: Vec::new(),
            posted: 0,
            cursor: 0,
        };
        for op in ops {
            tested.run(op)?;
        }
    }

    /// Whatever a program writes into the mapping, the kernel's side stays within it and ends.
    #[test]
    fn nonsense_in_the_mapping_is_survived(
        ops in proptest::collection::vec((op(), any::<u32>(), 0..1024usize), 1..400),
    ) {
        let ring = <Ring as Protocol>::new(4);
        let mut last = 0;
        let words = ring.pages().as_ptr().cast::<u32>();
        for (op, word, at) in ops {
            // The cursor and the slots half of the time.
            let at = if word & 1 == 0 { at } else { [32, 66, 74, 82, 90][at % 5] };
            // SAFETY: The page has 1024 words, and there is one thread.
            unsafe { words.wrapping_add(at).write_volatile(word) };
            match op {
                Op::Publish { .. } => last = ring.publish(&Event::default()).unwrap_or(last),
                Op::Merge { back, events, count } => {
                    let _ = Protocol::merge(&ring, last.wrapping_sub(back), events, count);
                }
                Op::Cancel { back } => {
                    let _ = Protocol::cancel(&ring, last.wrapping_sub(back));
                }
                Op::Take | Op::Hold | Op::Release => {
                    let first = ring.first();
                    if let Some(taken) = first.and_then(|first| ring.take(&first)) {
                        ring.release(&taken);
                    }
                }
                Op::Look => {
                    ring.first();
                }
            }
            prop_assert!(ring.available(Some(word)) <= 4);
            ring.has(Some(word), word);
        }
    }
}
