//! Small facts by name (client id, sequence, remembered heads), and copies of small objects, so that listing a thousand
//! snapshots does not read a thousand files.

use std::path::{Path, PathBuf};

use rusqlite::OptionalExtension;

use crate::locks::lock;

use super::{Error, Index, sum};
use crate::model::Id;

/// Cached objects fetched at a time by `each_cached_object`.
const OBJECTS_PAGE: u32 = 128;

impl Index {
    /// The folder of the database, for what goes beside it for a while; none when it is in memory.
    pub fn folder(&self) -> Option<PathBuf> {
        let writer = lock(&self.writer);
        let path = writer.path().filter(|path| !path.is_empty())?;
        Path::new(path).parent().map(Path::to_path_buf)
    }

    /// The value of a fact; none when it is not what was written.
    pub fn fact(&self, key: &str) -> Result<Option<Vec<u8>>, Error> {
        let reader = self.reader();
        let mut query = reader.prepare_cached("SELECT value FROM facts WHERE key = ?1")?;
        let value: Option<Vec<u8>> = query.query_row([key], |row| row.get(0)).optional()?;
        Ok(value.and_then(|bytes| sum::take(&[key.as_bytes()], bytes)))
    }

    /// Sets a fact.
    pub fn set_fact(&self, key: &str, value: &[u8]) -> Result<(), Error> {
        self.change(|transaction| {
            transaction
                .prepare_cached("INSERT OR REPLACE INTO facts VALUES (?1, ?2)")?
                .execute((key, sum::add(&[key.as_bytes()], value)))?;
            Ok(())
        })
    }

    /// Removes a fact.
    pub fn remove_fact(&self, key: &str) -> Result<(), Error> {
        self.change(|transaction| {
            transaction.prepare_cached("DELETE FROM facts WHERE key = ?1")?.execute([key])?;
            Ok(())
        })
    }

    /// The facts whose name begins so, in order of their name.
    pub fn facts_with_prefix(&self, prefix: &str) -> Result<Vec<(String, Vec<u8>)>, Error> {
        let reader = self.reader();
        let query =
            "SELECT key, value FROM facts WHERE key >= ?1 AND substr(key, 1, length(?1)) = ?1 ORDER BY key";
        let mut query = reader.prepare_cached(query)?;
        let mut rows = query.query([prefix])?;
        let mut facts = Vec::new();
        while let Some(row) = rows.next()? {
            let (key, value): (String, Vec<u8>) = (row.get(0)?, row.get(1)?);
            facts.extend(sum::take(&[key.as_bytes()], value).map(|value| (key, value)));
        }
        Ok(facts)
    }

    /// A copy of a small object (its kind number as in the format, its name).
    pub fn cached_object(&self, kind: u8, name: &Id) -> Result<Option<Vec<u8>>, Error> {
        let reader = self.reader();
        let mut query =
            reader.prepare_cached("SELECT bytes FROM cached_objects WHERE kind = ?1 AND name = ?2")?;
        Ok(query.query_row((kind, &name.0[..]), |row| row.get(0)).optional()?)
    }

    /// Names of the small objects of that kind of which there are copies.
    pub fn cached_names(&self, kind: u8) -> Result<Vec<Id>, Error> {
        let reader = self.reader();
        let mut query = reader.prepare_cached("SELECT name FROM cached_objects WHERE kind = ?1")?;
        let names = query.query_map([kind], |row| row.get(0).map(Id))?;
        Ok(names.collect::<Result<_, _>>()?)
    }

    /// Every copy of that kind, in order of its name. `each` may use the index.
    pub fn each_cached_object(&self, kind: u8, each: &mut dyn FnMut(Id, Vec<u8>)) -> Result<(), Error> {
        let mut last = Vec::new();
        loop {
            let page: Vec<(Id, Vec<u8>)> = {
                let reader = self.reader();
                let query = "SELECT name, bytes FROM cached_objects WHERE kind = ?1 AND name > ?2 ORDER BY name LIMIT ?3";
                let mut query = reader.prepare_cached(query)?;
                let rows =
                    query.query_map((kind, &last, OBJECTS_PAGE), |row| Ok((Id(row.get(0)?), row.get(1)?)))?;
                rows.collect::<Result<_, _>>()?
            };
            let Some((end, _)) = page.last() else { return Ok(()) };
            last = end.0.to_vec();
            page.into_iter().for_each(|(name, bytes)| each(name, bytes));
        }
    }

    /// Keeps a copy of a small object.
    pub fn cache_object(&self, kind: u8, name: &Id, bytes: &[u8]) -> Result<(), Error> {
        self.cache_objects(kind, &[(*name, bytes)])
    }

    /// Keeps copies of small objects, in one transaction.
    pub fn cache_objects(&self, kind: u8, objects: &[(Id, &[u8])]) -> Result<(), Error> {
        self.change(|transaction| {
            let insert = "INSERT OR REPLACE INTO cached_objects (kind, name, bytes) VALUES (?1, ?2, ?3)";
            let mut insert = transaction.prepare_cached(insert)?;
            for (name, bytes) in objects {
                insert.execute((kind, &name.0[..], bytes))?;
            }
            Ok(())
        })
    }

    /// Drops copies.
    pub fn drop_cached_objects(&self, kind: u8, names: &[Id]) -> Result<(), Error> {
        self.change(|transaction| {
            let mut delete =
                transaction.prepare_cached("DELETE FROM cached_objects WHERE kind = ?1 AND name = ?2")?;
            for name in names {
                delete.execute((kind, &name.0[..]))?;
            }
            Ok(())
        })
    }
}
