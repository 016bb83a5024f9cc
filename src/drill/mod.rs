//! Drills: files chosen at random are restored into a scratch folder, the way a person would get them, and compared with what was
//! stored; and with the source, where nobody claims to have changed it since.

mod compare;
mod one;
mod sample;
mod scratch;

use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

use crate::backup::RACY_SECONDS;
use crate::model::clock::Clock;
use crate::model::{Id, Time};
use crate::progress::{Event, Listener};
use crate::repository::session::reading;
use crate::repository::snapshots::{Named, Snapshots};
use crate::repository::{Error as RepositoryError, Repository, store};
use crate::terminal::size::show_size;
use scratch::Scratch;

/// Mismatches that are kept by name; the rest is counted.
const NAMED: usize = 1000;
/// Bytes that must be free beside the largest file: its folder, and room for others on that disk.
const SPARE: u64 = 16 << 20;

/// How to drill.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where a fresh folder is made, and removed in the end.
    pub scratch: PathBuf,
    /// Files of each snapshot, at most, and their bytes together.
    pub files: usize,
    pub bytes: u64,
    /// Decides which files are chosen.
    pub seed: u64,
    /// This machine: only its snapshots are compared with sources.
    pub host: Vec<u8>,
    /// Bytes that restoring may take, about.
    pub memory: u64,
    /// Seconds before a snapshot within which a change of a source says nothing.
    pub racy_seconds: i64,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            scratch: std::env::temp_dir(),
            files: 50,
            bytes: 1 << 30,
            seed: 0,
            host: Vec::new(),
            memory: store::MEMORY,
            racy_seconds: RACY_SECONDS,
        }
    }
}

/// Which side is not as it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Side {
    /// What came out of the repository is not what was stored.
    Stored,
    /// The source differs from what was stored, and claims not to have changed since.
    Source,
    /// It could not be restored into the scratch folder, which says nothing of the repository.
    Untested,
}

/// A file, or a folder, with which something is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mismatch {
    pub snapshot: Id,
    pub path: Vec<u8>,
    pub side: Side,
    pub what: String,
}

/// What was done with one snapshot. Bytes are exact.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sample {
    pub snapshot: Id,
    pub time: Time,
    /// Files that it holds, as far as could be seen.
    pub files_seen: u64,
    /// Those of them larger than all that may be restored.
    pub too_large: u64,
    /// Files that were restored, and their bytes.
    pub files: u64,
    pub bytes: u64,
    /// Files that were compared with the source, unchanged since as they claim.
    pub compared: u64,
    /// Files whose owner, mode or attributes the scratch folder or this user could not take.
    pub without_metadata: u64,
    /// Files of which an earlier repair marked a part as lost.
    pub marked: u64,
}

/// What a drill found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outcome {
    pub seed: u64,
    pub samples: Vec<Sample>,
    /// The first ones, by name.
    pub mismatches: Vec<Mismatch>,
    /// How many there are of each side.
    pub stored: u64,
    pub source: u64,
    pub untested: u64,
    pub seconds: f64,
}

impl Outcome {
    pub fn files(&self) -> u64 {
        self.samples.iter().map(|sample| sample.files).sum()
    }

    pub fn bytes(&self) -> u64 {
        self.samples.iter().map(|sample| sample.bytes).sum()
    }

    pub fn compared(&self) -> u64 {
        self.samples.iter().map(|sample| sample.compared).sum()
    }

    fn add(&mut self, mismatch: Mismatch) {
        match mismatch.side {
            Side::Stored => self.stored += 1,
            Side::Source => self.source += 1,
            Side::Untested => self.untested += 1,
        }
        if self.mismatches.len() < NAMED {
            self.mismatches.push(mismatch);
        }
    }
}

/// Why a drill ended early.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Repository(#[from] RepositoryError),
    /// Nothing was restored.
    #[error("{} are free at {path}, and {} are needed", show_size(*free), show_size(*needed))]
    NoRoom { path: String, free: u64, needed: u64 },
    #[error("{path}: {what}")]
    Scratch { path: String, what: String },
}

/// A snapshot of the same host that is not the newest, by the seed; none when there is no other.
pub fn old_one<'a>(all: &'a Snapshots, newest: &Named, seed: u64) -> Option<&'a Named> {
    let others = || {
        let confirmed = all.confirmed.iter();
        confirmed.filter(|named| named.name != newest.name && named.snapshot.host == newest.snapshot.host)
    };
    let count = others().count() as u64;
    let place = (count > 0).then(|| sample::number(seed, b"old snapshot") % count)?;
    others().nth(place as usize)
}

/// Drills. What is wrong with single files is in the outcome, and no error; the scratch folder is removed in any case.
pub fn drill(
    repository: &Repository,
    snapshots: &[Named],
    options: &Options,
    clock: &dyn Clock,
    listener: &dyn Listener,
    stop: &AtomicBool,
) -> Result<Outcome, Error> {
    // Nothing of them goes meanwhile.
    reading(repository, clock, &options.host, || {
        Ok(drill_snapshots(repository, snapshots, options, clock, listener, stop))
    })?
}

fn drill_snapshots(
    repository: &Repository,
    snapshots: &[Named],
    options: &Options,
    clock: &dyn Clock,
    listener: &dyn Listener,
    stop: &AtomicBool,
) -> Result<Outcome, Error> {
    let began = clock.now();
    listener.event(Event::Started);
    let scratch = Scratch::make(&options.scratch)?;
    let mut outcome = Outcome { seed: options.seed, ..Outcome::default() };
    let mut chosen = Vec::new();
    for named in snapshots {
        let mut damaged = |path: &[u8], what: String, side: Side| {
            outcome.add(Mismatch { snapshot: named.name, path: path.to_vec(), side, what });
        };
        chosen.push(sample::take(repository, named.snapshot.root, options, &mut damaged, stop)?);
    }
    let picks = || chosen.iter().flat_map(|sample| &sample.picks);
    let (files, bytes) = (picks().count() as u64, picks().map(|pick| pick.size).sum());
    listener.event(Event::Totals { files, bytes });
    let needed = picks().map(|pick| pick.size).max().unwrap_or(0) + SPARE;
    let free = scratch.free();
    if free.is_some_and(|free| free < needed) {
        let path = options.scratch.display().to_string();
        return Err(Error::NoRoom { path, free: free.unwrap_or(0), needed });
    }
    for (named, taken) in snapshots.iter().zip(&chosen) {
        let mut sample = Sample {
            snapshot: named.name,
            time: named.snapshot.time,
            files_seen: taken.seen,
            too_large: taken.too_large,
            ..Sample::default()
        };
        let work = one::Work { repository, named, options, scratch: &scratch, listener, stop };
        for pick in &taken.picks {
            let found = work.file(pick, &mut sample)?;
            for (side, what) in found {
                outcome.add(Mismatch { snapshot: named.name, path: pick.path.clone(), side, what });
            }
        }
        outcome.samples.push(sample);
    }
    outcome.seconds = clock.now().seconds_since(began).max(0.0);
    listener.event(Event::Finished);
    Ok(outcome)
}
