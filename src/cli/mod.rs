//! The command line: what is typed, what it means, where secrets and defaults come from, and how a run ends.

pub mod arguments;
mod ask;
mod background;
mod catalogue;
mod commands;
mod context;
pub mod defaults;
pub mod environment;
pub mod exit;
mod expand;
mod listener;
pub mod manual;
mod opening;
mod past;
mod paths;
mod problem;
mod profile;
pub mod secrets;
mod select;
mod signals;
mod storage;
mod wanted;

use std::ffi::OsString;

use arguments::{Arguments, Command};
use context::Context;
use exit::{Code, Failure};

/// Reads the command line, does what it says, and gives the exit code.
pub fn run(typed: Vec<OsString>) -> Code {
    if let Some(line) = environment::process(commands::complete::VARIABLE) {
        commands::complete::run(&line);
        return Code::Done;
    }
    let json = arguments::wants_json(&typed);
    let typed = match profile::complete(typed, &environment::process) {
        Ok(typed) => typed,
        Err(failure) => return finish(Err(failure), json),
    };
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
    if arguments.global.background {
        background::give_way();
    }
    let json = arguments.global.json;
    exit::keep_panics_quiet();
    let context = Context::new(arguments.global, &environment::process);
    let run = || without_panic(|| execute(&context, &arguments.command));
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

/// Does `work`; a panic in it is a failure like any other.
fn without_panic(work: impl FnOnce() -> Result<Code, Failure>) -> Result<Code, Failure> {
    let mut result = Err(Failure::new(Code::Failed, "nothing was done"));
    let done = crate::repository::caught(|| {
        result = work();
        Ok(())
    });
    done.map_err(|error| context::failure(&error)).and(result)
}

fn execute(context: &Context<'_>, command: &Command) -> Result<Code, Failure> {
    match command {
        Command::Init(init) => commands::init::run(context, init),
        Command::Backup(backup) => commands::backup::run(context, backup),
        Command::Snapshots(snapshots) => commands::snapshots::run(context, snapshots),
        Command::Ls(ls) => commands::ls::run(context, ls),
        Command::Find(find) => commands::find::run(context, find),
        Command::Versions(versions) => commands::versions::run(context, versions),
        Command::Diff(diff) => commands::diff::run(context, diff),
        Command::Dump(dump) => commands::dump::run(context, dump),
        Command::Restore(restore) => commands::restore::run(context, restore),
        Command::Copy(copy) => commands::copy::run(context, copy),
        Command::Import(import) => commands::import::run(context, import),
        Command::Mount(mount) => commands::mount::run(context, mount),
        Command::Browse(browse) => commands::browse::run(context, browse),
        Command::Watch(watch) => commands::watch::run(context, watch),
        Command::Web(web) => commands::web::run(context, web),
        Command::Serve(serve) => commands::serve::run(serve),
        Command::Forget(forget) => commands::forget::run(context, forget),
        Command::Prune(prune) => commands::prune::run(context, prune),
        Command::Undelete(undelete) => commands::undelete::run(context, undelete),
        Command::Protect(protect) => commands::protect::protect(context, protect),
        Command::Unprotect(unprotect) => commands::protect::unprotect(context, unprotect),
        Command::Tag(tag) => commands::tag::run(context, tag),
        Command::Check(check) => commands::check::run(context, check),
        Command::Parity(parity) => commands::parity::run(context, parity),
        Command::Repair(repair) => commands::repair::run(context, repair),
        Command::Run(run) => commands::run::run(context, run),
        Command::Status(status) => commands::status::run(context, status),
        Command::Profile(profile) => commands::profile::run(context, profile),
        Command::Drill(drill) => commands::drill::run(context, drill),
        Command::Doctor(_) => commands::doctor::run(context),
        Command::Schedule(schedule) => commands::schedule::run(context, schedule),
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

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    /// Says to a child of this test program what it is to do.
    const CHILD: &str = "COPAL_TEST_PANIC";

    /// The end of a run in which something panics, as `run` ends it.
    fn panic_in_a_run(kind: &str) -> Code {
        exit::keep_panics_quiet();
        let result = match kind {
            "thread" => without_panic(|| {
                let slips = || -> Result<(), crate::repository::Error> { panic!("slipped\nin two lines") };
                let thread = || std::thread::spawn(move || crate::repository::caught(slips)).join();
                let (first, second) = (thread(), thread());
                first.and(second).unwrap().map_err(|error| context::failure(&error)).map(|()| Code::Done)
            }),
            _ => without_panic(|| panic!("slipped\nin two lines")),
        };
        finish(result, kind == "json")
    }

    #[test]
    fn a_panic_is_told_in_one_line_and_ends_with_1() {
        if let Ok(kind) = std::env::var(CHILD) {
            std::process::exit(panic_in_a_run(&kind) as i32);
        }
        for kind in ["command", "thread", "json"] {
            for backtrace in [None, Some("1")] {
                let mut child = Command::new(std::env::current_exe().unwrap());
                child.args(["--exact", "--nocapture", "--test-threads", "1"]);
                child.arg("cli::tests::a_panic_is_told_in_one_line_and_ends_with_1");
                child.env(CHILD, kind).env_remove("RUST_BACKTRACE");
                child.envs(backtrace.map(|value| ("RUST_BACKTRACE", value)));
                let output = child.output().unwrap();
                let text = String::from_utf8(output.stderr).unwrap();
                assert_eq!(output.status.code(), Some(1), "{kind}: {text}");
                if backtrace.is_some() {
                    assert!(
                        text.contains("panicked at") && text.contains("stack backtrace"),
                        "{kind}: {text}"
                    );
                    continue;
                }
                let what = "a bug in copal: slipped in two lines; nothing that was saved before is hurt (at src/cli/mod.rs:";
                let lines: Vec<&str> = text.lines().collect();
                match (kind, &lines[..]) {
                    ("json", [line]) => assert!(
                        line.starts_with("{\"message_type\":\"exit_error\",\"code\":1,")
                            && line.contains(what),
                        "{text}"
                    ),
                    // The line to report, and what to do, as with every failure.
                    (_, [line, hint]) if kind != "json" => {
                        assert!(line.starts_with(&format!("copal: {what}")), "{text}");
                        assert_eq!(hint.trim(), exit::REPORT);
                    }
                    _ => panic!("{kind}: {text}"),
                }
            }
        }
    }
}
