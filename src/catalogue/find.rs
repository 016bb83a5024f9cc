//! Finding paths by their names, over all snapshots.

use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::AtomicBool;

use super::check_stop;
use super::history::unreadable_above;
use super::timeline::{State, Timelines, lies_in};
use crate::index::catalogue::{Catalogue, Facts, PathNumber, ROOT, Row};
use crate::model::{NodeType, Time};
use crate::patterns::Finder;
use crate::repository::Error;
use crate::repository::snapshots::Named;

/// What is wanted besides the name. What is none does not matter.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    pub host: Option<Vec<u8>>,
    /// A folder in which it lies.
    pub below: Option<Vec<u8>>,
    pub kind: Option<NodeType>,
    /// Bytes that a version of it has at least.
    pub larger: Option<u64>,
    /// Bytes that a version of it has at most.
    pub smaller: Option<u64>,
    /// A version of it was changed at that time or after it.
    pub newer: Option<Time>,
    /// A version of it was changed before that time.
    pub older: Option<Time>,
    /// Only what the newest snapshot of its host does not hold any more.
    pub deleted: bool,
}

impl Wanted {
    fn takes(&self, facts: &Facts) -> bool {
        self.kind.is_none_or(|kind| kind == facts.kind)
            && self.larger.is_none_or(|size| facts.kind == NodeType::File && facts.size >= size)
            && self.smaller.is_none_or(|size| facts.kind == NodeType::File && facts.size <= size)
            && self.newer.is_none_or(|time| facts.mtime >= time)
            && self.older.is_none_or(|time| facts.mtime < time)
    }
}

/// A path on one host.
#[derive(Debug)]
pub struct Match<'s> {
    pub host: Vec<u8>,
    pub path: Vec<u8>,
    /// Of the newest version that is as wanted.
    pub facts: Facts,
    /// The oldest and the newest snapshot that hold the path.
    pub first: &'s Named,
    pub last: &'s Named,
    /// How many contents it had.
    pub versions: u64,
    /// The newest snapshot of its host and sources does not hold it any more.
    pub is_deleted: bool,
}

/// Gives `each` of the paths that match any of the finders, in the order in which they are first known.
pub fn find<'s, E: From<Error>>(
    catalogue: &Catalogue,
    timelines: &Timelines<'s>,
    finders: &[Finder],
    wanted: &Wanted,
    stop: &AtomicBool,
    each: &mut dyn FnMut(Match<'s>) -> Result<(), E>,
) -> Result<(), E> {
    let mut names = catalogue.names();
    for number in catalogue
        .search(|name| finders.iter().any(|finder| finder.matches_name(name)))
        .map_err(Error::from)?
    {
        check_stop(stop)?;
        let path = names.path(number).map_err(Error::from)?;
        let is_below = wanted.below.as_deref().is_none_or(|folder| lies_in(&path, folder));
        let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
        let is_found = |finder: &Finder| finder.matches_name(name) && finder.matches_path(&path);
        if !is_below || !finders.iter().any(is_found) {
            continue;
        }
        let rows = catalogue.rows(number).map_err(Error::from)?;
        let mut unreadable = || unreadable_above(catalogue, &mut names, number);
        for found in matches(timelines, &path, &rows, wanted, &mut unreadable)? {
            each(found)?;
        }
    }
    Ok(())
}

/// One for each host that had the path as wanted. `unreadable`: when the folders above it could not be read.
fn matches<'s>(
    timelines: &Timelines<'s>,
    path: &[u8],
    rows: &[Row],
    wanted: &Wanted,
    unreadable: &mut dyn FnMut() -> Result<Vec<Vec<Row>>, Error>,
) -> Result<Vec<Match<'s>>, Error> {
    struct Found<'s> {
        found: Match<'s>,
        contents: HashSet<i64>,
        /// The last snapshot of the version whose facts it has.
        shown: Option<Time>,
    }
    let mut hosts: BTreeMap<&'s [u8], Found<'s>> = BTreeMap::new();
    for row in rows {
        // What could not be read says nothing.
        let Some((first, last)) = timelines.span(row).filter(|_| row.facts.kind != NodeType::Unreadable)
        else {
            continue;
        };
        let host = &first.snapshot.host;
        if wanted.host.as_ref().is_some_and(|wanted| wanted != host) {
            continue;
        }
        let found = hosts.entry(host).or_insert_with(|| Found {
            found: Match {
                host: host.clone(),
                path: path.to_vec(),
                facts: row.facts.clone(),
                first,
                last,
                versions: 0,
                is_deleted: false,
            },
            contents: HashSet::new(),
            shown: None,
        });
        if first.snapshot.time < found.found.first.snapshot.time {
            found.found.first = first;
        }
        if last.snapshot.time > found.found.last.snapshot.time {
            found.found.last = last;
        }
        found.contents.insert(row.facts.content);
        if wanted.takes(&row.facts) && found.shown.is_none_or(|shown| shown < last.snapshot.time) {
            found.shown = Some(last.snapshot.time);
            found.found.facts = row.facts.clone();
        }
    }
    let mut all = Vec::new();
    for (host, Found { mut found, contents, shown }) in hosts {
        let newest = timelines
            .hosts
            .get(host)
            .and_then(|moments| moments.iter().rev().find(|moment| moment.covers(path)));
        found.versions = contents.len() as u64;
        if let Some(moment) = newest.filter(|moment| moment.state(rows) == State::Absent) {
            // In a folder that could not be read it is unknown, and not gone.
            let is_unread = |rows: &Vec<Row>| matches!(moment.state(rows), State::Present(_));
            found.is_deleted = !unreadable()?.iter().any(is_unread);
        }
        if shown.is_some() && (found.is_deleted || !wanted.deleted) {
            all.push(found);
        }
    }
    Ok(all)
}

/// The paths that end in these names.
pub fn ending(catalogue: &Catalogue, wanted: &[&[u8]]) -> Result<Vec<PathNumber>, Error> {
    let Some((last, above)) = wanted.split_last() else { return Ok(Vec::new()) };
    let mut names = catalogue.names();
    let mut found = Vec::new();
    'paths: for number in catalogue.search(|name| name == *last)? {
        let mut parent = names.entry(number)?.0;
        for name in above.iter().rev() {
            if parent == ROOT {
                continue 'paths;
            }
            let (next, own) = names.entry(parent)?;
            if own != *name {
                continue 'paths;
            }
            parent = next;
        }
        found.push(number);
    }
    Ok(found)
}
