// SPDX-License-Identifier: GPL-2.0

//! Entries with their own wake function on the wait queues of files.
//!
//! For each wake-up, the wake function of each entry on a wait queue is called in the waker's
//! context and decides what to do. The entry of a task that waits wakes the task. A [`WaitEntry`]
//! belongs to an object that is not a task, and that has to know at once, for example, that a file
//! has become readable: [`poll`] asks a file for its state, as `poll(2)` does, and puts the
//! object's entries on the wait queues where the file will announce changes.
//!
//! C header: [`include/linux/wait.h`](srctree/include/linux/wait.h),
//! [`include/linux/poll.h`](srctree/include/linux/poll.h)

use crate::{
    bindings,
    fs::File,
    prelude::*,
    sync::{
        atomic::{
            ordering::{
                Acquire,
                Full,
                Relaxed,
                Release, //
            },
            Atomic, //
        },
        rcu,
        ArcBorrow, //
    },
    task::TASK_NORMAL,
    types::Opaque, //
};
use core::{
    marker::{
        PhantomData,
        PhantomPinned, //
    },
    ptr, //
};

/// The bits of `wait_queue_entry::flags` from here on are not used by wait queues. They say which
/// of its owner's entries one is.
const NUMBER_SHIFT: u32 = 24;

/// And this one that it has used up a wake-up.
const CLAIMED: u32 = 1 << 23;

/// What stands for a wait queue that has gone.
const FREED: *mut bindings::wait_queue_head = ptr::without_provenance_mut(1);

/// What a wake-up that is passed on may say: that data can be read or written. The other bits make
/// waiters leave: `POLLFREE` all, `POLLHUP` those for whom it is the end of an eventfd.
const PASSED_ON: u32 = bindings::POLLIN
    | bindings::POLLPRI
    | bindings::POLLOUT
    | bindings::POLLRDNORM
    | bindings::POLLRDBAND
    | bindings::POLLWRNORM
    | bindings::POLLWRBAND;

/// What a file that cannot be polled is taken to be, `DEFAULT_POLLMASK`.
const ALWAYS_READY: u32 =
    bindings::POLLIN | bindings::POLLOUT | bindings::POLLRDNORM | bindings::POLLWRNORM;

/// What has entries on wait queues.
///
/// # Safety
///
/// * `OFFSET` must be the offset of a `[WaitEntry<Self>; COUNT]` in `Self`, and `COUNT` at most
///   256.
/// * `Self` must live in an [`Arc`], and [`WaitEntry::remove`] be called on all entries before the
///   last reference is dropped.
///
/// [`Arc`]: crate::sync::Arc
pub unsafe trait HasWaitEntries: Sized + Send + Sync {
    /// Where the entries are in `Self`.
    const OFFSET: usize;

    /// How many there are.
    const COUNT: usize;

    /// There was a wake-up; `key` is what the waker said it is for: the `EPOLL*` bits that became
    /// true, 0 if it did not say.
    ///
    /// Returns whether an exclusive entry uses it up: it has claimed the wake-up then, and no
    /// other exclusive waiter is woken.
    ///
    /// Called with the lock of the wait queue held, so in any context, and possibly with interrupts
    /// disabled. May be called on several CPUs at once if there are several entries.
    fn woken(this: ArcBorrow<'_, Self>, key: u32) -> bool;
}

/// An entry on a wait queue, or not on any.
///
/// # Examples
///
/// ```
/// use kernel::{
///     bindings::{
///         POLLIN,
///         POLLOUT, //
///     },
///     fs::anon_inode::{
///         getfile,
///         FileOperations,
///         FileVtable,
///         HasFileVtable,
///         Poller, //
///     },
///     new_poll_queue,
///     sync::{
///         atomic::{
///             Atomic,
///             Relaxed, //
///         },
///         wait::PollQueue,
///         wait_entry::{
///             poll,
///             HasWaitEntries,
///             Polled,
///             WaitEntry, //
///         },
///         Arc,
///         ArcBorrow, //
///     },
/// };
///
/// // A file that can be polled.
/// #[pin_data]
/// struct Device {
///     #[pin]
///     pollers: PollQueue,
/// }
///
/// static DEVICE_FILE: FileVtable<Device> = FileVtable::new();
///
/// #[vtable]
/// impl FileOperations for Device {
///     type Ptr = Arc<Device>;
///
///     fn poll<'a>(this: ArcBorrow<'a, Device>, poller: Poller<'a>) -> u32 {
///         poller.register(&this.into_ref().pollers);
///         0
///     }
/// }
///
/// // SAFETY: It is one static.
/// unsafe impl HasFileVtable for Device {
///     fn vtable() -> &'static FileVtable<Self> {
///         &DEVICE_FILE
///     }
/// }
///
/// // What sees its wake-ups.
/// #[pin_data]
/// struct Listener {
///     last_key: Atomic<u32>,
///     #[pin]
///     entries: [WaitEntry<Listener>; 1],
/// }
///
/// // SAFETY: The offset is that of the entries, of which there is one. The only listener is in an
/// // `Arc`, and its entry is removed below.
/// unsafe impl HasWaitEntries for Listener {
///     const OFFSET: usize = core::mem::offset_of!(Listener, entries);
///     const COUNT: usize = 1;
///
///     fn woken(this: ArcBorrow<'_, Self>, key: u32) -> bool {
///         this.last_key.store(key, Relaxed);
///         true
///     }
/// }
///
/// let device = Arc::pin_init(
///     pin_init!(Device {
///         pollers <- new_poll_queue!(),
///     }),
///     GFP_KERNEL,
/// )?;
/// let file = getfile::<Device>(c"[device]", device.clone(), 0)?;
/// let listener = Arc::pin_init(
///     pin_init!(Listener {
///         last_key: Atomic::new(0),
///         entries <- pin_init::pin_init_array_from_fn(|_| WaitEntry::new()),
///     }),
///     GFP_KERNEL,
/// )?;
///
/// // SAFETY: The entry is on no wait queue, and is removed while there is a reference to the file.
/// let polled = unsafe { poll(&file, listener.as_arc_borrow(), POLLIN | POLLOUT, false) };
/// assert_eq!(polled, Polled { events: 0, queues: 1 });
/// device.pollers.notify(POLLIN);
/// assert_eq!(listener.last_key.load(Relaxed), POLLIN);
///
/// listener.entries[0].remove();
/// device.pollers.notify(POLLOUT);
/// assert_eq!(listener.last_key.load(Relaxed), POLLIN);
/// # Ok::<(), Error>(())
/// ```
///
/// # Invariants
///
/// `private` of the entry is the head of the wait queue that it is on, null if it is on none, or
/// [`FREED`] if it was on one that has gone. In the first case `func` is [`WaitEntry::wake`], and
/// `flags` has the number of the entry.
#[pin_data]
#[repr(transparent)]
pub struct WaitEntry<T: HasWaitEntries> {
    #[pin]
    entry: Opaque<bindings::wait_queue_entry>,
    /// Wait queues point to their entries.
    #[pin]
    _pin: PhantomPinned,
    _owner: PhantomData<fn(&T)>,
}

// SAFETY: What is in an entry is protected by the lock of the wait queue.
unsafe impl<T: HasWaitEntries> Send for WaitEntry<T> {}
// SAFETY: As above.
unsafe impl<T: HasWaitEntries> Sync for WaitEntry<T> {}

impl<T: HasWaitEntries> WaitEntry<T> {
    /// Makes an entry that is on no wait queue.
    pub fn new() -> impl PinInit<Self> {
        // INVARIANT: All zero, so `private` is null.
        pin_init!(Self {
            entry: Opaque::zeroed(),
            _pin: PhantomPinned,
            _owner: PhantomData,
        })
    }

    /// The wait queue that it is on.
    fn head(&self) -> &Atomic<*mut bindings::wait_queue_head> {
        // SAFETY: The field is a pointer, aligned, lives as long as `self`, and is accessed through
        // what is returned here only.
        unsafe { Atomic::from_ptr((&raw mut (*self.entry.get()).private).cast()) }
    }

    /// Puts the entry on a wait queue.
    ///
    /// # Safety
    ///
    /// * It must be the entry number `number` of a `T` in an `Arc`, and be on no wait queue.
    /// * `head` must be valid until the entry is removed, or until an RCU grace period after a
    ///   wake-up with `POLLFREE`.
    unsafe fn add(&self, head: *mut bindings::wait_queue_head, number: usize, exclusive: bool) {
        let entry = self.entry.get();
        // INVARIANT: This is how an entry that is on a queue has to look.
        // SAFETY: It is on no queue, so nothing else accesses it.
        unsafe {
            // CAST: At most 255.
            (*entry).flags = (number as u32) << NUMBER_SHIFT;
            (*entry).func = Some(Self::wake);
        }
        self.head().store(head, Relaxed);
        // SAFETY: The head is valid by the safety requirements, and the entry stays where it is
        // until it is removed.
        unsafe {
            if exclusive {
                bindings::add_wait_queue_exclusive(head, entry);
            } else {
                bindings::add_wait_queue(head, entry);
            }
        }
    }

    /// Takes the entry off the wait queue, if it is on one. When this returns, [`woken`] is not
    /// running and will not be called for it.
    ///
    /// Must not be called from [`woken`]. If it is called twice at once, one of the calls returns
    /// before that holds.
    ///
    /// [`woken`]: HasWaitEntries::woken
    pub fn remove(&self) {
        self.remove_passing_on(|| 0);
    }

    /// Like [`WaitEntry::remove`]. If the entry has claimed a wake-up since it was requeued, and
    /// `key` says that it is unused, by returning what it was for instead of 0, another exclusive
    /// waiter is woken.
    pub fn remove_passing_on(&self, key: impl FnOnce() -> u32) {
        let _guard = rcu::read_lock();
        // ORDERING: Pairs with the store in `wake`: if that has been done, the queue is not
        // touched.
        let head = self.head().load(Acquire);
        if head.is_null() || head == FREED {
            return;
        }
        // INVARIANT: Here it is known that the entry is to leave the queue, which it does next.
        if self.head().cmpxchg(head, ptr::null_mut(), Full).is_err() {
            return;
        }
        // SAFETY: By the type invariants the entry is on the queue, or was until `wake` removed it
        // just now, in such a way that doing so again does no harm. In that case the queue is valid
        // until the end of the RCU critical section.
        unsafe { bindings::remove_wait_queue(head, self.entry.get()) };
        // SAFETY: It is on no queue now, so nothing else accesses it.
        if unsafe { (*self.entry.get()).flags } & CLAIMED != 0 {
            // SAFETY: As above.
            unsafe { Self::wake_another(head, key()) };
        }
    }

    /// Waits for [`woken`], if that is running. It may be called again after that.
    ///
    /// Must not be called from [`woken`].
    ///
    /// [`woken`]: HasWaitEntries::woken
    pub fn synchronize(&self) {
        let _guard = rcu::read_lock();
        // ORDERING: As in `remove_passing_on`.
        let head = self.head().load(Acquire);
        if head.is_null() || head == FREED {
            return;
        }
        // This takes the lock, and finds no flag to clear.
        // SAFETY: The queue is valid until the end of the RCU critical section, as in
        // `remove_passing_on`.
        unsafe { bindings::wait_queue_requeue(head, self.entry.get(), 0) };
    }

    /// If the entry has claimed a wake-up, puts it behind all others that wait, so that the next
    /// one goes to another waiter. Returns whether it had claimed one.
    ///
    /// To be called when that wake-up has been used.
    pub fn requeue(&self) -> bool {
        let _guard = rcu::read_lock();
        // ORDERING: As in `remove_passing_on`.
        let head = self.head().load(Acquire);
        if head.is_null() || head == FREED {
            return false;
        }
        // SAFETY: The queue is valid until the end of the RCU critical section, as in
        // `remove_passing_on`.
        unsafe { bindings::wait_queue_requeue(head, self.entry.get(), CLAIMED) }
    }

    /// If the entry has claimed a wake-up that `key` says is unused, as for
    /// [`WaitEntry::remove_passing_on`], wakes another exclusive waiter.
    ///
    /// All who wait and are not exclusive see it again. So the key need not be right, and is
    /// [looked through](PASSED_ON).
    pub fn pass_on(&self, key: impl FnOnce() -> u32) {
        let _guard = rcu::read_lock();
        if self.requeue() {
            // SAFETY: It is on that queue, or was until now, so this is valid as in
            // `remove_passing_on`.
            unsafe { Self::wake_another(self.head().load(Acquire), key()) };
        }
    }

    /// # Safety
    ///
    /// `head` must be null, [`FREED`] or valid.
    unsafe fn wake_another(head: *mut bindings::wait_queue_head, key: u32) {
        if key == 0 || head.is_null() || head == FREED {
            return;
        }
        // Who gets a key of 0 has to find out what there is.
        let key = if key & !PASSED_ON == 0 { key } else { 0 };
        // SAFETY: The queue is valid by the safety requirements. CAST: Keys are passed as pointers.
        unsafe { bindings::__wake_up(head, TASK_NORMAL, 1, key as usize as *mut c_void) };
    }

    /// Whether the wait queue has gone that the entry was on: there will be no more wake-ups.
    pub fn is_freed(&self) -> bool {
        self.head().load(Relaxed) == FREED
    }

    /// # Safety
    ///
    /// To be called by wakers only, with the lock of the wait queue that `entry` is on held.
    unsafe extern "C" fn wake(
        entry: *mut bindings::wait_queue_entry,
        _mode: c_uint,
        _flags: c_int,
        key: *mut c_void,
    ) -> c_int {
        let number = if T::COUNT == 1 {
            0
        } else {
            // SAFETY: By the type invariants the flags have the number of the entry.
            unsafe { (*entry).flags >> NUMBER_SHIFT }
        };
        // CAST: At most 255.
        let offset = T::OFFSET + number as usize * size_of::<Self>();
        // SAFETY: The entry is that far behind the beginning of a `T`, which lives in an `Arc` that
        // is not dropped before the entry is removed, for which the lock is needed.
        let owner = unsafe { ArcBorrow::from_raw(entry.byte_sub(offset).cast::<T>()) };
        // CAST: Keys are bits in the low half.
        let key = key as usize as u32;
        if key & bindings::POLLFREE != 0 {
            // The queue is about to go, which says nothing about the file. As soon as that is
            // known, the owner may go too.
            // SAFETY: The entry is on the queue whose lock is held, and is a `WaitEntry`'s.
            unsafe {
                bindings::list_del_init(&raw mut (*entry).entry);
                (*entry.cast::<Self>()).head().store(FREED, Release);
            }
            return 0;
        }
        let claims = T::woken(owner, key);
        if claims {
            // SAFETY: The entry is on the queue whose lock is held.
            unsafe { (*entry).flags |= CLAIMED };
        }
        claims.into()
    }
}

/// How a file is polled for an owner of entries.
#[repr(C)]
struct Registration<T> {
    table: bindings::poll_table,
    owner: *const T,
    exclusive: bool,
    /// How many wait queues the file has named.
    named: usize,
}

impl<T: HasWaitEntries> Registration<T> {
    /// # Safety
    ///
    /// To be called by `poll_wait()` only, with the table that [`poll`] gave to a file.
    unsafe extern "C" fn add(
        _file: *mut bindings::file,
        head: *mut bindings::wait_queue_head,
        table: *mut bindings::poll_table,
    ) {
        // SAFETY: The table is the first field of a registration, which nothing else uses while the
        // file is being polled.
        let this = unsafe { &mut *table.cast::<Self>() };
        let number = this.named;
        this.named = number.saturating_add(1);
        if head.is_null() || number >= T::COUNT {
            return;
        }
        let offset = T::OFFSET + number * size_of::<WaitEntry<T>>();
        // SAFETY: The owner is valid, and that far behind its beginning is its entry of that
        // number.
        let entry = unsafe { &*this.owner.byte_add(offset).cast::<WaitEntry<T>>() };
        // SAFETY: It is that entry, and on no queue by the safety requirements of `poll`. Wait
        // queues that files name stay until the file is released, or are torn down with `POLLFREE`.
        unsafe { entry.add(head, number, this.exclusive) };
    }
}

/// What [`poll`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Polled {
    /// The events that are there now, a mask of `EPOLL*` bits.
    pub events: u32,
    /// How many wait queues the file has. If that is more than the owner has entries, it will not
    /// see all wake-ups.
    pub queues: usize,
}

/// Whether a file can be polled at all. Those that cannot are always ready.
pub fn can_poll(file: &File) -> bool {
    // SAFETY: A file's operations are set and do not change.
    unsafe { (*(*file.as_ptr()).f_op).poll.is_some() }
}

/// Returns which events there are now on a file, a mask of `EPOLL*` bits. `key` is what the caller
/// is interested in, as for [`poll`]. May sleep.
pub fn poll_now(file: &File, key: u32) -> u32 {
    let mut table = bindings::poll_table {
        _qproc: None,
        _key: key,
    };
    // SAFETY: The table is valid for the call.
    unsafe { call_poll(file, &mut table) }
}

/// # Safety
///
/// `table` must be valid.
unsafe fn call_poll(file: &File, table: *mut bindings::poll_table) -> u32 {
    // SAFETY: A file's operations are set and do not change; they may be called on a file that the
    // caller has. The table is valid for the call, which is what it is used for.
    unsafe {
        match (*(*file.as_ptr()).f_op).poll {
            Some(poll) => poll(file.as_ptr(), table),
            None => ALWAYS_READY,
        }
    }
}

/// Puts the entries of `owner` on the wait queues of `file`, one each, and returns which events
/// there are on it already. May sleep.
///
/// `key` is what the owner is interested in, a mask of `EPOLL*` bits; the file may leave out wait
/// queues that have to do with other events only. With `EPOLLET` the owner wants a wake-up for all
/// that is new, even if the file was ready before.
///
/// # Safety
///
/// * All entries of `owner` must be on no wait queue, and no other caller may put them there.
/// * The entries must be removed before the file is released.
pub unsafe fn poll<T: HasWaitEntries>(
    file: &File,
    owner: ArcBorrow<'_, T>,
    key: u32,
    exclusive: bool,
) -> Polled {
    let mut registration = Registration::<T> {
        table: bindings::poll_table {
            _qproc: Some(Registration::<T>::add),
            _key: key,
        },
        owner: &*owner,
        exclusive,
        named: 0,
    };
    // SAFETY: The table is valid for the call.
    let events = unsafe { call_poll(file, (&raw mut registration).cast()) };
    Polled {
        events,
        queues: registration.named,
    }
}
