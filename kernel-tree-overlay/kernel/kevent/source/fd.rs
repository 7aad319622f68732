// SPDX-License-Identifier: GPL-2.0-only

//! That a watch is of a file, see `files.c`: what the classes whose watches are of files share.

use core::ptr::NonNull;

use kernel::{
    bindings,
    error::{
        from_err_ptr,
        to_result, //
    },
    fs::{
        anon_inode::private_data,
        File,
        LocalFile, //
    },
    prelude::*,
    sync::{
        aref::ARef,
        wait_entry::{
            self,
            HasWaitEntries,
            Polled, //
        },
        Arc,
        ArcBorrow, //
    },
    types::Opaque,
    uapi, //
};

use crate::{
    engine::{
        queue::Queue,
        table::Table,
        watch::Watch, //
    },
    source::{
        self,
        Class, //
    }, //
};

/// That a watch is of a file, see `files.c`.
///
/// # Invariants
///
/// It is accessed with the mutex of the watch's queue held, or by `files.c` with the lock of the
/// bucket it is in held. But `file`, `kind` and `doubtful` are not written while it is
/// linked.
#[repr(transparent)]
pub(crate) struct FileLink(Opaque<bindings::kevent_file_link>);

// SAFETY: By the type invariants, accesses are serialised.
unsafe impl Send for FileLink {}
// SAFETY: As above.
unsafe impl Sync for FileLink {}

/// In `kevent_file_link.kind`: the class. The byte above is for the class itself.
// CAST: It is the lower byte.
const CLASS_MASK: u16 = bindings::KEVENT_LINK_CLASS as u16;

/// In `kevent_file_link.kind`: the file is a queue.
const NESTED: u16 = 1 << 15;

/// And this: the watch is counted as one of its file.
// CAST: It is in the upper byte.
const COUNTED: u16 = bindings::KEVENT_LINK_COUNTED as u16;

/// And this: the file does not sleep when it is polled.
// CAST: As above.
const ATOMIC: u16 = bindings::KEVENT_LINK_ATOMIC as u16;

/// A source that is of a file, so that its watch goes when that is closed.
///
/// # Safety
///
/// * [`Class::OF_LINK`] must be there, and return the watch that has this source, if `KIND` is the
///   kind of the link.
/// * `OFFSET` must be the offset of its [`FileLink`] in the watch.
/// * The source must only be made as that of a watch in an [`Arc`].
/// * [`Source::detach`](source::Source::detach) must unlink it.
pub(crate) unsafe trait HasFileLink: Class {
    /// The class, and if that has several sources, what distinguishes them.
    // CAST: There are few classes.
    const KIND: u16 = Self::NUMBER as u16;

    /// Where its link is in the watch.
    const OFFSET: usize;
}

/// Returns the watch that a link is in, given its kind.
pub(crate) type OfLink = fn(*const bindings::kevent_file_link, u16) -> *const Watch;

/// The [`OfLink`] of a class with one source, `S`.
pub(crate) fn watch_with<S: HasFileLink + 'static>(
    link: *const bindings::kevent_file_link,
    _kind: u16,
) -> *const Watch {
    link.wrapping_byte_sub(S::OFFSET).cast::<Watch<S>>()
}

impl FileLink {
    /// Makes the link of a source.
    pub(crate) fn new<S: HasFileLink>() -> Self {
        Self(Opaque::new(bindings::kevent_file_link {
            kind: S::KIND,
            ..pin_init::zeroed()
        }))
    }

    /// From now on the watch, which is in `queue`, goes when `fd` is closed. `ENOSPC` if there are
    /// too many watches of the file.
    pub(crate) fn link(&self, queue: &Queue, file: &File, fd: u32) -> Result {
        let holder = queue.holder().as_ptr();
        // SAFETY: The link is not linked, and the file is live. CAST: It is the number of a file,
        // so small enough.
        to_result(unsafe {
            bindings::kevent_link_file(self.0.get(), file.as_ptr(), fd as c_int, holder)
        })
    }

    /// Ends what [`FileLink::link`] began.
    pub(crate) fn unlink(&self, queue: &Queue) {
        // SAFETY: FFI call; the link may be unlinked already.
        unsafe { bindings::kevent_unlink_file(self.0.get(), queue.holder().as_ptr()) };
    }

    /// Whether the descriptor is still open, after it was linked.
    pub(crate) fn is_open(&self) -> bool {
        // SAFETY: It was linked by this task.
        unsafe { bindings::kevent_link_is_open(self.0.get()) }
    }

    /// The file, if it is not about to be released.
    pub(crate) fn file(&self) -> Option<ARef<File>> {
        // SAFETY: By the type invariants the mutex of the queue is held.
        let file = unsafe { bindings::kevent_linked_file(self.0.get()) };
        // SAFETY: What is returned is a reference. No thread is in `fdget_pos` on a file that can
        // only be polled here; for others that position is not used.
        NonNull::new(file).map(|file| unsafe { ARef::from_raw(file.cast()) })
    }

    /// Polls the file for `key` if it does not sleep for that: `EPOLL*` bits. `None` if it may, or
    /// is about to be released.
    pub(crate) fn poll_at_once(&self, key: u32) -> Option<u32> {
        // SAFETY: By the type invariants the mutex of the queue is held, so `file` is not written.
        let (file, kind) = unsafe { ((*self.0.get()).file, (*self.0.get()).kind) };
        if file.is_null() {
            return None;
        }
        // SAFETY: As long as it is linked and the mutex is held, a task that closes the file waits,
        // see `files.c`: it is live.
        let found = unsafe { bindings::kevent_poll_at_once(file, key, kind & ATOMIC != 0) };
        Some(found).filter(|found| found & bindings::KEVENT_POLL_UNKNOWN == 0)
    }

    /// The number that the program gave.
    pub(crate) fn fd(&self) -> u32 {
        // SAFETY: It is written once, when linked. CAST: It is not negative.
        unsafe { (*self.0.get()).fd as u32 }
    }

    /// The file is a queue. To be called before it is linked.
    pub(crate) fn set_nested(&self) {
        self.set_kind(NESTED);
    }

    /// Notes whether `file`, which it is going to be linked to, does not sleep when it is polled.
    pub(crate) fn note_atomic(&self, file: &File) {
        // SAFETY: The file is live.
        if unsafe { bindings::kevent_poll_is_atomic(file.as_ptr()) } {
            self.set_kind(ATOMIC);
        }
    }

    fn set_kind(&self, bit: u16) {
        // SAFETY: By the type invariants nothing else accesses it.
        unsafe { (*self.0.get()).kind |= bit };
    }

    /// For which events a wake-up of the file is no proof. To be called before it is linked.
    pub(crate) fn set_doubtful(&self, events: u16) {
        // SAFETY: By the type invariants nothing else accesses it.
        unsafe { (*self.0.get()).doubtful = events };
    }

    /// Whether a wake-up of the file is no proof of all of these `events`.
    #[inline(always)]
    pub(crate) fn is_doubtful(&self, events: u32) -> bool {
        // SAFETY: By the type invariants nothing writes it.
        let doubtful = unsafe { (*self.0.get()).doubtful };
        // CAST: There are none but in the low half.
        events as u16 & doubtful != 0
    }

    /// Which of the `events` that a wake-up of the file is for there are, and whether a poll is
    /// needed for others.
    ///
    /// # Safety
    ///
    /// To be called by a wake function on a wait queue of the file.
    pub(crate) unsafe fn read(&self, events: u32) -> (u32, bool) {
        // SAFETY: It is written once, before the watch is on a wait queue of the file, and by the
        // safety requirements it is on one, which it leaves before the file goes.
        let found = unsafe { bindings::kevent_poll_read((*self.0.get()).file, events) };
        let unknown = bindings::KEVENT_POLL_UNKNOWN;
        (found & !unknown, found & unknown != 0)
    }

    pub(crate) fn is_nested(&self) -> bool {
        // SAFETY: By the type invariants nothing writes it.
        unsafe { (*self.0.get()).kind & NESTED != 0 }
    }
}

/// The watch that a link is in.
///
/// # Safety
///
/// `link` must be that of the source of a watch in an `Arc`.
unsafe fn watch_of(link: *const bindings::kevent_file_link) -> Option<*const Watch> {
    // SAFETY: By the safety requirements the link is valid.
    let kind = unsafe { (*link).kind } & !(NESTED | COUNTED | ATOMIC);
    source::of_link((kind & CLASS_MASK).into()).map(|of_link| of_link(link, kind))
}

/// Takes a reference to the watch that a link is in, and hands back the link.
///
/// # Safety
///
/// `link` must have been linked, and the lock of its bucket been held since.
#[export]
pub(crate) unsafe extern "C" fn kevent_get_watch(
    link: *const bindings::kevent_file_link,
) -> *const c_void {
    // SAFETY: A watch is unlinked before the table drops its reference, which needs the lock of the
    // bucket: it is live.
    let Some(watch) = (unsafe { watch_of(link) }) else {
        return core::ptr::null();
    };
    // SAFETY: As above.
    let watch = unsafe { ArcBorrow::from_raw(watch) };
    core::mem::forget(Arc::<Watch>::from(watch));
    link.cast()
}

/// What the watch of a link is of has gone.
///
/// # Safety
///
/// `link` must come from [`kevent_get_watch`], whose reference this takes over.
#[export]
pub(crate) unsafe extern "C" fn kevent_watch_closed(link: *const c_void) {
    // SAFETY: By the safety requirements there is a reference.
    let Some(watch) = (unsafe { watch_of(link.cast()) }) else {
        return;
    };
    // SAFETY: As above.
    let watch = unsafe { Arc::from_raw(watch) };
    let reports = watch.flags() & uapi::KEVENT_WATCH_VANISHED != 0;
    let queue = watch.queue();
    let mut table = queue.watches().lock();
    table.vanished(queue, &watch, watch.source().closed(), reports);
}

/// Whether a link is that of a watch in `queue` which the program may name.
///
/// # Safety
///
/// `link` must have been linked, and the lock of its bucket been held since.
#[export]
pub(crate) unsafe extern "C" fn kevent_link_is_named(
    link: *const bindings::kevent_file_link,
    queue: *const c_void,
) -> bool {
    // SAFETY: As in `kevent_get_watch`.
    let Some(watch) = (unsafe { watch_of(link) }) else {
        return false;
    };
    // SAFETY: As there.
    let watch = unsafe { ArcBorrow::from_raw(watch) };
    core::ptr::eq::<Queue>(&**watch.queue(), queue.cast()) && watch.is_named()
}

/// By what a program may name a watch, instead of by a handle: a class and a descriptor of the
/// current task.
pub(crate) struct Name {
    class: u16,
    fd: u32,
    /// What the descriptor stands for.
    file: ARef<File>,
}

impl Name {
    /// The name in a record.
    pub(crate) fn of(record: &uapi::kevent_watch) -> Result<Self> {
        source::of_link(record.source).ok_or(EINVAL)?;
        let (fd, file) = fget(record.ident)?;
        Ok(Self {
            // CAST: There are few classes.
            class: record.source as u16,
            fd,
            file,
        })
    }

    /// The handle of the watch that has this name in `table`, which is that of `queue`; `ENOENT` if
    /// there is none, `EEXIST` if there are several.
    pub(crate) fn handle(&self, queue: &Queue, table: &Table) -> Result<u64> {
        let queue = core::ptr::from_ref(queue).cast();
        // SAFETY: There is a reference to the file. CAST: It is the number of a file, so small
        // enough.
        let link = from_err_ptr(unsafe {
            bindings::kevent_find_link(self.file.as_ptr(), self.fd as c_int, self.class, queue)
        })?;
        if link.is_null() {
            return Err(ENOENT);
        }
        // SAFETY: It is linked, and stays as long as the mutex is held, which that of the table is.
        let watch = unsafe { watch_of(link) }.ok_or(ENOENT)?;
        // SAFETY: The watch is in the table, which has a reference.
        table.handle_at(unsafe { ArcBorrow::from_raw(watch) }.place())
    }

    /// Whether the descriptor still stands for that file.
    pub(crate) fn is_open(&self) -> bool {
        let now = fget(self.fd.into());
        now.is_ok_and(|(_, file)| core::ptr::eq(file.as_ptr(), self.file.as_ptr()))
    }
}

/// The descriptor of the current task that a record's `ident` is, and the file it stands for.
pub(crate) fn fget(ident: u64) -> Result<(u32, ARef<File>)> {
    let fd = u32::try_from(ident).map_err(|_| EBADF)?;
    let file = LocalFile::fget(fd)?;
    // SAFETY: The system calls that get here do not use `fdget_pos`.
    Ok((fd, unsafe { LocalFile::assume_no_fdget_pos(file) }))
}

/// For which events a wake-up of a file is no proof, see `poll.c`.
pub(crate) fn doubtful(file: &File) -> u16 {
    // SAFETY: The file is live.
    unsafe { bindings::kevent_poll_doubtful(file.as_ptr()) }
}

/// Whether a file is an epoll instance.
#[cfg(CONFIG_EPOLL)]
pub(crate) fn is_epoll(file: &File) -> bool {
    // SAFETY: The file is live.
    unsafe { bindings::is_file_epoll(file.as_ptr()) }
}

/// There are none.
#[cfg(not(CONFIG_EPOLL))]
pub(crate) fn is_epoll(_file: &File) -> bool {
    false
}

/// Whether a file is the pidfd of a process.
pub(crate) fn is_pidfd(file: &File) -> bool {
    // SAFETY: The file is live.
    unsafe { bindings::kevent_is_pidfd(file.as_ptr()) }
}

/// The queue that a file is, if it is one.
pub(crate) fn queue_of(file: &File) -> Option<ArcBorrow<'_, Queue>> {
    private_data::<Queue>(file)
}

/// The watch that a source is in.
pub(crate) fn watch_around<S: HasFileLink>(source: &S) -> ArcBorrow<'_, Watch<S>> {
    let offset = core::mem::offset_of!(Watch<S>, source);
    let watch = core::ptr::from_ref(source).wrapping_byte_sub(offset);
    // SAFETY: By what `HasFileLink` requires, it is the source of a watch in an `Arc`.
    unsafe { ArcBorrow::from_raw(watch.cast::<Watch<S>>()) }
}

/// Polls a file and puts the watch that `source` is in on its wait queues.
pub(crate) fn poll_and_add<S: HasFileLink>(
    source: &S,
    file: &File,
    key: u32,
    exclusive: bool,
) -> Polled
where
    Watch<S>: HasWaitEntries,
{
    let watch = watch_around(source);
    // SAFETY: A source is attached once, so its entries are on no queue. They are removed when it
    // is detached, for which the release of the file waits: `files.c`.
    unsafe { wait_entry::poll(file, watch, key, exclusive) }
}
