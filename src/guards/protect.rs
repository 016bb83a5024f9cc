//! Keeping what was saved before something went wrong: the newest snapshot before an alarming run is protected from being forgotten.

use crate::format::note::Verb;
use crate::model::Id;
use crate::repository::snapshots::{Named, Snapshots};
use crate::repository::{Error, Repository};
use crate::terminal::time;

/// What came of it.
#[derive(Clone, Debug)]
pub enum Shield {
    /// It is protected now.
    Protected(Box<Named>),
    /// It was protected already.
    Already(Box<Named>),
    /// There is none of this host and these sources.
    None,
}

impl Shield {
    /// The same in one line.
    pub fn words(&self) -> String {
        let of =
            |named: &Named| format!("snapshot {} of {}", named.name.short(), time::show(named.snapshot.time));
        match self {
            Shield::Protected(named) => format!(
                "{}, the newest before this run, is protected: no policy forgets it; when all is well: copal unprotect {}",
                of(named),
                named.name.short()
            ),
            Shield::Already(named) => {
                format!("{}, the newest before this run, is protected already", of(named))
            }
            Shield::None => "there is no snapshot before this run that could be protected".to_owned(),
        }
    }
}

/// Protects the newest snapshot of a host and sources that is older than the alarming one; without an alarming one (the run was refused)
/// the newest there is.
pub fn protect_before(
    repository: &Repository,
    all: &mut Snapshots,
    alarming: Option<&Id>,
    host: &[u8],
    sources: &[Vec<u8>],
) -> Result<Shield, Error> {
    let mut sources = sources.to_vec();
    sources.sort();
    let bound = alarming.and_then(|name| all.confirmed.iter().find(|named| named.name == *name));
    let bound = bound.map(|named| named.snapshot.time);
    let before = (all.confirmed.iter())
        .filter(|named| Some(&named.name) != alarming)
        // Who only adds may have put it there to be protected instead.
        .filter(|named| named.snapshot.teller() == repository.writer())
        .filter(|named| named.snapshot.host == host && named.snapshot.sources == sources)
        .filter(|named| bound.is_none_or(|bound| named.snapshot.time <= bound))
        .max_by_key(|named| named.snapshot.time)
        .cloned();
    let Some(named) = before else { return Ok(Shield::None) };
    if named.standing.protected {
        return Ok(Shield::Already(Box::new(named)));
    }
    let time = repository.storage_time()?;
    repository.put_note(&mut all.notes, &named.name, Verb::Protect, &[], time)?;
    Ok(Shield::Protected(Box::new(named)))
}
