// SPDX-License-Identifier: GPL-2.0-only

//! An end to waiting for an event that an interface has lost.

use anyhow::{Context, Result};
use rustix::mm::{MlockAllFlags, mlockall};

/// Seconds that nothing here takes. Under `-icount` they pass at once when nothing happens, so this
/// must not be in force while a file is read.
const SECONDS: u32 = 3600;

/// While this is there, the program ends by `SIGALRM` after [`SECONDS`].
pub struct Patience;

impl Patience {
    pub fn new() -> Patience {
        alarm(SECONDS);
        Patience
    }
}

impl Drop for Patience {
    fn drop(&mut self) {
        alarm(0);
    }
}

fn alarm(seconds: u32) {
    // SAFETY: touches no memory; SIGALRM, which ends this program, is used for nothing else.
    unsafe { libc::alarm(seconds) };
}

/// Has all of the program read from its file, once and for all.
pub fn stay_in_memory() -> Result<()> {
    mlockall(MlockAllFlags::CURRENT).context("cannot keep the program in memory")
}
