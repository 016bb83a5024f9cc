//! Comparing what is here with what index objects say: a flipped bit in a row answers wrongly, and nothing else would tell.

use rusqlite::OptionalExtension;

use super::packs::row_of;
use super::records::{PackInfo, PackRecord};
use super::{Error, Index, chunks, read};
use crate::model::Id;

/// Where a chunk should lie: confirm, pack, block, offset, length.
type Place = (i64, i64, u32, u32, u32);

fn place_of(row: &rusqlite::Row<'_>) -> rusqlite::Result<Place> {
    Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?))
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

    /// Whether the file is what SQLite would have written: rows in their order, pages that hang together. Where that is not so, rows can
    /// not be mended one by one: they are not found again, or others are lost by it. Reads the whole file.
    ///
    /// Errors: `Damaged`, with the first thing that is wrong.
    pub fn check_structure(&self) -> Result<(), Error> {
        let found: String = self.reader().query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))?;
        if found == "ok" { Ok(()) } else { Err(Error::Damaged(found)) }
    }

    /// The highest row of a pack so far; packs that come later have higher ones.
    pub fn last_pack_row(&self) -> Result<u64, Error> {
        let reader = self.reader();
        let last: Option<i64> =
            reader.prepare_cached("SELECT max(id) FROM packs")?.query_row([], |row| row.get(0))?;
        Ok(last.unwrap_or(0) as u64)
    }

    /// Whether the pack and its chunks are here exactly as that index object lists them.
    pub fn holds(&self, object: &Id, record: &PackRecord) -> Result<bool, Error> {
        let reader = self.reader();
        let Some(row) = row_of(&reader, &record.name)? else { return Ok(false) };
        let link = "SELECT 1 FROM pack_sources WHERE pack = ?1
            AND index_object = (SELECT id FROM index_objects WHERE name = ?2)";
        if !reader.prepare_cached(link)?.exists((row, &object.0[..]))? {
            return Ok(false);
        }
        self.agrees_at(&reader, row, record)
    }

    /// Whether the pack, when it is known, and its chunks are here exactly as the record says.
    pub fn agrees(&self, record: &PackRecord) -> Result<bool, Error> {
        self.flush()?;
        let reader = self.reader();
        match row_of(&reader, &record.name)? {
            Some(row) => self.agrees_at(&reader, row, record),
            None => Ok(true),
        }
    }

    fn agrees_at(&self, reader: &rusqlite::Connection, row: i64, record: &PackRecord) -> Result<bool, Error> {
        let mut query = reader.prepare_cached(&format!("{} WHERE id = ?1", chunks::SELECT_PACK))?;
        let mut rows = query.query([row])?;
        let Some(Ok(found)) = rows.next()?.map(chunks::pack_of) else { return Ok(false) };
        let wanted = PackInfo { row: found.row, listed: found.listed, ..PackInfo::of(record) };
        if found != wanted {
            return Ok(false);
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
