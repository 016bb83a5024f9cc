//! What is wrong with a repository and around it, in plain words, and the one command to run next. Looks only: nothing is written, not
//! even a session. Works with as little as is left: each part looks at what it can see, whatever the others could not.

mod cache;
mod hurt;
mod keys;
mod mounts;
mod objects;
mod packs;
mod place;
mod sessions;
mod snapshots;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Serialize;

use crate::backend::{Backend, ReadOnly};
use crate::format::slot::Unlock;
use crate::model::{Time, clock::Clock};
use crate::repository::{self, Error, Repository};

pub use snapshots::Group;

/// Seconds in a day.
const DAY: i64 = 24 * 3600;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Something is lost, or will be, or nothing can be saved: somebody has to do something.
    Bad,
    /// It will be bad when nobody does anything.
    Warning,
    /// Nothing needs to be done.
    Note,
}

/// What a finding is about, in the order in which things are to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Matter {
    NoRepository,
    FolderDenied,
    StorageFails,
    UnknownFormat,
    KeyWrong,
    RolledBack,
    ConfigDamaged,
    KeyDamaged,
    StorageFull,
    FolderReadOnly,
    ClockWrong,
    RemovalDamaged,
    IndexDamaged,
    IndexLost,
    PackMissing,
    PackDamaged,
    TreeLost,
    SnapshotDamaged,
    SnapshotMissing,
    NoteDamaged,
    SessionDamaged,
    DamageRecordDamaged,
    LaterVersion,
    DamageFound,
    PruneInterrupted,
    KeySingle,
    KeySameDisk,
    BackupLongAgo,
    NeverRead,
    StorageAlmostFull,
    OwnersMixed,
    OpenToOthers,
    ForeignFiles,
    CacheDenied,
    CacheUnusable,
    CacheFull,
    CacheMissing,
    AtWork,
    CutOff,
    PacksWaiting,
    PacksUnnamed,
    Unconfirmed,
    Forgotten,
    Leftovers,
}

/// What to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// A command of copal on this repository: its words, and what comes after the options that name repository and key.
    Copal(&'static str, Vec<Vec<u8>>),
    /// The same by that user.
    CopalAs(String, &'static str),
    /// A command of copal on this repository, without the options that name a key: it asks for a password.
    WithoutKey(&'static str),
    /// Any other command, word by word.
    Other(Vec<Vec<u8>>),
}

impl Next {
    fn copal(verb: &'static str) -> Next {
        Next::Copal(verb, Vec::new())
    }

    fn other(words: &[&str], path: &Path) -> Next {
        use std::os::unix::ffi::OsStrExt;
        let words = words.iter().map(|word| word.as_bytes().to_vec());
        Next::Other(words.chain([path.as_os_str().as_bytes().to_vec()]).collect())
    }
}

/// One thing that was found.
#[derive(Clone, Debug)]
pub struct Finding {
    pub severity: Severity,
    pub matter: Matter,
    /// A plain sentence.
    pub what: String,
    /// Which objects, files or snapshots.
    pub objects: Vec<String>,
    pub next: Option<Next>,
    /// The repository lacks or breaks something that it should hold.
    pub is_damage: bool,
}

impl Finding {
    fn new(severity: Severity, matter: Matter, what: impl Into<String>) -> Finding {
        Finding { severity, matter, what: what.into(), objects: Vec::new(), next: None, is_damage: false }
    }

    fn damage(matter: Matter, what: impl Into<String>) -> Finding {
        Finding { is_damage: true, ..Finding::new(Severity::Bad, matter, what) }
    }

    fn of(self, objects: impl IntoIterator<Item = String>) -> Finding {
        Finding { objects: objects.into_iter().collect(), ..self }
    }

    fn then(self, next: Next) -> Finding {
        Finding { next: Some(next), ..self }
    }
}

/// What is known around the repository.
pub struct Subject {
    /// Its folder, when it is one of this machine.
    pub folder: Option<PathBuf>,
    /// The folder of caches, unless none is kept.
    pub cache: Option<PathBuf>,
    /// The key file that opens it, when it is one.
    pub key_file: Option<PathBuf>,
    /// This machine's name, as its snapshots have it.
    pub host: Vec<u8>,
}

/// Numbers of what was seen, for a line that says that all is well.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    pub snapshots: u64,
    pub packs: u64,
    pub bytes: u64,
    pub groups: Vec<Group>,
    /// When a check ran on this machine last.
    pub checked: Option<Time>,
}

/// What was found, first things first.
#[derive(Debug, Default)]
pub struct Report {
    pub findings: Vec<Finding>,
    pub seen: Seen,
}

/// A look at a repository, part by part.
pub struct Doctor<'a> {
    backend: Arc<ReadOnly<Arc<dyn Backend>>>,
    subject: Subject,
    clock: &'a dyn Clock,
    report: Report,
}

/// What the parts of a look behind the key hand to each other.
struct Inside<'r> {
    repository: &'r Repository,
    /// What the local cache remembers, when it can be read.
    memory: cache::Memory,
    now: Time,
    host: &'r [u8],
    /// The repository's folder, when it is one of this machine.
    folder: Option<&'r Path>,
}

impl<'a> Doctor<'a> {
    pub fn new(backend: Box<dyn Backend>, subject: Subject, clock: &'a dyn Clock) -> Doctor<'a> {
        Doctor { backend: Arc::new(ReadOnly(Arc::from(backend))), subject, clock, report: Report::default() }
    }

    fn add(&mut self, findings: impl IntoIterator<Item = Finding>) {
        self.report.findings.extend(findings);
    }

    /// Looks at the place from outside; whether a repository is there to be opened.
    pub fn outside(&mut self) -> bool {
        if let Some(folder) = self.subject.folder.clone() {
            let (findings, can_be_read) = place::look(&folder, self.clock.now());
            self.add(findings);
            if !can_be_read {
                return false;
            }
        }
        match self.backend.exists_repository() {
            Ok(true) => true,
            Ok(false) => {
                let missing = place::none_here(self.subject.folder.as_deref(), &self.backend.location());
                // What else is odd about a folder that is no repository is nobody's concern.
                self.report.findings.clear();
                self.add([missing]);
                false
            }
            Err(error) => {
                self.add([storage_fails(&error.into())]);
                false
            }
        }
    }

    /// Looks at what can be seen without a key, since none was to be had: `why`.
    pub fn without_key(&mut self, why: &str) {
        let what = format!("the repository could not be opened: {why}");
        self.add([Finding::new(Severity::Bad, Matter::KeyWrong, what).then(Next::WithoutKey("doctor"))]);
        self.add(objects::raw(&*self.backend, self.subject.folder.as_deref()));
    }

    /// Opens the repository and looks at everything in it.
    pub fn inside(&mut self, secret: Unlock<'_>) {
        // Without the local cache: that one is looked at, and never trusted or changed.
        match repository::open(Box::new(self.backend.clone()), secret, None) {
            Ok(repository) => match repository.check_full() {
                Ok(()) => self.opened(&repository),
                Err(error) => self.without_key(&error.to_string()),
            },
            Err(error) => {
                let raw = objects::raw(&*self.backend, self.subject.folder.as_deref());
                let damaged = raw.iter().any(|finding| finding.matter == Matter::KeyDamaged);
                self.add([not_opened(&error, damaged)]);
                self.add(raw);
            }
        }
    }

    fn opened(&mut self, repository: &Repository) {
        let (mut findings, memory) = cache::look(self.subject.cache.as_deref(), repository);
        let now = self.clock.now();
        self.report.seen.checked = memory.checked.map(|(time, _)| time);
        let subject = &self.subject;
        let (host, folder) = (&subject.host, subject.folder.as_deref());
        let inside = Inside { repository, memory, now, host, folder };
        let seen = &mut self.report.seen;
        keys::look(&inside, subject.key_file.as_deref(), &mut findings);
        if let Err(error) = look(&inside, seen, &mut findings) {
            findings.push(storage_fails(&error));
        }
        self.add(findings);
    }

    /// Everything that was found, first things first.
    pub fn end(mut self) -> Report {
        self.report.findings.sort_by_key(|finding| (finding.severity, finding.matter));
        self.report
    }
}

/// Everything behind the key.
fn look(inside: &Inside<'_>, seen: &mut Seen, findings: &mut Vec<Finding>) -> Result<(), Error> {
    let all = snapshots::load(inside, findings)?;
    snapshots::look(inside, &all, seen, findings);
    let removals = sessions::look(inside, findings)?;
    snapshots::forgotten(inside, &all, &removals, findings);
    packs::look(inside, &all, &removals, seen, findings)
}

/// What the storage said when it was asked for something.
fn storage_fails(error: &Error) -> Finding {
    Finding::new(Severity::Bad, Matter::StorageFails, format!("the storage does not answer: {error}"))
        .then(Next::copal("doctor"))
}

/// Why a repository does not open.
fn not_opened(error: &Error, is_damaged: bool) -> Finding {
    match error {
        Error::WrongKey { .. } => {
            let what = match is_damaged {
                true => "this password or key opens no key slot that can be read",
                false => "this password or key does not open the repository",
            };
            Finding::new(Severity::Bad, Matter::KeyWrong, what).then(Next::WithoutKey("doctor"))
        }
        Error::Unsupported { object, what } => Finding::new(
            Severity::Bad,
            Matter::UnknownFormat,
            format!("a later version of copal made this repository, and this one can not open it: {what}"),
        )
        .of([object.clone()])
        .then(Next::Other(vec![b"copal".to_vec(), b"version".to_vec()])),
        Error::Damaged { object, what } if object.starts_with("keys/") => Finding::damage(
            Matter::KeyDamaged,
            format!(
                "no key slot opens with this password or key, and one that might is damaged ({what}): try every other password and key \
                 there is"
            ),
        )
        .of([object.clone()])
        .then(Next::WithoutKey("doctor")),
        Error::Damaged { object, what } => Finding::damage(
            Matter::ConfigDamaged,
            format!("the repository's config and all copies of it are damaged: {what}"),
        )
        .of([object.clone()])
        .then(Next::copal("repair index")),
        other => storage_fails(other),
    }
}
