//! What can go wrong with a repository, by what the caller can do about it.

use crate::backend::{self, Kind};
use crate::model::{Contents, Id};
use crate::{crypto, format, index};

/// An error of the repository. Messages are one line that names the object.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("no repository at {location}")]
    NoRepository { location: String },
    #[error("{location} holds a repository already")]
    Exists { location: String },
    #[error("wrong password or key for {location}")]
    WrongKey { location: String },
    /// An object is not what it should be.
    #[error("damaged: {object}: {what}")]
    Damaged { object: String, what: String },
    /// An object that a newer program wrote.
    #[error("{object}: {what}")]
    Unsupported { object: String, what: String },
    /// No pack holds that chunk.
    #[error("lost: no pack holds the {} {id}", if *.contents == Contents::Data { "data chunk" } else { "tree" })]
    Lost { contents: Contents, id: Id },
    /// Another process changed something meanwhile; begin again.
    #[error("packs were marked for removal meanwhile")]
    Overtaken,
    /// The last key slot must not go.
    #[error("{0}")]
    Refused(String),
    /// The target of a restore holds something that differs, and nothing was said about it.
    #[error("{what}")]
    Conflict { what: String },
    /// The target of a restore can not be written.
    #[error("{path}: {what}")]
    Target { path: String, what: String },
    /// The run was stopped because something else failed or a signal came.
    #[error("stopped")]
    Stopped,
    #[error(transparent)]
    Backend(#[from] backend::Error),
    #[error("the local cache: {0}")]
    Index(#[from] index::Error),
    #[error(transparent)]
    Crypto(#[from] crypto::Error),
    #[error("compression: {0}")]
    Compress(std::io::Error),
}

impl Error {
    /// A damaged object of that kind and name.
    pub fn damaged(kind: Kind, name: &str, what: &str) -> Error {
        Error::Damaged { object: format!("{}/{name}", kind.folder()), what: what.to_owned() }
    }

    /// What a decoder said of an object.
    pub fn format(object: &str, error: format::Error) -> Error {
        let object = object.to_owned();
        match error {
            error if error.is_unsupported() => Error::Unsupported { object, what: error.to_string() },
            error => Error::Damaged { object, what: error.to_string() },
        }
    }

    /// What a decoder said of an object of that kind and name.
    pub fn decode(kind: Kind, name: &str, error: format::Error) -> Error {
        Error::format(&format!("{}/{name}", kind.folder()), error)
    }

    /// Whether the repository lacks or breaks something that a snapshot needs.
    pub fn is_damage(&self) -> bool {
        match self {
            Error::Damaged { .. } | Error::Lost { .. } => true,
            Error::Backend(error) => error.is_not_found() || matches!(error, backend::Error::Short { .. }),
            _ => false,
        }
    }
}
