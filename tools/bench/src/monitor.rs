// SPDX-License-Identifier: GPL-2.0-only

//! QEMU's monitor, as it is seen from inside the machine: `tools/build/bench.sh` connects one to a
//! virtio port.

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;

/// The name of the port.
const PORT: &str = "kevent.monitor";

pub struct Monitor {
    port: BufReader<File>,
}

impl Monitor {
    pub fn open() -> Result<Monitor> {
        let path = device().context("--profile needs QEMU: run ./build.sh bench --profile")?;
        let port = OpenOptions::new()
            .read(true)
            .write(true)
            .open(&path)
            .with_context(|| format!("cannot open {}", path.display()))?;
        let mut monitor = Monitor {
            port: BufReader::new(port),
        };

        // It may have been opened before, which QEMU does not notice.
        if let Err(error) = monitor.execute(json!({ "execute": "qmp_capabilities" })) {
            ensure!(error.to_string().contains("already complete"), error);
        }
        Ok(monitor)
    }

    /// Gives a command as one types it.
    pub fn command(&mut self, line: &str) -> Result<()> {
        let said = self.execute(json!({
            "execute": "human-monitor-command",
            "arguments": { "command-line": line },
        }))?;

        match said.as_str().map(str::trim) {
            Some("") | None => Ok(()),
            Some(error) => bail!("QEMU: {line}: {error}"),
        }
    }

    fn execute(&mut self, command: Value) -> Result<Value> {
        writeln!(self.port.get_mut(), "{command}")?;
        loop {
            let mut line = String::new();

            if self.port.read_line(&mut line)? == 0 {
                bail!("QEMU's monitor is gone");
            }
            let mut reply: Value = serde_json::from_str(&line)?;
            if let Some(error) = reply.get("error") {
                bail!("QEMU: {command}: {error}");
            }
            // Anything else is the greeting or an event.
            if let Some(said) = reply.get_mut("return") {
                return Ok(said.take());
            }
        }
    }
}

/// The device of the port.
fn device() -> Option<PathBuf> {
    for port in fs::read_dir("/sys/class/virtio-ports").ok()?.flatten() {
        let name = fs::read_to_string(port.path().join("name")).unwrap_or_default();

        if name.trim() == PORT {
            return Some(PathBuf::from("/dev").join(port.file_name()));
        }
    }
    None
}
