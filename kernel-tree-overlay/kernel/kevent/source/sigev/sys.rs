// SPDX-License-Identifier: GPL-2.0-only

//! POSIX timers that report to a queue, see `kernel/time/posix-timers.c`.
//!
//! The timer and its watch know each other, and neither owns the other:
//!
//! * `k_itimer.it_kevent` is the link in the watch, as long as the watch is attached. It is
//!   protected by the lock of the timer, which is held while the watch is fired.
//! * `kevent_sigev.timer` is the timer, as long as the watch is attached. It is protected by the
//!   mutex of the queue's watches.
//!
//! Whichever goes first detaches the watch, which ends both. If that is the timer, it takes a
//! reference to the watch under its lock, releases the lock, and removes the watch with the mutex
//! held. By then the watch is detached by the one or the other, and does not access the timer any
//! more, which may be freed.

use kernel::{
    bindings,
    prelude::*,
    sync::{
        Arc,
        ArcBorrow, //
    },
    types::Opaque, //
};

use core::mem::offset_of;

use crate::entry::file::QueueFile;

use crate::{
    engine::watch::Watch,
    source::sigev::{
        self,
        Sigev, //
    }, //
};

/// The link of a watch to its timer.
///
/// # Invariants
///
/// * `timer` is null, or a timer that will not be freed before [`TimerLink::end`] has returned.
/// * `timer` is accessed with the mutex of the queue's watches held.
#[repr(transparent)]
pub(crate) struct TimerLink(Opaque<bindings::kevent_sigev>);

// SAFETY: By the type invariants, accesses are serialised.
unsafe impl Send for TimerLink {}
// SAFETY: As above.
unsafe impl Sync for TimerLink {}

impl TimerLink {
    fn timer(&self) -> *mut bindings::k_itimer {
        // SAFETY: By the type invariants nothing writes it.
        unsafe { (*self.0.get()).timer }
    }

    /// From now on the timer fires the watch. To be called once, with the mutex of the queue's
    /// watches held.
    pub(crate) fn begin(&self) {
        // SAFETY: By the type invariants the timer is live. The watch is detached before it goes.
        unsafe { bindings::posixtimer_set_kevent(self.timer(), self.0.get()) };
    }

    /// Ends that. To be called with the mutex of the queue's watches held.
    pub(crate) fn end(&self) {
        let timer = self.timer();
        if timer.is_null() {
            return;
        }
        // SAFETY: By the type invariants the timer is live.
        unsafe { bindings::posixtimer_set_kevent(timer, core::ptr::null_mut()) };
        // SAFETY: By the type invariants nothing else accesses it.
        // INVARIANT: From here on the timer may be freed.
        unsafe { (*self.0.get()).timer = core::ptr::null_mut() };
    }

    /// The program is about to wait, and the last event was consumed or not. To be called with the
    /// mutex of the queue's watches held, while the watch is attached.
    pub(crate) fn on_recheck(&self, consumed: bool) {
        // SAFETY: By the type invariants the timer is live, and reports this watch.
        unsafe { bindings::posixtimer_recheck_kevent(self.timer(), consumed) };
    }
}

/// The watch that a link is in.
fn watch_with(link: *const bindings::kevent_sigev) -> *const Watch<Sigev> {
    link.wrapping_byte_sub(offset_of!(Watch<Sigev>, source.link))
        .cast()
}

/// Has a timer report the queue behind a descriptor.
///
/// # Safety
///
/// To be called by a system call only. `timer` must be valid, its lock not be held, and it must not
/// be freed before [`kevent_sigev_remove`] was called for it, or its `it_kevent` was seen to be
/// null after this has returned.
#[export]
pub(crate) unsafe extern "C" fn kevent_sigev_add(
    fd: c_int,
    timer: *mut bindings::k_itimer,
    id: c_int,
    user_data: u64,
) -> c_int {
    // INVARIANT: By the safety requirements. Who sees null sees it after `TimerLink::end` wrote it,
    // and `kevent_sigev_remove` waits for the mutex.
    let link = TimerLink(Opaque::new(bindings::kevent_sigev { timer }));
    let added = QueueFile::get(fd).and_then(|file| {
        // CAST: Ids of timers are not negative.
        sigev::add(&file.own_queue()?.into(), link, id as u32, user_data)
    });
    match added {
        Ok(()) => 0,
        Err(e) => e.to_errno(),
    }
}

/// The timer has expired `count` times since this was called last. Returns whether that made an
/// event, rather than being added to one that was not taken.
///
/// # Safety
///
/// `link` must be the `it_kevent` of a timer whose lock is held.
#[export]
pub(crate) unsafe extern "C" fn kevent_sigev_expired(
    link: *mut bindings::kevent_sigev,
    count: u64,
) -> bool {
    // SAFETY: The watch is detached before the table drops its reference, which needs the lock of
    // the timer: it is live.
    let watch = unsafe { ArcBorrow::from_raw(watch_with(link)) };
    Sigev::expired(watch, count)
}

/// The distance that the interrupts of a timer must have while the program makes no call.
///
/// # Safety
///
/// As for [`kevent_sigev_expired`].
#[export]
pub(crate) unsafe extern "C" fn kevent_sigev_gap(link: *mut bindings::kevent_sigev) -> i64 {
    // SAFETY: As in `kevent_sigev_expired`.
    let watch = unsafe { ArcBorrow::from_raw(watch_with(link)) };
    sigev::gap(watch)
}

/// Takes a reference to the watch that a link is in.
///
/// # Safety
///
/// As for [`kevent_sigev_expired`].
#[export]
pub(crate) unsafe extern "C" fn kevent_sigev_get(
    link: *mut bindings::kevent_sigev,
) -> *const c_void {
    // SAFETY: As in `kevent_sigev_expired`.
    let watch = unsafe { ArcBorrow::from_raw(watch_with(link)) };
    core::mem::forget(Arc::<Watch<Sigev>>::from(watch));
    link.cast_const().cast()
}

/// The timer of a watch goes.
///
/// # Safety
///
/// `link` must come from [`kevent_sigev_get`], whose reference this takes over.
#[export]
pub(crate) unsafe extern "C" fn kevent_sigev_remove(link: *const c_void) {
    // SAFETY: By the safety requirements there is a reference.
    let watch: Arc<Watch> = unsafe { Arc::from_raw(watch_with(link.cast())) };
    let queue = watch.queue();
    let mut table = queue.watches().lock();
    table.vanished(queue, &watch, 0, false);
}
