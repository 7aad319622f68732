// SPDX-License-Identifier: MIT

//! kevent-trace on the running kernel, if that has kevent and the test is root.

use kevent::{Error, Post, Queue};
use std::process::Command;

/// What is traced: this program, run again.
#[test]
#[ignore = "run by the test below"]
fn traced_program() {
    let queue = Queue::builder().entries(8).build().unwrap();

    queue.post(&[Post::new(0x77)]).unwrap();
    assert_eq!(queue.next().unwrap().user_data(), 0x77);
}

#[test]
fn events_of_a_command_are_shown_in_words() {
    match Queue::builder().entries(8).build() {
        Err(Error::Unsupported) => return println!("skipped: no kevent in this kernel"),
        queue => drop(queue.unwrap()),
    }
    let output = Command::new(env!("CARGO_BIN_EXE_kevent-trace"))
        .arg(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "traced_program"])
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let error = String::from_utf8(output.stderr).unwrap();

    if error.contains("cannot make") {
        return println!("skipped: {error}");
    }
    assert!(output.status.success(), "{error}");
    let posts: Vec<_> = text
        .lines()
        .filter(|line| line.contains(" post USER "))
        .collect();
    assert_eq!(posts.len(), 1, "{text}");
    assert!(posts[0].ends_with("of no watch user data 0x77"), "{text}");
}

#[test]
fn what_cannot_be_traced_is_said_in_one_line() {
    let output = Command::new(env!("CARGO_BIN_EXE_kevent-trace"))
        .args(["--tracing", "/nowhere", "true"])
        .output()
        .unwrap();

    assert!(!output.status.success());
    assert!(
        String::from_utf8(output.stderr)
            .unwrap()
            .starts_with("kevent-trace: cannot make /nowhere/")
    );
}
