// SPDX-License-Identifier: GPL-2.0-only

//! In which functions the instructions of an event are: those of a stretch with the interface, less
//! those of one without, for each event.

use anyhow::Result;
use std::collections::HashMap;

use crate::api::Kind;
use crate::events::EVENTS;
use crate::plan::{Plan, Task, WATCHED, What};
use crate::symbols::{Symbols, readable};
use crate::trace::{Addresses, Places, Tracer};

/// What is outside the kernel.
const PROGRAM: &str = "(the program)";
/// Functions with fewer instructions per event are summed up.
const LEAST: f64 = 1.0;

/// Instructions by function.
type Counts = HashMap<String, u64>;

pub fn run(plan: &Plan, places: &Places) -> Result<()> {
    let symbols = Symbols::load()?;
    let mut tracer = Tracer::open(places)?;

    for task in plan.tasks() {
        task.begin();
        let (bare, this, per) = match task.what {
            What::Events(_) | What::Atomics => (
                tracer.events(task.source, Kind::Bare, task.batch())?,
                tracer.events(task.source, task.kind, task.batch())?,
                EVENTS,
            ),
            What::Register | What::Modify | What::Remove => (
                Addresses::new(),
                tracer.watches(task.source, task.kind, task.what)?,
                WATCHED,
            ),
        };
        let by_function = |addresses| by_function(&symbols, addresses);

        print!(
            "{}",
            table(&task, &by_function(bare), &by_function(this), per)
        );
    }
    Ok(())
}

fn by_function(symbols: &Symbols, addresses: Addresses) -> Counts {
    let mut counts = Counts::new();

    for (address, times) in addresses {
        let name = symbols.name(address).unwrap_or(PROGRAM);

        *counts.entry(name.into()).or_default() += times;
    }
    counts
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
    use crate::ends::Source;

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
