//! Key slots: unlocking a repository, adding, listing and removing the ways in. Data is never rewritten.

use std::collections::HashSet;

use super::session::Session;
use super::{Error, Repository, again::again, get_named, get_slot, list_names, put_named};
use crate::backend::{Backend, Kind};
use crate::crypto::password::Cost;
use crate::crypto::{self, FULL};
use crate::format::header;
use crate::format::session::Role;
use crate::format::slot::{self, Derivation, Description, Given, Unlock};
use crate::model::clock::Clock;
use crate::model::{Id, Id16};

/// A key slot, and its bytes unless storage did not give them.
pub(super) struct Fetched {
    pub name: Id,
    pub object: Option<Vec<u8>>,
}

/// Fetches the key slots of these names.
pub(super) fn fetch(backend: &dyn Backend, names: Vec<Id>) -> Vec<Fetched> {
    names.into_iter().map(|name| Fetched { name, object: get_slot(backend, &name).ok() }).collect()
}

/// Finds the slot that opens; `remembered` (a slot's name) is tried first, since every password slot costs half a second.
pub(super) fn unlock(
    backend: &dyn Backend,
    slots: &[Fetched],
    repository: Id16,
    unlock: Unlock<'_>,
    remembered: Option<Vec<u8>>,
) -> Result<(Given, Id), Error> {
    let mut slots: Vec<&Fetched> = slots.iter().collect();
    if let Some(first) = remembered.and_then(|bytes| bytes.try_into().ok()).map(Id) {
        slots.sort_by_key(|slot| slot.name != first);
    }
    let mut problem = None;
    for Fetched { name, object } in &slots {
        let text = name.to_string();
        // What was not given may be given now, or else what is wrong with it is told.
        let object = object.clone().map_or_else(|| get_slot(backend, name), Ok);
        let opened = object.and_then(|object| {
            // The commitment and the seal say more than the name does; where they do not fit, the name tells why.
            let is_whole = crate::crypto::object_name(&object) == *name;
            let opened = open_slot(&object, repository, unlock, &text);
            if is_whole || matches!(opened, Ok(Some(_))) {
                return opened;
            }
            // A changed byte in its header must neither lock anybody out nor look like a later program's word.
            let own = header::with_own(&object, slot::KIND, repository);
            match (own != object).then(|| open_slot(&own, repository, unlock, &text)) {
                Some(Ok(Some(given))) => Ok(Some(given)),
                _ => Err(Error::damaged(Kind::Keys, &text, "its bytes are not those that were stored")),
            }
        });
        match opened {
            Ok(Some(given)) => return Ok((given, *name)),
            Ok(None) => {}
            Err(error) => problem = Some(error),
        }
    }
    // A damaged slot may be the one that fits: saying "wrong password" would mislead.
    Err(problem.unwrap_or_else(|| match slots.is_empty() {
        true => Error::damaged(Kind::Keys, "", "there is no key slot at all"),
        false => Error::WrongKey { location: backend.location() },
    }))
}

/// Opens a slot of that repository; none when its secret is another one.
fn open_slot(
    object: &[u8],
    repository: Id16,
    unlock: Unlock<'_>,
    name: &str,
) -> Result<Option<Given>, Error> {
    let slot = slot::decode(object).map_err(|error| Error::decode(Kind::Keys, name, error))?;
    if slot.repository != repository {
        return Err(Error::damaged(Kind::Keys, name, "it is of another repository"));
    }
    slot::open(object, unlock).map_err(|error| Error::decode(Kind::Keys, name, error))
}

/// One slot as a person sees it.
#[derive(Clone, Debug)]
pub struct Listed {
    pub name: Id,
    pub derivation: Derivation,
    pub description: Description,
    /// Whether this slot opened the repository in this run.
    pub current: bool,
}

impl Repository {
    /// All key slots, oldest first, and the names of those that can not be read, with what is wrong with each.
    pub fn key_slots(&self) -> Result<(Vec<Listed>, Vec<(Id, Error)>), Error> {
        let (mut slots, mut problems) = (Vec::new(), Vec::new());
        for name in list_names(&*self.backend, Kind::Keys)? {
            let text = name.to_string();
            let listed = get_named(&*self.backend, Kind::Keys, &name).and_then(|object| {
                let slot = slot::decode(&object).map_err(|error| Error::decode(Kind::Keys, &text, error))?;
                let description = slot::describe(&self.keys, &object)
                    .map_err(|error| Error::decode(Kind::Keys, &text, error))?;
                let current = self.slot == name;
                Ok(Listed { name, derivation: slot.derivation, description, current })
            });
            match listed {
                Ok(slot) => slots.push(slot),
                Err(error) => problems.push((name, error)),
            }
        }
        slots.sort_by_key(|slot| (slot.description.made, slot.name));
        Ok((slots, problems))
    }

    /// The slot that `unlock` opens already, if there is one.
    pub fn opened_by(&self, unlock: Unlock<'_>) -> Result<Option<Id>, Error> {
        for name in list_names(&*self.backend, Kind::Keys)? {
            // A slot that can not be read is told by the list of keys.
            let Ok(object) = get_slot(&*self.backend, &name) else { continue };
            if let Ok(Some(_)) = slot::open(&object, unlock) {
                return Ok(Some(name));
            }
        }
        Ok(None)
    }

    /// Puts a new slot, and sees that it is there as it was made: what it replaces may go next.
    fn put_slot(&self, unlock: Unlock<'_>, cost: Cost, description: &Description) -> Result<Id, Error> {
        let object = match description.writer {
            FULL => slot::encode(&self.keys, unlock, cost, description, &self.config_object),
            _ => {
                let config = (&self.config_object[..], &self.config);
                slot::encode_for_writer(&self.keys, unlock, cost, description, config)
            }
        };
        let object = object.map_err(|error| Error::format("the new key slot", error))?;
        let name = put_named(&*self.backend, Kind::Keys, &object)?;
        get_named(&*self.backend, Kind::Keys, &name)?;
        Ok(name)
    }

    /// Adds a slot that `unlock` opens, and gives its name. Refuses a secret that opens one already: removing one of two alike would
    /// only seem to lock somebody out.
    pub fn add_key(&self, unlock: Unlock<'_>, cost: Cost, description: &Description) -> Result<Id, Error> {
        self.check_full()?;
        match self.opened_by(unlock)? {
            Some(name) => Err(Error::Refused(format!(
                "this password or key opens the repository already, as key {}",
                name.short()
            ))),
            None => self.put_slot(unlock, cost, description),
        }
    }

    /// The same for one who is to add only: a writer with a number that no other slot has.
    pub fn add_writer(&self, unlock: Unlock<'_>, cost: Cost, description: &Description) -> Result<Id, Error> {
        self.check_full()?;
        let (slots, _) = self.key_slots()?;
        loop {
            let writer = u32::from_le_bytes(crypto::random()?);
            if writer != FULL && slots.iter().all(|slot| slot.description.writer != writer) {
                return self.add_key(unlock, cost, &Description { writer, ..description.clone() });
            }
        }
    }

    /// An error unless a full key opened the repository.
    pub fn check_full(&self) -> Result<(), Error> {
        match self.keys.writer() {
            FULL => Ok(()),
            _ => Err(Error::NotGiven { location: self.backend.location() }),
        }
    }

    /// Whose key opened it: the number of a writer, or 0.
    pub fn writer(&self) -> u32 {
        self.keys.writer()
    }

    /// Whether a key opened it that only adds.
    pub fn is_write_only(&self) -> bool {
        self.keys.writer() != FULL
    }

    /// Relies on the packs that its key is for, and on those that full keys made when it sees them and `and_full` says so.
    pub(super) fn rely(&self, and_full: bool) {
        self.index.rely_on(self.keys.writer(), and_full && self.sees_shared());
    }

    /// Whether it sees what full keys stored.
    pub fn sees_shared(&self) -> bool {
        self.keys.shared_index().is_some()
    }

    /// Puts a slot that `unlock` opens in the place of the one that opened the repository in this run. The new one first: at no moment
    /// is there no way in. One that this secret opens already is taken for it, since a run that was cut off may have left it.
    ///
    /// Errors: the old one stays, and opens. That the old one could not be removed is no error, but in what is given.
    pub fn replace_key(
        &self,
        unlock: Unlock<'_>,
        cost: Cost,
        description: &Description,
        clock: &dyn Clock,
    ) -> Result<Replaced, Error> {
        self.check_full()?;
        let name = match self.opened_by(unlock)? {
            Some(name) if name == self.slot => {
                return Err(Error::Refused("this is the password or key that is in use".to_owned()));
            }
            Some(name) => name,
            None => self.put_slot(unlock, cost, description)?,
        };
        let left = self.remove_key(&self.slot, clock, description.host.as_bytes()).err();
        if left.is_none() {
            let _ = self.index.set_fact("slot", &name.0);
        }
        Ok(Replaced { name, old: self.slot, left })
    }

    /// Removes a slot, also one that is damaged. Refuses the last one that can be read, and one of a later version; so it does while all
    /// others may be about to be removed by somebody else. A session says meanwhile which one goes: of two that remove each other's key at
    /// the same moment one sees the other's, wherever either is cut off (docs/concurrency.md).
    ///
    /// Errors: the slot stays, but for those of the storage.
    pub fn remove_key(&self, name: &Id, clock: &dyn Clock, host: &[u8]) -> Result<(), Error> {
        let session = Session::begin_as(Role::Reader, self, clock, self.client()?, host, vec![*name])?;
        self.settle(clock)?;
        // In this order: a session that is over has removed its slot before.
        let going = self.slots_going(&session)?;
        let (slots, problems) = self.key_slots()?;
        self.check_left(&slots, name)?;
        let others_stay = ways_left(&slots, name).any(|slot| !going.contains(&slot.name));
        if !others_stay && !is_writers(&slots, name) {
            return Err(Error::Refused(
                "somebody else is about to remove all other keys, or was cut off in it: end that first, or add a key"
                    .to_owned(),
            ));
        }
        let text = name.to_string();
        let whole = match problems.into_iter().find(|(problem, _)| problem == name) {
            Some((_, error)) if error.is_of_later_version() || !error.is_damage() || error.is_forbidden() => {
                return Err(error);
            }
            // Nobody misses it.
            Some(_) => None,
            None => match get_named(&*self.backend, Kind::Keys, name) {
                Err(_) if !self.backend_has(Kind::Keys, name)? => return Ok(()),
                object => Some(object?),
            },
        };
        let removed = match again(|| self.backend.remove(Kind::Keys, &text)) {
            // Only the reply to the first try got lost, or another one was faster.
            Err(error) if error.is_not_found() => Ok(()),
            other => other,
        };
        // An older program says nothing before it removes one. Looked for also where it is not told whether the removal came to pass.
        let left = self.key_slots().and_then(|(slots, _)| self.check_left(&slots, name));
        let (Err(error), Some(object)) = (left, whole) else { return Ok(removed?) };
        // Where it can not be seen what is left, rather one too many stays.
        put_named(&*self.backend, Kind::Keys, &object)?;
        Err(match error {
            Error::Refused(_) => Error::Refused(
                "all other keys were removed at the same moment: this one was put back, or the repository could never be opened again"
                    .to_owned(),
            ),
            error => error,
        })
    }

    /// Slots that others may be about to remove, by their sessions. One that can not be read says nothing.
    fn slots_going(&self, session: &Session<'_>) -> Result<HashSet<Id>, Error> {
        let now = session.check_alive()?;
        let (peers, _) = self.sessions_readable()?;
        // Who adds only removes none, whatever it says.
        let others = peers.into_iter().filter(|peer| peer.id != session.id && peer.writer == FULL);
        Ok(others
            .filter(|peer| peer.stirs_until().is_some_and(|until| now < until))
            .flat_map(|peer| peer.parents)
            .collect())
    }

    /// An error unless one of these slots is another one that gives all, or that one gave less.
    fn check_left(&self, slots: &[Listed], name: &Id) -> Result<(), Error> {
        match ways_left(slots, name).next().is_none() && !is_writers(slots, name) {
            true => Err(Error::Refused(
                "this is the last key: without it the repository could never be opened again".to_owned(),
            )),
            false => Ok(()),
        }
    }
}

/// Whether that slot is one of who adds only.
fn is_writers(slots: &[Listed], name: &Id) -> bool {
    slots.iter().any(|slot| slot.name == *name && slot.description.writer != FULL)
}

/// The slots that give all, without that one.
fn ways_left<'s>(slots: &'s [Listed], without: &Id) -> impl Iterator<Item = &'s Listed> {
    slots.iter().filter(move |slot| slot.description.writer == FULL && slot.name != *without)
}

/// What came of replacing a key.
#[derive(Debug)]
pub struct Replaced {
    /// The slot that opens from now on.
    pub name: Id,
    /// The one that it replaces.
    pub old: Id,
    /// Why the old one could not be removed; it opens too, then.
    pub left: Option<Error>,
}
