//! Profiles on the command line: which one is meant, and the options it stands for.

mod complete;
mod options;
mod secret;
mod settings;

use std::path::PathBuf;

use super::defaults::Defaults;
use super::exit::{Code, Failure};
use crate::profile::{Error, Folders, Profile};
use crate::terminal::escape::escape;

pub use complete::complete;
use options::check;
pub use options::{arguments_of, globals, names_repository, of_step, sources};
pub use settings::{Settings, settings};

/// System profiles, for everybody.
const SYSTEM: &str = "/etc/copal";

/// Where profiles lie: the user's folder, then the system's.
pub fn folders(defaults: &Defaults<'_>) -> Result<Folders, Failure> {
    let own = defaults.config_folder()?;
    let system = PathBuf::from(SYSTEM);
    Ok(Folders(if own == system { vec![own] } else { vec![own, system] }))
}

/// Reads a profile, with the check of everything in it.
pub fn load(defaults: &Defaults<'_>, name: &str) -> Result<Profile, Failure> {
    let profile = crate::profile::load(&folders(defaults)?, name).map_err(|error| failure(&error))?;
    check(&profile, defaults)?;
    settings(&profile, defaults)?;
    Ok(profile)
}

/// Under which name runs of a profile are remembered: its own, or, when it lies elsewhere than others, one that no other has.
pub fn remembered_as(profile: &Profile, defaults: &Defaults<'_>) -> Result<String, Failure> {
    use std::os::unix::ffi::OsStrExt;
    let real = |path: &std::path::Path| std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let folder = profile.file.parent().map(real);
    if folders(defaults)?.0.iter().any(|known| folder.as_deref() == Some(real(known).as_path())) {
        return Ok(profile.name.clone());
    }
    let place = real(&profile.file);
    let digest = blake3::hash(place.as_os_str().as_bytes()).to_hex();
    Ok(format!("{}@{}", profile.name, &digest[..16]))
}

/// A profile that can not be used, as the end of a run.
pub fn failure(error: &Error) -> Failure {
    let failure = Failure::usage(error.to_string());
    match error {
        Error::Missing { others, .. } if others.is_empty() => {
            failure.with_hint("Make one: copal profile new NAME")
        }
        Error::Missing { others, .. } => {
            let others: Vec<_> = others.iter().map(|name| escape(name.as_bytes())).collect();
            failure.with_hint(format!("There are: {}", others.join(", ")))
        }
        Error::Unsafe { .. } => Failure { code: Code::Refused, ..failure },
        Error::Unreadable { .. } | Error::Wrong { .. } => failure,
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        failure(&error)
    }
}
