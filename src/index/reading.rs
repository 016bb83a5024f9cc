//! Connections that read. Each keeps its read transaction from one call to the next: to begin one costs more calls to the system than a
//! look-up does. It ends when this process has changed something, and after a while in any case, so that what other processes wrote is
//! seen and their log can be cut back.

use std::ops::Deref;
use std::sync::MutexGuard;
use std::sync::atomic::Ordering;

use rusqlite::Connection;

use super::{Index, lock};

/// Calls that one read transaction serves at most.
const USES: u32 = 4096;

/// A connection that reads, and its transaction.
pub(super) struct Reader {
    connection: Connection,
    /// The count of this process's changes when the transaction began.
    changes: u64,
    uses: u32,
}

impl Reader {
    pub(super) fn new(connection: Connection) -> Reader {
        Reader { connection, changes: 0, uses: 0 }
    }

    /// Ends the transaction; the next call begins a new one.
    pub(super) fn end(&mut self) {
        if !self.connection.is_autocommit() {
            // A transaction that only read has nothing to lose.
            let _ = self.connection.execute_batch("ROLLBACK");
        }
    }

    /// Sees to it that what is read is no older than `changes`. Where a transaction can not begin, each statement is one of its own.
    fn refresh(&mut self, changes: u64) {
        if self.changes != changes || self.uses >= USES {
            self.end();
        }
        if self.connection.is_autocommit() {
            self.changes = changes;
            self.uses = 0;
            let _ = self.connection.execute_batch("BEGIN");
        }
        self.uses += 1;
    }
}

/// A connection lent for reading.
pub(super) enum Lent<'i> {
    Reader(MutexGuard<'i, Reader>),
    /// The only connection of a database in memory.
    Writer(MutexGuard<'i, Connection>),
}

impl Deref for Lent<'_> {
    type Target = Connection;
    fn deref(&self) -> &Connection {
        match self {
            Lent::Reader(reader) => &reader.connection,
            Lent::Writer(writer) => writer,
        }
    }
}

impl Index {
    /// A connection for reading: a free one when there is one. Not to be held while a caller's closure runs.
    pub(super) fn reader(&self) -> Lent<'_> {
        let count = self.readers.len();
        if count == 0 {
            return Lent::Writer(lock(&self.writer));
        }
        let first = self.turn.fetch_add(1, Ordering::Relaxed);
        let free = (0..count).find_map(|step| self.readers[first.wrapping_add(step) % count].try_lock().ok());
        Lent::Reader(self.refreshed(free.unwrap_or_else(|| lock(&self.readers[first % count]))))
    }

    /// The same connection at each call, so that only what was changed meanwhile looks different the next time.
    pub(super) fn steady_reader(&self) -> Lent<'_> {
        match self.readers.first() {
            Some(reader) => Lent::Reader(self.refreshed(lock(reader))),
            None => Lent::Writer(lock(&self.writer)),
        }
    }

    fn refreshed<'i>(&self, mut reader: MutexGuard<'i, Reader>) -> MutexGuard<'i, Reader> {
        reader.refresh(self.changes.load(Ordering::SeqCst));
        reader
    }

    /// Says that this process changed something: whoever reads from now on sees it.
    pub(super) fn changed(&self) {
        self.changes.fetch_add(1, Ordering::SeqCst);
        for reader in &self.readers {
            // One in use sees to it himself the next time.
            if let Ok(mut reader) = reader.try_lock() {
                reader.end();
            }
        }
    }
}
