// SPDX-License-Identifier: GPL-2.0

//! Descriptions of mappings to be made.
//!
//! `->mmap_prepare()` is handed a description of the mapping that a program asks for, and changes
//! or refuses it. The mapping itself does not exist yet, so there is nothing to undo on an error.
//!
//! C header: [`include/linux/mm_types.h`](srctree/include/linux/mm_types.h)

use crate::{
    bindings,
    mm::shared_pages::SharedPages,
    prelude::*,
    types::Opaque, //
};
use core::marker::PhantomData;

/// A mapping that is about to be made.
///
/// # Invariants
///
/// The wrapped descriptor is valid and used by no other code during `'a`.
#[repr(transparent)]
pub struct VmaDesc<'a> {
    desc: Opaque<bindings::vm_area_desc>,
    _lifetime: PhantomData<&'a SharedPages>,
}

impl<'a> VmaDesc<'a> {
    /// Wraps the descriptor that `->mmap_prepare()` was called with.
    ///
    /// # Safety
    ///
    /// * `desc` must be valid, and used by no other code, during `'a`.
    /// * What the file maps during `->mmap_prepare()` must live as long as the file.
    #[inline]
    pub unsafe fn from_raw(desc: *mut bindings::vm_area_desc) -> &'a mut Self {
        // SAFETY: `VmaDesc` is transparent, and the caller vouches for the descriptor.
        //
        // INVARIANT: As the safety requirements.
        unsafe { &mut *desc.cast() }
    }

    /// The length asked for, in bytes; a multiple of the page size.
    #[inline]
    pub fn size(&self) -> usize {
        // SAFETY: By the type invariants.
        let desc = unsafe { &*self.desc.get() };
        desc.end.wrapping_sub(desc.start)
    }

    /// The offset into the file asked for, in pages.
    #[inline]
    pub fn pgoff(&self) -> usize {
        // SAFETY: By the type invariants.
        unsafe { (*self.desc.get()).pgoff }
    }

    /// Whether the mapping is `MAP_SHARED`.
    #[inline]
    pub fn is_shared(&self) -> bool {
        // SAFETY: By the type invariants.
        unsafe { bindings::vma_desc_is_shared(self.desc.get()) }
    }

    /// Whether the mapping is executable from the start.
    #[inline]
    pub fn is_executable(&self) -> bool {
        // SAFETY: By the type invariants.
        unsafe { bindings::vma_desc_is_exec(self.desc.get()) }
    }

    /// Refuses to make the mapping executable by `mprotect(2)` later.
    #[inline]
    pub fn forbid_exec(&mut self) {
        // SAFETY: By the type invariants.
        unsafe { bindings::vma_desc_clear_mayexec(self.desc.get()) };
    }

    /// Keeps the mapping from being copied by `fork(2)` (`VM_DONTCOPY`).
    #[inline]
    pub fn set_dontcopy(&mut self) {
        // SAFETY: By the type invariants.
        unsafe { bindings::vma_desc_set_dontcopy(self.desc.get()) };
    }

    /// Keeps the mapping from being expanded by `mremap(2)` (`VM_DONTEXPAND`).
    #[inline]
    pub fn set_dontexpand(&mut self) {
        // SAFETY: By the type invariants.
        unsafe { bindings::vma_desc_set_dontexpand(self.desc.get()) };
    }

    /// Maps all of `pages`, from the first one on.
    ///
    /// Fails with `EINVAL` if the mapping is not exactly as large as `pages`.
    pub fn map_pages(&mut self, pages: &'a SharedPages) -> Result {
        if self.size() != pages.size() {
            return Err(EINVAL);
        }
        // SAFETY:
        // * By the type invariants the descriptor is valid.
        // * The array has as many pages as the mapping, which the mapping then takes references
        //   to; it is read before the mapping is handed to the program, during `'a`.
        unsafe { bindings::mmap_action_map_kernel_pages_full(self.desc.get(), pages.page_array()) };
        Ok(())
    }
}
