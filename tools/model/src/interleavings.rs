// SPDX-License-Identifier: GPL-2.0-only

//! The hand-overs of the kernel's `ring.rs`, in every interleaving.

use crate::copies::no_lap_bits;
use crate::core::ring::Ring;
use crate::memory::check;
use crate::scenarios::{self, Consumer};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::Arc;

/// How many preemptions there may be. Each takes several times as long as the one before, and ten
/// times as long without optimization.
fn preemptions(n: usize) -> usize {
    if cfg!(debug_assertions) {
        2
    } else {
        n
    }
}

#[test]
fn two_producers_never_share_a_slot() {
    check(preemptions(3), scenarios::two_producers::<Ring>);
}

#[test]
#[cfg_attr(debug_assertions, ignore = "long without optimization")]
fn two_producers_and_a_consumer_never_share_a_slot() {
    check(
        preemptions(3),
        scenarios::two_producers_and_a_consumer::<Ring>,
    );
}

#[test]
fn payload_is_visible_to_the_program() {
    check(preemptions(6), || {
        scenarios::publish_and_take::<Ring>(Consumer::Program);
    });
}

#[test]
fn payload_is_visible_to_the_kernel() {
    check(preemptions(5), || {
        scenarios::publish_and_take::<Ring>(Consumer::Kernel);
    });
    check(preemptions(5), || {
        scenarios::publish_and_take::<Ring>(Consumer::Plain);
    });
}

#[test]
fn merge_counts_once() {
    check(preemptions(7), || {
        scenarios::merge_and_take::<Ring>(Consumer::Program);
    });
    check(preemptions(7), || {
        scenarios::merge_and_take::<Ring>(Consumer::Kernel);
    });
    check(preemptions(7), || {
        scenarios::merge_and_take::<Ring>(Consumer::Plain);
    });
}

#[test]
fn amount_stays_as_it_was_posted() {
    check(preemptions(4), || {
        scenarios::merge_leaves_the_amount::<Ring>(Consumer::Program);
    });
    check(preemptions(4), || {
        scenarios::merge_leaves_the_amount::<Ring>(Consumer::Kernel);
    });
}

#[test]
fn late_merges_never_hit_a_stranger() {
    check(preemptions(2), || {
        scenarios::late_changes_and_republish::<Ring>();
    });
}

#[test]
fn late_merge_never_hits_a_stranger() {
    check(preemptions(4), || {
        scenarios::late_change_and_republish::<Ring>(1, false);
    });
}

#[test]
fn late_cancel_never_hits_a_stranger() {
    check(preemptions(4), || {
        scenarios::late_change_and_republish::<Ring>(1, true);
    });
}

#[test]
fn late_merge_never_hits_a_stranger_without_a_lap() {
    check(preemptions(4), || {
        scenarios::late_change_and_republish::<no_lap_bits::Ring>(1, false);
    });
}

#[test]
fn late_cancel_never_hits_a_stranger_without_a_lap() {
    check(preemptions(4), || {
        scenarios::late_change_and_republish::<no_lap_bits::Ring>(1, true);
    });
}

#[test]
#[cfg_attr(debug_assertions, ignore = "long without optimization")]
fn late_merge_never_hits_a_stranger_sixteen_laps_later() {
    check(1, || {
        scenarios::late_change_and_republish::<Ring>(16, false);
    });
}

#[test]
fn cancel_or_take_wins() {
    check(preemptions(8), || {
        scenarios::cancel_and_take::<Ring>(Consumer::Program);
    });
    check(preemptions(8), || {
        scenarios::cancel_and_take::<Ring>(Consumer::Kernel);
    });
    check(preemptions(8), || {
        scenarios::cancel_and_take::<Ring>(Consumer::Plain);
    });
}

#[test]
fn two_mergers_count_once_each() {
    check(preemptions(3), scenarios::two_mergers::<Ring>);
}

#[test]
fn merge_and_cancel_exclude_each_other() {
    check(preemptions(6), scenarios::merge_and_cancel::<Ring>);
}

#[test]
fn two_threads_of_the_program_consume() {
    check(preemptions(4), || {
        scenarios::two_consumers::<Ring>(Consumer::Program, Consumer::Program);
    });
}

#[test]
fn program_and_kernel_consume() {
    check(preemptions(4), || {
        scenarios::two_consumers::<Ring>(Consumer::Program, Consumer::Kernel);
    });
    check(preemptions(4), || {
        scenarios::two_consumers::<Ring>(Consumer::Kernel, Consumer::Program);
    });
    check(preemptions(4), || {
        scenarios::two_consumers::<Ring>(Consumer::Plain, Consumer::Program);
    });
}

#[test]
fn event_is_taken_by_the_kernel_as_it_is_then() {
    check(preemptions(3), || {
        scenarios::change_and_take_first::<Ring>(false);
    });
}

#[test]
fn cancelled_event_is_not_taken_by_the_kernel() {
    check(preemptions(3), || {
        scenarios::change_and_take_first::<Ring>(true);
    });
}

#[test]
fn sleeper_is_woken() {
    check(preemptions(7), || {
        scenarios::sleeper_and_producers::<Ring>(1);
    });
}

#[test]
fn sleeper_for_two_is_woken_by_the_last() {
    check(preemptions(3), || {
        scenarios::sleeper_and_producers::<Ring>(2);
    });
}

#[test]
fn event_in_the_backlog_is_seen() {
    check(preemptions(3), scenarios::backlog_and_producer::<Ring>);
}

#[test]
fn busy_slot_is_given_up() {
    let given_up = Arc::new(AtomicU32::new(0));
    let count = given_up.clone();
    check(preemptions(3), move || {
        scenarios::busy_slot_is_given_up::<Ring>(&count);
    });
    assert_ne!(given_up.load(Ordering::Relaxed), 0, "it never was");
}
