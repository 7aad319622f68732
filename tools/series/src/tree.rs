// SPDX-License-Identifier: GPL-2.0-only

//! The kernel tree: the base, the branch `kevent`, the working copy.

use std::fs;
use std::path::Path;

use anyhow::{bail, Context, Result};

use crate::git::Git;
use crate::patches;

const BRANCH: &str = "refs/heads/kevent";
/// The commit that `patches/` gave or became, last time both were the same.
const APPLIED: &str = "refs/kevent/applied";
/// Set while patches and overlay are being written: the commit they are written from.
const EXPORTING: &str = "refs/kevent/exporting";
/// The tree as it was before the last refresh, in case something is missing.
const BEFORE: &str = "refs/kevent/before-refresh";

pub struct Tree {
    pub git: Git,
    pub base: String,
}

impl Tree {
    pub fn open(dir: &Path) -> Result<Self> {
        let git = Git::new(dir);
        let base = git
            .resolve("refs/tags/base^{commit}")
            .or_else(|| git.resolve("refs/heads/base^{commit}"))
            .with_context(|| {
                format!(
                    "{} is no kernel tree of ours: run ./build.sh setup",
                    dir.display()
                )
            })?;
        Ok(Tree { git, base })
    }

    /// The tip of branch `kevent`, which must be checked out.
    pub fn head(&self) -> Result<String> {
        let on = self
            .git
            .run(&["symbolic-ref", "-q", "HEAD"])
            .unwrap_or_default();
        let head = self.git.run(&["rev-parse", "HEAD"])?;
        if on != BRANCH {
            if self.git.resolve(BRANCH).is_some() || head != self.base {
                let dir = self.git.dir().display();
                bail!(
                    "{dir} is not on branch kevent: finish what is under way there, then 'git -C {dir} switch kevent'"
                );
            }
            self.git.run(&["checkout", "-q", "-b", "kevent"])?;
        }
        if !self
            .git
            .ok(&["merge-base", "--is-ancestor", &self.base, &head])
        {
            bail!(
                "branch kevent of {} is not based on 'base'",
                self.git.dir().display()
            );
        }
        Ok(head)
    }

    pub fn applied(&self) -> Option<String> {
        self.git.resolve(APPLIED)
    }

    /// Whether `patches/` is what it was when it was applied or written.
    pub fn is_applied(&self, dir: &Path) -> Result<bool> {
        let key = fs::read_to_string(self.git.path("kevent-key")?).unwrap_or_default();
        Ok(self.applied().is_some() && key == patches::key(&self.git, &self.base, dir)?)
    }

    pub fn set_applied(&self, commit: &str, dir: &Path) -> Result<()> {
        self.git.run(&["update-ref", APPLIED, commit])?;
        fs::write(
            self.git.path("kevent-key")?,
            patches::key(&self.git, &self.base, dir)?,
        )?;
        Ok(())
    }

    pub fn exporting(&self) -> Option<String> {
        self.git.resolve(EXPORTING)
    }

    pub fn set_exporting(&self, commit: Option<&str>) -> Result<()> {
        match commit {
            Some(commit) => self.git.run(&["update-ref", EXPORTING, commit])?,
            None => self.git.run(&["update-ref", "-d", EXPORTING])?,
        };
        Ok(())
    }

    /// The files that git neither tracks nor ignores.
    pub fn untracked(&self) -> Result<Vec<String>> {
        self.git
            .lines(&["ls-files", "--others", "--exclude-standard"])
    }

    /// The working copy as a git tree, leaving the index alone.
    pub fn working_copy(&self) -> Result<String> {
        let index = self.git.spare_index()?;
        let own = self.git.path("index")?;
        fs::copy(&own, &index)?;
        // git looks again at files that are as new as the index: the copy must not look newer.
        fs::File::options()
            .write(true)
            .open(&index)?
            .set_modified(fs::metadata(&own)?.modified()?)?;
        let git = self.git.with_index(&index);
        git.run(&["add", "-A"])?;
        let tree = git.run(&["write-tree"]);
        fs::remove_file(&index)?;
        tree
    }

    /// Move branch and working copy from what they are, with the working copy being `from`, to
    /// `commit`.  Only files that differ are touched: a kernel build stays incremental.
    pub fn move_to(&self, from: &str, commit: &str) -> Result<()> {
        self.git.run(&["add", "-A"])?;
        self.git.run(&["read-tree", "-m", "-u", from, commit])?;
        self.git
            .run(&["update-ref", "-m", "kevent series", "HEAD", commit])?;
        Ok(())
    }

    /// Remember a state of the tree under a name, so that it is never lost.
    pub fn keep(&self, working_copy: &str, head: &str) -> Result<()> {
        let commit = self
            .git
            .commit_tree(working_copy, head, "before refresh\n")?;
        self.git.run(&["update-ref", BEFORE, &commit])?;
        Ok(())
    }
}
