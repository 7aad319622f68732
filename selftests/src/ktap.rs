// SPDX-License-Identifier: GPL-2.0-only

//! Reads KTAP, the format in which kernel tests say how they went
//! (Documentation/dev-tools/ktap.rst in the kernel tree).
//!
//! The parser takes what the in-tree producers really write: kselftest.h
//! (`TAP version 13`, description behind `# SKIP`), kselftest_harness.h, and
//! KUnit (nested, four spaces a level, in the kernel log). Lines it does not
//! know are diagnostics, as the specification says. What is wrong with the
//! output itself (a plan that is not kept, a program that bailed out, a
//! subtest that never ended) is a [`Problem`], and a problem is a failure.

use std::sync::LazyLock;

use regex::Regex;

/// How one test went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The test passed.
    Pass,
    /// The test failed.
    Fail,
    /// The test did not run, or its failure is expected.
    Skip,
}

/// One result line and what belongs to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Test {
    /// The description on the result line; `test N` when there is none.
    pub name: String,
    /// How the test went.
    pub outcome: Outcome,
    /// What follows the directive on the result line.
    pub reason: String,
    /// Lines printed since the result before this one.
    pub diagnostics: Vec<String>,
    /// Results of its subtests.
    pub subtests: Vec<Test>,
}

/// Something that is wrong with the output itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Subtests the line was nested in, outermost first.
    pub path: Vec<String>,
    /// What is wrong.
    pub text: String,
}

/// One complete KTAP output.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Document {
    /// The outermost results.
    pub tests: Vec<Test>,
    /// What is wrong with the output itself.
    pub problems: Vec<Problem>,
    /// The reason, if the plan was `1..0 # SKIP reason`.
    pub skipped: Option<String>,
    /// Diagnostics after the last result: the place to look after a crash.
    pub trailing: Vec<String>,
}

impl Document {
    /// Calls `f` with the path and the test for every result that has no
    /// subtests, and for results that failed though no subtest did.
    pub fn for_each_leaf<'a>(&'a self, mut f: impl FnMut(&[&'a str], &'a Test)) {
        fn walk<'a>(
            path: &mut Vec<&'a str>,
            tests: &'a [Test],
            f: &mut impl FnMut(&[&'a str], &'a Test),
        ) {
            for test in tests {
                path.push(&test.name);
                walk(path, &test.subtests, f);
                let own = test.outcome != Outcome::Pass
                    && !test.subtests.iter().any(|t| t.outcome == test.outcome);
                if test.subtests.is_empty() || own {
                    f(path, test);
                }
                path.pop();
            }
        }
        walk(&mut Vec::new(), &self.tests, &mut f);
    }
}

static VERSION: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"^( *)(?:KTAP version 1|TAP version 1[34])\s*$").unwrap());
static PLAN: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"^( *)1\.\.(\d+)(?:\s*#\s*(?i:skip)\S*\s*(.*))?\s*$").unwrap());
static RESULT: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"^( *)(not ok|ok)(?: (\d+))?(?:\s+(.*))?$").unwrap());
static SUBTEST: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"^ *# Subtest: (.+?)\s*$").unwrap());
static STARTED: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"^ *#\s+RUN\s+(\S+) \.\.\.\s*$").unwrap());
static TIMESTAMP: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"^(?:<\d+>)?\[ *\d+\.\d+\](?:\[ *[TC]\d+\])? ?(.*)$").unwrap());

/// Removes the level and the time that the kernel log puts before a message:
/// `<6>[    1.234567][    T1] text` becomes `text`.
pub fn strip_timestamp(line: &str) -> &str {
    let line = line.trim_end_matches(['\r', '\n']);
    match TIMESTAMP.captures(line) {
        Some(c) => c.get(1).map_or("", |m| m.as_str()),
        None => line,
    }
}

/// Results on one nesting level that is still open.
struct Level {
    indent: usize,
    plan: Option<usize>,
    skipped: Option<String>,
    name: Option<String>,
    tests: Vec<Test>,
    diagnostics: Vec<String>,
    started: Option<String>,
    problems: Vec<String>,
}

impl Level {
    fn new(indent: usize) -> Self {
        Level {
            indent,
            plan: None,
            skipped: None,
            name: None,
            tests: Vec::new(),
            diagnostics: Vec::new(),
            started: None,
            problems: Vec::new(),
        }
    }

    /// The plan against what came: to be called when the level is over.
    fn check_plan(&mut self) {
        let got = self.tests.len();
        let after = match &self.started {
            Some(name) => format!("; the last one started is {name}"),
            None => String::new(),
        };
        match self.plan {
            None if got > 0 => self.problems.push(format!(
                "no plan: {got} results but no line `1..{got}`, so it is not known whether all tests ran"
            )),
            Some(plan) if got < plan => self.problems.push(format!(
                "{} of {plan} planned tests gave no result{after}",
                plan - got
            )),
            Some(plan) if got > plan => self
                .problems
                .push(format!("{got} results, but the plan says {plan}")),
            _ => {}
        }
    }
}

/// Reads one KTAP output, line by line.
pub struct Parser {
    levels: Vec<Level>,
    /// A finished subtest level whose parent result has not come yet.
    finished: Option<Level>,
    problems: Vec<Problem>,
    version_seen: bool,
    bailed: bool,
}

impl Default for Parser {
    fn default() -> Self {
        Parser {
            levels: vec![Level::new(0)],
            finished: None,
            problems: Vec::new(),
            version_seen: false,
            bailed: false,
        }
    }
}

impl Parser {
    fn top(&mut self) -> &mut Level {
        // The outermost level is never popped.
        self.levels.last_mut().expect("outermost level")
    }

    fn path(&self) -> Vec<String> {
        self.levels
            .iter()
            .skip(1)
            .map(|l| l.name.clone().unwrap_or_else(|| "(unnamed)".into()))
            .collect()
    }

    fn problem(&mut self, text: impl Into<String>) {
        let path = self.path();
        self.problems.push(Problem {
            path,
            text: text.into(),
        });
    }

    /// Closes the innermost level; its results wait for the parent's line.
    fn close_level(&mut self) {
        self.drop_finished();
        if let Some(mut level) = self.levels.pop() {
            level.check_plan();
            self.finished = Some(level);
        }
    }

    /// A finished subtest without a result line of its own.
    fn drop_finished(&mut self) {
        let Some(level) = self.finished.take() else {
            return;
        };
        let name = level.name.clone().unwrap_or_else(|| "(unnamed)".into());
        let mut path = self.path();
        path.push(name.clone());
        for text in &level.problems {
            self.problems.push(Problem {
                path: path.clone(),
                text: text.clone(),
            });
        }
        self.problems.push(Problem {
            path,
            text: "no result line: the test did not come to its end".into(),
        });
        // Keep what its subtests said.
        let test = Test {
            name,
            outcome: Outcome::Fail,
            reason: "did not come to its end".into(),
            diagnostics: level.diagnostics,
            subtests: level.tests,
        };
        if !test.subtests.is_empty() {
            let parent = self.top();
            parent.tests.push(test);
        }
    }

    /// One line, without timestamp.
    pub fn line(&mut self, line: &str) {
        let line = line.trim_end();
        if let Some(c) = VERSION.captures(line) {
            self.version(c[1].len());
        } else if let Some(c) = PLAN.captures(line) {
            self.plan(c[1].len(), &c[2], c.get(3).map(|m| m.as_str()));
        } else if let Some(reason) = line.trim_start().strip_prefix("Bail out!") {
            self.bailed = true;
            let reason = reason.trim();
            let because = if reason.is_empty() {
                "no reason given"
            } else {
                reason
            };
            self.problem(format!("bailed out: {because}"));
        } else if let Some(c) = RESULT.captures(line) {
            let number = c.get(3).and_then(|m| m.as_str().parse().ok());
            let rest = c.get(4).map_or("", |m| m.as_str());
            self.result(c[1].len(), &c[2] == "ok", number, rest);
        } else {
            if let Some(c) = SUBTEST.captures(line) {
                let name = c[1].to_string();
                let top = self.top();
                if top.name.is_none() && top.tests.is_empty() {
                    top.name = Some(name);
                }
            } else if let Some(c) = STARTED.captures(line) {
                self.top().started = Some(c[1].to_string());
            }
            if !line.is_empty() {
                self.top().diagnostics.push(line.to_string());
            }
        }
    }

    fn version(&mut self, indent: usize) {
        if indent == 0 && !self.version_seen {
            self.version_seen = true;
            return;
        }
        while self.levels.len() > 1 && self.top().indent >= indent {
            self.close_level();
        }
        if indent == 0 {
            self.problem("a second version line: two outputs in one");
            return;
        }
        self.drop_finished();
        self.levels.push(Level::new(indent));
    }

    fn plan(&mut self, indent: usize, count: &str, skip: Option<&str>) {
        while self.levels.len() > 1 && self.top().indent > indent {
            self.close_level();
        }
        if self.top().indent != indent {
            self.top().diagnostics.push(format!("1..{count}"));
            return;
        }
        if self.top().plan.is_some() {
            self.problem("a second plan");
            return;
        }
        let Ok(count) = count.parse() else {
            self.problem(format!("a plan that is not a number: 1..{count}"));
            return;
        };
        let top = self.top();
        top.plan = Some(count);
        if let (0, Some(reason)) = (count, skip) {
            top.skipped = Some(reason.trim().to_string());
        }
    }

    fn result(&mut self, indent: usize, ok: bool, number: Option<usize>, rest: &str) {
        while self.levels.len() > 1 && self.top().indent > indent {
            self.close_level();
        }
        if self.top().indent < indent {
            // Nested results that were not announced by a version line.
            self.drop_finished();
            self.levels.push(Level::new(indent));
            self.problem("results without a version line before them");
        }
        let (name, directive, reason) = split_directive(rest);
        let expected = self.top().tests.len() + 1;
        let name = match (name, number) {
            ("", _) if !directive.is_empty() && !reason.is_empty() => reason.to_string(),
            ("", number) => format!("test {}", number.unwrap_or(expected)),
            (name, _) => name.to_string(),
        };
        match number {
            None => self.problem(format!("result of {name} has no number")),
            Some(n) if n != expected => {
                self.problem(format!("result of {name} has number {n}, not {expected}"));
            }
            _ => {}
        }
        let outcome = match directive {
            "SKIP" => Outcome::Skip,
            "TODO" | "XFAIL" if !ok || directive == "XFAIL" => Outcome::Skip,
            "TIMEOUT" | "ERROR" => Outcome::Fail,
            _ if ok => Outcome::Pass,
            _ => Outcome::Fail,
        };
        let reason = match directive {
            "" | "SKIP" => reason.to_string(),
            _ => format!("{directive} {reason}").trim().to_string(),
        };
        let mut test = Test {
            name,
            outcome,
            reason,
            diagnostics: std::mem::take(&mut self.top().diagnostics),
            subtests: Vec::new(),
        };
        if let Some(level) = self.finished.take() {
            let mut path = self.path();
            path.push(test.name.clone());
            for text in level.problems {
                self.problems.push(Problem {
                    path: path.clone(),
                    text,
                });
            }
            if level.name.as_ref().is_some_and(|n| *n != test.name) {
                self.problems.push(Problem {
                    path: path.clone(),
                    text: format!(
                        "result line does not name the subtest before it, {}",
                        level.name.unwrap_or_default()
                    ),
                });
            }
            let bad = level.tests.iter().find(|t| t.outcome == Outcome::Fail);
            if let (Some(bad), Outcome::Pass) = (bad, test.outcome) {
                self.problems.push(Problem {
                    path,
                    text: format!("says ok although its subtest {} failed", bad.name),
                });
            }
            test.subtests = level.tests;
            if test.diagnostics.is_empty() {
                test.diagnostics = level.diagnostics;
            } else {
                let mut all = level.diagnostics;
                all.append(&mut test.diagnostics);
                test.diagnostics = all;
            }
        }
        let top = self.top();
        top.started = None;
        top.tests.push(test);
    }

    /// Whether the outermost plan is kept: no more lines belong to it.
    pub fn complete(&self) -> bool {
        self.levels.len() == 1
            && self.levels[0]
                .plan
                .is_some_and(|p| self.levels[0].tests.len() >= p)
    }

    /// The end of the output.
    pub fn finish(mut self) -> Document {
        while self.levels.len() > 1 {
            self.close_level();
        }
        self.drop_finished();
        let mut top = self.levels.pop().expect("outermost level");
        let nothing = top.tests.is_empty() && top.plan.unwrap_or(0) == 0;
        if !self.version_seen {
            top.problems.push(if nothing {
                "no KTAP in the output: no line `TAP version 13` or `KTAP version 1`".into()
            } else {
                "no version line: `TAP version 13` or `KTAP version 1` must come first".into()
            });
        }
        // After a bail-out missing results explain themselves.
        if !self.bailed {
            if nothing && top.skipped.is_none() && self.version_seen {
                top.problems.push("no tests run".into());
            }
            top.check_plan();
        }
        self.problems
            .extend(top.problems.into_iter().map(|text| Problem {
                path: Vec::new(),
                text,
            }));
        Document {
            tests: top.tests,
            problems: self.problems,
            skipped: top.skipped,
            trailing: top.diagnostics,
        }
    }
}

/// `name # SKIP reason` in its three parts; unknown directives are part of
/// the diagnostic data and change nothing.
fn split_directive(rest: &str) -> (&str, &'static str, &str) {
    let rest = rest.trim();
    let (name, data) = match rest.find(" # ") {
        Some(at) => (&rest[..at], &rest[at + 3..]),
        None => match rest.strip_prefix("# ") {
            Some(data) => ("", data),
            None => (rest, ""),
        },
    };
    let name = name.strip_prefix("- ").unwrap_or(name).trim();
    let data = data.trim();
    let (word, tail) = data.split_once(char::is_whitespace).unwrap_or((data, ""));
    let known = ["SKIP", "TODO", "XFAIL", "TIMEOUT", "ERROR"];
    match known
        .into_iter()
        .find(|d| word.trim_end_matches(':').eq_ignore_ascii_case(d))
    {
        Some(directive) => (name, directive, tail.trim()),
        None => (name, "", data),
    }
}

/// Reads the whole output of one program.
pub fn parse(text: &str) -> Document {
    let mut parser = Parser::default();
    for line in text.lines() {
        parser.line(strip_timestamp(line));
    }
    parser.finish()
}

/// Finds every KTAP output in a kernel log, where other messages come before,
/// between and after.
pub fn parse_log(log: &str) -> Vec<Document> {
    let mut documents = Vec::new();
    let mut open: Option<Parser> = None;
    for line in log.lines() {
        let line = strip_timestamp(line);
        let starts = VERSION.captures(line).is_some_and(|c| c[1].is_empty());
        if starts {
            documents.extend(open.take().map(Parser::finish));
            open = Some(Parser::default());
        }
        if let Some(parser) = &mut open {
            parser.line(line);
            if parser.complete() {
                documents.extend(open.take().map(Parser::finish));
            }
        }
    }
    documents.extend(open.map(Parser::finish));
    documents
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaves(doc: &Document) -> Vec<(String, Outcome)> {
        let mut all = Vec::new();
        doc.for_each_leaf(|path, test| all.push((path.join("/"), test.outcome)));
        all
    }

    fn problems(doc: &Document) -> Vec<String> {
        doc.problems
            .iter()
            .map(|p| {
                let mut parts = p.path.clone();
                parts.push(p.text.clone());
                parts.join("/")
            })
            .collect()
    }

    fn has_problem(doc: &Document, part: &str) {
        assert!(
            problems(doc).iter().any(|p| p.contains(part)),
            "no problem with {part:?} in {:?}",
            problems(doc)
        );
    }

    #[test]
    fn harness_output() {
        let doc = parse(
            "TAP version 13\n1..3\n# Starting 3 tests from 1 test cases.\n\
             #  RUN           global.one ...\n#            OK  global.one\nok 1 global.one\n\
             #  RUN           fix.v.two ...\n# two.c:12:two:Expected 1 (1) == 2 (2)\n\
             # two: Test failed\n#          FAIL  fix.v.two\nnot ok 2 fix.v.two\n\
             #  RUN           global.three ...\n#      SKIP      no such thing\n\
             #            OK  global.three\nok 3 global.three # SKIP no such thing\n\
             # FAILED: 2 / 3 tests passed.\n# Totals: pass:1 fail:1 xfail:0 xpass:0 skip:1 error:0\n",
        );
        assert_eq!(doc.problems, []);
        assert_eq!(
            leaves(&doc),
            [
                ("global.one".into(), Outcome::Pass),
                ("fix.v.two".into(), Outcome::Fail),
                ("global.three".into(), Outcome::Skip)
            ]
        );
        assert!(doc.tests[1]
            .diagnostics
            .iter()
            .any(|d| d.contains("Expected 1")));
        assert_eq!(doc.tests[2].reason, "no such thing");
    }

    #[test]
    fn directives() {
        let doc = parse(
            "KTAP version 1\n1..9\nok 1 # SKIP not here\nnot ok 2 - two # SKIP gone\n\
             not ok 3 three # TODO later\nok 4 # XFAIL known bug\nnot ok 5 five # TIMEOUT 30 s\n\
             ok 6 six # rcode=0\nok 7 file#2\nok 8 eight # todo fine\nok 9\n",
        );
        assert_eq!(doc.problems, []);
        assert_eq!(
            leaves(&doc),
            [
                ("not here".into(), Outcome::Skip),
                ("two".into(), Outcome::Skip),
                ("three".into(), Outcome::Skip),
                ("known bug".into(), Outcome::Skip),
                ("five".into(), Outcome::Fail),
                ("six".into(), Outcome::Pass),
                ("file#2".into(), Outcome::Pass),
                ("eight".into(), Outcome::Pass),
                ("test 9".into(), Outcome::Pass),
            ]
        );
        assert_eq!(doc.tests[4].reason, "TIMEOUT 30 s");
    }

    #[test]
    fn nested_as_in_the_specification() {
        let doc = parse(
            "KTAP version 1\n1..2\n  KTAP version 1\n  1..2\n    KTAP version 1\n    1..2\n    \
             not ok 1 test_1\n    ok 2 test_2\n  not ok 1 test_3\n  ok 2 test_4 # SKIP\n\
             not ok 1 example_test_1\nok 2 example_test_2\n",
        );
        assert_eq!(doc.problems, []);
        assert_eq!(
            leaves(&doc),
            [
                ("example_test_1/test_3/test_1".into(), Outcome::Fail),
                ("example_test_1/test_3/test_2".into(), Outcome::Pass),
                ("example_test_1/test_4".into(), Outcome::Skip),
                ("example_test_2".into(), Outcome::Pass),
            ]
        );
    }

    const KUNIT: &str = "\
[    0.500000] Freeing something
[    0.610000] KTAP version 1
[    0.610001] 1..2
[    0.610002]     KTAP version 1
[    0.610003]     # Subtest: kevent_ring
[    0.610004]     # module: kevent
[    0.610005]     1..2
[    0.620000]     ok 1 publish
[    0.625000] clocksource: tsc: mask: 0xffffffffffffffff max_cycles: 0x25
[    0.630000]         KTAP version 1
[    0.630001]         # Subtest: merge
[    0.630002]         ok 1 lap 0
[    0.630003]         ok 2 lap 1
[    0.630004]         1..2
[    0.630005]     ok 2 merge
[    0.630006] # kevent_ring: pass:2 fail:0 skip:0 total:2
[    0.630007] # Totals: pass:3 fail:0 skip:0 total:3
[    0.630008] ok 1 kevent_ring
[    0.640002]     KTAP version 1
[    0.640003]     # Subtest: kevent_queue
[    0.640005]     1..1
[    0.640006]     # full: ASSERTION FAILED at kernel/kevent/queue.rs:7
[    0.640007]     not ok 1 full
[    0.640008] not ok 2 kevent_queue
[    0.700000] ok, this line is not KTAP
";

    #[test]
    fn kunit_in_a_kernel_log() {
        let docs = parse_log(KUNIT);
        assert_eq!(docs.len(), 1);
        assert_eq!(docs[0].problems, []);
        assert_eq!(
            leaves(&docs[0]),
            [
                ("kevent_ring/publish".into(), Outcome::Pass),
                ("kevent_ring/merge/lap 0".into(), Outcome::Pass),
                ("kevent_ring/merge/lap 1".into(), Outcome::Pass),
                ("kevent_queue/full".into(), Outcome::Fail),
            ]
        );
        let full = &docs[0].tests[1].subtests[0];
        assert!(full
            .diagnostics
            .iter()
            .any(|d| d.contains("ASSERTION FAILED")));
    }

    #[test]
    fn other_prefixes_of_the_kernel_log() {
        assert_eq!(strip_timestamp("<6>[    1.234567] ok 1 x\r"), "ok 1 x");
        assert_eq!(
            strip_timestamp("[  101.234567][  T123]     ok 1 x"),
            "    ok 1 x"
        );
        assert_eq!(strip_timestamp("[    1.234567]"), "");
        assert_eq!(strip_timestamp("[not a time] x"), "[not a time] x");
    }

    #[test]
    fn kunit_log_cut_by_a_crash() {
        let cut: String = KUNIT.lines().take(8).map(|l| format!("{l}\n")).collect();
        let docs = parse_log(&(cut + "[    0.7] BUG: kernel NULL pointer dereference\n"));
        assert_eq!(docs.len(), 1);
        has_problem(&docs[0], "kevent_ring/1 of 2 planned tests gave no result");
        has_problem(&docs[0], "kevent_ring/no result line");
        has_problem(&docs[0], "1 of 2 planned tests gave no result");
        assert!(leaves(&docs[0]).contains(&("kevent_ring/publish".into(), Outcome::Pass)));
    }

    #[test]
    fn two_outputs_in_one_log() {
        let log = "[ 0.1] KTAP version 1\n[ 0.1] 1..1\n[ 0.1] ok 1 a\n[ 0.2] noise\n\
                   [ 0.3] KTAP version 1\n[ 0.3] 1..2\n[ 0.3] ok 1 b\n";
        let docs = parse_log(log);
        assert_eq!(docs.len(), 2);
        assert_eq!(docs[0].problems, []);
        has_problem(&docs[1], "1 of 2 planned");
    }

    #[test]
    fn missing_plan() {
        has_problem(&parse("TAP version 13\nok 1 a\n"), "no plan");
    }

    #[test]
    fn plan_at_the_end_is_a_plan() {
        assert_eq!(parse("TAP version 13\nok 1 a\n1..1\n").problems, []);
    }

    #[test]
    fn plan_not_kept() {
        has_problem(
            &parse("TAP version 13\n1..3\nok 1 a\n"),
            "2 of 3 planned tests",
        );
        has_problem(
            &parse("TAP version 13\n1..1\nok 1 a\nok 2 b\n"),
            "2 results, but the plan says 1",
        );
        has_problem(
            &parse("TAP version 13\n1..1\n1..2\nok 1 a\n"),
            "a second plan",
        );
    }

    #[test]
    fn wrong_numbers() {
        has_problem(
            &parse("TAP version 13\n1..2\nok 1 a\nok 3 c\n"),
            "number 3, not 2",
        );
        has_problem(
            &parse("TAP version 13\n1..2\nok 1 a\nok 1 a\n"),
            "number 1, not 2",
        );
        has_problem(&parse("TAP version 13\n1..1\nok a\n"), "has no number");
    }

    #[test]
    fn nothing_run() {
        has_problem(&parse(""), "no KTAP");
        has_problem(
            &parse("./wait_test: error while loading shared libraries\n"),
            "no KTAP",
        );
        has_problem(&parse("TAP version 13\n"), "no tests run");
        has_problem(&parse("TAP version 13\n1..0\n"), "no tests run");
        let doc = parse("TAP version 13\n1..0 # SKIP no kevent in this kernel\n");
        assert_eq!(doc.problems, []);
        assert_eq!(doc.skipped.as_deref(), Some("no kevent in this kernel"));
    }

    #[test]
    fn no_version() {
        has_problem(&parse("1..1\nok 1 a\n"), "no version line");
    }

    #[test]
    fn bail_out() {
        let doc = parse("TAP version 13\n1..3\nok 1 a\nBail out! cannot map the ring\n");
        assert_eq!(problems(&doc), ["bailed out: cannot map the ring"]);
        has_problem(
            &parse("TAP version 13\nBail out!\n"),
            "bailed out: no reason given",
        );
    }

    #[test]
    fn crash_names_the_test_that_ran() {
        let doc = parse(
            "TAP version 13\n1..2\n#  RUN           global.a ...\nok 1 global.a\n\
             #  RUN           ring.wrap ...\n",
        );
        has_problem(
            &doc,
            "1 of 2 planned tests gave no result; the last one started is ring.wrap",
        );
    }

    #[test]
    fn parent_that_hides_a_failure() {
        let doc = parse(
            "KTAP version 1\n1..1\n    KTAP version 1\n    1..1\n    not ok 1 a\nok 1 suite\n",
        );
        has_problem(&doc, "suite/says ok although its subtest a failed");
        assert_eq!(leaves(&doc), [("suite/a".into(), Outcome::Fail)]);
    }

    #[test]
    fn suite_that_fails_by_itself() {
        let doc = parse(
            "KTAP version 1\n1..1\n    KTAP version 1\n    1..1\n    ok 1 a\nnot ok 1 suite\n",
        );
        assert_eq!(
            leaves(&doc),
            [
                ("suite/a".into(), Outcome::Pass),
                ("suite".into(), Outcome::Fail)
            ]
        );
    }

    #[test]
    fn nested_results_without_version() {
        let doc = parse("KTAP version 1\n1..1\n    not ok 1 a\nnot ok 1 suite\n");
        has_problem(&doc, "without a version line");
        assert_eq!(leaves(&doc), [("suite/a".into(), Outcome::Fail)]);
    }

    #[test]
    fn result_of_another_subtest() {
        let doc = parse(
            "KTAP version 1\n1..1\n    KTAP version 1\n    # Subtest: x\n    1..1\n    ok 1 a\nok 1 y\n",
        );
        has_problem(&doc, "does not name the subtest before it, x");
    }
}
