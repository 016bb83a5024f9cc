//! Guards of a run: what they have against a backup, what follows from an alarm, and what a person accepted.

use serde_json::Value;

use super::child::Ended;
use super::target::Work;
use super::{Runner, repository};
use crate::cli::context::Context;
use crate::cli::exit::{Code, Failure};
use crate::guards::{self, Alarm, Numbers, gather};
use crate::model::clock::Clock;
use crate::run::Past;

impl Runner<'_> {
    /// Forgets alarms that somebody looked at; whether nothing is held by them any more.
    pub(super) fn accept(&mut self, name: &str) -> bool {
        let target = self.state.target(name);
        let Some(held) = target.accept(&self.wanted.accept) else { return false };
        let why = held.why.join("; ");
        self.log.note(&format!("accepted by a person: {why}"));
        true
    }

    /// Remembers what is known so far, for good; whether that was possible. What a guard found must outlive whatever ends this run.
    pub(super) fn keep(&mut self) -> bool {
        let saved = self.state.save(&self.folder, &self.remembered_as);
        if let Err(error) = &saved {
            self.log.warn(&error.to_string());
        }
        saved.is_ok()
    }

    /// A run that was cut off may have left a backup that no guard has looked at: then nothing is taken away until somebody has.
    fn hold_unjudged(&mut self, context: &Context<'_>, work: &Work) -> Result<(), Failure> {
        let target = self.state.target(&work.name);
        let Some(since) = target.unjudged else { return Ok(()) };
        let judged: Vec<String> = target.runs.iter().filter_map(|past| past.snapshot.clone()).collect();
        // What can not be opened is told by the backup.
        let Ok(found) = repository::first_since(context, work, since, &judged) else { return Ok(()) };
        target.unjudged = None;
        let Some(snapshot) = found else { return Ok(()) };
        let why = format!(
            "a run was cut off after it made snapshot {}, before guards looked at that",
            snapshot.get(..8).unwrap_or(&snapshot)
        );
        target.hold(since, &[guards::MASS_CHANGE], [why.clone()]);
        self.log.warn(&why);
        self.shield(context, work, Some(&snapshot));
        Ok(())
    }

    /// Protects the snapshot before an alarming one, unless that is done.
    fn shield(&mut self, context: &Context<'_>, work: &Work, alarming: Option<&str>) {
        let held = |runner: &mut Self| runner.state.target(&work.name).held.clone();
        if held(self).is_some_and(|held| held.before.is_some()) {
            return;
        }
        match repository::protect(context, alarming, &work.host, &work.stored) {
            Ok((words, id)) => {
                self.log.warn(&words);
                let target = self.state.target(&work.name);
                if let Some(held) = &mut target.held {
                    held.before = id;
                }
            }
            Err(failure) => self.log.warn(&format!("the snapshot before could not be protected: {failure}")),
        }
    }

    fn is_passed_over(&self, alarm: &Alarm) -> bool {
        self.wanted.accept.iter().any(|code| code == alarm.code) || self.is_ignored(alarm)
    }

    fn is_ignored(&self, alarm: &Alarm) -> bool {
        self.settings.guards.ignore.iter().any(|code| code == alarm.code)
    }

    /// What guards have against a backup of these sources to that repository.
    pub(super) fn before(&mut self, context: &Context<'_>, work: &Work) -> Result<Vec<Alarm>, Failure> {
        self.hold_unjudged(context, work)?;
        // A repository that can not be opened is told by the backup, with its exit code.
        let of = self.state.target(&work.name);
        let is_first = of.places.is_none() && of.runs.iter().all(|past| past.numbers.is_none());
        let known = repository::known(context, work, is_first).ok().flatten();
        if let Some(numbers) = known.as_ref().and_then(|known| known.numbers) {
            let numbers = serde_json::to_value(numbers).ok();
            of.runs.insert(0, Past { numbers, ..Past::default() });
        }
        let guards = &self.settings.guards;
        let places = gather::places(&work.sources);
        let seen = guards::Seen {
            places: places.clone(),
            mounts: gather::mounts(&guards.mounted),
            space: known.as_ref().and_then(|known| known.space),
            now: self.context.clock.now(),
        };
        let target = self.state.target(&work.name);
        let remembered_places = target.places.clone().and_then(|value| serde_json::from_value(value).ok());
        let before: Vec<guards::Place> = remembered_places
            .or_else(|| known.as_ref().map(|known| known.places.clone()))
            .unwrap_or_default();
        let history = numbers(&target.runs);
        let past =
            guards::Past { places: &before, newest: known.and_then(|known| known.newest), history: &history };
        let mut alarms = guards::before(&seen, &past, &guards.limits);
        alarms.retain(|alarm| !self.is_passed_over(alarm));
        if alarms.is_empty() {
            let target = self.state.target(&work.name);
            let remembered = places.into_iter().map(|place| remembered(place, &before));
            target.places = serde_json::to_value(remembered.collect::<Vec<_>>()).ok();
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
        accepted: bool,
    ) -> Result<Vec<Alarm>, Failure> {
        let now = numbers_of(summary, began);
        let target = self.state.target(&work.name);
        let history = numbers(&target.runs);
        let mut alarms = guards::judge(&history, &now, &self.settings.guards.limits);
        // What was accepted was what held: an alarm of this run is another one.
        alarms.retain(|alarm| !(if accepted { self.is_ignored(alarm) } else { self.is_passed_over(alarm) }));
        let target = self.state.target(&work.name);
        target.unjudged = None;
        let snapshot = summary.get("snapshot_id").and_then(Value::as_str);
        if let Some(past) = target.runs.last_mut() {
            past.snapshot = snapshot.map(str::to_owned);
        }
        if alarms.is_empty() {
            // What raised an alarm must not become what is usual.
            if let Some(past) = target.runs.last_mut() {
                past.numbers = serde_json::to_value(now).ok();
            }
            return Ok(alarms);
        }
        let codes: Vec<&str> = alarms.iter().map(|alarm| alarm.code).collect();
        target.hold(began, &codes, alarms.iter().map(|alarm| alarm.what.clone()));
        if let Some(past) = target.runs.last_mut() {
            past.alarming = serde_json::to_value(now).ok();
        }
        self.keep();
        self.raise(
            work,
            "the backup was made; nothing is forgotten or pruned until somebody looked",
            &alarms,
        )?;
        self.shield(context, work, snapshot);
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

/// A source as it is to be remembered: one that could not be looked at this time is what it was.
fn remembered(place: guards::Place, before: &[guards::Place]) -> guards::Place {
    let known = before.iter().find(|last| last.path == place.path);
    match (place.found, known) {
        (guards::Found::Unknown, Some(known)) => known.clone(),
        _ => place,
    }
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
