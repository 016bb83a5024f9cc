//! Making, renaming and removing entries, each by the handle of its directory and a single name. All are made for their
//! owner alone; [`super::apply`] opens them up.

use rustix::fd::{BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, RenameFlags};
use rustix::io::Errno;

use super::{Result, again, single, stat};
use crate::model::{Node, NodeType};

const PRIVATE: Mode = Mode::RUSR.union(Mode::WUSR);

/// Makes a new file and opens it for reading and writing; `EEXIST` when anything is there.
pub fn create_file(dir: BorrowedFd<'_>, name: &[u8]) -> Result<OwnedFd> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let name = single(name)?;
    again(|| rustix::fs::openat(dir, name, flags, PRIVATE))
}

/// Makes a directory.
pub fn make_directory(dir: BorrowedFd<'_>, name: &[u8]) -> Result<()> {
    rustix::fs::mkdirat(dir, single(name)?, Mode::RWXU)
}

/// Makes a symlink that holds those bytes.
pub fn make_symlink(dir: BorrowedFd<'_>, name: &[u8], target: &[u8]) -> Result<()> {
    rustix::fs::symlinkat(target, dir, single(name)?)
}

/// Makes a FIFO.
pub fn make_fifo(dir: BorrowedFd<'_>, name: &[u8]) -> Result<()> {
    rustix::fs::mknodat(dir, single(name)?, FileType::Fifo, PRIVATE, 0)
}

/// Makes a socket that nobody listens on.
pub fn make_socket(dir: BorrowedFd<'_>, name: &[u8]) -> Result<()> {
    rustix::fs::mknodat(dir, single(name)?, FileType::Socket, PRIVATE, 0)
}

/// Makes a character or block device; `EPERM` for ordinary users.
pub fn make_device(dir: BorrowedFd<'_>, name: &[u8], kind: NodeType, device: (u32, u32)) -> Result<()> {
    let kind = match kind {
        NodeType::CharacterDevice => FileType::CharacterDevice,
        NodeType::BlockDevice => FileType::BlockDevice,
        _ => return Err(Errno::INVAL),
    };
    rustix::fs::mknodat(dir, single(name)?, kind, PRIVATE, rustix::fs::makedev(device.0, device.1))
}

/// Makes a FIFO, socket or device, as the node says.
pub fn make_special(dir: BorrowedFd<'_>, node: &Node) -> Result<()> {
    match node.kind {
        NodeType::Fifo => make_fifo(dir, &node.name),
        NodeType::Socket => make_socket(dir, &node.name),
        _ => make_device(dir, &node.name, node.kind, node.device),
    }
}

/// Opens a file that is there, for writing into it; never through a symlink.
pub fn open_existing(dir: BorrowedFd<'_>, name: &[u8]) -> Result<OwnedFd> {
    let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let name = single(name)?;
    again(|| rustix::fs::openat(dir, name, flags, Mode::empty()))
}

/// Waits until everything that was written to the file system of that handle is on its disk.
pub fn sync(fd: BorrowedFd<'_>) -> Result<()> {
    again(|| rustix::fs::syncfs(fd))
}

/// Removes whatever has that name; a directory must be empty.
pub fn remove_any(dir: BorrowedFd<'_>, name: &[u8]) -> Result<()> {
    match remove(dir, name) {
        Err(Errno::ISDIR | Errno::PERM) => remove_directory(dir, name),
        other => other,
    }
}

/// Gives an entry (a symlink itself too) another name.
pub fn hard_link(from: BorrowedFd<'_>, from_name: &[u8], to: BorrowedFd<'_>, to_name: &[u8]) -> Result<()> {
    rustix::fs::linkat(from, single(from_name)?, to, single(to_name)?, AtFlags::empty())
}

/// Renames within a directory, over what is there.
pub fn rename(dir: BorrowedFd<'_>, from: &[u8], to: &[u8]) -> Result<()> {
    rustix::fs::renameat(dir, single(from)?, dir, single(to)?)
}

/// Renames within a directory; `EEXIST` when something is there. Where the file system has no such call, the same by
/// a second name; and where it has no second names either, after a look.
pub fn rename_new(dir: BorrowedFd<'_>, from: &[u8], to: &[u8]) -> Result<()> {
    match rustix::fs::renameat_with(dir, single(from)?, dir, single(to)?, RenameFlags::NOREPLACE) {
        Err(Errno::INVAL | Errno::NOSYS) => match hard_link(dir, from, dir, to) {
            Ok(()) => remove(dir, from),
            Err(Errno::EXIST) => Err(Errno::EXIST),
            Err(_) if stat(dir, to) == Err(Errno::NOENT) => rename(dir, from, to),
            Err(_) => Err(Errno::EXIST),
        },
        other => other,
    }
}

/// Removes anything but a directory.
pub fn remove(dir: BorrowedFd<'_>, name: &[u8]) -> Result<()> {
    rustix::fs::unlinkat(dir, single(name)?, AtFlags::empty())
}

/// Removes an empty directory.
pub fn remove_directory(dir: BorrowedFd<'_>, name: &[u8]) -> Result<()> {
    rustix::fs::unlinkat(dir, single(name)?, AtFlags::REMOVEDIR)
}
