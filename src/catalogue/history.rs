//! The history of one path: its versions, newest first.

use super::timeline::{Moment, State, Timelines};
use crate::index::catalogue::{Catalogue, Facts, Names, PathNumber, Row};
use crate::model::NodeType;
use crate::repository::Error;
use crate::repository::snapshots::Named;
use crate::terminal::escape::escape;
use crate::terminal::time;

/// A path on one host.
#[derive(Debug)]
pub struct History<'s> {
    pub host: Vec<u8>,
    /// Newest first.
    pub versions: Vec<Version<'s>>,
}

/// What a path was in snapshots that follow each other.
#[derive(Clone, Debug)]
pub struct Version<'s> {
    pub facts: Facts,
    /// The oldest snapshot that holds it.
    pub first: &'s Named,
    /// The newest snapshot that holds it.
    pub last: &'s Named,
    /// Snapshots that hold it.
    pub snapshots: u64,
    /// The first snapshot after it that holds no such path.
    pub gone: Option<&'s Named>,
    /// The path from which it was moved.
    pub origin: Option<Vec<u8>>,
}

impl Version<'_> {
    /// What became of it and where it came from, in words.
    pub fn remarks(&self) -> String {
        let mut remarks = Vec::new();
        if let Some(gone) = self.gone {
            remarks.push(format!("deleted by {}", time::show(gone.snapshot.time)));
        }
        if let Some(origin) = &self.origin {
            remarks.push(format!("renamed from {}", escape(origin)));
        }
        remarks.join(", ")
    }
}

/// A run of snapshots in the making.
struct Run<'s, O> {
    version: Version<'s>,
    origin: O,
    /// Something else, or nothing, came after it.
    is_over: bool,
}

/// Puts together what a path was in each snapshot, oldest first. Versions are told apart by contents, or by anything (`all_changes`).
pub(super) fn runs<'s, O: Default>(
    moments: impl Iterator<Item = Result<(&'s Named, State<(Facts, O)>), Error>>,
    all_changes: bool,
) -> Result<Vec<(Version<'s>, O)>, Error> {
    let mut runs: Vec<Run<'s, O>> = Vec::new();
    for moment in moments {
        let (named, state) = moment?;
        match state {
            State::Unknown => {}
            State::Absent => {
                if let Some(run) = runs.last_mut()
                    && !run.is_over
                {
                    run.is_over = true;
                    run.version.gone = Some(named);
                }
            }
            // There, and nothing is known of it.
            State::Present((facts, _)) if facts.kind == NodeType::Unreadable => {}
            State::Present((facts, origin)) => {
                let is_same = |run: &&mut Run<'s, O>| {
                    let known = &run.version.facts;
                    let same = known.kind == facts.kind && known.content == facts.content;
                    !run.is_over && same && (!all_changes || known.node == facts.node)
                };
                if let Some(run) = runs.last_mut().filter(is_same) {
                    run.version.last = named;
                    run.version.snapshots += 1;
                } else {
                    let version =
                        Version { facts, first: named, last: named, snapshots: 1, gone: None, origin: None };
                    runs.push(Run { version, origin, is_over: false });
                }
            }
        }
    }
    Ok(runs.into_iter().rev().map(|run| (run.version, run.origin)).collect())
}

/// Of each folder above a path, the rows that say that it could not be read: what is in it is unknown then.
pub(super) fn unreadable_above(
    catalogue: &Catalogue,
    names: &mut Names<'_>,
    path: PathNumber,
) -> Result<Vec<Vec<Row>>, Error> {
    let mut unreadable = Vec::new();
    let mut above = path;
    while above != crate::index::catalogue::ROOT {
        above = names.entry(above)?.0;
        let mut rows = catalogue.rows(above)?;
        rows.retain(|row| row.facts.kind == NodeType::Unreadable);
        unreadable.push(rows);
    }
    Ok(unreadable)
}

/// The histories of a path, by host; only hosts that had it.
pub fn history<'s>(
    catalogue: &Catalogue,
    timelines: &Timelines<'s>,
    path: PathNumber,
    all_changes: bool,
) -> Result<Vec<History<'s>>, Error> {
    let mut names = catalogue.names();
    let text = names.path(path)?;
    let rows = catalogue.rows(path)?;
    let unreadable = unreadable_above(catalogue, &mut names, path)?;
    let state = |moment: &Moment<'s>| {
        let is_unread = unreadable.iter().any(|rows| matches!(moment.state(rows), State::Present(_)));
        if is_unread || !moment.covers(&text) {
            return State::Unknown;
        }
        match moment.state(&rows) {
            State::Present(row) => State::Present((row.facts.clone(), row.origin)),
            State::Absent => State::Absent,
            State::Unknown => State::Unknown,
        }
    };
    let mut histories = Vec::new();
    for (host, moments) in &timelines.hosts {
        let states = moments.iter().map(|moment| Ok((moment.named, state(moment))));
        let mut versions = Vec::new();
        for (mut version, origin) in runs(states, all_changes)? {
            version.origin = origin.map(|origin| names.path(origin)).transpose()?;
            versions.push(version);
        }
        if !versions.is_empty() {
            histories.push(History { host: host.clone(), versions });
        }
    }
    Ok(histories)
}
