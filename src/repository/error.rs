//! What can go wrong with a repository, by what the caller can do about it.

use crate::backend::{self, Backend, Kind};
use crate::model::{Contents, Id};
use crate::{crypto, format, index};

/// An error of the repository. Messages are one line that names the object.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("no repository at {location}")]
    NoRepository { location: String },
    #[error("{location} holds a repository already")]
    Exists { location: String },
    /// It was there when the run began.
    #[error("the repository at {location} is gone: is its disk still mounted?")]
    Gone { location: String },
    #[error("wrong password or key for {location}")]
    WrongKey { location: String },
    /// What a key that only adds is not for.
    #[error("the key for {location} only adds backups: it neither reads nor removes")]
    NotGiven { location: String },
    /// What another key sealed, and the one in use, which only adds, does not open.
    #[error("{object}: sealed with another key")]
    Closed { object: String },
    /// An object is not what it should be.
    #[error("damaged: {object}: {what}")]
    Damaged { object: String, what: String },
    /// Storage does not give an object; `forbidden` to this user, or for another reason that may pass.
    #[error("{object}: {what}")]
    Unread { object: String, what: String, forbidden: bool },
    /// An object that a newer program wrote.
    #[error("{object}: {what}")]
    Unsupported { object: String, what: String },
    /// No pack holds that chunk.
    #[error("lost: no pack holds the {} {id}", if *.contents == Contents::Data { "data chunk" } else { "tree" })]
    Lost { contents: Contents, id: Id },
    /// Another process changed something meanwhile; begin again.
    #[error("this run slept past its lease, or packs were marked for removal meanwhile")]
    Overtaken,
    /// The last key slot must not go.
    #[error("{0}")]
    Refused(String),
    /// Listings of this storage may be behind by nobody knows how long.
    #[error(
        "{location}: it is not known how long this storage takes to list what was put, so nothing can be removed safely"
    )]
    Unsettled { location: String },
    /// The target of a restore holds something that differs, and nothing was said about it.
    #[error("{what}")]
    Conflict { what: String },
    /// The target of a restore can not be written.
    #[error("{path}: {what}")]
    Target { path: String, what: String },
    /// The program itself went wrong, in the midst of something.
    #[error("a bug in copal: {what}; nothing that was saved before is hurt")]
    Bug { what: String },
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

/// Does `work`, and makes a panic in it an error: a thread that is gone without a word would leave the others waiting for it.
pub fn caught<T>(work: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
    // Whatever a panic leaves half done is not used again: the run ends with this error.
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)).unwrap_or_else(|payload| {
        let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
        let text = text.or_else(|| payload.downcast_ref::<String>().cloned());
        let what = text.unwrap_or_else(|| "it stopped for an unknown reason".to_owned());
        Err(Error::Bug { what: what.replace('\n', " ") })
    })
}

impl Error {
    /// A damaged object of that kind and name.
    pub fn damaged(kind: Kind, name: &str, what: &str) -> Error {
        Error::Damaged { object: format!("{}/{name}", kind.folder()), what: what.to_owned() }
    }

    /// What storage said when one object was read. While the repository itself still answers, it is that object alone that is out of
    /// reach (a bad sector, lost permissions), which is damage like any other; when nothing answers, the storage is gone.
    pub fn reading(backend: &dyn Backend, kind: Kind, name: &str, error: backend::Error) -> Error {
        let of_one_object = matches!(
            error,
            backend::Error::Io { .. }
                | backend::Error::Denied { .. }
                | backend::Error::NotFound { .. }
                | backend::Error::Short { .. }
                | backend::Error::TooLong { .. }
        );
        if !of_one_object || matches!(kind, Kind::Config | Kind::Keys) {
            return Error::Backend(error);
        }
        match backend.exists_repository() {
            Ok(true) => {
                let (unread, forbidden) = match error {
                    backend::Error::Io { .. } => (true, false),
                    backend::Error::Denied { .. } => (true, true),
                    _ => (false, false),
                };
                let what = Error::what(error);
                match unread {
                    true => Error::Unread { object: format!("{}/{name}", kind.folder()), what, forbidden },
                    false => Error::damaged(kind, name, &what),
                }
            }
            Ok(false) => Error::Gone { location: backend.location() },
            Err(_) => Error::Backend(error),
        }
    }

    /// What is wrong with an object, without its path.
    fn what(error: backend::Error) -> String {
        match error {
            backend::Error::NotFound { .. } => "missing".to_owned(),
            backend::Error::Denied { reason, .. } => format!("cannot be read: {reason}"),
            backend::Error::TooLong { .. } => "it is far too long".to_owned(),
            backend::Error::Io { source, .. } => format!("cannot be read: {source}"),
            backend::Error::Short { wanted, got, offset, .. } => {
                format!("too short: {got} of {wanted} bytes at offset {offset}")
            }
            other => other.to_string(),
        }
    }

    /// What a decoder said of an object.
    pub fn format(object: &str, error: format::Error) -> Error {
        let object = object.to_owned();
        match error {
            format::Error::NotGiven => Error::Closed { object },
            error if error.is_unsupported() => Error::Unsupported { object, what: error.to_string() },
            error => Error::Damaged { object, what: error.to_string() },
        }
    }

    /// What a decoder said of an object of that kind and name.
    pub fn decode(kind: Kind, name: &str, error: format::Error) -> Error {
        Error::format(&format!("{}/{name}", kind.folder()), error)
    }

    /// Whether the storage is full.
    pub fn is_no_space(&self) -> bool {
        matches!(self, Error::Backend(error) if error.is_no_space())
    }

    /// Whether a newer program wrote what this one can not read: it is not given, but nothing is wrong with it.
    pub fn is_of_later_version(&self) -> bool {
        matches!(self, Error::Unsupported { .. })
    }

    /// Whether storage did not give an object that is there: nothing is known to be wrong with it.
    pub fn is_unread(&self) -> bool {
        matches!(self, Error::Unread { .. })
    }

    /// Whether this user may not read an object that is there.
    pub fn is_forbidden(&self) -> bool {
        matches!(self, Error::Unread { forbidden: true, .. })
    }

    /// Whether the repository lacks or breaks something that a snapshot needs, or holds it in a form that this program can not read. It
    /// costs what it holds, and nothing beside that.
    pub fn is_damage(&self) -> bool {
        matches!(
            self,
            Error::Damaged { .. }
                | Error::Unread { .. }
                | Error::Lost { .. }
                | Error::Unsupported { .. }
                | Error::Closed { .. }
        )
    }
}
