//! A program of the user's that copal starts and reads from: no secrets in its environment, a session of its own, a limit, and one answer
//! to whether its output is whole.

mod pipes;
mod tail;

use std::ffi::OsStr;
use std::io::{self, Read};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, ChildStderr, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};

use crate::terminal::size::show_duration;
use pipes::{Ready, wait};

pub use pipes::is_ready;
use tail::Tail;

/// Variables of copal's environment that no program gets, since they are secrets or may hold one.
pub const HIDDEN_VARIABLES: [&str; 4] =
    ["COPAL_PASSWORD", "COPAL_PASSWORD_COMMAND", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"];
/// Those of them that are secrets of copal alone.
pub const OWN_VARIABLES: [&str; 2] = ["COPAL_PASSWORD", "COPAL_PASSWORD_COMMAND"];
/// How long a program that is told to end (SIGTERM) has for it until it is killed.
pub const GRACE: Duration = Duration::from_secs(10);
/// How long output is waited for that others still hold open after the program itself has ended.
const LINGER: Duration = Duration::from_secs(5);
/// How often the end of the program, its limit and the wish to stop are looked at while it says nothing.
pub const TICK: Duration = Duration::from_millis(20);
/// Pieces of standard error that are still taken after the end; somebody may write to it for ever.
const PIECES_MOST: usize = 64;

/// Why the output of a program is not to be trusted.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    #[error("can not be started: {0}")]
    NotStarted(io::Error),
    #[error("failed with exit code {0}")]
    Code(i32),
    #[error("was ended by signal {0}")]
    Signal(i32),
    #[error(
        "took longer than {} and was {}",
        show_duration(*limit),
        if *.killed { "killed, since it did not heed SIGTERM" } else { "ended" }
    )]
    TooLong { limit: Duration, killed: bool },
    #[error(
        "ended, but something that it started still holds its output open, so nobody can tell whether that is whole; let it wait for what it starts"
    )]
    HeldOpen,
    #[error("was ended, since the run was stopped")]
    Stopped,
    #[error("can not be read from: {0}")]
    Unreadable(io::Error),
}

/// What a program is held to.
#[derive(Clone, Copy)]
pub struct Limits<'a> {
    /// None: it may take as long as it likes.
    pub time: Option<Duration>,
    /// Ends the program when it is set.
    pub stop: &'a AtomicBool,
}

/// What `/bin/sh` is told to do.
pub fn shell(line: &OsStr) -> Command {
    let mut command = Command::new("/bin/sh");
    command.arg("-c").arg(line);
    command
}

/// Whether a child has ended. It stays a zombie until it is waited for, so that its group's number belongs to nobody else meanwhile.
pub fn has_ended(id: Pid) -> io::Result<bool> {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    loop {
        match waitid(WaitId::Pid(id), options) {
            Ok(status) => return Ok(status.is_some()),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// A program at work. Reading gives its standard output; an error there means that `finish` has the reason. Dropped before that, it is ended
/// with all that it started.
pub struct Running<'a> {
    child: Child,
    id: Pid,
    output: Option<ChildStdout>,
    errors: Option<ChildStderr>,
    tail: Tail,
    limits: Limits<'a>,
    begun: Instant,
    /// Since when it has ended and nothing more came.
    silent: Option<Instant>,
    problem: Option<Problem>,
    is_over: bool,
}

impl<'a> Running<'a> {
    /// Starts it, with nothing to read and without copal's secrets.
    pub fn start(command: Command, limits: Limits<'a>) -> Result<Running<'a>, Problem> {
        Running::start_without(&HIDDEN_VARIABLES, command, limits)
    }

    /// The same without these variables only, for a program that needs what opens its own storage.
    pub fn start_without(
        hidden: &[&str],
        mut command: Command,
        limits: Limits<'a>,
    ) -> Result<Running<'a>, Problem> {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        for name in hidden {
            command.env_remove(name);
        }
        // A session of its own: what it asks a terminal for fails at once, instead of waiting for ever in the background; and all that it
        // starts can be ended together.
        // SAFETY: setsid is one call to the system, which may be made between fork and exec.
        unsafe { command.pre_exec(|| Ok(rustix::process::setsid().map(drop)?)) };
        let mut child = command.spawn().map_err(Problem::NotStarted)?;
        Ok(Running {
            id: Pid::from_child(&child),
            output: child.stdout.take(),
            errors: child.stderr.take(),
            child,
            tail: Tail::default(),
            limits,
            begun: Instant::now(),
            silent: None,
            problem: None,
            is_over: false,
        })
    }

    /// Waits for its end: whether all of its output was read and it ended well, and the last lines of its standard error.
    pub fn finish(mut self) -> (Result<(), Problem>, Vec<Vec<u8>>) {
        // Whoever did not read to the end does not want the rest.
        self.output = None;
        let result = self.end();
        (result, std::mem::take(&mut self.tail).lines())
    }

    fn end(&mut self) -> Result<(), Problem> {
        while self.problem.is_none() && !self.has_ended() {
            if let Some(problem) = self.wish() {
                self.problem = Some(problem);
                self.terminate();
            } else {
                self.listen(TICK);
            }
        }
        for _ in 0..PIECES_MOST {
            if !self.listen(Duration::ZERO) {
                break;
            }
        }
        let is_held_open = matches!(self.problem, Some(Problem::HeldOpen));
        if self.problem.is_some() && !is_held_open {
            self.terminate();
        }
        let status = self.child.wait().map_err(Problem::Unreadable)?;
        self.is_over = true;
        match (self.problem.take(), status.code()) {
            // That it failed says more than that something else is still there.
            (Some(problem), code) if !is_held_open || code == Some(0) => Err(problem),
            (_, Some(0)) => Ok(()),
            (_, Some(code)) => Err(Problem::Code(code)),
            (_, None) => Err(Problem::Signal(status.signal().unwrap_or_default())),
        }
    }

    /// Why it should end now.
    fn wish(&self) -> Option<Problem> {
        if self.limits.stop.load(Ordering::Relaxed) {
            return Some(Problem::Stopped);
        }
        let limit = self.limits.time.filter(|limit| self.begun.elapsed() >= *limit)?;
        Some(Problem::TooLong { limit, killed: false })
    }

    fn has_ended(&self) -> bool {
        // On an error there is no such child to wait for.
        has_ended(self.id).unwrap_or(true)
    }

    /// Ends it and all that it started, first kindly.
    fn terminate(&mut self) {
        if self.is_over {
            return;
        }
        // Whoever writes into nothing ends too.
        self.output = None;
        let _ = kill_process_group(self.id, Signal::TERM);
        let told = Instant::now();
        let mut is_gone = self.has_ended();
        // Until nobody holds its standard error either, which is how those that it started are noticed.
        while (!is_gone || self.errors.is_some()) && told.elapsed() < GRACE {
            self.listen(TICK);
            is_gone = self.has_ended();
        }
        let _ = kill_process_group(self.id, Signal::KILL);
        if let Some(Problem::TooLong { killed, .. }) = &mut self.problem {
            *killed = !is_gone;
        }
        let _ = self.child.wait();
        self.is_over = true;
    }

    /// Takes what it says on standard error, waiting for it at most that long; whether there was anything.
    fn listen(&mut self, most: Duration) -> bool {
        match wait(None, self.errors.as_ref(), most) {
            Ok(Ready { errors: true, .. }) => self.take_errors(),
            _ => false,
        }
    }

    fn take_errors(&mut self) -> bool {
        let Some(errors) = &mut self.errors else { return false };
        let mut bytes = [0; 4096];
        match errors.read(&mut bytes) {
            Ok(count) if count > 0 => self.tail.take(&bytes[..count]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            _ => self.errors = None,
        }
        true
    }

    /// Notes why reading ends here.
    fn give_up<T>(&mut self, problem: Problem) -> io::Result<T> {
        let words = problem.to_string();
        self.problem = Some(problem);
        Err(io::Error::other(words))
    }
}

impl Read for Running<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let Some(output) = &mut self.output else { return Ok(0) };
            let ready = match wait(Some(output), self.errors.as_ref(), TICK) {
                Ok(ready) => ready,
                Err(error) => return self.give_up(Problem::Unreadable(error)),
            };
            if ready.output {
                match output.read(buffer) {
                    Ok(0) if !buffer.is_empty() => self.output = None,
                    Ok(_) if self.wish().is_some() => {}
                    Ok(count) => {
                        self.silent = None;
                        return Ok(count);
                    }
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => return self.give_up(Problem::Unreadable(error)),
                }
            } else if self.has_ended() {
                let since = *self.silent.get_or_insert_with(Instant::now);
                if since.elapsed() >= LINGER {
                    return self.give_up(Problem::HeldOpen);
                }
            }
            if ready.errors {
                self.take_errors();
            }
            if let Some(problem) = self.wish() {
                return self.give_up(problem);
            }
        }
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.terminate();
    }
}

#[cfg(test)]
mod tests;
