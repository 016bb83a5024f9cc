//! Snapshots: which there are, which are confirmed, and finding one by what a person types.

use std::collections::{HashMap, HashSet};

use super::again::{self, again};
use super::listing::{Listing, SNAPSHOTS};
use super::notes::{Notes, Standing};
use super::{Error, Repository, list_names};
use crate::backend::Kind;
use crate::crypto::FULL;
use crate::format::note::Verb;
use crate::format::{self, header};
use crate::model::{Id, Snapshot, Time};

/// For how long a forgotten snapshot can be brought back unless something else is said, seconds.
pub const GRACE_SECONDS: i64 = 7 * 24 * 3600;

/// A snapshot with its name, and what notes make of it.
#[derive(Clone, Debug)]
pub struct Named {
    pub name: Id,
    /// As it was written: its tags and description are those of the day it was made.
    pub snapshot: Snapshot,
    /// When it was confirmed, by the storage's clock.
    pub confirmed: Option<Time>,
    pub standing: Standing,
}

/// Whether that is the last word on an object: what it says, or that it is not for these keys.
fn is_known<T>(decoded: &Result<T, Error>) -> bool {
    matches!(decoded, Ok(_) | Err(Error::Closed { .. }))
}

/// All snapshots of a repository.
#[derive(Debug, Default)]
pub struct Snapshots {
    /// Confirmed ones that are not forgotten, oldest first.
    pub confirmed: Vec<Named>,
    /// Confirmed ones that are forgotten, oldest first: there until they are removed, and neither `latest` nor a parent.
    pub forgotten: Vec<Named>,
    /// Those whose writer ended before it could confirm them: never reported as saved. Also those whose confirmation can not be read.
    pub unconfirmed: Vec<Named>,
    /// Snapshots that can not be read, with the time of their confirmation when there is one that can.
    pub lost: Vec<(Id, Option<Time>)>,
    /// Those that a note says were removed for good, and that are not gone yet.
    pub removed: Vec<Id>,
    /// What is wrong with snapshots, confirmations and notes.
    pub problems: Vec<Error>,
    pub notes: Notes,
    /// Snapshots and confirmations in storage that can not be read, and whether that is because only a later version knows what they say.
    pub unreadable: Vec<(Kind, Id, bool)>,
    confirmations: HashMap<Id, Confirmed>,
}

/// What is known of a confirmation.
#[derive(Clone, Copy, Debug)]
enum Confirmed {
    At(Time),
    /// There is one, and it can not be read.
    Unreadable,
}

/// From where small objects are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The local cache, where it has them.
    Cache,
    /// Storage alone.
    Storage,
}

impl Confirmed {
    fn time(&self) -> Option<Time> {
        match self {
            Confirmed::At(time) => Some(*time),
            Confirmed::Unreadable => None,
        }
    }
}

impl Snapshots {
    /// Confirmed ones, forgotten or not: what the chains of clients are made of.
    pub fn saved(&self) -> impl Iterator<Item = &Named> {
        self.confirmed.iter().chain(&self.forgotten)
    }

    /// Saved snapshots of whose client the one before is neither there nor known to be removed: each with that one's name.
    pub fn broken_links(&self) -> impl Iterator<Item = (&Named, Id)> {
        let mut known: HashSet<Id> = self.saved().chain(&self.unconfirmed).map(|named| named.name).collect();
        known.extend(&self.removed);
        known.extend(self.notes.removed_links().map(|(name, _)| name));
        let links = self.saved().filter_map(|named| Some((named, named.snapshot.previous?)));
        links.filter(move |(_, previous)| !known.contains(previous))
    }

    /// Whether a snapshot that can not be read may be newer than this one, so that this one is perhaps not what was meant. So may one
    /// that is forgotten, when a note can not be read that perhaps says otherwise.
    pub fn may_hide_newer(&self, than: &Named) -> bool {
        let own = self.confirmations.get(&than.name);
        let newer = |confirmed: Option<Time>| match (confirmed, own) {
            (Some(time), Some(Confirmed::At(own))) => time >= *own,
            _ => true,
        };
        self.lost.iter().any(|(name, time)| self.confirmations.contains_key(name) && newer(*time))
            || self.unconfirmed.iter().any(|named| {
                self.confirmations.contains_key(&named.name)
                    && named.standing.forgotten.is_none()
                    && named.snapshot.host == than.snapshot.host
                    && named.snapshot.time >= than.snapshot.time
            })
            || !self.notes.is_whole()
                && self.forgotten.iter().any(|named| {
                    named.snapshot.host == than.snapshot.host && named.snapshot.time >= than.snapshot.time
                })
    }
}

impl Repository {
    /// Loads every snapshot, from the local cache where it is known.
    pub fn snapshots(&self) -> Result<Snapshots, Error> {
        self.snapshots_from(Origin::Cache)
    }

    /// Loads every snapshot.
    pub fn snapshots_from(&self, from: Origin) -> Result<Snapshots, Error> {
        let taken = if from == Origin::Cache { self.take_listing() } else { None };
        // Should one of the three be listed before what the next one says of it came, that is looked for once more below.
        let listing = taken.map_or_else(|| self.listing(&SNAPSHOTS), Ok)?;
        if from == Origin::Cache {
            self.fetch_ahead(&listing);
        }
        let confirmations = listing.of(Kind::Confirmed);
        let mut all = Snapshots::default();
        for name in confirmations {
            let confirmed = match self.confirmed_at(name, from) {
                Ok(time) => Confirmed::At(time),
                Err(Error::Closed { .. }) => continue,
                Err(error) if error.is_damage() && !self.backend_has(Kind::Confirmed, name)? => continue,
                Err(error) if error.is_damage() => {
                    all.unreadable.push((Kind::Confirmed, *name, error.is_of_later_version()));
                    all.problems.push(error);
                    Confirmed::Unreadable
                }
                Err(error) => return Err(error),
            };
            all.confirmations.insert(*name, confirmed);
        }
        // Who only adds reads none: what is forgotten is its parent until it goes, and that is told by what is removed.
        if !self.is_write_only() {
            all.notes = self.notes_named(listing.of(Kind::Notes), from, &mut all.problems)?;
        }
        let mut seen = HashSet::new();
        for name in listing.of(Kind::Snapshots).iter().copied() {
            seen.insert(name);
            if all.notes.is_removed(&name) {
                all.removed.push(name);
                continue;
            }
            let confirmed = all.confirmations.get(&name);
            let time = confirmed.and_then(Confirmed::time);
            match self.load_snapshot_from(&name, from) {
                Err(Error::Closed { .. }) => {}
                Ok(snapshot) => {
                    let standing = all.notes.standing(&name, &snapshot);
                    let list = match (time, standing.forgotten) {
                        (None, _) => &mut all.unconfirmed,
                        (_, Some(_)) => &mut all.forgotten,
                        _ => &mut all.confirmed,
                    };
                    list.push(Named { name, snapshot, confirmed: time, standing });
                }
                Err(error)
                    if error.is_damage()
                        && !self.backend_has(Kind::Snapshots, &name)?
                        && !self.backend_has(Kind::Confirmed, &name)? => {}
                Err(error) if error.is_damage() => {
                    all.unreadable.push((Kind::Snapshots, name, error.is_of_later_version()));
                    all.lost.push((name, time));
                    all.problems.push(error);
                }
                Err(error) => return Err(error),
            }
        }
        for name in confirmations {
            // Looked for once more: it may have come after the snapshots were listed.
            // One that was removed for good meanwhile has lost its confirmation first.
            if !seen.contains(name)
                && !all.notes.is_removed(name)
                && !self.backend_has(Kind::Snapshots, name)?
                && self.backend_has(Kind::Confirmed, name)?
            {
                all.lost.push((*name, all.confirmations.get(name).and_then(Confirmed::time)));
                let what = "it was confirmed as saved, and is missing";
                all.problems.push(Error::damaged(Kind::Snapshots, &name.to_string(), what));
            }
        }
        if all.broken_links().next().is_some() {
            self.take_removed_since(&listing, from, &mut all)?;
        }
        // docs/format.md, section 8: the order that says which is the latest.
        for list in [&mut all.confirmed, &mut all.forgotten] {
            list.sort_by_key(|named| {
                let snapshot = &named.snapshot;
                (snapshot.time, snapshot.client, snapshot.sequence, named.name)
            });
        }
        Ok(all)
    }

    /// Takes in notes of snapshots that were removed since the notes were listed: each is put before its snapshot goes, so it is there once
    /// the snapshot is missed.
    fn take_removed_since(&self, listing: &Listing, from: Origin, all: &mut Snapshots) -> Result<(), Error> {
        let known: HashSet<&Id> = listing.of(Kind::Notes).iter().collect();
        for name in list_names(&*self.backend, Kind::Notes)? {
            if known.contains(&name) {
                continue;
            }
            match self.load_note(&name, from) {
                Ok(note) if note.verb == Verb::Removed => all.notes.add(name, note),
                // Other notes came after what is told here; one that can not be read is told the next time.
                Ok(_) => {}
                Err(error) if error.is_damage() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// When a snapshot was confirmed. The confirmation must be one of that very snapshot: the storage could have copied it from another's
    /// name.
    pub(super) fn confirmed_at(&self, name: &Id, from: Origin) -> Result<Time, Error> {
        let kind = Kind::Confirmed.number();
        let cached =
            if from == Origin::Cache { self.index.cached_object(kind, name).ok().flatten() } else { None };
        let decode = |object: &[u8]| {
            format::snapshot::decode_confirmation(&self.keys, object)
                .map(|confirmation| (confirmation, header::writer(object)))
                .map_err(|error| Error::decode(Kind::Confirmed, &name.to_string(), error))
        };
        let mut fetched = None;
        let decoded = match cached.map(|object| decode(&object)).filter(is_known) {
            Some(known) => known,
            None => {
                let text = name.to_string();
                let wrong = |error| Error::reading(&*self.backend, Kind::Confirmed, &text, error);
                let most = format::limits::SMALL_MAX as u64;
                let fetch = || again(|| self.backend.get_at_most(Kind::Confirmed, &text, most));
                let object = again::get(fetch, |object| is_known(&decode(object))).map_err(wrong)?;
                decode(fetched.insert(object))
            }
        };
        let confirmed = decoded.and_then(|(confirmation, writer)| {
            if confirmation.snapshot != *name {
                let what = "it confirms another snapshot";
                return Err(Error::damaged(Kind::Confirmed, &name.to_string(), what));
            }
            self.check_confirms(writer, name, from).map(|()| confirmation.time)
        });
        // One that is not the snapshot's is not kept: a repair would put it back.
        if let Some(object) = fetched.filter(|_| is_known(&confirmed)) {
            let _ = self.index.cache_object(kind, name, &object);
        }
        confirmed
    }

    /// An error when one who only adds confirms what another one saved.
    fn check_confirms(&self, writer: u32, name: &Id, from: Origin) -> Result<(), Error> {
        if writer == FULL {
            return Ok(());
        }
        match self.small_object(Kind::Snapshots, name, from) {
            Ok(snapshot) if header::writer(&snapshot) != writer => {
                let what = "one who only adds confirms what another one saved";
                Err(Error::damaged(Kind::Confirmed, &name.to_string(), what))
            }
            // What is wrong with the snapshot is told where it is read.
            _ => Ok(()),
        }
    }

    /// Whether an object of that name is in storage.
    pub(crate) fn backend_has(&self, kind: Kind, name: &Id) -> Result<bool, Error> {
        match self.backend.stat(kind, &name.to_string()) {
            Ok(_) => Ok(true),
            Err(error) if error.is_not_found() => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Removes an object; that it is gone already is as good.
    pub(crate) fn remove_object(&self, kind: Kind, name: &Id) -> Result<(), Error> {
        match self.backend.remove(kind, &name.to_string()) {
            Err(error) if !error.is_not_found() => Err(error.into()),
            _ => Ok(()),
        }
    }

    /// Whether a snapshot, confirmation or note can be read from storage, or is of a later version and so not to be touched.
    ///
    /// Errors: `Unread` for one that this user may not read: nothing is known of it.
    pub(crate) fn reads(&self, kind: Kind, name: &Id) -> Result<bool, Error> {
        let read = match kind {
            Kind::Snapshots => self.load_snapshot_from(name, Origin::Storage).map(|_| ()),
            Kind::Confirmed => self.confirmed_at(name, Origin::Storage).map(|_| ()),
            _ => self.load_note(name, Origin::Storage).map(|_| ()),
        };
        match read {
            Ok(()) | Err(Error::Unsupported { .. }) => Ok(true),
            Err(error) if error.is_damage() && !error.is_forbidden() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Loads one snapshot.
    fn load_snapshot_from(&self, name: &Id, from: Origin) -> Result<Snapshot, Error> {
        let object = self.small_object(Kind::Snapshots, name, from)?;
        format::snapshot::decode(&self.keys, &object)
            .map_err(|error| Error::decode(Kind::Snapshots, &name.to_string(), error))
    }
}
