// SPDX-License-Identifier: GPL-2.0-only

//! `patches/`: reading, applying, writing.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{bail, Context, Result};

use crate::git::Git;
use crate::scratch::Scratch;

/// The patch files, in order.
pub fn list(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    if dir.is_dir() {
        for entry in fs::read_dir(dir).with_context(|| format!("cannot read {}", dir.display()))? {
            let path = entry?.path();
            if path
                .extension()
                .is_some_and(|extension| extension == "patch")
            {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}

/// One word for the base and the content of all patches: when it changes, the series did.
pub fn key(git: &Git, base: &str, dir: &Path) -> Result<String> {
    let mut all = base.as_bytes().to_vec();
    for path in list(dir)? {
        all.extend(path.file_name().unwrap_or_default().as_encoded_bytes());
        all.extend(fs::read(&path)?);
    }
    git.run_with(&["hash-object", "--stdin"], &all)
}

/// The commit that `git am` of the patches gives on the base.
pub fn am(git: &Git, base: &str, dir: &Path) -> Result<String> {
    let patches = list(dir)?;
    if patches.is_empty() {
        return Ok(base.to_owned());
    }
    let mut files = BTreeSet::new();
    for path in &patches {
        let text = fs::read(path)?;
        for line in String::from_utf8_lossy(&text).lines() {
            let name = line
                .strip_prefix("--- a/")
                .or_else(|| line.strip_prefix("+++ b/"));
            files.extend(name.map(str::to_owned));
        }
    }
    let scratch = Scratch::new(git, base, &files)?;
    scratch.am(&patches, base)?;
    canonical(git, base, &scratch.head()?)
}

/// The same commits with the series' author and dates, and so with hashes that never churn.
pub fn canonical(git: &Git, base: &str, tip: &str) -> Result<String> {
    let mut parent = base.to_owned();
    for commit in commits(git, base, tip)? {
        let message = git.run(&["log", "-1", "--format=%B", &commit])?;
        let message = git.run_with(&["stripspace"], message.as_bytes())? + "\n";
        let subject = message.lines().next().unwrap_or_default();
        for prefix in ["fixup! ", "squash! ", "amend! "] {
            if subject.starts_with(prefix) {
                bail!(
                    "commit '{subject}' names no patch before it: reword it, or name the right one"
                );
            }
        }
        parent = git.commit_tree(&git.tree_of(&commit)?, &parent, &message)?;
    }
    Ok(parent)
}

/// The series' commits, first to last.
pub fn commits(git: &Git, base: &str, tip: &str) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for line in git.lines(&[
        "rev-list",
        "--reverse",
        "--parents",
        &format!("{base}..{tip}"),
    ])? {
        let mut words = line.split(' ');
        let commit = words.next().unwrap_or_default();
        if words.count() != 1 {
            bail!(
                "commit '{}' is a merge: a patch series cannot have one",
                git.subject(commit)?
            );
        }
        found.push(commit.to_owned());
    }
    Ok(found)
}

/// What `patches/` is to hold for this commit: names and contents.
pub fn export(git: &Git, base: &str, tip: &str) -> Result<BTreeMap<String, Vec<u8>>> {
    let mut files = BTreeMap::new();
    if base == tip {
        return Ok(files);
    }
    let dir = git.path("kevent-export")?;
    let _ = fs::remove_dir_all(&dir);
    let range = format!("{base}..{tip}");
    let name = dir.to_str().context("the tree's path is not UTF-8")?;
    git.run(&[
        "format-patch",
        "-q",
        "-N",
        "--zero-commit",
        "--no-signature",
        "--full-index",
        "--no-renames",
        "-o",
        name,
        &range,
    ])?;
    for path in list(&dir)? {
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        files.insert(name, fs::read(&path)?);
    }
    fs::remove_dir_all(&dir)?;
    Ok(files)
}

/// Make `patches/` hold exactly these patches; what is right already is not touched.  Returns the
/// names of the files written or removed.
pub fn write(dir: &Path, files: &BTreeMap<String, Vec<u8>>) -> Result<Vec<String>> {
    let mut changed = Vec::new();
    fs::create_dir_all(dir)?;
    for path in list(dir)? {
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        if !files.contains_key(&name) {
            fs::remove_file(&path)?;
            changed.push(format!("removed {name}"));
        }
    }
    for (name, content) in files {
        if write_if_changed(&dir.join(name), content)? {
            changed.push(format!("wrote {name}"));
        }
    }
    Ok(changed)
}

/// Replace a file in one step, unless it has this content already.
pub fn write_if_changed(path: &Path, content: &[u8]) -> Result<bool> {
    if fs::read(path).is_ok_and(|old| old == content) {
        return Ok(false);
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let new = path.with_file_name(format!(".{name}.new"));
    fs::write(&new, content)
        .and_then(|()| fs::rename(&new, path))
        .with_context(|| format!("cannot write {}", path.display()))?;
    Ok(true)
}
