//! What the screen asks of the repository, and what comes back.

use crate::model::{NodeType, Time, joined};

/// Single names, from the root of a snapshot down.
pub type Path = Vec<Vec<u8>>;

/// A path as it is stored, with slashes; `/` for the root.
pub fn shown(path: &[Vec<u8>]) -> Vec<u8> {
    if path.is_empty() { b"/".to_vec() } else { joined(path) }
}

/// Something to be done with the repository. Snapshots are known by their place in the list of all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Work {
    /// The entries of a folder; of a file's path, those of the folder that it lies in. Of one with very many: the part of that number, or
    /// one behind it with that name in it.
    List { snapshot: usize, path: Path, part: usize, name: Option<Vec<u8>> },
    /// The beginning of a file.
    Read { snapshot: usize, path: Path },
    /// The versions of a path.
    Versions { snapshot: usize, path: Path },
    /// Gives these back below a folder.
    Restore { snapshot: usize, paths: Vec<Path>, target: String },
}

/// What the state wants done after a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    None,
    /// The end; by Ctrl-C or not.
    End {
        is_interrupted: bool,
    },
    /// In the place of what is at work.
    Work(Work),
    /// What is at work is to stop.
    Stop,
    /// Everything is drawn anew.
    Redraw,
}

/// An entry of a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub name: Vec<u8>,
    pub kind: NodeType,
    pub size: u64,
    pub mtime: Time,
    /// Of a symlink.
    pub target: Vec<u8>,
    /// What is not as it was: unreadable, lost, changed while it was read.
    pub remark: Option<String>,
}

/// A line of a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Row {
    Entry(Entry),
    /// Something of the folder can not be read: what is damaged.
    Broken(String),
}

/// One version of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    pub kind: NodeType,
    pub size: u64,
    pub mtime: Time,
    /// Of the first and the last snapshot that hold it.
    pub first: Time,
    pub last: Time,
    /// The last one.
    pub snapshot: usize,
    /// Snapshots that hold it.
    pub count: u64,
    /// Deleted or renamed, in words.
    pub note: String,
}

/// How far a restore is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    pub files: u64,
    pub bytes: u64,
    pub problems: u64,
    pub now: String,
}

/// How a restore ended: lines for the person, and what it means for the end of the run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    pub lines: Vec<String>,
    pub damaged: u64,
    pub problems: u64,
    /// Everything that was asked for is there.
    pub is_whole: bool,
}

/// What comes back. All but the first five end a piece of work.
#[derive(Debug)]
pub enum Reply {
    /// The folder that is listed, the entry that was meant, and the number of the part.
    At {
        path: Path,
        seek: Option<Vec<u8>>,
        part: usize,
    },
    /// It is the part of that number instead: entries that came are not in it.
    Part(usize),
    Rows(Vec<Row>),
    /// What it is busy with.
    Doing(String),
    Progress(Progress),
    /// The folder is read; so many entries come after the part that is shown.
    Listed {
        after: u64,
    },
    /// A file's beginning; `broken`: why no more came.
    Text {
        path: Path,
        bytes: Vec<u8>,
        size: u64,
        broken: Option<String>,
    },
    Versions {
        path: Path,
        versions: Vec<Version>,
        doubts: Vec<String>,
    },
    Restored(Outcome),
    Stopped,
    Failed(String),
}
