//! `repair packs`: of packs that are damaged, every block that still opens is read, every chunk is held to its id, and what lies in no
//! good pack is stored again. The damaged packs stay: a prune takes them once nothing needs them.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Mutex;

use rayon::prelude::*;

use super::{Run, Tools, at_work, may_go_on};
use crate::backend::Kind;
use crate::crypto;
use crate::format::index::PackEntry;
use crate::format::session::Damage;
use crate::locks::lock;
use crate::model::{Contents, Id, Id16};
use crate::progress::Event;
use crate::repository::session::Session;
use crate::repository::store::{self, Store};
use crate::repository::{Error, list_names};

/// Chunks and their bytes before compression.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    pub chunks: u64,
    pub bytes: u64,
}

impl Count {
    fn add(&mut self, length: u32) {
        self.chunks += 1;
        self.bytes += u64::from(length);
    }
}

/// What is damaged, and what can be had of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PacksPlan {
    /// Damaged packs that are in storage, in whatever state.
    pub damaged: Vec<Id>,
    /// Packs that the index names and storage does not have.
    pub missing: Vec<Id>,
    /// Packs that were named by hand and are whole.
    pub whole: Vec<Id>,
    /// Of those, packs of which nothing says what they hold.
    pub unknown: Vec<Id>,
    /// Chunks that are stored again, those that good packs hold anyway, and those that are nowhere to be had.
    pub salvaged: Count,
    pub elsewhere: Count,
    pub lost: Count,
    /// Packs that no damage record names yet.
    pub unrecorded: Vec<Id>,
    /// Damage records that can not be read: they go.
    pub unreadable_records: Vec<Id>,
}

impl PacksPlan {
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.salvaged.chunks == 0 && self.unrecorded.is_empty() && self.unreadable_records.is_empty()
    }

    /// Whether something goes that can not be had again.
    pub fn takes_away(&self) -> bool {
        !self.unreadable_records.is_empty()
    }
}

/// What was done.
#[derive(Clone, Debug, Default)]
pub struct PacksOutcome {
    pub plan: PacksPlan,
    /// Whether it was agreed to, and there was something to do.
    pub done: bool,
    pub salvaged: Count,
    pub bytes_stored: u64,
}

/// A damaged pack: its length in storage, if it is there, and what it should hold, if that is known.
struct Target {
    name: Id,
    length: Option<u64>,
    entry: Option<PackEntry>,
}

/// Salvages what can be had of damaged packs: those that damage records name, those that are missing or of another length, those
/// `named`, and with `read_data` whichever turns out to be damaged when all are read. `agree` is shown the plan, and says whether to go on.
pub fn packs(
    tools: Tools<'_>,
    named: &[Id],
    read_data: bool,
    agree: &mut dyn FnMut(&PacksPlan) -> bool,
) -> Result<PacksOutcome, Error> {
    at_work(tools, Vec::new(), |run, session| {
        run.sync()?;
        let (mut plan, targets) = look(run, named, read_data)?;
        hide(run, &targets)?;
        let sum = salvage(run, &targets, true)?;
        (plan.salvaged, plan.elsewhere, plan.lost) = (sum.salvaged, sum.elsewhere, sum.lost);
        let mut outcome = PacksOutcome { plan, ..PacksOutcome::default() };
        if !agree(&outcome.plan) || outcome.plan.is_empty() {
            return Ok(outcome);
        }
        if let Some(session) = session {
            execute(run, session, &targets, &mut outcome)?;
        }
        Ok(outcome)
    })
}

/// Whether a pack is, byte for byte, what was stored. Looked at twice: one slip of the storage is no damage.
fn is_whole(run: &Run<'_>, name: &Id, length: u64) -> Result<bool, Error> {
    for _ in 0..2 {
        run.check_stop()?;
        match run.repository.read_pack_range(name, 0, usize::try_from(length).unwrap_or(usize::MAX)) {
            Ok(bytes) if crypto::object_name(&bytes) == *name => return Ok(true),
            Ok(_) => {}
            Err(error) if error.is_damage() && !error.is_forbidden() => {}
            Err(error) => return Err(error),
        }
    }
    Ok(false)
}

fn look(run: &Run<'_>, named: &[Id], read_data: bool) -> Result<(PacksPlan, Vec<Target>), Error> {
    let repository = run.repository;
    let mut plan = PacksPlan::default();
    let stored: HashMap<Id, u64> = repository.stored_packs()?.into_iter().collect();
    let removals = repository.removals()?.whole()?;
    let (marked, removed) = (removals.marked(), removals.removed());
    let mut known: HashMap<Id, u64> = HashMap::new();
    repository.index.packs(&mut |pack| _ = known.insert(pack.name, pack.length))?;
    let mut recorded = HashSet::new();
    for name in list_names(&*repository.backend, Kind::Damage)? {
        match repository.damage(&name) {
            Ok(damage) => recorded.extend(damage.packs),
            Err(error) if error.is_of_later_version() => return Err(error),
            Err(error) if error.is_damage() && !error.is_forbidden() => plan.unreadable_records.push(name),
            Err(error) => return Err(error),
        }
    }
    let is_there = |name: &Id| stored.contains_key(name) || known.contains_key(name);
    let mut bad: HashSet<Id> = recorded.iter().filter(|name| is_there(name)).copied().collect();
    bad.extend(
        known.iter().filter(|(name, length)| stored.get(*name) != Some(*length)).map(|(name, _)| name),
    );
    let mut asked: Vec<Id> = named.iter().filter(|name| !bad.contains(*name)).copied().collect();
    if let Some(name) = asked.iter().find(|name| !is_there(name)) {
        return Err(Error::Refused(format!("there is no pack {name}")));
    }
    if read_data {
        asked = stored.keys().filter(|name| !bad.contains(*name)).copied().collect();
    }
    asked.retain(|name| !removed.contains(name));
    asked.sort_unstable();
    let bytes = asked.iter().filter_map(|name| stored.get(name)).sum();
    run.tools.listener.event(Event::Totals { files: asked.len() as u64, bytes });
    let found = Mutex::new(Vec::new());
    asked.par_iter().try_for_each(|name| {
        let length = stored.get(name).copied().unwrap_or_default();
        if !is_whole(run, name, length)? && repository.backend_has(Kind::Packs, name)? {
            lock(&found).push(*name);
        }
        run.tools.listener.event(Event::Bytes(length));
        Ok::<(), Error>(())
    })?;
    let found: HashSet<Id> = lock(&found).drain(..).collect();
    plan.whole =
        named.iter().filter(|name| !bad.contains(*name) && !found.contains(*name)).copied().collect();
    bad.extend(found);
    // What is being removed is nobody's copy any more, and what it holds was looked after by whoever marked it.
    bad.retain(|name| !removed.contains(name) && (!marked.contains(name) || stored.contains_key(name)));
    let mut names: Vec<Id> = bad.into_iter().collect();
    names.sort_unstable();
    let (damaged, missing): (Vec<Id>, Vec<Id>) = names.iter().partition(|name| stored.contains_key(*name));
    (plan.damaged, plan.missing) = (damaged, missing);
    plan.unrecorded = names.iter().filter(|name| !recorded.contains(*name)).copied().collect();
    let mut targets = Vec::new();
    for name in names {
        let length = stored.get(&name).copied();
        let entry = match length {
            Some(length) => run.own_entry(&name, length)?,
            None => None,
        };
        targets.push(Target { name, length, entry });
    }
    from_index(run, &mut targets)?;
    plan.unknown = targets.iter().filter(|target| target.entry.is_none()).map(|target| target.name).collect();
    Ok((plan, targets))
}

/// What index objects say of those that do not say it themselves.
fn from_index(run: &Run<'_>, targets: &mut [Target]) -> Result<(), Error> {
    let mut silent: HashMap<Id, &mut Option<PackEntry>> = targets
        .iter_mut()
        .filter(|target| target.entry.is_none())
        .map(|target| (target.name, &mut target.entry))
        .collect();
    if silent.is_empty() {
        return Ok(());
    }
    for name in list_names(&*run.repository.backend, Kind::Index)? {
        run.check_stop()?;
        let object = match run.repository.load_index_object(&name) {
            Ok(object) => object,
            Err(error) if error.is_damage() => continue,
            Err(error) => return Err(error),
        };
        for entry in object.packs {
            if let Some(place) = silent.remove(&entry.name) {
                *place = Some(entry);
            }
        }
    }
    Ok(())
}

/// From here on copies in these packs count as none, so that what is read of them is stored again.
fn hide(run: &Run<'_>, targets: &[Target]) -> Result<(), Error> {
    let removals = run.repository.removals()?.whole()?;
    let mut hidden = run.repository.known_damaged();
    hidden.extend(removals.marked());
    hidden.extend(removals.removed());
    hidden.extend(targets.iter().map(|target| target.name));
    let hidden: Vec<Id> = hidden.into_iter().collect();
    match run.repository.index.set_hidden(&hidden, &[]) {
        Err(error) if !error.is_passing() => Err(error.into()),
        _ => Ok(()),
    }
}

#[derive(Default)]
struct Sum {
    salvaged: Count,
    elsewhere: Count,
    lost: Count,
    bytes_stored: u64,
}

/// Stores again what can be had of the targets; with `only_count`, nothing is stored. Chunks keep their owner, as in a prune.
fn salvage(run: &Run<'_>, targets: &[Target], only_count: bool) -> Result<Sum, Error> {
    let mut sum = Sum::default();
    let mut by_owner: BTreeMap<[u8; 16], Vec<&PackEntry>> = BTreeMap::new();
    for target in targets {
        if let Some(entry) = &target.entry {
            by_owner.entry(entry.directory.domain.0).or_default().push(entry);
        }
    }
    let missing: HashSet<Id> =
        targets.iter().filter(|target| target.length.is_none()).map(|target| target.name).collect();
    // What some block did not give may come from another pack.
    let mut unread: HashMap<(Contents, Id), u32> = HashMap::new();
    let mut had: HashSet<(Contents, Id)> = HashSet::new();
    for (owner, entries) in by_owner {
        let options = run.store_options(Id16(owner), only_count);
        let stored = store::with(run.repository, options, run.tools.clock, |store| {
            for entry in &entries {
                let is_missing = missing.contains(&entry.name);
                one(run, store, entry, is_missing, &mut sum, &mut had, &mut unread)?;
            }
            if !only_count {
                store.checkpoint(|| {})?;
            }
            Ok(store.stored().bytes_stored)
        })?;
        sum.bytes_stored += stored;
    }
    for ((contents, id), length) in unread {
        if !had.contains(&(contents, id)) {
            sum.lost.add(length);
        }
    }
    Ok(sum)
}

/// Goes through one pack.
fn one(
    run: &Run<'_>,
    store: &Store<'_>,
    entry: &PackEntry,
    is_missing: bool,
    sum: &mut Sum,
    had: &mut HashSet<(Contents, Id)>,
    unread: &mut HashMap<(Contents, Id), u32>,
) -> Result<(), Error> {
    let contents = entry.directory.contents;
    for (number, block) in entry.directory.blocks.iter().enumerate() {
        run.check_stop()?;
        let plain = if is_missing { Vec::new() } else { read(run, entry, number)? };
        let mut start = 0;
        for (id, length) in &block.chunks {
            let chunk = plain.get(start..start + *length as usize);
            start += *length as usize;
            if had.contains(&(contents, *id)) {
                continue;
            }
            let sound = chunk.filter(|chunk| run.repository.hasher().id(contents, chunk) == *id);
            if store.contains(contents, id)? {
                had.insert((contents, *id));
                sum.elsewhere.add(*length);
            } else if let Some(chunk) = sound {
                had.insert((contents, *id));
                store.save_hashed(0, contents, *id, chunk)?;
                sum.salvaged.add(*length);
            } else {
                unread.insert((contents, *id), *length);
            }
        }
        run.tools.listener.event(Event::Bytes(u64::from(block.stored)));
    }
    Ok(())
}

/// A block's plain bytes; none when it does not open.
fn read(run: &Run<'_>, entry: &PackEntry, number: usize) -> Result<Vec<u8>, Error> {
    match run.repository.read_block_of(entry, number) {
        Err(error) if error.is_damage() => Ok(Vec::new()),
        other => other,
    }
}

fn execute(
    run: &Run<'_>,
    session: &Session<'_>,
    targets: &[Target],
    outcome: &mut PacksOutcome,
) -> Result<(), Error> {
    // First it is written down that no copy in these counts: who works beside this then relies on none.
    for packs in outcome.plan.unrecorded.chunks(crate::format::limits::LIST_MAX) {
        let damage = Damage { packs: packs.to_vec(), lost: None, time: run.tools.clock.now() };
        run.repository.put_damage(&damage)?;
    }
    if outcome.plan.salvaged.chunks > 0 {
        let sum = salvage(run, targets, false)?;
        (outcome.salvaged, outcome.bytes_stored) = (sum.salvaged, sum.bytes_stored);
    }
    may_go_on(session)?;
    for name in &outcome.plan.unreadable_records {
        match run.repository.damage(name) {
            Err(error) if error.is_damage() && !error.is_forbidden() && !error.is_of_later_version() => {
                run.repository.remove_object(Kind::Damage, name)?;
            }
            // It was the storage that slipped.
            Ok(_) | Err(Error::Unsupported { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    outcome.done = true;
    run.repository.sync().map(|_| ())
}
