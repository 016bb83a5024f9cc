//! `copal backup`: sources, what is left out, what is written down with the snapshot.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgGroup, Args, ValueEnum};

use super::values;
use crate::backup::commands::CommandSource;
use crate::backup::exclude::IfPresent;
use crate::compress::Level;
use crate::terminal::escape::escape;

/// Save files and folders as a new snapshot
///
/// Patterns: without a slash they match a name anywhere (`*.o`), with one at the start an absolute path (`/home/*/tmp`), otherwise the end
/// of a path (`target/debug`); `**` spans folders, a slash at the end means folders only, `!` takes back what an earlier pattern left out.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Examples:\n  copal backup ~/Documents --exclude '*.tmp' --exclude-caches\n  \
        copal backup --stdin-from-command --stdin-filename all.sql -- pg_dumpall -U postgres\n  \
        copal backup /etc --command 'all.sql=pg_dumpall -U postgres' --command 'router.txt=ssh router show running-config'",
    group(ArgGroup::new("streamed").args(["stdin", "stdin_from_command"])),
)]
pub struct Backup {
    /// Files and folders to save, under their absolute path; with --stdin-from-command the command and its arguments
    #[arg(
        value_name = "SOURCE",
        required_unless_present_any = ["files_from", "files_from_verbatim", "files_from_raw", "stdin", "command"],
        conflicts_with = "stdin"
    )]
    pub sources: Vec<OsString>,

    /// Leave out what matches. Example: -e '*.o' -e /home/ann/tmp -e '!keep.o'
    #[arg(short, long, value_name = "PATTERN", value_parser = values::bytes(), help_heading = "What is left out")]
    pub exclude: Vec<OsString>,

    /// The same, ignoring the difference between capitals and small letters
    #[arg(long, value_name = "PATTERN", value_parser = values::bytes(), help_heading = "What is left out")]
    pub iexclude: Vec<OsString>,

    /// Read patterns from a file, one a line; blank lines and lines that start with # are skipped
    #[arg(long, value_name = "FILE", help_heading = "What is left out")]
    pub exclude_file: Vec<PathBuf>,

    /// Leave out what nobody misses of a home folder: caches, trash, browsers (their caches), builds, or home for all of these
    #[arg(long, value_name = "WHAT", value_parser = values::preset(), value_delimiter = ',', help_heading = "What is left out")]
    pub exclude_preset: Vec<String>,

    /// Leave out the contents of folders that hold a CACHEDIR.TAG
    #[arg(long, help_heading = "What is left out")]
    pub exclude_caches: bool,

    /// Leave out the contents of folders that hold that file (beginning with CONTENT). Example: --exclude-if-present .nobackup
    #[arg(long, value_name = "NAME[:CONTENT]", value_parser = values::if_present(), help_heading = "What is left out")]
    pub exclude_if_present: Vec<IfPresent>,

    /// Leave out files larger than this. Example: --exclude-larger-than 2G
    #[arg(long, value_name = "SIZE", value_parser = values::size, help_heading = "What is left out")]
    pub exclude_larger_than: Option<u64>,

    /// Leave out what .gitignore files say
    #[arg(long, help_heading = "What is left out")]
    pub git_ignore: bool,

    /// Stay on the file systems of the sources
    #[arg(short = 'x', long, help_heading = "What is left out")]
    pub one_file_system: bool,

    /// Read the sources from snapshots of their file systems, made for the run and removed after it
    #[arg(long, value_name = "KIND", value_enum, default_value_t = FsSnapshot::Off, conflicts_with = "streamed", help_heading = "Other inputs")]
    pub fs_snapshot: FsSnapshot,

    /// Read sources from a file, one path or pattern a line, with # comments (- for standard input)
    #[arg(long, value_name = "FILE", conflicts_with = "streamed", help_heading = "Other inputs")]
    pub files_from: Vec<PathBuf>,

    /// Read sources from a file, one path a line, taken as it is
    #[arg(long, value_name = "FILE", conflicts_with = "streamed", help_heading = "Other inputs")]
    pub files_from_verbatim: Vec<PathBuf>,

    /// Read sources from a file, each ended by a NUL byte. Example: find . -newer x -print0 | copal backup --files-from-raw -
    #[arg(long, value_name = "FILE", conflicts_with = "streamed", help_heading = "Other inputs")]
    pub files_from_raw: Vec<PathBuf>,

    /// Save standard input as one file
    #[arg(long, help_heading = "Other inputs")]
    pub stdin: bool,

    /// The name of that file [default: stdin]
    #[arg(long, value_name = "NAME", value_parser = values::bytes(), requires = "streamed", help_heading = "Other inputs")]
    pub stdin_filename: Option<OsString>,

    /// Run a command and save what it prints as one file; no snapshot is kept when the command fails
    #[arg(long, requires = "sources", help_heading = "Other inputs")]
    pub stdin_from_command: bool,

    /// Run COMMAND by sh and save what it prints as the file /.commands/NAME, beside the sources; may be repeated
    #[arg(long, value_name = "NAME=COMMAND", value_parser = values::command(), conflicts_with = "streamed", help_heading = "Other inputs")]
    pub command: Vec<CommandSource>,

    /// How long each of these commands may take. Example: --command-time-limit 1h
    #[arg(long, value_name = "DURATION", value_parser = values::duration, help_heading = "Other inputs")]
    pub command_time_limit: Option<Duration>,

    /// Label the snapshot; may be repeated or separated by commas
    #[arg(long, value_name = "TAG", value_delimiter = ',', value_parser = values::text)]
    pub tag: Vec<String>,

    /// The host name to write down instead of this machine's
    #[arg(short = 'H', long, value_name = "NAME", value_parser = values::bytes())]
    pub host: Option<OsString>,

    /// The time to write down instead of the present. Example: --time '2026-11-01 14:00'
    #[arg(long, value_name = "TIME", value_parser = values::text)]
    pub time: Option<String>,

    /// Compare with that snapshot [default: this host's latest with the same sources]
    #[arg(long, value_name = "SNAP", value_parser = values::text)]
    pub parent: Option<String>,

    /// Read every file again, also those that look unchanged
    #[arg(short, long, conflicts_with = "parent")]
    pub force: bool,

    /// Only say what would be saved
    #[arg(short = 'n', long)]
    pub dry_run: bool,

    /// Make no snapshot when nothing has changed
    #[arg(long)]
    pub skip_if_unchanged: bool,

    /// Read that many files at once
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub read_concurrency: Option<u16>,

    /// How hard to compress: off, fast, auto, max, or a zstd level from 1 to 22
    #[arg(long, value_name = "LEVEL", default_value = "auto", value_parser = values::compression)]
    pub compression: Level,
}

/// What makes snapshots of file systems.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum FsSnapshot {
    /// Whatever the file system of a source has; without one it is read as it is, and that is said
    Auto,
    /// Subvolumes of btrfs, or fail
    Btrfs,
    /// Logical volumes, or fail
    Lvm,
    /// Datasets of ZFS, or fail
    Zfs,
    /// Read everything as it is
    Off,
}

impl Backup {
    /// Refuses what the parser cannot see to be wrong.
    pub fn check(&self) -> Result<(), String> {
        let sources = if self.stdin_from_command { &self.sources[..1] } else { &self.sources[..] };
        if sources.iter().any(|source| source.is_empty()) {
            return Err("a source must not be empty".into());
        }
        let mut names = std::collections::HashSet::new();
        if let Some(twice) = self.command.iter().find(|command| !names.insert(&command.name)) {
            return Err(format!("two commands have the name {}", escape(&twice.name)));
        }
        Ok(())
    }

    /// The name of the file that a stream is saved as.
    pub fn stream_name(&self) -> &std::ffi::OsStr {
        self.stdin_filename.as_deref().unwrap_or("stdin".as_ref())
    }
}
