//! The command line: what is typed, what it means, where secrets and defaults come from, and how a run ends.

pub mod arguments;
mod commands;
mod context;
pub mod defaults;
pub mod environment;
pub mod exit;
mod expand;
mod listener;
pub mod manual;
mod paths;
pub mod secrets;
mod select;
mod signals;

use std::ffi::OsString;

use arguments::{Arguments, Command};
use context::Context;
use exit::{Code, Failure};

/// Reads the command line, does what it says, and gives the exit code.
pub fn run(typed: Vec<OsString>) -> Code {
    let json = arguments::wants_json(&typed);
    let arguments = match Arguments::read(typed, &environment::process) {
        Ok(arguments) => arguments,
        Err(error) => {
            return match exit::from_parser(&error) {
                Ok(text) => finish(
                    crate::terminal::json::Output::stdout()
                        .write(text)
                        .map_err(Failure::from)
                        .map(|()| Code::Done),
                    json,
                ),
                Err(failure) => finish(Err(failure), json),
            };
        }
    };
    crate::files::raise_file_limit();
    let json = arguments.global.json;
    exit::keep_panics_quiet();
    let context = Context::new(arguments.global, &environment::process);
    let run = || {
        let mut result = Err(Failure::new(Code::Failed, "nothing was done"));
        let done = crate::repository::caught(|| {
            result = execute(&context, &arguments.command);
            Ok(())
        });
        done.map_err(|error| context::failure(&error)).and(result)
    };
    let mut result = run();
    // The cache is disposable: it is made anew, and the command runs once more. Not when its input is used up or half of its output is out.
    let once =
        matches!(&arguments.command, Command::Backup(backup) if backup.stdin || backup.stdin_from_command);
    if let Err(failure) = &result
        && failure.of_cache
        && context.put_cache_aside(&failure.message)
        && !once
        && !context.out.has_written()
    {
        result = run();
    }
    finish(result, json)
}

fn execute(context: &Context<'_>, command: &Command) -> Result<Code, Failure> {
    match command {
        Command::Init(init) => commands::init::run(context, init),
        Command::Backup(backup) => commands::backup::run(context, backup),
        Command::Snapshots(snapshots) => commands::snapshots::run(context, snapshots),
        Command::Ls(ls) => commands::ls::run(context, ls),
        Command::Restore(restore) => commands::restore::run(context, restore),
        Command::Forget(forget) => commands::forget::run(context, forget),
        Command::Prune(prune) => commands::prune::run(context, prune),
        Command::Undelete(undelete) => commands::undelete::run(context, undelete),
        Command::Protect(protect) => commands::protect::protect(context, protect),
        Command::Unprotect(unprotect) => commands::protect::unprotect(context, unprotect),
        Command::Tag(tag) => commands::tag::run(context, tag),
        Command::Check(check) => commands::check::run(context, check),
        Command::Key(key) => commands::key::run(context, key),
        Command::Stats(stats) => commands::stats::run(context, stats),
        Command::Completions(completions) => commands::about::completions(context, completions),
        Command::Man(man) => commands::about::man(context, man),
        Command::Version(_) => commands::about::version(context),
    }
}

fn finish(result: Result<Code, Failure>, json: bool) -> Code {
    match result {
        Ok(code) => code,
        Err(failure) => {
            failure.print(json);
            failure.code
        }
    }
}
