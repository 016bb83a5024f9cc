//! What can go wrong in storage, sorted by what the caller can do about it.

use std::io;

/// What a system means that denies.
pub(super) const DENIED: &str = "permission denied, or the storage is read-only";

/// A storage operation that did not succeed. Every message is one line that begins with the object's path.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no such object (or no such repository folder).
    #[error("{object}: not found")]
    NotFound { object: String },

    /// An object of this name is there with another length; nothing was changed.
    #[error("{object}: is there already, with another length")]
    Exists { object: String },

    /// The folder holds other things: no place for a repository.
    #[error("{object} holds other files ({name} is one)")]
    Occupied { object: String, name: String },

    /// The object ends before the bytes that were asked for: `got` of `wanted` bytes from `offset` on are there.
    #[error("{object}: too short: {got} of {wanted} bytes at offset {offset}")]
    Short { object: String, offset: u64, wanted: u64, got: u64 },

    /// The object is longer than anything of its kind is, and was not read.
    #[error("{object}: it is far too long")]
    TooLong { object: String },

    /// The storage is full, or its quota is used up. Not worth a retry until something is removed.
    #[error("{object}: cannot {operation}: no space left on the storage")]
    NoSpace { object: String, operation: &'static str },

    /// Permissions, keys or a read-only storage forbid it: why, in a few words. Not worth a retry.
    #[error("{object}: {reason}")]
    Denied { object: String, reason: String },

    /// This program or this storage cannot do that at all.
    #[error("{object}: {reason}")]
    Unsupported { object: String, reason: String },

    /// Any other failure. Whether the operation took effect is not known.
    #[error("{object}: cannot {operation}: {source}")]
    Io { object: String, operation: &'static str, source: io::Error },
}

impl Error {
    /// Whether the object is not there.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Error::NotFound { .. })
    }

    /// Whether the storage is full.
    pub fn is_no_space(&self) -> bool {
        matches!(self, Error::NoSpace { .. })
    }

    /// Sorts a failure of the system. `operation` is a verb that goes after "cannot".
    pub(super) fn sort(object: impl Into<String>, operation: &'static str, source: io::Error) -> Error {
        use io::ErrorKind as Why;
        let object = object.into();
        match source.kind() {
            Why::NotFound => Error::NotFound { object },
            Why::StorageFull | Why::QuotaExceeded => Error::NoSpace { object, operation },
            Why::PermissionDenied | Why::ReadOnlyFilesystem => {
                Error::Denied { object, reason: DENIED.to_owned() }
            }
            _ => Error::Io { object, operation, source },
        }
    }
}
