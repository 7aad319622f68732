// SPDX-License-Identifier: GPL-2.0-only

//! A queue whose memory is reserved before it is used.

use kernel::{
    alloc::{
        AllocError,
        Flags, //
    },
    prelude::*, //
};

/// A double-ended queue that never allocates by itself.
///
/// Room is made by handing it a larger [`Buffer`], which can be allocated without the lock that
/// protects the queue.
pub(crate) struct Fifo<T> {
    buffer: Buffer<T>,
    head: usize,
    len: usize,
}

/// Memory for a [`Fifo`].
pub(crate) struct Buffer<T>(KVVec<Option<T>>);

impl<T> Buffer<T> {
    pub(crate) fn new(capacity: usize, flags: Flags) -> Result<Self, AllocError> {
        let mut slots = KVVec::with_capacity(capacity, flags)?;
        for _ in 0..capacity {
            slots.push(None, flags)?;
        }
        Ok(Self(slots))
    }

    fn len(&self) -> usize {
        self.0.len()
    }
}

impl<T> Fifo<T> {
    pub(crate) const fn new() -> Self {
        Self {
            buffer: Buffer(KVVec::new()),
            head: 0,
            len: 0,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn capacity(&self) -> usize {
        self.buffer.len()
    }

    /// Moves what is queued to another buffer, if that is larger, and returns the one that is not
    /// needed any more.
    pub(crate) fn grow(&mut self, mut buffer: Buffer<T>) -> Buffer<T> {
        if buffer.len() <= self.capacity() {
            return buffer;
        }
        let len = self.len;
        for slot in buffer.0.iter_mut().take(len) {
            *slot = self.pop_front();
        }
        self.head = 0;
        self.len = len;
        core::mem::replace(&mut self.buffer, buffer)
    }

    fn slot(&mut self, index: usize) -> Option<&mut Option<T>> {
        let capacity = self.capacity();
        let at = self.head.checked_add(index)?;
        let at = if at >= capacity {
            at.checked_sub(capacity)?
        } else {
            at
        };
        self.buffer.0.get_mut(at)
    }

    /// Appends; hands the value back if there is no room.
    pub(crate) fn push_back(&mut self, value: T) -> Result<(), T> {
        if self.len >= self.capacity() {
            return Err(value);
        }
        let len = self.len;
        match self.slot(len) {
            Some(slot) => *slot = Some(value),
            None => return Err(value),
        }
        self.len = len.wrapping_add(1);
        Ok(())
    }

    /// Prepends; hands the value back if there is no room.
    pub(crate) fn push_front(&mut self, value: T) -> Result<(), T> {
        if self.len >= self.capacity() {
            return Err(value);
        }
        let head = self.head.checked_sub(1);
        let head = head.unwrap_or(self.capacity().wrapping_sub(1));
        match self.buffer.0.get_mut(head) {
            Some(slot) => *slot = Some(value),
            None => return Err(value),
        }
        self.head = head;
        self.len = self.len.wrapping_add(1);
        Ok(())
    }

    /// What is at that place, counted from the front.
    pub(crate) fn get(&mut self, index: usize) -> Option<&T> {
        if index >= self.len {
            return None;
        }
        self.slot(index)?.as_ref()
    }

    pub(crate) fn pop_front(&mut self) -> Option<T> {
        if self.len == 0 {
            return None;
        }
        let value = self.slot(0)?.take();
        self.head = self.head.wrapping_add(1);
        if self.head >= self.capacity() {
            self.head = 0;
        }
        self.len = self.len.wrapping_sub(1);
        value
    }

    /// Takes out the values that `stays` does not hold for, keeping the order of the others.
    pub(crate) fn retain(&mut self, mut stays: impl FnMut(&T) -> bool) {
        for _ in 0..self.len {
            let Some(value) = self.pop_front() else {
                break;
            };
            if stays(&value) && self.push_back(value).is_err() {
                break;
            }
        }
    }
}

#[cfg(CONFIG_KEVENT_KUNIT_TEST)]
#[kunit_tests(kevent_fifo)]
mod tests {
    use super::*;

    #[test]
    fn nothing_without_a_buffer() {
        let mut fifo = Fifo::new();
        assert_eq!(fifo.push_back(1), Err(1));
        assert_eq!(fifo.push_front(1), Err(1));
        assert_eq!(fifo.pop_front(), None);
    }

    #[test]
    fn order_survives_wrapping_and_growing() -> Result {
        let mut fifo = Fifo::new();
        let (mut next, mut first) = (0u32, 0u32);
        for capacity in [1, 3, 2, 8, 64] {
            fifo.grow(Buffer::new(capacity, GFP_KERNEL)?);
            for _ in 0..100 {
                while fifo.push_back(next).is_ok() {
                    next += 1;
                }
                assert_eq!(fifo.len(), fifo.capacity());
                assert_eq!(fifo.pop_front(), Some(first));
                assert_eq!(fifo.push_front(first), Ok(()));
                assert_eq!(fifo.pop_front(), Some(first));
                first += 1;
            }
        }
        Ok(())
    }

    #[test]
    fn removed_from_the_middle() -> Result {
        let mut fifo = Fifo::new();
        fifo.grow(Buffer::new(5, GFP_KERNEL)?);
        for n in 0..5 {
            assert_eq!(fifo.push_back(n), Ok(()));
        }
        fifo.retain(|n| n % 2 == 1);
        assert_eq!(fifo.len(), 2);
        for n in [1, 3] {
            assert_eq!(fifo.pop_front(), Some(n));
        }
        Ok(())
    }
}
