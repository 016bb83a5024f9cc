//! Snapshots: which there are, which are confirmed, and finding one by what a person types.

use std::collections::HashSet;

use super::{Error, Repository, get_named, list_names};
use crate::backend::Kind;
use crate::format;
use crate::model::{Id, Snapshot};

/// A snapshot with its name.
#[derive(Clone, Debug)]
pub struct Named {
    pub name: Id,
    pub snapshot: Snapshot,
}

/// All snapshots of a repository.
#[derive(Debug, Default)]
pub struct Snapshots {
    /// Confirmed ones, oldest first.
    pub confirmed: Vec<Named>,
    /// Those whose writer ended before it could confirm them: never reported as saved.
    pub unconfirmed: Vec<Named>,
    /// Snapshot objects that could not be read.
    pub problems: Vec<Error>,
}

impl Repository {
    /// Loads every snapshot, from the local cache where it is known.
    pub fn snapshots(&self) -> Result<Snapshots, Error> {
        let mut all = Snapshots::default();
        let mut confirmed = HashSet::new();
        for name in list_names(&*self.backend, Kind::Confirmed)? {
            match self.is_confirmation(&name) {
                Ok(()) => {
                    confirmed.insert(name);
                }
                Err(error) => all.problems.push(error),
            }
        }
        for name in list_names(&*self.backend, Kind::Snapshots)? {
            match self.load_snapshot(&name) {
                Ok(snapshot) if confirmed.contains(&name) => all.confirmed.push(Named { name, snapshot }),
                Ok(snapshot) => all.unconfirmed.push(Named { name, snapshot }),
                Err(error) => all.problems.push(error),
            }
        }
        for name in &confirmed {
            let known = all.confirmed.iter().any(|named| named.name == *name);
            if !known && !self.backend_has(Kind::Snapshots, name)? {
                all.problems.push(Error::damaged(
                    Kind::Snapshots,
                    &name.to_string(),
                    "it was confirmed as saved, and is missing",
                ));
            }
        }
        // docs/format.md, section 8: the order that says which is the latest.
        all.confirmed.sort_by_key(|named| {
            let snapshot = &named.snapshot;
            (snapshot.time, snapshot.client, snapshot.sequence, named.name)
        });
        Ok(all)
    }

    /// Whether the confirmation of that name is one of that very snapshot: the storage could have copied it from another's name.
    fn is_confirmation(&self, name: &Id) -> Result<(), Error> {
        let kind = Kind::Confirmed.number();
        let object = match self.index.cached_object(kind, name) {
            Ok(Some(object)) => object,
            _ => {
                let object = self.backend.get(Kind::Confirmed, &name.to_string())?;
                let _ = self.index.cache_object(kind, name, &object);
                object
            }
        };
        let confirmation = format::snapshot::decode_confirmation(&self.keys, &object)
            .map_err(|error| Error::decode(Kind::Confirmed, &name.to_string(), error))?;
        if confirmation.snapshot == *name {
            return Ok(());
        }
        Err(Error::damaged(Kind::Confirmed, &name.to_string(), "it confirms another snapshot"))
    }

    fn backend_has(&self, kind: Kind, name: &Id) -> Result<bool, Error> {
        match self.backend.stat(kind, &name.to_string()) {
            Ok(_) => Ok(true),
            Err(error) if error.is_not_found() => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Loads one snapshot.
    pub fn load_snapshot(&self, name: &Id) -> Result<Snapshot, Error> {
        let kind = Kind::Snapshots.number();
        let object = match self.index.cached_object(kind, name) {
            Ok(Some(object)) if crate::crypto::object_name(&object) == *name => object,
            _ => {
                let object = get_named(&*self.backend, Kind::Snapshots, name)?;
                let _ = self.index.cache_object(kind, name, &object);
                object
            }
        };
        format::snapshot::decode(&self.keys, &object)
            .map_err(|error| Error::decode(Kind::Snapshots, &name.to_string(), error))
    }
}
