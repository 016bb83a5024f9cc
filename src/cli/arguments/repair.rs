//! Options of `repair`.

use clap::{Args, Subcommand};

use super::values;
use crate::model::Id;

/// Repair what is damaged, as far as what is there allows
///
/// In this order, after `copal check --read-data`: records, the index, the packs, then a backup of what is still on the machines, and last
/// the snapshots. Each says first what it will do and what is lost, and asks before it takes anything away. A repair that was cut off is
/// simply run again, and one that has nothing to do changes nothing.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Examples:\n  copal repair records\n  copal repair index --dry-run\n  copal repair packs --read-data\n  copal repair snapshots --forget"
)]
pub struct Repair {
    #[command(subcommand)]
    pub command: RepairCommand,
}

/// What to repair.
#[derive(Clone, Debug, Subcommand)]
pub enum RepairCommand {
    Records(RepairRecords),
    Index(RepairIndex),
    Packs(RepairPacks),
    Snapshots(RepairSnapshots),
}

/// What every repair understands.
#[derive(Clone, Debug, Args)]
pub struct RepairHow {
    /// Say what would be done and what is lost, and do nothing
    #[arg(short = 'n', long)]
    pub dry_run: bool,
    /// Do not ask before something that can not be read is removed
    #[arg(long)]
    pub yes: bool,
}

/// Put back or remove records of who is at work, and of what a prune takes away, that can not be read
///
/// While one of the first kind is there, nothing is pruned; while one of the second is, nothing is saved either. Those of the second are
/// put back where this machine's cache has them. Else they go when nobody prunes or reads, and no such run was cut off in the last five
/// days: it may be asleep, and act on them. Whoever is at work with a record that goes begins again.
#[derive(Clone, Debug, Args)]
pub struct RepairRecords {
    #[command(flatten)]
    pub how: RepairHow,
    /// Say that no other copal is at work or asleep with this repository, on any machine, instead of waiting until that is certain
    #[arg(long)]
    pub nobody_at_work: bool,
}

/// Name packs again whose index objects are damaged or missing
///
/// Packs say themselves what they hold. An index object that can not be read goes when all that can be had of it is written anew.
#[derive(Clone, Debug, Args)]
pub struct RepairIndex {
    #[command(flatten)]
    pub how: RepairHow,
    /// Ask every pack, also those that index objects name
    #[arg(long)]
    pub read_packs: bool,
}

/// Store again what can still be read of damaged packs
///
/// Of those that a check found damaged or missing, and of those named here. They stay where they are: prune removes them when nothing
/// needs them any more.
#[derive(Clone, Debug, Args)]
pub struct RepairPacks {
    /// These too, by their whole names
    #[arg(value_name = "PACK", value_parser = pack)]
    pub packs: Vec<Id>,
    #[command(flatten)]
    pub how: RepairHow,
    /// Read all packs, to find those that are damaged
    #[arg(long)]
    pub read_data: bool,
}

/// Write snapshots anew in which lost content is marked as lost
///
/// The originals stay, until --forget forgets them as `copal forget` does. What is lost is judged by what is there: run `copal check
/// --read-data`, `copal repair index`, `copal repair packs` and a backup before. Snapshots, confirmations and notes that can not be read
/// are put back where this machine's cache has them, and else removed.
#[derive(Clone, Debug, Args)]
pub struct RepairSnapshots {
    /// Only these [default: all of all hosts]
    #[arg(value_name = "SNAP", value_parser = values::text)]
    pub snapshots: Vec<String>,
    #[command(flatten)]
    pub how: RepairHow,
    /// Forget the originals
    #[arg(long)]
    pub forget: bool,
}

/// The name of a pack.
fn pack(text: &str) -> Result<Id, &'static str> {
    Id::parse(text).ok_or("give the whole name of a pack: 64 digits, as copal check shows it")
}
