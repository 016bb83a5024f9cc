//! Snapshots, confirmations and notes that can not be read: put back where this machine's cache still has them, given up where not.

use std::collections::{HashMap, HashSet};

use super::{Run, may_go_on};
use crate::backend::{self, Kind};
use crate::crypto::object_name;
use crate::format::note::{self, Link, Verb};
use crate::format::snapshot;
use crate::model::{Id, Time};
use crate::repository::session::Session;
use crate::repository::snapshots::{Origin, Snapshots};
use crate::repository::{Error, list_names};

/// What is done about small objects.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Objects {
    /// Put back as they were, from the cache.
    pub put_back: Vec<(Kind, Id)>,
    /// Snapshots that are there and whose confirmation can not be read: another one stands for each.
    pub unconfirmed: Vec<Id>,
    /// Snapshots that can not be read, with when they were confirmed: given up.
    pub gone: Vec<(Id, Option<Time>)>,
    /// Notes that can not be read: removed.
    pub notes: Vec<Id>,
    /// Of a later version: left alone.
    pub later: Vec<(Kind, Id)>,
    /// Where snapshots that are gone stood in their clients' chains, as far as later ones tell.
    links: HashMap<Id, Link>,
}

impl Objects {
    pub fn is_empty(&self) -> bool {
        self.put_back.is_empty() && self.gone.is_empty() && self.notes.is_empty()
    }

    pub fn takes_away(&self) -> bool {
        !self.gone.is_empty() || !self.notes.is_empty()
    }
}

/// The copy of an object in the cache, when it is whole.
fn cached(run: &Run<'_>, kind: Kind, name: &Id) -> Option<Vec<u8>> {
    let bytes = run.repository.index.cached_object(kind.number(), name).ok().flatten()?;
    let keys = &run.repository.keys;
    let is_sound = match kind {
        Kind::Confirmed => {
            snapshot::decode_confirmation(keys, &bytes).is_ok_and(|made| made.snapshot == *name)
        }
        Kind::Snapshots => object_name(&bytes) == *name && snapshot::decode(keys, &bytes).is_ok(),
        _ => object_name(&bytes) == *name && note::decode(keys, &bytes).is_ok(),
    };
    is_sound.then_some(bytes)
}

/// Notes that the cache has of snapshots that are there, and storage has no more: no program removes such. Storage may have been put
/// back to an older day on purpose, though: what would let a snapshot go does not come back.
fn missing_notes(run: &Run<'_>, all: &Snapshots) -> Result<Vec<Id>, Error> {
    let there: HashSet<Id> = list_names(&*run.repository.backend, Kind::Notes)?.into_iter().collect();
    let snapshots: HashSet<Id> = all.saved().map(|named| named.name).collect();
    let mut names = Vec::new();
    run.repository.index.each_cached_object(Kind::Notes.number(), &mut |name, bytes| {
        let note = note::decode(&run.repository.keys, &bytes);
        let lets_go = |verb| matches!(verb, Verb::Forget | Verb::Unprotect | Verb::Removed);
        let is_missed = note.is_ok_and(|note| !lets_go(note.verb) && snapshots.contains(&note.snapshot));
        if is_missed && !there.contains(&name) && object_name(&bytes) == name {
            names.push(name);
        }
    })?;
    Ok(names)
}

/// What is to be done, and the snapshots as they will be when what the cache has is put back.
pub(super) fn look(run: &Run<'_>) -> Result<(Objects, Snapshots), Error> {
    let repository = run.repository;
    let stored = repository.snapshots_from(Origin::Storage)?;
    let all = repository.snapshots_from(Origin::Cache)?;
    let mut objects = Objects::default();
    let unreadable = stored.unreadable.iter().copied();
    let notes = stored.notes.unreadable.iter().map(|(name, is_later)| (Kind::Notes, *name, *is_later));
    for (kind, name, is_later) in unreadable.chain(notes) {
        if !is_later {
            // What is only forbidden to this user ends the repair here.
            repository.reads(kind, &name)?;
        }
        match kind {
            _ if is_later => objects.later.push((kind, name)),
            _ if cached(run, kind, &name).is_some() => objects.put_back.push((kind, name)),
            Kind::Confirmed => objects.unconfirmed.push(name),
            Kind::Notes => objects.notes.push(name),
            _ => {}
        }
    }
    let later: HashSet<Id> = objects.later.iter().map(|(_, name)| *name).collect();
    let mut lost: HashMap<Id, Option<Time>> = stored.lost.iter().copied().collect();
    for (after, name) in all.broken_links() {
        lost.entry(name).or_default();
        let Link { client, sequence, .. } = Link::of(&after.snapshot);
        let sequence = sequence.saturating_sub(1);
        objects.links.insert(name, Link { client, sequence, previous: None });
    }
    for (name, confirmed) in lost {
        let is_put_back = objects.put_back.contains(&(Kind::Snapshots, name));
        if later.contains(&name) || is_put_back || stored.notes.is_removed(&name) {
            continue;
        }
        if cached(run, Kind::Snapshots, &name).is_some() {
            objects.put_back.push((Kind::Snapshots, name));
            let is_confirmed = repository.backend_has(Kind::Confirmed, &name)?;
            if !is_confirmed && cached(run, Kind::Confirmed, &name).is_some() {
                objects.put_back.push((Kind::Confirmed, name));
            }
        } else {
            objects.gone.push((name, confirmed));
        }
    }
    // Without its snapshot, a confirmation is worth nothing.
    let gone: HashSet<Id> = objects.gone.iter().map(|(name, _)| *name).collect();
    objects.unconfirmed.retain(|name| !gone.contains(name));
    // Nor does any program remove a confirmation before a note says that the snapshot goes.
    let known: HashSet<Id> = stored.unreadable.iter().map(|(_, name, _)| *name).collect();
    let unconfirmed = stored.unconfirmed.iter().map(|named| named.name).filter(|name| !known.contains(name));
    let confirmed = unconfirmed.filter(|name| cached(run, Kind::Confirmed, name).is_some());
    objects.put_back.extend(confirmed.map(|name| (Kind::Confirmed, name)));
    objects.put_back.extend(missing_notes(run, &all)?.into_iter().map(|name| (Kind::Notes, name)));
    objects.gone.sort_unstable();
    Ok((objects, all))
}

/// Puts back what the cache has, in its place where storage can: were this cut off while a note is gone that keeps a snapshot, the next
/// prune would take that.
pub(super) fn put_back(run: &Run<'_>, session: &Session<'_>, objects: &Objects) -> Result<(), Error> {
    may_go_on(session)?;
    for (kind, name) in &objects.put_back {
        run.check_stop()?;
        let Some(bytes) = cached(run, *kind, name) else { continue };
        if run.repository.reads(*kind, name)? {
            continue;
        }
        let (backend, text) = (&run.repository.backend, name.to_string());
        match backend.replace(*kind, &text, &bytes) {
            // On such storage there is none for a moment.
            Err(backend::Error::Unsupported { .. }) => {
                run.repository.remove_object(*kind, name)?;
                backend.put(*kind, &text, &bytes)?;
            }
            other => other?,
        }
    }
    Ok(())
}

/// Forgets once more what is forgotten: a note that is given up may have brought it back, and its days would be over.
fn rest_anew(run: &Run<'_>, session: &Session<'_>) -> Result<(), Error> {
    let mut all = run.repository.snapshots()?;
    for named in &all.forgotten {
        let time = session.check_alive()?;
        run.repository.put_note(&mut all.notes, &named.name, Verb::Forget, &[], time)?;
    }
    Ok(())
}

/// Removes what can not be read. Of a snapshot a note stays that says so, or a prune would miss it for ever.
pub(super) fn give_up(run: &Run<'_>, session: &Session<'_>, objects: &Objects) -> Result<(), Error> {
    may_go_on(session)?;
    if !objects.notes.is_empty() {
        rest_anew(run, session)?;
    }
    for name in &objects.notes {
        run.check_stop()?;
        if !run.repository.reads(Kind::Notes, name)? {
            run.repository.remove_object(Kind::Notes, name)?;
        }
    }
    for (name, _) in &objects.gone {
        run.check_stop()?;
        if !run.repository.reads(Kind::Snapshots, name)? {
            let link = objects.links.get(name).copied().unwrap_or_default();
            run.repository.remove_snapshot(name, link)?;
        }
    }
    Ok(())
}
