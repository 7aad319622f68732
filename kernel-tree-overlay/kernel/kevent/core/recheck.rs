// SPDX-License-Identifier: GPL-2.0-only

//! The list of watches that want to be rechecked.
//!
//! A watch may be listed in an interrupt, so this is a stack to push to without a lock. The task
//! that rechecks, under the mutex of the watches, takes all of it at once: nothing is ever popped
//! alone, so an element cannot come back between a load and an exchange. The task then goes along
//! them in the order in which they were listed.
//!
//! A task that finds the list empty does not take the mutex. A watch that is rechecked is not on
//! the list, so rechecks are counted, when they begin and when they end: the list is empty if it
//! was and no task has rechecked meanwhile. While a file is polled the mutex is not held, and that
//! is not counted: if there is something to report, a task that sleeps by then is woken for it.
//!
//! The links are in the watches, and say where in the table a watch is. A watch is listed at most
//! once at a time: a bit of its state sees to that.

#[cfg(CONFIG_KEVENT_KUNIT_TEST)]
use kernel::prelude::*;
use kernel::sync::atomic::{
    ordering::{
        Acquire,
        Full,
        Relaxed,
        Release, //
    },
    Atomic, //
};

/// The end of a list.
pub(crate) const END: u32 = u32::MAX;

/// Which watches are to be rechecked.
pub(crate) struct RecheckList {
    /// Listed since the last recheck.
    listed: Atomic<u32>,
    /// Listed before, and not rechecked yet. Written under the mutex of the watches.
    left: Atomic<u32>,
    /// How often rechecks began and ended: odd while there is one. Written under the mutex of the
    /// watches.
    turns: Atomic<u32>,
}

/// A task rechecks those that are listed.
pub(crate) struct Turn<'a>(&'a RecheckList);

impl RecheckList {
    pub(crate) fn new() -> Self {
        Self {
            listed: Atomic::new(END),
            left: Atomic::new(END),
            turns: Atomic::new(0),
        }
    }

    /// Lists the watch at `place`, whose link is `next`. A full barrier.
    #[inline]
    pub(crate) fn push(&self, place: u32, next: &Atomic<u32>) {
        let mut head = self.listed.load(Relaxed);
        loop {
            next.store(head, Relaxed);
            match self.listed.cmpxchg(head, place, Full) {
                Ok(_) => return,
                Err(now) => head = now,
            }
        }
    }

    /// Whether there is nothing to recheck, nor being rechecked.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        // ORDERING: Who sees what a turn has done to the list sees that it began, by the second
        // load, and who sees that it ended sees all it has done.
        let turns = self.turns.load(Acquire);
        turns & 1 == 0
            && self.listed.load(Acquire) == END
            && self.left.load(Acquire) == END
            && self.turns.load(Relaxed) == turns
    }

    /// Begins to recheck. To be called under the mutex of the watches, which is to be held until
    /// the turn is dropped.
    pub(crate) fn begin(&self) -> Turn<'_> {
        let turns = self.turns.load(Relaxed);
        // ORDERING: `take_listed` and `pop` write the list after this.
        self.turns.store(turns.wrapping_add(1), Relaxed);
        Turn(self)
    }

    /// Takes what was listed since the last time, the last one first. For the caller to hand back
    /// in the order in which it was listed: [`RecheckList::set_left`]. To be called when nothing is
    /// left.
    pub(crate) fn take_listed(&self) -> u32 {
        self.listed.xchg(END, Full)
    }

    /// The list to go along begins with `first`.
    pub(crate) fn set_left(&self, first: u32) {
        self.left.store(first, Relaxed);
    }

    /// The place of the next watch to recheck, if there is one left.
    pub(crate) fn first(&self) -> Option<u32> {
        Some(self.left.load(Relaxed)).filter(|p| *p != END)
    }

    /// Takes the first one off the list; `next` is its link.
    pub(crate) fn pop(&self, next: &Atomic<u32>) {
        self.left.store(next.load(Relaxed), Release);
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let turns = self.0.turns.load(Relaxed);
        self.0.turns.store(turns.wrapping_add(1), Release);
    }
}

#[cfg(CONFIG_KEVENT_KUNIT_TEST)]
#[kunit_tests(kevent_recheck_list)]
mod tests {
    use super::*;

    #[test]
    fn each_comes_once_and_what_is_listed_meanwhile_later() {
        let recheck_list = RecheckList::new();
        let links = [const { Atomic::new(7u32) }; 3];
        assert!(recheck_list.is_empty() && recheck_list.first().is_none());
        recheck_list.push(0, &links[0]);
        recheck_list.push(2, &links[2]);
        assert!(!recheck_list.is_empty() && recheck_list.first().is_none());
        let turn = recheck_list.begin();
        let first = recheck_list.take_listed();
        assert_eq!(first, 2);
        recheck_list.set_left(first);
        assert_eq!(recheck_list.first(), Some(2));
        recheck_list.pop(&links[2]);
        recheck_list.push(2, &links[2]);
        recheck_list.push(1, &links[1]);
        assert_eq!(recheck_list.first(), Some(0));
        recheck_list.pop(&links[0]);
        assert_eq!(recheck_list.first(), None);
        assert!(!recheck_list.is_empty());
        recheck_list.set_left(recheck_list.take_listed());
        assert_eq!(recheck_list.first(), Some(1));
        recheck_list.pop(&links[1]);
        assert_eq!(recheck_list.first(), Some(2));
        recheck_list.pop(&links[2]);
        // The last one is being rechecked.
        assert!(!recheck_list.is_empty());
        drop(turn);
        assert!(recheck_list.is_empty());
    }
}
