// SPDX-License-Identifier: GPL-2.0-only

//! The file that a queue is.

use kernel::{
    fs::{
        anon_inode::{
            private_data,
            FileVtable,
            HasFileVtable, //
        },
        LocalFile, //
    },
    irq_work::HasIrqWork,
    prelude::*,
    sync::{
        aref::ARef,
        ArcBorrow, //
    }, //
};

use crate::engine::queue::Queue;

/// The file operations of queues.
static QUEUE_FILE: FileVtable<Queue> = FileVtable::new();

// SAFETY: It is one static.
unsafe impl HasFileVtable for Queue {
    fn vtable() -> &'static FileVtable<Self> {
        &QUEUE_FILE
    }
}

// SAFETY: The offset is that of the work. `Queue::drop` calls `sync`, and by then no other code
// has a reference, so it is not queued again.
unsafe impl HasIrqWork for Queue {
    const OFFSET: usize = core::mem::offset_of!(Queue, poll_wake_work);

    fn run(&self) {
        self.flush_more();
        self.wake_pollers();
    }
}

/// The file behind a descriptor, which is a queue.
pub(crate) struct QueueFile(ARef<LocalFile>);

impl QueueFile {
    pub(crate) fn get(fd: c_int) -> Result<Self> {
        let fd = u32::try_from(fd).map_err(|_| EBADF)?;
        let file = LocalFile::fget(fd)?;
        private_data::<Queue>(&file).ok_or(EINVAL)?;
        Ok(Self(file))
    }

    pub(crate) fn queue(&self) -> Result<ArcBorrow<'_, Queue>> {
        private_data::<Queue>(&self.0).ok_or(EINVAL)
    }

    /// The queue, for what only its owner may do, else `EACCES`.
    pub(crate) fn own_queue(&self) -> Result<ArcBorrow<'_, Queue>> {
        own_queue(&self.0)
    }
}

/// The queue that a file is, for what only its owner may do, else `EACCES`.
pub(crate) fn own_queue(file: &LocalFile) -> Result<ArcBorrow<'_, Queue>> {
    let queue = private_data::<Queue>(file).ok_or(EINVAL)?;
    if queue.owner.may_use() {
        Ok(queue)
    } else {
        Err(EACCES)
    }
}
