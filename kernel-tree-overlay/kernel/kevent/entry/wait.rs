// SPDX-License-Identifier: GPL-2.0-only

//! `kevent_wait()` and `kevent_get_events()`: waiting for events, and taking them.

use kernel::{
    prelude::*,
    sync::wait::Woken,
    time::deadline::Deadline,
    uaccess::{
        UserPtr,
        UserSlice, //
    },
    uapi, //
};

use crate::{
    core::event::Event,
    engine::{
        queue::Queue,
        watch::Rechecker, //
    }, //
};

/// `kevent_wait()`: returns how many events there are from `args.seen` on.
pub(crate) fn wait(
    queue: &Queue,
    args: &uapi::kevent_wait,
    deadline: Option<&Deadline>,
) -> Result<u32> {
    // A queue without a ring has no indices.
    let seen = queue.ring().map(|_| args.seen);
    if queue.ring().is_some_and(|r| args.min_nr > r.entries()) {
        return Err(EINVAL);
    }

    queue.flush_whole_backlog();
    queue.recheck(Rechecker::PROGRAM, seen, args.min_nr.max(1));
    queue.show_counters();
    if args.min_nr == 0 {
        return Ok(queue.available(seen));
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
    match woken {
        // Others may have taken them in the meantime; 0 would say that the time is over.
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
    let mut got = 0u32;
    let mut expired = false;
    loop {
        // CAST: The caller has checked that all of them fit into the address space.
        let at = to.wrapping_byte_add((got as usize).wrapping_mul(size_of::<Event>()));
        match copy_events(queue, max.saturating_sub(got), at) {
            Ok(n) => got = got.saturating_add(n),
            Err(e) if got == 0 => return Err(e),
            Err(_) => break,
        }
        // When the time is over, what there is counts.
        if got >= min || expired {
            break;
        }
        // No more than the ring can hold at a time.
        let most = queue.ring().map_or(u32::MAX, |r| r.entries());
        let nr = min.saturating_sub(got).min(most);
        // What was taken just now may have been what kept a watch from going on.
        queue.recheck(Rechecker::PROGRAM, None, nr);
        match queue.sleep(None, nr, deadline) {
            Woken::Ready | Woken::Late => {}
            Woken::TimedOut => expired = true,
            Woken::Interrupted if got == 0 => return Err(EINTR),
            Woken::Interrupted => break,
        }
    }
    queue.show_counters();
    Ok(got)
}

/// Takes at most `max` events without sleeping for them, and copies them to `to`.
///
/// Those that cannot be copied stay in the queue.
fn copy_events(queue: &Queue, max: u32, to: UserPtr) -> Result<u32> {
    queue.flush_whole_backlog();
    queue.recheck(Rechecker::PROGRAM, None, 1);
    let mut spare = queue.consumer().lock();
    let mut at = to;
    for copied in 0..max {
        let deliver = |event: &Event| {
            let to = UserSlice::new(at, size_of::<Event>());
            to.writer().write(event)
        };
        let taken = queue.take(&mut spare, deliver);
        at = at.wrapping_byte_add(size_of::<Event>());
        match taken {
            Ok(true) if !current!().fatal_signal_pending() => {}
            Ok(true) => return Ok(copied.saturating_add(1)),
            Err(e) if copied == 0 => return Err(e),
            Ok(false) | Err(_) => return Ok(copied),
        }
    }
    Ok(max)
}
