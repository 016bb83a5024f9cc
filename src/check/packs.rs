//! Reading packs: which ones, and every byte of each.

use std::sync::Arc;

use super::{Check, Reading, lock};
use crate::index::{Location, PackInfo};
use crate::model::{Contents, Id};
use crate::repository::{Error, Repository, packs};

/// The packs to read, in order.
pub(super) fn choose(
    repository: &Repository,
    packs: &[Arc<PackInfo>],
    reading: Reading,
) -> Result<Vec<Arc<PackInfo>>, Error> {
    let mut chosen: Vec<Arc<PackInfo>> = packs.to_vec();
    match reading {
        Reading::Nothing => chosen.clear(),
        Reading::Everything => {}
        // By name, so that t runs with all n read everything, whatever is added in between.
        Reading::Part(part, of) => {
            chosen.retain(|pack| pack.name.prefix() % of.max(1) == part.saturating_sub(1))
        }
        Reading::Share(share) => {
            for place in (1..chosen.len()).rev() {
                let random = u64::from_le_bytes(crate::crypto::random()?);
                chosen.swap(place, (random % (place as u64 + 1)) as usize);
            }
            chosen.truncate((chosen.len() as f64 * share).ceil() as usize);
        }
        Reading::Bytes(_) | Reading::Time(_) => {
            let mut dated = Vec::with_capacity(chosen.len());
            for pack in chosen {
                let read = repository.index.fact(&read_fact(&pack.name))?;
                dated
                    .push((read.and_then(|bytes| bytes.try_into().ok()).map_or(0, i64::from_le_bytes), pack));
            }
            dated.sort_by_key(|(read, pack)| (*read, pack.name));
            chosen = dated.into_iter().map(|(_, pack)| pack).collect();
            if let Reading::Bytes(most) = reading {
                let mut total = 0;
                chosen.retain(|pack| {
                    let wanted = total < most;
                    total += pack.length;
                    wanted
                });
            }
        }
    }
    Ok(chosen)
}

/// Under which a pack's last reading is remembered.
pub(super) fn read_fact(name: &Id) -> String {
    format!("{}{name}", packs::READ_FACT)
}

impl Check<'_> {
    /// Reads one pack wholly: its name, its directory, every block and every chunk.
    pub(super) fn read_pack(&self, pack: &Arc<PackInfo>) -> Result<u64, Error> {
        self.check_stop()?;
        let name = pack.name.to_string();
        let bytes = match self.repository.read_pack_range(&pack.name, 0, pack.length as usize) {
            Ok(bytes) => bytes,
            Err(error) if error.is_damage() && self.is_going(&pack.name)? => return Ok(0),
            Err(error) if error.is_damage() => {
                self.find_bad_pack(pack.name, error.to_string())?;
                return Ok(0);
            }
            Err(error) => return Err(error),
        };
        let whole = crate::crypto::object_name(&bytes) == pack.name;
        if !whole {
            self.find_bad_pack(pack.name, "its bytes are not those that were stored".to_owned())?;
        } else if self.with_parity.contains(&pack.name)
            && !self.repository.parity_is_sound(&pack.name, &bytes)?
        {
            self.find("parity", name.clone(), "its bytes are not those that were stored".to_owned());
        }
        let entry = match self.repository.read_pack_entry(&pack.name, pack.length) {
            Ok(entry) => entry,
            // Of a later version: nothing is known to be wrong with it, and its copies still count.
            Err(error @ Error::Unsupported { .. }) => {
                self.find_error("pack", name, &error);
                return Ok(pack.length);
            }
            Err(error) if error.is_damage() => {
                if whole {
                    self.bad_pack(pack.name);
                    self.find_pack(pack.name, error.to_string());
                }
                // Its blocks may all be good: the index knows where they lie, but not here which ids they hold.
                return Ok(pack.length);
            }
            Err(error) => return Err(error),
        };
        if !self.repository.index.agrees(&packs::record(&entry))? {
            self.bad_pack(pack.name);
            self.find_pack(pack.name, "an index object says otherwise what it holds".to_owned());
        }
        for (number, block) in entry.directory.blocks.iter().enumerate() {
            let location = Location {
                pack: pack.clone(),
                block: number as u32,
                codec: block.codec,
                block_offset: block.offset,
                block_stored: block.stored,
                block_plain: block.plain,
                offset: 0,
                length: 0,
            };
            let sealed = bytes.get(block.offset as usize..block.offset as usize + block.stored as usize);
            let plain = match sealed {
                Some(sealed) => self.repository.open_block(&location, sealed.to_vec()),
                None => Err(Error::Lost { contents: pack.contents, id: Id::default() }),
            };
            let wrong = self.wrong_chunks(pack, plain.as_deref().unwrap_or_default(), &block.chunks);
            if wrong == 0 {
                continue;
            }
            self.bad_pack(pack.name);
            match plain {
                // The whole pack was told of already.
                _ if !whole => {}
                Err(error) => self.find_pack(pack.name, error.to_string()),
                Ok(_) => {
                    let what = format!("block {number} does not hold {wrong} of the chunks that it should");
                    self.find_pack(pack.name, what);
                }
            }
        }
        Ok(pack.length)
    }

    /// How many of a block's chunks are not what their ids say. They are remembered.
    fn wrong_chunks(&self, pack: &PackInfo, plain: &[u8], chunks: &[(Id, u32)]) -> usize {
        let contents: Contents = pack.contents;
        let (mut start, mut wrong) = (0, 0);
        for (id, length) in chunks {
            let chunk = plain.get(start..start + *length as usize);
            start += *length as usize;
            if chunk.is_none_or(|chunk| self.repository.hasher().id(contents, chunk) != *id) {
                lock(&self.bad_chunks).insert((contents, *id, pack.name));
                wrong += 1;
            }
        }
        wrong
    }
}
