//! Options of `schedule`.

use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};

use super::values;
use crate::profile::is_name;
use crate::schedule::{Means, When};

/// Run a profile at times: by systemd where it runs, else by cron
#[derive(Clone, Debug, Args)]
#[command(after_help = "Example:\n  copal schedule install --at 'daily 03:30'")]
pub struct Schedule {
    #[command(subcommand)]
    pub command: ScheduleCommand,
}

/// What to do with schedules.
#[derive(Clone, Debug, Subcommand)]
pub enum ScheduleCommand {
    Install(ScheduleInstall),
    /// Show what is installed, when it runs next, and how it ended last
    #[command(after_help = "Example:\n  copal schedule list")]
    List,
    Remove(ScheduleRemove),
}

/// What runs a schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum With {
    Systemd,
    Cron,
}

impl From<With> for Means {
    fn from(with: With) -> Means {
        match with {
            With::Systemd => Means::Systemd,
            With::Cron => Means::Cron,
        }
    }
}

/// Whose schedule it is.
#[derive(Clone, Copy, Debug, Default, Args)]
#[group(multiple = false)]
pub struct Whose {
    /// The system's: root runs it, whoever is logged in [root's default]
    #[arg(long)]
    pub system: bool,
    /// Your own [default of all others]
    #[arg(long)]
    pub user: bool,
}

/// Run a profile at times
///
/// Shows what it will write and where, and asks. What is there already is left as it is, or replaced when the times are others; what was
/// changed by hand is kept, unless --force is given.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Examples:\n  copal schedule install\n  copal schedule install laptop --at 'every 4h' --jitter 10m\n  copal schedule install --at 'weekly sun 03:00' --yes"
)]
pub struct ScheduleInstall {
    /// The profile that `copal run` takes
    #[arg(value_name = "PROFILE", default_value = "default", value_parser = profile)]
    pub name: String,
    /// When: hourly, 'every 15m', 'every 4h', 'daily 03:30', 'weekdays 12:00', 'weekly sun 03:00', 'monthly 1 04:00'; by the local clock
    #[arg(long, value_name = "WHEN", default_value_t = When::default())]
    pub at: When,
    /// By how much a run may be late, so that many machines do not come at once; 0 for not at all. 30m, or a third of the time between two runs, when nothing is said. Cron takes a minute below it that stays the same
    #[arg(long, value_name = "DURATION", value_parser = jitter)]
    pub jitter: Option<Duration>,
    #[command(flatten)]
    pub whose: Whose,
    /// By these means, whatever is here
    #[arg(long, value_name = "MEANS")]
    pub with: Option<With>,
    /// Replace also what was changed by hand
    #[arg(short, long)]
    pub force: bool,
    /// Show what would be written, and do nothing
    #[arg(short = 'n', long)]
    pub dry_run: bool,
    /// Ask nothing
    #[arg(short, long)]
    pub yes: bool,
}

/// Run a profile at no times any more
///
/// A run that is at work goes on. With --yes, a profile without a schedule is no failure.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Example:\n  copal schedule remove default")]
pub struct ScheduleRemove {
    /// The profile
    #[arg(value_name = "PROFILE", value_parser = profile)]
    pub name: String,
    #[command(flatten)]
    pub whose: Whose,
    /// Remove also what was changed by hand
    #[arg(short, long)]
    pub force: bool,
    /// Show what would be removed, and do nothing
    #[arg(short = 'n', long)]
    pub dry_run: bool,
    /// Ask nothing
    #[arg(short, long)]
    pub yes: bool,
}

impl ScheduleInstall {
    /// By how much a run may be late, where that leaves every run before the next one.
    pub fn jitter(&self) -> Result<Duration, String> {
        let jitter = self.jitter.unwrap_or(self.at.jitter());
        match jitter < self.at.interval() {
            true => Ok(jitter),
            false => Err(format!("--jitter must be less than the time between two runs of '{}'", self.at)),
        }
    }
}

/// The name of a profile.
fn profile(text: &str) -> Result<String, &'static str> {
    match is_name(text) {
        true => Ok(text.to_owned()),
        false => Err(
            "a profile's name has letters, digits, '-', '_' and '.', and begins with a letter, a digit or '_'",
        ),
    }
}

/// A duration of whole seconds, or 0.
fn jitter(text: &str) -> Result<Duration, String> {
    match text {
        "0" => Ok(Duration::ZERO),
        _ => values::duration(text)
            .map(|duration| Duration::from_secs(duration.as_secs()))
            .map_err(|error| error.to_string()),
    }
}
