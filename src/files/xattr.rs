//! Extended attributes (ACLs and capabilities among them) and inode flags, read.

use std::os::fd::BorrowedFd;

use rustix::fs::{IFlags, Mode, OFlags};
use rustix::io::Errno;

use super::{Result, proc_path};
use crate::format::limits::FLAGS_KEPT;

/// Attributes that were read, and names of those that could not be.
pub type Attributes = (Vec<(Vec<u8>, Vec<u8>)>, Vec<(Vec<u8>, Errno)>);

/// Reads with a buffer that grows until everything fits.
fn grown(mut read: impl FnMut(&mut [u8]) -> Result<usize>) -> Result<Vec<u8>> {
    let mut buffer = vec![0; 256];
    loop {
        match read(&mut buffer) {
            Ok(length) => {
                buffer.truncate(length);
                return Ok(buffer);
            }
            Err(Errno::RANGE) if buffer.len() < 32 << 20 => buffer = vec![0; buffer.len() * 4],
            Err(error) => return Err(error),
        }
    }
}

fn collect(
    list: impl FnMut(&mut [u8]) -> Result<usize>,
    mut get: impl FnMut(&[u8], &mut [u8]) -> Result<usize>,
) -> Attributes {
    let (mut attributes, mut unread) = (Vec::new(), Vec::new());
    let names = match grown(list) {
        Ok(names) => names,
        // Not every file system has attributes, and not every entry of those that do.
        Err(Errno::OPNOTSUPP | Errno::NOENT | Errno::NOTTY) => return (attributes, unread),
        Err(error) => return (attributes, vec![(b"(list)".to_vec(), error)]),
    };
    for name in names.split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        match grown(|buffer| get(name, buffer)) {
            Ok(value) => attributes.push((name.to_vec(), value)),
            // Taken away meanwhile.
            Err(Errno::NODATA) => {}
            Err(error) => unread.push((name.to_vec(), error)),
        }
    }
    (attributes, unread)
}

/// Attributes of an entry of an open directory, of a symlink itself too.
pub fn xattrs(handle: BorrowedFd<'_>, name: &[u8]) -> Attributes {
    let path = proc_path(handle, name);
    collect(
        |buffer| rustix::fs::llistxattr(&path[..], buffer),
        |attribute, buffer| rustix::fs::lgetxattr(&path[..], attribute, buffer),
    )
}

/// Attributes of an open file or directory.
pub fn xattrs_fd(file: BorrowedFd<'_>) -> Attributes {
    collect(
        |buffer| rustix::fs::flistxattr(file, buffer),
        |attribute, buffer| rustix::fs::fgetxattr(file, attribute, buffer),
    )
}

/// The flags of an open file or directory that are kept. 0 where there are none.
pub fn inode_flags(file: BorrowedFd<'_>) -> Result<u32> {
    match rustix::fs::ioctl_getflags(file) {
        Ok(flags) => Ok(flags.bits() & FLAGS_KEPT),
        Err(Errno::NOTTY | Errno::OPNOTSUPP | Errno::INVAL | Errno::NOSYS) => Ok(0),
        Err(error) => Err(error),
    }
}

/// The same for a directory inside an open one.
pub fn inode_flags_at(handle: BorrowedFd<'_>, name: &[u8]) -> Result<u32> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let file = rustix::fs::openat(handle, name, flags, Mode::empty())?;
    inode_flags(std::os::fd::AsFd::as_fd(&file))
}

/// Flags as the system takes them.
pub(super) fn flags_of(bits: u32) -> IFlags {
    IFlags::from_bits_retain(bits)
}
