// SPDX-License-Identifier: GPL-2.0-only

//! A small HTTP/1.1 server with connections that stay, by each of the interfaces: instructions and
//! system calls that a request takes, with all that the program does about it.

mod engine;
mod http;

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use self::engine::Kind;
use self::http::{Connection, REQUEST, Then};
use crate::api::has_kevent;
use crate::report::kernel;

const CONNECTIONS: [usize; 4] = [1, 10, 100, 1_000];
/// Requests of our own client, at least, and rounds.
const REQUESTS: usize = 1_000;
const ROUNDS: usize = 3;
/// For how many seconds the load generator runs.
const SECONDS: &str = "1";

/// What the server says when it ends.
#[derive(Clone, Copy, Default, Serialize, Deserialize)]
struct Served {
    requests: u64,
    calls: u64,
    /// Of the processor, in the server and in the kernel on its behalf.
    nanoseconds: u64,
}

/// Serves until it is asked for `/stop`: says on which port, and in the end what it has done.
pub fn serve(name: &str) -> Result<()> {
    let kind = Kind::by_name(name)?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;

    println!("{}", listener.local_addr()?.port());
    std::io::stdout().flush()?;
    let served = run(kind, &listener)?;
    println!("{}", serde_json::to_string(&served)?);
    Ok(())
}

fn run(kind: Kind, listener: &TcpListener) -> Result<Served> {
    const LISTENER: usize = usize::MAX;
    let mut engine = kind.open()?;
    let mut connections: Vec<Option<Connection>> = Vec::new();
    let mut ready = Vec::with_capacity(engine::AT_ONCE);
    let mut served = Served::default();
    let mut start = processor_time();

    listener.set_nonblocking(true)?;
    engine.add(listener.as_fd(), LISTENER)?;
    loop {
        engine.wait(&mut ready)?;
        for token in &ready {
            if *token == LISTENER {
                // What it takes to connect is not what a request takes.
                while let Ok((stream, _)) = listener.accept() {
                    let number = stream.as_raw_fd() as usize;

                    stream.set_nonblocking(true)?;
                    stream.set_nodelay(true)?;
                    engine.add(stream.as_fd(), number)?;
                    connections.resize_with(connections.len().max(number + 1), || None);
                    connections[number] = Some(Connection::new(stream));
                }
                continue;
            }
            let Some(place) = connections.get_mut(*token) else {
                continue;
            };
            let Some(connection) = place else { continue };
            let then = connection.serve(&mut served)?;

            match then {
                Then::More => {}
                Then::Start => {
                    engine.forget_calls();
                    served = Served::default();
                    start = processor_time();
                }
                Then::Gone => *place = None,
                Then::Stop => {
                    served.nanoseconds = processor_time() - start;
                    served.calls += engine.calls();
                    return Ok(served);
                }
            }
        }
    }
}

/// Nanoseconds of the processor that this program has used.
fn processor_time() -> u64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };

    // SAFETY: writes the time.
    unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// What a request takes.
#[derive(Serialize)]
struct Point {
    engine: &'static str,
    /// Who asks.
    load: &'static str,
    connections: usize,
    requests: u64,
    /// Of the server, and of the machine with the one who asks.
    server_per_request: f64,
    machine_per_request: f64,
    calls_per_request: f64,
}

#[derive(Serialize)]
pub struct Requests {
    kernel: String,
    unit: &'static str,
    points: Vec<Point>,
}

/// Measures all engines; the load generator, if it is there, only if this is not to be `quick`.
pub fn measure(unit: &'static str, quick: bool) -> Result<Requests> {
    let mut points = Vec::new();
    let wrk = !quick && Command::new("wrk").arg("-v").output().is_ok();
    let kevent = has_kevent();

    for connections in CONNECTIONS {
        for kind in Kind::ALL {
            if kind.is_kevent() && !kevent {
                continue;
            }
            eprintln!("measuring server {connections}/{}", kind.name());
            points.push(
                point(kind, "rounds", connections, |port| {
                    rounds(port, connections)
                })
                .with_context(|| kind.name())?,
            );
            if wrk {
                points.push(
                    point(kind, "wrk", connections, |port| {
                        generator(port, connections)
                    })
                    .with_context(|| kind.name())?,
                );
            }
        }
    }
    Ok(Requests {
        kernel: kernel(),
        unit,
        points,
    })
}

/// One server with one load.
fn point(
    kind: Kind,
    load: &'static str,
    connections: usize,
    ask: impl FnOnce(u16) -> Result<u64>,
) -> Result<Point> {
    let mut server = Command::new("/proc/self/exe")
        .args(["--serve", kind.name()])
        .stdout(Stdio::piped())
        .spawn()?;
    let mut says = BufReader::new(server.stdout.take().context("no output")?);
    let mut line = String::new();

    says.read_line(&mut line)?;
    let port = line.trim().parse().context("the server did not start")?;
    let machine = ask(port)?;
    one(
        &mut TcpStream::connect((Ipv4Addr::LOCALHOST, port))?,
        "/stop",
    )?;
    line.clear();
    says.read_line(&mut line)?;
    let served: Served = serde_json::from_str(&line).context("the server has failed")?;
    server.wait()?;
    ensure!(served.requests > 0, "no request was served");
    let per = |value: u64| value as f64 / served.requests as f64;

    Ok(Point {
        engine: kind.name(),
        load,
        connections,
        requests: served.requests,
        server_per_request: per(served.nanoseconds),
        machine_per_request: per(machine),
        calls_per_request: per(served.calls),
    })
}

/// A request whose answer is waited for.
fn one(stream: &mut TcpStream, path: &str) -> Result<()> {
    let mut answer = [0; 256];

    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n")?;
    ensure!(stream.read(&mut answer)? > 0, "no answer");
    Ok(())
}

/// Our own client: a request on each connection, then all the answers, again and again; how long it
/// took.
fn rounds(port: u16, count: usize) -> Result<u64> {
    let mut streams = (0..count)
        .map(|_| TcpStream::connect((Ipv4Addr::LOCALHOST, port)))
        .collect::<Result<Vec<_>, _>>()?;
    let mut answer = [0; 256];

    for stream in &mut streams {
        stream.set_nodelay(true)?;
        one(stream, "/")?;
    }
    one(&mut streams[0], "/start")?;
    let start = Instant::now();
    for _ in 0..(REQUESTS / count).max(ROUNDS) {
        for stream in &mut streams {
            stream.write_all(REQUEST)?;
        }
        for stream in &mut streams {
            ensure!(stream.read(&mut answer)? > 0, "no answer");
        }
    }
    Ok(start.elapsed().as_nanos() as u64)
}

/// The load generator wrk, which measures itself how long it takes.
fn generator(port: u16, count: usize) -> Result<u64> {
    let start = Instant::now();
    let status = Command::new("wrk")
        .args(["-t1", "-d", SECONDS, "-c", &count.to_string()])
        .arg(format!("http://127.0.0.1:{port}/"))
        .stdout(Stdio::null())
        .status()?;

    ensure!(status.success(), "wrk: {status}");
    Ok(start.elapsed().as_nanos() as u64)
}

impl Requests {
    pub fn write(&self, path: &Path) -> Result<()> {
        fs::write(path, serde_json::to_string_pretty(self)? + "\n")
            .with_context(|| format!("cannot write {}", path.display()))
    }
}

/// A table in Markdown.
impl fmt::Display for Requests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "Linux {}, {} a request\n", self.kernel, self.unit)?;
        writeln!(
            f,
            "| connections | load | engine | server | machine | calls | requests |"
        )?;
        writeln!(f, "|---|---|---|---|---|---|---|")?;
        for point in &self.points {
            writeln!(
                f,
                "| {} | {} | `{}` | {:.0} | {:.0} | {:.2} | {} |",
                point.connections,
                point.load,
                point.engine,
                point.server_per_request,
                point.machine_per_request,
                point.calls_per_request,
                point.requests
            )?;
        }
        Ok(())
    }
}
