// SPDX-License-Identifier: GPL-2.0-only

//! `apply`: the tree's branch from `patches/`.

use std::collections::BTreeSet;

use anyhow::{bail, Result};

use crate::overlay::{self, Project};
use crate::tree::Tree;
use crate::{patches, refresh};

pub fn apply(tree: &Tree, project: &Project) -> Result<()> {
    refresh::recover(tree, project)?;
    let head = tree.head()?;
    let count = patches::list(&project.patches)?.len();
    let on = format!(
        "{count} patches on '{}' in {}",
        tree.git.subject(&tree.base)?,
        tree.git.dir().display()
    );
    let edited = !tree.git.run(&["status", "--porcelain"])?.is_empty();

    if tree.is_applied(&project.patches)? {
        let applied = tree.applied().unwrap_or_default();
        let local = match (applied != head, edited) {
            (false, false) => "",
            (true, false) => ", and commits that are not in patches/ yet",
            (false, true) => ", and edits that are not in patches/ yet",
            (true, true) => ", and commits and edits that are not in patches/ yet",
        };
        println!("tree: {on}, up to date{local}");
        return note_overlay(tree, project, &applied);
    }

    let tip = patches::am(&tree.git, &tree.base, &project.patches)?;
    let before = tree.applied().unwrap_or_else(|| tree.base.clone());
    let wanted = tree.git.tree_of(&tip)?;
    let now = tree.working_copy()?;
    // Nothing is lost when the tree is as we left it, or has this very content already.
    if now != wanted && (edited || head != before) {
        let dir = tree.git.dir().display();
        bail!(
            "patches/ changed and so did {dir}: './build.sh refresh' puts your edits on top, \
             'git -C {dir} reset --hard {before}' drops them"
        );
    }
    tree.move_to(&now, &tip)?;
    follow(tree, project, &before, &tip)?;
    tree.set_applied(&tip, &project.patches)?;
    println!("tree: applied {on}");
    note_overlay(tree, project, &tip)
}

/// Overlay files that were not edited since the last time become what patches/ gives now.
fn follow(tree: &Tree, project: &Project, before: &str, tip: &str) -> Result<()> {
    let mine = project.overlay(&tree.git)?;
    let was = overlay::added(&tree.git, &tree.base, before)?;
    let is = overlay::added(&tree.git, &tree.base, tip)?;
    let names: BTreeSet<&String> = was.keys().chain(is.keys()).collect();
    for name in names {
        if mine.get(name) == was.get(name) && was.get(name) != is.get(name) {
            project.write_file(&tree.git, name, is.get(name))?;
        }
    }
    Ok(())
}

/// An edit in the overlay is not in the tree until refresh puts it there: say so.
fn note_overlay(tree: &Tree, project: &Project, tip: &str) -> Result<()> {
    let mine = project.overlay(&tree.git)?;
    let theirs = overlay::added(&tree.git, &tree.base, tip)?;
    let mut edited: Vec<&str> = Vec::new();
    edited.extend(
        mine.iter()
            .filter(|(name, entry)| theirs.get(*name) != Some(entry))
            .map(|(name, _)| name.as_str()),
    );
    edited.extend(
        theirs
            .keys()
            .filter(|name| !mine.contains_key(*name))
            .map(String::as_str),
    );
    if !edited.is_empty() {
        println!(
            "note: ./build.sh refresh takes over what was edited in kernel-tree-overlay/: {}",
            edited.join(" ")
        );
    }
    Ok(())
}
