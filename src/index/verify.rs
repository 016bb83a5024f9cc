//! Comparing what is here with what index objects say: a flipped bit in a row answers wrongly, and nothing else would tell.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};

use rusqlite::{Connection, OptionalExtension, Row};

use super::packs::row_of;
use super::records::{PackInfo, PackRecord};
use super::{Error, Index, chunks, read};
use crate::model::Id;

/// Rows of chunks added up in one read transaction.
const SUMS_PAGE: u32 = 1 << 18;
/// Spreads what a sum is made of. Odd, so that nothing is lost by it.
const SUM_FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;

/// Where a chunk should lie: confirm, pack, block, offset, length.
type Place = (i64, i64, u32, u32, u32);

fn place_of(row: &Row<'_>) -> rusqlite::Result<Place> {
    Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?))
}

/// Chunks of a pack: how many, and a sum of all that is said of each, whatever their order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Sum {
    count: u64,
    sum: u64,
}

impl Sum {
    /// Adds a chunk. One of which anything is otherwise never adds the same, since each step can be undone.
    fn add(&mut self, key: i64, (confirm, _, block, offset, length): Place) {
        let place = u64::from(block) << 32 | u64::from(offset);
        let words = [key as u64, confirm as u64, place, u64::from(length)];
        let all = words.iter().fold(SUM_FACTOR, |all, word| {
            let all = (all ^ word).wrapping_mul(SUM_FACTOR);
            all ^ all >> 32
        });
        self.count += 1;
        self.sum = self.sum.wrapping_add(all);
    }
}

/// What the rows of the chunks of each pack add up to. A pack whose chunks add up to the same is here as it should be; another one perhaps
/// is too, when it came or went meanwhile or a chunk stands here twice.
pub struct Sums(HashMap<i64, Sum>);

impl Sums {
    pub(super) fn fit(&self, row: i64, record: &PackRecord) -> bool {
        let mut wanted = Sum::default();
        for (id, block, offset, length) in record.places() {
            let (key, confirm) = chunks::key(record.contents, id);
            wanted.add(key, (confirm, row, block, offset, length));
        }
        wanted == self.0.get(&row).copied().unwrap_or_default()
    }
}

impl Index {
    /// Forgets every place of the chunks of these packs: a row that was changed says of one that it lies where it does not, and would
    /// outlive the pack that it was changed from.
    pub fn forget_places(&self, packs: &[PackRecord]) -> Result<(), Error> {
        self.flush()?;
        self.change(|transaction| {
            let mut one = transaction.prepare("DELETE FROM chunks WHERE key = ?1 AND confirm = ?2")?;
            let mut more = transaction.prepare("DELETE FROM more_chunks WHERE key = ?1 AND confirm = ?2")?;
            for pack in packs {
                for (id, ..) in pack.places() {
                    let place = chunks::key(pack.contents, id);
                    one.execute(place)?;
                    more.execute(place)?;
                }
            }
            Ok(())
        })
    }

    /// Whether a pack may be relied on: a known index object lists it, or this process wrote or read it itself.
    pub fn relies_on(&self, name: &Id) -> Result<bool, Error> {
        if read(&self.pending).pack(name).is_some() {
            return Ok(true);
        }
        let reader = self.reader();
        let query =
            "SELECT id, EXISTS (SELECT 1 FROM pack_sources WHERE pack = packs.id) FROM packs WHERE name = ?1";
        let mut query = reader.prepare_cached(query)?;
        let found: Option<(i64, bool)> =
            query.query_row([&name.0[..]], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
        Ok(found.is_some_and(|(row, listed)| listed || read(&self.own).contains(&(row as u64))))
    }

    /// Whether the rows of chunks are in their order, so that each is found where it is.
    ///
    /// Errors: `Damaged`, with the first thing that is wrong.
    pub fn check_order(&self) -> Result<(), Error> {
        self.ask("PRAGMA quick_check(chunks)")?;
        // The quick one does not look at the order of a table like this.
        self.ask("PRAGMA integrity_check(more_chunks)")
    }

    /// Whether the file is what SQLite would have written: rows in their order, pages that hang together. Where that is not so, rows can
    /// not be mended one by one: they are not found again, or others are lost by it. Reads the whole file.
    ///
    /// Errors: `Damaged`, with the first thing that is wrong.
    pub fn check_structure(&self) -> Result<(), Error> {
        self.ask("PRAGMA integrity_check(1)")
    }

    fn ask(&self, pragma: &str) -> Result<(), Error> {
        let found: String = self.reader().query_row(pragma, [], |row| row.get(0))?;
        if found == "ok" { Ok(()) } else { Err(Error::Damaged(found)) }
    }

    /// The highest row of a pack so far; packs that come later have higher ones.
    pub fn last_pack_row(&self) -> Result<u64, Error> {
        let reader = self.reader();
        let last: Option<i64> =
            reader.prepare_cached("SELECT max(id) FROM packs")?.query_row([], |row| row.get(0))?;
        Ok(last.unwrap_or(0) as u64)
    }

    /// Goes through all chunks once, in the order in which they lie; not to the end when `stop` says so. For `holds`, which without it
    /// looks up each chunk: many times the work.
    pub fn sums(&self, stop: &AtomicBool) -> Result<Sums, Error> {
        self.flush()?;
        let mut sums: HashMap<i64, Sum> = HashMap::new();
        let mut add = |key: i64, row: &Row<'_>| {
            // A row that makes no sense is missing in its pack's sum.
            if let Ok(place) = place_of(row) {
                sums.entry(place.1).or_default().add(key, place);
            }
        };
        let page = "SELECT confirm, pack, block, offset, length, key FROM chunks WHERE key >= ?1 ORDER BY key LIMIT ?2";
        let mut from = Some(i64::MIN);
        while let Some(first) = from.take().filter(|_| !stop.load(Ordering::Relaxed)) {
            let (reader, mut count, mut last) = (self.reader(), 0, first);
            let mut page = reader.prepare_cached(page)?;
            let mut rows = page.query((first, SUMS_PAGE))?;
            while let Some(row) = rows.next()? {
                last = row.get(5)?;
                add(last, row);
                count += 1;
            }
            from = last.checked_add(1).filter(|_| count == SUMS_PAGE);
        }
        let reader = self.reader();
        let mut more =
            reader.prepare_cached("SELECT confirm, pack, block, offset, length, key FROM more_chunks")?;
        let mut rows = more.query([])?;
        while let Some(row) = rows.next()? {
            if let Ok(key) = row.get(5) {
                add(key, row);
            }
        }
        Ok(Sums(sums))
    }

    /// Whether the pack and its chunks are here exactly as that index object lists them; by `sums` where these say so.
    pub fn holds(&self, object: &Id, record: &PackRecord, sums: Option<&Sums>) -> Result<bool, Error> {
        let reader = self.reader();
        let Some(row) = row_of(&reader, &record.name)? else { return Ok(false) };
        let link = "SELECT 1 FROM pack_sources WHERE pack = ?1
            AND index_object = (SELECT id FROM index_objects WHERE name = ?2)";
        if !reader.prepare_cached(link)?.exists((row, &object.0[..]))? {
            return Ok(false);
        }
        self.agrees_at(&reader, row, record, sums)
    }

    /// Whether the pack, when it is known, and its chunks are here exactly as the record says.
    pub fn agrees(&self, record: &PackRecord) -> Result<bool, Error> {
        self.flush()?;
        let reader = self.reader();
        match row_of(&reader, &record.name)? {
            Some(row) => self.agrees_at(&reader, row, record, None),
            None => Ok(true),
        }
    }

    fn agrees_at(
        &self,
        reader: &Connection,
        row: i64,
        record: &PackRecord,
        sums: Option<&Sums>,
    ) -> Result<bool, Error> {
        let mut query = reader.prepare_cached(&format!("{} WHERE id = ?1", chunks::SELECT_PACK))?;
        let mut rows = query.query([row])?;
        let Some(Ok(found)) = rows.next()?.map(chunks::pack_of) else { return Ok(false) };
        let wanted = PackInfo { row: found.row, listed: found.listed, ..PackInfo::of(record) };
        if found != wanted {
            return Ok(false);
        }
        if sums.is_some_and(|sums| sums.fit(row, record)) {
            return Ok(true);
        }
        let columns = "confirm, pack, block, offset, length";
        let mut one = reader.prepare_cached(&format!("SELECT {columns} FROM chunks WHERE key = ?1"))?;
        let mut more = reader.prepare_cached(
            "SELECT length FROM more_chunks
             WHERE key = ?1 AND confirm = ?2 AND pack = ?3 AND block = ?4 AND offset = ?5",
        )?;
        for (id, block, offset, length) in record.places() {
            let (key, confirm) = chunks::key(record.contents, id);
            let wanted: Place = (confirm, row, block, offset, length);
            let mut found = one.query([key])?;
            let first = found.next()?.map(place_of);
            if matches!(first, Some(Ok(place)) if place == wanted) {
                continue;
            }
            let mut beside = more.query((key, confirm, row, block, offset))?;
            if !matches!(beside.next()?.map(|row| row.get::<_, u32>(0)), Some(Ok(found)) if found == length) {
                return Ok(false);
            }
        }
        Ok(true)
    }
}
