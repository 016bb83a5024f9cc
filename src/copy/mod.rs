//! Copying snapshots from one repository to another, which may have other keys and cut files otherwise: what is read of one is cut, sealed
//! and stored as a backup into the other would. Each snapshot says of which one it is a copy, so a run that was cut off, or the next one,
//! goes on with what is missing; of what the copy before it has, nothing is read again.

mod tree;

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};

use crate::model::clock::Clock;
use crate::model::{Id, Id16, Snapshot, Summary};
use crate::progress::{Event, Listener};
use crate::repository::session::{Session, kept_alive, reading};
use crate::repository::snapshots::{Named, Snapshots};
use crate::repository::store::{self, Store};
use crate::repository::{Error, Repository, writing};
use tree::Walk;

pub use crate::repository::writing::Options;

/// What became of one snapshot.
#[derive(Clone, Debug)]
pub struct Copied {
    /// As it is in the repository that it comes from.
    pub of: Id,
    pub snapshot: Snapshot,
    /// In the other one; none in a dry run.
    pub name: Option<Id>,
}

/// What became of all.
#[derive(Debug, Default)]
pub struct Outcome {
    pub copied: Vec<Copied>,
    /// Those that were there already.
    pub present: Vec<Id>,
    /// Those that could not be read, with why; nothing of them counts as copied.
    pub failed: Vec<(Id, Error)>,
}

/// A snapshot in both repositories: the roots of its trees.
#[derive(Clone, Copy)]
struct Pair {
    from: Id,
    to: Id,
}

/// Copies these snapshots of `from` to `to`, oldest first, but for those that are there. `told` is given each as it is done.
///
/// Errors: those of the repository that is written; then the snapshots told before are saved. What can not be read of a snapshot is in the
/// outcome.
#[allow(clippy::too_many_arguments)]
pub fn copy(
    from: &Repository,
    to: &Repository,
    wanted: &[Named],
    options: &Options,
    clock: &dyn Clock,
    host: &[u8],
    listener: &dyn Listener,
    stop: &AtomicBool,
    told: &mut dyn FnMut(&Copied),
) -> Result<Outcome, Error> {
    if from.id() == to.id() {
        return Err(Error::Refused("both are one repository: there is nothing to copy".to_owned()));
    }
    let mut wanted: Vec<&Named> = wanted.iter().collect();
    wanted.sort_by_key(|named| (named.snapshot.time, named.name));
    let mut outcome = Outcome::default();
    reading(from, clock, host, || {
        let work = Work { from, to, options, clock, host, listener, stop };
        writing::going_on(listener, || work.all(&wanted, &mut outcome, told))
    })?;
    Ok(outcome)
}

struct Work<'a> {
    from: &'a Repository,
    to: &'a Repository,
    options: &'a Options,
    clock: &'a dyn Clock,
    host: &'a [u8],
    listener: &'a dyn Listener,
    stop: &'a AtomicBool,
}

impl Work<'_> {
    fn all(
        &self,
        wanted: &[&Named],
        outcome: &mut Outcome,
        told: &mut dyn FnMut(&Copied),
    ) -> Result<(), Error> {
        let client = self.to.client()?;
        let (dry_run, listener) = (self.options.dry_run, self.listener);
        let session = writing::begin(self.to, self.clock, client, self.host, dry_run, "copy", listener)?;
        let mut there = self.to.snapshots()?;
        let mut pairs = self.pairs(&there)?;
        self.listener.event(Event::Started);
        let failed: HashSet<Id> = outcome.failed.iter().map(|(name, _)| *name).collect();
        for named in wanted {
            if self.stop.load(Ordering::Relaxed) {
                return Err(Error::Stopped);
            }
            let of = named.name;
            if failed.contains(&of) || outcome.copied.iter().any(|copied| copied.of == of) {
                continue;
            }
            if is_there(&there, self.from.id(), &of) {
                outcome.present.retain(|name| *name != of);
                outcome.present.push(of);
                continue;
            }
            let line = (named.snapshot.host.clone(), named.snapshot.sources.clone());
            let mut snapshot = match self.one(session.as_ref(), named, pairs.get(&line).copied(), client) {
                Ok(snapshot) => snapshot,
                // What the source does not give; the other one is as it was.
                Err(Failed::From(error)) => {
                    outcome.failed.push((of, error));
                    continue;
                }
                Err(Failed::To(error)) => return Err(error),
            };
            pairs.insert(line, Pair { from: named.snapshot.root, to: snapshot.root });
            let name = match &session {
                Some(session) => Some(self.to.commit_next(session, &mut snapshot, &there)?),
                None => None,
            };
            if name.is_some() {
                there = self.to.snapshots()?;
            }
            let copied = Copied { of, snapshot, name };
            told(&copied);
            outcome.copied.push(copied);
        }
        self.to.tell_unsynced(self.listener);
        self.listener.event(Event::Finished);
        Ok(())
    }

    /// The newest copy of each line of snapshots (of one host and the same sources), beside what it is a copy of.
    fn pairs(&self, there: &Snapshots) -> Result<HashMap<(Vec<u8>, Vec<Vec<u8>>), Pair>, Error> {
        let roots: HashMap<Id, Id> =
            self.from.snapshots()?.saved().map(|named| (named.name, named.snapshot.root)).collect();
        let mut pairs = HashMap::new();
        for named in &there.confirmed {
            let snapshot = &named.snapshot;
            if let Some((repository, of)) = snapshot.copied_from
                && repository == self.from.id()
                && let Some(root) = roots.get(&of)
            {
                let line = (snapshot.host.clone(), snapshot.sources.clone());
                pairs.insert(line, Pair { from: *root, to: snapshot.root });
            }
        }
        Ok(pairs)
    }

    fn one(
        &self,
        session: Option<&Session<'_>>,
        named: &Named,
        pair: Option<Pair>,
        client: Id16,
    ) -> Result<Snapshot, Failed> {
        let mut unread = None;
        let mut work = |store: &Store<'_>| {
            let mut walk = Walk::new(self.from, store, self.to, self.listener, self.stop);
            let root = match walk.tree(named.snapshot.root, pair) {
                Ok(root) => root,
                Err(Failed::To(error)) => return Err(error),
                Err(Failed::From(error)) => {
                    unread = Some(error);
                    return Ok(None);
                }
            };
            store.checkpoint(|| {})?;
            Ok(Some((root, store.stored())))
        };
        let done = store::with(self.to, self.options.store(client), self.clock, |store| {
            kept_alive(session, |error| store.fail(error), || work(store))
        });
        let Some((root, stored)) = done.map_err(Failed::To)? else {
            return Err(Failed::From(unread.unwrap_or(Error::Stopped)));
        };
        let original = &named.snapshot;
        Ok(Snapshot {
            root,
            client,
            tags: named.standing.tags.clone(),
            description: named.standing.description.clone(),
            copied_from: Some((self.from.id(), named.name)),
            // It is no more to be believed than before.
            added_by: original.teller(),
            summary: Summary {
                bytes_new: stored.bytes_new,
                bytes_stored: stored.bytes_stored,
                ..original.summary
            },
            // What only means something in the repository that it comes from; the rest is said when it is committed.
            state: Vec::new(),
            options_digest: Vec::new(),
            parent: None,
            ..original.clone()
        })
    }
}

/// Which side failed.
enum Failed {
    From(Error),
    To(Error),
}

fn is_there(there: &Snapshots, repository: Id16, of: &Id) -> bool {
    there.confirmed.iter().any(|named| named.snapshot.copied_from == Some((repository, *of)))
}
