//! Index objects as they are written: how much goes into one, and new ones without packs that are to go. docs/concurrency.md says why
//! that is safe beside others.

use std::collections::HashSet;
use std::sync::Mutex;

use super::{Error, Repository, get_named, list_names, put_named};
use crate::backend::Kind;
use crate::format::index::{self, IndexObject, PackEntry};
use crate::format::limits::INDEX_PACKS;
use crate::locks::lock;
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
        let object = get_named(&*self.backend, Kind::Index, name)?;
        index::decode(&self.keys, &object)
            .map_err(|error| Error::decode(Kind::Index, &name.to_string(), error))
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
        let slots: Vec<_> = objects.iter().take(count).map(|(name, _)| (*name, Mutex::new(None))).collect();
        self.at_once(&slots, &|(name, slot)| *lock(slot) = Some(self.load_index_object(name)));
        let loaded = slots.into_iter().map(|(name, slot)| {
            let object = slot.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner());
            (name, object.unwrap_or_else(|| self.load_index_object(&name)))
        });
        loaded.collect()
    }

    /// Puts an index object, with a copy of `config` in it.
    pub fn put_index_object(&self, object: &mut IndexObject) -> Result<Id, Error> {
        object.config.clone_from(&self.config_object);
        let bytes = index::encode(&self.keys, object)
            .map_err(|error| Error::format("the new index object", error))?;
        put_named(&*self.backend, Kind::Index, &bytes)
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
        let mut new = IndexObject::default();
        // A pack that two name is named once.
        let mut named = HashSet::new();
        for name in list_names(&*self.backend, Kind::Index)? {
            if !is_chosen(&name)? {
                continue;
            }
            let object = match self.load_index_object(&name) {
                // Another pruner wrote anew what it said, and removed it.
                Err(error) if error.is_damage() && !self.backend_has(Kind::Index, &name)? => continue,
                other => other?,
            };
            old.push(name);
            new.replaces.push(name);
            let stays = |entry: &PackEntry| !without.contains(&entry.name) && !self.is_removed(&entry.name);
            new.packs
                .extend(object.packs.into_iter().filter(|entry| stays(entry) && named.insert(entry.name)));
            while fitting(&new.packs, INDEX_PACKS) < new.packs.len() {
                let packs = new.packs.split_off(fitting(&new.packs, INDEX_PACKS));
                self.put_index_object(&mut new)?;
                new = IndexObject { packs, ..Default::default() };
            }
        }
        if !new.packs.is_empty() {
            self.put_index_object(&mut new)?;
        }
        Ok(old)
    }
}
