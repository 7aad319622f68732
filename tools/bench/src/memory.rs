// SPDX-License-Identifier: GPL-2.0-only

//! The memory of a watch: by how much the machine's free memory shrinks when 16 instances of an
//! interface watch 1024 files each, divided by the number of watches. No two watch the same file.
//!
//! Nothing is left out of this: tables and lists that grow with the watches are in it, as is what an
//! allocator loses. The instances themselves are not, they are there before. What the kernel allocates
//! for the first instances of all, half a megabyte, is in no figure: they are made once before.

use anyhow::{Context, Result};
use rustix::param::page_size;
use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use crate::api::Kind;
use crate::ends::{Ends, Source};
use crate::plan::WATCHED;

const INSTANCES: usize = 16;

/// How long to wait between two looks at free memory, how many of the same are enough, and how many
/// looks are too many.
const PAUSE: Duration = Duration::from_secs(1);
const ENOUGH: u32 = 8;
const PATIENCE: u32 = 100;

/// Bytes for each watch.
pub fn per_watch(kind: Kind, source: Source) -> Result<f64> {
    static FIRST: AtomicBool = AtomicBool::new(true);

    if FIRST.swap(false, Ordering::Relaxed) {
        measure(kind, source)?;
    }
    measure(kind, source)
}

fn measure(kind: Kind, source: Source) -> Result<f64> {
    let mut instances = (0..INSTANCES)
        .map(|_| Ok((kind.open(1)?, Ends::new(source, WATCHED)?)))
        .collect::<Result<Vec<_>>>()?;
    let before = settled()?;

    for (instance, ends) in &mut instances {
        instance.add_all(ends)?;
    }
    let taken = before as f64 - settled()? as f64;

    Ok(taken / (INSTANCES * WATCHED) as f64)
}

/// Free memory once it no longer changes: what was closed is often freed only some time later.
pub fn settled() -> Result<u64> {
    let (mut last, mut same) = (free()?, 0);

    for _ in 0..PATIENCE {
        thread::sleep(PAUSE);
        let now = free()?;

        same = if now == last { same + 1 } else { 0 };
        if same == ENOUGH {
            break;
        }
        last = now;
    }
    Ok(last)
}

/// Free memory of the machine, in bytes, with what the processors keep at hand.
fn free() -> Result<u64> {
    let text = fs::read_to_string("/proc/zoneinfo").context("/proc/zoneinfo")?;

    Ok(free_pages(&text) * page_size() as u64)
}

fn free_pages(text: &str) -> u64 {
    let pages = |line: &str| {
        let line = line.trim();
        let number = line
            .strip_prefix("pages free")
            .or_else(|| line.strip_prefix("count:"))?;

        number.trim().parse::<u64>().ok()
    };

    text.lines().filter_map(pages).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages() {
        let text = "Node 0, zone      DMA\n  pages free     3840\n        boost    0\n\
                    \x20   nr_free_pages 3840\n  pagesets\n    cpu: 0\n              count:    12\n\
                    \x20             high:     0\nNode 0, zone    DMA32\n  pages free     100\n";

        assert_eq!(free_pages(text), 3840 + 12 + 100);
        assert!(free().unwrap() > 0);
    }
}
