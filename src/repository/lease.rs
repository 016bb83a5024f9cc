//! Says in the repository that somebody reads, while that is so: a pruner beside it then only marks what it would remove. A mount may stay
//! for weeks, and must not keep a pruner from its work for as long: nobody is said to read when nothing was looked at for a while, and what
//! is read for very long is begun anew.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::Receiver;

use super::Repository;
use super::session::Session;
use crate::format::session::Role;
use crate::model::clock::Clock;

/// For how long something counts as looked at.
const IDLE: Duration = Duration::from_secs(15 * 60);
/// After which a session ends and another one begins.
const LONG: Duration = Duration::from_secs(6 * 3600);
/// How often it is tried where storage does not take it.
const AGAIN: Duration = Duration::from_secs(600);
/// How often it is looked whether it is time for anything.
const LOOK: Duration = Duration::from_secs(1);

/// When something was last looked at.
pub struct Use {
    began: Instant,
    /// Seconds after that.
    last: AtomicU64,
}

impl Use {
    pub fn new(began: Instant) -> Use {
        Use { began, last: AtomicU64::new(0) }
    }

    /// Something is looked at.
    pub fn now(&self) {
        self.last.store(self.began.elapsed().as_secs(), Ordering::Relaxed);
    }

    fn idle(&self) -> Duration {
        let last = Duration::from_secs(self.last.load(Ordering::Relaxed));
        self.began.elapsed().saturating_sub(last)
    }
}

/// What is to be done about the session.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    Begin,
    Keep,
    End,
    Nothing,
}

/// `age` is that of the session there is, `tried` how long ago none could be begun.
fn step(idle: Duration, age: Option<Duration>, tried: Option<Duration>) -> Step {
    match age {
        Some(age) if idle >= IDLE || age >= LONG => Step::End,
        Some(_) => Step::Keep,
        None if idle >= IDLE || tried.is_some_and(|tried| tried < AGAIN) => Step::Nothing,
        None => Step::Begin,
    }
}

/// Does that until `ended` is closed.
pub fn keep(repository: &Repository, clock: &dyn Clock, host: &[u8], used: &Use, ended: &Receiver<()>) {
    let client = repository.client().unwrap_or_default();
    let mut session: Option<(Session<'_>, Instant)> = None;
    let mut tried: Option<Instant> = None;
    loop {
        let age = session.as_ref().map(|(_, begun)| begun.elapsed());
        match step(used.idle(), age, tried.map(|tried| tried.elapsed())) {
            Step::Begin => {
                let begun = Session::begin_as(Role::Reader, repository, clock, client, host, Vec::new());
                tried = begun.is_err().then(Instant::now);
                session = begun.ok().map(|session| (session, Instant::now()));
            }
            Step::Keep => {
                // One that ran out is told to nobody: what was removed meanwhile is said by who reads it.
                if session.as_ref().is_some_and(|(session, _)| session.keep_alive().is_err()) {
                    session = None;
                }
            }
            Step::End => session = None,
            Step::Nothing => {}
        }
        if clock.wait(ended, LOOK) {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn somebody_is_said_to_read_only_while_that_is_so_and_never_for_days() {
        let minutes = |count: u64| Duration::from_secs(60 * count);
        let none = Duration::ZERO;
        assert_eq!(step(none, None, None), Step::Begin);
        assert_eq!(step(minutes(1), Some(minutes(100)), None), Step::Keep);
        assert_eq!(step(minutes(15), Some(minutes(100)), None), Step::End);
        assert_eq!(step(minutes(15), None, None), Step::Nothing);
        assert_eq!(step(none, Some(minutes(6 * 60)), None), Step::End);
        assert_eq!(step(none, None, Some(minutes(9))), Step::Nothing);
        assert_eq!(step(none, None, Some(minutes(10))), Step::Begin);
    }

    #[test]
    fn use_is_remembered() {
        let Some(began) = Instant::now().checked_sub(Duration::from_secs(3600)) else { return };
        let used = Use::new(began);
        assert!(used.idle() >= Duration::from_secs(3599));
        used.now();
        assert!(used.idle() < Duration::from_secs(60));
    }
}
