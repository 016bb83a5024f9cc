//! Looking at snapshots in a terminal: their folders, texts, versions, and giving back what is chosen.
//!
//! A pure state (`state`) takes keys and replies and says what it wants done; `draw` shows it; `screen` has the terminal; `work` reads and
//! restores in a thread of its own, so that no key waits for storage.

mod commands;
mod draw;
mod folder;
mod key;
mod list;
mod message;
mod over;
mod pages;
mod part;
mod restoring;
mod screen;
mod snapshot;
mod state;
mod text;
mod work;

use std::io;
use std::sync::atomic::AtomicBool;

use crate::model::clock::Clock;
use crate::repository::Repository;
use crate::repository::snapshots::Named;
use snapshot::SnapshotRow;
use state::State;
use work::Worker;

pub use work::Options;

/// What became of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Things that were damaged, as they were met: once each.
    pub damaged: u64,
    /// Things that a restore did not give back for another reason.
    pub problems: u64,
    /// Ctrl-C or a signal ended it.
    pub is_interrupted: bool,
    /// What became of a restore that was still at work then, in lines.
    pub untold: Vec<String>,
}

/// Shows these snapshots (oldest first) until the person has seen enough; `notice` is told at the beginning. Standard input and output
/// must be a terminal; it is as it was when this returns. Errors: what the terminal says.
pub fn run(
    repository: &Repository,
    all: &[Named],
    options: &Options,
    notice: String,
    clock: &dyn Clock,
    stop: &AtomicBool,
) -> io::Result<Seen> {
    let mut state = State::new(all.iter().map(SnapshotRow::new).collect(), notice);
    let (jobs, waiting) = crossbeam_channel::unbounded();
    let (answers, replies) = crossbeam_channel::unbounded();
    let worker = Worker { repository, all, options, clock };
    let is_interrupted = std::thread::scope(|scope| {
        // Theirs is gone when the screen is: the worker ends.
        let jobs = jobs;
        scope.spawn(move || worker.serve(&waiting, &answers));
        screen::show(&mut state, &jobs, &replies, clock, stop)
    })?;
    let mut untold = Vec::new();
    for (_, reply) in replies.try_iter() {
        if let message::Reply::Restored(outcome) = &reply {
            untold.extend(outcome.lines.iter().filter(|line| !line.is_empty()).cloned());
            state.take(reply);
        }
    }
    let damaged = state.damaged.len() as u64 + state.lost;
    Ok(Seen { damaged, problems: state.problems, is_interrupted, untold })
}

#[cfg(test)]
mod tests;
