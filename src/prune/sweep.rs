//! Taking away what nobody looks at any more: what tombstones name, and sessions that are over.

use std::collections::HashSet;

use super::Run;
use crate::backend::Kind;
use crate::format::session::Removal;
use crate::model::{Id, Id16};
use crate::repository::Error;
use crate::repository::session::Session;
use crate::repository::sessions::ASLEEP_SECONDS;
use crate::repository::snapshots::Origin;

/// Removes what a tombstone names, in the order in which nothing that is left points to what is gone.
pub(super) fn tombstone(run: &Run<'_>, tombstone: &Removal) -> Result<(), Error> {
    for name in &tombstone.index_objects {
        run.repository.remove_object(Kind::Index, name)?;
    }
    for name in &tombstone.packs {
        run.repository.remove_object(Kind::Packs, name)?;
    }
    parity(run, &tombstone.packs.iter().copied().collect())
}

/// Removes recovery data of packs that are gone for good. A pack that is missing and that no tombstone names is lost: its own may bring
/// it back.
fn parity(run: &Run<'_>, removed: &HashSet<Id>) -> Result<(), Error> {
    let mut names = Vec::new();
    run.repository.backend.list(Kind::Parity, &mut |entry| names.extend(Id::parse(&entry.name)))?;
    names.retain(|name| removed.contains(name));
    names.iter().try_for_each(|name| run.repository.remove_object(Kind::Parity, name))
}

/// Removes removal records in whose place others were put, once everybody sees those: until then they say what is going.
pub(super) fn records(run: &Run<'_>, replaced: impl IntoIterator<Item = Id>) -> Result<(), Error> {
    let mut replaced = replaced.into_iter().peekable();
    if replaced.peek().is_some() {
        run.settle()?;
    }
    replaced.try_for_each(|name| run.repository.remove_object(Kind::Removals, &name))
}

/// Removes what a run that was cut off left: objects that tombstones name, marks that they answer, and tombstones that they replace.
pub(super) fn leftovers(run: &Run<'_>) -> Result<(), Error> {
    // As storage has them: what can not be read there is perhaps about to be given up, and must not be acted on by who remembers it.
    let removals = run.repository.removals_from(Origin::Storage)?.whole()?;
    let removed = removals.removed();
    let index: HashSet<Id> =
        removals.tombstones.iter().flat_map(|(_, done)| done.index_objects.iter().copied()).collect();
    let mut names = Vec::new();
    run.repository.backend.list(Kind::Index, &mut |entry| names.extend(Id::parse(&entry.name)))?;
    for name in names.iter().filter(|name| index.contains(name)) {
        run.repository.remove_object(Kind::Index, name)?;
    }
    for (name, _) in run.repository.stored_packs()? {
        if removed.contains(&name) {
            run.repository.remove_object(Kind::Packs, &name)?;
        }
    }
    parity(run, &removed)?;
    let all = run.repository.snapshots()?;
    for snapshot in all.removed.into_iter().chain(all.notes.left_of_removed()) {
        run.repository.remove_rest(&snapshot)?;
    }
    records(run, removals.answered.into_iter().chain(removals.replaced))
}

/// Removes the objects of sessions that are long over, the fenced ones among them. Fences stay: who sleeps for a year must still find
/// its own. The sessions of marks stay too: they tell who came later.
pub(super) fn sessions(run: &Run<'_>, session: &Session<'_>) -> Result<(), Error> {
    let now = session.check_alive()?;
    let keep: HashSet<Id16> = run.repository.removals()?.marks.iter().map(|(_, mark)| mark.session).collect();
    let fences: HashSet<Id16> = run.repository.fences()?.into_iter().collect();
    for peer in run.repository.sessions()? {
        let is_over = peer.is_ended || fences.contains(&peer.id);
        let since = now.seconds_since(peer.lease_end);
        if is_over && since > ASLEEP_SECONDS as f64 && !keep.contains(&peer.id) && peer.id != session.id {
            // The end last: without it the session would look as if it were still at work.
            for name in &peer.objects {
                run.repository.remove_object(Kind::Sessions, name)?;
            }
        }
    }
    Ok(())
}
