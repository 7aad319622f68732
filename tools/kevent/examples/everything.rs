// SPDX-License-Identifier: MIT

//! One watch of each class that the kernel has, and what comes of it.
//!
//! ```sh
//! cargo run --example everything
//! ```

use kevent::{
    Error, FutexEvents, InodeEvents, ProcessEvents, Queue, Readiness, SocketEvents, Sources,
    UserEvents, Wait, Watch,
};
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, FromRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::sync::atomic::AtomicU32;
use std::time::Duration;

fn main() -> io::Result<()> {
    let queue = match Queue::builder().entries(64).build() {
        Err(Error::Unsupported) => {
            println!("skipped: this kernel has no kevent");
            return Ok(());
        }
        queue => queue?,
    };
    let sources = queue.sources().unwrap_or_default();
    let (near, mut far) = UnixStream::pair()?;
    let name = std::env::temp_dir().join(format!("kevent-everything-{}", std::process::id()));
    let mut file = File::create(&name)?;
    let watched = File::open(&name)?;
    let mut child = Command::new("true").spawn()?;
    let pidfd = pidfd(child.id())?;
    let word = AtomicU32::new(1);

    let watches = [
        (Sources::POLL, Watch::poll(near.as_fd(), Readiness::IN)),
        (
            Sources::SOCKET,
            Watch::socket(near.as_fd(), SocketEvents::IN),
        ),
        (Sources::SIGNAL, Watch::signal(libc::SIGCHLD)),
        (Sources::TIMER, Watch::timer(Duration::from_millis(20))),
        (
            Sources::PROCESS,
            Watch::process(pidfd.as_fd(), ProcessEvents::EXIT).edge(),
        ),
        (
            Sources::INODE,
            Watch::inode(watched.as_fd(), InodeEvents::MODIFY),
        ),
        (
            Sources::FUTEX,
            Watch::futex(&word, FutexEvents::WOKEN | FutexEvents::CHANGED).expect(0),
        ),
        (Sources::USER, Watch::user()),
    ];
    let mut user = None;

    for (n, (class, watch)) in watches.into_iter().enumerate() {
        if !sources.contains(class) {
            println!("this kernel has no {class:?}");
            continue;
        }
        match queue.add_one(watch.user_data(n as u64)) {
            Ok(handle) if class == Sources::USER => user = Some(handle),
            Ok(_) => {}
            Err(error) => println!("{class:?}: {error}"),
        }
    }

    far.write_all(b"hello")?;
    file.write_all(b"hello")?;
    if let Some(user) = user {
        queue.trigger(user, UserEvents::bit(0))?;
    }
    child.wait()?;

    // Levels hold and are reported again: stop after a while.
    let until = kevent::Clock::Monotonic.now() + Duration::from_millis(200);
    let wait = Wait::new().deadline(kevent::Clock::Monotonic, until);
    for _ in 0..20 {
        match queue.next_with(&wait) {
            Err(Error::Interrupted) => {}
            Ok(None) => break,
            event => println!(
                "{:?}",
                event?.map(|event| (event.user_data(), event.details()))
            ),
        }
    }
    std::fs::remove_file(name)
}

/// A descriptor of a process.
fn pidfd(pid: u32) -> io::Result<OwnedFd> {
    // SAFETY: a number only; the descriptor is new and nothing else has it.
    unsafe {
        let fd = libc::syscall(libc::SYS_pidfd_open, pid, 0);

        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(OwnedFd::from_raw_fd(fd as i32))
    }
}
