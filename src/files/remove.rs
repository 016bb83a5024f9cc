//! Removing a whole tree by handles, however deep, without ever following a symlink or leaving the file system.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;

use super::{Names, Result, names, open_directory, remove_any, stat, stat_fd};
use crate::model::NodeType;

/// Device and inode of what must stay.
pub type Spared = std::collections::HashSet<(u64, u64)>;

/// A folder that is being emptied; it goes itself when it is.
struct Level {
    folder: OwnedFd,
    names: Names,
    next: usize,
    name: Vec<u8>,
}

/// Removes an entry and everything below it, or only counts it; gives how many entries went. Errors: `EXDEV` at another file system,
/// `EBUSY` at what is spared; what lies before it is gone then.
pub fn remove_all(dir: BorrowedFd<'_>, name: &[u8], spared: &Spared, only_count: bool) -> Result<u64> {
    let device = stat_fd(dir)?.dev;
    let mut removed = 0;
    // Opens what is a folder, and removes what is none.
    let mut enter = |dir: BorrowedFd<'_>, name: &[u8]| -> Result<Option<Level>> {
        let there = stat(dir, name)?;
        if there.dev != device {
            return Err(Errno::XDEV);
        }
        if spared.contains(&(there.dev, there.inode)) {
            return Err(Errno::BUSY);
        }
        if there.kind == NodeType::Directory {
            let folder = open_directory(dir, name)?;
            let names = names(folder.as_fd())?;
            return Ok(Some(Level { folder, names, next: 0, name: name.to_vec() }));
        }
        if !only_count {
            remove_any(dir, name)?;
        }
        removed += 1;
        Ok(None)
    };
    let mut levels: Vec<Level> = enter(dir, name)?.into_iter().collect();
    let mut folders = 0;
    while let Some(level) = levels.last_mut() {
        if level.next < level.names.len() {
            level.next += 1;
            let below = enter(level.folder.as_fd(), level.names.bytes(level.next - 1))?;
            levels.extend(below);
            continue;
        }
        let Some(done) = levels.pop() else { break };
        if !only_count {
            remove_any(levels.last().map_or(dir, |above| above.folder.as_fd()), &done.name)?;
        }
        folders += 1;
    }
    Ok(removed + folders)
}
