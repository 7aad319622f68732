// SPDX-License-Identifier: GPL-2.0-only

//! Boots a kernel under virtme-ng and never waits for it longer than allowed.
//!
//! virtme-ng, its helpers and QEMU run in a process group of their own, so that
//! all of them can be ended at once. QEMU writes the serial console to standard
//! error, which is read here and kept in a file from the first line on.

use std::ffi::OsString;
use std::fs::File;
use std::io::Read;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::record::{BINARY, GUEST_DIR};

/// How often the state of the machine is looked at.
const TICK: Duration = Duration::from_millis(100);
/// How long a group may take to end by itself after it was asked to.
const GRACE: Duration = Duration::from_secs(3);

/// A machine to be started.
#[derive(Clone, Debug)]
pub struct Machine {
    /// The `vng` program.
    pub vng: PathBuf,
    /// The kernel image.
    pub image: PathBuf,
    /// The directory that the guest finds at [`GUEST_DIR`].
    pub share: PathBuf,
    /// Where the console goes.
    pub console: PathBuf,
    /// Use KVM if there is one.
    pub kvm: bool,
    /// Emulate all processors in one thread.
    pub one_thread: bool,
    /// Virtual processors.
    pub cpus: u32,
    /// Memory, as `vng --memory` takes it.
    pub memory: String,
    /// The time for everything.
    pub limit: Duration,
    /// The time until the guest says its first word.
    pub boot_limit: Duration,
    /// The time to power off after the last word.
    pub off_limit: Duration,
}

/// How far the guest has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// The kernel boots.
    Booting,
    /// The guest has said its first word.
    Running,
    /// The guest has said its last word.
    Done,
}

/// How a machine ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Ended {
    /// By itself.
    Off(ExitStatus),
    /// It was ended, because it had not got past this stage in so much time.
    TimedOut(Stage, Duration),
    /// The user wants to stop.
    Interrupted,
}

/// Children that are ended, all of them, when this goes out of scope.
struct Group {
    child: Child,
    over: bool,
}

impl Group {
    fn signal(&self, signal: i32) {
        // SAFETY: no memory is involved. The group is the child's own, made
        // when it was started, and the child has not been waited for unless
        // `over` is set.
        unsafe { libc::killpg(self.child.id() as i32, signal) };
    }

    fn end(&mut self) {
        if self.over {
            return;
        }
        self.signal(libc::SIGTERM);
        let deadline = Instant::now() + GRACE;
        while Instant::now() < deadline && matches!(self.child.try_wait(), Ok(None)) {
            thread::sleep(TICK / 2);
        }
        // The group outlives its leader while any of its processes is alive.
        self.signal(libc::SIGKILL);
        let _ = self.child.wait();
        self.over = true;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.end();
    }
}

impl Machine {
    /// The command line, without the environment.
    fn arguments(&self) -> Vec<OsString> {
        let mut args: Vec<OsString> = vec!["--run".into(), self.image.clone().into()];
        // The kernel has no drivers for the microvm machine.
        args.push("--disable-microvm".into());
        if !self.kvm {
            args.push("--disable-kvm".into());
            let thread = if self.one_thread { "single" } else { "multi" };
            args.push(format!("--qemu-opts=-accel tcg,thread={thread}").into());
            // An emulated timer may come late to the kernel's check of it, which panics then.
            args.extend(["--append", "no_timer_check"].map(OsString::from));
        }
        let mut rwdir = OsString::from(format!("{GUEST_DIR}="));
        rwdir.push(&self.share);
        // 9p works everywhere; virtiofsd is not on every machine.
        args.extend(["--force-9p", "--verbose", "--user", "root"].map(OsString::from));
        args.extend(["--cpus".into(), self.cpus.to_string().into()]);
        args.extend(["--memory".into(), self.memory.clone().into()]);
        args.extend(["--cwd".into(), "/".into()]);
        args.extend(["--rwdir".into(), rwdir]);
        args.push("--append".into());
        // Keep the whole log, print all but debug messages on the console, and
        // run KUnit whatever its configured default is.
        args.push("log_buf_len=4M loglevel=7 kunit.enable=1 kunit.autorun=1".into());
        args.push("--exec".into());
        args.push(
            format!("exec {GUEST_DIR}/{BINARY} guest {GUEST_DIR} >{GUEST_DIR}/guest.log 2>&1")
                .into(),
        );
        args
    }

    /// Boots and waits for the end. `stage` is asked ten times a second how far
    /// the guest is, `stop` is set when the user interrupts.
    pub fn run(
        &self,
        stop: &Arc<AtomicBool>,
        mut stage: impl FnMut() -> Result<Stage>,
    ) -> Result<Ended> {
        let vng = &self.vng;
        let mut command = Command::new(vng);
        command
            .args(self.arguments())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0);
        // vng starts virtme-run, which lies next to it.
        if let Some(dir) = vng.parent().filter(|d| !d.as_os_str().is_empty()) {
            let mut path = dir.as_os_str().to_owned();
            path.push(":");
            path.push(std::env::var_os("PATH").unwrap_or_default());
            command.env("PATH", path);
        }
        let mut child = command
            .spawn()
            .with_context(|| format!("--vng {}: cannot be started", vng.display()))?;
        let out = child.stdout.take();
        let err = child.stderr.take();
        let mut group = Group { child, over: false };
        let copies = [
            copy(out, &self.console.with_extension("vng.log"))?,
            copy(err, &self.console)?,
        ];

        let start = Instant::now();
        let mut done_at = None;
        let ended = loop {
            let now = stage()?;
            if let Some(status) = group.child.try_wait().context("cannot wait for vng")? {
                break Ended::Off(status);
            }
            if stop.load(Ordering::Relaxed) {
                break Ended::Interrupted;
            }
            let spent = start.elapsed();
            match now {
                Stage::Done => {
                    let since: &Instant = done_at.get_or_insert_with(Instant::now);
                    if since.elapsed() > self.off_limit {
                        break Ended::TimedOut(now, self.off_limit);
                    }
                }
                Stage::Booting if spent > self.boot_limit => {
                    break Ended::TimedOut(now, self.boot_limit);
                }
                _ if spent > self.limit => break Ended::TimedOut(now, self.limit),
                _ => {}
            }
            thread::sleep(TICK);
        };
        group.end();
        for done in copies {
            // All writers are gone, so the last lines are there at once.
            let _ = done.recv_timeout(GRACE);
        }
        Ok(ended)
    }
}

/// Copies a pipe to a file in the background; the receiver gets a message at the end.
fn copy(from: Option<impl Read + Send + 'static>, to: &Path) -> Result<Receiver<()>> {
    let mut file = File::create(to).with_context(|| format!("cannot write {}", to.display()))?;
    let (sender, receiver) = mpsc::channel();
    if let Some(mut from) = from {
        thread::spawn(move || {
            let _ = std::io::copy(&mut from, &mut file);
            let _ = sender.send(());
        });
    }
    Ok(receiver)
}

/// The last lines of a text, for a report.
pub fn tail(text: &str, count: usize) -> Vec<String> {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(count)..]
        .iter()
        .map(|l| l.trim_end().to_string())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn machine(dir: &Path, script: &str) -> Machine {
        let vng = dir.join("vng");
        // Written under another name first, so that no other thread's fork
        // holds the file open for writing when it is executed.
        std::fs::write(dir.join("script"), format!("#!/bin/sh\n{script}\n")).unwrap();
        let status = Command::new("cp")
            .arg(dir.join("script"))
            .arg(&vng)
            .status()
            .unwrap();
        assert!(status.success());
        std::fs::set_permissions(&vng, std::fs::Permissions::from_mode(0o755)).unwrap();
        Machine {
            vng,
            image: dir.join("bzImage"),
            share: dir.to_path_buf(),
            console: dir.join("console.log"),
            kvm: false,
            one_thread: true,
            cpus: 2,
            memory: "1G".into(),
            limit: Duration::from_secs(30),
            boot_limit: Duration::from_secs(20),
            off_limit: Duration::from_secs(10),
        }
    }

    fn console(m: &Machine) -> String {
        std::fs::read_to_string(&m.console).unwrap()
    }

    fn alive(pid: &str) -> bool {
        Path::new("/proc").join(pid.trim()).join("exe").exists()
    }

    #[test]
    fn ends_by_itself() {
        let dir = tempfile::tempdir().unwrap();
        let script = format!(
            "cd {}; echo console >&2; echo \"$@\" >args; exit 3",
            dir.path().display()
        );
        let m = machine(dir.path(), &script);
        let ended = m.run(&Arc::default(), || Ok(Stage::Running)).unwrap();
        assert!(
            matches!(ended, Ended::Off(s) if s.code() == Some(3)),
            "{ended:?}"
        );
        assert_eq!(console(&m), "console\n");
        let args = std::fs::read_to_string(dir.path().join("args")).unwrap();
        let wanted = "--disable-microvm --disable-kvm --qemu-opts=-accel tcg,thread=single \
                      --append no_timer_check";
        assert!(args.contains(wanted), "{args}");
        assert!(args.contains(&format!("--rwdir {GUEST_DIR}={}", dir.path().display())));
    }

    #[test]
    fn hangs_and_takes_its_children_along() {
        let dir = tempfile::tempdir().unwrap();
        let pidfile = dir.path().join("pid");
        // Like QEMU below vng: a grandchild that does not care for SIGTERM.
        let mut m = machine(
            dir.path(),
            &format!(
                "sh -c 'trap \"\" TERM; echo $$ >{}; echo last words >&2; while :; do sleep 1; done' & wait",
                pidfile.display()
            ),
        );
        m.boot_limit = Duration::from_millis(700);
        let ended = m.run(&Arc::default(), || Ok(Stage::Booting)).unwrap();
        assert_eq!(ended, Ended::TimedOut(Stage::Booting, m.boot_limit));
        assert_eq!(console(&m), "last words\n");
        let pid = std::fs::read_to_string(pidfile).unwrap();
        let deadline = Instant::now() + Duration::from_secs(5);
        while alive(&pid) && Instant::now() < deadline {
            thread::sleep(TICK);
        }
        assert!(!alive(&pid), "process {pid} was left behind");
    }

    #[test]
    fn each_stage_has_its_limit() {
        let dir = tempfile::tempdir().unwrap();
        let short = Duration::from_millis(300);
        let mut m = machine(dir.path(), "sleep 60");
        m.limit = short;
        let ended = m.run(&Arc::default(), || Ok(Stage::Running)).unwrap();
        assert_eq!(ended, Ended::TimedOut(Stage::Running, short));
        m.limit = Duration::from_secs(60);
        m.off_limit = short;
        let ended = m.run(&Arc::default(), || Ok(Stage::Done)).unwrap();
        assert_eq!(ended, Ended::TimedOut(Stage::Done, short));
    }

    #[test]
    fn stops_when_told() {
        let dir = tempfile::tempdir().unwrap();
        let m = machine(dir.path(), "sleep 60");
        let stop = Arc::new(AtomicBool::new(true));
        assert_eq!(
            m.run(&stop, || Ok(Stage::Running)).unwrap(),
            Ended::Interrupted
        );
    }

    #[test]
    fn vng_missing() {
        let dir = tempfile::tempdir().unwrap();
        let mut m = machine(dir.path(), "");
        m.vng = "/no/such/vng".into();
        let error = m.run(&Arc::default(), || Ok(Stage::Running)).unwrap_err();
        assert!(error
            .to_string()
            .contains("/no/such/vng: cannot be started"));
    }

    #[test]
    fn last_lines() {
        assert_eq!(tail("a\nb\r\nc\n", 2), ["b", "c"]);
        assert_eq!(tail("a", 5), ["a"]);
    }
}
