// SPDX-License-Identifier: GPL-2.0-only

//! Posted events that wait for a free slot, or are yet to come.

use kernel::{
    prelude::*,
    sync::Arc, //
};

use crate::{
    core::event::Event,
    engine::queue::Queue,
    sys::limits::PostCharge, //
};

/// An event that was posted, with the memory that it needs as long as it waits.
#[derive(Default)]
pub(crate) struct Post {
    pub(crate) event: Event,
    /// Whether the task that posted it does not own the queue.
    foreign: bool,
    /// None if it was not posted: an event that a consumer puts back.
    _charge: Option<PostCharge>,
    /// Where it is going to be posted, if it is yet to come: see
    /// [`completion`](crate::engine::completion).
    pub(crate) queue: Option<Arc<Queue>>,
}

impl Post {
    /// What the current task posts to a queue. It counts against the user of the task, `EAGAIN` if
    /// that has too much, until it is dropped.
    pub(crate) fn new(queue: &Queue, event: Event) -> Result<KBox<Self>> {
        let post = Self {
            event,
            foreign: !queue.owner.is_maker(),
            _charge: Some(PostCharge::new(EAGAIN)?),
            queue: None,
        };
        Ok(KBox::new(post, GFP_KERNEL_ACCOUNT)?)
    }

    /// Whether the task that posted it does not own the queue.
    pub(crate) fn is_foreign(&self) -> bool {
        self.foreign
    }
}
