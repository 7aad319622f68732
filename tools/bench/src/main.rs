// SPDX-License-Identifier: GPL-2.0-only

//! What an event and a watch cost: kevent, epoll, io_uring and poll side by side, in one boot, with
//! the same work. `Documentation/measurements.md` says how, and what the figures mean.

mod api;
mod clock;
mod ends;
mod events;
mod limits;
mod memory;
mod monitor;
mod patience;
mod plan;
mod profile;
mod registration;
mod report;
mod symbols;

use anyhow::{Context, Result};
use clap::Parser;
use std::path::PathBuf;
use std::process::ExitCode;

use crate::clock::Clock;
use crate::limits::Verdict;
use crate::plan::Plan;

/// Measures what an event and a watch cost.
#[derive(Parser)]
struct Options {
    /// Write the rows to this file, for programs
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Fail if a limit is not met
    #[arg(long)]
    check: bool,
    /// Only what takes a minute: one source, and not poll
    #[arg(long)]
    quick: bool,
    /// Only say which rows there are
    #[arg(long)]
    list: bool,
    /// Instead of measuring, show in which functions the instructions are
    #[arg(long)]
    profile: bool,
    /// Where QEMU and this program both find the trace, for --profile
    #[arg(long, value_name = "FILE", default_value = "trace")]
    trace: PathBuf,
    /// Only rows whose name has one of these in it, such as eventfd/64 or register
    filter: Vec<String>,
}

fn main() -> Result<ExitCode> {
    let options = Options::parse();

    if options.list {
        plan::list(&options.filter, options.quick);
        return Ok(ExitCode::SUCCESS);
    }
    let plan = Plan::new(&options.filter, options.quick)?;
    let clock = Clock::calibrate();

    ends::allow_many_files()?;
    patience::stay_in_memory()?;
    if options.profile {
        profile::run(&plan, &options.trace)?;
        return Ok(ExitCode::SUCCESS);
    }

    let mut report = report::Report::new(clock);
    for source in plan.sources() {
        events::measure(&plan, source, &clock, &mut report)
            .with_context(|| format!("events of {source}"))?;
        registration::measure(&plan, source, &clock, &mut report)
            .with_context(|| format!("registering {source}"))?;
    }
    report.print();
    if let Some(path) = &options.json {
        report
            .write(path)
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    if options.check {
        return Ok(judge(&report));
    }
    Ok(ExitCode::SUCCESS)
}

/// Says how the figures stand to their limits.
fn judge(report: &report::Report) -> ExitCode {
    let lines = match limits::check(report) {
        Ok(lines) => lines,
        Err(why) => {
            println!("FAIL  {why}");
            return ExitCode::FAILURE;
        }
    };
    let count = |verdict| lines.iter().filter(|line| line.verdict == verdict).count();
    let broken = count(Verdict::Broken);

    println!();
    lines.iter().for_each(|line| println!("{line}"));
    println!(
        "{} goals are met, {} are known to be unmet and no worse, {} cannot be judged, {broken} are broken",
        count(Verdict::Met),
        count(Verdict::Unmet),
        count(Verdict::Unjudged)
    );
    if broken > 0 {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}
