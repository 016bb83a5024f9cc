//! What can go wrong with schedules, by what the caller can do about it.

use std::io;
use std::path::PathBuf;

use crate::terminal::escape::path as shown;

/// Why a schedule could not be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file or folder could not be read or changed.
    #[error("{} could not be {what}: {error}", shown(.path))]
    Io { path: PathBuf, what: &'static str, error: io::Error },
    /// A program that is needed failed, or is not there.
    #[error("`{command}` failed: {said}")]
    Program { command: String, said: String },
    /// What stands there is not what copal wrote.
    #[error("{place} was {}", if *.foreign { "not written by copal" } else { "changed by hand" })]
    Edited { place: String, foreign: bool },
    /// Somebody changed the crontab in the meantime.
    #[error("the crontab was changed by somebody else meanwhile; nothing was written")]
    Overtaken,
    /// Neither systemd nor cron is here, or not what was asked for.
    #[error("{0}")]
    NoMeans(&'static str),
    /// A path that neither a unit nor a crontab can hold.
    #[error("the path {} holds characters that a schedule can not hold", shown(.0))]
    Unsayable(PathBuf),
    /// The path of the running program is not known.
    #[error("the path of this program is not known: {0}")]
    NoProgram(io::Error),
}

impl Error {
    /// For a call on a path.
    pub(super) fn io(path: impl Into<PathBuf>, what: &'static str) -> impl FnOnce(io::Error) -> Error {
        let path = path.into();
        move |error| Error::Io { path, what, error }
    }
}
