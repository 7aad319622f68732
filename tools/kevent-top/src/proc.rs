// SPDX-License-Identifier: MIT

//! The queues of processes, from /proc.

use crate::fdinfo::Queue;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

/// A descriptor of a queue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Entry {
    /// The process.
    pub pid: u32,
    /// Its name.
    pub command: String,
    /// The descriptor.
    pub fd: u32,
    /// The queue behind it, which others may have too.
    #[serde(flatten)]
    pub queue: Queue,
}

/// What was found.
#[derive(Debug, Default)]
pub struct Found {
    /// In the order of processes and descriptors.
    pub entries: Vec<Entry>,
    /// So many processes may not be looked into.
    pub hidden: usize,
}

/// All queues of a process, or of all there are. Processes that end meanwhile are passed over.
///
/// # Errors
///
/// `proc` cannot be read, or the process is not there or may not be looked into.
pub fn queues(proc: &Path, pid: Option<u32>) -> io::Result<Found> {
    let mut found = Found::default();

    if let Some(pid) = pid {
        found.entries = of_process(proc, pid)?;
        return Ok(found);
    }
    for pid in numbers(proc)? {
        match of_process(proc, pid) {
            Ok(entries) => found.entries.extend(entries),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => found.hidden += 1,
            Err(_) => {}
        }
    }
    Ok(found)
}

fn of_process(proc: &Path, pid: u32) -> io::Result<Vec<Entry>> {
    let folder = proc.join(pid.to_string());
    let mut entries = Vec::new();

    for fd in numbers(&folder.join("fd"))? {
        // Reading fdinfo of everything would be slow; the name says what may be a queue.
        let name = fs::read_link(folder.join("fd").join(fd.to_string()));
        if !name.is_ok_and(|name| name.as_os_str() == "anon_inode:[kevent]") {
            continue;
        }
        let text = fs::read_to_string(folder.join("fdinfo").join(fd.to_string()));
        if let Some(queue) = text.ok().and_then(|text| Queue::parse(&text)) {
            let command = fs::read_to_string(folder.join("comm")).unwrap_or_default();
            let command = command.trim_end().escape_default().to_string();
            entries.push(Entry {
                pid,
                command,
                fd,
                queue,
            });
        }
    }
    Ok(entries)
}

/// The names in a folder that are numbers, sorted.
fn numbers(folder: &Path) -> io::Result<Vec<u32>> {
    let mut numbers: Vec<u32> = fs::read_dir(folder)?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .collect();

    numbers.sort_unstable();
    Ok(numbers)
}

/// What each queue has done since `before`, by its id; a queue is there once, however many
/// descriptors it has.
pub fn since<'a>(before: &'a [Entry], now: &'a [Entry]) -> BTreeMap<u64, Queue> {
    let old: BTreeMap<u64, &Queue> = before.iter().map(|e| (e.queue.id, &e.queue)).collect();

    now.iter()
        .map(|entry| {
            let mut queue = entry.queue.clone();
            if let Some(old) = old.get(&queue.id) {
                queue.posted = queue.posted.wrapping_sub(old.posted);
                queue.merged = queue.merged.wrapping_sub(old.merged);
                queue.deferred = queue.deferred.wrapping_sub(old.deferred);
                queue.woken = queue.woken.wrapping_sub(old.woken);
                queue.saved = queue.saved.saturating_sub(old.saved);
            }
            (queue.id, queue)
        })
        .collect()
}
