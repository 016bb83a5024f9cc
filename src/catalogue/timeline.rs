//! The snapshots of each host in the order of their times, and what the catalogue knows of each.

use std::collections::{BTreeMap, HashMap};

use crate::index::catalogue::{Catalogue, Coverage, Known, Row};
use crate::model::Id;
use crate::repository::Error;
use crate::repository::snapshots::Named;

/// The snapshots of all hosts.
pub struct Timelines<'s> {
    /// By host; oldest first.
    pub hosts: BTreeMap<Vec<u8>, Vec<Moment<'s>>>,
    /// By lane: the numbers of snapshots that are there, ascending.
    lanes: HashMap<i64, Vec<(i64, &'s Named)>>,
}

/// A snapshot, and where the catalogue has it.
#[derive(Clone, Copy)]
pub struct Moment<'s> {
    pub named: &'s Named,
    pub known: Option<Known>,
}

/// What is known of a path in a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State<T> {
    Present(T),
    Absent,
    /// It, or a folder above it, could not be read, or the snapshot's sources do not hold the path.
    Unknown,
}

impl<'s> Timelines<'s> {
    /// Of these snapshots, oldest first, with what the catalogue knows of them, when there is one.
    pub fn new(snapshots: &'s [Named], catalogue: Option<&Catalogue>) -> Result<Timelines<'s>, Error> {
        let known: HashMap<Id, Known> = match catalogue {
            Some(catalogue) => catalogue.known()?.into_iter().collect(),
            None => HashMap::new(),
        };
        let mut hosts: BTreeMap<Vec<u8>, Vec<Moment<'s>>> = BTreeMap::new();
        let mut lanes: HashMap<i64, Vec<(i64, &'s Named)>> = HashMap::new();
        for named in snapshots {
            let moment = Moment { named, known: known.get(&named.name).copied() };
            if let Some(known) = moment.known.filter(|known| known.state != Coverage::GivenUp) {
                lanes.entry(known.lane).or_default().push((known.number, named));
            }
            hosts.entry(named.snapshot.host.clone()).or_default().push(moment);
        }
        for lane in lanes.values_mut() {
            lane.sort_by_key(|(number, _)| *number);
        }
        Ok(Timelines { hosts, lanes })
    }

    /// The first and the last snapshot for which a row holds; none when all of them are gone.
    pub fn span(&self, row: &Row) -> Option<(&'s Named, &'s Named)> {
        let lane = self.lanes.get(&row.lane)?;
        let first = lane.partition_point(|(number, _)| *number < row.first);
        let after = lane.partition_point(|(number, _)| *number <= row.last);
        let held = lane.get(first..after)?;
        Some((held.first()?.1, held.last()?.1))
    }

    /// Snapshots of which the catalogue can say nothing.
    pub fn unknown(&self) -> u64 {
        let moments = self.hosts.values().flatten();
        moments.filter(|moment| moment.known.is_none_or(|known| known.state == Coverage::GivenUp)).count()
            as u64
    }

    /// Snapshots that could not be read wholly when they were added: what was in there may be missing. Not those that a repair wrote,
    /// which say themselves what is lost.
    pub fn partial(&self) -> impl Iterator<Item = &'s Named> {
        let moments = self.hosts.values().flatten();
        moments
            .filter(|moment| moment.known.is_some_and(|known| known.state == Coverage::Partial))
            .map(|moment| moment.named)
            .filter(|named| named.snapshot.stands_for.is_none())
    }
}

/// Whether a path is that folder, or lies in it.
pub(super) fn lies_in(path: &[u8], folder: &[u8]) -> bool {
    let folder = folder.strip_suffix(b"/").unwrap_or(folder);
    path.strip_prefix(folder).is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
}

impl Moment<'_> {
    /// Whether one of its sources is this path, lies in it or holds it.
    pub fn covers(&self, path: &[u8]) -> bool {
        let sources = &self.named.snapshot.sources;
        sources.is_empty() || sources.iter().any(|source| lies_in(path, source) || lies_in(source, path))
    }

    /// What rows of the path say of it here.
    pub fn state<'r>(&self, rows: &'r [Row]) -> State<&'r Row> {
        let Some(known) = self.known else { return State::Unknown };
        let holds =
            |row: &&Row| row.lane == known.lane && row.first <= known.number && known.number <= row.last;
        match (rows.iter().find(holds), known.state) {
            (_, Coverage::GivenUp) => State::Unknown,
            (Some(row), _) => State::Present(row),
            (None, Coverage::Partial) => State::Unknown,
            (None, Coverage::Whole) => State::Absent,
        }
    }
}
