//! Removing a whole tree by handles, however deep, without ever following a symlink or leaving the file system.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;

use super::{Names, Result, names, open_directory, open_parent, remove_any, stat, stat_fd};
use crate::model::NodeType;

/// Device and inode of what must stay.
pub type Spared = std::collections::HashSet<(u64, u64)>;

/// Folders that stay open; those above are opened again on the way back.
const LEVELS_OPEN: usize = 16;

/// A folder that is being emptied; it goes itself when it is.
struct Level {
    /// None when it is shut.
    folder: Option<OwnedFd>,
    inode: u64,
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
            let inode = stat_fd(folder.as_fd())?.inode;
            return Ok(Some(Level { folder: Some(folder), inode, names, next: 0, name: name.to_vec() }));
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
        let folder = level.folder.as_ref().ok_or(Errno::STALE)?;
        if level.next < level.names.len() {
            level.next += 1;
            let below = enter(folder.as_fd(), level.names.bytes(level.next - 1))?;
            if below.is_some()
                && let Some(above) = levels.len().checked_sub(LEVELS_OPEN)
            {
                levels[above].folder = None;
            }
            levels.extend(below);
            continue;
        }
        let Some(done) = levels.pop() else { break };
        if let (Some(above), Some(folder)) = (levels.last_mut(), &done.folder)
            && above.folder.is_none()
        {
            let parent = open_parent(folder.as_fd())?;
            let stat = stat_fd(parent.as_fd())?;
            // Moved elsewhere meanwhile: what is above it now is not to be emptied.
            if (stat.dev, stat.inode) != (device, above.inode) {
                return Err(Errno::STALE);
            }
            above.folder = Some(parent);
        }
        if !only_count {
            let parent = levels.last().and_then(|above| above.folder.as_ref());
            remove_any(parent.map_or(dir, |parent| parent.as_fd()), &done.name)?;
        }
        folders += 1;
    }
    Ok(removed + folders)
}
