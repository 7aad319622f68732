// SPDX-License-Identifier: GPL-2.0-only

//! The litmus tests of `Documentation/litmus-tests/kevent`, decided by brute force.
//!
//! herd7, which decides them properly, is often not to be had. This knows as much of the kernel's
//! memory model (`tools/memory-model/linux-kernel.cat`) as they need: marked accesses,
//! barriers, control dependencies; no plain accesses, no locks, no RCU, no address dependencies. It
//! tries all outcomes of all reads and all orders of the writes to one place, and asks the four
//! axioms (coherence, atomic, happens-before, propagation).
//!
//! To show that it decides as herd7 does, there are some of the model's own tests below, with their
//! verdicts. If the environment variable `LITMUS_TESTS` names a directory, such as the kernel's
//! `tools/memory-model/litmus-tests`, all tests in it that this understands are decided as well.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    Once,
    Acquire,
    Release,
    Full,
}

#[derive(Clone, Debug)]
enum Step {
    Load(String, String, Order),
    Store(String, u32, Order),
    /// Register, place, what is expected if anything, what is stored.
    Swap(String, String, Option<u32>, u32, Order),
    Barrier(Kind),
    /// Register, value, and what is done if they are equal.
    If(String, u32, Vec<Step>),
}

#[derive(Clone, Debug)]
struct Event {
    thread: usize,
    place: String,
    kind: Kind,
    order: Order,
    value: u32,
    /// The event before is the read of the same operation.
    second: bool,
    /// Reads that decided whether this happens.
    control: Vec<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Read,
    Write,
    /// A full barrier, or one for reads or for writes.
    Barrier,
    ReadBarrier,
    WriteBarrier,
}

impl Event {
    fn is_access(&self) -> bool {
        matches!(self.kind, Kind::Read | Kind::Write)
    }
}

#[derive(Debug)]
struct Test {
    never: bool,
    init: BTreeMap<String, u32>,
    threads: Vec<Vec<Step>>,
    /// Of a thread's register, or of a place in the end.
    exists: Vec<(Option<usize>, String, u32)>,
}

fn parse(text: &str) -> Test {
    let never = text.contains("Result: Never");
    assert!(never || text.contains("Result: Sometimes"));
    let (_, rest) = text.split_once("*)").expect("a comment");
    let (init, rest) = rest.split_once('}').expect("what there is first");
    let (code, exists) = rest.split_once("\nexists").expect("a condition");
    let code = code.split("\nlocations").next().unwrap_or_default();
    let init = init.trim().trim_start_matches('{').split(';');
    let init = init.filter_map(|i| i.split_once('='));
    let init = init.map(|(place, value)| (place.trim().to_owned(), value.trim().parse().unwrap()));
    let mut threads = Vec::new();
    let mut tokens = code.lines().map(str::trim).filter(|l| !l.is_empty());
    while let Some(line) = tokens.next() {
        assert!(line.starts_with(&format!("P{}(", threads.len())), "{line}");
        assert_eq!(tokens.next(), Some("{"));
        threads.push(block(&mut tokens));
    }
    let exists = exists.trim().trim_start_matches('(');
    let exists = exists.split(')').next().unwrap_or_default();
    let exists = exists.split("/\\").map(|term| {
        let (name, value) = term.trim().split_once('=').expect("a value");
        let value = value.parse().unwrap();
        match name.split_once(':') {
            Some((thread, register)) => (Some(thread.parse().unwrap()), register.to_owned(), value),
            None => (None, name.to_owned(), value),
        }
    });
    Test {
        never,
        init: init.collect(),
        exists: exists.collect(),
        threads,
    }
}

fn block<'a>(lines: &mut impl Iterator<Item = &'a str>) -> Vec<Step> {
    let mut steps = Vec::new();
    while let Some(line) = lines.next() {
        if line == "}" {
            break;
        }
        if line.starts_with("int ") {
            continue;
        }
        if let Some(condition) = line.strip_prefix("if (") {
            let (condition, rest) = condition.split_once(')').expect("it ends");
            let (register, value) = condition.split_once(" == ").expect("only that");
            let steps_if = match rest.trim() {
                "{" => block(lines),
                "" => vec![step(lines.next().expect("something to do"))],
                other => panic!("{other}"),
            };
            steps.push(Step::If(
                register.to_owned(),
                value.parse().unwrap(),
                steps_if,
            ));
        } else {
            steps.push(step(line));
        }
    }
    steps
}

fn step(line: &str) -> Step {
    let line = line.strip_suffix(");").unwrap_or_else(|| panic!("{line}"));
    let (register, call) = line.split_once(" = ").unwrap_or(("", line));
    let (function, arguments) = call.split_once('(').expect("a call");
    let arguments: Vec<_> = arguments.split(", ").collect();
    let place = arguments[0].trim_start_matches('*').to_owned();
    let number = |n: usize| arguments[n].parse().unwrap();
    let register = register.to_owned();
    let order = match function.rsplit_once('_').map(|f| f.1) {
        Some("relaxed") => Order::Once,
        Some("acquire") => Order::Acquire,
        Some("release") => Order::Release,
        _ => Order::Full,
    };
    match function {
        "WRITE_ONCE" => Step::Store(place, number(1), Order::Once),
        "READ_ONCE" => Step::Load(register, place, Order::Once),
        "smp_store_release" => Step::Store(place, number(1), order),
        "smp_load_acquire" => Step::Load(register, place, order),
        "smp_mb" => Step::Barrier(Kind::Barrier),
        "smp_rmb" => Step::Barrier(Kind::ReadBarrier),
        "smp_wmb" => Step::Barrier(Kind::WriteBarrier),
        f if f.starts_with("xchg") => Step::Swap(register, place, None, number(1), order),
        f if f.starts_with("cmpxchg") => {
            Step::Swap(register, place, Some(number(1)), number(2), order)
        }
        f => panic!("{f}"),
    }
}

/// A thread on its way.
#[derive(Clone, Default)]
struct Run {
    events: Vec<Event>,
    registers: BTreeMap<String, (u32, usize)>,
    control: Vec<usize>,
}

impl Run {
    fn push(&mut self, thread: usize, place: &str, kind: Kind, order: Order, value: u32) {
        self.events.push(Event {
            thread,
            place: place.to_owned(),
            kind,
            order,
            value,
            second: false,
            control: self.control.clone(),
        });
    }
}

/// All that a thread can do, whatever its reads find.
fn runs(thread: usize, steps: &[Step], values: &[u32], so_far: Vec<Run>) -> Vec<Run> {
    let mut all = so_far;
    for step in steps {
        let mut next = Vec::new();
        for mut run in all {
            match step {
                Step::Store(place, value, order) => {
                    run.push(thread, place, Kind::Write, *order, *value);
                    next.push(run);
                }
                Step::Barrier(kind) => {
                    run.push(thread, "", *kind, Order::Full, 0);
                    next.push(run);
                }
                Step::Load(register, place, order) => next.extend(values.iter().map(|value| {
                    let mut run = run.clone();
                    let at = (*value, run.events.len());
                    run.registers.insert(register.clone(), at);
                    run.push(thread, place, Kind::Read, *order, *value);
                    run
                })),
                Step::Swap(register, place, expected, new, order) => {
                    next.extend(values.iter().map(|value| {
                        let mut run = run.clone();
                        let at = (*value, run.events.len());
                        run.registers.insert(register.clone(), at);
                        let succeeds = expected.is_none_or(|e| e == *value);
                        // One that fails has no order.
                        let order = if succeeds { *order } else { Order::Once };
                        run.push(thread, place, Kind::Read, order, *value);
                        if succeeds {
                            run.push(thread, place, Kind::Write, order, *new);
                            run.events.last_mut().unwrap().second = true;
                        }
                        run
                    }));
                }
                Step::If(register, value, then) => {
                    let (found, read) = run.registers[register];
                    // Also for what comes after the branch.
                    run.control.push(read);
                    if found == *value {
                        next.extend(runs(thread, then, values, vec![run]));
                    } else {
                        next.push(run);
                    }
                }
            }
        }
        all = next;
    }
    all
}

/// A relation between at most 32 events.
#[derive(Clone, PartialEq)]
struct Rel(Vec<u32>);

impl Rel {
    fn of(n: usize, f: impl Fn(usize, usize) -> bool) -> Rel {
        let row = |a| (0..n).filter(|b| f(a, *b)).fold(0, |row, b| row | 1 << b);
        Rel((0..n).map(row).collect())
    }

    fn has(&self, a: usize, b: usize) -> bool {
        self.0[a] & 1 << b != 0
    }

    fn or(&self, other: &Rel) -> Rel {
        Rel(self.0.iter().zip(&other.0).map(|(a, b)| a | b).collect())
    }

    fn and(&self, f: impl Fn(usize, usize) -> bool) -> Rel {
        Rel::of(self.0.len(), |a, b| self.has(a, b) && f(a, b))
    }

    /// First this, then the other.
    fn then(&self, other: &Rel) -> Rel {
        let through = |row: &u32| {
            (0..self.0.len())
                .filter(|b| row & 1 << b != 0)
                .fold(0, |to, b| to | other.0[b])
        };
        Rel(self.0.iter().map(through).collect())
    }

    /// Or nothing.
    fn maybe(&self) -> Rel {
        self.or(&Rel::of(self.0.len(), |a, b| a == b))
    }

    /// Any number of times.
    fn star(&self) -> Rel {
        let mut all = self.maybe();
        loop {
            let more = all.then(&all);
            if more == all {
                return all;
            }
            all = more;
        }
    }

    fn acyclic(&self) -> bool {
        let cycles = self.then(&self.star());
        (0..self.0.len()).all(|a| !cycles.has(a, a))
    }
}

/// Whether the model allows this execution. `from` has the write of each read, `after` the order
/// of the writes to one place.
fn allowed(events: &[Event], rf: &Rel, co: &Rel) -> bool {
    let n = events.len();
    let e = |a: usize| &events[a];
    let access = |a: usize| e(a).is_access();
    let read = |a: usize| e(a).kind == Kind::Read;
    let write = |a: usize| e(a).kind == Kind::Write;
    // Where there was something first is no thread's.
    let int = |a: usize, b: usize| e(a).thread == e(b).thread && e(a).thread != usize::MAX;
    let ext = |a: usize, b: usize| !int(a, b);
    let po = Rel::of(n, |a, b| a < b && int(a, b));
    let rmw = Rel::of(n, |a, b| b == a + 1 && e(b).second);
    let fr = Rel::of(n, |a, b| {
        read(a) && (0..n).any(|w| rf.has(w, a) && co.has(w, b))
    });
    let com = rf.or(co).or(&fr);

    let po_loc = po.and(|a, b| access(a) && access(b) && e(a).place == e(b).place);
    if !po_loc.or(&com).acyclic() {
        return false;
    }
    let between = fr.and(ext).then(&co.and(ext));
    if (0..n).any(|a| (0..n).any(|b| rmw.has(a, b) && between.has(a, b))) {
        return false;
    }

    let full = |a: usize| e(a).order == Order::Full;
    let fenced = |a: usize, b: usize, kind: Kind| (a + 1..b).any(|f| e(f).kind == kind);
    let wmb = po.and(|a, b| write(a) && write(b) && fenced(a, b, Kind::WriteBarrier));
    let rmb = po.and(|a, b| read(a) && read(b) && fenced(a, b, Kind::ReadBarrier));
    let mb = po.and(|a, b| {
        let fenced = fenced(a, b, Kind::Barrier);
        access(a) && access(b) && (fenced || full(b) && read(b) || full(a) && write(a))
    });
    let acq_po = po.and(|a, b| e(a).order == Order::Acquire && read(a) && access(b));
    let po_rel = po.and(|a, b| e(b).order == Order::Release && write(b) && access(a));
    let fence = mb.or(&acq_po).or(&po_rel).or(&wmb).or(&rmb);
    let control = po.and(|a, b| write(b) && e(b).control.contains(&a));
    let overwrite = co.or(&fr);
    let ppo = fence.or(&control).or(&overwrite.and(int));

    let rfe = rf.and(ext);
    let rmw_sequence = rf.then(&rmw).star();
    let cumul_fence = rfe.maybe().then(&mb.or(&po_rel)).or(&wmb);
    let cumul_fence = cumul_fence.then(&rmw_sequence);
    let prop = overwrite
        .and(ext)
        .maybe()
        .then(&cumul_fence.star())
        .then(&rfe.maybe());
    let hb = ppo.or(&rfe).or(&prop.and(|a, b| a != b && int(a, b)));
    hb.acyclic() && prop.then(&mb).then(&hb.star()).acyclic()
}

/// All orders of these.
fn orders(of: &[usize]) -> Vec<Vec<usize>> {
    if of.is_empty() {
        return vec![Vec::new()];
    }
    let each = |n: usize| {
        let mut rest = of.to_vec();
        let first = rest.remove(n);
        orders(&rest).into_iter().map(move |mut order| {
            order.insert(0, first);
            order
        })
    };
    (0..of.len()).flat_map(each).collect()
}

/// All ways to take one of each.
fn choices<T: Clone>(of: &[Vec<T>]) -> Vec<Vec<T>> {
    of.iter().fold(vec![Vec::new()], |all, options| {
        let extend = |so_far: Vec<T>| {
            options.iter().map(move |option| {
                let mut next = so_far.clone();
                next.push(option.clone());
                next
            })
        };
        all.into_iter().flat_map(extend).collect()
    })
}

/// Whether the condition can come true.
fn sometimes(test: &Test) -> bool {
    // Those that the tests use.
    let values: Vec<u32> = (0..5).collect();
    let each = test.threads.iter().enumerate();
    let each: Vec<_> = each
        .map(|(n, steps)| runs(n, steps, &values, vec![Run::default()]))
        .collect();
    choices(&each).iter().any(|runs| reachable(test, runs))
}

fn reachable(test: &Test, runs: &[Run]) -> bool {
    let wanted = |thread: &Option<usize>, name: &String, value: u32| {
        thread.is_none_or(|t| runs[t].registers.get(name).map_or(0, |r| r.0) == value)
    };
    if !test
        .exists
        .iter()
        .all(|(t, name, value)| wanted(t, name, *value))
    {
        return false;
    }
    let mut events: Vec<Event> = Vec::new();
    for run in runs {
        let first = events.len();
        events.extend(run.events.iter().cloned().map(|mut event| {
            event.control.iter_mut().for_each(|read| *read += first);
            event
        }));
    }
    let mut places: Vec<_> = events.iter().filter(|e| e.is_access()).collect();
    places.sort_by_key(|e| e.place.clone());
    places.dedup_by_key(|e| e.place.clone());
    let places: Vec<_> = places.into_iter().map(|e| e.place.clone()).collect();
    for place in &places {
        events.push(Event {
            thread: usize::MAX,
            place: place.clone(),
            kind: Kind::Write,
            order: Order::Once,
            value: test.init.get(place).copied().unwrap_or(0),
            second: false,
            control: Vec::new(),
        });
    }
    let n = events.len();
    let is = |a: usize, kind: Kind| events[a].kind == kind;
    let writes = |place: &String| -> Vec<usize> {
        (0..n)
            .filter(|a| is(*a, Kind::Write) && events[*a].place == *place)
            .collect()
    };
    let reads: Vec<usize> = (0..n).filter(|a| is(*a, Kind::Read)).collect();
    let sources: Vec<Vec<usize>> = reads
        .iter()
        .map(|r| {
            let mut writes = writes(&events[*r].place);
            writes.retain(|w| events[*w].value == events[*r].value);
            writes
        })
        .collect();
    let coherence: Vec<Vec<Vec<usize>>> = places
        .iter()
        .map(|place| {
            let mut orders = orders(&writes(place));
            // What there was first comes first.
            orders.retain(|order| events[order[0]].thread == usize::MAX);
            orders.retain(|order| {
                let last = events[order[order.len() - 1]].value;
                let exists = &test.exists;
                exists
                    .iter()
                    .all(|(t, name, value)| t.is_some() || name != place || *value == last)
            });
            orders
        })
        .collect();
    let coherence = choices(&coherence);
    choices(&sources).iter().any(|sources| {
        let rf = Rel::of(n, |w, r| {
            reads
                .iter()
                .zip(sources)
                .any(|(read, source)| (*source, *read) == (w, r))
        });
        coherence.iter().any(|orders| {
            let co = Rel::of(n, |a, b| {
                orders.iter().any(|order| {
                    let at = |x| order.iter().position(|y| *y == x);
                    matches!((at(a), at(b)), (Some(a), Some(b)) if a < b)
                })
            });
            allowed(&events, &rf, &co)
        })
    })
}

#[test]
fn verdicts_are_right() {
    let here = std::env::var("CARGO_MANIFEST_DIR").unwrap();
    let dir = Path::new(&here).join("../../kernel-tree-overlay/Documentation/litmus-tests/kevent");
    let mut found = 0;
    for file in fs::read_dir(dir).unwrap() {
        let path = file.unwrap().path();
        if path.extension().is_some_and(|e| e == "litmus") {
            let text = fs::read_to_string(&path).unwrap();
            let name = path.file_stem().unwrap().to_str().unwrap();
            assert_eq!(text.lines().next(), Some(&*format!("C {name}")));
            let test = parse(&text);
            assert_eq!(sometimes(&test), !test.never, "{name}");
            assert_eq!(name.ends_with("-weak"), !test.never, "{name}");
            found += 1;
        }
    }
    assert!(found >= 26);
}

/// Decides the tests in a directory that it understands, and counts them.
fn decide(dir: &Path) -> usize {
    let mut decided = 0;
    for file in fs::read_dir(dir).unwrap() {
        let path = file.unwrap().path();
        if path.extension().is_none_or(|e| e != "litmus") {
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        let Ok(test) = std::panic::catch_unwind(|| parse(&text)) else {
            println!("not decided: {}", path.display());
            continue;
        };
        assert_eq!(sometimes(&test), !test.never, "{}", path.display());
        decided += 1;
    }
    decided
}

#[test]
fn verdicts_of_the_model_are_right() {
    if let Some(dir) = std::env::var_os("LITMUS_TESTS") {
        println!("decided: {}", decide(Path::new(&dir)));
    }
    for (name, never, threads, exists) in KNOWN {
        let result = if *never { "Never" } else { "Sometimes" };
        let mut text = format!("(* Result: {result} *)\n{{}}\n");
        for (n, code) in threads.iter().enumerate() {
            let code = code.replace("; ", ";\n");
            text += &format!("P{n}()\n{{\n{code}\n}}\n");
        }
        text += &format!("exists ({exists})\n");
        assert_eq!(sometimes(&parse(&text)), !never, "{name}");
    }
}

/// Some of `tools/memory-model/litmus-tests`: the name, whether the result is never, the threads, and
/// the condition.
type Known = (&'static str, bool, &'static [&'static str], &'static str);
const KNOWN: &[Known] = &[
    (
        "MP+poonceonces",
        false,
        &[
            "WRITE_ONCE(*buf, 1); WRITE_ONCE(*flag, 1);",
            "r0 = READ_ONCE(*flag); r1 = READ_ONCE(*buf);",
        ],
        "1:r0=1 /\\ 1:r1=0",
    ),
    (
        "MP+pooncerelease+poacquireonce",
        true,
        &[
            "WRITE_ONCE(*buf, 1); smp_store_release(flag, 1);",
            "r0 = smp_load_acquire(flag); r1 = READ_ONCE(*buf);",
        ],
        "1:r0=1 /\\ 1:r1=0",
    ),
    (
        "MP+fencewmbonceonce+fencermbonceonce",
        true,
        &[
            "WRITE_ONCE(*buf, 1); smp_wmb(); WRITE_ONCE(*flag, 1);",
            "r0 = READ_ONCE(*flag); smp_rmb(); r1 = READ_ONCE(*buf);",
        ],
        "1:r0=1 /\\ 1:r1=0",
    ),
    (
        "SB+poonceonces",
        false,
        &[
            "WRITE_ONCE(*x, 1); r0 = READ_ONCE(*y);",
            "WRITE_ONCE(*y, 1); r0 = READ_ONCE(*x);",
        ],
        "0:r0=0 /\\ 1:r0=0",
    ),
    (
        "SB+fencembonceonces",
        true,
        &[
            "WRITE_ONCE(*x, 1); smp_mb(); r0 = READ_ONCE(*y);",
            "WRITE_ONCE(*y, 1); smp_mb(); r0 = READ_ONCE(*x);",
        ],
        "0:r0=0 /\\ 1:r0=0",
    ),
    (
        "SB+rfionceonce-poonceonces",
        false,
        &[
            "WRITE_ONCE(*x, 1); r1 = READ_ONCE(*x); r2 = READ_ONCE(*y);",
            "WRITE_ONCE(*y, 1); r3 = READ_ONCE(*y); r4 = READ_ONCE(*x);",
        ],
        "0:r2=0 /\\ 1:r4=0",
    ),
    (
        "LB+poonceonces",
        false,
        &[
            "r0 = READ_ONCE(*x); WRITE_ONCE(*y, 1);",
            "r0 = READ_ONCE(*y); WRITE_ONCE(*x, 1);",
        ],
        "0:r0=1 /\\ 1:r0=1",
    ),
    (
        "LB+poacquireonce+pooncerelease",
        true,
        &[
            "r0 = READ_ONCE(*x); smp_store_release(y, 1);",
            "r0 = smp_load_acquire(y); WRITE_ONCE(*x, 1);",
        ],
        "0:r0=1 /\\ 1:r0=1",
    ),
    (
        "R+poonceonces",
        false,
        &[
            "WRITE_ONCE(*x, 1); WRITE_ONCE(*y, 1);",
            "WRITE_ONCE(*y, 2); r0 = READ_ONCE(*x);",
        ],
        "y=2 /\\ 1:r0=0",
    ),
    (
        "R+fencembonceonces",
        true,
        &[
            "WRITE_ONCE(*x, 1); smp_mb(); WRITE_ONCE(*y, 1);",
            "WRITE_ONCE(*y, 2); smp_mb(); r0 = READ_ONCE(*x);",
        ],
        "y=2 /\\ 1:r0=0",
    ),
    (
        "S+poonceonces",
        false,
        &[
            "WRITE_ONCE(*x, 2); WRITE_ONCE(*y, 1);",
            "r0 = READ_ONCE(*y); WRITE_ONCE(*x, 1);",
        ],
        "x=2 /\\ 1:r0=1",
    ),
    (
        "S+fencewmbonceonce+poacquireonce",
        true,
        &[
            "WRITE_ONCE(*x, 2); smp_wmb(); WRITE_ONCE(*y, 1);",
            "r0 = smp_load_acquire(y); WRITE_ONCE(*x, 1);",
        ],
        "x=2 /\\ 1:r0=1",
    ),
    (
        "WRC+poonceonces+Once",
        false,
        &[
            "WRITE_ONCE(*x, 1);",
            "r0 = READ_ONCE(*x); WRITE_ONCE(*y, 1);",
            "r0 = READ_ONCE(*y); r1 = READ_ONCE(*x);",
        ],
        "1:r0=1 /\\ 2:r0=1 /\\ 2:r1=0",
    ),
    (
        "WRC+pooncerelease+fencermbonceonce+Once",
        true,
        &[
            "WRITE_ONCE(*x, 1);",
            "r0 = READ_ONCE(*x); smp_store_release(y, 1);",
            "r0 = READ_ONCE(*y); smp_rmb(); r1 = READ_ONCE(*x);",
        ],
        "1:r0=1 /\\ 2:r0=1 /\\ 2:r1=0",
    ),
    (
        "ISA2+poonceonces",
        false,
        &[
            "WRITE_ONCE(*x, 1); WRITE_ONCE(*y, 1);",
            "r0 = READ_ONCE(*y); WRITE_ONCE(*z, 1);",
            "r0 = READ_ONCE(*z); r1 = READ_ONCE(*x);",
        ],
        "1:r0=1 /\\ 2:r0=1 /\\ 2:r1=0",
    ),
    (
        "ISA2+pooncerelease+poacquirerelease+poacquireonce",
        true,
        &[
            "WRITE_ONCE(*x, 1); smp_store_release(y, 1);",
            "r0 = smp_load_acquire(y); smp_store_release(z, 1);",
            "r0 = smp_load_acquire(z); r1 = READ_ONCE(*x);",
        ],
        "1:r0=1 /\\ 2:r0=1 /\\ 2:r1=0",
    ),
    (
        "IRIW+poonceonces+OnceOnce",
        false,
        &[
            "WRITE_ONCE(*x, 1);",
            "r0 = READ_ONCE(*x); r1 = READ_ONCE(*y);",
            "WRITE_ONCE(*y, 1);",
            "r0 = READ_ONCE(*y); r1 = READ_ONCE(*x);",
        ],
        "1:r0=1 /\\ 1:r1=0 /\\ 3:r0=1 /\\ 3:r1=0",
    ),
    (
        "IRIW+fencembonceonces+OnceOnce",
        true,
        &[
            "WRITE_ONCE(*x, 1);",
            "r0 = READ_ONCE(*x); smp_mb(); r1 = READ_ONCE(*y);",
            "WRITE_ONCE(*y, 1);",
            "r0 = READ_ONCE(*y); smp_mb(); r1 = READ_ONCE(*x);",
        ],
        "1:r0=1 /\\ 1:r1=0 /\\ 3:r0=1 /\\ 3:r1=0",
    ),
    (
        "Z6.0+pooncerelease+poacquirerelease+fencembonceonce",
        false,
        &[
            "WRITE_ONCE(*x, 1); smp_store_release(y, 1);",
            "r0 = smp_load_acquire(y); smp_store_release(z, 1);",
            "WRITE_ONCE(*z, 2); smp_mb(); r1 = READ_ONCE(*x);",
        ],
        "1:r0=1 /\\ z=2 /\\ 2:r1=0",
    ),
    (
        "CoRR+poonceonce+Once",
        true,
        &[
            "WRITE_ONCE(*x, 1);",
            "r0 = READ_ONCE(*x); r1 = READ_ONCE(*x);",
        ],
        "1:r0=1 /\\ 1:r1=0",
    ),
    (
        "CoWR+poonceonce+Once",
        true,
        &[
            "WRITE_ONCE(*x, 1); r0 = READ_ONCE(*x);",
            "WRITE_ONCE(*x, 2);",
        ],
        "x=1 /\\ 0:r0=2",
    ),
];
