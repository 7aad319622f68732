// SPDX-License-Identifier: GPL-2.0-only

//! The tool on small throw-away repositories: a "kernel" of two files, and a series of three patches.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

struct Lab {
    dir: tempfile::TempDir,
}

#[derive(Debug, PartialEq)]
struct State {
    git: String,
    files: BTreeMap<PathBuf, (String, SystemTime)>,
}

impl State {
    fn contents(&self) -> (&str, Vec<(&PathBuf, &String)>) {
        (
            &self.git,
            self.files
                .iter()
                .map(|(name, (text, _))| (name, text))
                .collect(),
        )
    }
}

const BASE: &str = "one\ntwo\nthree\nfour\nfive\nsix\nseven\neight\nnine\nten\n";

impl Lab {
    /// A base, and nothing on it.
    fn bare() -> Lab {
        let lab = Lab {
            dir: tempfile::tempdir().unwrap(),
        };
        fs::create_dir_all(lab.tree("kernel")).unwrap();
        fs::create_dir_all(lab.project("")).unwrap();
        lab.git(&["init", "-q", "-b", "kevent", "."]);
        lab.write_tree("kernel/sys.c", BASE);
        lab.write_tree("Makefile", "all:\n");
        lab.commit("base");
        lab.git(&["tag", "base"]);
        lab.ok(&["apply"]);
        lab
    }

    /// Patch 1 adds a.rs, patch 2 changes sys.c and a.rs, patch 3 adds b.rs and changes sys.c.
    fn new() -> Lab {
        let lab = Lab::bare();
        lab.write_tree("kernel/kevent/a.rs", "a1\na2\na3\na4\na5\na6\na7\na8\n");
        lab.commit("kevent: add a");
        lab.write_tree("kernel/sys.c", &BASE.replace("two\n", "two\nTWO\n"));
        lab.write_tree(
            "kernel/kevent/a.rs",
            "a1\na2\na3\na4\na5\na6\na7\na8\nfrom 2\n",
        );
        lab.commit("kevent: wire it up");
        lab.write_tree("kernel/kevent/b.rs", "b1\nb2\n");
        lab.write_tree(
            "kernel/sys.c",
            &BASE
                .replace("two\n", "two\nTWO\n")
                .replace("nine\n", "NINE\n"),
        );
        lab.commit("kevent: add b");
        lab.ok(&["refresh"]);
        lab
    }

    fn tree(&self, name: &str) -> PathBuf {
        self.dir.path().join("linux").join(name)
    }
    fn project(&self, name: &str) -> PathBuf {
        self.dir.path().join("project").join(name)
    }
    fn overlay(&self, name: &str) -> PathBuf {
        self.project("kernel-tree-overlay").join(name)
    }
    fn write_tree(&self, name: &str, text: &str) {
        write(&self.tree(name), text);
    }
    fn write_overlay(&self, name: &str, text: &str) {
        write(&self.overlay(name), text);
    }

    fn git(&self, args: &[&str]) -> String {
        let output = Command::new("git")
            .current_dir(self.dir.path().join("linux"))
            .args([
                "-c",
                "user.name=Other",
                "-c",
                "user.email=other@example.invalid",
            ])
            .args(args)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "git {args:?}: {said}");
        String::from_utf8(output.stdout)
            .unwrap()
            .trim_end()
            .to_owned()
    }
    fn commit(&self, message: &str) {
        self.git(&["add", "-A"]);
        self.git(&["commit", "-q", "-m", message]);
    }

    fn series(&self, args: &[&str]) -> (bool, String) {
        let output = Command::new(env!("CARGO_BIN_EXE_series"))
            .arg("--tree")
            .arg(self.dir.path().join("linux"))
            .arg("--repo")
            .arg(self.project(""))
            .args(args)
            .output()
            .unwrap();
        let said = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8(said).unwrap())
    }
    fn ok(&self, args: &[&str]) -> String {
        let (ok, said) = self.series(args);
        assert!(ok, "series {args:?}: {said}");
        said
    }
    /// It must fail with one line that has all of these words, and change nothing.
    fn fails(&self, args: &[&str], words: &[&str]) {
        let before = self.everything();
        let (ok, said) = self.series(args);
        assert!(!ok, "series {args:?} succeeds: {said}");
        let error: Vec<&str> = said
            .lines()
            .filter(|line| line.starts_with("error: "))
            .collect();
        assert_eq!(error.len(), 1, "{said}");
        for word in words {
            assert!(error[0].contains(word), "no '{word}' in: {said}");
        }
        assert_eq!(before, self.everything(), "{said}");
        assert!(!self.dir.path().join("linux.scratch").exists());
    }

    /// What must not change when something fails: branch, status, all files with their times.
    fn everything(&self) -> State {
        let mut files = BTreeMap::new();
        collect(self.dir.path(), &mut files);
        let git =
            self.git(&["rev-parse", "HEAD", "HEAD^{tree}"]) + &self.git(&["status", "--porcelain"]);
        State { git, files }
    }
    fn patches(&self) -> BTreeMap<String, String> {
        let mut found = BTreeMap::new();
        for entry in fs::read_dir(self.project("patches")).unwrap() {
            let path = entry.unwrap().path();
            found.insert(
                path.file_name().unwrap().to_str().unwrap().into(),
                fs::read_to_string(&path).unwrap(),
            );
        }
        found
    }
    fn patch(&self, number: usize) -> String {
        let start = format!("{number:04}-");
        self.patches()
            .into_iter()
            .find(|(name, _)| name.starts_with(&start))
            .unwrap()
            .1
    }
}

fn write(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

fn collect(dir: &Path, files: &mut BTreeMap<PathBuf, (String, SystemTime)>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.file_name().unwrap() == ".git" {
            continue;
        }
        if path.is_dir() {
            collect(&path, files);
        } else {
            let time = fs::metadata(&path).unwrap().modified().unwrap();
            files.insert(path.clone(), (fs::read_to_string(&path).unwrap(), time));
        }
    }
}

/// Give a file a time that a write would change.
fn age(path: &Path) -> SystemTime {
    let time = SystemTime::now() - Duration::from_secs(1000);
    fs::File::options()
        .write(true)
        .open(path)
        .unwrap()
        .set_modified(time)
        .unwrap();
    fs::metadata(path).unwrap().modified().unwrap()
}
fn time_of(path: &Path) -> SystemTime {
    fs::metadata(path).unwrap().modified().unwrap()
}

#[test]
fn exports_commits() {
    let lab = Lab::new();
    let names: Vec<String> = lab.patches().into_keys().collect();
    assert_eq!(
        names,
        [
            "0001-kevent-add-a.patch",
            "0002-kevent-wire-it-up.patch",
            "0003-kevent-add-b.patch"
        ]
    );
    let patch = lab.patch(1);
    assert!(
        patch.starts_with(&format!(
            "From {} Mon Sep 17 00:00:00 2001\n",
            "0".repeat(40)
        )),
        "{patch}"
    );
    assert!(patch.contains("From: kevent <kevent@kevent.invalid>\n"));
    assert!(patch.contains("Date: Thu, 1 Jan 2026 00:00:00 +0000\n"));
    assert!(patch.contains("Subject: [PATCH] kevent: add a\n"));
    assert!(!patch.contains("\n-- \n"), "{patch}");
    assert_eq!(
        fs::read_to_string(lab.overlay("kernel/kevent/b.rs")).unwrap(),
        "b1\nb2\n"
    );
    assert!(!lab.overlay("kernel/sys.c").exists());
    lab.ok(&["check"]);
}

#[test]
fn refresh_twice_changes_nothing() {
    let lab = Lab::new();
    write(&lab.project("patches/0000-cover-letter.txt"), "Hello\n");
    let before = lab.everything();
    lab.ok(&["refresh"]);
    assert_eq!(before, lab.everything());
    lab.ok(&["apply"]);
    assert_eq!(before, lab.everything());
}

#[test]
fn another_machine_gets_the_same_commits() {
    let lab = Lab::new();
    let head = lab.git(&["rev-parse", "HEAD"]);
    for name in ["refs/kevent/applied", "refs/kevent/before-refresh"] {
        lab.git(&["update-ref", "-d", name]);
    }
    lab.git(&["reset", "-q", "--hard", "base"]);
    lab.ok(&["apply"]);
    assert_eq!(lab.git(&["rev-parse", "HEAD"]), head);
    assert_eq!(lab.git(&["status", "--porcelain"]), "");
}

#[test]
fn folds_from_the_tree() {
    let lab = Lab::new();
    let (a, b) = (
        lab.tree("kernel/kevent/a.rs"),
        lab.tree("kernel/kevent/b.rs"),
    );
    lab.write_tree(
        "kernel/kevent/a.rs",
        "a1\nA2\na3\na4\na5\na6\na7\na8\nFROM 2\n",
    );
    let (time_a, time_b) = (age(&a), age(&b));
    lab.ok(&["refresh"]);
    assert!(lab.patch(1).contains("+A2\n"));
    assert!(lab.patch(2).contains("+FROM 2\n"));
    assert!(!lab.patch(1).contains("FROM 2"));
    assert_eq!(lab.patches().len(), 3);
    assert_eq!(
        fs::read_to_string(lab.overlay("kernel/kevent/a.rs")).unwrap(),
        fs::read_to_string(&a).unwrap()
    );
    assert_eq!((time_of(&a), time_of(&b)), (time_a, time_b));
    assert_eq!(lab.git(&["status", "--porcelain"]), "");
    lab.ok(&["check"]);
}

#[test]
fn folds_from_the_overlay() {
    let lab = Lab::new();
    let time = age(&lab.tree("kernel/kevent/a.rs"));
    lab.write_overlay("kernel/kevent/b.rs", "b1\nbetween\nb2\n");
    lab.ok(&["refresh"]);
    assert!(lab.patch(3).contains("+between\n"));
    assert_eq!(
        fs::read_to_string(lab.tree("kernel/kevent/b.rs")).unwrap(),
        "b1\nbetween\nb2\n"
    );
    assert_eq!(time_of(&lab.tree("kernel/kevent/a.rs")), time);
    lab.ok(&["check"]);
}

#[test]
fn folds_lines_of_the_base() {
    let lab = Lab::new();
    let text = fs::read_to_string(lab.tree("kernel/sys.c")).unwrap();
    lab.write_tree(
        "kernel/sys.c",
        &text.replace("TWO\n", "Two\n").replace("six\n", "SIX\n"),
    );
    // The line of the base could be of either patch that touches the file.
    lab.fails(
        &["refresh"],
        &["kernel/sys.c:7 (patches 2 3)", "--into", "--fixup"],
    );
    lab.write_tree("kernel/sys.c", &text.replace("TWO\n", "Two\n"));
    lab.ok(&["refresh"]);
    assert!(lab.patch(2).contains("+Two\n")); // its own line
    let text = fs::read_to_string(lab.tree("kernel/sys.c")).unwrap();
    lab.write_tree("kernel/sys.c", &text.replace("six\n", "SIX\n"));
    lab.ok(&["refresh", "--into", "3", "kernel/sys.c"]);
    assert!(lab.patch(3).contains("+SIX\n"));
    lab.ok(&["check"]);
}

#[test]
fn folds_lines_of_the_base_if_one_patch_touches_the_file() {
    let lab = Lab::new();
    lab.write_tree("Makefile", "all: kevent\n\nclean:\n\ntags:\n");
    lab.ok(&["refresh", "--into", "2", "Makefile"]);
    lab.write_tree("Makefile", "all: kevent\n\nclean:\n\ntags: all\n");
    lab.ok(&["refresh"]);
    assert!(lab.patch(2).contains("+tags: all\n"));
}

#[test]
fn a_file_that_no_patch_touches() {
    let lab = Lab::new();
    lab.write_tree("Makefile", "all: kevent\n");
    lab.fails(&["refresh"], &["Makefile", "no patch touches", "--into"]);
    lab.ok(&["refresh", "--into", "2", "Makefile"]);
    assert!(lab.patch(2).contains("+all: kevent\n"));
}

#[test]
fn conflicting_edits() {
    let lab = Lab::new();
    lab.write_tree("kernel/kevent/b.rs", "tree\n");
    lab.write_overlay("kernel/kevent/b.rs", "overlay\n");
    lab.fails(&["refresh"], &["kernel/kevent/b.rs", "differently"]);
    lab.write_overlay("kernel/kevent/b.rs", "tree\n");
    lab.ok(&["refresh"]);
    assert!(lab.patch(3).contains("+tree\n"));
}

#[test]
fn new_files() {
    let lab = Lab::new();
    lab.write_tree("kernel/kevent/c.rs", "c\n");
    lab.fails(&["refresh"], &["kernel/kevent/c.rs", "new", "commit them"]);
    lab.commit("kevent: add c");
    lab.ok(&["refresh"]);
    assert!(lab.patches().contains_key("0004-kevent-add-c.patch"));
    assert!(lab.overlay("kernel/kevent/c.rs").exists());

    lab.write_overlay("kernel/kevent/d.rs", "d\n");
    lab.fails(&["refresh"], &["kernel/kevent/d.rs", "new", "--into"]);
    lab.fails(
        &["refresh", "--into", "9", "kernel/kevent/d.rs"],
        &["no patch 9"],
    );
    lab.fails(
        &["refresh", "--into", "x", "kernel/kevent/d.rs"],
        &["number", "'x'"],
    );
    lab.ok(&[
        "refresh",
        "--into",
        "1",
        "kernel-tree-overlay/kernel/kevent/d.rs",
    ]);
    assert!(lab.patch(1).contains("+d\n"));
    assert_eq!(
        fs::read_to_string(lab.tree("kernel/kevent/d.rs")).unwrap(),
        "d\n"
    );
    lab.ok(&["check"]);
}

#[test]
fn removed_files() {
    let lab = Lab::new();
    fs::remove_file(lab.overlay("kernel/kevent/b.rs")).unwrap();
    lab.ok(&["refresh"]);
    assert!(!lab.tree("kernel/kevent/b.rs").exists());
    assert!(!lab.patch(3).contains("b.rs"));
    lab.ok(&["check"]);
}

#[test]
fn respects_the_developers_commits() {
    let lab = Lab::new();
    // A fixup by subject, an edit of a line that only the fixup wrote, and a reworded last commit.
    lab.write_tree(
        "kernel/kevent/a.rs",
        "a1\na2\na3\na4\nfive\na6\na7\na8\nfrom 2\n",
    );
    lab.commit("fixup! kevent: add a");
    lab.write_tree(
        "kernel/kevent/a.rs",
        "a1\na2\na3\na4\nFIVE\na6\na7\na8\nfrom 2\n",
    );
    lab.ok(&["refresh"]);
    assert!(lab.patch(1).contains("+FIVE\n"));
    assert_eq!(lab.patches().len(), 3);
    lab.git(&[
        "commit",
        "-q",
        "--amend",
        "-m",
        "kevent: add b, at last\n\nBecause.",
    ]);
    lab.ok(&["refresh"]);
    assert!(lab
        .patches()
        .contains_key("0003-kevent-add-b-at-last.patch"));
    assert!(!lab.patches().contains_key("0003-kevent-add-b.patch"));
    assert!(lab.patch(3).contains("\nBecause.\n"));
    lab.ok(&["check"]);
}

#[test]
fn a_fixup_of_nothing() {
    let lab = Lab::new();
    lab.write_tree("kernel/kevent/a.rs", "A\n");
    lab.commit("fixup! no such patch");
    lab.fails(&["refresh"], &["fixup! no such patch"]);
}

#[test]
fn an_edit_that_cannot_be_folded() {
    let lab = Lab::bare();
    lab.write_tree("kernel/kevent/a.rs", "1\n2\n3\n");
    lab.commit("kevent: add a");
    lab.write_tree("kernel/kevent/a.rs", "1\nTwo\n3\n");
    lab.commit("kevent: say it in words");
    lab.ok(&["refresh"]);
    lab.write_tree("kernel/kevent/a.rs", "One\nTwo\n3\n");
    lab.fails(&["refresh"], &["kernel/kevent/a.rs", "--into", "'"]);
    lab.ok(&["refresh", "--into", "2", "kernel/kevent/a.rs"]);
    assert!(lab.patch(2).contains("+One\n"));
}

#[test]
fn a_patch_that_does_not_apply() {
    let lab = Lab::new();
    let name = lab.project("patches/0002-kevent-wire-it-up.patch");
    let text = fs::read_to_string(&name).unwrap();
    fs::write(&name, text.replace("\n three\n", "\n THREE\n")).unwrap();
    lab.fails(
        &["check"],
        &[
            "patches/0002-kevent-wire-it-up.patch",
            "kernel/sys.c",
            "'base'",
        ],
    );
    lab.fails(
        &["apply"],
        &[
            "patches/0002-kevent-wire-it-up.patch",
            "kernel/sys.c",
            "'base'",
        ],
    );
    fs::write(&name, "nonsense\n").unwrap();
    lab.fails(&["apply"], &["patches/0002"]);
}

#[test]
fn changed_patches_touch_only_what_differs() {
    let lab = Lab::new();
    let time = age(&lab.tree("kernel/kevent/a.rs"));
    let name = lab.project("patches/0003-kevent-add-b.patch");
    let text = fs::read_to_string(&name).unwrap();
    fs::write(&name, text.replace("+b1\n", "+B1\n")).unwrap();
    lab.fails(&["check"], &["kernel/kevent/b.rs"]);
    lab.ok(&["apply"]);
    assert_eq!(
        fs::read_to_string(lab.tree("kernel/kevent/b.rs")).unwrap(),
        "B1\nb2\n"
    );
    assert_eq!(time_of(&lab.tree("kernel/kevent/a.rs")), time);
    // The overlay was only behind, not edited.
    assert_eq!(
        fs::read_to_string(lab.overlay("kernel/kevent/b.rs")).unwrap(),
        "B1\nb2\n"
    );
    lab.ok(&["check"]);
    lab.ok(&["refresh"]); // writes the patch as git does
    let before = lab.everything();
    lab.ok(&["refresh"]);
    assert_eq!(before, lab.everything());
}

#[test]
fn changed_patches_and_local_work() {
    let lab = Lab::new();
    let name = lab.project("patches/0003-kevent-add-b.patch");
    let text = fs::read_to_string(&name).unwrap();
    fs::write(&name, text.replace("+b1\n", "+B1\n")).unwrap();
    lab.write_tree("kernel/kevent/c.rs", "c\n");
    lab.commit("kevent: add c");
    lab.write_tree(
        "kernel/kevent/a.rs",
        "A1\na2\na3\na4\na5\na6\na7\na8\nfrom 2\n",
    );
    lab.fails(&["apply"], &["refresh", "reset --hard"]);
    lab.ok(&["refresh"]);
    assert_eq!(lab.patches().len(), 4);
    assert!(lab.patch(1).contains("+A1\n"));
    assert!(lab.patch(3).contains("+B1\n"));
    assert_eq!(
        fs::read_to_string(lab.tree("kernel/kevent/b.rs")).unwrap(),
        "B1\nb2\n"
    );
    lab.ok(&["check"]);
}

#[test]
fn changed_patches_against_local_work() {
    let lab = Lab::new();
    let name = lab.project("patches/0003-kevent-add-b.patch");
    let text = fs::read_to_string(&name).unwrap();
    fs::write(&name, text.replace("+b1\n", "+B1\n")).unwrap();
    lab.write_tree("kernel/kevent/b.rs", "mine\nb2\n");
    lab.fails(&["refresh"], &["kernel/kevent/b.rs", "patches/"]);
}

#[test]
fn another_branch() {
    let lab = Lab::new();
    lab.git(&["switch", "-q", "-c", "elsewhere"]);
    lab.fails(&["apply"], &["not on branch kevent"]);
    lab.fails(&["refresh"], &["not on branch kevent"]);
}

#[test]
fn an_interrupted_refresh_is_finished() {
    let lab = Lab::new();
    let whole = lab.everything();
    let head = lab.git(&["rev-parse", "HEAD"]);
    lab.git(&["update-ref", "refs/kevent/exporting", &head]);
    for path in ["0001-kevent-add-a.patch", "0003-kevent-add-b.patch"] {
        fs::remove_file(lab.project("patches").join(path)).unwrap();
    }
    fs::remove_file(lab.overlay("kernel/kevent/a.rs")).unwrap();
    lab.ok(&["apply"]);
    assert_eq!(whole.contents(), lab.everything().contents());
    lab.ok(&["check"]);
}

#[test]
fn the_overlay_must_be_exact() {
    let lab = Lab::new();
    lab.write_overlay("kernel/kevent/more.rs", "x\n");
    lab.fails(&["check"], &["kernel/kevent/more.rs", "added by no patch"]);
    fs::remove_file(lab.overlay("kernel/kevent/more.rs")).unwrap();
    fs::remove_file(lab.overlay("kernel/kevent/a.rs")).unwrap();
    lab.fails(&["check"], &["kernel/kevent/a.rs", "missing"]);
}

#[test]
fn not_a_tree() {
    let dir = tempfile::tempdir().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_series"))
        .args([
            "--tree",
            dir.path().to_str().unwrap(),
            "--repo",
            dir.path().to_str().unwrap(),
            "check",
        ])
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("./build.sh setup"), "{said}");
}
