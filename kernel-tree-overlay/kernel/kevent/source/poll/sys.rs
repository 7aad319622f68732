// SPDX-License-Identifier: GPL-2.0-only

//! What wakes the source of a POLL watch.

use kernel::{
    bindings,
    prelude::*,
    sync::{
        wait_entry::HasWaitEntries,
        ArcBorrow, //
    },
    uapi, //
};

use crate::{
    engine::watch::Watch,
    source::{
        fd::{
            watch_with,
            HasFileLink, //
        },
        poll::{
            Poll,
            MANY, //
        },
        Class, //
    }, //
};

// SAFETY:
// * The offset is that of the entries, of which there are `N`.
// * Watches live in an `Arc`, and `Table::remove_at` detaches their source, which removes the
//   entries, before it drops its reference. Before a watch is in the table its entries are on no
//   queue.
unsafe impl<const N: usize> HasWaitEntries for Watch<Poll<N>> {
    const OFFSET: usize = core::mem::offset_of!(Watch<Poll<N>>, source.entries);
    const COUNT: usize = N;

    #[inline(always)]
    fn woken(this: ArcBorrow<'_, Self>, key: u32) -> bool {
        let events = Poll::wanted(&this, key);
        if events == 0 {
            let unknown = key & uapi::KEVENT_EVENTS_MASK == 0;
            return unknown && Poll::woken_slowly(this, key, events, unknown);
        }
        if this.source().link.is_doubtful(events) {
            return woken_doubtfully(this, key, events);
        }
        Poll::woken(this, key, events)
    }
}

/// There was a wake-up for `key`, which is no proof of the `events` that are of interest. As those
/// of TCP are not, this is not cold; but the others need not save registers for what it calls.
#[inline(never)]
fn woken_doubtfully<const N: usize>(
    watch: ArcBorrow<'_, Watch<Poll<N>>>,
    key: u32,
    events: u32,
) -> bool {
    // SAFETY: This is called by a wake function, on a wait queue that the file has named.
    let (events, unknown) = unsafe { watch.source().link.read(events) };
    if events == 0 || unknown {
        return Poll::woken_slowly(watch, key, events, unknown);
    }
    Poll::woken(watch, key, events)
}

// 16 bytes for the `Arc`, the queue and the state each, 40 for the link, 40 for an entry.
const _: () = assert!(size_of::<Watch<Poll<1>>>() + 8 <= 128);

// SAFETY: `Poll::watch` makes them with one entry and with many, which `watch_of` distinguish. The
// link is there, and `detach` unlinks it.
unsafe impl<const N: usize> HasFileLink for Poll<N> {
    // CAST: Both are small.
    const KIND: u16 = (Self::NUMBER | (N as u32) << 8) as u16;
    const OFFSET: usize = core::mem::offset_of!(Watch<Self>, source.link);
}

/// The watch that a link is in, given its kind.
pub(crate) fn of_link(link: *const bindings::kevent_file_link, kind: u16) -> *const Watch {
    if kind == Poll::<MANY>::KIND {
        watch_with::<Poll<MANY>>(link, kind)
    } else {
        watch_with::<Poll<1>>(link, kind)
    }
}
