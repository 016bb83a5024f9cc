//! `copal schedule list`: what is installed, when it runs next, and how it ended last.

use jiff::tz::TimeZone;
use serde::Serialize;

use super::shown;
use crate::cli::context::Context;
use crate::cli::exit::{Code, Failure};
use crate::model::clock::Clock;
use crate::schedule::{Entry, Last, Outcome, Places, list};
use crate::terminal::size::{show_count, show_duration};
use crate::terminal::table::{Align, Table};
use crate::terminal::time;

/// A schedule as programs get it.
#[derive(Serialize)]
struct Line<'a> {
    profile: &'a str,
    when: String,
    jitter_seconds: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    delay_seconds: Option<u64>,
    means: &'static str,
    scope: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<String>,
    edited: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    active: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_run: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_result: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_reason: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_run: Option<String>,
}

fn result(outcome: &Outcome) -> (&'static str, Option<&str>) {
    match outcome {
        Outcome::Running => ("running", None),
        Outcome::Done => ("done", None),
        Outcome::Incomplete => ("incomplete", None),
        Outcome::Failed(reason) => ("failed", Some(reason)),
    }
}

fn line(entry: &Entry) -> Line<'_> {
    let last = entry.last.as_ref();
    let outcome = last.map(|last| result(&last.outcome));
    Line {
        profile: &entry.profile,
        when: entry.when.to_string(),
        jitter_seconds: entry.jitter.as_secs(),
        delay_seconds: entry.delay.map(|delay| u64::from(delay) * 60),
        means: entry.means.name(),
        scope: entry.scope.name(),
        path: entry.path.as_deref().map(|path| shown(path).into_owned()),
        edited: entry.is_edited,
        active: entry.is_active,
        next_run: entry.next.map(time::iso),
        last_result: outcome.map(|(name, _)| name),
        last_reason: outcome.and_then(|(_, reason)| reason),
        last_run: last.and_then(|last| last.ended).map(time::iso),
    }
}

/// How the last run ended, in words.
fn ended(last: &Last) -> String {
    let (name, reason) = result(&last.outcome);
    let at = last.ended.map_or_else(String::new, |at| format!(", {}", time::show(at)));
    format!("{name}{}{at}", reason.map_or_else(String::new, |reason| format!(" ({reason})")))
}

fn next(entry: &Entry) -> String {
    match entry.next {
        _ if entry.is_active == Some(false) => "off: its timer is not started".into(),
        Some(at) => time::show(at),
        None => "not known".into(),
    }
}

/// Lists.
pub fn run(context: &Context<'_>, places: &Places) -> Result<Code, Failure> {
    let (entries, problems) = list(places, context.clock.now(), &TimeZone::system());
    for problem in &problems {
        context.warn(&problem.to_string());
    }
    let code = if problems.is_empty() { Code::Done } else { Code::Incomplete };
    if context.global.json {
        for entry in &entries {
            context.out.json("schedule", &line(entry))?;
        }
        return Ok(code);
    }
    if entries.is_empty() {
        context.say("no schedule is installed; to have one: copal schedule install");
        return Ok(code);
    }
    let mut table = Table::new(&[
        ("Profile", Align::Left),
        ("When", Align::Left),
        ("Late", Align::Left),
        ("By", Align::Left),
        ("Of", Align::Left),
        ("Next run", Align::Left),
        ("Last run", Align::Left),
    ]);
    for entry in &entries {
        let late = match entry.delay {
            Some(delay) => format!("{delay}m"),
            None => format!("up to {}", show_duration(entry.jitter)),
        };
        table.row([
            entry.profile.clone(),
            entry.when.to_string(),
            late,
            entry.means.name().to_owned(),
            entry.scope.name().to_owned(),
            next(entry),
            entry.last.as_ref().map(ended).unwrap_or_default(),
        ]);
    }
    let mut text = table.show();
    for entry in entries.iter().filter(|entry| entry.is_edited) {
        let place = entry.path.as_deref().map_or("your crontab".into(), shown);
        text += &format!("profile {}: {place} was changed by hand since copal wrote it\n", entry.profile);
    }
    text += &format!("{}\n", show_count(entries.len() as u64, "schedule"));
    context.out.write(text)?;
    Ok(code)
}
