//! `copal watch`: what `backup` takes, when it is done, and what is kept of it.

use std::time::Duration;

use clap::{Args, ValueEnum};

use super::backup::FsSnapshot;
use super::{Backup, Keep, values};

/// How many times `--every` a change waits at most.
const LATEST_EVERY: u32 = 5;
/// How many times `--quiet-period` it waits at least that bound, so that `--every 0s` leaves the quiet period its sense.
const LATEST_QUIET: u32 = 10;

/// What to do on battery.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum OnBattery {
    Go,
    Pause,
}

/// Back up what changes, soon after it changed, until it is stopped
///
/// Begins with a backup of everything, then saves what changes in SOURCE once nothing has changed for a while. Nothing changed: no
/// snapshot. All options of `backup` hold but for those that say what one snapshot is to be. While the repository can not be reached it
/// waits; what changed meanwhile is saved when it is back. What changes where the system does not tell it (network file systems, files that
/// are written through a mapping and stay open) is found by the walk of everything.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Examples:\n  copal watch ~/Documents\n  copal watch ~ --exclude-caches --quiet-period 1m --every 10m --keep-hourly 24 --keep-daily 7 --on-battery pause",
    mut_arg("keep_hourly", |argument| argument.short(None)),
    mut_arg("stdin", |argument| argument.hide(true)),
    mut_arg("stdin_filename", |argument| argument.hide(true)),
    mut_arg("stdin_from_command", |argument| argument.hide(true)),
    mut_arg("command", |argument| argument.hide(true)),
    mut_arg("command_time_limit", |argument| argument.hide(true)),
    mut_arg("fs_snapshot", |argument| argument.hide(true)),
    mut_arg("time", |argument| argument.hide(true)),
    mut_arg("parent", |argument| argument.hide(true)),
    mut_arg("force", |argument| argument.hide(true)),
    mut_arg("dry_run", |argument| argument.hide(true)),
    mut_arg("skip_if_unchanged", |argument| argument.hide(true)),
)]
pub struct Watch {
    /// Back up when nothing has changed for that long (--quiet alone means that nothing is printed, as with every command)
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = values::duration, help_heading = "When")]
    pub quiet_period: Duration,
    /// At most one backup in that time
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = values::duration, help_heading = "When")]
    pub every: Duration,
    /// A change waits no longer than that, also when it never becomes quiet [default: the longer of 5 times --every and 10 times --quiet-period]
    #[arg(long, value_name = "DURATION", value_parser = values::duration, help_heading = "When")]
    pub latest: Option<Duration>,
    /// Walk everything that often, for what the system did not tell
    #[arg(long, value_name = "DURATION", default_value = "6h", value_parser = values::duration, help_heading = "When")]
    pub walk_every: Duration,
    /// Whether to go on without power from outside, or wait for it
    #[arg(long, value_name = "WHAT", default_value = "go", help_heading = "When")]
    pub on_battery: OnBattery,
    #[command(flatten)]
    pub backup: Backup,
    #[command(flatten)]
    pub keep: Keep,
}

impl Watch {
    /// How long a change waits at most.
    pub fn latest(&self) -> Duration {
        let bound = self.every.saturating_mul(LATEST_EVERY);
        self.latest.unwrap_or(bound.max(self.quiet_period.saturating_mul(LATEST_QUIET)))
    }

    /// Refuses what the parser cannot see to be wrong.
    pub fn check(&self) -> Result<(), String> {
        let Backup { stdin, stdin_from_command, command, fs_snapshot, time, parent, force, dry_run, .. } =
            &self.backup;
        for (given, option) in [
            (*stdin, "--stdin"),
            (*stdin_from_command, "--stdin-from-command"),
            (!command.is_empty(), "--command"),
            (*fs_snapshot != FsSnapshot::Off, "--fs-snapshot"),
            (time.is_some(), "--time"),
            (parent.is_some(), "--parent"),
            (*force, "--force"),
            (*dry_run, "--dry-run"),
        ] {
            if given {
                return Err(format!("{option} is for a single backup: use it with copal backup"));
            }
        }
        if self.walk_every.is_zero() {
            return Err("--walk-every must not be 0".into());
        }
        if self.keep.is_given() && self.keep.policy().is_empty() {
            return Err("these rules keep nothing at all".into());
        }
        self.backup.check()
    }
}
