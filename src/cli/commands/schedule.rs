//! `copal schedule`: runs of a profile at times, by systemd or cron. It shows what it will write before it writes.

mod list;
mod show;

use std::path::PathBuf;
use std::time::Duration;

use jiff::tz::TimeZone;
use serde::Serialize;

use crate::cli::arguments::{Schedule, ScheduleCommand, ScheduleInstall, ScheduleRemove, Whose};
use crate::cli::ask::ask;
use crate::cli::context::Context;
use crate::cli::exit::{Code, Failure};
use crate::model::clock::Clock;
use crate::schedule::{self, Error, Job, Means, Places, Scope, Step};
use crate::terminal::escape::path as shown;
use crate::terminal::size::show_duration;
use crate::terminal::time;

/// The folder that stands for `/` in tests.
const ROOT: &str = "COPAL_TEST_ROOT";
/// The program that is scheduled in tests.
const PROGRAM: &str = "COPAL_TEST_PROGRAM";
/// What the runs need to find what is found now, and where each is below the home folder when nobody says.
const VARIABLES: [(&str, &str); 4] = [
    ("XDG_CONFIG_HOME", ".config"),
    ("XDG_DATA_HOME", ".local/share"),
    ("XDG_CACHE_HOME", ".cache"),
    ("XDG_STATE_HOME", ".local/state"),
];

/// What was done, or would be.
#[derive(Serialize)]
struct Summary<'a> {
    profile: &'a str,
    scope: &'static str,
    dry_run: bool,
    changed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    when: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    means: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    jitter_seconds: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_run: Option<String>,
}

/// Where schedules are kept for whoever runs this.
pub fn places(context: &Context<'_>) -> Places {
    let folder =
        |name: &str| (context.environment)(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let config = folder("XDG_CONFIG_HOME").or_else(|| Some(context.defaults.home()?.join(".config")));
    let path = (context.environment)("PATH").unwrap_or_default();
    Places {
        root: folder(ROOT).unwrap_or_else(|| "/".into()),
        user_units: config.map(|folder| folder.join("systemd/user")),
        search: std::env::split_paths(&path).collect(),
    }
}

/// Whose schedule is meant.
fn scope(whose: Whose) -> Result<Scope, Failure> {
    let is_root = rustix::process::geteuid().is_root();
    match (whose.system, whose.user) {
        (true, _) if !is_root => Err(Failure::new(Code::Failed, "only root changes the system's schedules")
            .with_hint("Run it with sudo; or leave out --system for one of your own.")),
        (true, _) => Ok(Scope::System),
        (_, true) => Ok(Scope::User),
        _ if is_root => Ok(Scope::System),
        _ => Ok(Scope::User),
    }
}

/// Whose it is, in words.
fn whose(scope: Scope) -> &'static str {
    match scope {
        Scope::System => "the system",
        Scope::User => "this user",
    }
}

/// What an error means for the person and the exit code.
fn failure(error: &Error) -> Failure {
    let message = error.to_string();
    match error {
        Error::Edited { .. } => Failure::new(Code::Refused, format!("{message}; nothing was written"))
            .with_hint("It is replaced with --force. What a unit has to say besides is kept in a file of its own: systemctl edit UNIT."),
        Error::NoMeans(_) => Failure::new(Code::Failed, message)
            .with_hint("Leave out --with, install cron (Debian: apt install cron), or have what you use run: copal run -q PROFILE"),
        Error::Overtaken => Failure::new(Code::Busy, message).with_hint("Run it again."),
        Error::Program { command, .. } if command.starts_with("systemctl --user") => Failure::new(Code::Failed, message)
            .with_hint("Your own timers need a session of yours: log in as yourself (not by su or sudo). Or take cron: --with cron. Run it again then: what is done already stays."),
        Error::Program { command, .. } if command.starts_with("crontab") => Failure::new(Code::Failed, message)
            .with_hint("A crontab that can not be read is not replaced."),
        Error::Unsayable(_) => Failure::new(Code::Failed, message)
            .with_hint("Quotes, backslashes, $ and % mean something there: move it, or make a link to it without them."),
        _ => Failure::new(Code::Failed, message).with_hint("Run it again when that is put right: what is done already stays."),
    }
}

/// The variables that the runs need.
fn environment(context: &Context<'_>, scope: Scope) -> Result<Vec<(String, String)>, Failure> {
    let mut all = Vec::new();
    for (name, below) in VARIABLES {
        let value = (context.environment)(name).map(PathBuf::from).filter(|path| path.is_absolute());
        let usual = context.defaults.home().map(|home| home.join(below)).filter(|_| scope == Scope::User);
        if let Some(value) = value.filter(|value| Some(value) != usual.as_ref()) {
            let value = schedule::sayable(&value).map_err(|error| failure(&error))?;
            all.push((name.to_owned(), value.to_owned()));
        }
    }
    Ok(all)
}

/// Goes on when somebody said so.
fn confirm(context: &Context<'_>, yes: bool, question: &str) -> Result<(), Failure> {
    match if yes { Some(true) } else { ask(context, question) } {
        Some(true) => Ok(()),
        Some(false) => Err(Failure::new(Code::Refused, "nothing was done")),
        None => Err(Failure::new(Code::Refused, "nobody is here to be asked; nothing was done")
            .with_hint("Say that it is meant: --yes")),
    }
}

/// Shows the steps, asks, and takes them; whether they were taken.
fn take(
    context: &Context<'_>,
    places: &Places,
    steps: &[Step],
    dry_run: bool,
    yes: bool,
) -> Result<bool, Failure> {
    if context.global.json || !context.global.quiet || !yes {
        show::steps(context, steps)?;
    }
    if dry_run {
        return Ok(false);
    }
    confirm(context, yes, "Do that?")?;
    schedule::execute(places, steps).map_err(|error| failure(&error))?;
    Ok(true)
}

fn job(context: &Context<'_>, places: &Places, wanted: &ScheduleInstall) -> Result<Job, Failure> {
    let scope = scope(wanted.whose)?;
    let jitter = wanted.jitter().map_err(Failure::usage)?;
    // One that can not be used would fail each night.
    crate::cli::profile::load(&context.defaults, &wanted.name)?;
    let program = match (context.environment)(PROGRAM) {
        Some(program) => PathBuf::from(program),
        None => schedule::program(&places.search).map_err(|error| failure(&error))?,
    };
    if let Some(doubt) = schedule::doubt(&program, scope) {
        context.warn(&format!("{} {doubt}", shown(&program)));
    }
    Ok(Job {
        profile: wanted.name.clone(),
        when: wanted.at,
        jitter,
        scope,
        program: schedule::sayable(&program).map_err(|error| failure(&error))?.to_owned(),
        environment: environment(context, scope)?,
        host: context.host(),
    })
}

/// When it runs, and what one should know of that.
fn tell(context: &Context<'_>, places: &Places, job: &Job, entry: Option<&schedule::Entry>, means: Means) {
    let late = |duration: Duration| format!(", up to {} later", show_duration(duration));
    let late = if job.jitter.is_zero() || means == Means::Cron { String::new() } else { late(job.jitter) };
    let next = entry
        .and_then(|entry| entry.next)
        .map_or_else(String::new, |at| format!("; next: {}", time::show(at)));
    context.say(&format!("profile {} runs {}{late}, by {}{next}", job.profile, job.when, means.name()));
    if let Some(delay) =
        entry.and_then(|entry| entry.delay).filter(|delay| *delay > 0 && means == Means::Cron)
    {
        context.say(&format!(
            "cron knows no jitter: each run is {delay}m late, by the names of machine and profile"
        ));
    }
    if means == Means::Cron && schedule::cron_runs() == Some(false) {
        context.warn("no cron daemon runs here; until one does, nothing is run");
    }
    if means == Means::Systemd && !places.has_systemd() {
        context.say("systemd does not run here: it begins when the machine is started");
    }
    let user = String::from_utf8_lossy(&context.user()).into_owned();
    if means == Means::Systemd && job.scope == Scope::User && !places.lingers(&user) {
        context.say("it runs only while you are logged in; to have it run always: loginctl enable-linger");
    }
}

fn install(context: &Context<'_>, wanted: &ScheduleInstall) -> Result<Code, Failure> {
    let places = places(context);
    let job = job(context, &places, wanted)?;
    let means = schedule::choose(&places, job.scope, wanted.with.map(Means::from))
        .map_err(|error| failure(&error))?;
    let steps = schedule::install(&places, &job, means, wanted.force).map_err(|error| failure(&error))?;
    let is_done = match steps.is_empty() {
        true => {
            context.say("it is installed already; nothing was changed");
            true
        }
        false => take(context, &places, &steps, wanted.dry_run, wanted.yes)?,
    };
    let (entries, _) = schedule::list(&places, context.clock.now(), &TimeZone::system());
    let is_it = |entry: &&schedule::Entry| {
        (&entry.profile, entry.scope, entry.means) == (&job.profile, job.scope, means)
    };
    let entry = entries.iter().find(is_it).filter(|_| is_done);
    if context.global.json {
        let summary = Summary {
            profile: &job.profile,
            scope: job.scope.name(),
            dry_run: wanted.dry_run,
            changed: is_done && !steps.is_empty(),
            when: Some(job.when.to_string()),
            means: Some(means.name()),
            jitter_seconds: Some(job.jitter.as_secs()),
            next_run: entry.and_then(|entry| entry.next).map(time::iso),
        };
        context.out.json("summary", &summary)?;
    }
    match is_done {
        true => tell(context, &places, &job, entry, means),
        false => context.say("nothing was done"),
    }
    Ok(Code::Done)
}

fn remove(context: &Context<'_>, wanted: &ScheduleRemove) -> Result<Code, Failure> {
    let places = places(context);
    let scope = scope(wanted.whose)?;
    let profile = &wanted.name;
    let steps = schedule::remove(&places, scope, profile, wanted.force).map_err(|error| failure(&error))?;
    let mut is_done = false;
    if steps.is_empty() {
        let message = format!("profile {profile} has no schedule of {}", whose(scope));
        if !wanted.yes {
            let hint = "See all: copal schedule list. --system and --user say whose is meant.";
            return Err(Failure::new(Code::Failed, message).with_hint(hint));
        }
        context.say(&format!("{message}; nothing was changed"));
    } else {
        is_done = take(context, &places, &steps, wanted.dry_run, wanted.yes)?;
        match is_done {
            true => context.say(&format!("profile {profile} runs at no times any more")),
            false => context.say("nothing was done"),
        }
    }
    if context.global.json {
        let summary = Summary {
            profile,
            scope: scope.name(),
            dry_run: wanted.dry_run,
            changed: is_done,
            when: None,
            means: None,
            jitter_seconds: None,
            next_run: None,
        };
        context.out.json("summary", &summary)?;
    }
    Ok(Code::Done)
}

/// Does what `copal schedule ...` asks.
pub fn run(context: &Context<'_>, wanted: &Schedule) -> Result<Code, Failure> {
    match &wanted.command {
        ScheduleCommand::Install(wanted) => install(context, wanted),
        ScheduleCommand::List => list::run(context, &places(context)),
        ScheduleCommand::Remove(wanted) => remove(context, wanted),
    }
}
