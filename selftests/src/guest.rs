// SPDX-License-Identifier: GPL-2.0-only

//! What runs inside the booted kernel: does what the plan says and records
//! what happens. It judges nothing; that is the host's part.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::os::fd::{FromRawFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{bail, Context, Result};

use crate::klog::{MARK_BEGIN, MARK_END};
use crate::live;
use crate::record::{
    read_plan, End, Plan, Program, Record, Writer, DMESG_END, DMESG_START, KSELFTEST, PROBE_32,
};

/// How long to wait for a killed program, and for the rest of its output.
const GRACE: Duration = Duration::from_secs(5);
const PATIENCE: &str = "KEVENT_PATIENCE";
const KMEMLEAK: &str = "/sys/kernel/debug/kmemleak";

/// Does everything the plan in `dir` says.
pub fn run(dir: &Path) -> Result<()> {
    let plan = read_plan(dir)?;
    let mut writer = Writer::new(dir)?;
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    writer.write(&Record::Hello {
        release: release.trim().into(),
    })?;
    let done = work(dir, &plan, &mut writer);
    if let Err(e) = &done {
        writer.write(&Record::Trouble {
            text: format!("{e:#}"),
        })?;
    }
    save_kernel_log(&dir.join(DMESG_END))?;
    writer.write(&Record::Done)?;
    done
}

fn work(dir: &Path, plan: &Plan, writer: &mut Writer) -> Result<()> {
    save_kernel_log(&dir.join(DMESG_START))?;
    for call in &plan.native {
        writer.write(&Record::Live {
            abi: live::NATIVE.into(),
            number: call.number,
            value: live::try_native(call),
        })?;
    }
    if plan.probe_32 {
        probe_32(&dir.join(PROBE_32), writer)?;
    }
    if Path::new(KMEMLEAK).exists() {
        forget_leaks();
    }
    // The tests multiply their own limits: see kevent_test.h.
    std::env::set_var(PATIENCE, plan.patience.to_string());
    if !plan.programs.is_empty() {
        let tests = local_copy(&dir.join(KSELFTEST))?;
        for program in &plan.programs {
            mark(MARK_BEGIN, &program.title);
            run_program(&tests, program, writer)?;
            mark(MARK_END, &program.title);
        }
    }
    check_leaks(writer)
}

/// Says in the kernel log what runs now.
fn mark(what: &str, name: &str) {
    // Without it reports in the log are found all the same.
    let _ = fs::write("/dev/kmsg", format!("{what}{name}\n"));
}

/// Writes the kernel's log buffer to a file.
fn save_kernel_log(to: &Path) -> Result<()> {
    const READ_ALL: i32 = 3;
    const SIZE_BUFFER: i32 = 10;
    // SAFETY: this command takes no buffer.
    let size = unsafe { libc::klogctl(SIZE_BUFFER, std::ptr::null_mut(), 0) };
    let mut buffer = vec![0u8; usize::try_from(size).unwrap_or(0).max(1 << 20)];
    // SAFETY: the buffer is as long as said, and alive during the call.
    let got = unsafe { libc::klogctl(READ_ALL, buffer.as_mut_ptr().cast(), buffer.len() as i32) };
    let got = usize::try_from(got)
        .map_err(|_| std::io::Error::last_os_error())
        .context("cannot read the kernel log")?;
    fs::write(to, &buffer[..got]).with_context(|| format!("cannot write {}", to.display()))
}

fn probe_32(program: &Path, writer: &mut Writer) -> Result<()> {
    let abi = live::COMPAT;
    let out = match Command::new(program).stdin(Stdio::null()).output() {
        Ok(out) => out,
        Err(e) if e.raw_os_error() == Some(libc::ENOEXEC) => {
            return writer.write(&Record::LiveSkip {
                abi: abi.into(),
                reason: "this kernel runs no 32-bit programs (CONFIG_IA32_EMULATION)".into(),
            });
        }
        Err(e) => return Err(e).context("cannot start the 32-bit program"),
    };
    for (number, value) in live::parse_32(&String::from_utf8_lossy(&out.stdout)) {
        writer.write(&Record::Live {
            abi: abi.into(),
            number,
            value,
        })?;
    }
    if !out.status.success() {
        writer.write(&Record::Trouble {
            text: format!("the 32-bit program ended with {}", out.status),
        })?;
    }
    Ok(())
}

/// Mounts a tmpfs on /tmp and copies the tests there: 9p, which the root file
/// system is on, behaves unlike a local one in many ways that tests notice.
fn local_copy(from: &Path) -> Result<PathBuf> {
    let none = c"tmpfs".as_ptr();
    // SAFETY: all arguments are strings that end with NUL, or NULL.
    let rc = unsafe { libc::mount(none, c"/tmp".as_ptr(), none, 0, std::ptr::null()) };
    if rc != 0 {
        return Err(std::io::Error::last_os_error()).context("cannot mount a tmpfs on /tmp");
    }
    let to = PathBuf::from("/tmp/kselftest");
    let status = Command::new("cp").arg("-a").arg(from).arg(&to).status()?;
    if !status.success() {
        bail!("cannot copy the tests to /tmp");
    }
    Ok(to)
}

/// Starts the program with both outputs in one pipe, in their true order.
fn start(tests: &Path, program: &Program) -> Result<(Child, File)> {
    let mut fds = [0; 2];
    // SAFETY: there is room for two descriptors.
    if unsafe { libc::pipe2(fds.as_mut_ptr(), libc::O_CLOEXEC) } != 0 {
        return Err(std::io::Error::last_os_error()).context("cannot make a pipe");
    }
    // SAFETY: both are open, and nothing else owns them.
    let (read, write) = unsafe { (OwnedFd::from_raw_fd(fds[0]), OwnedFd::from_raw_fd(fds[1])) };
    let dir = tests.join(&program.dir);
    let child = Command::new(dir.join(&program.name))
        .current_dir(&dir)
        .stdin(Stdio::null())
        .stdout(write.try_clone()?)
        .stderr(write)
        .process_group(0)
        .spawn()?;
    Ok((child, File::from(read)))
}

/// Sends the lines of a pipe to a channel.
fn read_lines(from: File) -> Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let mut reader = BufReader::new(from);
        let mut line = Vec::new();
        while matches!(reader.read_until(b'\n', &mut line), Ok(n) if n > 0) {
            let text = String::from_utf8_lossy(&line);
            if sender.send(text.trim_end_matches('\n').into()).is_err() {
                break;
            }
            line.clear();
        }
    });
    receiver
}

fn run_program(tests: &Path, program: &Program, writer: &mut Writer) -> Result<()> {
    let name = &program.title;
    writer.write(&Record::Begin { name: name.clone() })?;
    let end = match start(tests, program) {
        Ok((child, pipe)) => watch(child, &read_lines(pipe), program, writer)?,
        Err(e) => End::NotStarted(format!("{e:#}")),
    };
    writer.write(&Record::End {
        name: name.clone(),
        end,
    })
}

/// Records what the program prints until it ends or its time is up.
fn watch(
    mut child: Child,
    lines: &Receiver<String>,
    program: &Program,
    writer: &mut Writer,
) -> Result<End> {
    let name = &program.title;
    let group = child.id() as i32;
    let limit = Duration::from_secs(program.timeout);
    let start = Instant::now();
    let mut output = |line: String| {
        writer.write(&Record::Output {
            name: name.clone(),
            line,
        })
    };

    let end = loop {
        match lines.recv_timeout(Duration::from_millis(50)) {
            Ok(line) => output(line)?,
            Err(RecvTimeoutError::Timeout) => {}
            // The other end of the pipe is closed; the program may live on.
            Err(RecvTimeoutError::Disconnected) => thread::sleep(Duration::from_millis(20)),
        }
        if let Some(status) = child.try_wait()? {
            break match status.signal() {
                Some(signal) => End::Signal(signal),
                None => End::Exit(status.code().unwrap_or(-1)),
            };
        }
        if program.timeout > 0 && start.elapsed() > limit {
            for line in where_they_are(group) {
                output(format!("# {line}"))?;
            }
            break End::Timeout(program.timeout);
        }
    };

    // Whatever it left behind goes as well.
    // SAFETY: no memory is involved; the group was made for this program.
    unsafe { libc::killpg(group, libc::SIGKILL) };
    let deadline = Instant::now() + GRACE;
    while matches!(child.try_wait(), Ok(None)) {
        if Instant::now() > deadline {
            bail!("{name} cannot be killed: it hangs in the kernel");
        }
        thread::sleep(Duration::from_millis(20));
    }
    while let Ok(line) = lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
        output(line)?;
    }
    Ok(end)
}

/// What each thread of a process group waits for, for a test that hangs.
fn where_they_are(group: i32) -> Vec<String> {
    let mut all = Vec::new();
    let numbers = |dir: &Path| -> BTreeSet<u32> {
        let entries = fs::read_dir(dir).into_iter().flatten().flatten();
        entries
            .filter_map(|e| e.file_name().to_str()?.parse().ok())
            .collect()
    };
    for pid in numbers(Path::new("/proc")) {
        let process = PathBuf::from(format!("/proc/{pid}"));
        let stat = fs::read_to_string(process.join("stat")).unwrap_or_default();
        // "pid (name) state ppid pgrp ...", and the name may hold anything.
        let pgrp = stat
            .rsplit(')')
            .next()
            .and_then(|s| s.split_whitespace().nth(2))
            .and_then(|s| s.parse::<i32>().ok());
        if pgrp != Some(group) {
            continue;
        }
        for tid in numbers(&process.join("task")) {
            let task = process.join(format!("task/{tid}"));
            let get = |file: &str| fs::read_to_string(task.join(file)).unwrap_or_default();
            let wchan = get("wchan");
            all.push(format!(
                "still running: thread {tid} ({}) of process {pid}, waiting in {}, system call {}",
                get("comm").trim(),
                if wchan.is_empty() || wchan == "0" {
                    "nothing"
                } else {
                    wchan.trim()
                },
                get("syscall").trim(),
            ));
            all.extend(get("stack").lines().map(|l| format!("  {l}")));
        }
    }
    all
}

/// Makes kmemleak forget what was lost before the tests.
fn forget_leaks() {
    // It may be absent or switched off.
    for command in ["scan", "clear"] {
        let _ = fs::write(KMEMLEAK, command);
    }
}

/// Lets kmemleak look twice, because what it sees once may just be in transit,
/// and it passes over what is younger than five seconds.
fn check_leaks(writer: &mut Writer) -> Result<()> {
    if !Path::new(KMEMLEAK).exists() {
        return Ok(());
    }
    for _ in 0..2 {
        if fs::write(KMEMLEAK, "scan").is_err() {
            return Ok(()); // There, but switched off.
        }
        thread::sleep(Duration::from_secs(3));
    }
    let text = fs::read_to_string(KMEMLEAK).unwrap_or_default();
    if text.trim().is_empty() {
        return Ok(());
    }
    writer.write(&Record::Leak { text })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Reader;
    use std::os::unix::fs::PermissionsExt;

    fn run_script(script: &str, timeout: u64) -> (Vec<String>, End) {
        let dir = tempfile::tempdir().unwrap();
        let tests = dir.path().join("kevent");
        fs::create_dir(&tests).unwrap();
        let text = dir.path().join("text");
        fs::write(&text, format!("#!/bin/sh\n{script}\n")).unwrap();
        let file = tests.join("a_test");
        // Copied by another process, so that no fork here holds it open.
        assert!(Command::new("cp")
            .args([&text, &file])
            .status()
            .unwrap()
            .success());
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
        let mut writer = Writer::new(dir.path()).unwrap();
        let program = Program {
            title: "kselftest:a_test".into(),
            dir: "kevent".into(),
            name: "a_test".into(),
            timeout,
        };
        run_program(dir.path(), &program, &mut writer).unwrap();
        let records = Reader::new(dir.path()).poll().unwrap();
        assert!(matches!(&records[0], Record::Begin { name } if name == "kselftest:a_test"));
        let Some(Record::End { end, .. }) = records.last().cloned() else {
            panic!("no end in {records:?}");
        };
        let lines = records
            .into_iter()
            .filter_map(|r| match r {
                Record::Output { line, .. } => Some(line),
                _ => None,
            })
            .collect();
        (lines, end)
    }

    #[test]
    fn both_outputs_in_order() {
        let (lines, end) = run_script("echo one; echo two >&2; printf three; exit 4", 10);
        assert_eq!(lines, ["one", "two", "three"]);
        assert_eq!(end, End::Exit(4));
    }

    #[test]
    fn killed() {
        let (_, end) = run_script("kill -SEGV $$", 10);
        assert_eq!(end, End::Signal(libc::SIGSEGV));
    }

    #[test]
    fn takes_too_long() {
        let (lines, end) = run_script("echo before; sleep 60 & sleep 60; echo after", 1);
        assert_eq!(end, End::Timeout(1));
        assert_eq!(lines[0], "before");
        assert!(
            lines
                .iter()
                .any(|l| l.starts_with("# still running: thread")),
            "{lines:?}"
        );
        assert!(!lines.contains(&"after".to_string()));
    }

    #[test]
    fn leaves_something_behind_that_holds_the_pipe() {
        let start = Instant::now();
        let (lines, end) = run_script("sleep 60 & echo done", 30);
        assert_eq!((lines, end), (vec!["done".to_string()], End::Exit(0)));
        assert!(start.elapsed() < Duration::from_secs(20));
    }

    #[test]
    fn cannot_be_started() {
        let dir = tempfile::tempdir().unwrap();
        let program = Program {
            title: "kselftest:a_test".into(),
            dir: ".".into(),
            name: "gone".into(),
            timeout: 1,
        };
        let mut writer = Writer::new(dir.path()).unwrap();
        run_program(dir.path(), &program, &mut writer).unwrap();
        let records = Reader::new(dir.path()).poll().unwrap();
        assert!(matches!(
            &records[1],
            Record::End {
                end: End::NotStarted(_),
                ..
            }
        ));
    }
}
