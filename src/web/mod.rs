//! A page that shows what is in a repository: snapshots, folders, files and their versions, to a browser on this machine.
//!
//! Whoever asks has to show a token that was made for this run. Pages are written here, without anything from elsewhere and without any
//! script; names and contents of files are never given as something that a browser would run.

mod answer;
mod guard;
mod output;
mod pages;
mod plot;
mod request;
mod restoring;
mod server;
mod shelf;
mod text;

use std::collections::HashSet;
use std::net::SocketAddr;
use std::path::PathBuf;

use crate::repository::{Error, Repository};
use guard::Guard;
use restoring::Restoring;
pub use server::Server;
use shelf::Shelf;

/// What the page needs to know.
pub struct Options {
    /// The folder in which the catalogue of paths is kept; without one it is kept in memory.
    pub cache: Option<PathBuf>,
    /// Below which a folder for restores is proposed.
    pub home: Option<PathBuf>,
    /// Device and inode of copal's own files and folders.
    pub own: HashSet<(u64, u64)>,
    /// About how many bytes may be kept in memory.
    pub memory: u64,
}

/// Who is told what could not be given. Called from any thread.
pub trait Watcher: Sync {
    /// Answering `request` (a path as it was asked for), that went wrong.
    fn problem(&self, request: &str, what: &str);
    /// Something that takes long is so far.
    fn news(&self, what: &str);
}

/// All that is behind the page.
pub struct Page {
    shelf: Shelf,
    guard: Guard,
    restoring: Restoring,
    options: Options,
}

impl Page {
    /// The page of a repository, as it is listened for at that address. Errors: the system gives no random bytes.
    pub fn new(repository: Repository, options: Options, address: SocketAddr) -> Result<Page, Error> {
        let guard = Guard::new(address)?;
        let shelf = Shelf::new(repository, options.cache.clone(), options.memory);
        Ok(Page { shelf, guard, restoring: Restoring::default(), options })
    }

    /// The address that opens it, with the token.
    pub fn url(&self) -> String {
        self.guard.url()
    }
}
