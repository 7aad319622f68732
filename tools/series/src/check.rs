// SPDX-License-Identifier: GPL-2.0-only

//! `check`: the patches apply, and give exactly the overlay.

use std::collections::BTreeSet;

use anyhow::{bail, Result};

use crate::overlay::{self, Project};
use crate::patches;
use crate::tree::Tree;

pub fn check(tree: &Tree, project: &Project) -> Result<()> {
    let tip = patches::am(&tree.git, &tree.base, &project.patches)?;
    let series = overlay::added(&tree.git, &tree.base, &tip)?;
    let overlay = project.overlay(&tree.git)?;
    let names: BTreeSet<&String> = series.keys().chain(overlay.keys()).collect();
    let mut wrong = Vec::new();
    for name in names {
        match (series.get(name), overlay.get(name)) {
            (Some(_), None) => wrong.push(format!("{name} is missing in the overlay")),
            (None, Some(_)) => wrong.push(format!("{name} is added by no patch")),
            (one, other) if one != other => {
                wrong.push(format!("{name} is not what the patches give"))
            }
            _ => {}
        }
    }
    if !wrong.is_empty() {
        bail!(
            "patches/ and kernel-tree-overlay/ disagree: {}: run ./build.sh refresh",
            wrong.join("; ")
        );
    }
    println!(
        "{} patches give exactly the {} files of the overlay",
        patches::list(&project.patches)?.len(),
        series.len()
    );
    Ok(())
}
