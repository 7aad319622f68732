// SPDX-License-Identifier: GPL-2.0-only

//! `kernel::sync::atomic`, on memory that the model checker knows by address.

use crate::{memory, uapi};
use core::cell::UnsafeCell;
use core::marker::PhantomData;
use std::sync::atomic::Ordering as Std;

pub(crate) mod ordering {
    use super::Std;

    pub(crate) struct Relaxed;
    pub(crate) struct Acquire;
    pub(crate) struct Release;
    pub(crate) struct Full;
    /// The kernel has no such order; programs do.
    pub(crate) struct AcqRel;

    /// What a read-modify-write operation may have.
    pub(crate) trait Any {
        const ORDER: Std;
        /// Whether a full barrier follows.
        const FULL: bool = false;
    }
    impl Any for Relaxed {
        const ORDER: Std = Std::Relaxed;
    }
    impl Any for Acquire {
        const ORDER: Std = Std::Acquire;
    }
    impl Any for Release {
        const ORDER: Std = Std::Release;
    }
    impl Any for AcqRel {
        const ORDER: Std = Std::AcqRel;
    }
    impl Any for Full {
        const ORDER: Std = Std::AcqRel;
        const FULL: bool = true;
    }

    pub(crate) trait AcquireOrRelaxed: Any {}
    impl AcquireOrRelaxed for Relaxed {}
    impl AcquireOrRelaxed for Acquire {}

    pub(crate) trait ReleaseOrRelaxed: Any {}
    impl ReleaseOrRelaxed for Relaxed {}
    impl ReleaseOrRelaxed for Release {}
}

use ordering::{AcquireOrRelaxed, Any, ReleaseOrRelaxed};

/// A number that fits into a word.
pub(crate) trait Word: Copy {
    fn bits(self) -> u64;
    fn from_bits(bits: u64) -> Self;
}

macro_rules! words {
    ($($ty:ty: $unsigned:ty),*) => {$(
        impl Word for $ty {
            fn bits(self) -> u64 {
                u64::from(self as $unsigned)
            }
            fn from_bits(bits: u64) -> Self {
                bits as $unsigned as $ty
            }
        }
    )*};
}
words!(u32: u32, i32: u32, u64: u64);

#[repr(transparent)]
pub(crate) struct Atomic<T>(UnsafeCell<T>, PhantomData<T>);

// SAFETY: All accesses are atomic, or the model checker makes them one after the other.
unsafe impl<T: Word + Send> Sync for Atomic<T> {}

impl<T: Word> Atomic<T> {
    pub(crate) const fn new(value: T) -> Self {
        Self(UnsafeCell::new(value), PhantomData)
    }

    /// # Safety
    ///
    /// `ptr` is aligned and valid for `'a`, and all accesses are atomic.
    pub(crate) unsafe fn from_ptr<'a>(ptr: *mut T) -> &'a Self {
        // SAFETY: The type is transparent; the rest is the caller's promise.
        unsafe { &*ptr.cast() }
    }

    fn place(&self) -> memory::HandleSlot {
        memory::HandleSlot::new(self.0.get())
    }

    pub(crate) fn load<O: AcquireOrRelaxed>(&self, _: O) -> T {
        T::from_bits(memory::load(self.place(), O::ORDER))
    }

    pub(crate) fn store<O: ReleaseOrRelaxed>(&self, value: T, _: O) {
        memory::store(self.place(), value.bits(), O::ORDER);
    }

    pub(crate) fn xchg<O: Any>(&self, value: T, _: O) -> T {
        let old = memory::swap(self.place(), value.bits(), O::ORDER);
        if O::FULL {
            memory::fence();
        }
        if value.bits() == u64::from(uapi::KEVENT_WORD_TAKEN) {
            memory::reads_entry(self.place());
        }
        T::from_bits(old)
    }

    /// Without order if it fails, as in the kernel.
    pub(crate) fn cmpxchg<O: Any>(&self, old: T, new: T, _: O) -> Result<T, T> {
        let result = memory::compare_exchange(self.place(), old.bits(), new.bits(), O::ORDER);
        if O::FULL && result.is_ok() {
            memory::fence();
        }
        result.map(T::from_bits).map_err(T::from_bits)
    }

    pub(crate) fn fetch_add<O: Any>(&self, value: T, _: O) -> T {
        let old = memory::fetch_add(self.place(), value.bits(), O::ORDER);
        if O::FULL {
            memory::fence();
        }
        T::from_bits(old)
    }
}
