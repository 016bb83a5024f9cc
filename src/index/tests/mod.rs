//! Tests of the index: opening, chunks and packs, the change cache and facts, used chunks.

mod caches;
mod chunks;
mod opening;
mod usage;

use super::*;
use crate::model::{Contents, Id, Id16};

/// The repository of these tests.
const REPOSITORY: Id16 = Id16([7; 16]);

/// An id from a number, spread like a hash.
fn id(number: u64) -> Id {
    Id(*blake3::hash(&number.to_le_bytes()).as_bytes())
}

/// A data pack named by `name` whose only block holds these chunks of 100 bytes.
fn pack(name: u64, chunks: &[Id]) -> PackRecord {
    let plain = 100 * chunks.len() as u32;
    PackRecord {
        writer: 0,
        name: id(name),
        length: 4096,
        contents: Contents::Data,
        salt: id(name + 1).0,
        commitment: id(name + 2).0,
        directory_offset: 2048,
        directory_length: 99,
        directory: format!("directory {name}").into_bytes(),
        blocks: vec![
            BlockRecord { codec: 1, offset: 96, stored: 10, plain: 0, chunks: vec![] },
            BlockRecord {
                codec: 0,
                offset: 106,
                stored: plain + 16,
                plain,
                chunks: chunks.iter().map(|id| (*id, 100)).collect(),
            },
        ],
    }
}

/// An index in memory.
fn index() -> Index {
    Index::in_memory(REPOSITORY).unwrap()
}

/// Names of the packs in which a chunk may be read.
fn readable(index: &Index, chunk: &Id) -> Vec<Id> {
    let places = index.lookup_for_reading(Contents::Data, chunk).unwrap();
    places.iter().map(|place| place.pack.name).collect()
}

/// Whether a data chunk counts as present.
fn present(index: &Index, chunk: &Id) -> bool {
    index.contains(Contents::Data, chunk).unwrap()
}
