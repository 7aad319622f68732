// SPDX-License-Identifier: GPL-2.0

//! Files without a name: anonymous inodes, and a file operations table for them.
//!
//! A system call that hands out a new kind of object usually hands out a file descriptor, backed by
//! a file that exists in no file system. [`FileOperations`] is the trait such an object implements,
//! [`FileVtable`] its `struct file_operations`, [`getfile`] makes the file.
//!
//! C header: [`include/linux/anon_inodes.h`](srctree/include/linux/anon_inodes.h)

use crate::{
    bindings,
    error::{
        from_err_ptr,
        VTABLE_DEFAULT_ERROR, //
    },
    fs::{
        File,
        LocalFile, //
    },
    mm::vma_desc::VmaDesc,
    module::this_module,
    prelude::*,
    seq_file::SeqFile,
    sync::{
        aref::ARef,
        poll::PollTable,
        wait::PollQueue, //
    },
    types::ForeignOwnable,
};
use core::{
    marker::PhantomData,
    ptr::NonNull, //
};

/// What a file on an anonymous inode does.
///
/// Methods that are not implemented leave their entry of `struct file_operations` empty, which
/// gives user space the error that the C side chose for it.
///
/// # Examples
///
/// ```
/// use kernel::{
///     fs::{
///         anon_inode::{
///             getfile,
///             private_data,
///             FileOperations,
///             FileVtable,
///             HasFileVtable, //
///         },
///         File, //
///     },
///     prelude::*,
///     seq_file::SeqFile,
///     sync::{
///         Arc,
///         ArcBorrow, //
///     },
/// };
///
/// struct Answer(u32);
///
/// static ANSWER: FileVtable<Answer> = FileVtable::new();
///
/// #[vtable]
/// impl FileOperations for Answer {
///     type Ptr = Arc<Answer>;
///
///     fn show_fdinfo(this: ArcBorrow<'_, Answer>, m: &SeqFile, _file: &File) {
///         kernel::seq_print!(m, "answer:\t{}\n", this.0);
///     }
/// }
///
/// // SAFETY: It is one static.
/// unsafe impl HasFileVtable for Answer {
///     fn vtable() -> &'static FileVtable<Self> {
///         &ANSWER
///     }
/// }
///
/// let file = getfile::<Answer>(c"[answer]", Arc::new(Answer(42), GFP_KERNEL)?, 0)?;
/// assert_eq!(private_data::<Answer>(&file).map(|a| a.0), Some(42));
///
/// // A file of another type is distinguished.
/// struct Question;
///
/// static QUESTION: FileVtable<Question> = FileVtable::new();
///
/// #[vtable]
/// impl FileOperations for Question {
///     type Ptr = Arc<Question>;
/// }
///
/// // SAFETY: It is one static.
/// unsafe impl HasFileVtable for Question {
///     fn vtable() -> &'static FileVtable<Self> {
///         &QUESTION
///     }
/// }
///
/// assert!(private_data::<Question>(&file).is_none());
/// # Ok::<(), Error>(())
/// ```
#[vtable]
pub trait FileOperations: Sized + 'static {
    /// The pointer that the file owns.
    type Ptr: ForeignOwnable + Send + Sync;

    /// The last reference to the file is gone.
    fn release(this: Self::Ptr) {
        drop(this);
    }

    /// Returns which of the events that `poll(2)` knows are there now, as a mask of `EPOLL*` bits,
    /// and registers the caller for what comes with [`Poller::register`].
    ///
    /// What is reachable from `this` during `'a` lives until the file is released.
    fn poll<'a>(_this: <Self::Ptr as ForeignOwnable>::Borrowed<'a>, _poller: Poller<'a>) -> u32 {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// `mmap(2)`: describes the mapping, or refuses it.
    ///
    /// What is reachable from `this` during `'a` lives as long as the file, and so as long as the
    /// mapping.
    fn mmap_prepare<'a>(
        _this: <Self::Ptr as ForeignOwnable>::Borrowed<'a>,
        _desc: &mut VmaDesc<'a>,
    ) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Prints the object's lines of `/proc/<pid>/fdinfo/<fd>`.
    fn show_fdinfo(_this: <Self::Ptr as ForeignOwnable>::Borrowed<'_>, _m: &SeqFile, _file: &File) {
        build_error!(VTABLE_DEFAULT_ERROR)
    }
}

/// What has a [`FileVtable`].
///
/// # Safety
///
/// `vtable` must return the same static each time, and not a constant: its address is what reports
/// files of `Self` from all others, and equal constants may be one.
pub unsafe trait HasFileVtable: FileOperations {
    /// The table of this type.
    fn vtable() -> &'static FileVtable<Self>;
}

/// The caller of poll for a file.
///
/// # Invariants
///
/// What is borrowed for `'a` lives until the file is released.
pub struct Poller<'a> {
    file: &'a File,
    table: PollTable<'a>,
    _this: PhantomData<fn(&'a ()) -> &'a ()>,
}

impl<'a> Poller<'a> {
    /// Makes the caller see what is [notified](PollQueue::notify) on `queue`.
    pub fn register(&self, queue: &'a PollQueue) {
        // SAFETY: By the type invariants the queue lives until the file is released.
        unsafe { queue.register(self.file, &self.table) }
    }
}

/// The `struct file_operations` of a type, see [`HasFileVtable`].
///
/// # Invariants
///
/// The functions in the table are those of `T`.
#[repr(transparent)]
pub struct FileVtable<T: FileOperations> {
    ops: bindings::file_operations,
    _type: PhantomData<fn() -> T>,
}

// SAFETY: The table is never written, and what it points to is code.
unsafe impl<T: FileOperations> Sync for FileVtable<T> {}

impl<T: FileOperations> Default for FileVtable<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: FileOperations> FileVtable<T> {
    /// Makes the table of `T`.
    pub const fn new() -> Self {
        // INVARIANT: Each function is `T`'s.
        Self {
            ops: bindings::file_operations {
                owner: this_module::<T::OwnerModule>().as_ptr(),
                release: Some(Self::release),
                llseek: Some(bindings::noop_llseek),
                poll: if T::HAS_POLL { Some(Self::poll) } else { None },
                mmap_prepare: if T::HAS_MMAP_PREPARE {
                    Some(Self::mmap_prepare)
                } else {
                    None
                },
                show_fdinfo: if T::HAS_SHOW_FDINFO {
                    Some(Self::show_fdinfo)
                } else {
                    None
                },
                ..pin_init::zeroed()
            },
            _type: PhantomData,
        }
    }

    /// # Safety
    ///
    /// `file` must be a live file made by [`getfile`] for `T`.
    unsafe fn borrow<'a>(file: *mut bindings::file) -> <T::Ptr as ForeignOwnable>::Borrowed<'a> {
        // SAFETY: By the safety requirements `private_data` is what `getfile` stored there, and it
        // stays until `release`, which runs after every other operation of the file.
        unsafe { T::Ptr::borrow((*file).private_data) }
    }

    /// # Safety
    ///
    /// To be called by the VFS only, on a file made by [`getfile`] for `T`, as it is released.
    unsafe extern "C" fn release(_inode: *mut bindings::inode, file: *mut bindings::file) -> c_int {
        // SAFETY: `getfile` stored the pointer, and `release` is called once, after every other
        // use of it.
        T::release(unsafe { T::Ptr::from_foreign((*file).private_data) });
        0
    }

    /// # Safety
    ///
    /// To be called by the VFS only, on a live file made by [`getfile`] for `T`, with a poll table
    /// that is null or valid.
    unsafe extern "C" fn poll(
        file: *mut bindings::file,
        table: *mut bindings::poll_table,
    ) -> bindings::__poll_t {
        // SAFETY: As this function's.
        let this = unsafe { Self::borrow(file) };
        // SAFETY: The file is valid for this call, and poll takes no file position.
        let file = unsafe { File::from_raw_file(file) };
        // SAFETY: The table is null or valid for this call.
        let table = unsafe { PollTable::from_raw(table) };
        // INVARIANT: `this` lives until the file is released, and `borrow` is free to call that any
        // lifetime: `T::poll` cannot know a shorter one.
        T::poll(
            this,
            Poller {
                file,
                table,
                _this: PhantomData,
            },
        )
    }

    /// # Safety
    ///
    /// To be called by mmap only, with a valid descriptor of a mapping of a file made by
    /// [`getfile`] for `T`.
    unsafe extern "C" fn mmap_prepare(desc: *mut bindings::vm_area_desc) -> c_int {
        // SAFETY: The descriptor is valid and names the file that is mapped.
        let this = unsafe { Self::borrow((*desc).file) };
        // SAFETY: The descriptor is valid and ours alone for this call.
        let desc = unsafe { VmaDesc::from_raw(desc) };
        match T::mmap_prepare(this, desc) {
            Ok(()) => 0,
            Err(e) => e.to_errno(),
        }
    }

    /// # Safety
    ///
    /// To be called by procfs only, with a valid `seq_file` and a live file made by [`getfile`]
    /// for `T`.
    unsafe extern "C" fn show_fdinfo(m: *mut bindings::seq_file, file: *mut bindings::file) {
        // SAFETY: As this function's.
        let this = unsafe { Self::borrow(file) };
        // SAFETY: The file is valid for this call, and fdinfo takes no file position.
        let file = unsafe { File::from_raw_file(file) };
        // SAFETY: The seq_file is valid for this call.
        T::show_fdinfo(this, unsafe { SeqFile::from_raw(m) }, file);
    }
}

/// Makes a file that owns `private` and behaves as `T` says.
///
/// `name` is what `/proc/<pid>/fd` shows (by convention in square brackets), `flags` are open
/// flags: `O_RDWR`, `O_NONBLOCK`. On an error `private` is dropped.
pub fn getfile<T: HasFileVtable>(
    name: &'static CStr,
    private: T::Ptr,
    flags: u32,
) -> Result<ARef<File>> {
    let private = private.into_foreign();
    // SAFETY: `name` and the table are static; `private` matches what the table's functions expect.
    let file = from_err_ptr(unsafe {
        bindings::anon_inode_getfile(
            name.as_char_ptr(),
            &T::vtable().ops,
            private,
            flags as c_int,
        )
    })
    .inspect_err(|_| {
        // SAFETY: No file was made, so the pointer is still ours.
        drop(unsafe { T::Ptr::from_foreign(private) });
    })?;
    // SAFETY: `anon_inode_getfile` returned a reference to a new file, and there is no other one.
    Ok(unsafe { ARef::from_raw(NonNull::new_unchecked(file.cast())) })
}

/// As [`getfile`], with an inode of its own, for which security modules are asked.
pub fn create_getfile<T: HasFileVtable>(
    name: &'static CStr,
    private: T::Ptr,
    flags: u32,
) -> Result<ARef<File>> {
    let private = private.into_foreign();
    // SAFETY: `name` and the table are static; `private` matches what the table's functions expect.
    // No inode is named as the context.
    let file = from_err_ptr(unsafe {
        bindings::anon_inode_create_getfile(
            name.as_char_ptr(),
            &T::vtable().ops,
            private,
            flags as c_int,
            core::ptr::null(),
        )
    })
    .inspect_err(|_| {
        // SAFETY: No file was made, so the pointer is still ours.
        drop(unsafe { T::Ptr::from_foreign(private) });
    })?;
    // SAFETY: `anon_inode_create_getfile` returned a reference to a new file, and there is no other
    // one.
    Ok(unsafe { ARef::from_raw(NonNull::new_unchecked(file.cast())) })
}

/// What the file owns, if it is one that [`getfile`] made for `T`.
pub fn private_data<T: HasFileVtable>(
    file: &LocalFile,
) -> Option<<T::Ptr as ForeignOwnable>::Borrowed<'_>> {
    let file = file.as_ptr();
    // SAFETY: `f_op` of a file that we hold is set and does not change.
    if !core::ptr::eq(unsafe { (*file).f_op }, &T::vtable().ops) {
        return None;
    }
    // SAFETY: The table says that `getfile` made it for `T`, and the borrow keeps it live.
    Some(unsafe { FileVtable::<T>::borrow(file) })
}
