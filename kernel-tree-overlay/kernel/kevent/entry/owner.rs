// SPDX-License-Identifier: GPL-2.0-only

//! Queues that end with the address space they were made in, see `owner.c`.

use kernel::{
    bindings,
    prelude::*,
    sync::{
        Arc,
        ArcBorrow, //
    }, //
};

use core::mem::offset_of;

use crate::engine::queue::Queue;

/// From now on the queue ends with its owner, unless it is shared. To be called by the task that
/// made it, when it has a file.
pub(crate) fn link(queue: &Arc<Queue>) {
    if let Some(mm) = queue.owner.ends_with() {
        // SAFETY: It is the mm of the current task. The link is that of a queue in an `Arc`, in no
        // list yet, and leaves the list before the file drops its reference to the queue.
        unsafe { bindings::kevent_link_queue(queue.owner.link.get(), mm.as_raw()) };
    }
}

/// Takes a reference to the queue that a link is in.
///
/// # Safety
///
/// `link` must have been in a list whose lock has been held since.
#[export]
pub(crate) unsafe extern "C" fn kevent_get_queue(
    link: *mut bindings::kevent_mm_link,
) -> *const c_void {
    let queue = link
        .wrapping_byte_sub(offset_of!(Queue, owner.link))
        .cast_const()
        .cast::<Queue>();
    // SAFETY: Only links of queues have this function. The file takes the link out of the list
    // before it drops its reference, and needs the lock for that.
    let queue = unsafe { ArcBorrow::from_raw(queue) };
    Arc::into_raw(Arc::from(queue)).cast()
}

/// The owner of a queue has gone.
///
/// # Safety
///
/// `queue` must come from [`kevent_get_queue`], whose reference this takes over.
#[export]
pub(crate) unsafe extern "C" fn kevent_end_queue(queue: *const c_void) {
    // SAFETY: By the safety requirements there is a reference.
    let queue = unsafe { Arc::<Queue>::from_raw(queue.cast()) };
    queue.end();
}
