//! Looking at a file without changing anything of it or beside it: for whoever only says what is wrong.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rusqlite::{Connection, OpenFlags};
use rustix::fs::{Access, AtFlags, CWD};

use super::hidden::Hidden;
use super::open::{OpenSet, Place};
use super::schema::{self, Found};
use super::{Error, Index};
use crate::model::Id16;

/// Bytes up to which the whole file is checked.
const CHECKED_BYTES: u64 = 1 << 30;

/// What there is.
pub enum Peeked {
    Missing,
    /// It can be read by this index, and not written through it.
    Sound(Box<Index>),
    /// The next command puts it aside, and why.
    Unusable(String),
    /// This user can not use it, and why.
    Denied(String),
}

impl Index {
    /// Looks at the index of `repository` in `folder`.
    pub fn peek(folder: &Path, repository: Id16) -> Peeked {
        let path = Index::path(folder, &repository);
        let about = match fs::symlink_metadata(&path) {
            Ok(about) => about,
            Err(error) if error.kind() == ErrorKind::NotFound => return missing(folder),
            Err(error) => return Peeked::Denied(error.to_string()),
        };
        if !about.is_file() {
            return Peeked::Denied("it is not a regular file".to_owned());
        }
        for place in [folder, &path, &path.with_extension("lock")] {
            if let Err(error) = may_use(place) {
                return Peeked::Denied(error);
            }
        }
        match open(&path, about.len(), repository) {
            Ok(Some(index)) => Peeked::Sound(Box::new(index)),
            Ok(None) => Peeked::Missing,
            Err(Error::Damaged(reason) | Error::Sql(reason)) => Peeked::Unusable(reason),
            Err(error) => Peeked::Denied(error.to_string()),
        }
    }
}

/// A folder in which nothing is, or that is not there: whether one can be made.
fn missing(folder: &Path) -> Peeked {
    let there = folder.ancestors().find(|above| above.exists());
    match there.map_or(Ok(()), may_use) {
        Ok(()) => Peeked::Missing,
        Err(error) => Peeked::Denied(error),
    }
}

fn may_use(path: &Path) -> Result<(), String> {
    match rustix::fs::accessat(CWD, path, Access::READ_OK | Access::WRITE_OK, AtFlags::EACCESS) {
        Err(error @ (rustix::io::Errno::ACCESS | rustix::io::Errno::ROFS)) => {
            Err(format!("{}: {}", path.display(), std::io::Error::from(error)))
        }
        _ => Ok(()),
    }
}

/// The file as SQLite takes it. Without a log it is taken for one that nobody changes: then nothing is put beside it.
fn open(path: &Path, length: u64, repository: Id16) -> Result<Option<Index>, Error> {
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    let has_log = fs::metadata(&log).is_ok_and(|log| log.len() > 0);
    let mut name = "file:".to_owned();
    for byte in path.as_os_str().as_bytes() {
        match byte {
            byte if byte.is_ascii_alphanumeric() || b"/._-".contains(byte) => name.push(char::from(*byte)),
            byte => name.push_str(&format!("%{byte:02x}")),
        }
    }
    name.push_str(if has_log { "?mode=ro" } else { "?immutable=1" });
    let flags =
        OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(name, flags)?;
    match schema::examine(&connection, &repository, &schema::INDEX)? {
        Found::Empty => return Ok(None),
        Found::Ours => {}
    }
    if length <= CHECKED_BYTES {
        let said: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
        if said != "ok" {
            return Err(Error::Damaged(said.replace('\n', " ")));
        }
    }
    let hidden = Hidden::load(&connection)?;
    let set = OpenSet { writer: connection, readers: Vec::new(), hidden };
    Ok(Some(Index::assemble(set, Place::Memory)))
}
