//! Packs: blocks, a sealed directory, a footer. docs/format.md, section 5.

use std::collections::HashSet;

use zeroize::{Zeroize, ZeroizeOnDrop};

use super::record::{Cursor, Reader, Writer, put_varint};
use super::{Error, header, limits};
use crate::crypto::hash::keyed;
use crate::crypto::{self, FULL, Keys, seal, seal::Part};
use crate::model::{Contents, Id, Id16, Time};

/// Kind number of packs.
pub const KIND: u8 = 3;
/// Where the first block begins.
pub const BLOCKS_AT: usize = 96;
/// Length of the footer.
pub const FOOTER_LEN: usize = 144;
const FOOTER_MAGIC: &[u8; 8] = b"COPALEND";
/// Codecs of a block.
pub const CODEC_PLAIN: u8 = 0;
pub const CODEC_ZSTD: u8 = 1;

/// A pack's key and what binds its parts to it.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct PackKey {
    key: [u8; 32],
    #[zeroize(skip)]
    contents: Contents,
    /// header || salt
    head: [u8; 64],
}

impl PackKey {
    /// The key of the pack with that salt, of a full key.
    pub fn new(keys: &Keys, contents: Contents, salt: &[u8; 32]) -> PackKey {
        let mut material = [0; 33];
        material[..32].copy_from_slice(salt);
        material[32] = contents as u8;
        PackKey { key: keyed(&keys.pack, &material), contents, head: head(FULL, keys, salt) }
    }

    /// The key of the pack with that salt, whoever made it.
    ///
    /// Errors: `NotGiven` for who only adds.
    pub fn of(keys: &Keys, writer: u32, contents: Contents, salt: &[u8; 32]) -> Result<PackKey, Error> {
        Ok(PackKey::of_any(keys, writer, salt)?(contents))
    }

    /// The same of the kind of contents that is asked for.
    fn of_any(keys: &Keys, writer: u32, salt: &[u8; 32]) -> Result<impl Fn(Contents) -> PackKey, Error> {
        let wrapped = match (writer, keys.writer()) {
            (FULL, FULL) => None,
            (FULL, _) => return Err(Error::NotGiven),
            _ => Some(keys.unwrap(writer, salt).ok_or(Error::NotGiven)?),
        };
        Ok(move |contents| match &wrapped {
            None => PackKey::new(keys, contents, salt),
            Some(wrapped) => PackKey::wrapped(keys, writer, wrapped, contents, salt),
        })
    }

    /// The key of a new pack, with its salt.
    pub fn generate(keys: &Keys, contents: Contents) -> Result<(PackKey, [u8; 32]), Error> {
        if keys.writer() == FULL {
            let salt = crypto::random()?;
            return Ok((PackKey::new(keys, contents, &salt), salt));
        }
        let (wrapped, salt) = keys.wrap()?;
        Ok((PackKey::wrapped(keys, keys.writer(), &wrapped, contents, &salt), salt))
    }

    fn wrapped(keys: &Keys, writer: u32, wrapped: &[u8; 32], contents: Contents, salt: &[u8; 32]) -> PackKey {
        PackKey { key: keyed(wrapped, &[contents as u8]), contents, head: head(writer, keys, salt) }
    }

    /// Who made the pack: the number of a writer, or `FULL`.
    pub fn writer(&self) -> u32 {
        header::writer(&self.head)
    }

    /// What proves that an index entry was made when its pack was: only the pack's key makes it, and its writer forgot that. Of the pack's
    /// name, its length, and the offset and plain text of its directory.
    pub fn proof(&self, name: &Id, length: u64, offset: u64, directory: &[u8]) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new_keyed(&self.key);
        hasher.update(b"copal pack proof").update(&name.0);
        hasher.update(&length.to_le_bytes()).update(&offset.to_le_bytes()).update(directory);
        *hasher.finalize().as_bytes()
    }

    /// The pack's key commitment.
    pub fn commitment(&self) -> [u8; 32] {
        keyed(&self.key, b"copal pack commitment")
    }

    fn associated(&self, number: u64) -> [u8; 73] {
        let mut bytes = [0; 73];
        bytes[..64].copy_from_slice(&self.head);
        bytes[64] = self.contents as u8;
        bytes[65..].copy_from_slice(&number.to_le_bytes());
        bytes
    }

    /// The bytes that stand before the first block.
    pub fn head(&self) -> Vec<u8> {
        let mut head = self.head.to_vec();
        head.extend_from_slice(&self.commitment());
        head
    }

    /// Seals block `number`. Each number is sealed once in a pack's life.
    pub fn seal_block(&self, number: u64, bytes: &mut Vec<u8>) -> Result<(), Error> {
        Ok(seal::seal_part(&self.key, Part::Block(number), &self.associated(number), bytes)?)
    }

    /// Opens block `number`.
    pub fn open_block(&self, number: u64, bytes: &mut Vec<u8>) -> Result<(), Error> {
        Ok(seal::open_part(&self.key, Part::Block(number), &self.associated(number), bytes)?)
    }

    /// Padding, sealed directory and footer, appended to a pack whose blocks end at the end of `pack`. Gives the directory's offset and length.
    pub fn finish(&self, pack: &mut Vec<u8>, directory: &[u8]) -> Result<(u64, u32), Error> {
        let sealed = directory.len() + seal::TAG_LEN;
        let padding = padding(pack.len() + sealed + FOOTER_LEN);
        let blocks_end = pack.len();
        pack.resize(blocks_end + padding, 0);
        let mut stream = blake3::Hasher::new_keyed(&self.key);
        stream.update(b"copal pack padding").finalize_xof().fill(&mut pack[blocks_end..]);
        let offset = pack.len() as u64;
        let mut bytes = directory.to_vec();
        seal::seal_part(&self.key, Part::Directory, &self.associated(offset), &mut bytes)?;
        pack.extend_from_slice(&bytes);
        let mut footer = self.head();
        footer.extend_from_slice(&offset.to_le_bytes());
        footer.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
        footer.extend_from_slice(&[0; 4]);
        footer.extend_from_slice(FOOTER_MAGIC);
        let check = keyed(&self.key, &footer);
        footer.extend_from_slice(&check[..24]);
        pack.extend_from_slice(&footer);
        Ok((offset, bytes.len() as u32))
    }

    /// Opens the directory that stood at `offset`.
    pub fn open_directory(&self, offset: u64, mut sealed: Vec<u8>) -> Result<Vec<u8>, Error> {
        seal::open_part(&self.key, Part::Directory, &self.associated(offset), &mut sealed)?;
        Ok(sealed)
    }
}

/// header || salt
fn head(writer: u32, keys: &Keys, salt: &[u8; 32]) -> [u8; 64] {
    let mut head = [0; 64];
    head[..32].copy_from_slice(&header::encode_by(writer, KIND, keys.repository));
    head[32..].copy_from_slice(salt);
    head
}

/// Padding that makes a pack of `length` bytes a multiple of a 32nd to a 64th of itself, at least 256 bytes and at most 64 KiB.
fn padding(length: usize) -> usize {
    let unit = 1usize << (length.ilog2().saturating_sub(5)).clamp(8, 16);
    length.next_multiple_of(unit) - length
}

/// A block as the directory names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    pub codec: u8,
    pub offset: u64,
    /// Stored bytes, tag included.
    pub stored: u32,
    pub plain: u32,
    pub chunks: Vec<(Id, u32)>,
}

/// A pack's directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Directory {
    pub contents: Contents,
    pub blocks: Vec<Block>,
    /// The client whose chunks these are.
    pub domain: Id16,
    pub written: Time,
}

/// Encodes a directory. Offsets are not written: blocks follow each other from `BLOCKS_AT`.
pub fn encode_directory(directory: &Directory) -> Vec<u8> {
    let mut list = Vec::new();
    put_varint(&mut list, directory.blocks.len() as u64);
    for block in &directory.blocks {
        put_varint(&mut list, u64::from(block.codec));
        put_varint(&mut list, u64::from(block.stored));
        put_varint(&mut list, u64::from(block.plain));
        put_varint(&mut list, block.chunks.len() as u64);
        for (id, length) in &block.chunks {
            list.extend_from_slice(&id.0);
            put_varint(&mut list, u64::from(*length));
        }
    }
    let mut writer = Writer::default();
    writer
        .int(1, true, directory.contents as u64)
        .field(2, true, &list)
        .field(3, false, &directory.domain.0)
        .time(4, false, Some(directory.written));
    writer.finish()
}

fn decode_blocks(bytes: &[u8], end: u64) -> Result<Vec<Block>, Error> {
    let mut cursor = Cursor(bytes);
    let count = cursor.length()?;
    let mut blocks = Vec::with_capacity(count.min(4096));
    let mut offset = BLOCKS_AT as u64;
    let mut all_chunks = 0;
    for _ in 0..count {
        let codec = match cursor.varint()? {
            codec @ 0..=1 => codec as u8,
            other => return Err(Error::Unsupported(format!("block flags {other}"))),
        };
        let (stored, plain) = (cursor.varint()?, cursor.varint()?);
        if plain == 0
            || plain > limits::BLOCK_MAX as u64
            || stored <= seal::TAG_LEN as u64
            || stored > end.saturating_sub(offset)
        {
            return Err(Error::Malformed("a block's length makes no sense"));
        }
        if codec == CODEC_PLAIN && stored != plain + seal::TAG_LEN as u64 {
            return Err(Error::Malformed("a plain block's lengths differ"));
        }
        let chunk_count = cursor.length()?;
        all_chunks += chunk_count;
        if all_chunks > limits::PACK_CHUNKS {
            return Err(Error::Malformed("too many chunks in a pack"));
        }
        let mut chunks = Vec::with_capacity(chunk_count.min(4096));
        let mut total = 0u64;
        for _ in 0..chunk_count {
            let id = Id(cursor.array()?);
            let length = cursor.varint()?;
            if length == 0 || length > limits::CHUNK_MAX as u64 {
                return Err(Error::Malformed("a chunk's length makes no sense"));
            }
            total += length;
            chunks.push((id, length as u32));
        }
        if total != plain {
            return Err(Error::Malformed("a block's chunks do not add up"));
        }
        blocks.push(Block { codec, offset, stored: stored as u32, plain: plain as u32, chunks });
        offset += stored;
    }
    if cursor.is_empty() { Ok(blocks) } else { Err(Error::Malformed("more than its blocks")) }
}

/// Whether a directory is that text as this program writes it, and names no chunk twice: who only adds makes no others, so that what is
/// written anew of it proves the same, and looking for a chunk never goes through more places than packs.
pub fn is_plain(directory: &Directory, text: &[u8]) -> bool {
    let mut seen = HashSet::new();
    let mut chunks = directory.blocks.iter().flat_map(|block| &block.chunks);
    encode_directory(directory) == text && chunks.all(|(id, _)| seen.insert(*id))
}

/// Reads a directory of a pack whose directory stands at `end`.
pub fn decode_directory(bytes: &[u8], end: u64) -> Result<Directory, Error> {
    let (mut contents, mut blocks, mut domain, mut written) = (0, None, Id16::default(), Time::default());
    let mut reader = Reader::new(bytes);
    while let Some(field) = reader.next()? {
        match field.number {
            1 => contents = field.int()?,
            2 => blocks = Some(decode_blocks(field.value, end)?),
            3 => domain = field.id16()?,
            4 => written = field.time()?,
            _ => field.unknown()?,
        }
    }
    let contents =
        Contents::from_number(contents).ok_or_else(|| Error::Unsupported(format!("contents {contents}")))?;
    let blocks = blocks.ok_or(Error::Malformed("a directory without blocks"))?;
    Ok(Directory { contents, blocks, domain, written })
}

/// What a footer says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Footer {
    /// Who made the pack.
    pub writer: u32,
    pub salt: [u8; 32],
    pub commitment: [u8; 32],
    pub directory_offset: u64,
    pub directory_length: u32,
}

/// Reads the footer (the last `FOOTER_LEN` bytes) of a pack of `length` bytes.
pub fn decode_footer(footer: &[u8; FOOTER_LEN], length: u64, repository: Id16) -> Result<Footer, Error> {
    header::check(footer, KIND, repository)?;
    let mut cursor = Cursor(&footer[32..]);
    let (salt, commitment) = (cursor.array()?, cursor.array()?);
    let directory_offset = u64::from_le_bytes(cursor.array()?);
    let directory_length = u32::from_le_bytes(cursor.array()?);
    cursor.take(4)?;
    if cursor.take(8)? != FOOTER_MAGIC {
        return Err(Error::Malformed("a pack's footer is not one"));
    }
    let end = directory_offset.checked_add(u64::from(directory_length) + FOOTER_LEN as u64);
    if end != Some(length) || length > limits::PACK_MAX || directory_offset < BLOCKS_AT as u64 {
        return Err(Error::Malformed("a pack's footer points elsewhere"));
    }
    Ok(Footer { writer: header::writer(footer), salt, commitment, directory_offset, directory_length })
}

/// Who made a pack, and its salt and commitment, as it begins.
pub fn decode_head(head: &[u8], repository: Id16) -> Result<(u32, [u8; 32], [u8; 32]), Error> {
    header::check(head, KIND, repository)?;
    let mut cursor = Cursor(head);
    cursor.take(limits::HEADER_LEN)?;
    Ok((header::writer(head), cursor.array()?, cursor.array()?))
}

/// Finds the kind of contents whose key fits a footer's salt and commitment.
pub fn find_key(keys: &Keys, footer: &Footer) -> Option<(Contents, PackKey)> {
    let key = PackKey::of_any(keys, footer.writer, &footer.salt).ok()?;
    let fits = |key: &PackKey| {
        blake3::Hash::from_bytes(key.commitment()) == blake3::Hash::from_bytes(footer.commitment)
    };
    let kinds = [Contents::Data, Contents::Trees].into_iter();
    kinds.map(|contents| (contents, key(contents))).find(|(_, key)| fits(key))
}
