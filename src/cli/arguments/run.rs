//! `copal run` and `copal status`.

use std::path::PathBuf;

use clap::Args;

use super::values;

/// Do all that a profile says: back up, forget, prune, check and drill when due, and tell how it went
///
/// In this order, for each of its repositories. Each step is told in a line; what went wrong, and who is told about it, is up to the
/// profile's hooks and notices. Two runs of a profile never overlap (exit 11). Where a guard finds something odd, such as most files
/// changed at once, the backup is kept, nothing is forgotten or pruned any more, and the end is 6, until --accept.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Examples:\n  copal run home\n  copal run home --dry-run\n  copal run home --accept mass-change"
)]
pub struct Run {
    /// Which [default: the one of --profile, or default]
    #[arg(value_name = "PROFILE", value_parser = values::text)]
    pub name: Option<String>,
    /// Only say what would be done, and what a backup would save
    #[arg(short = 'n', long)]
    pub dry_run: bool,
    /// Do also what is not due yet
    #[arg(long)]
    pub all: bool,
    /// Only that repository of the profile; several times: these. The profile's own is called main
    #[arg(long, value_name = "NAME", value_parser = values::text)]
    pub target: Vec<String>,
    /// Somebody looked at what a guard found, and it is as it should be: pass over alarms of that kind this time, and go on as before
    #[arg(long, value_name = "CODE", value_parser = values::alarm())]
    pub accept: Vec<String>,
    /// Write what is said to a file too, with the time of each line
    #[arg(long, value_name = "FILE")]
    pub log_file: Option<PathBuf>,
}

/// Say how the last run of each profile went, and when the next one is
///
/// The end is 0 when all is well, 3 when something needs a look, 1 when a profile did not succeed for too long or not at all.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Example, for a monitor:\n  copal status --max-age 26h --json")]
pub struct Status {
    /// Only these profiles [default: all]
    #[arg(value_name = "PROFILE", value_parser = values::text)]
    pub names: Vec<String>,
    /// How old the last success of each may be
    #[arg(long, value_name = "DURATION", value_parser = values::duration)]
    pub max_age: Option<std::time::Duration>,
}
