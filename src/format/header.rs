//! The 32 bytes that every object begins with. docs/format.md, section 2.

use super::{Error, limits::HEADER_LEN};
use crate::model::Id16;

/// The first eight bytes of every object.
pub const MAGIC: [u8; 8] = *b"\x8bCOPAL\r\n";
/// The format version that this program reads and writes.
pub const VERSION: u8 = 1;

/// The header of an object of that kind number.
pub fn encode(kind: u8, repository: Id16) -> [u8; HEADER_LEN] {
    let mut header = [0; HEADER_LEN];
    header[..8].copy_from_slice(&MAGIC);
    header[8] = kind;
    header[9] = VERSION;
    header[16..].copy_from_slice(&repository.0);
    header
}

/// Checks the header of an object that should be of that kind, and gives its repository id.
pub fn decode(bytes: &[u8], kind: u8) -> Result<Id16, Error> {
    let header: &[u8; HEADER_LEN] = bytes.first_chunk().ok_or(Error::Malformed("shorter than a header"))?;
    if header[..8] != MAGIC {
        return Err(Error::Foreign("it does not begin with copal's magic"));
    }
    if header[8] != kind {
        return Err(Error::Foreign("it is of another kind"));
    }
    if header[9] != VERSION {
        return Err(Error::Unsupported(format!("format version {}", header[9])));
    }
    if header[10] != 0 {
        return Err(Error::Unsupported(format!("wrap kind {}", header[10])));
    }
    if header[11] != 0 {
        return Err(Error::Unsupported(format!("signature kind {}", header[11])));
    }
    if header[12..16] != [0; 4] {
        return Err(Error::Unsupported("key epoch".to_owned()));
    }
    let mut repository = Id16::default();
    repository.0.copy_from_slice(&header[16..]);
    Ok(repository)
}

/// Checks that the header is of that kind and repository.
pub fn check(bytes: &[u8], kind: u8, repository: Id16) -> Result<(), Error> {
    if decode(bytes, kind)? == repository {
        Ok(())
    } else {
        Err(Error::Foreign("it is of another repository"))
    }
}

/// The object with the header that every object of that kind has in this repository. Where it opens then, only its header was changed,
/// since all of a header is sealed with what comes behind it.
pub fn with_own(object: &[u8], kind: u8, repository: Id16) -> Vec<u8> {
    let rest = object.get(HEADER_LEN..).unwrap_or_default();
    [&encode(kind, repository)[..], rest].concat()
}
