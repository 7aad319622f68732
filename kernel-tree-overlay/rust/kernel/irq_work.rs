// SPDX-License-Identifier: GPL-2.0

//! Work that is done in an interrupt, as soon as interrupts are on.
//!
//! Code that holds a lock, possibly with interrupts disabled, cannot call what might need that
//! lock. It can leave the call to an [`IrqWork`], which runs a moment later with nothing held.
//!
//! C header: [`include/linux/irq_work.h`](srctree/include/linux/irq_work.h)

use crate::{
    bindings,
    prelude::*,
    types::Opaque, //
};
use core::{
    marker::{
        PhantomData,
        PhantomPinned, //
    },
    ptr, //
};

/// What has an [`IrqWork`].
///
/// # Safety
///
/// * `OFFSET` must be the offset of an `IrqWork<Self>` in `Self`.
/// * Before any part of a `Self` is dropped, [`IrqWork::sync`] must have been called, and the work
///   not be queued after that.
pub unsafe trait HasIrqWork: Sized + Sync {
    /// Where the work is in `Self`.
    const OFFSET: usize;

    /// Does the work. Called in hard interrupt context, or with `PREEMPT_RT` in a thread: must not
    /// sleep.
    fn run(&self);
}

/// Something to be done in an interrupt.
///
/// # Examples
///
/// ```
/// use kernel::{
///     irq_work::{
///         HasIrqWork,
///         IrqWork, //
///     },
///     prelude::*,
///     sync::atomic::{
///         Atomic,
///         Relaxed, //
///     }, //
/// };
///
/// #[pin_data(PinnedDrop)]
/// struct Device {
///     runs: Atomic<u32>,
///     #[pin]
///     work: IrqWork<Device>,
/// }
///
/// // SAFETY: The offset is that of the work, and `drop` calls `sync`.
/// unsafe impl HasIrqWork for Device {
///     const OFFSET: usize = core::mem::offset_of!(Device, work);
///
///     fn run(&self) {
///         self.runs.fetch_add(1, Relaxed);
///     }
/// }
///
/// #[pinned_drop]
/// impl PinnedDrop for Device {
///     fn drop(self: Pin<&mut Self>) {
///         self.work.sync();
///     }
/// }
///
/// let device = KBox::pin_init(
///     pin_init!(Device {
///         runs: Atomic::new(0),
///         work <- IrqWork::new(),
///     }),
///     GFP_KERNEL,
/// )?;
/// assert!(IrqWork::queue(&*device));
/// device.work.sync();
/// assert_eq!(device.runs.load(Relaxed), 1);
/// # Ok::<(), Error>(())
/// ```
#[pin_data]
#[repr(transparent)]
pub struct IrqWork<T: HasIrqWork> {
    #[pin]
    work: Opaque<bindings::irq_work>,
    /// While it is queued, a list points to it.
    #[pin]
    _pin: PhantomPinned,
    _owner: PhantomData<fn(&T)>,
}

// SAFETY: The work may be queued from any thread.
unsafe impl<T: HasIrqWork> Send for IrqWork<T> {}
// SAFETY: The work may be queued from several threads at once.
unsafe impl<T: HasIrqWork> Sync for IrqWork<T> {}

impl<T: HasIrqWork> IrqWork<T> {
    /// Makes work that is not queued.
    pub fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            // SAFETY: `slot` is valid while the closure is called.
            work <- Opaque::ffi_init(|slot| unsafe {
                bindings::init_irq_work(slot, Some(Self::run))
            }),
            _pin: PhantomPinned,
            _owner: PhantomData,
        })
    }

    /// Has the work of `owner` done soon, on this CPU. Returns `false` if it is queued already: the
    /// work then sees what the caller has written before, as if it had been queued.
    ///
    /// May be called from any context.
    #[inline]
    pub fn queue(owner: &T) -> bool {
        // SAFETY: By the safety requirements of `HasIrqWork` the work is there. It is initialised,
        // and pinned because there is no other way to make one.
        unsafe {
            let work = ptr::from_ref(owner).byte_add(T::OFFSET).cast::<Self>();
            bindings::irq_work_queue((*work).work.get())
        }
    }

    /// Waits until the work is neither queued nor being done. May sleep.
    pub fn sync(&self) {
        // SAFETY: The work is initialised.
        unsafe { bindings::irq_work_sync(self.work.get()) }
    }

    /// # Safety
    ///
    /// To be called as the function of an irq work only, on one in a `T`.
    unsafe extern "C" fn run(work: *mut bindings::irq_work) {
        // SAFETY: The work is at `OFFSET` in a `T`, no part of which is dropped before the work has
        // been waited for.
        T::run(unsafe { &*work.byte_sub(T::OFFSET).cast::<T>() });
    }
}
