// SPDX-License-Identifier: GPL-2.0-only

//! Checks that a patched tree gives every kevent system call its place in
//! every system call table.
//!
//! No number is known here. Which calls there are, and which numbers they
//! have, is read from the tree, from places that must all agree: the tables,
//! the generic `unistd.h`, the prototypes, `sys_ni.c` and the definitions. The
//! offset and the ABI word that a table uses are taken from the call before
//! the first kevent call, which the base kernel has in every table.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use anyhow::{bail, Context, Result};
use regex::Regex;
use walkdir::WalkDir;

use crate::report::TestResult;

/// What all our calls begin with.
pub const PREFIX: &str = "kevent_";
/// The generic list of numbers.
const UNISTD: &str = "include/uapi/asm-generic/unistd.h";
/// The prototypes.
const PROTOTYPES: &str = "include/linux/syscalls.h";
/// What answers when the subsystem is not built.
const SYS_NI: &str = "kernel/sys_ni.c";
/// Where the calls are defined.
const SOURCE: &str = "kernel/kevent";
/// The tables that programs on x86 meet, for the checks on the live kernel.
pub const X86_64: &str = "arch/x86/entry/syscalls/syscall_64.tbl";
/// The table of 32-bit programs on x86.
pub const I386: &str = "arch/x86/entry/syscalls/syscall_32.tbl";

/// One row of a system call table.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Row {
    line: usize,
    number: u32,
    abi: String,
    name: String,
    entry: Option<String>,
    compat: Option<String>,
}

/// A system call and its number in one table.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Call {
    /// The name without `sys_`.
    pub name: String,
    /// The number in this table.
    pub number: u32,
}

/// Everything that was found, and what is wrong with it.
#[derive(Debug)]
pub struct Checked {
    /// One result a file.
    pub results: Vec<TestResult>,
    /// The calls of the x86_64 table, by number.
    pub x86_64: Vec<Call>,
    /// The calls of the i386 table, by number.
    pub i386: Vec<Call>,
}

/// The generic `unistd.h`.
struct Unistd {
    numbers: BTreeMap<String, u32>,
    problems: Vec<String>,
    /// The call before the first kevent call, and its number.
    reference: Option<(String, u32)>,
}

fn is_ours(name: &str) -> bool {
    name.starts_with(PREFIX)
}

fn read(tree: &Path, file: &str) -> Result<String> {
    fs::read_to_string(tree.join(file))
        .with_context(|| format!("{file} cannot be read: is --tree a kernel tree?"))
}

/// All `syscall*.tbl` below `dir`, relative to the tree; no symbolic links,
/// which repeat another table.
fn find_tables(tree: &Path, dir: &str) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for entry in WalkDir::new(tree.join(dir)) {
        let entry = entry.with_context(|| format!("cannot search {dir} for tables"))?;
        let name = entry.file_name().to_string_lossy();
        if entry.file_type().is_file() && name.starts_with("syscall") && name.ends_with(".tbl") {
            let path = entry.path().strip_prefix(tree)?;
            found.push(path.to_string_lossy().into_owned());
        }
    }
    found.sort();
    Ok(found)
}

/// The tables that kernels are built with.
fn kernel_tables(tree: &Path) -> Result<Vec<String>> {
    let mut tables = find_tables(tree, "arch")?;
    tables.extend(find_tables(tree, "scripts")?);
    if tables.is_empty() {
        bail!("no syscall*.tbl under arch/ or scripts/: is --tree a kernel tree?");
    }
    Ok(tables)
}

fn parse_table(text: &str) -> (Vec<Row>, Vec<String>) {
    let mut rows = Vec::new();
    let mut problems = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line_number = index + 1;
        let content = line.split('#').next().unwrap_or("");
        let words: Vec<&str> = content.split_whitespace().collect();
        let [number, abi, name, rest @ ..] = words.as_slice() else {
            if !words.is_empty() {
                problems.push(format!("line {line_number} has too few columns: {line}"));
            }
            continue;
        };
        let Ok(number) = number.parse() else {
            problems.push(format!(
                "line {line_number} does not begin with a number: {line}"
            ));
            continue;
        };
        let column = |i: usize| rest.get(i).filter(|w| **w != "-").map(|w| (*w).to_string());
        rows.push(Row {
            line: line_number,
            number,
            abi: (*abi).to_string(),
            name: (*name).to_string(),
            entry: column(0),
            compat: column(1),
        });
    }
    (rows, problems)
}

/// Two rows serve the same programs.
fn same_abi(a: &Row, b: &Row) -> bool {
    a.abi == b.abi || a.abi == "common" || b.abi == "common"
}

/// Numbers and names that collide with one of ours.
fn collisions(rows: &[Row]) -> Vec<String> {
    let mut problems = Vec::new();
    for (i, a) in rows.iter().enumerate() {
        for b in &rows[i + 1..] {
            let ours = is_ours(&a.name) || is_ours(&b.name);
            // Programs of one ABI may share a number with those of another, but
            // no other call has one of ours.
            if !(ours || same_abi(a, b)) {
                continue;
            }
            if a.name == b.name {
                problems.push(format!(
                    "{} is there twice, in lines {} and {}",
                    a.name, a.line, b.line
                ));
            } else if a.number == b.number {
                problems.push(format!(
                    "number {} is used by {} (line {}) and {} (line {})",
                    a.number, a.name, a.line, b.name, b.line
                ));
            }
        }
    }
    problems
}

/// One table against the generic list.
fn check_table(text: &str, calls: &BTreeSet<String>, unistd: &Unistd) -> Vec<String> {
    let (rows, mut problems) = parse_table(text);
    problems.extend(collisions(&rows));

    let reference = unistd.reference.as_ref().and_then(|(name, number)| {
        let row = rows.iter().find(|r| r.name == *name);
        if row.is_none() {
            problems.push(format!(
                "{name}, the call before the first {PREFIX}*, is missing, so number and ABI cannot be derived"
            ));
        }
        row.map(|row| (row, i64::from(row.number) - i64::from(*number)))
    });

    for call in calls {
        let Some(row) = rows.iter().find(|r| r.name == *call) else {
            problems.push(format!("{call} is missing"));
            continue;
        };
        if let Some((like, offset)) = reference {
            if row.abi != like.abi {
                problems.push(format!(
                    "{call} (line {}) has ABI {}, but {} has {}",
                    row.line, row.abi, like.name, like.abi
                ));
            }
            if let Some(generic) = unistd.numbers.get(call) {
                let wanted = i64::from(*generic) + offset;
                if i64::from(row.number) != wanted {
                    problems.push(format!(
                        "{call} (line {}) has number {}, but must have {wanted}",
                        row.line, row.number
                    ));
                }
            }
        }
        let wanted = format!("sys_{call}");
        match &row.entry {
            Some(entry) if *entry == wanted => {}
            Some(entry) => problems.push(format!(
                "{call} (line {}) has entry point {entry}, not {wanted}",
                row.line
            )),
            None => problems.push(format!("{call} (line {}) has no entry point", row.line)),
        }
        if let Some(compat) = &row.compat {
            problems.push(format!(
                "{call} (line {}) has a compat entry point, {compat}; kevent has none",
                row.line
            ));
        }
    }
    problems
}

static DEFINE_NR: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"(?m)^\s*#\s*define\s+__NR_(\w+)\s+(\d+)\s*$").unwrap());
static USE_NR: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"(?m)^\s*__SYSCALL\(\s*__NR_(\w+)\s*,\s*(\w+)\s*\)").unwrap());
static PROTOTYPE: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"asmlinkage\s+long\s+sys_(kevent_\w+)\s*\(([^)]*)\)").unwrap());
static COND_SYSCALL: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"(?m)^\s*COND_SYSCALL(\w*)\(\s*(kevent_\w+)\s*\)").unwrap());
static DEFINITION: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"SYSCALL_DEFINE(\d)\(\s*(kevent_\w+)").unwrap());
static COMMENT: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"(?s)/\*.*?\*/|//[^\n]*").unwrap());

/// C source without its comments.
fn without_comments(text: &str) -> String {
    COMMENT.replace_all(text, " ").into_owned()
}

fn parse_unistd(text: &str) -> Unistd {
    let text = without_comments(text);
    let mut numbers = BTreeMap::new();
    let mut problems = Vec::new();
    let mut end = None;
    let mut others: BTreeMap<u32, String> = BTreeMap::new();
    for c in DEFINE_NR.captures_iter(&text) {
        let name = c[1].to_string();
        let Ok(number) = c[2].parse::<u32>() else {
            problems.push(format!("__NR_{name} is no number: {}", &c[2]));
            continue;
        };
        if name == "syscalls" {
            end = Some(number);
        } else if is_ours(&name) {
            if numbers.insert(name.clone(), number).is_some() {
                problems.push(format!("__NR_{name} is defined twice"));
            }
        } else {
            others.insert(number, name);
        }
    }

    let mut by_number: BTreeMap<u32, &String> = BTreeMap::new();
    for (name, number) in &numbers {
        if let Some(other) = others.get(number).or(by_number.get(number).copied()) {
            problems.push(format!("number {number} is used by {name} and {other}"));
        }
        by_number.insert(*number, name);
    }
    if let (Some(first), Some(last)) = (by_number.keys().next(), by_number.keys().next_back()) {
        if (last - first + 1) as usize != by_number.len() {
            problems.push(format!(
                "the numbers of {PREFIX}* have gaps between {first} and {last}"
            ));
        }
    }

    for name in numbers.keys() {
        let uses: Vec<_> = USE_NR
            .captures_iter(&text)
            .filter(|c| &c[1] == name.as_str())
            .collect();
        match uses.as_slice() {
            [one] if one[2] == format!("sys_{name}") => {}
            [one] => problems.push(format!(
                "__NR_{name} is served by {}, not sys_{name}",
                &one[2]
            )),
            [] => problems.push(format!("no line __SYSCALL(__NR_{name}, sys_{name})")),
            _ => problems.push(format!("more than one __SYSCALL line for {name}")),
        }
    }

    let last = by_number
        .keys()
        .chain(others.keys())
        .max()
        .copied()
        .unwrap_or(0);
    match end {
        Some(end) if end == last + 1 => {}
        Some(end) => problems.push(format!(
            "__NR_syscalls is {end}, but must be {}, the last number + 1",
            last + 1
        )),
        None => problems.push("__NR_syscalls is not defined".into()),
    }

    let reference = by_number
        .first_key_value()
        .and_then(|(first, _)| others.range(..*first).next_back())
        .map(|(number, name)| (name.clone(), *number));
    Unistd {
        numbers,
        problems,
        reference,
    }
}

/// Names in the order found, with what was said about each.
type Found = Vec<(String, String)>;

/// A set that must hold each call exactly once.
fn check_set(found: &Found, calls: &BTreeSet<String>, what: &str) -> Vec<String> {
    let mut problems = Vec::new();
    for call in calls {
        match found.iter().filter(|(name, _)| name == call).count() {
            0 => problems.push(format!("no {what} for {call}")),
            1 => {}
            n => problems.push(format!("{n} times a {what} for {call}")),
        }
    }
    problems
}

/// The number of parameters in a C parameter list.
fn count_parameters(list: &str) -> usize {
    match list.trim() {
        "" | "void" => 0,
        list => list.split(',').count(),
    }
}

fn prototypes(text: &str) -> Found {
    PROTOTYPE
        .captures_iter(&without_comments(text))
        .map(|c| (c[1].to_string(), count_parameters(&c[2]).to_string()))
        .collect()
}

fn cond_syscalls(text: &str) -> (Found, Vec<String>) {
    let text = without_comments(text);
    let mut found = Found::new();
    let mut problems = Vec::new();
    for c in COND_SYSCALL.captures_iter(&text) {
        if c[1].is_empty() {
            found.push((c[2].to_string(), String::new()));
        } else {
            problems.push(format!(
                "COND_SYSCALL{} for {}, which has no compat entry point",
                &c[1], &c[2]
            ));
        }
    }
    (found, problems)
}

fn definitions(tree: &Path) -> Result<Found> {
    let mut found = Found::new();
    if !tree.join(SOURCE).is_dir() {
        return Ok(found);
    }
    for entry in WalkDir::new(tree.join(SOURCE)).sort_by_file_name() {
        let entry = entry.with_context(|| format!("cannot search {SOURCE}"))?;
        if entry.path().extension().is_some_and(|e| e == "c") {
            let text = fs::read_to_string(entry.path())
                .with_context(|| format!("cannot read {}", entry.path().display()))?;
            found.extend(
                DEFINITION
                    .captures_iter(&without_comments(&text))
                    .map(|c| (c[2].to_string(), c[1].to_string())),
            );
        }
    }
    Ok(found)
}

/// Tables and headers under tools/ that are copies; their owners sync them.
fn copies(tree: &Path) -> Result<Vec<String>> {
    let mut copies: Vec<String> = [
        "tools/scripts/syscall.tbl",
        "tools/include/uapi/asm-generic/unistd.h",
    ]
    .into_iter()
    .filter(|f| tree.join(f).is_file())
    .map(String::from)
    .collect();
    if tree.join("tools/perf/arch").is_dir() {
        copies.extend(find_tables(tree, "tools/perf/arch")?);
    }
    Ok(copies)
}

/// The calls of ours in one table, by number.
fn calls_of(tree: &Path, table: &str) -> Vec<Call> {
    let text = fs::read_to_string(tree.join(table)).unwrap_or_default();
    let mut calls: Vec<Call> = parse_table(&text)
        .0
        .into_iter()
        .filter(|row| is_ours(&row.name))
        .map(|row| Call {
            name: row.name,
            number: row.number,
        })
        .collect();
    calls.sort_by_key(|call| call.number);
    calls
}

/// The file names of all results that [`check`] gives, without reading them.
pub fn names(tree: &Path) -> Result<Vec<String>> {
    let mut names: Vec<String> = [UNISTD, PROTOTYPES, SYS_NI, SOURCE]
        .map(String::from)
        .into();
    names.extend(kernel_tables(tree)?);
    names.push("tools".into());
    Ok(names.into_iter().map(|n| format!("tables:{n}")).collect())
}

/// Runs all checks on the tree.
pub fn check(tree: &Path) -> Result<Checked> {
    let tables = kernel_tables(tree)?
        .into_iter()
        .map(|table| Ok((read(tree, &table)?, table)))
        .collect::<Result<Vec<_>>>()?;
    let mut unistd = parse_unistd(&read(tree, UNISTD)?);
    let protos = prototypes(&read(tree, PROTOTYPES)?);
    let (conds, cond_problems) = cond_syscalls(&read(tree, SYS_NI)?);
    let defs = definitions(tree)?;

    // A call that any of the places knows, all must know.
    let mut calls: BTreeSet<String> = unistd.numbers.keys().cloned().collect();
    for found in [&protos, &conds, &defs] {
        calls.extend(found.iter().map(|(name, _)| name.clone()));
    }
    for (text, _) in &tables {
        let rows = parse_table(text).0;
        calls.extend(rows.into_iter().map(|r| r.name).filter(|n| is_ours(n)));
    }

    let none = || format!("no {PREFIX}* system call: is the series applied to this tree?");
    let mut results = Vec::new();
    let mut add = |name: &str, mut problems: Vec<String>| {
        if calls.is_empty() && name != "tools" {
            problems.insert(0, none());
        }
        results.push(TestResult::from_problems(
            format!("tables:{name}"),
            problems,
        ));
    };

    for call in &calls {
        if !unistd.numbers.contains_key(call) {
            unistd.problems.push(format!("__NR_{call} is missing"));
        }
    }
    add(UNISTD, std::mem::take(&mut unistd.problems));

    add(PROTOTYPES, check_set(&protos, &calls, "prototype"));

    let mut problems = check_set(&conds, &calls, "COND_SYSCALL");
    problems.extend(cond_problems);
    add(SYS_NI, problems);

    let mut problems = check_set(&defs, &calls, "SYSCALL_DEFINE");
    for (name, count) in &defs {
        let wanted = protos.iter().find(|(n, _)| n == name).map(|(_, w)| w);
        if let Some(wanted) = wanted.filter(|w| *w != count) {
            problems.push(format!(
                "SYSCALL_DEFINE{count}({name}), but its prototype has {wanted} parameters"
            ));
        }
    }
    add(SOURCE, problems);

    for (text, table) in &tables {
        add(table, check_table(text, &calls, &unistd));
    }

    let mut problems = Vec::new();
    let copies = copies(tree)?;
    if copies.is_empty() {
        problems.push("no copy of a table found under tools/: is this a whole tree?".into());
    }
    for copy in copies {
        if read(tree, &copy)?.contains("kevent") {
            problems.push(format!(
                "{copy} knows kevent: the copies are synced by their owners, take it out of the series"
            ));
        }
    }
    add("tools", problems);

    Ok(Checked {
        results,
        x86_64: calls_of(tree, X86_64),
        i386: calls_of(tree, I386),
    })
}

/// Checks that `tree` is a kernel tree and makes the path absolute.
pub fn tree_dir(tree: &Path) -> Result<PathBuf> {
    let tree = fs::canonicalize(tree)
        .with_context(|| format!("--tree {}: no such directory", tree.display()))?;
    if !tree.join("Kbuild").is_file() || !tree.join(UNISTD).is_file() {
        bail!("--tree {}: not a kernel tree", tree.display());
    }
    Ok(tree)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ktap::Outcome;

    const CALLS: [&str; 3] = ["kevent_create", "kevent_add", "kevent_wait"];
    /// Deliberately not the real numbers: none may be built in.
    const FIRST: u32 = 880;
    const TABLES: [(&str, u32, &str); 6] = [
        ("arch/alpha/kernel/syscalls/syscall.tbl", 110, "common"),
        ("arch/mips/kernel/syscalls/syscall_n32.tbl", 0, "n32"),
        ("arch/mips/kernel/syscalls/syscall_o32.tbl", 0, "o32"),
        (I386, 0, "i386"),
        (X86_64, 0, "common"),
        ("scripts/syscall.tbl", 0, "common"),
    ];

    struct Tree(tempfile::TempDir);

    impl Tree {
        fn new() -> Self {
            let tree = Tree(tempfile::tempdir().unwrap());
            tree.write("Kbuild", "");
            for (file, offset, abi) in TABLES {
                let mut text = format!(
                    "# a comment\n{}\t{abi}\tread\tsys_read\n{}\t{abi}\tbefore\tsys_before\n",
                    offset,
                    FIRST - 1 + offset
                );
                for (i, call) in CALLS.iter().enumerate() {
                    let number = FIRST + offset + i as u32;
                    text += &format!("{number}\t{abi}\t{call}\tsys_{call}\n");
                }
                if file == X86_64 {
                    text = text.replacen("common", "64", 1);
                    text += "512\tx32\tread\tcompat_sys_read\n";
                }
                tree.write(file, &text);
            }
            let mut unistd = format!(
                "#define __NR_read 0\n__SYSCALL(__NR_read, sys_read)\n\
                 #define __NR_before {}\n__SYSCALL(__NR_before, sys_before)\n",
                FIRST - 1
            );
            let mut protos = String::from("asmlinkage long sys_read(int fd);\n");
            let mut conds = String::from("COND_SYSCALL(read);\n");
            let mut defs = String::new();
            for (i, call) in CALLS.iter().enumerate() {
                let number = FIRST + i as u32;
                unistd +=
                    &format!("#define __NR_{call} {number}\n__SYSCALL(__NR_{call}, sys_{call})\n");
                protos += &format!("asmlinkage long sys_{call}(int fd,\n\t\tsize_t n);\n");
                conds += &format!("COND_SYSCALL({call});\n");
                defs += &format!("SYSCALL_DEFINE2({call}, int, fd, size_t, n)\n{{\n}}\n");
            }
            unistd += &format!(
                "#undef __NR_syscalls\n#define __NR_syscalls {}\n",
                FIRST + 3
            );
            tree.write(UNISTD, &unistd);
            tree.write(PROTOTYPES, &protos);
            tree.write(SYS_NI, &conds);
            tree.write("kernel/kevent/syscalls.c", &defs);
            tree.write("tools/scripts/syscall.tbl", "0\tcommon\tread\tsys_read\n");
            tree.write(
                "tools/perf/arch/x86/entry/syscalls/syscall_64.tbl",
                "0\tcommon\tread\tsys_read\n",
            );
            tree
        }

        fn write(&self, file: &str, text: &str) {
            let path = self.0.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }

        fn edit(&self, file: &str, from: &str, to: &str) -> &Self {
            let text = fs::read_to_string(self.0.path().join(file)).unwrap();
            assert!(text.contains(from), "{file} has no {from:?}");
            self.write(file, &text.replace(from, to));
            self
        }

        /// All problems, as `file: problem`.
        fn problems(&self) -> Vec<String> {
            check(self.0.path())
                .unwrap()
                .results
                .iter()
                .filter(|r| r.outcome == Outcome::Fail)
                .flat_map(|r| {
                    let name = r.name.trim_start_matches("tables:").to_string();
                    r.problems().map(move |p| format!("{name}: {p}"))
                })
                .collect()
        }
    }

    #[test]
    fn whole_tree_is_good() {
        let tree = Tree::new();
        assert_eq!(tree.problems(), Vec::<String>::new());
        let checked = check(tree.0.path()).unwrap();
        let names: Vec<_> = checked.results.iter().map(|r| r.name.clone()).collect();
        assert_eq!(names, super::names(tree.0.path()).unwrap());
        assert_eq!(checked.results.len(), TABLES.len() + 5);
        assert_eq!(checked.x86_64[0].number, FIRST);
        assert_eq!(checked.x86_64[1].name, "kevent_add");
        assert_eq!(checked.i386.len(), 3);
    }

    #[test]
    fn symbolic_links_are_no_tables() {
        let tree = Tree::new();
        std::os::unix::fs::symlink(
            "../../../scripts/syscall.tbl",
            tree.0.path().join("arch/alpha/kernel/syscall_64.tbl"),
        )
        .unwrap();
        assert_eq!(find_tables(tree.0.path(), "arch").unwrap().len(), 5);
    }

    #[test]
    fn missing_row() {
        let tree = Tree::new();
        tree.edit(I386, "881\ti386\tkevent_add\tsys_kevent_add\n", "");
        assert_eq!(tree.problems(), [format!("{I386}: kevent_add is missing")]);
    }

    #[test]
    fn row_twice() {
        let tree = Tree::new();
        tree.edit(
            I386,
            "882\t",
            "881\ti386\tkevent_add\tsys_kevent_add\n882\t",
        );
        assert_eq!(
            tree.problems(),
            [format!(
                "{I386}: kevent_add is there twice, in lines 5 and 6"
            )]
        );
    }

    #[test]
    fn wrong_abi() {
        let tree = Tree::new();
        let table = "arch/mips/kernel/syscalls/syscall_n32.tbl";
        tree.edit(table, "n32\tkevent_wait", "n64\tkevent_wait");
        assert_eq!(
            tree.problems(),
            [format!(
                "{table}: kevent_wait (line 6) has ABI n64, but before has n32"
            )]
        );
    }

    #[test]
    fn wrong_number() {
        let tree = Tree::new();
        let table = "arch/alpha/kernel/syscalls/syscall.tbl";
        tree.edit(
            table,
            "992\tcommon\tkevent_wait",
            "882\tcommon\tkevent_wait",
        );
        assert_eq!(
            tree.problems(),
            [format!(
                "{table}: kevent_wait (line 6) has number 882, but must have 992"
            )]
        );
    }

    #[test]
    fn collision() {
        let tree = Tree::new();
        tree.edit(X86_64, "512\t", "881\t");
        assert_eq!(
            tree.problems(),
            [format!(
                "{X86_64}: number 881 is used by kevent_add (line 5) and read (line 7)"
            )]
        );
        let tree = Tree::new();
        tree.edit("scripts/syscall.tbl", "879\t", "880\t");
        assert!(
            tree.problems()[0].contains("number 880 is used by before (line 3) and kevent_create")
        );
    }

    #[test]
    fn wrong_entry_point() {
        let tree = Tree::new();
        tree.edit(
            I386,
            "sys_kevent_wait",
            "sys_kevent_wait\tcompat_sys_kevent_wait",
        )
        .edit(I386, "sys_kevent_add", "sys_kevent_ad")
        .edit(I386, "\tsys_kevent_create", "");
        assert_eq!(
            tree.problems(),
            [
                format!("{I386}: kevent_add (line 5) has entry point sys_kevent_ad, not sys_kevent_add"),
                format!("{I386}: kevent_create (line 4) has no entry point"),
                format!("{I386}: kevent_wait (line 6) has a compat entry point, compat_sys_kevent_wait; kevent has none"),
            ]
        );
    }

    #[test]
    fn reference_call_missing() {
        let tree = Tree::new();
        tree.edit(I386, "879\ti386\tbefore\tsys_before\n", "");
        assert!(
            tree.problems()[0].contains("before, the call before the first kevent_*, is missing")
        );
    }

    #[test]
    fn broken_lines() {
        let tree = Tree::new();
        tree.edit(I386, "879\t", "x879\t")
            .edit(I386, "# a comment", "12 i386");
        let problems = tree.problems();
        assert!(
            problems[0].contains("line 1 has too few columns"),
            "{problems:?}"
        );
        assert!(
            problems[1].contains("line 3 does not begin with a number"),
            "{problems:?}"
        );
    }

    #[test]
    fn generic_list() {
        let tree = Tree::new();
        tree.edit(UNISTD, "__NR_syscalls 883", "__NR_syscalls 882");
        assert_eq!(
            tree.problems(),
            [format!(
                "{UNISTD}: __NR_syscalls is 882, but must be 883, the last number + 1"
            )]
        );

        let tree = Tree::new();
        tree.edit(UNISTD, "__SYSCALL(__NR_kevent_add, sys_kevent_add)\n", "");
        assert_eq!(
            tree.problems(),
            [format!(
                "{UNISTD}: no line __SYSCALL(__NR_kevent_add, sys_kevent_add)"
            )]
        );

        let tree = Tree::new();
        tree.edit(UNISTD, "#define __NR_kevent_add 881\n", "");
        assert!(tree
            .problems()
            .contains(&format!("{UNISTD}: __NR_kevent_add is missing")));

        let tree = Tree::new();
        tree.edit(UNISTD, "__NR_kevent_add 881", "__NR_kevent_add 880");
        assert!(
            tree.problems().contains(&format!(
                "{UNISTD}: number 880 is used by kevent_create and kevent_add"
            )),
            "{:?}",
            tree.problems()
        );
    }

    #[test]
    fn prototype_missing_or_in_a_comment() {
        let tree = Tree::new();
        tree.edit(
            PROTOTYPES,
            "asmlinkage long sys_kevent_add(int fd,\n\t\tsize_t n);",
            "",
        );
        assert_eq!(
            tree.problems(),
            [format!("{PROTOTYPES}: no prototype for kevent_add")]
        );
        let tree = Tree::new();
        tree.edit(
            PROTOTYPES,
            "asmlinkage long sys_kevent_add",
            "/* asmlinkage long sys_kevent_add",
        )
        .edit(
            PROTOTYPES,
            "asmlinkage long sys_kevent_wait",
            "*/ asmlinkage long sys_kevent_wait",
        );
        assert_eq!(
            tree.problems(),
            [format!("{PROTOTYPES}: no prototype for kevent_add")]
        );
    }

    #[test]
    fn parameters_disagree() {
        let tree = Tree::new();
        tree.edit(
            "kernel/kevent/syscalls.c",
            "DEFINE2(kevent_add",
            "DEFINE3(kevent_add",
        );
        assert_eq!(
            tree.problems(),
            ["kernel/kevent: SYSCALL_DEFINE3(kevent_add), but its prototype has 2 parameters"]
        );
    }

    #[test]
    fn cond_syscall_missing() {
        let tree = Tree::new();
        tree.edit(
            SYS_NI,
            "COND_SYSCALL(kevent_wait);\n",
            "COND_SYSCALL_COMPAT(kevent_add);\n",
        );
        assert_eq!(
            tree.problems(),
            [
                format!("{SYS_NI}: no COND_SYSCALL for kevent_wait"),
                format!(
                    "{SYS_NI}: COND_SYSCALL_COMPAT for kevent_add, which has no compat entry point"
                ),
            ]
        );
    }

    #[test]
    fn call_known_in_one_place_only() {
        let tree = Tree::new();
        tree.edit(
            I386,
            "882\t",
            "883\ti386\tkevent_extra\tsys_kevent_extra\n882\t",
        );
        let problems = tree.problems();
        assert_eq!(problems.len(), TABLES.len() - 1 + 4, "{problems:?}");
    }

    #[test]
    fn touched_copy() {
        let tree = Tree::new();
        let copy = "tools/perf/arch/x86/entry/syscalls/syscall_64.tbl";
        tree.write(copy, "881\tcommon\tkevent_add\tsys_kevent_add\n");
        let problems = tree.problems();
        assert_eq!(problems.len(), 1);
        assert!(problems[0].starts_with(&format!("tools: {copy} knows kevent")));
    }

    #[test]
    fn unpatched_tree() {
        let tree = Tree::new();
        for file in TABLES.map(|t| t.0).iter().chain(&[
            UNISTD,
            PROTOTYPES,
            SYS_NI,
            "kernel/kevent/syscalls.c",
        ]) {
            let text = fs::read_to_string(tree.0.path().join(file)).unwrap();
            let kept: Vec<_> = text.lines().filter(|l| !l.contains("kevent")).collect();
            tree.write(file, &kept.join("\n"));
        }
        let problems = tree.problems();
        assert!(
            problems
                .iter()
                .all(|p| p.contains("is the series applied") || p.contains("__NR_syscalls")),
            "{problems:?}"
        );
        assert!(problems.len() >= TABLES.len() + 4);
    }

    #[test]
    fn not_a_tree() {
        let dir = tempfile::tempdir().unwrap();
        assert!(tree_dir(dir.path())
            .unwrap_err()
            .to_string()
            .contains("not a kernel tree"));
        assert!(tree_dir(Path::new("/no/such/dir"))
            .unwrap_err()
            .to_string()
            .contains("no such directory"));
    }
}
