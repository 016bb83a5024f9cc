//! `--profile NAME`: what was typed, completed by what the profile says. Options count before variables, and these before the profile.

use std::ffi::{OsStr, OsString};

use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, CommandFactory};

use super::{load, options};
use crate::cli::arguments::Arguments;
use crate::cli::defaults::Defaults;
use crate::cli::environment::Lookup;
use crate::cli::exit::Failure;

/// Variables that stand for options, by the options they push aside.
const VARIABLES: [(&[&str], &[&str]); 4] = [
    (&["COPAL_REPOSITORY", "COPAL_REPOSITORY_FILE"], &["repo", "repository_file"]),
    (
        &["COPAL_KEY_FILE", "COPAL_PASSWORD_FILE", "COPAL_PASSWORD_COMMAND", "COPAL_PASSWORD"],
        &["key_file", "password_file", "password_command"],
    ),
    (&["COPAL_CACHE_DIR"], &["cache_dir", "no_cache"]),
    (&["COPAL_CATALOGUE"], &["no_catalogue"]),
];

/// Commands to which a profile means something else: they take it whole.
const WHOLE: [&str; 4] = ["run", "profile", "status", "schedule"];

/// Whether that option was typed.
fn is_typed(matches: &ArgMatches, id: &str) -> bool {
    matches.try_contains_id(id).unwrap_or(false) && matches.value_source(id) == Some(ValueSource::CommandLine)
}

/// What was typed without the program's name, with the profile's options where nothing else was said.
pub fn complete(typed: Vec<OsString>, environment: Lookup<'_>) -> Result<Vec<OsString>, Failure> {
    let named = typed.iter().any(|word| {
        let word = word.to_string_lossy();
        word == "--profile" || word.starts_with("--profile=")
    });
    let from_environment = environment("COPAL_PROFILE");
    if !named && from_environment.is_none() {
        return Ok(typed);
    }
    let lenient = Arguments::command().ignore_errors(true);
    let Ok(matches) = lenient.clone().try_get_matches_from(&typed) else { return Ok(typed) };
    let Some((command, below)) = matches.subcommand() else { return Ok(typed) };
    let name = match below.get_one::<String>("profile").filter(|_| is_typed(below, "profile")) {
        Some(name) => name.clone(),
        None => match from_environment {
            Some(name) => name.to_string_lossy().into_owned(),
            None => return Ok(typed),
        },
    };
    if WHOLE.contains(&command) {
        return Ok(typed);
    }
    let defaults = Defaults::new(environment);
    let profile = load(&defaults, &name)?;
    let grammar = options::grammar();
    // One of a row pushes the others aside.
    let pushed_aside = |id: &str| {
        is_typed(below, id)
            || VARIABLES.iter().any(|(variables, ids)| {
                ids.contains(&id)
                    && (ids.iter().any(|other| is_typed(below, other))
                        || variables.iter().any(|variable| environment(variable).is_some()))
            })
    };
    // What may be said several times is added to.
    let wanted = |argument: &Arg| {
        matches!(argument.get_action(), ArgAction::Append) || !pushed_aside(argument.get_id().as_str())
    };
    let mut more = options::globals(&profile, None, &defaults, &wanted)?;
    let mut sources = Vec::new();
    if let Some(command_grammar) = options::command_of(&grammar, command) {
        more.extend(options::of_command(&profile, command, command_grammar, &defaults, &wanted)?);
        if command == "watch" {
            let rest = |argument: &Arg| {
                let long = argument.get_long().unwrap_or_default();
                let own = profile.section("watch").ok().flatten();
                wanted(argument) && own.is_none_or(|own| own.get(long).is_none())
            };
            more.extend(options::of_command(&profile, "backup", command_grammar, &defaults, &rest)?);
            more.extend(options::of_command(&profile, "forget", command_grammar, &defaults, &rest)?);
        }
        let inputs =
            ["sources", "stdin", "stdin_from_command", "files_from", "files_from_verbatim", "files_from_raw"];
        if matches!(command, "backup" | "watch") && !inputs.iter().any(|id| is_typed(below, id)) {
            sources = options::sources(&profile, &defaults)?;
        }
    }
    Ok(put_in(typed, &lenient, command, more, sources))
}

/// Puts options behind the command's name, and sources at the end.
fn put_in(
    typed: Vec<OsString>,
    lenient: &clap::Command,
    command: &str,
    more: Vec<OsString>,
    sources: Vec<OsString>,
) -> Vec<OsString> {
    let is_there = |length: usize| {
        let matches = lenient.clone().try_get_matches_from(&typed[..length]);
        matches.is_ok_and(|matches| matches.subcommand_name() == Some(command))
    };
    let at = (1..=typed.len()).find(|length| is_there(*length)).unwrap_or(typed.len());
    let ends = typed.iter().any(|word| word == OsStr::new("--"));
    let mut out = typed;
    if !sources.is_empty() {
        if !ends {
            out.push("--".into());
        }
        out.extend(sources);
    }
    out.splice(at..at, more);
    out
}
