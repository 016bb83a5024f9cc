//! `copal doctor`: what is wrong, in plain words, and the one command to run next. Writes nothing.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use serde::Serialize;

use crate::cli::context::Context;
use crate::cli::exit::{Code, Failure};
use crate::doctor::{Doctor, Finding, Group, Matter, Next, Report, Seen, Severity, Subject};
use crate::model::clock::Clock;
use crate::terminal::escape::escape;
use crate::terminal::size::{show_count, show_duration, show_size};
use crate::terminal::{json, shell, time};

/// Objects of one finding that are shown to a person.
const SHOWN: usize = 5;

#[derive(Serialize)]
struct FindingLine<'a> {
    severity: Severity,
    code: Matter,
    message: &'a str,
    objects: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

#[derive(Serialize)]
struct GroupLine<'a> {
    hostname: &'a str,
    paths: Vec<String>,
    snapshots: u64,
    last_backup: String,
}

#[derive(Serialize)]
struct Summary {
    bad: u64,
    warnings: u64,
    notes: u64,
    snapshots: u64,
    packs: u64,
    packs_size: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_check: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
    exit_code: u8,
}

/// Looks at everything.
pub fn run(context: &Context<'_>) -> Result<Code, Failure> {
    let location = context.location()?;
    let backend = context.backend()?;
    let shown = backend.location();
    let subject = Subject {
        folder: Some(PathBuf::from(location)),
        cache: context.cache_folder().ok().flatten(),
        key_file: context.key_file(),
        host: context.host(),
    };
    let mut doctor = Doctor::new(backend, subject, &context.clock);
    if doctor.outside() {
        match context.secret() {
            Ok(secret) => doctor.inside(secret.unlock()),
            Err(failure) => doctor.without_key(&failure.message),
        }
    }
    let report = doctor.end();
    let code = code(&report.findings);
    let next = report.findings.iter().find_map(|finding| finding.next.as_ref());
    let next = next.map(|next| command(context, next));
    if context.global.json {
        print_json(context, &report, next, code)?;
        return Ok(code);
    }
    let mut text = String::new();
    for finding in &report.findings {
        text += &show(context, finding);
    }
    match (report.findings.is_empty(), next) {
        (true, _) => text += &healthy(context, &shown, &report.seen),
        (false, Some(next)) => text += &format!("run next:\n{next}\n"),
        (false, None) => text += &healthy(context, &shown, &report.seen),
    }
    context.out.write(text)?;
    Ok(code)
}

/// What the worst of it means for whoever runs this from a script.
fn code(findings: &[Finding]) -> Code {
    let is_about = |matter| findings.iter().any(|finding| finding.matter == matter);
    let is_bad = |finding: &&Finding| finding.severity == Severity::Bad;
    match () {
        () if is_about(Matter::NoRepository) => Code::NoRepository,
        () if is_about(Matter::KeyWrong) => Code::WrongKey,
        () if is_about(Matter::UnknownFormat) => Code::UnknownFormat,
        () if findings.iter().any(|finding| finding.is_damage) => Code::Damaged,
        () if findings.iter().any(|finding| is_bad(&finding)) => Code::Incomplete,
        () => Code::Done,
    }
}

fn show(context: &Context<'_>, finding: &Finding) -> String {
    let word = match finding.severity {
        Severity::Bad => "BAD",
        Severity::Warning => "warning",
        Severity::Note => "note",
    };
    let mut text = format!("{word}: {}\n", finding.what);
    for object in finding.objects.iter().take(SHOWN) {
        text += &format!("    {object}\n");
    }
    if finding.objects.len() > SHOWN {
        text += &format!("    and {} more (--json names all)\n", finding.objects.len() - SHOWN);
    }
    if let Some(next) = &finding.next {
        text += &format!("    -> {}\n", command(context, next));
    }
    text
}

fn healthy(context: &Context<'_>, location: &str, seen: &Seen) -> String {
    let now = context.clock.now();
    let newest = seen.groups.iter().map(|group| group.last).max();
    let age = newest.map_or_else(String::new, |last| {
        let seconds = now.seconds.saturating_sub(last.seconds).max(0) as u64;
        let seconds = if seconds > 3600 { seconds - seconds % 3600 } else { seconds };
        format!(", the newest {} old", show_duration(std::time::Duration::from_secs(seconds)))
    });
    format!(
        "{}: nothing is wrong: {}{age}, {} of {}\n",
        escape(location.as_bytes()),
        show_count(seen.snapshots, "snapshot"),
        show_count(seen.packs, "pack"),
        show_size(seen.bytes)
    )
}

fn print_json(
    context: &Context<'_>,
    report: &Report,
    next: Option<String>,
    code: Code,
) -> Result<(), Failure> {
    for Group { host, sources, snapshots, last } in &report.seen.groups {
        let line = GroupLine {
            hostname: &json::text(host),
            paths: sources.iter().map(|source| json::text(source).into_owned()).collect(),
            snapshots: *snapshots,
            last_backup: time::iso(*last),
        };
        context.out.json("group", &line)?;
    }
    for finding in &report.findings {
        let line = FindingLine {
            severity: finding.severity,
            code: finding.matter,
            message: &finding.what,
            objects: &finding.objects,
            next: finding.next.as_ref().map(|next| command(context, next)),
        };
        context.out.json("finding", &line)?;
    }
    let count =
        |severity| report.findings.iter().filter(|finding| finding.severity == severity).count() as u64;
    let summary = Summary {
        bad: count(Severity::Bad),
        warnings: count(Severity::Warning),
        notes: count(Severity::Note),
        snapshots: report.seen.snapshots,
        packs: report.seen.packs,
        packs_size: report.seen.bytes,
        last_check: report.seen.checked.map(time::iso),
        next,
        exit_code: code as u8,
    };
    Ok(context.out.json("summary", &summary)?)
}

/// The command as it can be typed: with the repository and key that this run was given.
fn command(context: &Context<'_>, next: &Next) -> String {
    let words = |verb: &str| verb.split(' ').map(|word| word.as_bytes().to_vec()).collect::<Vec<_>>();
    let copal = |verb: &str, with_key: bool| {
        let mut all = words("copal");
        all.extend(words(verb));
        all.extend(options(context, with_key));
        all
    };
    let all = match next {
        Next::Copal(verb, rest) => [copal(verb, true), rest.clone()].concat(),
        Next::WithoutKey(verb) => copal(verb, false),
        Next::CopalAs(user, verb) => {
            [words("sudo -u"), vec![user.as_bytes().to_vec()], copal(verb, true)].concat()
        }
        Next::Other(words) => words.clone(),
    };
    shell::line(all)
}

/// Options that lead to the same repository by the same key. What the environment says is left to it, but for the repository: that one
/// is always named.
fn options(context: &Context<'_>, with_key: bool) -> Vec<Vec<u8>> {
    let global = &context.global;
    let mut all = Vec::new();
    let mut add = |option: &str, variable: Option<&str>, value: Option<&OsStr>| {
        let known = variable.and_then(|name| (context.environment)(name));
        if let Some(value) = value.filter(|value| known.as_deref() != Some(*value)) {
            all.extend([option.as_bytes().to_vec(), value.as_bytes().to_vec()]);
        }
    };
    add("-r", None, global.repo.as_deref());
    add("--repository-file", None, global.repository_file.as_deref().map(|path| path.as_os_str()));
    if with_key {
        let path = |path: &'_ Option<PathBuf>| path.clone().map(PathBuf::into_os_string);
        add("--key-file", Some("COPAL_KEY_FILE"), path(&global.key_file).as_deref());
        add("-p", Some("COPAL_PASSWORD_FILE"), path(&global.password_file).as_deref());
        add("--password-command", Some("COPAL_PASSWORD_COMMAND"), global.password_command.as_deref());
    }
    add("--cache-dir", Some("COPAL_CACHE_DIR"), global.cache_dir.as_deref().map(|path| path.as_os_str()));
    if global.no_cache {
        all.push(b"--no-cache".to_vec());
    }
    all
}
