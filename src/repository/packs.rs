//! Packs as objects: their directories, read from the packs themselves, and the records that the index keeps.

use super::again::unspoiled;
use super::{Error, Repository};
use crate::backend::Kind;
use crate::crypto::FULL;
use crate::format::header;
use crate::format::index::{Maker, PackEntry};
use crate::format::pack::{self, FOOTER_LEN};
use crate::index::{BlockRecord, PackRecord};
use crate::model::Id;

/// Under which the cache remembers when a pack was read whole, before the pack's name.
pub const READ_FACT: &str = "read ";
/// Under which the cache remembers when a check ended last, and how much it found.
pub const CHECKED_FACT: &str = "checked";

/// What the local index keeps of a pack.
pub fn record(entry: &PackEntry) -> PackRecord {
    PackRecord {
        name: entry.name,
        length: entry.length,
        contents: entry.directory.contents,
        salt: entry.salt,
        commitment: entry.commitment,
        writer: entry.maker.writer,
        directory_offset: entry.directory_offset,
        directory_length: entry.directory_length,
        // The blocks say it all; the text would only take room in the cache.
        directory: Vec::new(),
        blocks: entry
            .directory
            .blocks
            .iter()
            .map(|block| BlockRecord {
                codec: block.codec,
                offset: block.offset,
                stored: block.stored,
                plain: block.plain,
                chunks: block.chunks.clone(),
            })
            .collect(),
    }
}

impl Repository {
    /// Reads the directory that stands in a pack: what an index object says, without the index object.
    pub fn read_pack_entry(&self, name: &Id, length: u64) -> Result<PackEntry, Error> {
        unspoiled(|| {
            self.entry_by(name, length, &|offset, length| self.read_pack_range(name, offset, length))
        })
    }

    /// The same; where it is damaged and no index object is asked, from the pack as its recovery data brings it back. The length in what is
    /// given is then that of the whole pack.
    pub fn read_or_mend_entry(&self, name: &Id, length: u64) -> Result<PackEntry, Error> {
        match self.read_pack_entry(name, length) {
            Err(error) if error.is_damage() && !error.is_forbidden() && !error.is_of_later_version() => {
                self.mended_entry(name).ok_or(error)
            }
            other => other,
        }
    }

    fn mended_entry(&self, name: &Id) -> Option<PackEntry> {
        let pack = self.mended(name)?;
        let read = |offset: u64, length: usize| {
            let bytes = usize::try_from(offset).ok().and_then(|start| pack.get(start..)?.get(..length));
            Ok(bytes.unwrap_or_default().to_vec())
        };
        self.entry_by(name, pack.len() as u64, &read).ok()
    }

    /// The directory of a pack of which `read` gives so many bytes at an offset.
    fn entry_by(
        &self,
        name: &Id,
        length: u64,
        read: &dyn Fn(u64, usize) -> Result<Vec<u8>, Error>,
    ) -> Result<PackEntry, Error> {
        let text = name.to_string();
        let start = length
            .checked_sub(FOOTER_LEN as u64)
            .ok_or_else(|| Error::damaged(Kind::Packs, &text, "it is shorter than a footer"))?;
        let footer = read(start, FOOTER_LEN)?;
        match self.entry_of_footer(name, length, &footer, read) {
            Err(error) if error.is_of_later_version() => {
                // Where it opens with the header of this version, it is of no later one.
                let mut own = header::with_each_own(&footer, pack::KIND, self.keys.repository);
                match own.any(|own| self.entry_of_footer(name, length, &own, read).is_ok()) {
                    true => Err(Error::damaged(Kind::Packs, &text, "the header in its footer was changed")),
                    false => Err(error),
                }
            }
            other => other,
        }
    }

    fn entry_of_footer(
        &self,
        name: &Id,
        length: u64,
        footer: &[u8],
        read: &dyn Fn(u64, usize) -> Result<Vec<u8>, Error>,
    ) -> Result<PackEntry, Error> {
        let text = name.to_string();
        let wrong = |error| Error::decode(Kind::Packs, &text, error);
        let footer: &[u8; FOOTER_LEN] =
            footer.first_chunk().ok_or_else(|| Error::damaged(Kind::Packs, &text, "it is cut short"))?;
        let footer = pack::decode_footer(footer, length, self.keys.repository).map_err(wrong)?;
        let (contents, key) = pack::find_key(&self.keys, &footer)
            .ok_or_else(|| Error::damaged(Kind::Packs, &text, "its salt or commitment was changed"))?;
        let sealed = read(footer.directory_offset, footer.directory_length as usize)?;
        let plain = key.open_directory(footer.directory_offset, sealed).map_err(wrong)?;
        let directory = pack::decode_directory(&plain, footer.directory_offset).map_err(wrong)?;
        let maker = Maker::of(&key, name, length, footer.directory_offset, &plain);
        if directory.contents != contents {
            return Err(Error::damaged(Kind::Packs, &text, "its directory is one of other contents"));
        }
        if maker.writer != FULL && !pack::is_plain(&directory, &plain) {
            return Err(Error::damaged(Kind::Packs, &text, "its directory is none that copal writes"));
        }
        Ok(PackEntry {
            name: *name,
            length,
            salt: footer.salt,
            commitment: footer.commitment,
            directory,
            directory_offset: footer.directory_offset,
            directory_length: footer.directory_length,
            maker,
        })
    }

    /// What there is to know of a pack: from its own directory, and where that can not be read, with why, from an index object or the
    /// recovery data.
    pub fn pack_entry(&self, name: &Id, length: u64) -> Result<(PackEntry, Option<Error>), Error> {
        let problem = match self.read_pack_entry(name, length) {
            Ok(entry) => return Ok((entry, None)),
            Err(error) if error.is_damage() && !error.is_unread() && !error.is_of_later_version() => error,
            Err(error) => return Err(error),
        };
        for object in self.index.index_objects_of(name)? {
            let object = match self.load_index_object(&object) {
                // Another one may say it.
                Err(error) if error.is_damage() => continue,
                other => other?,
            };
            if let Some(entry) = object.packs.into_iter().find(|entry| entry.name == *name) {
                return Ok((entry, Some(problem)));
            }
        }
        match self.mended_entry(name) {
            Some(entry) => Ok((entry, Some(problem))),
            None => Err(problem),
        }
    }

    /// A pack's length in storage; none when it is not there.
    pub fn stored_length(&self, name: &Id) -> Result<Option<u64>, Error> {
        match self.backend.stat(Kind::Packs, &name.to_string()) {
            Ok(length) => Ok(Some(length)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Names and lengths of all packs in storage, in the order in which it lists them.
    pub fn stored_packs(&self) -> Result<Vec<(Id, u64)>, Error> {
        let mut packs = Vec::new();
        self.backend.list(Kind::Packs, &mut |entry| {
            packs.extend(Id::parse(&entry.name).map(|id| (id, entry.size)))
        })?;
        Ok(packs)
    }
}
