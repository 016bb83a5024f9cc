//! A backend that goes wrong at a chosen operation, so that tests can run "for every N: fail operation N".
//! Nothing is random: the same operations and the same fault give the same outcome.

use std::cell::Cell;
use std::io;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::error::DENIED;
use super::{Backend, Entry, Error, Kind, Space};
use crate::locks::lock;
use crate::model::Time;

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The operation fails and is not done.
    FailBefore,
    /// A `put` fails and is not done, since the storage is full. Other operations go well.
    NoSpace,
    /// The operation fails and is not done, since it is forbidden.
    Denied,
    /// The operation is done, then reported as failed: a lost reply. A listing has called for every entry.
    FailAfter,
    /// So many operations from this one on fail and are not done; then the storage is back.
    Outage { operations: u64 },
    /// A listing calls for the first half of the entries, and fails. Other operations go well.
    HalfList,
    /// A `get` loses so many bytes at its end (at most all); a `get_range` that loses any is `Error::Short`, as every
    /// backend promises. Other operations go well.
    Truncate { lost: u64 },
    /// A `get` or `get_range` comes with this bit changed, counted from the start, modulo the length in bits. Other
    /// operations go well.
    FlipBit { bit: u64 },
    /// The operation is not done, and the program panics in it: a bug.
    Panic,
    /// The operation is not done, and neither is any after it: the program or the storage is gone.
    Crash,
}

/// What operations are called in messages.
const PUT: &str = "write";
const GET: &str = "read";
const LIST: &str = "list";

impl Fault {
    /// Whether the fault can change the outcome of such an operation.
    fn suits(self, operation: &str) -> bool {
        match self {
            Fault::NoSpace => operation == PUT,
            Fault::HalfList => operation == LIST,
            Fault::Truncate { .. } | Fault::FlipBit { .. } => operation == GET,
            _ => true,
        }
    }
}

/// Counts the operations of a backend, and lets one of them go wrong. `location` is not an operation; all others are one
/// each, `exists_repository` too. With threads, the count is exact, but which operation is number N is up to them.
#[derive(Debug)]
pub struct Faulty<B> {
    inner: B,
    operations: AtomicU64,
    /// Of them, those that the fault which is set can change.
    suited: AtomicU64,
    /// Only those are counted for the fault.
    only_suited: bool,
    fault: Mutex<Option<(u64, Fault)>>,
    struck: AtomicBool,
}

impl<B: Backend> Faulty<B> {
    /// A wrapper that only counts.
    pub fn new(inner: B) -> Faulty<B> {
        Faulty {
            inner,
            operations: AtomicU64::new(0),
            suited: AtomicU64::new(0),
            only_suited: false,
            fault: Mutex::new(None),
            struck: AtomicBool::new(false),
        }
    }

    /// A wrapper in which operation `number` (the first is 1) goes wrong.
    pub fn with_fault(inner: B, number: u64, fault: Fault) -> Faulty<B> {
        let faulty = Faulty::new(inner);
        faulty.set_fault(Some((number, fault)));
        faulty
    }

    /// The same, where only operations are counted that the fault can change: the first listing, the second `put`.
    pub fn with_fault_among_suited(inner: B, number: u64, fault: Fault) -> Faulty<B> {
        Faulty { only_suited: true, ..Faulty::with_fault(inner, number, fault) }
    }

    /// How many operations were begun that the fault which is set can change.
    pub fn suited(&self) -> u64 {
        self.suited.load(Ordering::SeqCst)
    }

    /// Sets the operation to go wrong, counted from the wrapper's start, or none. Ends a crash.
    pub fn set_fault(&self, fault: Option<(u64, Fault)>) {
        *lock(&self.fault) = fault;
        self.struck.store(false, Ordering::SeqCst);
    }

    /// How many operations were begun, the one that went wrong and those after a crash included.
    pub fn operations(&self) -> u64 {
        self.operations.load(Ordering::SeqCst)
    }

    /// Whether the fault has changed an outcome. A sweep over N ends when this stays false.
    pub fn struck(&self) -> bool {
        self.struck.load(Ordering::SeqCst)
    }

    /// The backend below, free of faults and uncounted.
    pub fn inner(&self) -> &B {
        &self.inner
    }

    /// Counts an operation, does it, and lets the fault that is due strike before or after. `harm` is what a fault that
    /// spoils bytes does to a good result; it says whether it did anything.
    fn run<T>(
        &self,
        object: impl Fn() -> String,
        operation: &'static str,
        work: impl FnOnce(&B) -> Result<T, Error>,
        harm: impl FnOnce(Fault, T) -> (bool, Result<T, Error>),
    ) -> Result<T, Error> {
        let mut number = self.operations.fetch_add(1, Ordering::SeqCst) + 1;
        let fault = *lock(&self.fault);
        if fault.is_some_and(|(_, fault)| fault.suits(operation)) {
            let suited = self.suited.fetch_add(1, Ordering::SeqCst) + 1;
            number = if self.only_suited { suited } else { number };
        } else if self.only_suited {
            return work(&self.inner);
        }
        let due = match fault {
            Some((at, Fault::Crash)) if number >= at => Some(Fault::Crash),
            Some((at, outage @ Fault::Outage { operations })) => {
                (at..at.saturating_add(operations)).contains(&number).then_some(outage)
            }
            Some((at, fault)) if number == at => Some(fault),
            _ => None,
        };
        let strike = |error| {
            self.struck.store(true, Ordering::SeqCst);
            Err(error)
        };
        let fail = || {
            let source = io::Error::other(format!("fault set for operation {number}"));
            strike(Error::Io { object: object(), operation, source })
        };
        match due {
            None => work(&self.inner),
            Some(Fault::FailBefore | Fault::Outage { .. } | Fault::Crash) => fail(),
            Some(Fault::NoSpace) if operation == PUT => {
                strike(Error::NoSpace { object: object(), operation })
            }
            Some(Fault::Denied) => strike(Error::Denied { object: object(), reason: DENIED.to_owned() }),
            Some(Fault::Panic) => {
                self.struck.store(true, Ordering::SeqCst);
                panic!("panic set for operation {number}")
            }
            Some(Fault::FailAfter) => {
                let _ = work(&self.inner);
                fail()
            }
            Some(fault) => {
                let (harmed, result) = harm(fault, work(&self.inner)?);
                self.struck.fetch_or(harmed, Ordering::SeqCst);
                result
            }
        }
    }

    /// The path of an object, for the message of a fault.
    fn object(&self, kind: Kind, name: &str) -> String {
        format!("{}/{}", self.inner.location(), kind.path_of(name))
    }
}

/// Operations that bring no bytes cannot be spoiled.
fn unharmed<T>(_: Fault, value: T) -> (bool, Result<T, Error>) {
    (false, Ok(value))
}

/// The bytes as the fault leaves them, and whether they changed.
fn spoil(fault: Fault, mut bytes: Vec<u8>) -> (bool, Vec<u8>) {
    let bits = bytes.len() as u64 * 8;
    match fault {
        Fault::Truncate { lost } if lost > 0 && bits > 0 => {
            bytes.truncate(bytes.len().saturating_sub(usize::try_from(lost).unwrap_or(usize::MAX)));
            (true, bytes)
        }
        Fault::FlipBit { bit } if bits > 0 => {
            let bit = bit % bits;
            bytes[(bit / 8) as usize] ^= 1 << (bit % 8);
            (true, bytes)
        }
        _ => (false, bytes),
    }
}

/// The same, of bytes of any number.
fn spoiled(fault: Fault, bytes: Vec<u8>) -> (bool, Result<Vec<u8>, Error>) {
    let (harmed, bytes) = spoil(fault, bytes);
    (harmed, Ok(bytes))
}

impl<B: Backend> Backend for Faulty<B> {
    fn location(&self) -> String {
        self.inner.location()
    }

    fn put(&self, kind: Kind, name: &str, bytes: &[u8]) -> Result<(), Error> {
        self.run(|| self.object(kind, name), PUT, |inner| inner.put(kind, name, bytes), unharmed)
    }

    fn replace(&self, kind: Kind, name: &str, bytes: &[u8]) -> Result<(), Error> {
        self.run(|| self.object(kind, name), "put back", |inner| inner.replace(kind, name, bytes), unharmed)
    }

    fn get(&self, kind: Kind, name: &str) -> Result<Vec<u8>, Error> {
        self.run(|| self.object(kind, name), GET, |inner| inner.get(kind, name), spoiled)
    }

    fn get_at_most(&self, kind: Kind, name: &str, most: u64) -> Result<Vec<u8>, Error> {
        self.run(|| self.object(kind, name), GET, |inner| inner.get_at_most(kind, name, most), spoiled)
    }

    fn get_range(&self, kind: Kind, name: &str, offset: u64, length: usize) -> Result<Vec<u8>, Error> {
        let object = || self.object(kind, name);
        let harm = |fault, bytes| {
            let (harmed, bytes) = spoil(fault, bytes);
            let (wanted, got) = (length as u64, bytes.len() as u64);
            let result = if got == wanted {
                Ok(bytes)
            } else {
                Err(Error::Short { object: object(), offset, wanted, got })
            };
            (harmed, result)
        };
        self.run(object, GET, |inner| inner.get_range(kind, name, offset, length), harm)
    }

    fn list(&self, kind: Kind, each: &mut dyn FnMut(Entry)) -> Result<(), Error> {
        let object = || format!("{}/{}", self.inner.location(), kind.folder());
        let mut entries = Vec::new();
        let cut = Cell::new(false);
        let harm = |fault, ()| {
            cut.set(fault == Fault::HalfList);
            let source = io::Error::other("fault set for a listing");
            let failed = Err(Error::Io { object: object(), operation: "list", source });
            (cut.get(), if cut.get() { failed } else { Ok(()) })
        };
        let result = self.run(object, LIST, |inner| inner.list(kind, &mut |entry| entries.push(entry)), harm);
        if cut.get() {
            entries.truncate(entries.len() / 2);
        }
        entries.into_iter().for_each(each);
        result
    }

    fn stat(&self, kind: Kind, name: &str) -> Result<u64, Error> {
        self.run(|| self.object(kind, name), "look at", |inner| inner.stat(kind, name), unharmed)
    }

    fn remove(&self, kind: Kind, name: &str) -> Result<(), Error> {
        self.run(|| self.object(kind, name), "remove", |inner| inner.remove(kind, name), unharmed)
    }

    fn time(&self) -> Result<Time, Error> {
        self.run(|| self.inner.location(), "ask for the time", |inner| inner.time(), unharmed)
    }

    fn listing_lag_seconds(&self) -> Option<u64> {
        self.inner.listing_lag_seconds()
    }

    fn space(&self) -> Result<Option<Space>, Error> {
        self.run(|| self.inner.location(), "ask for its room", |inner| inner.space(), unharmed)
    }

    fn remove_leftovers(&self, before: Time) -> Result<u64, Error> {
        let object = || self.inner.location();
        self.run(object, "remove leftovers", |inner| inner.remove_leftovers(before), unharmed)
    }

    fn reserve(&self, keep: bool) -> bool {
        self.inner.reserve(keep)
    }

    fn exists_repository(&self) -> Result<bool, Error> {
        self.run(
            || self.inner.location(),
            "look for a repository",
            |inner| inner.exists_repository(),
            unharmed,
        )
    }

    fn create(&self) -> Result<(), Error> {
        self.run(|| self.inner.location(), "make the folders", |inner| inner.create(), unharmed)
    }
}
