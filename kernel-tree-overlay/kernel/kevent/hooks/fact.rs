// SPDX-License-Identifier: GPL-2.0-only

//! What the rest of the kernel calls to tell facts, see `include/linux/kevent.h`.

use kernel::{
    bindings,
    prelude::*, //
};

use super::QueueFile;

use crate::{
    event::Words,
    fact::Fact, //
};

/// Prepares a fact.
///
/// # Safety
///
/// To be called by a system call only.
#[export]
pub(crate) unsafe extern "C" fn kevent_fact_new(
    fd: c_int,
    class: u32,
    user_data: u64,
) -> *mut bindings::kevent_fact {
    let fact =
        QueueFile::get(fd).and_then(|file| Fact::new(file.queue()?.into(), class, user_data));
    match fact {
        Ok(fact) => KBox::into_raw(fact).cast(),
        Err(e) => e.to_ptr(),
    }
}

/// The fact has happened.
///
/// # Safety
///
/// `fact` must come from [`kevent_fact_new`], and is used up.
#[export]
pub(crate) unsafe extern "C" fn kevent_fact_happens(
    fact: *mut bindings::kevent_fact,
    events: u32,
    info: u32,
    data: i64,
    extra: u64,
) {
    // SAFETY: By the safety requirements it came out of `KBox::into_raw` and is owned.
    let fact = unsafe { KBox::<Fact>::from_raw(fact.cast()) };
    fact.happens(events, Words { info, data, extra });
}

/// The fact will not happen any more.
///
/// # Safety
///
/// `fact` must come from [`kevent_fact_new`], and is used up.
#[export]
pub(crate) unsafe extern "C" fn kevent_fact_drop(fact: *mut bindings::kevent_fact) {
    // SAFETY: By the safety requirements it came out of `KBox::into_raw` and is owned.
    drop(unsafe { KBox::<Fact>::from_raw(fact.cast()) });
}
