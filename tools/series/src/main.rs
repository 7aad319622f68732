// SPDX-License-Identifier: GPL-2.0-only

//! Keeps three views of the patch series one and the same:
//!
//! * `patches/`, what `git am` takes;
//! * `kernel-tree-overlay/`, every file the series adds;
//! * the kernel tree, a git repository with the base tagged `base` and the series on branch `kevent`.
//!
//! `apply` makes the tree from the patches, `refresh` folds edits made in the tree or in the overlay
//! into the patches that own them and writes all three again, `check` says where they disagree.
//!
//! Every commit of the series has the same author and date, so a commit's hash depends on nothing
//! but the patches before it and its own content: two states are the same when the hashes are.

mod apply;
mod check;
mod fold;
mod git;
mod overlay;
mod patches;
mod refresh;
mod scratch;
mod tree;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(about = "Keeps patches/, kernel-tree-overlay/ and the kernel tree the same")]
struct Arguments {
    /// The kernel tree.
    #[arg(long)]
    tree: PathBuf,
    /// The folder with patches/ and kernel-tree-overlay/.
    #[arg(long)]
    repo: PathBuf,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Put the patches onto the tree's branch.
    Apply,
    /// Fold edits into the patches, and write patches and overlay again.
    Refresh {
        /// `--into N FILE...`: fold all edits of these files into patch N.
        #[arg(allow_hyphen_values = true, value_name = "--into N FILE")]
        into: Vec<String>,
    },
    /// Check that the patches apply and give exactly the overlay.
    Check,
}

fn run(arguments: Arguments) -> Result<()> {
    let project = overlay::Project::open(&arguments.repo)?;
    let tree = tree::Tree::open(&arguments.tree)?;
    match arguments.verb {
        Verb::Apply => apply::apply(&tree, &project),
        Verb::Refresh { into } => refresh::refresh(&tree, &project, &refresh::Into::parse(&into)?),
        Verb::Check => check::check(&tree, &project),
    }
}

fn main() -> ExitCode {
    match run(Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
