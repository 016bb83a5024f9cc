//! What goes wrong while a snapshot is looked at, each once: whoever reads gets an error of the system, which does not say what is wrong.

use std::collections::HashSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::locks::lock;
use crate::repository::Error;

/// What is told and not yet taken, at most.
const WAITING: usize = 1000;
/// What is remembered as told, at most.
const REMEMBERED: usize = 10_000;

/// Something that was hit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hit {
    /// The path below the mount point; empty when it is about no entry.
    pub path: Vec<u8>,
    pub what: String,
    /// For a program: `damaged`, `lost`, `unreadable`, `catalogue`, `later_version`, `storage`, `bug`.
    pub code: &'static str,
}

/// How much was hit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Damaged.
    pub damaged: u64,
    /// Anything else: marked as lost by a repair, not readable when the snapshot was made, wrong in the catalogue of
    /// paths, not given by storage.
    pub other: u64,
    /// Not told, since too much came at once.
    pub untold: u64,
}

/// Tells each thing once.
pub struct Told {
    out: Sender<Hit>,
    seen: Mutex<HashSet<(Vec<u8>, String)>>,
    damaged: AtomicU64,
    other: AtomicU64,
    untold: AtomicU64,
}

impl Told {
    /// What tells, and where it comes out.
    pub fn new() -> (Told, Receiver<Hit>) {
        let (out, hits) = bounded(WAITING);
        let counter = AtomicU64::default;
        let told =
            Told { out, seen: Mutex::default(), damaged: counter(), other: counter(), untold: counter() };
        (told, hits)
    }

    /// Tells it, unless it was told before.
    pub fn tell(&self, hit: Hit) {
        let is_new = {
            let mut seen = lock(&self.seen);
            if seen.len() >= REMEMBERED {
                seen.clear();
            }
            seen.insert((hit.path.clone(), hit.what.clone()))
        };
        if !is_new {
            return;
        }
        let counter = if hit.code == "damaged" { &self.damaged } else { &self.other };
        counter.fetch_add(1, Ordering::Relaxed);
        if self.out.try_send(hit).is_err() {
            self.untold.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Tells what the repository said.
    pub fn error(&self, path: Vec<u8>, error: &Error) {
        let code = match error {
            error if error.is_of_later_version() => "later_version",
            error if error.is_damage() => "damaged",
            Error::Bug { .. } => "bug",
            _ => "storage",
        };
        self.tell(Hit { path, what: error.to_string(), code });
    }

    pub fn counts(&self) -> Counts {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counts { damaged: count(&self.damaged), other: count(&self.other), untold: count(&self.untold) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_thing_is_told_once_and_what_is_too_much_is_counted() {
        let (told, hits) = Told::new();
        let hit = |number: usize, code| Hit { path: b"a".to_vec(), what: number.to_string(), code };
        told.tell(hit(1, "damaged"));
        told.tell(hit(1, "damaged"));
        told.tell(hit(2, "lost"));
        assert_eq!(hits.try_iter().collect::<Vec<_>>(), [hit(1, "damaged"), hit(2, "lost")]);
        assert_eq!(told.counts(), Counts { damaged: 1, other: 1, untold: 0 });
        for number in 10..10 + WAITING + 5 {
            told.tell(hit(number, "damaged"));
        }
        assert_eq!(told.counts().untold, 5);
        assert_eq!(hits.try_iter().count(), WAITING);
    }
}
