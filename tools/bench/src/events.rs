// SPDX-License-Identifier: GPL-2.0-only

//! What an event costs: rounds of writing to a few of many ends and serving what became ready.
//!
//! A repetition is 64 events, which is short enough for most of them not to meet the timer
//! interrupt. The figure is that of the cheapest repetition, less that of the cheapest repetition of
//! the bare loop, which writes and reads the same ends in the same order and asks nobody.

use anyhow::Result;

use crate::api::{Api, Kind};
use crate::clock::Clock;
use crate::ends::{Ends, Source};
use crate::plan::{Plan, WATCHED, What};
use crate::report::{Figures, Report, Row};

/// Events of a repetition.
pub const EVENTS: usize = 64;
/// How often all ends are gone through before anything is measured, and then measured.
const WARM_UP: usize = 4;
const LAPS: usize = 8;

/// What the repetitions of a loop took, and the calls of all of them.
struct Loop {
    /// In order of size.
    times: Vec<u64>,
    calls: u64,
}

impl Loop {
    fn min(&self) -> f64 {
        self.times[0] as f64 / EVENTS as f64
    }

    fn median(&self) -> f64 {
        self.times[self.times.len() / 2] as f64 / EVENTS as f64
    }

    fn calls_per_event(&self) -> f64 {
        self.calls as f64 / (self.times.len() * EVENTS) as f64
    }
}

/// Measures the planned rows of one source.
pub fn measure(plan: &Plan, source: Source, clock: &Clock, report: &mut Report) -> Result<()> {
    let ends = Ends::new(source, WATCHED)?;
    let mut bare: Vec<(usize, Loop)> = Vec::new();

    for task in plan.tasks().filter(|task| task.source == source) {
        let What::Events(batch) = task.what else {
            continue;
        };
        if bare.last().is_none_or(|(of, _)| *of != batch) {
            bare.push((batch, run(Kind::Bare, batch, &ends, clock)?));
        }
        let (_, bare) = &bare[bare.len() - 1];
        let this = run(task.kind, batch, &ends, clock)?;

        report.push(Row {
            source,
            batch,
            api: task.kind,
            figures: Figures::Event {
                insn_per_event: this.min() - bare.min(),
                insn_per_event_median: this.median() - bare.median(),
                insn_bare: bare.min(),
                calls_per_event: this.calls_per_event(),
            },
        });
    }
    Ok(())
}

/// Runs the loop of one interface.
fn run(kind: Kind, batch: usize, ends: &Ends, clock: &Clock) -> Result<Loop> {
    let mut api = kind.open(ends.len())?;
    let mut first = 0;

    api.add_all(ends)?;
    for _ in 0..WARM_UP * WATCHED / EVENTS {
        repeat(&mut *api, &mut first, batch, ends)?;
    }
    let before = api.calls();
    let mut times = Vec::with_capacity(LAPS * WATCHED / EVENTS);
    for _ in 0..times.capacity() {
        times.push(clock.count(|| repeat(&mut *api, &mut first, batch, ends))?);
    }
    times.sort_unstable();
    Ok(Loop {
        times,
        calls: api.calls() - before,
    })
}

/// One repetition, from end number `first` on.
pub fn repeat(api: &mut dyn Api, first: &mut usize, batch: usize, ends: &Ends) -> Result<()> {
    for _ in 0..EVENTS / batch {
        round(api, first, batch, ends)?;
    }
    Ok(())
}

/// One round: what happens, and what the program does about it.
fn round(api: &mut dyn Api, first: &mut usize, batch: usize, ends: &Ends) -> Result<()> {
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
        let times: Vec<u64> = vec![640, 1280, 6400];
        let this = Loop { times, calls: 3 };

        assert_eq!((this.min(), this.median()), (10.0, 20.0));
        assert_eq!(this.calls_per_event(), 1.0 / 64.0);
    }

    #[test]
    fn goes_round() {
        let ends = Ends::new(Source::Eventfd, 128).unwrap();
        let mut first = 0;

        for _ in 0..3 {
            repeat(&mut *Kind::Bare.open(1).unwrap(), &mut first, 1, &ends).unwrap();
        }
        assert_eq!(first, 64);
    }
}
