//! Opening the catalogue's file, as the index opens its own.

use std::fs::remove_file;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use rustix::fs::{FlockOperation, flock};

use super::Catalogue;
use crate::index::Error;
use crate::index::open::{lock_file, move_aside, open_beside};
use crate::index::schema::{self, Layout};
use crate::model::Id16;

/// Page cache, KiB.
const CACHE_KIB: i64 = 8 << 10;

const LAYOUT: Layout = Layout {
    // `COPC`, in the header of the file.
    application: 0x434f_5043,
    number: 2,
    tables: "
CREATE TABLE meta (key TEXT PRIMARY KEY, value NOT NULL) WITHOUT ROWID;
CREATE TABLE lanes (id INTEGER PRIMARY KEY, host BLOB NOT NULL, sources BLOB NOT NULL);
CREATE INDEX lanes_by_sources ON lanes (host, sources);
CREATE TABLE snapshots (
  lane INTEGER NOT NULL, number INTEGER NOT NULL, name BLOB NOT NULL UNIQUE, seconds INTEGER NOT NULL, nanos INTEGER NOT NULL,
  state INTEGER NOT NULL, PRIMARY KEY (lane, number)) WITHOUT ROWID;
CREATE TABLE paths (parent INTEGER NOT NULL, name BLOB NOT NULL, id INTEGER NOT NULL, PRIMARY KEY (parent, name)) WITHOUT ROWID;
CREATE TABLE pages (id INTEGER PRIMARY KEY, names BLOB NOT NULL);
CREATE TABLE folders (lane INTEGER NOT NULL, path INTEGER NOT NULL, tree BLOB NOT NULL, PRIMARY KEY (lane, path)) WITHOUT ROWID;
CREATE TABLE unread (lane INTEGER NOT NULL, number INTEGER NOT NULL, tree BLOB NOT NULL, PRIMARY KEY (lane, number, tree)) WITHOUT ROWID;
CREATE TABLE versions (
  path INTEGER NOT NULL, lane INTEGER NOT NULL, last INTEGER NOT NULL, first INTEGER NOT NULL, kind INTEGER NOT NULL,
  size INTEGER NOT NULL, seconds INTEGER NOT NULL, nanos INTEGER NOT NULL, content INTEGER NOT NULL, node INTEGER NOT NULL,
  origin INTEGER, PRIMARY KEY (path, lane, last)) WITHOUT ROWID;
",
};

impl Catalogue {
    /// Where the catalogue of `repository` lies.
    pub fn path(folder: &Path, repository: &Id16) -> PathBuf {
        folder.join(format!("{repository}.catalogue.db"))
    }

    /// Opens the catalogue of `repository` in `folder`; one that is damaged or of another version is put aside. Makes one when there is
    /// none and `make` says so.
    pub fn open(folder: &Path, repository: &Id16, make: bool) -> Result<Option<Catalogue>, Error> {
        let path = Catalogue::path(folder, repository);
        if !make && !path.try_exists()? {
            return Ok(None);
        }
        let (connection, lock) = open_beside(folder, &path, repository, &LAYOUT, CACHE_KIB)?;
        Ok(Some(Catalogue { connection: Mutex::new(connection), _lock: Some(lock) }))
    }

    /// A catalogue without a file.
    pub fn in_memory(repository: &Id16) -> Result<Catalogue, Error> {
        let mut connection = schema::connect(None, CACHE_KIB)?;
        schema::settle(&connection)?;
        schema::create(&mut connection, repository, &LAYOUT)?;
        Ok(Catalogue { connection: Mutex::new(connection), _lock: None })
    }

    /// Removes the file: it is made anew when it is asked for. `Error::Busy` while any process has it open.
    pub fn remove(folder: &Path, repository: &Id16) -> Result<(), Error> {
        let path = Catalogue::path(folder, repository);
        let file = lock_file(&path)?;
        flock(&file, FlockOperation::NonBlockingLockExclusive)?;
        move_aside(&path)?;
        let mut aside = path.into_os_string();
        aside.push(".aside");
        match remove_file(aside) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
            _ => Ok(()),
        }
    }
}
