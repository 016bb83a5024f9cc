//! Options of what looks for files over all snapshots.

use std::ffi::OsString;

use clap::{Args, ValueEnum};

use super::values;
use crate::model::NodeType;

/// Show every version of a file, newest first
///
/// A version lasts from the first snapshot in which the contents are so to the last one. What is shown as changed is the file's own time.
/// Answers come from a catalogue of paths on this machine, which is filled as far as it lacks snapshots and can be deleted at any time.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Examples:\n  copal versions ~/Documents/report.odt\n  copal versions report.odt --all"
)]
pub struct Versions {
    /// A path as you know it: from here, from the root, or the end of a stored one
    #[arg(value_name = "PATH", value_parser = values::bytes())]
    pub path: OsString,
    /// Changes of times, modes and owners too, not only of contents
    #[arg(short, long)]
    pub all: bool,
    /// Only snapshots of that host [default: this machine's]
    #[arg(short = 'H', long, value_name = "NAME", value_parser = values::bytes())]
    pub host: Option<OsString>,
}

/// Find files by name in all snapshots
///
/// A pattern without *, ? and [ is a piece of a name, or of a path when it holds a slash; else it must match a whole name, or a whole path
/// as in --exclude. Capitals count only when the pattern has some. The dates are those of the first and the last snapshot that hold a path.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Examples:\n  copal find report\n  copal find '*.odt' --deleted --path ~/Documents\n  copal find / --larger 1G"
)]
pub struct Find {
    /// What to look for; several: any of them
    #[arg(value_name = "PATTERN", required = true, value_parser = values::bytes())]
    pub patterns: Vec<OsString>,
    /// Capitals and small letters are the same
    #[arg(short, long, conflicts_with = "case_sensitive")]
    pub ignore_case: bool,
    /// Capitals and small letters differ
    #[arg(short = 's', long)]
    pub case_sensitive: bool,
    /// Only what the newest snapshot does not hold any more
    #[arg(long)]
    pub deleted: bool,
    /// Only files that had at least that size
    #[arg(long, value_name = "SIZE", value_parser = values::size)]
    pub larger: Option<u64>,
    /// Only files that had at most that size
    #[arg(long, value_name = "SIZE", value_parser = values::size)]
    pub smaller: Option<u64>,
    /// Only what was changed at that time or later
    #[arg(long, value_name = "TIME")]
    pub newer: Option<String>,
    /// Only what was changed before that time
    #[arg(long, value_name = "TIME")]
    pub older: Option<String>,
    /// Only files, folders or symlinks
    #[arg(long = "type", value_name = "TYPE", value_enum)]
    pub kind: Option<Kinds>,
    /// Only below that folder
    #[arg(long, value_name = "FOLDER", value_parser = values::bytes())]
    pub path: Option<OsString>,
    /// Only snapshots of that host [default: all]
    #[arg(short = 'H', long, value_name = "NAME", value_parser = values::bytes())]
    pub host: Option<OsString>,
}

/// Types of entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Kinds {
    #[value(alias = "f")]
    File,
    #[value(alias = "d")]
    Dir,
    #[value(alias = "l")]
    Symlink,
}

impl Kinds {
    pub fn node_type(self) -> NodeType {
        match self {
            Kinds::File => NodeType::File,
            Kinds::Dir => NodeType::Directory,
            Kinds::Symlink => NodeType::Symlink,
        }
    }
}
