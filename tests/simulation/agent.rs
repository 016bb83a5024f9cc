//! How a run is to go, and what the scheduler knows of each actor.

use std::fs;
use std::path::PathBuf;

use crossbeam_channel::{Receiver, Sender, bounded};

use super::random::Random;

pub const SECOND: i64 = 1_000_000_000;
pub const HOUR: i64 = 3600 * SECOND;

/// How one run is to go.
#[derive(Clone, Debug, Default)]
pub struct Config {
    pub lag: i64,
    /// In so many of 100 cases the one goes on that went before.
    pub sticky: u64,
    /// A round in so many crashes, and as many stumble over one operation.
    pub crash: u64,
    /// A step in so many finds its machine asleep for hours or days.
    pub sleep: u64,
    /// By how much the storage's clock is wrong.
    pub skew: i64,
    /// Thousandths of recovery data that new packs get.
    pub parity: u16,
    /// Actors that take the first steps; after that the lowest goes first. Time hardly passes.
    pub script: Option<Vec<usize>>,
    /// At the end only what was saved is looked at.
    pub brief: bool,
    /// Steps before which everything saved must be whole.
    pub checks: Vec<u64>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Lane {
    /// Not there, or at its end.
    #[default]
    Away,
    Running,
    /// Waits for its turn.
    Waiting,
    Granted,
    /// The keeper of a session that waits until it is time.
    Idle,
}

/// A failure to come.
#[derive(Clone, Copy, Debug)]
pub struct Fault {
    /// At which of the actor's steps.
    pub at: u64,
    pub after: bool,
    /// Every operation after it fails too.
    pub crash: bool,
}

pub struct Agent {
    /// Where its cache lies, in `cache`; as a crash left it, in `killed`.
    pub folder: PathBuf,
    /// What the actor does, and the keeper of its session's lease.
    pub lanes: [Lane; 2],
    pub asleep: i64,
    pub steps: u64,
    pub fault: Option<Fault>,
    pub crashed: bool,
    pub faulted: bool,
    pub ticked: i64,
    pub tick: Sender<()>,
    pub ticks: Receiver<()>,
}

impl Agent {
    /// One whose thread is about to begin.
    pub fn new(folder: PathBuf) -> Agent {
        let (tick, ticks) = bounded(1);
        Agent {
            folder,
            lanes: [Lane::Running, Lane::Away],
            asleep: 0,
            steps: 0,
            fault: None,
            crashed: false,
            faulted: false,
            ticked: 0,
            tick,
            ticks,
        }
    }

    /// Keeps the cache as it is at this moment: what the ending run does to it did not happen.
    pub fn kill(&self) {
        let (cache, killed) = (self.folder.join("cache"), self.folder.join("killed"));
        if let (true, Ok(entries)) = (!killed.exists(), fs::read_dir(cache)) {
            fs::create_dir(&killed).unwrap();
            for path in entries.map(|entry| entry.unwrap().path()) {
                // A log in shared memory ends with the processes that share it.
                if path.extension().is_some_and(|extension| extension != "sqlite-shm") {
                    fs::copy(&path, killed.join(path.file_name().unwrap())).unwrap();
                }
            }
        }
    }
}

/// The time between two steps: mostly very short.
pub fn passing(random: &mut Random) -> i64 {
    1 + match random.below(1000) {
        0..=699 => random.range(0, SECOND / 2),
        700..=949 => random.range(0, 20 * SECOND),
        950..=993 => random.range(0, 600 * SECOND),
        994..=998 => random.range(0, 8 * HOUR),
        _ => random.range(0, 80 * HOUR),
    }
}
