//! Removing a whole tree by handles, however deep, without ever following a symlink or leaving the mount.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;

use super::{Names, Result, Stat, names, open_directory, open_parent, remove_any, stat, stat_fd};
use crate::model::NodeType;

/// Device and inode of what must stay.
pub type Spared = std::collections::HashSet<(u64, u64)>;

/// Folders that stay open; those above are opened again on the way back.
const LEVELS_OPEN: usize = 16;

/// How a tree is removed.
pub struct Removal<'r> {
    pub spared: &'r Spared,
    /// What lies at these paths stays, and so do the folders above it. Paths begin with the name of the entry that is removed.
    pub keep: &'r dyn Fn(&[u8]) -> bool,
    /// Removes nothing.
    pub only_count: bool,
}

/// A folder that is being emptied; it goes itself when it is.
struct Level {
    /// None when it is shut.
    folder: Option<OwnedFd>,
    inode: u64,
    names: Names,
    next: usize,
    name: Vec<u8>,
    /// Bytes of its path.
    path: usize,
    /// Something in it stays.
    kept: bool,
}

impl Removal<'_> {
    /// Removes an entry and everything below it; gives how many entries went. Errors: `EXDEV` at another mount, `EBUSY` at what is
    /// spared; what lies before it is gone then.
    pub fn run(&self, dir: BorrowedFd<'_>, name: &[u8]) -> Result<u64> {
        let home = stat_fd(dir)?;
        let mut path = name.to_vec();
        let mut removed = 0;
        let mut levels: Vec<Level> =
            self.enter(&home, dir, name, path.len(), &mut removed)?.into_iter().collect();
        while let Some(level) = levels.last_mut() {
            let folder = level.folder.as_ref().ok_or(Errno::STALE)?;
            if level.next < level.names.len() {
                let name = level.names.bytes(level.next).to_vec();
                level.next += 1;
                path.truncate(level.path);
                path.push(b'/');
                path.extend_from_slice(&name);
                if (self.keep)(&path) {
                    level.kept = true;
                    continue;
                }
                let below = self.enter(&home, folder.as_fd(), &name, path.len(), &mut removed)?;
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
                if (stat.dev, stat.inode) != (home.dev, above.inode) {
                    return Err(Errno::STALE);
                }
                above.folder = Some(parent);
            }
            if done.kept {
                if let Some(above) = levels.last_mut() {
                    above.kept = true;
                }
                continue;
            }
            if !self.only_count {
                let parent = levels.last().and_then(|above| above.folder.as_ref());
                remove_any(parent.map_or(dir, |parent| parent.as_fd()), &done.name)?;
            }
            removed += 1;
        }
        Ok(removed)
    }

    /// Opens what is a folder, and removes what is none.
    fn enter(
        &self,
        home: &Stat,
        dir: BorrowedFd<'_>,
        name: &[u8],
        path: usize,
        removed: &mut u64,
    ) -> Result<Option<Level>> {
        let there = stat(dir, name)?;
        // A bind mount has the same device: the mount tells, where the system does. Files of an overlay may have the device of their layer.
        let is_elsewhere = there.kind == NodeType::Directory && there.dev != home.dev;
        if is_elsewhere || there.mount != home.mount || there.mount_root {
            return Err(Errno::XDEV);
        }
        if self.spared.contains(&(there.dev, there.inode)) {
            return Err(Errno::BUSY);
        }
        if there.kind != NodeType::Directory {
            if !self.only_count {
                remove_any(dir, name)?;
            }
            *removed += 1;
            return Ok(None);
        }
        let folder = open_directory(dir, name)?;
        let opened = stat_fd(folder.as_fd())?;
        if !opened.same_inode(&there) {
            return Err(Errno::STALE);
        }
        let names = names(folder.as_fd())?;
        Ok(Some(Level {
            folder: Some(folder),
            inode: opened.inode,
            names,
            next: 0,
            name: name.to_vec(),
            path,
            kept: false,
        }))
    }
}
