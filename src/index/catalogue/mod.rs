//! The catalogue: one row for each change of a path, over all snapshots, in a file of its own beside the index. As disposable as that:
//! nothing in it is needed to restore.
//!
//! Snapshots of one host and the same sources follow each other in a *lane*, numbered from 0, in the order of their times. A row says what
//! a path was from one number to another; the last one of what is still there is open. So a snapshot costs what changed in it. Snapshots
//! that come out of order get a lane of their own; whoever asks puts lanes together by the times of their snapshots.
//!
//! Paths are numbered, each under its parent; pages of names say which number is which, and are what is searched.

mod names;
mod open;
mod rows;
mod write;

use std::fs::File;
use std::sync::Mutex;

use rusqlite::Connection;

use super::Error;
use crate::locks::lock;
use crate::model::{Id, NodeType, Time};

pub use names::Names;
pub use write::Writing;

/// Number of a path; `ROOT` is the folder above all.
pub type PathNumber = u32;
/// The folder above all, which has no name.
pub const ROOT: PathNumber = 0;
/// Bytes that the catalogue may fill on disk; what is oldest goes first.
pub const BYTES_MAX: u64 = 1 << 30;

/// Stands in a row for a last snapshot that is yet to come.
const OPEN: i64 = i64::MAX;

/// The catalogue of one repository.
pub struct Catalogue {
    connection: Mutex<Connection>,
    /// The lock file, locked shared; none in memory.
    _lock: Option<File>,
}

/// Snapshots of one host and the same sources that follow each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lane {
    pub number: i64,
    /// Number and time of its last snapshot, when it has one.
    pub last: Option<(i64, Time)>,
}

/// A snapshot that the catalogue knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known {
    pub lane: i64,
    /// Its place in the lane.
    pub number: i64,
    pub state: Coverage,
}

/// What rows say of a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coverage {
    Whole = 0,
    /// Some of its folders could not be read.
    Partial = 1,
    /// Its rows were given up to keep the catalogue small.
    GivenUp = 2,
}

/// What an entry is, as far as the catalogue tells versions apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    pub kind: NodeType,
    /// Bytes, of a file.
    pub size: u64,
    pub mtime: Time,
    /// The beginning of a hash of the contents: a file's list, a symlink's target, a device's numbers. Equal means the same.
    pub content: i64,
    /// The beginning of a hash of all that is stored of it. Equal means that nothing changed.
    pub node: i64,
}

/// What a path was in some snapshots of a lane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    pub lane: i64,
    pub first: i64,
    /// `i64::MAX` when it is still there.
    pub last: i64,
    pub facts: Facts,
    /// The path from which it was moved.
    pub origin: Option<PathNumber>,
}

/// An entry of a folder that is still there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Child {
    pub name: Vec<u8>,
    pub path: PathNumber,
    pub kind: NodeType,
    pub size: u64,
    pub content: i64,
    pub node: i64,
}

impl Catalogue {
    /// Runs `change` in one transaction; an error undoes it. `Error::Busy` while another process adds to the catalogue.
    pub fn change<T, E: From<Error>>(
        &self,
        change: impl FnOnce(&mut Writing<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        let mut connection = lock(&self.connection);
        let mut writing = Writing::begin(&mut connection)?;
        let result = change(&mut writing)?;
        writing.commit()?;
        Ok(result)
    }

    /// Every snapshot that is known.
    pub fn known(&self) -> Result<Vec<(Id, Known)>, Error> {
        let connection = lock(&self.connection);
        let mut query = connection.prepare_cached("SELECT name, lane, number, state FROM snapshots")?;
        let rows = query.query_map([], |row| {
            let state = match row.get(3)? {
                0 => Coverage::Whole,
                1 => Coverage::Partial,
                _ => Coverage::GivenUp,
            };
            Ok((Id(row.get(0)?), Known { lane: row.get(1)?, number: row.get(2)?, state }))
        })?;
        rows.map(|row| Ok(row?)).collect()
    }

    /// Folders that could not be read, each with the lane and the number of its snapshot; in the order of these.
    pub fn unread(&self) -> Result<Vec<(i64, i64, Id)>, Error> {
        let connection = lock(&self.connection);
        let mut query =
            connection.prepare_cached("SELECT lane, number, tree FROM unread ORDER BY lane, number")?;
        let rows = query.query_map([], |row| Ok((row.get(0)?, row.get(1)?, Id(row.get(2)?))))?;
        rows.map(|row| Ok(row?)).collect()
    }

    /// Whether it knows a snapshot.
    pub fn has(&self, name: &Id) -> Result<bool, Error> {
        let connection = lock(&self.connection);
        Ok(connection.prepare_cached("SELECT 1 FROM snapshots WHERE name = ?1")?.exists([&name.0[..]])?)
    }

    /// Bytes of the file that are in use.
    pub fn bytes(&self) -> Result<u64, Error> {
        bytes(&lock(&self.connection))
    }
}

fn bytes(connection: &Connection) -> Result<u64, Error> {
    let number = |name: &str| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let used = number("page_count")? - number("freelist_count")?;
    Ok(used.max(0) as u64 * number("page_size")? as u64)
}

fn kind_of(number: i64) -> Result<NodeType, Error> {
    NodeType::from_number(number as u64).ok_or_else(|| Error::Damaged(format!("type of an entry {number}")))
}
