// SPDX-License-Identifier: GPL-2.0-only

//! The kernel's functions by address, from `/proc/kallsyms`.

use anyhow::{Context, Result, ensure};
use std::fs;

/// Functions in order of their address.
pub struct Symbols {
    functions: Vec<(u64, String)>,
}

impl Symbols {
    /// Those of the running kernel.
    pub fn load() -> Result<Symbols> {
        let text = fs::read_to_string("/proc/kallsyms").context("/proc/kallsyms")?;
        let symbols = Symbols::parse(&text);

        ensure!(
            symbols
                .functions
                .last()
                .is_some_and(|(address, _)| *address > 0),
            "/proc/kallsyms shows no addresses"
        );
        Ok(symbols)
    }

    fn parse(text: &str) -> Symbols {
        let mut functions: Vec<_> = text.lines().filter_map(function).collect();

        // The first name of an address stays.
        functions.sort_by_key(|(address, _)| *address);
        functions.dedup_by_key(|(address, _)| *address);
        Symbols { functions }
    }

    /// The address of a function.
    pub fn address(&self, name: &str) -> Option<u64> {
        self.functions
            .iter()
            .find_map(|(address, other)| (other == name).then_some(*address))
    }

    /// The symbol of the function that the instruction at this address belongs to; none below the
    /// first.
    pub fn name(&self, address: u64) -> Option<&str> {
        let after = self
            .functions
            .partition_point(|(start, _)| *start <= address);

        Some(&self.functions[after.checked_sub(1)?].1)
    }
}

/// The name of a function for people.
pub fn readable(symbol: &str) -> String {
    format!("{:#}", rustc_demangle::demangle(symbol))
}

/// Address and name, if the line is about a function.
fn function(line: &str) -> Option<(u64, String)> {
    let mut words = line.split_whitespace();
    let address = u64::from_str_radix(words.next()?, 16).ok()?;

    matches!(words.next()?, "t" | "T" | "w" | "W").then_some(())?;
    Some((address, words.next()?.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lookup() {
        let symbols = Symbols::parse(
            "0000000000000010 D data\n\
             ffffffff81000200 t second\n\
             ffffffff81000100 T first\n\
             ffffffff81000100 T alias\n\
             ffffffff81000180 b bss\n\
             nonsense\n",
        );

        assert_eq!(symbols.address("second"), Some(0xffff_ffff_8100_0200));
        assert_eq!(symbols.address("bss"), None);
        assert_eq!(symbols.name(0xffff_ffff_8100_0100), Some("first"));
        assert_eq!(symbols.name(0xffff_ffff_8100_01ff), Some("first"));
        assert_eq!(symbols.name(u64::MAX), Some("second"));
        assert_eq!(symbols.name(0x1000), None);
    }

    #[test]
    fn names_for_people() {
        let symbol = "_RNvMNtCs758sqMw53W3_6kevent4ringNtB2_4Ring7publish";

        assert_eq!(readable(symbol), "<kevent::ring::Ring>::publish");
        assert_eq!(readable("eventfd_write"), "eventfd_write");
    }
}
