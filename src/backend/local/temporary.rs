//! A file on its way to become an object: written and synced below `tmp/`, then given its name, or removed.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use rustix::fs::{AtFlags, Mode, OFlags, RenameFlags};
use rustix::io::{Errno, retry_on_intr};

use super::folders::has_modes;
use crate::backend::layout::temporary_path;

/// The mode of every file copal stores, whatever the umask.
const FILE_MODE: Mode = Mode::RUSR.union(Mode::WUSR);

/// How giving a file its name ended.
pub(super) enum Naming {
    Done,
    /// The name is taken; it was not touched.
    Taken,
    /// The folder of that name is not there.
    NoFolder,
    /// This file system cannot rename without replacing.
    NoRename,
    /// This file system has no hard links.
    NoLinks,
}

/// A file below `tmp/` with a random name. It is removed when this is dropped without having been given a name.
pub(super) struct Temporary {
    root: Arc<OwnedFd>,
    path: String,
    pub(super) file: File,
    named: bool,
}

impl Temporary {
    /// Makes an empty file that nobody else has.
    pub(super) fn new(root: &Arc<OwnedFd>) -> Result<Temporary, io::Error> {
        let path = temporary_path()?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = retry_on_intr(|| rustix::fs::openat(&**root, &path, flags, FILE_MODE))?;
        Ok(Temporary { root: Arc::clone(root), path, file: file.into(), named: false })
    }

    /// Writes more.
    pub(super) fn add(&mut self, bytes: &[u8]) -> Result<(), io::Error> {
        self.file.write_all(bytes)
    }

    /// Sees that the file has the length of all that was written, and copal's mode. Not synced yet.
    pub(super) fn filled(&self, length: u64) -> Result<(), io::Error> {
        let stat = rustix::fs::fstat(&self.file)?;
        if Mode::from_raw_mode(stat.st_mode) != FILE_MODE {
            has_modes(rustix::fs::fchmod(&self.file, FILE_MODE))?;
        }
        if u64::try_from(stat.st_size) != Ok(length) {
            return Err(io::Error::other("the file did not get the length that was written"));
        }
        Ok(())
    }

    /// Moves the file to its name, unless that is taken.
    pub(super) fn rename(&mut self, path: &str) -> Result<Naming, Errno> {
        let root = self.root.as_fd();
        let renamed =
            retry_on_intr(|| rustix::fs::renameat_with(root, &self.path, root, path, RenameFlags::NOREPLACE));
        match renamed {
            Ok(()) => {
                self.named = true;
                Ok(Naming::Done)
            }
            Err(Errno::EXIST) => Ok(Naming::Taken),
            Err(Errno::NOENT) => Ok(Naming::NoFolder),
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => Ok(Naming::NoRename),
            Err(errno) => Err(errno),
        }
    }

    /// Moves the file to its name, in place of what has it.
    pub(super) fn rename_over(&mut self, path: &str) -> Result<Naming, Errno> {
        let root = self.root.as_fd();
        match retry_on_intr(|| rustix::fs::renameat(root, &self.path, root, path)) {
            Ok(()) => {
                self.named = true;
                Ok(Naming::Done)
            }
            Err(Errno::NOENT) => Ok(Naming::NoFolder),
            Err(errno) => Err(errno),
        }
    }

    /// Gives the file a second name, unless that is taken; the first goes when this is dropped.
    pub(super) fn link(&mut self, path: &str) -> Result<Naming, Errno> {
        match retry_on_intr(|| {
            rustix::fs::linkat(&*self.root, &self.path, &*self.root, path, AtFlags::empty())
        }) {
            Ok(()) => Ok(Naming::Done),
            Err(Errno::EXIST) => Ok(Naming::Taken),
            Err(Errno::NOENT) => Ok(Naming::NoFolder),
            Err(Errno::PERM | Errno::OPNOTSUPP | Errno::NOSYS | Errno::MLINK) => Ok(Naming::NoLinks),
            Err(errno) => Err(errno),
        }
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if !self.named {
            // A leftover is harmless: nothing below tmp/ is ever listed.
            let _ = rustix::fs::unlinkat(&*self.root, &self.path, AtFlags::empty());
        }
    }
}
