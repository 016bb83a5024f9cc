//! Who works on which directory: a stack of directories to begin, workers that take from it, and parents that are finished by
//! whoever finishes their last child. No recursion, so depth costs memory and not stack.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};

use super::change::Trust;
use super::sources::Way;
use super::touched::Hint;
use super::unseen::Before;
use crate::files::{FileSystem, Names, Stat};
use crate::index::DirectoryRow;
use crate::locks::lock;
use crate::model::{Id, Id16, Time, Unread};

/// A directory that is being backed up.
pub struct Directory {
    pub parent: Option<(Arc<Directory>, usize)>,
    pub name: Vec<u8>,
    /// As it was when its parent was listed.
    pub stat: Stat,
    pub key: Id16,
    pub depth: usize,
    /// Entries wanted: all, or only those on the way to a source.
    pub way: Option<BTreeMap<Vec<u8>, Way>>,
    /// Its tree in the parent snapshot, as far as that is known for certain.
    pub expected: Option<Id>,
    /// What is known to have happened in it.
    pub hint: Hint,
    /// How it compares with what was seen of it.
    pub before: Before,
    /// Children that are not finished, and one for itself until it is listed.
    pub pending: AtomicUsize,
    pub state: Mutex<State>,
}

/// What is known of a directory between its beginning and its end.
#[derive(Default)]
pub struct State {
    pub handle: Option<OwnedFd>,
    /// Where it lies, and itself as it was when it was listed.
    pub volume: Option<(Arc<Volume>, Stat)>,
    pub names: Names,
    /// Which of the names are wanted, and what was seen of them. Dropped for very long directories, which are looked at again.
    pub entries: Vec<Entry>,
    pub row: Option<DirectoryRow>,
    /// The row is that of the parent snapshot: what it names is stored.
    pub trusted: bool,
    /// The row is of the same directory at another path.
    pub moved: bool,
    /// Every entry's stat is as it was.
    pub all_same: bool,
    pub children: Vec<Option<Child>>,
}

/// A wanted entry.
#[derive(Clone, Copy)]
pub struct Entry {
    /// Its place among the names.
    pub name: u32,
    pub stat: Result<Stat, Unread>,
    /// Its place among the children, when it is a directory.
    pub child: Option<u32>,
}

/// What became of a child directory.
#[derive(Clone, Copy, Debug)]
pub enum Child {
    /// Its tree, and whether that is the parent snapshot's.
    Done { tree: Id, same: bool },
    /// It could not be read.
    Unreadable(Unread),
    /// It was gone, or is not wanted after all.
    Gone,
}

impl Directory {
    /// Its stored path, for messages and patterns.
    pub fn path(&self) -> Vec<u8> {
        let mut names = Vec::new();
        let mut directory = self;
        loop {
            names.push(&directory.name);
            match &directory.parent {
                Some((parent, _)) => directory = parent,
                None => break,
            }
        }
        let mut path = Vec::new();
        for name in names.iter().rev().filter(|name| !name.is_empty()) {
            path.push(b'/');
            path.extend_from_slice(name);
        }
        path
    }

    /// The path of an entry.
    pub fn path_of(&self, name: &[u8]) -> Vec<u8> {
        let mut path = self.path();
        path.push(b'/');
        path.extend_from_slice(name);
        path
    }

    pub fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

/// A file system that this run met.
pub struct Volume {
    pub file_system: FileSystem,
    /// Digest of its identity: rows of another one are not its rows, wherever it is mounted.
    pub id: Id16,
    /// Its identity for hard links: a copy that is mounted beside it has another one.
    pub links: Vec<u8>,
    /// It is read as it was then.
    pub as_of: Option<Time>,
}

impl Volume {
    /// What reusing what was seen may rely on.
    pub fn trust(&self) -> Trust {
        let FileSystem { trust_inode, trust_ctime, reuse, .. } = self.file_system;
        Trust { inode: trust_inode, ctime: trust_ctime, reuse }
    }
}

#[derive(Default)]
struct Stack {
    waiting: Vec<Arc<Directory>>,
    /// Directories begun or waiting, and not finished.
    open: usize,
}

/// The stack that workers share.
#[derive(Default)]
pub struct Scheduler {
    stack: Mutex<Stack>,
    more: Condvar,
    stopped: AtomicBool,
}

impl Scheduler {
    fn lock(&self) -> MutexGuard<'_, Stack> {
        lock(&self.stack)
    }

    /// Adds directories; the last one is begun first.
    pub fn push(&self, directories: Vec<Arc<Directory>>) {
        if directories.is_empty() {
            return;
        }
        let mut stack = self.lock();
        stack.open += directories.len();
        stack.waiting.extend(directories);
        drop(stack);
        self.more.notify_all();
    }

    /// The next directory to begin; none when all are finished or the run is stopped.
    pub fn next(&self) -> Option<Arc<Directory>> {
        let mut stack = self.lock();
        loop {
            if self.stopped.load(Ordering::Acquire) {
                return None;
            }
            if let Some(directory) = stack.waiting.pop() {
                return Some(directory);
            }
            if stack.open == 0 {
                return None;
            }
            stack = self.more.wait(stack).unwrap_or_else(|poisoned| poisoned.into_inner());
        }
    }

    /// Says that one directory is finished.
    pub fn finished(&self) {
        let mut stack = self.lock();
        stack.open -= 1;
        if stack.open == 0 {
            self.more.notify_all();
        }
    }

    /// Lets every worker go home.
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
        let _stack = self.lock();
        self.more.notify_all();
    }
}
