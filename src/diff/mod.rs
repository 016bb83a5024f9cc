//! What differs between two snapshots, or between a snapshot and a folder that is there now.
//!
//! Folders with equal trees are passed over without reading, so the cost follows what changed. What can not be read is unknown: it is
//! neither added nor removed.

mod compare;
mod content;
mod listing;
mod live;
mod moves;
pub mod patch;
mod walk;

use std::collections::HashSet;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

pub use compare::Differences;

use crate::model::{Id, Node, NodeType};
use crate::repository::{Error, Repository};

/// One of the two sides.
#[derive(Clone, Debug)]
pub enum Side {
    /// All of a snapshot, by its tree. `repaired`: a repair wrote it, with marks of what was lost.
    Whole { tree: Id, repaired: bool },
    /// One entry of a snapshot, with what is in it.
    Stored { node: Box<Node>, repaired: bool },
    /// What is there now. Symlinks on the way are followed, one at its end is not.
    Live(PathBuf),
}

/// How to compare.
#[derive(Clone, Debug)]
pub struct Options {
    /// Read files that are there also where size and time are what the snapshot says.
    pub content: bool,
    /// Device and inode of files and folders that are passed over: copal's own.
    pub own: HashSet<(u64, u64)>,
    /// Changes that are kept to look for renames among them, about 300 bytes each. Beyond, they are told as they come.
    pub kept: usize,
}

impl Default for Options {
    fn default() -> Options {
        Options { content: false, own: HashSet::new(), kept: 400_000 }
    }
}

/// What became of an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    Added,
    Removed,
    Changed(Differences),
    /// It was elsewhere: the path there, below the side it is of, and what else differs. A folder stands for all that is in it.
    Renamed(Vec<u8>, Differences),
    /// It can not be told, and why.
    Unknown(String),
}

/// One entry that is not the same on both sides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Below what is compared, each name after a `/`; empty for that itself.
    pub path: Vec<u8>,
    /// What it is now, or what it was when it is gone.
    pub kind: NodeType,
    pub what: What,
    /// Bytes of the file it was.
    pub before: u64,
    /// Bytes of the file it is.
    pub after: u64,
}

impl Change {
    /// Whether it is told only when all metadata is asked for: of a folder only the times differ, which its entries move.
    pub fn is_idle(&self) -> bool {
        matches!(self.what, What::Changed(differences)
            if self.kind == NodeType::Directory && differences == Differences { times: true, ..Differences::default() })
    }
}

/// What was met beside changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Met {
    /// Entries and folders that the repository does not give.
    pub damaged: u64,
    /// Those that only a later version reads.
    pub later: u64,
    /// Entries of the folder that is there that could not be read.
    pub unread: u64,
    /// There were too many changes to look for what was renamed.
    pub without_renames: bool,
}

/// Who is told what is found.
pub trait Told {
    /// A change, in order of paths as far as memory allows. `Break` ends the comparison.
    fn change(&mut self, change: &Change) -> ControlFlow<()>;

    /// Part of the repository can not be read; it costs what it holds.
    fn damage(&mut self, path: &[u8], error: &Error);
}

/// Compares. Errors: `Backend` and others of the repository as a whole; `Target` when the folder that is there can not be opened at all;
/// `Stopped`.
pub fn diff(
    repository: &Repository,
    before: &Side,
    after: &Side,
    options: &Options,
    told: &mut dyn Told,
    stop: &AtomicBool,
) -> Result<Met, Error> {
    let mut walk = walk::Walk::new(repository, options, told, stop);
    walk.start(before, after)?;
    moves::finish(&mut walk)?;
    Ok(walk.met)
}
