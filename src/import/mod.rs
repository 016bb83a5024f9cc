//! Importing snapshots of other programs: restic and Borg. Their own programs list what there is and write each snapshot as a tar archive,
//! which is read as it comes, cut, sealed and stored as a backup would. Each snapshot says of which one it was made, so a run that was cut
//! off, or the next one, goes on with what is missing. docs/decisions/0012-import.md says why in this way.

mod acl;
mod attributes;
pub mod borg;
mod content;
mod error;
mod place;
mod pour;
pub mod program;
pub mod records;
pub mod restic;
mod row;
mod run;
mod stream;
pub mod tar;
#[cfg(test)]
mod tests;
mod tree;
mod when;

use std::cell::Cell;
use std::collections::{BTreeMap, HashMap};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::model::clock::Clock;
use crate::model::{Id, Id16, Node, Snapshot, Summary, Time};
use crate::progress::{Event, Listener};
use crate::repository::session::{Session, kept_alive};
use crate::repository::store;
use crate::repository::{self, Repository, writing};
use pour::{Pour, Poured};

pub use crate::repository::writing::Options;
pub use error::Error;
pub use program::Program;

/// A snapshot as the other program lists it.
#[derive(Clone, Debug)]
pub struct Listed {
    /// What the snapshot made of it keeps: `PROGRAM:REPOSITORY:SNAPSHOT`.
    pub mark: String,
    pub id: String,
    /// As people call it.
    pub name: String,
    pub time: Time,
    pub utc_offset: i64,
    pub host: Vec<u8>,
    pub user: Vec<u8>,
    pub tags: Vec<String>,
    /// Absolute paths; none when only what is in it tells.
    pub sources: Option<Vec<Vec<u8>>>,
    /// A name of all that is in it: of two snapshots with the same one and the same sources, what is in them is the same.
    pub tree: Option<String>,
    pub description: String,
}

impl Listed {
    fn same(&self) -> Option<(String, Vec<Vec<u8>>)> {
        Some((self.tree.clone()?, self.sources.clone()?))
    }
}

/// What is in snapshots that are there.
type Known = HashMap<(String, Vec<Vec<u8>>), Snapshot>;

/// An entry as the other program lists it.
pub struct Expected {
    /// Relative to the top.
    pub path: Vec<u8>,
    /// What of its metadata the archive lacks.
    pub node: Node,
    /// Of a file with content of its own.
    pub size: u64,
    /// Archives of that program have entries of its kind.
    pub in_archive: bool,
    pub attributes: BTreeMap<Vec<u8>, Vec<u8>>,
    /// What all names of one file have in common; none when it has one name, or the archive tells.
    pub link: Option<Vec<u8>>,
    /// What the other program knows to be wrong with it.
    pub problem: Option<&'static str>,
}

/// Takes what is listed, entry by entry.
pub type Take<'t> = &'t mut dyn FnMut(Expected) -> Result<(), Error>;

/// Another program with one of its repositories.
pub trait Origin {
    fn program(&self) -> &'static str;

    /// The snapshots that there are.
    fn list(&self, stop: &AtomicBool) -> Result<Vec<Listed>, Error>;

    /// Whether paths are listed with a sign in the place of what is not UTF-8.
    fn replaces_bytes(&self) -> bool;

    /// Lists what is in a snapshot; gives its time where that is told more exactly here.
    fn inventory(&self, listed: &Listed, stop: &AtomicBool, take: Take<'_>) -> Result<Option<Time>, Error>;

    /// What writes a snapshot as an archive to its standard output, and what it is called.
    fn archive(&self, listed: &Listed) -> (String, Command);

    /// The folder that the top of its tree is, told by what is in the tree.
    fn folder(
        &self,
        listed: &Listed,
        has: &mut dyn FnMut(&[&[u8]]) -> Result<bool, Error>,
    ) -> Result<Vec<Vec<u8>>, Error>;

    /// Where it takes its secret from.
    fn hint(&self) -> &'static str;
}

/// What became of one snapshot.
#[derive(Clone, Debug)]
pub struct Imported {
    pub of: Listed,
    pub snapshot: Snapshot,
    /// None in a dry run.
    pub name: Option<Id>,
}

/// What became of all.
#[derive(Debug, Default)]
pub struct Outcome {
    pub imported: Vec<Imported>,
    /// Those that were there already.
    pub present: Vec<Listed>,
    /// Those that were not imported, with why; nothing of them counts.
    pub failed: Vec<(Listed, String)>,
}

impl Outcome {
    fn is_done(&self, mark: &str) -> bool {
        self.imported.iter().any(|imported| imported.of.mark == mark)
            || self.failed.iter().any(|(of, _)| of.mark == mark)
    }
}

/// Imports these snapshots, oldest first, but for those that are there. `told` is given each as it is done.
///
/// Errors: those of the repository that is written; then the snapshots told before are saved. What the other program does not give is in
/// the outcome.
#[allow(clippy::too_many_arguments)]
pub fn import(
    to: &Repository,
    origin: &dyn Origin,
    wanted: &[Listed],
    options: &Options,
    clock: &dyn Clock,
    host: &[u8],
    listener: &dyn Listener,
    stop: &AtomicBool,
    told: &mut dyn FnMut(&Imported),
) -> Result<Outcome, repository::Error> {
    let mut wanted: Vec<&Listed> = wanted.iter().collect();
    wanted.sort_by_key(|listed| (listed.time, &listed.mark));
    let mut outcome = Outcome::default();
    writing::going_on(listener, || {
        let totals = Cell::default();
        let work = Work { to, origin, options, clock, host, listener, stop, totals };
        work.all(&wanted, &mut outcome, told)
    })?;
    Ok(outcome)
}

struct Work<'a> {
    to: &'a Repository,
    origin: &'a dyn Origin,
    options: &'a Options,
    clock: &'a dyn Clock,
    host: &'a [u8],
    listener: &'a dyn Listener,
    stop: &'a AtomicBool,
    /// Files and bytes of all snapshots so far.
    totals: Cell<(u64, u64)>,
}

impl Work<'_> {
    fn all(
        &self,
        wanted: &[&Listed],
        outcome: &mut Outcome,
        told: &mut dyn FnMut(&Imported),
    ) -> Result<(), repository::Error> {
        let client = self.to.client()?;
        let (dry_run, listener) = (self.options.dry_run, self.listener);
        let session = writing::begin(self.to, self.clock, client, self.host, dry_run, "import", listener)?;
        let mut there = self.to.snapshots()?;
        let snapshots = there.confirmed.iter().map(|named| &named.snapshot);
        let imported = snapshots.filter(|snapshot| !snapshot.imported_from.is_empty());
        let marks: HashMap<String, Snapshot> =
            imported.map(|snapshot| (snapshot.imported_from.clone(), snapshot.clone())).collect();
        let mut known = Known::new();
        self.listener.event(Event::Started);
        for listed in wanted {
            if self.stop.load(Ordering::Relaxed) {
                return Err(repository::Error::Stopped);
            }
            if outcome.is_done(&listed.mark) {
                continue;
            }
            if let Some(snapshot) = marks.get(&listed.mark) {
                known.extend(listed.same().map(|same| (same, snapshot.clone())));
                outcome.present.retain(|present| present.mark != listed.mark);
                outcome.present.push((*listed).clone());
                continue;
            }
            let (snapshot, name) = match &session {
                None => (described(listed, client), None),
                Some(session) => match self.one(session, listed, &known, client) {
                    Ok(mut snapshot) => {
                        known.extend(listed.same().map(|same| (same, snapshot.clone())));
                        let name = self.to.commit_next(session, &mut snapshot, &there)?;
                        there = self.to.snapshots()?;
                        (snapshot, Some(name))
                    }
                    Err(Error::Target(error)) => return Err(error),
                    Err(error) => {
                        outcome.failed.push(((*listed).clone(), error.to_string()));
                        continue;
                    }
                },
            };
            let imported = Imported { of: (*listed).clone(), snapshot, name };
            told(&imported);
            outcome.imported.push(imported);
        }
        self.to.tell_unsynced(self.listener);
        self.listener.event(Event::Finished);
        Ok(())
    }

    fn one(
        &self,
        session: &Session<'_>,
        listed: &Listed,
        known: &Known,
        client: Id16,
    ) -> Result<Snapshot, Error> {
        let folder = self.to.index.folder();
        let mut failed = None;
        let done = store::with(self.to, self.options.store(client), self.clock, |store| {
            let pour = Pour::new(self.to, store, self.listener, self.stop, &self.totals);
            let twin = listed.same().and_then(|same| known.get(&same));
            let poured = |twin: Option<&Snapshot>| match twin {
                // Once all of it is found to be there, nothing has to be read.
                Some(twin) if store.holds_tree(twin.root)? => Ok(Poured::like(twin)),
                _ => pour.snapshot(self.origin, listed, folder.as_deref()),
            };
            let work = || match poured(twin) {
                Ok(poured) => {
                    store.checkpoint(|| {})?;
                    Ok(Some((poured, store.stored())))
                }
                Err(Error::Target(error)) => Err(error),
                Err(error) => {
                    failed = Some(error);
                    Ok(None)
                }
            };
            kept_alive(Some(session), |error| store.fail(error), work)
        });
        let Some((poured, stored)) = done? else {
            return Err(failed.unwrap_or(Error::Target(repository::Error::Stopped)));
        };
        let Poured { built, summary, incomplete, time } = poured;
        let mut snapshot = described(listed, client);
        snapshot.time = time.unwrap_or(listed.time);
        snapshot.root = built.root;
        snapshot.incomplete = incomplete;
        if listed.sources.is_none() {
            snapshot.sources = built.highest;
        }
        snapshot.summary = Summary {
            bytes_new: stored.bytes_new,
            bytes_stored: stored.bytes_stored,
            end: self.clock.now(),
            ..summary
        };
        Ok(snapshot)
    }
}

/// The snapshot as far as the list tells.
fn described(listed: &Listed, client: Id16) -> Snapshot {
    Snapshot {
        time: listed.time,
        time_given: true,
        utc_offset: listed.utc_offset,
        host: listed.host.clone(),
        user: listed.user.clone(),
        sources: listed.sources.clone().unwrap_or_default(),
        tags: listed.tags.clone(),
        program: concat!("copal ", env!("CARGO_PKG_VERSION")).to_owned(),
        description: listed.description.clone(),
        client,
        imported_from: listed.mark.clone(),
        ..Snapshot::default()
    }
}
