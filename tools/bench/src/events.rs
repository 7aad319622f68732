// SPDX-License-Identifier: GPL-2.0-only

//! What an event costs: rounds of writing to a few of many ends and serving what became ready.
//!
//! All ends get their turn in laps. A lap is 16 stretches of 64 events, each short enough for most
//! not to meet the timer interrupt. Of each stretch the cheapest of all laps counts, and the figure
//! is the mean of the 16, less that of the bare loop, which writes and reads the same ends in the
//! same order and asks no interface.

use anyhow::Result;

use crate::api::{Api, Kind};
use crate::clock::Clock;
use crate::ends::{Ends, Source};
use crate::patience::Patience;
use crate::plan::{Plan, WATCHED, What};
use crate::report::{Figures, Report, Row};

/// Events of a stretch.
pub const EVENTS: usize = 64;
/// Laps of the bare loop with new ends before anything else: what a TCP connection has been through
/// makes it take some 500 instructions more or less, so all loops begin alike.
const BREAK_IN: usize = 32;
/// Laps of each loop before it is measured, and those that are.
const WARM_UP: usize = 4;
pub const LAPS: usize = 8;

/// What a loop took.
pub struct Loop {
    /// For each event, in the cheapest laps and in the median ones.
    pub min: f64,
    pub median: f64,
    pub calls_per_event: f64,
}

impl Loop {
    /// What it took beyond the bare one.
    pub fn beyond(&self, bare: &Loop) -> Figures {
        Figures::Event {
            insn_per_event: self.min - bare.min,
            insn_per_event_median: self.median - bare.median,
            insn_bare: bare.min,
            calls_per_event: self.calls_per_event,
        }
    }

    /// From the times of each stretch in all laps, and the calls of all.
    pub fn new(mut stretches: Vec<Vec<u64>>, calls: u64) -> Loop {
        let laps = stretches[0].len();
        let per_lap = (stretches.len() * EVENTS) as f64;

        stretches.iter_mut().for_each(|times| times.sort_unstable());
        let lap = |nth: usize| stretches.iter().map(|times| times[nth]).sum::<u64>() as f64;
        Loop {
            min: lap(0) / per_lap,
            median: lap(laps / 2) / per_lap,
            calls_per_event: calls as f64 / (per_lap * laps as f64),
        }
    }
}

/// Measures the planned rows of one source.
pub fn measure(plan: &Plan, source: Source, clock: &Clock, report: &mut Report) -> Result<()> {
    let mut bare: Vec<(usize, Loop)> = Vec::new();

    for task in plan.of(source) {
        let What::Events(batch) = task.what else {
            continue;
        };
        task.begin();
        if bare.last().is_none_or(|(of, _)| *of != batch) {
            bare.push((batch, run(source, Kind::Bare, batch, clock)?));
        }
        let (_, bare) = &bare[bare.len() - 1];
        let this = run(source, task.kind, batch, clock)?;

        report.push(Row {
            task,
            figures: this.beyond(bare),
        });
    }
    Ok(())
}

/// Runs the loop of one interface.
fn run(source: Source, kind: Kind, batch: usize, clock: &Clock) -> Result<Loop> {
    let ends = broken_in(source)?;
    let mut api = warm(kind, batch, &ends)?;
    let _patience = Patience::new();
    let mut first = 0;
    let before = api.calls();
    let mut stretches = vec![Vec::new(); WATCHED / EVENTS];
    for _ in 0..LAPS {
        for times in &mut stretches {
            times.push(clock.count(|| stretch(&mut *api, &mut first, batch, &ends))?);
        }
    }
    Ok(Loop::new(stretches, api.calls() - before))
}

/// Ends that have been in use for a while.
pub fn broken_in(source: Source) -> Result<Ends> {
    let ends = Ends::new(source, WATCHED)?;

    laps(BREAK_IN, &mut *Kind::Bare.open(0)?, EVENTS, &ends)?;
    Ok(ends)
}

/// An interface that all ends were registered with, and that has served some laps.
pub fn warm(kind: Kind, batch: usize, ends: &Ends) -> Result<Box<dyn Api>> {
    let mut api = kind.open(ends.len())?;

    api.add_all(ends)?;
    laps(WARM_UP, &mut *api, batch, ends)?;
    Ok(api)
}

fn laps(count: usize, api: &mut dyn Api, batch: usize, ends: &Ends) -> Result<()> {
    let _patience = Patience::new();
    let mut first = 0;

    for _ in 0..count * ends.len() / EVENTS {
        stretch(api, &mut first, batch, ends)?;
    }
    Ok(())
}

/// One stretch, from end number `first` on.
pub fn stretch(api: &mut dyn Api, first: &mut usize, batch: usize, ends: &Ends) -> Result<()> {
    for _ in 0..EVENTS / batch {
        round(api, first, batch, ends)?;
    }
    Ok(())
}

/// One round: what happens, and what the program does about it.
pub fn round(api: &mut dyn Api, first: &mut usize, batch: usize, ends: &Ends) -> Result<()> {
    let ready = *first..*first + batch;

    for index in ready.clone() {
        ends.write(index)?;
    }
    api.serve(ready, ends)?;
    *first = (*first + batch) % ends.len();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn per_event() {
        let stretches = vec![vec![1280, 640, 6400], vec![128, 64000, 128]];
        let this = Loop::new(stretches, 6);

        assert_eq!((this.min, this.median), (6.0, 11.0));
        assert_eq!(this.calls_per_event, 1.0 / 64.0);
    }

    #[test]
    fn goes_round() {
        let ends = Ends::new(Source::Eventfd, 128).unwrap();
        let mut first = 0;

        for _ in 0..3 {
            stretch(&mut *Kind::Bare.open(1).unwrap(), &mut first, 1, &ends).unwrap();
        }
        assert_eq!(first, 64);
    }
}
