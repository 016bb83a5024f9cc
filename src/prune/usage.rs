//! What is in use: of each pack, how much, and where each chunk that is needed lies best.

use std::collections::{HashMap, HashSet};

use super::roots::Roots;
use super::{Run, walk};
use crate::crypto::FULL;
use crate::index::{Gather, Index, Place, Used};
use crate::model::Id;
use crate::repository::Error;

/// With what chunks are gathered (`Gather::add_sized`): who needs them.
const BY_FULL: u32 = 1;
const BY_WRITERS: u32 = 2;

/// What may be said of a pack's copies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// They count.
    Good,
    /// Marked for removal: none that counts.
    Marked,
    /// Found damaged, in whatever part: better than none.
    Damaged,
    /// Not in storage, or not in its length.
    Missing,
}

/// A block and how much of it is in use.
#[derive(Clone, Copy, Debug)]
pub struct BlockUse {
    pub stored: u32,
    pub plain: u32,
    /// Plain bytes of chunks that are needed and whose best copy this is.
    pub live: u32,
}

/// A pack and how much of it is in use.
#[derive(Clone, Debug)]
pub struct PackUse {
    pub row: u64,
    pub name: Id,
    /// Who made it: the number of a writer, or 0.
    pub writer: u32,
    pub length: u64,
    pub standing: Standing,
    pub is_damaged: bool,
    /// A tombstone names it.
    pub is_removed: bool,
    pub live: u64,
    pub blocks: Vec<BlockUse>,
}

impl PackUse {
    /// Whether what is needed of it may be written anew: of a damaged one it is a repair's to move, and who adds only relies on its own.
    pub fn may_be_rewritten(&self) -> bool {
        self.standing != Standing::Damaged && self.writer == FULL
    }
}

/// Chunks that are needed and in no pack.
#[derive(Clone, Copy, Debug)]
pub struct Missing {
    pub chunks: u64,
}

/// What is in use of a repository.
pub struct Usage {
    pub packs: Vec<PackUse>,
    by_row: HashMap<u64, usize>,
    used: Used,
    /// Of snapshots that were never completed: what of it is there stays.
    perhaps_used: Used,
    pub missing: Option<Missing>,
    /// Packs in storage that no index object names, with no mark and no tombstone.
    pub leftovers: Vec<Id>,
    pub leftover_bytes: u64,
}

impl Usage {
    /// The pack of a place, when the place makes sense and the pack is there.
    fn there(&self, place: &Place) -> Option<&PackUse> {
        let pack = self.pack(place.pack)?;
        // A row of the cache that makes no sense is no copy.
        let block = pack.blocks.get(place.block as usize)?;
        if place.length == 0 || u64::from(place.offset) + u64::from(place.length) > u64::from(block.plain) {
            return None;
        }
        Some(pack).filter(|pack| pack.standing != Standing::Missing)
    }

    /// Whether a place is in a pack that should be there, is not, and is not written down as damaged.
    fn is_missed(&self, place: &Place) -> bool {
        let is_missed =
            |pack: &PackUse| pack.standing == Standing::Missing && !pack.is_damaged && !pack.is_removed;
        self.pack(place.pack).is_some_and(is_missed)
    }

    /// The best of a chunk's places in packs that full keys made: one that counts, the same for everyone who looks.
    fn best<'p>(&self, places: &'p [Place]) -> Option<(Standing, &'p Place)> {
        places
            .iter()
            .filter_map(|place| Some((self.there(place)?, place)))
            .filter(|(pack, _)| pack.writer == FULL)
            .min_by_key(|(pack, place)| {
                (pack.standing, pack.is_damaged, pack.name, place.block, place.offset)
            })
            .map(|(pack, place)| (pack.standing, place))
    }

    /// Gives the places of a chunk that count for who needs it. For full keys, the best in packs that full keys made, and only where that is not
    /// good each in a pack of who adds only. For who adds only, that and each of those: what these say they hold makes nobody's
    /// superfluous, and they rely on their own alone; only of what is marked a good one elsewhere is enough.
    fn counting(&self, places: &[Place], is_writers: bool, counting: &mut Vec<(Standing, Place)>) {
        counting.clear();
        let best = self.best(places);
        // What one who only adds says it holds, or a pack that is damaged, does not stand for what is missing and was not given up.
        let is_there = matches!(best, Some((Standing::Good | Standing::Marked, _)));
        if !is_there && places.iter().any(|place| self.is_missed(place)) {
            return;
        }
        counting.extend(best.map(|(standing, place)| (standing, *place)));
        let is_safe = matches!(best, Some((Standing::Good, _)));
        if is_safe && !is_writers {
            return;
        }
        for (pack, place) in places.iter().filter_map(|place| Some((self.there(place)?, place))) {
            if pack.writer != FULL && !(pack.standing == Standing::Marked && is_safe) {
                counting.push((pack.standing, *place));
            }
        }
    }

    /// Tells `each` of every chunk that was gathered for certain: the lowest rank of those who need it, and each place that counts, the pack
    /// by its number in `packs`; once without any where there is none.
    pub fn each_ranked(
        &self,
        index: &Index,
        each: &mut dyn FnMut(u32, Option<(usize, &Place)>),
    ) -> Result<(), Error> {
        let mut counting = Vec::new();
        index.each_used(&self.used, &mut |chunk, places| {
            self.counting(places, true, &mut counting);
            for (_, place) in &counting {
                if let Some(number) = self.by_row.get(&place.pack) {
                    each(chunk.rank, Some((*number, place)));
                }
            }
            if counting.is_empty() {
                each(chunk.rank, None);
            }
            Ok(())
        })
    }

    /// The pack of a row.
    pub fn pack(&self, row: u64) -> Option<&PackUse> {
        self.packs.get(*self.by_row.get(&row)?)
    }

    /// Tells `each` of every chunk in use: all its places, and those that count (none where it is missing). A chunk may come several times, for
    /// snapshots of full keys, of who adds only, and for those that were never completed; the first two times with other places that
    /// count, and the last only when there is one.
    pub fn each(
        &self,
        run: &Run<'_>,
        each: &mut dyn FnMut(&[Place], &[(Standing, Place)]),
    ) -> Result<(), Error> {
        let index = &run.repository.index;
        let (mut counting, mut told, mut last) = (Vec::new(), Vec::new(), None);
        index.each_used(&self.used, &mut |chunk, places| {
            self.counting(places, chunk.rank == BY_WRITERS, &mut counting);
            let this = (chunk.contents, chunk.id_begin());
            let is_same = last.replace(this) == Some(this);
            if is_same {
                counting.retain(|one| !told.contains(one));
            }
            if !is_same || !counting.is_empty() {
                each(places, &counting);
            }
            std::mem::swap(&mut counting, &mut told);
            Ok::<(), Error>(())
        })?;
        if self.perhaps_used.is_empty() {
            return Ok(());
        }
        index.each_used(&self.perhaps_used, &mut |_, places| {
            self.counting(places, true, &mut counting);
            if !counting.is_empty() {
                each(places, &counting);
            }
            Ok(())
        })
    }
}

/// The packs there are, and what may be said of each; what of them is in use is still to be counted.
pub(super) fn laid_out(run: &Run<'_>, used: Used, perhaps_used: Used) -> Result<Usage, Error> {
    let repository = run.repository;
    let removals = repository.removals()?.whole()?;
    let (marked, removed) = (removals.marked(), removals.removed());
    let damaged = repository.damaged_packs()?;
    let stored: HashMap<Id, u64> = repository.stored_packs()?.into_iter().collect();
    let mut packs = Vec::new();
    let mut known = HashSet::new();
    repository.index.packs(&mut |pack| {
        known.insert(pack.name);
        let standing = match stored.get(&pack.name) {
            Some(length) if *length == pack.length => match () {
                () if removed.contains(&pack.name) => Standing::Missing,
                () if marked.contains(&pack.name) => Standing::Marked,
                () if damaged.contains(&pack.name) => Standing::Damaged,
                () => Standing::Good,
            },
            _ => Standing::Missing,
        };
        let blocks = pack.blocks.iter();
        packs.push(PackUse {
            row: pack.row,
            name: pack.name,
            writer: pack.writer,
            length: pack.length,
            standing,
            is_damaged: damaged.contains(&pack.name),
            is_removed: removed.contains(&pack.name),
            live: 0,
            blocks: blocks.map(|b| BlockUse { stored: b.stored, plain: b.plain, live: 0 }).collect(),
        });
    })?;
    let by_row = packs.iter().enumerate().map(|(number, pack)| (pack.row, number)).collect();
    // What is written down as damaged and named by nothing may have been out of reach when the index was repaired.
    let strange = |name: &Id| {
        !known.contains(name) && !marked.contains(name) && !removed.contains(name) && !damaged.contains(name)
    };
    let mut leftovers: Vec<Id> = stored.keys().filter(|name| strange(name)).copied().collect();
    leftovers.sort_unstable();
    let leftover_bytes = leftovers.iter().filter_map(|name| stored.get(name)).sum();
    Ok(Usage { packs, by_row, used, perhaps_used, missing: None, leftovers, leftover_bytes })
}

/// Looks at all that `roots` need. The index must just have been synchronised.
pub(super) fn usage(run: &Run<'_>, roots: &Roots) -> Result<Usage, Error> {
    let repository = run.repository;
    let gathered = |is_confirmed: bool| {
        let mut gather = Gather::sized(repository.index.folder().as_deref())?;
        for (is_writers, by) in [(false, BY_FULL), (true, BY_WRITERS)] {
            let roots = roots.stay.iter().filter(|root| root.is_confirmed == is_confirmed);
            let roots = roots.filter(|root| root.is_writers == is_writers);
            walk::gather(run, roots, by, &mut gather)?;
        }
        Ok::<Used, Error>(gather.finish()?)
    };
    let (used, perhaps_used) = (gathered(true)?, gathered(false)?);
    let mut usage = laid_out(run, used, perhaps_used)?;
    // Of all blocks one after the other: at 50 million chunks there are millions.
    let mut firsts = Vec::with_capacity(usage.packs.len());
    let mut blocks = 0;
    for pack in &usage.packs {
        firsts.push(blocks);
        blocks += pack.blocks.len();
    }
    let mut live = vec![0u32; blocks];
    let mut missing = 0;
    usage.each(run, &mut |_, counting| {
        for (_, place) in counting {
            let first = usage.by_row.get(&place.pack).and_then(|number| firsts.get(*number));
            if let Some(live) = first.and_then(|first| live.get_mut(first + place.block as usize)) {
                *live = live.saturating_add(place.length);
            }
        }
        missing += u64::from(counting.is_empty());
    })?;
    for (pack, first) in usage.packs.iter_mut().zip(firsts) {
        for (block, live) in pack.blocks.iter_mut().zip(&live[first..]) {
            block.live = *live;
            pack.live += u64::from(*live);
        }
    }
    usage.missing = (missing > 0).then_some(Missing { chunks: missing });
    Ok(usage)
}
