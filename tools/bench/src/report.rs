// SPDX-License-Identifier: GPL-2.0-only

//! The rows: a table for people, JSON for programs.

use anyhow::Result;
use serde::Serialize;
use serde_json::{Value, json};
use std::fs;
use std::path::Path;

use crate::api::Kind;
use crate::clock::Clock;
use crate::plan::{Task, WATCHED, What};

/// One measurement.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    pub task: Task,
    pub figures: Figures,
}

#[derive(Clone, Copy, Debug, Serialize)]
#[serde(untagged)]
pub enum Figures {
    Event {
        /// Beyond the bare loop, in the cheapest laps of each.
        insn_per_event: f64,
        /// The same of the median laps.
        insn_per_event_median: f64,
        /// What the bare loop takes.
        insn_bare: f64,
        /// Beyond what sets the event off, and reads.
        calls_per_event: f64,
    },
    Watch {
        insn_per_watch: f64,
        calls_per_watch: f64,
        /// If it was registered.
        #[serde(skip_serializing_if = "Option::is_none")]
        bytes_per_watch: Option<f64>,
    },
    Atomics {
        /// Beyond the bare loop, in the kernel and in the program.
        kernel_per_event: f64,
        program_per_event: f64,
        /// Full barriers of the kernel, which are written as such an operation, but share nothing.
        barriers_per_event: f64,
    },
}

pub struct Report {
    kernel: String,
    /// Of every `insn` figure: `insn`, or `ns` if time does not count instructions here.
    unit: &'static str,
    rows: Vec<Row>,
}

impl Report {
    pub fn new(clock: Clock) -> Report {
        Report {
            kernel: kernel(),
            unit: clock.unit(),
            rows: Vec::new(),
        }
    }

    pub fn push(&mut self, row: Row) {
        self.rows.push(row);
    }

    pub fn names(&self) -> impl Iterator<Item = String> + '_ {
        self.rows.iter().map(|row| row.task.to_string())
    }

    pub fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// Whether the figures are instructions.
    pub fn is_exact(&self) -> bool {
        self.unit == "insn"
    }

    pub fn write(&self, path: &Path) -> Result<()> {
        fs::write(path, serde_json::to_string_pretty(&self.json()?)? + "\n")?;
        Ok(())
    }

    fn json(&self) -> Result<Value> {
        let rows = self
            .rows
            .iter()
            .map(Row::json)
            .collect::<Result<Vec<_>>>()?;

        Ok(json!({
            "kernel": self.kernel,
            "unit": self.unit,
            "watched": WATCHED,
            "rows": rows,
        }))
    }

    pub fn print(&self) {
        print!("{}", self.table());
    }

    fn table(&self) -> String {
        let mut text = format!("Linux {}, {WATCHED} watched\n", self.kernel);

        if !self.is_exact() {
            text +=
                "This is not QEMU's -icount: figures are nanoseconds of this machine, and vary.\n";
        }
        if !self.rows.iter().any(|row| row.task.kind.is_kevent()) {
            text += "There is no row of kevent: either none was asked for, or this kernel has no POLL.\n";
        }
        let mut last = None;
        for row in &self.rows {
            let part = (row.task.source, row.task.what);

            if last.replace(part) != Some(part) {
                text += &self.heading(row);
            }
            text += &self.line(row);
        }
        text
    }

    /// What stands above the rows that are like this one.
    fn heading(&self, row: &Row) -> String {
        let (source, unit) = (row.task.source, self.unit);

        match row.figures {
            Figures::Event { insn_bare, .. } => format!(
                "\n{source}: {} ready a round; the bare loop takes {insn_bare:.0} {unit}\n  \
                 {:20}{:>12}{:>12}{:>8}{:>12}\n",
                row.task.batch(),
                "",
                format!("{unit}/event"),
                "median",
                "ratio",
                "calls/event"
            ),
            Figures::Watch { .. } => format!(
                "\n{source}: to {}\n  {:20}{:>12}{:>12}{:>8}{:>12}{:>14}\n",
                match row.task.what {
                    What::Modify => "modify",
                    What::Remove => "remove",
                    _ => "register",
                },
                "",
                format!("{unit}/watch"),
                "",
                "ratio",
                "calls/watch",
                "bytes/watch"
            ),
            Figures::Atomics { .. } => format!(
                "\n{source}: atomic read-modify-writes an event, {} ready a round\n  {:20}{:>12}{:>12}{:>8}{:>12}\n",
                row.task.batch(),
                "",
                "kernel",
                "program",
                "ratio",
                "barriers"
            ),
        }
    }

    fn line(&self, row: &Row) -> String {
        let kind = row.task.kind;
        let ratio = self
            .ratio(row)
            .map_or_else(String::new, |ratio| format!("{ratio:.2}"));

        match row.figures {
            Figures::Event {
                insn_per_event,
                insn_per_event_median,
                calls_per_event,
                ..
            } => format!(
                "  {kind:20}{insn_per_event:12.1}{insn_per_event_median:12.1}{ratio:>8}{calls_per_event:12.3}\n"
            ),
            Figures::Watch {
                insn_per_watch,
                calls_per_watch,
                bytes_per_watch,
            } => {
                let bytes = bytes_per_watch.map_or_else(String::new, |bytes| format!("{bytes:.1}"));

                format!(
                    "  {kind:20}{insn_per_watch:12.1}{:12}{ratio:>8}{calls_per_watch:12.3}{bytes:>14}\n",
                    ""
                )
            }
            Figures::Atomics {
                kernel_per_event,
                program_per_event,
                barriers_per_event,
            } => format!(
                "  {kind:20}{kernel_per_event:12.2}{program_per_event:12.2}{ratio:>8}{barriers_per_event:12.2}\n"
            ),
        }
    }

    /// How many times as much as with kevent's edges, or else with epoll's.
    fn ratio(&self, row: &Row) -> Option<f64> {
        let base = [Kind::KeventEdge, Kind::Kevent, Kind::EpollEdge]
            .into_iter()
            .find_map(|kind| self.find(row.task, kind))?;

        Some(row.main() / base.main())
    }

    /// The row that is about the same as `task`, of this interface.
    pub fn find(&self, task: Task, kind: Kind) -> Option<&Row> {
        let task = Task { kind, ..task };

        self.rows.iter().find(|row| row.task == task)
    }
}

impl Row {
    /// The figure that rows are compared by.
    pub fn main(&self) -> f64 {
        match self.figures {
            Figures::Event { insn_per_event, .. } => insn_per_event,
            Figures::Watch { insn_per_watch, .. } => insn_per_watch,
            Figures::Atomics {
                kernel_per_event,
                program_per_event,
                ..
            } => kernel_per_event + program_per_event,
        }
    }

    fn json(&self) -> Result<Value> {
        let mut row = json!({
            "row": self.task.to_string(),
            "source": self.task.source,
            "batch": self.task.batch(),
            "api": self.task.kind,
        });
        let figures = serde_json::to_value(self.figures)?;

        if let (Some(row), Value::Object(figures)) = (row.as_object_mut(), figures) {
            row.extend(figures);
        }
        Ok(row)
    }
}

/// The release of the running kernel.
pub fn kernel() -> String {
    fs::read_to_string("/proc/sys/kernel/osrelease")
        .map_or_else(|_| "unknown".into(), |text| text.trim().into())
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::ends::Source;

    fn tcp(what: What, kind: Kind) -> Task {
        Task {
            source: Source::Tcp,
            what,
            kind,
        }
    }

    pub fn event(api: Kind, batch: usize, insn: f64, calls: f64) -> Row {
        Row {
            task: tcp(What::Events(batch), api),
            figures: Figures::Event {
                insn_per_event: insn,
                insn_per_event_median: insn,
                insn_bare: 1000.0,
                calls_per_event: calls,
            },
        }
    }

    pub fn watch(api: Kind, insn: f64, bytes: f64) -> Row {
        Row {
            task: tcp(What::Register, api),
            figures: Figures::Watch {
                insn_per_watch: insn,
                calls_per_watch: 0.5,
                bytes_per_watch: Some(bytes),
            },
        }
    }

    pub fn report(rows: Vec<Row>) -> Report {
        Report {
            kernel: "7.3".into(),
            unit: "insn",
            rows,
        }
    }

    #[test]
    fn ratios() {
        let report = report(vec![
            event(Kind::KeventEdge, 1, 100.0, 0.0),
            event(Kind::EpollEdge, 1, 800.0, 1.0),
            event(Kind::EpollEdge, 64, 300.0, 1.0),
            watch(Kind::EpollEdge, 1800.0, 192.0),
        ]);
        let ratios: Vec<_> = report.rows.iter().map(|row| report.ratio(row)).collect();

        assert_eq!(ratios, [Some(1.0), Some(8.0), Some(1.0), Some(1.0)]);
        let table = report.table();
        assert!(table.contains("tcp: 1 ready a round"), "{table}");
        assert!(table.contains("tcp: to register"), "{table}");
    }

    #[test]
    fn json() {
        let report = report(vec![
            event(Kind::UringDefer, 64, 1.5, 0.25),
            watch(Kind::KeventEdge, 500.0, 128.0),
        ]);
        let json = report.json().unwrap();

        assert_eq!(json["rows"][0]["row"], "tcp/64/io_uring-defer");
        assert_eq!(json["rows"][0]["source"], "tcp");
        assert_eq!(json["rows"][0]["batch"], 64);
        assert_eq!(json["rows"][0]["api"], "io_uring-defer");
        assert_eq!(json["rows"][0]["insn_per_event"], 1.5);
        assert_eq!(json["rows"][0]["calls_per_event"], 0.25);
        assert_eq!(json["rows"][1]["insn_per_watch"], 500.0);
        assert_eq!(json["rows"][1]["bytes_per_watch"], 128.0);
    }
}
