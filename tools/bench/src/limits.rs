// SPDX-License-Identifier: GPL-2.0-only

//! What must hold of kevent's figures.

use crate::api::Kind;
use crate::report::{Figures, Report, Row};

/// Instructions beyond the bare loop.
const EDGE: f64 = 120.0;
const LEVEL: f64 = 200.0;
/// Instructions to register a watch, in batches of 64.
const REGISTER: f64 = 600.0;
/// Bytes of a watch.
const BYTES: f64 = 128.0;

/// A line for each limit that is not met.
pub fn check(report: &Report) -> Vec<String> {
    let kevent = || report.rows().iter().filter(|row| row.api.is_kevent());

    if !report.is_exact() {
        return vec!["time does not count instructions here: nothing can be said".into()];
    }
    if kevent().next().is_none() {
        return vec!["this kernel has no kevent with POLL: there is nothing to check".into()];
    }
    kevent().flat_map(broken).collect()
}

/// The limits that this row breaks.
fn broken(row: &Row) -> Vec<String> {
    let limits: &[(f64, &str, f64)] = match (row.figures, row.api) {
        (
            Figures::Event {
                insn_per_event,
                calls_per_event,
                ..
            },
            Kind::KeventEdge,
        ) => &[
            (insn_per_event, "instructions per event", EDGE),
            (calls_per_event, "calls per event", 0.0),
        ],
        (Figures::Event { insn_per_event, .. }, Kind::KeventLevel | Kind::KeventLevelBusy) => {
            &[(insn_per_event, "instructions per event", LEVEL)]
        }
        (
            Figures::Watch {
                insn_per_watch,
                bytes_per_watch,
                ..
            },
            Kind::KeventEdge,
        ) => &[
            (insn_per_watch, "instructions per watch", REGISTER),
            (bytes_per_watch, "bytes per watch", BYTES),
        ],
        _ => &[],
    };

    limits
        .iter()
        .filter(|(figure, _, limit)| figure > limit)
        .map(|(figure, what, limit)| {
            let Row {
                source, batch, api, ..
            } = row;
            format!("{source}, {batch} at once, {api}: {figure:.1} {what}, at most {limit} allowed")
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::{event, report, watch};

    #[test]
    fn met() {
        let good = report(vec![
            event(Kind::KeventEdge, 1, 120.0, 0.0),
            event(Kind::KeventLevel, 64, 200.0, 0.02),
            event(Kind::KeventGetEvents, 1, 900.0, 1.0),
            event(Kind::EpollEdge, 1, 900.0, 1.0),
            watch(Kind::KeventEdge, 600.0, 128.0),
            watch(Kind::EpollEdge, 1800.0, 192.0),
        ]);

        assert_eq!(check(&good), [""; 0]);
    }

    #[test]
    fn not_met() {
        let bad = report(vec![
            event(Kind::KeventEdge, 1, 120.5, 0.1),
            event(Kind::KeventLevel, 64, 201.0, 0.0),
            watch(Kind::KeventEdge, 601.0, 129.0),
        ]);
        let lines = check(&bad);

        assert_eq!(lines.len(), 5, "{lines:?}");
        assert_eq!(
            lines[0],
            "tcp, 1 at once, kevent-edge: 120.5 instructions per event, at most 120 allowed"
        );
    }

    #[test]
    fn nothing_to_check() {
        assert_eq!(
            check(&report(vec![event(Kind::Poll, 1, 1.0, 1.0)])).len(),
            1
        );
    }
}
