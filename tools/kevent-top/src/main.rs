// SPDX-License-Identifier: MIT

//! kevent-top: the kevent queues of a process or of all, and what they do.

use anyhow::{Context, Result, bail};
use clap::Parser;
use kevent_top::proc::{self, Found};
use kevent_top::view;
use std::collections::BTreeMap;
use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// Shows the kevent queues of a process or of all, from /proc/PID/fdinfo.
///
/// Counts are those of the last interval, at first and with --once those since the queue was made.
/// SAVED are events that were published without waking a thread.
#[derive(Parser)]
#[command(version)]
struct Cli {
    /// Only the queues of this process
    #[arg(short, long)]
    pid: Option<u32>,
    /// Seconds between two looks
    #[arg(short, long, default_value = "1", value_parser = seconds)]
    interval: Duration,
    /// Look once and end
    #[arg(long)]
    once: bool,
    /// A JSON array for each look, with the counts since the queues were made
    #[arg(long)]
    json: bool,
    /// Where the processes are
    #[arg(long, value_name = "DIR", default_value = "/proc", hide = true)]
    proc: PathBuf,
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "not a number".to_string())?;

    Duration::try_from_secs_f64(seconds)
        .ok()
        .filter(|span| *span >= Duration::from_millis(10))
        .ok_or_else(|| "it must be at least 0.01".to_string())
}

fn main() -> ExitCode {
    match run(&Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        // The reader has seen enough.
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("kevent-top: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error
        .downcast_ref::<io::Error>()
        .is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

fn run(cli: &Cli) -> Result<()> {
    let mut before: Option<Found> = None;
    let mut out = io::stdout();

    loop {
        let now = look(cli)?;

        if cli.json {
            writeln!(out, "{}", serde_json::to_string(&now.entries)?)?;
        } else {
            if !cli.once && out.is_terminal() {
                write!(out, "\x1b[H\x1b[2J")?;
            }
            let counts = before.as_ref().map_or(BTreeMap::new(), |before| {
                proc::since(&before.entries, &now.entries)
            });
            show(&mut out, &now, &counts)?;
        }
        out.flush()?;
        if cli.once {
            return Ok(());
        }
        before = Some(now);
        std::thread::sleep(cli.interval);
    }
}

fn look(cli: &Cli) -> Result<Found> {
    if let Some(pid) = cli.pid {
        if !cli.proc.join(pid.to_string()).exists() {
            bail!("there is no process {pid}");
        }
        return proc::queues(&cli.proc, Some(pid))
            .with_context(|| format!("process {pid} cannot be looked into"));
    }
    proc::queues(&cli.proc, None).with_context(|| format!("cannot read {}", cli.proc.display()))
}

fn show(
    out: &mut impl Write,
    found: &Found,
    counts: &BTreeMap<u64, kevent_top::fdinfo::Queue>,
) -> Result<()> {
    if found.entries.is_empty() {
        writeln!(out, "no kevent queues")?;
    } else {
        writeln!(out, "{}", view::table(&found.entries, counts))?;
    }
    if found.hidden > 0 {
        writeln!(
            out,
            "{} processes of other users are not shown: run this as root",
            found.hidden
        )?;
    }
    Ok(())
}
