// SPDX-License-Identifier: GPL-2.0

//! Memory that the kernel and programs share.

use crate::{
    alloc::Flags,
    bindings,
    page::{
        AsPageIter,
        PAGE_SIZE, //
    },
    prelude::*, //
};

/// Zeroed kernel memory that programs may map.
///
/// The pages live until `self` is dropped and the last mapping of them is gone. What is in them may
/// change at any time, by whatever a program writes there. They must therefore be accessed by
/// atomic or volatile operations on [`SharedPages::as_ptr`] only, and nothing that is read from
/// them may be trusted.
///
/// # Examples
///
/// ```
/// use kernel::{
///     mm::shared_pages::SharedPages,
///     page::PAGE_SIZE,
///     prelude::*, //
/// };
///
/// let pages = SharedPages::new(PAGE_SIZE + 1, GFP_KERNEL)?;
/// assert_eq!(pages.size(), 2 * PAGE_SIZE);
///
/// // SAFETY: The byte is within the pages, which no program has mapped.
/// assert_eq!(unsafe { pages.as_ptr().add(PAGE_SIZE).read_volatile() }, 0);
/// # Ok::<(), Error>(())
/// ```
///
/// # Invariants
///
/// `pages` are the pages of `memory`, all of them and in order.
pub struct SharedPages {
    memory: VVec<u8>,
    ptr: *mut u8,
    pages: KVVec<*mut bindings::page>,
}

// SAFETY: The memory and the pages are owned and can be freed by any task.
unsafe impl Send for SharedPages {}
// SAFETY: A shared reference only gives out pointers and numbers that never change.
unsafe impl Sync for SharedPages {}

impl SharedPages {
    /// Allocates at least `size` bytes, rounded up to whole pages.
    ///
    /// Fails with [`EOPNOTSUPP`] on a machine whose data cache has aliases: what a program writes
    /// would not be seen at the address that the kernel uses, as flushing is not done.
    pub fn new(size: usize, flags: Flags) -> Result<Self> {
        // SAFETY: FFI call without requirements.
        if unsafe { bindings::cpu_dcache_is_aliasing() } {
            return Err(EOPNOTSUPP);
        }
        let size = size.checked_next_multiple_of(PAGE_SIZE).ok_or(EINVAL)?;
        let mut memory = VVec::from_elem(0u8, size, flags)?;
        let mut pages = KVVec::with_capacity(size / PAGE_SIZE, flags)?;
        for page in memory.page_iter() {
            pages.push(page.as_ptr(), flags)?;
        }
        // INVARIANT: The iterator gave every page of the memory in order.
        Ok(Self {
            ptr: memory.as_mut_ptr(),
            memory,
            pages,
        })
    }

    /// The size in bytes, a multiple of the page size.
    #[inline]
    pub fn size(&self) -> usize {
        self.memory.len()
    }

    /// Where the memory begins, page aligned, for as long as `self` lives.
    #[inline]
    pub fn as_ptr(&self) -> *mut u8 {
        self.ptr
    }

    /// The array of pages, as the C side takes it, for as long as `self` lives.
    #[inline]
    pub(super) fn page_array(&self) -> *mut *mut bindings::page {
        self.pages.as_ptr().cast_mut()
    }
}
