// SPDX-License-Identifier: GPL-2.0-only

//! Giving each edited hunk to the patch that owns its lines.
//!
//! The owner of a hunk is the last patch that wrote one of the lines it replaces or, where it only
//! inserts, one of its two neighbours.  Where all of these come from the base, it is the patch that
//! touches the file; if there are several, nothing is folded, and the error names them.  Each owner
//! gets one `fixup!` commit, for `git rebase --autosquash`.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{bail, Context, Result};

use crate::git::Git;
use crate::overlay::{changes, Change, Entry};
use crate::patches::commits;

/// A run of replaced lines: `old` of the one file become `new` of the other, counted from 0.
#[derive(Debug, PartialEq)]
struct Hunk {
    old: std::ops::Range<usize>,
    new: std::ops::Range<usize>,
}

/// Commits on top of `head` that lead to the tree `wanted`: one `fixup!` for each patch that owns a
/// part of the difference.  `into` names patches (counted from 0) that get whole files.
pub fn fixups(
    git: &Git,
    base: &str,
    head: &str,
    wanted: &str,
    into: &BTreeMap<String, usize>,
) -> Result<String> {
    let series = commits(git, base, head)?;
    let old_tree = git.tree_of(head)?;
    let mut edits: BTreeMap<usize, Vec<(usize, Hunk)>> = BTreeMap::new(); // owner: (file, hunk)
    let mut whole: BTreeMap<usize, Vec<usize>> = BTreeMap::new(); // owner: files
    let files = changes(git, &old_tree, wanted)?;
    let mut unclear = Vec::new(); // edits that several patches could own

    for (number, file) in files.iter().enumerate() {
        if let Some(&owner) = into.get(&file.name) {
            whole.entry(owner).or_default().push(number);
        } else if file.status == 'M' && file.old.0 == file.new.0 {
            let Some(hunks) = hunks(git, file)? else {
                match only_patch(git, &series, base, head, &file.name)? {
                    Ok(owner) => whole.entry(owner).or_default().push(number),
                    Err(patches) => unclear.push(format!("{} ({patches})", file.name)),
                }
                continue;
            };
            let blame = blame(git, &series, base, head, &file.name)?;
            for hunk in hunks {
                let owner = match owner(&blame, &hunk) {
                    Some(owner) => owner,
                    None => match only_patch(git, &series, base, head, &file.name)? {
                        Ok(owner) => owner,
                        Err(patches) => {
                            let line = hunk.new.start + 1;
                            unclear.push(format!("{}:{line} ({patches})", file.name));
                            continue;
                        }
                    },
                };
                edits.entry(owner).or_default().push((number, hunk));
            }
        } else {
            match only_patch(git, &series, base, head, &file.name)? {
                Ok(owner) => whole.entry(owner).or_default().push(number),
                Err(patches) => unclear.push(format!("{} ({patches})", file.name)),
            }
        }
    }
    if !unclear.is_empty() {
        bail!(
            "several patches could own these edits, commit them in {} with 'git commit --fixup', or name their patch \
             (./build.sh refresh --into N FILE...): {}",
            git.dir().display(),
            unclear.join(", ")
        );
    }

    let index = git.spare_index()?;
    let scratch = git.with_index(&index);
    scratch.run(&["read-tree", head])?;
    let mut tip = head.to_owned();
    let mut done: BTreeMap<usize, Vec<Hunk>> = BTreeMap::new(); // file: hunks so far
    let owners: BTreeSet<usize> = edits.keys().chain(whole.keys()).copied().collect();
    for owner in owners {
        for &number in whole.get(&owner).into_iter().flatten() {
            stage(&scratch, &files[number].name, &files[number].new)?;
        }
        let mut touched = BTreeSet::new();
        for (number, hunk) in edits.remove(&owner).into_iter().flatten() {
            done.entry(number).or_default().push(hunk);
            touched.insert(number);
        }
        for number in touched {
            let file = &files[number];
            let content = splice(
                &git.bytes(&["cat-file", "blob", &file.old.1], b"")?,
                &git.bytes(&["cat-file", "blob", &file.new.1], b"")?,
                done.get_mut(&number).map_or(&mut [], Vec::as_mut_slice),
            )?;
            let blob = git.run_with(&["hash-object", "-w", "--stdin"], &content)?;
            stage(&scratch, &file.name, &(file.new.0.clone(), blob))?;
        }
        let target = series
            .get(owner)
            .context("an edit belongs to a patch that is not there")?;
        let tree = scratch.run(&["write-tree"])?;
        tip = git.commit_tree(&tree, &tip, &format!("fixup! {target}\n"))?;
        println!("folded into patch {}, {}", owner + 1, git.subject(target)?);
    }
    std::fs::remove_file(&index)?;
    Ok(tip)
}

/// Put one file into an index, or take it out.
pub fn stage(git: &Git, name: &str, (mode, blob): &Entry) -> Result<()> {
    if mode == "000000" {
        git.run(&["update-index", "--force-remove", "--", name])?;
    } else {
        git.run(&[
            "update-index",
            "--add",
            "--cacheinfo",
            &format!("{mode},{blob},{name}"),
        ])?;
    }
    Ok(())
}

/// The one patch that touches a file or, if there are several, their numbers for people.
fn only_patch(
    git: &Git,
    series: &[String],
    base: &str,
    head: &str,
    name: &str,
) -> Result<std::result::Result<usize, String>> {
    let range = format!("{base}..{head}");
    let touching = git.lines(&["log", "--format=%H", "--full-history", &range, "--", name])?;
    let owners: Vec<usize> = series
        .iter()
        .enumerate()
        .filter(|(_, commit)| touching.contains(commit))
        .map(|(at, _)| at)
        .collect();
    match owners.as_slice() {
        [owner] => Ok(Ok(*owner)),
        [] => bail!(
            "no patch touches {name}: commit it in {} (a new patch), or name its patch: ./build.sh refresh --into N {name}",
            git.dir().display()
        ),
        several => {
            let numbers: Vec<String> = several.iter().map(|at| (at + 1).to_string()).collect();
            Ok(Err(format!("patches {}", numbers.join(" "))))
        }
    }
}

/// For each line the patch that wrote it, if it is not the base's.
fn blame(
    git: &Git,
    series: &[String],
    base: &str,
    head: &str,
    name: &str,
) -> Result<Vec<Option<usize>>> {
    let patches: BTreeMap<&str, usize> = series
        .iter()
        .enumerate()
        .map(|(at, commit)| (commit.as_str(), at))
        .collect();
    let range = format!("{base}..{head}");
    let output = git.bytes(&["blame", "--line-porcelain", &range, "--", name], b"")?;
    let mut lines = Vec::new();
    let mut current = None;
    for line in output.split(|byte| *byte == b'\n') {
        if line.first() == Some(&b'\t') {
            lines.push(current.take());
        } else if let Some(commit) = line
            .get(..40)
            .and_then(|word| std::str::from_utf8(word).ok())
        {
            if line.get(40) == Some(&b' ') && commit.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                current = patches.get(commit).copied();
            }
        }
    }
    Ok(lines)
}

fn owner(blame: &[Option<usize>], hunk: &Hunk) -> Option<usize> {
    let lines = if hunk.old.is_empty() {
        hunk.old.start.saturating_sub(1)..hunk.old.start + 1
    } else {
        hunk.old.clone()
    };
    lines
        .filter_map(|line| blame.get(line).copied().flatten())
        .max()
}

/// The hunks between the two contents of a file; none for a binary file.
fn hunks(git: &Git, file: &Change) -> Result<Option<Vec<Hunk>>> {
    let diff = git.bytes(
        &[
            "diff",
            "--no-ext-diff",
            "--no-textconv",
            "-U0",
            &file.old.1,
            &file.new.1,
        ],
        b"",
    )?;
    let diff = String::from_utf8_lossy(&diff);
    let hunks: Vec<Hunk> = diff.lines().filter_map(parse_hunk).collect();
    Ok(if hunks.is_empty() { None } else { Some(hunks) })
}

/// `@@ -a,b +c,d @@`; a count that is not given is 1, and with a count of 0 the line is the one before.
fn parse_hunk(line: &str) -> Option<Hunk> {
    let ranges = line.strip_prefix("@@ -")?.split_once(" @@")?.0;
    let (old, new) = ranges.split_once(" +")?;
    let range = |text: &str| -> Option<std::ops::Range<usize>> {
        let (start, count) = text.split_once(',').unwrap_or((text, "1"));
        let (start, count): (usize, usize) = (start.parse().ok()?, count.parse().ok()?);
        let start = if count == 0 {
            start
        } else {
            start.checked_sub(1)?
        };
        Some(start..start.checked_add(count)?)
    };
    Some(Hunk {
        old: range(old)?,
        new: range(new)?,
    })
}

/// The old content with some of the hunks applied.
fn splice(old: &[u8], new: &[u8], hunks: &mut [Hunk]) -> Result<Vec<u8>> {
    let old: Vec<&[u8]> = old.split_inclusive(|byte| *byte == b'\n').collect();
    let new: Vec<&[u8]> = new.split_inclusive(|byte| *byte == b'\n').collect();
    hunks.sort_by_key(|hunk| hunk.old.start);
    let mut content = Vec::new();
    let mut at = 0;
    for hunk in hunks {
        let odd = "git diff gives hunks that do not fit the file";
        content.extend(old.get(at..hunk.old.start).context(odd)?.concat());
        content.extend(new.get(hunk.new.clone()).context(odd)?.concat());
        at = hunk.old.end;
    }
    content.extend(
        old.get(at..)
            .context("git diff gives hunks that do not fit the file")?
            .concat(),
    );
    Ok(content)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hunk_headers() {
        assert_eq!(
            parse_hunk("@@ -3 +4,2 @@ fn x"),
            Some(Hunk {
                old: 2..3,
                new: 3..5
            })
        );
        assert_eq!(
            parse_hunk("@@ -3,0 +4 @@"),
            Some(Hunk {
                old: 3..3,
                new: 3..4
            })
        );
        assert_eq!(
            parse_hunk("@@ -0,0 +1,2 @@"),
            Some(Hunk {
                old: 0..0,
                new: 0..2
            })
        );
        assert_eq!(
            parse_hunk("@@ -1,2 +0,0 @@"),
            Some(Hunk {
                old: 0..2,
                new: 0..0
            })
        );
        assert_eq!(parse_hunk("+@@ -1 +1 @@"), None);
        assert_eq!(parse_hunk("@@ -0 +1 @@"), None);
    }

    #[test]
    fn owners() {
        let blame = [None, Some(2), Some(1), None, None];
        let of = |old| owner(&blame, &Hunk { old, new: 0..0 });
        assert_eq!(of(1..3), Some(2));
        assert_eq!(of(0..1), None);
        assert_eq!(of(1..1), Some(2)); // between the base's line and patch 2's
        assert_eq!(of(3..3), Some(1));
        assert_eq!(of(5..5), None);
        assert_eq!(of(0..0), None);
    }

    #[test]
    fn splices_some() {
        let (old, new) = (b"a\nb\nc", b"a\nB\nc\nd");
        let mut hunks = [
            Hunk {
                old: 2..3,
                new: 2..4,
            },
            Hunk {
                old: 1..2,
                new: 1..2,
            },
        ];
        assert_eq!(splice(old, new, &mut hunks).unwrap(), new);
        assert_eq!(splice(old, new, &mut hunks[..1]).unwrap(), b"a\nB\nc");
        assert!(splice(
            old,
            new,
            &mut [Hunk {
                old: 7..8,
                new: 0..1
            }]
        )
        .is_err());
    }
}
