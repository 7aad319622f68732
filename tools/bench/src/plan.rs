// SPDX-License-Identifier: GPL-2.0-only

//! Which rows there are, and which of them are wanted.

use anyhow::{Result, ensure};
use std::fmt;

use crate::api::{Kind, has_kevent};
use crate::classes;
use crate::ends::Source;

/// How many ends are watched.
pub const WATCHED: usize = 1024;
/// How many of them become ready in each round.
const BATCHES: [usize; 2] = [1, 64];

/// What a row is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// Events, with so many ready a round.
    Events(usize),
    /// Registering watches.
    Register,
    /// Changing what watches carry.
    Modify,
    /// Removing watches.
    Remove,
    /// The atomic read-modify-writes of an event.
    Atomics,
}

/// A row to be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Task {
    pub source: Source,
    pub what: What,
    pub kind: Kind,
}

impl Task {
    /// Says on standard error what comes now, for who wonders what it hangs at.
    pub fn begin(&self) {
        eprintln!("measuring {self}");
    }

    /// How many events are ready in a round, or watches go into a call.
    pub fn batch(&self) -> usize {
        match self.what {
            What::Events(batch) => batch,
            What::Atomics => crate::events::EVENTS,
            What::Register | What::Modify | What::Remove => self.kind.changes_at_once(),
        }
    }

    /// Whether it is one of the few that say most in little time.
    fn is_quick(&self) -> bool {
        match self.source {
            Source::Unix => self.kind != Kind::Poll,
            source => !source.is_file() && self.what == What::Events(64),
        }
    }
}

impl fmt::Display for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Task { source, what, kind } = self;

        match what {
            What::Events(batch) => write!(f, "{source}/{batch}/{kind}"),
            What::Register => write!(f, "{source}/register/{kind}"),
            What::Modify => write!(f, "{source}/modify/{kind}"),
            What::Remove => write!(f, "{source}/remove/{kind}"),
            What::Atomics => write!(f, "{source}/atomics/{kind}"),
        }
    }
}

pub struct Plan {
    tasks: Vec<Task>,
}

impl Plan {
    /// What this kernel can do of what fits one of the filters; all of it without one.
    pub fn new(filters: &[String], quick: bool) -> Result<Plan> {
        let kevent = has_kevent();
        let mut tasks = all();

        tasks.retain(|task| !quick || task.is_quick());
        tasks.retain(|task| kevent || !task.kind.is_kevent());
        tasks.retain(|task| wanted(&task.to_string(), filters));
        ensure!(!tasks.is_empty(), "no row of this kernel has such a name");
        Ok(Plan { tasks })
    }

    pub fn tasks(&self) -> impl Iterator<Item = Task> + '_ {
        self.tasks.iter().copied()
    }

    /// The tasks of one source.
    pub fn of(&self, source: Source) -> impl Iterator<Item = Task> + '_ {
        self.tasks().filter(move |task| task.source == source)
    }

    pub fn sources(&self) -> impl Iterator<Item = Source> + '_ {
        Source::ALL
            .into_iter()
            .filter(|source| self.tasks().any(|task| task.source == *source))
    }
}

/// Names the rows that fit one of the filters, whatever this kernel can do.
pub fn list(filters: &[String], quick: bool) {
    for task in all() {
        if (!quick || task.is_quick()) && wanted(&task.to_string(), filters) {
            println!("{task}");
        }
    }
}

/// The row of that name.
#[cfg(test)]
pub fn by_name(name: &str) -> Option<Task> {
    all().into_iter().find(|task| task.to_string() == name)
}

/// All rows, in the order in which they are shown.
fn all() -> Vec<Task> {
    let files = Source::FILES.into_iter().flat_map(of_files);
    let classes = Source::ALL
        .into_iter()
        .filter(|source| !source.is_file())
        .flat_map(|source| {
            classes::batches(source).iter().flat_map(move |batch| {
                classes::kinds(source).iter().map(move |kind| Task {
                    source,
                    what: What::Events(*batch),
                    kind: *kind,
                })
            })
        });

    files.chain(classes).collect()
}

fn of_files(source: Source) -> Vec<Task> {
    let rows = BATCHES
        .map(|batch| (What::Events(batch), &Kind::FILES[..]))
        .into_iter()
        .chain([
            (What::Register, &Kind::REGISTERING[..]),
            (What::Modify, &Kind::MODIFYING[..]),
            (What::Remove, &Kind::REGISTERING[..]),
            (What::Atomics, &Kind::ATOMIC[..]),
        ]);

    rows.flat_map(|(what, kinds)| kinds.iter().map(move |kind| (what, *kind)))
        .filter(|(_, kind)| kind.fits(source))
        .map(|(what, kind)| Task { source, what, kind })
        .collect()
}

/// Whether a filter is a part of the name, or all of it if it is the name of a row.
fn wanted(name: &str, filters: &[String]) -> bool {
    let fits = |filter: &String| match all().iter().any(|task| task.to_string() == *filter) {
        true => name == filter,
        false => name.contains(filter.as_str()),
    };

    filters.is_empty() || filters.iter().any(fits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique() {
        let mut names: Vec<String> = all().iter().map(Task::to_string).collect();
        let count = names.len();

        names.sort();
        names.dedup();
        assert_eq!(names.len(), count);
        for name in [
            "tcp/64/io_uring-defer",
            "unix/register/epoll-edge",
            "unix/modify/kevent-socket",
            "eventfd/remove/io_uring-multishot",
            "tcp/atomics/kevent-edge",
            "timer/64/timerfd-epoll",
            "user/1/kevent",
        ] {
            assert!(names.iter().any(|other| other == name), "{name}");
        }
        assert!(!names.contains(&"eventfd/1/kevent-socket".into()));
    }

    #[test]
    fn filters() {
        let filters = ["unix/1/".into(), "register".into()];

        assert!(wanted("unix/1/poll", &filters));
        assert!(wanted("tcp/register/epoll-edge", &filters));
        assert!(!wanted("unix/64/poll", &filters));
        assert!(wanted("unix/64/poll", &[]));
        assert!(!wanted(
            "tcp/1/kevent-level-busy",
            &["tcp/1/kevent-level".into()]
        ));
        assert!(wanted("tcp/1/kevent-level-busy", &["/kevent-level".into()]));
    }
}
