// SPDX-License-Identifier: GPL-2.0-only

//! The kernel's own selftests: built from the tree, listed, and judged.
//!
//! Everything that is built goes to a directory outside of the tree. Headers
//! are installed from the tree first, so that the tests see the new UAPI and
//! not the machine's.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::LazyLock;

use anyhow::{bail, Context, Result};
use regex::Regex;

use crate::klog;
use crate::ktap::{self, Outcome};
use crate::record::{End, Program, Record};
use crate::report::TestResult;
use crate::vm::tail;

/// Our directory under tools/testing/selftests.
pub const TARGET: &str = "kevent";
/// Where all selftests are.
const SELFTESTS: &str = "tools/testing/selftests";
/// What kselftest gives a test that sets no limit.
const DEFAULT_TIMEOUT: u64 = 45;
/// Exit status of a program that skipped everything.
const KSFT_SKIP: i32 = 4;

static TEST_MACRO: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(
        r"(?m)^(TEST|TEST_SIGNAL|TEST_F|TEST_F_SIGNAL|TEST_F_TIMEOUT)\(\s*(\w+)\s*(?:,\s*(\w+))?",
    )
    .unwrap()
});
static VARIANT_MACRO: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"(?m)^FIXTURE_VARIANT_ADD\(\s*(\w+)\s*,\s*(\w+)").unwrap());

/// The name under which a program of a target is reported.
pub fn test_name(target: &str, program: &str) -> String {
    if target == TARGET {
        format!("kselftest:{program}")
    } else {
        format!("kselftest:{target}/{program}")
    }
}

/// The names that kselftest_harness.h will give the tests in a source file.
fn cases(source: &str) -> Vec<String> {
    let variants: Vec<(String, String)> = VARIANT_MACRO
        .captures_iter(source)
        .map(|c| (c[1].to_string(), c[2].to_string()))
        .collect();
    let mut names = Vec::new();
    for c in TEST_MACRO.captures_iter(source) {
        let first = &c[2];
        if !c[1].starts_with("TEST_F") {
            names.push(format!("global.{first}"));
            continue;
        }
        let Some(test) = c.get(3).map(|m| m.as_str()) else {
            continue;
        };
        let of: Vec<_> = variants.iter().filter(|(f, _)| f == first).collect();
        if of.is_empty() {
            names.push(format!("{first}.{test}"));
        }
        names.extend(of.iter().map(|(_, v)| format!("{first}.{v}.{test}")));
    }
    names
}

/// Full names of the tests of a target, as far as its source shows.
pub fn names(tree: &Path, target: &str) -> Vec<String> {
    let mut all = Vec::new();
    let dir = tree.join(SELFTESTS).join(target);
    let makefile = fs::read_to_string(dir.join("Makefile")).unwrap_or_default();
    let in_makefile = |name: &str| makefile.split_whitespace().any(|word| word == name);
    let mut files: Vec<PathBuf> = fs::read_dir(dir)
        .into_iter()
        .flatten()
        .flatten()
        .map(|e| e.path())
        .collect();
    files.sort();
    for file in files {
        let part = |p: Option<&OsStr>| p.and_then(OsStr::to_str).unwrap_or("").to_string();
        let (name, stem) = (part(file.file_name()), part(file.file_stem()));
        if name == format!("{stem}.c") && in_makefile(&stem) {
            let source = fs::read_to_string(&file).unwrap_or_default();
            let program = test_name(target, &stem);
            all.push(program.clone());
            all.extend(cases(&source).into_iter().map(|c| format!("{program}/{c}")));
        } else if in_makefile(&name) && (name.ends_with(".sh") || name.ends_with(".py")) {
            all.push(test_name(target, &name));
        }
    }
    all
}

/// Where things are built.
#[derive(Clone, Debug)]
pub struct Build<'a> {
    /// The patched tree.
    pub tree: &'a Path,
    /// Directory for everything that is built; kept for the next run.
    pub work: &'a Path,
    /// Where the programs are installed; emptied first.
    pub install: &'a Path,
    /// Directories under tools/testing/selftests.
    pub targets: &'a [String],
}

impl Build<'_> {
    fn make(&self, log: &Path, dir: &Path, args: &[String]) -> Result<()> {
        let file =
            fs::File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
        let jobs = std::thread::available_parallelism().map_or(1, usize::from);
        let status = Command::new("make")
            .arg(format!("-j{jobs}"))
            .arg("-C")
            .arg(dir)
            .args(args)
            .env_remove("MAKEFLAGS")
            .env_remove("MFLAGS")
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .status()
            .context("make cannot be started: is it installed?")?;
        if !status.success() {
            bail!("make failed, its output is in {}", log.display());
        }
        Ok(())
    }

    /// Builds and installs the programs, and lists them.
    pub fn run(&self) -> Result<Vec<Program>> {
        for target in self.targets {
            let dir = Path::new(SELFTESTS).join(target);
            if !self.tree.join(&dir).join("Makefile").is_file() {
                bail!(
                    "{} is not in the tree: is the series applied?",
                    dir.display()
                );
            }
        }
        fs::create_dir_all(self.work)
            .with_context(|| format!("cannot make {}", self.work.display()))?;
        let headers = self.work.join("headers");
        self.make(
            &self.work.join("headers.log"),
            self.tree,
            &[
                format!("O={}", self.work.join("headers-build").display()),
                format!("INSTALL_HDR_PATH={}", headers.display()),
                "headers_install".into(),
            ],
        )
        .context("cannot install the headers of the tree")?;

        // The makefiles know no dependencies on headers; begin again.
        let objects = self.work.join("kselftest-build");
        for dir in [&objects, self.install] {
            if dir.exists() {
                fs::remove_dir_all(dir)
                    .with_context(|| format!("cannot remove {}", dir.display()))?;
            }
        }
        fs::create_dir_all(&objects)?;
        self.make(
            &self.work.join("kselftest.log"),
            &self.tree.join(SELFTESTS),
            &[
                format!("O={}", objects.display()),
                format!("INSTALL_PATH={}", self.install.display()),
                format!("TARGETS={}", self.targets.join(" ")),
                format!(
                    "KHDR_INCLUDES=-isystem {}",
                    headers.join("include").display()
                ),
                "FORCE_TARGETS=1".into(),
                "install".into(),
            ],
        )
        .context("cannot build the selftests of the tree")?;
        list(self.install)
    }

    /// The end of the build logs, for a failure.
    pub fn logs(&self) -> Vec<String> {
        for name in ["kselftest.log", "headers.log"] {
            let text = fs::read_to_string(self.work.join(name)).unwrap_or_default();
            if text.contains("***") {
                return tail(&text, 40);
            }
        }
        Vec::new()
    }
}

/// The installed programs.
fn list(install: &Path) -> Result<Vec<Program>> {
    let file = install.join("kselftest-list.txt");
    let text = fs::read_to_string(&file)
        .with_context(|| format!("the installed selftests have no list, {}", file.display()))?;
    let mut programs = Vec::new();
    for line in text.lines() {
        let Some((dir, name)) = line.trim().rsplit_once(':') else {
            continue;
        };
        let settings = fs::read_to_string(install.join(dir).join("settings")).unwrap_or_default();
        programs.push(Program {
            title: test_name(dir, name),
            dir: dir.into(),
            name: name.into(),
            timeout: timeout(&settings),
        });
    }
    if programs.is_empty() {
        bail!("the selftests of the tree install no program: look at TEST_GEN_PROGS in their Makefile");
    }
    Ok(programs)
}

fn timeout(settings: &str) -> u64 {
    settings
        .lines()
        .filter_map(|l| l.trim().strip_prefix("timeout="))
        .filter_map(|v| v.trim().parse().ok())
        .next_back()
        .unwrap_or(DEFAULT_TIMEOUT)
}

fn signal_name(signal: i32) -> String {
    let name = match signal {
        libc::SIGSEGV => "SIGSEGV",
        libc::SIGBUS => "SIGBUS",
        libc::SIGABRT => "SIGABRT",
        libc::SIGILL => "SIGILL",
        libc::SIGFPE => "SIGFPE",
        libc::SIGKILL => "SIGKILL",
        libc::SIGTERM => "SIGTERM",
        libc::SIGALRM => "SIGALRM",
        libc::SIGSYS => "SIGSYS",
        _ => return format!("signal {signal}"),
    };
    format!("{name} (signal {signal})")
}

/// What a program printed and how it ended.
pub fn outcome_of(records: &[Record], title: &str) -> (String, Option<End>) {
    let mut output = String::new();
    let mut end = None;
    for record in records {
        match record {
            Record::Output { name, line } if name == title => {
                output.push_str(line);
                output.push('\n');
            }
            Record::End { name, end: how } if name == title => end = Some(how.clone()),
            _ => {}
        }
    }
    (output, end)
}

/// Judges one program: a result for each of its tests, and one for the program
/// itself if something is wrong with it.
pub fn judge(name: &str, output: &str, end: Option<&End>, kernel_log: &str) -> Vec<TestResult> {
    let doc = ktap::parse(output);
    let kernel = || {
        let mut lines = klog::section(kernel_log, name);
        lines.retain(|l| !l.trim().is_empty());
        lines
    };
    let mut results = Vec::new();
    let mut counts = [0usize; 3];
    doc.for_each_leaf(|path, test| {
        counts[test.outcome as usize] += 1;
        let result = TestResult::new(
            format!("{name}/{}", path.join("/")),
            test.outcome,
            &test.reason,
        );
        results.push(match test.outcome {
            Outcome::Fail => result
                .with("output", test.diagnostics.clone())
                .with("kernel log of the program", kernel()),
            _ => result,
        });
    });
    let [passed, failed, skipped] = counts;

    let mut problems: Vec<String> = Vec::new();
    match end {
        None => {
            problems.push("did not end: the machine went down, or was ended, while it ran".into())
        }
        Some(End::NotStarted(why)) => problems.push(format!("could not be started: {why}")),
        Some(End::Signal(signal)) => {
            problems.push(format!("was killed by {}", signal_name(*signal)))
        }
        Some(End::Timeout(limit)) => {
            problems.push(format!("was ended: it ran longer than {limit} s"));
        }
        Some(End::Exit(0)) if failed > 0 => {
            problems.push(format!("exit status 0 although {failed} tests failed"));
        }
        Some(End::Exit(0)) => {}
        Some(End::Exit(KSFT_SKIP))
            if failed == 0 && passed == 0 && (skipped > 0 || doc.skipped.is_some()) => {}
        Some(End::Exit(code)) if failed == 0 && doc.problems.is_empty() => {
            problems.push(format!("exit status {code} although no test failed"));
        }
        Some(End::Exit(_)) => {}
    }
    if !matches!(end, Some(End::NotStarted(_))) {
        problems.extend(doc.problems.iter().map(|p| {
            let mut parts = p.path.clone();
            parts.push(p.text.clone());
            parts.join(": ")
        }));
    }
    if !problems.is_empty() {
        let result =
            TestResult::from_problems(name, problems).with("last output", tail(output, 30));
        // When the kernel went down, the boot's own result shows the log.
        results.push(match end {
            None => result.always(),
            Some(_) => result.with("kernel log of the program", kernel()).always(),
        });
    } else if let Some(reason) = &doc.skipped {
        results.push(TestResult::skip(name, reason));
    }
    results
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(output: &str, end: Option<End>) -> Vec<(String, Outcome, String)> {
        judge("kselftest:a_test", output, end.as_ref(), "")
            .into_iter()
            .map(|r| (r.name, r.outcome, r.reason))
            .collect()
    }

    fn only_problem(output: &str, end: Option<End>, text: &str) {
        let results = judged(output, end);
        let (name, outcome, reason) = results.last().unwrap();
        assert_eq!(
            (name.as_str(), *outcome),
            ("kselftest:a_test", Outcome::Fail)
        );
        assert!(reason.contains(text), "{reason}");
    }

    const GOOD: &str = "TAP version 13\n1..2\nok 1 global.a\nok 2 global.b # SKIP why\n";
    const BAD: &str = "TAP version 13\n1..1\n# a.c:1:a:Expected\nnot ok 1 global.a\n";

    #[test]
    fn good() {
        assert_eq!(
            judged(GOOD, Some(End::Exit(0))),
            [
                (
                    "kselftest:a_test/global.a".into(),
                    Outcome::Pass,
                    String::new()
                ),
                (
                    "kselftest:a_test/global.b".into(),
                    Outcome::Skip,
                    "why".into()
                ),
            ]
        );
    }

    #[test]
    fn failed_test_brings_its_output_and_the_kernel_log() {
        let log = "[ 1.0] kevent-selftests: begin kselftest:a_test\n[ 1.1] hello\n\
                   [ 1.2] kevent-selftests: end kselftest:a_test\n[ 1.3] later\n";
        let results = judge("kselftest:a_test", BAD, Some(&End::Exit(1)), log);
        assert_eq!(results.len(), 1);
        assert!(results[0].details[0].lines[0].contains("Expected"));
        assert_eq!(results[0].details[1].lines, ["[ 1.1] hello"]);
    }

    #[test]
    fn status_that_contradicts_the_results() {
        only_problem(
            BAD,
            Some(End::Exit(0)),
            "exit status 0 although 1 tests failed",
        );
        only_problem(
            GOOD,
            Some(End::Exit(1)),
            "exit status 1 although no test failed",
        );
        only_problem(
            GOOD,
            Some(End::Exit(4)),
            "exit status 4 although no test failed",
        );
        only_problem(GOOD, Some(End::Signal(11)), "killed by SIGSEGV (signal 11)");
        only_problem(GOOD, Some(End::Timeout(45)), "ran longer than 45 s");
        only_problem(GOOD, None, "did not end");
        only_problem(
            "",
            Some(End::NotStarted("no".into())),
            "could not be started: no",
        );
        only_problem("", Some(End::Exit(0)), "no KTAP");
        only_problem(
            "TAP version 13\n1..2\nok 1 a\n",
            Some(End::Exit(0)),
            "1 of 2 planned",
        );
    }

    #[test]
    fn everything_skipped() {
        let skipped = "TAP version 13\n1..0 # SKIP no kevent here\n";
        assert_eq!(
            judged(skipped, Some(End::Exit(4))),
            [(
                "kselftest:a_test".into(),
                Outcome::Skip,
                "no kevent here".into()
            )]
        );
    }

    #[test]
    fn names_from_the_source() {
        let source = "TEST(one)\n{\n}\nFIXTURE(ring) {};\nTEST_F(ring, wrap)\n{}\n\
                      FIXTURE_VARIANT_ADD(mode, edge) {};\nFIXTURE_VARIANT_ADD(mode, level) {};\n\
                      TEST_F_TIMEOUT(mode, fires, 60)\n{}\n\tTEST(not_at_line_start)\n";
        assert_eq!(
            cases(source),
            [
                "global.one",
                "ring.wrap",
                "mode.edge.fires",
                "mode.level.fires"
            ]
        );
    }

    #[test]
    fn names_of_a_target() {
        let tree = tempfile::tempdir().unwrap();
        let dir = tree.path().join(SELFTESTS).join("kevent");
        fs::create_dir_all(&dir).unwrap();
        let write = |file: &str, text: &str| fs::write(dir.join(file), text).unwrap();
        write(
            "Makefile",
            "TEST_GEN_PROGS := wait\nTEST_PROGS := stress.sh\nTEST_FILES := x.h\n",
        );
        write("wait.c", "TEST(one)\n{\n}\n");
        write("helper.c", "TEST(no)\n");
        write("stress.sh", "");
        write("x.h", "");
        assert_eq!(
            names(tree.path(), TARGET),
            [
                "kselftest:stress.sh",
                "kselftest:wait",
                "kselftest:wait/global.one"
            ]
        );
    }

    #[test]
    fn settings() {
        assert_eq!(timeout(""), 45);
        assert_eq!(timeout("# comment\ntimeout=120\n"), 120);
        assert_eq!(timeout("timeout=0\n"), 0);
    }

    #[test]
    fn installed_list() {
        let dir = tempfile::tempdir().unwrap();
        assert!(list(dir.path()).is_err());
        fs::write(dir.path().join("kselftest-list.txt"), "").unwrap();
        assert!(list(dir.path())
            .unwrap_err()
            .to_string()
            .contains("install no program"));
        fs::write(
            dir.path().join("kselftest-list.txt"),
            "filesystems/epoll:x_test\n",
        )
        .unwrap();
        assert_eq!(
            list(dir.path()).unwrap(),
            [Program {
                title: "kselftest:filesystems/epoll/x_test".into(),
                dir: "filesystems/epoll".into(),
                name: "x_test".into(),
                timeout: 45
            }]
        );
    }

    #[test]
    fn target_missing() {
        let dir = tempfile::tempdir().unwrap();
        let build = Build {
            tree: dir.path(),
            work: dir.path(),
            install: &dir.path().join("i"),
            targets: &[TARGET.to_string()],
        };
        let error = build.run().unwrap_err().to_string();
        assert!(
            error.contains("tools/testing/selftests/kevent is not in the tree"),
            "{error}"
        );
    }
}
