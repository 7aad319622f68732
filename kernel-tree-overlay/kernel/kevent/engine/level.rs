// SPDX-License-Identifier: GPL-2.0-only

//! Levels that `kevent_get_events()` takes.
//!
//! The event of a level is a hint: what it reports held when it was posted, and the program, or
//! another one, may have used it up since. So before the kernel takes such an event for a program
//! it polls the file, and reports what holds then. If that is nothing the event is dropped. Some
//! files report an event to one poll only: that one stays, see [`Source::taken_by_poll`].
//!
//! [`Source::taken_by_poll`]: crate::source::Source::taken_by_poll
//!
//! A level that was polled in the same call already, and reported because it holds, is not polled
//! once more: [`Fresh`].
//!
//! Files are polled for some of the next events at once, while no mutex is held. Others may take
//! those events meanwhile: what was found is dropped then.
//!
//! A level that was taken may hold for more than one thread, so another one that sleeps is woken to
//! look at it: [`Queue::wake_to_look`].

use kernel::sync::Arc;

use crate::{
    core::{
        event::{
            Event,
            EventData, //
        },
        ring::Ring, //
    },
    engine::{
        queue::Queue,
        table::Table,
        watch::{
            Rechecker,
            Watch, //
        }, //
    },
    source::Target, //
};

/// How many levels are tested at a time.
const BATCH: usize = 8;

/// How many events are looked at for them.
const MOST: u32 = 64;

/// What holds of a level.
#[derive(Clone, Copy)]
pub(crate) struct State {
    events: u32,
    /// If an event reports the first, what it reports of the second stays: a poll takes it away.
    kept: (u32, u32),
    data: EventData,
}

impl State {
    /// Whether there is something to report in place of `event`.
    pub(crate) fn holds(&self, event: &Event) -> bool {
        self.events_for(event) != 0
    }

    fn events_for(&self, event: &Event) -> u32 {
        let (sign, kept) = self.kept;
        if event.0.events & sign != 0 {
            self.events | (event.0.events & kept)
        } else {
            self.events
        }
    }

    /// The event that reports it, in place of `event`.
    pub(crate) fn update(&self, event: &Event) -> Event {
        // The class, and how often it was merged.
        const KEPT: u32 = 0xffff_00ff;
        let mut event = *event;
        event.0.events = self.events_for(&event);
        event.0.info = (event.0.info & KEPT) | self.data.info;
        event.0.data = self.data.data;
        event.0.extra = self.data.extra;
        event
    }
}

/// Which entries of the ring report levels that were found to hold in this call.
pub(crate) struct Fresh {
    /// What was posted before is not among them.
    from: u32,
    /// The others, from there on.
    entries: u64,
}

impl Fresh {
    /// None so far.
    pub(crate) fn new(queue: &Queue) -> Self {
        Self {
            // CAST: Programs count modulo 2^32.
            from: queue.ring().map_or(0, |ring| ring.posted() as u32),
            entries: 0,
        }
    }

    /// The entry at `index` is one.
    pub(crate) fn add(&mut self, index: u32) {
        let bit = 1u64.checked_shl(index.wrapping_sub(self.from));
        self.entries |= bit.unwrap_or(0);
    }

    fn has(&self, index: u32) -> bool {
        let rest = self.entries.checked_shr(index.wrapping_sub(self.from));
        rest.unwrap_or(0) & 1 != 0
    }
}

/// What is known of an event that is to be taken.
pub(crate) enum Verdict {
    /// It is to be taken as it is.
    AsItIs,
    /// It reports a level, of which that holds.
    Level(State),
    /// It reports a level, as it is.
    Fresh,
    /// It reports a level, which is to be tested first.
    Untested,
}

/// A level that is to be tested, or was.
struct Level {
    watch: Arc<Watch>,
    /// Of its entry in the ring, if there is one.
    index: u32,
    target: Option<Target>,
    found: u32,
    /// `None` if it is not to be tested.
    state: Option<State>,
}

/// Some of the levels among the events that come next.
struct Batch {
    /// From here on the entries of the ring were looked at.
    from: u32,
    /// Up to here.
    to: u32,
    levels: [Option<Level>; BATCH],
    nr: usize,
}

impl Batch {
    #[inline(always)]
    fn new() -> Self {
        Self {
            from: 0,
            to: 0,
            levels: [const { None }; BATCH],
            nr: 0,
        }
    }

    fn is_full(&self) -> bool {
        self.nr == BATCH
    }

    /// Adds a level, to be called with the mutex of the table held. If there is no file to be
    /// polled, it is not to be tested.
    fn push(&mut self, watch: &Arc<Watch>, index: u32) {
        if let Some(level) = self.levels.get_mut(self.nr) {
            self.nr = self.nr.saturating_add(1);
            *level = Some(Level {
                watch: watch.clone(),
                index,
                target: watch.source().target(watch.as_arc_borrow()),
                found: 0,
                state: None,
            });
        }
    }

    /// Looks for levels that are not `fresh` among the next `most` entries of the ring.
    fn look_at_ring(&mut self, table: &Table, ring: &Ring, fresh: &Fresh, most: u32) {
        self.from = ring.cursor();
        self.to = self.from;
        for _ in 0..most {
            let Some(place) = ring.level_at(self.to) else {
                return;
            };
            let place = place.filter(|_| !fresh.has(self.to));
            if let Some(watch) = place.and_then(|place| table.level_at(place, self.to)) {
                if self.is_full() {
                    return;
                }
                self.push(watch, self.to);
            }
            self.to = self.to.wrapping_add(1);
        }
    }

    /// Polls them. May sleep for as long as the files like: no mutex of a queue is held.
    fn poll(&mut self) -> bool {
        let mut polled = false;
        for level in self.levels.iter_mut().flatten() {
            if let Some(target) = &level.target {
                level.found = target.poll(Rechecker::PROGRAM);
                polled = true;
            }
        }
        polled
    }

    /// What was found, of watches that are still there.
    fn judge(&mut self, table: &Table) {
        for level in self.levels.iter_mut().flatten() {
            if level.target.is_some() && table.has(&level.watch) {
                let source = level.watch.source();
                let events = source.polled(level.watch.as_arc_borrow(), level.found);
                let data = level.watch.level_data();
                let kept = source.taken_by_poll();
                level.state = Some(State { events, kept, data });
            }
        }
    }

    /// What is known of the entry at `index` of the ring, if that was looked at.
    fn at(&self, index: u32) -> Option<Verdict> {
        if index.wrapping_sub(self.from) >= self.to.wrapping_sub(self.from) {
            return None;
        }
        let mut levels = self.levels.iter().flatten();
        let level = levels.find(|level| level.index == index);
        let state = level.and_then(|level| level.state);
        Some(state.map_or(Verdict::AsItIs, Verdict::Level))
    }
}

/// What is known of the levels among the events that come next.
pub(crate) struct Tested {
    fresh: Fresh,
    /// Those that were looked at, if any were. It is large, and most calls have no use for it.
    batch: Option<Batch>,
}

impl Tested {
    /// None was looked at, beside those that are `fresh`.
    #[inline(always)]
    pub(crate) fn new(fresh: Fresh) -> Self {
        Self { fresh, batch: None }
    }

    /// What is known of the entry at `index` of the ring.
    pub(crate) fn at(&self, ring: &Ring, index: u32) -> Verdict {
        if !matches!(ring.level_at(index), Some(Some(_))) {
            return Verdict::AsItIs;
        }
        if self.fresh.has(index) {
            return Verdict::Fresh;
        }
        let verdict = self.batch.as_ref().and_then(|batch| batch.at(index));
        verdict.unwrap_or(Verdict::Untested)
    }

    /// What is known of a watch whose event comes next, in a queue without a ring. That is asked
    /// once: the next event of the watch is another one.
    pub(crate) fn of(&mut self, watch: &Arc<Watch>) -> Verdict {
        let is_it = |level: &Option<Level>| {
            level
                .as_ref()
                .is_some_and(|level| Arc::ptr_eq(&level.watch, watch))
        };
        let mut levels = self.batch.iter_mut().flat_map(|batch| &mut batch.levels);
        let Some(level) = levels.find(|level| is_it(level)) else {
            return Verdict::Untested;
        };
        let state = level.take().and_then(|level| level.state);
        state.map_or(Verdict::AsItIs, Verdict::Level)
    }
}

impl Queue {
    /// Tests the levels among the next `most` events, or some of them, beside those that are known
    /// to be fresh, instead of what was `tested` before. Not to be called with locks held.
    pub(crate) fn test_levels(&self, most: u32, tested: &mut Tested) {
        // What is dropped here may be the last reference to a watch.
        tested.batch = None;
        let batch = tested.batch.get_or_insert_with(Batch::new);
        let most = most.min(MOST);
        {
            let table = self.watches().lock();
            match self.ring() {
                Some(ring) => batch.look_at_ring(&table, ring, &tested.fresh, most),
                None => {
                    for watch in self.first_levels::<BATCH>(most).iter().flatten() {
                        batch.push(watch, 0);
                    }
                }
            }
        }
        if batch.poll() {
            batch.judge(&self.watches().lock());
        }
        // What is dropped here may be the last reference to a file.
        for level in batch.levels.iter_mut().flatten() {
            level.target = None;
        }
    }
}
