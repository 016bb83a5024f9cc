//! What can go wrong in the index, by what the caller can do about it.

use rusqlite::ErrorCode;

/// An error of the index. None of them concerns the repository itself: the index is a cache.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file is not what was written: drop the index, call `Index::put_aside`, open again and synchronise.
    #[error("the local index is damaged: {0}")]
    Damaged(String),
    /// Another process is writing: go on without writing, or try later.
    #[error("the local index is in use by another process")]
    Busy,
    /// No room on the disk of the cache.
    #[error("the disk that holds the local index is full")]
    Full,
    /// The file or its folder cannot be opened, read or written.
    #[error("the local index cannot be used: {0}")]
    Io(String),
    /// Anything else that the database said.
    #[error("the local index: {0}")]
    Sql(String),
}

impl Error {
    /// Whether the cache is only unable to take something at present: going on without it loses nothing.
    pub fn is_passing(&self) -> bool {
        matches!(self, Error::Busy | Error::Full | Error::Io(_))
    }
}

impl From<rusqlite::Error> for Error {
    fn from(error: rusqlite::Error) -> Error {
        let text = error.to_string();
        match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Error::Damaged(text),
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Error::Busy,
            Some(ErrorCode::DiskFull) => Error::Full,
            Some(
                ErrorCode::SystemIoFailure
                | ErrorCode::CannotOpen
                | ErrorCode::ReadOnly
                | ErrorCode::PermissionDenied
                | ErrorCode::FileLockingProtocolFailed
                | ErrorCode::NoLargeFileSupport,
            ) => Error::Io(text),
            Some(_) => Error::Sql(text),
            None => match error {
                rusqlite::Error::FromSqlConversionFailure(..)
                | rusqlite::Error::IntegralValueOutOfRange(..)
                | rusqlite::Error::InvalidColumnType(..)
                | rusqlite::Error::Utf8Error(..) => Error::Damaged(text),
                _ => Error::Sql(text),
            },
        }
    }
}

impl From<std::io::Error> for Error {
    fn from(error: std::io::Error) -> Error {
        match error.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => Error::Full,
            std::io::ErrorKind::WouldBlock => Error::Busy,
            _ => Error::Io(error.to_string()),
        }
    }
}

impl From<rustix::io::Errno> for Error {
    fn from(error: rustix::io::Errno) -> Error {
        Error::from(std::io::Error::from(error))
    }
}
