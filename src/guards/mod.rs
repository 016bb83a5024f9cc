//! Guards of regular backups: what looks wrong before one begins, and in what it found. Pure, over plain data: `gather` asks the system,
//! whoever runs the backup keeps the history, and refuses, protects older snapshots and tells by what is said here.

pub mod after;
pub mod before;
pub mod gather;
pub mod protect;

use serde::{Deserialize, Serialize};

use crate::model::Snapshot;

pub use after::judge;
pub use before::{Found, Past, Place, Seen, before};
pub use protect::{Shield, protect_before};

/// Something that looks wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Alarm {
    /// Which kind, for programs and to be accepted by; never changes.
    pub code: &'static str,
    /// What is wrong, in one line.
    pub what: String,
    /// What to do, in one line.
    pub next: String,
}

pub const SOURCE_EMPTY: &str = "source-empty";
pub const SOURCE_MISSING: &str = "source-missing";
pub const SOURCE_NOT_MOUNTED: &str = "source-not-mounted";
pub const CLOCK: &str = "clock";
pub const LOW_SPACE: &str = "low-space";
pub const MASS_CHANGE: &str = "mass-change";
pub const MASS_REMOVAL: &str = "mass-removal";
pub const MASS_INCOMPRESSIBLE: &str = "mass-incompressible";

/// All codes: those of `before`, then those of `judge`.
pub const CODES: [&str; 8] = [
    SOURCE_EMPTY,
    SOURCE_MISSING,
    SOURCE_NOT_MOUNTED,
    CLOCK,
    LOW_SPACE,
    MASS_CHANGE,
    MASS_REMOVAL,
    MASS_INCOMPRESSIBLE,
];

/// What counts as too much or too little.
#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    /// So many changed or newly incompressible files are let pass whatever is usual.
    pub files: u64,
    /// So many times the median of the last runs is let pass.
    pub times: u64,
    /// Runs that the median is taken of, at most, and how many it takes to say what is usual.
    pub runs: usize,
    pub runs_least: usize,
    /// Where most of all files look encrypted, so few are an alarm.
    pub files_least: u64,
    /// Entries that must be gone before it counts that less than half are left.
    pub removed_least: u64,
    /// Free bytes that the target must have; of a small disk that share of it, when that is less.
    pub free: u64,
    pub free_share: f64,
    /// Seconds that the clock may stand before the newest snapshot.
    pub clock_seconds: i64,
    /// The command that accepts an alarm, to which its code is added: `copal run home --accept`.
    pub accept: String,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            files: 1000,
            times: 5,
            runs: 30,
            runs_least: 3,
            files_least: 100,
            removed_least: 10,
            free: 1 << 30,
            free_share: 0.02,
            clock_seconds: 300,
            accept: "copal run --accept".to_owned(),
        }
    }
}

impl Limits {
    fn alarm(&self, code: &'static str, what: String, next: &str, meant: &str) -> Alarm {
        Alarm { code, what, next: format!("{next} {meant}: {} {code}", self.accept) }
    }
}

/// The numbers of one run, as its history keeps them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Numbers {
    /// When it began, seconds since 1970.
    pub time: i64,
    pub files: u64,
    pub directories: u64,
    pub files_new: u64,
    pub files_changed: u64,
    pub files_removed: u64,
    /// With new contents that look encrypted.
    pub files_incompressible: u64,
    pub bytes: u64,
    /// Plain bytes that the repository did not have.
    pub bytes_new: u64,
    /// Bytes that they took there.
    pub bytes_stored: u64,
}

impl Numbers {
    /// Of a backup: its snapshot, and what `backup::Outcome` says beside that.
    pub fn of(snapshot: &Snapshot, files_removed: u64, files_incompressible: u64) -> Numbers {
        let summary = &snapshot.summary;
        Numbers {
            time: snapshot.time.seconds,
            files: summary.files,
            directories: summary.directories,
            files_new: summary.files_new,
            files_changed: summary.files_changed,
            files_removed,
            files_incompressible,
            bytes: summary.bytes,
            bytes_new: summary.bytes_new,
            bytes_stored: summary.bytes_stored,
        }
    }

    /// Files and folders.
    fn entries(&self) -> u64 {
        self.files.saturating_add(self.directories)
    }

    /// Files that changed, or are there under another name than before.
    fn churn(&self) -> u64 {
        self.files_changed.saturating_add(self.files_new.min(self.files_removed))
    }

    /// It read most of what there is, so it says nothing of what a usual run stores.
    fn is_first(&self) -> bool {
        self.files_new.saturating_add(self.files_changed) > self.files / 2
    }
}
