//! Recovery data for packs: adding it to those that are there, taking it away, counting it, and putting back what it brings back.

mod repair;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rayon::prelude::*;

use crate::backend::Kind;
use crate::format::parity::Shape;
use crate::index::PackInfo;
use crate::model::Id;
use crate::progress::{Event, Listener};
use crate::repository::{Error, Repository};

pub use repair::{Repaired, Wanted, repair, would_repair};

/// Room that a thread needs beside a pack, its recovery data and what is made of both, bytes.
const THREAD_BYTES: u64 = 8 << 20;
/// Packs that a thread has in hand: one as it is read, one as it is brought back, and the recovery data.
const PACKS_IN_HAND: u64 = 3;

/// What was added.
#[derive(Clone, Debug, Default)]
pub struct Added {
    /// Packs that got recovery data, and its bytes.
    pub packs: u64,
    pub bytes: u64,
    /// Packs that had as much before.
    pub had: u64,
    /// Packs that are damaged or missing: of what is left of them none is made.
    pub damaged: Vec<Id>,
}

/// How much recovery data there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// Thousandths of a new pack's length; 0 for none.
    pub per_mille: u16,
    /// Packs that are in use or may be, and how many of them have recovery data.
    pub packs: u64,
    pub with: u64,
    /// Of these, packs with less than new ones get.
    pub with_less: u64,
    /// Bytes of all recovery data.
    pub bytes: u64,
}

fn check_stop(stop: &AtomicBool) -> Result<(), Error> {
    if stop.load(Ordering::Relaxed) { Err(Error::Stopped) } else { Ok(()) }
}

/// Packs that the index names and nobody removes, by name.
fn packs(repository: &Repository) -> Result<Vec<Arc<PackInfo>>, Error> {
    let marked = repository.removals()?.marked();
    let mut packs = packs_there(repository)?;
    packs.retain(|pack| !marked.contains(&pack.name));
    Ok(packs)
}

/// The same, and those that are marked for removal: something may be needed of them still.
fn packs_there(repository: &Repository) -> Result<Vec<Arc<PackInfo>>, Error> {
    let removed = repository.removals()?.removed();
    let mut packs = Vec::new();
    repository.index.packs(&mut |pack| {
        if !removed.contains(&pack.name) {
            packs.push(pack);
        }
    })?;
    packs.sort_by_key(|pack| pack.name);
    Ok(packs)
}

/// Lengths of all recovery data, by the pack's name.
fn stored(repository: &Repository) -> Result<HashMap<Id, u64>, Error> {
    let mut stored = HashMap::new();
    repository.backend.list(Kind::Parity, &mut |entry| {
        stored.extend(Id::parse(&entry.name).map(|name| (name, entry.size)));
    })?;
    Ok(stored)
}

/// Length that recovery data of that rate has; none for a pack that can have none.
fn wanted_length(pack: &PackInfo, per_mille: u16) -> Option<u64> {
    Shape::new(pack.length, per_mille).ok().map(|shape| shape.object_length())
}

/// Does `work` with as many threads as fit into that memory, for packs of at most that length.
fn with_threads<T: Send>(memory: u64, longest: u64, work: impl FnOnce() -> T + Send) -> T {
    let fit = memory / (PACKS_IN_HAND * longest + THREAD_BYTES);
    let threads = usize::try_from(fit).unwrap_or(usize::MAX).clamp(1, rayon::current_num_threads());
    match rayon::ThreadPoolBuilder::new().num_threads(threads).build() {
        Ok(pool) => pool.install(work),
        // Where no threads can be had, those that there are do it.
        Err(_) => work(),
    }
}

/// Makes recovery data, at the rate in force, for every pack that has less. Whatever is cut off here is gone on with by the next run.
/// The repository was just synchronised.
pub fn add(
    repository: &Repository,
    memory: u64,
    listener: &dyn Listener,
    stop: &AtomicBool,
) -> Result<Added, Error> {
    let per_mille = repository.config.parity_per_mille;
    listener.event(Event::Started);
    let stored = stored(repository)?;
    let (mut added, mut packs) = (Added::default(), packs(repository)?);
    let has = |pack: &PackInfo| {
        wanted_length(pack, per_mille)
            .is_none_or(|wanted| stored.get(&pack.name).is_some_and(|length| *length >= wanted))
    };
    packs.retain(|pack| {
        added.had += u64::from(has(pack));
        !has(pack)
    });
    let bytes = packs.iter().map(|pack| pack.length).sum();
    listener.event(Event::Totals { files: packs.len() as u64, bytes });
    let longest = packs.iter().map(|pack| pack.length).max().unwrap_or_default();
    let made: Vec<(Id, Option<u64>)> = with_threads(memory, longest, || {
        packs
            .par_iter()
            .map(|pack| {
                check_stop(stop)?;
                let made = add_one(repository, pack, per_mille, stored.contains_key(&pack.name))?;
                listener.event(Event::Bytes(pack.length));
                Ok((pack.name, made))
            })
            .collect::<Result<_, Error>>()
    })?;
    // What a pruner removed meanwhile is no damage.
    let going: HashSet<Id> = match made.iter().any(|(_, made)| made.is_none()) {
        true => repository.removals()?.removed(),
        false => HashSet::new(),
    };
    for (name, made) in made {
        match made {
            Some(length) => {
                added.packs += 1;
                added.bytes += length;
            }
            None if going.contains(&name) => {}
            None => added.damaged.push(name),
        }
    }
    listener.event(Event::Finished);
    Ok(added)
}

/// A pack's bytes, which are those of its name; none when it does not give them, asked twice: they may be spoiled on their way.
fn proved_bytes(repository: &Repository, name: &Id, length: u64) -> Result<Option<Vec<u8>>, Error> {
    for _ in 0..2 {
        match repository.read_pack_range(name, 0, length as usize) {
            Ok(bytes) if crate::crypto::object_name(&bytes) == *name => return Ok(Some(bytes)),
            Ok(_) => {}
            Err(error) if error.is_damage() => return Ok(None),
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}

/// Makes recovery data of one pack; its length, or none when the pack is not what its name says.
fn add_one(
    repository: &Repository,
    pack: &PackInfo,
    per_mille: u16,
    has_less: bool,
) -> Result<Option<u64>, Error> {
    let Some(bytes) = proved_bytes(repository, &pack.name, pack.length)? else { return Ok(None) };
    match has_less {
        true => repository.renew_parity(&pack.name, &bytes, per_mille).map(Some),
        false => repository.put_parity(&pack.name, &bytes, per_mille).map(Some),
    }
}

/// What was removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Removed {
    /// Packs that have no recovery data any more, and its bytes.
    pub packs: u64,
    pub bytes: u64,
    /// Damaged or missing packs that keep theirs: perhaps nothing else brings them back.
    pub kept: u64,
}

/// Removes recovery data, but of packs that are known to be damaged or that are missing and nobody removed.
pub fn remove(repository: &Repository, listener: &dyn Listener, stop: &AtomicBool) -> Result<Removed, Error> {
    listener.event(Event::Started);
    let mut removed = Removed::default();
    let damaged = repository.damaged_packs()?;
    let gone = repository.removals()?.whole()?.removed();
    // Before the packs: what is put meanwhile comes after its pack.
    let parity = stored(repository)?;
    let packs: HashSet<Id> = repository.stored_packs()?.into_iter().map(|(name, _)| name).collect();
    for (name, length) in parity {
        check_stop(stop)?;
        if !gone.contains(&name) && (damaged.contains(&name) || !packs.contains(&name)) {
            removed.kept += 1;
            continue;
        }
        repository.remove_object(Kind::Parity, &name)?;
        removed.packs += 1;
        removed.bytes += length;
    }
    listener.event(Event::Finished);
    Ok(removed)
}

/// Counts recovery data. The repository was just synchronised.
pub fn status(repository: &Repository) -> Result<Status, Error> {
    let stored = stored(repository)?;
    let per_mille = repository.config.parity_per_mille;
    let mut status = Status { per_mille, bytes: stored.values().sum(), ..Status::default() };
    for pack in packs(repository)? {
        status.packs += 1;
        if let Some(length) = stored.get(&pack.name) {
            status.with += 1;
            status.with_less +=
                u64::from(wanted_length(&pack, per_mille).is_some_and(|wanted| *length < wanted));
        }
    }
    Ok(status)
}
