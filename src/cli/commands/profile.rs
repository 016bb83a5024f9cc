//! `copal profile`: new, check, show, list.

use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::cli::arguments::{Profile, ProfileCheck, ProfileCommand, ProfileNew, ProfileShow};
use crate::cli::context::{Context, absolute};
use crate::cli::exit::{Code, Failure};
use crate::cli::profile;
use crate::profile::{Section, Value, quoted, shown_key};
use crate::terminal::escape::{escape, path as shown};

/// What root saves when nothing is said.
const OF_ROOT: [&str; 5] = ["/etc", "/home", "/root", "/srv", "/var/lib"];

pub fn run(context: &Context<'_>, wanted: &Profile) -> Result<Code, Failure> {
    match &wanted.command {
        ProfileCommand::New(new) => make(context, new),
        ProfileCommand::Check(wanted) => check(context, wanted),
        ProfileCommand::Show(wanted) => show(context, wanted),
        ProfileCommand::List(_) => list(context),
    }
}

/// What a new profile saves.
fn sources(context: &Context<'_>, new: &ProfileNew) -> Result<Vec<PathBuf>, Failure> {
    if !new.sources.is_empty() {
        let path = |source: &std::ffi::OsString| {
            let path = PathBuf::from(std::ffi::OsStr::from_bytes(&absolute(source)?));
            match (path.to_str(), path.symlink_metadata()) {
                (None, _) => Err(Failure::usage(format!("{}: a profile holds only UTF-8", shown(&path)))),
                (_, Err(error)) => Err(Failure::usage(format!("{}: {error}", shown(&path)))),
                _ => Ok(path),
            }
        };
        return new.sources.iter().map(path).collect();
    }
    if rustix::process::geteuid().is_root() {
        return Ok(OF_ROOT.iter().map(PathBuf::from).filter(|path| path.is_dir()).collect());
    }
    context
        .defaults
        .home()
        .map(|home| vec![home])
        .ok_or_else(|| Failure::usage("there is no home folder: say what is to be saved"))
}

/// The line of the profile that says how the repository is opened.
fn key_line(context: &Context<'_>) -> Result<String, Failure> {
    let origin = context.global.origin();
    let text = |path: &Path| {
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        quoted(&path.to_string_lossy())
    };
    if let Some(path) = origin.key_file {
        return Ok(format!("key-file = {}", text(path)));
    }
    if let Some(path) = origin.password_file {
        return Ok(format!("password-file = {}", text(path)));
    }
    if let Some(command) = origin.password_command {
        return Ok(format!("password-command = {}", quoted(&command.to_string_lossy())));
    }
    Ok("# password-file = \"NAME.password\"     # beside this file, chmod 600; or key-file, or password-command".into())
}

fn make(context: &Context<'_>, new: &ProfileNew) -> Result<Code, Failure> {
    if !crate::profile::is_name(&new.name) {
        let message = format!("{:?} can be no profile's name: letters, digits, - and _ only", new.name);
        return Err(Failure::usage(message));
    }
    let folder = context.defaults.config_folder()?;
    let file = folder.join(format!("{}.toml", new.name));
    let sources = sources(context, new)?;
    let sources: Vec<&Path> = sources.iter().map(PathBuf::as_path).collect();
    let repository = match context.is_default_repository() {
        true => None,
        false => {
            let location = context.location()?;
            let text = location.to_string_lossy().into_owned();
            let is_path = !text.contains(':') || text.starts_with(['/', '.']);
            Some(match (is_path, std::path::absolute(&text)) {
                (true, Ok(path)) => path.to_string_lossy().into_owned(),
                _ => text,
            })
        }
    };
    let text = crate::profile::template(
        &new.name,
        repository.as_deref(),
        &key_line(context)?,
        &sources,
        new.write_only,
    );
    let failed = |error: std::io::Error| {
        if error.kind() == std::io::ErrorKind::AlreadyExists {
            return Failure::new(Code::Refused, format!("{} is there already", shown(&file)))
                .with_hint(format!("See it: copal profile show {}", new.name));
        }
        Failure::new(Code::Failed, format!("{} can not be written: {error}", shown(&file)))
    };
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder).map_err(failed)?;
    let mut made =
        std::fs::File::options().write(true).create_new(true).mode(0o600).open(&file).map_err(failed)?;
    made.write_all(text.as_bytes()).and_then(|()| made.sync_all()).map_err(|error| {
        let _ = std::fs::remove_file(&file);
        failed(error)
    })?;
    profile::load(&context.defaults, &new.name)?;
    context.out.write(format!(
        "wrote {}\nChange it as you like, then try it: copal run {name} --dry-run\nHave it done by itself: copal schedule install {name}\n",
        shown(&file),
        name = new.name
    ))?;
    Ok(Code::Done)
}

#[derive(Serialize)]
struct Line<'a> {
    name: &'a str,
    file: std::borrow::Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
}

fn all(context: &Context<'_>) -> Result<Vec<(String, PathBuf)>, Failure> {
    Ok(crate::profile::list(&profile::folders(&context.defaults)?)?)
}

fn check(context: &Context<'_>, wanted: &ProfileCheck) -> Result<Code, Failure> {
    let names = match wanted.names.is_empty() {
        true => all(context)?.into_iter().map(|(name, _)| name).collect(),
        false => wanted.names.clone(),
    };
    if names.is_empty() {
        return Err(
            Failure::new(Code::Failed, "there is no profile").with_hint("Make one: copal profile new NAME")
        );
    }
    let mut worst = None;
    for name in &names {
        match profile::load(&context.defaults, name) {
            Ok(profile) if tell_doubts(context, &profile)? => worst = worst.or(Some(Code::Incomplete)),
            Ok(profile) if context.global.json => {
                let file = shown(&profile.file);
                let description = profile.description()?;
                context.out.json("profile", &Line { name, file, description, problem: None })?;
            }
            Ok(profile) => context.out.write(format!("{}: sound\n", shown(&profile.file)))?,
            Err(failure) => {
                failure.print(context.global.json);
                worst = Some(failure.code);
            }
        }
    }
    Ok(worst.unwrap_or(Code::Done))
}

/// Tells what of a profile's notices would fail, as far as that can be seen without sending any; whether there was anything.
fn tell_doubts(context: &Context<'_>, profile: &crate::profile::Profile) -> Result<bool, Failure> {
    let settings = profile::settings(profile, &context.defaults)?;
    let doubts = crate::notices::check(&settings.notices);
    for doubt in &doubts {
        context.warn(&format!("{}: {doubt}", shown(&profile.file)));
    }
    Ok(!doubts.is_empty())
}

fn list(context: &Context<'_>) -> Result<Code, Failure> {
    let all = all(context)?;
    if all.is_empty() {
        context.say("There is no profile. Make one: copal profile new NAME");
    }
    let width = all.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    for (name, file) in &all {
        let loaded = profile::load(&context.defaults, name);
        let (description, problem) = match &loaded {
            Ok(profile) => (profile.description()?, None),
            Err(failure) => (None, Some(failure.message.clone())),
        };
        if context.global.json {
            context.out.json("profile", &Line { name, file: shown(file), description, problem })?;
            continue;
        }
        let told = match (&problem, description) {
            (Some(problem), _) => format!("unusable: {problem}"),
            (None, Some(description)) => escape(description.as_bytes()).into_owned(),
            (None, None) => shown(file).into_owned(),
        };
        context.out.write(format!("{name:width$}  {told}\n"))?;
    }
    Ok(Code::Done)
}

fn show(context: &Context<'_>, wanted: &ProfileShow) -> Result<Code, Failure> {
    let profile = profile::load(&context.defaults, &wanted.name)?;
    let mut text = format!("# {}\n", shown(&profile.file));
    write_section(&mut text, &profile.top, &profile.file);
    context.out.write(escape_lines(&text))?;
    Ok(Code::Done)
}

/// Every line as it may be shown.
fn escape_lines(text: &str) -> String {
    text.lines().map(|line| format!("{}\n", escape(line.as_bytes()))).collect()
}

/// Keys first, then sections, as TOML wants it; what comes from another file says so.
fn write_section(text: &mut String, section: &Section, file: &Path) {
    for (key, entry) in &section.entries {
        if matches!(entry.value, Value::Section(_)) {
            continue;
        }
        *text += &format!("{} = {}", shown_key(key), entry.value);
        if &*entry.place.file != file {
            *text += &format!("  # {}", entry.place);
        }
        text.push('\n');
    }
    for entry in section.entries.values() {
        if let Value::Section(inner) = &entry.value {
            *text += &format!("\n[{}]\n", inner.name);
            write_section(text, inner, file);
        }
    }
}
