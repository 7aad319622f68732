// SPDX-License-Identifier: MIT

//! The kernel's own interface: `include/uapi/linux/kevent.h` in Rust, and the seven system calls.
//!
//! Names, layouts and values are the header's, of which the crate ships a copy (`uapi/kevent.h`);
//! see there, and `Documentation/userspace-api/kevent.rst` in the kernel's tree, for what they mean.
//! Sizes and offsets are checked when this crate is compiled. The rest of the crate is a safe layer
//! over this module. Nothing here needs `std`.

#![allow(non_camel_case_types)]

use libc::{c_int, c_long, c_uint};

/// Any file that can be polled.
pub const KEVENT_SOURCE_POLL: u32 = 1;
/// Sockets, with amounts.
pub const KEVENT_SOURCE_SOCKET: u32 = 2;
/// `io_submit(2)` completions.
pub const KEVENT_SOURCE_AIO: u32 = 3;
/// Signals of this process.
pub const KEVENT_SOURCE_SIGNAL: u32 = 4;
/// Timers.
pub const KEVENT_SOURCE_TIMER: u32 = 5;
/// A pidfd: exit, exec.
pub const KEVENT_SOURCE_PROCESS: u32 = 6;
/// Changes of a file or directory.
pub const KEVENT_SOURCE_INODE: u32 = 7;
/// A 32-bit word in memory.
pub const KEVENT_SOURCE_FUTEX: u32 = 8;
/// `kevent_post(2)`, and watches that are triggered.
pub const KEVENT_SOURCE_USER: u32 = 9;
/// `sigevent`: `timer_create`, `mq_notify`.
pub const KEVENT_SOURCE_SIGEV: u32 = 10;

/// One event.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct kevent_event {
    /// From the watch, the iocb, the sigevent or the post.
    pub user_data: u64,
    /// What happened, within [`KEVENT_EVENTS_MASK`]; in the ring, the protocol's word.
    pub events: u32,
    /// Source class, `KEVENT_INFO_*` flags, number of merges.
    pub info: u32,
    /// Amount, result, status, count: per source.
    pub data: i64,
    /// Second word: per source.
    pub extra: u64,
}

/// The event bits of [`kevent_event::events`].
pub const KEVENT_EVENTS_MASK: u32 = 0x0000_ffff;

/// `data` or `extra` has an errno.
pub const KEVENT_INFO_ERROR: u32 = 1 << 9;
/// More of the same follows.
pub const KEVENT_INFO_MORE: u32 = 1 << 10;
/// `data` counts; merges add to it.
pub const KEVENT_INFO_COUNTED: u32 = 1 << 11;
/// The watched object is gone.
pub const KEVENT_INFO_VANISHED: u32 = 1 << 12;
/// By `kevent_post(2)`: never trust `user_data` as a pointer.
pub const KEVENT_INFO_POSTED: u32 = 1 << 13;

/// The source class in [`kevent_event::info`].
pub const fn kevent_info_source(info: u32) -> u32 {
    info & 0xff
}

/// The number of merges in [`kevent_event::info`].
pub const fn kevent_info_merged(info: u32) -> u32 {
    info >> 16
}

/// Where the number of merges begins in the word of a ring entry.
pub const KEVENT_WORD_MERGED_SHIFT: u32 = 16;
/// The largest number of merges in one entry.
pub const KEVENT_WORD_MERGED_MAX: u32 = 0x3ff;
/// Where the lap begins in the word of a ring entry.
pub const KEVENT_WORD_LAP_SHIFT: u32 = 26;
/// The low bits of `index / ring_entries` that are kept as the lap.
pub const KEVENT_WORD_LAP_MASK: u32 = 0xf;
/// The bits of the state.
pub const KEVENT_WORD_STATE_MASK: u32 = 0xc000_0000;
/// The state of a free slot, whatever the other bits are.
pub const KEVENT_WORD_FREE: u32 = 0x0000_0000;
/// Published, not taken.
pub const KEVENT_WORD_READY: u32 = 0x4000_0000;
/// A consumer reads it.
pub const KEVENT_WORD_TAKEN: u32 = 0x8000_0000;
/// No event: skip.
pub const KEVENT_WORD_CANCELLED: u32 = 0xc000_0000;
/// With [`KEVENT_FEATURE_EXHAUSTED`], in the word that frees a slot beside the lap: the consumer saw
/// a short read or `EAGAIN` for every bit that was reported.
pub const KEVENT_WORD_EXHAUSTED: u32 = 0x0000_0001;

/// Header of the mapping.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct kevent_ring {
    /// Number of slots, a power of two.
    pub entries: u32,
    /// Where the slots begin, in bytes from here.
    pub entries_offset: u32,
    /// Size of a slot in bytes.
    pub event_size: u32,
    /// Zero.
    pub __resv0: [u32; 13],
    /// `KEVENT_RING_*`.
    pub flags: u32,
    /// Zero.
    pub __resv1: u32,
    /// Entries ever published, those without an event too; as of the last system call on the queue.
    pub posted: u64,
    /// Occurrences that found their entry unconsumed.
    pub merged: u64,
    /// Events that had to wait in the backlog.
    pub deferred: u64,
    /// Wake-ups of a waiting thread.
    pub woken: u64,
    /// Entries that were published without one.
    pub saved: u64,
    /// Zero.
    pub __resv2: [u64; 2],
    /// Index of the next entry to take.
    pub cursor: u32,
    /// For later: leave it zero.
    pub __resv3: [u32; 15],
}

/// [`kevent_ring::flags`]: events wait for free slots.
pub const KEVENT_RING_BACKLOG: u32 = 1 << 0;
/// [`kevent_ring::flags`]: call `kevent_wait(2)`, with `min_nr` 0.
pub const KEVENT_RING_RECHECK: u32 = 1 << 1;

/// Arguments of `kevent_create(2)`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct kevent_create {
    /// `KEVENT_CREATE_*`.
    pub flags: u32,
    /// Slots wanted in the ring, 0 for no ring.
    pub entries: u32,
    /// Size of [`kevent_event`] that the program was built with: 0 or [`KEVENT_EVENT_SIZE_VER0`].
    pub event_size: u32,
    /// Out: slots granted.
    pub ring_entries: u32,
    /// Out: `KEVENT_FEATURE_*` bits of this kernel.
    pub features: u64,
    /// Out: length for `mmap(2)`, at offset 0; 0 without a ring.
    pub mmap_size: u64,
    /// Out: where the slots begin in the mapping, in bytes.
    pub entries_offset: u32,
    /// Must be zero.
    pub __resv0: u32,
    /// Must be zero.
    pub __resv: [u64; 3],
}

/// The size of [`struct@kevent_create`] in the first version of the interface.
pub const KEVENT_CREATE_SIZE_VER0: usize = 64;
/// Other address spaces may use the queue.
pub const KEVENT_CREATE_SHARED: u32 = 1 << 0;
/// The smallest ring.
pub const KEVENT_MIN_ENTRIES: u32 = 2;
/// The largest ring.
pub const KEVENT_MAX_ENTRIES: u32 = 65536;

/// The bit of [`kevent_create::features`] for a source class, 0 to 31; 0 for other numbers.
pub const fn kevent_feature_source(class: u32) -> u64 {
    if class < 32 { 1 << class } else { 0 }
}

/// The kernel understands [`KEVENT_WORD_EXHAUSTED`].
pub const KEVENT_FEATURE_EXHAUSTED: u64 = 1 << 32;
/// [`KEVENT_ADD_UPDATE`], [`KEVENT_MODIFY_BY_IDENT`] and [`KEVENT_MODIFY_REMOVE`].
pub const KEVENT_FEATURE_BY_IDENT: u64 = 1 << 33;
/// [`KEVENT_WAIT_WAKE_NEXT`].
pub const KEVENT_FEATURE_WAKE_NEXT: u64 = 1 << 34;
/// Watches of [`KEVENT_SOURCE_USER`].
pub const KEVENT_FEATURE_USER_WATCH: u64 = 1 << 35;

/// One change record of `kevent_add(2)`, `kevent_modify(2)`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct kevent_watch {
    /// `KEVENT_SOURCE_*`.
    pub source: u32,
    /// `KEVENT_WATCH_*`.
    pub flags: u32,
    /// File descriptor, signal number, address, ...: per source.
    pub ident: u64,
    /// Event bits of interest.
    pub events: u32,
    /// Out: 0, or the negated error of this record; `-ECANCELED` if it was not tried.
    pub result: i32,
    /// Comes back in each event.
    pub user_data: u64,
    /// The watch's name: out in `kevent_add(2)`, in for `kevent_modify(2)`.
    pub handle: u64,
    /// Per source: low-water mark, deadline, interval, clock, ...
    pub arg: [u64; 4],
}

/// The size of [`kevent_watch`] in the first version of the interface.
pub const KEVENT_WATCH_SIZE_VER0: usize = 72;

/// Report changes only.
pub const KEVENT_WATCH_EDGE: u32 = 1 << 0;
/// Removed by its first event.
pub const KEVENT_WATCH_ONESHOT: u32 = 1 << 1;
/// Disabled by each event.
pub const KEVENT_WATCH_DISPATCH: u32 = 1 << 2;
/// Reports nothing until enabled.
pub const KEVENT_WATCH_DISABLED: u32 = 1 << 3;
/// A wake-up goes to one of many queues.
pub const KEVENT_WATCH_EXCLUSIVE: u32 = 1 << 4;
/// A last event when it vanishes.
pub const KEVENT_WATCH_VANISHED: u32 = 1 << 5;
/// TIMER: the deadline is absolute.
pub const KEVENT_WATCH_ABSTIME: u32 = 1 << 6;
/// SIGNAL: the event delivers it.
pub const KEVENT_WATCH_TAKE: u32 = 1 << 7;
/// FUTEX: `arg[3]` is what was last seen.
pub const KEVENT_WATCH_EXPECT: u32 = 1 << 8;

/// POLL: there is something to read.
pub const KEVENT_POLL_IN: u32 = 0x0001;
/// POLL: there is something urgent.
pub const KEVENT_POLL_PRI: u32 = 0x0002;
/// POLL: there is room to write.
pub const KEVENT_POLL_OUT: u32 = 0x0004;
/// POLL: an error; reported whether asked for or not.
pub const KEVENT_POLL_ERR: u32 = 0x0008;
/// POLL: both directions are shut; reported whether asked for or not.
pub const KEVENT_POLL_HUP: u32 = 0x0010;
/// POLL: the descriptor was closed; only reported with [`KEVENT_WATCH_VANISHED`].
pub const KEVENT_POLL_NVAL: u32 = 0x0020;
/// POLL: there is normal data to read.
pub const KEVENT_POLL_RDNORM: u32 = 0x0040;
/// POLL: there is priority data to read.
pub const KEVENT_POLL_RDBAND: u32 = 0x0080;
/// POLL: there is room for normal data.
pub const KEVENT_POLL_WRNORM: u32 = 0x0100;
/// POLL: there is room for priority data.
pub const KEVENT_POLL_WRBAND: u32 = 0x0200;
/// POLL: there is a message.
pub const KEVENT_POLL_MSG: u32 = 0x0400;
/// POLL: the other side writes no more.
pub const KEVENT_POLL_RDHUP: u32 = 0x2000;

/// SOCKET: data can be read.
pub const KEVENT_SOCKET_IN: u32 = 1 << 0;
/// SOCKET: data can be written.
pub const KEVENT_SOCKET_OUT: u32 = 1 << 1;
/// SOCKET: a connection can be accepted.
pub const KEVENT_SOCKET_ACCEPT: u32 = 1 << 2;
/// SOCKET: it is connected.
pub const KEVENT_SOCKET_CONNECT: u32 = 1 << 3;
/// SOCKET: the peer has closed its half; reported with an interest in IN.
pub const KEVENT_SOCKET_EOF: u32 = 1 << 4;
/// SOCKET: both halves are closed; reported whether asked for or not.
pub const KEVENT_SOCKET_CLOSED: u32 = 1 << 5;
/// SOCKET: there is an error; reported whether asked for or not.
pub const KEVENT_SOCKET_ERROR: u32 = 1 << 6;
/// SOCKET: out-of-band data can be read.
pub const KEVENT_SOCKET_OOB: u32 = 1 << 7;
/// SOCKET: all that was sent has arrived.
pub const KEVENT_SOCKET_DRAINED: u32 = 1 << 8;

/// AIO: the request has completed.
pub const KEVENT_AIO_DONE: u32 = 1 << 0;

/// SIGNAL: the signal was sent.
pub const KEVENT_SIGNAL_SENT: u32 = 1 << 0;

/// TIMER: the timer has expired.
pub const KEVENT_TIMER_EXPIRED: u32 = 1 << 0;

/// PROCESS: it can be waited for.
pub const KEVENT_PROCESS_EXIT: u32 = 1 << 0;
/// PROCESS: it was waited for.
pub const KEVENT_PROCESS_REAPED: u32 = 1 << 1;
/// PROCESS: it runs another program.
pub const KEVENT_PROCESS_EXEC: u32 = 1 << 2;

/// INODE: data was written, or the size changed.
pub const KEVENT_INODE_MODIFY: u32 = 1 << 0;
/// INODE: the file has grown; comes with MODIFY.
pub const KEVENT_INODE_EXTEND: u32 = 1 << 1;
/// INODE: what `stat(2)` shows has changed.
pub const KEVENT_INODE_ATTRIB: u32 = 1 << 2;
/// INODE: the number of links has changed.
pub const KEVENT_INODE_LINK: u32 = 1 << 3;
/// INODE: it was renamed or moved.
pub const KEVENT_INODE_RENAME: u32 = 1 << 4;
/// INODE: the last link was removed.
pub const KEVENT_INODE_DELETE: u32 = 1 << 5;
/// INODE: it was opened.
pub const KEVENT_INODE_OPEN: u32 = 1 << 6;
/// INODE: a descriptor that was open for writing was closed.
pub const KEVENT_INODE_CLOSE_WRITE: u32 = 1 << 7;
/// INODE: a descriptor that was not was closed.
pub const KEVENT_INODE_CLOSE_NOWRITE: u32 = 1 << 8;
/// INODE: something was created in the directory.
pub const KEVENT_INODE_CHILD_CREATED: u32 = 1 << 9;
/// INODE: something was removed from the directory.
pub const KEVENT_INODE_CHILD_DELETED: u32 = 1 << 10;
/// INODE: something was moved out of the directory.
pub const KEVENT_INODE_CHILD_MOVED_OUT: u32 = 1 << 11;
/// INODE: something was moved into the directory.
pub const KEVENT_INODE_CHILD_MOVED_IN: u32 = 1 << 12;
/// INODE: it got shorter; comes with MODIFY.
pub const KEVENT_INODE_TRUNCATE: u32 = 1 << 13;

/// FUTEX: by a futex wake.
pub const KEVENT_FUTEX_WOKEN: u32 = 1 << 0;
/// FUTEX: the word is not what was expected.
pub const KEVENT_FUTEX_CHANGED: u32 = 1 << 1;

/// SIGEV: the timer has expired.
pub const KEVENT_SIGEV_TIMER: u32 = 1 << 0;
/// SIGEV: a message has arrived.
pub const KEVENT_SIGEV_MESSAGE: u32 = 1 << 1;

/// `kevent_add(2)`: modify the watch of (source, ident) if there is one.
pub const KEVENT_ADD_UPDATE: u32 = 1 << 0;

/// `kevent_modify(2)` changes `events`.
pub const KEVENT_MODIFY_EVENTS: u32 = 1 << 0;
/// `kevent_modify(2)` changes `flags`, except DISABLED.
pub const KEVENT_MODIFY_MODE: u32 = 1 << 1;
/// `kevent_modify(2)` changes `user_data`.
pub const KEVENT_MODIFY_USER_DATA: u32 = 1 << 2;
/// `kevent_modify(2)` changes `arg`.
pub const KEVENT_MODIFY_ARG: u32 = 1 << 3;
/// `kevent_modify(2)` enables the watch.
pub const KEVENT_MODIFY_ENABLE: u32 = 1 << 4;
/// `kevent_modify(2)` disables the watch.
pub const KEVENT_MODIFY_DISABLE: u32 = 1 << 5;
/// `kevent_modify(2)` fires a USER watch with `events`.
pub const KEVENT_MODIFY_TRIGGER: u32 = 1 << 6;
/// `kevent_modify(2)`: `source` and `ident` name the watch, not `handle`.
pub const KEVENT_MODIFY_BY_IDENT: u32 = 1 << 7;
/// `kevent_modify(2)` removes the watch.
pub const KEVENT_MODIFY_REMOVE: u32 = 1 << 8;

/// `kevent_post(2)`: with no free slot, use the backlog.
pub const KEVENT_POST_DEFER: u32 = 1 << 0;

/// Arguments of `kevent_wait(2)`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct kevent_wait {
    /// `KEVENT_WAIT_*`.
    pub flags: u32,
    /// `CLOCK_MONOTONIC`, `CLOCK_REALTIME` or `CLOCK_BOOTTIME`.
    pub clockid: u32,
    /// Index of the first entry that the caller has not seen.
    pub seen: u32,
    /// How many entries from `seen` on end the wait; 0: do not sleep.
    pub min_nr: u32,
    /// Address of a [`__kernel_timespec`], or 0 to wait forever.
    pub timeout: u64,
    /// Nanoseconds for which to wait for all `min_nr`.
    pub min_wait: u64,
    /// Address of the signal mask to install while waiting, or 0.
    pub sigmask: u64,
    /// Size of that mask in bytes.
    pub sigsetsize: u32,
    /// Must be zero.
    pub __resv: u32,
}

/// The size of [`struct@kevent_wait`] in the first version of the interface.
pub const KEVENT_WAIT_SIZE_VER0: usize = 48;
/// The timeout is absolute.
pub const KEVENT_WAIT_ABSTIME: u32 = 1 << 0;
/// With `min_nr` 0: the caller was woken and will not consume.
pub const KEVENT_WAIT_WAKE_NEXT: u32 = 1 << 1;
/// The size of [`kevent_event`] in the first version of the interface.
pub const KEVENT_EVENT_SIZE_VER0: usize = 32;

/// `aio_flags` of an iocb: `aio_resfd` is a kevent queue, to which the completion is posted.
pub const IOCB_FLAG_KEVENT: u32 = 1 << 2;
/// `sigev_notify` of a sigevent: the descriptor of a queue is where the thread id is with
/// `SIGEV_THREAD_ID`.
pub const SIGEV_KEVENT: i32 = 8;

/// `struct __kernel_timespec`: 64-bit on every architecture.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct __kernel_timespec {
    /// Seconds.
    pub tv_sec: i64,
    /// Nanoseconds, below 1 000 000 000.
    pub tv_nsec: i64,
}

// The numbers of the common table, plus what each architecture adds to every one of its numbers.
#[cfg(target_arch = "alpha")]
const BASE: c_long = 110;
#[cfg(any(target_arch = "mips", target_arch = "mips32r6"))]
const BASE: c_long = 4000;
#[cfg(all(
    any(target_arch = "mips64", target_arch = "mips64r6"),
    target_pointer_width = "64"
))]
const BASE: c_long = 5000;
#[cfg(all(
    any(target_arch = "mips64", target_arch = "mips64r6"),
    target_pointer_width = "32"
))]
const BASE: c_long = 6000;
#[cfg(all(target_arch = "x86_64", target_pointer_width = "32"))]
const BASE: c_long = 0x4000_0000;
#[cfg(not(any(
    target_arch = "alpha",
    target_arch = "mips",
    target_arch = "mips32r6",
    target_arch = "mips64",
    target_arch = "mips64r6",
    all(target_arch = "x86_64", target_pointer_width = "32")
)))]
const BASE: c_long = 0;

/// Number of `kevent_create(2)`.
pub const SYS_KEVENT_CREATE: c_long = BASE + 473;
/// Number of `kevent_add(2)`.
pub const SYS_KEVENT_ADD: c_long = BASE + 474;
/// Number of `kevent_modify(2)`.
pub const SYS_KEVENT_MODIFY: c_long = BASE + 475;
/// Number of `kevent_remove(2)`.
pub const SYS_KEVENT_REMOVE: c_long = BASE + 476;
/// Number of `kevent_post(2)`.
pub const SYS_KEVENT_POST: c_long = BASE + 477;
/// Number of `kevent_wait(2)`.
pub const SYS_KEVENT_WAIT: c_long = BASE + 478;
/// Number of `kevent_get_events(2)`.
pub const SYS_KEVENT_GET_EVENTS: c_long = BASE + 479;

/// Makes a queue that may use the classes of the mask `sources`, bit `1 << class`, 0 for all; returns
/// its descriptor, or -1 with `errno` set.
///
/// # Safety
///
/// `args` must be valid for reading and writing `usize_` bytes.
pub unsafe fn kevent_create(args: *mut kevent_create, usize_: usize, sources: c_uint) -> c_long {
    // SAFETY: the caller vouches for the pointer; the kernel checks everything else.
    unsafe { libc::syscall(SYS_KEVENT_CREATE, args, usize_, sources) }
}

/// Registers `nr` watches; returns how many, or -1 with `errno` set.
///
/// # Safety
///
/// `w` must be valid for reading and writing `nr` records of `wsize` bytes each. What a watch
/// refers to (a futex word, for instance) is only ever read by the kernel.
pub unsafe fn kevent_add(
    fd: c_int,
    w: *mut kevent_watch,
    wsize: usize,
    nr: c_uint,
    flags: c_uint,
) -> c_long {
    // SAFETY: the caller vouches for the pointer; the kernel checks everything else.
    unsafe { libc::syscall(SYS_KEVENT_ADD, fd, w, wsize, nr, flags) }
}

/// Changes `nr` watches; returns how many, or -1 with `errno` set.
///
/// # Safety
///
/// As for [`kevent_add()`].
pub unsafe fn kevent_modify(
    fd: c_int,
    w: *mut kevent_watch,
    wsize: usize,
    nr: c_uint,
    flags: c_uint,
) -> c_long {
    // SAFETY: the caller vouches for the pointer; the kernel checks everything else.
    unsafe { libc::syscall(SYS_KEVENT_MODIFY, fd, w, wsize, nr, flags) }
}

/// Removes `nr` watches; returns how many, or -1 with `errno` set.
///
/// # Safety
///
/// `handles` must be valid for reading `nr` handles.
pub unsafe fn kevent_remove(fd: c_int, handles: *const u64, nr: c_uint, flags: c_uint) -> c_long {
    // SAFETY: the caller vouches for the pointer; the kernel checks everything else.
    unsafe { libc::syscall(SYS_KEVENT_REMOVE, fd, handles, nr, flags) }
}

/// Posts `nr` events; returns how many, or -1 with `errno` set.
///
/// # Safety
///
/// `ev` must be valid for reading `nr` records of `esize` bytes each.
pub unsafe fn kevent_post(
    fd: c_int,
    ev: *const kevent_event,
    esize: usize,
    nr: c_uint,
    flags: c_uint,
) -> c_long {
    // SAFETY: the caller vouches for the pointer; the kernel checks everything else.
    unsafe { libc::syscall(SYS_KEVENT_POST, fd, ev, esize, nr, flags) }
}

/// Waits for events; returns how many are ready, 0 on time-out, or -1 with `errno` set.
///
/// # Safety
///
/// `args` must be valid for reading `usize_` bytes, and so must be the timeout and the signal mask
/// that it points to.
#[inline]
pub unsafe fn kevent_wait(fd: c_int, args: *mut kevent_wait, usize_: usize) -> c_long {
    // SAFETY: the caller vouches for the pointers; the kernel checks everything else.
    unsafe { libc::syscall(SYS_KEVENT_WAIT, fd, args, usize_) }
}

/// Copies `min_nr` to `max_nr` events out; returns how many, or -1 with `errno` set.
///
/// # Safety
///
/// `buf` must be valid for writing `max_nr` events, `timeout` null or valid for reading.
#[inline]
pub unsafe fn kevent_get_events(
    fd: c_int,
    min_nr: c_uint,
    max_nr: c_uint,
    timeout: *const __kernel_timespec,
    buf: *mut kevent_event,
    flags: c_uint,
) -> c_long {
    // SAFETY: the caller vouches for the pointers; the kernel checks everything else.
    unsafe {
        libc::syscall(
            SYS_KEVENT_GET_EVENTS,
            fd,
            min_nr,
            max_nr,
            timeout,
            buf,
            flags,
        )
    }
}

// The layout, held against the header: a wrong size or offset does not compile.
const _: () = {
    use core::mem::{align_of, offset_of, size_of};

    assert!(size_of::<kevent_event>() == KEVENT_EVENT_SIZE_VER0);
    assert!(align_of::<kevent_event>() <= 8);
    assert!(offset_of!(kevent_event, user_data) == 0);
    assert!(offset_of!(kevent_event, events) == 8);
    assert!(offset_of!(kevent_event, info) == 12);
    assert!(offset_of!(kevent_event, data) == 16);
    assert!(offset_of!(kevent_event, extra) == 24);

    assert!(size_of::<kevent_ring>() == 192);
    assert!(offset_of!(kevent_ring, entries) == 0);
    assert!(offset_of!(kevent_ring, entries_offset) == 4);
    assert!(offset_of!(kevent_ring, flags) == 64);
    assert!(offset_of!(kevent_ring, posted) == 72);
    assert!(offset_of!(kevent_ring, merged) == 80);
    assert!(offset_of!(kevent_ring, deferred) == 88);
    assert!(offset_of!(kevent_ring, event_size) == 8);
    assert!(offset_of!(kevent_ring, woken) == 96);
    assert!(offset_of!(kevent_ring, saved) == 104);
    assert!(offset_of!(kevent_ring, cursor) == 128);

    assert!(size_of::<kevent_create>() == KEVENT_CREATE_SIZE_VER0);
    assert!(offset_of!(kevent_create, entries) == 4);
    assert!(offset_of!(kevent_create, event_size) == 8);
    assert!(offset_of!(kevent_create, ring_entries) == 12);
    assert!(offset_of!(kevent_create, features) == 16);
    assert!(offset_of!(kevent_create, mmap_size) == 24);
    assert!(offset_of!(kevent_create, entries_offset) == 32);
    assert!(offset_of!(kevent_create, __resv0) == 36);
    assert!(offset_of!(kevent_create, __resv) == 40);

    assert!(size_of::<kevent_watch>() == KEVENT_WATCH_SIZE_VER0);
    assert!(offset_of!(kevent_watch, source) == 0);
    assert!(offset_of!(kevent_watch, flags) == 4);
    assert!(offset_of!(kevent_watch, ident) == 8);
    assert!(offset_of!(kevent_watch, events) == 16);
    assert!(offset_of!(kevent_watch, result) == 20);
    assert!(offset_of!(kevent_watch, user_data) == 24);
    assert!(offset_of!(kevent_watch, handle) == 32);
    assert!(offset_of!(kevent_watch, arg) == 40);

    assert!(size_of::<kevent_wait>() == KEVENT_WAIT_SIZE_VER0);
    assert!(offset_of!(kevent_wait, clockid) == 4);
    assert!(offset_of!(kevent_wait, seen) == 8);
    assert!(offset_of!(kevent_wait, min_nr) == 12);
    assert!(offset_of!(kevent_wait, timeout) == 16);
    assert!(offset_of!(kevent_wait, min_wait) == 24);
    assert!(offset_of!(kevent_wait, sigmask) == 32);
    assert!(offset_of!(kevent_wait, sigsetsize) == 40);
    assert!(offset_of!(kevent_wait, __resv) == 44);

    assert!(size_of::<__kernel_timespec>() == 16);
};

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    /// A number as C and Rust write it, or one shifted.
    fn value(text: &str) -> Option<u64> {
        let text = text.trim().trim_matches(['(', ')']).replace('_', "");
        if let Some((number, shift)) = text.split_once("<<") {
            return Some(value(number)? << value(shift)?);
        }
        let digits = text.trim().trim_end_matches(['U', 'L']);
        match digits.strip_prefix("0x") {
            Some(hex) => u64::from_str_radix(hex, 16).ok(),
            None => digits.parse().ok(),
        }
    }

    /// The constants that `text` defines, by what comes before, between and after name and value.
    fn constants<'a>(
        text: &'a str,
        begin: &str,
        split: impl Fn(&'a str) -> Option<(&'a str, &'a str)>,
        end: &str,
    ) -> BTreeMap<&'a str, u64> {
        text.lines()
            .filter_map(|line| split(line.strip_prefix(begin)?))
            .filter(|(name, _)| name.starts_with("KEVENT_") && !name.contains('('))
            .filter_map(|(name, rest)| Some((name, value(rest.split(end).next()?)?)))
            .collect()
    }

    #[test]
    fn constants_are_those_of_the_header() {
        let header = include_str!("../uapi/kevent.h");
        let c = constants(
            header,
            "#define ",
            |line| line.split_once([' ', '\t']),
            "/*",
        );
        let rust = constants(
            include_str!("sys.rs"),
            "pub const ",
            |line| {
                let (name, rest) = line.split_once(": ")?;
                Some((name, rest.split_once(" = ")?.1))
            },
            ";",
        );

        assert!(c.len() > 90, "{c:?}");
        assert_eq!(c, rust);
    }
}
