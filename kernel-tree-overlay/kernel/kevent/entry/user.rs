// SPDX-License-Identifier: GPL-2.0-only

//! Structures that are copied from and to programs.

use kernel::{
    bindings,
    prelude::*,
    uaccess::{
        UserPtr,
        UserSlice, //
    },
    uapi, //
};

use crate::core::event::Event;

/// What a copy function in C has returned.
#[inline(always)]
fn copied(result: c_int) -> Result {
    if result == 0 {
        Ok(())
    } else {
        Err(EFAULT)
    }
}

/// Copies a `struct kevent_watch` in, of which the program has `size` bytes, which are not fewer.
#[inline]
pub(crate) fn read_watch(at: UserPtr, size: usize, watch: &mut uapi::kevent_watch) -> Result {
    let to = core::ptr::from_mut(watch).cast();
    // SAFETY: The structure is valid for writing. The function checks the other address.
    copied(unsafe { bindings::kevent_read_watch(to, at.as_const_ptr().cast()) })?;
    check_rest(at, size, size_of::<uapi::kevent_watch>())
}

/// Copies a handle in.
#[inline]
pub(crate) fn read_handle(at: UserPtr) -> Result<u64> {
    let mut handle = 0;
    // SAFETY: The number is valid for writing. The function checks the other address.
    copied(unsafe { bindings::kevent_read_handle(&mut handle, at.as_const_ptr().cast()) })?;
    Ok(handle)
}

/// Copies the handle back, if that is `with_handle`, and the result.
#[inline]
pub(crate) fn write_results(at: UserPtr, watch: &uapi::kevent_watch, with_handle: bool) -> Result {
    let watch = core::ptr::from_ref(watch).cast();
    // SAFETY: The structure is valid. The function checks the other address.
    copied(unsafe { bindings::kevent_write_results(at.as_mut_ptr().cast(), watch, with_handle) })
}

/// Copies a `struct kevent_event` in, of which the program has `size` bytes, which are not fewer.
#[inline]
pub(crate) fn read_event(at: UserPtr, size: usize) -> Result<Event> {
    let mut event = Event::default();
    // SAFETY: The structure is valid for writing. The function checks the other address.
    copied(unsafe {
        bindings::kevent_read_event((&raw mut event.0).cast(), at.as_const_ptr().cast())
    })?;
    check_rest(at, size, size_of::<Event>())?;
    Ok(event)
}

/// Copies a `struct kevent_event` out.
#[inline(always)]
pub(crate) fn write_event(at: UserPtr, event: &Event) -> Result {
    let event = (&raw const event.0).cast();
    // SAFETY: The structure is valid. The function checks the other address.
    copied(unsafe { bindings::kevent_write_event(at.as_mut_ptr().cast(), event) })
}

/// Checks what a program has of a structure at `at` beyond the bytes that are `known`: what a later
/// version adds must be zero, or the call is `E2BIG`, as with `copy_struct_from_user()`.
#[inline(always)]
fn check_rest(at: UserPtr, size: usize, known: usize) -> Result {
    if size > known {
        check_zero(at.wrapping_byte_add(known), size.saturating_sub(known))
    } else {
        Ok(())
    }
}

#[cold]
fn check_zero(at: UserPtr, size: usize) -> Result {
    let mut reader = UserSlice::new(at, size).reader();
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
