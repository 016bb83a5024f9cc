//! Opening the file: made new, found, put aside and made anew, or a private one when the folder cannot be used.
//!
//! A lock file beside the database is held shared by every process that has it open, and exclusively by one that puts the
//! database aside: renaming an SQLite file that another process uses would damage its log.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use rusqlite::Connection;
use rustix::fs::{FlockOperation, OFlags, flock};

use super::hidden::Hidden;
use super::schema::{self, Found, INDEX, Layout, READER_CACHE_KIB, WRITER_CACHE_KIB};
use super::{Error, Index};
use crate::model::Id16;

/// Connections for reading: look-ups come from about as many threads.
const READERS: usize = 4;
/// Tries to get the lock file, LOCK_PAUSE apart: whoever holds it exclusively only renames a file.
const LOCK_TRIES: u32 = 20;
const LOCK_PAUSE: Duration = Duration::from_millis(25);

/// How an index came to be open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Opened {
    /// There was none; this one is empty.
    Fresh,
    /// It was there.
    Existing,
    /// What was there was damaged, foreign or of another version and is put aside; this one is empty.
    Rebuilt { reason: String },
    /// The folder or file cannot be used; this one is empty, temporary and this process's own.
    Private { reason: String },
}

/// What holds the place of the file as long as the index is open.
pub(super) enum Place {
    Memory,
    /// The lock file, locked shared.
    Shared {
        _lock: File,
    },
    /// A folder that goes with the index.
    Private {
        _folder: PrivateFolder,
    },
}

/// Connections that are set up, and what is read with them at once.
pub(super) struct OpenSet {
    pub writer: Connection,
    pub readers: Vec<Connection>,
    pub hidden: Hidden,
}

/// A temporary folder, removed on drop.
pub(super) struct PrivateFolder(PathBuf);

impl Drop for PrivateFolder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

impl Index {
    /// Opens the index of `repository` in `folder`, or makes one. Fails only when nothing works, a private index included.
    pub fn open(folder: &Path, repository: Id16) -> Result<(Index, Opened), Error> {
        open_shared(folder, &repository).or_else(|error| Index::apart(repository, error.to_string()))
    }

    /// An empty index of this process's own, for as long as it lasts, since (`reason`) the one in its folder can not be used.
    pub fn apart(repository: Id16, reason: String) -> Result<(Index, Opened), Error> {
        match open_private(&repository) {
            Ok(index) => Ok((index, Opened::Private { reason })),
            Err(second) => {
                let reason = format!("{reason}; a temporary one: {second}; kept in memory");
                Ok((Index::in_memory(repository)?, Opened::Private { reason }))
            }
        }
    }

    /// An index without a file.
    pub fn in_memory(repository: Id16) -> Result<Index, Error> {
        let mut writer = schema::connect(None, WRITER_CACHE_KIB)?;
        schema::settle(&writer)?;
        schema::create(&mut writer, &repository, &INDEX)?;
        let set = OpenSet { writer, readers: Vec::new(), hidden: Hidden::default() };
        Ok(Index::assemble(set, Place::Memory))
    }

    /// Where the index of `repository` lies.
    pub fn path(folder: &Path, repository: &Id16) -> PathBuf {
        folder.join(format!("{repository}.sqlite"))
    }

    /// Renames the file aside (over one put aside before). Drop the index first; `Error::Busy` while any process has it open.
    pub fn put_aside(folder: &Path, repository: &Id16) -> Result<(), Error> {
        let path = Index::path(folder, repository);
        let file = lock_file(&path)?;
        flock(&file, FlockOperation::NonBlockingLockExclusive)?;
        move_aside(&path)
    }
}

/// The index in its folder.
fn open_shared(folder: &Path, repository: &Id16) -> Result<(Index, Opened), Error> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let path = Index::path(folder, repository);
    let lock = lock_file(&path)?;
    lock_shared(&lock)?;
    let (set, opened) = match open_file(&path, repository) {
        // A schema that makes no sense any more is damage too.
        Err(Error::Damaged(reason) | Error::Sql(reason)) => {
            flock(&lock, FlockOperation::NonBlockingLockExclusive)
                .map_err(|_| Error::Io(format!("{reason}, and another process has it open")))?;
            move_aside(&path)?;
            let (set, _) = open_file(&path, repository)?;
            lock_shared(&lock)?;
            (set, Opened::Rebuilt { reason })
        }
        other => other?,
    };
    Ok((Index::assemble(set, Place::Shared { _lock: lock }), opened))
}

/// Another database beside the index, of that layout, and its lock file, locked shared. Made when it is not there; one that is damaged or of
/// another version is put aside.
pub(super) fn open_beside(
    folder: &Path,
    path: &Path,
    repository: &Id16,
    layout: &Layout,
    cache_kib: i64,
) -> Result<(Connection, File), Error> {
    let connect = || {
        drop(owned_file(path)?);
        let mut connection = schema::connect(Some(path), cache_kib)?;
        let found = schema::examine(&connection, repository, layout)?;
        schema::settle(&connection)?;
        if let Found::Empty = found {
            schema::create(&mut connection, repository, layout)?;
        }
        Ok(connection)
    };
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let lock = lock_file(path)?;
    lock_shared(&lock)?;
    let connection = match connect() {
        Err(Error::Damaged(reason) | Error::Sql(reason)) => {
            flock(&lock, FlockOperation::NonBlockingLockExclusive)
                .map_err(|_| Error::Io(format!("{reason}, and another process has it open")))?;
            move_aside(path)?;
            let connection = connect()?;
            lock_shared(&lock)?;
            connection
        }
        other => other?,
    };
    Ok((connection, lock))
}

/// An index in a new folder below the system's temporary one.
fn open_private(repository: &Id16) -> Result<Index, Error> {
    let mut random = [0; 16];
    getrandom::fill(&mut random).map_err(|error| Error::Io(error.to_string()))?;
    let folder = std::env::temp_dir().join(format!("copal-index-{}", Id16(random)));
    DirBuilder::new().mode(0o700).create(&folder)?;
    let folder = PrivateFolder(folder);
    let (set, _) = open_file(&Index::path(&folder.0, repository), repository)?;
    Ok(Index::assemble(set, Place::Private { _folder: folder }))
}

/// Connections to the file, made when it is not there.
fn open_file(path: &Path, repository: &Id16) -> Result<(OpenSet, Opened), Error> {
    drop(owned_file(path)?);
    let mut writer = schema::connect(Some(path), WRITER_CACHE_KIB)?;
    let found = schema::examine(&writer, repository, &INDEX)?;
    schema::settle(&writer)?;
    let opened = match found {
        Found::Empty => {
            schema::create(&mut writer, repository, &INDEX)?;
            Opened::Fresh
        }
        Found::Ours => {
            // A file system that has become read-only shows here. Another process's long write does not matter.
            match writer.execute_batch("BEGIN IMMEDIATE; ROLLBACK").map_err(Error::from) {
                Ok(()) | Err(Error::Busy) => Opened::Existing,
                Err(error) => return Err(error),
            }
        }
    };
    let mut readers = Vec::with_capacity(READERS);
    for _ in 0..READERS {
        let reader = schema::connect(Some(path), READER_CACHE_KIB)?;
        reader.pragma_update(None, "query_only", true)?;
        readers.push(reader);
    }
    let hidden = Hidden::load(&writer)?;
    Ok((OpenSet { writer, readers, hidden }, opened))
}

/// A file for reading and writing, made with mode 0600 when it is not there; a link or device is refused.
pub(super) fn owned_file(path: &Path) -> Result<File, Error> {
    let nofollow = OFlags::NOFOLLOW.bits() as i32;
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o600).custom_flags(nofollow);
    let file = options.open(path)?;
    if !file.metadata()?.is_file() {
        return Err(Error::Io(format!("{} is not a regular file", path.display())));
    }
    if file.metadata()?.permissions().mode() & 0o077 != 0 {
        file.set_permissions(PermissionsExt::from_mode(0o600))?;
    }
    Ok(file)
}

/// The lock file beside the database, not locked.
pub(super) fn lock_file(path: &Path) -> Result<File, Error> {
    owned_file(&path.with_extension("lock"))
}

/// Locks the lock file shared, waiting a moment for one who puts the database aside.
pub(super) fn lock_shared(file: &File) -> Result<(), Error> {
    for _ in 1..LOCK_TRIES {
        match flock(file, FlockOperation::NonBlockingLockShared) {
            Err(rustix::io::Errno::WOULDBLOCK) => sleep(LOCK_PAUSE),
            other => return Ok(other?),
        }
    }
    Ok(flock(file, FlockOperation::NonBlockingLockShared)?)
}

/// Renames the database to `.aside`, over an older one, and removes its log. The lock must be held exclusively.
pub(super) fn move_aside(path: &Path) -> Result<(), Error> {
    let beside = |suffix: &str| {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        PathBuf::from(name)
    };
    let gone = |result: std::io::Result<()>| match result {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(Error::from(error)),
        _ => Ok(()),
    };
    gone(fs::remove_file(beside("-wal")))?;
    gone(fs::remove_file(beside("-shm")))?;
    gone(fs::rename(path, beside(".aside")))
}
