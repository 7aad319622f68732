// SPDX-License-Identifier: GPL-2.0-only

//! Which instructions are executed: QEMU writes the address of each to a file that both sides see.

use anyhow::{Context, Result, ensure};
use clap::Args;
use rustix::process::getpgid;
use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::PathBuf;

use crate::api::Kind;
use crate::classes::Stretches;
use crate::ends::{Ends, Source};
use crate::events::{broken_in, stretch, warm};
use crate::monitor::Monitor;
use crate::patience::Patience;
use crate::plan::{WATCHED, What};
use crate::symbols::Symbols;
use crate::watches;

/// A system call that nothing else makes: where it is entered, a stretch begins or ends.
const MARK: &str = "__x64_sys_getpgid";

/// How often a stretch is traced.
const TRIES: usize = 3;

/// Where things are.
#[derive(Args)]
pub struct Places {
    /// Where QEMU and this program both find the trace, for --profile and atomic operations
    #[arg(long, value_name = "FILE", default_value = "trace")]
    pub trace: PathBuf,
    /// The image of the running kernel, for atomic operations
    #[arg(long, value_name = "FILE")]
    pub vmlinux: Option<PathBuf>,
}

/// How often the instruction at each address was executed.
pub type Addresses = HashMap<u64, u64>;

pub struct Tracer {
    monitor: Monitor,
    mark: u64,
    path: PathBuf,
}

impl Tracer {
    pub fn open(places: &Places) -> Result<Tracer> {
        Ok(Tracer {
            monitor: Monitor::open()?,
            mark: Symbols::load()?
                .address(MARK)
                .context("this kernel has no getpgid")?,
            path: places.trace.clone(),
        })
    }

    /// A stretch of events.
    pub fn events(&mut self, source: Source, kind: Kind, batch: usize) -> Result<Addresses> {
        if !source.is_file() {
            let mut stretches = Stretches::warm(source, kind, batch)?;

            return self.cheapest(|| stretches.run());
        }
        let ends = broken_in(source)?;
        let mut api = warm(kind, batch, &ends)?;

        self.cheapest(|| stretch(&mut *api, &mut 0, batch, &ends))
    }

    /// Of some tries: it has not met the timer interrupt.
    fn cheapest(&mut self, mut work: impl FnMut() -> Result<()>) -> Result<Addresses> {
        let traces = (0..TRIES)
            .map(|_| self.trace(&mut work))
            .collect::<Result<Vec<_>>>()?;
        traces
            .into_iter()
            .min_by_key(|trace| trace.values().sum::<u64>())
            .context("no trace")
    }

    /// Registering, changing or removing all watches.
    pub fn watches(&mut self, source: Source, kind: Kind, what: What) -> Result<Addresses> {
        let ends = Ends::new(source, WATCHED)?;
        let mut api = watches::prepared(kind, what, &ends)?;

        self.trace(|| watches::change(&mut *api, what, &ends))
    }

    fn trace(&mut self, work: impl FnOnce() -> Result<()>) -> Result<Addresses> {
        let path = self.path.to_str().context("--trace: strange name")?;

        self.monitor.command(&format!("logfile {path}"))?;
        self.monitor.command("singlestep on")?;
        self.monitor.command("log exec,nochain")?;
        getpgid(None)?;
        let patience = Patience::new();
        work()?;
        drop(patience);
        getpgid(None)?;
        self.monitor.command("log none")?;
        self.monitor.command("singlestep off")?;
        let file = File::open(path).with_context(|| format!("cannot open {path}"))?;
        let addresses = between_marks(BufReader::new(file), self.mark)?;
        let _ = fs::remove_file(path);
        Ok(addresses)
    }
}

/// Counts what is between the two marks.
fn between_marks(trace: impl BufRead, mark: u64) -> Result<Addresses> {
    let (mut addresses, mut marks, mut last) = (Addresses::new(), 0, None);

    for line in trace.lines() {
        match parse(&line?) {
            // The last one was not executed after all, and comes again.
            Line::Stopped => last = None,
            Line::At(address) => {
                if let Some(done) = last.replace(address) {
                    marks += usize::from(done == mark);
                    if marks == 1 {
                        *addresses.entry(done).or_default() += 1;
                    }
                }
            }
            Line::Other => {}
        }
    }
    ensure!(marks == 2, "the trace has {marks} marks instead of 2");
    Ok(addresses)
}

/// A line of QEMU's log.
#[derive(Debug, PartialEq, Eq)]
enum Line {
    /// `Trace 0: 0x7f3f8c000100 [00000000/ffffffff81000000/00000000/00000000] ...`
    At(u64),
    /// `Stopped execution of TB chain before 0x7f3f8c000100 [...] ...`
    Stopped,
    Other,
}

fn parse(line: &str) -> Line {
    let address = || {
        let (_, rest) = line.strip_prefix("Trace ")?.split_once('/')?;
        let (address, _) = rest.split_once('/')?;

        u64::from_str_radix(address, 16).ok()
    };

    if line.starts_with("Stopped execution") {
        return Line::Stopped;
    }
    address().map_or(Line::Other, Line::At)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines() {
        let trace = "Trace 0: 0x7f3f8c000100 [00000000/ffffffff81000010/00000073/ff080201] do_it";

        assert_eq!(parse(trace), Line::At(0xffff_ffff_8100_0010));
        assert_eq!(
            parse("Stopped execution of TB chain before 0x7f [ffffffff81000010] do_it"),
            Line::Stopped
        );
        assert_eq!(parse("Trace of something else"), Line::Other);
        assert_eq!(parse(""), Line::Other);
    }

    #[test]
    fn marks() {
        let line = |address: u64| format!("Trace 0: 0x1 [0/{address:x}/0/0] f\n");
        let trace = [1, 9, 2, 3, 2, 9, 4].map(line).concat();
        let addresses = between_marks(trace.as_bytes(), 9).unwrap();

        // The first mark itself belongs to what is between.
        assert_eq!(addresses, Addresses::from([(9, 1), (2, 2), (3, 1)]));
        assert!(between_marks(&b""[..], 9).is_err());
    }
}
