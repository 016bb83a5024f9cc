//! Schedules as timers of systemd: what is there, and what it takes to have them as they should be.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::error::Error;
use super::marker::{State, state};
use super::places::{Places, Scope};
use super::steps::{Step, must};
use super::{Job, units};
use crate::terminal::escape::path as shown;

/// What a file holds; none when it is not there.
pub fn read(path: &Path) -> Result<Option<Vec<u8>>, Error> {
    match std::fs::read(path) {
        Ok(content) => Ok(Some(content)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::io(path, "read")(error)),
    }
}

/// What a file is, and an error when it is not copal's to replace.
pub fn guarded(path: &Path, force: bool) -> Result<State, Error> {
    let state = read(path)?.map_or(State::Missing, |content| state(&content));
    let foreign = state == State::Foreign;
    if !force && (foreign || matches!(state, State::Edited(_))) {
        return Err(Error::Edited { place: shown(path).into_owned(), foreign });
    }
    Ok(state)
}

/// The file of a unit.
fn file(places: &Places, scope: Scope, profile: &str, kind: &str) -> Option<PathBuf> {
    Some(places.units(scope)?.join(format!("copal-{profile}.{kind}")))
}

/// `systemctl` with those words, for the manager of that scope.
pub fn systemctl<'w>(scope: Scope, words: &[&'w str]) -> Vec<&'w str> {
    let user: &[&str] = if scope == Scope::User { &["--user"] } else { &[] };
    [&["systemctl"], user, words].concat()
}

fn step(scope: Scope, words: &[&str]) -> Step {
    Step::Run(systemctl(scope, words).into_iter().map(str::to_owned).collect())
}

/// What the manager says of a unit.
pub fn show(scope: Scope, unit: &str, properties: &str) -> Result<BTreeMap<String, String>, Error> {
    let asked = format!("--property={properties}");
    let text = must(&systemctl(scope, &["show", &asked, unit]), None)?;
    let text = String::from_utf8_lossy(&text);
    let pairs = text.lines().filter_map(|line| line.split_once('='));
    Ok(pairs.map(|(name, value)| (name.to_owned(), value.trim().to_owned())).collect())
}

/// What it takes to have that timer running.
pub fn install(places: &Places, job: &Job, force: bool) -> Result<Vec<Step>, Error> {
    let scope = job.scope;
    let timer = format!("copal-{}.timer", job.profile);
    let mut steps = Vec::new();
    let mut is_timer_new = false;
    for (kind, content) in [("service", units::service(job)), ("timer", units::timer(job))] {
        let path = file(places, scope, &job.profile, kind)
            .ok_or(Error::NoMeans("there is no home folder to put units into; set HOME"))?;
        if read(&path)?.as_deref() != Some(content.as_bytes()) {
            guarded(&path, force)?;
            is_timer_new |= kind == "timer";
            steps.push(Step::Write { path, content });
        }
    }
    if !places.has_systemd() {
        let folder = places.units(scope).unwrap_or_default();
        if !folder.join("timers.target.wants").join(&timer).exists() {
            steps.push(step(scope, &["enable", &timer]));
        }
        return Ok(steps);
    }
    let known = show(scope, &timer, "UnitFileState,ActiveState,NeedDaemonReload")?;
    let is = |name: &str, value: &str| known.get(name).is_some_and(|known| known == value);
    // A run that was cut off may have written a service that systemd has not read.
    let of_service = show(scope, &format!("copal-{}.service", job.profile), "NeedDaemonReload")?;
    let is_service_old = of_service.get("NeedDaemonReload").is_some_and(|value| value == "yes");
    if !steps.is_empty() || is_service_old || is("NeedDaemonReload", "yes") {
        steps.push(step(scope, &["daemon-reload"]));
    }
    if !is("UnitFileState", "enabled") || !is("ActiveState", "active") {
        steps.push(step(scope, &["enable", "--now", &timer]));
    } else if is_timer_new {
        // What it waits for was set when it was started.
        steps.push(step(scope, &["restart", &timer]));
    }
    Ok(steps)
}

/// What it takes to have neither timer nor service any more.
pub fn remove(places: &Places, scope: Scope, profile: &str, force: bool) -> Result<Vec<Step>, Error> {
    let mut gone = Vec::new();
    for kind in ["timer", "service"] {
        if let Some(path) = file(places, scope, profile, kind)
            && guarded(&path, force)? != State::Missing
        {
            gone.push(Step::Remove { path });
        }
    }
    if gone.is_empty() || !places.has("systemctl") {
        return Ok(gone);
    }
    let timer = format!("copal-{profile}.timer");
    let is_running = places.has_systemd();
    let mut steps = Vec::new();
    if file(places, scope, profile, "timer").is_some_and(|path| path.exists()) {
        let now: &[&str] = if is_running { &["--now"] } else { &[] };
        steps.push(step(scope, &[&["disable"], now, &[timer.as_str()]].concat()));
    }
    steps.extend(gone);
    if is_running {
        steps.push(step(scope, &["daemon-reload"]));
    }
    Ok(steps)
}
