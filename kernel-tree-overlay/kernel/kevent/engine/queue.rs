// SPDX-License-Identifier: GPL-2.0-only

//! The queue: a ring, the backlog behind it, and those who wait for it.

use kernel::{
    fs::{
        anon_inode::{
            FileOperations,
            Poller, //
        },
        File, //
    },
    irq_work::IrqWork,
    mm::vma_desc::VmaDesc,
    new_mutex,
    new_spinlock_irq,
    new_wait_queue,
    prelude::*,
    seq_file::SeqFile,
    seq_print,
    sync::{
        atomic::{
            ordering::{
                Full,
                Relaxed, //
            },
            Atomic, //
        },
        barrier::smp_mb,
        lock::spinlock::SpinLockIrq,
        wait::{
            WaitQueue,
            Woken, //
        },
        Arc,
        ArcBorrow,
        Mutex, //
    },
    time::deadline::Deadline,
    uapi,
    workqueue::{
        self,
        impl_has_work,
        new_work,
        Work,
        WorkItem, //
    }, //
};

use crate::{
    core::{
        event::Event,
        fifo::{
            Buffer,
            Fifo, //
        },
        recheck::RecheckList,
        ring::{
            Index,
            Merge,
            Ring, //
        }, //
    },
    engine::{
        nest::Nest,
        table::{
            Batch,
            Table,
            Walk, //
        },
        watch::{
            move_into_ring,
            take_deferred,
            unconsume,
            Rechecker,
            Watch, //
        }, //
    },
    source,
    sys::limits::{
        QueueCount,
        RingCharge,
        WatchAccount, //
    },
    trace, //
};

/// How many deferred posts a queue may have: what a program posts, or has done for it, faster than
/// it takes.
const MAX_DEFERRED: usize = 65536;

/// What waits for a free slot.
pub(crate) enum Pending {
    /// An event that was posted.
    Post(KBox<Event>),
    /// A watch that has something to report.
    Watch(Arc<Watch>),
}

/// Memory for an event that was taken for a program out of a queue without a ring, could not be
/// copied to it, and cannot be put back where it was.
pub(crate) type Spare = Option<KBox<Event>>;

/// What found no free slot, oldest first.
///
/// # Invariants
///
/// There is room for every watch and the posts that are in it.
struct Backlog {
    fifo: Fifo<Pending>,
    /// How many of them are posts.
    posts: usize,
    /// How many of them are watches that were removed since.
    removed: usize,
    /// How many watches the queue has, and of those removed are still here.
    watches: usize,
}

impl Backlog {
    /// Takes out watches that were removed.
    fn compact(&mut self) {
        if self.removed == 0 {
            return;
        }
        let mut left = 0usize;
        self.fifo.retain(|pending| match pending {
            Pending::Watch(watch) if watch.skip_if_removed() => {
                left = left.wrapping_add(1);
                false
            }
            _ => true,
        });
        self.leave(left);
    }

    /// So many watches that were removed have come out.
    fn leave(&mut self, watches: usize) {
        self.removed = self.removed.saturating_sub(watches);
        self.watches = self.watches.saturating_sub(watches);
    }

    /// How many wait, of those that were not removed.
    fn waiting(&self) -> usize {
        self.fifo.len().saturating_sub(self.removed)
    }

    /// Whether there is room for that many more watches and posts, whatever else waits.
    fn has_room(&self, watches: usize, posts: usize) -> bool {
        let need = self.watches.saturating_add(watches);
        need.saturating_add(self.posts).saturating_add(posts) <= self.fifo.capacity()
    }
}

/// What was moved out of the backlog, of which nobody has been reported yet.
#[must_use]
struct Flushed {
    /// How many entries the ring has got.
    entries: u32,
    /// There may be more to move.
    more: bool,
}

/// Up to here the room for what waits is doubled when there is not enough.
const DOUBLING_LIMIT: usize = 4096;

/// How often to try again to take an event, where other consumers may be faster.
const MAX_TRIES: u32 = 16;

/// How much is moved out of the backlog at a time, with interrupts disabled.
pub(crate) const FLUSH_BATCH: usize = 64;

/// So many watches that were removed may stay in the backlog.
const REMOVED_BATCH: usize = 64;

/// So many watches are shown in fdinfo before others may add and remove some.
const SHOWN_AT_ONCE: usize = 64;

/// In `Queue::poll_wake_mask`: those who poll have to look for themselves what there is.
const POLL_WAKE_ANY: u32 = 1 << 31;

/// What is ready when the queue has events.
const READABLE: u32 = kernel::bindings::POLLIN | kernel::bindings::POLLRDNORM;

/// The number of the next queue to be made.
static NEXT_ID: Atomic<u64> = Atomic::new(1);

/// Something posted to a queue without room for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NoRoom;

/// A queue.
///
/// Lock order: [`Queue::consumer`], [`Queue::watches`], [`Queue::backlog`], then the locks of the
/// wait queues.
#[pin_data(PinnedDrop)]
pub(crate) struct Queue {
    ring: Option<Ring>,
    _charge: Option<RingCharge>,
    _count: QueueCount,
    /// A number that no other queue has, till the next boot.
    id: u64,
    /// The classes that this queue may use, as in the argument `sources` of `kevent_create()`.
    sources: u64,

    /// Taken by consumers that are in the kernel, one at a time.
    #[pin]
    consumer: Mutex<Spare>,
    /// The watches, by handle.
    #[pin]
    watches: Mutex<Table>,
    /// Those that want to be rechecked by the next one who waits.
    recheck_list: RecheckList,
    /// One of them cannot wait for that.
    recheck_wanted: Atomic<bool>,
    /// Clears the table if the last reference goes where that cannot be done.
    #[pin]
    last_put: Work<Queue>,
    /// The queues that this one watches, and that watch this one.
    nest: Nest,
    #[pin]
    backlog: SpinLockIrq<Backlog>,
    /// The length of the backlog, to be looked at without the lock. Written with the lock held.
    backlogged: Atomic<u32>,

    /// Threads in `kevent_wait()` and `kevent_get_events()`.
    #[pin]
    waiters: WaitQueue,
    /// How many there are.
    sleepers: Atomic<u32>,
    /// Those who poll the queue's file.
    #[pin]
    pollers: WaitQueue,
    /// Returns them, when no lock is held.
    #[pin]
    pub(crate) poll_wake_work: IrqWork<Queue>,
    /// `EPOLL*` bits to report them beside that the queue is readable.
    poll_wake_mask: Atomic<u32>,

    merged: Atomic<u64>,
    deferred: Atomic<u64>,
    /// Entries that were moved out of the backlog, and of which nobody has been reported yet.
    /// Protected by its lock.
    pending: Atomic<u32>,
    woken: Atomic<u64>,
}

impl Queue {
    /// Makes a queue with a ring of `entries` slots, none if that is 0.
    pub(crate) fn new(entries: u32, sources: u64) -> Result<Arc<Self>> {
        let (ring, charge) = if entries == 0 {
            (None, None)
        } else if entries > uapi::KEVENT_MAX_ENTRIES {
            return Err(EINVAL);
        } else {
            let entries = entries
                .max(uapi::KEVENT_MIN_ENTRIES)
                .checked_next_power_of_two()
                .ok_or(EINVAL)?;
            let charge = RingCharge::new(Ring::size_for(entries))?;
            (Some(Ring::new(entries)?), Some(charge))
        };
        let sources = if sources == 0 { source::KNOWN } else { sources };
        if sources & !source::KNOWN != 0 {
            return Err(ENOSYS);
        }
        let account = WatchAccount::new()?;
        let queue = Arc::pin_init(
            try_pin_init!(Self {
                ring,
                _charge: charge,
                _count: QueueCount::new(),
                id: NEXT_ID.fetch_add(1, Relaxed),
                sources,
                consumer <- new_mutex!(None),
                watches <- new_mutex!(Table::new(account)),
                recheck_list: RecheckList::new(),
                recheck_wanted: Atomic::new(false),
                last_put <- new_work!("kevent_put"),
                nest: Nest::new(),
                backlog <- new_spinlock_irq!(Backlog {
                    fifo: Fifo::new(),
                    posts: 0,
                    removed: 0,
                    watches: 0,
                }),
                backlogged: Atomic::new(0),
                waiters <- new_wait_queue!(),
                sleepers: Atomic::new(0),
                pollers <- new_wait_queue!(),
                poll_wake_work <- IrqWork::new(),
                poll_wake_mask: Atomic::new(0),
                merged: Atomic::new(0),
                deferred: Atomic::new(0),
                pending: Atomic::new(0),
                woken: Atomic::new(0),
            }),
            GFP_KERNEL_ACCOUNT,
        )?;
        // A place for an event that a consumer puts back.
        queue.reserve_watches(1)?;
        Ok(queue)
    }

    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    /// How many threads wait.
    pub(crate) fn sleepers(&self) -> u32 {
        self.sleepers.load(Relaxed)
    }

    #[inline(always)]
    pub(crate) fn ring(&self) -> Option<&Ring> {
        self.ring.as_ref()
    }

    /// Sleeps until there are `nr` events from `seen` on, or from the cursor on.
    pub(crate) fn sleep(&self, seen: Option<u32>, nr: u32, deadline: Option<&Deadline>) -> Woken {
        self.sleepers.fetch_add(1, Relaxed);
        // Pairs with the barrier in `after_append`: slots may have been freed just now.
        smp_mb(Full);
        self.flush_whole_backlog();
        let woken = loop {
            let ready = || self.recheck_wanted.load(Relaxed) || self.has(seen, nr);
            let woken = self.waiters.wait(ready, deadline);
            if !matches!(woken, Woken::Ready | Woken::Late) {
                break woken;
            }
            if self.has(seen, nr) {
                break Woken::Ready;
            }
            // Asked to look, or somebody else took the event: a level may hold still.
            self.recheck(Rechecker::PROGRAM, seen, nr);
            if self.has(seen, nr) {
                break Woken::Ready;
            }
            if self.waiters.is_active() {
                // As long as it was asked, this thread was woken for events too, of which another
                // one may make use.
                self.waiters.wake_one();
            }
            // It may be asked again and again.
            if let Some(over) = WaitQueue::is_over(deadline) {
                break over;
            }
        };
        if self.recheck_wanted.load(Relaxed) {
            // This thread was asked, and nobody else is, so it looks at all there is.
            self.recheck(Rechecker::PROGRAM, None, u32::MAX);
        }
        self.sleepers.fetch_sub(1, Relaxed);
        woken
    }

    /// Holds off other consumers that are in the kernel.
    pub(crate) fn consumer(&self) -> &Mutex<Spare> {
        &self.consumer
    }

    pub(crate) fn watches(&self) -> &Mutex<Table> {
        &self.watches
    }

    pub(crate) fn count_merge(&self) {
        self.merged.fetch_add(1, Relaxed);
    }

    /// Cancels the entry at that index of the ring. Returns whether it was unconsumed.
    ///
    /// To be called in the context of a task, and by none who changes the entry otherwise.
    pub(crate) fn cancel(&self, entry: Index) -> bool {
        let Some(ring) = &self.ring else {
            return false;
        };
        let cancelled = loop {
            match ring.cancel(entry) {
                Merge::Done(_) => break true,
                Merge::Gone => break false,
                Merge::Locked => core::hint::spin_loop(),
            }
        };
        // Another watch may have gone to the backlog because it found the entry being changed.
        // Pairs with the barrier in `after_append`.
        smp_mb(Full);
        self.flush_backlog();
        cancelled
    }

    #[inline(always)]
    pub(crate) fn is_backlogged(&self) -> bool {
        self.backlogged.load(Relaxed) != 0
    }

    pub(crate) fn recheck_list(&self) -> &RecheckList {
        &self.recheck_list
    }

    pub(crate) fn nest(&self) -> &Nest {
        &self.nest
    }

    /// Has the next one who waits recheck the watch at `place`, whose link is `next`.
    #[inline]
    pub(crate) fn list(&self, place: u32, next: &Atomic<u32>) {
        self.recheck_list.push(place, next);
    }

    /// Has those that are listed rechecked by a thread of the program: by one that sleeps, else by
    /// whoever polls, else by the next one that waits. A program that is busy sees a flag in the
    /// ring's header.
    ///
    /// May be called from any context that may take a spinlock.
    pub(crate) fn kick_waiter(&self) {
        self.recheck_wanted.store(true, Relaxed);
        // Pairs with the barrier of a thread that goes to sleep: see `WaitQueue::is_active`.
        smp_mb(Full);
        if let Some(ring) = &self.ring {
            // ORDERING: The watch is on the list. Whoever clears the flag looks at that afterwards.
            ring.set_flag(uapi::KEVENT_RING_RECHECK, true);
        }
        if self.waiters.is_active() && self.waiters.wake_one() {
            return;
        }
        if self.pollers.is_active() {
            self.add_poll_wake(POLL_WAKE_ANY);
            IrqWork::queue(self);
        }
    }

    /// Whether an event that is posted now goes somewhere else than into the backlog, or there is
    /// nothing else.
    pub(crate) fn has_room(&self) -> bool {
        self.ring
            .as_ref()
            .is_none_or(|ring| !self.is_backlogged() && ring.has_free())
    }

    fn add_poll_wake(&self, bits: u32) {
        let mut old = self.poll_wake_mask.load(Relaxed);
        while let Err(now) = self.poll_wake_mask.cmpxchg(old, old | bits, Full) {
            old = now;
        }
    }

    /// Rechecks those that are listed; not all of them if the program has the `nr` events from
    /// `seen` on that it wants.
    pub(crate) fn recheck(&self, rechecker: Rechecker, seen: Option<u32>, nr: u32) {
        // ORDERING: What is listed from here on asks again.
        let all = self.recheck_wanted.xchg(false, Full);
        if let Some(ring) = &self.ring {
            ring.set_flag(uapi::KEVENT_RING_RECHECK, false);
        }
        if self.recheck_list.is_empty() {
            return;
        }
        let mut walk = Walk::new(all);
        let mut batch = Batch::new();
        loop {
            let mut next = Batch::new();
            {
                let mut table = self.watches.lock_nested(rechecker.depth);
                table.polled(&batch);
                let enough = || self.has(seen, nr);
                table.recheck(self, rechecker, &mut walk, &mut next, enough);
            }
            // What is dropped here may be the last reference, to a file for instance.
            batch = next;
            if batch.is_empty() {
                break;
            }
            batch.poll(rechecker);
        }
    }

    /// Whether there are events, as a mask of `EPOLL*` bits.
    pub(crate) fn readiness(&self, rechecker: Rechecker) -> u32 {
        self.flush_whole_backlog();
        self.recheck(rechecker, None, 1);
        if self.has(None, 1) || self.is_backlogged() {
            READABLE
        } else {
            0
        }
    }

    /// A waker has given `key`, of which those who poll the queue have to know something.
    #[inline(always)]
    pub(crate) fn note_waker(&self, key: u32) {
        if key & kernel::bindings::EPOLL_URING_WAKE != 0 {
            self.add_poll_wake(kernel::bindings::EPOLL_URING_WAKE);
        }
    }

    /// Returns those who poll the queue. Not to be called with locks held.
    pub(crate) fn wake_pollers(&self) {
        let poll_wake_mask = self.poll_wake_mask.xchg(0, Full);
        let key = if poll_wake_mask & POLL_WAKE_ANY != 0 {
            0
        } else {
            READABLE
        };
        self.pollers.notify(key | (poll_wake_mask & !POLL_WAKE_ANY));
    }

    /// Makes room in the backlog for that many more watches and posts.
    fn reserve(&self, watches: usize, posts: usize) -> Result {
        loop {
            let need = {
                let mut backlog = self.backlog.lock();
                if backlog.has_room(watches, posts) {
                    backlog.watches = backlog.watches.saturating_add(watches);
                    return Ok(());
                }
                let have = backlog.fifo.capacity();
                let more = if have < DOUBLING_LIMIT {
                    have
                } else {
                    have / 2
                };
                have.saturating_add(more.max(watches).max(8))
            };
            let larger = Buffer::new(need, GFP_KERNEL_ACCOUNT)?;
            let smaller = self.backlog.lock().fifo.grow(larger);
            drop(smaller);
        }
    }

    /// Makes room for so many watches. Every watch has to have a place before it can fire.
    pub(crate) fn reserve_watches(&self, nr: usize) -> Result {
        self.reserve(nr, 0)
    }

    /// Makes room for a completion that is yet to come, see [`Queue::post_reserved`].
    pub(crate) fn reserve_completion(&self) -> Result {
        if self.backlog.lock().posts >= MAX_DEFERRED {
            return Err(EAGAIN);
        }
        self.reserve(1, 0)
    }

    /// Gives up the room of watches that were not made.
    pub(crate) fn unreserve_watches(&self, nr: usize) {
        let mut backlog = self.backlog.lock();
        backlog.watches = backlog.watches.saturating_sub(nr);
    }

    /// A watch was removed and its source is detached. If it waits in the backlog it is passed over
    /// there, and keeps its place until then.
    ///
    /// When this returns, nobody is moving it into the ring.
    pub(crate) fn skip_watch(&self, watch: &Watch) {
        let mut backlog = self.backlog.lock();
        if watch.set_skip() {
            backlog.removed = backlog.removed.saturating_add(1);
        } else {
            backlog.watches = backlog.watches.saturating_sub(1);
        }
        if backlog.removed > REMOVED_BATCH && backlog.removed > backlog.fifo.len() / 2 {
            backlog.compact();
        }
        let wake_for = self.flush_some(&mut backlog);
        drop(backlog);
        self.wake_for(wake_for);
    }

    /// Does something while nobody moves a watch out of the backlog.
    pub(crate) fn while_nobody_moves<T>(&self, f: impl FnOnce() -> T) -> T {
        let _backlog = self.backlog.lock();
        f()
    }

    /// Takes watches that were removed out of the backlog.
    pub(crate) fn compact(&self) {
        self.backlog.lock().compact();
    }

    /// Puts a watch into the backlog.
    ///
    /// Returns what [`Queue::wake`] does.
    pub(crate) fn defer_watch(&self, watch: Arc<Watch>) -> bool {
        self.deferred.fetch_add(1, Relaxed);
        trace::defer(self, &watch);
        let (left, wake_for) = {
            let mut backlog = self.backlog.lock();
            let left = backlog.fifo.push_back(Pending::Watch(watch));
            (left, self.after_append(&mut backlog))
        };
        debug_assert!(left.is_ok());
        self.wake_after_append(wake_for)
    }

    /// Whether the queue may use that class of sources.
    pub(crate) fn allows(&self, class: u32) -> bool {
        self.sources & (1 << class) != 0
    }

    /// Posts an event if there is a free slot and nothing waits for it already.
    pub(crate) fn post(&self, event: &Event) -> Result<(), NoRoom> {
        if self.backlogged.load(Relaxed) != 0 {
            self.flush_backlog();
            if self.backlogged.load(Relaxed) != 0 {
                return Err(NoRoom);
            }
        }
        self.publish(event)?;
        // Somebody may have found the slot claimed, but not published yet, and have put an event
        // into the backlog that fits into the ring now.
        self.flush_backlog();
        Ok(())
    }

    /// Posts an event that can wait for a free slot.
    pub(crate) fn post_deferred(&self, event: &Event) -> Result {
        let boxed = KBox::new(*event, GFP_KERNEL_ACCOUNT)?;
        let (waits, wake_for) = loop {
            self.reserve(0, 1)?;
            let mut backlog = self.backlog.lock();
            if backlog.posts >= MAX_DEFERRED {
                return Err(EAGAIN);
            }
            if !backlog.has_room(0, 1) {
                // Somebody else has taken the room.
                continue;
            }
            backlog.posts = backlog.posts.wrapping_add(1);
            let left = backlog.fifo.push_back(Pending::Post(boxed));
            debug_assert!(left.is_ok());
            let wake_for = self.after_append(&mut backlog);
            let waits = backlog.fifo.len() != 0;
            if waits {
                trace::defer_post(self, event);
            }
            break (waits, wake_for);
        };
        if waits {
            self.deferred.fetch_add(1, Relaxed);
        }
        self.wake_after_append(wake_for);
        Ok(())
    }

    /// Posts an event that has a place in the backlog already, see [`Queue::reserve_completion`].
    ///
    /// May be called from any context that may take a spinlock.
    pub(crate) fn post_reserved(&self, event: KBox<Event>) {
        if !self.is_backlogged() && self.publish(&event).is_ok() {
            self.unreserve_watches(1);
            self.flush_backlog();
            return;
        }
        self.deferred.fetch_add(1, Relaxed);
        trace::defer_post(self, &event);
        let wake_for = {
            let mut backlog = self.backlog.lock();
            // The place is the same, it is counted with the posts now.
            backlog.watches = backlog.watches.saturating_sub(1);
            backlog.posts = backlog.posts.saturating_add(1);
            let left = backlog.fifo.push_back(Pending::Post(event));
            debug_assert!(left.is_ok());
            self.after_append(&mut backlog)
        };
        self.wake_after_append(wake_for);
    }

    /// Drops a reference, in any context that may take a spinlock.
    pub(crate) fn put(this: Arc<Self>) {
        if let Some(last) = Arc::into_unique_or_drop(this) {
            // What is left to do may sleep. The work has no reference, so it is not enqueued.
            let _ = workqueue::system_dfl().enqueue(Arc::from(last));
        }
    }

    /// Makes an entry in the ring, and reports that there is one.
    fn publish(&self, event: &Event) -> Result<(), NoRoom> {
        self.publish_silently(event)?;
        self.wake();
        Ok(())
    }

    /// Makes an entry in the ring.
    fn publish_silently(&self, event: &Event) -> Result<(), NoRoom> {
        let ring = self.ring.as_ref().ok_or(NoRoom)?;
        let index = ring.publish(event).ok_or(NoRoom)?;
        trace::post(self, index, event);
        Ok(())
    }

    /// There is an entry more of which nobody is reported yet. To be called with the backlog's
    /// lock.
    pub(crate) fn count_unwoken(&self) {
        self.pending.fetch_add(1, Relaxed);
    }

    /// Returns one thread that sleeps, and those who poll, that there is an event.
    ///
    /// What was published is visible before this looks who sleeps: [`Ring::publish`] and the
    /// backlog's lock see to that.
    ///
    /// Returns whether a thread was woken that has all the events it waits for.
    #[inline(always)]
    pub(crate) fn wake(&self) -> bool {
        if self.waiters.is_active() || self.pollers.is_active() {
            self.wake_slowly()
        } else {
            trace::skip_wake(self);
            false
        }
    }

    /// [`Queue::wake`] if there is somebody to wake.
    #[inline(never)]
    fn wake_slowly(&self) -> bool {
        // Whoever is to recheck is woken for less.
        let is_enough = !self.recheck_wanted.load(Relaxed);
        let woken = self.wake_one();
        if self.pollers.is_active() {
            IrqWork::queue(self);
        }
        woken && is_enough && !self.recheck_wanted.load(Relaxed)
    }

    /// Returns one thread that sleeps that there is an event. Returns whether there is one for
    /// which that is enough.
    fn wake_one(&self) -> bool {
        let woken = self.waiters.is_active() && self.waiters.wake_one();
        if woken {
            self.woken.fetch_add(1, Relaxed);
            trace::wake(self);
        } else {
            trace::skip_wake(self);
        }
        woken
    }

    /// Reports what was moved into the ring. To be called without the backlog's lock.
    fn wake_for(&self, wake_for: Flushed) {
        // All can be seen already: who is not woken now needs more than that.
        let _ = (0..wake_for.entries).all(|_| self.wake_one());
        if wake_for.more || (wake_for.entries != 0 && self.pollers.is_active()) {
            IrqWork::queue(self);
        }
    }

    /// Reports what was put into the backlog, and moved out of it. To be called without its lock.
    fn wake_after_append(&self, wake_for: Flushed) -> bool {
        self.wake_for(wake_for);
        if self.ring.is_none() {
            return self.wake();
        }
        if self.is_backlogged() && self.pollers.is_active() {
            // What waits makes the queue readable too.
            IrqWork::queue(self);
        }
        false
    }

    /// Moves what waits into free slots, if there is one: an event was added to what waits.
    #[cold]
    pub(crate) fn flush_if_free(&self) {
        if self.ring.as_ref().is_some_and(Ring::has_free) {
            self.flush_backlog();
        }
    }

    /// Moves what waits into free slots, in any context: if that is much, the bell moves the rest.
    #[inline(always)]
    pub(crate) fn flush_backlog(&self) {
        if self.is_backlogged() {
            self.flush_backlog_slowly();
        }
    }

    #[cold]
    fn flush_backlog_slowly(&self) {
        let wake_for = self.flush_some(&mut self.backlog.lock());
        self.wake_for(wake_for);
    }

    /// Moves all that waits into free slots, as far as there are any. Not to be called with locks
    /// held.
    pub(crate) fn flush_whole_backlog(&self) {
        while self.is_backlogged() {
            let wake_for = self.flush_some(&mut self.backlog.lock());
            let more = wake_for.more;
            self.wake_for(Flushed {
                more: false,
                ..wake_for
            });
            if !more {
                break;
            }
        }
    }

    /// Moves what waits into free slots, at most [`FLUSH_BATCH`]. For the caller to hand to
    /// [`Queue::wake_for`].
    fn flush_some(&self, backlog: &mut Backlog) -> Flushed {
        let mut nr = 0usize;
        if let Some(ring) = &self.ring {
            while nr < FLUSH_BATCH {
                let Some(front) = backlog.fifo.pop_front() else {
                    break;
                };
                let wake_for = match &front {
                    Pending::Post(event) => self.publish_silently(event).is_ok_and(|()| {
                        self.count_unwoken();
                        true
                    }),
                    Pending::Watch(watch) if watch.skip_if_removed() => {
                        backlog.leave(1);
                        true
                    }
                    Pending::Watch(watch) => move_into_ring(watch.as_arc_borrow()),
                };
                if !wake_for {
                    let left = backlog.fifo.push_front(front);
                    debug_assert!(left.is_ok());
                    break;
                }
                if let Pending::Post(_) = front {
                    backlog.posts = backlog.posts.wrapping_sub(1);
                }
                nr = nr.saturating_add(1);
            }
            ring.set_flag(uapi::KEVENT_RING_BACKLOG, backlog.waiting() != 0);
        }
        self.show_backlog(backlog);
        let entries = self.pending.xchg(0, Relaxed);
        Flushed {
            entries,
            // One watch may have been too much.
            more: nr == FLUSH_BATCH || entries as usize >= FLUSH_BATCH,
        }
    }

    fn show_backlog(&self, backlog: &Backlog) {
        let len = u32::try_from(backlog.waiting()).unwrap_or(u32::MAX);
        self.backlogged.store(len, Relaxed);
    }

    /// What there is for a program that has seen all before `seen`, or before the cursor.
    pub(crate) fn available(&self, seen: Option<u32>) -> u32 {
        match &self.ring {
            Some(ring) => ring.available(seen),
            None => self.backlogged.load(Relaxed),
        }
    }

    /// Whether there are at least `nr`, see [`Queue::available`].
    pub(crate) fn has(&self, seen: Option<u32>, nr: u32) -> bool {
        match &self.ring {
            Some(ring) => ring.has(seen, nr),
            None => self.backlogged.load(Relaxed) >= nr,
        }
    }

    /// Takes the next event on behalf of a program and hands it to `deliver`; returns whether there
    /// was one. If that fails the event stays where it was.
    ///
    /// If the event changes while it is delivered, it is delivered once more, instead. `spare` is
    /// [`Queue::consumer`]'s.
    pub(crate) fn take(
        &self,
        spare: &mut Spare,
        mut deliver: impl FnMut(&Event) -> Result,
    ) -> Result<bool> {
        let Some(ring) = &self.ring else {
            return self.take_backlog(spare, deliver);
        };
        for _ in 0..MAX_TRIES {
            let first = ring.first().or_else(|| {
                self.flush_backlog();
                ring.first()
            });
            let Some(first) = first else {
                return Ok(false);
            };
            // Whoever is woken for the event in place of this thread may be luckier.
            deliver(&first.event).inspect_err(|_| {
                self.wake();
            })?;
            // If this fails, somebody else has it, or it was cancelled.
            if let Some(taken) = ring.take(&first) {
                if taken.event != first.event {
                    // It fits where it was copied to a moment ago, unless the program has taken
                    // that memory away, and the event with it.
                    let _ = deliver(&taken.event);
                }
                ring.release(&taken);
                trace::consume(self, &taken.event);
                self.flush_backlog();
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn take_backlog(
        &self,
        spare: &mut Spare,
        deliver: impl FnOnce(&Event) -> Result,
    ) -> Result<bool> {
        if spare.is_none() {
            *spare = Some(KBox::new(Event::default(), GFP_KERNEL_ACCOUNT)?);
        }
        let Some((event, front)) = self.pop_backlog() else {
            return Ok(false);
        };
        let result = deliver(&event);
        if result.is_ok() {
            trace::consume(self, &event);
            return Ok(true);
        }
        // The watch may be removed meanwhile, but not while this looks and puts it back.
        let table = self.watches.lock();
        match front {
            Pending::Post(event) => self.put_back(Pending::Post(event)),
            Pending::Watch(watch) if watch.has_completions() && table.has(&watch) => {
                self.put_back_event(spare, event);
            }
            Pending::Watch(watch) if table.has(&watch) => {
                if unconsume(&watch, &event) {
                    self.put_back(Pending::Watch(watch));
                }
            }
            Pending::Watch(watch) if watch.reported_last(&event) => {
                self.put_back_event(spare, event)
            }
            // The program removed it, and is not to see it any more.
            Pending::Watch(_) => {}
        }
        drop(table);
        self.wake();
        result.map(|()| true)
    }

    /// Puts an event at the front of the backlog that cannot go back where it was, using up
    /// `spare`.
    fn put_back_event(&self, spare: &mut Spare, event: Event) {
        debug_assert!(spare.is_some());
        if let Some(mut memory) = spare.take() {
            *memory = event;
            self.put_back(Pending::Post(memory));
        }
    }

    /// Takes the first event out of the backlog, and what it came from.
    fn pop_backlog(&self) -> Option<(Event, Pending)> {
        let mut backlog = self.backlog.lock();
        let mut popped = None;
        let mut again = false;
        while let Some(front) = backlog.fifo.pop_front() {
            let (event, more) = match &front {
                Pending::Post(event) => {
                    backlog.posts = backlog.posts.wrapping_sub(1);
                    (Some(**event), false)
                }
                Pending::Watch(watch) if watch.skip_if_removed() => {
                    backlog.leave(1);
                    (None, false)
                }
                Pending::Watch(watch) => take_deferred(watch.as_arc_borrow()),
            };
            if let (true, Pending::Watch(watch)) = (more, &front) {
                let left = backlog.fifo.push_back(Pending::Watch(watch.clone()));
                debug_assert!(left.is_ok());
                again = true;
            }
            if let Some(event) = event {
                popped = Some((event, front));
                break;
            }
        }
        self.show_backlog(&backlog);
        drop(backlog);
        if again {
            // That is one event more, which has not woken anybody.
            self.wake();
        }
        popped
    }

    /// Puts something at the front of the backlog, where there is a place for it, see
    /// [`Queue::new`].
    fn put_back(&self, front: Pending) {
        let mut backlog = self.backlog.lock();
        if let Pending::Post(_) = front {
            backlog.posts = backlog.posts.wrapping_add(1);
        }
        let left = backlog.fifo.push_front(front);
        debug_assert!(left.is_ok());
        let wake_for = self.after_append(&mut backlog);
        drop(backlog);
        self.wake_after_append(wake_for);
    }

    /// Moves what can be moved after something was put into the backlog: slots may have been freed,
    /// or published, since the caller looked, and whoever did may be asleep or gone by now.
    fn after_append(&self, backlog: &mut Backlog) -> Flushed {
        self.show_backlog(backlog);
        // Pairs with the full barrier at the end of `Ring::publish`.
        smp_mb(Full);
        self.flush_some(backlog)
    }

    /// Shows the program the counters.
    pub(crate) fn show_counters(&self) {
        if let Some(ring) = &self.ring {
            ring.set_counters(
                self.merged.load(Relaxed),
                self.deferred.load(Relaxed),
                self.woken.load(Relaxed),
            );
        }
    }
}

#[pinned_drop]
impl PinnedDrop for Queue {
    fn drop(self: Pin<&mut Self>) {
        self.poll_wake_work.sync();
    }
}

impl_has_work! {
    impl HasWork<Self> for Queue { self.last_put }
}

impl WorkItem for Queue {
    type Pointer = Arc<Self>;

    fn run(this: Arc<Self>) {
        // See `Queue::put`: this is the last reference.
        drop(this);
    }
}

#[vtable]
impl FileOperations for Queue {
    type Ptr = Arc<Self>;

    fn release(this: Arc<Self>) {
        // The watches have references to the queue.
        this.watches.lock().clear(&this);
    }

    fn poll<'a>(this: ArcBorrow<'a, Self>, poller: Poller<'a>) -> u32 {
        let this = this.into_ref();
        poller.register(&this.pollers);
        this.readiness(Rechecker::POLLER)
    }

    fn mmap_prepare<'a>(this: ArcBorrow<'a, Self>, desc: &mut VmaDesc<'a>) -> Result {
        let this = this.into_ref();
        let ring = this.ring.as_ref().ok_or(EINVAL)?;
        if !desc.is_shared() || desc.is_executable() || desc.pgoff() != 0 {
            return Err(EINVAL);
        }
        desc.forbid_exec();
        desc.set_dontcopy();
        desc.set_dontexpand();
        desc.map_pages(ring.pages())
    }

    fn show_fdinfo(this: ArcBorrow<'_, Self>, m: &SeqFile, _file: &File) {
        let ring = this.ring.as_ref();
        seq_print!(m, "id:\t{}\n", this.id);
        seq_print!(m, "entries:\t{}\n", ring.map_or(0, Ring::entries));
        let size = ring.map_or(0, |r| r.pages().size());
        seq_print!(m, "mmap_size:\t{}\n", size);
        let offset = ring.map_or(0, |_| Ring::entries_offset());
        seq_print!(m, "entries_offset:\t{}\n", offset);
        seq_print!(m, "posted:\t{}\n", ring.map_or(0, Ring::posted));
        seq_print!(m, "merged:\t{}\n", this.merged.load(Relaxed));
        seq_print!(m, "deferred:\t{}\n", this.deferred.load(Relaxed));
        let woken = this.woken.load(Relaxed);
        seq_print!(m, "woken:\t{}\n", woken);
        let posted = ring.map_or(0, Ring::posted);
        seq_print!(m, "saved:\t{}\n", posted.saturating_sub(woken));
        seq_print!(m, "backlog:\t{}\n", this.backlogged.load(Relaxed));
        seq_print!(m, "waiters:\t{}\n", this.sleepers.load(Relaxed));
        // If the buffer is full it is grown, and all of this is done again.
        let mut next = Some(0u32);
        while let Some(first) = next.filter(|_| !m.has_overflowed()) {
            next = this.show_watches(m, first);
        }
    }
}

impl Queue {
    /// Shows some of the watches from that slot on; which one is next. Others may add and remove
    /// watches then.
    fn show_watches(&self, m: &SeqFile, first: u32) -> Option<u32> {
        let table = self.watches.lock();
        for (nr, (handle, watch)) in table.iter_from(first).enumerate() {
            if nr >= SHOWN_AT_ONCE {
                // CAST: The low half is the slot.
                return Some(handle as u32);
            }
            seq_print!(
                m,
                "watch: handle:{:016x} source:{} flags:{:x} ident:{}",
                handle,
                watch.class(),
                watch.flags(),
                watch.source().ident(),
            );
            seq_print!(
                m,
                " events:{:x} user_data:{:x} state:{}\n",
                watch.interest(),
                watch.user_data(),
                watch.describe(),
            );
            if m.has_overflowed() {
                return None;
            }
        }
        None
    }
}

#[cfg(CONFIG_KEVENT_KUNIT_TEST)]
#[kunit_tests(kevent_queue)]
mod tests {
    use super::*;

    fn event(n: u64) -> Event {
        Event(uapi::kevent_event {
            user_data: n,
            info: uapi::KEVENT_SOURCE_USER,
            ..Event::default().0
        })
    }

    fn defer(queue: &Queue, n: u64) -> Result {
        queue.post_deferred(&event(n))
    }

    /// Takes an event as `kevent_get_events()` does; 0 if there is none.
    fn take(queue: &Queue) -> u64 {
        let mut n = 0;
        let taken = queue.take(&mut queue.consumer().lock(), |event| {
            n = event.0.user_data;
            Ok(())
        });
        assert_eq!(taken, Ok(n != 0));
        n
    }

    #[test]
    fn entries_are_rounded_up() -> Result {
        for (wanted, granted) in [(1, 2), (2, 2), (3, 4), (65535, 65536)] {
            let queue = Queue::new(wanted, 0)?;
            assert_eq!(queue.ring().map(Ring::entries), Some(granted));
        }
        assert!(Queue::new(0, 0)?.ring().is_none());
        assert_eq!(Queue::new(65537, 0).err(), Some(EINVAL));
        assert_eq!(Queue::new(u32::MAX, 0).err(), Some(EINVAL));
        Ok(())
    }

    #[test]
    fn seal_knows_this_kernel() -> Result {
        assert!(Queue::new(2, 0)?.allows(uapi::KEVENT_SOURCE_USER));
        // There is no such class.
        assert!(!Queue::new(2, 0)?.allows(0));
        assert_eq!(Queue::new(2, 1 << 63).err(), Some(ENOSYS));
        Ok(())
    }

    #[test]
    fn full_ring_refuses_and_defers_in_order() -> Result {
        let queue = Queue::new(2, 0)?;
        assert!(queue.post(&event(1)).is_ok() && queue.post(&event(2)).is_ok());
        assert_eq!(queue.post(&event(9)), Err(NoRoom));
        for n in 3..=10 {
            assert!(defer(&queue, n).is_ok());
        }
        assert_eq!(queue.backlogged.load(Relaxed), 8);
        // What waits comes first, so nothing new gets in before it.
        assert_eq!(take(&queue), 1);
        assert_eq!(queue.post(&event(9)), Err(NoRoom));
        for n in 2..=10 {
            assert_eq!(take(&queue), n);
        }
        assert_eq!(take(&queue), 0);
        assert_eq!(queue.backlogged.load(Relaxed), 0);
        assert_eq!(queue.deferred.load(Relaxed), 8);
        Ok(())
    }

    #[test]
    fn deferred_goes_straight_into_a_free_slot() -> Result {
        let queue = Queue::new(2, 0)?;
        assert!(defer(&queue, 1).is_ok());
        assert_eq!(queue.backlogged.load(Relaxed), 0);
        assert!(queue.has(Some(0), 1));
        assert_eq!(take(&queue), 1);
        Ok(())
    }

    #[test]
    fn without_a_ring_the_backlog_is_the_queue() -> Result {
        let queue = Queue::new(0, 0)?;
        assert_eq!(queue.post(&event(1)), Err(NoRoom));
        assert!(defer(&queue, 1).is_ok() && defer(&queue, 2).is_ok());
        assert!(queue.has(None, 2) && !queue.has(None, 3));
        assert_eq!(queue.available(None), 2);
        assert_eq!((take(&queue), take(&queue), take(&queue)), (1, 2, 0));
        Ok(())
    }

    #[test]
    fn event_that_cannot_be_delivered_stays_first() -> Result {
        for entries in [0, 4] {
            let queue = Queue::new(entries, 0)?;
            assert!(defer(&queue, 1).is_ok() && defer(&queue, 2).is_ok());
            let failed = queue.take(&mut queue.consumer().lock(), |_| Err(EFAULT));
            assert_eq!(failed, Err(EFAULT));
            assert!(queue.has(None, 2));
            assert!(defer(&queue, 3).is_ok());
            assert_eq!((take(&queue), take(&queue), take(&queue)), (1, 2, 3));
        }
        Ok(())
    }

    #[test]
    fn deferred_posts_are_limited() -> Result {
        let queue = Queue::new(0, 0)?;
        for n in 0..MAX_DEFERRED {
            assert!(defer(&queue, n as u64).is_ok());
        }
        assert_eq!(defer(&queue, 1), Err(EAGAIN));
        Ok(())
    }
}
