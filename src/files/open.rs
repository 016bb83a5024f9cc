//! Opening for reading: never through a symlink, never blocking on a FIFO or device, without touching atime where that is allowed.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::process::{Resource, getrlimit, setrlimit};

use super::{Result, Stat, stat_fd};
use crate::model::NodeType;

/// Why a file was not opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenError {
    /// It is another file, or another kind of entry, than when it was looked at.
    Changed,
    Io(Errno),
}

fn open_quietly(handle: BorrowedFd<'_>, name: &[u8], flags: OFlags) -> Result<OwnedFd> {
    let flags = flags | OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match rustix::fs::openat(handle, name, flags | OFlags::NOATIME, Mode::empty()) {
        // Only the owner may ask for that.
        Err(Errno::PERM) => rustix::fs::openat(handle, name, flags, Mode::empty()),
        other => other,
    }
}

/// Opens a directory by its path, following symlinks: for `/` and for targets that the user names.
pub fn open_root(path: &std::path::Path) -> Result<OwnedFd> {
    rustix::fs::open(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
}

/// Opens a directory inside an open one.
pub fn open_directory(handle: BorrowedFd<'_>, name: &[u8]) -> Result<OwnedFd> {
    open_quietly(handle, name, OFlags::DIRECTORY)
}

/// Opens a regular file that looked like `expected`.
pub fn open_file(handle: BorrowedFd<'_>, name: &[u8], expected: &Stat) -> std::result::Result<OwnedFd, OpenError> {
    let file = open_quietly(handle, name, OFlags::NONBLOCK).map_err(|error| match error {
        // A symlink, socket or device without a driver stands there now.
        Errno::LOOP | Errno::NXIO | Errno::NODEV => OpenError::Changed,
        other => OpenError::Io(other),
    })?;
    let now = stat_fd(file.as_fd()).map_err(OpenError::Io)?;
    if now.kind == NodeType::File && now.inode == expected.inode && now.dev == expected.dev {
        Ok(file)
    } else {
        Err(OpenError::Changed)
    }
}

/// The target of a symlink.
pub fn read_link(handle: BorrowedFd<'_>, name: &[u8]) -> Result<Vec<u8>> {
    rustix::fs::readlinkat(handle, name, Vec::new()).map(|target| target.into_bytes())
}

/// Lets this process hold as many open files as the system allows: deep folders hold one each.
pub fn raise_file_limit() {
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        limit.current = limit.maximum;
        let _ = setrlimit(Resource::Nofile, limit);
    }
}
