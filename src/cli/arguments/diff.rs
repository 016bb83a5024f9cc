//! `copal diff`: what is compared with what, and what is shown of it.

use std::ffi::OsString;

use clap::Args;

use super::values;

/// Show what differs between two snapshots, or between a snapshot and a folder
///
/// BEFORE is a snapshot or a path in one. AFTER is another, or a folder that is there now: what has a slash before any colon, `.` and
/// `..` are folders. A side without a path takes the other's.
///
/// Signs: `+` added, `-` removed, `M` other content, `T` another type, `U` other metadata only, `R` renamed (a folder with all in it), `?`
/// unknown. Ends with 0 whether there are differences or not.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Examples:\n  copal diff latest~1 latest\n  copal diff latest ~/Documents\n  \
    copal diff --patch latest~1:notes.txt latest:notes.txt\n  copal diff --stat 'a week ago' latest")]
pub struct Diff {
    /// The snapshot before, or a path in it
    #[arg(value_name = "BEFORE", value_parser = values::bytes())]
    pub before: OsString,
    /// The snapshot after, a path in it, or a folder that is there now
    #[arg(value_name = "AFTER", value_parser = values::bytes())]
    pub after: OsString,
    /// Only totals, and one line for each folder at the top
    #[arg(long, conflicts_with = "patch")]
    pub stat: bool,
    /// The lines that differ, of one text file
    #[arg(long)]
    pub patch: bool,
    /// Also folders of which only the times differ
    #[arg(long)]
    pub metadata: bool,
    /// Read every file of the folder, also where size and time are what the snapshot says
    #[arg(long)]
    pub content: bool,
    /// Only snapshots of that host [default: this machine's]
    #[arg(short = 'H', long, value_name = "NAME", value_parser = values::bytes())]
    pub host: Option<OsString>,
}
