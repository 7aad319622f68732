// SPDX-License-Identifier: MIT

//! The program, on canned files, and on the running kernel if that has kevent.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Output};

const FDINFO: &str = "pos:\t0\nflags:\t02000002\nid:\t7\nentries:\t256\nmmap_size:\t12288\nentries_offset:\t4096\n\
    posted:\t10\nmerged:\t3\ndeferred:\t2\nwoken:\t4\nsaved:\t6\nbacklog:\t1\nwaiters:\t1\n\
    watch: handle:0000000100000000 source:2 flags:0 ident:5 events:1 user_data:2a state:on\n";

fn top(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_kevent-top"))
        .args(arguments)
        .output()
        .unwrap()
}

/// A process with these descriptors: what the link says, and its fdinfo.
fn process(proc: &Path, pid: u32, command: &str, files: &[(u32, &str, &str)]) {
    let folder = proc.join(pid.to_string());

    fs::create_dir_all(folder.join("fd")).unwrap();
    fs::create_dir_all(folder.join("fdinfo")).unwrap();
    fs::write(folder.join("comm"), format!("{command}\n")).unwrap();
    for (fd, link, info) in files {
        symlink(link, folder.join("fd").join(fd.to_string())).unwrap();
        fs::write(folder.join("fdinfo").join(fd.to_string()), info).unwrap();
    }
}

fn canned() -> tempfile::TempDir {
    let proc = tempfile::tempdir().unwrap();

    process(
        proc.path(),
        12,
        "server",
        &[
            (3, "anon_inode:[kevent]", FDINFO),
            (4, "anon_inode:[eventpoll]", FDINFO),
        ],
    );
    process(
        proc.path(),
        9,
        "bad\x1b[31m",
        &[(5, "anon_inode:[kevent]", FDINFO)],
    );
    process(proc.path(), 10, "none", &[(0, "/dev/null", "pos:\t0\n")]);
    fs::create_dir(proc.path().join("sys")).unwrap();
    proc
}

#[test]
fn the_table_has_a_line_for_each_descriptor() {
    let proc = canned();
    let output = top(&["--once", "--proc", proc.path().to_str().unwrap()]);
    let text = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<Vec<&str>> = text
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();

    assert!(output.status.success());
    assert_eq!(lines.len(), 3, "{text}");
    assert_eq!(lines[1][0], "9");
    assert_eq!(
        lines[2],
        [
            "12", "server", "3", "7", "256", "1", "SOCKET", "10", "3", "2", "4", "6", "1", "1"
        ]
    );
    assert!(
        !text.contains('\x1b'),
        "a name must not reach the terminal as it is"
    );
}

#[test]
fn json_has_every_number() {
    let proc = canned();
    let output = top(&[
        "--once",
        "--json",
        "--pid",
        "12",
        "--proc",
        proc.path().to_str().unwrap(),
    ]);
    let queues: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();

    assert_eq!(
        queues,
        serde_json::json!([{
            "pid": 12, "command": "server", "fd": 3, "id": 7, "entries": 256, "posted": 10, "merged": 3,
            "deferred": 2, "woken": 4, "saved": 6, "backlog": 1, "waiters": 1, "watches": {"SOCKET": 1}
        }])
    );
}

#[test]
fn a_queue_that_is_gone_meanwhile_is_passed_over() {
    let proc = canned();

    fs::remove_file(proc.path().join("12/fdinfo/3")).unwrap();
    let output = top(&[
        "--once",
        "--json",
        "--pid",
        "12",
        "--proc",
        proc.path().to_str().unwrap(),
    ]);
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "[]\n");
}

#[test]
fn bad_input_is_one_line_that_says_what_is_wrong() {
    let proc = canned();
    let path = proc.path().to_str().unwrap();
    let output = top(&["--once", "--pid", "99", "--proc", path]);

    assert_eq!(
        String::from_utf8(output.stderr).unwrap(),
        "kevent-top: there is no process 99\n"
    );
    assert!(!output.status.success());
    for arguments in [
        ["--interval", "0"],
        ["--interval", "nan"],
        ["--interval", "-1"],
        ["--pid", "x"],
    ] {
        assert!(!top(&arguments).status.success(), "{arguments:?}");
    }
    let output = top(&["--once", "--proc", &format!("{path}/nowhere")]);
    assert!(
        String::from_utf8(output.stderr)
            .unwrap()
            .starts_with("kevent-top: cannot read ")
    );
}

/// Needs a kernel with kevent; elsewhere it says so and does nothing.
#[test]
fn live_queue_is_shown_with_its_watches_and_events() {
    use kevent::{Error, Post, Queue, Watch};
    use std::time::Duration;

    let queue = match Queue::builder().entries(8).build() {
        Err(Error::Unsupported) => return println!("skipped: no kevent in this kernel"),
        queue => queue.unwrap(),
    };
    queue
        .add_one(Watch::timer(Duration::from_secs(3600)))
        .unwrap();
    queue.post(&[Post::new(1), Post::new(2)]).unwrap();

    let pid = std::process::id().to_string();
    let output = top(&["--once", "--json", "--pid", &pid]);
    let queues: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(queues.as_array().unwrap().len(), 1, "{queues}");
    let shown = &queues[0];
    assert_eq!(shown["entries"], 8, "{shown}");
    assert_eq!(shown["posted"], 2, "{shown}");
    assert_eq!(shown["woken"], 0, "{shown}");
    assert_eq!(shown["watches"], serde_json::json!({"TIMER": 1}), "{shown}");
}
