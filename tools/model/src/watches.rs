// SPDX-License-Identifier: GPL-2.0-only

//! The states of a watch, in the kernel's `watch.rs` and what is around it, in every interleaving.

use crate::memory::check;
use crate::scenarios::Consumer::{Kernel, Program};
use crate::states::{self, watch, DISPATCH, EDGE, LEVEL, ONESHOT, VANISHED};

/// How many preemptions there may be, as given below. Each takes ten times as long as the one
/// before.
fn preemptions(n: usize) -> usize {
    if cfg!(debug_assertions) {
        2.min(n)
    } else {
        n
    }
}

macro_rules! hold {
    ($(
        $(#[$attr:meta])*
        $name:ident: $n:literal, $($scenario:ident($setting:expr $(, $arg:expr)*)),+;
    )*) => {$(
        #[test]
        $(#[$attr])*
        fn $name() {
            $(check(preemptions($n), || states::$scenario($setting $(, $arg)*));)+
        }
    )*};
}

hold! {
    two_wakers_are_reported: 3,
        two_wakers(watch(EDGE), Program),
        two_wakers(watch(EDGE), Kernel);
    two_wakers_of_a_level_are_reported: 2,
        two_wakers(watch(LEVEL), Program);
    two_wakers_count: 2,
        two_wakers(watch(EDGE).counted(), Program);
    two_wakers_without_a_ring_are_reported: 2,
        two_wakers(watch(EDGE).without_ring(), Kernel);
    two_wakers_without_a_ring_count: 2,
        two_wakers(watch(EDGE).without_ring().counted(), Kernel);
    full_ring_is_taken: 2,
        full_ring(watch(EDGE), Program),
        full_ring(watch(EDGE), Kernel);
    full_ring_is_taken_with_counts: 2,
        full_ring(watch(EDGE).counted(), Program);
    sleeper_and_backlog: 3,
        sleeper_and_backlog(watch(EDGE), Program),
        sleeper_and_backlog(watch(EDGE), Kernel);
    busy_program_gets_what_waits: 3,
        busy_program(watch(EDGE)),
        busy_program(watch(EDGE).counted());
    oneshot_reports_once: 2,
        oneshot(watch(ONESHOT)),
        oneshot(watch(ONESHOT).counted());
    oneshot_waits_and_reports_once: 2,
        oneshot(watch(ONESHOT).full()),
        oneshot(watch(ONESHOT).without_ring());
    oneshot_and_look: 2,
        oneshot_and_look(watch(ONESHOT)),
        oneshot_and_look(watch(ONESHOT).full());
    dispatch_reports_once_when_enabled: 2,
        dispatch(watch(DISPATCH)),
        dispatch(watch(DISPATCH).full());
    dispatch_counts: 1,
        dispatch_of_two(watch(DISPATCH).counted()),
        dispatch(watch(DISPATCH).counted().full());
    level_that_stays: 3,
        level(watch(LEVEL), Program, false);
    level_that_is_used_up: 3,
        level(watch(LEVEL), Program, true);
    level_taken_by_the_kernel: 1,
        level(watch(LEVEL), Kernel, false),
        level(watch(LEVEL), Kernel, true);
    level_that_waits: 2,
        level(watch(LEVEL).full(), Program, false),
        level(watch(LEVEL).full(), Kernel, true);
    level_without_a_ring: 2,
        level(watch(LEVEL).without_ring(), Kernel, false);
    level_of_two: 2,
        level_of_two(watch(LEVEL), Program);
    level_that_is_moved: 2,
        level_and_mover(watch(LEVEL));
    level_and_look: 2,
        level_and_look(watch(LEVEL), Program),
        level_and_look(watch(LEVEL).full(), Program);
    level_meets_look: 2,
        level_meets_look(watch(LEVEL)),
        level_meets_look(watch(LEVEL).full());
    level_reported_again: 2,
        level_reported_again(watch(LEVEL));
    triggered: 2,
        trigger(watch(EDGE).triggered(), Program),
        trigger(watch(EDGE).triggered(), Kernel),
        trigger(watch(LEVEL).triggered(), Program);
    triggered_and_deferred: 2,
        trigger(watch(EDGE).triggered().full(), Kernel),
        trigger(watch(EDGE).triggered().without_ring(), Kernel);
    triggered_while_moved: 1,
        trigger_while_moved(watch(EDGE).triggered());
    level_off_and_on: 1,
        level_off_and_on(watch(LEVEL), Program),
        level_off_and_on(watch(LEVEL).full(), Program);
    edge_becomes_level: 1,
        edge_becomes_level(watch(EDGE), Program),
        edge_becomes_level(watch(EDGE).full(), Program);
    modified_reports_with_the_new_name: 2,
        modify(watch(EDGE), Program),
        modify(watch(EDGE), Kernel),
        modify(watch(LEVEL), Program);
    modified_oneshot: 2,
        modify(watch(ONESHOT), Kernel),
        modify(watch(ONESHOT).full(), Kernel);
    modified_dispatch: 2,
        modify(watch(DISPATCH), Program),
        modify(watch(DISPATCH).without_ring(), Kernel);
    modified_counts: 2,
        modify(watch(EDGE).counted(), Program),
        modify(watch(EDGE).counted(), Kernel),
        modify(watch(EDGE).counted().full(), Kernel);
    modified_in_the_backlog: 2,
        modify(watch(EDGE).full(), Program),
        modify(watch(EDGE).full(), Kernel);
    modified_without_a_ring: 2,
        modify(watch(EDGE).without_ring(), Kernel),
        modify(watch(EDGE).without_ring().counted(), Kernel);
    modified_twice: 1,
        modify_twice(watch(EDGE), Program),
        modify_twice(watch(EDGE).full(), Kernel),
        modify_twice(watch(EDGE).without_ring(), Kernel);
    removed_reports_nothing: 2,
        remove(watch(EDGE), Kernel),
        remove(watch(LEVEL), Program);
    removed_without_a_ring_reports_nothing: 2,
        remove(watch(EDGE).without_ring(), Kernel);
    removed_oneshot: 2,
        remove(watch(ONESHOT), Kernel),
        remove(watch(ONESHOT).counted(), Kernel);
    removed_from_the_backlog: 2,
        remove(watch(EDGE).full(), Kernel),
        remove_what_waits(watch(EDGE));
    removed_oneshot_from_the_backlog: 2,
        remove_what_waits(watch(ONESHOT));
    vanishes_last: 2,
        vanish(watch(EDGE | VANISHED), Program),
        vanish(watch(EDGE | VANISHED), Kernel);
    vanishes_last_out_of_the_backlog: 2,
        vanish(watch(EDGE | VANISHED).full(), Kernel),
        vanish_while_it_waits(watch(EDGE | VANISHED));
    vanishes_without_a_ring: 2,
        vanish(watch(EDGE | VANISHED).without_ring(), Kernel);
    vanishes_level: 2,
        vanish(watch(LEVEL | VANISHED), Program),
        vanish_while_it_waits(watch(LEVEL | VANISHED));
    vanishes_or_reports_once: 2,
        vanish(watch(ONESHOT | VANISHED), Kernel),
        vanish(watch(ONESHOT | VANISHED).full(), Kernel);
    vanishes_or_reports_once_out_of_the_backlog: 3,
        vanish_while_it_waits(watch(ONESHOT | VANISHED));
    vanishes_twice: 2,
        vanish_twice(watch(EDGE | VANISHED)),
        vanish_twice(watch(LEVEL | VANISHED)),
        vanish_twice(watch(ONESHOT | VANISHED));
    vanishes_and_is_closed: 2,
        vanish_and_close(watch(EDGE | VANISHED).full()),
        vanish_and_close(watch(LEVEL | VANISHED).without_ring());
    found_behind_a_crowd: 2,
        behind_a_crowd(watch(EDGE)),
        behind_a_crowd(watch(LEVEL));
    looked_at: 2,
        request_repoll(watch(EDGE)),
        request_repoll(watch(LEVEL));
    looked_at_when_shown: 2,
        look_when_shown(watch(EDGE)),
        look_when_shown(watch(LEVEL));
    removed_while_it_is_polled: 2,
        look_and_remove(watch(EDGE)),
        look_and_remove(watch(LEVEL));
    plain_wakers_are_reported: 2,
        two_wakers(watch(EDGE).plain(), Program),
        two_wakers(watch(LEVEL).plain(), Program),
        full_ring(watch(EDGE).plain(), Program),
        sleeper_and_backlog(watch(EDGE).plain(), Program);
    plain_level: 2,
        level(watch(LEVEL).plain(), Program, false),
        level(watch(LEVEL).plain(), Program, true),
        level_of_two(watch(LEVEL).plain(), Program),
        level_and_look(watch(LEVEL).plain(), Program),
        level_meets_look(watch(LEVEL).plain());
    plain_modified: 2,
        modify(watch(EDGE).plain(), Program),
        modify(watch(LEVEL).plain(), Program),
        edge_becomes_level(watch(EDGE).plain(), Program);
    plain_removed: 2,
        remove(watch(EDGE).plain(), Kernel),
        remove(watch(LEVEL).plain(), Program),
        vanish(watch(LEVEL | VANISHED).plain(), Program),
        look_and_remove(watch(LEVEL).plain());
    untaken: 3,
        unconsume(watch(EDGE).without_ring()),
        unconsume(watch(EDGE).without_ring().counted());
    untaken_oneshot: 3,
        unconsume(watch(ONESHOT).without_ring()),
        unconsume(watch(ONESHOT).without_ring().counted());
    untaken_from_the_ring: 2,
        unconsume(watch(EDGE)),
        unconsume(watch(EDGE).counted());
    untaken_and_visited: 3,
        untake_what_goes(watch(ONESHOT).without_ring(), false);
    untaken_and_removed: 3,
        untake_what_goes(watch(EDGE).without_ring(), true),
        untake_what_goes(watch(EDGE), true);
}
