//! `copal status`: how the last run of each profile went.

use serde::Serialize;

use crate::cli::arguments::Status;
use crate::cli::context::Context;
use crate::cli::exit::{self, Code, Failure};
use crate::cli::profile;
use crate::model::Time;
use crate::model::clock::Clock;
use crate::run::{Held, State};
use crate::terminal::escape::escape;
use crate::terminal::size::{show_duration, show_size};
use crate::terminal::time;

/// How one profile stands.
#[derive(Serialize)]
struct Line {
    profile: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    outcome: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    exit_code: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_run: Option<String>,
    /// When a schedule runs it next.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_run: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<String>,
    targets: Vec<TargetLine>,
    /// What is wrong with the profile or what is remembered of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
    /// 0, 3 or 1, as for the command as a whole.
    state: u8,
}

#[derive(Serialize)]
struct TargetLine {
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_success: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    age_seconds: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_check: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_prune: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_drill: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    repository_bytes: Option<u64>,
    /// What guards found that nobody accepted yet.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    alarms: Vec<String>,
    too_old: bool,
}

/// The worse of two states: 0 is well, 3 wants a look, 1 is bad.
fn worse(one: u8, other: u8) -> u8 {
    exit::worse(&[0, 3, 1], one, other)
}

fn state_of(code: u8) -> u8 {
    match code {
        0 => 0,
        3 | 11 => 3,
        _ => 1,
    }
}

/// How that profile stands at `now`.
fn look(name: &str, state: &State, now: i64, max_age: Option<std::time::Duration>) -> Line {
    let moment = |seconds: i64| time::iso(Time::new(seconds, 0));
    let mut worst = 0;
    let mut targets = Vec::new();
    for (name, target) in &state.targets {
        let age = target.succeeded.map(|succeeded| now.saturating_sub(succeeded));
        let too_old = max_age.is_some_and(|most| age.is_none_or(|age| age > most.as_secs().cast_signed()));
        let alarms = target.held.as_ref().map_or(Vec::new(), |Held { why, .. }| why.clone());
        if too_old || age.is_none() || !alarms.is_empty() {
            worst = worse(worst, 1);
        }
        targets.push(TargetLine {
            name: name.clone(),
            last_success: target.succeeded.map(moment),
            age_seconds: age,
            last_check: target.checked.map(moment),
            last_prune: target.pruned.map(moment),
            last_drill: target.drilled.map(moment),
            repository_bytes: target.repository_bytes,
            alarms,
            too_old,
        });
    }
    let last = state.last.as_ref();
    if let Some(last) = last {
        worst = worse(worst, state_of(last.code));
        if !last.warnings.is_empty() {
            worst = worse(worst, 3);
        }
    } else {
        worst = 1;
    }
    Line {
        profile: name.to_owned(),
        outcome: last.map(|last| last.outcome.clone()),
        exit_code: last.map(|last| last.code),
        last_run: last.map(|last| moment(last.ended)),
        next_run: None,
        warnings: last.map_or(Vec::new(), |last| last.warnings.clone()),
        targets,
        problem: None,
        state: worst,
    }
}

fn show(line: &Line, state: Option<&State>, now: i64, next: Option<Time>) -> String {
    let name = escape(line.profile.as_bytes());
    if let Some(problem) = &line.problem {
        return format!("{name}: {}\n", escape(problem.as_bytes()));
    }
    let Some(last) = state.and_then(|state| state.last.as_ref()) else {
        let next = next.map_or(String::new(), |at| format!("; next {}", time::show(at)));
        return format!("{name}: never run{next}\n");
    };
    let ago = |seconds: i64| {
        let passed = now.saturating_sub(seconds).max(0).cast_unsigned();
        let coarse = if passed >= 7200 { passed / 3600 * 3600 } else { passed.max(60) / 60 * 60 };
        format!("{} ago", show_duration(std::time::Duration::from_secs(coarse)))
    };
    let mut text = format!("{name}: {}, {}", escape(last.outcome.as_bytes()), ago(last.ended));
    if last.code != 0 {
        text += &format!(" (exit code {})", last.code);
    }
    if let Some(at) = next {
        text += &format!("; next {}", time::show(at));
    }
    text.push('\n');
    for (name, target) in state.iter().flat_map(|state| &state.targets) {
        let mut parts = Vec::new();
        parts.push(match target.succeeded {
            Some(at) => format!("saved {}", ago(at)),
            None => "never saved".to_owned(),
        });
        for (what, at) in [("checked", target.checked), ("pruned", target.pruned), ("tried", target.drilled)]
        {
            parts.extend(at.map(|at| format!("{what} {}", ago(at))));
        }
        parts.extend(target.repository_bytes.map(show_size));
        text += &format!("  {}: {}\n", escape(name.as_bytes()), parts.join(", "));
        for why in target.held.iter().flat_map(|held| &held.why) {
            text += &format!("    waits for somebody to look: {}\n", escape(why.as_bytes()));
        }
    }
    for warning in &line.warnings {
        text += &format!("  warning: {}\n", escape(warning.as_bytes()));
    }
    text
}

/// Says how each profile stands.
pub fn run(context: &Context<'_>, wanted: &Status) -> Result<Code, Failure> {
    let names: Vec<String> = match (&wanted.names[..], &context.global.profile) {
        ([], Some(name)) => vec![name.clone()],
        ([], None) => {
            let all = crate::profile::list(&profile::folders(&context.defaults)?)?;
            all.into_iter().map(|(name, _)| name).collect()
        }
        (names, _) => names.to_vec(),
    };
    if names.is_empty() {
        return Err(
            Failure::new(Code::Failed, "there is no profile").with_hint("Make one: copal profile new NAME")
        );
    }
    let folder = context.defaults.state_folder()?;
    let now = context.clock.now().seconds;
    // What can not be asked is told by `schedule list`.
    let places = super::schedule::places(context);
    let (scheduled, _) = crate::schedule::list(&places, context.clock.now(), &jiff::tz::TimeZone::system());
    let mut worst = 0;
    for name in &names {
        let loaded = profile::load(&context.defaults, name).map_err(|failure| failure.message);
        let state = loaded.and_then(|loaded| {
            let name =
                profile::remembered_as(&loaded, &context.defaults).map_err(|failure| failure.message)?;
            let loaded = State::load(&folder, &name).map_err(|error| error.to_string())?;
            loaded.1.map_or(Ok(loaded.0), |damaged| Err(damaged.to_string()))
        });
        let of_profile = scheduled.iter().filter(|entry| entry.profile == *name);
        let next =
            of_profile.filter(|entry| entry.is_active != Some(false)).filter_map(|entry| entry.next).min();
        let mut line = match &state {
            Ok(state) => look(name, state, now, wanted.max_age),
            Err(problem) => {
                let mut line = look(name, &State::default(), now, None);
                line.problem = Some(problem.clone());
                line
            }
        };
        line.next_run = next.map(time::iso);
        worst = worse(worst, line.state);
        if context.global.json {
            context.out.json("profile_status", &line)?;
        } else {
            context.out.write(show(&line, state.as_ref().ok(), now, next))?;
        }
    }
    Ok(match worst {
        0 => Code::Done,
        3 => Code::Incomplete,
        _ => Code::Failed,
    })
}
