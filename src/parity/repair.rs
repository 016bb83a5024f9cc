//! Putting damaged packs back as they were, from their recovery data.

use std::collections::{BTreeSet, HashSet};
use std::sync::atomic::AtomicBool;

use rayon::prelude::*;

use super::{check_stop, packs_there, proved_bytes, with_threads};
use crate::format::limits::PACK_TARGET;
use crate::model::Id;
use crate::progress::{Event, Listener};
use crate::repository::healing::Healed;
use crate::repository::{Error, Repository};

/// Which packs are looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// Those that damage records name.
    Recorded,
    /// These.
    Named(Vec<Id>),
    /// All of them.
    All,
}

/// What was put back.
#[derive(Clone, Debug, Default)]
pub struct Repaired {
    /// Packs that were looked at.
    pub packs: u64,
    pub healed: Vec<Id>,
    /// Packs that stay damaged, and why.
    pub damaged: Vec<(Id, String)>,
    /// Packs whose recovery data was damaged, and is made anew.
    pub parity_made: u64,
    /// Damage records that were taken back, wholly or in part.
    pub records_settled: u64,
}

/// What became of one pack.
enum One {
    /// It is as it should be, and whether it was before, and whether its recovery data was made anew.
    Sound {
        healed: bool,
        parity_made: bool,
    },
    Damaged(String),
    /// Nobody needs it.
    Going,
}

/// Puts back every wanted pack that is damaged and that its recovery data brings back, and takes back what damage records said of it.
/// Nothing else is changed. The repository was just synchronised.
pub fn repair(
    repository: &Repository,
    wanted: &Wanted,
    memory: u64,
    listener: &dyn Listener,
    stop: &AtomicBool,
) -> Result<Repaired, Error> {
    go(repository, wanted, memory, listener, stop, true)
}

/// What `repair` would do. Nothing is changed.
pub fn would_repair(
    repository: &Repository,
    wanted: &Wanted,
    memory: u64,
    listener: &dyn Listener,
    stop: &AtomicBool,
) -> Result<Repaired, Error> {
    go(repository, wanted, memory, listener, stop, false)
}

fn go(
    repository: &Repository,
    wanted: &Wanted,
    memory: u64,
    listener: &dyn Listener,
    stop: &AtomicBool,
    writes: bool,
) -> Result<Repaired, Error> {
    listener.event(Event::Started);
    // Before any pack is looked at: what is found damaged later stays said.
    let records = repository.damage_records()?;
    let recorded = records.iter().flat_map(|(_, damage)| damage.packs.iter().copied());
    let known = packs_there(repository)?;
    let names: BTreeSet<Id> = match wanted {
        Wanted::Recorded => recorded.collect(),
        Wanted::Named(names) => names.iter().copied().collect(),
        Wanted::All => recorded.chain(known.iter().map(|pack| pack.name)).collect(),
    };
    let length = |name: &Id| {
        known.binary_search_by_key(name, |pack| pack.name).map_or(PACK_TARGET as u64, |at| known[at].length)
    };
    let bytes = names.iter().map(length).sum();
    listener.event(Event::Totals { files: names.len() as u64, bytes });
    let mut with_parity = repository.with_parity()?;
    // None is made anew for what is to go.
    let marked = repository.removals()?.marked();
    with_parity.retain(|name| !marked.contains(name));
    let longest = names.iter().map(length).max().unwrap_or_default();
    let names: Vec<Id> = names.into_iter().collect();
    let done: Vec<(Id, One)> = with_threads(memory, longest, || {
        names
            .par_iter()
            .map(|name| {
                check_stop(stop)?;
                let looks_at_parity = *wanted != Wanted::Recorded && with_parity.contains(name);
                let one = one(repository, name, looks_at_parity, writes)?;
                listener.event(Event::Bytes(length(name)));
                Ok((*name, one))
            })
            .collect::<Result<_, Error>>()
    })?;
    let mut repaired = Repaired { packs: done.len() as u64, ..Repaired::default() };
    let mut sound = HashSet::new();
    for (name, one) in done {
        match one {
            One::Sound { healed, parity_made } => {
                sound.insert(name);
                repaired.healed.extend(healed.then_some(name));
                repaired.parity_made += u64::from(parity_made);
            }
            One::Damaged(why) => repaired.damaged.push((name, why)),
            One::Going => {}
        }
    }
    if writes {
        repaired.records_settled = repository.settle_damage(&records, &sound)?;
    }
    listener.event(Event::Finished);
    Ok(repaired)
}

fn one(repository: &Repository, name: &Id, looks_at_parity: bool, writes: bool) -> Result<One, Error> {
    let healed = match if writes { repository.heal(name) } else { repository.would_heal(name) } {
        Ok(Healed::WasWhole) => false,
        // Its bytes are those of its name; they are in storage only when they are put back.
        Ok(Healed::Healed) if !writes => return Ok(One::Sound { healed: true, parity_made: false }),
        Ok(Healed::Healed) => true,
        Ok(Healed::Beyond(beyond)) => return Ok(One::Damaged(beyond.to_string())),
        Ok(Healed::Without) => return Ok(One::Damaged("it has no recovery data".to_owned())),
        Ok(Healed::Going) => return Ok(One::Going),
        Err(error) if error.is_damage() => return Ok(One::Damaged(error.to_string())),
        Err(error) => return Err(error),
    };
    if !repository.is_sound_pack(name)? {
        return Ok(One::Damaged(
            "its bytes are those that were stored, and do not say what they should".to_owned(),
        ));
    }
    let parity_made = looks_at_parity && renew_parity(repository, name, writes)?;
    Ok(One::Sound { healed, parity_made })
}

/// Makes the recovery data of a sound pack anew where it is not what it should be; whether it was so. While none is made for new packs,
/// what there is of it stays.
fn renew_parity(repository: &Repository, name: &Id, writes: bool) -> Result<bool, Error> {
    let per_mille = repository.config.parity_per_mille;
    let Some(pack) = repository.index.pack(name)? else { return Ok(false) };
    if per_mille == 0 {
        return Ok(false);
    }
    // What is made of other bytes would bring back nothing, and be put in the place of what does.
    let Some(bytes) = proved_bytes(repository, name, pack.length)? else { return Ok(false) };
    if repository.parity_is_sound(name, &bytes)? {
        return Ok(false);
    }
    if writes {
        repository.renew_parity(name, &bytes, per_mille)?;
    }
    Ok(true)
}
