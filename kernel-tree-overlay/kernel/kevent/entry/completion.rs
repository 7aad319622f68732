// SPDX-License-Identifier: GPL-2.0-only

//! What the rest of the kernel calls to report completions, see `include/linux/kevent.h`.

use kernel::{
    bindings,
    prelude::*, //
};

use crate::entry::file::QueueFile;

use crate::{
    core::event::EventData,
    engine::{
        completion,
        post::Post, //
    }, //
};

/// Prepares a completion.
///
/// # Safety
///
/// To be called by a system call only.
#[export]
pub(crate) unsafe extern "C" fn kevent_completion_new(
    fd: c_int,
    class: u32,
    user_data: u64,
) -> *mut bindings::kevent_completion {
    let prepared = QueueFile::get(fd)
        .and_then(|file| completion::prepare(file.queue()?.into(), class, user_data));
    match prepared {
        Ok(post) => KBox::into_raw(post).cast(),
        Err(e) => e.to_ptr(),
    }
}

/// The completion has happened.
///
/// # Safety
///
/// `completion` must come from [`kevent_completion_new`], and is used up.
#[export]
pub(crate) unsafe extern "C" fn kevent_complete(
    completion: *mut bindings::kevent_completion,
    events: u32,
    info: u32,
    data: i64,
    extra: u64,
) {
    // SAFETY: By the safety requirements it came out of `KBox::into_raw` and is owned.
    let post = unsafe { KBox::<Post>::from_raw(completion.cast()) };
    completion::complete(post, events, EventData { info, data, extra });
}

/// The completion will not happen any more.
///
/// # Safety
///
/// `completion` must come from [`kevent_completion_new`], and is used up.
#[export]
pub(crate) unsafe extern "C" fn kevent_completion_drop(
    completion: *mut bindings::kevent_completion,
) {
    // SAFETY: By the safety requirements it came out of `KBox::into_raw` and is owned.
    completion::give_up(unsafe { KBox::<Post>::from_raw(completion.cast()) });
}
