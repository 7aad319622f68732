// SPDX-License-Identifier: GPL-2.0-only

//! Posted events that wait for a free slot, or are yet to come.

use kernel::prelude::*;

use crate::{
    core::event::Event,
    engine::queue::Queue,
    sys::limits::PostCharge, //
};

/// An event that was posted, with the memory that it needs as long as it waits.
#[derive(Default)]
pub(crate) struct Post {
    pub(crate) event: Event,
    /// If the task that posted it does not own the queue.
    charge: Option<PostCharge>,
}

impl Post {
    /// What the current task posts to a queue. If that is not its own, it counts against the user
    /// of the task: `EAGAIN` if that has too much.
    pub(crate) fn new(queue: &Queue, event: Event) -> Result<KBox<Self>> {
        let charge = if queue.owner.is_maker() {
            None
        } else {
            Some(PostCharge::new()?)
        };
        Ok(KBox::new(Self { event, charge }, GFP_KERNEL_ACCOUNT)?)
    }

    /// Whether the task that posted it does not own the queue.
    pub(crate) fn is_foreign(&self) -> bool {
        self.charge.is_some()
    }
}
