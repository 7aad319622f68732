// SPDX-License-Identifier: GPL-2.0-only

//! What is charged to whom: queues, watches, posts; and that there are queues.

use core::ptr::NonNull;

use kernel::{
    bindings,
    prelude::*, //
};

use crate::sys::time::TICK_NS;

/// A queue's share of its user's `RLIMIT_MEMLOCK`: that of its ring, or a page.
///
/// # Invariants
///
/// `size` is charged to `user`.
pub(crate) struct QueueCharge {
    size: usize,
    user: *mut bindings::user_struct,
}

// SAFETY: A charge may be given back by any task.
unsafe impl Send for QueueCharge {}
// SAFETY: A shared reference gives access to nothing.
unsafe impl Sync for QueueCharge {}

impl QueueCharge {
    /// Charges `size` bytes to the current user, or fails with `ENOMEM`.
    pub(crate) fn new(size: usize) -> Result<Self> {
        let mut user = core::ptr::null_mut();
        // SAFETY: FFI call with a pointer to a local variable.
        kernel::error::to_result(unsafe { bindings::kevent_charge_queue(size, &mut user) })?;
        // INVARIANT: It has just been charged.
        Ok(Self { size, user })
    }
}

impl Drop for QueueCharge {
    fn drop(&mut self) {
        // SAFETY: By the type invariants this is what was charged, and it is given back once.
        unsafe { bindings::kevent_uncharge_queue(self.size, self.user) };
    }
}

/// A user to whom something is charged.
///
/// It may be dropped in any context that may take a spinlock.
///
/// # Invariants
///
/// There is a reference to the user.
struct User(NonNull<bindings::ucounts>);

// SAFETY: References may be dropped by any task.
unsafe impl Send for User {}
// SAFETY: What a shared reference gives access to is atomic, or does not change.
unsafe impl Sync for User {}

impl User {
    /// The current one.
    fn current() -> Result<Self> {
        // SAFETY: FFI call, in the context of a task.
        let user = NonNull::new(unsafe { bindings::kevent_current_user() }).ok_or(ENOMEM)?;
        // INVARIANT: The reference is what was returned.
        Ok(Self(user))
    }

    fn as_ptr(&self) -> *mut bindings::ucounts {
        self.0.as_ptr()
    }

    /// Charges `nr` of what `kind` counts; whether the limits allow it.
    #[inline]
    fn charge(&self, kind: bindings::ucount_type, nr: u32) -> bool {
        // SAFETY: By the type invariants there is a reference. CAST: `INT_MAX` is the most.
        unsafe { bindings::add_ucounts(self.as_ptr(), kind, nr as c_long) }
    }

    /// Gives back `nr` of what `kind` counts, which were charged.
    #[inline]
    fn uncharge(&self, kind: bindings::ucount_type, nr: u32) {
        // SAFETY: By the type invariants there is a reference. CAST: As above.
        unsafe { bindings::sub_ucounts(self.as_ptr(), kind, nr as c_long) };
    }
}

impl Drop for User {
    fn drop(&mut self) {
        // SAFETY: By the type invariants there is a reference, and it is not used any more.
        unsafe { bindings::put_ucounts(self.as_ptr()) };
    }
}

/// The watches of a user.
const WATCHES: bindings::ucount_type = bindings::ucount_type_UCOUNT_KEVENT_WATCHES;

/// How many watches are charged to a user at once, at most.
const MAX_BATCH: u32 = 16;

/// The share that a queue has in the watches that its user may have.
///
/// Users are charged in batches, which get larger with the number of watches in the queue, so that
/// threads which add and remove watches on different CPUs do not share the user's count. Of a small
/// queue nothing is charged that it does not use, of a larger one a quarter more at most.
///
/// # Invariants
///
/// `used + unused` is charged to `user`.
pub(crate) struct WatchAccount {
    user: User,
    used: u32,
    unused: u32,
}

impl WatchAccount {
    /// An account of the current user.
    pub(crate) fn new() -> Result<Self> {
        // INVARIANT: Nothing is charged.
        Ok(Self {
            user: User::current()?,
            used: 0,
            unused: 0,
        })
    }

    /// Whether the current task may know what is watched, though it may not use the queue.
    pub(crate) fn may_inspect(&self) -> bool {
        // SAFETY: There is a reference.
        unsafe { bindings::kevent_may_inspect(self.user.as_ptr()) }
    }

    fn batch(&self) -> u32 {
        (self.used / 8).clamp(1, MAX_BATCH)
    }

    /// Charges a watch, or fails with `ENOSPC`.
    #[inline]
    pub(crate) fn charge(&mut self) -> Result {
        if self.unused == 0 {
            self.charge_batch()?;
        }
        // INVARIANT: There is one that is charged and unused.
        self.unused = self.unused.wrapping_sub(1);
        self.used = self.used.wrapping_add(1);
        Ok(())
    }

    fn charge_batch(&mut self) -> Result {
        // Near the limit there may be room for one still.
        for nr in [self.batch(), 1] {
            if self.user.charge(WATCHES, nr) {
                // INVARIANT: They have just been charged.
                self.unused = self.unused.wrapping_add(nr);
                return Ok(());
            }
        }
        Err(ENOSPC)
    }

    /// Gives back a watch.
    #[inline]
    pub(crate) fn uncharge(&mut self) {
        self.used = self.used.saturating_sub(1);
        self.unused = self.unused.saturating_add(1);
        // What was charged with the last one, and another batch, may stay.
        let most = self.batch().wrapping_sub(1);
        if self.unused > most.wrapping_mul(2) {
            self.give_back(self.unused.wrapping_sub(most));
        }
    }

    fn give_back(&mut self, nr: u32) {
        if nr == 0 {
            return;
        }
        // INVARIANT: So many are charged no more.
        self.unused = self.unused.saturating_sub(nr);
        self.user.uncharge(WATCHES, nr);
    }
}

impl Drop for WatchAccount {
    fn drop(&mut self) {
        self.give_back(self.used.saturating_add(self.unused));
    }
}

/// On whose account the watches of one object are counted, see `objects.c`.
pub(crate) struct Holder(bindings::kevent_holder);

impl Holder {
    /// The queue with that number, and the current user.
    pub(crate) fn new(queue: u64) -> Self {
        Self(bindings::kevent_holder {
            queue,
            // SAFETY: FFI call, in the context of a task.
            user: unsafe { bindings::kevent_outermost_user() },
        })
    }

    /// The number of the queue.
    pub(crate) fn queue(&self) -> u64 {
        self.0.queue
    }

    /// For the functions that count.
    pub(crate) fn as_ptr(&self) -> *const bindings::kevent_holder {
        &self.0
    }
}

/// One of what `KIND` counts.
///
/// It may be dropped in any context that may take a spinlock.
///
/// # Invariants
///
/// One is charged to `user`.
pub(crate) struct Charge<const KIND: bindings::ucount_type> {
    user: User,
}

/// A deferred post, which counts as a watch of the user who posted it.
pub(crate) type PostCharge = Charge<WATCHES>;

/// A watch of a queue.
pub(crate) type NestedCharge = Charge<{ bindings::ucount_type_UCOUNT_KEVENT_NESTED }>;

impl<const KIND: bindings::ucount_type> Charge<KIND> {
    /// Charges one to the current user, or fails with `too_many`.
    pub(crate) fn new(too_many: Error) -> Result<Self> {
        let user = User::current()?;
        if user.charge(KIND, 1) {
            // INVARIANT: It has just been charged.
            return Ok(Self { user });
        }
        Err(too_many)
    }
}

impl<const KIND: bindings::ucount_type> Drop for Charge<KIND> {
    fn drop(&mut self) {
        // By the type invariants one was charged.
        self.user.uncharge(KIND, 1);
    }
}

/// So many periodic timers of a user may interrupt in a tick, unless the program makes calls.
const TIMERS_PER_TICK: i64 = 64;

/// The length of a tick. CAST: It is a small number.
const TICK: i64 = TICK_NS as i64;

/// A periodic timer.
pub(crate) type TimerCharge = Charge<{ bindings::ucount_type_UCOUNT_KEVENT_TIMERS }>;

impl TimerCharge {
    /// The distance that its interrupts must have while the program makes no call, in nanoseconds:
    /// a tick, or so many that the user's timers interrupt [`TIMERS_PER_TICK`] times in one.
    ///
    /// Timers with different `place`s, which were armed together, do not expire together for long.
    pub(crate) fn gap(&self, place: u32) -> i64 {
        // SAFETY: There is a reference.
        let nr = unsafe { bindings::kevent_count_timers(self.user.as_ptr()) };
        gap_of(nr, place)
    }
}

/// See [`TimerCharge::gap`]; the user has `nr` timers.
fn gap_of(nr: i64, place: u32) -> i64 {
    if nr <= TIMERS_PER_TICK {
        return TICK;
    }
    // A 64th of the gap of all, and from one gap to two.
    let part = TICK.saturating_mul(nr) / (TIMERS_PER_TICK * TIMERS_PER_TICK);
    part.saturating_mul(TIMERS_PER_TICK + i64::from(place) % TIMERS_PER_TICK)
}

/// Lets others run, in what may take long.
pub(crate) fn resched() {
    // SAFETY: FFI call, in the context of a task that may sleep.
    unsafe { bindings::kevent_resched() };
}

/// That there is a queue: keeps the hooks in the rest of the kernel patched in.
pub(crate) struct QueueCount(());

impl QueueCount {
    pub(crate) fn new() -> Self {
        // SAFETY: FFI call, in the context of a task that may sleep.
        unsafe { bindings::kevent_queue_made() };
        Self(())
    }
}

impl Drop for QueueCount {
    fn drop(&mut self) {
        // SAFETY: FFI call, for what `new` did.
        unsafe { bindings::kevent_queue_gone() };
    }
}

#[cfg(CONFIG_KEVENT_KUNIT_TEST)]
#[kunit_tests(kevent_account)]
mod tests {
    use super::*;

    #[test]
    fn little_is_charged_that_is_not_used() -> Result {
        let mut account = WatchAccount::new()?;
        for used in 1..=1000 {
            account.charge()?;
            assert_eq!(account.used, used);
            assert!(account.unused <= (used / 8).min(MAX_BATCH));
        }
        // Up and down a little does not change the count of the user.
        for used in (0..1000).rev() {
            account.charge()?;
            account.uncharge();
            account.uncharge();
            assert_eq!(account.used, used);
            assert!(account.unused <= (used / 4).min(2 * MAX_BATCH));
        }
        assert_eq!(account.unused, 0);
        Ok(())
    }

    #[test]
    fn timers_of_a_user_share_what_a_tick_allows() {
        for nr in [1, 64] {
            assert_eq!(gap_of(nr, 5), TICK);
        }
        for nr in [65, 128, 4096, 160_000, i64::MAX] {
            let least = TICK.saturating_mul(nr / TIMERS_PER_TICK);
            for place in [0, 1, 63, 64, u32::MAX] {
                let gap = gap_of(nr, place);
                assert!(gap >= least - TIMERS_PER_TICK || gap >= i64::MAX / 128);
                assert!(gap <= least.saturating_mul(4));
            }
            assert!(gap_of(nr, 0) < gap_of(nr, 63));
        }
    }
}
