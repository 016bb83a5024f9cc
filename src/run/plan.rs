//! What a run does, in order, and what has time. Pure.

use std::time::Duration;

use super::state::Target;

/// One thing that a run does to a repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    Backup,
    Forget,
    Prune,
    Check,
    Drill,
}

impl Step {
    /// The name of its command.
    pub fn name(self) -> &'static str {
        match self {
            Step::Backup => "backup",
            Step::Forget => "forget",
            Step::Prune => "prune",
            Step::Check => "check",
            Step::Drill => "drill",
        }
    }
}

/// What the profile wants of a repository besides backups.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// There are rules for what is kept.
    pub forget: bool,
    /// How often, when at all; nothing at all is each time.
    pub prune: Option<Duration>,
    pub check: Option<Duration>,
    pub drill: Option<Duration>,
}

/// Whether a step is done now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    Do,
    /// Its time comes in so many seconds.
    Later(u64),
    /// A guard holds what is there, since then (seconds since 1970).
    Held(i64),
}

/// What a person asked for in place of the usual.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Everything is due.
    pub all: bool,
}

/// The most that a step may come too early: a run that began a little sooner than the last one does not miss its day.
const SLACK_MOST: u64 = 6 * 3600;

/// Whether what was last done at `last` is to be done again at `now`.
fn due(every: Duration, last: Option<i64>, now: i64, limits: &Limits) -> Decision {
    // A time that lies ahead is a clock that was set back: do it.
    let Some(last) = last.filter(|last| *last <= now && !limits.all) else { return Decision::Do };
    let every = every.as_secs();
    let wait = every - (every / 8).min(SLACK_MOST);
    let passed = (now - last) as u64;
    if passed >= wait { Decision::Do } else { Decision::Later(wait - passed) }
}

/// The steps for one repository. What takes something away waits while a guard holds.
pub fn plan(wanted: &Wanted, of: &Target, now: i64, limits: &Limits) -> Vec<(Step, Decision)> {
    let mut steps = vec![(Step::Backup, Decision::Do)];
    let held = of.held.as_ref().map(|held| Decision::Held(held.since));
    if wanted.forget {
        steps.push((Step::Forget, held.clone().unwrap_or(Decision::Do)));
    }
    if let Some(every) = wanted.prune {
        steps.push((Step::Prune, held.unwrap_or_else(|| due(every, of.pruned, now, limits))));
    }
    for (step, every, last) in
        [(Step::Check, wanted.check, of.checked), (Step::Drill, wanted.drill, of.drilled)]
    {
        if let Some(every) = every {
            steps.push((step, due(every, last, now, limits)));
        }
    }
    steps
}

#[cfg(test)]
mod tests {
    use super::super::state::Held;
    use super::*;

    const DAY: u64 = 86_400;

    fn wanted() -> Wanted {
        Wanted {
            forget: true,
            prune: Some(Duration::from_secs(7 * DAY)),
            check: Some(Duration::from_secs(DAY)),
            drill: None,
        }
    }

    #[test]
    fn the_first_run_does_everything_in_order() {
        let steps = plan(&wanted(), &Target::default(), 1000, &Limits::default());
        let names: Vec<&str> = steps.iter().map(|(step, _)| step.name()).collect();
        assert_eq!(names, ["backup", "forget", "prune", "check"]);
        assert!(steps.iter().all(|(_, decision)| *decision == Decision::Do));
    }

    #[test]
    fn nightly_runs_prune_each_seventh_night_though_they_begin_a_little_sooner_or_later() {
        let (mut of, mut nights) = (Target::default(), Vec::new());
        for night in 0..29 {
            // Between ten minutes early and ten minutes late.
            let now = 1_700_000_000 + night * DAY as i64 + [600, -600, 0, 60, -300][night as usize % 5];
            for (step, decision) in plan(&wanted(), &of, now, &Limits::default()) {
                match (step, decision) {
                    (Step::Prune, Decision::Do) => {
                        of.pruned = Some(now);
                        nights.push(night);
                    }
                    (Step::Check, decision) => {
                        assert_eq!(decision, Decision::Do, "night {night}");
                        of.checked = Some(now);
                    }
                    _ => {}
                }
            }
        }
        assert_eq!(nights, [0, 7, 14, 21, 28]);
    }

    #[test]
    fn what_is_not_due_says_when_and_can_be_asked_for() {
        let of = Target { pruned: Some(1_000_000), checked: Some(2_000_000), ..Target::default() };
        let steps = plan(&wanted(), &of, 1_000_100, &Limits::default());
        assert_eq!(steps[2], (Step::Prune, Decision::Later(7 * DAY - SLACK_MOST - 100)));
        // The clock was set back.
        assert_eq!(steps[3], (Step::Check, Decision::Do));
        let all = plan(&wanted(), &of, 1_000_100, &Limits { all: true });
        assert!(all.iter().all(|(_, decision)| *decision == Decision::Do));
    }

    #[test]
    fn while_a_guard_holds_nothing_is_taken_away_and_all_else_goes_on() {
        let held = Held { since: 5, ..Held::default() };
        let of = Target { held: Some(held), ..Target::default() };
        let steps = plan(&wanted(), &of, 1000, &Limits { all: true });
        let held: Vec<&str> = steps
            .iter()
            .filter(|(_, decision)| *decision == Decision::Held(5))
            .map(|(step, _)| step.name())
            .collect();
        assert_eq!(held, ["forget", "prune"]);
        assert_eq!(steps[3], (Step::Check, Decision::Do));
    }
}
