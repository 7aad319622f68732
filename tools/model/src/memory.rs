// SPDX-License-Identifier: GPL-2.0-only

//! Memory, as the model checker sees it, or as it is.
//!
//! Outside of [`check`] all this is the processor's memory. Inside, each word that was added before
//! the first [`spawn`] is an object of loom's.

use crate::uapi::{kevent_event, kevent_ring};
use ::core::mem::offset_of;
use loom::cell::UnsafeCell;
use loom::sync::atomic::AtomicU64 as Modelled;
use loom::thread::JoinHandle;
use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::Arc;

/// A word somewhere.
#[derive(Clone, Copy)]
pub(crate) struct HandleSlot {
    address: usize,
    wide: bool,
}

impl HandleSlot {
    pub(crate) fn new<T>(ptr: *mut T) -> Self {
        assert!(size_of::<T>() == 4 || size_of::<T>() == 8);
        Self {
            address: ptr.expose_provenance(),
            wide: size_of::<T>() == 8,
        }
    }

    /// The memory that there is.
    fn update(self, mut new: impl FnMut(u64) -> Option<u64>) -> Result<u64, u64> {
        const ORDER: Ordering = Ordering::SeqCst;
        if self.wide {
            let ptr = ::core::ptr::with_exposed_provenance_mut(self.address);
            // SAFETY: A place is made from a pointer to a word that lives, and `check` forgets it
            // before it dies.
            unsafe { AtomicU64::from_ptr(ptr) }.fetch_update(ORDER, ORDER, new)
        } else {
            let ptr = ::core::ptr::with_exposed_provenance_mut(self.address);
            // SAFETY: As above. What is stored comes from a word of the same size.
            unsafe { AtomicU32::from_ptr(ptr) }
                .fetch_update(ORDER, ORDER, |old| new(old.into()).map(|new| new as u32))
                .map(u64::from)
                .map_err(u64::from)
        }
    }

    fn compare_exchange(self, old: u64, new: u64) -> Result<u64, u64> {
        self.update(|now| (now == old).then_some(new))
    }

    fn swap(self, new: u64) -> u64 {
        match self.update(|_| Some(new)) {
            Ok(old) | Err(old) => old,
        }
    }

    fn read(self) -> u64 {
        match self.update(|_| None) {
            Ok(old) | Err(old) => old,
        }
    }
}

/// A field of an entry that is not accessed by atomic operations.
///
/// That it was written shows in that it is not what it was before, or what the last one who has
/// read it found.
struct Field {
    place: HandleSlot,
    /// What is there, as far as loom has been reported.
    known: u64,
    object: Rc<Object>,
}

enum Object {
    /// Accesses must be ordered.
    Ordered(UnsafeCell<()>),
    /// A merge may write it at any time.
    Racy(Modelled),
}

/// A word.
///
/// loom only remembers the last access to each object: after a look by one thread and then by
/// another, it does not try to have the other one's next store before the first look. So there is a
/// second object for each word, which is exchanged before each access. That orders nothing.
struct Word {
    turn: Modelled,
    value: Modelled,
}

impl Word {
    fn new(value: u64) -> Self {
        Self {
            turn: Modelled::new(0),
            value: Modelled::new(value),
        }
    }

    fn access(&self) -> &Modelled {
        self.turn.swap(0, Ordering::Relaxed);
        &self.value
    }
}

#[derive(Default)]
struct Model {
    /// Threads run: nothing can be added any more.
    running: bool,
    words: HashMap<usize, Rc<Word>>,
    /// The fields of the entries, by the address of the entry's word.
    fields: BTreeMap<usize, Vec<Field>>,
    fences: Option<Rc<Modelled>>,
}

thread_local! {
    /// loom runs its threads on one thread of the system.
    static MODEL: RefCell<Option<Model>> = const { RefCell::new(None) };
}

fn with_model<R>(f: impl FnOnce(&mut Model) -> R) -> Option<R> {
    MODEL.with_borrow_mut(|model| model.as_mut().map(f))
}

/// Runs `test` in every interleaving with at most that many preemptions.
pub(crate) fn check(preemptions: usize, test: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.max_branches = 20_000;
    let executions = Arc::new(AtomicU64::new(0));
    let count = executions.clone();
    builder.check(move || {
        MODEL.set(Some(Model {
            fences: Some(Rc::new(Modelled::new(0))),
            ..Model::default()
        }));
        test();
        MODEL.set(None);
        count.fetch_add(1, Ordering::Relaxed);
    });
    println!("{} executions", executions.load(Ordering::Relaxed));
}

/// Cleans up after a [`check`] that has failed.
pub(crate) fn forget() {
    MODEL.set(None);
}

/// Starts a thread of the model.
pub(crate) fn spawn<T: 'static>(f: impl FnOnce() -> T + 'static) -> JoinHandle<T> {
    with_model(|model| model.running = true);
    loom::thread::spawn(move || {
        let result = f();
        // What was written last.
        notice();
        result
    })
}

/// Lets the model have all words of 32 bits between `start` and `start + len`.
pub(crate) fn add_words(start: usize, len: usize) {
    for address in (start..start + len).step_by(4) {
        let place = HandleSlot {
            address,
            wide: false,
        };
        with_model(|model| model.word(place));
    }
}

/// Lets the model have a ring's mapping.
pub(crate) fn add_ring(base: *mut u8, entries_offset: usize, entries: u32) {
    let base = base.expose_provenance();
    let narrow = |address| HandleSlot {
        address,
        wide: false,
    };
    let wide = |address| HandleSlot {
        address,
        wide: true,
    };
    with_model(|model| {
        model.word(narrow(base + offset_of!(kevent_ring, cursor)));
        for n in 0..entries as usize {
            let entry = base + entries_offset + n * size_of::<kevent_event>();
            let word = entry + offset_of!(kevent_event, events);
            model.word(narrow(word));
            let places = [wide(entry + offset_of!(kevent_event, user_data))];
            let words = [
                narrow(entry + offset_of!(kevent_event, info)),
                wide(entry + offset_of!(kevent_event, data)),
                wide(entry + offset_of!(kevent_event, extra)),
            ];
            let mut fields: Vec<_> = places
                .into_iter()
                .map(|place| Field {
                    place,
                    known: place.read(),
                    object: Rc::new(Object::Ordered(UnsafeCell::new(()))),
                })
                .collect();
            fields.extend(words.into_iter().map(|place| Field {
                place,
                known: place.read(),
                object: Rc::new(Object::Racy(Modelled::new(place.read()))),
            }));
            model.fields.insert(word, fields);
        }
    });
}

impl Model {
    fn word(&mut self, place: HandleSlot) -> Rc<Word> {
        let running = self.running;
        let word = self.words.entry(place.address).or_insert_with(|| {
            assert!(!running, "a word that the model does not know");
            Rc::new(Word::new(place.read()))
        });
        word.clone()
    }

    /// Finds what the running thread has written since its last atomic operation.
    fn written(&mut self) -> Vec<(Rc<Object>, u64)> {
        let fields = self.fields.values_mut().flatten();
        fields
            .filter_map(|field| {
                let now = field.place.read();
                let changed = now != field.known;
                field.known = now;
                changed.then(|| (field.object.clone(), now))
            })
            .collect()
    }
}

/// Returns loom what the running thread has written.
///
/// Another thread may run from the first store on: it must not find anything that is not its own.
fn notice() {
    for (object, value) in with_model(Model::written).unwrap_or_default() {
        match &*object {
            Object::Ordered(cell) => cell.with_mut(|_| ()),
            Object::Racy(data) => data.store(value, Ordering::Relaxed),
        }
    }
}

/// The running thread has taken the entry of this word, and is going to read it: loom checks that
/// it may, and says what it finds.
pub(crate) fn reads_entry(word: HandleSlot) {
    let objects: Vec<_> = with_model(|model| {
        let fields = model.fields.get(&word.address);
        fields.map(|f| f.iter().map(|f| f.object.clone()).collect())
    })
    .flatten()
    .unwrap_or_default();
    for (n, object) in objects.iter().enumerate() {
        match &**object {
            Object::Ordered(cell) => cell.with(|_| ()),
            Object::Racy(data) => {
                let value = data.load(Ordering::Relaxed);
                // From here on no other thread runs until the reader has come to its next operation.
                with_model(|model| {
                    let field = model.fields.get_mut(&word.address);
                    if let Some(field) = field.and_then(|fields| fields.get_mut(n)) {
                        field.place.swap(value);
                        field.known = value;
                    }
                });
            }
        }
    }
}

fn modelled(place: HandleSlot) -> Option<Rc<Word>> {
    notice();
    with_model(|model| model.word(place))
}

pub(crate) fn load(place: HandleSlot, order: Ordering) -> u64 {
    match modelled(place) {
        Some(word) => word.access().load(order),
        None => place.read(),
    }
}

pub(crate) fn store(place: HandleSlot, value: u64, order: Ordering) {
    match modelled(place) {
        Some(word) => word.access().store(value, order),
        None => {
            place.swap(value);
        }
    }
}

pub(crate) fn swap(place: HandleSlot, new: u64, order: Ordering) -> u64 {
    match modelled(place) {
        Some(word) => word.access().swap(new, order),
        None => place.swap(new),
    }
}

/// Of a word of 64 bits.
pub(crate) fn fetch_add(place: HandleSlot, value: u64, order: Ordering) -> u64 {
    match modelled(place) {
        Some(word) => word.access().fetch_add(value, order),
        None => match place.update(|old| Some(old.wrapping_add(value))) {
            Ok(old) | Err(old) => old,
        },
    }
}

/// No order if it fails, as in the kernel.
pub(crate) fn compare_exchange(
    place: HandleSlot,
    old: u64,
    new: u64,
    order: Ordering,
) -> Result<u64, u64> {
    match modelled(place) {
        Some(word) => word
            .access()
            .compare_exchange(old, new, order, Ordering::Relaxed),
        None => place.compare_exchange(old, new),
    }
}

/// A full barrier.
///
/// loom does not try the other order of two fences unless something else depends on it. The
/// exchange makes it.
pub(crate) fn fence() {
    notice();
    match with_model(|model| model.fences.clone()) {
        Some(fences) => {
            if let Some(fences) = fences {
                fences.swap(0, Ordering::Relaxed);
            }
            loom::sync::atomic::fence(Ordering::SeqCst);
        }
        None => std::sync::atomic::fence(Ordering::SeqCst),
    }
}
