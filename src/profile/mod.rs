//! Profiles: what a person wrote down to be done again and again, as a TOML file. Knows files and text, not what the options mean.

mod inherit;
mod load;
mod read;
mod section;
mod template;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::terminal::escape::path as shown;

pub use load::{Folders, is_name, list, load, load_file};
pub use section::{Entry, Section, Value, nearest, quoted, shown_key};
pub use template::template;

/// Where something stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    pub file: Arc<Path>,
    /// From 1; 0 when it is the file as a whole.
    pub line: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", shown(&self.file))?;
        if self.line > 0 { write!(f, ":{}", self.line) } else { Ok(()) }
    }
}

/// Why a profile can not be used.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// There is no profile of that name in these folders.
    #[error("there is no profile {name} in {}", either(.folders))]
    Missing { name: String, folders: Vec<PathBuf>, others: Vec<String> },
    /// The system says no.
    #[error("{}: {message}", shown(.file))]
    Unreadable { file: PathBuf, message: String },
    /// Somebody else could have written in it what is run, or may read what is secret.
    #[error("{}: {message}", shown(.file))]
    Unsafe { file: PathBuf, message: String },
    /// What is written there means nothing.
    #[error("{place}: {message}")]
    Wrong { place: Place, message: String },
}

impl Error {
    pub fn wrong(place: &Place, message: impl Into<String>) -> Error {
        Error::Wrong { place: place.clone(), message: message.into() }
    }
}

fn either(folders: &[PathBuf]) -> String {
    folders.iter().map(|folder| shown(folder)).collect::<Vec<_>>().join(" or ")
}

/// A profile with all that it inherits.
#[derive(Clone, Debug)]
pub struct Profile {
    pub name: String,
    pub file: PathBuf,
    /// Everything in it: keys of its own at the top, a section for each command and concern.
    pub top: Section,
}

impl Profile {
    /// The section of that name, when it is there.
    pub fn section(&self, name: &str) -> Result<Option<&Section>, Error> {
        self.top.section(name)
    }

    /// What a person calls it.
    pub fn description(&self) -> Result<Option<&str>, Error> {
        self.top.text("description")
    }
}

/// Keys at the top that are the profile's own and no option's.
pub const OWN_KEYS: [&str; 2] = ["description", "inherit"];

#[cfg(test)]
mod tests;
