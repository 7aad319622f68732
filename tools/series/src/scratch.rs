// SPDX-License-Identifier: GPL-2.0-only

//! A worktree beside the kernel tree, for `git am` and `git rebase`: nothing shows in the tree until
//! all has succeeded.  It holds only the files the series touches, so it costs no time.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use anyhow::{anyhow, bail, Context, Result};

use crate::git::Git;

pub struct Scratch {
    main: Git,
    git: Git,
    dir: PathBuf,
}

impl Scratch {
    pub fn new(main: &Git, commit: &str, files: &BTreeSet<String>) -> Result<Self> {
        let mut dir = main.dir().as_os_str().to_owned();
        dir.push(".scratch");
        let dir = PathBuf::from(dir);
        let scratch = Scratch {
            main: main.clone(),
            git: Git::new(&dir).sparse(),
            dir,
        };
        scratch.remove();
        let name = scratch
            .dir
            .to_str()
            .context("the tree's path is not UTF-8")?;
        main.run(&[
            "worktree",
            "add",
            "-q",
            "--detach",
            "--no-checkout",
            name,
            commit,
        ])?;

        let list = scratch.git.path("info/sparse-checkout")?;
        if let Some(parent) = list.parent() {
            fs::create_dir_all(parent)?;
        }
        // git refuses an empty list; this name is nowhere.
        let patterns: String = files.iter().map(|file| format!("/{file}\n")).collect();
        fs::write(&list, format!("/.nothing\n{patterns}"))?;
        scratch.git.run(&["read-tree", "-m", "-u", "HEAD"])?;
        Ok(scratch)
    }

    pub fn head(&self) -> Result<String> {
        self.git.run(&["rev-parse", "HEAD"])
    }

    /// `git am`; an error names the patch, the file and git's reason.
    pub fn am(&self, patches: &[PathBuf], base: &str) -> Result<()> {
        let mut args = vec!["am", "-q", "--no-3way"];
        let names: Vec<&str> = patches.iter().filter_map(|path| path.to_str()).collect();
        args.extend(&names);
        let output = self.git.output(&args, b"")?;
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        let next = fs::read_to_string(self.git.path("rebase-apply/next")?).unwrap_or_default();
        let patch = next
            .trim()
            .parse::<usize>()
            .ok()
            .and_then(|number| patches.get(number.checked_sub(1)?))
            .and_then(|path| path.file_name())
            .map_or("a patch".into(), |name| {
                format!("patches/{}", name.to_string_lossy())
            });
        self.git.ok(&["am", "--abort"]);
        Err(anyhow!(
            "{patch} does not apply to '{}': {}",
            self.main.subject(base)?,
            am_reason(&said)
        ))
    }

    /// `git rebase` of the checked-out commits; an error names the commit and the files.
    pub fn rebase(&self, args: &[&str], what: &str) -> Result<String> {
        let mut all = vec![
            "rebase",
            "-q",
            "--no-verify",
            "--no-fork-point",
            "--empty=keep",
        ];
        all.extend(args);
        let output = self.git.output(&all, b"")?;
        if output.status.success() {
            return self.head();
        }
        let files = self
            .git
            .lines(&["diff", "--name-only", "--diff-filter=U"])
            .unwrap_or_default();
        let at = match self.git.resolve("REBASE_HEAD") {
            Some(commit) => format!("'{}'", self.git.subject(&commit)?),
            None => "a patch".into(),
        };
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        self.git.ok(&["rebase", "--abort"]);
        if files.is_empty() {
            bail!(
                "{what}: git stops at {at}: {}",
                said.lines().next().unwrap_or("no message")
            );
        }
        bail!("{what}: conflict in {} at {at}", files.join(", "))
    }

    fn remove(&self) {
        // Whatever of it is there; an earlier run may have been interrupted at any point.
        let _ = fs::remove_dir_all(&self.dir);
        self.main.ok(&["worktree", "prune"]);
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        self.remove();
    }
}

/// The line of git am's messages that matters: the file and what is wrong with it.
fn am_reason(said: &str) -> String {
    let errors: Vec<&str> = said
        .lines()
        .filter_map(|line| line.strip_prefix("error: "))
        .collect();
    if let Some(place) = errors
        .iter()
        .find_map(|line| line.strip_prefix("patch failed: "))
    {
        return match place.rsplit_once(':') {
            Some((file, line)) => format!("{file} differs at line {line}"),
            None => place.to_owned(),
        };
    }
    let line = errors.first().copied().or(said.lines().next());
    line.unwrap_or("git am gives no reason").to_owned()
}

#[cfg(test)]
mod tests {
    use super::am_reason;

    #[test]
    fn reasons() {
        let said =
            "error: patch failed: kernel/sys.c:12\nerror: kernel/sys.c: patch does not apply\n";
        assert_eq!(am_reason(said), "kernel/sys.c differs at line 12");
        assert_eq!(
            am_reason("error: a.c: already exists in index\n"),
            "a.c: already exists in index"
        );
        assert_eq!(am_reason("fatal: empty ident\n"), "fatal: empty ident");
        assert_eq!(am_reason(""), "git am gives no reason");
    }
}
