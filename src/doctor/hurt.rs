//! What damaged and missing packs hold that nothing else does: that decides what heals it.

use std::collections::{HashMap, HashSet};

use super::Inside;
use super::snapshots::{backup, backups_here};
use crate::backend::Kind;
use crate::doctor::Next;
use crate::format::index::PackEntry;
use crate::format::session::Damage;
use crate::model::{Contents, Id};
use crate::repository::snapshots::{Named, Snapshots};
use crate::repository::{Error, list_names, packs};

/// Whether recovery data of one of these packs is there.
pub(super) fn has_parity(inside: &Inside<'_>, damaged: &[Id]) -> bool {
    let there = |pack: &Id| inside.repository.backend.stat(Kind::Parity, &pack.to_string()).is_ok();
    damaged.iter().any(there)
}

/// What is only in bad packs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Hurt {
    /// Chunks that no good pack holds.
    pub only_there: usize,
    /// Those of them that can not be read there either.
    pub lost: usize,
}

/// Looks what bad packs hold, and which of it can be read.
pub(super) fn look(
    inside: &Inside<'_>,
    bad: &HashSet<Id>,
    stored: &HashMap<Id, u64>,
    removed: &HashSet<Id>,
) -> Result<Hurt, Error> {
    if bad.is_empty() {
        return Ok(Hurt::default());
    }
    let repository = inside.repository;
    let mut only: HashSet<(Contents, Id)> = HashSet::new();
    let mut records = Vec::new();
    each(inside, &mut |entry| {
        if bad.contains(&entry.name) {
            only.extend(chunks(&entry));
            records.push(packs::record(&entry));
        }
    })?;
    each(inside, &mut |entry| {
        let good = !bad.contains(&entry.name) && !removed.contains(&entry.name);
        if good && stored.get(&entry.name) == Some(&entry.length) {
            chunks(&entry).for_each(|chunk| _ = only.remove(&chunk));
        }
    })?;
    repository.index.add_packs(None, &records)?;
    let mut hurt = Hurt { only_there: only.len(), lost: 0 };
    for (contents, id) in &only {
        let places = repository.index.lookup_for_reading(*contents, id)?;
        if !places.iter().any(|place| repository.chunk_at_opens(*contents, id, place)) {
            hurt.lost += 1;
        }
    }
    Ok(hurt)
}

fn chunks(entry: &PackEntry) -> impl Iterator<Item = (Contents, Id)> + '_ {
    let contents = entry.directory.contents;
    entry.directory.blocks.iter().flat_map(|block| &block.chunks).map(move |(id, _)| (contents, *id))
}

/// Every pack that an index object names that can be read; what is wrong with the others is told elsewhere.
fn each(inside: &Inside<'_>, each: &mut dyn FnMut(PackEntry)) -> Result<(), Error> {
    let repository = inside.repository;
    for name in list_names(&*repository.backend, Kind::Index)? {
        let object = repository.load_index_object(&name).ok();
        object.into_iter().flat_map(|object| object.packs).for_each(&mut *each);
    }
    Ok(())
}

/// What heals it: first what is still on this machine is stored again, then what damaged packs still give, and what is lost is marked.
pub(super) fn healing(inside: &Inside<'_>, all: &Snapshots, records: &[(Id, Damage)], hurt: Hurt) -> Next {
    if hurt.only_there == 0 {
        return Next::copal("prune");
    }
    let last = records.iter().map(|(_, record)| record.time).max().unwrap_or_default();
    let waits = |named: &&Named| named.snapshot.time < last;
    match backups_here(inside, all).into_iter().find(waits) {
        Some(named) => backup(named),
        None if hurt.lost < hurt.only_there => Next::copal("repair packs"),
        None => marking(all),
    }
}

/// What marks it, when nothing brings it back: snapshots that stand for those that are hit, which then go.
fn marking(all: &Snapshots) -> Next {
    let stood_for: HashSet<Id> = all.confirmed.iter().filter_map(|named| named.snapshot.stands_for).collect();
    let has = |list: &[Named]| list.iter().any(|named| stood_for.contains(&named.name));
    match () {
        () if has(&all.confirmed) => Next::Copal("repair snapshots", vec![b"--forget".to_vec()]),
        () if has(&all.forgotten) => Next::copal("prune"),
        () => Next::copal("repair snapshots"),
    }
}
