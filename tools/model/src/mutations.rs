// SPDX-License-Identifier: GPL-2.0-only

//! That the interleavings can fail: each copy of `ring.rs` with something wrong is caught.
//!
//! The build script makes the copies, and fails when `ring.rs` no longer has what it changes.

use crate::copies;
use crate::memory::{self, check};
use crate::scenarios::{self, Consumer};
use std::panic;

/// Runs a scenario that has to fail in some interleaving.
fn caught(test: impl Fn() + Send + Sync + 'static) {
    let result = panic::catch_unwind(panic::AssertUnwindSafe(|| check(3, test)));
    memory::forget();
    assert!(result.is_err(), "nobody noticed");
}

macro_rules! mutations {
    ($($name:ident: $copy:ident, $scenario:ident $(($($arg:expr),*))?;)*) => {$(
        #[test]
        fn $name() {
            caught(|| scenarios::$scenario::<copies::$copy::Ring>($($($arg),*)?));
        }
    )*};
}

mutations! {
    no_look_at_next: no_next, two_producers;
    next_lap_without_a_barrier_for_the_sleeper: relaxed_next, sleeper_and_producers(1);
    next_lap_without_a_barrier_for_the_backlog: relaxed_next, backlog_and_producer;
    no_look_at_busy_by_the_producer: no_busy_look, late_change_and_republish(1, false);
    no_look_at_busy_by_the_producer_for_cancel: no_busy_look, late_change_and_republish(1, true);
    no_look_at_the_tail_by_the_merger: no_tail_look, late_change_and_republish(1, false);
    busy_without_a_barrier: relaxed_busy, late_change_and_republish(1, false);
    tail_without_a_barrier: relaxed_tail, late_change_and_republish(1, false);
    word_published_without_release: relaxed_word, publish_and_take(Consumer::Kernel);
    word_published_without_release_for_the_program: relaxed_word, publish_and_take(Consumer::Program);
    word_taken_without_acquire: relaxed_take, publish_and_take(Consumer::Kernel);
    slot_freed_without_release: relaxed_free, publish_and_take(Consumer::Kernel);
    slot_found_free_without_acquire: relaxed_claim, publish_and_take(Consumer::Program);
    no_look_at_the_lap: no_lap, two_consumers(Consumer::Program, Consumer::Kernel);
    merge_without_compare: blind_change, merge_and_take(Consumer::Program);
    cancel_without_compare: blind_change, cancel_and_take(Consumer::Program);
    cursor_without_compare: blind_cursor, two_consumers(Consumer::Kernel, Consumer::Program);
    taken_is_what_was_seen_before: blind_take, merge_and_take(Consumer::Kernel);
    two_changes_at_a_time: no_busy, merge_with_an_amount(Consumer::Program);
    cursor_goes_back_before_the_word: cursor_first, restore_and_take(Consumer::Program);
    restore_forgets_a_merge: blind_restore, restore_change_and_take(false);
}
