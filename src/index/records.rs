//! The plain records that go into the index and come out of it.

use std::sync::Arc;

use crate::model::{Contents, Id};

/// A pack as its writer or an index object describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PackRecord {
    pub name: Id,
    pub length: u64,
    pub contents: Contents,
    pub salt: [u8; 32],
    pub commitment: [u8; 32],
    /// Who made it: a writer's number, or 0.
    pub writer: u32,
    pub directory_offset: u64,
    pub directory_length: u32,
    /// Plain text of the pack's directory, kept for `Index::pack_directory`; empty = do not keep it (about 35 bytes a chunk less).
    pub directory: Vec<u8>,
    pub blocks: Vec<BlockRecord>,
}

/// A block of a pack, with its chunks (id and length) in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockRecord {
    pub codec: u8,
    pub offset: u64,
    pub stored: u32,
    pub plain: u32,
    pub chunks: Vec<(Id, u32)>,
}

/// What the index knows of a pack; shared by all locations in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PackInfo {
    /// Row in the database, never used twice; 0 while the pack is only in memory.
    pub row: u64,
    pub name: Id,
    pub length: u64,
    pub contents: Contents,
    pub salt: [u8; 32],
    pub commitment: [u8; 32],
    /// Who made it: a writer's number, or 0.
    pub writer: u32,
    pub directory_offset: u64,
    pub directory_length: u32,
    /// Number of chunks in the pack.
    pub chunks: u64,
    /// Whether a known index object lists the pack. One that is not listed answers only in the process that wrote it.
    pub listed: bool,
    pub blocks: Vec<BlockInfo>,
}

/// Where a block of a pack lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockInfo {
    pub codec: u8,
    pub offset: u64,
    pub stored: u32,
    pub plain: u32,
}

/// Where a chunk lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Location {
    pub pack: Arc<PackInfo>,
    /// Number of the block in the pack.
    pub block: u32,
    pub codec: u8,
    pub block_offset: u64,
    pub block_stored: u32,
    pub block_plain: u32,
    /// Offset in the plain block.
    pub offset: u32,
    pub length: u32,
}

/// Bytes of one block in a pack's row.
const BLOCK_LEN: usize = 17;

impl PackInfo {
    /// The facts of a pack record, not yet in the database.
    pub(crate) fn of(record: &PackRecord) -> PackInfo {
        let blocks = record.blocks.iter();
        PackInfo {
            row: 0,
            name: record.name,
            length: record.length,
            contents: record.contents,
            salt: record.salt,
            commitment: record.commitment,
            writer: record.writer,
            directory_offset: record.directory_offset,
            directory_length: record.directory_length,
            chunks: record.places().count() as u64,
            listed: false,
            blocks: blocks
                .map(|b| BlockInfo { codec: b.codec, offset: b.offset, stored: b.stored, plain: b.plain })
                .collect(),
        }
    }
}

impl PackRecord {
    /// Every chunk with its block, offset in the plain block, and length. One that does not fit into its block is left out.
    pub(super) fn places(&self) -> impl Iterator<Item = (&Id, u32, u32, u32)> {
        self.blocks.iter().zip(0u32..).flat_map(|(block, number)| {
            let mut end = 0u64;
            block.chunks.iter().filter_map(move |(id, length)| {
                let start = end;
                end += u64::from(*length);
                (end <= u64::from(block.plain)).then_some((id, number, start as u32, *length))
            })
        })
    }
}

/// The blocks of a pack as bytes for its row.
pub(super) fn encode_blocks(blocks: &[BlockInfo]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(blocks.len() * BLOCK_LEN);
    for block in blocks {
        bytes.push(block.codec);
        bytes.extend_from_slice(&block.offset.to_le_bytes());
        bytes.extend_from_slice(&block.stored.to_le_bytes());
        bytes.extend_from_slice(&block.plain.to_le_bytes());
    }
    bytes
}

/// The blocks of a pack's row; `None` when the bytes are no whole number of blocks.
pub(super) fn decode_blocks(bytes: &[u8]) -> Option<Vec<BlockInfo>> {
    let (rows, rest) = bytes.as_chunks::<BLOCK_LEN>();
    rest.is_empty().then(|| rows.iter().map(decode_block).collect())
}

/// One block of a pack's row.
fn decode_block(row: &[u8; BLOCK_LEN]) -> BlockInfo {
    let [codec, a, b, c, d, e, f, g, h, s0, s1, s2, s3, p0, p1, p2, p3] = *row;
    BlockInfo {
        codec,
        offset: u64::from_le_bytes([a, b, c, d, e, f, g, h]),
        stored: u32::from_le_bytes([s0, s1, s2, s3]),
        plain: u32::from_le_bytes([p0, p1, p2, p3]),
    }
}
