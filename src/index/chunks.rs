//! Where a chunk lies: the packs in memory first, then one row by an integer key.
//!
//! Key = the first 8 bytes of the id, flipped for trees; the next 8 bytes confirm it, and so does the pack's kind of contents. A
//! key that is taken (two ids alike in 8 bytes, or a second copy) goes to a second table, which is asked only when a key is found
//! and does not answer. So an unknown chunk costs one probe.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use rusqlite::{Connection, Row};

use super::hidden::contents_of;
use super::records::{Location, PackInfo, decode_blocks};
use super::{Error, Index, read, write};
use crate::model::{Contents, Id};

/// Packs in each of the two halves of the cache: about 600 bytes each.
const PACKS_CACHED: usize = 2048;
/// Keeps trees apart from data whose ids begin alike.
const TREES: u64 = 0xa5c3_96f0_5a3c_69e1;

/// A pack's columns, in the order that `pack_of` reads.
pub(super) const SELECT_PACK: &str =
    "SELECT id, name, length, contents, salt, commitment, directory_offset, directory_length, chunks,
    blocks, EXISTS (SELECT 1 FROM pack_sources WHERE pack = packs.id), writer FROM packs";

/// The integers under which a chunk stands.
pub(super) fn key(contents: Contents, id: &Id) -> (i64, i64) {
    let [_, _, _, _, _, _, _, _, a, b, c, d, e, f, g, h, ..] = id.0;
    (mixed(contents, id.prefix()) as i64, i64::from_be_bytes([a, b, c, d, e, f, g, h]))
}

/// The first 8 bytes of the id of a chunk with that key.
pub(super) fn prefix_of(contents: Contents, key: i64) -> u64 {
    mixed(contents, key as u64)
}

/// Makes a key of the first 8 bytes, and these of a key.
fn mixed(contents: Contents, prefix: u64) -> u64 {
    match contents {
        Contents::Data => prefix,
        Contents::Trees => prefix ^ TREES,
    }
}

/// A pack from its row.
pub(super) fn pack_of(row: &Row<'_>) -> Result<PackInfo, Error> {
    let blocks = decode_blocks(row.get_ref(9)?.as_blob().map_err(|error| Error::Damaged(error.to_string()))?);
    Ok(PackInfo {
        row: row.get::<_, i64>(0)? as u64,
        name: Id(row.get(1)?),
        length: row.get::<_, i64>(2)? as u64,
        contents: contents_of(row.get(3)?)?,
        salt: row.get(4)?,
        commitment: row.get(5)?,
        directory_offset: row.get::<_, i64>(6)? as u64,
        directory_length: row.get(7)?,
        chunks: row.get::<_, i64>(8)? as u64,
        listed: row.get(10)?,
        writer: row.get(11)?,
        blocks: blocks.ok_or_else(|| Error::Damaged("a pack's blocks".to_owned()))?,
    })
}

/// Facts of packs lately asked for: a half that fills and one that is forgotten next.
#[derive(Default)]
pub(super) struct PackCache {
    young: HashMap<u64, Arc<PackInfo>>,
    old: HashMap<u64, Arc<PackInfo>>,
    /// Counts the clearings, so that what was read before one is not kept after it.
    clearings: u64,
}

impl PackCache {
    pub(super) fn clear(&mut self) {
        self.young.clear();
        self.old.clear();
        self.clearings += 1;
    }

    fn get(&self, row: u64) -> Option<&Arc<PackInfo>> {
        self.young.get(&row).or_else(|| self.old.get(&row))
    }

    fn keep(&mut self, pack: &Arc<PackInfo>, clearings: u64) {
        if self.clearings != clearings {
            return;
        }
        if self.young.len() >= PACKS_CACHED {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(pack.row, Arc::clone(pack));
    }
}

impl Location {
    /// A place in a pack; `None` when it does not lie within its block.
    pub fn at(pack: &Arc<PackInfo>, block: u32, offset: u32, length: u32) -> Option<Location> {
        let place = pack.blocks.get(block as usize)?;
        (u64::from(offset) + u64::from(length) <= u64::from(place.plain)).then(|| Location {
            pack: Arc::clone(pack),
            block,
            codec: place.codec,
            block_offset: place.offset,
            block_stored: place.stored,
            block_plain: place.plain,
            offset,
            length,
        })
    }
}

/// A chunk's row.
struct Found {
    confirm: i64,
    pack: u64,
    block: u32,
    offset: u32,
    length: u32,
}

/// Reads the columns confirm, pack, block, offset, length.
fn found(row: &Row<'_>) -> rusqlite::Result<Found> {
    let pack = row.get::<_, i64>(1)? as u64;
    Ok(Found { confirm: row.get(0)?, pack, block: row.get(2)?, offset: row.get(3)?, length: row.get(4)? })
}

impl Index {
    /// The place of a chunk that may be relied on.
    pub fn lookup(&self, contents: Contents, id: &Id) -> Result<Option<Location>, Error> {
        let mut first = None;
        self.places(contents, id, &mut |visible, location| {
            if visible {
                first = Some(location);
            }
            visible
        })?;
        Ok(first)
    }

    /// Whether a chunk is in the repository and may be relied on.
    pub fn contains(&self, contents: Contents, id: &Id) -> Result<bool, Error> {
        Ok(self.lookup(contents, id)?.is_some())
    }

    /// Every place of a chunk, those that may be relied on first.
    pub fn lookup_for_reading(&self, contents: Contents, id: &Id) -> Result<Vec<Location>, Error> {
        let (mut all, mut hidden) = (Vec::new(), Vec::new());
        self.places(contents, id, &mut |visible, location| {
            if visible {
                all.push(location)
            } else {
                hidden.push(location)
            }
            false
        })?;
        all.append(&mut hidden);
        let mut seen = HashSet::with_capacity(all.len());
        all.retain(|location| seen.insert((location.pack.name, location.block, location.offset)));
        Ok(all)
    }

    /// Tells `each` of the places of a chunk, and whether each may be relied on, until it answers true. `each` must not use the index.
    fn places(
        &self,
        contents: Contents,
        id: &Id,
        each: &mut dyn FnMut(bool, Location) -> bool,
    ) -> Result<(), Error> {
        for location in read(&self.pending).places(contents, id) {
            if each(read(&self.hidden).allows(contents, id, &location.pack), location) {
                return Ok(());
            }
        }
        let (key, confirm) = key(contents, id);
        // Before the transaction: a pack that is dropped after it must not come back into the cache.
        let clearings = read(&self.packs).clearings;
        let reader = self.reader();
        let one = "SELECT confirm, pack, block, offset, length FROM chunks WHERE key = ?1";
        let mut one = reader.prepare_cached(one)?;
        // Open until the end, so that all that follows is one read transaction.
        let mut rows = one.query([key])?;
        let Some(row) = rows.next()?.map(found).transpose()? else { return Ok(()) };
        let mut tell = |row: Found| -> Result<bool, Error> {
            if row.confirm != confirm {
                return Ok(false);
            }
            let Some(pack) = self.pack_at(&reader, row.pack, clearings)? else { return Ok(false) };
            if pack.contents != contents {
                return Ok(false);
            }
            // A row that makes no sense answers nothing: a writer stores the chunk again, a reader looks again (`repository/doubt.rs`).
            let Some(location) = Location::at(&pack, row.block, row.offset, row.length) else {
                return Ok(false);
            };
            Ok(each(self.relied_on(contents, id, &pack), location))
        };
        if tell(row)? {
            return Ok(());
        }
        let more =
            "SELECT confirm, pack, block, offset, length FROM more_chunks WHERE key = ?1 AND confirm = ?2";
        let mut more = reader.prepare_cached(more)?;
        for row in more.query_map((key, confirm), found)? {
            if tell(row?)? {
                break;
            }
        }
        Ok(())
    }

    /// Whether a pack's chunk counts as present: listed or our own, and not hidden.
    fn relied_on(&self, contents: Contents, id: &Id, pack: &PackInfo) -> bool {
        (pack.listed || read(&self.own).contains(&pack.row)) && read(&self.hidden).allows(contents, id, pack)
    }

    /// The pack of a row; `None` when it was dropped, or its row makes no sense.
    fn pack_at(&self, reader: &Connection, row: u64, clearings: u64) -> Result<Option<Arc<PackInfo>>, Error> {
        if let Some(pack) = read(&self.packs).get(row) {
            return Ok(Some(Arc::clone(pack)));
        }
        let mut query = reader.prepare_cached(&format!("{SELECT_PACK} WHERE id = ?1"))?;
        let mut rows = query.query([row as i64])?;
        let Some(found) = rows.next()? else { return Ok(None) };
        let Ok(pack) = pack_of(found).map(Arc::new) else { return Ok(None) };
        write(&self.packs).keep(&pack, clearings);
        Ok(Some(pack))
    }
}
