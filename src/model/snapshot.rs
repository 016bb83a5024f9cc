//! A snapshot: what a tree of sources was at one time, and who saw it.

use super::{Id, Id16, Segment, Time};

/// Counts of one backup, as the snapshot keeps them. Bytes are exact.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    pub files: u64,
    pub directories: u64,
    pub others: u64,
    /// Bytes of all files, holes included.
    pub bytes: u64,
    pub files_new: u64,
    pub files_changed: u64,
    pub files_unmodified: u64,
    /// Plain bytes of chunks that were not in the repository.
    pub bytes_new: u64,
    /// Bytes of packs written for them.
    pub bytes_stored: u64,
    pub end: Time,
    pub unreadable: u64,
    pub changed_while_read: u64,
}

/// One snapshot. Fields as in docs/format.md, section 8.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// Who made it, as its header says: the number of a writer, or 0 for a full key. Not written.
    pub writer: u32,
    pub time: Time,
    /// Seconds east of UTC where the snapshot was made.
    pub utc_offset: i64,
    pub zone: String,
    pub root: Id,
    pub host: Vec<u8>,
    pub user: Vec<u8>,
    /// Absolute paths, sorted.
    pub sources: Vec<Vec<u8>>,
    pub tags: Vec<String>,
    pub program: String,
    pub description: String,
    pub client: Id16,
    pub sequence: u64,
    pub previous: Option<Id>,
    pub parent: Option<Id>,
    pub summary: Summary,
    /// Something in it is unreadable.
    pub incomplete: bool,
    /// Its time was given by hand.
    pub time_given: bool,
    pub options: Vec<String>,
    pub session: Id16,
    pub state: Vec<Segment>,
    pub options_digest: Vec<u8>,
    pub removals_seen: Vec<Id>,
    /// The snapshot in whose place a repair wrote this one, with what was lost marked as lost.
    pub stands_for: Option<Id>,
    /// The repository and the snapshot in it of which this one is a copy.
    pub copied_from: Option<(Id16, Id)>,
    /// The snapshot of another program that this one was made of: `PROGRAM:REPOSITORY:SNAPSHOT`; empty when there is none.
    pub imported_from: String,
    /// Of a copy: the number of the write-only client that made the original, in its repository; else 0.
    pub added_by: u32,
}

impl Snapshot {
    /// The number of the write-only client that says what is in it, itself or as a copy of what it made; 0 of full keys.
    pub fn teller(&self) -> u32 {
        if self.writer == 0 { self.added_by } else { self.writer }
    }
}
