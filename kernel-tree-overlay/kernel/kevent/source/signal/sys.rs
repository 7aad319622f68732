// SPDX-License-Identifier: GPL-2.0-only

//! What Rust calls of `source/signal.c`, and what that calls.

use kernel::{
    bindings,
    error::to_result,
    prelude::*,
    sync::{
        Arc,
        ArcBorrow, //
    },
    types::{
        NotThreadSafe,
        Opaque, //
    }, //
};

use core::ptr::NonNull;

use crate::{
    core::{
        event::EventData,
        ring::Index, //
    },
    engine::{
        queue::Queue,
        watch::Watch, //
    },
    source::signal::Signal, //
};

/// That a watch is of a signal.
///
/// # Invariants
///
/// It was made by `kevent_signal_init`, and is accessed as `source/signal.c` says.
#[pin_data(PinnedDrop)]
#[repr(transparent)]
pub(crate) struct SignalLink {
    #[pin]
    inner: Opaque<bindings::kevent_signal>,
}

// SAFETY: The functions of `source/signal.c` may be called by any task.
unsafe impl Send for SignalLink {}
// SAFETY: They take the locks that they need.
unsafe impl Sync for SignalLink {}

/// Which of the signals that were reported.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Which {
    Oldest,
    Latest,
}

impl SignalLink {
    /// Makes the link of a watch of the current process: `EAGAIN` if it takes, and no signal could
    /// be queued.
    pub(crate) fn new(sig: u32, takes: bool) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            // INVARIANT: This is how it is made. CAST: The caller has checked that it is the number
            // of a signal.
            inner <- Opaque::try_ffi_init(|slot| {
                // SAFETY: The slot is valid for writing, and what is there is pinned from now on.
                to_result(unsafe { bindings::kevent_signal_init(slot, sig as c_int, takes) })
            }),
        })
    }

    /// From now on signals to the current process, which has made it, fire the watch. `ENOSPC` if
    /// too many do already.
    pub(crate) fn link(&self, queue: &Queue) -> Result {
        let holder = queue.holder().as_ptr();
        // SAFETY: By the type invariants it was made; a watch is attached once.
        to_result(unsafe { bindings::kevent_signal_link(self.inner.get(), holder) })
    }

    /// The watch does not count as one of the process any more. To be called with the mutex of the
    /// watch's queue held.
    pub(crate) fn uncount(&self, queue: &Queue) {
        // SAFETY: By the type invariants it was made; it may be uncounted already.
        unsafe { bindings::kevent_signal_uncount(self.inner.get(), queue.holder().as_ptr()) };
    }

    /// Ends what [`SignalLink::link`] began.
    pub(crate) fn unlink(&self) {
        // SAFETY: By the type invariants it was made; it may be unlinked already.
        unsafe { bindings::kevent_signal_unlink(self.inner.get()) };
    }

    /// Takes what is pending.
    pub(crate) fn pull(&self) {
        // SAFETY: By the type invariants it was made.
        unsafe { bindings::kevent_signal_pull(self.inner.get()) };
    }

    /// Holds off all who send signals to the process, if that is not gone.
    pub(crate) fn lock(&self) -> Option<ProcessLock> {
        let mut flags = 0;
        // SAFETY: By the type invariants it was made; the other pointer is to a local variable.
        let task = unsafe { bindings::kevent_signal_lock(self.inner.get(), &mut flags) };
        // INVARIANT: If a task was returned the lock is held.
        Some(ProcessLock {
            task: NonNull::new(task)?,
            flags,
            _not_send: NotThreadSafe,
        })
    }

    /// The number of the signal.
    pub(crate) fn sig(&self) -> u8 {
        // SAFETY: By the type invariants it was made, and nothing writes that.
        unsafe { (*self.inner.get()).sig }
    }

    /// Whether the event is the delivery.
    pub(crate) fn takes(&self) -> bool {
        // SAFETY: By the type invariants it was made, and nothing writes that.
        unsafe { (*self.inner.get()).takes }
    }

    /// What the next event says.
    pub(crate) fn next(&self) -> Option<EventData> {
        let mut words = EventData::default();
        let (info, data, extra) = (&mut words.info, &mut words.data, &mut words.extra);
        // SAFETY: By the type invariants it was made; the other pointers are to a local variable.
        let any = unsafe { bindings::kevent_signal_next(self.inner.get(), info, data, extra) };
        any.then_some(words)
    }

    /// What [`SignalLink::next`] returned was consumed.
    pub(crate) fn drop_next(&self) {
        // SAFETY: By the type invariants it was made.
        unsafe { bindings::kevent_signal_drop(self.inner.get()) };
    }

    /// What [`SignalLink::next`] returned was posted as that entry.
    pub(crate) fn posted(&self, entry: Index) {
        // SAFETY: By the type invariants it was made.
        unsafe { bindings::kevent_signal_posted(self.inner.get(), entry) };
    }

    /// As which entry a signal was posted that is not settled.
    pub(crate) fn entry(&self, which: Which) -> Option<Index> {
        let mut entry = 0;
        let oldest = which == Which::Oldest;
        // SAFETY: By the type invariants it was made; the other pointer is to a local variable.
        let any = unsafe { bindings::kevent_signal_entry(self.inner.get(), oldest, &mut entry) };
        any.then_some(entry)
    }

    /// A signal that was reported was `taken`, or is to be reported again.
    pub(crate) fn settle(&self, which: Which, entry: Index, taken: bool) {
        let oldest = which == Which::Oldest;
        // SAFETY: By the type invariants it was made.
        unsafe { bindings::kevent_signal_resolve(self.inner.get(), oldest, entry, taken) };
    }

    /// Unlinks a watch that takes, and sends for good what was not reported. To be called when it
    /// reports nothing any more.
    pub(crate) fn requeue_to_process(&self) {
        // SAFETY: By the type invariants it was made. The caller promises the rest.
        unsafe { bindings::kevent_signal_return(self.inner.get()) };
    }
}

#[pinned_drop]
impl PinnedDrop for SignalLink {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: By the type invariants it was made. A watch is dropped after it was removed from
        // the table, which unlinks it, if it ever was attached.
        unsafe { bindings::kevent_signal_destroy(self.inner.get()) };
    }
}

/// That the lock with which signals are sent to a process is held.
///
/// # Invariants
///
/// `task` is of the process, `flags` are what the interrupt flags were before.
pub(crate) struct ProcessLock {
    task: NonNull<bindings::task_struct>,
    flags: usize,
    _not_send: NotThreadSafe,
}

impl Drop for ProcessLock {
    fn drop(&mut self) {
        // SAFETY: By the type invariants the lock is held, with these flags.
        unsafe { bindings::kevent_signal_unlock(self.task.as_ptr(), self.flags) };
    }
}

/// The watch that a link is in.
///
/// # Safety
///
/// `ks` must be that of the source of a watch in an [`Arc`], which lives as long as what is
/// returned.
unsafe fn watch_of<'a>(ks: *const bindings::kevent_signal) -> ArcBorrow<'a, Watch<Signal>> {
    // SAFETY: By the safety requirements.
    unsafe { ArcBorrow::from_raw(watch_with(ks)) }
}

/// The watch that a link, which is nothing but what `ks` points to, is in.
fn watch_with(ks: *const bindings::kevent_signal) -> *const Watch<Signal> {
    let offset = core::mem::offset_of!(Watch<Signal>, source.link);
    ks.wrapping_byte_sub(offset).cast()
}

/// A signal of a watch that counts is sent.
///
/// # Safety
///
/// `ks` must be linked, and the siglock of the process held.
#[export]
pub(crate) unsafe extern "C" fn kevent_signal_count(ks: *const bindings::kevent_signal) {
    // SAFETY: A watch is unlinked before the table drops its reference, which needs the siglock.
    Signal::count(unsafe { watch_of(ks) });
}

/// Whether a watch takes a signal if one is sent.
///
/// # Safety
///
/// As for [`kevent_signal_count`].
#[export]
pub(crate) unsafe extern "C" fn kevent_signal_intercepts(
    ks: *const bindings::kevent_signal,
) -> bool {
    // SAFETY: As in `kevent_signal_count`.
    unsafe { watch_of(ks) }.is_open()
}

/// Settles the signals that were taken by the program.
///
/// # Safety
///
/// As for [`kevent_signal_count`].
#[export]
pub(crate) unsafe extern "C" fn kevent_signal_sweep(ks: *const bindings::kevent_signal) {
    // SAFETY: As in `kevent_signal_count`.
    let watch = unsafe { watch_of(ks) };
    watch.source().sweep(watch.queue());
}

/// A watch has taken a signal.
///
/// # Safety
///
/// As for [`kevent_signal_count`].
#[export]
pub(crate) unsafe extern "C" fn kevent_signal_fire(ks: *const bindings::kevent_signal) {
    // SAFETY: As in `kevent_signal_count`.
    Signal::taken(unsafe { watch_of(ks) });
}

/// Takes a reference to the watch that a link is in, and hands back the link.
///
/// # Safety
///
/// `ks` must have been linked, and the siglock of the process been held since.
#[export]
pub(crate) unsafe extern "C" fn kevent_get_signal(
    ks: *const bindings::kevent_signal,
) -> *const c_void {
    // SAFETY: As in `kevent_signal_count`.
    let watch = unsafe { watch_of(ks) };
    core::mem::forget(Arc::from(watch));
    ks.cast()
}

/// The process of a watch is not to be watched any more.
///
/// # Safety
///
/// `ks` must come from [`kevent_get_signal`], whose reference this takes over.
#[export]
pub(crate) unsafe extern "C" fn kevent_signal_ended(ks: *const c_void) {
    // SAFETY: By the safety requirements there is a reference, which is taken over.
    let watch: Arc<Watch> = unsafe { Arc::from_raw(watch_with(ks.cast())) };
    let reports = watch.flags() & kernel::uapi::KEVENT_WATCH_VANISHED != 0;
    let queue = watch.queue();
    let mut table = queue.watches().lock();
    table.vanished(queue, &watch, watch.source().closed(), reports);
    if reports {
        // SAFETY: It is that of the watch, to which there is a reference.
        unsafe { bindings::kevent_signal_forget(ks.cast_mut().cast()) };
    }
}
