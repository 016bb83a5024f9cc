//! What all workers of one backup share: options, counts, the journal of what is finished, and the questions they ask.

mod counts;
mod journal;

use counts::Counts;
use journal::Journal;
pub use journal::encrypted_fact;

use std::collections::HashMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use super::exclude::{GIT_IGNORE_NAME, IgnoreFile};
use super::marked::{self, read_small};
use super::stand_in::StandIns;
use super::touched::Touched;
use super::unseen::Unseen;
use super::visited::Visited;
use super::walk::{Child, Directory, Scheduler, Volume};
use super::{Options, directory};
use crate::files::{self, Names, Owners, Stat};
use crate::locks::lock;
use crate::model::clock::Clock;
use crate::model::{Content, Id16, Node, NodeType, Time, Unread};
use crate::progress::{Event, Listener};
use crate::repository::{Error, Repository, store::Store};

/// Hard-linked files whose content is remembered, so that their other names are not read.
const LINKS_MAX: usize = 200_000;
/// Bytes of a marker or `.gitignore` that are read.
const MARKER_MAX: usize = 1 << 20;

/// One backup at work.
pub struct Run<'r> {
    pub repository: &'r Repository,
    pub store: &'r Store<'r>,
    pub options: &'r Options,
    pub listener: &'r dyn Listener,
    pub clock: &'r dyn Clock,
    pub stop: &'r AtomicBool,
    /// Whose rows these are: host and sources.
    pub source: Id16,
    /// The parent snapshot was made with the same options: whole trees can be reused.
    pub tree_reuse: bool,
    /// Where something may have happened.
    pub hints: Option<&'r Touched>,
    /// The folder of what commands printed: an entry of the root folder that is on no file system.
    pub made: Option<Node>,
    pub stand_ins: StandIns,
    pub scheduler: Scheduler,
    pub counts: Counts,
    owners: Owners,
    volumes: Mutex<HashMap<u64, Arc<Volume>>>,
    links: Mutex<HashMap<Id16, (Stat, Content)>>,
    journal: Mutex<Journal>,
    ignore_files: Mutex<HashMap<Id16, Arc<IgnoreFile>>>,
    root: Mutex<Option<Child>>,
    checkpointed: Mutex<Time>,
    nonce: [u8; 16],
    visited: Visited,
    /// What hints made of this run.
    pub unseen: Unseen,
    journalled: AtomicBool,
    files_journalled: AtomicUsize,
}

/// What leaves entries of one directory out beside the patterns.
pub struct Filter {
    ignore: Option<Arc<IgnoreFile>>,
    path: Vec<u8>,
}

impl<'r> Run<'r> {
    #[allow(clippy::too_many_arguments)]
    pub fn new(
        repository: &'r Repository,
        store: &'r Store<'r>,
        options: &'r Options,
        listener: &'r dyn Listener,
        clock: &'r dyn Clock,
        stop: &'r AtomicBool,
        source: Id16,
        tree_reuse: bool,
        hints: Option<&'r Touched>,
        rows: u64,
    ) -> Run<'r> {
        let nonce = crate::crypto::random().unwrap_or_default();
        let stand_ins = StandIns::new(&options.stand_ins);
        let volumes = stand_ins.volumes(repository.hasher());
        Run {
            repository,
            store,
            options,
            listener,
            clock,
            stop,
            source,
            tree_reuse,
            hints,
            made: None,
            stand_ins,
            scheduler: Scheduler::default(),
            counts: Counts::default(),
            owners: Owners::default(),
            volumes: Mutex::new(volumes),
            links: Mutex::default(),
            journal: Mutex::default(),
            ignore_files: Mutex::default(),
            root: Mutex::default(),
            checkpointed: Mutex::new(clock.now()),
            nonce,
            visited: Visited::new(rows, nonce),
            unseen: Unseen::default(),
            journalled: AtomicBool::new(false),
            files_journalled: AtomicUsize::new(0),
        }
    }

    pub fn set_root(&self, child: Child) {
        *lock(&self.root) = Some(child);
    }

    pub fn take_root(&self) -> Option<Child> {
        lock(&self.root).take()
    }

    pub fn problem(&self, directory: &Directory, name: Option<&[u8]>, what: &str, code: &'static str) {
        let path = match name {
            Some(name) => directory.path_of(name),
            None => directory.path(),
        };
        self.listener.event(Event::Problem { path: Some(&path), what, code, during: "backup" });
    }

    /// The file system that a handle is on.
    pub fn volume(&self, device: u64, handle: BorrowedFd<'_>) -> Arc<Volume> {
        let mut known = lock(&self.volumes);
        if let Some(volume) = known.get(&device) {
            return volume.clone();
        }
        let file_system = files::filesystem(handle).unwrap_or_default();
        let id = self.repository.hasher().local(&file_system.identity);
        let mut links = file_system.identity.clone();
        // A mounted copy (an LVM snapshot beside its origin) says it is the same one: files of the two are no hard links of each other.
        if known.values().any(|other| other.id == id) {
            links.extend_from_slice(&device.to_le_bytes());
        }
        let volume = Arc::new(Volume { file_system, id, links, as_of: None });
        known.insert(device, volume.clone());
        volume
    }

    /// Seconds within which a time is too fresh to be trusted there.
    pub fn racy_seconds(&self) -> i64 {
        self.options.racy_seconds
    }

    pub fn key(&self, parent: Id16, name: &[u8]) -> Id16 {
        directory::key(self.repository.hasher(), parent, name)
    }

    /// Whether a directory says that it is a cache or is marked to be left out.
    pub fn is_marked(&self, handle: &OwnedFd, names: &Names) -> bool {
        marked::is_marked(&self.options.excludes, handle, names)
    }

    /// What leaves out entries of this directory; none when nothing does.
    pub fn filter(&self, directory: &Directory, handle: &OwnedFd, names: &Names) -> Option<Filter> {
        let excludes = &self.options.excludes;
        if directory.way.is_some() || excludes.patterns.is_empty() && !excludes.git_ignore {
            return None;
        }
        let path = directory.path();
        if !excludes.git_ignore {
            return Some(Filter { ignore: None, path });
        }
        let mut files = lock(&self.ignore_files);
        let above = directory.parent.as_ref().and_then(|(parent, _)| files.get(&parent.key).cloned());
        let ignore = match names
            .contains(GIT_IGNORE_NAME)
            .then(|| read_small(handle.as_fd(), GIT_IGNORE_NAME, MARKER_MAX))
            .flatten()
        {
            Some(text) => Some(IgnoreFile::read(&path, &text, above).0),
            None => above,
        };
        if let Some(ignore) = &ignore {
            files.insert(directory.key, ignore.clone());
        }
        Some(Filter { ignore, path })
    }

    /// Whether an entry is to be backed up.
    pub fn is_wanted(
        &self,
        directory: &Directory,
        filter: Option<&Filter>,
        name: &[u8],
        stat: &Result<Stat, Unread>,
    ) -> bool {
        let options = self.options;
        let is_directory = stat.as_ref().is_ok_and(|stat| stat.kind == NodeType::Directory);
        // A mount point itself stays, as an empty folder: it must be there to mount on after a restore.
        let mut wanted = stat.as_ref().map_or(true, |stat| {
            let is_large = stat.kind == NodeType::File && options.excludes.too_large(stat.size);
            !(options.own.contains(&(stat.dev, stat.inode)) || is_large && directory.way.is_none())
        });
        let is_made = directory.parent.is_none() && self.made.as_ref().is_some_and(|made| made.name == name);
        wanted &= !is_made;
        let Some(filter) = filter else { return wanted };
        let mut path = filter.path.clone();
        path.push(b'/');
        path.extend_from_slice(name);
        // Asked in any case: a pattern that matches what is left out for another reason is no slip.
        wanted &= !options.excludes.excluded_entry(&path, is_directory);
        if stat.is_err() {
            options.excludes.excluded_entry(&path, true);
        }
        wanted = wanted && !filter.ignore.as_ref().is_some_and(|ignore| ignore.ignores(&path, is_directory));
        if is_directory && !wanted {
            options.excludes.patterns.pass_over(path);
        }
        wanted
    }

    /// Whether a child directory lies on another file system that is not to be entered.
    pub fn is_foreign(&self, directory: &Directory, stat: &Stat) -> bool {
        self.options.one_file_system && directory.way.is_none() && stat.dev != directory.stat.dev
    }

    pub fn name_owners(&self, node: &mut Node, stat: &Stat) {
        node.user = self.owners.user(stat.uid).map_or_else(Vec::new, |name| name.to_vec());
        node.group = self.owners.group(stat.gid).map_or_else(Vec::new, |name| name.to_vec());
    }

    pub fn link_group(&self, stat: &Stat, volume: &Volume) -> Id16 {
        let mut bytes = stat.inode.to_le_bytes().to_vec();
        let btime = stat.btime.unwrap_or_default();
        bytes.extend_from_slice(&btime.seconds.to_le_bytes());
        bytes.extend_from_slice(&btime.nanos.to_le_bytes());
        bytes.extend_from_slice(&volume.links);
        if stat.btime.is_none() {
            // Without a birth time an inode number may come again: such a group holds for this snapshot alone.
            bytes.extend_from_slice(&self.nonce);
        }
        self.repository.hasher().link_group(&bytes)
    }

    /// The content of a file that was read under another name in this run, when its stat is the same.
    pub fn linked_content(&self, node: &Node, stat: &Stat) -> Option<Content> {
        let (before, content) = lock(&self.links).get(&node.link?)?.clone();
        let same = before.size == stat.size
            && before.mtime == stat.mtime
            && before.ctime == stat.ctime
            && before.dev == stat.dev;
        same.then_some(content)
    }

    pub fn remember_link(&self, node: &Node, stat: &Stat) {
        let mut links = lock(&self.links);
        if let Some(group) = node.link
            && links.len() < LINKS_MAX
        {
            links.insert(group, (*stat, node.content.clone()));
        }
    }

    /// An error when the run was told to stop.
    pub fn check_stop(&self) -> Result<(), Error> {
        if self.is_stopped() { Err(Error::Stopped) } else { Ok(()) }
    }

    /// Whether the run was told to stop.
    pub fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed) || self.store.has_failed()
    }
}
