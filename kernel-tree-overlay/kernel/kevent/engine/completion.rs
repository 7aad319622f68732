// SPDX-License-Identifier: GPL-2.0-only

//! Completions that are yet to come: what the kernel was asked to do, and will report when it is
//! done.
//!
//! Such a request is not a watch: it happens once, and in no order with others. From the day it
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
    engine::{
        post::Post,
        queue::Queue, //
    }, //
};

/// A completion that is yet to come.
///
/// It may be dropped in any context that may take a spinlock.
pub(crate) struct Completion {
    queue: Option<Arc<Queue>>,
    post: Option<KBox<Post>>,
}

impl Completion {
    /// A completion of `class` for a queue: `EPERM` if that may not use the class, `EPIPE` if its
    /// owner has gone, `EAGAIN` if too much waits there.
    pub(crate) fn new(queue: Arc<Queue>, class: u32, user_data: u64) -> Result<KBox<Self>> {
        if !queue.allows(class) {
            return Err(EPERM);
        }
        let event = Event(uapi::kevent_event {
            user_data,
            info: class,
            ..Event::default().0
        });
        let post = Post::new(&queue, event)?;
        queue.reserve_completion(&post)?;
        let completion = Self {
            queue: Some(queue),
            post: Some(post),
        };
        // If that fails, the completion is dropped and gives its place back.
        Ok(KBox::new(completion, GFP_KERNEL_ACCOUNT)?)
    }

    /// It has happened: `events` with `words`.
    ///
    /// May be called from any context that may take a spinlock.
    pub(crate) fn complete(mut self: KBox<Self>, events: u32, words: EventData) {
        if let (Some(queue), Some(mut post)) = (self.queue.take(), self.post.take()) {
            let event = &mut post.event;
            event.0.events = events & uapi::KEVENT_EVENTS_MASK;
            event.0.info |= words.info;
            event.0.data = words.data;
            event.0.extra = words.extra;
            queue.post_reserved(post);
            Queue::put(queue);
        }
    }
}

impl Drop for Completion {
    fn drop(&mut self) {
        if let (Some(queue), Some(post)) = (self.queue.take(), &self.post) {
            queue.unreserve_completion(post);
            Queue::put(queue);
        }
    }
}
