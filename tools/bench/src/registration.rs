// SPDX-License-Identifier: GPL-2.0-only

//! What a watch costs: the instructions to register it, and the memory it takes.
//!
//! The instructions are those of registering 1024 ends with a new instance, in the cheapest of a few
//! repetitions.

use anyhow::Result;

use crate::api::Kind;
use crate::clock::Clock;
use crate::ends::{Ends, Source};
use crate::memory;
use crate::plan::{Plan, WATCHED, What};
use crate::report::{Figures, Report, Row};

const REPETITIONS: usize = 8;

/// Measures the planned rows of one source.
pub fn measure(plan: &Plan, source: Source, clock: &Clock, report: &mut Report) -> Result<()> {
    let ends = Ends::new(source, WATCHED)?;

    for task in plan.of(source) {
        let What::Register(batch) = task.what else {
            continue;
        };
        task.begin();
        let bytes_per_watch = memory::per_watch(task.kind, &ends)?;
        let (insn, calls) = register(task.kind, &ends, clock)?;

        report.push(Row {
            source,
            batch,
            api: task.kind,
            figures: Figures::Watch {
                insn_per_watch: insn as f64 / WATCHED as f64,
                calls_per_watch: calls as f64 / WATCHED as f64,
                bytes_per_watch,
            },
        });
    }
    Ok(())
}

/// Instructions and calls to register all ends.
fn register(kind: Kind, ends: &Ends, clock: &Clock) -> Result<(u64, u64)> {
    let mut best = (u64::MAX, 0);

    for _ in 0..REPETITIONS {
        let mut api = kind.open(ends.len())?;
        let before = api.calls();
        let insn = clock.count(|| api.add_all(ends))?;

        best = best.min((insn, api.calls() - before));
    }
    Ok(best)
}
