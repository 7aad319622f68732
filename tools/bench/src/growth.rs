// SPDX-License-Identifier: GPL-2.0-only

//! How the cost of an event grows with the number of watches, and with how many of them are active:
//! a table and a picture.

use anyhow::{Context, Result};
use serde::Serialize;
use std::fmt;
use std::fs;
use std::path::Path;

use crate::api::{Api, Kind, has_kevent};
use crate::clock::Clock;
use crate::ends::{Ends, Source};
use crate::events::round;
use crate::patience::Patience;
use crate::plot::{Panel, Series, plot};
use crate::report::kernel;

const WATCHES: [usize; 5] = [10, 100, 1_000, 10_000, 100_000];
/// One in so many is active in each round.
const ACTIVE: [usize; 3] = [100, 10, 1];
const KINDS: [Kind; 6] = [
    Kind::KeventEdge,
    Kind::KeventLevel,
    Kind::KeventGetEvents,
    Kind::EpollEdge,
    Kind::EpollLevel,
    Kind::UringDefer,
];

/// Completions that a ring of io_uring has room for: beyond that it cannot wait for all.
const URING_MOST: usize = 65_536;

/// Events that are measured, at least, and rounds.
const EVENTS: usize = 2_000;
const ROUNDS: usize = 3;

/// What an event costs beyond the bare loop.
#[derive(Clone, Copy, Serialize)]
struct Point {
    api: Kind,
    watches: usize,
    /// How many of them are ready in a round.
    active: usize,
    percent: usize,
    insn_per_event: f64,
}

#[derive(Serialize)]
pub struct Growth {
    kernel: String,
    unit: &'static str,
    points: Vec<Point>,
}

/// Measures all of it, with eventfds.
pub fn run(clock: &Clock) -> Result<Growth> {
    let mut points = Vec::new();
    let kevent = has_kevent();

    for watches in WATCHES {
        let ends = Ends::new(Source::Eventfd, watches)?;
        let active = ACTIVE
            .into_iter()
            .filter(|share| watches >= *share)
            .map(|share| (watches / share, 100 / share));
        let bare = active
            .clone()
            .map(|(active, _)| cheapest(&mut *Kind::Bare.open(0)?, active, &ends, clock))
            .collect::<Result<Vec<_>>>()?;

        for api in KINDS.into_iter().filter(|kind| kevent || !kind.is_kevent()) {
            eprintln!("measuring growth {watches}/{api}");
            let mut this = api.open(watches)?;

            this.add_all(&ends)
                .with_context(|| format!("{watches} watches with {api}"))?;
            let at_once = |active: usize| api != Kind::UringDefer || active <= URING_MOST;

            for ((active, percent), bare) in active.clone().zip(&bare) {
                if !at_once(active) {
                    continue;
                }
                points.push(Point {
                    api,
                    watches,
                    active,
                    percent,
                    insn_per_event: cheapest(&mut *this, active, &ends, clock)? - bare,
                });
            }
        }
    }
    Ok(Growth {
        kernel: kernel(),
        unit: clock.unit(),
        points,
    })
}

/// Instructions for an event in the cheapest round.
fn cheapest(api: &mut dyn Api, active: usize, ends: &Ends, clock: &Clock) -> Result<f64> {
    let _patience = Patience::new();
    let mut first = 0;
    let mut best = u64::MAX;

    round(api, &mut first, active, ends)?;
    for _ in 0..(EVENTS / active).clamp(ROUNDS, 200) {
        best = best.min(clock.count(|| round(api, &mut first, active, ends))?);
    }
    Ok(best as f64 / active as f64)
}

impl Growth {
    pub fn write(&self, path: &Path) -> Result<()> {
        fs::write(path, serde_json::to_string_pretty(self)? + "\n")
            .with_context(|| format!("cannot write {}", path.display()))
    }

    /// A picture: a panel for each share of active watches.
    pub fn plot(&self) -> String {
        let series = |percent| {
            KINDS.map(|api| Series {
                name: api.name(),
                points: self
                    .points
                    .iter()
                    .filter(|point| point.api == api && point.percent == percent)
                    .map(|point| (point.watches as f64, point.insn_per_event))
                    .collect(),
            })
        };
        let panels = ACTIVE.map(|share| {
            let percent = 100 / share;

            Panel {
                title: format!("{percent} % active"),
                series: series(percent).into(),
            }
        });

        plot("watches", &format!("{} an event", self.unit), &panels)
    }

    fn of(&self, api: Kind, watches: usize, percent: usize) -> Option<f64> {
        let point = self
            .points
            .iter()
            .find(|point| (point.api, point.watches, point.percent) == (api, watches, percent))?;

        Some(point.insn_per_event)
    }
}

/// A table in Markdown.
impl fmt::Display for Growth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "Linux {}, {} an event\n", self.kernel, self.unit)?;
        write!(f, "| watches | active |")?;
        KINDS.iter().try_for_each(|kind| write!(f, " `{kind}` |"))?;
        writeln!(f, "\n|---|---|{}", "---|".repeat(KINDS.len()))?;
        for watches in WATCHES {
            for percent in ACTIVE.map(|share| 100 / share) {
                let figures = KINDS.map(|kind| self.of(kind, watches, percent));

                if figures.iter().all(Option::is_none) {
                    continue;
                }
                write!(f, "| {watches} | {percent} % |")?;
                for figure in figures {
                    match figure {
                        Some(insn) => write!(f, " {insn:.0} |")?,
                        None => write!(f, " |")?,
                    }
                }
                writeln!(f)?;
            }
        }
        Ok(())
    }
}
