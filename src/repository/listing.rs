//! Several kinds of objects listed together, so that storage far away is asked less often. docs/concurrency.md says in which order.

use std::collections::HashMap;

use super::{Error, Repository};
use crate::backend::Kind;
use crate::model::Id;

/// What a synchronisation needs: what is absent before what is there.
pub(super) const SYNCED: [Kind; 3] = [Kind::Removals, Kind::Damage, Kind::Index];
/// What snapshots are made of, as they come when they are loaded alone.
pub(super) const SNAPSHOTS: [Kind; 4] = [Kind::Confirmed, Kind::Copies, Kind::Notes, Kind::Snapshots];
/// Both, in an order that takes two requests of a store that lists by name.
pub(super) const WHOLE: [Kind; 7] =
    [Kind::Removals, Kind::Snapshots, Kind::Confirmed, Kind::Copies, Kind::Damage, Kind::Index, Kind::Notes];

/// Names of objects of several kinds.
#[derive(Debug, Default)]
pub(super) struct Listing {
    names: HashMap<Kind, Vec<Id>>,
    /// Stored bytes of the index objects, in the order of their names.
    index_bytes: Vec<u64>,
}

impl Listing {
    /// The names of a kind, in the order in which the storage listed them; none of one that was not asked for.
    pub fn of(&self, kind: Kind) -> &[Id] {
        self.names.get(&kind).map_or(&[], Vec::as_slice)
    }

    /// The index objects, with their stored bytes.
    pub fn index_objects(&self) -> impl Iterator<Item = (Id, u64)> {
        self.of(Kind::Index).iter().copied().zip(self.index_bytes.iter().copied())
    }

    /// Whether that kind was asked for.
    pub fn has(&self, kind: Kind) -> bool {
        self.names.contains_key(&kind)
    }
}

impl Repository {
    /// Lists these kinds, each after those before it or together with them.
    pub(super) fn listing(&self, kinds: &[Kind]) -> Result<Listing, Error> {
        let names = kinds.iter().map(|kind| (*kind, Vec::new())).collect();
        let mut listing = Listing { names, ..Listing::default() };
        // Copies help only where storage takes its time.
        let is_near = self.backend.requests_at_once() <= 1;
        let kinds: Vec<Kind> =
            kinds.iter().copied().filter(|kind| *kind != Kind::Copies || !is_near).collect();
        self.backend.list_kinds(&kinds, &mut |kind, entry| {
            let Some(name) = Id::parse(&entry.name) else { return };
            listing.names.entry(kind).or_default().push(name);
            if kind == Kind::Index {
                listing.index_bytes.push(entry.size);
            }
        })?;
        Ok(listing)
    }
}
