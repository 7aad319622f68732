// SPDX-License-Identifier: MIT

//! What `/proc/PID/fdinfo/FD` says of a queue.

use serde::Serialize;
use std::collections::BTreeMap;
use std::str::FromStr;

/// The classes by number, as in `<linux/kevent.h>`.
const CLASSES: [&str; 11] = [
    "0", "POLL", "SOCKET", "AIO", "SIGNAL", "TIMER", "PROCESS", "INODE", "FUTEX", "USER", "SIGEV",
];

/// A queue at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Queue {
    /// No other queue has it until the next boot.
    pub id: u64,
    /// Slots in the ring; 0 without one.
    pub entries: u64,
    /// Events that were published in the ring.
    pub posted: u64,
    /// Occurrences that went into an event that was there already.
    pub merged: u64,
    /// Events that went through the backlog.
    pub deferred: u64,
    /// Threads that were woken.
    pub woken: u64,
    /// Events that were published without waking a thread.
    pub saved: u64,
    /// Events that wait in the backlog.
    pub backlog: u64,
    /// Threads that sleep.
    pub waiters: u64,
    /// Watches by class.
    pub watches: BTreeMap<String, u64>,
}

impl Queue {
    /// How many watches it has.
    pub fn watch_count(&self) -> u64 {
        self.watches.values().sum()
    }

    /// `None` if this is the fdinfo of something else. Unknown lines are of a newer kernel.
    pub fn parse(text: &str) -> Option<Queue> {
        let mut queue = Queue::default();
        let mut known = 0;
        let mut watches = 0;

        for line in text.lines() {
            let (name, value) = line.split_once(':')?;
            let value = value.trim();
            let field = match name {
                "id" => &mut queue.id,
                "entries" => &mut queue.entries,
                "posted" => &mut queue.posted,
                "merged" => &mut queue.merged,
                "deferred" => &mut queue.deferred,
                "woken" => &mut queue.woken,
                "saved" => &mut queue.saved,
                "backlog" => &mut queue.backlog,
                "waiters" => &mut queue.waiters,
                "watches" => {
                    watches = number(value)?;
                    continue;
                }
                "watch" => {
                    *queue.watches.entry(class(value)).or_default() += 1;
                    continue;
                }
                _ => continue,
            };
            *field = number(value)?;
            known += 1;
        }
        // The kernel shows only the first of them.
        let shown = queue.watch_count();
        if watches > shown {
            queue.watches.insert("others".to_string(), watches - shown);
        }
        (known >= 9).then_some(queue)
    }
}

fn number<T: FromStr>(text: &str) -> Option<T> {
    text.parse().ok()
}

/// The name of a watch's class, or its number if that is newer than this program.
fn class(watch: &str) -> String {
    let source = watch
        .split_whitespace()
        .find_map(|word| word.strip_prefix("source:"))
        .unwrap_or("?");

    match number::<usize>(source).and_then(|n| CLASSES.get(n)) {
        Some(name) => (*name).to_string(),
        None => source.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUEUE: &str = "pos:\t0\nflags:\t02000002\nmnt_id:\t15\nino:\t1057\nid:\t7\nentries:\t256\n\
        mmap_size:\t12288\nentries_offset:\t4096\nposted:\t10\nmerged:\t3\ndeferred:\t2\nwoken:\t4\n\
        saved:\t6\nbacklog:\t1\nwaiters:\t1\n\
        watch: handle:0000000100000000 source:1 flags:0 ident:5 events:1 user_data:2a state:on\n\
        watch: handle:0000000100000001 source:1 flags:0 ident:6 events:1 user_data:2b state:off\n\
        watch: handle:0000000100000002 source:5 flags:0 ident:0 events:1 user_data:0 state:on\n\
        watch: handle:0000000100000003 source:77 flags:0 ident:0 events:1 user_data:0 state:on\n";

    #[test]
    fn a_queue_is_read_whole() {
        let queue = Queue::parse(QUEUE).unwrap();

        assert_eq!((queue.id, queue.entries), (7, 256));
        assert_eq!((queue.posted, queue.merged, queue.deferred), (10, 3, 2));
        assert_eq!((queue.woken, queue.saved), (4, 6));
        assert_eq!((queue.backlog, queue.waiters), (1, 1));
        assert_eq!(queue.watches["POLL"], 2);
        assert_eq!(queue.watches["TIMER"], 1);
        assert_eq!(queue.watches["77"], 1);
        assert_eq!(queue.watch_count(), 4);
    }

    #[test]
    fn lines_of_a_newer_kernel_are_passed_over() {
        let many = format!("{QUEUE}watches:\t1000\n");
        let queue = Queue::parse(&many).unwrap();
        assert_eq!((queue.watch_count(), queue.watches["others"]), (1000, 996));

        let newer = format!("{QUEUE}colour:\tblue\nwatch: kind:9\n");

        assert_eq!(Queue::parse(&newer).unwrap().watches["?"], 1);
    }

    #[test]
    fn other_files_are_no_queues() {
        assert_eq!(Queue::parse(""), None);
        assert_eq!(
            Queue::parse("pos:\t0\nflags:\t02\nmnt_id:\t15\nino:\t1057\n"),
            None
        );
        assert_eq!(Queue::parse("eventfd-count: 0\neventfd-id: 3\n"), None);
        assert_eq!(Queue::parse("no colon\n"), None);
    }

    #[test]
    fn half_a_queue_is_none() {
        let end = QUEUE.find("woken").unwrap();

        assert_eq!(Queue::parse(&QUEUE[..end]), None);
        assert_eq!(
            Queue::parse(&QUEUE.replace("posted:\t10", "posted:\tten")),
            None
        );
    }
}
