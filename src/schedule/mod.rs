//! Runs of `copal run` at times of their own: by systemd where it runs, else by cron. What there is, what is to change, and doing that are
//! apart: a dry run shows the very steps that a run takes.

mod cron;
mod crontab;
mod error;
mod list;
mod marker;
mod next;
mod places;
mod program;
mod steps;
mod systemd;
mod units;
mod when;

use std::time::Duration;

pub use cron::cron_runs;
pub use error::Error;
pub use list::{Entry, Last, Outcome, list};
pub use places::{Means, Places, Scope, choose};
pub use program::{doubt, program, sayable};
pub use steps::{Step, execute};
pub use when::{When, WhenError};

/// What is to run, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    pub profile: String,
    pub when: When,
    /// By how much a run may be late, so that many machines do not come at once.
    pub jitter: Duration,
    pub scope: Scope,
    /// The absolute path of copal.
    pub program: String,
    /// Variables that it needs to find what it finds now.
    pub environment: Vec<(String, String)>,
    /// This machine's name.
    pub host: Vec<u8>,
}

/// What it takes for that job to be done by these means, and by no other of the same scope; nothing when all is as it should be.
///
/// Errors: what was changed by hand, unless it is to give way (`force`); what can not be read.
pub fn install(places: &Places, job: &Job, means: Means, force: bool) -> Result<Vec<Step>, Error> {
    let (mut steps, other) = match means {
        Means::Systemd => (systemd::install(places, job, force)?, Means::Cron),
        Means::Cron => (cron::install(places, job, force)?, Means::Systemd),
    };
    // Else it would run twice. Where the other can not be asked at all, it does not run anything of this user's.
    match remove_by(places, job.scope, &job.profile, other, force) {
        Ok(more) => steps.extend(more),
        Err(Error::Program { .. }) => {}
        Err(error) => return Err(error),
    }
    Ok(steps)
}

/// What it takes for that profile to be run at no times any more; nothing when it is not.
pub fn remove(places: &Places, scope: Scope, profile: &str, force: bool) -> Result<Vec<Step>, Error> {
    let mut steps = remove_by(places, scope, profile, Means::Systemd, force)?;
    steps.extend(remove_by(places, scope, profile, Means::Cron, force)?);
    Ok(steps)
}

fn remove_by(
    places: &Places,
    scope: Scope,
    profile: &str,
    means: Means,
    force: bool,
) -> Result<Vec<Step>, Error> {
    match means {
        Means::Systemd => systemd::remove(places, scope, profile, force),
        Means::Cron => cron::remove(places, scope, profile, force),
    }
}
