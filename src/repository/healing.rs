//! Putting damaged packs back as they were, and taking back what damage records say of packs that are whole again. docs/concurrency.md
//! says why that misleads nobody.

use std::collections::HashSet;
use std::sync::Arc;

use super::parity::Recovered;
use super::snapshots::Origin;
use super::{Error, Repository, list_names, packs, put_named};
use crate::backend::Kind;
use crate::format::pack;
use crate::format::parity::Beyond;
use crate::format::session::{Damage, encode_damage};
use crate::index::{Location, PackInfo};
use crate::model::Id;

/// What became of a pack that was to be healed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Healed {
    /// Its bytes are what its name says: nothing was done.
    WasWhole,
    /// It is as it was again.
    Healed,
    /// More is lost than there is recovery data for.
    Beyond(Beyond),
    /// It has no recovery data.
    Without,
    /// It is removed, or marked for removal and not to be put back: what is needed of it is told by who looks for that.
    Going,
}

impl Repository {
    /// Puts a damaged or missing pack back as its recovery data says, in its place. What does not come back whole is left as it is.
    ///
    /// Errors: those of the storage; a removal record that can not be read; a storage that does not keep what it is given.
    pub fn heal(&self, name: &Id) -> Result<Healed, Error> {
        self.mend(name, true)
    }

    /// What `heal` would make of a pack. Nothing is changed.
    pub fn would_heal(&self, name: &Id) -> Result<Healed, Error> {
        self.mend(name, false)
    }

    fn mend(&self, name: &Id, writes: bool) -> Result<Healed, Error> {
        let removals = self.removals()?.whole()?;
        if removals.removed().contains(name) {
            return Ok(Healed::Going);
        }
        let bytes = match self.recover(name)? {
            Recovered::Whole(_) => return Ok(Healed::WasWhole),
            // Something may be needed of it still, and a mark waits until that is copied: put back it stays marked, and is read.
            Recovered::Beyond(_) | Recovered::Without if removals.marked().contains(name) => {
                return Ok(Healed::Going);
            }
            Recovered::Beyond(beyond) => return Ok(Healed::Beyond(beyond)),
            Recovered::Without => return Ok(Healed::Without),
            Recovered::Mended(bytes) => bytes,
        };
        if writes {
            self.put_back_pack(name, &bytes)?;
        }
        Ok(Healed::Healed)
    }

    fn put_back_pack(&self, name: &Id, bytes: &[u8]) -> Result<(), Error> {
        let text = name.to_string();
        self.backend.replace(Kind::Packs, &text, bytes)?;
        match self.read_pack_range(name, 0, bytes.len()) {
            Ok(stored) if stored == bytes => Ok(()),
            _ => Err(Error::damaged(Kind::Packs, &text, "put back, it does not read as it was written")),
        }
    }

    /// Whether a pack is all that it should be: its bytes, its directory, what the index says of it, and every chunk.
    ///
    /// Errors: those of a storage that does not answer at all.
    pub fn is_sound_pack(&self, name: &Id) -> Result<bool, Error> {
        match self.check_pack(name, true) {
            Ok(sound) => Ok(sound),
            Err(error) if error.is_damage() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Whether a pack is all that its name and its directory say, whatever the index says of it. None when storage does not give it.
    pub fn holds_all(&self, name: &Id) -> Result<Option<bool>, Error> {
        // Bytes that were spoiled on their way come right the next time.
        for _ in 0..2 {
            match self.check_pack(name, false) {
                Ok(true) => return Ok(Some(true)),
                Err(error) if error.is_unread() => return Ok(None),
                Err(error) if !error.is_damage() => return Err(error),
                _ => {}
            }
        }
        Ok(Some(false))
    }

    fn check_pack(&self, name: &Id, as_indexed: bool) -> Result<bool, Error> {
        let text = name.to_string();
        let length = self
            .backend
            .stat(Kind::Packs, &text)
            .map_err(|error| Error::reading(&*self.backend, Kind::Packs, &text, error))?;
        if length > crate::format::limits::PACK_MAX {
            return Ok(false);
        }
        let bytes = self.read_pack_range(name, 0, length as usize)?;
        if crate::crypto::object_name(&bytes) != *name {
            return Ok(false);
        }
        let entry = self.read_pack_entry(name, length)?;
        let record = packs::record(&entry);
        if as_indexed && !self.index.agrees(&record)? {
            return Ok(false);
        }
        let pack = Arc::new(PackInfo::of(&record));
        for (number, block) in (0..).zip(&entry.directory.blocks) {
            let location = Location {
                pack: pack.clone(),
                block: number,
                codec: block.codec,
                block_offset: block.offset,
                block_stored: block.stored,
                block_plain: block.plain,
                offset: 0,
                length: 0,
            };
            let start = block.offset as usize;
            let sealed = bytes.get(start..start + block.stored as usize).unwrap_or_default();
            let plain = self.open_block(&location, sealed.to_vec())?;
            if !holds(self, &entry.directory, block, &plain) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Damage records as they are now, by name. What can not be read says nothing that could be taken back.
    pub fn damage_records(&self) -> Result<Vec<(Id, Damage)>, Error> {
        let mut records = Vec::new();
        for name in list_names(&*self.backend, Kind::Damage)? {
            match self.damage(&name) {
                Ok(damage) => records.push((name, damage)),
                Err(error) if error.is_damage() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(records)
    }

    /// Takes back what these damage records say of packs that are sound, or gone for good. The records must have been read before the
    /// packs were looked at: what is found damaged after that stays said. Gives how many went.
    pub fn settle_damage(&self, records: &[(Id, Damage)], sound: &HashSet<Id>) -> Result<u64, Error> {
        // As storage has them: of a removal record that is damaged there, `repair records` may be writing down anew what is gone.
        let removed = self.removals_from(Origin::Storage)?.whole()?.removed();
        let mut settled = 0;
        for (name, damage) in records {
            let mut left = Vec::new();
            for pack in damage.packs.iter().filter(|pack| !removed.contains(*pack)) {
                // Of one that nothing names this record is all that says that it is more than a leftover.
                let is_named = || Ok::<_, Error>(self.index.pack(pack)?.is_some_and(|known| known.listed));
                if !sound.contains(pack) || !is_named()? {
                    left.push(*pack);
                }
            }
            if left.len() == damage.packs.len() {
                continue;
            }
            if !left.is_empty() || damage.lost.is_some() {
                let rest = Damage { packs: left, ..damage.clone() };
                let object = encode_damage(&self.keys, &rest)
                    .map_err(|error| Error::format("the damage record", error))?;
                put_named(&*self.backend, Kind::Damage, &object)?;
            }
            // The new one first: at no moment does a damaged pack seem sound.
            self.remove_object(Kind::Damage, name)?;
            settled += 1;
        }
        Ok(settled)
    }
}

/// Whether the plain bytes of a block are the chunks that it should hold.
fn holds(repository: &Repository, directory: &pack::Directory, block: &pack::Block, plain: &[u8]) -> bool {
    let mut start = 0;
    block.chunks.iter().all(|(id, length)| {
        let chunk = plain.get(start..start + *length as usize);
        start += *length as usize;
        chunk.is_some_and(|chunk| repository.hasher().id(directory.contents, chunk) == *id)
    })
}
