// SPDX-License-Identifier: MIT

//! A server that sends back what it gets, for many connections in one thread, with a client to try it.
//!
//! ```sh
//! cargo run --example echo
//! ```

use kevent::{Error, Event, Queue, Readiness, Watch};
use std::collections::HashMap;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::thread;

/// The user data of the listener; a connection's is its number.
const LISTENER: u64 = 0;
const CLIENTS: usize = 10;

fn main() -> io::Result<()> {
    let queue = match Queue::new() {
        Err(Error::Unsupported) => {
            println!("skipped: this kernel has no kevent");
            return Ok(());
        }
        queue => queue?,
    };
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;

    // Levels may be stale when they come out of the ring, so nothing may block.
    listener.set_nonblocking(true)?;
    queue.add_one(Watch::poll(listener.as_fd(), Readiness::IN).user_data(LISTENER))?;
    let clients: Vec<_> = (0..CLIENTS)
        .map(|n| {
            thread::spawn(move || {
                let text = format!("hello from {n}").repeat(100);
                let mut stream = TcpStream::connect(address)?;
                let mut echo = String::new();

                stream.write_all(text.as_bytes())?;
                stream.shutdown(std::net::Shutdown::Write)?;
                stream.read_to_string(&mut echo)?;
                Ok::<bool, io::Error>(echo == text)
            })
        })
        .collect();

    serve(&queue, &listener)?;
    for client in clients {
        assert!(client.join().is_ok_and(|good| good.unwrap_or(false)));
    }
    println!(
        "served {CLIENTS} connections with {} system calls of the queue",
        queue.calls().total()
    );
    Ok(())
}

/// Serves so many connections.
fn serve(queue: &Queue, listener: &TcpListener) -> io::Result<()> {
    let mut streams: HashMap<u64, TcpStream> = HashMap::new();
    let (mut last, mut closed) = (LISTENER, 0);

    while closed < CLIENTS {
        let event: Event = match queue.next() {
            Err(Error::Interrupted) => continue,
            event => event?,
        };

        if event.user_data() == LISTENER {
            while let Some(stream) = would_block(listener.accept())? {
                let (stream, _) = stream;

                last += 1;
                stream.set_nonblocking(true)?;
                // Closing the stream removes the watch.
                queue.add_one(Watch::poll(stream.as_fd(), Readiness::IN).user_data(last))?;
                streams.insert(last, stream);
            }
        } else if let Some(stream) = streams.get_mut(&event.user_data()) {
            let mut buffer = [0; 4096];

            match would_block(stream.read(&mut buffer))? {
                None => {}
                Some(0) => {
                    streams.remove(&event.user_data());
                    closed += 1;
                }
                // What does not fit into the socket's buffer would need a watch of OUT.
                Some(n) => stream.write_all(&buffer[..n])?,
            }
        }
    }
    Ok(())
}

/// `None` if there is nothing to do.
fn would_block<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(None),
        result => result.map(Some),
    }
}
