// SPDX-License-Identifier: GPL-2.0-only

//! `kernel-tree-overlay/`: every file the series adds, at its kernel path.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{bail, Context, Result};

use crate::git::Git;
use crate::patches::write_if_changed;

/// Mode and blob, as `git ls-tree` has them.
pub type Entry = (String, String);

/// The repository with the patches and the overlay.
pub struct Project {
    pub patches: PathBuf,
    pub overlay: PathBuf,
}

impl Project {
    pub fn open(dir: &Path) -> Result<Self> {
        if !dir.is_dir() {
            bail!("{} is no folder", dir.display());
        }
        Ok(Project {
            patches: dir.join("patches"),
            overlay: dir.join("kernel-tree-overlay"),
        })
    }

    /// The overlay's files, as objects in the tree's repository.
    pub fn overlay(&self, git: &Git) -> Result<BTreeMap<String, Entry>> {
        let mut paths = Vec::new();
        walk(&self.overlay, &mut paths)?;
        let list: String = paths
            .iter()
            .map(|path| format!("{}\n", path.display()))
            .collect();
        let blobs = git.run_with(
            &["hash-object", "-w", "--no-filters", "--stdin-paths"],
            list.as_bytes(),
        )?;
        let mut files = BTreeMap::new();
        for (path, blob) in paths.iter().zip(blobs.lines()) {
            let name = path
                .strip_prefix(&self.overlay)?
                .to_str()
                .context("a file name is not UTF-8")?;
            let executable = fs::metadata(path)?.permissions().mode() & 0o100 != 0;
            let mode = if executable { "100755" } else { "100644" };
            files.insert(name.to_owned(), (mode.to_owned(), blob.to_owned()));
        }
        Ok(files)
    }

    /// Make the overlay exactly the files that the series adds.  Returns how many files changed.
    pub fn write_overlay(&self, git: &Git, base: &str, tip: &str) -> Result<usize> {
        let files = added(git, base, tip)?;
        let old = self.overlay(git)?;
        let names: BTreeSet<&String> = old.keys().chain(files.keys()).collect();
        let mut changed = 0;
        for name in names {
            if old.get(name) != files.get(name) {
                self.write_file(git, name, files.get(name))?;
                changed += 1;
            }
        }
        Ok(changed)
    }

    /// Give one file of the overlay this content, or none.
    pub fn write_file(&self, git: &Git, name: &str, entry: Option<&Entry>) -> Result<()> {
        let path = self.overlay.join(name);
        let Some((mode, blob)) = entry else {
            fs::remove_file(&path)?;
            // Folders that became empty; the first that did not ends it.
            let mut above = path
                .ancestors()
                .skip(1)
                .take_while(|folder| *folder != self.overlay);
            while above
                .next()
                .is_some_and(|folder| fs::remove_dir(folder).is_ok())
            {}
            return Ok(());
        };
        fs::create_dir_all(path.parent().unwrap_or(&self.overlay))?;
        write_if_changed(&path, &git.bytes(&["cat-file", "blob", blob], b"")?)?;
        let mode = if mode == "100755" { 0o755 } else { 0o644 };
        fs::set_permissions(&path, fs::Permissions::from_mode(mode))?;
        Ok(())
    }
}

/// All files below a folder, without what editors leave behind.
fn walk(dir: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    if !dir.is_dir() {
        return Ok(());
    }
    let mut entries: Vec<PathBuf> = fs::read_dir(dir)
        .with_context(|| format!("cannot read {}", dir.display()))?
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<_>>()?;
    entries.sort();
    for path in entries {
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let litter = ["~", ".orig", ".rej", ".swp", ".new"]
            .iter()
            .any(|end| name.ends_with(end));
        if path.is_dir() {
            walk(&path, files)?;
        } else if !litter && !name.starts_with(".#") && !name.starts_with(".checkpatch-") {
            files.push(path);
        }
    }
    Ok(())
}

/// The files that are in `tip` and not in `base`.
pub fn added(git: &Git, base: &str, tip: &str) -> Result<BTreeMap<String, Entry>> {
    let mut files = BTreeMap::new();
    for change in changes(git, base, tip)? {
        if change.status == 'A' {
            files.insert(change.name, change.new);
        }
    }
    Ok(files)
}

/// A file that differs between two commits or trees.
pub struct Change {
    pub status: char,
    pub name: String,
    pub old: Entry,
    pub new: Entry,
}

pub fn changes(git: &Git, from: &str, to: &str) -> Result<Vec<Change>> {
    let mut found = Vec::new();
    for line in git.lines(&[
        "diff-tree",
        "-r",
        "--raw",
        "--no-renames",
        "--no-abbrev",
        from,
        to,
    ])? {
        // :100644 100644 OLD NEW M<tab>name
        let (fields, name) = line
            .split_once('\t')
            .context("git diff-tree gives an odd line")?;
        let fields: Vec<&str> = fields.trim_start_matches(':').split(' ').collect();
        let &[old_mode, new_mode, old, new, status] = fields.as_slice() else {
            bail!("git diff-tree gives an odd line: {line}");
        };
        found.push(Change {
            status: status.chars().next().unwrap_or('?'),
            name: name.to_owned(),
            old: (old_mode.to_owned(), old.to_owned()),
            new: (new_mode.to_owned(), new.to_owned()),
        });
    }
    Ok(found)
}

/// A commit's or tree's entries for these files.
pub fn entries(git: &Git, tree: &str, names: &BTreeSet<String>) -> Result<BTreeMap<String, Entry>> {
    let mut found = BTreeMap::new();
    if names.is_empty() {
        return Ok(found);
    }
    let mut args = vec!["ls-tree", "-r", tree, "--"];
    args.extend(names.iter().map(String::as_str));
    for line in git.lines(&args)? {
        // 100644 blob HASH<tab>name
        let (fields, name) = line
            .split_once('\t')
            .context("git ls-tree gives an odd line")?;
        let fields: Vec<&str> = fields.split(' ').collect();
        if let &[mode, _, blob] = fields.as_slice() {
            found.insert(name.to_owned(), (mode.to_owned(), blob.to_owned()));
        }
    }
    Ok(found)
}
