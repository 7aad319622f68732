// SPDX-License-Identifier: GPL-2.0-only

//! A queue whose memory is reserved before it is used.
//!
//! The slots are a ring that consists of blocks. Blocks are added and given back while the values
//! stay where they are, so the work that is done under the lock of the queue does not grow with the
//! number of values, but with the number of blocks, of which there is one for [`BLOCK`] values.
//!
//! Values in the middle are taken out by a pass that can be done in steps. It moves the values that
//! stay towards the front, and a gap towards the end. In between the queue is in order: the gap is
//! jumped over.

use kernel::{
    alloc::{
        AllocError,
        Flags, //
    },
    prelude::*, //
};

/// How many values a block has. The only one of a small queue has fewer.
const BLOCK: usize = 512;

/// How many values a queue has room for at first.
const FIRST: usize = 8;

/// A double-ended queue that never allocates by itself.
///
/// Room is made by handing it a [`Buffer`], which can be allocated without the lock that protects
/// the queue.
pub(crate) struct Fifo<T> {
    blocks: KVVec<Block<T>>,
    /// The slot of the first value.
    head: usize,
    /// How many values there are.
    len: usize,
    /// How many of them, from the first one on, the pass has been through.
    passed: usize,
    /// So many slots behind these are empty. 0 if `passed` is.
    gap: usize,
}

/// Slots next to each other.
struct Block<T>(KVVec<Option<T>>);

impl<T> Block<T> {
    /// In place of one that is somewhere else.
    const fn none() -> Self {
        Self(KVVec::new())
    }

    fn new(slots: usize, flags: Flags) -> Result<Self, AllocError> {
        let mut block = KVVec::with_capacity(slots, flags)?;
        for _ in 0..slots {
            block.push(None, flags)?;
        }
        Ok(Self(block))
    }
}

/// Memory for a [`Fifo`], or what it does not need any more.
pub(crate) struct Buffer<T> {
    /// To have all blocks of the queue.
    blocks: KVVec<Block<T>>,
    /// Those that it gets in addition.
    more: KVVec<Block<T>>,
}

impl<T> Buffer<T> {
    /// What a queue with room for `capacity` values gets larger with: by an eighth, or to twice the
    /// size if it is small.
    pub(crate) fn larger(capacity: usize, flags: Flags) -> Result<Self, AllocError> {
        let (have, more, slots) = if capacity < BLOCK {
            (0, 1, capacity.saturating_mul(2).clamp(FIRST, BLOCK))
        } else {
            let have = capacity / BLOCK;
            (have, (have / 8).max(1), BLOCK)
        };
        let mut buffer = Self {
            blocks: KVVec::with_capacity(have.saturating_add(more), flags)?,
            more: KVVec::with_capacity(more, flags)?,
        };
        for _ in 0..more {
            buffer.more.push(Block::new(slots, flags)?, flags)?;
        }
        Ok(buffer)
    }

    /// What a queue gets smaller with, that is to have so many blocks.
    pub(crate) fn smaller(blocks: usize, flags: Flags) -> Result<Self, AllocError> {
        Ok(Self {
            blocks: KVVec::with_capacity(blocks, flags)?,
            more: KVVec::new(),
        })
    }

    fn is_small(&self) -> bool {
        self.more.first().is_some_and(|block| block.0.len() < BLOCK)
    }
}

impl<T> Fifo<T> {
    pub(crate) const fn new() -> Self {
        Self {
            blocks: KVVec::new(),
            head: 0,
            len: 0,
            passed: 0,
            gap: 0,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// How many values there is room for, beside the [`Fifo::gap`].
    pub(crate) fn capacity(&self) -> usize {
        match self.blocks.first() {
            Some(first) if self.blocks.len() == 1 => first.0.len(),
            _ => self.blocks.len().saturating_mul(BLOCK),
        }
    }

    /// How many slots are empty in the middle, because a pass is not through.
    pub(crate) fn gap(&self) -> usize {
        self.gap
    }

    /// Whether a pass is to be gone on with, see [`Fifo::take_out`].
    pub(crate) fn is_in_pass(&self) -> bool {
        self.passed != 0
    }

    /// How many slots are in use, or in the gap.
    fn span(&self) -> usize {
        self.len.saturating_add(self.gap)
    }

    /// Takes what is needed of `buffer` to get larger, if it is meant for a queue of that size.
    /// Returns what is not needed any more.
    pub(crate) fn grow(&mut self, mut buffer: Buffer<T>) -> Buffer<T> {
        let capacity = self.capacity();
        if capacity < BLOCK {
            self.replace(buffer)
        } else if !buffer.is_small() {
            let nr = self.blocks.len().saturating_add(buffer.more.len());
            if buffer.blocks.capacity() >= nr {
                self.rebuild(&mut buffer, nr);
            }
            buffer
        } else {
            buffer
        }
    }

    /// Moves the values to the first block of `buffer`, if that is larger.
    fn replace(&mut self, mut buffer: Buffer<T>) -> Buffer<T> {
        let larger = buffer.more.first().map_or(0, |block| block.0.len());
        if larger <= self.capacity() || buffer.blocks.capacity() == 0 {
            return buffer;
        }
        let mut new = Block::none();
        if let Some(block) = buffer.more.first_mut() {
            core::mem::swap(block, &mut new);
        }
        for (offset, slot) in new.0.iter_mut().take(self.span()).enumerate() {
            *slot = self.slot(offset).and_then(Option::take);
        }
        let _ = buffer.blocks.push_within_capacity(new);
        core::mem::swap(&mut self.blocks, &mut buffer.blocks);
        self.head = 0;
        buffer
    }

    /// How many blocks there are to be for so many values, and the gap.
    fn blocks_for(&self, values: usize) -> usize {
        let slots = (self.head % BLOCK).saturating_add(values.max(self.span()));
        slots.div_ceil(BLOCK).max(1)
    }

    /// If there are many more blocks than are needed for so many `values`, or for those that there
    /// are: how many are enough for twice as many.
    pub(crate) fn excess(&self, values: usize) -> Option<usize> {
        if self.blocks.len() < 4 {
            return None;
        }
        let blocks = self.blocks_for(values.saturating_mul(2)).saturating_add(1);
        (blocks.saturating_mul(2) <= self.blocks.len()).then_some(blocks)
    }

    /// Has as many blocks as there is room for in `buffer`, if that is enough for so many `values`.
    /// Returns what is not needed any more.
    pub(crate) fn shrink(&mut self, mut buffer: Buffer<T>, values: usize) -> Buffer<T> {
        let nr = buffer.blocks.capacity();
        if nr < self.blocks.len() && nr >= self.blocks_for(values) {
            self.rebuild(&mut buffer, nr);
        }
        buffer
    }

    /// Has `nr` blocks, from that of the first value on, and puts what is left into `buffer`.
    fn rebuild(&mut self, buffer: &mut Buffer<T>, nr: usize) {
        let (first, head) = (self.head / BLOCK, self.head % BLOCK);
        // What is in the first block below the first value comes last.
        let end = head.saturating_add(self.span());
        let wrapped = end.saturating_sub(self.capacity());
        if let (Some(old), Some(new)) = (self.blocks.get_mut(first), buffer.more.first_mut()) {
            let slots = old.0.iter_mut().zip(new.0.iter_mut());
            for (old, new) in slots.take(wrapped) {
                core::mem::swap(old, new);
            }
        }
        let count = self.blocks.len();
        let old = (0..count).map(|nr| nr.wrapping_add(first));
        for at in old.take(nr) {
            let at = if at < count {
                at
            } else {
                at.wrapping_sub(count)
            };
            if let Some(block) = self.blocks.get_mut(at) {
                let block = core::mem::replace(block, Block::none());
                let _ = buffer.blocks.push_within_capacity(block);
            }
        }
        for block in buffer.more.iter_mut() {
            let block = core::mem::replace(block, Block::none());
            let _ = buffer.blocks.push_within_capacity(block);
        }
        core::mem::swap(&mut self.blocks, &mut buffer.blocks);
        self.head = head;
    }

    /// The slot with that number, counted from the first one.
    fn slot(&mut self, offset: usize) -> Option<&mut Option<T>> {
        let capacity = self.capacity();
        let at = self.head.checked_add(offset)?;
        let at = if at >= capacity {
            at.checked_sub(capacity)?
        } else {
            at
        };
        self.blocks.get_mut(at / BLOCK)?.0.get_mut(at % BLOCK)
    }

    /// Appends; hands the value back if there is no room.
    pub(crate) fn push_back(&mut self, value: T) -> Result<(), T> {
        let span = self.span();
        if span >= self.capacity() {
            return Err(value);
        }
        match self.slot(span) {
            Some(slot) => *slot = Some(value),
            None => return Err(value),
        }
        self.len = self.len.wrapping_add(1);
        Ok(())
    }

    /// Prepends; hands the value back if there is no room.
    pub(crate) fn push_front(&mut self, value: T) -> Result<(), T> {
        if self.span() >= self.capacity() {
            return Err(value);
        }
        let head = self.head.checked_sub(1);
        let head = head.unwrap_or(self.capacity().wrapping_sub(1));
        let block = self.blocks.get_mut(head / BLOCK);
        match block.and_then(|block| block.0.get_mut(head % BLOCK)) {
            Some(slot) => *slot = Some(value),
            None => return Err(value),
        }
        self.head = head;
        self.len = self.len.wrapping_add(1);
        if self.passed != 0 {
            self.passed = self.passed.wrapping_add(1);
        }
        Ok(())
    }

    /// What is at that place, counted from the front.
    pub(crate) fn get(&mut self, index: usize) -> Option<&T> {
        if index >= self.len {
            return None;
        }
        let offset = if index < self.passed {
            index
        } else {
            index.checked_add(self.gap)?
        };
        self.slot(offset)?.as_ref()
    }

    /// Moves the front over so many slots.
    fn advance(&mut self, slots: usize) {
        let head = self.head.wrapping_add(slots);
        let capacity = self.capacity();
        self.head = if head >= capacity {
            head.wrapping_sub(capacity)
        } else {
            head
        };
    }

    pub(crate) fn pop_front(&mut self) -> Option<T> {
        if self.len == 0 {
            return None;
        }
        let value = self.slot(0)?.take();
        self.advance(1);
        self.len = self.len.wrapping_sub(1);
        if self.passed != 0 {
            self.passed = self.passed.wrapping_sub(1);
            if self.passed == 0 {
                self.advance(self.gap);
                self.gap = 0;
            }
        }
        value
    }

    /// Goes on taking out the values that `stays` does not hold for, keeping the order of the
    /// others, with the next `most` values. Returns whether there are more to go through; if not,
    /// that begins with the first one again.
    pub(crate) fn take_out(&mut self, most: usize, mut stays: impl FnMut(&T) -> bool) -> bool {
        for _ in 0..most {
            if self.passed >= self.len {
                break;
            }
            let (passed, gap) = (self.passed, self.gap);
            let Some(slot) = self.slot(passed.wrapping_add(gap)) else {
                break;
            };
            if slot.as_ref().is_some_and(&mut stays) {
                if gap != 0 {
                    let value = slot.take();
                    if let Some(slot) = self.slot(passed) {
                        *slot = value;
                    }
                }
                self.passed = passed.wrapping_add(1);
                continue;
            }
            *slot = None;
            self.len = self.len.wrapping_sub(1);
            if passed == 0 {
                self.advance(1);
            } else {
                self.gap = gap.wrapping_add(1);
            }
        }
        if self.passed < self.len {
            return true;
        }
        self.passed = 0;
        self.gap = 0;
        false
    }
}

#[cfg(CONFIG_KEVENT_KUNIT_TEST)]
#[kunit_tests(kevent_fifo)]
mod tests {
    use super::*;

    fn grow<T>(fifo: &mut Fifo<T>) -> Result {
        let capacity = fifo.capacity();
        fifo.grow(Buffer::larger(capacity, GFP_KERNEL)?);
        assert!(fifo.capacity() > capacity);
        Ok(())
    }

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
        while fifo.capacity() < 20 * BLOCK {
            grow(&mut fifo)?;
            // What was meant for a smaller one is not used.
            let capacity = fifo.capacity();
            fifo.grow(Buffer::larger(capacity / 2, GFP_KERNEL)?);
            assert!(fifo.capacity() == capacity || capacity >= 2 * BLOCK);
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
        while first < next {
            assert_eq!(fifo.pop_front(), Some(first));
            first += 1;
        }
        assert_eq!(fifo.pop_front(), None);
        Ok(())
    }

    #[test]
    fn blocks_are_given_back() -> Result {
        let mut fifo = Fifo::new();
        let (mut next, mut first) = (0u32, 0u32);
        for round in 0..3usize {
            while fifo.capacity() < 20 * BLOCK {
                grow(&mut fifo)?;
            }
            // The first value is anywhere.
            for _ in 0..(7 + round * 5) * BLOCK / 3 {
                assert_eq!(fifo.push_back(next), Ok(()));
                next += 1;
                assert_eq!(fifo.pop_front(), Some(first));
                first += 1;
            }
            while fifo.push_back(next).is_ok() {
                next += 1;
            }
            assert_eq!(fifo.excess(fifo.len()), None);
            while fifo.len() > 100 {
                assert_eq!(fifo.pop_front(), Some(first));
                first += 1;
            }
            let blocks = fifo.excess(fifo.len()).unwrap_or(0);
            assert!(blocks > 0 && blocks <= 3);
            // It has got more meanwhile.
            fifo.shrink(Buffer::smaller(blocks, GFP_KERNEL)?, 4 * BLOCK);
            assert!(fifo.capacity() >= 20 * BLOCK);
            fifo.shrink(Buffer::smaller(blocks, GFP_KERNEL)?, 101);
            assert_eq!(fifo.capacity(), blocks * BLOCK);
            while first < next {
                assert_eq!(fifo.pop_front(), Some(first));
                first += 1;
            }
        }
        Ok(())
    }

    #[test]
    fn taken_out_of_the_middle_in_steps() -> Result {
        let mut fifo = Fifo::new();
        for most in [1, 3, 64, 1000] {
            while fifo.capacity() < 3 * BLOCK {
                grow(&mut fifo)?;
            }
            let mut nr = 0u32;
            while fifo.push_back(nr).is_ok() {
                nr += 1;
            }
            // Some are taken out at the front, and put in at both ends, while the pass goes on.
            let (mut first, mut last, mut seen) = (0, nr, 0);
            while fifo.take_out(most, |n| n % 3 == 1 || *n >= nr) {
                if seen % 5 == 0 {
                    let front = fifo.pop_front().unwrap_or(0);
                    assert!(front >= first && (front % 3 == 1 || front < first + 3));
                    first = front + 1;
                    if seen % 10 == 0 {
                        assert_eq!(fifo.push_front(front), Ok(()));
                        first = front;
                    }
                    if fifo.len() + fifo.gap() < fifo.capacity() && last < nr + 100 {
                        assert_eq!(fifo.push_back(last), Ok(()));
                        last += 1;
                    }
                }
                seen += 1;
            }
            assert_eq!(fifo.gap(), 0);
            let mut before = None;
            while let Some(n) = fifo.pop_front() {
                assert!(n % 3 == 1 || n >= nr || n == first);
                assert!(before < Some(n));
                before = Some(n);
            }
            assert_eq!(
                before,
                Some(last - 1)
                    .filter(|n| *n >= nr)
                    .or(Some(nr - 1 - (nr + 1) % 3))
            );
        }
        Ok(())
    }

    #[test]
    fn what_is_behind_the_gap_is_found() -> Result {
        let mut fifo = Fifo::new();
        grow(&mut fifo)?;
        for n in 0..8 {
            assert_eq!(fifo.push_back(n), Ok(()));
        }
        assert!(fifo.take_out(4, |n| n % 4 == 0));
        assert_eq!((fifo.len(), fifo.gap()), (5, 3));
        assert!(fifo.get(0) == Some(&0) && fifo.get(1) == Some(&4) && fifo.get(4) == Some(&7));
        assert_eq!(fifo.get(5), None);
        // It moves with the rest.
        grow(&mut fifo)?;
        assert!(fifo.get(1) == Some(&4) && fifo.gap() == 3);
        assert_eq!(fifo.pop_front(), Some(0));
        assert_eq!((fifo.pop_front(), fifo.gap()), (Some(4), 0));
        Ok(())
    }
}
