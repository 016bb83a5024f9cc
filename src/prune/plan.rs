//! Deciding what goes, what is written anew, and what may stay: pure.

use std::collections::HashSet;

use super::Options;
use super::usage::{BlockUse, PackUse, Standing, Usage};
use crate::crypto::FULL;
use crate::model::{Id, Time};

/// How much unused room may stay in packs that are partly in use.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Unused {
    /// A share of all bytes, 0 to 1.
    Share(f64),
    Bytes(u64),
    Unlimited,
}

/// What would be done.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// Packs of which nothing is in use.
    pub remove: Vec<Id>,
    /// Packs whose used chunks are written anew.
    pub repack: Vec<Id>,
    /// Packs that no index object names.
    pub leftovers: Vec<Id>,
    /// Forgotten snapshots that go for good.
    pub snapshots: u64,
    /// Forgotten snapshots that can still be brought back, and until when the first and the last of them.
    pub resting: u64,
    pub resting_until: Option<(Time, Time)>,
    /// Forgotten snapshots that stay since somebody at work names them.
    pub held: u64,
    /// Exact bytes of the packs that go without anything being written.
    pub bytes_remove: u64,
    /// Bytes of the packs that are written anew.
    pub bytes_repack: u64,
    /// Exact bytes of their blocks of which nothing is in use.
    pub bytes_dead_blocks: u64,
    /// At most so many more bytes are freed: blocks that are partly in use shrink by what compression makes of it.
    pub bytes_at_most: u64,
    /// Unused bytes that stay, about.
    pub bytes_unused_left: u64,
    /// All bytes of packs.
    pub bytes_all: u64,
}

/// Bytes that a block has beside what it holds.
const BLOCK_ENDS: u32 = 16;

/// At most so many bytes of a block are freed when it is written anew without what is not in use: what stays takes at least what the block
/// takes now, less all of what goes as if that were not compressed at all.
pub(super) fn at_most(block: &BlockUse) -> u64 {
    u64::from(block.stored.min(block.plain.saturating_sub(block.live).saturating_add(BLOCK_ENDS)))
}

/// Bytes of a pack that are in no block: its directory, what keeps its length from telling anything, and its ends. Written anew they may be
/// fewer.
pub(super) fn around_blocks(pack: &PackUse) -> u64 {
    pack.length.saturating_sub(pack.blocks.iter().map(|block| u64::from(block.stored)).sum())
}

/// A pack is small below this part of the target, in percent.
const SMALL_PERCENT: u64 = 80;

/// Stored bytes of a pack's blocks of which nothing is in use, and an estimate of those unused in the others.
fn unused(pack: &PackUse) -> (u64, u64) {
    let (mut dead, mut partly) = (0, 0);
    for block in &pack.blocks {
        let stored = u64::from(block.stored);
        match block.live {
            0 => dead += stored,
            live if live >= block.plain => {}
            live => partly += stored * u64::from(block.plain - live) / u64::from(block.plain.max(1)),
        }
    }
    (dead, partly)
}

/// Decides. `spared` packs are left alone in this run.
pub fn plan(
    usage: &Usage,
    spared: &HashSet<Id>,
    leftovers: Vec<Id>,
    options: &Options,
    pack_target: usize,
) -> Plan {
    let mut plan = Plan::default();
    if !leftovers.is_empty() {
        plan.bytes_remove += usage.leftover_bytes;
    }
    plan.leftovers = leftovers;
    plan.bytes_all = usage.packs.iter().map(|pack| pack.length).sum::<u64>() + usage.leftover_bytes;
    let mut partly = Vec::new();
    let mut unused_all = 0;
    for pack in &usage.packs {
        // What is marked has its own way; what is damaged and needed is a repair's to move.
        match (pack.standing, pack.live) {
            (Standing::Marked, _) => {}
            // It frees nothing, but a tombstone says that nobody need look for it.
            (Standing::Missing, _) if spared.contains(&pack.name) => {}
            (Standing::Missing, _) => plan.remove.push(pack.name),
            (_, 0) if spared.contains(&pack.name) => {}
            (_, 0) => {
                plan.bytes_remove += pack.length;
                plan.remove.push(pack.name);
            }
            (Standing::Damaged, _) => {}
            // Written anew it would be nothing that who made it can rely on: the same would come again.
            _ if pack.writer != FULL => {}
            (Standing::Good, _) => {
                let (dead, part) = unused(pack);
                unused_all += dead + part;
                let is_small = pack.length * 100 < pack_target as u64 * SMALL_PERCENT;
                if dead + part > 0 || (options.repack_small && is_small) {
                    partly.push((pack, dead, part, is_small && options.repack_small));
                }
            }
        }
    }
    let allowed = match options.max_unused {
        Unused::Unlimited => u64::MAX,
        Unused::Bytes(bytes) => bytes,
        Unused::Share(share) => ((plan.bytes_all - plan.bytes_remove) as f64 * share) as u64,
    };
    // Those first that give most for what is written.
    partly.sort_by(|(a, a_dead, a_part, _), (b, b_dead, b_part, _)| {
        let share = |pack: &PackUse, unused: u64| unused as f64 / pack.length.max(1) as f64;
        share(b, b_dead + b_part).total_cmp(&share(a, a_dead + a_part)).then(a.name.cmp(&b.name))
    });
    // One small pack alone gives another small pack.
    let small = partly.iter().filter(|(.., is_small)| *is_small).count();
    let most = options.max_repack_bytes.unwrap_or(u64::MAX);
    for (pack, dead, part, is_small) in partly {
        let wanted = unused_all > allowed && dead + part > 0;
        let is_chosen = wanted || (is_small && small > 1);
        if !is_chosen || plan.bytes_repack + pack.length > most {
            continue;
        }
        plan.repack.push(pack.name);
        plan.bytes_repack += pack.length;
        plan.bytes_dead_blocks += dead;
        let partly = pack.blocks.iter().filter(|block| block.live > 0);
        plan.bytes_at_most += partly.map(at_most).sum::<u64>() + around_blocks(pack);
        unused_all -= dead + part;
    }
    plan.bytes_unused_left = unused_all;
    plan
}
