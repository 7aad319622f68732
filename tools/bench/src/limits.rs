// SPDX-License-Identifier: GPL-2.0-only

//! What must hold of kevent's figures: goals, most of them ratios to what the other interfaces take
//! in the same boot, and the lines that are known not to meet theirs, with a figure that may not get
//! worse. To tighten a limit, change its line in [`goals()`] or [`KNOWN`].

use std::fmt;

use crate::api::Kind;
use crate::ends::Source;
use crate::report::{Figures, Report, Row};

/// What else has to be in the report for a goal to be judged.
#[derive(Clone, Copy)]
enum Goal {
    /// So much.
    AtMost(f64),
    /// So many times the cheapest of epoll and io_uring.
    OfBest(f64),
    /// So many times what this one takes.
    Of(Kind, f64),
    /// So much more than this one takes.
    Beyond(Kind, f64),
}

/// The peers of [`Goal::OfBest`].
const PEERS: [Kind; 4] = [
    Kind::EpollEdge,
    Kind::EpollLevel,
    Kind::UringMultishot,
    Kind::UringDefer,
];

/// A figure of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Figure {
    Insn,
    Calls,
    Bytes,
}

impl Figure {
    fn of(self, row: &Row) -> Option<f64> {
        match (self, row.figures) {
            (Figure::Insn, _) => Some(row.insn()),
            (
                Figure::Calls,
                Figures::Event {
                    calls_per_event, ..
                },
            ) => Some(calls_per_event),
            (
                Figure::Bytes,
                Figures::Watch {
                    bytes_per_watch, ..
                },
            ) => Some(bytes_per_watch),
            _ => None,
        }
    }
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Figure::Insn => "instructions",
            Figure::Calls => "calls",
            Figure::Bytes => "bytes",
        })
    }
}

/// How much more than the known figure passes: compilers differ by an instruction or two.
const SLACK: f64 = 1.01;

/// The figures that are known not to meet their goal: source, whether of events, batch, interface, figure.
/// They are those of Documentation/measurements.md.
#[rustfmt::skip]
const KNOWN: &[(Source, bool, usize, Kind, Figure, f64)] = &[
    (Source::Eventfd, true, 1, Kind::KeventEdge, Figure::Insn, 332.0),
    (Source::Eventfd, true, 64, Kind::KeventEdge, Figure::Insn, 316.0),
    (Source::Eventfd, true, 1, Kind::KeventLevelBusy, Figure::Insn, 332.0),
    (Source::Eventfd, true, 64, Kind::KeventLevelBusy, Figure::Insn, 316.0),
    (Source::Eventfd, true, 1, Kind::KeventLevel, Figure::Insn, 1308.0),
    (Source::Eventfd, true, 64, Kind::KeventLevel, Figure::Insn, 578.0),
    (Source::Eventfd, true, 64, Kind::KeventGetEvents, Figure::Insn, 503.0),
    (Source::Eventfd, false, 64, Kind::KeventEdge, Figure::Insn, 1284.0),
    (Source::Eventfd, false, 64, Kind::KeventEdge, Figure::Bytes, 195.0),
    (Source::Unix, true, 1, Kind::KeventEdge, Figure::Insn, 286.0),
    (Source::Unix, true, 64, Kind::KeventEdge, Figure::Insn, 270.0),
    (Source::Unix, true, 1, Kind::KeventLevelBusy, Figure::Insn, 286.0),
    (Source::Unix, true, 64, Kind::KeventLevelBusy, Figure::Insn, 270.0),
    (Source::Unix, true, 1, Kind::KeventLevel, Figure::Insn, 1331.0),
    (Source::Unix, true, 64, Kind::KeventLevel, Figure::Insn, 601.0),
    (Source::Unix, true, 64, Kind::KeventGetEvents, Figure::Insn, 457.0),
    (Source::Unix, true, 1, Kind::KeventSocket, Figure::Insn, 538.0),
    (Source::Unix, true, 64, Kind::KeventSocket, Figure::Insn, 522.0),
    (Source::Unix, false, 64, Kind::KeventEdge, Figure::Insn, 1359.0),
    (Source::Unix, false, 64, Kind::KeventEdge, Figure::Bytes, 192.0),
    (Source::Unix, false, 64, Kind::KeventSocket, Figure::Insn, 1640.0),
    (Source::Unix, false, 64, Kind::KeventSocket, Figure::Bytes, 258.0),
    (Source::Tcp, true, 1, Kind::KeventEdge, Figure::Insn, 286.0),
    (Source::Tcp, true, 64, Kind::KeventEdge, Figure::Insn, 270.0),
    (Source::Tcp, true, 1, Kind::KeventLevelBusy, Figure::Insn, 286.0),
    (Source::Tcp, true, 64, Kind::KeventLevelBusy, Figure::Insn, 271.0),
    (Source::Tcp, true, 1, Kind::KeventLevel, Figure::Insn, 1375.0),
    (Source::Tcp, true, 64, Kind::KeventLevel, Figure::Insn, 645.0),
    (Source::Tcp, true, 64, Kind::KeventGetEvents, Figure::Insn, 457.0),
    (Source::Tcp, true, 1, Kind::KeventSocket, Figure::Insn, 543.0),
    (Source::Tcp, true, 64, Kind::KeventSocket, Figure::Insn, 527.0),
    (Source::Tcp, false, 64, Kind::KeventEdge, Figure::Insn, 1403.0),
    (Source::Tcp, false, 64, Kind::KeventEdge, Figure::Bytes, 192.0),
    (Source::Tcp, false, 64, Kind::KeventSocket, Figure::Insn, 1792.0),
    (Source::Tcp, false, 64, Kind::KeventSocket, Figure::Bytes, 258.0),
];

/// The goals of a row.
fn goals(row: &Row) -> Vec<(Figure, Goal)> {
    let by_source = |eventfd, unix, tcp| match row.source {
        Source::Eventfd => eventfd,
        Source::Unix => unix,
        Source::Tcp => tcp,
    };
    let events = matches!(row.figures, Figures::Event { .. });

    match (events, row.api, row.batch) {
        (true, Kind::KeventEdge | Kind::KeventLevelBusy, 1) => vec![
            (Figure::Insn, Goal::OfBest(0.28)),
            (Figure::Calls, Goal::AtMost(0.0)),
        ],
        (true, Kind::KeventEdge | Kind::KeventLevelBusy, _) => vec![
            (Figure::Insn, Goal::AtMost(by_source(205.0, 175.0, 175.0))),
            (Figure::Insn, Goal::OfBest(0.52)),
            (Figure::Calls, Goal::AtMost(0.0)),
        ],
        (true, Kind::KeventLevel, 1) => vec![(Figure::Insn, Goal::Of(Kind::EpollLevel, 0.60))],
        (true, Kind::KeventLevel, _) => vec![(
            Figure::Insn,
            Goal::Of(Kind::EpollLevel, by_source(0.55, 0.46, 0.40)),
        )],
        (true, Kind::KeventGetEvents, 64) => {
            vec![(Figure::Insn, Goal::Of(Kind::EpollEdge, 0.80))]
        }
        (true, Kind::KeventSocket, _) => vec![
            (Figure::Insn, Goal::Beyond(Kind::KeventEdge, 70.0)),
            (Figure::Calls, Goal::AtMost(0.0)),
        ],
        (false, Kind::KeventEdge, _) => vec![
            (Figure::Insn, Goal::Of(Kind::UringMultishot, 1.0)),
            (Figure::Bytes, Goal::AtMost(160.0)),
        ],
        (false, Kind::KeventSocket, _) => vec![
            (Figure::Insn, Goal::Beyond(Kind::UringMultishot, 150.0)),
            (Figure::Bytes, Goal::AtMost(200.0)),
        ],
        _ => vec![],
    }
}

/// How a figure stands to its goal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Met,
    /// Known not to meet it, and no worse than that.
    Unmet,
    /// Neither.
    Broken,
    /// What it is compared with was not measured.
    Unjudged,
}

/// A figure, its goal and how the two stand.
pub struct Line {
    pub verdict: Verdict,
    text: String,
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mark = match self.verdict {
            Verdict::Met => "ok   ",
            Verdict::Unmet => "unmet",
            Verdict::Broken => "FAIL ",
            Verdict::Unjudged => "?    ",
        };

        write!(f, "{mark} {}", self.text)
    }
}

/// A line for each goal; an error if nothing can be said.
pub fn check(report: &Report) -> Result<Vec<Line>, &'static str> {
    let kevent = || report.rows().iter().filter(|row| row.api.is_kevent());

    if !report.is_exact() {
        return Err("time does not count instructions here: nothing can be said");
    }
    if kevent().next().is_none() {
        return Err("this kernel has no kevent with POLL: there is nothing to check");
    }
    let judged = |row| {
        goals(row)
            .into_iter()
            .filter_map(move |(figure, goal)| judge(report, row, figure, goal))
    };

    Ok(kevent().flat_map(judged).collect())
}

/// One figure against one goal.
fn judge(report: &Report, row: &Row, figure: Figure, goal: Goal) -> Option<Line> {
    let value = figure.of(row)?;
    let peer = |kind| {
        report
            .rows()
            .iter()
            .filter(|other| other.source == row.source && other.api == kind)
            .find(|other| other.is_like(row))
            .and_then(|other| Some((figure.of(other)?, kind)))
    };
    let against = match goal {
        Goal::AtMost(most) => Some((most, String::new())),
        Goal::OfBest(ratio) => PEERS
            .into_iter()
            .map(peer)
            .collect::<Option<Vec<_>>>()
            .and_then(|all| {
                all.into_iter()
                    .min_by(|one, other| one.0.total_cmp(&other.0))
            })
            .map(|(insn, kind)| {
                (
                    insn * ratio,
                    format!(
                        " (it is {:.2} of the best, {kind}; goal {ratio})",
                        value / insn
                    ),
                )
            }),
        Goal::Of(kind, ratio) => peer(kind).map(|(insn, kind)| {
            (
                insn * ratio,
                format!(" (it is {:.2} of {kind}; goal {ratio})", value / insn),
            )
        }),
        Goal::Beyond(kind, more) => {
            peer(kind).map(|(insn, kind)| (insn + more, format!(" ({kind} and {more})")))
        }
    };
    let known = KNOWN.iter().find(|known| {
        (known.0, known.1, known.2, known.3, known.4)
            == (row.source, row.is_of_events(), row.batch, row.api, figure)
    });
    let name = format!(
        "{}, {} {}, {}: {value:.1} {figure}",
        row.source,
        row.batch,
        if row.is_of_events() {
            "ready"
        } else {
            "a call to register"
        },
        row.api
    );
    let (verdict, text) = match (against, known) {
        (Some((most, how)), _) if value <= most => {
            (Verdict::Met, format!("{name}, at most {most:.1}{how}"))
        }
        // Nothing to compare with, or dearer than that: it may not get worse all the same.
        (against, Some((.., last))) if value > last * SLACK => (
            Verdict::Broken,
            format!(
                "{name}, worse than the {last} it had{}",
                against.map_or(String::new(), |(_, how)| how)
            ),
        ),
        (Some((most, how)), Some((.., last))) => (
            Verdict::Unmet,
            format!("{name}, goal {most:.1}{how}, known to be {last}"),
        ),
        (Some((most, how)), None) => (
            Verdict::Broken,
            format!("{name}, at most {most:.1} allowed{how}"),
        ),
        (None, _) => (
            Verdict::Unjudged,
            format!("{name}: what it is to be compared with was not measured"),
        ),
    };

    Some(Line { verdict, text })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::{event, report, watch};

    fn verdicts(rows: Vec<Row>) -> Vec<Verdict> {
        let lines = check(&report(rows)).unwrap();

        lines.iter().map(|line| line.verdict).collect()
    }

    fn peers(insn: f64) -> Vec<Row> {
        PEERS
            .into_iter()
            .map(|kind| event(kind, 64, insn, 1.0))
            .collect()
    }

    #[test]
    fn met() {
        let mut rows = vec![
            event(Kind::KeventEdge, 64, 175.0, 0.0),
            event(Kind::KeventLevel, 64, 160.0, 0.02),
            watch(Kind::KeventEdge, 800.0, 160.0),
            watch(Kind::UringMultishot, 800.0, 252.0),
        ];
        rows.extend(peers(400.0));

        assert_eq!(verdicts(rows), [Verdict::Met; 6]);
    }

    #[test]
    fn a_known_figure_may_not_get_worse() {
        let of = |insn| {
            let mut rows = vec![event(Kind::KeventEdge, 64, insn, 0.0)];
            rows.extend(peers(357.0));
            verdicts(rows)
        };

        assert_eq!(of(270.0), [Verdict::Unmet, Verdict::Unmet, Verdict::Met]);
        assert_eq!(of(274.0), [Verdict::Broken, Verdict::Broken, Verdict::Met]);
        // The absolute goal is met, the ratio to the best peer is not.
        assert_eq!(
            verdicts([vec![event(Kind::KeventEdge, 64, 175.0, 0.0)], peers(300.0)].concat()),
            [Verdict::Met, Verdict::Unmet, Verdict::Met]
        );
    }

    #[test]
    fn the_best_peer_counts() {
        let mut rows = vec![event(Kind::KeventEdge, 64, 170.0, 0.0)];
        rows.extend(peers(357.0));
        rows.push(event(Kind::Poll, 64, 1.0, 1.0));
        assert_eq!(verdicts(rows.clone()), [Verdict::Met; 3]);

        rows[4] = event(Kind::UringDefer, 64, 300.0, 1.0);
        assert_eq!(verdicts(rows)[1], Verdict::Unmet);
    }

    #[test]
    fn unknown_and_unmet_is_broken() {
        let rows = vec![event(Kind::KeventEdge, 64, 100.0, 0.1)];

        assert_eq!(
            verdicts(rows),
            [Verdict::Met, Verdict::Unjudged, Verdict::Broken]
        );
    }

    #[test]
    fn each_known_figure_has_a_goal() {
        for (source, events, batch, kind, figure, last) in KNOWN {
            let mut row = match events {
                true => event(*kind, *batch, *last, 0.0),
                false => watch(*kind, *last, *last),
            };

            row.source = *source;
            assert!(
                goals(&row).iter().any(|(of, _)| of == figure),
                "{source}, {batch}, {kind}"
            );
        }
    }

    #[test]
    fn nothing_to_check() {
        assert!(check(&report(vec![event(Kind::Poll, 1, 1.0, 1.0)])).is_err());
    }
}
