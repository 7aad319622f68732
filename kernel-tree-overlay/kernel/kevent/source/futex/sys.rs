// SPDX-License-Identifier: GPL-2.0-only

//! What Rust calls of `source/futex.c`, and what calls the source of a FUTEX watch.

use core::ptr::NonNull;

use kernel::{
    bindings,
    error::{
        from_err_ptr,
        to_result, //
    },
    prelude::*,
    sync::ArcBorrow,
    uapi, //
};

use crate::{
    core::event::EventData,
    engine::{
        queue::Queue,
        watch::Watch, //
    },
    source::futex::Futex, //
};

/// What became of an attempt to wait.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Armed {
    /// It waits.
    Waits,
    /// It does not, because the word has changed.
    Changed,
    /// It waits, but the word could not be read.
    Unread,
}

/// A word in memory.
///
/// # Invariants
///
/// It is valid, and freed when this is dropped. All but [`Word::words`] and [`Word::name`] are
/// called with the mutex of the watch's queue held. It is in the source of a watch in an `Arc`,
/// which is detached before the table of its queue drops its reference.
pub(crate) struct Word(NonNull<bindings::kevent_futex>);

// SAFETY: By the type invariants, accesses are serialised, or may be made at any time.
unsafe impl Send for Word {}
// SAFETY: As above.
unsafe impl Sync for Word {}

impl Word {
    /// The word at `uaddr` in the memory of the current task. May fault.
    ///
    /// To be called by [`Futex::watch`](crate::source::Class::watch) only.
    pub(crate) fn new(uaddr: u64, flags: u32, bitset: u32) -> Result<Self> {
        // SAFETY: FFI call with numbers, in the context of a task that may sleep.
        let word = from_err_ptr(unsafe { bindings::kevent_futex_new(uaddr, flags, bitset) })?;
        // INVARIANT: It has just been made, for a source as above.
        NonNull::new(word).map(Self).ok_or(ENOMEM)
    }

    /// From now on `watch`, which this is of, may be fired.
    pub(crate) fn attach(&self, watch: ArcBorrow<'_, Watch>) -> Result {
        let holder = watch.queue().holder().as_ptr();
        let watch = core::ptr::from_ref::<Watch>(&watch).cast();
        // SAFETY: The word is valid. By the type invariants the watch lives until it is detached.
        to_result(unsafe { bindings::kevent_futex_attach(self.0.as_ptr(), watch, holder) })
    }

    /// Ends what [`Word::attach`] began, if it did. When this returns, no waker fires the watch.
    pub(crate) fn detach(&self, queue: &Queue) {
        // SAFETY: The word is valid, and may be detached already.
        unsafe { bindings::kevent_futex_detach(self.0.as_ptr(), queue.holder().as_ptr()) };
    }

    /// Whether it waits. If not, no waker fires the watch.
    pub(crate) fn is_armed(&self) -> bool {
        // SAFETY: The word is valid.
        unsafe { bindings::kevent_futex_is_armed(self.0.as_ptr()) }
    }

    /// Waits, if it does not and the word is in the memory of the current task; if it is to
    /// `compare`, unless the word has changed. Does not fault.
    pub(crate) fn arm(&self, compare: bool) -> Armed {
        if self.is_armed() || !self.is_mine() {
            return Armed::Waits;
        }
        // SAFETY: The word is valid, does not wait, and is the current task's.
        match unsafe { bindings::kevent_futex_arm(self.0.as_ptr(), compare) } {
            0 => Armed::Waits,
            1 => Armed::Changed,
            _ => Armed::Unread,
        }
    }

    /// Does not wait any more. When this returns, no waker fires the watch.
    pub(crate) fn disarm(&self) {
        // SAFETY: The word is valid.
        unsafe { bindings::kevent_futex_disarm(self.0.as_ptr()) };
    }

    /// Whether the word is in the memory of the current task.
    pub(crate) fn is_mine(&self) -> bool {
        // SAFETY: The word is valid.
        unsafe { bindings::kevent_futex_is_mine(self.0.as_ptr()) }
    }

    /// Whether the memory that the word was in has gone.
    pub(crate) fn is_removed_or_done(&self) -> bool {
        // SAFETY: The word is valid.
        unsafe { bindings::kevent_futex_is_gone(self.0.as_ptr()) }
    }

    /// From now on waits for `bitset`; `expect` is what the program has last seen, else it is what
    /// is there now.
    pub(crate) fn change(&self, bitset: u32, expect: Option<u32>) {
        let expect = expect
            .as_ref()
            .map_or(core::ptr::null(), core::ptr::from_ref);
        self.disarm();
        // SAFETY: The word is valid and does not wait. The pointer is null or to a local variable.
        unsafe { bindings::kevent_futex_change(self.0.as_ptr(), bitset, expect) };
    }

    /// Whether the word could not be read when it was looked at last.
    pub(crate) fn is_unread(&self) -> bool {
        self.seen().1
    }

    fn seen(&self) -> (u32, bool) {
        let mut unread = false;
        // SAFETY: The word is valid, and the pointer is to a local variable.
        let value = unsafe { bindings::kevent_futex_seen(self.0.as_ptr(), &mut unread) };
        (value, unread)
    }

    /// What an event says of it.
    pub(crate) fn words(&self) -> EventData {
        let (value, unread) = self.seen();
        EventData {
            data: value.into(),
            extra: if unread { bindings::EFAULT.into() } else { 0 },
            info: if unread { uapi::KEVENT_INFO_ERROR } else { 0 },
        }
    }

    /// Its address, and the `FUTEX2_*` flags.
    pub(crate) fn name(&self) -> (u64, u32) {
        let mut flags = 0;
        // SAFETY: The word is valid, and the pointer is to a local variable.
        let uaddr = unsafe { bindings::kevent_futex_name(self.0.as_ptr(), &mut flags) };
        (uaddr, flags)
    }
}

impl Drop for Word {
    fn drop(&mut self) {
        // SAFETY: By the type invariants it is valid, and it is detached or never was attached.
        unsafe { bindings::kevent_futex_free(self.0.as_ptr()) };
    }
}

/// A word is woken.
///
/// # Safety
///
/// `watch` must come from [`Word::attach`], and not be detached before this returns.
#[export]
pub(crate) unsafe extern "C" fn kevent_futex_woken(watch: *const c_void) {
    // SAFETY: By the safety requirements it is the watch that the word is of, and live.
    let watch = unsafe { ArcBorrow::from_raw(watch.cast::<Watch<Futex>>()) };
    Futex::woken(watch);
}

/// The memory that a word is in has gone.
///
/// # Safety
///
/// As for [`kevent_futex_woken`].
#[export]
pub(crate) unsafe extern "C" fn kevent_futex_gone(watch: *const c_void) {
    // SAFETY: By the safety requirements it is the watch that the word is of, and live.
    let watch = unsafe { ArcBorrow::from_raw(watch.cast::<Watch<Futex>>()) };
    Futex::gone(watch);
}
