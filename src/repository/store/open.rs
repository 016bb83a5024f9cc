//! Packs under construction: two of data, filled at random so that lengths of neighbouring blocks say less, and one of trees.

use std::sync::{Arc, Mutex};

use crossbeam_channel::Sender;

use super::lock;
use crate::crypto::{self, Keys};
use crate::format::index::{Maker, PackEntry};
use crate::format::limits::{BLOCK_TARGET, PACK_CHUNKS};
use crate::format::pack::{self, Block, Directory, PackKey};
use crate::model::{Contents, Id, Id16, Time, clock::Clock};
use crate::repository::Error;

const DATA_PACKS: usize = 2;

struct OpenPack {
    key: PackKey,
    salt: [u8; 32],
    contents: Contents,
    bytes: Vec<u8>,
    blocks: Vec<Block>,
    chunks: usize,
    /// Length at which it is ended: random, so that it says nothing.
    end: usize,
    written: Time,
}

/// A pack that takes no more blocks.
pub struct Finished {
    pack: OpenPack,
    domain: Id16,
}

/// All packs under construction.
pub struct OpenPacks<'k> {
    keys: &'k Keys,
    target: usize,
    domain: Id16,
    slots: [Mutex<Option<OpenPack>>; DATA_PACKS + 1],
    out: Sender<Finished>,
    /// Buffers of packs that were put.
    used: Mutex<Vec<Vec<u8>>>,
}

/// Where a block went.
pub struct Placed {
    pub key: Arc<PackKey>,
    pub number: u64,
    /// The pack, when this block filled it.
    pub full: Option<Finished>,
}

impl<'k> OpenPacks<'k> {
    pub fn new(keys: &'k Keys, target: usize, domain: Id16, out: Sender<Finished>) -> OpenPacks<'k> {
        OpenPacks { keys, target, domain, slots: Default::default(), out, used: Mutex::default() }
    }

    fn begin(&self, contents: Contents, clock: &dyn Clock) -> Result<OpenPack, Error> {
        let (key, salt) =
            PackKey::generate(self.keys, contents).map_err(|error| Error::format("a new pack", error))?;
        let jitter = u64::from_le_bytes(crypto::random()?) % (self.target as u64 / 4);
        let end = self.target + jitter as usize;
        let mut bytes = lock(&self.used).pop().unwrap_or_default();
        bytes.clear();
        // Room for the last block, padding and directory too: a buffer that grows is copied.
        bytes.reserve(end + end / 8);
        bytes.extend_from_slice(&key.head());
        Ok(OpenPack { key, salt, contents, bytes, blocks: Vec::new(), chunks: 0, end, written: clock.now() })
    }

    /// Seals `stored` (compressed or not) as the next block of an open pack. Afterwards `stored` is the sealed bytes.
    pub fn place(
        &self,
        contents: Contents,
        codec: u8,
        plain: u32,
        chunks: Vec<(Id, u32)>,
        stored: &mut Vec<u8>,
        clock: &dyn Clock,
    ) -> Result<Placed, Error> {
        let slot = match contents {
            Contents::Data => usize::from(crypto::random::<1>()?[0]) % DATA_PACKS,
            Contents::Trees => DATA_PACKS,
        };
        let mut open = lock(&self.slots[slot]);
        let mut pack = match open.take() {
            Some(pack) => pack,
            None => self.begin(contents, clock)?,
        };
        let number = pack.blocks.len() as u64;
        // Taken out of its slot while it is sealed: should this fail, the pack and its salt are never used again.
        pack.key.seal_block(number, stored).map_err(|error| Error::format("a new block", error))?;
        pack.blocks.push(Block {
            codec,
            offset: pack.bytes.len() as u64,
            stored: stored.len() as u32,
            plain,
            chunks,
        });
        pack.bytes.extend_from_slice(stored);
        let key = Arc::new(pack.key.clone());
        pack.chunks += pack.blocks.last().map_or(0, |block| block.chunks.len());
        let full = if pack.bytes.len() >= pack.end || pack.chunks >= PACK_CHUNKS - BLOCK_TARGET / 64 {
            Some(Finished { pack, domain: self.domain })
        } else {
            *open = Some(pack);
            None
        };
        Ok(Placed { key, number, full })
    }

    /// Ends all packs under construction.
    pub fn close(&self) -> Result<Vec<Finished>, Error> {
        let packs = self.slots.iter().filter_map(|slot| lock(slot).take());
        Ok(packs.map(|pack| Finished { pack, domain: self.domain }).collect())
    }

    /// Takes back the buffer of a pack that was put.
    pub fn recycle(&self, bytes: Vec<u8>) {
        let mut used = lock(&self.used);
        if used.len() < DATA_PACKS {
            used.push(bytes);
        }
    }

    /// Gives a pack to the uploaders, waiting for room.
    pub fn hand_over(&self, pack: Finished) -> Result<(), Error> {
        self.out.send(pack).map_err(|_| Error::Stopped)
    }
}

impl Finished {
    /// Adds padding, directory and footer; gives the pack's entry and bytes.
    pub fn finish(self) -> Result<(PackEntry, Vec<u8>), Error> {
        let OpenPack { key, salt, contents, mut bytes, blocks, written, .. } = self.pack;
        let directory = Directory { contents, blocks, domain: self.domain, written };
        let plain = pack::encode_directory(&directory);
        let (directory_offset, directory_length) =
            key.finish(&mut bytes, &plain).map_err(|error| Error::format("a new pack", error))?;
        let (name, length) = (crypto::object_name(&bytes), bytes.len() as u64);
        let maker = Maker::of(&key, &name, length, directory_offset, &plain);
        let entry = PackEntry {
            name,
            length,
            salt,
            commitment: key.commitment(),
            directory,
            directory_offset,
            directory_length,
            maker,
        };
        Ok((entry, bytes))
    }
}
