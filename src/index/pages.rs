//! Pages of trees that are kept on this machine, since those of a repository far away take their time: a file of its own beside the
//! index, bounded, and as disposable. What was not used for longest goes first.

use std::collections::HashMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};

use super::Error;
use super::open::open_beside;
use super::schema::Layout;
use crate::locks::lock;
use crate::model::{Id, Id16};

/// Page cache, KiB.
const CACHE_KIB: i64 = 2 << 10;
/// Bytes that wait to be written in one transaction.
const WAITING_MOST: usize = 4 << 20;
/// What a row takes besides its bytes.
const ROW_BYTES: u64 = 80;

const LAYOUT: Layout = Layout {
    // `COPP`, in the header of the file.
    application: 0x434f_5050,
    number: 1,
    tables: "
CREATE TABLE meta (key TEXT PRIMARY KEY, value NOT NULL) WITHOUT ROWID;
CREATE TABLE pages (number INTEGER PRIMARY KEY AUTOINCREMENT, id BLOB NOT NULL UNIQUE, plain INTEGER NOT NULL, bytes BLOB NOT NULL);
INSERT INTO meta VALUES ('bytes', 0);
",
};

/// A page as it is kept: its plain length, and its bytes, which the caller may have compressed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    pub plain: usize,
    pub bytes: Vec<u8>,
}

impl Kept {
    fn size(&self) -> u64 {
        self.bytes.len() as u64 + ROW_BYTES
    }
}

/// What waits to be written.
#[derive(Default)]
struct Waiting {
    pages: HashMap<Id, Kept>,
    /// Rows that were used, to be counted as new.
    used: HashMap<Id, i64>,
    bytes: usize,
}

/// The pages of one repository.
pub struct Pages {
    connection: Mutex<Connection>,
    waiting: Mutex<Waiting>,
    most: u64,
    _lock: File,
}

impl Pages {
    /// Where the pages of `repository` lie.
    pub fn path(folder: &Path, repository: &Id16) -> PathBuf {
        folder.join(format!("{repository}.pages.db"))
    }

    /// Opens those of `repository` in `folder`, of which at most so many bytes are kept.
    pub fn open(folder: &Path, repository: &Id16, most: u64) -> Result<Pages, Error> {
        let path = Pages::path(folder, repository);
        let (connection, lock) = open_beside(folder, &path, repository, &LAYOUT, CACHE_KIB)?;
        Ok(Pages { connection: Mutex::new(connection), waiting: Mutex::default(), most, _lock: lock })
    }

    /// A page, when it is kept. Whether it is what its id says is for the caller to check.
    pub fn get(&self, id: &Id) -> Result<Option<Kept>, Error> {
        if let Some(kept) = lock(&self.waiting).pages.get(id) {
            return Ok(Some(kept.clone()));
        }
        let found = {
            let connection = lock(&self.connection);
            let mut query =
                connection.prepare_cached("SELECT number, plain, bytes FROM pages WHERE id = ?1")?;
            let row =
                |row: &rusqlite::Row<'_>| Ok((row.get(0)?, Kept { plain: row.get(1)?, bytes: row.get(2)? }));
            query.query_row([&id.0[..]], row).optional()?
        };
        let Some((number, kept)) = found else { return Ok(None) };
        lock(&self.waiting).used.insert(*id, number);
        Ok(Some(kept))
    }

    /// Keeps a page.
    pub fn put(&self, id: Id, kept: Kept) -> Result<(), Error> {
        if kept.size() > self.most {
            return Ok(());
        }
        {
            let mut waiting = lock(&self.waiting);
            waiting.bytes += kept.bytes.len();
            if let Some(before) = waiting.pages.insert(id, kept) {
                waiting.bytes -= before.bytes.len();
            }
            if waiting.bytes < WAITING_MOST {
                return Ok(());
            }
        }
        self.flush()
    }

    /// Forgets a page that is not what its id says.
    pub fn forget(&self, id: &Id) -> Result<(), Error> {
        lock(&self.waiting).pages.remove(id);
        let connection = lock(&self.connection);
        let size: Option<i64> = connection
            .query_row("DELETE FROM pages WHERE id = ?1 RETURNING length(bytes)", [&id.0[..]], |row| {
                row.get(0)
            })
            .optional()?;
        if let Some(size) = size {
            add_bytes(&connection, -(size + ROW_BYTES as i64))?;
        }
        Ok(())
    }

    /// Writes what waits, and lets go what is too much.
    pub fn flush(&self) -> Result<(), Error> {
        let Waiting { pages, used, .. } = std::mem::take(&mut *lock(&self.waiting));
        if pages.is_empty() && used.is_empty() {
            return Ok(());
        }
        let mut connection = lock(&self.connection);
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        {
            // Rows are numbered in the order of their use. Those among the newer half stay where they are: most reading writes nothing.
            let newest: i64 = number(&transaction, "SELECT coalesce(max(number), 0) FROM pages")?;
            let oldest: i64 = number(&transaction, "SELECT coalesce(min(number), 0) FROM pages")?;
            let mut next = newest;
            let mut touch =
                transaction.prepare_cached("UPDATE OR IGNORE pages SET number = ?2 WHERE id = ?1")?;
            for (id, place) in used {
                if place < oldest + (newest - oldest) / 2 {
                    next += 1;
                    touch.execute(params![&id.0[..], next])?;
                }
            }
            let mut insert = transaction.prepare_cached(
                "INSERT OR IGNORE INTO pages (number, id, plain, bytes) VALUES (?1, ?2, ?3, ?4)",
            )?;
            let mut added = 0;
            for (id, kept) in &pages {
                next += 1;
                if insert.execute(params![next, &id.0[..], kept.plain, &kept.bytes])? > 0 {
                    added += kept.size() as i64;
                }
            }
            add_bytes(&transaction, added)?;
            self.let_go(&transaction)?;
        }
        Ok(transaction.commit()?)
    }

    /// Lets go of the oldest, down to nine tenths, once there is more than may be kept.
    fn let_go(&self, connection: &Connection) -> Result<(), Error> {
        let bytes = number(connection, "SELECT value FROM meta WHERE key = 'bytes'")?;
        if u64::try_from(bytes).unwrap_or(0) <= self.most {
            return Ok(());
        }
        let mut left = bytes - (self.most / 10 * 9) as i64;
        let mut last = None;
        let mut gone = 0;
        {
            let mut query =
                connection.prepare_cached("SELECT number, length(bytes) FROM pages ORDER BY number")?;
            let mut rows = query.query([])?;
            while left > 0
                && let Some(row) = rows.next()?
            {
                let size = row.get::<_, i64>(1)? + ROW_BYTES as i64;
                last = Some(row.get::<_, i64>(0)?);
                left -= size;
                gone += size;
            }
        }
        if let Some(last) = last {
            connection.execute("DELETE FROM pages WHERE number <= ?1", [last])?;
            add_bytes(connection, -gone)?;
        }
        Ok(())
    }

    /// Bytes that are kept.
    pub fn bytes(&self) -> Result<u64, Error> {
        let bytes = number(&lock(&self.connection), "SELECT value FROM meta WHERE key = 'bytes'")?;
        Ok(u64::try_from(bytes).unwrap_or(0))
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        // It is only a help.
        let _ = self.flush();
    }
}

fn number(connection: &Connection, query: &str) -> Result<i64, Error> {
    Ok(connection.query_row(query, [], |row| row.get(0))?)
}

fn add_bytes(connection: &Connection, bytes: i64) -> Result<(), Error> {
    connection.execute("UPDATE meta SET value = max(0, value + ?1) WHERE key = 'bytes'", [bytes])?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const REPOSITORY: Id16 = Id16([7; 16]);

    fn page(number: u8) -> (Id, Kept) {
        (Id([number; 32]), Kept { plain: 3000, bytes: vec![number; 1000] })
    }

    #[test]
    fn pages_come_back_also_from_another_run_and_only_of_that_repository() {
        let folder = tempfile::tempdir().unwrap();
        let (id, kept) = page(1);
        {
            let pages = Pages::open(folder.path(), &REPOSITORY, 1 << 20).unwrap();
            assert_eq!(pages.get(&id).unwrap(), None);
            pages.put(id, kept.clone()).unwrap();
            assert_eq!(pages.get(&id).unwrap(), Some(kept.clone()));
        }
        let pages = Pages::open(folder.path(), &REPOSITORY, 1 << 20).unwrap();
        assert_eq!(pages.get(&id).unwrap(), Some(kept));
        assert_eq!(pages.bytes().unwrap(), 1080);
        pages.forget(&id).unwrap();
        assert_eq!((pages.get(&id).unwrap(), pages.bytes().unwrap()), (None, 0));
        assert_eq!(Pages::open(folder.path(), &Id16([8; 16]), 1 << 20).unwrap().get(&id).unwrap(), None);
    }

    #[test]
    fn what_was_not_used_for_longest_goes_first() {
        let folder = tempfile::tempdir().unwrap();
        let pages = Pages::open(folder.path(), &REPOSITORY, 10 * 1080).unwrap();
        for number in 0..10 {
            let (id, kept) = page(number);
            pages.put(id, kept).unwrap();
            pages.flush().unwrap();
        }
        assert!(pages.get(&page(0).0).unwrap().is_some());
        pages.flush().unwrap();
        let (id, kept) = page(10);
        pages.put(id, kept).unwrap();
        pages.flush().unwrap();
        let left: Vec<u8> =
            (0..=10).filter(|number| pages.get(&page(*number).0).unwrap().is_some()).collect();
        assert_eq!(left, [0, 3, 4, 5, 6, 7, 8, 9, 10]);
        assert_eq!(pages.bytes().unwrap(), 9 * 1080);
    }

    #[test]
    fn what_would_fill_it_all_is_not_kept() {
        let folder = tempfile::tempdir().unwrap();
        let pages = Pages::open(folder.path(), &REPOSITORY, 1000).unwrap();
        let (id, kept) = page(1);
        pages.put(id, kept).unwrap();
        assert_eq!(pages.get(&id).unwrap(), None);
    }
}
