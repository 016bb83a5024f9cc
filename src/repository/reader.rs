//! Reading chunks: fetch the block, open it, decompress it, and check the id. Every step must succeed.

use std::cell::RefCell;
use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, Mutex};

use super::again::{again, unspoiled};
use super::{Error, Repository};
use crate::backend::Kind;
use crate::compress::{Blocks, Level};
use crate::crypto::FULL;
use crate::format::index::PackEntry;
use crate::format::pack::{CODEC_ZSTD, PackKey};
use crate::index::{Location, PackInfo};
use crate::locks::lock;
use crate::model::{Contents, Id};

/// Plain bytes of blocks that are kept, unless something else is said.
const CACHE_BYTES: usize = 24 << 20;

/// Keys of writers' packs that are kept: finding one costs two multiplications on a curve.
const KEYS_MOST: usize = 4096;

type BlockKey = (Id, u32);

struct Cached {
    blocks: HashMap<BlockKey, (u64, Arc<Vec<u8>>)>,
    bytes: usize,
    most: usize,
    clock: u64,
}

impl Default for Cached {
    fn default() -> Cached {
        Cached { blocks: HashMap::new(), bytes: 0, most: CACHE_BYTES, clock: 0 }
    }
}

/// Locks for those who want the same block at the same time.
const TURNS: usize = 64;

/// The blocks read last, bounded by their plain bytes.
pub struct BlockCache {
    cached: Mutex<Cached>,
    /// Who fetches a block holds the lock of its number: who wants it meanwhile waits, and finds it then.
    turns: [Mutex<()>; TURNS],
    /// Keys of writers' packs, by writer, kind of contents and salt.
    keys: Mutex<HashMap<(u32, Contents, [u8; 32]), Arc<PackKey>>>,
}

impl Default for BlockCache {
    fn default() -> BlockCache {
        let turns = std::array::from_fn(|_| Mutex::default());
        BlockCache { cached: Mutex::default(), turns, keys: Mutex::default() }
    }
}

impl BlockCache {
    fn turn(&self, (pack, number): &BlockKey) -> &Mutex<()> {
        &self.turns[(pack.prefix() as usize).wrapping_add(*number as usize) % TURNS]
    }

    fn get(&self, key: &BlockKey) -> Option<Arc<Vec<u8>>> {
        let mut cached = self.cached.lock().ok()?;
        cached.clock += 1;
        let clock = cached.clock;
        let (used, block) = cached.blocks.get_mut(key)?;
        *used = clock;
        Some(block.clone())
    }

    pub(super) fn put(&self, key: BlockKey, block: Arc<Vec<u8>>) {
        let Ok(mut cached) = self.cached.lock() else { return };
        cached.clock += 1;
        let clock = cached.clock;
        cached.bytes += block.len();
        if let Some((_, before)) = cached.blocks.insert(key, (clock, block)) {
            cached.bytes -= before.len();
        }
        while cached.bytes > cached.most && cached.blocks.len() > 1 {
            let oldest = cached.blocks.iter().min_by_key(|(_, (used, _))| *used).map(|(key, _)| *key);
            if let Some((_, block)) = oldest.and_then(|key| cached.blocks.remove(&key)) {
                cached.bytes -= block.len();
            }
        }
    }
}

/// A chunk's plain bytes, inside its block.
#[derive(Clone)]
pub struct Chunk {
    block: Arc<Vec<u8>>,
    range: Range<usize>,
}

impl Chunk {
    /// All of these bytes.
    pub(super) fn whole(block: Arc<Vec<u8>>) -> Chunk {
        let range = 0..block.len();
        Chunk { block, range }
    }
}

impl std::ops::Deref for Chunk {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.block[self.range.clone()]
    }
}

thread_local! {
    static BLOCKS: RefCell<Option<Blocks>> = const { RefCell::new(None) };
}

/// Decompresses with this thread's context.
pub(super) fn decompress(stored: &[u8], length: usize, out: &mut Vec<u8>) -> std::io::Result<()> {
    BLOCKS.with_borrow_mut(|slot| {
        let blocks = match slot {
            Some(blocks) => blocks,
            None => slot.insert(Blocks::new(Level::Off)?),
        };
        blocks.decompress(stored, length, out)
    })
}

fn wrong(pack: &Id, number: u32, what: &str) -> Error {
    Error::damaged(Kind::Packs, &pack.to_string(), &format!("block {number}{what}"))
}

/// Opens a block: its bytes as they were compressed.
fn unseal(pack: &Id, key: &PackKey, number: u32, mut sealed: Vec<u8>) -> Result<Vec<u8>, Error> {
    key.open_block(u64::from(number), &mut sealed)
        .map_err(|error| wrong(pack, number, &format!(": {error}")))?;
    Ok(sealed)
}

/// The plain bytes of a block that is open; none when it is plain as it is.
fn expand(pack: &Id, number: u32, codec: u8, length: usize, stored: &[u8]) -> Result<Option<Vec<u8>>, Error> {
    if codec == CODEC_ZSTD {
        let mut plain = Vec::new();
        decompress(stored, length, &mut plain)
            .map_err(|error| wrong(pack, number, &format!(" does not decompress: {error}")))?;
        return Ok(Some(plain));
    }
    if stored.len() == length { Ok(None) } else { Err(wrong(pack, number, " has another length")) }
}

/// Opens and decompresses a block of that plain length.
fn open(
    pack: &Id,
    key: &PackKey,
    number: u32,
    codec: u8,
    length: usize,
    sealed: Vec<u8>,
) -> Result<Vec<u8>, Error> {
    let stored = unseal(pack, key, number, sealed)?;
    Ok(expand(pack, number, codec, length, &stored)?.unwrap_or(stored))
}

impl Repository {
    /// Keeps at most so many plain bytes of the blocks that were read last, from now on; at least one block is kept.
    pub fn keep_blocks(&self, bytes: usize) {
        lock(&self.blocks.cached).most = bytes;
    }

    fn key(
        &self,
        pack: &Id,
        writer: u32,
        contents: Contents,
        salt: &[u8; 32],
    ) -> Result<Arc<PackKey>, Error> {
        // Of a full key's packs it costs less than looking for it.
        if writer == FULL {
            return self.made_key(pack, writer, contents, salt).map(Arc::new);
        }
        let mut keys = lock(&self.blocks.keys);
        let made = (writer, contents, *salt);
        if let Some(key) = keys.get(&made) {
            return Ok(Arc::clone(key));
        }
        let key = Arc::new(self.made_key(pack, writer, contents, salt)?);
        if keys.len() >= KEYS_MOST {
            keys.clear();
        }
        keys.insert(made, Arc::clone(&key));
        Ok(key)
    }

    fn made_key(
        &self,
        pack: &Id,
        writer: u32,
        contents: Contents,
        salt: &[u8; 32],
    ) -> Result<PackKey, Error> {
        PackKey::of(&self.keys, writer, contents, salt)
            .map_err(|error| Error::decode(Kind::Packs, &pack.to_string(), error))
    }

    fn key_of(&self, pack: &PackInfo) -> Result<Arc<PackKey>, Error> {
        self.key(&pack.name, pack.writer, pack.contents, &pack.salt)
    }

    /// Opens and decompresses the sealed bytes of the block at `location`; chunk ids are for the caller to check.
    pub fn open_block(&self, location: &Location, sealed: Vec<u8>) -> Result<Vec<u8>, Error> {
        let key = self.key_of(&location.pack)?;
        let (number, length) = (location.block, location.block_plain as usize);
        open(&location.pack.name, &key, number, location.codec, length, sealed)
    }

    /// Fetches, opens and decompresses block `number` of a pack, as that entry says; chunk ids are for the caller to check.
    pub fn read_block_of(&self, entry: &PackEntry, number: usize) -> Result<Vec<u8>, Error> {
        let Some(block) = entry.directory.blocks.get(number) else {
            return Err(Error::damaged(Kind::Packs, &entry.name.to_string(), "it has no such block"));
        };
        let key = self.key(&entry.name, entry.maker.writer, entry.directory.contents, &entry.salt)?;
        unspoiled(|| {
            let sealed = self.read_pack_range(&entry.name, block.offset, block.stored as usize)?;
            open(&entry.name, &key, number as u32, block.codec, block.plain as usize, sealed)
        })
    }

    /// Fetches and opens the block at `location`.
    pub fn read_block(&self, location: &Location) -> Result<Vec<u8>, Error> {
        unspoiled(|| self.open_block(location, self.read_sealed(location)?))
    }

    /// The same as it was compressed, and plain.
    pub fn read_block_as_stored(&self, location: &Location) -> Result<(Vec<u8>, Vec<u8>), Error> {
        let key = self.key_of(&location.pack)?;
        let (pack, number, length) = (&location.pack.name, location.block, location.block_plain as usize);
        unspoiled(|| {
            let stored = unseal(pack, &key, number, self.read_sealed(location)?)?;
            let plain = expand(pack, number, location.codec, length, &stored)?;
            let plain = plain.unwrap_or_else(|| stored.clone());
            Ok((stored, plain))
        })
    }

    fn read_sealed(&self, location: &Location) -> Result<Vec<u8>, Error> {
        self.read_pack_range(&location.pack.name, location.block_offset, location.block_stored as usize)
    }

    /// Fetches neighbouring bytes of a pack. Errors: `Damaged` when just this pack does not give them.
    pub fn read_pack_range(&self, pack: &Id, offset: u64, length: usize) -> Result<Vec<u8>, Error> {
        let name = pack.to_string();
        again(|| self.backend.get_range(Kind::Packs, &name, offset, length))
            .map_err(|error| Error::reading(&*self.backend, Kind::Packs, &name, error))
    }

    /// A chunk's plain bytes, from whichever pack has it whole, or from a damaged one that its recovery data brings back.
    ///
    /// Errors: `Lost` when no pack is known to hold it.
    pub fn read_chunk(&self, contents: Contents, id: &Id) -> Result<Chunk, Error> {
        if self.is_write_only() {
            return Err(Error::Closed { object: format!("chunk {id}") });
        }
        let mut problem = None;
        let places = self.places(contents, id)?;
        for location in &places {
            match self.read_chunk_at(contents, id, location) {
                Ok(chunk) => return Ok(chunk),
                Err(error) => problem = Some(error),
            }
        }
        // Perhaps it is the cache that is wrong about where it lies.
        self.look_again()?;
        let again = self.index.lookup_for_reading(contents, id)?;
        for location in again.iter().filter(|location| !places.contains(location)) {
            if let Ok(chunk) = self.read_chunk_at(contents, id, location) {
                return Ok(chunk);
            }
        }
        if let Some(chunk) = again.iter().find_map(|location| self.read_chunk_mended(contents, id, location))
        {
            return Ok(chunk);
        }
        Err(problem.unwrap_or(Error::Lost { contents, id: *id }))
    }

    /// A chunk's plain bytes, from that place when it is there whole, else from wherever it is.
    pub(super) fn read_chunk_near(
        &self,
        contents: Contents,
        id: &Id,
        place: Option<&Location>,
    ) -> Result<Chunk, Error> {
        match place.map(|place| self.read_chunk_at(contents, id, place)) {
            Some(Ok(chunk)) => Ok(chunk),
            _ => self.read_chunk(contents, id),
        }
    }

    /// Whether the chunk can be read whole from that very place.
    pub fn chunk_at_opens(&self, contents: Contents, id: &Id, location: &Location) -> bool {
        self.read_chunk_at(contents, id, location).is_ok()
    }

    /// Reads the chunk from that very place. Errors: why it does not come whole.
    pub fn try_chunk_at(&self, contents: Contents, id: &Id, location: &Location) -> Result<(), Error> {
        self.read_chunk_at(contents, id, location).map(drop)
    }

    /// A chunk's plain bytes from that very place.
    pub fn read_chunk_at(&self, contents: Contents, id: &Id, location: &Location) -> Result<Chunk, Error> {
        let key = (location.pack.name, location.block);
        let block = match self.blocks.get(&key) {
            Some(block) => block,
            None => {
                let _alone = lock(self.blocks.turn(&key));
                match self.blocks.get(&key) {
                    Some(block) => block,
                    None => {
                        let block = Arc::new(self.read_block(location)?);
                        self.blocks.put(key, block.clone());
                        block
                    }
                }
            }
        };
        self.chunk_of(contents, id, location, block)
    }

    /// The chunk at `location` in its opened block.
    pub(super) fn chunk_of(
        &self,
        contents: Contents,
        id: &Id,
        location: &Location,
        block: Arc<Vec<u8>>,
    ) -> Result<Chunk, Error> {
        let start = location.offset as usize;
        let range = start..start + location.length as usize;
        let plain = block.get(range.clone()).ok_or_else(|| {
            Error::damaged(Kind::Packs, &location.pack.name.to_string(), "a chunk lies outside its block")
        })?;
        if self.hasher.id(contents, plain) != *id {
            return Err(Error::damaged(
                Kind::Packs,
                &location.pack.name.to_string(),
                &format!("block {} holds other bytes than chunk {id}", location.block),
            ));
        }
        Ok(Chunk { block, range })
    }
}
