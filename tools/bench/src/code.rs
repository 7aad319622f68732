// SPDX-License-Identifier: GPL-2.0-only

//! The machine code at an address: which instructions are atomic.

use anyhow::{Context, Result, bail};
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Prefixes and the bytes that decide.
const LONGEST: usize = 15;

/// What an instruction does to memory that others see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Atomic {
    No,
    /// It reads, changes and writes as one.
    Update,
    /// It only orders others: `smp_mb()` is written as an update of the stack.
    Barrier,
}

/// The code of the kernel, as it was built, and of this program.
///
/// The running kernel of a machine with one processor has no lock prefixes any more, so its own memory
/// does not say.
pub struct Code {
    image: Vec<u8>,
    segments: Vec<Segment>,
    program: File,
}

/// A part of the image, and where it is when it runs.
struct Segment {
    address: u64,
    offset: usize,
    size: usize,
}

impl Code {
    /// With the kernel's ELF image.
    pub fn load(vmlinux: &Path) -> Result<Code> {
        let image = fs::read(vmlinux).with_context(|| format!("{}", vmlinux.display()))?;

        Ok(Code {
            segments: segments(&image).context("this is no 64-bit ELF image")?,
            image,
            program: File::open("/proc/self/mem").context("/proc/self/mem")?,
        })
    }

    /// What the instruction at this address is.
    pub fn atomic(&self, address: u64) -> Result<Atomic> {
        if let Some(bytes) = self.kernel(address) {
            return Ok(classify(bytes));
        }
        let mut bytes = [0; LONGEST];

        match self.program.read_at(&mut bytes, address) {
            Ok(read) => Ok(classify(&bytes[..read])),
            // The kernel's, but made while it runs, or the vDSO.
            Err(_) if address >> 63 == 1 => Ok(Atomic::No),
            Err(error) => bail!("there is no code at {address:#x}: {error}"),
        }
    }

    fn kernel(&self, address: u64) -> Option<&[u8]> {
        self.segments.iter().find_map(|segment| {
            let from = usize::try_from(address.checked_sub(segment.address)?).ok()?;
            let bytes = &self.image[segment.offset..segment.offset + segment.size];

            bytes.get(from..(from + LONGEST).min(bytes.len()))
        })
    }
}

/// The loaded segments of an ELF image.
fn segments(image: &[u8]) -> Option<Vec<Segment>> {
    let number = |at: usize, size: usize| -> Option<u64> {
        let mut bytes = [0; 8];

        bytes[..size].copy_from_slice(image.get(at..at + size)?);
        Some(u64::from_le_bytes(bytes))
    };
    let (table, size, count) = (
        number(32, 8)? as usize,
        number(54, 2)? as usize,
        number(56, 2)? as usize,
    );

    image.starts_with(b"\x7fELF\x02\x01").then_some(())?;
    let mut segments = Vec::new();
    for header in (0..count).map(|index| table + index * size) {
        const LOAD: u64 = 1;

        if number(header, 4)? == LOAD {
            let segment = Segment {
                offset: number(header + 8, 8)? as usize,
                address: number(header + 16, 8)?,
                size: number(header + 32, 8)? as usize,
            };

            image.get(segment.offset..segment.offset.checked_add(segment.size)?)?;
            segments.push(segment);
        }
    }
    Some(segments)
}

/// From the bytes of an instruction of x86-64.
fn classify(bytes: &[u8]) -> Atomic {
    // `lock addl $0, -4(%rsp)`
    const BARRIER: [u8; 6] = [0xf0, 0x83, 0x44, 0x24, 0xfc, 0x00];

    if bytes.starts_with(&BARRIER) {
        return Atomic::Barrier;
    }
    let mut rest = bytes;
    while let [first, others @ ..] = rest {
        match first {
            0xf0 => return Atomic::Update,
            // Sizes, segments, repetition, REX.
            0x66 | 0x67 | 0x26 | 0x2e | 0x36 | 0x3e | 0x64 | 0x65 | 0xf2 | 0xf3 | 0x40..=0x4f => {
                rest = others;
            }
            // An exchange with memory needs no prefix.
            0x86 | 0x87 if others.first().is_some_and(|modrm| modrm >> 6 != 3) => {
                return Atomic::Update;
            }
            _ => break,
        }
    }
    Atomic::No
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instructions() {
        // lock cmpxchg %ecx, (%rdi)
        assert_eq!(classify(&[0xf0, 0x0f, 0xb1, 0x0f]), Atomic::Update);
        // xchg %rax, (%rdi); xchg %rax, %rdi
        assert_eq!(classify(&[0x48, 0x87, 0x07]), Atomic::Update);
        assert_eq!(classify(&[0x48, 0x87, 0xc7]), Atomic::No);
        assert_eq!(
            classify(&[0xf0, 0x83, 0x44, 0x24, 0xfc, 0x00]),
            Atomic::Barrier
        );
        // mov %rax, (%rdi); nothing
        assert_eq!(classify(&[0x48, 0x89, 0x07]), Atomic::No);
        assert_eq!(classify(&[]), Atomic::No);
    }

    #[test]
    fn image() {
        let code = Code::load(Path::new("/proc/self/exe")).unwrap();

        assert!(!code.segments.is_empty());
        assert!(Code::load(Path::new("/proc/self/status")).is_err());
    }
}
