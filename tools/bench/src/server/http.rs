// SPDX-License-Identifier: GPL-2.0-only

//! A connection: requests in, answers out.

use anyhow::{Context, Result, bail};
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;

use super::Served;

/// What our own client asks.
pub const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 13\r\n\r\nHello, world!";
const HEADERS: usize = 32;
/// What a request may be long.
const SIZE: usize = 4096;

/// What is to be done after a connection was served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// Wait for more.
    More,
    /// The peer has closed it.
    Gone,
    /// Counting starts here.
    Start,
    /// The server ends.
    Stop,
}

pub struct Connection {
    stream: TcpStream,
    /// What was read, of which so much is there.
    buffer: Box<[u8; SIZE]>,
    filled: usize,
}

impl Connection {
    pub fn new(stream: TcpStream) -> Connection {
        Connection {
            stream,
            buffer: Box::new([0; SIZE]),
            filled: 0,
        }
    }

    /// Reads all that there is, until a read is short, and answers it.
    pub fn serve(&mut self, served: &mut Served) -> Result<Then> {
        loop {
            let room = &mut self.buffer[self.filled..];
            let wanted = room.len();

            served.calls += 1;
            let read = match self.stream.read(room) {
                Ok(0) => return Ok(Then::Gone),
                Ok(read) => read,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(Then::More),
                Err(_) => return Ok(Then::Gone),
            };
            self.filled += read;
            let then = self.answer(served)?;
            if then != Then::More || read < wanted {
                return Ok(then);
            }
        }
    }

    /// Answers the complete requests in the buffer.
    fn answer(&mut self, served: &mut Served) -> Result<Then> {
        let mut then = Then::More;

        while self.filled > 0 {
            let mut headers = [httparse::EMPTY_HEADER; HEADERS];
            let mut request = httparse::Request::new(&mut headers);
            let parsed = request.parse(&self.buffer[..self.filled])?;
            let httparse::Status::Complete(length) = parsed else {
                if self.filled == SIZE {
                    bail!("a request that is too long");
                }
                break;
            };

            then = match request.path.context("no path")? {
                "/stop" => Then::Stop,
                "/start" => Then::Start,
                _ => then,
            };
            self.stream.write_all(ANSWER)?;
            if then == Then::More {
                served.calls += 1;
                served.requests += 1;
            }
            self.buffer.copy_within(length..self.filled, 0);
            self.filled -= length;
        }
        Ok(then)
    }
}
