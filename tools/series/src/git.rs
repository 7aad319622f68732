// SPDX-License-Identifier: GPL-2.0-only

//! Running git, untouched by the user's configuration, with the series' fixed author and date.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use anyhow::{bail, Context, Result};

const AUTHOR: &str = "kevent";
const EMAIL: &str = "kevent@kevent.invalid";
const DATE: &str = "1767225600 +0000";

/// A git repository or worktree, and optionally an index file of its own.
#[derive(Clone)]
pub struct Git {
    dir: PathBuf,
    index: Option<PathBuf>,
    sparse: bool,
}

impl Git {
    pub fn new(dir: &Path) -> Self {
        Git {
            dir: dir.to_owned(),
            index: None,
            sparse: false,
        }
    }

    pub fn with_index(&self, index: &Path) -> Self {
        Git {
            index: Some(index.to_owned()),
            ..self.clone()
        }
    }

    /// Only the files that `info/sparse-checkout` names are in the working copy.
    pub fn sparse(&self) -> Self {
        Git {
            sparse: true,
            ..self.clone()
        }
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new("git");
        command.arg("-C").arg(&self.dir);
        for setting in [
            "safe.directory=*",
            "core.hooksPath=/dev/null",
            "core.quotePath=false",
            "commit.gpgSign=false",
            "gc.auto=0",
            "advice.sparseIndexExpanded=false",
        ] {
            command.args(["-c", setting]);
        }
        if self.sparse {
            command.args([
                "-c",
                "core.sparseCheckout=true",
                "-c",
                "core.sparseCheckoutCone=false",
            ]);
        }
        for name in [
            "GIT_DIR",
            "GIT_WORK_TREE",
            "GIT_INDEX_FILE",
            "GIT_CONFIG_PARAMETERS",
        ] {
            command.env_remove(name);
        }
        for (name, value) in [
            ("GIT_CONFIG_GLOBAL", "/dev/null"),
            ("GIT_CONFIG_NOSYSTEM", "1"),
            ("GIT_AUTHOR_NAME", AUTHOR),
            ("GIT_AUTHOR_EMAIL", EMAIL),
            ("GIT_AUTHOR_DATE", DATE),
            ("GIT_COMMITTER_NAME", AUTHOR),
            ("GIT_COMMITTER_EMAIL", EMAIL),
            ("GIT_COMMITTER_DATE", DATE),
            ("GIT_EDITOR", "true"),
            ("GIT_SEQUENCE_EDITOR", "true"),
            ("LC_ALL", "C"),
        ] {
            command.env(name, value);
        }
        if let Some(index) = &self.index {
            command.env("GIT_INDEX_FILE", index);
        }
        command.args(args);
        command
    }

    /// Run git and return what it did, whether or not it succeeded.
    pub fn output(&self, args: &[&str], input: &[u8]) -> Result<Output> {
        let mut child = self
            .command(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("cannot run git: install it")?;
        let mut stdin = child.stdin.take().context("git has no input")?;
        let input = input.to_vec();
        let writer = std::thread::spawn(move || stdin.write_all(&input));
        let output = child.wait_with_output()?;
        // A git that does not read its input to the end has its reason, and its status says which.
        let _ = writer.join();
        Ok(output)
    }

    /// What git prints, byte for byte.
    pub fn bytes(&self, args: &[&str], input: &[u8]) -> Result<Vec<u8>> {
        let output = self.output(args, input)?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            let line = said
                .lines()
                .find(|line| !line.is_empty())
                .unwrap_or("no message");
            bail!(
                "'git {}' failed in {}: {line}",
                args.join(" "),
                self.dir.display()
            );
        }
        Ok(output.stdout)
    }

    /// What git prints, without the final newline.
    pub fn run(&self, args: &[&str]) -> Result<String> {
        self.run_with(args, b"")
    }

    pub fn run_with(&self, args: &[&str], input: &[u8]) -> Result<String> {
        let out = self.bytes(args, input)?;
        Ok(String::from_utf8_lossy(&out)
            .trim_end_matches('\n')
            .to_owned())
    }

    pub fn lines(&self, args: &[&str]) -> Result<Vec<String>> {
        Ok(self.run(args)?.lines().map(str::to_owned).collect())
    }

    /// Whether git succeeds.
    pub fn ok(&self, args: &[&str]) -> bool {
        self.output(args, b"")
            .is_ok_and(|output| output.status.success())
    }

    /// The object a name stands for, if there is one.
    pub fn resolve(&self, name: &str) -> Option<String> {
        self.run(&["rev-parse", "-q", "--verify", name]).ok()
    }

    pub fn tree_of(&self, commit: &str) -> Result<String> {
        self.run(&["rev-parse", &format!("{commit}^{{tree}}")])
    }

    pub fn subject(&self, commit: &str) -> Result<String> {
        self.run(&["log", "-1", "--format=%s", commit])
    }

    /// A commit of `tree` with the series' author and date.
    pub fn commit_tree(&self, tree: &str, parent: &str, message: &str) -> Result<String> {
        self.run_with(
            &["commit-tree", tree, "-p", parent, "-F", "-"],
            message.as_bytes(),
        )
    }

    /// Where git keeps `name` for this worktree.
    pub fn path(&self, name: &str) -> Result<PathBuf> {
        Ok(PathBuf::from(self.run(&[
            "rev-parse",
            "--path-format=absolute",
            "--git-path",
            name,
        ])?))
    }

    /// A name for an index file of our own, free of what an interrupted run left there.
    pub fn spare_index(&self) -> Result<PathBuf> {
        let index = self.path("kevent-index")?;
        let _ = std::fs::remove_file(&index);
        let _ = std::fs::remove_file(index.with_extension("lock"));
        Ok(index)
    }
}
