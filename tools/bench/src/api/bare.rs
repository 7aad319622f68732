// SPDX-License-Identifier: GPL-2.0-only

use anyhow::Result;
use std::ops::Range;

use super::Api;
use crate::ends::Ends;

/// No interface at all: what the others are measured against.
pub struct Bare;

impl Api for Bare {
    fn add(&mut self, _: Range<usize>, _: &Ends) -> Result<()> {
        Ok(())
    }

    fn serve(&mut self, ready: Range<usize>, ends: &Ends) -> Result<()> {
        for index in ready {
            ends.read(index)?;
        }
        Ok(())
    }

    fn calls(&self) -> u64 {
        0
    }
}
