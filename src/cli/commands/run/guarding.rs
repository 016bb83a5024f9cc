//! Guards of a run: what they have against a backup, what follows from an alarm, and what a person accepted.

use serde_json::Value;

use super::child::Ended;
use super::target::Work;
use super::{Runner, repository};
use crate::cli::context::Context;
use crate::cli::exit::{Code, Failure};
use crate::guards::{self, Alarm, Numbers, gather};
use crate::model::clock::Clock;
use crate::run::{Held, Past};

impl Runner<'_> {
    /// Forgets alarms that somebody looked at.
    pub(super) fn accept(&mut self, name: &str) {
        if !self.wanted.accept.is_empty()
            && let Some(held) = self.state.targets.entry(name.to_owned()).or_default().held.take()
        {
            let why = held.why.join("; ");
            self.log.note(&format!("accepted by a person: {why}"));
        }
    }

    fn is_passed_over(&self, alarm: &Alarm) -> bool {
        let is = |code: &String| code == alarm.code;
        self.wanted.accept.iter().any(is) || self.settings.guards.ignore.iter().any(is)
    }

    /// What guards have against a backup of these sources to that repository.
    pub(super) fn before(&mut self, context: &Context<'_>, work: &Work) -> Result<Vec<Alarm>, Failure> {
        // A repository that can not be opened is told by the backup, with its exit code.
        let known = repository::known(context, &work.host).ok().flatten();
        let guards = &self.settings.guards;
        let places = gather::places(&work.sources);
        let seen = guards::Seen {
            places: places.clone(),
            mounts: gather::mounts(&guards.mounted),
            space: known.as_ref().and_then(|known| known.space),
            now: self.context.clock.now(),
        };
        let target = self.state.targets.entry(work.name.clone()).or_default();
        let before: Vec<guards::Place> =
            target.places.clone().and_then(|value| serde_json::from_value(value).ok()).unwrap_or_default();
        let history = numbers(&target.runs);
        let past =
            guards::Past { places: &before, newest: known.and_then(|known| known.newest), history: &history };
        let mut alarms = guards::before(&seen, &past, &guards.limits);
        alarms.retain(|alarm| !self.is_passed_over(alarm));
        if alarms.is_empty() {
            let target = self.state.targets.entry(work.name.clone()).or_default();
            target.places = serde_json::to_value(&places).ok();
        }
        Ok(alarms)
    }

    /// What guards have to say of a backup that was made. On an alarm nothing is forgotten any more, and the snapshot before is protected.
    pub(super) fn after(
        &mut self,
        context: &Context<'_>,
        work: &Work,
        summary: &Value,
        began: i64,
    ) -> Result<Vec<Alarm>, Failure> {
        let now = numbers_of(summary, began);
        let target = self.state.targets.entry(work.name.clone()).or_default();
        let history = numbers(&target.runs);
        let mut alarms = guards::judge(&history, &now, &self.settings.guards.limits);
        alarms.retain(|alarm| !self.is_passed_over(alarm));
        let target = self.state.targets.entry(work.name.clone()).or_default();
        if alarms.is_empty() {
            // What raised an alarm must not become what is usual.
            if let Some(past) = target.runs.last_mut() {
                past.numbers = serde_json::to_value(now).ok();
            }
            return Ok(alarms);
        }
        let snapshot = summary.get("snapshot_id").and_then(Value::as_str);
        let why = alarms.iter().map(|alarm| alarm.what.clone()).collect();
        target.held = Some(Held { since: began, before: None, why });
        self.raise(
            work,
            "the backup was made; nothing is forgotten or pruned until somebody looked",
            &alarms,
        )?;
        match repository::protect(context, snapshot, &work.host, &work.stored) {
            Ok((words, id)) => {
                self.log.warn(&words);
                let target = self.state.targets.entry(work.name.clone()).or_default();
                if let Some(held) = &mut target.held {
                    held.before = id;
                }
            }
            Err(failure) => self.log.warn(&format!("the snapshot before could not be protected: {failure}")),
        }
        Ok(alarms)
    }

    /// Tells of alarms.
    pub(super) fn raise(&mut self, work: &Work, what: &str, alarms: &[Alarm]) -> Result<(), Failure> {
        let lines: Vec<String> =
            alarms.iter().flat_map(|alarm| [alarm.what.clone(), alarm.next.clone()]).collect();
        for line in &lines {
            self.log.warn(line);
        }
        let ended = Ended { code: Code::Refused as u8, ..Ended::default() };
        self.tell(&work.name, "guards", &ended, what, lines)
    }
}

/// What is remembered of runs that raised no alarm, the oldest first.
fn numbers(runs: &[Past]) -> Vec<Numbers> {
    let numbers = runs.iter().filter_map(|past| past.numbers.clone());
    numbers.filter_map(|value| serde_json::from_value(value).ok()).collect()
}

fn numbers_of(summary: &Value, time: i64) -> Numbers {
    let of = |field: &str| summary.get(field).and_then(Value::as_u64).unwrap_or(0);
    Numbers {
        time,
        files: of("total_files_processed"),
        directories: of("dirs_total"),
        files_new: of("files_new"),
        files_changed: of("files_changed"),
        files_removed: of("files_removed"),
        files_incompressible: of("files_incompressible"),
        bytes: of("total_bytes_processed"),
        bytes_new: of("data_added"),
        bytes_stored: of("data_added_packed"),
    }
}
