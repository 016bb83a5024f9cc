//! Commands of the user before and after a run: what they are, and the order in which they surround it.
//!
//! `before` may keep the run from beginning; `after` follows a run that kept what it was there for, `failed` one that did not; `finally`
//! comes last, whatever happened.

mod lines;
pub mod process;
mod start;

use std::ffi::OsString;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

pub use start::{Problem, What};

/// How long a hook may take unless it says otherwise.
pub const TIME_LIMIT: Duration = Duration::from_secs(600);

/// The exit code of a run that a `before` hook kept from beginning.
const FAILED: u8 = 1;
/// The exit code of a run that was done, but for an `after` hook.
const INCOMPLETE: u8 = 3;

/// What is run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// A line for `/bin/sh -c`.
    Shell(String),
    /// A program and its arguments, as they are.
    Words(Vec<OsString>),
}

/// One command of the user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hook {
    pub command: Command,
    pub time_limit: Duration,
    /// Where it runs; without one where copal does.
    pub folder: Option<PathBuf>,
    /// Variables that it gets besides those of copal's own environment.
    pub environment: Vec<(OsString, OsString)>,
}

impl Hook {
    /// A hook of which nothing more is said.
    pub fn new(command: Command) -> Hook {
        Hook { command, time_limit: TIME_LIMIT, folder: None, environment: Vec::new() }
    }
}

/// All hooks of a profile, each list in the order in which it runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hooks {
    pub before: Vec<Hook>,
    pub after: Vec<Hook>,
    pub failed: Vec<Hook>,
    pub finally: Vec<Hook>,
}

/// When a hook runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    Before,
    After,
    Failed,
    Finally,
}

impl Moment {
    /// Its name in a profile and in `COPAL_HOOK`.
    pub fn name(self) -> &'static str {
        match self {
            Moment::Before => "before",
            Moment::After => "after",
            Moment::Failed => "failed",
            Moment::Finally => "finally",
        }
    }
}

/// What a hook is told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct About {
    /// `COPAL_PROFILE`.
    pub profile: OsString,
    /// Further variables, such as `COPAL_OUTCOME` and `COPAL_SNAPSHOT`.
    pub variables: Vec<(String, OsString)>,
    /// What it gets on standard input.
    pub json: Vec<u8>,
}

/// How one hook went.
#[derive(Debug)]
pub struct Ran {
    pub moment: Moment,
    /// Its place in its list, from 1.
    pub number: usize,
    pub seconds: f64,
    pub problem: Option<Problem>,
}

/// How the run and its hooks ended.
#[derive(Debug)]
pub struct Ended {
    /// That of the run as its hooks leave it: 1 when `before` failed, 3 when only `after` did.
    pub code: u8,
    /// Whether the run itself began.
    pub began: bool,
    pub hooks: Vec<Ran>,
}

impl Ended {
    /// What went wrong with hooks, each as a line.
    pub fn problems(&self) -> impl Iterator<Item = String> {
        self.hooks.iter().filter_map(|ran| ran.problem.as_ref()).map(Problem::to_string)
    }
}

/// What stands between the hooks.
pub trait Run {
    /// The run itself; its exit code.
    fn work(&mut self) -> u8;

    /// What a hook of that moment is told. Before the run there is no exit code; `hooks` are those that ran already.
    fn about(&mut self, moment: Moment, code: Option<u8>, hooks: &[Ran]) -> About;

    /// A line that a hook printed, fit for a terminal.
    fn line(&mut self, moment: Moment, text: &str);

    /// The exit code of a run that a signal ended before it began.
    fn stopped(&self) -> u8;
}

/// The hooks that follow a run, by its exit code: 0 and 3 mean that it kept what it was there for.
pub fn follows(code: u8) -> Moment {
    if matches!(code, 0 | INCOMPLETE) { Moment::After } else { Moment::Failed }
}

/// Runs the hooks and the run between them. When `stop` is set, a `before` or `after` hook is ended and none is begun; `failed` and `finally`
/// run all the same. A panic of the run goes on when they are done.
pub fn around(hooks: &Hooks, run: &mut dyn Run, stop: &AtomicBool) -> Ended {
    let mut ended = Ended { code: 0, began: false, hooks: Vec::new() };
    let mut panic = None;
    let may_begin = pass(&hooks.before, Moment::Before, None, run, Some(stop), &mut ended.hooks);
    if may_begin && !is_set(Some(stop)) {
        ended.began = true;
        match catch_unwind(AssertUnwindSafe(|| run.work())) {
            Ok(code) => ended.code = code,
            Err(payload) => {
                ended.code = FAILED;
                panic = Some(payload);
            }
        }
    } else {
        ended.code = if is_set(Some(stop)) { run.stopped() } else { FAILED };
    }
    match follows(ended.code) {
        Moment::After => {
            let went_well =
                pass(&hooks.after, Moment::After, Some(ended.code), run, Some(stop), &mut ended.hooks);
            if !went_well {
                ended.code = if is_set(Some(stop)) { run.stopped() } else { INCOMPLETE };
            }
        }
        _ => {
            pass(&hooks.failed, Moment::Failed, Some(ended.code), run, None, &mut ended.hooks);
        }
    }
    pass(&hooks.finally, Moment::Finally, Some(ended.code), run, None, &mut ended.hooks);
    if let Some(payload) = panic {
        resume_unwind(payload);
    }
    ended
}

/// Runs a list; whether all of it went well. What stands before the run must: the first that fails ends it there.
fn pass(
    list: &[Hook],
    moment: Moment,
    code: Option<u8>,
    run: &mut dyn Run,
    stop: Option<&AtomicBool>,
    ran: &mut Vec<Ran>,
) -> bool {
    let mut went_well = true;
    for (at, hook) in list.iter().enumerate() {
        let about = run.about(moment, code, ran);
        let place = start::Place { moment, number: at + 1, code };
        let one = start::one(hook, place, &about, stop, &mut |line| run.line(moment, line));
        went_well &= one.problem.is_none();
        ran.push(one);
        if moment == Moment::Before && !went_well {
            break;
        }
    }
    went_well
}

fn is_set(stop: Option<&AtomicBool>) -> bool {
    stop.is_some_and(|stop| stop.load(Ordering::Relaxed))
}

#[cfg(test)]
mod tests;
