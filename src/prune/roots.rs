//! Which snapshots must stay whole, and which forgotten ones are to go.

use std::collections::HashSet;

use super::Run;
use crate::model::{Id, Id16, Segment, Time};
use crate::repository::Error;
use crate::repository::sessions::Peer;
use crate::repository::snapshots::Origin;

/// For how long a forgotten snapshot can be brought back unless something else is said, seconds.
pub const GRACE_SECONDS: i64 = 7 * 24 * 3600;

/// A snapshot that must stay whole.
pub struct Root {
    pub tree: Id,
    pub state: Vec<Segment>,
    /// It was saved; else it was never completed, and what of it is there stays.
    pub is_confirmed: bool,
}

/// All snapshots, by what becomes of them.
pub struct Roots {
    pub stay: Vec<Root>,
    /// Forgotten ones that are to go.
    pub going: Vec<Id>,
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
    let all = run.repository.snapshots_from(Origin::Storage)?;
    if let Some(problem) = all.problems.into_iter().next() {
        return Err(problem);
    }
    let mut roots = Roots { stay: Vec::new(), going: Vec::new() };
    for named in all.confirmed.iter().chain(&all.unconfirmed) {
        roots.stay.push(Root {
            tree: named.snapshot.root,
            state: named.snapshot.state.clone(),
            is_confirmed: named.is_confirmed,
        });
    }
    for forgotten in &all.forgotten {
        let named = &forgotten.named;
        let goes = match only {
            Some(only) => only.contains(&named.name),
            None => now.seconds_since(forgotten.at) >= run.options.grace_seconds as f64,
        };
        if goes && !parents.contains(&named.name) {
            roots.going.push(named.name);
        } else {
            roots.stay.push(Root {
                tree: named.snapshot.root,
                state: named.snapshot.state.clone(),
                is_confirmed: true,
            });
        }
    }
    Ok(roots)
}
