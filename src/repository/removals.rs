//! Removal records: which packs are about to go, and which are gone. docs/concurrency.md has the protocol.

use std::collections::HashSet;

use super::{Error, Repository, get_named, list_names, put_named};
use crate::backend::Kind;
use crate::format::session::{self, Removal};
use crate::model::{Id, Id16, Time};

/// All removal records.
#[derive(Debug, Default)]
pub struct Removals {
    /// What is to be removed, by the mark's name; those that a tombstone answers left out.
    pub marks: Vec<(Id, Removal)>,
    /// What is gone, or about to be.
    pub tombstones: Vec<Removal>,
    /// Of all of them.
    pub names: Vec<Id>,
    /// Marks that a tombstone answers, and that are still there.
    pub answered: Vec<Id>,
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
        self.tombstones.iter().flat_map(|removal| removal.packs.iter().copied()).collect()
    }

    /// Packs that are to go.
    pub fn marked(&self) -> HashSet<Id> {
        self.marks.iter().flat_map(|(_, removal)| removal.packs.iter().copied()).collect()
    }
}

impl Repository {
    /// One removal record; none when it went away since it was listed.
    pub(super) fn removal(&self, name: &Id) -> Result<Option<Removal>, Error> {
        let removal = get_named(&*self.backend, Kind::Removals, name).and_then(|object| {
            session::decode_removal(&self.keys, &object)
                .map_err(|error| Error::decode(Kind::Removals, &name.to_string(), error))
        });
        match removal {
            Ok(removal) => Ok(Some(removal)),
            Err(error) if error.is_damage() && !self.backend_has(Kind::Removals, name)? => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Reads all removal records.
    ///
    /// Errors: those of the storage; records that can not be read are in what is given.
    pub fn removals(&self) -> Result<Removals, Error> {
        let mut removals = Removals::default();
        let mut answered = HashSet::new();
        for name in list_names(&*self.backend, Kind::Removals)? {
            match self.removal(&name) {
                Ok(None) => continue,
                Ok(Some(removal)) if removal.done => {
                    answered.extend(removal.answers);
                    removals.tombstones.push(removal);
                }
                Ok(Some(removal)) => removals.marks.push((name, removal)),
                Err(error) if error.is_damage() => {
                    removals.unreadable.push(name);
                    removals.problems.push(error);
                }
                Err(error) => return Err(error),
            }
            removals.names.push(name);
        }
        removals.answered = removals.marks.iter().map(|(name, _)| *name).collect();
        removals.answered.retain(|name| answered.contains(name));
        removals.marks.retain(|(name, _)| !answered.contains(name));
        Ok(removals)
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
