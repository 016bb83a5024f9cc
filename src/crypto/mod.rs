//! Keys and bytes: subkeys, ids, sealing, password derivation. Knows no object and no file.

pub mod hash;
pub mod key;
pub mod password;
pub mod seal;
pub mod sign;

pub use hash::{Hasher, object_name};
pub use key::{FULL, Keys, MasterKey, SharedKeys, WriterKeys};

/// What can go wrong here.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Error {
    /// The bytes were changed, cut short, moved, or sealed under another key.
    #[error("does not open: changed, or of another repository")]
    DoesNotOpen,
    /// A slot's parameters lie outside what is accepted.
    #[error("key derivation parameters outside the accepted range: {0}")]
    Parameters(String),
    /// The operating system gave no random bytes.
    #[error("the system gives no random bytes: {0}")]
    NoRandom(String),
}

/// Fresh random bytes from the operating system.
pub fn random<const N: usize>() -> Result<[u8; N], Error> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| Error::NoRandom(error.to_string()))?;
    Ok(bytes)
}
