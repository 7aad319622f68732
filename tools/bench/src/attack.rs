// SPDX-License-Identifier: GPL-2.0-only

//! What an unprivileged program can make the kernel do on the account of others: with interrupts off,
//! under a lock that others need, in another program's close(), or without any call at all.
//!
//! Each attack is measured in instructions (or bytes), beside the same with epoll where epoll has it,
//! and has a limit, which is what it may take at most, however many watches the program has.

mod closing;
mod crowd;
mod fdinfo;
mod holding;
mod keyless;
mod masked;
mod nesting;
mod storm;
mod waiting;

use anyhow::{Context, Result};
use serde::Serialize;
use std::fmt;
use std::fs;
use std::path::Path;

use crate::clock::Clock;
use crate::limits::{self, Figure, Known, Line};
use crate::report::kernel;

/// One measurement.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// What is done, and with what.
    pub attack: &'static str,
    pub api: &'static str,
    /// How many watches, timers and so on there were: as many as were wanted and allowed.
    pub count: usize,
    pub value: f64,
    pub figure: Figure,
    /// What it may be at most, if there is a limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<f64>,
}

impl Row {
    fn name(&self) -> String {
        format!("attack/{}/{}", self.attack, self.api)
    }
}

/// Everything that an attack needs.
pub struct Field<'a> {
    pub clock: &'a Clock,
    rows: Vec<Row>,
}

impl Field<'_> {
    /// A measurement that has no limit: that of a peer.
    pub fn shown(&mut self, attack: &'static str, api: &'static str, count: usize, value: u64) {
        self.rows.push(Row {
            attack,
            api,
            count,
            value: value as f64,
            figure: Figure::Instructions,
            limit: None,
        });
    }

    /// One that has.
    pub fn limited(
        &mut self,
        attack: &'static str,
        api: &'static str,
        count: usize,
        value: u64,
        limit: u64,
    ) {
        self.shown(attack, api, count, value);
        if let Some(row) = self.rows.last_mut() {
            row.limit = Some(limit as f64);
        }
    }

    /// What the last one is in, if not in instructions.
    pub fn in_bytes(&mut self) {
        if let Some(row) = self.rows.last_mut() {
            row.figure = Figure::Bytes;
        }
    }
}

/// An attack: measures, and adds its rows.
type Attack = fn(&mut Field) -> Result<()>;

const ATTACKS: [(&str, Attack); 8] = [
    ("storm", storm::run),
    ("keyless", keyless::run),
    ("nesting", nesting::run),
    ("closing", closing::run),
    ("masked", masked::run),
    ("waiting", waiting::run),
    ("holding", holding::run),
    ("fdinfo", fdinfo::run),
];

/// The rows of those attacks whose name fits one of the filters.
pub fn run(clock: &Clock, filters: &[String]) -> Result<Rows> {
    let mut field = Field {
        clock,
        rows: Vec::new(),
    };
    let wanted = |name: &str| {
        filters.is_empty() || filters.iter().any(|filter| name.contains(filter.as_str()))
    };

    for (name, attack) in ATTACKS.into_iter().filter(|(name, _)| wanted(name)) {
        eprintln!("measuring attack {name}");
        attack(&mut field).with_context(|| format!("attack {name}"))?;
    }
    Ok(Rows {
        kernel: kernel(),
        unit: clock.unit(),
        rows: field.rows,
    })
}

#[derive(Serialize)]
pub struct Rows {
    kernel: String,
    unit: &'static str,
    rows: Vec<Row>,
}

impl Rows {
    pub fn write(&self, path: &Path) -> Result<()> {
        fs::write(path, serde_json::to_string_pretty(self)? + "\n")
            .with_context(|| format!("cannot write {}", path.display()))
    }

    /// A line for each limit.
    pub fn check(&self, known: &Known) -> Result<Vec<Line>, &'static str> {
        if self.unit != "insn" {
            return Err("time does not count instructions here: nothing can be said");
        }
        let line = |row: &Row| {
            let bound = (row.limit?, String::new());

            Some(limits::line(
                row.name(),
                row.figure,
                row.value,
                Some(bound),
                known,
            ))
        };

        Ok(self.rows.iter().filter_map(line).collect())
    }

    pub fn names(&self) -> impl Iterator<Item = String> + '_ {
        self.rows.iter().map(Row::name)
    }
}

/// A table in Markdown.
impl fmt::Display for Rows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "Linux {}, figures in {} or bytes\n",
            self.kernel, self.unit
        )?;
        writeln!(f, "| attack | api | count | figure | limit |")?;
        writeln!(f, "|---|---|---|---|---|")?;
        for row in &self.rows {
            let unit = match row.figure {
                Figure::Bytes => " bytes",
                _ => "",
            };
            let limit = row
                .limit
                .map_or_else(String::new, |limit| format!("{limit:.0}{unit}"));

            writeln!(
                f,
                "| {} | `{}` | {} | {:.0}{unit} | {limit} |",
                row.attack, row.api, row.count, row.value
            )?;
        }
        Ok(())
    }
}
