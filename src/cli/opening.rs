//! Opening the repository that is meant, with its cache: made anew when it turns out to be damaged, done without when it can not be used.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::context::{Context, eprint_line, failure};
use super::exit::{Code, Failure};
use crate::backend::Backend;
use crate::index::pages::Pages;
use crate::index::{Index, Opened};
use crate::locks::lock;
use crate::repository::{self, Error, Repository, Synced};

/// How often a person is asked for the password of a repository.
const PROMPTS: usize = 3;
/// What is kept here of the trees of a repository on another machine, bytes.
const CACHE_SIZE: u64 = 1 << 30;

impl Context<'_> {
    /// Why there is no repository, and what to do.
    fn not_found(&self, error: &Error) -> Failure {
        let failure = failure(error);
        match error {
            Error::NoRepository { .. } => failure.with_hint(match self.is_default_repository() {
                true => {
                    "Back up something first: copal backup FOLDER. Or name a repository: -r PATH.".to_owned()
                }
                false => "Make one: copal init -r PATH.".to_owned(),
            }),
            _ => failure,
        }
    }

    /// Opens the repository with a key that gives all, saying what is odd about the cache.
    pub fn open(&self) -> Result<Repository, Failure> {
        let repository = self.open_with_any()?;
        repository.check_full().map_err(|error| failure(&error))?;
        Ok(repository)
    }

    fn open_with_any(&self) -> Result<Repository, Failure> {
        let cache = self.cache_folder()?;
        let open = |backend: Box<dyn Backend>| -> Result<Repository, Failure> {
            // Before anybody is asked for a password.
            let found = repository::find(&*backend).map_err(|error| self.not_found(&error))?;
            let kept = lock(&self.kept).clone();
            let secret = kept.map_or_else(|| self.secret().map(Arc::new), Ok)?;
            let opened = repository::open_found(backend, found, secret.unlock(), cache.as_deref());
            let opened = opened.map_err(|error| failure(&error))?;
            if self.keeps.load(Ordering::Relaxed) {
                *lock(&self.kept) = Some(secret);
            }
            Ok(opened)
        };
        let mut opened = open(self.backend()?);
        for _ in 1..PROMPTS {
            match &opened {
                // A slip of the finger: what is typed next must not end up in the shell.
                Err(failure)
                    if failure.code == Code::WrongKey && self.asks() && lock(&self.kept).is_none() =>
                {
                    eprint_line(&format!("copal: {failure}"));
                    opened = open(self.backend()?);
                }
                _ => break,
            }
        }
        let repository = opened?;
        *self.opened() = Some(repository.cache_id());
        for warning in &repository.config_warnings {
            self.warn(&format!("{warning}; another copy is in use"));
        }
        match &repository.cache {
            Opened::Rebuilt { reason } => self.warn(&format!("the local cache is made anew: {reason}")),
            Opened::Private { reason } => self.warn(&format!("working without the local cache: {reason}")),
            _ => {}
        }
        Ok(repository)
    }

    /// Opens the repository and brings the local index up to it. A cache that turns out to be damaged is put aside once; one that
    /// can not be used costs time, and never fails a command.
    pub fn open_synced(&self) -> Result<(Repository, Synced), Failure> {
        self.synced(self.open()?)
    }

    fn synced(&self, repository: Repository) -> Result<(Repository, Synced), Failure> {
        match repository.sync_before_snapshots() {
            Ok(synced) => Ok((repository, synced)),
            Err(Error::Index(error)) => self.with_cache_anew(repository, &error),
            Err(error) => Err(failure(&error)),
        }
    }

    /// The same for who reads what it says of files and folders: of a repository on another machine, that is kept here.
    pub fn open_to_read(&self) -> Result<(Repository, Synced), Failure> {
        let (mut repository, synced) = self.open_synced()?;
        self.keep_pages(&mut repository)?;
        Ok((repository, synced))
    }

    /// Opens the repository for who only adds to it, also with a key that gives no more than that. It is not synchronised.
    pub fn open_to_add(&self) -> Result<Repository, Failure> {
        let mut repository = self.open_with_any()?;
        self.keep_pages(&mut repository)?;
        Ok(repository)
    }

    /// The same, synchronised.
    pub fn open_to_add_synced(&self) -> Result<(Repository, Synced), Failure> {
        let (mut repository, synced) = self.synced(self.open_with_any()?)?;
        self.keep_pages(&mut repository)?;
        Ok((repository, synced))
    }

    fn keep_pages(&self, repository: &mut Repository) -> Result<(), Failure> {
        let most = self.global.cache_size.unwrap_or(CACHE_SIZE);
        // Who only adds has its trees from nowhere else.
        let wants = repository.is_far() || repository.is_write_only();
        if let (true, true, Some(folder)) = (wants, most > 0, self.cache_folder()?)
            && let Ok(pages) = Pages::open(&folder, &repository.cache_id(), most)
        {
            repository.keep_pages(pages);
        }
        Ok(())
    }

    /// Goes on with the cache made anew once it turned out to be damaged, or without it when it can not be used.
    pub fn with_cache_anew(
        &self,
        repository: Repository,
        error: &crate::index::Error,
    ) -> Result<(Repository, Synced), Failure> {
        if error.is_passing() {
            return self.without_cache(repository, error);
        }
        let reason = error.to_string();
        self.warn(&format!("the local cache is made anew: {reason}"));
        let folder = self.cache_folder()?;
        let anew = |id| match &folder {
            Some(folder) => match Index::put_aside(folder, &id) {
                Ok(()) => Index::open(folder, id),
                Err(error) => Index::apart(id, error.to_string()),
            },
            None => Index::apart(id, reason),
        };
        let repository = repository.with_index(anew).map_err(|error| failure(&error))?;
        match repository.sync_before_snapshots() {
            Ok(synced) => Ok((repository, synced)),
            Err(Error::Index(error)) => self.without_cache(repository, &error),
            Err(error) => Err(failure(&error)),
        }
    }

    /// Goes on without the cache in its folder, which can not be used.
    pub fn without_cache(
        &self,
        repository: Repository,
        error: &crate::index::Error,
    ) -> Result<(Repository, Synced), Failure> {
        let reason = error.to_string();
        self.warn(&format!("working without the local cache: {reason}"));
        let repository =
            repository.with_index(|id| Index::apart(id, reason)).map_err(|error| failure(&error))?;
        let synced = repository.sync_before_snapshots().map_err(|error| failure(&error))?;
        Ok((repository, synced))
    }
}
