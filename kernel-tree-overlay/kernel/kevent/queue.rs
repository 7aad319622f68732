// SPDX-License-Identifier: GPL-2.0-only

//! The queue: a ring, the backlog behind it, and those who wait for it.

use core::mem::MaybeUninit;
use kernel::{
    fs::{
        anon_inode::{
            FileOperations,
            FileVtable, //
        },
        File, //
    },
    impl_list_arc_safe,
    impl_list_item,
    list::{
        List,
        ListArc,
        ListLinks, //
    },
    mm::vma_desc::VmaDesc,
    new_mutex,
    new_spinlock_irq,
    new_wait_queue,
    prelude::*,
    seq_file::SeqFile,
    seq_print,
    static_lock_class,
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
        poll::{
            PollCondVarBox,
            PollTable, //
        },
        wait::{
            WaitQueue,
            Woken, //
        },
        Arc,
        ArcBorrow,
        Mutex,
        UniqueArc, //
    },
    time::deadline::Deadline,
    uapi, //
};

use crate::{
    event::Event,
    hooks::RingCharge,
    ring::{
        Index,
        Ring, //
    },
    source, //
};

/// How many deferred posts a queue may have: what a program posts faster than it takes.
const MAX_DEFERRED: u32 = 65536;

/// An event that waits for a free slot.
#[pin_data]
pub(crate) struct Deferred {
    #[pin]
    links: ListLinks,
    event: Event,
}

impl_list_arc_safe! {
    impl ListArcSafe<0> for Deferred { untracked; }
}
impl_list_item! {
    impl ListItem<0> for Deferred { using ListLinks { self.links }; }
}

impl Deferred {
    fn init(event: Event) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            links <- ListLinks::new(),
            event,
        })
    }

    pub(crate) fn new(event: Event) -> Result<ListArc<Self>> {
        ListArc::pin_init(Self::init(event), GFP_KERNEL_ACCOUNT)
    }
}

/// Events that found no free slot, oldest first.
struct Backlog {
    list: List<Deferred>,
    len: u32,
}

/// Memory for an event that was taken from the ring for a program, could not be copied to it, and
/// cannot be put back.
pub(crate) type Spare = Option<UniqueArc<MaybeUninit<Deferred>>>;

/// Something posted to a queue without room for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NoRoom;

/// A queue.
///
/// Lock order: [`Queue::consumer`], then [`Queue::backlog`], then the locks of the wait queues.
#[pin_data]
pub(crate) struct Queue {
    ring: Option<Ring>,
    _charge: Option<RingCharge>,
    /// The classes that this queue may use, as in `kevent_create.sources`.
    sources: u64,

    /// Taken by consumers that are in the kernel, one at a time.
    #[pin]
    consumer: Mutex<Spare>,
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
    pollers: PollCondVarBox,

    merged: Atomic<u64>,
    deferred: Atomic<u64>,
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
        Arc::pin_init(
            try_pin_init!(Self {
                ring,
                _charge: charge,
                sources,
                consumer <- new_mutex!(None),
                backlog <- new_spinlock_irq!(Backlog {
                    list: List::new(),
                    len: 0,
                }),
                backlogged: Atomic::new(0),
                waiters <- new_wait_queue!(),
                sleepers: Atomic::new(0),
                pollers: PollCondVarBox::new(c"kevent_pollers", static_lock_class!())?,
                merged: Atomic::new(0),
                deferred: Atomic::new(0),
                woken: Atomic::new(0),
            }),
            GFP_KERNEL_ACCOUNT,
        )
    }

    pub(crate) fn ring(&self) -> Option<&Ring> {
        self.ring.as_ref()
    }

    /// Sleeps until there are `nr` events from `seen` on, or from the cursor on.
    pub(crate) fn sleep(&self, seen: Option<u32>, nr: u32, deadline: Option<&Deadline>) -> Woken {
        self.sleepers.fetch_add(1, Relaxed);
        let woken = self.waiters.wait(|| self.has(seen, nr), deadline);
        self.sleepers.fetch_sub(1, Relaxed);
        woken
    }

    /// Holds off other consumers that are in the kernel.
    pub(crate) fn consumer(&self) -> &Mutex<Spare> {
        &self.consumer
    }

    /// Whether the queue may use that class of sources.
    pub(crate) fn allows(&self, class: u32) -> bool {
        self.sources & (1 << class) != 0
    }

    /// Posts an event if there is a free slot and nothing waits for it already.
    pub(crate) fn post(&self, event: &Event) -> Result<(), NoRoom> {
        if self.backlogged.load(Relaxed) != 0 {
            self.refill();
            if self.backlogged.load(Relaxed) != 0 {
                return Err(NoRoom);
            }
        }
        self.publish(event)?;
        // Somebody may have found the slot claimed, but not published yet, and have put an event
        // into the backlog that fits into the ring now.
        self.refill();
        Ok(())
    }

    /// Posts an event that can wait for a free slot.
    pub(crate) fn post_deferred(&self, event: ListArc<Deferred>) -> Result<(), NoRoom> {
        let waits = {
            let mut backlog = self.backlog.lock();
            if backlog.len >= MAX_DEFERRED {
                return Err(NoRoom);
            }
            backlog.list.push_back(event);
            self.grow(&mut backlog);
            backlog.len != 0
        };
        if waits {
            self.deferred.fetch_add(1, Relaxed);
            if self.ring.is_none() {
                self.wake();
            }
        }
        Ok(())
    }

    fn publish(&self, event: &Event) -> Result<Index, NoRoom> {
        let ring = self.ring.as_ref().ok_or(NoRoom)?;
        let index = ring.publish(event).ok_or(NoRoom)?;
        self.wake();
        Ok(index)
    }

    /// Tells one thread that sleeps, and those who poll, that there is an event.
    ///
    /// What was published is visible before this looks who sleeps: [`Ring::publish`] and the
    /// backlog's lock see to that.
    fn wake(&self) {
        if self.waiters.is_active() && self.waiters.wake_one() {
            self.woken.fetch_add(1, Relaxed);
        }
        self.pollers.notify_all();
    }

    /// Moves what waits into free slots.
    pub(crate) fn refill(&self) {
        if self.backlogged.load(Relaxed) != 0 {
            self.move_backlog(&mut self.backlog.lock());
        }
    }

    fn move_backlog(&self, backlog: &mut Backlog) {
        if let Some(ring) = &self.ring {
            while let Some(front) = backlog.list.pop_front() {
                if self.publish(&front.event).is_err() {
                    backlog.list.push_front(front);
                    break;
                }
                backlog.len = backlog.len.wrapping_sub(1);
            }
            ring.set_flags(if backlog.len != 0 {
                uapi::KEVENT_RING_BACKLOG
            } else {
                0
            });
        }
        self.backlogged.store(backlog.len, Relaxed);
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

    /// Takes the next event on behalf of a program and hands it to `deliver`; tells whether there
    /// was one. If that fails the event stays where it was.
    pub(crate) fn take(
        &self,
        spare: &mut Spare,
        deliver: impl FnOnce(&Event) -> Result,
    ) -> Result<bool> {
        let Some(ring) = &self.ring else {
            return self.take_backlog(deliver);
        };
        let spare_node = match spare.take() {
            Some(node) => node,
            None => UniqueArc::new_uninit(GFP_KERNEL_ACCOUNT)?,
        };
        let taken = ring.take().or_else(|| {
            self.refill();
            ring.take()
        });
        let Some(taken) = taken else {
            *spare = Some(spare_node);
            return Ok(false);
        };
        let result = deliver(&taken.event);
        if result.is_ok() {
            ring.release(&taken);
            self.refill();
            *spare = Some(spare_node);
            return Ok(true);
        }
        if let Some(taken) = ring.restore(&taken) {
            let event = spare_node.pin_init_with(Deferred::init(taken.event))?;
            self.put_back(event.into());
            ring.release(&taken);
        } else {
            *spare = Some(spare_node);
        }
        self.wake();
        result.map(|()| true)
    }

    fn take_backlog(&self, deliver: impl FnOnce(&Event) -> Result) -> Result<bool> {
        let front = {
            let mut backlog = self.backlog.lock();
            let Some(front) = backlog.list.pop_front() else {
                return Ok(false);
            };
            backlog.len = backlog.len.wrapping_sub(1);
            self.backlogged.store(backlog.len, Relaxed);
            front
        };
        let result = deliver(&front.event);
        if result.is_err() {
            self.put_back(front);
            self.wake();
        }
        result.map(|()| true)
    }

    /// Puts an event at the front of the backlog.
    fn put_back(&self, event: ListArc<Deferred>) {
        let mut backlog = self.backlog.lock();
        backlog.list.push_front(event);
        self.grow(&mut backlog);
    }

    /// Accounts for an event that was put into the backlog, and moves what can be moved: slots may
    /// have been freed, or published, since the caller looked, and whoever did may be asleep or
    /// gone by now.
    fn grow(&self, backlog: &mut Backlog) {
        backlog.len = backlog.len.wrapping_add(1);
        self.backlogged.store(backlog.len, Relaxed);
        // Pairs with the full barrier at the end of `Ring::publish`.
        smp_mb(Full);
        self.move_backlog(backlog);
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

/// The file operations of queues.
static QUEUE_FILE: FileVtable<Queue> = FileVtable::new();

#[vtable]
impl FileOperations for Queue {
    type Ptr = Arc<Self>;

    fn vtable() -> &'static FileVtable<Self> {
        &QUEUE_FILE
    }

    fn poll(this: ArcBorrow<'_, Self>, file: &File, table: PollTable<'_>) -> u32 {
        table.register_wait(file, &this.pollers);
        this.refill();
        if this.has(None, 1) || this.backlogged.load(Relaxed) != 0 {
            kernel::bindings::POLLIN | kernel::bindings::POLLRDNORM
        } else {
            0
        }
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
        seq_print!(m, "entries:\t{}\n", ring.map_or(0, Ring::entries));
        seq_print!(m, "posted:\t{}\n", ring.map_or(0, Ring::posted));
        seq_print!(m, "merged:\t{}\n", this.merged.load(Relaxed));
        seq_print!(m, "deferred:\t{}\n", this.deferred.load(Relaxed));
        seq_print!(m, "woken:\t{}\n", this.woken.load(Relaxed));
        seq_print!(m, "backlog:\t{}\n", this.backlogged.load(Relaxed));
        seq_print!(m, "waiters:\t{}\n", this.sleepers.load(Relaxed));
    }
}
