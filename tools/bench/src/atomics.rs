// SPDX-License-Identifier: GPL-2.0-only

//! How many atomic read-modify-writes an event takes: what a processor that shares its caches pays
//! for, and instructions do not show.
//!
//! They are counted in the trace of a stretch, less those of the bare loop.

use anyhow::{Context, Result};

use crate::api::Kind;
use crate::code::{Atomic, Code};
use crate::ends::Source;
use crate::events::EVENTS;
use crate::plan::{Plan, What};
use crate::report::{Figures, Report, Row};
use crate::trace::{Addresses, Places, Tracer};

/// What there is of each kind in a trace.
#[derive(Clone, Copy, Default)]
struct Count {
    kernel: u64,
    program: u64,
    barriers: u64,
}

/// Measures the planned rows of one source.
pub fn measure(plan: &Plan, source: Source, places: &Places, report: &mut Report) -> Result<()> {
    let tasks: Vec<_> = plan
        .of(source)
        .filter(|task| task.what == What::Atomics)
        .collect();
    if tasks.is_empty() {
        return Ok(());
    }
    let vmlinux = places.vmlinux.as_deref();
    let code = Code::load(vmlinux.context("atomic operations are counted with --vmlinux")?)?;
    let mut tracer = Tracer::open(places)?;
    let mut of = |kind| count(&tracer.events(source, kind, EVENTS)?, &code);
    let bare = of(Kind::Bare)?;

    for task in tasks {
        task.begin();
        let this = of(task.kind)?;
        let beyond = |this: u64, bare: u64| (this as f64 - bare as f64) / EVENTS as f64;

        report.push(Row {
            task,
            figures: Figures::Atomics {
                kernel_per_event: beyond(this.kernel, bare.kernel),
                program_per_event: beyond(this.program, bare.program),
                barriers_per_event: beyond(this.barriers, bare.barriers),
            },
        });
    }
    Ok(())
}

fn count(trace: &Addresses, code: &Code) -> Result<Count> {
    let mut count = Count::default();

    for (address, times) in trace {
        let which = match code.atomic(*address)? {
            Atomic::No => continue,
            Atomic::Barrier => &mut count.barriers,
            Atomic::Update if address >> 63 == 1 => &mut count.kernel,
            Atomic::Update => &mut count.program,
        };
        *which += times;
    }
    Ok(count)
}
