//! Index objects: the directories of many packs. docs/format.md, section 9.

use super::record::{Reader, Writer};
use super::{Error, header, limits, limits::LIST_MAX, pack, pack::PackKey, small};
use crate::crypto::{FULL, Keys};
use crate::model::Id;

/// Kind number of index objects.
pub const KIND: u8 = 4;

/// A pack as an index object names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PackEntry {
    pub name: Id,
    /// Stored bytes.
    pub length: u64,
    pub salt: [u8; 32],
    pub commitment: [u8; 32],
    pub directory: pack::Directory,
    pub directory_offset: u64,
    pub directory_length: u32,
    pub maker: Maker,
}

/// Who made a pack.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Maker {
    /// A writer's number, or `FULL`.
    pub writer: u32,
    /// Of a writer's pack what proves its directory.
    pub proof: [u8; 32],
}

impl Maker {
    /// Of a pack with that key, name and length, whose directory has that offset and plain text.
    pub fn of(key: &PackKey, name: &Id, length: u64, offset: u64, directory: &[u8]) -> Maker {
        match key.writer() {
            FULL => Maker::default(),
            writer => Maker { writer, proof: key.proof(name, length, offset, directory) },
        }
    }
}

/// What an index object holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IndexObject {
    pub packs: Vec<PackEntry>,
    /// Stored bytes of snapshot objects.
    pub snapshots: Vec<Vec<u8>>,
    /// Names of the index objects that this one replaces.
    pub replaces: Vec<Id>,
    /// A copy of the newest `config`.
    pub config: Vec<u8>,
    /// Not in it: packs that it names too and that storage did not give when it was held to them.
    pub unseen: Vec<Id>,
}

fn encode_entry(entry: &PackEntry) -> Vec<u8> {
    let mut writer = Writer::default();
    writer
        .id(1, true, Some(&entry.name))
        .int(2, true, entry.length)
        .field(3, true, &entry.salt)
        .field(4, true, &entry.commitment)
        .field(5, true, &pack::encode_directory(&entry.directory))
        .int(6, true, entry.directory_offset)
        .int(7, true, u64::from(entry.directory_length));
    if entry.maker.writer != FULL {
        writer.int(8, true, u64::from(entry.maker.writer)).field(9, true, &entry.maker.proof);
    }
    writer.finish()
}

fn decode_entry(bytes: &[u8], proves: &dyn Fn(&PackEntry, &[u8]) -> bool) -> Result<PackEntry, Error> {
    let (mut name, mut length, mut salt, mut commitment) = (None, 0, None, None);
    let (mut directory, mut directory_offset, mut directory_length): (&[u8], _, _) = (&[], 0, 0);
    let mut maker = Maker::default();
    let mut reader = Reader::new(bytes);
    while let Some(field) = reader.next()? {
        match field.number {
            1 => name = Some(field.id()?),
            2 => length = field.int()?,
            3 => salt = Some(field.array()?),
            4 => commitment = Some(field.array()?),
            5 => directory = field.value,
            6 => directory_offset = field.int()?,
            7 => directory_length = field.int32()?,
            8 => maker.writer = field.int32()?,
            9 => maker.proof = field.array()?,
            _ => field.unknown()?,
        }
    }
    let (Some(name), Some(salt), Some(commitment)) = (name, salt, commitment) else {
        return Err(Error::Malformed("an index entry lacks a field"));
    };
    let end = directory_offset.checked_add(u64::from(directory_length) + pack::FOOTER_LEN as u64);
    if length > limits::PACK_MAX || end != Some(length) || directory_offset < pack::BLOCKS_AT as u64 {
        return Err(Error::Malformed("an index entry's lengths make no sense"));
    }
    let plain = directory;
    let directory = pack::decode_directory(plain, directory_offset)?;
    let entry =
        PackEntry { name, length, salt, commitment, directory, directory_offset, directory_length, maker };
    match maker.writer == FULL || pack::is_plain(&entry.directory, plain) && proves(&entry, plain) {
        true => Ok(entry),
        false => Err(Error::Malformed("an index entry does not prove what it says")),
    }
}

/// Encodes the object.
pub fn encode(keys: &Keys, index: &IndexObject) -> Result<Vec<u8>, Error> {
    let mut writer = Writer::default();
    writer
        .list(1, true, index.packs.iter().map(encode_entry))
        .list(2, false, &index.snapshots)
        .list(3, false, index.replaces.iter().map(|id| id.0))
        .bytes(4, false, &index.config);
    small::encode(keys, KIND, &[], &writer.finish())
}

/// Whether the pack's own key says what an entry says of it; of their own packs, whose keys they forgot, writers believe themselves.
fn proves(keys: &Keys, entry: &PackEntry, directory: &[u8]) -> bool {
    if keys.writer() == entry.maker.writer {
        return true;
    }
    PackKey::of(keys, entry.maker.writer, entry.directory.contents, &entry.salt).is_ok_and(|key| {
        let hash = blake3::Hash::from_bytes;
        hash(key.commitment()) == hash(entry.commitment)
            && hash(entry.maker.proof)
                == hash(key.proof(&entry.name, entry.length, entry.directory_offset, directory))
    })
}

/// Opens the object. One that a writer made says nothing but what its own packs hold.
pub fn decode(keys: &Keys, object: &[u8]) -> Result<IndexObject, Error> {
    let record = small::decode(keys, KIND, object)?;
    let writer = header::writer(object);
    let mut index = IndexObject::default();
    let mut reader = Reader::new(&record);
    while let Some(field) = reader.next()? {
        match field.number {
            1 => {
                let entry = |bytes: &[u8]| decode_entry(bytes, &|entry, plain| proves(keys, entry, plain));
                index.packs = field.list(limits::INDEX_PACKS, entry)?;
            }
            2 => index.snapshots = field.list(LIST_MAX, |bytes| Ok(bytes.to_vec()))?,
            3 => index.replaces = field.list(LIST_MAX, super::record::element_id)?,
            4 => index.config = field.value.to_vec(),
            _ => field.unknown()?,
        }
    }
    if writer == FULL {
        return Ok(index);
    }
    if index.packs.iter().any(|entry| entry.maker.writer != writer) {
        return Err(Error::Malformed("it names a pack of somebody else"));
    }
    Ok(IndexObject { packs: index.packs, replaces: index.replaces, ..IndexObject::default() })
}
