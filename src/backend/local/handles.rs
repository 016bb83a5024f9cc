//! A few open files of objects that are read range by range, so that a restore does not open a pack for every block.

use std::collections::VecDeque;
use std::fs::File;
use std::sync::{Arc, Mutex, MutexGuard};

use crate::backend::Kind;
use crate::locks::lock;

/// How many files stay open. A restore reads from a handful of packs at a time; more would only hold descriptors.
const HANDLES_MAX: usize = 16;

/// An object open for reading, and its length when it was opened. Objects never change, so neither goes stale.
#[derive(Debug)]
pub(super) struct Open {
    pub(super) file: File,
    pub(super) size: u64,
}

struct Held {
    kind: Kind,
    name: String,
    open: Arc<Open>,
}

/// The files used last, the newest in front.
#[derive(Default)]
pub(super) struct Handles {
    held: Mutex<VecDeque<Held>>,
}

impl Handles {
    /// The open file of an object, if it is held; it becomes the newest.
    pub(super) fn get(&self, kind: Kind, name: &str) -> Option<Arc<Open>> {
        let mut held = self.locked();
        let place = held.iter().position(|one| one.kind == kind && one.name == name)?;
        let one = held.remove(place)?;
        let open = Arc::clone(&one.open);
        held.push_front(one);
        Some(open)
    }

    /// Holds an open file; the one unused for longest goes. Whoever still reads from that one keeps it open.
    pub(super) fn hold(&self, kind: Kind, name: &str, open: &Arc<Open>) {
        let mut held = self.locked();
        held.retain(|one| one.kind != kind || one.name != name);
        held.push_front(Held { kind, name: name.to_owned(), open: Arc::clone(open) });
        held.truncate(HANDLES_MAX);
    }

    /// Lets go of an object's file.
    pub(super) fn drop_one(&self, kind: Kind, name: &str) {
        self.locked().retain(|one| one.kind != kind || one.name != name);
    }

    /// How many files are held.
    #[cfg(test)]
    pub(super) fn count(&self) -> usize {
        self.locked().len()
    }

    fn locked(&self) -> MutexGuard<'_, VecDeque<Held>> {
        lock(&self.held)
    }
}
