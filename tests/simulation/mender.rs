//! Whose disk rots, and who has recovery data against that: the shipped code.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;

use copal::backend::Kind;
use copal::crypto::object_name;
use copal::format::parity::find;
use copal::format::session::Role;
use copal::model::Id;
use copal::parity::{self, Wanted};
use copal::progress::Silent;
use copal::repository::session::{Session, kept_alive};
use copal::repository::{Error, Repository, store};

use super::actor::{Actor, RATES};
use super::handle::Context;
use super::random::Random;
use super::scheduler::State;
use super::storage::Storage;
use super::verify;
use super::world::Failure;

/// What the disk does, as it is counted.
const LOST: &str = "loses pack";
const SPOILED: &str = "spoils pack";
const SPOILED_PARITY: &str = "spoils recovery data of pack";

/// Whether the disk did any of that.
pub fn has_rotted(counts: &BTreeMap<&'static str, u64>) -> bool {
    [LOST, SPOILED, SPOILED_PARITY].iter().any(|what| counts.contains_key(what))
}

/// Packs that recovery data has to bring back: damaged, or gone while that is there.
pub fn broken(storage: &Storage) -> Vec<Id> {
    let whole: Vec<&str> = (storage.there(Kind::Packs))
        .filter(|(name, bytes)| object_name(bytes).to_string() == *name)
        .map(|(name, _)| name)
        .collect();
    let with_parity = storage.there(Kind::Parity).map(|(name, _)| name);
    with_parity.filter(|name| !whole.contains(name)).filter_map(Id::parse).collect()
}

/// Whether every pack is there in its length: one that is not counts as missing for a pruner until it is put back.
pub fn is_all_there(storage: &Storage) -> bool {
    broken(storage).iter().all(|id| {
        let name = id.to_string();
        let object = |kind| storage.there(kind).find(|(there, _)| *there == name).map(|(_, bytes)| bytes);
        let length = object(Kind::Parity).and_then(|parity| Some(find(parity, id).ok()?.shape.length()));
        length.is_some() && object(Kind::Packs).map(|pack| pack.len() as u64) == length
    })
}

/// Spoils packs by less than their recovery data brings back, adds recovery data, takes it away, and puts packs back.
#[derive(Default)]
pub struct Mender {
    /// Takes recovery data away whether or not it is needed: a guard that is not there.
    pub careless: bool,
}

/// Spoils a pack, or its recovery data: what was done, and to which; none where there is nothing to spoil.
fn spoil(state: &mut State, random: &mut Random) -> Result<Option<(&'static str, u64)>, Failure> {
    let State { storage, now, .. } = state;
    let mut whole: Vec<(String, Vec<u8>, Vec<u8>)> = Vec::new();
    for (name, bytes) in storage.there(Kind::Packs) {
        let parity = storage.there(Kind::Parity).find(|(other, _)| *other == name);
        if let Some((_, parity)) = parity.filter(|_| object_name(bytes).to_string() == name) {
            whole.push((name.to_owned(), bytes.to_vec(), parity.to_vec()));
        }
    }
    if whole.is_empty() {
        return Ok(None);
    }
    let (name, pack, parity) = random.pick(&whole).clone();
    let id = Id::parse(&name).unwrap();
    let Ok(found) = find(&parity, &id) else { return Ok(None) };
    let (spare, shards) = (found.spare(), found.shape.originals());
    let mut bytes = pack.clone();
    match random.below(6) {
        0 => {
            let mut rotten = parity.clone();
            rotten[random.below(parity.len() as u64) as usize] ^= 1;
            storage.replace(Kind::Parity, &name, &rotten, *now).unwrap();
            return Ok(Some((SPOILED_PARITY, storage.number)));
        }
        _ if spare == 0 => return Ok(None),
        1 | 2 if spare >= shards => bytes.clear(),
        1 => bytes.truncate(bytes.len() - 1),
        _ => {
            for _ in 0..spare {
                let at = random.below(bytes.len() as u64) as usize;
                bytes[at] = bytes[at].wrapping_add(1);
            }
        }
    }
    // Each byte costs one shard at most.
    if !found.recover(&id, bytes.clone()).is_ok_and(|recovered| recovered == pack) {
        let what = format!("pack {}: {spare} of {shards} shards do not come back", id.short());
        return Err(Failure::Loss(what));
    }
    storage.get(Kind::Packs, &name).unwrap();
    let number = storage.number;
    match bytes.is_empty() {
        // No listing has it any more.
        true => storage.remove(Kind::Packs, &name, i64::MIN / 2).unwrap(),
        false => storage.replace(Kind::Packs, &name, &bytes, *now).unwrap(),
    }
    Ok(Some((if bytes.is_empty() { LOST } else { SPOILED }, number)))
}

impl Mender {
    fn spoil(&self, context: &Context, random: &mut Random) -> Result<(), Error> {
        context.pause()?;
        let spoiled = spoil(&mut context.simulation.lock(), random);
        match spoiled {
            Ok(None) => {}
            Ok(Some((what, number))) => {
                context.note(what, number);
                context.simulation.world().count(what);
                // Nobody else goes on meanwhile.
                if let Err(failure) = verify::whole(&context.simulation) {
                    context.simulation.fail(failure);
                }
            }
            Err(failure) => context.simulation.fail(failure),
        }
        Ok(())
    }

    /// Does something while everybody is told so, as the command does.
    fn at_work<T>(
        &self,
        context: &Context,
        repository: &Repository,
        work: impl FnOnce() -> Result<T, Error>,
    ) -> Result<T, Error> {
        let client = repository.client()?;
        let session =
            Session::begin_as(Role::Reader, repository, &context.clock, client, b"mender", Vec::new())?;
        context.simulation.expect_keeper(context.actor);
        kept_alive(Some(&session), |_| {}, work)
    }

    fn add(&self, context: &Context, random: &mut Random) -> Result<(), Error> {
        let mut repository = context.open(None)?;
        if random.percent(50) {
            let rate = *random.pick(&RATES);
            repository.change_config(|config| config.parity_per_mille = rate)?;
        }
        if repository.config.parity_per_mille == 0 {
            return Ok(());
        }
        repository.sync()?;
        let added = self.at_work(context, &repository, || {
            parity::add(&repository, store::MEMORY, &Silent, &AtomicBool::new(false))
        })?;
        context.simulation.world().add("packs that got recovery data", added.packs);
        Ok(())
    }

    fn take_away(&self, context: &Context, random: &mut Random) -> Result<(), Error> {
        let mut repository = context.open(None)?;
        if random.percent(50) {
            repository.change_config(|config| config.parity_per_mille = 0)?;
        }
        if !self.careless && !broken(&context.simulation.lock().storage).is_empty() {
            return Ok(());
        }
        let removed = parity::remove(&repository, &Silent, &AtomicBool::new(false))?;
        context.simulation.world().add("packs whose recovery data was taken away", removed.packs);
        Ok(())
    }

    fn repair(&self, context: &Context, random: &mut Random) -> Result<(), Error> {
        let repository = context.open(None)?;
        repository.sync()?;
        let wanted = match random.below(3) {
            0 => Wanted::Recorded,
            1 => Wanted::Named(broken(&context.simulation.lock().storage)),
            _ => Wanted::All,
        };
        let repaired = self.at_work(context, &repository, || {
            parity::repair(&repository, &wanted, store::MEMORY, &Silent, &AtomicBool::new(false))
        })?;
        context.simulation.world().add("packs put back", repaired.healed.len() as u64);
        // A pruner may have taken some away meanwhile.
        let removals = repository.removals()?;
        let (removed, marked) = (removals.removed(), removals.marked());
        let still = broken(&context.simulation.lock().storage);
        let ought = repaired.healed.iter().chain(repaired.damaged.iter().map(|(name, _)| name));
        for name in ought.filter(|name| still.contains(name)) {
            if !removed.contains(name) && !marked.contains(name) {
                let what = format!("pack {} is not put back: {:?}", name.short(), repaired.damaged);
                context.simulation.fail(Failure::Loss(what));
            }
        }
        Ok(())
    }
}

impl Actor for Mender {
    fn name(&self) -> &'static str {
        "mender"
    }

    fn round(&mut self, context: &Context) -> Result<(), Error> {
        let mut random = context.round_random();
        match random.below(8) {
            0..=3 => self.spoil(context, &mut random),
            4 => self.add(context, &mut random),
            5 => self.take_away(context, &mut random),
            _ => self.repair(context, &mut random),
        }
    }
}
