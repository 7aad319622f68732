// SPDX-License-Identifier: GPL-2.0-only

//! The queue: a ring, the backlog behind it, and the threads that wait for it.

use core::cell::Cell;

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
    new_poll_queue,
    new_spinlock_irq,
    new_wait_queue,
    page::PAGE_SIZE,
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
        lock::spinlock::{
            SpinLockIrq,
            SpinLockIrqGuard, //
        },
        wait::{
            Answer,
            PollQueue,
            WaitQueue,
            Wake,
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
            Ring,
            TakenPlain, //
        }, //
    },
    engine::{
        level::{
            State,
            Tested,
            Verdict, //
        },
        nest::Nest,
        post::Post,
        table::{
            Batch,
            Table,
            Walk, //
        },
        triggers::Triggers,
        watch::{
            Rechecker,
            Watch, //
        }, //
    },
    source,
    sys::{
        limits::{
            resched,
            Holder,
            QueueCharge,
            QueueCount,
            WatchAccount, //
        },
        owner::Owner, //
    },
    trace, //
};

/// How many deferred posts a queue may have: what a program posts, or has done for it, faster than
/// it takes. And as many of other programs. Each counts as a watch of the user who posted it.
const MAX_DEFERRED: usize = 65536;

/// What waits for a free slot.
pub(crate) enum Pending {
    /// An event that was posted.
    Post(KBox<Post>),
    /// A watch that has something to report.
    Watch(Arc<Watch>),
}

/// Memory for an event that was taken for a program out of a queue without a ring, could not be
/// copied to it, and cannot be put back where it was.
pub(crate) type Spare = Option<KBox<Post>>;

/// What found no free slot, oldest first.
///
/// # Invariants
///
/// There is room for every watch, the posts that are in it, and each completion.
struct Backlog {
    fifo: Fifo<Pending>,
    /// How many of them are posts, and how many completions are yet to come.
    posts: usize,
    /// And how many of those are not the owner's.
    foreign: usize,
    /// How many of them are watches that were removed since, or have left their place.
    removed: usize,
    /// How many watches the queue has, and of those removed are still here.
    watches: usize,
}

impl Backlog {
    /// Goes on taking out watches that were removed, up to [`COMPACT_BATCH`] places further.
    /// Returns whether that is to be gone on with.
    fn compact_some(&mut self) -> bool {
        if self.removed == 0 && !self.fifo.is_in_pass() {
            return false;
        }
        let mut left = 0usize;
        let more = self.fifo.take_out(COMPACT_BATCH, |pending| match pending {
            Pending::Watch(watch) if watch.pass_over() => {
                left = left.wrapping_add(1);
                false
            }
            _ => true,
        });
        self.leave(left);
        more
    }

    /// Whether so many watches that were removed are in it that they are to be taken out.
    fn is_littered(&self) -> bool {
        self.removed > REMOVED_BATCH && self.removed > self.fifo.len() / 2
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

    /// Whether there may be one post more, of the owner or of others.
    fn may_post(&self, foreign: bool) -> bool {
        let posts = if foreign {
            self.foreign
        } else {
            self.posts.saturating_sub(self.foreign)
        };
        posts < MAX_DEFERRED
    }

    /// A post is put in.
    fn count_post(&mut self, post: &Post) {
        self.posts = self.posts.saturating_add(1);
        if post.is_foreign() {
            self.foreign = self.foreign.saturating_add(1);
        }
    }

    /// A post has come out.
    fn uncount_post(&mut self, post: &Post) {
        self.posts = self.posts.saturating_sub(1);
        if post.is_foreign() {
            self.foreign = self.foreign.saturating_sub(1);
        }
    }

    /// How many places are needed, whatever waits.
    fn need(&self) -> usize {
        self.watches.saturating_add(self.posts)
    }

    /// Whether there is room for that many more watches and posts, whatever else waits.
    fn has_room(&self, watches: usize, posts: usize) -> bool {
        let need = self.need().saturating_add(self.fifo.gap());
        need.saturating_add(watches).saturating_add(posts) <= self.fifo.capacity()
    }

    /// See [`Fifo::excess`].
    fn excess(&self) -> Option<usize> {
        self.fifo.excess(self.need())
    }
}

/// What became of the next event, for a consumer in the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Take {
    /// It was delivered.
    Delivered,
    /// The same, and it reports a level, which may hold still.
    DeliveredLevel,
    /// It was taken, and reports nothing that holds.
    Dropped,
    /// It reports a level, which is to be tested first.
    Untested,
    /// There is none.
    Nothing,
}

impl Take {
    /// The event of a level was taken, of which something `holds` or not.
    fn taken(holds: bool) -> Self {
        if holds {
            Take::DeliveredLevel
        } else {
            Take::Dropped
        }
    }
}

/// The first event of a queue without a ring.
enum Popped {
    /// It, what it came from, and if it reports a level, what holds of that.
    Event(Event, Pending, Option<State>),
    /// It reports a level, which is to be tested first.
    Untested,
    /// There is none.
    Nothing,
}

/// What was moved out of the backlog, for which no thread was woken yet.
#[must_use]
struct Flushed {
    /// How many entries the ring has got.
    entries: u32,
    /// There may be more to move.
    more: bool,
}

/// How often to try again to take an event, where other consumers may be faster.
const MAX_TRIES: u32 = 16;

/// How much a task moves out of the backlog at a time, with interrupts disabled.
pub(crate) const FLUSH_BATCH: usize = 64;

/// How much who adds to the backlog moves, and the irq_work after that: more than is added, so that
/// the backlog becomes empty as long as events come. It is little, because one wake-up may fire
/// watches in more than a thousand queues, at the expense of the waker.
const WAKER_BATCH: usize = 4;

/// In how many places of the backlog watches that were removed are looked for at a time, with
/// interrupts disabled.
const COMPACT_BATCH: usize = 256;

/// So many watches that were removed may stay in the backlog.
const REMOVED_BATCH: usize = 64;

/// So many watches are shown in fdinfo at most: it may be another program that reads it, and the
/// mutex is held.
const MAX_SHOWN: usize = 64;

/// How long the rest of fdinfo is at least, and the line of a watch.
const SHOWN_HEADER: usize = 200;
const SHOWN_LINE: usize = 86;

/// So many posts are dropped before others may run.
const DROPPED_AT_ONCE: usize = 1024;

/// In `Queue::poll_wake_mask`: pollers have to find out for themselves what there is.
const POLL_WAKE_ANY: u32 = 1 << 31;

/// In `Queue::listeners`: the queue's file was polled. That stays: who polls it once, polls it
/// again, and an epoll instance leaves its entry there.
const POLLED: u32 = 1 << 31;

/// What is ready when the queue has events.
const READABLE: u32 = kernel::bindings::POLLIN | kernel::bindings::POLLRDNORM;

/// And when it has ended.
const ENDED: u32 = kernel::bindings::POLLHUP;

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
    _charge: QueueCharge,
    _count: QueueCount,
    /// On whose account watches of one object are counted. Its number is one that no other queue
    /// has, until the next boot.
    holder: Holder,
    /// The classes that this queue may use, as in the argument `sources` of `kevent_create()`.
    sources: u64,

    /// Whose it is.
    #[pin]
    pub(crate) owner: Owner,
    /// The owner has gone. Written with the backlog's lock held.
    ended: Atomic<bool>,

    /// Taken by consumers that are in the kernel, one at a time.
    #[pin]
    consumer: Mutex<Spare>,
    /// The watches, by handle.
    #[pin]
    watches: Mutex<Table>,
    /// Those that the program triggers, which does not take that mutex.
    #[pin]
    triggers: Triggers,
    /// The watches that the next task which waits has to recheck.
    recheck_list: RecheckList,
    /// One of them cannot wait for that.
    recheck_wanted: Atomic<bool>,
    /// A level was taken, or much waits in the backlog: one more thread that sleeps is to look.
    look_wanted: Atomic<bool>,
    /// For so many events not all threads that sleep were asked: one of them is to ask the others.
    unasked: Atomic<u32>,
    /// Clears the table if the last reference goes where that cannot be done.
    #[pin]
    last_put: Work<Queue>,
    /// The queues that this one watches, and that watch this one.
    nest: Nest,
    #[pin]
    backlog: SpinLockIrq<Backlog>,
    /// The length of the backlog, to be looked at without the lock. Written with the lock held.
    backlogged: Atomic<u32>,
    /// It has much more memory than it needs. The same.
    has_excess: Atomic<bool>,

    /// Threads in `kevent_wait()` and `kevent_get_events()`.
    #[pin]
    waiters: WaitQueue,
    /// How many there are, and [`POLLED`].
    listeners: Atomic<u32>,
    /// The pollers of the queue's file.
    #[pin]
    pollers: PollQueue,
    /// Wakes them, when no lock is held.
    #[pin]
    pub(crate) poll_wake_work: IrqWork<Queue>,
    /// `EPOLL*` bits to wake them with, beside those of a readable queue.
    poll_wake_mask: Atomic<u32>,

    merged: Atomic<u64>,
    deferred: Atomic<u64>,
    /// Entries that were moved out of the backlog, and for which no thread was woken yet. Protected
    /// by its lock.
    pending: Atomic<u32>,
    woken: Atomic<u64>,
}

impl Queue {
    /// Makes a queue of the current task, with a ring of `entries` slots, none if that is 0.
    pub(crate) fn new(entries: u32, sources: u64, shared: bool) -> Result<Arc<Self>> {
        let (ring, charge) = if entries == 0 {
            (None, QueueCharge::new(PAGE_SIZE)?)
        } else if entries > uapi::KEVENT_MAX_ENTRIES {
            return Err(EINVAL);
        } else {
            let entries = entries
                .max(uapi::KEVENT_MIN_ENTRIES)
                .checked_next_power_of_two()
                .ok_or(EINVAL)?;
            let charge = QueueCharge::new(Ring::size_for(entries))?;
            (Some(Ring::new(entries)?), charge)
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
                holder: Holder::new(NEXT_ID.fetch_add(1, Relaxed)),
                sources,
                owner <- Owner::current(shared),
                ended: Atomic::new(false),
                consumer <- new_mutex!(None),
                watches <- new_mutex!(Table::new(account)),
                triggers <- Triggers::new(),
                recheck_list: RecheckList::new(),
                recheck_wanted: Atomic::new(false),
                look_wanted: Atomic::new(false),
                unasked: Atomic::new(0),
                last_put <- new_work!("kevent_put"),
                nest: Nest::new(),
                backlog <- new_spinlock_irq!(Backlog {
                    fifo: Fifo::new(),
                    posts: 0,
                    foreign: 0,
                    removed: 0,
                    watches: 0,
                }),
                backlogged: Atomic::new(0),
                has_excess: Atomic::new(false),
                waiters <- new_wait_queue!(),
                listeners: Atomic::new(0),
                pollers <- new_poll_queue!(),
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
        self.holder.queue()
    }

    pub(crate) fn holder(&self) -> &Holder {
        &self.holder
    }

    /// How many threads wait.
    pub(crate) fn sleepers(&self) -> u32 {
        self.listeners.load(Relaxed) & !POLLED
    }

    #[inline(always)]
    pub(crate) fn ring(&self) -> Option<&Ring> {
        self.ring.as_ref()
    }

    /// Sleeps until there are `nr` events from `seen` on, or from the cursor on. Looks at what was
    /// posted and consumed before.
    pub(crate) fn sleep(&self, seen: Option<u32>, nr: u32, deadline: Option<&Deadline>) -> Woken {
        self.listeners.fetch_add(1, Relaxed);
        // Pairs with the barrier in `Ring::publish`, after which `needs_attention` is asked; with
        // that in `after_append`: slots may have been freed just now; and with that in
        // `wake_to_look`: a level may have been taken just now, and hold still.
        smp_mb(Full);
        self.flush_whole_backlog();
        self.recheck(Rechecker::PROGRAM, seen, nr);
        let ready = || {
            let is_asked = self.recheck_wanted.load(Relaxed)
                || self.look_wanted.load(Relaxed)
                || self.unasked.load(Relaxed) != 0;
            match self.has(seen, nr) {
                true => Answer::Yes,
                false if is_asked => Answer::Other,
                false => Answer::No,
            }
        };
        let woken = loop {
            let woken = self.waiters.wait(ready, deadline);
            if !matches!(woken, Woken::Ready | Woken::Late) {
                break woken;
            }
            if self.has(seen, nr) {
                break Woken::Ready;
            }
            // Asked to look, or another thread took the event: a level may hold still, and more may
            // wait in the backlog. Others first, because the look may sleep.
            let all = self.claim_recheck();
            self.claim_look();
            if self.ask_all() && self.waiters.is_active() {
                // While a recheck was requested, this thread was woken for events too, which
                // another one may use.
                self.waiters.wake_one_of_all();
            }
            self.flush_whole_backlog();
            self.recheck_claimed(all, Rechecker::PROGRAM, seen, nr, |_| {});
            if self.has(seen, nr) {
                break Woken::Ready;
            }
            // It may be requested again and again.
            if let Some(over) = WaitQueue::is_over(deadline) {
                break over;
            }
        };
        // What it was to do beside, others first.
        let all = self.claim_recheck();
        self.ask_all();
        if self.look_wanted.load(Relaxed) && self.waiters.is_active() {
            self.waiters.wake_one();
        }
        if all {
            // This thread was woken for the recheck, and no other one is, so it looks at all there
            // is.
            self.recheck_claimed(all, Rechecker::PROGRAM, None, u32::MAX, |_| {});
        }
        self.listeners.fetch_sub(1, Relaxed);
        woken
    }

    /// A level was taken, which may hold still: has one more thread that sleeps look at it. And at
    /// what waits in the backlog.
    pub(crate) fn wake_to_look(&self) {
        // Pairs with the barrier in `sleep`: who counts later sees that the level was taken, and
        // what waits.
        smp_mb(Full);
        if self.sleepers() == 0 {
            return;
        }
        self.look_wanted.store(true, Relaxed);
        // Pairs with the barrier of a thread that goes to sleep: see `WaitQueue::is_active`.
        smp_mb(Full);
        if self.waiters.is_active() {
            self.waiters.wake_one();
        }
    }

    /// Holds off other consumers that are in the kernel.
    pub(crate) fn consumer(&self) -> &Mutex<Spare> {
        &self.consumer
    }

    pub(crate) fn watches(&self) -> &Mutex<Table> {
        &self.watches
    }

    pub(crate) fn triggers(&self) -> &Triggers {
        &self.triggers
    }

    pub(crate) fn count_merge(&self) {
        self.merged.fetch_add(1, Relaxed);
    }

    /// Cancels the entry at that index of the ring. Returns whether it was unconsumed.
    ///
    /// To be called in the context of a task, which must not be changing the entry.
    pub(crate) fn cancel(&self, entry: Index) -> bool {
        self.cancel_by(|ring| ring.cancel(entry)).is_some()
    }

    /// [`Queue::cancel`]. Returns the events of the entry, and what it counts if it does, unless it
    /// was consumed.
    pub(crate) fn withdraw(&self, entry: Index) -> Option<(u32, u64)> {
        let data = Cell::new(0);
        let word = self.cancel_by(|ring| ring.withdraw_with_data(entry, &data))?;
        Some((
            word & uapi::KEVENT_EVENTS_MASK,
            Event::count(data.get(), word),
        ))
    }

    fn cancel_by(&self, cancel: impl Fn(&Ring) -> Merge) -> Option<u32> {
        let ring = self.ring.as_ref()?;
        let cancelled = loop {
            match cancel(ring) {
                Merge::Done(word) => break Some(word),
                Merge::Gone => break None,
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

    /// Has the next task that waits recheck the watch at `place`, whose link is `next`.
    #[inline]
    pub(crate) fn list(&self, place: u32, next: &Atomic<u32>) {
        self.recheck_list.push(place, next);
    }

    /// Has those that are listed rechecked by a thread of the program: by one that sleeps, else by
    /// one that polls, else by the next one that waits. A program that is busy sees a flag in the
    /// ring's header.
    ///
    /// May be called from any context that may take a spinlock.
    pub(crate) fn kick_waiter(&self) {
        self.recheck_wanted.store(true, Relaxed);
        // Pairs with the barrier of a thread that goes to sleep: see `WaitQueue::is_active`.
        smp_mb(Full);
        if let Some(ring) = &self.ring {
            // ORDERING: The watch is on the list. A task that clears the flag looks at that
            // afterwards.
            ring.set_flag(uapi::KEVENT_RING_RECHECK, true);
        }
        if self.waiters.is_active() && self.waiters.wake_one() != Wake::Nobody {
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

    /// The file is polled, by who may be on its wait queue by now.
    fn note_poller(&self) {
        let mut old = self.listeners.load(Relaxed);
        while old & POLLED == 0 {
            // ORDERING: Full, so that who does not see it, has posted what the poller sees.
            match self.listeners.cmpxchg(old, old | POLLED, Full) {
                Ok(_) => return,
                Err(now) => old = now,
            }
        }
    }

    fn add_poll_wake(&self, bits: u32) {
        let mut old = self.poll_wake_mask.load(Relaxed);
        while let Err(now) = self.poll_wake_mask.cmpxchg(old, old | bits, Full) {
            old = now;
        }
    }

    /// Whether a recheck was requested, which the caller does now, of all that are listed.
    fn claim_recheck(&self) -> bool {
        // ORDERING: Full, before the list is looked at: what is listed from here on sets it again.
        self.recheck_wanted.load(Relaxed) && self.recheck_wanted.xchg(false, Full)
    }

    /// The caller looks now, if a look was requested.
    fn claim_look(&self) {
        if self.look_wanted.load(Relaxed) {
            // ORDERING: Full, before it looks: what is taken from here on sets it again.
            self.look_wanted.xchg(false, Full);
        }
    }

    /// Rechecks those that are listed; not all of them if the program has the `nr` events from
    /// `seen` on that it wants.
    pub(crate) fn recheck(&self, rechecker: Rechecker, seen: Option<u32>, nr: u32) {
        self.recheck_noting(rechecker, seen, nr, |_| {});
    }

    /// [`Queue::recheck`], which notes the watches that were polled and have something to report.
    pub(crate) fn recheck_noting(
        &self,
        rechecker: Rechecker,
        seen: Option<u32>,
        nr: u32,
        note: impl FnMut(&Watch),
    ) {
        self.recheck_claimed(false, rechecker, seen, nr, note);
    }

    /// [`Queue::recheck_noting`], of `all` that are listed.
    fn recheck_claimed(
        &self,
        all: bool,
        rechecker: Rechecker,
        seen: Option<u32>,
        nr: u32,
        mut note: impl FnMut(&Watch),
    ) {
        if let Some(ring) = &self.ring {
            // ORDERING: First, so that who has set it is seen to want all that is listed.
            ring.set_flag(uapi::KEVENT_RING_RECHECK, false);
        }
        let all = self.claim_recheck() || all;
        if self.recheck_list.is_empty() {
            return;
        }
        let mut walk = Walk::new(all);
        let enough = || self.has(seen, nr);
        let mut next = None;
        self.watches
            .lock_nested(rechecker.depth)
            .recheck(self, rechecker, &mut walk, &mut next, enough, &mut note);
        if next.is_some() {
            self.recheck_further(rechecker, walk, next, enough, note);
        }
    }

    /// The rest of [`Queue::recheck_noting`]: `next` is to be polled, without the mutex.
    #[inline(never)]
    fn recheck_further(
        &self,
        rechecker: Rechecker,
        mut walk: Walk,
        mut next: Option<Batch>,
        enough: impl Fn() -> bool + Copy,
        mut note: impl FnMut(&Watch),
    ) {
        while let Some(mut batch) = next.take() {
            batch.poll(rechecker);
            let mut table = self.watches.lock_nested(rechecker.depth);
            table.polled(&batch, &mut note);
            table.recheck(self, rechecker, &mut walk, &mut next, enough, &mut note);
            drop(table);
            // What is dropped with the batch may be the last reference, to a file for instance.
        }
    }

    /// Whether there are events, as a mask of `EPOLL*` bits.
    ///
    /// A task that does not own the queue polls nothing that it watches. For that task there may
    /// be events if there is something to recheck, so that the file stays ready until a task that
    /// does own it has looked: else epoll would not ask again, whose instance the two may share.
    pub(crate) fn readiness(&self, rechecker: Rechecker) -> u32 {
        if self.has_ended() {
            return ENDED;
        }
        let mut ready = false;
        if self.owner.may_use() {
            self.flush_whole_backlog();
            self.recheck(rechecker, None, 1);
        } else {
            // The rest is not done on the account of others.
            self.flush_backlog();
            ready = !self.recheck_list.is_empty();
        }
        if ready || self.has(None, 1) || self.is_backlogged() {
            READABLE
        } else {
            0
        }
    }

    /// Whether the owner has gone: no task will consume anything.
    pub(crate) fn has_ended(&self) -> bool {
        self.ended.load(Relaxed)
    }

    /// The owner has gone. Watches are removed as by close, what was posted is dropped, and those
    /// who have the descriptor see that.
    pub(crate) fn end(&self) {
        {
            // With the lock, so that what is deferred before is dropped below.
            let _backlog = self.backlog.lock();
            self.ended.store(true, Relaxed);
        }
        self.watches.lock().clear(self);
        let mut posts = {
            let mut backlog = self.backlog.lock();
            backlog.posts = 0;
            backlog.foreign = 0;
            // No place is needed any more.
            let posts = core::mem::replace(&mut backlog.fifo, Fifo::new());
            self.show_backlog(&backlog);
            posts
        };
        let mut nr = 0usize;
        while posts.pop_front().is_some() {
            nr = nr.wrapping_add(1);
            if nr % DROPPED_AT_ONCE == 0 {
                resched();
            }
        }
        self.pollers.notify_all(ENDED);
    }

    /// A waker has given `key`, parts of which are passed on to the pollers of the queue.
    #[inline(always)]
    pub(crate) fn note_waker(&self, key: u32) {
        if key & kernel::bindings::EPOLL_URING_WAKE != 0 {
            self.add_poll_wake(kernel::bindings::EPOLL_URING_WAKE);
        }
    }

    /// Wakes the pollers of the queue. Not to be called with locks held.
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
            let have = {
                let mut backlog = self.backlog.lock();
                if backlog.has_room(watches, posts) {
                    backlog.watches = backlog.watches.saturating_add(watches);
                    return Ok(());
                }
                backlog.fifo.capacity()
            };
            let larger = Buffer::larger(have, GFP_KERNEL_ACCOUNT)?;
            let rest = self.backlog.lock().fifo.grow(larger);
            drop(rest);
        }
    }

    /// Gives back memory of the backlog that it does not need any more. May sleep.
    #[cold]
    fn shrink_backlog(&self) {
        let excess = self.backlog.lock().excess();
        // Without memory for that it is left as it is.
        let smaller = excess.map(|blocks| Buffer::smaller(blocks, GFP_KERNEL_ACCOUNT));
        let rest = {
            let mut backlog = self.backlog.lock();
            self.has_excess.store(false, Relaxed);
            let need = backlog.need();
            smaller.map(|smaller| smaller.map(|smaller| backlog.fifo.shrink(smaller, need)))
        };
        drop(rest);
    }

    /// Makes room for so many watches. Every watch has to have a place before it can fire.
    pub(crate) fn reserve_watches(&self, nr: usize) -> Result {
        self.reserve(nr, 0)
    }

    /// The backlog, with room for one post more, which is counted already. Fails with `EAGAIN` if
    /// there are too many, with `EPIPE` if the owner has gone.
    fn reserve_post(&self, post: &Post) -> Result<SpinLockIrqGuard<'_, Backlog>> {
        loop {
            let mut backlog = self.backlog.lock();
            if self.has_ended() {
                return Err(EPIPE);
            }
            if !backlog.may_post(post.is_foreign()) {
                return Err(EAGAIN);
            }
            if backlog.has_room(0, 1) {
                backlog.count_post(post);
                return Ok(backlog);
            }
            drop(backlog);
            // Another task may take the room.
            self.reserve(0, 1)?;
        }
    }

    /// Makes room for a completion that is yet to come, see [`Queue::post_reserved`]. It counts as
    /// a post from now on.
    pub(crate) fn reserve_completion(&self, post: &Post) -> Result {
        self.reserve_post(post).map(drop)
    }

    /// Gives up the room of a completion that does not come.
    pub(crate) fn unreserve_completion(&self, post: &Post) {
        self.backlog.lock().uncount_post(post);
    }

    /// Gives up the room of watches that were not made.
    pub(crate) fn unreserve_watches(&self, nr: usize) {
        let mut backlog = self.backlog.lock();
        backlog.watches = backlog.watches.saturating_sub(nr);
    }

    /// A watch was removed and its source is detached. If it waits in the backlog it is passed over
    /// there, and keeps its place until then.
    ///
    /// When this returns, no CPU is moving it into the ring.
    pub(crate) fn skip_watch(&self, watch: &Watch) {
        let mut backlog = self.backlog.lock();
        if watch.set_skip() {
            backlog.removed = backlog.removed.saturating_add(1);
        } else {
            backlog.watches = backlog.watches.saturating_sub(1);
        }
        let many = backlog.is_littered();
        let wake_for = self.flush_some(&mut backlog, FLUSH_BATCH);
        drop(backlog);
        self.wake_for(wake_for);
        if many {
            self.compact();
        }
        if self.has_excess.load(Relaxed) {
            self.shrink_backlog();
        }
    }

    /// A watch is held. If it is deferred, it leaves its place in the backlog, which is passed
    /// over. Returns what it was to report then.
    ///
    /// When this returns, no CPU is moving it into the ring.
    pub(crate) fn leave_backlog(&self, watch: &Watch) -> Option<u32> {
        if !watch.is_reporting() {
            // It is not there, and who could put it there has finished.
            self.flush_backlog();
            return None;
        }
        // It may need another place before this one is passed over.
        let has_place = watch.is_deferred() && self.reserve_watches(1).is_ok();
        let mut backlog = self.backlog.lock();
        let left = watch.leave_backlog();
        let mut many = false;
        if left.is_some() {
            backlog.removed = backlog.removed.saturating_add(1);
            if !has_place {
                backlog.watches = backlog.watches.saturating_add(1);
            }
            many = backlog.is_littered() || !has_place || watch.has_left_many();
        } else if has_place {
            backlog.watches = backlog.watches.saturating_sub(1);
        }
        let flushed = self.flush_some(&mut backlog, FLUSH_BATCH);
        drop(backlog);
        self.wake_for(flushed);
        if many {
            // The watch is held: it needs no other place before this is done.
            self.compact();
        }
        left
    }

    /// Does something while no CPU moves a watch out of the backlog.
    pub(crate) fn with_backlog_lock<T>(&self, f: impl FnOnce() -> T) -> T {
        let _backlog = self.backlog.lock();
        f()
    }

    /// Takes watches that were removed out of the backlog, a few at a time, so that interrupts are
    /// not disabled for long. To be called with the mutex of the watches held.
    pub(crate) fn compact(&self) {
        while self.backlog.lock().compact_some() {}
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
        // Another CPU may have found the slot claimed, but not published yet, and have put an event
        // into the backlog that fits into the ring now.
        self.flush_backlog();
        Ok(())
    }

    /// Posts an event that can wait for a free slot.
    pub(crate) fn post_deferred(&self, event: &Event) -> Result {
        let post = Post::new(self, *event)?;
        let (waits, wake_for) = {
            let mut backlog = self.reserve_post(&post)?;
            let left = backlog.fifo.push_back(Pending::Post(post));
            debug_assert!(left.is_ok());
            let wake_for = self.after_append(&mut backlog);
            let waits = backlog.fifo.len() != 0;
            if waits {
                trace::defer_post(self, event);
            }
            (waits, wake_for)
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
    pub(crate) fn post_reserved(&self, post: KBox<Post>) {
        let is_published = || !self.is_backlogged() && self.publish(&post.event).is_ok();
        if self.has_ended() || is_published() {
            self.unreserve_completion(&post);
            self.flush_backlog();
            return;
        }
        self.deferred.fetch_add(1, Relaxed);
        trace::defer_post(self, &post.event);
        let wake_for = {
            let mut backlog = self.backlog.lock();
            if self.has_ended() {
                return;
            }
            let left = backlog.fifo.push_back(Pending::Post(post));
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

    /// Makes an entry in the ring, and wakes a thread for it.
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

    /// There is one more entry for which no thread was woken yet. To be called with the backlog's
    /// lock.
    pub(crate) fn count_unwoken(&self) {
        self.pending.fetch_add(1, Relaxed);
    }

    /// There is an event: wakes one thread that sleeps, and the pollers.
    ///
    /// What was published is visible before this looks for sleepers: [`Ring::publish`] and the
    /// backlog's lock see to that.
    ///
    /// Returns whether a thread was woken that has all the events it waits for.
    #[inline(always)]
    pub(crate) fn wake(&self) -> bool {
        if self.listeners.load(Relaxed) != 0 {
            self.wake_slowly()
        } else {
            trace::skip_wake(self);
            false
        }
    }

    /// Whether a producer that has published an event has something to do after that: see
    /// [`Queue::attend`].
    #[inline(always)]
    pub(crate) fn needs_attention(&self) -> bool {
        self.listeners.load(Relaxed) != 0 || self.is_backlogged()
    }

    /// Wakes a thread for an event that was published, and flushes the backlog.
    #[cold]
    #[inline(never)]
    pub(crate) fn attend(&self) {
        self.wake();
        self.flush_backlog();
    }

    /// [`Queue::wake`] if there may be sleepers or pollers.
    #[inline(never)]
    fn wake_slowly(&self) -> bool {
        let woken = self.wake_one();
        if self.pollers.is_active() {
            IrqWork::queue(self);
        }
        woken == Wake::One
    }

    /// Wakes one thread that sleeps, if there is one for which the event is enough.
    fn wake_one(&self) -> Wake {
        let woken = if !self.waiters.is_active() {
            Wake::Nobody
        } else if self.unasked.load(Relaxed) != 0 {
            Wake::Unknown
        } else {
            self.waiters.wake_one()
        };
        if matches!(woken, Wake::One | Wake::Other) {
            self.woken.fetch_add(1, Relaxed);
            trace::wake(self);
            return woken;
        }
        trace::skip_wake(self);
        if woken == Wake::Unknown {
            self.leave_unasked();
        }
        woken
    }

    /// There are many threads, and those that were asked wait for more than there is: has one of
    /// the others ask them all.
    #[cold]
    fn leave_unasked(&self) {
        // ORDERING: Full, so that who takes over the count sees the event.
        if self.unasked.fetch_add(1, Full) == 0 {
            self.waiters.wake_one();
        }
    }

    /// Does what [`Queue::leave_unasked`] left. Returns false if it found that all wait for more
    /// than there is.
    fn ask_all(&self) -> bool {
        if self.unasked.load(Relaxed) == 0 {
            return true;
        }
        // ORDERING: Full, as there.
        let events = self.unasked.xchg(0, Full);
        (0..events).all(|_| self.waiters.wake_one_of_all())
    }

    /// Wakes threads for what was moved into the ring. To be called without the backlog's lock.
    fn wake_for(&self, wake_for: Flushed) {
        self.wake_sleepers(wake_for.entries);
        if wake_for.more || (wake_for.entries != 0 && self.pollers.is_active()) {
            IrqWork::queue(self);
        }
    }

    /// Wakes threads that sleep for so many entries, which can be seen already.
    fn wake_sleepers(&self, entries: u32) {
        // If none is woken now, all wait for more than that.
        let _ = (0..entries).all(|_| self.wake_one() != Wake::Nobody);
    }

    /// Wakes threads for what was put into the backlog, and moved out of it. To be called without
    /// its lock.
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

    /// Moves what waits into free slots, in any context: if that is much, the irq_work goes on with
    /// [`Queue::flush_more`].
    #[inline(always)]
    pub(crate) fn flush_backlog(&self) {
        if self.is_backlogged() {
            self.flush_backlog_slowly();
        }
    }

    #[cold]
    fn flush_backlog_slowly(&self) {
        let wake_for = self.flush_some(&mut self.backlog.lock(), WAKER_BATCH);
        self.wake_for(wake_for);
    }

    /// Moves some more of what waits into free slots, for the irq_work. If that was much again, a
    /// thread that sleeps goes on: the rest is not done on the account of others.
    pub(crate) fn flush_more(&self) {
        if !self.is_backlogged() {
            return;
        }
        let flushed = self.flush_some(&mut self.backlog.lock(), WAKER_BATCH);
        self.wake_sleepers(flushed.entries);
        if flushed.more {
            self.wake_to_look();
        }
    }

    /// Moves all that waits into free slots, as far as there are any. Not to be called with locks
    /// held.
    #[inline(always)]
    pub(crate) fn flush_whole_backlog(&self) {
        if self.is_backlogged() || self.has_excess.load(Relaxed) {
            self.flush_slowly();
        }
    }

    #[inline(never)]
    fn flush_slowly(&self) {
        if self.has_excess.load(Relaxed) {
            self.shrink_backlog();
        }
        // What others add meanwhile they move themselves: this comes to an end.
        for _ in 0..=self.backlogged.load(Relaxed) as usize / FLUSH_BATCH {
            if !self.is_backlogged() {
                break;
            }
            let wake_for = self.flush_some(&mut self.backlog.lock(), FLUSH_BATCH);
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

    /// Moves what waits into free slots, at most so `many`. For the caller to hand to
    /// [`Queue::wake_for`].
    fn flush_some(&self, backlog: &mut Backlog, many: usize) -> Flushed {
        let mut nr = 0usize;
        if let Some(ring) = &self.ring {
            while nr < many {
                let Some(front) = backlog.fifo.pop_front() else {
                    break;
                };
                let wake_for = match &front {
                    Pending::Post(post) => self.publish_silently(&post.event).is_ok_and(|()| {
                        self.count_unwoken();
                        true
                    }),
                    Pending::Watch(watch) if watch.pass_over() => {
                        backlog.leave(1);
                        true
                    }
                    Pending::Watch(watch) => watch.as_arc_borrow().move_into_ring(),
                };
                if !wake_for {
                    let left = backlog.fifo.push_front(front);
                    debug_assert!(left.is_ok());
                    break;
                }
                if let Pending::Post(post) = &front {
                    backlog.uncount_post(post);
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
            more: (nr == many || entries as usize >= many) && backlog.waiting() != 0,
        }
    }

    fn show_backlog(&self, backlog: &Backlog) {
        let len = u32::try_from(backlog.waiting()).unwrap_or(u32::MAX);
        self.backlogged.store(len, Relaxed);
        if backlog.excess().is_some() {
            self.has_excess.store(true, Relaxed);
        }
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

    /// Takes the next event on behalf of a program and hands it to `deliver`. If that fails the
    /// event stays where it was.
    ///
    /// If the event changes while it is delivered, it is delivered once more, instead. If it
    /// reports a level, that is delivered as `tested` says, and what happened since is left to be
    /// rechecked. `spare` is [`Queue::consumer`]'s.
    pub(crate) fn take(
        &self,
        spare: &mut Spare,
        tested: &mut Tested,
        mut deliver: impl FnMut(&Event) -> Result,
    ) -> Result<Take> {
        let Some(ring) = &self.ring else {
            return self.take_backlog(spare, tested, deliver);
        };
        for _ in 0..MAX_TRIES {
            let mut first = ring.first();
            if first.is_none() && self.is_backlogged() {
                self.flush_backlog();
                first = ring.first();
            }
            let Some(first) = first else {
                return Ok(Take::Nothing);
            };
            let mut outcome = Take::Delivered;
            let level = match tested.at(ring, first.index) {
                Verdict::AsItIs => None,
                Verdict::Fresh => {
                    outcome = Take::DeliveredLevel;
                    None
                }
                Verdict::Level(level) => {
                    outcome = Take::taken(level.holds(&first.event));
                    Some(level)
                }
                Verdict::Untested => return Ok(Take::Untested),
            };
            let updated;
            let mut event = &first.event;
            if let Some(level) = &level {
                updated = level.update(event);
                event = &updated;
            }
            let is_wanted = level.is_none_or(|level| level.holds(&first.event));
            if is_wanted {
                self.deliver(event, &mut deliver)?;
            }
            // If this fails, another consumer has it, or it was cancelled.
            if let Some(taken) = ring.take(&first) {
                if let Some(changed) = taken.changed {
                    let last = level.map_or(changed, |level| level.update(&changed));
                    if is_wanted && last != *event {
                        // As in `Queue::take_plain`.
                        let _ = deliver(&last);
                    }
                }
                ring.release(&taken);
                self.taken(event);
                return Ok(outcome);
            }
        }
        Ok(Take::Nothing)
    }

    /// [`Queue::take`], for the usual case: the next event is in the ring, and reports no level.
    /// Whether there was one.
    #[inline(always)]
    pub(crate) fn take_plain(&self, mut deliver: impl FnMut(&Event) -> Result) -> Result<bool> {
        let Some(ring) = &self.ring else {
            return Ok(false);
        };
        let Some(first) = ring.first_plain() else {
            return Ok(false);
        };
        self.deliver(&first.event, &mut deliver)?;
        match ring.take_plain(&first) {
            Some(TakenPlain::Same) => {}
            Some(TakenPlain::Changed(changed)) => {
                // It fits where it was copied to a moment ago, unless the program has taken that
                // memory away, and the event with it.
                let _ = deliver(&changed);
            }
            Some(TakenPlain::Cancelled) | None => return Ok(false),
        }
        self.taken(&first.event);
        Ok(true)
    }

    /// Delivers an event that is still to be taken.
    #[inline(always)]
    fn deliver(&self, event: &Event, deliver: impl FnOnce(&Event) -> Result) -> Result {
        deliver(event).inspect_err(|_| {
            // The thread that is woken for the event in place of this one may be luckier.
            self.wake();
        })
    }

    /// An event was taken and delivered, and its slot is free.
    #[inline(always)]
    fn taken(&self, event: &Event) {
        trace::consume(self, event);
        self.flush_backlog();
    }

    fn take_backlog(
        &self,
        spare: &mut Spare,
        tested: &mut Tested,
        deliver: impl FnOnce(&Event) -> Result,
    ) -> Result<Take> {
        if spare.is_none() {
            *spare = Some(KBox::new(Post::default(), GFP_KERNEL_ACCOUNT)?);
        }
        let (event, front, level) = match self.pop_backlog(tested) {
            Popped::Event(event, front, level) => (event, front, level),
            Popped::Untested => return Ok(Take::Untested),
            Popped::Nothing => return Ok(Take::Nothing),
        };
        let last = level.map_or(event, |level| level.update(&event));
        let is_wanted = level.is_none_or(|level| level.holds(&event));
        let result = if is_wanted { deliver(&last) } else { Ok(()) };
        if result.is_ok() {
            trace::consume(self, &last);
            return Ok(level.map_or(Take::Delivered, |_| Take::taken(is_wanted)));
        }
        // The watch may be removed meanwhile, but not while this looks and puts it back.
        let table = self.watches.lock();
        match front {
            Pending::Post(post) => self.put_back(Pending::Post(post)),
            Pending::Watch(watch) if watch.has_completions() && table.has(&watch) => {
                self.put_back_event(spare, event);
            }
            Pending::Watch(watch) if table.has(&watch) => {
                if watch.unconsume(&event) {
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
        result.map(|()| Take::Nothing)
    }

    /// Puts an event at the front of the backlog that cannot go back where it was, using up
    /// `spare`.
    fn put_back_event(&self, spare: &mut Spare, event: Event) {
        debug_assert!(spare.is_some());
        if let Some(mut memory) = spare.take() {
            memory.event = event;
            self.put_back(Pending::Post(memory));
        }
    }

    /// Takes the first event out of the backlog, unless it reports a level that is not `tested`.
    fn pop_backlog(&self, tested: &mut Tested) -> Popped {
        loop {
            if let Some(popped) = self.pop_backlog_once(tested) {
                return popped;
            }
        }
    }

    /// [`Queue::pop_backlog`], which passes over up to [`FLUSH_BATCH`] watches; `None` if it has.
    fn pop_backlog_once(&self, tested: &mut Tested) -> Option<Popped> {
        let mut backlog = self.backlog.lock();
        let mut popped = Some(Popped::Nothing);
        let mut again = false;
        let mut nr = 0usize;
        while let Some(front) = backlog.fifo.pop_front() {
            let mut level = None;
            let (event, more) = match &front {
                Pending::Post(post) => {
                    backlog.uncount_post(post);
                    (Some(post.event), false)
                }
                Pending::Watch(watch) if watch.pass_over() => {
                    backlog.leave(1);
                    (None, false)
                }
                Pending::Watch(watch) => {
                    let verdict = if watch.is_level() {
                        tested.of(watch)
                    } else {
                        Verdict::AsItIs
                    };
                    match verdict {
                        Verdict::AsItIs | Verdict::Fresh => {}
                        Verdict::Level(state) => level = Some(state),
                        Verdict::Untested => {
                            let left = backlog.fifo.push_front(front);
                            debug_assert!(left.is_ok());
                            popped = Some(Popped::Untested);
                            break;
                        }
                    }
                    watch.as_arc_borrow().take_deferred()
                }
            };
            if let (true, Pending::Watch(watch)) = (more, &front) {
                let left = backlog.fifo.push_back(Pending::Watch(watch.clone()));
                debug_assert!(left.is_ok());
                again = true;
            }
            if let Some(event) = event {
                popped = Some(Popped::Event(event, front, level));
                break;
            }
            nr = nr.wrapping_add(1);
            if nr == FLUSH_BATCH {
                popped = None;
                break;
            }
        }
        self.show_backlog(&backlog);
        drop(backlog);
        if again {
            // That is one event more, for which no thread was woken.
            self.wake();
        }
        popped
    }

    /// The watches among the next `most` events of a queue without a ring which report levels, up
    /// to `N`.
    pub(crate) fn first_levels<const N: usize>(&self, most: u32) -> [Option<Arc<Watch>>; N] {
        let mut levels = [const { None }; N];
        let mut backlog = self.backlog.lock();
        let mut next = 0usize;
        for level in &mut levels {
            while let Some(pending) = backlog.fifo.get(next).filter(|_| next < most as usize) {
                next = next.wrapping_add(1);
                if let Pending::Watch(watch) = pending {
                    if watch.is_level() {
                        *level = Some(watch.clone());
                        break;
                    }
                }
            }
        }
        levels
    }

    /// Puts something at the front of the backlog, where there is a place for it, see
    /// [`Queue::new`].
    fn put_back(&self, front: Pending) {
        let mut backlog = self.backlog.lock();
        if let Pending::Post(post) = &front {
            backlog.count_post(post);
        }
        let left = backlog.fifo.push_front(front);
        debug_assert!(left.is_ok());
        let wake_for = self.after_append(&mut backlog);
        drop(backlog);
        self.wake_after_append(wake_for);
    }

    /// Moves what can be moved after something was put into the backlog: slots may have been freed,
    /// or published, since the caller looked, by a thread that may be asleep or gone by now.
    fn after_append(&self, backlog: &mut Backlog) -> Flushed {
        self.show_backlog(backlog);
        // Pairs with the full barrier at the end of `Ring::publish`.
        smp_mb(Full);
        self.flush_some(backlog, WAKER_BATCH)
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
        this.owner.unlink();
        // The watches have references to the queue.
        this.watches.lock().clear(&this);
    }

    fn poll<'a>(this: ArcBorrow<'a, Self>, poller: Poller<'a>) -> u32 {
        let this = this.into_ref();
        poller.register(&this.pollers);
        this.note_poller();
        this.readiness(Rechecker::POLLER)
    }

    fn mmap_prepare<'a>(this: ArcBorrow<'a, Self>, desc: &mut VmaDesc<'a>) -> Result {
        let this = this.into_ref();
        // The ring has one consumer outside the kernel, who cannot die between two steps of the
        // protocol and leave others behind.
        if !this.owner.is_maker() {
            return Err(EACCES);
        }
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
        let table = this.watches.lock();
        let lines = table.len().min(MAX_SHOWN).saturating_mul(SHOWN_LINE);
        if !m.has_room(SHOWN_HEADER.saturating_add(lines)) {
            return;
        }
        seq_print!(m, "id:\t{}\n", this.id());
        seq_print!(m, "shared:\t{}\n", u32::from(this.owner.is_shared()));
        seq_print!(m, "ended:\t{}\n", u32::from(this.has_ended()));
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
        seq_print!(m, "waiters:\t{}\n", this.sleepers());
        seq_print!(m, "watches:\t{}\n", table.len());
        if !this.owner.may_use() && !table.may_inspect() {
            return;
        }
        for (handle, watch) in table.iter().take(MAX_SHOWN) {
            if m.has_overflowed() {
                // All of this is done again with a larger buffer.
                return;
            }
            seq_print!(
                m,
                "watch: handle:{:016x} source:{} flags:{:x} ident:{} events:{:x} user_data:{:x} \
                 state:{}\n",
                handle,
                watch.class(),
                watch.flags(),
                watch.source().ident(),
                watch.interest(),
                watch.user_data(),
                watch.describe(),
            );
        }
    }
}

#[cfg(CONFIG_KEVENT_KUNIT_TEST)]
#[kunit_tests(kevent_queue)]
mod tests {
    use super::*;

    use crate::engine::level::Fresh;

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
        let mut tested = Tested::new(Fresh::new(queue));
        let taken = queue.take(&mut queue.consumer().lock(), &mut tested, |event| {
            n = event.0.user_data;
            Ok(())
        });
        let want = if n != 0 {
            Take::Delivered
        } else {
            Take::Nothing
        };
        assert_eq!(taken, Ok(want));
        n
    }

    #[test]
    fn entries_are_rounded_up() -> Result {
        for (wanted, granted) in [(1, 2), (2, 2), (3, 4), (65535, 65536)] {
            let queue = Queue::new(wanted, 0, false)?;
            assert_eq!(queue.ring().map(Ring::entries), Some(granted));
        }
        assert!(Queue::new(0, 0, false)?.ring().is_none());
        assert_eq!(Queue::new(65537, 0, false).err(), Some(EINVAL));
        assert_eq!(Queue::new(u32::MAX, 0, false).err(), Some(EINVAL));
        Ok(())
    }

    #[test]
    fn seal_knows_this_kernel() -> Result {
        assert!(Queue::new(2, 0, false)?.allows(uapi::KEVENT_SOURCE_USER));
        // There is no such class.
        assert!(!Queue::new(2, 0, false)?.allows(0));
        assert_eq!(Queue::new(2, 1 << 63, false).err(), Some(ENOSYS));
        Ok(())
    }

    #[test]
    fn full_ring_refuses_and_defers_in_order() -> Result {
        let queue = Queue::new(2, 0, false)?;
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
        let queue = Queue::new(2, 0, false)?;
        assert!(defer(&queue, 1).is_ok());
        assert_eq!(queue.backlogged.load(Relaxed), 0);
        assert!(queue.has(Some(0), 1));
        assert_eq!(take(&queue), 1);
        Ok(())
    }

    #[test]
    fn without_a_ring_the_backlog_is_the_queue() -> Result {
        let queue = Queue::new(0, 0, false)?;
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
            let queue = Queue::new(entries, 0, false)?;
            assert!(defer(&queue, 1).is_ok() && defer(&queue, 2).is_ok());
            let mut tested = Tested::new(Fresh::new(&queue));
            let failed = queue.take(&mut queue.consumer().lock(), &mut tested, |_| Err(EFAULT));
            assert_eq!(failed, Err(EFAULT));
            assert!(queue.has(None, 2));
            assert!(defer(&queue, 3).is_ok());
            assert_eq!((take(&queue), take(&queue), take(&queue)), (1, 2, 3));
        }
        Ok(())
    }

    #[test]
    fn deferred_posts_are_limited() -> Result {
        let queue = Queue::new(0, 0, false)?;
        for n in 0..MAX_DEFERRED {
            assert!(defer(&queue, n as u64).is_ok());
        }
        assert_eq!(defer(&queue, 1), Err(EAGAIN));
        Ok(())
    }
}
