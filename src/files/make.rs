//! Making entries inside an open directory. Nothing is followed, and nothing is replaced unless that is the point.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;

use super::{Result, names, open_directory, stat};
use crate::model::{Node, NodeType};

/// Makes and opens a file that was not there.
pub fn create_file(handle: BorrowedFd<'_>, name: &[u8]) -> Result<OwnedFd> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(handle, name, flags, Mode::RUSR | Mode::WUSR)
}

/// Opens a file that is there, for writing into it.
pub fn open_existing(handle: BorrowedFd<'_>, name: &[u8]) -> Result<OwnedFd> {
    let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    rustix::fs::openat(handle, name, flags, Mode::empty())
}

/// Makes a directory for its owner alone.
pub fn make_directory(handle: BorrowedFd<'_>, name: &[u8]) -> Result<()> {
    rustix::fs::mkdirat(handle, name, Mode::RWXU)
}

pub fn make_symlink(handle: BorrowedFd<'_>, name: &[u8], target: &[u8]) -> Result<()> {
    rustix::fs::symlinkat(target, handle, name)
}

/// Makes a FIFO, socket or device.
pub fn make_special(handle: BorrowedFd<'_>, name: &[u8], node: &Node) -> Result<()> {
    let kind = match node.kind {
        NodeType::Fifo => FileType::Fifo,
        NodeType::Socket => FileType::Socket,
        NodeType::CharacterDevice => FileType::CharacterDevice,
        NodeType::BlockDevice => FileType::BlockDevice,
        _ => return Err(Errno::INVAL),
    };
    let device = rustix::fs::makedev(node.device.0, node.device.1);
    rustix::fs::mknodat(handle, name, kind, Mode::RUSR | Mode::WUSR, device)
}

/// Gives a file a second name.
pub fn hard_link(from: BorrowedFd<'_>, name: &[u8], to: BorrowedFd<'_>, new_name: &[u8]) -> Result<()> {
    rustix::fs::linkat(from, name, to, new_name, AtFlags::empty())
}

/// Renames inside one directory, replacing what has the new name.
pub fn rename(handle: BorrowedFd<'_>, from: &[u8], to: &[u8]) -> Result<()> {
    rustix::fs::renameat(handle, from, handle, to)
}

/// Removes an entry; a directory must be empty.
pub fn remove(handle: BorrowedFd<'_>, name: &[u8]) -> Result<()> {
    match rustix::fs::unlinkat(handle, name, AtFlags::empty()) {
        Err(Errno::ISDIR | Errno::PERM) => rustix::fs::unlinkat(handle, name, AtFlags::REMOVEDIR),
        other => other,
    }
}

/// Removes an entry and everything below it, never leaving the directory; gives how many entries went.
pub fn remove_all(handle: BorrowedFd<'_>, name: &[u8]) -> Result<u64> {
    let mut removed = 0;
    if stat(handle, name)?.kind == NodeType::Directory {
        let below = open_directory(handle, name)?;
        let all = names(below.as_fd())?;
        for place in 0..all.len() {
            removed += remove_all(below.as_fd(), all.get(place))?;
        }
    }
    remove(handle, name)?;
    Ok(removed + 1)
}
