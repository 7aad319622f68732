// SPDX-License-Identifier: GPL-2.0-only

//! What host and guest exchange: a plan on the way in, and a file of
//! records, one JSON object a line, on the way out.
//!
//! Both lie in a directory that the guest mounts read-write. The console is
//! not used for results: kernel messages would tear them apart.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::tables::Call;

/// Where the guest finds the shared directory.
pub const GUEST_DIR: &str = "/run/kevent-selftests";
/// The harness itself, copied there.
pub const BINARY: &str = "kevent-selftests";
/// The plan.
pub const PLAN: &str = "plan.json";
/// The records.
pub const RECORDS: &str = "records.jsonl";
/// The kernel's log buffer when the tests began.
pub const DMESG_START: &str = "dmesg-start.log";
/// The kernel's log buffer when the tests were over.
pub const DMESG_END: &str = "dmesg-end.log";
/// The installed kselftests.
pub const KSELFTEST: &str = "kselftest";
/// The 32-bit program that tries the i386 numbers.
pub const PROBE_32: &str = "probe-32";

/// One kselftest program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Program {
    /// The name it is reported under.
    pub title: String,
    /// Directory below the installed kselftests.
    pub dir: String,
    /// File name.
    pub name: String,
    /// Seconds it may take; 0 is no limit.
    pub timeout: u64,
}

/// What the guest is to do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// System calls to try from a 64-bit program.
    pub native: Vec<Call>,
    /// Whether to run the 32-bit program.
    pub probe_32: bool,
    /// Programs to run.
    pub programs: Vec<Program>,
    /// How many times as long each of their tests may take.
    pub patience: u32,
}

/// How a program ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// With this status.
    Exit(i32),
    /// Killed by this signal.
    Signal(i32),
    /// It took longer than this many seconds.
    Timeout(u64),
    /// It could not be started.
    NotStarted(String),
}

/// One line of the record file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "record")]
pub enum Record {
    /// The guest runs.
    Hello {
        /// `uname -r`.
        release: String,
    },
    /// A system call returned.
    Live {
        /// `x86_64` or `i386`.
        abi: String,
        /// The number.
        number: u32,
        /// What it returned, or minus errno.
        value: i64,
    },
    /// A whole ABI could not be tried.
    LiveSkip {
        /// `x86_64` or `i386`.
        abi: String,
        /// Why.
        reason: String,
    },
    /// A program starts.
    Begin {
        /// Its title.
        name: String,
    },
    /// A program printed a line.
    Output {
        /// The program's title.
        name: String,
        /// The line.
        line: String,
    },
    /// A program ended.
    End {
        /// The program's title.
        name: String,
        /// How.
        end: End,
    },
    /// kmemleak found something.
    Leak {
        /// What it printed.
        text: String,
    },
    /// The guest could not do something it had to do.
    Trouble {
        /// What.
        text: String,
    },
    /// All is done.
    Done,
}

/// Writes records so that each one outlives a crash right after it.
#[derive(Debug)]
pub struct Writer {
    file: File,
}

impl Writer {
    /// Creates the record file in `dir`.
    pub fn new(dir: &Path) -> Result<Self> {
        let path = dir.join(RECORDS);
        let file = File::options()
            .create(true)
            .append(true)
            .open(&path)
            .with_context(|| format!("cannot write {}", path.display()))?;
        Ok(Writer { file })
    }

    /// Writes one record.
    pub fn write(&mut self, record: &Record) -> Result<()> {
        let mut line = serde_json::to_string(record)?;
        line.push('\n');
        self.file.write_all(line.as_bytes())?;
        self.file.sync_data().context("cannot write a record")
    }
}

/// Reads records while the guest writes them.
#[derive(Debug)]
pub struct Reader {
    path: PathBuf,
    offset: u64,
    rest: Vec<u8>,
}

impl Reader {
    /// Reads from the record file in `dir`, which may not exist yet.
    pub fn new(dir: &Path) -> Self {
        Reader {
            path: dir.join(RECORDS),
            offset: 0,
            rest: Vec::new(),
        }
    }

    /// The records that came since the last call.
    pub fn poll(&mut self) -> Result<Vec<Record>> {
        let mut file = match File::open(&self.path) {
            Ok(file) => file,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(e) => return Err(e).context("cannot read the guest's records"),
        };
        file.seek(SeekFrom::Start(self.offset))?;
        let got = file.read_to_end(&mut self.rest)?;
        self.offset += got as u64;
        let mut records = Vec::new();
        while let Some(end) = self.rest.iter().position(|b| *b == b'\n') {
            let line: Vec<u8> = self.rest.drain(..=end).collect();
            let record = serde_json::from_slice(&line).with_context(|| {
                format!(
                    "bad record from the guest: {}",
                    String::from_utf8_lossy(&line)
                )
            })?;
            records.push(record);
        }
        Ok(records)
    }
}

/// Writes the plan for the guest.
pub fn write_plan(dir: &Path, plan: &Plan) -> Result<()> {
    fs::write(dir.join(PLAN), serde_json::to_string_pretty(plan)?)
        .with_context(|| format!("cannot write the plan to {}", dir.display()))
}

/// Reads the plan in the guest.
pub fn read_plan(dir: &Path) -> Result<Plan> {
    let path = dir.join(PLAN);
    let text =
        fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    serde_json::from_str(&text).with_context(|| format!("bad plan in {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_as_they_come() {
        let dir = tempfile::tempdir().unwrap();
        let mut reader = Reader::new(dir.path());
        assert_eq!(reader.poll().unwrap(), []);
        let mut writer = Writer::new(dir.path()).unwrap();
        let first = Record::Hello {
            release: "7.3".into(),
        };
        writer.write(&first).unwrap();
        assert_eq!(reader.poll().unwrap(), [first]);
        assert_eq!(reader.poll().unwrap(), []);
        let end = Record::End {
            name: "a".into(),
            end: End::Signal(11),
        };
        writer.write(&end).unwrap();
        // Half a line is kept for later.
        let mut raw = File::options()
            .append(true)
            .open(dir.path().join(RECORDS))
            .unwrap();
        raw.write_all(b"{\"record\":\"do").unwrap();
        assert_eq!(reader.poll().unwrap(), [end]);
        raw.write_all(b"ne\"}\n").unwrap();
        assert_eq!(reader.poll().unwrap(), [Record::Done]);
        raw.write_all(b"garbage\n").unwrap();
        assert!(reader.poll().unwrap_err().to_string().contains("garbage"));
    }

    #[test]
    fn plan_there_and_back() {
        let dir = tempfile::tempdir().unwrap();
        assert!(read_plan(dir.path()).is_err());
        let plan = Plan {
            probe_32: true,
            ..Plan::default()
        };
        write_plan(dir.path(), &plan).unwrap();
        assert_eq!(read_plan(dir.path()).unwrap(), plan);
    }
}
