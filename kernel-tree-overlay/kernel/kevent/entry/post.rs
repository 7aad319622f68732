// SPDX-License-Identifier: GPL-2.0-only

//! `kevent_post()`: events from programs, the USER class.

use kernel::{
    prelude::*,
    uaccess::UserPtr,
    uapi, //
};

use crate::{
    core::event::Event,
    engine::queue::{
        NoRoom,
        Queue, //
    },
    entry::user::read_event, //
};

/// Posts `nr` events, which are `esize` bytes apart; reports how many, or the error of the first.
pub(crate) fn post(queue: &Queue, from: UserPtr, esize: usize, nr: u32, flags: u32) -> Result<u32> {
    if !queue.allows(uapi::KEVENT_SOURCE_USER) {
        return Err(EPERM);
    }
    let mut at = from;
    let mut posted = 0;
    let mut result = Ok(());
    while posted < nr && result.is_ok() && !current!().fatal_signal_pending() {
        result = read(at, esize).and_then(|event| post_one(queue, event, flags));
        if result.is_ok() {
            posted = posted.saturating_add(1);
        }
        at = at.wrapping_byte_add(esize);
    }
    queue.show_counters();
    match result {
        Err(e) if posted == 0 => Err(e),
        _ => Ok(posted),
    }
}

/// Copies one event in.
fn read(at: UserPtr, esize: usize) -> Result<Event> {
    let mut event = read_event(at, esize)?;
    if event.0.events & !uapi::KEVENT_EVENTS_MASK != 0 || event.0.info != 0 {
        return Err(EINVAL);
    }
    event.0.info = uapi::KEVENT_SOURCE_USER | uapi::KEVENT_INFO_POSTED;
    Ok(event)
}

fn post_one(queue: &Queue, event: Event, flags: u32) -> Result {
    if queue.has_ended() {
        return Err(EPIPE);
    }
    match queue.post(&event) {
        Ok(()) => return Ok(()),
        Err(NoRoom) if queue.ring().is_some() && flags & uapi::KEVENT_POST_DEFER == 0 => {
            return Err(EAGAIN);
        }
        Err(NoRoom) => {}
    }
    queue.post_deferred(&event)
}
