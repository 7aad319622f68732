// SPDX-License-Identifier: GPL-2.0-only

//! As much of the `kernel` crate as `ring.rs` and `event.rs` use.

/// `include/uapi/linux/kevent.h`, translated by the build script.
#[allow(dead_code, non_camel_case_types)]
pub(crate) mod uapi {
    include!(concat!(env!("OUT_DIR"), "/uapi.rs"));
}

pub(crate) mod page {
    pub(crate) const PAGE_SIZE: usize = 4096;
}

pub(crate) mod sync {
    pub(crate) use crate::atomic;
}

pub(crate) mod prelude {
    use crate::memory;

    /// `ENOENT` and its like.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(crate) struct Error(pub(crate) i32);

    pub(crate) const EINVAL: Error = Error(-22);

    pub(crate) type Result<T = (), E = Error> = core::result::Result<T, E>;

    #[derive(Clone, Copy)]
    pub(crate) struct Flags;

    pub(crate) const GFP_KERNEL_ACCOUNT: Flags = Flags;

    /// A vector that never moves what is in it.
    pub(crate) struct KVVec<T>(Vec<T>);

    impl<T> KVVec<T> {
        pub(crate) fn with_capacity(capacity: usize, _: Flags) -> Result<Self> {
            Ok(Self(Vec::with_capacity(capacity)))
        }

        pub(crate) fn push(&mut self, value: T, _: Flags) -> Result {
            assert!(self.0.len() < self.0.capacity());
            self.0.push(value);
            if let Some(last) = self.0.last() {
                memory::add_words(core::ptr::from_ref(last).addr(), size_of::<T>());
            }
            Ok(())
        }
    }

    impl<T> core::ops::Deref for KVVec<T> {
        type Target = [T];

        fn deref(&self) -> &[T] {
            &self.0
        }
    }
}

pub(crate) mod mm {
    pub(crate) mod shared_pages {
        use crate::page::PAGE_SIZE;
        use crate::prelude::{Flags, Result};
        use core::ptr::NonNull;
        use std::alloc::{alloc_zeroed, dealloc, handle_alloc_error, Layout};

        pub(crate) struct SharedPages {
            memory: NonNull<u8>,
            layout: Layout,
        }

        // SAFETY: The memory is owned.
        unsafe impl Send for SharedPages {}
        // SAFETY: A shared reference only gives out the address.
        unsafe impl Sync for SharedPages {}

        impl SharedPages {
            // Not a box of an array: that comes by way of the stack, of which loom's threads have
            // little.
            pub(crate) fn new(size: usize, _: Flags) -> Result<Self> {
                let layout = Layout::from_size_align(size, PAGE_SIZE).expect("it is small");
                assert_ne!(size, 0);
                // SAFETY: The size is not 0.
                let memory = NonNull::new(unsafe { alloc_zeroed(layout) });
                let memory = memory.unwrap_or_else(|| handle_alloc_error(layout));
                Ok(Self { memory, layout })
            }

            pub(crate) fn as_ptr(&self) -> *mut u8 {
                self.memory.as_ptr()
            }
        }

        impl Drop for SharedPages {
            fn drop(&mut self) {
                // SAFETY: It was allocated with that layout.
                unsafe { dealloc(self.memory.as_ptr(), self.layout) };
            }
        }
    }
}
