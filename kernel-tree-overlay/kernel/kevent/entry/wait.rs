// SPDX-License-Identifier: GPL-2.0-only

//! `kevent_wait()` and `kevent_get_events()`: waiting for events, and taking them.

use kernel::{
    prelude::*,
    sync::wait::{
        WaitQueue,
        Woken, //
    },
    time::deadline::Deadline,
    uaccess::UserPtr,
    uapi, //
};

use crate::{
    core::event::Event,
    engine::{
        level::{
            Fresh,
            Tested, //
        },
        queue::{
            Queue,
            Take, //
        },
        watch::Rechecker, //
    },
    entry::user::write_event,
    sys::limits::resched, //
};

/// How often levels are tested in a row.
const MAX_TESTS: u32 = 1 << 13;

/// `args.seen`, if there are indices: a queue without a ring has none.
fn seen(queue: &Queue, args: &uapi::kevent_wait) -> Option<u32> {
    queue.ring().map(|_| args.seen)
}

/// `kevent_wait()` that does not sleep: returns how many events there are from `args.seen` on.
pub(crate) fn look(queue: &Queue, args: &uapi::kevent_wait) -> u32 {
    let seen = seen(queue, args);
    queue.flush_whole_backlog();
    queue.recheck(Rechecker::PROGRAM, seen, 1);
    queue.show_counters();
    if args.flags & uapi::KEVENT_WAIT_WAKE_NEXT != 0 {
        // The caller was woken and will not consume.
        queue.wake();
    }
    queue.available(seen)
}

/// `kevent_wait()` for `args.min_nr` events, which is not 0: returns how many there are from
/// `args.seen` on.
pub(crate) fn wait(
    queue: &Queue,
    args: &uapi::kevent_wait,
    deadline: Option<&Deadline>,
) -> Result<u32> {
    let seen = seen(queue, args);
    if queue.ring().is_some_and(|r| args.min_nr > r.entries()) {
        return Err(EINVAL);
    }
    let mut nr = args.min_nr;
    let mut woken = Woken::TimedOut;
    if args.min_wait != 0 {
        woken = queue.sleep(seen, nr, Some(&window(args.min_wait, deadline)));
    }
    if woken == Woken::TimedOut {
        if args.min_wait != 0 {
            nr = 1;
        }
        woken = queue.sleep(seen, nr, deadline);
    }
    queue.show_counters();
    match woken {
        // Others may have consumed them in the meantime; 0 would mean that the time is over.
        Woken::Ready | Woken::Late => Ok(queue.available(seen).max(nr)),
        Woken::TimedOut => Ok(queue.available(seen)),
        Woken::Interrupted => Err(EINTR),
    }
}

/// When the window of `ns` nanoseconds ends, in which a waiter wants all it asked for.
fn window(ns: u64, deadline: Option<&Deadline>) -> Deadline {
    let ns = i64::try_from(ns).unwrap_or(i64::MAX);
    Deadline::after(deadline.map_or(ns, |d| ns.min(d.remaining())))
}

/// `kevent_get_events()`: takes between `min` and `max` events and copies them to `to`.
pub(crate) fn get_events(
    queue: &Queue,
    min: u32,
    max: u32,
    deadline: Option<&Deadline>,
    to: UserPtr,
) -> Result<u32> {
    let mut copies = Copies {
        to,
        max,
        nr: 0,
        levels: false,
    };
    let result = copies.collect(queue, min, deadline);
    if copies.levels {
        // What holds may be enough for two.
        queue.wake_to_look();
    }
    queue.show_counters();
    match result {
        Err(e) if copies.nr == 0 => Err(e),
        _ => Ok(copies.nr),
    }
}

/// Events that are copied to a program.
struct Copies {
    /// Where the next one goes.
    to: UserPtr,
    max: u32,
    /// How many there are so far.
    nr: u32,
    /// Levels were taken, and were not looked at since.
    levels: bool,
}

impl Copies {
    /// Takes and copies events, until there are at least `min`.
    fn collect(&mut self, queue: &Queue, min: u32, deadline: Option<&Deadline>) -> Result {
        let mut over = None;
        loop {
            self.collect_now(queue)?;
            // When the time is over, what there is counts.
            match over {
                _ if self.nr >= min => return Ok(()),
                Some(Woken::Interrupted) => return Err(EINTR),
                Some(_) => return Ok(()),
                None => {}
            }
            // No more than the ring can hold at a time.
            let most = queue.ring().map_or(u32::MAX, |r| r.entries());
            let nr = min.saturating_sub(self.nr).min(most);
            // What was taken just now may have been what kept a watch from going on.
            match queue.sleep(None, nr, deadline) {
                // What comes may be too little, again and again: some is dropped, others take some,
                // and the ring may hold less.
                Woken::Ready | Woken::Late => over = WaitQueue::is_over(deadline),
                Woken::TimedOut => over = Some(Woken::TimedOut),
                Woken::Interrupted => return Err(EINTR),
            }
        }
    }

    /// Takes and copies what there is, without sleeping for it.
    ///
    /// What cannot be copied stays in the queue.
    fn collect_now(&mut self, queue: &Queue) -> Result {
        queue.flush_whole_backlog();
        let mut fresh = Fresh::new(queue);
        queue.recheck_noting(Rechecker::PROGRAM, None, 1, |watch| {
            if let Some(index) = watch.level_entry() {
                fresh.add(index);
            }
        });
        let mut tested = Tested::new(fresh);
        // If so much is dropped, it is time to look at the clock.
        for _ in 0..MAX_TESTS {
            if !self.collect_tested(queue, &mut tested)? {
                break;
            }
            queue.test_levels(self.max.saturating_sub(self.nr), &mut tested);
            resched();
        }
        Ok(())
    }

    /// Takes and copies events up to a level that is not `tested`; whether there is one.
    fn collect_tested(&mut self, queue: &Queue, tested: &mut Tested) -> Result<bool> {
        let mut spare = queue.consumer().lock();
        while self.nr < self.max {
            let to = self.to;
            if queue.take_plain(|event| write_event(to, event))? {
                self.count_one();
                if current!().fatal_signal_pending() {
                    break;
                }
                continue;
            }
            let taken = queue.take(&mut spare, tested, |event: &Event| write_event(to, event))?;
            match taken {
                Take::Nothing => return Ok(false),
                Take::Untested => return Ok(true),
                Take::Dropped => self.levels = true,
                Take::Delivered | Take::DeliveredLevel => {
                    self.levels |= taken == Take::DeliveredLevel;
                    self.count_one();
                }
            }
            if current!().fatal_signal_pending() {
                break;
            }
        }
        Ok(false)
    }

    /// One more was copied.
    #[inline(always)]
    fn count_one(&mut self) {
        self.nr = self.nr.saturating_add(1);
        // The caller has checked that all of them fit into the address space.
        self.to = self.to.wrapping_byte_add(size_of::<Event>());
    }
}
