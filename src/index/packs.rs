//! Packs come and go: from index objects, from this run; dropped with the index objects that listed them.
//!
//! A dropped pack's chunk rows stay behind as orphans (they answer nothing, since a pack's row number is never used twice), are
//! overwritten when their key comes again, and are swept when there are many: finding them otherwise costs a scan of the table.

use std::collections::HashSet;
use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, Transaction};

use super::load::Intake;
use super::records::{PackInfo, PackRecord};
use super::{Error, Index, chunks, read, write};
use crate::model::Id;

/// Orphans below which the chunk table is never swept.
const SWEEP_MIN: i64 = 16_384;
/// Packs fetched at a time by `packs`.
const PACKS_PAGE: u32 = 512;

/// Adds to a number in `meta`.
pub(super) fn count(transaction: &Transaction<'_>, name: &str, by: i64) -> Result<(), Error> {
    transaction
        .prepare_cached("UPDATE meta SET value = max(0, value + ?2) WHERE key = ?1")?
        .execute((name, by))?;
    Ok(())
}

/// The row of a pack.
pub(super) fn row_of(connection: &Connection, name: &Id) -> Result<Option<i64>, Error> {
    let mut query = connection.prepare_cached("SELECT id FROM packs WHERE name = ?1")?;
    Ok(query.query_row([&name.0[..]], |row| row.get(0)).optional()?)
}

/// Drops a pack; its chunks become orphans.
fn drop_pack(transaction: &Transaction<'_>, row: i64) -> Result<(), Error> {
    let chunks = "SELECT chunks FROM packs WHERE id = ?1";
    let chunks: Option<i64> =
        transaction.prepare_cached(chunks)?.query_row([row], |row| row.get(0)).optional()?;
    let Some(chunks) = chunks else { return Ok(()) };
    count(transaction, "chunks", -chunks)?;
    count(transaction, "orphans", chunks)?;
    for delete in [
        "DELETE FROM pack_sources WHERE pack = ?1",
        "DELETE FROM pack_directories WHERE pack = ?1",
        "DELETE FROM packs WHERE id = ?1",
    ] {
        transaction.prepare_cached(delete)?.execute([row])?;
    }
    Ok(())
}

/// A number in `meta`.
fn number(connection: &Connection, name: &str) -> Result<i64, Error> {
    Ok(connection
        .prepare_cached("SELECT value FROM meta WHERE key = ?1")?
        .query_row([name], |row| row.get(0))?)
}

/// Removes orphans when they are many, and moves second copies to the keys that became free.
fn sweep(transaction: &Transaction<'_>) -> Result<(), Error> {
    let (orphans, chunks) = (number(transaction, "orphans")?, number(transaction, "chunks")?);
    if orphans < SWEEP_MIN || orphans < chunks / 4 {
        return Ok(());
    }
    transaction.execute_batch(
        "DELETE FROM chunks WHERE pack NOT IN (SELECT id FROM packs);
         DELETE FROM more_chunks WHERE pack NOT IN (SELECT id FROM packs);
         INSERT OR IGNORE INTO chunks SELECT key, confirm, pack, block, offset, length FROM more_chunks;
         DELETE FROM more_chunks WHERE EXISTS (SELECT 1 FROM chunks AS one WHERE one.key = more_chunks.key
           AND one.confirm = more_chunks.confirm AND one.pack = more_chunks.pack
           AND one.block = more_chunks.block AND one.offset = more_chunks.offset);
         UPDATE meta SET value = 0 WHERE key = 'orphans';",
    )?;
    Ok(())
}

impl Index {
    /// Names of the index objects whose packs are here.
    pub fn known_index_objects(&self) -> Result<Vec<Id>, Error> {
        let reader = self.reader();
        let mut query = reader.prepare_cached("SELECT name FROM index_objects")?;
        let names = query.query_map([], |row| row.get(0).map(Id))?;
        Ok(names.collect::<Result<_, _>>()?)
    }

    /// Adds packs: those of an index object as one sorted transaction; those that this process wrote (no index object yet) to
    /// the packs in memory.
    pub fn add_packs(&self, from_index_object: Option<Id>, packs: &[PackRecord]) -> Result<(), Error> {
        match from_index_object {
            None => self.add_own(packs),
            Some(name) => {
                let mut intake = Intake::default();
                intake.add(name, packs);
                self.take_in(intake)
            }
        }
    }

    /// Forgets index objects, and the packs (with their chunks) that only they listed.
    pub fn drop_index_objects(&self, names: &[Id]) -> Result<(), Error> {
        self.flush()?;
        self.change(|transaction| {
            for name in names {
                let object = "SELECT id FROM index_objects WHERE name = ?1";
                let object: Option<i64> =
                    transaction.prepare_cached(object)?.query_row([&name.0[..]], |row| row.get(0)).optional()?;
                let Some(object) = object else { continue };
                let only = "SELECT pack FROM pack_sources AS one WHERE index_object = ?1 AND NOT EXISTS
                    (SELECT 1 FROM pack_sources AS other WHERE other.pack = one.pack AND other.index_object <> ?1)";
                let mut only = transaction.prepare_cached(only)?;
                let only: Vec<i64> = only.query_map([object], |row| row.get(0))?.collect::<Result<_, _>>()?;
                only.into_iter().try_for_each(|row| drop_pack(transaction, row))?;
                transaction.prepare_cached("DELETE FROM pack_sources WHERE index_object = ?1")?.execute([object])?;
                transaction.prepare_cached("DELETE FROM index_objects WHERE id = ?1")?.execute([object])?;
            }
            sweep(transaction)
        })?;
        write(&self.packs).clear();
        Ok(())
    }

    /// Forgets packs and their chunks, whoever lists them.
    pub fn drop_packs(&self, names: &[Id]) -> Result<(), Error> {
        self.flush()?;
        self.change(|transaction| {
            for name in names {
                if let Some(row) = row_of(transaction, name)? {
                    drop_pack(transaction, row)?;
                }
            }
            sweep(transaction)
        })?;
        write(&self.packs).clear();
        Ok(())
    }

    /// Packs that no known index object lists: of this run, of another process's, or left by a run that was cut off.
    pub fn unlisted_packs(&self) -> Result<Vec<Id>, Error> {
        let pending = read(&self.pending).packs();
        let reader = self.reader();
        let mut query = reader
            .prepare_cached("SELECT name FROM packs WHERE id NOT IN (SELECT pack FROM pack_sources)")?;
        let names = query.query_map([], |row| row.get(0).map(Id))?;
        let mut names: HashSet<Id> = names.collect::<Result<_, _>>()?;
        names.extend(pending.iter().map(|pack| pack.name));
        Ok(names.into_iter().collect())
    }

    /// Whether an index object names any of these packs.
    pub fn names_any(&self, object: &Id, packs: &HashSet<Id>) -> Result<bool, Error> {
        self.flush()?;
        let reader = self.reader();
        let query = "SELECT name FROM packs WHERE id IN (SELECT pack FROM pack_sources WHERE index_object =
            (SELECT id FROM index_objects WHERE name = ?1))";
        let mut query = reader.prepare_cached(query)?;
        let mut rows = query.query([&object.0[..]])?;
        while let Some(row) = rows.next()? {
            if packs.contains(&Id(row.get(0)?)) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Names of the index objects with fewer packs and fewer chunks than that.
    pub fn small_index_objects(&self, packs: usize, chunks: usize) -> Result<Vec<Id>, Error> {
        self.flush()?;
        let reader = self.reader();
        let query = "SELECT object.name FROM index_objects AS object
            LEFT JOIN pack_sources AS source ON source.index_object = object.id
            LEFT JOIN packs AS pack ON pack.id = source.pack
            GROUP BY object.id HAVING count(pack.id) < ?1 AND coalesce(sum(pack.chunks), 0) < ?2";
        let mut query = reader.prepare_cached(query)?;
        let names = query.query_map((packs as i64, chunks as i64), |row| row.get(0).map(Id))?;
        Ok(names.collect::<Result<_, _>>()?)
    }

    /// Names of the index objects that name a pack.
    pub fn index_objects_of(&self, pack: &Id) -> Result<Vec<Id>, Error> {
        self.flush()?;
        let reader = self.reader();
        let query =
            "SELECT name FROM index_objects WHERE id IN (SELECT index_object FROM pack_sources WHERE pack =
            (SELECT id FROM packs WHERE name = ?1))";
        let mut query = reader.prepare_cached(query)?;
        let names = query.query_map([&pack.0[..]], |row| row.get(0).map(Id))?;
        Ok(names.collect::<Result<_, _>>()?)
    }

    /// What is known of a pack.
    pub fn pack(&self, name: &Id) -> Result<Option<Arc<PackInfo>>, Error> {
        if let Some(pack) = read(&self.pending).pack(name) {
            return Ok(Some(pack));
        }
        let reader = self.reader();
        let mut query = reader.prepare_cached(&format!("{} WHERE name = ?1", chunks::SELECT_PACK))?;
        let mut rows = query.query([&name.0[..]])?;
        rows.next()?.map(|row| chunks::pack_of(row).map(Arc::new)).transpose()
    }

    /// The plain directory of a pack, when it was given one.
    pub fn pack_directory(&self, name: &Id) -> Result<Option<Vec<u8>>, Error> {
        if let Some(directory) = read(&self.pending).directory(name) {
            return Ok(Some(directory).filter(|bytes| !bytes.is_empty()));
        }
        let reader = self.reader();
        let query = "SELECT plain FROM pack_directories WHERE pack = (SELECT id FROM packs WHERE name = ?1)";
        Ok(reader.prepare_cached(query)?.query_row([&name.0[..]], |row| row.get(0)).optional()?)
    }

    /// Every pack, in the order in which they came. `each` may use the index.
    pub fn packs(&self, each: &mut dyn FnMut(Arc<PackInfo>)) -> Result<(), Error> {
        let pending = read(&self.pending).packs();
        let names: HashSet<Id> = pending.iter().map(|pack| pack.name).collect();
        let mut last = 0u64;
        loop {
            let page: Vec<PackInfo> = {
                let reader = self.reader();
                let query = format!("{} WHERE id > ?1 ORDER BY id LIMIT ?2", chunks::SELECT_PACK);
                let mut query = reader.prepare_cached(&query)?;
                let mut rows = query.query((last as i64, PACKS_PAGE))?;
                let mut page = Vec::new();
                while let Some(row) = rows.next()? {
                    page.push(chunks::pack_of(row)?);
                }
                page
            };
            let Some(end) = page.last() else { break };
            last = end.row;
            // One that was flushed meanwhile is told of below.
            page.into_iter().filter(|pack| !names.contains(&pack.name)).for_each(|pack| each(Arc::new(pack)));
        }
        pending.into_iter().for_each(each);
        Ok(())
    }

    /// Number of chunks in all packs, second copies counted.
    pub fn chunk_count(&self) -> Result<u64, Error> {
        let pending = read(&self.pending).len() as u64;
        Ok(number(&self.reader(), "chunks")? as u64 + pending)
    }

    /// Number of packs.
    pub fn pack_count(&self) -> Result<u64, Error> {
        let pending = read(&self.pending).packs().len() as u64;
        let stored: i64 =
            self.reader().prepare_cached("SELECT count(*) FROM packs")?.query_row([], |row| row.get(0))?;
        Ok(stored as u64 + pending)
    }
}
