// SPDX-License-Identifier: GPL-2.0-only

//! Where C and Rust meet: the functions that C calls, and the C functions of kevent that Rust
//! calls.

use kernel::{
    bindings,
    fs::{
        anon_inode::{
            getfile,
            private_data, //
        },
        LocalFile, //
    },
    prelude::*,
    sync::{
        aref::ARef,
        ArcBorrow, //
    },
    time::{
        clock_timer::HasClockTimer,
        deadline::Deadline, //
    },
    transmute::{
        AsBytes,
        FromBytes, //
    },
    uaccess::{
        UserPtr,
        UserSlice, //
    },
};

use crate::{
    event::Event,
    post,
    queue::Queue,
    register::{
        self,
        Record, //
    },
    ring::Ring,
    source::{
        self,
        timer::Timer, //
    },
    wait,
    watch::Watch, //
};

/// A ring's share of its user's `RLIMIT_MEMLOCK`.
///
/// # Invariants
///
/// `size` is charged to `user`.
pub(crate) struct RingCharge {
    size: usize,
    user: *mut bindings::user_struct,
}

// SAFETY: A charge may be given back by any task.
unsafe impl Send for RingCharge {}
// SAFETY: A shared reference gives access to nothing.
unsafe impl Sync for RingCharge {}

impl RingCharge {
    /// Charges `size` bytes to the current user, or fails with `ENOMEM`.
    pub(crate) fn new(size: usize) -> Result<Self> {
        let mut user = core::ptr::null_mut();
        // SAFETY: FFI call with a pointer to a local variable.
        kernel::error::to_result(unsafe { bindings::kevent_charge_ring(size, &mut user) })?;
        // INVARIANT: It has just been charged.
        Ok(Self { size, user })
    }
}

impl Drop for RingCharge {
    fn drop(&mut self) {
        // SAFETY: By the type invariants this is what was charged, and it is given back once.
        unsafe { bindings::kevent_uncharge_ring(self.size, self.user) };
    }
}

/// What a point in time in the time namespace of the current task is outside of it.
pub(crate) fn to_host_time(clock: u32, at: i64) -> i64 {
    // SAFETY: FFI call with numbers. CAST: Any will do, those that are no clock are returned as is.
    unsafe { bindings::timens_ktime_to_host(clock as bindings::clockid_t, at) }
}

// SAFETY:
// * The offset is that of the timer in the source in the watch.
// * Watches live in an `Arc`, and `Table::vacate` detaches their source, which cancels the timer,
//   before it drops its reference. Before a watch is in the table its timer is not armed.
unsafe impl HasClockTimer for Watch<Timer> {
    const OFFSET: usize = core::mem::offset_of!(Watch<Timer>, source.timer);

    fn expired(this: ArcBorrow<'_, Self>) -> Option<Deadline> {
        Timer::expired(this)
    }
}

// SAFETY: A `struct kevent_event` is integers without padding between them: any bytes will do.
unsafe impl FromBytes for Event {}
// SAFETY: As above.
unsafe impl AsBytes for Event {}

// SAFETY: A `struct kevent_watch` is integers without padding between them: any bytes will do.
unsafe impl FromBytes for Record {}
// SAFETY: As above.
unsafe impl AsBytes for Record {}

/// The file behind a descriptor, which is a queue.
struct QueueFile(ARef<LocalFile>);

impl QueueFile {
    fn get(fd: c_int) -> Result<Self> {
        let fd = u32::try_from(fd).map_err(|_| EBADF)?;
        let file = LocalFile::fget(fd)?;
        private_data::<Queue>(&file).ok_or(EINVAL)?;
        Ok(Self(file))
    }

    fn queue(&self) -> Result<ArcBorrow<'_, Queue>> {
        private_data::<Queue>(&self.0).ok_or(EINVAL)
    }
}

/// Turns a result into what a system call returns.
fn to_ret(result: Result<u32>) -> c_int {
    match result {
        // CAST: Counts are checked against `INT_MAX` before.
        Ok(n) => n as c_int,
        Err(e) => e.to_errno(),
    }
}

/// # Safety
///
/// `deadline` must be null or valid.
unsafe fn deadline_from(deadline: *const bindings::kevent_deadline) -> Result<Option<Deadline>> {
    // SAFETY: By the safety requirements.
    let deadline = unsafe { deadline.as_ref() };
    deadline
        .map(|d| Deadline::new(d.clockid, d.at, d.slack))
        .transpose()
}

/// `kevent_create()`: makes a queue and fills in what `args` returns.
///
/// # Safety
///
/// `args` must be valid for reading and writing.
#[export]
pub(crate) unsafe extern "C" fn kevent_do_create(
    args: *mut bindings::kevent_create,
) -> *mut bindings::file {
    // SAFETY: By the safety requirements.
    let args = unsafe { &mut *args };
    let file = Queue::new(args.entries, args.sources).and_then(|queue| {
        args.features = source::KNOWN;
        args.mmap_offset = 0;
        // CAST: Sizes fit in 64 bits.
        args.mmap_size = queue.ring().map_or(0, |r| r.pages().size() as u64);
        args.ring_entries = queue.ring().map_or(0, Ring::entries);
        args.entries_offset = queue.ring().map_or(0, |_| Ring::entries_offset());
        getfile::<Queue>(c"[kevent]", queue, bindings::O_RDWR)
    });
    match file {
        Ok(file) => ARef::into_raw(file).as_ptr().cast(),
        Err(e) => e.to_ptr(),
    }
}

/// `kevent_add()`.
///
/// # Safety
///
/// To be called by a system call only.
#[export]
pub(crate) unsafe extern "C" fn kevent_do_add(
    fd: c_int,
    watches: *mut bindings::kevent_watch,
    wsize: usize,
    nr: c_uint,
) -> c_int {
    to_ret(QueueFile::get(fd).and_then(|file| {
        let at = UserPtr::from_ptr(watches.cast());
        register::add(file.queue()?, at, wsize, nr)
    }))
}

/// `kevent_modify()`.
///
/// # Safety
///
/// To be called by a system call only.
#[export]
pub(crate) unsafe extern "C" fn kevent_do_modify(
    fd: c_int,
    watches: *mut bindings::kevent_watch,
    wsize: usize,
    nr: c_uint,
    flags: c_uint,
) -> c_int {
    to_ret(QueueFile::get(fd).and_then(|file| {
        let at = UserPtr::from_ptr(watches.cast());
        register::modify(&*file.queue()?, at, wsize, nr, flags)
    }))
}

/// `kevent_remove()`.
///
/// # Safety
///
/// To be called by a system call only.
#[export]
pub(crate) unsafe extern "C" fn kevent_do_remove(
    fd: c_int,
    handles: *const u64,
    nr: c_uint,
) -> c_int {
    to_ret(QueueFile::get(fd).and_then(|file| {
        let at = UserPtr::from_ptr(handles.cast_mut().cast());
        register::remove(&*file.queue()?, at, nr)
    }))
}

/// `kevent_post()`.
///
/// # Safety
///
/// To be called by a system call only.
#[export]
pub(crate) unsafe extern "C" fn kevent_do_post(
    fd: c_int,
    events: *const bindings::kevent_event,
    esize: usize,
    nr: c_uint,
    flags: c_uint,
) -> c_int {
    to_ret(QueueFile::get(fd).and_then(|file| {
        let from = UserPtr::from_ptr(events.cast_mut().cast());
        post::post(&*file.queue()?, from, esize, nr, flags)
    }))
}

/// `kevent_wait()`.
///
/// # Safety
///
/// `args` must be valid, `deadline` valid or null.
#[export]
pub(crate) unsafe extern "C" fn kevent_do_wait(
    fd: c_int,
    args: *const bindings::kevent_wait,
    deadline: *const bindings::kevent_deadline,
) -> c_int {
    // SAFETY: By the safety requirements. The two types are generated from one C structure.
    let args = unsafe { &*args.cast::<kernel::uapi::kevent_wait>() };
    to_ret(QueueFile::get(fd).and_then(|file| {
        // SAFETY: By the safety requirements.
        let deadline = unsafe { deadline_from(deadline) }?;
        wait::wait(&*file.queue()?, args, deadline.as_ref())
    }))
}

/// `kevent_get_events()`.
///
/// # Safety
///
/// `deadline` must be valid or null.
#[export]
pub(crate) unsafe extern "C" fn kevent_do_get_events(
    fd: c_int,
    min_nr: c_uint,
    max_nr: c_uint,
    deadline: *const bindings::kevent_deadline,
    events: *mut bindings::kevent_event,
) -> c_int {
    to_ret(QueueFile::get(fd).and_then(|file| {
        // SAFETY: By the safety requirements.
        let deadline = unsafe { deadline_from(deadline) }?;
        // CAST: `max_nr` was checked to be small enough by the caller.
        let size = (max_nr as usize).saturating_mul(size_of::<bindings::kevent_event>());
        let mut to = UserSlice::new(UserPtr::from_ptr(events.cast()), size).writer();
        wait::get_events(&*file.queue()?, min_nr, max_nr, deadline.as_ref(), &mut to)
    }))
}
