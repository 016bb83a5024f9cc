//! Index objects without packs that are to go. docs/concurrency.md says why this is safe beside others.

use std::collections::{HashMap, HashSet};

use super::sync::{NAMED_CHUNKS, NAMED_PACKS};
use super::{Error, Repository, get_named, list_names, put_named};
use crate::backend::Kind;
use crate::format::index::{self, IndexObject, PackEntry};
use crate::model::Id;

impl Repository {
    /// Writes anew what index objects say of other packs than these, and gives the names of those that can go then. What tombstones name
    /// is left out too.
    ///
    /// Errors: also when an index object can not be read: then none is written.
    pub fn rewrite_index(&self, packs: &HashSet<Id>) -> Result<Vec<Id>, Error> {
        let mut old = Vec::new();
        let mut group = IndexObject::default();
        let mut chunks = 0;
        // By the object that names it first: a pack that two name is named once.
        let mut named: HashMap<Id, Id> = HashMap::new();
        let mut news = Vec::new();
        for name in list_names(&*self.backend, Kind::Index)? {
            if !self.index.names_any(&name, packs)? {
                continue;
            }
            let object = match get_named(&*self.backend, Kind::Index, &name) {
                // Another pruner wrote anew what it said, and removed it.
                Err(error) if error.is_damage() && !self.backend_has(Kind::Index, &name)? => continue,
                other => other?,
            };
            let object = index::decode(&self.keys, &object)
                .map_err(|error| Error::decode(Kind::Index, &name.to_string(), error))?;
            old.push(name);
            group.replaces.push(name);
            for entry in object.packs {
                if packs.contains(&entry.name)
                    || self.is_removed(&entry.name)
                    || named.contains_key(&entry.name)
                {
                    continue;
                }
                let count = chunks_of(&entry);
                if !group.packs.is_empty()
                    && (group.packs.len() >= NAMED_PACKS || chunks + count > NAMED_CHUNKS)
                {
                    news.push(self.put_index(&mut group)?);
                    chunks = 0;
                }
                named.insert(entry.name, name);
                chunks += count;
                group.packs.push(entry);
            }
        }
        if !group.packs.is_empty() {
            news.push(self.put_index(&mut group)?);
        }
        // One that was just written is none of the old ones: each holds random bytes.
        old.retain(|name| !news.contains(name));
        Ok(old)
    }

    fn put_index(&self, group: &mut IndexObject) -> Result<Id, Error> {
        let object = IndexObject { config: self.config_object.clone(), ..std::mem::take(group) };
        let bytes = index::encode(&self.keys, &object)
            .map_err(|error| Error::format("the new index object", error))?;
        put_named(&*self.backend, Kind::Index, &bytes)
    }
}

fn chunks_of(entry: &PackEntry) -> usize {
    entry.directory.blocks.iter().map(|block| block.chunks.len()).sum()
}
