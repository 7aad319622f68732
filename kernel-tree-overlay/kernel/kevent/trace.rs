// SPDX-License-Identifier: GPL-2.0-only

//! Tracepoints: see `include/trace/events/kevent.h`.
//!
//! As long as the tracepoint is disabled, each of these functions is a branch that is patched out.
//! What a tracepoint reports is looked up behind it.

use kernel::uapi;

use crate::{
    core::{
        event::Event,
        ring::Index, //
    },
    engine::{
        queue::Queue,
        watch::Watch, //
    },
    source::Source, //
};

mod tracepoints {
    kernel::declare_trace! {
        /// # Safety
        ///
        /// Always safe to call.
        pub(super) unsafe fn kevent_add(
            id: u64,
            handle: u64,
            source: u32,
            flags: u32,
            ident: u64,
            events: u32,
            user_data: u64,
        );

        /// # Safety
        ///
        /// Always safe to call.
        pub(super) unsafe fn kevent_remove(id: u64, handle: u64, source: u32, user_data: u64);

        /// # Safety
        ///
        /// Always safe to call.
        pub(super) unsafe fn kevent_post(
            id: u64,
            place: u32,
            index: u64,
            source: u32,
            events: u32,
            user_data: u64,
        );

        /// # Safety
        ///
        /// Always safe to call.
        pub(super) unsafe fn kevent_merge(
            id: u64,
            place: u32,
            index: u64,
            source: u32,
            events: u32,
            user_data: u64,
        );

        /// # Safety
        ///
        /// Always safe to call.
        pub(super) unsafe fn kevent_defer(
            id: u64,
            place: u32,
            source: u32,
            events: u32,
            user_data: u64,
        );

        /// # Safety
        ///
        /// Always safe to call.
        pub(super) unsafe fn kevent_wake(id: u64);

        /// # Safety
        ///
        /// Always safe to call.
        pub(super) unsafe fn kevent_skip_wake(id: u64, waiters: u32);

        /// # Safety
        ///
        /// Always safe to call.
        pub(super) unsafe fn kevent_consume(id: u64, source: u32, events: u32, user_data: u64);
    }
}

#[cold]
#[inline(never)]
fn behind_the_branch(trace: impl FnOnce()) {
    trace();
}

/// Calls a tracepoint if it is enabled. The arguments are not evaluated otherwise.
macro_rules! trace {
    ($name:ident($($arg:expr),* $(,)?)) => {
        kernel::macros::paste! {
            if tracepoints::[< $name _enabled >]() {
                behind_the_branch(move || {
                    // SAFETY: Always safe to call.
                    unsafe { tracepoints::$name($($arg),*) }
                });
            }
        }
    };
}

/// The place of what is no watch.
const NO_PLACE: u32 = u32::MAX;

/// A watch was added.
#[inline(always)]
pub(crate) fn add(queue: &Queue, handle: u64, record: &uapi::kevent_watch) {
    trace!(kevent_add(
        queue.id(),
        handle,
        record.source,
        record.flags,
        record.ident,
        record.events,
        record.user_data,
    ));
}

/// A watch was removed, by whomever.
#[inline(always)]
pub(crate) fn remove(queue: &Queue, handle: u64, watch: &Watch) {
    trace!(kevent_remove(
        queue.id(),
        handle,
        watch.class(),
        watch.user_data(),
    ));
}

/// Whether it is traced that an event is published, or that no thread is woken for it.
#[inline(always)]
pub(crate) fn is_posting_traced() -> bool {
    tracepoints::kevent_post_enabled() || tracepoints::kevent_skip_wake_enabled()
}

/// A watch has published an event.
#[inline(always)]
pub(crate) fn publish<S: Source + ?Sized>(watch: &Watch<S>, index: Index, events: u32) {
    trace!(kevent_post(
        watch.queue().id(),
        watch.place(),
        index,
        watch.class(),
        events & uapi::KEVENT_EVENTS_MASK,
        watch.user_data(),
    ));
}

/// An event that is no watch's was published.
#[inline(always)]
pub(crate) fn post(queue: &Queue, index: Index, event: &Event) {
    trace!(kevent_post(
        queue.id(),
        NO_PLACE,
        index,
        event.class(),
        event.0.events,
        event.0.user_data,
    ));
}

/// A watch has merged events into its entry.
#[inline(always)]
pub(crate) fn merge<S: Source + ?Sized>(watch: &Watch<S>, index: Index, events: u32) {
    trace!(kevent_merge(
        watch.queue().id(),
        watch.place(),
        index,
        watch.class(),
        events & uapi::KEVENT_EVENTS_MASK,
        watch.user_data(),
    ));
}

/// A watch goes into the backlog.
#[inline(always)]
pub(crate) fn defer(queue: &Queue, watch: &Watch) {
    trace!(kevent_defer(
        queue.id(),
        watch.place(),
        watch.class(),
        watch.pending(),
        watch.user_data(),
    ));
}

/// A posted event goes into the backlog.
#[inline(always)]
pub(crate) fn defer_post(queue: &Queue, event: &Event) {
    trace!(kevent_defer(
        queue.id(),
        NO_PLACE,
        event.class(),
        event.0.events,
        event.0.user_data,
    ));
}

/// A thread is woken for an event.
#[inline(always)]
pub(crate) fn wake(queue: &Queue) {
    trace!(kevent_wake(queue.id()));
}

/// No thread is woken for an event.
#[inline(always)]
pub(crate) fn skip_wake(queue: &Queue) {
    trace!(kevent_skip_wake(queue.id(), queue.sleepers()));
}

/// An event was taken out of the queue by the kernel.
#[inline(always)]
pub(crate) fn consume(queue: &Queue, event: &Event) {
    trace!(kevent_consume(
        queue.id(),
        event.class(),
        event.0.events,
        event.0.user_data,
    ));
}
