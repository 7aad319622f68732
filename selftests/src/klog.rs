// SPDX-License-Identifier: GPL-2.0-only

//! Finds in a kernel log what a healthy kernel never prints.
//!
//! A log line counts as the begin of a report when it matches one of
//! [`RULES`]. What follows belongs to it: up to the end-of-trace line if the
//! kernel prints one, else a bounded number of lines. The rules are anchored,
//! because "WARNING:" in the middle of a line is mostly prose.

use std::sync::LazyLock;

use regex::Regex;

use crate::ktap::strip_timestamp;

/// What the guest writes to the kernel log before it starts something, so that
/// a report can be traced to the test that caused it.
pub const MARK_BEGIN: &str = "kevent-selftests: begin ";
/// What the guest writes to the kernel log when that is over.
pub const MARK_END: &str = "kevent-selftests: end ";

/// Lines kept of one report.
const REPORT_LINES: usize = 120;
/// A line of this kind within so many lines of a report belongs to it.
const CONSEQUENCE_LINES: usize = 80;

/// One report of the kernel about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The line that says what happened.
    pub title: String,
    /// The test that ran at that time.
    pub during: Option<String>,
    /// The report, with timestamps.
    pub lines: Vec<String>,
}

/// Lines that begin a report of their own.
static RULES: LazyLock<Vec<Regex>> = LazyLock::new(|| {
    [
        // WARN_ON(), lockdep, RCU's own checks.
        r"^WARNING: ",
        // KASAN, KCSAN, KFENCE, bad pointers, sleeping in atomic context, lockups.
        r"^BUG: ",
        r"^watchdog: BUG: ",
        r"^kernel BUG at ",
        // SLUB: "BUG kmalloc-64 (Not tainted): Poison overwritten".
        r"^BUG \S+ \(",
        r"^UBSAN: ",
        // RCU stalls.
        r"^rcu: INFO: ",
        r"^INFO: rcu",
        r"rcu.*(?:detected stalls|self-detected stall|detected expedited stalls)",
        r"^rcu: .*kthread (?:starved|timer wakeup)",
        // Hung tasks, locks that lockdep does not know.
        r"^INFO: task .* blocked for more than",
        r"^INFO: trying to register non-static key",
        // Lockdep, whatever word it begins with.
        r"^(?:\S+: )?possible .* detected",
        r"suspicious RCU usage",
        r"inconsistent lock state",
        r"hard LOCKUP",
        r"^kmemleak: \d+ new suspected memory leak",
        r"^refcount_t: ",
        r"^(?:list_add|list_del) corruption",
        r"^ODEBUG: ",
        // A panic in Rust code of the kernel.
        r"^(?:\S+: )?panicked at ",
        r"^unregister_netdevice: waiting for ",
    ]
    .iter()
    .map(|r| Regex::new(r).unwrap())
    .collect()
});

/// Lines that begin a report, unless they are the consequence of one.
static CONSEQUENCES: LazyLock<Vec<Regex>> = LazyLock::new(|| {
    [
        r"^Oops: ",
        r"^Oops\[",
        r"^(?:\S+: )?(?:general protection fault|invalid opcode|divide error|double fault|stack segment)\b.*\[#\d+\]",
        r"^Unable to handle kernel ",
        r"^Internal error: ",
        r"^Kernel panic - not syncing",
    ]
    .iter()
    .map(|r| Regex::new(r).unwrap())
    .collect()
});

static CUT_HERE: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"^-+\[ cut here \]-+$").unwrap());
static END_TRACE: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"^---\[ end ").unwrap());

fn matches(rules: &[Regex], line: &str) -> bool {
    rules.iter().any(|r| r.is_match(line))
}

/// A report while it is being read.
struct Open {
    finding: Finding,
    /// Began with "cut here": ends with "end trace", and is one report.
    framed: bool,
}

/// Reads a log line by line.
#[derive(Default)]
struct Scanner {
    found: Vec<Finding>,
    open: Option<Open>,
    /// Lines since the last report that ended, for consequences of it.
    quiet: usize,
    during: Option<String>,
    suite: Option<String>,
}

impl Scanner {
    fn close(&mut self) {
        if let Some(finding) = close(self.open.take()) {
            self.found.push(finding);
            self.quiet = 0;
        }
    }

    fn open(&mut self, title: &str, raw: &str, framed: bool) {
        self.close();
        self.open = Some(Open {
            finding: Finding {
                title: title.to_string(),
                during: self.during.clone().or(self.suite.clone()),
                lines: vec![raw.to_string()],
            },
            framed,
        });
    }

    /// Follows what runs; a report does not go on when something else begins.
    fn follow(&mut self, line: &str, message: &str) {
        if let Some(name) = message.strip_prefix(MARK_BEGIN) {
            self.during = Some(name.to_string());
        } else if message.starts_with(MARK_END) {
            self.during = None;
        } else if let Some(name) = message.strip_prefix("# Subtest: ") {
            self.suite = Some(format!("kunit:{name}"));
            return;
        } else if line.starts_with("ok ") || line.starts_with("not ok ") {
            self.suite = None;
        } else {
            return;
        }
        self.close();
        self.quiet = CONSEQUENCE_LINES;
    }

    fn line(&mut self, raw: &str) {
        let raw = raw.trim_end();
        let line = strip_timestamp(raw);
        let message = line.trim();
        self.follow(line, message);
        self.quiet = self.quiet.saturating_add(1);

        if CUT_HERE.is_match(message) {
            self.open("", raw, true);
            return;
        }
        let rule = matches(&RULES, message);
        let consequence = !rule && matches(&CONSEQUENCES, message);
        match &mut self.open {
            Some(o) if o.framed && o.finding.title.is_empty() && (rule || consequence) => {
                o.finding.title = message.to_string();
                o.finding.lines.push(raw.to_string());
            }
            // A framed report may say WARNING after refcount_t; that is one.
            Some(o) if !rule || o.framed => {
                o.finding.lines.push(raw.to_string());
                if END_TRACE.is_match(message) || o.finding.lines.len() >= REPORT_LINES {
                    self.close();
                }
            }
            _ if rule => self.open(message, raw, false),
            None if consequence => match self.found.last_mut() {
                Some(last) if self.quiet < CONSEQUENCE_LINES => last.lines.push(raw.to_string()),
                _ => self.open(message, raw, false),
            },
            _ => {}
        }
    }
}

/// Finds all reports in a kernel log.
pub fn scan(log: &str) -> Vec<Finding> {
    let mut scanner = Scanner {
        quiet: CONSEQUENCE_LINES,
        ..Scanner::default()
    };
    for line in log.lines() {
        scanner.line(line);
    }
    scanner.close();
    scanner.found
}

fn close(open: Option<Open>) -> Option<Finding> {
    let mut finding = open?.finding;
    if finding.title.is_empty() {
        // "cut here" and nothing known after it: still nothing to pass over.
        finding.title = finding
            .lines
            .get(1)
            .map_or("a report that was cut off", |l| strip_timestamp(l).trim())
            .to_string();
    }
    Some(finding)
}

/// The part of the log that was written while `name` ran.
pub fn section(log: &str, name: &str) -> Vec<String> {
    let begin = format!("{MARK_BEGIN}{name}");
    let end = format!("{MARK_END}{name}");
    log.lines()
        .skip_while(|l| strip_timestamp(l) != begin)
        .skip(1)
        .take_while(|l| strip_timestamp(l) != end)
        .map(|l| l.trim_end().to_string())
        .collect()
}

static SECONDS: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"^(?:<\d+>)?\[ *(\d+\.\d+)\]").unwrap());

fn seconds(line: &str) -> Option<f64> {
    SECONDS.captures(line)?[1].parse().ok()
}

/// Makes one log of two: what the guest read from the kernel's buffer, which
/// is complete and clean, and after it what only the console saw, which goes
/// on to the very end. Without the beginning (the buffer ran over) or without a
/// buffer at all, the console alone.
pub fn combine(dmesg: Option<&str>, console: &str) -> String {
    let dmesg = match dmesg {
        Some(d) if d.lines().take(3).any(|l| l.contains("Linux version")) => d,
        _ => return console.to_string(),
    };
    let last = dmesg.lines().rev().find_map(seconds).unwrap_or(0.0);
    let mut log = dmesg.trim_end().to_string();
    log.push('\n');
    for line in console
        .lines()
        .skip_while(|l| seconds(l).is_none_or(|s| s <= last))
    {
        log.push_str(line.trim_end());
        log.push('\n');
    }
    log
}

#[cfg(test)]
mod tests {
    use super::*;

    fn titles(log: &str) -> Vec<String> {
        scan(log).into_iter().map(|f| f.title).collect()
    }

    /// Puts timestamps before the lines of a log.
    fn stamped(log: &str) -> String {
        log.lines()
            .enumerate()
            .map(|(i, l)| format!("[    1.{i:06}] {l}\n"))
            .collect()
    }

    #[test]
    fn one_of_each_kind() {
        for line in [
            "WARNING: kernel/kevent/hooks.c:12 at kevent_post+0x1/0x2, CPU#0: a/1",
            "WARNING: possible circular locking dependency detected",
            "WARNING: suspicious RCU usage",
            "BUG: kernel NULL pointer dereference, address: 0000000000000008",
            "BUG: unable to handle page fault for address: ffffffffc0000000",
            "BUG: sleeping function called from invalid context at kernel/locking/mutex.c:5",
            "BUG: scheduling while atomic: wait_test/77/0x00000002",
            "BUG: KASAN: slab-use-after-free in kevent_wake+0x1/0x2",
            "BUG: KCSAN: data-race in kevent_post / kevent_take",
            "BUG: KFENCE: out-of-bounds read in x",
            "BUG: workqueue lockup - pool cpus=0 node=0",
            "BUG kmalloc-64 (Not tainted): Poison overwritten",
            "watchdog: BUG: soft lockup - CPU#1 stuck for 26s! [wait_test:77]",
            "kernel BUG at kernel/exit.c:1!",
            "UBSAN: array-index-out-of-bounds in x.c:1:2",
            "Oops: 0000 [#1] SMP",
            "Oops: general protection fault, probably for non-canonical address 0xdead [#1] SMP",
            "general protection fault: 0000 [#1]",
            "Kernel panic - not syncing: Attempted to kill init! exitcode=0x00000009",
            "rcu: INFO: rcu_preempt detected stalls on CPUs/tasks:",
            "rcu: INFO: rcu_preempt self-detected stall on CPU",
            "INFO: rcu_tasks detected stalls on tasks:",
            "INFO: task wait_test:77 blocked for more than 120 seconds.",
            "INFO: trying to register non-static key.",
            "kmemleak: 3 new suspected memory leaks (see /sys/kernel/debug/kmemleak)",
            "refcount_t: underflow; use-after-free.",
            "list_del corruption. prev->next should be x",
            "NMI watchdog: Watchdog detected hard LOCKUP on cpu 0",
            "rust_kernel: panicked at kernel/kevent/ring.rs:12:3:",
            "unregister_netdevice: waiting for lo to become free. Usage count = 2",
        ] {
            assert_eq!(titles(&stamped(line)), [line], "{line}");
        }
    }

    #[test]
    fn benign_lines() {
        let log = stamped(
            "Linux version 7.3.4 (x@y) (Debian clang version 19.1.7)\n\
             Spectre V2 : WARNING: Unprivileged eBPF is enabled with eIBRS on\n\
             ACPI BIOS Warning (bug): 32/64X length mismatch\n\
             [Firmware Bug]: TSC frequency mismatch\n\
             MDS: Vulnerable: Clear CPU buffers attempted, no microcode\n\
             clocksource: timekeeping watchdog on CPU0: Marking clocksource 'tsc' as unstable\n\
             rcu: Hierarchical SRCU implementation.\n\
             rcu: RCU debug extended QS entry/exit.\n\
             rcu: \tRCU restricting CPUs from NR_CPUS=8 to nr_cpu_ids=2.\n\
             workqueue: x hogged CPU for >10000us 4 times, consider switching to WQ_UNBOUND\n\
             Lock dependency validator: Copyright (c) 2006 Red Hat, Inc., Ingo Molnar\n\
             kmemleak: Kernel memory leak detector initialized (mem pool available: 15000)\n\
             kasan: KernelAddressSanitizer initialized\n\
             debug: unmapping init memory\n\
             random: crng init done\n    # x: WARNING: not from the kernel\n\
             NMI watchdog: Enabled. Permanently consumes one hw-PMU counter.\n\
             hung_task: enabled\nKernel command line: panic=-1 oops=panic\n\
             Possible values: warning, bug\n\
             reboot: Power down\n",
        );
        assert_eq!(titles(&log), Vec::<String>::new());
    }

    #[test]
    fn a_framed_report_is_one() {
        let log = stamped(
            "kevent-selftests: begin kselftest:wait_test\n\
             ------------[ cut here ]------------\n\
             refcount_t: underflow; use-after-free.\n\
             WARNING: lib/refcount.c:28 at refcount_warn_saturate+0x1/0x2, CPU#0: a/1\n\
             Modules linked in:\n Call Trace:\n  <TASK>\n\
             ---[ end trace 0000000000000000 ]---\n\
             quiet again\nkevent-selftests: end kselftest:wait_test\n",
        );
        let found = scan(&log);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].title, "refcount_t: underflow; use-after-free.");
        assert_eq!(found[0].during.as_deref(), Some("kselftest:wait_test"));
        assert!(found[0].lines.last().unwrap().contains("end trace"));
        assert!(section(&log, "kselftest:wait_test").len() == 8);
    }

    #[test]
    fn an_oops_with_its_consequences_is_one() {
        let log = stamped(
            "BUG: kernel NULL pointer dereference, address: 0\n#PF: supervisor read access\n\
             Oops: Oops: 0000 [#1] SMP\nCPU: 0 PID: 1\nCall Trace:\n\
             Kernel panic - not syncing: Fatal exception\n\
             ---[ end Kernel panic - not syncing: Fatal exception ]---\n",
        );
        assert_eq!(
            titles(&log),
            ["BUG: kernel NULL pointer dereference, address: 0"]
        );
    }

    #[test]
    fn a_panic_after_the_trace_belongs_to_it() {
        let log = stamped(
            "Oops: int3: 0000 [#1] SMP\nCall Trace:\n---[ end trace 0 ]---\nRIP: x\n\
             Kernel panic - not syncing: Fatal exception in interrupt\n",
        );
        assert_eq!(titles(&log), ["Oops: int3: 0000 [#1] SMP"]);
    }

    #[test]
    fn another_test_is_another_report() {
        let log = stamped(
            "kevent-selftests: begin kselftest:a\nBUG: KASAN: x\nkevent-selftests: end kselftest:a\n\
             kevent-selftests: begin kselftest:b\nKernel panic - not syncing: y\n",
        );
        let found = scan(&log);
        assert_eq!(found.len(), 2);
        assert_eq!(found[0].lines.len(), 1);
        assert_eq!(found[1].during.as_deref(), Some("kselftest:b"));
    }

    #[test]
    fn two_reports_are_two() {
        let log = stamped(
            "------------[ cut here ]------------\nWARNING: a.c:1 at f+0x1/0x2\n\
             ---[ end trace 0 ]---\nnothing\n\
             ------------[ cut here ]------------\nWARNING: b.c:1 at g+0x1/0x2\n\
             ---[ end trace 0 ]---\nBUG: scheduling while atomic: x\nBUG: KCSAN: data-race in x\n",
        );
        assert_eq!(
            titles(&log),
            [
                "WARNING: a.c:1 at f+0x1/0x2",
                "WARNING: b.c:1 at g+0x1/0x2",
                "BUG: scheduling while atomic: x",
                "BUG: KCSAN: data-race in x"
            ]
        );
    }

    #[test]
    fn cut_off_and_unknown_frames() {
        assert_eq!(
            titles("------------[ cut here ]------------\n"),
            ["a report that was cut off"]
        );
        assert_eq!(
            titles("------------[ cut here ]------------\nsomething new\n"),
            ["something new"]
        );
    }

    #[test]
    fn report_during_kunit() {
        let log = stamped(
            "KTAP version 1\n1..1\n    KTAP version 1\n    # Subtest: kevent_ring\n    1..1\n\
             BUG: KCSAN: data-race in x\n    ok 1 a\nok 1 kevent_ring\nBUG: late\n",
        );
        let found = scan(&log);
        assert_eq!(found[0].during.as_deref(), Some("kunit:kevent_ring"));
        assert_eq!(found[1].during, None);
    }

    #[test]
    fn dmesg_and_console() {
        let console = "[    0.000000] Linux version 7\r\n[    1.000000] garbled\r\nuser text\r\n[    2.000000] crash\r\nend\r\n";
        let dmesg = "<5>[    0.000000] Linux version 7\n<6>[    1.000000] clean\n";
        let log = combine(Some(dmesg), console);
        assert_eq!(
            log,
            "<5>[    0.000000] Linux version 7\n<6>[    1.000000] clean\n[    2.000000] crash\nend\n"
        );
        assert_eq!(combine(None, console), console);
        assert_eq!(
            combine(Some("<6>[    9.000000] ran over\n"), console),
            console
        );
    }
}
