//! Commands that look at a repository, or at copal itself: `snapshots`, `ls`, `check`, `doctor`, `stats`, `completions`, `man`, `version`.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use clap_complete::Shell;

use super::values::{self, Subset};
use crate::retention::policy::Tags;

/// List snapshots
#[derive(Clone, Debug, Args)]
#[command(after_help = "Example:\n  copal snapshots --tag weekly")]
pub struct Snapshots {
    /// Only these
    #[arg(value_name = "SNAP", value_parser = values::text)]
    pub snapshots: Vec<String>,
    /// Only those of that host
    #[arg(short = 'H', long, value_name = "NAME", value_parser = values::bytes())]
    pub host: Option<OsString>,
    /// Only those that have all tags of that list; several times: of any of the lists. '' stands for having none
    #[arg(long, value_name = "TAG,...", value_parser = values::tags)]
    pub tag: Vec<Tags>,
    /// Only those that saved this source
    #[arg(long, value_name = "PATH", value_parser = values::bytes())]
    pub path: Vec<OsString>,
    /// Those that were forgotten, and are still there
    #[arg(long)]
    pub forgotten: bool,
}

/// List what a snapshot holds
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Examples:\n  copal ls -l latest:Documents\n  copal ls --tree --at yesterday ~/Documents"
)]
pub struct Ls {
    /// A snapshot, or a path in one; with --at the path [default: latest]
    #[arg(value_name = "SNAP[:PATH]", value_parser = values::bytes())]
    pub wanted: Option<OsString>,
    /// Show modes, owners, sizes and times
    #[arg(short, long)]
    pub long: bool,
    /// Show sizes in KiB, MiB and so on; with them all that --long shows
    #[arg(long, visible_alias = "human-readable")]
    pub human: bool,
    /// Folders within folders too
    #[arg(short = 'R', long)]
    pub recursive: bool,
    /// Folders within folders, as a tree
    #[arg(long)]
    pub tree: bool,
    /// The newest snapshot not later than that. Example: --at '2026-11-03 14:00'
    #[arg(long, value_name = "TIME", value_parser = values::text)]
    pub at: Option<String>,
    /// Only snapshots of that host [default: this machine's]
    #[arg(short = 'H', long, value_name = "NAME", value_parser = values::bytes())]
    pub host: Option<OsString>,
}

/// Check that everything in the repository is there and whole
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Examples:\n  copal check --read-data\n  copal check --read-data-subset 1/7\n  copal check --budget 10m"
)]
pub struct Check {
    /// Read and verify all data
    #[arg(long, group = "read")]
    pub read_data: bool,
    /// Read and verify a part: n/t, x% or a size
    #[arg(long, value_name = "PART", value_parser = values::subset, group = "read")]
    pub read_data_subset: Option<Subset>,
    /// Read and verify data for that long, what was verified longest ago first
    #[arg(long, value_name = "DURATION", value_parser = values::duration, group = "read")]
    pub budget: Option<Duration>,
}

/// Say what is wrong, in plain words, and what to run next
///
/// Looks at the repository, its folder and disk, the keys, the local cache and the clock, and writes nothing. Findings come in the order
/// in which to act on them; the last line is the command to run next. Packs are not read: that is what `check --read-data` does.
///
/// Ends with 0 when nothing is bad (warnings and notes may be there), 5 when the repository is damaged, 3 when something else needs a
/// person, 10 without a repository, 12 without a key that opens it, 13 when a later version made it.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Example:\n  copal doctor -r /media/disk/backup")]
pub struct Doctor {}

/// Show sizes: of the files, of the data after deduplication, of what is stored
#[derive(Clone, Debug, Args)]
#[command(after_help = "Example:\n  copal stats latest")]
pub struct Stats {
    /// Only these snapshots [default: all]
    #[arg(value_name = "SNAP", value_parser = values::text)]
    pub snapshots: Vec<String>,
    /// Only those of that host
    #[arg(short = 'H', long, value_name = "NAME", value_parser = values::bytes())]
    pub host: Option<OsString>,
}

/// Print a completion script for a shell
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Examples:\n  copal completions bash > ~/.local/share/bash-completion/completions/copal\n  copal completions --all completions/"
)]
pub struct Completions {
    /// The shell
    #[arg(required_unless_present = "all")]
    pub shell: Option<Shell>,
    /// Write those of all shells into this folder, each under the name that its shell looks for
    #[arg(long, value_name = "FOLDER", conflicts_with = "shell")]
    pub all: Option<PathBuf>,
}

/// Print the manual page
#[derive(Clone, Debug, Args)]
#[command(after_help = "Examples:\n  copal man backup | man -l -\n  copal man --all ~/.local/share/man/man1")]
pub struct Man {
    /// That of one command, such as `restore` or `key add`
    #[arg(value_name = "COMMAND", value_parser = values::text)]
    pub command: Vec<String>,
    /// Write all pages into this folder: copal.1, and one for each command, such as copal-key-add.1
    #[arg(long, value_name = "FOLDER", conflicts_with = "command")]
    pub all: Option<PathBuf>,
}

/// Print the versions of the program and of the repository format
#[derive(Clone, Debug, Args)]
#[command(after_help = "Example:\n  copal version --json")]
pub struct Version {}
