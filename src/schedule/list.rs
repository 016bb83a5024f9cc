//! What is installed: by which means, when it runs next, and how it ended last.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use super::cron;
use super::error::Error;
use super::marker::{Marker, State, state};
use super::places::{Means, Places, Scope};
use super::systemd::{read, show};
use crate::model::Time;

/// What is asked of a timer and of its service.
const OF_TIMER: &str = "ActiveState,NextElapseUSecRealtime";
const OF_SERVICE: &str = "ActiveState,Result,ExecMainStatus,ExecMainExitTimestamp";

/// A schedule that is installed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub scope: Scope,
    pub means: Means,
    pub profile: String,
    pub when: super::When,
    pub jitter: std::time::Duration,
    /// The minutes that cron adds.
    pub delay: Option<u16>,
    /// The file; none for lines of the user's crontab.
    pub path: Option<PathBuf>,
    /// Changed since copal wrote it; when it runs may be another time.
    pub is_edited: bool,
    /// Whether its timer waits for its time; none where nobody tells.
    pub is_active: Option<bool>,
    /// When it runs next (up to `jitter` later, where systemd was not asked).
    pub next: Option<Time>,
    pub last: Option<Last>,
}

/// How the last run ended, or that one is at work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Last {
    pub ended: Option<Time>,
    pub outcome: Outcome,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    Running,
    Done,
    /// Exit code 3.
    Incomplete,
    /// The exit code, or what systemd calls it.
    Failed(String),
}

impl Entry {
    fn new(marker: Marker, is_edited: bool, scope: Scope, means: Means, path: Option<PathBuf>) -> Entry {
        let Marker { profile, when, jitter, delay } = marker;
        Entry {
            scope,
            means,
            profile,
            when,
            jitter,
            delay,
            path,
            is_edited,
            is_active: None,
            next: None,
            last: None,
        }
    }

    /// When it runs next, by what was written.
    fn planned(&self, now: Time, zone: &TimeZone) -> Option<Time> {
        let delay = i64::from(self.delay.unwrap_or(0)) * 60;
        Some(self.when.next(now.plus_seconds(-delay), zone)?.plus_seconds(delay))
    }
}

/// All that is installed for the system and for this user, and what could not be asked or read on the way.
pub fn list(places: &Places, now: Time, zone: &TimeZone) -> (Vec<Entry>, Vec<Error>) {
    let (mut entries, mut problems) = (Vec::new(), Vec::new());
    for scope in [Scope::System, Scope::User] {
        let mut found = Vec::new();
        if let Some(folder) = places.units(scope) {
            let ends = |name: &str| name.starts_with("copal-") && name.ends_with(".timer");
            files(&folder, ends, scope, Means::Systemd, &mut found, &mut problems);
        }
        // The first failure is enough: the manager is not there.
        let mut is_there = places.has_systemd() && places.has("systemctl");
        for entry in &mut found {
            if is_there && let Err(error) = ask(entry) {
                is_there = false;
                problems.push(error);
            }
        }
        entries.append(&mut found);
    }
    let ends = |name: &str| name.starts_with("copal-") && !name.contains('.');
    files(&places.cron_folder(), ends, Scope::System, Means::Cron, &mut entries, &mut problems);
    match cron::entries(places) {
        Ok(blocks) => entries.extend(
            blocks
                .into_iter()
                .map(|block| Entry::new(block.marker, block.is_edited, Scope::User, Means::Cron, None)),
        ),
        Err(error) => problems.push(error),
    }
    for entry in &mut entries {
        // What was changed by hand runs nobody knows when; a timer that is off does not.
        if entry.next.is_none() && !entry.is_edited && entry.is_active != Some(false) {
            entry.next = entry.planned(now, zone);
        }
    }
    entries.sort_by(|a, b| {
        (&a.profile, a.scope.name(), a.means.name()).cmp(&(&b.profile, b.scope.name(), b.means.name()))
    });
    (entries, problems)
}

/// The schedules in files of a folder.
fn files(
    folder: &Path,
    ends: impl Fn(&str) -> bool,
    scope: Scope,
    means: Means,
    entries: &mut Vec<Entry>,
    problems: &mut Vec<Error>,
) {
    let Ok(all) = std::fs::read_dir(folder) else { return };
    let paths = all.flatten().filter(|entry| entry.file_name().to_str().is_some_and(&ends));
    for path in paths.map(|entry| entry.path()) {
        match read(&path) {
            Ok(content) => match state(&content.unwrap_or_default()) {
                State::Ours(marker) => entries.push(Entry::new(marker, false, scope, means, Some(path))),
                State::Edited(marker) => entries.push(Entry::new(marker, true, scope, means, Some(path))),
                State::Missing | State::Foreign => {}
            },
            Err(error) => problems.push(error),
        }
    }
}

/// Asks systemd about an entry.
fn ask(entry: &mut Entry) -> Result<(), Error> {
    let unit = |kind: &str| format!("copal-{}.{kind}", entry.profile);
    let timer = show(entry.scope, &unit("timer"), OF_TIMER)?;
    let service = show(entry.scope, &unit("service"), OF_SERVICE)?;
    entry.is_active = Some(timer.get("ActiveState").is_some_and(|state| state == "active"));
    entry.next = timer.get("NextElapseUSecRealtime").and_then(|text| time(text));
    entry.last = last(&service);
    Ok(())
}

/// How a service ended last, by what systemd says of it.
fn last(service: &BTreeMap<String, String>) -> Option<Last> {
    let of = |name: &str| service.get(name).map_or("", String::as_str);
    if matches!(of("ActiveState"), "activating" | "active" | "deactivating") {
        return Some(Last { ended: None, outcome: Outcome::Running });
    }
    // None before its first run since the machine was started.
    let ended = time(of("ExecMainExitTimestamp"));
    let outcome = match (of("Result"), of("ExecMainStatus")) {
        ("success", _) if ended.is_none() => return None,
        ("success", "3") => Outcome::Incomplete,
        ("success", _) => Outcome::Done,
        ("exit-code", code) => Outcome::Failed(format!("exit code {code}")),
        ("", _) => return None,
        (result, _) => Outcome::Failed(result.to_owned()),
    };
    Some(Last { ended, outcome })
}

/// A time as systemd shows it in universal time: `Sun 2026-11-29 03:30:00 UTC`, or `@` and seconds.
fn time(text: &str) -> Option<Time> {
    if let Some(seconds) = text.strip_prefix('@') {
        return Some(Time::new(seconds.split('.').next()?.parse().ok()?, 0));
    }
    let words: Vec<&str> = text.split(' ').collect();
    let [_, date, clock, "UTC"] = words[..] else { return None };
    let local: DateTime = format!("{date}T{clock}").parse().ok()?;
    Some(Time::new(local.to_zoned(TimeZone::UTC).ok()?.timestamp().as_second(), 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect()
    }

    #[test]
    fn times_of_systemd_are_read() {
        assert_eq!(time("Sun 2026-11-29 03:30:00 UTC"), Some(Time::new(1_795_923_000, 0)));
        assert_eq!(time("@1795923000"), Some(Time::new(1_795_923_000, 0)));
        for text in ["", "n/a", "0", "Sun 2026-11-29 03:30:00 CET", "Sun 2026-13-29 03:30:00 UTC", "@"] {
            assert_eq!(time(text), None, "{text}");
        }
    }

    #[test]
    fn how_a_run_ended_is_told_by_its_exit_code() {
        let ended = ("ExecMainExitTimestamp", "Sun 2026-11-29 03:30:00 UTC");
        for (result, status, outcome) in [
            ("success", "0", Outcome::Done),
            ("success", "3", Outcome::Incomplete),
            ("exit-code", "10", Outcome::Failed("exit code 10".into())),
            ("signal", "9", Outcome::Failed("signal".into())),
        ] {
            let service =
                map(&[("ActiveState", "inactive"), ("Result", result), ("ExecMainStatus", status), ended]);
            let last = last(&service).unwrap();
            assert_eq!((last.outcome, last.ended), (outcome, time(ended.1)), "{result} {status}");
        }
        let never = map(&[
            ("ActiveState", "inactive"),
            ("Result", "success"),
            ("ExecMainStatus", "0"),
            ("ExecMainExitTimestamp", ""),
        ]);
        assert_eq!(last(&never), None);
        let running = map(&[("ActiveState", "activating"), ("Result", "success")]);
        assert_eq!(last(&running).unwrap().outcome, Outcome::Running);
    }
}
