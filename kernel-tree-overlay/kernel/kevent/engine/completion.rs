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

/// Prepares a completion of `class` for a queue: `EPERM` if that may not use the class, `EPIPE` if
/// its owner has gone, `EAGAIN` if too much waits there.
///
/// What is returned is used up by [`complete`] or [`give_up`].
pub(crate) fn prepare(queue: Arc<Queue>, class: u32, user_data: u64) -> Result<KBox<Post>> {
    if !queue.allows(class) {
        return Err(EPERM);
    }
    let event = Event(uapi::kevent_event {
        user_data,
        info: class,
        ..Event::default().0
    });
    let mut post = Post::new(&queue, event)?;
    if post.is_foreign() {
        // As with kevent_post(): the program need not have chosen `user_data`.
        post.event.0.info |= uapi::KEVENT_INFO_POSTED;
    }
    queue.reserve_completion(&post)?;
    post.queue = Some(queue);
    Ok(post)
}

/// What was prepared has happened: `events` with `words`.
///
/// May be called from any context that may take a spinlock.
pub(crate) fn complete(mut post: KBox<Post>, events: u32, words: EventData) {
    if let Some(queue) = post.queue.take() {
        let event = &mut post.event;
        event.0.events = events & uapi::KEVENT_EVENTS_MASK;
        event.0.info |= words.info;
        event.0.data = words.data;
        event.0.extra = words.extra;
        queue.post_reserved(post);
        Queue::put(queue);
    }
}

/// What was prepared will not happen.
///
/// May be called from any context that may take a spinlock.
pub(crate) fn give_up(mut post: KBox<Post>) {
    if let Some(queue) = post.queue.take() {
        queue.unreserve_completion(&post);
        Queue::put(queue);
    }
}
