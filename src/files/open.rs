//! Opening what is to be read: never following a symlink, never waiting for a FIFO, without touching access times.

use std::path::Path;

use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::{Result, Stat, again, single, stat_fd};
use crate::format::limits::FLAGS_KEPT;
use crate::model::NodeType;

/// Why a file was not opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// Something else than a regular file is there by now.
    #[error("is no regular file any more")]
    ChangedType,
    /// Another regular file took its place: `stat` and open again.
    #[error("was replaced by another file")]
    Replaced,
    /// The system says no.
    #[error("{0}")]
    Io(#[from] Errno),
}

/// Opens the directory that a person named; symlinks in that path are followed.
pub fn open_root(path: &Path) -> Result<OwnedFd> {
    quietly(CWD, path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC)
}

/// Opens the directory `name` in `dir`: `ENOTDIR` or `ELOOP` when it is none or a symlink.
pub fn open_directory(dir: BorrowedFd<'_>, name: &[u8]) -> Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    quietly(dir, single(name)?, flags)
}

/// Opens the directory above an open one. Whether it is the one that was above it before is for the caller to see.
pub fn open_parent(dir: BorrowedFd<'_>) -> Result<OwnedFd> {
    quietly(dir, b"..".as_slice(), OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC)
}

/// Opens the regular file `name` in `dir` for reading, when it still is the one that `expected` describes.
/// Gives its metadata as of now with it: size and times may have changed, and the reader should go by these.
pub fn open_file(
    dir: BorrowedFd<'_>,
    name: &[u8],
    expected: &Stat,
) -> std::result::Result<(OwnedFd, Stat), OpenError> {
    if expected.kind != NodeType::File {
        return Err(OpenError::ChangedType);
    }
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let fd = match quietly(dir, single(name)?, flags) {
        // Somebody holds a lease on it (Samba does); giving that up takes a moment, so wait, now that it can be no FIFO.
        Err(Errno::WOULDBLOCK) => open_waiting(dir, name)?,
        // A symlink; a socket.
        Err(Errno::LOOP | Errno::NXIO) => return Err(OpenError::ChangedType),
        other => other?,
    };
    let now = stat_fd(fd.as_fd())?;
    match now.kind {
        NodeType::File if now.same_inode(expected) => Ok((fd, now)),
        NodeType::File => Err(OpenError::Replaced),
        _ => Err(OpenError::ChangedType),
    }
}

/// Opens a regular file without `O_NONBLOCK`: first a handle that opens nothing, then, once its type is known, through it.
fn open_waiting(dir: BorrowedFd<'_>, name: &[u8]) -> std::result::Result<OwnedFd, OpenError> {
    let handle = open_handle(dir, name)?;
    if stat_fd(handle.as_fd())?.kind != NodeType::File {
        return Err(OpenError::ChangedType);
    }
    Ok(quietly(CWD, proc_path(handle.as_fd(), b"").as_slice(), OFlags::RDONLY | OFlags::CLOEXEC)?)
}

/// Opens with `O_NOATIME`, and without it where that is not allowed.
fn quietly<P: rustix::path::Arg + Copy>(dir: BorrowedFd<'_>, name: P, flags: OFlags) -> Result<OwnedFd> {
    let open = |flags| again(|| rustix::fs::openat(dir, name, flags, Mode::empty()));
    match open(flags | OFlags::NOATIME) {
        Err(Errno::PERM) => open(flags),
        other => other,
    }
}

/// A handle (`O_PATH`) of whatever `name` is: nothing is opened, and what is done through it can reach nothing else.
pub(super) fn open_handle(dir: BorrowedFd<'_>, name: &[u8]) -> Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    again(|| rustix::fs::openat(dir, single(name)?, flags, Mode::empty()))
}

/// The path of a handle, or of a name below a directory's handle, for calls that take only paths.
pub(super) fn proc_path(fd: BorrowedFd<'_>, name: &[u8]) -> Vec<u8> {
    let mut path = format!("/proc/self/fd/{}", fd.as_raw_fd()).into_bytes();
    if !name.is_empty() {
        path.push(b'/');
        path.extend_from_slice(name);
    }
    path
}

/// Where the symlink `name` in `dir` points; any length.
pub fn read_link(dir: BorrowedFd<'_>, name: &[u8]) -> Result<Vec<u8>> {
    let name = single(name)?;
    Ok(again(|| rustix::fs::readlinkat(dir, name, Vec::new()))?.into_bytes())
}

/// The inode flags of an open file or directory that copal keeps; none where the file system has no such thing.
pub fn inode_flags(fd: BorrowedFd<'_>) -> Result<u32> {
    match again(|| rustix::fs::ioctl_getflags(fd)) {
        Ok(flags) => Ok(flags.bits() & FLAGS_KEPT),
        Err(error) if no_flags(error) => Ok(0),
        Err(error) => Err(error),
    }
}

/// Whether that error means that the file system has no inode flags.
pub(super) fn no_flags(error: Errno) -> bool {
    matches!(error, Errno::NOTTY | Errno::OPNOTSUPP | Errno::INVAL | Errno::NOSYS)
}

/// Lifts the number of files this process may have open to what it is allowed, and gives that number.
pub fn raise_file_limit() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    let now = if limit.current != limit.maximum && setrlimit(Resource::Nofile, raised).is_ok() {
        limit.maximum
    } else {
        limit.current
    };
    now.unwrap_or(u64::MAX)
}
