//! One hook: its environment, its start, and what is said of how it ended.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use super::process::{Ending, Limits, run};
use super::{About, Command, Hook, Moment, Ran, is_set};
use crate::program::{GRACE, HIDDEN_VARIABLES, shell};
use crate::terminal::escape::{escape, line, path as shown};
use crate::terminal::size::show_duration;

/// Variables that say something of this run, so never of one around it.
const OWN_VARIABLES: [&str; 5] =
    ["COPAL_PROFILE", "COPAL_HOOK", "COPAL_EXIT_CODE", "COPAL_OUTCOME", "COPAL_SNAPSHOT"];
/// How much of a program's name is shown.
const NAME_CHARS_MAX: usize = 60;

/// Which hook it is.
#[derive(Clone, Copy)]
pub struct Place {
    pub moment: Moment,
    pub number: usize,
    pub code: Option<u8>,
}

/// Why a hook did not go well, and which one it was.
#[derive(Debug, thiserror::Error)]
#[error("hook {} {} ({program}) {what}", moment.name(), number)]
pub struct Problem {
    pub moment: Moment,
    pub number: usize,
    /// The program's name, escaped.
    pub program: String,
    pub what: What,
}

/// What happened to it.
#[derive(Debug, thiserror::Error)]
pub enum What {
    #[error("names no program; give it at least one word")]
    Nothing,
    #[error("can not be started: its folder {} is not there", shown(.0))]
    NoFolder(PathBuf),
    #[error(
        "can not be started: there is no such program that this user may run; write its full path, and see that what its first line names is there"
    )]
    Missing,
    #[error(
        "can not be started: the program may not be run; chmod +x it, and see that its first line names an interpreter"
    )]
    NotExecutable,
    #[error("can not be started: {0}")]
    NotStarted(io::Error),
    #[error("failed with exit code {0}")]
    Code(i32),
    #[error("was ended by signal {0}")]
    Signal(i32),
    #[error(
        "took longer than {} and was {}; give it a longer time limit if it needs one",
        show_duration(*limit),
        if *.killed { "killed, since it did not heed SIGTERM" } else { "ended" }
    )]
    TooLong { limit: Duration, killed: bool },
    #[error("was ended, since the run was stopped")]
    Stopped,
    #[error("was not begun, since the run was stopped")]
    NotBegun,
}

/// Runs one hook; `stop` ends it.
pub fn one(
    hook: &Hook,
    place: Place,
    about: &About,
    stop: Option<&AtomicBool>,
    each: &mut dyn FnMut(&str),
) -> Ran {
    let begun = Instant::now();
    let result = if is_set(stop) { Err(What::NotBegun) } else { attempt(hook, place, about, stop, each) };
    let problem = result.err().map(|what| Problem {
        moment: place.moment,
        number: place.number,
        program: name(&hook.command),
        what,
    });
    Ran { moment: place.moment, number: place.number, seconds: begun.elapsed().as_secs_f64(), problem }
}

fn attempt(
    hook: &Hook,
    place: Place,
    about: &About,
    stop: Option<&AtomicBool>,
    each: &mut dyn FnMut(&str),
) -> Result<(), What> {
    let mut command = match &hook.command {
        Command::Shell(text) => shell(text.as_ref()),
        Command::Words(words) => {
            let (program, arguments) = words.split_first().ok_or(What::Nothing)?;
            let mut command = std::process::Command::new(program);
            command.args(arguments);
            command
        }
    };
    if let Some(folder) = &hook.folder {
        // Said apart: the system has the same error for a program that is not there.
        if !folder.is_dir() {
            return Err(What::NoFolder(folder.clone()));
        }
        command.current_dir(folder);
    }
    // A hook's own `environment` may bring them back.
    for name in HIDDEN_VARIABLES.iter().chain(&OWN_VARIABLES) {
        command.env_remove(name);
    }
    command.envs(variables(place, about)).envs(hook.environment.iter().map(|(name, value)| (name, value)));
    let limits = Limits { time: hook.time_limit, grace: GRACE, stop };
    let ending = run(command, &about.json, &limits, &mut |bytes| each(&line(bytes)));
    match ending.map_err(|error| not_started(error, command_has_path(&hook.command)))? {
        Ending::Done(status) if status.success() => Ok(()),
        Ending::Done(status) => Err(match (status.code(), status.signal()) {
            (Some(code), _) => What::Code(code),
            (None, signal) => What::Signal(signal.unwrap_or_default()),
        }),
        Ending::TooLong { killed } => Err(What::TooLong { limit: hook.time_limit, killed }),
        Ending::Stopped { .. } => Err(What::Stopped),
    }
}

/// What a hook finds in its environment.
fn variables(place: Place, about: &About) -> Vec<(String, OsString)> {
    let mut all = vec![
        ("COPAL_PROFILE".to_owned(), about.profile.clone()),
        ("COPAL_HOOK".to_owned(), place.moment.name().into()),
    ];
    if let Some(code) = place.code {
        all.push(("COPAL_EXIT_CODE".to_owned(), code.to_string().into()));
    }
    all.extend(about.variables.iter().cloned());
    all
}

/// Whether it is named by a path, so that it is not looked for in the folders of `PATH`.
fn command_has_path(command: &Command) -> bool {
    match command {
        Command::Words(words) => words.first().is_some_and(|word| word.as_bytes().contains(&b'/')),
        Command::Shell(_) => true,
    }
}

fn not_started(error: io::Error, has_path: bool) -> What {
    match error.raw_os_error() {
        Some(libc::ENOENT) => What::Missing,
        // A folder of `PATH` that this user may not enter gives the same error, though the program is nowhere.
        Some(libc::EACCES) if !has_path => What::Missing,
        Some(libc::EACCES | libc::ENOEXEC) => What::NotExecutable,
        _ => What::NotStarted(error),
    }
}

/// What a hook is called: its program, without arguments, since these may hold secrets, as may what is set before a shell's first word.
fn name(command: &Command) -> String {
    let program = match command {
        Command::Words(words) => words.first().map_or(OsStr::new("nothing"), OsString::as_os_str),
        Command::Shell(text) => {
            OsStr::new(text.split_whitespace().find(|word| !word.contains('=')).unwrap_or("sh"))
        }
    };
    let shown = escape(program.as_bytes());
    match shown.char_indices().nth(NAME_CHARS_MAX) {
        Some((at, _)) => format!("{}\u{2026}", &shown[..at]),
        None => shown.into_owned(),
    }
}
