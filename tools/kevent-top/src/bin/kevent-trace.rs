// SPDX-License-Identifier: MIT

//! kevent-trace: what happens in the kevent queues of a program, or in all, as it happens.

use anyhow::{Context, Result};
use clap::Parser;
use kevent_top::{proc, trace::Record};
use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode};
use std::time::Duration;

/// Shows what happens in kevent queues, from the kernel's tracepoints. Needs root.
///
/// With COMMAND that is run, and its queues are shown until it ends; events may be posted in the time of any
/// task. What a program takes out of the ring itself is not seen.
#[derive(Parser)]
#[command(version)]
struct Cli {
    /// Only the queues of this process
    #[arg(short, long, conflicts_with = "command")]
    pid: Option<u32>,
    /// Where tracefs is mounted
    #[arg(
        long,
        value_name = "DIR",
        default_value = "/sys/kernel/tracing",
        hide = true
    )]
    tracing: PathBuf,
    /// What to run
    #[arg(trailing_var_arg = true)]
    command: Vec<String>,
}

fn main() -> ExitCode {
    match run(&Cli::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("kevent-trace: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// A trace of our own, which others do not see; removed at the end.
struct Instance(PathBuf);

impl Instance {
    fn new(tracing: &Path) -> Result<Instance> {
        let folder = tracing.join(format!("instances/kevent-trace-{}", std::process::id()));

        fs::create_dir(&folder)
            .with_context(|| format!("cannot make {} (root? tracefs?)", folder.display()))?;
        let instance = Instance(folder);
        for option in ["record-tgid", "print-tgid"] {
            // Without, a process is known while it lives.
            let _ = fs::write(instance.0.join("options").join(option), "1");
        }
        fs::write(instance.0.join("events/kevent/enable"), "1")
            .context("no tracepoints of kevent in this kernel")?;
        Ok(instance)
    }

    /// What there is, without waiting.
    fn pipe(&self) -> io::Result<File> {
        OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_NONBLOCK)
            .open(self.0.join("trace_pipe"))
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.0);
    }
}

/// Whose queues are shown.
struct Filter {
    pid: Option<u32>,
    queues: BTreeMap<u64, bool>,
}

impl Filter {
    fn has(&mut self, record: &Record) -> bool {
        let Some(pid) = self.pid else { return true };

        // A thread of the process registers something, or the queue is among its descriptors.
        *self.queues.entry(record.queue).or_insert_with(|| {
            record.pid.unwrap_or(record.tid) == pid
                || Path::new(&format!("/proc/{pid}/task/{}", record.tid)).exists()
                || proc::queues(Path::new("/proc"), Some(pid)).is_ok_and(|found| {
                    found
                        .entries
                        .iter()
                        .any(|entry| entry.queue.id == record.queue)
                })
        })
    }
}

fn run(cli: &Cli) -> Result<ExitCode> {
    let instance = Instance::new(&cli.tracing)?;
    let pipe = instance.pipe().context("cannot read trace_pipe")?;
    let mut child: Option<Child> = None;
    let mut filter = Filter {
        pid: cli.pid,
        queues: BTreeMap::new(),
    };
    let mut code = ExitCode::SUCCESS;
    let mut lines = BufReader::new(pipe);
    let mut out = io::stdout();
    let mut line = String::new();
    let mut ended = false;

    if let Some((program, arguments)) = cli.command.split_first() {
        let started = Command::new(program).args(arguments).spawn();
        let started = started.with_context(|| format!("cannot run {program}"))?;

        filter.pid = Some(started.id());
        child = Some(started);
    }
    loop {
        match lines.read_line(&mut line) {
            // A line may come in pieces.
            Ok(n) if n > 0 => {
                if line.ends_with('\n') {
                    if let Some(record) = Record::parse(&line).filter(|record| filter.has(record)) {
                        if let Err(error) = writeln!(out, "{record}") {
                            // The reader has seen enough.
                            return if error.kind() == io::ErrorKind::BrokenPipe {
                                Ok(code)
                            } else {
                                Err(error.into())
                            };
                        }
                    }
                    line.clear();
                }
                continue;
            }
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error).context("cannot read trace_pipe"),
        }
        if ended {
            return Ok(code);
        }
        // Once more after the end: it may have left something.
        if let Some(status) = child.as_mut().map(Child::try_wait).transpose()?.flatten() {
            code = ExitCode::from(status.code().map_or(1, |code| code as u8));
            ended = true;
        } else if cli
            .pid
            .is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists())
        {
            ended = true;
        } else {
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}
