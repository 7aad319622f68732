// SPDX-License-Identifier: GPL-2.0-only

//! `kevent_add()`, `kevent_modify()` and `kevent_remove()`: batches of change records.

use kernel::{
    prelude::*,
    sync::{
        lock::{
            mutex::MutexBackend,
            Guard, //
        },
        Arc,
        ArcBorrow, //
    },
    types::ScopeGuard,
    uaccess::UserPtr,
    uapi, //
};

use core::cell::Cell;

use crate::{
    engine::{
        queue::Queue,
        table::{
            Batch,
            Table, //
        },
        watch::{
            Rechecker,
            Watch, //
        }, //
    },
    entry::user::{
        read_handle,
        read_watch,
        write_results, //
    },
    source::{
        self,
        fd::Name,
        Make,
        Target, //
    },
    trace, //
};

/// Does `change` for each of `nr` records, which are `size` bytes apart, until one fails.
///
/// Returns how many were done, or the error of the first. The result of each record that was tried
/// is written back; that of the others is `-ECANCELED`.
fn each(
    at: UserPtr,
    size: usize,
    nr: u32,
    mut change: impl FnMut(&mut uapi::kevent_watch) -> Result,
    undo: impl Fn(&uapi::kevent_watch),
) -> Result<u32> {
    let mut at = at;
    let mut record = uapi::kevent_watch::default();
    for done in 0..nr {
        let mut result = read_watch(at, size, &mut record).and_then(|()| {
            let handle = record.handle;
            let changed = change(&mut record);
            record.result = changed.err().map_or(0, |e| e.to_errno());
            let written = write_results(at, &record, record.handle != handle);
            if changed.is_ok() && written.is_err() {
                undo(&record);
            }
            changed.and(written)
        });
        if result.is_ok() && current!().fatal_signal_pending() {
            result = Err(EINTR);
        }
        at = at.wrapping_byte_add(size);
        if let Err(e) = result {
            cancel_rest(at, size, nr.saturating_sub(done).saturating_sub(1));
            return if done == 0 { Err(e) } else { Ok(done) };
        }
    }
    Ok(nr)
}

/// Says of `nr` records that they were not tried.
fn cancel_rest(at: UserPtr, size: usize, nr: u32) {
    let cancelled = uapi::kevent_watch {
        result: ECANCELED.to_errno(),
        ..Default::default()
    };
    let mut at = at;
    for _ in 0..nr {
        if write_results(at, &cancelled, false).is_err() || current!().fatal_signal_pending() {
            return;
        }
        at = at.wrapping_byte_add(size);
    }
}

/// Room for watches that are about to be made.
struct Reserved<'a> {
    queue: &'a Queue,
    left: usize,
}

impl Reserved<'_> {
    /// Takes one, of `wanted` that are still to come.
    fn take(&mut self, wanted: u32) -> Result {
        if self.left == 0 {
            let nr = wanted.clamp(1, 64) as usize;
            self.queue.reserve_watches(nr)?;
            self.left = nr;
        }
        self.left = self.left.saturating_sub(1);
        Ok(())
    }
}

impl Drop for Reserved<'_> {
    fn drop(&mut self) {
        if self.left != 0 {
            self.queue.unreserve_watches(self.left);
        }
    }
}

/// `kevent_add()`: registers `nr` watches.
pub(crate) fn add(
    queue: ArcBorrow<'_, Queue>,
    at: UserPtr,
    size: usize,
    nr: u32,
    flags: u32,
) -> Result<u32> {
    let queue: Arc<Queue> = queue.into();
    let updates = flags & uapi::KEVENT_ADD_UPDATE != 0;
    let mut left = nr;
    let mut reserved = Reserved {
        queue: &queue,
        left: 0,
    };
    let is_new = Cell::new(true);
    let add_one = |record: &mut uapi::kevent_watch| {
        let wanted = left;
        left = left.saturating_sub(1);
        record.handle = 0;
        let name = if updates {
            source::check_class(&queue, record.source)?;
            Some(Name::of(record)?)
        } else {
            None
        };
        if let Some(name) = &name {
            let updated = update(&queue, name, record);
            is_new.set(updated == Err(ENOENT));
            if !is_new.get() {
                record.handle = updated?;
                return Ok(());
            }
        }
        reserved.take(wanted)?;
        let mut added = add_one(&queue, record, name.as_ref(), source::watch);
        if added == Err(ENOBUFS) {
            reserved.take(1)?;
            added = add_one(&queue, record, name.as_ref(), source::watch_large);
        }
        added.inspect_err(|_| record.handle = 0)
    };
    let undo = |record: &uapi::kevent_watch| {
        if is_new.get() {
            queue.watches().lock().withdraw(&queue, record.handle);
        }
    };
    each(at, size, nr, add_one, undo)
}

/// Changes the watch that has this name to all that `record` says, and returns its handle; `ENOENT`
/// if one has to be made.
fn update(queue: &Queue, name: &Name, record: &uapi::kevent_watch) -> Result<u64> {
    let able = if record.flags & uapi::KEVENT_WATCH_DISABLED != 0 {
        uapi::KEVENT_MODIFY_DISABLE
    } else {
        uapi::KEVENT_MODIFY_ENABLE
    };
    let flags = uapi::KEVENT_MODIFY_EVENTS
        | uapi::KEVENT_MODIFY_MODE
        | uapi::KEVENT_MODIFY_USER_DATA
        | uapi::KEVENT_MODIFY_ARG
        | able;
    let mut table = queue.watches().lock();
    let handle = name.handle(queue, &table)?;
    if table.is_attaching(handle) {
        return Err(EBUSY);
    }
    if table.get(handle).is_err() {
        // It is a ONESHOT watch that has fired: what it has reported is of the old settings.
        table.remove(queue, handle)?;
        return Err(ENOENT);
    }
    change_one(queue, table, handle, record, flags).map(|()| handle)
}

/// Makes a watch, for which there is room, and notes its handle in `record`.
fn add_one(
    queue: &Arc<Queue>,
    record: &mut uapi::kevent_watch,
    name: Option<&Name>,
    make: Make,
) -> Result {
    let mut add = || add_made(queue, record, name, |record| make(queue, record));
    match add() {
        Err(e) if e == ENOSPC => {
            // The last events of some may have been consumed, which counts when it is noticed.
            queue.watches().lock().sweep(queue);
            queue.reserve_watches(1)?;
            add()
        }
        result => result,
    }
}

/// Adds a watch that the kernel makes for something that the program does: one that `record`
/// describes.
#[cfg(CONFIG_POSIX_TIMERS)]
pub(crate) fn add_internal(
    queue: &Arc<Queue>,
    record: &uapi::kevent_watch,
    make: impl FnOnce() -> Result<Arc<Watch>>,
) -> Result<u64> {
    queue.reserve_watches(1)?;
    let mut record = *record;
    add_made(queue, &mut record, None, |_| make())?;
    Ok(record.handle)
}

/// Adds the watch that `make` makes, for which there is room, and notes its handle in `record`. If
/// it has a `name`, it must be the only one with that.
#[inline]
fn add_made(
    queue: &Arc<Queue>,
    record: &mut uapi::kevent_watch,
    name: Option<&Name>,
    make: impl FnOnce(&uapi::kevent_watch) -> Result<Arc<Watch>>,
) -> Result {
    let unreserve = ScopeGuard::new(|| queue.unreserve_watches(1));
    let watch = make(record)?;
    let mut table = queue.watches().lock();
    if name.is_some_and(|name| name.handle(queue, &table) != Err(ENOENT)) {
        return Err(EBUSY);
    }
    let handle = table.insert(queue, watch.clone())?;
    unreserve.dismiss();
    record.handle = handle;
    trace::add(queue, handle, record);
    let attached = watch.source().attach_file(watch.as_arc_borrow(), record);
    let target = match attached.and_then(|target| {
        // If not, it may be attached to another file, by which there may be one of that name.
        let is_open = name.is_none_or(Name::is_open);
        is_open.then_some(target).ok_or(EBADF)
    }) {
        Ok(Some(target)) => target,
        Ok(None) => return Ok(()),
        Err(e) => {
            table.withdraw(queue, handle);
            return Err(e);
        }
    };
    watch.set_attaching();
    drop(table);
    let found = watch.source().register(&target);
    let mut table = queue.watches().lock();
    let events = found.and_then(|found| watch.source().registered(watch.as_arc_borrow(), found));
    let result = table.attached(queue, &watch, events);
    // `target` may be the last reference to the file.
    drop(table);
    result
}

/// `kevent_modify()`: changes what `flags` names of `nr` watches.
pub(crate) fn modify(queue: &Queue, at: UserPtr, size: usize, nr: u32, flags: u32) -> Result<u32> {
    if flags & uapi::KEVENT_MODIFY_TRIGGER != 0 {
        return trigger(queue, at, size, nr);
    }
    let modify_one = |record: &mut uapi::kevent_watch| {
        let by_ident = flags & uapi::KEVENT_MODIFY_BY_IDENT != 0;
        let name = by_ident.then(|| Name::of(record)).transpose()?;
        let mut table = queue.watches().lock();
        if let Some(name) = &name {
            record.handle = name.handle(queue, &table)?;
        }
        if flags & uapi::KEVENT_MODIFY_REMOVE != 0 {
            return table.remove(queue, record.handle);
        }
        change_one(queue, table, record.handle, record, flags)
    };
    each(at, size, nr, modify_one, |_| {})
}

/// Changes the watch that `handle` was issued for. The mutex is held while it is changed: one
/// change at a time.
fn change_one(
    queue: &Queue,
    table: Guard<'_, Table, MutexBackend>,
    handle: u64,
    record: &uapi::kevent_watch,
    flags: u32,
) -> Result {
    let watch = table.get(handle)?;
    let Some(target) = change(watch, record, flags)? else {
        return Ok(());
    };
    let mut batch = Batch::of(watch.clone(), target);
    drop(table);
    batch.poll(Rechecker::PROGRAM);
    queue.watches().lock().polled(&batch, |_| {});
    Ok(())
}

/// `kevent_modify()` with `KEVENT_MODIFY_TRIGGER`: fires `nr` watches. Takes no mutex.
fn trigger(queue: &Queue, at: UserPtr, size: usize, nr: u32) -> Result<u32> {
    let trigger_one = |record: &mut uapi::kevent_watch| {
        if record.events == 0 || record.events & !uapi::KEVENT_EVENTS_MASK != 0 {
            return Err(EINVAL);
        }
        let fired = queue
            .triggers()
            .fire(record.source, record.handle, record.events);
        if fired == Err(ENOENT) && queue.watches().lock().get(record.handle).is_ok() {
            // It is of another class.
            return Err(EINVAL);
        }
        fired
    };
    each(at, size, nr, trigger_one, |_| {})
}

/// Changes a watch. Returns what has to be polled then, without the mutex.
fn change(watch: &Arc<Watch>, record: &uapi::kevent_watch, flags: u32) -> Result<Option<Target>> {
    // These say what is in `arg`.
    const OF_ARG: u32 = uapi::KEVENT_WATCH_ABSTIME | uapi::KEVENT_WATCH_EXPECT;
    const OF_MODE: u32 =
        uapi::KEVENT_MODIFY_MODE | uapi::KEVENT_MODIFY_EVENTS | uapi::KEVENT_MODIFY_ARG;
    if record.source != watch.class() || record.events & !uapi::KEVENT_EVENTS_MASK != 0 {
        return Err(EINVAL);
    }
    let new_flags = if flags & uapi::KEVENT_MODIFY_MODE != 0 {
        record.flags
    } else if flags & uapi::KEVENT_MODIFY_ARG != 0 {
        (watch.flags() & !OF_ARG) | (record.flags & OF_ARG)
    } else {
        watch.flags()
    };
    let new_events = if flags & uapi::KEVENT_MODIFY_EVENTS == 0 {
        watch.interest()
    } else {
        record.events
    };
    if flags & uapi::KEVENT_MODIFY_ARG == 0 {
        watch.source().check_flags(new_flags)?;
    }
    source::check(watch, new_flags, new_events)?;
    watch.as_arc_borrow().modify(flags, || {
        // The only one that can fail, so it comes first.
        if flags & uapi::KEVENT_MODIFY_ARG != 0 {
            let new = uapi::kevent_watch {
                flags: new_flags,
                events: new_events,
                ..*record
            };
            watch.source().set_arg(watch.as_arc_borrow(), &new)?;
        }
        if flags & uapi::KEVENT_MODIFY_USER_DATA != 0 {
            watch.set_user_data(record.user_data);
        }
        if flags & OF_MODE != 0 {
            watch.set_mode(new_flags, new_events);
        }
        if flags & uapi::KEVENT_MODIFY_DISABLE != 0 {
            watch.source().disable(watch);
        }
        if flags & uapi::KEVENT_MODIFY_ENABLE != 0 {
            watch.set_enabled();
        }
        Ok(())
    })
}

/// `kevent_remove()`: removes the watches that `nr` handles name.
pub(crate) fn remove(queue: &Queue, at: UserPtr, nr: u32) -> Result<u32> {
    let mut at = at;
    for done in 0..nr {
        let result =
            read_handle(at).and_then(|handle| queue.watches().lock().remove(queue, handle));
        match result {
            Err(e) if done == 0 => return Err(e),
            Err(_) => return Ok(done),
            Ok(()) => at = at.wrapping_byte_add(size_of::<u64>()),
        }
    }
    Ok(nr)
}
