//! The folders of a local repository: making them, and what it takes to call an entry in one durable.
//!
//! Everything goes through one handle of the repository's folder. When its disk is taken away and the path leads to an
//! empty mount point, operations fail instead of starting a repository there.

use std::collections::{HashMap, HashSet};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags};
use rustix::io::{Errno, retry_on_intr};

use crate::backend::Error;
use crate::locks::lock;

/// The mode of every folder copal makes, whatever the umask.
const FOLDER_MODE: Mode = Mode::RWXU;

/// How a file or folder is made durable. A field, so that tests can let it fail.
pub(super) type Sync = fn(BorrowedFd<'_>) -> Result<(), Errno>;

/// Locks over folders.
const TURNS: usize = 16;

/// The handle of the repository's folder, and what is known of the folders below.
pub(super) struct Folders {
    path: PathBuf,
    root: Mutex<Option<Arc<OwnedFd>>>,
    /// Folders whose own entry, in the folder above, was synced after it was seen there.
    durable: Mutex<HashSet<String>>,
    /// Folders whose sync failed. The system forgets such an error, and a second sync would seem to succeed, so
    /// nothing more is stored in them by this process.
    broken: Mutex<HashMap<String, Errno>>,
    /// Who names something in a folder and syncs that: one after the other, so that nothing gets a name there after a sync that failed.
    turns: [Mutex<()>; TURNS],
    unsynced: AtomicBool,
    pub(super) sync: Sync,
}

impl Folders {
    pub(super) fn new(path: PathBuf) -> Folders {
        Folders {
            path,
            root: Mutex::default(),
            durable: Mutex::default(),
            broken: Mutex::default(),
            turns: Default::default(),
            unsynced: AtomicBool::new(false),
            sync: |file| rustix::fs::fsync(file),
        }
    }

    /// The repository's folder as the user named it.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// What messages call the thing at a path below the repository.
    pub(super) fn named(&self, path: &str) -> String {
        self.path.join(path).display().to_string()
    }

    /// The open repository folder. Errors: `NotFound` while there is none.
    pub(super) fn root(&self) -> Result<Arc<OwnedFd>, Error> {
        let mut root = lock(&self.root);
        if let Some(root) = &*root {
            return Ok(Arc::clone(root));
        }
        let opened = open_folder(CWD, &self.path).map_err(|errno| self.sort("", "open", errno))?;
        Ok(Arc::clone(root.insert(Arc::new(opened))))
    }

    /// Makes the repository's folder (and those above it that are missing) and these below, and syncs all that is new.
    pub(super) fn create(&self, folders: &[&str]) -> Result<(), Error> {
        for missing in self.missing() {
            let above = parent(missing);
            let sorted = |operation, errno| sort(missing.display().to_string(), operation, errno);
            make(CWD, missing).map_err(|errno| sorted("make", errno))?;
            let opened = open_folder(CWD, above).map_err(|errno| sorted("sync", errno))?;
            self.synced(opened.as_fd()).map_err(|errno| sorted("sync", errno))?;
        }
        *lock(&self.root) = None;
        let root = self.root()?;
        for folder in folders {
            make(root.as_fd(), folder).map_err(|errno| self.sort(folder, "make", errno))?;
        }
        lock(&self.durable).clear();
        folders.iter().try_for_each(|folder| self.ensure(&root, folder))
    }

    /// The repository's folder and those above it that do not exist, the uppermost first.
    fn missing(&self) -> Vec<&Path> {
        let mut missing: Vec<&Path> =
            self.path.ancestors().take_while(|path| !path.as_os_str().is_empty() && !path.exists()).collect();
        missing.reverse();
        missing
    }

    /// Makes sure that a folder (`index`, `packs/ab`) is there and that its own entry is durable. The folder above is
    /// synced for each folder that this process has not yet seen, also when another process made it just now.
    pub(super) fn ensure(&self, root: &OwnedFd, folder: &str) -> Result<(), Error> {
        if let Some((above, _)) = folder.rsplit_once('/') {
            self.ensure(root, above)?;
        }
        // Held while syncing, so that another thread does not rely on the folder before it is durable.
        let mut durable = lock(&self.durable);
        if durable.contains(folder) {
            return Ok(());
        }
        make(root.as_fd(), folder).map_err(|errno| self.sort(folder, "make", errno))?;
        let above = folder.rsplit_once('/').map_or(".", |(above, _)| above);
        let seen = names(root, above, true).map_err(|errno| self.sort(above, "list", errno))?;
        self.sync_folder(root, above)?;
        let path = |name: String| if above == "." { name } else { format!("{above}/{name}") };
        durable.extend(seen.into_iter().map(path));
        durable.insert(folder.to_owned());
        Ok(())
    }

    /// A folder turned out to be missing after all: the next `ensure` makes it.
    pub(super) fn forget(&self, folder: &str) {
        let above = folder.rsplit_once('/').map(|(above, _)| above);
        lock(&self.durable).retain(|known| known != folder && Some(known.as_str()) != above);
    }

    /// Makes entries put into or removed from a folder durable. A failure is final: the folder is not trusted again.
    pub(super) fn sync_folder(&self, root: &OwnedFd, folder: &str) -> Result<(), Error> {
        self.trusted(folder)?;
        let opened = open_folder(root.as_fd(), folder).map_err(|errno| self.sort(folder, "sync", errno))?;
        self.synced(opened.as_fd()).map_err(|errno| {
            lock(&self.broken).insert(folder.to_owned(), errno);
            self.sort(folder, "sync", errno)
        })
    }

    /// Held while something gets a name in the folder and that is synced.
    pub(super) fn turn(&self, folder: &str) -> MutexGuard<'_, ()> {
        let place =
            folder.bytes().fold(0usize, |sum, byte| sum.wrapping_mul(31).wrapping_add(usize::from(byte)));
        lock(&self.turns[place % TURNS])
    }

    /// Fails when an earlier sync of this folder failed, with the reason that it had.
    pub(super) fn trusted(&self, folder: &str) -> Result<(), Error> {
        match lock(&self.broken).get(folder) {
            Some(errno) => Err(self.sort(folder, "sync", *errno)),
            None => Ok(()),
        }
    }

    /// Syncs a file or folder. Storage that has no such operation is taken as it is, and that is noted.
    pub(super) fn synced(&self, file: BorrowedFd<'_>) -> Result<(), Errno> {
        match retry_on_intr(|| (self.sync)(file)) {
            Err(Errno::INVAL | Errno::OPNOTSUPP | Errno::NOSYS) => {
                self.unsynced.store(true, Ordering::Relaxed);
                Ok(())
            }
            result => result,
        }
    }

    /// Whether a sync was refused as unsupported since this was opened.
    pub(super) fn unsynced(&self) -> bool {
        self.unsynced.load(Ordering::Relaxed)
    }

    fn sort(&self, path: &str, operation: &'static str, errno: Errno) -> Error {
        let object =
            if matches!(path, "" | ".") { self.path.display().to_string() } else { self.named(path) };
        sort(object, operation, errno)
    }
}

fn sort(object: String, operation: &'static str, errno: Errno) -> Error {
    Error::sort(object, operation, errno.into())
}

/// The folder above, as a path that can be opened.
fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(above) if !above.as_os_str().is_empty() => above,
        _ => Path::new("."),
    }
}

/// Opens a folder, to sync it or read its entries.
pub(super) fn open_folder(root: impl AsFd, path: impl AsRef<Path>) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    retry_on_intr(|| rustix::fs::openat(root.as_fd(), path.as_ref(), flags, Mode::empty()))
}

/// Makes a folder with copal's mode; one that is there already stays as it is.
fn make(root: impl AsFd, path: impl AsRef<Path>) -> Result<(), Errno> {
    match retry_on_intr(|| rustix::fs::mkdirat(root.as_fd(), path.as_ref(), FOLDER_MODE)) {
        Err(Errno::EXIST) => Ok(()),
        Err(errno) => Err(errno),
        // The umask may have taken bits away.
        Ok(()) => has_modes(rustix::fs::chmodat(root.as_fd(), path.as_ref(), FOLDER_MODE, AtFlags::empty())),
    }
}

/// A file system without modes refuses to set them; that is no reason not to store.
pub(super) fn has_modes(result: Result<(), Errno>) -> Result<(), Errno> {
    match result {
        Err(Errno::PERM | Errno::OPNOTSUPP | Errno::NOSYS) => Ok(()),
        result => result,
    }
}

/// The names in a folder, sorted; `folders_only` leaves out what is known to be something else. Read whole before they
/// are used, since a caller may remove entries meanwhile. Names that are not UTF-8 are not ours.
pub(super) fn names(root: impl AsFd, folder: &str, folders_only: bool) -> Result<Vec<String>, Errno> {
    let mut names = Vec::new();
    for entry in Dir::new(open_folder(root, folder)?)? {
        let entry = match entry {
            Ok(entry) => entry,
            Err(Errno::INTR) => continue,
            Err(errno) => return Err(errno),
        };
        if folders_only && entry.file_type() != FileType::Directory {
            continue;
        }
        if let Ok(name) = entry.file_name().to_str() {
            names.push(name.to_owned());
        }
    }
    names.sort_unstable();
    Ok(names)
}
