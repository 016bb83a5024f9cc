//! Bytes to nouns and back: no I/O, no clock, no panic; one file per object kind. docs/format.md is the norm.

pub mod config;
pub mod content;
pub mod copies;
pub mod header;
pub mod index;
pub mod limits;
pub mod node;
pub mod note;
pub mod pack;
pub mod parity;
pub mod record;
pub mod session;
pub mod slot;
pub mod small;
pub mod snapshot;
pub mod tree;

/// Why bytes are not what they should be.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Error {
    /// The bytes break the format.
    #[error("malformed: {0}")]
    Malformed(&'static str),
    /// It carries a field that this program must not pass over.
    #[error("needs a newer copal (unknown field {0})")]
    UnknownField(u64),
    /// A version, wrap kind, codec or role that this program does not know.
    #[error("needs a newer copal ({0})")]
    Unsupported(String),
    /// Another key than this one, which only adds, sealed it.
    #[error("sealed with a key that this one, which only adds, does not have")]
    NotGiven,
    /// It is not one of copal's objects at all, or of another kind or repository.
    #[error("not the object it should be: {0}")]
    Foreign(&'static str),
    /// It does not open under the key: changed, cut short or moved.
    #[error(transparent)]
    Sealed(#[from] crate::crypto::Error),
}

impl Error {
    /// Whether a newer program might read it, so that it is not damage.
    pub fn is_unsupported(&self) -> bool {
        matches!(self, Error::UnknownField(_) | Error::Unsupported(_))
    }
}
