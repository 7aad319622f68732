// SPDX-License-Identifier: GPL-2.0-only

//! `refresh`: edits of the tree and of the overlay, into the patches that own them.
//!
//! Four states are compared: the series as `patches/` has it now, the one that was last applied to
//! the tree, the tree's working copy, and the overlay.  Everything is worked out in git objects and a
//! scratch worktree; only when that has succeeded are tree, patches and overlay written.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{bail, Context, Result};

use crate::fold;
use crate::git::Git;
use crate::overlay::{added, changes, entries, Entry, Project};
use crate::patches;
use crate::scratch::Scratch;
use crate::tree::Tree;

/// `--into N FILE...`, any number of times: patch numbers by file.
#[derive(Default)]
pub struct Into(BTreeMap<String, usize>);

impl Into {
    pub fn parse(words: &[String]) -> Result<Self> {
        let mut into = BTreeMap::new();
        for group in words.split(|word| word == "--into") {
            let Some((number, files)) = group.split_first() else {
                continue;
            };
            let patch = match number.parse() {
                Ok(patch) if patch > 0 => patch,
                _ => bail!("--into needs the number of a patch first, not '{number}'"),
            };
            if files.is_empty() {
                bail!("--into {patch} needs the files to put into that patch");
            }
            for name in files {
                let name = name
                    .trim_start_matches("./")
                    .trim_start_matches("kernel-tree-overlay/");
                into.insert(name.to_owned(), patch);
            }
        }
        Ok(Into(into))
    }

    fn names(&self, file: &str) -> bool {
        self.0.contains_key(file)
    }
}

pub fn refresh(tree: &Tree, project: &Project, into: &Into) -> Result<()> {
    recover(tree, project)?;
    let (git, base) = (&tree.git, tree.base.as_str());
    let head = tree.head()?;
    let new: Vec<String> = tree
        .untracked()?
        .into_iter()
        .filter(|name| !into.names(name))
        .collect();
    if !new.is_empty() {
        let dir = git.dir().display();
        bail!(
            "new in {dir} and in no patch, commit them there (a new patch) or name their patch \
             (./build.sh refresh --into N FILE...): {}",
            new.join(" ")
        );
    }
    let working = tree.working_copy()?;

    // The series as patches/ has it, and the tree's commits and edits on top of that.
    let before = tree.applied().unwrap_or_else(|| base.to_owned());
    let current = tree.is_applied(&project.patches)?;
    let series = if current {
        before.clone()
    } else {
        patches::am(git, base, &project.patches)?
    };
    let (top, edited) = if series == before {
        (head.clone(), working.clone())
    } else {
        transplant(tree, &before, &series, &head, &working)?
    };

    let wanted = take_overlay(tree, project, into, [&before, &series, &edited])?;

    // One fixup for each patch that owns an edit, squashed into it.
    let mut owners = BTreeMap::new();
    let count = patches::commits(git, base, &top)?.len();
    let edits = changes(git, &git.tree_of(&top)?, &wanted)?;
    for (name, &patch) in &into.0 {
        if patch > count {
            bail!("there is no patch {patch}: the series has {count}");
        }
        if !edits.iter().any(|edit| edit.name == *name) {
            bail!("{name} has no edit to put into patch {patch}");
        }
        owners.insert(name.clone(), patch - 1);
    }
    let tip = fold::fixups(git, base, &top, &wanted, &owners)?;
    let tip = patches::canonical(git, base, &squash(git, base, &tip)?)?;
    if git.tree_of(&tip)? != wanted {
        bail!("folding the edits does not give their content: nothing is changed; commit them in the tree by hand");
    }

    if tip != head || working != wanted {
        tree.keep(&working, &head)?;
    }
    tree.set_exporting(Some(&tip))?;
    tree.move_to(&working, &tip)?;
    publish(tree, project, &tip)
}

/// An earlier run was interrupted while it wrote: finish that first.
pub fn recover(tree: &Tree, project: &Project) -> Result<()> {
    match tree.exporting() {
        Some(tip) if tree.head()? == tip => publish(tree, project, &tip),
        Some(_) => tree.set_exporting(None),
        None => Ok(()),
    }
}

/// Write patches and overlay.
fn publish(tree: &Tree, project: &Project, tip: &str) -> Result<()> {
    let files = patches::export(&tree.git, &tree.base, tip)?;
    for line in patches::write(&project.patches, &files)? {
        println!("patches: {line}");
    }
    let changed = project.write_overlay(&tree.git, &tree.base, tip)?;
    tree.set_applied(tip, &project.patches)?;
    tree.set_exporting(None)?;
    println!(
        "refresh: {} patches, {changed} overlay files written",
        files.len()
    );
    Ok(())
}

/// `patches/` changed under the tree: its commits and edits, on top of the new series.
fn transplant(
    tree: &Tree,
    before: &str,
    series: &str,
    head: &str,
    working: &str,
) -> Result<(String, String)> {
    let git = &tree.git;
    if !git.ok(&["merge-base", "--is-ancestor", before, head]) {
        let dir = git.dir().display();
        bail!("patches/ changed and so did the patches' commits in {dir}: take back one of the two ('git -C {dir} reset --keep {before}')");
    }
    const EDITS: &str = "edits of the working copy";
    let mut tip = head.to_owned();
    if git.tree_of(head)? != working {
        tip = git.commit_tree(working, head, EDITS)?;
    }
    if tip != before {
        let scratch = Scratch::new(git, &tip, &touched(git, &tree.base, &[&tip, series])?)?;
        tip = scratch.rebase(
            &["--onto", series, before],
            "your edits do not go onto the changed patches/",
        )?;
    } else {
        tip = series.to_owned();
    }
    let edited = git.tree_of(&tip)?;
    let top = if git.subject(&tip)? == EDITS {
        git.run(&["rev-parse", &format!("{tip}^")])?
    } else {
        tip
    };
    Ok((top, edited))
}

/// Squash the `fixup!` commits, ours and the developer's.
fn squash(git: &Git, base: &str, tip: &str) -> Result<String> {
    let range = format!("{base}..{tip}");
    let subjects = git.lines(&["log", "--format=%s", &range])?;
    if !subjects.iter().any(|subject| {
        ["fixup! ", "squash! ", "amend! "]
            .iter()
            .any(|prefix| subject.starts_with(prefix))
    }) {
        return Ok(tip.to_owned());
    }
    let scratch = Scratch::new(git, tip, &touched(git, base, &[tip])?)?;
    scratch.rebase(
        &["-i", "--autosquash", base],
        "an edit cannot be folded into the patch that owns it; nothing is changed, fold it into a later one with --into N FILE",
    )
}

/// Every file that some commit from the base to these touches.
fn touched(git: &Git, base: &str, tips: &[&str]) -> Result<BTreeSet<String>> {
    let mut files = BTreeSet::new();
    for tip in tips {
        files.extend(git.lines(&[
            "log",
            "--format=",
            "--name-only",
            "--no-renames",
            &format!("{base}..{tip}"),
        ])?);
    }
    files.remove("");
    Ok(files)
}

/// The tree `edited` with what was edited in the overlay.  A file of the overlay is edited when it is
/// neither as patches/ has it nor as it was last applied.
fn take_overlay(
    tree: &Tree,
    project: &Project,
    into: &Into,
    [before, series, edited]: [&str; 3],
) -> Result<String> {
    let git = &tree.git;
    let overlay = project.overlay(git)?;
    let was = added(git, &tree.base, before)?;
    let is = added(git, &tree.base, series)?;
    let names: BTreeSet<String> = overlay.keys().chain(is.keys()).cloned().collect();
    let theirs = entries(git, edited, &names)?;
    let mut takes: Vec<(&String, Entry)> = Vec::new();
    let mut conflicts: Vec<&str> = Vec::new();
    let mut new: Vec<&str> = Vec::new();
    for name in &names {
        let mine = overlay.get(name);
        if mine == is.get(name) || mine == was.get(name) || mine == theirs.get(name) {
            continue;
        }
        if theirs.get(name) != is.get(name) {
            conflicts.push(name);
        } else if !is.contains_key(name) && !into.names(name) {
            new.push(name);
        } else {
            takes.push((
                name,
                mine.cloned().unwrap_or(("000000".into(), String::new())),
            ));
        }
    }
    if !conflicts.is_empty() {
        bail!(
            "edited differently in kernel-tree-overlay/ and in {}, make them the same first: {}",
            git.dir().display(),
            conflicts.join(" ")
        );
    }
    if !new.is_empty() {
        bail!(
            "new in kernel-tree-overlay/ and in no patch, commit them in {} (a new patch) or name their patch \
             (./build.sh refresh --into N FILE...): {}",
            git.dir().display(),
            new.join(" ")
        );
    }
    let index = git.spare_index()?;
    let scratch = git.with_index(&index);
    scratch.run(&["read-tree", edited])?;
    for (name, entry) in takes {
        fold::stage(&scratch, name, &entry)?;
    }
    let wanted = scratch.run(&["write-tree"]);
    std::fs::remove_file(&index).context("git made no index")?;
    wanted
}
