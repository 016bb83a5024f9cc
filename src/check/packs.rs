//! Reading packs: which ones, and every byte of each.

use std::sync::Arc;

use super::{Check, Finding, Reading, lock};
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

pub(super) const SPOILED: &str = "its bytes are not those that were stored";

/// What reading one pack showed.
#[derive(Default)]
struct Look {
    /// Bytes that were read.
    bytes: u64,
    /// What is wrong, and whether it is of a later version.
    wrong: Vec<(String, bool)>,
    /// Chunks whose bytes are not what they should be.
    bad_chunks: Vec<(Contents, Id)>,
    is_bad: bool,
    /// Its bytes are not those that were stored; the first thing that is wrong says so.
    is_spoiled: bool,
    /// So are not those of its recovery data.
    is_parity_wrong: bool,
    /// Storage did not give it, and whether it said that it is forbidden.
    unread: Option<bool>,
}

impl Look {
    fn bad(&mut self, what: String) {
        self.is_bad = true;
        self.wrong.push((what, false));
    }

    fn spoiled(&mut self, what: String) {
        self.is_spoiled = true;
        self.bad(what);
    }

    /// The first thing that is wrong.
    fn first_wrong(&self) -> Option<String> {
        let parity = || self.is_parity_wrong.then(|| format!("its recovery data: {SPOILED}"));
        self.wrong.first().map(|(what, _)| what.clone()).or_else(parity)
    }
}

impl Check<'_> {
    /// Reads one pack wholly: its name, its directory, every block and every chunk. What was wrong once and is not when it is read
    /// again was spoiled on its way: that is told, and is no damage.
    pub(super) fn read_pack(&self, pack: &Arc<PackInfo>) -> Result<u64, Error> {
        let mut look = self.look_at(pack)?;
        if let Some(first) = look.first_wrong() {
            look = self.look_at(pack)?;
            if look.first_wrong().is_none() {
                self.note_passed(&pack.name, &first);
            }
        }
        let name = pack.name.to_string();
        if look.is_bad {
            self.bad_pack(pack.name);
        }
        if let Some(forbidden) = look.unread {
            self.unread_pack(pack.name, forbidden);
        }
        let bad = look.bad_chunks.into_iter().map(|(contents, id)| (contents, id, pack.name));
        lock(&self.bad_chunks).extend(bad);
        for (number, (what, is_of_later_version)) in look.wrong.into_iter().enumerate() {
            match (number, is_of_later_version) {
                (_, true) => {
                    self.found(Finding { kind: "pack", object: name.clone(), what, is_of_later_version })
                }
                (0, false) if look.is_spoiled => self.find_bad_pack(pack.name, what)?,
                _ => self.find_pack(pack.name, what),
            }
        }
        // Nobody needs it of a pack that is going, and no repair makes it anew.
        if look.is_parity_wrong && !self.is_going(&pack.name)? {
            self.find("parity", name, SPOILED.to_owned());
        }
        Ok(look.bytes)
    }

    /// Whether a pack that storage did not give is given now, and is as it was stored.
    pub(super) fn is_sound_now(&self, pack: &Arc<PackInfo>) -> Result<bool, Error> {
        Ok(self.look_at(pack)?.wrong.is_empty())
    }

    fn look_at(&self, pack: &Arc<PackInfo>) -> Result<Look, Error> {
        self.check_stop()?;
        let mut look = Look::default();
        let bytes = match self.repository.read_pack_range(&pack.name, 0, pack.length as usize) {
            Ok(bytes) => bytes,
            Err(error) if error.is_damage() && self.is_going(&pack.name)? => return Ok(look),
            Err(error) if error.is_damage() => {
                if let Error::Unread { forbidden, .. } = error {
                    look.unread = Some(forbidden);
                }
                look.spoiled(error.to_string());
                return Ok(look);
            }
            Err(error) => return Err(error),
        };
        look.bytes = pack.length;
        let whole = crate::crypto::object_name(&bytes) == pack.name;
        if !whole {
            look.spoiled(SPOILED.to_owned());
        } else if self.with_parity.contains(&pack.name) {
            look.is_parity_wrong = !self.repository.parity_is_sound(&pack.name, &bytes)?;
        }
        let entry = match self.repository.read_pack_entry(&pack.name, pack.length) {
            Ok(entry) => entry,
            // Of a later version: nothing is known to be wrong with it, and its copies still count.
            Err(error @ Error::Unsupported { .. }) => {
                look.wrong.push((error.to_string(), true));
                return Ok(look);
            }
            Err(error) if error.is_damage() => {
                if whole {
                    look.bad(error.to_string());
                }
                // Its blocks may all be good: the index knows where they lie, but not here which ids they hold.
                return Ok(look);
            }
            Err(error) => return Err(error),
        };
        if !self.repository.index.agrees(&packs::record(&entry))? {
            look.bad("an index object says otherwise what it holds".to_owned());
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
            let bad = self.wrong_chunks(pack, plain.as_deref().unwrap_or_default(), &block.chunks);
            if bad.is_empty() {
                continue;
            }
            look.is_bad = true;
            match plain {
                // The whole pack was told of already.
                _ if !whole => {}
                Err(error) => look.bad(error.to_string()),
                Ok(_) => {
                    let wrong = bad.len();
                    look.bad(format!("block {number} does not hold {wrong} of the chunks that it should"));
                }
            }
            look.bad_chunks.extend(bad);
        }
        Ok(look)
    }

    /// Those of a block's chunks that are not what their ids say.
    fn wrong_chunks(&self, pack: &PackInfo, plain: &[u8], chunks: &[(Id, u32)]) -> Vec<(Contents, Id)> {
        let contents: Contents = pack.contents;
        let (mut start, mut wrong) = (0, Vec::new());
        for (id, length) in chunks {
            let chunk = plain.get(start..start + *length as usize);
            start += *length as usize;
            if chunk.is_none_or(|chunk| self.repository.hasher().id(contents, chunk) != *id) {
                wrong.push((contents, *id));
            }
        }
        wrong
    }
}
