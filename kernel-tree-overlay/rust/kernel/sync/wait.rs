// SPDX-License-Identifier: GPL-2.0

//! Wait queues on which the waker asks each waiter whether it wants to be woken.
//!
//! [`CondVar`] wakes the first waiter, which then looks whether there is something to do and goes
//! back to sleep if not. On a [`WaitQueue`] a waiter leaves its condition behind when it goes to
//! sleep, and [`WaitQueue::wake_one`] wakes the first one whose condition holds. So one occurrence
//! wakes at most one waiter, and never one that it is of no use to.
//!
//! A wake-up is not lost when the waiter that got it cannot use it: if its time was over, a signal
//! came or another task was faster, it hands the wake-up on.
//!
//! [`CondVar`]: crate::sync::CondVar
//!
//! C header: [`include/linux/wait.h`](srctree/include/linux/wait.h)

use crate::{
    bindings,
    fs::File,
    prelude::*,
    sync::{
        atomic::{
            ordering::Relaxed,
            Atomic, //
        },
        poll::PollTable,
        LockClassKey, //
    },
    task::{
        TASK_INTERRUPTIBLE,
        TASK_NORMAL, //
    },
    time::deadline::Deadline,
    types::Opaque, //
};
use core::{
    marker::PhantomPinned,
    ptr, //
};

/// Creates a [`WaitQueue`] initialiser with the given name and a newly-created lock class.
#[macro_export]
macro_rules! new_wait_queue {
    ($($name:literal)?) => {
        $crate::sync::wait::WaitQueue::new(
            $crate::optional_name!($($name)?), $crate::static_lock_class!()
        )
    };
}
pub use new_wait_queue;

/// Why a waiter stopped waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Woken {
    /// Its condition holds.
    Ready,
    /// The deadline passed.
    TimedOut,
    /// A signal is pending.
    Interrupted,
    /// Its condition held when it was woken, but another task was faster.
    Late,
}

/// A queue of tasks that wait, each for a condition of its own.
///
/// # Examples
///
/// ```
/// use kernel::{
///     new_wait_queue,
///     prelude::*,
///     sync::{
///         atomic::{
///             Atomic,
///             Relaxed, //
///         },
///         wait::{
///             WaitQueue,
///             Woken, //
///         },
///     },
///     time::deadline::Deadline, //
/// };
///
/// let queue = KBox::pin_init(new_wait_queue!("example"), GFP_KERNEL)?;
/// let items = Atomic::new(1u32);
///
/// // There is an item, so this does not sleep.
/// assert_eq!(queue.wait(|| items.load(Relaxed) > 0, None), Woken::Ready);
///
/// // There is none left, and nothing makes one.
/// items.store(0, Relaxed);
/// let now = Deadline::monotonic(0);
/// assert_eq!(queue.wait(|| items.load(Relaxed) > 0, Some(&now)), Woken::TimedOut);
/// assert!(!queue.is_active());
/// # Ok::<(), Error>(())
/// ```
#[pin_data]
pub struct WaitQueue {
    #[pin]
    head: Opaque<bindings::wait_queue_head>,

    /// The waiters' list points to the head.
    #[pin]
    _pin: PhantomPinned,
}

// SAFETY: A wait queue head has no owner and may be used from any thread.
unsafe impl Send for WaitQueue {}
// SAFETY: A wait queue head has a lock of its own.
unsafe impl Sync for WaitQueue {}

/// A waiter, on its own stack.
///
/// # Invariants
///
/// `entry` is on a wait queue only while the owner is in [`WaitQueue::wait`].
#[repr(C)]
struct Waiter<'a, F> {
    entry: Opaque<bindings::wait_queue_entry>,
    ready: &'a F,
    /// A waker picked this waiter, and picks no other one for the same occurrence.
    picked: Atomic<bool>,
}

impl<F: Fn() -> bool + Sync> Waiter<'_, F> {
    /// Wakes the waiter if its condition holds.
    ///
    /// # Safety
    ///
    /// To be called by a waker only: `entry` is a [`Waiter`]'s and on a queue, whose lock is held.
    unsafe extern "C" fn wake(
        entry: *mut bindings::wait_queue_entry,
        mode: c_uint,
        flags: c_int,
        key: *mut c_void,
    ) -> c_int {
        // SAFETY: The entry is the first field of a waiter, which lives at least as long as its
        // entry is on the queue, and it cannot leave the queue while the lock is held.
        let waiter = unsafe { &*entry.cast::<Self>() };
        if !(waiter.ready)() {
            return 0;
        }
        // Once the entry has left the queue the waiter may be gone: mark it first.
        waiter.picked.store(true, Relaxed);
        // SAFETY: As for this function; the entry's task is the waiter's.
        let woken = unsafe { bindings::autoremove_wake_function(entry, mode, flags, key) };
        if woken == 0 {
            // It was awake already, for another reason, and is still on the queue.
            waiter.picked.store(false, Relaxed);
        }
        woken
    }
}

impl WaitQueue {
    /// Constructs a new wait queue initialiser.
    pub fn new(name: &'static CStr, key: Pin<&'static LockClassKey>) -> impl PinInit<Self> {
        pin_init!(Self {
            // SAFETY: `slot` is valid while the closure is called, and both `name` and `key` have
            // static lifetimes.
            head <- Opaque::ffi_init(|slot| unsafe {
                bindings::__init_waitqueue_head(slot, name.as_char_ptr(), key.as_ptr())
            }),
            _pin: PhantomPinned,
        })
    }

    /// Whether a task waits.
    ///
    /// A waker that makes a condition true and then finds no waiter needs a full barrier in
    /// between; it pairs with the one in [`WaitQueue::wait`], between becoming visible here and
    /// looking at the condition.
    #[inline]
    pub fn is_active(&self) -> bool {
        // SAFETY: The head is initialised.
        unsafe { bindings::waitqueue_active(self.head.get()) }
    }

    /// Wakes the first waiter whose condition holds; returns whether there was one.
    ///
    /// Never sleeps and may be called from any context that may take a spinlock. The conditions
    /// are evaluated with the queue's lock held.
    #[inline]
    pub fn wake_one(&self) -> bool {
        // SAFETY: The head is initialised.
        let woken =
            unsafe { bindings::__wake_up(self.head.get(), TASK_NORMAL, 1, ptr::null_mut()) };
        woken != 0
    }

    /// Notifies all waiters and pollers that `key`, a mask of `EPOLL*` bits, has become true.
    /// Conditions of [`WaitQueue::wait`] are evaluated as for any wake-up.
    ///
    /// Never sleeps and may be called from any context that may take a spinlock. A poller may in
    /// turn notify others and take the locks of their wait queues: none of those may be held.
    pub fn notify(&self, key: u32) {
        // SAFETY: The head is initialised. CAST: Keys are passed as pointers.
        unsafe {
            bindings::__wake_up(self.head.get(), TASK_NORMAL, 1, key as usize as *mut c_void)
        };
    }

    /// [`WaitQueue::notify`], which wakes all exclusive pollers and not one of them: what `key`
    /// says goes on to hold.
    pub fn notify_all(&self, key: u32) {
        // SAFETY: The head is initialised. CAST: Keys are passed as pointers.
        unsafe {
            bindings::__wake_up(self.head.get(), TASK_NORMAL, 0, key as usize as *mut c_void)
        };
    }

    /// Puts the task that polls a file with `table` on this queue.
    ///
    /// # Safety
    ///
    /// The queue must live until the file is released.
    pub(crate) unsafe fn register(&self, file: &File, table: &PollTable<'_>) {
        // SAFETY: The file and the table are valid. The caller of poll has a reference to the file,
        // or leaves the queue before the file is released.
        unsafe { bindings::poll_wait(file.as_ptr(), self.head.get(), table.as_ptr()) }
    }

    /// Whether [`WaitQueue::wait`] would not sleep because time is over or a signal is pending.
    pub fn is_over(deadline: Option<&Deadline>) -> Option<Woken> {
        if current!().signal_pending() {
            Some(Woken::Interrupted)
        } else if deadline.is_some_and(|deadline| deadline.remaining() <= 0) {
            Some(Woken::TimedOut)
        } else {
            None
        }
    }

    /// Sleeps until `ready` holds, the deadline passes or a signal is pending.
    ///
    /// `ready` is called by wakers too: it must not sleep, and must not use this wait queue. If it
    /// holds, that wins over the other two.
    pub fn wait<F: Fn() -> bool + Sync>(&self, ready: F, deadline: Option<&Deadline>) -> Woken {
        if ready() {
            return Woken::Ready;
        }
        let waiter = Waiter {
            entry: Opaque::zeroed(),
            ready: &ready,
            picked: Atomic::new(false),
        };
        let entry = waiter.entry.get();
        // SAFETY: The entry is not on any queue, and ours.
        unsafe {
            bindings::init_wait(entry);
            (*entry).func = Some(Waiter::<F>::wake);
        }

        let mut expired = false;
        let woken = loop {
            // SAFETY: The entry is initialised. It leaves the queue in `finish_wait` below, so
            // before `waiter` is dropped.
            unsafe {
                bindings::prepare_to_wait_exclusive(self.head.get(), entry, TASK_INTERRUPTIBLE)
            };
            if ready() {
                break Woken::Ready;
            }
            if current!().signal_pending() {
                break Woken::Interrupted;
            }
            if expired {
                break Woken::TimedOut;
            }
            match deadline {
                Some(deadline) => expired = deadline.sleep(),
                // SAFETY: FFI call. The caller may sleep.
                None => unsafe { bindings::schedule() },
            }
            // This one is off the queue by now. If another task was faster, the occurrence may be
            // of use to the next waiter, see below.
            if waiter.picked.load(Relaxed) {
                break if ready() { Woken::Ready } else { Woken::Late };
            }
        };
        // SAFETY: The entry is initialised and was on this queue, if on any.
        unsafe { bindings::finish_wait(self.head.get(), entry) };

        // Picked, but not able to make use of it.
        let lost = woken != Woken::Ready || current!().fatal_signal_pending();
        if lost && waiter.picked.load(Relaxed) {
            self.wake_one();
        }
        woken
    }
}
