// SPDX-License-Identifier: MIT

//! The crate on a kernel that has kevent. On any other one, every test says so and passes.

#![cfg(not(loom))]
#![allow(missing_docs)]

use kevent::{
    Clock, Details, Error, Event, Features, FutexEvents, Geometry, InodeEvents, Modify, Post,
    ProcessEvents, Queue, Readiness, Rest, SigevEvents, SignalSet, SocketEvents, Source, Sources,
    TimerEvents, UserEvents, Wait, Watch,
};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

const SHORT: Duration = Duration::from_millis(20);

/// A queue of this kernel, or leave the test.
macro_rules! queue {
    ($entries:expr) => {
        match Queue::builder().entries($entries).build() {
            Err(Error::Unsupported) => {
                eprintln!("skipped: this kernel has no kevent");
                return;
            }
            queue => queue.unwrap(),
        }
    };
}

fn posts(range: std::ops::Range<u64>) -> Vec<Post> {
    range
        .map(|n| {
            Post::new(n)
                .events(UserEvents::from(n as u16))
                .data(-(n as i64))
                .extra(!n)
        })
        .collect()
}

fn number(event: Event) -> u64 {
    let n = event.user_data();

    assert_eq!(event.source(), Source::User);
    assert!(event.is_posted());
    assert_eq!((event.raw_events(), event.merged()), (n as u16, 0));
    assert_eq!((event.data(), event.extra()), (-(n as i64), !n));
    n
}

#[track_caller]
fn fails<T: std::fmt::Debug>(result: Result<T, Error>, errno: i32) {
    assert_eq!(result.unwrap_err(), Error::from_raw_os_error(errno));
}

fn duplicate(queue: &Queue) -> OwnedFd {
    queue.as_fd().try_clone_to_owned().unwrap()
}

#[test]
fn sizes() {
    let queue = queue!(0);

    assert!(queue.ring().is_none());
    assert_eq!(queue.geometry(), Geometry::default());
    for (asked, granted) in [(1, 2), (2, 2), (3, 4), (1000, 1024), (1 << 16, 1 << 16)] {
        let queue = queue!(asked);
        assert_eq!(queue.geometry().ring_entries, granted);
        assert_eq!(queue.ring().unwrap().entries(), granted);
        assert!(queue.take().is_none());
    }
    fails(
        Queue::builder().entries((1 << 16) + 1).build(),
        libc::EINVAL,
    );
}

#[test]
fn features() {
    let queue = queue!(2);

    assert!(queue.sources().unwrap().contains(Sources::USER));
    assert_eq!(Queue::probe().unwrap(), queue.sources().unwrap());
    assert_eq!(Queue::probe_features().unwrap(), queue.features().unwrap());
    let none = Queue::builder()
        .sources(Sources::from_bits_retain(1 << 31))
        .build();
    fails(none, libc::ENOSYS);
    if !queue.sources().unwrap().contains(Sources::POLL) {
        let watch = Watch::poll(queue.as_fd(), Readiness::IN);
        fails(queue.add_one(watch), libc::ENOSYS);
    }
}

#[test]
fn what_goes_in_comes_out() {
    let queue = queue!(8);

    for lap in 0..50 {
        assert_eq!(queue.post(&posts(lap..lap + 8)).unwrap(), 8);
        fails(queue.post(&posts(0..1)), libc::EAGAIN);
        assert_eq!(queue.ring().unwrap().peek().map(number), Some(lap));
        assert!(queue.drain().map(number).eq(lap..lap + 8));
    }
    assert_eq!(queue.calls().post, 100);
    assert_eq!(queue.calls().total(), 101);
    assert_eq!(queue.ring().unwrap().cursor(), 400);
    assert_eq!(queue.post(&posts(0..20)).unwrap(), 8);
    fails(queue.post(&[]), libc::EINVAL);
}

#[test]
fn the_backlog_keeps_order() {
    let queue = queue!(4);
    let ring = queue.ring().unwrap();

    assert_eq!(queue.post_deferred(&posts(0..100)).unwrap(), 100);
    assert!(ring.has_backlog());
    fails(queue.post(&posts(0..1)), libc::EAGAIN);
    for n in 0..50 {
        assert_eq!(queue.try_next().unwrap().map(number), Some(n));
    }
    for n in 50..99 {
        assert_eq!(queue.next().map(number).unwrap(), n);
    }
    let mut events = [Event::default(); 4];
    assert_eq!(queue.get_events(&mut events, &Wait::poll()).unwrap(), 1);
    assert_eq!(number(events[0]), 99);
    assert_eq!(queue.try_next().unwrap(), None);
    assert!(!ring.has_backlog());
}

#[test]
fn without_a_ring() {
    let queue = queue!(0);

    assert_eq!(queue.try_next().unwrap(), None);
    assert_eq!(queue.next_with(&Wait::new().timeout(SHORT)).unwrap(), None);
    assert_eq!(queue.post_deferred(&posts(0..10)).unwrap(), 10);
    assert!(queue.take().is_none());
    assert_eq!(queue.wait(&Wait::poll()).unwrap(), 10);
    assert_eq!(queue.next().map(number).unwrap(), 0);
    assert_eq!(queue.try_next().unwrap().map(number), Some(1));
    let mut events = [Event::default(); 16];
    assert_eq!(
        queue.get_events(&mut events, &Wait::new().min(8)).unwrap(),
        8
    );
    assert!(events[..8].iter().copied().map(number).eq(2..10));
}

#[test]
fn get_events() {
    let queue = queue!(8);
    let mut events = [Event::default(); 4];

    assert_eq!(queue.get_events(&mut events, &Wait::poll()).unwrap(), 0);
    let wait = Wait::new().min(2).timeout(SHORT);
    assert_eq!(queue.get_events(&mut events, &wait).unwrap(), 0);
    queue.post(&posts(0..6)).unwrap();
    assert_eq!(queue.take().map(number), Some(0));
    assert_eq!(queue.get_events(&mut events, &wait).unwrap(), 4);
    assert!(events.into_iter().map(number).eq(1..5));
    assert_eq!(queue.get_events(&mut events, &wait).unwrap(), 1);
    let past = Wait::new().deadline(Clock::Monotonic, Duration::ZERO);
    assert_eq!(queue.get_events(&mut events, &past).unwrap(), 0);

    fails(queue.get_events(&mut [], &Wait::poll()), libc::EINVAL);
    fails(
        queue.get_events(&mut events, &Wait::new().min(5)),
        libc::EINVAL,
    );
    let realtime = Wait::new().deadline(Clock::Realtime, SHORT);
    fails(queue.get_events(&mut events, &realtime), libc::EINVAL);
}

#[test]
fn waits_end() {
    let queue = queue!(8);
    let before = Clock::Monotonic.now();

    assert_eq!(queue.wait(&Wait::new().timeout(SHORT)).unwrap(), 0);
    assert!(Clock::Monotonic.now() >= before + SHORT);
    assert_eq!(queue.wait(&Wait::poll()).unwrap(), 0);
    for clock in [Clock::Monotonic, Clock::Realtime, Clock::Boottime] {
        let at = clock.now() + SHORT;
        assert_eq!(
            queue.next_with(&Wait::new().deadline(clock, at)).unwrap(),
            None
        );
        assert!(clock.now() >= at);
    }
    fails(queue.wait(&Wait::new().min(9)), libc::EINVAL);

    queue.post(&posts(0..3)).unwrap();
    assert_eq!(queue.wait(&Wait::new()).unwrap(), 3);
    assert_eq!(queue.wait(&Wait::new().seen(2)).unwrap(), 1);
    assert_eq!(queue.wait(&Wait::new().min(4).timeout(SHORT)).unwrap(), 3);
    // The window is over: fewer are enough.
    assert_eq!(queue.wait(&Wait::new().min(4).min_wait(SHORT)).unwrap(), 3);
    let first = queue.next_with(&Wait::new().min(8).timeout(SHORT)).unwrap();
    assert_eq!(first.map(number), Some(0));
}

#[test]
fn a_post_wakes() {
    let queue = queue!(8);

    thread::scope(|s| {
        s.spawn(|| {
            for n in 0..5 {
                thread::sleep(SHORT);
                queue.post(&posts(n..n + 1)).unwrap();
            }
        });
        for n in 0..3 {
            assert_eq!(queue.next().map(number).unwrap(), n);
        }
        let two = queue.next_with(&Wait::new().min(2)).unwrap();
        assert_eq!(two.map(number), Some(3));
        assert_eq!(queue.take().map(number), Some(4));
    });
}

/// Two producers and two consumers on a ring that is always full or empty.
#[test]
fn many_threads() {
    const EACH: u64 = 2000;

    for entries in [2, 4, 16] {
        let queue = queue!(entries);
        let (sum, taken) = (AtomicU64::new(0), AtomicU64::new(0));

        thread::scope(|s| {
            for _ in 0..2 {
                s.spawn(|| {
                    for n in 0..EACH {
                        while queue.post(&posts(n..n + 1)).is_err() {
                            thread::yield_now();
                            if taken.load(Ordering::Relaxed) > 2 * EACH {
                                return;
                            }
                        }
                    }
                });
                s.spawn(|| {
                    let mut patience = 100;

                    while taken.load(Ordering::Relaxed) < 2 * EACH {
                        if let Some(event) = queue.next_with(&Wait::new().timeout(SHORT)).unwrap() {
                            sum.fetch_add(number(event), Ordering::Relaxed);
                            taken.fetch_add(1, Ordering::Relaxed);
                            continue;
                        }
                        patience -= 1;
                        if patience == 0 {
                            // So that the others end too.
                            taken.fetch_add(1 << 32, Ordering::Relaxed);
                        }
                    }
                });
            }
        });
        assert_eq!(taken.into_inner(), 2 * EACH, "{entries} entries");
        assert_eq!(sum.into_inner(), EACH * (EACH - 1), "{entries} entries");
        assert_eq!(queue.try_next().unwrap(), None);
    }
}

extern "C" fn nothing(_: libc::c_int) {}

#[test]
fn watches_by_name() {
    let queue = queue!(8);
    let (a, _b) = UnixStream::pair().unwrap();
    let watch = |bits: Readiness, n| {
        let watch = Watch::of_events(bits).ident(a.as_raw_fd() as u64);
        watch.user_data(n).edge()
    };
    let mut watches = [watch(Readiness::IN, 1)];

    if !queue
        .features()
        .is_some_and(|f| f.contains(Features::BY_IDENT))
    {
        eprintln!("skipped: this kernel has no watches by name");
        return;
    }
    let remove = Modify::BY_IDENT | Modify::REMOVE;
    fails(queue.modify(&mut watches, remove), libc::ENOENT);
    assert_eq!(queue.add_or_update(&mut watches), Ok(1));
    let handle = watches[0].handle();
    watches = [watch(Readiness::OUT, 2)];
    assert_eq!(queue.add_or_update(&mut watches), Ok(1));
    assert_eq!(watches[0].handle(), handle);
    assert_eq!(queue.try_next().unwrap().unwrap().user_data(), 2);
    watches = [watch(Readiness::OUT, 3)];
    let what = Modify::BY_IDENT | Modify::USER_DATA | Modify::ENABLE;
    assert_eq!(queue.modify(&mut watches, what), Ok(1));
    assert_eq!(watches[0].handle(), handle);
    assert_eq!(queue.try_next().unwrap().unwrap().user_data(), 3);
    queue.add_one(watch(Readiness::IN, 4)).unwrap();
    fails(queue.modify(&mut watches, remove), libc::EEXIST);
    assert_eq!(queue.remove(&[handle]), Ok(1));
    assert_eq!(queue.modify(&mut watches, remove), Ok(1));
    fails(queue.modify(&mut watches, remove), libc::ENOENT);
}

#[test]
fn a_signal_ends_a_wait() {
    let queue = queue!(8);
    let (signal, mut set) = (libc::SIGUSR1, std::mem::MaybeUninit::uninit());

    // SAFETY: the handler does nothing; the set is initialised before it is used; the signal is
    // blocked in this thread and sent to this thread.
    unsafe {
        libc::signal(
            signal,
            nothing as extern "C" fn(libc::c_int) as libc::sighandler_t,
        );
        libc::sigemptyset(set.as_mut_ptr());
        libc::sigaddset(set.as_mut_ptr(), signal);
        libc::pthread_sigmask(libc::SIG_BLOCK, set.as_ptr(), std::ptr::null_mut());
        libc::pthread_kill(libc::pthread_self(), signal);
    }
    // It is pending and blocked, then let through, then gone.
    assert_eq!(queue.wait(&Wait::new().timeout(SHORT)).unwrap(), 0);
    let open = Wait::new().sigmask(SignalSet::full().without(signal));
    fails(queue.wait(&open), libc::EINTR);
    assert_eq!(queue.wait(&open.timeout(SHORT)).unwrap(), 0);
}

#[test]
fn descriptors() {
    let queue = queue!(8);
    let poster = Queue::from_fd(duplicate(&queue)).unwrap();
    let twin = Queue::from_fd_mapped(duplicate(&queue), queue.geometry()).unwrap();

    assert!(poster.ring().is_none());
    poster.post(&posts(0..4)).unwrap();
    assert_eq!(queue.take().map(number), Some(0));
    assert_eq!(twin.take().map(number), Some(1));
    assert_eq!(poster.next().map(number).unwrap(), 2);

    // The mapping outlives the descriptor that made it.
    drop(OwnedFd::from(queue));
    drop(poster);
    assert_eq!(twin.next().map(number).unwrap(), 3);

    let null = || OwnedFd::from(File::open("/dev/null").unwrap());
    fails(Queue::from_fd(null()), libc::EINVAL);
    fails(Queue::from_fd_mapped(null(), twin.geometry()), libc::EINVAL);
    let mut wrong = twin.geometry();
    wrong.mmap_size *= 2;
    fails(Queue::from_fd_mapped(duplicate(&twin), wrong), libc::EINVAL);
}

#[test]
fn the_descriptor_polls() {
    let queue = queue!(8);
    let readable = || {
        let mut fd = libc::pollfd {
            fd: queue.as_raw_fd(),
            events: libc::POLLIN,
            revents: 0,
        };
        // SAFETY: `fd` is one valid record.
        unsafe { libc::poll(&mut fd, 1, 0) == 1 && fd.revents & libc::POLLIN != 0 }
    };

    assert!(!readable());
    queue.post(&posts(0..2)).unwrap();
    assert!(readable());
    assert!(queue.take().is_some() && readable());
    assert!(queue.take().is_some() && !readable());
}

#[test]
fn a_seal_holds() {
    let _ = queue!(0);
    let sealed = match Queue::builder().sources(Sources::POLL).build() {
        // There is no kevent, or no class but USER that it could be sealed to.
        Err(Error::Unsupported) => return,
        queue => queue.unwrap(),
    };

    fails(sealed.post(&posts(0..1)), libc::EPERM);
}

/// A queue whose kernel has POLL, a socket's two ends, or leave the test.
macro_rules! polled {
    () => {{
        let queue = queue!(8);
        if !queue.sources().unwrap().contains(Sources::POLL) {
            eprintln!("skipped: this kernel has no POLL");
            return;
        }
        let (near, far) = UnixStream::pair().unwrap();
        near.set_nonblocking(true).unwrap();
        (queue, near, far)
    }};
}

fn drain(mut stream: &UnixStream) {
    while stream.read(&mut [0; 64]).is_ok_and(|read| read > 0) {}
}

#[test]
fn a_level_is_reported_while_it_holds() {
    let (queue, near, mut far) = polled!();
    let watch = Watch::poll(near.as_fd(), Readiness::IN).user_data(5);

    queue.add_one(watch).unwrap();
    assert_eq!(queue.take(), None);
    far.write_all(b"x").unwrap();
    for _ in 0..3 {
        let event = queue.next_with(&Wait::poll()).unwrap().unwrap();
        assert_eq!((event.source(), event.user_data()), (Source::Poll, 5));
        assert_eq!(event.readiness(), Readiness::IN);
    }
    drain(&near);
    assert_eq!(queue.next_with(&Wait::poll()).unwrap(), None);
}

#[test]
fn an_exhausted_level_is_not_polled() {
    let (queue, near, mut far) = polled!();
    let marks = queue.features().unwrap().contains(Features::EXHAUSTED);
    let now = Wait::poll();

    queue
        .add_one(Watch::poll(near.as_fd(), Readiness::IN).user_data(1))
        .unwrap();
    far.write_all(b"some").unwrap();
    for _ in 0..3 {
        queue.serve(|_| Rest::Unknown).unwrap();
    }
    // A lie shows that the kernel does not look.
    assert!(queue.serve_with(&now, |_| Rest::Nothing).unwrap());
    assert_eq!(queue.next_with(&now).unwrap().is_some(), !marks);
    for _ in 0..20 {
        far.write_all(b"more").unwrap();
        queue
            .serve(|event| {
                assert_eq!(event.user_data(), 1);
                drain(&near);
                // Not seen by who drained it.
                far.write_all(b"x").unwrap();
                Rest::Nothing
            })
            .unwrap();
        queue
            .serve(|event| {
                assert_eq!(event.readiness(), Readiness::IN);
                drain(&near);
                Rest::Nothing
            })
            .unwrap();
        assert!(!queue.serve_with(&now, |_| Rest::Unknown).unwrap());
    }
}

#[test]
fn serving_without_a_ring() {
    let queue = queue!(0);
    let mut served = None;

    assert!(!queue.serve_with(&Wait::poll(), |_| Rest::Nothing).unwrap());
    queue.post_deferred(&posts(3..4)).unwrap();
    queue
        .serve(|event| {
            served = Some(number(event));
            Rest::Nothing
        })
        .unwrap();
    assert_eq!(served, Some(3));
}

/// A slot is free again, and the queue works, after what serves an event has panicked.
#[test]
fn serving_may_panic() {
    let queue = queue!(2);

    for n in 0..8 {
        queue.post(&posts(n..n + 1)).unwrap();
        let panics = || queue.serve(|event| panic!("{event:?}"));
        assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(panics)).is_err());
    }
    assert_eq!(queue.take(), None);
}

/// What a program does wrong is an error of a type of its own.
#[test]
fn misuse_is_an_error() {
    let queue = queue!(8);
    let (socket, _other) = UnixStream::pair().unwrap();
    let file = File::open("/dev/null").unwrap();
    let fd = |file: &dyn AsFd| file.as_fd().try_clone_to_owned().unwrap();

    // What is no queue.
    for other in [fd(&socket), fd(&file)] {
        assert_eq!(Queue::from_fd(other).unwrap_err(), Error::Invalid);
    }
    let mapped = Queue::from_fd_mapped(fd(&socket), queue.geometry());
    assert_eq!(mapped.unwrap_err(), Error::Invalid);
    let mut wrong = queue.geometry();
    wrong.ring_entries /= 2;
    let mapped = Queue::from_fd_mapped(duplicate(&queue), wrong);
    assert_eq!(mapped.unwrap_err(), Error::Invalid);

    // Two owners of a ring in one process share its events.
    let twin = Queue::from_fd_mapped(duplicate(&queue), queue.geometry()).unwrap();
    queue.post(&posts(0..2)).unwrap();
    assert_eq!(queue.take().map(number), Some(0));
    assert_eq!(twin.take().map(number), Some(1));
    assert_eq!((queue.take(), twin.take()), (None, None));
    // In another process there is none.
    let geometry = queue.geometry();
    assert!(in_a_child(|| {
        Queue::from_fd_mapped(duplicate(&queue), geometry).unwrap_err() == Error::NotAllowed
    }));

    // A handle that is gone, of another queue, or of none.
    let watch = Watch::timer(Duration::from_secs(1000));
    if queue.sources().unwrap().contains(Sources::TIMER) {
        let gone = queue.add_one(watch).unwrap();
        queue.remove(&[gone]).unwrap();
        fails(queue.remove(&[gone]), libc::ENOENT);
        let result = queue.modify(&mut [watch.of(gone)], Modify::DISABLE);
        assert_eq!(result.unwrap_err(), Error::NoSuchWatch);
    }
    let never = kevent::Handle::from_raw(u64::MAX);
    assert_eq!(queue.remove(&[never]).unwrap_err(), Error::NoSuchWatch);

    // No records, and a class that no kernel has.
    assert_eq!(queue.add(&mut []).unwrap_err(), Error::Invalid);
    assert_eq!(queue.remove(&[]).unwrap_err(), Error::Invalid);
    assert_eq!(queue.post(&[]).unwrap_err(), Error::Invalid);
    let unknown = Watch::new(Source::Other(31));
    assert_eq!(queue.add_one(unknown).unwrap_err(), Error::Unsupported);
    let sealed = Queue::builder().sources(Sources::USER).build().unwrap();
    assert_eq!(sealed.add_one(watch).unwrap_err(), Error::Sealed);
    let file = Watch::poll(file.as_fd(), Readiness::IN);
    if let Err(error) = queue.add_one(file) {
        assert_eq!(error, Error::Sealed);
    }
    let itself = Watch::poll(queue.as_fd(), Readiness::IN);
    assert_eq!(queue.add_one(itself).unwrap_err(), Error::Loop);
}

#[test]
fn an_edge_is_reported_once() {
    let (queue, near, mut far) = polled!();

    far.write_all(b"x").unwrap();
    queue
        .add_one(Watch::poll(near.as_fd(), Readiness::IN).edge())
        .unwrap();
    assert_eq!(queue.take().unwrap().readiness(), Readiness::IN);
    assert_eq!(queue.next_with(&Wait::poll()).unwrap(), None);
    far.write_all(b"xy").unwrap();
    assert!(queue.take().is_some());
    assert_eq!(queue.calls().wait, 1);
}

#[test]
fn dispatch_and_oneshot() {
    let (queue, near, mut far) = polled!();
    let dispatch = Watch::poll(near.as_fd(), Readiness::IN)
        .dispatch()
        .user_data(1);
    let oneshot = Watch::poll(near.as_fd(), Readiness::IN)
        .oneshot()
        .user_data(2);

    let first = queue.add_one(dispatch).unwrap();
    let second = queue.add_one(oneshot).unwrap();
    far.write_all(b"x").unwrap();
    assert_eq!(queue.drain().count(), 2);
    assert_eq!(queue.next_with(&Wait::poll()).unwrap(), None);
    fails(queue.remove(&[second]), libc::ENOENT);
    queue
        .modify(&mut [dispatch.of(first)], Modify::ENABLE)
        .unwrap();
    assert_eq!(queue.take().map(|event| event.user_data()), Some(1));
}

#[test]
fn a_closed_descriptor_vanishes() {
    let (queue, near, _far) = polled!();

    let handle = queue
        .add_one(Watch::poll(near.as_fd(), Readiness::IN).vanished())
        .unwrap();
    drop(near);
    let last = queue.take().unwrap();
    assert!(last.is_vanished() && last.readiness().contains(Readiness::NVAL));
    fails(queue.remove(&[handle]), libc::ENOENT);
}

/// A queue whose kernel has this class, or leave the test.
macro_rules! queue_of {
    ($class:ident) => {{
        let queue = queue!(8);
        if !queue.sources().unwrap().contains(Sources::$class) {
            eprintln!("skipped: this kernel has no {}", stringify!($class));
            return;
        }
        queue
    }};
}

/// The next event, which must come soon.
#[track_caller]
fn next(queue: &Queue) -> Event {
    let patience = Wait::new().timeout(Duration::from_secs(60));
    loop {
        match queue.next_with(&patience) {
            Err(Error::Interrupted) => {}
            result => return result.unwrap().expect("an event"),
        }
    }
}

#[test]
fn a_socket_reports_amounts() {
    let queue = queue_of!(SOCKET);
    let (near, mut far) = UnixStream::pair().unwrap();
    let watch = Watch::socket(near.as_fd(), SocketEvents::IN).user_data(3);

    far.write_all(b"hello").unwrap();
    let handle = queue.add_one(watch.edge()).unwrap();
    match next(&queue).details() {
        Details::Socket {
            events, readable, ..
        } => assert_eq!((events, readable), (SocketEvents::IN, 5)),
        other => panic!("{other:?}"),
    }

    // Not below the mark.
    drain_all(&near);
    let marked = watch.edge().receive_mark(4).of(handle);
    queue.modify(&mut [marked], Modify::ARG).unwrap();
    far.write_all(b"abc").unwrap();
    assert_eq!(queue.next_with(&Wait::poll()).unwrap(), None);
    far.write_all(b"d").unwrap();
    assert_eq!(next(&queue).events(), Some(SocketEvents::IN));
    drop(far);
    let last = next(&queue).events::<SocketEvents>().unwrap();
    assert!(last.contains(SocketEvents::EOF), "{last:?}");
}

fn drain_all(near: &UnixStream) {
    near.set_nonblocking(true).unwrap();
    drain(near);
}

#[test]
fn a_signal_is_counted_or_taken() {
    let queue = queue_of!(SIGNAL);
    let signal = libc::SIGRTMIN() + 3;
    // SAFETY: numbers only; only the queue handles the signal, so it is ignored first.
    let send = |value: usize| unsafe {
        let value = libc::sigval {
            sival_ptr: value as *mut libc::c_void,
        };
        assert_eq!(libc::sigqueue(libc::getpid(), signal, value), 0);
    };

    // SAFETY: as above.
    unsafe { libc::signal(signal, libc::SIG_IGN) };
    let counting = queue.add_one(Watch::signal(signal).user_data(1)).unwrap();
    send(1);
    match next(&queue).details() {
        Details::SignalSent { count, .. } => assert_eq!(count, 1),
        other => panic!("{other:?}"),
    }
    queue.remove(&[counting]).unwrap();
    let taking = queue.add_one(Watch::signal(signal).take()).unwrap();
    send(42);
    match next(&queue).details() {
        Details::SignalTaken {
            value, pid, code, ..
        } => {
            assert_eq!((value, pid, code), (42, std::process::id(), -1));
        }
        other => panic!("{other:?}"),
    }
    queue.remove(&[taking]).unwrap();
    fails(queue.add_one(Watch::signal(0)), libc::EINVAL);
    fails(
        queue.add_one(Watch::signal(libc::SIGKILL).take()),
        libc::EINVAL,
    );
}

#[test]
fn a_timer_expires() {
    let queue = queue_of!(TIMER);
    let timers = [
        Watch::timer(SHORT),
        Watch::timer(SHORT).slack(SHORT).clock(Clock::Boottime),
        Watch::timer_at(Clock::Realtime, Clock::Realtime.now() + SHORT),
    ];

    for watch in timers {
        queue.add_one(watch).unwrap();
        match next(&queue).details() {
            Details::Timer {
                events,
                expirations,
            } => assert_eq!((events, expirations), (TimerEvents::EXPIRED, 1)),
            other => panic!("{other:?}"),
        }
    }
    let tick = queue.add_one(Watch::timer(SHORT).every(SHORT)).unwrap();
    let mut ticks = 0;
    while ticks < 5 {
        ticks += next(&queue).data();
    }
    queue.remove(&[tick]).unwrap();
    fails(
        queue.add_one(Watch::timer(SHORT).every(SHORT).oneshot()),
        libc::EINVAL,
    );
}

#[test]
fn a_process_ends() {
    let queue = queue_of!(PROCESS);
    let mut child = std::process::Command::new("sleep")
        .arg("600")
        .spawn()
        .unwrap();
    // SAFETY: numbers only; the descriptor is new and ours.
    let pidfd: OwnedFd = unsafe {
        let fd = libc::syscall(libc::SYS_pidfd_open, child.id(), 0);
        assert!(fd >= 0);
        std::os::fd::FromRawFd::from_raw_fd(fd as i32)
    };

    queue
        .add_one(Watch::process(pidfd.as_fd(), ProcessEvents::EXIT).oneshot())
        .unwrap();
    child.kill().unwrap();
    match next(&queue).details() {
        Details::Process { events, status, .. } => {
            assert!(events.contains(ProcessEvents::EXIT));
            assert_eq!(status, libc::SIGKILL);
        }
        other => panic!("{other:?}"),
    }
    child.wait().unwrap();
}

/// A new file in a directory of its own that goes away again.
struct Folder(std::path::PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("kevent-{name}-{}", std::process::id()));

        std::fs::create_dir_all(&path).unwrap();
        Folder(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn a_file_changes() {
    let queue = queue_of!(INODE);
    let folder = Folder::new("inode");
    let name = folder.0.join("file");
    let mut file = File::create(&name).unwrap();
    let watched = File::open(&name).unwrap();
    let directory = File::open(&folder.0).unwrap();

    let interest = InodeEvents::MODIFY | InodeEvents::EXTEND;
    let result = queue.add_one(Watch::inode(watched.as_fd(), interest).user_data(1));
    if result == Err(Error::Unsupported) {
        return;
    }
    result.unwrap();
    let created = InodeEvents::CHILD_CREATED;
    queue
        .add_one(Watch::inode(directory.as_fd(), created).user_data(2))
        .unwrap();
    file.write_all(b"some").unwrap();
    match next(&queue).details() {
        Details::Inode { events, size, .. } => assert_eq!((events, size), (interest, 4)),
        other => panic!("{other:?}"),
    }
    File::create(folder.0.join("other")).unwrap();
    let event = next(&queue);
    assert_eq!((event.user_data(), event.events()), (2, Some(created)));
}

#[test]
fn a_futex_is_woken() {
    use std::sync::atomic::AtomicU32;
    let queue = queue_of!(FUTEX);
    let word = AtomicU32::new(5);

    queue
        .add_one(Watch::futex(&word, FutexEvents::WOKEN | FutexEvents::CHANGED).expect(5))
        .unwrap();
    assert_eq!(queue.take(), None);
    word.store(6, Ordering::SeqCst);
    // SAFETY: the word lives as long as the call.
    let woken = unsafe {
        libc::syscall(
            libc::SYS_futex,
            word.as_ptr(),
            libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG,
            10,
        )
    };
    assert_eq!(woken, 1);
    match next(&queue).details() {
        Details::Futex { events, value, .. } => {
            assert_eq!((events, value), (FutexEvents::WOKEN, 6));
        }
        other => panic!("{other:?}"),
    }
    // It is not what is expected: at once.
    let late = Watch::futex(&word, FutexEvents::WOKEN | FutexEvents::CHANGED).expect(5);
    queue.add_one(late.oneshot().user_data(9)).unwrap();
    let event = next(&queue);
    assert_eq!(event.user_data(), 9);
    assert_eq!(event.events(), Some(FutexEvents::CHANGED));
}

#[test]
fn a_user_watch_is_triggered() {
    let queue = queue!(8);

    if !queue.features().unwrap().contains(Features::USER_WATCH) {
        assert!(queue.add_one(Watch::user()).is_err());
        eprintln!("skipped: this kernel has no USER watches");
        return;
    }
    let watch = queue.add_one(Watch::user().user_data(4)).unwrap();
    queue.trigger(watch, UserEvents::bit(0)).unwrap();
    queue.trigger(watch, UserEvents::bit(3)).unwrap();
    let event = queue.take().unwrap();
    assert_eq!((event.user_data(), event.is_posted()), (4, false));
    assert_eq!(event.raw_events(), 9);
    assert_eq!(queue.take(), None);

    thread::scope(|s| {
        s.spawn(|| {
            thread::sleep(SHORT);
            queue.trigger(watch, UserEvents::bit(1)).unwrap();
        });
        assert_eq!(next(&queue).raw_events(), 2);
    });
    queue.remove(&[watch]).unwrap();
    fails(queue.trigger(watch, UserEvents::bit(0)), libc::ENOENT);
}

#[test]
fn aio_completes() {
    let queue = queue_of!(AIO);
    let folder = Folder::new("aio");
    let mut file = File::create_new(folder.0.join("file")).unwrap();
    file.write_all(&[7; 100]).unwrap();
    let file = File::open(folder.0.join("file")).unwrap();
    let mut buffer = [0u8; 64];
    let mut context: libc::c_ulong = 0;
    // SAFETY: the context is ours; request and buffer live until the completion has come.
    unsafe {
        let mut request: libc::iocb = std::mem::zeroed();

        if libc::syscall(libc::SYS_io_setup, 1, &mut context) != 0 {
            return;
        }
        request.aio_lio_opcode = 0; // IOCB_CMD_PREAD
        request.aio_fildes = file.as_raw_fd() as u32;
        request.aio_buf = buffer.as_mut_ptr() as u64;
        request.aio_nbytes = 64;
        queue.prepare_aio(&mut request, 11);
        let mut requests = [&raw mut request];
        let done = libc::syscall(libc::SYS_io_submit, context, 1, requests.as_mut_ptr());
        assert_eq!(done, 1);
        let event = next(&queue);
        assert_eq!(event.user_data(), 11);
        match event.details() {
            Details::Aio { result, .. } => assert_eq!(result, Ok(64)),
            other => panic!("{other:?}"),
        }
        libc::syscall(libc::SYS_io_destroy, context);
    }
    assert_eq!(buffer, [7; 64]);
}

#[test]
fn a_posix_timer_reports() {
    let queue = queue_of!(SIGEV);
    let mut timer: libc::c_int = -1;
    // SAFETY: the kernel's own calls, with their own structures, which live long enough.
    unsafe {
        let mut event = queue.sigevent(13);
        let mut time: libc::itimerspec = std::mem::zeroed();
        let made = libc::syscall(
            libc::SYS_timer_create,
            libc::CLOCK_MONOTONIC,
            &mut event,
            &mut timer,
        );
        assert_eq!(made, 0, "{}", std::io::Error::last_os_error());
        time.it_value.tv_nsec = 1_000_000;
        let none: *mut libc::itimerspec = std::ptr::null_mut();
        let set = libc::syscall(libc::SYS_timer_settime, timer, 0, &time, none);
        assert_eq!(set, 0);
    }
    let event = next(&queue);
    assert_eq!(event.user_data(), 13);
    match event.details() {
        Details::SigevTimer {
            expirations,
            timer: number,
            ..
        } => assert_eq!((expirations, number), (1, timer)),
        other => panic!("{other:?}"),
    }
    // SAFETY: a number only.
    unsafe { libc::syscall(libc::SYS_timer_delete, timer) };
}

#[test]
fn a_message_arrives() {
    let queue = queue_of!(SIGEV);
    let name = std::ffi::CString::new(format!("/kevent-{}", std::process::id())).unwrap();
    let flags = libc::O_RDWR | libc::O_CREAT | libc::O_EXCL;
    // SAFETY: the C library's own calls, with a string and a structure that live long enough.
    unsafe {
        let none: *mut libc::mq_attr = std::ptr::null_mut();
        let mq = libc::mq_open(name.as_ptr(), flags, 0o600, none);
        if mq < 0 {
            eprintln!("skipped: {}", std::io::Error::last_os_error());
            return;
        }
        libc::mq_unlink(name.as_ptr());
        let event = queue.sigevent(17);
        assert_eq!(libc::mq_notify(mq, &event), 0);
        assert_eq!(libc::mq_send(mq, c"x".as_ptr(), 1, 0), 0);
        libc::mq_close(mq);
    }
    let event = next(&queue);
    let events = SigevEvents::MESSAGE;
    assert_eq!(event.user_data(), 17);
    assert_eq!(event.details(), Details::SigevMessage { events });
}

/// One system call for each time the ring is full, and none that is not needed.
#[test]
fn ready_takes_all() {
    let queue = queue!(8);

    assert_eq!(queue.post_deferred(&posts(0..100)).unwrap(), 100);
    assert!(queue.ready().map(number).eq(0..100));
    assert!(queue.calls().wait <= 100 / 8 + 2, "{:?}", queue.calls());
    let before = queue.calls().wait;
    queue.post(&posts(0..4)).unwrap();
    assert!(queue.ready().map(number).eq(0..4));
    assert!(queue.calls().wait <= before + 1);
}

/// A program that is never idle does not starve its levels.
#[test]
fn a_busy_loop_enters_the_kernel() {
    let (queue, near, mut far) = polled!();
    let watch = Watch::poll(near.as_fd(), Readiness::IN).user_data(u64::MAX);

    far.write_all(b"x").unwrap();
    queue.add_one(watch).unwrap();
    let mut levels = 0;
    for n in 0..100 {
        queue.post_deferred(&posts(n..n + 1)).unwrap();
        if queue.try_next().unwrap().unwrap().user_data() == u64::MAX {
            levels += 1;
        }
    }
    assert!(levels > 5, "{levels}");
}

/// Runs `test` in a forked child, which must return true.
fn in_a_child(test: impl FnOnce() -> bool) -> bool {
    // SAFETY: the child runs `test`, which takes no lock, and leaves by _exit().
    unsafe {
        let pid = libc::fork();
        assert!(pid >= 0);
        if pid == 0 {
            libc::_exit(if test() { 0 } else { 1 });
        }
        let mut status = -1;
        assert_eq!(libc::waitpid(pid, &mut status, 0), pid);
        status == 0
    }
}

#[test]
fn a_forked_child_may_only_post() {
    let queue = queue!(8);

    queue.post(&posts(0..1)).unwrap();
    // What the crate does itself: an inherited ring is empty.
    assert!(in_a_child(
        || queue.take().is_none() && queue.post(&[Post::new(1)]) == Ok(1)
    ));
    assert!(in_a_child(move || {
        let refused = queue.ready().next().is_none()
            && queue.try_next() == Err(Error::NotAllowed)
            && queue.wait(&Wait::poll()) == Err(Error::NotAllowed)
            && queue.add_one(Watch::signal(libc::SIGUSR2)) == Err(Error::NotAllowed);
        drop(queue);
        refused
    }));
}

#[test]
fn a_shared_queue_is_for_children_too() {
    let queue = match Queue::builder().entries(8).shared(true).build() {
        Err(Error::Unsupported) => return,
        queue => queue.unwrap(),
    };

    queue.post(&posts(0..2)).unwrap();
    let child = &queue;
    assert!(in_a_child(|| {
        child.take().is_none() && child.next().is_ok_and(|event| event.user_data() == 0)
    }));
    assert_eq!(queue.take().map(number), Some(1));
    assert_eq!(queue.take(), None);
}

#[test]
fn records_after_a_failed_one_are_not_tried() {
    let queue = queue!(8);
    let mut records = [
        Watch::timer(Duration::from_secs(1000)),
        Watch::signal(-1),
        Watch::timer(Duration::from_secs(1000)),
    ];

    if !Queue::probe()
        .unwrap()
        .contains(Sources::TIMER | Sources::SIGNAL)
    {
        return;
    }
    assert_eq!(queue.add(&mut records).unwrap(), 1);
    assert_eq!(records[0].result(), Ok(()));
    assert_eq!(records[1].result(), Err(Error::Invalid));
    assert_eq!(records[2].result(), Err(Error::NotTried));
    fails(queue.add_one(Watch::new(Source::Aio)), libc::EOPNOTSUPP);
}
