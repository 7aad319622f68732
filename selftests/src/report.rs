// SPDX-License-Identifier: GPL-2.0-only

//! One report for everything: a line a test, what explains a failure below
//! it, totals a group, and the sum as the last line.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result};
use serde::Serialize;

use crate::ktap::Outcome;

/// How many lines of one explanation are printed; the rest is in the log files.
const MAX_LINES: usize = 60;

/// A piece of text that explains a result, under a heading.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Detail {
    /// What the lines are.
    pub heading: String,
    /// The text.
    pub lines: Vec<String>,
}

/// One reported test.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TestResult {
    /// Full name, `group:rest`.
    pub name: String,
    /// How it went.
    #[serde(serialize_with = "outcome_word")]
    pub outcome: Outcome,
    /// One line why, empty for a pass.
    pub reason: String,
    /// What helps to understand a failure.
    pub details: Vec<Detail>,
    /// A failure of the surroundings (a crash, a warning in the log, a broken
    /// output): reported whatever the filters say.
    #[serde(skip)]
    pub always: bool,
}

fn word(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Pass => "pass",
        Outcome::Fail => "fail",
        Outcome::Skip => "skip",
    }
}

fn outcome_word<S: serde::Serializer>(outcome: &Outcome, s: S) -> Result<S::Ok, S::Error> {
    s.serialize_str(word(*outcome))
}

impl TestResult {
    /// A result without details.
    pub fn new(name: impl Into<String>, outcome: Outcome, reason: impl Into<String>) -> Self {
        TestResult {
            name: name.into(),
            outcome,
            reason: reason.into(),
            details: Vec::new(),
            always: false,
        }
    }

    /// A pass.
    pub fn pass(name: impl Into<String>) -> Self {
        Self::new(name, Outcome::Pass, "")
    }

    /// A failure.
    pub fn fail(name: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::new(name, Outcome::Fail, reason)
    }

    /// A test that did not run.
    pub fn skip(name: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::new(name, Outcome::Skip, reason)
    }

    /// A pass if there are no problems, else a failure that lists them all.
    pub fn from_problems(name: impl Into<String>, mut problems: Vec<String>) -> Self {
        if problems.is_empty() {
            return Self::pass(name);
        }
        let first = problems.remove(0);
        let result = Self::fail(name, first);
        if problems.is_empty() {
            result
        } else {
            result.with("and", problems)
        }
    }

    /// Adds an explanation, if it says anything.
    #[must_use]
    pub fn with(mut self, heading: impl Into<String>, lines: Vec<String>) -> Self {
        if !lines.is_empty() {
            self.details.push(Detail {
                heading: heading.into(),
                lines,
            });
        }
        self
    }

    /// Marks a failure that no filter hides.
    #[must_use]
    pub fn always(mut self) -> Self {
        self.always = true;
        self
    }

    /// The reason and everything listed with it by [`Self::from_problems`].
    pub fn problems(&self) -> impl Iterator<Item = String> {
        let mut all = vec![self.reason.clone()];
        for detail in &self.details {
            all.extend(detail.lines.iter().cloned());
        }
        all.into_iter()
    }

    fn group(&self) -> &str {
        self.name.split(':').next().unwrap_or(&self.name)
    }
}

/// Passed, failed, skipped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Totals {
    /// Tests that passed.
    pub passed: usize,
    /// Tests that failed.
    pub failed: usize,
    /// Tests that did not run.
    pub skipped: usize,
}

impl Totals {
    fn count(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Pass => self.passed += 1,
            Outcome::Fail => self.failed += 1,
            Outcome::Skip => self.skipped += 1,
        }
    }
}

impl std::fmt::Display for Totals {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} passed, {} failed, {} skipped",
            self.passed, self.failed, self.skipped
        )
    }
}

/// Collects results and prints them as they come.
pub struct Report<W: Write> {
    out: W,
    verbose: bool,
    results: Vec<TestResult>,
}

impl<W: Write> Report<W> {
    /// A report that prints to `out`; passes only when `verbose`.
    pub fn new(out: W, verbose: bool) -> Self {
        Report {
            out,
            verbose,
            results: Vec::new(),
        }
    }

    /// Says what happens next.
    pub fn note(&mut self, text: &str) {
        // Nothing can be done about a terminal that went away.
        let _ = writeln!(self.out, "{text}");
        let _ = self.out.flush();
    }

    /// Prints a result and keeps it.
    pub fn add(&mut self, result: TestResult) {
        if result.outcome != Outcome::Pass || self.verbose {
            let mut text = format!("{} {}", word(result.outcome).to_uppercase(), result.name);
            if !result.reason.is_empty() {
                text += &format!(": {}", result.reason);
            }
            for detail in &result.details {
                text += &format!("\n  {}:", detail.heading);
                let more = detail.lines.len().saturating_sub(MAX_LINES);
                for line in detail.lines.iter().take(MAX_LINES) {
                    text += &format!("\n    {line}");
                }
                if more > 0 {
                    text += &format!("\n    ... and {more} more lines");
                }
            }
            self.note(&text);
        }
        self.results.push(result);
    }

    /// What was reported so far.
    pub fn results(&self) -> &[TestResult] {
        &self.results
    }

    /// The sum so far.
    pub fn totals(&self) -> Totals {
        let mut totals = Totals::default();
        for result in &self.results {
            totals.count(result.outcome);
        }
        totals
    }

    /// Prints the totals of each group and, as the last line, of all.
    pub fn finish(&mut self) -> Totals {
        let mut groups: BTreeMap<&str, Totals> = BTreeMap::new();
        for result in &self.results {
            groups
                .entry(result.group())
                .or_default()
                .count(result.outcome);
        }
        let mut lines: Vec<String> = Vec::new();
        if groups.len() > 1 {
            lines.extend(groups.iter().map(|(g, t)| format!("{g:<10} {t}")));
        }
        lines.push(self.totals().to_string());
        for line in lines {
            self.note(&line);
        }
        self.totals()
    }

    /// Writes everything as JSON.
    pub fn write_json(&self, path: &Path) -> Result<()> {
        #[derive(Serialize)]
        struct All<'a> {
            #[serde(flatten)]
            totals: Totals,
            results: &'a [TestResult],
        }
        let all = All {
            totals: self.totals(),
            results: &self.results,
        };
        let text = serde_json::to_string_pretty(&all)?;
        std::fs::write(path, text + "\n")
            .with_context(|| format!("--json {}: cannot be written", path.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(verbose: bool) -> String {
        let mut out = Vec::new();
        let mut report = Report::new(&mut out, verbose);
        report.add(TestResult::pass("tables:a"));
        report.add(TestResult::from_problems(
            "tables:b",
            vec!["first".into(), "second".into()],
        ));
        report.add(TestResult::skip("live:c", "no compiler"));
        report.finish();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn quiet_about_passes() {
        assert_eq!(
            sample(false),
            "FAIL tables:b: first\n  and:\n    second\nSKIP live:c: no compiler\n\
             live       0 passed, 0 failed, 1 skipped\n\
             tables     1 passed, 1 failed, 0 skipped\n\
             1 passed, 1 failed, 1 skipped\n"
        );
    }

    #[test]
    fn verbose() {
        assert!(sample(true).starts_with("PASS tables:a\n"));
    }

    #[test]
    fn long_details_are_cut() {
        let mut out = Vec::new();
        let lines = (0..100).map(|i| format!("line {i}")).collect();
        Report::new(&mut out, false).add(TestResult::fail("a:b", "x").with("output", lines));
        let out = String::from_utf8(out).unwrap();
        assert!(out.contains("line 59") && !out.contains("line 60\n"));
        assert!(out.contains("... and 40 more lines"));
    }

    #[test]
    fn json() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("r.json");
        let mut report = Report::new(Vec::new(), false);
        report.add(TestResult::fail("a:b", "x"));
        report.write_json(&file).unwrap();
        let value: serde_json::Value =
            serde_json::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
        assert_eq!(value["failed"], 1);
        assert_eq!(value["results"][0]["outcome"], "fail");
        assert!(report.write_json(Path::new("/no/dir/x")).is_err());
    }
}
