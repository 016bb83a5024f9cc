//! Small objects, one by one: whatever is wrong with one hides nothing of the others. Without a key their hashes and heads still tell.

use std::collections::BTreeMap;
use std::path::Path;

use super::{Finding, Matter, Next};
use crate::backend::{Backend, Kind};
use crate::format::header;
use crate::model::Id;
use crate::repository::{Error, get_named, get_slot, list_names};

/// Kinds whose objects are named by their hash and are small; key slots are read in their own way.
const HASHED: [Kind; 6] =
    [Kind::Index, Kind::Snapshots, Kind::Sessions, Kind::Removals, Kind::Notes, Kind::Damage];

/// What is wrong with objects of one kind.
#[derive(Default)]
pub(super) struct Problems {
    damaged: BTreeMap<Kind, Vec<(String, String)>>,
    later: Vec<String>,
}

impl Problems {
    /// Takes what was said of an object of that kind.
    pub(super) fn add(&mut self, kind: Kind, error: &Error) {
        match error {
            Error::Unsupported { object, .. } => self.later.push(object.clone()),
            Error::Damaged { object, what } => {
                self.damaged.entry(kind).or_default().push((object.clone(), what.clone()));
            }
            other => {
                self.damaged.entry(kind).or_default().push((kind.folder().to_owned(), other.to_string()))
            }
        }
    }

    /// Takes errors that name their objects.
    pub(super) fn add_all<'e>(&mut self, errors: impl IntoIterator<Item = &'e Error>) {
        for error in errors {
            let kind = match error {
                Error::Damaged { object, .. } | Error::Unsupported { object, .. } => kind_of(object),
                _ => None,
            };
            self.add(kind.unwrap_or(Kind::Config), error);
        }
    }

    /// One finding for each kind.
    pub(super) fn tell(self, folder: Option<&Path>, findings: &mut Vec<Finding>) {
        for (kind, objects) in self.damaged {
            findings.push(damaged(kind, objects, folder));
        }
        if !self.later.is_empty() {
            let what = "a later version of copal wrote what this one can not read: restore and check with that version";
            findings.push(
                Finding::new(super::Severity::Bad, Matter::LaterVersion, what)
                    .of(self.later)
                    .then(Next::Other(vec![b"copal".to_vec(), b"version".to_vec()])),
            );
        }
    }
}

fn kind_of(object: &str) -> Option<Kind> {
    let folder = object.split('/').next()?;
    Kind::ALL.into_iter().find(|kind| kind.folder() == folder)
}

/// What is wrong with objects of a kind, and what to do about it. Where nothing can mend an object and its place is better empty, the
/// command removes just that file; `folder` is the repository's.
fn damaged(kind: Kind, objects: Vec<(String, String)>, folder: Option<&Path>) -> Finding {
    let (matter, what, verb) = match kind {
        Kind::Config => (
            Matter::ConfigDamaged,
            "config is damaged or missing; a copy of it in a key slot is in use, so nothing is lost",
            None,
        ),
        Kind::Keys => (
            Matter::KeyDamaged,
            "a key slot is damaged: the password or key it was made for may not open the repository any more; make a new one for it, \
             and then the damaged one can go (copal key remove)",
            Some("key add"),
        ),
        Kind::Index => (
            Matter::IndexDamaged,
            "index objects are damaged, or name packs that can not be read; the packs that can say themselves all that was said of them",
            Some("repair index"),
        ),
        Kind::Snapshots | Kind::Confirmed => (
            Matter::SnapshotDamaged,
            "snapshots or their confirmations are damaged: those can not be restored as they are",
            Some("repair snapshots"),
        ),
        Kind::Notes => (
            Matter::NoteDamaged,
            "notes on snapshots (tags, protection, forgetting) can not be read: until that is mended, nothing is forgotten or pruned",
            Some("repair snapshots"),
        ),
        Kind::Removals => (
            Matter::RemovalDamaged,
            "records of what a prune takes away can not be read: while they are there, nothing can be saved or pruned; a machine that still \
             knows what they say puts them back, and else they go once nobody is at work, and the next prune decides anew",
            Some("repair records"),
        ),
        Kind::Damage => (
            Matter::DamageRecordDamaged,
            "records of damage that was found can not be read: nothing is pruned until that is mended, and a check finds the damage again",
            Some("repair packs"),
        ),
        _ => (
            Matter::SessionDamaged,
            "records of who is at work can not be read: nothing is pruned while they are there; they can go, and nothing is lost by it",
            Some("repair records"),
        ),
    };
    let is_there = |(_, what): &&(String, String)| !what.starts_with("it is missing");
    let paths = objects.iter().filter(is_there).filter_map(|(object, _)| Some(folder?.join(object)));
    let paths: Vec<Vec<u8>> = paths.map(|path| path.into_os_string().into_encoded_bytes()).collect();
    let next = match verb {
        Some(verb) => Next::copal(verb),
        None if paths.is_empty() => Next::copal("check"),
        None => Next::Other([vec![b"rm".to_vec(), b"-i".to_vec()], paths].concat()),
    };
    let objects = objects.into_iter().map(|(object, what)| format!("{object}: {what}"));
    Finding::damage(matter, what).of(objects).then(next)
}

/// What hashes and heads tell of all small objects, without any key.
pub(super) fn raw(backend: &dyn Backend, folder: Option<&Path>) -> Vec<Finding> {
    let (mut problems, mut findings) = (Problems::default(), Vec::new());
    let look = |problems: &mut Problems, kind: Kind, name: String, read: Result<Vec<u8>, Error>| {
        let head = |bytes: Vec<u8>| {
            header::decode(&bytes, kind.number()).map_err(|error| Error::decode(kind, &name, error))
        };
        if let Err(error) = read.and_then(head) {
            problems.add(kind, &error);
        }
    };
    for kind in HASHED {
        for name in listed(backend, kind, &mut problems) {
            look(&mut problems, kind, name.to_string(), get_named(backend, kind, &name));
        }
    }
    for name in listed(backend, Kind::Keys, &mut problems) {
        let read =
            get_slot(backend, &name).and_then(|bytes| match crate::crypto::object_name(&bytes) == name {
                true => Ok(bytes),
                false => Err(Error::damaged(
                    Kind::Keys,
                    &name.to_string(),
                    "its bytes are not those that were stored",
                )),
            });
        look(&mut problems, Kind::Keys, name.to_string(), read);
    }
    for kind in [Kind::Config, Kind::Confirmed] {
        let mut names = Vec::new();
        let _ = backend.list(kind, &mut |entry| names.push(entry.name));
        for name in names {
            let read = backend.get(kind, &name).map_err(Error::from);
            look(&mut problems, kind, name, read);
        }
    }
    problems.tell(folder, &mut findings);
    findings
}

fn listed(backend: &dyn Backend, kind: Kind, problems: &mut Problems) -> Vec<Id> {
    list_names(backend, kind).unwrap_or_else(|error| {
        problems.add(kind, &error);
        Vec::new()
    })
}
