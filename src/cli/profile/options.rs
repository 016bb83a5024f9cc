//! From the keys of a profile to options as they are typed. The parser of the command line says which there are, so a profile has every
//! option of every command, under its long name.

use std::any::TypeId;
use std::error::Error as _;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use clap::error::{ContextKind, ContextValue};
use clap::{Arg, ArgAction, CommandFactory};

use super::failure;
use super::secret::refuse_readable;
use crate::cli::arguments::Arguments;
use crate::cli::defaults::Defaults;
use crate::cli::environment::Lookup;
use crate::cli::exit::Failure;
use crate::profile::{Entry, Error, OWN_KEYS, Profile, Section, Value};
use crate::terminal::escape::escape;

/// The section whose keys are what is saved.
const SOURCES: (&str, &str) = ("backup", "sources");
/// Options that belong to one run, not to a profile.
const NOT_KEPT: [&str; 7] = ["json", "quiet", "verbose", "profile", "help", "version", "dry-run"];
/// Sections whose options are those of a command below that command.
const BELOW: [(&str, &str); 1] = [("schedule", "install")];
/// Keys of commands' sections that say when `copal run` does it.
const WHEN: [(&str, &str); 3] = [("prune", "every"), ("check", "every"), ("drill", "every")];
/// Sections that no command reads: they are for `copal run` and its like.
pub const CONCERNS: [&str; 5] = ["targets", "hooks", "notices", "guards", "log"];

/// Which options are taken: an answer for each.
pub type Wanted<'w> = &'w dyn Fn(&Arg) -> bool;

/// All options of the program.
pub fn grammar() -> clap::Command {
    let mut command = Arguments::command();
    command.build();
    command
}

/// The command that a section is about.
pub fn command_of<'c>(grammar: &'c clap::Command, section: &str) -> Option<&'c clap::Command> {
    let command = grammar.find_subcommand(section)?;
    match BELOW.iter().find(|(name, _)| *name == section) {
        Some((_, below)) => command.find_subcommand(below),
        None => (!command.has_subcommands()).then_some(command),
    }
}

fn is_global(grammar: &clap::Command, argument: &Arg) -> bool {
    grammar.get_arguments().any(|global| global.get_id() == argument.get_id())
}

/// The option of that long name.
fn option<'c>(command: &'c clap::Command, key: &str) -> Option<&'c Arg> {
    let key = if key == "repository" { "repo" } else { key };
    command
        .get_arguments()
        .find(|argument| argument.get_long() == Some(key))
        .filter(|_| !NOT_KEPT.contains(&key))
}

/// Options for every command.
fn known_globals(grammar: &clap::Command) -> Vec<String> {
    let globals = grammar.get_arguments().filter_map(Arg::get_long);
    globals.filter(|name| !NOT_KEPT.contains(name)).chain(["repository"]).map(str::to_owned).collect()
}

/// What is known at the top of a profile.
fn known_at_top(grammar: &clap::Command) -> Vec<String> {
    let sections = grammar.get_subcommands().map(clap::Command::get_name);
    let mut known = known_globals(grammar);
    known.extend(OWN_KEYS.iter().chain(&CONCERNS).map(|name| (*name).to_owned()));
    known.extend(sections.filter(|name| command_of(grammar, name).is_some()).map(str::to_owned));
    known
}

/// What is known in the section of a command.
fn known_in(grammar: &clap::Command, command: &clap::Command, section: &str) -> Vec<String> {
    let own = |argument: &&Arg| !is_global(grammar, argument);
    let longs = command.get_arguments().filter(own).filter_map(Arg::get_long);
    let mut known: Vec<String> = longs.filter(|name| !NOT_KEPT.contains(name)).map(str::to_owned).collect();
    let more = WHEN.iter().chain([&SOURCES]).filter(|(of, _)| *of == section);
    known.extend(more.map(|(_, key)| (*key).to_owned()));
    known
}

fn strs(names: &[String]) -> impl Iterator<Item = &str> + Clone {
    names.iter().map(String::as_str)
}

/// Refuses what is unknown, or no value of its option.
pub fn check(profile: &Profile, defaults: &Defaults<'_>) -> Result<(), Failure> {
    let grammar = grammar();
    profile.top.refuse_unknown(strs(&known_at_top(&grammar)))?;
    let top = typed(&grammar, &profile.top, defaults, &|_| true)?;
    arguments_of(&top, &|_| None)?;
    for (name, entry) in &profile.top.entries {
        let Value::Section(section) = &entry.value else { continue };
        let Some(command) = command_of(&grammar, name) else { continue };
        section.refuse_unknown(strs(&known_in(&grammar, command, name)))?;
        typed(command, section, defaults, &|_| true)?;
        for (of, key) in WHEN {
            if of == name {
                section.duration(key)?;
            }
        }
    }
    if let Some(targets) = profile.section("targets")? {
        for (_, target) in targets.sections()? {
            target.refuse_unknown(strs(&known_globals(&grammar)))?;
            typed(&grammar, target, defaults, &|_| true)?;
        }
    }
    sources(profile, defaults)?;
    Ok(())
}

/// The options for every command that a profile and one of its targets stand for; the target's count more.
pub fn globals(
    profile: &Profile,
    target: Option<&Section>,
    defaults: &Defaults<'_>,
    wanted: Wanted<'_>,
) -> Result<Vec<OsString>, Failure> {
    let grammar = grammar();
    let mut out = match target {
        Some(target) => typed(&grammar, target, defaults, wanted)?,
        None => Vec::new(),
    };
    let in_target = |key: &str| target.is_some_and(|target| has_like(target, key));
    let rest = |argument: &Arg| wanted(argument) && !argument.get_long().is_some_and(in_target);
    out.extend(typed(&grammar, &profile.top, defaults, &rest)?);
    Ok(out)
}

/// Options of which one stands for all of its row.
const ROWS: [&[&str]; 3] = [
    &["repo", "repository", "repository-file"],
    &["key-file", "password-file", "password-command"],
    &["cache-dir", "no-cache"],
];

/// Whether a profile says itself where its repository is.
pub fn names_repository(profile: &Profile) -> bool {
    ROWS[0].iter().any(|key| profile.top.get(key).is_some())
}

/// Whether a section has that key, or one that stands for it.
fn has_like(section: &Section, key: &str) -> bool {
    let row = ROWS.iter().find(|row| row.contains(&key));
    row.map_or(section.get(key).is_some(), |row| row.iter().any(|key| section.get(key).is_some()))
}

/// The options and, for `backup`, the sources that a profile has for that command. `section` is the command's, or that of one whose options
/// it takes too.
pub fn of_command(
    profile: &Profile,
    section: &str,
    command: &clap::Command,
    defaults: &Defaults<'_>,
    wanted: Wanted<'_>,
) -> Result<Vec<OsString>, Failure> {
    match profile.section(section)? {
        Some(section) => typed(command, section, defaults, wanted),
        None => Ok(Vec::new()),
    }
}

/// The options of a step of `copal run`.
pub fn of_step(profile: &Profile, name: &str, defaults: &Defaults<'_>) -> Result<Vec<OsString>, Failure> {
    let grammar = grammar();
    match command_of(&grammar, name) {
        Some(command) => of_command(profile, name, command, defaults, &|_| true),
        None => Ok(Vec::new()),
    }
}

/// What the profile saves.
pub fn sources(profile: &Profile, defaults: &Defaults<'_>) -> Result<Vec<OsString>, Failure> {
    let Some(entry) = profile.section(SOURCES.0)?.and_then(|section| section.get(SOURCES.1)) else {
        return Ok(Vec::new());
    };
    let mut out = Vec::new();
    for word in entry.words(SOURCES.1)? {
        let path = home(word, defaults);
        if !path.is_absolute() {
            let message = format!("the source {word:?} does not begin with / or ~/");
            return Err(failure(&Error::wrong(&entry.place, message)));
        }
        out.push(path.into_os_string());
    }
    Ok(out)
}

/// The options that a section stands for, as they are typed; keys that are no options of the command are passed over.
fn typed(
    command: &clap::Command,
    section: &Section,
    defaults: &Defaults<'_>,
    wanted: Wanted<'_>,
) -> Result<Vec<OsString>, Failure> {
    let mut out = Vec::new();
    for (key, entry) in &section.entries {
        let Some(argument) = option(command, key) else { continue };
        if !wanted(argument) {
            continue;
        }
        let values = values(argument, key, entry)?;
        for value in values {
            let Some(value) = value else {
                out.push(format!("--{}", argument.get_long().unwrap_or(key)).into());
                continue;
            };
            let value = placed(argument, value, entry, defaults)?;
            refuse_meaningless(argument, key, &value, entry)?;
            let mut word = OsString::from(format!("--{}=", argument.get_long().unwrap_or(key)));
            word.push(&value);
            out.push(word);
        }
    }
    Ok(out)
}

/// The values of one key; without one for a flag.
fn values<'e>(argument: &Arg, key: &str, entry: &'e Entry) -> Result<Vec<Option<&'e str>>, Failure> {
    match (argument.get_action(), &entry.value) {
        (ArgAction::SetTrue, Value::Flag(true)) => Ok(vec![None]),
        (ArgAction::SetTrue, Value::Flag(false)) => Ok(Vec::new()),
        (ArgAction::SetTrue, _) => Err(failure(&entry.is_not(key, "true or false"))),
        (ArgAction::Append, _) => Ok(entry.words(key)?.into_iter().map(Some).collect()),
        _ => Ok(vec![Some(entry.word(key)?)]),
    }
}

/// A value in which a path begins at the home folder or at the profile's own.
fn placed(argument: &Arg, value: &str, entry: &Entry, defaults: &Defaults<'_>) -> Result<OsString, Failure> {
    let is_path = argument.get_value_parser().type_id() == TypeId::of::<PathBuf>();
    let name = argument.get_long().unwrap_or_default();
    if !is_path && name != "repo" {
        return Ok(value.into());
    }
    // Something like sftp:host:path is no path.
    let is_url = name == "repo" && value.contains(':') && !value.starts_with(['/', '.', '~']);
    if is_url || value == "-" {
        return Ok(value.into());
    }
    let path = placed_beside(value, entry, defaults);
    refuse_readable(name, &path, entry)?;
    Ok(path.into_os_string())
}

/// A path as a profile has it: absolute, or beside the profile.
pub fn placed_beside(text: &str, entry: &Entry, defaults: &Defaults<'_>) -> PathBuf {
    let folder = entry.place.file.parent().unwrap_or(Path::new("/"));
    folder.join(home(text, defaults))
}

/// A path with the home folder in the place of `~/`.
pub fn home(text: &str, defaults: &Defaults<'_>) -> PathBuf {
    match (text.strip_prefix('~'), defaults.home()) {
        (Some(""), Some(home)) => home,
        (Some(rest), Some(home)) if rest.starts_with('/') => home.join(rest.trim_start_matches('/')),
        _ => PathBuf::from(text),
    }
}

/// Refuses a value that its option does not understand, with the line where it stands.
fn refuse_meaningless(argument: &Arg, key: &str, value: &OsStr, entry: &Entry) -> Result<(), Failure> {
    // The option alone, so that nothing else is missing or in the way.
    let lone = Arg::new(argument.get_id().clone()).value_parser(argument.get_value_parser().clone());
    let alone = clap::Command::new("copal").no_binary_name(true).disable_help_flag(true).arg(lone);
    let Err(error) = alone.try_get_matches_from([OsStr::new("--"), value]) else { return Ok(()) };
    let why = match (error.source(), error.get(ContextKind::ValidValue)) {
        (Some(why), _) => why.to_string(),
        (None, Some(ContextValue::Strings(values))) => format!("possible values are {}", values.join(", ")),
        _ => "is no such value".to_owned(),
    };
    let message = format!("{key} = \"{}\": {why}", escape(value.as_bytes()));
    Err(failure(&Error::wrong(&entry.place, message)))
}

/// What options for every command mean; those that contradict each other are refused.
pub fn arguments_of(options: &[OsString], environment: Lookup<'_>) -> Result<Arguments, Failure> {
    let typed = [OsString::from("copal"), "version".into()].into_iter().chain(options.iter().cloned());
    Arguments::read(typed, environment)
        .map_err(|error| crate::cli::exit::from_parser(&error).err().unwrap_or_else(|| Failure::usage("")))
}
