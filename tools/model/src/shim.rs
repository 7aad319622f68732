// SPDX-License-Identifier: GPL-2.0-only

//! As much of the `kernel` crate as the files that are compiled here use.

/// `include/uapi/linux/kevent.h`, translated by the build script.
#[allow(dead_code, non_camel_case_types)]
pub(crate) mod uapi {
    include!(concat!(env!("OUT_DIR"), "/uapi.rs"));
}

pub(crate) mod page {
    pub(crate) const PAGE_SIZE: usize = 4096;
}

pub(crate) mod alloc {
    #[derive(Clone, Copy, Debug)]
    pub(crate) struct AllocError;

    #[derive(Clone, Copy)]
    pub(crate) struct Flags;
}

pub(crate) mod sync {
    pub(crate) use crate::atomic;
    pub(crate) use std::sync::Arc;

    pub(crate) mod barrier {
        use crate::{atomic::ordering::Full, memory};

        pub(crate) fn smp_mb(_: Full) {
            memory::fence();
        }
    }

    /// A reference to what is in an [`Arc`]. Such a type can be that of `self` by itself.
    pub(crate) type ArcBorrow<'a, T> = &'a Arc<T>;

    /// What the kernel's `Arc` has and the standard library's has not.
    pub(crate) trait ArcMethods<T: ?Sized> {
        fn pin_init<E>(
            init: impl crate::prelude::PinInit<T, E>,
            flags: crate::alloc::Flags,
        ) -> Result<Self, E>
        where
            T: Sized,
            Self: Sized;

        fn as_arc_borrow(&self) -> ArcBorrow<'_, T>;
    }

    impl<T: ?Sized> ArcMethods<T> for Arc<T> {
        fn pin_init<E>(
            init: impl crate::prelude::PinInit<T, E>,
            _: crate::alloc::Flags,
        ) -> Result<Self, E>
        where
            T: Sized,
        {
            init.init().map(Arc::new)
        }

        fn as_arc_borrow(&self) -> ArcBorrow<'_, T> {
            self
        }
    }
}

pub(crate) mod prelude {
    use crate::alloc::AllocError;
    pub(crate) use crate::alloc::Flags;
    use crate::memory;
    pub(crate) use crate::sync::ArcMethods;
    pub(crate) use core::ffi::CStr;

    /// `ENOENT` and its like.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(crate) struct Error(pub(crate) i32);

    pub(crate) const ENOENT: Error = Error(-2);
    pub(crate) const ENOMEM: Error = Error(-12);
    pub(crate) const EBADF: Error = Error(-9);
    pub(crate) const EFAULT: Error = Error(-14);
    pub(crate) const EINVAL: Error = Error(-22);
    pub(crate) const ENOSPC: Error = Error(-28);

    impl From<AllocError> for Error {
        fn from(_: AllocError) -> Self {
            ENOMEM
        }
    }

    pub(crate) type Result<T = (), E = Error> = core::result::Result<T, E>;

    pub(crate) const GFP_KERNEL_ACCOUNT: Flags = Flags;

    /// What makes a `T`. Here it is a closure, which need not do that in place.
    pub(crate) trait PinInit<T, E> {
        fn init(self) -> Result<T, E>;
    }

    impl<T, E, F: FnOnce() -> Result<T, E>> PinInit<T, E> for F {
        fn init(self) -> Result<T, E> {
            self()
        }
    }

    macro_rules! try_pin_init {
        ($ty:ident { $($fields:tt)* }) => {
            $crate::prelude::try_pin_init!(@ $ty {} $($fields)*)
        };
        (@ $ty:ident { $($done:tt)* }) => {
            move || Ok::<$ty, Error>($ty { $($done)* })
        };
        (@ $ty:ident { $($done:tt)* } $field:ident <- $value:expr, $($rest:tt)*) => {
            $crate::prelude::try_pin_init!(
                @ $ty { $($done)* $field: PinInit::init($value)?, } $($rest)*)
        };
        (@ $ty:ident { $($done:tt)* } $field:ident: $value:expr, $($rest:tt)*) => {
            $crate::prelude::try_pin_init!(@ $ty { $($done)* $field: $value, } $($rest)*)
        };
        (@ $ty:ident { $($done:tt)* } $field:ident, $($rest:tt)*) => {
            $crate::prelude::try_pin_init!(@ $ty { $($done)* $field, } $($rest)*)
        };
    }
    pub(crate) use try_pin_init;

    pub(crate) struct KBox<T>(Box<T>);

    impl<T> KBox<T> {
        pub(crate) fn new(value: T, _: Flags) -> Result<Self, AllocError> {
            Ok(Self(Box::new(value)))
        }
    }

    impl<T> core::ops::Deref for KBox<T> {
        type Target = T;

        fn deref(&self) -> &T {
            &self.0
        }
    }

    impl<T> core::ops::DerefMut for KBox<T> {
        fn deref_mut(&mut self) -> &mut T {
            &mut self.0
        }
    }

    pub(crate) struct KVVec<T>(Vec<T>);

    impl<T> KVVec<T> {
        pub(crate) const fn new() -> Self {
            Self(Vec::new())
        }

        pub(crate) fn with_capacity(capacity: usize, _: Flags) -> Result<Self, AllocError> {
            Ok(Self(Vec::with_capacity(capacity)))
        }

        pub(crate) fn capacity(&self) -> usize {
            self.0.capacity()
        }

        pub(crate) fn reserve(&mut self, additional: usize, _: Flags) -> Result<(), AllocError> {
            self.0.reserve(additional);
            Ok(())
        }

        pub(crate) fn push_within_capacity(&mut self, value: T) -> Result<(), T> {
            if self.0.len() == self.0.capacity() {
                return Err(value);
            }
            self.0.push(value);
            Ok(())
        }

        pub(crate) fn push(&mut self, value: T, _: Flags) -> Result<(), AllocError> {
            assert!(self.0.len() < self.0.capacity());
            self.0.push(value);
            // What is dropped has no words that are shared, and may be moved.
            if let (false, Some(last)) = (core::mem::needs_drop::<T>(), self.0.last()) {
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

    impl<T> core::ops::DerefMut for KVVec<T> {
        fn deref_mut(&mut self) -> &mut [T] {
            &mut self.0
        }
    }
}

pub(crate) mod mm {
    pub(crate) mod shared_pages {
        use crate::alloc::Flags;
        use crate::page::PAGE_SIZE;
        use crate::prelude::Result;
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

/// Of the module of that name in kevent: limits, which there are none of here.
pub(crate) mod sys {
    pub(crate) mod limits {
        use crate::prelude::Result;

        pub(crate) fn resched() {}

        pub(crate) struct WatchAccount;

        impl WatchAccount {
            pub(crate) fn charge(&mut self) -> Result {
                Ok(())
            }

            pub(crate) fn uncharge(&mut self) {}

            pub(crate) fn may_inspect(&self) -> bool {
                true
            }
        }
    }
}

/// Of the module of that name in kevent: nothing is traced.
pub(crate) mod trace {
    pub(crate) fn is_posting_traced() -> bool {
        false
    }

    pub(crate) fn merge<W, I, E>(_: W, _: I, _: E) {}
    pub(crate) fn publish<W, I, E>(_: W, _: I, _: E) {}
    pub(crate) fn post<Q, I, E>(_: Q, _: I, _: E) {}
    pub(crate) fn remove<Q, H, W>(_: Q, _: H, _: W) {}
    pub(crate) fn defer<Q, W>(_: Q, _: W) {}
    pub(crate) fn consume<Q, E>(_: Q, _: E) {}
    pub(crate) fn wake<Q>(_: Q) {}
    pub(crate) fn skip_wake<Q>(_: Q) {}
}
