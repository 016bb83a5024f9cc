//! What is asked of a backup, and what comes of it.

use std::collections::HashSet;
use std::time::Duration;

use super::RACY_SECONDS;
use super::StandIn;
use super::commands::CommandSource;
use super::exclude::Excludes;
use super::touched::Touched;
use crate::compress::Level;
use crate::model::{Id, Snapshot, Time};
use crate::repository::snapshots::Named;
use crate::repository::store;

/// Seconds between two points that a crash can not take back.
pub const CHECKPOINT_SECONDS: f64 = 60.0;

/// What to back up, and how.
pub struct Options {
    /// Absolute paths without `..`.
    pub sources: Vec<Vec<u8>>,
    /// Commands whose output is saved too.
    pub commands: Vec<CommandSource>,
    /// How long each of them may take.
    pub command_time_limit: Option<Duration>,
    pub host: Vec<u8>,
    pub user: Vec<u8>,
    pub tags: Vec<String>,
    /// The snapshot's time, when it is given by hand.
    pub time: Option<Time>,
    /// Seconds east of UTC, and the zone's name.
    pub utc_offset: i64,
    pub zone: String,
    /// A snapshot to compare with, when it is named by hand.
    pub parent: Option<Id>,
    /// Read everything, whatever is known.
    pub force: bool,
    pub dry_run: bool,
    /// Store no snapshot when nothing differs from the parent.
    pub skip_if_unchanged: bool,
    pub level: Level,
    /// Threads that walk and read; fewer when `memory` does not suffice for so many.
    pub workers: usize,
    /// Threads that put packs.
    pub uploaders: usize,
    /// Bytes that the run may take, about.
    pub memory: u64,
    pub excludes: Excludes,
    pub one_file_system: bool,
    /// Folders that are read somewhere else.
    pub stand_ins: Vec<StandIn>,
    pub racy_seconds: i64,
    /// Seconds between two points that a crash can not take back.
    pub checkpoint_seconds: f64,
    /// Device and inode of copal's own files and folders: never part of a backup.
    pub own: HashSet<(u64, u64)>,
    /// Tell the listener of each entry.
    pub tell_files: bool,
    /// What was asked for, as the snapshot keeps it.
    pub described: Vec<String>,
    /// Where something may have happened since the last backup of these sources; none when that is not known. What is in none of these
    /// folders is taken over unseen when the last backup left its rows here. Whoever gives this has to add `Outcome::again` of that backup.
    pub touched: Option<Touched>,
}

impl Default for Options {
    /// Of nothing, by nobody: everything as it is when nothing is said.
    fn default() -> Options {
        Options {
            sources: Vec::new(),
            commands: Vec::new(),
            command_time_limit: None,
            host: Vec::new(),
            user: Vec::new(),
            tags: Vec::new(),
            time: None,
            utc_offset: 0,
            zone: String::new(),
            parent: None,
            force: false,
            dry_run: false,
            skip_if_unchanged: false,
            level: Level::AUTO,
            workers: std::thread::available_parallelism().map_or(2, usize::from),
            uploaders: store::UPLOADERS,
            memory: store::MEMORY,
            excludes: Excludes::default(),
            one_file_system: false,
            stand_ins: Vec::new(),
            racy_seconds: RACY_SECONDS,
            checkpoint_seconds: CHECKPOINT_SECONDS,
            own: HashSet::new(),
            tell_files: false,
            described: Vec::new(),
            touched: None,
        }
    }
}

impl Options {
    /// The paths of everything that is saved: those given, and those of commands. Sorted.
    pub fn all_sources(&self) -> Vec<Vec<u8>> {
        let mut all = self.sources.clone();
        all.extend(self.commands.iter().map(CommandSource::path));
        all.sort();
        all
    }
}

/// What came of a backup.
pub struct Outcome {
    /// The snapshot's name; none after a dry run, or when nothing had changed and that was asked for.
    pub name: Option<Id>,
    pub snapshot: Snapshot,
    /// The parent it was compared with.
    pub parent: Option<Named>,
    /// It was seen what each folder held in that; else all files count as new.
    pub was_compared: bool,
    /// Entries of which an attribute or the inode flags could not be read.
    pub metadata_unread: u64,
    /// Files whose contents are new and look encrypted (docs/decisions/0008-guards.md).
    pub files_incompressible: u64,
    /// Chunks, and their plain bytes, that damage had hit and that were stored again.
    pub healed: (u64, u64),
    /// What the next backup has to look at whatever happens, when this one had hints: what was too fresh, could not be read, or may change
    /// through other names.
    pub again: Touched,
    /// Folders that were taken over unseen with all that is below.
    pub left: u64,
}

impl Outcome {
    /// Files of the snapshot before that are there no more, when it was one of the same sources; so many at least, when it was not compared.
    pub fn files_removed(&self) -> u64 {
        let summary = &self.snapshot.summary;
        let seen = summary.files_changed + summary.files_unmodified + summary.unreadable;
        match &self.parent {
            // Of what came from elsewhere nothing was known before: all of it counts as new.
            Some(parent)
                if parent.snapshot.copied_from.is_some() || !parent.snapshot.imported_from.is_empty() =>
            {
                0
            }
            Some(parent) if parent.snapshot.sources == self.snapshot.sources => {
                // Those that count as new may be the same ones.
                let new = if self.was_compared { 0 } else { summary.files_new };
                parent.snapshot.summary.files.saturating_sub(seen + new)
            }
            _ => 0,
        }
    }
}
