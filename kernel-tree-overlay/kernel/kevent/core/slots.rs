// SPDX-License-Identifier: GPL-2.0-only

//! Values by handle.
//!
//! A handle is a number that the kernel issues: the low half says in which slot the value is, the
//! high half is the slot's generation, which changes when the value is removed. A slot whose
//! generations are used up is not used again, so no handle is ever issued twice.
//!
//! A value that was removed has no handle any more, but keeps its slot until that is freed.
//!
//! Slots come in chunks, so making room never moves any, and the memory of a chunk without values
//! is given back. What stays of it is the generation with which its slots begin again. Free slots
//! are used again in the order in which they became free.

use kernel::prelude::*;

/// How many slots a chunk has: a page of them.
const CHUNK: usize = 256;

/// No slot, or no chunk.
const NONE: u32 = u32::MAX;

/// Where a value can be. The generation is that of the last handle, of a free slot that of the
/// next.
enum HandleSlot<T> {
    Free {
        generation: u32,
        /// The next free one of the chunk.
        next: u32,
    },
    Used {
        generation: u32,
        value: T,
    },
    Removed {
        generation: u32,
        value: T,
    },
    /// All its generations are used up.
    Exhausted,
}

struct Chunk<T> {
    slots: KVVec<HandleSlot<T>>,
    /// How many of them are not free.
    held: usize,
    /// New slots begin with this generation: it is larger than that of each handle that was issued
    /// for one of the chunk and is not valid any more.
    generation: u32,
    /// The free slots, oldest first.
    first_free: u32,
    last_free: u32,
    /// The next chunk that has room.
    next: u32,
}

impl<T> Chunk<T> {
    const fn new() -> Self {
        Self {
            slots: KVVec::new(),
            held: 0,
            generation: 1,
            first_free: NONE,
            last_free: NONE,
            next: NONE,
        }
    }

    fn has_room(&self) -> bool {
        self.first_free != NONE || self.slots.len() < CHUNK
    }

    /// Takes a slot for `value`; its number and generation.
    fn insert(&mut self, value: T, room: usize) -> Result<(usize, u32)> {
        let at = self.first_free as usize;
        let (at, generation) = if let Some(slot) = self.slots.get_mut(at) {
            let HandleSlot::Free { generation, next } = *slot else {
                debug_assert!(false);
                return Err(EINVAL);
            };
            *slot = HandleSlot::Used { generation, value };
            self.first_free = next;
            (at, generation)
        } else {
            let (at, generation) = (self.slots.len(), self.generation);
            if at == self.slots.capacity() {
                self.slots.reserve(room, GFP_KERNEL_ACCOUNT)?;
            }
            let slot = HandleSlot::Used { generation, value };
            self.slots.push(slot, GFP_KERNEL_ACCOUNT)?;
            (at, generation)
        };
        self.held = self.held.wrapping_add(1);
        Ok((at, generation))
    }

    /// Frees a slot whose value was removed, unless its generations are used up.
    fn free(&mut self, at: usize, generation: u32) {
        let Some(slot) = self.slots.get_mut(at) else {
            return;
        };
        let Some(generation) = generation.checked_add(1) else {
            // It counts as held, so the chunk stays, and remembers that.
            *slot = HandleSlot::Exhausted;
            return;
        };
        *slot = HandleSlot::Free {
            generation,
            next: NONE,
        };
        self.generation = self.generation.max(generation);
        // CAST: There are few in a chunk.
        let new = at as u32;
        match self.slots.get_mut(self.last_free as usize) {
            Some(HandleSlot::Free { next, .. }) if self.first_free != NONE => *next = new,
            _ => self.first_free = new,
        }
        self.last_free = new;
        self.held = self.held.wrapping_sub(1);
    }

    /// Gives back the memory of the slots, all of which are free.
    fn shrink(&mut self) {
        self.slots = KVVec::new();
        self.first_free = NONE;
        self.last_free = NONE;
    }
}

/// Values by handle.
pub(crate) struct Slots<T> {
    chunks: KVVec<Chunk<T>>,
    /// The chunks that have room, those first that have had it for longest.
    first: u32,
    last: u32,
    /// A chunk that may be empty, and has memory still.
    spare: u32,
    /// How many slots have a value.
    held: usize,
    /// How many of those values were removed.
    removed: usize,
}

fn handle(index: u32, generation: u32) -> u64 {
    u64::from(generation) << 32 | u64::from(index)
}

/// The slot that a handle was issued for, and its generation.
fn split(handle: u64) -> (u32, u32) {
    // CAST: The two halves.
    (handle as u32, (handle >> 32) as u32)
}

/// The chunk that a slot is in, and which of it that is.
fn position(index: u32) -> (usize, usize) {
    (index as usize / CHUNK, index as usize % CHUNK)
}

impl<T> Slots<T> {
    pub(crate) const fn new() -> Self {
        Self {
            chunks: KVVec::new(),
            first: NONE,
            last: NONE,
            spare: NONE,
            held: 0,
            removed: 0,
        }
    }

    /// How many values there are that were not removed.
    pub(crate) fn len(&self) -> usize {
        self.held.wrapping_sub(self.removed)
    }

    /// How many values were removed and keep their slots.
    pub(crate) fn removed(&self) -> usize {
        self.removed
    }

    /// Whether more of the values were removed than not, and there is no free slot for the next.
    pub(crate) fn is_littered(&self) -> bool {
        let chunk = self.chunks.get(self.first as usize);
        self.removed > self.held / 2 && chunk.is_none_or(|chunk| chunk.first_free == NONE)
    }

    /// All slots are below this.
    pub(crate) fn end(&self) -> u32 {
        u32::try_from(self.chunks.len().saturating_mul(CHUNK)).unwrap_or(u32::MAX)
    }

    /// Puts a value into a slot and returns its handle.
    pub(crate) fn insert(&mut self, value: T) -> Result<u64> {
        if self.first == NONE {
            let nr = u32::try_from(self.chunks.len()).map_err(|_| ENOSPC)?;
            let end = self.chunks.len().wrapping_add(1).checked_mul(CHUNK);
            // The last number is none of a slot.
            end.and_then(|end| u32::try_from(end).ok()).ok_or(ENOSPC)?;
            if self.chunks.len() == self.chunks.capacity() {
                let more = self.chunks.len().clamp(1, CHUNK);
                self.chunks.reserve(more, GFP_KERNEL_ACCOUNT)?;
            }
            self.chunks.push(Chunk::new(), GFP_KERNEL_ACCOUNT)?;
            self.append(nr);
        }
        let nr = self.first;
        let chunk = self.chunks.get_mut(nr as usize).ok_or(EINVAL)?;
        // Small queues have small tables.
        let room = if nr == 0 {
            chunk.slots.len().clamp(8, CHUNK / 2)
        } else {
            CHUNK
        };
        let (at, generation) = chunk.insert(value, room)?;
        if !chunk.has_room() {
            self.first = chunk.next;
            chunk.next = NONE;
        }
        self.held = self.held.wrapping_add(1);
        // CAST: There are few in a chunk, and all have numbers.
        let index = nr.wrapping_mul(CHUNK as u32).wrapping_add(at as u32);
        Ok(handle(index, generation))
    }

    /// Appends a chunk to those that have room.
    fn append(&mut self, nr: u32) {
        match self.chunks.get_mut(self.last as usize) {
            Some(last) if self.first != NONE => last.next = nr,
            _ => self.first = nr,
        }
        self.last = nr;
    }

    fn slot(&self, index: u32) -> Option<&HandleSlot<T>> {
        let (chunk, at) = position(index);
        self.chunks.get(chunk)?.slots.get(at)
    }

    /// The slot that `handle` was issued for, if its value was not removed.
    pub(crate) fn index_of(&self, handle: u64) -> Option<u32> {
        let (index, wanted) = split(handle);
        match self.slot(index)? {
            HandleSlot::Used { generation, .. } if *generation == wanted => Some(index),
            _ => None,
        }
    }

    /// The value in a slot, and its handle, if it was not removed.
    pub(crate) fn used(&self, index: u32) -> Option<(u64, &T)> {
        match self.slot(index)? {
            HandleSlot::Used { generation, value } => Some((handle(index, *generation), value)),
            _ => None,
        }
    }

    /// The value in a slot, whether it was removed or not.
    pub(crate) fn get(&self, index: u32) -> Option<&T> {
        match self.slot(index)? {
            HandleSlot::Used { value, .. } | HandleSlot::Removed { value, .. } => Some(value),
            HandleSlot::Free { .. } | HandleSlot::Exhausted => None,
        }
    }

    /// Ends the handle of the value in a slot.
    pub(crate) fn remove_at(&mut self, index: u32) {
        let (chunk, at) = position(index);
        let chunk = self.chunks.get_mut(chunk);
        let Some(slot) = chunk.and_then(|chunk| chunk.slots.get_mut(at)) else {
            return;
        };
        *slot = match core::mem::replace(slot, HandleSlot::Exhausted) {
            HandleSlot::Used { generation, value } => {
                self.removed = self.removed.wrapping_add(1);
                HandleSlot::Removed { generation, value }
            }
            other => other,
        };
    }

    /// Frees a slot whose value was removed.
    pub(crate) fn free(&mut self, index: u32) {
        let (nr, at) = position(index);
        let Some(chunk) = self.chunks.get_mut(nr) else {
            return;
        };
        let Some(&HandleSlot::Removed { generation, .. }) = chunk.slots.get(at) else {
            return;
        };
        let had_room = chunk.has_room();
        chunk.free(at, generation);
        let (has_room, is_empty) = (chunk.has_room(), chunk.held == 0);
        self.held = self.held.wrapping_sub(1);
        self.removed = self.removed.wrapping_sub(1);
        // CAST: There are fewer chunks than slots.
        let nr = nr as u32;
        if has_room && !had_room {
            self.append(nr);
        }
        if is_empty {
            self.shrink(nr);
        }
    }

    /// Gives back the memory of a chunk that is empty, but not of the only one: watches come and
    /// go.
    fn shrink(&mut self, nr: u32) {
        let spare = self.chunks.get(self.spare as usize);
        if self.spare == nr || spare.is_none_or(|chunk| chunk.held != 0) {
            self.spare = nr;
        } else if let Some(chunk) = self.chunks.get_mut(nr as usize) {
            chunk.shrink();
        }
    }

    /// The values that were not removed, and their handles.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u64, &T)> {
        let chunks = self.chunks.iter().enumerate();
        let chunks = chunks.filter(|(_, chunk)| chunk.held != 0);
        chunks.flat_map(|(nr, _)| {
            // CAST: There are fewer slots than fit into it.
            let first = nr.wrapping_mul(CHUNK) as u32;
            let slots = (0..CHUNK as u32).map(move |at| first.wrapping_add(at));
            slots.filter_map(|index| self.used(index))
        })
    }
}

#[cfg(CONFIG_KEVENT_KUNIT_TEST)]
#[kunit_tests(kevent_slots)]
mod tests {
    use super::*;

    fn take_out(slots: &mut Slots<u64>, handle: u64) {
        let index = slots.index_of(handle).unwrap_or(NONE);
        assert_eq!(slots.used(index).map(|(handle, _)| handle), Some(handle));
        slots.remove_at(index);
        assert!(slots.index_of(handle).is_none() && slots.used(index).is_none());
        assert!(slots.get(index).is_some());
        slots.free(index);
        assert!(slots.get(index).is_none());
    }

    /// How many slots there is memory for.
    fn capacity(slots: &Slots<u64>) -> usize {
        slots.chunks.iter().map(|c| c.slots.capacity()).sum()
    }

    #[test]
    fn slot_is_small() {
        assert!(size_of::<HandleSlot<KBox<u64>>>() <= 16);
    }

    #[test]
    fn no_handle_is_issued_twice() -> Result {
        let mut slots = Slots::new();
        let mut last = slots.insert(0)?;
        for n in 1..2000 {
            take_out(&mut slots, last);
            let handle = slots.insert(n)?;
            assert!(handle > last);
            last = handle;
        }
        Ok(())
    }

    #[test]
    fn exhausted_slot_is_not_used_again() -> Result {
        let mut slots = Slots::new();
        let first = slots.insert(0)?;
        take_out(&mut slots, first);
        for chunk in slots.chunks.iter_mut() {
            for slot in chunk.slots.iter_mut() {
                if let HandleSlot::Free { generation, .. } = slot {
                    *generation = u32::MAX;
                }
            }
        }
        let last = slots.insert(1)?;
        assert_eq!(split(last), (split(first).0, u32::MAX));
        take_out(&mut slots, last);
        for n in 0..2 * CHUNK as u64 {
            let handle = slots.insert(n)?;
            assert!(split(handle).0 != split(last).0);
            assert!(slots.index_of(first).is_none() && slots.index_of(last).is_none());
        }
        Ok(())
    }

    #[test]
    fn oldest_free_slot_is_used_first() -> Result {
        let mut slots = Slots::new();
        let mut handles = [0; 8];
        for handle in &mut handles {
            *handle = slots.insert(0)?;
        }
        for nr in [3, 0, 5] {
            take_out(&mut slots, handles[nr]);
        }
        for nr in [3, 0, 5] {
            assert_eq!(split(slots.insert(0)?).0, split(handles[nr]).0);
        }
        Ok(())
    }

    #[test]
    fn memory_is_given_back() -> Result {
        const NR: usize = 20 * CHUNK;
        let mut slots = Slots::new();
        let mut handles = KVVec::new();
        for round in 0..3 {
            for n in 0..NR as u64 {
                handles.push((slots.insert(n)?, n), GFP_KERNEL)?;
            }
            assert!(slots.end() as usize == NR && capacity(&slots) < NR + CHUNK);
            // Those that are left keep their chunks, and their handles.
            let mut left = 0;
            for (nr, (handle, n)) in handles.iter().enumerate() {
                if nr % (NR / 4) == round {
                    let index = slots.index_of(*handle).unwrap_or(NONE);
                    assert_eq!(slots.get(index), Some(n));
                    left += 1;
                } else {
                    take_out(&mut slots, *handle);
                }
            }
            assert!(slots.iter().count() == left && slots.len() == left && left == 4);
            assert!(capacity(&slots) <= (left + 1) * CHUNK);
            for (nr, (handle, _)) in handles.iter().enumerate() {
                if nr % (NR / 4) == round {
                    take_out(&mut slots, *handle);
                }
                // None of the old ones is valid again later.
                assert!(slots.index_of(*handle).is_none());
            }
            assert!(capacity(&slots) <= CHUNK);
            handles.clear();
        }
        Ok(())
    }
}
