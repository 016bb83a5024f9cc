//! The tables, the marks by which the file is recognised, and the settings of a connection.

use std::path::Path;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, OptionalExtension, TransactionBehavior};

use super::Error;
use crate::model::Id16;

/// How long a write waits for another process.
const BUSY_WAIT: Duration = Duration::from_millis(250);
/// Page cache of the connection that writes, KiB: sorted writes touch a page once, so it need not be large.
pub(super) const WRITER_CACHE_KIB: i64 = 16 << 10;
/// Page cache of each connection that reads, KiB: holds the inner pages of a table of some 100 million chunks.
pub(super) const READER_CACHE_KIB: i64 = 4 << 10;
/// Bytes mapped into memory: none. A disk error or a truncated file below a mapping ends the process with SIGBUS, and a cache must not.
const MAPPED: i64 = 0;
/// The write-ahead log is cut back to this after a large transaction, bytes.
const LOG_KEPT: i64 = 64 << 20;

/// What a file is made of, and the marks by which it is recognised.
pub(super) struct Layout {
    /// In the header of the file.
    pub application: i32,
    /// Number of this layout; another one is put aside and built anew.
    pub number: i32,
    /// Makes its tables; one of them is `meta`.
    pub tables: &'static str,
}

/// The index's own.
pub(super) const INDEX: Layout = Layout {
    // `COPL`.
    application: 0x434f_504c,
    number: 4,
    tables: "
CREATE TABLE meta (key TEXT PRIMARY KEY, value NOT NULL) WITHOUT ROWID;
CREATE TABLE facts (key TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE index_objects (id INTEGER PRIMARY KEY AUTOINCREMENT, name BLOB NOT NULL UNIQUE);
CREATE TABLE packs (
  id INTEGER PRIMARY KEY AUTOINCREMENT, name BLOB NOT NULL UNIQUE, length INTEGER NOT NULL, contents INTEGER NOT NULL,
  salt BLOB NOT NULL, commitment BLOB NOT NULL, directory_offset INTEGER NOT NULL, directory_length INTEGER NOT NULL,
  chunks INTEGER NOT NULL, blocks BLOB NOT NULL, writer INTEGER NOT NULL);
CREATE TABLE pack_directories (pack INTEGER PRIMARY KEY, plain BLOB NOT NULL);
CREATE TABLE pack_sources (index_object INTEGER NOT NULL, pack INTEGER NOT NULL, PRIMARY KEY (index_object, pack)) WITHOUT ROWID;
CREATE INDEX pack_sources_by_pack ON pack_sources (pack);
CREATE TABLE chunks (
  key INTEGER PRIMARY KEY, confirm INTEGER NOT NULL, pack INTEGER NOT NULL, block INTEGER NOT NULL,
  offset INTEGER NOT NULL, length INTEGER NOT NULL);
CREATE TABLE more_chunks (
  key INTEGER NOT NULL, confirm INTEGER NOT NULL, pack INTEGER NOT NULL, block INTEGER NOT NULL,
  offset INTEGER NOT NULL, length INTEGER NOT NULL, PRIMARY KEY (key, confirm, pack, block, offset)) WITHOUT ROWID;
CREATE TABLE hidden_packs (name BLOB PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE hidden_chunks (contents INTEGER NOT NULL, id BLOB NOT NULL, PRIMARY KEY (contents, id)) WITHOUT ROWID;
CREATE TABLE sources (id INTEGER PRIMARY KEY, name BLOB NOT NULL UNIQUE, lineage BLOB);
CREATE TABLE directories (
  source INTEGER NOT NULL, key BLOB NOT NULL, tree BLOB NOT NULL, digest BLOB NOT NULL, inode INTEGER NOT NULL,
  side BLOB NOT NULL, PRIMARY KEY (source, key)) WITHOUT ROWID;
CREATE INDEX directories_by_inode ON directories (source, inode);
CREATE TABLE missed_directories (
  source INTEGER NOT NULL, key BLOB NOT NULL, day INTEGER NOT NULL, PRIMARY KEY (source, key)) WITHOUT ROWID;
CREATE TABLE finished_files (
  source INTEGER NOT NULL, directory BLOB NOT NULL, name BLOB NOT NULL, inode INTEGER NOT NULL, ctime_seconds INTEGER NOT NULL,
  ctime_nanos INTEGER NOT NULL, node BLOB NOT NULL, PRIMARY KEY (source, directory, name)) WITHOUT ROWID;
CREATE TABLE cached_objects (
  id INTEGER PRIMARY KEY, kind INTEGER NOT NULL, name BLOB NOT NULL, bytes BLOB NOT NULL, UNIQUE (kind, name));
INSERT INTO meta VALUES ('chunks', 0), ('orphans', 0);
",
};

/// What a file turns out to be.
pub(super) enum Found {
    Empty,
    Ours,
}

/// Opens a connection to a file that exists, or to a new database in memory.
pub(super) fn connect(path: Option<&Path>, cache_kib: i64) -> Result<Connection, Error> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = match path {
        Some(path) => Connection::open_with_flags(path, flags)?,
        None => Connection::open_in_memory()?,
    };
    connection.busy_timeout(BUSY_WAIT)?;
    connection.set_prepared_statement_cache_capacity(64);
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
    connection.pragma_update(None, "cache_size", -cache_kib)?;
    connection.pragma_update(None, "mmap_size", MAPPED)?;
    connection.pragma_update(None, "cell_size_check", true)?;
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    Ok(connection)
}

/// Whether the file is empty or of that layout and of `repository`; anything else is `Error::Damaged`, with the reason.
pub(super) fn examine(connection: &Connection, repository: &Id16, wanted: &Layout) -> Result<Found, Error> {
    let number = |name: &str| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let objects: i64 = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    let (application, layout) = (number("application_id")?, number("user_version")?);
    if application == 0 && layout == 0 && objects == 0 {
        return Ok(Found::Empty);
    }
    if application != i64::from(wanted.application) {
        return Err(Error::Damaged("the file is another program's database".to_owned()));
    }
    if layout != i64::from(wanted.number) {
        return Err(Error::Damaged(format!("it has layout {layout}, this version writes {}", wanted.number)));
    }
    let query = "SELECT value FROM meta WHERE key = 'repository'";
    let owner = connection.query_row(query, [], |row| row.get::<_, Vec<u8>>(0)).optional();
    let owner = owner.map_err(|error| match Error::from(error) {
        Error::Sql(text) => Error::Damaged(text),
        other => other,
    })?;
    match owner {
        Some(owner) if owner == repository.0 => Ok(Found::Ours),
        Some(_) => Err(Error::Damaged("it belongs to another repository".to_owned())),
        None => Err(Error::Damaged("it does not name its repository".to_owned())),
    }
}

/// Settings that the file keeps, for a file that is empty or ours.
pub(super) fn settle(connection: &Connection) -> Result<(), Error> {
    let mode: String = connection.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0))?;
    if mode != "wal" && mode != "memory" {
        return Err(Error::Io(format!("no write-ahead log on this file system (journal is {mode})")));
    }
    connection.pragma_update(None, "synchronous", "NORMAL")?;
    connection.pragma_update(None, "journal_size_limit", LOG_KEPT)?;
    Ok(())
}

/// Makes the tables, unless another process just did.
pub(super) fn create(connection: &mut Connection, repository: &Id16, layout: &Layout) -> Result<(), Error> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    if let Found::Empty = examine(&transaction, repository, layout)? {
        transaction.execute_batch(layout.tables)?;
        transaction.execute("INSERT INTO meta VALUES ('repository', ?1)", [&repository.0[..]])?;
        transaction.pragma_update(None, "application_id", layout.application)?;
        transaction.pragma_update(None, "user_version", layout.number)?;
        transaction.commit()?;
    }
    Ok(())
}
