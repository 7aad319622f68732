// SPDX-License-Identifier: GPL-2.0-only

//! What an operation on the ring, a watch or a queue takes, in nanoseconds.
//!
//! There is no program: the benchmarks are a KUnit suite, and consume events as
//! [`Ring::take`](crate::core::ring::Ring::take) does. Each prints a line:
//!
//! ```text
//! # kevent_benchmark: NAME: N.N ns
//! ```
//!
//! Operations are timed [`BATCH`] at a time; what has to be done before each batch is not. The mean
//! of a run counts, without the batches that took most and least, so that it matters little what
//! else the machine does meanwhile, and the cheapest of [`RUNS`] runs. The share of the clock is
//! what `empty` says.

use core::{
    cell::Cell,
    hint::{
        black_box,
        spin_loop, //
    }, //
};

use kernel::{
    fs::{
        anon_inode::getfile,
        File, //
    },
    prelude::*,
    sync::{
        aref::ARef,
        atomic::{
            ordering::{
                Full,
                Relaxed, //
            },
            Atomic, //
        },
        Arc,
        ArcBorrow, //
    },
    time::{
        Instant,
        Monotonic, //
    },
    uapi, //
};

use crate::{
    core::{
        event::{
            Event,
            EventData, //
        },
        ring::{
            tests::{
                event,
                take,
                take_exhausted, //
            },
            Ring, //
        },
        state::{
            Mode,
            Report,
            State, //
        }, //
    },
    engine::{
        completion,
        level::{
            Fresh,
            Tested, //
        },
        queue::{
            Queue,
            Take, //
        },
        watch::{
            EventKind,
            Rechecker,
            Watch, //
        }, //
    },
    source::{
        poll::Poll,
        user::User,
        Class,
        Source,
        Target, //
    },
    sys::limits::resched, //
};

/// How many operations are timed at once. Each has a watch of its own, so that events do not merge
/// unless they are to.
const BATCH: usize = 64;

/// How many batches of a run count: `1 << RUN_SHIFT` operations.
const COUNTED: usize = 2048;

const RUN_SHIFT: u32 = 17;

const _: () = assert!(1 << RUN_SHIFT == BATCH * COUNTED);

/// How many others there are at each end, by their times. More would not do: what matters of a
/// coarse clock is how often it says the one and the other.
const OUTLIERS: usize = 128;

const BATCHES: usize = COUNTED + 2 * OUTLIERS;

/// How many runs there are.
const RUNS: usize = 8;

/// The operations of all runs. CAST: A million.
const OPERATIONS: u64 = (BATCH * BATCHES * RUNS) as u64;

/// Times `operate`, which is called with 0 to [`BATCH`] less one after each call of `prepare`, and
/// prints what it takes.
fn measure(
    name: &str,
    mut prepare: impl FnMut() -> Result,
    mut operate: impl FnMut(usize) -> Result,
) -> Result {
    let mut least = u64::MAX;
    let mut times = KVec::with_capacity(BATCHES, GFP_KERNEL)?;
    for _ in 0..RUNS {
        times.clear();
        for nr in 0..BATCHES {
            prepare()?;
            // So that batches begin anywhere between two ticks of a coarse clock.
            for _ in 0..nr % BATCH {
                spin_loop();
            }
            let start = Instant::<Monotonic>::now();
            for i in 0..BATCH {
                operate(i)?;
            }
            let passed = start.elapsed().as_nanos();
            times.push(passed.max(0).unsigned_abs(), GFP_KERNEL)?;
        }
        times.sort_unstable();
        let counted = times.iter().skip(OUTLIERS).take(COUNTED);
        let sum = counted.copied().fold(0, u64::saturating_add);
        least = least.min(sum);
        resched();
    }
    // A 32-bit machine cannot divide this.
    let whole = least >> RUN_SHIFT;
    let rest = least & ((1 << RUN_SHIFT) - 1);
    let tenth = rest.wrapping_mul(10) >> RUN_SHIFT;
    kernel::kunit::info(fmt!("    # kevent_benchmark: {name}: {whole}.{tenth} ns\n"));
    Ok(())
}

/// There is nothing to prepare.
fn nothing() -> Result {
    Ok(())
}

/// [`measure`], of something that is done once for the whole batch.
fn measure_once(
    name: &str,
    prepare: impl FnMut() -> Result,
    mut operate: impl FnMut() -> Result,
) -> Result {
    measure(name, prepare, |i| if i == 0 { operate() } else { Ok(()) })
}

/// A source whose object is ready when a benchmark says so.
struct Probe {
    ready: Atomic<u32>,
}

impl Class for Probe {
    const NUMBER: u32 = uapi::KEVENT_SOURCE_USER;
    const FLAGS: u32 = 0;
    const EVENTS: u32 = uapi::KEVENT_EVENTS_MASK;

    fn watch(queue: &Arc<Queue>, record: &uapi::kevent_watch) -> Result<Arc<Watch>> {
        let probe = Probe {
            // CAST: Of a probe, it is the events that there are.
            ready: Atomic::new(record.ident as u32),
        };
        let watch: Arc<Watch<Probe>> =
            Watch::new(queue.clone(), record, EventKind::State, Ok(probe))?;
        Ok(watch)
    }
}

impl Source for Probe {
    fn test(&self, _watch: ArcBorrow<'_, Watch>, _visitor: Rechecker) -> u32 {
        self.ready.load(Relaxed)
    }

    fn synchronize(&self) {}

    fn detach(&self, _queue: &Queue) {}

    fn ident(&self) -> u64 {
        0
    }
}

/// A queue whose ring has a slot for each operation of a batch, and as many watches.
struct Setup {
    queue: Arc<Queue>,
    watches: KVec<Arc<Watch>>,
    handles: KVec<u64>,
}

impl Setup {
    /// Without watches.
    fn new() -> Result<Self> {
        Ok(Self {
            // CAST: It is a small number.
            queue: Queue::new(BATCH as u32, 0, false)?,
            watches: KVec::with_capacity(BATCH, GFP_KERNEL)?,
            handles: KVec::with_capacity(BATCH, GFP_KERNEL)?,
        })
    }

    /// With watches of class `C`, as the record says.
    fn with<C: Class>(record: uapi::kevent_watch) -> Result<Self> {
        let mut setup = Self::new()?;
        for _ in 0..BATCH {
            let queue = &setup.queue;
            queue.reserve_watches(1)?;
            let watch = C::watch(queue, &record)?;
            let mut table = queue.watches().lock();
            let handle = table.insert(queue, watch.clone())?;
            let record = uapi::kevent_watch { handle, ..record };
            watch.source().attach(watch.as_arc_borrow(), &record)?;
            drop(table);
            setup.watches.push(watch, GFP_KERNEL)?;
            setup.handles.push(handle, GFP_KERNEL)?;
        }
        Ok(setup)
    }

    /// With watches of a [`Probe`] that are fired for event 1, of which there is `ready`.
    fn with_probes(flags: u32, ready: u64) -> Result<Self> {
        Self::with::<Probe>(uapi::kevent_watch {
            flags,
            events: 1,
            ident: ready,
            ..Default::default()
        })
    }

    fn ring(&self) -> Result<&Ring> {
        self.queue.ring().ok_or(EINVAL)
    }

    /// Fires a watch, as the wake-up of a file does.
    #[inline(always)]
    fn fire(&self, i: usize) -> Result {
        let watch = self.watches.get(i).ok_or(EINVAL)?.as_arc_borrow();
        watch.fire_plain(watch.mode(), 1, EventData::default());
        Ok(())
    }

    fn fire_all(&self) -> Result {
        (0..BATCH).try_for_each(|i| self.fire(i))
    }

    /// Posts as many events as the ring has slots.
    fn post_all(&self, event: &Event) -> Result {
        (0..BATCH).try_for_each(|_| self.queue.post(event).map_err(|_| ENOSPC))
    }

    /// Consumes all events in the ring.
    fn drain(&self) -> Result {
        let ring = self.ring()?;
        while take(ring).is_some() {}
        Ok(())
    }

    /// The same, and in the backlog.
    fn drain_all(&self) -> Result {
        self.drain()?;
        while self.queue.is_backlogged() {
            self.flush()?;
            self.drain()?;
        }
        Ok(())
    }

    /// Rechecks all watches that are on the list.
    fn recheck(&self) -> Result {
        self.queue.recheck(Rechecker::PROGRAM, None, u32::MAX);
        Ok(())
    }

    /// Moves deferred events into the ring, as many as it has slots.
    fn flush(&self) -> Result {
        self.queue.flush_backlog();
        Ok(())
    }
}

impl Drop for Setup {
    fn drop(&mut self) {
        // They have references to the queue.
        self.queue.watches().lock().clear(&self.queue);
    }
}

/// Files, each with a watch of class POLL. The files are queues without a ring.
struct Files {
    // Dropped first: the watches are on the wait queues of the files.
    setup: Setup,
    queues: KVec<Arc<Queue>>,
    files: KVec<ARef<File>>,
}

impl Files {
    /// With watches that are interested in `events`.
    fn new(events: u32) -> Result<Self> {
        let setup = Setup::with::<Poll<1>>(uapi::kevent_watch {
            flags: uapi::KEVENT_WATCH_EDGE,
            events,
            ..Default::default()
        })?;
        let mut this = Self {
            setup,
            queues: KVec::with_capacity(BATCH, GFP_KERNEL)?,
            files: KVec::with_capacity(BATCH, GFP_KERNEL)?,
        };
        for watch in &this.setup.watches {
            let queue = Queue::new(0, 0, false)?;
            let file = getfile::<Queue>(c"[kevent]", queue.clone(), 0)?;
            this.queues.push(queue, GFP_KERNEL)?;
            // First, so that it lives as long as the watch.
            this.files.push(file.clone(), GFP_KERNEL)?;
            let target = Target { file, key: events };
            if watch.source().register(&target)? != 0 {
                return Err(EINVAL);
            }
        }
        Ok(this)
    }

    /// Wakes those who wait for a file: there is something to read.
    #[inline(always)]
    fn wake(&self, i: usize) -> Result {
        self.queues.get(i).ok_or(EINVAL)?.wake_pollers();
        Ok(())
    }
}

/// The mode of a watch as [`Setup::with_probes`] makes them.
fn mode(flags: u32) -> Mode {
    Mode::new(Probe::NUMBER, EventKind::State, flags, 1)
}

#[kunit_tests(kevent_benchmark)]
mod tests {
    use super::*;

    const EDGE: u32 = uapi::KEVENT_WATCH_EDGE;
    const LEVEL: u32 = 0;

    #[test]
    fn empty() -> Result {
        measure("empty", nothing, |i| {
            black_box(i);
            Ok(())
        })
    }

    #[test]
    fn state() -> Result {
        let report = Report::of(1);
        let mode = mode(EDGE);
        measure("state", nothing, |_| {
            let fired = black_box(State::IDLE).fired(black_box(mode), report);
            black_box(black_box(fired).released());
            Ok(())
        })
    }

    #[test]
    fn state_exchange() -> Result {
        let report = Report::of(1);
        let mode = mode(EDGE);
        let word = Atomic::new(State::IDLE.bits());
        let update = |new: fn(State, Mode, Report) -> State| {
            let old = State::from_bits(word.load(Relaxed));
            let new = new(old, black_box(mode), report);
            word.cmpxchg(old.bits(), new.bits(), Full)
                .map_err(|_| EAGAIN)
        };
        measure("state_exchange", nothing, |_| {
            update(|state, mode, report| state.fired(mode, report))?;
            update(|state, _, _| state.released())?;
            Ok(())
        })
    }

    #[test]
    fn ring() -> Result {
        let setup = Setup::new()?;
        let ring = setup.ring()?;
        let event = event(1);
        let publish = || ring.publish(&event).map(|_| ()).ok_or(ENOSPC);
        let publish_all = || (0..BATCH).try_for_each(|_| publish());
        measure("ring_publish", || setup.drain(), |_| publish())?;
        setup.drain()?;
        measure("ring_take", publish_all, |_| {
            take(ring).map(|_| ()).ok_or(ENOENT)
        })?;
        assert_eq!(ring.posted(), 2 * OPERATIONS);
        Ok(())
    }

    #[test]
    fn edge() -> Result {
        let setup = Setup::with_probes(EDGE, 0)?;
        measure("edge_post", || setup.drain(), |i| setup.fire(i))?;
        assert_eq!(setup.ring()?.posted(), OPERATIONS);
        measure("edge_merge", nothing, |i| setup.fire(i))?;
        assert_eq!(setup.ring()?.posted(), OPERATIONS);
        Ok(())
    }

    #[test]
    fn level() -> Result {
        let setup = Setup::with_probes(LEVEL, 0)?;
        let ring = setup.ring()?;
        let consume = || {
            setup.drain()?;
            setup.recheck()
        };
        measure("level_post", consume, |i| setup.fire(i))?;
        assert_eq!(ring.posted(), OPERATIONS);
        consume()?;
        let post = || {
            setup.fire_all()?;
            setup.drain()
        };
        measure_once("level_recheck", post, || setup.recheck())?;
        assert!(setup.queue.recheck_list().is_empty());
        let post = || {
            setup.fire_all()?;
            while take_exhausted(ring).is_some() {}
            Ok(())
        };
        measure_once("level_recheck_exhausted", post, || setup.recheck())?;
        assert!(setup.queue.recheck_list().is_empty());
        Ok(())
    }

    #[test]
    fn level_that_holds() -> Result {
        let setup = Setup::with_probes(LEVEL, 1)?;
        setup.fire_all()?;
        measure_once("level_recheck_holds", || setup.drain(), || setup.recheck())?;
        assert_eq!(setup.ring()?.posted(), OPERATIONS + BATCH as u64);
        Ok(())
    }

    #[test]
    fn user() -> Result {
        let setup = Setup::with::<User>(uapi::kevent_watch {
            events: 1,
            ..Default::default()
        })?;
        let queue = &setup.queue;
        let event = event(1);
        measure(
            "user_post",
            || setup.drain(),
            |_| queue.post(&event).map_err(|_| ENOSPC),
        )?;
        measure(
            "user_trigger",
            || setup.drain(),
            |i| {
                let handle = *setup.handles.get(i).ok_or(EINVAL)?;
                queue.triggers().fire(User::NUMBER, handle, 1)
            },
        )?;
        assert_eq!(setup.ring()?.posted(), 2 * OPERATIONS);
        Ok(())
    }

    #[test]
    fn backlog() -> Result {
        let setup = Setup::new()?;
        let queue = &setup.queue;
        let event = event(1);
        let fill = || {
            setup.drain_all()?;
            setup.post_all(&event)
        };
        measure("backlog_defer", fill, |_| queue.post_deferred(&event))?;
        assert_eq!(queue.available(None), BATCH as u32);
        assert!(queue.is_backlogged());
        let defer = || {
            fill()?;
            (0..BATCH).try_for_each(|_| queue.post_deferred(&event))?;
            setup.drain()
        };
        measure_once("backlog_flush", defer, || setup.flush())?;
        assert_eq!(queue.available(None), BATCH as u32);
        assert!(!queue.is_backlogged());
        Ok(())
    }

    #[test]
    fn backlog_of_watches() -> Result {
        let setup = Setup::with_probes(EDGE, 0)?;
        let queue = &setup.queue;
        let event = event(1);
        let fill = || {
            setup.drain_all()?;
            setup.post_all(&event)
        };
        measure("backlog_defer_watch", fill, |i| setup.fire(i))?;
        assert_eq!(queue.available(None), BATCH as u32);
        assert!(queue.is_backlogged());
        let defer = || {
            fill()?;
            setup.fire_all()?;
            setup.drain()
        };
        measure_once("backlog_flush_watch", defer, || setup.flush())?;
        assert_eq!(queue.available(None), BATCH as u32);
        assert!(!queue.is_backlogged());
        Ok(())
    }

    #[test]
    fn get_events() -> Result {
        let setup = Setup::new()?;
        let queue = &setup.queue;
        let event = event(1);
        let mut spare = queue.consumer().lock();
        let mut tested = Tested::new(Fresh::new(queue));
        measure(
            "get_events",
            || setup.post_all(&event),
            |_| {
                let taken = queue.take(&mut spare, &mut tested, |event| {
                    black_box(event);
                    Ok(())
                })?;
                if taken == Take::Delivered {
                    Ok(())
                } else {
                    Err(ENOENT)
                }
            },
        )
    }

    #[test]
    fn completions() -> Result {
        let setup = Setup::new()?;
        let prepare = || completion::prepare(setup.queue.clone(), Probe::NUMBER, 1);
        let posts = [const { Cell::new(None) }; BATCH];
        let give_up = || {
            posts
                .iter()
                .filter_map(Cell::take)
                .for_each(completion::give_up);
            Ok(())
        };
        measure("completion_prepare", give_up, |i| {
            posts.get(i).ok_or(EINVAL)?.set(Some(prepare()?));
            Ok(())
        })?;
        give_up()?;
        let prepare_all = || {
            setup.drain()?;
            posts
                .iter()
                .try_for_each(|post| prepare().map(|prepared| post.set(Some(prepared))))
        };
        measure("completion_post", prepare_all, |i| {
            let post = posts.get(i).and_then(Cell::take).ok_or(EINVAL)?;
            completion::complete(post, 1, EventData::default());
            Ok(())
        })?;
        assert_eq!(setup.ring()?.posted(), OPERATIONS);
        Ok(())
    }

    #[test]
    fn wake() -> Result {
        let unwanted = Files::new(uapi::KEVENT_POLL_OUT)?;
        measure("wake_unwanted", nothing, |i| unwanted.wake(i))?;
        assert_eq!(unwanted.setup.ring()?.posted(), 0);
        let wanted = Files::new(uapi::KEVENT_POLL_IN)?;
        measure("wake_post", || wanted.setup.drain(), |i| wanted.wake(i))?;
        assert_eq!(wanted.setup.ring()?.posted(), OPERATIONS);
        Ok(())
    }

    #[test]
    fn wake_none() -> Result {
        let queue = Queue::new(0, 0, false)?;
        measure("wake_none", nothing, |_| {
            queue.wake_pollers();
            Ok(())
        })
    }
}
