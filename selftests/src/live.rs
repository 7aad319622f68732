// SPDX-License-Identifier: GPL-2.0-only

//! Asks the running kernel whether it answers the numbers of the tables.
//!
//! Each call is made with arguments that a kernel with kevent refuses with a
//! defined error, so nothing happens; only `ENOSYS` says that there is no such call.
//! It is asked from a 64-bit program, the harness itself, and from a 32-bit
//! one, which needs no C library.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{bail, Context, Result};

use crate::record::Record;
use crate::report::TestResult;
use crate::tables::Call;

/// The ABI of the harness itself.
pub const NATIVE: &str = "x86_64";
/// The ABI of the 32-bit program.
pub const COMPAT: &str = "i386";

/// What is expected of the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    /// Every call is answered; the number after the last is not.
    Answer,
    /// The kernel was built without kevent.
    Enosys,
}

impl Expect {
    /// The group the results are reported in.
    pub fn group(self) -> &'static str {
        match self {
            Expect::Answer => "live",
            Expect::Enosys => "off",
        }
    }
}

/// The name for the number after the last call.
const AFTER: &str = "after-last";

/// The calls, and in a kernel that answers them the number after the last.
pub fn calls_to_try(calls: &[Call], expect: Expect) -> Vec<Call> {
    let mut all = calls.to_vec();
    if let (Some(last), Expect::Answer) = (calls.last(), expect) {
        all.push(Call {
            name: AFTER.into(),
            number: last.number + 1,
        });
    }
    all
}

/// The arguments to call it with: `kevent_create(NULL, 0)`, and for the
/// others a file descriptor that is none.
fn arguments(call: &Call) -> [i64; 6] {
    if call.name.ends_with("_create") {
        [0; 6]
    } else {
        [-1, 0, 0, 0, 0, 0]
    }
}

/// Makes the call; returns its value, or minus errno.
pub fn try_native(call: &Call) -> i64 {
    let a = arguments(call);
    // SAFETY: the arguments hold no pointer but NULL, and the kernel checks
    // what it gets. An unknown number does nothing.
    let value =
        unsafe { libc::syscall(i64::from(call.number), a[0], a[1], a[2], a[3], a[4], a[5]) };
    if value == -1 {
        -i64::from(std::io::Error::last_os_error().raw_os_error().unwrap_or(0))
    } else {
        value
    }
}

/// The source of a 32-bit program that prints `number value` for each call.
fn source_32(calls: &[Call]) -> String {
    let mut rows = String::new();
    for call in calls {
        let _ = writeln!(rows, "\t{{ {}, {} }},", call.number, arguments(call)[0]);
    }
    format!(
        r#"/* Made by kevent-selftests: tries system calls from a 32-bit program. */
static const struct {{ int number; int first; }} calls[] = {{
{rows}}};

static int call(int number, int a, const void *b, int c)
{{
	int value;

	__asm__ volatile("int $0x80"
			 : "=a"(value)
			 : "0"(number), "b"(a), "c"(b), "d"(c), "S"(0), "D"(0)
			 : "memory");
	return value;
}}

static int put(char *to, int value)
{{
	unsigned int left = value < 0 ? 0u - value : (unsigned int)value;
	char digits[12];
	int n = 0, len = 0;

	do
		digits[n++] = '0' + left % 10;
	while (left /= 10);
	if (value < 0)
		to[len++] = '-';
	while (n)
		to[len++] = digits[--n];
	return len;
}}

void _start(void)
{{
	char line[32];
	unsigned int i;
	int len;

	for (i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {{
		int value = call(calls[i].number, calls[i].first, 0, 0);

		len = put(line, calls[i].number);
		line[len++] = ' ';
		len += put(line + len, value);
		line[len++] = '\n';
		call(4 /* write */, 1, line, len);
	}}
	call(1 /* exit */, 0, 0, 0);
}}
"#
    )
}

/// Compiles the 32-bit program; an error says why this machine cannot.
pub fn build_32(calls: &[Call], source: &Path, program: &Path) -> Result<()> {
    fs::write(source, source_32(calls))
        .with_context(|| format!("cannot write {}", source.display()))?;
    let mut why = Vec::new();
    for compiler in ["gcc", "clang", "clang-19"] {
        let run = Command::new(compiler)
            .args(["-m32", "-static", "-nostdlib", "-ffreestanding", "-O1"])
            .args(["-fno-pie", "-no-pie", "-fno-stack-protector", "-w", "-o"])
            .args([program, source])
            .output();
        match run {
            Ok(out) if out.status.success() => return Ok(()),
            Ok(out) => {
                let text = String::from_utf8_lossy(&out.stderr);
                let line = text
                    .lines()
                    .find(|l| l.contains("error"))
                    .unwrap_or("failed");
                why.push(format!("{compiler}: {}", line.trim()));
            }
            Err(_) => why.push(format!("{compiler}: not installed")),
        }
    }
    bail!("no compiler for 32-bit programs ({})", why.join("; "))
}

/// What the 32-bit program printed.
pub fn parse_32(output: &str) -> Vec<(u32, i64)> {
    output
        .lines()
        .filter_map(|line| {
            let (number, value) = line.split_once(' ')?;
            Some((number.parse().ok()?, value.trim().parse().ok()?))
        })
        .collect()
}

fn describe(value: i64) -> String {
    if value < 0 {
        let code = i32::try_from(-value).unwrap_or(0);
        std::io::Error::from_raw_os_error(code).to_string()
    } else {
        format!("value {value}")
    }
}

/// The full names of the results for these calls.
pub fn names(calls: &[Call], abi: &str, expect: Expect) -> Vec<String> {
    calls_to_try(calls, expect)
        .into_iter()
        .map(|c| format!("{}:{abi}/{}", expect.group(), c.name))
        .collect()
}

/// Judges what the guest recorded for one ABI.
pub fn judge(calls: &[Call], abi: &str, expect: Expect, records: &[Record]) -> Vec<TestResult> {
    let group = expect.group();
    if calls.is_empty() {
        let why = format!("no kevent call in the {abi} table, so no number to try");
        return vec![TestResult::fail(format!("{group}:{abi}"), why)];
    }
    for record in records {
        if let Record::LiveSkip { abi: of, reason } = record {
            if of == abi {
                return calls_to_try(calls, expect)
                    .into_iter()
                    .map(|c| TestResult::skip(format!("{group}:{abi}/{}", c.name), reason))
                    .collect();
            }
        }
    }
    let judge_one = |call: Call| {
        let name = format!("{group}:{abi}/{}", call.name);
        let number = call.number;
        let value = records.iter().find_map(|r| match r {
            Record::Live {
                abi: of,
                number: n,
                value,
            } if of == abi && *n == number => Some(*value),
            _ => None,
        });
        let enosys = -i64::from(libc::ENOSYS);
        let wants_enosys = expect == Expect::Enosys || call.name == AFTER;
        match value {
            None => TestResult::fail(
                name,
                format!("number {number} was not tried: the guest did not get there"),
            ),
            Some(v) if wants_enosys == (v == enosys) => TestResult::pass(name),
            Some(_) if !wants_enosys => TestResult::fail(
                name,
                format!("number {number} gives ENOSYS: kevent does not answer it"),
            ),
            Some(v) => TestResult::fail(
                name,
                format!(
                    "number {number} must give ENOSYS, but gave: {}",
                    describe(v)
                ),
            ),
        }
    };
    calls_to_try(calls, expect)
        .into_iter()
        .map(judge_one)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ktap::Outcome;

    fn calls() -> Vec<Call> {
        [("kevent_create", 900), ("kevent_add", 901)]
            .map(|(name, number)| Call {
                name: name.into(),
                number,
            })
            .to_vec()
    }

    fn answers(values: &[i64]) -> Vec<Record> {
        (900..)
            .zip(values)
            .map(|(number, value)| Record::Live {
                abi: NATIVE.into(),
                number,
                value: *value,
            })
            .collect()
    }

    fn outcomes(expect: Expect, values: &[i64]) -> Vec<Outcome> {
        judge(&calls(), NATIVE, expect, &answers(values))
            .iter()
            .map(|r| r.outcome)
            .collect()
    }

    #[test]
    fn judged() {
        use Outcome::*;
        let (enosys, einval) = (-i64::from(libc::ENOSYS), -i64::from(libc::EINVAL));
        assert_eq!(
            outcomes(Expect::Answer, &[einval, 0, enosys]),
            [Pass, Pass, Pass]
        );
        assert_eq!(
            outcomes(Expect::Answer, &[einval, enosys, einval]),
            [Pass, Fail, Fail]
        );
        assert_eq!(outcomes(Expect::Answer, &[einval]), [Pass, Fail, Fail]);
        assert_eq!(outcomes(Expect::Enosys, &[enosys, enosys]), [Pass, Pass]);
        assert_eq!(outcomes(Expect::Enosys, &[enosys, einval]), [Pass, Fail]);
        assert_eq!(
            names(&calls(), "i386", Expect::Answer),
            [
                "live:i386/kevent_create",
                "live:i386/kevent_add",
                "live:i386/after-last"
            ]
        );
    }

    #[test]
    fn skipped_and_empty() {
        let skip = [Record::LiveSkip {
            abi: COMPAT.into(),
            reason: "no compiler".into(),
        }];
        let results = judge(&calls(), COMPAT, Expect::Enosys, &skip);
        assert!(results
            .iter()
            .all(|r| r.outcome == Outcome::Skip && r.reason == "no compiler"));
        assert_eq!(
            judge(&[], NATIVE, Expect::Answer, &[])[0].outcome,
            Outcome::Fail
        );
    }

    #[test]
    fn unknown_number_on_this_machine() {
        let call = Call {
            name: "kevent_none".into(),
            number: 100_000,
        };
        assert_eq!(try_native(&call), -i64::from(libc::ENOSYS));
    }

    #[test]
    fn program_for_32_bits() {
        assert_eq!(
            parse_32("900 -22\n901 -38\nnoise\n"),
            [(900, -22), (901, -38)]
        );
        let source = source_32(&calls());
        assert!(source.contains("{ 900, 0 },") && source.contains("{ 901, -1 },"));
        let dir = tempfile::tempdir().unwrap();
        // Whether it compiles depends on the machine; a refusal must say why.
        if let Err(e) = build_32(&calls(), &dir.path().join("p.c"), &dir.path().join("p")) {
            assert!(e
                .to_string()
                .contains("no compiler for 32-bit programs (gcc: "));
        }
    }
}
