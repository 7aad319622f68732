// SPDX-License-Identifier: GPL-2.0-only

//! Which rows there are, and which of them are wanted.

use anyhow::{Result, ensure};
use std::fmt;

use crate::api::{Kind, has_kevent};
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
    /// Registering, with so many a call.
    Register(usize),
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

    /// Whether it is one of the few that say most in little time.
    fn is_quick(&self) -> bool {
        self.source == Source::Unix && self.kind != Kind::Poll
    }
}

impl fmt::Display for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Task { source, kind, .. } = self;

        match self.what {
            What::Events(batch) => write!(f, "{source}/{batch}/{kind}"),
            What::Register(_) => write!(f, "{source}/register/{kind}"),
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

fn all() -> Vec<Task> {
    let mut tasks = Vec::new();

    for source in Source::ALL {
        let mut push = |what, kind| tasks.push(Task { source, what, kind });

        for batch in BATCHES {
            Kind::ALL
                .iter()
                .for_each(|kind| push(What::Events(batch), *kind));
        }
        for (kind, batch) in Kind::REGISTERING {
            push(What::Register(batch), kind);
        }
    }
    tasks.retain(|task| task.kind.fits(task.source));
    tasks
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

        // But for those of sockets, of eventfds.
        assert_eq!(names.len(), 3 * (2 * 10 + 4) - 3);
        names.sort();
        names.dedup();
        assert_eq!(names.len(), 69);
        assert!(names.contains(&"tcp/64/io_uring-defer".into()));
        assert!(names.contains(&"unix/register/epoll-edge".into()));
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
