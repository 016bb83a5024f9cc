//! Bringing the local index up to the repository: only what is new is read, what is gone is dropped.

use std::collections::HashSet;

use super::listing::{Listing, SYNCED, WHOLE};
use super::snapshots::Origin;
use super::{Error, Repository, packs};
use crate::backend::Kind;
use crate::format::index::{IndexObject, PackEntry};
use crate::index::{self, Intake};
use crate::locks::lock;
use crate::model::Id;
use crate::progress::{Event, Listener};

/// Under which the index objects are remembered that went away unexplained.
const LOST_INDEX_FACT: &str = "lost index objects";

/// What the last synchronisation saw.
#[derive(Default)]
pub(crate) struct Seen {
    /// Names of the removal records.
    removals: HashSet<Id>,
    /// Packs that were removed for good.
    pub(super) removed: HashSet<Id>,
    /// Packs that are to be removed.
    marked: HashSet<Id>,
    /// Packs that a damage record names.
    pub(super) damaged: HashSet<Id>,
    /// Names of the damage records.
    damage: Vec<Id>,
    /// Index objects that can not be read.
    unreadable: Vec<Id>,
    /// What was listed of snapshots with it, until it is used.
    listing: Option<Listing>,
    /// Many small objects had to be fetched one by one.
    pub(super) lacks_copies: bool,
    /// Packs that no readable index object names, read themselves: a writer names them again before it relies on them.
    pub(super) adopted: Vec<PackEntry>,
    /// Such packs that do not hold what they say, or were not given wholly.
    pub(super) unsound: HashSet<Id>,
}

/// How often a synchronisation is tried while another process writes the cache; each waits a quarter of a second by itself.
const TRIES: usize = 8;

/// What a synchronisation found that is not as it should be.
#[derive(Debug, Default)]
pub struct Synced {
    /// Index objects or packs that could not be read.
    pub problems: Vec<Error>,
    /// Removal records that can not be read: which packs are about to go is not known.
    pub unreadable_removals: Vec<Id>,
    /// Packs whose own directories had to be read, since no index object named them.
    pub rebuilt_packs: usize,
    /// An index object went away while others were read: a pruner wrote a new one before, which is perhaps not known yet.
    moved: bool,
}

impl Synced {
    /// Tells what is not as it should be, to whoever listens while this is done.
    pub fn tell(&self, during: &'static str, listener: &dyn Listener) {
        for problem in &self.problems {
            let what = problem.to_string();
            listener.event(Event::Problem { path: None, what: &what, code: "repository_damaged", during });
        }
    }

    /// An error unless it is known which packs may be relied on. Readers go on: they are told by what they can not read.
    pub fn check_writable(&self) -> Result<(), Error> {
        match self.unreadable_removals.first() {
            None => Ok(()),
            Some(name) => Err(Error::damaged(
                Kind::Removals,
                &name.to_string(),
                "it can not be read, so which packs are to be removed is not known: nothing can be saved safely",
            )),
        }
    }
}

/// What tombstones say is gone.
#[derive(Default)]
struct Removed {
    packs: Vec<Id>,
    index_objects: HashSet<Id>,
}

impl Repository {
    /// Reads removal and damage records, then the index objects not seen before, and drops those that are gone. The order matters
    /// (docs/concurrency.md): a pack that vanishes in between must be seen as marked.
    ///
    /// Errors: `Index` when the cache can not take it. What was synchronised then is not to be relied on: go on `with_index` of another.
    pub fn sync(&self) -> Result<Synced, Error> {
        self.sync_listing(&SYNCED)
    }

    /// The same, for who loads the snapshots next: what it listed of them is there for the next `snapshots`, once.
    pub fn sync_before_snapshots(&self) -> Result<Synced, Error> {
        self.sync_listing(&WHOLE)
    }

    fn sync_listing(&self, kinds: &[Kind]) -> Result<Synced, Error> {
        let mut tries = 1;
        loop {
            let listing = self.listing(kinds)?;
            match self.sync_once(&listing) {
                Err(Error::Index(index::Error::Busy)) if tries < TRIES => {}
                Ok(synced) if synced.moved && tries < TRIES => {}
                other => {
                    self.seen().listing = listing.has(Kind::Snapshots).then_some(listing);
                    return other;
                }
            }
            tries += 1;
        }
    }

    fn sync_once(&self, listing: &Listing) -> Result<Synced, Error> {
        let mut synced = Synced::default();
        let (removals, hidden_packs) = self.absent(listing, &mut synced)?;
        let known: HashSet<Id> = self.index.known_index_objects()?.into_iter().collect();
        let present: HashSet<Id> = listing.of(Kind::Index).iter().copied().collect();
        let gone: Vec<Id> = known.difference(&present).copied().collect();
        let mut unreadable = Vec::new();
        let mut intake = Intake::default();
        let explained = &removals.index_objects;
        let new: Vec<_> = listing.index_objects().filter(|(name, _)| !known.contains(name)).collect();
        let (mut left, mut read) = (&new[..], Ok(()));
        while !left.is_empty() && read.is_ok() {
            let loaded = self.load_first(left);
            left = &left[loaded.len()..];
            read = loaded.into_iter().try_for_each(|(name, object)| {
                self.take(name, object, explained, &mut intake, &mut synced, &mut unreadable)
            });
        }
        // What was read stays, whatever came after it.
        self.index.take_in(intake)?;
        read?;
        // After those that say the same: what both name is not forgotten meanwhile.
        let mut has_lost = false;
        if !gone.is_empty() {
            let mut explained = removals.index_objects;
            let is_sudden = gone.iter().any(|name| !explained.contains(name));
            if is_sudden {
                // Perhaps the tombstone came since.
                let now = self.removals()?.tombstones;
                explained.extend(now.iter().flat_map(|(_, tombstone)| &tombstone.index_objects));
            }
            has_lost = gone.iter().any(|name| !explained.contains(name));
            // What came in its place was perhaps put after its page was listed.
            synced.moved |= is_sudden && !has_lost;
            // First remembered, then dropped: who trusts what was seen before must know that something is missing.
            self.remember_lost(&gone, &explained)?;
            self.index.drop_index_objects(&gone)?;
        }
        if !removals.packs.is_empty() {
            self.index.drop_packs(&removals.packs)?;
        }
        let mut hidden_packs = hidden_packs;
        hidden_packs.extend(&removals.packs);
        {
            let mut seen = self.seen();
            hidden_packs.extend(&seen.unsound);
            seen.unreadable = unreadable;
        }
        self.index.set_hidden(&hidden_packs, &[])?;
        if !synced.problems.is_empty() || has_lost || (present.is_empty() && self.index.pack_count()? == 0) {
            self.adopt_packs(&mut synced)?;
        }
        Ok(synced)
    }

    /// Takes an index object in, and what is gathered when that is much. `explained`: index objects that tombstones name.
    fn take(
        &self,
        name: Id,
        object: Result<IndexObject, Error>,
        explained: &HashSet<Id>,
        intake: &mut Intake,
        synced: &mut Synced,
        unreadable: &mut Vec<Id>,
    ) -> Result<(), Error> {
        match object {
            Ok(object) => {
                let records: Vec<_> = object.packs.iter().map(packs::record).collect();
                if let Some(error) = self.unseen(&name, &object) {
                    // Not among the known ones: what of it was not seen is looked for again the next time. What was is there in this run.
                    let mut new = Vec::with_capacity(records.len());
                    for record in records {
                        if !self.index.relies_on(&record.name)? {
                            new.push(record);
                        }
                    }
                    self.index.add_packs(None, &new)?;
                    unreadable.push(name);
                    synced.problems.push(error);
                    return Ok(());
                }
                // What a prune puts together says the same, and its tombstone names the old ones; a repair says something else.
                let corrects = object.replaces.iter().any(|old| !explained.contains(old));
                drop(object);
                intake.add(name, &records);
                if corrects {
                    self.index.take_in(std::mem::take(intake))?;
                    self.put_right(name, records)?;
                }
            }
            Err(error) if error.is_damage() && !self.backend_has(Kind::Index, &name)? => {
                synced.moved = true;
            }
            Err(error) => {
                unreadable.push(name);
                synced.problems.push(error);
            }
        }
        if intake.is_full() {
            self.index.take_in(std::mem::take(intake))?;
        }
        Ok(())
    }

    /// What the last synchronisation listed for who loads the snapshots next.
    pub(super) fn take_listing(&self) -> Option<Listing> {
        self.seen().listing.take()
    }

    /// What the last synchronisation saw.
    pub(super) fn seen(&self) -> std::sync::MutexGuard<'_, Seen> {
        lock(&self.seen)
    }

    /// Whether a tombstone names the pack.
    pub(super) fn is_removed(&self, pack: &Id) -> bool {
        self.seen().removed.contains(pack)
    }

    /// Remembers that index objects went away without a tombstone that says so.
    fn remember_lost(&self, gone: &[Id], explained: &HashSet<Id>) -> Result<(), Error> {
        let mut lost: Vec<&Id> = gone.iter().filter(|name| !explained.contains(name)).collect();
        if lost.is_empty() {
            return Ok(());
        }
        lost.sort_unstable();
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.index.fact(LOST_INDEX_FACT)?.unwrap_or_default());
        lost.iter().for_each(|name| {
            hasher.update(&name.0);
        });
        Ok(self.index.set_fact(LOST_INDEX_FACT, hasher.finalize().as_bytes())?)
    }

    /// Forgets index objects that were known and turn out not to be readable; their packs are known by their own directories then.
    pub(super) fn drop_unreadable(&self, names: &[Id]) -> Result<(), Error> {
        self.index.drop_index_objects(names)?;
        self.seen().unreadable.extend(names);
        Ok(())
    }

    /// What removal records say, and packs that count as absent for writers.
    fn absent(&self, listing: &Listing, synced: &mut Synced) -> Result<(Removed, Vec<Id>), Error> {
        let (mut removed, mut hidden_packs) = (Removed::default(), Vec::new());
        let removals = self.removals_named(listing.of(Kind::Removals), Origin::Cache)?;
        for (_, removal) in &removals.tombstones {
            removed.packs.extend(&removal.packs);
            removed.index_objects.extend(&removal.index_objects);
        }
        hidden_packs.extend(removals.marks.iter().flat_map(|(_, mark)| &mark.packs));
        synced.unreadable_removals.extend(removals.unreadable);
        synced.problems.extend(removals.problems);
        {
            let mut seen = self.seen();
            seen.removed = removed.packs.iter().copied().collect();
            seen.removals = removals.names.into_iter().collect();
            seen.marked = hidden_packs.iter().copied().collect();
        }
        let mut damaged = HashSet::new();
        let mut knows_damage = true;
        for name in listing.of(Kind::Damage) {
            match self.damage(name) {
                Ok(damage) => damaged.extend(damage.packs),
                Err(error) => {
                    // As older programs wrote it: what it calls damaged is not known to who only adds.
                    knows_damage &= !matches!(error, Error::Closed { .. });
                    synced.problems.push(error);
                }
            }
        }
        self.rely(knows_damage);
        hidden_packs.extend(&damaged);
        {
            let mut seen = self.seen();
            seen.damaged = damaged;
            seen.damage = listing.of(Kind::Damage).to_vec();
        }
        Ok((removed, hidden_packs))
    }

    /// Digest of everything that counts as absent, or may be since an index object was lost: when it moves, nothing is taken over without being looked up.
    pub fn absence(&self) -> Result<[u8; 32], Error> {
        let (mut packs, mut damage, mut unreadable) = {
            let seen = self.seen();
            // What is marked, and removed later, is absent all the time; so is what tombstones say that are put together.
            let packs = seen.removed.union(&seen.marked).copied().collect::<Vec<Id>>();
            (packs, seen.damage.clone(), seen.unreadable.clone())
        };
        let mut hasher = blake3::Hasher::new();
        for names in [&mut packs, &mut damage, &mut unreadable] {
            names.sort_unstable();
            hasher.update(&(names.len() as u64).to_le_bytes());
            names.iter().for_each(|name| {
                hasher.update(&name.0);
            });
        }
        hasher.update(&self.index.fact(LOST_INDEX_FACT)?.unwrap_or_default());
        Ok(*hasher.finalize().as_bytes())
    }

    /// Whether something is known to be missing or damaged, so that packs may be there that no index object names.
    pub fn knows_of_losses(&self) -> Result<bool, Error> {
        let seen = self.seen();
        let known = !seen.unreadable.is_empty() || !seen.damage.is_empty();
        drop(seen);
        Ok(known || self.index.fact(LOST_INDEX_FACT)?.is_some())
    }

    /// Whether packs are about to go, or gone, of which the last synchronisation did not know.
    pub(super) fn removals_moved(&self) -> Result<bool, Error> {
        for name in self.removal_names()? {
            if self.seen().removals.contains(&name) {
                continue;
            }
            // The tombstone of what was marked before changes nothing for who did not rely on it.
            let Some(removal) = self.removal(&name, Origin::Cache)? else { return Ok(true) };
            let seen = self.seen();
            if removal.packs.iter().any(|pack| !seen.marked.contains(pack) && !seen.removed.contains(pack)) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Packs that damage records named when the last synchronisation looked.
    pub fn known_damaged(&self) -> HashSet<Id> {
        self.seen().damaged.clone()
    }

    /// Names of the removal records seen, sorted.
    pub fn removals_known(&self) -> Vec<Id> {
        let mut names: Vec<Id> = self.seen().removals.iter().copied().collect();
        names.sort_unstable();
        names
    }
}
