//! The 32 bytes that every object begins with. docs/format.md, section 2.

use super::{Error, limits::HEADER_LEN};
use crate::crypto::FULL;
use crate::model::Id16;

/// The first eight bytes of every object.
pub const MAGIC: [u8; 8] = *b"\x8bCOPAL\r\n";
/// The format version that this program reads and writes.
pub const VERSION: u8 = 1;

/// The kind of index objects, the only ones that are signed.
const SIGNED: u8 = super::index::KIND;
/// Signature kind of those.
const ED25519: u8 = 1;

/// Kinds of objects that writers make.
const OF_WRITERS: [u8; 5] = [3, 4, 5, 6, 7];

/// The header of an object of that kind number.
pub fn encode(kind: u8, repository: Id16) -> [u8; HEADER_LEN] {
    encode_by(FULL, kind, repository)
}

/// The header of an object of that kind number that this writer makes, or a full key.
pub fn encode_by(writer: u32, kind: u8, repository: Id16) -> [u8; HEADER_LEN] {
    let mut header = [0; HEADER_LEN];
    header[..8].copy_from_slice(&MAGIC);
    header[8] = kind;
    header[9] = VERSION;
    header[10] = u8::from(writer != FULL);
    header[11] = if kind == SIGNED && writer == FULL { ED25519 } else { 0 };
    header[12..16].copy_from_slice(&writer.to_le_bytes());
    header[16..].copy_from_slice(&repository.0);
    header
}

/// Whether an object says that it is signed.
pub fn is_signed(bytes: &[u8]) -> bool {
    bytes.get(11) == Some(&ED25519)
}

/// By whom an object says that it was made: a writer's number, or `FULL`. Only what opens as that one's was.
pub fn writer(bytes: &[u8]) -> u32 {
    match bytes {
        [_, _, _, _, _, _, _, _, _, _, 1, _, a, b, c, d, ..] => u32::from_le_bytes([*a, *b, *c, *d]),
        _ => FULL,
    }
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
    match header[11] {
        0 => {}
        ED25519 if kind == SIGNED && header[10] == 0 => {}
        // No word of a later version, which would stop everybody.
        ED25519 => return Err(Error::Malformed("such an object is not signed")),
        other => return Err(Error::Unsupported(format!("signature kind {other}"))),
    }
    match header[10] {
        0 if header[12..16] != [0; 4] => return Err(Error::Unsupported("key epoch".to_owned())),
        0 => {}
        1 if OF_WRITERS.contains(&kind) && header[12..16] != [0; 4] => {}
        // No word of a later version, which would stop everybody.
        1 => return Err(Error::Malformed("a write-only key makes no such object")),
        other => return Err(Error::Unsupported(format!("wrap kind {other}"))),
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

/// The object with the header that every object of that kind has in this repository when a full key made it. Where it opens then, only its
/// header was changed, since all of a header is sealed with what comes behind it.
pub fn with_own(object: &[u8], kind: u8, repository: Id16) -> Vec<u8> {
    with_that_of(FULL, object, kind, repository)
}

/// The same, and with the header of the writer that it names, and the one that is not signed where those of that kind are.
pub fn with_each_own(object: &[u8], kind: u8, repository: Id16) -> impl Iterator<Item = Vec<u8>> {
    let named = object.get(12..16).and_then(|bytes| bytes.try_into().ok()).map_or(FULL, u32::from_le_bytes);
    let writer = Some(named).filter(|writer| *writer != FULL && OF_WRITERS.contains(&kind));
    let makers = [Some(FULL), writer].into_iter().flatten();
    let own = makers.map(move |maker| with_that_of(maker, object, kind, repository));
    let unsigned = (kind == SIGNED).then(|| {
        let mut unsigned = with_that_of(FULL, object, kind, repository);
        unsigned[11] = 0;
        unsigned
    });
    own.chain(unsigned)
}

fn with_that_of(maker: u32, object: &[u8], kind: u8, repository: Id16) -> Vec<u8> {
    let rest = object.get(HEADER_LEN..).unwrap_or_default();
    [&encode_by(maker, kind, repository)[..], rest].concat()
}
