//! Removal records: which packs are about to go, and which are gone. docs/concurrency.md has the protocol.

use std::collections::{HashMap, HashSet};

use super::snapshots::Origin;
use super::{Error, Repository, list_names, put_named};
use crate::backend::Kind;
use crate::format::session::{self, Removal};
use crate::model::{Id, Id16, Time};

/// All removal records.
#[derive(Debug, Default)]
pub struct Removals {
    /// What is to be removed, by the mark's name; those that a tombstone answers left out.
    pub marks: Vec<(Id, Removal)>,
    /// What is gone, or about to be, by the tombstone's name; those that another replaces left out.
    pub tombstones: Vec<(Id, Removal)>,
    /// Of all of them.
    pub names: Vec<Id>,
    /// Marks that a tombstone answers, and that are still there.
    pub answered: Vec<Id>,
    /// Tombstones that another one replaces, and that are still there.
    pub replaced: Vec<Id>,
    pub unreadable: Vec<Id>,
    /// Why each of those can not be read.
    pub problems: Vec<Error>,
}

impl Removals {
    /// The same, when all of them could be read.
    ///
    /// Errors: what is wrong with one that can not: then it is not known what is going.
    pub fn whole(mut self) -> Result<Removals, Error> {
        self.problems.pop().map_or(Ok(self), Err)
    }

    /// Packs that are gone.
    pub fn removed(&self) -> HashSet<Id> {
        self.tombstones.iter().flat_map(|(_, removal)| removal.packs.iter().copied()).collect()
    }

    /// Whether a tombstone answers this mark, and says all of it. A write-only key can not tell who wrote one: no word may take back what a
    /// mark says.
    fn is_done(&self, name: &Id, mark: &Removal) -> bool {
        let mut answers = self.tombstones.iter().filter(|(_, tombstone)| tombstone.answers == Some(*name));
        answers.any(|(_, tombstone)| names_all(&tombstone.packs, &mark.packs))
    }

    /// Tells apart the tombstones of which another says everything, as it claims.
    fn set_apart_replaced(&mut self) {
        let by_name: HashMap<Id, &Removal> = self.tombstones.iter().map(|(name, one)| (*name, one)).collect();
        let mut replaced = HashSet::new();
        for (name, whole) in &self.tombstones {
            let parts = whole.replaces.iter().filter(|part| *part != name);
            replaced.extend(parts.filter(|part| by_name.get(part).is_some_and(|part| contains(whole, part))));
        }
        self.replaced = replaced.iter().copied().collect();
        self.tombstones.retain(|(name, _)| !replaced.contains(name));
    }

    /// Packs that are to go.
    pub fn marked(&self) -> HashSet<Id> {
        self.marks.iter().flat_map(|(_, removal)| removal.packs.iter().copied()).collect()
    }
}

/// Whether a tombstone says all that another one does.
fn contains(whole: &Removal, part: &Removal) -> bool {
    names_all(&whole.packs, &part.packs)
        && names_all(&whole.index_objects, &part.index_objects)
        && names_all(&whole.snapshots, &part.snapshots)
}

fn names_all(whole: &[Id], part: &[Id]) -> bool {
    let whole: HashSet<&Id> = whole.iter().collect();
    part.iter().all(|name| whole.contains(name))
}

impl Repository {
    /// One removal record; none when it went away since it was listed.
    pub(super) fn removal(&self, name: &Id, from: Origin) -> Result<Option<Removal>, Error> {
        let removal = self.small_object(Kind::Removals, name, from).and_then(|object| {
            session::decode_removal(&self.keys, &object)
                .map_err(|error| Error::decode(Kind::Removals, &name.to_string(), error))
        });
        match removal {
            Ok(removal) => Ok(Some(removal)),
            Err(error) if error.is_damage() && !self.backend_has(Kind::Removals, name)? => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Names of all removal records.
    pub fn removal_names(&self) -> Result<HashSet<Id>, Error> {
        Ok(list_names(&*self.backend, Kind::Removals)?.into_iter().collect())
    }

    /// All removal records, those that this client knows from its cache: they never change.
    ///
    /// Errors: those of the storage; records that can not be read are in what is given.
    pub fn removals(&self) -> Result<Removals, Error> {
        self.removals_from(Origin::Cache)
    }

    /// The same, from where it is said.
    pub fn removals_from(&self, from: Origin) -> Result<Removals, Error> {
        self.removals_named(&list_names(&*self.backend, Kind::Removals)?, from)
    }

    /// The same, of those that were just listed.
    pub(super) fn removals_named(&self, listed: &[Id], from: Origin) -> Result<Removals, Error> {
        let mut removals = Removals::default();
        self.drop_gone_removals(listed);
        for name in listed.iter().copied() {
            match self.removal(&name, from) {
                Ok(None) => continue,
                Ok(Some(removal)) if removal.done => removals.tombstones.push((name, removal)),
                Ok(Some(removal)) => removals.marks.push((name, removal)),
                Err(error) if error.is_damage() => {
                    removals.unreadable.push(name);
                    removals.problems.push(error);
                }
                Err(error) => return Err(error),
            }
            removals.names.push(name);
        }
        let all = std::mem::take(&mut removals.marks);
        let (done, marks): (Vec<_>, _) =
            all.into_iter().partition(|(name, mark)| removals.is_done(name, mark));
        removals.marks = marks;
        removals.answered = done.into_iter().map(|(name, _)| name).collect();
        removals.set_apart_replaced();
        Ok(removals)
    }

    /// Drops copies of records that are gone. One that is only not listed yet is read once more.
    fn drop_gone_removals(&self, listed: &[Id]) {
        let kind = Kind::Removals.number();
        let listed: HashSet<&Id> = listed.iter().collect();
        let mut gone = self.index.cached_names(kind).unwrap_or_default();
        gone.retain(|name| !listed.contains(name));
        if !gone.is_empty() {
            // The cache is only a help.
            let _ = self.index.drop_cached_objects(kind, &gone);
        }
    }

    /// Puts a removal record.
    pub fn put_removal(&self, removal: &Removal) -> Result<Id, Error> {
        let object = session::encode_removal(&self.keys, removal)
            .map_err(|error| Error::format("the removal record", error))?;
        put_named(&*self.backend, Kind::Removals, &object)
    }

    /// Says that a session must not commit any more.
    pub fn put_fence(&self, session: &Id16, time: Time) -> Result<(), Error> {
        let object = session::encode_fence(&self.keys, session, time)
            .map_err(|error| Error::format("the fence", error))?;
        match self.backend.put(Kind::Fences, &session.to_string(), &object) {
            // Another pruner was faster.
            Err(crate::backend::Error::Exists { .. }) => Ok(()),
            other => Ok(other?),
        }
    }
}
