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
//! A waker may run with interrupts disabled, and there may be as many waiters as a user may have
//! threads. So it asks no more than [`MAX_ASKED`] of them, and learns whether there are more.
//!
//! Those who poll a file wait on a [`PollQueue`], which asks none of them.
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
    cell::Cell,
    marker::PhantomPinned,
    ptr, //
};

/// How many waiters a waker asks, at most, before it lets go of the lock of the wait queue.
pub const MAX_ASKED: u32 = 16;

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

/// Creates a [`PollQueue`] initialiser with the given name and a newly-created lock class.
#[macro_export]
macro_rules! new_poll_queue {
    ($($name:literal)?) => {
        $crate::sync::wait::PollQueue::new(
            $crate::optional_name!($($name)?), $crate::static_lock_class!()
        )
    };
}
pub use new_poll_queue;

/// What a waiter's condition says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It does not hold: sleep on.
    No,
    /// The waiter is to wake up for something else than what the waker has come for.
    Other,
    /// It holds.
    Yes,
}

impl From<bool> for Answer {
    #[inline]
    fn from(holds: bool) -> Self {
        if holds {
            Self::Yes
        } else {
            Self::No
        }
    }
}

/// Why a waiter stopped waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Woken {
    /// Its condition holds, or it is to wake up for something else.
    Ready,
    /// The deadline passed.
    TimedOut,
    /// A signal is pending.
    Interrupted,
    /// Its condition held when it was woken, but another task was faster.
    Late,
}

/// What [`WaitQueue::wake_one`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wake {
    /// It woke a waiter, whose condition holds.
    One,
    /// It woke a waiter, for something else.
    Other,
    /// There is no waiter whose condition holds.
    Nobody,
    /// The conditions of [`MAX_ASKED`] waiters do not hold. It has asked no others, which come
    /// first the next time.
    Unknown,
}

/// A `struct wait_queue_head`.
#[pin_data]
struct Head {
    #[pin]
    head: Opaque<bindings::wait_queue_head>,

    /// The waiters' list points to the head.
    #[pin]
    _pin: PhantomPinned,
}

// SAFETY: A wait queue head has no owner and may be used from any thread.
unsafe impl Send for Head {}
// SAFETY: A wait queue head has a lock of its own.
unsafe impl Sync for Head {}

impl Head {
    fn new(name: &'static CStr, key: Pin<&'static LockClassKey>) -> impl PinInit<Self> {
        pin_init!(Self {
            // SAFETY: `slot` is valid while the closure is called, and both `name` and `key` have
            // static lifetimes.
            head <- Opaque::ffi_init(|slot| unsafe {
                bindings::__init_waitqueue_head(slot, name.as_char_ptr(), key.as_ptr())
            }),
            _pin: PhantomPinned,
        })
    }

    fn get(&self) -> *mut bindings::wait_queue_head {
        self.head.get()
    }

    #[inline]
    fn is_active(&self) -> bool {
        // SAFETY: The head is initialised.
        unsafe { bindings::waitqueue_active(self.get()) }
    }
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
///             Answer,
///             WaitQueue,
///             Woken, //
///         },
///     },
///     time::deadline::Deadline, //
/// };
///
/// let queue = KBox::pin_init(new_wait_queue!("example"), GFP_KERNEL)?;
/// let items = Atomic::new(1u32);
/// let ready = || Answer::from(items.load(Relaxed) > 0);
///
/// // There is an item, so this does not sleep.
/// assert_eq!(queue.wait(ready, None), Woken::Ready);
///
/// // There is none left, and nothing makes one.
/// items.store(0, Relaxed);
/// let now = Deadline::monotonic(0);
/// assert_eq!(queue.wait(ready, Some(&now)), Woken::TimedOut);
/// assert!(!queue.is_active());
/// # Ok::<(), Error>(())
/// ```
#[pin_data]
pub struct WaitQueue {
    #[pin]
    head: Head,
    /// How many tasks are in [`WaitQueue::wait`] and may be on the queue.
    waiters: Atomic<u32>,
}

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

/// A waker's walk through the waiters, on its own stack. What it passes as the key.
struct Walk<'a> {
    queue: &'a WaitQueue,
    /// How many more it may ask.
    left: Cell<u32>,
    /// What has come of it so far.
    wake: Cell<Wake>,
}

// Otherwise the only entry of a queue might be linked to itself while it is moved, and its owner
// might take it for removed.
const _: () = assert!(MAX_ASKED > 1);

impl Walk<'_> {
    /// The waiter's condition does not hold. Returns what the wake function is to return: to go on,
    /// or to stop.
    ///
    /// # Safety
    ///
    /// The lock of the queue has been held for the whole walk, and `entry` is on the queue.
    unsafe fn pass(&self, entry: *mut bindings::wait_queue_entry) -> c_int {
        let left = self.left.get().saturating_sub(1);
        self.left.set(left);
        if left > 0 {
            return 0;
        }
        // The next walk begins after this one.
        // SAFETY: As the caller promises; so this is one of [`MAX_ASKED`] entries on the queue.
        // `__wake_up()` stops and uses no entry any more.
        if unsafe { bindings::wait_queue_rotate(self.queue.head.get(), entry) } {
            self.wake.set(Wake::Unknown);
        }
        -1
    }
}

impl<F: Fn() -> Answer + Sync> Waiter<'_, F> {
    /// Wakes the waiter if its condition holds.
    ///
    /// # Safety
    ///
    /// To be called by [`WaitQueue::wake_one`] only: `entry` is a [`Waiter`]'s and on a queue,
    /// whose lock is held, and `key` points to a [`Walk`] through that.
    unsafe extern "C" fn wake(
        entry: *mut bindings::wait_queue_entry,
        mode: c_uint,
        flags: c_int,
        key: *mut c_void,
    ) -> c_int {
        // SAFETY: The entry is the first field of a waiter, which lives at least as long as its
        // entry is on the queue, and it cannot leave the queue while the lock is held.
        let waiter = unsafe { &*entry.cast::<Self>() };
        // SAFETY: As for this function.
        let walk = unsafe { &*key.cast::<Walk<'_>>() };
        let wake = match (waiter.ready)() {
            // SAFETY: As for this function.
            Answer::No => return unsafe { walk.pass(entry) },
            Answer::Other => Wake::Other,
            Answer::Yes => Wake::One,
        };
        // Once the entry has left the queue the waiter may be gone: mark it first.
        waiter.picked.store(true, Relaxed);
        // SAFETY: As for this function; the entry's task is the waiter's.
        let woken =
            unsafe { bindings::autoremove_wake_function(entry, mode, flags, ptr::null_mut()) };
        if woken == 0 {
            // It was awake already, for another reason, and is still on the queue.
            waiter.picked.store(false, Relaxed);
            // SAFETY: As for this function.
            return unsafe { walk.pass(entry) };
        }
        walk.wake.set(wake);
        woken
    }
}

impl WaitQueue {
    /// Constructs a new wait queue initialiser.
    pub fn new(name: &'static CStr, key: Pin<&'static LockClassKey>) -> impl PinInit<Self> {
        pin_init!(Self {
            head <- Head::new(name, key),
            waiters: Atomic::new(0),
        })
    }

    /// Whether a task waits.
    ///
    /// A waker that makes a condition true and then finds no waiter needs a full barrier in
    /// between; it pairs with the one in [`WaitQueue::wait`], between becoming visible here and
    /// looking at the condition.
    #[inline]
    pub fn is_active(&self) -> bool {
        self.head.is_active()
    }

    /// Wakes the first waiter that does not say no, if that is one of the next [`MAX_ASKED`].
    ///
    /// Never sleeps and may be called from any context that may take a spinlock. The conditions
    /// are evaluated with the queue's lock held.
    #[inline]
    pub fn wake_one(&self) -> Wake {
        let walk = Walk {
            queue: self,
            left: Cell::new(MAX_ASKED),
            wake: Cell::new(Wake::Nobody),
        };
        let key: *const Walk<'_> = &walk;
        // SAFETY: The head is initialised. All entries are waiters', and the key is what they want.
        unsafe { bindings::__wake_up(self.head.get(), TASK_NORMAL, 1, key.cast_mut().cast()) };
        walk.wake.get()
    }

    /// Wakes the first waiter that does not say no; returns whether there was one. It may be the
    /// last of many: not to be called with interrupts disabled or a lock held.
    ///
    /// A task that begins to wait meanwhile looks at its condition itself.
    pub fn wake_one_of_all(&self) -> bool {
        // Each walk asks others, unless there are fewer of them by now.
        for _ in 0..=self.waiters.load(Relaxed) / MAX_ASKED {
            match self.wake_one() {
                Wake::One | Wake::Other => return true,
                Wake::Nobody => return false,
                Wake::Unknown => {}
            }
        }
        false
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

    /// Sleeps until `ready` does not say no, the deadline passes or a signal is pending.
    ///
    /// `ready` is called by wakers too: it must not sleep, and must not use this wait queue. What
    /// it says wins over the other two.
    pub fn wait<F: Fn() -> Answer + Sync>(&self, ready: F, deadline: Option<&Deadline>) -> Woken {
        if ready() != Answer::No {
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
        // ORDERING: Before it is on the queue, whose lock the others take before they find it.
        self.waiters.fetch_add(1, Relaxed);

        let mut expired = false;
        let woken = loop {
            // SAFETY: The entry is initialised. It leaves the queue in `finish_wait` below, so
            // before `waiter` is dropped.
            unsafe {
                bindings::prepare_to_wait_exclusive(self.head.get(), entry, TASK_INTERRUPTIBLE)
            };
            if ready() != Answer::No {
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
                break match ready() {
                    Answer::No => Woken::Late,
                    _ => Woken::Ready,
                };
            }
        };
        // SAFETY: The entry is initialised and was on this queue, if on any.
        unsafe { bindings::finish_wait(self.head.get(), entry) };
        self.waiters.fetch_sub(1, Relaxed);

        // Picked, but not able to make use of it.
        let lost = woken != Woken::Ready || current!().fatal_signal_pending();
        if lost && waiter.picked.load(Relaxed) {
            self.wake_one_of_all();
        }
        woken
    }
}

/// A queue of those who poll a file.
///
/// # Examples
///
/// ```
/// use kernel::{
///     new_poll_queue,
///     prelude::*, //
/// };
///
/// let pollers = KBox::pin_init(new_poll_queue!("example"), GFP_KERNEL)?;
///
/// assert!(!pollers.is_active());
/// pollers.notify(kernel::bindings::POLLIN);
/// # Ok::<(), Error>(())
/// ```
#[pin_data]
pub struct PollQueue {
    #[pin]
    head: Head,
}

impl PollQueue {
    /// Constructs a new poll queue initialiser.
    pub fn new(name: &'static CStr, key: Pin<&'static LockClassKey>) -> impl PinInit<Self> {
        pin_init!(Self {
            head <- Head::new(name, key),
        })
    }

    /// Whether there is a poller. See [`WaitQueue::is_active`] for what a waker has to do before.
    #[inline]
    pub fn is_active(&self) -> bool {
        self.head.is_active()
    }

    /// Notifies all pollers, and of the exclusive ones the first, that `key`, a mask of `EPOLL*`
    /// bits, has become true.
    ///
    /// Never sleeps and may be called from any context that may take a spinlock. A poller may in
    /// turn notify others and take the locks of their wait queues: none of those may be held.
    pub fn notify(&self, key: u32) {
        // SAFETY: The head is initialised. CAST: Keys are passed as pointers.
        unsafe {
            bindings::__wake_up(self.head.get(), TASK_NORMAL, 1, key as usize as *mut c_void)
        };
    }

    /// [`PollQueue::notify`], which wakes all exclusive pollers and not one of them: what `key`
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
}
