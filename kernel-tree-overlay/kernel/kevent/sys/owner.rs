// SPDX-License-Identifier: GPL-2.0-only

//! Whose a queue is.

use kernel::{
    bindings,
    mm::Mm,
    prelude::*,
    sync::aref::ARef,
    types::Opaque, //
};

/// The address space of the task that made a queue. Those who share it own the queue: threads, and
/// children of `vfork()` too.
#[pin_data]
pub(crate) struct Owner {
    /// In the list of `mm`, as long as the queue is to end with it; see `entry/owner.c`.
    #[pin]
    pub(crate) link: Opaque<bindings::kevent_mm_link>,
    /// Held, so that it is no other one's later, but not as a user of it. A test in the kernel has
    /// none.
    mm: Option<ARef<Mm>>,
    /// Others may use the queue as its owner does.
    shared: bool,
}

// SAFETY: The link is accessed with the lock of its list held, and the rest is not written.
unsafe impl Send for Owner {}
// SAFETY: As above.
unsafe impl Sync for Owner {}

impl Owner {
    /// The current task.
    pub(crate) fn current(shared: bool) -> impl PinInit<Self> {
        pin_init!(Self {
            link: Opaque::zeroed(),
            mm: current!().mm().map(|mm| {
                let mm: &Mm = mm;
                mm.into()
            }),
            shared,
        })
    }

    /// Whether the current task is in the address space that the queue was made in.
    #[inline]
    pub(crate) fn is_maker(&self) -> bool {
        let mm = self.mm.as_ref().map(|mm| mm.as_raw());
        current!().mm().map(|mm| mm.as_raw()) == mm
    }

    /// Whether the current task may do more than to post and to poll.
    #[inline]
    pub(crate) fn may_use(&self) -> bool {
        self.is_maker() || (self.shared && current!().mm().is_some())
    }

    /// The address space with which the queue ends, if it does.
    pub(crate) fn ends_with(&self) -> Option<&Mm> {
        self.mm.as_deref().filter(|_| !self.shared)
    }

    pub(crate) fn is_shared(&self) -> bool {
        self.shared
    }

    /// The queue does not end with the address space any more. When this returns, it is not found
    /// there.
    pub(crate) fn unlink(&self) {
        if let Some(mm) = self.ends_with() {
            // SAFETY: There is a reference to the mm. The link is in its list, or was never put
            // there, or has been taken off.
            unsafe { bindings::kevent_unlink_queue(self.link.get(), mm.as_raw()) };
        }
    }
}
