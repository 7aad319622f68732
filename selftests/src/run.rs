// SPDX-License-Identifier: GPL-2.0-only

//! The whole run: tables, build, boots, report.

use std::fs::{self, File};
use std::io::Write;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{anyhow, bail, Context, Result};

use crate::filter::Picker;
use crate::kselftest::{self, Build};
use crate::ktap::{self, Outcome};
use crate::live::{self, Expect};
use crate::record::{
    self, Plan, Program, Reader, Record, BINARY, DMESG_END, DMESG_START, KSELFTEST, PROBE_32,
    RECORDS,
};
use crate::report::{Report, TestResult, Totals};
use crate::tables::{self, Call, Checked};
use crate::vm::{tail, Ended, Machine, Stage};
use crate::{klog, kunit};

/// Lines of the console that are shown when a machine hangs.
const LAST_LINES: usize = 40;
/// Lines of it that are shown when a machine is booted once more.
const FEW_LINES: usize = 5;

/// What the command line says.
#[derive(Clone, Debug)]
pub struct Options {
    /// The patched tree.
    pub tree: PathBuf,
    /// Build directory of the kernel with kevent.
    pub kernel: Option<PathBuf>,
    /// Build directory of the kernel without.
    pub kernel_off: Option<PathBuf>,
    /// The `vng` program.
    pub vng: PathBuf,
    /// Directory for logs and everything that is built.
    pub log_dir: PathBuf,
    /// The time for one boot with all that runs in it.
    pub timeout: Duration,
    /// The time until the guest runs.
    pub boot_timeout: Duration,
    /// Directories under tools/testing/selftests.
    pub targets: Vec<String>,
    /// Use KVM.
    pub kvm: bool,
    /// Emulate all processors in one thread.
    pub one_thread: bool,
    /// Seconds each program may take, instead of what its settings say.
    pub test_timeout: Option<u64>,
    /// How many times as long each test and program may take.
    pub patience: u32,
    /// Virtual processors.
    pub cpus: u32,
    /// Memory of the guest.
    pub memory: String,
    /// Which tests to run.
    pub picker: Picker,
}

/// One of the two boots.
struct Boot<'a> {
    /// `kernel` or `kernel-off`, in names and as the directory for the logs.
    name: &'static str,
    /// Build directory.
    build: &'a Path,
    expect: Expect,
}

/// Everything the names of which are known before anything ran.
struct Names {
    tables: Vec<String>,
    /// Live checks and what else needs the first boot.
    kernel: Vec<String>,
    /// The same for the second.
    kernel_off: Vec<String>,
    kselftest: Vec<String>,
    kunit: Vec<String>,
}

fn live_names(checked: &Checked, expect: Expect) -> Vec<String> {
    let mut names = live::names(&checked.x86_64, live::NATIVE, expect);
    names.extend(live::names(&checked.i386, live::COMPAT, expect));
    names
}

impl Names {
    fn new(options: &Options, checked: &Checked) -> Self {
        let boot = |name: &str, expect| {
            let mut all = vec![format!("boot:{name}"), format!("klog:{name}")];
            all.extend(live_names(checked, expect));
            all
        };
        let targets = options.targets.iter();
        Names {
            tables: checked.results.iter().map(|r| r.name.clone()).collect(),
            kernel: boot("kernel", Expect::Answer),
            kernel_off: boot("kernel-off", Expect::Enosys),
            kselftest: targets
                .flat_map(|t| kselftest::names(&options.tree, t))
                .collect(),
            kunit: kunit::names(&options.tree),
        }
    }

    fn all(&self) -> Vec<String> {
        [
            &self.tables,
            &self.kernel,
            &self.kernel_off,
            &self.kselftest,
            &self.kunit,
        ]
        .into_iter()
        .flatten()
        .cloned()
        .collect()
    }

    /// Groups in which more names come to light later.
    fn open_groups(options: &Options) -> Vec<String> {
        let mut groups = vec!["kunit:".to_string()];
        groups.extend(options.targets.iter().map(|t| kselftest::test_name(t, "")));
        groups
    }
}

/// Prints what can be picked.
pub fn list(options: &Options) -> Result<Vec<String>> {
    let tree = tables::tree_dir(&options.tree)?;
    let options = Options {
        tree,
        ..options.clone()
    };
    let checked = tables::check(&options.tree)?;
    let mut names = Names::new(&options, &checked).all();
    refuse_hopeless(&options, &names)?;
    names.retain(|n| options.picker.picks(n));
    Ok(names)
}

/// An error for a filter that can never pick anything.
fn refuse_hopeless(options: &Options, names: &[String]) -> Result<()> {
    let open = Names::open_groups(options);
    match options.picker.hopeless(names, &open).first() {
        None => Ok(()),
        Some(filter) => bail!("no test has a name with {filter:?}: --list shows what there is"),
    }
}

/// The kernel image of a build directory, or the image itself.
fn image_of(build: &Path, option: &str) -> Result<PathBuf> {
    if build.is_file() {
        return Ok(build.to_path_buf());
    }
    let image = build.join("arch/x86/boot/bzImage");
    if !image.is_file() {
        bail!(
            "{option} {}: no arch/x86/boot/bzImage there: build the kernel first",
            build.display()
        );
    }
    Ok(image)
}

/// Keeps a second run out of the directory.
fn lock(dir: &Path) -> Result<File> {
    let path = dir.join("lock");
    let file = File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
    // SAFETY: the descriptor is open; no memory is involved.
    if unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) } != 0 {
        bail!(
            "another run uses {}: wait for it, or give another --log-dir",
            dir.display()
        );
    }
    Ok(file)
}

/// Runs everything that is picked.
pub fn run<W: Write>(
    options: &Options,
    report: &mut Report<W>,
    stop: &Arc<AtomicBool>,
) -> Result<Totals> {
    let mut options = options.clone();
    options.tree = tables::tree_dir(&options.tree)?;
    fs::create_dir_all(&options.log_dir)
        .with_context(|| format!("--log-dir {}: cannot be made", options.log_dir.display()))?;
    options.log_dir = fs::canonicalize(&options.log_dir)?;
    let options = &options;
    let picker = &options.picker;
    let _lock = lock(&options.log_dir)?;

    let checked = tables::check(&options.tree)?;
    let names = Names::new(options, &checked);
    refuse_hopeless(options, &names.all())?;

    for result in &checked.results {
        if picker.picks(&result.name) {
            report.add(result.clone());
        }
    }

    let open = Names::open_groups(options);
    let any_open = |names: &[String], prefix: &str| {
        picker.picks_any(names)
            || open
                .iter()
                .any(|g| g.starts_with(prefix) && picker.may_pick(g))
    };
    let wants_kselftest = any_open(&names.kselftest, "kselftest:");
    let wants_kunit = any_open(&names.kunit, "kunit:");
    let wants_kernel = picker.picks_any(&names.kernel) || wants_kselftest || wants_kunit;
    let wants_off = picker.picks_any(&names.kernel_off);

    if wants_kernel {
        let build = options.kernel.as_ref().ok_or_else(|| {
            anyhow!(
                "--kernel BUILD_DIR is missing: only the tables can be checked without a kernel"
            )
        })?;
        let boot = Boot {
            name: "kernel",
            build,
            expect: Expect::Answer,
        };
        let programs = if wants_kselftest {
            let install = prepare(options, &boot)?.join(KSELFTEST);
            build_kselftests(options, &install, report)
        } else {
            prepare(options, &boot)?;
            Vec::new()
        };
        boot.run(options, &checked, &programs, report, stop)?;
    }
    match &options.kernel_off {
        Some(build) if wants_off => {
            let boot = Boot {
                name: "kernel-off",
                build,
                expect: Expect::Enosys,
            };
            prepare(options, &boot)?;
            boot.run(options, &checked, &[], report, stop)?;
        }
        None if wants_off && !wants_kernel => {
            bail!("--kernel-off BUILD_DIR is missing: these tests need a kernel without kevent");
        }
        _ => {}
    }

    let reported: Vec<String> = report.results().iter().map(|r| r.name.clone()).collect();
    for filter in picker.unused(&reported) {
        report.add(TestResult::fail(
            format!("filter:{filter}"),
            "no test that ran has this in its name: --list shows what there is",
        ));
    }
    Ok(report.totals())
}

/// An empty directory for what host and guest share.
fn prepare(options: &Options, boot: &Boot) -> Result<PathBuf> {
    let share = options.log_dir.join(boot.name).join("share");
    let dir = options.log_dir.join(boot.name);
    if dir.exists() {
        fs::remove_dir_all(&dir).with_context(|| format!("cannot remove {}", dir.display()))?;
    }
    fs::create_dir_all(&share).with_context(|| format!("cannot make {}", share.display()))?;
    Ok(share)
}

/// Builds the programs and keeps those that are picked.
fn build_kselftests<W: Write>(
    options: &Options,
    install: &Path,
    report: &mut Report<W>,
) -> Vec<Program> {
    let work = options.log_dir.join("build");
    report.note("building the kernel's selftests ...");
    let build = Build {
        tree: &options.tree,
        work: &work,
        install,
        targets: &options.targets,
    };
    let mut programs = match build.run() {
        Ok(programs) => programs,
        Err(e) => {
            let result = TestResult::fail("kselftest:build", format!("{e:#}"))
                .with("end of the build's output", build.logs())
                .always();
            report.add(result);
            return Vec::new();
        }
    };
    for program in &mut programs {
        let limit = options.test_timeout.unwrap_or(program.timeout);
        program.timeout = limit.saturating_mul(options.patience.into());
    }
    pick_programs(options, programs)
}

/// The programs that hold a picked test. A filter that fits none of the names
/// in the sources may still name a test that only the running program knows.
fn pick_programs(options: &Options, programs: Vec<Program>) -> Vec<Program> {
    let picker = &options.picker;
    let names: Vec<String> = options
        .targets
        .iter()
        .flat_map(|t| kselftest::names(&options.tree, t))
        .collect();
    let picked: Vec<Program> = programs
        .iter()
        .filter(|p| {
            let prefix = format!("{}/", p.title);
            picker.picks(&p.title)
                || picker.may_pick(&prefix)
                || names
                    .iter()
                    .any(|n| n.starts_with(&prefix) && picker.picks(n))
        })
        .cloned()
        .collect();
    if picked.is_empty() {
        programs
    } else {
        picked
    }
}

impl Boot<'_> {
    fn run<W: Write>(
        &self,
        options: &Options,
        checked: &Checked,
        programs: &[Program],
        report: &mut Report<W>,
        stop: &Arc<AtomicBool>,
    ) -> Result<()> {
        let picker = &options.picker;
        let dir = options.log_dir.join(self.name);
        let share = dir.join("share");
        let image = image_of(self.build, &format!("--{}", self.name))?;
        // Copied, so that a build that runs at the same time does no harm.
        let copy = dir.join("bzImage");
        fs::copy(&image, &copy).with_context(|| format!("cannot copy {}", image.display()))?;
        let own = std::env::current_exe().context("cannot find the harness itself")?;
        fs::copy(&own, share.join(BINARY)).context("cannot copy the harness for the guest")?;

        let calls = |calls: &[Call]| live::calls_to_try(calls, self.expect);
        let mut records = Vec::new();
        let probe = live::build_32(
            &calls(&checked.i386),
            &dir.join("probe-32.c"),
            &share.join(PROBE_32),
        );
        if let Err(e) = &probe {
            records.push(Record::LiveSkip {
                abi: live::COMPAT.into(),
                reason: format!("{e:#}"),
            });
        }
        let plan = Plan {
            native: calls(&checked.x86_64),
            probe_32: probe.is_ok(),
            programs: programs.to_vec(),
            patience: options.patience,
        };
        record::write_plan(&share, &plan)?;

        let mut machine = Machine {
            vng: options.vng.clone(),
            image: copy,
            share: share.clone(),
            console: dir.join("console.log"),
            kvm: options.kvm,
            one_thread: options.one_thread,
            cpus: options.cpus,
            memory: options.memory.clone(),
            limit: options.timeout,
            boot_limit: options.boot_timeout.min(options.timeout),
            off_limit: Duration::from_secs(60),
        };
        // What is the emulator's fault, or KVM's, and rare: one boot may be repeated for each such
        // reason, and is then emulated.
        let mut breakpoint_again = !options.kvm && !options.one_thread;
        let mut boot_again = true;
        report.note(&format!(
            "booting {}; logs: {}",
            image.display(),
            dir.display()
        ));
        let before = records;
        let (ended, stage, records) = loop {
            let mut records = before.clone();
            let (ended, stage) = watch(&machine, &mut records, report, stop)?;
            if breakpoint_again && stage != Stage::Done && stale_breakpoint(&machine.console) {
                report.note("  QEMU ran a stale breakpoint (\"Oops: int3\"); booting once more");
                breakpoint_again = false;
            } else if boot_again && stage == Stage::Booting && matches!(ended, Ended::Off(_)) {
                let kept = machine.console.with_extension("first.log");
                report.note(&format!(
                    "  the machine went down before it reached user space; booting once more ({})",
                    kept.display()
                ));
                let console = read_lossy(&machine.console).unwrap_or_default();
                for line in tail(&console, FEW_LINES) {
                    report.note(&format!("    {line}"));
                }
                fs::copy(&machine.console, &kept)
                    .with_context(|| format!("cannot write {}", kept.display()))?;
                boot_again = false;
                machine.kvm = false;
            } else {
                break (ended, stage, records);
            }
            forget(&share)?;
        };

        let log = kernel_log(&dir, &share);
        fs::write(dir.join("kernel.log"), &log).context("cannot write kernel.log")?;
        let mut results = vec![self.judge_boot(&ended, stage, &records, &dir, &share)];
        results.extend(live::judge(
            &checked.x86_64,
            live::NATIVE,
            self.expect,
            &records,
        ));
        results.extend(live::judge(
            &checked.i386,
            live::COMPAT,
            self.expect,
            &records,
        ));
        for program in programs {
            let (output, end) = kselftest::outcome_of(&records, &program.title);
            let begun = records
                .iter()
                .any(|r| matches!(r, Record::Begin { name } if *name == program.title));
            if begun {
                results.extend(kselftest::judge(
                    &program.title,
                    &output,
                    end.as_ref(),
                    &log,
                ));
            } else {
                results.push(
                    TestResult::fail(&program.title, "did not run: the guest did not get there")
                        .always(),
                );
            }
        }
        if self.expect == Expect::Answer {
            let config = fs::read_to_string(self.build.join(".config")).unwrap_or_default();
            results.extend(kunit::judge(&log, &kunit::suites(&options.tree), &config));
        }
        results.extend(self.judge_log(&log, &records));
        for result in results {
            let bad_surroundings = result.always && result.outcome == Outcome::Fail;
            if bad_surroundings || picker.picks(&result.name) {
                report.add(result);
            }
        }
        Ok(())
    }

    /// Whether the machine came up, did everything and went down again.
    fn judge_boot(
        &self,
        ended: &Ended,
        stage: Stage,
        records: &[Record],
        dir: &Path,
        share: &Path,
    ) -> TestResult {
        let name = format!("boot:{}", self.name);
        let console = read_lossy(&dir.join("console.log")).unwrap_or_default();
        let running = records.iter().rev().find_map(|r| match r {
            Record::Begin { name } => Some(Some(name.clone())),
            Record::End { .. } => Some(None),
            _ => None,
        });
        let at = match (stage, running) {
            (Stage::Booting, _) => "while it booted".to_string(),
            (Stage::Running, Some(Some(name))) => format!("while it ran {name}"),
            (Stage::Running, _) => "between the tests".to_string(),
            (Stage::Done, _) => "when it should power off".to_string(),
        };
        let trouble: Vec<String> = records
            .iter()
            .filter_map(|r| match r {
                Record::Trouble { text } => Some(text.clone()),
                _ => None,
            })
            .collect();
        let problem = match ended {
            Ended::TimedOut(_, limit) => Some(format!(
                "hung {at}, and was ended after {} s",
                limit.as_secs()
            )),
            Ended::Off(status) if stage != Stage::Done => {
                Some(format!("went down {at} (vng: {status})"))
            }
            _ if !trouble.is_empty() => Some(trouble.join("; ")),
            _ => None,
        };
        let Some(problem) = problem else {
            return TestResult::pass(name);
        };
        let read = |file: PathBuf| tail(&fs::read_to_string(file).unwrap_or_default(), LAST_LINES);
        TestResult::fail(name, problem)
            .with("last lines of the console", tail(&console, LAST_LINES))
            .with("vng", read(dir.join("console.vng.log")))
            .with("guest", read(share.join("guest.log")))
            .always()
    }

    /// A failure for each report of the kernel about itself.
    fn judge_log(&self, log: &str, records: &[Record]) -> Vec<TestResult> {
        let mut results = Vec::new();
        for finding in klog::scan(log) {
            let reason = match &finding.during {
                Some(name) => format!("in the kernel log, during {name}"),
                None => "in the kernel log".to_string(),
            };
            results.push(
                TestResult::fail(format!("klog:{}/{}", self.name, finding.title), reason)
                    .with("report", finding.lines)
                    .always(),
            );
        }
        for record in records {
            if let Record::Leak { text } = record {
                results.push(
                    TestResult::fail(
                        format!("klog:{}/kmemleak", self.name),
                        "memory that nothing points to any more",
                    )
                    .with("report", text.lines().map(String::from).collect())
                    .always(),
                );
            }
        }
        if results.is_empty() {
            results.push(TestResult::pass(format!("klog:{}", self.name)));
        }
        results
    }
}

/// Runs the machine and follows the guest's records to the end.
fn watch<W: Write>(
    machine: &Machine,
    records: &mut Vec<Record>,
    report: &mut Report<W>,
    stop: &Arc<AtomicBool>,
) -> Result<(Ended, Stage)> {
    let start = Instant::now();
    let mut reader = Reader::new(&machine.share);
    let mut stage = Stage::Booting;
    let mut follow = || {
        for record in reader.poll()? {
            match &record {
                Record::Hello { release } => {
                    stage = Stage::Running;
                    let seconds = start.elapsed().as_secs_f32();
                    report.note(&format!("  {release} is up after {seconds:.1} s"));
                }
                Record::End { name, .. } => report.note(&progress(name, records)),
                Record::Done => stage = Stage::Done,
                _ => {}
            }
            records.push(record);
        }
        Ok(stage)
    };
    let ended = machine.run(stop, &mut follow)?;
    let stage = follow()?;
    if ended == Ended::Interrupted {
        bail!("interrupted");
    }
    Ok((ended, stage))
}

/// Whether the machine went down over a breakpoint that was not there any
/// more. The kernel patches its jump labels by way of breakpoints; QEMU 7.2 was
/// seen, with a thread for each processor, to execute one that was gone: in a
/// kernel without kevent, too.
fn stale_breakpoint(console: &Path) -> bool {
    let console = read_lossy(console).unwrap_or_default();
    klog::scan(&console)
        .first()
        .is_some_and(|f| f.title.starts_with("Oops: int3"))
}

/// Removes what a guest has left in the shared directory.
fn forget(share: &Path) -> Result<()> {
    for name in [RECORDS, DMESG_START, DMESG_END] {
        match fs::remove_file(share.join(name)) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                return Err(e).with_context(|| format!("cannot remove {name}"));
            }
            _ => {}
        }
    }
    Ok(())
}

/// One line about a program that has just ended.
fn progress(name: &str, records: &[Record]) -> String {
    let (output, _) = kselftest::outcome_of(records, name);
    let doc = ktap::parse(&output);
    if let Some(reason) = &doc.skipped {
        return format!("  {name}: skipped, {reason}");
    }
    let mut counts = [0usize; 3];
    doc.for_each_leaf(|_, t| counts[t.outcome as usize] += 1);
    let [passed, failed, skipped] = counts;
    format!("  {name}: {passed} passed, {failed} failed, {skipped} skipped")
}

fn read_lossy(path: &Path) -> Option<String> {
    let bytes = fs::read(path).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// The best log there is: the guest's last, else its first, and the console.
fn kernel_log(dir: &Path, share: &Path) -> String {
    let dmesg = read_lossy(&share.join(DMESG_END)).or_else(|| read_lossy(&share.join(DMESG_START)));
    let console = read_lossy(&dir.join("console.log")).unwrap_or_default();
    klog::combine(dmesg.as_deref(), &console)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    /// A machine that plays back records; `script` runs with the shared
    /// directory as its own.
    struct Fake {
        dir: tempfile::TempDir,
        options: Options,
    }

    impl Fake {
        fn new(script: &str) -> Self {
            let dir = tempfile::tempdir().unwrap();
            let d = dir.path();
            let share = d.join("log/kernel/share");
            let text = format!("#!/bin/sh\ncd {}\n{script}\n", share.display());
            fs::write(d.join("script"), text).unwrap();
            // Copied by another process, so that no fork here holds it open.
            let copied = std::process::Command::new("cp")
                .args([d.join("script"), d.join("vng")])
                .status();
            assert!(copied.unwrap().success());
            fs::set_permissions(d.join("vng"), fs::Permissions::from_mode(0o755)).unwrap();
            fs::write(d.join("bzImage"), "").unwrap();
            let options = Options {
                tree: d.to_path_buf(),
                kernel: Some(d.join("bzImage")),
                kernel_off: None,
                vng: d.join("vng"),
                log_dir: d.join("log"),
                timeout: Duration::from_secs(20),
                boot_timeout: Duration::from_secs(20),
                targets: vec![kselftest::TARGET.into()],
                kvm: false,
                patience: 1,
                one_thread: false,
                test_timeout: None,
                cpus: 2,
                memory: "1G".into(),
                picker: Picker::default(),
            };
            Fake { dir, options }
        }

        /// Boots it with one program to run; returns what is printed.
        fn boot(&self) -> (String, Totals) {
            let boot = Boot {
                name: "kernel",
                build: &self.dir.path().join("bzImage"),
                expect: Expect::Answer,
            };
            prepare(&self.options, &boot).unwrap();
            let call = Call {
                name: "kevent_create".into(),
                number: 900,
            };
            let checked = Checked {
                results: Vec::new(),
                x86_64: vec![call],
                i386: Vec::new(),
            };
            let program = Program {
                title: "kselftest:a_test".into(),
                dir: "kevent".into(),
                name: "a_test".into(),
                timeout: 10,
            };
            let mut out = Vec::new();
            let mut report = Report::new(&mut out, true);
            boot.run(
                &self.options,
                &checked,
                &[program],
                &mut report,
                &Arc::default(),
            )
            .unwrap();
            let totals = report.totals();
            (String::from_utf8(out).unwrap(), totals)
        }
    }

    const GOOD: &str = r#"
        echo '[    0.000000] Linux version 7' >&2
        r() { echo "$1" >>records.jsonl; }
        r '{"record":"hello","release":"7"}'
        r '{"record":"live","abi":"x86_64","number":900,"value":-22}'
        r '{"record":"live","abi":"x86_64","number":901,"value":-38}'
        r '{"record":"begin","name":"kselftest:a_test"}'
        r '{"record":"output","name":"kselftest:a_test","line":"TAP version 13"}'
        r '{"record":"output","name":"kselftest:a_test","line":"1..1"}'
        r '{"record":"output","name":"kselftest:a_test","line":"ok 1 global.a"}'
    "#;
    const END: &str = r#"
        r '{"record":"end","name":"kselftest:a_test","end":{"exit":0}}'
        r '{"record":"done"}'
    "#;

    #[test]
    fn a_good_boot() {
        let (out, _) = Fake::new(&format!("{GOOD}{END}")).boot();
        for line in [
            "PASS boot:kernel\n",
            "PASS live:x86_64/kevent_create\n",
            "PASS live:x86_64/after-last\n",
            "PASS kselftest:a_test/global.a\n",
            "PASS klog:kernel\n",
            "  kselftest:a_test: 1 passed, 0 failed, 0 skipped\n",
        ] {
            assert!(out.contains(line), "no {line:?} in:\n{out}");
        }
    }

    #[test]
    fn goes_down_in_a_test() {
        let crash = "echo '[    1.000000] Kernel panic - not syncing: x' >&2; exit 255";
        let (out, _) = Fake::new(&format!("{GOOD}{crash}")).boot();
        for line in [
            "FAIL boot:kernel: went down while it ran kselftest:a_test (vng: exit status: 255)\n",
            "FAIL kselftest:a_test: did not end",
            "PASS kselftest:a_test/global.a\n",
            "FAIL klog:kernel/Kernel panic - not syncing: x",
        ] {
            assert!(out.contains(line), "no {line:?} in:\n{out}");
        }
    }

    #[test]
    fn hangs_in_a_test() {
        let mut fake = Fake::new(&format!("{GOOD} echo '[    9.0] last line' >&2; sleep 60"));
        fake.options.timeout = Duration::from_secs(1);
        let (out, _) = fake.boot();
        for line in [
            "FAIL boot:kernel: hung while it ran kselftest:a_test, and was ended after 1 s\n",
            "[    9.0] last line",
        ] {
            assert!(out.contains(line), "no {line:?} in:\n{out}");
        }
    }

    #[test]
    fn does_not_come_up() {
        let (out, totals) = Fake::new("echo 'no such option' ; exit 2").boot();
        for line in [
            "FAIL boot:kernel: went down while it booted (vng: exit status: 2)\n",
            "no such option",
            "FAIL live:x86_64/kevent_create: number 900 was not tried",
            "FAIL kselftest:a_test: did not run",
        ] {
            assert!(out.contains(line), "no {line:?} in:\n{out}");
        }
        assert!(totals.failed >= 4);
    }

    #[test]
    fn a_stale_breakpoint_is_tried_once_more() {
        let oops = r#"echo '{"record":"hello","release":"7"}' >>records.jsonl
            echo '[    1.000000] Oops: int3: 0000 [#1] SMP' >&2; exit 255"#;
        let once = format!("if [ ! -e ../tried ]; then touch ../tried; {oops}; fi; {GOOD}{END}");
        let (out, _) = Fake::new(&once).boot();
        assert!(
            out.contains("booting once more") && out.contains("PASS boot:kernel\n"),
            "{out}"
        );
        assert!(out.contains("PASS klog:kernel\n"), "{out}");
        let (out, _) = Fake::new(oops).boot();
        assert_eq!(out.matches("booting once more").count(), 1);
        assert!(out.contains("FAIL klog:kernel/Oops: int3"), "{out}");
    }

    #[test]
    fn a_boot_that_never_reached_user_space_is_tried_once_more() {
        let panic = "echo '[    0.100000] Kernel panic - not syncing: no timer' >&2; exit 255";
        let once = format!("if [ ! -e ../tried ]; then touch ../tried; {panic}; fi; {GOOD}{END}");
        let fake = Fake::new(&once);
        let (out, _) = fake.boot();
        for line in [
            "before it reached user space; booting once more",
            "Kernel panic - not syncing: no timer",
            "PASS boot:kernel\n",
            "PASS klog:kernel\n",
        ] {
            assert!(out.contains(line), "no {line:?} in:\n{out}");
        }
        let (out, _) = Fake::new(panic).boot();
        assert_eq!(out.matches("booting once more").count(), 1);
        // A machine that came up and panics is no such boot.
        let (out, _) = Fake::new(&format!("{GOOD} {panic}")).boot();
        assert!(!out.contains("booting once more"), "{out}");
        assert!(out.contains("Kernel panic - not syncing"), "{out}");
        assert!(out.contains("FAIL boot:kernel: went down"), "{out}");
    }

    #[test]
    fn one_run_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let first = lock(dir.path()).unwrap();
        let error = lock(dir.path()).unwrap_err().to_string();
        assert!(error.contains("another run uses"), "{error}");
        drop(first);
        lock(dir.path()).unwrap();
    }

    #[test]
    fn kernel_that_is_not_there() {
        let dir = tempfile::tempdir().unwrap();
        let error = image_of(dir.path(), "--kernel").unwrap_err().to_string();
        assert!(error.contains("build the kernel first"), "{error}");
    }
}
