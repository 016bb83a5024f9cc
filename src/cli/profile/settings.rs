//! What of a profile is no option of a command: hooks, notices, guards, the log, and when `copal run` does what.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::failure;
use super::options::{home, placed_beside};
use crate::cli::defaults::Defaults;
use crate::cli::exit::Failure;
use crate::guards::{self, CODES};
use crate::hooks::{Command, Hook, Hooks, Moment, TIME_LIMIT};
use crate::notices::{Desktop, Form, Mail, Notice, Ping, Template, Value as Hidden, Way, Webhook, When};
use crate::profile::{Entry, Error, Profile, Section, Value};
use crate::run::Wanted;

/// What a run needs to know besides options.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    pub wanted: Wanted,
    pub hooks: Hooks,
    pub notices: Vec<Notice>,
    pub metrics: Option<PathBuf>,
    pub guards: Guards,
    pub log: Option<Log>,
}

/// What guards look for.
#[derive(Clone, Debug, Default)]
pub struct Guards {
    pub limits: guards::Limits,
    /// Must be mount points.
    pub mounted: Vec<Vec<u8>>,
    /// Kinds of alarm that are passed over.
    pub ignore: Vec<String>,
}

/// Where the log goes; what is not said has a default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Log {
    pub file: PathBuf,
    pub size: Option<u64>,
    pub older: Option<u64>,
}

/// Rules of `[forget]`: with one of them something is forgotten.
const RULES: [&str; 2] = ["keep-", "free"];
const HOOKS: [&str; 6] = ["before", "after", "failed", "finally", "time-limit", "folder"];
const NOTICE: [&str; 13] = [
    "ping",
    "ping-file",
    "plain",
    "fail-on-warning",
    "webhook",
    "webhook-file",
    "form",
    "template",
    "headers",
    "mail",
    "from",
    "program",
    "when",
];
const DESKTOP: &str = "desktop";
const METRICS: &str = "metrics";
const GUARDS: [&str; 6] = ["files", "times", "free", "mounted", "ignore", "clock"];
const LOG: [&str; 3] = ["file", "size", "older"];

/// Reads them all; the first slip is an error with its line.
pub fn settings(profile: &Profile, defaults: &Defaults<'_>) -> Result<Settings, Failure> {
    let read = || -> Result<Settings, Error> {
        let (notices, metrics) = match profile.section("notices")? {
            Some(section) => notices(section, defaults)?,
            None => (Vec::new(), None),
        };
        Ok(Settings {
            wanted: wanted(profile)?,
            hooks: profile
                .section("hooks")?
                .map_or(Ok(Hooks::default()), |section| hooks(section, defaults))?,
            notices,
            metrics,
            guards: guards(profile, defaults)?,
            log: profile.section("log")?.map(|section| log(section, defaults)).transpose()?,
        })
    };
    read().map_err(|error| failure(&error))
}

fn wanted(profile: &Profile) -> Result<Wanted, Error> {
    let is_rule = |key: &String| RULES.iter().any(|rule| key.starts_with(rule));
    let forget = profile.section("forget")?.is_some_and(|section| section.entries.keys().any(is_rule));
    // A section without a time is for each run.
    let every = |name| -> Result<Option<Duration>, Error> {
        let Some(section) = profile.section(name)? else { return Ok(None) };
        Ok(Some(section.duration("every")?.unwrap_or(Duration::ZERO)))
    };
    Ok(Wanted { forget, prune: every("prune")?, check: every("check")?, drill: every("drill")? })
}

fn hooks(section: &Section, defaults: &Defaults<'_>) -> Result<Hooks, Error> {
    section.refuse_unknown(HOOKS)?;
    let time_limit = section.duration("time-limit")?.unwrap_or(TIME_LIMIT);
    let folder = section.text("folder")?.map(|folder| home(folder, defaults));
    let of = |moment: Moment| -> Result<Vec<Hook>, Error> {
        let key = moment.name();
        let Some(entry) = section.get(key) else { return Ok(Vec::new()) };
        let all = match &entry.value {
            Value::List(list) => list.iter().collect(),
            _ => vec![entry],
        };
        let hook = |entry: &Entry| -> Result<Hook, Error> {
            let command = match &entry.value {
                Value::Text(line) => Command::Shell(line.clone()),
                Value::List(_) => Command::Words(entry.words(key)?.into_iter().map(Into::into).collect()),
                _ => return Err(entry.is_not(key, "a command line, or a list of its words")),
            };
            Ok(Hook { time_limit, folder: folder.clone(), ..Hook::new(command) })
        };
        all.into_iter().map(hook).collect()
    };
    Ok(Hooks {
        before: of(Moment::Before)?,
        after: of(Moment::After)?,
        failed: of(Moment::Failed)?,
        finally: of(Moment::Finally)?,
    })
}

fn notices(section: &Section, defaults: &Defaults<'_>) -> Result<(Vec<Notice>, Option<PathBuf>), Error> {
    let (mut notices, mut metrics) = (Vec::new(), None);
    for (key, entry) in &section.entries {
        match &entry.value {
            Value::Section(one) => notices.push(notice(one, defaults)?),
            Value::Text(text) if key == METRICS => metrics = Some(placed_beside(text, entry, defaults)),
            _ => return Err(section.unknown(key, entry, [METRICS])),
        }
    }
    Ok((notices, metrics))
}

fn notice(section: &Section, defaults: &Defaults<'_>) -> Result<Notice, Error> {
    section.refuse_unknown(NOTICE.into_iter().chain([DESKTOP]))?;
    let when = |text: &str| match text {
        "always" => Ok(When::Always),
        "failure" => Ok(When::Failure),
        "warning" => Ok(When::Warning),
        "change" => Ok(When::Change),
        _ => Err("possible values are always, failure, warning, change".to_owned()),
    };
    let when = section.parsed("when", when)?;
    let ping = hidden(section, "ping", defaults)?;
    let webhook = hidden(section, "webhook", defaults)?;
    let mail = section.words("mail")?;
    let desktop = section.flag(DESKTOP)?.unwrap_or(false);
    let ways = [ping.is_some(), webhook.is_some(), !mail.is_empty(), desktop];
    if ways.iter().filter(|way| **way).count() != 1 {
        let message = format!("[{}] needs one of ping, webhook, mail, desktop = true", section.name);
        return Err(Error::wrong(&section.place, message));
    }
    // A monitor waits for each run; people want to hear of what went wrong.
    let otherwise = if ping.is_some() || webhook.is_some() { When::Always } else { When::Warning };
    let way = if let Some(url) = ping {
        let plain = section.flag("plain")?.unwrap_or(false);
        let fail_on_warning = section.flag("fail-on-warning")?.unwrap_or(false);
        Way::Ping(Ping { plain, fail_on_warning, ..Ping::new(url) })
    } else if let Some(url) = webhook {
        let headers = headers(section, defaults)?;
        Way::Webhook(Webhook { headers, ..Webhook::new(url, form(section)?) })
    } else if desktop {
        Way::Desktop(Desktop::default())
    } else {
        let mut way = Mail::new(mail.into_iter().map(str::to_owned).collect());
        way.from = section.text("from")?.map(str::to_owned);
        if let Some(program) = section.text("program")? {
            way.program = home(program, defaults);
        }
        Way::Mail(way)
    };
    Ok(Notice { when: when.unwrap_or(otherwise), way })
}

/// A value that may be secret: under its key, or in the file under KEY-file.
fn hidden(section: &Section, key: &str, defaults: &Defaults<'_>) -> Result<Option<Hidden>, Error> {
    if let Some(text) = section.text(key)? {
        return Ok(Some(Hidden::Text(text.to_owned())));
    }
    let Some(entry) = section.get(&format!("{key}-file")) else { return Ok(None) };
    Ok(Some(Hidden::File(placed_beside(entry.word(key)?, entry, defaults))))
}

fn form(section: &Section) -> Result<Form, Error> {
    let template = section.parsed("template", Template::parse)?;
    let form = |text: &str| match (text, &template) {
        ("json", None) => Ok(Form::Json),
        ("ntfy", None) => Ok(Form::Ntfy),
        ("slack", None) => Ok(Form::Slack),
        ("template", Some(template)) => Ok(Form::Template(template.clone())),
        ("template", None) => Err("it needs a key template".to_owned()),
        (_, Some(_)) => Err("there is a template besides".to_owned()),
        _ => Err("possible values are json, ntfy, slack, template".to_owned()),
    };
    match (section.parsed("form", form)?, template) {
        (Some(form), _) => Ok(form),
        (None, Some(template)) => Ok(Form::Template(template)),
        (None, None) => Ok(Form::Json),
    }
}

/// `headers = { Authorization = "Bearer ...", X-Token = { file = "token" } }`.
fn headers(section: &Section, defaults: &Defaults<'_>) -> Result<Vec<(String, Hidden)>, Error> {
    let Some(headers) = section.section("headers")? else { return Ok(Vec::new()) };
    let header = |(name, entry): (&String, &Entry)| {
        let value = match &entry.value {
            Value::Section(inner) => {
                inner.refuse_unknown(["file"])?;
                let file = inner.get("file").ok_or_else(|| Error::wrong(&entry.place, "file is missing"))?;
                Hidden::File(placed_beside(file.word("file")?, file, defaults))
            }
            _ => Hidden::Text(entry.word(name)?.to_owned()),
        };
        Ok((name.clone(), value))
    };
    headers.entries.iter().map(header).collect()
}

fn guards(profile: &Profile, defaults: &Defaults<'_>) -> Result<Guards, Error> {
    let mut guards = Guards::default();
    guards.limits.accept = format!("copal run {} --accept", profile.name);
    let Some(section) = profile.section("guards")? else { return Ok(guards) };
    section.refuse_unknown(GUARDS)?;
    let limits = &mut guards.limits;
    limits.files = section.number("files")?.unwrap_or(limits.files);
    limits.times = section.number("times")?.unwrap_or(limits.times);
    if let Some(free) = section.size("free")? {
        (limits.free, limits.free_share) = (free, 1.0);
    }
    if let Some(clock) = section.duration("clock")? {
        limits.clock_seconds = i64::try_from(clock.as_secs()).unwrap_or(i64::MAX);
    }
    for folder in section.words("mounted")? {
        let path = home(folder, defaults);
        guards.mounted.push(std::os::unix::ffi::OsStringExt::into_vec(path.into_os_string()));
    }
    if let Some(entry) = section.get("ignore") {
        for code in entry.words("ignore")? {
            if !CODES.contains(&code) {
                let message = format!("{code:?} is no kind of alarm: {}", CODES.join(", "));
                return Err(Error::wrong(&entry.place, message));
            }
            guards.ignore.push(code.to_owned());
        }
    }
    Ok(guards)
}

fn log(section: &Section, defaults: &Defaults<'_>) -> Result<Log, Error> {
    section.refuse_unknown(LOG)?;
    let Some(entry) = section.get("file") else {
        return Err(Error::wrong(&section.place, "[log] needs a file"));
    };
    let file = placed_beside(entry.word("file")?, entry, defaults);
    if file.file_name().is_none() || Path::new(&file).is_dir() {
        return Err(Error::wrong(&entry.place, format!("{} is a folder", file.display())));
    }
    Ok(Log { file, size: section.size("size")?, older: section.number("older")? })
}
