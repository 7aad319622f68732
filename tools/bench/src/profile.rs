// SPDX-License-Identifier: GPL-2.0-only

//! In which functions the instructions of an event are.
//!
//! QEMU writes the address of each instruction to a file that both sides see, while one stretch
//! runs with the interface and one without. What is shown is the difference, for each event.

use anyhow::{Context, Result, ensure};
use rustix::process::getpgid;
use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::Path;

use crate::api::Kind;
use crate::ends::{Ends, Source};
use crate::events::{EVENTS, broken_in, stretch, warm};
use crate::monitor::Monitor;
use crate::patience::Patience;
use crate::plan::{Plan, Task, WATCHED, What};
use crate::symbols::{Symbols, readable};

/// A system call that nothing else makes: where it is entered, a stretch begins or ends.
const MARK: &str = "__x64_sys_getpgid";
/// What is outside the kernel.
const PROGRAM: &str = "(the program)";
/// Functions with fewer instructions per event are summed up.
const LEAST: f64 = 1.0;

/// How often a stretch is traced.
const TRIES: usize = 3;

/// Instructions by function.
type Counts = HashMap<String, u64>;

pub fn run(plan: &Plan, trace: &Path) -> Result<()> {
    let symbols = Symbols::load()?;
    let mut monitor = Monitor::open()?;
    let mut tracer = Tracer {
        mark: symbols
            .address(MARK)
            .context("this kernel has no getpgid")?,
        symbols,
        monitor: &mut monitor,
        trace,
    };

    for task in plan.tasks() {
        task.begin();
        let (bare, this, per) = match task.what {
            What::Events(batch) => (
                tracer.events(task.source, Kind::Bare, batch)?,
                tracer.events(task.source, task.kind, batch)?,
                EVENTS,
            ),
            What::Register(_) => (
                tracer.registration(task.source, Kind::Bare)?,
                tracer.registration(task.source, task.kind)?,
                WATCHED,
            ),
        };
        print!("{}", table(&task, &bare, &this, per));
    }
    Ok(())
}

struct Tracer<'a> {
    symbols: Symbols,
    mark: u64,
    monitor: &'a mut Monitor,
    trace: &'a Path,
}

impl Tracer<'_> {
    fn events(&mut self, source: Source, kind: Kind, batch: usize) -> Result<Counts> {
        let ends = broken_in(source)?;
        let mut api = warm(kind, batch, &ends)?;

        // The cheapest: it has not met the timer interrupt.
        let traces = (0..TRIES)
            .map(|_| self.trace(|| stretch(&mut *api, &mut 0, batch, &ends)))
            .collect::<Result<Vec<_>>>()?;
        traces.into_iter().min_by_key(total).context("no trace")
    }

    fn registration(&mut self, source: Source, kind: Kind) -> Result<Counts> {
        let ends = Ends::new(source, WATCHED)?;
        let mut api = kind.open(ends.len())?;

        self.trace(|| api.add_all(&ends))
    }

    fn trace(&mut self, work: impl FnOnce() -> Result<()>) -> Result<Counts> {
        let path = self.trace.to_str().context("--trace: strange name")?;

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
        let file = File::open(self.trace).with_context(|| format!("cannot open {path}"))?;
        let counts = self.read(BufReader::new(file))?;
        let _ = fs::remove_file(self.trace);
        Ok(counts)
    }

    /// Counts what is between the two marks.
    fn read(&self, trace: impl BufRead) -> Result<Counts> {
        let (mut counts, mut marks, mut last) = (Counts::new(), 0, None);

        for line in trace.lines() {
            match parse(&line?) {
                // The last one was not executed after all, and comes again.
                Line::Stopped => last = None,
                Line::At(address) => {
                    if let Some(done) = last.replace(address) {
                        marks += usize::from(done == self.mark);
                        if marks == 1 {
                            *counts.entry(self.name(done).into()).or_default() += 1;
                        }
                    }
                }
                Line::Other => {}
            }
        }
        ensure!(marks == 2, "the trace has {marks} marks instead of 2");
        Ok(counts)
    }

    fn name(&self, address: u64) -> &str {
        self.symbols.name(address).unwrap_or(PROGRAM)
    }
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

fn total(counts: &Counts) -> u64 {
    counts.values().sum()
}

/// Where the instructions are that the bare loop does not have, most first.
fn table(task: &Task, bare: &Counts, this: &Counts, per: usize) -> String {
    let total = |counts| total(counts) as f64 / per as f64;
    let mut lines: Vec<(f64, &str)> = this
        .keys()
        .chain(bare.keys().filter(|name| !this.contains_key(*name)))
        .map(|name| {
            let count = |counts: &Counts| counts.get(name).copied().unwrap_or(0) as f64;
            ((count(this) - count(bare)) / per as f64, name.as_str())
        })
        .collect();
    let rest: f64 = lines
        .iter()
        .map(|(n, _)| n)
        .filter(|n| n.abs() < LEAST)
        .sum();

    lines.retain(|(insn, _)| insn.abs() >= LEAST);
    lines.sort_by(|one, other| other.0.total_cmp(&one.0).then(one.1.cmp(other.1)));
    let mut text = format!(
        "\n{task}: {:.1} instructions beyond {:.1} without\n",
        total(this) - total(bare),
        total(bare)
    );
    for (insn, name) in lines {
        text += &format!("  {insn:8.1}  {}\n", readable(name));
    }
    text + &format!("  {rest:8.1}  (others)\n")
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
    fn difference() {
        let bare = Counts::from([("read".into(), 640), ("gone".into(), 128)]);
        let this = Counts::from([
            ("read".into(), 640),
            ("post".into(), 6400),
            ("bit".into(), 8),
        ]);
        let task = Task {
            source: Source::Unix,
            what: What::Events(64),
            kind: Kind::EpollEdge,
        };
        let text = table(&task, &bare, &this, 64);

        assert_eq!(
            text,
            "\nunix/64/epoll-edge: 98.1 instructions beyond 12.0 without\n     \
             100.0  post\n      -2.0  gone\n       0.1  (others)\n"
        );
    }
}
