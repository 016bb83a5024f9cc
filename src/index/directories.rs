//! The change cache: one row a directory of what the last scan saw, and the files that an interrupted run had finished.
//!
//! Whether a row may be trusted is the caller's judgement (the snapshot it came from must be listed, confirmed and not forgotten);
//! here it is only kept, by *source*: the caller's digest of everything that influences the tree.

use rusqlite::{Connection, OptionalExtension, Row, Transaction};

use super::{Error, Index, sum};
use crate::model::{Id, Id16, Time};

/// Rows fetched at a time by `each_directory`.
const DIRECTORIES_PAGE: u32 = 256;
/// Keys looked at in one step of `sweep_directories`.
const SWEEP_PAGE: u32 = 8192;
/// A directory's columns, in the order that `directory_of` reads.
const SELECT_DIRECTORY: &str = "SELECT key, tree, digest, inode, side FROM directories
    WHERE source = (SELECT id FROM sources WHERE name = ?1)";
/// The row of a source.
const SOURCE: &str = "(SELECT id FROM sources WHERE name = ?1)";

/// What the last scan saw of one directory: a row of the change cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirectoryRow {
    pub key: Id16,
    pub tree: Id,
    pub digest: [u8; 16],
    pub inode: u64,
    pub side: Vec<u8>,
}

/// A file that an interrupted run had stored completely.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FinishedFile {
    pub directory: Id16,
    pub name: Vec<u8>,
    pub inode: u64,
    pub ctime: Time,
    pub node: Vec<u8>,
}

/// A directory from its row; none when the row is not what was written: what it says of a file would be believed unread.
fn directory_of(row: &Row<'_>) -> rusqlite::Result<Option<DirectoryRow>> {
    let row = DirectoryRow {
        key: Id16(row.get(0)?),
        tree: Id(row.get(1)?),
        digest: row.get(2)?,
        inode: row.get::<_, i64>(3)? as u64,
        side: row.get(4)?,
    };
    let DirectoryRow { key, tree, digest, inode, side } = row;
    let parts: [&[u8]; 4] = [&key.0, &tree.0, &digest, &inode.to_le_bytes()];
    Ok(sum::take(&parts, side).map(|side| DirectoryRow { key, tree, digest, inode, side }))
}

/// The last value of a directory's row, with the checksum of the whole.
fn side_with_sum(row: &DirectoryRow) -> Vec<u8> {
    sum::add(&[&row.key.0, &row.tree.0, &row.digest, &row.inode.to_le_bytes()], &row.side)
}

/// The same for a file: the values before its node.
fn file_parts<'a>(file: &'a FinishedFile, numbers: &'a mut [u8; 20]) -> [&'a [u8]; 3] {
    numbers[..8].copy_from_slice(&file.inode.to_le_bytes());
    numbers[8..16].copy_from_slice(&file.ctime.seconds.to_le_bytes());
    numbers[16..].copy_from_slice(&file.ctime.nanos.to_le_bytes());
    [&file.directory.0, &file.name, numbers]
}

/// The row of a source, made when it is not there.
fn source_row(transaction: &Transaction<'_>, source: &Id16) -> Result<i64, Error> {
    transaction
        .prepare_cached("INSERT OR IGNORE INTO sources (name) VALUES (?1)")?
        .execute([&source.0[..]])?;
    let mut query = transaction.prepare_cached("SELECT id FROM sources WHERE name = ?1")?;
    Ok(query.query_row([&source.0[..]], |row| row.get(0))?)
}

/// Up to a page of directories after `last`, in order of their key, and the key of the last one looked at.
fn page_after(
    reader: &Connection,
    source: &Id16,
    last: Option<Id16>,
) -> Result<(Vec<DirectoryRow>, Option<Id16>), Error> {
    let from = last.as_ref().map_or(&[][..], |key| &key.0[..]);
    let mut query =
        reader.prepare_cached(&format!("{SELECT_DIRECTORY} AND key > ?2 ORDER BY key LIMIT ?3"))?;
    let mut rows = query.query((&source.0[..], from, DIRECTORIES_PAGE))?;
    let (mut page, mut end) = (Vec::new(), None);
    while let Some(row) = rows.next()? {
        end = Some(Id16(row.get(0)?));
        page.extend(directory_of(row)?);
    }
    Ok((page, end))
}

impl Index {
    /// The row of a directory.
    pub fn directory(&self, source: &Id16, key: &Id16) -> Result<Option<DirectoryRow>, Error> {
        let reader = self.reader();
        let mut query = reader.prepare_cached(&format!("{SELECT_DIRECTORY} AND key = ?2"))?;
        Ok(query.query_row((&source.0[..], &key.0[..]), directory_of).optional()?.flatten())
    }

    /// The rows of directories with this inode number: where a moved directory may have been.
    pub fn directory_by_inode(&self, source: &Id16, inode: u64) -> Result<Vec<DirectoryRow>, Error> {
        let reader = self.reader();
        let mut query = reader.prepare_cached(&format!("{SELECT_DIRECTORY} AND inode = ?2"))?;
        let rows = query.query_map((&source.0[..], inode as i64), directory_of)?;
        let rows: Vec<Option<DirectoryRow>> = rows.collect::<Result<_, _>>()?;
        Ok(rows.into_iter().flatten().collect())
    }

    /// Writes rows, each in place of an older one of its key.
    pub fn save_directories(&self, source: &Id16, rows: &[DirectoryRow]) -> Result<(), Error> {
        let mut sorted: Vec<&DirectoryRow> = rows.iter().collect();
        sorted.sort_by_key(|row| row.key);
        self.change(|transaction| {
            let source = source_row(transaction, source)?;
            let mut insert = transaction
                .prepare_cached("INSERT OR REPLACE INTO directories VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?;
            for row in sorted {
                let (key, tree, digest) = (&row.key.0[..], &row.tree.0[..], &row.digest[..]);
                insert.execute((source, key, tree, digest, row.inode as i64, side_with_sum(row)))?;
            }
            Ok(())
        })
    }

    /// Every row of a source in order of its key, until `each` answers false. `each` may use the index.
    pub fn each_directory(
        &self,
        source: &Id16,
        after: Option<Id16>,
        each: &mut dyn FnMut(DirectoryRow) -> bool,
    ) -> Result<(), Error> {
        let mut last = after;
        loop {
            let (page, end) = page_after(&self.reader(), source, last)?;
            let Some(end) = end else { return Ok(()) };
            last = Some(end);
            for row in page {
                if !each(row) {
                    return Ok(());
                }
            }
        }
    }

    /// How many rows a source has, and how many of them are of directories that a sweep did not find.
    pub fn directory_counts(&self, source: &Id16) -> Result<(u64, u64), Error> {
        let reader = self.reader();
        let count = |table: &str| -> Result<u64, Error> {
            let query = format!("SELECT count(*) FROM {table} WHERE source = {SOURCE}");
            Ok(reader.prepare_cached(&query)?.query_row([&source.0[..]], |row| row.get::<_, i64>(0))? as u64)
        };
        Ok((count("directories")?, count("missed_directories")?))
    }

    /// Whether rows were missed on that day or before.
    pub fn has_missed_since(&self, source: &Id16, day: i64) -> Result<bool, Error> {
        let reader = self.reader();
        let query = format!("SELECT 1 FROM missed_directories WHERE source = {SOURCE} AND day <= ?2 LIMIT 1");
        Ok(reader.prepare_cached(&query)?.exists((&source.0[..], day))?)
    }

    /// Notes which directories are there no more (`is_there`), and removes the rows of those that were missed on day `last` or
    /// before and are not there now; how many it removed.
    pub fn sweep_directories(
        &self,
        source: &Id16,
        today: i64,
        last: i64,
        is_there: &dyn Fn(&Id16) -> bool,
    ) -> Result<u64, Error> {
        let (mut after, mut removed) = ((i64::MIN, Vec::new()), 0);
        loop {
            // By inode, since that needs only the small index and not the rows.
            let page: Vec<(i64, Vec<u8>, Option<i64>)> = {
                let reader = self.reader();
                let mut query = reader.prepare_cached(&format!(
                    "SELECT one.inode, one.key, missed.day FROM directories AS one
                     LEFT JOIN missed_directories AS missed ON missed.source = one.source AND missed.key = one.key
                     WHERE one.source = {SOURCE} AND (one.inode, one.key) > (?2, ?3)
                     ORDER BY one.inode, one.key LIMIT ?4"
                ))?;
                let values = (&source.0[..], after.0, &after.1, SWEEP_PAGE);
                let rows = query.query_map(values, |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
                rows.collect::<Result<_, _>>()?
            };
            let Some((inode, key, _)) = page.last() else { return Ok(removed) };
            after = (*inode, key.clone());
            let (mut found, mut lost, mut gone) = (Vec::new(), Vec::new(), Vec::new());
            for (_, key, missed) in page {
                let there = key.first_chunk().is_some_and(|key| is_there(&Id16(*key)));
                match (there, missed) {
                    (true, Some(_)) => found.push(key),
                    (false, None) => lost.push(key),
                    (false, Some(day)) if day <= last => gone.push(key),
                    _ => {}
                }
            }
            if found.is_empty() && lost.is_empty() && gone.is_empty() {
                continue;
            }
            removed += gone.len() as u64;
            self.change(|transaction| {
                let source = source_row(transaction, source)?;
                for key in found.iter().chain(&gone) {
                    transaction
                        .prepare_cached("DELETE FROM missed_directories WHERE source = ?1 AND key = ?2")?
                        .execute((source, key))?;
                }
                for key in &gone {
                    transaction
                        .prepare_cached("DELETE FROM directories WHERE source = ?1 AND key = ?2")?
                        .execute((source, key))?;
                }
                for key in &lost {
                    transaction
                        .prepare_cached("INSERT OR REPLACE INTO missed_directories VALUES (?1, ?2, ?3)")?
                        .execute((source, key, today))?;
                }
                Ok(())
            })?;
        }
    }

    /// The snapshot whose rows a source's are.
    pub fn lineage(&self, source: &Id16) -> Result<Option<Id>, Error> {
        let reader = self.reader();
        let mut query = reader.prepare_cached("SELECT lineage FROM sources WHERE name = ?1")?;
        let lineage: Option<Option<[u8; 32]>> =
            query.query_row([&source.0[..]], |row| row.get(0)).optional()?;
        Ok(lineage.flatten().map(Id))
    }

    /// Says which snapshot's rows a source's are; `None` = of no snapshot that can be named.
    pub fn set_lineage(&self, source: &Id16, snapshot: Option<Id>) -> Result<(), Error> {
        self.change(|transaction| {
            let row = source_row(transaction, source)?;
            let snapshot = snapshot.as_ref().map(|name| &name.0[..]);
            transaction.execute("UPDATE sources SET lineage = ?2 WHERE id = ?1", (row, snapshot))?;
            Ok(())
        })
    }

    /// Notes files that are stored, while their directory is not finished.
    pub fn save_finished(&self, source: &Id16, files: &[FinishedFile]) -> Result<(), Error> {
        self.change(|transaction| {
            let source = source_row(transaction, source)?;
            let insert = "INSERT OR REPLACE INTO finished_files VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
            let mut insert = transaction.prepare_cached(insert)?;
            for file in files {
                let (inode, ctime) = (file.inode as i64, file.ctime);
                let directory = &file.directory.0[..];
                let node = sum::add(&file_parts(file, &mut [0; 20]), &file.node);
                insert.execute((source, directory, &file.name, inode, ctime.seconds, ctime.nanos, node))?;
            }
            Ok(())
        })
    }

    /// The files noted of one directory, in order of their name.
    pub fn finished(&self, source: &Id16, directory: &Id16) -> Result<Vec<FinishedFile>, Error> {
        let reader = self.reader();
        let mut query = reader.prepare_cached(&format!(
            "SELECT name, inode, ctime_seconds, ctime_nanos, node FROM finished_files
             WHERE source = {SOURCE} AND directory = ?2 ORDER BY name"
        ))?;
        let files = query.query_map((&source.0[..], &directory.0[..]), |row| {
            let (inode, ctime) = (row.get::<_, i64>(1)? as u64, Time::new(row.get(2)?, row.get(3)?));
            Ok(FinishedFile { directory: *directory, name: row.get(0)?, inode, ctime, node: row.get(4)? })
        })?;
        let mut sound = Vec::new();
        for file in files {
            let mut file = file?;
            let node = std::mem::take(&mut file.node);
            if let Some(node) = sum::take(&file_parts(&file, &mut [0; 20]), node) {
                sound.push(FinishedFile { node, ..file });
            }
        }
        Ok(sound)
    }

    /// Forgets the files noted of directories: they are finished, and in their rows.
    pub fn remove_finished(&self, source: &Id16, directories: &[Id16]) -> Result<(), Error> {
        let delete = format!("DELETE FROM finished_files WHERE source = {SOURCE} AND directory = ?2");
        self.remove_by_key(source, directories, &delete)
    }

    /// Forgets all files noted of a source.
    pub fn clear_finished(&self, source: &Id16) -> Result<(), Error> {
        let any = format!("SELECT 1 FROM finished_files WHERE source = {SOURCE} LIMIT 1");
        if !self.reader().prepare_cached(&any)?.exists([&source.0[..]])? {
            return Ok(());
        }
        self.change(|transaction| {
            transaction
                .execute(&format!("DELETE FROM finished_files WHERE source = {SOURCE}"), [&source.0[..]])?;
            Ok(())
        })
    }

    /// Runs `delete` once for each key, in one transaction.
    fn remove_by_key(&self, source: &Id16, keys: &[Id16], delete: &str) -> Result<(), Error> {
        if keys.is_empty() {
            return Ok(());
        }
        self.change(|transaction| {
            let mut delete = transaction.prepare_cached(delete)?;
            for key in keys {
                delete.execute((&source.0[..], &key.0[..]))?;
            }
            Ok(())
        })
    }
}
