// SPDX-License-Identifier: GPL-2.0-only

//! Picks tests by name.
//!
//! A filter is a part of a test's full name, or a pattern for all of it when it
//! holds `*` or `?`. The name of a group means the group: `klog` is not meant to
//! pick the tests that are about a backlog. Most names are known before anything runs; the names of
//! KUnit cases only after the boot. So there are two questions: does a filter
//! pick this name, and may it pick a name in that group that is not known yet.

use anyhow::{bail, Result};
use regex::Regex;

/// What stands before the colon in a full name.
const GROUPS: [&str; 7] = [
    "tables",
    "boot",
    "live",
    "off",
    "kselftest",
    "kunit",
    "klog",
];

#[derive(Clone, Debug)]
struct Filter {
    text: String,
    pattern: Option<Regex>,
}

impl Filter {
    fn new(text: &str) -> Result<Self> {
        if text.is_empty() {
            bail!("an empty filter: name a test, or give no filter to run all");
        }
        let pattern = if text.contains(['*', '?']) {
            let regex = regex::escape(text).replace(r"\*", ".*").replace(r"\?", ".");
            Some(Regex::new(&format!("^{regex}$"))?)
        } else {
            None
        };
        Ok(Filter {
            text: text.to_string(),
            pattern,
        })
    }

    fn is_group(&self) -> bool {
        GROUPS.contains(&self.text.as_str())
    }

    fn picks(&self, name: &str) -> bool {
        match &self.pattern {
            Some(pattern) => pattern.is_match(name),
            None if self.is_group() => name.split(':').next() == Some(&self.text),
            None => name.contains(&self.text),
        }
    }

    /// Whether this could pick a name that begins with `prefix`.
    fn may_pick(&self, prefix: &str) -> bool {
        let head = self.text.split(['*', '?']).next().unwrap_or("");
        if self.is_group() {
            return prefix.split(':').next() == Some(head);
        }
        head.starts_with(prefix) || (self.pattern.is_some() && prefix.starts_with(head))
    }
}

/// All filters of one run; without filters everything is picked.
#[derive(Clone, Debug, Default)]
pub struct Picker {
    filters: Vec<Filter>,
}

impl Picker {
    /// Makes a picker from the command line's filters.
    pub fn new(filters: &[String]) -> Result<Self> {
        let filters = filters
            .iter()
            .map(|f| Filter::new(f))
            .collect::<Result<_>>()?;
        Ok(Picker { filters })
    }

    /// Whether the test with this full name is picked.
    pub fn picks(&self, name: &str) -> bool {
        self.filters.is_empty() || self.filters.iter().any(|f| f.picks(name))
    }

    /// Whether any of these names is picked.
    pub fn picks_any<S: AsRef<str>>(&self, names: &[S]) -> bool {
        names.iter().any(|n| self.picks(n.as_ref()))
    }

    /// Whether a test may be picked whose name begins with `prefix` but is not
    /// known yet.
    pub fn may_pick(&self, prefix: &str) -> bool {
        self.filters.is_empty() || self.filters.iter().any(|f| f.may_pick(prefix))
    }

    /// The filters that pick none of these names.
    pub fn unused<'a>(&'a self, names: &[String]) -> Vec<&'a str> {
        self.filters
            .iter()
            .filter(|f| !names.iter().any(|n| f.picks(n)))
            .map(|f| f.text.as_str())
            .collect()
    }

    /// The filters that can pick nothing: no known name, and no name in one of
    /// the groups whose names come only later.
    pub fn hopeless<'a>(&'a self, names: &[String], open_groups: &[String]) -> Vec<&'a str> {
        let unused = self.unused(names);
        self.filters
            .iter()
            .filter(|f| unused.contains(&f.text.as_str()))
            .filter(|f| !open_groups.iter().any(|g| f.may_pick(g)))
            .map(|f| f.text.as_str())
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picker(filters: &[&str]) -> Picker {
        let filters: Vec<String> = filters.iter().map(|f| f.to_string()).collect();
        Picker::new(&filters).unwrap()
    }

    #[test]
    fn nothing_picks_all() {
        let p = picker(&[]);
        assert!(p.picks("anything"));
        assert!(p.may_pick("kunit:"));
        assert!(p.unused(&[]).is_empty());
    }

    #[test]
    fn parts_and_patterns() {
        let p = picker(&["kselftest:wait", "kunit:*/wrap?"]);
        assert!(p.picks("kselftest:wait_test/global.one"));
        assert!(!p.picks("kselftest:create_test"));
        assert!(p.picks("kunit:kevent_ring/wrap1"));
        assert!(!p.picks("kunit:kevent_ring/wrap"));
        assert!(!p.picks("xkunit:kevent_ring/wrap1"));
    }

    #[test]
    fn characters_of_regular_expressions_mean_themselves() {
        let p = picker(&["a.b(c*"]);
        assert!(p.picks("a.b(cd"));
        assert!(!p.picks("axb(cd"));
    }

    #[test]
    fn a_group_by_its_name() {
        let p = picker(&["klog"]);
        assert!(p.picks("klog:kernel"));
        assert!(!p.picks("kselftest:wait/global.backlog"));
        assert!(!p.may_pick("kunit:"));
        assert!(picker(&["kunit"]).may_pick("kunit:"));
        assert!(picker(&["kselftest"]).may_pick("kselftest:wait/"));
        assert!(picker(&["klog:"]).picks("klog:kernel"));
    }

    #[test]
    fn groups_with_names_that_come_later() {
        assert!(picker(&["kunit:kevent_ring/x"]).may_pick("kunit:"));
        assert!(picker(&["k*ring*"]).may_pick("kunit:"));
        assert!(!picker(&["tables"]).may_pick("kunit:"));
        assert!(!picker(&["kselftest:*"]).may_pick("kunit:"));
    }

    #[test]
    fn filters_without_a_match() {
        let names = vec!["tables:a".to_string(), "live:b".to_string()];
        let p = picker(&["tables", "nonsense", "kunit:x"]);
        assert_eq!(p.unused(&names), ["nonsense", "kunit:x"]);
        assert_eq!(p.hopeless(&names, &["kunit:".into()]), ["nonsense"]);
        assert!(Picker::new(&[String::new()]).is_err());
    }
}
