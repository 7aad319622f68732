// SPDX-License-Identifier: GPL-2.0-only

//! Completions that are yet to come: what the kernel was asked to do, and will report when it is
//! done.
//!
//! Such a request is not a watch: it happens once, to nobody's order but its own. From the day it
//! is made, it owns the memory and the place in the backlog that its event needs.

use kernel::{
    prelude::*,
    sync::Arc,
    uapi, //
};

use crate::{
    core::event::{
        Event,
        EventData, //
    },
    engine::queue::Queue, //
};

/// A completion that is yet to come.
///
/// It may be dropped in any context that may take a spinlock.
pub(crate) struct Completion {
    queue: Option<Arc<Queue>>,
    event: Option<KBox<Event>>,
}

impl Completion {
    /// A completion of `class` for a queue: `EPERM` if that may not use the class, `EAGAIN` if too
    /// much waits there.
    pub(crate) fn new(queue: Arc<Queue>, class: u32, user_data: u64) -> Result<KBox<Self>> {
        if !queue.allows(class) {
            return Err(EPERM);
        }
        let event = Event(uapi::kevent_event {
            user_data,
            info: class,
            ..Event::default().0
        });
        let event = KBox::new(event, GFP_KERNEL_ACCOUNT)?;
        queue.reserve_completion()?;
        let completion = Self {
            queue: Some(queue),
            event: Some(event),
        };
        // If that fails, the completion is dropped and gives its place back.
        Ok(KBox::new(completion, GFP_KERNEL_ACCOUNT)?)
    }

    /// It has happened: `events` with `words`.
    ///
    /// May be called from any context that may take a spinlock.
    pub(crate) fn complete(mut self: KBox<Self>, events: u32, words: EventData) {
        if let (Some(queue), Some(mut event)) = (self.queue.take(), self.event.take()) {
            event.0.events = events & uapi::KEVENT_EVENTS_MASK;
            event.0.info |= words.info;
            event.0.data = words.data;
            event.0.extra = words.extra;
            queue.post_reserved(event);
            Queue::put(queue);
        }
    }
}

impl Drop for Completion {
    fn drop(&mut self) {
        if let Some(queue) = self.queue.take() {
            queue.unreserve_watches(1);
            Queue::put(queue);
        }
    }
}
