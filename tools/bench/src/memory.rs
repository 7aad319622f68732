// SPDX-License-Identifier: GPL-2.0-only

//! The memory of a watch: by how much the machine's free memory shrinks when 100 instances of an
//! interface each watch all ends, divided by the number of watches.
//!
//! Nothing is left out of this: tables and lists that grow with the watches are in it, as is what an
//! allocator loses. The instances themselves are not, they are there before.

use anyhow::{Context, Result};
use std::fs;

use crate::api::Kind;
use crate::ends::Ends;

const INSTANCES: usize = 100;

/// Bytes for each watch.
pub fn per_watch(kind: Kind, ends: &Ends) -> Result<f64> {
    let mut instances = (0..INSTANCES)
        .map(|_| kind.open(1))
        .collect::<Result<Vec<_>>>()?;
    let before = free()?;

    for instance in &mut instances {
        instance.add_all(ends)?;
    }
    let taken = before as f64 - free()? as f64;

    Ok(taken / (INSTANCES * ends.len()) as f64)
}

/// Free memory of the machine, in bytes.
fn free() -> Result<u64> {
    let text = fs::read_to_string("/proc/meminfo").context("/proc/meminfo")?;

    field(&text, "MemFree").context("/proc/meminfo has no MemFree")
}

fn field(text: &str, name: &str) -> Option<u64> {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    let number: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;

    Some(number * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields() {
        let text = "MemTotal:       1000 kB\nMemFree:   12 kB\nMemFreeNot: x\n";

        assert_eq!(field(text, "MemFree"), Some(12288));
        assert_eq!(field(text, "MemTotal"), Some(1024000));
        assert_eq!(field(text, "MemFreeNot"), None);
        assert_eq!(field(text, "Mem"), None);
        assert!(free().unwrap() > 0);
    }
}
