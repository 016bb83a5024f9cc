//! Giving back: what a snapshot holds, below a target folder, exactly as it was.
//!
//! Two passes over the trees. The first makes folders, files and special entries; file contents go through windows of bounded size, in
//! which every block is fetched and opened once and written wherever it is needed. The second, children before parents, links
//! hard links together and gives folders their owners, modes and times, which making their children had changed.

mod compare;
mod entry;
mod existing;
mod finish;
mod first;
mod keep;
mod leftovers;
mod output;
mod start;
mod walk;
mod window;

use std::collections::{BTreeMap, HashSet};
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use rustix::io::Errno;

use crate::files::{self, Owners};
use crate::locks::lock;
use crate::model::{ENTRIES_LOST, Id16, Node, NodeType, joined};
use crate::patterns::Patterns;
use crate::progress::{Event, Listener};
use crate::repository::snapshots::Named;
use crate::repository::{Error, Repository, store};
use start::{Start, start};

pub use start::conflicts;

/// What to do with what is there already.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Overwrite {
    /// What differs is kept: a single file is put beside it, a folder stops before anything is written.
    #[default]
    Keep,
    Always,
    /// Only what differs in size or time.
    IfChanged,
    /// Only what is older than what the snapshot holds.
    IfNewer,
    Never,
}

/// What was kept beside what took its place: the folder's device and inode, and the name there.
pub type Kept = Arc<Mutex<HashSet<(u64, u64, Vec<u8>)>>>;

/// What to restore, and how.
pub struct Options {
    pub target: PathBuf,
    /// Names from the snapshot's root down to what is wanted; empty for everything.
    pub path: Vec<Vec<u8>>,
    /// When not empty, only what these match is restored.
    pub include: Patterns,
    pub exclude: Patterns,
    pub overwrite: Overwrite,
    /// Remove what is in the target's folders and not in the snapshot.
    pub delete: bool,
    pub dry_run: bool,
    /// Read back what was written.
    pub verify: bool,
    pub numeric_ids: bool,
    /// Blocks of zeros become holes in new files.
    pub sparse: bool,
    /// Device and inode of copal's own files and folders: never removed.
    pub own: HashSet<(u64, u64)>,
    /// Tell the listener of each entry.
    pub tell_files: bool,
    /// How a single file that is put beside an existing one is marked.
    pub beside: String,
    /// What is there and differs is kept beside what takes its place, marked with its time.
    pub keep_present: bool,
    /// What was kept so, by all restores that share this: `delete` spares it.
    pub kept: Kept,
    /// What is restored is to last: it is waited for until it is on the disks.
    pub is_to_last: bool,
    /// Bytes that the run may take, about: half for blocks in the threads' hands (fewer threads where they do not fit), a quarter for two
    /// windows. The rest is for trees, the index and the program. A block longer than the repository's chunks is more than is counted on.
    pub memory: u64,
}

impl Default for Options {
    /// Everything, into no target yet; what is there and differs is kept.
    fn default() -> Options {
        Options {
            target: PathBuf::new(),
            path: Vec::new(),
            include: Patterns::none(),
            exclude: Patterns::none(),
            overwrite: Overwrite::default(),
            delete: false,
            dry_run: false,
            verify: false,
            numeric_ids: false,
            sparse: false,
            own: HashSet::new(),
            tell_files: false,
            beside: String::new(),
            keep_present: false,
            kept: Kept::default(),
            is_to_last: true,
            memory: store::MEMORY,
        }
    }
}

/// What was done. Bytes are exact.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Restored {
    pub files: u64,
    pub directories: u64,
    pub others: u64,
    pub bytes: u64,
    /// Was there already as it should be, or was kept.
    pub skipped: u64,
    pub deleted: u64,
    /// Was there, and is beside what took its place now.
    pub kept: u64,
    /// Could not be given back wholly.
    pub problems: u64,
    /// Content that no pack gives any more.
    pub damaged: u64,
}

#[derive(Default)]
struct Counts {
    files: AtomicU64,
    directories: AtomicU64,
    others: AtomicU64,
    bytes: AtomicU64,
    skipped: AtomicU64,
    deleted: AtomicU64,
    kept: AtomicU64,
    problems: AtomicU64,
    damaged: AtomicU64,
}

/// One restore at work.
struct Run<'r> {
    repository: &'r Repository,
    options: &'r Options,
    listener: &'r dyn Listener,
    stop: &'r AtomicBool,
    bounds: window::Bounds,
    owners: Owners,
    is_root: bool,
    counts: Counts,
    /// Hard-linked files that could not be given back whole.
    broken: Mutex<HashSet<Id16>>,
    /// What this run's temporary names begin with, and how many there were: no other run's, on no other machine.
    temporary: String,
    temporaries: AtomicU64,
    /// Leftovers of other runs that were removed.
    swept: AtomicU64,
    /// A folder of each file system that was written to, by device number.
    systems: Mutex<BTreeMap<u64, Arc<OwnedFd>>>,
    /// Absolute paths of the snapshot's sources: `delete` touches nothing above them.
    sources: &'r [Vec<u8>],
    /// A repair wrote the snapshot, with marks of what was lost.
    is_repaired: bool,
}

impl Run<'_> {
    fn problem(&self, path: &[u8], what: &str, code: &'static str) {
        self.counts.problems.fetch_add(1, Ordering::Relaxed);
        self.listener.event(Event::Problem { path: Some(path), what, code, during: "restore" });
    }

    /// Tells what a repair marked as lost of an entry beside its content.
    fn tell_marked(&self, node: &Node, path: &[u8]) {
        let tell = |what: &str| self.problem(path, what, "lost_in_snapshot");
        match (node.has_lost_entries(), node.kind) {
            (true, NodeType::Unreadable) => tell("this folder was lost, and a repair marked it"),
            (true, _) => tell("some of its entries were lost, and a repair marked it"),
            _ => {}
        }
        let others = node.unread.iter().filter(|what| *what != ENTRIES_LOST);
        for what in others.filter(|_| self.is_repaired) {
            tell(&format!("{what}: not in this snapshot"));
        }
    }

    fn damaged(&self, path: &[u8], what: &str) {
        self.counts.damaged.fetch_add(1, Ordering::Relaxed);
        self.listener.event(Event::Problem { path: Some(path), what, code: "damaged", during: "restore" });
    }

    /// Something is not given back because of what the repository said: it is damaged, or of a later version.
    fn not_read(&self, path: &[u8], what: &str, error: &Error) {
        match error.is_of_later_version() {
            true => self.problem(path, what, "unsupported"),
            false => self.damaged(path, what),
        }
    }

    /// A name in the target that nobody else uses.
    fn temporary(&self) -> Vec<u8> {
        let number = self.temporaries.fetch_add(1, Ordering::Relaxed);
        leftovers::name(&self.temporary, number)
    }

    fn broken(&self) -> MutexGuard<'_, HashSet<Id16>> {
        lock(&self.broken)
    }

    /// Whether a file of that group of hard links could not be given back whole.
    fn is_broken(&self, group: &Id16) -> bool {
        self.broken().contains(group)
    }

    /// An entry could not be written. A full disk ends the run, since every other entry would meet it too.
    fn not_written(&self, path: &[u8], error: Errno) -> Result<(), Error> {
        if matches!(error, Errno::NOSPC | Errno::DQUOT) {
            let path = self.options.target.display().to_string();
            return Err(Error::Target { path, what: error.to_string() });
        }
        self.problem(path, &error.to_string(), "not_restored");
        Ok(())
    }

    /// Something may be written in that folder: its file system is waited for at the end.
    fn enters(&self, folder: &Arc<OwnedFd>) {
        if let Ok(stat) = files::stat_fd(folder.as_fd()) {
            lock(&self.systems).entry(stat.dev).or_insert_with(|| folder.clone());
        }
    }

    /// Waits until what was written is on the disks.
    fn sync(&self) -> Result<(), Error> {
        if self.options.dry_run || !self.options.is_to_last {
            return Ok(());
        }
        let systems: Vec<_> = lock(&self.systems).values().cloned().collect();
        for folder in systems {
            files::sync(folder.as_fd()).map_err(|error| {
                target_error(self.options, &format!("not all that was restored is on the disk: {error}"))
            })?;
        }
        Ok(())
    }

    fn check_stop(&self) -> Result<(), Error> {
        if self.stop.load(Ordering::Relaxed) { Err(Error::Stopped) } else { Ok(()) }
    }

    /// Whether an entry is wanted by the patterns. Folders are gone through in any case; `is_included` says whether they are made for themselves.
    fn is_excluded(&self, path: &[u8], is_directory: bool) -> bool {
        let excluded = self.options.exclude.matches_entry(path, is_directory);
        if excluded && is_directory {
            // What is in it is not looked at.
            self.options.exclude.look_away();
        }
        excluded
    }

    fn is_included(&self, path: &[u8], is_directory: bool) -> bool {
        self.options.include.is_empty() || self.options.include.matches(path, is_directory)
    }

    fn restored(&self) -> Restored {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Restored {
            files: read(&self.counts.files),
            directories: read(&self.counts.directories),
            others: read(&self.counts.others),
            bytes: read(&self.counts.bytes),
            skipped: read(&self.counts.skipped),
            deleted: read(&self.counts.deleted),
            kept: read(&self.counts.kept),
            problems: read(&self.counts.problems),
            damaged: read(&self.counts.damaged),
        }
    }
}

/// A run that has done nothing yet.
fn run<'r>(
    repository: &'r Repository,
    named: &'r Named,
    options: &'r Options,
    listener: &'r dyn Listener,
    stop: &'r AtomicBool,
) -> Result<Run<'r>, Error> {
    Ok(Run {
        repository,
        options,
        listener,
        stop,
        bounds: window::Bounds::new(
            options.memory,
            u64::from(repository.config.cutter.maximum),
            repository.requests_at_once(),
        ),
        owners: Owners::default(),
        is_root: rustix::process::geteuid().is_root(),
        counts: Counts::default(),
        broken: Mutex::default(),
        temporary: leftovers::prefix(u64::from_le_bytes(crate::crypto::random()?)),
        temporaries: AtomicU64::new(1),
        swept: AtomicU64::new(0),
        systems: Mutex::default(),
        sources: &named.snapshot.sources,
        is_repaired: named.snapshot.stands_for.is_some(),
    })
}

/// Restores. Problems with single entries go to the listener and are counted; the rest is given back.
///
/// Errors: `Refused` when something there differs and nothing was said about it; `Backend` errors of the repository; `Target`.
pub fn restore(
    repository: &Repository,
    named: &Named,
    options: &Options,
    listener: &dyn Listener,
    stop: &AtomicBool,
) -> Result<Restored, Error> {
    let run = run(repository, named, options, listener, stop)?;
    listener.event(Event::Started);
    // A pattern that matches where it begins, or a folder above, is no slip, though it leaves nothing out.
    options.exclude.matches(&joined(&options.path), true);
    match start(repository, named, options)? {
        Start::Tree { tree, path, has_lost } => {
            if has_lost && !path.is_empty() {
                run.problem(
                    &path,
                    "some of its entries were lost, and a repair marked it",
                    "lost_in_snapshot",
                );
            }
            if options.overwrite == Overwrite::Keep {
                existing::refuse_conflicts(&run, tree, &path)?;
            }
            if !options.dry_run {
                make_target(options)?;
            }
            let root = open_target(&run)?;
            first::tree(&run, root.clone(), tree, &path)?;
            if !options.dry_run || options.delete {
                finish::tree(&run, root, tree, &path, has_lost)?;
            }
        }
        Start::Single { node, path } => {
            run.tell_marked(&node, &path);
            if !options.dry_run {
                make_target(options)?;
            }
            first::single(&run, open_target(&run)?, *node, &path)?;
        }
    }
    run.sync()?;
    let swept = run.swept.load(Ordering::Relaxed);
    if swept > 0 {
        let what = crate::terminal::size::show_count(swept, "temporary entry");
        listener
            .event(Event::Note(&format!("removed {what} that a restore which was killed had left behind")));
    }
    listener.event(Event::Finished);
    Ok(run.restored())
}

fn make_target(options: &Options) -> Result<(), Error> {
    std::fs::create_dir_all(&options.target).map_err(|error| match error.kind() {
        std::io::ErrorKind::AlreadyExists => target_error(options, "is a file; a restore goes into a folder"),
        _ => target_error(options, &error.to_string()),
    })
}

fn target_error(options: &Options, what: &str) -> Error {
    Error::Target { path: options.target.display().to_string(), what: what.to_owned() }
}

/// The target folder; none in a dry run where it is not there yet.
fn open_target(run: &Run<'_>) -> Result<Option<Arc<OwnedFd>>, Error> {
    match files::open_root(&run.options.target) {
        Ok(handle) => {
            let handle = Arc::new(handle);
            run.sweep(&handle);
            run.enters(&handle);
            Ok(Some(handle))
        }
        Err(rustix::io::Errno::NOENT) if run.options.dry_run => Ok(None),
        Err(error) => Err(target_error(run.options, &error.to_string())),
    }
}
