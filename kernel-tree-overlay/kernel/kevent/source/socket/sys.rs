// SPDX-License-Identifier: GPL-2.0-only

//! The C side of SOCKET watches: `source/socket.c`.

use kernel::{
    bindings,
    fs::File,
    prelude::*,
    sync::{
        atomic::{
            ordering::Relaxed,
            Atomic, //
        },
        wait_entry::HasWaitEntries,
        ArcBorrow, //
    },
    types::Opaque, //
};

use crate::{
    core::event::EventData,
    engine::watch::Watch,
    source::socket::Socket, //
};

use crate::source::fd::HasFileLink;

/// What a watch knows of its socket.
///
/// # Invariants
///
/// * `sock` is null, or a socket that is released only after the watch has ended.
/// * The marks, the amount, the space and the error are accessed atomically. `flow` is accessed
///   with the lock of the socket's wait queue held. The rest is written with the mutex of the
///   watch's queue held, `sock` not while the watch is on the wait queue.
#[repr(transparent)]
pub(crate) struct SocketState(Opaque<bindings::kevent_socket>);

// SAFETY: By the type invariants, accesses are serialised or atomic.
unsafe impl Send for SocketState {}
// SAFETY: As above.
unsafe impl Sync for SocketState {}

/// A low-water mark as the kernel has it. No buffer is larger.
fn mark(arg: u64) -> u32 {
    // CAST: It is small enough.
    arg.min(i32::MAX as u64) as u32
}

/// What was found out about a socket, `KEVENT_SOCKET_*`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    /// What holds.
    pub(crate) events: u32,
    /// What may come to hold without a wake-up.
    pub(crate) silent: u32,
}

impl Found {
    fn new(found: u32) -> Self {
        Self {
            events: found & kernel::uapi::KEVENT_EVENTS_MASK,
            silent: found >> bindings::KEVENT_SOCKET_SILENT_SHIFT,
        }
    }
}

/// What a wake-up has found out, as `kevent_socket_woken()` returns it.
#[derive(Clone, Copy)]
pub(crate) struct Woken(u32);

impl Woken {
    /// The events, if that is all there is to say, and they are not none.
    #[inline(always)]
    pub(crate) fn events_only(self) -> Option<u32> {
        // One test of three: it is not 0, and has none of the bits above.
        let is_all = self.0.wrapping_sub(1) < kernel::uapi::KEVENT_EVENTS_MASK;
        is_all.then_some(self.0)
    }

    /// What was found out, unless a task has to look.
    pub(crate) fn found(self) -> Option<Found> {
        (self.0 & bindings::KEVENT_SOCKET_UNKNOWN == 0).then(|| Found::new(self.0))
    }
}

impl SocketState {
    /// Makes the state of a watch with these low-water marks, without a socket.
    pub(crate) fn new(receive: u64, send: u64) -> Self {
        // INVARIANT: There is no socket.
        Self(Opaque::new(bindings::kevent_socket {
            receive_mark: mark(receive),
            send_mark: mark(send),
            ..pin_init::zeroed()
        }))
    }

    /// # Safety
    ///
    /// `field` must be one of the fields that are accessed atomically.
    unsafe fn field(
        &self,
        field: impl Fn(*mut bindings::kevent_socket) -> *mut u32,
    ) -> &Atomic<u32> {
        // SAFETY: By the safety requirements and the type invariants it is accessed atomically. It
        // is aligned, and lives as long as `self`.
        unsafe { Atomic::from_ptr(field(self.0.get())) }
    }

    fn receive_mark(&self) -> &Atomic<u32> {
        // SAFETY: It is such a field.
        unsafe { self.field(|s| &raw mut (*s).receive_mark) }
    }

    fn send_mark(&self) -> &Atomic<u32> {
        // SAFETY: It is such a field.
        unsafe { self.field(|s| &raw mut (*s).send_mark) }
    }

    fn amount(&self) -> &Atomic<u32> {
        // SAFETY: It is such a field.
        unsafe { self.field(|s| &raw mut (*s).amount) }
    }

    fn space(&self) -> &Atomic<u32> {
        // SAFETY: It is such a field.
        unsafe { self.field(|s| &raw mut (*s).space) }
    }

    fn error(&self) -> &Atomic<u32> {
        // SAFETY: It is such a field.
        unsafe { self.field(|s| &raw mut (*s).error) }
    }

    /// Changes the low-water marks.
    pub(crate) fn set_marks(&self, receive: u64, send: u64) {
        self.receive_mark().store(mark(receive), Relaxed);
        self.send_mark().store(mark(send), Relaxed);
    }

    /// Whether there is a low-water mark for what is sent.
    pub(crate) fn has_send_mark(&self) -> bool {
        self.send_mark().load(Relaxed) != 0
    }

    /// What an event says beside its bits: what was seen last.
    pub(crate) fn words(&self) -> EventData {
        let error = u64::from(self.error().load(Relaxed));
        EventData {
            data: self.amount().load(Relaxed).into(),
            extra: u64::from(self.space().load(Relaxed)) | error << 32,
            info: 0,
        }
    }

    /// Clears what was seen.
    pub(crate) fn clear(&self) {
        self.amount().store(0, Relaxed);
        self.space().store(0, Relaxed);
        self.error().store(0, Relaxed);
    }

    /// Finds the socket that `file` is, `ENOTSOCK` if it is none.
    ///
    /// # Safety
    ///
    /// The file must be released only after the watch has ended.
    unsafe fn attach(&self, file: &File) -> Result {
        // INVARIANT: The socket goes with its file.
        // SAFETY: The file is live.
        kernel::error::to_result(unsafe {
            bindings::kevent_socket_attach(self.0.get(), file.as_ptr())
        })
    }

    fn has_socket(&self) -> bool {
        // SAFETY: By the type invariants nothing writes it.
        unsafe { !(*self.0.get()).sock.is_null() }
    }

    /// Has all space that becomes free reported, or not any more.
    pub(crate) fn watch_space(&self, watch: bool) {
        if self.has_socket() {
            // SAFETY: By the type invariants the socket is live, and this is done by one at a time.
            unsafe { bindings::kevent_socket_watch_space(self.0.get(), watch) };
        }
    }

    /// The socket was polled and has said `polled`: what holds of it. Not to be called with
    /// spinlocks held.
    pub(crate) fn polled(&self, polled: u32) -> Found {
        if !self.has_socket() {
            return Found::new(0);
        }
        // SAFETY: By the type invariants the socket is live.
        Found::new(unsafe { bindings::kevent_socket_polled(self.0.get(), polled) })
    }

    /// There was a wake-up for `key`: what there is to report, of what is of `interest`.
    ///
    /// # Safety
    ///
    /// To be called by a wake function on the socket's wait queue.
    #[inline(always)]
    unsafe fn woken(&self, key: u32, interest: u32) -> Woken {
        // SAFETY: By the safety requirements there is a socket, which is live by the type
        // invariants.
        Woken(unsafe { bindings::kevent_socket_woken(self.0.get(), key, interest) })
    }
}

impl Socket {
    /// Begins to watch the socket that `file` is, `ENOTSOCK` if it is none.
    ///
    /// To be called when the watch is attached, and the file linked after that.
    pub(crate) fn begin(&self, file: &File) -> Result {
        // SAFETY: The caller has a reference to the file, and for the release of a file that is
        // linked `files.c` waits until the watch has ended.
        unsafe { self.state.attach(file) }
    }
}

// SAFETY:
// * The offset is that of the entries, of which there is one.
// * Watches live in an `Arc`, and `Table::remove_at` detaches their source, which removes the
//   entry, before it drops its reference. Before a watch is in the table its entry is on no queue.
unsafe impl HasWaitEntries for Watch<Socket> {
    const OFFSET: usize = core::mem::offset_of!(Watch<Socket>, source.entries);
    const COUNT: usize = 1;

    #[inline(always)]
    fn woken(this: ArcBorrow<'_, Self>, key: u32) -> bool {
        let source = this.source();
        let interest = Socket::reported(this.interest());
        // SAFETY: This is called by a wake function. `Socket::attach` lets the file name its wait
        // queue only after it has found the socket.
        let woken = unsafe { source.state.woken(key, interest) };
        Socket::woken(this, key, woken)
    }
}

// SAFETY: `watch_of` knows it. The link is there, `Socket::watch` makes the source as that of a
// watch, and `detach` unlinks it.
unsafe impl HasFileLink for Socket {
    const OFFSET: usize = core::mem::offset_of!(Watch<Self>, source.link);
}

// 16 bytes for the `Arc`, the queue and the state each, 40 for the link, 40 for an entry, 56 for
// what it knows of the socket.
const _: () = assert!(size_of::<Watch<Socket>>() + 8 <= 192);
