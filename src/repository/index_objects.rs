//! Index objects as they are written: how much goes into one, and new ones without packs that are to go. docs/concurrency.md says why
//! that is safe beside others.

use std::collections::{BTreeMap, HashSet};

use super::{Error, Repository, get_named, list_names, put_named};
use crate::backend::Kind;
use crate::crypto::{FULL, Keys};
use crate::format::header;
use crate::format::index::{self, IndexObject, PackEntry};
use crate::format::limits::{HEADER_LEN, INDEX_PACKS};
use crate::format::pack::{self, BLOCKS_AT, FOOTER_LEN};
use crate::model::Id;

/// Packs in one index object of a writer.
pub(super) const PACKS_PER_INDEX: usize = 256;
const _: () = assert!(PACKS_PER_INDEX <= INDEX_PACKS);
/// Chunks in one index object: some 14 MB.
pub(super) const CHUNKS_PER_INDEX: usize = 400_000;

/// Stored bytes of index objects that are read at once: about one that is full.
const AT_ONCE_BYTES: u64 = 16 << 20;

/// Number of chunks in a pack.
pub fn chunks_of(entry: &PackEntry) -> usize {
    entry.directory.blocks.iter().map(|block| block.chunks.len()).sum()
}

/// How many of these packs, from the first on, go into one index object of so many at most: one at least, when there is one.
pub fn fitting(entries: &[PackEntry], most: usize) -> usize {
    let mut chunks = 0;
    let fits = |entry: &&PackEntry| {
        chunks += chunks_of(entry);
        chunks <= CHUNKS_PER_INDEX
    };
    entries.iter().take(most).take_while(fits).count().max(1).min(entries.len())
}

impl Repository {
    /// Reads an index object.
    pub fn load_index_object(&self, name: &Id) -> Result<IndexObject, Error> {
        Ok(self.load_made_index_object(name)?.1)
    }

    /// The same with who made it. To who only adds, what others made says nothing, but what full keys signed when it was given how to read that.
    fn load_made_index_object(&self, name: &Id) -> Result<(u32, IndexObject), Error> {
        if self.is_write_only()
            && let Some(header) = self.header(Kind::Index, name)
        {
            let writer = header::writer(&header);
            let is_shared = header::is_signed(&header) && self.sees_shared();
            if writer != self.keys.writer() && !is_shared {
                return Ok((writer, IndexObject::default()));
            }
        }
        let object = get_named(&*self.backend, Kind::Index, name)?;
        let mut decoded = index::decode(&self.keys, &object)
            .map_err(|error| Error::decode(Kind::Index, &name.to_string(), error))?;
        let writer = header::writer(&object);
        if ![FULL, self.keys.writer()].contains(&writer) {
            self.hold_to_packs(name, &mut decoded)?;
        }
        Ok((writer, decoded))
    }

    /// Holds what one who only adds says of packs to the packs themselves: it could give those of others for its own. Those that are removed
    /// are left out; those that storage does not give are set apart. What is not believed must not be forgotten either, as if nothing were
    /// missing: the pack may come back, and somebody else say meanwhile that he holds the same.
    ///
    /// Errors: `Damaged` when it does.
    fn hold_to_packs(&self, object: &Id, index: &mut IndexObject) -> Result<(), Error> {
        let is_there = |entry: &PackEntry| !self.is_removed(&entry.name);
        let wanted = std::mem::take(&mut index.packs).into_iter().filter(is_there).collect();
        for (entry, is_so) in self.gathered(wanted, &|entry| self.is_as_said(entry)) {
            match is_so? {
                Some(true) => index.packs.push(entry),
                Some(false) => {
                    let what = format!("it takes pack {} for its own, which somebody else made", entry.name);
                    return Err(Error::damaged(Kind::Index, &object.to_string(), &what));
                }
                None => index.unseen.push(entry.name),
            }
        }
        if !index.unseen.is_empty() {
            // Perhaps a prune just removed them.
            let removed = self.removals()?.removed();
            index.unseen.retain(|pack| !removed.contains(pack));
        }
        Ok(())
    }

    /// What is wrong with an index object that names packs which storage does not give.
    pub fn unseen(&self, name: &Id, object: &IndexObject) -> Option<Error> {
        let first = object.unseen.first()?;
        let what = format!("pack {first}, which it names, can not be read");
        Some(Error::damaged(Kind::Index, &name.to_string(), &what))
    }

    /// Whether a pack begins, or ends, as an entry says, which with the entry's proof says everything. Of one that is known so, it was seen
    /// before. None when it can not be seen.
    fn is_as_said(&self, entry: &PackEntry) -> Result<Option<bool>, Error> {
        let said = (entry.maker.writer, entry.salt, entry.commitment);
        if let Some(known) = self.index.pack(&entry.name)?
            && (known.writer, known.salt, known.commitment) == said
        {
            return Ok(Some(true));
        }
        let mut seen = None;
        for offset in [0, entry.length.saturating_sub(FOOTER_LEN as u64)] {
            let head = match self.read_pack_range(&entry.name, offset, BLOCKS_AT) {
                Ok(head) => head,
                Err(error) if error.is_damage() && !error.is_forbidden() => continue,
                Err(error) => return Err(error),
            };
            match pack::decode_head(&head, self.keys.repository) {
                Ok(head) if head == said => return Ok(Some(true)),
                // One of its own that is damaged there, or of which it says something new, is known by nothing.
                Ok((writer, ..)) if writer != entry.maker.writer => seen = Some(false),
                _ => {}
            }
        }
        Ok(seen)
    }

    /// How an object begins, when that is a header of its kind, without reading all of it.
    fn header(&self, kind: Kind, name: &Id) -> Option<Vec<u8>> {
        let header = self.backend.get_range(kind, &name.to_string(), 0, HEADER_LEN).ok()?;
        header::check(&header, kind.number(), self.keys.repository).ok()?;
        Some(header)
    }

    /// Reads the first of these index objects, given with their stored bytes: as many as are well asked for at once and together are no
    /// longer than one may be, at least one.
    pub(super) fn load_first(&self, objects: &[(Id, u64)]) -> Vec<(Id, Result<IndexObject, Error>)> {
        let mut bytes = 0;
        let fits = |(_, length): &&(Id, u64)| {
            bytes += length;
            bytes <= AT_ONCE_BYTES
        };
        let count = objects.iter().take(self.requests_at_once()).take_while(fits).count().max(1);
        let names = objects.iter().take(count).map(|(name, _)| *name).collect();
        self.gathered(names, &|name| self.load_index_object(name))
    }

    /// Puts an index object, with a copy of `config` in it.
    pub fn put_index_object(&self, object: &mut IndexObject) -> Result<Id, Error> {
        object.config.clone_from(&self.config_object);
        self.put_index_object_by(&self.keys, object)
    }

    fn put_index_object_by(&self, keys: &Keys, object: &IndexObject) -> Result<Id, Error> {
        let bytes =
            index::encode(keys, object).map_err(|error| Error::format("the new index object", error))?;
        put_named(&*self.backend, Kind::Index, &bytes)
    }

    /// Puts an index object of packs that this one made, in its place: only so it finds them again.
    pub fn put_index_object_of(&self, writer: u32, object: &mut IndexObject) -> Result<Id, Error> {
        if writer == self.keys.writer() {
            return self.put_index_object(object);
        }
        let keys = self.keys.in_place_of(writer);
        let keys = keys.ok_or_else(|| Error::Closed { object: "an index object".to_owned() })?;
        self.put_index_object_by(&keys, object)
    }

    /// Writes anew what index objects say of other packs than these, and gives the names of those that can go then. What tombstones name
    /// is left out too.
    ///
    /// Errors: also when an index object can not be read: then none can go.
    pub fn rewrite_index(&self, packs: &HashSet<Id>) -> Result<Vec<Id>, Error> {
        self.rewrite(packs, &|name| Ok(self.index.names_any(name, packs)?))
    }

    /// Puts together in full index objects what small ones say, when there are at least so many, and gives the names of those that can go
    /// then.
    ///
    /// Errors: also when one can not be read.
    pub fn merge_index(&self, least: usize) -> Result<Vec<Id>, Error> {
        // Two of these always fit into one.
        let small = self.index.small_index_objects(INDEX_PACKS / 2, CHUNKS_PER_INDEX / 2)?;
        if small.len() < least {
            return Ok(Vec::new());
        }
        let small: HashSet<Id> = small.into_iter().collect();
        self.rewrite(&HashSet::new(), &|name| Ok(small.contains(name)))
    }

    /// Writes anew those that are chosen, without these packs and what tombstones name.
    fn rewrite(
        &self,
        without: &HashSet<Id>,
        is_chosen: &dyn Fn(&Id) -> Result<bool, Error>,
    ) -> Result<Vec<Id>, Error> {
        let mut old = Vec::new();
        // Of each who made them.
        let mut all: BTreeMap<u32, IndexObject> = BTreeMap::new();
        // A pack that two name is named once.
        let mut named = HashSet::new();
        for name in list_names(&*self.backend, Kind::Index)? {
            if !is_chosen(&name)? {
                continue;
            }
            let (writer, object) = match self.load_made_index_object(&name) {
                // Another pruner wrote anew what it said, and removed it.
                Err(error) if error.is_damage() && !self.backend_has(Kind::Index, &name)? => continue,
                other => other?,
            };
            if let Some(error) = self.unseen(&name, &object) {
                return Err(error);
            }
            old.push(name);
            let new = all.entry(writer).or_default();
            new.replaces.push(name);
            let stays = |entry: &PackEntry| !without.contains(&entry.name) && !self.is_removed(&entry.name);
            let mut is_new = |entry: &PackEntry| named.insert((writer, entry.name));
            new.packs.extend(object.packs.into_iter().filter(|entry| stays(entry) && is_new(entry)));
            while fitting(&new.packs, INDEX_PACKS) < new.packs.len() {
                let packs = new.packs.split_off(fitting(&new.packs, INDEX_PACKS));
                self.put_index_object_of(writer, new)?;
                *new = IndexObject { packs, ..Default::default() };
            }
        }
        for (writer, mut new) in all {
            if !new.packs.is_empty() {
                self.put_index_object_of(writer, &mut new)?;
            }
        }
        Ok(old)
    }
}
