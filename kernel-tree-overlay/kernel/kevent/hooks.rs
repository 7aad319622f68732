// SPDX-License-Identifier: GPL-2.0-only

//! Where C and Rust meet: the functions that C calls, and the C functions of kevent that Rust
//! calls.

use core::ptr::NonNull;

use kernel::{
    bindings,
    fs::{
        anon_inode::{
            getfile,
            private_data,
            FileVtable,
            HasFileVtable, //
        },
        File,
        LocalFile, //
    },
    irq_work::HasIrqWork,
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
    time::{
        clock_timer::HasClockTimer,
        deadline::Deadline, //
    },
    transmute::{
        AsBytes,
        FromBytes, //
    },
    types::Opaque,
    uaccess::UserPtr,
};

use crate::{
    event::Event,
    nest,
    post,
    queue::Queue,
    register::{
        self,
        Record, //
    },
    ring::Ring,
    source::{
        self,
        poll::{
            Poll,
            MANY, //
        },
        process::Process,
        timer::Timer,
        Class, //
    },
    wait,
    watch::Watch, //
};

mod fact;
#[cfg(CONFIG_FUTEX)]
pub(crate) mod futex;
#[cfg(CONFIG_FSNOTIFY)]
pub(crate) mod inode;
pub(crate) mod process;
#[cfg(CONFIG_POSIX_TIMERS)]
pub(crate) mod sigev;
pub(crate) mod signal;
#[cfg(CONFIG_NET)]
pub(crate) mod socket;

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

/// How many watches are charged to a user at once, at most.
const MAX_BATCH: u32 = 16;

/// The share that a queue has in the watches that its user may have.
///
/// Users are charged in batches, which get larger with the number of watches in the queue, so that
/// threads which add and remove watches on different CPUs do not share the user's count. Of a small
/// queue nothing is charged that it does not use, of a larger one a quarter more at most.
///
/// # Invariants
///
/// `used + unused` is charged to `user`, to which there is a reference.
pub(crate) struct WatchAccount {
    user: NonNull<bindings::ucounts>,
    used: u32,
    unused: u32,
}

// SAFETY: A charge may be made and given back by any task.
unsafe impl Send for WatchAccount {}
// SAFETY: A shared reference gives access to nothing.
unsafe impl Sync for WatchAccount {}

impl WatchAccount {
    /// An account of the current user.
    pub(crate) fn new() -> Result<Self> {
        // SAFETY: FFI call, in the context of a task.
        let user = NonNull::new(unsafe { bindings::kevent_current_user() }).ok_or(ENOMEM)?;
        // INVARIANT: The reference is what was returned, and nothing is charged.
        Ok(Self {
            user,
            used: 0,
            unused: 0,
        })
    }

    fn batch(&self) -> u32 {
        (self.used / 8).clamp(1, MAX_BATCH)
    }

    /// Charges a watch, or fails with `ENOSPC`.
    #[inline]
    pub(crate) fn charge(&mut self) -> Result {
        if self.unused == 0 {
            self.charge_batch()?;
        }
        // INVARIANT: There is one that is charged and unused.
        self.unused = self.unused.wrapping_sub(1);
        self.used = self.used.wrapping_add(1);
        Ok(())
    }

    fn charge_batch(&mut self) -> Result {
        // Near the limit there may be room for one still.
        for nr in [self.batch(), 1] {
            // SAFETY: By the type invariants there is a reference.
            if unsafe { bindings::kevent_charge_watches(self.user.as_ptr(), nr) } {
                // INVARIANT: They have just been charged.
                self.unused = self.unused.wrapping_add(nr);
                return Ok(());
            }
        }
        Err(ENOSPC)
    }

    /// Gives back a watch.
    #[inline]
    pub(crate) fn uncharge(&mut self) {
        self.used = self.used.saturating_sub(1);
        self.unused = self.unused.saturating_add(1);
        // What was charged with the last one, and another batch, may stay.
        let most = self.batch().wrapping_sub(1);
        if self.unused > most.wrapping_mul(2) {
            self.give_back(self.unused.wrapping_sub(most));
        }
    }

    fn give_back(&mut self, nr: u32) {
        if nr == 0 {
            return;
        }
        // INVARIANT: So many are charged no more.
        self.unused = self.unused.saturating_sub(nr);
        // SAFETY: By the type invariants that many were charged, and there is a reference.
        unsafe { bindings::kevent_uncharge_watches(self.user.as_ptr(), nr) };
    }
}

impl Drop for WatchAccount {
    fn drop(&mut self) {
        self.give_back(self.used.saturating_add(self.unused));
        // SAFETY: By the type invariants there is a reference, and it is used no more.
        unsafe { bindings::put_ucounts(self.user.as_ptr()) };
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

/// Arms the timer of a source that was cancelled, with a deadline on its clock. Tells whether it is
/// armed, which it is not if the deadline has passed.
///
/// To be called with the mutex of the queue's watches held since it was cancelled.
pub(crate) fn start_timer(source: &Timer, deadline: &Deadline) -> bool {
    // SAFETY: `Timer::watch` makes the source of a watch in an `Arc`. The rest is as this function
    // says.
    unsafe { source.timer.start(deadline) }
}

/// The file operations of queues.
static QUEUE_FILE: FileVtable<Queue> = FileVtable::new();

// SAFETY: It is one static.
unsafe impl HasFileVtable for Queue {
    fn vtable() -> &'static FileVtable<Self> {
        &QUEUE_FILE
    }
}

/// Lets others run, in what may take long.
pub(crate) fn resched() {
    // SAFETY: FFI call, in the context of a task that may sleep.
    unsafe { bindings::kevent_resched() };
}

/// That there is a queue: keeps the hooks in the rest of the kernel patched in.
pub(crate) struct QueueCount(());

impl QueueCount {
    pub(crate) fn new() -> Self {
        // SAFETY: FFI call, in the context of a task that may sleep.
        unsafe { bindings::kevent_queue_made() };
        Self(())
    }
}

impl Drop for QueueCount {
    fn drop(&mut self) {
        // SAFETY: FFI call, for what `new` did.
        unsafe { bindings::kevent_queue_gone() };
    }
}

// SAFETY: The offset is that of the bell. `Queue::drop` calls `sync`, and by then there is nobody
// who could ring it.
unsafe impl HasIrqWork for Queue {
    const OFFSET: usize = core::mem::offset_of!(Queue, bell);

    fn run(&self) {
        self.refill();
        self.ring_bell();
    }
}

// SAFETY:
// * The offset is that of the entries, of which there are `N`.
// * Watches live in an `Arc`, and `Table::vacate` detaches their source, which removes the entries,
//   before it drops its reference. Before a watch is in the table its entries are on no queue.
unsafe impl<const N: usize> HasWaitEntries for Watch<Poll<N>> {
    const OFFSET: usize = core::mem::offset_of!(Watch<Poll<N>>, source.entries);
    const COUNT: usize = N;

    #[inline(always)]
    fn woken(this: ArcBorrow<'_, Self>, key: u32) -> bool {
        Poll::woken(this, key)
    }
}

// 16 bytes for the `Arc`, the queue and the state each, 40 for the link, 40 for an entry.
const _: () = assert!(size_of::<Watch<Poll<1>>>() + 8 <= 128);

/// That a watch is of a file, see `files.c`.
///
/// # Invariants
///
/// It is accessed with the mutex of the watch's queue held, or by `files.c` with the lock of the
/// bucket it is in held. But `kind` is written only before it is linked.
#[repr(transparent)]
pub(crate) struct FileLink(Opaque<bindings::kevent_file_link>);

// SAFETY: By the type invariants, accesses are serialised.
unsafe impl Send for FileLink {}
// SAFETY: As above.
unsafe impl Sync for FileLink {}

/// In `kevent_file_link.kind`: the file is a queue.
const NESTED: u32 = 1 << 31;

/// There as well: a wake-up for space may be for nothing.
const UNSURE: u32 = 1 << 30;

/// A source that is of a file, so that its watch goes when that is closed.
///
/// # Safety
///
/// * [`watch_of`] must know `KIND` as that of this source.
/// * `OFFSET` must be the offset of its [`FileLink`] in the watch.
/// * The source must only be made as that of a watch in an [`Arc`].
/// * [`Source::detach`](source::Source::detach) must unlink it.
pub(crate) unsafe trait HasFileLink: Class {
    /// The class, and if that has several sources, what tells them apart.
    const KIND: u32 = Self::NUMBER;

    /// Where its link is in the watch.
    const OFFSET: usize;
}

fn watch_with<S: HasFileLink + 'static>(link: *const bindings::kevent_file_link) -> *const Watch {
    link.wrapping_byte_sub(S::OFFSET).cast::<Watch<S>>()
}

// SAFETY: `Poll::watch` makes them with one entry and with many, which `watch_of` tells apart. The
// link is there, and `detach` unlinks it.
unsafe impl<const N: usize> HasFileLink for Poll<N> {
    // CAST: At most `MANY`.
    const KIND: u32 = Self::NUMBER | (N as u32) << 8;
    const OFFSET: usize = core::mem::offset_of!(Watch<Self>, source.link);
}

impl FileLink {
    /// Makes the link of a source.
    pub(crate) fn new<S: HasFileLink>() -> Self {
        Self(Opaque::new(bindings::kevent_file_link {
            kind: S::KIND,
            ..pin_init::zeroed()
        }))
    }

    /// From now on the watch goes when `fd` is closed, or `file` is released.
    pub(crate) fn link(&self, file: &File, fd: u32) {
        // SAFETY: The link is not linked, and the file is live. CAST: It is the number of a file,
        // so small enough.
        unsafe { bindings::kevent_link_file(self.0.get(), file.as_ptr(), fd as c_int) };
    }

    /// Ends what [`FileLink::link`] began.
    pub(crate) fn unlink(&self) {
        // SAFETY: FFI call; the link may be unlinked already.
        unsafe { bindings::kevent_unlink_file(self.0.get()) };
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

    /// The number that the program gave.
    pub(crate) fn fd(&self) -> u32 {
        // SAFETY: It is written once, when linked. CAST: It is not negative.
        unsafe { (*self.0.get()).fd as u32 }
    }

    /// The file is a queue. To be called before it is linked.
    pub(crate) fn set_nested(&self) {
        self.set_kind(NESTED);
    }

    /// The wakers of the file may say that there is space though there is none. To be called before
    /// it is linked.
    pub(crate) fn set_unsure(&self) {
        self.set_kind(UNSURE);
    }

    fn set_kind(&self, bit: u32) {
        // SAFETY: By the type invariants nobody else accesses it.
        unsafe { (*self.0.get()).kind |= bit };
    }

    pub(crate) fn is_unsure(&self) -> bool {
        // SAFETY: By the type invariants nobody writes it.
        unsafe { (*self.0.get()).kind & UNSURE != 0 }
    }

    pub(crate) fn is_nested(&self) -> bool {
        // SAFETY: By the type invariants nobody writes it.
        unsafe { (*self.0.get()).kind & NESTED != 0 }
    }
}

/// The watch that a link is in.
///
/// # Safety
///
/// `link` must be that of the source of a watch in an `Arc`.
unsafe fn watch_of(link: *const bindings::kevent_file_link) -> *const Watch {
    // SAFETY: By the safety requirements the link is valid.
    let kind = unsafe { (*link).kind } & !(NESTED | UNSURE);
    match kind {
        Poll::<MANY>::KIND => watch_with::<Poll<MANY>>(link),
        Process::KIND => watch_with::<Process>(link),
        #[cfg(CONFIG_FSNOTIFY)]
        source::inode::Inode::KIND => watch_with::<source::inode::Inode>(link),
        #[cfg(CONFIG_NET)]
        source::socket::Socket::KIND => watch_with::<source::socket::Socket>(link),
        _ => watch_with::<Poll<1>>(link),
    }
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
    let watch = unsafe { ArcBorrow::from_raw(watch_of(link)) };
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
    let watch = unsafe { Arc::from_raw(watch_of(link.cast())) };
    let tells = watch.flags() & kernel::uapi::KEVENT_WATCH_VANISHED != 0;
    let queue = watch.queue();
    let mut table = queue.watches().lock();
    table.vanished(queue, &watch, watch.source().closed(), tells);
}

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

/// The descriptor of the current task that a record's `ident` is, and the file it stands for.
pub(crate) fn fget(ident: u64) -> Result<(u32, ARef<File>)> {
    let fd = u32::try_from(ident).map_err(|_| EBADF)?;
    let file = LocalFile::fget(fd)?;
    // SAFETY: The system calls that get here do not use `fdget_pos`.
    Ok((fd, unsafe { LocalFile::assume_no_fdget_pos(file) }))
}

/// Whether what the wakers of a file say of space has to be made sure of.
pub(crate) fn is_unsure(file: &File) -> bool {
    // SAFETY: The file is live.
    unsafe { bindings::kevent_is_unsure(file.as_ptr()) }
}

/// Whether a file is an epoll instance.
pub(crate) fn is_epoll(file: &File) -> bool {
    // SAFETY: The file is live.
    unsafe { bindings::is_file_epoll(file.as_ptr()) }
}

/// The queue that a file is, if it is one.
pub(crate) fn queue_of(file: &File) -> Option<ArcBorrow<'_, Queue>> {
    private_data::<Queue>(file)
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
    let offset = core::mem::offset_of!(Watch<S>, source);
    let watch = core::ptr::from_ref(source).wrapping_byte_sub(offset);
    // SAFETY: By what `HasFileLink` requires, it is the source of a watch in an `Arc`.
    let watch = unsafe { ArcBorrow::from_raw(watch.cast::<Watch<S>>()) };
    // SAFETY: A source is attached once, so its entries are on no queue. They are removed when it
    // is detached, for which the release of the file waits: `files.c`.
    unsafe { wait_entry::poll(file, watch, key, exclusive) }
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
        let to = UserPtr::from_ptr(events.cast());
        wait::get_events(&*file.queue()?, min_nr, max_nr, deadline.as_ref(), to)
    }))
}

#[cfg(CONFIG_KEVENT_KUNIT_TEST)]
#[kunit_tests(kevent_account)]
mod tests {
    use super::*;

    #[test]
    fn little_is_charged_that_is_not_used() -> Result {
        let mut account = WatchAccount::new()?;
        for used in 1..=1000 {
            account.charge()?;
            assert_eq!(account.used, used);
            assert!(account.unused <= (used / 8).min(MAX_BATCH));
        }
        // Up and down a little, nobody else has to know.
        for used in (0..1000).rev() {
            account.charge()?;
            account.uncharge();
            account.uncharge();
            assert_eq!(account.used, used);
            assert!(account.unused <= (used / 4).min(2 * MAX_BATCH));
        }
        assert_eq!(account.unused, 0);
        Ok(())
    }
}
