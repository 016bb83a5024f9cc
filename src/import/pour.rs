//! What pouring a snapshot into the repository needs, and what becomes of it.

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::Error;
use super::tree::Built;
use crate::backup::{CHECKPOINT_SECONDS, Chunker};
use crate::model::{Snapshot, Summary, Time};
use crate::progress::{Event, Listener};
use crate::repository::Repository;
use crate::repository::store::Store;

/// What pouring needs.
pub struct Pour<'a> {
    pub repository: &'a Repository,
    pub store: &'a Store<'a>,
    pub chunker: Chunker,
    pub listener: &'a dyn Listener,
    pub stop: &'a AtomicBool,
    /// Files and bytes of all snapshots so far, for whoever watches.
    totals: &'a Cell<(u64, u64)>,
    checkpoint: Cell<Instant>,
}

/// What became of a snapshot: its tree, and what is in it.
pub struct Poured {
    pub built: Built,
    /// Counts of what is in the tree.
    pub summary: Summary,
    /// Something of it could not be had.
    pub incomplete: bool,
    /// The time of the snapshot, where it is told more exactly than in the list.
    pub time: Option<Time>,
}

impl Poured {
    /// What is in a snapshot that is there.
    pub fn like(snapshot: &Snapshot) -> Poured {
        let built = Built {
            root: snapshot.root,
            highest: snapshot.sources.clone(),
            directories: snapshot.summary.directories,
        };
        Poured { built, summary: snapshot.summary, incomplete: snapshot.incomplete, time: None }
    }
}

impl<'a> Pour<'a> {
    pub fn new(
        repository: &'a Repository,
        store: &'a Store<'a>,
        listener: &'a dyn Listener,
        stop: &'a AtomicBool,
        totals: &'a Cell<(u64, u64)>,
    ) -> Pour<'a> {
        let chunker = Chunker::new(repository.gear_table(), repository.config.cutter);
        Pour { repository, store, chunker, listener, stop, totals, checkpoint: Cell::new(Instant::now()) }
    }

    /// So much more is to come.
    pub fn announce(&self, files: u64, bytes: u64) {
        let (files_before, bytes_before) = self.totals.get();
        let (files, bytes) = (files_before + files, bytes_before.saturating_add(bytes));
        self.totals.set((files, bytes));
        self.listener.event(Event::Totals { files, bytes });
    }

    pub fn check_stop(&self) -> Result<(), Error> {
        match self.stop.load(Ordering::Relaxed) {
            true => Err(Error::Target(crate::repository::Error::Stopped)),
            false => Ok(()),
        }
    }

    /// Lets what is stored so far be found by the run that goes on when this one is cut off.
    pub fn checkpoint_when_due(&self) -> Result<(), Error> {
        if self.checkpoint.get().elapsed() >= Duration::from_secs_f64(CHECKPOINT_SECONDS) {
            self.store.checkpoint(|| {})?;
            self.checkpoint.set(Instant::now());
        }
        Ok(())
    }
}
