//! Bringing back forgotten snapshots while others may be removing them. docs/concurrency.md says why this is safe.

use crate::format::note::Verb;
use crate::model::clock::Clock;
use crate::model::{Id, Id16};
use crate::repository::notes::Notes;
use crate::repository::session::Session;
use crate::repository::{Error, Repository};

/// Takes back that snapshots were forgotten. What comes of each is in the order of `names`.
///
/// Errors: of each by itself; of all when what is being removed can not be known.
pub fn undelete(
    repository: &Repository,
    clock: &dyn Clock,
    client: Id16,
    host: &[u8],
    notes: &mut Notes,
    names: &[Id],
) -> Result<Vec<Result<(), Error>>, Error> {
    // The session first: from here on a pruner that does not see it has put its mark, and that is seen here.
    let session = Session::begin(repository, clock, client, host, names.to_vec())?;
    let removals = repository.removals()?.whole()?;
    let all = removals.marks.iter().chain(&removals.tombstones);
    let going: Vec<Id> = all.flat_map(|(_, removal)| removal.snapshots.iter().copied()).collect();
    let one = |name: &Id, notes: &mut Notes| {
        if going.contains(name) {
            return Err(Error::Refused(format!(
                "it is too late for snapshot {}: it is being removed",
                name.short()
            )));
        }
        let time = session.check_alive()?;
        repository.put_note(notes, name, Verb::Undelete, &[], time)?;
        // A pruner that gave this session up said so before it looked at the notes.
        if session.is_fenced()? { Err(Error::Overtaken) } else { Ok(()) }
    };
    Ok(names.iter().map(|name| one(name, notes)).collect())
}
