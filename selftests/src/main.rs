// SPDX-License-Identifier: GPL-2.0-only

//! Command line of the harness.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::AtomicBool;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::{Args, Parser, Subcommand};

use kevent_selftests::filter::Picker;
use kevent_selftests::report::{Report, Totals};
use kevent_selftests::{guest, kselftest, run, tables};

/// Checks a kernel tree with kevent, boots the kernel and reports every test.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Cmd,
}

#[derive(Subcommand)]
enum Cmd {
    /// Check the system call tables of a patched tree
    Tables {
        /// The patched kernel tree
        #[arg(long, value_name = "DIR")]
        tree: PathBuf,
        /// Print a line for every test, not only for failures
        #[arg(short, long)]
        verbose: bool,
    },
    /// Check the tables, boot the kernel and run everything in it
    Run(Box<RunArgs>),
    /// What runs inside the booted kernel (started by `run`)
    #[command(hide = true)]
    Guest {
        /// The directory shared with the host
        dir: PathBuf,
    },
}

#[derive(Args)]
struct RunArgs {
    /// The patched kernel tree
    #[arg(long, value_name = "DIR")]
    tree: PathBuf,
    /// Build directory of a kernel with CONFIG_KEVENT=y
    #[arg(long, value_name = "BUILD_DIR")]
    kernel: Option<PathBuf>,
    /// Build directory of a kernel with CONFIG_KEVENT=n: checks that every
    /// number gives ENOSYS there
    #[arg(long, value_name = "BUILD_DIR")]
    kernel_off: Option<PathBuf>,
    /// The virtme-ng program
    #[arg(long, value_name = "PATH", default_value = "vng")]
    vng: PathBuf,
    /// Directory for logs and what is built [default: kevent/selftests in the
    /// user's cache directory]
    #[arg(long, value_name = "DIR")]
    log_dir: Option<PathBuf>,
    /// Seconds one boot may take with all that runs in it
    #[arg(long, value_name = "SECS", default_value_t = 900)]
    timeout: u64,
    /// Seconds the kernel may take until the first program runs
    #[arg(long, value_name = "SECS", default_value_t = 300)]
    boot_timeout: u64,
    /// Directory under tools/testing/selftests; may be given several times
    #[arg(long, value_name = "TARGET", default_value = kselftest::TARGET)]
    kselftest: Vec<String>,
    /// Use KVM instead of emulation
    #[arg(long)]
    kvm: bool,
    /// Emulate all processors in one thread: nothing runs truly at the same
    /// time, and tests that spin take long
    #[arg(long)]
    one_thread: bool,
    /// Seconds each selftest may take, 0 for no limit [default: the timeout in
    /// its settings file, else 45]
    #[arg(long, value_name = "SECS")]
    test_timeout: Option<u64>,
    /// The kernel is slow: everything may take so many times as long
    #[arg(long, value_name = "N", default_value_t = 1,
          value_parser = clap::value_parser!(u32).range(1..=100))]
    patience: u32,
    /// Virtual processors
    #[arg(long, value_name = "N", default_value_t = 2)]
    cpus: u32,
    /// Memory of the guest
    #[arg(long, value_name = "SIZE", default_value = "1G")]
    memory: String,
    /// Print a line for every test, not only for failures
    #[arg(short, long)]
    verbose: bool,
    /// Write the report to a file as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// List the names that can be picked, and run nothing
    #[arg(long)]
    list: bool,
    /// Run only tests whose full name holds this text, or fits this pattern
    /// with * and ?
    filter: Vec<String>,
}

impl RunArgs {
    fn options(&self) -> Result<run::Options> {
        Ok(run::Options {
            tree: self.tree.clone(),
            kernel: self.kernel.clone(),
            kernel_off: self.kernel_off.clone(),
            vng: self.vng.clone(),
            log_dir: match &self.log_dir {
                Some(dir) => dir.clone(),
                None => cache_dir()?,
            },
            timeout: Duration::from_secs(self.timeout).saturating_mul(self.patience),
            boot_timeout: Duration::from_secs(self.boot_timeout).saturating_mul(self.patience),
            targets: self.kselftest.clone(),
            kvm: self.kvm,
            one_thread: self.one_thread,
            test_timeout: self.test_timeout,
            patience: self.patience,
            cpus: self.cpus,
            memory: self.memory.clone(),
            picker: Picker::new(&self.filter)?,
        })
    }
}

/// Where logs go when nothing else is said.
fn cache_dir() -> Result<PathBuf> {
    let set = |name| std::env::var_os(name).filter(|v| !v.is_empty());
    let cache = set("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| set("HOME").map(|home| PathBuf::from(home).join(".cache")))
        .context("neither XDG_CACHE_HOME nor HOME is set: give --log-dir")?;
    Ok(cache.join("kevent/selftests"))
}

/// Green only if something passed: a run in which all was skipped shows nothing.
fn status(totals: Totals) -> ExitCode {
    if totals.failed > 0 || totals.passed == 0 {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}

fn command(cli: Cli) -> Result<ExitCode> {
    match cli.command {
        Cmd::Tables { tree, verbose } => {
            let mut report = Report::new(io::stdout(), verbose);
            let tree = tables::tree_dir(&tree)?;
            for result in tables::check(&tree)?.results {
                report.add(result);
            }
            Ok(status(report.finish()))
        }
        Cmd::Run(args) => {
            let options = args.options()?;
            if args.list {
                let names = run::list(&options)?.join("\n");
                let _ = writeln!(io::stdout(), "{names}");
                return Ok(ExitCode::SUCCESS);
            }
            let stop = Arc::new(AtomicBool::new(false));
            for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
                signal_hook::flag::register(signal, Arc::clone(&stop))?;
            }
            let mut report = Report::new(io::stdout(), args.verbose);
            run::run(&options, &mut report, &stop)?;
            if let Some(json) = &args.json {
                report.write_json(json)?;
            }
            Ok(status(report.finish()))
        }
        Cmd::Guest { dir } => guest::run(&dir).map(|()| ExitCode::SUCCESS),
    }
}

fn main() -> ExitCode {
    match command(Cli::parse()) {
        Ok(code) => code,
        Err(e) => {
            eprintln!("kevent-selftests: {e:#}");
            ExitCode::from(2)
        }
    }
}
