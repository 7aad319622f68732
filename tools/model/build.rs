// SPDX-License-Identifier: GPL-2.0-only

//! Derives what the tests need from the kernel's files: the interface's constants and structures
//! from the C header, the parts of `queue.rs` and `source.rs` that a watch has to do with, and
//! copies of `ring.rs` and `watch.rs` with one thing wrong each.

use std::env;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

const HEADER: &str = "include/uapi/linux/kevent.h";
const RING: &str = "kernel/kevent/core/ring.rs";

const WATCH: &str = "kernel/kevent/engine/watch.rs";
const STATE: &str = "kernel/kevent/core/state.rs";
const TABLE: &str = "kernel/kevent/engine/table.rs";
const LEVEL: &str = "kernel/kevent/engine/level.rs";
const QUEUE: &str = "kernel/kevent/engine/queue.rs";
const SOURCE: &str = "kernel/kevent/source/mod.rs";

const TESTS: &str = "#[cfg(CONFIG_KEVENT_KUNIT_TEST)]";

/// What is needed of `source.rs`.
const SOURCE_ITEMS: &[&str] = &[
    "trait Source",
    "fn check_no_arg",
    "trait Intercept",
    "trait Class",
];

/// What is needed of `queue.rs`, beside methods of `Queue`: those that have nothing to do with
/// files, memory limits and posts. What they use of the kernel is in `src/queue.rs`.
const QUEUE_ITEMS: &[&str] = &[
    "enum Pending",
    "enum Take",
    "impl Take",
    "enum Popped",
    "type Spare",
    "struct Backlog",
    "impl Backlog",
    "struct Flushed",
    "const FLUSH_BATCH",
    "const WAKER_BATCH",
    "const MAX_DEFERRED",
    "const COMPACT_BATCH",
    "const REMOVED_BATCH",
    "const MAX_TRIES",
    "const POLL_WAKE_ANY",
    "const POLLED",
    "struct NoRoom",
];
const QUEUE_METHODS: &[&str] = &[
    "ring",
    "sleep",
    "wake_to_look",
    "consumer",
    "watches",
    "count_merge",
    "is_backlogged",
    "recheck_list",
    "list",
    "kick_waiter",
    "has_room",
    "add_poll_wake",
    "recheck",
    "recheck_noting",
    "recheck_further",
    "reserve",
    "shrink_backlog",
    "reserve_watches",
    "unreserve_watches",
    "skip_watch",
    "with_backlog_lock",
    "compact",
    "defer_watch",
    "cancel",
    "withdraw",
    "cancel_by",
    "leave_backlog",
    "publish",
    "wake",
    "needs_attention",
    "attend",
    "wake_slowly",
    "flush_if_free",
    "flush_backlog",
    "flush_backlog_slowly",
    "flush_whole_backlog",
    "flush_slowly",
    "sleepers",
    "publish_silently",
    "wake_one",
    "leave_unasked",
    "ask_all",
    "claim_recheck",
    "claim_look",
    "recheck_claimed",
    "wake_for",
    "wake_sleepers",
    "wake_after_append",
    "count_unwoken",
    "flush_some",
    "show_backlog",
    "has",
    "take",
    "take_plain",
    "deliver",
    "taken",
    "take_backlog",
    "pop_backlog",
    "pop_backlog_once",
    "first_levels",
    "put_back",
    "put_back_event",
    "after_append",
];

/// What these import, and what the tests need of them.
const QUEUE_IMPORTS: &str = "\
use ::core::cell::Cell;
use kernel::prelude::*;
use kernel::sync::atomic::{ordering::{Full, Relaxed}, Atomic};
use kernel::sync::barrier::smp_mb;
use kernel::sync::Arc;
use crate::core::event::Event;
use crate::core::fifo::{Buffer, Fifo};
use super::queue::{Answer, Deadline, IrqWork, Mutex, Post, Queue, WaitQueue, Wake, Woken};
use crate::core::ring::{Index, Merge, Ring, TakenPlain};
use super::level::{State, Tested, Verdict};
use super::table::{Batch, Table, Walk};
use super::trace;
use crate::core::recheck::RecheckList;
use super::watch::{Rechecker, Watch};
use crate::uapi;

impl Backlog {
    pub(crate) fn new() -> Self {
        Self { fifo: Fifo::new(), posts: 0, foreign: 0, removed: 0, watches: 0 }
    }

    /// How many there is room for: watches, and posts; and how many have been removed.
    pub(crate) fn counts(&self) -> (usize, usize, usize) {
        (self.watches, self.posts, self.removed)
    }
}
";

/// Copies of `ring.rs`: the name, and what is replaced by what. Each string must be there exactly
/// once.
const COPIES: &[(&str, &[(&str, &str)])] = &[
    // Not a mutation: without a lap in the word it repeats after one lap and not after 16, so that
    // the model checker gets there. A change must not hit a stranger all the same. (Consumers need
    // the lap if there are several, so there is one.)
    ("no_lap_bits", &[NO_LAP_BITS]),
    (
        "no_next",
        &[(
            "self.slot.next.load(Acquire) == self.index as u32\n            && ",
            "",
        )],
    ),
    (
        "relaxed_next",
        &[(
            "slot.next.xchg(next, Full)",
            "slot.next.xchg(next, Release)",
        )],
    ),
    (
        "no_busy_look",
        &[
            NO_LAP_BITS,
            ("self.update_lock.load(Acquire) != 0", "false"),
        ],
    ),
    (
        "no_tail_look",
        &[
            NO_LAP_BITS,
            (
                "if passed || old & ENTRY_MASK != ours",
                "if (passed && false) || old & ENTRY_MASK != ours",
            ),
        ],
    ),
    (
        "relaxed_busy",
        &[
            NO_LAP_BITS,
            (
                "slot.update_lock.cmpxchg(0, 1, Full)",
                "slot.update_lock.cmpxchg(0, 1, Relaxed)",
            ),
        ],
    ),
    (
        "relaxed_tail",
        &[
            NO_LAP_BITS,
            (
                "tail.0.cmpxchg(index, index.wrapping_add(1), Full)",
                "tail.0.cmpxchg(index, index.wrapping_add(1), Relaxed)",
            ),
        ],
    ),
    (
        "relaxed_word",
        &[(
            "slot_ref.word.store(word, Release)",
            "slot_ref.word.store(word, Relaxed)",
        )],
    ),
    (
        "relaxed_take",
        &[
            (
                "let word = self.word(index.into()).load(Acquire)",
                "let word = self.word(index.into()).load(Relaxed)",
            ),
            (
                "let index = self.cursor_word().load(Acquire)",
                "let index = self.cursor_word().load(Relaxed)",
            ),
            (
                "cursor_word().cmpxchg(index, next, Full)",
                "cursor_word().cmpxchg(index, next, Relaxed)",
            ),
            ("xchg(TAKEN, Full)", "xchg(TAKEN, Relaxed)"),
        ],
    ),
    (
        "relaxed_free",
        &[("store(FREE, Release)", "store(FREE, Relaxed)")],
    ),
    // The acquire of the word alone changes nothing: the barrier after the claim does the same.
    (
        "relaxed_claim",
        &[
            (
                "self.word.load(Acquire) & STATE_MASK == FREE",
                "self.word.load(Relaxed) & STATE_MASK == FREE",
            ),
            (
                "tail.0.cmpxchg(index, index.wrapping_add(1), Full)",
                "tail.0.cmpxchg(index, index.wrapping_add(1), Relaxed)",
            ),
        ],
    ),
    (
        "no_lap",
        &[(
            "!taken && word & (LAP_MASK << LAP_SHIFT) == self.lap(index.into())",
            "!taken",
        )],
    ),
    (
        "blind_change",
        &[(
            "match word.cmpxchg(old, new, Full) {",
            "match Ok::<u32, u32>(word.xchg(new, Full)) {",
        )],
    ),
    (
        "blind_cursor",
        &[(
            "self.cursor_word().cmpxchg(index, next, Full).ok()?;",
            "self.cursor_word().store(next, Release);",
        )],
    ),
    (
        "blind_take",
        &[(
            "Some(at.word.xchg(TAKEN, Full))",
            "let word = at.word.load(Acquire);\n        at.word.xchg(TAKEN, Full);\n        Some(word)",
        )],
    ),
    (
        "stale_take",
        &[("(word != first.word).then(", "false.then(")],
    ),
    (
        "stale_plain_take",
        &[("if word != first.word {", "if false {")],
    ),
    (
        "no_busy",
        &[
            NO_LAP_BITS,
            ("slot.update_lock.cmpxchg(0, 1, Full).is_err()", "false"),
        ],
    ),
];

/// A change of a copy: in `watch`, `state`, `table` or the `methods` of the queue, what is replaced by what.
type Change = (&'static str, &'static str, &'static str);

/// Copies of `watch.rs` and of what is around it.
const WATCH_COPIES: &[(&str, &[Change])] = &[
    (
        "listed_late",
        &[(
            "watch",
            "        if mode.is_level() && !old.is_on_list() {\n            self.relist();\n        }\n        self.post_owned(mode, report.and_events_of(old), mode.disarm())\n",
            "        let outcome = self.post_owned(mode, report.and_events_of(old), mode.disarm());\n        if mode.is_level() && !old.is_on_list() {\n            self.relist();\n        }\n        outcome\n",
        )],
    ),
    (
        "not_listed",
        &[
            (
                "state",
                "let listed = if mode.is_level()",
                "let listed = if false",
            ),
            (
                "watch",
                "if mode.is_level() && !old.is_on_list()",
                "if false",
            ),
        ],
    ),
    (
        "listed_for_ever",
        &[(
            "state",
            "self.0 & !(ON_LIST | REPOLL | REFIRED)",
            "self.0 & !(REPOLL | REFIRED)",
        )],
    ),
    (
        "untaken_not_listed",
        &[(
            "watch",
            "            if self.is_unconsumed() {\n                self.list();\n",
            "            if self.is_unconsumed() {\n",
        )],
    ),
    (
        "waiting_not_listed",
        &[(
            "watch",
            "mode.is_level() && old.is_reporting()",
            "mode.is_level() && old.is_reporting() && !old.is_deferred()",
        )],
    ),
    (
        "owned_not_looked_at",
        &[(
            "watch",
            "if old.is_deferred() {\n                return RecheckOutcome::Stays;",
            "if old.is_reporting() {\n                return RecheckOutcome::Stays;",
        )],
    ),
    (
        "no_more",
        &[(
            "state",
            "(self.0 & EVENTS != 0 && self.0 & (OFF | HELD) == 0)",
            "false",
        )],
    ),
    (
        "more_when_silent",
        &[(
            "state",
            "(self.0 & EVENTS != 0 && self.0 & (OFF | HELD) == 0)",
            "self.0 & EVENTS != 0",
        )],
    ),
    (
        "two_owners",
        &[(
            "state",
            "self.0 & (REPORTING | HELD | OFF | VANISH_PENDING) == 0",
            "self.0 & (DEFERRED | HELD | OFF | VANISH_PENDING) == 0",
        )],
    ),
    (
        "waits_twice",
        &[(
            "state",
            "self.0 & (REPORTING | HELD | OFF | VANISH_PENDING) == 0",
            "self.0 & (OWNED | HELD | OFF | VANISH_PENDING) == 0",
        )],
    ),
    (
        "waits_for_ever",
        &[(
            "state",
            "(self.0 & !(DEFERRED | REPORTABLE)) | OWNED | disarm.0",
            "(self.0 & !REPORTABLE) | OWNED | disarm.0",
        )],
    ),
    (
        "never_silent",
        &[(
            "state",
            "| OWNED | mode.disarm().0 | listed",
            "| OWNED | listed",
        )],
    ),
    (
        "last_one_merges",
        &[(
            "watch",
            "self.last_entry().filter(|_| !report.is_last())",
            "self.last_entry()",
        )],
    ),
    (
        "last_one_after_gone",
        &[
            (
                "state",
                "(self.0 | REMOVED) & !VANISH_PENDING",
                "self.0 | REMOVED",
            ),
            (
                "state",
                "!(DEFERRED | SKIP | VANISH_PENDING)",
                "!(DEFERRED | SKIP)",
            ),
        ],
    ),
    (
        "vanishes_under_a_mover",
        &[(
            "watch",
            "self.queue.with_backlog_lock(|| {\n            let old = self.update(|state| state.vanished(mode, events));\n            (old, self.keeps_place(old))\n        });",
            "{\n            let old = self.update(|state| state.vanished(mode, events));\n            (old, self.keeps_place(old))\n        };",
        )],
    ),
    (
        "place_judged_under_a_mover",
        &[(
            "watch",
            "old.is_vanish_pending() || has_event",
            "old.is_vanish_pending() || { let _ = has_event; self.keeps_place(old) }",
        )],
    ),
    (
        "last_one_taken_for_reported",
        &[(
            "watch",
            "return old.is_vanish_pending() || has_event;",
            "return false;",
        )],
    ),
    (
        "not_forgotten",
        &[("watch", "self.update(State::skipped);", "")],
    ),
    (
        "comes_out_in_two_steps",
        &[
            (
                "state",
                "(self.0 & !(DEFERRED | SKIP | VANISH_PENDING)) | ON_LIST",
                "self.0 & !(DEFERRED | SKIP | VANISH_PENDING)",
            ),
            (
                "watch",
                "if !self.update(State::passed_over).is_on_list() {",
                "self.update(State::passed_over);\n        if !self.update(State::listed).is_on_list() {",
            ),
        ],
    ),
    (
        "gone_not_listed",
        &[(
            "watch",
            "if old.is_gone() {\n            self.list();",
            "if old.is_gone() {",
        )],
    ),
    (
        "settled_while_owned",
        &[(
            "state",
            "self.is_gone() && self.0 & (REPORTING | VANISH_PENDING) == 0",
            "self.is_gone() && self.0 & VANISH_PENDING == 0",
        )],
    ),
    (
        "entry_not_known",
        &[(
            "watch",
            "self.entry.store(index, Relaxed);\n        trace::publish(",
            "trace::publish(",
        )],
    ),
    (
        "no_refill_by_who_adds",
        &[("watch", "self.queue.flush_if_free();", "")],
    ),
    (
        "look_without_asking",
        &[("watch", "self.queue.kick_waiter();", "")],
    ),
    (
        "the_rest_not_asked",
        &[(
            "methods",
            "if self.unasked.fetch_add(1, Full) == 0 {",
            "if false {",
        )],
    ),
    (
        "recheck_not_shown",
        &[(
            "methods",
            "ring.set_flag(uapi::KEVENT_RING_RECHECK, true);",
            "",
        )],
    ),
    (
        "recheck_shown_before_it_is_wanted",
        &[(
            "watch",
            "        if !old.is_on_list() {\n            self.relist();\n        }\n        self.queue.kick_waiter();\n",
            "        self.queue.kick_waiter();\n        if !old.is_on_list() {\n            self.relist();\n        }\n",
        )],
    ),
    (
        "count_not_given_back",
        &[("watch", "self.set_deferred_count(first);", "let _ = first;")],
    ),
    (
        "put_back_twice",
        &[(
            "watch",
            "        !old.is_reporting()\n    }",
            "        true\n    }",
        )],
    ),
    (
        "not_tried_again",
        &[(
            "methods",
            "        smp_mb(Full);\n        self.flush_some(backlog, WAKER_BATCH)\n",
            "        Flushed { entries: 0, more: false }\n",
        )],
    ),
    (
        "sleeps_without_a_refill",
        &[(
            "methods",
            "        self.flush_whole_backlog();\n        self.recheck(Rechecker::PROGRAM, seen, nr);\n        let ready = || {\n",
            "        self.recheck(Rechecker::PROGRAM, seen, nr);\n        let ready = || {\n",
        )],
    ),
    (
        "cancelled_before_it_is_forgotten",
        &[(
            "table",
            "        queue.skip_watch(watch);\n        let intercepted = watch.source().intercept();\n        let mut cancelled = intercepted.is_some_and(|it| it.removed(watch, cancels));\n        if cancels {\n            cancelled |= watch.cancel_entry();\n        }\n",
            "        let intercepted = watch.source().intercept();\n        let mut cancelled = intercepted.is_some_and(|it| it.removed(watch, cancels));\n        if cancels {\n            cancelled |= watch.cancel_entry();\n        }\n        queue.skip_watch(watch);\n",
        )],
    ),
    (
        "not_detached",
        &[(
            "table",
            "        watch.source().detach(queue);\n        queue.skip_watch(watch);\n",
            "        queue.skip_watch(watch);\n",
        )],
    ),
    (
        "changed_while_it_reports",
        &[
            (
                "state",
                "self.0 & (REPORTING | HELD | OFF | VANISH_PENDING) == 0",
                "self.0 & (REPORTING | OFF | VANISH_PENDING) == 0",
            ),
            ("state", "self.0 & (OFF | HELD) == 0", "self.0 & OFF == 0"),
        ],
    ),
    (
        "withdrawn_trigger_is_lost",
        &[(
            "watch",
            "self.source.keep(events, flags);",
            "let _ = flags;",
        )],
    ),
    (
        "producer_not_waited_for",
        &[("watch", "self.source.synchronize();", "")],
    ),
    (
        "old_event_not_cancelled",
        &[("watch", "polls |= self.withdraw(flags);", "")],
    ),
    (
        "mover_not_waited_for",
        &[(
            "watch",
            "let deferred = self.queue.leave_backlog(self);",
            "let deferred: Option<u32> = None;",
        )],
    ),
    (
        "cancelled_count_is_lost",
        &[(
            "watch",
            "count.saturating_add(deferred_count)",
            "deferred_count.min(count.min(0))",
        )],
    ),
    (
        "left_place_not_passed_over",
        &[("watch", "if state.has_left() {", "if false {")],
    ),
    (
        "plain_event_without_a_wake",
        &[("watch", "|| queue.needs_attention() ||", "||")],
    ),
    (
        "freed_while_busy",
        &[(
            "table",
            "is_some_and(|watch| watch.is_busy())",
            "is_some_and(|_| false)",
        )],
    ),
];

const NO_LAP_BITS: (&str, &str) = ("uapi::KEVENT_WORD_LAP_MASK", "0");

fn main() {
    let manifest = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("set by cargo"));
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("set by cargo"));
    let overlay = manifest.join("../../kernel-tree-overlay");

    println!("cargo::rerun-if-changed=build.rs");
    let header = read(&overlay.join(HEADER));
    write(&out.join("uapi.rs"), &uapi(&header));

    copies_of_ring(&overlay, &out);
    watches(&overlay, &manifest.join("src"), &out);
}

/// Makes one change after the other.
fn change(name: &str, file: &str, text: &str, changes: &[(&str, &str)]) -> String {
    let mut text = text.to_owned();
    for (from, to) in changes {
        let found = text.matches(from).count();
        assert!(
            found == 1,
            "copy {name}: `{from}` is {found} times in {file}; bring tools/model/build.rs up to date"
        );
        text = text.replace(from, to);
    }
    text
}

fn copies_of_ring(overlay: &Path, out: &Path) {
    let ring = read(&overlay.join(RING));
    // Without its own tests, which do the same things again.
    let ring = ring.split(TESTS).next().unwrap_or_default();
    let mut modules = String::new();
    for (name, changes) in COPIES {
        let path = out.join(format!("{name}.rs"));
        write(&path, &change(name, RING, ring, changes));
        let lap_mask = if changes.contains(&NO_LAP_BITS) {
            NO_LAP_BITS.1
        } else {
            "crate::uapi::KEVENT_WORD_LAP_MASK"
        };
        writeln!(
            modules,
            "#[rustfmt::skip]\n#[allow(unused, clippy::all, clippy::undocumented_unsafe_blocks)]\n\
             #[path = {path:?}]\npub(crate) mod {name};\n\
             crate::protocol::implement!(crate::copies::{name}, {lap_mask});"
        )
        .expect("a string takes it");
    }
    write(&out.join("copies.rs"), &modules);
}

/// Puts together what surrounds `watch.rs`: once as it is, and once for each of the copies with
/// something wrong.
///
/// The files import each other by `super`, so that each copy has its own neighbours.
fn watches(overlay: &Path, src: &Path, out: &Path) {
    let items = read(&overlay.join(SOURCE));
    let items: String = SOURCE_ITEMS
        .iter()
        .map(|i| item(SOURCE, &items, i))
        .collect();
    write(&out.join("source_items.rs"), &items);

    let imports = ("use crate::{", "use super::{");
    // What the kernel's `Arc` can do is a trait here.
    const ARCS: (&str, &str) = (
        "use kernel::sync::Arc;",
        "use kernel::{prelude::*, sync::Arc};",
    );
    let watch = change(
        "watch",
        WATCH,
        &read(&overlay.join(WATCH)),
        &[
            imports,
            ("use crate::core::state::", "use super::core::state::"),
            // There a borrow is a reference to the `Arc`.
            ("defer_watch(self.into())", "defer_watch(self.clone())"),
            ("#[pin_data]\n", ""),
            ("    #[pin]\n", ""),
        ],
    );
    let state = read(&overlay.join(STATE));
    let table = change("table", TABLE, &read(&overlay.join(TABLE)), &[imports]);
    let level = change(
        "level",
        LEVEL,
        &read(&overlay.join(LEVEL)),
        &[imports, ARCS],
    );
    let queue = read(&overlay.join(QUEUE));
    let queue = queue.split(TESTS).next().unwrap_or_default();
    let mut methods: String = QUEUE_IMPORTS.to_owned();
    for name in QUEUE_ITEMS {
        methods += &item(QUEUE, queue, name);
    }
    let of_queue = item(QUEUE, queue, "impl Queue");
    methods += "impl Queue {\n";
    for name in QUEUE_METHODS {
        methods += &block(QUEUE, &of_queue, "    ", &format!("fn {name}"));
    }
    methods += "}\n";

    // They are always checked here.
    let asserting = |text: String| text.replace("debug_assert!(", "assert!(");
    let (watch, table, methods) = (asserting(watch), asserting(table), asserting(methods));
    let level = asserting(level);

    let mut modules = String::new();
    let world = |name: &str, to: &mut String, changes: &[Change]| {
        let dir = out.join(format!("watch_{name}"));
        fs::create_dir_all(&dir).expect("OUT_DIR can be written");
        let files = [
            ("watch", &watch),
            ("table", &table),
            ("level", &level),
            ("methods", &methods),
        ];
        for (file, text) in files {
            let ours: Vec<_> = changes
                .iter()
                .filter(|c| c.0 == file)
                .map(|c| (c.1, c.2))
                .collect();
            let path = dir.join(format!("{file}.rs"));
            write(&path, &change(name, file, text, &ours));
            writeln!(
                to,
                "#[rustfmt::skip]\n#[path = {path:?}]\n\
                 #[allow(unused, clippy::all)]\npub(crate) mod {file};"
            )
            .expect("a string takes it");
        }
    };
    let mut unchanged = String::new();
    world("unchanged", &mut unchanged, &[]);
    write(&out.join("watch.rs"), &unchanged);
    for (name, changes) in WATCH_COPIES {
        writeln!(
            modules,
            "pub(crate) mod {name} {{\nuse crate::{{sys, trace}};\npub(crate) mod engine {{ pub(crate) use super::{{queue, table, watch}}; }}"
        )
        .expect("a string takes it");
        world(name, &mut modules, changes);
        let ours: Vec<_> = changes
            .iter()
            .filter(|c| c.0 == "state")
            .map(|c| (c.1, c.2))
            .collect();
        let path = out.join(format!("watch_{name}/state.rs"));
        write(&path, &change(name, STATE, &state, &ours));
        writeln!(
            modules,
            "pub(crate) mod core {{\npub(crate) use crate::core::{{event, recheck, ring, slots}};\n\
             #[rustfmt::skip]\n#[path = {path:?}]\n#[allow(unused, clippy::all)]\npub(crate) mod state;\n}}"
        )
        .expect("a string takes it");
        for file in ["queue", "source", "states"] {
            let path = src.join(format!("{file}.rs"));
            writeln!(
                modules,
                "#[path = {path:?}]\n#[allow(dead_code, clippy::duplicate_mod)]\n\
                 pub(crate) mod {file};"
            )
            .expect("a string takes it");
        }
        modules += "}\n";
    }
    write(&out.join("watch_copies.rs"), &modules);
}

/// An item at the top of a file, such as `struct Name`.
fn item(file: &str, text: &str, name: &str) -> String {
    let item = block(file, text, "", name);
    if item.starts_with("struct") {
        format!("pub(crate) {item}")
    } else {
        item
    }
}

/// What begins with `name` at that indentation, up to its end.
fn block(file: &str, text: &str, indent: &str, name: &str) -> String {
    let begins = |line: &str| {
        let line = line.strip_prefix(indent).unwrap_or_default();
        let rest = line
            .strip_prefix("pub(crate) ")
            .unwrap_or(line)
            .strip_prefix(name);
        rest.is_some_and(|rest| !rest.starts_with(|c: char| c.is_alphanumeric() || c == '_'))
    };
    let mut out = String::new();
    for line in text.lines().skip_while(|line| !begins(line)) {
        let is_one_line = out.is_empty() && line.ends_with(';');
        writeln!(out, "{line}").expect("a string takes it");
        if is_one_line || line.strip_prefix(indent) == Some("}") {
            return out;
        }
    }
    panic!("there is no `{name}` in {file}; bring tools/model/build.rs up to date");
}

fn write(path: &Path, text: &str) {
    fs::write(path, text).expect("OUT_DIR can be written");
}

fn read(path: &Path) -> String {
    println!("cargo::rerun-if-changed={}", path.display());
    fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// Translates the part of C that the header is written in: object-like macros that are numbers, and
/// structures of integers and arrays of them.
fn uapi(header: &str) -> String {
    let code = without_comments(header);
    let mut out = String::new();
    let mut lines = code.lines();
    while let Some(line) = lines.next() {
        let line = line.trim();
        if let Some(rest) = line.strip_prefix("#define ") {
            let (name, value) = rest.split_once([' ', '\t']).unwrap_or((rest, ""));
            if let Some(value) = number(value.trim()) {
                writeln!(out, "pub const {name}: u32 = {value:#x};").expect("a string takes it");
            }
        } else if let Some(name) = line
            .strip_prefix("struct ")
            .and_then(|l| l.strip_suffix(" {"))
        {
            writeln!(
                out,
                "#[repr(C)]\n#[derive(Clone, Copy, Debug, Default)]\npub struct {name} {{"
            )
            .expect("a string takes it");
            for line in lines.by_ref() {
                let line = line.trim();
                if line == "};" {
                    break;
                }
                if !line.is_empty() {
                    let field = field(line).unwrap_or_else(|| panic!("struct {name}: `{line}`"));
                    writeln!(out, "    pub {field},").expect("a string takes it");
                }
            }
            out.push_str("}\n");
        }
    }
    out
}

fn without_comments(code: &str) -> String {
    let mut out = String::new();
    let mut rest = code;
    while let Some((before, after)) = rest.split_once("/*") {
        out.push_str(before);
        rest = after.split_once("*/").expect("the comment ends").1;
    }
    out + rest
}

/// A literal, or `(1U << n)`.
fn number(text: &str) -> Option<u32> {
    if let Some((one, shift)) = text
        .strip_prefix('(')
        .and_then(|t| t.strip_suffix(')'))
        .and_then(|t| t.split_once(" << "))
    {
        return number(one)?.checked_shl(number(shift)?);
    }
    let digits = text.trim_end_matches('U');
    match digits.strip_prefix("0x") {
        Some(hex) => u32::from_str_radix(hex, 16).ok(),
        None => digits.parse().ok(),
    }
}

fn field(line: &str) -> Option<String> {
    let (ty, name) = line.strip_suffix(';')?.split_once(' ')?;
    let ty = match ty {
        "__u32" => "u32",
        "__s32" => "i32",
        "__u64" => "u64",
        "__s64" => "i64",
        _ => return None,
    };
    Some(
        match name.strip_suffix(']').and_then(|n| n.split_once('[')) {
            Some((name, len)) => format!("{name}: [{ty}; {len}]"),
            None => format!("{name}: {ty}"),
        },
    )
}
