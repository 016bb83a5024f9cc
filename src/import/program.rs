//! Another program that is run and read from, with the variables of the person's environment and nothing to ask anybody for.

use std::ffi::OsString;
use std::io::Read;
use std::process::Command;
use std::sync::atomic::AtomicBool;

use super::Error;
use crate::program::{Limits, OWN_VARIABLES, Problem, Running};

/// Output that is still read of a program whose output is not understood: one that ends within that was not cut off by us.
const REST_MOST: usize = 64 << 10;

/// How the other program is called.
#[derive(Clone, Debug)]
pub struct Program {
    /// A name that is looked for as the shell does, or a path.
    pub path: OsString,
    /// Options for it, before those that copal gives.
    pub options: Vec<OsString>,
    /// Its repository; none when the environment says it.
    pub repository: Option<OsString>,
}

impl Program {
    /// The program with one of its commands.
    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(&self.path);
        command.args(words).args(&self.options);
        command
    }
}

/// Runs a command and gives its output to `take`; `what` names it. What `take` gives counts only when all was read and the program ended well.
pub fn output<T>(
    what: &str,
    command: Command,
    stop: &AtomicBool,
    take: impl FnOnce(&mut dyn Read) -> Result<T, Error>,
) -> Result<T, Error> {
    let limits = Limits { time: None, stop };
    // Of copal's variables only its own secrets are kept back: the others open the storage of both.
    let started = Running::start_without(&OWN_VARIABLES, command, limits);
    let mut running = started.map_err(|problem| Error::program(what, &problem, &[]))?;
    let taken = take(&mut running).and_then(|taken| {
        let rest = std::io::copy(&mut running, &mut std::io::sink());
        rest.map(|_| taken).map_err(|error| Error::Cut(error.to_string()))
    });
    let mut rest = [0; REST_MOST];
    let is_over = taken.is_err() && !matches!(fill(&mut running, &mut rest), Ok(REST_MOST));
    let (ended, lines) = running.finish();
    match (taken, ended) {
        // It said something else than it was asked for, and why.
        (Err(Error::Origin(_)), Err(problem @ Problem::Code(_))) if is_over => {
            Err(Error::program(what, &problem, &lines))
        }
        // It did not get as far as it should, and says why itself.
        (Err(Error::Cut(_)) | Ok(_), Err(problem)) => Err(Error::program(what, &problem, &lines)),
        (Err(Error::Cut(words)), Ok(())) => Err(Error::Origin(format!("{what}: {words}"))),
        (Err(Error::Origin(words)), _) => Err(Error::Origin(format!("{what}: {words}"))),
        (taken, _) => taken,
    }
}

/// Fills the buffer as far as the output goes.
fn fill(output: &mut Running<'_>, buffer: &mut [u8]) -> std::io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match output.read(&mut buffer[filled..])? {
            0 => break,
            count => filled += count,
        }
    }
    Ok(filled)
}

/// What went wrong with JSON that a program gives.
pub fn json(error: &serde_json::Error) -> Error {
    match error.is_eof() || error.is_io() {
        true => Error::Cut(format!("its output ends early: {error}")),
        false => Error::Origin(format!("its output is not understood: {error}")),
    }
}
