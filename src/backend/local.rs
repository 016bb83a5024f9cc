//! A repository in a folder of a mounted file system: one file for each object, made as docs/format.md section 1 says.

mod folders;
mod handles;
mod reserve;
mod store;
mod temporary;
#[cfg(test)]
mod tests;

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat};
use rustix::io::{Errno, retry_on_intr};

use super::kind::is_hex;
use super::layout::{self, TEMPORARY, TEMPORARY_PREFIX};
use super::{Backend, Entry, Error, Kind, Space, checked_path, room};
use crate::model::Time;
use folders::Folders;
use handles::{Handles, Open};

pub use store::Incoming;

/// A repository in a local folder. Holds the folder open once it was used, and a few packs while they are read.
pub struct Local {
    folders: Folders,
    handles: Handles,
    /// Set once renaming without replacing was refused: from then on link, then remove the first name.
    links: AtomicBool,
}

impl Local {
    /// The repository at a path. Touches nothing.
    pub fn new(path: impl Into<PathBuf>) -> Local {
        let folders = Folders::new(path.into());
        Local { folders, handles: Handles::default(), links: AtomicBool::new(false) }
    }

    fn checked(&self, kind: Kind, name: &str) -> Result<String, Error> {
        checked_path(&self.location(), kind, name)
    }

    fn sort(&self, path: &str, operation: &'static str, source: impl Into<io::Error>) -> Error {
        Error::sort(self.folders.named(path), operation, source.into())
    }

    /// The repository's folder for looking at `path`, which is not found when the folder is not.
    fn root_of(&self, path: &str) -> Result<Arc<OwnedFd>, Error> {
        self.folders.root().map_err(|error| match error {
            Error::NotFound { .. } => Error::NotFound { object: self.folders.named(path) },
            error => error,
        })
    }

    /// The length of the object at a path. Only a regular file is an object.
    fn size_at(&self, root: &OwnedFd, path: &str) -> Result<u64, Error> {
        let stat = retry_on_intr(|| rustix::fs::statat(root, path, AtFlags::SYMLINK_NOFOLLOW))
            .map_err(|errno| self.sort(path, "look at", errno))?;
        size_of(&stat).ok_or_else(|| Error::NotFound { object: self.folders.named(path) })
    }

    /// Opens an object. Never follows a link and never waits on a pipe that lies there under an object's name.
    fn open(&self, path: &str) -> Result<Open, Error> {
        let root = self.root_of(path)?;
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let not_found = || Error::NotFound { object: self.folders.named(path) };
        let file = match retry_on_intr(|| rustix::fs::openat(&*root, path, flags, Mode::empty())) {
            Ok(file) => File::from(file),
            Err(Errno::LOOP | Errno::NXIO) => return Err(not_found()),
            Err(errno) => return Err(self.sort(path, "open", errno)),
        };
        let stat = rustix::fs::fstat(&file).map_err(|errno| self.sort(path, "look at", errno))?;
        let size = size_of(&stat).ok_or_else(not_found)?;
        Ok(Open { file, size })
    }

    fn held(&self, kind: Kind, name: &str, path: &str) -> Result<Arc<Open>, Error> {
        if let Some(open) = self.handles.get(kind, name) {
            return Ok(open);
        }
        let open = Arc::new(self.open(path)?);
        self.handles.hold(kind, name, &open);
        Ok(open)
    }

    fn read_range(&self, open: &Open, path: &str, offset: u64, length: usize) -> Result<Vec<u8>, Error> {
        let object = self.folders.named(path);
        let wanted = length as u64;
        if offset.checked_add(wanted).is_none_or(|end| end > open.size) {
            return Err(Error::Short { object, offset, wanted, got: open.size.saturating_sub(offset) });
        }
        let mut bytes = room(&object, wanted)?;
        bytes.resize(length, 0);
        let mut got = 0;
        while got < length {
            match open.file.read_at(&mut bytes[got..], offset + got as u64) {
                Ok(0) => return Err(Error::Short { object, offset, wanted, got: got as u64 }),
                Ok(read) => got += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.sort(path, "read", error)),
            }
        }
        Ok(bytes)
    }

    /// Lists the objects of a kind that lie in one folder. A missing folder is empty.
    fn list_folder(
        &self,
        root: &OwnedFd,
        kind: Kind,
        folder: &str,
        each: &mut dyn FnMut(Entry),
    ) -> Result<(), Error> {
        for name in self.names(root, folder)? {
            let path = format!("{folder}/{name}");
            if !kind.is_name(&name) || kind.path_of(&name) != path {
                continue;
            }
            match self.size_at(root, &path) {
                Ok(size) => each(Entry { name, size }),
                Err(Error::NotFound { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn names(&self, root: &OwnedFd, folder: &str) -> Result<Vec<String>, Error> {
        match folders::names(root, folder, false) {
            Ok(names) => Ok(names),
            Err(Errno::NOENT) => Ok(Vec::new()),
            Err(errno) => Err(self.sort(folder, "list", errno)),
        }
    }
}

impl Local {
    /// Refuses a folder with other things in it.
    fn refuse_strangers(&self) -> Result<(), Error> {
        let names = match std::fs::read_dir(self.location()) {
            Ok(entries) => entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()),
            // Not there yet, or told when the folders are made.
            Err(_) => return Ok(()),
        };
        match names.into_iter().find(|name| layout::is_strange(name)) {
            None => Ok(()),
            Some(name) => {
                Err(Error::Occupied { object: self.location(), name: name.escape_debug().to_string() })
            }
        }
    }
}

/// The length of a regular file; `None` for anything else.
fn size_of(stat: &Stat) -> Option<u64> {
    let regular = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
    regular.then(|| u64::try_from(stat.st_size).ok()).flatten()
}

impl Backend for Local {
    fn location(&self) -> String {
        self.folders.path().display().to_string()
    }

    fn put(&self, kind: Kind, name: &str, bytes: &[u8]) -> Result<(), Error> {
        self.store(kind, name, bytes, false)
    }

    fn replace(&self, kind: Kind, name: &str, bytes: &[u8]) -> Result<(), Error> {
        let stored = self.store(kind, name, bytes, true);
        self.handles.drop_one(kind, name);
        stored
    }

    fn get(&self, kind: Kind, name: &str) -> Result<Vec<u8>, Error> {
        self.get_at_most(kind, name, u64::MAX)
    }

    fn get_at_most(&self, kind: Kind, name: &str, most: u64) -> Result<Vec<u8>, Error> {
        let path = self.checked(kind, name)?;
        let Open { file, size } = self.open(&path)?;
        let object = self.folders.named(&path);
        if size > most {
            return Err(Error::TooLong { object });
        }
        let mut bytes = room(&object, size)?;
        file.take(size).read_to_end(&mut bytes).map_err(|error| self.sort(&path, "read", error))?;
        let got = bytes.len() as u64;
        if got < size { Err(Error::Short { object, offset: 0, wanted: size, got }) } else { Ok(bytes) }
    }

    fn get_range(&self, kind: Kind, name: &str, offset: u64, length: usize) -> Result<Vec<u8>, Error> {
        let path = self.checked(kind, name)?;
        let open = self.held(kind, name, &path)?;
        self.read_range(&open, &path, offset, length).inspect_err(|_| {
            // A file that was changed or replaced from outside is opened anew next time.
            self.handles.drop_one(kind, name);
        })
    }

    fn list(&self, kind: Kind, each: &mut dyn FnMut(Entry)) -> Result<(), Error> {
        let folder = kind.folder();
        let root = match self.root_of(folder) {
            Ok(root) => root,
            Err(Error::NotFound { .. }) => return Ok(()),
            Err(error) => return Err(error),
        };
        if kind != Kind::Packs {
            return self.list_folder(&root, kind, folder, each);
        }
        for digits in self.names(&root, folder)? {
            let path = format!("{folder}/{digits}");
            if digits.len() != 2 || !digits.bytes().all(is_hex) {
                continue;
            }
            match self.list_folder(&root, kind, &path, each) {
                // A foreign file under a folder's name.
                Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::NotADirectory => {}
                result => result?,
            }
        }
        Ok(())
    }

    fn stat(&self, kind: Kind, name: &str) -> Result<u64, Error> {
        let path = self.checked(kind, name)?;
        self.size_at(&*self.root_of(&path)?, &path)
    }

    fn remove(&self, kind: Kind, name: &str) -> Result<(), Error> {
        let path = self.checked(kind, name)?;
        let folder = kind.folder_of(name);
        let root = self.root_of(&path)?;
        self.folders.trusted(&folder)?;
        self.handles.drop_one(kind, name);
        retry_on_intr(|| rustix::fs::unlinkat(&*root, &path, AtFlags::empty()))
            .map_err(|errno| self.sort(&path, "remove", errno))?;
        // Small objects go before what they refer to, and file systems reorder removals, so those are synced one by
        // one. Packs go last and by the thousand; one that comes back is garbage.
        match kind {
            Kind::Packs | Kind::Parity => Ok(()),
            _ => self.folders.sync_folder(&root, &folder),
        }
    }

    fn time(&self) -> Result<Time, Error> {
        let root = self.folders.root()?;
        let file = self.temporary(&root, TEMPORARY, "ask for the time")?;
        let stat =
            rustix::fs::fstat(&file.file).map_err(|errno| self.sort(TEMPORARY, "ask for the time", errno))?;
        Ok(Time::new(stat.st_mtime, u32::try_from(stat.st_mtime_nsec).unwrap_or(0)))
    }

    fn space(&self) -> Result<Option<Space>, Error> {
        let root = self.folders.root()?;
        let stat = retry_on_intr(|| rustix::fs::fstatvfs(&*root))
            .map_err(|errno| self.sort("", "ask for its room", errno))?;
        let bytes = |blocks: u64| blocks.saturating_mul(stat.f_frsize);
        // Network mounts that do not know say nothing but zeros.
        let space = Space { total: bytes(stat.f_blocks), free: bytes(stat.f_bavail) };
        Ok((space.total > 0).then_some(space))
    }

    fn remove_leftovers(&self, before: Time) -> Result<u64, Error> {
        let root = self.folders.root()?;
        let mut removed = 0;
        for name in self.names(&root, TEMPORARY)? {
            let path = format!("{}/{name}", TEMPORARY);
            let stat = match rustix::fs::statat(&*root, &path, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) if size_of(&stat).is_some() && name.starts_with(TEMPORARY_PREFIX) => stat,
                _ => continue,
            };
            let written = Time::new(stat.st_mtime, u32::try_from(stat.st_mtime_nsec).unwrap_or(0));
            if written < before {
                match retry_on_intr(|| rustix::fs::unlinkat(&*root, &path, AtFlags::empty())) {
                    Ok(()) => removed += 1,
                    // Another one was faster.
                    Err(Errno::NOENT) => {}
                    Err(errno) => return Err(self.sort(&path, "remove", errno)),
                }
            }
        }
        Ok(removed)
    }

    fn reserve(&self, keep: bool) -> bool {
        let Ok(root) = self.folders.root() else { return false };
        if keep { reserve::take(&root) } else { reserve::give_back(&root) }
    }

    /// Some network mounts refuse to sync as unsupported.
    fn is_unsynced(&self) -> bool {
        self.folders.unsynced()
    }

    fn create(&self) -> Result<(), Error> {
        self.refuse_strangers()?;
        self.folders.create(&layout::folders())
    }
}
