//! Going through a snapshot's tree with the target's folders beside it. However deep the tree is, few folders are open, and one path
//! is kept for all levels.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use rustix::io::Errno;

use super::Run;
use crate::files;
use crate::format::limits::DEPTH_MAX;
use crate::model::{Id, Node};
use crate::repository::Error;
use crate::repository::trees::Nodes;

/// Levels whose folders stay open; one above them is opened again from below when the walk comes back to it.
const LEVELS_OPEN: usize = 16;

/// A folder of the target.
enum Folder {
    /// A dry run, and nothing is there yet.
    None,
    Open(Arc<OwnedFd>),
    /// Closed, to be recognised by device and inode.
    Shut(u64, u64),
    /// It could not be opened again: its entries can not be restored.
    Lost(Errno),
}

/// A folder on the way, and what its pass keeps of it.
pub struct Level<'r, T> {
    nodes: Nodes<'r>,
    folder: Folder,
    /// Bytes of the walk's path that are this folder's.
    path: usize,
    pub own: T,
}

impl<T> Level<'_, T> {
    /// The open folder; none in a dry run that has none.
    pub fn handle(&self) -> Option<&Arc<OwnedFd>> {
        match &self.folder {
            Folder::Open(handle) => Some(handle),
            _ => None,
        }
    }
}

/// What comes next.
pub enum Step<'r, T> {
    Entry(Box<Node>),
    /// Part of the folder's list can not be read; the walk goes on behind it.
    Damaged(Error),
    /// All of a folder was seen.
    Left(Level<'r, T>),
}

/// A walk, depth first. After `Entry`, `path` is the entry's, otherwise the folder's.
pub struct Walk<'w, 'r, T> {
    run: &'w Run<'r>,
    levels: Vec<Level<'r, T>>,
    path: Vec<u8>,
}

impl<'w, 'r, T> Walk<'w, 'r, T> {
    /// A walk from a tree that stands for an open folder.
    pub fn new(run: &'w Run<'r>, root: Option<Arc<OwnedFd>>, tree: Id, path: &[u8], own: T) -> Self {
        let mut walk = Walk { run, levels: Vec::new(), path: path.to_vec() };
        walk.enter(root, tree, own);
        walk
    }

    /// Goes into the folder that was the last entry.
    pub fn enter(&mut self, handle: Option<Arc<OwnedFd>>, tree: Id, own: T) {
        if let Some(above) = self.levels.len().checked_sub(LEVELS_OPEN) {
            self.levels[above].shut();
        }
        if let Some(handle) = &handle {
            self.run.claim(handle);
        }
        let folder = handle.map_or(Folder::None, Folder::Open);
        let nodes = self.run.repository.nodes(tree);
        self.levels.push(Level { nodes, folder, path: self.path.len(), own });
    }

    /// Whether the folder that was the last entry lies deeper than any may.
    pub fn is_too_deep(&self) -> bool {
        self.levels.len() > DEPTH_MAX
    }

    /// The path of the last entry or folder.
    pub fn path(&self) -> &[u8] {
        &self.path
    }

    /// The folder that the last entry is in.
    pub fn level(&mut self) -> Option<&mut Level<'r, T>> {
        self.levels.last_mut()
    }

    /// The next step; none at the end. Errors: of the repository; `Stopped`.
    pub fn next(&mut self) -> Result<Option<Step<'r, T>>, Error> {
        loop {
            self.run.check_stop()?;
            let Some(level) = self.levels.last_mut() else { return Ok(None) };
            self.path.truncate(level.path);
            match level.nodes.next() {
                Some(Ok(node)) => {
                    self.path.push(b'/');
                    self.path.extend_from_slice(&node.name);
                    match level.folder {
                        Folder::Lost(error) => self.run.not_written(&self.path, error)?,
                        _ => return Ok(Some(Step::Entry(Box::new(node)))),
                    }
                }
                Some(Err(error)) if error.is_damage() => return Ok(Some(Step::Damaged(error))),
                Some(Err(error)) => return Err(error),
                None => {
                    let Some(left) = self.levels.pop() else { return Ok(None) };
                    if let Some(above) = self.levels.last_mut() {
                        above.open_from(self.run, &left);
                    }
                    return Ok(Some(Step::Left(left)));
                }
            }
        }
    }
}

impl<T> Level<'_, T> {
    fn shut(&mut self) {
        if let Folder::Open(handle) = &self.folder
            && let Ok(stat) = files::stat_fd(handle.as_fd())
        {
            self.folder = Folder::Shut(stat.dev, stat.inode);
        }
    }

    /// Opens this folder again, as the one above `below`, when it was shut.
    fn open_from(&mut self, run: &Run<'_>, below: &Level<'_, T>) {
        let Folder::Shut(dev, inode) = self.folder else { return };
        let opened = match &below.folder {
            Folder::Open(handle) => files::open_parent(handle.as_fd()),
            Folder::Lost(error) => Err(*error),
            Folder::None | Folder::Shut(..) => Err(Errno::STALE),
        };
        let same = opened.and_then(|handle| {
            let stat = files::stat_fd(handle.as_fd())?;
            // Moved elsewhere meanwhile: whatever is above it now is not ours.
            if (stat.dev, stat.inode) == (dev, inode) { Ok(handle) } else { Err(Errno::STALE) }
        });
        self.folder = match same {
            Ok(handle) => {
                run.claim(&handle);
                Folder::Open(Arc::new(handle))
            }
            Err(error) => Folder::Lost(error),
        };
    }
}
