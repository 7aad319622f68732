// SPDX-License-Identifier: MIT

//! The table.

use crate::fdinfo::Queue;
use crate::proc::Entry;
use comfy_table::{CellAlignment, Table, presets};
use std::collections::BTreeMap;

const COLUMNS: [&str; 13] = [
    "PID", "COMMAND", "FD", "QUEUE", "RING", "WATCHES", "POSTED", "MERGED", "DEFERRED", "WOKEN",
    "SAVED", "BACKLOG", "ASLEEP",
];
/// The columns that are text.
const TEXT: [usize; 2] = [1, 5];

/// One line for each descriptor, with the counts of `counts`: those since the queue was made, or those
/// of an interval.
pub fn table(entries: &[Entry], counts: &BTreeMap<u64, Queue>) -> String {
    let mut table = Table::new();

    table.load_preset(presets::NOTHING).set_header(COLUMNS);
    for entry in entries {
        let queue = counts.get(&entry.queue.id).unwrap_or(&entry.queue);
        table.add_row([
            entry.pid.to_string(),
            entry.command.clone(),
            entry.fd.to_string(),
            queue.id.to_string(),
            queue.entries.to_string(),
            watches(&queue.watches),
            queue.posted.to_string(),
            queue.merged.to_string(),
            queue.deferred.to_string(),
            queue.woken.to_string(),
            queue.saved.to_string(),
            queue.backlog.to_string(),
            queue.waiters.to_string(),
        ]);
    }
    for (nr, column) in table.column_iter_mut().enumerate() {
        column.set_padding((0, 1));
        if !TEXT.contains(&nr) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table.trim_fmt()
}

fn watches(by_class: &BTreeMap<String, u64>) -> String {
    if by_class.is_empty() {
        return "-".to_string();
    }
    let parts: Vec<String> = by_class
        .iter()
        .map(|(class, n)| format!("{n} {class}"))
        .collect();

    parts.join(", ")
}
