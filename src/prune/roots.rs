//! Which snapshots must stay whole, and which forgotten ones are to go.

use std::collections::HashSet;

use super::Run;
use crate::crypto::FULL;
use crate::format::note::Link;
use crate::model::{Id, Id16, Segment, Snapshot, Time};
use crate::repository::Error;
use crate::repository::sessions::Peer;
use crate::repository::snapshots::{Named, Origin, Snapshots};

/// A snapshot that must stay whole.
pub struct Root {
    pub tree: Id,
    pub state: Vec<Segment>,
    /// It was saved; else it was never completed, and what of it is there stays.
    pub is_confirmed: bool,
    /// Somebody made it who adds only.
    pub is_writers: bool,
}

/// All snapshots, by what becomes of them.
pub struct Roots {
    pub stay: Vec<Root>,
    /// Forgotten ones that are to go, and where they stand in their chains.
    pub going: Vec<(Id, Link)>,
    /// Until when each of those forgotten can still be brought back of which that is not over.
    pub resting: Vec<Time>,
    /// How many of the others stay since somebody at work names them.
    pub held: u64,
}

/// What a snapshot needs.
pub(super) fn root(named: &Named, is_confirmed: bool) -> Root {
    let Snapshot { root: tree, state, writer, .. } = &named.snapshot;
    Root { tree: *tree, state: state.clone(), is_confirmed, is_writers: *writer != FULL }
}

/// A saved snapshot, and the one before it that is missing. Who removes one puts its note before: so notes that are listed after the
/// snapshots tell of all that another pruner removed meanwhile, when listings had the time to have them.
fn missing_link(run: &Run<'_>, all: &Snapshots) -> Result<Option<(Id, Id)>, Error> {
    let mut missing: Vec<(Id, Id)> =
        all.broken_links().map(|(after, previous)| (after.name, previous)).collect();
    for look in 0..2 {
        if missing.is_empty() {
            break;
        }
        if look > 0 {
            run.settle()?;
        }
        let notes = run.repository.notes(Origin::Storage, &mut Vec::new())?;
        missing.retain(|(_, previous)| !notes.is_removed(previous));
    }
    Ok(missing.first().copied())
}

/// Sorts all snapshots. A forgotten one stays until its grace is over, and as long as somebody who may still commit names it. With
/// `only`, none but those go, whatever their grace: they were judged before.
///
/// Errors: also when a snapshot or a note can not be read: what it needs is not known then.
pub(super) fn roots(
    run: &Run<'_>,
    peers: &[Peer],
    own: Option<Id16>,
    now: Time,
    only: Option<&HashSet<Id>>,
) -> Result<Roots, Error> {
    let fences: HashSet<Id16> = run.repository.fences()?.into_iter().collect();
    let parents: HashSet<Id> = peers
        .iter()
        .filter(|peer| Some(peer.id) != own && !peer.is_ended && !fences.contains(&peer.id))
        .flat_map(|peer| peer.parents.iter().copied())
        .collect();
    let mut all = run.repository.snapshots_from(Origin::Storage)?;
    if let Some(problem) = all.problems.pop() {
        return Err(problem);
    }
    if let Some((after, previous)) = missing_link(run, &all)? {
        return Err(Error::Damaged {
            object: format!("snapshot {}", previous.short()),
            what: format!("it is missing, and snapshot {} came after it: nothing is removed", after.short()),
        });
    }
    // What is lost of a forgotten one is known, and marked in the one that stands for it: what is there stays.
    let stood_for: HashSet<Id> = all.saved().filter_map(|named| named.snapshot.stands_for).collect();
    let mut roots = Roots { stay: Vec::new(), going: Vec::new(), resting: Vec::new(), held: 0 };
    roots.stay.extend(all.confirmed.iter().map(|named| root(named, true)));
    roots.stay.extend(all.unconfirmed.iter().map(|named| root(named, false)));
    for named in &all.forgotten {
        let at = named.standing.forgotten.unwrap_or(now);
        let goes = match only {
            Some(only) => only.contains(&named.name),
            None => now.seconds_since(at) >= run.options.grace_seconds as f64,
        };
        if goes && !parents.contains(&named.name) {
            roots.going.push((named.name, Link::of(&named.snapshot)));
        } else {
            match goes {
                true => roots.held += 1,
                false => roots.resting.push(at.plus_seconds(run.options.grace_seconds)),
            }
            roots.stay.push(root(named, !stood_for.contains(&named.name)));
        }
    }
    Ok(roots)
}
