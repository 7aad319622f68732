// SPDX-License-Identifier: GPL-2.0-only

//! Several threads that make files ready, and one that serves them: how long an event takes, on a
//! machine with several processors.
//!
//! Time under an emulator means nothing by itself: what counts are the ratios of medians within one
//! run, in which the interfaces take turns.

use anyhow::{Context, Result};
use serde::Serialize;
use std::fmt;
use std::fs;
use std::path::Path;
use std::sync::Barrier;
use std::thread;
use std::time::Instant;

use crate::api::{Kind, has_kevent};
use crate::ends::{Ends, Source};
use crate::report::kernel;

const PRODUCERS: [usize; 4] = [1, 2, 4, 8];
/// The first is what the others are compared with.
const KINDS: [Kind; 4] = [
    Kind::KeventEdge,
    Kind::KeventGetEvents,
    Kind::EpollEdge,
    Kind::UringMultishot,
];
/// Files of each producer, how often it writes to each, and how often it is all done.
const FILES: usize = 64;
const LAPS: usize = 30;
const RUNS: usize = 9;

#[derive(Serialize)]
struct Point {
    api: Kind,
    producers: usize,
    ns_per_event: f64,
    /// To the first interface, with as many producers.
    ratio: f64,
}

#[derive(Serialize)]
pub struct Contention {
    kernel: String,
    processors: usize,
    points: Vec<Point>,
}

pub fn run() -> Result<Contention> {
    let kevent = has_kevent();
    let kinds = || KINDS.into_iter().filter(|kind| kevent || !kind.is_kevent());
    let mut points: Vec<Point> = Vec::new();

    for producers in PRODUCERS {
        let mut times = vec![Vec::new(); kinds().count()];

        for _ in 0..RUNS {
            for (kind, times) in kinds().zip(&mut times) {
                eprintln!("measuring contention {producers}/{kind}");
                times.push(once(kind, producers).with_context(|| format!("{kind}"))?);
            }
        }
        let medians: Vec<f64> = times.into_iter().map(median).collect();

        points.extend(kinds().zip(&medians).map(|(api, ns_per_event)| Point {
            api,
            producers,
            ns_per_event: *ns_per_event,
            ratio: ns_per_event / medians[0],
        }));
    }
    Ok(Contention {
        kernel: kernel(),
        processors: thread::available_parallelism()?.get(),
        points,
    })
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

/// Nanoseconds for an event: each lap ends when all that was written was served.
fn once(kind: Kind, producers: usize) -> Result<f64> {
    let ends = Ends::new(Source::Eventfd, producers * FILES)?;
    let mut api = kind.open(ends.len())?;
    let barrier = Barrier::new(producers + 1);

    api.add_all(&ends)?;
    thread::scope(|scope| {
        let write = |producer: usize| {
            let (ends, barrier) = (&ends, &barrier);

            move || -> Result<()> {
                for _ in 0..LAPS {
                    barrier.wait();
                    for index in producer * FILES..(producer + 1) * FILES {
                        ends.write(index)?;
                    }
                }
                Ok(())
            }
        };
        let threads: Vec<_> = (0..producers).map(|nth| scope.spawn(write(nth))).collect();
        let start = Instant::now();

        for _ in 0..LAPS {
            barrier.wait();
            // The producers wait for the next lap, so this cannot just return.
            if let Err(error) = api.serve(0..ends.len(), &ends) {
                eprintln!("{kind}: {error:#}");
                std::process::exit(1);
            }
        }
        let taken = start.elapsed().as_nanos() as f64;

        for thread in threads {
            thread.join().ok().context("a producer panicked")??;
        }
        Ok(taken / (LAPS * ends.len()) as f64)
    })
}

impl Contention {
    pub fn write(&self, path: &Path) -> Result<()> {
        fs::write(path, serde_json::to_string_pretty(self)? + "\n")
            .with_context(|| format!("cannot write {}", path.display()))
    }
}

/// A table in Markdown, of ratios.
impl fmt::Display for Contention {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "Linux {}, {} processors, time for an event as a ratio to `{}`\n",
            self.kernel, self.processors, KINDS[0]
        )?;
        write!(f, "| producers |")?;
        KINDS.iter().try_for_each(|kind| write!(f, " `{kind}` |"))?;
        writeln!(f, "\n|---|{}", "---|".repeat(KINDS.len()))?;
        for producers in PRODUCERS {
            write!(f, "| {producers} |")?;
            for kind in KINDS {
                let point = self
                    .points
                    .iter()
                    .find(|point| (point.api, point.producers) == (kind, producers));

                match point {
                    Some(point) => write!(f, " {:.2} |", point.ratio)?,
                    None => write!(f, " |")?,
                }
            }
            writeln!(f)?;
        }
        Ok(())
    }
}
