//! Packs come and go: from index objects, from this run; dropped with the index objects that listed them.
//!
//! A dropped pack's chunk rows stay behind as orphans (they answer nothing, since a pack's row number is never used twice), are
//! overwritten when their key comes again, and are swept when there are many: finding them otherwise costs a scan of the table.

use std::collections::HashSet;
use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, Transaction};

use super::records::{PackInfo, PackRecord, encode_blocks};
use super::{Error, Index, chunks, read, write};
use crate::model::{Contents, Id};

/// Chunks worth gathering from several index objects for one call of `add_index_objects`: about 50 bytes each while it runs.
pub const SYNC_CHUNKS: usize = 1 << 20;
/// Orphans below which the chunk table is never swept.
const SWEEP_MIN: i64 = 16_384;
/// Packs fetched at a time by `packs`.
const PACKS_PAGE: u32 = 512;

/// A pack to write.
pub(super) struct NewPack {
    pub info: PackInfo,
    pub directory: Vec<u8>,
    pub source: Option<Id>,
}

/// A chunk to write; `pack` counts in `Load::packs`.
struct NewChunk {
    key: i64,
    confirm: i64,
    pack: u32,
    block: u32,
    offset: u32,
    length: u32,
}

/// Packs and chunks for one transaction.
#[derive(Default)]
pub(super) struct Load {
    pub packs: Vec<NewPack>,
    rows: Vec<NewChunk>,
}

impl Load {
    pub(super) fn add_row(
        &mut self,
        contents: Contents,
        id: &Id,
        pack: u32,
        (block, offset, length): (u32, u32, u32),
    ) {
        let (key, confirm) = chunks::key(contents, id);
        self.rows.push(NewChunk { key, confirm, pack, block, offset, length });
    }

    fn add(&mut self, record: &PackRecord, source: Option<Id>) {
        let number = self.packs.len() as u32;
        self.packs.push(NewPack { info: PackInfo::of(record), directory: record.directory.clone(), source });
        for (id, block, offset, length) in record.places() {
            self.add_row(record.contents, id, number, (block, offset, length));
        }
    }

    /// Writes all, chunks in order of their key; the row of each pack. A pack already there only gets its new source.
    pub(super) fn write(mut self, transaction: &Transaction<'_>) -> Result<Vec<u64>, Error> {
        let mut rows = Vec::with_capacity(self.packs.len());
        let mut new = Vec::with_capacity(self.packs.len());
        for pack in &self.packs {
            let (row, is_new) = write_pack(transaction, pack)?;
            rows.push(row);
            new.push(is_new);
        }
        self.rows.retain(|chunk| new[chunk.pack as usize]);
        self.rows.sort_unstable_by_key(|chunk| (chunk.key, chunk.pack, chunk.block, chunk.offset));
        count(transaction, "chunks", self.rows.len() as i64)?;
        let mut insert =
            transaction.prepare_cached("INSERT OR IGNORE INTO chunks VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?;
        let mut overwritten = 0;
        for chunk in &self.rows {
            let row = rows[chunk.pack as usize] as i64;
            let values = (chunk.key, chunk.confirm, row, chunk.block, chunk.offset, chunk.length);
            if insert.execute(values)? == 0 {
                overwritten += i64::from(write_beside(transaction, values)?);
            }
        }
        count(transaction, "orphans", -overwritten)?;
        Ok(rows)
    }
}

/// Adds to a number in `meta`.
fn count(transaction: &Transaction<'_>, name: &str, by: i64) -> Result<(), Error> {
    transaction
        .prepare_cached("UPDATE meta SET value = max(0, value + ?2) WHERE key = ?1")?
        .execute((name, by))?;
    Ok(())
}

/// Writes a chunk whose key is taken: over an orphan (true), else into the second table.
fn write_beside(
    transaction: &Transaction<'_>,
    values: (i64, i64, i64, u32, u32, u32),
) -> Result<bool, Error> {
    let over = transaction
        .prepare_cached(
            "UPDATE chunks SET confirm = ?2, pack = ?3, block = ?4, offset = ?5, length = ?6
             WHERE key = ?1 AND pack NOT IN (SELECT id FROM packs)",
        )?
        .execute(values)?;
    if over > 0 {
        return Ok(true);
    }
    transaction
        .prepare_cached("INSERT OR IGNORE INTO more_chunks VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?
        .execute(values)?;
    Ok(false)
}

/// Writes a pack unless it is there, and who lists it; its row, and whether it is new.
fn write_pack(transaction: &Transaction<'_>, pack: &NewPack) -> Result<(u64, bool), Error> {
    let info = &pack.info;
    let known = row_of(transaction, &info.name)?;
    let row = match known {
        Some(row) => row,
        None => {
            let mut insert = transaction.prepare_cached(
                "INSERT INTO packs (name, length, contents, salt, commitment, directory_offset, directory_length, chunks, blocks)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
            )?;
            let row = insert.insert((
                &info.name.0[..],
                info.length as i64,
                info.contents as u8,
                &info.salt[..],
                &info.commitment[..],
                info.directory_offset as i64,
                info.directory_length,
                info.chunks as i64,
                encode_blocks(&info.blocks),
            ))?;
            if !pack.directory.is_empty() {
                transaction
                    .prepare_cached("INSERT INTO pack_directories VALUES (?1, ?2)")?
                    .execute((row, &pack.directory))?;
            }
            row
        }
    };
    if let Some(source) = &pack.source {
        let link = "INSERT OR IGNORE INTO pack_sources SELECT id, ?2 FROM index_objects WHERE name = ?1";
        transaction.prepare_cached(link)?.execute((&source.0[..], row))?;
    }
    Ok((row as u64, known.is_none()))
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
            Some(name) => self.add_index_objects(&[(name, packs)]),
        }
    }

    /// Adds the packs of several index objects as one sorted transaction, best with about `SYNC_CHUNKS` chunks.
    pub fn add_index_objects<P: AsRef<[PackRecord]>>(&self, objects: &[(Id, P)]) -> Result<(), Error> {
        self.flush()?;
        let mut load = Load::default();
        for (name, packs) in objects {
            packs.as_ref().iter().for_each(|record| load.add(record, Some(*name)));
        }
        let rows = self.change(|transaction| {
            let mut insert =
                transaction.prepare_cached("INSERT OR IGNORE INTO index_objects (name) VALUES (?1)")?;
            for (name, _) in objects {
                insert.execute([&name.0[..]])?;
            }
            load.write(transaction)
        })?;
        write(&self.packs).clear();
        let mut own = write(&self.own);
        rows.iter().for_each(|row| {
            own.remove(row);
        });
        Ok(())
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
