// SPDX-License-Identifier: GPL-2.0-only

//! What an event and a watch cost: kevent, epoll, io_uring and poll side by side, in one boot, with
//! the same work. `Documentation/measurements/README.md` says how, and what the figures mean.

mod api;
mod atomics;
mod attack;
mod classes;
mod clock;
mod code;
mod contention;
mod ends;
mod events;
mod growth;
mod limits;
mod memory;
mod monitor;
mod patience;
mod plan;
mod plot;
mod profile;
mod report;
mod server;
mod symbols;
mod trace;
mod watches;

use anyhow::{Context, Result};
use clap::Parser;
use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use crate::clock::Clock;
use crate::limits::{Known, Line, Verdict};
use crate::plan::Plan;
use crate::trace::Places;

/// Measures what an event and a watch cost.
#[derive(Parser)]
struct Options {
    /// Write the rows to this file, for programs
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Fail if a limit is not met
    #[arg(long)]
    check: bool,
    /// Only what takes a minute: unix sockets, and what is no file, and not poll
    #[arg(long)]
    quick: bool,
    /// Only say which rows there are
    #[arg(long)]
    list: bool,
    /// Instead of measuring, show in which functions the instructions are
    #[arg(long)]
    profile: bool,
    /// Instead, measure what a program can do on the account of others
    #[arg(long)]
    attack: bool,
    /// Instead, measure how an event's cost grows with the watches
    #[arg(long)]
    growth: bool,
    /// With --growth: draw it into this file
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// Instead, measure with several threads, on several processors
    #[arg(long)]
    contention: bool,
    /// Instead, measure a server of HTTP
    #[arg(long)]
    server: bool,
    /// Be that server, with this engine
    #[arg(long, value_name = "ENGINE")]
    serve: Option<String>,
    /// Write the figures that miss their goal to this file, which is known.json of the next build
    #[arg(long, value_name = "FILE")]
    accept: Option<PathBuf>,
    #[command(flatten)]
    places: Places,
    /// Only rows whose name has one of these in it, such as eventfd/64 or register
    filter: Vec<String>,
}

fn main() -> Result<ExitCode> {
    let options = Options::parse();

    if options.list {
        plan::list(&options.filter, options.quick);
        return Ok(ExitCode::SUCCESS);
    }
    let clock = Clock::calibrate();

    ends::allow_many_files()?;
    if let Some(engine) = &options.serve {
        server::serve(engine)?;
        return Ok(ExitCode::SUCCESS);
    }
    patience::stay_in_memory()?;
    if options.attack {
        let rows = attack::run(&clock, &options.filter)?;

        print!("{rows}");
        if let Some(path) = &options.json {
            rows.write(path)?;
        }
        return judge(&options, rows.names(), |known| rows.check(known));
    }

    if options.growth {
        let growth = growth::run(&clock)?;

        print!("{growth}");
        if let Some(path) = &options.svg {
            fs::write(path, growth.plot())
                .with_context(|| format!("cannot write {}", path.display()))?;
        }
        if let Some(path) = &options.json {
            growth.write(path)?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    if options.server {
        let requests = server::measure(clock.unit(), options.quick)?;

        print!("{requests}");
        if let Some(path) = &options.json {
            requests.write(path)?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    if options.contention {
        let contention = contention::run()?;

        print!("{contention}");
        if let Some(path) = &options.json {
            contention.write(path)?;
        }
        return Ok(ExitCode::SUCCESS);
    }

    let plan = Plan::new(&options.filter, options.quick)?;
    if options.profile {
        profile::run(&plan, &options.places)?;
        return Ok(ExitCode::SUCCESS);
    }

    let mut report = report::Report::new(clock);
    for source in plan.sources() {
        let done = if source.is_file() {
            events::measure(&plan, source, &clock, &mut report)
                .and_then(|()| watches::measure(&plan, source, &clock, &mut report))
                .and_then(|()| atomics::measure(&plan, source, &options.places, &mut report))
        } else {
            classes::measure(&plan, source, &clock, &mut report)
        };
        done.with_context(|| format!("measuring {source}"))?;
    }
    report.print();
    if let Some(path) = &options.json {
        report
            .write(path)
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    judge(&options, report.names(), |known| {
        limits::check(&report, known)
    })
}

/// Says how the figures stand to their limits, if that is asked for, and writes down which miss them.
fn judge(
    options: &Options,
    measured: impl Iterator<Item = String>,
    check: impl FnOnce(&Known) -> Result<Vec<Line>, &'static str>,
) -> Result<ExitCode> {
    if !options.check && options.accept.is_none() {
        return Ok(ExitCode::SUCCESS);
    }
    let known = Known::built_in()?;
    let lines = match check(&known) {
        Ok(lines) => lines,
        Err(why) => {
            println!("FAIL  {why}");
            return Ok(ExitCode::FAILURE);
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
    if let Some(path) = &options.accept {
        limits::accept(path, &lines, measured, known)?;
        return Ok(ExitCode::SUCCESS);
    }
    Ok(if broken > 0 {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}
