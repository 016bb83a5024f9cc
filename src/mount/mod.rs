//! Snapshots as a file system that can be looked at with any program, and changed by none.
//!
//! What is shown: `snapshots/TIME/`, `hosts/HOST/TIME/`, `tags/TAG/TIME/`, `latest` in the first and in each host's and tag's folder, and
//! `versions/HOST/PATH/TIME`.
//! Reading fetches only what is read. What is held in memory is bounded, but for the inodes of folders, of versions and of what is open,
//! which the kernel holds and forgets, and the counts of files with several names in a few snapshots.

mod ahead;
mod answers;
mod attributes;
mod content;
mod crowd;
mod filesystem;
mod folders;
mod identity;
mod inodes;
mod links;
mod listing;
mod made;
mod place;
mod shelf;
mod sink;
mod told;
mod versions;
mod view;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, bounded};
use fuser::{Config, MountOption, SessionACL};

use crate::model::clock::Clock;
use crate::repository::{self, Repository, lease};
use ahead::Ahead;
use answers::Answers;
use filesystem::Mounted;
use inodes::Inodes;
use made::Top;
use place::Guard;
pub use shelf::Host;
use shelf::Shelf;
use told::Told;
pub use told::{Counts, Hit};
use versions::Source;
pub use versions::{Of, Past, Version};

/// How often it is looked whether it is to end.
const LOOK: Duration = Duration::from_millis(100);
/// How long those who were asked something may take for their answers at the end.
const LAST_ANSWERS: Duration = Duration::from_secs(2);
/// Threads that answer, at least: one waits for storage while another does not.
const THREADS_LEAST: usize = 4;
const THREADS_MOST: usize = 16;

/// Why it can not be mounted.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nothing can be mounted on that folder.
    #[error("{what}")]
    Place { what: String, hint: Option<String> },
    /// Something is left of another mount.
    #[error("{what}")]
    Stale { what: String, hint: String },
    /// The system does not allow it, or lacks what it takes.
    #[error("{what}")]
    System { what: String, hint: String },
    #[error(transparent)]
    Repository(#[from] repository::Error),
}

/// How it is mounted.
pub struct Options {
    /// As `check` gave it.
    pub place: PathBuf,
    /// Whether other users may look, each as far as modes and access control lists allow; else this user alone may, at everything.
    pub is_shared: bool,
    /// Whose newest snapshot is `latest`.
    pub host: Host,
    /// About how many bytes may be kept in memory.
    pub memory: u64,
    /// Who knows all versions of all paths; without, they are not shown.
    pub past: Option<Arc<dyn Past>>,
}

/// Who is told what happens.
pub trait Watcher {
    /// It is mounted.
    fn mounted(&self);
    /// Something could not be given.
    fn hit(&self, hit: &Hit);
    /// It was taken away from its place while somebody used it.
    fn detached(&self);
}

/// The folder at `path`, when something can be mounted there, and the system can do it.
///
/// Errors: `Place`, `Stale`, `System`.
pub fn check(path: &Path) -> Result<PathBuf, Error> {
    let place = place::check(path)?;
    place::check_system()?;
    Ok(place)
}

/// Mounts, answers until it is unmounted or `stop` is set, and unmounts. Gives how much was hit meanwhile.
///
/// Errors: `System` when it can not be mounted; those of the repository.
pub fn run(
    repository: Repository,
    options: &Options,
    clock: &dyn Clock,
    own_host: &[u8],
    watcher: &dyn Watcher,
    stop: &AtomicBool,
) -> Result<Counts, Error> {
    let repository = Arc::new(repository);
    let (told, hits) = Told::new();
    let shelf = Shelf::new(repository.clone(), options.host.clone(), options.memory, told)?;
    let owner = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    let (ahead, wanted) = Ahead::new();
    let source = options.past.clone().map(|past| Arc::new(Source::new(past, repository.clone())));
    let (inodes, crowded) = Inodes::new(Arc::new(Top(source)), crowd::most(options.memory));
    let answers = Arc::new(Answers::new(shelf, inodes, ahead, owner));
    let (end, ended) = bounded::<()>(0);
    std::thread::scope(|scope| {
        let used = answers.clone();
        let (repository, shelf, also_ended) = (&*repository, answers.clone(), ended.clone());
        scope.spawn(move || ahead::read(&shelf.shelf, &wanted, &also_ended));
        scope.spawn(move || lease::keep(repository, clock, own_host, &used.used, &ended));
        let done = serve(&answers, options, (&hits, crowded), watcher, stop);
        drop(end);
        done
    })?;
    hits.try_iter().for_each(|hit| watcher.hit(&hit));
    Ok(answers.shelf.told.counts())
}

fn config(is_shared: bool) -> Config {
    let mut config = Config::default();
    let name = "copal".to_owned();
    config.mount_options = vec![
        MountOption::RO,
        MountOption::NoDev,
        MountOption::NoSuid,
        MountOption::NoAtime,
        MountOption::FSName(name.clone()),
        MountOption::Subtype(name),
    ];
    if is_shared {
        // Who may not look at a file where it comes from may not here.
        config.mount_options.push(MountOption::DefaultPermissions);
        config.acl = SessionACL::All;
    }
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    config.n_threads = Some(cores.clamp(THREADS_LEAST, THREADS_MOST));
    config
}

fn serve(
    answers: &Arc<Answers>,
    options: &Options,
    (hits, crowded): (&Receiver<Hit>, Receiver<()>),
    watcher: &dyn Watcher,
    stop: &AtomicBool,
) -> Result<(), Error> {
    let place = &options.place;
    let guard = Guard::new(place);
    let mounted = Mounted::new(answers.clone(), options.is_shared);
    let session = fuser::Session::new(mounted, place, &config(options.is_shared));
    let mut session = session.map_err(|error| place::refused(place, &error))?;
    let mut unmounter = session.unmount_callable();
    let (used, kernel) = (Arc::downgrade(answers), session.notifier());
    std::thread::spawn(move || crowd::thin_out(&used, &crowded, &kernel));
    let (done, ended) = bounded(1);
    // It may be held up by those who use what is mounted: nobody waits for it for ever.
    std::thread::spawn(move || {
        let _ = done.send(session.run());
    });
    watcher.mounted();
    let failed = loop {
        match ended.recv_timeout(LOOK) {
            Ok(Ok(())) | Err(RecvTimeoutError::Disconnected) => break None,
            Ok(Err(error)) => break Some(error),
            Err(RecvTimeoutError::Timeout) => {}
        }
        hits.try_iter().for_each(|hit| watcher.hit(&hit));
        if stop.load(Ordering::Relaxed) {
            if unmounter.unmount().is_err() {
                place::detach(place);
            }
            if !is_over(&ended) {
                watcher.detached();
            }
            break None;
        }
    };
    drop(guard);
    match failed {
        Some(error) => Err(place::refused(place, &error)),
        None => Ok(()),
    }
}

/// Whether all answers were given: nobody uses it any more.
fn is_over<T>(ended: &Receiver<T>) -> bool {
    !matches!(ended.recv_timeout(LAST_ANSWERS), Err(RecvTimeoutError::Timeout))
}
