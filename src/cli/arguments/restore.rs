//! `copal restore`: what to give back, where to, and what happens to what is there.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::values;

/// Give back files and folders from a snapshot
///
/// SNAP makes the stored absolute paths again below the target; SNAP:PATH puts a folder's contents, or the file PATH, directly into it.
/// What is there and differs is never overwritten unless --overwrite says so. Patterns are those of `backup`.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Examples:\n  copal restore latest:Documents/report.odt --target .\n  \
    copal restore latest -t /tmp/all --include '*.odt'\n  copal restore --at yesterday ~/Documents -t /tmp/old\n  \
    copal restore --at '2026-11-03 14:00' notes.txt --in-place")]
pub struct Restore {
    /// A snapshot or a path in one (SNAP or SNAP:PATH), or a version of a path (PATH@2, see `copal versions`); with --at the paths
    #[arg(value_name = "SNAP[:PATH]", required = true, value_parser = values::bytes())]
    pub wanted: Vec<OsString>,

    /// The folder to restore into; made when it does not exist
    #[arg(short, long, value_name = "FOLDER", required_unless_present = "in_place")]
    pub target: Option<PathBuf>,

    /// Restore to where it was saved from. What is there and differs is asked about on a terminal, and refused without one unless
    /// --overwrite says what to do; it is kept beside, under a name with its time
    #[arg(long, conflicts_with = "target")]
    pub in_place: bool,

    /// Take each path from the newest snapshot not later than that whose sources hold it. Example: --at '3 days ago'
    #[arg(long, value_name = "TIME", value_parser = values::text)]
    pub at: Option<String>,

    /// Only snapshots of that host [default: this machine's]
    #[arg(short = 'H', long, value_name = "NAME", value_parser = values::bytes())]
    pub host: Option<OsString>,

    /// Only what matches. Example: -i '*.odt'
    #[arg(short, long, value_name = "PATTERN", value_parser = values::bytes())]
    pub include: Vec<OsString>,

    /// Not what matches
    #[arg(short, long, value_name = "PATTERN", value_parser = values::bytes())]
    pub exclude: Vec<OsString>,

    /// What to do with files that are there and differ [default: keep them; a single file is put beside, a folder is refused]
    #[arg(long, value_name = "WHEN", value_enum)]
    pub overwrite: Option<Overwrite>,

    /// Owners by number, whatever their names are here
    #[arg(long)]
    pub numeric_ids: bool,

    /// Delete what is in the target and not in the snapshot
    #[arg(long)]
    pub delete: bool,

    /// Make holes of long runs of zeros, also where the file had none
    #[arg(long)]
    pub sparse: bool,

    /// Read everything again afterwards and compare
    #[arg(long)]
    pub verify: bool,

    /// Only say what would be done
    #[arg(short = 'n', long)]
    pub dry_run: bool,
}

/// What happens to a file that is there and differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Overwrite {
    /// Compare contents and rewrite the parts that differ
    Always,
    /// The same, but a file with the same size and time is taken as equal
    IfChanged,
    /// Only files older than the stored one
    IfNewer,
    /// Keep what is there
    Never,
}
