//! `copal dump`: what is written out, how, and where to.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::values;

/// Write a file of a snapshot to standard output, or a folder as an archive
///
/// A folder becomes a tar archive unless --archive says otherwise; what is in SNAP:FOLDER stands at the top of it. When something can not
/// be read whole, the output is cut off there and the run fails.
#[derive(Clone, Debug, Args)]
#[command(
    visible_alias = "cat",
    after_help = "Examples:\n  copal dump latest:Documents/notes.txt | less\n  \
        copal dump --archive tar latest:Documents | ssh other tar -xf -\n  copal dump --at yesterday database.sql --target old.sql"
)]
pub struct Dump {
    /// A path in a snapshot, or a snapshot; with --at the path
    #[arg(value_name = "SNAP[:PATH]", value_parser = values::bytes())]
    pub wanted: OsString,
    /// Write an archive of that kind
    #[arg(short, long, value_name = "KIND", value_enum)]
    pub archive: Option<Archive>,
    /// Write to that file, which must not be there; it is there when all is in it
    #[arg(short, long, value_name = "FILE")]
    pub target: Option<PathBuf>,
    /// Take the path from the newest snapshot not later than that. Example: --at '2026-11-03 14:00'
    #[arg(long, value_name = "TIME", value_parser = values::text)]
    pub at: Option<String>,
    /// Only snapshots of that host [default: this machine's]
    #[arg(short = 'H', long, value_name = "NAME", value_parser = values::bytes())]
    pub host: Option<OsString>,
}

/// Kinds of archives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Archive {
    /// Everything but sockets, birth times and inode flags
    Tar,
    /// Files, folders and symlinks, times in seconds
    Zip,
}
