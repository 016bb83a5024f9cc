//! What forgetting snapshots gives back, before any is forgotten: exact for packs and blocks that go whole, a bound for blocks that are
//! partly in use.
//!
//! Snapshots that go one after the other are told apart by ranks: 0 for those that stay, 1 for what was never completed, then those that go,
//! the last of them first. Walked in this order each tree is read once, a chunk has the lowest rank of those who need it, and a block the
//! lowest of its chunks: with it, it goes. So one pass over the index says what each step gives back.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::AtomicBool;

use super::plan::{around_blocks, at_most};
use super::roots::Root;
use super::usage::{self, BlockUse, Missing, PackUse, Standing, Usage};
use super::walk::{self, Walked};
use super::{LOOKS, Options, Run, missing_error, spared};
use crate::index::Gather;
use crate::model::Id;
use crate::model::clock::Clock;
use crate::progress::Silent;
use crate::repository::snapshots::Named;
use crate::repository::{Error, Repository};

/// Needed by a snapshot that stays.
const STAYS: u32 = 0;
/// Needed by a snapshot that was never completed: it stays as long as that does.
const UNFINISHED: u32 = 1;
/// Needed by nothing that is not forgotten yet.
const UNUSED: u32 = u32::MAX;

/// Bytes that prune gives back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Freed {
    /// Exact: of packs of which nothing is in use.
    pub packs: u64,
    /// Exact: of blocks of which nothing is in use, in packs that are written anew.
    pub blocks: u64,
    /// At most so many more: of blocks that are partly in use, in packs that are written anew.
    pub at_most: u64,
}

impl Freed {
    /// What is given back for certain.
    pub fn exact(&self) -> u64 {
        self.packs + self.blocks
    }
}

/// What is given back step by step.
pub struct Outlook<'r> {
    repository: &'r Repository,
    usage: Usage,
    steps: usize,
    /// Number of the first block of each pack among all blocks.
    first: Vec<usize>,
    /// Of each block the lowest rank of those who need something of it.
    lowest: Vec<u32>,
    /// Of each block the plain bytes in use before the first step, and after the last.
    live_before: Vec<u32>,
    live_after: Vec<u32>,
    /// Packs that somebody at work may just have written.
    spared: HashSet<Id>,
    /// Bytes of packs that no index object names, and that go.
    leftovers: u64,
}

/// Looks at what is in use, and until which of `steps`: snapshots that are forgotten in this order. Nothing is changed. Those that are
/// forgotten already count as gone, whatever their grace; all others stay.
///
/// Errors: `Damaged`, `Lost` and `Unsupported` when something that a snapshot that stays needs can not be read: what it needs is not known.
pub fn outlook<'r>(
    repository: &'r Repository,
    steps: &[Vec<Id>],
    clock: &dyn Clock,
    stop: &AtomicBool,
) -> Result<Outlook<'r>, Error> {
    let (options, lost) = (Options::default(), AtomicBool::new(false));
    let run = Run { repository, options: &options, clock, listener: &Silent, stop, lost: &lost };
    let mut looks = 0;
    loop {
        looks += 1;
        match look(&run, repository, steps) {
            // Perhaps a pruner moved it meanwhile.
            Err(error) if error.is_damage() && looks < LOOKS => {}
            other => return other,
        }
    }
}

/// Up to which rank chunks are in use when the first `gone` of `steps` are gone.
fn rank_most(steps: usize, gone: usize) -> u32 {
    (steps - gone) as u32 + UNFINISHED
}

/// After how many steps something of that rank is in use no more; more than there are when never.
fn step_of(steps: usize, rank: u32) -> usize {
    (steps + 2).saturating_sub(rank as usize)
}

/// The snapshots by rank.
fn ranked(repository: &Repository, steps: &[Vec<Id>]) -> Result<Vec<Vec<Root>>, Error> {
    let mut all = repository.snapshots()?;
    if let Some(problem) = all.problems.pop() {
        return Err(problem);
    }
    let numbers =
        steps.iter().enumerate().flat_map(|(number, names)| names.iter().map(move |name| (*name, number)));
    let numbers: HashMap<Id, usize> = numbers.collect();
    let mut ranks: Vec<Vec<Root>> = Vec::new();
    ranks.resize_with(steps.len() + 2, Vec::new);
    // What one that goes needs may be damaged: it may go for that very reason.
    let mut add = |named: &Named, rank: u32| {
        let is_confirmed = rank == STAYS;
        ranks[rank as usize].push(Root {
            tree: named.snapshot.root,
            state: named.snapshot.state.clone(),
            is_confirmed,
        });
    };
    all.unconfirmed.iter().for_each(|named| add(named, UNFINISHED));
    for named in &all.confirmed {
        add(named, numbers.get(&named.name).map_or(STAYS, |number| rank_most(steps.len(), *number)));
    }
    Ok(ranks)
}

fn look<'r>(run: &Run<'_>, repository: &'r Repository, steps: &[Vec<Id>]) -> Result<Outlook<'r>, Error> {
    // In this order: what a snapshot needs was indexed before the snapshot was put.
    let ranks = ranked(repository, steps)?;
    run.sync()?;
    let new_list = || Gather::new(repository.index.folder().as_deref());
    let (mut gather, mut walked) = (new_list()?, Walked::default());
    for (rank, roots) in ranks.iter().enumerate() {
        gather.set_rank(rank as u32);
        walk::gather(run, roots.iter(), &mut gather, &mut walked)?;
    }
    drop(walked);
    let usage = usage::laid_out(run, gather.finish()?, new_list()?.finish()?)?;
    let (mut first, mut blocks) = (Vec::with_capacity(usage.packs.len()), 0);
    for pack in &usage.packs {
        first.push(blocks);
        blocks += pack.blocks.len();
    }
    let mut outlook = Outlook {
        repository,
        usage,
        steps: steps.len(),
        first,
        lowest: vec![UNUSED; blocks],
        live_before: vec![0; blocks],
        live_after: vec![0; blocks],
        spared: HashSet::new(),
        leftovers: 0,
    };
    outlook.count()?;
    outlook.leave_to_others(run)?;
    Ok(outlook)
}

impl Outlook<'_> {
    /// Goes through all chunks once.
    fn count(&mut self) -> Result<(), Error> {
        let Outlook { usage, first, lowest, live_before, live_after, .. } = self;
        let (before, after) = (rank_most(self.steps, 0), rank_most(self.steps, self.steps));
        let mut missing = 0;
        usage.each_ranked(&self.repository.index, &mut |rank, place| {
            let Some((pack, place)) = place else {
                missing += u64::from(rank == STAYS);
                return;
            };
            let block = first[pack] + place.block as usize;
            lowest[block] = lowest[block].min(rank);
            for (live, most) in [(&mut *live_before, before), (&mut *live_after, after)] {
                if rank <= most {
                    live[block] = live[block].saturating_add(place.length);
                }
            }
        })?;
        if missing > 0 { Err(missing_error(&Missing { chunks: missing })) } else { Ok(()) }
    }

    /// What somebody at work may just have written does not go.
    fn leave_to_others(&mut self, run: &Run<'_>) -> Result<(), Error> {
        let peers = self.repository.sessions()?;
        // Storage that can only be read does not tell its time.
        let now = self.repository.storage_time().unwrap_or_else(|_| run.clock.now());
        let alive: Vec<_> = peers.iter().filter(|peer| peer.is_alive(now)).collect();
        let all: Vec<bool> =
            (0..self.usage.packs.len()).map(|number| self.last_of(number) != UNUSED).collect();
        for (pack, is_used) in self.usage.packs.iter_mut().zip(all) {
            pack.live = u64::from(is_used);
        }
        self.spared = spared(run, &self.usage, &alive)?;
        self.leftovers = if alive.is_empty() { self.usage.leftover_bytes } else { 0 };
        Ok(())
    }

    /// The rank with which a pack goes.
    fn last_of(&self, number: usize) -> u32 {
        let first = self.first[number];
        let blocks = &self.lowest[first..first + self.usage.packs[number].blocks.len()];
        blocks.iter().copied().min().unwrap_or(UNUSED)
    }

    /// Packs that can go, with their numbers.
    fn packs(&self) -> impl Iterator<Item = (usize, &PackUse)> {
        self.usage.packs.iter().enumerate().filter(|(_, pack)| {
            pack.standing != Standing::Missing && (pack.live > 0 || !self.spared.contains(&pack.name))
        })
    }

    /// Bytes of all packs in storage.
    pub fn stored(&self) -> u64 {
        let there = self.usage.packs.iter().filter(|pack| pack.standing != Standing::Missing);
        there.map(|pack| pack.length).sum::<u64>() + self.usage.leftover_bytes
    }

    /// What is given back for certain when 0, 1, 2 ... of the steps are gone: `Freed::exact` of each.
    pub fn freed_by_step(&self) -> Vec<u64> {
        let mut freed = vec![0; self.steps + 1];
        let mut add = |rank: u32, bytes: u64| {
            if let Some(freed) = freed.get_mut(step_of(self.steps, rank)) {
                *freed += bytes;
            }
        };
        for (number, pack) in self.packs() {
            let last = self.last_of(number);
            if pack.standing == Standing::Damaged {
                // What is needed of it is a repair's to move.
                add(last, pack.length);
                continue;
            }
            for (block, rank) in pack.blocks.iter().zip(&self.lowest[self.first[number]..]) {
                add(*rank, u64::from(block.stored));
            }
            add(last, around_blocks(pack));
        }
        freed[0] += self.leftovers;
        let mut sum = 0;
        freed.iter_mut().for_each(|freed| {
            sum += *freed;
            *freed = sum;
        });
        freed
    }

    /// What is given back when the first `gone` of the steps are gone (at most all), with what nothing needs already.
    pub fn freed(&self, gone: usize) -> Result<Freed, Error> {
        match gone {
            0 => Ok(self.freed_of(&self.live_before)),
            gone if gone >= self.steps => Ok(self.freed_of(&self.live_after)),
            gone => {
                let most = rank_most(self.steps, gone);
                let mut live = vec![0u32; self.lowest.len()];
                self.usage.each_ranked(&self.repository.index, &mut |rank, place| {
                    if let Some((pack, place)) = place.filter(|_| rank <= most) {
                        let live = &mut live[self.first[pack] + place.block as usize];
                        *live = live.saturating_add(place.length);
                    }
                })?;
                Ok(self.freed_of(&live))
            }
        }
    }

    fn freed_of(&self, live: &[u32]) -> Freed {
        let mut freed = Freed { packs: self.leftovers, ..Freed::default() };
        for (number, pack) in self.packs() {
            let live = &live[self.first[number]..][..pack.blocks.len()];
            if live.iter().all(|live| *live == 0) {
                freed.packs += pack.length;
                continue;
            }
            let is_rewritten = pack.blocks.iter().zip(live).any(|(block, live)| *live < block.plain);
            if pack.standing == Standing::Damaged || !is_rewritten {
                continue;
            }
            freed.at_most += around_blocks(pack);
            for (block, live) in pack.blocks.iter().zip(live) {
                match live {
                    0 => freed.blocks += u64::from(block.stored),
                    live => freed.at_most += at_most(&BlockUse { live: *live, ..*block }),
                }
            }
        }
        freed
    }
}
