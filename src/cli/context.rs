//! From options to an opened repository: which one, with which key, with which cache.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use super::arguments::Global;
use super::defaults::Defaults;
use super::environment::Lookup;
use super::exit::{self, Code, Failure};
pub use super::paths::absolute;
use super::secrets::{self, Credential, Purpose, Terminal};
use super::signals;
use super::storage;
use crate::backend::{self, Backend, Limits, Throttled};
use crate::compress::Level;
use crate::crypto::MasterKey;
use crate::format::slot::Unlock;
use crate::index::Index;
use crate::locks::lock;
use crate::model::Id16;
use crate::model::clock::SystemClock;
use crate::repository::{Error, store, writing};
use crate::terminal::json::Output;

/// What every command has at hand.
pub struct Context<'e> {
    pub global: Global,
    pub defaults: Defaults<'e>,
    pub environment: Lookup<'e>,
    pub clock: SystemClock,
    pub out: Output,
    /// Whether nobody may be asked for anything, though a terminal is there.
    pub is_alone: bool,
    /// The repository that was opened last.
    pub(super) opened: Mutex<Option<Id16>>,
    /// What opened it, for a command that opens it again and again; none where that is not kept.
    pub(super) kept: Mutex<Option<Arc<Secret>>>,
    pub(super) keeps: AtomicBool,
}

/// A password or key that is had.
pub enum Secret {
    Password(secrets::Secret),
    Key(MasterKey),
}

impl Secret {
    pub fn unlock(&self) -> Unlock<'_> {
        match self {
            Secret::Password(secret) => Unlock::Password(secret.bytes()),
            Secret::Key(key) => Unlock::KeyFile(key),
        }
    }
}

impl<'e> Context<'e> {
    pub fn new(global: Global, environment: Lookup<'e>) -> Context<'e> {
        Context {
            global,
            defaults: Defaults::new(environment),
            environment,
            clock: SystemClock,
            out: Output::stdout(),
            is_alone: false,
            opened: Mutex::default(),
            kept: Mutex::default(),
            keeps: AtomicBool::new(false),
        }
    }

    /// Says something to the person, unless they want quiet.
    pub fn say(&self, text: &str) {
        if !self.global.quiet && !self.global.json {
            eprint_line(text);
        }
    }

    /// A warning; shown unless quiet.
    pub fn warn(&self, text: &str) {
        if !self.global.quiet {
            eprint_line(&format!("copal: warning: {text}"));
        }
    }

    /// Whether the built-in default repository is meant: none was named.
    pub fn is_default_repository(&self) -> bool {
        self.global.repo.is_none() && self.global.repository_file.is_none()
    }

    /// The repository's location as it is opened.
    pub fn location(&self) -> Result<OsString, Failure> {
        if let Some(repository) = &self.global.repo {
            return Ok(repository.clone());
        }
        let Some(file) = &self.global.repository_file else {
            return Ok(self.defaults.repository()?.into_os_string());
        };
        let text = std::fs::read(file).map_err(|error| {
            Failure::usage(format!("the repository file {} can not be read: {error}", file.display()))
        })?;
        let line = text.split(|byte| *byte == b'\n').next().unwrap_or_default().trim_ascii();
        if line.is_empty() {
            return Err(Failure::usage(format!("the repository file {} is empty", file.display())));
        }
        Ok(OsString::from_vec(line.to_vec()))
    }

    pub fn backend(&self) -> Result<Box<dyn Backend>, Failure> {
        let location = self.location()?;
        let text = location.to_str().ok_or_else(|| {
            Failure::usage("the repository's location is not UTF-8; give it through a symlink")
        })?;
        let options = storage::options(self.environment, self.is_alone)?;
        let backend = backend::open(text, &options).map_err(|error| Failure::usage(error.to_string()))?;
        let limits = Limits { upload: self.global.limit_upload, download: self.global.limit_download };
        Ok(if limits.is_given() {
            Box::new(Throttled::new(Arc::<dyn Backend>::from(backend), limits))
        } else {
            backend
        })
    }

    /// The cache folder in use; none with `--no-cache`.
    pub fn cache_folder(&self) -> Result<Option<PathBuf>, Failure> {
        if self.global.no_cache {
            return Ok(None);
        }
        match &self.global.cache_dir {
            Some(folder) => Ok(Some(folder.clone())),
            None => self.defaults.cache_folder().map(Some),
        }
    }

    /// The password or key that opens the repository.
    pub fn secret(&self) -> Result<Secret, Failure> {
        let default_key = self.defaults.key_file().ok();
        let mut origin = self.global.origin();
        if self.is_default_repository()
            && origin.is_empty()
            && default_key.as_ref().is_some_and(|path| path.exists())
        {
            origin.key_file = default_key.as_deref();
        }
        self.obtain(origin, Purpose::Open)
    }

    /// From the next opening on its password or key is kept, and nobody is asked again.
    pub fn keep_secret(&self) {
        self.keeps.store(true, Ordering::Relaxed);
    }

    /// The same at once, before the repository can be opened.
    pub fn keep_secret_now(&self) -> Result<(), Failure> {
        let secret = self.secret()?;
        *lock(&self.kept) = Some(Arc::new(secret));
        Ok(())
    }

    /// The key file that opens the repository, when it is one.
    pub fn key_file(&self) -> Option<PathBuf> {
        let default =
            self.defaults.key_file().ok().filter(|path| {
                self.is_default_repository() && self.global.origin().is_empty() && path.exists()
            });
        self.global.key_file.clone().or(default)
    }

    /// Whether the password comes from a person at the terminal.
    pub fn asks(&self) -> bool {
        let has_default =
            self.is_default_repository() && self.defaults.key_file().is_ok_and(|path| path.exists());
        self.global.origin().is_empty() && !has_default && secrets::Ask::is_possible(&Terminal)
    }

    /// Gets a secret and reads it.
    pub fn obtain(&self, origin: secrets::Origin<'_>, purpose: Purpose) -> Result<Secret, Failure> {
        match secrets::obtain(origin, purpose, &Terminal, &mut |text| self.warn(&text))? {
            Credential::Password(secret) => Ok(Secret::Password(secret)),
            Credential::KeyFile { path, text } => std::str::from_utf8(text.bytes())
                .ok()
                .and_then(MasterKey::from_key_file)
                .map(Secret::Key)
                .ok_or_else(|| {
                    Failure::new(Code::WrongKey, format!("{} is no copal key file", path.display()))
                }),
            Credential::NewKeyFile { path } => {
                let key =
                    MasterKey::generate().map_err(|error| Failure::new(Code::Failed, error.to_string()))?;
                secrets::write_key_file(&path, key.to_key_file().as_bytes())?;
                self.say(&format!(
                    "A new key was written to {}. Keep a copy of it elsewhere.",
                    path.display()
                ));
                Ok(Secret::Key(key))
            }
        }
    }

    pub(super) fn opened(&self) -> MutexGuard<'_, Option<Id16>> {
        lock(&self.opened)
    }

    /// Puts the cache of the repository that was opened aside, so that it is made anew; whether that was done.
    pub fn put_cache_aside(&self, why: &str) -> bool {
        let (Some(repository), Ok(Some(folder))) = (*self.opened(), self.cache_folder()) else {
            return false;
        };
        self.warn(&format!("the local cache is made anew: {why}"));
        Index::put_aside(&folder, &repository)
            .inspect_err(|error| self.warn(&format!("it could not be put aside: {error}")))
            .is_ok()
    }

    /// The user's name.
    pub fn user(&self) -> Vec<u8> {
        let uid = rustix::process::getuid().as_raw();
        crate::files::Owners::new()
            .user(uid)
            .map_or_else(|| uid.to_string().into_bytes(), |name| name.to_vec())
    }

    /// This machine's name.
    pub fn host(&self) -> Vec<u8> {
        rustix::system::uname().nodename().to_bytes().to_vec()
    }

    /// How a run that brings snapshots from elsewhere stores them.
    pub fn writing(&self, level: Level, dry_run: bool) -> writing::Options {
        let memory = self.global.memory.unwrap_or(store::MEMORY);
        writing::Options { level, uploaders: store::UPLOADERS, memory, dry_run }
    }

    /// Device and inode of copal's own files and folders, which are never part of a backup.
    pub fn own_files(&self) -> Vec<(PathBuf, (u64, u64))> {
        let mut paths = vec![PathBuf::from(self.location().unwrap_or_default())];
        paths.extend(self.cache_folder().ok().flatten());
        paths.extend(self.defaults.state_folder().ok());
        paths.extend(self.defaults.key_file().ok());
        paths.extend(self.global.key_file.clone());
        paths.extend(self.global.password_file.clone());
        let mut own = Vec::new();
        for path in paths {
            if let Ok(metadata) = std::fs::metadata(&path) {
                own.push((path, (metadata.dev(), metadata.ino())));
            }
        }
        own
    }
}

/// Writes a line to standard error; there is nowhere to say that this fails.
pub fn eprint_line(text: &str) {
    use std::io::Write;
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// What an error of the repository means for the person and the exit code.
pub fn failure(error: &Error) -> Failure {
    use crate::backend::Error as Storage;
    let message = error.to_string();
    match error {
        Error::NoRepository { .. } | Error::Gone { .. } => Failure::new(Code::NoRepository, message),
        Error::Exists { .. } => Failure::new(Code::Failed, message).with_hint("It was left as it is."),
        Error::WrongKey { .. } => Failure::new(Code::WrongKey, message),
        Error::Damaged { object, .. } if object.starts_with("removals/") || object.starts_with("sessions/") => {
            Failure::new(Code::Damaged, message).with_hint("Mend it: copal repair records")
        }
        Error::NotGiven { .. } => Failure::new(Code::Refused, message)
            .with_hint("It can be used for: copal backup, watch, run and snapshots (its own). For all else use a full key."),
        Error::Damaged { .. } | Error::Unread { .. } | Error::Lost { .. } => {
            Failure::new(Code::Damaged, message).with_hint("See what else is hit: copal check --read-data")
        }
        Error::Unsupported { .. } => Failure::new(Code::UnknownFormat, message),
        Error::Overtaken => Failure::new(Code::Busy, message).with_hint("Run it again."),
        Error::Refused(_) => Failure::new(Code::Failed, message),
        Error::Unsettled { .. } => Failure::new(Code::Refused, message),
        Error::Conflict { .. } => Failure::new(Code::Refused, message)
            .with_hint("Restore to another folder, or say what to do with what is there: --overwrite always|if-changed|if-newer|never"),
        Error::Bug { .. } => {
            let place = exit::panic_place().map_or_else(String::new, |place| format!(" (at {place})"));
            Failure::new(Code::Failed, format!("{message}{place}")).with_hint(exit::REPORT)
        }
        Error::Stopped => match signals::code() {
            Some(code) => Failure::new(code, "interrupted; what was finished so far is found again next time"),
            None => Failure::new(Code::Failed, message),
        },
        Error::Backend(Storage::NotFound { .. } | Storage::Short { .. }) => {
            Failure::new(Code::Damaged, message).with_hint("See what else is hit: copal check")
        }
        Error::Backend(Storage::Occupied { .. }) => Failure::new(Code::Refused, message)
            .with_hint("A repository needs a folder of its own: name one that is empty or not there yet."),
        Error::Backend(error) if error.is_no_space() => {
            Failure::new(Code::Failed, message).with_hint("Nothing that was saved before is hurt. Make room and run it again.")
        }
        Error::Index(error) if !error.is_passing() => Failure {
            of_cache: true,
            ..Failure::new(Code::Failed, message).with_hint("Run it again: the cache is made anew.")
        },
        _ => Failure::new(Code::Failed, message),
    }
}
