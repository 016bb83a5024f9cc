//! One repository of a run: guards, backup, guards again, forget, prune, check, drill.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use serde_json::Value;

use super::child::{self, Ended, Line};
use super::{Runner, repository, words, worse};
use crate::backup::commands::CommandSource;
use crate::cli::arguments::{Arguments, Command};
use crate::cli::commands::backup::inputs;
use crate::cli::exit::{Code, Failure};
use crate::cli::profile;
use crate::model::clock::Clock;
use crate::profile::Section;
use crate::run::{Decision, Past, Step, plan};
use crate::terminal::progress::{Bar, Position};
use crate::terminal::size::show_duration;
use crate::terminal::time;

/// Lines of a step that are told one by one.
const TOLD: usize = 20;
/// Options of `forget` that say which snapshots are meant.
const CHOICES: [&str; 3] = ["host", "path", "tag"];

/// What stays the same while one repository is worked on.
pub(super) struct Work {
    pub name: String,
    pub globals: Vec<OsString>,
    pub host: Vec<u8>,
    /// As they are stored.
    pub sources: Vec<Vec<u8>>,
    /// These, and where the output of commands is stored: all that a snapshot says it holds.
    pub stored: Vec<Vec<u8>>,
}

impl Runner<'_> {
    /// Does what is due for one repository; gives the exit code.
    pub(super) fn target(&mut self, name: &str, section: Option<&Section>) -> Result<u8, Failure> {
        let work = self.work(name, section)?;
        let began = self.context.clock.now().seconds;
        let context = repository::context(self.context, &work.globals)?;
        self.state.target(name).add(Past { began, ..Past::default() });
        let accepted = self.accept(name);
        let alarms = self.before(&context, &work)?;
        if !alarms.is_empty() {
            self.raise(&work, "nothing was backed up", &alarms)?;
            return Ok(Code::Refused as u8);
        }
        let (mut code, mut may_take_away, mut reachable) = (0, true, true);
        // From here on there may be a backup that no guard has looked at.
        self.state.target(name).unjudged.get_or_insert(began);
        if !self.keep() {
            (code, may_take_away) = (Code::Failed as u8, false);
        }
        let of = self.state.targets.get(name).cloned().unwrap_or_default();
        for (step, decision) in plan(&self.settings.wanted, &of, began, &self.limits) {
            if crate::cli::signals::code().is_some() {
                break;
            }
            let takes_away = matches!(step, Step::Forget | Step::Prune);
            match decision {
                Decision::Later(seconds) => {
                    self.log.step(step.name(), &words::later(seconds))?;
                    continue;
                }
                Decision::Held(since) => {
                    let since = time::show(crate::model::Time::new(since, 0));
                    let codes =
                        of.held.as_ref().map(|held| held.codes.join(" --accept ")).unwrap_or_default();
                    self.log.warn(&format!(
                        "{} waits: a guard raised an alarm on {since}; when all is well: {} {codes}",
                        step.name(),
                        self.settings.guards.limits.accept
                    ));
                    code = worse(code, Code::Refused as u8);
                    continue;
                }
                Decision::Do if takes_away && !may_take_away || !reachable => continue,
                Decision::Do => {}
            }
            if step == Step::Forget && work.stored.is_empty() && !self.chooses()? {
                self.log.warn("forget: the profile names no sources, so its rules are for no snapshot: say host, path or tag in [forget]");
                code = worse(code, Code::Usage as u8);
                continue;
            }
            let ended = self.step(&work, step)?;
            code = worse(code, ended.code);
            match step {
                Step::Backup => {
                    reachable = !matches!(ended.code, 2 | 10..=13) && ended.code < 128;
                    match ended.summary.filter(|_| matches!(ended.code, 0 | 3)) {
                        Some(summary) => {
                            let alarms = self.after(&context, &work, &summary, began, accepted)?;
                            if !alarms.is_empty() {
                                may_take_away = false;
                                code = worse(code, Code::Refused as u8);
                            }
                        }
                        // Without a summary nobody knows what was saved.
                        None => {
                            may_take_away = false;
                            code = worse(code, if ended.code == 0 { Code::Failed as u8 } else { 0 });
                        }
                    }
                    if !self.keep() {
                        (code, may_take_away) = (worse(code, Code::Failed as u8), false);
                    }
                }
                _ => self.remember(name, step, ended.code),
            }
        }
        if reachable {
            self.measure(&work)?;
        }
        Ok(code)
    }

    fn work(&self, name: &str, section: Option<&Section>) -> Result<Work, Failure> {
        let globals = repository::words(self.context, self.profile, section)?;
        let backup = self.profile.section("backup")?;
        let host = match backup.map(|backup| backup.text("host")) {
            Some(Ok(Some(host))) => host.as_bytes().to_vec(),
            _ => self.context.host(),
        };
        let mut sources = match self.listed(&globals) {
            Some(sources) => sources,
            None => {
                let typed = profile::sources(self.profile, &self.context.defaults)?;
                typed.into_iter().map(|source| inputs::as_stored(source.into())).collect()
            }
        };
        sources.sort();
        sources.dedup();
        let commands = backup.map_or(Ok(Vec::new()), |backup| backup.words("command"))?;
        let commands = commands.into_iter().filter_map(|text| CommandSource::parse(text.as_bytes()).ok());
        let mut stored: Vec<Vec<u8>> =
            sources.iter().cloned().chain(commands.map(|command| command.path())).collect();
        stored.sort();
        Ok(Work { name: name.to_owned(), globals, host, sources, stored })
    }

    /// The sources of a profile that has lists of them in files, as the backup reads them; none when one of them is not there.
    fn listed(&self, globals: &[OsString]) -> Option<Vec<Vec<u8>>> {
        let section = self.profile.section("backup").ok()??;
        if !section.entries.keys().any(|key| key.starts_with("files-from")) {
            return None;
        }
        let mut words: Vec<OsString> = vec!["copal".into(), "backup".into()];
        words.extend(globals.iter().cloned());
        words.extend(profile::of_step(self.profile, "backup", &self.context.defaults).ok()?);
        words.push("--".into());
        words.extend(profile::sources(self.profile, &self.context.defaults).ok()?);
        match Arguments::read(words, self.context.environment).ok()?.command {
            Command::Backup(wanted) => inputs::sources(self.context, &wanted).ok(),
            _ => None,
        }
    }

    /// The words that a step is called with.
    fn words(&self, work: &Work, step: Step, dry_run: bool) -> Result<Vec<OsString>, Failure> {
        let mut words: Vec<OsString> = vec![step.name().into(), "--json".into()];
        words.extend(work.globals.iter().cloned());
        words.extend(profile::of_step(self.profile, step.name(), &self.context.defaults)?);
        if dry_run {
            words.push("--dry-run".into());
        }
        match step {
            Step::Backup => {
                words.push("--".into());
                words.extend(profile::sources(self.profile, &self.context.defaults)?);
            }
            // Other machines and other profiles have rules of their own.
            Step::Forget if !self.chooses()? => {
                let option = |name: &str, value: &[u8]| {
                    let mut word = format!("--{name}=").into_bytes();
                    word.extend(value);
                    OsString::from_vec(word)
                };
                words.push(option("host", &work.host));
                words.push("--exact-paths".into());
                words.extend(work.stored.iter().map(|source| option("path", source)));
            }
            _ => {}
        }
        Ok(words)
    }

    /// Whether the profile says itself which snapshots its rules are for.
    fn chooses(&self) -> Result<bool, Failure> {
        let section = self.profile.section("forget")?;
        Ok(section.is_some_and(|section| CHOICES.iter().any(|key| section.get(key).is_some())))
    }

    /// Runs one step, tells of it, and gives how it ended.
    fn step(&mut self, work: &Work, step: Step) -> Result<Ended, Failure> {
        let words = self.words(work, step, false)?;
        let (ended, problems) = self.child(&words, step.name())?;
        let mut text = match &ended.summary {
            Some(summary) => words::told(step, summary),
            None => words::ending(ended.code).to_owned(),
        };
        if ended.summary.is_some() && ended.code != 0 {
            text = format!("{}: {text}", words::ending(ended.code));
        }
        let seconds = std::time::Duration::from_millis((ended.seconds * 1000.0) as u64);
        text += &format!(" ({})", show_duration(seconds));
        if step == Step::Backup
            && let Some(summary) = &ended.summary
        {
            self.note_backup(work, summary);
        }
        self.tell(&work.name, step.name(), &ended, &text, problems)?;
        Ok(ended)
    }

    /// Runs copal; what it has to complain about is told and given.
    fn child(&mut self, words: &[OsString], name: &str) -> Result<(Ended, Vec<String>), Failure> {
        let wants_bar = !self.context.global.quiet && !self.context.global.json;
        let bar = Bar::new(wants_bar, None).map_err(Failure::usage)?;
        let mut problems = Vec::new();
        let mut tell = |line: &Line| match line {
            Line::Status(status) => show(&bar, status),
            Line::Problem(problem) => {
                if problems.len() < TOLD {
                    bar.suspend(|| self.log.warn(&format!("{name}: {problem}")));
                } else {
                    self.log.note(&format!("{name}: {problem}"));
                }
                problems.push(problem.clone());
            }
            Line::Result(_) => {}
        };
        let ended = child::run(words, self.stop, &mut tell);
        bar.finish();
        let ended = ended
            .map_err(|error| Failure::new(Code::Failed, format!("{name} could not be started: {error}")))?;
        if problems.len() > TOLD {
            self.log.warn(&format!("{name}: ... and {} more", problems.len() - TOLD));
        }
        Ok((ended, problems))
    }

    /// What the report says of the backup; of several repositories, of the first.
    fn note_backup(&mut self, work: &Work, summary: &Value) {
        if self.targets.first().is_some_and(|(name, _)| *name != work.name) {
            return;
        }
        let of = |field: &str| summary.get(field).and_then(Value::as_u64);
        let report = &mut self.report;
        report.snapshot_id = summary.get("snapshot_id").and_then(Value::as_str).map(str::to_owned);
        (report.files, report.files_new) = (of("total_files_processed"), of("files_new"));
        (report.files_changed, report.bytes) = (of("files_changed"), of("total_bytes_processed"));
        (report.bytes_new, report.bytes_stored) = (of("data_added"), of("data_added_packed"));
        let unread = ["unreadable", "changed_while_read", "metadata_not_read"];
        report.errors = Some(unread.iter().filter_map(|field| of(field)).sum());
        if report.snapshot_id.is_some() {
            report.newest_snapshot = Some(self.context.clock.now());
        }
    }

    /// What was done is not due again at once.
    fn remember(&mut self, name: &str, step: Step, code: u8) {
        let now = Some(self.context.clock.now().seconds);
        let target = self.state.target(name);
        match (step, code) {
            (Step::Prune, 0) => target.pruned = now,
            (Step::Check, 0) => target.checked = now,
            (Step::Drill, 0 | 3) => target.drilled = now,
            _ => {}
        }
    }

    /// How large the repository is, and since when it is known to be well.
    fn measure(&mut self, work: &Work) -> Result<(), Failure> {
        let words: Vec<OsString> =
            ["stats", "--json"].into_iter().map(Into::into).chain(work.globals.iter().cloned()).collect();
        let mut bytes = None;
        let mut listen = |line: &Line| {
            if let Line::Result(stats) = line {
                bytes = bytes.or_else(|| stats.get("total_size").and_then(Value::as_u64));
            }
        };
        let _ = child::run(&words, self.stop, &mut listen);
        let is_first = self.targets.first().is_some_and(|(name, _)| *name == work.name);
        let target = self.state.target(&work.name);
        target.repository_bytes = bytes.or(target.repository_bytes);
        if is_first {
            let at = |seconds: Option<i64>| seconds.map(|seconds| crate::model::Time::new(seconds, 0));
            self.report.repository_bytes = bytes;
            self.report.last_check = at(target.checked);
            self.report.last_success = at(target.succeeded);
        }
        Ok(())
    }

    /// Says what would be done.
    pub(super) fn rehearse(&mut self) -> Result<u8, Failure> {
        let mut code = 0;
        for (name, section) in self.targets.clone() {
            let work = self.work(&name, section)?;
            let of = self.state.targets.get(&name).cloned().unwrap_or_default();
            let now = self.context.clock.now().seconds;
            for (step, decision) in plan(&self.settings.wanted, &of, now, &self.limits) {
                match (step, decision) {
                    (_, Decision::Later(seconds)) => self.log.step(step.name(), &words::later(seconds))?,
                    (_, Decision::Held(_)) => self.log.step(step.name(), "waits: a guard raised an alarm")?,
                    (Step::Backup | Step::Forget, Decision::Do) => {
                        let words = self.words(&work, step, true)?;
                        let (ended, problems) = self.child(&words, step.name())?;
                        code = worse(code, ended.code);
                        let text = match &ended.summary {
                            Some(summary) => format!("would: {}", words::told(step, summary)),
                            None => words::ending(ended.code).to_owned(),
                        };
                        self.tell(&name, step.name(), &ended, &text, problems)?;
                    }
                    (_, Decision::Do) => self.log.step(step.name(), "would be done now")?,
                }
            }
        }
        Ok(code)
    }
}

/// Draws how far a step is.
fn show(bar: &Bar, status: &Value) {
    let of = |field: &str| status.get(field).and_then(Value::as_u64);
    let current = status
        .get("current_files")
        .and_then(|files| files.get(0))
        .and_then(Value::as_str)
        .unwrap_or_default();
    bar.set(Position {
        bytes_done: of("bytes_done").unwrap_or(0),
        bytes_total: of("total_bytes").filter(|total| *total > 0),
        files_done: of("files_done").unwrap_or(0),
        files_total: of("total_files").filter(|total| *total > 0),
        current: current.as_bytes(),
        errors: of("error_count").unwrap_or(0),
    });
}
