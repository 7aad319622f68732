// SPDX-License-Identifier: MIT

//! The crate on a kernel that has kevent. On any other one, every test says so and passes.

#![cfg(not(loom))]
#![allow(missing_docs)]

use kevent::{
    Clock, Event, Geometry, Modify, Post, Queue, Readiness, SignalSet, Source, Sources, Wait, Watch,
};
use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
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
            Err(error) if error.kind() == ErrorKind::Unsupported => {
                eprintln!("skipped: this kernel has no kevent");
                return;
            }
            queue => queue.unwrap(),
        }
    };
}

fn posts(range: std::ops::Range<u64>) -> Vec<Post> {
    range
        .map(|n| Post::new(n).events(n as u16).data(-(n as i64)).extra(!n))
        .collect()
}

fn number(event: Event) -> u64 {
    let n = event.user_data();

    assert_eq!(event.source(), Source::User);
    assert_eq!((event.events(), event.merged()), (n as u16, 0));
    assert_eq!((event.data(), event.extra()), (-(n as i64), !n));
    n
}

#[track_caller]
fn fails<T: std::fmt::Debug>(result: io::Result<T>, errno: i32) {
    assert_eq!(result.unwrap_err().raw_os_error(), Some(errno));
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

    assert!(queue.features().unwrap().contains(Sources::USER));
    assert_eq!(Queue::probe().unwrap(), queue.features().unwrap());
    let none = Queue::builder()
        .sources(Sources::from_bits_retain(1 << 63))
        .build();
    fails(none, libc::ENOSYS);
    if !queue.features().unwrap().contains(Sources::POLL) {
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
    let sealed = match Queue::builder().sources(Sources::POLL).build() {
        // There is no kevent, or no class but USER that it could be sealed to.
        Err(error) if error.kind() == ErrorKind::Unsupported => return,
        queue => queue.unwrap(),
    };

    fails(sealed.post(&posts(0..1)), libc::EPERM);
}

/// A queue whose kernel has POLL, a socket's two ends, or leave the test.
macro_rules! polled {
    () => {{
        let queue = queue!(8);
        if !queue.features().unwrap().contains(Sources::POLL) {
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
fn a_level_is_told_while_it_holds() {
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
fn an_edge_is_told_once() {
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
