// SPDX-License-Identifier: GPL-2.0-only

//! That the interleavings can fail: each copy of `ring.rs` or `watch.rs` with something wrong is
//! caught.
//!
//! The build script makes the copies, and fails when the files no longer have what it changes.

use crate::copies;
use crate::memory::{self, check};
use crate::scenarios::{self, Consumer};
use crate::watch_copies;
use std::panic;

/// Runs a scenario that has to fail in some interleaving with at most that many preemptions.
fn caught(preemptions: usize, test: impl Fn() + Send + Sync + 'static) {
    let result = panic::catch_unwind(panic::AssertUnwindSafe(|| check(preemptions, test)));
    memory::forget();
    assert!(result.is_err(), "no scenario fails");
}

macro_rules! mutations {
    ($($name:ident: $copy:ident, $scenario:ident $(($($arg:expr),*))?;)*) => {$(
        #[test]
        fn $name() {
            caught(3, || scenarios::$scenario::<copies::$copy::Ring>($($($arg),*)?));
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
    taken_is_what_was_first: stale_take, merge_and_take(Consumer::Kernel);
    plain_taken_is_what_was_first: stale_plain_take, merge_and_take(Consumer::Plain);
    plain_slot_freed_without_release: relaxed_free, publish_and_take(Consumer::Plain);
    plain_cursor_without_compare: blind_cursor, two_consumers(Consumer::Plain, Consumer::Program);
}

macro_rules! watches {
    ($($copy:ident: $scenario:ident($setting:expr $(, $arg:expr)*);)*) => {
        mod watches {
            use super::{caught, watch_copies};
            use super::Consumer::{Kernel, Program};
            $(
                #[test]
                fn $copy() {
                    #[allow(unused_imports)]
                    use watch_copies::$copy::states::{
                        watch, DISPATCH, EDGE, LEVEL, ONESHOT, VANISHED,
                    };
                    caught(2, || watch_copies::$copy::states::$scenario($setting $(, $arg)*));
                }
            )*
        }
    };
}

watches! {
    listed_late: level(watch(LEVEL), Program, false);
    not_listed: level(watch(LEVEL), Program, false);
    listed_for_ever: level(watch(LEVEL), Program, false);
    untaken_not_listed: level_reported_again(watch(LEVEL));
    waiting_not_listed: level_and_look(watch(LEVEL).full(), Program);
    owned_not_looked_at: level(watch(LEVEL), Program, false);
    no_more: two_wakers(watch(EDGE), Program);
    more_when_silent: oneshot(watch(ONESHOT));
    two_owners: two_wakers(watch(EDGE), Program);
    waits_twice: full_ring(watch(EDGE).counted(), Program);
    waits_for_ever: full_ring(watch(EDGE), Program);
    never_silent: oneshot(watch(ONESHOT));
    last_one_merges: vanish(watch(EDGE | VANISHED), Program);
    last_one_after_gone: vanish_and_close(watch(EDGE | VANISHED).full());
    vanishes_under_a_mover: vanish_while_it_waits(watch(ONESHOT | VANISHED));
    place_judged_under_a_mover: vanish_while_it_waits(watch(ONESHOT | VANISHED));
    last_one_taken_for_reported: vanish_twice(watch(EDGE | VANISHED));
    not_forgotten: remove_what_waits(watch(EDGE));
    comes_out_in_two_steps: remove(watch(EDGE).without_ring(), Kernel);
    gone_not_listed: oneshot(watch(ONESHOT));
    settled_while_owned: oneshot_and_look(watch(ONESHOT).full());
    entry_not_known: remove(watch(EDGE), Program);
    no_refill_by_who_adds: busy_program(watch(EDGE));
    look_without_asking: request_repoll(watch(EDGE));
    the_rest_not_asked: behind_a_crowd(watch(EDGE));
    recheck_not_shown: look_when_shown(watch(EDGE));
    recheck_shown_before_it_is_wanted: look_when_shown(watch(EDGE));
    count_not_given_back: full_ring(watch(EDGE).counted(), Program);
    put_back_twice: unconsume(watch(EDGE).without_ring());
    not_tried_again: sleeper_and_backlog(watch(EDGE), Program);
    sleeps_without_a_refill: sleeper_and_backlog(watch(EDGE), Program);
    cancelled_before_it_is_forgotten: remove_what_waits(watch(EDGE));
    not_detached: remove(watch(EDGE), Kernel);
    changed_while_it_reports: modify(watch(EDGE).counted().full(), Kernel);
    withdrawn_trigger_is_lost: trigger(watch(EDGE).triggered(), Program);
    producer_not_waited_for: modify(watch(EDGE), Program);
    old_event_not_cancelled: modify(watch(EDGE), Program);
    mover_not_waited_for: modify(watch(EDGE).full(), Kernel);
    cancelled_count_is_lost: modify(watch(EDGE).counted(), Kernel);
    left_place_not_passed_over: modify_twice(watch(EDGE).without_ring(), Kernel);
    plain_event_without_a_wake: level(watch(LEVEL).plain(), Program, false);
    freed_while_busy: remove_what_waits(watch(EDGE));
}
