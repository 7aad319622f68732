// SPDX-License-Identifier: GPL-2.0-only

//! What a watch costs: the instructions to register, change and remove it, and the memory it takes.
//!
//! The instructions are those of doing so with 1024 ends and a new instance, in the cheapest of a few
//! repetitions.

use anyhow::{Result, bail};

use crate::api::{Api, Kind};
use crate::clock::Clock;
use crate::ends::{Ends, Source};
use crate::memory;
use crate::plan::{Plan, WATCHED, What};
use crate::report::{Figures, Report, Row};

const REPETITIONS: usize = 8;

/// Measures the planned rows of one source.
pub fn measure(plan: &Plan, source: Source, clock: &Clock, report: &mut Report) -> Result<()> {
    let ends = Ends::new(source, WATCHED)?;
    let is_of_watches = |what| matches!(what, What::Register | What::Modify | What::Remove);

    for task in plan.of(source).filter(|task| is_of_watches(task.what)) {
        task.begin();
        let (insn, calls) = cheapest(task.kind, task.what, &ends, clock)?;
        let bytes_per_watch = match task.what {
            What::Register => Some(memory::per_watch(task.kind, source)?),
            _ => None,
        };

        report.push(Row {
            task,
            figures: Figures::Watch {
                insn_per_watch: insn as f64 / WATCHED as f64,
                calls_per_watch: calls as f64 / WATCHED as f64,
                bytes_per_watch,
            },
        });
    }
    Ok(())
}

/// Instructions and calls to do that with all ends.
fn cheapest(kind: Kind, what: What, ends: &Ends, clock: &Clock) -> Result<(u64, u64)> {
    let mut best = (u64::MAX, 0);

    for _ in 0..REPETITIONS {
        let mut api = prepared(kind, what, ends)?;
        let before = api.calls();
        let insn = clock.count(|| change(&mut *api, what, ends))?;

        best = best.min((insn, api.calls() - before));
    }
    Ok(best)
}

/// A new instance, as it has to be before [`change()`].
pub fn prepared(kind: Kind, what: What, ends: &Ends) -> Result<Box<dyn Api>> {
    let mut api = kind.open(ends.len())?;

    if what != What::Register {
        api.add_all(ends)?;
    }
    Ok(api)
}

/// Registers, changes or removes all watches.
pub fn change(api: &mut dyn Api, what: What, ends: &Ends) -> Result<()> {
    match what {
        What::Register => api.add_all(ends),
        What::Modify => api.modify_all(ends),
        What::Remove => api.remove_all(ends),
        What::Events(_) | What::Atomics => bail!("this is of events"),
    }
}
