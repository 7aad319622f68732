// SPDX-License-Identifier: GPL-2.0-only

//! `source/inode.c`: the marks through which fsnotify reports watches of inodes.

use core::cell::Cell;

use kernel::{
    bindings,
    error::{
        from_err_ptr,
        to_result, //
    },
    fs::File,
    prelude::*,
    sync::ArcBorrow, //
};

use crate::{
    engine::{
        queue::Queue,
        watch::Watch, //
    },
    source::{
        fd::HasFileLink,
        inode::Inode, //
    }, //
};

// SAFETY: `watch_of` knows it. The link is there, and `detach` unlinks it. The source is made by
// `Inode::watch` only.
unsafe impl HasFileLink for Inode {
    const OFFSET: usize = core::mem::offset_of!(Watch<Self>, source.link);
}

/// Whether the current task may be reported `events` of a file.
pub(crate) fn check(file: &File, events: u32) -> Result {
    // SAFETY: The file is live.
    to_result(unsafe { bindings::kevent_inode_check(file.as_ptr(), events) })
}

/// The mark of a watch.
///
/// # Invariants
///
/// It is null, or what was attached and not detached since. It is accessed with the mutex of the
/// watch's queue held.
pub(crate) struct Mark(Cell<*mut bindings::kevent_inode_mark>);

// SAFETY: By the type invariants, accesses are serialised.
unsafe impl Send for Mark {}
// SAFETY: As above.
unsafe impl Sync for Mark {}

impl Mark {
    pub(crate) fn new() -> Self {
        // INVARIANT: It is null.
        Self(Cell::new(core::ptr::null_mut()))
    }

    /// From now on `source`, whose mark this is, is reported `events` of the inode of a file: what
    /// passed [`check`].
    pub(crate) fn attach(&self, queue: &Queue, file: &File, events: u32, source: &Inode) -> Result {
        let holder = queue.holder().as_ptr();
        let offset = core::mem::offset_of!(Watch<Inode>, source);
        let watch = core::ptr::from_ref(source).wrapping_byte_sub(offset);
        // SAFETY: The file is live. By what `HasFileLink` requires, this points to a watch in an
        // `Arc`. The table detaches its source before it drops its reference.
        let mark =
            unsafe { bindings::kevent_inode_attach(file.as_ptr(), events, watch.cast(), holder) };
        // INVARIANT: It has just been attached. A source is attached once.
        self.0.set(from_err_ptr(mark)?);
        Ok(())
    }

    /// Is reported `events` of the inode, which is that of the file, beside those before.
    pub(crate) fn add(&self, file: &File, events: u32) {
        let mark = self.0.get();
        if !mark.is_null() {
            // SAFETY: By the type invariants it is attached. The file is live.
            unsafe { bindings::kevent_inode_add(mark, file.as_ptr(), events) };
        }
    }

    /// Is reported `events`, and nothing else.
    pub(crate) fn set(&self, events: u32) {
        let mark = self.0.get();
        if !mark.is_null() {
            // SAFETY: By the type invariants it is attached.
            unsafe { bindings::kevent_inode_set(mark, events) };
        }
    }

    /// Waits until the watch is not being fired by the mark.
    pub(crate) fn synchronize(&self) {
        let mark = self.0.get();
        if !mark.is_null() {
            // SAFETY: By the type invariants it is attached.
            unsafe { bindings::kevent_inode_synchronize(mark) };
        }
    }

    /// Is reported nothing any more. When this returns, the watch is not being fired by the mark.
    pub(crate) fn detach(&self, queue: &Queue) {
        // INVARIANT: It is null from now on.
        let mark = self.0.replace(core::ptr::null_mut());
        if !mark.is_null() {
            // SAFETY: By the type invariants it was attached, and it is used no more.
            unsafe { bindings::kevent_inode_detach(mark, queue.holder().as_ptr()) };
        }
    }
}

/// Something has happened to the inode of a watch.
///
/// # Safety
///
/// `watch` must be what was passed to `kevent_inode_attach()`, and the lock of its mark, which is
/// not detached, be held.
#[export]
pub(crate) unsafe extern "C" fn kevent_inode_changed(
    watch: *const c_void,
    events: u32,
    size: i64,
    cookie: u32,
) {
    // SAFETY: By the safety requirements it comes from `Mark::attach`. The table does not drop its
    // reference before the mark is detached, for which the lock is needed.
    let watch = unsafe { ArcBorrow::from_raw(watch.cast::<Watch<Inode>>()) };
    Inode::changed(watch, events, size, cookie);
}
