//! Entries by key on disk for as long as one piece of work lasts: for whoever gets them in no order, wants them in order, and may not hold
//! them in memory. A database of its own, in a file that has no name any more.

use std::fs::{OpenOptions, remove_file};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OptionalExtension, params};

use super::Error;
use crate::model::Id16;

/// Page cache, KiB; what is more lies on disk.
const CACHE_KIB: i64 = 16 << 10;
/// Entries that are read at a time.
const PAGE: i64 = 256;

/// Entries in numbered parts, each key once in a part.
pub struct Spool {
    connection: Connection,
}

impl Spool {
    /// An empty one; its file lies in `folder`, without one in the system's folder for temporary files.
    pub fn new(folder: Option<&Path>) -> Result<Spool, Error> {
        let folder = folder.map_or_else(std::env::temp_dir, PathBuf::from);
        let mut random = [0; 16];
        getrandom::fill(&mut random).map_err(|error| Error::Io(error.to_string()))?;
        let path = folder.join(format!("copal-spool-{}", Id16(random)));
        // Made before the database opens it, for nobody but us; and gone as soon as that has it open.
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        let opened = Spool::open(&path);
        let removed = remove_file(&path);
        let spool = opened?;
        removed?;
        Ok(spool)
    }

    fn open(path: &Path) -> Result<Spool, Error> {
        let connection = Connection::open(path)?;
        // Nobody ever opens it again: no journal, nothing synced, one transaction that never ends.
        connection.execute_batch(&format!(
            "PRAGMA page_size = 16384; PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA locking_mode = EXCLUSIVE;
             PRAGMA temp_store = MEMORY; PRAGMA cache_size = -{CACHE_KIB};
             BEGIN IMMEDIATE;
             CREATE TABLE entries (part INTEGER NOT NULL, key BLOB NOT NULL, value BLOB NOT NULL, PRIMARY KEY (part, key)) WITHOUT ROWID;"
        ))?;
        Ok(Spool { connection })
    }

    /// Adds an entry; false, and nothing is changed, when that key is there.
    pub fn add(&self, part: u8, key: &[u8], value: &[u8]) -> Result<bool, Error> {
        let mut statement =
            self.connection.prepare_cached("INSERT OR IGNORE INTO entries VALUES (?, ?, ?)")?;
        Ok(statement.execute(params![part, key, value])? > 0)
    }

    /// Puts an entry, also in the place of one that is there.
    pub fn put(&self, part: u8, key: &[u8], value: &[u8]) -> Result<(), Error> {
        let mut statement =
            self.connection.prepare_cached("INSERT OR REPLACE INTO entries VALUES (?, ?, ?)")?;
        statement.execute(params![part, key, value])?;
        Ok(())
    }

    /// The entry of that key.
    pub fn get(&self, part: u8, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        let mut statement =
            self.connection.prepare_cached("SELECT value FROM entries WHERE part = ? AND key = ?")?;
        Ok(statement.query_row(params![part, key], |row| row.get(0)).optional()?)
    }

    /// Removes an entry.
    pub fn remove(&self, part: u8, key: &[u8]) -> Result<(), Error> {
        let mut statement =
            self.connection.prepare_cached("DELETE FROM entries WHERE part = ? AND key = ?")?;
        statement.execute(params![part, key])?;
        Ok(())
    }

    /// Gives every entry of a part, in the order of the keys' bytes. Entries may be changed meanwhile; later ones are given as they are then.
    pub fn each<E: From<Error>>(
        &self,
        part: u8,
        mut take: impl FnMut(&[u8], &[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut after: Option<Vec<u8>> = None;
        loop {
            let page = self.page(part, after.as_deref())?;
            let Some((last, _)) = page.last() else { return Ok(()) };
            after = Some(last.clone());
            for (key, value) in &page {
                take(key, value)?;
            }
        }
    }

    fn page(&self, part: u8, after: Option<&[u8]>) -> Result<Vec<(Vec<u8>, Vec<u8>)>, Error> {
        // Nothing is smaller than the empty key, which is a key like any other.
        let sql = match after {
            Some(_) => "SELECT key, value FROM entries WHERE part = ?1 AND key > ?2 ORDER BY key LIMIT ?3",
            None => "SELECT key, value FROM entries WHERE part = ?1 AND key >= ?2 ORDER BY key LIMIT ?3",
        };
        let mut statement = self.connection.prepare_cached(sql)?;
        let rows = statement.query_map(params![part, after.unwrap_or_default(), PAGE], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(spool: &Spool, part: u8) -> Vec<Vec<u8>> {
        let mut keys = Vec::new();
        let each: Result<(), Error> = spool.each(part, |key, _| {
            keys.push(key.to_vec());
            Ok(())
        });
        each.unwrap();
        keys
    }

    #[test]
    fn entries_come_in_the_order_of_their_keys_whatever_they_were_added_in() {
        let folder = tempfile::tempdir().unwrap();
        let spool = Spool::new(Some(folder.path())).unwrap();
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "the file still has a name");
        let mut keys: Vec<Vec<u8>> =
            (0..3000u32).map(|number| number.wrapping_mul(0x9e37_79b9).to_le_bytes().to_vec()).collect();
        keys.extend([b"".to_vec(), b"a".to_vec(), b"a\0b".to_vec(), b"a-b".to_vec(), vec![0xff; 100_000]]);
        for key in &keys {
            assert!(spool.add(1, key, key).unwrap());
        }
        spool.add(2, b"other part", b"").unwrap();
        keys.sort();
        assert_eq!(all(&spool, 1), keys);
        assert_eq!(spool.get(1, &keys[3001]).unwrap(), Some(keys[3001].clone()));
        assert!(!spool.add(1, b"a", b"second").unwrap());
        assert_eq!(spool.get(1, b"a").unwrap().unwrap(), b"a");
        spool.put(1, b"a", b"third").unwrap();
        assert_eq!(spool.get(1, b"a").unwrap().unwrap(), b"third");
        spool.remove(1, b"a").unwrap();
        assert_eq!((spool.get(1, b"a").unwrap(), all(&spool, 1).len()), (None, keys.len() - 1));
        assert_eq!(all(&spool, 2), [b"other part".to_vec()]);
    }

    #[test]
    fn what_memory_does_not_hold_lies_in_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let spool = Spool::new(Some(folder.path())).unwrap();
        let value = vec![7; 30_000];
        for number in 0..2000u32 {
            spool.add(0, &number.to_be_bytes(), &value).unwrap();
        }
        assert_eq!(all(&spool, 0).len(), 2000);
        assert_eq!(spool.get(0, &1000u32.to_be_bytes()).unwrap().unwrap(), value);
    }
}
