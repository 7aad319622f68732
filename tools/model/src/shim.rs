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

pub(crate) mod transmute {
    /// # Safety
    ///
    /// Any bytes are a value of the type.
    pub(crate) unsafe trait FromBytes {}

    /// # Safety
    ///
    /// The type has no bytes without a value.
    pub(crate) unsafe trait AsBytes {}
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
        use crate::prelude::{Flags, Result};
        use core::cell::UnsafeCell;

        #[repr(C, align(4096))]
        struct Page(UnsafeCell<[u64; 512]>);

        pub(crate) struct SharedPages(Box<[Page]>);

        // SAFETY: A shared reference only gives out the address.
        unsafe impl Sync for SharedPages {}

        impl SharedPages {
            pub(crate) fn new(size: usize, _: Flags) -> Result<Self> {
                let pages = size.div_ceil(size_of::<Page>());
                Ok(Self(
                    (0..pages)
                        .map(|_| Page(UnsafeCell::new([0; 512])))
                        .collect(),
                ))
            }

            pub(crate) fn as_ptr(&self) -> *mut u8 {
                UnsafeCell::raw_get(self.0.as_ptr().cast::<UnsafeCell<u8>>())
            }
        }
    }
}
