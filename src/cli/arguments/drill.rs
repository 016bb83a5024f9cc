//! `copal drill`: how much is restored on trial, and where.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Args;

use super::values;

/// Restore some files on trial and compare them
///
/// Files chosen at random of the newest snapshot, and of an old one, are restored into a scratch folder, compared with what was stored,
/// and removed again. Files on this machine that are unchanged since, by size and times, are compared byte by byte too. Large and small
/// files both come up.
///
/// Ends with 0 when all is right, 5 when something stored does not come back as it was, 3 when a file on disk differs from what was
/// stored though it claims to be unchanged, or when something could not be tried.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Examples:\n  copal drill\n  copal drill --files 500 --size 20G --scratch /var/tmp latest~3"
)]
pub struct Drill {
    /// Only that snapshot [default: the newest, and an old one chosen at random]
    #[arg(value_name = "SNAP", value_parser = values::text)]
    pub snapshot: Option<String>,

    /// Files of each snapshot, at most
    #[arg(long, value_name = "N", default_value = "50", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub files: u32,

    /// Bytes of them together, of each snapshot, at most. Example: --size 20G
    #[arg(long, value_name = "SIZE", default_value = "1G", value_parser = values::positive_size)]
    pub size: u64,

    /// Make the scratch folder in that folder; it takes one file at a time [default: the cache folder, else $TMPDIR]
    #[arg(long, value_name = "FOLDER")]
    pub scratch: Option<PathBuf>,

    /// Choose the same files as the drill that printed that number
    #[arg(long, value_name = "NUMBER")]
    pub seed: Option<u64>,

    /// Only snapshots of that host [default: this machine's]
    #[arg(short = 'H', long, value_name = "NAME", value_parser = values::bytes())]
    pub host: Option<OsString>,
}
