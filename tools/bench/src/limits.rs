// SPDX-License-Identifier: GPL-2.0-only

//! What must hold of kevent's figures: goals, most of them ratios to what the other interfaces take
//! in the same boot, and the lines that are known not to meet theirs, with a figure that may not get
//! worse: `known.json`, which `--accept` writes.

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::Path;

use crate::api::Kind;
use crate::ends::Source;
use crate::plan::{Task, What};
use crate::report::{Figures, Report, Row};

/// What a figure has to be, and what else has to be in the report for that to be judged.
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Figure {
    Instructions,
    Calls,
    Bytes,
    /// Atomic read-modify-writes in the kernel.
    Atomics,
}

impl Figure {
    fn of(self, row: &Row) -> Option<f64> {
        match (self, row.figures) {
            (Figure::Instructions, Figures::Event { insn_per_event, .. }) => Some(insn_per_event),
            (Figure::Instructions, Figures::Watch { insn_per_watch, .. }) => Some(insn_per_watch),
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
            ) => bytes_per_watch,
            (
                Figure::Atomics,
                Figures::Atomics {
                    kernel_per_event, ..
                },
            ) => Some(kernel_per_event),
            _ => None,
        }
    }
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Figure::Instructions => "instructions",
            Figure::Calls => "calls",
            Figure::Bytes => "bytes",
            Figure::Atomics => "atomic operations in the kernel",
        })
    }
}

/// How much more than the goal or the known figure passes: compilers differ by a few instructions,
/// and what was measured before in the same boot makes 3 % of a signal.
const SLACK: f64 = 1.05;
/// And so much more than the known figure, of whatever it is: what is measured in small numbers.
const LEEWAY: f64 = 2.0;

/// The figures that are known not to meet their goal, by the name of the row.
#[derive(Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Known(BTreeMap<String, BTreeMap<Figure, f64>>);

impl Known {
    /// Those of this version of the program.
    pub fn built_in() -> Result<Known> {
        serde_json::from_str(include_str!("known.json")).context("known.json")
    }

    fn get(&self, row: &str, figure: Figure) -> Option<f64> {
        self.0.get(row)?.get(&figure).copied()
    }
}

/// The goals of a row.
fn goals(task: Task) -> Vec<(Figure, Goal)> {
    use Figure::{Atomics, Bytes, Calls, Instructions};
    use Goal::{AtMost, Beyond, Of, OfBest};

    let by_source = |eventfd, unix, tcp| match task.source {
        Source::Eventfd => eventfd,
        Source::Unix => unix,
        _ => tcp,
    };

    match (task.what, task.kind) {
        (What::Events(1), Kind::KeventEdge | Kind::KeventLevelBusy) => {
            vec![(Instructions, OfBest(0.28)), (Calls, AtMost(0.0))]
        }
        (What::Events(_), Kind::KeventEdge | Kind::KeventLevelBusy) => vec![
            (Instructions, AtMost(by_source(205.0, 175.0, 175.0))),
            (Instructions, OfBest(0.52)),
            (Calls, AtMost(0.0)),
        ],
        (What::Events(1), Kind::KeventLevel) => vec![(Instructions, Of(Kind::EpollLevel, 0.60))],
        (What::Events(_), Kind::KeventLevel) => vec![(
            Instructions,
            Of(Kind::EpollLevel, by_source(0.55, 0.46, 0.40)),
        )],
        (What::Events(64), Kind::KeventGetEvents) => {
            vec![(Instructions, Of(Kind::EpollEdge, 0.80))]
        }
        (What::Events(_), Kind::KeventSocket) => vec![
            (Instructions, Beyond(Kind::KeventEdge, 70.0)),
            (Calls, AtMost(0.0)),
        ],
        (What::Events(64), Kind::Kevent) => peer(task.source)
            .map(|peer| (Instructions, Of(peer, 0.5)))
            .into_iter()
            .collect(),
        (What::Register, Kind::KeventEdge) => vec![
            (Instructions, Of(Kind::UringMultishot, 1.0)),
            (Bytes, AtMost(160.0)),
        ],
        (What::Register, Kind::KeventSocket) => vec![
            (Instructions, Beyond(Kind::UringMultishot, 150.0)),
            (Bytes, AtMost(200.0)),
        ],
        (What::Modify | What::Remove, Kind::KeventEdge | Kind::KeventSocket) => {
            vec![(Instructions, Of(Kind::EpollEdge, 1.0))]
        }
        (What::Atomics, Kind::KeventEdge) => vec![(Atomics, AtMost(3.0))],
        _ => vec![],
    }
}

/// What a class that is no file is compared with.
fn peer(source: Source) -> Option<Kind> {
    Some(match source {
        Source::Timer => Kind::TimerfdEpoll,
        Source::Signal | Source::Sigev => Kind::SignalfdEpoll,
        Source::Aio => Kind::EventfdEpoll,
        Source::User => Kind::EventfdEpoll,
        // What is scheduled between exits makes more of a difference.
        Source::Process => return None,
        Source::Eventfd | Source::Unix | Source::Tcp => return None,
    })
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
    /// If it is not met: what, and how much.
    missed: Option<(String, Figure, f64)>,
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
pub fn check(report: &Report, known: &Known) -> Result<Vec<Line>, &'static str> {
    let kevent = || report.rows().iter().filter(|row| row.task.kind.is_kevent());

    if !report.is_exact() {
        return Err("time does not count instructions here: nothing can be said");
    }
    if kevent().next().is_none() {
        return Err("this kernel has no kevent with POLL: there is nothing to check");
    }
    let judged = |row: &Row| {
        let row = *row;

        goals(row.task)
            .into_iter()
            .filter_map(move |(figure, goal)| judge(report, known, &row, figure, goal))
    };

    Ok(kevent().flat_map(judged).collect())
}

/// Writes what is not met now, which `--check` is to let pass: of all that was not `measured`, what
/// was known before stays.
pub fn accept(
    path: &Path,
    lines: &[Line],
    measured: impl Iterator<Item = String>,
    mut known: Known,
) -> Result<()> {
    for row in measured {
        known.0.remove(&row);
    }
    for (row, figure, value) in lines.iter().filter_map(|line| line.missed.as_ref()) {
        let rounded = (value * 10.0).ceil() / 10.0;

        known
            .0
            .entry(row.clone())
            .or_default()
            .insert(*figure, rounded);
    }
    fs::write(path, serde_json::to_string_pretty(&known)? + "\n")
        .with_context(|| format!("cannot write {}", path.display()))
}

/// One figure against one goal.
fn judge(report: &Report, known: &Known, row: &Row, figure: Figure, goal: Goal) -> Option<Line> {
    let value = figure.of(row)?;
    let bound = bound(report, row, figure, goal, value);

    Some(line(row.task.to_string(), figure, value, bound, known))
}

/// How a figure of a row stands to what it may be at most, which is none if that was not measured.
pub fn line(
    row: String,
    figure: Figure,
    value: f64,
    bound: Option<(f64, String)>,
    known: &Known,
) -> Line {
    let name = format!("{row}: {value:.1} {figure}");
    let (verdict, text) = match (bound, known.get(&row, figure)) {
        (Some((most, how)), _) if value <= most => {
            (Verdict::Met, format!("{name}, at most {most:.1}{how}"))
        }
        // Nothing to compare with, or dearer than that: it may not get worse all the same.
        (bound, Some(last)) if value > last * SLACK + LEEWAY => (
            Verdict::Broken,
            format!(
                "{name}, worse than the {last} it had{}",
                bound.map_or(String::new(), |(_, how)| how)
            ),
        ),
        (Some((most, how)), Some(last)) => (
            Verdict::Unmet,
            format!("{name}, goal {most:.1}{how}, known to be {last}"),
        ),
        (Some((most, how)), None) if value <= most * SLACK => {
            (Verdict::Unmet, format!("{name}, goal {most:.1}{how}"))
        }
        (Some((most, how)), None) => (
            Verdict::Broken,
            format!("{name}, at most {most:.1} allowed{how}"),
        ),
        (None, _) => (
            Verdict::Unjudged,
            format!("{name}: what it is to be compared with was not measured"),
        ),
    };

    Line {
        missed: matches!(verdict, Verdict::Unmet | Verdict::Broken).then_some((row, figure, value)),
        verdict,
        text,
    }
}

/// What the figure may be at most, and why; none if that was not measured.
fn bound(
    report: &Report,
    row: &Row,
    figure: Figure,
    goal: Goal,
    value: f64,
) -> Option<(f64, String)> {
    let of = |kind| figure.of(report.find(row.task, kind)?);

    Some(match goal {
        Goal::AtMost(most) => (most, String::new()),
        Goal::OfBest(ratio) => {
            let all = PEERS
                .into_iter()
                .map(|kind| Some((of(kind)?, kind)))
                .collect::<Option<Vec<_>>>()?;
            let (best, kind) = all.into_iter().min_by(|one, two| one.0.total_cmp(&two.0))?;
            let is = value / best;

            (
                best * ratio,
                format!(" (it is {is:.2} of the best, {kind}; goal {ratio})"),
            )
        }
        Goal::Of(kind, ratio) => {
            let peer = of(kind)?;
            let is = value / peer;

            (
                peer * ratio,
                format!(" (it is {is:.2} of {kind}; goal {ratio})"),
            )
        }
        Goal::Beyond(kind, more) => (of(kind)? + more, format!(" ({kind} and {more})")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::{event, report, watch};

    fn known() -> Known {
        serde_json::from_str(
            r#"{"tcp/64/kevent-edge": {"instructions": 270.0},
                "tcp/register/kevent-edge": {"bytes": 192.0}}"#,
        )
        .unwrap()
    }

    fn verdicts(rows: Vec<Row>) -> Vec<Verdict> {
        let lines = check(&report(rows), &known()).unwrap();

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
        assert_eq!(of(285.0), [Verdict::Unmet, Verdict::Unmet, Verdict::Met]);
        assert_eq!(of(286.0), [Verdict::Broken, Verdict::Broken, Verdict::Met]);
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
    fn a_goal_may_just_be_missed() {
        let of = |insn| {
            let mut rows = vec![event(Kind::KeventEdge, 1, insn, 0.0)];
            rows.extend(PEERS.map(|kind| event(kind, 1, 1000.0, 1.0)));
            verdicts(rows)[0]
        };

        assert_eq!(of(280.0), Verdict::Met);
        assert_eq!(of(294.0), Verdict::Unmet);
        assert_eq!(of(295.0), Verdict::Broken);
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
    fn what_is_not_met_is_accepted() {
        let report = report(vec![
            event(Kind::KeventEdge, 64, 300.0, 0.0),
            watch(Kind::KeventEdge, 900.0, 150.0),
        ]);
        let path = std::env::temp_dir().join(format!("known-{}.json", std::process::id()));
        let lines = check(&report, &known()).unwrap();

        accept(&path, &lines, report.names(), known()).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        fs::remove_file(&path).unwrap();
        let known: Known = serde_json::from_str(&text).unwrap();
        let lines = check(&report, &known).unwrap();

        assert!(lines.iter().all(|line| line.verdict != Verdict::Broken));
        // It has met its goal, and so is not known to miss it any more.
        assert!(!text.contains("register"), "{text}");
    }

    #[test]
    fn each_known_figure_has_a_goal() {
        let known = Known::built_in().unwrap().0;
        let rows = known
            .iter()
            .filter(|(name, _)| !name.starts_with("attack/"));

        for (name, figures) in rows {
            let task = crate::plan::by_name(name).unwrap_or_else(|| panic!("{name}: no such row"));

            for figure in figures.keys() {
                assert!(goals(task).iter().any(|(of, _)| of == figure), "{name}");
            }
        }
    }

    #[test]
    fn nothing_to_check() {
        let rows = vec![event(Kind::Poll, 1, 1.0, 1.0)];

        assert!(check(&report(rows), &known()).is_err());
    }
}
