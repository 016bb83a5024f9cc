//! `--profile NAME`: what was typed, completed by what the profile says. Options count before variables, and these before the profile.

use std::ffi::{OsStr, OsString};

use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, CommandFactory};

use super::{load, options};
use crate::cli::arguments::{Arguments, wants_json};
use crate::cli::context::eprint_line;
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
/// Options of `[backup]` that are for a single backup, and no part of a watch with the same profile.
const NOT_WATCHED: [&str; 3] = ["command", "command-time-limit", "fs-snapshot"];
/// Options that say what is saved.
const INPUTS: [&str; 6] =
    ["sources", "stdin", "stdin_from_command", "files_from", "files_from_verbatim", "files_from_raw"];

/// Whether that option was typed.
fn is_typed(matches: &ArgMatches, id: &str) -> bool {
    matches.try_contains_id(id).unwrap_or(false) && matches.value_source(id) == Some(ValueSource::CommandLine)
}

/// The command that was typed, whole: `schedule install` is two words.
struct Typed<'m> {
    words: Vec<String>,
    matches: &'m ArgMatches,
}

impl<'m> Typed<'m> {
    fn of(matches: &'m ArgMatches) -> Typed<'m> {
        let mut typed = Typed { words: Vec::new(), matches };
        while let Some((word, below)) = typed.matches.subcommand() {
            typed.words.push(word.to_owned());
            typed.matches = below;
        }
        typed
    }

    /// The section with its options.
    fn section(&self) -> &str {
        self.words.first().map_or("", String::as_str)
    }

    fn is(&self, id: &str) -> bool {
        is_typed(self.matches, id)
    }

    /// The profile that is meant. A schedule is of the profile that it names.
    fn profile(&self, environment: Lookup<'_>) -> Option<String> {
        let named = |id: &str| self.matches.get_one::<String>(id).cloned();
        if self.words == ["schedule", "install"] {
            return named("name");
        }
        if WHOLE.contains(&self.section()) {
            return None;
        }
        let typed = if self.is("profile") { named("profile") } else { None };
        typed.or_else(|| environment("COPAL_PROFILE").map(|name| name.to_string_lossy().into_owned()))
    }
}

/// What was typed without the program's name, with the profile's options where nothing else was said.
pub fn complete(typed: Vec<OsString>, environment: Lookup<'_>) -> Result<Vec<OsString>, Failure> {
    let mentions = |what: &str| typed.iter().any(|word| word.to_string_lossy().starts_with(what));
    if !mentions("--profile") && !mentions("schedule") && environment("COPAL_PROFILE").is_none() {
        return Ok(typed);
    }
    let lenient = Arguments::command().ignore_errors(true);
    let Ok(matches) = lenient.clone().try_get_matches_from(&typed) else { return Ok(typed) };
    let command = Typed::of(&matches);
    let Some(name) = command.profile(environment) else { return Ok(typed) };
    let defaults = Defaults::new(environment);
    let profile = load(&defaults, &name)?;
    // One of a row pushes the others aside.
    let pushed_aside = |id: &str| {
        command.is(id)
            || VARIABLES.iter().any(|(variables, ids)| {
                ids.contains(&id)
                    && (ids.iter().any(|other| command.is(other))
                        || variables.iter().any(|variable| environment(variable).is_some()))
            })
    };
    // What may be said several times is added to.
    let wanted = |argument: &Arg| {
        matches!(argument.get_action(), ArgAction::Append) || !pushed_aside(argument.get_id().as_str())
    };
    let (variables, ids) = VARIABLES[0];
    if let Some(variable) = variables.iter().find(|variable| environment(variable).is_some())
        && !ids.iter().any(|id| command.is(id))
        && options::names_repository(&profile)
        && !wants_json(&typed)
    {
        eprint_line(&format!(
            "copal: {variable} is set, and counts before the repository of the profile {name}"
        ));
    }
    let section = command.section();
    let grammar = options::grammar();
    let command_grammar = options::command_of(&grammar, section);
    // What contradicts something that was typed is left out: `--read-data` against a budget.
    let contradicts = |argument: &Arg| {
        command_grammar.is_some_and(|grammar| {
            let conflict = |one: &Arg, other: &Arg| {
                let all = grammar.get_arg_conflicts_with(one);
                let excludes = |group: &clap::ArgGroup| {
                    let has = |argument: &Arg| group.get_args().any(|id| id == argument.get_id());
                    !group.clone().is_multiple() && has(one) && has(other) && one.get_id() != other.get_id()
                };
                all.iter().any(|conflicting| conflicting.get_id() == other.get_id())
                    || grammar.get_groups().any(excludes)
            };
            let mut typed = grammar.get_arguments().filter(|other| command.is(other.get_id().as_str()));
            typed.any(|typed| conflict(typed, argument) || conflict(argument, typed))
        })
    };
    let of_command = |argument: &Arg| wanted(argument) && !contradicts(argument);
    let mut more = Vec::new();
    if section != "schedule" {
        more.extend(options::globals(&profile, None, &defaults, &wanted)?);
    }
    let mut sources = Vec::new();
    if let Some(command_grammar) = command_grammar {
        more.extend(options::of_command(&profile, section, command_grammar, &defaults, &of_command)?);
        if section == "watch" {
            let own = profile.section("watch")?;
            let rest = |argument: &Arg| {
                let long = argument.get_long().unwrap_or_default();
                wanted(argument)
                    && !NOT_WATCHED.contains(&long)
                    && own.is_none_or(|own| own.get(long).is_none())
            };
            for other in ["backup", "forget"] {
                more.extend(options::of_command(&profile, other, command_grammar, &defaults, &rest)?);
            }
        }
        if matches!(section, "backup" | "watch") && !INPUTS.iter().any(|id| command.is(id)) {
            sources = options::sources(&profile, &defaults)?;
        }
    }
    let at = place(&typed, &lenient, &command.words);
    Ok(put_in(typed, at, more, sources))
}

/// Where options of the command may stand: behind its last word.
fn place(typed: &[OsString], lenient: &clap::Command, words: &[String]) -> usize {
    let is_there = |length: usize| {
        let matches = lenient.clone().try_get_matches_from(&typed[..length]);
        matches.is_ok_and(|matches| Typed::of(&matches).words == words)
    };
    (1..=typed.len()).find(|length| is_there(*length)).unwrap_or(typed.len())
}

/// Puts options at their place, and sources at the end.
fn put_in(typed: Vec<OsString>, at: usize, more: Vec<OsString>, sources: Vec<OsString>) -> Vec<OsString> {
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
