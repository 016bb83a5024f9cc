//! When to back up. Pure: it is told what happens and at what time, and says what to do and until when to wait. Times are those of a clock that
//! is never set, counted from any moment.

use std::time::Duration;

/// A moment.
pub type At = Duration;

/// The pause after a first failure; each next one is twice as long.
pub const RETRY_FIRST: Duration = Duration::from_secs(5);
/// The longest pause.
pub const RETRY_MOST: Duration = Duration::from_secs(300);
/// How often it is looked whether there is power again, while a backup waits for that.
pub const LOOK: Duration = Duration::from_secs(60);

/// What was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Periods {
    /// Nothing changed for that long.
    pub quiet: Duration,
    /// At most one backup in that time.
    pub every: Duration,
    /// A change waits no longer than that, however busy it is.
    pub latest: Duration,
    /// Everything is walked that often.
    pub walk: Duration,
    /// The first pause, and how often power is looked for.
    pub retry: Duration,
    pub look: Duration,
}

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Back up; everything, or only what changed.
    BackUp { walk: bool },
    /// Wait for changes, and until then at the most.
    Wait { until: At },
}

/// What happened so far.
#[derive(Clone, Debug)]
pub struct Schedule {
    periods: Periods,
    /// The first and the last change that no backup has.
    changed: Option<(At, At)>,
    /// When the last backup began.
    began: Option<At>,
    /// When the last one began that walked everything.
    walked: Option<At>,
    /// Nothing is done before.
    not_before: At,
    /// A backup was due and could not be made.
    owed: bool,
    failures: u32,
}

impl Schedule {
    pub fn new(periods: Periods) -> Schedule {
        Schedule {
            periods,
            changed: None,
            began: None,
            walked: None,
            not_before: At::ZERO,
            owed: false,
            failures: 0,
        }
    }

    /// From now on everything is walked that often.
    pub fn set_walk(&mut self, walk: Duration) {
        self.periods.walk = walk;
    }

    /// Changes that no backup has: the first and the last.
    pub fn changed(&mut self, first: At, last: At) {
        let (first_known, last_known) = self.changed.unwrap_or((first, last));
        self.changed = Some((first_known.min(first), last_known.max(last)));
    }

    /// What to do now.
    pub fn next(&self, now: At) -> Step {
        let Periods { quiet, every, latest, walk, .. } = self.periods;
        let walk_at = self.walked.map_or(At::ZERO, |walked| walked.saturating_add(walk));
        let change_at = self.changed.map(|(first, last)| {
            let settled = last.saturating_add(quiet).min(first.saturating_add(latest));
            settled.max(self.began.map_or(At::ZERO, |began| began.saturating_add(every)))
        });
        let due = if self.owed { At::ZERO } else { change_at.map_or(walk_at, |change| change.min(walk_at)) };
        let due = due.max(self.not_before);
        match due <= now {
            true => Step::BackUp { walk: walk_at <= now },
            false => Step::Wait { until: due },
        }
    }

    /// A backup begins: it takes what changed so far.
    pub fn begins(&mut self, now: At) {
        self.changed = None;
        self.began = Some(now);
    }

    /// It is done; `walked` when it went through everything.
    pub fn done(&mut self, walked: bool) {
        self.failures = 0;
        self.owed = false;
        if walked {
            self.walked = self.began;
        }
    }

    /// It could not be made, for a reason that may pass; how long the pause is.
    pub fn failed(&mut self, now: At) -> Duration {
        let pause = self.periods.retry.saturating_mul(1 << self.failures.min(16)).min(RETRY_MOST);
        self.failures += 1;
        self.wait_for(now, pause);
        pause
    }

    /// A backup is due and must wait for power.
    pub fn no_power(&mut self, now: At) {
        self.wait_for(now, self.periods.look);
    }

    fn wait_for(&mut self, now: At, pause: Duration) {
        self.owed = true;
        self.not_before = now.saturating_add(pause);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// After the first walk, at 0.
    fn walked() -> Schedule {
        let mut schedule = Schedule::new(Periods {
            quiet: s(30),
            every: s(300),
            latest: s(1500),
            walk: s(21_600),
            retry: RETRY_FIRST,
            look: LOOK,
        });
        assert_eq!(schedule.next(s(0)), Step::BackUp { walk: true }, "what is there at the start is walked");
        schedule.begins(s(0));
        schedule.done(true);
        schedule
    }

    fn waits(seconds: u64) -> Step {
        Step::Wait { until: s(seconds) }
    }

    #[test]
    fn nothing_changed_waits_for_the_next_walk() {
        let schedule = walked();
        assert_eq!(schedule.next(s(1)), waits(21_600));
        assert_eq!(schedule.next(s(21_600)), Step::BackUp { walk: true });
    }

    #[test]
    fn a_change_is_saved_when_it_is_quiet() {
        let mut schedule = walked();
        schedule.changed(s(1000), s(1000));
        assert_eq!(schedule.next(s(1000)), waits(1030));
        schedule.changed(s(1020), s(1020));
        assert_eq!(schedule.next(s(1030)), waits(1050));
        assert_eq!(schedule.next(s(1050)), Step::BackUp { walk: false });
        schedule.begins(s(1050));
        schedule.done(false);
        assert_eq!(schedule.next(s(1051)), waits(21_600));
    }

    #[test]
    fn there_is_one_backup_in_each_period_at_the_most() {
        let mut schedule = walked();
        schedule.changed(s(10), s(10));
        assert_eq!(schedule.next(s(40)), waits(300));
        assert_eq!(schedule.next(s(300)), Step::BackUp { walk: false });
    }

    #[test]
    fn what_never_becomes_quiet_is_saved_all_the_same() {
        let mut schedule = walked();
        for second in 1000..2499 {
            schedule.changed(s(second), s(second));
            assert!(matches!(schedule.next(s(second)), Step::Wait { .. }), "{second}");
        }
        schedule.changed(s(2499), s(2499));
        assert_eq!(schedule.next(s(2499)), waits(2500));
        assert_eq!(schedule.next(s(2500)), Step::BackUp { walk: false });
    }

    #[test]
    fn changes_during_a_backup_are_of_the_next_one() {
        let mut schedule = walked();
        schedule.changed(s(1000), s(1000));
        schedule.begins(s(1030));
        schedule.changed(s(1031), s(1032));
        schedule.done(false);
        assert_eq!(schedule.next(s(1100)), waits(1330));
    }

    #[test]
    fn pauses_grow_up_to_a_bound_and_what_is_owed_is_done_at_once_afterwards() {
        let mut schedule = walked();
        schedule.changed(s(1000), s(1000));
        let mut now = s(1030);
        let mut pauses = Vec::new();
        for _ in 0..9 {
            assert_eq!(schedule.next(now), Step::BackUp { walk: false });
            schedule.begins(now);
            let pause = schedule.failed(now);
            pauses.push(pause.as_secs());
            assert_eq!(schedule.next(now), Step::Wait { until: now + pause });
            now += pause;
        }
        assert_eq!(pauses, [5, 10, 20, 40, 80, 160, 300, 300, 300]);
        schedule.begins(now);
        schedule.done(false);
        schedule.begins(now);
        assert_eq!(schedule.failed(now), RETRY_FIRST, "a success begins the pauses anew");
    }

    #[test]
    fn a_walk_that_failed_is_still_due() {
        let mut schedule = walked();
        schedule.begins(s(21_600));
        schedule.failed(s(21_600));
        assert_eq!(schedule.next(s(21_605)), Step::BackUp { walk: true });
        schedule.begins(s(21_605));
        schedule.done(true);
        assert_eq!(schedule.next(s(21_606)), waits(43_205));
    }

    #[test]
    fn without_power_it_is_looked_again_after_a_while_and_nothing_is_forgotten() {
        let mut schedule = walked();
        schedule.changed(s(1000), s(1000));
        schedule.no_power(s(1030));
        assert_eq!(schedule.next(s(1031)), waits(1090));
        assert_eq!(schedule.next(s(1090)), Step::BackUp { walk: false });
    }

    #[test]
    fn endless_periods_do_not_overflow() {
        let mut schedule = walked();
        let never = Duration::MAX;
        schedule.periods =
            Periods { quiet: never, every: never, latest: never, walk: never, ..schedule.periods };
        schedule.changed(s(5), s(6));
        assert_eq!(schedule.next(s(7)), Step::Wait { until: never });
    }
}
