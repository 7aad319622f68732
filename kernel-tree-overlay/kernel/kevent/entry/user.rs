// SPDX-License-Identifier: GPL-2.0-only

//! Reading structures that grow from programs.

use kernel::{
    prelude::*,
    transmute::FromBytes,
    uaccess::{
        UserPtr,
        UserSlice,
        UserSliceReader, //
    },
};

/// Copies in a structure of which the program has `size` bytes. What a later version adds must be
/// zero, or the call is `E2BIG`, as with `copy_struct_from_user()`.
///
/// `size` is at least that of `T`.
pub(crate) fn read_record<T: FromBytes>(at: UserPtr, size: usize) -> Result<T> {
    let mut reader = UserSlice::new(at, size).reader();
    let record = reader.read()?;
    if !reader.is_empty() {
        check_zero(reader)?;
    }
    Ok(record)
}

/// Checks that the rest is zero.
#[cold]
fn check_zero(mut reader: UserSliceReader) -> Result {
    let mut rest = [0u8; 64];
    while !reader.is_empty() {
        let len = reader.len().min(rest.len());
        let Some(rest) = rest.get_mut(..len) else {
            break;
        };
        reader.read_slice(rest)?;
        if rest.iter().any(|b| *b != 0) {
            return Err(E2BIG);
        }
    }
    Ok(())
}
