// SPDX-License-Identifier: GPL-2.0-only

//! What may happen to a watch at the same time, each as a few threads and what must hold then.
//!
//! Each is to be run under `memory::check`. There is one watch in a queue whose ring has two
//! slots, or none. The bits that are fired are one per thread, so that it shows where they went.

use super::level::{Fresh, Tested as TestedLevels};
use super::queue::{Queue, Take, Woken};
use super::source::{Object, Target, Tested, Triggered};
use super::table::Batch;
use super::watch::{EventKind, Rechecker, Watch};
use crate::consumer::Mapping;
use crate::core::event::Event;
use crate::core::ring::Ring;
use crate::memory::spawn;
use crate::prelude::{ArcMethods, Error, EFAULT, ENOENT};
use crate::scenarios::Consumer;
use crate::sync::atomic::ordering::Relaxed;
use crate::sync::Arc;
use crate::uapi;

const A: u32 = 1;
const B: u32 = 2;
/// What a watch reports when what it is of has gone.
const REMOVED: u32 = 4;

/// The name of the watch, and of what is posted.
const WATCH: u64 = 1;
/// The new name of the watch.
const RENAMED: u64 = 2;
const POST: u64 = 10;

pub(crate) const LEVEL: u32 = 0;
pub(crate) const EDGE: u32 = uapi::KEVENT_WATCH_EDGE;
pub(crate) const ONESHOT: u32 = uapi::KEVENT_WATCH_ONESHOT;
pub(crate) const DISPATCH: u32 = uapi::KEVENT_WATCH_DISPATCH;
pub(crate) const VANISHED: u32 = uapi::KEVENT_WATCH_VANISHED;

/// What there is.
#[derive(Clone, Copy)]
pub(crate) struct Setting {
    /// Slots of the ring.
    pub(crate) entries: u32,
    /// `KEVENT_WATCH_*`.
    pub(crate) flags: u32,
    /// Its events count.
    pub(crate) counts: bool,
    /// It is a USER watch.
    pub(crate) is_triggered: bool,
    /// The ring is full of what was posted.
    pub(crate) is_full: bool,
    /// All wake-ups hold one lock, and are reported by `Watch::fire_plain`.
    pub(crate) is_plain: bool,
}

pub(crate) const fn watch(flags: u32) -> Setting {
    Setting {
        entries: 2,
        flags,
        counts: false,
        is_triggered: false,
        is_full: false,
        is_plain: false,
    }
}

impl Setting {
    pub(crate) const fn counted(self) -> Self {
        Self {
            counts: true,
            ..self
        }
    }

    pub(crate) const fn triggered(self) -> Self {
        Self {
            is_triggered: true,
            ..self
        }
    }

    pub(crate) const fn full(self) -> Self {
        Self {
            is_full: true,
            ..self
        }
    }

    pub(crate) const fn plain(self) -> Self {
        Self {
            is_plain: true,
            ..self
        }
    }

    pub(crate) const fn without_ring(self) -> Self {
        Self { entries: 0, ..self }
    }
}

struct World {
    setting: Setting,
    queue: Arc<Queue>,
    watch: Arc<Watch>,
    handle: u64,
    object: Arc<Object>,
}

impl World {
    fn new(setting: Setting) -> Arc<Self> {
        let queue = Queue::new(setting.entries);
        let object = Object::new(setting.is_plain);
        let record = uapi::kevent_watch {
            flags: setting.flags,
            events: A | B,
            user_data: WATCH,
            ..Default::default()
        };
        let source = object.clone();
        let watch: Arc<Watch> = if setting.counts {
            let source = move || Ok(Tested::<true>(source));
            Watch::new(queue.clone(), &record, EventKind::Count, source).expect("there is memory")
        } else if setting.is_triggered {
            let source = move || Ok(Triggered(source));
            Watch::new(queue.clone(), &record, EventKind::Triggered, source)
                .expect("there is memory")
        } else {
            let source = move || Ok(Tested::<false>(source));
            Watch::new(queue.clone(), &record, EventKind::State, source).expect("there is memory")
        };
        queue.reserve_watches(1).expect("there is memory");
        let mut table = queue.watches().lock();
        let handle = table.insert(&queue, watch.clone()).expect("there is room");
        drop(table);
        // So that the model knows the words.
        watch.user_data();
        watch.flags();
        watch.is_unconsumed();
        watch.next().load(Relaxed);
        let world = Self {
            setting,
            queue,
            watch,
            handle,
            object,
        };
        if setting.is_full {
            for n in 0..u64::from(setting.entries) {
                world.posts(POST + n);
            }
        }
        Arc::new(world)
    }

    /// Starts a thread that knows the world.
    fn spawn<T: 'static>(
        self: &Arc<Self>,
        f: impl FnOnce(&Self) -> T + 'static,
    ) -> loom::thread::JoinHandle<T> {
        let world = self.clone();
        spawn(move || f(&world))
    }

    fn posts(&self, n: u64) {
        let event = Event(uapi::kevent_event {
            user_data: n,
            ..Default::default()
        });
        let ring = self.queue.ring().expect("the test has one");
        ring.publish(&event).expect("the test makes room");
        self.queue.wake();
    }

    /// Fails if the source is detached.
    fn complete(&self, waker: usize, events: u32) -> bool {
        self.object.complete(waker, &self.watch, events)
    }

    fn happens_often(&self, waker: usize, events: u32, count: u64) {
        self.object.happens_often(waker, &self.watch, events, count);
    }

    /// It comes to be so, and is reported.
    fn becomes(&self, waker: usize, events: u32) {
        self.object.becomes(events);
        self.complete(waker, events);
    }

    /// It comes to be so, and no producer says what it is.
    fn stirs(&self, waker: usize, events: u32) {
        self.object.becomes(events);
        self.object.stirs(waker, &self.watch);
    }

    /// As the program does it, without a system call.
    fn program_takes(&self) -> Option<Event> {
        let ring = self.queue.ring().expect("the test has one");
        let mapping = Mapping {
            base: ring.pages().as_ptr(),
            entries_offset: Ring::entries_offset(),
            entries: self.setting.entries,
        };
        mapping.take(uapi::KEVENT_WORD_LAP_MASK)
    }

    /// As `kevent_get_events()` does it with an event that reports no level.
    fn kernel_takes_plain(&self) -> Option<Event> {
        let mut delivered = None;
        let taken = {
            let _spare = self.queue.consumer().lock();
            self.queue.take_plain(|event| {
                delivered = Some(*event);
                Ok(())
            })
        };
        if taken.expect("nothing fails") {
            return delivered;
        }
        None
    }

    /// As `kevent_get_events()` does it.
    fn kernel_takes(&self) -> Option<Event> {
        let mut tested = TestedLevels::new(Fresh::new(&self.queue));
        for _ in 0..4 {
            let mut delivered = None;
            let result = {
                let mut spare = self.queue.consumer().lock();
                self.queue.take(&mut spare, &mut tested, |event| {
                    delivered = Some(*event);
                    Ok(())
                })
            };
            match result.expect("nothing fails") {
                Take::Delivered => return delivered,
                Take::DeliveredLevel => {
                    self.queue.wake_to_look();
                    return delivered;
                }
                Take::Dropped => self.queue.wake_to_look(),
                Take::Untested => self.queue.test_levels(1, &mut tested),
                // It may have been cancelled after it was delivered.
                Take::Nothing => break,
            }
        }
        None
    }

    /// As `kevent_get_events()` does it if the copy faults.
    fn faults(&self) {
        let mut spare = self.queue.consumer().lock();
        let mut tested = TestedLevels::new(Fresh::new(&self.queue));
        let result = self.queue.take(&mut spare, &mut tested, |_| Err(EFAULT));
        assert!(matches!(
            result,
            Ok(Take::Nothing | Take::Untested) | Err(EFAULT)
        ));
    }

    fn takes(&self, by: Consumer) -> Option<Event> {
        match by {
            Consumer::Program => self.program_takes(),
            Consumer::Kernel => self.kernel_takes(),
            Consumer::Plain => self.kernel_takes_plain().or_else(|| self.kernel_takes()),
        }
    }

    /// `kevent_wait()` that does not sleep.
    fn looks(&self) {
        self.queue.flush_backlog();
        self.queue.recheck(Rechecker::PROGRAM, None, 1);
    }

    /// `kevent_wait()`. Fails if it sleeps.
    fn waits(&self) -> bool {
        self.looks();
        self.queue.sleep(None, 1, None) == Woken::Ready
    }

    /// `kevent_modify()`.
    fn modifies(&self, flags: u32, change: impl FnOnce(&Watch)) -> Result<(), Error> {
        let table = self.queue.watches().lock();
        let watch = table.get(self.handle)?;
        let target = watch.as_arc_borrow().modify(flags, || {
            change(watch);
            Ok(())
        })?;
        drop(table);
        self.polls(target);
        Ok(())
    }

    fn enables(&self) -> Result<(), Error> {
        self.modifies(uapi::KEVENT_MODIFY_ENABLE, Watch::set_enabled)
    }

    /// What `kevent_modify()` does when it has changed the watch.
    fn polls(&self, target: Option<Target>) {
        if let Some(target) = target {
            let mut batch = Batch::of(self.watch.clone(), target);
            batch.poll(Rechecker::PROGRAM);
            self.queue.watches().lock().polled(&batch, |_| {});
        }
    }

    fn disables(&self) -> Result<(), Error> {
        self.modifies(uapi::KEVENT_MODIFY_DISABLE, Watch::disable)
    }

    fn renames(&self) -> Result<(), Error> {
        self.modifies(uapi::KEVENT_MODIFY_USER_DATA, |watch| {
            watch.set_user_data(RENAMED);
        })
    }

    /// `kevent_remove()`.
    fn removes(&self) -> Result<(), Error> {
        let mut table = self.queue.watches().lock();
        table.remove(&self.queue, self.handle)
    }

    /// What is watched goes.
    fn vanishes(&self) {
        let reports = self.setting.flags & VANISHED != 0;
        let mut table = self.queue.watches().lock();
        table.vanished(&self.queue, &self.watch, REMOVED, reports);
    }

    /// `kevent_modify()` of an edge watch.
    fn becomes_level(&self) {
        let changed = self.modifies(uapi::KEVENT_MODIFY_MODE, |watch| {
            watch.set_mode(LEVEL, watch.interest());
        });
        changed.expect("it is there");
    }

    /// Two wakers fire the watch: A, and B twice. Counts have one bit.
    fn two_wakers(self: &Arc<Self>) -> [loom::thread::JoinHandle<()>; 2] {
        [(0, A), (1, B)].map(|(waker, events)| {
            let bits = if self.setting.counts { A } else { events };
            self.spawn(move |w| w.happens_often(waker, bits, events.into()))
        })
    }

    /// One that says the same.
    fn one_waker(self: &Arc<Self>) -> loom::thread::JoinHandle<()> {
        let bits = if self.setting.counts { A } else { B };
        self.spawn(move |w| {
            w.happens_often(0, A, 1);
            w.happens_often(0, bits, 2);
        })
    }

    /// What they said has been reported.
    fn all_was_reported(&self, out: &[Event]) {
        assert!(
            reported(out).iter().all(|e| e.events != 0),
            "an event of nothing"
        );
        if self.setting.counts {
            assert_eq!(count(out), 3);
        } else {
            assert_eq!(bits(out), A | B);
            assert!(times(out) <= 2);
        }
    }

    /// What was watched has gone, and the watch has reported so.
    fn has_vanished(&self, out: &[Event], was_there: bool) {
        let out = reported(out);
        let last = |e: &&uapi::kevent_event| e.info & uapi::KEVENT_INFO_VANISHED != 0;
        if self.setting.flags & ONESHOT != 0 {
            assert_eq!(out.len(), 1);
            assert!(last(&out[0]) || was_there);
            return;
        }
        assert!(out.last().is_some_and(last), "not reported last");
        assert_eq!(out.iter().filter(|e| last(e)).count(), 1);
        let bits = out.iter().fold(0, |bits, e| bits | e.events);
        assert_eq!(bits, if was_there { A | REMOVED } else { REMOVED });
    }

    /// After it was removed, or `removed` says that it could not be, `late` was consumed; `taken`
    /// while it was.
    fn removed_or_consumed(&self, removed: Result<(), Error>, late: &[Event], taken: &[Event]) {
        let is_once = self.setting.flags & ONESHOT != 0;
        assert!(reported(late).is_empty(), "an event after it was removed");
        match removed {
            Ok(()) => assert!(
                !is_once || reported(taken).is_empty(),
                "removed and consumed"
            ),
            Err(_) => assert!(is_once && reported(taken).len() == 1, "neither of the two"),
        }
    }

    /// The watch has gone. Its place is free after a recheck.
    fn is_dead(&self) {
        self.looks();
        assert_eq!(Arc::strong_count(&self.watch), 1, "keeps its place");
    }

    /// A DISPATCH watch that was enabled once reports the rest.
    fn is_dispatched(&self, mut out: Vec<Event>) {
        let counts = self.setting.counts;
        let times = |out: &[Event]| {
            if counts {
                reported(out).len()
            } else {
                self::times(out)
            }
        };
        // At first, and when it was enabled.
        assert!(times(&out) <= 2);
        for _ in 0..3 {
            self.enables().unwrap();
            let more = self.drain();
            assert!(times(&more) <= 1);
            assert!(counts || bits(&more) & A != 0);
            out.extend(more);
        }
        assert!(!counts || count(&out) == 3);
    }

    /// Takes all there is.
    fn drain(&self) -> Vec<Event> {
        core::iter::from_fn(|| self.kernel_takes()).collect()
    }

    /// Whether the ring's header says that the program is to wait.
    fn wants_recheck(&self) -> bool {
        let ring = self.queue.ring().expect("the test has one");
        ring.flags_word().load(Relaxed) & uapi::KEVENT_RING_RECHECK != 0
    }

    /// All threads are done: no thread sleeps that should be woken.
    fn nobody_is_forgotten(&self) {
        if self.queue.waiters.sleeps() {
            assert!(!self.queue.has(None, 1), "sleeps with an event");
            assert!(!self.queue.is_backlogged(), "sleeps with a backlog");
            assert!(
                !self.queue.recheck_wanted.load(Relaxed),
                "sleeps when recheck_wanted to recheck"
            );
        }
    }

    /// The same of a level watch.
    fn no_level_is_lost(&self) {
        self.nobody_is_forgotten();
        let sleeps = self.queue.waiters.sleeps();
        assert!(!sleeps || self.object.state() == 0, "sleeps at a level");
        for _ in 0..2 {
            self.drain();
            if self.object.state() != 0 {
                assert!(self.waits(), "a level is lost");
            }
        }
        // It is still reported when it is so again.
        self.object.is_used_up();
        while self.waits() {
            self.drain();
        }
        self.becomes(0, A);
        assert!(!self.queue.waiters.sleeps(), "a level is lost later");
        assert_eq!(self.drain().len(), 1);
    }

    /// Everything has been reported. The watch goes, and nothing is left of it.
    fn ends(self: Arc<Self>) {
        let queue = self.queue.clone();
        let watch = self.watch.clone();
        drop(self);
        queue.watches().lock().clear(&queue);
        assert!(!queue.is_backlogged());
        assert!(queue.recheck_list().is_empty());
        // The place for what a consumer puts back.
        assert_eq!(queue.backlog.lock().counts(), (1, 0, 0));
        assert_eq!(Arc::strong_count(&watch), 1);
    }
}

fn reported(events: &[Event]) -> Vec<&uapi::kevent_event> {
    let events = events.iter().map(|e| &e.0);
    events.filter(|e| e.user_data == WATCH).collect()
}

fn posted(events: &[Event]) -> Vec<u64> {
    let numbers = events.iter().map(|e| e.0.user_data);
    numbers.filter(|n| *n != WATCH).collect()
}

fn bits(events: &[Event]) -> u32 {
    reported(events).iter().fold(0, |bits, e| bits | e.events)
}

fn count(events: &[Event]) -> i64 {
    reported(events).iter().map(|e| e.data).sum()
}

/// How many times something was reported, into an entry of its own or not.
fn times(events: &[Event]) -> usize {
    let times = reported(events).into_iter().map(|e| 1 + (e.info >> 16));
    times.sum::<u32>() as usize
}

/// Two wakers and a consumer: all that they say is reported, and none of it twice; and there is no
/// other event before the first one is taken.
pub(crate) fn two_wakers(setting: Setting, by: Consumer) {
    let world = World::new(setting);
    // A level that does not hold is dropped by the kernel.
    world.object.becomes(A | B);
    let wakers = world.two_wakers();
    let mut out: Vec<_> = world.takes(by).into_iter().collect();
    let _ = wakers.map(|w| w.join().unwrap());
    let taken = out.len();
    out.extend(world.drain());
    assert!(out.len() <= taken + 1, "two at a time");
    world.all_was_reported(&out);
    world.ends();
}

/// A full ring is taken while something happens: what waits comes out after what was there, and
/// no thread sleeps when it could come out.
pub(crate) fn full_ring(setting: Setting, by: Consumer) {
    let world = World::new(setting.full());
    let waker = world.one_waker();
    let mut out: Vec<_> = [world.takes(by), world.takes(by)]
        .into_iter()
        .flatten()
        .collect();
    world.waits();
    waker.join().unwrap();
    world.nobody_is_forgotten();
    out.extend(world.drain());
    world.all_was_reported(&out);
    assert_eq!(posted(&out), [POST, POST + 1]);
    world.ends();
}

/// The same if nothing happens after that.
pub(crate) fn sleeper_and_backlog(setting: Setting, by: Consumer) {
    let world = World::new(setting.full());
    let waker = world.spawn(|w| w.happens_often(0, A | B, 3));
    let mut out: Vec<_> = [world.takes(by), world.takes(by)]
        .into_iter()
        .flatten()
        .collect();
    world.waits();
    waker.join().unwrap();
    world.nobody_is_forgotten();
    out.extend(world.drain());
    world.all_was_reported(&out);
    world.ends();
}

/// The program takes what there is, and makes no system call: what waits comes out with what
/// happens next.
pub(crate) fn busy_program(setting: Setting) {
    let world = World::new(setting.full());
    let waker = world.spawn(|w| w.happens_often(0, A, 1));
    let mut out: Vec<_> = (0..2).filter_map(|_| world.program_takes()).collect();
    waker.join().unwrap();
    world.happens_often(1, if setting.counts { A } else { B }, 2);
    assert!(!world.queue.is_backlogged());
    out.extend(core::iter::from_fn(|| world.program_takes()));
    world.all_was_reported(&out);
    assert_eq!(posted(&out), [POST, POST + 1]);
    world.ends();
}

/// A ONESHOT watch reports one event, whichever thread rechecks it meanwhile, and gives its place up.
pub(crate) fn oneshot(setting: Setting) {
    let world = World::new(setting);
    let wakers = world.two_wakers();
    let mut out: Vec<_> = world.kernel_takes().into_iter().collect();
    world.looks();
    let _ = wakers.map(|w| w.join().unwrap());
    out.extend(world.drain());
    assert_eq!((reported(&out).len(), times(&out)), (1, 1));
    assert_ne!(bits(&out), 0);
    world.is_dead();
    assert_eq!(world.enables(), Err(ENOENT));
    world.ends();
}

/// The same if it is rechecked because something else was said.
///
/// This does not hold yet: the thread that reported the event may list the watch once more when its place
/// is free already.
pub(crate) fn oneshot_and_look(setting: Setting) {
    let world = World::new(setting);
    let waker = world.spawn(|w| w.complete(0, A));
    world.stirs(1, A);
    world.looks();
    waker.join().unwrap();
    assert_eq!(times(&world.drain()), 1);
    world.is_dead();
    world.ends();
}

/// A DISPATCH watch reports one event each time that it is enabled. A state that holds then is
/// reported; counts include what happened meanwhile.
pub(crate) fn dispatch(setting: Setting) {
    let world = World::new(setting);
    world.object.becomes(A);
    let waker = world.one_waker();
    let mut out: Vec<_> = world.kernel_takes().into_iter().collect();
    world.enables().unwrap();
    waker.join().unwrap();
    out.extend(world.drain());
    world.is_dispatched(out);
    world.ends();
}

/// The same with two wakers, one of which may find that the other one has reported what it counts.
pub(crate) fn dispatch_of_two(setting: Setting) {
    let world = World::new(setting);
    let wakers = world.two_wakers();
    let mut out: Vec<_> = world.kernel_takes().into_iter().collect();
    let is_on = !out.is_empty();
    world.enables().unwrap();
    let _ = wakers.map(|w| w.join().unwrap());
    let more = world.drain();
    if is_on && more.is_empty() {
        world.happens_often(0, A, 1);
        assert_eq!(count(&world.drain()), 1, "it is off");
    }
    out.extend(more);
    world.is_dispatched(out);
    world.ends();
}

/// A level is reported, taken and still there, or used up and there again.
pub(crate) fn level(setting: Setting, by: Consumer, uses_up: bool) {
    let world = World::new(setting);
    let waker = world.spawn(|w| w.becomes(0, A));
    for _ in 0..1 + 2 * u32::from(setting.is_full) {
        if world.takes(by).is_some_and(|e| e.0.user_data == WATCH) && uses_up {
            world.object.is_used_up();
        }
    }
    world.waits();
    waker.join().unwrap();
    world.no_level_is_lost();
    world.ends();
}

/// A level is reported again while it is listed. It stays listed.
pub(crate) fn level_reported_again(setting: Setting) {
    let world = World::new(setting);
    world.becomes(0, A);
    world.program_takes().expect("it was reported");
    let waker = world.spawn(|w| w.becomes(1, A));
    world.looks();
    world.program_takes();
    waker.join().unwrap();
    world.no_level_is_lost();
    world.ends();
}

/// The program triggers a watch while another thread disables and enables it: all is reported.
pub(crate) fn trigger(setting: Setting, by: Consumer) {
    let world = World::new(setting);
    let waker = world.spawn(|w| {
        w.object.trigger(0, &w.watch, A);
        w.object.trigger(0, &w.watch, B);
    });
    let mut out: Vec<_> = world.takes(by).into_iter().collect();
    world.disables().unwrap();
    world.enables().unwrap();
    waker.join().unwrap();
    out.extend(world.drain());
    assert!(reported(&out).iter().all(|e| e.events != 0), "of nothing");
    assert_eq!(bits(&out), A | B);
    // Consumption resets it.
    world.object.trigger(0, &world.watch, A);
    assert_eq!(bits(&world.drain()), A);
    world.ends();
}

/// The program triggers a watch that is moved into the ring, and disables and enables it.
pub(crate) fn trigger_while_moved(setting: Setting) {
    let world = World::new(setting.full());
    world.object.trigger(0, &world.watch, A);
    let mover = world.spawn(World::kernel_takes);
    let waker = world.spawn(|w| w.object.trigger(0, &w.watch, B));
    world.disables().unwrap();
    world.enables().unwrap();
    waker.join().unwrap();
    let mut out: Vec<_> = mover.join().unwrap().into_iter().collect();
    out.extend(world.drain());
    assert_eq!(bits(&out), A | B);
    world.ends();
}

/// Two wakers say that a level is there.
pub(crate) fn level_of_two(setting: Setting, by: Consumer) {
    let world = World::new(setting);
    let wakers = [0, 1].map(|waker| world.spawn(move |w| w.becomes(waker, A)));
    if world.takes(by).is_some() {
        world.object.is_used_up();
        world.looks();
    }
    let _ = wakers.map(|w| w.join().unwrap());
    world.no_level_is_lost();
    world.ends();
}

/// A level is reported, and taken by one thread, while another one moves the backlog.
pub(crate) fn level_and_mover(setting: Setting) {
    let world = World::new(setting.full());
    world.becomes(0, A);
    let mover = world.spawn(|w| w.queue.flush_backlog());
    for _ in 0..3 {
        world.program_takes();
    }
    world.waits();
    mover.join().unwrap();
    world.no_level_is_lost();
    world.ends();
}

/// A level was reported, and something is said by one who does not know what.
pub(crate) fn level_and_look(setting: Setting, by: Consumer) {
    let world = World::new(setting);
    world.becomes(0, A);
    let waker = world.spawn(|w| w.stirs(1, A));
    if !setting.is_full {
        world.takes(by);
    }
    world.waits();
    waker.join().unwrap();
    world.no_level_is_lost();
    world.ends();
}

/// The same while it is being reported.
pub(crate) fn level_meets_look(setting: Setting) {
    let world = World::new(setting);
    let waker = world.spawn(|w| w.becomes(0, A));
    world.stirs(1, A);
    world.looks();
    waker.join().unwrap();
    // The kernel would list the watch if it took the event.
    while world.program_takes().is_some() {}
    world.no_level_is_lost();
    world.ends();
}

/// A level watch is disabled and on.
pub(crate) fn level_off_and_on(setting: Setting, by: Consumer) {
    let world = World::new(setting);
    let waker = world.spawn(|w| w.becomes(0, A));
    world.disables().unwrap();
    world.takes(by);
    world.looks();
    world.enables().unwrap();
    world.waits();
    waker.join().unwrap();
    world.no_level_is_lost();
    world.ends();
}

/// An edge watch becomes a level watch.
pub(crate) fn edge_becomes_level(setting: Setting, by: Consumer) {
    let world = World::new(setting);
    let waker = world.spawn(|w| w.becomes(0, A));
    if !setting.is_full {
        world.takes(by);
    }
    world.becomes_level();
    world.waits();
    waker.join().unwrap();
    world.no_level_is_lost();
    world.ends();
}

/// A watch gets another name while it is fired and while the backlog is moved. After that no event
/// has the old name, and nothing is lost that holds or was counted.
pub(crate) fn modify(setting: Setting, by: Consumer) {
    modify_with(setting, by, World::renames);
}

/// The same when that is done twice.
pub(crate) fn modify_twice(setting: Setting, by: Consumer) {
    modify_with(setting, by, |world| {
        world.disables()?;
        world.enables()?;
        world.renames()
    });
}

fn modify_with(setting: Setting, by: Consumer, modifies: impl FnOnce(&World) -> Result<(), Error>) {
    let world = World::new(setting);
    world.object.becomes(A);
    let waker = world.spawn(|w| w.happens_often(0, A, 1));
    let mover = world.spawn(move |w| w.takes(by));
    let modified = modifies(&world);
    let mut out: Vec<_> = world.takes(Consumer::Kernel).into_iter().collect();
    waker.join().unwrap();
    let taken = mover.join().unwrap();
    out.extend(world.drain());
    let old = reported(&out).len();
    let renamed = out
        .iter()
        .chain(&taken)
        .filter(|e| e.0.user_data == RENAMED);
    let renamed: Vec<_> = renamed.copied().collect();
    if modified.is_ok() {
        assert_eq!(old, 0, "an event with the old name");
        // The second time because it was fired after it was found to hold.
        assert!(renamed.len() <= 2, "reported too often");
    } else {
        // A ONESHOT watch had fired.
        assert!(setting.flags & ONESHOT != 0 && renamed.is_empty());
    }
    let all = renamed.iter().chain(&out).chain(&taken).map(|e| &e.0);
    let all: Vec<_> = all
        .filter(|e| [WATCH, RENAMED].contains(&e.user_data))
        .collect();
    // A count whose bits were not kept is reported with all that are of interest.
    let is_right = |events| events == A || (setting.counts && events == A | B);
    assert!(
        all.iter().all(|e| is_right(e.events)),
        "an event of nothing"
    );
    if setting.counts {
        let counted = reported(&out).into_iter().map(|e| e.data).sum::<i64>()
            + reported(taken.as_slice())
                .into_iter()
                .map(|e| e.data)
                .sum::<i64>()
            + renamed.iter().map(|e| e.0.data).sum::<i64>();
        assert_eq!(counted, 1);
    } else {
        assert!(!all.is_empty(), "it holds, and is not reported");
    }
    world.ends();
}

/// A watch is removed while it is fired and while the backlog is moved. After that it reports
/// nothing.
pub(crate) fn remove(setting: Setting, by: Consumer) {
    let world = World::new(setting);
    let waker = world.spawn(|w| w.happens_often(0, A, 1));
    let mover = world.spawn(move |w| w.takes(by));
    let removed = world.removes();
    let late = world.takes(Consumer::Kernel);
    waker.join().unwrap();
    let taken = mover.join().unwrap();
    let mut out = world.drain();
    out.extend(late);
    let taken: Vec<_> = taken.into_iter().collect();
    world.removed_or_consumed(removed, &out, &taken);
    world.is_dead();
    world.ends();
}

/// A watch that waits is removed while the backlog is moved.
pub(crate) fn remove_what_waits(setting: Setting) {
    let world = World::new(setting.full());
    world.happens_often(0, A, 1);
    assert!(world.queue.is_backlogged());
    let mover = world.spawn(|w| [w.kernel_takes(), w.kernel_takes()]);
    let removed = world.removes();
    let late = world.program_takes();
    let late = [late, world.program_takes()];
    let taken = mover.join().unwrap();
    let mut out: Vec<_> = late.into_iter().flatten().collect();
    out.extend(world.drain());
    let taken: Vec<_> = taken.into_iter().flatten().collect();
    world.removed_or_consumed(removed, &out, &taken);
    world.is_dead();
    world.ends();
}

/// What is watched vanishes while the watch is fired: it reports so once, after all else.
pub(crate) fn vanish(setting: Setting, by: Consumer) {
    let world = World::new(setting);
    let waker = world.spawn(|w| w.complete(0, A));
    let closer = world.spawn(World::vanishes);
    let mut out: Vec<_> = world.takes(by).into_iter().collect();
    world.looks();
    let was_there = waker.join().unwrap();
    closer.join().unwrap();
    out.extend(world.drain());
    world.has_vanished(&out, was_there);
    world.is_dead();
    world.ends();
}

/// What is watched vanishes while the watch waits and the backlog is moved.
pub(crate) fn vanish_while_it_waits(setting: Setting) {
    let world = World::new(setting.full());
    world.complete(0, A);
    vanish_while_moved(world, true);
}

/// A second thread comes to report that the watched object has vanished, while the watch waits to report
/// that.
pub(crate) fn vanish_twice(setting: Setting) {
    let world = World::new(setting.full());
    world.vanishes();
    vanish_while_moved(world, false);
}

/// The watch waits, and has something to report beside that, or not.
fn vanish_while_moved(world: Arc<World>, was_there: bool) {
    let mover = world.spawn(|w| {
        w.queue.flush_backlog();
        w.kernel_takes()
    });
    world.vanishes();
    let mut out: Vec<_> = mover.join().unwrap().into_iter().collect();
    out.extend(world.drain());
    world.has_vanished(&out, was_there);
    world.is_dead();
    world.ends();
}

/// What is watched has vanished, and that is not consumed: the queue can be closed.
pub(crate) fn vanish_and_close(setting: Setting) {
    let world = World::new(setting);
    let closer = world.spawn(World::vanishes);
    world.complete(0, A);
    closer.join().unwrap();
    world.ends();
}

/// There is an event, and more threads than a waker asks wait for more than that: one that waits
/// behind them is woken.
pub(crate) fn behind_a_crowd(setting: Setting) {
    let world = World::new(setting);
    world.queue.waiters.crowd();
    let waker = world.spawn(|w| w.becomes(0, A));
    world.waits();
    waker.join().unwrap();
    world.nobody_is_forgotten();
    assert_eq!(bits(&world.drain()), A);
    world.ends();
}

/// Something happens and no producer says what: a thread that waits looks.
pub(crate) fn request_repoll(setting: Setting) {
    let world = World::new(setting);
    let waker = world.spawn(|w| w.stirs(0, A));
    world.waits();
    waker.join().unwrap();
    world.nobody_is_forgotten();
    assert!(!world.queue.waiters.sleeps(), "sleeps and is not woken");
    world.looks();
    assert_eq!(bits(&world.drain()), A);
    world.ends();
}

/// The same, and the program is busy: it looks when the ring's header says so.
pub(crate) fn look_when_shown(setting: Setting) {
    let world = World::new(setting);
    let waker = world.spawn(|w| w.stirs(0, A));
    // It may wait for another reason.
    world.looks();
    waker.join().unwrap();
    if world.wants_recheck() {
        world.looks();
        assert!(!world.wants_recheck(), "shown for ever");
    }
    assert_eq!(bits(&world.drain()), A, "it is not polled");
    world.ends();
}

/// A watch is removed while it is polled.
pub(crate) fn look_and_remove(setting: Setting) {
    let world = World::new(setting);
    world.stirs(0, A);
    let looking = world.spawn(|w| w.looks());
    world.removes().expect("it is there");
    looking.join().unwrap();
    assert_eq!(
        reported(&world.drain()).len(),
        0,
        "an event after it was removed"
    );
    world.ends();
}

/// An event that could not be copied to the program is not lost.
pub(crate) fn unconsume(setting: Setting) {
    let world = World::new(setting);
    world.happens_often(0, A, 1);
    let faulting = world.spawn(World::faults);
    world.happens_often(1, if setting.counts { A } else { B }, 2);
    let mut out: Vec<_> = world.kernel_takes().into_iter().collect();
    faulting.join().unwrap();
    out.extend(world.drain());
    if setting.flags & ONESHOT != 0 {
        assert_eq!((reported(&out).len(), times(&out)), (1, 1));
    } else {
        world.all_was_reported(&out);
    }
    world.ends();
}

/// The watch of such an event is rechecked meanwhile, or removed.
pub(crate) fn untake_what_goes(setting: Setting, removes: bool) {
    let world = World::new(setting);
    world.happens_often(0, A, 1);
    let faulting = world.spawn(World::faults);
    let removed = if removes {
        world.removes().is_ok()
    } else {
        world.looks();
        false
    };
    faulting.join().unwrap();
    assert_eq!(reported(&world.drain()).len(), usize::from(!removed));
    if removed || setting.flags & ONESHOT != 0 {
        world.is_dead();
    }
    world.ends();
}
