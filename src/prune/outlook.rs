//! What forgetting snapshots gives back, before any is forgotten: exact for packs and blocks that go whole, a bound for blocks that are
//! partly in use; and, for each step of several, about how much.
//!
//! Snapshots have ranks by when they go: 0 for those that stay, 1 for what was never completed, then the others, the last that goes first.
//! All are walked through once, whatever their rank; then pages have the lowest rank of those who name them, chunks of theirs, and blocks of
//! their chunks: with it, they go. So one pass over the index says what each step gives back.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::AtomicBool;

use super::plan::{around_blocks, at_most};
use super::roots::{Root, root};
use super::usage::{self, BlockUse, Missing, PackUse, Standing, Usage};
use super::walk::{self, Found, Walked};
use super::{LOOKS, Options, Run, missing_error, spared};
use crate::index::{Gather, References, Used};
use crate::model::clock::Clock;
use crate::model::{Contents, Id};
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
    /// Of the chunks that go with each step their shares in what blocks take.
    shares: Vec<f64>,
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

/// The part of a block's stored bytes that so many of its plain bytes have.
fn share_of(block: &BlockUse, plain: u32) -> f64 {
    f64::from(block.stored) * f64::from(plain) / f64::from(block.plain.max(1))
}

/// Snapshots with their ranks, in the order in which they were made: so their trees lie in storage.
fn ranked(repository: &Repository, steps: &[Vec<Id>]) -> Result<Vec<(Root, u32)>, Error> {
    let mut all = repository.snapshots()?;
    if let Some(problem) = all.problems.pop() {
        return Err(problem);
    }
    let numbers = steps.iter().enumerate();
    let numbers: HashMap<Id, usize> =
        numbers.flat_map(|(number, names)| names.iter().map(move |name| (*name, number))).collect();
    let rank = |named: &Named| match (named.confirmed, numbers.get(&named.name)) {
        (None, _) => UNFINISHED,
        (_, None) => STAYS,
        (_, Some(number)) => rank_most(steps.len(), *number),
    };
    let root = |named: &Named| (root(named, named.confirmed.is_some()), rank(named));
    Ok(all.confirmed.iter().chain(&all.unconfirmed).map(root).collect())
}

/// Which page names which.
struct Graph {
    chunks: References,
    /// All that pages and snapshots name, and by number where in it what one names begins and ends.
    named: Vec<u32>,
    spans: Vec<(usize, usize)>,
    unreadable: Vec<(u32, Error)>,
}

impl Found for Graph {
    fn page(&mut self, page: u32, id: &Id) -> Result<(), Error> {
        Ok(self.chunks.add(Contents::Trees, id, page)?)
    }

    fn data(&mut self, by: u32, id: &Id) -> Result<(), Error> {
        Ok(self.chunks.add(Contents::Data, id, by)?)
    }

    fn names(&mut self, by: u32, page: u32) {
        let by = by as usize;
        if self.spans.len() <= by {
            self.spans.resize(by + 1, (0, 0));
        }
        let span = &mut self.spans[by];
        if span.0 == span.1 {
            span.0 = self.named.len();
        }
        self.named.push(page);
        span.1 = self.named.len();
    }

    fn unreadable(&mut self, page: u32, error: Error) -> Result<(), Error> {
        self.unreadable.push((page, error));
        Ok(())
    }
}

impl Graph {
    /// The lowest rank of those who need it, for each snapshot and page.
    fn ranks(&self, count: usize, mut roots: Vec<(u32, u32)>) -> Vec<u32> {
        let mut ranks = vec![UNUSED; count];
        roots.sort_unstable();
        let mut open = Vec::new();
        for (rank, root) in roots {
            open.push(root);
            while let Some(number) = open.pop().map(|number| number as usize) {
                // Whoever came before has a rank that is as low.
                if ranks[number] == UNUSED {
                    ranks[number] = rank;
                    let (from, to) = self.spans.get(number).copied().unwrap_or_default();
                    open.extend(&self.named[from..to]);
                }
            }
        }
        ranks
    }
}

/// All chunks that snapshots need, with the lowest ranks of those who do.
fn gather(run: &Run<'_>, snapshots: &[(Root, u32)]) -> Result<Used, Error> {
    let folder = run.repository.index.folder();
    let chunks = References::new(folder.as_deref())?;
    let mut graph = Graph { chunks, named: Vec::new(), spans: Vec::new(), unreadable: Vec::new() };
    let mut walked = Walked::in_threads();
    let mut roots = Vec::new();
    for (root, rank) in snapshots {
        roots.push((*rank, walk::walk(run, root, &mut walked, &mut graph)?));
    }
    let count = walked.count();
    drop(walked);
    let ranks = graph.ranks(count, roots);
    // What goes may be damaged: it may go for that very reason.
    let hit = graph.unreadable.into_iter().find(|(page, _)| ranks[*page as usize] == STAYS);
    match hit {
        Some((_, error)) => Err(error),
        None => Ok(graph.chunks.used(&ranks)?),
    }
}

fn look<'r>(run: &Run<'_>, repository: &'r Repository, steps: &[Vec<Id>]) -> Result<Outlook<'r>, Error> {
    // In this order: what a snapshot needs was indexed before the snapshot was put.
    let snapshots = ranked(repository, steps)?;
    run.sync()?;
    let used = gather(run, &snapshots)?;
    let none = Gather::new(repository.index.folder().as_deref())?.finish()?;
    let usage = usage::laid_out(run, used, none)?;
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
        shares: vec![0.0; steps.len() + 1],
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
        let Outlook { usage, first, lowest, live_before, live_after, shares, steps, .. } = self;
        let (before, after) = (rank_most(*steps, 0), rank_most(*steps, *steps));
        let mut missing = 0;
        usage.each_ranked(&self.repository.index, &mut |rank, place| {
            let Some((pack, place)) = place else {
                missing += u64::from(rank == STAYS);
                return;
            };
            let block = first[pack] + place.block as usize;
            lowest[block] = lowest[block].min(rank);
            if usage.packs[pack].may_be_rewritten()
                && let Some(share) = shares.get_mut(step_of(*steps, rank))
            {
                let of = &usage.packs[pack].blocks[place.block as usize];
                *share += share_of(of, place.length);
            }
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

    /// About what is given back when 0, 1, 2 ... of the steps are gone: for certain at least `Freed::exact` of it, and most of `at_most` when
    /// chunks take the same room as others of their block. What is written anew has ends of its own; those of the packs that it comes from
    /// are not counted for them.
    pub fn freed_by_step(&self) -> Vec<u64> {
        let mut freed = self.shares.clone();
        freed[0] += self.leftovers as f64;
        for (number, pack) in self.packs() {
            let last = step_of(self.steps, self.last_of(number));
            let is_whole = !pack.may_be_rewritten();
            if let Some(freed) = freed.get_mut(last) {
                *freed += if is_whole { pack.length } else { around_blocks(pack) } as f64;
            }
            if !is_whole {
                let live = &self.live_before[self.first[number]..];
                let dead = pack.blocks.iter().zip(live);
                freed[0] +=
                    dead.map(|(block, live)| share_of(block, block.plain.saturating_sub(*live))).sum::<f64>();
            }
        }
        let mut sum = 0.0;
        let sums = freed.into_iter().map(|freed| {
            sum += freed;
            // Shares add up to whole bytes but for the last digits.
            (sum + 0.01) as u64
        });
        sums.collect()
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
            if !pack.may_be_rewritten() || !is_rewritten {
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
