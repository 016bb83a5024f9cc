//! Copies of small objects, many in one, for who comes with an empty cache. docs/format.md, section 9.

use super::record::{Reader, Writer};
use super::{Error, limits::LIST_MAX, small};
use crate::crypto::Keys;
use crate::model::Id;

/// Kind number.
pub const KIND: u8 = 13;

/// A copy of one object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copied {
    /// Kind number of the object.
    pub kind: u8,
    pub name: Id,
    /// Its stored bytes.
    pub bytes: Vec<u8>,
}

fn encode_one(copied: &Copied) -> Vec<u8> {
    let mut writer = Writer::default();
    writer.int(1, true, u64::from(copied.kind)).id(2, true, Some(&copied.name)).field(3, true, &copied.bytes);
    writer.finish()
}

fn decode_one(bytes: &[u8]) -> Result<Copied, Error> {
    let (mut kind, mut name, mut stored) = (0, None, Vec::new());
    let mut reader = Reader::new(bytes);
    while let Some(field) = reader.next()? {
        match field.number {
            // A kind that no object has is one of a later version, and nobody asks for it.
            1 => kind = u8::try_from(field.int()?).unwrap_or(0),
            2 => name = Some(field.id()?),
            3 => stored = field.value.to_vec(),
            _ => field.unknown()?,
        }
    }
    let name = name.ok_or(Error::Malformed("a copy lacks its name"))?;
    Ok(Copied { kind, name, bytes: stored })
}

/// Encodes the object.
pub fn encode(keys: &Keys, copies: &[Copied]) -> Result<Vec<u8>, Error> {
    let mut writer = Writer::default();
    writer.list(1, true, copies.iter().map(encode_one));
    small::encode(keys, KIND, &[], &writer.finish())
}

/// Opens the object.
pub fn decode(keys: &Keys, object: &[u8]) -> Result<Vec<Copied>, Error> {
    let record = small::decode(keys, KIND, object)?;
    let mut copies = Vec::new();
    let mut reader = Reader::new(&record);
    while let Some(field) = reader.next()? {
        match field.number {
            1 => copies = field.list(LIST_MAX, decode_one)?,
            _ => field.unknown()?,
        }
    }
    Ok(copies)
}
