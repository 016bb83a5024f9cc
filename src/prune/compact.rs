//! Putting together what earlier runs wrote in pieces, so that who synchronises reads few objects: index objects and tombstones.

use std::collections::HashSet;

use super::{Outcome, Run};
use crate::backend::Kind;
use crate::format::limits::LIST_MAX;
use crate::format::session::Removal;
use crate::model::Id;
use crate::repository::Error;
use crate::repository::session::Session;

/// So many pieces are put together unless something else is said, and not fewer: who knows the pieces must read the whole again.
pub const PIECES: usize = 16;
/// Names in a tombstone: at half of it no more is added.
const NAMES: usize = LIST_MAX / 4;

fn names(tombstone: &Removal) -> usize {
    tombstone.packs.len() + tombstone.index_objects.len() + tombstone.snapshots.len()
}

/// Tombstones that can be put together. One whose mark is still there stays: without it the mark would count again.
fn pieces(run: &Run<'_>) -> Result<Vec<(Id, Removal)>, Error> {
    let removals = run.repository.removals()?.whole()?;
    let answered: HashSet<Id> = removals.answered.into_iter().collect();
    let is_needed = |tombstone: &Removal| tombstone.answers.is_some_and(|mark| answered.contains(&mark));
    let mut pieces = removals.tombstones;
    pieces.retain(|(_, tombstone)| names(tombstone) < NAMES / 2 && !is_needed(tombstone));
    if pieces.len() < run.options.pieces.max(2) {
        pieces.clear();
    }
    Ok(pieces)
}

/// Puts pieces together where they are many. In this order, so that whatever is named is named by something at any time: new index
/// objects; the tombstones that name the old ones, and all that those in whose place they come name; and once everybody sees these, the
/// old ones go.
pub(super) fn compact(run: &Run<'_>, session: &Session<'_>, outcome: &Outcome) -> Result<(), Error> {
    run.check_stop()?;
    run.repository.renew_copies(outcome.snapshots_removed > 0);
    let index_objects = run.repository.merge_index(run.options.pieces.max(2))?;
    let pieces = pieces(run)?;
    if index_objects.is_empty() && pieces.is_empty() {
        return Ok(());
    }
    let new = |index_objects| -> Result<Removal, Error> {
        let time = session.check_alive()?;
        Ok(Removal { index_objects, time, session: session.id, done: true, ..Removal::default() })
    };
    let mut merged = vec![];
    let mut last = new(index_objects.clone())?;
    for (name, piece) in pieces {
        if names(&last) + names(&piece) > NAMES {
            merged.push(std::mem::replace(&mut last, new(Vec::new())?));
        }
        last.packs.extend(piece.packs);
        last.index_objects.extend(piece.index_objects);
        last.snapshots.extend(piece.snapshots);
        last.replaces.push(name);
    }
    merged.push(last);
    for tombstone in &mut merged {
        for names in [&mut tombstone.packs, &mut tombstone.index_objects, &mut tombstone.snapshots] {
            names.sort_unstable();
            names.dedup();
        }
        run.repository.put_removal(tombstone)?;
    }
    run.settle()?;
    for name in &index_objects {
        run.repository.remove_object(Kind::Index, name)?;
    }
    for name in merged.iter().flat_map(|tombstone| &tombstone.replaces) {
        run.repository.remove_object(Kind::Removals, name)?;
    }
    Ok(())
}
