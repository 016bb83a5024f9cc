//! Why a snapshot is not imported: what the other program gives, or what keeps the repository from taking it.

use crate::program::Problem;
use crate::repository;
use crate::terminal::escape::{escape, line as shown};

/// An error of an import.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// What the other program gives can not be used; the repository is as it was.
    #[error("{0}")]
    Origin(String),
    /// The stream of the other program ended before it was whole, or can not be read: how the program ended says more.
    #[error("{0}")]
    Cut(String),
    /// The repository does not take it.
    #[error(transparent)]
    Target(#[from] repository::Error),
}

impl From<crate::index::Error> for Error {
    fn from(error: crate::index::Error) -> Error {
        Error::Target(error.into())
    }
}

impl Error {
    /// An entry that makes no sense.
    pub fn entry(path: &[u8], what: &str) -> Error {
        // A path as long as a header allows is no message.
        let shown = &path[..path.len().min(300)];
        Error::Origin(format!("{}: {what}", escape(shown)))
    }

    /// A program that did not do what it was asked, with its last words.
    pub fn program(what: &str, problem: &Problem, lines: &[Vec<u8>]) -> Error {
        if matches!(problem, Problem::Stopped) {
            return Error::Target(repository::Error::Stopped);
        }
        let mut text = format!("{what} {problem}");
        if let Problem::NotStarted(_) = problem {
            text.push_str(" (say where the program is: --program PATH)");
        }
        let telling: Vec<&Vec<u8>> = lines.iter().filter(|line| is_telling(line)).collect();
        let told = if telling.is_empty() { lines.iter().collect() } else { telling };
        for (number, line) in told.into_iter().enumerate() {
            text.push_str(if number == 0 { ": " } else { "; " });
            text.push_str(&shown(&message(line)));
        }
        Error::Origin(text)
    }
}

/// Whether a line says more than where in a program of Python something went wrong, and on which machine, as Borg does.
fn is_telling(line: &[u8]) -> bool {
    const REMARKS: [&str; 8] =
        ["Traceback", "Platform:", "Linux:", "Borg:", "PID:", "CWD:", "sys.argv:", "SSH_ORIGINAL_COMMAND:"];
    !line.starts_with(b" ") && !REMARKS.iter().any(|remark| line.starts_with(remark.as_bytes()))
}

/// What a line of a program says, which may be JSON since that was asked for.
fn message(line: &[u8]) -> Vec<u8> {
    let json: Option<serde_json::Value> = serde_json::from_slice(line).ok();
    match json.as_ref().and_then(|json| json.get("message")?.as_str()) {
        Some(message) => message.as_bytes().to_vec(),
        None => line.to_vec(),
    }
}
