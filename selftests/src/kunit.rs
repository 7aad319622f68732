// SPDX-License-Identifier: GPL-2.0-only

//! KUnit results, which the kernel prints to its log while it boots.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::sync::LazyLock;

use regex::Regex;
use walkdir::WalkDir;

use crate::ktap::{self, Outcome};
use crate::report::TestResult;

/// The suite that holds the examples in the documentation of `rust/kernel`.
pub const DOCTESTS: &str = "rust_doctests_kernel";
/// The suite that measures, which has an option of its own.
const BENCHMARK: &str = "kevent_benchmark";
/// Where our suites are.
const SOURCE: &str = "kernel/kevent";

static SUITE: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"\bkunit_tests\((\w+)\)\]").unwrap());

/// The suites in our part of the tree.
pub fn suites(tree: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for entry in WalkDir::new(tree.join(SOURCE)).into_iter().flatten() {
        if entry.path().extension().is_some_and(|e| e == "rs") {
            let text = fs::read_to_string(entry.path()).unwrap_or_default();
            found.extend(SUITE.captures_iter(&text).map(|c| c[1].to_string()));
        }
    }
    found
}

/// Full names that are known before the boot.
pub fn names(tree: &Path) -> Vec<String> {
    suites(tree)
        .into_iter()
        .chain([DOCTESTS.to_string()])
        .map(|s| format!("kunit:{s}"))
        .collect()
}

/// Whether the kernel's configuration has this symbol built in.
fn has(config: &str, symbol: &str) -> bool {
    config.lines().any(|l| l == format!("{symbol}=y"))
}

/// Judges what the kernel log holds. `expected` are the suites of the tree,
/// `config` is the kernel's `.config`, which says what may be missing.
pub fn judge(log: &str, expected: &BTreeSet<String>, config: &str) -> Vec<TestResult> {
    let mut results = Vec::new();
    let mut seen = BTreeSet::new();
    for doc in ktap::parse_log(log) {
        seen.extend(doc.tests.iter().map(|t| t.name.clone()));
        // All that is wrong with one suite is one result.
        let mut problems: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for problem in &doc.problems {
            seen.extend(problem.path.first().cloned());
            let name = match problem.path.as_slice() {
                [] => "kunit:all suites".to_string(),
                path => format!("kunit:{}", path.join("/")),
            };
            problems.entry(name).or_default().push(problem.text.clone());
        }
        doc.for_each_leaf(|path, test| {
            let name = format!("kunit:{}", path.join("/"));
            if problems.contains_key(&name) {
                return;
            }
            let result = TestResult::new(name, test.outcome, &test.reason);
            results.push(match test.outcome {
                Outcome::Fail => result.with("kernel log", test.diagnostics.clone()),
                _ => result,
            });
        });
        results.extend(
            problems
                .into_iter()
                .map(|(name, texts)| TestResult::from_problems(name, texts).always()),
        );
    }

    let wanted = |suite: &str, symbols: &[&str]| {
        if seen.contains(suite) {
            return None;
        }
        let name = format!("kunit:{suite}");
        match symbols.iter().find(|s| !has(config, s)) {
            Some(off) => Some(TestResult::skip(
                name,
                format!("the kernel is built without {off}"),
            )),
            None => Some(TestResult::fail(
                name,
                "the suite is in the tree, but the kernel log has no result of it: \
                 was the kernel built from this tree?",
            )),
        }
    };
    results.extend(expected.iter().filter_map(|suite| {
        let symbols = [
            "CONFIG_KUNIT",
            "CONFIG_KEVENT_KUNIT_TEST",
            "CONFIG_KEVENT_BENCHMARK",
        ];
        let needed = if suite == BENCHMARK { 3 } else { 2 };

        wanted(suite, &symbols[..needed])
    }));
    results.extend(wanted(
        DOCTESTS,
        &["CONFIG_KUNIT", "CONFIG_RUST_KERNEL_DOCTESTS"],
    ));
    results
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = "\
[    0.6] KTAP version 1
[    0.6] 1..1
[    0.6]     KTAP version 1
[    0.6]     # Subtest: kevent_ring
[    0.6]     1..2
[    0.6]     ok 1 publish
[    0.6]     # merge: ASSERTION FAILED at kernel/kevent/ring.rs:7
[    0.6]     not ok 2 merge
[    0.6] not ok 1 kevent_ring
";
    const CONFIG: &str = "CONFIG_KUNIT=y\nCONFIG_KEVENT_KUNIT_TEST=y\n";

    fn find<'a>(results: &'a [TestResult], name: &str) -> &'a TestResult {
        results
            .iter()
            .find(|r| r.name == name)
            .unwrap_or_else(|| panic!("no {name} in {results:?}"))
    }

    #[test]
    fn results_and_missing_suites() {
        let expected = ["kevent_ring", "kevent_queue", BENCHMARK]
            .map(str::to_string)
            .into_iter()
            .collect();
        let results = judge(LOG, &expected, CONFIG);
        // Its option is off.
        assert_eq!(
            find(&results, "kunit:kevent_benchmark").outcome,
            Outcome::Skip
        );
        assert_eq!(
            find(&results, "kunit:kevent_ring/publish").outcome,
            Outcome::Pass
        );
        let merge = find(&results, "kunit:kevent_ring/merge");
        assert_eq!(merge.outcome, Outcome::Fail);
        assert!(merge.details[0]
            .lines
            .iter()
            .any(|l| l.contains("ASSERTION")));
        assert_eq!(find(&results, "kunit:kevent_queue").outcome, Outcome::Fail);
        let doctests = find(&results, "kunit:rust_doctests_kernel");
        assert_eq!(doctests.outcome, Outcome::Skip);
        assert!(doctests.reason.contains("CONFIG_RUST_KERNEL_DOCTESTS"));
        assert_eq!(results.len(), 5);
    }

    #[test]
    fn without_kunit() {
        let expected = BTreeSet::from(["kevent_ring".to_string()]);
        let results = judge("", &expected, "# CONFIG_KUNIT is not set\n");
        assert_eq!(find(&results, "kunit:kevent_ring").outcome, Outcome::Skip);
    }

    #[test]
    fn crash_in_a_suite() {
        let cut: String = LOG.lines().take(6).map(|l| format!("{l}\n")).collect();
        let results = judge(&cut, &BTreeSet::from(["kevent_ring".to_string()]), CONFIG);
        assert_eq!(
            find(&results, "kunit:kevent_ring/publish").outcome,
            Outcome::Pass
        );
        let suite = find(&results, "kunit:kevent_ring");
        assert_eq!(suite.outcome, Outcome::Fail);
        assert!(suite.reason.contains("1 of 2 planned"));
        assert_eq!(results.len(), 3);
    }

    #[test]
    fn suites_of_the_tree() {
        let dir = tempfile::tempdir().unwrap();
        assert!(suites(dir.path()).is_empty());
        fs::create_dir_all(dir.path().join("kernel/kevent/source")).unwrap();
        fs::write(
            dir.path().join("kernel/kevent/ring.rs"),
            "#[kunit_tests(kevent_ring)]\nmod t {}\n",
        )
        .unwrap();
        fs::write(
            dir.path().join("kernel/kevent/source/a.rs"),
            "#[::kernel::macros::kunit_tests(kevent_a)]\n",
        )
        .unwrap();
        assert_eq!(
            names(dir.path()),
            [
                "kunit:kevent_a",
                "kunit:kevent_ring",
                "kunit:rust_doctests_kernel"
            ]
        );
    }
}
