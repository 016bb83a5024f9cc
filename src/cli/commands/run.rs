//! `copal run`: everything that a profile says, step by step, and word of how it went.

mod child;
mod guarding;
mod log;
mod repository;
mod target;
mod words;

use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

use serde::Serialize;

use crate::cli::arguments::Run;
use crate::cli::context::Context;
use crate::cli::exit::{self, Code, Failure};
use crate::cli::profile::{self, Settings};
use crate::cli::signals;
use crate::hooks::{self, About, Moment, Ran};
use crate::model::clock::Clock;
use crate::notices::{self, Outcome, Report};
use crate::profile::{Profile, Section};
use crate::run::{Limits, Past, State};
use crate::terminal::escape::escape;

use self::log::{Log, Place};

/// What the profile's own repository is called among its targets.
pub const MAIN: &str = "main";
/// The profile that is meant when none is named.
const DEFAULT: &str = "default";

/// Exit codes, the one that says most last.
const RANKS: [u8; 11] = [0, 3, 11, 6, 2, 1, 10, 12, 13, 5, 130];

/// The one of two exit codes that says more.
pub(super) fn worse(one: u8, other: u8) -> u8 {
    exit::worse(&RANKS, one, other)
}

/// Everything that a run has at hand.
struct Runner<'c> {
    context: &'c Context<'c>,
    wanted: &'c Run,
    profile: &'c Profile,
    settings: &'c Settings,
    targets: Vec<(String, Option<&'c Section>)>,
    limits: Limits,
    log: Log<'c>,
    state: State,
    /// Where that lies, and what it is called there.
    folder: PathBuf,
    remembered_as: String,
    report: Report,
    stop: &'static AtomicBool,
}

#[derive(Serialize)]
struct StepLine<'a> {
    target: &'a str,
    name: &'a str,
    exit_code: u8,
    seconds: f64,
    text: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    summary: Option<&'a serde_json::Value>,
}

impl Runner<'_> {
    /// Tells of a step, and puts it into the report.
    fn tell(
        &mut self,
        target: &str,
        name: &str,
        ended: &child::Ended,
        text: &str,
        messages: Vec<String>,
    ) -> Result<(), Failure> {
        let shown = if self.targets.len() > 1 { format!("{text} ({target})") } else { text.to_owned() };
        self.log.step(name, &shown)?;
        if self.context.global.json {
            let line = StepLine {
                target,
                name,
                exit_code: ended.code,
                seconds: ended.seconds,
                text,
                summary: ended.summary.as_ref(),
            };
            self.context.out.json("step", &line)?;
        }
        let name = if target == MAIN { name.to_owned() } else { format!("{name} ({target})") };
        let messages = [text.to_owned()].into_iter().chain(messages).collect();
        self.report.steps.push(notices::Step { name, code: ended.code, seconds: ended.seconds, messages });
        Ok(())
    }

    /// All targets, one after the other.
    fn all(&mut self) -> Result<u8, Failure> {
        let mut code = 0;
        for (name, section) in self.targets.clone() {
            if signals::code().is_some() {
                break;
            }
            let began = self.context.clock.now().seconds;
            let steps_before = self.report.steps.len();
            let ended = match self.target(&name, section) {
                Ok(ended) => ended,
                Err(failure) => {
                    self.log.warn(&failure.message);
                    failure.code as u8
                }
            };
            code = worse(code, ended);
            let target = self.state.target(&name);
            let now = self.context.clock.now().seconds;
            if matches!(ended, 0 | 3) {
                target.succeeded = Some(now);
            }
            let steps = self.report.steps[steps_before..].iter();
            if let Some(past) = target.runs.last_mut().filter(|past| past.began >= began) {
                (past.ended, past.code) = (now, ended);
                past.outcome = Outcome::of(ended).word().to_owned();
                past.steps = steps
                    .map(|step| {
                        (step.name.clone(), step.code, step.messages.first().cloned().unwrap_or_default())
                    })
                    .collect();
            }
            self.keep();
        }
        Ok(signals::code().map_or(code, |code| code as u8))
    }

    /// The report as it stands with this exit code.
    fn finish_report(&mut self, code: u8) {
        self.report.code = code;
        self.report.outcome = Outcome::of(code);
        if code == 0 && !self.log.warnings.is_empty() {
            self.report.outcome = Outcome::Warning;
        }
        self.report.ended = self.context.clock.now();
        self.report.warnings = self.log.warnings.clone();
        self.report.log = self.log.lines();
    }
}

impl hooks::Run for Runner<'_> {
    fn work(&mut self) -> u8 {
        let code = self.all().unwrap_or_else(|failure| {
            self.log.warn(&failure.message);
            failure.code as u8
        });
        self.finish_report(code);
        code
    }

    fn about(&mut self, _: Moment, code: Option<u8>, hooks: &[Ran]) -> About {
        let mut about = About { profile: self.profile.name.clone().into(), ..About::default() };
        about.json = match code {
            None => self.report.beginning_json(&[]),
            Some(code) => {
                self.finish_report(code);
                let mut report = self.report.clone();
                report.steps = with_hooks(report.steps, hooks);
                report.json(&[])
            }
        };
        if code.is_some() {
            about.variables.push(("COPAL_OUTCOME".to_owned(), self.report.outcome.word().into()));
            if let Some(snapshot) = &self.report.snapshot_id {
                about.variables.push(("COPAL_SNAPSHOT".to_owned(), snapshot.into()));
            }
        }
        about
    }

    fn line(&mut self, moment: Moment, text: &str) {
        self.log.note(&format!("hook {}: {text}", moment.name()));
    }

    fn stopped(&self) -> u8 {
        signals::code().unwrap_or(Code::Terminated) as u8
    }
}

/// All steps in the order in which they were done.
fn with_hooks(steps: Vec<notices::Step>, hooks: &[Ran]) -> Vec<notices::Step> {
    let (before, after): (Vec<&Ran>, Vec<&Ran>) = hooks.iter().partition(|ran| ran.moment == Moment::Before);
    let told = |list: Vec<&Ran>| list.into_iter().map(notices::Step::from).collect::<Vec<_>>();
    [told(before), steps, told(after)].concat()
}

/// The repositories of a profile: its own, unless it names only others.
fn targets(profile: &Profile) -> Result<Vec<(String, Option<&Section>)>, Failure> {
    let mut targets = Vec::new();
    let others = profile.section("targets")?.map_or(Ok(Vec::new()), Section::sections)?;
    if profile::names_repository(profile) || others.is_empty() {
        targets.push((MAIN.to_owned(), None));
    }
    targets.extend(others.into_iter().map(|(name, section)| (name.to_owned(), Some(section))));
    Ok(targets)
}

fn place(wanted: &Run, settings: &Settings) -> Option<Place> {
    let of_profile = settings.log.as_ref();
    let file = wanted.log_file.clone().or_else(|| of_profile.map(|log| log.file.clone()))?;
    Some(Place {
        file,
        size: of_profile.and_then(|log| log.size).unwrap_or(log::SIZE),
        older: of_profile.and_then(|log| log.older).unwrap_or(log::OLDER),
    })
}

/// Does all that the profile says.
pub fn run(context: &Context<'_>, wanted: &Run) -> Result<Code, Failure> {
    let name = wanted.name.as_deref().or(context.global.profile.as_deref()).unwrap_or(DEFAULT);
    repository::refuse_typed(context)?;
    let profile = profile::load(&context.defaults, name)?;
    let settings = profile::settings(&profile, &context.defaults)?;
    let mut all = targets(&profile)?;
    for name in &wanted.target {
        if all.iter().all(|(known, _)| known != name) {
            let known: Vec<_> = all.iter().map(|(known, _)| escape(known.as_bytes()).into_owned()).collect();
            let message = format!("the profile {} has no target {}", profile.name, escape(name.as_bytes()));
            return Err(Failure::usage(message).with_hint(format!("There are: {}", known.join(", "))));
        }
    }
    all.retain(|(name, _)| wanted.target.is_empty() || wanted.target.contains(name));
    let stop = signals::stop();
    let folder = context.defaults.state_folder()?;
    let remembered_as = profile::remembered_as(&profile, &context.defaults)?;
    let lock = match wanted.dry_run {
        true => Ok(None),
        false => crate::run::lock(&folder, &remembered_as).map(Some),
    };
    if let Err(crate::run::Error::Busy) = lock {
        let message = format!("another run of the profile {} is at work", profile.name);
        return Err(Failure::new(Code::Busy, message));
    }
    let state = lock.and_then(|lock| State::load(&folder, &remembered_as).map(|state| (state, lock)));
    let place = if wanted.dry_run { None } else { place(wanted, &settings) };
    // One that can not be named is told of by the first step, and by it to everybody who is to know.
    let repository = repository::shown(context, &profile, all.first().and_then(|(_, section)| *section));
    let repository = repository.unwrap_or_default();
    let host = escape(&context.host()).into_owned();
    let report = Report::begin(&notices::run_id(), &profile.name, &host, &repository, context.clock.now());
    let mut runner = Runner {
        context,
        wanted,
        profile: &profile,
        settings: &settings,
        targets: all,
        limits: Limits { all: wanted.all },
        log: Log::new(context, place.as_ref()),
        state: State::default(),
        folder,
        remembered_as,
        report,
        stop,
    };
    let options = notices::Options { environment: context.environment, ..notices::Options::default() };
    let _lock = match state {
        Ok(((state, damaged), lock)) => {
            runner.state = state;
            if let Some(damaged) = damaged {
                runner.distrust(&damaged.to_string());
            }
            lock
        }
        Err(error) => {
            // Nothing was done: whoever waits for word of it must hear that.
            runner.log.keep(&error.to_string());
            runner.finish_report(Code::Failed as u8);
            runner.report.warnings.push(error.to_string());
            for warning in notices::tell(&runner.report, &settings.notices, None, &options) {
                runner.log.warn(&warning);
            }
            return Err(Failure::new(Code::Failed, error.to_string()));
        }
    };
    if wanted.dry_run {
        return Ok(Code::of(runner.rehearse()?));
    }
    for warning in notices::start(&runner.report.run_id, &settings.notices, &options) {
        runner.log.warn(&warning);
    }
    let previous = runner.state.last.as_ref().map(|last| Outcome::of(last.code));
    let ended = hooks::around(&settings.hooks, &mut runner, stop);
    for problem in ended.problems() {
        runner.log.warn(&problem);
    }
    runner.report.steps = with_hooks(std::mem::take(&mut runner.report.steps), &ended.hooks);
    runner.finish_report(ended.code);
    runner.end(previous, &options)?;
    Ok(Code::of(ended.code))
}

impl Runner<'_> {
    /// What was remembered is lost, alarms perhaps among it: nothing is taken away until somebody has looked.
    fn distrust(&mut self, why: &str) {
        self.log.warn(why);
        let now = self.context.clock.now().seconds;
        for (name, _) in self.targets.clone() {
            let target = self.state.target(&name);
            target.hold(now, &[crate::guards::MASS_CHANGE], [why.to_owned()]);
        }
    }

    /// Tells everybody who is to know, and remembers the run.
    fn end(&mut self, previous: Option<Outcome>, options: &notices::Options<'_>) -> Result<(), Failure> {
        let settings = self.settings;
        for warning in notices::tell(&self.report, &settings.notices, previous, options) {
            self.log.warn(&warning);
        }
        if let Some(place) = &settings.metrics
            && let Err(error) = notices::write_metrics(&self.report, place)
        {
            self.log.warn(&error);
        }
        let report = &self.report;
        self.state.last = Some(Past {
            began: report.began.seconds,
            ended: report.ended.seconds,
            code: report.code,
            outcome: report.outcome.word().to_owned(),
            warnings: self.log.warnings.clone(),
            snapshot: report.snapshot_id.clone(),
            ..Past::default()
        });
        self.keep();
        if self.context.global.json {
            self.context.out.json("summary", &self.report.cleaned(&[]))?;
        }
        Ok(())
    }
}
