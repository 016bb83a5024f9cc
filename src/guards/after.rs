//! After a backup: what changed, vanished or became incompressible, against what is usual for these sources. Pure.

use super::{Alarm, Limits, MASS_CHANGE, MASS_INCOMPRESSIBLE, MASS_REMOVAL, Numbers};
use crate::terminal::size::show_count;

/// Bytes that the repository did not have, for each file that counts as changed: a change of owners, or files that were put back as they
/// were, store nothing.
const CHANGE_LEAST: u64 = 16;

/// What is wrong with a run, by the runs before it, oldest first. Those should be runs that were not alarming, or were accepted: what is
/// left is compared with the last one.
pub fn judge(history: &[Numbers], now: &Numbers, limits: &Limits) -> Vec<Alarm> {
    let Some(last) = history.last() else { return Vec::new() };
    let recent = &history[history.len().saturating_sub(limits.runs)..];
    let usual = |number: fn(&Numbers) -> u64| {
        (recent.len() >= limits.runs_least).then(|| median(recent.iter().map(number).collect()))
    };
    let mut alarms = Vec::new();

    let encrypted = now.files_incompressible;
    let is_most = encrypted > last.files / 2;
    let usual_encrypted = usual(|numbers| numbers.files_incompressible);
    let is_alarm = is_most && encrypted >= limits.files_least.max(tolerated(usual_encrypted, limits.times))
        || match usual_encrypted {
            Some(median) => encrypted > limits.files.max(median.saturating_mul(limits.times)),
            None => false,
        };
    if is_alarm {
        alarms.push(limits.alarm(
            MASS_INCOMPRESSIBLE,
            format!(
                "{} new contents that look encrypted{}",
                count(encrypted, "file has", "files have"),
                than_usual(usual_encrypted, last)
            ),
            "If nobody encrypted them on purpose, take this machine off its networks, and restore from a snapshot before this one.",
            "If it was meant",
        ));
    }

    let churn = now.churn();
    let usual_churn = usual(Numbers::churn);
    let is_alarm = match usual_churn {
        Some(median) => churn > limits.files.max(median.saturating_mul(limits.times)),
        None => churn > limits.files && churn > last.files / 2,
    };
    if is_alarm && now.bytes_new >= churn.saturating_mul(CHANGE_LEAST) {
        let encrypted = match encrypted {
            0 => "; none looks encrypted".to_owned(),
            number => format!("; {} encrypted", count(number, "file looks", "files look")),
        };
        alarms.push(limits.alarm(
            MASS_CHANGE,
            format!(
                "{} changed or replaced{}{encrypted}",
                count(churn, "file was", "files were"),
                than_usual(usual_churn, last)
            ),
            "An upgrade or a large restore does that; see what it was: copal diff --stat latest~1 latest.",
            "If all is well",
        ));
    }

    let (before, left) = (last.entries(), now.entries());
    if left < before.div_ceil(2) && before - left >= limits.removed_least {
        alarms.push(limits.alarm(
            MASS_REMOVAL,
            format!("of {before} files and folders {left} are left"),
            "They are in the snapshots before this one; see what is gone: copal diff --stat latest~1 latest.",
            "If they were removed on purpose",
        ));
    }
    alarms
}

/// What is let pass because it is usual.
fn tolerated(usual: Option<u64>, times: u64) -> u64 {
    usual.map_or(0, |median| median.saturating_mul(times).saturating_add(1))
}

fn count(number: u64, one: &str, several: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { several })
}

fn than_usual(usual: Option<u64>, last: &Numbers) -> String {
    match usual {
        Some(median) => format!(", where {median} {} usual", if median == 1 { "is" } else { "are" }),
        None => format!(", of {} that there were", show_count(last.files, "file")),
    }
}

/// The middle one; of an even number the higher of the two.
fn median(mut numbers: Vec<u64>) -> u64 {
    numbers.sort_unstable();
    numbers.get(numbers.len() / 2).copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A run over so many files of which so many changed, were added, removed, and look encrypted.
    fn run(files: u64, changed: u64, new: u64, removed: u64, encrypted: u64) -> Numbers {
        Numbers {
            files,
            directories: files / 10,
            files_new: new,
            files_changed: changed,
            files_removed: removed,
            files_incompressible: encrypted,
            bytes: files * 4000,
            bytes_new: (changed + new) * 4000,
            ..Numbers::default()
        }
    }

    fn codes(history: &[Numbers], now: &Numbers) -> Vec<&'static str> {
        judge(history, now, &Limits::default()).iter().map(|alarm| alarm.code).collect()
    }

    /// A first run over so many files, and quiet ones after it.
    fn quiet(files: u64, runs: usize) -> Vec<Numbers> {
        let first = run(files, 0, files, 0, files / 4);
        std::iter::once(first).chain((1..runs).map(|_| run(files, 20, 5, 3, 1))).collect()
    }

    #[test]
    fn a_first_run_is_never_alarming() {
        assert!(codes(&[], &run(50_000, 0, 50_000, 0, 50_000)).is_empty());
    }

    #[test]
    fn everything_encrypted_is_told_however_much_history_there_is_and_however_it_was_done() {
        for runs in [1, 2, 3, 30, 100] {
            let history = quiet(3000, runs);
            // Under new names, and in place.
            for now in [run(3000, 0, 3000, 3000, 3000), run(3000, 3000, 0, 0, 3000)] {
                assert_eq!(codes(&history, &now), [MASS_INCOMPRESSIBLE, MASS_CHANGE], "{runs} runs");
            }
            // A small folder: fewer than a thousand files.
            let now = run(400, 0, 390, 390, 390);
            assert_eq!(codes(&quiet(400, runs), &now), [MASS_INCOMPRESSIBLE], "{runs} runs");
        }
        // A part of a large tree, once it is known what is usual.
        assert_eq!(
            codes(&quiet(500_000, 5), &run(500_000, 0, 1001, 1001, 1001)),
            [MASS_INCOMPRESSIBLE, MASS_CHANGE]
        );
        assert!(codes(&quiet(500_000, 2), &run(500_000, 0, 1001, 1001, 1001)).is_empty());
    }

    #[test]
    fn what_people_do_every_day_is_not_alarming() {
        let history = quiet(3000, 10);
        for (what, now) in [
            ("photos", run(3500, 3, 500, 0, 0)),
            ("photos that look encrypted", run(3500, 3, 500, 0, 500)),
            ("an upgrade", run(3000, 800, 30, 20, 3)),
            ("a copied folder", run(20_000, 3, 17_000, 0, 40)),
            ("a small clean-up", run(2000, 3, 0, 1000, 0)),
            // Nothing new in the repository: only owners changed.
            ("chown -R", Numbers { bytes_new: 0, ..run(3000, 3000, 0, 0, 0) }),
        ] {
            assert!(codes(&history, &now).is_empty(), "{what}");
        }
    }

    #[test]
    fn an_upgrade_of_a_whole_system_says_changed_and_not_encrypted() {
        let alarms =
            judge(&quiet(200_000, 10), &run(200_000, 60_000, 20_000, 15_000, 12), &Limits::default());
        assert_eq!(alarms.len(), 1);
        assert_eq!(alarms[0].code, MASS_CHANGE);
        assert_eq!(
            alarms[0].what,
            "75000 files were changed or replaced, where 23 are usual; 12 files look encrypted"
        );
        assert!(
            alarms[0].next.ends_with("If all is well: copal run --accept mass-change"),
            "{}",
            alarms[0].next
        );
    }

    #[test]
    fn what_is_usual_is_the_median_of_the_last_runs() {
        // A mail store in which 3,000 files change each day.
        let busy: Vec<Numbers> = (0..30).map(|_| run(100_000, 3000, 10, 10, 0)).collect();
        assert!(codes(&busy, &run(100_000, 15_000, 10, 10, 0)).is_empty());
        assert_eq!(codes(&busy, &run(100_000, 15_100, 10, 10, 0)), [MASS_CHANGE]);
        // What was usual more than 30 runs ago does not count any more.
        let calm: Vec<Numbers> = busy.iter().copied().chain(quiet(100_000, 31).into_iter().skip(1)).collect();
        assert_eq!(codes(&calm, &run(100_000, 1100, 10, 10, 0)), [MASS_CHANGE]);
        // Encrypted files that are stored all the time, by a program that encrypts.
        let vault: Vec<Numbers> = (0..5).map(|_| run(3000, 400, 10, 10, 400)).collect();
        assert!(codes(&vault, &run(3000, 1700, 10, 10, 1900)).is_empty());
        assert_eq!(codes(&vault, &run(3000, 900, 1500, 1500, 2400)), [MASS_INCOMPRESSIBLE, MASS_CHANGE]);
    }

    #[test]
    fn less_than_half_left_is_told_and_half_is_not() {
        let last = [Numbers { files: 900, directories: 100, ..Numbers::default() }];
        let left = |files| Numbers { files, directories: 50, ..Numbers::default() };
        assert!(codes(&last, &left(450)).is_empty());
        assert_eq!(codes(&last, &left(449)), [MASS_REMOVAL]);
        assert_eq!(codes(&last, &Numbers::default()), [MASS_REMOVAL]);
        // Nine of ten downloads thrown away.
        let few = [Numbers { files: 9, directories: 1, ..Numbers::default() }];
        assert!(codes(&few, &Numbers { directories: 1, ..Numbers::default() }).is_empty());
        // It is the last run that counts, not what there once was.
        let shrunk = [run(10_000, 0, 10_000, 0, 0), run(100, 0, 0, 9900, 0)];
        assert!(codes(&shrunk, &run(90, 0, 0, 10, 0)).is_empty());
    }
}
