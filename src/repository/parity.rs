//! Recovery data of packs: made when a pack is stored, and used to bring one back. What comes back proves itself by its name.

use std::collections::HashSet;
use std::sync::Arc;

use super::reader::Chunk;
use super::{Error, Repository};
use crate::backend::Kind;
use crate::format::limits::{PACK_MAX, PARITY_MAX};
use crate::format::parity::{self, Beyond, Shape};
use crate::index::Location;
use crate::locks::lock;
use crate::model::{Contents, Id};

/// Bytes that are asked for at once of an object that does not come whole, and then of what of that does not come.
const PIECES: [u64; 2] = [1 << 20, 4096];

/// What a pack's recovery data makes of it.
#[derive(Clone, PartialEq, Eq)]
pub enum Recovered {
    /// Nothing is wrong with the pack.
    Whole(Vec<u8>),
    /// It was damaged or missing; these are its bytes.
    Mended(Vec<u8>),
    /// More is lost than there is recovery data for.
    Beyond(Beyond),
    /// It is damaged or missing and has no recovery data, or none of which any part is whole.
    Without,
}

impl Recovered {
    /// For a person: what follows, of a pack that is damaged or missing.
    pub fn words(&self) -> String {
        match self {
            Recovered::Whole(_) => "its bytes are those that were stored".to_owned(),
            Recovered::Mended(_) => "its recovery data brings it back: copal parity repair".to_owned(),
            Recovered::Beyond(beyond) => beyond.to_string(),
            Recovered::Without => "it has no recovery data".to_owned(),
        }
    }
}

/// What was read by recovery data.
#[derive(Default)]
pub(crate) struct Mended {
    /// The pack that was wanted last, when it came back.
    last: Option<(Id, Option<Arc<Vec<u8>>>)>,
    packs: HashSet<Id>,
}

impl Repository {
    /// Makes and puts the recovery data of a pack that has none. Gives its length, bytes.
    pub fn put_parity(&self, name: &Id, pack: &[u8], per_mille: u16) -> Result<u64, Error> {
        let object = self.make_parity(name, pack, per_mille)?;
        match self.backend.put(Kind::Parity, &name.to_string(), &object) {
            Err(crate::backend::Error::Exists { .. }) => self.replace_parity(name, &object)?,
            other => other?,
        }
        Ok(object.len() as u64)
    }

    /// The same in place of what it has, which is damaged or of another rate.
    pub fn renew_parity(&self, name: &Id, pack: &[u8], per_mille: u16) -> Result<u64, Error> {
        let object = self.make_parity(name, pack, per_mille)?;
        self.replace_parity(name, &object)?;
        Ok(object.len() as u64)
    }

    fn make_parity(&self, name: &Id, pack: &[u8], per_mille: u16) -> Result<Vec<u8>, Error> {
        Shape::new(pack.len() as u64, per_mille)
            .and_then(|shape| parity::encode(self.id(), name, pack, &shape))
            .map_err(|error| Error::format("new recovery data", error))
    }

    fn replace_parity(&self, name: &Id, object: &[u8]) -> Result<(), Error> {
        let name = name.to_string();
        match self.backend.replace(Kind::Parity, &name, object) {
            // Nothing needs it while nothing is damaged, so for a moment there may be none.
            Err(crate::backend::Error::Unsupported { .. }) => {
                self.backend.remove(Kind::Parity, &name)?;
                Ok(self.backend.put(Kind::Parity, &name, object)?)
            }
            other => Ok(other?),
        }
    }

    /// Packs that have recovery data.
    pub fn with_parity(&self) -> Result<HashSet<Id>, Error> {
        Ok(super::list_names(&*self.backend, Kind::Parity)?.into_iter().collect())
    }

    /// Whether a pack's recovery data is all there, and what its bytes ask for. `pack` are the pack's bytes, which are whole.
    pub fn parity_is_sound(&self, name: &Id, pack: &[u8]) -> Result<bool, Error> {
        let object = self.read_what_is_there(Kind::Parity, name, PARITY_MAX)?;
        let Ok(found) = parity::find(&object, name) else { return Ok(false) };
        let made = parity::encode(self.id(), name, pack, &found.shape);
        Ok(made.is_ok_and(|made| made == object))
    }

    /// A pack's bytes, by its recovery data where they are not whole. Takes twice the room of a pack. Needs no key.
    ///
    /// Errors: those of a storage that does not answer at all.
    pub fn recover(&self, name: &Id) -> Result<Recovered, Error> {
        // One byte more than a pack has tells that too much is there.
        let pack = self.read_what_is_there(Kind::Packs, name, PACK_MAX + 1)?;
        if crate::crypto::object_name(&pack) == *name {
            return Ok(Recovered::Whole(pack));
        }
        let object = self.read_what_is_there(Kind::Parity, name, PARITY_MAX)?;
        let Ok(found) = parity::find(&object, name) else { return Ok(Recovered::Without) };
        Ok(match found.recover(name, pack) {
            Ok(bytes) => Recovered::Mended(bytes),
            Err(beyond) => Recovered::Beyond(beyond),
        })
    }

    /// The bytes of an object that storage gives, at most so many, and zeros for those that it does not give: a bad sector costs what lies
    /// on it. One that is not there is empty.
    fn read_what_is_there(&self, kind: Kind, name: &Id, most: u64) -> Result<Vec<u8>, Error> {
        let text = name.to_string();
        let length = match self.backend.stat(kind, &text) {
            Ok(length) => length.min(most) as usize,
            Err(error) if error.is_not_found() => return Ok(Vec::new()),
            Err(error) => return Err(error.into()),
        };
        match self.backend.get_range(kind, &text, 0, length) {
            Ok(bytes) => return Ok(bytes),
            Err(error) => match Error::reading(&*self.backend, kind, &text, error) {
                // What this user may not read is perhaps as it should be.
                error if error.is_damage() && !(kind == Kind::Packs && error.is_forbidden()) => {}
                error => return Err(error),
            },
        }
        let mut bytes = vec![0; length];
        self.read_pieces(kind, &text, 0, &mut bytes, &PIECES);
        Ok(bytes)
    }

    fn read_pieces(&self, kind: Kind, name: &str, start: u64, bytes: &mut [u8], sizes: &[u64]) {
        let Some((size, smaller)) = sizes.split_first() else { return };
        let mut place = start;
        for piece in bytes.chunks_mut(*size as usize) {
            match self.backend.get_range(kind, name, place, piece.len()) {
                Ok(read) => piece.copy_from_slice(&read),
                Err(_) => self.read_pieces(kind, name, place, piece, smaller),
            }
            place += piece.len() as u64;
        }
    }

    /// A damaged pack as its recovery data brings it back, for reading: the one that was wanted last is kept, and no other.
    pub(super) fn mended(&self, name: &Id) -> Option<Arc<Vec<u8>>> {
        // Held all along: one pack at a time.
        let mut mended = lock(&self.mended);
        if let Some((known, bytes)) = &mended.last
            && known == name
        {
            return bytes.clone();
        }
        mended.last = None;
        let bytes = match self.backend_has(Kind::Parity, name) {
            Ok(true) => match self.recover(name) {
                Ok(Recovered::Mended(bytes)) => {
                    mended.packs.insert(*name);
                    Some(Arc::new(bytes))
                }
                // Somebody put it back since it was met damaged.
                Ok(Recovered::Whole(bytes)) => Some(Arc::new(bytes)),
                _ => None,
            },
            _ => None,
        };
        mended.last = Some((*name, bytes.clone()));
        bytes
    }

    /// Packs that were damaged and read by their recovery data in this run, sorted.
    pub fn mended_packs(&self) -> Vec<Id> {
        let mut packs: Vec<Id> = lock(&self.mended).packs.iter().copied().collect();
        packs.sort_unstable();
        packs
    }

    /// A chunk of a damaged pack, by the pack's recovery data.
    pub(super) fn read_chunk_mended(
        &self,
        contents: Contents,
        id: &Id,
        location: &Location,
    ) -> Option<Chunk> {
        let pack = self.mended(&location.pack.name)?;
        let start = usize::try_from(location.block_offset).ok()?;
        let sealed = pack.get(start..start.checked_add(location.block_stored as usize)?)?;
        let block = Arc::new(self.open_block(location, sealed.to_vec()).ok()?);
        let chunk = self.chunk_of(contents, id, location, block.clone()).ok()?;
        self.blocks.put((location.pack.name, location.block), block);
        Some(chunk)
    }
}
