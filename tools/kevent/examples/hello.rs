// SPDX-License-Identifier: MIT

//! The shortest program: a timer, a post of another thread, and one place to wait for both.
//!
//! ```sh
//! cargo run --example hello
//! ```

use kevent::{Details, Error, Post, Queue, Watch};
use std::time::Duration;

fn main() -> Result<(), Error> {
    let queue = match Queue::new() {
        Err(Error::Unsupported) => {
            println!("skipped: this kernel has no kevent");
            return Ok(());
        }
        queue => queue?,
    };
    let tick = Duration::from_millis(50);

    queue.add_one(Watch::timer(tick).every(tick).user_data(1))?;
    std::thread::scope(|s| {
        s.spawn(|| {
            std::thread::sleep(tick * 5 / 2);
            queue.post(&[Post::new(2).data(42)])
        });
        loop {
            let event = match queue.next() {
                Err(Error::Interrupted) => continue,
                event => event?,
            };

            match event.details() {
                Details::Timer { expirations, .. } => println!("timer: {expirations}"),
                Details::User { data, .. } => {
                    println!("post: {data}");
                    return Ok(());
                }
                other => println!("{other:?}"),
            }
        }
    })
}
