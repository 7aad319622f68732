// SPDX-License-Identifier: MIT

//! A small program that waits in one place for everything the running kernel can report, and
//! counts the system calls it needed.

use kevent::{Error, Event, Post, Queue, Readiness, Source, Sources, UserEvents, Wait, Watch};
use std::fmt::Display;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, ExitCode, Stdio};
use std::thread::{self, sleep};
use std::time::Duration;

const USAGE: &str = "\
Usage: kevent-demo [--probe]

  (nothing)  wait for events of every source this kernel has, print them, then a burst
  --probe    only say whether the kernel has kevent, and with which sources; exit 1 if not";

/// Nothing here takes that long: rather fail than hang.
const PATIENCE: Duration = Duration::from_secs(60);
/// How far apart the posters' events are.
const PACE: Duration = Duration::from_millis(30);

const THREADS: u64 = 2;
const CHILD: u64 = 10;
const SOCKET: u64 = 20;
const TIMER: u64 = 30;
const EACH: u64 = 3;

/// For how long a producer leaves a full ring alone.
const PAUSE: Duration = Duration::from_millis(1);

const BURST: u64 = 100_000;
const BATCH: u64 = 64;
const BURST_RING: u32 = 1024;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let result = match args[..] {
        [] => demo(),
        ["--probe"] => probe(),
        ["--child"] => child(),
        ["--help"] | ["-h"] => {
            println!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };

    match result {
        Ok(()) => ExitCode::SUCCESS,
        // The output goes to head(1).
        Err(error) if error.kind() == ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("kevent-demo: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The source classes of the running kernel, or why there are none, in one line.
fn sources() -> io::Result<Sources> {
    Queue::probe().map_err(|error| {
        let reason = match error {
            Error::Unsupported => format!("Linux {} has no kevent", release()),
            _ => format!("kevent_create: {error}"),
        };
        io::Error::other(reason)
    })
}

fn release() -> String {
    std::fs::read_to_string("/proc/sys/kernel/osrelease")
        .map_or_else(|_| "(unknown)".into(), |text| text.trim().into())
}

fn names(sources: Sources, present: bool) -> String {
    let names: Vec<String> = Source::ALL
        .into_iter()
        .filter(|source| sources.contains((*source).into()) == present)
        .map(|source| source.to_string())
        .collect();

    names.join(" ")
}

fn probe() -> io::Result<()> {
    let sources = sources()?;

    writeln!(io::stdout(), "Linux {} has kevent", release())?;
    writeln!(io::stdout(), "sources: {}", names(sources, true))
}

fn demo() -> io::Result<()> {
    let mut out = io::stdout().lock();
    let sources = sources()?;

    writeln!(out, "kevent on Linux {}", release())?;
    writeln!(out, "  reports:   {}", names(sources, true))?;
    if !sources.contains(Sources::all()) {
        writeln!(out, "  not yet:   {}", names(sources, false))?;
    }
    one_place(&mut out, sources)?;
    full_ring(&mut out)?;
    burst(&mut out)
}

/// Several threads, a child process and whatever else the kernel can watch; one place to wait.
fn one_place(out: &mut impl Write, sources: Sources) -> io::Result<()> {
    let queue = Queue::builder().entries(64).build()?;
    let geometry = queue.geometry();
    let mut others = vec![format!("{THREADS} threads")];
    // How many posts are still to come, and how many bytes on the socket.
    let (mut posts, mut bytes) = ((THREADS + 1) * EACH, 0);

    let (near, far) = UnixStream::pair()?;
    near.set_nonblocking(true)?;
    if sources.contains(Sources::POLL) {
        let watch = Watch::poll(near.as_fd(), Readiness::IN).user_data(SOCKET);
        queue.add_one(watch).map_err(|e| named("kevent_add", e))?;
        others.push("a socket".into());
        bytes = EACH as usize;
    }

    // How many expirations are still to come.
    let mut ticks = 0;
    let mut timer = None;
    if sources.contains(Sources::TIMER) {
        let watch = Watch::timer(PACE).every(PACE).user_data(TIMER);
        timer = Some(queue.add_one(watch).map_err(|e| named("kevent_add", e))?);
        others.push("a timer".into());
        ticks = EACH as i64;
    }

    writeln!(
        out,
        "\nOne queue: {} entries in {} KiB of shared memory. It waits for {} and a child process:\n",
        geometry.ring_entries,
        geometry.mmap_size / 1024,
        others.join(", "),
    )?;
    writeln!(
        out,
        "   nr  source  who             events  data   how it came"
    )?;

    // The child finds the queue as its standard input.
    let mut child = Reaped(
        Command::new(std::env::current_exe()?)
            .arg("--child")
            .stdin(Stdio::from(queue.as_fd().try_clone_to_owned()?))
            .spawn()?,
    );
    let taken = thread::scope(|s| {
        for who in 1..=THREADS {
            let queue = &queue;
            s.spawn(move || report("a thread", say(queue, who, who as u32)));
        }
        if sources.contains(Sources::POLL) {
            s.spawn(|| report("the socket's thread", chat(&far)));
        }

        let mut nr = 0;
        while posts > 0 || bytes > 0 || ticks > 0 {
            let before = queue.calls().wait;
            let event = next(&queue, 1)?;
            let how = match queue.calls().wait - before {
                0 => "consumed from the ring, no system call",
                1 => "after one kevent_wait",
                _ => "after more than one kevent_wait",
            };

            match event.user_data() {
                // A level is reported again as long as there is something to read.
                SOCKET => bytes -= (&near).read(&mut [0; 64]).unwrap_or(0).min(bytes),
                // What expired meanwhile is counted, not reported one by one.
                TIMER => {
                    ticks -= event.data();
                    if let Some(handle) = timer.take_if(|_| ticks <= 0) {
                        queue
                            .remove(&[handle])
                            .map_err(|e| named("kevent_remove", e))?;
                    }
                }
                _ => posts -= 1,
            }
            nr += 1;
            writeln!(
                out,
                "  {nr:3}  {:6}  {:14}  {:#06x}  {:<5}  {how}",
                event.source(),
                who(&event),
                event.raw_events(),
                event.data(),
            )?;
        }
        io::Result::Ok(nr)
    })?;
    let status = child.0.wait()?;
    if !status.success() {
        return Err(io::Error::other(format!("the child process: {status}")));
    }

    let calls = queue.calls();
    let add = match calls.change {
        0 => String::new(),
        n => format!("{n} kevent_add or remove, "),
    };
    writeln!(
        out,
        "\n{taken} events consumed with {} system calls: {} kevent_create, {add}{} kevent_wait.",
        calls.total() - calls.post,
        calls.create,
        calls.wait,
    )
}

/// A child that is waited for, even on the way out with an error.
struct Reaped(Child);

impl Drop for Reaped {
    fn drop(&mut self) {
        if !matches!(self.0.try_wait(), Ok(Some(_))) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }
}

fn who(event: &Event) -> String {
    match event.user_data() {
        CHILD => format!("process {}", event.extra()),
        SOCKET => "socket".into(),
        TIMER => "timer".into(),
        thread => format!("thread {thread}"),
    }
}

/// Posts a few events, some time apart; `extra` goes with each.
fn say(queue: &Queue, who: u64, extra: u32) -> io::Result<()> {
    for n in 1..=EACH {
        sleep(PACE);
        let last = UserEvents::bit(if n == EACH { 15 } else { 0 });

        queue
            .post(&[Post::new(who)
                .events(UserEvents::bit(0) | last)
                .data(n as i64)
                .extra(extra.into())])
            .map_err(|e| named("kevent_post", e))?;
    }
    Ok(())
}

/// Writes to the socket's other end a few times.
fn chat(mut far: &UnixStream) -> io::Result<()> {
    for _ in 0..EACH {
        sleep(PACE);
        far.write_all(b"x")?;
    }
    Ok(())
}

/// The child process: posts to the queue that is its standard input.
fn child() -> io::Result<()> {
    let fd: OwnedFd = io::stdin().as_fd().try_clone_to_owned()?;
    let queue = Queue::from_fd(fd).map_err(|e| named("standard input", e))?;

    say(&queue, CHILD, std::process::id())
}

/// More events than the ring has slots.
fn full_ring(out: &mut impl Write) -> io::Result<()> {
    const POSTED: u64 = 1000;
    let queue = Queue::builder().entries(8).build()?;
    let batch: Vec<Post> = (0..POSTED).map(Post::new).collect();

    let refused = POSTED - queue.post(&batch)? as u64;
    let deferred = queue.post_deferred(&batch[(POSTED - refused) as usize..])?;
    for nr in 0..POSTED {
        in_order(&next(&queue, 1)?, nr)?;
    }
    writeln!(
        out,
        "\nA full ring: {POSTED} events posted at once to a ring of {}. {refused} are refused, then posted\n\
         again as deferred: {deferred} wait in the kernel. All {POSTED} come out in order, in {} kevent_wait.",
        queue.geometry().ring_entries,
        queue.calls().wait,
    )
}

/// That `event` is the one posted as number `nr`.
fn in_order(event: &Event, nr: u64) -> io::Result<()> {
    if event.user_data() == nr {
        Ok(())
    } else {
        Err(io::Error::other(format!("event {nr} is {event:?}")))
    }
}

/// A producer and a consumer as fast as they can.
fn burst(out: &mut impl Write) -> io::Result<()> {
    writeln!(
        out,
        "\nA burst: a thread posts {BURST} events, {BATCH} at a time. This one consumes them from a\n\
         ring of {BURST_RING}, and sleeps whenever there are none, until there are as many as it asks for.\n"
    )?;
    writeln!(
        out,
        "  asks for  posted  taken   kevent_post  ring full  kevent_wait  calls per event"
    )?;

    for min in [1, 256] {
        let queue = Queue::builder()
            .entries(BURST_RING)
            .sources(Sources::USER)
            .build()?;
        let (full, taken) = thread::scope(|s| {
            let producer = s.spawn(|| produce(&queue));
            let mut taken = 0;

            while taken < BURST {
                let event = next(&queue, min.min((BURST - taken) as u32))?;

                in_order(&event, taken)?;
                taken += 1;
            }
            match producer.join() {
                Ok(full) => Ok((full?, taken)),
                Err(_) => Err(io::Error::other("the producer died")),
            }
        })?;
        let calls = queue.calls();

        writeln!(
            out,
            "  {min:<8}  {BURST}  {taken}  {:<11}  {full:<9}  {:<11}  {:.3}",
            calls.post,
            calls.wait,
            calls.total() as f64 / taken as f64,
        )?;
    }
    writeln!(out, "\nNothing lost, nothing twice, all in order.")
}

/// Posts the burst; returns how often the ring was full, and the consumer had to be waited for.
fn produce(queue: &Queue) -> io::Result<u64> {
    let (mut full, mut posted) = (0, 0);

    while posted < BURST {
        let batch: Vec<Post> = (posted..BURST.min(posted + BATCH))
            .map(|n| Post::new(n).events(UserEvents::bit(0)).extra(!n))
            .collect();

        match queue.post(&batch) {
            Ok(nr) => posted += nr as u64,
            Err(Error::Full) => {
                full += 1;
                sleep(PAUSE);
            }
            Err(error) => return Err(named("kevent_post", error)),
        }
    }
    Ok(full)
}

/// The next event: from the ring, or after sleeping until there are `min`.
fn next(queue: &Queue, min: u32) -> io::Result<Event> {
    loop {
        match queue.next_with(&Wait::new().min(min).timeout(PATIENCE)) {
            Ok(Some(event)) => return Ok(event),
            Ok(None) => return Err(io::Error::other("nothing came")),
            Err(Error::Interrupted) => {}
            Err(error) => return Err(named("kevent_wait", error)),
        }
    }
}

fn named(what: impl Display, error: impl Into<io::Error>) -> io::Error {
    let error = error.into();

    io::Error::new(error.kind(), format!("{what}: {error}"))
}

fn report(who: &str, result: io::Result<()>) {
    if let Err(error) = result {
        eprintln!("kevent-demo: {who}: {error}");
    }
}
