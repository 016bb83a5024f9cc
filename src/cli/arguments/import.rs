//! `copal import`: from which program, from where, and which snapshots.

use std::ffi::OsString;

use clap::{Args, Subcommand};

use super::Choice;
use super::values;
use crate::compress::Level;

/// Import snapshots from restic or Borg
///
/// The other program, which must be installed, reads its repository and writes each snapshot as an archive, which is stored as a backup would:
/// what is there already is not stored again. Snapshots keep their times, hosts, users, tags and sources, and say of which one they were
/// made, so that a run that was cut off, or the next one, goes on with what is missing. Nothing is written to the other repository but what
/// that program itself writes there when it reads (locks).
///
/// Every entry is compared with the other program's list of them. A snapshot of which something fails is not kept, and named with that
/// program's last words; the others are imported.
///
/// Ends with 1 when nothing, and with 3 when not everything could be imported.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Examples:\n  RESTIC_PASSWORD_FILE=old.txt copal import restic --from-repo /media/disk/restic\n  BORG_PASSPHRASE=... copal import borg --from-repo ssh://box/./borg --host web1"
)]
pub struct Import {
    #[command(subcommand)]
    pub command: ImportCommand,
}

/// From which program.
#[derive(Clone, Debug, Subcommand)]
pub enum ImportCommand {
    Restic(ImportRestic),
    Borg(ImportBorg),
}

/// Import snapshots from a repository of restic
///
/// restic takes its password, and what opens its storage, from its own variables (RESTIC_PASSWORD_FILE, RESTIC_PASSWORD_COMMAND,
/// RESTIC_PASSWORD, AWS_ACCESS_KEY_ID ...). Its archives have no pipes, sockets and devices: pipes and sockets are made from its list, and
/// devices become entries that could not be read (3). Other names of a file become files of their own; their content is stored once.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Example:\n  RESTIC_PASSWORD_FILE=old.txt copal import restic --from-repo /media/disk/restic --tag weekly"
)]
pub struct ImportRestic {
    /// Only these snapshots of restic: the beginnings of their ids, or latest [default: all]
    #[arg(value_name = "SNAP", value_parser = values::text)]
    pub snapshots: Vec<String>,
    #[command(flatten)]
    pub choice: Choice,
    #[command(flatten)]
    pub how: ImportHow,
}

/// Import archives from a repository of Borg 1
///
/// Borg takes its passphrase from its own variables (BORG_PASSPHRASE, BORG_PASSCOMMAND, BORG_RSH ...); what it would ask, it must be told by
/// these too, such as BORG_RELOCATED_REPO_ACCESS_IS_OK. Sources are the highest paths in an archive.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Example:\n  BORG_PASSCOMMAND='cat old.txt' copal import borg --from-repo ssh://box/./borg web1-2026-11-01"
)]
pub struct ImportBorg {
    /// Only these archives: their names, the beginnings of their ids, or latest [default: all]
    #[arg(value_name = "ARCHIVE", value_parser = values::text)]
    pub snapshots: Vec<String>,
    /// The folder in which the archives' paths begin: for archives of relative paths the one that borg was run in
    #[arg(long, value_name = "FOLDER", default_value = "/", value_parser = values::bytes())]
    pub below: OsString,
    #[command(flatten)]
    pub how: ImportHow,
}

/// What importing from any program has in common.
#[derive(Clone, Debug, Args)]
pub struct ImportHow {
    /// The repository to import from, as the other program calls it [default: that program's own variable]
    #[arg(long, value_name = "REPOSITORY", value_parser = values::bytes())]
    pub from_repo: Option<OsString>,
    /// The other program, when it is not found by its name
    #[arg(long, value_name = "PATH", value_parser = values::bytes())]
    pub program: Option<OsString>,
    /// An option for each call of the other program, such as --no-lock; several times: all of them
    #[arg(long, value_name = "OPTION", value_parser = values::bytes(), allow_hyphen_values = true)]
    pub program_option: Vec<OsString>,
    /// Only snapshots of that host; several times: of any of them
    #[arg(short = 'H', long, value_name = "NAME", value_parser = values::bytes())]
    pub host: Vec<OsString>,
    /// Say what would be imported, and read nothing of it
    #[arg(short = 'n', long)]
    pub dry_run: bool,
    /// How hard to compress: off, fast, auto, max, or a zstd level from 1 to 22
    #[arg(long, value_name = "LEVEL", default_value = "auto", value_parser = values::compression)]
    pub compression: Level,
}
