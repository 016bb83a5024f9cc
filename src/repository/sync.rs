//! Bringing the local index up to the repository: only what is new is read, what is gone is dropped.

use std::collections::HashSet;

use super::{Error, Repository, get_named, list_names, packs};
use crate::backend::Kind;
use crate::format;
use crate::index;
use crate::model::Id;

/// Index objects whose packs go into the database at once.
const BATCH_PACKS: usize = 512;

/// How often a synchronisation is tried while another process writes the cache; each waits a quarter of a second by itself.
const TRIES: usize = 8;

/// What a synchronisation found that is not as it should be.
#[derive(Debug, Default)]
pub struct Synced {
    /// Index objects or packs that could not be read.
    pub problems: Vec<Error>,
    /// Whether packs' own directories had to be read, since no index object named them.
    pub rebuilt_packs: usize,
}

impl Repository {
    /// Reads removal and damage records, then the index objects not seen before, and drops those that are gone. The order matters
    /// (docs/concurrency.md): a pack that vanishes in between must be seen as marked.
    ///
    /// Errors: `Index` when the cache can not take it. What was synchronised then is not to be relied on: go on `with_index` of another.
    pub fn sync(&self) -> Result<Synced, Error> {
        for _ in 1..TRIES {
            match self.sync_once() {
                Err(Error::Index(index::Error::Busy)) => {}
                other => return other,
            }
        }
        self.sync_once()
    }

    fn sync_once(&self) -> Result<Synced, Error> {
        let mut synced = Synced::default();
        let (removed, hidden_packs) = self.absent(&mut synced)?;
        let listed = list_names(&*self.backend, Kind::Index)?;
        let known: HashSet<Id> = self.index.known_index_objects()?.into_iter().collect();
        let present: HashSet<Id> = listed.iter().copied().collect();
        let gone: Vec<Id> = known.difference(&present).copied().collect();
        if !gone.is_empty() {
            self.index.drop_index_objects(&gone)?;
        }
        for name in listed.iter().filter(|name| !known.contains(name)) {
            let read = get_named(&*self.backend, Kind::Index, name).and_then(|object| {
                format::index::decode(&self.keys, &object)
                    .map_err(|error| Error::decode(Kind::Index, &name.to_string(), error))
            });
            match read {
                Ok(object) => {
                    let records: Vec<_> = object.packs.iter().map(packs::record).collect();
                    self.index.add_packs(Some(*name), &records)?;
                }
                Err(error) => synced.problems.push(error),
            }
        }
        if !removed.is_empty() {
            self.index.drop_packs(&removed)?;
        }
        self.index.set_hidden(&hidden_packs, &[])?;
        if !synced.problems.is_empty()
            || !gone.is_empty()
            || (listed.is_empty() && self.index.pack_count()? == 0)
        {
            self.adopt_packs(&removed, &mut synced)?;
        }
        Ok(synced)
    }

    /// Enters packs that no readable index object names, from their own directories.
    fn adopt_packs(&self, removed: &[Id], synced: &mut Synced) -> Result<(), Error> {
        let mut records = Vec::new();
        for (name, length) in self.stored_packs()? {
            if removed.contains(&name) || self.index.pack(&name)?.is_some() {
                continue;
            }
            match self.read_pack_entry(&name, length) {
                Ok(entry) => {
                    records.push(packs::record(&entry));
                    self.adopted.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).push(entry);
                }
                Err(error) => synced.problems.push(error),
            }
            synced.rebuilt_packs += 1;
            if records.len() >= BATCH_PACKS {
                self.index.add_packs(None, &records)?;
                records.clear();
            }
        }
        Ok(self.index.add_packs(None, &records)?)
    }

    /// Writes index objects for packs that had none: what a writer relies on must be found by everyone.
    pub fn index_adopted(&self) -> Result<(), Error> {
        loop {
            let mut adopted = self.adopted.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
            let Some(entry) = adopted.last() else { return Ok(()) };
            let records = [packs::record(entry)];
            let object = format::index::IndexObject {
                packs: vec![entry.clone()],
                config: self.config_object.clone(),
                ..Default::default()
            };
            let bytes = format::index::encode(&self.keys, &object)
                .map_err(|error| Error::format("the new index object", error))?;
            let name = super::put_named(&*self.backend, Kind::Index, &bytes)?;
            match self.index.add_packs(Some(name), &records) {
                Err(error) if error.is_passing() => {}
                other => other?,
            }
            adopted.pop();
        }
    }

    /// Packs removed for good, and chunks and packs that count as absent for writers.
    fn absent(&self, synced: &mut Synced) -> Result<(Vec<Id>, Vec<Id>), Error> {
        let (mut removed, mut hidden_packs) = (Vec::new(), Vec::new());
        let names = list_names(&*self.backend, Kind::Removals)?;
        for name in &names {
            let removal = get_named(&*self.backend, Kind::Removals, name).and_then(|object| {
                format::session::decode_removal(&self.keys, &object)
                    .map_err(|error| Error::decode(Kind::Removals, &name.to_string(), error))
            })?;
            if removal.done { removed.extend(removal.packs) } else { hidden_packs.extend(removal.packs) }
        }
        *self.removals.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) = names.into_iter().collect();
        for name in list_names(&*self.backend, Kind::Damage)? {
            let damage = get_named(&*self.backend, Kind::Damage, &name).and_then(|object| {
                format::session::decode_damage(&self.keys, &object)
                    .map_err(|error| Error::decode(Kind::Damage, &name.to_string(), error))
            });
            match damage {
                Ok(damage) => hidden_packs.extend(damage.packs),
                Err(error) => synced.problems.push(error),
            }
        }
        Ok((removed, hidden_packs))
    }

    /// Digest of everything that counts as absent: when it moves, nothing is taken over without being looked up.
    pub fn absence(&self) -> Result<[u8; 32], Error> {
        let mut names = self.removals_known();
        names.extend(list_names(&*self.backend, Kind::Damage)?);
        let bytes: Vec<u8> = names.iter().flat_map(|name| name.0).collect();
        Ok(*blake3::hash(&bytes).as_bytes())
    }

    /// Names of the removal records as they are now, when they differ from those of the last synchronisation.
    pub(super) fn removals_moved(&self) -> Result<bool, Error> {
        let now: HashSet<Id> = list_names(&*self.backend, Kind::Removals)?.into_iter().collect();
        Ok(now != *self.removals.lock().unwrap_or_else(|poisoned| poisoned.into_inner()))
    }

    /// Names of the removal records seen, sorted.
    pub fn removals_known(&self) -> Vec<Id> {
        let mut names: Vec<Id> =
            self.removals.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).iter().copied().collect();
        names.sort_unstable();
        names
    }
}
