// SPDX-License-Identifier: GPL-2.0-only

//! Where C and Rust meet: the functions that C calls, and the C functions of kevent that Rust
//! calls.

use kernel::{
    bindings,
    fs::{
        anon_inode::create_getfile,
        LocalFile, //
    },
    prelude::*,
    sync::aref::ARef,
    time::deadline::Deadline,
    uaccess::UserPtr, //
};

use crate::{
    core::ring::Ring,
    engine::{
        nest,
        queue::Queue, //
    },
    entry::file::{
        own_queue,
        QueueFile, //
    },
    source, //
};

pub(crate) mod completion;
pub(crate) mod file;
pub(crate) mod owner;
pub(crate) mod post;
pub(crate) mod register;
pub(crate) mod user;
pub(crate) mod wait;

/// Initialises the global locks.
///
/// # Safety
///
/// To be called once, at boot.
#[export]
pub(crate) unsafe extern "C" fn kevent_init_locks() {
    // SAFETY: It is called once, and before there are programs.
    unsafe { nest::NEST.init() };
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

/// What this kernel has beside the classes: the upper half of `kevent_create.features`.
const FEATURES: u64 = kernel::uapi::KEVENT_FEATURE_EXHAUSTED
    | kernel::uapi::KEVENT_FEATURE_BY_IDENT
    | kernel::uapi::KEVENT_FEATURE_WAKE_NEXT
    | kernel::uapi::KEVENT_FEATURE_USER_WATCH;

/// `kevent_create()`: makes a queue and fills in what `args` returns.
///
/// # Safety
///
/// `args` must be valid for reading and writing.
#[export]
pub(crate) unsafe extern "C" fn kevent_do_create(
    args: *mut bindings::kevent_create,
    sources: c_uint,
) -> *mut bindings::file {
    // SAFETY: By the safety requirements.
    let args = unsafe { &mut *args };
    let shared = args.flags & bindings::KEVENT_CREATE_SHARED != 0;
    let file = Queue::new(args.entries, u64::from(sources), shared).and_then(|queue| {
        args.features = source::KNOWN | FEATURES;
        // CAST: Sizes fit in 64 bits.
        args.mmap_size = queue.ring().map_or(0, |r| r.pages().size() as u64);
        args.ring_entries = queue.ring().map_or(0, Ring::entries);
        args.entries_offset = queue.ring().map_or(0, |_| Ring::entries_offset());
        let file = create_getfile::<Queue>(c"[kevent]", queue.clone(), bindings::O_RDWR)?;
        owner::link(&queue);
        Ok(file)
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
    flags: c_uint,
) -> c_int {
    to_ret(QueueFile::get(fd).and_then(|file| {
        let at = UserPtr::from_ptr(watches.cast());
        register::add(file.own_queue()?, at, wsize, nr, flags)
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
        register::modify(&*file.own_queue()?, at, wsize, nr, flags)
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
        register::remove(&*file.own_queue()?, at, nr)
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
/// `file` and `args` must be valid, `deadline` valid or null.
#[export]
pub(crate) unsafe extern "C" fn kevent_do_wait(
    file: *mut bindings::file,
    args: *const bindings::kevent_wait,
    deadline: *const bindings::kevent_deadline,
) -> c_int {
    // SAFETY: By the safety requirements. The two types are generated from one C structure.
    let args = unsafe { &*args.cast::<kernel::uapi::kevent_wait>() };
    // SAFETY: By the safety requirements.
    let file = unsafe { LocalFile::from_raw_file(file) };
    to_ret(own_queue(file).and_then(|queue| {
        if args.min_nr == 0 {
            return Ok(wait::look(&queue, args));
        }
        // SAFETY: By the safety requirements.
        let deadline = unsafe { deadline_from(deadline) }?;
        wait::wait(&queue, args, deadline.as_ref())
    }))
}

/// `kevent_get_events()`.
///
/// # Safety
///
/// `file` must be valid, `deadline` valid or null.
#[export]
pub(crate) unsafe extern "C" fn kevent_do_get_events(
    file: *mut bindings::file,
    min_nr: c_uint,
    max_nr: c_uint,
    deadline: *const bindings::kevent_deadline,
    events: *mut bindings::kevent_event,
) -> c_int {
    // SAFETY: By the safety requirements.
    let file = unsafe { LocalFile::from_raw_file(file) };
    to_ret(own_queue(file).and_then(|queue| {
        // SAFETY: By the safety requirements.
        let deadline = unsafe { deadline_from(deadline) }?;
        let to = UserPtr::from_ptr(events.cast());
        wait::get_events(&queue, min_nr, max_nr, deadline.as_ref(), to)
    }))
}
