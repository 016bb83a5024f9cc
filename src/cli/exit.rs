//! How a run ends: the exit code, and a failure with what to do about it, as text or as a JSON line.

use std::io::Write;
use std::process::ExitCode;

use clap::error::ErrorKind;
use serde::Serialize;

use crate::locks::lock;
use crate::terminal::json;
use crate::terminal::json::OutputError;

/// Exit codes; they never change their meaning. docs/commands.md lists them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Code {
    Done = 0,
    Failed = 1,
    Usage = 2,
    /// Done, but something is missing from the result.
    Incomplete = 3,
    /// The repository is damaged.
    Damaged = 5,
    /// A guard refused.
    Refused = 6,
    NoRepository = 10,
    /// Another run is in the way.
    Busy = 11,
    /// The password or key is wrong, or there is none.
    WrongKey = 12,
    UnknownFormat = 13,
    /// SIGINT.
    Interrupted = 130,
    /// SIGPIPE: whoever read the output has gone.
    OutputClosed = 141,
    /// SIGTERM.
    Terminated = 143,
}

impl Code {
    const ALL: [Code; 13] = [
        Code::Done,
        Code::Failed,
        Code::Usage,
        Code::Incomplete,
        Code::Damaged,
        Code::Refused,
        Code::NoRepository,
        Code::Busy,
        Code::WrongKey,
        Code::UnknownFormat,
        Code::Interrupted,
        Code::OutputClosed,
        Code::Terminated,
    ];

    /// The code of that number; one that is none of these is a failure.
    pub fn of(number: u8) -> Code {
        Code::ALL.into_iter().find(|code| *code as u8 == number).unwrap_or(Code::Failed)
    }
}

/// The one of two exit codes that stands later in `ranks`; one that is not among them stands last.
pub fn worse(ranks: &[u8], one: u8, other: u8) -> u8 {
    let rank = |code: u8| ranks.iter().position(|known| *known == code).unwrap_or(ranks.len());
    if rank(other) > rank(one) { other } else { one }
}

impl From<Code> for ExitCode {
    fn from(code: Code) -> ExitCode {
        ExitCode::from(code as u8)
    }
}

/// Why a run ends without success.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    pub code: Code,
    /// What failed, on what.
    pub message: String,
    /// What to do next; may have several lines.
    pub hint: Option<String>,
    /// It is the local cache that can not be used, not the repository.
    pub of_cache: bool,
}

/// A failure as JSON.
#[derive(Serialize)]
struct ExitError<'a> {
    code: u8,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<&'a str>,
}

impl Failure {
    /// A failure without a hint.
    pub fn new(code: Code, message: impl Into<String>) -> Failure {
        Failure { code, message: message.into(), hint: None, of_cache: false }
    }

    /// A wrong use of the command line.
    pub fn usage(message: impl Into<String>) -> Failure {
        Failure::new(Code::Usage, message)
    }

    /// The same failure, with what to do next.
    pub fn with_hint(self, hint: impl Into<String>) -> Failure {
        Failure { hint: Some(hint.into()), ..self }
    }

    /// The text printed for it, each line ended; nothing when the reader of the output has gone.
    pub fn render(&self, as_json: bool) -> Vec<u8> {
        if self.code == Code::OutputClosed {
            return Vec::new();
        }
        if as_json {
            let fields =
                ExitError { code: self.code as u8, message: &self.message, hint: self.hint.as_deref() };
            return json::encode("exit_error", &fields).unwrap_or_default();
        }
        let mut out = format!("copal: {}\n", self.message);
        for line in self.hint.iter().flat_map(|hint| hint.lines()) {
            out.push_str(&if line.is_empty() { "\n".to_owned() } else { format!("  {line}\n") });
        }
        out.into_bytes()
    }

    /// Prints it to standard error.
    pub fn print(&self, as_json: bool) {
        // There is nowhere left to report that this fails.
        let _ = std::io::stderr().write_all(&self.render(as_json));
    }
}

/// What to do about a bug.
pub const REPORT: &str = "Please report this line. Run it again; --read-concurrency 1 may help meanwhile.";

static PANIC_PLACE: std::sync::Mutex<Option<String>> = std::sync::Mutex::new(None);

/// From now on a panic prints nothing by itself: it ends the run with a failure like any other. `RUST_BACKTRACE` shows it whole.
pub fn keep_panics_quiet() {
    let default = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if let Some(place) = info.location() {
            let mut first = lock(&PANIC_PLACE);
            first.get_or_insert_with(|| place.to_string());
        }
        if std::env::var_os("RUST_BACKTRACE").is_some() {
            default(info);
        }
    }));
}

/// Where the first panic was.
pub fn panic_place() -> Option<String> {
    lock(&PANIC_PLACE).clone()
}

impl From<OutputError> for Failure {
    fn from(error: OutputError) -> Failure {
        let code = match error {
            OutputError::Closed => Code::OutputClosed,
            OutputError::Io(_) => Code::Failed,
        };
        Failure::new(code, error.to_string())
    }
}

/// What the parser has to say: a text that was asked for (help, version; for standard output, exit code 0), or a failure.
pub fn from_parser(error: &clap::Error) -> Result<String, Failure> {
    let text = error.render().to_string();
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => Ok(text),
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            Err(Failure::usage("a command is needed").with_hint(text.trim()))
        }
        _ => {
            let text = text.trim();
            let text = text.strip_prefix("error: ").unwrap_or(text);
            let (message, rest) = text.split_once('\n').unwrap_or((text, ""));
            // Missing arguments are listed on the lines after the message: they belong to it.
            let (list, rest) = if message.ends_with(':') {
                rest.split_once("\n\n").unwrap_or((rest, ""))
            } else {
                ("", rest)
            };
            let words: Vec<&str> = list.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
            let message =
                if words.is_empty() { message.to_owned() } else { format!("{message} {}", words.join(" ")) };
            let hint: Vec<&str> = rest.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
            let failure = Failure::usage(message);
            Err(if hint.is_empty() { failure } else { failure.with_hint(hint.join("\n")) })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_printed_as_text_and_as_json() {
        let failure =
            Failure::new(Code::NoRepository, "no repository at /x").with_hint("make one:\ncopal init -r /x");
        assert_eq!(failure.render(false), b"copal: no repository at /x\n  make one:\n  copal init -r /x\n");
        let line = String::from_utf8(failure.render(true)).unwrap();
        assert_eq!(
            line,
            "{\"message_type\":\"exit_error\",\"code\":10,\"message\":\"no repository at /x\",\"hint\":\"make one:\\ncopal init -r /x\"}\n"
        );
        assert_eq!(Failure::usage("x").render(false), b"copal: x\n");
        assert!(Failure::from(OutputError::Closed).render(false).is_empty());
        let full = Failure::from(OutputError::Io(std::io::ErrorKind::StorageFull.into()));
        assert_eq!(full.code, Code::Failed);
    }
}
