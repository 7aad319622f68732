// SPDX-License-Identifier: MIT

//! In which address space something was mapped.
//!
//! A process id does not say it: a child of `vfork(2)` has another one and the same memory. And it
//! costs a system call each time. So there is a page that `fork(2)` leaves zeroed in the child
//! (`MADV_WIPEONFORK`), however it is called, and in it a number that says which address space
//! this is.

use crate::error::Error;
use crate::sync::{AtomicU64, Ordering};
use std::sync::OnceLock;

/// An address space: the one in which the value was made.
#[derive(Clone, Copy)]
pub(crate) struct Process {
    page: &'static AtomicU64,
    number: u64,
}

impl Process {
    /// This one.
    pub(crate) fn current() -> Result<Process, Error> {
        // Inherited, so a child has higher numbers than its parent had.
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let page = page()?;
        let new = NEXT.fetch_add(1, Ordering::Relaxed);
        let number = match page.compare_exchange(0, new, Ordering::Relaxed, Ordering::Relaxed) {
            Ok(_) => new,
            Err(number) => number,
        };

        Ok(Process { page, number })
    }

    /// Whether that is where we are.
    #[inline]
    pub(crate) fn is_current(&self) -> bool {
        self.page.load(Ordering::Relaxed) == self.number
    }
}

/// The page, which stays for good.
fn page() -> Result<&'static AtomicU64, Error> {
    static PAGE: OnceLock<Result<&'static AtomicU64, Error>> = OnceLock::new();

    *PAGE.get_or_init(|| {
        let len = size_of::<AtomicU64>();
        // SAFETY: a new mapping of the kernel's choice; the kernel rounds the length up to a page.
        let base = unsafe {
            libc::mmap(
                core::ptr::null_mut(),
                len,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        if base == libc::MAP_FAILED {
            return Err(Error::last());
        }
        // SAFETY: it is the mapping that was just made.
        if unsafe { libc::madvise(base, len, libc::MADV_WIPEONFORK) } != 0 {
            let error = Error::last();
            // SAFETY: there are no references into it.
            unsafe { libc::munmap(base, len) };
            return Err(error);
        }
        // SAFETY: it is mapped for good, zeroed, and aligned to a page.
        Ok(unsafe { &*base.cast::<AtomicU64>() })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs `test` in a forked child: whether it returned true there.
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
    fn a_child_is_another() {
        let here = Process::current().unwrap();

        assert!(here.is_current() && Process::current().unwrap().is_current());
        assert!(in_a_child(|| {
            let there = Process::current();
            !here.is_current()
                && there.is_ok_and(|there| {
                    there.is_current() && in_a_child(|| !there.is_current() && !here.is_current())
                })
        }));
        assert!(here.is_current());
    }
}
