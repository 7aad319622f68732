// SPDX-License-Identifier: GPL-2.0-only

//! What Rust calls of `source/process.c`, and what calls the source of a PROCESS watch.

use kernel::{
    bindings,
    error::to_result,
    fs::File,
    prelude::*,
    sync::{
        wait_entry::HasWaitEntries,
        ArcBorrow, //
    },
    types::Opaque, //
};

use crate::source::fd::HasFileLink;
use crate::{
    core::event::EventData,
    engine::{
        queue::Queue,
        watch::Watch, //
    },
    source::process::Process, //
};

/// The key of a wake-up that reports exec.
pub(crate) const KEY_EXEC: u32 = bindings::KEVENT_KEY_EXEC;

/// What is known of a process.
///
/// # Invariants
///
/// [`ProcessState::open`], [`ProcessState::close`] and [`ProcessState::look`] are called with the
/// mutex of the watch's queue held. The rest is protected as `source/process.c` says.
#[repr(transparent)]
pub(crate) struct ProcessState(Opaque<bindings::kevent_process>);

// SAFETY: By the type invariants, accesses are serialised.
unsafe impl Send for ProcessState {}
// SAFETY: As above.
unsafe impl Sync for ProcessState {}

impl ProcessState {
    pub(crate) fn new() -> Self {
        Self(Opaque::new(pin_init::zeroed()))
    }

    /// From now on this is of the process that `file` is a pidfd of.
    pub(crate) fn open(&self, queue: &Queue, file: &File) -> Result {
        let holder = queue.holder().as_ptr();
        // SAFETY: The file is live. By the type invariants nothing else accesses what is known, and
        // it is all zero, because a watch is attached once.
        to_result(unsafe { bindings::kevent_process_open(self.0.get(), file.as_ptr(), holder) })
    }

    /// Ends what [`ProcessState::open`] began, if it did. There must be no wake-ups any more.
    pub(crate) fn close(&self, queue: &Queue) {
        // SAFETY: By the type invariants nothing else accesses it.
        unsafe { bindings::kevent_process_close(self.0.get(), queue.holder().as_ptr()) };
    }

    /// Looks what has become of the process, and returns what was not known before.
    pub(crate) fn look(&self) -> u32 {
        // SAFETY: It is not called after `close`. By the type invariants no other task calls it
        // at the same time.
        unsafe { bindings::kevent_process_poll(self.0.get()) }
    }

    /// The same for the waker, with `tasklist_lock` held.
    fn woken(&self) -> u32 {
        // SAFETY: The lock is held, and the process open: there are wake-ups.
        unsafe { bindings::kevent_process_woken(self.0.get()) }
    }

    /// What is known to have become of the process.
    pub(crate) fn seen(&self) -> u32 {
        self.outcome().0
    }

    /// How it has ended, if it has.
    pub(crate) fn words(&self) -> EventData {
        self.outcome().1
    }

    fn outcome(&self) -> (u32, EventData) {
        let (mut status, mut cputime) = (0, 0);
        // SAFETY: FFI call with pointers to local variables.
        let seen =
            unsafe { bindings::kevent_process_outcome(self.0.get(), &mut status, &mut cputime) };
        let words = EventData {
            data: status.into(),
            extra: cputime,
            ..EventData::default()
        };
        (seen, words)
    }

    /// Whether the program may see what the process does.
    pub(crate) fn may_see(&self) -> bool {
        // SAFETY: It is written when the process is opened only.
        unsafe { (*self.0.get()).may_see }
    }
}

// SAFETY: `watch_of` knows it, and `Process::watch` makes the only ones. The link is there, and
// `detach` unlinks it.
unsafe impl HasFileLink for Process {
    const OFFSET: usize = core::mem::offset_of!(Watch<Self>, source.link);
}

// SAFETY:
// * The offset is that of the entries, of which there is one.
// * Watches live in an `Arc`, and `Table::remove_at` detaches their source, which removes the
//   entry, before it drops its reference. Before a watch is in the table its entry is on no queue.
unsafe impl HasWaitEntries for Watch<Process> {
    const OFFSET: usize = core::mem::offset_of!(Watch<Process>, source.entries);
    const COUNT: usize = 1;

    fn woken(this: ArcBorrow<'_, Self>, key: u32) -> bool {
        let process = this.into_ref().source();
        if key & KEY_EXEC != 0 {
            process.executes(this);
        } else {
            process.changes(this, process.state.woken());
        }
        // The pidfd's wait queue has no wake-ups for one waiter only.
        false
    }
}
