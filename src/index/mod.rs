//! The local index: which chunks and packs the repository has, what the last scan saw, and small facts.
//!
//! A disposable cache, one SQLite file per repository: nothing in it is needed to restore, and deleting it costs a
//! synchronisation. This is the only room with SQL. What the caller must know:
//!
//! - `lookup` and `contains` answer only for what may be relied on: packs that a known index object lists, and packs that
//!   this very process wrote; never hidden ones (marked, removed, damaged). `lookup_for_reading` answers with all.
//! - Packs written in a run wait in memory (bounded by `PENDING_MAX`), visible at once; `flush` writes them.
//! - `Gather` and `each_used` answer a pruner: where every used chunk lies, listed or not, hidden or not; in bounded memory.
//! - `Error::Damaged` at any call: drop the index, `Index::put_aside`, open again, synchronise.
//! - Several processes may share the file. A write that meets another's answers `Error::Busy`; nothing is lost by going on.

pub mod catalogue;
mod chunks;
mod directories;
mod error;
mod facts;
mod hidden;
mod load;
mod open;
mod packs;
pub mod pages;
mod peek;
mod pending;
mod reading;
mod records;
mod references;
mod runs;
mod schema;
mod spool;
mod sum;
#[cfg(test)]
mod tests;
mod usage;
mod verify;

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, AtomicUsize};
use std::sync::{Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::locks::lock;
use rusqlite::{Connection, Transaction, TransactionBehavior};

pub use directories::{DirectoryRow, FinishedFile};
pub use error::Error;
pub use load::{Intake, SYNC_CHUNKS};
pub use open::Opened;
pub use peek::Peeked;
pub use pending::PENDING_MAX;
pub use records::{BlockInfo, BlockRecord, Location, PackInfo, PackRecord};
pub use references::References;
pub use spool::Spool;
pub use usage::{Gather, Place, Used, UsedChunk};
pub use verify::Sums;

/// The index of one repository. All calls take `&self` and may come from many threads.
pub struct Index {
    /// The only connection that writes (and, for a database in memory, the only one).
    writer: Mutex<Connection>,
    /// Connections that read; empty for a database in memory.
    readers: Vec<Mutex<reading::Reader>>,
    /// Changes that this process made.
    changes: AtomicU64,
    /// Where the next reader begins to look for a free connection.
    turn: AtomicUsize,
    pending: RwLock<pending::Pending>,
    hidden: RwLock<hidden::Hidden>,
    /// Facts of packs lately asked for.
    packs: RwLock<chunks::PackCache>,
    /// Rows of packs that this process wrote and that no index object lists yet.
    own: RwLock<HashSet<u64>>,
    /// What keeps the file ours; dropped after the connections.
    _place: open::Place,
}

/// Locks for reading, as `lock`.
fn read<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

/// Locks for writing, as `lock`.
fn write<T>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}

impl Index {
    /// An index of connections that are set up.
    fn assemble(set: open::OpenSet, place: open::Place) -> Index {
        Index {
            writer: Mutex::new(set.writer),
            readers: set.readers.into_iter().map(|reader| Mutex::new(reading::Reader::new(reader))).collect(),
            changes: AtomicU64::new(0),
            turn: AtomicUsize::new(0),
            pending: RwLock::default(),
            hidden: RwLock::new(set.hidden),
            packs: RwLock::default(),
            own: RwLock::default(),
            _place: place,
        }
    }

    /// Runs `change` in one transaction.
    fn change<T>(&self, change: impl FnOnce(&Transaction<'_>) -> Result<T, Error>) -> Result<T, Error> {
        self.change_on(&mut lock(&self.writer), change)
    }

    /// Runs `change` in one transaction of the connection that writes; an error undoes it.
    fn change_on<T>(
        &self,
        writer: &mut Connection,
        change: impl FnOnce(&Transaction<'_>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let transaction = writer.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let result = change(&transaction)?;
        let committed = transaction.commit();
        self.changed();
        committed?;
        Ok(result)
    }

    /// Bytes of the database, without its log.
    pub fn database_bytes(&self) -> Result<u64, Error> {
        let reader = self.reader();
        let number = |name: &str| reader.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
        Ok(number("page_count")? as u64 * number("page_size")? as u64)
    }
}

impl Drop for Index {
    /// Writes what is pending, if it can be: a failure costs a synchronisation, nothing else.
    fn drop(&mut self) {
        let _ = self.flush();
    }
}
