//! The command line as it is typed: one tree of options, read once and completed from the environment.

mod backup;
mod browse;
mod copy;
mod diff;
mod drill;
mod dump;
mod find;
mod global;
mod import;
mod key;
mod look;
mod mount;
mod parity;
mod profile;
mod prune;
mod repair;
mod restore;
mod retention;
mod run;
mod schedule;
mod serve;
mod values;
mod watch;
mod web;

use std::ffi::OsString;

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser, Subcommand};

use super::environment::Lookup;

pub use backup::{Backup, FsSnapshot};
pub use browse::Browse;
pub use copy::Copy;
pub use diff::Diff;
pub use drill::Drill;
pub use dump::{Archive, Dump};
pub use find::{Find, Kinds, Versions};
pub use global::Global;
pub use import::{Import, ImportBorg, ImportCommand, ImportHow, ImportRestic};
pub use key::{Init, Key, KeyAdd, KeyCommand, KeyExport, KeyPassword, KeyRemove, NewSecret};
pub use look::{Check, Completions, Doctor, Ls, Man, Snapshots, Stats, Version};
pub use mount::Mount;
pub use parity::{Parity, ParityAdd, ParityCommand, ParityRepair};
pub use profile::{Profile, ProfileCheck, ProfileCommand, ProfileNew, ProfileShow};
pub use prune::Prune;
pub use repair::{
    Repair, RepairCommand, RepairHow, RepairIndex, RepairPacks, RepairRecords, RepairSnapshots,
};
pub use restore::{Overwrite, Restore};
pub use retention::{Choice, Forget, Keep, Protect, Tag, Undelete, Unprotect, flatten};
pub use run::{Run, Status};
pub use schedule::{Schedule, ScheduleCommand, ScheduleInstall, ScheduleRemove, Whose};
pub use serve::Serve;
pub use values::Subset;
pub use watch::{OnBattery, Watch};
pub use web::Web;

/// Deduplicating, encrypted backups that give back exactly what was there.
///
/// SNAP names a snapshot: the beginning of its id, `latest`, `latest~2` (two before it), or a time such as 2026-11-01 or "3 days ago"
/// (the newest snapshot not later than that). SNAP:PATH names a path in it.
#[derive(Clone, Debug, Parser)]
#[command(
    name = "copal",
    version,
    subcommand_required = true,
    arg_required_else_help = true,
    infer_long_args = false,
    after_help = "Examples:\n  copal backup ~/Documents\n  copal snapshots\n  copal restore latest:Documents/report.odt --target .\n\n\
        Exit codes: 0 done, 1 failed, 2 wrong use, 3 done but incomplete, 5 repository damaged,\n\
        6 refused by a guard, 10 no repository, 11 busy, 12 wrong password or key, 13 unknown format,\n\
        130 and 143 interrupted."
)]
pub struct Arguments {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    Init(Init),
    Backup(Box<Backup>),
    Snapshots(Snapshots),
    Ls(Ls),
    Find(Box<Find>),
    Versions(Versions),
    Diff(Diff),
    Dump(Dump),
    Restore(Restore),
    Copy(Box<Copy>),
    Import(Box<Import>),
    Mount(Mount),
    Browse(Browse),
    Watch(Box<Watch>),
    Web(Web),
    Serve(Serve),
    Forget(Box<Forget>),
    Prune(Prune),
    Undelete(Undelete),
    Protect(Protect),
    Unprotect(Unprotect),
    Tag(Tag),
    Check(Check),
    Drill(Drill),
    Parity(Parity),
    Repair(Repair),
    Doctor(Doctor),
    Run(Run),
    Status(Status),
    Profile(Profile),
    Schedule(Schedule),
    Key(Key),
    Stats(Stats),
    Completions(Completions),
    Man(Man),
    Version(Version),
}

impl Arguments {
    /// Reads what was typed (the program's name first) and completes it from the environment: options count before variables.
    pub fn read(
        typed: impl IntoIterator<Item = OsString>,
        environment: Lookup<'_>,
    ) -> Result<Arguments, clap::Error> {
        let mut arguments = Arguments::try_parse_from(typed)?;
        let outcome = match &mut arguments.command {
            Command::Backup(backup) => backup.check(),
            Command::Watch(watch) => watch.check(),
            Command::Forget(forget) => forget.check(),
            Command::Tag(tag) => tag.check(),
            Command::Copy(copy) => copy.complete(environment),
            _ => Ok(()),
        };
        outcome
            .and_then(|()| arguments.global.complete(environment))
            .map_err(|message| Arguments::command().error(ErrorKind::ValueValidation, message))?;
        Ok(arguments)
    }
}

/// Whether `--json` was typed, for errors in what was typed itself.
pub fn wants_json(typed: &[OsString]) -> bool {
    typed.iter().take_while(|argument| *argument != "--").any(|argument| argument == "--json")
}

#[cfg(test)]
mod tests;
