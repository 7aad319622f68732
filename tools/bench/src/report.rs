// SPDX-License-Identifier: GPL-2.0-only

//! The rows: a table for people, JSON for programs.

use anyhow::Result;
use serde::Serialize;
use std::fs;
use std::path::Path;

use crate::api::Kind;
use crate::clock::Clock;
use crate::ends::Source;
use crate::plan::WATCHED;

/// One measurement.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Row {
    pub source: Source,
    /// Ends that are ready in each round, or watches that go into one call.
    pub batch: usize,
    pub api: Kind,
    #[serde(flatten)]
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
        /// Beyond the write and the read.
        calls_per_event: f64,
    },
    Watch {
        insn_per_watch: f64,
        calls_per_watch: f64,
        bytes_per_watch: f64,
    },
}

#[derive(Serialize)]
pub struct Report {
    kernel: String,
    /// Of every `insn` figure: `insn`, or `ns` if time does not count instructions here.
    unit: &'static str,
    watched: usize,
    rows: Vec<Row>,
}

impl Report {
    pub fn new(clock: Clock) -> Report {
        Report {
            kernel: fs::read_to_string("/proc/sys/kernel/osrelease")
                .map_or_else(|_| "unknown".into(), |text| text.trim().into()),
            unit: clock.unit(),
            watched: WATCHED,
            rows: Vec::new(),
        }
    }

    pub fn push(&mut self, row: Row) {
        self.rows.push(row);
    }

    pub fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// Whether the figures are instructions.
    pub fn is_exact(&self) -> bool {
        self.unit == "insn"
    }

    pub fn write(&self, path: &Path) -> Result<()> {
        fs::write(path, serde_json::to_string_pretty(self)? + "\n")?;
        Ok(())
    }

    pub fn print(&self) {
        print!("{}", self.table());
    }

    fn table(&self) -> String {
        let mut text = format!("Linux {}, {} watched\n", self.kernel, self.watched);
        let unit = self.unit;

        if !self.is_exact() {
            text +=
                "This is not QEMU's -icount: figures are nanoseconds of this machine, and vary.\n";
        }
        if !self.rows.iter().any(|row| row.api.is_kevent()) {
            text += "There is no row of kevent: either none was asked for, or this kernel has no POLL.\n";
        }
        let mut last = None;
        for row in &self.rows {
            let part = (
                row.source,
                matches!(row.figures, Figures::Event { .. }),
                row.batch,
            );
            match (&row.figures, last) {
                (Figures::Event { insn_bare, .. }, last) if last != Some(part) => {
                    text += &format!(
                        "\n{}: {} ready a round; write and read alone: {insn_bare:.0} {unit}\n  \
                         {:20}{:>12}{:>12}{:>8}{:>12}\n",
                        row.source,
                        row.batch,
                        "",
                        format!("{unit}/event"),
                        "median",
                        "ratio",
                        "calls/event"
                    );
                }
                (Figures::Watch { .. }, last)
                    if last.is_none_or(|(source, events, _)| events || source != row.source) =>
                {
                    text += &format!(
                        "\n{}: to register\n  {:20}{:>12}{:>12}{:>8}{:>12}{:>14}\n",
                        row.source,
                        "",
                        format!("{unit}/watch"),
                        "",
                        "ratio",
                        "calls/watch",
                        "bytes/watch"
                    );
                }
                _ => {}
            }
            last = Some(part);

            let ratio = self
                .ratio(row)
                .map_or_else(String::new, |ratio| format!("{ratio:.2}"));
            text += &match row.figures {
                Figures::Event {
                    insn_per_event,
                    insn_per_event_median,
                    calls_per_event,
                    ..
                } => format!(
                    "  {:20}{insn_per_event:12.1}{insn_per_event_median:12.1}{ratio:>8}{calls_per_event:12.3}\n",
                    row.api
                ),
                Figures::Watch {
                    insn_per_watch,
                    calls_per_watch,
                    bytes_per_watch,
                } => format!(
                    "  {:20}{insn_per_watch:12.1}{:12}{ratio:>8}{calls_per_watch:12.3}{bytes_per_watch:14.1}\n",
                    row.api, ""
                ),
            };
        }
        text
    }

    /// How many times as much as with kevent's edges, or else with epoll's.
    fn ratio(&self, row: &Row) -> Option<f64> {
        let of = |kind| {
            self.rows
                .iter()
                .find(|other| other.source == row.source && other.api == kind && other.is_like(row))
        };
        let base = of(Kind::KeventEdge).or_else(|| of(Kind::EpollEdge))?;

        Some(row.insn() / base.insn())
    }
}

impl Row {
    /// The figure that rows are compared by.
    pub fn insn(&self) -> f64 {
        match self.figures {
            Figures::Event { insn_per_event, .. } => insn_per_event,
            Figures::Watch { insn_per_watch, .. } => insn_per_watch,
        }
    }

    /// Whether it is about events.
    pub fn is_of_events(&self) -> bool {
        matches!(self.figures, Figures::Event { .. })
    }

    /// Whether both do the same.
    pub fn is_like(&self, other: &Row) -> bool {
        match (self.figures, other.figures) {
            (Figures::Event { .. }, Figures::Event { .. }) => self.batch == other.batch,
            (Figures::Watch { .. }, Figures::Watch { .. }) => true,
            _ => false,
        }
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;

    pub fn event(api: Kind, batch: usize, insn: f64, calls: f64) -> Row {
        Row {
            source: Source::Tcp,
            batch,
            api,
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
            source: Source::Tcp,
            batch: 64,
            api,
            figures: Figures::Watch {
                insn_per_watch: insn,
                calls_per_watch: 0.5,
                bytes_per_watch: bytes,
            },
        }
    }

    pub fn report(rows: Vec<Row>) -> Report {
        Report {
            kernel: "7.3".into(),
            unit: "insn",
            watched: WATCHED,
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
        let json = serde_json::to_value(&report).unwrap();

        assert_eq!(json["rows"][0]["source"], "tcp");
        assert_eq!(json["rows"][0]["batch"], 64);
        assert_eq!(json["rows"][0]["api"], "io_uring-defer");
        assert_eq!(json["rows"][0]["insn_per_event"], 1.5);
        assert_eq!(json["rows"][0]["calls_per_event"], 0.25);
        assert_eq!(json["rows"][1]["insn_per_watch"], 500.0);
        assert_eq!(json["rows"][1]["bytes_per_watch"], 128.0);
    }
}
