//! Thinning what a watch made: forgetting by the rules that it was given, now and then. Nothing is removed from storage.

use std::time::{Duration, Instant};

use super::test_duration;
use crate::backup::Outcome;
use crate::cli::arguments::Watch;
use crate::cli::context::Context;
use crate::repository::{Error, Repository};
use crate::retention::{self, Grouping, policy::Policy};
use crate::terminal::size::show_count;

/// The tag of every snapshot that a watch makes.
pub const TAG: &str = "watch";
/// The least time between two thinnings.
const EVERY: Duration = Duration::from_secs(3600);

pub struct Thinner {
    policy: Option<Policy>,
    every: Duration,
    last: Option<Instant>,
}

impl Thinner {
    pub fn new(context: &Context<'_>, wanted: &Watch) -> Thinner {
        let policy = wanted.keep.is_given().then(|| wanted.keep.policy());
        let every = test_duration(context, "COPAL_TEST_WATCH_THIN").unwrap_or(EVERY);
        Thinner { policy, every, last: None }
    }

    /// Forgets what the rules do not keep of this watch's snapshots, when it is time. What fails is told, and tried again.
    pub fn thin(&mut self, context: &Context<'_>, repository: &Repository, outcome: &Outcome) {
        let Some(policy) = &self.policy else { return };
        if self.last.is_some_and(|last| last.elapsed() < self.every) {
            return;
        }
        self.last = Some(Instant::now());
        match thin(repository, policy, outcome) {
            Ok(Thinned::Forgot(0)) => {}
            Ok(Thinned::Forgot(count)) => {
                context.say(&format!("forgot {} by the rules", show_count(count as u64, "snapshot")));
            }
            Ok(Thinned::Not(why)) => context.warn(&format!("nothing was forgotten: {why}")),
            Err(error) => context.warn(&format!("nothing was forgotten: {error}")),
        }
    }
}

enum Thinned {
    Forgot(usize),
    Not(&'static str),
}

fn thin(repository: &Repository, policy: &Policy, outcome: &Outcome) -> Result<Thinned, Error> {
    let mut all = repository.snapshots()?;
    all.notes.check_known()?;
    let now = repository.storage_time()?;
    let made = &outcome.snapshot;
    all.confirmed.retain(|named| {
        named.snapshot.host == made.host
            && named.snapshot.sources == made.sources
            && named.standing.tags.iter().any(|tag| tag == TAG)
    });
    if retention::stored_later(&all.confirmed, now).is_some() {
        return Ok(Thinned::Not("by the clock of the storage snapshots lie in the future"));
    }
    let calendar = Default::default();
    let plan = retention::plan(&all.confirmed, policy, Grouping::default(), &calendar, now);
    if plan.groups.iter().any(|group| group.is_emptied()) {
        return Ok(Thinned::Not("the rules would keep no snapshot of this watch"));
    }
    let done = retention::execute(repository, &mut all.notes, &plan, now)?;
    match done.failed.into_iter().next() {
        Some((_, error)) => Err(error),
        None => Ok(Thinned::Forgot(done.forgotten.len())),
    }
}
