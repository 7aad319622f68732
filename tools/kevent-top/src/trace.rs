// SPDX-License-Identifier: MIT

//! Lines of the kernel's tracepoints, and what they say in words.

use kevent::{
    AioEvents, FutexEvents, InodeEvents, ProcessEvents, Readiness, SigevEvents, SignalEvents,
    SocketEvents, Source, TimerEvents, UserEvents, sys,
};
use std::collections::BTreeMap;
use std::fmt;

/// Something that happened in a queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// In whose time: the name of the thread and its number.
    pub task: String,
    /// The thread's number.
    pub tid: u32,
    /// Its process, if the kernel says it.
    pub pid: Option<u32>,
    /// Seconds since the machine was started, as the kernel writes them.
    pub time: String,
    /// The tracepoint, without `kevent_`.
    pub what: String,
    /// The queue's id.
    pub queue: u64,
    fields: BTreeMap<String, String>,
}

impl Record {
    /// `None` if this is no line of a tracepoint of kevent.
    pub fn parse(line: &str) -> Option<Record> {
        // "   server-812     (    811) [000] .....    37.541469: kevent_post: id=19 place=0 ..."
        let (before, after) = line.split_once(": kevent_")?;
        let (what, rest) = after.split_once(':')?;
        let (head, time) = before.trim().rsplit_once(char::is_whitespace)?;
        let head = head.rsplit_once('[')?.0.trim();
        let (task, pid) = match head
            .strip_suffix(')')
            .and_then(|head| head.rsplit_once('('))
        {
            Some((task, pid)) => (task.trim(), pid.trim().parse().ok()),
            None => (head, None),
        };
        let fields: BTreeMap<_, _> = rest
            .split_whitespace()
            .filter_map(|field| field.split_once('='))
            .map(|(name, value)| (name.to_string(), value.to_string()))
            .collect();

        Some(Record {
            task: task.escape_default().to_string(),
            tid: task.rsplit_once('-')?.1.parse().ok()?,
            pid,
            time: time.to_string(),
            what: what.to_string(),
            queue: fields.get("id")?.parse().ok()?,
            fields,
        })
    }

    fn hex(&self, name: &str) -> Option<u64> {
        u64::from_str_radix(self.fields.get(name)?, 16).ok()
    }

    fn number(&self, name: &str) -> Option<i64> {
        self.fields.get(name)?.parse().ok()
    }

    fn source(&self) -> Option<Source> {
        let class = u32::try_from(self.number("source")?).ok()?;

        Source::ALL
            .into_iter()
            .find(|source| source.class() == class)
    }
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:>14} {:<20} queue {} {}",
            self.time, self.task, self.queue, self.what
        )?;
        if let Some(source) = self.source() {
            write!(f, " {source}")?;
            if self.what == "add" {
                if let Some(ident) = self.number("ident").filter(|_| has_ident(source)) {
                    write!(f, " {ident}")?;
                }
            }
            if let Some(bits) = self.hex("events") {
                write!(f, " {}", events(source, bits as u16))?;
            }
        }
        if let Some(flags) = self.hex("flags").filter(|flags| *flags != 0) {
            write!(f, " {}", modes(flags as u32))?;
        }
        for name in ["index", "waiters"] {
            if let Some(value) = self.fields.get(name) {
                write!(f, " {name} {value}")?;
            }
        }
        match (self.hex("handle"), self.number("place")) {
            (Some(handle), _) => write!(f, " handle {handle:#x}")?,
            (None, Some(-1)) => write!(f, " of no watch")?,
            _ => {}
        }
        match self.hex("user_data") {
            Some(data) => write!(f, " user data {data:#x}"),
            None => Ok(()),
        }
    }
}

fn has_ident(source: Source) -> bool {
    !matches!(source, Source::Timer | Source::User)
}

/// The names of the bits, and what has none as a number.
fn events(source: Source, bits: u16) -> String {
    macro_rules! names {
        ($($source:ident: $kind:ident),* $(,)?) => {
            match source {
                $(Source::$source => {
                    let known = $kind::from_bits_truncate(bits);
                    (known.iter_names().map(|(name, _)| name).collect::<Vec<_>>(), bits & !known.bits())
                })*
                _ => (Vec::new(), bits),
            }
        };
    }
    let (names, rest) = match source {
        // The program's own.
        Source::User => (Vec::new(), bits),
        _ => names! {
            Poll: Readiness, Socket: SocketEvents, Aio: AioEvents, Signal: SignalEvents, Timer: TimerEvents,
            Process: ProcessEvents, Inode: InodeEvents, Futex: FutexEvents, User: UserEvents, Sigev: SigevEvents,
        },
    };
    joined(names, u32::from(rest))
}

/// The names of `KEVENT_WATCH_*` flags.
fn modes(flags: u32) -> String {
    let names = [
        (sys::KEVENT_WATCH_EDGE, "EDGE"),
        (sys::KEVENT_WATCH_ONESHOT, "ONESHOT"),
        (sys::KEVENT_WATCH_DISPATCH, "DISPATCH"),
        (sys::KEVENT_WATCH_EXCLUSIVE, "EXCLUSIVE"),
        (sys::KEVENT_WATCH_DISABLED, "DISABLED"),
    ];
    let known = names.iter().filter(|(flag, _)| flags & flag != 0);

    joined(
        known.clone().map(|(_, name)| *name).collect(),
        known.fold(flags, |rest, (flag, _)| rest & !flag),
    )
}

fn joined(names: Vec<&str>, rest: u32) -> String {
    let mut parts: Vec<String> = names.into_iter().map(String::from).collect();

    if rest != 0 || parts.is_empty() {
        parts.push(format!("{rest:#x}"));
    }
    parts.join("|")
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADD: &str = "          server-812     [000] .....    37.541469: kevent_add: id=19 handle=0000000100000000 \
        source=1 flags=1 ident=5 events=2001 user_data=2a";

    #[test]
    fn a_line_is_shown_in_words() {
        let record = Record::parse(ADD).unwrap();

        assert_eq!(
            (record.tid, record.queue, record.what.as_str()),
            (812, 19, "add")
        );
        assert_eq!(
            record.to_string(),
            "     37.541469 server-812           queue 19 add POLL 5 IN|RDHUP EDGE handle 0x100000000 user data 0x2a"
        );
    }

    #[test]
    fn posts_of_the_program_have_no_watch() {
        let line = "a b-7  (     6) [001] d..1. 1.5: kevent_post: id=3 place=-1 index=9 source=9 events=8000 user_data=7";

        assert_eq!(Record::parse(line).unwrap().pid, Some(6));
        assert_eq!(
            Record::parse(line).unwrap().to_string(),
            "           1.5 a b-7                queue 3 post USER 0x8000 index 9 of no watch user data 0x7"
        );
    }

    #[test]
    fn what_is_not_of_kevent_is_passed_over() {
        for line in [
            "",
            "# tracer: nop",
            "a-1 [0] . 1.0: sched_switch: id=1",
            "kevent_add: id=1",
            ": kevent_add: id=1",
        ] {
            assert_eq!(Record::parse(line), None, "{line}");
        }
    }
}
