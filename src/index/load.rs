//! Packs and their chunks on their way into the database: many in one transaction, since a transaction in order of the keys writes each
//! page of the table once, and of a large table one with few chunks writes nearly a page for each.

use rusqlite::Transaction;

use super::packs::{count, row_of};
use super::records::{PackInfo, PackRecord, encode_blocks};
use super::{Error, Index, chunks, write};
use crate::model::{Contents, Id};

/// Chunks that are worth gathering from several index objects for one transaction: 32 bytes each until it ends.
pub const SYNC_CHUNKS: usize = 1 << 20;
/// For how many chunks a pack counts that is gathered, without its blocks, which count for one each.
const PACK_WEIGHT: usize = 16;

/// What index objects say, gathered for one transaction.
#[derive(Default)]
pub struct Intake {
    objects: Vec<Id>,
    load: Load,
    /// Chunks, and what takes as much memory.
    weight: usize,
}

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
                "INSERT INTO packs (name, length, contents, salt, commitment, directory_offset, directory_length, chunks, blocks,
                 writer) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
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
                info.writer,
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

impl Intake {
    /// Adds the packs of an index object.
    pub fn add(&mut self, object: Id, packs: &[PackRecord]) {
        self.objects.push(object);
        for record in packs {
            self.load.add(record, Some(object));
            self.weight += PACK_WEIGHT + record.blocks.len();
        }
    }

    /// Whether more would take too much memory: about `SYNC_CHUNKS` chunks are gathered.
    pub fn is_full(&self) -> bool {
        self.load.rows.len() + self.weight >= SYNC_CHUNKS
    }
}

impl Index {
    /// Takes in what was gathered, all of it or, on an error, nothing.
    pub fn take_in(&self, intake: Intake) -> Result<(), Error> {
        let Intake { objects, load, .. } = intake;
        if objects.is_empty() {
            return Ok(());
        }
        self.flush()?;
        let rows = self.change(|transaction| {
            let mut insert =
                transaction.prepare_cached("INSERT OR IGNORE INTO index_objects (name) VALUES (?1)")?;
            for name in &objects {
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
}
