// SPDX-License-Identifier: GPL-2.0-only

//! The list of watches that want to be visited.
//!
//! Whoever lists a watch may be in an interrupt, so this is a stack to push to without a lock. The
//! one who visits, under the mutex of the watches, takes all of it at once: nothing is ever popped
//! alone, so an element cannot come back between a look and an exchange.
//!
//! Who finds the list empty does not take the mutex. A watch that is visited is not on the list,
//! so visits are counted, when they begin and when they end: the list is empty if it was and
//! nobody has visited meanwhile. Thus whoever looks at the queue sees what happened before that,
//! even if somebody else is just about to find it.
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

/// Which watches are to be visited.
pub(crate) struct Visits {
    /// Listed since somebody looked.
    listed: Atomic<u32>,
    /// Listed before, and not visited yet. Written under the mutex of the watches.
    left: Atomic<u32>,
    /// How often visits began and ended: odd while there is one. Written under the mutex of the
    /// watches.
    turns: Atomic<u32>,
}

/// Somebody visits those that are listed.
pub(crate) struct Turn<'a>(&'a Visits);

impl Visits {
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

    /// Whether there is nothing to visit, nor being visited.
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

    /// Begins to visit. To be called under the mutex of the watches, which is to be held until the
    /// turn is dropped.
    pub(crate) fn begin(&self) -> Turn<'_> {
        let turns = self.turns.load(Relaxed);
        // ORDERING: `look_again` and `pop` write the list after this.
        self.turns.store(turns.wrapping_add(1), Relaxed);
        Turn(self)
    }

    /// Looks at what was listed since the last time. To be called when nothing is left.
    pub(crate) fn look_again(&self) {
        self.left.store(self.listed.xchg(END, Full), Relaxed);
    }

    /// The place of the next watch to visit, if there is one left.
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
#[kunit_tests(kevent_visits)]
mod tests {
    use super::*;

    #[test]
    fn each_is_visited_once_and_what_is_listed_meanwhile_later() {
        let visits = Visits::new();
        let links = [const { Atomic::new(7u32) }; 3];
        assert!(visits.is_empty() && visits.first().is_none());
        visits.push(0, &links[0]);
        visits.push(2, &links[2]);
        assert!(!visits.is_empty() && visits.first().is_none());
        let turn = visits.begin();
        visits.look_again();
        assert_eq!(visits.first(), Some(2));
        visits.pop(&links[2]);
        visits.push(2, &links[2]);
        visits.push(1, &links[1]);
        assert_eq!(visits.first(), Some(0));
        visits.pop(&links[0]);
        assert_eq!(visits.first(), None);
        assert!(!visits.is_empty());
        visits.look_again();
        assert_eq!(visits.first(), Some(1));
        visits.pop(&links[1]);
        assert_eq!(visits.first(), Some(2));
        visits.pop(&links[2]);
        // The last one is being visited.
        assert!(!visits.is_empty());
        drop(turn);
        assert!(visits.is_empty());
    }
}
