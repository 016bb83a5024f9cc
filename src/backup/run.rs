//! What all workers of one backup share: options, counts, the journal of what is finished, and the questions they ask.

use std::collections::{HashMap, HashSet};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use super::change::{self, Seen};
use super::exclude::{CACHE_TAG_NAME, GIT_IGNORE_NAME, IgnoreFile, is_cache_tag};
use super::visited::Visited;
use super::walk::{Child, Directory, Scheduler, State, Volume};
use super::{Options, directory};
use crate::files::{self, Names, Owners, Stat};
use crate::format;
use crate::index::{DirectoryRow, FinishedFile};
use crate::model::clock::Clock;
use crate::model::{Content, Contents, Id, Id16, Node, NodeType, SegmentKind, Time, Unread, XattrValue};
use crate::progress::{Event, FileStatus, Listener};
use crate::repository::{Error, Repository, store::Store};

/// Hard-linked files whose content is remembered, so that their other names are not read.
const LINKS_MAX: usize = 200_000;
/// Files of unfinished directories that are remembered before a checkpoint lets go of them.
const FILES_JOURNALLED_MAX: usize = 100_000;
/// Days for which the row of a directory is kept that is not there: a disk that is only mounted sometimes comes again.
const MISSED_DAYS: i64 = 7;
/// Bytes of a marker or `.gitignore` that are read.
const MARKER_MAX: usize = 1 << 20;

/// Running counts. Bytes are exact.
#[derive(Default)]
pub struct Counts {
    pub files: AtomicU64,
    pub directories: AtomicU64,
    pub others: AtomicU64,
    pub bytes: AtomicU64,
    pub files_new: AtomicU64,
    pub files_changed: AtomicU64,
    pub files_unmodified: AtomicU64,
    pub unreadable: AtomicU64,
    pub changed_while_read: AtomicU64,
    pub metadata_unread: AtomicU64,
}

#[derive(Default)]
struct Journal {
    rows: Vec<DirectoryRow>,
    /// Files of directories that are not finished.
    files: HashMap<Id16, Vec<FinishedFile>>,
    /// Directories whose files are in the database, until the directory is finished.
    saved: HashSet<Id16>,
    superseded: Vec<Id16>,
}

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
    journalled: AtomicBool,
    files_journalled: AtomicUsize,
}

/// What leaves entries of one directory out beside the patterns.
pub struct Filter {
    ignore: Option<Arc<IgnoreFile>>,
    path: Vec<u8>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
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
        rows: u64,
    ) -> Run<'r> {
        let nonce = crate::crypto::random().unwrap_or_default();
        Run {
            repository,
            store,
            options,
            listener,
            clock,
            stop,
            source,
            tree_reuse,
            scheduler: Scheduler::default(),
            counts: Counts::default(),
            owners: Owners::default(),
            volumes: Mutex::default(),
            links: Mutex::default(),
            journal: Mutex::default(),
            ignore_files: Mutex::default(),
            root: Mutex::default(),
            checkpointed: Mutex::new(clock.now()),
            nonce,
            visited: Visited::new(rows, nonce),
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
        let volume = Arc::new(Volume { file_system, id, links });
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
        let excludes = &self.options.excludes;
        let first_bytes =
            |name: &[u8], most: usize| read_small(handle.as_fd(), name, most).unwrap_or_default();
        if excludes.caches && names.contains(CACHE_TAG_NAME) && is_cache_tag(&first_bytes(CACHE_TAG_NAME, 64))
        {
            return true;
        }
        excludes.if_present.iter().any(|marker| {
            names.contains(marker.name())
                && (marker.content_length() == 0
                    || marker.is_marked_by(&first_bytes(marker.name(), marker.content_length())))
        })
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
        if let Ok(stat) = stat {
            if options.own.contains(&(stat.dev, stat.inode)) {
                return false;
            }
            if stat.kind == NodeType::File && options.excludes.too_large(stat.size) && directory.way.is_none()
            {
                return false;
            }
            // The mount point itself stays, as an empty folder: it must be there to mount on after a restore.
        }
        let Some(filter) = filter else { return true };
        let mut path = filter.path.clone();
        path.push(b'/');
        path.extend_from_slice(name);
        !options.excludes.excluded_entry(&path, is_directory)
            && !filter.ignore.as_ref().is_some_and(|ignore| ignore.ignores(&path, is_directory))
    }

    /// Whether a child directory lies on another file system that is not to be entered.
    pub fn is_foreign(&self, directory: &Directory, stat: &Stat) -> bool {
        self.options.one_file_system && directory.way.is_none() && stat.dev != directory.stat.dev
    }

    /// The row of a directory, and whether it was found at another path. Never one of another file system.
    pub fn row(&self, directory: &Directory, volume: &Volume) -> Result<(Option<DirectoryRow>, bool), Error> {
        let trust = volume.trust();
        if self.options.force || !trust.reuse {
            return Ok((None, false));
        }
        let is_of_volume = |row: &DirectoryRow| change::volume_of(&row.side) == Some(volume.id);
        let index = &self.repository.index;
        let row = index.directory(&self.source, &directory.key)?.filter(is_of_volume);
        if row.as_ref().is_some_and(|row| row.inode == directory.stat.inode) || !trust.inode || !trust.ctime {
            return Ok((row, false));
        }
        let same_inode = index.directory_by_inode(&self.source, directory.stat.inode)?;
        match same_inode.into_iter().find(is_of_volume) {
            Some(moved) => Ok((Some(moved), true)),
            None => Ok((row, false)),
        }
    }

    /// Files that an interrupted run finished in a directory that it did not finish.
    pub fn finished_files(
        &self,
        directory: &Directory,
        volume: &Volume,
    ) -> Result<HashMap<Vec<u8>, (Seen, Node)>, Error> {
        if self.options.force || directory.way.is_some() || !volume.file_system.reuse {
            return Ok(HashMap::new());
        }
        let place = self.place(directory, volume);
        let files = self.repository.index.finished(&self.source, &place)?;
        if !files.is_empty() {
            lock(&self.journal).saved.insert(place);
        }
        Ok(files
            .into_iter()
            .filter_map(|file| {
                let node = format::node::decode(&file.node).ok()?;
                Some((
                    file.name,
                    (Seen { inode: file.inode, ctime: file.ctime, racy: false, tree: None }, node),
                ))
            })
            .collect())
    }

    /// What the files of a directory are remembered under: its path, and the file system that is there.
    fn place(&self, directory: &Directory, volume: &Volume) -> Id16 {
        self.repository.hasher().local(&[directory.key.0, volume.id.0].concat())
    }

    /// Remembers a file that was read, until its directory is finished.
    pub fn journal_file(
        &self,
        directory: &Directory,
        volume: &Volume,
        name: &[u8],
        seen: &Seen,
        node: &Node,
    ) {
        if seen.racy || directory.way.is_some() || !volume.file_system.reuse {
            return;
        }
        let place = self.place(directory, volume);
        let file = FinishedFile {
            directory: place,
            name: name.to_vec(),
            inode: seen.inode,
            ctime: seen.ctime,
            node: format::node::encode(node),
        };
        lock(&self.journal).files.entry(place).or_default().push(file);
        self.files_journalled.fetch_add(1, Ordering::Relaxed);
    }

    /// Notes that a directory with a row is there.
    pub fn visit(&self, directory: &Directory) {
        if directory.way.is_none() {
            self.visited.add(&directory.key);
        }
    }

    /// After a whole walk: forgets what is of directories that are there no more; whether any rows went.
    pub fn sweep(&self) -> Result<bool, Error> {
        let index = &self.repository.index;
        let today = self.clock.now().seconds.div_euclid(24 * 3600);
        let last = today - MISSED_DAYS;
        let swept = index.directory_counts(&self.source).and_then(|(rows, missed)| {
            index.clear_finished(&self.source)?;
            if rows - missed.min(rows) == self.visited.count()
                && !index.has_missed_since(&self.source, last)?
            {
                return Ok(0);
            }
            index.sweep_directories(&self.source, today, last, &|key| self.visited.has(key))
        });
        match swept {
            Err(error) if error.is_passing() => Ok(false),
            other => Ok(other? > 0),
        }
    }

    /// Remembers a directory that is finished, with its row when that is new.
    pub fn journal_row(&self, directory: &Directory, volume: &Volume, row: Option<DirectoryRow>) {
        let place = self.place(directory, volume);
        let mut journal = lock(&self.journal);
        if let Some(files) = journal.files.remove(&place) {
            self.files_journalled
                .fetch_sub(files.len().min(self.files_journalled.load(Ordering::Relaxed)), Ordering::Relaxed);
        }
        if journal.saved.remove(&place) {
            journal.superseded.push(place);
        }
        if let Some(row) = row {
            journal.rows.push(row);
            self.journalled.store(true, Ordering::Relaxed);
        }
    }

    /// Whether any directory was gone through and not taken over whole.
    pub fn has_journalled(&self) -> bool {
        self.journalled.load(Ordering::Relaxed)
    }

    /// Makes what is finished so far survive a crash, when it is time.
    pub fn checkpoint_when_due(&self) -> Result<(), Error> {
        let now = self.clock.now();
        {
            let mut last = lock(&self.checkpointed);
            let many = self.files_journalled.load(Ordering::Relaxed) >= FILES_JOURNALLED_MAX;
            if !many && now.seconds_since(*last) < self.options.checkpoint_seconds {
                return Ok(());
            }
            *last = now;
        }
        self.checkpoint()
    }

    /// Makes what is finished so far survive a crash.
    pub fn checkpoint(&self) -> Result<(), Error> {
        self.files_journalled.store(0, Ordering::Relaxed);
        let mut taken = Journal::default();
        self.store.checkpoint(|| {
            let mut journal = lock(&self.journal);
            taken.rows = std::mem::take(&mut journal.rows);
            taken.superseded = std::mem::take(&mut journal.superseded);
            taken.files = std::mem::take(&mut journal.files);
            journal.saved.extend(taken.files.keys());
        })?;
        let index = &self.repository.index;
        let saved = index.save_directories(&self.source, &taken.rows).and_then(|()| {
            index.remove_finished(&self.source, &taken.superseded)?;
            let files: Vec<FinishedFile> = taken.files.into_values().flatten().collect();
            index.save_finished(&self.source, &files)
        });
        match saved {
            // The cache is only a help: a busy or full one costs time next time.
            Err(error) if error.is_passing() => Ok(()),
            other => Ok(other?),
        }
    }

    /// Whether everything that a node refers to is stored.
    pub fn is_stored(&self, node: &Node) -> Result<bool, Error> {
        for xattr in &node.xattrs {
            if let XattrValue::Chunk(id, _) = &xattr.value
                && !self.store.contains(Contents::Data, id)?
            {
                return Ok(false);
            }
        }
        let mut all = true;
        let missing = |id: &Id| Error::Lost { contents: Contents::Data, id: *id };
        let mut each = |segment: crate::model::Segment| match segment.kind {
            SegmentKind::Data(id) if !self.store.contains(Contents::Data, &id)? => Err(missing(&id)),
            SegmentKind::Gap => Err(missing(&Id::default())),
            _ => Ok(()),
        };
        if let Err(error) = self.repository.segments(&node.content, node.size, &mut each) {
            if !error.is_damage() {
                return Err(error);
            }
            all = false;
        }
        // The pages themselves must be there for good, not only readable now.
        if let (true, Content::Page(id)) = (all, &node.content) {
            all = self.repository.content_pages_stored(id, &|id| self.store.contains(Contents::Trees, id))?;
        }
        Ok(all)
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

    /// Counts an entry that was taken over unread: its bytes are done with.
    pub fn count_file(&self, directory: &Directory, name: &[u8], node: &Node, status: FileStatus) {
        self.count_read(directory, name, node, status);
        self.listener.event(Event::Bytes(node.size));
    }

    /// Counts an entry whose bytes were told while they were read.
    pub fn count_read(&self, directory: &Directory, name: &[u8], node: &Node, status: FileStatus) {
        self.count(node.kind, node.size, status);
        if node.kind == NodeType::File && self.options.tell_files {
            let path = directory.path_of(name);
            self.listener.event(Event::File { path: &path, bytes: node.size, status });
        }
    }

    fn count(&self, kind: NodeType, size: u64, status: FileStatus) {
        let add = |counter: &AtomicU64, more: u64| counter.fetch_add(more, Ordering::Relaxed);
        if kind != NodeType::File {
            add(&self.counts.others, 1);
            return;
        }
        add(&self.counts.files, 1);
        add(&self.counts.bytes, size);
        let counter = match status {
            FileStatus::New => &self.counts.files_new,
            FileStatus::Changed => &self.counts.files_changed,
            FileStatus::Unmodified => &self.counts.files_unmodified,
        };
        add(counter, 1);
    }

    /// Counts the entries of a directory that is taken over whole.
    pub fn count_unmodified(
        &self,
        directory: &Directory,
        state: &State,
        looked_again: impl Iterator<Item = (u32, Stat)>,
    ) {
        self.counts.directories.fetch_add(1, Ordering::Relaxed);
        let (mut files, mut bytes, mut others) = (0, 0, 0);
        let mut one = |place: u32, stat: &Stat| match stat.kind {
            NodeType::Directory => {}
            NodeType::File => {
                files += 1;
                bytes += stat.size;
                if self.options.tell_files {
                    let path = directory.path_of(state.names.bytes(place as usize));
                    self.listener.event(Event::File {
                        path: &path,
                        bytes: stat.size,
                        status: FileStatus::Unmodified,
                    });
                }
            }
            _ => others += 1,
        };
        for entry in &state.entries {
            if let Ok(stat) = &entry.stat {
                one(entry.name, stat);
            }
        }
        for (place, stat) in looked_again {
            one(place, &stat);
        }
        self.counts.files.fetch_add(files, Ordering::Relaxed);
        self.counts.files_unmodified.fetch_add(files, Ordering::Relaxed);
        self.counts.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.counts.others.fetch_add(others, Ordering::Relaxed);
        if bytes > 0 {
            self.listener.event(Event::Bytes(bytes));
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

/// The first bytes of a small regular file, or none.
fn read_small(handle: BorrowedFd<'_>, name: &[u8], most: usize) -> Option<Vec<u8>> {
    let stat = files::stat(handle, name).ok().filter(|stat| stat.kind == NodeType::File)?;
    let (file, _) = files::open_file(handle, name, &stat).ok()?;
    let mut bytes = Vec::new();
    std::io::Read::read_to_end(&mut std::io::Read::take(std::fs::File::from(file), most as u64), &mut bytes)
        .ok()?;
    Some(bytes)
}
