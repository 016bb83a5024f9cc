//! Checking: every snapshot's structure against the packs, and, when asked, every byte of the packs. What is found is written down in the
//! repository, so that later backups store again what is missing. Nothing is repaired here.

mod findings;
mod packs;
mod presence;
mod walk;

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rayon::prelude::*;

use crate::format::session::Damage;
use crate::index::{Gather, PackInfo};
use crate::locks::lock;
use crate::model::clock::Clock;
use crate::model::{Contents, Id, Time};
use crate::progress::{Event, Listener};
use crate::repository::packs::CHECKED_FACT;
use crate::repository::snapshots::{Named, Origin};
use crate::repository::{Error, Repository, Synced};
use crate::terminal::size::show_count;
use packs::{choose, read_fact};

/// How much of the packs is read.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Reading {
    /// Structure only.
    Nothing,
    Everything,
    /// Part n of t, from 1.
    Part(u64, u64),
    /// That share of the packs, chosen at random, 0 to 1.
    Share(f64),
    /// About that many bytes, those first that were not read for longest.
    Bytes(u64),
    /// What fits into that time, those first that were not read for longest.
    Time(Duration),
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// `pack`, `index`, `removal`, `damage`, `key`, `config`, `snapshot`, `tree`, `file`, `parity`.
    pub kind: &'static str,
    /// Which one: a name, or snapshot and path.
    pub object: String,
    pub what: String,
    /// Nothing is wrong with it: a newer program wrote it.
    pub is_of_later_version: bool,
}

/// What a check saw.
#[derive(Debug, Default)]
pub struct Report {
    pub snapshots: u64,
    pub trees: u64,
    pub files: u64,
    pub packs: u64,
    pub packs_read: u64,
    pub bytes_read: u64,
    /// Packs that no index names: left by interrupted runs, harmless.
    pub leftover_packs: u64,
    pub unconfirmed: u64,
    /// Packs that no index object names though something may need them: the next backup names them again.
    pub unnamed_packs: u64,
    /// Packs without recovery data, while new ones get it.
    pub packs_without_parity: u64,
    /// Packs that were found damaged or missing before, and that nothing needs any more: what they held was stored again.
    pub unneeded_packs: u64,
    /// Files and folders of which a repair marked something as lost: as they were written.
    pub marked: u64,
    pub findings: Vec<Finding>,
}

struct Check<'r> {
    repository: &'r Repository,
    listener: &'r dyn Listener,
    stop: &'r AtomicBool,
    findings: Mutex<Vec<Finding>>,
    /// What is wrong with packs: told when it is known whether anything needs them.
    pack_findings: Mutex<Vec<(Id, Finding)>>,
    /// Packs, damaged or missing, from which snapshots need something that no good pack holds.
    needed_packs: Mutex<HashSet<Id>>,
    /// Packs that are missing or damaged in any part, those that damage records name included.
    bad_packs: Mutex<HashSet<Id>>,
    /// Packs from which snapshots need something that no pack holds which an index object names.
    unnamed_packs: Mutex<HashSet<Id>>,
    /// Packs that have recovery data.
    with_parity: HashSet<Id>,
    /// Damaged packs that it brings back, and those that it does not.
    mendable: Mutex<HashMap<Id, bool>>,
    /// Those of them that storage did not give, and whether it said that it is forbidden: nothing is known to be wrong with them.
    unread: Mutex<HashMap<Id, bool>>,
    /// An index object was not given, which may pass: packs that none names may be named there.
    index_unread: AtomicBool,
    /// Chunks whose bytes in some pack are not what they should be: (contents, id, pack).
    bad_chunks: Mutex<HashSet<(Contents, Id, Id)>>,
    /// Chunks that a walk meets, to be looked up all together behind it. Without it, each is looked up when it is met.
    met: Mutex<Option<Gather>>,
    /// Chunks that snapshots need and no pack gives.
    lost: Mutex<HashSet<(Contents, Id)>>,
    going: Mutex<Going>,
}

/// What removal records said when they were read last.
#[derive(Default)]
struct Going {
    records: HashSet<Id>,
    removed: HashSet<Id>,
    marked: HashSet<Id>,
}

impl Check<'_> {
    /// Whether a pack is being removed, or was since the index was read: nothing needs it then, and nothing is wrong with it.
    fn is_going(&self, pack: &Id) -> Result<bool, Error> {
        self.is_named(pack, true)
    }

    /// Whether a pack that is not there was removed: its tombstone was put before, and a mark alone removes nothing. Where listings are
    /// late, a mark says the same as a tombstone that is not listed yet.
    fn was_removed(&self, pack: &Id) -> Result<bool, Error> {
        self.is_named(pack, self.repository.backend.listing_lag_seconds() != Some(0))
    }

    /// Whether a tombstone, or also a mark, names the pack. The records are read again only when others are there than when this was
    /// asked last.
    fn is_named(&self, pack: &Id, marks_count: bool) -> Result<bool, Error> {
        let mut going = lock(&self.going);
        let names =
            |going: &Going| going.removed.contains(pack) || marks_count && going.marked.contains(pack);
        if !names(&going) {
            let records = self.repository.removal_names()?;
            if going.records != records {
                let removals = self.repository.removals()?;
                *going = Going { records, removed: removals.removed(), marked: removals.marked() };
            }
        }
        Ok(names(&going))
    }

    fn check_stop(&self) -> Result<(), Error> {
        if self.stop.load(Ordering::Relaxed) { Err(Error::Stopped) } else { Ok(()) }
    }

    /// The small objects: each is read from storage, whatever the local cache knows.
    fn small_objects(&self, synced: &Synced) -> Result<(), Error> {
        let repository = self.repository;
        let mut unread = false;
        for problem in &synced.problems {
            unread |= problem.is_unread();
            self.find_error(kind_of(problem), repository.location(), problem);
        }
        // Without a cache that was there before, all of them have just been read.
        if repository.may_doubt_cache() {
            let removals = repository.removals_from(Origin::Storage)?;
            for (name, problem) in removals.unreadable.iter().zip(&removals.problems) {
                if !synced.unreadable_removals.contains(name) {
                    self.find_error("removal", repository.location(), problem);
                }
            }
            let compared = repository.compare_index(self.stop)?;
            let unreadable = !compared.problems.is_empty();
            for problem in compared.problems {
                unread |= problem.is_unread();
                self.find_error("index", repository.location(), &problem);
            }
            if compared.mended > 0 {
                self.listener.event(Event::Note(&format!(
                    "the local cache was wrong about {}, and was mended: the repository is not hit by that",
                    show_count(compared.mended, "pack")
                )));
            }
            if unreadable {
                let mut adopted = Synced::default();
                repository.adopt_packs(&mut adopted)?;
                for problem in adopted.problems {
                    self.find_error("pack", repository.location(), &problem);
                }
            }
        }
        self.index_unread.store(unread, Ordering::Relaxed);
        let (_, slot_problems) = repository.key_slots()?;
        for (_, problem) in &slot_problems {
            self.find_error("key", repository.location(), problem);
        }
        for problem in repository.config_problems()? {
            self.find_error("config", repository.location(), &problem);
        }
        Ok(())
    }

    /// Reads packs wholly, several at a time; which ones, and their bytes.
    fn read_packs(
        &self,
        packs: &[Arc<PackInfo>],
        deadline: Option<Time>,
        clock: &dyn Clock,
    ) -> Result<Vec<(Id, u64)>, Error> {
        packs
            .par_iter()
            .filter(|_| deadline.is_none_or(|deadline| clock.now() < deadline))
            .map(|pack| {
                let bytes = self.read_pack(pack)?;
                self.listener.event(Event::Bytes(bytes));
                Ok((pack.name, bytes))
            })
            .collect()
    }

    /// Walks all snapshots, looking up each chunk when it is met.
    fn walk_all(&self, snapshots: &[&Named]) -> Result<walk::Walked, Error> {
        let mut walked = walk::Walked::default();
        for named in snapshots {
            self.walk(&named.name.short(), named.snapshot.root, &mut walked)?;
            walked.findings.extend(self.state(named)?);
        }
        Ok(walked)
    }

    /// Writes a damage record, so that later backups store again what is damaged or lost. A repository that can not be written is only
    /// checked.
    fn write_down(&self, packs: &[Arc<PackInfo>], clock: &dyn Clock) -> Result<(), Error> {
        let packs = self.damaged_packs(packs)?;
        let mut lost: Vec<(u8, Id)> =
            lock(&self.lost).iter().map(|(contents, id)| (*contents as u8, *id)).collect();
        // Nothing is lost with these, but a writer must name them before it relies on what they hold.
        if !self.index_unread.load(Ordering::Relaxed) {
            lost.extend(self.repository.adopted().into_iter().map(|pack| (0xff, pack)));
        }
        if packs.is_empty() && lost.is_empty() {
            return Ok(());
        }
        lost.sort_unstable();
        let mut hasher = blake3::Hasher::new();
        for (contents, id) in &lost {
            hasher.update(&[*contents]).update(&id.0);
        }
        let lost = (!lost.is_empty()).then(|| Id(*hasher.finalize().as_bytes()));
        match self.repository.put_damage(&Damage { packs, lost, time: clock.now() }) {
            Err(Error::Backend(error)) => {
                let what = format!("the damage could not be written down in the repository: {error}");
                self.listener.event(Event::Note(&what));
                Ok(())
            }
            other => other,
        }
    }
}

/// Of what kind an object is that a synchronisation could not read.
fn kind_of(problem: &Error) -> &'static str {
    match problem {
        Error::Damaged { object, .. } | Error::Unsupported { object, .. } => match object.split('/').next() {
            Some("removals") => "removal",
            Some("damage") => "damage",
            Some("packs") => "pack",
            _ => "index",
        },
        _ => "index",
    }
}

/// Checks a repository that was just synchronised; `synced` is what that found.
pub fn check(
    repository: &Repository,
    synced: &Synced,
    reading: Reading,
    clock: &dyn Clock,
    listener: &dyn Listener,
    stop: &AtomicBool,
) -> Result<Report, Error> {
    let check = Check {
        repository,
        listener,
        stop,
        findings: Mutex::default(),
        pack_findings: Mutex::default(),
        needed_packs: Mutex::default(),
        bad_packs: Mutex::new(repository.known_damaged()),
        unnamed_packs: Mutex::default(),
        with_parity: repository.with_parity()?,
        mendable: Mutex::default(),
        unread: Mutex::default(),
        index_unread: AtomicBool::new(false),
        bad_chunks: Mutex::default(),
        met: Mutex::default(),
        lost: Mutex::default(),
        going: Mutex::default(),
    };
    let mut report = Report::default();
    listener.event(Event::Started);
    check.small_objects(synced)?;
    let stored: HashMap<Id, u64> = repository.stored_packs()?.into_iter().collect();
    let mut packs = Vec::new();
    repository.index.packs(&mut |pack| packs.push(pack))?;
    packs.sort_by_key(|pack| pack.name);
    report.packs = packs.len() as u64;
    if repository.config.parity_per_mille > 0 {
        let without = packs.iter().filter(|pack| !check.with_parity.contains(&pack.name));
        report.packs_without_parity = without.count() as u64;
    }
    let known: HashSet<Id> = packs.iter().map(|pack| pack.name).collect();
    report.leftover_packs = stored.keys().filter(|name| !known.contains(name)).count() as u64;
    let mut readable = Vec::new();
    for pack in &packs {
        let length = match stored.get(&pack.name) {
            Some(length) => Some(*length),
            // A listing may lag.
            None => repository.stored_length(&pack.name)?,
        };
        match length {
            None if check.was_removed(&pack.name)? => {}
            None => {
                check.find_bad_pack(pack.name, "missing".to_owned())?;
            }
            Some(length) if length != pack.length => {
                let what = format!("{} long instead of {}", show_count(length, "byte"), pack.length);
                check.find_bad_pack(pack.name, what)?;
            }
            Some(_) => readable.push(pack.clone()),
        }
    }

    let chosen = choose(repository, &readable, reading)?;
    let total: u64 = chosen.iter().map(|pack| pack.length).sum();
    listener.event(Event::Totals { files: chosen.len() as u64, bytes: total });
    let deadline = match reading {
        Reading::Time(budget) => Some(clock.now().plus_seconds(budget.as_secs() as i64)),
        _ => None,
    };
    let snapshots = repository.snapshots_from(Origin::Storage)?;
    for problem in &snapshots.problems {
        check.find_error("snapshot", repository.location(), problem);
    }
    report.unconfirmed = snapshots.unconfirmed.len() as u64;
    // What is lost of a forgotten one is known when another stands for it.
    let stood_for: HashSet<Id> =
        snapshots.confirmed.iter().filter_map(|named| named.snapshot.stands_for).collect();
    let is_known = |named: &&Named| named.standing.forgotten.is_some() && stood_for.contains(&named.name);
    let saved: Vec<&Named> = snapshots.saved().filter(|named| !is_known(named)).collect();

    // Side by side, since walking is the work of one thread. What reading finds may change what the walk has seen.
    let bad = || (lock(&check.bad_packs).len(), lock(&check.pack_findings).len());
    let bad_before = bad();
    let (read, walked) =
        rayon::join(|| check.read_packs(&chosen, deadline, clock), || check.walk_when_sound(&saved));
    let walked = walked?;
    let now = clock.now().seconds.to_le_bytes();
    for (name, bytes) in &read? {
        report.packs_read += 1;
        report.bytes_read += bytes;
        let _ = repository.index.set_fact(&read_fact(name), &now);
    }
    let walked = match walked.filter(|_| bad() == bad_before) {
        Some(walked) => walked,
        None => {
            // What seemed lost before all was known of the packs.
            lock(&check.lost).clear();
            lock(&check.needed_packs).clear();
            lock(&check.unnamed_packs).clear();
            check.walk_all(&saved)?
        }
    };
    report.snapshots = saved.len() as u64;
    (report.trees, report.files, report.marked) = (walked.trees, walked.files, walked.marked);
    walked.findings.into_iter().for_each(|finding| check.found(finding));
    for name in repository.mended_packs() {
        // Its trees were read by its recovery data on the way, whether a record named it before or not.
        lock(&check.needed_packs).insert(name);
        check.is_mendable(&name)?;
    }
    // Looked at once more when one is missing: a prune may have been removing it just now.
    let missed = snapshots.broken_links().next().is_some();
    let snapshots = if missed { repository.snapshots_from(Origin::Storage)? } else { snapshots };
    for (after, previous) in snapshots.broken_links() {
        if !snapshots.lost.iter().any(|(name, _)| *name == previous) {
            let what = format!("missing: snapshot {} came after it", after.name.short());
            check.find("snapshot", previous.to_string(), what);
        }
    }
    check.tell_unnamed()?;
    check.tell_packs(&mut report);
    report.unnamed_packs = repository.adopted().len() as u64;
    check.write_down(&packs, clock)?;
    report.findings = check.findings.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner());
    // Only a help to whoever asks when that was.
    let ended = [clock.now().seconds.to_le_bytes(), (report.findings.len() as u64).to_le_bytes()].concat();
    let _ = repository.index.set_fact(CHECKED_FACT, &ended);
    listener.event(Event::Finished);
    Ok(report)
}
