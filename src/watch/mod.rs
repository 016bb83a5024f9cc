//! Watching sources: which folders something happened in, as the system tells it, and when it is time to back up. What the system tells is
//! a hint; whatever it may not have told is walked.

mod events;
mod folders;
mod mounts;
mod place;
pub mod power;
pub mod schedule;
mod watcher;

pub use schedule::{Periods, Schedule, Step};
pub use watcher::{NAP, Options, Pending, Watcher};

/// Why a folder is not watched: what happens in it is found by walking.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Unwatched {
    /// The system lets this user watch no more folders.
    Limit,
    /// Others than this system may change it, and that is not told.
    Elsewhere,
    /// It can not be opened or watched.
    Refused,
}

impl Unwatched {
    /// In words that go after a path.
    pub fn words(self) -> &'static str {
        match self {
            Unwatched::Limit => "no more folders can be watched (fs.inotify.max_user_watches)",
            Unwatched::Elsewhere => "its file system does not tell all changes",
            Unwatched::Refused => "it can not be opened",
        }
    }
}
